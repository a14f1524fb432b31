/* matmul.c - MatMul and Gemm (13) over the blocked product of product.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"
#include "ops/eval/product.h"

#include <math.h>

static Status one_dtype(Eval *e) {
  for (int i = 0; i < e->nin; i++)
    if (e->in[i] && e->in[i]->dtype != e->in[0]->dtype)
      return eval_fail(e, "the inputs must have one element type");
  if (!dtype_is_float(e->in[0]->dtype) && !dtype_is_int(e->in[0]->dtype))
    return eval_unsupported(e, "not defined for %s", dtype_name(e->in[0]->dtype));
  return ST_OK;
}

/* --- MatMul --- */

typedef struct Target {
  Tensor *y;
  int64_t at, n; /* of the current matrix; columns */
} Target;

static void put_plain(void *arg, int64_t i, int64_t j, int64_t n, const double *f, const int64_t *z) {
  Target *t = arg;
  int64_t at = t->at + i * t->n + j;
  if (f)
    store_f64(t->y->dtype, t->y->data, at, 1, n, f);
  else
    store_i64(t->y->dtype, t->y->data, at, 1, n, z);
}

/* A vector is a matrix of one row (as A) or one column (as B). */
static Tensor as_matrix(const Tensor *t, bool left) {
  Tensor r = *t;
  if (t->rank == 1) {
    r.rank = 2;
    r.dim[0] = left ? 1 : t->dim[0], r.dim[1] = left ? t->dim[0] : 1;
  }
  return r;
}

/* Strides of the batch axes, in elements; the two matrix axes count as one step of rows * cols. */
static void batch_strides(const Tensor *t, int rank, const int64_t *dim, int64_t *stride) {
  Tensor batch = *t;
  int64_t matrix = t->dim[t->rank - 2] * t->dim[t->rank - 1];
  batch.rank -= 2;
  eval_bcast_strides(&batch, rank, dim, stride);
  for (int i = 0; i < rank; i++)
    stride[i] *= matrix;
}

static Status multiply_batches(Eval *e, const Tensor *a, const Tensor *b, Tensor *y, int rank, const int64_t *dim) {
  int64_t m = a->dim[a->rank - 2], k = a->dim[a->rank - 1], n = b->dim[b->rank - 1];
  int64_t sa[MAX_RANK], sb[MAX_RANK], idx[MAX_RANK] = {0};
  Target t = {y, 0, n};
  Product p = {.m = m, .n = n, .k = k, .put = put_plain, .arg = &t};
  p.a = (Operand){.dtype = a->dtype, .data = a->data, .row = offset_table(e, m, k), .col = offset_table(e, k, 1)};
  p.b = (Operand){.dtype = b->dtype, .data = b->data, .row = offset_table(e, k, n), .col = offset_table(e, n, 1)};
  product_prepare(e, &p, k);
  batch_strides(a, rank, dim, sa);
  batch_strides(b, rank, dim, sb);
  do {
    p.a.at = p.b.at = 0;
    for (int i = 0; i < rank; i++)
      p.a.at += idx[i] * sa[i], p.b.at += idx[i] * sb[i];
    TRY(product_run(e, &p));
    t.at += m * n;
  } while (next_index(rank, dim, idx));
  return ST_OK;
}

/* MatMul (13), as numpy.matmul: [..., M, K] x [..., K, N], batch axes broadcast, vectors get a 1 that is dropped again.
 */
Status matmul_eval(Eval *e) {
  TRY(operands(e, 2));
  TRY(one_dtype(e));
  if (!e->in[0]->rank || !e->in[1]->rank)
    return eval_fail(e, "a scalar cannot be multiplied as a matrix");
  Tensor a = as_matrix(e->in[0], true), b = as_matrix(e->in[1], false), *y;
  int64_t k = a.dim[a.rank - 1], dim[MAX_RANK];
  int rank, batch;
  if (b.dim[b.rank - 2] != k)
    return eval_fail(e, "inner dimensions %lld and %lld differ", (long long)k, (long long)b.dim[b.rank - 2]);
  TRY(eval_broadcast(e, a.rank - 2, a.dim, b.rank - 2, b.dim, &batch, dim));
  rank = batch;
  if (e->in[0]->rank > 1)
    dim[rank++] = a.dim[a.rank - 2];
  if (e->in[1]->rank > 1)
    dim[rank++] = b.dim[b.rank - 1];
  TRY(eval_out(e, 0, a.dtype, rank, dim, &y));
  return tensor_count(y) ? multiply_batches(e, &a, &b, y, batch, dim) : ST_OK;
}

/* --- Gemm --- */

typedef struct GemmTarget {
  Tensor *y;
  const Tensor *c;  /* NULL: absent */
  int64_t row, col; /* strides of c */
  int64_t n;
  double alpha, beta;
} GemmTarget;

static void put_gemm_f64(GemmTarget *t, int64_t i, int64_t j, int64_t n, const double *f) {
  double v[CHUNK], c[CHUNK];
  for (int64_t s = 0; s < n; s += CHUNK) {
    int64_t len = n - s < CHUNK ? n - s : CHUNK;
    if (t->c)
      load_f64(t->c->dtype, t->c->data, i * t->row + (j + s) * t->col, t->col, len, c);
    for (int64_t q = 0; q < len; q++)
      v[q] = t->alpha * f[s + q] + (t->c ? t->beta * c[q] : 0);
    store_f64(t->y->dtype, t->y->data, i * t->n + j + s, 1, len, v);
  }
}

/* Integers: alpha and beta that are whole numbers are applied exactly, others in double. */
static int64_t scaled(double by, int64_t v) {
  if (by == nearbyint(by) && fabs(by) < 0x1p53)
    return (int64_t)((uint64_t)(int64_t)by * (uint64_t)v);
  int64_t cell;
  elem_set_f64(DT_i64, &cell, 0, by * (double)v);
  return cell;
}

static void put_gemm(void *arg, int64_t i, int64_t j, int64_t n, const double *f, const int64_t *z) {
  GemmTarget *t = arg;
  if (f) {
    put_gemm_f64(t, i, j, n, f);
    return;
  }
  for (int64_t q = 0; q < n; q++) {
    uint64_t v = (uint64_t)scaled(t->alpha, z[q]);
    if (t->c)
      v += (uint64_t)scaled(t->beta, elem_i64(t->c->dtype, t->c->data, i * t->row + (j + q) * t->col));
    elem_set_i64(t->y->dtype, t->y->data, i * t->n + j + q, (int64_t)v);
  }
}

/* C must broadcast to [M, N] without widening it. */
static Status bias(Eval *e, GemmTarget *t, int64_t m, int64_t n) {
  int64_t dim[MAX_RANK], want[2] = {m, n}, stride[MAX_RANK];
  int rank;
  if (!eval_has(e, 2))
    return ST_OK;
  t->c = e->in[2];
  TRY(eval_broadcast(e, 2, want, t->c->rank, t->c->dim, &rank, dim));
  if (rank != 2 || dim[0] != m || dim[1] != n)
    return eval_fail(e, "C does not broadcast to [%lld,%lld]", (long long)m, (long long)n);
  eval_bcast_strides(t->c, 2, want, stride);
  t->row = stride[0], t->col = stride[1];
  return ST_OK;
}

/* Gemm (13): alpha * A' * B' + beta * C; A' is A or its transpose. Floats are rounded once, after the sum. */
Status gemm_eval(Eval *e) {
  const Tensor *a = e->in[0], *b = e->in[1];
  const GemmAttr *at = e->attr;
  bool ta = at->transA != 0, tb = at->transB != 0;
  TRY(operands(e, 2));
  TRY(one_dtype(e));
  if (a->rank != 2 || b->rank != 2)
    return eval_fail(e, "A and B must have two dimensions");
  int64_t m = a->dim[ta], k = a->dim[!ta], n = b->dim[!tb], dim[2] = {m, n};
  if (b->dim[tb] != k)
    return eval_fail(e, "inner dimensions %lld and %lld differ", (long long)k, (long long)b->dim[tb]);
  GemmTarget t = {.n = n, .alpha = (double)at->alpha, .beta = (double)at->beta};
  TRY(bias(e, &t, m, n));
  TRY(eval_out(e, 0, a->dtype, 2, dim, &t.y));
  if (!tensor_count(t.y))
    return ST_OK;
  Product p = {.m = m, .n = n, .k = k, .put = put_gemm, .arg = &t};
  p.a = (Operand){
      .dtype = a->dtype, .data = a->data, .row = offset_table(e, m, ta ? 1 : k), .col = offset_table(e, k, ta ? m : 1)};
  p.b = (Operand){
      .dtype = b->dtype, .data = b->data, .row = offset_table(e, k, tb ? 1 : n), .col = offset_table(e, n, tb ? k : 1)};
  product_prepare(e, &p, k);
  return product_run(e, &p);
}
