/* sort.h - a merge sort of positions, as loops: what TopK of many results and the order of rows share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_LOWER_SORT_H
#define SARD_OPS_LOWER_SORT_H

#include "ops/lower.h"

typedef struct Sort {
  Lower *x;
  Dim extent;
  Status (*key)(void *arg, KExpr *i, KExpr **v); /* what element i is compared by; NULL: its position tells */
  /* Does element (v, i) come before (w, j)? A strict order. Statements may be written. */
  Status (*before)(void *arg, KExpr *v, KExpr *i, KExpr *w, KExpr *j, KExpr **first);
  void *arg;
} Sort;

/* Positions 0 … extent - 1 as they come in order: row *side of *pos, a temporary. */
Status lower_sort(const Sort *s, KBuf **pos, KExpr **side);

/* Does value a come before b? NaN is above all numbers. */
KExpr *lower_value_before(Lower *x, KExpr *a, KExpr *b);
/* Are they one value? NaN is equal to NaN. */
KExpr *lower_value_same(Lower *x, KExpr *a, KExpr *b);

#endif
