/* functions.c - model-local functions: found by name, and checked before any call is expanded.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/import.h"

#include <string.h>

typedef struct Fn {
  const RawFunction *raw;
  uint64_t cost; /* nodes of a call when everything in it is inlined; saturates */
  enum { NEW, OPEN, DONE } state;
} Fn;

struct Functions {
  Ctx *c;
  Arena *a;
  Map by_key; /* domain NUL name NUL overload -> Fn */
};

enum { SATURATED = 1u << 30 };

static const char *plain_domain(const char *d) { return strcmp(d, "ai.onnx") ? d : ""; }

/* The map's key, in buf if it fits (cap bytes), else in a. */
static char *make_key(Arena *a, char *buf, size_t cap, const char *domain, const char *name, const char *overload,
                      size_t *n) {
  domain = plain_domain(domain);
  size_t d = strlen(domain), k = strlen(name), o = strlen(overload);
  *n = d + k + o + 2;
  char *p = *n <= cap ? buf : arena_array(a, char, *n);
  memcpy(p, domain, d);
  p[d] = 0;
  memcpy(p + d + 1, name, k);
  p[d + 1 + k] = 0;
  memcpy(p + d + k + 2, overload, o);
  return p;
}

static Fn *find(const Functions *fs, const RawNode *n) {
  if (!fs->by_key.count)
    return NULL;
  size_t len;
  char buf[256], *key = make_key(fs->a, buf, sizeof buf, n->domain, n->op, n->overload, &len);
  return map_get_n(&fs->by_key, key, len);
}

const RawFunction *functions_find(const Functions *fs, const RawNode *n) {
  Fn *f = find(fs, n);
  return f ? f->raw : NULL;
}

static Status nodes_cost(Functions *fs, const RawNode *node, uint32_t n, int depth, uint64_t *cost);

static Status function_cost(Functions *fs, Fn *f, int depth) {
  if (f->state == DONE)
    return ST_OK;
  if (f->state == OPEN)
    return fail(fs->c, ST_INVALID, "function '%s.%s' calls itself", f->raw->domain, f->raw->name);
  f->state = OPEN;
  TRY(nodes_cost(fs, f->raw->node, f->raw->nnode, depth + 1, &f->cost));
  f->state = DONE;
  return ST_OK;
}

static Status nodes_cost(Functions *fs, const RawNode *node, uint32_t n, int depth, uint64_t *cost) {
  if (depth > MAX_NESTING)
    return fail(fs->c, ST_INVALID, "functions and bodies are nested more than %d deep", MAX_NESTING);
  for (uint32_t i = 0; i < n && *cost < SATURATED; i++) {
    Fn *f = find(fs, &node[i]);
    if (f)
      TRY(function_cost(fs, f, depth));
    *cost += f ? f->cost : 1;
    for (uint32_t k = 0; k < node[i].nattr; k++) {
      const RawAttr *t = &node[i].attr[k];
      for (uint32_t b = 0; b < raw_bodies(t); b++)
        TRY(nodes_cost(fs, t->graph[b]->node, t->graph[b]->nnode, depth + 1, cost));
    }
  }
  if (*cost > SATURATED)
    *cost = SATURATED;
  return ST_OK;
}

Status functions_open(Ctx *c, Arena *a, const RawModel *raw, uint32_t max_nodes, Functions **out) {
  Functions *fs = arena_new(a, Functions);
  fs->c = c, fs->a = a;
  map_init(&fs->by_key, a);
  Fn *fn = arena_array(a, Fn, raw->nfunction);
  for (uint32_t i = 0; i < raw->nfunction; i++) {
    const RawFunction *f = fn[i].raw = &raw->function[i];
    size_t n;
    char *key = make_key(a, NULL, 0, f->domain, f->name, f->overload, &n);
    if (map_put_n(&fs->by_key, key, n, &fn[i]))
      return fail(c, ST_INVALID, "function '%s.%s' is defined twice", f->domain, f->name);
  }
  uint64_t total = 0;
  for (uint32_t i = 0; i < raw->nfunction; i++)
    TRY(function_cost(fs, &fn[i], 0));
  TRY(nodes_cost(fs, raw->graph->node, raw->graph->nnode, 0, &total));
  if (total > max_nodes)
    return err_hint(c,
                    fail(c, ST_MEMORY, "the model has %s%llu nodes when its functions are expanded; the limit is %u",
                         total == SATURATED ? "more than " : "", (unsigned long long)total, max_nodes),
                    "raise the node limit if the model can be trusted");
  *out = fs;
  return ST_OK;
}

static const RawAttr *attr_named(const RawAttr *list, uint32_t n, const char *name) {
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(list[i].name, name))
      return &list[i];
  return NULL;
}

Status function_attrs(Ctx *c, Arena *a, const RawFunction *fn, const RawNode *call, const RawNode *n, RawNode *out) {
  *out = *n;
  bool refers = false;
  for (uint32_t i = 0; i < n->nattr; i++)
    refers = refers || *n->attr[i].ref;
  if (!refers)
    return ST_OK;
  RawAttr *list = arena_array(a, RawAttr, n->nattr);
  uint32_t k = 0;
  for (uint32_t i = 0; i < n->nattr; i++) {
    const RawAttr *t = &n->attr[i], *value = t;
    if (*t->ref) {
      value = attr_named(call->attr, call->nattr, t->ref);
      if (!value)
        value = attr_named(fn->attr_default, fn->ndefault, t->ref);
      if (!value)
        continue;
      if (*value->ref)
        return fail(c, ST_INVALID, "attribute '%s' refers to '%s', which is a reference itself", t->name, t->ref);
      if (value->type == RA_GRAPH || value->type == RA_GRAPHS)
        return fail(c, ST_UNSUPPORTED, "attribute '%s' hands a graph to a function", t->ref);
      if (t->type && value->type != t->type)
        return fail(c, ST_INVALID, "attribute '%s' refers to '%s', which has another type", t->name, t->ref);
    }
    list[k] = *value;
    list[k].name = t->name;
    list[k++].ref = "";
  }
  out->attr = list, out->nattr = k;
  return ST_OK;
}
