/* math.c - element-wise mathematics as LLVM IR, without calls: accuracy in math.def. Sines and their inverses are in trig.c,
 * functions of two operands in power.c.
 *
 * What models use most (exp, tanh, sigmoid, erf) is worked out in f32 for f32. The rest widens to f64, where plain series are
 * accurate enough without care for every last bit: log by atanh, sine and cosine by Taylor after Cody-Waite reduction.
 *
 * The polynomials of erf and tanh are least-maximum fits over the reduced range, weighted for relative error.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/mathdefs.h"

#include <math.h>

/* c[0] + c[1] x + … by Horner. */
LVal math_poly(Emitter *e, LVal x, const double *c, int n) {
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

LVal math_rounding(Emitter *e, KOp op, LVal x) {
  static const char *const name[KOP_count] = {
      [KOP_floor] = "llvm.floor", [KOP_ceil] = "llvm.ceil", [KOP_round] = "llvm.roundeven", [KOP_trunc] = "llvm.trunc"};
  if (e->rounds)
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
LVal math_round_magic(Emitter *e, LVal x, LVal *integer) {
  LVal magic = K(x, is_f64(e, x) ? 0x1.8p52 : 0x1.8p23);
  LVal t = ADD(x, magic);
  LType it = is_f64(e, x) ? e->i64 : e->i32;
  *integer = ISUB(emit_bitcast(e, t, it), emit_bitcast(e, magic, it));
  return SUB(t, magic);
}

/* p * 2^n in two steps, so that overflow and subnormal results come out by themselves. */
LVal math_scale(Emitter *e, LVal p, LVal n) {
  bool wide = is_f64(e, p);
  LVal half = ASHR(n, 1), rest = ISUB(n, half), bias = KI(n, wide ? 1023 : 127);
  LType ft = wide ? e->f64 : e->f32;
  LVal s = emit_bitcast(e, SHL(IADD(half, bias), wide ? 52 : 23), ft),
       t = emit_bitcast(e, SHL(IADD(rest, bias), wide ? 52 : 23), ft);
  return MUL(MUL(p, s), t);
}

/* Registers of AVX-512: their scaling by a power of two needs no integer and goes wrong nowhere. */
static bool scales(const Emitter *e, LVal x) {
  return e->bits == 512 && emit_lanes(x) % 16 == 0 && emit_lanes(x) <= 32;
}

/* fn(a, b) for one or two registers. */
static LVal by_registers(Emitter *e, LVal (*fn)(Emitter *e, LVal a, LVal b), LVal a, LVal b) {
  if (emit_lanes(a) == 16)
    return fn(e, a, b);
  LVal low = fn(e, emit_lanes_of(e, a, 0, 16), emit_lanes_of(e, b, 0, 16));
  return emit_side_by_side(e, low, fn(e, emit_lanes_of(e, a, 16, 16), emit_lanes_of(e, b, 16, 16)));
}

/* e^x = 2^n e^r with |r| <= ln 2 / 2; ln 2 in two parts, the first short enough that n times it is exact. Where n is scaled by as it
 * is, r alone is kept within bounds, for large x; what becomes of NaN and infinity is then up to n. A softmax takes 5.7 ms of 64 MB, not 6.6
 * (bench memory=softmax). */
static LVal exp_f32(Emitter *e, LVal x) {
  static const double c[] = {1, 1, 0.5, 0.166665182, 0.041666206, 0.00836892892, 0.00139505591};
  bool whole = scales(e, x);
  LVal magic = K(x, 0x1.8p23), n, t;
  if (!whole)
    x = emit_max_fast(e, K(x, -104), emit_min_fast(e, K(x, 89), x));
  n = emit_fma(e, x, K(x, 1.44269504088896341), magic); /* rounded to an integer, which is in the low bits */
  t = SUB(n, magic);
  LVal r = emit_fma(e, t, K(x, -0.693359375), x);
  r = emit_fma(e, t, K(x, 2.12194440054690583e-4), r);
  if (whole)
    return by_registers(e, emit_scalef, math_poly(e, by_registers(e, emit_bounded, r, K(x, 1)), c, countof(c)), t);
  return math_scale(e, math_poly(e, r, c, countof(c)),
                    ISUB(emit_bitcast(e, n, e->i32), emit_bitcast(e, magic, e->i32)));
}

/* 2^x = 2^n p(r), whose p is 1 at 0: n is the integer below x where instructions of AVX-512 find it (a softmax of 16 million numbers
 * takes half the time of one by e^x), else the nearest. Errors are below 1.6e-7 of the result. */
static LVal exp2_of_below(Emitter *e, LVal x) {
  static const double below[] = {1, 0.693151295, 0.240164444, 0.0557999127, 0.00901703071, 0.00186713005};
  return emit_scalef(e, math_poly(e, emit_fraction(e, x), below, countof(below)),
                     x); /* of -infinity the fraction is 0 */
}

/* 2^n is made by an addition to the exponent, for which n is at least -127: that is 0, and so is what would be below 2^-126. Each step
 * is done for all vectors before the next, so that none waits for the one before. */
static void exp2_of_nearest(Emitter *e, LVal *x, int vecs) {
  static const double near[] = {1, 0.693147004, 0.240222424, 0.0555073358, 0.00967151299, 0.00132647273};
  LVal t[MAX_EXP2], p[MAX_EXP2], magic = K(x[0], 0x1.8p23);
  for (int i = 0; i < vecs; i++)
    x[i] = emit_max_fast(e, K(x[i], -127), x[i]);
  for (int i = 0; i < vecs; i++)
    t[i] = ADD(x[i], magic); /* n is in its low bits */
  for (int i = 0; i < vecs; i++)
    x[i] = SUB(x[i], SUB(t[i], magic));
  for (int i = 0; i < vecs; i++)
    p[i] = K(x[i], near[countof(near) - 1]);
  for (int k = countof(near) - 2; k >= 0; k--)
    for (int i = 0; i < vecs; i++)
      p[i] = emit_fma(e, p[i], x[i], K(x[i], near[k]));
  for (int i = 0; i < vecs; i++) {
    LVal n = SHL(emit_bitcast(e, t[i], e->i32), 23);
    x[i] = MUL(p[i], emit_bitcast(e, IADD(n, KI(n, 127 << 23)), e->f32));
  }
}

void math_exp2_below(Emitter *e, LVal *x, int vecs) {
  if (e->bits != 512 || emit_lanes(x[0]) != 16) {
    exp2_of_nearest(e, x, vecs);
    return;
  }
  for (int i = 0; i < vecs; i++)
    x[i] = exp2_of_below(e, x[i]);
}

/* e^x = 2^n (p + 1). */
static void exp_reduced(Emitter *e, LVal x, LVal *p, LVal *n) {
  double c[12], f = 1;
  for (int i = 0; i < 12; i++) /* 1 / (i + 2)! */
    c[i] = 1 / (f *= i + 2);
  LVal t = math_round_magic(e, MUL(x, K(x, 1.44269504088896340736)), n);
  LVal r = emit_fma(e, t, K(x, -0x1.62e42feep-1), x);
  r = emit_fma(e, t, K(x, -0x1.a39ef35793c76p-33), r);
  *p = emit_fma(e, MUL(r, r), math_poly(e, r, c, countof(c)), r);
}

LVal math_exp_f64(Emitter *e, LVal x) {
  LVal p, n;
  x = emit_min_fast(e, K(x, 710), x);
  x = emit_max_fast(e, K(x, -746), x);
  exp_reduced(e, x, &p, &n);
  return math_scale(e, ADD(p, K(x, 1)), n);
}

static LVal exp_any(Emitter *e, LVal x) { return is_f64(e, x) ? math_exp_f64(e, x) : exp_f32(e, x); }

/* 1 / (1 + e^-|x|), and e^-|x| times that for x < 0: nothing overflows, small results keep their digits. */
static LVal sigmoid(Emitter *e, LVal x) {
  LVal t = exp_any(e, LLVMBuildFNeg(B, absolute(e, x), "")), one = K(x, 1);
  return DIV(SELECT(CMP(OLT, x, K(x, 0)), t, one), ADD(one, t));
}

/* Near 0 a polynomial in x^2, else 1 - 2 / (e^2|x| + 1). */
static LVal tanh_f32(Emitter *e, LVal x) {
  static const double c[] = {-0.333332837, 0.133314908, -0.0537434965, 0.0206505861, -0.0057170447};
  LVal a = absolute(e, x), z = MUL(x, x), one = K(x, 1);
  LVal small = emit_fma(e, MUL(x, z), math_poly(e, z, c, countof(c)), x);
  LVal t = exp_f32(e, ADD(a, a));
  LVal big = SUB(one, DIV(K(x, 2), ADD(t, one)));
  return SELECT(CMP(OLT, a, K(x, 0.625)), small, copysign_of(e, big, x));
}

/* e^x - 1 for x in [0, 700]: 2^n (p + 1) - 1 as 2^n p + (2^n - 1). */
static LVal expm1_f64(Emitter *e, LVal x) {
  LVal p, n, s;
  exp_reduced(e, x, &p, &n);
  s = math_scale(e, K(x, 1), n);
  return emit_fma(e, s, p, SUB(s, K(x, 1)));
}

static LVal tanh_f64(Emitter *e, LVal x) {
  LVal a = emit_min_fast(e, K(x, 22), absolute(e, x)); /* NaN stays */
  LVal t = expm1_f64(e, ADD(a, a));
  return copysign_of(e, DIV(t, ADD(t, K(x, 2))), x);
}

/* The same two ranges as for f32 below; the far one in x - 1, near which its digits count. */
static LVal erf_f64(Emitter *e, LVal x) {
  static const double near[] = {0.1283791670955126,      -0.3761263890318375,    0.11283791670954857,
                                -0.026866170645072865,   0.005223977624780598,   -0.0008548326978727097,
                                0.00012055331036359783,  -1.492559349417844e-05, 1.6460972617186722e-06,
                                -1.6350023146331788e-07, 1.4657866154503265e-08, -1.1365614104392122e-09,
                                5.945175763497504e-11};
  static const double far[] = {-1.8496055099332482,    -2.6389675142347913,    -0.8431072563584869,
                               -0.041561098046490934,  0.010033825433975262,   -0.0019779030197464497,
                               0.00023732470923608367, 2.6270323418731142e-05, -2.7140826987800333e-05,
                               9.576424133849445e-06,  -2.016688743278048e-06, 9.968926093309651e-08,
                               1.3044935069023728e-07, -7.109847791946189e-08, 2.3262665923153003e-08,
                               -5.5971298884889e-09,   1.021754414222341e-09,  -1.3883271163489715e-10,
                               1.327618863008741e-11,  -7.967908287595657e-13, 2.2534558136126885e-14};
  LVal a = absolute(e, x), z = MUL(x, x), small = emit_fma(e, x, math_poly(e, z, near, countof(near)), x);
  LVal t = SUB(emit_min_fast(e, K(x, 6), a), K(x, 1));
  LVal big = SUB(K(x, 1), math_exp_f64(e, math_poly(e, t, far, countof(far))));
  return SELECT(CMP(OLT, a, K(x, 1)), small, copysign_of(e, big, x));
}

/* Up to 1 a polynomial in x^2, beyond it 1 - 2^(log2 erfc x), where log2 erfc is close to a parabola. That is between -28 and -2, so
 * 2^n takes an addition to the exponent; a NaN goes by the first way. */
static LVal erf_f32(Emitter *e, LVal x) {
  static const double near[] = {0.128379166,   -0.37612626,     0.112836003,   -0.0268544443,
                                0.00518953567, -0.000802084222, 7.88912294e-05};
  static const double far[] = {-0.000492710213, -1.62604594,    -0.920648336,  -0.148751616,
                               0.0315056741,    -0.00425257394, 0.000268888543};
  static const double exp2[] = {1.00000012, 0.693146944, 0.240221202, 0.0555071309, 0.00967554189, 0.00132764725};
  LVal a = absolute(e, x), z = MUL(x, x), small = emit_fma(e, x, math_poly(e, z, near, countof(near)), x);
  LVal log = math_poly(e, emit_min_fast(e, K(x, 4.05), a), far, countof(far));
  LVal magic = K(x, 0x1.8p23), t = ADD(log, magic); /* n is in its low bits */
  LVal p = math_poly(e, SUB(log, SUB(t, magic)), exp2, countof(exp2));
  LVal n = SHL(emit_bitcast(e, t, e->i32), 23), minus = emit_bitcast(e, K(x, -1), e->i32);
  LVal big = emit_fma(e, p, emit_bitcast(e, IADD(n, minus), e->f32), K(x, 1));
  return SELECT(CMP(OGE, a, K(x, 1)), copysign_of(e, big, x), small);
}

/* A polynomial around each of the points 0, 1/4 … 15/4, whose coefficients are picked from registers: half the instructions of the two
 * ranges above, the same error. Around 0 it is erf x - x. The last one reaches 1 a little early. */
static LVal erf_16(Emitter *e, LVal x) {
  static const double around[][16] = {
      {0, 0.276326388, 0.520499885, 0.711155653, 0.842700779, 0.92290014, 0.966105163, 0.986671686, 0.995322287,
       0.998537302, 0.999593019, 0.999899387, 0.999977887, 0.999995708, 0.999999285, 0.999999881},
      {0.0320947915, 0.265003532, 0.219695643, 0.160732761, 0.103776872, 0.0591302812, 0.0297325719, 0.0131937489,
       0.00516674621, 0.00178557972, 0.000544571085, 0.000146569335, 3.48132744e-05, 7.29726162e-06, 1.34985839e-06,
       2.60358547e-07},
      {1.23288295e-08, -0.0165623743, -0.0274615288, -0.0301371645, -0.0259442572, -0.0184783936, -0.0111498805,
       -0.00577234244, -0.00258337753, -0.00100436388, -0.000340332947, -0.000100752157, -2.61035857e-05,
       -5.92674314e-06, -1.18045068e-06, -2.06418093e-07},
      {-0.00587716373, -0.00483075902, -0.00228850776, 0.00041853555, 0.00216198573, 0.00261773891, 0.00216801022,
       0.00140872051, 0.000753491069, 0.000339447608, 0.000130468994, 4.31296903e-05, 1.23288582e-05, 3.05916069e-06,
       6.60741705e-07, 1.24490029e-07},
      {9.55203859e-07, 0.000492323656, 0.000710589753, 0.000586164417, 0.000270666904, -2.21191312e-05, -0.000172448737,
       -0.000187077501, -0.000134506088, -7.48087623e-05, -3.39369399e-05, -1.28788815e-05, -4.14746546e-06,
       -1.14366969e-06, -2.71695654e-07, -5.58497888e-08},
      {0.000108536122, 7.7807963e-05, 7.27439738e-06, -5.15744978e-05, -6.72169626e-05, -4.59918883e-05,
       -1.46257307e-05, 6.33078889e-06, 1.27049589e-05, 1.03923958e-05, 5.98628685e-06, 2.70597707e-06, 1.00166699e-06,
       3.10343808e-07, 8.15297767e-08, 1.83153794e-08},
  };
  LVal magic = K(x, 0x1.8p23), four = K(x, 4);
  LVal a = emit_min_fast(e, K(x, 0x1.effffep1), absolute(e, x)); /* NaN stays */
  LVal t = emit_fma(e, a, four, magic), point = emit_bitcast(e, t, e->i32), p = NULL;
  LVal d = emit_fma(e, a, four, LLVMBuildFNeg(B, SUB(t, magic), ""));
  for (int i = countof(around) - 1; i >= 0; i--) {
    LVal c[16];
    for (int j = 0; j < 16; j++)
      c[j] = emit_real(e->f32, around[i][j]);
    LVal here = emit_pick16(e, LLVMConstVector(c, 16), point);
    p = p ? emit_fma(e, p, d, i ? here : SELECT(CMP(OEQ, t, magic), a, here)) : here;
  }
  return copysign_of(e, p, x);
}

/* Any number of lanes by 16 at a time, so that where an element lies does not change its result. */
static LVal erf_by_16(Emitter *e, LVal x) {
  int n = emit_lanes(x);
  if (n == 16)
    return erf_16(e, x);
  if (n == 1)
    return LLVMBuildExtractElement(B, erf_16(e, emit_splat(e, x, 16)), emit_int(e->i32, 0), "");
  if (n < 16)
    return emit_lanes_of(e, erf_by_16(e, emit_side_by_side(e, x, x)), 0, n);
  LVal low = emit_lanes_of(e, x, 0, n / 2), high = emit_lanes_of(e, x, n / 2, n / 2);
  return emit_side_by_side(e, erf_by_16(e, low), erf_by_16(e, high));
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
  LVal r = MUL(z, math_poly(e, z, c, countof(c)));
  LVal low = emit_fma(e, kf, K(x, 0x1.a39ef35793c76p-33), MUL(s, ADD(h, r)));
  return emit_fma(e, kf, K(x, 0x1.62e42feep-1), SUB(f, SUB(h, low)));
}

LVal math_log_f64(Emitter *e, LVal x) {
  LVal inf = K(x, INFINITY), zero = K(x, 0), r = log_finite(e, x);
  r = SELECT(CMP(OLT, x, inf), r, x); /* infinity and NaN stay */
  r = SELECT(CMP(OLT, x, zero), K(x, NAN), r);
  return SELECT(CMP(OEQ, x, zero), K(x, -INFINITY), r);
}

/* log u + (x - (u - 1)) / u with u = 1 + x rounded. */
LVal math_log1p_f64(Emitter *e, LVal x) {
  LVal one = K(x, 1), u = ADD(x, one), lost = SUB(x, SUB(u, one));
  LVal r = ADD(math_log_f64(e, u), DIV(lost, u));
  r = SELECT(CMP(OGT, absolute(e, x), K(x, 0x1p-54)), r, x);
  LVal plain = OR(CMP(OEQ, x, K(x, INFINITY)), CMP(OEQ, x, K(x, -1)));
  return SELECT(plain, math_log_f64(e, u), r);
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
  case KOP_log: return narrow(e, math_log_f64(e, widen(e, x)), x);
  case KOP_log1p: return narrow(e, math_log1p_f64(e, widen(e, x)), x);
  case KOP_erf: return is_f64(e, x) ? erf_f64(e, x) : e->bits == 512 ? erf_by_16(e, x) : erf_f32(e, x);
  case KOP_tanh: return is_f64(e, x) ? tanh_f64(e, x) : tanh_f32(e, x);
  case KOP_sigmoid: return sigmoid(e, x);
  case KOP_sin:
  case KOP_cos:
  case KOP_tan: return math_sine(e, op, x);
  case KOP_asin:
  case KOP_acos:
  case KOP_atan:
  case KOP_asinh:
  case KOP_acosh:
  case KOP_atanh: return narrow(e, math_inverse(e, op, widen(e, x)), x);
  default: return math_rounding(e, op, x);
  }
}
