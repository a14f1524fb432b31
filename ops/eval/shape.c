/* shape.c - shapes as tensors, and tensors made from shapes: Shape 25, Size 25, Range 27, ConstantOfShape 25,
 * NonZero 13, OneHot 28, EyeLike 22.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"

#include <math.h>
#include <string.h>

static Status need_tensor(Eval *e) {
  return e->in[0]->kind == VK_TENSOR ? ST_OK : eval_fail(e, "a tensor is needed, not a sequence or optional");
}

/* A bound of Shape's start and end: from the back when negative, then clamped to [0, rank]. */
static int axis_bound(int64_t v, int rank) {
  v = v < 0 ? v + rank : v;
  return (int)(v < 0 ? 0 : v > rank ? rank : v);
}

Status shape_eval(Eval *e) {
  const ShapeAttr *a = e->attr;
  const Tensor *x = e->in[0];
  int from = axis_bound(a->start, x->rank), to = a->end == ABSENT ? x->rank : axis_bound(a->end, x->rank);
  int64_t n = to > from ? to - from : 0;
  Tensor *y;
  TRY(need_tensor(e));
  TRY(eval_out(e, 0, DT_i64, 1, &n, &y));
  if (n)
    memcpy(y->data, x->dim + from, (size_t)n * sizeof(int64_t));
  return ST_OK;
}

Status size_eval(Eval *e) {
  Tensor *y;
  TRY(need_tensor(e));
  TRY(eval_out(e, 0, DT_i64, 0, NULL, &y));
  *(int64_t *)y->data = tensor_count(e->in[0]);
  return ST_OK;
}

static __int128 wide(const Tensor *t) {
  int64_t v = elem_i64(t->dtype, t->data, 0);
  return t->dtype == DT_u64 ? (__int128)(uint64_t)v : (__int128)v;
}

static Status range_ints(Eval *e) {
  DType t = e->in[0]->dtype;
  __int128 start = wide(e->in[0]), span = wide(e->in[1]) - start, delta = wide(e->in[2]);
  Tensor *y;
  if (!delta)
    return eval_fail(e, "delta is 0");
  if (delta < 0)
    span = -span, delta = -delta;
  __int128 n128 = span > 0 ? (span - 1) / delta + 1 : 0;
  if (n128 > INT64_MAX)
    return eval_fail(e, "the range has too many elements");
  int64_t n = (int64_t)n128, v = elem_i64(t, e->in[0]->data, 0), by = elem_i64(t, e->in[2]->data, 0);
  TRY(move_out(e, 0, t, 1, &n, &y));
  for (int64_t i = 0; i < n; i++) {
    elem_set_i64(t, y->data, i, v);
    v = (int64_t)((uint64_t)v + (uint64_t)by);
  }
  return ST_OK;
}

/* start + i * delta in double, or, for f16 and bf16 with stash_type 1, in float as ONNX asks; rounded
 * once to the type. */
static Status range_floats(Eval *e, bool in_float) {
  DType t = e->in[0]->dtype;
  double start = elem_f64(t, e->in[0]->data, 0), limit = elem_f64(t, e->in[1]->data, 0),
         delta = elem_f64(t, e->in[2]->data, 0);
  Tensor *y;
  if (delta == 0)
    return eval_fail(e, "delta is 0");
  double count = ceil((limit - start) / delta);
  if (isnan(count) || count >= 0x1p62)
    return eval_fail(e, "a range from %g to %g by %g has no end", start, limit, delta);
  int64_t n = count > 0 ? (int64_t)count : 0;
  TRY(move_out(e, 0, t, 1, &n, &y));
  for (int64_t i = 0; i < n; i++) {
    double v = in_float ? (double)((float)start + (float)i * (float)delta) : start + (double)i * delta;
    elem_set_f64(t, y->data, i, v);
  }
  return ST_OK;
}

Status range_eval(Eval *e) {
  const RangeAttr *a = e->attr;
  DType t = e->in[0]->dtype;
  for (int i = 0; i < 3; i++)
    if (tensor_count(e->in[i]) != 1 || e->in[i]->dtype != t)
      return eval_fail(e, "start, limit and delta must be scalars of one type");
  if (dtype_is_int(t))
    return range_ints(e);
  if (!dtype_is_float(t))
    return eval_unsupported(e, "a range of %s", dtype_name(t));
  if (a->stash_type != DT_f32 && a->stash_type != DT_f64)
    return eval_fail(e, "stash_type %lld is neither float nor double", (long long)a->stash_type);
  return range_floats(e, (t == DT_f16 || t == DT_bf16) && a->stash_type == DT_f32);
}

Status constant_of_shape_eval(Eval *e) {
  const ConstantOfShapeAttr *a = e->attr;
  const int64_t *dim;
  int64_t n;
  Tensor *y;
  if (e->in[0]->rank > 1)
    return eval_fail(e, "the shape must have rank 1");
  if (a->value && tensor_count(a->value) != 1)
    return eval_fail(e, "the value must be one element");
  TRY(eval_ints(e, 0, &dim, &n));
  TRY(move_rank(e, n));
  for (int64_t i = 0; i < n; i++)
    if (dim[i] < 0)
      return eval_fail(e, "dimension %lld is %lld", (long long)i, (long long)dim[i]);
  TRY(move_out(e, 0, a->value ? a->value->dtype : DT_f32, n, dim, &y));
  union {
    uint64_t u[2];
    Str s;
  } one = {{0, 0}}; /* the attribute may be an unaligned piece of the file */
  if (a->value)
    memcpy(&one, a->value->data, tensor_bytes(a->value));
  move_fill(y->dtype, y->data, 0, tensor_count(y), a->value ? &one : NULL);
  return move_done(e, y);
}

static bool is_zero(const Tensor *t, int64_t i) {
  const char *p = t->data;
  switch (dtype_kind(t->dtype)) {
  case DK_STRING: return !((const Str *)t->data)[i].len;
  case DK_FLOAT: return elem_f64(t->dtype, p, i) == 0;
  case DK_COMPLEX: {
    double re, im;
    DType half = t->dtype == DT_c64 ? DT_f32 : DT_f64;
    re = elem_f64(half, p, 2 * i), im = elem_f64(half, p, 2 * i + 1);
    return re == 0 && im == 0;
  }
  default: return !elem_i64(t->dtype, p, i);
  }
}

/* A scalar gives (0, N), as ONNX says. */
Status nonzero_eval(Eval *e) {
  const Tensor *x = e->in[0];
  int64_t n = tensor_count(x), found = 0, at[MAX_RANK] = {0}, k = 0;
  Tensor *y;
  TRY(need_tensor(e));
  for (int64_t i = 0; i < n; i++)
    found += !is_zero(x, i);
  TRY(eval_out(e, 0, DT_i64, 2, (int64_t[]){x->rank, found}, &y));
  int64_t *out = y->data;
  for (int64_t i = 0; i < n; i++) {
    if (!is_zero(x, i)) {
      for (int a = 0; a < x->rank; a++)
        out[a * found + k] = at[a];
      k++;
    }
    next_index(x->rank, x->dim, at);
  }
  return ST_OK;
}

/* The one number of t, toward zero when it is no integer. */
static int64_t truncated(const Tensor *t, int64_t i) { return elem_i64(t->dtype, t->data, i); }

Status one_hot_eval(Eval *e) {
  const OneHotAttr *a = e->attr;
  const Tensor *x = e->in[0], *values = e->in[2];
  int64_t dim[MAX_RANK + 1], depth, n = tensor_count(x);
  int axis;
  Tensor *y;
  for (int i = 0; i < 2; i++)
    if (!dtype_is_int(e->in[i]->dtype) && !dtype_is_float(e->in[i]->dtype))
      return eval_fail(e, "input %d must hold numbers", i);
  if (tensor_count(e->in[1]) != 1 || values->rank != 1 || tensor_count(values) != 2)
    return eval_fail(e, "depth must be one number, and values two");
  depth = truncated(e->in[1], 0);
  if (dtype_is_float(e->in[1]->dtype) && isnan(elem_f64(e->in[1]->dtype, e->in[1]->data, 0)))
    depth = -INT64_MAX; /* as passes/types.c has it */
  if (depth <= -INT64_MAX)
    return eval_fail(e, "depth: nan or far below 0, where 0 is needed");
  if (depth < 0)
    return eval_fail(e, "depth: %lld, where 0 is needed", (long long)depth);
  TRY(eval_axis(e, a->axis, x->rank, true, &axis));
  for (int i = 0; i <= x->rank; i++)
    dim[i] = i < axis ? x->dim[i] : i == axis ? depth : x->dim[i - 1];
  TRY(move_out(e, 0, values->dtype, x->rank + 1, dim, &y));
  move_fill(y->dtype, y->data, 0, tensor_count(y), values->data);
  int64_t inner = move_count(x, axis, x->rank);
  for (int64_t i = 0; i < n; i++) {
    int64_t k = truncated(x, i);
    bool beyond = x->dtype == DT_u64 && k < 0; /* above INT64_MAX */
    k = k < 0 ? k + depth : k;
    if (!beyond && k >= 0 && k < depth)
      move_run(y->dtype, y->data, (i / inner * depth + k) * inner + i % inner, values->data, 1, 1);
  }
  return move_done(e, y);
}

Status eye_like_eval(Eval *e) {
  const EyeLikeAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Tensor *y;
  if (x->rank != 2)
    return eval_fail(e, "the input must have rank 2");
  if (a->dtype != ABSENT && (a->dtype < 0 || a->dtype >= DT_count || !dtype_valid((int)a->dtype)))
    return eval_fail(e, "dtype %lld is not known", (long long)a->dtype);
  DType t = a->dtype == ABSENT ? x->dtype : (DType)a->dtype;
  if (t == DT_str || dtype_kind(t) == DK_COMPLEX)
    return eval_unsupported(e, "an identity matrix of %s", dtype_name(t));
  TRY(move_out(e, 0, t, 2, x->dim, &y));
  move_fill(t, y->data, 0, tensor_count(y), NULL);
  int64_t rows = x->dim[0], cols = x->dim[1];
  if (a->k <= -rows || a->k >= cols) /* the diagonal is outside */
    return ST_OK;
  for (int64_t r = a->k < 0 ? -a->k : 0; r < rows && r + a->k < cols; r++)
    elem_set_f64(t, y->data, r * cols + r + a->k, 1);
  return ST_OK;
}
