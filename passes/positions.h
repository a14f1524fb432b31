/* positions.h - causality and windows of an attention as a mask, for kernels that have them not or count otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_PASSES_POSITIONS_H
#define SARD_PASSES_POSITIONS_H

#include "passes/rewrite.h"

/* Query i, of seq, stands at key before + i; before may be negative. The mask is for the first `total` keys. */
typedef struct Positions {
  Dim seq, before, total; /* dims_bound */
  bool causal;
  int64_t left, right; /* keys that are seen before that one and behind it; negative: all */
} Positions;

/* Can a mask take them up? */
bool positions_fit(const Value *mask, Dim total);
/* mask, which fits or is NULL, with them in it: bool [seq, total] where there was none; mask itself when they say nothing. */
Value *positions_mask(Match *m, const Positions *p, Value *mask);

#endif
