/* static.c - a compiled model in memory that the caller gives, all of it, the stacks of its threads included: a first-fit heap over
 * one block. Nothing here or below calls malloc.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start/start.h"

#include <string.h>

enum { GRAIN = 64 };

/* A piece of the block: free ones are in a list by address, so that neighbours join again. */
typedef struct Piece {
  size_t size; /* with this header */
  struct Piece *next;
} Piece;

typedef struct Heap {
  sard_env env;
  pthread_mutex_t lock;
  Piece *free;
} Heap;

static size_t grains(size_t n) { return (n + GRAIN - 1) / GRAIN * GRAIN; }

/* The header is in the grain before what is handed out. */
static void *heap_get(void *self, size_t size, size_t align) {
  Heap *h = self;
  void *p = NULL;
  if (size > SIZE_MAX / 2)
    return NULL;
  size_t need = grains(size) + GRAIN;
  pthread_mutex_lock(&h->lock);
  for (Piece **at = &h->free; *at; at = &(*at)->next) {
    Piece *x = *at;
    size_t skip = align > GRAIN ? (align - ((uintptr_t)x + GRAIN) % align) % align : 0;
    if (x->size < need + skip)
      continue;
    Piece *rest = x->size > need + skip ? (Piece *)(void *)((char *)x + skip + need) : NULL;
    if (rest)
      *rest = (Piece){x->size - skip - need, x->next};
    Piece *behind = rest ? rest : x->next, *taken = (Piece *)(void *)((char *)x + skip);
    if (skip)
      x->size = skip, x->next = behind;
    else
      *at = behind;
    taken->size = need;
    p = (char *)taken + GRAIN;
    break;
  }
  pthread_mutex_unlock(&h->lock);
  return p;
}

static void join(Piece *x) {
  while (x && x->next && (char *)x + x->size == (char *)x->next)
    x->size += x->next->size, x->next = x->next->next;
}

static void heap_put(void *self, void *p, size_t size) {
  Heap *h = self;
  Piece *x = (Piece *)(void *)((char *)p - GRAIN), *before = NULL;
  (void)size;
  pthread_mutex_lock(&h->lock);
  for (Piece *y = h->free; y && y < x; y = y->next)
    before = y;
  x->next = before ? before->next : h->free;
  if (before)
    before->next = x;
  else
    h->free = x;
  join(x);
  join(before);
  pthread_mutex_unlock(&h->lock);
}

sard_status compiled_init_static(void *memory, size_t bytes, const sard_compiled_options *o, sard_compiled **out) {
  size_t skip = (GRAIN - (uintptr_t)memory % GRAIN) % GRAIN, head = grains(sizeof(Heap));
  if (!memory || !out || bytes < skip + head + 2 * GRAIN)
    return error_new(SARD_ERROR_USAGE, NULL, "init_static: NULL argument, or hardly any memory");
  Heap *h = (Heap *)(void *)((char *)memory + skip);
  memset(h, 0, sizeof *h);
  h->free = (Piece *)(void *)((char *)h + head);
  *h->free = (Piece){(bytes - skip - head) / GRAIN * GRAIN, NULL};
  h->env.alloc = (Alloc){.get = heap_get, .put = heap_put, .self = h};
  pthread_mutex_init(&h->lock, NULL);
  pthread_mutex_init(&h->env.lock, NULL);
  recycler_init(&h->env.recycler, &h->env.alloc);
  return compiled_open(&h->env, o, memory, out);
}

/* The memory is the caller's again. */
void compiled_free_static(sard_compiled *m) {
  if (!m)
    return;
  rt_unload(m->model.program);
  if (m->model.pool)
    env_pool_done(m->env);
  ctx_close(&m->model.c);
  alloc_put(&m->env->alloc, m, sizeof *m);
}
