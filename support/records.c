/* records.c - see records.h: a stack of blocks for each power of two.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/records.h"

#include "support/poison.h"

#include <stddef.h>

typedef struct KeptRecord { /* lies in the block itself */
  struct KeptRecord *up;
} KeptRecord;

void records_init(Records *r, Alloc *a) {
  *r = (Records){.alloc = a};
  pthread_mutex_init(&r->lock, NULL);
}

void records_destroy(Records *r) { pthread_mutex_destroy(&r->lock); }

static size_t bytes_of(int class) { return (size_t)RECORD_LEAST << class; }

static int class_of(size_t size) {
  int class = 0;
  while (bytes_of(class) < size)
    class ++;
  return class;
}

static KeptRecord *pop(Records *r, int class) {
  KeptRecord *k = r->kept[class];
  if (!k)
    return NULL;
  UNPOISON(k, bytes_of(class));
  r->kept[class] = k->up;
  return k;
}

static void push(Records *r, int class, KeptRecord *k) {
  k->up = r->kept[class];
  r->kept[class] = k;
  POISON(k, bytes_of(class));
}

/* True: something was given back. The lock is held. */
static bool drop(Records *r) {
  bool any = false;
  for (int class = 0; class < RECORD_CLASSES; class ++)
    for (KeptRecord *k; (k = pop(r, class)); any = true)
      alloc_put(r->alloc, k, bytes_of(class));
  return any;
}

void records_keep(Records *r, bool keeps) {
  pthread_mutex_lock(&r->lock);
  r->keeps = keeps;
  drop(r);
  pthread_mutex_unlock(&r->lock);
}

void *records_get(Records *r, Alloc *a, size_t size, size_t align) {
  if (!r || size > RECORD_MOST)
    return alloc_get(a, size, align);
  int class = class_of(size);
  pthread_mutex_lock(&r->lock);
  void *p = pop(r, class);
  if (!p)
    p = alloc_get(a, bytes_of(class), RECORD_LEAST);
  if (!p && drop(r)) /* the budget may have room without them */
    p = alloc_get(a, bytes_of(class), RECORD_LEAST);
  pthread_mutex_unlock(&r->lock);
  return p;
}

void records_put(Records *r, Alloc *a, void *p, size_t size) {
  if (!p || !r || size > RECORD_MOST) {
    alloc_put(a, p, size);
    return;
  }
  int class = class_of(size);
  pthread_mutex_lock(&r->lock);
  if (r->keeps)
    push(r, class, p);
  else
    alloc_put(a, p, bytes_of(class));
  pthread_mutex_unlock(&r->lock);
}
