/* gradient_control.c - derivatives of If, Loop and Scan, by a Gradient in a copy of each body.
 *
 * With dy given for what a body makes, the gradients of what it reads are those of y = sum of dy_i * out_i: the rules build bodies
 * that compute y, put a Gradient of it behind, and let the pass expand that, whatever the body holds.
 *
 *   If     an If of the same condition whose branches give the gradients of the values that are read from outside.
 *   Loop,  the node also gives, stacked, what each trip began with (its state, and of a Loop the trip's number); trips are taken
 *   Scan   in opposite order by a Scan over these, over what was scanned, and over the gradients of what was stacked. It carries
 *          the gradients of the state and the sums, over trips, of those of the values that are read from outside:
 *
 *              ds, sum  ->  Gradient of  sum of ds_i * state'_i + sum of dy_k * slice_k  by state, slices and outside  ->  ds', sum'
 *
 * So how many trips there were is known from the data, be it that a number of them was given or that a condition ended them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

#include <string.h>

static bool is_float(const Value *v) { return v->type.kind == VK_TENSOR && dtype_kind(v->type.dtype) == DK_FLOAT; }
static Value *mapped(Value *const *map, Value *v) { return v && map[v->id] ? map[v->id] : v; }

/* --- copies --- */

static Type as_declared(const Value *v) { return v->declared ? *v->declared : (Type){.kind = VK_TENSOR, .rank = -1}; }

static Value *input_like(Graph *g, const Value *v) {
  Value *k = graph_add_input(g, NULL, as_declared(v));
  k->declared = v->declared;
  return k;
}

static void copy_inside(Graph *to, const Graph *from, Value **map) {
  for (const Node *n = from->first; n; n = n->next)
    copy_with_bodies(to, NULL, n, map);
}

static void copy_body(Node *owner, int which, const Graph *from, Value **map) {
  Graph *g = graph_create_body(owner, which, from->name);
  for (uint32_t i = 0; i < from->nin; i++)
    map[from->in[i]->id] = input_like(g, from->in[i]);
  copy_inside(g, from, map);
  for (uint32_t i = 0; i < from->nout; i++)
    graph_add_output(g, mapped(map, from->out[i]));
}

Node *copy_with_bodies(Graph *to, Node *before, const Node *n, Value **map) {
  Node *k = graph_add_node(to, before, n->op, n->nin, n->nout, n->attr, n->origin);
  for (int i = 0; i < n->nin; i++)
    node_set_input(k, i, mapped(map, n->in[i]));
  for (int i = 0; i < n->nout; i++) {
    if (!n->out[i]) {
      k->out[i] = NULL;
      continue;
    }
    k->out[i]->declared = n->out[i]->declared, k->out[i]->type = as_declared(n->out[i]);
    map[n->out[i]->id] = k->out[i];
  }
  for (int i = 0; i < 2; i++)
    if (n->body[i])
      copy_body(k, i, n->body[i], map);
  return k;
}

static Value **new_map(const Back *b) { return arena_array(b->scratch, Value *, *b->m.g->next_id); }

/* --- a Gradient at the end of a body; types come when the body is complete --- */

static Value *put2(Graph *g, OpId op, const Origin *o, Value *x, Value *y) {
  return graph_emit(g, NULL, op, NULL, o, 2, (Value *[]){x, y});
}

static Value *put_zeros(Back *b, Graph *g, Value *like) {
  const Origin *o = b->n->origin;
  return put2(g, OP_Expand, o, num(b, 0, like), graph_emit(g, NULL, OP_Shape, NULL, o, 1, &like));
}

/* y + the sum of out * dy */
static Value *weighed(Graph *g, const Origin *o, Value *y, Value *out, Value *dy) {
  ReduceAttr all = {0};
  Value *p = put2(g, OP_Mul, o, out, dy), *s = graph_emit(g, NULL, OP_ReduceSum, &all, o, 1, &p);
  return y ? put2(g, OP_Add, o, y, s) : s;
}

typedef struct Names {
  Value **v;
  Str *name;
  int n;
} Names;

static Names names_of(Arena *a, Value *const *v, int n) {
  Names r = {arena_array(a, Value *, (size_t)n), arena_array(a, Str, (size_t)n), n};
  for (int i = 0; i < n; i++)
    r.v[i] = v[i], r.name[i] = str_of(v[i]->name);
  return r;
}

/* What the body's node reads that is made outside, but for xs: the Gradient looks no further. */
static Names held(const Back *b, const Node *owner, const Names *xs) {
  uint32_t n, kept = 0;
  Value **v = node_reads(b->scratch, owner, &n);
  bool *seen = arena_array(b->scratch, bool, *b->m.g->next_id);
  for (int i = 0; i < xs->n; i++)
    seen[xs->v[i]->id] = true;
  for (uint32_t i = 0; i < n; i++) {
    if (v[i]->def && !seen[v[i]->id])
      v[kept++] = v[i];
    seen[v[i]->id] = true;
  }
  return names_of(b->scratch, v, (int)kept);
}

/* The gradients of y, which a body of owner computes, by xs. */
static Node *put_gradient(Back *b, Node *owner, Graph *g, Value *y, Value *const *xs, int nx) {
  Names x = names_of(b->scratch, xs, nx), z = held(b, owner, &x);
  GradientAttr a = {.xs = {x.name, x.n}, .zs = {z.name, z.n}, .y = str_of(y->name)};
  Node *d = graph_add_node(g, NULL, OP_Gradient, 2 * (x.n + z.n) + 1, nx, &a, b->n->origin);
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < x.n + z.n; i++)
      node_set_input(d, k * (x.n + z.n) + i, i < x.n ? x.v[i] : z.v[i - x.n]);
  node_set_input(d, d->nin - 1, y);
  return d;
}

/* The node is complete: its types, then its bodies' gradients in terms of other operators. */
static void settle(Back *b, Node *k) {
  Status st = b->m.st ? b->m.st : node_infer(b->m.c, k);
  for (int i = 0; i < 2 && !st; i++)
    if (k->body[i])
      st = pass_gradient(b->m.c, k->body[i]);
  b->m.st = st;
}

/* --- If --- */

static void branch(Back *b, Node *k, int which, Value *const *dy) {
  const Graph *from = b->n->body[which];
  Value *y = NULL;
  if (from->impossible) { /* for these types, which never run */
    Graph *g = graph_create_body(k, which, from->name);
    for (int i = 0; i < b->nouter; i++)
      graph_add_output(g, put_zeros(b, g, b->outer[i]));
    return;
  }
  copy_body(k, which, from, new_map(b));
  Graph *g = k->body[which];
  for (int i = 0; i < b->n->nout; i++)
    if (dy[i])
      y = weighed(g, b->n->origin, y, g->out[i], dy[i]);
  graph_drop_outputs(g);
  Node *d = put_gradient(b, k, g, y, b->outer, b->nouter);
  for (int i = 0; i < b->nouter; i++)
    graph_add_output(g, d->out[i]);
}

void back_if(Back *b) {
  Node *n = b->n;
  Value **dy = arena_array(b->scratch, Value *, n->nout);
  if (!b->nouter)
    return;
  for (int i = 0; i < n->nout; i++) /* under a name of its own: it may be one of the values that are read */
    dy[i] = b->dy[i] && is_float(n->out[i]) ? apply1(b, OP_Identity, b->dy[i]) : NULL;
  Node *k = graph_add_node(b->m.g, b->m.root, OP_If, 1, b->nouter, NULL, n->origin);
  node_set_input(k, 0, n->in[0]);
  for (int i = 0; i < 2; i++)
    branch(b, k, i, dy);
  settle(b, k);
  for (int i = 0; i < b->nouter; i++)
    b->douter[i] = k->out[i];
}

/* --- Loop and Scan --- */

/* One input of the body, or the gradient of one stacked output. */
typedef struct Turn {
  Value *in, *all;    /* in the body; what it is a slice of */
  int64_t axis, back; /* of the slices, and the direction that takes the last trip first */
  int input;          /* of the node, whose gradient is wanted and stacked; -1 */
} Turn;

typedef struct Trips {
  Back *b;
  Graph *body;
  int first, skip, states,
      nout; /* the first state among the inputs, outputs before it; outputs before there were more */
  Turn *turn;
  int nturn;
} Trips;

static int64_t entry(Ints list, int64_t i) { return list.v && i < list.n ? list.v[i] : 0; }

static void one_more(Arena *a, Ints *list) {
  if (!list->v)
    return;
  int64_t *v = arena_array(a, int64_t, (size_t)list->n + 1);
  memcpy(v, list->v, (size_t)list->n * sizeof *v);
  list->v = v, list->n++;
}

/* What the trips began with, stacked in their order: an output of the node, perhaps one more. */
static Value *history(Trips *t, Value *in) {
  Node *n = t->b->n;
  for (int i = t->states; i < n->nout; i++) {
    const ScanAttr *a = n->op == OP_Scan ? n->attr : NULL;
    bool plain = !a || (!entry(a->scan_output_axes, i - t->states) && !entry(a->scan_output_directions, i - t->states));
    if (n->out[i] && plain && t->body->out[t->skip + i] == in)
      return n->out[i];
  }
  if (n->op == OP_Scan) {
    ScanAttr *a = n->attr;
    one_more(n->graph->arena, &a->scan_output_axes);
    one_more(n->graph->arena, &a->scan_output_directions);
  }
  graph_add_output(t->body, in);
  return node_add_output(n);
}

static bool is_read(const Value *v) {
  for (const Use *u = v->uses; u; u = u->next)
    if (u->node)
      return true;
  return false;
}

/* Every input of the body that a copy of it needs, then what comes back for the stacked outputs. */
static void find_turns(Trips *t) {
  Back *b = t->b;
  Node *n = b->n;
  const ScanAttr *a = n->op == OP_Scan ? n->attr : NULL;
  t->turn = arena_array(b->scratch, Turn, t->body->nin + (size_t)n->nout);
  for (int i = 0; i < (int)t->body->nin; i++) {
    Value *in = t->body->in[i];
    Turn s = {.in = in, .back = 1, .input = -1};
    int k = i - t->first - t->states;
    if (in->type.kind != VK_TENSOR || in->varies & VARIES_RANK) {
      no_rule(b, "carries what is no tensor of one rank");
      return;
    }
    if (a && k >= 0)
      s = (Turn){in, n->in[i], entry(a->scan_input_axes, k), !entry(a->scan_input_directions, k), wants(b, i) ? i : -1};
    else if (i >= t->first || is_read(in) || (!i && !t->states)) /* a Loop without a state counts its trips */
      s.all = history(t, in);
    if (s.all)
      t->turn[t->nturn++] = s;
  }
  for (int i = t->states; i < t->nout; i++)
    if (b->dy[i] && is_float(n->out[i]))
      t->turn[t->nturn++] = (Turn){.all = b->dy[i],
                                   .axis = a ? entry(a->scan_output_axes, i - t->states) : 0,
                                   .back = !(a && entry(a->scan_output_directions, i - t->states)),
                                   .input = -1};
  Status st = b->m.st ? b->m.st : node_infer(b->m.c, n);
  b->m.st = st;
}

/* The Scan's inputs: gradients of states, sums, turns; its body's, in the same order. */
typedef struct Reverse {
  Value **state, **in; /* of the forward body, those that have gradients; of the new one */
  int *at, nstate;     /* at: which state it is */
  Value **x;           /* what gradients are taken of: states, outside, slices */
  int nx;
} Reverse;

static Node *reverse_node(Trips *t, Reverse *r) {
  Back *b = t->b;
  Node *n = b->n;
  int64_t *lists = arena_array(b->scratch, int64_t, 4 * (size_t)t->nturn + 1), nslice = 0;
  int64_t *axis = lists, *back = lists + t->nturn, *out_axis = back + t->nturn, *out_back = out_axis + t->nturn;
  r->state = arena_array(b->scratch, Value *, (size_t)t->states),
  r->at = arena_array(b->scratch, int, (size_t)t->states);
  for (int i = 0; i < t->states; i++)
    if (is_float(t->body->in[t->first + i]))
      r->state[r->nstate] = t->body->in[t->first + i], r->at[r->nstate++] = i;
  for (int i = 0; i < t->nturn; i++) {
    axis[i] = t->turn[i].axis, back[i] = t->turn[i].back;
    if (t->turn[i].input >= 0)
      out_axis[nslice] = axis[i], out_back[nslice++] = back[i];
  }
  ScanAttr a = {t->nturn, {axis, t->nturn}, {back, t->nturn}, {out_axis, nslice}, {out_back, nslice}};
  int nin = r->nstate + b->nouter + t->nturn;
  r->nx = r->nstate + b->nouter + (int)nslice;
  Value **in = arena_array(b->scratch, Value *, (size_t)nin);
  int at = 0;
  for (int i = 0; i < r->nstate; i++) {
    int s = r->at[i];
    in[at++] = b->dy[s] ? b->dy[s] : zeros_like(b, n->in[t->first + s]);
  }
  for (int i = 0; i < b->nouter; i++)
    in[at++] = zeros_like(b, b->outer[i]);
  for (int i = 0; i < t->nturn; i++)
    in[at++] = t->turn[i].all;
  Node *k = graph_add_node(b->m.g, b->m.root, OP_Scan, nin, r->nx, &a, n->origin);
  node_set_inputs(k, nin, in);
  return k;
}

/* Its body: that of the node, and behind it the gradients. */
static void reverse_body(Trips *t, Reverse *r, Node *k) {
  Back *b = t->b;
  const Origin *o = b->n->origin;
  Graph *g = graph_create_body(k, 0, t->body->name);
  Value **map = new_map(b), *y = NULL, **slice;
  int first = r->nstate + b->nouter, stacked = t->states, nx = 0;
  for (int i = 0; i < first; i++)
    graph_add_input(g, NULL, (Type){.kind = VK_TENSOR, .rank = -1});
  for (int i = 0; i < t->nturn; i++)
    if (t->turn[i].in)
      map[t->turn[i].in->id] = input_like(g, t->turn[i].in);
    else
      graph_add_input(g, NULL, (Type){.kind = VK_TENSOR, .rank = -1});
  copy_inside(g, t->body, map);
  for (int i = 0; i < r->nstate; i++)
    y = weighed(g, o, y, mapped(map, t->body->out[t->skip + r->at[i]]), g->in[i]);
  slice = g->in + first;
  for (int i = 0; i < t->nturn; i++) {
    if (t->turn[i].in)
      continue;
    while (!(b->dy[stacked] && is_float(b->n->out[stacked])))
      stacked++;
    y = weighed(g, o, y, mapped(map, t->body->out[t->skip + stacked++]), slice[i]);
  }
  r->x = arena_array(b->scratch, Value *, (size_t)r->nx);
  for (int i = 0; i < r->nstate; i++)
    r->x[nx++] = mapped(map, r->state[i]);
  for (int i = 0; i < b->nouter; i++)
    r->x[nx++] = b->outer[i];
  for (int i = 0; i < t->nturn; i++)
    if (t->turn[i].input >= 0)
      r->x[nx++] = slice[i];
  Node *d = put_gradient(b, k, g, y, r->x, r->nx);
  for (int i = 0; i < r->nx; i++) {
    bool sum = i >= r->nstate && i < first;
    graph_add_output(g, sum ? put2(g, OP_Add, o, g->in[i], d->out[i]) : d->out[i]);
  }
}

void back_trips(Back *b) {
  Node *n = b->n;
  bool loop = n->op == OP_Loop;
  Trips t = {b, n->body[0], loop ? 2 : 0, loop, n->nin - 2, n->nout, NULL, 0};
  Reverse r = {0};
  if (!loop)
    t.states = n->nin - (int)ATTR(n, Scan)->num_scan_inputs;
  find_turns(&t);
  if (b->m.st)
    return;
  Node *k = reverse_node(&t, &r);
  if (!r.nx) { /* only numbers that have no derivative lead here */
    node_remove(k);
    return;
  }
  reverse_body(&t, &r, k);
  settle(b, k);
  for (int i = 0; i < r.nstate; i++)
    b->dx[t.first + r.at[i]] = k->out[i];
  for (int i = 0; i < b->nouter; i++)
    b->douter[i] = k->out[r.nstate + i];
  for (int i = 0, at = r.nstate + b->nouter; i < t.nturn; i++)
    if (t.turn[i].input >= 0)
      b->dx[t.turn[i].input] = k->out[at++];
}
