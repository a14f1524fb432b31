/* alloc.c - the byte budget in front of an allocator.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/alloc.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static void *system_get(void *self, size_t size, size_t align) {
  (void)self;
  void *p = NULL;
  if (align <= _Alignof(max_align_t)) /* a few times faster than the other when small */
    return malloc(size);
  return posix_memalign(&p, align, size) ? NULL : p;
}

static void system_put(void *self, void *p, size_t size) {
  (void)self, (void)size;
  free(p);
}

void alloc_init_system(Alloc *a) { *a = (Alloc){.get = system_get, .put = system_put}; }

void *alloc_get(Alloc *a, size_t size, size_t align) {
  if (!size)
    size = 1;
  if (size > PTRDIFF_MAX)
    return NULL;
  size_t used = atomic_fetch_add(&a->used, size) + size;
  void *p = NULL;
  if (!a->limit || used <= a->limit)
    p = a->get(a->self, size, align);
  if (!p) {
    atomic_fetch_sub(&a->used, size);
    return NULL;
  }
  atomic_fetch_add(&a->count, 1);
  size_t peak = atomic_load(&a->peak);
  while (used > peak && !atomic_compare_exchange_weak(&a->peak, &peak, used))
    ;
  return p;
}

void alloc_put(Alloc *a, void *p, size_t size) {
  if (!p)
    return;
  if (!size)
    size = 1;
  a->put(a->self, p, size);
  atomic_fetch_sub(&a->used, size);
}
