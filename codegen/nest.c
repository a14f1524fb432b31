/* nest.c - the loop nest of a kernel: merging axes, dropping what is not read.
 *
 * Two nested loops become one where every load and every store uses their variables side by side, on axes of the loops'
 * extents, or not at all: buffers are dense and row-major, so the two axes of such a buffer become one as well.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/nest.h"

#include <string.h>

typedef struct Walk {
  const Kernel *k;
  void (*access)(struct Walk *w, KBuf *b, KExpr **index); /* every load and store */
  void (*var)(struct Walk *w, KVar *v);                   /* every use but as an index */
  const KVar **inner_of; /* by variable id: of the outer loop of a pair that is to be merged, its inner variable */
  bool *inner;           /* by variable id: the inner one of a pair */
  bool ok;
  uint8_t *state; /* by buffer: 0 not seen, 1 + axis: merged there, 255: uses neither */
  bool *used;     /* by buffer */
} Walk;

static int arity(const KExpr *e) {
  return e->kind == KE_UNARY || e->kind == KE_CAST ? 1 : e->kind == KE_BINARY ? 2 : e->kind == KE_SELECT ? 3 : 0;
}

static void walk_expr(Walk *w, KExpr *e) {
  if (e->kind == KE_VAR && w->var)
    w->var(w, e->var);
  if (e->kind == KE_LOAD) {
    if (w->access)
      w->access(w, e->buf, e->index);
    for (int i = 0; i < e->buf->rank; i++)
      if (!w->var || e->index[i]->kind != KE_VAR)
        walk_expr(w, e->index[i]);
  }
  for (int i = 0; i < arity(e); i++)
    walk_expr(w, e->arg[i]);
}

static void walk(Walk *w, KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_STORE) {
      if (w->access)
        w->access(w, s->buf, s->index);
      for (int i = 0; i < s->buf->rank; i++)
        if (!w->var || s->index[i]->kind != KE_VAR)
          walk_expr(w, s->index[i]);
    }
    if (s->value)
      walk_expr(w, s->value);
    if (s->number)
      walk_expr(w, s->number);
    walk(w, s->body);
  }
}

/* --- axes of extent 1 --- */

static KExpr **without(Kernel *k, int rank, const bool *drop, KExpr **index) {
  KExpr **r = arena_array(k->arena, KExpr *, (size_t)rank + 1);
  for (int i = 0, n = 0; i < rank; i++)
    if (!drop[i])
      r[n++] = index[i];
  return r;
}

/* Index lists may be shared by expressions that occur in several places: each list is rewritten once. */
typedef struct Rewrite {
  Kernel *k;
  bool (*drop)[MAX_RANK];
  Map done;
} Rewrite;

static void drop_expr(Rewrite *r, KExpr *e) {
  void *key = e;
  if (map_get_n(&r->done, (const char *)&key, sizeof key))
    return;
  void **keep = arena_new(r->k->arena, void *);
  *keep = key;
  map_put_n(&r->done, (const char *)keep, sizeof key, e);
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++)
    drop_expr(r, e->index[i]);
  if (e->kind == KE_LOAD)
    e->index = without(r->k, e->buf->rank, r->drop[e->buf->index], e->index);
  for (int i = 0; i < arity(e); i++)
    drop_expr(r, e->arg[i]);
}

static void drop_list(Rewrite *r, KStmt *s) {
  for (; s; s = s->next) {
    if (s->value)
      drop_expr(r, s->value);
    if (s->number)
      drop_expr(r, s->number);
    if (s->kind == KS_STORE) {
      for (int i = 0; i < s->buf->rank; i++)
        drop_expr(r, s->index[i]);
      s->index = without(r->k, s->buf->rank, r->drop[s->buf->index], s->index);
    }
    drop_list(r, s->body);
  }
}

static void drop_axes(Kernel *k, bool (*drop)[MAX_RANK]) {
  Rewrite r = {.k = k, .drop = drop};
  map_init(&r.done, k->arena);
  drop_list(&r, k->body);
  for (uint32_t b = 0; b < k->nbuf; b++) {
    KBuf *x = k->buf[b];
    int n = 0;
    for (int i = 0; i < x->rank; i++)
      if (!drop[b][i])
        x->dim[n++] = x->dim[i];
    x->rank = (int8_t)n;
  }
}

static void drop_units(Kernel *k) {
  bool(*drop)[MAX_RANK] = arena_get(k->arena, k->nbuf, sizeof *drop, 1);
  for (uint32_t b = 0; b < k->nbuf; b++)
    for (int i = 0; i < MAX_RANK; i++)
      drop[b][i] = i < k->buf[b]->rank && dim_is(k->buf[b]->dim[i], 1);
  drop_axes(k, drop);
}

/* --- merging two loops --- */

static const KVar *outer_var(const Walk *w, const KExpr *e) {
  return e->kind == KE_VAR && w->inner_of[e->var->id] ? e->var : NULL;
}

static void check_access(Walk *w, KBuf *b, KExpr **index) {
  uint8_t state = 255;
  for (int i = 0; i < b->rank; i++) {
    const KVar *o = outer_var(w, index[i]);
    const KVar *next = o && i + 1 < b->rank && index[i + 1]->kind == KE_VAR ? index[i + 1]->var : NULL;
    if (next && next == w->inner_of[o->id] && b->dim[i] == o->def->extent && b->dim[i + 1] == next->def->extent &&
        state == 255)
      state = (uint8_t)(++i);
    else if (o || (index[i]->kind == KE_VAR && w->inner[index[i]->var->id]))
      w->ok = false;
  }
  if (w->state[b->index] && w->state[b->index] != state)
    w->ok = false;
  w->state[b->index] = state;
}

static void check_var(Walk *w, KVar *v) {
  if (w->inner_of[v->id] || w->inner[v->id])
    w->ok = false;
}

typedef struct Pair {
  KStmt *outer, *inner;
} Pair;

/* Each outer loop, whose body is the inner loop alone, becomes one loop with it. All accesses of a buffer must agree, in these
 * loops and elsewhere. False: they do not. */
static bool merge(Ctx *c, Kernel *k, const Pair *pair, uint32_t n) {
  Walk w = {.k = k, .access = check_access, .var = check_var, .ok = true};
  w.state = arena_array(k->arena, uint8_t, k->nbuf);
  w.inner_of = arena_array(k->arena, const KVar *, k->next_id);
  w.inner = arena_array(k->arena, bool, k->next_id);
  for (uint32_t i = 0; i < n; i++)
    w.inner_of[pair[i].outer->var->id] = pair[i].inner->var, w.inner[pair[i].inner->var->id] = true;
  walk(&w, k->body);
  if (!w.ok)
    return false;
  Dim p = pair->outer->extent, q = pair->inner->extent, both = dim_mul(c, p, q);
  if (both->kind == DIM_SYM && both != p &&
      both != q) /* too large an expression: nothing would tell the symbol for it */
    return false;
  bool(*drop)[MAX_RANK] = arena_get(k->arena, k->nbuf, sizeof *drop, 1);
  memset(drop, 0, k->nbuf * sizeof *drop);
  for (uint32_t b = 0; b < k->nbuf; b++)
    if (w.state[b] && w.state[b] != 255) {
      int axis = w.state[b] - 1; /* the outer variable's axis goes, the inner one's has it all */
      drop[b][axis] = true;
      k->buf[b]->dim[axis + 1] = both;
    }
  for (uint32_t i = 0; i < n; i++) {
    KStmt *o = pair[i].outer, *in = pair[i].inner;
    o->extent = both, o->var = in->var, o->var->def = o;
    if (in->loop == KL_ORDERED)
      o->loop = KL_ORDERED;
    o->body = in->body;
  }
  drop_axes(k, drop);
  return true;
}

static bool alone(const KStmt *s) { return s && s->kind == KS_FOR && !s->next; }

enum { MAX_PAIRS = 32 };

static void find_pairs(KStmt *s, Pair *pair, uint32_t *n) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && alone(s->body) && !s->value && !s->body->value && *n < MAX_PAIRS)
      pair[(*n)++] = (Pair){s, s->body};
    find_pairs(s->body, pair, n);
  }
}

/* One merge of loops: those of equal extents together (passes over the same rows), or else one pair. */
static bool merge_some(Ctx *c, Kernel *k) {
  Pair all[MAX_PAIRS], alike[MAX_PAIRS];
  uint32_t n = 0;
  find_pairs(k->body, all, &n);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t m = 0;
    for (uint32_t j = 0; j < n; j++) {
      bool overlaps = false; /* with one that is in the list: an inner loop cannot be another's outer one */
      for (uint32_t l = 0; l < m; l++)
        overlaps |= alike[l].inner == all[j].outer || alike[l].outer == all[j].inner;
      if (!overlaps && all[j].outer->extent == all[i].outer->extent && all[j].inner->extent == all[i].inner->extent)
        alike[m++] = all[j];
    }
    if (merge(c, k, alike, m) || (m > 1 && merge(c, k, &all[i], 1)))
      return true;
  }
  return false;
}

void nest_merge(Ctx *c, Kernel *k) {
  drop_units(k);
  while (merge_some(c, k))
    ;
}

/* --- buffers --- */

static void note_use(Walk *w, KBuf *b, KExpr **index) {
  (void)index;
  w->used[b->index] = true;
}

uint32_t nest_prune(Kernel *k, uint32_t *kept) {
  Walk w = {.k = k, .access = note_use};
  w.used = arena_array(k->arena, bool, k->nbuf);
  walk(&w, k->body);
  uint32_t n = 0, nin = 0, pruned = 0;
  for (uint32_t i = 0; i < k->nbuf; i++) {
    if (i < k->nin && !w.used[i]) {
      pruned++;
      continue;
    }
    if (i < k->nin)
      kept[nin++] = i;
    k->buf[n] = k->buf[i];
    k->buf[n]->index = n;
    n++;
  }
  k->nbuf = n, k->nin = nin, k->nio -= pruned;
  return nin;
}

typedef struct InPlace {
  Walk w;
  KExpr **store; /* the index of the stores, which is the same for all */
  int rank;
  int stores, before; /* in all, and those met so far */
  uint32_t bad;
} InPlace;

static bool same_index(int rank, KExpr *const *a, KExpr *const *b) {
  for (int i = 0; i < rank; i++)
    if (a[i]->kind != KE_VAR || b[i]->kind != KE_VAR || a[i]->var != b[i]->var)
      return false;
  return true;
}

static void place_access(Walk *w, KBuf *b, KExpr **index) {
  InPlace *p = (InPlace *)(void *)w;
  if (b->output) {
    if (p->store && (p->rank != b->rank || !same_index(b->rank, p->store, index)))
      w->ok = false;
    p->store = index, p->rank = b->rank, p->stores++;
  }
}

static void place_load(Walk *w, KBuf *b, KExpr **index) {
  InPlace *p = (InPlace *)(void *)w;
  p->before += b->output;
  bool late = p->stores > 1 && p->before; /* an element stored twice is read no more */
  if (!b->output && b->index < 32 && (late || b->rank != p->rank || !same_index(b->rank, p->store, index)))
    p->bad |= 1u << b->index;
}

static bool plain(const KStmt *s) { /* one nest, nothing accumulated */
  for (; s; s = s->next)
    if (s->kind == KS_ACC || s->kind == KS_UPDATE || (s->kind == KS_FOR && (s->next || !plain(s->body))))
      return false;
  return true;
}

uint32_t nest_in_place(const Kernel *k) {
  InPlace p = {.w = {.k = k, .access = place_access, .ok = true}};
  if (!plain(k->body) || k->nbuf != k->nin + 1)
    return 0;
  walk(&p.w, k->body);
  if (!p.w.ok || !p.store)
    return 0;
  p.w.access = place_load;
  walk(&p.w, k->body);
  uint32_t r = 0;
  for (uint32_t i = 0; i < k->nin && i < 32; i++)
    if (!(p.bad >> i & 1) && dtype_bits(k->buf[i]->dtype) == dtype_bits(k->buf[k->nin]->dtype))
      r |= 1u << i;
  return r;
}
