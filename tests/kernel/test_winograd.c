/* test_winograd.c - compiled Winograd convolutions against sums of the definition in double, at every CPU level that this one has.
 *
 * Operands are uniform in [-1, 1]. The sum of k terms is of size sqrt(k) / 3; the transformations of F(4x4, 3x3) make intermediate
 * values some ten times as large as that and take differences of them, those of F(2x2, 3x3) hardly do.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/winograd.h"
#include "tests/kernel/rig.h"

#include <math.h>

static Jit jit;

typedef struct Shape {
  int64_t channels, n, in[2], begin[2], out[2];
} Shape;

typedef struct Compiled {
  Unit u;
  ProductWindow window;
  ProductPlan plan;
  KernelFn fn;
  float *weight, *packed;
} Compiled;

static Dim num(int64_t v) { return dim_const(&jit.ctx, v); }

static bool images_are(void *arg, Dim sym, int64_t *v) {
  (void)sym;
  *v = *(int64_t *)arg;
  return true;
}

static void make(Compiled *c, const Shape *s, int m, Dim images) {
  ProductWindow *w = &c->window;
  int64_t k = 9 * s->channels, floats;
  *w = (ProductWindow){.taps = 9};
  for (int i = 0; i < WINDOW_AXES; i++) {
    w->in[i] = num(i ? s->in[i - 1] : 1), w->out[i] = num(i ? s->out[i - 1] : 1),
    w->begin[i] = num(i ? s->begin[i - 1] : 0);
    w->kernel[i] = i ? 3 : 1, w->stride[i] = w->dilation[i] = 1;
  }
  c->u = (Unit){.kind = UNIT_PRODUCT, .name = "winograd"};
  c->u.product = (Product){.batch = num(1),
                           .m = dim_mul(&jit.ctx, images, num(s->out[0] * s->out[1])),
                           .n = num(s->n),
                           .k = num(k),
                           .trans_b = true,
                           .packed_b = true,
                           .rows = w,
                           .images = images,
                           .winograd = (uint8_t)m,
                           .positions = s->out[0] * s->out[1]};
  c->plan = product_plan(&c->u.product, jit.level);
  product_schedule(&jit.ctx, &c->u, jit.level);
  c->fn = rig_compile(&jit, &c->u);
  c->weight = numbers(k * s->n, 2);
  assert_true(product_packed_floats(&c->plan, winograd_elements(&c->u.product) * s->channels, s->n, &floats));
  c->packed = numbers(floats, 3);
  for (int64_t p = product_panels(&c->plan, s->n); p-- > 0;)
    winograd_pack(&c->plan, &c->u.product, s->n, c->weight, c->packed, p, p + 1);
}

/* Output j of position (y, x) of an image, by the definition. */
static double defined(const Shape *s, const float *image, const float *weight, int64_t y, int64_t x, int64_t j) {
  double sum = 0;
  for (int64_t t = 0; t < 9; t++) {
    int64_t py = y + t / 3 - s->begin[0], px = x + t % 3 - s->begin[1];
    if (py < 0 || py >= s->in[0] || px < 0 || px >= s->in[1])
      continue;
    for (int64_t c = 0; c < s->channels; c++)
      sum += (double)image[(py * s->in[1] + px) * s->channels + c] * (double)weight[(j * s->channels + c) * 9 + t];
  }
  return sum;
}

static bool agree(double want, double got, double allowed) {
  if (isnan(want))
    return isnan(got);
  return isinf((float)want) ? (float)want == (float)got : fabs(got - want) <= allowed * fmax(1, fabs(want));
}

/* `images` images of x, in any partition. */
static void check(const Compiled *c, const Shape *s, float *x, int64_t images, double allowed) {
  int64_t m = s->out[0] * s->out[1], n = images * m * s->n;
  float *out = numbers(n + 16, 4), *again = numbers(n + 16, 5);
  memset(out + n, 0x5a, 64), memset(again + n, 0x5a, 64);
  void *buf[] = {x, c->packed, out};
  rig_run(&jit, &c->u, c->fn, (RigSizes){images_are, &images}, buf, 1);
  buf[2] = again;
  rig_run(&jit, &c->u, c->fn, (RigSizes){images_are, &images}, buf, 3);
  assert_memory_equal(out, again, (size_t)(n + 16) * 4);
  for (int64_t i = 0; i < images * m; i++)
    for (int64_t j = 0; j < s->n; j++) {
      const float *image = x + i / m * s->in[0] * s->in[1] * s->channels;
      double want = defined(s, image, c->weight, i % m / s->out[1], i % s->out[1], j), got = (double)out[i * s->n + j];
      if (!agree(want, got, allowed))
        fail_msg("%lld channels of %lldx%lld, F(%u): [%lld,%lld] is %.9g, not %.9g", (long long)s->channels,
                 (long long)s->in[0], (long long)s->in[1], c->u.product.winograd, (long long)i, (long long)j, got,
                 want);
    }
  free(out), free(again);
}

static double allowed(const Shape *s, int m) { return (m == 4 ? 8 : 1) * (9 * (double)s->channels + 8) * 0x1p-23; }

static void test_shapes(void **state) {
  static const Shape shapes[] = {
      {16, 9, {8, 8}, {1, 1}, {8, 8}},      /* whole tiles, and few columns */
      {32, 70, {7, 9}, {1, 1}, {7, 9}},     /* tiles that reach beyond the output */
      {48, 64, {13, 26}, {0, 0}, {11, 24}}, /* no margins; more tiles side by side than a strip has */
      {16, 100, {5, 3}, {2, 2}, {7, 5}},    /* margins as wide as they can be */
      {64, 33, {2, 1}, {1, 1}, {2, 1}},     /* an image smaller than a tile */
      {16, 17, {30, 31}, {1, 0}, {29, 31}}, /* many parts */
  };
  (void)state;
  for (int m = 2; m <= 4; m += 2)
    for (size_t i = 0; i < countof(shapes); i++) {
      const Shape *s = &shapes[i];
      Compiled c;
      for (int known = 0; known < 2; known++) {
        make(&c, s, m, known ? num(2) : dim_sym(&jit.ctx, "images"));
        float *x = numbers(3 * s->in[0] * s->in[1] * s->channels, 1);
        for (int64_t images = known ? 2 : 0; images < (known ? 3 : 4); images++)
          check(&c, s, x, images, allowed(s, m));
        free(x), free(c.weight), free(c.packed);
      }
    }
}

/* What is not finite, or would overflow on the way, reaches the outputs whose windows it is in, and no others. Errors are
 * relative to the largest inputs of a tile. */
static void test_not_finite(void **state) {
  static const Shape s = {32, 40, {12, 14}, {1, 1}, {12, 14}};
  static const struct {
    float x;
    double size;
  } values[] = {{INFINITY, 1}, {-INFINITY, 1}, {NAN, 1}, {2e38f, 2e38}};
  (void)state;
  for (int m = 2; m <= 4; m += 2) {
    Compiled c;
    make(&c, &s, m, dim_sym(&jit.ctx, "images"));
    for (size_t i = 0; i < countof(values); i++) {
      float *x = numbers(s.in[0] * s.in[1] * s.channels, 1);
      x[(5 * s.in[1] + 6) * s.channels + 3] = values[i].x;
      x[(5 * s.in[1] + 13) * s.channels + 31] = x[7] = -values[i].x;
      check(&c, &s, x, 1, allowed(&s, m) * values[i].size);
      free(x);
    }
    free(c.weight), free(c.packed);
  }
}

/* Chosen for convolutions of 3x3 alone, of whole vectors of channels, where they are many enough; never for a weight that is not finite. */
static void test_choice(void **state) {
  static const Shape large = {64, 64, {56, 56}, {1, 1}, {56, 56}}, few = {16, 64, {56, 56}, {1, 1}, {56, 56}};
  Compiled c;
  (void)state;
  make(&c, &few, 2, num(1));
  assert_int_equal(winograd_choose(&c.u.product, jit.level, c.weight), 0);
  free(c.weight), free(c.packed);
  make(&c, &large, 2, num(1));
  Product p = c.u.product;
  p.winograd = 0;
  int chosen = winograd_choose(&p, jit.level, c.weight);
  assert_true(product_level(jit.level)->lanes < 16 || chosen == 4);
  c.weight[100] = INFINITY;
  assert_int_equal(winograd_choose(&p, jit.level, c.weight), 0);
  c.weight[100] = 0;
  c.window.stride[2] = 2;
  assert_int_equal(winograd_choose(&p, jit.level, c.weight), 0);
  c.window.stride[2] = 1, c.window.dilation[1] = 2;
  assert_int_equal(winograd_choose(&p, jit.level, c.weight), 0);
  c.window.dilation[1] = 1;
  assert_int_equal(winograd_choose(&p, jit.level, c.weight), chosen);
  c.weight[100] = 65520; /* infinite in f16 */
  p.weights = DT_f16;
  assert_int_equal(winograd_choose(&p, jit.level, c.weight), 0);
  p.weights = DT_bf16;
  assert_int_equal(winograd_choose(&p, jit.level, c.weight), chosen);
  free(c.weight), free(c.packed);
}

/* Weights of 16 bits are those of f32 that they are rounded to. */
static void test_rounded(void **state) {
  static const Shape s = {32, 32, {8, 8}, {1, 1}, {8, 8}};
  static const DType types[] = {DT_bf16, DT_f16};
  Compiled c;
  int64_t floats, panels;
  (void)state;
  make(&c, &s, 2, num(1));
  panels = product_panels(&c.plan, s.n);
  assert_true(product_packed_floats(&c.plan, winograd_elements(&c.u.product) * s.channels, s.n, &floats));
  float *want = numbers(floats, 1);
  for (size_t t = 0; t < countof(types); t++) {
    Product p = c.u.product;
    p.weights = types[t];
    assert_int_equal(product_b_bytes(&p), 4);
    winograd_pack(&c.plan, &p, s.n, c.weight, c.packed, 0, panels);
    for (int64_t i = 0; i < 9 * s.channels * s.n; i++)
      c.weight[i] = t ? f16_to_f32(f16_from_f32(c.weight[i])) : bf16_to_f32(bf16_from_f32(c.weight[i]));
    winograd_pack(&c.plan, &c.u.product, s.n, c.weight, want, 0, panels);
    assert_memory_equal(c.packed, want, (size_t)floats * 4);
  }
  free(want), free(c.weight), free(c.packed);
}

int main(void) {
  static const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_not_finite),
                                            cmocka_unit_test(test_choice), cmocka_unit_test(test_rounded)};
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni-bf16"};
  RIG_MAIN(&jit, levels, tests);
}
