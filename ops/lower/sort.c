/* sort.c - a merge sort of positions: log(n) passes over all of them, each of which finds an element's place by a search among
 * those that it is merged with. And the lowering of RowOrder (sard), the order of the rows of a matrix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower/sort.h"

enum { MAX_BITS = 44 }; /* of a position; no memory holds more elements */

static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

KExpr *lower_value_before(Lower *x, KExpr *a, KExpr *b) {
  KExpr *less = k_bin(x, KOP_lt, a, b);
  if (!dtype_is_float(a->dtype))
    return less;
  return k_bin(x, KOP_or, less, k_bin(x, KOP_and, k_un(x, KOP_isnan, b), k_un(x, KOP_not, k_un(x, KOP_isnan, a))));
}

KExpr *lower_value_same(Lower *x, KExpr *a, KExpr *b) {
  KExpr *same = k_bin(x, KOP_eq, a, b);
  if (!dtype_is_float(a->dtype))
    return same;
  return k_bin(x, KOP_or, same, k_bin(x, KOP_and, k_un(x, KOP_isnan, a), k_un(x, KOP_isnan, b)));
}

static Status key_of(const Sort *s, KExpr *i, KExpr **v) {
  *v = i;
  if (!s->key)
    return ST_OK;
  TRY(s->key(s->arg, i, v));
  *v = lower_now(s->x, "v", *v);
  return ST_OK;
}

/* Positions [lo, hi) of list `side` of pos: how many of them come before element (v, i)? They are sorted. */
static Status count_before(const Sort *s, KBuf *pos, KExpr *side, KExpr *lo, KExpr *hi, KExpr *v, KExpr *i, KExpr **n) {
  Lower *x = s->x;
  KCursor behind, less, more;
  KExpr *w, *first;
  KVar *low = lower_acc(x, "low", lo), *high = lower_acc(x, "high", hi);
  lower_open_ordered(x, "step", dim_const(x->c, MAX_BITS), &behind);
  lower_if(x, k_bin(x, KOP_lt, ke_var(x->k, low), ke_var(x->k, high)), NULL);
  KExpr *middle = lower_now(x, "mid", k_div(x, k_add(x, ke_var(x->k, low), ke_var(x->k, high)), num(x, 2)));
  KExpr *j = lower_now(x, "j", ke_load(x->k, pos, (KExpr *[]){side, middle}));
  TRY(key_of(s, j, &w));
  TRY(s->before(s->arg, w, j, v, i, &first));
  first = lower_now(x, "first", first);
  lower_if(x, first, &less);
  ks_update(&x->at, low, KOP_none, k_add(x, middle, num(x, 1)));
  lower_close(x, 1, less);
  lower_if(x, k_un(x, KOP_not, first), &more);
  ks_update(&x->at, high, KOP_none, middle);
  lower_close(x, 1, more);
  lower_close(x, 2, behind);
  *n = k_sub(x, ke_var(x->k, low), lo);
  return ST_OK;
}

/* One pass: pairs of sorted runs of `width` in list `from` become runs of twice that in list `to`. An element's place in the
 * merged run is its place in its own run and the number of the other run's elements that come before it. */
static Status merge_runs(const Sort *s, KBuf *pos, KExpr *width, KExpr *from, KExpr *to) {
  Lower *x = s->x;
  KCursor behind;
  KExpr *count = ke_dim(x->k, s->extent), *v, *n;
  KExpr *e = lower_open_ordered(x, "e", s->extent, &behind), *two = k_mul(x, width, num(x, 2));
  KExpr *start = lower_now(x, "start", k_sub(x, e, k_bin(x, KOP_mod, e, two)));
  KExpr *middle = lower_now(x, "middle", k_bin(x, KOP_min, count, k_add(x, start, width)));
  KExpr *end = lower_now(x, "end", k_bin(x, KOP_min, count, k_add(x, start, two)));
  KExpr *left = lower_now(x, "left", k_bin(x, KOP_lt, e, middle)),
        *i = lower_now(x, "i", ke_load(x->k, pos, (KExpr *[]){from, e}));
  TRY(key_of(s, i, &v));
  KExpr *lo = lower_now(x, "lo", ke_select(x->k, left, middle, start)), *hi = ke_select(x->k, left, end, middle);
  TRY(count_before(s, pos, from, lo, hi, v, i, &n));
  KExpr *own = ke_select(x->k, left, k_sub(x, e, start), k_sub(x, e, middle));
  ks_store(&x->at, pos, (KExpr *[]){to, k_add(x, start, k_add(x, own, n))}, i);
  lower_close(x, 1, behind);
  return ST_OK;
}

Status lower_sort(const Sort *s, KBuf **pos, KExpr **side) {
  Lower *x = s->x;
  KCursor behind;
  KExpr *one = num(x, 1);
  *pos = kernel_add_temp(x->k, "pos", DT_i64, 2, (Dim[]){dim_const(x->c, 2), s->extent});
  KExpr *e = lower_open(x, "e", s->extent, &behind);
  ks_store(&x->at, *pos, (KExpr *[]){num(x, 0), e}, e);
  lower_close(x, 1, behind);
  KVar *last = lower_acc(x, "side", num(x, 0));
  KExpr *pass = lower_open_ordered(x, "pass", dim_const(x->c, MAX_BITS), &behind);
  KExpr *width = lower_now(x, "width", k_bin(x, KOP_shl, one, pass));
  lower_if(x, k_bin(x, KOP_lt, width, ke_dim(x->k, s->extent)), NULL);
  KExpr *from = lower_now(x, "from", k_bin(x, KOP_and, pass, one)), *to = lower_now(x, "to", k_sub(x, one, from));
  TRY(merge_runs(s, *pos, width, from, to));
  ks_update(&x->at, last, KOP_none, to);
  lower_close(x, 2, behind);
  *side = ke_var(x->k, last);
  return ST_OK;
}

/* --- RowOrder (sard) --- */

enum { BLOCK = 64 }; /* elements between two looks at whether the rows are told apart */

typedef struct Rows {
  Lower *x;
  const Node *n;
} Rows;

/* Rows i and j by their elements, the first that differ telling; by position when all are the same. */
static Status row_before(void *arg, KExpr *v, KExpr *i, KExpr *w, KExpr *j, KExpr **first) {
  const Rows *r = arg;
  Lower *x = r->x;
  Value *in = r->n->in[0];
  Dim width = in->type.dim[1], size = dim_const(x->c, BLOCK);
  DType t = lower_work(in->type.dtype);
  KCursor behind;
  KVar *order = lower_acc(x, "order", num(x, 0)); /* -1: i is before j; 1: j before i */
  KExpr *open = k_bin(x, KOP_eq, ke_var(x->k, order), num(x, 0)), *a, *b;
  KExpr *from = lower_open_ordered(x, "b", dim_ceildiv(x->c, width, size), &behind);
  lower_if(x, open, NULL);
  from = lower_now(x, "from", k_mul(x, from, num(x, BLOCK)));
  KExpr *at = lower_open_ordered(x, "o", size, NULL);
  at->var->def->value = k_sub(x, ke_dim(x->k, width), from);
  lower_if(x, open, NULL);
  at = lower_now(x, "at", k_add(x, from, at));
  TRY(lower_read(x, in, (KExpr *[]){v, at}, &a));
  TRY(lower_read(x, in, (KExpr *[]){w, at}, &b));
  a = lower_now(x, "p", ke_cast(x->k, t, a)), b = lower_now(x, "q", ke_cast(x->k, t, b));
  KExpr *after = ke_select(x->k, lower_value_before(x, b, a), num(x, 1), num(x, 0));
  ks_update(&x->at, order, KOP_none, ke_select(x->k, lower_value_before(x, a, b), num(x, -1), after));
  lower_close(x, 4, behind);
  *first = k_bin(x, KOP_lt, ke_var(x->k, order), num(x, 0));
  *first = k_bin(x, KOP_or, *first, k_bin(x, KOP_and, open, k_bin(x, KOP_lt, i, j)));
  return ST_OK;
}

static bool order_can(Ctx *c, const Node *n, const char **why) {
  DType t = n->in[0]->type.dtype;
  (void)c;
  *why = "not a matrix of numbers";
  return n->in[0]->type.rank == 2 && (dtype_is_float(t) || dtype_is_int(t));
}

static Status row_order(Lower *x, const Node *n, KBuf *const *out) {
  Rows r = {x, n};
  Sort s = {.x = x, .extent = n->in[0]->type.dim[0], .before = row_before, .arg = &r};
  KBuf *pos;
  KExpr *side;
  KCursor behind;
  TRY(lower_sort(&s, &pos, &side));
  KExpr *i = lower_open(x, "i", s.extent, &behind);
  ks_store(&x->at, out[0], &i, ke_load(x->k, pos, (KExpr *[]){side, i}));
  lower_close(x, 1, behind);
  return ST_OK;
}
const Lowering row_order_lower = {LOWER_NEST, .can = order_can, .nest = row_order};
