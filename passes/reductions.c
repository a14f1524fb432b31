/* reductions.c - what reduces all of a large tensor to one number would be one part of work, for one thread: rows first, each a part of
 * its own, then what they gave.
 *
 *     ReduceSum(x)   ->   ReduceSum(ReduceSum(x, axes = [-1], keepdims = 1))
 *
 * What has one axis is cut into rows: ReduceSum(ReduceSum(Reshape(x, [rows, -1]), axes = [-1], keepdims = 0)).
 *
 * The order of a sum hangs on the shape alone, as ever: its bits are those of any number of threads. Sums of 16 bits stay as they are:
 * those of rows would be rounded. Needs: types inferred, axes constant. SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"
#include "passes/rewrite.h"

enum { LEAST_ROW = 64, LEAST_ROWS = 2, CUT_ROW = 1 << 14 };
static const int64_t least_count = 1 << 18; /* elements, where a second thread pays */

static bool all_axes(const Node *n, int rank) {
  const Tensor *axes = n->nin > 1 && n->in[1] ? n->in[1]->konst : NULL;
  if (n->nin > 1 && n->in[1] && !axes)
    return false;
  int64_t k = axes ? tensor_count(axes) : 0;
  return k ? k == rank : !ATTR(n, Reduce)->noop_with_empty_axes; /* none twice: inference has looked */
}

/* The operator for what rows gave. */
static OpId then(OpId op, DType t) {
  bool exact = t == DT_f32 || t == DT_f64;
  switch (op) {
  case OP_ReduceMax:
  case OP_ReduceMin: return op;
  case OP_ReduceSum:
  case OP_ReduceMean: return exact ? op : OP_none;
  case OP_ReduceSumSquare:
  case OP_ReduceL1: return exact ? OP_ReduceSum : OP_none;
  default: return OP_none;
  }
}

/* x, of one axis, as rows of equal length: as long as may be up to CUT_ROW. NULL: there is no such length. */
static Value *cut_into_rows(Match *m, Value *x) {
  int64_t n, row = CUT_ROW;
  if (!dim_is_const(x->type.dim[0], &n) || n < least_count)
    return NULL;
  while (row >= LEAST_ROW && n % row)
    row--;
  return row < LEAST_ROW ? NULL : reshape_to(m, x, (Dim[]){dim_const(m->c, n / row), dim_const(m->c, row)}, 2);
}

static Value *by_rows(Match *m) {
  Node *n = m->root;
  Value *x = n->in[0];
  const Type *t = &x->type;
  int64_t row, d, rows = 1;
  OpId second = then(n->op, t->dtype);
  ReduceAttr a = *ATTR(n, Reduce), first = a;
  bool one = t->rank == 1;
  if (!type_known(x) || second == OP_none || t->rank < 1 || !all_axes(n, t->rank))
    return NULL;
  if (one && !(x = cut_into_rows(m, x)))
    return NULL;
  t = &x->type;
  if (!dim_is_const(t->dim[t->rank - 1], &row) || row < LEAST_ROW)
    return NULL;
  for (int i = 0; i < t->rank - 1; i++)
    if (dim_is_const(t->dim[i], &d))
      rows = d > INT32_MAX / (rows + 1) ? INT32_MAX : rows * d;
  if (rows < LEAST_ROWS || row < least_count / rows)
    return NULL;
  first.keepdims = !one, first.noop_with_empty_axes = 0;
  Value *in[2] = {x, const_ints(m, (const int64_t[]){t->rank - 1}, 1)};
  in[0] = emit(m, n->op, &first, 2, in);
  in[1] = n->nin > 1 ? n->in[1] : NULL;
  return emit(m, second, &a, n->nin > 1 ? 2 : 1, in);
}

static const Rule rules[] = {
    {"maximum by rows", OPERATOR(ReduceMax), by_rows}, {"minimum by rows", OPERATOR(ReduceMin), by_rows},
    {"sum by rows", OPERATOR(ReduceSum), by_rows},     {"mean by rows", OPERATOR(ReduceMean), by_rows},
    {"L1 by rows", OPERATOR(ReduceL1), by_rows},       {"sum of squares by rows", OPERATOR(ReduceSumSquare), by_rows},
};

Status pass_reductions(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
