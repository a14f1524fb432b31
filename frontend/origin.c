/* origin.c - what exporters say about where a node comes from: module paths, classes, source lines, dimension ranges.
 *
 * The dynamo exporter of PyTorch writes per node, as Python text:
 *   name_scopes      ['', 'lm', 'lm.model', 'linear_5']            the module path is the last but one
 *   class_hierarchy  ['zoo.WithCache', …, 'aten.linear.default']   likewise the module's class
 *   stack_trace      File "models/decoder.py", line 33, in forward   outermost call first, torch's own frames last
 * TorchScript exports put the module path into the node name: /encoder/layer.0/attention/MatMul.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/import.h"

#include <stdlib.h>
#include <string.h>

static const char *meta(const MetaEntry *m, uint32_t n, const char *key) {
  for (uint32_t i = 0; i < n; i++)
    if (!strcmp(m[i].key, key))
      return m[i].value;
  return NULL;
}

/* The last but one string of a Python list of strings; NULL: there is none, or it is empty. */
static const char *last_but_one(Arena *a, const char *list) {
  Str last = {0}, before = {0};
  if (!list)
    return NULL;
  for (const char *p = list; *p;) {
    char q = *p++;
    if (q != '\'' && q != '"')
      continue;
    const char *s = p;
    while (*p && *p != q)
      p += *p == '\\' && p[1] ? 2 : 1;
    before = last, last = (Str){s, (size_t)(p - s)};
    if (*p)
      p++;
  }
  static const char none[] = "_empty_nn_module_stack"; /* the exporter's word for "outside of any module" */
  if (!before.len || (before.len >= sizeof none - 1 && !memcmp(before.ptr, none, sizeof none - 1)))
    return NULL;
  return arena_strndup(a, before.ptr, before.len);
}

/* A path without what stands before the package in an installed library. */
static Str package_path(Str path) {
  static const char *const dirs[] = {"site-packages/", "dist-packages/"};
  for (size_t d = 0; d < countof(dirs); d++)
    for (size_t i = path.len, n = strlen(dirs[d]); i-- > 0;)
      if (path.len - i >= n && !memcmp(path.ptr + i, dirs[d], n))
        return (Str){path.ptr + i + n, path.len - i - n};
  return path;
}

static bool is_torch(Str path) { return path.len > 6 && !memcmp(path.ptr, "torch/", 6); }

/* The innermost frame of a Python stack trace that is not torch's own: "models/decoder.py:33, in forward". */
static const char *source_line(Arena *a, const char *trace) {
  Str file = {0}, fn = {0};
  long line = 0;
  for (const char *p = trace; p && (p = strstr(p, "File \"")) != NULL;) {
    p += 6;
    const char *q = strchr(p, '"'), *end = p + strcspn(p, "\n");
    if (!q || q > end)
      continue;
    Str path = package_path((Str){p, (size_t)(q - p)});
    const char *l = strstr(q, "line "), *in = strstr(q, ", in ");
    p = end;
    if (!l || l > end || is_torch(path))
      continue;
    file = path, line = strtol(l + 5, NULL, 10), fn = (Str){0};
    if (in && in < end)
      fn = (Str){in + 5, (size_t)(end - in - 5)};
  }
  if (!file.ptr)
    return NULL;
  if (!fn.len)
    return arena_printf(a, "%.*s:%ld", (int)file.len, file.ptr, line);
  return arena_printf(a, "%.*s:%ld, in %.*s", (int)file.len, file.ptr, line, (int)fn.len, fn.ptr);
}

/* "/encoder/layer.0/attention/MatMul" -> "encoder.layer.0.attention" */
static const char *module_of_name(Arena *a, const char *name) {
  const char *last = strrchr(name, '/');
  if (name[0] != '/' || last == name)
    return NULL;
  char *m = arena_strndup(a, name + 1, (size_t)(last - name - 1));
  for (char *p = m; *p; p++)
    if (*p == '/')
      *p = '.';
  return m;
}

const Origin *import_origin(Graph *g, Arena *a, const RawNode *n, uint32_t index, const char *prefix,
                            const Origin *from) {
  bool onnx = !*n->domain || !strcmp(n->domain, "ai.onnx");
  const char *op = onnx ? n->op : arena_printf(a, "%s.%s", n->domain, n->op), *name = n->name;
  if (prefix)
    name = *name ? arena_printf(a, "%s%s", prefix, name) : arena_printf(a, "%s#%u", prefix, index);
  Origin *o = origin_new(g, name, op, index);
  o->module = last_but_one(g->arena, meta(n->meta, n->nmeta, "pkg.torch.onnx.name_scopes"));
  o->klass = last_but_one(g->arena, meta(n->meta, n->nmeta, "pkg.torch.onnx.class_hierarchy"));
  o->source = source_line(g->arena, meta(n->meta, n->nmeta, "pkg.torch.onnx.stack_trace"));
  if (!o->module)
    o->module = module_of_name(g->arena, n->name);
  if (from) {
    o->module = o->module ? o->module : from->module;
    o->klass = o->klass ? o->klass : from->klass;
    o->source = o->source ? o->source : from->source;
  }
  return o;
}

/* "{s43: VR[1, 1024], u0: VR[0, int_oo]}" */
void import_ranges(Ctx *c, Arena *a, const RawGraph *g) {
  const char *p = meta(g->meta, g->nmeta, "pkg.torch.export.ExportedProgram.range_constraints");
  while (p && (p = strpbrk(p, "{,")) != NULL) {
    p += 1 + strspn(p + 1, " ");
    size_t n = strcspn(p, ":,}");
    if (p[n] != ':' || strncmp(p + n, ": VR[", 5) || !n)
      continue;
    char *end;
    long long lo = strtoll(p + n + 5, &end, 10), hi = INT64_MAX;
    if (end == p + n + 5 || *end != ',')
      continue;
    const char *h = end + 1 + strspn(end + 1, " ");
    if (strncmp(h, "int_oo", 6))
      hi = strtoll(h, &end, 10);
    if (lo >= 0 && lo <= hi)
      dim_narrow(c, dim_sym(c, arena_strndup(a, p, n)), lo, hi);
    p = strchr(h, ']');
  }
}
