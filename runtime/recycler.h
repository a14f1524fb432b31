/* recycler.h - memory of results, kept from one run to the next: its pages are there already, where fresh ones would have to be
 * mapped and zeroed one by one, at a fifth of the speed of a copy.
 *
 * What is out and what is kept together are never more than what was out at once, and a block nobody wanted for a while is
 * given back. Thread-safe. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_RECYCLER_H
#define SARD_RUNTIME_RECYCLER_H

#include "support/records.h"

#include <pthread.h>
#include <stdint.h>

typedef struct KeptBlock KeptBlock;

typedef struct Recycler {
  Alloc *alloc;
  pthread_mutex_t lock;
  KeptBlock *newest, *oldest; /* by when they came back */
  size_t out, kept, most;     /* bytes; most: of `out`, ever */
  uint64_t puts;              /* the clock of ages */
  uint64_t asked[64];         /* when a block of 2^i bytes to twice that was asked for last */
  int users;                  /* without any, nothing is kept */
  Records records;            /* smaller blocks, and the runs' own records */
} Recycler;

void recycler_init(Recycler *r, Alloc *a);
void recycler_destroy(Recycler *r); /* everything must be back */
void recycler_join(Recycler *r);
void recycler_leave(Recycler *r); /* gives everything kept back: whoever stays fills it anew */

/* At least `bytes` bytes aligned for a PROG_ALIGN header, *got of them; NULL: none left. r may be NULL: from `a`, kept by nobody. */
void *recycler_get(Recycler *r, Alloc *a, size_t bytes, size_t *got);
void recycler_put(Recycler *r, Alloc *a, void *p, size_t got);

#endif
