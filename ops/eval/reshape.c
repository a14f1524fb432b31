/* reshape.c - the same elements under another shape: Identity 25, Reshape 25, Flatten 25, Squeeze 25, Unsqueeze 25.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/items.h"
#include "ops/eval/move.h"
#include "support/checked.h"

#include <string.h>

/* Output 0: the elements of input 0 with shape dim; as many elements. The executor may have them share their memory. */
static Status out_as(Eval *e, int64_t rank, const int64_t *dim) {
  const Tensor *x = e->in[0];
  Tensor *y;
  TRY(move_shared_out(e, 0, x->dtype, rank, dim, &y));
  size_t n = tensor_bytes(x);
  if (n && y->data != x->data)
    memcpy(y->data, x->data, n);
  return y->data == x->data ? ST_OK : move_done(e, y);
}

Status identity_eval(Eval *e) {
  const Tensor *x = e->in[0];
  if (x->kind == VK_TENSOR)
    return out_as(e, x->rank, x->dim);
  return items_copy(e, 0, x);
}

/* The extent that stands for -1. Axes copied from the input (a 0) cancel, so that a zero batch is no ambiguity. */
static Status infer_minus_one(Eval *e, const int64_t *want, int64_t n, const bool *copied, int64_t *r) {
  const Tensor *x = e->in[0];
  int64_t total = 1, rest = 1;
  for (int i = 0; i < x->rank; i++)
    if (!(i < n && copied[i]))
      total *= x->dim[i]; /* factors of a count that was checked; a zero only shrinks it */
  for (int64_t i = 0; i < n; i++)
    if (want[i] != -1 && !copied[i] && !mul_ok(rest, want[i], &rest))
      return eval_fail(e, "the shape asked for is too large");
  if (!rest || total % rest)
    return eval_fail(e, "%lld elements do not divide by the %lld that the other dimensions of the shape make",
                     (long long)total, (long long)rest);
  *r = total / rest;
  return ST_OK;
}

Status reshape_eval(Eval *e) {
  const ReshapeAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const int64_t *want;
  int64_t n, dim[MAX_RANK], count, at = -1;
  bool copied[MAX_RANK] = {0}, zero = false;
  char s[128], t[128];
  if (e->in[1]->rank > 1)
    return eval_fail(e, "the shape must have rank 1");
  TRY(eval_ints(e, 1, &want, &n));
  TRY(move_rank(e, n));
  for (int64_t i = 0; i < n; i++) {
    dim[i] = want[i];
    if (want[i] < -1)
      return eval_fail(e, "dimension %lld of the shape is %lld", (long long)i, (long long)want[i]);
    if (want[i] == -1 && at >= 0)
      return eval_fail(e, "more than one dimension of the shape is -1");
    if (want[i] == -1)
      at = i;
    zero |= !want[i];
    if (!want[i] && !a->allowzero) {
      if (i >= x->rank)
        return eval_fail(e, "dimension %lld of the shape is 0 (copy), but the input has rank %d", (long long)i,
                         x->rank);
      dim[i] = x->dim[i], copied[i] = true;
    }
  }
  if (at >= 0 && zero && a->allowzero)
    return eval_fail(e, "the shape holds both 0 and -1, and allowzero is set");
  if (at >= 0)
    TRY(infer_minus_one(e, dim, n, copied, &dim[at]));
  if (!extent_ok(dim, (int)n, &count) || count != tensor_count(x))
    return eval_fail(e, "cannot reshape %s to %s: the element counts differ", shape_text(x->rank, x->dim, s, sizeof s),
                     shape_text((int)n, dim, t, sizeof t));
  return out_as(e, n, dim);
}

Status flatten_eval(Eval *e) {
  const FlattenAttr *a = e->attr;
  const Tensor *x = e->in[0];
  int64_t axis = a->axis < 0 ? a->axis + x->rank : a->axis;
  if (axis < 0 || axis > x->rank)
    return eval_fail(e, "axis %lld is not in [%d, %d]", (long long)a->axis, -x->rank, x->rank);
  int64_t dim[2] = {move_count(x, 0, (int)axis), move_count(x, (int)axis, x->rank)};
  return out_as(e, 2, dim);
}

/* Marks the axes that input 1 names, of rank `rank`. */
static Status mark_axes(Eval *e, int rank, bool *mark) {
  const int64_t *axes;
  int64_t n;
  TRY(eval_ints(e, 1, &axes, &n));
  for (int64_t i = 0; i < n; i++) {
    int k;
    TRY(eval_axis(e, axes[i], rank, false, &k));
    if (mark[k])
      return eval_fail(e, "axis %d is named twice", k);
    mark[k] = true;
  }
  return ST_OK;
}

Status squeeze_eval(Eval *e) {
  const Tensor *x = e->in[0];
  bool drop[MAX_RANK] = {0};
  int64_t dim[MAX_RANK];
  int n = 0;
  if (eval_has(e, 1))
    TRY(mark_axes(e, x->rank, drop));
  for (int i = 0; i < x->rank; i++) {
    if (drop[i] && x->dim[i] != 1)
      return eval_fail(e, "cannot squeeze axis %d of extent %lld", i, (long long)x->dim[i]);
    if (!(eval_has(e, 1) ? drop[i] : x->dim[i] == 1))
      dim[n++] = x->dim[i];
  }
  return out_as(e, n, dim);
}

Status unsqueeze_eval(Eval *e) {
  const Tensor *x = e->in[0];
  bool one[MAX_RANK] = {0};
  int64_t dim[MAX_RANK], rank = x->rank + tensor_count(e->in[1]);
  TRY(move_rank(e, rank));
  TRY(mark_axes(e, (int)rank, one));
  for (int i = 0, k = 0; i < rank; i++)
    dim[i] = one[i] ? 1 : x->dim[k++];
  return out_as(e, rank, dim);
}
