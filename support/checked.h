/* checked.h - size arithmetic that says when it overflows. All sizes that come from a file go through here.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_CHECKED_H
#define SARD_SUPPORT_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns true when the exact result fits *r. */
static inline bool add_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_add_overflow(a, b, r); }
static inline bool sub_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_sub_overflow(a, b, r); }
static inline bool mul_ok(int64_t a, int64_t b, int64_t *r) { return !__builtin_mul_overflow(a, b, r); }
static inline bool size_add_ok(size_t a, size_t b, size_t *r) { return !__builtin_add_overflow(a, b, r); }
static inline bool size_mul_ok(size_t a, size_t b, size_t *r) { return !__builtin_mul_overflow(a, b, r); }

/* Product of n extents; false when one is negative or the product overflows. The empty product is 1. A zero anywhere
 * gives 0 only if the other extents do not overflow: 0 x 2^62 x 2^62 is refused, as no tensor of ours may claim it. */
static inline bool extent_ok(const int64_t *dim, int rank, int64_t *count) {
  int64_t n = 1;
  bool zero = false;
  for (int i = 0; i < rank; i++) {
    if (dim[i] < 0)
      return false;
    if (!dim[i])
      zero = true;
    else if (!mul_ok(n, dim[i], &n))
      return false;
  }
  *count = zero ? 0 : n;
  return true;
}

#endif
