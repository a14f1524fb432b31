/* dtype.h - element types (rows in dtype.def) and conversion of single elements.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_DTYPE_H
#define SARD_SUPPORT_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t DType; /* one of DT_*; the value is ONNX's TensorProto.DataType */
enum {
  DT_none = 0, /* not known */
#define DTYPE(name, onnx, bits, kind, numpy) DT_##name = onnx,
#include "support/dtype.def"
#undef DTYPE
  DT_count = 29
};

typedef enum { DK_NONE, DK_FLOAT, DK_SINT, DK_UINT, DK_BOOL, DK_STRING, DK_COMPLEX } DKind;

bool dtype_valid(int onnx);                    /* a known type other than DT_none */
const char *dtype_name(DType t);               /* "f32"; "?" when not known */
const char *dtype_numpy(DType t);              /* "float32", or "" */
const char *dtype_onnx(DType t);               /* "FLOAT", as TensorProto.DataType spells it */
DType dtype_parse(const char *name, size_t n); /* DT_none: no such name */
int dtype_bits(DType t);                       /* per element; strings: a Str */
DKind dtype_kind(DType t);
static inline bool dtype_is_float(DType t) { return dtype_kind(t) == DK_FLOAT; }
static inline bool dtype_is_int(DType t) { return dtype_kind(t) == DK_SINT || dtype_kind(t) == DK_UINT; }

/* Bytes of count elements; sub-byte types are packed, the first element in the low bits. False on overflow or count < 0. */
bool dtype_bytes(DType t, int64_t count, size_t *bytes);

/* Element i of packed data of type t as a number, and back. Floats: rounded to nearest even into the narrow types,
 * saturating for the float8/6/4 families as ONNX Cast with saturate=1. Floats to integers, toward zero: what does not fit
 * (undefined in ONNX) becomes the nearest 32-bit integer, for u32 and 64 bits the nearest 64-bit one, and wraps; NaN is 0.
 * Integers wrap modulo 2^bits. bool: non-zero is 1. Not for strings and complex numbers. */
double elem_f64(DType t, const void *data, int64_t i);
void elem_set_f64(DType t, void *data, int64_t i, double v);
int64_t elem_i64(DType t, const void *data, int64_t i); /* u64 above INT64_MAX keeps its bits */
void elem_set_i64(DType t, void *data, int64_t i, int64_t v);
double dtype_round(DType t, double v); /* to the nearest number of float type t; infinity stays where t has it */

/* The narrow float formats as bits. to: nearest even; from: exact. */
float f16_to_f32(uint16_t h);
uint16_t f16_from_f32(float f);
uint16_t f16_from_f64(double d); /* one rounding */
float bf16_to_f32(uint16_t h);
uint16_t bf16_from_f32(float f);
uint16_t bf16_from_f64(double d);

/* An integer as a double that rounds to narrower types as the integer itself would: what does not fit 53 bits is kept as
 * one sticky bit below them. */
double sticky_f64(int64_t v, bool is_unsigned);

/* The small formats: f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f4e2m1, f6e2m3, f6e3m2, f8e8m0. bits: the low bits hold
 * the code. saturate: out of range gives the largest finite value, else infinity or NaN as the ONNX Cast tables say. */
double small_float_value(DType t, unsigned bits);
unsigned small_float_code(DType t, double v, bool saturate); /* f8e8m0: rounds up */

typedef enum { E8M0_UP, E8M0_DOWN, E8M0_NEAREST } E8M0Round; /* ONNX Cast's round_mode; nearest: ties up */

/* f8e8m0: powers of two 2^(code - 127); 255 is NaN. Negative numbers, unspecified in ONNX, become NaN. */
unsigned e8m0_code(double v, bool saturate, E8M0Round round);

/* How the others are laid out: a sign, an exponent, mbits of mantissa. */
typedef struct SmallFloat {
  uint8_t bits, mbits, bias;
  uint8_t max; /* largest finite code, without sign */
  int16_t inf; /* code of +inf, -1: none */
  int16_t nan; /* code that NaN is written as (without sign unless fnuz), -1: none */
  bool fnuz;   /* one NaN at 0x80, no negative zero */
} SmallFloat;
const SmallFloat *small_float(DType t); /* NULL: not one of them */

#endif
