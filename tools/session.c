/* session.c - loading and running through the public API.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/session.h"

#include "api/tune.h"
#include "frontend/model.h"
#include "tools/json.h"
#include "tools/npz.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

_Static_assert(sizeof(sard_str) == sizeof(Str), "strings pass through without a copy");
_Static_assert((int)SARD_MAX_RANK == (int)MAX_RANK, "shapes pass through");

/* The API's error as ours. Takes e. */
static Status api_error(Ctx *c, sard_status st, sard_error *e, const char *file) {
  if (!e)
    return fail(c, (Status)st, "%s", sard_status_name(st));
  fail(c, (Status)st, "%s", sard_error_message(e));
  err_file(c, (Status)st, *sard_error_file(e) ? sard_error_file(e) : file);
  err_node(c, (Status)st, sard_error_node(e), sard_error_op(e), sard_error_module(e), sard_error_source(e));
  if (*sard_error_hint(e))
    err_hint(c, (Status)st, "%s", sard_error_hint(e));
  sard_error_free(e);
  return (Status)st;
}

static void to_stderr(void *arg, const char *text, size_t n) {
  (void)arg;
  fwrite(text, 1, n, stderr);
}

static void log_stderr(void *arg, int level, const char *text) {
  const Tool *t = arg;
  if (level <= (opt_set(t->o, OPT_verbose) ? 1 : 0) && !opt_set(t->o, OPT_quiet))
    fprintf(stderr, "%s: %s\n", level ? "note" : "warning", text);
}

static void free_result(const Session *s, sard_result *r) {
  if (r)
    (s->api ? s->api->result_free : sard_result_free)(r);
}

static void discard(void *arg) {
  Session *s = arg;
  free_result(s, s->result);
  if (s->compiled)
    s->api->free(s->compiled);
  sard_model_free(s->model);
  sard_env_free(s->env);
}

void session_close(Session *s) {
  ctx_forget(s->c, &s->cleanup);
  discard(s);
}

static void describe(Arena *a, const sard_io *io, Port *p) {
  static const ValueKind kinds[] = {[SARD_KIND_TENSOR] = VK_TENSOR,
                                    [SARD_KIND_SEQUENCE] = VK_SEQUENCE,
                                    [SARD_KIND_OPTIONAL] = VK_OPTIONAL,
                                    [SARD_KIND_MAP] = VK_MAP};
  *p = (Port){
      .name = io->name, .kind = kinds[io->kind], .dtype = (DType)io->dtype, .rank = io->rank, .optional = io->optional};
  memcpy(p->dim, io->dim, sizeof p->dim);
  (void)a;
}

static void type_of_port(Arena *a, Port *p) {
  static const char *const kind[] = {"", "sequence of ", "optional ", "map "};
  StrBuf b;
  buf_init(&b, a);
  buf_puts(&b, kind[p->kind]);
  buf_puts(&b, p->dtype ? dtype_name(p->dtype) : "?");
  if (p->rank < 0)
    buf_puts(&b, "[*]");
  else {
    buf_putc(&b, '[');
    for (int i = 0; i < p->rank; i++) {
      buf_puts(&b, i ? "," : "");
      if (p->dim[i] >= 0)
        buf_printf(&b, "%lld", (long long)p->dim[i]);
      else
        buf_escaped(&b, p->dim_text[i] ? p->dim_text[i] : "?");
    }
    buf_putc(&b, ']');
  }
  p->type = b.text;
}

static void describe_all(Tool *t, Session *s) {
  sard_io io = SARD_IO_INIT;
  s->nin = sard_input_count(s->model), s->nout = sard_output_count(s->model);
  s->in = arena_array(t->arena, Port, s->nin), s->out = arena_array(t->arena, Port, s->nout);
  for (size_t i = 0; i < s->nin; i++) {
    sard_input(s->model, i, &io);
    describe(t->arena, &io, &s->in[i]);
    for (int k = 0; k < io.rank; k++)
      s->in[i].dim_text[k] = sard_input_dim_text(s->model, i, k);
    type_of_port(t->arena, &s->in[i]);
  }
  for (size_t i = 0; i < s->nout; i++) {
    sard_output(s->model, i, &io);
    describe(t->arena, &io, &s->out[i]);
    for (int k = 0; k < io.rank; k++)
      s->out[i].dim_text[k] = sard_output_dim_text(s->model, i, k);
    type_of_port(t->arena, &s->out[i]);
  }
}

/* The library, in this process for good. */
static Status open_library(Tool *t, Session *s, int threads) {
  const char *path = strchr(s->path, '/') ? s->path : arena_printf(t->arena, "./%s", s->path);
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  union {
    void *p;
    const sard_compiled_api *(*fn)(void);
  } u = {.p = lib ? dlsym(lib, "sard_compiled_model") : NULL};
  if (!u.p)
    return fail(t->c, ST_INVALID, "the compiled library does not load: %s",
                lib ? "it has no sard_compiled_model" : dlerror());
  sard_compiled_options o = SARD_COMPILED_OPTIONS_INIT;
  o.threads = threads;
  const sard_compiled_api *api = u.fn();
  sard_status st = api->init(&o, &s->compiled);
  if (st)
    return fail(t->c, (Status)st, "%s", api->error());
  s->api = api;
  return ST_OK;
}

Status session_open(Tool *t, const char *path, const SessionOptions *o, Session **out) {
  sard_error *e = NULL;
  Session *s = arena_new(t->arena, Session);
  s->c = t->c, s->path = path;
  ctx_on_failure(t->c, &s->cleanup, discard, s);
  sard_env_options eo = SARD_ENV_OPTIONS_INIT;
  eo.max_memory = o->max_memory, eo.log = o->quiet && !opt_set(t->o, OPT_verbose) ? NULL : log_stderr, eo.log_arg = t;
  sard_status st = sard_env_create(&eo, &s->env, &e);
  if (st)
    return api_error(t->c, st, e, NULL);
  sard_options lo = SARD_OPTIONS_INIT;
  lo.device = o->device, lo.threads = o->threads, lo.timeout = o->timeout, lo.strict = o->strict;
  lo.cancel = t->cancel, lo.dump_after = o->dump_after, lo.dump_kernel = o->dump_kernel, lo.stop_after = o->stop_after,
  lo.time_passes = o->time_passes;
  lo.dump = to_stderr, lo.cache = o->cache, lo.allow_reference = o->allow_reference;
  lo.precision = o->precision;
  tool_progress(t, "loading %s ...", path);
  int64_t start = now_ns();
  if (o->bytes.ptr)
    st = sard_load_bytes(s->env, o->bytes.ptr, o->bytes.len, model_directory(t->arena, path), &lo, &s->model, &e);
  else
    st = o->tuning ? tune_load(s->env, path, &lo, o->tuning, &s->model, &e)
                   : sard_load_file(s->env, path, &lo, &s->model, &e);
  s->load_ms = (double)(now_ns() - start) / 1e6;
  tool_progress_end(t);
  if (st)
    return api_error(t->c, st, e, path);
  s->device = sard_model_device(s->model);
  describe_all(t, s);
  if (o->own_runtime)
    TRY(open_library(t, s, o->threads));
  *out = s;
  return ST_OK;
}

Status session_compile(Tool *t, const char *path, const char *out, sard_compile_options *o) {
  sard_error *e = NULL;
  sard_env *env;
  sard_env_options eo = SARD_ENV_OPTIONS_INIT;
  eo.max_memory = (size_t)opt_int(t->o, OPT_max_memory, 0), eo.log = log_stderr, eo.log_arg = t;
  sard_status st = sard_env_create(&eo, &env, &e);
  if (st)
    return api_error(t->c, st, e, NULL);
  o->timeout = opt_float(t->o, OPT_timeout, 0), o->cancel = t->cancel;
  o->precision = opt_str(t->o, OPT_precision);
  tool_progress(t, "compiling %s ...", path);
  st = sard_compile_file(env, path, out, o, &e);
  tool_progress_end(t);
  sard_env_free(env);
  return st ? api_error(t->c, st, e, path) : ST_OK;
}

/* A value as the API sees it; NULL: the input's default. */
static void to_api(Arena *a, const Tensor *t, sard_tensor *out) {
  static char none; /* data of an empty tensor must not look like an absent one */
  *out = (sard_tensor){0};
  if (!t)
    return;
  if (t->kind != VK_TENSOR) {
    sard_tensor *item = arena_array(a, sard_tensor, (size_t)t->nitem);
    for (int64_t i = 0; i < t->nitem; i++)
      to_api(a, t->item[i], &item[i]);
    out->kind = (sard_kind)t->kind, out->item = item, out->nitem = t->nitem;
    return;
  }
  out->data = t->data ? t->data : &none, out->dtype = (sard_dtype)t->dtype, out->rank = t->rank;
  memcpy(out->dim, t->dim, sizeof out->dim);
}

static Tensor *from_api(Arena *a, const sard_tensor *x) {
  Tensor *t = arena_new(a, Tensor);
  t->kind = (uint8_t)x->kind, t->nitem = x->nitem;
  t->item = x->nitem ? arena_array(a, Tensor *, (size_t)x->nitem) : NULL;
  for (int64_t i = 0; i < x->nitem; i++)
    t->item[i] = from_api(a, &x->item[i]);
  t->dtype = (DType)x->dtype, t->rank = (int8_t)x->rank, t->data = x->data;
  memcpy(t->dim, x->dim, sizeof t->dim);
  return t;
}

static Status take_output(Tool *t, const Session *s, const sard_result *r, size_t i, Tensor **out) {
  sard_tensor x;
  int64_t n = (s->api ? s->api->result_items : sard_result_items)(r, i);
  if (n < 0) {
    sard_status st = (s->api ? s->api->result_tensor : sard_result_tensor)(r, i, &x);
    if (st)
      return fail(t->c, (Status)st, "output '%s' cannot be read: %s", s->out[i].name, sard_status_name(st));
    *out = from_api(t->arena, &x);
    return ST_OK;
  }
  Tensor *box = arena_new(t->arena, Tensor);
  box->kind = (uint8_t)(s->out[i].kind == VK_TENSOR ? VK_SEQUENCE : s->out[i].kind);
  box->item = arena_array(t->arena, Tensor *, (size_t)n), box->nitem = n;
  for (int64_t k = 0; k < n; k++) {
    sard_status st = (s->api ? s->api->result_item : sard_result_item)(r, i, k, &x);
    if (st)
      return fail(t->c, (Status)st, "output '%s', item %lld cannot be read: %s", s->out[i].name, (long long)k,
                  sard_status_name(st));
    box->item[k] = from_api(t->arena, &x);
  }
  *out = box;
  return ST_OK;
}

const sard_tensor *session_feed(Tool *t, const Session *s, const Tensor *const *in) {
  sard_tensor *x = arena_array(t->arena, sard_tensor, s->nin);
  for (size_t i = 0; i < s->nin; i++)
    to_api(t->arena, in[i], &x[i]);
  return x;
}

Status session_call(Tool *t, Session *s, const sard_tensor *in, const sard_run_options *ro, sard_result **out,
                    double *ms) {
  sard_error *e = NULL;
  int64_t start = now_ns();
  sard_status st = s->api ? s->api->call(s->compiled, in, s->nin, out) : sard_run(s->model, in, s->nin, ro, out, &e);
  *ms = (double)(now_ns() - start) / 1e6;
  if (st && s->api)
    return fail(t->c, (Status)st, "%s", s->api->error());
  return st ? api_error(t->c, st, e, s->path) : ST_OK;
}

Status session_call_into(Tool *t, Session *s, const sard_tensor *in, const sard_tensor *out, const sard_run_options *ro,
                         double *ms) {
  sard_error *e = NULL;
  int64_t start = now_ns();
  sard_status st = sard_run_into(s->model, in, s->nin, out, s->nout, ro, &e);
  *ms = (double)(now_ns() - start) / 1e6;
  return st ? api_error(t->c, st, e, s->path) : ST_OK;
}

Status session_plan(Tool *t, Session *s, const Tensor *const *in, sard_memory *out) {
  sard_tensor *x = arena_array(t->arena, sard_tensor, s->nin);
  sard_error *e = NULL;
  for (size_t i = 0; i < s->nin; i++) {
    to_api(t->arena, in[i], &x[i]);
    if (in[i] && in[i]->kind == VK_TENSOR)
      x[i].data = in[i]->data;
  }
  sard_status st = sard_plan(s->model, x, s->nin, out, &e);
  return st ? api_error(t->c, st, e, s->path) : ST_OK;
}

Status session_take(Tool *t, const Session *s, const sard_result *r, Tensor ***out) {
  *out = arena_array(t->arena, Tensor *, s->nout);
  for (size_t i = 0; i < s->nout; i++)
    TRY(take_output(t, s, r, i, &(*out)[i]));
  return ST_OK;
}

Status session_run(Tool *t, Session *s, const Tensor *const *in, double timeout, Tensor ***out) {
  sard_run_options ro = SARD_RUN_OPTIONS_INIT;
  const sard_tensor *x = session_feed(t, s, in);
  ro.timeout = timeout, ro.cancel = t->cancel;
  free_result(s, s->result);
  s->result = NULL;
  tool_progress(t, "running %s ...", s->path);
  Status st = session_call(t, s, x, &ro, &s->result, &s->run_ms);
  tool_progress_end(t);
  return st ? st : session_take(t, s, s->result, out);
}

SessionOptions session_options(const Options *o) {
  return (SessionOptions){.device = opt_str(o, OPT_device),
                          .threads = (int)opt_int(o, OPT_threads, 0),
                          .max_memory = (size_t)opt_int(o, OPT_max_memory, 0),
                          .timeout = opt_float(o, OPT_timeout, 0),
                          .strict = opt_set(o, OPT_strict),
                          .cache = opt_str(o, OPT_cache),
                          .precision = opt_str(o, OPT_precision),
                          .dump_after = opt_str(o, OPT_dump_after),
                          .dump_kernel = opt_str(o, OPT_dump_kernel),
                          .stop_after = opt_str(o, OPT_stop_after),
                          .time_passes = opt_set(o, OPT_time_passes),
                          .allow_reference = opt_set(o, OPT_allow)};
}

Status session_store(Tool *t, const Session *s, Tensor *const *out, const char *path) {
  const char **name = arena_array(t->arena, const char *, s->nout);
  OutFile *f;
  for (size_t i = 0; i < s->nout; i++)
    name[i] = s->out[i].name;
  TRY(file_begin(t->c, t->arena, path, &f));
  TRY(npz_write(t->c, t->arena, f, s->nout, name, (const Tensor *const *)out));
  return file_commit(t->c, f);
}

void session_graphs(const Session *s, bool json, StrBuf *b) {
  sard_graphs g = SARD_GRAPHS_INIT;
  if (sard_model_graphs(s->model, &g))
    return;
  if (json) {
    buf_printf(b, ", \"graphs\": {\"on\": %s, \"why\": ", g.on ? "true" : "false");
    json_str(b, *g.why ? g.why : NULL);
    buf_printf(b, ", \"step\": %lld, \"kernels\": %lld, \"recorded\": %lld, \"replayed\": %lld, \"grows\": %lld}",
               (long long)g.step, (long long)g.kernels, (long long)g.recorded, (long long)g.replayed,
               (long long)g.grows);
    return;
  }
  buf_printf(b, "CUDA graphs: ");
  if (g.on)
    buf_printf(b, "%lld steps in one%s; %lld runs recorded, %lld replayed\n", (long long)g.kernels,
               g.grows ? arena_printf(b->arena, ", for %lld lengths of what grows", (long long)g.grows) : "",
               (long long)g.recorded, (long long)g.replayed);
  else if (g.step >= 0)
    buf_printf(b, "none, for step %lld: %s\n", (long long)g.step, g.why);
  else
    buf_printf(b, "none: %s\n", g.why);
}

void session_steps(const Session *s, int64_t count[4]) {
  sard_step step = SARD_STEP_INIT;
  memset(count, 0, 4 * sizeof *count);
  for (size_t i = 0, n = sard_step_count(s->model); i < n; i++)
    if (!sard_step_info(s->model, i, &step) && (unsigned)step.kind < 4)
      count[step.kind]++;
}

const char *session_cache(const Session *s) {
  static const char *const name[] = {[SARD_CACHE_OFF] = "off", [SARD_CACHE_HIT] = "hit", [SARD_CACHE_MISS] = "miss"};
  return name[sard_model_cache(s->model)];
}

const char *step_kind_name(int kind) {
  static const char *const name[] = {"compiled", "library", "host", "reference"};
  return name[kind];
}

Status session_refuse_reference(Session *s) {
  sard_step step = SARD_STEP_INIT;
  for (size_t i = 0, n = sard_step_count(s->model); i < n; i++)
    if (!sard_step_info(s->model, i, &step) && step.kind == SARD_STEP_REFERENCE) {
      fail(s->c, ST_UNSUPPORTED, "this step would run as reference, which --require compiled refuses%s%s",
           *step.why ? ": " : "", step.why);
      err_node(s->c, ST_UNSUPPORTED, step.node, step.op, step.module, step.source);
      return err_file(s->c, ST_UNSUPPORTED, s->path);
    }
  return ST_OK;
}

typedef struct Ports {
  const Port *port;
  size_t n;
} Ports;

static const char *port_name(void *arg, size_t i) {
  const Ports *p = arg;
  return i < p->n ? p->port[i].name : NULL;
}

Status unknown_port(Ctx *c, const char *what, const char *name, const Port *port, size_t n) {
  char all[400] = "";
  size_t len = 0;
  fail(c, ST_USAGE, "the model has no %s '%s'", what, name);
  const char *near = nearest_name(name, port_name, &(Ports){port, n});
  if (near)
    return err_hint(c, ST_USAGE, "did you mean '%s'?", near);
  for (size_t i = 0; i < n && len + 1 < sizeof all; i++)
    len += (size_t)snprintf(all + len, sizeof all - len, "%s'%s'", i ? ", " : "", port[i].name);
  return err_hint(c, ST_USAGE, "%ss of the model: %s", what, n ? all : "none");
}
