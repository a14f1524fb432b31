/* sard.c - the public C API over the compiler and the runtime.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "codegen/backend.h"
#include "cuda/device.h"
#include "runtime/object.h"
#include "support/checked.h"
#include "support/cores.h"
#include "support/cpu.h"
#include "support/dim.h"

#include <string.h>

#define SAME(a, b) _Static_assert((int)(a) == (int)(b), #a)
SAME(SARD_ERROR_USAGE, ST_USAGE);
SAME(SARD_ERROR_INVALID, ST_INVALID);
SAME(SARD_ERROR_UNSUPPORTED, ST_UNSUPPORTED);
SAME(SARD_ERROR_MEMORY, ST_MEMORY);
SAME(SARD_ERROR_DEVICE, ST_DEVICE);
SAME(SARD_ERROR_IO, ST_IO);
SAME(SARD_ERROR_CANCELLED, ST_CANCELLED);
SAME(SARD_ERROR_TIMEOUT, ST_TIMEOUT);
SAME(SARD_ERROR_INTERNAL, ST_INTERNAL);
SAME(SARD_F32, DT_f32);
SAME(SARD_F6E3M2, DT_f6e3m2);
SAME(SARD_MAX_RANK, MAX_RANK);
SAME(SARD_KIND_MAP, VK_MAP);
_Static_assert(sizeof(sard_str) == sizeof(Str), "string elements");

int sard_version(void) { return SARD_VERSION_MAJOR * 10000 + SARD_VERSION_MINOR * 100 + SARD_VERSION_PATCH; }

const char *sard_version_string(void) { return SARD_VERSION_STRING; }

/* --- loading --- */

static bool gpu_available(void) {
  Alloc alloc;
  Ctx c;
  CudaDevice d;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  bool ok = backend_present() && !cuda_device_find(&c, &d);
  ctx_close(&c);
  return ok;
}

bool sard_device_available(const char *device) {
  if (device && !strcmp(device, "cuda"))
    return gpu_available();
  return device && (!strcmp(device, "reference") || (!strcmp(device, "cpu") && cpu_level() && backend_present()));
}

/* Memory ran out before the model had a context of its own. */
static sard_status no_memory_for(sard_env *env, const char *path, sard_error **err) {
  Ctx c;
  env_prepare(env, &c, 0, NULL);
  fail(&c, ST_MEMORY, "out of memory");
  if (path)
    err_file(&c, ST_MEMORY, path);
  sard_status r = error_from(&c, err);
  ctx_close(&c);
  return r;
}

sard_status load_model(sard_env *env, CompileArgs *a, const sard_options *o, sard_model **out, sard_error **err) {
  sard_options opt = SARD_OPTIONS_INIT;
  if (!out)
    return error_new(SARD_ERROR_USAGE, err, "sard_load: NULL argument");
  if (o && o->size < sizeof(size_t))
    return error_new(SARD_ERROR_USAGE, err, "sard_load: options without SARD_OPTIONS_INIT");
  if (o)
    memcpy(&opt, o, o->size < sizeof opt ? o->size : sizeof opt);
  bool cpu = sard_device_available("cpu");
  const char *device = opt.device ? opt.device : cpu || !opt.allow_reference ? "cpu" : "reference";
  static const char *const known[] = {"cpu", "reference", "cuda"};
  const char *own = NULL; /* lives as long as the model */
  for (size_t i = 0; i < countof(known); i++)
    own = strcmp(device, known[i]) ? own : known[i];
  if (!own)
    return error_new(SARD_ERROR_DEVICE, err, "there is no device '%s', only 'cpu', 'cuda' and 'reference'", device);
  env = env_or_default(env);
  sard_model *m = alloc_get(&env->alloc, sizeof *m, _Alignof(sard_model));
  if (!m)
    return no_memory_for(env, a->path, err);
  *m = (sard_model){.env = env, .device = own, .threads = opt.threads};
  env_prepare(env, &m->c, opt.timeout, opt.cancel);
  a->m = m, a->o = &opt;
  Status st = ctx_protect(&m->c, compile_model, a);
  if (st) {
    if (a->path)
      err_file(&m->c, st, a->path);
    sard_status r = error_from(&m->c, err);
    if (m->pool)
      env_pool_done(env);
    ctx_close(&m->c);
    cuda_close(m->gpu);
    alloc_put(&env->alloc, m, sizeof *m);
    return r;
  }
  m->c.cancel = NULL, m->c.deadline_ns = 0;
  recycler_join(&env->recycler);
  *out = m;
  return SARD_OK;
}

sard_status sard_load_file(sard_env *env, const char *path, const sard_options *o, sard_model **out, sard_error **err) {
  if (!path)
    return error_new(SARD_ERROR_USAGE, err, "sard_load_file: path is NULL");
  CompileArgs a = {.path = path};
  return load_model(env, &a, o, out, err);
}

sard_status sard_load_bytes(sard_env *env, const void *data, size_t n, const char *dir, const sard_options *o,
                            sard_model **out, sard_error **err) {
  if (!data)
    return error_new(SARD_ERROR_USAGE, err, "sard_load_bytes: data is NULL");
  CompileArgs a = {.data = data, .n = n, .dir = dir};
  return load_model(env, &a, o, out, err);
}

void sard_model_free(sard_model *m) {
  if (!m)
    return;
  sard_env *env = m->env;
  cache_end(m);
  choices_end(m);
  rt_unload(m->program);
  object_unload(m->code);
  recycler_leave(&env->recycler);
  if (m->pool)
    env_pool_done(env);
  ctx_close(&m->c);
  cuda_close(m->gpu);
  alloc_put(&env->alloc, m, sizeof *m);
}

void sard_release(const sard_model *m) {
  if (m)
    rt_release(m->program);
}

sard_times sard_model_times(const sard_model *m) { return m ? m->times : (sard_times){0}; }
