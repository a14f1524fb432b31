/* test_laws.c - laws of random numbers (tools/laws.h): right draws pass; wrong values, frequencies, masks and seeds do not.
 * Draws are made here, by a generator of its own. SPDX-License-Identifier: Apache-2.0 */
#include "tools/laws.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/fixture.h"

enum { N = 60, DRAWS = 16 };

/* xorshift64*: in [0, 1) */
static uint64_t bits = 88172645463325252u;
static double next_uniform(void) {
  bits ^= bits >> 12, bits ^= bits << 25, bits ^= bits >> 27;
  return (double)((bits * 2685821657736338717u) >> 11) * 0x1p-53;
}

static Tensor *tensor(DType t, int64_t rows, int64_t cols) {
  Tensor *x = arena_new(a, Tensor);
  *x = (Tensor){.kind = VK_TENSOR, .dtype = t, .rank = 2, .dim = {rows, cols}};
  x->data = arena_get(a, (size_t)(rows * cols), 8, 8);
  return x;
}

static void set(const Tensor *t, int64_t i, double v) { elem_set_f64(t->dtype, t->data, i, v); }

typedef struct Case {
  RawNode n;
  const char *name[3];
  RawAttr attr[2];
  const Tensor *in[3];
  Draw draw[DRAWS];
} Case;

static Case *node(const char *op, uint32_t nin) {
  Case *x = arena_new(a, Case);
  for (int i = 0; i < 3; i++)
    x->name[i] = "x";
  x->n = (RawNode){.name = "", .op = op, .domain = "", .in = x->name, .nin = nin, .attr = x->attr};
  return x;
}

static void attribute_of(Case *x, const char *name, float v) {
  x->attr[x->n.nattr++] = (RawAttr){.name = name, .type = RA_FLOAT, .f = v};
}

static void right(const Case *x) {
  const char *seen = "", *bad = law_broken(a, &x->n, x->in, x->draw, DRAWS, &seen);
  if (bad)
    fail_msg("%s: %s", x->n.op, bad);
  assert_true(*seen);
}

static void wrong(const Case *x, const char *why) {
  const char *seen = "", *bad = law_broken(a, &x->n, x->in, x->draw, DRAWS, &seen);
  if (!bad || !strstr(bad, why))
    fail_msg("%s: '%s' instead of '%s'", x->n.op, bad ? bad : "", why);
}

/* Draws of one output of N numbers. */
static void draw(Case *x, DType t, double (*next)(int64_t i)) {
  for (int d = 0; d < DRAWS; d++) {
    Tensor *y = tensor(t, 1, N);
    for (int64_t i = 0; i < N; i++)
      set(y, i, next(i));
    x->draw[d].out[0] = y;
  }
}

static double chance(int64_t i) { return (double)(i % 5) / 4; }
static double fair(int64_t i) { return next_uniform() < chance(i); }
static double inverted(int64_t i) { return next_uniform() >= chance(i) * 0.5; }
static double same(int64_t i) { return i % 2 ? 0 : chance(i) > 0.3; }
static double two(int64_t i) { return 2 * fair(i); }

static void test_bernoulli(void **state) {
  (void)state;
  Case *x = node("Bernoulli", 1);
  Tensor *p = tensor(DT_f64, 1, N);
  for (int64_t i = 0; i < N; i++)
    set(p, i, chance(i));
  x->in[0] = p;
  draw(x, DT_i32, fair);
  right(x);
  draw(x, DT_bool, fair);
  right(x);
  draw(x, DT_f32, inverted);
  wrong(x, "ones: ");
  draw(x, DT_f32, two);
  wrong(x, "neither 0 nor 1");
  for (int64_t i = 0; i < N; i++)
    set(p, i, 0.25); /* a quarter of ones is what the same draw has every time */
  draw(x, DT_f32, same);
  x->draw[0].out[0] = tensor(DT_f32, N, 1);
  wrong(x, "differ in type or shape");
  draw(x, DT_f32, same);
  wrong(x, "are the same");
  Tensor *certain = tensor(DT_f32, 1, N);
  for (int64_t i = 0; i < N; i++)
    set(certain, i, same(i));
  x->in[0] = certain; /* the same draws are right then */
  right(x);
}

static double between(int64_t i) { return (void)i, -2 + 5 * next_uniform(); }
static double low_half(int64_t i) { return (void)i, -2 + 2.5 * next_uniform(); }
static double beyond(int64_t i) { return i == 17 ? 3.01 : between(i); }

static void test_uniform(void **state) {
  (void)state;
  static const DType types[] = {DT_f64, DT_f32, DT_f16, DT_bf16};
  for (size_t i = 0; i < countof(types); i++) {
    Case *x = node("RandomUniform", 0);
    attribute_of(x, "low", -2), attribute_of(x, "high", 3);
    draw(x, types[i], between);
    right(x);
    draw(x, types[i], low_half);
    wrong(x, "quarter of the distribution");
  }
  Case *x = node("RandomUniformLike", 1);
  attribute_of(x, "low", -2), attribute_of(x, "high", 3);
  draw(x, DT_f32, beyond);
  wrong(x, "element 17 is 3.00999999, outside [-2, 3)");
}

static double gauss(int64_t i) {
  (void)i;
  return 10 + 2 * sqrt(-2 * log(1 - next_uniform())) * cos(2 * M_PI * next_uniform());
}
static double narrow(int64_t i) { return 10 + 0.4 * (gauss(i) - 10); }
static double shifted(int64_t i) { return gauss(i) + 0.8; }
static double nothing(int64_t i) { return i == 3 ? NAN : gauss(i); }
static double constant(int64_t i) { return (void)i, 10; }

static void test_normal(void **state) {
  (void)state;
  Case *x = node("RandomNormal", 0);
  attribute_of(x, "mean", 10), attribute_of(x, "scale", 2);
  draw(x, DT_f32, gauss);
  right(x);
  draw(x, DT_f32, narrow);
  wrong(x, "quarter");
  draw(x, DT_f32, shifted);
  wrong(x, "quarter");
  draw(x, DT_f32, nothing);
  wrong(x, "element 3 is nan");
  x->attr[1].f = 0;
  draw(x, DT_f32, constant);
  right(x);
  draw(x, DT_f32, gauss);
  wrong(x, "further than 10 deviations");
}

/* Of 4 classes whose logarithms of weights are 0, log 2, log 4, log 1: 1/8, 2/8, 4/8, 1/8. */
static void sample(Case *x, const double *p) {
  for (int d = 0; d < DRAWS; d++) {
    Tensor *y = tensor(DT_i64, 2, N);
    for (int64_t i = 0; i < 2 * N; i++) {
      double u = next_uniform();
      int k = 0;
      while (k < 3 && u >= p[k])
        u -= p[k++];
      set(y, i, k);
    }
    x->draw[d].out[0] = y;
  }
}

static void test_multinomial(void **state) {
  (void)state;
  Case *x = node("Multinomial", 1);
  Tensor *logits = tensor(DT_f32, 2, 4);
  for (int i = 0; i < 8; i++)
    set(logits, i, log((double[]){1, 2, 4, 1}[i % 4]) + i / 4);
  x->in[0] = logits;
  sample(x, (double[]){0.125, 0.25, 0.5, 0.125});
  right(x);
  sample(x, (double[]){0.25, 0.25, 0.25, 0.25});
  wrong(x, "class ");
  sample(x, (double[]){0.125, 0.25, 0.5, 0.125});
  set(x->draw[3].out[0], 5, 4);
  wrong(x, "element 5 is 4, no class");
}

static void drop(Case *x, double ratio, double scale) {
  for (int d = 0; d < DRAWS; d++) {
    Tensor *y = tensor(DT_f32, 1, N), *mask = tensor(DT_bool, 1, N);
    for (int64_t i = 0; i < N; i++) {
      bool keep = next_uniform() >= ratio;
      set(y, i, keep ? elem_f64(DT_f32, x->in[0]->data, i) * scale : 0);
      set(mask, i, keep);
    }
    x->draw[d] = (Draw){{y, mask}};
  }
}

static void test_dropout(void **state) {
  (void)state;
  Case *x = node("Dropout", 3);
  Tensor *in = tensor(DT_f32, 1, N), *ratio = tensor(DT_f32, 1, 1), *mode = tensor(DT_bool, 1, 1);
  for (int64_t i = 0; i < N; i++)
    set(in, i, (double)i - 7); /* one of them 0 */
  set(ratio, 0, 0.75), set(mode, 0, 1);
  x->in[0] = in, x->in[1] = ratio, x->in[2] = mode;
  drop(x, 0.75, 4);
  right(x);
  for (int d = 0; d < DRAWS; d++)
    x->draw[d].out[1] = NULL; /* the mask is seen in the output, then */
  right(x);
  drop(x, 0.75, 4);
  x->draw[2].out[0] = NULL;
  right(x);
  drop(x, 0.5, 4);
  wrong(x, "kept elements: ");
  drop(x, 0.75, 1);
  wrong(x, "neither dropped nor scaled");
  drop(x, 0.75, 4);
  set(x->draw[1].out[1], 9, !elem_f64(DT_bool, x->draw[1].out[1]->data, 9));
  wrong(x, "neither dropped nor scaled");
  set(mode, 0, 0); /* no training: the identity */
  drop(x, 0, 1);
  right(x);
  set(x->draw[0].out[1], 4, 0);
  wrong(x, "dropped without training");
  set(mode, 0, 1), set(ratio, 0, 1);
  drop(x, 1, 1);
  right(x);
}

static void test_applies(void **state) {
  (void)state;
  assert_int_equal(law_outputs(&node("Bernoulli", 1)->n), 1);
  assert_int_equal(law_outputs(&node("Dropout", 3)->n), 2);
  assert_int_equal(law_outputs(&node("Dropout", 2)->n), 0); /* does not train */
  assert_int_equal(law_outputs(&node("Relu", 1)->n), 0);
  Case *x = node("Bernoulli", 1);
  x->n.domain = "com.example";
  assert_int_equal(law_outputs(&x->n), 0);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {T(test_bernoulli),   T(test_uniform), T(test_normal),
                                     T(test_multinomial), T(test_dropout), T(test_applies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
