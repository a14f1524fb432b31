/* conv_transpose.c - a ConvTranspose as a Conv at the input's positions, for which there are products, and a shuffle of its channels.
 *
 * With stride s and s*J taps, output s*q + r takes tap s*j + r of input q - j, so that each phase r is a convolution of J taps, the
 * same input for all phases:
 *
 *   y[c, s*q + r] = sum over channels i and j < J   x[i, q - j] * w[i, c, s*j + r]
 *
 * The convolution has s times the channels, phase by phase, and J - 1 positions of padding on both sides; padding of the
 * ConvTranspose is cut off in the end. Where s does not divide the taps, phases would need taps of zeros, which are not the same for
 * infinite inputs: those stay as they are.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include "ops/eval/nn.h"

enum { MOST_AXES = 3, LEAST_ROWS = 8 };

typedef struct Phases {
  Node *n;
  Value *x, *w, *bias;
  int axes;
  int64_t in, out, all;                        /* channels; phases of all axes together */
  int64_t s[MOST_AXES], j[MOST_AXES];          /* stride; taps of a phase */
  int64_t begin[MOST_AXES], behind[MOST_AXES]; /* cut off in front; positions that the convolution needs behind */
} Phases;

static bool f32_constant(const Value *v) { return v->konst && type_known(v) && v->type.dtype == DT_f32; }

static bool channels_of(Phases *p) {
  const Type *w = &p->w->type;
  int64_t least;
  return dim_is_const(w->dim[0], &p->in) && dim_is_const(w->dim[1], &p->out) && p->in > 0 && p->out > 0 &&
         p->out <= INT32_MAX && !__builtin_mul_overflow(p->out, p->all, &least) && least >= LEAST_ROWS &&
         least <= INT32_MAX && dim_is(p->x->type.dim[1], p->in) &&
         (!p->bias || (f32_constant(p->bias) && p->bias->type.rank == 1 && dim_is(p->bias->type.dim[0], p->out)));
}

static bool phases_of(Match *m, Phases *p) {
  Node *n = m->root;
  const ConvTransposeAttr *a = ATTR(n, ConvTranspose);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  WindowSpec s;
  *p = (Phases){.n = n, .x = n->in[0], .w = n->in[1], .bias = n->nin > 2 ? n->in[2] : NULL, .all = 1};
  if (!type_known(p->x) || p->x->type.dtype != DT_f32 || !f32_constant(p->w) || p->w->type.rank != p->x->type.rank ||
      !type_known(n->out[0]) || a->group != 1 || a->output_shape.n)
    return false;
  p->axes = p->x->type.rank - 2;
  if (p->axes < 1 || p->axes > MOST_AXES || window_spec(m->c, &wa, p->axes, &s) || s.mode != PAD_EXPLICIT)
    return false;
  for (int i = 0; i < p->axes; i++) {
    int64_t k, more = a->output_padding.n ? a->output_padding.v[i] : 0;
    p->s[i] = s.stride[i], p->begin[i] = s.begin[i];
    if (!dim_is_const(p->w->type.dim[i + 2], &k) || s.dilation[i] != 1 || k < 1 || k > INT16_MAX || p->s[i] > k ||
        k % p->s[i] || more > k || s.end[i] > k)
      return false;
    p->j[i] = k / p->s[i], p->all *= p->s[i];
    p->behind[i] = more > s.end[i] ? (more - s.end[i] - 1) / p->s[i] + 1 : 0;
  }
  return channels_of(p) && dims_bound(m->g, n->out[0]->type.dim, p->axes + 2, p->x) &&
         dims_bound(m->g, p->x->type.dim, p->axes + 2, p->x);
}

/* [in, out, s*J …] -> [phases * out, in, J …], the taps of a phase from back to front. */
static Value *weight(Match *m, const Phases *p) {
  int64_t perm[MAX_RANK], from[MOST_AXES], to[MOST_AXES], axis[MOST_AXES], step[MOST_AXES];
  Dim apart[MAX_RANK], joint[MAX_RANK];
  int n = p->axes;
  apart[0] = joint[1] = dim_const(m->c, p->in), apart[1] = dim_const(m->c, p->out);
  joint[0] = dim_const(m->c, p->all * p->out);
  perm[n] = 1, perm[n + 1] = 0;
  for (int i = 0; i < n; i++) {
    apart[2 + 2 * i] = joint[2 + i] = dim_const(m->c, p->j[i]), apart[3 + 2 * i] = dim_const(m->c, p->s[i]);
    perm[i] = 3 + 2 * i, perm[n + 2 + i] = axis[i] = 2 + 2 * i;
    from[i] = p->j[i] - 1, to[i] = -p->j[i] - 1, step[i] = -1;
  }
  Value *w = reshape_to(m, p->w, apart, 2 + 2 * n);
  w = EMIT(m, Slice, NULL, w, const_ints(m, from, n), const_ints(m, to, n), const_ints(m, axis, n),
           const_ints(m, step, n));
  return reshape_to(m, transpose_by(m, w, perm, 2 + 2 * n), joint, 2 + n);
}

static Value *bias(Match *m, const Phases *p) {
  Dim each[] = {dim_const(m->c, p->all), dim_const(m->c, p->out)}, joint = dim_const(m->c, p->all * p->out);
  return reshape_to(m, EMIT(m, Expand, NULL, p->bias, dims_value(m, each, 2)), &joint, 1);
}

/* [N, phases * out, Q …] -> [N, s * Q …, out]: runs of channels are moved. */
static Value *shuffle(Match *m, const Phases *p, Value *z) {
  int64_t last[MAX_RANK] = {0}, perm[MAX_RANK] = {0};
  Dim apart[MAX_RANK], joint[MAX_RANK];
  int n = p->axes;
  apart[0] = joint[0] = z->type.dim[0], apart[2 * n + 1] = joint[n + 1] = dim_const(m->c, p->out);
  last[n + 1] = 1, perm[2 * n + 1] = 2 * n + 1;
  for (int i = 0; i < n; i++) {
    apart[1 + i] = z->type.dim[2 + i], apart[n + 1 + i] = dim_const(m->c, p->s[i]);
    joint[1 + i] = dim_mul(m->c, apart[1 + i], apart[n + 1 + i]);
    last[1 + i] = 2 + i, perm[1 + 2 * i] = 1 + i, perm[2 + 2 * i] = n + 1 + i;
  }
  z = reshape_to(m, transpose_by(m, z, last, n + 2), apart, 2 + 2 * n);
  return reshape_to(m, transpose_by(m, z, perm, 2 + 2 * n), joint, 2 + n);
}

/* What the padding leaves of y, with the channels first again. */
static Value *cut(Match *m, const Phases *p, Value *y) {
  const Type *want = &p->n->out[0]->type;
  int64_t axis[MOST_AXES], first[MAX_RANK] = {0, p->axes + 1};
  Dim end[MOST_AXES];
  bool whole = true;
  for (int i = 0; i < p->axes; i++) {
    axis[i] = i + 1, end[i] = dim_add(m->c, want->dim[i + 2], dim_const(m->c, p->begin[i]));
    first[2 + i] = i + 1, whole &= y->type.dim[1 + i] == want->dim[2 + i];
  }
  if (!whole)
    y = EMIT(m, Slice, NULL, y, const_ints(m, p->begin, p->axes), dims_value(m, end, p->axes),
             const_ints(m, axis, p->axes));
  return transpose_by(m, y, first, p->axes + 2);
}

static Value *as_conv(Match *m) {
  Phases p;
  int64_t *pads = arena_array(m->g->arena, int64_t, 2u * MOST_AXES);
  if (!phases_of(m, &p))
    return NULL;
  for (int i = 0; i < p.axes; i++)
    pads[i] = p.j[i] - 1, pads[p.axes + i] = p.j[i] - 1 + p.behind[i];
  ConvAttr attr = {.auto_pad = str_of("NOTSET"), .group = 1, .pads = {pads, 2 * p.axes}};
  Value *w = weight(m, &p), *z;
  z = p.bias ? EMIT(m, Conv, &attr, p.x, w, bias(m, &p)) : EMIT(m, Conv, &attr, p.x, w);
  return cut(m, &p, shuffle(m, &p, z));
}

static const Rule rules[] = {{"conv transpose", OPERATOR(ConvTranspose), as_conv}};

Status pass_conv_transpose(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
