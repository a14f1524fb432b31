/* compare.h - is a result what was expected?
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_COMPARE_H
#define SARD_TOOLS_COMPARE_H

#include "support/tensor.h"

/* relative < 0: per element, |got - want| <= atol + rtol * |want|, equal infinities and NaN with NaN. Otherwise floats:
 * the largest difference is at most relative times the largest finite |want|; everything else is equal. */
typedef struct Tolerance {
  double rtol, atol, relative;
  double bf16_rtol; /* bfloat16 outputs: rtol is at least this */
} Tolerance;

typedef struct Diff {
  bool ok;
  const char *reason; /* "" when ok, else why not, with shapes or the worst element */
  int64_t count, bad; /* elements; those out of tolerance */
  int64_t worst;      /* flat index of the largest difference; -1: none differs */
  const char *at;     /* the same as "[1,0,5]" */
  double got, want;   /* there */
  double max_abs;     /* largest |got - want|; infinite where one of the two is not finite */
  double max_rel;     /* over the largest |want| */
} Diff;

/* Kind, type, shape and number of items alone, within sequences too. */
void compare_types(Arena *a, const Tensor *got, const Tensor *want, Diff *d);
/* Compares tensors, sequences and optionals; strings and shapes are equal or not. */
void compare_values(Arena *a, const Tensor *got, const Tensor *want, const Tolerance *tol, Diff *d);

#endif
