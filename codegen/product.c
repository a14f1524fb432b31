/* product.c - tile tables of the CPU levels, the plan of a matrix product, and the packing of B.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/product.h"

#include "support/checked.h"

#include <string.h>

/* Tiles that leave the inner loop without spills, best first; the narrow ones are for products with few columns. Twelve
 * rows come late: rows at a distance of 4 KB (K = 1024) share a set of L1, of eight lines. */
static const ProductTile avx512_tiles[] = {{8, 48}, {6, 64}, {12, 32}, {12, 16}, {0, 0}};
static const ProductTile avx2_tiles[] = {{4, 24}, {6, 16}, {12, 8}, {0, 0}};
static const ProductTile sse2_tiles[] = {{4, 8}, {4, 4}, {0, 0}};
static const ProductTile neon_tiles[] = {{8, 12}, {8, 8}, {8, 4}, {0, 0}};

static const ProductLevel levels[] = {
    {"x86-64", 4, 2, 32 << 10, 256 << 10, sse2_tiles},
    {"x86-64-v3", 8, 2, 32 << 10, 256 << 10, avx2_tiles},
    {"x86-64-v4", 16, 1, 32 << 10, 1 << 20, avx512_tiles},
    {"x86-64-v4-vnni-bf16", 16, 1, 32 << 10, 1 << 20, avx512_tiles},
    {"aarch64", 4, 2, 32 << 10, 512 << 10, neon_tiles},
};

const ProductLevel *product_level(const char *level) {
  for (size_t i = 0; level && i < countof(levels); i++)
    if (!strcmp(levels[i].level, level))
      return &levels[i];
  return &levels[0];
}

static int64_t padded(int64_t n, const ProductTile *t) { return ((n - 1) / t->nr + 1) * t->nr; }

/* The first of the table that pads N to whole panels with at most 1/64 more columns than the one that pads least. */
static ProductTile choose_tile(const Product *p, const ProductLevel *l) {
  const ProductTile *t;
  int64_t n, least = INT64_MAX;
  if (p->tile)
    return l->tile[p->tile - 1];
  if (!dim_is_const(p->n, &n) || n < 1 || n > INT32_MAX)
    return l->tile[0];
  for (t = l->tile; t->mr; t++)
    if (padded(n, t) < least)
      least = padded(n, t);
  for (t = l->tile; padded(n, t) > least + least / 64;)
    t++;
  return *t;
}

/* Few columns, so that there are parts for many threads; many rows, because every block of rows reads B's panels again
 * from L3 (256x768x3072 on Zen 4: 94.0 % of peak with 128 x 384, 96.1 % so). */
enum { PART_ROWS = 256, PART_COLS = 96 };

ProductPlan product_plan(const Product *p, const char *level) {
  const ProductLevel *l = product_level(level);
  ProductTile t = choose_tile(p, l);
  ProductPlan plan = {.level = l, .mr = t.mr, .nr = t.nr};
  int64_t k, panel_of = t.nr * (int64_t)sizeof(float);
  /* A panel's block stays where a tile can stream it without waiting: in L1 with two units of 256 bits (16 bytes a
   * cycle), in L2 with 512 bits, where a step of k takes as many cycles for twice the sums. */
  plan.kc = (l->lanes == 16 ? l->l2 / 4 : l->l1 * 3 / 4) / panel_of;
  if (p->window) /* whole channels */
    plan.kc = p->window->taps * (plan.kc > p->window->taps ? plan.kc / p->window->taps : 1);
  plan.one_block = dim_is_const(p->k, &k) && k <= plan.kc;
  plan.row_tiles = (PART_ROWS + t.mr - 1) / t.mr;
  plan.col_panels = (PART_COLS + t.nr - 1) / t.nr;
  plan.tile_bytes = t.mr * panel_of * (plan.one_block ? 1 : plan.row_tiles * plan.col_panels);
  plan.panel_bytes = p->packed_b ? 0 : plan.kc * panel_of;
  return plan;
}

void product_schedule(Ctx *c, Unit *u, const char *level) {
  const Product *p = &u->product;
  ProductPlan plan = product_plan(p, level);
  Dim cols = dim_ceildiv(c, p->n, dim_const(c, plan.col_panels * plan.nr));
  Dim rows = dim_ceildiv(c, p->m, dim_const(c, plan.row_tiles * plan.mr));
  Dim mn = dim_mul(c, p->m, p->n), mk = dim_mul(c, p->m, p->k), kn = dim_mul(c, p->k, p->n);
  u->parts = dim_mul(c, p->batch, dim_mul(c, cols, rows));
  u->scratch = dim_const(c, plan.tile_bytes + plan.panel_bytes);
  u->flops = dim_mul(c, dim_const(c, 2), dim_mul(c, p->batch, dim_mul(c, mn, p->k)));
  Dim a = p->batch_a ? dim_mul(c, p->batch, mk) : mk, b = p->batch_b ? dim_mul(c, p->batch, kn) : kn;
  u->bytes = dim_mul(c, dim_const(c, 4), dim_add(c, dim_add(c, a, b), dim_mul(c, p->batch, mn)));
}

int64_t product_panels(const ProductPlan *plan, int64_t n) { return n / plan->nr + (n % plan->nr != 0); }

bool product_packed_floats(const ProductPlan *plan, int64_t k, int64_t n, int64_t *floats) {
  int64_t bytes;
  return mul_ok(product_panels(plan, n), plan->nr, floats) && mul_ok(*floats, k, floats) && mul_ok(*floats, 4, &bytes);
}

/* [k, n]: rows of up to nr values, copied as they lie. */
static void pack_rows(int64_t k, int64_t n, int nr, int64_t col, int width, const uint8_t *src, float *dst) {
  for (int64_t i = 0; i < k; i++, dst += nr) {
    memcpy(dst, src + (i * n + col) * 4, (size_t)width * 4);
    for (int j = width; j < nr; j++)
      dst[j] = 0;
  }
}

/* [n, k]: a column of the panel lies along k. Squares of 16 by nr, so that neither side leaves the cache between two
 * lines. */
static void pack_columns(int64_t k, int nr, int64_t col, int width, const uint8_t *src, float *dst) {
  for (int64_t k0 = 0; k0 < k; k0 += 16) {
    int steps = k - k0 < 16 ? (int)(k - k0) : 16;
    for (int j = 0; j < nr; j++) {
      float row[16] = {0};
      if (j < width)
        memcpy(row, src + ((col + j) * k + k0) * 4, (size_t)steps * 4);
      for (int i = 0; i < steps; i++)
        dst[(k0 + i) * nr + j] = row[i];
    }
  }
}

void product_pack(const ProductPlan *plan, int64_t k, int64_t n, bool trans, const void *src, float *dst,
                  int64_t panel0, int64_t panel1) {
  for (int64_t p = panel0; p < panel1; p++) {
    int64_t col = p * plan->nr;
    int width = n - col < plan->nr ? (int)(n - col) : plan->nr;
    float *panel = dst + p * plan->nr * k;
    if (trans)
      pack_columns(k, plan->nr, col, width, src, panel);
    else
      pack_rows(k, n, plan->nr, col, width, src, panel);
  }
}
