/* plan.c - `sard plan`: the memory of a run, before it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/inputs.h"
#include "tools/json.h"
#include "tools/session.h"

#include <string.h>

/* "step 12: gelu, 'encoder/Gelu'  (encoder.layer.0)". */
static void put_step(const Session *s, StrBuf *b, int64_t i) {
  sard_step x = SARD_STEP_INIT;
  if (sard_step_info(s->model, (size_t)i, &x))
    return;
  buf_printf(b, "step %lld: %s, '", (long long)i, *x.kernel ? x.kernel : x.op);
  buf_escaped(b, x.node);
  buf_putc(b, '\'');
  if (*x.module) {
    buf_puts(b, "  (");
    buf_escaped(b, x.module);
    buf_putc(b, ')');
  }
}

static void text_plan(const Tool *t, const Session *s, const sard_memory *m, StrBuf *b) {
  Arena *a = t->arena;
  buf_printf(b, "weights   %s mapped from the model's files, %s packed for this CPU, %s in the program\n",
             bytes_text(a, m->weights_mapped), bytes_text(a, m->weights_packed), bytes_text(a, m->weights_own));
  buf_printf(b, "arena     %s for values between steps\n", bytes_text(a, m->arena));
  buf_printf(b, "apart     %s for values allocated one by one, outputs among them\n", bytes_text(a, m->apart));
  buf_printf(b, "scratch   %s for kernels, on %d thread%s\n", bytes_text(a, m->scratch), sard_model_threads(s->model),
             sard_model_threads(s->model) == 1 ? "" : "s");
  buf_printf(b, "outputs   %s\n", bytes_text(a, m->outputs));
  buf_printf(b, "peak      %s of values at once", bytes_text(a, m->peak));
  if (m->peak_step >= 0) {
    buf_puts(b, ", at ");
    put_step(s, b, m->peak_step);
    buf_puts(b, "\n          the largest is '");
    buf_escaped(b, m->largest);
    buf_printf(b, "', %s", bytes_text(a, m->largest_bytes));
  }
  buf_puts(b, "\ncomplete  ");
  if (m->unknown) {
    buf_printf(b, "no: only the run tells %lld of the sizes, the first at ", (long long)m->unknown);
    put_step(s, b, m->unknown_step);
  } else
    buf_puts(b, "yes");
  buf_putc(b, '\n');
}

static void json_step(const Session *s, StrBuf *b, int64_t i) {
  sard_step x = SARD_STEP_INIT;
  if (i < 0 || sard_step_info(s->model, (size_t)i, &x)) {
    buf_puts(b, "null");
    return;
  }
  buf_printf(b, "{\"step\": %lld, \"op\": ", (long long)i);
  json_str(b, x.op);
  buf_puts(b, ", \"kernel\": ");
  json_str(b, *x.kernel ? x.kernel : NULL);
  buf_puts(b, ", \"node\": ");
  json_str(b, x.node);
  buf_puts(b, ", \"module\": ");
  json_str(b, x.module);
  buf_putc(b, '}');
}

static void json_plan(const Session *s, const sard_memory *m, StrBuf *b) {
  buf_puts(b, "{\"model\": ");
  json_str(b, s->path);
  buf_puts(b, ", \"device\": ");
  json_str(b, s->device);
  buf_printf(b,
             ", \"threads\": %d, \"weights\": {\"mapped\": %lld, \"packed\": %lld, \"own\": %lld}, \"arena\": %lld, "
             "\"apart\": %lld, \"scratch\": %lld, \"outputs\": %lld, \"peak\": %lld, \"peak_step\": ",
             sard_model_threads(s->model), (long long)m->weights_mapped, (long long)m->weights_packed,
             (long long)m->weights_own, (long long)m->arena, (long long)m->apart, (long long)m->scratch,
             (long long)m->outputs, (long long)m->peak);
  json_step(s, b, m->peak_step);
  buf_puts(b, ", \"largest\": ");
  if (m->largest_bytes) {
    buf_puts(b, "{\"value\": ");
    json_str(b, m->largest);
    buf_printf(b, ", \"bytes\": %lld}", (long long)m->largest_bytes);
  } else
    buf_puts(b, "null");
  buf_printf(b, ", \"complete\": %s, \"unknown\": %lld, \"unknown_step\": ", m->unknown ? "false" : "true",
             (long long)m->unknown);
  json_step(s, b, m->unknown_step);
  buf_puts(b, "}\n");
}

Status cmd_plan(Tool *t) {
  SessionOptions so = session_options(t->o);
  sard_memory m = SARD_MEMORY_INIT;
  const Tensor **in;
  Session *s;
  StrBuf b;
  TRY(session_open(t, t->o->arg[0], &so, &s));
  TRY(inputs_shapes(t, s, &in));
  TRY(session_plan(t, s, in, &m));
  buf_init(&b, t->arena);
  if (opt_set(t->o, OPT_json))
    json_plan(s, &m, &b);
  else
    text_plan(t, s, &m, &b);
  Status st = tool_print(t, &b);
  session_close(s);
  return st;
}
