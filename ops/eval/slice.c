/* slice.c - parts of an axis by position: Slice 13, Compress 28, ReverseSequence 28.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"

#include <string.h>

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

/* Positions start, start + step, ... of an axis of extent d; how many. As ONNX says: a negative position counts from
 * the end, then start is clamped to [0, d] (stepping back: [0, d-1]) and end to [0, d] (stepping back: [-1, d-1]). */
static int64_t slice_axis(int64_t d, int64_t *start, int64_t end, int64_t step) {
  int64_t s = *start < 0 ? *start + d : *start,
          t = end < 0 ? end + d : end; /* a negative plus an extent: no overflow */
  if (!d)
    return *start = 0;
  if (step > 0) {
    s = clamp(s, 0, d), t = clamp(t, 0, d);
    *start = s;
    return t > s ? (t - s - 1) / step + 1 : 0;
  }
  s = clamp(s, 0, d - 1), t = clamp(t, -1, d - 1);
  *start = s;
  return s > t ? (int64_t)((uint64_t)(s - t - 1) / (0 - (uint64_t)step)) + 1 : 0;
}

Status slice_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const int64_t *start, *end, *axes = NULL, *step = NULL;
  int64_t n, m, dim[MAX_RANK];
  bool seen[MAX_RANK] = {0};
  Tensor *y;
  TRY(eval_ints(e, 1, &start, &n));
  TRY(eval_ints(e, 2, &end, &m));
  if (m != n || n > x->rank)
    return eval_fail(e, "%lld starts and %lld ends for an input of rank %d", (long long)n, (long long)m, x->rank);
  if (eval_has(e, 3))
    TRY(eval_ints(e, 3, &axes, &m));
  if (m == n && eval_has(e, 4))
    TRY(eval_ints(e, 4, &step, &m));
  if (m != n)
    return eval_fail(e, "%lld starts, but %lld %s", (long long)n, (long long)m, step ? "steps" : "axes");
  View s = view_of(x);
  for (int i = 0; i < x->rank; i++)
    dim[i] = x->dim[i];
  for (int i = 0; i < n; i++) {
    int k;
    int64_t from = start[i], by = step ? step[i] : 1;
    TRY(eval_axis(e, axes ? axes[i] : i, x->rank, false, &k));
    if (!by)
      return eval_fail(e, "the step of axis %d is 0", k);
    if (seen[k])
      return eval_fail(e, "axis %d is named twice", k);
    seen[k] = true;
    dim[k] = slice_axis(x->dim[k], &from, end[i], by);
    s.at += from * s.stride[k];
    if (dim[k] > 1)
      s.stride[k] *= by; /* by is below the extent, or there would be one position only */
  }
  TRY(move_out(e, 0, x->dtype, x->rank, dim, &y));
  View d = view_of(y);
  move_box(x->dtype, x->rank, dim, &d, &s);
  return move_done(e, y);
}

/* Without an axis the input counts as flat. */
Status compress_eval(Eval *e) {
  const CompressAttr *a = e->attr;
  const Tensor *x = e->in[0], *keep = e->in[1];
  const uint8_t *on = keep->data;
  int axis = 0, flat = a->axis == ABSENT;
  int64_t dim[MAX_RANK] = {0}, picked = 0, n = tensor_count(keep);
  Tensor *y;
  if (keep->rank != 1 || keep->dtype != DT_bool)
    return eval_fail(e, "the condition must be bool of rank 1");
  if (!flat)
    TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  int64_t extent = flat ? tensor_count(x) : x->dim[axis], inner = flat ? 1 : move_count(x, axis + 1, x->rank);
  for (int64_t i = 0; i < n; i++) {
    if (on[i] && i >= extent)
      return eval_fail(e, "condition %lld is true, the axis has extent %lld", (long long)i, (long long)extent);
    picked += on[i] != 0;
  }
  for (int i = 0; !flat && i < x->rank; i++)
    dim[i] = x->dim[i];
  dim[axis] = picked;
  TRY(move_out(e, 0, x->dtype, flat ? 1 : x->rank, dim, &y));
  int64_t outer = tensor_count(y) ? tensor_count(y) / (picked * inner) : 0;
  for (int64_t o = 0, at = 0; o < outer; o++)
    for (int64_t i = 0; i < n; i++)
      if (on[i]) {
        move_run(x->dtype, y->data, at, x->data, (o * extent + i) * inner, inner);
        at += inner;
      }
  return move_done(e, y);
}

Status reverse_sequence_eval(Eval *e) {
  const ReverseSequenceAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const int64_t *len;
  int64_t n, time = a->time_axis, batch = a->batch_axis;
  Tensor *y;
  if (x->rank < 2 || time < 0 || time > 1 || batch != 1 - time)
    return eval_fail(e, "time_axis and batch_axis must be 0 and 1, or 1 and 0, and the rank 2 or more");
  TRY(eval_ints(e, 1, &len, &n));
  if (n != x->dim[batch])
    return eval_fail(e, "%lld sequence lengths for a batch of %lld", (long long)n, (long long)x->dim[batch]);
  for (int64_t b = 0; b < n; b++)
    if (len[b] < 0 || len[b] > x->dim[time])
      return eval_fail(e, "sequence length %lld is not in [0, %lld]", (long long)len[b], (long long)x->dim[time]);
  TRY(move_out(e, 0, x->dtype, x->rank, x->dim, &y));
  int64_t inner = move_count(x, 2, x->rank), st = time ? inner : x->dim[1] * inner,
          sb = time ? x->dim[1] * inner : inner;
  for (int64_t b = 0; inner && b < n; b++)
    for (int64_t t = 0; t < x->dim[time]; t++)
      move_run(x->dtype, y->data, b * sb + t * st, x->data, b * sb + (t < len[b] ? len[b] - 1 - t : t) * st, inner);
  return move_done(e, y);
}

/* ByAxis: values[j * n + i] goes to base[j * rank + axes[i]], for n axes and so many sets of them. */
Status by_axis_eval(Eval *e) {
  const int64_t *axes;
  int64_t n, nv = tensor_count(e->in[1]), nb = tensor_count(e->in[2]), sets = ((const ByAxisAttr *)e->attr)->sets;
  bool seen[MAX_RANK] = {0};
  Tensor *y;
  TRY(eval_ints(e, 0, &axes, &n));
  int64_t rank = sets == 1 || sets == 2 ? nb / sets : -1;
  if (rank < 0 || rank > MAX_RANK || n > rank || sets * n != nv || sets * rank != nb)
    return eval_fail(e, "%lld values for %lld axes", (long long)nv, (long long)n);
  TRY(eval_out_like(e, 0, e->in[2], &y));
  int64_t *to = y->data;
  if (nb)
    memcpy(to, e->in[2]->data, (size_t)nb * sizeof *to);
  for (int64_t i = 0; i < n; i++) {
    int k;
    TRY(eval_axis(e, axes[i], (int)rank, false, &k));
    if (seen[k])
      return eval_fail(e, "axis %d is named twice", k);
    seen[k] = true;
    for (int64_t j = 0; j < sets; j++)
      to[j * rank + k] = ((const int64_t *)e->in[1]->data)[j * n + i];
  }
  return ST_OK;
}
