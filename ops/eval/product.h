/* product.h - the one matrix product of the reference evaluators: C[i,j] = sum over k of A[i,k] B[k,j], accumulated in
 * double (floats) or int64 (integers, wrapping), operands read through tables of offsets, so that transposes,
 * broadcasts and the index sets of Einsum are all the same product. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_PRODUCT_H
#define SARD_OPS_EVAL_PRODUCT_H

#include "ops/eval/eval.h"

/* Element (r, c) is element at + row[r] + col[c] of data. */
typedef struct Operand {
  DType dtype;
  const void *data;
  int64_t at;
  const int64_t *row, *col;
} Operand;

typedef struct Product {
  int64_t m, n, k;
  Operand a, b; /* a: m x k, b: k x n; both float or both integer */
  /* Gets n results of row i from column j on; f for floats, z for integers, the other is NULL. */
  void (*put)(void *arg, int64_t i, int64_t j, int64_t n, const double *f, const int64_t *z);
  void *arg;
  void *a_block, *b_block; /* product_prepare's */
  bool b_unit;             /* product_run's: columns of B lie side by side */
} Product;

/* Takes working memory for products of depth k from e->scratch; once for any number of runs. */
void product_prepare(Eval *e, Product *p, int64_t k);
Status product_run(Eval *e, Product *p);

/* 0, step, 2 step, …: n offsets in e->scratch. */
const int64_t *offset_table(Eval *e, int64_t n, int64_t step);

#endif
