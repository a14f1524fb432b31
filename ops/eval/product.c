/* product.c - a blocked matrix product: columns of B in panels of NB, widened once per panel; four rows of A at a time.
 *
 *      B panel  [k][NB]   doubles, contiguous: read once per group of rows
 *      A block  [k][MB]   doubles, the rows interleaved
 *      acc      [MB][NB]  stays in the first-level cache
 *
 * Every element is one sum in the order of k, so results do not depend on the blocking.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/product.h"

#include "ops/eval/loop.h"

enum { NB = 32, MB = 4, THIN = 512 };

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

/* A panel of row k of B. */
static void panel_row(const Product *p, int64_t k, int64_t j, int64_t nb, double *out) {
  if (p->b_unit)
    load_f64(p->b.dtype, p->b.data, p->b.at + p->b.row[k] + p->b.col[j], 1, nb, out);
  else
    gather_f64(&p->b, p->b.at + p->b.row[k], p->b.col + j, nb, out);
}

/* THIN columns of a product of one row: B is read once, so packing would cost more than it saves. The same sums in the
 * same order. */
static void thin_f64(Product *p, int64_t j, int64_t nb) {
  double acc[THIN] = {0}, b[THIN];
  for (int64_t k = 0; k < p->k; k++) {
    double a = elem_f64(p->a.dtype, p->a.data, p->a.at + p->a.row[0] + p->a.col[k]);
    panel_row(p, k, j, nb, b);
    for (int64_t c = 0; c < nb; c++)
      acc[c] += a * b[c];
  }
  p->put(p->arg, 0, j, nb, acc, NULL);
}

#define PANEL(name, T, read)                                                                                           \
  static void name(Product *p, int64_t j, int64_t nb) {                                                                \
    T *b = p->b_block;                                                                                                 \
    for (int64_t k = 0; k < p->k; k++, b += NB) {                                                                      \
      read;                                                                                                            \
      for (int64_t c = nb; c < NB; c++)                                                                                \
        b[c] = 0;                                                                                                      \
    }                                                                                                                  \
  }
PANEL(panel_f64, double, panel_row(p, k, j, nb, b))
PANEL(panel_i64, uint64_t, gather_i64(&p->b, p->b.at + p->b.row[k], p->b.col + j, nb, b))

Status product_run(Eval *e, Product *p) {
  bool is_float = dtype_is_float(p->a.dtype);
  p->b_unit = true;
  for (int64_t j = 1; j < p->n; j++)
    p->b_unit &= p->b.col[j] == p->b.col[j - 1] + 1;
  if (is_float && p->m == 1) {
    for (int64_t j = 0; j < p->n; j += THIN) {
      TRY(ctx_poll(e->c));
      thin_f64(p, j, p->n - j < THIN ? p->n - j : THIN);
    }
    return ST_OK;
  }
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
