/* test_integer.c - compiled products and convolutions of 8-bit integers against sums of 64 bits, to the bit, at every CPU level that this one has.
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

/* Bytes below 128, but for one pair in `rare`, which is the greatest twice. */
static uint8_t *small_bytes(int64_t n, uint32_t seed, uint32_t rare) {
  uint8_t *p = bytes(n, seed, false);
  for (int64_t i = 0; i < n; i++) {
    seed = i % 2 ? seed : seed * 1664525 + 1013904223;
    p[i] = (seed >> 8) % rare ? p[i] & 127 : 255;
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
      assert_true(integer_packed_bytes(&c.plan, &c.u.product, k, n, &size));
      c.packed = aligned_alloc(64, ((size_t)size + 63) & ~(size_t)63);
      for (int64_t p = product_panels(&c.plan, n); p-- > 0;)
        integer_pack(&c.plan, &c.u.product, k, n, 1, (int8_t *)b, c.packed, p, p + 1);
      for (size_t j = 0; j < countof(ms); j++)
        check(&c, (int8_t *)b, ms[j], n, k);
      free(b), free(c.packed);
    }
}

/* --- convolutions: A through a window, K the channels of tap after tap --- */

typedef struct Window {
  int64_t channels, in[3], kernel[3], stride[3], dilation[3], begin[3], out[3];
} Window;

static int64_t taps_of(const Window *w) { return w->kernel[0] * w->kernel[1] * w->kernel[2]; }

/* Element of X, [images, in0, in1, in2, channels], under tap t of a position; what is outside is the zero point. */
static int64_t element(const Window *w, const uint8_t *x, bool is_signed, int zero, int64_t position, int64_t t,
                       int64_t channel) {
  int64_t o[3], tap[3], at;
  for (int i = 3; i-- > 0;) {
    o[i] = position % w->out[i], position /= w->out[i];
    tap[i] = t % w->kernel[i], t /= w->kernel[i];
  }
  at = position;
  for (int i = 0; i < 3; i++) {
    int64_t p = o[i] * w->stride[i] + tap[i] * w->dilation[i] - w->begin[i];
    if (p < 0 || p >= w->in[i])
      return zero;
    at = at * w->in[i] + p;
  }
  uint8_t v = x[at * w->channels + channel];
  return is_signed ? (int8_t)v : v;
}

/* weight: [n, channels of a group, taps]; rare: of small_bytes, or 0. */
static void check_window(const Compiled *c, const Window *w, const int8_t *weight, int64_t images, int64_t n,
                         uint32_t rare) {
  const Product *p = &c->u.product;
  bool is_signed = p->bytes == DT_i8;
  int64_t m = images * w->out[0] * w->out[1] * w->out[2], taps = taps_of(w), groups = p->groups > 1 ? p->groups : 1;
  int64_t channels = w->channels / groups, rows = n / groups;
  int64_t size = images * w->in[0] * w->in[1] * w->in[2] * w->channels;
  uint8_t *a = rare ? small_bytes(size, 7, rare) : bytes(size, 7, is_signed);
  int32_t *out = malloc((size_t)(m * n + 16) * 4), *again = malloc((size_t)(m * n + 16) * 4);
  memset(out, 0x5a, (size_t)(m * n + 16) * 4), memset(again, 0x5a, (size_t)(m * n + 16) * 4);
  run(c, images, a, out, 1);
  run(c, images, a, again, 3);
  assert_memory_equal(out, again, (size_t)(m * n + 16) * 4);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      int64_t want = 0;
      for (int64_t t = 0; t < taps; t++)
        for (int64_t k = 0; k < channels; k++)
          want += (element(w, a, is_signed, p->zero, i, t, j / rows * channels + k) - p->zero) *
                  weight[(j * channels + k) * taps + t];
      if (out[i * n + j] != (int32_t)want)
        fail_msg("%lld channels of %s: [%lld,%lld] is %d, not %lld", (long long)w->channels, is_signed ? "i8" : "u8",
                 (long long)i, (long long)j, out[i * n + j], (long long)want);
    }
  free(a), free(out), free(again);
}

static Product window_product(const Window *w, ProductWindow *pw, DType type, int zero, int64_t n) {
  Ctx *c = &jit.ctx;
  Dim m = dim_sym(c, "m");
  *pw = (ProductWindow){.taps = taps_of(w)};
  for (int i = 0; i < 3; i++) {
    pw->in[i] = dim_const(c, w->in[i]), pw->out[i] = dim_const(c, w->out[i]), pw->begin[i] = dim_const(c, w->begin[i]);
    pw->kernel[i] = w->kernel[i], pw->stride[i] = w->stride[i], pw->dilation[i] = w->dilation[i];
    m = dim_mul(c, m, pw->out[i]);
  }
  return (Product){.batch = dim_const(c, 1),
                   .m = m,
                   .n = dim_const(c, n),
                   .k = dim_const(c, pw->taps * w->channels),
                   .trans_b = true,
                   .packed_b = true,
                   .bytes = type,
                   .zero = zero,
                   .rows = pw,
                   .images = dim_sym(c, "m"),
                   .positions = w->out[0] * w->out[1] * w->out[2]};
}

static void test_windows(void **state) {
  static const Window windows[] = {
      {5, {1, 4, 5}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {1, 4, 5}},  /* margins on all sides */
      {3, {1, 9, 11}, {1, 7, 7}, {1, 2, 2}, {1, 1, 1}, {0, 3, 3}, {1, 5, 6}}, /* the first layer of a network */
      {64, {1, 5, 4}, {1, 1, 1}, {1, 2, 2}, {1, 1, 1}, {0, 0, 0}, {1, 3, 2}}, /* single taps */
      {70, {1, 6, 7}, {1, 3, 3}, {1, 1, 1}, {1, 2, 3}, {0, 2, 3}, {1, 6, 7}}, /* taps apart */
      {2, {3, 4, 5}, {2, 3, 2}, {1, 2, 1}, {2, 1, 1}, {1, 1, 0}, {3, 2, 4}},  /* three axes */
      {1, {1, 1, 2}, {1, 1, 5}, {1, 1, 1}, {1, 1, 1}, {0, 0, 4}, {1, 1, 6}},  /* more taps than there is input */
  };
  static const int zeros[][2] = {{0, 100}, {0, -128}};
  (void)state;
  for (int type = 0; type < 2; type++)
    for (size_t i = 0; i < countof(windows); i++) {
      const Window *w = &windows[i];
      int64_t n = i % 2 ? 50 : 9, k = taps_of(w) * w->channels, size;
      ProductWindow pw;
      Compiled c = {.u = {.kind = UNIT_PRODUCT, .name = "product"}};
      c.u.product = window_product(w, &pw, type ? DT_i8 : DT_u8, zeros[type][i % 2], n);
      c.plan = product_plan(&c.u.product, jit.level);
      product_schedule(&jit.ctx, &c.u, jit.level);
      c.fn = rig_compile(&jit, &c.u);
      int8_t *weight = (int8_t *)bytes(k * n, 11, true);
      assert_true(integer_packed_bytes(&c.plan, &c.u.product, k, n, &size));
      c.packed = aligned_alloc(64, ((size_t)size + 63) & ~(size_t)63);
      for (int64_t p = product_panels(&c.plan, n); p-- > 0;)
        integer_pack(&c.plan, &c.u.product, k, n, pw.taps, weight, c.packed, p, p + 1);
      for (int64_t images = 0; images < 4; images++)
        check_window(&c, w, weight, images, n, 0);
      free(weight), free(c.packed);
    }
}

/* What follows a relu: no pair, a few or many of them are too large for sums of 16 bits. */
static void test_small(void **state) {
  static const Window windows[] = {
      {72, {1, 5, 7}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {1, 5, 7}},
      {260, {1, 4, 5}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 4, 5}},
  };
  static const uint32_t rare[] = {1u << 24, 500, 50, 3};
  static const int64_t columns[] = {50, 8};
  (void)state;
  for (size_t i = 0; i < countof(windows); i++) {
    const Window *w = &windows[i];
    int64_t n = columns[i], k = taps_of(w) * w->channels, size;
    ProductWindow pw;
    Compiled c = {.u = {.kind = UNIT_PRODUCT, .name = "product"}};
    c.u.product = window_product(w, &pw, DT_u8, 0, n);
    c.plan = product_plan(&c.u.product, jit.level);
    assert_int_equal(c.plan.halved > 0, !strcmp(jit.level, "x86-64-v3"));
    product_schedule(&jit.ctx, &c.u, jit.level);
    c.fn = rig_compile(&jit, &c.u);
    int8_t *weight = (int8_t *)bytes(k * n, 11, true);
    assert_true(integer_packed_bytes(&c.plan, &c.u.product, k, n, &size));
    c.packed = aligned_alloc(64, ((size_t)size + 63) & ~(size_t)63);
    for (int64_t p = product_panels(&c.plan, n); p-- > 0;)
      integer_pack(&c.plan, &c.u.product, k, n, pw.taps, weight, c.packed, p, p + 1);
    for (size_t j = 0; j < countof(rare); j++)
      check_window(&c, w, weight, 2, n, rare[j]);
    free(weight), free(c.packed);
  }
}

/* Groups of several channels: vectors that are whole and that are not, lines that are written out and that are not. */
static void test_groups(void **state) {
  static const Window windows[] = {
      {32, {1, 5, 7}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {1, 5, 7}},
      {24, {1, 9, 8}, {1, 1, 1}, {1, 2, 1}, {1, 1, 1}, {0, 0, 0}, {1, 5, 8}},
      {6, {1, 9, 11}, {1, 5, 5}, {1, 2, 2}, {1, 1, 1}, {0, 2, 2}, {1, 5, 6}},
      {20, {1, 6, 7}, {1, 2, 3}, {1, 1, 1}, {1, 2, 3}, {0, 1, 3}, {1, 6, 7}},
  };
  static const int64_t groups[] = {2, 3, 2, 4}, columns[] = {32, 39, 134, 20};
  static const int zeros[][2] = {{0, 100}, {0, -128}};
  (void)state;
  for (int type = 0; type < 2; type++)
    for (size_t i = 0; i < countof(windows); i++) {
      const Window *w = &windows[i];
      int64_t n = columns[i] / groups[i], k = taps_of(w) * w->channels / groups[i], size;
      ProductWindow pw;
      Compiled c = {.u = {.kind = UNIT_PRODUCT, .name = "product"}};
      Product *p = &c.u.product;
      *p = window_product(w, &pw, type ? DT_i8 : DT_u8, zeros[type][i % 2], n);
      p->groups = groups[i], p->batch = dim_const(&jit.ctx, groups[i]), p->k = dim_const(&jit.ctx, k);
      c.plan = product_plan(p, jit.level);
      product_schedule(&jit.ctx, &c.u, jit.level);
      c.fn = rig_compile(&jit, &c.u);
      int8_t *weight = (int8_t *)bytes(k * columns[i], 11, true);
      assert_true(integer_packed_bytes(&c.plan, p, k, n, &size));
      c.packed = aligned_alloc(64, ((size_t)size + 63) & ~(size_t)63);
      for (int64_t panel = product_panels(&c.plan, n) * groups[i]; panel-- > 0;)
        integer_pack(&c.plan, p, k, n, pw.taps, weight, c.packed, panel, panel + 1);
      for (int64_t images = 0; images < 3; images++)
        check_window(&c, w, weight, images, columns[i], 0);
      free(weight), free(c.packed);
    }
}

/* --- convolutions of single channels --- */

/* weight: [channels, taps]. */
static void check_channels(const Compiled *c, const Window *w, const int8_t *weight, int64_t images) {
  const Product *p = &c->u.product;
  bool is_signed = p->bytes == DT_i8;
  int64_t n = w->channels, m = images * w->out[0] * w->out[1] * w->out[2], taps = taps_of(w);
  uint8_t *a = bytes(images * w->in[0] * w->in[1] * w->in[2] * n, 7, is_signed);
  int32_t *out = malloc((size_t)(m * n + 16) * 4), *again = malloc((size_t)(m * n + 16) * 4);
  memset(out, 0x5a, (size_t)(m * n + 16) * 4), memset(again, 0x5a, (size_t)(m * n + 16) * 4);
  run(c, images, a, out, 1);
  run(c, images, a, again, 3);
  assert_memory_equal(out, again, (size_t)(m * n + 16) * 4);
  assert_int_equal(out[m * n], 0x5a5a5a5a);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      int64_t want = 0;
      for (int64_t t = 0; t < taps; t++)
        want += (element(w, a, is_signed, p->zero, i, t, j) - p->zero) * weight[j * taps + t];
      if (out[i * n + j] != (int32_t)want)
        fail_msg("%lld channels of %s alone: [%lld,%lld] is %d, not %lld", (long long)n, is_signed ? "i8" : "u8",
                 (long long)i, (long long)j, out[i * n + j], (long long)want);
    }
  free(a), free(out), free(again);
}

static void test_channels(void **state) {
  static const Window windows[] = {
      {32,
       {1, 6, 19},
       {1, 3, 3},
       {1, 1, 1},
       {1, 1, 1},
       {0, 1, 1},
       {1, 6, 19}},                                                            /* whole vectors, margins on all sides */
      {72, {1, 9, 12}, {1, 5, 5}, {1, 2, 2}, {1, 1, 1}, {0, 2, 2}, {1, 5, 6}}, /* every second position */
      {19,
       {1, 7, 9},
       {1, 3, 3},
       {1, 1, 2},
       {1, 2, 3},
       {0, 2, 3},
       {1, 7, 5}}, /* taps apart, vectors that are not whole */
      {8, {1, 1, 40}, {1, 1, 31}, {1, 1, 1}, {1, 1, 1}, {0, 0, 15}, {1, 1, 40}}, /* more taps than are written out */
      {50, {3, 4, 5}, {2, 3, 2}, {1, 2, 1}, {2, 1, 1}, {1, 1, 0}, {3, 2, 4}},    /* three axes */
  };
  static const int zeros[][2] = {{0, 100}, {3, -128}};
  (void)state;
  for (int type = 0; type < 2; type++)
    for (size_t i = 0; i < countof(windows); i++) {
      const Window *w = &windows[i];
      int64_t n = w->channels, k = taps_of(w), size;
      ProductWindow pw;
      Product *p;
      Compiled c = {.u = {.kind = UNIT_PRODUCT, .name = "product"}};
      p = &c.u.product;
      *p = window_product(w, &pw, type ? DT_i8 : DT_u8, zeros[type][i % 2], n);
      p->channelwise = true, p->k = dim_const(&jit.ctx, k);
      p->batch = dim_mul(&jit.ctx, dim_sym(&jit.ctx, "m"), dim_const(&jit.ctx, w->out[0] * w->out[1]));
      c.plan = product_plan(p, jit.level);
      product_schedule(&jit.ctx, &c.u, jit.level);
      c.fn = rig_compile(&jit, &c.u);
      int8_t *weight = (int8_t *)bytes(k * n, 11, true);
      assert_true(integer_packed_bytes(&c.plan, p, k, n, &size));
      c.packed = aligned_alloc(64, ((size_t)size + 63) & ~(size_t)63);
      for (int64_t panel = product_panels(&c.plan, n); panel-- > 0;)
        integer_pack(&c.plan, p, k, n, 1, weight, c.packed, panel, panel + 1);
      for (int64_t images = 0; images < 3; images++)
        check_channels(&c, w, weight, images);
      free(weight), free(c.packed);
    }
}

/* Images of known size whose weight stays in L2 fall into parts that two threads share evenly. */
static void test_parts(void **state) {
  static const int64_t sides[] = {56, 28, 14};
  (void)state;
  for (size_t i = 0; i < countof(sides); i++) {
    Window w = {64, {1, sides[i], sides[i]}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {1, sides[i], sides[i]}};
    ProductWindow pw;
    Product p = window_product(&w, &pw, DT_u8, 0, 64);
    ProductPlan plan = product_plan(&p, jit.level);
    int64_t tiles = (p.positions - 1) / plan.mr + 1, parts = (tiles - 1) / plan.row_tiles + 1;
    int64_t first = parts / 2 * tiles / parts, most = first > tiles - first ? first : tiles - first;
    assert_in_range(most * 100, 0, tiles * 52); /* of either thread, in hundredths: 2 % more than half */
  }
}

int main(void) {
  static const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_windows),
                                            cmocka_unit_test(test_small),    cmocka_unit_test(test_groups),
                                            cmocka_unit_test(test_channels), cmocka_unit_test(test_parts)};
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni-bf16"};
  RIG_MAIN(&jit, levels, tests);
}
