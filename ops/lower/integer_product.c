/* integer_product.c - lowering of MatMulInteger (10) and QLinearMatMul (21) as loops with a sum inside: exact, as the reference
 * has them; of floats of 8 bits in double.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <string.h>

enum { EXACT_I32 = INT32_MAX / (255 * 255) }; /* as many products of 8-bit integers fit a sum of 32 bits */

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }

/* --- operands --- */

/* Input i as a stack of matrices, [..., rows, k] on the left and [..., k, columns] on the right; a vector is one of them. */
typedef struct Side {
  int in, row, col; /* input; its axes that are row and column, -1: not there */
} Side;

static Side side_of(const Node *n, int i, bool left) {
  int r = in_of(n, i)->rank;
  if (r == 1)
    return left ? (Side){i, -1, 0} : (Side){i, 0, -1};
  return (Side){i, r - 2, r - 1};
}

/* The index of element (i, j) of the operand's matrix that belongs to the result's element at `index`. */
static void element_at(const Lower *x, const Node *n, Side s, KExpr *const *index, KExpr *i, KExpr *j, KExpr **at) {
  const Type *t = in_of(n, s.in), *out = &n->out[0]->type;
  int batch = out->rank - (in_of(n, 0)->rank > 1) - (in_of(n, n->op == OP_QLinearMatMul ? 3 : 1)->rank > 1);
  for (int k = 0; k < t->rank - 2; k++)
    at[k] = dim_is(t->dim[k], 1) ? ke_int(x->k, DT_i64, 0) : index[batch - (t->rank - 2) + k];
  if (s.row >= 0)
    at[s.row] = i;
  if (s.col >= 0)
    at[s.col] = j;
}

/* Ranks, inner extents and batches that need no look at run time. */
static bool operands_fit(const Node *n, Side a, Side b) {
  const Type *ta = in_of(n, a.in), *tb = in_of(n, b.in), *out = &n->out[0]->type;
  if (ta->rank < 1 || tb->rank < 1 || ta->dim[a.col] != tb->dim[b.row])
    return false;
  int batch = out->rank - (ta->rank > 1) - (tb->rank > 1);
  for (int side = 0; side < 2; side++) {
    const Type *t = side ? tb : ta;
    for (int k = 0; k < t->rank - 2; k++)
      if (!dim_is(t->dim[k], 1) && t->dim[k] != out->dim[batch - (t->rank - 2) + k])
        return false;
  }
  return true;
}

/* The row and the column of the result's element; NULL: there is no such axis. */
static void result_at(const Node *n, Side a, Side b, KExpr *const *index, KExpr **row, KExpr **col) {
  int r = n->out[0]->type.rank;
  *col = in_of(n, b.in)->rank > 1 ? index[--r] : NULL;
  *row = in_of(n, a.in)->rank > 1 ? index[r - 1] : NULL;
}

/* --- sums --- */

/* A scale or zero point (input i) of a row of the left or a column of the right operand: a scalar, one per row or column, or a
 * stack of them. */
static Status parameter(Lower *x, const Node *n, int i, Side s, bool left, KExpr *const *index, KExpr *own, KExpr **e) {
  const Type *t = in_of(n, i);
  KExpr *at[MAX_RANK], *zero = lower_index_const(x, 0);
  if (t->rank > 1) {
    element_at(x, n, s, index, left ? own : zero, left ? zero : own, at);
    for (int k = 0; k < t->rank; k++)
      at[k] = dim_is(t->dim[k], 1) ? zero : at[k];
  } else {
    at[0] = t->rank && !dim_is(t->dim[0], 1) ? own : zero;
  }
  return lower_read(x, n->in[i], at, e);
}

static bool parameter_fits(const Node *n, int i, Side s, bool left) {
  if (!has(n, i))
    return true;
  const Type *t = in_of(n, i), *m = in_of(n, s.in);
  int axis = left ? s.row : s.col;
  if (!t->rank || (t->rank == 1 && (dim_is(t->dim[0], 1) || (m->rank > 1 && t->dim[0] == m->dim[axis]))))
    return true;
  bool fits = t->rank > 1 && t->rank == m->rank;
  for (int k = 0; fits && k < t->rank; k++)
    fits = dim_is(t->dim[k], 1) || (t->dim[k] == m->dim[k] && (k == axis || k < t->rank - 2));
  return fits;
}

/* One operand's element less its zero point (input izero, or -1), in type w. */
static Status factor(Lower *x, const Node *n, Side s, bool left, int izero, DType w, KExpr *const *index, KExpr *i,
                     KExpr *j, KExpr **e) {
  KExpr *at[MAX_RANK], *z;
  element_at(x, n, s, index, i, j, at);
  TRY(lower_read(x, n->in[s.in], at, e));
  *e = ke_cast(x->k, w, *e);
  if (izero < 0 || !has(n, izero))
    return ST_OK;
  TRY(parameter(x, n, izero, s, left, index, left ? i : j, &z));
  *e = k_sub(x, *e, ke_cast(x->k, w, z));
  return ST_OK;
}

/* The sum over k of a[i, k] b[k, j], in type w. */
static Status product_sum(Lower *x, const Node *n, Side a, Side b, int azero, int bzero, DType w, KExpr *const *index,
                          KExpr **e) {
  KExpr *row, *col, *u, *v;
  KCursor behind;
  result_at(n, a, b, index, &row, &col);
  KVar *sum = lower_acc(x, "s", dtype_is_float(w) ? ke_float(x->k, w, 0) : ke_int(x->k, w, 0));
  KExpr *k = lower_open(x, "k", in_of(n, a.in)->dim[a.col], &behind);
  TRY(factor(x, n, a, true, azero, w, index, row, k, &u));
  TRY(factor(x, n, b, false, bzero, w, index, k, col, &v));
  ks_update(&x->at, sum, KOP_add, k_mul(x, u, v));
  lower_close(x, 1, behind);
  *e = ke_var(x->k, sum);
  return ST_OK;
}

/* --- eight bits --- */

static bool is_float8(DType t) { return dtype_is_float(t) && dtype_bits(t) == 8 && t != DT_f8e8m0; }

static bool eight_bits(const Node *n, int i, int izero) {
  DType t = in_of(n, i)->dtype;
  return (t == DT_u8 || t == DT_i8) && (!has(n, izero) || in_of(n, izero)->dtype == t);
}

static bool matmul_integer_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  Side a = side_of(n, 0, true), b = side_of(n, 1, false);
  *why = "types or extents that are looked at when it runs";
  return eight_bits(n, 0, 2) && eight_bits(n, 1, 3) && operands_fit(n, a, b) && parameter_fits(n, 2, a, true) &&
         parameter_fits(n, 3, b, false);
}

/* Wraps in 32 bits. */
static Status matmul_integer(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  return product_sum(x, n, side_of(n, 0, true), side_of(n, 1, false), 2, 3, DT_i32, index, e);
}
const Lowering matmul_integer_lower = {LOWER_ELEM, .can = matmul_integer_can, .elem = matmul_integer, .again = true};

static bool quantised(const Node *n, int i, int izero) {
  DType t = in_of(n, i)->dtype;
  return eight_bits(n, i, izero) || (is_float8(t) && in_of(n, izero)->dtype == t);
}

static bool one_number(const Type *t) { return !t->rank || (t->rank == 1 && dim_is(t->dim[0], 1)); }

static bool qlinear_matmul_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  Side a = side_of(n, 0, true), b = side_of(n, 3, false);
  *why = "types or extents that are looked at when it runs";
  for (int i = 0; i < 8; i++)
    if (!has(n, i))
      return false;
  DType y = in_of(n, 7)->dtype;
  return quantised(n, 0, 2) && quantised(n, 3, 5) && (y == DT_u8 || y == DT_i8 || is_float8(y)) &&
         operands_fit(n, a, b) && parameter_fits(n, 1, a, true) && parameter_fits(n, 2, a, true) &&
         parameter_fits(n, 4, b, false) && parameter_fits(n, 5, b, false) && one_number(in_of(n, 6)) &&
         one_number(in_of(n, 7));
}

/* a_scale * b_scale / y_scale, each step rounded to the scales' type. */
static Status multiplier(Lower *x, const Node *n, Side a, Side b, KExpr *const *index, KExpr **e) {
  DType t = in_of(n, 6)->dtype, w = lower_work(t);
  KExpr *row, *col, *u, *v, *y, *zero[1] = {lower_index_const(x, 0)};
  result_at(n, a, b, index, &row, &col);
  TRY(parameter(x, n, 1, a, true, index, row, &u));
  TRY(parameter(x, n, 4, b, false, index, col, &v));
  TRY(lower_read(x, n->in[6], zero, &y));
  u = ke_cast(x->k, w, ke_cast(x->k, t, k_mul(x, ke_cast(x->k, w, u), ke_cast(x->k, w, v))));
  *e = lower_once(x, "by", ke_cast(x->k, t, k_div(x, u, ke_cast(x->k, w, y))));
  return ST_OK;
}

static Status qlinear_matmul(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  Side a = side_of(n, 0, true), b = side_of(n, 3, false);
  KExpr *sum, *by, *zero[1] = {lower_index_const(x, 0)}, *z;
  int64_t k;
  bool narrow = dim_is_const(in_of(n, 0)->dim[a.col], &k) && k <= EXACT_I32, is_signed = in_of(n, 7)->dtype == DT_i8;
  DType y = in_of(n, 7)->dtype, w = narrow ? DT_i32 : DT_i64;
  if (is_float8(in_of(n, 0)->dtype) || is_float8(in_of(n, 3)->dtype))
    w = DT_f64;
  TRY(product_sum(x, n, a, b, 2, 5, w, index, &sum));
  TRY(multiplier(x, n, a, b, index, &by));
  TRY(lower_read(x, n->in[7], zero, &z));
  KExpr *v = k_mul(x, ke_cast(x->k, DT_f64, sum), ke_cast(x->k, DT_f64, by));
  v = k_add(x, is_float8(y) ? v : k_un(x, KOP_round, v), ke_cast(x->k, DT_f64, z));
  if (is_float8(y)) {
    *e = ke_cast(x->k, y, v);
    return ST_OK;
  }
  v = k_bin(x, KOP_min, k_bin(x, KOP_max, v, k_num(x, v, is_signed ? -128 : 0)), k_num(x, v, is_signed ? 127 : 255));
  *e = ke_cast(x->k, y, v);
  return ST_OK;
}
const Lowering qlinear_matmul_lower = {LOWER_ELEM, .can = qlinear_matmul_can, .elem = qlinear_matmul, .again = true};
