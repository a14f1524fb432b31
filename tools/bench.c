/* bench.c - `sard bench`: load time, latency, throughput and memory of a model.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/inplace.h"
#include "tools/inputs.h"
#include "tools/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_RUNS = 1 << 20 }; /* times that are kept */

typedef struct Bench {
  Tool *t;
  Session *s;
  const sard_tensor **set; /* nset input sets as the API takes them */
  sard_result **result;    /* of the last run, by set */
  InPlace **in_place;      /* by set: where runs go from the second on; NULL: to results */
  size_t nset;
  double first_ms, write_ms; /* write_ms < 0: no cache entry was written */
  double *ms;                /* of the timed runs; sorted in the end */
  size_t n;
  Cleanup cleanup;
} Bench;

static void discard(void *arg) {
  Bench *b = arg;
  for (size_t i = 0; i < b->nset; i++) {
    sard_result_free(b->result[i]);
    b->result[i] = NULL;
  }
}

static Status gather_sets(Bench *b) {
  const OptValue *v = &b->t->o->v[OPT_inputs];
  b->nset = v->n ? v->n : 1;
  b->set = arena_array(b->t->arena, const sard_tensor *, b->nset);
  b->result = arena_array(b->t->arena, sard_result *, b->nset);
  for (size_t i = 0; i < b->nset; i++) {
    const Tensor **in;
    TRY(inputs_gather_from(b->t, b->s, v->n ? v->list[i] : NULL, &in));
    b->set[i] = session_feed(b->t, b->s, in);
  }
  return ST_OK;
}

/* A run of one set, whose result stays until the next run of that set. */
static Status run_set(Bench *b, size_t i, double *ms) {
  sard_run_options ro = SARD_RUN_OPTIONS_INIT;
  ro.timeout = opt_float(b->t->o, OPT_timeout, 0), ro.cancel = b->t->cancel;
  if (b->in_place && b->in_place[i])
    return inplace_run(b->t, b->s, b->in_place[i], &ro, ms);
  sard_result_free(b->result[i]);
  b->result[i] = NULL;
  return session_call(b->t, b->s, b->set[i], &ro, &b->result[i], ms);
}

/* Every set's memory, by what a run of it gives; then one run there, which is not timed. */
static Status go_in_place(Bench *b) {
  double ms;
  if (!opt_set(b->t->o, OPT_in_place))
    return ST_OK;
  if (!strcmp(b->s->device, "cuda"))
    return fail(b->t->c, ST_USAGE, "--in-place measures caches in the host's memory, not on device 'cuda'");
  b->in_place = arena_array(b->t->arena, InPlace *, b->nset);
  for (size_t i = 0; i < b->nset; i++) {
    if (i)
      TRY(run_set(b, i, &ms));
    TRY(inplace_new(b->t, b->s, b->set[i], b->result[i], &b->in_place[i]));
    TRY(run_set(b, i, &ms));
  }
  discard(b);
  return ST_OK;
}

static void keep_time(Bench *b, size_t *cap, double ms) {
  if (b->n == *cap) {
    double *more = arena_array(b->t->arena, double, 2 * *cap);
    for (size_t i = 0; i < b->n; i++)
      more[i] = b->ms[i];
    b->ms = more, *cap *= 2;
  }
  b->ms[b->n++] = ms;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Every set at least once; then for the given time, or the given number of runs. */
static Status measure(Bench *b) {
  const Options *o = b->t->o;
  size_t runs = (size_t)opt_int(o, OPT_runs, 0), cap = 256;
  double ms, seconds = opt_float(o, OPT_seconds, 2);
  b->ms = arena_array(b->t->arena, double, cap);
  TRY(run_set(b, 0, &b->first_ms));
  if (!sard_cache_wait(b->s->model, &b->write_ms)) /* apart from the timed runs */
    b->write_ms = -1;
  TRY(go_in_place(b));
  tool_progress(b->t, "running %s ...", b->s->path);
  int64_t end = now_ns() + (int64_t)((seconds < 1e9 ? seconds : 1e9) * 1e9);
  while (b->n < MAX_RUNS && (b->n < b->nset || (runs ? b->n < runs : now_ns() < end))) {
    Status st = run_set(b, b->n % b->nset, &ms);
    if (st) {
      tool_progress_end(b->t);
      return st;
    }
    keep_time(b, &cap, ms);
  }
  tool_progress_end(b->t);
  qsort(b->ms, b->n, sizeof *b->ms, by_value);
  return ST_OK;
}

static double percentile(const Bench *b, double p) {
  size_t i = (size_t)(p * (double)b->n);
  return b->ms[i < b->n ? i : b->n - 1];
}

static Status store_sets(Bench *b) {
  const OptValue *v = &b->t->o->v[OPT_output];
  if (!v->n)
    return ST_OK;
  const char *dir = v->list[v->n - 1];
  if (mkdir(dir, 0777) && errno != EEXIST)
    return fail_errno(b->t->c, "making the folder for outputs", dir);
  for (size_t i = 0; i < b->nset; i++) {
    Tensor **out;
    if (b->in_place)
      inplace_take(b->t, b->s, b->in_place[i], &out);
    else
      TRY(session_take(b->t, b->s, b->result[i], &out));
    TRY(session_store(b->t, b->s, out, arena_printf(b->t->arena, "%s/%zu.npz", dir, i)));
  }
  return ST_OK;
}

/* The most this process held. Not getrusage's, which outlives an exec: the parent's peak, where that held more. */
static double peak_rss_mb(void) {
  char line[128];
  double kb = 0;
  FILE *f = fopen("/proc/self/status", "re");
  while (f && kb == 0 && fgets(line, sizeof line, f))
    if (strncmp(line, "VmHWM:", 6) == 0)
      kb = strtod(line + 6, NULL);
  if (f)
    fclose(f);
  return kb / 1024;
}

static double runs_per_s(const Bench *b) {
  double sum = 0;
  for (size_t i = 0; i < b->n; i++)
    sum += b->ms[i];
  return sum > 0 ? (double)b->n * 1e3 / sum : 0;
}

static void report_json(const Bench *b, StrBuf *out) {
  sard_times m = sard_model_times(b->s->model);
  int64_t steps[4];
  session_steps(b->s, steps);
  buf_puts(out, "{\"model\": ");
  json_str(out, b->s->path);
  buf_puts(out, ", \"device\": ");
  json_str(out, b->s->device);
  buf_puts(out, ", \"precision\": ");
  json_str(out, sard_model_precision(b->s->model));
  buf_printf(
      out,
      ", \"threads\": %d, \"load_ms\": %.3f, \"import_ms\": %.3f, \"passes_ms\": %.3f, \"compile_ms\": %.3f, "
      "\"first_ms\": %.4f, "
      "\"runs\": %zu, \"median_ms\": %.4f, \"min_ms\": %.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, \"runs_per_s\": %.3f, "
      "\"peak_rss_mb\": %.1f, \"cache\": \"%s\", \"cache_write_ms\": ",
      sard_model_threads(b->s->model), b->s->load_ms, m.import_ms, m.passes_ms, m.compile_ms, b->first_ms, b->n,
      percentile(b, 0.5), b->ms[0], percentile(b, 0.9), percentile(b, 0.99), runs_per_s(b), peak_rss_mb(),
      session_cache(b->s));
  buf_printf(out, b->write_ms < 0 ? "null" : "%.1f", b->write_ms);
  if (b->in_place)
    buf_printf(out, ", \"in_place\": %zu", inplace_caches(b->in_place[0]));
  buf_printf(out, ", \"steps\": {\"compiled\": %lld, \"library\": %lld, \"host\": %lld, \"reference\": %lld}",
             (long long)steps[0], (long long)steps[1], (long long)steps[2], (long long)steps[3]);
  session_graphs(b->s, true, out);
  buf_puts(out, "}\n");
}

static void report_text(const Bench *b, StrBuf *out) {
  int64_t steps[4];
  session_steps(b->s, steps);
  int threads = sard_model_threads(b->s->model);
  buf_printf(out, "device   %s, %d thread%s, %s\n", b->s->device, threads, threads == 1 ? "" : "s",
             sard_model_precision(b->s->model));
  buf_printf(out, "steps    %lld compiled, %lld library, %lld host, %lld reference\n", (long long)steps[0],
             (long long)steps[1], (long long)steps[2], (long long)steps[3]);
  buf_printf(out, "load     %10.3f ms, cache %s\nfirst    %10.3f ms\n", b->s->load_ms, session_cache(b->s),
             b->first_ms);
  if (b->write_ms >= 0)
    buf_printf(out, "kept     %10.3f ms to write what was compiled to the cache\n", b->write_ms);
  buf_printf(out, "median   %10.3f ms  of %zu run%s, %.3g per second\n", percentile(b, 0.5), b->n, b->n == 1 ? "" : "s",
             runs_per_s(b));
  buf_printf(out, "least    %10.3f ms\np90      %10.3f ms\np99      %10.3f ms\n", b->ms[0], percentile(b, 0.9),
             percentile(b, 0.99));
  if (b->in_place)
    buf_printf(out, "in place %6zu        caches, each in one buffer with room\n", inplace_caches(b->in_place[0]));
  session_graphs(b->s, false, out);
  buf_printf(out, "memory   %10.1f MB  at most, the whole process\n", peak_rss_mb());
}

Status cmd_bench(Tool *t) {
  const Options *o = t->o;
  SessionOptions so = session_options(o);
  Bench *b = arena_new(t->arena, Bench);
  StrBuf out;
  b->t = t;
  TRY(session_open(t, o->arg[0], &so, &b->s));
  TRY(gather_sets(b));
  ctx_on_failure(t->c, &b->cleanup, discard, b);
  TRY(measure(b));
  TRY(store_sets(b));
  buf_init(&out, t->arena);
  if (opt_set(o, OPT_json))
    report_json(b, &out);
  else
    report_text(b, &out);
  Status st = tool_print(t, &out);
  ctx_forget(t->c, &b->cleanup);
  discard(b);
  session_close(b->s);
  return st;
}
