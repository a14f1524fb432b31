/* product.c - lowering of MatMul, Gemm (13) and Einsum (28) as plain loops: for what the product generator does not take
 * (codegen/anchors.c): element types other than f32, batches that broadcast, vectors, more than two operands.
 *
 *   acc s                          lanes run along the last axis of the result, or along k where that is the axis that
 *   for k { s += a[m, k]*b[k, n] } both operands have last
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include "ops/eval/einsum.h"

#include <math.h>
#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

static KExpr *zero_of(Lower *x, DType t) { return dtype_is_float(t) ? ke_float(x->k, t, 0) : ke_int(x->k, t, 0); }

static Status widened(Lower *x, Value *v, KExpr *const *index, KExpr **e) {
  TRY(lower_read(x, v, index, e));
  *e = ke_cast(x->k, lower_work((*e)->dtype), *e);
  return ST_OK;
}

/* --- MatMul --- */

static bool matmul_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return in_of(n, 0)->rank > 0 && in_of(n, 1)->rank > 0 && in_of(n, 0)->dtype != DT_bool;
}

/* The index of operand i: its own batch axes by broadcasting, then (rows, k) or (k, columns). */
static Status matmul_index(Lower *x, const Node *n, int i, KExpr *const *index, KExpr *k, KExpr **at) {
  const Type *t = in_of(n, i), *out = &n->out[0]->type;
  int r = t->rank, batch = out->rank - (in_of(n, 0)->rank > 1) - (in_of(n, 1)->rank > 1);
  for (int a = 0; a < r - 2; a++) {
    int o = batch - (r - 2) + a;
    TRY(lower_bcast_index(x, t->dim[a], out->dim[o], index[o], &at[a]));
  }
  at[r - 1] = k;
  if (r == 1)
    return ST_OK;
  if (i == 0)
    at[r - 2] = index[batch];
  else
    at[r - 2] = k, at[r - 1] = index[out->rank - 1];
  return ST_OK;
}

static Status matmul(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const Type *a = in_of(n, 0), *b = in_of(n, 1);
  Dim inner = a->dim[a->rank - 1];
  KExpr *at[MAX_RANK], *p, *q;
  KCursor behind;
  TRY(lower_same_extent(x, inner, b->dim[b->rank > 1 ? b->rank - 2 : 0], "inner dimensions %lld and %lld differ"));
  KVar *acc = lower_acc(x, "s", zero_of(x, lower_work(a->dtype)));
  KExpr *k = lower_open(x, "k", inner, &behind);
  TRY(matmul_index(x, n, 0, index, k, at));
  TRY(widened(x, n->in[0], at, &p));
  TRY(matmul_index(x, n, 1, index, k, at));
  TRY(widened(x, n->in[1], at, &q));
  ks_update(&x->at, acc, KOP_add, k_mul(x, p, q));
  lower_close(x, 1, behind);
  *e = ke_cast(x->k, a->dtype, ke_var(x->k, acc));
  return ST_OK;
}
const Lowering matmul_lower = {LOWER_ELEM, .can = matmul_can, .elem = matmul, .again = true};

/* --- Gemm --- */

static bool gemm_can(Ctx *c, const Node *n, const char **why) {
  const GemmAttr *a = ATTR(n, Gemm);
  (void)c;
  *why = "an integer product with a factor that is no whole number";
  if (in_of(n, 0)->rank != 2 || in_of(n, 1)->rank != 2 || (has(n, 2) && in_of(n, 2)->rank > 2))
    return false;
  bool whole =
      a->alpha == rintf(a->alpha) && a->beta == rintf(a->beta) && fabsf(a->alpha) < 0x1p53f && fabsf(a->beta) < 0x1p53f;
  return dtype_is_float(in_of(n, 0)->dtype) || whole;
}

static Status gemm(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const GemmAttr *g = ATTR(n, Gemm);
  const Type *a = in_of(n, 0), *b = in_of(n, 1);
  int ta = g->transA != 0, tb = g->transB != 0;
  KExpr *p, *q, *c;
  KCursor behind;
  TRY(lower_same_extent(x, a->dim[!ta], b->dim[tb], "inner dimensions %lld and %lld differ"));
  KVar *acc = lower_acc(x, "s", zero_of(x, lower_work(a->dtype)));
  KExpr *k = lower_open(x, "k", a->dim[!ta], &behind);
  TRY(widened(x, n->in[0], ta ? (KExpr *[]){k, index[0]} : (KExpr *[]){index[0], k}, &p));
  TRY(widened(x, n->in[1], tb ? (KExpr *[]){index[1], k} : (KExpr *[]){k, index[1]}, &q));
  ks_update(&x->at, acc, KOP_add, k_mul(x, p, q));
  lower_close(x, 1, behind);
  *e = ke_var(x->k, acc);
  if (g->alpha != 1)
    *e = k_mul(x, *e, k_num(x, *e, g->alpha));
  if (has(n, 2)) {
    TRY(lower_read_bcast(x, n, 2, index, &c));
    c = ke_cast(x->k, (*e)->dtype, c);
    *e = k_add(x, *e, g->beta == 1 ? c : k_mul(x, c, k_num(x, c, g->beta)));
  }
  *e = ke_cast(x->k, a->dtype, *e);
  return ST_OK;
}
const Lowering gemm_lower = {LOWER_ELEM, .can = gemm_can, .elem = gemm, .again = true};

/* --- Einsum --- */

enum { MAX_SUMMED = 8 };

/* The equation, and the extent of each label: the one that is not 1 among its occurrences. */
static bool equation_of(Ctx *c, const Node *n, Equation *q, Dim *extent) {
  int rank[EIN_MAX_IN];
  for (int i = 0; i < n->nin && i < EIN_MAX_IN; i++)
    rank[i] = in_of(n, i)->rank;
  if (einsum_parse(c, ATTR(n, Einsum)->equation, n->nin, rank, q))
    return false;
  for (int i = 0; i < q->nin; i++)
    for (int k = 0; k < q->in[i].n; k++) {
      Dim *d = &extent[q->in[i].label[k]], here = in_of(n, i)->dim[k];
      if (*d && *d != here && !dim_is(*d, 1) && !dim_is(here, 1))
        return false;
      if (!*d || dim_is(*d, 1))
        *d = here;
    }
  return true;
}

static bool einsum_can(Ctx *c, const Node *n, const char **why) {
  Equation q;
  Dim extent[EIN_MAX_LABEL] = {NULL};
  int summed = 0;
  *why = "extents of one letter that are compared at run time, or too many sums";
  for (int i = 1; i < n->nin; i++)
    if (in_of(n, i)->dtype != in_of(n, 0)->dtype)
      return false;
  if (in_of(n, 0)->dtype == DT_bool || !equation_of(c, n, &q, extent))
    return false;
  for (int l = 0; l < EIN_MAX_LABEL; l++)
    summed += extent[l] != NULL;
  return summed - q.out.n <= MAX_SUMMED;
}

static Status einsum(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  Equation q;
  Dim extent[EIN_MAX_LABEL] = {NULL};
  KExpr *label[EIN_MAX_LABEL] = {NULL}, *at[MAX_RANK], *v, *term = NULL;
  KCursor behind;
  DType t = in_of(n, 0)->dtype;
  int depth = 0;
  equation_of(x->c, n, &q, extent);
  for (int k = 0; k < q.out.n; k++)
    label[q.out.label[k]] = index[k];
  KVar *acc = lower_acc(x, "s", zero_of(x, lower_work(t)));
  for (int l = 0; l < EIN_MAX_LABEL; l++)
    if (extent[l] && !label[l])
      label[l] = lower_open(x, "k", extent[l], depth++ ? NULL : &behind);
  for (int i = 0; i < q.nin; i++) {
    for (int k = 0; k < q.in[i].n; k++)
      at[k] = dim_is(in_of(n, i)->dim[k], 1) ? num(x, 0) : label[q.in[i].label[k]];
    TRY(widened(x, n->in[i], at, &v));
    term = term ? k_mul(x, term, v) : v;
  }
  ks_update(&x->at, acc, KOP_add, term);
  lower_close(x, depth, behind);
  *e = ke_cast(x->k, t, ke_var(x->k, acc));
  return ST_OK;
}
const Lowering einsum_lower = {LOWER_ELEM, .can = einsum_can, .elem = einsum, .again = true};
