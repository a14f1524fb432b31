/* start.c - a compiled model becomes an instance that runs: its package is checked, the best variant for this CPU or GPU chosen.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start/start.h"

#include "runtime/package.h"
#include "runtime/pool.h"
#include "support/cores.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct Open {
  sard_model *s;
  const sard_compiled_options *o;
  bool fixed; /* all memory is the caller's */
} Open;

enum { STACK = 256 << 10 }; /* of a thread in the caller's memory; a kernel takes some KB */

/* The library or program that this is in: weights in a file of their own are beside it. */
static const char *own_file(char path[PATH_MAX]) {
  Dl_info info;
  if (dladdr(compiled_package, &info) && info.dli_fname && strchr(info.dli_fname, '/'))
    return info.dli_fname;
  return realpath("/proc/self/exe", path) ? path : "";
}

static Status find_weights(Ctx *c, const Open *x, const Package *p, RtFile *out) {
  char path[PATH_MAX];
  Mapped *beside;
  sard_model *s = x->s;
  bool external = p->h->flags & PACKAGE_EXTERNAL;
  TRY(package_weights(c, s->arena, p, external && !x->o->weights ? own_file(path) : "", x->o->weights, &beside, out));
  if (beside) {
    s->file = arena_new(s->arena, Mapped *);
    s->file[s->nfile++] = beside;
  }
  return ST_OK;
}

static void choose_threads(Ctx *c, sard_model *s, int wanted) {
  Arena *a = arena_create(c);
  Cores cores;
  cores_find(a, "", &cores);
  arena_destroy(a);
  s->cores = cores.usable, s->threads = wanted > 0 ? wanted : cores.usable;
}

static Status open_model(Ctx *c, void *arg) {
  Open *x = arg;
  sard_model *s = x->s;
  const PackageVariant *v;
  Package p;
  RtFile weights;
  s->arena = arena_create(c);
  TRY(package_check(c, compiled_package, (size_t)(compiled_package_end - compiled_package), &p));
  p.code = compiled_code;
  p.weights = p.h->flags & PACKAGE_EXTERNAL ? NULL : compiled_weights;
  s->path = package_string(&p, p.h->name);
  if (compiled_gpu.open)
    TRY(compiled_gpu.open(c, &s->gpu));
  TRY(package_choose(c, &p, s->gpu, &v));
  TRY(find_weights(c, x, &p, &weights));
  TRY(package_load(c, s->arena, &p, v, &weights, compiled_code + v->code, s->gpu, &s->program));
  if (x->fixed) /* what the machine has is not asked for: that would take memory */
    s->threads = x->o->threads > 1 ? x->o->threads : 1;
  else if (x->o->threads != 1)
    choose_threads(c, s, x->o->threads);
  if (!rt_count(s->program, SEC_CALLS) || s->threads == 1)
    return ST_OK;
  TRY(env_pool(s->env, c, &s->pool));
  return x->fixed ? pool_start(c, s->pool, s->threads, STACK) : ST_OK;
}

static void close_gpu(sard_compiled *m) {
  if (compiled_gpu.close)
    compiled_gpu.close(m->model.gpu);
}

sard_status compiled_open(sard_env *env, const sard_compiled_options *o, void *own, sard_compiled **out) {
  sard_compiled_options opt = SARD_COMPILED_OPTIONS_INIT;
  if (o && o->size < sizeof(size_t))
    return error_new(SARD_ERROR_USAGE, NULL, "options without SARD_COMPILED_OPTIONS_INIT");
  if (o)
    memcpy(&opt, o, o->size < sizeof opt ? o->size : sizeof opt);
  sard_compiled *m = alloc_get(&env->alloc, sizeof *m, _Alignof(sard_compiled));
  if (!m)
    return error_new(SARD_ERROR_MEMORY, NULL, "out of memory");
  *m = (sard_compiled){.env = env,
                       .package = compiled_package,
                       .own = own,
                       .model = {.env = env, .device = compiled_gpu.open ? "cuda" : "cpu", .threads = 1, .path = ""}};
  env_prepare(env, &m->model.c, 0, NULL);
  Status st = ctx_protect(&m->model.c, open_model, &(Open){&m->model, &opt, own != NULL});
  if (!st) {
    *out = m;
    return SARD_OK;
  }
  sard_status r = error_from(&m->model.c, NULL);
  if (m->model.pool)
    env_pool_done(env);
  ctx_close(&m->model.c);
  close_gpu(m);
  alloc_put(&env->alloc, m, sizeof *m);
  return r;
}

static void close_model(sard_compiled *m) {
  rt_unload(m->model.program);
  if (m->model.pool)
    env_pool_done(m->env);
  ctx_close(&m->model.c);
  close_gpu(m);
}

sard_status compiled_init(const sard_compiled_options *o, sard_compiled **out) {
  sard_env_options eo = SARD_ENV_OPTIONS_INIT;
  sard_env *env;
  if (!out)
    return error_new(SARD_ERROR_USAGE, NULL, "init: NULL argument");
  if (o && o->size >= sizeof *o)
    eo.max_memory = o->max_memory, eo.alloc = o->alloc, eo.free = o->free, eo.alloc_arg = o->alloc_arg;
  sard_status st = sard_env_create(&eo, &env, NULL);
  if (st)
    return st;
  st = compiled_open(env, o, NULL, out);
  if (st)
    sard_env_free(env);
  return st;
}

void compiled_free(sard_compiled *m) {
  if (!m)
    return;
  sard_env *env = m->env;
  close_model(m);
  alloc_put(&env->alloc, m, sizeof *m);
  sard_env_free(env);
}
