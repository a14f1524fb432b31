/* pass.c - runs the passes of passes.def, with dumps, times and checks on request.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"

#include <stdio.h>
#include <string.h>

#define PASS(name, doc)      Status pass_##name(Ctx *c, Graph *g);
#define PRECISION(name, doc) PASS(name, doc)
#define ON_CPU(name, doc)    PASS(name, doc)
#define ON_GPU(name, doc)    PASS(name, doc)
#include "passes/passes.def"
#undef PASS
#undef PRECISION
#undef ON_CPU
#undef ON_GPU

typedef struct Row {
  const char *name, *doc;
  Status (*run)(Ctx *c, Graph *g);
  bool asked_for; /* runs only then */
  bool on_cpu;    /* not when it is for GPUs */
  bool on_gpu;    /* only then */
} Row;

static const Row rows[] = {
#define PASS(name, doc)      {#name, doc, pass_##name, false, false, false},
#define PRECISION(name, doc) {#name, doc, pass_##name, true, false, false},
#define ON_CPU(name, doc)    {#name, doc, pass_##name, false, true, false},
#define ON_GPU(name, doc)    {#name, doc, pass_##name, false, false, true},
#include "passes/passes.def"
#undef PASS
#undef PRECISION
#undef ON_CPU
#undef ON_GPU
};

bool pass_info(size_t i, const char **name, const char **doc) {
  if (i >= countof(rows))
    return false;
  *name = rows[i].name, *doc = rows[i].doc;
  return true;
}

static const char *row_name(void *arg, size_t i) {
  (void)arg;
  return i < countof(rows) ? rows[i].name : NULL;
}

static const Row *find(const char *name) {
  for (size_t i = 0; i < countof(rows); i++)
    if (!strcmp(rows[i].name, name))
      return &rows[i];
  return NULL;
}

static Status unknown(Ctx *c, const char *name) {
  Status st = fail(c, ST_USAGE, "there is no pass '%s'", name);
  const char *near = nearest_name(name, row_name, NULL);
  StrBuf b;
  if (near)
    return err_hint(c, st, "did you mean '%s'?", near);
  Arena *a = arena_create(c);
  buf_init(&b, a);
  for (size_t i = 0; i < countof(rows); i++)
    if (find(rows[i].name) == &rows[i])
      buf_printf(&b, "%s%s", i ? ", " : "", rows[i].name);
  err_hint(c, st, "the passes are: %s", b.text);
  arena_destroy(a);
  return st;
}

static Status check_name(Ctx *c, const char *name) { return !name || find(name) ? ST_OK : unknown(c, name); }

static void dump(Ctx *c, const Graph *g, const PassOptions *o, const Row *row) {
  StrBuf b;
  Arena *a = arena_create(c);
  buf_init(&b, a);
  buf_printf(&b, "# after %s\n", row->name);
  graph_print(&b, g, NULL);
  o->out(o->arg, b.text, b.len);
  arena_destroy(a);
}

static void tell_time(const PassOptions *o, const Row *row, int64_t ns, uint32_t before, uint32_t after) {
  char line[128];
  int n = snprintf(line, sizeof line, "%-12s %9.3f ms %7u -> %u nodes\n", row->name, (double)ns / 1e6, before, after);
  o->out(o->arg, line, (size_t)n);
}

static Status run_row(Ctx *c, Graph *g, const PassOptions *o, const Row *row) {
  uint32_t before = graph_node_count(g, true);
  int64_t start = now_ns();
  Status st = row->run(c, g);
  if (st)
    return err_note(c, st, "in pass '%s'", row->name);
  if (o->time && o->out)
    tell_time(o, row, now_ns() - start, before, graph_node_count(g, true));
  if (o->verify && (st = graph_verify(c, g)))
    return err_note(c, st, "after pass '%s'", row->name);
  if (o->out && o->dump_after && (!strcmp(o->dump_after, "all") || !strcmp(o->dump_after, row->name)))
    dump(c, g, o, row);
  return ctx_poll(c);
}

Status passes_run(Ctx *c, Graph *g, const PassOptions *o) {
  static const PassOptions none;
  if (!o)
    o = &none;
  if (!o->dump_after || strcmp(o->dump_after, "all"))
    TRY(check_name(c, o->dump_after));
  TRY(check_name(c, o->stop_after));
  for (size_t i = 0; i < countof(rows); i++) {
    if (rows[i].asked_for && (!o->precision || strcmp(o->precision, rows[i].name)))
      continue;
    if (o->gpu ? rows[i].on_cpu : rows[i].on_gpu)
      continue;
    TRY(run_row(c, g, o, &rows[i]));
    if (o->stop_after && !strcmp(o->stop_after, rows[i].name))
      break;
  }
  return ST_OK;
}

Status pass_run(Ctx *c, Graph *g, const char *name) {
  const Row *row = find(name);
  return row ? row->run(c, g) : unknown(c, name);
}
