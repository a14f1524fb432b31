/* nbits.h - matrices of whole numbers of 2, 4 or 8 bits with a scale per block of k, as MatMulNBits (com.microsoft 1) stores them.
 *
 *   B       [N, blocks, block * bits / 8] bytes: column n after column n, its k in order, the first in the lowest bits
 *   scales  [N, blocks], also flat
 *   zeros   none: 2^(bits-1); of the scales' type: [N, blocks]; bytes: packed as B is, each column in whole bytes
 *
 * Element (k, n) is (B - zero) * scale, both of block k / block.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_NBITS_H
#define SARD_OPS_EVAL_NBITS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct NBits {
  int64_t k, n, block, blocks; /* blocks of a column; the last may hold more than K leaves for it */
  int bits;
} NBits;

/* False: no such format. Sizes that overflow are refused here. */
static inline bool nbits_of(int64_t k, int64_t n, int64_t bits, int64_t block, NBits *f) {
  *f = (NBits){.k = k, .n = n, .block = block, .bits = (int)bits};
  if ((bits != 2 && bits != 4 && bits != 8) || block < 16 || block > INT32_MAX || (block & (block - 1)))
    return false;
  if (k < 1 || n < 1 || k > INT32_MAX || n > INT32_MAX)
    return false;
  f->blocks = (k - 1) / block + 1;
  return true;
}

static inline int64_t nbits_column_bytes(const NBits *f) { return f->blocks * (f->block * f->bits / 8); }
static inline int64_t nbits_zero_bytes(const NBits *f) { return (f->blocks * f->bits + 7) / 8; } /* of a column */

/* Number i of those packed at p. */
static inline int nbits_get(const uint8_t *p, int bits, int64_t i) {
  int64_t at = i * bits;
  return p[at / 8] >> (at % 8) & ((1 << bits) - 1);
}

#endif
