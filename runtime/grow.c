/* grow.c - runs whose shapes grow, and one graph for many of them.
 *
 * A symbol that grows counts as the end of its step of 64: 1 to 64 are one kind. What hangs on it is bounded by interval arithmetic,
 * since symbols need not reach the ends of their steps together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/grow.h"

#include "runtime/graph.h"
#include "runtime/places.h"

#include "support/checked.h"
#include "support/dim.h"

#include <string.h>

/* --- at load --- */

static uint8_t *growing_exprs(Arena *a, const RtProgram *p) {
  uint32_t n = rt_count(p, SEC_EXPRS);
  uint8_t *grows = arena_array(a, uint8_t, n);
  for (uint32_t i = 0; i < n; i++) {
    const ProgExpr *e = REC(p, SEC_EXPRS, ProgExpr) + i;
    if (e->op == DIM_SYM)
      grows[i] = rt_symbol(p, e->a)->grows != 0;
    else if (e->op != DIM_CONST)
      grows[i] = grows[e->a] | grows[e->b];
  }
  return grows;
}

/* Does the library need a number that grows? */
static bool product_grows(const RtProgram *p, const GrowPlan *g, const ProgCall *call) {
  for (uint32_t i = PN_BATCH; call->product != PROG_NONE && i <= PN_K; i++)
    if (g->expr[rt_list(p, call->product + i)])
      return true;
  return false;
}

/* The dims that the kernel reads from the table are those that grow, and perhaps others. */
static bool reads_all(const RtProgram *p, const GrowPlan *g, const ProgStep *s) {
  const ProgKernel *k = rt_kernel(p, s);
  uint32_t next = 0;
  for (uint32_t i = 0; i < s->nexprs; i++) {
    bool reads = next < k->ngrowing && rt_list(p, k->growing + next) == i;
    next += reads;
    if (g->expr[rt_list(p, s->exprs + i)] && !reads)
      return false;
  }
  return next == k->ngrowing;
}

static bool needs_grow(const RtProgram *p, const GrowPlan *g, const ProgCall *call) {
  for (uint32_t i = call->need; i < call->need + 4 * call->nneed; i += 4)
    if (g->expr[rt_list(p, i)] || g->expr[rt_list(p, i + 1)])
      return true;
  return false;
}

static bool add_step(const RtProgram *p, GrowPlan *g, uint32_t i) {
  const ProgStep *s = rt_step(p, i);
  if (s->kind != STEP_KERNEL)
    return true;
  const ProgCall *call = REC(p, SEC_CALLS, ProgCall) + s->call;
  uint32_t n = rt_kernel(p, s)->ngrowing;
  if (product_grows(p, g, call) || !reads_all(p, g, s))
    return false;
  g->table[i] = g->ntable, g->ntable += n;
  if (n || needs_grow(p, g, call))
    g->step[g->nstep++] = i;
  return true;
}

static bool slot_grows(const RtProgram *p, const GrowPlan *g, const ProgSlot *s) {
  for (int k = 0; k < s->rank; k++) {
    uint32_t e = rt_list(p, s->dims + (uint32_t)k);
    if (e != PROG_NONE && g->expr[e])
      return true;
  }
  return false;
}

void grow_plan(Arena *a, RtProgram *p, const uint8_t *recorded, uint32_t n) {
  uint32_t nslot = rt_count(p, SEC_SLOTS);
  bool any = false;
  for (uint32_t i = 0; i < rt_count(p, SEC_SYMBOLS); i++)
    any |= rt_symbol(p, i)->grows != 0;
  if (!any)
    return;
  GrowPlan *g = arena_new(a, GrowPlan);
  g->expr = growing_exprs(a, p);
  g->table = arena_array(a, uint32_t, n), g->step = arena_array(a, uint32_t, n);
  g->slot = arena_array(a, uint32_t, nslot);
  for (uint32_t i = 0; i < n; i++)
    if (recorded[i] && !add_step(p, g, i))
      return;
  for (uint32_t i = 0; i < nslot; i++)
    if (rt_slot(p, i)->vkind == VK_TENSOR && slot_grows(p, g, rt_slot(p, i)))
      g->slot[g->nslot++] = i;
  p->grows = g;
}

/* --- bounds --- */

static Bounds symbol_bounds(const Growth *g, uint32_t sym) {
  int64_t hi = g->key[sym];
  bool grows = rt_symbol(g->p, sym)->grows && hi > 0;
  return (Bounds){grows ? hi - GROW_STEP + 1 : hi, hi};
}

static bool multiply(Bounds x, Bounds y, Bounds *r) {
  int64_t v[4];
  if (!mul_ok(x.lo, y.lo, &v[0]) || !mul_ok(x.lo, y.hi, &v[1]) || !mul_ok(x.hi, y.lo, &v[2]) ||
      !mul_ok(x.hi, y.hi, &v[3]))
    return false;
  *r = (Bounds){v[0], v[0]};
  for (int i = 1; i < 4; i++)
    *r = (Bounds){v[i] < r->lo ? v[i] : r->lo, v[i] > r->hi ? v[i] : r->hi};
  return true;
}

static int64_t floor_of(int64_t x, int64_t by) { return x / by - (x % by < 0); }

/* By what is above 0. */
static bool divide(Bounds x, Bounds y, Bounds *r) {
  if (y.lo <= 0)
    return false;
  *r = (Bounds){floor_of(x.lo, x.lo < 0 ? y.lo : y.hi), floor_of(x.hi, x.hi < 0 ? y.hi : y.lo)};
  return true;
}

static bool remainder_of(Bounds x, Bounds y, Bounds *r) {
  if (y.lo <= 0)
    return false;
  bool exact = x.lo == x.hi && y.lo == y.hi;
  int64_t v = x.lo - floor_of(x.lo, y.lo) * y.lo;
  *r = exact ? (Bounds){v, v} : (Bounds){0, y.hi - 1};
  return true;
}

static Bounds lower(Bounds x, Bounds y) { return (Bounds){x.lo < y.lo ? x.lo : y.lo, x.hi < y.hi ? x.hi : y.hi}; }
static Bounds higher(Bounds x, Bounds y) { return (Bounds){x.lo > y.lo ? x.lo : y.lo, x.hi > y.hi ? x.hi : y.hi}; }

/* One of them where the other is 1: the bounds of both together. */
static Bounds either(Bounds x, Bounds y) { return (Bounds){lower(x, y).lo, higher(x, y).hi}; }

static bool apply(uint32_t op, Bounds x, Bounds y, Bounds *r) {
  switch (op) {
  case DIM_ADD: return add_ok(x.lo, y.lo, &r->lo) && add_ok(x.hi, y.hi, &r->hi);
  case DIM_MUL: return multiply(x, y, r);
  case DIM_DIV: return divide(x, y, r);
  case DIM_MOD: return remainder_of(x, y, r);
  case DIM_MIN: *r = lower(x, y); return true;
  case DIM_MAX: *r = higher(x, y); return true;
  default: *r = either(x, y); return true;
  }
}

/* Expressions refer to earlier ones; the recursion is bounded as in symbols.c. */
static bool bounds(Growth *g, uint32_t i, Bounds *r, int depth) {
  const ProgExpr *e = REC(g->p, SEC_EXPRS, ProgExpr) + i;
  Bounds x, y;
  if (e->op == DIM_CONST) {
    *r = (Bounds){e->value, e->value};
    return true;
  }
  if (e->op == DIM_SYM) {
    *r = symbol_bounds(g, e->a);
    return g->key[e->a] != UNBOUND;
  }
  if (g->memo_epoch[i] == g->epoch) {
    *r = g->memo[i];
    return true;
  }
  if (depth > 500 || !bounds(g, e->a, &x, depth + 1) || !bounds(g, e->b, &y, depth + 1) || !apply(e->op, x, y, r))
    return false;
  g->memo[i] = *r, g->memo_epoch[i] = g->epoch;
  return true;
}

bool growth_most(Growth *g, uint32_t expr, int64_t *v) {
  Bounds r;
  bool ok = bounds(g, expr, &r, 0);
  *v = ok ? r.hi : 0;
  return ok;
}

bool growth_dims(Growth *g, const ProgSlot *slot, int64_t *dim) {
  bool ok = slot->rank >= 0;
  for (int k = 0; ok && k < slot->rank; k++) {
    uint32_t e = rt_list(g->p, slot->dims + (uint32_t)k);
    ok = e != PROG_NONE && growth_most(g, e, &dim[k]) && dim[k] >= 0;
  }
  return ok;
}

size_t growth_bytes(Growth *g, const ProgSlot *slot) {
  int64_t dim[MAX_RANK], count;
  size_t bytes;
  bool ok = growth_dims(g, slot, dim) && extent_ok(dim, slot->rank, &count) && dtype_bytes(slot->dtype, count, &bytes);
  return ok ? bytes : 0;
}

/* --- a run --- */

static void round_up(Growth *g, const Symbols *s) {
  for (uint32_t i = 0; i < rt_count(g->p, SEC_SYMBOLS); i++) {
    int64_t v = s->value[i];
    bool grows = rt_symbol(g->p, i)->grows && v > 0 && v <= INT64_MAX - GROW_STEP;
    g->key[i] = grows ? (v + GROW_STEP - 1) / GROW_STEP * GROW_STEP : v;
  }
  g->epoch++;
}

Growth *growth_begin(const RtProgram *p, Arena *a, const Symbols *s) {
  uint32_t n = rt_count(p, SEC_EXPRS);
  if (!p->grows)
    return NULL;
  Growth *g = arena_new(a, Growth);
  *g = (Growth){.p = p, .key = arena_array(a, int64_t, rt_count(p, SEC_SYMBOLS))};
  g->memo = arena_array(a, Bounds, n), g->memo_epoch = arena_array(a, uint32_t, n);
  round_up(g, s);
  return g;
}

/* Launches of a graph have addresses, and a value without elements has none. */
void growth_update(Growth *g, Symbols *s) {
  const GrowPlan *plan = g->p->grows;
  int64_t dim[MAX_RANK], count, most;
  round_up(g, s);
  g->on = true;
  for (uint32_t i = 0; i < plan->nslot && g->on; i++) {
    const ProgSlot *slot = rt_slot(g->p, plan->slot[i]);
    g->on = rt_symbols_dims(s, slot, dim) && extent_ok(dim, slot->rank, &count) && growth_dims(g, slot, dim) &&
            extent_ok(dim, slot->rank, &most) && (count > 0 || !most);
  }
}

uint64_t growth_table(const Growth *g, uint32_t step) {
  return g && g->table ? g->table + 8ull * g->p->grows->table[step] : 0;
}

static Status fill_step(Frame *f, uint32_t i, int64_t *table) {
  const ProgStep *s = rt_step(f->p, i);
  const ProgKernel *k = rt_kernel(f->p, s);
  for (uint32_t n = 0; n < k->ngrowing; n++)
    if (!rt_symbols_eval(&f->sym, rt_list(f->p, s->exprs + rt_list(f->p, k->growing + n)), &table[n]))
      return fail(f->c, ST_INVALID, "the extents of %s cannot be computed for these input shapes",
                  rt_string(f->p, k->name));
  return ST_OK;
}

Status growth_fill(Frame *f) {
  const GrowPlan *plan = f->p->grows;
  Workspace *w = places_workspace(f);
  RtDevice *d = f->p->device;
  int64_t *table = arena_array(f->run, int64_t, plan->ntable);
  for (uint32_t i = 0; i < plan->nstep; i++)
    TRY(fill_step(f, plan->step[i], table + plan->table[plan->step[i]]));
  TRY(workspace_grow(f->p, f->c, w, &w->table, 8ull * plan->ntable));
  f->growth->table = w->table.at;
  return plan->ntable ? d->ops->upload(d, f->c, w->stream, w->table.at, table, 8ull * plan->ntable) : ST_OK;
}

Status growth_needs(Frame *f) {
  const GrowPlan *plan = f->p->grows;
  for (uint32_t i = 0; i < plan->nstep; i++) {
    const ProgStep *s = rt_step(f->p, plan->step[i]), *up = *f->at;
    *f->at = s;
    TRY(kernel_needs(f, s));
    *f->at = up;
  }
  return ST_OK;
}
