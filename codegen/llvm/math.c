/* math.c - element-wise mathematics as LLVM IR, without calls: accuracy in math.def.
 *
 * What models use most (exp, tanh, sigmoid, erf) is worked out in f32. The rest widens to f64, where plain series are
 * accurate enough without care for every last bit: log by atanh, sine and cosine by Taylor after Cody-Waite reduction (for huge
 * arguments by the digits of 2/pi, Payne and Hanek), pow as exp(y log x), fmod by exact steps of 28 quotient bits.
 *
 * The f32 polynomials are least-maximum fits over the reduced range, weighted for relative error.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

#include <math.h>

/* Short names for the builder, for this file only: e is the emitter, operands are of one type. */
#define B               (e->b)
#define ADD(a, b)       LLVMBuildFAdd(B, a, b, "")
#define SUB(a, b)       LLVMBuildFSub(B, a, b, "")
#define MUL(a, b)       LLVMBuildFMul(B, a, b, "")
#define DIV(a, b)       LLVMBuildFDiv(B, a, b, "")
#define K(like, v)      emit_real(LLVMTypeOf(like), v)
#define KI(like, v)     emit_int(LLVMTypeOf(like), v)
#define CMP(op, a, b)   LLVMBuildFCmp(B, LLVMReal##op, a, b, "")
#define ICMP(op, a, b)  LLVMBuildICmp(B, LLVMInt##op, a, b, "")
#define SELECT(c, a, b) LLVMBuildSelect(B, c, a, b, "")
#define AND(a, b)       LLVMBuildAnd(B, a, b, "")
#define OR(a, b)        LLVMBuildOr(B, a, b, "")
#define SHL(a, n)       LLVMBuildShl(B, a, KI(a, n), "")
#define LSHR(a, n)      LLVMBuildLShr(B, a, KI(a, n), "")
#define ASHR(a, n)      LLVMBuildAShr(B, a, KI(a, n), "")
#define IADD(a, b)      LLVMBuildAdd(B, a, b, "")
#define ISUB(a, b)      LLVMBuildSub(B, a, b, "")
#define IMUL(a, b)      LLVMBuildMul(B, a, b, "")

static LVal absolute(Emitter *e, LVal x) { return emit_call(e, "llvm.fabs", LLVMTypeOf(x), &x, 1); }
static LVal copysign_of(Emitter *e, LVal x, LVal sign) {
  return emit_call(e, "llvm.copysign", LLVMTypeOf(x), (LVal[]){x, sign}, 2);
}
static bool is_f64(Emitter *e, LVal x) { return LLVMTypeOf(x) == emit_like(e->f64, x); }
static LVal widen(Emitter *e, LVal x) { return is_f64(e, x) ? x : LLVMBuildFPExt(B, x, emit_like(e->f64, x), ""); }
static LVal narrow(Emitter *e, LVal x, LVal like) {
  return is_f64(e, like) ? x : LLVMBuildFPTrunc(B, x, LLVMTypeOf(like), "");
}

/* c[0] + c[1] x + … by Horner. */
static LVal poly(Emitter *e, LVal x, const double *c, int n) {
  LVal r = K(x, c[n - 1]);
  for (int i = n - 2; i >= 0; i--)
    r = emit_fma(e, r, x, K(x, c[i]));
  return r;
}

/* --- rounding --- */

/* |x| + 2^23 (2^52) has no fraction left; numbers beyond that have none anyway. */
static LVal round_even(Emitter *e, LVal x) {
  LVal big = K(x, is_f64(e, x) ? 0x1p52 : 0x1p23), a = absolute(e, x);
  LVal r = SUB(ADD(a, big), big);
  return SELECT(CMP(OLT, a, big), copysign_of(e, r, x), x);
}

static LVal rounding(Emitter *e, KOp op, LVal x) {
  static const char *const name[KOP_count] = {
      [KOP_floor] = "llvm.floor", [KOP_ceil] = "llvm.ceil", [KOP_round] = "llvm.roundeven", [KOP_trunc] = "llvm.trunc"};
  if (e->sse41)
    return emit_call(e, name[op], LLVMTypeOf(x), &x, 1);
  LVal one = K(x, 1), zero = K(x, 0), a = op == KOP_trunc ? absolute(e, x) : x, r = round_even(e, a);
  if (op == KOP_round)
    return r;
  if (op == KOP_ceil)
    r = ADD(r, SELECT(CMP(OLT, r, a), one, zero));
  else
    r = SUB(r, SELECT(CMP(OGT, r, a), one, zero));
  return copysign_of(e, r, x);
}

/* --- exp --- */

/* Adding 1.5 * 2^23 (2^52) rounds to an integer and leaves it in the low bits. */
static LVal round_magic(Emitter *e, LVal x, LVal *integer) {
  LVal magic = K(x, is_f64(e, x) ? 0x1.8p52 : 0x1.8p23);
  LVal t = ADD(x, magic);
  LType it = is_f64(e, x) ? e->i64 : e->i32;
  *integer = ISUB(emit_bitcast(e, t, it), emit_bitcast(e, magic, it));
  return SUB(t, magic);
}

/* p * 2^n in two steps, so that overflow and subnormal results come out by themselves. */
static LVal scale(Emitter *e, LVal p, LVal n) {
  bool wide = is_f64(e, p);
  LVal half = ASHR(n, 1), rest = ISUB(n, half), bias = KI(n, wide ? 1023 : 127);
  LType ft = wide ? e->f64 : e->f32;
  LVal s = emit_bitcast(e, SHL(IADD(half, bias), wide ? 52 : 23), ft),
       t = emit_bitcast(e, SHL(IADD(rest, bias), wide ? 52 : 23), ft);
  return MUL(MUL(p, s), t);
}

/* e^x = 2^n e^r with |r| <= ln 2 / 2; ln 2 in two parts, the first short enough that n times it is exact. */
static LVal exp_f32(Emitter *e, LVal x) {
  static const double c[] = {0.5, 0.166665182, 0.041666206, 0.00836892892, 0.00139505591};
  LVal n, t;
  x = emit_min_fast(e, K(x, 89), x);
  x = emit_max_fast(e, K(x, -104), x);
  t = round_magic(e, MUL(x, K(x, 1.44269504088896341)), &n);
  LVal r = emit_fma(e, t, K(x, -0.693359375), x);
  r = emit_fma(e, t, K(x, 2.12194440054690583e-4), r);
  LVal p = emit_fma(e, MUL(r, r), poly(e, r, c, countof(c)), r);
  return scale(e, ADD(p, K(x, 1)), n);
}

static LVal exp_f64(Emitter *e, LVal x) {
  double c[12], f = 1;
  for (int i = 0; i < 12; i++) /* 1 / (i + 2)! */
    c[i] = 1 / (f *= i + 2);
  LVal n, t;
  x = emit_min_fast(e, K(x, 710), x);
  x = emit_max_fast(e, K(x, -746), x);
  t = round_magic(e, MUL(x, K(x, 1.44269504088896340736)), &n);
  LVal r = emit_fma(e, t, K(x, -0x1.62e42feep-1), x);
  r = emit_fma(e, t, K(x, -0x1.a39ef35793c76p-33), r);
  LVal p = emit_fma(e, MUL(r, r), poly(e, r, c, countof(c)), r);
  return scale(e, ADD(p, K(x, 1)), n);
}

static LVal exp_any(Emitter *e, LVal x) { return is_f64(e, x) ? exp_f64(e, x) : exp_f32(e, x); }

/* 1 / (1 + e^-|x|), and e^-|x| times that for x < 0: nothing overflows, small results keep their digits. */
static LVal sigmoid(Emitter *e, LVal x) {
  LVal t = exp_any(e, LLVMBuildFNeg(B, absolute(e, x), "")), one = K(x, 1);
  return DIV(SELECT(CMP(OLT, x, K(x, 0)), t, one), ADD(one, t));
}

/* Near 0 a polynomial in x^2, else 1 - 2 / (e^2|x| + 1). */
static LVal tanh_f32(Emitter *e, LVal x) {
  static const double c[] = {-0.333332837, 0.133314908, -0.0537434965, 0.0206505861, -0.0057170447};
  LVal a = absolute(e, x), z = MUL(x, x), one = K(x, 1);
  LVal small = emit_fma(e, MUL(x, z), poly(e, z, c, countof(c)), x);
  LVal t = exp_f32(e, ADD(a, a));
  LVal big = SUB(one, DIV(K(x, 2), ADD(t, one)));
  return SELECT(CMP(OLT, a, K(x, 0.625)), small, copysign_of(e, big, x));
}

/* Up to 1 a polynomial in x^2, beyond it 1 - exp(log erfc x), where log erfc is close to a parabola. */
static LVal erf_f32(Emitter *e, LVal x) {
  static const double near[] = {0.128379166,   -0.37612626,     0.112836003,   -0.0268544443,
                                0.00518953567, -0.000802084222, 7.88912294e-05};
  static const double far[] = {-0.000341522275, -1.12708914,  -0.638144851,  -0.103106759,
                               0.0218380671,    -0.002947659, 0.000186379257};
  LVal a = absolute(e, x), z = MUL(x, x), small = emit_fma(e, x, poly(e, z, near, countof(near)), x);
  LVal t = emit_min_fast(e, K(x, 4.05), a); /* NaN stays */
  LVal big = SUB(K(x, 1), exp_f32(e, poly(e, t, far, countof(far))));
  return SELECT(CMP(OLT, a, K(x, 1)), small, copysign_of(e, big, x));
}

/* --- log, in f64 --- */

/* x = 2^k m with m in [sqrt 1/2, sqrt 2); log m = 2 atanh(s), s = f / (2 + f), f = m - 1, written so that f, which is exact,
 * carries the leading digits: f - (f^2/2 - s (f^2/2 + R)). */
static LVal log_finite(Emitter *e, LVal x) {
  double c[11];
  for (int i = 0; i < 11; i++)
    c[i] = 2.0 / (2 * i + 3);
  LVal tiny = CMP(OLT, x, K(x, 0x1p-1022));
  x = SELECT(tiny, MUL(x, K(x, 0x1p54)), x);
  LVal w = emit_bitcast(e, x, e->i64), off = KI(w, 0x3fe6a09e667f3bcd);
  LVal k = ASHR(ISUB(w, off), 52);
  LVal f = SUB(emit_bitcast(e, ISUB(w, SHL(k, 52)), e->f64), K(x, 1));
  k = ISUB(k, SELECT(tiny, KI(k, 54), KI(k, 0)));
  LVal magic = K(x, 0x1.8p52); /* k as a float without a conversion instruction */
  LVal kf = SUB(emit_bitcast(e, IADD(k, emit_bitcast(e, magic, e->i64)), e->f64), magic);
  LVal s = DIV(f, ADD(f, K(x, 2))), z = MUL(s, s), h = MUL(MUL(f, f), K(x, 0.5));
  LVal r = MUL(z, poly(e, z, c, countof(c)));
  LVal low = emit_fma(e, kf, K(x, 0x1.a39ef35793c76p-33), MUL(s, ADD(h, r)));
  return emit_fma(e, kf, K(x, 0x1.62e42feep-1), SUB(f, SUB(h, low)));
}

static LVal log_f64(Emitter *e, LVal x) {
  LVal inf = K(x, INFINITY), zero = K(x, 0), r = log_finite(e, x);
  r = SELECT(CMP(OLT, x, inf), r, x); /* infinity and NaN stay */
  r = SELECT(CMP(OLT, x, zero), K(x, NAN), r);
  return SELECT(CMP(OEQ, x, zero), K(x, -INFINITY), r);
}

/* log u + (x - (u - 1)) / u with u = 1 + x rounded. */
static LVal log1p_f64(Emitter *e, LVal x) {
  LVal one = K(x, 1), u = ADD(x, one), lost = SUB(x, SUB(u, one));
  LVal r = ADD(log_f64(e, u), DIV(lost, u));
  r = SELECT(CMP(OGT, absolute(e, x), K(x, 0x1p-54)), r, x);
  LVal plain = OR(CMP(OEQ, x, K(x, INFINITY)), CMP(OEQ, x, K(x, -1)));
  return SELECT(plain, log_f64(e, u), r);
}

/* --- sine, cosine, tangent of f32, in f64 --- */

typedef struct Reduced {
  LVal r, n; /* x = n pi/2 + r, |r| <= pi/4; n modulo 4, i64 */
} Reduced;

static Reduced reduce_small(Emitter *e, LVal x) {
  Reduced v;
  LVal t = round_magic(e, MUL(x, K(x, 0x1.45f306dc9c883p-1)), &v.n);
  v.r = emit_fma(e, t, K(x, -0x1.921fb544p0), x);
  v.r = emit_fma(e, t, K(x, -0x1.0b4611a6p-34), v.r);
  v.r = emit_fma(e, t, K(x, -0x1.3198a2e037073p-69), v.r);
  return v;
}

/* |x| = m 2^s with a 24-bit m. Of 2/pi only the 96 bits from weight 2^(1-s) on matter for the product modulo 4: it comes out
 * as a 64-bit fraction of 4. */
static Reduced reduce_huge(Emitter *e, LVal x32, LVal x) {
  static const uint32_t digits[8] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                     0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
  LType wide = emit_like(e->i64, x);
  LVal w = LLVMBuildZExt(B, AND(emit_bitcast(e, x32, e->i32), emit_int(emit_like(e->i32, x32), 0x7fffffff)), wide, "");
  LVal m = OR(AND(w, KI(w, 0x7fffff)), KI(w, 0x800000));
  LVal at = ISUB(LSHR(w, 23), KI(w, 150 - 32 + 2)); /* of the first bit, counted from digits[0] */
  at = AND(at, KI(w, 255));
  LVal index = LSHR(at, 5), shift = AND(at, KI(w, 31)), word[4], part[3];
  for (int i = 0; i < 4; i++) {
    word[i] = KI(w, digits[i]);
    for (int k = 1; k + i < 8 && k < 5; k++)
      word[i] = SELECT(ICMP(EQ, index, KI(w, k)), KI(w, digits[k + i]), word[i]);
  }
  for (int i = 0; i < 3; i++) {
    LVal pair = OR(SHL(word[i], 32), word[i + 1]);
    part[i] = AND(LSHR(LLVMBuildShl(B, pair, shift, ""), 32), KI(w, 0xffffffff));
  }
  LVal p = IADD(IADD(SHL(IMUL(m, part[0]), 32), IMUL(m, part[1])), LSHR(IMUL(m, part[2]), 32));
  LVal n = LSHR(IADD(p, KI(p, (int64_t)1 << 61)), 62);
  LVal r = MUL(LLVMBuildSIToFP(B, ISUB(p, SHL(n, 62)), LLVMTypeOf(x), ""), K(x, 0x1.921fb54442d18p0 * 0x1p-62));
  LVal negative = CMP(OLT, x, K(x, 0));
  return (Reduced){SELECT(negative, LLVMBuildFNeg(B, r, ""), r), SELECT(negative, LLVMBuildNeg(B, n, ""), n)};
}

static Reduced reduce(Emitter *e, LVal x32) {
  LVal x = widen(e, x32), a = absolute(e, x);
  LVal huge = AND(CMP(OGE, a, K(x, 0x1p20)), CMP(OLT, a, K(x, INFINITY)));
  Reduced small = reduce_small(e, x), large;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), rare = emit_block(e, "huge"), on = emit_block(e, "");
  LLVMBuildCondBr(B, emit_any(e, huge), rare, on);
  LLVMPositionBuilderAtEnd(B, rare);
  large = reduce_huge(e, x32, x);
  large.r = SELECT(huge, large.r, small.r), large.n = SELECT(huge, large.n, small.n);
  LLVMBuildBr(B, on);
  LLVMPositionBuilderAtEnd(B, on);
  LLVMBasicBlockRef from[] = {before, rare};
  Reduced v = {LLVMBuildPhi(B, LLVMTypeOf(x), ""), LLVMBuildPhi(B, LLVMTypeOf(small.n), "")};
  LLVMAddIncoming(v.r, (LVal[]){small.r, large.r}, from, 2);
  LLVMAddIncoming(v.n, (LVal[]){small.n, large.n}, from, 2);
  return v;
}

static LVal sin_poly(Emitter *e, LVal r) {
  static const double c[] = {-1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800};
  LVal z = MUL(r, r);
  return emit_fma(e, MUL(r, z), poly(e, z, c, countof(c)), r);
}

static LVal cos_poly(Emitter *e, LVal r) {
  static const double c[] = {1, -0.5, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600};
  return poly(e, MUL(r, r), c, countof(c));
}

static LVal sine(Emitter *e, KOp op, LVal x) {
  Reduced v = reduce(e, x);
  LVal s = sin_poly(e, v.r), c = cos_poly(e, v.r), odd = ICMP(NE, AND(v.n, KI(v.n, 1)), KI(v.n, 0));
  if (op == KOP_tan)
    return narrow(e, SELECT(odd, LLVMBuildFNeg(B, DIV(c, s), ""), DIV(s, c)), x);
  if (op == KOP_cos)
    v.n = IADD(v.n, KI(v.n, 1));
  LVal r = op == KOP_cos ? SELECT(odd, s, c) : SELECT(odd, c, s);
  LVal minus = ICMP(NE, AND(v.n, KI(v.n, 2)), KI(v.n, 0));
  return narrow(e, SELECT(minus, LLVMBuildFNeg(B, r, ""), r), x);
}

/* --- two operands, f32 --- */

/* C's pow: 1 for y = 0 and for x = 1 whatever the other is; NaN for negative finite x and y no integer. */
LVal emit_pow(Emitter *e, LVal x32, LVal y32) {
  LVal x = widen(e, x32), y = widen(e, y32), a = absolute(e, x), one = K(x, 1), zero = K(x, 0);
  LVal r = exp_f64(e, MUL(y, log_f64(e, a)));
  LVal half = MUL(y, K(y, 0.5));
  LVal whole = CMP(OEQ, rounding(e, KOP_trunc, y), y);
  LVal odd = AND(whole, CMP(UNE, rounding(e, KOP_trunc, half), half));
  LVal sign = emit_bitcast(e, AND(emit_bitcast(e, x, e->i64), emit_int(emit_like(e->i64, x), INT64_MIN)), e->f64);
  r = SELECT(odd, copysign_of(e, r, sign), r);
  LVal undefined = AND(AND(CMP(OLT, x, zero), CMP(OLT, a, K(x, INFINITY))), CMP(UNE, rounding(e, KOP_trunc, y), y));
  r = SELECT(undefined, K(x, NAN), r);
  LVal unit = AND(CMP(OEQ, a, one), CMP(OEQ, absolute(e, y), K(y, INFINITY)));
  r = SELECT(OR(OR(unit, CMP(OEQ, y, zero)), CMP(OEQ, x, one)), one, r);
  return narrow(e, r, x32);
}

/* The remainder of |x| by |y|, exactly: r - q y with q of at most 28 bits has no rounding error in f64. Quotients beyond
 * that keep their leading bits, and the loop goes on. */
LVal emit_fmod(Emitter *e, LVal x32, LVal y32) {
  LVal x = widen(e, x32), b = absolute(e, widen(e, y32)), a = absolute(e, x), zero = K(x, 0);
  LVal valid = AND(CMP(OLT, a, K(x, INFINITY)), CMP(OGT, b, zero));
  LVal start = SELECT(valid, a, zero);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), head = emit_block(e, "fmod"), body = emit_block(e, ""),
                    done = emit_block(e, "");
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, head);
  LVal r = LLVMBuildPhi(B, LLVMTypeOf(x), "");
  LLVMAddIncoming(r, &start, &before, 1);
  LLVMBuildCondBr(B, emit_any(e, AND(valid, CMP(OGE, r, b))), body, done);
  LLVMPositionBuilderAtEnd(B, body);
  LVal q = MUL(DIV(r, b), K(x, 1 - 0x1p-52)), few = CMP(OLT, q, K(x, 0x1p28)); /* never above the true quotient */
  LVal w = emit_bitcast(e, q, e->i64);
  LVal lead = emit_bitcast(e, AND(w, KI(w, -(1 << 25))), e->f64);
  q = SELECT(few, rounding(e, KOP_trunc, q), lead);
  LVal next = SUB(r, MUL(q, b));
  next = SELECT(AND(few, CMP(OGE, next, b)), SUB(next, b), next);
  next = SELECT(AND(valid, CMP(OGE, r, b)), next, r);
  LLVMBasicBlockRef last = LLVMGetInsertBlock(B);
  LLVMAddIncoming(r, &next, &last, 1);
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, done);
  return narrow(e, SELECT(valid, copysign_of(e, r, x), K(x, NAN)), x32);
}

/* --- dispatch --- */

static const struct {
  float f32, f64;
} table[KOP_count] = {
#define MATH(op, f32, f64, libm) [KOP_##op] = {f32 + 1, f64 + 1},
#include "codegen/llvm/math.def"
#undef MATH
};

bool math_has(KOp op, DType t) { return (t == DT_f64 ? table[op].f64 : table[op].f32) > 0; }

LVal emit_math(Emitter *e, KOp op, LVal x) {
  switch (op) {
  case KOP_exp: return exp_any(e, x);
  case KOP_log: return narrow(e, log_f64(e, widen(e, x)), x);
  case KOP_log1p: return narrow(e, log1p_f64(e, widen(e, x)), x);
  case KOP_erf: return erf_f32(e, x);
  case KOP_tanh: return tanh_f32(e, x);
  case KOP_sigmoid: return sigmoid(e, x);
  case KOP_sin:
  case KOP_cos:
  case KOP_tan: return sine(e, op, x);
  default: return rounding(e, op, x);
  }
}
