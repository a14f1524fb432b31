/* trig.c - sine, cosine, tangent and the inverse functions as LLVM IR. Huge arguments are reduced by the digits of 2/pi (Payne
 * and Hanek), others by Cody and Waite's parts of pi/2.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/mathdefs.h"

#include <math.h>

/* --- sine, cosine, tangent of f32, in f64 --- */

typedef struct Reduced {
  LVal r, n; /* x = n pi/2 + r, |r| <= pi/4; n modulo 4, i64 */
} Reduced;

static Reduced reduce_small(Emitter *e, LVal x) {
  Reduced v;
  LVal t = math_round_magic(e, MUL(x, K(x, 0x1.45f306dc9c883p-1)), &v.n);
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
  return emit_fma(e, MUL(r, z), math_poly(e, z, c, countof(c)), r);
}

static LVal cos_poly(Emitter *e, LVal r) {
  static const double c[] = {1, -0.5, 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600};
  return math_poly(e, MUL(r, r), c, countof(c));
}

static LVal sine_f32(Emitter *e, KOp op, LVal x) {
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

/* --- the same of f64: the reduced argument in two parts --- */

typedef struct Reduced64 {
  LVal h, l, n; /* x = n pi/2 + (h + l) */
} Reduced64;

/* a + b exactly, |a| >= |b| or a = 0. */
static LVal two_sum(Emitter *e, LVal a, LVal b, LVal *rest) {
  LVal s = ADD(a, b);
  *rest = SUB(b, SUB(s, a));
  return s;
}

/* n has at most 12 bits: its products with the two leading parts of pi/2 are exact, and so is the first difference. */
static Reduced64 reduce64_small(Emitter *e, LVal x) {
  Reduced64 v;
  LVal t = math_round_magic(e, MUL(x, K(x, 0x1.45f306dc9c883p-1)), &v.n);
  LVal a = SUB(x, MUL(t, K(x, 0x1.921fb544p0))), w = MUL(t, K(x, 0x1.0b4611a6p-34)), s = SUB(a, w);
  LVal rest = SUB(SUB(SUB(a, s), w), MUL(t, K(x, 0x1.3198a2e037073p-69)));
  v.h = two_sum(e, s, rest, &v.l);
  return v;
}

/* Bits of 2/pi, behind 64 zeros; words of 32 bits. */
static const uint32_t two_over_pi[] = {
    0,          0,          0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041,
    0xfe5163ab, 0xdebbc561, 0xb7246e3a, 0x424dd2e0, 0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e,
    0xe88235f5, 0x2ebb4484, 0xe99c7026, 0xb45f7e41, 0x3991d639, 0x835339f4, 0x9c845f8b, 0xbdf9283b,
    0x1ff897ff, 0xde05980f, 0xef2f118b, 0x5a0a6d1f, 0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d,
    0x7527bac7, 0xebe5f17b, 0x3d0739f7, 0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08, 0x56033046, 0xfc7b6bab};
enum { DIGITS = 6 }; /* of 32 bits, that matter of a product with 53 bits */

static LVal digit_table(Emitter *e) {
  LVal word[countof(two_over_pi)], table = LLVMGetNamedGlobal(e->mod, "two_over_pi");
  if (table)
    return table;
  for (size_t i = 0; i < countof(two_over_pi); i++)
    word[i] = LLVMConstInt(e->i32, two_over_pi[i], 0);
  table = LLVMAddGlobal(e->mod, LLVMArrayType2(e->i32, countof(two_over_pi)), "two_over_pi");
  LLVMSetInitializer(table, LLVMConstArray2(e->i32, word, countof(two_over_pi)));
  LLVMSetLinkage(table, LLVMPrivateLinkage);
  LLVMSetGlobalConstant(table, 1);
  return table;
}

static LVal table_word(Emitter *e, LVal at) {
  LVal p = LLVMBuildGEP2(B, e->i32, digit_table(e), &at, 1, ""), w;
  LType vec = emit_like(e->i32, at);
  if (emit_lanes(at) == 1)
    w = LLVMBuildLoad2(B, e->i32, p, "");
  else
    w = emit_gather(e, vec, p, emit_int(emit_like(e->i1, at), 1), LLVMConstNull(vec), 4);
  return LLVMBuildZExt(B, w, LLVMTypeOf(at), "");
}

/* digit[0] … digit[5], least first: the bits of 2/pi from weight 2^(1 + 1075 - exponent) down. */
static void digits_at(Emitter *e, LVal exponent, LVal *digit) {
  LVal at = IADD(exponent, KI(exponent, 64 - 1076 - 1)), index, shift, word[DIGITS + 1];
  at = SELECT(ICMP(SLT, at, KI(at, 0)), KI(at, 0), at); /* lanes whose result is not used */
  at = SELECT(ICMP(SGT, at, KI(at, 1040)), KI(at, 1040), at);
  index = LSHR(at, 5), shift = AND(at, KI(at, 31));
  for (int i = 0; i <= DIGITS; i++)
    word[i] = table_word(e, IADD(index, KI(index, i)));
  for (int i = 0; i < DIGITS; i++) {
    LVal pair = OR(SHL(word[i], 32), word[i + 1]);
    digit[DIGITS - 1 - i] = AND(LSHR(LLVMBuildShl(B, pair, shift, ""), 32), KI(at, 0xffffffff));
  }
}

/* m times the digits modulo 2^192, of which the first 128 bits are wanted. */
static void multiply_digits(Emitter *e, LVal m, const LVal *digit, LVal *high, LVal *low) {
  LVal ones = KI(m, 0xffffffff), zero = KI(m, 0), ml = AND(m, ones), mh = LSHR(m, 32);
  LVal carry = zero, up_l = zero, up_h = zero, out[DIGITS];
  for (int c = 0; c < DIGITS; c++) {
    LVal l = IMUL(ml, digit[c]), h = c ? IMUL(mh, digit[c - 1]) : zero;
    LVal sum = IADD(IADD(IADD(carry, AND(l, ones)), IADD(AND(h, ones), up_l)), up_h);
    out[c] = AND(sum, ones), carry = LSHR(sum, 32);
    up_l = LSHR(l, 32), up_h = LSHR(h, 32);
  }
  *high = OR(SHL(out[5], 32), out[4]), *low = OR(SHL(out[3], 32), out[2]);
}

static LVal times_pi_half(Emitter *e, LVal h, LVal l, LVal *rest) {
  LVal pl, p = math_two_product(e, h, K(h, 0x1.921fb54442d18p0), &pl);
  pl = ADD(pl, ADD(MUL(h, K(h, 0x1.1a62633145c07p-54)), MUL(l, K(h, 0x1.921fb54442d18p0))));
  return two_sum(e, p, pl, rest);
}

/* x = m 2^s with a 53-bit m; only a window of 2/pi matters for m 2^s 2/pi modulo 4 (Payne and Hanek). */
static Reduced64 reduce64_huge(Emitter *e, LVal x) {
  Reduced64 v;
  LVal digit[DIGITS], high, low, w = AND(emit_bitcast(e, x, e->i64), emit_int(emit_like(e->i64, x), INT64_MAX));
  digits_at(e, LSHR(w, 52), digit);
  LVal m = OR(AND(w, KI(w, ((int64_t)1 << 52) - 1)), KI(w, (int64_t)1 << 52));
  multiply_digits(e, m, digit, &high, &low); /* high: in units of 2^-62 */
  LVal n = LSHR(IADD(high, KI(high, (int64_t)1 << 61)), 62), f = ISUB(high, SHL(n, 62));
  LVal a = MUL(LLVMBuildSIToFP(B, ASHR(f, 32), LLVMTypeOf(x), ""), K(x, 0x1p32));
  LVal b = LLVMBuildSIToFP(B, AND(f, KI(f, 0xffffffff)), LLVMTypeOf(x), "");
  LVal c = MUL(LLVMBuildSIToFP(B, LSHR(low, 11), LLVMTypeOf(x), ""), K(x, 0x1p-53)), rest, l;
  LVal s = two_sum(e, a, b, &rest), h = two_sum(e, s, ADD(rest, c), &l), scale = K(x, 0x1p-62);
  h = times_pi_half(e, MUL(h, scale), MUL(l, scale), &l);
  LVal negative = CMP(OLT, x, K(x, 0));
  v.h = SELECT(negative, NEG(h), h), v.l = SELECT(negative, NEG(l), l);
  v.n = SELECT(negative, LLVMBuildNeg(B, n, ""), n);
  return v;
}

static Reduced64 reduce64(Emitter *e, LVal x) {
  LVal a = absolute(e, x), huge = AND(CMP(OGE, a, K(x, 0x1p11)), CMP(OLT, a, K(x, INFINITY)));
  Reduced64 small = reduce64_small(e, x), large;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), rare = emit_block(e, "huge"), on = emit_block(e, "");
  LLVMBuildCondBr(B, emit_any(e, huge), rare, on);
  LLVMPositionBuilderAtEnd(B, rare);
  large = reduce64_huge(e, x);
  large.h = SELECT(huge, large.h, small.h), large.l = SELECT(huge, large.l, small.l);
  large.n = SELECT(huge, large.n, small.n);
  rare = LLVMGetInsertBlock(B);
  LLVMBuildBr(B, on);
  LLVMPositionBuilderAtEnd(B, on);
  LLVMBasicBlockRef from[] = {before, rare};
  Reduced64 v = {LLVMBuildPhi(B, LLVMTypeOf(x), ""), LLVMBuildPhi(B, LLVMTypeOf(x), ""),
                 LLVMBuildPhi(B, LLVMTypeOf(small.n), "")};
  LLVMAddIncoming(v.h, (LVal[]){small.h, large.h}, from, 2);
  LLVMAddIncoming(v.l, (LVal[]){small.l, large.l}, from, 2);
  LLVMAddIncoming(v.n, (LVal[]){small.n, large.n}, from, 2);
  return v;
}

/* sin(h + l) = h + (h z S(z) + l (1 - z/2)), z = h^2. */
static LVal sin64(Emitter *e, LVal h, LVal l) {
  static const double c[] = {-1.0 / 6,
                             1.0 / 120,
                             -1.0 / 5040,
                             1.0 / 362880,
                             -1.0 / 39916800,
                             1.0 / 6227020800,
                             -1.0 / 1307674368000,
                             1.0 / 355687428096000,
                             -1.0 / 121645100408832000};
  LVal z = MUL(h, h), rest = MUL(l, SUB(K(h, 1), MUL(z, K(h, 0.5))));
  rest = emit_fma(e, MUL(h, z), math_poly(e, z, c, countof(c)), rest);
  return SELECT(CMP(OEQ, h, K(h, 0)), h, ADD(h, rest)); /* -0 stays */
}

/* cos(h + l) = w + (((1 - w) - z/2) + (z^2 C(z) - h l)), w = 1 - z/2 rounded. */
static LVal cos64(Emitter *e, LVal h, LVal l) {
  static const double c[] = {1.0 / 24,        -1.0 / 720,         1.0 / 40320,          -1.0 / 3628800,
                             1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000, -1.0 / 6402373705728000};
  LVal z = MUL(h, h), half = MUL(z, K(h, 0.5)), one = K(h, 1), w = SUB(one, half);
  LVal rest = ADD(SUB(SUB(one, w), half), SUB(MUL(MUL(z, z), math_poly(e, z, c, countof(c))), MUL(h, l)));
  return ADD(w, rest);
}

static LVal sine_f64(Emitter *e, KOp op, LVal x) {
  Reduced64 v = reduce64(e, x);
  LVal s = sin64(e, v.h, v.l), c = cos64(e, v.h, v.l), odd = ICMP(NE, AND(v.n, KI(v.n, 1)), KI(v.n, 0));
  if (op == KOP_tan)
    return SELECT(odd, NEG(DIV(c, s)), DIV(s, c));
  if (op == KOP_cos)
    v.n = IADD(v.n, KI(v.n, 1));
  LVal r = op == KOP_cos ? SELECT(odd, s, c) : SELECT(odd, c, s);
  return SELECT(ICMP(NE, AND(v.n, KI(v.n, 2)), KI(v.n, 0)), NEG(r), r);
}

LVal math_sine(Emitter *e, KOp op, LVal x) { return is_f64(e, x) ? sine_f64(e, op, x) : sine_f32(e, op, x); }

/* --- inverses, in f64 --- */

/* num / den + offset with a small quotient: t, (t - 1) / (t + 1) + pi/4, -1 / t + pi/2. */
static LVal atan_f64(Emitter *e, LVal x) {
  static const double c[] = {-0.33333333333333326,  0.19999999999997642, -0.14285714285384882,  0.11111111088007157,
                             -0.09090908139122737,  0.07692282651294206, -0.06666225366259267,  0.05877009875583871,
                             -0.052183374805256796, 0.04503313553021716, -0.033469731778060854, 0.01519106555704251};
  LVal t = absolute(e, x), one = K(x, 1), zero = K(x, 0);
  LVal middle = CMP(OGT, t, K(x, 0.41421356237309503)), far = CMP(OGT, t, K(x, 2.414213562373095));
  LVal num = SELECT(far, K(x, -1), SELECT(middle, SUB(t, one), t));
  LVal den = SELECT(far, t, SELECT(middle, ADD(t, one), one));
  LVal offset = SELECT(far, K(x, 0x1.921fb54442d18p0), SELECT(middle, K(x, 0x1.921fb54442d18p-1), zero));
  LVal low = SELECT(far, K(x, 0x1.1a62633145c07p-54), SELECT(middle, K(x, 0x1.1a62633145c07p-55), zero));
  LVal r = DIV(num, den), z = MUL(r, r);
  LVal rest = ADD(MUL(MUL(r, z), math_poly(e, z, c, countof(c))), low);
  return copysign_of(e, ADD(offset, ADD(r, rest)), x);
}

/* log1p(t + t^2 / (1 + sqrt(1 + t^2))); where t^2 has no room for the 1, log 2t. */
static LVal asinh_f64(Emitter *e, LVal x) {
  LVal t = absolute(e, x), one = K(x, 1), z = MUL(t, t), large = CMP(OGT, t, K(x, 0x1p28));
  LVal u = ADD(t, DIV(z, ADD(one, root(e, ADD(one, z)))));
  LVal r = math_log1p_f64(e, SELECT(large, one, u));
  return copysign_of(e, SELECT(large, ADD(math_log_f64(e, t), K(x, M_LN2)), r), x);
}

static LVal acosh_f64(Emitter *e, LVal x) {
  LVal t = SUB(x, K(x, 1)), large = CMP(OGT, x, K(x, 0x1p28));
  LVal u = ADD(t, root(e, ADD(ADD(t, t), MUL(t, t))));
  LVal r = math_log1p_f64(e, SELECT(large, K(x, 1), u));
  r = SELECT(large, ADD(math_log_f64(e, x), K(x, M_LN2)), r);
  return SELECT(CMP(OLT, x, K(x, 1)), K(x, NAN), r);
}

static LVal atanh_f64(Emitter *e, LVal x) {
  LVal t = absolute(e, x), r = math_log1p_f64(e, DIV(ADD(t, t), SUB(K(x, 1), t)));
  return copysign_of(e, MUL(r, K(x, 0.5)), x);
}

LVal math_inverse(Emitter *e, KOp op, LVal x) {
  LVal one = K(x, 1), below = SUB(one, x), above = ADD(one, x), r;
  switch (op) {
  case KOP_asin: return atan_f64(e, DIV(x, root(e, MUL(below, above))));
  case KOP_acos: r = atan_f64(e, root(e, DIV(below, above))); return ADD(r, r);
  case KOP_atan: return atan_f64(e, x);
  case KOP_asinh: return asinh_f64(e, x);
  case KOP_acosh: return acosh_f64(e, x);
  default: return atanh_f64(e, x);
  }
}
