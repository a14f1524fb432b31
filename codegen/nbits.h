/* nbits.h - constants B of 2, 4 or 8 bits (ops/eval/nbits.h), packed for products: as many bytes as the file has, in the order in
 * which codegen/llvm/nbits.c reads them.
 *
 * Panels of nr columns, as in product.h; a panel holds its blocks of k in order, and a block
 *
 *     scales  nr f32
 *     zeros   none, nr bytes, or nr f32: the zero point less 2^(bits-1)
 *     2, 4    words of 32 bits, each with 32 / bits steps of k of one column, the first in the lowest bits: nr words for
 *             those steps, then nr words for the next ones
 *     8       bytes: nr for a step of k, then nr for the next one
 *
 * Numbers are stored less 2^(bits-1), as signed ones; where A is rounded they stay as they are, those of 8 bits in words of 4 as well. Beyond K and N everything is zero.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_NBITS_H
#define SARD_CODEGEN_NBITS_H

#include "codegen/product.h"

/* Where the parts of a constant lie. */
typedef struct NBitsSource {
  const uint8_t *b, *scale, *zero; /* zero NULL: none; scale and zero may be at any address */
  DType zero_type;
} NBitsSource;

int nbits_steps(const ProductBits *b);                   /* of k in what is unpacked at once */
int64_t nbits_block_bytes(const ProductBits *b, int nr); /* of a panel */
/* Packed bytes of all; false if that overflows. */
bool nbits_packed_bytes(const ProductPlan *plan, const ProductBits *b, int64_t k, int64_t n, int64_t *bytes);
/* Panels panel0 to panel1 - 1 of dst, the whole of packed B. */
void nbits_pack(const ProductPlan *plan, const ProductBits *b, int64_t k, int64_t n, const NBitsSource *src,
                uint8_t *dst, int64_t panel0, int64_t panel1);

#endif
