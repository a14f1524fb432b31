/* verify.c - checks every invariant that graph.h states. What it finds is a bug of ours: ST_INTERNAL.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/graph.h"

#include <stdio.h>
#include <string.h>

typedef enum { UNSEEN, IN_SCOPE, OUT_OF_SCOPE } Seen;

typedef struct Check {
  Ctx *c;
  Arena *a;       /* scratch */
  uint8_t *seen;  /* by value id: Seen */
  uint32_t *uses; /* by value id: inputs and outputs met that name it */
  Value **all;    /* by value id */
  uint32_t nid;
  Map names;      /* to the Value that had the name last */
} Check;

static Status broken(Check *k, const Node *n, const char *fmt, ...) PRINTF_LIKE(3, 4);
static Status broken(Check *k, const Node *n, const char *fmt, ...) {
  char text[400];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  Status st = fail(k->c, ST_INTERNAL, "graph invariant: %s", text);
  return n && n->origin ? err_origin(k->c, st, n->origin) : st;
}

static Status check_type(Check *k, const Node *n, const Type *t, int depth) {
  if (t->kind > VK_MAP || t->dtype >= DT_count)
    return broken(k, n, "a type of no known kind");
  if (t->kind != VK_TENSOR)
    return !t->elem ? ST_OK : depth > 16 ? broken(k, n, "a type nested too deep") : check_type(k, n, t->elem, depth + 1);
  if (t->rank < -1 || t->rank > MAX_RANK)
    return broken(k, n, "a rank of %d", t->rank);
  for (int i = 0; i < t->rank; i++)
    if (!t->dim[i])
      return broken(k, n, "a type without dimension %d", i);
  return ST_OK;
}

static Status define(Check *k, const Node *n, Value *v) {
  if (v->id >= k->nid || k->seen[v->id])
    return broken(k, n, "value %%%s is defined twice", v->name);
  if (!v->name || !*v->name)
    return broken(k, n, "a value without a name");
  Value *other = map_put(&k->names, v->name, v);
  if (other && k->seen[other->id] == IN_SCOPE)
    return broken(k, n, "two values are named %%%s", v->name);
  k->seen[v->id] = IN_SCOPE, k->all[v->id] = v;
  return check_type(k, n, &v->type, 0);
}

/* A constant comes into being where it is first used; it belongs to the outermost graph. */
static Status use(Check *k, const Node *n, Value *v) {
  if (v->id >= k->nid)
    return broken(k, n, "a value of another graph");
  if (v->konst && !k->seen[v->id]) {
    if (v->def)
      return broken(k, n, "constant %%%s is also the output of a node", v->name);
    if (v->type.kind != VK_TENSOR || v->type.dtype != v->konst->dtype || v->type.rank != v->konst->rank)
      return broken(k, n, "the type of constant %%%s is not its data's", v->name);
    TRY(define(k, n, v));
  }
  if (k->seen[v->id] != IN_SCOPE || k->all[v->id] != v)
    return broken(k, n, "%%%s is used before its definition or out of its scope", v->name);
  k->uses[v->id]++;
  return ST_OK;
}

static Status check_graph(Check *k, const Graph *g);

static Status check_shape(Check *k, const Graph *g, const Node *n) {
  const OpInfo *op = op_info(n->op);
  if (!n->op || n->op >= op_count() || n->graph != g)
    return broken(k, NULL, "a node of no operator, or linked into another graph");
  if (!n->origin || !n->origin->node || !n->origin->op)
    return broken(k, NULL, "a %s without origin", op->name);
  if ((n->prev ? n->prev->next : g->first) != n || (n->next ? n->next->prev : g->last) != n)
    return broken(k, n, "the list of nodes is broken at this %s", op->name);
  if (n->nin < op->min_in || n->nin > op->max_in || n->nout < op->min_out || n->nout > op->max_out)
    return broken(k, n, "%s with %d inputs and %d outputs", op->name, n->nin, n->nout);
  if (!n->attr != !op->attrs->size)
    return broken(k, n, "%s: attributes missing or not expected", op->name);
  int want = !(op->flags & OPF_CONTROL) ? 0 : !strcmp(op->name, "If") ? 2 : 1;
  for (int b = 0; b < 2; b++)
    if (!n->body[b] != (b >= want))
      return broken(k, n, "%s with a body too many or too few", op->name);
  return ST_OK;
}

static Status check_node(Check *k, const Graph *g, const Node *n) {
  TRY(check_shape(k, g, n));
  for (int i = 0; i < n->nin; i++)
    if (n->in[i])
      TRY(use(k, n, n->in[i]));
  for (int b = 0; b < 2; b++)
    if (n->body[b]) {
      if (n->body[b]->up != g || n->body[b]->owner != n || n->body[b]->arena != g->arena)
        return broken(k, n, "a body that belongs to another node");
      TRY(check_graph(k, n->body[b]));
    }
  for (int i = 0; i < n->nout; i++) {
    if (!n->out[i])
      continue;
    if (n->out[i]->def != n || n->out[i]->index != i || n->out[i]->konst || n->out[i]->is_input)
      return broken(k, n, "output %d does not know its node", i);
    TRY(define(k, n, n->out[i]));
  }
  return ST_OK;
}

static void leave(Check *k, const Graph *g) {
  for (uint32_t i = 0; i < g->nin; i++)
    k->seen[g->in[i]->id] = OUT_OF_SCOPE;
  for (const Node *n = g->first; n; n = n->next)
    for (int i = 0; i < n->nout; i++)
      if (n->out[i])
        k->seen[n->out[i]->id] = OUT_OF_SCOPE;
}

static Status check_graph(Check *k, const Graph *g) {
  for (uint32_t i = 0; i < g->nin; i++) {
    if (!g->in[i]->is_input || g->in[i]->def)
      return broken(k, g->owner, "%%%s is no input", g->in[i]->name);
    TRY(define(k, g->owner, g->in[i]));
  }
  for (const Node *n = g->first; n; n = n->next)
    TRY(check_node(k, g, n));
  for (uint32_t i = 0; i < g->nout; i++) {
    if (!g->out[i])
      return broken(k, g->owner, "output %u is missing", i);
    TRY(use(k, g->owner, g->out[i]));
  }
  if (g->up)
    leave(k, g);
  return ST_OK;
}

/* As many use records as uses, each of them true: then the list is exact. */
static Status check_uses(Check *k, Value *v) {
  uint32_t n = 0, outputs = 0;
  for (const Use *u = v->uses; u; u = u->next, n++) {
    if (n > k->uses[v->id])
      break;
    bool right = u->node ? u->slot < u->node->nin && u->node->in[u->slot] == v && u->node->use[u->slot] == u
                         : u->graph && u->slot < u->graph->nout && u->graph->out[u->slot] == v && u->graph->use[u->slot] == u;
    if (!right || *u->at != u)
      return broken(k, u->node, "the use list of %%%s names a use that is none", v->name);
    outputs += !u->node;
  }
  if (outputs != v->nout)
    return broken(k, v->def, "%%%s is an output %u times, not %u", v->name, outputs, v->nout);
  if (n != k->uses[v->id])
    return broken(k, v->def, "%%%s has %u uses, its list %s", v->name, k->uses[v->id], n < k->uses[v->id] ? "fewer" : "more");
  return ST_OK;
}

Status graph_verify(Ctx *c, Graph *g) {
  Check k = {.c = c, .a = arena_create(c), .nid = *g->next_id};
  k.seen = arena_array(k.a, uint8_t, k.nid);
  k.uses = arena_array(k.a, uint32_t, k.nid);
  k.all = arena_array(k.a, Value *, k.nid);
  map_init(&k.names, k.a);
  Status st = check_graph(&k, g);
  for (uint32_t i = 0; !st && i < k.nid; i++)
    if (k.all[i])
      st = check_uses(&k, k.all[i]);
  arena_destroy(k.a);
  return st;
}
