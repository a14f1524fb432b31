/* alloc.h - every byte comes from an Alloc: a caller's allocator behind a byte budget.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_ALLOC_H
#define SARD_SUPPORT_ALLOC_H

#include <stdatomic.h>
#include <stddef.h>

typedef struct Alloc {
  void *(*get)(void *self, size_t size, size_t align); /* NULL: none left; align is a power of two */
  void (*put)(void *self, void *p, size_t size);
  void *self;
  size_t limit;        /* bytes; 0: no limit. A request over it fails before it is made. */
  atomic_size_t used;  /* bytes handed out now */
  atomic_size_t peak;  /* most bytes handed out at once */
  atomic_size_t count; /* requests granted so far */
} Alloc;

/* An allocator over aligned_alloc/free without a limit. */
void alloc_init_system(Alloc *a);

/* size bytes at the given alignment, or NULL when over the limit or refused. size 0 gives a valid unique pointer. Thread-safe. */
void *alloc_get(Alloc *a, size_t size, size_t align);
/* p (may be NULL) came from alloc_get(a, size, …) with the same size. Thread-safe. */
void alloc_put(Alloc *a, void *p, size_t size);

#endif
