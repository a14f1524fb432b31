/* recycler.c - see recycler.h. SPDX-License-Identifier: Apache-2.0 */
#include "runtime/recycler.h"

#include "runtime/program.h"

#include <stdbool.h>

/* Smaller blocks are records. Older blocks than that many returns are given back, and serve smaller
 * requests if any of about their size was made since: results of many shapes come in any order. */
enum { KEPT_LEAST = 16 << 10, KEPT_PUTS = 512 };

struct KeptBlock { /* lies in the block itself */
  KeptBlock *older, *newer;
  size_t bytes;
  uint64_t put;
};

void recycler_init(Recycler *r, Alloc *a) {
  *r = (Recycler){.alloc = a};
  pthread_mutex_init(&r->lock, NULL);
  records_init(&r->records, a);
}

void recycler_destroy(Recycler *r) {
  records_destroy(&r->records);
  pthread_mutex_destroy(&r->lock);
}

static void unlink_block(Recycler *r, KeptBlock *b) {
  *(b->newer ? &b->newer->older : &r->newest) = b->older;
  *(b->older ? &b->older->newer : &r->oldest) = b->newer;
  r->kept -= b->bytes;
}

/* Gives the oldest blocks back until at most `room` bytes are kept, and those that are too old. */
static void shrink(Recycler *r, size_t room) {
  for (KeptBlock *b; (b = r->oldest) && (r->kept > room || r->puts - b->put > KEPT_PUTS);) {
    unlink_block(r, b);
    alloc_put(r->alloc, b, b->bytes);
  }
}

void recycler_join(Recycler *r) {
  pthread_mutex_lock(&r->lock);
  if (!r->users++)
    records_keep(&r->records, true);
  pthread_mutex_unlock(&r->lock);
}

void recycler_leave(Recycler *r) {
  pthread_mutex_lock(&r->lock);
  r->users--;
  records_keep(&r->records, r->users > 0);
  shrink(r, 0);
  r->most = r->out;
  pthread_mutex_unlock(&r->lock);
}

/* Sizes that grow a little from run to run, as a decoder's cache does, fall on the same few: eighths of powers of two. */
static size_t size_class(size_t bytes) {
  size_t step = PROG_ALIGN;
  while (bytes / step >= 16)
    step *= 2;
  return (bytes + step - 1) / step * step;
}

static int log2_of(size_t bytes) { return 63 - __builtin_clzll(bytes); }

static bool may_serve(const Recycler *r, const KeptBlock *b, size_t bytes) {
  return b->bytes == bytes || (b->bytes > bytes && r->puts - r->asked[log2_of(b->bytes)] <= KEPT_PUTS);
}

/* The smallest block that is large enough: if blocks were there once for larger requests, each of these finds one. */
static KeptBlock *take_kept(Recycler *r, size_t bytes) {
  KeptBlock *best = NULL;
  for (KeptBlock *b = r->newest; b; b = b->older)
    if (may_serve(r, b, bytes) && (!best || b->bytes < best->bytes))
      best = b;
  if (best)
    unlink_block(r, best);
  return best;
}

static size_t room_of(const Recycler *r) { return r->most - r->out; }

void *recycler_get(Recycler *r, Alloc *a, size_t bytes, size_t *got) {
  *got = bytes;
  if (!r || bytes < KEPT_LEAST)
    return records_get(r ? &r->records : NULL, a, bytes, PROG_ALIGN);
  *got = size_class(bytes);
  pthread_mutex_lock(&r->lock);
  r->asked[log2_of(*got)] = r->puts;
  KeptBlock *p = take_kept(r, *got);
  *got = p ? p->bytes : *got;
  r->out += *got;
  r->most = r->out > r->most ? r->out : r->most;
  shrink(r, room_of(r));
  if (!p && !(p = alloc_get(a, *got, PROG_ALIGN))) { /* the budget may have room for what is needed and no more */
    shrink(r, 0);
    r->out -= *got - bytes, *got = bytes;
    p = alloc_get(a, *got, PROG_ALIGN);
  }
  if (!p)
    r->out -= *got;
  pthread_mutex_unlock(&r->lock);
  return p;
}

void recycler_put(Recycler *r, Alloc *a, void *p, size_t got) {
  if (!r || got < KEPT_LEAST) {
    records_put(r ? &r->records : NULL, a, p, got);
    return;
  }
  KeptBlock *b = p;
  pthread_mutex_lock(&r->lock);
  r->out -= got;
  r->puts++;
  if (r->users) {
    *b = (KeptBlock){.older = r->newest, .bytes = got, .put = r->puts};
    *(b->older ? &b->older->newer : &r->oldest) = b;
    r->newest = b;
    r->kept += got;
  } else {
    alloc_put(a, p, got);
  }
  shrink(r, room_of(r));
  pthread_mutex_unlock(&r->lock);
}
