/* power.c - pow and fmod as LLVM IR: of f32 in f64, of f64 with pairs of numbers, of integers by squaring.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/mathdefs.h"

#include <math.h>

/* --- pow --- */

/* C's pow, r being |x|^y: 1 for y = 0 and for x = 1 whatever the other is; NaN for negative finite x and y no integer. */
static LVal pow_special(Emitter *e, LVal x, LVal y, LVal r) {
  LVal a = absolute(e, x), one = K(x, 1), zero = K(x, 0);
  LVal half = MUL(y, K(y, 0.5));
  LVal whole = CMP(OEQ, math_rounding(e, KOP_trunc, y), y);
  LVal odd = AND(whole, CMP(UNE, math_rounding(e, KOP_trunc, half), half));
  LVal sign = emit_bitcast(e, AND(emit_bitcast(e, x, e->i64), emit_int(emit_like(e->i64, x), INT64_MIN)), e->f64);
  r = SELECT(odd, copysign_of(e, r, sign), r);
  LVal undefined =
      AND(AND(CMP(OLT, x, zero), CMP(OLT, a, K(x, INFINITY))), CMP(UNE, math_rounding(e, KOP_trunc, y), y));
  r = SELECT(undefined, K(x, NAN), r);
  LVal unit = AND(CMP(OEQ, a, one), CMP(OEQ, absolute(e, y), K(y, INFINITY)));
  r = SELECT(OR(OR(unit, CMP(OEQ, y, zero)), CMP(OEQ, x, one)), one, r);
  return r;
}

static LVal pow_f32(Emitter *e, LVal x32, LVal y32) {
  LVal x = widen(e, x32), y = widen(e, y32), a = absolute(e, x);
  LVal r = math_exp_f64(e, MUL(y, math_log_f64(e, a)));
  return narrow(e, pow_special(e, x, y, r), x32);
}

/* --- pow of f64: the logarithm to some 66 bits --- */

LVal math_two_product(Emitter *e, LVal a, LVal b, LVal *rest) {
  LVal p = MUL(a, b);
  if (e->fma) {
    *rest = emit_fma(e, a, b, NEG(p));
    return p;
  }
  LVal mask = emit_int(emit_like(e->i64, a), -((int64_t)1 << 27)); /* halves of 26 and 27 bits (Dekker) */
  LVal ah = emit_bitcast(e, AND(emit_bitcast(e, a, e->i64), mask), e->f64), al = SUB(a, ah);
  LVal bh = emit_bitcast(e, AND(emit_bitcast(e, b, e->i64), mask), e->f64), bl = SUB(b, bh);
  *rest = ADD(ADD(ADD(SUB(MUL(ah, bh), p), MUL(ah, bl)), MUL(al, bh)), MUL(al, bl));
  return p;
}

typedef struct Pair {
  LVal h, l; /* a number as the sum of two, |l| far below |h| */
} Pair;

static Pair pair_sum(Emitter *e, LVal h, LVal l) { /* |h| >= |l| or h = 0 */
  LVal s = ADD(h, l);
  return (Pair){s, SUB(l, SUB(s, h))};
}

static Pair pair_product(Emitter *e, Pair a, Pair b) {
  LVal l, h = math_two_product(e, a.h, b.h, &l);
  return pair_sum(e, h, ADD(l, ADD(MUL(a.h, b.l), MUL(a.l, b.h))));
}

/* f / (2 + f) */
static Pair log_argument(Emitter *e, LVal f) {
  LVal pl, d = ADD(f, K(f, 2)), dl = SUB(f, SUB(d, K(f, 2))), s = DIV(f, d), p = math_two_product(e, s, d, &pl);
  return (Pair){s, DIV(SUB(SUB(SUB(f, p), pl), MUL(s, dl)), d)};
}

/* log x of a positive finite x = 2^k m: k log 2 + 2 s (1 + s^2/3 + s^4/5 …), s = (m - 1) / (m + 1). */
static Pair log_pair(Emitter *e, LVal x) {
  double c[12];
  for (int i = 0; i < 12; i++)
    c[i] = 1.0 / (2 * i + 5);
  LVal tiny = CMP(OLT, x, K(x, 0x1p-1022));
  x = SELECT(tiny, MUL(x, K(x, 0x1p54)), x);
  LVal w = emit_bitcast(e, x, e->i64), k = ASHR(ISUB(w, KI(w, 0x3fe6a09e667f3bcd)), 52);
  LVal f = SUB(emit_bitcast(e, ISUB(w, SHL(k, 52)), e->f64), K(x, 1));
  k = ISUB(k, SELECT(tiny, KI(k, 54), KI(k, 0)));
  LVal magic = K(x, 0x1.8p52); /* k as a float without a conversion instruction */
  LVal kf = SUB(emit_bitcast(e, IADD(k, emit_bitcast(e, magic, e->i64)), e->f64), magic);
  Pair s = log_argument(e, f), z = pair_product(e, s, s);
  Pair t = pair_sum(e, K(x, 0x1.5555555555555p-2), MUL(z.h, math_poly(e, z.h, c, countof(c))));
  t.l = ADD(t.l, K(x, 0x1.5555555555555p-56));
  t = pair_product(e, z, t);
  Pair u = pair_sum(e, K(x, 1), t.h);
  u.l = ADD(u.l, t.l);
  u = pair_product(e, (Pair){ADD(s.h, s.h), ADD(s.l, s.l)}, u);
  Pair r = pair_sum(e, MUL(kf, K(x, 0x1.62e42feep-1)), u.h);
  return pair_sum(e, r.h, ADD(ADD(r.l, u.l), MUL(kf, K(x, 0x1.a39ef35793c76p-33))));
}

/* e^(h + l), rounded once: what is exact in f64 comes out exactly. */
static LVal exp_pair(Emitter *e, Pair x) {
  double c[12], f = 1;
  for (int i = 0; i < 12; i++) /* 1 / (i + 2)! */
    c[i] = 1 / (f *= i + 2);
  LVal n, t = math_round_magic(e, MUL(x.h, K(x.h, 1.44269504088896340736)), &n);
  LVal r = SUB(x.h, MUL(t, K(x.h, 0x1.62e42feep-1))); /* exact */
  Pair s = pair_sum(e, r, SUB(x.l, MUL(t, K(x.h, 0x1.a39ef35793c76p-33))));
  LVal rest = emit_fma(e, MUL(s.h, s.h), math_poly(e, s.h, c, countof(c)), s.l);
  Pair u = pair_sum(e, K(x.h, 1), s.h);
  return math_scale(e, ADD(u.h, ADD(u.l, rest)), n);
}

static LVal pow_f64(Emitter *e, LVal x, LVal y) {
  LVal a = absolute(e, x), zero = K(x, 0), inf = K(x, INFINITY);
  Pair l = log_pair(e, a);
  LVal ordinary = AND(CMP(OGT, a, zero), CMP(OLT, a, inf));
  l.h = SELECT(ordinary, l.h, SELECT(CMP(OEQ, a, zero), NEG(inf), a)); /* infinity and NaN stay */
  l.l = SELECT(ordinary, l.l, zero);
  LVal rest, p = math_two_product(e, y, l.h, &rest);
  rest = ADD(rest, MUL(y, l.l));
  LVal beyond = CMP(OGT, absolute(e, p), K(x, 1100)); /* infinite among them: rest is NaN there */
  p = SELECT(beyond, copysign_of(e, K(x, 1100), p), p);
  return pow_special(e, x, y, exp_pair(e, (Pair){p, SELECT(beyond, zero, rest)}));
}

LVal emit_pow(Emitter *e, LVal x, LVal y) { return is_f64(e, x) ? pow_f64(e, x, y) : pow_f32(e, x, y); }

/* By squaring, modulo 2^bits; a negative exponent gives 1 / x^|y| toward zero, so that 0 remains of all but 1 and -1. */
LVal emit_pow_int(Emitter *e, bool is_unsigned, LVal x, LVal y) {
  LVal zero = KI(x, 0), one = KI(x, 1), minus = KI(x, -1), odd = ICMP(NE, AND(y, one), zero);
  LVal unit = SELECT(ICMP(EQ, x, one), one, SELECT(ICMP(EQ, x, minus), SELECT(odd, minus, one), zero));
  LVal negative = is_unsigned ? emit_int(emit_like(e->i1, x), 0) : ICMP(SLT, y, zero);
  LVal rest = SELECT(negative, zero, y);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), head = emit_block(e, "pow"), body = emit_block(e, ""),
                    done = emit_block(e, "");
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, head);
  LVal r = LLVMBuildPhi(B, LLVMTypeOf(x), ""), base = LLVMBuildPhi(B, LLVMTypeOf(x), ""),
       n = LLVMBuildPhi(B, LLVMTypeOf(x), "");
  LLVMBuildCondBr(B, emit_any(e, ICMP(NE, n, zero)), body, done);
  LLVMPositionBuilderAtEnd(B, body);
  LVal next = SELECT(ICMP(NE, AND(n, one), zero), IMUL(r, base), r);
  LLVMBasicBlockRef from[] = {before, body};
  LLVMAddIncoming(r, (LVal[]){one, next}, from, 2);
  LLVMAddIncoming(base, (LVal[]){x, IMUL(base, base)}, from, 2);
  LLVMAddIncoming(n, (LVal[]){rest, LSHR(n, 1)}, from, 2);
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, done);
  return SELECT(negative, unit, r);
}

/* --- fmod --- */

/* The remainder of |x| by |y|, exactly: r - q y with q of at most 28 bits has no rounding error in f64. Quotients beyond
 * that keep their leading bits, and the loop goes on. */
static LVal fmod_f32(Emitter *e, LVal x32, LVal y32) {
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
  q = SELECT(few, math_rounding(e, KOP_trunc, q), lead);
  LVal next = SUB(r, MUL(q, b));
  next = SELECT(AND(few, CMP(OGE, next, b)), SUB(next, b), next);
  next = SELECT(AND(valid, CMP(OGE, r, b)), next, r);
  LLVMBasicBlockRef last = LLVMGetInsertBlock(B);
  LLVMAddIncoming(r, &next, &last, 1);
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, done);
  return narrow(e, SELECT(valid, copysign_of(e, r, x), K(x, NAN)), x32);
}

/* Exponent of a positive number, also of a subnormal one. */
static LVal exponent_of(Emitter *e, LVal v) {
  LVal tiny = CMP(OLT, v, K(v, 0x1p-1022));
  LVal w = emit_bitcast(e, SELECT(tiny, MUL(v, K(v, 0x1p54)), v), e->i64);
  return ISUB(LSHR(w, 52), SELECT(tiny, KI(w, 54), KI(w, 0)));
}

/* b * 2^s, 0 <= s <= 2100, exactly where it does not overflow. */
static LVal scaled_up(Emitter *e, LVal b, LVal s) {
  LVal part = LSHR(s, 2), last = ISUB(s, IMUL(part, KI(s, 3)));
  LVal p = emit_bitcast(e, SHL(IADD(part, KI(s, 1023)), 52), e->f64);
  LVal q = emit_bitcast(e, SHL(IADD(last, KI(s, 1023)), 52), e->f64);
  return MUL(MUL(MUL(MUL(b, p), p), p), q);
}

/* The largest b * 2^s up to r is taken off until r is below b: each difference is exact. */
static LVal fmod_step(Emitter *e, LVal r, LVal b) {
  LVal s = ISUB(exponent_of(e, r), exponent_of(e, b)), zero = KI(s, 0), one = KI(s, 1);
  LVal below = scaled_up(e, b, SELECT(ICMP(SGT, s, zero), ISUB(s, one), zero)); /* at most r */
  LVal above = SELECT(ICMP(SGT, s, zero), ADD(below, below), b);
  return SUB(r, SELECT(CMP(OLE, above, r), above, below));
}

static LVal fmod_f64(Emitter *e, LVal x, LVal y) {
  LVal b = absolute(e, y), a = absolute(e, x), zero = K(x, 0);
  LVal valid = AND(CMP(OLT, a, K(x, INFINITY)), CMP(OGT, b, zero));
  LVal start = SELECT(valid, a, zero);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), head = emit_block(e, "fmod"), body = emit_block(e, ""),
                    done = emit_block(e, "");
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, head);
  LVal r = LLVMBuildPhi(B, LLVMTypeOf(x), ""), more = AND(valid, CMP(OGE, r, b));
  LLVMBuildCondBr(B, emit_any(e, more), body, done);
  LLVMPositionBuilderAtEnd(B, body);
  LVal next = SELECT(more, fmod_step(e, SELECT(more, r, K(x, 1)), SELECT(more, b, K(x, 1))), r);
  LLVMBasicBlockRef last = LLVMGetInsertBlock(B);
  LLVMAddIncoming(r, (LVal[]){start, next}, (LLVMBasicBlockRef[]){before, last}, 2);
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, done);
  return SELECT(valid, copysign_of(e, r, x), K(x, NAN));
}

LVal emit_fmod(Emitter *e, LVal x, LVal y) { return is_f64(e, x) ? fmod_f64(e, x, y) : fmod_f32(e, x, y); }
