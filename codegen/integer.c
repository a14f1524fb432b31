/* integer.c - the packing of B for products of 8-bit integers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/integer.h"

#include "support/checked.h"

#include <string.h>

int integer_unit(const ProductPlan *plan) { return plan->halved || strstr(plan->level->level, "vnni") ? 4 : 2; }

static int64_t panel_bytes(const ProductPlan *plan, const Product *x, int64_t k) {
  return x->channelwise ? plan->nr * k * 4 : integer_panel_bytes(plan, k);
}

bool integer_packed_bytes(const ProductPlan *plan, const Product *x, int64_t k, int64_t n, int64_t *bytes) {
  return k <= INT32_MAX && mul_ok(product_panels(plan, n), panel_bytes(plan, x, k), bytes) &&
         mul_ok(*bytes, x->groups > 1 ? x->groups : 1, bytes);
}

/* B's source: step t * (k / taps) + c of a column is at column * by_column + t * by_tap + c * by_channel. */
typedef struct Source {
  const int8_t *data;
  int64_t k, taps, by_column, by_tap, by_channel;
} Source;

static void pack_panel(const ProductPlan *plan, const Product *x, const Source *s, int64_t col, int width,
                       uint8_t *dst) {
  int nr = plan->nr, unit = integer_unit(plan);
  uint8_t *data = dst + nr * 4;
  int64_t zero = x->zero + (unit == 4 && x->bytes == DT_i8 ? 128 : 0);
  memset(dst, 0, (size_t)integer_panel_bytes(plan, s->k));
  for (int j = 0; j < width; j++) {
    const int8_t *at = s->data + (col + j) * s->by_column;
    uint32_t sum = 0;
    for (int64_t t = 0, i = 0; t < s->taps; t++)
      for (int64_t c = 0; c < s->k / s->taps; c++, i++) {
        int8_t v = at[t * s->by_tap + c * s->by_channel];
        data[(i / unit * nr + j) * unit + i % unit] = (uint8_t)v;
        sum += (uint32_t)v;
      }
    sum *= (uint32_t)-zero;
    memcpy(dst + j * 4, &sum, 4);
  }
}

/* src: [n, k]. */
static void pack_channels(const ProductPlan *plan, int64_t k, const int8_t *src, int width, uint8_t *dst) {
  for (int64_t t = 0; t < k; t++)
    for (int j = 0; j < plan->nr; j++, dst += 4) {
      uint32_t v = j < width ? (uint16_t)src[j * k + t] : 0;
      memcpy(dst, &v, 4);
    }
}

void integer_pack(const ProductPlan *plan, const Product *x, int64_t k, int64_t n, int64_t taps, const int8_t *src,
                  uint8_t *dst, int64_t panel0, int64_t panel1) {
  Source s = {.data = src, .k = k, .taps = taps, .by_column = 1, .by_channel = n};
  if (x->trans_b || taps > 1)
    s.by_column = k, s.by_tap = 1, s.by_channel = taps;
  for (int64_t p = panel0; p < panel1; p++) {
    int64_t panels = product_panels(plan, n), col = p % panels * plan->nr, first = p / panels * n + col;
    int width = n - col < plan->nr ? (int)(n - col) : plan->nr;
    uint8_t *panel = dst + p * panel_bytes(plan, x, k);
    if (x->channelwise)
      pack_channels(plan, k, src + first * k, width, panel);
    else
      pack_panel(plan, x, &s, first, width, panel);
  }
}
