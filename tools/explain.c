/* explain.c - `sard explain`: the steps of the compiled program, where each runs and what it was made of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/json.h"
#include "tools/session.h"

#include <string.h>

static void json_steps(const Session *s, StrBuf *b) {
  sard_step x = SARD_STEP_INIT;
  const char *more;
  buf_puts(b, "{\"model\": ");
  json_str(b, s->path);
  buf_puts(b, ", \"device\": ");
  json_str(b, s->device);
  buf_puts(b, ", \"precision\": ");
  json_str(b, sard_model_precision(s->model));
  buf_puts(b, ", \"device_code\": ");
  json_str(b, *sard_model_device_code(s->model) ? sard_model_device_code(s->model) : NULL);
  buf_puts(b, ", \"steps\": [");
  for (size_t i = 0, n = sard_step_count(s->model); i < n && !sard_step_info(s->model, i, &x); i++) {
    buf_printf(b, "%s{\"step\": %zu, \"kind\": \"%s\", \"op\": ", i ? ",\n " : "", i, step_kind_name((int)x.kind));
    json_str(b, x.op);
    buf_puts(b, ", \"kernel\": ");
    json_str(b, *x.kernel ? x.kernel : NULL);
    buf_puts(b, ", \"tile\": ");
    json_str(b, *x.tile ? x.tile : NULL);
    buf_printf(b, ", \"copies\": %s, \"why\": ", x.copies ? "true" : "false");
    json_str(b, *x.why ? x.why : NULL);
    buf_puts(b, ", \"node\": ");
    json_str(b, x.node);
    buf_puts(b, ", \"nodes\": [");
    json_str(b, x.node);
    for (size_t k = 0; (more = sard_step_more(s->model, i, k)); k++) {
      buf_puts(b, ", ");
      json_str(b, more);
    }
    buf_puts(b, "], \"module\": ");
    json_str(b, x.module);
    buf_puts(b, ", \"source\": ");
    json_str(b, x.source);
    buf_putc(b, '}');
  }
  buf_puts(b, "]");
  session_graphs(s, true, b);
  buf_puts(b, "}\n");
}

/* The widest text of a column, 40 at most. */
static int widest(const Session *s, const char *(*column)(const sard_step *x)) {
  sard_step x = SARD_STEP_INIT;
  int width = 0;
  for (size_t i = 0, n = sard_step_count(s->model); i < n && !sard_step_info(s->model, i, &x); i++) {
    int w = text_width(column(&x), strlen(column(&x)));
    width = w > width ? w : width;
  }
  return width < 40 ? width : 40;
}

static const char *name_of(const sard_step *x) { return *x->kernel ? x->kernel : x->op; }
static const char *tile_of(const sard_step *x) { return x->tile; }

static void put_nodes(const Session *s, StrBuf *b, size_t i, const sard_step *x) {
  const char *more;
  buf_escaped(b, x->node);
  for (size_t k = 0; (more = sard_step_more(s->model, i, k)); k++) {
    buf_puts(b, " + ");
    buf_escaped(b, more);
  }
  if (*x->module) {
    buf_puts(b, "  (");
    buf_escaped(b, x->module);
    buf_putc(b, ')');
  }
  buf_putc(b, '\n');
}

/* What there is to say beyond a step's line: that it copies, why it runs as reference or ends where it ends. */
static void put_remarks(const Tool *t, StrBuf *b, const sard_step *x) {
  char s1[16], s2[16];
  const char *why = x->kind == SARD_STEP_REFERENCE ? "not compiled: " : "ends here: ";
  if (!x->copies && !*x->why)
    return;
  buf_printf(b, "       %s%s%s", tool_style(t, "2", s1), x->copies ? "only copies" : "",
             x->copies && *x->why ? "; " : "");
  if (*x->why) {
    buf_puts(b, x->kind == SARD_STEP_HOST ? "" : why);
    buf_escaped(b, x->why);
  }
  buf_printf(b, "%s\n", tool_style(t, "0", s2));
}

static void text_steps(const Tool *t, const Session *s, StrBuf *b) {
  static const char *const color[] = {"32", "36", "2", "33"};
  char s1[16], s2[16];
  sard_step x = SARD_STEP_INIT;
  int width = widest(s, name_of), tile = widest(s, tile_of);
  for (size_t i = 0, n = sard_step_count(s->model); i < n && !sard_step_info(s->model, i, &x); i++) {
    StrBuf name;
    buf_init(&name, t->arena);
    buf_escaped(&name, name_of(&x));
    buf_printf(b, "%5zu  %s%-9s%s  ", i, tool_style(t, color[x.kind], s1), step_kind_name((int)x.kind),
               tool_style(t, "0", s2));
    buf_pad(b, name.text, width);
    buf_puts(b, "  ");
    if (tile) {
      buf_pad(b, x.tile, tile);
      buf_puts(b, "  ");
    }
    put_nodes(s, b, i, &x);
    put_remarks(t, b, &x);
  }
  int64_t count[4];
  session_steps(s, count);
  buf_printf(b, "%zu steps on %s in %s: %lld compiled, %lld library, %lld host, %lld reference\n",
             sard_step_count(s->model), s->device, sard_model_precision(s->model), (long long)count[0],
             (long long)count[1], (long long)count[2], (long long)count[3]);
  if (*sard_model_device_code(s->model))
    buf_printf(b, "%s runs %s\n", s->device, sard_model_device_code(s->model));
  session_graphs(s, false, b);
}

Status cmd_explain(Tool *t) {
  SessionOptions so = session_options(t->o);
  Session *s;
  StrBuf b;
  TRY(session_open(t, t->o->arg[0], &so, &s));
  buf_init(&b, t->arena);
  if (opt_set(t->o, OPT_json))
    json_steps(s, &b);
  else
    text_steps(t, s, &b);
  Status st = tool_print(t, &b);
  session_close(s);
  return st;
}
