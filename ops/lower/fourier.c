/* fourier.c - lowering of DFT (20) and STFT (17) whose length or axis only a run tells; constant lengths become matrix products (passes/fourier.c).
 *
 *   for a block of ROWS rows                 parallel: tables are made once for a block
 *     radices of n, or, where a prime above DENSE divides n, of a power of two, m, that holds a convolution
 *     w[k] = exp(-2 pi i k / m)
 *     for job in order:                      a row; with a convolution the filter, then there and back for every row
 *       from = the row, times the chirp | the filter | the conjugate of the spectrum times that of the filter
 *       for radix p: to[k + l q, s] = sum over r of w[...] from[k, s + r m / (l p)]; from = to
 *       y = from, times the chirp
 *
 * Each stage leaves its results in order (Stockham's form of Cooley and Tukey's algorithm), so the cost is n times the sum of the
 * radices; radices 4 take additions alone. Primes up to DENSE are summed as they are defined; larger ones would cost
 * n^2, and are a convolution with a chirp (Bluestein, 1970). All in f64, as the reference has it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"
#include "ops/signal.h"

#include <math.h>

enum { ROWS = 8, DENSE = 64, MAX_STAGES = 64, MAX_BITS = 62 };

typedef struct Cx {
  KExpr *re, *im;
} Cx;

typedef struct Fourier {
  Lower *x;
  const Node *n;
  bool inverse, half;
  DftShape of;
  Dim around[MAX_RANK];                     /* extents around the rows; 1 for the axis itself */
  Dim cap;                                  /* room for m */
  KBuf *w, *chirp, *filter, *from, *to;     /* [2, …]: real parts, imaginary parts */
  KBuf *radix;                              /* i64[MAX_STAGES] */
  KExpr *len, *m, *stages, *large, *large1; /* large: there is a convolution; as a number */
  KExpr *row[MAX_RANK];                     /* index of the row at hand */
  KExpr *step;                              /* STFT: from frame to frame */
} Fourier;

static KExpr *num(const Fourier *f, int64_t v) { return lower_index_const(f->x, v); }
static KExpr *real(const Fourier *f, double v) { return ke_float(f->x->k, DT_f64, v); }
static KExpr *to_real(const Fourier *f, KExpr *v) { return ke_cast(f->x->k, DT_f64, v); }
static KExpr *now(const Fourier *f, const char *name, KExpr *e) { return lower_now(f->x, name, e); }

/* A loop up to `bound`, which is at most extent. */
static KExpr *open_to(const Fourier *f, const char *name, Dim extent, KExpr *bound, KCursor *behind) {
  KExpr *v = lower_open(f->x, name, extent, behind);
  v->var->def->value = bound;
  return v;
}

static Cx get(const Fourier *f, KBuf *b, KExpr *at) {
  Kernel *k = f->x->k;
  return (Cx){now(f, "re", ke_load(k, b, (KExpr *[]){num(f, 0), at})),
              now(f, "im", ke_load(k, b, (KExpr *[]){num(f, 1), at}))};
}

static void put(const Fourier *f, KBuf *b, KExpr *at, Cx v) {
  ks_store(&f->x->at, b, (KExpr *[]){num(f, 0), at}, v.re);
  ks_store(&f->x->at, b, (KExpr *[]){num(f, 1), at}, v.im);
}

static Cx add(const Fourier *f, Cx a, Cx b) { return (Cx){k_add(f->x, a.re, b.re), k_add(f->x, a.im, b.im)}; }
static Cx sub(const Fourier *f, Cx a, Cx b) { return (Cx){k_sub(f->x, a.re, b.re), k_sub(f->x, a.im, b.im)}; }
static Cx conjugate(const Fourier *f, Cx a) { return (Cx){a.re, k_un(f->x, KOP_neg, a.im)}; }
static Cx named(const Fourier *f, Cx a) { return (Cx){now(f, "re", a.re), now(f, "im", a.im)}; }

static Cx mul(const Fourier *f, Cx a, Cx b) {
  Lower *x = f->x;
  return (Cx){k_sub(x, k_mul(x, a.re, b.re), k_mul(x, a.im, b.im)),
              k_add(x, k_mul(x, a.re, b.im), k_mul(x, a.im, b.re))};
}

static Cx either(const Fourier *f, KExpr *cond, Cx a, Cx b) {
  return (Cx){ke_select(f->x->k, cond, a.re, b.re), ke_select(f->x->k, cond, a.im, b.im)};
}

/* --- tables --- */

/* Radices of n up to DENSE, fours first, are noted, and counted in *count. What is left of n. */
static KExpr *factor(Fourier *f, KExpr *n, KVar *count) {
  Lower *x = f->x;
  KCursor behind, hit, miss;
  KVar *rest = lower_acc(x, "rest", n), *p = lower_acc(x, "p", num(f, 4));
  lower_open_ordered(x, "step", dim_const(x->c, DENSE + MAX_BITS), &behind);
  KExpr *left = ke_var(x->k, rest), *by = ke_var(x->k, p);
  lower_if(x, k_bin(x, KOP_and, k_bin(x, KOP_lt, num(f, 1), left), k_bin(x, KOP_le, by, num(f, DENSE))), NULL);
  KExpr *c = now(f, "c", by), *divides = now(f, "divides", k_bin(x, KOP_eq, k_bin(x, KOP_mod, left, c), num(f, 0)));
  lower_if(x, divides, &hit);
  ks_store(&x->at, f->radix, (KExpr *[]){ke_var(x->k, count)}, c);
  ks_update(&x->at, count, KOP_add, num(f, 1));
  ks_update(&x->at, rest, KOP_none, k_div(x, left, c));
  lower_close(x, 1, hit);
  lower_if(x, k_un(x, KOP_not, divides), &miss);
  KExpr *next = ke_select(x->k, k_bin(x, KOP_eq, c, num(f, 3)), num(f, 5), k_add(x, c, num(f, 1)));
  ks_update(&x->at, p, KOP_none, ke_select(x->k, k_bin(x, KOP_eq, c, num(f, 4)), num(f, 2), next));
  lower_close(x, 1, miss);
  lower_close(x, 2, behind);
  return now(f, "rest", left);
}

/* The least power of two that holds a convolution of two chirps. */
static void find_size(Fourier *f, KVar *m) {
  Lower *x = f->x;
  KCursor behind;
  KExpr *most = k_sub(x, k_mul(x, f->len, num(f, 2)), num(f, 1)), *v = ke_var(x->k, m);
  ks_update(&x->at, m, KOP_none, num(f, 1));
  lower_open_ordered(x, "bit", dim_const(x->c, MAX_BITS), &behind);
  lower_if(x, k_bin(x, KOP_lt, v, most), NULL);
  ks_update(&x->at, m, KOP_none, k_add(x, v, v));
  lower_close(x, 2, behind);
}

static void make_plan(Fourier *f) {
  Lower *x = f->x;
  KCursor behind;
  KVar *count = lower_acc(x, "stages", num(f, 0)), *m = lower_acc(x, "m", f->len);
  f->large = now(f, "large", k_bin(x, KOP_lt, num(f, 1), factor(f, f->len, count)));
  lower_if(x, f->large, &behind);
  find_size(f, m);
  ks_update(&x->at, count, KOP_none, num(f, 0));
  factor(f, ke_var(x->k, m), count);
  lower_close(x, 1, behind);
  f->m = now(f, "m", ke_var(x->k, m)), f->stages = now(f, "stages", ke_var(x->k, count));
  f->large1 = now(f, "extra", ke_cast(x->k, DT_i64, f->large));
}

/* exp(-pi i k / half) */
static Cx root(const Fourier *f, KExpr *k, KExpr *half) {
  Lower *x = f->x;
  KExpr *t = now(f, "t", k_div(x, k_mul(x, to_real(f, k), real(f, M_PI)), to_real(f, half)));
  return (Cx){k_un(x, KOP_cos, t), k_un(x, KOP_neg, k_un(x, KOP_sin, t))};
}

static void make_tables(Fourier *f) {
  Lower *x = f->x;
  KCursor behind, no;
  KExpr *k = open_to(f, "k", f->cap, f->m, &behind);
  put(f, f->w, k, root(f, k_add(x, k, k), f->m));
  lower_close(x, 1, behind);
  lower_if(x, f->large, &no);
  k = lower_open(x, "k", f->of.length, &behind);
  put(f, f->chirp, k, root(f, k_bin(x, KOP_mod, k_mul(x, k, k), k_add(x, f->len, f->len)), f->len));
  lower_close(x, 1, behind);
  lower_close(x, 1, no);
}

/* --- a transform of what is in `from` --- */

static KExpr *place(const Fourier *f, KExpr *k, KExpr *width, KExpr *s) {
  return k_add(f->x, k_mul(f->x, k, width), s);
}

/* l: transforms that are done; wide: m / (4 l), their distance afterwards. */
static void stage4(Fourier *f, KExpr *l, KExpr *wide) {
  Lower *x = f->x;
  KCursor behind;
  Cx w[4], v[4];
  KExpr *k = open_to(f, "k", f->cap, l, &behind), *first = now(f, "first", k_mul(x, k_mul(x, k, wide), num(f, 4)));
  for (int r = 1; r < 4; r++)
    w[r] = get(f, f->w, k_mul(x, k_mul(x, k, wide), num(f, r)));
  KExpr *s = open_to(f, "s", f->cap, wide, NULL);
  for (int r = 0; r < 4; r++) {
    v[r] = get(f, f->from, k_add(x, first, place(f, num(f, r), wide, s)));
    v[r] = r ? named(f, mul(f, v[r], w[r])) : v[r];
  }
  Cx a = named(f, add(f, v[0], v[2])), b = named(f, sub(f, v[0], v[2])), c = named(f, add(f, v[1], v[3])),
     d = named(f, sub(f, v[1], v[3]));
  Cx turned = {d.im, k_un(x, KOP_neg, d.re)}; /* -i d */
  put(f, f->to, place(f, k, wide, s), add(f, a, c));
  put(f, f->to, place(f, k_add(x, k, l), wide, s), add(f, b, turned));
  put(f, f->to, place(f, k_add(x, k, k_mul(x, l, num(f, 2))), wide, s), sub(f, a, c));
  put(f, f->to, place(f, k_add(x, k, k_mul(x, l, num(f, 3))), wide, s), sub(f, b, turned));
  lower_close(x, 2, behind);
}

static void stage_any(Fourier *f, KExpr *p, KExpr *l, KExpr *wide) {
  Lower *x = f->x;
  KCursor behind, terms, here;
  KExpr *all = now(f, "all", k_mul(x, l, p)), *k = open_to(f, "k", f->cap, all, &behind);
  KExpr *first = now(f, "first", k_mul(x, k_mul(x, k_bin(x, KOP_mod, k, l), wide), p));
  KExpr *step = now(f, "step", k_mul(x, k, wide)), *s = open_to(f, "s", f->cap, wide, &here);
  put(f, f->to, place(f, k, wide, s), get(f, f->from, k_add(x, first, s)));
  lower_close(x, 1, here);
  KVar *at = lower_acc(x, "at", num(f, 0));
  KExpr *r = lower_open_ordered(x, "r", dim_const(x->c, DENSE - 1), &terms);
  r->var->def->value = k_sub(x, p, num(f, 1));
  r = now(f, "r1", k_add(x, r, num(f, 1)));
  KExpr *next = now(f, "next", k_add(x, ke_var(x->k, at), step));
  next = now(f, "turn", ke_select(x->k, k_bin(x, KOP_lt, next, f->m), next, k_sub(x, next, f->m)));
  ks_update(&x->at, at, KOP_none, next);
  Cx w = get(f, f->w, next);
  s = open_to(f, "s", f->cap, wide, NULL);
  Cx v = get(f, f->from, k_add(x, first, place(f, r, wide, s))), sum = get(f, f->to, place(f, k, wide, s));
  put(f, f->to, place(f, k, wide, s), add(f, sum, mul(f, v, w)));
  lower_close(x, 2, terms);
  lower_close(x, 1, behind);
}

static void transform(Fourier *f) {
  Lower *x = f->x;
  KCursor behind, here;
  KVar *done = lower_acc(x, "done", num(f, 1));
  KExpr *i = lower_open_ordered(x, "stage", dim_const(x->c, MAX_STAGES), &behind);
  i->var->def->value = f->stages;
  KExpr *p = now(f, "p", ke_load(x->k, f->radix, &i)), *l = now(f, "l", ke_var(x->k, done));
  KExpr *all = now(f, "all", k_mul(x, l, p)), *wide = now(f, "wide", k_div(x, f->m, all));
  KExpr *four = now(f, "four", k_bin(x, KOP_eq, p, num(f, 4)));
  lower_if(x, four, &here);
  stage4(f, l, wide);
  lower_close(x, 1, here);
  lower_if(x, k_un(x, KOP_not, four), &here);
  stage_any(f, p, l, wide);
  lower_close(x, 1, here);
  KExpr *k = open_to(f, "k", f->cap, f->m, &here);
  put(f, f->from, k, get(f, f->to, k));
  lower_close(x, 1, here);
  ks_update(&x->at, done, KOP_none, all);
  lower_close(x, 1, behind);
}

/* --- rows --- */

/* The place of element k of the row at hand; axis: where k counts. */
static void place_of(const Fourier *f, KExpr *k, KExpr **at) {
  for (int i = 0; i < f->of.rank - 1; i++)
    at[i] = k_add(f->x, f->row[i], k_mul(f->x, ke_dim(f->x->k, f->of.on[i]), k));
}

/* Where element j of the row lies in the signal. */
static void source_of(const Fourier *f, KExpr *j, KExpr **at) {
  if (!f->step) {
    place_of(f, j, at);
    return;
  }
  at[0] = f->row[0];
  at[1] = k_add(f->x, k_mul(f->x, f->row[1], f->step), j);
}

/* Element j of the row, which is there. */
static Status sample(Fourier *f, KExpr *j, Cx *v) {
  Lower *x = f->x;
  const Type *t = &f->n->in[0]->type;
  Dim parts = t->dim[t->rank - 1];
  KExpr *at[MAX_RANK], *re, *im = real(f, 0), *w;
  source_of(f, j, at);
  at[t->rank - 1] = num(f, 0);
  TRY(lower_read(x, f->n->in[0], at, &re));
  if (!dim_is(parts, 1)) {
    at[t->rank - 1] = k_sub(x, ke_dim(x->k, parts), num(f, 1));
    TRY(lower_read(x, f->n->in[0], at, &im));
    im = ke_select(x->k, k_bin(x, KOP_eq, ke_dim(x->k, parts), num(f, 2)), to_real(f, im), real(f, 0));
  }
  *v = (Cx){to_real(f, re), im};
  if (f->step && f->n->nin > 2 && f->n->in[2]) {
    TRY(lower_read(x, f->n->in[2], &j, &w));
    w = now(f, "w", to_real(f, w));
    *v = (Cx){k_mul(x, v->re, w), k_mul(x, v->im, w)};
  }
  return ST_OK;
}

/* Element k < m of the row: zeros behind its end; k and n - k are conjugates where only half of them is given. */
static Status element(Fourier *f, KExpr *k, Cx *v) {
  Lower *x = f->x;
  KExpr *j = k, *mirrored = NULL;
  if (f->half && f->inverse) {
    mirrored = now(f, "mirrored", k_bin(x, KOP_lt, k_div(x, f->len, num(f, 2)), k));
    j = now(f, "j", ke_select(x->k, mirrored, k_sub(x, f->len, k), k));
  }
  KExpr *there = k_bin(x, KOP_and, k_bin(x, KOP_lt, k, f->len), k_bin(x, KOP_lt, j, ke_dim(x->k, f->of.in)));
  there = now(f, "there", there);
  TRY(sample(f, now(f, "at", ke_select(x->k, there, j, num(f, 0))), v));
  if (mirrored)
    *v = either(f, mirrored, conjugate(f, *v), *v);
  *v = named(f, either(f, there, *v, (Cx){real(f, 0), real(f, 0)}));
  return ST_OK;
}

/* An inverse transform is the conjugate of that of the conjugate. */
static Status read_row(Fourier *f) {
  Lower *x = f->x;
  KCursor behind;
  Cx v;
  KExpr *k = open_to(f, "k", f->cap, f->m, &behind);
  TRY(element(f, k, &v));
  v = f->inverse ? conjugate(f, v) : v;
  Cx c = get(f, f->chirp, ke_select(x->k, f->large, k_bin(x, KOP_min, k, k_sub(x, f->len, num(f, 1))), num(f, 0)));
  put(f, f->from, k, either(f, f->large, mul(f, v, c), v));
  lower_close(x, 1, behind);
  return ST_OK;
}

static void read_nothing(Fourier *f) {
  KCursor behind;
  KExpr *k = open_to(f, "k", f->cap, f->m, &behind);
  put(f, f->from, k, (Cx){real(f, 0), real(f, 0)});
  lower_close(f->x, 1, behind);
}

static void read_filter(Fourier *f) {
  Lower *x = f->x;
  KCursor behind;
  KExpr *k = open_to(f, "k", f->cap, f->m, &behind), *j = now(f, "j", k_bin(x, KOP_min, k, k_sub(x, f->m, k)));
  KExpr *there = k_bin(x, KOP_lt, j, f->len), *at = k_bin(x, KOP_min, j, k_sub(x, f->len, num(f, 1)));
  Cx c = get(f, f->chirp, at), none = {real(f, 0), real(f, 0)};
  put(f, f->from, k, either(f, there, conjugate(f, c), none));
  lower_close(x, 1, behind);
}

static void keep_filter(Fourier *f) {
  Lower *x = f->x;
  KCursor behind;
  KExpr *k = open_to(f, "k", f->cap, f->m, &behind), *size = to_real(f, f->m);
  Cx v = get(f, f->from, k);
  put(f, f->filter, k, (Cx){k_div(x, v.re, size), k_div(x, v.im, size)});
  lower_close(x, 1, behind);
}

static void turn_back(Fourier *f) {
  KCursor behind;
  KExpr *k = open_to(f, "k", f->cap, f->m, &behind);
  Cx v = get(f, f->from, k), c = get(f, f->filter, k);
  put(f, f->from, k, conjugate(f, mul(f, v, c)));
  lower_close(f->x, 1, behind);
}

static void write_row(Fourier *f, KBuf *out) {
  Lower *x = f->x;
  DType t = f->n->out[0]->type.dtype;
  KCursor behind;
  KExpr *k = lower_open(x, "k", f->of.out, &behind), *at[MAX_RANK];
  Cx v = get(f, f->from, k), c = get(f, f->chirp, ke_select(x->k, f->large, k, num(f, 0)));
  v = named(f, either(f, f->large, mul(f, conjugate(f, v), c), v));
  if (f->inverse) {
    KExpr *n = to_real(f, f->len);
    v = (Cx){k_div(x, v.re, n), k_div(x, k_un(x, KOP_neg, v.im), n)};
  }
  place_of(f, k, at);
  at[f->of.rank - 1] = num(f, 0);
  ks_store(&x->at, out, at, ke_cast(x->k, t, v.re));
  if (!(f->inverse && f->half)) {
    at[f->of.rank - 1] = num(f, 1);
    ks_store(&x->at, out, at, ke_cast(x->k, t, v.im));
  }
  lower_close(x, 1, behind);
}

/* --- the nest --- */

/* Row `at` of all as an index. */
static void unfold(Fourier *f, KExpr *at) {
  Lower *x = f->x;
  for (int i = f->of.rank - 2; i >= 0; i--) {
    Dim n = f->around[i];
    f->row[i] = dim_is(n, 1) ? num(f, 0) : now(f, "i", k_bin(x, KOP_mod, at, ke_dim(x->k, n)));
    at = dim_is(n, 1) ? at : now(f, "rest", k_div(x, at, ke_dim(x->k, n)));
  }
}

/* With a convolution job 0 is the filter, odd ones go there, even ones back. */
static Status run_job(Fourier *f, KExpr *job, KExpr *first, KBuf *out) {
  Lower *x = f->x;
  KCursor behind;
  KExpr *filter = now(f, "filter", k_bin(x, KOP_lt, job, f->large1));
  KExpr *turn = k_bin(x, KOP_eq, k_bin(x, KOP_and, job, num(f, 1)), num(f, 0));
  KExpr *back = now(f, "back", k_bin(x, KOP_and, f->large, k_bin(x, KOP_and, turn, k_un(x, KOP_not, filter))));
  KExpr *there = now(f, "there", k_un(x, KOP_not, k_bin(x, KOP_or, filter, back)));
  KExpr *pair = k_div(x, k_bin(x, KOP_max, k_sub(x, job, num(f, 1)), num(f, 0)), num(f, 2));
  unfold(f, now(f, "row", k_add(x, first, ke_select(x->k, f->large, pair, job))));
  lower_if(x, filter, &behind);
  read_filter(f);
  lower_close(x, 1, behind);
  KExpr *some = k_bin(x, KOP_lt, num(f, 0), ke_dim(x->k, f->of.in));
  lower_if(x, k_bin(x, KOP_and, there, some), &behind);
  TRY(read_row(f));
  lower_close(x, 1, behind);
  lower_if(x, k_bin(x, KOP_and, there, k_un(x, KOP_not, some)), &behind);
  read_nothing(f);
  lower_close(x, 1, behind);
  lower_if(x, back, &behind);
  turn_back(f);
  lower_close(x, 1, behind);
  transform(f);
  lower_if(x, filter, &behind);
  keep_filter(f);
  lower_close(x, 1, behind);
  lower_if(x, k_bin(x, KOP_or, back, k_bin(x, KOP_and, there, k_un(x, KOP_not, f->large))), &behind);
  write_row(f, out);
  lower_close(x, 1, behind);
  return ST_OK;
}

/* One number, or NULL. */
static Dim single(Ctx *c, const Node *n, int i) {
  const Dim *list;
  int64_t k;
  return value_content(c, n->in[i], &list, &k) && k == 1 ? list[0] : NULL;
}

bool dft_shape_of(Ctx *c, const Node *n, DftShape *s) {
  Dim axis = n->nin > 2 && n->in[2] ? single(c, n, 2) : dim_const(c, -2);
  Dim length = n->nin > 1 && n->in[1] ? single(c, n, 1) : NULL;
  if (!axis || (!length && n->nin > 1 && n->in[1]))
    return false;
  return dft_shape(c, &n->in[0]->type, ATTR(n, DFT), axis, length, s);
}

static bool dft_can(Ctx *c, const Node *n, const char **why) {
  DftShape s;
  *why = "a length or an axis that no step tells before";
  return dft_shape_of(c, n, &s) && n->out[0]->type.rank == s.rank;
}

static Status nest(Fourier *f, KBuf *out) {
  Lower *x = f->x;
  KCursor behind;
  Dim rows = dim_const(x->c, 1), per = dim_const(x->c, ROWS), two = dim_const(x->c, 2);
  f->cap = dim_mul(x->c, f->of.length, dim_const(x->c, 4)); /* a power of two below twice 2 n - 1 */
  for (int i = 0; i < f->of.rank - 1; i++)
    rows = dim_mul(x->c, rows, f->around[i]);
  KBuf **tables[] = {&f->w, &f->filter, &f->from, &f->to, &f->chirp};
  for (size_t i = 0; i < countof(tables); i++)
    *tables[i] =
        kernel_add_temp(x->k, "table", DT_f64, 2, (Dim[]){two, tables[i] == &f->chirp ? f->of.length : f->cap});
  f->radix = kernel_add_temp(x->k, "radix", DT_i64, 1, (Dim[]){dim_const(x->c, MAX_STAGES)});
  KExpr *b = lower_open(x, "b", dim_ceildiv(x->c, rows, per), &behind);
  f->len = ke_dim(x->k, f->of.length);
  make_plan(f);
  make_tables(f);
  KExpr *first = now(f, "first", k_mul(x, b, num(f, ROWS)));
  KExpr *mine = now(f, "mine", k_bin(x, KOP_min, num(f, ROWS), k_sub(x, ke_dim(x->k, rows), first)));
  KExpr *jobs = now(f, "jobs", ke_select(x->k, f->large, k_add(x, k_add(x, mine, mine), num(f, 1)), mine));
  KExpr *job = lower_open_ordered(x, "job", dim_const(x->c, 2 * ROWS + 1), NULL);
  job->var->def->value = jobs;
  TRY(run_job(f, job, first, out));
  lower_close(x, 2, behind);
  return ST_OK;
}

static Status dft(Lower *x, const Node *n, KBuf *const *out) {
  Fourier f = {.x = x, .n = n, .inverse = ATTR(n, DFT)->inverse != 0, .half = ATTR(n, DFT)->onesided != 0};
  dft_shape_of(x->c, n, &f.of);
  for (int i = 0; i < f.of.rank - 1; i++) {
    Dim d = n->in[0]->type.dim[i];
    f.around[i] = dim_add(x->c, d, dim_mul(x->c, f.of.on[i], dim_sub(x->c, dim_const(x->c, 1), d)));
  }
  return nest(&f, out[0]);
}
const Lowering dft_lower = {LOWER_NEST, .can = dft_can, .nest = dft};

/* --- STFT (17): the rows are frames --- */

bool stft_shape_of(Ctx *c, const Node *n, Dim *step, Dim *length) {
  const Value *window = n->nin > 2 ? n->in[2] : NULL;
  *step = single(c, n, 1);
  *length = n->nin > 3 && n->in[3] ? single(c, n, 3) : window ? window->type.dim[0] : n->in[0]->type.dim[1];
  return *step && *length;
}

static bool stft_can(Ctx *c, const Node *n, const char **why) {
  Dim step, length;
  *why = "a step or a length that no step tells before";
  return n->in[0]->type.rank == 3 && (n->nin < 3 || !n->in[2] || n->in[2]->type.rank == 1) &&
         stft_shape_of(c, n, &step, &length) && n->out[0]->type.rank == 4;
}

static Status stft(Lower *x, const Node *n, KBuf *const *out) {
  Dim zero = dim_const(x->c, 0), one = dim_const(x->c, 1), step, length;
  const Dim *dim = n->out[0]->type.dim;
  Fourier f = {.x = x, .n = n, .half = ATTR(n, STFT)->onesided != 0, .around = {dim[0], dim[1], one}};
  stft_shape_of(x->c, n, &step, &length);
  f.step = ke_dim(x->k, step);
  f.of = (DftShape){.rank = 4, .on = {zero, zero, one}, .in = length, .length = length, .out = dim[2]};
  return nest(&f, out[0]);
}
const Lowering stft_lower = {LOWER_NEST, .can = stft_can, .nest = stft};
