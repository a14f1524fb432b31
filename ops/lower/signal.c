/* signal.c - lowering of the window functions (17) and of Det (22). DFT and STFT become matrix products (passes/fourier.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>

static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

/* a - b cos(t) + c cos(2 t), t = 2 pi i / n, as in ops/eval/signal.c. */
static Status window(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *y = &n->out[out]->type;
  double alpha = n->op == OP_HannWindow ? 0.5 : n->op == OP_HammingWindow ? 25.0 / 46 : 0.42;
  double gamma = n->op == OP_BlackmanWindow ? 0.08 : 0, beta = n->op == OP_BlackmanWindow ? 0.5 : 1 - alpha;
  DType w = y->dtype == DT_f64 ? DT_f64 : DT_f32;
  KExpr *period = ke_dim(x->k, y->dim[0]);
  if (!ATTR(n, WindowFunction)->periodic)
    period = k_sub(x, period, num(x, 1));
  KExpr *some = k_bin(x, KOP_lt, num(x, 0), period), *one = ke_float(x->k, w, 1);
  KExpr *t = k_mul(x, ke_cast(x->k, w, index[0]), ke_float(x->k, w, 2 * M_PI));
  t = lower_once(x, "t", k_div(x, t, ke_cast(x->k, w, k_bin(x, KOP_max, period, num(x, 1)))));
  KExpr *v = k_sub(x, ke_float(x->k, w, alpha), k_mul(x, ke_float(x->k, w, beta), k_un(x, KOP_cos, t)));
  if (gamma != 0)
    v = k_add(x, v, k_mul(x, ke_float(x->k, w, gamma), k_un(x, KOP_cos, k_add(x, t, t))));
  *e = ke_cast(x->k, y->dtype, ke_select(x->k, some, v, one));
  return ST_OK;
}
const Lowering window_lower = {LOWER_ELEM, .elem = window};

/* --- Det: elimination with the largest pivot of each column, in a copy --- */

typedef struct Det {
  Lower *x;
  Dim n;
  DType t;
  KBuf *a;
  KExpr *k; /* the column */
} Det;

static KExpr *entry(const Det *d, KExpr *i, KExpr *j) { return ke_load(d->x->k, d->a, (KExpr *[]){i, j}); }

static KVar *find_pivot(Det *d) {
  Lower *x = d->x;
  KCursor behind, better;
  KVar *best = lower_acc(x, "best", ke_float(x->k, d->t, -1)), *row = lower_acc(x, "row", d->k);
  KExpr *i = lower_open_ordered(x, "i", d->n, &behind);
  lower_if(x, k_bin(x, KOP_le, d->k, i), NULL);
  KExpr *v = lower_once(x, "v", k_un(x, KOP_abs, entry(d, i, d->k)));
  lower_if(x, k_bin(x, KOP_lt, ke_var(x->k, best), v), &better);
  ks_update(&x->at, best, KOP_none, v);
  ks_update(&x->at, row, KOP_none, i);
  lower_close(x, 1, better);
  lower_close(x, 2, behind);
  return row;
}

static void swap_rows(Det *d, KExpr *p) {
  Lower *x = d->x;
  KCursor behind;
  KExpr *j = lower_open_ordered(x, "j", d->n, &behind);
  KExpr *a = lower_once(x, "a", entry(d, d->k, j)), *b = lower_once(x, "b", entry(d, p, j));
  ks_store(&x->at, d->a, (KExpr *[]){d->k, j}, b);
  ks_store(&x->at, d->a, (KExpr *[]){p, j}, a);
  lower_close(x, 1, behind);
}

static void eliminate(Det *d, KExpr *pivot) {
  Lower *x = d->x;
  KCursor behind;
  KExpr *zero = ke_float(x->k, d->t, 0), *i = lower_open_ordered(x, "i", d->n, &behind);
  lower_if(x, k_bin(x, KOP_lt, d->k, i), NULL);
  KExpr *f = ke_select(x->k, k_bin(x, KOP_eq, pivot, zero), zero, k_div(x, entry(d, i, d->k), pivot));
  f = lower_once(x, "f", f);
  KExpr *j = lower_open_ordered(x, "j", d->n, NULL);
  lower_if(x, k_bin(x, KOP_lt, d->k, j), NULL);
  KExpr *v = k_sub(x, entry(d, i, j), k_mul(x, f, entry(d, d->k, j)));
  ks_store(&x->at, d->a, (KExpr *[]){i, j}, v);
  lower_close(x, 4, behind);
}

static bool det_can(Ctx *c, const Node *n, const char **why) {
  const Type *t = &n->in[0]->type;
  (void)c;
  *why = "extents that are compared at run time";
  return t->rank >= 2 && t->dim[t->rank - 1] == t->dim[t->rank - 2];
}

static Status det(Lower *x, const Node *n, KBuf *const *out) {
  const Type *t = &n->in[0]->type;
  int r = t->rank;
  Det d = {.x = x, .n = t->dim[r - 1], .t = lower_work(t->dtype)};
  KExpr *index[MAX_RANK], *v;
  KCursor behind, inner;
  d.a = kernel_add_temp(x->k, "a", d.t, 2, (Dim[]){d.n, d.n});
  int depth = lower_open_axes(x, t, 0, r - 2, index, &behind);
  index[r - 2] = lower_open(x, "i", d.n, &inner), index[r - 1] = lower_open(x, "j", d.n, NULL);
  TRY(lower_read(x, n->in[0], index, &v));
  ks_store(&x->at, d.a, index + r - 2, ke_cast(x->k, d.t, v));
  lower_close(x, 2, inner);
  KVar *det = lower_acc(x, "det", ke_float(x->k, d.t, 1));
  d.k = lower_open_ordered(x, "k", d.n, &inner);
  KExpr *p = ke_var(x->k, find_pivot(&d));
  p = lower_once(x, "p", p);
  swap_rows(&d, p);
  KExpr *pivot = lower_once(x, "pivot", entry(&d, d.k, d.k));
  KExpr *factor = ke_select(x->k, k_bin(x, KOP_eq, p, d.k), pivot, k_un(x, KOP_neg, pivot));
  ks_update(&x->at, det, KOP_mul, factor);
  eliminate(&d, pivot);
  lower_close(x, 1, inner);
  ks_store(&x->at, out[0], index, ke_cast(x->k, t->dtype, ke_var(x->k, det)));
  lower_close(x, depth, behind);
  return ST_OK;
}
const Lowering det_lower = {LOWER_NEST, .can = det_can, .nest = det};
