/* attention.c - the plan of attention.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/attention.h"

/* Of K and V many queries read a block from L1 and L2, which one group alone reads from L3 (Whisper's 1500 keys, Emerald Rapids: 106
 * GFLOP/s with one group and 128 keys, 110 with 96 keys, 116 with two groups or four). Of 16 lanes 128 keys, a
 * common length, are one block, whose sums are not scaled again. */
enum { KEYS = 96, WIDE_KEYS = 132, GROUPS = 4 };

/* The widest tile of a level holds most queries; of equal width, the first. */
static ProductTile widest(const ProductLevel *l) {
  const ProductTile *best = l->tile;
  for (const ProductTile *t = l->tile; t->mr; t++)
    if (t->nr > best->nr)
      best = t;
  return *best;
}

static ProductTile narrowest(const ProductLevel *l) {
  const ProductTile *best = l->tile;
  for (const ProductTile *t = l->tile; t->mr; t++)
    if (t->nr < best->nr)
      best = t;
  return *best;
}

/* The tile that pads the columns of V least; the widest of those. */
static ProductTile for_columns(const ProductLevel *l, int64_t n) {
  const ProductTile *best = NULL;
  int64_t least = INT64_MAX;
  for (const ProductTile *t = l->tile; t->mr; t++) {
    int64_t padded = (n + t->nr - 1) / t->nr * t->nr;
    if (padded < least || (padded == least && t->nr > best->nr))
      least = padded, best = t;
  }
  return *best;
}

static int64_t after(int64_t *at, int64_t bytes) {
  int64_t here = *at;
  *at += (bytes + 63) & ~(int64_t)63;
  return here;
}

AttentionPlan attention_plan(const Attention *t, const char *level) {
  const ProductLevel *l = product_level(level);
  AttentionPlan p = {.level = l, .wide = widest(l), .narrow = narrowest(l), .value = for_columns(l, t->dv)};
  int64_t w = p.wide.nr, f = (int64_t)sizeof(float);
  p.keys = (l->lanes == 16 ? WIDE_KEYS : KEYS) / p.wide.mr * p.wide.mr, p.groups = GROUPS;
  p.value_panels = (t->dv + p.value.nr - 1) / p.value.nr;
  p.qt = after(&p.bytes, p.groups * t->dk * w * f);
  p.s = after(&p.bytes, p.keys * w * f);
  p.stats = after(&p.bytes, p.groups * 3 * w * f); /* maximum, sum, correction: by query */
  p.o = after(&p.bytes, p.groups * w * p.value_panels * p.value.nr * f);
  p.v = after(&p.bytes, t->dv % p.value.nr ? p.keys * p.value.nr * f : 0); /* the last columns of V, padded */
  return p;
}

void attention_schedule(Ctx *c, Unit *u, const char *level) {
  const Attention *t = &u->attention;
  AttentionPlan p = attention_plan(t, level);
  Dim heads = dim_mul(c, t->batch, dim_const(c, t->heads)), pairs = dim_mul(c, heads, dim_mul(c, t->q_len, t->kv_len));
  /* parts of all groups, but as many as there are groups while those are few */
  Dim groups = dim_ceildiv(c, t->q_len, dim_const(c, p.wide.nr)), most = dim_const(c, p.groups);
  u->parts = dim_mul(c, heads, dim_max(c, dim_ceildiv(c, groups, most), dim_min(c, groups, most)));
  u->scratch = dim_const(c, p.bytes);
  u->flops = dim_mul(c, dim_const(c, 2 * (t->dk + t->dv)), pairs);
  Dim q = dim_mul(c, dim_mul(c, heads, t->q_len), dim_const(c, 4 * (t->dk + t->dv)));
  Dim kv = dim_mul(c, dim_mul(c, t->batch, t->kv_len), dim_const(c, 4 * t->kv_heads * (t->dk + t->dv)));
  u->bytes = dim_add(c, q, kv);
}
