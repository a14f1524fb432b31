/* explain.c - `sard explain`: the steps of the compiled program, where each runs and what it was made of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/json.h"
#include "tools/session.h"

#include <string.h>

static void json_steps(const Session *s, StrBuf *b) {
  sard_step x;
  const char *more;
  buf_puts(b, "{\"model\": ");
  json_str(b, s->path);
  buf_puts(b, ", \"device\": ");
  json_str(b, s->device);
  buf_puts(b, ", \"steps\": [");
  for (size_t i = 0, n = sard_step_count(s->model); i < n && !sard_step_info(s->model, i, &x); i++) {
    buf_printf(b, "%s{\"step\": %zu, \"kind\": \"%s\", \"op\": ", i ? ",\n " : "", i, step_kind_name((int)x.kind));
    json_str(b, x.op);
    buf_puts(b, ", \"kernel\": ");
    json_str(b, *x.kernel ? x.kernel : NULL);
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
  buf_puts(b, "]}\n");
}

static int widest_name(const Session *s) {
  sard_step x;
  int width = 0;
  for (size_t i = 0, n = sard_step_count(s->model); i < n && !sard_step_info(s->model, i, &x); i++) {
    const char *name = *x.kernel ? x.kernel : x.op;
    int w = text_width(name, strlen(name));
    width = w > width ? w : width;
  }
  return width < 40 ? width : 40;
}

static void text_steps(const Tool *t, const Session *s, StrBuf *b) {
  static const char *const color[] = {"32", "36", "2", "33"};
  char s1[16], s2[16];
  sard_step x;
  const char *more;
  int width = widest_name(s);
  for (size_t i = 0, n = sard_step_count(s->model); i < n && !sard_step_info(s->model, i, &x); i++) {
    StrBuf name;
    buf_init(&name, t->arena);
    buf_escaped(&name, *x.kernel ? x.kernel : x.op);
    buf_printf(b, "%5zu  %s%-9s%s  ", i, tool_style(t, color[x.kind], s1), step_kind_name((int)x.kind),
               tool_style(t, "0", s2));
    buf_pad(b, name.text, width);
    buf_puts(b, "  ");
    buf_escaped(b, x.node);
    for (size_t k = 0; (more = sard_step_more(s->model, i, k)); k++) {
      buf_puts(b, " + ");
      buf_escaped(b, more);
    }
    if (*x.module) {
      buf_puts(b, "  (");
      buf_escaped(b, x.module);
      buf_putc(b, ')');
    }
    buf_putc(b, '\n');
  }
  int64_t count[4];
  session_steps(s, count);
  buf_printf(b, "%zu steps on %s: %lld compiled, %lld library, %lld host, %lld reference\n", sard_step_count(s->model),
             s->device, (long long)count[0], (long long)count[1], (long long)count[2], (long long)count[3]);
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
