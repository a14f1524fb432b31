/* test_nbits.c - compiled products with constants of 2, 4 and 8 bits against sums in double, at every CPU level that this one has.
 *
 * Operands are uniform in [-1, 1] and numbers have a scale of at most 1 / 2^bits, so that the bounds of test_product.c hold.
 * At the level with VNNI A is rounded first, where its blocks are whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/nbits.h"
#include "ops/eval/nbits.h"
#include "tests/kernel/rig.h"

#include <math.h>

static Jit jit;

static uint8_t *bytes(int64_t n, uint32_t seed) {
  uint8_t *p = malloc((size_t)n);
  assert_non_null(p);
  for (int64_t i = 0; i < n; i++)
    seed = seed * 1664525 + 1013904223, p[i] = (uint8_t)(seed >> 24);
  return p;
}

static bool m_is(void *arg, Dim sym, int64_t *v) {
  (void)sym;
  *v = *(int64_t *)arg;
  return true;
}

typedef struct Weights {
  NBits f;
  uint8_t *b;
  float *scale;
  void *zero; /* NULL: none */
  DType zero_type;
} Weights;

static double weight(const Weights *w, int64_t k, int64_t n) {
  int64_t block = k / w->f.block;
  double z = 1 << (w->f.bits - 1);
  if (w->zero && w->zero_type == DT_u8)
    z = nbits_get((uint8_t *)w->zero + n * nbits_zero_bytes(&w->f), w->f.bits, block);
  else if (w->zero)
    z = (double)((float *)w->zero)[n * w->f.blocks + block];
  return (nbits_get(w->b + n * nbits_column_bytes(&w->f), w->f.bits, k) - z) *
         (double)w->scale[n * w->f.blocks + block];
}

typedef struct Compiled {
  Unit u;
  ProductPlan plan;
  KernelFn fn;
  uint8_t *packed;
} Compiled;

/* Panels last to first, as threads may do it, from odd addresses. */
static void pack(Compiled *c, const Weights *w) {
  int64_t size, panels = product_panels(&c->plan, w->f.n), nscale = w->f.n * w->f.blocks * 4;
  assert_true(nbits_packed_bytes(&c->plan, &c->u.product.bits, w->f.k, w->f.n, &size));
  c->packed = aligned_alloc(64, ((size_t)size + 63) & ~(size_t)63);
  memset(c->packed, 0x5a, (size_t)size);
  uint8_t *odd = malloc((size_t)nscale + 1);
  memcpy(odd + 1, w->scale, (size_t)nscale);
  NBitsSource src = {.b = w->b, .scale = odd + 1, .zero = w->zero, .zero_type = w->zero_type};
  for (int64_t p = panels; p-- > 0;)
    nbits_pack(&c->plan, &c->u.product.bits, w->f.k, w->f.n, &src, c->packed, p, p + 1);
  free(odd);
}

static void run(const Compiled *c, int64_t m, float *a, float *out, int pieces) {
  void *buf[] = {a, c->packed, out};
  rig_run(&jit, &c->u, c->fn, (RigSizes){m_is, &m}, buf, pieces);
}

/* Element k of a row of A: as it is, or rounded to |q| <= 127 times the scale of its block. */
static double left(const Compiled *c, const NBits *f, const float *row, int64_t k) {
  float most = 0;
  int64_t from = k / f->block * f->block;
  if (!c->u.product.bits.rounded)
    return (double)row[k];
  for (int64_t i = from; i < from + f->block; i++)
    most = fmaxf(most, fabsf(row[i]));
  return rint((double)(row[k] * (127 / most))) * (double)(most / 127);
}

static void check(const Compiled *c, const Weights *w, int64_t m) {
  int64_t k = w->f.k, n = w->f.n;
  float *a = numbers(m * k, 1), *out = numbers(m * n + 16, 3), *again = numbers(m * n + 16, 4);
  memset(out + m * n, 0x5a, 64), memset(again + m * n, 0x5a, 64);
  run(c, m, a, out, 1);
  run(c, m, a, again, 3);
  assert_memory_equal(out, again,
                      (size_t)(m * n + 16) * 4); /* any partition: the same bits; and nothing behind the end */
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      double want = 0, got = (double)out[i * n + j];
      for (int64_t x = 0; x < k; x++)
        want += left(c, &w->f, a + i * k, x) * weight(w, x, j);
      if (!(fabs(got - want) <= ((double)k + 8) * 0x1p-23))
        fail_msg("%d bits by %lld, zero %d, (%lld,%lld,%lld): [%lld,%lld] is %.9g, not %.9g", w->f.bits,
                 (long long)w->f.block, c->u.product.bits.zero, (long long)m, (long long)n, (long long)k, (long long)i,
                 (long long)j, got, want);
    }
  free(a), free(out), free(again);
}

static Weights weights(int bits, int64_t block, int zero, int64_t k, int64_t n) {
  Weights w = {0};
  assert_true(nbits_of(k, n, bits, block, &w.f));
  w.b = bytes(n * nbits_column_bytes(&w.f), 1), w.scale = numbers(n * w.f.blocks, 2);
  for (int64_t i = 0; i < n * w.f.blocks; i++)
    w.scale[i] /= (float)(1 << bits);
  if (zero == PZ_BYTE)
    w.zero = bytes(n * nbits_zero_bytes(&w.f), 3), w.zero_type = DT_u8;
  if (zero == PZ_F32)
    w.zero = numbers(n * w.f.blocks, 4), w.zero_type = DT_f32;
  return w;
}

static void check_all(int bits, int64_t block, int zero, int64_t k, int64_t n, bool fixed, const int64_t *m,
                      size_t nm) {
  Weights w = weights(bits, block, zero, k, n);
  for (size_t i = 0; i < nm; i += fixed ? 1 : nm) {
    Compiled c = {.u = {.kind = UNIT_PRODUCT, .name = "product"}};
    c.u.product = (Product){.batch = dim_const(&jit.ctx, 1),
                            .m = fixed ? dim_const(&jit.ctx, m[i]) : dim_sym(&jit.ctx, "m"),
                            .n = dim_const(&jit.ctx, n),
                            .k = dim_const(&jit.ctx, k),
                            .packed_b = true,
                            .bits = {.bits = (uint8_t)bits,
                                     .zero = (uint8_t)zero,
                                     .rounded = strstr(jit.level, "vnni") && k % block == 0,
                                     .block = block}};
    c.plan = product_plan(&c.u.product, jit.level);
    product_schedule(&jit.ctx, &c.u, jit.level);
    c.fn = rig_compile(&jit, &c.u);
    pack(&c, &w);
    for (size_t j = fixed ? i : 0; j < (fixed ? i + 1 : nm); j++)
      check(&c, &w, m[j]);
    free(c.packed);
  }
  free(w.b), free(w.scale), free(w.zero);
}

static const int64_t some_m[] = {0, 1, 2, 3, 4, 5, 8, 13, 40};

/* Every width and kind of zero point; K that ends with a block and within one, N that fills panels and does not. */
static void test_formats(void **state) {
  static const int64_t kn[][2] = {{16, 1}, {64, 48}, {96, 101}, {72, 17}, {5, 3}};
  (void)state;
  for (int bits = 2; bits <= 8; bits *= 2)
    for (int zero = PZ_NONE; zero <= PZ_F32; zero++)
      for (size_t i = 0; i < countof(kn); i++)
        check_all(bits, i & 1 ? 16 : 32, zero, kn[i][0], kn[i][1], false, some_m, countof(some_m));
}

static void test_constant_m(void **state) {
  (void)state;
  for (int bits = 2; bits <= 8; bits *= 2)
    check_all(bits, 32, PZ_NONE, 64, 50, true, some_m + 1, countof(some_m) - 1);
}

/* K beyond what is unpacked at once. */
static void test_blocks(void **state) {
  static const int64_t m[] = {1, 9};
  (void)state;
  check_all(4, 128, PZ_BYTE, 3000, 50, false, m, 2);
  check_all(8, 2048, PZ_NONE, 4096, 17, false, m, 2);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_formats),
      cmocka_unit_test(test_constant_m),
      cmocka_unit_test(test_blocks),
  };
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni-bf16"};
  RIG_MAIN(&jit, levels, tests);
}
