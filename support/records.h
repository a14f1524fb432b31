/* records.h - small blocks that contexts which come and go ask for one after the other, as runs do for their records: what one
 * gives back the next one gets, and the allocator is asked for no more than were out at once.
 *
 * Thread-safe. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_RECORDS_H
#define SARD_SUPPORT_RECORDS_H

#include "support/alloc.h"

#include <pthread.h>
#include <stdbool.h>

enum { RECORD_CLASSES = 13, RECORD_LEAST = 64, RECORD_MOST = RECORD_LEAST << (RECORD_CLASSES - 1) };

typedef struct Records {
  Alloc *alloc;
  pthread_mutex_t lock;
  struct KeptRecord *kept[RECORD_CLASSES]; /* blocks of RECORD_LEAST << i bytes, the newest first */
  bool keeps;                              /* false: what comes back is given back at once */
} Records;

void records_init(Records *r, Alloc *a);
void records_destroy(Records *r); /* everything must be back, and nothing kept */
/* Whether to keep what comes back from now on; what is kept is given back. */
void records_keep(Records *r, bool keeps);

/* size bytes aligned to `align`, at most RECORD_LEAST; NULL: none left. r may be NULL, and what is larger than RECORD_MOST is not
 * kept: those come from a, which is r's own allocator. */
void *records_get(Records *r, Alloc *a, size_t size, size_t align);
void records_put(Records *r, Alloc *a, void *p, size_t size); /* p may be NULL */

#endif
