/* patches.c - a convolution of patches that do not overlap, whose channels then go last, is a matrix product:
 *
 *     Transpose(Reshape(Conv(x, w, b)))   ->   MatMul(Reshape(Transpose(Reshape(x))), w') + b
 *
 * x [N, C, O1*p1, O2*p2] has its patches gathered as rows [N, O1*O2, C*p1*p2]. Vision transformers embed images so.
 * Without the transposition behind it the convolution has the better order of channels already and stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include "ops/eval/nn.h"

#include <string.h>

typedef struct Patches {
  Value *x, *w, *bias;
  int n; /* spatial axes */
  int64_t size[MAX_RANK];
  const Dim *out; /* of the convolution */
} Patches;

/* Is the convolution one over whole patches, side by side without gaps, that use up the input? */
static bool patches_of(Match *m, const Node *conv, Patches *p) {
  const ConvAttr *a = ATTR(conv, Conv);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  WindowSpec s;
  *p = (Patches){.x = conv->in[0], .w = conv->in[1], .bias = conv->nin > 2 ? conv->in[2] : NULL};
  if (!type_known(p->x) || !type_known(p->w) || !type_known(conv->out[0]) || a->group != 1 || !p->w->konst)
    return false;
  p->n = p->x->type.rank - 2, p->out = conv->out[0]->type.dim;
  if (3 * p->n + 2 > MAX_RANK || window_spec(m->c, &wa, p->n, &s) || (s.mode != PAD_EXPLICIT && s.mode != PAD_VALID))
    return false;
  for (int i = 0; i < p->n; i++) {
    int64_t k = p->w->konst->dim[i + 2];
    if (k < 1 || s.stride[i] != k || (k > 1 && s.dilation[i] != 1) ||
        (s.mode == PAD_EXPLICIT && (s.begin[i] || s.end[i])) ||
        dim_mul(m->c, p->out[i + 2], dim_const(m->c, k)) != p->x->type.dim[i + 2])
      return false;
    p->size[i] = k;
  }
  return dims_bound(m->g, p->x->type.dim, p->n + 2, NULL);
}

/* [N, C, O1*p1, …] -> [N, O1*…, C*p1*…] */
static Value *patch_rows(Match *m, const Patches *p) {
  Ctx *c = m->c;
  Dim d[MAX_RANK], positions = dim_const(c, 1), depth = p->x->type.dim[1];
  int64_t perm[MAX_RANK];
  int n = p->n;
  d[0] = p->x->type.dim[0], d[1] = p->x->type.dim[1];
  perm[0] = 0, perm[n + 1] = 1;
  for (int i = 0; i < n; i++) {
    d[2 + 2 * i] = p->out[i + 2], d[3 + 2 * i] = dim_const(c, p->size[i]);
    perm[1 + i] = 2 + 2 * i, perm[n + 2 + i] = 3 + 2 * i;
    positions = dim_mul(c, positions, d[2 + 2 * i]), depth = dim_mul(c, depth, d[3 + 2 * i]);
  }
  Value *rows = transpose_by(m, reshape_to(m, p->x, d, 2 + 2 * n), perm, 2 + 2 * n);
  return reshape_to(m, rows, (Dim[]){p->x->type.dim[0], positions, depth}, 3);
}

static Value *product(Match *m, const Patches *p) {
  static const int64_t swap[] = {1, 0};
  Value *rows = patch_rows(m, p);
  Value *w = reshape_to(m, p->w, (Dim[]){p->w->type.dim[0], rows->type.dim[2]}, 2);
  Value *y = EMIT(m, MatMul, NULL, rows, transpose_by(m, w, swap, 2));
  return p->bias ? EMIT(m, Add, NULL, y, p->bias) : y;
}

/* Transpose [0, 2, 3, …, 1] of all axes, or of [N, C, positions] behind a Reshape to that. */
static Value *channels_last(Match *m) {
  Value *v = m->root->in[0], *out = m->root->out[0];
  Node *view = def_of(v, OP_Reshape), *conv = def_of(view ? view->in[0] : v, OP_Conv);
  int64_t perm[MAX_RANK];
  int rank;
  Patches p;
  if (!conv || !value_sole_user(v) || !value_sole_user(conv->out[0]) || conv->graph != m->g ||
      !perm_of(m->root, perm, &rank) || !patches_of(m, conv, &p) || !type_known(out) ||
      !dims_bound(m->g, out->type.dim, rank, NULL))
    return NULL;
  for (int i = 0; i < rank; i++)
    if (perm[i] != (i == 0 ? 0 : i == rank - 1 ? 1 : i + 1))
      return NULL;
  if (view && (rank != 3 || v->type.dim[0] != p.out[0] || v->type.dim[1] != p.out[1]))
    return NULL;
  match_also(m, conv);
  if (view)
    match_also(m, view);
  return reshape_to(m, product(m, &p), out->type.dim, rank);
}

static const Rule rules[] = {{"patches", OPERATOR(Transpose), channels_last}};

Status pass_patches(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
