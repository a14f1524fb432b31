/* spare.c - the working memory of runs, kept with the program from one run to the next: its pages are there already. One block
 * of each sort is kept; runs that go on at the same time allocate their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/internal.h"

/* Requests of many shapes come in any order: the block of the largest serves them all. But shapes that come once must not hold
 * memory for ever. */
enum { LOOSE_RUNS = 256 };

static Spare take(RtProgram *p, int which) {
  pthread_mutex_lock(&p->lock);
  Spare s = p->spare[which];
  p->spare[which].mem = NULL, p->spare[which].bytes = 0;
  pthread_mutex_unlock(&p->lock);
  return s;
}

void *spare_get(RtProgram *p, Ctx *c, int which, size_t bytes, size_t *got) {
  Spare s = take(p, which);
  *got = s.bytes;
  if (s.mem && s.bytes >= bytes)
    return s.mem;
  alloc_put(p->alloc, s.mem, s.bytes);
  *got = bytes;
  void *mem = alloc_get(p->alloc, bytes, PROG_ALIGN);
  if (!mem)
    ctx_out_of_memory(c, bytes);
  return mem;
}

/* Of two that come back, the larger one stays. */
void spare_put(RtProgram *p, int which, void *mem, size_t bytes, size_t needed) {
  Spare *s = &p->spare[which], gone = {mem, bytes, 0};
  pthread_mutex_lock(&p->lock);
  s->loose = bytes / 2 > needed ? s->loose + 1 : 0;
  if (s->loose < LOOSE_RUNS && s->bytes < bytes) {
    gone = *s;
    s->mem = mem, s->bytes = bytes;
  }
  pthread_mutex_unlock(&p->lock);
  alloc_put(p->alloc, gone.mem, gone.bytes);
}

void spare_drop(RtProgram *p) {
  for (int i = 0; i < SPARES; i++) {
    Spare s = take(p, i);
    alloc_put(p->alloc, s.mem, s.bytes);
  }
}
