/* dim.c - interned dim expressions in normal form.
 *
 * A sum is a list of terms; a term is an integer times a product of atoms (symbols, divisions, min, max, …). Adding
 * merges equal products, multiplying distributes over small sums. Division takes out the terms that divide exactly.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/dim.h"

#include "support/checked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MAX_SIZE: an expression written out; shared parts make it grow like 2^n in a graph of n nodes, and everything that walks
 * an expression walks it written out. */
enum { MAX_TERMS = 64, MAX_FACTORS = 16, MAX_EXPAND = 16, MAX_SIZE = 1024 };

struct DimTable {
  Arena *arena;
  Dim *slot; /* open addressing */
  size_t cap, count;
  uint32_t next_id;
  Cleanup cleanup; /* runs before the arena's: a failure inside ctx_protect takes the table away as well */
};
typedef struct DimTable DimTable;

static void forget_table(void *arg) { ((Ctx *)arg)->dims = NULL; }

static DimTable *table(Ctx *c) {
  if (!c->dims) {
    Arena *a = arena_create(c);
    DimTable *t = arena_new(a, DimTable);
    t->arena = a;
    t->cap = 256;
    t->slot = arena_array(a, Dim, t->cap);
    c->dims = t;
    ctx_on_failure(c, &t->cleanup, forget_table, c);
  }
  return c->dims;
}

void dim_release(Ctx *c) {
  DimTable *t = c->dims;
  if (!t)
    return;
  ctx_forget(c, &t->cleanup);
  c->dims = NULL;
  arena_destroy(t->arena);
}

Arena *dim_arena(Ctx *c) { return table(c)->arena; }

static uint64_t hash_of(int kind, int64_t value, const char *name, Dim const *arg, size_t n) {
  uint64_t h = hash_bytes(&value, sizeof value, (uint64_t)kind);
  if (name)
    h = hash_bytes(name, strlen(name), h);
  return hash_bytes(arg, n * sizeof *arg, h);
}

static bool same(Dim d, int kind, int64_t value, const char *name, Dim const *arg, size_t n) {
  return d->kind == kind && d->value == value && d->n == n && (!name || !strcmp(name, d->name)) &&
         (!n || !memcmp(d->arg, arg, n * sizeof *arg));
}

static Dim *find(DimTable *t, int kind, int64_t value, const char *name, Dim const *arg, size_t n) {
  uint64_t h = hash_of(kind, value, name, arg, n);
  size_t i = h & (t->cap - 1);
  while (t->slot[i] && !same(t->slot[i], kind, value, name, arg, n))
    i = (i + 1) & (t->cap - 1);
  return &t->slot[i];
}

static int64_t sat_add(int64_t a, int64_t b) {
  int64_t r;
  return add_ok(a, b, &r) ? r : a > 0 ? INT64_MAX : INT64_MIN;
}

static int64_t sat_mul(int64_t a, int64_t b) {
  int64_t r;
  return mul_ok(a, b, &r) ? r : (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
}

static int64_t floor_div(int64_t a, int64_t b) {
  int64_t q = a / b;
  return q * b != a && (a < 0) != (b < 0) ? q - 1 : q;
}

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Interval arithmetic for what is known of a new expression. */
static void range_of(DimExpr *d) {
  Dim a = d->n ? d->arg[0] : NULL, b = d->n > 1 ? d->arg[1] : NULL;
  d->lo = INT64_MIN, d->hi = INT64_MAX;
  switch (d->kind) {
  case DIM_CONST: d->lo = d->hi = d->value; break;
  case DIM_SYM: d->lo = 0; break;
  case DIM_ADD:
    d->lo = d->hi = 0;
    for (int i = 0; i < d->n; i++) {
      d->lo = d->lo == INT64_MIN || d->arg[i]->lo == INT64_MIN ? INT64_MIN : sat_add(d->lo, d->arg[i]->lo);
      d->hi = d->hi == INT64_MAX || d->arg[i]->hi == INT64_MAX ? INT64_MAX : sat_add(d->hi, d->arg[i]->hi);
    }
    break;
  case DIM_MUL:
    d->lo = d->hi = 1;
    for (int i = 0; i < d->n; i++) {
      int64_t l = d->arg[i]->lo, h = d->arg[i]->hi;
      int64_t p[4] = {sat_mul(d->lo, l), sat_mul(d->lo, h), sat_mul(d->hi, l), sat_mul(d->hi, h)};
      d->lo = min64(min64(p[0], p[1]), min64(p[2], p[3]));
      d->hi = max64(max64(p[0], p[1]), max64(p[2], p[3]));
    }
    break;
  case DIM_DIV:
    if (b->lo > 0) {
      int64_t l = a->lo, h = a->hi;
      d->lo = l == INT64_MIN ? l : l >= 0 ? (b->hi == INT64_MAX ? 0 : l / b->hi) : floor_div(l, b->lo);
      d->hi = h == INT64_MAX ? h : h >= 0 ? h / b->lo : -1;
    }
    break;
  case DIM_MOD:
    if (b->lo > 0)
      d->lo = 0, d->hi = b->hi == INT64_MAX ? b->hi : b->hi - 1;
    break;
  case DIM_MIN: d->lo = min64(a->lo, b->lo), d->hi = min64(a->hi, b->hi); break;
  case DIM_MAX: d->lo = max64(a->lo, b->lo), d->hi = max64(a->hi, b->hi); break;
  case DIM_BCAST: d->lo = min64(a->lo, b->lo), d->hi = max64(a->hi, b->hi); break;
  }
}

/* A new symbol for an expression that there is none for: it may be anything from lo to hi, unlike an extent. */
static Dim unknown(Ctx *c, const char *hint, int64_t lo, int64_t hi) {
  DimExpr *d = (DimExpr *)(uintptr_t)dim_fresh(c, hint); /* the table owns it; it is in no expression yet */
  d->lo = lo, d->hi = hi;
  return d;
}

static Dim too_large(Ctx *c, int kind, Dim const *arg, size_t n) {
  DimExpr *d = arena_get(table(c)->arena, 1, sizeof *d + n * sizeof *arg, _Alignof(DimExpr));
  *d = (DimExpr){.kind = (uint8_t)kind, .n = (uint16_t)n};
  memcpy(d->arg, arg, n * sizeof *arg);
  range_of(d);
  return unknown(c, "complex", d->lo, d->hi);
}

static Dim intern(Ctx *c, int kind, int64_t value, const char *name, Dim const *arg, size_t n) {
  DimTable *t = table(c);
  Dim *s = find(t, kind, value, name, arg, n);
  if (*s)
    return *s;
  uint32_t size = 1;
  for (size_t i = 0; i < n; i++)
    size += arg[i]->size;
  if (size > MAX_SIZE)
    return too_large(c, kind, arg, n);
  if (t->count * 2 >= t->cap) {
    Dim *old = t->slot;
    size_t cap = t->cap;
    Dim *bigger = arena_array(t->arena, Dim, cap * 2);
    t->slot = bigger, t->cap = cap * 2;
    for (size_t i = 0; i < cap; i++)
      if (old[i])
        *find(t, old[i]->kind, old[i]->value, old[i]->name, old[i]->arg, old[i]->n) = old[i];
    s = find(t, kind, value, name, arg, n);
  }
  DimExpr *d = arena_get(t->arena, 1, sizeof *d + n * sizeof *arg, _Alignof(DimExpr));
  *d = (DimExpr){.kind = (uint8_t)kind, .n = (uint16_t)n, .id = t->next_id, .size = size, .value = value};
  if (name)
    d->name = arena_strdup(t->arena, name);
  if (n)
    memcpy(d->arg, arg, n * sizeof *arg);
  for (size_t i = 0; i < n; i++)
    d->data |= arg[i]->data;
  range_of(d);
  t->next_id++, t->count++;
  *s = d;
  return d;
}

Dim dim_const(Ctx *c, int64_t v) { return intern(c, DIM_CONST, v, NULL, NULL, 0); }

Dim dim_sym(Ctx *c, const char *name) { return intern(c, DIM_SYM, 0, name, NULL, 0); }

Dim dim_fresh(Ctx *c, const char *hint) {
  DimTable *t = table(c);
  char name[96];
  for (uint32_t i = t->next_id;; i++) {
    snprintf(name, sizeof name, "%.64s_%u", hint, i);
    if (!*find(t, DIM_SYM, 0, name, NULL, 0))
      return dim_sym(c, name);
  }
}

Dim dim_data(Ctx *c, const char *hint, int64_t lo, int64_t hi) {
  DimExpr *d = (DimExpr *)(uintptr_t)dim_fresh(c, hint); /* the table owns it; it is in no expression yet */
  d->data = true, d->lo = lo, d->hi = hi;
  return d;
}

void dim_narrow(Ctx *c, Dim sym, int64_t lo, int64_t hi) {
  (void)c;
  DimExpr *d = (DimExpr *)(uintptr_t)sym; /* the table owns it; only a symbol's range may change */
  if (d->kind != DIM_SYM)
    return;
  if (lo > d->lo)
    d->lo = lo;
  if (hi < d->hi)
    d->hi = hi;
}

bool dim_is(Dim d, int64_t v) { return d->kind == DIM_CONST && d->value == v; }

bool dim_is_const(Dim d, int64_t *v) {
  if (d->kind != DIM_CONST)
    return false;
  if (v)
    *v = d->value;
  return true;
}

/* --- sums of terms --- */

typedef struct Term {
  int64_t coef;
  Dim base; /* product of atoms without a constant; NULL: 1 */
} Term;

typedef struct Sum {
  Term term[MAX_TERMS];
  int n;
  bool bad; /* overflow, or too many terms */
} Sum;

static void sum_add(Sum *s, int64_t coef, Dim base) {
  for (int i = 0; i < s->n; i++)
    if (s->term[i].base == base) {
      if (!add_ok(s->term[i].coef, coef, &s->term[i].coef))
        s->bad = true;
      return;
    }
  if (s->n == MAX_TERMS)
    s->bad = true;
  else
    s->term[s->n++] = (Term){coef, base};
}

/* d, which is no sum, as coef * base. */
static Term as_term(Ctx *c, Dim d) {
  if (d->kind == DIM_CONST)
    return (Term){d->value, NULL};
  if (d->kind == DIM_MUL && d->arg[0]->kind == DIM_CONST)
    return (Term){d->arg[0]->value, d->n == 2 ? d->arg[1] : intern(c, DIM_MUL, 0, NULL, d->arg + 1, d->n - 1u)};
  return (Term){1, d};
}

static void sum_of(Ctx *c, Sum *s, Dim d, int64_t scale) {
  int n = d->kind == DIM_ADD ? d->n : 1;
  for (int i = 0; i < n; i++) {
    Term t = as_term(c, d->kind == DIM_ADD ? d->arg[i] : d);
    if (!mul_ok(t.coef, scale, &t.coef))
      s->bad = true;
    sum_add(s, t.coef, t.base);
  }
}

static Dim scaled(Ctx *c, int64_t coef, Dim base) {
  if (!base)
    return dim_const(c, coef);
  if (coef == 1)
    return base;
  Dim arg[MAX_FACTORS + 1] = {dim_const(c, coef)};
  int n = 1;
  if (base->kind == DIM_MUL)
    for (int i = 0; i < base->n; i++)
      arg[n++] = base->arg[i];
  else
    arg[n++] = base;
  return intern(c, DIM_MUL, 0, NULL, arg, (size_t)n);
}

static int by_base(const void *a, const void *b) {
  Dim x = ((const Term *)a)->base, y = ((const Term *)b)->base;
  uint32_t i = x ? x->id + 1 : 0, j = y ? y->id + 1 : 0;
  return i < j ? -1 : i > j;
}

/* lo: of the sum when it is bad. */
static Dim sum_build(Ctx *c, Sum *s, int64_t lo) {
  if (s->bad)
    return unknown(c, "overflow", lo, INT64_MAX);
  int n = 0;
  for (int i = 0; i < s->n; i++)
    if (s->term[i].coef)
      s->term[n++] = s->term[i];
  if (!n)
    return dim_const(c, 0);
  qsort(s->term, (size_t)n, sizeof s->term[0], by_base);
  Dim arg[MAX_TERMS];
  for (int i = 0; i < n; i++)
    arg[i] = scaled(c, s->term[i].coef, s->term[i].base);
  return n == 1 ? arg[0] : intern(c, DIM_ADD, 0, NULL, arg, (size_t)n);
}

/* Of a sum or product of extents this much is known, whatever it is. */
static int64_t least(Dim a, Dim b) { return a->lo >= 0 && b->lo >= 0 ? 0 : INT64_MIN; }

Dim dim_add(Ctx *c, Dim a, Dim b) {
  Sum s = {.n = 0};
  sum_of(c, &s, a, 1);
  sum_of(c, &s, b, 1);
  return sum_build(c, &s, least(a, b));
}

Dim dim_sub(Ctx *c, Dim a, Dim b) {
  Sum s = {.n = 0};
  sum_of(c, &s, a, 1);
  sum_of(c, &s, b, -1);
  return sum_build(c, &s, INT64_MIN);
}

static int by_id(const void *a, const void *b) {
  uint32_t i = (*(const Dim *)a)->id, j = (*(const Dim *)b)->id;
  return i < j ? -1 : i > j;
}

/* Product of two bases; NULL stands for 1. *ok false: too many factors. */
static Dim mul_base(Ctx *c, Dim a, Dim b, bool *ok) {
  Dim arg[2 * MAX_FACTORS], in[2] = {a, b};
  int n = 0;
  for (int k = 0; k < 2; k++) {
    if (!in[k])
      continue;
    if (in[k]->kind == DIM_MUL)
      for (int i = 0; i < in[k]->n; i++)
        arg[n++] = in[k]->arg[i];
    else
      arg[n++] = in[k];
  }
  if (n > MAX_FACTORS) {
    *ok = false;
    return NULL;
  }
  if (n < 2)
    return n ? arg[0] : NULL;
  qsort(arg, (size_t)n, sizeof arg[0], by_id);
  return intern(c, DIM_MUL, 0, NULL, arg, (size_t)n);
}

Dim dim_mul(Ctx *c, Dim a, Dim b) {
  int na = a->kind == DIM_ADD ? a->n : 1, nb = b->kind == DIM_ADD ? b->n : 1;
  Sum s = {.n = 0};
  bool ok = true;
  if (na == 1 || nb == 1 || na * nb <= MAX_EXPAND) {
    for (int i = 0; i < na; i++)
      for (int j = 0; j < nb; j++) {
        Term x = as_term(c, na > 1 ? a->arg[i] : a), y = as_term(c, nb > 1 ? b->arg[j] : b);
        int64_t coef;
        if (!mul_ok(x.coef, y.coef, &coef))
          s.bad = true;
        else
          sum_add(&s, coef, mul_base(c, x.base, y.base, &ok));
      }
  } else { /* two long sums: a product of the sums themselves */
    sum_add(&s, 1, mul_base(c, a, b, &ok));
  }
  s.bad |= !ok;
  return sum_build(c, &s, least(a, b));
}

/* t / by when it divides exactly, as terms: coefficient divisible and every factor of by found in t. */
static bool term_div(Ctx *c, Term t, Term by, Term *q) {
  if (!by.coef || (by.coef == -1 && t.coef == INT64_MIN) || t.coef % by.coef)
    return false;
  Dim arg[MAX_FACTORS];
  int n = 0;
  if (t.base && t.base->kind == DIM_MUL)
    for (int i = 0; i < t.base->n; i++)
      arg[n++] = t.base->arg[i];
  else if (t.base)
    arg[n++] = t.base;
  int nb = !by.base ? 0 : by.base->kind == DIM_MUL ? by.base->n : 1;
  for (int i = 0; i < nb; i++) {
    Dim f = by.base->kind == DIM_MUL ? by.base->arg[i] : by.base;
    int k = 0;
    while (k < n && arg[k] != f)
      k++;
    if (k == n)
      return false;
    memmove(arg + k, arg + k + 1, (size_t)(n - k - 1) * sizeof arg[0]);
    n--;
  }
  q->coef = t.coef / by.coef;
  q->base = !n ? NULL : n == 1 ? arg[0] : intern(c, DIM_MUL, 0, NULL, arg, (size_t)n);
  return true;
}

/* Splits a into q * b + r, where q collects the terms of a that b divides exactly. */
static void split_div(Ctx *c, Dim a, Dim b, Dim *q, Dim *r) {
  Sum whole = {.n = 0}, rest = {.n = 0};
  Term by = as_term(c, b), x;
  int n = a->kind == DIM_ADD ? a->n : 1;
  for (int i = 0; i < n; i++) {
    Term t = as_term(c, a->kind == DIM_ADD ? a->arg[i] : a);
    if (b->kind != DIM_ADD && term_div(c, t, by, &x))
      sum_add(&whole, x.coef, x.base);
    else
      sum_add(&rest, t.coef, t.base);
  }
  *q = sum_build(c, &whole, INT64_MIN), *r = sum_build(c, &rest, INT64_MIN);
}

/* a / b when b is a sum that divides a without rest, as 8*batch*(past + seq) by 2*(past + seq): term by term from one term
 * of b, then checked by multiplying. NULL: not found. */
static Dim sum_div(Ctx *c, Dim a, Dim b) {
  Dim r = a, q = dim_const(c, 0);
  if (b->kind != DIM_ADD || a->kind != DIM_ADD || a->n < b->n)
    return NULL;
  Term by = as_term(c, b->arg[b->n - 1]), t;
  for (int step = 0; step < MAX_EXPAND && !dim_is(r, 0); step++) {
    int i = r->kind == DIM_ADD ? r->n - 1 : 0;
    while (i >= 0 && !term_div(c, as_term(c, r->kind == DIM_ADD ? r->arg[i] : r), by, &t))
      i--;
    if (i < 0)
      return NULL;
    Dim part = scaled(c, t.coef, t.base);
    q = dim_add(c, q, part);
    r = dim_sub(c, r, dim_mul(c, part, b));
  }
  return dim_is(r, 0) && dim_mul(c, q, b) == a ? q : NULL;
}

Dim dim_div(Ctx *c, Dim a, Dim b) {
  if (dim_is(b, 1))
    return a;
  if (a == b)
    return dim_const(c, 1);
  if (dim_is(b, 0))
    return unknown(c, "division_by_zero", INT64_MIN, INT64_MAX);
  Dim q, r;
  if ((q = sum_div(c, a, b)))
    return q;
  split_div(c, a, b, &q, &r);
  if (dim_is(r, 0))
    return q;
  int64_t x, y;
  if (dim_is_const(r, &x) && dim_is_const(b, &y)) {
    if (y == -1 && x == INT64_MIN)
      return unknown(c, "overflow", INT64_MIN, INT64_MAX);
    return dim_add(c, q, dim_const(c, floor_div(x, y)));
  }
  if (r->lo >= 0 && b->lo > 0 && r->hi < b->lo)
    return q;
  Dim arg[2] = {r, b};
  return dim_add(c, q, intern(c, DIM_DIV, 0, NULL, arg, 2));
}

Dim dim_ceildiv(Ctx *c, Dim a, Dim b) { return dim_div(c, dim_add(c, a, dim_sub(c, b, dim_const(c, 1))), b); }

Dim dim_mod(Ctx *c, Dim a, Dim b) {
  if (dim_is(b, 0))
    return unknown(c, "division_by_zero", INT64_MIN, INT64_MAX);
  Dim q, r;
  if (sum_div(c, a, b))
    return dim_const(c, 0);
  split_div(c, a, b, &q, &r);
  if (dim_is(r, 0))
    return r;
  int64_t x, y;
  if (dim_is_const(r, &x) && dim_is_const(b, &y))
    return y == -1 ? dim_const(c, 0) : dim_const(c, x - y * floor_div(x, y));
  if (r->lo >= 0 && b->lo > 0 && r->hi < b->lo)
    return r;
  Dim arg[2] = {r, b};
  return intern(c, DIM_MOD, 0, NULL, arg, 2);
}

static Dim pair(Ctx *c, int kind, Dim a, Dim b) {
  Dim arg[2] = {a->id < b->id ? a : b, a->id < b->id ? b : a};
  return intern(c, kind, 0, NULL, arg, 2);
}

Dim dim_min(Ctx *c, Dim a, Dim b) {
  return dim_at_least(c, b, a) ? a : dim_at_least(c, a, b) ? b : pair(c, DIM_MIN, a, b);
}

Dim dim_max(Ctx *c, Dim a, Dim b) {
  return dim_at_least(c, b, a) ? b : dim_at_least(c, a, b) ? a : pair(c, DIM_MAX, a, b);
}

/* Min(b, e) broadcasts with b only when it is b, or both are 1, if e is above 1: positions cut from a table of e rows. */
static bool min_with(Dim a, Dim b) {
  return a->kind == DIM_MIN && ((a->arg[0] == b && a->arg[1]->lo > 1) || (a->arg[1] == b && a->arg[0]->lo > 1));
}

Dim dim_bcast(Ctx *c, Dim a, Dim b) {
  if (a == b || dim_is(b, 1))
    return a;
  if (dim_is(a, 1) || min_with(a, b))
    return b;
  if (min_with(b, a))
    return a;
  if (a->lo > 1 || dim_is(a, 0)) /* b must be equal or 1 */
    return b->lo > 1 && b->kind == DIM_CONST ? b : a;
  if (b->lo > 1 || dim_is(b, 0))
    return b;
  if (a->kind == DIM_BCAST && (a->arg[0] == b || a->arg[1] == b))
    return a;
  if (b->kind == DIM_BCAST && (b->arg[0] == a || b->arg[1] == a))
    return b;
  return pair(c, DIM_BCAST, a, b);
}

bool dim_differ(Ctx *c, Dim a, Dim b) {
  if (a == b)
    return false;
  if (a->hi < b->lo || b->hi < a->lo)
    return true;
  Dim d = dim_sub(c, a, b);
  return d->lo > 0 || d->hi < 0;
}

bool dim_at_least(Ctx *c, Dim a, Dim b) {
  if (a == b || a->lo >= b->hi)
    return true;
  if (a->hi < b->lo)
    return false;
  for (int i = 0; i < a->n && a->kind == DIM_MAX; i++)
    if (dim_at_least(c, a->arg[i], b))
      return true;
  for (int i = 0; i < b->n && b->kind == DIM_MIN; i++)
    if (dim_at_least(c, a, b->arg[i]))
      return true;
  Sum s = {.n = 0}; /* as dim_sub, but an overflow proves nothing */
  sum_of(c, &s, a, 1);
  sum_of(c, &s, b, -1);
  return !s.bad && sum_build(c, &s, INT64_MIN)->lo >= 0;
}

bool dim_eval(Dim d, bool (*get)(void *arg, Dim sym, int64_t *v), void *arg, int64_t *v) {
  int64_t x, y;
  if (d->kind == DIM_CONST) {
    *v = d->value;
    return true;
  }
  if (d->kind == DIM_SYM)
    return get(arg, d, v);
  if (!dim_eval(d->arg[0], get, arg, &x))
    return false;
  for (int i = 1; i < d->n; i++) {
    if (!dim_eval(d->arg[i], get, arg, &y))
      return false;
    switch (d->kind) {
    case DIM_ADD:
      if (!add_ok(x, y, &x))
        return false;
      break;
    case DIM_MUL:
      if (!mul_ok(x, y, &x))
        return false;
      break;
    case DIM_DIV:
    case DIM_MOD:
      if (!y || (y == -1 && x == INT64_MIN))
        return false;
      x = d->kind == DIM_DIV ? floor_div(x, y) : x - y * floor_div(x, y);
      break;
    case DIM_MIN: x = min64(x, y); break;
    case DIM_MAX: x = max64(x, y); break;
    case DIM_BCAST:
      if (x != y && x != 1 && y != 1)
        return false;
      x = x == 1 ? y : x;
      break;
    }
  }
  *v = x;
  return true;
}

static Dim combine(Ctx *c, int kind, Dim a, Dim b) {
  switch (kind) {
  case DIM_ADD: return dim_add(c, a, b);
  case DIM_MUL: return dim_mul(c, a, b);
  case DIM_DIV: return dim_div(c, a, b);
  case DIM_MOD: return dim_mod(c, a, b);
  case DIM_MIN: return dim_min(c, a, b);
  case DIM_MAX: return dim_max(c, a, b);
  default: return dim_bcast(c, a, b);
  }
}

Dim dim_substitute(Ctx *c, Dim d, Dim (*get)(void *arg, Dim sym), void *arg) {
  if (d->kind == DIM_CONST)
    return d;
  if (d->kind == DIM_SYM) {
    Dim r = get(arg, d);
    return r ? r : d;
  }
  Dim r = dim_substitute(c, d->arg[0], get, arg);
  for (int i = 1; i < d->n; i++)
    r = combine(c, d->kind, r, dim_substitute(c, d->arg[i], get, arg));
  return r;
}

bool dim_uses(Dim d, Dim sym) {
  if (d == sym)
    return true;
  for (int i = 0; i < d->n; i++)
    if (dim_uses(d->arg[i], sym))
      return true;
  return false;
}
