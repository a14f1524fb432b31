/* gradient.c - Gradient (ai.onnx.preview.training 1) by reverse-mode differentiation of the graph.
 *
 * The importer has given the node the tensors that its attributes name as inputs behind those it is fed: values for xs and
 * zs, then xs and zs themselves, then y. What leads from these to y is found from y backwards; where a value that is fed
 * is not the tensor named, the nodes that depend on it are copied with the value in its place. Gradients then go from
 * y, whose elements are summed, through the nodes in opposite order, each by the rule of its operator.
 *
 * Gradient nodes are taken in order, so that one of a gradient meets plain operators.
 * Needs: types inferred, nothing folded yet (what is constant to folding may be among xs).
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

#include <string.h>

enum { MAX_MADE = 1000000 }; /* nodes: gradients of gradients grow like powers of two */

typedef struct Frame {
  Node *n;
  Value **read;
  uint32_t nread, next;
} Frame;

typedef struct Tape {
  Ctx *c;
  Arena *a; /* scratch */
  Node *root;
  int nx, n; /* tensors in xs; in xs and zs */
  Node **node;
  uint32_t nnode, cap;
  uint8_t *mark; /* by value id, as the graph was before: Mark */
  Value **now;   /* by value id: what stands for it, when that is another value */
} Tape;

enum { NAMED = 1, SEEN = 2, DEPENDS = 4 }; /* of xs or zs; its node is on the tape; it depends on xs */

static Value *fed(const Tape *t, int i) { return t->root->in[i]; }
static Value *named(const Tape *t, int i) { return t->root->in[t->n + i]; }
static Value *target(const Tape *t) { return t->root->in[2 * t->n]; }

/* --- what leads to y --- */

static void *grown(Arena *a, void *list, uint32_t n, uint32_t *cap, size_t size) {
  if (n < *cap)
    return list;
  *cap = *cap ? 2 * *cap : 64;
  void *bigger = arena_get(a, *cap, size, 8);
  if (n)
    memcpy(bigger, list, n * size);
  return bigger;
}

typedef struct Reads {
  Arena *a;
  const Graph *g; /* of the node: values of its bodies do not count */
  Value **v;
  uint32_t n, cap;
} Reads;

static void read_value(Reads *r, Value *v) {
  if (!v || (v->def && !graph_encloses(v->def->graph, r->g)))
    return;
  r->v = grown(r->a, r->v, r->n, &r->cap, sizeof *r->v);
  r->v[r->n++] = v;
}

static void read_node(Reads *r, const Node *n) {
  for (int i = 0; i < n->nin; i++)
    read_value(r, n->in[i]);
  for (int k = 0; k < 2; k++) {
    for (const Node *i = n->body[k] ? n->body[k]->first : NULL; i; i = i->next)
      read_node(r, i);
    for (uint32_t i = 0; n->body[k] && i < n->body[k]->nout; i++)
      read_value(r, n->body[k]->out[i]);
  }
}

Value **node_reads(Arena *a, const Node *n, uint32_t *count) {
  Reads r = {.a = a, .g = n->graph};
  read_node(&r, n);
  *count = r.n;
  return r.v;
}

static Frame open_frame(const Tape *t, Node *n) {
  Frame f = {.n = n};
  f.read = node_reads(t->a, n, &f.nread);
  return f;
}

static bool unseen(const Tape *t, const Value *v) { return v->def && !(t->mark[v->id] & (NAMED | SEEN)); }

static void see(Tape *t, const Node *n) {
  for (int i = 0; i < n->nout; i++)
    if (n->out[i])
      t->mark[n->out[i]->id] |= SEEN;
}

/* The nodes between xs and zs and y, each behind those whose results it reads. */
static Status find_nodes(Tape *t) {
  Frame *stack = NULL;
  uint32_t depth = 0, room = 0;
  for (Value *v = target(t); v && unseen(t, v);) {
    stack = grown(t->a, stack, depth, &room, sizeof *stack);
    stack[depth++] = open_frame(t, v->def);
    see(t, v->def);
    for (v = NULL; depth && !v;) {
      Frame *f = &stack[depth - 1];
      while (f->next < f->nread && !unseen(t, f->read[f->next]))
        f->next++;
      if (f->next < f->nread) {
        v = f->read[f->next++];
        continue;
      }
      t->node = grown(t->a, t->node, t->nnode, &t->cap, sizeof *t->node);
      t->node[t->nnode++] = f->n;
      depth--;
    }
  }
  return ctx_poll(t->c);
}

/* --- the nodes at the point where the gradient is taken --- */

static Value *now(const Tape *t, Value *v) { return v && t->now[v->id] ? t->now[v->id] : v; }

/* Two tensors may be fed one value, so that each gets a name of its own. */
static Status feed(Tape *t) {
  for (int i = 0; i < t->n; i++) {
    Value *v = named(t, i), *at = fed(t, i);
    if (t->mark[v->id] & NAMED)
      return fail(t->c, ST_INVALID, "tensor '%s' stands twice in xs and zs", v->name);
    t->mark[v->id] |= NAMED | (i < t->nx ? DEPENDS : 0);
    if (at == v)
      continue;
    t->now[v->id] = graph_emit(t->root->graph, t->root, OP_Identity, NULL, t->root->origin, 1, &at);
    TRY(node_infer(t->c, t->now[v->id]->def));
  }
  return ST_OK;
}

static Status copy_node(Tape *t, Node *n, Node **copy) {
  Value **kept = arena_array(t->a, Value *, n->nout);
  for (int i = 0; i < n->nout; i++)
    kept[i] = n->out[i] ? t->now[n->out[i]->id] : NULL;
  *copy = copy_with_bodies(t->root->graph, t->root, n, t->now);
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && t->mark[n->out[i]->id] & NAMED)
      t->now[n->out[i]->id] = kept[i];
  return node_infer(t->c, *copy);
}

/* Containers of numbers are followed to the operator that takes some out, which has no derivative. */
static bool has_gradient(const Value *v) { return v->type.kind != VK_TENSOR || dtype_kind(v->type.dtype) == DK_FLOAT; }

/* Keeps the nodes that depend on xs, and copies those that depend on what is fed in place of a tensor. */
static Status move_to_point(Tape *t) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < t->nnode; i++) {
    Frame f = open_frame(t, t->node[i]);
    bool depends = false, moved = false;
    for (uint32_t k = 0; k < f.nread; k++) {
      depends |= t->mark[f.read[k]->id] & DEPENDS;
      moved |= now(t, f.read[k]) != f.read[k];
    }
    if (moved)
      TRY(copy_node(t, f.n, &t->node[i]));
    for (int k = 0; depends && k < f.n->nout; k++)
      if (f.n->out[k] && has_gradient(f.n->out[k]))
        t->mark[f.n->out[k]->id] |= DEPENDS;
    if (depends)
      t->node[kept++] = t->node[i];
  }
  t->nnode = kept;
  return ST_OK;
}

/* --- backwards --- */

typedef struct Flow {
  Tape *t;
  uint8_t *active; /* by value id: gradients are wanted of it */
  bool *stops;     /* by value id: it is one of xs or zs */
  Value **grad;    /* by value id */
} Flow;

static void start_flow(Flow *f, Tape *t) {
  uint32_t n = *t->root->graph->next_id;
  *f = (Flow){t, arena_array(t->a, uint8_t, n), arena_array(t->a, bool, n), arena_array(t->a, Value *, n)};
  for (int i = 0; i < t->n; i++) {
    f->active[now(t, named(t, i))->id] = i < t->nx;
    f->stops[now(t, named(t, i))->id] = true;
  }
  for (uint32_t i = 0; i < t->nnode; i++) {
    bool active = false;
    Frame r = open_frame(t, t->node[i]);
    for (uint32_t k = 0; k < r.nread; k++)
      active |= f->active[r.read[k]->id];
    for (int k = 0; active && k < t->node[i]->nout; k++) {
      const Value *v = t->node[i]->out[k];
      if (v && !f->stops[v->id] && has_gradient(v))
        f->active[v->id] = true;
    }
  }
}

static Back back_at(const Tape *t, Node *n) {
  Back b = {
      .m = {.c = t->c, .g = t->root->graph, .root = t->root, .nnode = 1, .node = {t->root}}, .n = n, .scratch = t->a};
  if (n != t->root)
    match_also(&b.m, n);
  return b;
}

/* What the bodies of n read from outside, of which gradients are wanted, each once. */
static void find_outer(const Flow *f, Back *b) {
  uint32_t count, i = 0;
  Value **read = node_reads(f->t->a, b->n, &count);
  for (int k = 0; k < b->n->nin; k++)
    i += b->n->in[k] != NULL;
  b->outer = read, b->douter = arena_array(f->t->a, Value *, count);
  for (; i < count; i++) {
    bool known = false;
    for (int k = 0; k < b->nouter; k++)
      known |= b->outer[k] == read[i];
    if (!known && f->active[read[i]->id] && dtype_kind(read[i]->type.dtype) == DK_FLOAT)
      b->outer[b->nouter++] = read[i];
  }
}

static void arrive(Flow *f, Back *b, Value *v, Value *dv) {
  Value **to = &f->grad[v->id];
  if (dv)
    *to = *to ? add(b, *to, dv) : dv;
}

static Status through_node(Flow *f, Node *n) {
  Arena *a = f->t->a;
  Back b = back_at(f->t, n);
  bool *wanted = arena_array(a, bool, n->nin), any = false;
  b.dy = arena_array(a, Value *, n->nout), b.dx = arena_array(a, Value *, n->nin), b.wanted = wanted;
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && !f->stops[n->out[i]->id])
      any |= (b.dy[i] = f->grad[n->out[i]->id]) != NULL;
  if (!any)
    return ST_OK;
  for (int i = 0; i < n->nin; i++)
    wanted[i] = n->in[i] && f->active[n->in[i]->id];
  if (n->body[0])
    find_outer(f, &b);
  BackFn rule = gradient_rule(n->op);
  if (rule)
    rule(&b);
  else
    no_rule(&b, n->op == OP_LSTM || n->op == OP_GRU || n->op == OP_RNN
                    ? "of steps that only a run tells, or with lengths, a clip or other activations has no derivative"
                    : "has no derivative here");
  for (int i = 0; i < n->nin; i++)
    if (wanted[i])
      arrive(f, &b, n->in[i], b.dx[i]);
  for (int i = 0; i < b.nouter; i++)
    arrive(f, &b, b.outer[i], b.douter[i]);
  return b.m.st ? err_origin(f->t->c, b.m.st, n->origin) : ST_OK;
}

static Status backwards(Tape *t) {
  Flow f;
  Node *root = t->root;
  start_flow(&f, t);
  Back b = back_at(t, root);
  Value *y = now(t, target(t));
  f.grad[y->id] = spread_like(&b, num(&b, 1, y), y);
  for (uint32_t i = t->nnode; i-- && !b.m.st;) {
    TRY(through_node(&f, t->node[i]));
    if (*root->graph->next_id > MAX_MADE * 2u)
      return fail(t->c, ST_MEMORY, "the gradients need more than %d nodes", MAX_MADE);
    TRY(ctx_poll(t->c));
  }
  for (int i = 0; i < root->nout && !b.m.st; i++) {
    Value *x = now(t, named(t, i)), *dx = f.grad[x->id];
    if (root->out[i])
      replace_value(root->out[i], dx ? dx : zeros_like(&b, x));
  }
  return b.m.st;
}

static Status expand_gradient(Ctx *c, Node *n) {
  const GradientAttr *a = ATTR(n, Gradient);
  uint32_t values = *n->graph->next_id;
  Tape t = {.c = c, .a = arena_create(c), .root = n, .nx = (int)a->xs.n, .n = (n->nin - 1) / 2};
  t.mark = arena_array(t.a, uint8_t, values), t.now = arena_array(t.a, Value *, values);
  Status st = feed(&t);
  st = st ? st : find_nodes(&t);
  st = st ? st : move_to_point(&t);
  st = st ? st : backwards(&t);
  arena_destroy(t.a);
  if (st)
    return c->err.node[0] ? st : err_origin(c, st, n->origin);
  node_remove(n);
  return ST_OK;
}

/* Recurrent layers in front of n. */
static Status unroll_layers(Ctx *c, const Node *n) {
  for (Node *k = n->graph->first, *next; k != n; k = next) {
    next = k->next;
    if (k->op == OP_LSTM || k->op == OP_GRU || k->op == OP_RNN)
      TRY(unroll_recurrent(c, k));
  }
  return ST_OK;
}

Status pass_gradient(Ctx *c, Graph *g) {
  for (Node *n = g->first, *next; n; n = next) {
    next = n->next;
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(pass_gradient(c, n->body[b]));
    if (n->op == OP_Gradient) {
      TRY(unroll_layers(c, n));
      TRY(expand_gradient(c, n));
    }
  }
  return ST_OK;
}

/* --- the vocabulary of the rules --- */

bool wants(const Back *b, int i) { return i < b->n->nin && b->wanted[i]; }

void no_rule(Back *b, const char *why) {
  if (!b->m.st)
    b->m.st = fail(b->m.c, ST_UNSUPPORTED, "Gradient: operator %s %s", op_info(b->n->op)->name, why);
}

Value *apply1(Back *b, OpId op, Value *x) { return emit(&b->m, op, NULL, 1, &x); }
Value *apply2(Back *b, OpId op, Value *x, Value *y) { return emit(&b->m, op, NULL, 2, (Value *[]){x, y}); }
Value *num(Back *b, double x, const Value *like) { return const_like(&b->m, x, like->type.dtype); }
Value *select_of(Back *b, Value *c, Value *x, Value *y) { return EMIT(&b->m, Where, NULL, c, x, y); }
Value *shape_of(Back *b, Value *x) { return apply1(b, OP_Shape, x); }
Value *zeros_like(Back *b, Value *x) { return apply2(b, OP_Expand, num(b, 0, x), shape_of(b, x)); }
Value *spread_like(Back *b, Value *x, Value *like) { return apply2(b, OP_Expand, x, shape_of(b, like)); }

Value *as(Back *b, Value *x, DType t) {
  CastAttr to = {.round_mode = str_of("up"), .saturate = 1, .to = t};
  return x->type.dtype == t ? x : EMIT(&b->m, Cast, &to, x);
}

Value *shaped_like(Back *b, Value *x, Value *like) {
  ReshapeAttr zero = {.allowzero = 1};
  return same_shape(x, like) ? x : EMIT(&b->m, Reshape, &zero, x, shape_of(b, like));
}

Value *sum_over(Back *b, Value *x, Value *axes, bool keep) {
  ReduceAttr a = {.keepdims = keep};
  return axes ? EMIT(&b->m, ReduceSum, &a, x, axes) : EMIT(&b->m, ReduceSum, &a, x);
}

static Value *flat(Back *b, Value *x) { return EMIT(&b->m, Reshape, NULL, x, const_ints(&b->m, (int64_t[]){-1}, 1)); }

Value *places(Back *b, Value *x) {
  const Value wide = {.type.dtype = DT_i64};
  Value *all = EMIT(&b->m, Range, NULL, num(b, 0, &wide), apply1(b, OP_Size, x), num(b, 1, &wide));
  return shaped_like(b, all, x);
}

Value *scatter_back(Back *b, Value *x, Value *place, Value *dy) {
  ScatterElementsAttr sum = {.reduction = str_of("add")};
  Value *zero = flat(b, zeros_like(b, x));
  place = flat(b, place);
  return shaped_like(b, EMIT(&b->m, ScatterElements, &sum, zero, place, flat(b, dy)), x);
}

Value *also_output(Back *b, int i) {
  Node *n = b->n;
  if (i < n->nout && n->out[i])
    return n->out[i];
  Node *k = graph_add_node(b->m.g, b->m.root, n->op, n->nin, i + 1, n->attr, n->origin);
  node_set_inputs(k, n->nin, n->in);
  Status st = node_infer(b->m.c, k);
  b->m.st = b->m.st ? b->m.st : st;
  return k->out[i];
}

/* Axes of dy that x lacks or has as 1 are summed. An extent that only a run tells may be 1 or not: then each element of dy
 * is added where broadcasting had taken it from. */
static Value *unbroadcast(Back *b, Value *dy, Value *x) {
  int64_t axis[MAX_RANK];
  int n = 0, more = dy->type.rank - x->type.rank;
  if (same_shape(dy, x))
    return dy;
  if (!type_known(dy) || !type_known(x) || more < 0)
    return no_rule(b, "meets a tensor of unknown rank"), dy;
  for (int i = 0; i < dy->type.rank; i++) {
    Dim have = i < more ? NULL : x->type.dim[i - more], from = dy->type.dim[i];
    int64_t k;
    if (have == from)
      continue;
    if (have && !(dim_is_const(have, &k) && k == 1))
      return scatter_back(b, x, apply2(b, OP_Expand, places(b, x), shape_of(b, dy)), dy);
    axis[n++] = i;
  }
  return shaped_like(b, sum_over(b, dy, const_ints(&b->m, axis, n), true), x);
}

void give(Back *b, int i, Value *dx) {
  if (!wants(b, i) || b->m.st)
    return;
  dx = unbroadcast(b, dx, b->n->in[i]);
  b->dx[i] = b->dx[i] ? add(b, b->dx[i], dx) : dx;
}
