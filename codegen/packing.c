/* packing.c - packing beside compiling. The work is cut into pieces of a few panels, taken in order from one counter, so at any
 * time only a few weights are half done: whoever does the last piece of one gives the pages back that its source took, and
 * the process never holds all weights twice.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/packing.h"

#include "codegen/gpu.h"
#include "codegen/gpu_product.h"
#include "codegen/integer.h"
#include "codegen/nbits.h"
#include "codegen/winograd.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_THREADS = 64, PIECE_BYTES = 1 << 20, AROUND = 2 << 20 };

typedef struct Item {
  ProductPlan plan;
  int64_t panels, step;      /* step: panels of a piece */
  int64_t first;             /* number of its first piece */
  atomic_int_least64_t left; /* pieces not done */
} Item;

struct Packing {
  const Groups *groups;
  const PlanFile *file;
  uint32_t nfile;
  Ctx *c;   /* whose cancel flag and deadline hold */
  bool gpu; /* panels are rows of weights */
  uint8_t *memory;
  Alloc *alloc;
  size_t size;
  Item *item;
  int64_t pieces;
  atomic_int_least64_t next;
  atomic_bool stop;
  pthread_t thread[MAX_THREADS];
  unsigned nthread;
  Cleanup running, owned;
};

/* Not arena memory: that would be zeroed first. Nor huge pages: under a hypervisor that takes free ones back, the first touch of
 * each costs more than the small ones together (340 MB: 1.1 s of system time instead of 0.25). */
static void release(void *arg) {
  Packing *p = arg;
  alloc_put(p->alloc, p->memory, p->size);
  p->memory = NULL;
}

static void allocate(Ctx *c, Packing *p, Arena *keep) {
  p->alloc = c->alloc;
  p->memory = alloc_get(p->alloc, p->size, 64);
  if (!p->memory)
    ctx_out_of_memory(c, p->size);
  ctx_on_failure(arena_ctx(keep), &p->owned, release, p);
}

/* What of a mapped file lies between the two, and around, since a page may have brought 2 MB in (Linux 6.18): not read again, or
 * from the file. Memory of other kinds is left alone, since its contents would be lost. */
static void give_back(const Packing *p, const uint8_t *from, const uint8_t *to) {
  for (uint32_t i = 0; i < p->nfile; i++) {
    const PlanFile *f = &p->file[i];
    if ((uintptr_t)from < (uintptr_t)f->base || (uintptr_t)to > (uintptr_t)f->base + f->size)
      continue;
    size_t a = (size_t)(from - f->base) & ~(size_t)(AROUND - 1), b = ((size_t)(to - f->base) | (AROUND - 1)) + 1;
    madvise((void *)(uintptr_t)(f->base + a), (b < f->size ? b : f->size) - a, MADV_DONTNEED);
  }
}

static NBitsSource source_of(const Packed *x) {
  return (NBitsSource){.b = x->value->konst->data,
                       .scale = x->scale ? x->scale->konst->data : NULL,
                       .zero = x->zero ? x->zero->konst->data : NULL,
                       .zero_type = x->zero ? x->zero->type.dtype : DT_none};
}

static void pack_piece(Packing *p, uint32_t i, int64_t piece) {
  const Packed *x = &p->groups->packed[i];
  Item *it = &p->item[i];
  int64_t from = piece * it->step, to = from + it->step < it->panels ? from + it->step : it->panels;
  const uint8_t *src = x->value->konst->data;
  NBitsSource few = source_of(x);
  if (p->gpu)
    gpu_weight_pack(x->product, x->k, src, p->memory + x->offset, from, to);
  else if (x->product->bits.bits)
    nbits_pack(&it->plan, &x->product->bits, x->k, x->n, &few, p->memory + x->offset, from, to);
  else if (x->product->winograd)
    winograd_pack(&it->plan, x->product, x->n, src, (float *)(void *)(p->memory + x->offset), from, to);
  else if (x->product->bytes)
    integer_pack(&it->plan, x->product, x->k, x->n, x->taps, (const int8_t *)src, p->memory + x->offset, from, to);
  else if (x->product->weights)
    product_pack_rounded(&it->plan, x->product->weights, x->k, x->n, x->trans, x->taps, src,
                         (uint16_t *)(void *)(p->memory + x->offset), from, to);
  else
    product_pack(&it->plan, x->k, x->n, x->trans, x->taps, src, (float *)(void *)(p->memory + x->offset), from, to);
  if (atomic_fetch_sub(&it->left, 1) == 1)
    give_back(p, src, src + tensor_bytes(x->value->konst));
}

static bool late(const Packing *p) {
  return (p->c->cancel && atomic_load_explicit(p->c->cancel, memory_order_relaxed)) ||
         (p->c->deadline_ns && now_ns() > p->c->deadline_ns);
}

static void *work(void *arg) {
  Packing *p = arg;
  uint32_t i = 0;
  for (int64_t n; (n = atomic_fetch_add(&p->next, 1)) < p->pieces && !atomic_load(&p->stop) && !late(p);) {
    while (i + 1 < p->groups->npacked && n >= p->item[i + 1].first)
      i++;
    pack_piece(p, i, n - p->item[i].first);
  }
  return NULL;
}

static void join(Packing *p) {
  for (unsigned i = 0; i < p->nthread; i++)
    pthread_join(p->thread[i], NULL);
  p->nthread = 0;
}

static void abandon(void *arg) {
  Packing *p = arg;
  atomic_store(&p->stop, true);
  join(p);
}

static void cut(Packing *p, const char *level) {
  p->gpu = gpu_level(level);
  for (uint32_t i = 0; i < p->groups->npacked; i++) {
    const Packed *x = &p->groups->packed[i];
    Item *it = &p->item[i];
    if (!p->gpu)
      it->plan = product_plan(x->product, level);
    it->panels = p->gpu ? x->n : product_panels(&it->plan, x->n) * (x->product->groups > 1 ? x->product->groups : 1);
    int64_t panel = it->panels ? (int64_t)x->size / it->panels : 0;
    it->step = panel >= PIECE_BYTES || !panel ? 1 : PIECE_BYTES / panel;
    it->first = p->pieces;
    atomic_init(&it->left, (it->panels + it->step - 1) / it->step);
    p->pieces += atomic_load(&it->left);
  }
}

Status packing_begin(Ctx *c, Arena *keep, const Groups *groups, const PlanFile *file, uint32_t n, unsigned threads,
                     Packing **out) {
  *out = NULL;
  if (!groups->npacked)
    return ST_OK;
  Packing *p = arena_new(keep, Packing);
  p->groups = groups, p->file = file, p->nfile = n, p->c = c, p->size = groups->packed_size;
  p->item = arena_array(keep, Item, groups->npacked);
  allocate(c, p, keep);
  cut(p, groups->cpu_level);
  for (uint32_t i = 0; i < n; i++) /* what import and passes have read */
    give_back(p, file[i].base, (const uint8_t *)file[i].base + file[i].size);
  ctx_on_failure(c, &p->running, abandon, p);
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* the process's handlers are not for these threads */
  while (p->nthread < threads && p->nthread < MAX_THREADS && (int64_t)p->nthread < p->pieces &&
         !pthread_create(&p->thread[p->nthread], NULL, work, p))
    p->nthread++;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  *out = p;
  return ST_OK;
}

Status packing_end(Ctx *c, Packing *p, const uint8_t **memory) {
  *memory = NULL;
  if (!p)
    return ST_OK;
  work(p);
  join(p);
  ctx_forget(c, &p->running);
  *memory = p->memory;
  return ctx_poll(c);
}
