/* winograd.c - the forms, when they pay, the plan, and the packing of weights.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/winograd.h"

#include <math.h>
#include <string.h>

/* Points 0, 1, -1 and infinity; for m = 4 also 2 and -2. */
static const WinogradForm forms[] = {
    {.m = 2,
     .edge = 4,
     .input = {{1, 0, -1}, {0, 1, 1}, {0, -1, 1}, {0, -1, 0, 1}},
     .weight = {{1}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}},
     .output = {{1, 1, 1}, {0, 1, -1, 1}},
     .back = {{1}, {0, 1, -1}, {0, 0, 0, 1}}},
    {.m = 4,
     .edge = 6,
     .input = {{4, 0, -5, 0, 1},
               {0, -4, -4, 1, 1},
               {0, 4, -4, -1, 1},
               {0, -2, -1, 2, 1},
               {0, 2, -1, -2, 1},
               {0, 4, 0, -5, 0, 1}},
     .weight = {{1. / 4},
                {-1. / 6, -1. / 6, -1. / 6},
                {-1. / 6, 1. / 6, -1. / 6},
                {1. / 24, 1. / 12, 1. / 6},
                {1. / 24, -1. / 12, 1. / 6},
                {0, 0, 1}},
     .output = {{1, 1, 1, 1, 1}, {0, 1, -1, 2, -2}, {0, 1, 1, 4, 4}, {0, 1, -1, 8, -8, 1}},
     .back = {{4}, {0, -3, 3}, {0, 0, 0, 0, 0, 1}}},
};

const WinogradForm *winograd_form(int m) {
  for (size_t i = 0; i < countof(forms); i++)
    if (forms[i].m == m)
      return &forms[i];
  return NULL;
}

int64_t winograd_channels(const Product *p) {
  int64_t k = 0;
  dim_is_const(p->k, &k);
  return k / p->rows->taps;
}

/* A line more than the channels take: rows a power of two apart would share the sets of the first cache. */
int64_t winograd_row_bytes(const Product *p) { return (winograd_channels(p) * 4 + 127) / 64 * 64; }
int64_t winograd_input_bytes(const Product *p, const ProductPlan *plan) {
  return plan->tiles * winograd_row_bytes(p) + 64;
}
int64_t winograd_sums_bytes(const ProductPlan *plan) { return plan->tiles * plan->nr * 4; }
int64_t winograd_strip_bytes(const Product *p, const ProductPlan *plan) {
  return WINOGRAD_STRIP * p->winograd * (int64_t)plan->nr * 4;
}

/* Tiles along an axis of the output; -1: only the run tells. */
static int64_t tiles_along(const Product *p, int axis) {
  int64_t n;
  return dim_is_const(p->rows->out[axis], &n) ? (n + p->winograd - 1) / p->winograd : -1;
}

static int64_t tiles_of_image(const Product *p) {
  int64_t y = tiles_along(p, 1), x = tiles_along(p, 2);
  return y < 0 || x < 0 ? -1 : y * x;
}

/* Tiles of a part, input and sums together, stay in L2; the blocks are powers of two, which many numbers of threads share evenly.
 * More parts than PARTS are worth nothing to few threads, and fewer tiles read the weight more often. */
enum { PARTS = 8, FEW_TILES = 24 };

static int64_t most_tiles(const Product *p, const ProductPlan *plan) {
  return plan->level->l2 / 8 * 5 / (winograd_elements(p) * (winograd_row_bytes(p) + plan->nr * 4));
}

void winograd_plan(const Product *p, ProductPlan *plan) {
  int64_t tiles = tiles_of_image(p), most = most_tiles(p, plan), n = 0, blocks = 1;
  dim_is_const(p->n, &n);
  int64_t panels = product_panels(plan, n);
  plan->col_panels = panels;
  if (tiles > 0) {
    while (tiles / blocks > most)
      blocks *= 2;
    while (blocks < PARTS && tiles / blocks >= 2 * FEW_TILES)
      blocks *= 2;
    while (blocks * ((panels - 1) / plan->col_panels + 1) < PARTS && plan->col_panels > 1)
      plan->col_panels = (plan->col_panels + 1) / 2;
    most = (tiles - 1) / blocks + 1;
  }
  plan->tiles = most > 1 ? most : 1;
  plan->tile_bytes = winograd_elements(p) * winograd_sums_bytes(plan) + p->winograd * winograd_strip_bytes(p, plan);
  plan->panel_bytes = winograd_elements(p) * winograd_input_bytes(p, plan);
  plan->table_bytes = 0;
  plan->zero_bytes = winograd_row_bytes(p);
}

/* What even splits of a part of so many tiles ask for. */
static void heights_of(int64_t tiles, int mr, int *low, int *high) {
  int64_t n = (tiles - 1) / mr + 1;
  *low = tiles / n < *low ? (int)(tiles / n) : *low;
  *high = (tiles - 1) / n + 1 > *high ? (int)((tiles - 1) / n + 1) : *high;
}

/* Parts of many images have `tiles` or one less, those of few any share of them. */
void winograd_heights(const Product *p, const ProductPlan *plan, int *low, int *high) {
  int64_t image = tiles_of_image(p), images;
  *low = plan->mr, *high = 1;
  if (image < 1) {
    *low = 1, *high = plan->mr;
    return;
  }
  bool known = dim_is_const(p->images, &images);
  if (!known) /* as many blocks as tiles in one, at least */
    images = plan->tiles * plan->tiles / image + 1;
  for (int64_t i = known ? images : 1; i <= images; i++) {
    int64_t all = i < 1 ? image : i * image, blocks = (all - 1) / plan->tiles + 1;
    heights_of(all / blocks, plan->mr, low, high);
    heights_of((all - 1) / blocks + 1, plan->mr, low, high);
  }
}

Dim winograd_tiles(Ctx *c, const Product *p) {
  Dim m = dim_const(c, p->winograd);
  return dim_mul(c, p->images, dim_mul(c, dim_ceildiv(c, p->rows->out[1], m), dim_ceildiv(c, p->rows->out[2], m)));
}

/* --- does it pay? --- */

/* Cycles for each element of the weight: a multiply-add of two units, or bytes that come in from memory, whichever is more. */
static double cycles(int64_t lanes, double products, double elements) {
  double compute = products / (2 * (double)lanes), memory = elements * 4 / 5.5;
  return compute > memory ? compute : memory;
}

static float rounded(DType t, float x) {
  return t == DT_bf16 ? bf16_to_f32(bf16_from_f32(x)) : t == DT_f16 ? f16_to_f32(f16_from_f32(x)) : x;
}

static bool finite_weight(DType t, const void *weight, int64_t n) {
  const uint8_t *at = weight;
  float x, sum = 0;
  for (int64_t i = 0; i < n; i++, at += 4) {
    memcpy(&x, at, 4);
    sum += rounded(t, x) * 0;
  }
  return sum == 0;
}

/* Channels of which many are needed for the products to be worth the transformations. */
enum { LEAST_CHANNELS = 32 };

int winograd_choose(const Product *p, const char *level, const void *weight) {
  const ProductWindow *w = p->rows;
  int64_t k, n;
  if (!w || p->planes || p->channelwise || p->bytes || w->taps != 9 || w->kernel[1] != 3 || w->kernel[2] != 3 ||
      !dim_is(w->in[0], 1) || !dim_is_const(p->k, &k) || !dim_is_const(p->n, &n))
    return 0;
  for (int i = 1; i < WINDOW_AXES; i++)
    if (w->stride[i] != 1 || w->dilation[i] != 1)
      return 0;
  int lanes = product_level(level)->lanes, best = 0;
  int64_t channels = k / 9;
  if (channels % lanes || channels < LEAST_CHANNELS || n < LEAST_CHANNELS || !finite_weight(p->weights, weight, k * n))
    return 0;
  double least = p->positions < 0 ? (double)INFINITY : cycles(lanes, 9 * (double)p->positions, 9);
  for (size_t i = 0; i < countof(forms); i++) {
    Product q = *p;
    q.winograd = (uint8_t)forms[i].m;
    ProductPlan plan = product_plan(&q, level);
    int64_t tiles = tiles_of_image(&q);
    double e = winograd_elements(&q),
           cost = tiles < 0 ? e / (q.winograd * q.winograd) : 1.25 * cycles(lanes, e * (double)tiles, e);
    if (most_tiles(&q, &plan) >= 2 * plan.mr && cost < least)
      least = cost, best = q.winograd;
  }
  return best;
}

/* --- packing --- */

static void transform(const WinogradForm *f, const float g[9], double *u) {
  for (int a = 0; a < f->edge; a++)
    for (int b = 0; b < f->edge; b++) {
      double sum = 0;
      for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
          sum += f->weight[a][i] * f->weight[b][j] * (double)g[3 * i + j];
      u[a * f->edge + b] = sum;
    }
}

void winograd_pack(const ProductPlan *plan, const Product *x, int64_t n, const void *src, float *dst, int64_t panel0,
                   int64_t panel1) {
  const WinogradForm *f = winograd_form(x->winograd);
  int64_t channels = winograd_channels(x);
  int elements = f->edge * f->edge, nr = plan->nr;
  for (int64_t p = panel0; p < panel1; p++) {
    float *panel = dst + p * nr * channels * elements;
    for (int64_t c = 0; c < channels; c++)
      for (int j = 0; j < nr; j++) {
        float g[9] = {0};
        double u[WINOGRAD_EDGE * WINOGRAD_EDGE];
        if (p * nr + j < n)
          memcpy(g, (const uint8_t *)src + ((p * nr + j) * channels + c) * 36, 36);
        for (int t = 0; t < 9; t++)
          g[t] = rounded(x->weights, g[t]);
        transform(f, g, u);
        for (int t = 0; t < elements; t++)
          panel[(t * channels + c) * nr + j] = (float)u[t];
      }
  }
}
