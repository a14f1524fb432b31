/* env.c - environments: allocator, byte budget and log of a group of models. One exists by default.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "runtime/pool.h"
#include "support/checked.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The default environment: the one piece of state a process has without asking. */
static sard_env default_env;
static pthread_once_t default_once = PTHREAD_ONCE_INIT;

/* What the machine has: more cannot be meant, and systems that overcommit would grant it. */
static size_t machine_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  size_t bytes;
  return pages > 0 && page > 0 && size_mul_ok((size_t)pages, (size_t)page, &bytes) ? bytes : 0;
}

static void make_default(void) {
  alloc_init_system(&default_env.alloc);
  default_env.alloc.limit = machine_memory();
  recycler_init(&default_env.recycler, &default_env.alloc);
  default_env.users = 1;
  pthread_mutex_init(&default_env.lock, NULL);
}

sard_env *env_or_default(sard_env *env) {
  if (env)
    return env;
  pthread_once(&default_once, make_default);
  return &default_env;
}

void env_prepare(sard_env *env, Ctx *c, double timeout, const volatile int *cancel) {
  ctx_open(c, &env->alloc);
  c->log = env->o.log, c->log_arg = env->o.log_arg;
  _Static_assert(sizeof(atomic_int) == sizeof(int), "the caller's flag is read atomically");
  c->cancel = (const atomic_int *)(uintptr_t)cancel;
  if (timeout > 0)
    c->deadline_ns = now_ns() + (int64_t)(timeout < 1e9 ? timeout * 1e9 : 1e18);
}

static void *callers_get(void *self, size_t size, size_t align) {
  sard_env *env = self;
  return env->o.alloc(env->o.alloc_arg, size, align);
}

static void callers_put(void *self, void *p, size_t size) {
  sard_env *env = self;
  env->o.free(env->o.alloc_arg, p, size);
}

static void destroy(sard_env *env) {
  recycler_destroy(&env->recycler);
  pthread_mutex_destroy(&env->lock);
  free(env);
}

sard_status sard_env_create(const sard_env_options *o, sard_env **out, sard_error **err) {
  if (!out || !o || o->size < sizeof(size_t))
    return error_new(SARD_ERROR_USAGE, err, "sard_env_create: NULL argument, or options without SARD_ENV_OPTIONS_INIT");
  sard_env *env = calloc(1, sizeof *env);
  if (!env)
    return error_new(SARD_ERROR_MEMORY, err, "out of memory");
  memcpy(&env->o, o, o->size < sizeof env->o ? o->size : sizeof env->o);
  if (!env->o.alloc != !env->o.free) {
    free(env);
    return error_new(SARD_ERROR_USAGE, err, "sard_env_options: alloc and free must be given together");
  }
  alloc_init_system(&env->alloc);
  if (env->o.alloc)
    env->alloc.get = callers_get, env->alloc.put = callers_put, env->alloc.self = env;
  pthread_mutex_init(&env->lock, NULL);
  env->alloc.limit = env->o.max_memory ? env->o.max_memory : machine_memory();
  recycler_init(&env->recycler, &env->alloc);
  env->users = 1;
  env->destroy = destroy;
  *out = env;
  return SARD_OK;
}

/* Workers start when runs want them, so the most costs nothing. */
Status env_pool(sard_env *env, Ctx *c, Pool **pool) {
  pthread_mutex_lock(&env->lock);
  Status st = env->pool ? ST_OK : pool_create(c, POOL_MAX_THREADS, &env->pool);
  if (!st)
    *pool = env->pool, env->pool_users++;
  pthread_mutex_unlock(&env->lock);
  return st;
}

void env_pool_done(sard_env *env) {
  pthread_mutex_lock(&env->lock);
  if (!--env->pool_users) {
    pool_destroy(env->pool);
    env->pool = NULL;
  }
  pthread_mutex_unlock(&env->lock);
}

sard_env *env_share(sard_env *env) {
  atomic_fetch_add(&env->users, 1);
  return env;
}

void env_drop(sard_env *env) {
  if (atomic_fetch_sub(&env->users, 1) == 1 && env->destroy)
    env->destroy(env);
}

void sard_env_free(sard_env *env) {
  if (env)
    env_drop(env);
}

void sard_env_memory(sard_env *env, size_t *used, size_t *peak) {
  env = env_or_default(env);
  if (used)
    *used = atomic_load(&env->alloc.used);
  if (peak)
    *peak = atomic_load(&env->alloc.peak);
}
