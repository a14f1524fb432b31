/* layout.c - packs the arena slots for one binding of the symbols: largest first, each at the lowest offset where nothing
 * that lives at the same time lies (greedy by size; Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural
 * Net Inference"). The result is kept with the program, so that a shape is packed once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/grow.h"

#include "support/checked.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LAYOUTS = 64 };

typedef struct Block {
  uint32_t slot, first, last;
  uint64_t size, offset;
} Block;

static int by_size(const void *a, const void *b) {
  const Block *x = a, *y = b;
  if (x->size != y->size)
    return x->size > y->size ? -1 : 1;
  return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static int by_offset(const void *a, const void *b) {
  const Block *x = *(const Block *const *)a, *y = *(const Block *const *)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Slots with memory of their own and sizes that are known now. A slot whose dims cannot be evaluated is left to the step
 * that makes it, whose evaluator words the error. */
static uint32_t collect(RtProgram *p, Symbols *s, Growth *growth, Block *block) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < rt_count(p, SEC_SLOTS); i++) {
    const ProgSlot *slot = rt_slot(p, i);
    int64_t dim[MAX_RANK], count;
    size_t bytes;
    if (slot->kind != SLOT_ARENA || slot->base != PROG_NONE ||
        !(growth ? growth_dims(growth, slot, dim) : rt_symbols_dims(s, slot, dim)) ||
        !extent_ok(dim, slot->rank, &count) || !dtype_bytes(slot->dtype, count, &bytes) || bytes > INT64_MAX / 4)
      continue;
    bytes = (bytes + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
    block[n++] = (Block){i, slot->first, slot->last, bytes ? bytes : PROG_ALIGN, 0};
  }
  return n;
}

/* False when the sum overflows. */
static bool pack(Block *block, uint32_t n, const Block **live, uint64_t *total) {
  qsort(block, n, sizeof *block, by_size);
  *total = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t m = 0;
    for (uint32_t k = 0; k < i; k++)
      if (block[k].first <= block[i].last && block[i].first <= block[k].last)
        live[m++] = &block[k];
    qsort(live, m, sizeof *live, by_offset);
    uint64_t at = 0;
    for (uint32_t k = 0; k < m; k++) {
      if (live[k]->offset >= at && live[k]->offset - at >= block[i].size)
        break;
      uint64_t end = live[k]->offset + live[k]->size;
      if (end > at)
        at = end;
    }
    block[i].offset = at;
    if (at + block[i].size > *total)
      *total = at + block[i].size;
    if (*total > INT64_MAX / 2)
      return false;
  }
  return true;
}

static Layout *find(RtProgram *p, const int64_t *symbol) {
  size_t n = rt_count(p, SEC_SYMBOLS) * sizeof *symbol;
  for (Layout *l = p->layouts; l; l = l->next)
    if (!n || !memcmp(l->symbol, symbol, n))
      return l;
  return NULL;
}

static Status build(RtProgram *p, Ctx *c, Symbols *s, Growth *growth, Layout **out) {
  uint32_t nslot = rt_count(p, SEC_SLOTS), nsym = rt_count(p, SEC_SYMBOLS);
  Arena *a = arena_create(c);
  Block *block = arena_array(a, Block, nslot);
  const Block **live = arena_array(a, const Block *, nslot);
  uint32_t n = collect(p, s, growth, block);
  uint64_t total;
  if (!pack(block, n, live, &total)) {
    arena_destroy(a);
    return fail(c, ST_MEMORY, "the model needs more memory for these shapes than there can be");
  }
  size_t bytes = sizeof(Layout) + nsym * sizeof(int64_t) + nslot * sizeof(uint64_t);
  Layout *l = alloc_get(p->alloc, bytes, _Alignof(Layout));
  if (!l)
    ctx_out_of_memory(c, bytes);
  *l = (Layout){.bytes = bytes, .arena = total, .symbol = (int64_t *)(l + 1)};
  l->offset = (uint64_t *)(l->symbol + nsym);
  if (nsym)
    memcpy(l->symbol, growth ? growth->key : s->value, nsym * sizeof(int64_t));
  for (uint32_t i = 0; i < nslot; i++)
    l->offset[i] = UINT64_MAX;
  for (uint32_t i = 0; i < n; i++)
    l->offset[block[i].slot] = block[i].offset;
  for (uint32_t i = 0; i < nslot; i++) /* in-place results; their base comes first */
    if (rt_slot(p, i)->kind == SLOT_ARENA && rt_slot(p, i)->base != PROG_NONE)
      l->offset[i] = l->offset[rt_slot(p, i)->base];
  arena_destroy(a);
  *out = l;
  return ST_OK;
}

/* Keeps the list short: drops the oldest layout that no run uses. The lock is held. */
static void drop_oldest(RtProgram *p) {
  Layout **last = NULL;
  for (Layout **l = &p->layouts; p->nlayout > MAX_LAYOUTS && *l; l = &(*l)->next)
    if (!(*l)->users && *l != p->layouts)
      last = l;
  if (!last)
    return;
  Layout *gone = *last;
  *last = gone->next;
  p->nlayout--;
  alloc_put(p->alloc, gone, gone->bytes);
}

Status layout_get(RtProgram *p, Ctx *c, Symbols *s, Growth *growth, Layout **out) {
  const int64_t *key = growth ? growth->key : s->value;
  Layout *l, *mine;
  pthread_mutex_lock(&p->lock);
  l = find(p, key);
  if (!l) {
    pthread_mutex_unlock(&p->lock);
    TRY(build(p, c, s, growth, &mine));
    pthread_mutex_lock(&p->lock);
    l = find(p, key);
    if (l) { /* another thread was faster */
      alloc_put(p->alloc, mine, mine->bytes);
    } else {
      l = mine;
      l->next = p->layouts, p->layouts = l;
      p->nlayout++;
      drop_oldest(p);
    }
  }
  l->users++;
  pthread_mutex_unlock(&p->lock);
  *out = l;
  return ST_OK;
}

void layout_put(RtProgram *p, Layout *l) {
  pthread_mutex_lock(&p->lock);
  l->users--;
  pthread_mutex_unlock(&p->lock);
}
