/* quant.c - evaluation of QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, MatMulInteger and QLinearMatMul.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

/* --- granularity: one scale, one per slice of an axis, or one per block of an axis --- */

typedef struct Grain {
  int64_t outer, n, inner; /* extents before, of and behind the axis */
  int64_t block;           /* blocked: elements per scale along the axis; 0: per axis */
  int64_t nblock;
  bool single;
} Grain;

/* Which scale element x belongs to; x counts row-major. */
static int64_t grain_of(const Grain *g, int64_t x) {
  if (g->single)
    return 0;
  int64_t i = x % g->inner, k = x / g->inner % g->n, o = x / g->inner / g->n;
  return g->block ? (o * g->nblock + k / g->block) * g->inner + i : k;
}

static Status grain_axis(Eval *e, int64_t axis_attr, Grain *g, int *axis) {
  const Tensor *x = e->in[0];
  TRY(eval_axis(e, axis_attr, x->rank, false, axis));
  *g = (Grain){.outer = 1, .n = x->dim[*axis], .inner = 1};
  for (int i = 0; i < x->rank; i++)
    if (i != *axis)
      *(i < *axis ? &g->outer : &g->inner) *= x->dim[i];
  return ST_OK;
}

/* How input 1 (scale) covers input 0; input 2 (zero point), when given, must have the same shape. */
static Status find_grain(Eval *e, int64_t axis_attr, int64_t block, Grain *g) {
  const Tensor *x = e->in[0], *s = e->in[1];
  int axis;
  if (!dtype_is_float(s->dtype) && s->dtype != DT_i32)
    return eval_fail(e, "the scale must be a float");
  bool both_one =
      eval_has(e, 2) && tensor_count(s) == 1 && tensor_count(e->in[2]) == 1; /* [] and [1] are one thing here */
  if (eval_has(e, 2) && !both_one && !tensor_same_shape(e->in[2], s))
    return eval_fail(e, "scale and zero point must have the same shape");
  if (block < 0)
    return eval_fail(e, "block_size %lld is negative", (long long)block);
  *g = (Grain){.single = true};
  if (s->rank == 0 || (s->rank == 1 && s->dim[0] == 1 && !(block && x->rank == 1)))
    return ST_OK;
  TRY(grain_axis(e, axis_attr, g, &axis));
  if (!block && s->rank == 1) {
    if (s->dim[0] != g->n)
      return eval_fail(e, "%lld scales for the %lld slices of axis %d", (long long)s->dim[0], (long long)g->n, axis);
    return ST_OK;
  }
  if (!block)
    return eval_fail(e, "a scale of rank %d needs block_size", s->rank);
  g->block = block, g->nblock = g->n / block + (g->n % block != 0);
  bool fits = s->rank == x->rank;
  for (int i = 0; fits && i < x->rank; i++)
    fits = s->dim[i] == (i == axis ? g->nblock : x->dim[i]);
  if (!fits)
    return eval_fail(e, "the scale's shape must be the input's, with %lld blocks of %lld on axis %d",
                     (long long)g->nblock, (long long)block, axis);
  return ST_OK;
}

/* The float type a division happens in. */
static DType compute_type(int64_t precision, DType scale) {
  DType t = precision ? (DType)precision : scale;
  return t == DT_f16 || t == DT_bf16 || t == DT_f64 ? t : DT_f32;
}

static bool is_float8(DType t) { return dtype_is_float(t) && dtype_bits(t) == 8 && t != DT_f8e8m0; }
static bool is_quant_float(DType t) { return dtype_is_float(t) && dtype_bits(t) <= 8 && t != DT_f8e8m0; }

/* One number, already divided by the scale, into the quantised type. */
static void put_quantised(Tensor *out, int64_t i, double v, double zero, bool saturate) {
  double lo, hi;
  if (nn_int_range(out->dtype, &lo, &hi)) {
    v = rint(v) + zero;
    elem_set_i64(out->dtype, out->data, i, v != v ? 0 : (int64_t)(v < lo ? lo : v > hi ? hi : v));
  } else if (dtype_bits(out->dtype) == 8) {
    ((uint8_t *)out->data)[i] = (uint8_t)small_float_code(out->dtype, v + zero, saturate);
  } else {
    elem_set_f64(out->dtype, out->data, i, v + zero);
  }
}

/* QuantizeLinear, ONNX 28. */
Status quantize_eval(Eval *e) {
  const QuantizeLinearAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Grain g;
  Tensor *out;
  const double *v, *scale, *zero;
  double lo, hi;
  DType t = eval_has(e, 2) ? e->in[2]->dtype : DT_u8;
  if (a->output_dtype && !dtype_valid(a->output_dtype < DT_count && a->output_dtype > 0 ? (int)a->output_dtype : 0))
    return eval_fail(e, "output_dtype %lld is no type", (long long)a->output_dtype);
  if (a->output_dtype && eval_has(e, 2) && (DType)a->output_dtype != t)
    return eval_fail(e, "output_dtype is %s, but y_zero_point is %s", dtype_name((DType)a->output_dtype),
                     dtype_name(t));
  if (a->output_dtype)
    t = (DType)a->output_dtype;
  if (!is_quant_float(t) && (!nn_int_range(t, &lo, &hi) || dtype_bits(t) > 16))
    return eval_fail(e, "%s is no quantised type", dtype_name(t));
  if (a->precision && a->precision != DT_f32 && a->precision != DT_f16 && a->precision != DT_bf16 &&
      a->precision != DT_f64)
    return eval_fail(e, "precision %lld is no float type to divide in", (long long)a->precision);
  TRY(find_grain(e, a->axis, a->block_size, &g));
  TRY(eval_out(e, 0, t, x->rank, x->dim, &out));
  TRY(nn_load(e, x, &v));
  TRY(nn_load(e, e->in[1], &scale));
  TRY(nn_load_input(e, 2, &zero));
  DType p = compute_type(a->precision, e->in[1]->dtype);
  for (int64_t i = 0, n = tensor_count(x); i < n; i++) {
    int64_t k = grain_of(&g, i);
    if (i % 65536 == 0)
      TRY(ctx_poll(e->c));
    double q = nn_round(p, nn_round(p, v[i]) / nn_round(p, scale[k]));
    put_quantised(out, i, q, zero ? zero[k] : 0, a->saturate != 0);
  }
  return ST_OK;
}

/* DequantizeLinear, ONNX 28. */
Status dequantize_eval(Eval *e) {
  const DequantizeLinearAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Grain g;
  Tensor *out;
  const double *v, *scale, *zero;
  double *row;
  DType t = a->output_dtype ? (DType)(a->output_dtype & 255) : e->in[1]->dtype;
  if (a->output_dtype < 0 || a->output_dtype > 255 || (t != DT_f32 && t != DT_f16 && t != DT_bf16 && t != DT_f64))
    return eval_fail(e, "the output type %lld is not f32, f16, bf16 or f64",
                     a->output_dtype ? (long long)a->output_dtype : (long long)t);
  if (eval_has(e, 2) && e->in[2]->dtype != x->dtype)
    return eval_fail(e, "x and x_zero_point must have the same type");
  TRY(find_grain(e, a->axis, a->block_size, &g));
  TRY(eval_out(e, 0, t, x->rank, x->dim, &out));
  TRY(nn_load(e, x, &v));
  TRY(nn_load(e, e->in[1], &scale));
  TRY(nn_load_input(e, 2, &zero));
  int64_t n = tensor_count(x);
  TRY(nn_buffer(e, n, &row));
  for (int64_t i = 0; i < n; i++) {
    int64_t k = grain_of(&g, i);
    if (i % 65536 == 0)
      TRY(ctx_poll(e->c));
    row[i] = (v[i] - (zero ? zero[k] : 0)) * scale[k];
  }
  nn_store(out, 0, row, n);
  return ST_OK;
}

/* DynamicQuantizeLinear, ONNX 11: to u8 over the range of the data and 0, in f32. All zeros: the scale is 1/255. */
Status dynamic_quantize_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const float *v = x->data;
  float lo = 0, hi = 0;
  Tensor *y, *scale, *zero;
  int64_t n = tensor_count(x);
  if (x->dtype != DT_f32)
    return eval_fail(e, "x must be f32");
  for (int64_t i = 0; i < n; i++)
    lo = fminf(lo, v[i]), hi = fmaxf(hi, v[i]);
  TRY(eval_out(e, 0, DT_u8, x->rank, x->dim, &y));
  TRY(eval_out(e, 1, DT_f32, 0, NULL, &scale));
  TRY(eval_out(e, 2, DT_u8, 0, NULL, &zero));
  float s = (hi == lo ? 1.0f : hi - lo) / 255.0f, z = rintf(fminf(fmaxf(-lo / s, 0), 255));
  *(float *)scale->data = s;
  *(uint8_t *)zero->data = (uint8_t)z;
  for (int64_t i = 0; i < n; i++) {
    float q = rintf(v[i] / s) + z;
    ((uint8_t *)y->data)[i] = q > 0 ? (uint8_t)fminf(q, 255) : 0; /* NaN: 0 */
  }
  return ctx_poll(e->c);
}

/* --- matrix products of integers --- */

/* A scale or zero point over the rows (of a) or columns (of b) of a stack of matrices. */
typedef struct Param {
  const double *v;          /* NULL: absent */
  int64_t stride[MAX_RANK]; /* over the axes of the matrices it goes with */
} Param;

/* Input i as parameter of matrices of the given shape; axis: where a vector runs (rows: rank - 2, columns: rank - 1).
 */
static Status load_param(Eval *e, int i, int rank, const int64_t *dim, int axis, Param *p) {
  *p = (Param){0};
  if (i < 0 || !eval_has(e, i)) /* -1: the operator has no such input */
    return ST_OK;
  const Tensor *t = e->in[i];
  bool fits = true;
  if (t->rank == 1 && t->dim[0] != 1 && rank > 1) {
    fits = t->dim[0] == dim[axis];
    p->stride[axis] = 1;
  } else if (t->rank > 1) {
    fits = t->rank == rank;
    for (int k = 0; fits && k < rank; k++)
      fits = t->dim[k] == 1 || (t->dim[k] == dim[k] && (k == axis || k < rank - 2));
    if (fits)
      eval_bcast_strides(t, rank, dim, p->stride);
  } else {
    fits = t->rank == 0 || t->dim[0] == 1;
  }
  if (!fits)
    return eval_fail(e, "input %d must be a scalar, or have one element per %s", i,
                     axis == rank - 2 ? "row" : "column");
  return nn_load(e, t, &p->v);
}

static double param_at(const Param *p, int rank, const int64_t *idx) {
  int64_t at = 0;
  for (int k = 0; k < rank; k++)
    at += idx[k] * p->stride[k];
  return p->v[at];
}

/* A stack of matrices: a 1-D operand gets the axis numpy gives it. */
typedef struct Stack {
  int rank;
  int64_t dim[MAX_RANK], stride[MAX_RANK];
  const double *v; /* minus the zero point */
  Param zero, scale;
} Stack;

static Status load_stack(Eval *e, int i, int izero, int iscale, bool is_a, Stack *s) {
  const Tensor *t = e->in[i];
  double *r;
  const double *src;
  int64_t idx[MAX_RANK] = {0}, n = tensor_count(t);
  if (t->dtype != DT_u8 && t->dtype != DT_i8 && !(iscale >= 0 && is_float8(t->dtype)))
    return eval_fail(e, iscale >= 0 ? "input %d must be u8, i8 or a float of 8 bits" : "input %d must be u8 or i8", i);
  if (t->rank < 1)
    return eval_fail(e, "input %d must not be a scalar", i);
  *s = (Stack){.rank = t->rank};
  memcpy(s->dim, t->dim, (size_t)t->rank * sizeof *t->dim);
  if (t->rank == 1) {
    s->rank = 2;
    s->dim[is_a] = t->dim[0], s->dim[!is_a] = 1;
  }
  row_major_strides(s->rank, s->dim, s->stride);
  int axis = s->rank - (is_a ? 2 : 1);
  if (eval_has(e, izero) && e->in[izero]->dtype != t->dtype)
    return eval_fail(e, "the zero point (input %d) must have the type of input %d", izero, i);
  TRY(load_param(e, izero, s->rank, s->dim, axis, &s->zero));
  TRY(load_param(e, iscale, s->rank, s->dim, axis, &s->scale));
  TRY(nn_load(e, t, &src));
  TRY(nn_buffer(e, n, &r));
  for (int64_t k = 0; k < n; k++, next_index(s->rank, s->dim, idx))
    r[k] = src[k] - (s->zero.v ? param_at(&s->zero, s->rank, idx) : 0);
  s->v = r;
  return ST_OK;
}

/* Output shape: the batch axes broadcast, then M and N where the operand had them. */
static Status product_shape(Eval *e, const Stack *a, const Stack *b, int ia, int ib, int *batch, int64_t *full,
                            int *rank, int64_t *dim) {
  if (a->dim[a->rank - 1] != b->dim[b->rank - 2])
    return eval_fail(e, "inner dimensions %lld and %lld differ", (long long)a->dim[a->rank - 1],
                     (long long)b->dim[b->rank - 2]);
  TRY(eval_broadcast(e, a->rank - 2, a->dim, b->rank - 2, b->dim, batch, full));
  full[*batch] = a->dim[a->rank - 2], full[*batch + 1] = b->dim[b->rank - 1];
  *rank = *batch;
  memcpy(dim, full, (size_t)*batch * sizeof *dim);
  if (e->in[ia]->rank > 1)
    dim[(*rank)++] = full[*batch];
  if (e->in[ib]->rank > 1)
    dim[(*rank)++] = full[*batch + 1];
  return ST_OK;
}

/* idx of the output's batch axes to those of an operand. */
static int64_t batch_index(const Stack *s, int batch, const int64_t *idx, int64_t *own) {
  int64_t at = 0;
  for (int i = 0; i < s->rank - 2; i++) {
    own[i] = s->dim[i] == 1 ? 0 : idx[i + batch - (s->rank - 2)];
    at += own[i] * s->stride[i];
  }
  return at;
}

/* One output row of sums over k. */
static void sum_row(const double *a, const double *b, int64_t K, int64_t N, double *row) {
  for (int64_t j = 0; j < N; j++)
    row[j] = 0;
  for (int64_t k = 0; k < K; k++)
    for (int64_t j = 0; j < N; j++)
      row[j] += a[k] * b[k * N + j];
}

typedef struct Requant {
  double y_scale, y_zero;
  DType scale_type;
  bool whole; /* numbers of y */
} Requant;

/* row[j] * (a_scale * b_scale / y_scale), rounded to whole numbers where y has those, plus the zero point. */
static void requantise(const Requant *q, const Stack *a, const Stack *b, int64_t *ia, int64_t *ib, int64_t m, int64_t N,
                       double *row) {
  ia[a->rank - 2] = m, ia[a->rank - 1] = 0, ib[b->rank - 2] = 0;
  double as = param_at(&a->scale, a->rank, ia);
  for (int64_t j = 0; j < N; j++) {
    ib[b->rank - 1] = j;
    double mult = nn_round(q->scale_type, nn_round(q->scale_type, as * param_at(&b->scale, b->rank, ib)) / q->y_scale);
    row[j] = (q->whole ? rint(row[j] * mult) : row[j] * mult) + q->y_zero;
  }
}

static Status multiply(Eval *e, const Stack *a, const Stack *b, int batch, const int64_t *full, const Requant *q,
                       Tensor *out) {
  int64_t M = full[batch], N = full[batch + 1], K = a->dim[a->rank - 1], idx[MAX_RANK] = {0}, at = 0;
  int64_t ia[MAX_RANK] = {0}, ib[MAX_RANK] = {0};
  double *row;
  if (!tensor_count(out))
    return ST_OK;
  TRY(nn_buffer(e, N, &row));
  do {
    int64_t oa = batch_index(a, batch, idx, ia), ob = batch_index(b, batch, idx, ib);
    for (int64_t m = 0; m < M; m++, at += N) {
      TRY(ctx_poll(e->c));
      sum_row(a->v + oa + m * K, b->v + ob, K, N, row);
      if (q)
        requantise(q, a, b, ia, ib, m, N, row);
      if (q && q->whole)
        nn_store(out, at, row, N);
      else if (q)
        for (int64_t j = 0; j < N; j++)
          ((uint8_t *)out->data)[at + j] = (uint8_t)small_float_code(out->dtype, row[j], true);
      else
        for (int64_t j = 0; j < N; j++)
          elem_set_i64(DT_i32, out->data, at + j, (int64_t)row[j]); /* wraps in 32 bits */
    }
  } while (next_index(batch, full, idx));
  return ST_OK;
}

/* MatMulInteger, ONNX 10. */
Status matmul_integer_eval(Eval *e) {
  Stack a, b;
  int batch, rank;
  int64_t full[MAX_RANK + 2], dim[MAX_RANK + 2];
  Tensor *out;
  TRY(load_stack(e, 0, 2, -1, true, &a));
  TRY(load_stack(e, 1, 3, -1, false, &b));
  TRY(product_shape(e, &a, &b, 0, 1, &batch, full, &rank, dim));
  TRY(eval_out(e, 0, DT_i32, rank, dim, &out));
  return multiply(e, &a, &b, batch, full, NULL, out);
}

/* QLinearMatMul, ONNX 21. */
Status qlinear_matmul_eval(Eval *e) {
  Stack a, b;
  int batch, rank;
  int64_t full[MAX_RANK + 2], dim[MAX_RANK + 2];
  Tensor *out;
  for (int i = 0; i < 8; i++)
    if (!eval_has(e, i))
      return eval_fail(e, "input %d is missing", i);
  if (tensor_count(e->in[6]) != 1 || tensor_count(e->in[7]) != 1)
    return eval_fail(e, "y_scale and y_zero_point must be scalars");
  if (e->in[7]->dtype != DT_u8 && e->in[7]->dtype != DT_i8 && !is_float8(e->in[7]->dtype))
    return eval_fail(e, "y_zero_point must be u8, i8 or a float of 8 bits");
  TRY(load_stack(e, 0, 2, 1, true, &a));
  TRY(load_stack(e, 3, 5, 4, false, &b));
  TRY(product_shape(e, &a, &b, 0, 3, &batch, full, &rank, dim));
  TRY(eval_out(e, 0, e->in[7]->dtype, rank, dim, &out));
  Requant q = {elem_f64(e->in[6]->dtype, e->in[6]->data, 0), elem_f64(e->in[7]->dtype, e->in[7]->data, 0),
               e->in[6]->dtype, dtype_is_int(e->in[7]->dtype)};
  return multiply(e, &a, &b, batch, full, &q, out);
}
