/* run.c - `sard run`: load, run once, print, store or compare the outputs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/compare.h"
#include "tools/files.h"
#include "tools/inputs.h"
#include "tools/json.h"
#include "tools/npy.h"
#include "tools/npz.h"
#include "tools/pb.h"
#include "tools/show.h"

#include <string.h>

typedef struct Compared {
  const char *name;
  Diff d;
} Compared;

typedef struct Run {
  Tool *t;
  Session *s;
  Tensor **out;
  OutFile *file; /* complete, waiting for their names */
  Compared *compared;
  size_t ncompared;
} Run;

/* --- storing --- */

static Status store_all(Run *r, OutFile *f) {
  const char **name = arena_array(r->t->arena, const char *, r->s->nout);
  for (size_t i = 0; i < r->s->nout; i++)
    name[i] = r->s->out[i].name;
  return npz_write(r->t->c, r->t->arena, f, r->s->nout, name, (const Tensor *const *)r->out);
}

static Status store_one(Run *r, OutFile *f, size_t i, bool npy) {
  Str head = {"", 0}, data;
  Ctx *c = r->t->c;
  Status st = npy ? npy_write(c, r->t->arena, r->out[i], &head, &data)
                  : pb_write(c, r->t->arena, r->s->out[i].name, r->out[i], &data);
  if (st)
    return err_note(c, st, "output '%s'", r->s->out[i].name);
  TRY(file_put(c, f, head.ptr, head.len));
  return file_put(c, f, data.ptr, data.len);
}

/* FILE.npz, or NAME=FILE.npy or NAME=FILE.pb. index -1: all outputs. */
static Status parse_output(Run *r, const char *arg, int64_t *index, const char **path) {
  const Session *s = r->s;
  Ctx *c = r->t->c;
  size_t best = 0;
  *index = -1, *path = arg;
  for (size_t i = 0; i < s->nout; i++) {
    size_t n = strlen(s->out[i].name);
    if (!strncmp(arg, s->out[i].name, n) && arg[n] == '=' && (*index < 0 || n > best))
      best = n, *index = (int64_t)i, *path = arg + n + 1;
  }
  if (*index >= 0 && (has_suffix(*path, ".npy") || has_suffix(*path, ".pb")))
    return ST_OK;
  if (*index < 0 && has_suffix(arg, ".npz"))
    return ST_OK;
  const char *eq = strchr(arg, '=');
  if (*index < 0 && eq)
    return unknown_port(c, "output", arena_strndup(r->t->arena, arg, (size_t)(eq - arg)), s->out, s->nout);
  return err_hint(c, fail(c, ST_USAGE, "--output %s: FILE.npz is wanted, or NAME=FILE.npy, or NAME=FILE.pb", arg),
                  "an .npz file holds all outputs by name");
}

static Status check_outputs(Run *r) {
  const OptValue *o = &r->t->o->v[OPT_output];
  int64_t index;
  const char *path;
  for (uint32_t k = 0; k < o->n; k++)
    TRY(parse_output(r, o->list[k], &index, &path));
  return ST_OK;
}

static Status store(Run *r) {
  const OptValue *o = &r->t->o->v[OPT_output];
  for (uint32_t k = 0; k < o->n; k++) {
    int64_t index;
    const char *path;
    OutFile *f;
    TRY(parse_output(r, o->list[k], &index, &path));
    TRY(file_begin(r->t->c, r->t->arena, path, &f));
    f->next = r->file, r->file = f;
    TRY(index < 0 ? store_all(r, f) : store_one(r, f, (size_t)index, has_suffix(path, ".npy")));
  }
  for (OutFile *f = r->file; f; f = f->next)
    TRY(file_commit(r->t->c, f));
  return ST_OK;
}

/* --- comparing --- */

static Status compare_outputs(Run *r) {
  Ctx *c = r->t->c;
  const Options *o = r->t->o;
  const char *path = opt_str(o, OPT_expect);
  Tolerance tol = {opt_float(o, OPT_rtol, 1e-3), opt_float(o, OPT_atol, 1e-7), opt_float(o, OPT_relative, -1), 0};
  Npz *z;
  TRY(npz_open(c, r->t->arena, path, &z));
  while (npz_name(z, r->ncompared))
    r->ncompared++;
  if (!r->ncompared)
    return err_file(c, fail(c, ST_INVALID, "the archive holds no arrays to compare with"), path);
  r->compared = arena_array(r->t->arena, Compared, r->ncompared);
  for (size_t k = 0; k < r->ncompared; k++) {
    const char *name = npz_name(z, k);
    Tensor *want;
    size_t i = 0;
    while (i < r->s->nout && strcmp(r->s->out[i].name, name))
      i++;
    if (i == r->s->nout)
      return err_file(c, unknown_port(c, "output", name, r->s->out, r->s->nout), path);
    TRY(npz_read(z, k, r->out[i]->dtype, &want));
    r->compared[k].name = name;
    compare_values(r->t->arena, r->out[i], want, &tol, &r->compared[k].d);
    r->t->failed |= !r->compared[k].d.ok;
  }
  npz_close(z);
  return ST_OK;
}

static void show_compared(const Run *r, StrBuf *b) {
  char s1[16], s2[16];
  for (size_t k = 0; k < r->ncompared; k++) {
    const Diff *d = &r->compared[k].d;
    buf_printf(b, "%s%s%s  ", tool_style(r->t, d->ok ? "32" : "31", s1), d->ok ? "ok      " : "MISMATCH",
               tool_style(r->t, "0", s2));
    buf_escaped(b, r->compared[k].name);
    if (!d->ok)
      buf_printf(b, ": %s\n", d->reason);
    else if (d->worst < 0)
      buf_printf(b, ": all %lld elements equal\n", (long long)d->count);
    else
      buf_printf(b, ": largest difference %.3g (%.3g of the largest magnitude) at %s: %.9g, expected %.9g\n",
                 d->max_abs, d->max_rel, d->at, d->got, d->want);
  }
}

/* --- printing --- */

static void show_outputs(const Run *r, StrBuf *b) {
  char s1[16], s2[16], type[320];
  for (size_t i = 0; i < r->s->nout; i++) {
    buf_puts(b, tool_style(r->t, "1", s1));
    buf_escaped(b, r->s->out[i].name);
    buf_printf(b, "%s  %s\n", tool_style(r->t, "0", s2), tensor_type_text(r->out[i], type, sizeof type));
    show_value(b, r->out[i]);
  }
}

static void json_compared(const Run *r, StrBuf *b) {
  buf_puts(b, ", \"expect\": [");
  for (size_t k = 0; k < r->ncompared; k++) {
    const Diff *d = &r->compared[k].d;
    buf_puts(b, k ? ", {\"name\": " : "{\"name\": ");
    json_str(b, r->compared[k].name);
    buf_printf(b, ", \"ok\": %s, \"max_abs\": ", d->ok ? "true" : "false");
    json_f64(b, d->max_abs, 9);
    buf_puts(b, ", \"max_rel\": ");
    json_f64(b, d->max_rel, 9);
    buf_printf(b, ", \"mismatches\": %lld, \"elements\": %lld, \"index\": %lld, \"got\": ", (long long)d->bad,
               (long long)d->count, (long long)d->worst);
    json_f64(b, d->got, 17);
    buf_puts(b, ", \"want\": ");
    json_f64(b, d->want, 17);
    buf_puts(b, ", \"reason\": ");
    json_str(b, d->reason);
    buf_putc(b, '}');
  }
  buf_putc(b, ']');
}

static void json_run(const Run *r, StrBuf *b) {
  sard_times m = sard_model_times(r->s->model);
  buf_puts(b, "{\"model\": ");
  json_str(b, r->s->path);
  buf_puts(b, ", \"device\": ");
  json_str(b, r->s->device);
  buf_printf(b,
             ", \"load_ms\": %.3f, \"import_ms\": %.3f, \"passes_ms\": %.3f, \"compile_ms\": %.3f, \"run_ms\": %.3f, "
             "\"cache\": \"%s\", \"outputs\": [",
             r->s->load_ms, m.import_ms, m.passes_ms, m.compile_ms, r->s->run_ms, session_cache(r->s));
  for (size_t i = 0; i < r->s->nout; i++) {
    buf_puts(b, i ? ", " : "");
    show_json(b, r->s->out[i].name, r->out[i]);
  }
  buf_putc(b, ']');
  if (r->ncompared)
    json_compared(r, b);
  buf_puts(b, "}\n");
}

static void report_times(const Run *r) {
  sard_times m = sard_model_times(r->s->model);
  int64_t steps[4];
  size_t used, peak;
  tool_verbose(r->t, "load     %8.1f ms  (import %.1f, passes %.1f, compile %.1f)", r->s->load_ms, m.import_ms,
               m.passes_ms, m.compile_ms);
  tool_verbose(r->t, "run      %8.1f ms  on %s", r->s->run_ms, r->s->device);
  session_steps(r->s, steps);
  tool_verbose(r->t, "steps    %lld compiled, %lld library, %lld host, %lld reference", (long long)steps[0],
               (long long)steps[1], (long long)steps[2], (long long)steps[3]);
  sard_env_memory(r->s->env, &used, &peak);
  tool_verbose(r->t, "memory   %s at most, mapped weights not counted", bytes_text(r->t->arena, (int64_t)peak));
}

/* After the result: writing an entry may take longer than the run. */
static void report_cache(const Run *r) {
  double ms;
  if (!opt_set(r->t->o, OPT_verbose))
    return;
  if (sard_model_cache(r->s->model) == SARD_CACHE_HIT)
    tool_verbose(r->t, "cache    hit: nothing was compiled");
  else if (sard_cache_wait(r->s->model, &ms))
    tool_verbose(r->t, "cache    miss: compiled, and kept for the next time (written in %.1f ms)", ms);
  else
    tool_verbose(r->t, "cache    %s: compiled, nothing kept", session_cache(r->s));
}

Status cmd_run(Tool *t) {
  const Options *o = t->o;
  Run r = {.t = t};
  SessionOptions so = session_options(o);
  const Tensor **in;
  StrBuf b;
  TRY(session_open(t, o->arg[0], &so, &r.s));
  TRY(check_outputs(&r));
  TRY(inputs_gather(t, r.s, &in));
  TRY(session_run(t, r.s, in, opt_float(o, OPT_timeout, 0), &r.out));
  if (opt_set(o, OPT_expect))
    TRY(compare_outputs(&r));
  if (opt_set(o, OPT_output))
    TRY(store(&r));
  buf_init(&b, t->arena);
  if (opt_set(o, OPT_json))
    json_run(&r, &b);
  else {
    if (!opt_set(o, OPT_quiet) && !opt_set(o, OPT_output) && !opt_set(o, OPT_expect))
      show_outputs(&r, &b);
    show_compared(&r, &b);
  }
  report_times(&r);
  Status st = tool_print(t, &b);
  report_cache(&r);
  session_close(r.s);
  return st;
}
