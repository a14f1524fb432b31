/* product.h - matrix products apart from any compiler: which tile a CPU level multiplies with, how the work falls into
 * parts and blocks, and the layout of a packed B. codegen/llvm/product.c emits what is planned here.
 *
 * A tile is mr rows of A by nr columns of B, held in vector registers while k runs. B is packed by panels of nr
 * columns; a panel holds, k after k, its nr values, so that a tile reads it as one stream; columns beyond N are zero:
 *
 *        n = 0 … nr-1        nr … 2nr-1      …  last, padded
 *      +------------------+------------------+---------+
 *      | k=0: b00 b01 …   | k=0: b0,nr …     |  … 0 0  |     panel p at p * k * nr floats,
 *      | k=1: b10 b11 …   | k=1: b1,nr …     |  … 0 0  |     element (k, n) of it at k * nr + n,
 *      |  …               |  …               |         |     matrix b of a batch at b * product_packed_floats
 *      +------------------+------------------+---------+
 *
 * B rounded to 16 bits lies the same way, f16 as it is, bf16 by pairs of k: one lane of 32 bits has k in its low half and k + 1 in its
 * high one, which is what vdpbf16ps multiplies, and what a shift and a mask make two f32 of. K is even then, and so are its blocks,
 * and a tap's channels in a convolution.
 *
 * Rows are never padded: M rows are split evenly into ceil(M / mr) tiles, heights differ by at most one, and every
 * height has an inner kernel of its own. K is split evenly into blocks of at most kc, whose results are added in order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_PRODUCT_H
#define SARD_CODEGEN_PRODUCT_H

#include "codegen/unit.h"

/* A row of a level's table. The inner kernel keeps mr * nr / lanes accumulators, nr / lanes values of B and one of A.
 */
typedef struct ProductTile {
  uint8_t mr, nr;
} ProductTile;

typedef struct ProductLevel {
  const char *level;       /* support/cpu.h's names */
  uint8_t lanes;           /* f32 of a vector register */
  uint8_t unroll;          /* steps of k in one turn of the inner loop */
  uint32_t l1, l2;         /* bytes of data cache per core taken for granted */
  const ProductTile *tile; /* the first of equally good ones is taken; ends with mr 0 */
} ProductLevel;

typedef struct ProductPlan {
  const ProductLevel *level;
  int mr, nr;
  int64_t kc;         /* most steps of k in a block */
  int64_t row_tiles;  /* most tiles of rows in a part */
  int64_t col_panels; /* most panels of columns in a part */
  int tail;           /* vectors of the last panel, when it surely has fewer than the others; else 0 */
  bool rows_outer;    /* order of the parts: blocks of columns follow each other, not blocks of rows */
  int64_t tile_bytes; /* scratch: sums of one part (of one tile, when k surely is one block) */
  int64_t
      panel_bytes; /* scratch: one packed block of a panel of B, a tile of integers of A, a part's rows of bf16; or 0 */
  int streamed; /* so few rows wait for B, which each reads once, a panel at a time, and have the time to ask for all of it */
  int few;        /* 16-bit weights: up to so many rows read B as it is packed, for more its blocks are made f32 */
  int64_t dots;   /* above 0: A is rounded as well, to rows of so many bytes, and the CPU multiplies bf16 */
  int64_t halved; /* above 0: rows of u8 so many bytes apart, whose pairs are small or halved (codegen/llvm/halved.c) */
  bool one_block; /* k surely is one block */
  /* Scratch, when A is read through a window: a table of addresses (codegen/llvm/rows.c), of table_rows to an entry, and a
   * row of zeros. */
  int64_t table_bytes, zero_bytes;
  int table_rows;
  int64_t tiles; /* most of a part (codegen/winograd.h); col_panels is all, row_tiles is without meaning */
} ProductPlan;

/* A convolution of single channels: no product is worth packing for. Each part copies a plane of the input, with zeros
 * around it and the columns of each phase of the stride side by side, so that all taps of a vector of positions are loads
 * at fixed distances. */
enum { DEPTHWISE_TAPS = 64, DEPTHWISE_ROWS = 4, DEPTHWISE_VECS = 4 };
bool product_is_depthwise(const Product *p);
/* The least number of steps of k that a block may have: those of a channel, or those of a tap. */
int64_t product_k_unit(const Product *p);
int64_t
depthwise_reach(const ProductWindow *w); /* elements beyond a position's own that its taps reach, in a phase, and 1 */

/* The table of a level; the baseline of its architecture when the level is not known. Never NULL. */
const ProductLevel *product_level(const char *level);
ProductPlan product_plan(const Product *p, const char *level);
/* Fills in parts, scratch, flops and bytes of a UNIT_PRODUCT. */
void product_schedule(Ctx *c, Unit *u, const char *level);

/* Packed B of n columns by k rows: its size, false if that overflows. Panels are independent of each other: threads may
 * pack ranges of them. src: f32, row-major, at any alignment, [k, n], or [n, k] if trans, or, with taps above 1,
 * [n, k / taps, taps] for an order of k by taps; dst: the whole of packed B. */
bool product_packed_floats(const ProductPlan *plan, int64_t k, int64_t n, int64_t *floats);
int64_t product_panels(const ProductPlan *plan, int64_t n);
int64_t product_col_blocks(const ProductPlan *plan, int64_t n); /* of the parts */
void product_pack(const ProductPlan *plan, int64_t k, int64_t n, bool trans, int64_t taps, const void *src, float *dst,
                  int64_t panel0, int64_t panel1);
/* The same rounded to t, DT_bf16 or DT_f16: half the bytes. k is even. */
void product_pack_rounded(const ProductPlan *plan, DType t, int64_t k, int64_t n, bool trans, int64_t taps,
                          const void *src, uint16_t *dst, int64_t panel0, int64_t panel1);
/* Bytes of a number of a packed B. Winograd's tiles hold f32, of taps that are rounded. */
static inline int product_b_bytes(const Product *p) { return p->weights && !p->winograd ? 2 : 4; }

#endif
