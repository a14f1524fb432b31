/* integer.c - the packing of B for products of 8-bit integers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/integer.h"

#include "support/checked.h"

#include <string.h>

int integer_unit(const ProductPlan *plan) { return strstr(plan->level->level, "vnni") ? 4 : 2; }

bool integer_packed_bytes(const ProductPlan *plan, int64_t k, int64_t n, int64_t *bytes) {
  return k <= INT32_MAX && mul_ok(product_panels(plan, n), integer_panel_bytes(plan, k), bytes);
}

static void pack_panel(const ProductPlan *plan, DType a, int64_t k, int64_t n, const int8_t *src, int width,
                       uint8_t *dst) {
  int nr = plan->nr, unit = integer_unit(plan);
  uint8_t *data = dst + nr * 4;
  memset(dst, 0, (size_t)integer_panel_bytes(plan, k));
  for (int j = 0; j < width; j++) {
    uint32_t sum = 0;
    for (int64_t i = 0; i < k; i++) {
      data[(i / unit * nr + j) * unit + i % unit] = (uint8_t)src[i * n + j];
      sum += (uint32_t)src[i * n + j];
    }
    sum = unit == 4 && a == DT_i8 ? -128 * sum : 0;
    memcpy(dst + j * 4, &sum, 4);
  }
}

void integer_pack(const ProductPlan *plan, DType a, int64_t k, int64_t n, const int8_t *src, uint8_t *dst,
                  int64_t panel0, int64_t panel1) {
  for (int64_t p = panel0; p < panel1; p++) {
    int64_t col = p * plan->nr;
    int width = n - col < plan->nr ? (int)(n - col) : plan->nr;
    pack_panel(plan, a, k, n, src + col, width, dst + p * integer_panel_bytes(plan, k));
  }
}
