/* cache.c - starting from the compile cache, and filling it: what a compiled model is kept under, what must still be as it
 * was, and a thread that writes the entry once the first result is out.
 *
 * Key: the build of this library and of the code generator, options, the CPU level and its tuning or the GPU's compute capability, the
 * graph's bytes without weights and where weights lie in the file, the model's directory. Beside the key an entry names the files with
 * weights and the LLVM that made its code, each with device, inode, size and times: a file that is the same by these has the same
 * bytes. That holds unless it was written within the file system's clock tick, so files that young are not relied on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "codegen/backend.h"
#include "codegen/plan.h"
#include "codegen/tuning.h"
#include "cuda/link.h"
#include "frontend/model.h"
#include "runtime/cache.h"
#include "runtime/device.h"
#include "support/cpu.h"
#include "support/str.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const int64_t TICK_NS = 100000000; /* no file system on a local disk has a coarser clock */

typedef enum { IDLE, READY, WRITING, DONE } Phase;

struct ModelCache {
  Cache *dir;
  CacheKey key;
  ModelId id;
  int64_t opened_ns; /* CLOCK_REALTIME, before any file of the model was read */
  CacheWrite *write; /* NULL: nothing is to be written */
  pthread_mutex_t lock;
  pthread_cond_t done;
  Phase phase; /* guarded by lock */
  double write_ms;
  bool written;
  pthread_t thread;
  pid_t pid; /* whose thread it is: none survives a fork */
};

static int64_t wall_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- the key --- */

static CacheFile file_of_stat(CacheFileKind kind, const char *name, const struct stat *st) {
  return (CacheFile){kind,
                     name,
                     st->st_dev,
                     st->st_ino,
                     (uint64_t)st->st_size,
                     (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
                     (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec};
}

static CacheFile file_of_map(CacheFileKind kind, const Mapped *m) {
  return (CacheFile){kind, m->path, m->dev, m->ino, m->size, m->mtime_ns, m->ctime_ns};
}

static bool same_file(const CacheFile *a, const CacheFile *b) {
  return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
         a->ctime_ns == b->ctime_ns;
}

static bool put_file(StrBuf *b, const char *what, const char *path) {
  struct stat st;
  if (stat(path, &st))
    return false;
  CacheFile f = file_of_stat(CACHE_TOOL, path, &st);
  buf_printf(b, "%s %llx %llx %llu %lld %lld\n", what, (unsigned long long)f.dev, (unsigned long long)f.ino,
             (unsigned long long)f.size, (long long)f.mtime_ns, (long long)f.ctime_ns);
  return true;
}

/* The directory by what it is, not by how it is called; with weights inside, the file's name in it. */
static bool put_place(StrBuf *b, const CompileArgs *a, const ModelId *id) {
  struct stat st;
  const char *slash = a->path ? strrchr(a->path, '/') : NULL;
  if (id->dir && stat(id->dir, &st))
    return false;
  if (id->dir)
    buf_printf(b, "directory %llx %llx\n", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
  if (id->holds_weights)
    buf_printf(b, "name %s\n", slash ? slash + 1 : a->path);
  return true;
}

/* False: something that the code depends on cannot be told. */
static bool make_key(Arena *tmp, const CompileArgs *a, const ModelId *id, CacheKey *key) {
  char own[PATH_MAX], generator[PATH_MAX];
  StrBuf b;
  buf_init(&b, tmp);
  buf_printf(&b, "program %llx\n", (unsigned long long)plan_build_id());
  if (!backend_paths(own, generator) || !put_file(&b, "library", own))
    return false;
  if (*generator && !put_file(&b, "generator", generator))
    return false;
  buf_printf(&b, "device %s %d\nlevel %s\nstrict %d\nprecision %s\n", a->m->device,
             a->m->gpu ? a->m->gpu->capability : 0, cpu_level() ? cpu_level() : "", a->o->strict,
             a->o->precision ? a->o->precision : "fp32");
  if (a->m->tuning)
    buf_printf(&b, "tuning %016llx\n",
               (unsigned long long)hash_bytes(a->m->tuning->row, a->m->tuning->n * sizeof(TuningRow), 0));
  buf_printf(&b, "model %016llx%016llx\n", (unsigned long long)id->hash[0], (unsigned long long)id->hash[1]);
  if (!put_place(&b, a, id))
    return false;
  key->h[0] = hash_bytes(b.text, b.len, 0), key->h[1] = hash_bytes(b.text, b.len, 1);
  return true;
}

/* --- opening --- */

static bool stops(Status st) { return st == ST_CANCELLED || st == ST_TIMEOUT || st == ST_MEMORY; }

static bool wanted(const sard_options *o) {
  return !o->dump_after && !o->stop_after && !o->time_passes && !o->dump_kernel;
}

typedef struct OpenArgs {
  CompileArgs *a;
  ModelCache *mc; /* set when there is a cache */
} OpenArgs;

static Status open_cache(Ctx *c, void *arg) {
  OpenArgs *x = arg;
  sard_model *s = x->a->m;
  LoadOptions lo = {.strict = x->a->o->strict};
  ModelCache *mc = arena_new(s->arena, ModelCache);
  Arena *tmp = arena_create(c);
  const char *path = cache_directory(tmp, x->a->o->cache);
  if (!path)
    return ST_OK;
  mc->opened_ns = wall_ns();
  Status own = cache_open(c, s->arena, path, true, &mc->dir);
  if (own && (stops(own) || !cache_shared(tmp, 0)))
    return own;
  if (own) { /* a shared one may have it */
    ctx_log(c, own == ST_INVALID ? 0 : 1, "compile cache: %s", c->err.message);
    mc->dir = NULL;
  }
  Status st = model_identify(c, s->arena, x->a->path, x->a->data, x->a->n, x->a->dir, &lo, &mc->id);
  if (st)
    return stops(st) ? st : ST_OK; /* import says why the model cannot be read */
  bool ok = make_key(tmp, x->a, &mc->id, &mc->key);
  arena_destroy(tmp);
  if (!ok)
    return fail(c, ST_IO, "no compile cache: the files that Sard consists of are not there");
  x->mc = mc;
  return ST_OK;
}

/* Trouble with the cache is no trouble with the model. */
static Status report(Ctx *c, Status st) {
  if (stops(st))
    return st;
  if (st)
    ctx_log(c, st == ST_INVALID ? 0 : 1, "compile cache: %s%s%s", c->err.message, *c->err.file ? ": " : "",
            c->err.file);
  return ST_OK;
}

/* --- starting from an entry --- */

typedef struct HitArgs {
  CompileArgs *a;
  ModelCache *mc;
  bool found;
} HitArgs;

static Status outdated(Ctx *c, const CacheFile *f) {
  return fail(c, ST_IO, "the model is compiled anew, since '%s' has changed", f->name);
}

static Status check_tools(Ctx *c, const CacheContent *x) {
  for (uint32_t i = 0; i < x->nfile; i++) {
    struct stat st;
    if (x->file[i].kind != CACHE_TOOL)
      continue;
    if (stat(x->file[i].name, &st))
      return outdated(c, &x->file[i]);
    CacheFile now = file_of_stat(CACHE_TOOL, "", &st);
    if (!same_file(&now, &x->file[i]))
      return outdated(c, &x->file[i]);
  }
  return ST_OK;
}

/* The files behind the program, mapped: the model's own, external data, the caller's bytes. */
static Status find_files(Ctx *c, HitArgs *h, const CacheContent *x, Mapped **map, uint32_t *nmap, RtFile **file,
                         uint32_t *nfile) {
  Arena *arena = h->a->m->arena;
  LoadOptions lo = {.strict = h->a->o->strict};
  const char **name = arena_array(arena, const char *, x->nfile);
  Mapped **weights = arena_array(arena, Mapped *, x->nfile);
  RtFile *f = arena_array(arena, RtFile, x->nfile + 1u);
  uint32_t n = 0, k = 0;
  for (uint32_t i = 0; i < x->nfile; i++)
    if (x->file[i].kind == CACHE_WEIGHTS)
      name[n++] = x->file[i].name;
  *nmap = *nfile = 0, *file = f;
  Status st = model_map_weights(c, arena, h->a->path, h->mc->id.dir, &lo, name, n, weights);
  if (st)
    return stops(st) ? st : fail(c, ST_IO, "weights are not where they were"); /* import says what is wrong with them */
  for (uint32_t i = 0; i < x->nfile && x->file[i].kind != CACHE_TOOL; i++) {
    const CacheFile *was = &x->file[i];
    Mapped *m = was->kind == CACHE_MODEL ? h->mc->id.file : was->kind == CACHE_WEIGHTS ? weights[k++] : NULL;
    CacheFile now = m ? file_of_map(was->kind, m) : (CacheFile){.size = h->a->n};
    bool by_hash = was->kind == CACHE_MEMORY || (was->kind == CACHE_MODEL && !h->mc->id.holds_weights);
    if (by_hash ? now.size != was->size : !same_file(&now, was))
      return outdated(c, was);
    f[(*nfile)++] = m ? (RtFile){m->base, m->size} : (RtFile){h->a->data, h->a->n};
    if (m)
      map[(*nmap)++] = m;
  }
  return ST_OK;
}

static bool has_reference(const RtProgram *p) {
  for (uint32_t i = 0; i < rt_count(p, SEC_STEPS); i++)
    if (step_kind(p, rt_step(p, i)) == SARD_STEP_REFERENCE)
      return true;
  return false;
}

/* In the user's own directory, else in one of those that are shared, in their order. */
static Status find_entry(Ctx *c, HitArgs *h, Mapped **entry, CacheContent *x) {
  Arena *a = h->a->m->arena;
  const char *path;
  *entry = NULL;
  if (h->mc->dir)
    TRY(cache_find(c, a, h->mc->dir, &h->mc->key, entry, x));
  for (int i = 0; !*entry && (path = cache_shared(a, i)); i++) {
    Cache *shared;
    Status st = cache_open_shared(c, a, path, &shared);
    if (!st) {
      st = cache_find(c, a, shared, &h->mc->key, entry, x);
      cache_close(shared);
    }
    if (stops(st))
      return st;
    if (st)
      ctx_log(c, st == ST_INVALID ? 0 : 1, "compile cache: %s", c->err.message);
  }
  return ST_OK;
}

/* What an entry was made for. */
static const char *made_for(Arena *a, const sard_model *s, bool ptx) {
  if (s->gpu)
    return arena_printf(a, "%s sm_%d%s", s->device, s->gpu->capability, ptx ? ", PTX" : "");
  return arena_printf(a, "%s %s", s->device, strcmp(s->device, "cpu") ? "" : cpu_level());
}

/* PTX, which the driver compiles at every start, was kept for want of nvJitLink. */
static bool lacks_machine_code(Ctx *c, const sard_model *s, const CacheContent *x) {
  const char *why;
  if (!s->gpu || strcmp(x->about, made_for(s->arena, s, true)) ||
      !cuda_assembles(cuda_library(CUDA_DRIVER)->version, &why))
    return false;
  ctx_log(c, 1, "compile cache: the model is compiled anew, since nvJitLink is here now");
  return true;
}

static Status start_from_entry(Ctx *c, void *arg) {
  HitArgs *h = arg;
  sard_model *s = h->a->m;
  CacheContent x;
  Mapped *entry;
  RtFile *file;
  uint32_t nfile, nmap;
  TRY(find_entry(c, h, &entry, &x));
  if (!entry || lacks_machine_code(c, s, &x))
    return ST_OK;
  Mapped **map = arena_array(s->arena, Mapped *, x.nfile + 1u);
  TRY(find_files(c, h, &x, map, &nmap, &file, &nfile));
  TRY(check_tools(c, &x));
  if (x.packed)
    file[nfile++] = (RtFile){x.packed, x.packed_size};
  for (uint32_t i = 0; i < nmap; i++) /* the scan for the key has been over the model's */
    map_forget(map[i]);
  map[nmap++] = entry;
  TRY(rt_load_on(c, s->arena, x.image, x.size, plan_build_id(), file, nfile, s->gpu, &s->program));
  if (!h->a->o->allow_reference && strcmp(s->device, "reference") && has_reference(s->program)) {
    rt_unload(s->program); /* compiling says what is wrong with it */
    s->program = NULL;
    return ST_OK;
  }
  s->file = map, s->nfile = nmap;
  h->found = true;
  return ST_OK;
}

Status cache_start(Ctx *c, CompileArgs *a) {
  sard_model *s = a->m;
  OpenArgs o = {.a = a};
  if (!wanted(a->o))
    return ST_OK;
  TRY(report(c, ctx_protect(c, open_cache, &o)));
  if (!o.mc)
    return ST_OK;
  HitArgs h = {.a = a, .mc = o.mc};
  TRY(report(c, ctx_protect(c, start_from_entry, &h)));
  s->cache_state = h.found ? SARD_CACHE_HIT : SARD_CACHE_MISS;
  if (h.found && o.mc->dir)
    cache_close(o.mc->dir);
  else if (!h.found && o.mc->dir)
    s->cache = o.mc;
  return ST_OK;
}

/* --- filling it --- */

/* What the program's constants lie in, in the program's order, and LLVM. False: a file is too young to be relied on. */
static bool list_files(Arena *a, const sard_model *s, const ModelCache *mc, const CompileArgs *args, CacheFile *f,
                       uint32_t *n) {
  struct stat st;
  *n = 0;
  for (uint32_t i = 0; i < s->nfile; i++) {
    bool own = i == 0 && args->path;
    f[*n] = file_of_map(own ? CACHE_MODEL : CACHE_WEIGHTS, s->file[i]);
    if ((!own || mc->id.holds_weights) && f[*n].ctime_ns > mc->opened_ns - TICK_NS)
      return false;
    ++*n;
  }
  if (!args->path)
    f[(*n)++] = (CacheFile){.kind = CACHE_MEMORY, .name = "", .size = args->n};
  const char *llvm = backend_llvm_path(a);
  if (llvm && !stat(llvm, &st))
    f[(*n)++] = file_of_stat(CACHE_TOOL, llvm, &st);
  return true;
}

/* The weights in the entry are those of files that have not changed since they were opened. */
static Status check_unchanged(Ctx *c, const sard_model *m) {
  for (uint32_t i = 0; i < m->nfile; i++) {
    struct stat st;
    if (fstat(m->file[i]->fd, &st))
      return fail_errno(c, "examine the file", m->file[i]->path);
    CacheFile now = file_of_stat(CACHE_WEIGHTS, "", &st), then = file_of_map(CACHE_WEIGHTS, m->file[i]);
    if (!same_file(&now, &then))
      return fail(c, ST_IO, "'%s' has changed", m->file[i]->path);
  }
  return ST_OK;
}

static void *write_entry(void *arg) {
  sard_model *m = arg;
  ModelCache *mc = m->cache;
  Ctx c;
  env_prepare(m->env, &c, 0, NULL);
  int64_t start = now_ns();
  Status st = check_unchanged(&c, m);
  st = st ? st : cache_write(&c, mc->write);
  double ms = (double)(now_ns() - start) * 1e-6;
  if (st)
    ctx_log(&c, 1, "compile cache: nothing is kept: %s", c.err.message);
  ctx_close(&c);
  pthread_mutex_lock(&mc->lock);
  mc->phase = DONE, mc->written = !st, mc->write_ms = ms;
  pthread_cond_broadcast(&mc->done);
  pthread_mutex_unlock(&mc->lock);
  return NULL;
}

/* With all signals blocked: the process's handlers are not for this thread. */
static bool start_thread(sard_model *m) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool ok = !pthread_create(&m->cache->thread, NULL, write_entry, m);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return ok;
}

/* Starts the writing, once. */
static void after_run(const sard_model *model) {
  ModelCache *mc = model->cache;
  pthread_mutex_lock(&mc->lock);
  if (mc->phase == READY) {
    mc->pid = getpid();
    mc->phase = start_thread((sard_model *)(uintptr_t)model) ? WRITING : IDLE;
  }
  pthread_mutex_unlock(&mc->lock);
}

void cache_fill(Ctx *c, const CompileArgs *a, const uint8_t *image, size_t size, const RtFile *packed) {
  sard_model *s = a->m;
  ModelCache *mc = s->cache;
  char real[PATH_MAX];
  if (!mc)
    return;
  CacheFile *file = arena_array(s->arena, CacheFile, s->nfile + 2u);
  CacheContent x = {.key = mc->key,
                    .model = arena_strdup(s->arena, a->path && realpath(a->path, real) ? real : ""),
                    .about = made_for(s->arena, s, s->no_linker),
                    .file = file,
                    .image = image,
                    .size = size,
                    .packed = packed ? packed->base : NULL,
                    .packed_size = packed ? packed->size : 0};
  if (!list_files(s->arena, s, mc, a, file, &x.nfile)) {
    ctx_log(c, 1, "compile cache: the model was written a moment ago, so nothing is kept of it this time");
    return;
  }
  mc->write = cache_prepare(s->arena, mc->dir, &x);
  pthread_mutex_init(&mc->lock, NULL);
  pthread_cond_init(&mc->done, NULL);
  mc->phase = READY;
  s->after_run = after_run;
}

void cache_end(sard_model *m) {
  ModelCache *mc = m->cache;
  if (!mc || !mc->write || mc->pid != getpid())
    return;
  if (mc->phase == WRITING || mc->phase == DONE)
    pthread_join(mc->thread, NULL);
  pthread_cond_destroy(&mc->done);
  pthread_mutex_destroy(&mc->lock);
}

sard_cache_state sard_model_cache(const sard_model *m) { return m ? m->cache_state : SARD_CACHE_OFF; }

bool sard_cache_wait(const sard_model *m, double *ms) {
  ModelCache *mc = m ? m->cache : NULL;
  if (!mc || !mc->write || mc->pid != getpid())
    return false;
  pthread_mutex_lock(&mc->lock);
  while (mc->phase == WRITING)
    pthread_cond_wait(&mc->done, &mc->lock);
  bool written = mc->written;
  if (ms)
    *ms = mc->write_ms;
  pthread_mutex_unlock(&mc->lock);
  return written;
}
