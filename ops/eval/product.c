/* product.c - a blocked matrix product: columns of B in panels of NB, widened once per panel; four rows of A at a time.
 *
 *      B panel  [k][NB]   doubles, contiguous: read once per group of rows
 *      A block  [k][MB]   doubles, the rows interleaved
 *      acc      [MB][NB]  stays in the first-level cache
 *
 * Every element is one sum in the order of k, so results do not depend on the blocking.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/product.h"

enum { NB = 32, MB = 4 };

void product_prepare(Eval *e, Product *p, int64_t k) {
  p->a_block = arena_get(e->scratch, (size_t)k, MB * 8, 64);
  p->b_block = arena_get(e->scratch, (size_t)k, NB * 8, 64);
}

const int64_t *offset_table(Eval *e, int64_t n, int64_t step) {
  int64_t *t = arena_array(e->scratch, int64_t, (size_t)n);
  for (int64_t i = 0; i < n; i++)
    t[i] = i * step;
  return t;
}

#define PACK(T)                                                                                                        \
  for (int64_t i = 0; i < n; i++)                                                                                      \
    out[i] = (double)((const T *)o->data)[base + index[i]];

/* out[i] = element base + index[i] */
static void gather_f64(const Operand *o, int64_t base, const int64_t *index, int64_t n, double *out) {
  if (o->dtype == DT_f32) {
    PACK(float)
  } else if (o->dtype == DT_f64) {
    PACK(double)
  } else {
    for (int64_t i = 0; i < n; i++)
      out[i] = elem_f64(o->dtype, o->data, base + index[i]);
  }
}

static void gather_i64(const Operand *o, int64_t base, const int64_t *index, int64_t n, uint64_t *out) {
  for (int64_t i = 0; i < n; i++)
    out[i] = (uint64_t)elem_i64(o->dtype, o->data, base + index[i]);
}

/* acc[r][j] += a[k][r] * b[k][j]: the inner loop over j is what the compiler makes vectors of. */
#define BLOCK(name, T)                                                                                                 \
  static void name(int64_t depth, const T *restrict a, const T *restrict b, T acc[restrict MB][NB]) {                  \
    for (int64_t k = 0; k < depth; k++, a += MB, b += NB) {                                                            \
      T a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];                                                                    \
      for (int j = 0; j < NB; j++) {                                                                                   \
        T v = b[j];                                                                                                    \
        acc[0][j] += a0 * v;                                                                                           \
        acc[1][j] += a1 * v;                                                                                           \
        acc[2][j] += a2 * v;                                                                                           \
        acc[3][j] += a3 * v;                                                                                           \
      }                                                                                                                \
    }                                                                                                                  \
  }
BLOCK(block_f64, double)
BLOCK(block_u64, uint64_t)

/* One group of at most MB rows against the packed panel of nb columns at j. */
#define ROWS(name, T, gather, block, emit)                                                                             \
  static void name(Product *p, int64_t i, int64_t j, int64_t nb) {                                                     \
    T acc[MB][NB] = {{0}}, one[MB];                                                                                    \
    T *a = p->a_block;                                                                                                 \
    int64_t rows = p->m - i < MB ? p->m - i : MB;                                                                      \
    for (int64_t k = 0; k < p->k; k++) {                                                                               \
      gather(&p->a, p->a.at + p->a.col[k], p->a.row + i, rows, one);                                                   \
      for (int64_t r = 0; r < MB; r++)                                                                                 \
        a[k * MB + r] = r < rows ? one[r] : 0;                                                                         \
    }                                                                                                                  \
    block(p->k, a, p->b_block, acc);                                                                                   \
    for (int64_t r = 0; r < rows; r++)                                                                                 \
      emit;                                                                                                            \
  }
ROWS(rows_f64, double, gather_f64, block_f64, p->put(p->arg, i + r, j, nb, acc[r], NULL))
ROWS(rows_i64, uint64_t, gather_i64, block_u64, p->put(p->arg, i + r, j, nb, NULL, (const int64_t *)acc[r]))

#define PANEL(name, T, gather)                                                                                         \
  static void name(Product *p, int64_t j, int64_t nb) {                                                                \
    T *b = p->b_block;                                                                                                 \
    for (int64_t k = 0; k < p->k; k++, b += NB) {                                                                      \
      gather(&p->b, p->b.at + p->b.row[k], p->b.col + j, nb, b);                                                       \
      for (int64_t c = nb; c < NB; c++)                                                                                \
        b[c] = 0;                                                                                                      \
    }                                                                                                                  \
  }
PANEL(panel_f64, double, gather_f64)
PANEL(panel_i64, uint64_t, gather_i64)

Status product_run(Eval *e, Product *p) {
  bool is_float = dtype_is_float(p->a.dtype);
  for (int64_t j = 0; p->m && j < p->n; j += NB) {
    int64_t nb = p->n - j < NB ? p->n - j : NB;
    (is_float ? panel_f64 : panel_i64)(p, j, nb);
    for (int64_t i = 0; i < p->m; i += MB) {
      TRY(ctx_poll(e->c));
      (is_float ? rows_f64 : rows_i64)(p, i, j, nb);
    }
  }
  return ST_OK;
}
