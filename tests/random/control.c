/* control.c - random If, Loop and Scan nodes, whose bodies are made of random nodes. The values of a body go out of sight with it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/recipes.h"

/* A body being made, and what was in sight around it. */
typedef struct Body {
  Graph *graph, *up;
  int before;
} Body;

static Body body_open(Gen *g, Node *n, int which, const char *name) {
  Body b = {.graph = graph_create_body(n, which, name), .up = g->g, .before = g->npool};
  g->g = b.graph, g->depth++;
  return b;
}

static void body_close(Gen *g, const Body *b) { g->g = b->up, g->depth--, g->npool = b->before; }

static Value *body_input(Gen *g, const Body *b, const Node *n, const char *name, Type t, const Tensor *first) {
  Value *v = graph_add_input(b->graph, arena_printf(g->top->arena, "%s%u", name, n->id), t);
  g->run.value[v->id] = (Tensor *)(uintptr_t)first;
  g->pool[g->npool++] = v;
  return v;
}

static Value *body_chain(Gen *g, int n) {
  int before = g->npool;
  for (int made = 0, tries = 0; made < n && tries < 40; tries++)
    made += gen_node(g);
  return g->npool > before ? g->pool[g->npool - 1] : NULL;
}

/* Of any v a value of like's type, made in g->g: like + the sum of v. */
static Value *into(Gen *g, Value *v, Value *like) {
  Make cast = {.op = OP_Cast, .in = {v}, .nin = 1, .nout = 1};
  make_int(g, &cast, "to", like->type.dtype);
  if (!gen_add(g, &cast))
    return NULL;
  Make sum = {.op = OP_ReduceSum, .in = {g->pool[g->npool - 1]}, .nin = 1, .nout = 1};
  make_int(g, &sum, "keepdims", 0);
  if (!gen_add(g, &sum))
    return NULL;
  Make add = {.op = OP_Add, .in = {like, g->pool[g->npool - 1]}, .nin = 2, .nout = 1};
  return gen_add(g, &add) ? g->pool[g->npool - 1] : NULL;
}

static bool finish(Gen *g, Node *n, bool ok) {
  ok = ok && !node_infer(g->c, n) && !interp_node(&g->run, n);
  for (int i = 0; ok && i < n->nout; i++)
    ok = gen_tensor(g, n->out[i])->rank <= 6 && tensor_count(gen_tensor(g, n->out[i])) <= 20000;
  for (int i = 0; ok && i < n->nout; i++)
    g->pool[g->npool++] = n->out[i];
  if (!ok)
    node_remove(n);
  return ok;
}

static Node *control_node(Gen *g, Make *m, int nin, int nout) {
  m->done = true;
  return graph_add_node(g->g, NULL, m->op, nin, nout, m->attr,
                        origin_new(g->top, op_info(m->op)->name, op_info(m->op)->name, 0));
}

static bool too_much(Gen *g) { return g->depth > 1 || g->npool + 24 > MAX_POOL; }

static bool branch(Gen *g, Node *n, int which, Value *like) {
  Body b = body_open(g, n, which, which ? "else" : "then");
  Value *v = body_chain(g, 1 + (int)rng_below(&g->r, 3));
  v = v ? into(g, v, like) : NULL;
  if (v)
    graph_add_output(b.graph, v);
  body_close(g, &b);
  return v;
}

bool recipe_if(Gen *g, Make *m) {
  Value *c = gen_pick(g, DT_bool, 0, 0), *like = gen_pick(g, DT_f32, 0, 4);
  if (!c || !like || too_much(g))
    return false;
  Node *n = control_node(g, m, 1, 1);
  node_set_input(n, 0, c);
  return finish(g, n, branch(g, n, 0, like) && branch(g, n, 1, like));
}

/* A value carried on, and now and then one put aside from every trip. */
bool recipe_loop(Gen *g, Make *m) {
  Value *carried = gen_pick(g, DT_f32, 0, 3);
  int64_t trips = rng_below(&g->r, 4);
  bool aside = rng_chance(&g->r, 40);
  if (!carried || too_much(g))
    return false;
  Tensor *yes = tensor_vec_i64(g->top->arena, (int64_t[]){1}, 1);
  yes->dtype = DT_bool, yes->rank = 0;
  Node *n = control_node(g, m, 3, 1 + aside);
  node_set_input(n, 0, gen_ints(g, &trips, 1, 0)), node_set_input(n, 1, graph_add_const(g->top, NULL, yes));
  node_set_input(n, 2, carried);
  Body b = body_open(g, n, 0, "body");
  body_input(g, &b, n, "i", type_tensor(DT_i64, 0, NULL), gen_tensor(g, n->in[0]));
  Value *cond = body_input(g, &b, n, "c", type_tensor(DT_bool, 0, NULL), yes);
  Value *x = body_input(g, &b, n, "t", carried->type, gen_tensor(g, carried));
  Value *v = body_chain(g, 1 + (int)rng_below(&g->r, 3)), *sum = v ? into(g, v, x) : NULL;
  graph_add_output(b.graph, cond);
  if (sum)
    graph_add_output(b.graph, sum);
  if (aside && sum)
    graph_add_output(b.graph, v->def && v->def->graph == b.graph && rng_chance(&g->r, 50) ? v : sum);
  body_close(g, &b);
  return finish(g, n, sum);
}

/* A state without the scanned axis, the slices of one input, and their results along an axis. */
bool recipe_scan(Gen *g, Make *m) {
  Value *over = gen_pick(g, DT_f32, 1, 3);
  if (!over || too_much(g) || !extent(g, over, 0))
    return false;
  const Tensor *t = gen_tensor(g, over);
  int rank = t->rank, axis = (int)rng_below(&g->r, rank), left = 0;
  int64_t dim[3], in_axis = axis - (rng_chance(&g->r, 30) ? rank : 0), out_axis = rng_below(&g->r, rank);
  int64_t backward = rng_chance(&g->r, 30), turned = rng_chance(&g->r, 30);
  Dim type[3];
  Tensor *part;
  for (int k = 0; k < rank; k++)
    if (k != axis)
      dim[left] = t->dim[k], type[left++] = over->type.dim[k];
  Value *state = gen_pick(g, DT_f32, 0, 3);
  if (!state || !t->dim[axis] || tensor_new(g->c, g->run.a, DT_f32, left, dim, &part))
    return false;
  interp_slice(t, axis, 0, part, false);
  make_int(g, m, "num_scan_inputs", 1);
  make_ints(g, m, "scan_input_axes", &in_axis, 1), make_ints(g, m, "scan_output_axes", &out_axis, 1);
  make_ints(g, m, "scan_input_directions", &backward, 1), make_ints(g, m, "scan_output_directions", &turned, 1);
  Node *n = control_node(g, m, 2, 2);
  node_set_input(n, 0, state), node_set_input(n, 1, over);
  Body b = body_open(g, n, 0, "body");
  Value *s = body_input(g, &b, n, "s", state->type, gen_tensor(g, state));
  Value *x = body_input(g, &b, n, "p", type_tensor(DT_f32, left, type), part);
  Value *v = body_chain(g, 1 + (int)rng_below(&g->r, 3));
  Value *next = v ? into(g, v, s) : NULL, *out = v && next ? into(g, v, x) : NULL;
  if (out)
    graph_add_output(b.graph, next), graph_add_output(b.graph, out);
  body_close(g, &b);
  return finish(g, n, out);
}
