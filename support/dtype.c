/* dtype.c - element types. The small float formats are described by a table (bits, bias, special values) and rounded by
 * one routine. Encodings: OCP 8-bit and microscaling formats, and ONNX's float8 page.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/dtype.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

typedef struct Row {
  const char *name, *numpy, *onnx;
  uint8_t bits, kind;
} Row;

#define FLOAT   DK_FLOAT
#define SINT    DK_SINT
#define UINT    DK_UINT
#define BOOL    DK_BOOL
#define STRING  DK_STRING
#define COMPLEX DK_COMPLEX
static const Row rows[DT_count] = {
#define DTYPE(name, onnx, bits, kind, numpy) [onnx] = {#name, numpy, NULL, bits, kind},
#include "support/dtype.def"
#undef DTYPE
};

static const char *const onnx_names[DT_count] = {
    "UNDEFINED",  "FLOAT",        "UINT8",          "INT8",       "UINT16",         "INT16",  "INT32",     "INT64",
    "STRING",     "BOOL",         "FLOAT16",        "DOUBLE",     "UINT32",         "UINT64", "COMPLEX64", "COMPLEX128",
    "BFLOAT16",   "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "UINT4",  "INT4",      "FLOAT4E2M1",
    "FLOAT8E8M0", "UINT2",        "INT2",           "FLOAT6E2M3", "FLOAT6E3M2"};

bool dtype_valid(int onnx) { return onnx > 0 && onnx < DT_count && rows[onnx].name; }

const char *dtype_name(DType t) { return dtype_valid(t) ? rows[t].name : "?"; }

const char *dtype_numpy(DType t) { return dtype_valid(t) ? rows[t].numpy : ""; }

const char *dtype_onnx(DType t) { return t < DT_count ? onnx_names[t] : "UNDEFINED"; }

DType dtype_parse(const char *name, size_t n) {
  for (int t = 1; t < DT_count; t++)
    if (rows[t].name && strlen(rows[t].name) == n && !memcmp(rows[t].name, name, n))
      return (DType)t;
  return DT_none;
}

int dtype_bits(DType t) { return dtype_valid(t) ? rows[t].bits : 0; }

DKind dtype_kind(DType t) { return dtype_valid(t) ? (DKind)rows[t].kind : DK_NONE; }

bool dtype_bytes(DType t, int64_t count, size_t *bytes) {
  int64_t bits;
  if (count < 0 || !dtype_valid(t) || !mul_ok(count, rows[t].bits, &bits) || !add_ok(bits, 7, &bits))
    return false;
  *bytes = (size_t)(bits / 8);
  return true;
}

float f16_to_f32(uint16_t h) {
  int e = h >> 10 & 31, m = h & 1023;
  double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
  return (float)(h & 0x8000 ? -v : v);
}

float bf16_to_f32(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

/* |v| finite and below overflow, as a multiple of the format's spacing, rounded to nearest even: code of exponent+mantissa. */
static uint32_t round_code(double v, int mbits, int bias) {
  int e;
  frexp(v, &e); /* v = f * 2^e, f in [0.5, 1) */
  e -= 1;
  int emin = 1 - bias;
  if (v == 0)
    return 0;
  if (e < emin)
    e = emin;
  double q =
      nearbyint(ldexp(v, mbits - e)); /* mantissa with the hidden bit, nearest even in the default rounding mode */
  uint32_t m = (uint32_t)q;
  return m +
         ((uint32_t)(e - emin) << mbits); /* a carry moves into the exponent by itself; subnormals have no hidden bit */
}

static uint16_t ieee16(double d, int mbits, int bias, uint16_t inf) {
  uint16_t sign = signbit(d) ? 0x8000 : 0;
  if (isnan(d))
    return (uint16_t)(sign | inf | 1u << (mbits - 1));
  double a = fabs(d);
  if (isinf(a))
    return sign | inf;
  uint32_t code = a >= ldexp(1, bias + 1) ? inf : round_code(a, mbits, bias);
  return (uint16_t)(sign | (code > inf ? inf : code));
}

uint16_t f16_from_f64(double d) { return ieee16(d, 10, 15, 0x7c00); }

uint16_t f16_from_f32(float f) { return f16_from_f64(f); }

uint16_t bf16_from_f64(double d) { return ieee16(d, 7, 127, 0x7f80); }

uint16_t bf16_from_f32(float f) { return bf16_from_f64(f); }

static const SmallFloat small[DT_count] = {
    [DT_f8e4m3fn] = {8, 3, 7, 0x7e, -1, 0x7f, false},  [DT_f8e4m3fnuz] = {8, 3, 8, 0x7f, -1, 0x80, true},
    [DT_f8e5m2] = {8, 2, 15, 0x7b, 0x7c, 0x7f, false}, [DT_f8e5m2fnuz] = {8, 2, 16, 0x7f, -1, 0x80, true},
    [DT_f4e2m1] = {4, 1, 1, 7, -1, -1, false},         [DT_f6e2m3] = {6, 3, 1, 31, -1, -1, false},
    [DT_f6e3m2] = {6, 2, 3, 31, -1, -1, false},
};

const SmallFloat *small_float(DType t) { return t < DT_count && small[t].bits ? &small[t] : NULL; }

double small_float_value(DType t, unsigned code) {
  if (t == DT_f8e8m0)
    return code == 255 ? NAN : ldexp(1, (int)code - 127);
  const SmallFloat *s = &small[t];
  unsigned sign = code >> (s->bits - 1) & 1, rest = code & ((1u << (s->bits - 1)) - 1);
  if (s->fnuz ? code == 0x80 : s->nan >= 0 && rest > s->max && (int)rest != s->inf)
    return sign && !s->fnuz ? -NAN : NAN;
  if ((int)rest == s->inf)
    return sign ? -INFINITY : INFINITY;
  unsigned e = rest >> s->mbits, m = rest & ((1u << s->mbits) - 1);
  double v = e ? ldexp((1u << s->mbits) + m, (int)e - s->bias - s->mbits) : ldexp(m, 1 - s->bias - s->mbits);
  return sign ? -v : v;
}

unsigned e8m0_code(double v, bool saturate, E8M0Round round) {
  if (isnan(v) || v < 0)
    return 255;
  if (v == 0 || isinf(v))
    return !saturate ? 255 : v == 0 ? 0 : 254;
  int e;
  double f = 2 * frexp(v, &e); /* v = f * 2^(e - 1), f in [1, 2) */
  int code = e - 1 + 127 + (round == E8M0_UP ? f > 1 : round == E8M0_NEAREST ? f >= 1.5 : 0);
  if (code < 0)
    return saturate ? 0 : 255;
  return code > 254 ? (saturate ? 254u : 255u) : (unsigned)code;
}

unsigned small_float_code(DType t, double v, bool saturate) {
  if (t == DT_f8e8m0)
    return e8m0_code(v, saturate, E8M0_UP);
  const SmallFloat *s = &small[t];
  unsigned sign = signbit(v) ? 1u << (s->bits - 1) : 0;
  if (isnan(v))
    return s->nan < 0 ? (1u << (s->bits - 1)) : s->fnuz ? (unsigned)s->nan : sign | (unsigned)s->nan;
  double a = fabs(v), max = small_float_value(t, s->max);
  bool over = isinf(a);
  unsigned code = 0;
  if (!over) {
    code = a > 2 * max ? s->max + 1u : round_code(a, s->mbits, s->bias);
    over = code > s->max;
  }
  if (over) {
    if (saturate || s->nan < 0)
      code = s->max;
    else if (s->inf >= 0)
      code = (unsigned)s->inf;
    else
      return s->fnuz ? (unsigned)s->nan : sign | (unsigned)s->nan;
  }
  if (s->fnuz && !code)
    return 0;
  return sign | code;
}

double sticky_f64(int64_t v, bool is_unsigned) {
  bool negative = !is_unsigned && v < 0;
  uint64_t m = negative ? 0 - (uint64_t)v : (uint64_t)v;
  if (m >> 53)
    m = (m & ~(uint64_t)0xfff) | (m & 0xfff ? 0x800 : 0);
  return negative ? -(double)m : (double)m;
}

static unsigned get_bits(const void *data, int64_t i, int bits) {
  const uint8_t *p = data;
  if (bits == 6) { /* four elements in three bytes, little-endian bit order */
    int64_t at = i * 6;
    unsigned w = p[at / 8] | (at % 8 > 2 ? (unsigned)p[at / 8 + 1] << 8 : 0);
    return w >> (at % 8) & 63;
  }
  int per = 8 / bits;
  return p[i / per] >> (i % per * bits) & ((1u << bits) - 1);
}

static void set_bits(void *data, int64_t i, int bits, unsigned v) {
  uint8_t *p = data;
  int64_t at = i * bits;
  unsigned mask = (1u << bits) - 1, shift = (unsigned)(at % 8);
  v &= mask;
  p[at / 8] = (uint8_t)((p[at / 8] & ~(mask << shift)) | v << shift);
  if (shift + (unsigned)bits > 8)
    p[at / 8 + 1] = (uint8_t)((p[at / 8 + 1] & ~(mask >> (8 - shift))) | v >> (8 - shift));
}

/* Tensors in attributes lie where the file has them, at any alignment. */
#define AT(T)                                                                                                          \
  ({                                                                                                                   \
    T at_;                                                                                                             \
    memcpy(&at_, (const char *)data + (size_t)i * sizeof at_, sizeof at_);                                             \
    at_;                                                                                                               \
  })
double elem_f64(DType t, const void *data, int64_t i) {
  switch (t) {
  case DT_f32: return (double)AT(float);
  case DT_f64: return AT(double);
  case DT_f16: return (double)f16_to_f32(AT(uint16_t));
  case DT_bf16: return (double)bf16_to_f32(AT(uint16_t));
  case DT_u64: return (double)AT(uint64_t);
  case DT_f8e4m3fn:
  case DT_f8e4m3fnuz:
  case DT_f8e5m2:
  case DT_f8e5m2fnuz:
  case DT_f8e8m0: return small_float_value(t, AT(uint8_t));
  case DT_f4e2m1: return small_float_value(t, get_bits(data, i, 4));
  case DT_f6e2m3:
  case DT_f6e3m2: return small_float_value(t, get_bits(data, i, 6));
  case DT_none:
  case DT_str:
  case DT_c64:
  case DT_c128: return NAN; /* not numbers of one part */
  default: return (double)elem_i64(t, data, i);
  }
}

int64_t elem_i64(DType t, const void *data, int64_t i) {
  switch (t) {
  case DT_i64:
  case DT_u64: return AT(int64_t);
  case DT_i32: return AT(int32_t);
  case DT_u32: return AT(uint32_t);
  case DT_i16: return AT(int16_t);
  case DT_u16: return AT(uint16_t);
  case DT_i8: return AT(int8_t);
  case DT_u8: return AT(uint8_t);
  case DT_bool: return AT(uint8_t) != 0;
  case DT_i4: return (int64_t)(get_bits(data, i, 4) ^ 8) - 8;
  case DT_u4: return get_bits(data, i, 4);
  case DT_i2: return (int64_t)(get_bits(data, i, 2) ^ 2) - 2;
  case DT_u2: return get_bits(data, i, 2);
  case DT_none:
  case DT_str:
  case DT_c64:
  case DT_c128: return 0;
  default: { /* floats: toward zero; NaN 0; out of range: the nearest end */
    double v = elem_f64(t, data, i);
    return isnan(v) ? 0 : v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v;
  }
  }
}
#undef AT

#define PUT(T, x) (((T *)data)[i] = (T)(x))
void elem_set_i64(DType t, void *data, int64_t i, int64_t v) {
  switch (t) {
  case DT_i64:
  case DT_u64: PUT(int64_t, v); break;
  case DT_i32:
  case DT_u32: PUT(uint32_t, v); break;
  case DT_i16:
  case DT_u16: PUT(uint16_t, v); break;
  case DT_i8:
  case DT_u8: PUT(uint8_t, v); break;
  case DT_bool: PUT(uint8_t, v != 0); break;
  case DT_i4:
  case DT_u4: set_bits(data, i, 4, (unsigned)v); break;
  case DT_i2:
  case DT_u2: set_bits(data, i, 2, (unsigned)v); break;
  case DT_none:
  case DT_str:
  case DT_c64:
  case DT_c128: break;
  default: elem_set_f64(t, data, i, (double)v);
  }
}

void elem_set_f64(DType t, void *data, int64_t i, double v) {
  switch (t) {
  case DT_f32: PUT(float, v); break;
  case DT_f64: PUT(double, v); break;
  case DT_f16: PUT(uint16_t, f16_from_f64(v)); break;
  case DT_bf16: PUT(uint16_t, bf16_from_f64(v)); break;
  case DT_f8e4m3fn:
  case DT_f8e4m3fnuz:
  case DT_f8e5m2:
  case DT_f8e5m2fnuz:
  case DT_f8e8m0: PUT(uint8_t, small_float_code(t, v, true)); break;
  case DT_f4e2m1: set_bits(data, i, 4, small_float_code(t, v, true)); break;
  case DT_f6e2m3:
  case DT_f6e3m2: set_bits(data, i, 6, small_float_code(t, v, true)); break;
  case DT_bool: PUT(uint8_t, v != 0); break;
  case DT_u64:
    PUT(uint64_t, isnan(v)       ? 0
                  : v >= 0x1p64  ? UINT64_MAX
                  : v <= -0x1p63 ? (uint64_t)INT64_MIN
                  : v < 0        ? (uint64_t)(int64_t)v
                                 : (uint64_t)v);
    break;
  case DT_u32:
  case DT_i64:
    elem_set_i64(t, data, i, isnan(v) ? 0 : v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v);
    break;
  default: elem_set_i64(t, data, i, isnan(v) ? 0 : v >= 0x1p31 ? INT32_MAX : v <= -0x1p31 ? INT32_MIN : (int64_t)v);
  }
}
#undef PUT

double dtype_round(DType t, double v) {
  uint64_t cell = 0;
  if (t == DT_f64 || (t == DT_f8e5m2 && isinf(v)))
    return v;
  elem_set_f64(t, &cell, 0, v);
  return elem_f64(t, &cell, 0);
}
