/* cse.c - computes equal things once: nodes with the same operator, attributes and inputs, and constants with the same
 * contents. What a body repeats of an enclosing graph is taken from there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <string.h>

enum {
  COMPARE_BYTES = 64 << 10
}; /* larger constants are the same when they are the same memory: weights stay unread */

typedef struct Entry {
  uint64_t hash;
  Node *node; /* or */
  Value *konst;
  struct Entry *next;
} Entry;

typedef struct Table {
  Arena *a;
  Entry **slot; /* chains; undone when a body ends */
  size_t mask;
} Table;

static bool commutes(const Node *n) { return n->nin == 2 && op_info(n->op)->flags & OPF_COMMUTATIVE; }

static uint64_t node_hash(const Node *n) {
  uint64_t h = hash_bytes(&n->op, sizeof n->op, n->nout), id, sum = 0;
  for (int i = 0; i < n->nin; i++) {
    id = n->in[i] ? n->in[i]->id + 1u : 0;
    if (commutes(n))
      sum += hash_bytes(&id, sizeof id, 1);
    else
      h = hash_bytes(&id, sizeof id, h);
  }
  return hash_bytes(&sum, sizeof sum, h) ^ attr_hash(op_info(n->op)->attrs, n->attr);
}

static bool same_node(const Node *a, const Node *b) {
  if (a->op != b->op || a->nin != b->nin || a->nout != b->nout)
    return false;
  bool straight = true;
  for (int i = 0; i < a->nin; i++)
    straight &= a->in[i] == b->in[i];
  if (!straight && !(commutes(a) && a->in[0] == b->in[1] && a->in[1] == b->in[0]))
    return false;
  for (int i = 0; i < a->nout; i++)
    if (b->out[i] && !a->out[i])
      return false;
  return attr_equal(op_info(a->op)->attrs, a->attr, b->attr);
}

static bool small(const Tensor *t) {
  return t->kind == VK_TENSOR && (t->dtype == DT_str || tensor_bytes(t) <= COMPARE_BYTES);
}

static uint64_t const_hash(Value *v) {
  uint64_t h = small(v->konst) ? value_hash(v) : (uint64_t)(uintptr_t)v->konst->data;
  h = hash_bytes(v->konst->dim, (size_t)v->konst->rank * sizeof(int64_t), h);
  return h + v->konst->dtype;
}

static bool same_const(const Value *a, const Value *b) {
  const Tensor *x = a->konst, *y = b->konst;
  if (x->kind != y->kind || x->dtype != y->dtype || !tensor_same_shape(x, y))
    return false;
  return x->data == y->data || (small(x) && tensor_equal(x, y));
}

static Entry *find(Table *t, uint64_t hash, const Node *n, const Value *k) {
  for (Entry *e = t->slot[hash & t->mask]; e; e = e->next)
    if (e->hash == hash && (n ? e->node && same_node(e->node, n) : e->konst && same_const(e->konst, k)))
      return e;
  return NULL;
}

static void put(Table *t, uint64_t hash, Node *n, Value *k) {
  Entry *e = arena_new(t->a, Entry);
  *e = (Entry){.hash = hash, .node = n, .konst = k, .next = t->slot[hash & t->mask]};
  t->slot[hash & t->mask] = e;
}

/* The nodes of a body are known only inside it. */
static void forget(Table *t, const Graph *g) {
  for (size_t i = 0; i <= t->mask; i++)
    for (Entry **e = &t->slot[i]; *e;)
      if ((*e)->node && (*e)->node->graph == g)
        *e = (*e)->next;
      else
        e = &(*e)->next;
}

static void merge_consts(Table *t, Node *n) {
  for (int i = 0; i < n->nin; i++) {
    Value *k = n->in[i];
    if (!k || !k->konst || k->konst->kind != VK_TENSOR)
      continue;
    uint64_t h = const_hash(k);
    Entry *e = find(t, h, NULL, k);
    if (!e)
      put(t, h, NULL, k);
    else if (e->konst != k)
      node_set_input(n, i, e->konst);
  }
}

static bool merge_node(Node *n, Node *first) {
  bool all = true;
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && n->out[i]->uses)
      all &= replace_value(n->out[i], first->out[i]);
  remove_dead(n);
  return all;
}

static Status sweep(Ctx *c, Graph *g, Table *t) {
  for (Node *n = g->first, *next; n; n = next) {
    next = n->next;
    const OpInfo *op = op_info(n->op);
    merge_consts(t, n);
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(sweep(c, n->body[b], t));
    if (op->flags & (OPF_CONTROL | OPF_NONDET))
      continue;
    uint64_t h = node_hash(n);
    Entry *e = find(t, h, n, NULL);
    if (!e)
      put(t, h, n, NULL);
    else if (n->op != OP_Identity) /* an Identity that is left keeps an output's name */
      merge_node(n, e->node);
  }
  if (g->up)
    forget(t, g);
  return ctx_poll(c);
}

Status pass_cse(Ctx *c, Graph *g) {
  Table t = {.a = arena_create(c), .mask = 255};
  uint32_t nodes = graph_node_count(g, true);
  while (t.mask < nodes)
    t.mask = 2 * t.mask + 1;
  t.slot = arena_array(t.a, Entry *, t.mask + 1);
  Status st = sweep(c, g, &t);
  arena_destroy(t.a);
  return st;
}
