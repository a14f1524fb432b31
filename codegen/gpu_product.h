/* gpu_product.h - matrix products and convolutions on GPUs, where code of ours computes them: how the work is cut.
 *
 * Tiles. A block of 256 threads makes bm x bn elements of C, each thread tm x tn of them, in registers. The operands pass through
 * shared memory bk steps of k at a time, the next ones on their way meanwhile:
 *
 *      A [bm][bk] --> a[bk][bm + pad]  \
 *                                       >  threads 16 x 16: sum[tm][tn] += a[k][rows] * b[k][columns]
 *      B [bk][bn] --> b[bk][bn + pad]  /
 *
 * Of f16, bf16 and bytes, tensor cores multiply the tiles: TENSOR_BYTES of k at a time, the block's 8 warps have wm x wn elements of C
 * each, in mma's fragments of 16 x 8, and the operands lie in shared memory as they lie in the GPU's, TENSOR_APART bytes between rows.
 * Numbers of few bits are rounded to A's type there, as they are by DequantizeLinear.
 * The sums go through shared memory as well, so that the epilogue reads and writes rows of C side by side.
 *
 * Rows. Up to PRODUCT_ROWS rows of A: B is read once, 16 bytes a thread, and nothing is shared but A, which is small. Bound by memory:
 *   B [n, k]  a warp has a few columns of B, its lanes go along k; they add up by shuffles
 *   B [k, n]  ROWS_LANES lanes side by side have 16 bytes of a row of B each; all others in the block have other rows, and what they
 *             have added up meets in shared memory; of narrow numbers it is 8 of them, in 2, 4 or 8 bytes
 * The order of additions depends on neither the grid nor the number of multiprocessors.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_GPU_PRODUCT_H
#define SARD_CODEGEN_GPU_PRODUCT_H

#include "codegen/unit.h"

enum { TILE_SIDE = 16, TILE_PAD = 4, ROWS_LANES = 4, TENSOR_BYTES = 64, TENSOR_APART = 16 };

typedef struct GpuTile {
  uint8_t bm, bn, bk; /* bm and bn: 16, 32, 64 or 128; on tensor cores there are at least 1024 elements of C */
} GpuTile;

/* Do tensor cores multiply its tiles? */
static inline bool gpu_tensor_cores(const Product *p) { return p->type || p->bytes; }

GpuTile gpu_tile(const Product *p);
/* Columns of C that a block has with FORM_ROWS. */
int gpu_rows_columns(const Product *p);
/* Can so few rows be multiplied by code of their own? */
bool gpu_rows_fit(const Product *p);
/* Inputs of the unit that stand between B and those of the epilogue: with FORM_LIBRARY and a narrow B that one; scales; zero points. */
uint32_t gpu_product_extra(const Product *p);
/* Fills in parts, threads, scratch, flops and bytes of a UNIT_PRODUCT. */
void gpu_product(Ctx *c, Unit *u);
/* Is B the weight of a window by rows whose k, channels inside of taps, is not the order of ONNX, [n, channels, taps]? */
bool gpu_weight_reordered(const Product *p);
/* Rows from..to of such a constant as [n, taps, channels], so that k runs along memory. */
void gpu_weight_pack(const Product *p, int64_t k, const uint8_t *src, uint8_t *dst, int64_t from, int64_t to);
/* "cuBLASLt, tiles of 64x64": for the reports, in arena a. */
const char *gpu_product_text(Arena *a, const Product *p);

#endif
