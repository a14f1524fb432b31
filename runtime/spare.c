/* spare.c - the working memory of runs, kept with the program from one run to the next: its pages are there already. One block
 * is kept; runs that go on at the same time allocate their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/internal.h"

static void *take(RtProgram *p, size_t *bytes) {
  pthread_mutex_lock(&p->lock);
  void *mem = p->spare;
  *bytes = p->spare_bytes;
  p->spare = NULL, p->spare_bytes = 0;
  pthread_mutex_unlock(&p->lock);
  return mem;
}

/* A block more than twice as large as needed is given back: shapes that come once must not hold memory for ever. */
void *spare_get(RtProgram *p, Ctx *c, size_t bytes, size_t *got) {
  void *mem = take(p, got);
  if (mem && *got >= bytes && *got / 2 <= bytes)
    return mem;
  alloc_put(p->alloc, mem, *got);
  *got = bytes;
  mem = alloc_get(p->alloc, bytes, PROG_ALIGN);
  if (!mem)
    ctx_out_of_memory(c, bytes);
  return mem;
}

void spare_put(RtProgram *p, void *mem, size_t bytes) {
  pthread_mutex_lock(&p->lock);
  if (!p->spare) {
    p->spare = mem, p->spare_bytes = bytes;
    mem = NULL;
  }
  pthread_mutex_unlock(&p->lock);
  alloc_put(p->alloc, mem, bytes);
}

void spare_drop(RtProgram *p) {
  size_t bytes;
  void *mem = take(p, &bytes);
  alloc_put(p->alloc, mem, bytes);
}
