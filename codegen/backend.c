/* backend.c - loading libsard-codegen.so, and compiling on several threads: units are cut into jobs of about the same work, each of
 * which has a context and an arena of its own and makes one object; threads take the dearest that is left.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/backend.h"

#include "codegen/product.h"
#include "support/beside.h"

#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_JOBS = 64 };
static const char library[] = "libsard-codegen.so";

/* clang 14's leak checker reads wild addresses for the thread-local storage of libraries loaded later: it is left out. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
__attribute__((visibility("default"))) const char *__lsan_default_options(void);
const char *__lsan_default_options(void) { return "use_tls=0:print_suppressions=0"; }
/* Without it, what the dynamic linker keeps per thread for a library loaded later looks lost. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:ld-linux"; }
#endif
#endif

/* --- loading --- */

/* The process has one code generator; it is never unloaded, as LLVM does not bear that. */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static const EmitApi *loaded;

bool backend_present(void) {
  char path[PATH_MAX];
  return beside_find(library, path);
}

bool backend_paths(char *own, char *generator) {
  char path[PATH_MAX];
  *generator = 0;
  if (beside_find(library, path) && !realpath(path, generator))
    return false;
  return beside_own(own);
}

static const char *file_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static bool is_llvm(const char *path) { return !strncmp(file_name(path), "libLLVM", 7); }

static int find_llvm(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size;
  const char **found = arg;
  if (!is_llvm(info->dlpi_name))
    return 0;
  *found = info->dlpi_name;
  return 1;
}

const char *backend_llvm_path(Arena *a) {
  const char *name = NULL;
  dl_iterate_phdr(find_llvm, &name);
  return name ? arena_strdup(a, name) : NULL;
}

/* Or has it inside. */
static bool holds_llvm(const char *path) { return is_llvm(path) || !strcmp(file_name(path), library); }

static int forget_segments(struct dl_phdr_info *info, size_t size, void *arg) {
  (void)size, (void)arg;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; holds_llvm(info->dlpi_name) && i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &info->dlpi_phdr[i];
    if (h->p_type != PT_LOAD || h->p_flags & PF_W)
      continue;
    uintptr_t begin = info->dlpi_addr + h->p_vaddr, from = (begin + page - 1) & ~(page - 1);
    uintptr_t to = (begin + h->p_memsz) & ~(page - 1);
    if (from < to)
      madvise((void *)from, to - from, MADV_DONTNEED);
  }
  return 0;
}

/* Gives the pages of LLVM back that are those of its file: tables that the dynamic linker has read, and code. There are 50 MB, more than
 * many models take; what is needed again is mapped again in a millisecond or two. What is written to, relocations included, stays. */
static void forget_llvm(void) { dl_iterate_phdr(forget_segments, NULL); }

static Status load(Ctx *c) {
  const Beside generator = {
      .name = library,
      .what = "the code generator",
      .hint = "it is built when LLVM 19.1 to 22 is installed (llvm-19-dev); --device reference works without",
      .symbol = "sard_codegen_api",
      .build = EMIT_BUILD};
  const void *api;
  TRY(beside_load(c, &generator, &api));
  loaded = api;
  forget_llvm();
  return ST_OK;
}

Status backend_load(Ctx *c, const EmitApi **api) {
  pthread_mutex_lock(&loading);
  Status st = loaded ? ST_OK : load(c);
  pthread_mutex_unlock(&loading);
  *api = loaded;
  return st;
}

/* --- compiling --- */

typedef struct Job {
  const EmitApi *api;
  const EmitTarget *target;
  const Unit **unit;
  uint32_t *number; /* of its units among all */
  uint32_t n;
  int cost; /* of its units */
  Ctx c;
  Arena *a;
  EmitObject object;
  Status st;
} Job;

/* Jobs in the order they are taken. */
typedef struct Queue {
  Job **job;
  uint32_t n;
  atomic_uint_least32_t next;
} Queue;

static Status compile(Ctx *c, void *arg) {
  Job *j = arg;
  j->a = arena_create(c);
  EmitObject *o = &j->object;
  TRY(j->api->emit_units(c, j->a, j->unit, j->n, j->target, o));
  if (!j->target->assemble)
    return ST_OK;
  const char *ptx = arena_strndup(j->a, (const char *)o->bytes, o->size);
  return j->target->assemble(c, j->a, j->target->gpu, ptx, &o->machine, &o->machine_size);
}

static void *work(void *arg) {
  Queue *q = arg;
  for (uint32_t i; (i = atomic_fetch_add(&q->next, 1)) < q->n;)
    q->job[i]->st = ctx_protect(&q->job[i]->c, compile, q->job[i]);
  return NULL;
}

static int dearer(const void *a, const void *b) {
  const Job *x = *(Job *const *)a, *y = *(Job *const *)b;
  return x->cost != y->cost ? (x->cost < y->cost) - (x->cost > y->cost) : (x > y) - (x < y);
}

static void run_jobs(Arena *a, Job *job, uint32_t jobs, uint32_t threads) {
  Queue q = {.job = arena_array(a, Job *, jobs), .n = jobs};
  pthread_t thread[MAX_JOBS];
  uint32_t started = 0;
  for (uint32_t i = 0; i < jobs; i++)
    q.job[i] = &job[i];
  qsort(q.job, jobs, sizeof(Job *), dearer);
  while (started + 1 < threads && started + 1 < jobs && !pthread_create(&thread[started], NULL, work, &q))
    started++;
  work(&q);
  while (started)
    pthread_join(thread[--started], NULL);
}

static const uint8_t *copy(Arena *a, const uint8_t *from, size_t n) {
  return n ? memcpy(arena_get(a, 1, n, 64), from, n) : NULL;
}

/* The objects of the jobs, copied into arena a; on failure the first job's error. */
static Status gather(Ctx *c, Arena *a, Job *job, uint32_t jobs, EmitObject *object) {
  for (uint32_t i = 0; i < jobs; i++)
    if (job[i].st) {
      c->err = job[i].c.err;
      return job[i].st;
    }
  for (uint32_t i = 0; i < jobs; i++) {
    const EmitObject *from = &job[i].object;
    const char **symbol = arena_array(a, const char *, job[i].n);
    for (uint32_t k = 0; k < job[i].n; k++)
      symbol[k] = arena_strdup(a, from->symbol[k]);
    object[i] = (EmitObject){.bytes = copy(a, from->bytes, from->size),
                             .size = from->size,
                             .machine = copy(a, from->machine, from->machine_size),
                             .machine_size = from->machine_size,
                             .symbol = symbol,
                             .ir = from->ir ? arena_strdup(a, from->ir) : NULL};
  }
  return ST_OK;
}

static void close_jobs(void *arg) {
  Job *job = arg;
  for (int i = 0; i < MAX_JOBS; i++)
    if (job[i].unit)
      ctx_close(&job[i].c);
}

/* --- who compiles what --- */

/* A unit and what it shares with others of its module: inner kernels (codegen/llvm/tile.h) and the loops around them. */
typedef struct Item {
  const Unit *unit;
  uint64_t kernels; /* equal for the same ones; 0: none */
  int cost;         /* milliseconds that LLVM takes, apart from … */
  int kernels_cost; /* … what it shares */
  bool placed;
} Item;

enum { ATTENTION_COST = 75, CHANNELWISE_COST = 10, GPU_PRODUCT_COST = 30, LEAST_COST = 60, SHORT_K = 32 };

/* A call of shared loops and perhaps an epilogue, but where sums go through that in the inner kernels, tables are filled or Winograd's
 * tiles made. */
static int product_cost(const Product *p, const ProductPlan *plan) {
  int64_t k;
  if (p->winograd)
    return 26;
  if (p->positions && plan->one_block && !p->rows && dim_is_const(p->k, &k) && k <= SHORT_K)
    return 12;
  return p->rows || p->bytes || p->bits.bits || p->weights ? 8 : 3;
}

/* The loops, and an inner kernel for each height of a tile: two where rows are known. */
static int kernels_cost(const Product *p, const ProductPlan *plan) {
  int64_t m;
  return 6 + (dim_is_const(p->m, &m) ? 4 : plan->mr + 2);
}

static Item item_of(const Unit *u, const char *level) {
  const Product *p = &u->product;
  if (u->kind != UNIT_PRODUCT)
    return (Item){.unit = u, .cost = u->kind == UNIT_ATTENTION ? ATTENTION_COST : 3};
  if (p->forms) /* of GPUs: one kernel, which shares nothing */
    return (Item){.unit = u, .cost = GPU_PRODUCT_COST};
  if (p->channelwise || product_is_depthwise(p))
    return (Item){.unit = u, .cost = CHANNELWISE_COST};
  ProductPlan plan = product_plan(p, level);
  uint64_t what[] = {(uint64_t)plan.mr,       (uint64_t)plan.nr, (uint64_t)plan.tail,
                     p->rows && !p->winograd, p->trans_a,        p->bits.bits,
                     (uint64_t)p->bits.block, p->bits.zero,      p->bits.rounded,
                     (uint64_t)p->bytes,      p->packed_b,       (uint64_t)p->weights};
  return (Item){.unit = u,
                .kernels = hash_bytes(what, sizeof what, 0) | 1,
                .cost = product_cost(p, &plan),
                .kernels_cost = kernels_cost(p, &plan)};
}

static bool has_kernels(const Job *j, const Item *item, uint64_t kernels) {
  for (uint32_t i = 0; i < j->n; i++)
    if (item[j->number[i]].kernels == kernels)
      return true;
  return false;
}

/* What it adds to what a job has to do. */
static int added(const Job *j, const Item *item, const Item *x) {
  return x->cost + (x->kernels && !has_kernels(j, item, x->kernels) ? x->kernels_cost : 0);
}

/* What each of the jobs would have to do if all came out even, inner kernels made once. */
static int even_share(const Item *item, uint32_t n, uint32_t jobs) {
  int64_t all = 0;
  for (uint32_t k = 0; k < n; k++) {
    bool first = item[k].kernels != 0;
    for (uint32_t i = 0; i < k && first; i++)
      first = item[i].kernels != item[k].kernels;
    all += item[k].cost + (first ? item[k].kernels_cost : 0);
  }
  return jobs ? (int)((all + jobs - 1) / jobs) : 0; /* none: there is nothing to compile */
}

/* A job that has the unit's inner kernels and is not beyond its share, at least not by half of what they cost, or else the one that
 * would be done first. */
static uint32_t choose_job(const Job *job, uint32_t jobs, const Item *item, const Item *x, int share) {
  uint32_t best = 0;
  for (uint32_t i = 0; i < jobs && x->kernels; i++)
    if (job[i].cost + x->cost <= share + x->kernels_cost / 2 && has_kernels(&job[i], item, x->kernels))
      return i;
  for (uint32_t i = 1; i < jobs; i++)
    if (job[i].cost + added(&job[i], item, x) < job[best].cost + added(&job[best], item, x))
      best = i;
  return best;
}

/* Unit k is place[k] of object code[k].object. Attentions are placed first, then products, those of the same inner kernels one
 * after the other, and what is cheap last. */
static void spread(Item *item, uint32_t n, Job *job, uint32_t jobs, BackendCode *code, uint32_t *place) {
  static const uint8_t dearest_first[] = {UNIT_ATTENTION, UNIT_PRODUCT, UNIT_LOOP};
  int share = even_share(item, n, jobs);
  for (size_t d = 0; d < countof(dearest_first); d++)
    for (uint32_t first = 0; first < n; first++)
      for (uint32_t k = first; k < n; k++) {
        Item *x = &item[k];
        if (x->placed || x->unit->kind != dearest_first[d] || (k != first && item[first].kernels != x->kernels))
          continue;
        Job *j = &job[code[k].object = choose_job(job, jobs, item, x, share)];
        j->cost += added(j, item, x), x->placed = true;
        place[k] = j->n, j->number[j->n] = k, j->unit[j->n++] = x->unit;
      }
}

/* How many jobs: as many as are asked for, but for so little work that what a module costs by itself would be felt. */
static uint32_t count_jobs(const Item *item, uint32_t n, uint32_t threads, uint32_t objects) {
  int64_t all = even_share(item, n, 1), most = all / LEAST_COST;
  uint32_t jobs = objects > MAX_JOBS ? MAX_JOBS : objects;
  if (most < jobs)
    jobs = most > threads ? (uint32_t)most : threads < jobs ? threads : jobs;
  return jobs > n ? n : jobs < 1 ? 1 : jobs;
}

Status backend_compile(Ctx *c, Arena *a, const Unit *const *unit, uint32_t n, const EmitTarget *target,
                       unsigned threads, unsigned objects, BackendResult *out) {
  const EmitApi *api;
  TRY(backend_load(c, &api));
  threads = threads < 1 ? 1 : threads;
  Item *item = arena_array(a, Item, n);
  for (uint32_t k = 0; k < n; k++)
    item[k] = item_of(unit[k], target->cpu_level);
  uint32_t jobs = count_jobs(item, n, threads, objects);
  Job *job = arena_array(a, Job, MAX_JOBS);
  EmitObject *object = arena_array(a, EmitObject, jobs);
  BackendCode *code = arena_array(a, BackendCode, n);
  uint32_t *place = arena_array(a, uint32_t, n);
  Cleanup *cleanup = arena_new(a, Cleanup);
  for (uint32_t i = 0; i < jobs; i++) {
    job[i] = (Job){
        .api = api, .target = target, .unit = arena_array(a, const Unit *, n), .number = arena_array(a, uint32_t, n)};
    ctx_open(&job[i].c, c->alloc);
    job[i].c.cancel = c->cancel, job[i].c.deadline_ns = c->deadline_ns;
  }
  spread(item, n, job, jobs, code, place);
  ctx_on_failure(c, cleanup, close_jobs, job);
  run_jobs(a, job, jobs, threads);
  Status st = gather(c, a, job, jobs, object);
  ctx_forget(c, cleanup);
  close_jobs(job);
  if (jobs > 1) /* small programs, one after the other, would need the same pages again and again */
    forget_llvm();
  for (uint32_t k = 0; k < n && !st; k++)
    code[k].symbol = object[code[k].object].symbol[place[k]];
  *out = (BackendResult){object, jobs, code};
  return st;
}
