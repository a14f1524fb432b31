/* reduce.c - inference of reductions, ArgMax, ArgMin and TopK.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/arith.h"
#include "ops/lower.h"
#include "ops/ops.h"

#include <string.h>

/* Marks the reduced axes; *known false: they are only known at run time. */
static Status reduced_axes(Infer *x, int rank, bool *reduced, bool *known) {
  const int64_t *axes = NULL;
  int64_t n = 0;
  int k, r;
  *known = true;
  if (has_in(x, 1)) {
    if (in_rank(x, 1, &r) && r > 1)
      return infer_fail(x, "axes must be a vector");
    *known = in_ints(x, 1, &axes, &n);
  }
  for (int i = 0; i < rank; i++)
    reduced[i] = !n && !ATTR(x->n, Reduce)->noop_with_empty_axes;
  for (int64_t i = 0; *known && i < n; i++) {
    TRY(norm_axis(x, axes[i], rank, false, &k));
    if (reduced[k])
      return infer_fail(x, "axis %lld is given twice", (long long)axes[i]);
    reduced[k] = true;
  }
  return ST_OK;
}

/* Axes not known: with keepdims the rank is known, without it only if the number of axes is. Symbols that an earlier
 * inference made up are kept. */
static void unknown_axes(Infer *x, int rank) {
  Dim dim[MAX_RANK];
  int64_t n;
  const Type *axes = in_type(x, 1);
  if (!ATTR(x->n, Reduce)->keepdims) {
    if (axes->rank != 1 || !dim_is_const(axes->dim[0], &n) || n < 1 || n > rank)
      return;
    rank -= (int)n;
  }
  bool before = has_out(x, 0) && x->n->out[0]->type.rank == rank;
  for (int i = 0; i < rank; i++)
    dim[i] = before ? x->n->out[0]->type.dim[i] : dim_fresh(x->c, "reduced");
  set_out(x, 0, DT_none, rank, dim);
}

/* Reduce*: axes as input 1. */
Status reduce_infer(Infer *x) {
  bool reduced[MAX_RANK], known, keep = ATTR(x->n, Reduce)->keepdims != 0;
  Dim dim[MAX_RANK], on[MAX_RANK], one = dim_const(x->c, 1);
  int rank, r = 0;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(reduced_axes(x, rank, reduced, &known));
  if (!known && keep && axes_named(x->c, x->n, ATTR(x->n, Reduce)->noop_with_empty_axes != 0, on)) {
    for (int i = 0; i < rank; i++) /* 1 on an axis that is reduced: the expression that the kernel has */
      dim[i] = dim_sub(x->c, in_dim(x, 0, i), dim_mul(x->c, dim_sub(x->c, in_dim(x, 0, i), one), on[i]));
    set_out(x, 0, DT_none, rank, dim);
    return ST_OK;
  }
  if (!known) {
    unknown_axes(x, rank);
    return ST_OK;
  }
  for (int i = 0; i < rank; i++)
    if (keep || !reduced[i])
      dim[r++] = reduced[i] ? dim_const(x->c, 1) : in_dim(x, 0, i);
  set_out(x, 0, DT_none, r, dim);
  OpId op = x->n->op;
  if (rank < 2 && (op == OP_ReduceSum || op == OP_ReduceProd || op == OP_ReduceMax || op == OP_ReduceMin))
    content_reduce(x, rank == 1 && reduced[0]);
  return ST_OK;
}

Status argreduce_infer(Infer *x) {
  const ArgReduceAttr *a = ATTR(x->n, ArgReduce);
  Dim dim[MAX_RANK];
  int rank, axis, r = 0;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(norm_axis(x, a->axis, rank, false, &axis));
  for (int i = 0; i < rank; i++)
    if (i != axis || a->keepdims)
      dim[r++] = i == axis ? dim_const(x->c, 1) : in_dim(x, 0, i);
  set_out(x, 0, DT_i64, r, dim);
  return ST_OK;
}

/* The extent that k gives: its content, else the symbol an earlier inference made up, else a new one. */
static Dim topk_extent(Infer *x, int rank, int axis) {
  const Dim *k;
  int64_t n;
  if (in_content(x, 1, &k, &n) && n == 1)
    return k[0]->data ? dim_min(x->c, k[0], in_dim(x, 0, axis)) : k[0]; /* more would be an error */
  for (int i = 0; i < 2; i++)
    if (has_out(x, i) && x->n->out[i]->type.rank == rank)
      return x->n->out[i]->type.dim[axis];
  Dim d = dim_fresh(x->c, "topk");
  dim_narrow(x->c, d, 0, in_dim(x, 0, axis)->hi);
  return d;
}

/* TopK: k is input 1. */
Status topk_infer(Infer *x) {
  Dim dim[MAX_RANK];
  int rank, axis;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(norm_axis(x, ATTR(x->n, TopK)->axis, rank, false, &axis));
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  dim[axis] = topk_extent(x, rank, axis);
  if (dim[axis]->hi < 0 || dim[axis]->lo > in_dim(x, 0, axis)->hi)
    return infer_fail(x, "k is %s, but axis %d has %s elements", dim_text(x->c, dim[axis]), axis,
                      dim_text(x->c, in_dim(x, 0, axis)));
  set_out(x, 0, DT_none, rank, dim);
  set_out(x, 1, DT_i64, rank, dim);
  return ST_OK;
}
