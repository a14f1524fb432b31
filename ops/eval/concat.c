/* concat.c - joining and cutting along an axis: Concat 13, Split 18.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/concat.h"

#include "ops/eval/move.h"
#include "support/checked.h"

Status concat_tensors(Eval *e, int64_t n, const Tensor *const *x, int64_t axis_attr, Tensor **out) {
  const Tensor *first = x[0];
  int64_t dim[MAX_RANK], at = 0;
  int axis;
  Tensor *y;
  if (!first->rank)
    return eval_fail(e, "scalars cannot be concatenated");
  TRY(eval_axis(e, axis_attr, first->rank, false, &axis));
  for (int i = 0; i < first->rank; i++)
    dim[i] = first->dim[i];
  for (int64_t k = 1; k < n; k++) {
    if (x[k]->dtype != first->dtype || x[k]->rank != first->rank)
      return eval_fail(e, "tensor %lld to concatenate has another type or rank than the first", (long long)k);
    for (int i = 0; i < first->rank; i++)
      if (i != axis && x[k]->dim[i] != dim[i])
        return eval_fail(e, "tensor %lld to concatenate has extent %lld on axis %d, the first %lld", (long long)k,
                         (long long)x[k]->dim[i], i, (long long)dim[i]);
    if (!add_ok(dim[axis], x[k]->dim[axis], &dim[axis]))
      return eval_fail(e, "the extents on axis %d are too large", axis);
  }
  TRY(move_out(e, 0, first->dtype, first->rank, dim, &y));
  for (int64_t k = 0; k < n; k++) {
    View d = view_of(y), s = view_of(x[k]);
    d.at = at * d.stride[axis];
    move_box(y->dtype, y->rank, x[k]->dim, &d, &s);
    at += x[k]->dim[axis];
  }
  *out = y;
  return move_done(e, y);
}

Status concat_eval(Eval *e) {
  const ConcatAttr *a = e->attr;
  Tensor *y;
  for (int i = 0; i < e->nin; i++)
    if (!eval_has(e, i))
      return eval_fail(e, "input %d is missing", i);
  return concat_tensors(e, e->nin, e->in, a->axis, &y);
}

void split_copy(const Tensor *x, int axis, int64_t from, int64_t size, const Tensor *part) {
  int64_t dim[MAX_RANK];
  View d = {.data = part->data}, s = view_of(x);
  for (int i = 0; i < x->rank; i++)
    dim[i] = i == axis ? size : x->dim[i];
  s.at = from * s.stride[axis];
  row_major_strides(x->rank, dim, d.stride); /* part itself may lack the axis */
  move_box(x->dtype, x->rank, dim, &d, &s);
}

/* The sizes of the parts, summing to extent. */
static Status part_sizes(Eval *e, int64_t extent, const int64_t **size) {
  const SplitAttr *a = e->attr;
  int64_t n, sum = 0;
  if (eval_has(e, 1)) {
    TRY(eval_ints(e, 1, size, &n));
    if (n != e->nout)
      return eval_fail(e, "%lld sizes for %d outputs", (long long)n, e->nout);
    for (int64_t i = 0; i < n; i++)
      if ((*size)[i] < 0 || !add_ok(sum, (*size)[i], &sum))
        return eval_fail(e, "part %lld has size %lld", (long long)i, (long long)(*size)[i]);
    if (sum != extent)
      return eval_fail(e, "the sizes of the parts add up to %lld, the axis has %lld", (long long)sum,
                       (long long)extent);
    return ST_OK;
  }
  if (e->nout < 1)
    return eval_fail(e, "there is no output");
  if (a->num_outputs != ABSENT && a->num_outputs != e->nout)
    return eval_fail(e, "num_outputs is %lld, but there are %d outputs", (long long)a->num_outputs, e->nout);
  int64_t *r = arena_array(e->scratch, int64_t, (size_t)e->nout), each = extent / e->nout + (extent % e->nout != 0);
  if (each && (e->nout - 1) > extent / each)
    return eval_fail(e, "an extent of %lld does not split into %d parts of %lld", (long long)extent, e->nout,
                     (long long)each);
  for (int i = 0; i < e->nout; i++)
    r[i] = i + 1 < e->nout ? each : extent - each * (e->nout - 1);
  *size = r;
  return ST_OK;
}

Status split_eval(Eval *e) {
  const SplitAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const int64_t *size;
  int64_t dim[MAX_RANK], at = 0;
  int axis;
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(part_sizes(e, x->dim[axis], &size));
  for (int i = 0; i < x->rank; i++)
    dim[i] = x->dim[i];
  for (int i = 0; i < e->nout; i++) {
    Tensor *y;
    dim[axis] = size[i];
    if (e->wanted[i]) {
      TRY(move_out(e, i, x->dtype, x->rank, dim, &y));
      split_copy(x, axis, at, size[i], y);
      TRY(move_done(e, y));
    }
    at += size[i];
  }
  return ST_OK;
}
