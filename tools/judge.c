/* judge.c - outputs of models that draw random numbers. Numbers of a node are functions of its seed and of an element's index
 * (ops/eval/random.h), so that a model with more outputs draws the same as the one judged. Three are made from it, as bytes:
 *   tapped    the model, which also gives what its random nodes take and give;
 *   seeds     a random node alone, many times, with other seeds;
 *   the rest  the model without its random nodes: what they gave are inputs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/judge.h"

#include "tools/files.h"
#include "tools/laws.h"
#include "tools/message.h"

#include <string.h>

enum { MAX_DRAWS = 16, ENOUGH = 100000 }; /* draws of a node; elements of all of them together */
enum { MODEL_GRAPH = 7, GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 }; /* fields of messages */
enum { NODE_OUTPUT = 2, NODE_NAME = 3, NODE_ATTRIBUTE = 5 };

typedef struct Judge {
  Tool *t;
  const char *path;
  SessionOptions o;
  const Session *s; /* of the run that is judged */
  Str model, graph; /* bytes */
  const RawModel *raw;
  const uint32_t *random; /* indices of the nodes that draw numbers */
  uint32_t nrandom;
  const char *hidden; /* the operator of a node that does so where it cannot be judged; NULL: none */
  bool in_function;   /* there is one in a function of the model */
  Map known;          /* names of values to tensors: inputs and what the tapped model gave */
  Map tainted;        /* names of values that hang on random numbers */
  StrBuf seen;
} Judge;

/* --- what the model is --- */

static const RawNode *random_node(const Judge *j, uint32_t i) { return &j->raw->graph->node[j->random[i]]; }

static uint32_t bodies(const RawAttr *a) { return a->type == RA_GRAPH ? 1 : a->type == RA_GRAPHS ? a->n : 0; }

static const char *hidden_in(const RawNode *n, uint32_t count);

static const char *hidden_in_bodies(const RawNode *n) {
  const char *op = NULL;
  for (uint32_t i = 0; i < n->nattr && !op; i++)
    for (uint32_t k = 0; k < bodies(&n->attr[i]) && !op; k++)
      op = hidden_in(n->attr[i].graph[k]->node, n->attr[i].graph[k]->nnode);
  return op;
}

static const char *hidden_in(const RawNode *n, uint32_t count) {
  const char *op = NULL;
  for (uint32_t i = 0; i < count && !op; i++)
    op = law_outputs(&n[i]) ? n[i].op : hidden_in_bodies(&n[i]);
  return op;
}

/* Does a node, or a body of it, take a value that hangs on random numbers? */
static bool takes_tainted(const Judge *j, const RawNode *n) {
  for (uint32_t i = 0; i < n->nin; i++)
    if (map_get(&j->tainted, n->in[i]))
      return true;
  for (uint32_t i = 0; i < n->nattr; i++)
    for (uint32_t k = 0; k < bodies(&n->attr[i]); k++)
      for (uint32_t m = 0; m < n->attr[i].graph[k]->nnode; m++)
        if (takes_tainted(j, &n->attr[i].graph[k]->node[m]))
          return true;
  return false;
}

/* Does a node call a function that may draw random numbers, itself or by a function that it calls? */
static bool calls_random(const Judge *j, const RawNode *n) {
  for (uint32_t i = 0; i < j->raw->nfunction && j->in_function; i++)
    if (!strcmp(n->op, j->raw->function[i].name) && !strcmp(n->domain, j->raw->function[i].domain))
      return true;
  return false;
}

static void taint(Judge *j) {
  static char mark;
  for (size_t before = SIZE_MAX; before != j->tainted.count;) { /* nodes may stand in any order */
    before = j->tainted.count;
    for (uint32_t i = 0; i < j->raw->graph->nnode; i++) {
      const RawNode *n = &j->raw->graph->node[i];
      if (law_outputs(n) || hidden_in_bodies(n) || calls_random(j, n) || takes_tainted(j, n))
        for (uint32_t k = 0; k < n->nout; k++)
          if (*n->out[k])
            map_put(&j->tainted, n->out[k], &mark);
    }
  }
}

static Status graph_of(Judge *j) {
  const uint8_t *p = (const uint8_t *)j->model.ptr, *end = p + j->model.len;
  while (p < end) {
    Field f;
    if (!field_next(&p, end, &f))
      return fail(j->t->c, ST_INVALID, "damaged model");
    if (f.number == MODEL_GRAPH && f.type == WIRE_BYTES)
      j->graph = (Str){(const char *)f.ptr, (size_t)f.value};
  }
  return ST_OK;
}

static Status look(Judge *j) {
  Tool *t = j->t;
  RawModel *m;
  TRY(file_read(t->c, t->arena, j->path, &j->model));
  TRY(decode_model(t->c, t->arena, (const uint8_t *)j->model.ptr, j->model.len, NULL, &m));
  TRY(graph_of(j));
  j->raw = m;
  uint32_t *random = arena_array(t->arena, uint32_t, m->graph->nnode);
  for (uint32_t i = 0; i < m->graph->nnode; i++)
    if (law_outputs(&m->graph->node[i]))
      random[j->nrandom++] = i;
    else if (!j->hidden)
      j->hidden = hidden_in_bodies(&m->graph->node[i]);
  for (uint32_t i = 0; i < m->nfunction && !j->hidden; i++)
    if ((j->hidden = hidden_in(m->function[i].node, m->function[i].nnode)) != NULL)
      j->in_function = true;
  j->random = random;
  return ST_OK;
}

/* --- models made from it --- */

static void put_message(StrBuf *b, unsigned number, const StrBuf *m) { field_put_bytes(b, number, m->text, m->len); }

static StrBuf message(const Judge *j) {
  StrBuf b;
  buf_init(&b, j->t->arena);
  return b;
}

/* The model with another graph. */
static Str with_graph(const Judge *j, const StrBuf *graph) {
  const uint8_t *p = (const uint8_t *)j->model.ptr, *end = p + j->model.len;
  StrBuf b = message(j);
  for (Field f; p < end && field_next(&p, end, &f);)
    if (f.number != MODEL_GRAPH)
      buf_put(&b, f.whole.ptr, f.whole.len);
  put_message(&b, MODEL_GRAPH, graph);
  return (Str){b.text, b.len};
}

static void put_output(const Judge *j, StrBuf *graph, const char *name) {
  StrBuf info = message(j);
  field_put_text(&info, 1, name);
  put_message(graph, GRAPH_OUTPUT, &info);
}

/* ValueInfoProto { name = 1, type = 2 { tensor_type = 1 { elem_type = 1, shape = 2 { dim = 1 { dim_value = 1 } } } } } */
static void put_input(const Judge *j, StrBuf *graph, const char *name, const Tensor *x) {
  StrBuf info = message(j), type = message(j), tensor = message(j), shape = message(j);
  for (int i = 0; i < x->rank; i++) {
    StrBuf dim = message(j);
    field_put_int(&dim, 1, (uint64_t)x->dim[i]);
    put_message(&shape, 1, &dim);
  }
  field_put_int(&tensor, 1, x->dtype);
  put_message(&tensor, 2, &shape);
  put_message(&type, 1, &tensor);
  field_put_text(&info, 1, name);
  put_message(&info, 2, &type);
  put_message(graph, GRAPH_INPUT, &info);
}

static bool is_output(const RawGraph *g, const char *name) {
  for (uint32_t i = 0; i < g->nout; i++)
    if (!strcmp(g->out[i].name, name))
      return true;
  return false;
}

static void tap(const Judge *j, StrBuf *graph, Map *done, const char *name) {
  static char mark;
  if (!*name || is_output(j->raw->graph, name) || map_get(done, name))
    return;
  map_put(done, name, &mark);
  put_output(j, graph, name);
}

static Str tapped_model(const Judge *j) {
  StrBuf graph = message(j);
  Map done;
  map_init(&done, j->t->arena);
  buf_put(&graph, j->graph.ptr, j->graph.len);
  for (uint32_t i = 0; i < j->nrandom; i++) {
    const RawNode *n = random_node(j, i);
    for (uint32_t k = 0; k < n->nin; k++)
      tap(j, &graph, &done, n->in[k]);
    for (uint32_t k = 0; k < n->nout; k++)
      tap(j, &graph, &done, n->out[k]);
  }
  return with_graph(j, &graph);
}

static Str rest_model(const Judge *j) {
  const uint8_t *p = (const uint8_t *)j->graph.ptr, *end = p + j->graph.len;
  StrBuf graph = message(j);
  uint32_t node = 0, next = 0;
  for (Field f; p < end && field_next(&p, end, &f);) {
    bool drop = f.number == GRAPH_NODE && next < j->nrandom && j->random[next] == node;
    node += f.number == GRAPH_NODE, next += drop;
    if (!drop)
      buf_put(&graph, f.whole.ptr, f.whole.len);
  }
  for (uint32_t i = 0; i < j->nrandom; i++)
    for (uint32_t k = 0; k < random_node(j, i)->nout; k++) {
      const char *name = random_node(j, i)->out[k];
      if (*name)
        put_input(j, &graph, name, map_get(&j->known, name));
    }
  return with_graph(j, &graph);
}

/* The bytes of a node of the graph. */
static Str node_bytes(const Judge *j, uint32_t index) {
  const uint8_t *p = (const uint8_t *)j->graph.ptr, *end = p + j->graph.len;
  Str out = {0};
  for (Field f; p < end && field_next(&p, end, &f);)
    if (f.number == GRAPH_NODE && !index--)
      out = (Str){(const char *)f.ptr, (size_t)f.value};
  return out;
}

static const char *draw_name(const Judge *j, int draw, int output) {
  return arena_printf(j->t->arena, "draw_%d_%d", draw, output);
}

/* AttributeProto { name = 1, f = 2, i = 3, type = 20 (FLOAT = 1, INT = 2) } */
static void put_seed(const Judge *j, StrBuf *node, const RawNode *n, int seed) {
  StrBuf a = message(j);
  bool whole = !strcmp(n->op, "Dropout");
  field_put_text(&a, 1, "seed");
  if (whole)
    field_put_int(&a, 3, (uint64_t)seed);
  else
    field_put_float(&a, 2, (float)seed);
  field_put_int(&a, 20, whole ? 2 : 1);
  put_message(node, NODE_ATTRIBUTE, &a);
}

static bool is_seed(const Field *f) {
  const uint8_t *p = f->ptr, *end = p + f->value;
  for (Field a; p < end && field_next(&p, end, &a);)
    if (a.number == 1)
      return str_is((Str){(const char *)a.ptr, (size_t)a.value}, "seed");
  return false;
}

static Str seeds_model(const Judge *j, uint32_t i, int ndraw) {
  const RawNode *n = random_node(j, i);
  Str bytes = node_bytes(j, j->random[i]);
  StrBuf graph = message(j);
  field_put_text(&graph, GRAPH_NAME, "seeds");
  for (int d = 1; d < ndraw; d++) {
    const uint8_t *p = (const uint8_t *)bytes.ptr, *end = p + bytes.len;
    StrBuf node = message(j);
    for (Field f; p < end && field_next(&p, end, &f);)
      if (f.number != NODE_OUTPUT && f.number != NODE_NAME && !(f.number == NODE_ATTRIBUTE && is_seed(&f)))
        buf_put(&node, f.whole.ptr, f.whole.len);
    for (int k = 0; k < law_outputs(n); k++) {
      field_put_text(&node, NODE_OUTPUT, draw_name(j, d, k));
      put_output(j, &graph, draw_name(j, d, k));
    }
    put_seed(j, &node, n, d);
    put_message(&graph, GRAPH_NODE, &node);
  }
  for (uint32_t k = 0; k < n->nin; k++) {
    bool again = !*n->in[k];
    for (uint32_t m = 0; m < k; m++)
      again = again || !strcmp(n->in[m], n->in[k]);
    if (!again)
      put_input(j, &graph, n->in[k], map_get(&j->known, n->in[k]));
  }
  return with_graph(j, &graph);
}

/* --- runs of them --- */

static void know(Judge *j, const Port *port, size_t n, const Tensor *const *value) {
  for (size_t i = 0; i < n; i++)
    if (value[i])
      map_put(&j->known, port[i].name, (void *)value[i]);
}

/* Opens a model and runs it on the values that are known for its inputs. *out lives as long as *s. */
static Status run_model(Judge *j, Str bytes, bool reference, Session **s, Tensor ***out) {
  SessionOptions o = j->o;
  o.bytes = bytes;
  if (reference)
    o.device = "reference", o.strict = false, o.allow_reference = true;
  TRY(session_open(j->t, j->path, &o, s));
  const Tensor **in = arena_array(j->t->arena, const Tensor *, (*s)->nin);
  for (size_t i = 0; i < (*s)->nin; i++)
    in[i] = map_get(&j->known, (*s)->in[i].name);
  return session_run(j->t, *s, in, 0, out);
}

static const char *broken(const Judge *j, const RawNode *n, const char *why) {
  return arena_printf(j->t->arena, "node '%s' (%s): %s", n->name, n->op, why);
}

/* The numbers of a random node, by its law. */
static Status try_law(Judge *j, uint32_t i, const char **bad) {
  const RawNode *n = random_node(j, i);
  Arena *a = j->t->arena;
  const Tensor **in = arena_array(a, const Tensor *, n->nin > 3 ? n->nin : 3);
  Draw draw[MAX_DRAWS] = {{{0}}};
  int64_t elements = 1;
  for (uint32_t k = 0; k < n->nin; k++)
    in[k] = map_get(&j->known, n->in[k]);
  for (uint32_t k = 0; k < n->nout && k < LAW_MAX_OUTPUTS; k++)
    if ((draw[0].out[k] = map_get(&j->known, n->out[k])) != NULL)
      elements = tensor_count(draw[0].out[k]) > 1 ? tensor_count(draw[0].out[k]) : 1;
  int ndraw = elements * MAX_DRAWS <= ENOUGH ? MAX_DRAWS : elements >= ENOUGH / 2 ? 2 : (int)(ENOUGH / elements);
  Session *s;
  Tensor **out;
  TRY(run_model(j, seeds_model(j, i, ndraw), false, &s, &out));
  for (size_t k = 0; k < s->nout; k++) {
    size_t per = (size_t)law_outputs(n);
    draw[1 + k / per].out[k % per] = out[k];
  }
  const char *seen = "", *why = law_broken(a, n, in, draw, ndraw, &seen);
  if (why)
    *bad = broken(j, n, why);
  buf_printf(&j->seen, "%s%s: %s", j->seen.len ? "; " : "", n->op, seen);
  session_close(s);
  return ST_OK;
}

/* This also tells that the run which is judged drew what the tapped model did. */
static Status compare_rest(Judge *j, const Tolerance *tol, const Tensor *const *got, const char **bad) {
  Session *s;
  Tensor **out;
  TRY(run_model(j, rest_model(j), true, &s, &out));
  for (size_t i = 0; i < j->s->nout && !*bad; i++) {
    Diff d;
    compare_values(j->t->arena, got[i], out[i], tol, &d);
    if (!d.ok)
      *bad =
          arena_printf(j->t->arena, "output '%s', from the numbers that were drawn: %s", j->s->out[i].name, d.reason);
  }
  session_close(s);
  return ST_OK;
}

static const char *compare_wanted(Judge *j, const Tolerance *tol, const Tensor *const *got, const Tensor *const *want,
                                  uint32_t nwant) {
  for (uint32_t i = 0; i < nwant; i++) {
    Diff d;
    const char *name = j->s->out[i].name;
    if (map_get(&j->tainted, name))
      compare_types(j->t->arena, got[i], want[i], &d);
    else
      compare_values(j->t->arena, got[i], want[i], tol, &d);
    if (!d.ok)
      return arena_printf(j->t->arena, "output '%s': %s", name, d.reason);
  }
  return NULL;
}

Status judge_run(Tool *t, const char *path, const SessionOptions *o, const Tolerance *tol, const Session *s,
                 const Tensor *const *in, const Tensor *const *got, const Tensor *const *want, uint32_t nwant,
                 Judged *out) {
  Judge j = {.t = t, .path = path, .o = *o, .s = s};
  *out = (Judged){0};
  TRY(look(&j));
  if (!j.nrandom && !j.hidden)
    return ST_OK;
  map_init(&j.known, t->arena);
  map_init(&j.tainted, t->arena);
  buf_init(&j.seen, t->arena);
  taint(&j);
  for (size_t i = 0; i < s->nout; i++)
    out->random = out->random || map_get(&j.tainted, s->out[i].name);
  if (!out->random)
    return ST_OK;
  if (j.hidden) {
    out->reason = arena_printf(
        t->arena, "%s draws random numbers in a function or body: what comes of them is not judged", j.hidden);
    return ST_OK;
  }
  if ((out->reason = compare_wanted(&j, tol, got, want, nwant)) != NULL)
    return ST_OK;
  Session *tapped;
  Tensor **value;
  know(&j, s->in, s->nin, in);
  TRY(run_model(&j, tapped_model(&j), false, &tapped, &value));
  know(&j, tapped->out, tapped->nout, (const Tensor *const *)value);
  for (uint32_t i = 0; i < j.nrandom && !out->reason; i++)
    TRY(try_law(&j, i, &out->reason));
  if (!out->reason)
    TRY(compare_rest(&j, tol, got, &out->reason));
  session_close(tapped);
  out->seen = j.seen.text;
  return ST_OK;
}
