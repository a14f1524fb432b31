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
  const KVar *outer, *inner;
  bool ok;
  uint8_t *state;  /* by buffer: 0 not seen, 1 + axis: merged there, 255: uses neither */
  bool *used;      /* by buffer */
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

static bool is_var(const KExpr *e, const KVar *v) { return e->kind == KE_VAR && e->var == v; }

static void check_access(Walk *w, KBuf *b, KExpr **index) {
  uint8_t state = 255;
  for (int i = 0; i < b->rank; i++) {
    bool o = is_var(index[i], w->outer), in = is_var(index[i], w->inner);
    if (o && i + 1 < b->rank && is_var(index[i + 1], w->inner) && b->dim[i] == w->outer->def->extent &&
        b->dim[i + 1] == w->inner->def->extent && state == 255) {
      state = (uint8_t)(i + 1);
      i++;
    } else if (o || in) {
      w->ok = false;
    }
  }
  if (w->state[b->index] && w->state[b->index] != state)
    w->ok = false;
  w->state[b->index] = state;
}

static void check_var(Walk *w, KVar *v) {
  if (v == w->outer || v == w->inner)
    w->ok = false;
}

/* Loop `o`, whose body is loop `i` alone, becomes one loop. False: it cannot. */
static bool merge(Ctx *c, Kernel *k, KStmt *o, KStmt *i) {
  Walk w = {.k = k, .access = check_access, .var = check_var, .outer = o->var, .inner = i->var, .ok = true};
  w.state = arena_array(k->arena, uint8_t, k->nbuf);
  walk(&w, i->body);
  Dim n = dim_mul(c, o->extent, i->extent);
  if (!w.ok)
    return false;
  bool(*drop)[MAX_RANK] = arena_get(k->arena, k->nbuf, sizeof *drop, 1);
  memset(drop, 0, k->nbuf * sizeof *drop);
  for (uint32_t b = 0; b < k->nbuf; b++)
    if (w.state[b] && w.state[b] != 255) {
      int axis = w.state[b] - 1; /* the outer variable's axis goes, the inner one's has it all */
      drop[b][axis] = true;
      k->buf[b]->dim[axis + 1] = n;
    }
  o->extent = n, o->var = i->var, o->var->def = o;
  o->body = i->body;
  drop_axes(k, drop);
  return true;
}

static bool alone(const KStmt *s) { return s && s->kind == KS_FOR && !s->next; }

static void merge_list(Ctx *c, Kernel *k, KStmt *s) {
  for (; s; s = s->next) {
    merge_list(c, k, s->body);
    while (s->kind == KS_FOR && alone(s->body) && merge(c, k, s, s->body))
      ;
  }
}

void nest_merge(Ctx *c, Kernel *k) {
  drop_units(k);
  merge_list(c, k, k->body);
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
  uint32_t n = 0, nin = 0;
  for (uint32_t i = 0; i < k->nbuf; i++) {
    if (i < k->nin && !w.used[i])
      continue;
    if (i < k->nin)
      kept[nin++] = i;
    k->buf[n] = k->buf[i];
    k->buf[n]->index = n;
    n++;
  }
  k->nbuf = n, k->nin = nin;
  return nin;
}

typedef struct InPlace {
  Walk w;
  KExpr **store; /* the index of the stores, which is the same for all */
  int rank;
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
    p->store = index, p->rank = b->rank;
  }
}

static void place_load(Walk *w, KBuf *b, KExpr **index) {
  InPlace *p = (InPlace *)(void *)w;
  if (!b->output && b->index < 32 && (b->rank != p->rank || !same_index(b->rank, p->store, index)))
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
