/* expr.c - kernel expressions as LLVM values: operators by type. Loads and stores are in memory.c, casts in convert.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/kemit.h"

#include <math.h>

enum { MAX_DEPTH = 200 };

#define B (k->e->b)

Status kemit_unsupported(const KEmit *k, const char *what) {
  return fail(k->e->c, ST_UNSUPPORTED, "kernel '%s': no code generation for %s", k->k->name, what);
}

static bool is_unsigned(DType t) { return dtype_kind(t) == DK_UINT || t == DT_bool; }

LVal kemit_dim(KEmit *k, Dim d) {
  int64_t v;
  for (int i = 0; i < MAX_OPEN; i++)
    if (k->open.dim[i] == d)
      return k->open.value[i];
  if (dim_is_const(d, &v))
    return emit_int(k->e->i64, v);
  for (uint32_t i = 0; i < k->ndim; i++)
    if (k->dim[i] == d)
      return k->dim_value[i];
  return NULL;
}

/* --- operators --- */

static LVal nan_or(KEmit *k, LVal a, LVal r) { /* a when it is NaN, else r */
  return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealUNO, a, a, ""), a, r, "");
}

/* Is it a constant none of whose lanes is NaN? */
static bool is_number(LVal v) {
  LVal lane = v;
  LLVMBool lost;
  for (unsigned i = 0, n = (unsigned)emit_lanes(v); i < n; i++) {
    lane = LLVMIsConstant(v) && n > 1 ? LLVMGetAggregateElement(v, i) : v;
    if (!lane || !LLVMIsAConstantFP(lane) || isnan(LLVMConstRealGetDouble(lane, &lost)))
      return false;
  }
  return true;
}

/* The lesser or the greater of two, NaN if either is. The machine's instruction gives its second operand where one is NaN. */
static LVal extreme(KEmit *k, LVal a, LVal b, LVal (*fast)(Emitter *e, LVal a, LVal b)) {
  if (is_number(b))
    return fast(k->e, b, a);
  return is_number(a) ? fast(k->e, a, b) : nan_or(k, a, fast(k->e, a, b));
}

static Status float_binary(KEmit *k, KOp op, LVal a, LVal b, LVal *r) {
  static const uint8_t compare[KOP_count] = {
      [KOP_eq] = LLVMRealOEQ, [KOP_ne] = LLVMRealUNE, [KOP_lt] = LLVMRealOLT, [KOP_le] = LLVMRealOLE};
  LType t = LLVMTypeOf(a);
  LVal m, differ;
  switch (op) {
  case KOP_add: *r = LLVMBuildFAdd(B, a, b, ""); return ST_OK;
  case KOP_sub: *r = LLVMBuildFSub(B, a, b, ""); return ST_OK;
  case KOP_mul: *r = LLVMBuildFMul(B, a, b, ""); return ST_OK;
  case KOP_div: *r = LLVMBuildFDiv(B, a, b, ""); return ST_OK;
  case KOP_min: *r = extreme(k, a, b, emit_min_fast); return ST_OK;
  case KOP_max: *r = extreme(k, a, b, emit_max_fast); return ST_OK;
  case KOP_eq:
  case KOP_ne:
  case KOP_lt:
  case KOP_le: *r = LLVMBuildFCmp(B, (LLVMRealPredicate)compare[op], a, b, ""); return ST_OK;
  case KOP_pow:
  case KOP_fmod:
  case KOP_mod:
    if (op == KOP_pow) {
      *r = emit_pow(k->e, a, b);
      return ST_OK;
    }
    *r = m = emit_fmod(k->e, a, b);
    if (op == KOP_fmod)
      return ST_OK;
    differ = LLVMBuildXor(B, LLVMBuildFCmp(B, LLVMRealOLT, m, emit_real(t, 0), ""),
                          LLVMBuildFCmp(B, LLVMRealOLT, b, emit_real(t, 0), ""), "");
    differ = LLVMBuildAnd(B, differ, LLVMBuildFCmp(B, LLVMRealUNE, m, emit_real(t, 0), ""), "");
    *r = LLVMBuildSelect(B, differ, LLVMBuildFAdd(B, m, b, ""), m, "");
    differ = LLVMBuildFCmp(B, LLVMRealOEQ, m, emit_real(t, 0), ""); /* zero has the sign of the divisor too */
    *r = LLVMBuildSelect(B, differ, emit_call(k->e, "llvm.copysign", t, (LVal[]){m, b}, 2), *r, "");
    return ST_OK;
  default: return kemit_unsupported(k, kop_text(op));
  }
}

/* Division never traps, whatever the operands: what the kernel's checks did not refuse gives some number. */
static LVal divide(KEmit *k, KOp op, bool u, LVal a, LVal b) {
  LType t = LLVMTypeOf(a);
  LVal one = emit_int(t, 1), zero = emit_int(t, 0);
  LVal bad = LLVMBuildICmp(B, LLVMIntEQ, b, zero, "");
  if (!u) {
    LVal minus = LLVMBuildICmp(B, LLVMIntEQ, b, emit_int(t, -1), "");
    LVal q = LLVMBuildSelect(B, LLVMBuildOr(B, bad, minus, ""), one, b, ""), r;
    if (op == KOP_div) {
      r = LLVMBuildSDiv(B, a, q, "");
      return LLVMBuildSelect(B, minus, LLVMBuildNeg(B, a, ""), r, "");
    }
    r = LLVMBuildSRem(B, a, q, "");
    if (op == KOP_fmod)
      return r;
    LVal differ = LLVMBuildICmp(B, LLVMIntSLT, LLVMBuildXor(B, r, b, ""), zero, "");
    differ = LLVMBuildAnd(B, differ, LLVMBuildICmp(B, LLVMIntNE, r, zero, ""), "");
    return LLVMBuildSelect(B, differ, LLVMBuildAdd(B, r, b, ""), r, "");
  }
  LVal q = LLVMBuildSelect(B, bad, one, b, "");
  return op == KOP_div ? LLVMBuildUDiv(B, a, q, "") : LLVMBuildURem(B, a, q, "");
}

static LVal shift(KEmit *k, KOp op, DType dt, LVal a, LVal b) {
  LType t = LLVMTypeOf(a);
  bool u = is_unsigned(dt);
  LVal in = LLVMBuildICmp(B, LLVMIntULT, b, emit_int(t, dtype_bits(dt)), "");
  LVal by = LLVMBuildSelect(B, in, b, emit_int(t, 0), "");
  LVal r = op == KOP_shl ? LLVMBuildShl(B, a, by, "") : u ? LLVMBuildLShr(B, a, by, "") : LLVMBuildAShr(B, a, by, "");
  return LLVMBuildSelect(B, in, r, emit_int(t, 0), "");
}

static Status int_binary(KEmit *k, DType t, KOp op, LVal a, LVal b, LVal *r) {
  bool u = is_unsigned(t);
  switch (op) {
  case KOP_add: *r = LLVMBuildAdd(B, a, b, ""); break;
  case KOP_sub: *r = LLVMBuildSub(B, a, b, ""); break;
  case KOP_mul: *r = LLVMBuildMul(B, a, b, ""); break;
  case KOP_and: *r = LLVMBuildAnd(B, a, b, ""); break;
  case KOP_or: *r = LLVMBuildOr(B, a, b, ""); break;
  case KOP_xor: *r = LLVMBuildXor(B, a, b, ""); break;
  case KOP_eq: *r = LLVMBuildICmp(B, LLVMIntEQ, a, b, ""); break;
  case KOP_ne: *r = LLVMBuildICmp(B, LLVMIntNE, a, b, ""); break;
  case KOP_lt: *r = LLVMBuildICmp(B, u ? LLVMIntULT : LLVMIntSLT, a, b, ""); break;
  case KOP_le: *r = LLVMBuildICmp(B, u ? LLVMIntULE : LLVMIntSLE, a, b, ""); break;
  case KOP_min: *r = LLVMBuildSelect(B, LLVMBuildICmp(B, u ? LLVMIntULT : LLVMIntSLT, a, b, ""), a, b, ""); break;
  case KOP_max: *r = LLVMBuildSelect(B, LLVMBuildICmp(B, u ? LLVMIntUGT : LLVMIntSGT, a, b, ""), a, b, ""); break;
  case KOP_div:
  case KOP_mod:
  case KOP_fmod: *r = divide(k, op, u, a, b); break;
  case KOP_shl:
  case KOP_shr: *r = shift(k, op, t, a, b); break;
  case KOP_pow: *r = emit_pow_int(k->e, u, a, b); break;
  default: return kemit_unsupported(k, kop_text(op));
  }
  return ST_OK;
}

/* Sums of bools are or, products and. */
static Status bool_binary(KEmit *k, KOp op, LVal a, LVal b, LVal *r) {
  switch (op) {
  case KOP_add:
  case KOP_max: op = KOP_or; break;
  case KOP_mul:
  case KOP_min: op = KOP_and; break;
  case KOP_sub: op = KOP_xor; break;
  case KOP_div:
  case KOP_mod:
  case KOP_fmod:
  case KOP_shl:
  case KOP_shr: return kemit_unsupported(k, "division of bools");
  default: break;
  }
  return int_binary(k, DT_bool, op, a, b, r);
}

Status kemit_binary(KEmit *k, DType t, KOp op, LVal a, LVal b, LVal *r) {
  a = emit_match(k->e, a, b), b = emit_match(k->e, b, a);
  if (dtype_is_float(t))
    return float_binary(k, op, a, b, r);
  if (t == DT_bool)
    return bool_binary(k, op, a, b, r);
  if (dtype_kind(t) == DK_COMPLEX)
    return kemit_unsupported(k, "arithmetic of complex numbers");
  TRY(int_binary(k, t, op, a, b, r));
  if (dtype_bits(t) < 8 && LLVMTypeOf(*r) == LLVMTypeOf(a))
    *r = kemit_wrap(k, t, *r);
  return ST_OK;
}

static LVal float_sign(KEmit *k, LVal a) { /* NaN and zeros stay */
  LType t = LLVMTypeOf(a);
  LVal one =
      LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOGT, a, emit_real(t, 0), ""), emit_real(t, 1), emit_real(t, -1), "");
  LVal zero = LLVMBuildFCmp(B, LLVMRealUEQ, a, emit_real(t, 0), "");
  return LLVMBuildSelect(B, zero, LLVMBuildFAdd(B, a, emit_real(t, 0), ""), one, "");
}

static Status float_unary(KEmit *k, KOp op, LVal a, LVal *r) {
  LType t = LLVMTypeOf(a);
  bool f64 = t == emit_like(k->e->f64, a);
  switch (op) {
  case KOP_neg: *r = LLVMBuildFNeg(B, a, ""); return ST_OK;
  case KOP_abs: *r = emit_call(k->e, "llvm.fabs", t, &a, 1); return ST_OK;
  case KOP_sqrt: *r = emit_call(k->e, "llvm.sqrt", t, &a, 1); return ST_OK;
  case KOP_sign: *r = float_sign(k, a); return ST_OK;
  case KOP_isnan: *r = LLVMBuildFCmp(B, LLVMRealUNO, a, a, ""); return ST_OK;
  case KOP_isinf:
    a = emit_call(k->e, "llvm.fabs", t, &a, 1);
    *r = LLVMBuildFCmp(B, LLVMRealOEQ, a, emit_real(t, __builtin_inf()), "");
    return ST_OK;
  default:
    if (!math_has(op, f64 ? DT_f64 : DT_f32))
      return kemit_unsupported(k, kop_text(op));
    *r = emit_math(k->e, op, a);
    return ST_OK;
  }
}

static Status int_unary(KEmit *k, DType dt, KOp op, LVal a, LVal *r) {
  LType t = LLVMTypeOf(a);
  LVal zero = emit_int(t, 0), negative = LLVMBuildICmp(B, LLVMIntSLT, a, zero, "");
  bool u = is_unsigned(dt);
  switch (op) {
  case KOP_neg: *r = dt == DT_bool ? a : LLVMBuildNeg(B, a, ""); break;
  case KOP_not: *r = LLVMBuildNot(B, a, ""); break;
  case KOP_abs: *r = u ? a : LLVMBuildSelect(B, negative, LLVMBuildNeg(B, a, ""), a, ""); break;
  case KOP_sign:
    *r = LLVMBuildZExt(B, LLVMBuildICmp(B, LLVMIntNE, a, zero, ""), t, "");
    if (!u)
      *r = LLVMBuildSelect(B, negative, emit_int(t, -1), *r, "");
    break;
  case KOP_floor:
  case KOP_ceil:
  case KOP_round:
  case KOP_trunc: *r = a; break;
  case KOP_isnan:
  case KOP_isinf: *r = emit_int(emit_like(k->e->i1, a), 0); break;
  default: return kemit_unsupported(k, "a function of integers");
  }
  if (dtype_bits(dt) < 8 && LLVMTypeOf(*r) == t)
    *r = kemit_wrap(k, dt, *r);
  return ST_OK;
}

/* --- expressions --- */

static Status variable(KEmit *k, const KExpr *x, LVal *r) {
  LVal v = k->var[x->var->id];
  if (x->var == k->lane_var) {
    if (k->at_base || k->lanes == 1) {
      *r = k->lane_base;
      return ST_OK;
    }
    *r = LLVMBuildAdd(B, emit_splat(k->e, k->lane_base, k->lanes), emit_iota(k->e, k->e->i64, k->lanes), "");
    return ST_OK;
  }
  if (k->anew && x->var->def->kind == KS_LET && kernel_depends(x->var->def->value, k->ahead))
    return kemit_expr(k, x->var->def->value, r);
  if (!v)
    return fail(k->e->c, ST_INTERNAL, "kernel '%s': '%s' is used where it is not defined", k->k->name, x->var->name);
  if (k->at_base && emit_lanes(v) > 1) { /* only lets get here: linear() has seen to it */
    if (x->var->def->kind == KS_LET)
      return kemit_expr(k, x->var->def->value, r);
    v = LLVMBuildExtractElement(B, v, emit_int(k->e->i32, 0), "");
  }
  *r = v;
  return ST_OK;
}

static Status operator(KEmit *k, const KExpr *x, LVal *r) {
  LVal a, b;
  DType t = x->arg[0]->dtype;
  bool done = false;
  if (x->kind == KE_BINARY)
    TRY(kemit_compare_lanes(k, x, &done, r));
  if (x->kind == KE_BINARY && !done)
    TRY(kemit_dequantised(k, x, &done, r));
  if (done)
    return ST_OK;
  if (x->kind == KE_CAST)
    return kemit_cast(k, x, false, r);
  TRY(kemit_expr(k, x->arg[0], &a));
  if (x->kind == KE_BINARY) {
    TRY(kemit_expr(k, x->arg[1], &b));
    return kemit_binary(k, t, (KOp)x->op, a, b, r);
  }
  return dtype_is_float(t) ? float_unary(k, (KOp)x->op, a, r) : int_unary(k, t, (KOp)x->op, a, r);
}

static Status select_value(KEmit *k, const KExpr *x, LVal *r) {
  LVal c, a, b;
  TRY(kemit_expr(k, x->arg[0], &c));
  TRY(kemit_expr(k, x->arg[1], &a));
  TRY(kemit_expr(k, x->arg[2], &b));
  *r = emit_select(k->e, c, a, b);
  return ST_OK;
}

Status kemit_expr(KEmit *k, const KExpr *x, LVal *r) {
  Status st = ST_OK;
  LType t = kemit_type(k, x->dtype);
  if (!t)
    return kemit_unsupported(k, dtype_name(x->dtype));
  if (++k->depth > MAX_DEPTH)
    return kemit_unsupported(k, "so deep an expression");
  switch (x->kind) {
  case KE_FLOAT: *r = emit_real(t, dtype_round(x->dtype, x->f)); break;
  case KE_INT: *r = emit_int(t, x->dtype == DT_bool ? x->i != 0 : x->i); break;
  case KE_DIM:
    *r = kemit_dim(k, x->dim);
    if (!*r)
      st = fail(k->e->c, ST_INTERNAL, "kernel '%s': a dim that its signature lacks", k->k->name);
    break;
  case KE_VAR: st = variable(k, x, r); break;
  case KE_LOAD: st = kemit_load(k, x, r); break;
  case KE_SELECT: st = select_value(k, x, r); break;
  default: st = operator(k, x, r); break;
  }
  k->depth--;
  return st;
}
