/* narrow.c - floats narrower than f32 as bits: f16, bf16 and the small formats, to f32 (exactly) and from it (to nearest even,
 * ties and overflow as support/dtype.h has them). All by integer arithmetic on lanes, without tables and without branches.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

/* Short names for the builder, for this file only: e is the emitter, a an integer, v a constant. */
#define AND(a, v)       and_const(e, a, v)
#define OR(a, v)        or_const(e, a, v)
#define ADD(a, v)       add_const(e, a, v)
#define SUB(a, v)       add_const(e, a, -(int64_t)(v))
#define SHL(a, v)       shl_const(e, a, v)
#define LSHR(a, v)      lshr_const(e, a, v)
#define ICMP(op, a, v)  compare_const(e, LLVMInt##op, a, v)
#define SELECT(c, x, y) LLVMBuildSelect(e->b, c, x, y, "")
#define CONST(like, v)  emit_int(LLVMTypeOf(like), v)

static LVal and_const(Emitter *e, LVal a, int64_t v) { return LLVMBuildAnd(e->b, a, CONST(a, v), ""); }
static LVal or_const(Emitter *e, LVal a, int64_t v) { return LLVMBuildOr(e->b, a, CONST(a, v), ""); }
static LVal add_const(Emitter *e, LVal a, int64_t v) { return LLVMBuildAdd(e->b, a, CONST(a, v), ""); }
static LVal shl_const(Emitter *e, LVal a, int64_t v) { return LLVMBuildShl(e->b, a, CONST(a, v), ""); }
static LVal lshr_const(Emitter *e, LVal a, int64_t v) { return LLVMBuildLShr(e->b, a, CONST(a, v), ""); }
static LVal compare_const(Emitter *e, LLVMIntPredicate op, LVal a, int64_t v) {
  return LLVMBuildICmp(e->b, op, a, CONST(a, v), "");
}

/* --- bfloat16 and half --- */

LVal emit_bf16_load(Emitter *e, LVal bits) {
  LVal w = LLVMBuildZExt(e->b, bits, emit_like(e->i32, bits), "");
  return emit_bitcast(e, SHL(w, 16), e->f32);
}

LVal emit_bf16_store(Emitter *e, LVal v) {
  LVal w = emit_bitcast(e, v, e->i32);
  LVal odd = AND(LSHR(w, 16), 1);
  LVal r = LSHR(LLVMBuildAdd(e->b, ADD(w, 0x7fff), odd, ""), 16);
  LVal nan = OR(LSHR(w, 16), 0x40);
  r = LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, LLVMRealUNO, v, v, ""), nan, r, "");
  return LLVMBuildTrunc(e->b, r, emit_like(e->i16, v), "");
}

/* Without instructions: the exponent and mantissa moved to their f32 place are the value times 2^-112, also for
 * subnormals; infinity and NaN get the full exponent. */
LVal emit_f16_load(Emitter *e, LVal bits) {
  if (e->f16c)
    return LLVMBuildFPExt(e->b, emit_bitcast(e, bits, e->f16), emit_like(e->f32, bits), "");
  LVal w = LLVMBuildZExt(e->b, bits, emit_like(e->i32, bits), "");
  LVal m = SHL(AND(w, 0x7fff), 13);
  LVal v = emit_bitcast(e, m, e->f32);
  v = emit_bitcast(e, LLVMBuildFMul(e->b, v, emit_real(LLVMTypeOf(v), 0x1p112), ""), e->i32);
  v = LLVMBuildSelect(e->b, ICMP(UGE, m, 0x7c00 << 13), OR(m, 0x7f800000), v, "");
  return emit_bitcast(e, LLVMBuildOr(e->b, v, SHL(AND(w, 0x8000), 16), ""), e->f32);
}

/* Normal results: rebias and round by integer addition; subnormal ones: the addition of 0.5 rounds at 2^-24. */
LVal emit_f16_store(Emitter *e, LVal v) {
  if (e->f16c)
    return emit_bitcast(e, LLVMBuildFPTrunc(e->b, v, emit_like(e->f16, v), ""), e->i16);
  LVal w = emit_bitcast(e, v, e->i32), m = AND(w, 0x7fffffff);
  LVal odd = AND(LSHR(m, 13), 1);
  LVal normal = LSHR(LLVMBuildAdd(e->b, ADD(m, (int32_t)0xc8000fff), odd, ""), 13);
  LVal half = emit_real(LLVMTypeOf(v), 0.5);
  LVal small = emit_bitcast(e, LLVMBuildFAdd(e->b, emit_bitcast(e, m, e->f32), half, ""), e->i32);
  small = LLVMBuildSub(e->b, small, emit_int(LLVMTypeOf(small), 0x3f000000), "");
  LVal huge = LLVMBuildSelect(e->b, ICMP(UGT, m, 0x7f800000), emit_int(LLVMTypeOf(m), 0x7e00),
                              emit_int(LLVMTypeOf(m), 0x7c00), "");
  LVal r = LLVMBuildSelect(e->b, ICMP(ULT, m, 0x38800000), small, normal, "");
  r = LLVMBuildSelect(e->b, ICMP(UGE, m, 0x47800000), huge, r, "");
  r = LLVMBuildOr(e->b, r, AND(LSHR(w, 16), 0x8000), "");
  return LLVMBuildTrunc(e->b, r, emit_like(e->i16, v), "");
}

/* --- the formats of eight bits and less --- */

/* (-1)^sign * significand * 2^exponent, the significand as an integer: no subnormal number on the way. */
static LVal small_load(Emitter *e, const SmallFloat *s, LVal w) {
  int top = s->bits - 1;
  LVal rest = AND(w, (1 << top) - 1), sign = SHL(LSHR(w, top), 31);
  LVal exponent = LSHR(rest, s->mbits), mantissa = AND(rest, (1 << s->mbits) - 1);
  LVal normal = ICMP(NE, exponent, 0);
  LVal significand = SELECT(normal, OR(mantissa, 1 << s->mbits), mantissa);
  exponent = ADD(SELECT(normal, exponent, CONST(w, 1)), 127 - s->bias - s->mbits);
  LVal v = LLVMBuildSIToFP(e->b, significand, emit_like(e->f32, w), "");
  v = emit_bitcast(e, LLVMBuildFMul(e->b, v, emit_bitcast(e, SHL(exponent, 23), e->f32), ""), e->i32);
  if (s->inf >= 0)
    v = SELECT(ICMP(EQ, rest, s->inf), CONST(w, 0x7f800000), v);
  if (s->nan >= 0 && !s->fnuz)
    v = SELECT(ICMP(UGT, rest, s->inf >= 0 ? s->inf : s->max), CONST(w, 0x7fc00000), v);
  v = LLVMBuildOr(e->b, v, sign, "");
  if (s->fnuz)
    v = SELECT(ICMP(EQ, w, 0x80), CONST(w, 0x7fc00000), v);
  return emit_bitcast(e, v, e->f32);
}

LVal emit_small_load(Emitter *e, DType t, LVal bits) {
  LVal w = LLVMBuildZExt(e->b, bits, emit_like(e->i32, bits), "");
  if (t != DT_f8e8m0)
    return small_load(e, small_float(t), w);
  LVal v = SELECT(ICMP(EQ, w, 0), CONST(w, 0x00400000), SHL(w, 23)); /* 2^-127 is subnormal */
  return emit_bitcast(e, SELECT(ICMP(EQ, w, 255), CONST(w, 0x7fc00000), v), e->f32);
}

/* Magnitudes from the smallest normal number up: rebias, round by integer addition; a carry moves into the exponent by
 * itself. Below: adding a power of two whose spacing is the format's rounds and leaves the code in the low bits. */
static LVal small_code(Emitter *e, const SmallFloat *s, LVal magnitude) {
  int drop = 23 - s->mbits, unbias = 127 - s->bias;
  LVal odd = AND(LSHR(magnitude, drop), 1);
  LVal normal = SUB(LSHR(LLVMBuildAdd(e->b, ADD(magnitude, (1 << (drop - 1)) - 1), odd, ""), drop), unbias << s->mbits);
  LVal magic = CONST(magnitude, (unbias + 1 + drop) << 23);
  LVal sum = LLVMBuildFAdd(e->b, emit_bitcast(e, magnitude, e->f32), emit_bitcast(e, magic, e->f32), "");
  LVal below = LLVMBuildSub(e->b, emit_bitcast(e, sum, e->i32), magic, "");
  return SELECT(ICMP(SLT, magnitude, (unbias + 1) << 23), below, normal);
}

static LVal small_store(Emitter *e, const SmallFloat *s, LVal v, bool saturate) {
  LVal w = emit_bitcast(e, v, e->i32), magnitude = AND(w, 0x7fffffff), sign = SHL(LSHR(w, 31), s->bits - 1);
  LVal nan = ICMP(SGT, magnitude, 0x7f800000), code = small_code(e, s, magnitude);
  int over = saturate || s->nan < 0 ? s->max : s->inf >= 0 ? s->inf : s->nan;
  code = SELECT(ICMP(SGT, code, s->max), CONST(w, over), code);
  code = SELECT(nan, CONST(w, s->nan < 0 ? 0 : s->nan), code);
  if (s->nan < 0) /* without a NaN it is written as -0 */
    sign = SELECT(nan, CONST(w, 1 << (s->bits - 1)), sign);
  if (s->fnuz)
    sign = SELECT(LLVMBuildOr(e->b, ICMP(EQ, code, 0), ICMP(EQ, code, s->nan), ""), CONST(w, 0), sign);
  return LLVMBuildOr(e->b, code, sign, "");
}

static LVal e8m0_store(Emitter *e, LVal v, bool saturate, E8M0Round round) {
  LVal tiny = LLVMBuildFCmp(e->b, LLVMRealOLT, v, emit_real(LLVMTypeOf(v), 0x1p-126), "");
  LVal scaled = LLVMBuildFMul(e->b, v, emit_real(LLVMTypeOf(v), 0x1p64), "");
  LVal w = emit_bitcast(e, v, e->i32), n = emit_bitcast(e, SELECT(tiny, scaled, v), e->i32);
  LVal code = LSHR(n, 23);
  code = SELECT(tiny, SUB(code, 64), code);
  LVal up = CONST(w, 0), mantissa = AND(n, 0x7fffff);
  if (round != E8M0_DOWN)
    up = LLVMBuildZExt(e->b, ICMP(UGE, mantissa, round == E8M0_UP ? 1 : 0x400000), LLVMTypeOf(w), "");
  code = LLVMBuildAdd(e->b, code, up, "");
  code = SELECT(ICMP(SLT, code, 0), CONST(w, saturate ? 0 : 255), code);
  code = SELECT(ICMP(SGT, code, 254), CONST(w, saturate ? 254 : 255), code);
  LVal zero = ICMP(EQ, AND(w, 0x7fffffff), 0), inf = ICMP(EQ, w, 0x7f800000);
  code = SELECT(zero, CONST(w, saturate ? 0 : 255), code);
  code = SELECT(inf, CONST(w, saturate ? 254 : 255), code);
  LVal number = LLVMBuildFCmp(e->b, LLVMRealOGE, v, emit_real(LLVMTypeOf(v), 0), "");
  return SELECT(number, code, CONST(w, 255));
}

LVal emit_small_store(Emitter *e, DType t, LVal v, bool saturate, E8M0Round round) {
  LVal code = t == DT_f8e8m0 ? e8m0_store(e, v, saturate, round) : small_store(e, small_float(t), v, saturate);
  return LLVMBuildTrunc(e->b, code, emit_like(e->i8, v), "");
}
