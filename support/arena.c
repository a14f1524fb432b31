/* arena.c - chunks in a list; small requests are carved from the newest chunk, large ones get a chunk of their own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/arena.h"

#include "support/poison.h"
#include "support/records.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_CHUNK = 1008, LAST_CHUNK = 1 << 20 }; /* the first: what malloc keeps at hand for a thread */

typedef struct Chunk {
  struct Chunk *up;
  size_t size; /* whole chunk, header included */
} Chunk;

struct Arena {
  Ctx *c;
  Alloc *alloc;
  Records *records; /* of the context it was made in; may be NULL */
  Chunk *chunks;    /* the first is the one being carved */
  char *at, *end;
  size_t next; /* size of the next ordinary chunk */
  size_t bytes;
  Cleanup cleanup;
};

static void destroy(void *arg) {
  Arena *a = arg;
  for (Chunk *k = a->chunks, *up; k; k = up) {
    up = k->up;
    UNPOISON(k, k->size);
    records_put(a->records, a->alloc, k, k->size);
  }
  records_put(a->records, a->alloc, a, sizeof *a);
}

Arena *arena_create(Ctx *c) {
  Arena *a = records_get(c->records, c->alloc, sizeof *a, _Alignof(Arena));
  if (!a)
    ctx_out_of_memory(c, sizeof *a);
  *a = (Arena){.c = c, .alloc = c->alloc, .records = c->records, .next = FIRST_CHUNK, .bytes = sizeof *a};
  ctx_on_failure(c, &a->cleanup, destroy, a);
  return a;
}

void arena_destroy(Arena *a) {
  if (!a)
    return;
  ctx_forget(a->c, &a->cleanup);
  destroy(a);
}

void arena_reset(Arena *a) {
  Chunk *newest = a->chunks;
  if (!newest)
    return;
  for (Chunk *k = newest->up, *up; k; k = up) {
    up = k->up;
    UNPOISON(k, k->size);
    a->bytes -= k->size;
    records_put(a->records, a->alloc, k, k->size);
  }
  newest->up = NULL;
  a->at = (char *)(newest + 1);
  POISON(a->at, (size_t)(a->end - a->at));
}

void arena_adopt(Arena *a, Ctx *c) {
  ctx_forget(a->c, &a->cleanup);
  a->c = c;
  ctx_on_failure(c, &a->cleanup, destroy, a);
}

Ctx *arena_ctx(Arena *a) { return a->c; }

size_t arena_bytes(const Arena *a) { return a->bytes; }

static Chunk *add_chunk(Arena *a, size_t size) {
  Chunk *k = records_get(a->records, a->alloc, size, _Alignof(max_align_t));
  if (!k)
    ctx_out_of_memory(a->c, size);
  k->size = size;
  a->bytes += size;
  return k;
}

static char *align_up(char *p, size_t align) { return (char *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1)); }

void *arena_get(Arena *a, size_t n, size_t size, size_t align) {
  size_t want, whole;
  if (__builtin_mul_overflow(n, size, &want) || __builtin_add_overflow(want, sizeof(Chunk) + align + REDZONE, &whole))
    ctx_out_of_memory(a->c, SIZE_MAX);
  char *p = a->at ? align_up(a->at, align) : NULL;
  if (!p || p > a->end || (size_t)(a->end - p) < want + REDZONE) {
    if (whole > a->next / 4 && a->chunks) { /* large: a chunk of its own behind the current one */
      Chunk *k = add_chunk(a, whole);
      k->up = a->chunks->up, a->chunks->up = k;
      p = align_up((char *)(k + 1), align);
      return memset(p, 0, want);
    }
    size_t chunk = a->next > whole ? a->next : whole;
    Chunk *k = add_chunk(a, chunk);
    k->up = a->chunks, a->chunks = k;
    a->at = (char *)(k + 1), a->end = (char *)k + chunk;
    POISON(a->at, (size_t)(a->end - a->at));
    if (a->next < LAST_CHUNK)
      a->next *= 2;
    p = align_up(a->at, align);
  }
  a->at = p + want + REDZONE;
  UNPOISON(p, want);
  return memset(p, 0, want);
}

void *arena_copy(Arena *a, const void *src, size_t n) {
  void *p = arena_get(a, n, 1, 16);
  if (n)
    memcpy(p, src, n);
  return p;
}

char *arena_strndup(Arena *a, const char *s, size_t n) {
  char *p = arena_get(a, n + 1, 1, 1);
  if (n)
    memcpy(p, s, n);
  return p;
}

char *arena_strdup(Arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

char *arena_printf(Arena *a, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  char *p = arena_get(a, (size_t)n + 1, 1, 1);
  vsnprintf(p, (size_t)n + 1, fmt, again);
  va_end(again);
  return p;
}
