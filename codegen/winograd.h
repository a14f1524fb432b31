/* winograd.h - convolutions of 3x3 taps and stride 1 with fewer multiplications (Winograd's minimal filtering, after Lavin and
 * Gray): a tile of m x m outputs is made from (m + 2) x (m + 2) inputs.
 *
 *     Y = O [ (W g W') * (I d I') ] O'      d: a tile of the input, g: the taps, *: element by element, summed over channels
 *
 * So the channels are summed by (m + 2)^2 products instead of 9 m^2 multiply-adds per output: for element e of the brackets,
 * a row per tile by a column per channel of the output. The weight's side is worked out when it is packed; k counts
 * the channels of element after element:
 *
 *     panel of nr columns:  | e = 0: channel 0, 1, … | e = 1: … |  …
 *
 * What is not finite would spread to neighbours in its tile, and large values overflow earlier: tiles in which anything comes
 * out as not finite are computed tap by tap instead, from taps that `back` recovers from the packed weight (W is of full
 * rank).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_WINOGRAD_H
#define SARD_CODEGEN_WINOGRAD_H

#include "codegen/product.h"

enum {
  WINOGRAD_EDGE = 6,
  WINOGRAD_STRIP = 8
}; /* the most of m + 2; tiles whose outputs go through the epilogue at once */

typedef struct WinogradForm {
  int m, edge; /* edge: m + 2 */
  float input[WINOGRAD_EDGE][WINOGRAD_EDGE], output[4][WINOGRAD_EDGE], back[3][WINOGRAD_EDGE];
  double weight[WINOGRAD_EDGE][3];
} WinogradForm;

/* The form whose tiles have so many outputs along an edge. */
const WinogradForm *winograd_form(int m);
/* The m that a convolution through p->rows is fastest with at a CPU level; 0: directly. weight: [n, channels, 3, 3], f32, which
 * p->weights rounds. */
int winograd_choose(const Product *p, const char *level, const void *weight);

static inline int winograd_elements(const Product *p) { return (p->winograd + 2) * (p->winograd + 2); }
int64_t winograd_channels(const Product *p);
/* Bytes from a tile's channels to the next one's; of a whole part: those of an element, and its sums. */
int64_t winograd_row_bytes(const Product *p);
int64_t winograd_input_bytes(const Product *p, const ProductPlan *plan);
int64_t winograd_sums_bytes(const ProductPlan *plan);
int64_t winograd_strip_bytes(const Product *p, const ProductPlan *plan); /* one row of outputs of a strip */

/* Fills in what is its own: tiles, col_panels, scratch. */
void winograd_plan(const Product *p, ProductPlan *plan);
/* How many tiles the inner kernel may be asked for at a time: low to high. */
void winograd_heights(const Product *p, const ProductPlan *plan, int *low, int *high);
/* Tiles of all images. */
Dim winograd_tiles(Ctx *c, const Product *p);
/* product_pack's part. src: [n, channels, 3, 3], rounded to p->weights first. */
void winograd_pack(const ProductPlan *plan, const Product *p, int64_t n, const void *src, float *dst, int64_t panel0,
                   int64_t panel1);

#endif
