/* gradient_products.c - derivatives of matrix products and convolutions, and of normalisations.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

/* --- matrix products --- */

static Value *transposed(Back *b, Value *x) {
  int64_t perm[MAX_RANK];
  int rank = x->type.rank;
  for (int i = 0; i < rank; i++)
    perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
  return transpose_by(&b->m, x, perm, rank);
}

static Value *with_axis(Back *b, Value *x, int64_t axis) {
  return apply2(b, OP_Unsqueeze, x, const_ints(&b->m, &axis, 1));
}

/* A vector stands for a matrix of one row on the left, of one column on the right; y lacks that axis. */
void back_matmul(Back *b) {
  Value *l = b->n->in[0], *r = b->n->in[1], *dy = b->dy[0];
  if (!type_known(l) || !type_known(r)) {
    no_rule(b, "meets a tensor of unknown rank");
    return;
  }
  bool row = l->type.rank == 1, column = r->type.rank == 1;
  dy = column ? with_axis(b, dy, -1) : dy;
  dy = row ? with_axis(b, dy, -2) : dy;
  if (wants(b, 0)) {
    Value *d = apply2(b, OP_MatMul, dy, transposed(b, column ? with_axis(b, r, -1) : r));
    give(b, 0, row ? apply2(b, OP_Squeeze, d, const_ints(&b->m, (int64_t[]){-2}, 1)) : d);
  }
  if (wants(b, 1)) {
    Value *d = apply2(b, OP_MatMul, transposed(b, row ? with_axis(b, l, -2) : l), dy);
    give(b, 1, column ? apply2(b, OP_Squeeze, d, const_ints(&b->m, (int64_t[]){-1}, 1)) : d);
  }
}

static Value *gemm(Back *b, Value *l, bool flip_l, Value *r, bool flip_r) {
  GemmAttr a = {.alpha = ATTR(b->n, Gemm)->alpha, .beta = 1, .transA = flip_l, .transB = flip_r};
  return EMIT(&b->m, Gemm, &a, l, r);
}

void back_gemm(Back *b) {
  const GemmAttr *a = ATTR(b->n, Gemm);
  Value *l = b->n->in[0], *r = b->n->in[1], *dy = b->dy[0];
  if (wants(b, 0))
    give(b, 0, a->transA ? gemm(b, r, a->transB, dy, true) : gemm(b, dy, false, r, !a->transB));
  if (wants(b, 1))
    give(b, 1, a->transB ? gemm(b, dy, true, l, a->transA) : gemm(b, l, !a->transA, dy, false));
  if (wants(b, 2))
    give(b, 2, scaled(b, dy, (double)a->beta));
}

/* --- convolutions --- */

typedef struct Window {
  int n; /* spatial axes */
  int64_t stride[MAX_RANK], dilation[MAX_RANK], pads[2 * MAX_RANK];
} Window;

static bool find_window(Back *b, Window *w) {
  const ConvAttr *a = ATTR(b->n, Conv);
  Value *x = b->n->in[0], *k = b->n->in[1];
  *w = (Window){.n = x->type.rank - 2};
  if (!type_known(x) || !type_known(k) || w->n < 1)
    return no_rule(b, "meets a tensor of unknown rank"), false;
  if (!str_is(a->auto_pad, "NOTSET") && !str_is(a->auto_pad, "VALID"))
    return no_rule(b, "has a derivative with explicit pads only"), false;
  for (int i = 0; i < w->n; i++) {
    w->stride[i] = a->strides.v ? a->strides.v[i] : 1;
    w->dilation[i] = a->dilations.v ? a->dilations.v[i] : 1;
    w->pads[i] = a->pads.v ? a->pads.v[i] : 0;
    w->pads[w->n + i] = a->pads.v ? a->pads.v[w->n + i] : 0;
  }
  return true;
}

/* Zeros behind x, or elements cut off, so that its axes from 2 on get the extents of `like`. */
static Value *fit(Back *b, Value *x, Value *like, int n) {
  int64_t axes[MAX_RANK];
  ShapeAttr spatial = {.start = 2, .end = ABSENT};
  ConcatAttr first = {.axis = 0};
  for (int i = 0; i < n; i++)
    axes[i] = i + 2;
  Value *more = sub(b, EMIT(&b->m, Shape, &spatial, like), EMIT(&b->m, Shape, &spatial, x));
  Value *pads = EMIT(&b->m, Concat, &first, sub(b, more, more), more);
  return EMIT(&b->m, Pad, NULL, x, pads, NULL, const_ints(&b->m, axes, n));
}

/* The transposed convolution, with no pads behind, as the last windows may not have reached the end of x. */
static Value *conv_dx(Back *b, const Window *w) {
  int64_t pads[2 * MAX_RANK] = {0};
  for (int i = 0; i < w->n; i++)
    pads[i] = w->pads[i];
  ConvTransposeAttr t = {.auto_pad = str_of("NOTSET"),
                         .group = ATTR(b->n, Conv)->group,
                         .strides = {w->stride, w->n},
                         .dilations = {w->dilation, w->n},
                         .pads = {pads, 2 * w->n}};
  return fit(b, EMIT(&b->m, ConvTranspose, &t, b->dy[0], b->n->in[1]), b->n->in[0], w->n);
}

/* [A, g B, …] to [B, g A, …] */
static Value *groups_in_batch(Back *b, Value *x, int64_t g, int n) {
  int64_t split[MAX_RANK + 1] = {0, g, -1}, perm[MAX_RANK + 1] = {2, 1, 0}, join[MAX_RANK] = {0, -1};
  ShapeAttr spatial = {.start = 2, .end = ABSENT};
  ConcatAttr first = {.axis = 0};
  if (g == 1) {
    perm[0] = 1, perm[1] = 0;
    for (int i = 2; i < n + 2; i++)
      perm[i] = i;
    return transpose_by(&b->m, x, perm, n + 2);
  }
  for (int i = 3; i < n + 3; i++)
    perm[i] = i;
  Value *size = EMIT(&b->m, Shape, &spatial, x);
  Value *to = EMIT(&b->m, Concat, &first, const_ints(&b->m, split, 3), size);
  x = transpose_by(&b->m, EMIT(&b->m, Reshape, NULL, x, to), perm, n + 3);
  to = EMIT(&b->m, Concat, &first, const_ints(&b->m, join, 2), size);
  return EMIT(&b->m, Reshape, NULL, x, to);
}

/* x with channels as batch, convolved with dy with batch as channels: strides and dilations change places. */
static Value *conv_dw(Back *b, const Window *w) {
  int64_t g = ATTR(b->n, Conv)->group, swap[MAX_RANK] = {1, 0};
  ConvAttr t = {.auto_pad = str_of("NOTSET"),
                .group = g,
                .strides = {w->dilation, w->n},
                .dilations = {w->stride, w->n},
                .pads = {w->pads, 2 * w->n}};
  for (int i = 2; i < w->n + 2; i++)
    swap[i] = i;
  Value *x = groups_in_batch(b, b->n->in[0], g, w->n);       /* [C/g, g N, …] */
  Value *dy = transpose_by(&b->m, b->dy[0], swap, w->n + 2); /* [M, N, …] */
  Value *dw = EMIT(&b->m, Conv, &t, x, dy);                  /* [C/g, M, …] */
  return fit(b, transpose_by(&b->m, dw, swap, w->n + 2), b->n->in[1], w->n);
}

void back_conv(Back *b) {
  Window w;
  int64_t axes[MAX_RANK] = {0};
  if (!find_window(b, &w))
    return;
  if (wants(b, 0))
    give(b, 0, conv_dx(b, &w));
  if (wants(b, 1))
    give(b, 1, conv_dw(b, &w));
  for (int i = 1; i < w.n + 1; i++)
    axes[i] = i + 1;
  if (wants(b, 2))
    give(b, 2, sum_over(b, b->dy[0], const_ints(&b->m, axes, w.n + 1), false));
}

/* --- normalisations --- */

static Value *mean_over(Back *b, Value *x, Value *axes) {
  ReduceAttr keep = {.keepdims = 1};
  return EMIT(&b->m, ReduceMean, &keep, x, axes);
}

static Value *one_over_root(Back *b, Value *x, float epsilon) {
  return apply1(b, OP_Reciprocal, apply1(b, OP_Sqrt, add(b, x, num(b, (double)epsilon, x))));
}

/* The axes from `axis` on; NULL: the rank is not known. */
static Value *axes_from(Back *b, int64_t axis) {
  int64_t list[MAX_RANK];
  int first = axis_of(axis, b->n->in[0]), n = 0;
  if (first < 0)
    return no_rule(b, "meets a tensor of unknown rank"), NULL;
  for (int i = first; i < b->n->in[0]->type.rank; i++)
    list[n++] = i;
  return const_ints(&b->m, list, n);
}

/* y = z scale + bias, z = (x - mean) r, r = 1 / sqrt(var + epsilon):
 * dx = r (dz - mean(dz) - z mean(dz z)), without mean(dz) where no mean was taken off. */
static void back_norm(Back *b, Value *axes, Value *z, Value *r, bool centred) {
  Value *scale = b->n->in[1], *dy = as(b, b->dy[0], z->type.dtype);
  Value *dz = mul(b, dy, as(b, scale, z->type.dtype));
  if (wants(b, 0)) {
    Value *d = mul(b, z, mean_over(b, mul(b, dz, z), axes));
    d = sub(b, centred ? sub(b, dz, mean_over(b, dz, axes)) : dz, d);
    give(b, 0, as(b, mul(b, d, r), b->n->in[0]->type.dtype));
  }
  if (wants(b, 1))
    give(b, 1, as(b, mul(b, dy, z), scale->type.dtype));
  if (wants(b, 2))
    give(b, 2, as(b, dy, b->n->in[2]->type.dtype));
}

void back_layer_norm(Back *b) {
  const LayerNormalizationAttr *a = ATTR(b->n, LayerNormalization);
  Value *axes = axes_from(b, a->axis), *x = b->n->in[0];
  if (axes && ((b->n->nout > 1 && b->dy[1]) || (b->n->nout > 2 && b->dy[2])))
    no_rule(b, "has no derivative of its statistics");
  if (!axes || b->m.st || !b->dy[0])
    return;
  x = as(b, x, x->type.dtype == DT_f64 ? DT_f64 : (DType)a->stash_type);
  Value *d = sub(b, x, mean_over(b, x, axes));
  Value *r = one_over_root(b, mean_over(b, square(b, d), axes), a->epsilon);
  back_norm(b, axes, mul(b, d, r), r, true);
}

void back_rms_norm(Back *b) {
  const RMSNormalizationAttr *a = ATTR(b->n, RMSNormalization);
  Value *axes = axes_from(b, a->axis), *x = b->n->in[0];
  if (!axes)
    return;
  x = as(b, x, x->type.dtype == DT_f64 ? DT_f64 : (DType)a->stash_type);
  Value *r = one_over_root(b, mean_over(b, square(b, x), axes), a->epsilon);
  back_norm(b, axes, mul(b, x, r), r, false);
}

/* With fixed statistics; what takes them from the batch is made of reductions before (losses.c). */
void back_batch_norm(Back *b) {
  Node *n = b->n;
  const BatchNormalizationAttr *a = ATTR(n, BatchNormalization);
  int64_t axes[MAX_RANK], others[MAX_RANK] = {0}, k = 0;
  int rank = n->in[0]->type.rank;
  if (a->training_mode || !type_known(n->in[0]) || rank < 2 || wants(b, 3) || wants(b, 4)) {
    no_rule(b, wants(b, 3) || wants(b, 4) ? "has no derivative by its statistics" : "has no derivative in this form");
    return;
  }
  for (int i = 2; i < rank; i++)
    axes[k] = i - 1, others[++k] = i;
  Value *p[5], *behind = const_ints(&b->m, axes, k), *but_channels = const_ints(&b->m, others, k + 1);
  for (int i = 1; i < 5; i++)
    p[i] = k ? apply2(b, OP_Unsqueeze, n->in[i], behind) : n->in[i];
  Value *r = one_over_root(b, p[4], a->epsilon), *dy = b->dy[0];
  if (wants(b, 0))
    give(b, 0, as(b, mul(b, dy, as(b, mul(b, r, as(b, p[1], r->type.dtype)), dy->type.dtype)), n->in[0]->type.dtype));
  if (wants(b, 1)) {
    Value *z = mul(b, sub(b, as(b, n->in[0], r->type.dtype), p[3]), r);
    give(b, 1, as(b, sum_over(b, mul(b, as(b, dy, r->type.dtype), z), but_channels, false), n->in[1]->type.dtype));
  }
  if (wants(b, 2))
    give(b, 2, as(b, sum_over(b, dy, but_channels, false), n->in[2]->type.dtype));
}
