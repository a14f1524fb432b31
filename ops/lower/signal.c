/* signal.c - lowering of the window functions and MelWeightMatrix (17), and of Det (22). DFT and STFT become matrix
 * products (passes/fourier.c).
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

/* --- MelWeightMatrix (17): the bins in which triangles begin, peak and end, then their weights --- */

enum { BANDS, LENGTH, RATE, LOWEST, HIGHEST };

static bool mel_can(Ctx *c, const Node *n, const char **why) {
  *why = "inputs that are not one number each";
  for (int i = 0; i < n->nin; i++)
    if (!dim_is(type_count(c, &n->in[i]->type), 1))
      return false;
  return true;
}

static Status read_number(Lower *x, const Node *n, int i, DType t, KExpr **v) {
  KExpr *at[MAX_RANK];
  for (int k = 0; k < n->in[i]->type.rank; k++)
    at[k] = num(x, 0);
  TRY(lower_read(x, n->in[i], at, v));
  *v = lower_once(x, "v", ke_cast(x->k, t, *v));
  return ST_OK;
}

static KExpr *f64(Lower *x, double v) { return ke_float(x->k, DT_f64, v); }

/* Equally spaced on the mel scale, 2595 log10(1 + hz / 700), in f64 as in ops/eval/signal.c. */
static Status mel_edges(Lower *x, const Node *n, Dim bins, Dim edges, KBuf *edge) {
  KExpr *v[5], *mel[2];
  KCursor behind;
  for (int i = LENGTH; i <= HIGHEST; i++)
    TRY(read_number(x, n, i, i < LOWEST ? DT_i64 : DT_f64, &v[i]));
  ks_check(&x->at, k_bin(x, KOP_lt, num(x, 0), v[RATE]), v[RATE])->text = "sample_rate is %lld";
  for (int i = 0; i < 2; i++) {
    KExpr *log = k_un(x, KOP_log, k_add(x, f64(x, 1), k_div(x, v[LOWEST + i], f64(x, 700))));
    mel[i] = lower_once(x, "mel", k_mul(x, f64(x, 2595), k_mul(x, log, f64(x, M_LOG10E))));
  }
  KExpr *step = k_div(x, k_sub(x, mel[1], mel[0]), ke_cast(x->k, DT_f64, ke_dim(x->k, edges)));
  step = lower_once(x, "step", step);
  KExpr *scale = ke_cast(x->k, DT_f64, k_add(x, v[LENGTH], num(x, 1))), *rate = ke_cast(x->k, DT_f64, v[RATE]);
  KExpr *i = lower_open(x, "i", edges, &behind);
  KExpr *at = k_add(x, k_mul(x, ke_cast(x->k, DT_f64, i), step), mel[0]);
  at = k_sub(x, k_bin(x, KOP_pow, f64(x, 10), k_div(x, at, f64(x, 2595))), f64(x, 1));
  at = k_div(x, k_mul(x, scale, k_mul(x, f64(x, 700), at)), rate);
  at = lower_once(x, "at", k_un(x, KOP_floor, at));
  KExpr *end = ke_cast(x->k, DT_f64, ke_dim(x->k, bins)), *last = k_sub(x, ke_dim(x->k, edges), num(x, 1));
  KExpr *some = k_bin(x, KOP_le, f64(x, 0), at), *inside = k_bin(x, KOP_and, some, k_bin(x, KOP_lt, at, end));
  KExpr *fine = k_bin(x, KOP_or, inside, k_bin(x, KOP_eq, i, last));
  ks_check(&x->at, fine, i)->text = "band %lld lies outside of the spectrum";
  at = ke_cast(x->k, DT_i64, ke_select(x->k, inside, at, end));
  ks_store(&x->at, edge, &i, at);
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status mel_weight(Lower *x, const Node *n, KBuf *const *out) {
  const Type *y = &n->out[0]->type;
  Dim edges = dim_add(x->c, y->dim[1], dim_const(x->c, 2));
  KBuf *edge = kernel_add_temp(x->k, "edge", DT_i64, 1, &edges);
  KExpr *at[2], *p[3], *side[2];
  KCursor behind;
  TRY(mel_edges(x, n, y->dim[0], edges, edge));
  KExpr *bin = at[0] = lower_open(x, "bin", y->dim[0], &behind);
  at[1] = lower_open(x, "band", y->dim[1], NULL);
  for (int k = 0; k < 3; k++)
    p[k] = lower_now(x, "p", ke_load(x->k, edge, (KExpr *[]){k_add(x, at[1], num(x, k))}));
  for (int k = 0; k < 2; k++) { /* from the begin up, to the end down */
    KExpr *from = k ? p[2] : p[0], *way = k ? k_sub(x, p[2], p[1]) : k_sub(x, p[1], p[0]);
    KExpr *part = ke_cast(x->k, DT_f64, k ? k_sub(x, from, bin) : k_sub(x, bin, from));
    side[k] = k_div(x, part, ke_cast(x->k, DT_f64, k_bin(x, KOP_max, way, num(x, 1))));
  }
  KExpr *down = k_bin(x, KOP_and, k_bin(x, KOP_le, p[1], bin), k_bin(x, KOP_lt, bin, p[2]));
  KExpr *up = k_bin(x, KOP_and, k_bin(x, KOP_le, p[0], bin), k_bin(x, KOP_lt, bin, p[1]));
  KExpr *v = ke_select(x->k, up, side[0], f64(x, 0));
  v = ke_select(x->k, k_bin(x, KOP_eq, bin, p[1]), f64(x, 1), v);
  ks_store(&x->at, out[0], at, ke_cast(x->k, y->dtype, ke_select(x->k, down, side[1], v)));
  lower_close(x, 2, behind);
  return ST_OK;
}
const Lowering mel_weight_lower = {LOWER_NEST, .can = mel_can, .nest = mel_weight};

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
