/* tuning.h - how products are cut on one CPU, where measuring has found better than what product_plan chooses.
 *
 * A row of the table is for all products that differ at most in what stands behind them: same operands, extents as far as they are
 * known, window, packing and CPU level. Whatever a row says, results do not depend on the number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_TUNING_H
#define SARD_CODEGEN_TUNING_H

#include "codegen/unit.h"

/* As it is stored. */
typedef struct TuningRow {
  uint64_t key;
  ProductCut cut;
  uint32_t zero;
} TuningRow;
_Static_assert(sizeof(TuningRow) == 16, "a row as it is stored");

typedef struct Tuning {
  const TuningRow *row; /* by key, ascending */
  uint32_t n;
  const ProductCut *all; /* what every product gets that has no row: of trials. NULL: product_plan chooses */
} Tuning;

/* The cuts worth a trial on a CPU level, each changing one thing: at most TUNING_TRIALS. */
enum { TUNING_TRIALS = 16 };
int tuning_trials(const char *level, ProductCut *cut);

/* What tuning knows the product by; 0: its code has but one cut. */
uint64_t tuning_key(Arena *a, const Product *p, const char *level);
/* p->key, and p->cut as t has it (NULL: nothing). */
void tuning_apply(const Tuning *t, Arena *a, Product *p, const char *level);

/* n bytes of rows, to be believed only if they are all in order: false if not. *t borrows them. */
bool tuning_take(const void *bytes, size_t n, const char *level, Tuning *t);
/* The rows of `old` and `new`; those of `new` prevail, and one that changes nothing goes. */
void tuning_merge(Arena *a, const Tuning *old, const Tuning *new, Tuning *out);

#endif
