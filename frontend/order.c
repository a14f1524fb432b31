/* order.c - puts the nodes of a graph in an order in which they can run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/import.h"

#include <string.h>

/* "'encoder.3' (MatMul)", for messages; in a. */
static const char *node_text(Arena *a, const RawNode *n, uint32_t index) {
  return *n->name ? arena_printf(a, "'%s' (%s)", n->name, n->op) : arena_printf(a, "#%u (%s)", index, n->op);
}

/* --- the names a node reads, its bodies' captures included --- */

typedef struct Locals {
  Map names;
  const struct Locals *up;
} Locals;

typedef struct Uses {
  Arena *a;
  const Map *def; /* name -> node index + 1 */
  uint32_t *list; /* indices of the nodes that make what is read */
  size_t n, cap;
} Uses;

static bool is_local(const Locals *l, const char *name) {
  for (; l; l = l->up)
    if (map_get(&l->names, name))
      return true;
  return false;
}

static void add_use(Uses *u, const char *name, const Locals *l) {
  if (!*name || is_local(l, name))
    return;
  uintptr_t i = (uintptr_t)map_get(u->def, name);
  if (!i)
    return;
  if (u->n == u->cap) {
    size_t cap = u->cap ? 2 * u->cap : 64;
    uint32_t *bigger = arena_array(u->a, uint32_t, cap);
    if (u->n)
      memcpy(bigger, u->list, u->n * sizeof *bigger);
    u->list = bigger, u->cap = cap;
  }
  u->list[u->n++] = (uint32_t)(i - 1);
}

static void node_uses(Uses *u, const RawNode *n, const Locals *l);

static void body_uses(Uses *u, const RawGraph *g, const Locals *up) {
  Locals l = {.up = up};
  map_init(&l.names, u->a);
  for (uint32_t i = 0; i < g->nin; i++)
    map_put(&l.names, g->in[i].name, u);
  for (uint32_t i = 0; i < g->ninit; i++)
    map_put(&l.names, g->init[i].name, u);
  for (uint32_t i = 0; i < g->nsparse; i++)
    map_put(&l.names, g->sparse[i].values->name, u);
  for (uint32_t i = 0; i < g->nnode; i++)
    for (uint32_t k = 0; k < g->node[i].nout; k++)
      map_put(&l.names, g->node[i].out[k], u);
  for (uint32_t i = 0; i < g->nnode; i++)
    node_uses(u, &g->node[i], &l);
  for (uint32_t i = 0; i < g->nout; i++)
    add_use(u, g->out[i].name, &l);
}

/* Gradient names tensors in its attributes. */
static void named_uses(Uses *u, const RawAttr *t, const Locals *l) {
  if (t->type == RA_STRING)
    add_use(u, arena_strndup(u->a, t->s.ptr, t->s.len), l);
  for (uint32_t k = 0; t->type == RA_STRINGS && k < t->n; k++)
    add_use(u, arena_strndup(u->a, t->strings[k].ptr, t->strings[k].len), l);
}

static void node_uses(Uses *u, const RawNode *n, const Locals *l) {
  for (uint32_t i = 0; i < n->nin; i++)
    add_use(u, n->in[i], l);
  for (uint32_t i = 0; raw_is_gradient(n) && i < n->nattr; i++)
    named_uses(u, &n->attr[i], l);
  for (uint32_t i = 0; i < n->nattr; i++)
    for (uint32_t k = 0; k < raw_bodies(&n->attr[i]); k++)
      body_uses(u, n->attr[i].graph[k], l);
}

/* --- the order --- */

static Status define_outputs(Ctx *c, Arena *a, const RawNode *node, uint32_t n, const Map *given, Map *def) {
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < node[i].nout; k++) {
      const char *name = node[i].out[k];
      if (!*name)
        continue;
      if (map_get(given, name))
        return fail(c, ST_INVALID, "node %s makes '%s', which is already an input or an initializer",
                    node_text(a, &node[i], i), name);
      uintptr_t before = (uintptr_t)map_put(def, name, (void *)(uintptr_t)(i + 1));
      if (before)
        return fail(c, ST_INVALID, "two nodes make '%s': %s and %s", name,
                    node_text(a, &node[before - 1], (uint32_t)before - 1), node_text(a, &node[i], i));
    }
  return ST_OK;
}

/* Depth first from each node in the file's order; a node comes after all it reads. */
static Status sort(Ctx *c, Arena *a, const RawNode *node, uint32_t n, const uint32_t *use, const size_t *first,
                   uint32_t *order) {
  enum { NEW, OPEN, DONE };
  uint8_t *state = arena_array(a, uint8_t, n);
  uint32_t *stack = arena_array(a, uint32_t, n), count = 0;
  size_t *next = arena_array(a, size_t, n);
  for (uint32_t root = 0; root < n; root++) {
    uint32_t top = 0;
    if (state[root] != NEW)
      continue;
    stack[top++] = root, state[root] = OPEN, next[root] = first[root];
    while (top) {
      uint32_t i = stack[top - 1];
      if (next[i] == first[i + 1]) {
        state[i] = DONE, order[count++] = i, top--;
        continue;
      }
      uint32_t d = use[next[i]++];
      if (state[d] == OPEN)
        return fail(c, ST_INVALID, "the graph has a cycle: node %s needs what node %s makes, and the other way round",
                    node_text(a, &node[i], i), node_text(a, &node[d], d));
      if (state[d] == NEW)
        stack[top++] = d, state[d] = OPEN, next[d] = first[d];
    }
  }
  return ST_OK;
}

Status order_nodes(Ctx *c, Arena *a, const RawNode *node, uint32_t n, const Map *given, uint32_t **order) {
  Map def;
  map_init(&def, a);
  *order = NULL;
  TRY(define_outputs(c, a, node, n, given, &def));
  Uses u = {.a = a, .def = &def};
  size_t *first = arena_array(a, size_t, (size_t)n + 1);
  bool sorted = true;
  for (uint32_t i = 0; i < n; i++) {
    first[i] = u.n;
    node_uses(&u, &node[i], NULL);
    for (size_t k = first[i]; k < u.n; k++)
      sorted = sorted && u.list[k] < i;
  }
  first[n] = u.n;
  if (sorted)
    return ST_OK;
  *order = arena_array(a, uint32_t, n);
  return sort(c, a, node, n, u.list, first, *order);
}
