/* inspect.c - `sard inspect`: what is in a model file. Reads the graph, never the data of a weight.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/compiled.h"
#include "frontend/model.h"
#include "ops/ops.h"
#include "tools/cost.h"
#include "tools/json.h"
#include "tools/tool.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PATH = 512 };

typedef struct OpCount {
  const char *name; /* with its domain, as the file has it */
  int64_t count;
  bool known;
} OpCount;

typedef struct Params { /* of one element type */
  int64_t tensors, elements, bytes;
} Params;

typedef struct Module {
  const char *path, *klass;
  int depth;
  int64_t nodes, parameters; /* of it and all below */
  struct Module *first, *last, *next;
} Module;

typedef struct Inspect {
  Tool *t;
  Model *m;
  bool typed; /* inference succeeded */
  const char *untyped_reason;
  OpCount *op;
  size_t nop, cap_op;
  Map ops;    /* name -> index + 1 */
  bool *seen; /* constants counted, by value id */
  Params param[DT_count], all;
  Module root;
  Map modules; /* path -> Module */
  int64_t nodes, with_module;
  Cost cost;
  bool has_cost;
} Inspect;

/* --- gathering --- */

static void count_op(Inspect *x, const Node *n) {
  const char *name = n->origin && n->origin->op && *n->origin->op ? n->origin->op : op_info(n->op)->name;
  intptr_t i = (intptr_t)map_get(&x->ops, name);
  if (!i) {
    if (x->nop == x->cap_op) {
      size_t cap = x->cap_op ? x->cap_op * 2 : 64;
      OpCount *grown = arena_array(x->t->arena, OpCount, cap);
      if (x->nop)
        memcpy(grown, x->op, x->nop * sizeof *grown);
      x->op = grown, x->cap_op = cap;
    }
    x->op[x->nop] = (OpCount){.name = name, .known = n->op != OP_none};
    i = (intptr_t)++x->nop;
    map_put(&x->ops, name, (void *)i);
  }
  x->op[i - 1].count++;
}

/* The module of a path, made with all its parents on first sight. "encoder.layer.3" is inside "encoder.layer". */
static Module *module_at(Inspect *x, const char *path, size_t n) {
  if (!n)
    return &x->root;
  Module *m = map_get_n(&x->modules, path, n);
  if (m)
    return m;
  size_t dot = n;
  while (dot && path[dot - 1] != '.')
    dot--;
  Module *up = module_at(x, path, dot ? dot - 1 : 0);
  m = arena_new(x->t->arena, Module);
  m->path = arena_strndup(x->t->arena, path, n);
  m->depth = up->depth + 1;
  if (up->last)
    up->last->next = m;
  else
    up->first = m;
  up->last = m;
  map_put_n(&x->modules, m->path, n, m);
  return m;
}

static void add_to_modules(Inspect *x, const Node *n, int64_t parameters) {
  const char *path = n->origin && n->origin->module ? n->origin->module : "";
  size_t len = strnlen(path, MAX_PATH); /* a stranger's path may be long, and parents are made by recursion */
  Module *m = module_at(x, path, len);
  if (n->origin && n->origin->klass && !m->klass)
    m->klass = n->origin->klass;
  x->with_module += len > 0;
  for (;;) {
    m->nodes++, m->parameters += parameters;
    if (!len)
      break;
    while (len && path[len - 1] != '.')
      len--;
    len -= len > 0;
    m = module_at(x, path, len);
  }
}

/* Elements of a constant seen for the first time. */
static int64_t count_constant(Inspect *x, const Value *v) {
  if (!v || !v->konst || x->seen[v->id])
    return 0;
  const Tensor *k = v->konst;
  int64_t n = tensor_count(k);
  x->seen[v->id] = true;
  Params *p[] = {&x->param[k->dtype < DT_count ? k->dtype : 0], &x->all};
  for (int i = 0; i < 2; i++) {
    p[i]->tensors++, p[i]->elements += n;
    p[i]->bytes += (int64_t)tensor_bytes(k);
  }
  return n;
}

static void walk(Inspect *x, const Graph *g) {
  for (const Node *n = g->first; n; n = n->next) {
    int64_t parameters = 0;
    for (int i = 0; i < n->nin; i++)
      parameters += count_constant(x, n->in[i]);
    x->nodes++;
    count_op(x, n);
    add_to_modules(x, n, parameters);
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        walk(x, n->body[b]);
  }
  for (uint32_t i = 0; i < g->nout; i++)
    count_constant(x, g->out[i]);
}

static int by_count(const void *a, const void *b) {
  const OpCount *x = a, *y = b;
  return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : strcmp(x->name, y->name);
}

/* The symbols of the graph's inputs. */
typedef struct SymbolNames {
  const char **name;
  size_t n;
} SymbolNames;

static const char *symbol_name(void *arg, size_t i) {
  const SymbolNames *s = arg;
  return i < s->n ? s->name[i] : NULL;
}

static void add_symbols(Arena *a, SymbolNames *s, Dim d) {
  if (d && d->kind == DIM_SYM) {
    for (size_t i = 0; i < s->n; i++)
      if (!strcmp(s->name[i], d->name))
        return;
    const char **grown = arena_array(a, const char *, s->n + 1);
    if (s->n)
      memcpy(grown, s->name, s->n * sizeof *grown);
    grown[s->n++] = d->name;
    s->name = grown;
  } else if (d)
    for (int i = 0; i < d->n; i++)
      add_symbols(a, s, d->arg[i]);
}

static Status count_cost(Inspect *x) {
  const OptValue *bind = &x->t->o->v[OPT_bind];
  Bindings s = {.c = x->t->c, .a = x->t->arena};
  SymbolNames names = {0};
  const Graph *g = x->m->graph;
  bool fixed = true;
  int64_t v;
  TRY(bindings_parse(&s, bind->list, bind->n));
  for (uint32_t i = 0; i < g->nin; i++)
    for (int k = 0; k < g->in[i]->type.rank; k++)
      add_symbols(x->t->arena, &names, g->in[i]->type.dim[k]);
  TRY(bindings_check(&s, symbol_name, &names));
  if (!x->typed)
    return ST_OK;
  for (uint32_t i = 0; i < g->nin; i++)
    for (int k = 0; k < g->in[i]->type.rank; k++)
      fixed &= bindings_eval(&s, g->in[i]->type.dim[k], &v);
  if (!bind->n && !fixed)
    return ST_OK;
  cost_of_graph(x->t->arena, g, &s, &x->cost);
  x->has_cost = true;
  return ST_OK;
}

static Status load(Inspect *x) {
  Ctx *c = x->t->c;
  const char *path = x->t->o->arg[0];
  LoadOptions lo = {.strict = opt_set(x->t->o, OPT_strict)};
  Status st = model_load_file(c, path, &lo, &x->m);
  x->typed = !st;
  /* What cannot be typed (an operator that is not known, shapes that contradict each other) can still be looked at. */
  if (st == ST_UNSUPPORTED || st == ST_INVALID) {
    Err first = c->err;
    lo.no_infer = true;
    if (model_load_file(c, path, &lo, &x->m)) {
      c->err = first;
      return st;
    }
    x->untyped_reason = arena_printf(x->t->arena, "%s%s%s", first.node, *first.node ? ": " : "", first.message);
    st = ST_OK;
  }
  return st;
}

/* --- text --- */

static void heading(const Inspect *x, StrBuf *b, const char *text) {
  char s1[16], s2[16];
  buf_printf(b, "\n%s%s%s\n", tool_style(x->t, "1", s1), text, tool_style(x->t, "0", s2));
}

static void text_field(StrBuf *b, const char *label, const char *value) {
  if (!value || !*value)
    return;
  buf_printf(b, "%-12s", label);
  buf_escaped(b, value);
  buf_putc(b, '\n');
}

static void text_head(const Inspect *x, StrBuf *b) {
  const Model *m = x->m;
  text_field(b, "model", m->path ? m->path : x->t->o->arg[0]);
  const char *version = m->producer_version ? m->producer_version : "";
  text_field(b, "producer",
             arena_printf(x->t->arena, "%s%s%s", m->producer ? m->producer : "", *version ? " " : "", version));
  StrBuf v;
  buf_init(&v, x->t->arena);
  for (uint32_t i = 0; i < m->nopset; i++)
    buf_printf(&v, "%s%s %lld", i ? ", " : "", *m->opset[i].domain ? m->opset[i].domain : "ai.onnx",
               (long long)m->opset[i].version);
  text_field(b, "opset", v.text);
  buf_printf(b, "%-12s%lld\n", "IR version", (long long)m->ir_version);
  text_field(b, "domain", m->domain);
  const char *size = bytes_text(x->t->arena, (int64_t)m->nbytes);
  for (uint32_t i = 1; i < m->nfile; i++)
    size = arena_printf(x->t->arena, "%s + %s %s", size, bytes_text(x->t->arena, (int64_t)m->file[i]->size),
                        strrchr(m->file[i]->path, '/') ? strrchr(m->file[i]->path, '/') + 1 : m->file[i]->path);
  text_field(b, "size", size);
  buf_printf(b, "%-12s%s in %lld tensor%s, %s\n", "parameters", count_text(x->t->arena, (double)x->all.elements),
             (long long)x->all.tensors, x->all.tensors == 1 ? "" : "s", bytes_text(x->t->arena, x->all.bytes));
  buf_printf(b, "%-12s%lld, of %zu operator%s (constants are parameters)\n", "nodes", (long long)x->nodes, x->nop,
             x->nop == 1 ? "" : "s");
}

static void text_values(const Inspect *x, StrBuf *b, const char *title, Value *const *v, uint32_t n) {
  const char **name = arena_array(x->t->arena, const char *, n);
  int width = 0;
  heading(x, b, title);
  for (uint32_t i = 0; i < n; i++) {
    StrBuf shown;
    buf_init(&shown, x->t->arena);
    buf_escaped(&shown, v[i]->name);
    name[i] = shown.text;
    int w = text_width(name[i], strlen(name[i]));
    width = w > width && w <= 40 ? w : width;
  }
  for (uint32_t i = 0; i < n; i++) {
    buf_puts(b, "  ");
    buf_pad(b, name[i], width);
    buf_puts(b, "  ");
    buf_escaped(b, type_text(x->t->c, &v[i]->type));
    buf_puts(b, v[i]->konst && v[i]->is_input ? "  (has a default)\n" : "\n");
  }
}

static void text_operators(const Inspect *x, StrBuf *b) {
  int col = 0;
  heading(x, b, "operators");
  for (size_t i = 0; i < x->nop; i++) {
    StrBuf one;
    buf_init(&one, x->t->arena);
    buf_escaped(&one, x->op[i].name);
    buf_printf(&one, " %lld%s", (long long)x->op[i].count, x->op[i].known ? "" : " (not known to Sard)");
    int w = text_width(one.text, one.len);
    if (col && col + w + 3 > 100)
      buf_putc(b, '\n'), col = 0;
    buf_puts(b, col ? "   " : "  ");
    buf_puts(b, one.text);
    col += w + 3;
  }
  buf_putc(b, '\n');
}

static void text_parameters(const Inspect *x, StrBuf *b) {
  if (!x->all.tensors)
    return;
  heading(x, b, "parameters");
  for (int i = 0; i < DT_count; i++)
    if (x->param[i].tensors)
      buf_printf(b, "  %-12s%8lld tensors  %10s elements  %10s\n", dtype_name((DType)i), (long long)x->param[i].tensors,
                 count_text(x->t->arena, (double)x->param[i].elements), bytes_text(x->t->arena, x->param[i].bytes));
}

static const char *last_part(const char *path) {
  const char *dot = strrchr(path, '.');
  return dot ? dot + 1 : path;
}

static void text_module(const Inspect *x, StrBuf *b, const Module *m, int64_t depth) {
  StrBuf one;
  buf_init(&one, x->t->arena);
  for (int i = 0; i < m->depth; i++)
    buf_puts(&one, "  ");
  buf_escaped(&one, last_part(m->path));
  if (m->klass) {
    buf_puts(&one, "  ");
    buf_escaped(&one, last_part(m->klass));
  }
  if (m->first && m->depth >= depth)
    buf_puts(&one, "  ...");
  buf_pad(b, one.text, 58);
  buf_printf(b, "%6lld nodes  %8s\n", (long long)m->nodes,
             m->parameters ? count_text(x->t->arena, (double)m->parameters) : "");
  if (m->depth < depth)
    for (const Module *k = m->first; k; k = k->next)
      text_module(x, b, k, depth);
}

static void text_modules(const Inspect *x, StrBuf *b) {
  int64_t depth = opt_int(x->t->o, OPT_depth, 3);
  if (!x->with_module || !depth)
    return;
  heading(x, b, "modules");
  for (const Module *k = x->root.first; k; k = k->next)
    text_module(x, b, k, depth);
  if (x->with_module < x->nodes)
    buf_printf(b, "  %lld nodes belong to no module\n", (long long)(x->nodes - x->with_module));
}

static void text_cost(const Inspect *x, StrBuf *b) {
  const Cost *c = &x->cost;
  Arena *a = x->t->arena;
  if (!x->has_cost)
    return;
  heading(x, b, "one run");
  buf_printf(b, "  %-14s%s multiply-add operations (a multiply-add counts 2), %s element-wise\n", "FLOPs",
             count_text(a, c->total), count_text(a, c->elementwise));
  for (OpId i = 1; i < op_count(); i++)
    if (c->flops[i] > 0)
      buf_printf(b, "    %-18s%10s  %5.1f %%\n", op_info(i)->name, count_text(a, c->flops[i]),
                 100 * c->flops[i] / c->total);
  buf_printf(b, "  %-14s%s\n", "weights", bytes_text(a, x->all.bytes));
  if (c->peak_known)
    buf_printf(b, "  %-14s%s of values alive at once, in file order\n", "activations", bytes_text(a, c->peak));
  else
    buf_printf(b, "  %-14snot known before the run\n", "activations");
  if (c->looped)
    buf_printf(b, "  %lld nodes in loop bodies are counted for one trip\n", (long long)c->looped);
  if (c->unknown)
    buf_printf(b, "  %lld nodes are not counted: their operator or shapes are not known\n", (long long)c->unknown);
}

static void text_all(const Inspect *x, StrBuf *b) {
  text_head(x, b);
  if (x->untyped_reason) {
    buf_puts(b, "note        types and shapes are as declared, this model cannot be typed here: ");
    buf_escaped(b, x->untyped_reason);
    buf_putc(b, '\n');
  }
  text_values(x, b, "inputs", x->m->graph->in, x->m->graph->nin);
  text_values(x, b, "outputs", x->m->graph->out, x->m->graph->nout);
  text_operators(x, b);
  text_parameters(x, b);
  text_modules(x, b);
  text_cost(x, b);
}

/* --- JSON --- */

static void json_values(const Inspect *x, StrBuf *b, Value *const *v, uint32_t n) {
  buf_putc(b, '[');
  for (uint32_t i = 0; i < n; i++) {
    buf_puts(b, i ? ", {\"name\": " : "{\"name\": ");
    json_str(b, v[i]->name);
    buf_puts(b, ", \"type\": ");
    json_str(b, type_text(x->t->c, &v[i]->type));
    buf_putc(b, '}');
  }
  buf_putc(b, ']');
}

static void json_module(StrBuf *b, const Module *m, bool *first) {
  buf_puts(b, *first ? "{\"path\": " : ", {\"path\": ");
  *first = false;
  json_str(b, m->path);
  buf_puts(b, ", \"class\": ");
  json_str(b, m->klass);
  buf_printf(b, ", \"depth\": %d, \"nodes\": %lld, \"parameters\": %lld}", m->depth, (long long)m->nodes,
             (long long)m->parameters);
  for (const Module *k = m->first; k; k = k->next)
    json_module(b, k, first);
}

static void json_cost(const Inspect *x, StrBuf *b) {
  const Cost *c = &x->cost;
  bool first = true;
  if (!x->has_cost) {
    buf_puts(b, "null");
    return;
  }
  buf_printf(b, "{\"flops\": %.0f, \"elementwise\": %.0f, \"by_op\": [", c->total, c->elementwise);
  int64_t nodes = 0;
  for (OpId i = 1; i < op_count(); i++)
    if (c->flops[i] > 0) {
      nodes = 0;
      for (size_t k = 0; k < x->nop; k++)
        nodes += !strcmp(x->op[k].name, op_info(i)->name) ? x->op[k].count : 0;
      buf_printf(b, "%s{\"op\": \"%s\", \"nodes\": %lld, \"flops\": %.0f}", first ? "" : ", ", op_info(i)->name,
                 (long long)nodes, c->flops[i]);
      first = false;
    }
  buf_printf(b,
             "], \"unknown_nodes\": %lld, \"weights_bytes\": %lld, \"activations_peak_bytes\": ", (long long)c->unknown,
             (long long)x->all.bytes);
  if (c->peak_known)
    buf_printf(b, "%lld}", (long long)c->peak);
  else
    buf_puts(b, "null}");
}

static void json_lists(const Inspect *x, StrBuf *b) {
  const Model *m = x->m;
  buf_puts(b, "[");
  for (uint32_t i = 0; i < m->nopset; i++) {
    buf_puts(b, i ? ", {\"domain\": " : "{\"domain\": ");
    json_str(b, m->opset[i].domain);
    buf_printf(b, ", \"version\": %lld}", (long long)m->opset[i].version);
  }
  buf_puts(b, "], \"inputs\": ");
  json_values(x, b, m->graph->in, m->graph->nin);
  buf_puts(b, ", \"outputs\": ");
  json_values(x, b, m->graph->out, m->graph->nout);
  buf_printf(b, ", \"nodes\": %lld, \"operators\": [", (long long)x->nodes);
  for (size_t i = 0; i < x->nop; i++) {
    buf_puts(b, i ? ", {\"op\": " : "{\"op\": ");
    json_str(b, x->op[i].name);
    buf_printf(b, ", \"count\": %lld, \"known\": %s}", (long long)x->op[i].count, x->op[i].known ? "true" : "false");
  }
  buf_puts(b, "], \"parameters\": [");
  for (int i = 0, first = 1; i < DT_count; i++)
    if (x->param[i].tensors) {
      buf_printf(b, "%s{\"dtype\": \"%s\", \"tensors\": %lld, \"elements\": %lld, \"bytes\": %lld}", first ? "" : ", ",
                 dtype_name((DType)i), (long long)x->param[i].tensors, (long long)x->param[i].elements,
                 (long long)x->param[i].bytes);
      first = 0;
    }
  buf_puts(b, "], \"files\": [{\"path\": ");
  json_str(b, m->path);
  buf_printf(b, ", \"bytes\": %zu}", m->nbytes);
  for (uint32_t i = 1; i < m->nfile; i++) {
    buf_puts(b, ", {\"path\": ");
    json_str(b, m->file[i]->path);
    buf_printf(b, ", \"bytes\": %zu}", m->file[i]->size);
  }
}

static void json_all(const Inspect *x, StrBuf *b) {
  const Model *m = x->m;
  bool first = true;
  const char *const text[][2] = {
      {"model", m->path}, {"producer", m->producer}, {"producer_version", m->producer_version}, {"domain", m->domain}};
  buf_putc(b, '{');
  for (size_t i = 0; i < countof(text); i++) {
    json_key(b, &first, text[i][0]);
    json_str(b, text[i][1]);
  }
  buf_printf(b,
             ", \"ir_version\": %lld, \"model_version\": %lld, \"typed\": %s, \"opsets\": ", (long long)m->ir_version,
             (long long)m->model_version, x->typed ? "true" : "false");
  json_lists(x, b);
  buf_puts(b, "], \"modules\": [");
  first = true;
  for (const Module *k = x->root.first; k; k = k->next)
    json_module(b, k, &first);
  buf_puts(b, "], \"metadata\": {");
  first = true;
  for (uint32_t i = 0; i < m->nmeta; i++) {
    json_key(b, &first, m->meta[i].key);
    json_str(b, m->meta[i].value);
  }
  buf_puts(b, "}, \"cost\": ");
  json_cost(x, b);
  buf_puts(b, "}\n");
}

Status cmd_inspect(Tool *t) {
  Inspect x = {.t = t};
  StrBuf b;
  bool compiled;
  TRY(inspect_compiled(t, t->o->arg[0], &compiled));
  if (compiled)
    return ST_OK;
  TRY(load(&x));
  map_init(&x.ops, t->arena);
  map_init(&x.modules, t->arena);
  x.seen = arena_array(t->arena, bool, (size_t)*x.m->graph->next_id + 1);
  walk(&x, x.m->graph);
  if (x.nop)
    qsort(x.op, x.nop, sizeof *x.op, by_count);
  TRY(count_cost(&x));
  buf_init(&b, t->arena);
  if (opt_set(t->o, OPT_json))
    json_all(&x, &b);
  else
    text_all(&x, &b);
  Status st = tool_print(t, &b);
  model_close(t->c, x.m);
  return st;
}
