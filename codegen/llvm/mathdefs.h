/* mathdefs.h - short names for the builder, for math.c, trig.c and power.c: e is the emitter, operands are of one type.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_MATHDEFS_H
#define SARD_CODEGEN_LLVM_MATHDEFS_H

#include "codegen/llvm/internal.h"

#define B               (e->b)
#define ADD(x, y)       LLVMBuildFAdd(B, x, y, "")
#define SUB(x, y)       LLVMBuildFSub(B, x, y, "")
#define MUL(x, y)       LLVMBuildFMul(B, x, y, "")
#define DIV(x, y)       LLVMBuildFDiv(B, x, y, "")
#define NEG(x)          LLVMBuildFNeg(B, x, "")
#define K(like, v)      emit_real(LLVMTypeOf(like), v)
#define KI(like, v)     emit_int(LLVMTypeOf(like), v)
#define CMP(op, x, y)   LLVMBuildFCmp(B, LLVMReal##op, x, y, "")
#define ICMP(op, x, y)  LLVMBuildICmp(B, LLVMInt##op, x, y, "")
#define SELECT(c, x, y) LLVMBuildSelect(B, c, x, y, "")
#define AND(x, y)       LLVMBuildAnd(B, x, y, "")
#define OR(x, y)        LLVMBuildOr(B, x, y, "")
#define SHL(x, n)       shl_by(e, x, n)
#define LSHR(x, n)      lshr_by(e, x, n)
#define ASHR(x, n)      ashr_by(e, x, n)
#define IADD(x, y)      LLVMBuildAdd(B, x, y, "")
#define ISUB(x, y)      LLVMBuildSub(B, x, y, "")
#define IMUL(x, y)      LLVMBuildMul(B, x, y, "")

static inline LVal shl_by(Emitter *e, LVal x, int n) { return LLVMBuildShl(B, x, KI(x, n), ""); }
static inline LVal lshr_by(Emitter *e, LVal x, int n) { return LLVMBuildLShr(B, x, KI(x, n), ""); }
static inline LVal ashr_by(Emitter *e, LVal x, int n) { return LLVMBuildAShr(B, x, KI(x, n), ""); }

static inline LVal absolute(Emitter *e, LVal x) { return emit_call(e, "llvm.fabs", LLVMTypeOf(x), &x, 1); }
static inline LVal root(Emitter *e, LVal x) { return emit_call(e, "llvm.sqrt", LLVMTypeOf(x), &x, 1); }
static inline LVal copysign_of(Emitter *e, LVal x, LVal sign) {
  return emit_call(e, "llvm.copysign", LLVMTypeOf(x), (LVal[]){x, sign}, 2);
}
static inline bool is_f64(Emitter *e, LVal x) { return LLVMTypeOf(x) == emit_like(e->f64, x); }
static inline LVal widen(Emitter *e, LVal x) {
  return is_f64(e, x) ? x : LLVMBuildFPExt(B, x, emit_like(e->f64, x), "");
}
static inline LVal narrow(Emitter *e, LVal x, LVal like) {
  return is_f64(e, like) ? x : LLVMBuildFPTrunc(B, x, LLVMTypeOf(like), "");
}

/* --- math.c --- */
LVal math_poly(Emitter *e, LVal x, const double *c, int n); /* c[0] + c[1] x + … by Horner */
LVal math_scale(Emitter *e, LVal p, LVal n);                /* p * 2^n, overflow and subnormal results included */
LVal math_exp_f64(Emitter *e, LVal x);
LVal math_log_f64(Emitter *e, LVal x);
LVal math_log1p_f64(Emitter *e, LVal x);
LVal math_rounding(Emitter *e, KOp op, LVal x);

/* --- power.c --- */
LVal math_two_product(Emitter *e, LVal a, LVal b, LVal *rest); /* f64: a b = the result + *rest, exactly */

/* --- trig.c --- */
LVal math_sine(Emitter *e, KOp op, LVal x);    /* sin, cos, tan */
LVal math_inverse(Emitter *e, KOp op, LVal x); /* asin … atanh */

#endif
