/* tuning.c - the table of tuned products: one entry of the compile cache for all models, by CPU. It is read when a model is compiled
 * for the CPU, and written by `sard tune`; of two that do so at a time, one may lose what it has found. A table that is damaged,
 * of another CPU, or not the user's alone is not believed, and said not to be.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/tune.h"

#include "api/internal.h"
#include "codegen/product.h"
#include "runtime/cache.h"
#include "support/cpu.h"
#include "support/str.h"

#include <string.h>

enum { VERSION = 1, NAME_SIZE = 128 };

const char *tune_cpu(Arena *a) {
  char name[NAME_SIZE];
  cpu_model(name, sizeof name);
  return arena_printf(a, "%s, %s", *name ? name : "a CPU without a name", cpu_level());
}

/* The rows mean what they mean by the tiles of the level. */
static CacheKey key_of(Arena *tmp) {
  const ProductLevel *l = product_level(cpu_level());
  StrBuf b;
  buf_init(&b, tmp);
  buf_printf(&b, "tuning %d of %s\nunroll %u caches %u %u\n", VERSION, tune_cpu(tmp), l->unroll, l->l1, l->l2);
  for (const ProductTile *t = l->tile; t->mr; t++)
    buf_printf(&b, "tile %ux%u\n", t->mr, t->nr);
  return (CacheKey){{hash_bytes(b.text, b.len, 0), hash_bytes(b.text, b.len, 1)}};
}

/* The rows that the entry has, in arena a; none if there is no entry. */
static Status take(Ctx *c, Arena *a, const Cache *d, Tuning *t) {
  CacheKey key = key_of(a);
  CacheContent x;
  Mapped *entry;
  *t = (Tuning){0};
  TRY(cache_find(c, a, d, &key, &entry, &x));
  if (!entry)
    return ST_OK;
  bool ok = tuning_take(arena_copy(a, x.image, x.size), x.size, cpu_level(), t);
  map_close(c, entry);
  return ok ? ST_OK : fail(c, ST_INVALID, "it has rows that mean nothing");
}

/* --- for compiling --- */

typedef struct StartArgs {
  const CompileArgs *a;
  const char *dir;
} StartArgs;

static Status start(Ctx *c, void *arg) {
  const StartArgs *x = arg;
  sard_model *s = x->a->m;
  Arena *tmp = arena_create(c);
  Tuning *t = arena_new(s->arena, Tuning);
  Cache *d;
  TRY(cache_open(c, tmp, x->dir, true, &d));
  Status st = take(c, s->arena, d, t);
  cache_close(d);
  TRY(st);
  if (t->n)
    s->tuning = t;
  arena_destroy(tmp);
  return ST_OK;
}

Status tuning_start(Ctx *c, const CompileArgs *a) {
  StartArgs x = {a, cache_directory(a->m->arena, a->o->cache)};
  a->m->tuning = a->trial;
  if (a->trial || !x.dir || strcmp(a->m->device, "cpu"))
    return ST_OK;
  Status st = ctx_protect(c, start, &x);
  if (st == ST_CANCELLED || st == ST_TIMEOUT || st == ST_MEMORY)
    return st;
  if (st == ST_INVALID)
    ctx_log(c, 0, "the tuning of this CPU is left aside: %s", c->err.message);
  return ST_OK;
}

/* --- for sard tune --- */

sard_status tune_load(sard_env *env, const char *path, const sard_options *o, const Tuning *t, sard_model **out,
                      sard_error **err) {
  sard_options opt = *o;
  CompileArgs a = {.path = path, .trial = t};
  opt.device = "cpu", opt.cache = "off";
  return load_model(env, &a, &opt, out, err);
}

uint64_t tune_key(const sard_model *m, size_t step) {
  const ProgCall *call = rt_call(m->program, rt_step(m->program, (uint32_t)step));
  return m->product && call ? m->product[call->kernel] : 0;
}

Status tune_keep(Ctx *c, Arena *a, const char *dir, const Tuning *t, uint32_t *all) {
  Tuning old, merged;
  Cache *d;
  TRY(cache_open(c, a, dir, true, &d));
  if (take(c, a, d, &old)) { /* ours to write anew */
    ctx_log(c, 0, "the tuning of this CPU is made anew: %s", c->err.message);
    old = (Tuning){0};
  }
  tuning_merge(a, &old, t, &merged);
  CacheContent x = {.key = key_of(a),
                    .model = "(tuning of products)",
                    .about = tune_cpu(a),
                    .image = (const uint8_t *)merged.row,
                    .size = merged.n * sizeof *merged.row};
  *all = merged.n;
  Status st = cache_write(c, cache_prepare(a, d, &x));
  cache_close(d);
  return st;
}
