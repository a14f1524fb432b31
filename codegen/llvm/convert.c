/* convert.c - casts between the numeric types, by the rules of ops/eval/cast.c: one rounding, to nearest even, whatever the types;
 * integers wrap; floats that do not fit an integer as support/dtype.h says.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/kemit.h"

#include <math.h>
#include <string.h>

#define B (k->e->b)

#define LARGE 0x1p16 /* the difference of two such numbers is rounded by one addition */

static bool is_unsigned(DType t) { return dtype_kind(t) == DK_UINT || t == DT_bool; }
static bool is_narrow(DType t) { return dtype_is_float(t) && dtype_bits(t) < 32; }

/* --- float to integer --- */

static LVal saturated(KEmit *k, const char *intrinsic, size_t len, LType to, LVal a) {
  unsigned id = LLVMLookupIntrinsicID(intrinsic, len);
  LVal f = LLVMGetIntrinsicDeclaration(k->e->mod, id, (LType[]){to, LLVMTypeOf(a)}, 2);
  return LLVMBuildCall2(B, LLVMGlobalGetValueType(f), f, &a, 1, "");
}

/* The same in parts, each of which is one instruction of x86 over a vector: LLVM takes vectors apart for the intrinsic. */
static LVal saturated_lanes(KEmit *k, LType to, LVal a) {
  LType t = LLVMTypeOf(a);
  int bits = to == emit_like(k->e->i64, a) ? 64 : 32;
  LVal end = emit_real(t, ldexp(1, bits - 1)), least = emit_real(t, -ldexp(1, bits - 1));
  LVal below = LLVMBuildFCmp(B, LLVMRealOLT, a, least, ""), beyond = LLVMBuildFCmp(B, LLVMRealOGE, a, end, "");
  LVal fits =
      LLVMBuildAnd(B, LLVMBuildFCmp(B, LLVMRealOLT, a, end, ""), LLVMBuildFCmp(B, LLVMRealOGE, a, least, ""), "");
  LVal v = LLVMBuildFPToSI(B, LLVMBuildSelect(B, fits, a, emit_real(t, 0), ""), to, "");
  v = LLVMBuildSelect(B, below, emit_int(to, bits == 64 ? INT64_MIN : INT32_MIN), v, "");
  return LLVMBuildSelect(B, beyond, emit_int(to, bits == 64 ? INT64_MAX : INT32_MAX), v, "");
}

static LVal saturated_signed(KEmit *k, LType to, LVal a) {
  bool in_parts = emit_lanes(a) > 1 && !strncmp(k->e->target->cpu_level, "x86", 3);
  return in_parts ? saturated_lanes(k, to, a) : saturated(k, "llvm.fptosi.sat", 15, to, a);
}

/* Out of range saturates to 32 or 64 bits and then wraps; NaN gives 0. fits: a is a number that an i32 holds. */
static LVal float_to_int(KEmit *k, DType to, LVal a, bool fits) {
  bool wide = dtype_bits(to) == 64 || to == DT_u32;
  LType mid = emit_like(wide ? k->e->i64 : k->e->i32, a), out = emit_like(kemit_type(k, to), a);
  LVal v = fits ? LLVMBuildFPToSI(B, a, mid, "") : saturated_signed(k, mid, a);
  if (to == DT_u64) {
    LVal below = LLVMBuildFCmp(B, LLVMRealOLT, a, emit_real(LLVMTypeOf(a), 0), "");
    v = LLVMBuildSelect(B, below, v, saturated(k, "llvm.fptoui.sat", 15, mid, a), "");
  }
  return kemit_wrap(k, to, out == mid ? v : LLVMBuildTrunc(B, v, out, ""));
}

/* --- floats that are clipped before, as quantisation does --- */

/* Is e min(max(…, lo), hi) of f32 or f64 and two constants around 0 that an i32 holds? */
static bool is_clipped(const KExpr *e) {
  const KExpr *inner = e->kind == KE_BINARY && e->op == KOP_min ? e->arg[0] : NULL;
  if (!inner || inner->kind != KE_BINARY || inner->op != KOP_max || e->arg[1]->kind != KE_FLOAT ||
      inner->arg[1]->kind != KE_FLOAT || !dtype_is_float(e->dtype) || is_narrow(e->dtype))
    return false;
  double lo = inner->arg[1]->f, hi = e->arg[1]->f;
  return lo <= 0 && hi >= 0 && lo >= -0x1p30 && hi <= 0x1p30;
}

/* The value of such an e, but 0 where that is NaN: what a cast to integers makes of it. */
static Status clipped(KEmit *k, const KExpr *e, LVal *r) {
  LVal v, lo, hi;
  double least = e->arg[0]->arg[1]->f;
  TRY(kemit_expr(k, e->arg[0]->arg[0], &v));
  LType t = LLVMTypeOf(v);
  lo = emit_real(t, least), hi = emit_real(t, e->arg[1]->f);
  if (least != 0) /* the comparison below makes NaN the bound */
    v = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealORD, v, v, ""), v, emit_real(t, 0), "");
  *r = emit_min_fast(k->e, emit_max_fast(k->e, v, lo), hi);
  return ST_OK;
}

/* Is e a whole number, or NaN, whatever its operands are? */
static bool is_whole(const KExpr *e) {
  switch (e->kind) {
  case KE_FLOAT: return e->f == rint(e->f);
  case KE_CAST: return dtype_is_int(e->arg[0]->dtype) && e->dtype == DT_f32;
  case KE_UNARY: return e->op == KOP_round;
  case KE_BINARY: return (e->op == KOP_add || e->op == KOP_sub) && is_whole(e->arg[0]) && is_whole(e->arg[1]);
  default: return false;
  }
}

/* A constant of f32 that is a whole number, and not a large one. */
static bool whole_constant(const KExpr *e, double *v) {
  const KExpr *x = e->kind == KE_CAST ? e->arg[0] : e;
  *v = x->kind == KE_INT ? (double)x->i : x->kind == KE_FLOAT ? x->f : HUGE_VAL;
  return e->dtype == DT_f32 && (x == e || x->kind == KE_INT) && fabs(*v) <= LARGE && *v == rint(*v);
}

/* What quantisation clips, min(max(round(x) + zero, lo), hi) in f32, is zero + round(min(max(x, lo - zero), hi - zero)). */
typedef struct Quantum {
  const KExpr *x;
  double zero, lo, hi;
} Quantum;

static bool is_quantum(const KExpr *e, Quantum *q) {
  if (!is_clipped(e) || e->dtype != DT_f32 || !whole_constant(e->arg[1], &q->hi) ||
      !whole_constant(e->arg[0]->arg[1], &q->lo))
    return false;
  const KExpr *v = e->arg[0]->arg[0];
  q->zero = 0;
  if (v->kind == KE_BINARY && v->op == KOP_add && whole_constant(v->arg[1], &q->zero))
    v = v->arg[0];
  q->x = v->arg[0];
  return v->kind == KE_UNARY && v->op == KOP_round;
}

/* It without its zero, as f32 and as i32: small enough for one addition to round it. NaN, which a cast makes 0, is -zero. */
static void quantum(KEmit *k, const Quantum *q, LVal v, LVal *rounded, LVal *whole) {
  LType t = LLVMTypeOf(v);
  if (q->lo != 0)
    v = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealORD, v, v, ""), v, emit_real(t, -q->zero), "");
  v = emit_min_fast(k->e, emit_max_fast(k->e, v, emit_real(t, q->lo - q->zero)), emit_real(t, q->hi - q->zero));
  *rounded = math_round_magic(k->e, v, whole);
}

/* Where bytes are made of i32 as unsigned numbers that saturate, a float beyond them, which becomes 2^31, needs no bound. */
static bool saturates(const KEmit *k, DType to, const Quantum *q, LVal v) {
  int n = emit_lanes(v);
  return k->e->bits == 512 && (n == 16 || n == 32) && to == DT_u8 && q->lo == 0 && q->hi == 255;
}

static Status quantised(KEmit *k, DType to, const Quantum *q, LVal *r) {
  LVal v, rounded, whole;
  TRY(kemit_expr(k, q->x, &v));
  if (saturates(k, to, q, v))
    whole = emit_to_i32(k->e, emit_max_fast(k->e, v, emit_real(LLVMTypeOf(v), -q->zero)));
  else
    quantum(k, q, v, &rounded, &whole);
  LType t = LLVMTypeOf(whole);
  whole = LLVMBuildAdd(B, whole, emit_int(t, (int64_t)q->zero), "");
  if (saturates(k, to, q, v))
    whole = emit_call(k->e, "llvm.umin", t, (LVal[]){whole, emit_int(t, 255)}, 2);
  *r = LLVMBuildTrunc(B, whole, emit_like(kemit_type(k, to), whole), "");
  return ST_OK;
}

/* Is x a cast to f32 of what f32 becomes as an integer of 8 bits without any change? Then *e is that number before. */
static bool comes_back(const KExpr *x, const KExpr **e) {
  const KExpr *narrow = x->kind == KE_CAST ? x->arg[0] : x;
  if (x->dtype != DT_f32 || narrow->kind != KE_CAST || (narrow->dtype != DT_u8 && narrow->dtype != DT_i8) ||
      narrow->arg[0]->dtype != DT_f32)
    return false;
  *e = narrow->arg[0];
  double least = narrow->dtype == DT_i8 ? -128 : 0;
  return is_clipped(*e) && is_whole((*e)->arg[0]->arg[0]) && is_whole((*e)->arg[1]) && is_whole((*e)->arg[0]->arg[1]) &&
         (*e)->arg[1]->f <= least + 255 && (*e)->arg[0]->arg[1]->f >= least;
}

Status kemit_dequantised(KEmit *k, const KExpr *x, bool *done, LVal *r) {
  const KExpr *e;
  Quantum q;
  double zero;
  LVal v, whole;
  *done = x->op == KOP_sub && comes_back(x->arg[0], &e) && is_quantum(e, &q) && whole_constant(x->arg[1], &zero) &&
          zero == q.zero;
  if (!*done)
    return ST_OK;
  TRY(kemit_expr(k, q.x, &v));
  quantum(k, &q, v, r, &whole);
  return ST_OK;
}

/* --- to float --- */

/* f64 to f32 such that a second rounding to 16 bits gives the right result: inexact results get an odd last bit. */
static LVal round_to_odd(KEmit *k, LVal a) {
  Emitter *e = k->e;
  LVal f = LLVMBuildFPTrunc(B, a, emit_like(e->f32, a), ""), back = LLVMBuildFPExt(B, f, LLVMTypeOf(a), "");
  LVal w = emit_bitcast(e, f, e->i32);
  LVal over = LLVMBuildFCmp(B, LLVMRealOGT, emit_call(e, "llvm.fabs", LLVMTypeOf(a), &back, 1),
                            emit_call(e, "llvm.fabs", LLVMTypeOf(a), &a, 1), "");
  w = LLVMBuildSub(B, w, LLVMBuildZExt(B, over, LLVMTypeOf(w), ""), "");
  LVal inexact = LLVMBuildFCmp(B, LLVMRealONE, back, a, "");
  return emit_bitcast(e, LLVMBuildOr(B, w, LLVMBuildZExt(B, inexact, LLVMTypeOf(w), ""), ""), e->f32);
}

/* A float as the type in whose registers `to` is rounded: f64 for f64, else f32, with no rounding that matters before the last. */
static LVal to_register(KEmit *k, DType to, LVal a) {
  bool f64 = LLVMTypeOf(a) == emit_like(k->e->f64, a);
  if (to == DT_f64)
    return f64 ? a : LLVMBuildFPExt(B, a, emit_like(k->e->f64, a), "");
  if (!f64)
    return a;
  return is_narrow(to) ? round_to_odd(k, a) : LLVMBuildFPTrunc(B, a, emit_like(k->e->f32, a), "");
}

/* sticky_f64 of support/dtype.h: the value rounds further as the integer itself would. */
static LVal sticky(KEmit *k, bool u, LVal a) {
  LType t = LLVMTypeOf(a);
  LVal zero = emit_int(t, 0),
       negative = u ? emit_int(emit_like(k->e->i1, a), 0) : LLVMBuildICmp(B, LLVMIntSLT, a, zero, "");
  LVal m = LLVMBuildSelect(B, negative, LLVMBuildNeg(B, a, ""), a, "");
  LVal low = LLVMBuildICmp(B, LLVMIntNE, LLVMBuildAnd(B, m, emit_int(t, 0xfff), ""), zero, "");
  LVal rounded = LLVMBuildAnd(B, m, emit_int(t, ~(int64_t)0xfff), "");
  rounded = LLVMBuildOr(B, rounded, LLVMBuildSelect(B, low, emit_int(t, 0x800), zero, ""), "");
  LVal large = LLVMBuildICmp(B, LLVMIntUGE, m, emit_int(t, (int64_t)1 << 53), "");
  m = LLVMBuildSelect(B, large, rounded, m, "");
  return LLVMBuildSelect(B, negative, LLVMBuildNeg(B, m, ""), m, "");
}

static LVal int_to_float(KEmit *k, DType from, DType to, LVal a) {
  bool u = is_unsigned(from), wide = to == DT_f64 || (is_narrow(to) && dtype_bits(from) >= 32);
  LType mid = emit_like(wide ? k->e->f64 : k->e->f32, a);
  if (is_narrow(to) && dtype_bits(from) == 64)
    a = sticky(k, u, a);
  return to_register(k, to, u ? LLVMBuildUIToFP(B, a, mid, "") : LLVMBuildSIToFP(B, a, mid, ""));
}

/* --- all of them --- */

Status kemit_cast(KEmit *k, const KExpr *x, bool stored, LVal *r) {
  DType from = x->arg[0]->dtype, to = x->dtype;
  LType t = kemit_type(k, to);
  const KExpr *before;
  LVal a;
  if (comes_back(x, &before))
    return clipped(k, before, r);
  bool fits = dtype_is_int(to) && to != DT_bool && to != DT_u64 && is_clipped(x->arg[0]);
  Quantum q;
  if (fits && dtype_bits(to) >= 8 && dtype_bits(to) <= 16 && is_quantum(x->arg[0], &q))
    return quantised(k, to, &q, r);
  TRY(fits ? clipped(k, x->arg[0], &a) : kemit_expr(k, x->arg[0], &a));
  if (!t || dtype_kind(to) == DK_COMPLEX || dtype_kind(from) == DK_COMPLEX)
    return kemit_unsupported(k, dtype_name(t ? from : to));
  if (dtype_is_float(to))
    *r = dtype_is_float(from) ? to_register(k, to, a) : int_to_float(k, from, to, a);
  else if (to == DT_bool)
    *r = dtype_is_float(from) ? LLVMBuildFCmp(B, LLVMRealUNE, a, emit_real(LLVMTypeOf(a), 0), "")
                              : LLVMBuildICmp(B, LLVMIntNE, a, emit_int(LLVMTypeOf(a), 0), "");
  else if (dtype_is_float(from))
    *r = float_to_int(k, to, a, fits);
  else
    *r = kemit_wrap(k, to, LLVMBuildIntCast2(B, a, emit_like(t, a), !is_unsigned(from), ""));
  if (stored || is_narrow(to))
    *r = kemit_to_memory(k, to, x->op, *r);
  if (!stored && is_narrow(to))
    *r = kemit_from_memory(k, to, *r);
  return ST_OK;
}
