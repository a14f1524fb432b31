/* axes.c - axes that only a run tells. Slice and Pad get bounds for every axis in order, which a small host step (ByAxis) puts
 * in their places, also where a run tells how many bounds there are; a reduction that drops its axes keeps them as 1 and
 * is squeezed. Scales of a Resize that only a run tells are sizes as well. Kernels exist for these forms.
 * Needs: types inferred, ranks known. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

/* The axes of a node, when they are a vector of known length whose elements are not known. */
static Value *run_axes(const Match *m, int i, int64_t *n) {
  const Value *v = i < m->root->nin ? m->root->in[i] : NULL;
  if (!type_known(v) || v->konst || !v->content || v->type.rank != 1 || !dim_is_const(v->type.dim[0], n) || *n < 1)
    return NULL;
  bool constant = true;
  for (int64_t k = 0; k < *n; k++)
    constant &= v->content[k]->kind == DIM_CONST;
  return constant || !type_known(m->root->in[0]) ? NULL : m->root->in[i];
}

/* `values` at the places that the axes name, x elsewhere, of n axes; sets: how many values there are per axis. */
static Value *by_axis(Match *m, Value *axes, Value *values, int64_t x, int sets) {
  int64_t base[2 * MAX_RANK];
  ByAxisAttr a = {.sets = sets};
  int n = sets * m->root->in[0]->type.rank;
  CastAttr wide = {.to = DT_i64, .saturate = 1};
  for (int i = 0; i < n; i++)
    base[i] = x;
  if (values->type.dtype != DT_i64)
    values = EMIT(m, Cast, &wide, values);
  return EMIT(m, ByAxis, &a, axes, values, const_ints(m, base, n));
}

/* Bounds whose number a run tells are those of so many axes from the front. */
static Value *counted_axes(Match *m) {
  Node *n = m->root;
  Value *starts = n->in[1];
  if ((n->nin > 3 && n->in[3]) || (n->nin > 4 && n->in[4]) || !type_known(n->in[0]) || !type_known(starts) ||
      starts->type.rank != 1 || starts->type.dim[0]->kind == DIM_CONST)
    return NULL;
  Value *zero = const_like(m, 0, DT_i64), *one = const_like(m, 1, DT_i64);
  return EMIT(m, Range, NULL, zero, EMIT(m, Size, NULL, starts), one);
}

static Value *slice_counted(Match *m) {
  Node *n = m->root;
  Value *axes = counted_axes(m);
  if (!axes)
    return NULL;
  Value *starts = by_axis(m, axes, n->in[1], 0, 1);
  return EMIT(m, Slice, NULL, n->in[0], starts, by_axis(m, axes, n->in[2], INT64_MAX, 1));
}

static Value *slice_all(Match *m) {
  Node *n = m->root;
  int64_t k, one[MAX_RANK];
  Value *axes = run_axes(m, 3, &k);
  if (!axes || k > n->in[0]->type.rank)
    return NULL;
  for (int i = 0; i < k; i++)
    one[i] = 1;
  Value *step = n->nin > 4 && n->in[4] ? n->in[4] : const_ints(m, one, k);
  Value *in[5] = {n->in[0], by_axis(m, axes, n->in[1], 0, 1), by_axis(m, axes, n->in[2], INT64_MAX, 1), NULL,
                  by_axis(m, axes, step, 1, 1)};
  return emit(m, OP_Slice, NULL, 5, in);
}

static Value *pad_all(Match *m) {
  Node *n = m->root;
  int64_t k;
  Value *axes = run_axes(m, 3, &k);
  if (!axes || k > n->in[0]->type.rank)
    return NULL;
  Value *in[3] = {n->in[0], by_axis(m, axes, n->in[1], 0, 2), n->in[2]};
  return emit(m, OP_Pad, n->attr, 3, in);
}

static Value *keep_reduced(Match *m) {
  Node *n = m->root;
  int64_t k;
  Value *axes = run_axes(m, 1, &k);
  ReduceAttr a = *ATTR(n, Reduce);
  if (!axes || a.keepdims || n->in[0]->type.rank < 1)
    return NULL;
  a.keepdims = 1;
  return EMIT(m, Squeeze, NULL, emit(m, n->op, &a, 2, n->in), axes);
}

/* Scales that only a run tells make sizes, which a small host step works out before. */
static Value *resize_to(Match *m) {
  Node *n = m->root;
  const ResizeAttr *a = ATTR(n, Resize);
  GatherAttr along = {.axis = 0};
  Value *scales = n->nin > 2 ? n->in[2] : NULL;
  if (!type_known(n->in[0]) || !type_known(scales) || scales->konst || scales->type.rank != 1 ||
      (n->nin > 3 && n->in[3]))
    return NULL;
  Value *shape = EMIT(m, Shape, &(ShapeAttr){.end = ABSENT}, n->in[0]);
  if (a->axes.v)
    shape = EMIT(m, Gather, &along, shape, const_ints(m, a->axes.v, a->axes.n));
  Value *in[4] = {n->in[0], n->in[1], scales, EMIT(m, ScaledSizes, NULL, shape, scales)};
  return emit(m, OP_ResizeTo, a, 4, in);
}

static const Rule rules[] = {
    {"resize to sizes", OPERATOR(Resize), resize_to},
    {"slice by axis", OPERATOR(Slice), slice_all},
    {"slice of so many axes", OPERATOR(Slice), slice_counted},
    {"pad by axis", OPERATOR(Pad), pad_all},
#define REDUCTION(op)                                                                                                  \
  { "reduction keeps its axes", OPERATOR(op), keep_reduced }
    REDUCTION(ReduceSum),
    REDUCTION(ReduceMean),
    REDUCTION(ReduceMax),
    REDUCTION(ReduceMin),
    REDUCTION(ReduceProd),
    REDUCTION(ReduceL1),
    REDUCTION(ReduceL2),
    REDUCTION(ReduceLogSum),
    REDUCTION(ReduceLogSumExp),
    REDUCTION(ReduceSumSquare),
};

Status pass_axes(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
