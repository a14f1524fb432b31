/* caches.h - memory of caches for tests of runs that append to it: whole pages, which a test can protect, and what they hold.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_API_CACHES_H
#define SARD_TESTS_API_CACHES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

/* n numbers in [-1, 1), the same for a seed. */
static inline void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = 0; i < n; i++)
    seed = seed * 1664525 + 1013904223, x[i] = (float)(seed >> 8) / (1 << 23) - 1;
}

/* n zeros at the start of a page; the caller's, to munmap. */
static inline float *pages(size_t n) {
  void *p = mmap(NULL, n * sizeof(float), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(p != MAP_FAILED);
  return p;
}

#endif
