/* nbits.c - the packing of constants of few bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/nbits.h"

#include "ops/eval/nbits.h"
#include "support/checked.h"

#include <string.h>

int nbits_steps(const ProductBits *b) { return b->bits == 8 ? 8 : 32 / b->bits; }

static int zero_bytes(const ProductBits *b) { return b->zero == PZ_BYTE ? 1 : b->zero == PZ_F32 ? 4 : 0; }

int64_t nbits_block_bytes(const ProductBits *b, int nr) { return nr * (4 + zero_bytes(b) + b->block * b->bits / 8); }

static int64_t blocks_of(const ProductBits *b, int64_t k) { return k ? (k - 1) / b->block + 1 : 0; }

bool nbits_packed_bytes(const ProductPlan *plan, const ProductBits *b, int64_t k, int64_t n, int64_t *bytes) {
  return mul_ok(product_panels(plan, n), blocks_of(b, k), bytes) &&
         mul_ok(*bytes, nbits_block_bytes(b, plan->nr), bytes);
}

/* One column of a block: `at` bytes into its nr columns. */
static void pack_column(const ProductBits *b, int nr, int j, const uint8_t *src, int64_t steps, uint8_t *dst) {
  static const uint8_t sign[] = {[2] = 0xaa, [4] = 0x88, [8] = 0x80};
  int64_t bytes = (steps * b->bits + 7) / 8, unit = b->bits == 8 && !b->rounded ? 1 : 4;
  for (int64_t i = 0; i < b->block * b->bits / 8; i++) {
    uint8_t v = i < bytes ? src[i] ^ (b->rounded ? 0 : sign[b->bits]) : 0;
    int used = (int)(steps * b->bits - i * 8); /* bits of the byte that are below K */
    if (i < bytes && used < 8)
      v &= (uint8_t)((1 << used) - 1);
    dst[(i / unit * nr + j) * unit + i % unit] = v;
  }
}

static float zero_point(const NBitsSource *src, const NBits *f, int64_t n, int64_t block) {
  int middle = 1 << (f->bits - 1);
  if (src->zero_type == DT_u8)
    return (float)(nbits_get(src->zero + n * nbits_zero_bytes(f), f->bits, block) - middle);
  float v;
  memcpy(&v, src->zero + (n * f->blocks + block) * 4, 4);
  return v - (float)middle;
}

static void pack_block(const ProductBits *b, const NBits *f, int nr, int64_t col, int width, int64_t block,
                       const NBitsSource *src, uint8_t *dst) {
  uint8_t *zero = dst + nr * 4, *data = zero + nr * zero_bytes(b);
  int64_t steps = f->k - block * f->block < f->block ? f->k - block * f->block : f->block;
  memset(dst, 0, (size_t)nbits_block_bytes(b, nr));
  for (int j = 0; j < width; j++) {
    int64_t n = col + j;
    memcpy(dst + j * 4, src->scale + (n * f->blocks + block) * 4, 4);
    float z = b->zero ? zero_point(src, f, n, block) : 0;
    if (b->zero == PZ_BYTE)
      zero[j] = (uint8_t)(int8_t)z;
    else if (b->zero == PZ_F32)
      memcpy(zero + j * 4, &z, 4);
    pack_column(b, nr, j, src->b + n * nbits_column_bytes(f) + block * (f->block * f->bits / 8), steps, data);
  }
}

void nbits_pack(const ProductPlan *plan, const ProductBits *b, int64_t k, int64_t n, const NBitsSource *src,
                uint8_t *dst, int64_t panel0, int64_t panel1) {
  NBits f;
  if (!nbits_of(k, n, b->bits, b->block, &f))
    return;
  int64_t size = nbits_block_bytes(b, plan->nr);
  for (int64_t p = panel0; p < panel1; p++) {
    int64_t col = p * plan->nr;
    int width = n - col < plan->nr ? (int)(n - col) : plan->nr;
    for (int64_t i = 0; i < f.blocks; i++)
      pack_block(b, &f, plan->nr, col, width, i, src, dst + (p * f.blocks + i) * size);
  }
}
