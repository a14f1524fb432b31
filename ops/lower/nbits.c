/* nbits.c - lowering of MatMulNBits (com.microsoft 1) as a plain loop, each number taken out of its byte where it is used: for what
 * the product generator does not take (codegen/anchors.c): weights that are no constants, element types other than f32.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nbits.h"
#include "ops/lower.h"

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

static bool format_of(const Node *n, NBits *f) {
  const MatMulNBitsAttr *a = ATTR(n, MatMulNBits);
  return nbits_of(a->K, a->N, a->bits, a->block_size, f);
}

/* Is input i a constant shape of `rows` rows of `each` elements: flat, as a matrix, or its rows cut into pieces of `inner`? */
static bool shape_fits(const Node *n, int i, int64_t rows, int64_t each, int64_t inner) {
  const Type *t = in_of(n, i);
  int64_t d[3] = {0};
  for (int k = 0; k < t->rank && k < 3; k++)
    if (!dim_is_const(t->dim[k], &d[k]))
      return false;
  return (t->rank == 1 && d[0] == rows * each) || (t->rank == 2 && d[0] == rows && d[1] == each) ||
         (t->rank == 3 && d[0] == rows && d[1] == each / inner && d[2] == inner);
}

static bool nbits_can(Ctx *c, const Node *n, const char **why) {
  NBits f;
  int64_t k;
  (void)c;
  *why = "shapes that are looked at when it runs";
  const Type *a = in_of(n, 0);
  if (!format_of(n, &f) || a->rank < 1 || !dim_is_const(a->dim[a->rank - 1], &k) || k != f.k)
    return false;
  int64_t zeros = has(n, 3) && in_of(n, 3)->dtype == DT_u8 ? nbits_zero_bytes(&f) : f.blocks;
  return shape_fits(n, 1, f.n, nbits_column_bytes(&f), f.block * f.bits / 8) &&
         shape_fits(n, 2, f.n, f.blocks, f.blocks) && (!has(n, 3) || shape_fits(n, 3, f.n, zeros, zeros)) &&
         (!has(n, 4) || in_of(n, 4)->rank == 1) &&
         (!has(n, 5) || (in_of(n, 5)->rank == 1 && dim_is(in_of(n, 5)->dim[0], f.n)));
}

/* Element `at` of row `row` of input i, whose rows have `each` elements in pieces of `inner`. */
static Status element(Lower *x, const Node *n, int i, KExpr *row, KExpr *at, int64_t each, int64_t inner, KExpr **e) {
  KExpr *index[3];
  int rank = in_of(n, i)->rank;
  if (rank == 1)
    index[0] = k_add(x, k_mul(x, row, num(x, each)), at);
  else if (rank == 2)
    index[0] = row, index[1] = at;
  else
    index[0] = row, index[1] = k_div(x, at, num(x, inner)), index[2] = k_bin(x, KOP_mod, at, num(x, inner));
  return lower_read(x, n->in[i], index, e);
}

/* Number `at` of a row of bytes. */
static Status packed(Lower *x, const Node *n, int i, KExpr *row, KExpr *at, int bits, int64_t each, int64_t inner,
                     KExpr **e) {
  KExpr *byte, *per = num(x, 8 / bits);
  TRY(element(x, n, i, row, k_div(x, at, per), each, inner, &byte));
  byte = ke_cast(x->k, DT_i64, byte);
  byte = k_bin(x, KOP_shr, byte, k_mul(x, k_bin(x, KOP_mod, at, per), num(x, bits)));
  *e = k_bin(x, KOP_and, byte, num(x, (1 << bits) - 1));
  return ST_OK;
}

/* (B - zero) * scale at (k, column), in type w. */
static Status weight(Lower *x, const Node *n, const NBits *f, KExpr *k, KExpr *column, DType w, KExpr **e) {
  KExpr *q, *z = num(x, 1 << (f->bits - 1)), *s, *block = k_div(x, k, num(x, f->block));
  if (has(n, 4)) {
    TRY(lower_read(x, n->in[4], &k, &block));
    block = lower_once(x, "block", ke_cast(x->k, DT_i64, block));
    KExpr *known = k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), block), k_bin(x, KOP_lt, block, num(x, f->blocks)));
    TRY(lower_check(x, known, block, dim_const(x->c, f->blocks), "g_idx names block %lld of %lld"));
  }
  TRY(packed(x, n, 1, column, k, f->bits, nbits_column_bytes(f), f->block * f->bits / 8, &q));
  if (has(n, 3) && in_of(n, 3)->dtype == DT_u8)
    TRY(packed(x, n, 3, column, block, f->bits, nbits_zero_bytes(f), nbits_zero_bytes(f), &z));
  else if (has(n, 3))
    TRY(element(x, n, 3, column, block, f->blocks, f->blocks, &z));
  TRY(element(x, n, 2, column, block, f->blocks, f->blocks, &s));
  *e = k_mul(x, k_sub(x, ke_cast(x->k, w, q), ke_cast(x->k, w, z)), ke_cast(x->k, w, s));
  return ST_OK;
}

static Status nbits(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *a = in_of(n, 0);
  DType w = lower_work(a->dtype);
  KExpr *at[MAX_RANK], *u, *v;
  KCursor behind;
  NBits f;
  (void)out;
  format_of(n, &f);
  KExpr *column = index[a->rank - 1];
  KVar *sum = lower_acc(x, "s", ke_float(x->k, w, 0));
  KExpr *k = lower_open(x, "k", dim_const(x->c, f.k), &behind);
  for (int i = 0; i < a->rank - 1; i++)
    at[i] = index[i];
  at[a->rank - 1] = k;
  TRY(lower_read(x, n->in[0], at, &u));
  TRY(weight(x, n, &f, k, column, w, &v));
  ks_update(&x->at, sum, KOP_add, k_mul(x, ke_cast(x->k, w, u), v));
  lower_close(x, 1, behind);
  *e = ke_var(x->k, sum);
  if (has(n, 5)) {
    TRY(lower_read(x, n->in[5], &column, &u));
    *e = k_add(x, *e, ke_cast(x->k, w, u));
  }
  *e = ke_cast(x->k, a->dtype, *e);
  return ST_OK;
}
const Lowering matmul_nbits_lower = {LOWER_ELEM, .can = nbits_can, .elem = nbits, .again = true};
