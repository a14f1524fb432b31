/* positions.c - causality and windows of an attention as a mask: comparisons of counted rows with counted columns.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/positions.h"

#include <math.h>

bool positions_fit(const Value *mask, Dim total) {
  const Type *t = &mask->type;
  return type_known(mask) && t->rank >= 1 && t->dim[t->rank - 1] == total &&
         (t->dtype == DT_bool || dtype_is_float(t->dtype));
}

static Value *number(Match *m, Dim d) {
  DimsAttr a = {.dims = {&d, 1}, .rank = 0, .dtype = DT_i64};
  int64_t k;
  return dim_is_const(d, &k) ? const_like(m, (double)k, DT_i64) : emit(m, OP_Dims, &a, 0, NULL);
}

static Value *counted(Match *m, Dim from, Dim to) {
  return EMIT(m, Range, NULL, number(m, from), number(m, to), number(m, dim_const(m->c, 1)));
}

static Value *shifted(Match *m, Value *v, int64_t by) {
  return by ? EMIT(m, Add, NULL, v, const_like(m, (double)by, DT_i64)) : v;
}

static Value *both(Match *m, Value *a, Value *b) { return !a ? b : !b ? a : EMIT(m, And, NULL, a, b); }

/* Which keys a query may see, by where they stand: bool [seq, total]. */
static Value *by_position(Match *m, const Positions *p) {
  Ctx *c = m->c;
  Value *keep = NULL, *column = counted(m, dim_const(c, 0), p->total);
  Value *row = counted(m, p->before, dim_add(c, p->before, p->seq));
  row = reshape_to(m, row, (Dim[]){p->seq, dim_const(c, 1)}, 2);
  if (p->causal)
    keep = both(m, keep, EMIT(m, LessOrEqual, NULL, column, row));
  if (p->right >= 0)
    keep = both(m, keep, EMIT(m, LessOrEqual, NULL, column, shifted(m, row, p->right)));
  if (p->left >= 0)
    keep = both(m, keep, EMIT(m, LessOrEqual, NULL, shifted(m, row, -p->left), column));
  return keep;
}

Value *positions_mask(Match *m, const Positions *p, Value *mask) {
  if (!p->causal && p->left < 0 && p->right < 0)
    return mask;
  Value *keep = by_position(m, p);
  if (!mask || mask->type.dtype == DT_bool)
    return both(m, mask, keep);
  return EMIT(m, Where, NULL, keep, mask, const_like(m, -INFINITY, mask->type.dtype));
}
