/* choices.c - what libraries have chosen for products, kept in the compile cache: one entry for all models, by the library's version
 * and the GPU. It is read when a model is loaded, and written when one is given up that had to ask; of two that do so at a time, one
 * may lose what it has asked for. No trouble with it is trouble with the model.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "codegen/plan.h"
#include "cuda/device.h"
#include "runtime/cache.h"
#include "support/str.h"

#include <string.h>
#include <unistd.h>

struct ModelChoices {
  const char *dir;
  pid_t pid; /* another process's locks are not ours to wait for */
};

static CacheKey key_of(Arena *tmp, const CudaChoices *x) {
  const char *t =
      arena_printf(tmp, "products of program %llx\n%s\n%s\n", (unsigned long long)plan_build_id(), x->library, x->gpu);
  return (CacheKey){{hash_bytes(t, strlen(t), 0), hash_bytes(t, strlen(t), 1)}};
}

typedef struct ChoicesArgs {
  sard_model *m;
  const char *option; /* of the cache's directory */
} ChoicesArgs;

/* Takes what the entry has. */
static Status take(Ctx *c, Arena *tmp, const Cache *d, const CacheKey *key, RtDevice *gpu) {
  Mapped *entry;
  CacheContent x;
  TRY(cache_find(c, tmp, d, key, &entry, &x));
  if (!entry)
    return ST_OK;
  cuda_choices_take(gpu, x.image, x.size);
  map_close(c, entry);
  return ST_OK;
}

static Status start(Ctx *c, void *arg) {
  ChoicesArgs *a = arg;
  Arena *tmp = arena_create(c);
  Cache *d;
  CudaChoices x;
  const char *path = cache_directory(a->m->arena, a->option);
  if (path && cuda_choices(a->m->gpu, tmp, &x)) {
    CacheKey key = key_of(tmp, &x);
    TRY(cache_open(c, tmp, path, true, &d));
    a->m->choices = arena_new(a->m->arena, ModelChoices);
    *a->m->choices = (ModelChoices){path, getpid()};
    Status st = take(c, tmp, d, &key, a->m->gpu);
    cache_close(d);
    TRY(st);
  }
  arena_destroy(tmp);
  return ST_OK;
}

static Status write_entry(Ctx *c, Arena *tmp, const Cache *d, const CudaChoices *x, RtDevice *gpu) {
  const void *bytes;
  CacheContent y = {.key = key_of(tmp, x), .model = "(algorithms of products)", .file = NULL};
  Status st = take(c, tmp, d, &y.key, gpu); /* others have asked for more, meanwhile */
  if (st == ST_MEMORY)
    return st;
  y.size = cuda_choices_give(gpu, tmp, &bytes);
  y.image = bytes;
  y.about = arena_printf(tmp, "%s, %s", x->library, x->gpu);
  return cache_write(c, cache_prepare(tmp, d, &y));
}

static Status end(Ctx *c, void *arg) {
  sard_model *m = arg;
  Arena *tmp = arena_create(c);
  CudaChoices x;
  Cache *d;
  if (!cuda_choices(m->gpu, tmp, &x) || !x.asked)
    return ST_OK;
  TRY(cache_open(c, tmp, m->choices->dir, true, &d));
  Status st = write_entry(c, tmp, d, &x, m->gpu);
  cache_close(d);
  return st;
}

Status choices_start(Ctx *c, const CompileArgs *a) {
  ChoicesArgs x = {a->m, a->o->cache};
  if (!a->m->gpu || a->m->cache_state == SARD_CACHE_OFF)
    return ST_OK;
  Status st = ctx_protect(c, start, &x);
  if (st == ST_CANCELLED || st == ST_TIMEOUT || st == ST_MEMORY)
    return st;
  if (st)
    ctx_log(c, 1, "compile cache: algorithms of products are asked for anew: %s", c->err.message);
  return ST_OK;
}

void choices_end(sard_model *m) {
  Ctx c;
  if (!m->choices || m->choices->pid != getpid())
    return;
  env_prepare(m->env, &c, 0, NULL);
  if (ctx_protect(&c, end, m))
    ctx_log(&c, 1, "compile cache: the algorithms of products are not kept: %s", c.err.message);
  ctx_close(&c);
}
