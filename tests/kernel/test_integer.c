/* test_integer.c - compiled products of 8-bit integers against sums of 64 bits, to the bit, at every CPU level that this one has.
 * All values that the types have occur, so that what saturates on the way would show.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/integer.h"
#include "tests/kernel/rig.h"

static Jit jit;

/* Bytes of which half are the least or the greatest. */
static uint8_t *bytes(int64_t n, uint32_t seed, bool is_signed) {
  uint8_t *p = malloc((size_t)n + 1);
  assert_non_null(p);
  for (int64_t i = 0; i < n; i++) {
    seed = seed * 1664525 + 1013904223;
    uint8_t v = (uint8_t)(seed >> 24), edge = seed >> 20 & 1 ? 0xff : 0;
    p[i] = seed >> 21 & 1 ? v : is_signed ? edge ^ 0x80 : edge;
  }
  return p;
}

static bool m_is(void *arg, Dim sym, int64_t *v) {
  (void)sym;
  *v = *(int64_t *)arg;
  return true;
}

typedef struct Compiled {
  Unit u;
  ProductPlan plan;
  KernelFn fn;
  uint8_t *packed;
} Compiled;

static void run(const Compiled *c, int64_t m, uint8_t *a, int32_t *out, int pieces) {
  void *buf[] = {a, c->packed, out};
  rig_run(&jit, &c->u, c->fn, (RigSizes){m_is, &m}, buf, pieces);
}

static void check(const Compiled *c, const int8_t *b, int64_t m, int64_t n, int64_t k) {
  bool is_signed = c->u.product.bytes == DT_i8;
  uint8_t *a = bytes(m * k, 5, is_signed);
  int32_t *out = malloc((size_t)(m * n + 16) * 4), *again = malloc((size_t)(m * n + 16) * 4);
  memset(out, 0x5a, (size_t)(m * n + 16) * 4), memset(again, 0x5a, (size_t)(m * n + 16) * 4);
  run(c, m, a, out, 1);
  run(c, m, a, again, 3);
  assert_memory_equal(out, again, (size_t)(m * n + 16) * 4); /* any partition, and nothing behind the end */
  assert_int_equal(out[m * n], 0x5a5a5a5a);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      int64_t want = 0;
      for (int64_t x = 0; x < k; x++)
        want += (is_signed ? (int8_t)a[i * k + x] : a[i * k + x]) * (int64_t)b[x * n + j];
      if (out[i * n + j] != (int32_t)want)
        fail_msg("(%lld,%lld,%lld) of %s: [%lld,%lld] is %d, not %lld", (long long)m, (long long)n, (long long)k,
                 is_signed ? "i8" : "u8", (long long)i, (long long)j, out[i * n + j], (long long)want);
    }
  free(a), free(out), free(again);
}

static void test_products(void **state) {
  static const int64_t kn[][2] = {{1, 1}, {3, 48}, {64, 101}, {100, 17}, {257, 64}, {768, 50}};
  static const int64_t ms[] = {0, 1, 2, 5, 8, 13, 40, 300};
  (void)state;
  for (int type = 0; type < 2; type++)
    for (size_t i = 0; i < countof(kn); i++) {
      int64_t k = kn[i][0], n = kn[i][1], size;
      Compiled c = {.u = {.kind = UNIT_PRODUCT, .name = "product"}};
      c.u.product = (Product){.batch = dim_const(&jit.ctx, 1),
                              .m = dim_sym(&jit.ctx, "m"),
                              .n = dim_const(&jit.ctx, n),
                              .k = dim_const(&jit.ctx, k),
                              .packed_b = true,
                              .bytes = type ? DT_i8 : DT_u8};
      c.plan = product_plan(&c.u.product, jit.level);
      product_schedule(&jit.ctx, &c.u, jit.level);
      c.fn = rig_compile(&jit, &c.u);
      uint8_t *b = bytes(k * n, 9, true);
      assert_true(integer_packed_bytes(&c.plan, k, n, &size));
      c.packed = aligned_alloc(64, ((size_t)size + 63) & ~(size_t)63);
      for (int64_t p = product_panels(&c.plan, n); p-- > 0;)
        integer_pack(&c.plan, c.u.product.bytes, k, n, (int8_t *)b, c.packed, p, p + 1);
      for (size_t j = 0; j < countof(ms); j++)
        check(&c, (int8_t *)b, ms[j], n, k);
      free(b), free(c.packed);
    }
}

int main(void) {
  static const struct CMUnitTest tests[] = {cmocka_unit_test(test_products)};
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni-bf16"};
  RIG_MAIN(&jit, levels, tests);
}
