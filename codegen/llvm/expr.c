/* expr.c - kernel expressions as LLVM values: operators by type, and loads and stores by how their address moves from lane
 * to lane (not at all: one scalar access; by one: a vector access; otherwise gather and scatter).
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/kemit.h"

enum { MAX_DEPTH = 200 };

#define B (k->e->b)

Status kemit_unsupported(const KEmit *k, const char *what) {
  return fail(k->e->c, ST_UNSUPPORTED, "kernel '%s': no code generation for %s", k->k->name, what);
}

/* --- types --- */

static LType memory_type(const KEmit *k, DType t) {
  const Emitter *e = k->e;
  switch (t) {
  case DT_f32: return e->f32;
  case DT_f64: return e->f64;
  case DT_f16:
  case DT_bf16:
  case DT_i16:
  case DT_u16: return e->i16;
  case DT_i8:
  case DT_u8:
  case DT_bool: return e->i8;
  case DT_i32:
  case DT_u32: return e->i32;
  case DT_i64:
  case DT_u64: return e->i64;
  default: return NULL;
  }
}

LType kemit_type(const KEmit *k, DType t) {
  return t == DT_bool ? k->e->i1 : t == DT_f16 || t == DT_bf16 ? k->e->f32 : memory_type(k, t);
}

static bool is_unsigned(DType t) { return dtype_kind(t) == DK_UINT || t == DT_bool; }

static LVal from_memory(KEmit *k, DType t, LVal v) {
  if (t == DT_f16)
    return emit_f16_load(k->e, v);
  if (t == DT_bf16)
    return emit_bf16_load(k->e, v);
  return t == DT_bool ? LLVMBuildICmp(B, LLVMIntNE, v, emit_int(LLVMTypeOf(v), 0), "") : v;
}

static LVal to_memory(KEmit *k, DType t, LVal v) {
  if (t == DT_f16)
    return emit_f16_store(k->e, v);
  if (t == DT_bf16)
    return emit_bf16_store(k->e, v);
  return t == DT_bool ? LLVMBuildZExt(B, v, emit_like(k->e->i8, v), "") : v;
}

LVal kemit_dim(KEmit *k, Dim d) {
  int64_t v;
  if (dim_is_const(d, &v))
    return emit_int(k->e->i64, v);
  for (uint32_t i = 0; i < k->ndim; i++)
    if (k->dim[i] == d)
      return k->dim_value[i];
  return NULL;
}

/* --- how an expression moves from lane to lane --- */

static bool varies(const KEmit *k, const KExpr *x) {
  switch (x->kind) {
  case KE_VAR: return x->var == k->lane_var || (k->var[x->var->id] && emit_lanes(k->var[x->var->id]) > 1);
  case KE_LOAD:
    if (!x->buf->index && !x->buf->output && k->input0)
      return emit_lanes(k->input0) > 1;
    for (int i = 0; i < x->buf->rank; i++)
      if (varies(k, x->index[i]))
        return true;
    return false;
  case KE_SELECT:
  case KE_BINARY:
  case KE_UNARY:
  case KE_CAST:
    for (int i = 0; i < 3 && x->arg[i]; i++)
      if (varies(k, x->arg[i]))
        return true;
    return false;
  default: return false;
  }
}

/* Is x = (something uniform) + step * lane? */
static bool linear(const KEmit *k, const KExpr *x, int64_t *step) {
  int64_t a, b;
  *step = 0;
  if (k->lanes == 1 || !varies(k, x))
    return true;
  if (x->kind == KE_VAR) {
    if (x->var != k->lane_var)
      return x->var->def->kind == KS_LET && linear(k, x->var->def->value, step);
    *step = 1;
    return true;
  }
  if (x->kind != KE_BINARY || !linear(k, x->arg[0], &a) || !linear(k, x->arg[1], &b))
    return false;
  if (x->op == KOP_add)
    return !__builtin_add_overflow(a, b, step);
  if (x->op == KOP_sub)
    return !__builtin_sub_overflow(a, b, step);
  if (x->op != KOP_mul)
    return false;
  if (x->arg[0]->kind == KE_INT)
    return !__builtin_mul_overflow(x->arg[0]->i, b, step);
  return x->arg[1]->kind == KE_INT && !__builtin_mul_overflow(x->arg[1]->i, a, step);
}

/* --- addresses --- */

typedef enum { UNIFORM, CONTIGUOUS, SCATTERED } Access;

typedef struct Address {
  Access how;
  LVal p; /* of lane 0, or a vector of addresses */
} Address;

static LVal element_pointer(KEmit *k, const KBuf *b, LVal offset) {
  return LLVMBuildGEP2(B, memory_type(k, b->dtype), k->buf[b->index], &offset, 1, "");
}

static Status flat(KEmit *k, const KBuf *b, KExpr *const *index, bool at_base, LVal *offset) {
  bool saved = k->at_base;
  LVal sum = NULL;
  k->at_base = at_base || saved;
  for (int i = 0; i < b->rank; i++) {
    LVal v;
    TRY(kemit_expr(k, index[i], &v));
    if (i + 1 < b->rank)
      v = LLVMBuildMul(B, v, emit_match(k->e, k->stride[b->index][i], v), "");
    if (!sum)
      sum = v;
    else {
      LVal s = emit_match(k->e, sum, v);
      sum = LLVMBuildAdd(B, s, emit_match(k->e, v, s), "");
    }
  }
  k->at_base = saved;
  *offset = sum ? sum : emit_int(k->e->i64, 0);
  return ST_OK;
}

static Status address(KEmit *k, const KBuf *b, KExpr *const *index, Address *a) {
  bool vector = k->lanes > 1 && !k->at_base, all_linear = true;
  LVal step = emit_int(k->e->i64, 0), offset;
  for (int i = 0; vector && all_linear && i < b->rank; i++) {
    int64_t s;
    all_linear = linear(k, index[i], &s);
    if (all_linear && s)
      step = LLVMBuildAdd(B, step, LLVMBuildMul(B, k->stride[b->index][i], emit_int(k->e->i64, s), ""), "");
  }
  TRY(flat(k, b, index, all_linear, &offset));
  if (!vector || (all_linear && LLVMIsAConstantInt(step) && !LLVMConstIntGetSExtValue(step))) {
    *a = (Address){UNIFORM, element_pointer(k, b, offset)};
    return ST_OK;
  }
  if (all_linear && LLVMIsAConstantInt(step) && LLVMConstIntGetSExtValue(step) == 1) {
    *a = (Address){CONTIGUOUS, element_pointer(k, b, offset)};
    return ST_OK;
  }
  if (all_linear) {
    LVal lanes = LLVMBuildMul(B, emit_iota(k->e, k->e->i64, k->lanes), emit_splat(k->e, step, k->lanes), "");
    offset = LLVMBuildAdd(B, emit_splat(k->e, offset, k->lanes), lanes, "");
  }
  *a = (Address){SCATTERED, element_pointer(k, b, offset)};
  return ST_OK;
}

static unsigned element_bytes(DType t) { return (unsigned)dtype_bits(t) / 8; }

static LVal all_lanes(KEmit *k) { return k->mask ? k->mask : emit_int(emit_vec(k->e->i1, k->lanes), 1); }

static Status load(KEmit *k, const KExpr *x, LVal *r) {
  const DType t = x->dtype;
  Address a;
  LVal v;
  if (k->input0 && !x->buf->index && !x->buf->output) {
    *r = k->input0;
    return ST_OK;
  }
  TRY(address(k, x->buf, x->index, &a));
  LType elem = memory_type(k, t), vec = emit_vec(elem, k->lanes);
  unsigned align = element_bytes(t);
  if (a.how == SCATTERED)
    v = emit_gather(k->e, vec, a.p, all_lanes(k), LLVMConstNull(vec), align);
  else if (a.how == CONTIGUOUS && k->mask)
    v = emit_masked_load(k->e, vec, a.p, k->mask, LLVMConstNull(vec), align);
  else {
    v = LLVMBuildLoad2(B, a.how == CONTIGUOUS ? vec : elem, a.p, "");
    LLVMSetAlignment(v, align);
  }
  *r = from_memory(k, t, v);
  return ST_OK;
}

Status kemit_store(KEmit *k, const KStmt *s) {
  const DType t = s->buf->dtype;
  Address a;
  LVal v;
  TRY(kemit_expr(k, s->value, &v));
  TRY(address(k, s->buf, s->index, &a));
  unsigned align = element_bytes(t);
  if (a.how == UNIFORM) {
    if (emit_lanes(v) > 1)
      return kemit_unsupported(k, "a vector loop that stores to one element");
    LLVMSetAlignment(LLVMBuildStore(B, to_memory(k, t, v), a.p), align);
    return ST_OK;
  }
  v = to_memory(k, t, emit_splat(k->e, v, k->lanes));
  if (a.how == SCATTERED)
    emit_scatter(k->e, v, a.p, all_lanes(k), align);
  else if (k->mask)
    emit_masked_store(k->e, v, a.p, k->mask, align);
  else
    LLVMSetAlignment(LLVMBuildStore(B, v, a.p), align);
  return ST_OK;
}

/* --- operators --- */

static LVal nan_or(KEmit *k, LVal a, LVal r) { /* a when it is NaN, else r */
  return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealUNO, a, a, ""), a, r, "");
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
  case KOP_min: *r = nan_or(k, a, emit_min_fast(k->e, a, b)); return ST_OK;
  case KOP_max: *r = nan_or(k, a, emit_max_fast(k->e, a, b)); return ST_OK;
  case KOP_eq:
  case KOP_ne:
  case KOP_lt:
  case KOP_le: *r = LLVMBuildFCmp(B, (LLVMRealPredicate)compare[op], a, b, ""); return ST_OK;
  case KOP_pow:
  case KOP_fmod:
  case KOP_mod:
    if (LLVMTypeOf(a) != emit_like(k->e->f32, a))
      return kemit_unsupported(k, "pow and mod of f64");
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

static LVal shift(KEmit *k, KOp op, bool u, LVal a, LVal b) {
  LType t = LLVMTypeOf(a);
  LType elem = emit_lanes(a) > 1 ? LLVMGetElementType(t) : t;
  LVal bits = emit_int(t, LLVMGetIntTypeWidth(elem));
  LVal in = LLVMBuildICmp(B, LLVMIntULT, b, bits, "");
  LVal by = LLVMBuildSelect(B, in, b, emit_int(t, 0), "");
  LVal r = op == KOP_shl ? LLVMBuildShl(B, a, by, "") : u ? LLVMBuildLShr(B, a, by, "") : LLVMBuildAShr(B, a, by, "");
  return LLVMBuildSelect(B, in, r, emit_int(t, 0), "");
}

static Status int_binary(KEmit *k, bool u, KOp op, LVal a, LVal b, LVal *r) {
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
  case KOP_shr: *r = shift(k, op, u, a, b); break;
  default: return kemit_unsupported(k, "pow of integers");
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
  return int_binary(k, true, op, a, b, r);
}

Status kemit_binary(KEmit *k, DType t, KOp op, LVal a, LVal b, LVal *r) {
  a = emit_match(k->e, a, b), b = emit_match(k->e, b, a);
  if (dtype_is_float(t))
    return float_binary(k, op, a, b, r);
  return t == DT_bool ? bool_binary(k, op, a, b, r) : int_binary(k, is_unsigned(t), op, a, b, r);
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
  return ST_OK;
}

/* --- conversions --- */

/* Out of range saturates to 32 or 64 bits and then wraps; NaN gives 0. */
static LVal float_to_int(KEmit *k, DType to, LVal a) {
  bool wide = to == DT_i64 || to == DT_u64 || to == DT_u32;
  LType mid = emit_like(wide ? k->e->i64 : k->e->i32, a), out = emit_like(kemit_type(k, to), a);
  unsigned id = LLVMLookupIntrinsicID(to == DT_u64 ? "llvm.fptoui.sat" : "llvm.fptosi.sat", 15);
  LVal f = LLVMGetIntrinsicDeclaration(k->e->mod, id, (LType[]){mid, LLVMTypeOf(a)}, 2);
  LVal v = LLVMBuildCall2(B, LLVMGlobalGetValueType(f), f, &a, 1, "");
  return out == mid ? v : LLVMBuildTrunc(B, v, out, "");
}

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

static LVal to_float(KEmit *k, DType to, LVal a, bool f64) { /* a: f32 or f64 */
  if (to == DT_f64)
    return f64 ? a : LLVMBuildFPExt(B, a, emit_like(k->e->f64, a), "");
  if (to == DT_f32)
    return f64 ? LLVMBuildFPTrunc(B, a, emit_like(k->e->f32, a), "") : a;
  if (f64)
    a = round_to_odd(k, a);
  return from_memory(k, to, to_memory(k, to, a));
}

static Status cast(KEmit *k, DType from, DType to, LVal a, LVal *r) {
  LType t = kemit_type(k, to);
  if (!t)
    return kemit_unsupported(k, dtype_name(to));
  LType out = emit_like(t, a);
  if (dtype_is_float(from)) {
    if (dtype_is_float(to))
      *r = to_float(k, to, a, from == DT_f64);
    else if (to == DT_bool)
      *r = LLVMBuildFCmp(B, LLVMRealUNE, a, emit_real(LLVMTypeOf(a), 0), "");
    else
      *r = float_to_int(k, to, a);
    return ST_OK;
  }
  if (dtype_is_float(to)) { /* 64-bit integers go to narrow floats by f64, so that large ones round once or nearly so */
    bool wide = (to == DT_f16 || to == DT_bf16) && dtype_bits(from) >= 32;
    LType mid = emit_like(to == DT_f64 || wide ? k->e->f64 : k->e->f32, a);
    LVal v = is_unsigned(from) ? LLVMBuildUIToFP(B, a, mid, "") : LLVMBuildSIToFP(B, a, mid, "");
    *r = to_float(k, to, v, mid == emit_like(k->e->f64, a));
    return ST_OK;
  }
  if (to == DT_bool) {
    *r = LLVMBuildICmp(B, LLVMIntNE, a, emit_int(LLVMTypeOf(a), 0), "");
    return ST_OK;
  }
  *r = LLVMBuildIntCast2(B, a, out, !is_unsigned(from), "");
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
  TRY(kemit_expr(k, x->arg[0], &a));
  if (x->kind == KE_CAST)
    return cast(k, t, x->dtype, a, r);
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

static LVal real_constant(KEmit *k, DType t, double v) {
  if (t == DT_f16)
    v = f16_to_f32(f16_from_f64(v));
  else if (t == DT_bf16)
    v = bf16_to_f32(bf16_from_f64(v));
  return emit_real(kemit_type(k, t), t == DT_f32 ? (double)(float)v : v);
}

Status kemit_expr(KEmit *k, const KExpr *x, LVal *r) {
  Status st = ST_OK;
  LType t = kemit_type(k, x->dtype);
  if (!t)
    return kemit_unsupported(k, dtype_name(x->dtype));
  if (++k->depth > MAX_DEPTH)
    return kemit_unsupported(k, "so deep an expression");
  switch (x->kind) {
  case KE_FLOAT: *r = real_constant(k, x->dtype, x->f); break;
  case KE_INT: *r = emit_int(t, x->dtype == DT_bool ? x->i != 0 : x->i); break;
  case KE_DIM:
    *r = kemit_dim(k, x->dim);
    if (!*r)
      st = fail(k->e->c, ST_INTERNAL, "kernel '%s': a dim that its signature lacks", k->k->name);
    break;
  case KE_VAR: st = variable(k, x, r); break;
  case KE_LOAD: st = load(k, x, r); break;
  case KE_SELECT: st = select_value(k, x, r); break;
  default: st = operator(k, x, r); break;
  }
  k->depth--;
  return st;
}
