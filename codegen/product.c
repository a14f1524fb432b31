/* product.c - tile tables of the CPU levels, the plan of a matrix product, and the packing of B.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/product.h"

#include "codegen/winograd.h"
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
    {"x86-64-v3", 8, 2, 32 << 10, 512 << 10, avx2_tiles},
    {"x86-64-v4", 16, 1, 32 << 10, 1 << 20, avx512_tiles},
    {"x86-64-v4-vnni", 16, 1, 32 << 10, 1 << 20, avx512_tiles},
    {"x86-64-v4-vnni-bf16", 16, 1, 32 << 10, 1 << 20, avx512_tiles},
    {"aarch64", 4, 2, 32 << 10, 512 << 10, neon_tiles},
    {"riscv64", 4, 1, 32 << 10, 256 << 10, sse2_tiles},
};

const ProductLevel *product_level(const char *level) {
  for (size_t i = 0; level && i < countof(levels); i++)
    if (!strcmp(levels[i].level, level))
      return &levels[i];
  return &levels[0];
}

/* Does a tile leave a register for what pairs of integers make before it is added to a sum? (16 of 8 lanes or fewer, 32 of 16.) */
static bool spares_one(const ProductTile *t, const ProductLevel *l) {
  return (t->mr + 1) * (t->nr / l->lanes) + 2 <= (l->lanes == 16 ? 32 : 16);
}

static int64_t padded(int64_t n, const ProductTile *t) { return ((n - 1) / t->nr + 1) * t->nr; }

/* The first of the table that pads N to whole panels with at most 1/64 more columns than the one that pads least. B that is
 * packed on the way needs no whole panels: the last one has as many vectors as it takes. */
static ProductTile choose_tile(const Product *p, const ProductLevel *l) {
  const ProductTile *t, *best = l->tile;
  int64_t n, least = INT64_MAX;
  if (p->cut.tile)
    return l->tile[p->cut.tile - 1];
  if (p->bytes && !p->channelwise && !spares_one(best, l))
    best++;
  if (!dim_is_const(p->n, &n) || n < 1 || n > INT32_MAX)
    return *best;
  if (!p->packed_b) {
    int64_t whole = (n - 1) / l->lanes * l->lanes + l->lanes;
    for (t = l->tile; t->mr; t++)
      if (t->nr == whole)
        return *t;
    for (t = l->tile; t->nr > whole && t[1].mr;)
      t++;
    return *t;
  }
  for (t = best; t->mr; t++)
    if (padded(n, t) < least)
      least = padded(n, t);
  for (t = best; padded(n, t) > least + least / 64;)
    t++;
  return *t;
}

/* Half cycles for a row and step of k, in 1/64: two multiply-adds or two loads a cycle, and 4 cycles until a sum can go on. */
static int64_t cost_of(int rows, int vecs) {
  int sums = rows * vecs, loads = rows + vecs, most = sums > loads ? sums : loads;
  return (most > 8 ? most : 8) * 64 / rows;
}

/* Whole panels, then one of as many vectors as there are left. */
static int64_t cost_with_tail(int64_t n, const ProductTile *t, int lanes) {
  int64_t rest = n % t->nr, cost = n / t->nr * cost_of(t->mr, t->nr / lanes);
  return rest ? cost + cost_of(t->mr, (int)((rest - 1) / lanes + 1)) : cost;
}

/* Tiles of one vector load as often as they multiply. For images wider ones are looked at again, whose last panel has as many vectors as
 * it takes. NULL: none is better. */
static const ProductTile *wider_tile(const Product *p, const ProductLevel *l, ProductTile t) {
  const ProductTile *best = NULL;
  int64_t n;
  if (!p->positions || !p->packed_b || p->bits.bits || p->bytes || p->weights || p->planes || p->channelwise ||
      p->winograd || p->cut.tile || t.nr > l->lanes || !dim_is_const(p->n, &n) || n <= t.nr || n > INT32_MAX)
    return NULL;
  int64_t least = cost_with_tail(n, &t, l->lanes);
  for (const ProductTile *w = l->tile; w->mr; w++)
    if (w->nr > l->lanes && cost_with_tail(n, w, l->lanes) < least)
      least = cost_with_tail(n, w, l->lanes), best = w;
  return best;
}

/* Few columns, so that there are parts for many threads; many rows, because every block of rows reads B's panels again
 * from L3 (256x768x3072 on Zen 4: 94.0 % of peak with 128 x 384, 96.1 % so). */
enum { PART_ROWS = 256, PART_COLS = 96, CONV_ROWS = 64, CONV_PARTS = 16, EVEN_PARTS = 4 };

enum { STREAMED_ROWS = 4 }; /* with eight lanes, at least */

enum { LEAST_HALVED = 32 }; /* steps of k */

enum { FEW_ROWS = 4 }; /* that read weights of 16 bits as they are packed, at most */

/* Sums of a channelwise product kept at a time, in vectors. */
enum { CHANNELWISE_SUMS = 20, CHANNELWISE_SUMS_256 = 9, CHANNELWISE_ROWS = 8 };

/* A convolution of a small image has few columns: its rows are divided, in powers of two that many numbers of threads share
 * evenly, but not beyond where packing B once per part would cost. */
static int64_t conv_row_tiles(const Product *p, const ProductPlan *plan) {
  int64_t m, n, batch = 1, blocks = 1, rows = PART_ROWS;
  if (!dim_is_const(p->m, &m) || !dim_is_const(p->n, &n))
    return (rows + plan->mr - 1) / plan->mr;
  int64_t tiles = m ? (m - 1) / plan->mr + 1 : 1, cols = product_panels(plan, n) / plan->col_panels + 1;
  dim_is_const(p->batch, &batch);
  while (m / blocks > PART_ROWS || (batch < CONV_PARTS && batch * cols * blocks < CONV_PARTS && m / blocks > CONV_ROWS))
    blocks *= 2;
  return (tiles - 1) / blocks + 1;
}

int64_t product_k_unit(const Product *p) {
  int64_t k = 1;
  if (p->bits.bits)
    return p->bits.block;
  if (p->window)
    return p->window->taps;
  if (p->planes)
    return p->rows->kernel[2];
  if (p->rows && !p->channelwise && dim_is_const(p->k, &k))
    return k / p->rows->taps;
  return p->weights ? 2 : 1;
}

/* Positions side by side in a channelwise product: an even share of a row of known length. */
static int channelwise_rows(const Product *p, const ProductLevel *l, int nr) {
  int most = (l->lanes == 16 ? CHANNELWISE_SUMS : CHANNELWISE_SUMS_256) / (nr / l->lanes);
  int64_t n;
  most = most < 1 ? 1 : most > CHANNELWISE_ROWS ? CHANNELWISE_ROWS : most;
  if (!dim_is_const(p->rows->out[2], &n) || n < 1)
    return most;
  int64_t blocks = (n - 1) / most + 1;
  return (int)((n - 1) / blocks + 1);
}

/* What it takes to read A through a window. */
static void plan_rows(const Product *p, ProductPlan *plan) {
  int64_t unit = product_k_unit(p);
  for (plan->table_rows = 1; plan->table_rows < plan->mr;)
    plan->table_rows *= 2;
  plan->zero_bytes = ((p->channelwise ? plan->nr : unit) * (int64_t)sizeof(float) + 63) / 64 * 64;
  if (p->channelwise)
    plan->mr = channelwise_rows(p, plan->level, plan->nr);
  else
    plan->table_bytes = plan->kc / unit * (plan->table_rows + 1) * 8;
}

/* Integers, all of whose B stays in L2: parts are whole rows, so that what an epilogue reads and writes are streams, rows are gathered
 * once, and a thread finds the rows that it wrote a step ago in its own cache. */
static bool plan_whole_rows(const Product *p, ProductPlan *plan) {
  int64_t n, k, bytes;
  if (!p->bytes || p->positions < 0 || !dim_is_const(p->n, &n) || !dim_is_const(p->k, &k) ||
      !mul_ok(product_panels(plan, n) * plan->nr, k, &bytes) || bytes > plan->level->l2 * 5 / 8)
    return false;
  int64_t tiles = (p->positions - 1) / plan->mr + 1, most = (CONV_ROWS - 1) / plan->mr + 1;
  plan->col_panels = product_panels(plan, n);
  plan->row_tiles = (tiles - 1) / CONV_PARTS + 1;
  plan->row_tiles = plan->row_tiles < most ? plan->row_tiles : most;
  while (plan->row_tiles > 1 && ((tiles - 1) / plan->row_tiles + 1) % EVEN_PARTS)
    plan->row_tiles--;
  return true;
}

/* Does all of B stay in L2? Then parts follow each other along the rows: what a thread reads is mostly what it has written a step ago,
 * in its own cache, since the steps before and behind fall into parts by the same rows. */
static bool b_stays(const Product *p, const ProductPlan *plan, int64_t panels) {
  int64_t k, bytes;
  return !p->bytes && dim_is_const(p->k, &k) && mul_ok(panels * plan->nr * 4, k, &bytes) &&
         bytes <= plan->level->l2 / 2;
}

/* Panels of integers in a part, where K is deep. Rows are gathered for each part again: without AVX-512, where they are widened to 16
 * bits, that counts beside a single panel (3x3x256, Zen 3: a fifth of its tiles' time), and there are as many as L2 has room for. */
static int64_t deep_panels(const Product *p, const ProductPlan *plan) {
  int64_t panels = plan->level->l2 / 3 / (plan->kc * plan->nr);
  return p->rows && plan->level->lanes < 16 && panels > 1 ? panels : 1;
}

/* Parts of one image should be many enough for threads to share them evenly. */
static void plan_positions(const Product *p, ProductPlan *plan) {
  int64_t n;
  if (plan_whole_rows(p, plan))
    return;
  if (p->bytes && plan->kc * plan->nr * plan->col_panels > plan->level->l2 / 3) /* the next part's come in meanwhile */
    plan->col_panels = deep_panels(p, plan);
  plan->row_tiles = (CONV_ROWS - 1) / plan->mr + 1;
  if (p->positions < 0 || !dim_is_const(p->n, &n))
    return;
  int64_t rows = plan->row_tiles * plan->mr, blocks = (p->positions - 1) / rows + 1, panels = product_panels(plan, n);
  while (plan->col_panels > 1 && blocks * (panels / plan->col_panels) < CONV_PARTS)
    plan->col_panels--;
  plan->rows_outer = blocks > 1 && b_stays(p, plan, panels);
}

/* Few rows are those whose sums are in registers beside two vectors of f32 for each of B. Rows of bf16 are an odd number of cache lines
 * apart, so that they do not share a set. Rows
 * of a window are multiplied by f32 that blocks of B are made. */
static void plan_weights(const Product *p, ProductPlan *plan) {
  int vecs = plan->nr / plan->level->lanes, registers = plan->level->lanes == 16 ? 32 : 16;
  int64_t m, rows = plan->row_tiles * plan->mr;
  if (p->rows)
    return;
  plan->few = (registers - 2) / vecs - 2;
  plan->few = plan->few < FEW_ROWS ? plan->few : FEW_ROWS;
  if (p->weights != DT_bf16 || p->trans_a || !strstr(plan->level->level, "bf16"))
    return;
  if (dim_is_const(p->m, &m) && m < rows)
    rows = m;
  plan->dots = ((plan->kc * 2 + 63) / 64 | 1) * 64;
  plan->panel_bytes = rows * plan->dots;
}

/* A's rows of a part stay in L2 from one block of columns to the next, while the panels of B come in ahead of their use: the better order
 * where there are many rows and L3 is slow (whisper_encoder on Emerald Rapids, one thread: 253 ms with rows innermost, 239 ms so). */
static bool rows_stay(const Product *p, const ProductPlan *plan) {
  int64_t k;
  return p->packed_b && !p->positions && !p->bytes && !p->bits.bits && dim_is_const(p->k, &k) &&
         k <= plan->level->l2 * 3 / 4 / 4 / (plan->row_tiles * plan->mr);
}

/* v by a power of two, at least 1. */
static int64_t scaled(int64_t v, int power) {
  v = power < 0 ? v >> -power : v << power;
  return v > 1 ? v : 1;
}

/* Half a tile's; with eight lanes four in any case (of 4 x 24, Zen 3: 50257 x 768 in 16.5 ms, 11.3 ms so). */
static int streamed_rows(const Product *p, const ProductLevel *l, int mr) {
  if (p->rows)
    return 0;
  return l->lanes != 8 || p->weights || mr / 2 > STREAMED_ROWS ? mr / 2 : mr < STREAMED_ROWS ? mr : STREAMED_ROWS;
}

/* Convolutions of u8 whose zero point is 0 read what a relu has left: few pairs are too large for sums of 16 bits. */
static bool sums_pairs(const Product *p, const ProductPlan *plan) {
  return p->bytes == DT_u8 && !p->zero && p->positions && !p->channelwise && plan->one_block &&
         plan->kc >= LEAST_HALVED && !strcmp(plan->level->level, "x86-64-v3");
}

/* Rows, rests and the list, which is written up to 8 steps beyond its end. */
static void plan_halved(ProductPlan *plan) {
  plan->halved = (plan->kc + 31) / 32 * 32;
  plan->panel_bytes = 2 * plan->mr * plan->halved + 8 + plan->halved + 32;
}

ProductPlan product_plan(const Product *p, const char *level) {
  const ProductLevel *l = product_level(level);
  ProductTile t = choose_tile(p, l);
  const ProductTile *wider = wider_tile(p, l, t);
  t = wider ? *wider : t;
  ProductPlan plan = {.level = l, .mr = t.mr, .nr = t.nr, .rows_outer = p->group > 0};
  int64_t m, k, n, panel_of = t.nr * (int64_t)sizeof(float);
  /* A panel's block stays where a tile can stream it without waiting: in L2 with eight lanes or more, which four rows of 256 bits
   * read by 16 bytes a cycle (Zen 3, 1024x1024x1024: 79 % of peak with blocks in L1, 88 % so), else in L1. */
  plan.kc = (l->lanes >= 8 ? l->l2 / 4 : l->l1 * 3 / 4) / panel_of;
  int64_t unit = product_k_unit(p);
  plan.kc = scaled(plan.kc, p->cut.depth);
  plan.kc = unit * (plan.kc > unit ? plan.kc / unit : 1);
  if (p->bits.rounded) /* rows whose sums, of blocks and of all, are in registers */
    plan.mr = t.mr = (uint8_t)(12 * l->lanes / t.nr < 6 ? 12 * l->lanes / t.nr : 6);
  if ((p->bytes || p->bits.rounded) && dim_is_const(p->k, &k)) /* one block, however deep */
    plan.kc = k;
  plan.streamed = streamed_rows(p, l, t.mr);
  if (p->packed_b && !p->bits.bits && !p->weights && dim_is_const(p->m, &m) && m <= plan.streamed &&
      dim_is_const(p->k, &k) && k > plan.kc)
    plan.kc = k;
  plan.one_block = dim_is_const(p->k, &k) && k <= plan.kc;
  plan.col_panels = (PART_COLS + t.nr - 1) / t.nr;
  plan.row_tiles = p->group ? conv_row_tiles(p, &plan) : (PART_ROWS + t.mr - 1) / t.mr;
  if (p->positions)
    plan_positions(p, &plan);
  plan.row_tiles = scaled(plan.row_tiles, p->cut.rows), plan.col_panels = scaled(plan.col_panels, p->cut.cols);
  plan.rows_outer = plan.rows_outer || rows_stay(p, &plan);
  if (p->rows && (p->channelwise || !p->bytes))
    plan_rows(p, &plan);
  if ((!p->packed_b || wider) && dim_is_const(p->n, &n) && n % t.nr)
    plan.tail = (int)((n % t.nr - 1) / l->lanes + 1);
  plan.tail = plan.tail * l->lanes < t.nr ? plan.tail : 0;
  plan.tile_bytes = plan.mr * panel_of * (plan.one_block ? 1 : plan.row_tiles * plan.col_panels);
  plan.panel_bytes = p->packed_b && !p->bits.bits && !p->weights ? 0 : plan.kc * panel_of;
  if (p->bytes && !p->channelwise) /* a tile of A, of up to two bytes a number */
    plan.panel_bytes = t.mr * ((plan.kc + 3) / 4 * 4) * 2;
  if (sums_pairs(p, &plan))
    plan_halved(&plan);
  if (p->weights && !p->winograd)
    plan_weights(p, &plan);
  if (p->bits.rounded)
    plan.panel_bytes = t.mr * (plan.kc + plan.kc / p->bits.block * 16);
  if (p->winograd)
    winograd_plan(p, &plan);
  return plan;
}

bool product_is_depthwise(const Product *p) {
  int64_t k, m;
  return p->window && p->window->taps <= DEPTHWISE_TAPS && dim_is_const(p->k, &k) && k == p->window->taps &&
         dim_is_const(p->m, &m) && m <= DEPTHWISE_ROWS;
}

/* Of the copy of a plane: rows that windows reach, and elements of a row, per phase of the stride. */
static Dim depthwise_bytes(Ctx *c, const Product *p, int lanes) {
  const ProductWindow *w = p->window;
  Dim n = dim_const(c, w->stride[2]), one = dim_const(c, 1);
  for (int i = 0; i < 2; i++) {
    Dim steps = dim_mul(c, dim_max(c, dim_sub(c, w->out[i], one), dim_const(c, 0)), dim_const(c, w->stride[i]));
    n = dim_mul(c, n, dim_add(c, steps, dim_const(c, (w->kernel[i] - 1) * w->dilation[i] + 1)));
  }
  int64_t more = depthwise_reach(w) + DEPTHWISE_VECS * lanes;
  Dim plane = dim_mul(c, n, dim_add(c, w->out[2], dim_const(c, more)));
  return dim_mul(c, dim_const(c, 4), dim_add(c, plane, dim_add(c, p->n, dim_const(c, (DEPTHWISE_VECS + 1) * lanes))));
}

int64_t depthwise_reach(const ProductWindow *w) { return (w->kernel[2] - 1) * w->dilation[2] / w->stride[2] + 1; }

/* B of so many numbers, as it is stored. */
static Dim bytes_of_b(Ctx *c, const Product *p, Dim numbers) {
  const ProductBits *b = &p->bits;
  if (!b->bits)
    return dim_mul(c, dim_const(c, p->bytes ? 1 : product_b_bytes(p)), numbers);
  return dim_ceildiv(c, dim_mul(c, numbers, dim_const(c, b->bits * b->block + 32)), dim_const(c, 8 * b->block));
}

void product_schedule(Ctx *c, Unit *u, const char *level) {
  const Product *p = &u->product;
  ProductPlan plan = product_plan(p, level);
  int64_t n;
  Dim cols = dim_ceildiv(c, p->n, dim_const(c, plan.col_panels * plan.nr));
  if (!p->winograd && dim_is_const(p->n, &n))
    cols = dim_const(c, product_col_blocks(&plan, n));
  Dim rows = dim_ceildiv(c, p->m, dim_const(c, plan.row_tiles * plan.mr));
  Dim mn = dim_mul(c, p->m, p->n), mk = dim_mul(c, p->m, p->k), kn = dim_mul(c, p->k, p->n);
  u->parts = dim_mul(c, p->batch, dim_mul(c, cols, rows));
  u->scratch = dim_const(c, plan.tile_bytes + plan.panel_bytes + plan.table_bytes + plan.zero_bytes);
  if (product_is_depthwise(p))
    u->parts = dim_mul(c, p->batch, dim_min(c, p->n, dim_const(c, 1))),
    u->scratch = depthwise_bytes(c, p, plan.level->lanes);
  u->flops = dim_mul(c, dim_const(c, 2), dim_mul(c, p->batch, dim_mul(c, mn, p->k)));
  if (p->channelwise) {
    u->parts = dim_mul(c, p->batch, dim_ceildiv(c, p->n, dim_const(c, plan.nr)));
    u->flops = dim_mul(c, dim_const(c, 2), dim_mul(c, mn, p->k));
    mk = dim_mul(c, p->images, p->n);
    for (int i = 0; i < WINDOW_AXES; i++)
      mk = dim_mul(c, mk, p->rows->in[i]);
  }
  if (p->winograd)
    u->parts = dim_mul(c, cols, dim_ceildiv(c, winograd_tiles(c, p), dim_const(c, plan.tiles)));
  if (p->rows && !p->planes && !p->channelwise)
    mk = dim_div(c, mk, dim_const(c, p->rows->taps));
  Dim a = p->batch_a ? dim_mul(c, p->batch, mk) : mk, b = p->batch_b ? dim_mul(c, p->batch, kn) : kn;
  Dim batches = p->channelwise ? dim_const(c, 1) : p->batch; /* there, lines of one result */
  u->bytes =
      dim_add(c, dim_mul(c, dim_const(c, p->bytes ? 1 : 4), a), dim_mul(c, dim_const(c, 4), dim_mul(c, batches, mn)));
  u->bytes = dim_add(c, u->bytes, bytes_of_b(c, p, b));
}

/* An even number of many, so that two threads have equal shares of few rows. */
int64_t product_col_blocks(const ProductPlan *plan, int64_t n) {
  int64_t panels = product_panels(plan, n), blocks = (panels + plan->col_panels - 1) / plan->col_panels;
  return blocks > EVEN_PARTS && plan->col_panels > 1 ? (blocks + 1) / 2 * 2 : blocks;
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

/* [n, channels, taps]: k goes tap after tap. A channel's taps lie together, so that they are read once. */
static void pack_taps(int64_t k, int nr, int64_t col, int width, int64_t taps, const uint8_t *src, float *dst) {
  int64_t channels = k / taps;
  for (int64_t c = 0; c < channels; c++)
    for (int j = 0; j < nr; j++)
      for (int64_t t = 0; t < taps; t++) {
        float x = 0;
        if (j < width)
          memcpy(&x, src + (((col + j) * channels + c) * taps + t) * 4, 4);
        dst[(t * channels + c) * nr + j] = x;
      }
}

/* The same for `all` steps from `first` on. */
static void pack_some_taps(int64_t k, int64_t first, int64_t all, int nr, int64_t col, int width, int64_t taps,
                           const uint8_t *src, float *dst) {
  int64_t channels = k / taps;
  for (int64_t i = 0; i < all; i++)
    for (int j = 0; j < nr; j++) {
      int64_t c = (first + i) % channels, t = (first + i) / channels;
      dst[i * nr + j] = 0;
      if (j < width)
        memcpy(&dst[i * nr + j], src + (((col + j) * channels + c) * taps + t) * 4, 4);
    }
}

/* [n, k]: a column of the panel lies along k. `all` steps from `first` on in squares of 16 by nr, so that neither side leaves the
 * cache between two lines. */
static void pack_columns(int64_t k, int64_t first, int64_t all, int nr, int64_t col, int width, const uint8_t *src,
                         float *dst) {
  for (int64_t k0 = 0; k0 < all; k0 += 16) {
    int steps = all - k0 < 16 ? (int)(all - k0) : 16;
    for (int j = 0; j < nr; j++) {
      float row[16] = {0};
      if (j < width)
        memcpy(row, src + ((col + j) * k + first + k0) * 4, (size_t)steps * 4);
      for (int i = 0; i < steps; i++)
        dst[(k0 + i) * nr + j] = row[i];
    }
  }
}

/* Steps of nr f32 each as what t says. */
static void round_steps(DType t, const float *src, int64_t steps, int nr, uint16_t *dst) {
  if (t == DT_f16)
    for (int64_t i = 0; i < steps * nr; i++)
      dst[i] = f16_from_f32(src[i]);
  else
    for (int64_t i = 0; i < steps; i++)
      for (int j = 0; j < nr; j++)
        dst[(i / 2 * nr + j) * 2 + i % 2] = bf16_from_f32(src[i * nr + j]);
}

void product_pack_rounded(const ProductPlan *plan, DType t, int64_t k, int64_t n, bool trans, int64_t taps,
                          const void *src, uint16_t *dst, int64_t panel0, int64_t panel1) {
  enum { STEPS = 64, MOST_COLS = 64 }; /* what is packed before it is rounded */
  float some[STEPS * MOST_COLS];
  const uint8_t *from = src;
  for (int64_t p = panel0; p < panel1; p++) {
    int64_t col = p * plan->nr;
    int width = n - col < plan->nr ? (int)(n - col) : plan->nr;
    for (int64_t k0 = 0; k0 < k; k0 += STEPS) {
      int64_t steps = k - k0 < STEPS ? k - k0 : STEPS;
      if (taps > 1)
        pack_some_taps(k, k0, steps, plan->nr, col, width, taps, from, some);
      else if (trans)
        pack_columns(k, k0, steps, plan->nr, col, width, from, some);
      else
        pack_rows(steps, n, plan->nr, col, width, from + k0 * n * 4, some);
      round_steps(t, some, steps, plan->nr, dst + (p * k + k0) * plan->nr);
    }
  }
}

void product_pack(const ProductPlan *plan, int64_t k, int64_t n, bool trans, int64_t taps, const void *src, float *dst,
                  int64_t panel0, int64_t panel1) {
  for (int64_t p = panel0; p < panel1; p++) {
    int64_t col = p * plan->nr;
    int width = n - col < plan->nr ? (int)(n - col) : plan->nr;
    float *panel = dst + p * plan->nr * k;
    if (taps > 1)
      pack_taps(k, plan->nr, col, width, taps, src, panel);
    else if (trans)
      pack_columns(k, 0, k, plan->nr, col, width, src, panel);
    else
      pack_rows(k, n, plan->nr, col, width, src, panel);
  }
}
