/* half.h - f16 of numbers, to the nearest, ties to even. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_NULL_HALF_H
#define SARD_TESTS_CUDA_NULL_HALF_H

#include <math.h>
#include <stdint.h>

static inline uint16_t half(double v) {
  uint16_t sign = signbit(v) ? 0x8000 : 0;
  double a = fabs(v);
  if (isnan(v))
    return 0x7fff;
  if (a >= 65520)
    return sign | 0x7c00;
  int e = a > 0 ? ilogb(a) : -14;
  e = e < -14 ? -14 : e;
  return (uint16_t)(sign | (uint16_t)((int)nearbyint(ldexp(a, 10 - e)) + ((e + 14) << 10)));
}

#endif
