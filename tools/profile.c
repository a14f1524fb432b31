/* profile.c - `sard profile`: the time of every step, summed by kernel or operator and by module of the original model.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/files.h"
#include "tools/inputs.h"
#include "tools/json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 256, SHOWN = 20, MAX_EVENTS = 1 << 20 };

typedef struct StepSum {
  size_t step;
  sard_step info;
  int64_t ns, calls, flops, bytes; /* of all runs; without the steps in its bodies */
  int threads;
} StepSum;

typedef struct Group {
  const char *name;
  double ms;
  size_t steps;
} Group;

typedef struct Profile {
  Tool *t;
  Session *s;
  StepSum *sum; /* by step */
  size_t n;
  int64_t inside[MAX_DEPTH + 1]; /* ns of finished steps at this depth whose owner has not finished */
  int64_t runs;
  double ms;             /* of all runs */
  sard_step_time *event; /* of the last run; NULL: not wanted */
  size_t nevent;
} Profile;

static void on_step(void *arg, const sard_step_time *x) {
  Profile *p = arg;
  int d = x->depth < MAX_DEPTH ? x->depth : MAX_DEPTH - 1;
  int64_t ns = x->end_ns - x->start_ns;
  StepSum *s = &p->sum[x->step];
  s->ns += ns - p->inside[d + 1];
  p->inside[d + 1] = 0;
  p->inside[d] += d ? ns : 0;
  s->calls++, s->flops += x->flops, s->bytes += x->bytes;
  s->threads = x->threads > s->threads ? x->threads : s->threads;
  if (p->event && p->nevent < MAX_EVENTS)
    p->event[p->nevent++] = *x;
}

static Status run_once(Profile *p, const sard_tensor *in, bool counted) {
  sard_run_options ro = SARD_RUN_OPTIONS_INIT;
  sard_result *r;
  double ms;
  ro.timeout = opt_float(p->t->o, OPT_timeout, 0), ro.cancel = p->t->cancel;
  if (counted)
    ro.profile = on_step, ro.profile_arg = p;
  TRY(session_call(p->t, p->s, in, &ro, &r, &ms));
  sard_result_free(r);
  if (counted)
    p->runs++, p->ms += ms;
  return ST_OK;
}

static Status measure(Profile *p) {
  const Options *o = p->t->o;
  const Tensor **in;
  TRY(inputs_gather(p->t, p->s, &in));
  const sard_tensor *x = session_feed(p->t, p->s, in);
  TRY(run_once(p, x, false));
  double seconds = opt_float(o, OPT_seconds, 1);
  int64_t runs = opt_int(o, OPT_runs, 0), end = now_ns() + (int64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9);
  while (!p->runs || (runs ? p->runs < runs : now_ns() < end))
    TRY(run_once(p, x, true));
  if (!opt_set(o, OPT_trace))
    return ST_OK;
  Profile last = *p; /* one more, for the trace alone */
  last.sum = arena_array(p->t->arena, StepSum, p->n);
  last.event = arena_array(p->t->arena, sard_step_time, MAX_EVENTS);
  TRY(run_once(&last, x, true));
  p->event = last.event, p->nevent = last.nevent;
  return ST_OK;
}

/* --- sums --- */

static double mean_ms(const Profile *p, int64_t ns) { return (double)ns * 1e-6 / (double)p->runs; }

static const char *name_of(const StepSum *s) { return *s->info.kernel ? s->info.kernel : s->info.op; }
static const char *module_of(const StepSum *s) { return *s->info.module ? s->info.module : "(none)"; }

static int by_name(const void *a, const void *b) { return strcmp(((const Group *)a)->name, ((const Group *)b)->name); }
static int by_ms(const void *a, const void *b) {
  double x = ((const Group *)a)->ms, y = ((const Group *)b)->ms;
  return (x < y) - (x > y);
}
static int by_ns(const void *a, const void *b) {
  const StepSum *x = a, *y = b;
  return x->ns != y->ns ? (x->ns < y->ns) - (x->ns > y->ns) : (x->step > y->step) - (x->step < y->step);
}

/* Sums by name, the largest first. */
static Group *group_by(const Profile *p, const char *(*name)(const StepSum *), size_t *count) {
  Group *g = arena_array(p->t->arena, Group, p->n);
  size_t n = 0;
  for (size_t i = 0; i < p->n; i++)
    g[i] = (Group){name(&p->sum[i]), mean_ms(p, p->sum[i].ns), 1};
  if (p->n)
    qsort(g, p->n, sizeof *g, by_name);
  for (size_t i = 0; i < p->n; i++)
    if (n && !strcmp(g[n - 1].name, g[i].name))
      g[n - 1].ms += g[i].ms, g[n - 1].steps++;
    else
      g[n++] = g[i];
  if (n)
    qsort(g, n, sizeof *g, by_ms);
  *count = n;
  return g;
}

static double rate(const StepSum *s, int64_t amount) { return s->ns > 0 ? (double)amount / (double)s->ns : 0; }

/* --- output --- */

static void json_groups(const Profile *p, StrBuf *b, const char *(*name)(const StepSum *)) {
  size_t n;
  const Group *g = group_by(p, name, &n);
  for (size_t i = 0; i < n; i++) {
    buf_puts(b, i ? ", {\"name\": " : "{\"name\": ");
    json_str(b, g[i].name);
    buf_printf(b, ", \"ms\": %.6f, \"steps\": %zu}", g[i].ms, g[i].steps);
  }
}

static void report_json(const Profile *p, StrBuf *b) {
  buf_puts(b, "{\"model\": ");
  json_str(b, p->s->path);
  buf_puts(b, ", \"device\": ");
  json_str(b, p->s->device);
  buf_printf(b, ", \"threads\": %d, \"runs\": %lld, \"run_ms\": %.4f, \"steps\": [", sard_model_threads(p->s->model),
             (long long)p->runs, p->ms / (double)p->runs);
  for (size_t i = 0; i < p->n; i++) {
    const StepSum *s = &p->sum[i];
    buf_printf(b, "%s{\"step\": %zu, \"kind\": \"%s\", \"op\": ", i ? ",\n " : "", i,
               step_kind_name((int)s->info.kind));
    json_str(b, s->info.op);
    buf_puts(b, ", \"kernel\": ");
    json_str(b, *s->info.kernel ? s->info.kernel : NULL);
    buf_puts(b, ", \"node\": ");
    json_str(b, s->info.node);
    buf_puts(b, ", \"module\": ");
    json_str(b, s->info.module);
    buf_printf(b, ", \"ms\": %.6f, \"calls\": %.6g, \"threads\": %d, \"gflops\": %.4f, \"gb_s\": %.4f}",
               mean_ms(p, s->ns), (double)s->calls / (double)p->runs, s->threads, rate(s, s->flops), rate(s, s->bytes));
  }
  buf_puts(b, "], \"kernels\": [");
  json_groups(p, b, name_of);
  buf_puts(b, "], \"modules\": [");
  json_groups(p, b, module_of);
  buf_puts(b, "]");
  session_graphs(p->s, true, b);
  buf_puts(b, "}\n");
}

static void text_groups(const Profile *p, StrBuf *b, const char *title, const char *(*name)(const StepSum *)) {
  size_t n;
  double all = p->ms / (double)p->runs;
  const Group *g = group_by(p, name, &n);
  buf_printf(b, "\n%s\n", title);
  for (size_t i = 0; i < n && i < SHOWN; i++) {
    buf_printf(b, "  %9.4f ms %5.1f %%  %5zu  ", g[i].ms, all > 0 ? 100 * g[i].ms / all : 0, g[i].steps);
    buf_escaped(b, g[i].name);
    buf_putc(b, '\n');
  }
  if (n > SHOWN)
    buf_printf(b, "  and %zu more\n", n - SHOWN);
}

static void report_text(const Profile *p, StrBuf *b) {
  double all = p->ms / (double)p->runs;
  StepSum *s = arena_array(p->t->arena, StepSum, p->n);
  for (size_t i = 0; i < p->n; i++)
    s[i] = p->sum[i];
  if (p->n)
    qsort(s, p->n, sizeof *s, by_ns);
  buf_printf(b, "%.4f ms per run, mean of %lld, on %s, at most %d thread%s\n\nslowest steps\n", all, (long long)p->runs,
             p->s->device, sard_model_threads(p->s->model), sard_model_threads(p->s->model) == 1 ? "" : "s");
  for (size_t i = 0; i < p->n && i < SHOWN && s[i].calls; i++) {
    buf_printf(b, "  %9.4f ms %5.1f %%  %-9s  ", mean_ms(p, s[i].ns), all > 0 ? 100 * mean_ms(p, s[i].ns) / all : 0,
               step_kind_name((int)s[i].info.kind));
    if (s[i].flops || s[i].bytes)
      buf_printf(b, "%7.1f GFLOP/s %6.1f GB/s x%d  ", rate(&s[i], s[i].flops), rate(&s[i], s[i].bytes), s[i].threads);
    buf_escaped(b, name_of(&s[i]));
    buf_puts(b, "  ");
    buf_escaped(b, s[i].info.node);
    buf_putc(b, '\n');
  }
  text_groups(p, b, "by kernel or operator (time, share, steps)", name_of);
  text_groups(p, b, "by module", module_of);
  sard_graphs g = SARD_GRAPHS_INIT;
  if (!sard_model_graphs(p->s->model, &g))
    buf_puts(b, "\nstep by step, each waited for; ");
  session_graphs(p->s, false, b);
}

/* The format that chrome://tracing and Perfetto read: complete events, times in microseconds from the first. */
static Status store_trace(const Profile *p, const char *path) {
  StrBuf b;
  OutFile *f;
  int64_t first = INT64_MAX;
  for (size_t i = 0; i < p->nevent; i++)
    first = p->event[i].start_ns < first ? p->event[i].start_ns : first;
  buf_init(&b, p->t->arena);
  buf_puts(&b, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [");
  for (size_t i = 0; i < p->nevent; i++) {
    const sard_step_time *x = &p->event[i];
    const StepSum *s = &p->sum[x->step];
    buf_printf(&b, "%s{\"ph\": \"X\", \"pid\": 1, \"tid\": 1, \"ts\": %.3f, \"dur\": %.3f, \"cat\": \"%s\", \"name\": ",
               i ? ",\n" : "\n", (double)(x->start_ns - first) / 1e3, (double)(x->end_ns - x->start_ns) / 1e3,
               step_kind_name((int)s->info.kind));
    json_str(&b, name_of(s));
    buf_puts(&b, ", \"args\": {\"node\": ");
    json_str(&b, s->info.node);
    buf_puts(&b, ", \"module\": ");
    json_str(&b, s->info.module);
    buf_printf(&b, ", \"step\": %zu, \"threads\": %d, \"flops\": %lld, \"bytes\": %lld}}", x->step, x->threads,
               (long long)x->flops, (long long)x->bytes);
  }
  buf_puts(&b, "\n]}\n");
  TRY(file_begin(p->t->c, p->t->arena, path, &f));
  TRY(file_put(p->t->c, f, b.text, b.len));
  return file_commit(p->t->c, f);
}

Status cmd_profile(Tool *t) {
  const Options *o = t->o;
  SessionOptions so = session_options(o);
  Profile *p = arena_new(t->arena, Profile);
  StrBuf b;
  p->t = t;
  TRY(session_open(t, o->arg[0], &so, &p->s));
  p->n = sard_step_count(p->s->model);
  p->sum = arena_array(t->arena, StepSum, p->n);
  for (size_t i = 0; i < p->n; i++) {
    p->sum[i].step = i;
    p->sum[i].info = (sard_step)SARD_STEP_INIT, sard_step_info(p->s->model, i, &p->sum[i].info);
  }
  TRY(measure(p));
  if (opt_set(o, OPT_trace))
    TRY(store_trace(p, opt_str(o, OPT_trace)));
  buf_init(&b, t->arena);
  if (opt_set(o, OPT_json))
    report_json(p, &b);
  else
    report_text(p, &b);
  Status st = tool_print(t, &b);
  session_close(p->s);
  return st;
}
