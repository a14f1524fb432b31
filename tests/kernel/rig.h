/* rig.h - what the tests of products and of attention share: operands, a call in pieces, the levels of this CPU.
 * Include it last: it includes cmocka.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_KERNEL_RIG_H
#define SARD_TESTS_KERNEL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/kernel/jit.h"

#include <string.h>

#include <cmocka.h> /* last: it defines fail */

/* n numbers, uniform in [-1, 1), with room for 64 bytes behind them. The caller frees them. */
static inline float *numbers(int64_t n, uint32_t seed) {
  float *p = aligned_alloc(64, ((size_t)n * 4 + 191) & ~(size_t)63);
  assert_non_null(p);
  for (int64_t i = 0; i < n; i++)
    seed = seed * 1664525 + 1013904223, p[i] = (float)(int32_t)seed * 0x1p-31f;
  return p;
}

static inline KernelFn rig_compile(Jit *j, const Unit *u) {
  KernelFn fn = jit_compile(j, u);
  if (!fn)
    fail_msg("%s", j->ctx.err.message);
  return fn;
}

/* The values of a unit's symbols: a resolver of dim_eval, and its argument. */
typedef struct RigSizes {
  bool (*of)(void *arg, Dim sym, int64_t *v);
  void *arg;
} RigSizes;

static inline int64_t rig_value(Dim d, RigSizes s) {
  int64_t v;
  assert_true(dim_eval(d, s.of, s.arg, &v));
  return v;
}

/* Runs all parts in `pieces` calls, the last ones first, as threads may. Scratch holds NaN before, as nothing may rely on it,
 * and is not written behind its end. */
static inline void rig_run(Jit *j, const Unit *u, KernelFn fn, RigSizes s, void **buf, int pieces) {
  int64_t dim[16], parts = rig_value(u->parts, s), scratch = rig_value(u->scratch, s);
  const Dim *dims;
  uint32_t ndim;
  char *mem = aligned_alloc(64, ((size_t)scratch + 127) & ~(size_t)63);
  assert_non_null(mem);
  memset(mem, 0xff, (size_t)scratch), memset(mem + scratch, 0x5a, 64);
  unit_signature(j->arena, u, &dims, &ndim);
  assert_true(ndim <= countof(dim));
  for (uint32_t i = 0; i < ndim; i++)
    dim[i] = rig_value(dims[i], s);
  for (int i = pieces; i-- > 0;) {
    KernelArgs a = {
        .buf = buf, .dim = dim, .begin = parts * i / pieces, .end = parts * (i + 1) / pieces, .scratch = mem};
    assert_int_equal(fn(&a), 0);
  }
  for (int i = 0; i < 64; i++)
    assert_int_equal(mem[scratch + i], 0x5a);
  free(mem);
}

/* Runs the tests at every level that this CPU has. Returns what main is to return. */
#define RIG_MAIN(j, levels, tests)                                                                                     \
  int failed = 0;                                                                                                      \
  for (size_t i = 0; i < countof(levels) && cpu_runs(levels[i]); i++) {                                                \
    if (!jit_open(j, levels[i])) {                                                                                     \
      printf("no code generator: %s\n", (j)->ctx.err.message);                                                         \
      return backend_present();                                                                                        \
    }                                                                                                                  \
    printf("level %s\n", (j)->level);                                                                                  \
    failed += cmocka_run_group_tests(tests, NULL, NULL);                                                               \
    jit_close(j);                                                                                                      \
  }                                                                                                                    \
  return failed

#endif
