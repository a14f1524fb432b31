/* gather.c - elements and slices by index: Gather 13, GatherElements 13, GatherND 13.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"

Status gather_eval(Eval *e) {
  const GatherAttr *a = e->attr;
  const Tensor *x = e->in[0], *ix = e->in[1];
  const int64_t *raw;
  int64_t n, dim[2 * MAX_RANK];
  int axis, r = 0;
  Tensor *y;
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(eval_ints(e, 1, &raw, &n));
  int64_t *idx = arena_array(e->scratch, int64_t, (size_t)n);
  for (int64_t k = 0; k < n; k++)
    TRY(move_index(e, raw[k], axis, x->dim[axis], &idx[k]));
  for (int i = 0; i < axis; i++)
    dim[r++] = x->dim[i];
  for (int i = 0; i < ix->rank; i++)
    dim[r++] = ix->dim[i];
  for (int i = axis + 1; i < x->rank; i++)
    dim[r++] = x->dim[i];
  TRY(move_out(e, 0, x->dtype, r, dim, &y));
  int64_t inner = move_count(x, axis + 1, x->rank), outer = move_count(x, 0, axis);
  if (!tensor_count(y))
    return ST_OK;
  for (int64_t o = 0; o < outer; o++)
    for (int64_t k = 0; k < n; k++)
      move_run(x->dtype, y->data, (o * n + k) * inner, x->data, (o * x->dim[axis] + idx[k]) * inner, inner);
  return move_done(e, y);
}

Status gather_elements_eval(Eval *e) {
  const GatherElementsAttr *a = e->attr;
  const Tensor *x = e->in[0], *ix = e->in[1];
  const int64_t *idx;
  int64_t n, k, stride[MAX_RANK], at[MAX_RANK] = {0};
  int axis;
  Tensor *y;
  if (ix->rank != x->rank)
    return eval_fail(e, "the indices must have the rank of the data");
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  for (int i = 0; i < x->rank; i++)
    if (i != axis && ix->dim[i] > x->dim[i])
      return eval_fail(e, "%lld indices on axis %d reach beyond the %lld of the data", (long long)ix->dim[i], i,
                       (long long)x->dim[i]);
  TRY(eval_ints(e, 1, &idx, &n));
  TRY(move_out(e, 0, x->dtype, ix->rank, ix->dim, &y));
  row_major_strides(x->rank, x->dim, stride);
  for (int64_t p = 0; p < n; p++) {
    TRY(move_index(e, idx[p], axis, x->dim[axis], &k));
    int64_t s = k * stride[axis];
    for (int i = 0; i < x->rank; i++)
      s += i == axis ? 0 : at[i] * stride[i];
    move_run(x->dtype, y->data, p, x->data, s, 1);
    next_index(ix->rank, ix->dim, at);
  }
  return move_done(e, y);
}

Status gather_nd_eval(Eval *e) {
  const GatherNDAttr *a = e->attr;
  const Tensor *x = e->in[0], *ix = e->in[1];
  const int64_t *idx;
  int64_t count, b = a->batch_dims, dim[2 * MAX_RANK], stride[MAX_RANK];
  int r = 0, q = ix->rank;
  Tensor *y;
  if (q < 1 || x->rank < 1 || b < 0 || b >= q || b >= x->rank)
    return eval_fail(e, "batch_dims %lld must be below both ranks, which are 1 or more", (long long)b);
  int64_t k = ix->dim[q - 1];
  if (k < 1 || k > x->rank - b)
    return eval_fail(e, "index tuples of %lld for %lld axes", (long long)k, (long long)(x->rank - b));
  for (int i = 0; i < b; i++)
    if (ix->dim[i] != x->dim[i])
      return eval_fail(e, "batch axis %d differs: %lld and %lld", i, (long long)x->dim[i], (long long)ix->dim[i]);
  for (int i = 0; i < q - 1; i++)
    dim[r++] = ix->dim[i];
  for (int i = (int)(b + k); i < x->rank; i++)
    dim[r++] = x->dim[i];
  TRY(eval_ints(e, 1, &idx, &count));
  TRY(move_out(e, 0, x->dtype, r, dim, &y));
  row_major_strides(x->rank, x->dim, stride);
  int64_t inner = move_count(x, (int)(b + k), x->rank), per_batch = move_count(ix, (int)b, q - 1), tuples = count / k;
  int64_t batch_stride = move_count(x, (int)b, x->rank);
  for (int64_t t = 0; t < tuples; t++) {
    int64_t s = t / per_batch * batch_stride, p;
    for (int64_t i = 0; i < k; i++) {
      TRY(move_index(e, idx[t * k + i], (int)(b + i), x->dim[b + i], &p));
      s += p * stride[b + i];
    }
    move_run(x->dtype, y->data, t * inner, x->data, s, inner);
  }
  return move_done(e, y);
}
