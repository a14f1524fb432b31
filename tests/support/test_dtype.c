/* test_dtype.c - element types: names, sizes, the narrow float formats, packed elements, conversions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/dtype.h"

#include "support/status.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_names_and_sizes(void **state) {
  size_t n;
  (void)state;
  for (int t = 1; t < DT_count; t++) {
    assert_true(dtype_valid(t));
    assert_int_equal(dtype_parse(dtype_name((DType)t), strlen(dtype_name((DType)t))), t);
  }
  assert_false(dtype_valid(0) || dtype_valid(-1) || dtype_valid(DT_count) || dtype_valid(1 << 20));
  assert_int_equal(dtype_parse("f3", 2), DT_none);
  assert_string_equal(dtype_onnx(DT_f8e4m3fnuz), "FLOAT8E4M3FNUZ");
  assert_string_equal(dtype_numpy(DT_i16), "int16");
  assert_string_equal(dtype_name(99), "?");
  assert_true(dtype_bytes(DT_i4, 3, &n) && n == 2);
  assert_true(dtype_bytes(DT_u2, 5, &n) && n == 2);
  assert_true(dtype_bytes(DT_f6e2m3, 4, &n) && n == 3);
  assert_true(dtype_bytes(DT_f6e2m3, 5, &n) && n == 4);
  assert_true(dtype_bytes(DT_c128, 0, &n) && n == 0);
  assert_false(dtype_bytes(DT_f32, -1, &n) || dtype_bytes(DT_f32, INT64_MAX / 4, &n) || dtype_bytes(DT_none, 1, &n));
}

/* Known values: IEEE 754 binary16 and bfloat16. */
static void test_half_table(void **state) {
  static const struct {
    double v;
    uint16_t f16, bf16;
  } row[] = {{0, 0, 0},
             {1, 0x3c00, 0x3f80},
             {-2, 0xc000, 0xc000},
             {65504, 0x7bff, 0x4780},
             {65519.996, 0x7bff, 0x4780},
             {65520, 0x7c00, 0x4780},
             {0x1p-24, 1, 0x3380},
             {0x1p-25, 0, 0x3300},
             {0x1.8p-25, 1, 0x3340},
             {0x1p-14, 0x0400, 0x3880},
             {1.0 + 0x1p-11, 0x3c00, 0x3f80},
             {1.0 + 0x3p-11, 0x3c02, 0x3f80},
             {0.1, 0x2e66, 0x3dcd},
             {INFINITY, 0x7c00, 0x7f80},
             {-1e300, 0xfc00, 0xff80},
             {0x1p-133, 0, 1},
             {0x1p-134, 0, 0},
             {1.0 + 0x1p-8, 0x3c04, 0x3f80},
             {1.0 + 0x3p-8, 0x3c0c, 0x3f82}};
  (void)state;
  for (size_t i = 0; i < countof(row); i++) {
    assert_int_equal(f16_from_f64(row[i].v), row[i].f16);
    assert_int_equal(bf16_from_f64(row[i].v), row[i].bf16);
  }
  assert_int_equal(f16_from_f32(-0.0f), 0x8000);
  assert_true(isnan(f16_to_f32(f16_from_f32(NAN))) && isnan(bf16_to_f32(bf16_from_f32(NAN))));
  /* one rounding: this is just above a tie of binary16, but becomes the tie when rounded to binary32 first */
  assert_int_equal(f16_from_f64(1.0 + 0x1p-11 + 0x1p-40), 0x3c01);
}

static void test_halves_round_trip_and_round_to_nearest_even(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x10000; h++) {
    float a = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
    if (!isnan(a))
      assert_int_equal(f16_from_f32(a), h);
    if (!isnan(b))
      assert_int_equal(bf16_from_f32(b), h);
  }
  for (uint32_t h = 0; h < 0x7bff; h++) { /* midway and a little beside it, for every pair of neighbours */
    double lo = (double)f16_to_f32((uint16_t)h), hi = (double)f16_to_f32((uint16_t)(h + 1)), mid = (lo + hi) / 2,
           d = (hi - lo) / 1024;
    assert_int_equal(f16_from_f64(mid), h & 1 ? h + 1 : h);
    assert_int_equal(f16_from_f64(mid - d), h);
    assert_int_equal(f16_from_f64(mid + d), h + 1);
    assert_int_equal(f16_from_f64(-(mid + d)), 0x8000 | (h + 1));
  }
  for (uint32_t h = 0; h < 0x7f7f; h++) {
    double lo = (double)bf16_to_f32((uint16_t)h), hi = (double)bf16_to_f32((uint16_t)(h + 1)), mid = (lo + hi) / 2;
    assert_int_equal(bf16_from_f64(mid), h & 1 ? h + 1 : h);
  }
}

static const struct {
  DType t;
  int bits;
  double max, least; /* largest finite, smallest positive */
} narrow[] = {{DT_f8e4m3fn, 8, 448, 0x1p-9},      {DT_f8e4m3fnuz, 8, 240, 0x1p-10}, {DT_f8e5m2, 8, 57344, 0x1p-16},
              {DT_f8e5m2fnuz, 8, 57344, 0x1p-17}, {DT_f4e2m1, 4, 6, 0.5},           {DT_f6e2m3, 6, 7.5, 0.125},
              {DT_f6e3m2, 6, 28, 0.0625}};

static void test_small_floats_round_trip(void **state) {
  (void)state;
  for (size_t i = 0; i < countof(narrow); i++) {
    double max = 0, least = 1e300;
    for (unsigned code = 0; code < 1u << narrow[i].bits; code++) {
      double v = small_float_value(narrow[i].t, code);
      if (isnan(v)) {
        assert_true(isnan(small_float_value(narrow[i].t, small_float_code(narrow[i].t, v, true))));
        continue;
      }
      assert_int_equal(small_float_code(narrow[i].t, v, false), code);
      if (isfinite(v))
        max = v > max ? v : max, least = v > 0 && v < least ? v : least;
    }
    assert_true(max == narrow[i].max && least == narrow[i].least);
  }
  for (unsigned code = 0; code < 255; code++) {
    assert_true(small_float_value(DT_f8e8m0, code) == ldexp(1, (int)code - 127));
    assert_int_equal(small_float_code(DT_f8e8m0, ldexp(1, (int)code - 127), true), code);
    if (code < 254) /* up to the next power of two */
      assert_int_equal(small_float_code(DT_f8e8m0, ldexp(1.001, (int)code - 127), true), code + 1);
  }
  assert_true(isnan(small_float_value(DT_f8e8m0, 255)));
}

/* Against the nearest of all values of the format, an even code winning a tie. */
static void test_small_floats_round_to_nearest_even(void **state) {
  (void)state;
  for (size_t i = 0; i < countof(narrow); i++)
    for (int k = 0; k < 20000; k++) {
      double v = ldexp((k % 3 ? -1.0 : 1.0) * (1 + (k * 7919 % 4096) / 1024.0), k % 40 - 20);
      if (fabs(v) > narrow[i].max)
        v = copysign(fmod(fabs(v), narrow[i].max), v);
      unsigned best = 0;
      double off = 1e300;
      for (unsigned code = 0; code < 1u << narrow[i].bits; code++) {
        double x = small_float_value(narrow[i].t, code), d = fabs(x - v);
        if (!(d <= off) || (x != 0 && signbit(x) != signbit(v)))
          continue;
        if (d < off || !(code & 1))
          best = code, off = d;
      }
      unsigned got = small_float_code(narrow[i].t, v, true);
      if (small_float_value(narrow[i].t, got) == 0 && small_float_value(narrow[i].t, best) == 0)
        continue;
      if (off < 1e300)
        assert_int_equal(got, best);
    }
}

/* Beyond the range: the tables of ONNX's Cast for saturate 1 and 0. */
static void test_small_floats_out_of_range(void **state) {
  (void)state;
  assert_int_equal(small_float_code(DT_f8e4m3fn, 464, false), 0x7e); /* the tie above 448 is even */
  assert_int_equal(small_float_code(DT_f8e4m3fn, 465, false), 0x7f);
  assert_int_equal(small_float_code(DT_f8e4m3fn, 465, true), 0x7e);
  assert_int_equal(small_float_code(DT_f8e4m3fn, -INFINITY, true), 0xfe);
  assert_int_equal(small_float_code(DT_f8e4m3fn, INFINITY, false), 0x7f);
  assert_int_equal(small_float_code(DT_f8e4m3fnuz, INFINITY, false), 0x80);
  assert_int_equal(small_float_code(DT_f8e4m3fnuz, -1e9, true), 0xff);
  assert_int_equal(small_float_code(DT_f8e5m2, 61440, false), 0x7c); /* the tie above 57344 rounds away */
  assert_int_equal(small_float_code(DT_f8e5m2, 61439, false), 0x7b);
  assert_int_equal(small_float_code(DT_f8e5m2, -INFINITY, false), 0xfc);
  assert_int_equal(small_float_code(DT_f8e5m2, INFINITY, true), 0x7b);
  assert_int_equal(small_float_code(DT_f8e5m2fnuz, NAN, true), 0x80);
  assert_int_equal(small_float_code(DT_f8e5m2fnuz, -0.0, true), 0); /* no negative zero */
  assert_int_equal(small_float_code(DT_f8e5m2fnuz, -1e-30, true), 0);
  assert_int_equal(small_float_code(DT_f4e2m1, 1e30, false), 7);
  assert_int_equal(small_float_code(DT_f6e3m2, -INFINITY, true), 63);
  assert_int_equal(small_float_code(DT_f8e8m0, 0, true), 0);
  assert_int_equal(small_float_code(DT_f8e8m0, -1, true), 255);
  assert_int_equal(small_float_code(DT_f8e8m0, INFINITY, true), 254);
  assert_int_equal(small_float_code(DT_f8e8m0, INFINITY, false), 255);
}

/* Packed elements: writing one leaves its neighbours alone; the first is in the low bits. */
static void test_packed(void **state) {
  static const struct {
    DType t;
    int bits;
  } row[] = {{DT_u4, 4}, {DT_i4, 4}, {DT_u2, 2}, {DT_i2, 2}, {DT_f4e2m1, 4}, {DT_f6e2m3, 6}, {DT_f6e3m2, 6}};
  (void)state;
  for (size_t r = 0; r < countof(row); r++) {
    enum { N = 24 };
    uint8_t data[N + 1], bits[N * 6] = {0};
    int width = row[r].bits;
    memset(data, 0, sizeof data);
    data[N * width / 8] = 0x5a; /* behind the end */
    uint32_t seed = 5;
    for (int round = 0; round < 2000; round++) {
      seed = seed * 1664525 + 1013904223;
      int i = (int)((seed >> 8) % N);
      unsigned code = (seed >> 20) & ((1u << width) - 1);
      if (dtype_is_float(row[r].t))
        elem_set_f64(row[r].t, data, i, small_float_value(row[r].t, code));
      else
        elem_set_i64(row[r].t, data, i, code);
      for (int b = 0; b < width; b++)
        bits[i * width + b] = code >> b & 1;
    }
    for (int b = 0; b < N * width; b++)
      assert_int_equal(data[b / 8] >> (b % 8) & 1, bits[b]);
    assert_int_equal(data[N * width / 8], 0x5a);
  }
  uint8_t x[2] = {0x8f, 0xb1};
  assert_int_equal(elem_i64(DT_i4, x, 0), -1);
  assert_int_equal(elem_i64(DT_i4, x, 1), -8);
  assert_int_equal(elem_i64(DT_u4, x, 1), 8);
  assert_int_equal(elem_i64(DT_i2, x, 4), 1);
  assert_int_equal(elem_i64(DT_i2, x, 7), -2);
  assert_true(elem_f64(DT_u2, x, 0) == 3);
}

static void test_integers(void **state) {
  int64_t x = 0;
  (void)state;
  elem_set_i64(DT_i8, &x, 0, 200); /* wraps */
  assert_int_equal(elem_i64(DT_i8, &x, 0), -56);
  elem_set_i64(DT_u16, &x, 0, -1);
  assert_int_equal(elem_i64(DT_u16, &x, 0), 65535);
  elem_set_f64(DT_i32, &x, 0, -3.9);
  assert_int_equal(elem_i64(DT_i32, &x, 0), -3);
  elem_set_f64(DT_i64, &x, 0, 1e300);
  assert_true(x == INT64_MAX);
  elem_set_f64(DT_i64, &x, 0, -INFINITY);
  assert_true(x == INT64_MIN);
  elem_set_f64(DT_i64, &x, 0, NAN);
  assert_int_equal(x, 0);
  elem_set_f64(DT_u64, &x, 0, 0x1p63);
  assert_true((uint64_t)x == (uint64_t)1 << 63 && elem_f64(DT_u64, &x, 0) == 0x1p63);
  elem_set_f64(DT_u64, &x, 0, 1e30);
  assert_true((uint64_t)x == UINT64_MAX);
  elem_set_f64(DT_u64, &x, 0, -1.5);
  assert_true((uint64_t)x == UINT64_MAX);
  elem_set_f64(DT_bool, &x, 0, 0.25);
  assert_int_equal(elem_i64(DT_bool, &x, 0), 1);
  elem_set_f64(DT_bool, &x, 0, NAN);
  assert_int_equal(elem_i64(DT_bool, &x, 0), 1);
  float f = 3e30f;
  assert_true(elem_i64(DT_f32, &f, 0) == INT64_MAX);
}

/* Types that are not one number must not be asked for one; if they are, nothing bad happens. */
static void test_not_numbers(void **state) {
  static const DType t[] = {DT_str, DT_c64, DT_c128, DT_none};
  double x[2] = {1, 2};
  (void)state;
  for (size_t i = 0; i < countof(t); i++) {
    assert_true(isnan(elem_f64(t[i], x, 0)));
    assert_int_equal(elem_i64(t[i], x, 0), 0);
    elem_set_f64(t[i], x, 0, 5);
    elem_set_i64(t[i], x, 0, 5);
    assert_true(x[0] == 1 && x[1] == 2);
  }
}

int main(void) {
#define T cmocka_unit_test
  const struct CMUnitTest tests[] = {T(test_names_and_sizes),
                                     T(test_half_table),
                                     T(test_halves_round_trip_and_round_to_nearest_even),
                                     T(test_small_floats_round_trip),
                                     T(test_small_floats_round_to_nearest_even),
                                     T(test_small_floats_out_of_range),
                                     T(test_packed),
                                     T(test_integers),
                                     T(test_not_numbers)};
  return cmocka_run_group_tests_name("dtype", tests, NULL, NULL);
}
