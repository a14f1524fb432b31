/* nbits.c - MatMulNBits (com.microsoft 1).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nbits.h"

#include "ops/eval/loop.h"

static Status check_size(Eval *e, int i, const char *what, int64_t want) {
  int64_t n = tensor_count(e->in[i]);
  return n == want ? ST_OK : eval_fail(e, "%s has %lld elements instead of %lld", what, (long long)n, (long long)want);
}

static Status check_inputs(Eval *e, const NBits *f) {
  TRY(check_size(e, 1, "B", f->n * nbits_column_bytes(f)));
  TRY(check_size(e, 2, "scales", f->n * f->blocks));
  if (eval_has(e, 3))
    TRY(check_size(e, 3, "zero_points", f->n * (e->in[3]->dtype == DT_u8 ? nbits_zero_bytes(f) : f->blocks)));
  if (eval_has(e, 4) && tensor_count(e->in[4]) < f->k)
    return eval_fail(e, "g_idx has fewer than K elements");
  return eval_has(e, 5) ? check_size(e, 5, "bias", f->n) : ST_OK;
}

static Status block_at(Eval *e, const NBits *f, int64_t k, int64_t *block) {
  *block = k / f->block;
  if (!eval_has(e, 4))
    return ST_OK;
  *block = ((const int32_t *)e->in[4]->data)[k];
  if (*block < 0 || *block >= f->blocks)
    return eval_fail(e, "g_idx names block %lld of %lld", (long long)*block, (long long)f->blocks);
  return ST_OK;
}

/* Column n of B. */
static Status column(Eval *e, const NBits *f, int64_t n, double *w) {
  const Tensor *zero = eval_has(e, 3) ? e->in[3] : NULL;
  const uint8_t *q = (const uint8_t *)e->in[1]->data + n * nbits_column_bytes(f);
  for (int64_t k = 0; k < f->k; k++) {
    int64_t b;
    TRY(block_at(e, f, k, &b));
    double z = 1 << (f->bits - 1);
    if (zero && zero->dtype == DT_u8)
      z = nbits_get((const uint8_t *)zero->data + n * nbits_zero_bytes(f), f->bits, b);
    else if (zero)
      z = elem_f64(zero->dtype, zero->data, n * f->blocks + b);
    w[k] = (nbits_get(q, f->bits, k) - z) * elem_f64(e->in[2]->dtype, e->in[2]->data, n * f->blocks + b);
  }
  return ST_OK;
}

Status matmul_nbits_eval(Eval *e) {
  const MatMulNBitsAttr *a = e->attr;
  NBits f;
  Tensor *y;
  TRY(operands(e, 3));
  if (!nbits_of(a->K, a->N, a->bits, a->block_size, &f))
    return eval_unsupported(e, "K %lld, N %lld, %lld bits in blocks of %lld", (long long)a->K, (long long)a->N,
                            (long long)a->bits, (long long)a->block_size);
  const Tensor *x = e->in[0];
  if (x->rank < 1 || x->dim[x->rank - 1] != f.k)
    return eval_fail(e, "the last extent of A is not K, %lld", (long long)f.k);
  TRY(check_inputs(e, &f));
  int64_t dim[MAX_RANK], rows = 1;
  for (int i = 0; i < x->rank - 1; i++)
    rows *= dim[i] = x->dim[i];
  dim[x->rank - 1] = f.n;
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &y));
  double *w = arena_array(e->scratch, double, (size_t)f.k);
  for (int64_t n = 0; n < f.n; n++) {
    TRY(ctx_poll(e->c));
    TRY(column(e, &f, n, w));
    for (int64_t m = 0; m < rows; m++) {
      double sum = 0;
      for (int64_t k = 0; k < f.k; k++)
        sum += elem_f64(x->dtype, x->data, m * f.k + k) * w[k];
      elem_set_f64(y->dtype, y->data, m * f.n + n,
                   eval_has(e, 5) ? sum + elem_f64(e->in[5]->dtype, e->in[5]->data, n) : sum);
    }
  }
  return ST_OK;
}
