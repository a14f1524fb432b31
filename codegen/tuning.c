/* tuning.c - the table of tuned products: its keys, its rows and what there is to try.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/tuning.h"

#include "codegen/product.h"
#include "support/str.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SCALE = 3 }; /* eight times, an eighth */

static int tiles_of(const char *level) {
  const ProductTile *t = product_level(level)->tile;
  int n = 0;
  while (t[n].mr)
    n++;
  return n;
}

int tuning_trials(const char *level, ProductCut *cut) {
  int n = 0, tiles = tiles_of(level);
  for (int i = 0; i < tiles && n < TUNING_TRIALS - 6; i++)
    cut[n++] = (ProductCut){.tile = (uint8_t)(i + 1)};
  for (int8_t s = -1; s <= 1; s = (int8_t)(s + 2)) {
    cut[n++] = (ProductCut){.depth = s};
    cut[n++] = (ProductCut){.rows = s};
    cut[n++] = (ProductCut){.cols = s};
  }
  return n;
}

uint64_t tuning_key(Arena *a, const Product *p, const char *level) {
  if (product_is_depthwise(p) || p->channelwise)
    return 0;
  const char *text = product_shape_text(a, p);
  uint64_t key = hash_bytes(text, strlen(text), hash_bytes(level, strlen(level), 0));
  return key ? key : 1;
}

static int by_key(const void *a, const void *b) {
  uint64_t x = ((const TuningRow *)a)->key, y = ((const TuningRow *)b)->key;
  return (x > y) - (x < y);
}

static const TuningRow *find(const Tuning *t, uint64_t key) {
  const TuningRow *r = t && t->n ? bsearch(&(TuningRow){.key = key}, t->row, t->n, sizeof *t->row, by_key) : NULL;
  return r;
}

void tuning_apply(const Tuning *t, Arena *a, Product *p, const char *level) {
  p->key = tuning_key(a, p, level);
  const TuningRow *r = find(t, p->key);
  if (!p->key || !t || (!r && !t->all))
    return;
  p->cut = r ? r->cut : *t->all;
}

static bool scale_ok(int8_t s) { return s >= -MOST_SCALE && s <= MOST_SCALE; }

bool tuning_take(const void *bytes, size_t n, const char *level, Tuning *t) {
  const TuningRow *r = bytes;
  int tiles = tiles_of(level);
  *t = (Tuning){0};
  if (n % sizeof *r || n / sizeof *r > UINT32_MAX)
    return false;
  for (size_t i = 0; i < n / sizeof *r; i++)
    if (!r[i].key || r[i].zero || (i && r[i].key <= r[i - 1].key) || r[i].cut.tile > tiles ||
        !scale_ok(r[i].cut.depth) || !scale_ok(r[i].cut.rows) || !scale_ok(r[i].cut.cols))
      return false;
  *t = (Tuning){.row = r, .n = (uint32_t)(n / sizeof *r)};
  return true;
}

void tuning_merge(Arena *a, const Tuning *old, const Tuning *new, Tuning *out) {
  static const ProductCut none = {0};
  TuningRow *row = arena_array(a, TuningRow, (size_t)old->n + new->n);
  uint32_t n = 0;
  for (uint32_t i = 0; i < old->n; i++)
    if (!find(new, old->row[i].key))
      row[n++] = old->row[i];
  for (uint32_t i = 0; i < new->n; i++)
    if (memcmp(&new->row[i].cut, &none, sizeof none))
      row[n++] = new->row[i];
  if (n)
    qsort(row, n, sizeof *row, by_key);
  *out = (Tuning){.row = row, .n = n};
}
