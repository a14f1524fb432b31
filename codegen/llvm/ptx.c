/* ptx.c - instructions that only GPUs have. SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/ptx.h"

#include <string.h>

static LVal intrinsic(Emitter *e, const char *name, LVal *arg, unsigned n) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  LVal f = LLVMGetIntrinsicDeclaration(e->mod, id, NULL, 0);
  return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, arg, n, "");
}

LVal ptx_thread(Emitter *e) { return intrinsic(e, "llvm.nvvm.read.ptx.sreg.tid.x", NULL, 0); }
LVal ptx_block(Emitter *e) { return intrinsic(e, "llvm.nvvm.read.ptx.sreg.ctaid.x", NULL, 0); }
LVal ptx_blocks(Emitter *e) { return intrinsic(e, "llvm.nvvm.read.ptx.sreg.nctaid.x", NULL, 0); }

void ptx_barrier(Emitter *e) {
#if LLVM_VERSION_MAJOR >= 21
  LVal zero = emit_int(e->i32, 0);
  intrinsic(e, "llvm.nvvm.barrier.cta.sync.aligned.all", &zero, 1);
#else
  intrinsic(e, "llvm.nvvm.barrier0", NULL, 0);
#endif
}

static LVal shuffle(Emitter *e, const char *name, LVal f32, LVal which) {
  LVal arg[] = {emit_int(e->i32, -1), LLVMBuildBitCast(e->b, f32, e->i32, ""), which, emit_int(e->i32, 31)};
  return LLVMBuildBitCast(e->b, intrinsic(e, name, arg, 4), e->f32, "");
}

LVal ptx_exchange(Emitter *e, LVal f32, int by) {
  return shuffle(e, "llvm.nvvm.shfl.sync.bfly.i32", f32, emit_int(e->i32, by));
}

LVal ptx_from_lane(Emitter *e, LVal f32, LVal lane) { return shuffle(e, "llvm.nvvm.shfl.sync.idx.i32", f32, lane); }

LVal ptx_shared(Emitter *e, const char *name, int64_t bytes) {
  LType t = LLVMArrayType2(e->i8, (uint64_t)bytes);
  LVal at = LLVMAddGlobalInAddressSpace(e->mod, t, name, GPU_SHARED);
  LLVMSetInitializer(at, LLVMGetUndef(t));
  LLVMSetLinkage(at, LLVMInternalLinkage);
  LLVMSetAlignment(at, 16);
  return at;
}

/* --- instructions as text --- */

/* All threads of a warp run it together: it must not be moved to where some of them are. */
static LVal assembly(Emitter *e, const char *text, const char *constraints, LType result, LVal *arg, unsigned n,
                     bool effects) {
  LType t[16];
  for (unsigned i = 0; i < n; i++)
    t[i] = LLVMTypeOf(arg[i]);
  LType fn = LLVMFunctionType(result, t, n, 0);
  LVal code = LLVMGetInlineAsm(fn, (char *)(uintptr_t)text, strlen(text), (char *)(uintptr_t)constraints,
                               strlen(constraints), effects, 0, LLVMInlineAsmDialectATT, 0);
  LVal r = LLVMBuildCall2(e->b, fn, code, arg, n, "");
  unsigned kind = LLVMGetEnumAttributeKindForName("convergent", 10);
  LLVMAddCallSiteAttribute(r, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(e->lc, kind, 0));
  return r;
}

void ptx_copy(Emitter *e, LVal to, LVal from, LVal bytes) {
  LVal arg[] = {to, from, bytes};
  assembly(e, "cp.async.cg.shared.global [$0], [$1], 16, $2;", "l,l,r,~{memory}", LLVMVoidTypeInContext(e->lc), arg, 3,
           true);
}

void ptx_copies_end(Emitter *e) {
  assembly(e, "cp.async.commit_group;", "~{memory}", LLVMVoidTypeInContext(e->lc), NULL, 0, true);
}

void ptx_copies_wait(Emitter *e, int left) {
  assembly(e, left ? "cp.async.wait_group 1;" : "cp.async.wait_group 0;", "~{memory}", LLVMVoidTypeInContext(e->lc),
           NULL, 0, true);
}

static LType four(Emitter *e, LType t) { return LLVMStructTypeInContext(e->lc, (LType[]){t, t, t, t}, 4, 0); }

/* The offset is part of the instruction: sums of addresses would be kept in registers from turn to turn. */
void ptx_matrices(Emitter *e, LVal at, int offset, bool transposed, LVal r[4]) {
  const char *text = transposed ? "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {$0,$1,$2,$3}, [$4+$5];"
                                : "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {$0,$1,$2,$3}, [$4+$5];";
  LVal arg[] = {at, emit_int(e->i32, offset)};
  LVal all = assembly(e, text, "=r,=r,=r,=r,l,n,~{memory}", four(e, e->i32), arg, 2, true);
  for (unsigned i = 0; i < 4; i++)
    r[i] = LLVMBuildExtractValue(e->b, all, i, "");
}

void ptx_multiply(Emitter *e, DType t, LVal const a[4], LVal const b[2], LVal sum[4]) {
  const char *text = t == DT_f16
                         ? "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, "
                           "{$10,$11,$12,$13};"
                         : "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, "
                           "{$10,$11,$12,$13};";
  LVal arg[] = {a[0], a[1], a[2], a[3], b[0], b[1], sum[0], sum[1], sum[2], sum[3]};
  LVal all = assembly(e, text, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f", four(e, e->f32), arg, 10, false);
  for (unsigned i = 0; i < 4; i++)
    sum[i] = LLVMBuildExtractValue(e->b, all, i, "");
}

void ptx_multiply_bytes(Emitter *e, DType t, LVal const a[4], LVal const b[2], LVal sum[4]) {
  const char *text = t == DT_u8
                         ? "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, "
                           "{$10,$11,$12,$13};"
                         : "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, "
                           "{$10,$11,$12,$13};";
  LVal arg[] = {a[0], a[1], a[2], a[3], b[0], b[1], sum[0], sum[1], sum[2], sum[3]};
  LVal all = assembly(e, text, "=r,=r,=r,=r,r,r,r,r,r,r,r,r,r,r", four(e, e->i32), arg, 10, false);
  for (unsigned i = 0; i < 4; i++)
    sum[i] = LLVMBuildExtractValue(e->b, all, i, "");
}

LVal ptx_add_bytes(Emitter *e, LVal word, LVal sum) {
  LVal arg[] = {word, emit_int(e->i32, 0x01010101), sum};
  return assembly(e, "dp4a.s32.s32 $0, $1, $2, $3;", "=r,r,r,r", e->i32, arg, 3, false);
}

LVal ptx_pair(Emitter *e, DType t, LVal low, LVal high) {
  LVal arg[] = {high, low};
  return assembly(e, t == DT_f16 ? "cvt.rn.f16x2.f32 $0, $1, $2;" : "cvt.rn.bf16x2.f32 $0, $1, $2;", "=r,f,f", e->i32,
                  arg, 2, false);
}

LVal ptx_exp2(Emitter *e, LVal f32) {
  return assembly(e, "ex2.approx.ftz.f32 $0, $1;", "=f,f", e->f32, &f32, 1, false);
}

LVal ptx_anew(Emitter *e, LVal v) { return assembly(e, "mov.b64 $0, $1;", "=l,l", e->i64, &v, 1, true); }
