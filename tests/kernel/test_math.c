/* test_math.c - the accuracy stated in codegen/llvm/math.def: every function against the C library's long double, on samples
 * dense over all exponents and on special values, for each CPU level that runs here.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include "codegen/backend.h"
#include "codegen/schedule.h"
#include "runtime/object.h"
#include "support/cpu.h"

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 200000 };

static long double sigmoidl(long double x) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }

typedef struct Row {
  KOp op;
  const char *name;
  double ulp[2]; /* f32, f64 */
  long double (*exact)(long double);
} Row;

static const Row rows[] = {
#define MATH(op, f32, f64, libm) {KOP_##op, #op, {f32, f64}, libm##l},
#include "codegen/llvm/math.def"
#undef MATH
};

static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4"};

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t random_bits(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static const double special[] = {0.0,
                                 -0.0,
                                 1,
                                 -1,
                                 0.5,
                                 -0.5,
                                 1.5,
                                 2.5,
                                 -2.5,
                                 2,
                                 3,
                                 INFINITY,
                                 -INFINITY,
                                 NAN,
                                 1e-45,
                                 -1e-45,
                                 1e-39,
                                 3.4028234663852886e38,
                                 -3.4028234663852886e38,
                                 88.7,
                                 88.8,
                                 -87.3,
                                 -88,
                                 -103.9,
                                 -104.1,
                                 0.625,
                                 1e9,
                                 8388607.5,
                                 -8388607.5,
                                 1.5707964,
                                 3.1415927,
                                 1e22,
                                 -1e30,
                                 4194304.5,
                                 0x1p20,
                                 709.7,
                                 709.8,
                                 -745};

/* All exponents alike, and half of the samples from [-16, 16]. */
static double sample(bool wide, size_t i) {
  if (i < countof(special))
    return special[i];
  if (i & 1)
    return ((double)(int64_t)random_bits()) * 0x1p-59;
  union {
    uint64_t u;
    double d;
    uint32_t w[2];
    float f[2];
  } v = {.u = random_bits()};
  return wide ? v.d : v.f[0];
}

/* Distance in units of the last place of the exact result. */
static double error(bool wide, double got, long double exact) {
  double near = wide ? (double)exact : (double)(float)exact;
  if (isnan(got) || isnan(near))
    return isnan(got) && isnan(near) ? 0 : INFINITY;
  if (isinf(got) || isinf(near))
    return got == near                                                                    ? 0
           : isinf(near) && fabs(got) >= (wide ? 0x1.fffffffffffffp1023 : 0x1.fffffep127) ? 1
                                                                                          : INFINITY;
  int e = near == 0 ? -2000 : ilogb(near), min = wide ? -1022 : -126, digits = wide ? 52 : 23;
  long double spacing = ldexpl(1, (e < min ? min : e) - digits);
  double d = (double)(fabsl(got - exact) / spacing);
  return e < min ? fmax(0, d - 1) : d; /* below the normal range */
}

static KernelFn compile(Ctx *c, Arena *a, const char *text, const char *level, RtCode **code) {
  Unit u = {.kind = UNIT_LOOP};
  const Unit *unit = &u;
  EmitTarget target = {.cpu_level = level};
  BackendResult r;
  if (kernel_parse(c, a, text, strlen(text), "text", &u.kernel))
    fail_msg("%s\n%s", c->err.message, text);
  u.name = u.kernel->name;
  if (backend_compile(c, a, &unit, 1, &target, 1, 1, &r) ||
      object_load(c, a, r.object[0].bytes, r.object[0].size, code))
    fail_msg("%s: %s", text, c->err.message);
  return object_symbol(*code, r.code[0].symbol);
}

static void run(KernelFn fn, void *const *buf, int64_t n) {
  KernelArgs args = {.buf = buf, .dim = &n, .end = 1};
  assert_int_equal(fn(&args), 0);
}

static void one(Ctx *c, const Row *row, bool wide, const char *level, void *x, void *y) {
  Arena *a = arena_create(c);
  const char *t = wide ? "f64" : "f32";
  RtCode *code;
  char *text = arena_printf(a, "kernel \"%s\" (x: %s[n]) -> (y: %s[n]) { for i in n vector(16) { y[i] = %s(x[i]) } }",
                            row->name, t, t, row->name);
  KernelFn fn = compile(c, a, text, level, &code);
  run(fn, (void *[]){x, y}, N);
  double worst = 0, at = 0, result = 0;
  for (int64_t i = 0; i < N; i++) {
    double v = wide ? ((double *)x)[i] : ((float *)x)[i], got = wide ? ((double *)y)[i] : ((float *)y)[i];
    double d = error(wide, got, row->exact(v));
    if (d > worst)
      worst = d, at = v, result = got;
  }
  if (getenv("VERBOSE"))
    printf("%-8s %s %-10s %.3f ulp at %.9g\n", row->name, t, level, worst, at);
  if (worst > fmax(row->ulp[wide], row->ulp[wide] == 0 ? 0 : 0.501))
    fail_msg("%s %s, %s: %.3f ulp at %.9g (%a): %.9g, stated %.3f", row->name, t, level, worst, at, at, result,
             row->ulp[wide]);
  object_unload(code);
  arena_destroy(a);
}

static void setup(Ctx *c, Alloc *alloc) {
  if (!backend_present())
    skip();
  alloc_init_system(alloc);
  ctx_open(c, alloc);
}

static void accuracy(void **unused) {
  (void)unused;
  static Ctx c;
  Alloc alloc;
  setup(&c, &alloc);
  for (int wide = 0; wide < 2; wide++) {
    double *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    for (size_t i = 0; i < N; i++)
      if (wide)
        x[i] = sample(true, i);
      else
        ((float *)x)[i] = (float)sample(false, i);
    for (size_t l = 0; l < countof(levels); l++)
      for (size_t i = 0; i < countof(rows); i++)
        if (cpu_runs(levels[l]) && rows[i].ulp[wide] >= 0)
          one(&c, &rows[i], wide, levels[l], x, y);
    free(x), free(y);
  }
  ctx_close(&c);
}

static double exact_mod(double a, double b) {
  double r = fmod(a, b);
  return isnan(r) ? r : r == 0 ? copysign(0, b) : (r < 0) != (b < 0) ? r + b : r;
}

static double number(bool wide, const void *v, size_t i) {
  return wide ? ((const double *)v)[i] : ((const float *)v)[i];
}

static void put_number(bool wide, void *v, size_t i, double x) {
  if (wide)
    ((double *)v)[i] = x;
  else
    ((float *)v)[i] = (float)x;
}

/* pow within 1 ulp (f64: 1.5), and exact where the result is a whole number below 2^53; fmod exact; mod within the rounding
 * of one addition. All pairs of specials, whole numbers, and random pairs. */
static void check_pair(bool wide, const char *level, double x, double y, double p, double m, double f) {
  long double want_p = powl(x, y);
  bool exact = want_p == nearbyintl(want_p) && fabsl(want_p) < 0x1p53L;
  if (error(wide, p, want_p) > (wide ? 1.5 : 1) || (wide && exact && (long double)p != want_p))
    fail_msg("pow(%a, %a), %s: %a, must be %a", x, y, level, p, (double)want_p);
  if (error(wide, f, fmodl(x, y)) > 0)
    fail_msg("fmod(%a, %a), %s: %a, must be %a", x, y, level, f, fmod(x, y));
  double want = exact_mod(x, y);
  if (error(wide, m, want) > 1 && fabs(m - want) > 1e-6 * fabs(y))
    fail_msg("mod(%a, %a), %s: %a, must be %a", x, y, level, m, want);
  if (m == 0 && !isnan(y) && !signbit(m) != !signbit(y))
    fail_msg("mod(%a, %a), %s: zero of the wrong sign", x, y, level);
}

static void two_operands(void **unused) {
  (void)unused;
  static Ctx c;
  static double buf[5][N];
  Alloc alloc;
  setup(&c, &alloc);
  size_t k = countof(special);
  for (int wide = 0; wide < 2; wide++) {
    void *v[5] = {buf[0], buf[1], buf[2], buf[3], buf[4]};
    for (size_t i = 0; i < N; i++) {
      double x = i < k * k ? special[i / k] : sample(wide, i), y = i < k * k ? special[i % k] : sample(wide, i | 1);
      if (i >= k * k && i % 3 == 0)
        y = floor(y);
      if (i >= k * k && i % 8 == 0)
        x = floor(x);
      put_number(wide, v[0], i, x), put_number(wide, v[1], i, y);
    }
    for (size_t l = 0; l < countof(levels); l++) {
      if (!cpu_runs(levels[l]))
        continue;
      Arena *a = arena_create(&c);
      RtCode *code;
      const char *t = wide ? "f64" : "f32";
      char *text =
          arena_printf(a,
                       "kernel \"two\" (x: %s[n], y: %s[n]) -> (p: %s[n], m: %s[n], f: %s[n]) { for i in n "
                       "vector(16) { p[i] = pow(x[i], y[i]) m[i] = mod(x[i], y[i]) f[i] = fmod(x[i], y[i]) } }",
                       t, t, t, t, t);
      run(compile(&c, a, text, levels[l], &code), v, N);
      for (size_t i = 0; i < N; i++)
        check_pair(wide, levels[l], number(wide, v[0], i), number(wide, v[1], i), number(wide, v[2], i),
                   number(wide, v[3], i), number(wide, v[4], i));
      object_unload(code);
      arena_destroy(a);
    }
  }
  ctx_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(accuracy), cmocka_unit_test(two_operands)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
