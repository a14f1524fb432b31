/* graph.c - building and changing graphs; keeps use lists and node lists right.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/graph.h"

#include <assert.h>
#include <string.h>

/* --- types --- */

Type type_tensor(DType t, int rank, Dim const *dim) {
  Type r = {.kind = VK_TENSOR, .dtype = t, .rank = (int8_t)rank};
  for (int i = 0; i < rank; i++)
    r.dim[i] = dim[i];
  return r;
}

Type type_of_tensor(Ctx *c, const Tensor *t) {
  Type r = {.kind = t->kind, .dtype = t->dtype, .rank = t->rank};
  for (int i = 0; i < t->rank; i++)
    r.dim[i] = dim_const(c, t->dim[i]);
  return r;
}

bool type_equal(const Type *a, const Type *b) {
  if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank || !a->elem != !b->elem)
    return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return !a->elem || type_equal(a->elem, b->elem);
}

bool type_is_static(const Type *t) {
  if (t->kind != VK_TENSOR || !t->dtype || t->rank < 0)
    return false;
  for (int i = 0; i < t->rank; i++)
    if (t->dim[i]->kind != DIM_CONST)
      return false;
  return true;
}

Dim type_count(Ctx *c, const Type *t) {
  Dim n = dim_const(c, 1);
  for (int i = 0; i < t->rank; i++)
    n = dim_mul(c, n, t->dim[i]);
  return n;
}

Dim value_rows(const Value *v, int axis) {
  const Append *x = v->append;
  return !x || axis != x->axis ? v->type.dim[axis] : v == x->past ? x->past_room : x->present_room;
}

void type_print(StrBuf *b, const Type *t) {
  static const char *const kind[] = {"", "seq", "optional", "map"};
  if (t->kind != VK_TENSOR) {
    buf_printf(b, "%s(", kind[t->kind]);
    if (t->kind == VK_MAP)
      buf_printf(b, "%s, ", dtype_name(t->dtype));
    if (t->elem)
      type_print(b, t->elem);
    else
      buf_puts(b, "?");
    buf_puts(b, ")");
    return;
  }
  buf_puts(b, t->dtype ? dtype_name(t->dtype) : "?");
  if (t->rank < 0) {
    buf_puts(b, "[*]");
    return;
  }
  buf_puts(b, "[");
  for (int i = 0; i < t->rank; i++) {
    if (i)
      buf_puts(b, ", ");
    dim_print(b, t->dim[i]);
  }
  buf_puts(b, "]");
}

const char *type_text(Ctx *c, const Type *t) {
  StrBuf b;
  buf_init(&b, dim_arena(c));
  type_print(&b, t);
  return b.text;
}

/* --- graphs --- */

Graph *graph_create(Ctx *c, const char *name) {
  Arena *a = arena_create(c);
  Graph *g = arena_new(a, Graph);
  g->arena = a, g->c = c;
  g->name = arena_strdup(a, name ? name : "");
  g->next_id = arena_new(a, uint32_t);
  g->underscores = 1;
  return g;
}

Graph *graph_create_body(Node *owner, int which, const char *name) {
  Graph *up = owner->graph, *g = arena_new(up->arena, Graph);
  g->arena = up->arena, g->c = up->c;
  g->name = arena_strdup(up->arena, name ? name : "");
  g->up = up, g->owner = owner, g->next_id = up->next_id, g->underscores = up->underscores;
  owner->body[which] = g;
  return g;
}

void graph_destroy(Graph *g) {
  if (g)
    arena_destroy(g->arena);
}

/* Room for one more in a list that doubles at powers of two. */
static void *grow(Arena *a, void *list, uint32_t n, size_t size) {
  if (n && (n & (n - 1)))
    return list;
  void *bigger = arena_get(a, n ? 2 * (size_t)n : 1, size, 8);
  if (n)
    memcpy(bigger, list, n * size);
  return bigger;
}

const char *graph_name(Graph *g, uint32_t id) {
  static const char line[] = "________________________________________________________________";
  return arena_printf(g->arena, "%.*s%u", (int)g->underscores, line, id);
}

int name_made_up(const char *name) {
  size_t n = strspn(name, "_"), digits = strspn(name + n, "0123456789");
  return digits && !name[n + digits] && n < 64 ? (int)n : 0;
}

static Value *new_value(Graph *g, const char *name) {
  Value *v = arena_new(g->arena, Value);
  v->id = (*g->next_id)++;
  v->name = name ? arena_strdup(g->arena, name) : graph_name(g, v->id);
  v->type = (Type){.kind = VK_TENSOR, .rank = -1};
  return v;
}

static void link_use(Value *v, Use *u) {
  u->next = v->uses, u->at = &v->uses;
  if (u->next)
    u->next->at = &u->next;
  v->uses = u;
  v->nout += !u->node;
}

static Use *add_use(Value *v, Node *n, Graph *g, uint32_t slot, Arena *a) {
  Use *u = arena_new(a, Use);
  *u = (Use){.node = n, .graph = g, .slot = slot};
  link_use(v, u);
  return u;
}

static void drop_use(Value *v, Use *u) {
  *u->at = u->next;
  if (u->next)
    u->next->at = u->at;
  v->nout -= !u->node;
}

Value *graph_add_input(Graph *g, const char *name, Type t) {
  Value *v = new_value(g, name);
  v->type = t, v->is_input = true;
  if (!g->up)
    value_tell(g->c, v);
  g->in = grow(g->arena, g->in, g->nin, sizeof *g->in);
  g->in[g->nin++] = v;
  return v;
}

void graph_add_output(Graph *g, Value *v) {
  g->out = grow(g->arena, g->out, g->nout, sizeof *g->out);
  g->use = grow(g->arena, g->use, g->nout, sizeof *g->use);
  g->out[g->nout] = v;
  g->use[g->nout] = add_use(v, NULL, g, g->nout, g->arena);
  g->nout++;
}

/* Small integer constants carry their elements as dims, so that inference sees through them. */
static void constant_content(Ctx *c, Arena *a, Value *v) {
  const Tensor *t = v->konst;
  int64_t n = tensor_count(t);
  if (t->kind != VK_TENSOR || (t->dtype != DT_i64 && t->dtype != DT_i32) || t->rank > 1 || n > MAX_CONTENT)
    return;
  Dim *d = arena_array(a, Dim, (size_t)n);
  for (int64_t i = 0; i < n; i++) {
    int64_t x = 0;
    if (t->dtype == DT_i64) /* the data may be unaligned */
      memcpy(&x, (const char *)t->data + 8 * i, 8);
    else {
      int32_t y;
      memcpy(&y, (const char *)t->data + 4 * i, 4);
      x = y;
    }
    d[i] = dim_const(c, x);
  }
  v->content = d;
}

Value *graph_add_const(Graph *g, const char *name, const Tensor *t) {
  Value *v = new_value(g, name);
  v->konst = t;
  v->type = type_of_tensor(g->c, t);
  constant_content(g->c, g->arena, v);
  return v;
}

static void link_before(Graph *g, Node *n, Node *before) {
  n->next = before, n->prev = before ? before->prev : g->last;
  *(n->prev ? &n->prev->next : &g->first) = n;
  *(before ? &before->prev : &g->last) = n;
}

static void unlink_node(Node *n) {
  Graph *g = n->graph;
  *(n->prev ? &n->prev->next : &g->first) = n->next;
  *(n->next ? &n->next->prev : &g->last) = n->prev;
}

Node *graph_add_node(Graph *g, Node *before, OpId op, int nin, int nout, const void *attr, const Origin *origin) {
  static const Origin nowhere = {.node = "", .op = ""};
  const OpInfo *info = op_info(op);
  Node *n = arena_new(g->arena, Node);
  n->op = op, n->graph = g;
  n->nin = (uint16_t)nin, n->nout = (uint16_t)nout;
  n->in = arena_array(g->arena, Value *, (size_t)nin);
  n->use = arena_array(g->arena, Use *, (size_t)nin);
  n->out = arena_array(g->arena, Value *, (size_t)nout);
  n->attr = attr ? attr_copy(g->arena, info->attrs, attr) : attr_new(g->arena, info->attrs);
  n->origin = origin ? origin : &nowhere;
  n->id = (*g->next_id)++;
  for (int i = 0; i < nout; i++) {
    n->out[i] = new_value(g, NULL);
    n->out[i]->def = n, n->out[i]->index = (uint16_t)i;
  }
  link_before(g, n, before);
  return n;
}

Value *node_add_output(Node *n) {
  Value **out = arena_array(n->graph->arena, Value *, n->nout + (size_t)1), *v = new_value(n->graph, NULL);
  if (n->nout)
    memcpy(out, n->out, n->nout * sizeof(Value *));
  v->def = n, v->index = n->nout;
  out[n->nout++] = v, n->out = out;
  return v;
}

Value *graph_emit(Graph *g, Node *before, OpId op, const void *attr, const Origin *origin, int nin, Value *const *in) {
  Node *n = graph_add_node(g, before, op, nin, 1, attr, origin);
  for (int i = 0; i < nin; i++)
    node_set_input(n, i, in[i]);
  return n->out[0];
}

void node_set_input(Node *n, int i, Value *v) {
  if (n->in[i])
    drop_use(n->in[i], n->use[i]);
  n->in[i] = v;
  if (v)
    n->use[i] = add_use(v, n, NULL, (uint32_t)i, n->graph->arena);
}

void node_set_inputs(Node *n, int nin, Value *const *in) {
  Value **list = arena_array(n->graph->arena, Value *, (size_t)nin);
  for (int i = 0; i < nin; i++) /* read all before the old ones go: in may be n->in */
    list[i] = in[i];
  for (int i = 0; i < n->nin; i++)
    node_set_input(n, i, NULL);
  n->in = arena_array(n->graph->arena, Value *, (size_t)nin);
  n->use = arena_array(n->graph->arena, Use *, (size_t)nin);
  n->nin = (uint16_t)nin;
  for (int i = 0; i < nin; i++)
    node_set_input(n, i, list[i]);
}

void node_drop_output(Node *n, int i) {
  assert(!n->out[i] || !n->out[i]->uses);
  n->out[i] = NULL;
}

void graph_drop_outputs(Graph *g) {
  for (uint32_t i = 0; i < g->nout; i++)
    drop_use(g->out[i], g->use[i]);
  g->nout = 0;
}

void node_move_before(Node *n, Node *before) {
  unlink_node(n);
  if (before)
    n->graph = before->graph;
  for (int b = 0; b < 2; b++)
    if (n->body[b])
      n->body[b]->up = n->graph;
  link_before(n->graph, n, before);
}

/* Bodies go with their node: what they use of outer values is no use any more. */
static void drop_body(Graph *g) {
  for (uint32_t i = 0; i < g->nout; i++)
    drop_use(g->out[i], g->use[i]);
  for (Node *n = g->first; n; n = n->next) {
    for (int i = 0; i < n->nin; i++)
      if (n->in[i])
        drop_use(n->in[i], n->use[i]);
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        drop_body(n->body[b]);
  }
}

void node_remove(Node *n) {
  for (int i = 0; i < n->nout; i++)
    assert(!n->out[i] || !n->out[i]->uses);
  for (int i = 0; i < n->nin; i++)
    node_set_input(n, i, NULL);
  for (int b = 0; b < 2; b++)
    if (n->body[b])
      drop_body(n->body[b]);
  unlink_node(n);
}

void value_replace(Value *old, Value *by) {
  if (old == by)
    return;
  bool output = value_is_output(old);
  for (Use *u = old->uses, *next; u; u = next) {
    next = u->next;
    if (u->node)
      u->node->in[u->slot] = by;
    else
      u->graph->out[u->slot] = by;
    link_use(by, u);
  }
  old->uses = NULL, old->nout = 0;
  if (by->name[0] == '_' && by->def && (output || old->name[0] != '_'))
    by->name = old->name;
}

void value_rename(Value *v, const char *name) { v->name = name; }

/* --- asking --- */

bool value_is_output(const Value *v) { return v->nout; }

int value_use_count(const Value *v) {
  int n = 0;
  for (const Use *u = v->uses; u; u = u->next)
    n++;
  return n;
}

Node *value_sole_user(const Value *v) { return v->uses && !v->uses->next ? v->uses->node : NULL; }

/* The integers that shapes, axes and counts are given in. */
/* What only a run tells becomes symbols where it can be a shape, or the pads of one: an extent that is a sum of more of them than that
 * is better one symbol, the sum's own. */
enum { MAX_TOLD = 2 * MAX_RANK };

static bool may_tell(Ctx *c, const Type *t, int64_t *n) {
  if (t->kind != VK_TENSOR || (t->dtype != DT_i64 && t->dtype != DT_i32) || t->rank < 0 || t->rank > 1)
    return false;
  return dim_is_const(type_count(c, t), n) && *n <= MAX_TOLD;
}

void value_tell(Ctx *c, Value *v) {
  int64_t n;
  if (v->konst || (v->content && !v->told))
    return;
  if (!may_tell(c, &v->type, &n)) {
    if (v->told)
      v->content = NULL, v->told = 0;
    return;
  }
  if (v->content && v->told == n)
    return;
  Dim *d = arena_array(dim_arena(c), Dim, (size_t)n + 1);
  bool wide = v->type.dtype == DT_i64;
  for (int64_t i = 0; i < n; i++)
    d[i] = dim_data(c, "data", wide ? INT64_MIN : INT32_MIN, wide ? INT64_MAX : INT32_MAX);
  v->content = d, v->told = (uint32_t)n;
}

bool graph_encloses(const Graph *outer, const Graph *inner) {
  while (inner && inner != outer)
    inner = inner->up;
  return inner;
}

uint32_t graph_node_count(const Graph *g, bool nested) {
  uint32_t k = 0;
  for (const Node *n = g->first; n; n = n->next) {
    k++;
    for (int b = 0; nested && b < 2; b++)
      if (n->body[b])
        k += graph_node_count(n->body[b], true);
  }
  return k;
}

double const_elem(const Tensor *t, int64_t i) {
  int bytes = dtype_bits(t->dtype) / 8;
  if (!bytes)
    return elem_f64(t->dtype, t->data, i);
  char raw[16] __attribute__((aligned(16)));
  memcpy(raw, (const char *)t->data + i * bytes, (size_t)bytes);
  return elem_f64(t->dtype, raw, 0);
}

bool value_ints(const Value *v, const int64_t **elem, int64_t *n, Arena *scratch) {
  const Tensor *t = v ? v->konst : NULL;
  if (!t || t->kind != VK_TENSOR || !(dtype_is_int(t->dtype) || t->dtype == DT_bool))
    return false;
  *n = tensor_count(t);
  int64_t *r = arena_array(scratch, int64_t, (size_t)*n);
  int bytes = dtype_bits(t->dtype) / 8;
  for (int64_t i = 0; i < *n; i++) {
    char raw[8] __attribute__((aligned(8)));
    if (bytes)
      memcpy(raw, (const char *)t->data + i * bytes, (size_t)bytes);
    r[i] = bytes ? elem_i64(t->dtype, raw, 0) : elem_i64(t->dtype, t->data, i);
  }
  *elem = r;
  return true;
}

bool value_scalar(const Value *v, double *x) {
  const Tensor *t = v ? v->konst : NULL;
  if (!t || t->kind != VK_TENSOR || t->dtype == DT_str || dtype_kind(t->dtype) == DK_COMPLEX || tensor_count(t) != 1)
    return false;
  *x = const_elem(t, 0);
  return true;
}

Origin *origin_new(Graph *g, const char *node, const char *op, uint32_t index) {
  Origin *o = arena_new(g->arena, Origin);
  o->node = node && *node ? arena_strdup(g->arena, node) : arena_printf(g->arena, "#%u", index);
  o->op = arena_strdup(g->arena, op);
  o->index = index;
  return o;
}

const Origin *origin_merge(Graph *g, const Origin *root, const Origin *const *more, uint32_t n) {
  uint64_t total = root->nmore;
  for (uint32_t i = 0; i < n; i++)
    total += 1 + more[i]->nmore;
  if (total > MAX_ORIGINS) /* the first of them; a chain of merges would grow without end */
    total = MAX_ORIGINS;
  Origin *o = arena_new(g->arena, Origin);
  *o = *root;
  o->more = arena_array(g->arena, const Origin *, (size_t)total);
  o->nmore = 0;
  for (uint32_t i = 0; i < root->nmore && o->nmore < total; i++)
    o->more[o->nmore++] = root->more[i];
  for (uint32_t i = 0; i < n; i++) {
    if (more[i] == root)
      continue;
    if (o->nmore < total)
      o->more[o->nmore++] = more[i];
    for (uint32_t k = 0; k < more[i]->nmore && o->nmore < total; k++)
      o->more[o->nmore++] = more[i]->more[k];
  }
  return o;
}

Status err_origin(Ctx *c, Status st, const Origin *o) { return err_node(c, st, o->node, o->op, o->module, o->source); }

NodePlace origin_enter(Ctx *c, const Origin *o) {
  NodePlace before = c->place;
  c->place = (NodePlace){o->node, o->op, o->module, o->source};
  return before;
}
