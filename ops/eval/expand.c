/* expand.c - repeated elements: Expand 13, Tile 13.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"
#include "support/checked.h"

Status expand_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const int64_t *want;
  int64_t n, dim[MAX_RANK];
  int rank;
  Tensor *y;
  TRY(eval_ints(e, 1, &want, &n));
  TRY(move_rank(e, n));
  TRY(eval_broadcast(e, x->rank, x->dim, (int)n, want, &rank, dim));
  TRY(move_out(e, 0, x->dtype, rank, dim, &y));
  View d = view_of(y), s = {.data = x->data};
  eval_bcast_strides(x, rank, dim, s.stride);
  move_box(x->dtype, rank, dim, &d, &s);
  return move_done(e, y);
}

/* Each axis becomes two: the repeats, of stride 0 in x, and x's own. */
Status tile_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const int64_t *times;
  int64_t n, dim[MAX_RANK], box[MAX_BOX], own[MAX_RANK], out[MAX_RANK];
  Tensor *y;
  TRY(eval_ints(e, 1, &times, &n));
  if (n != x->rank)
    return eval_fail(e, "%lld repeats for an input of rank %d", (long long)n, x->rank);
  for (int i = 0; i < n; i++) {
    if (times[i] < 0)
      return eval_fail(e, "repeats[%d] is %lld", i, (long long)times[i]);
    if (!mul_ok(x->dim[i], times[i], &dim[i]))
      return eval_fail(e, "axis %d repeated %lld times is too large", i, (long long)times[i]);
  }
  TRY(move_out(e, 0, x->dtype, x->rank, dim, &y));
  View d = {.data = y->data}, s = {.data = x->data};
  row_major_strides(x->rank, x->dim, own);
  row_major_strides(x->rank, dim, out);
  for (int i = 0; i < n; i++) {
    box[2 * i] = times[i], box[2 * i + 1] = x->dim[i];
    s.stride[2 * i] = 0, s.stride[2 * i + 1] = own[i];
    d.stride[2 * i] = x->dim[i] * out[i], d.stride[2 * i + 1] = out[i];
  }
  move_box(x->dtype, 2 * x->rank, box, &d, &s);
  return move_done(e, y);
}
