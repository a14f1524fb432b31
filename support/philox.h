/* philox.h - the counter-based random numbers of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011):
 * Philox4x32-10. Block i of a key is a function of both, so that any part of a tensor can be drawn by itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_PHILOX_H
#define SARD_SUPPORT_PHILOX_H

#include <stdint.h>

enum { PHILOX_ROUNDS = 10 };
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

static inline void philox(uint64_t key, uint64_t block, uint32_t out[4]) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = 0, c3 = 0;
  for (int i = 0; i < PHILOX_ROUNDS; i++) {
    uint64_t p = (uint64_t)c0 * PHILOX_M0, q = (uint64_t)c2 * PHILOX_M1;
    c0 = (uint32_t)(q >> 32) ^ c1 ^ k0, c1 = (uint32_t)q;
    c2 = (uint32_t)(p >> 32) ^ c3 ^ k1, c3 = (uint32_t)p;
    k0 += PHILOX_W0, k1 += PHILOX_W1;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* A number in [0, 1) with the bits of a float (24), or of a double (53). */
static inline double philox_f32(uint32_t x) { return (double)(x >> 8) * 0x1p-24; }
static inline double philox_f64(uint32_t x, uint32_t y) { return (double)(((uint64_t)x << 32 | y) >> 11) * 0x1p-53; }

#endif
