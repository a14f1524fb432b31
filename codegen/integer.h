/* integer.h - products of 8-bit integers: A of u8 or i8, B a constant of i8, sums of 32 bits that wrap.
 *
 * With VNNI four steps of k are one instruction, of u8 by i8: an A of i8 is taken as u8 with 128 added, and the sums start at -128
 * times those of B's columns. Elsewhere both are widened to 16 bits, and two steps of k are one instruction: nothing
 * saturates. `unit` is how many steps that is, four again for convolutions behind a relu with AVX2: the sums of their pairs are kept
 * in 16 bits, and pairs of A for which that may be too few are halved (codegen/llvm/halved.c). B is packed by panels of nr columns, as
 * in product.h; a panel holds
 *
 *     start   nr i32: where its sums start; a zero point of A, taken off all of it, is in them as well
 *     bytes   nr times `unit` of them for the first steps of k, those of a column side by side, then for the next ones
 *
 * K is padded with zeros to a multiple of 4.
 *
 * Where every channel has taps of its own (Product.channelwise), a panel holds nr i32 for each tap: the number in the low 16
 * bits, zeros above, which is what instructions for pairs of 16 bits multiply one number by. x's zero point is taken off x.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_INTEGER_H
#define SARD_CODEGEN_INTEGER_H

#include "codegen/product.h"

int integer_unit(const ProductPlan *plan); /* steps of k in one instruction */
static inline int64_t integer_depth(int64_t k) { return (k + 3) / 4 * 4; }
static inline int64_t integer_panel_bytes(const ProductPlan *plan, int64_t k) {
  return plan->nr * (4 + integer_depth(k));
}
/* Packed bytes of all; false if that overflows. */
bool integer_packed_bytes(const ProductPlan *plan, const Product *x, int64_t k, int64_t n, int64_t *bytes);
/* Panels panel0 to panel1 - 1 of dst, the whole of packed B, group after group; src: i8 [k, n], or as product_pack says if the
 * product has trans_b or taps. */
void integer_pack(const ProductPlan *plan, const Product *x, int64_t k, int64_t n, int64_t taps, const int8_t *src,
                  uint8_t *dst, int64_t panel0, int64_t panel1);

#endif
