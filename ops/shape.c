/* shape.c - inference where shapes become tensors and tensors shapes: Shape, Size, Reshape, Flatten, Squeeze,
 * Unsqueeze, Identity, Range, ConstantOfShape, EyeLike, OneHot, NonZero, and Sard's Dims.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

#include <math.h>

Status identity_infer(Infer *x) {
  set_out_like(x, 0, 0);
  if (in_type(x, 0)->kind == VK_TENSOR)
    content_same(x);
  return ST_OK;
}

/* --- Reshape --- */

/* The extent that stands for -1: the input's elements over those of the other extents. Copied axes cancel first. */
static Status minus_one(Infer *x, int n, Dim const *dim, const bool *copied, int at, Dim *r) {
  const Type *t = in_type(x, 0);
  Dim total = dim_const(x->c, 1), rest = total;
  int64_t a, b;
  for (int i = 0; i < t->rank; i++)
    if (!(i < n && copied[i]))
      total = dim_mul(x->c, total, t->dim[i]);
  for (int i = 0; i < n; i++)
    if (i != at && !copied[i])
      rest = dim_mul(x->c, rest, dim[i]);
  if (dim_is(rest, 0))
    return infer_fail(x, "the extent for -1 cannot be known, another is 0");
  if (dim_is_const(total, &a) && dim_is_const(rest, &b) && (b < 0 || a % b))
    return infer_fail(x, "%lld elements do not divide by the %lld that the other dimensions of the shape make",
                      (long long)a, (long long)b);
  *r = dim_div(x->c, total, rest);
  return ST_OK;
}

/* Extents as the shape's elements say; *at: which one is -1; *open: some are known at run time only. */
static Status read_shape(Infer *x, const Dim *want, int n, Dim *dim, bool *copied, int *at, bool *open) {
  const Type *t = in_type(x, 0);
  bool zero = false, allow = ATTR(x->n, Reshape)->allowzero != 0;
  *at = -1, *open = false;
  for (int i = 0; i < n; i++) {
    dim[i] = want[i];
    zero |= dim_is(want[i], 0);
    if (want[i]->hi < -1)
      return infer_fail(x, "dimension %d of the shape is %s", i, dim_text(x->c, want[i]));
    if (dim_is(want[i], -1)) {
      if (*at >= 0)
        return infer_fail(x, "more than one dimension of the shape is -1");
      *at = i;
    }
    if (want[i]->data && want[i]->lo < 1) { /* a number, 0 or -1: who knows */
      dim[i] = run_dim(x, 0, n, i, "reshape");
      *open = true;
    }
    if (dim_is(want[i], 0) && !allow) {
      if (t->rank >= 0 && i >= t->rank)
        return infer_fail(x, "dimension %d of the shape is 0 (copy), but the input has rank %d", i, t->rank);
      dim[i] = t->rank >= 0 ? t->dim[i] : run_dim(x, 0, n, i, "reshape");
      copied[i] = true;
    }
  }
  if (*at >= 0 && zero && allow)
    return infer_fail(x, "the shape holds both 0 and -1, and allowzero is set");
  return ST_OK;
}

Status reshape_infer(Infer *x) {
  const Type *t = in_type(x, 0);
  const Dim *want;
  Dim dim[MAX_RANK];
  bool copied[MAX_RANK] = {0}, open;
  int64_t n;
  int at;
  if (!content_of(x, 1, &want, &n)) {
    if (count_of(x, 1, &n) && n <= MAX_RANK)
      set_out_run(x, 0, in_dtype(x, 0), (int)n, "reshape");
    return ST_OK;
  }
  TRY(check_rank(x, n));
  TRY(read_shape(x, want, (int)n, dim, copied, &at, &open));
  if (t->rank < 0 || t->kind != VK_TENSOR || open) {
    if (at >= 0)
      dim[at] = run_dim(x, 0, (int)n, at, "reshape");
    set_out(x, 0, in_dtype(x, 0), (int)n, dim);
    if (open)
      content_same(x);
    return ST_OK;
  }
  if (at >= 0)
    TRY(minus_one(x, (int)n, dim, copied, at, &dim[at]));
  set_out(x, 0, t->dtype, (int)n, dim);
  if (at < 0 && dim_differ(x->c, type_count(x->c, &x->out[0]), type_count(x->c, t)))
    return infer_fail(x, "cannot reshape %s to %s: the element counts differ", type_text(x->c, t),
                      type_text(x->c, &x->out[0]));
  content_same(x);
  return ST_OK;
}

Status flatten_infer(Infer *x) {
  int rank;
  int64_t axis = ATTR(x->n, Flatten)->axis;
  if (!known_rank(x, 0, &rank)) {
    set_out_run(x, 0, in_dtype(x, 0), 2, "flatten");
    return ST_OK;
  }
  if (axis < -rank || axis > rank)
    return infer_fail(x, "axis %lld is not in [%d, %d]", (long long)axis, -rank, rank);
  if (axis < 0)
    axis += rank;
  Dim dim[2] = {dim_const(x->c, 1), dim_const(x->c, 1)};
  for (int i = 0; i < rank; i++)
    dim[i >= axis] = dim_mul(x->c, dim[i >= axis], in_dim(x, 0, i));
  set_out(x, 0, in_dtype(x, 0), 2, dim);
  content_same(x);
  return ST_OK;
}

/* Without axes an extent that may or may not be 1 leaves the rank open. */
Status squeeze_infer(Infer *x) {
  int rank, n = 0;
  const int64_t *axes = NULL;
  int64_t k = 0;
  bool drop[MAX_RANK] = {0};
  Dim dim[MAX_RANK], one = dim_const(x->c, 1);
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (has_in(x, 1) && !few_ints(x, 1, &axes, &k)) {
    if (count_of(x, 1, &k) && k <= rank)
      set_out_run(x, 0, in_dtype(x, 0), rank - (int)k, "squeeze");
    return ST_OK;
  }
  TRY(mark_axes(x, axes, k, rank, drop));
  for (int i = 0; i < rank; i++) {
    Dim d = in_dim(x, 0, i);
    if (drop[i] && dim_differ(x->c, d, one))
      return infer_fail(x, "cannot squeeze axis %d of extent %s", i, dim_text(x->c, d));
    if (!has_in(x, 1) && d != one && !dim_differ(x->c, d, one))
      return ST_OK;
    if (!(has_in(x, 1) ? drop[i] : d == one))
      dim[n++] = d;
  }
  set_out(x, 0, in_dtype(x, 0), n, dim);
  content_same(x);
  return ST_OK;
}

Status unsqueeze_infer(Infer *x) {
  int rank;
  const int64_t *axes;
  int64_t n;
  bool one[MAX_RANK] = {0};
  Dim dim[MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (!few_ints(x, 1, &axes, &n)) {
    if (count_of(x, 1, &n) && rank + n <= MAX_RANK)
      set_out_run(x, 0, in_dtype(x, 0), rank + (int)n, "unsqueeze");
    return ST_OK;
  }
  TRY(check_rank(x, rank + n));
  TRY(mark_axes(x, axes, n, rank + (int)n, one));
  for (int i = 0, k = 0; i < rank + n; i++)
    dim[i] = one[i] ? dim_const(x->c, 1) : in_dim(x, 0, k++);
  set_out(x, 0, in_dtype(x, 0), rank + (int)n, dim);
  content_same(x);
  return ST_OK;
}

/* --- Shape, Size, Dims --- */

static int axis_bound(int64_t v, int rank) {
  v = v < 0 ? v + rank : v;
  return (int)(v < 0 ? 0 : v > rank ? rank : v);
}

Status shape_infer(Infer *x) {
  const ShapeAttr *a = ATTR(x->n, Shape);
  int rank;
  if (!known_rank(x, 0, &rank)) {
    set_out_run(x, 0, DT_i64, 1, "rank");
    return ST_OK;
  }
  int from = axis_bound(a->start, rank), to = a->end == ABSENT ? rank : axis_bound(a->end, rank);
  Dim n = dim_const(x->c, to > from ? to - from : 0);
  set_out(x, 0, DT_i64, 1, &n);
  set_content(x, 0, in_type(x, 0)->dim + (to > from ? from : 0));
  return ST_OK;
}

Status size_infer(Infer *x) {
  set_out(x, 0, DT_i64, 0, NULL);
  int rank;
  if (known_rank(x, 0, &rank)) {
    Dim n = type_count(x->c, in_type(x, 0));
    set_content(x, 0, &n);
  }
  return ST_OK;
}

Status dims_infer(Infer *x) {
  const DimsAttr *a = ATTR(x->n, Dims);
  Dim n = dim_const(x->c, a->dims.n);
  if (a->rank < 0 || a->rank > 1 || (!a->rank && a->dims.n != 1) || (a->dtype != DT_i64 && a->dtype != DT_i32))
    return infer_fail(x, "Dims makes a scalar or a vector of i64 or i32");
  set_out(x, 0, (DType)a->dtype, (int)a->rank, &n);
  set_content(x, 0, a->dims.v);
  return ST_OK;
}

/* --- Range --- */

static Dim range_length(Infer *x) {
  Dim start, limit, delta, zero = dim_const(x->c, 0);
  int64_t by;
  double v[3];
  if (number_of(x->c, x->n->in[0], &start) && number_of(x->c, x->n->in[1], &limit) &&
      number_of(x->c, x->n->in[2], &delta)) {
    if (!dim_is_const(delta, &by)) /* floor division by either sign: ceil(a / b) is -floor(-a / b) */
      return dim_max(x->c, zero, dim_sub(x->c, zero, dim_div(x->c, dim_sub(x->c, start, limit), delta)));
    if (!by || by == INT64_MIN)
      return run_dim(x, 0, 1, 0, "range");
    Dim span = by > 0 ? dim_sub(x->c, limit, start) : dim_sub(x->c, start, limit);
    return dim_max(x->c, zero, dim_ceildiv(x->c, span, dim_const(x->c, by > 0 ? by : -by)));
  }
  if (dtype_is_float(in_dtype(x, 0)) && value_scalar(x->n->in[0], &v[0]) && value_scalar(x->n->in[1], &v[1]) &&
      value_scalar(x->n->in[2], &v[2])) {
    double n = ceil((v[1] - v[0]) / v[2]);
    if (n < 0x1p62)
      return dim_const(x->c, n > 0 ? (int64_t)n : 0);
  }
  return run_dim(x, 0, 1, 0, "range");
}

Status range_infer(Infer *x) {
  double zero;
  Dim start, delta, n = range_length(x);
  int64_t k;
  for (int i = 0; i < 3; i++)
    if (count_of(x, i, &k) && k != 1)
      return infer_fail(x, "start, limit and delta must be scalars");
  if (value_scalar(x->n->in[2], &zero) && zero == 0)
    return infer_fail(x, "delta is 0");
  set_out(x, 0, in_dtype(x, 0), 1, &n);
  if (!dtype_is_int(in_dtype(x, 0)) || !dim_is_const(n, &k) || k > MAX_CONTENT ||
      !number_of(x->c, x->n->in[0], &start) || !number_of(x->c, x->n->in[2], &delta))
    return ST_OK;
  Dim d[MAX_CONTENT];
  for (int64_t i = 0; i < k; i++, start = dim_add(x->c, start, delta))
    d[i] = start;
  set_content(x, 0, d);
  return ST_OK;
}

/* --- filled tensors --- */

Status constant_of_shape_infer(Infer *x) {
  const Tensor *v = ATTR(x->n, ConstantOfShape)->value;
  DType t = v ? v->dtype : DT_f32;
  const Dim *dim;
  int64_t n, count, elem = 0;
  if (v && tensor_count(v) != 1)
    return infer_fail(x, "the value must be one element");
  if (!content_of(x, 0, &dim, &n)) {
    x->out[0].dtype = t;
    if (count_of(x, 0, &n) && n <= MAX_RANK)
      set_out_run(x, 0, t, (int)n, "fill");
    return ST_OK;
  }
  TRY(check_rank(x, n));
  for (int64_t i = 0; i < n; i++)
    if (dim[i]->hi < 0)
      return infer_fail(x, "dimension %lld is %s", (long long)i, dim_text(x->c, dim[i]));
  set_out(x, 0, t, (int)n, dim);
  if (!(t == DT_i64 || t == DT_i32 || t == DT_bool) || !dim_is_const(type_count(x->c, &x->out[0]), &count) ||
      count > MAX_CONTENT)
    return ST_OK;
  Value one = {.konst = v};
  const int64_t *known;
  if (value_ints(&one, &known, &n, x->arena))
    elem = known[0];
  Dim fill[MAX_CONTENT];
  for (int64_t i = 0; i < count; i++)
    fill[i] = dim_const(x->c, elem);
  set_content(x, 0, fill);
  return ST_OK;
}

Status eye_like_infer(Infer *x) {
  int64_t t = ATTR(x->n, EyeLike)->dtype;
  int rank;
  if (t != ABSENT && (t < 0 || t >= DT_count || !dtype_valid((int)t)))
    return infer_fail(x, "dtype %lld is not known", (long long)t);
  if (!known_rank(x, 0, &rank)) {
    set_out_run(x, 0, t == ABSENT ? in_dtype(x, 0) : (DType)t, 2, "eye");
    return ST_OK;
  }
  if (rank != 2)
    return infer_fail(x, "the input must have rank 2");
  set_out(x, 0, t == ABSENT ? in_dtype(x, 0) : (DType)t, 2, in_type(x, 0)->dim);
  return ST_OK;
}

Status one_hot_infer(Infer *x) {
  int rank, axis;
  Dim dim[MAX_RANK], depth;
  int64_t n;
  double v;
  if ((count_of(x, 1, &n) && n != 1) || (count_of(x, 2, &n) && n != 2))
    return infer_fail(x, "depth must be one number, and values two");
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(check_rank(x, rank + 1));
  TRY(norm_axis(x, ATTR(x->n, OneHot)->axis, rank, true, &axis));
  if (value_scalar(x->n->in[1], &v) && isnan(v))
    return infer_fail(x, "depth: nan, where 0 is needed");
  if (value_scalar(x->n->in[1], &v) && fabs(v) < 0x1p53)
    depth = dim_const(x->c, (int64_t)v);
  else if (!number_of(x->c, x->n->in[1], &depth))
    depth = run_dim(x, 0, rank + 1, axis, "depth");
  if (depth->hi < 0)
    return infer_fail(x, "depth: %s, where 0 is needed", dim_text(x->c, depth));
  for (int i = 0; i <= rank; i++)
    dim[i] = i == axis ? depth : in_dim(x, 0, i - (i > axis));
  set_out(x, 0, in_dtype(x, 2), rank + 1, dim);
  return ST_OK;
}

Status nonzero_infer(Infer *x) {
  int rank;
  Dim dim[2];
  dim[0] = known_rank(x, 0, &rank) ? dim_const(x->c, rank) : run_dim(x, 0, 2, 0, "rank");
  dim[1] = run_dim(x, 0, 2, 1, "nonzero");
  set_out(x, 0, DT_i64, 2, dim);
  return ST_OK;
}
