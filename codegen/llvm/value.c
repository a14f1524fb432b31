/* value.c - types, constants and small operations over the LLVM builder, for scalars and vectors alike.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

#include <string.h>

LType emit_vec(LType t, int lanes) { return lanes == 1 ? t : LLVMVectorType(t, (unsigned)lanes); }

static int type_lanes(LType t) { return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1; }
static LType elem_type(LType t) { return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t; }

int emit_lanes(LVal v) { return type_lanes(LLVMTypeOf(v)); }
LType emit_like(LType elem, LVal v) { return emit_vec(elem, emit_lanes(v)); }

static LVal constant_splat(LType t, LVal one) {
  LVal all[256];
  int n = type_lanes(t);
  if (LLVMGetTypeKind(t) != LLVMVectorTypeKind)
    return one;
  for (int i = 0; i < n; i++)
    all[i] = one;
  return LLVMConstVector(all, (unsigned)n);
}

LVal emit_real(LType t, double v) { return constant_splat(t, LLVMConstReal(elem_type(t), v)); }
LVal emit_int(LType t, int64_t v) { return constant_splat(t, LLVMConstInt(elem_type(t), (unsigned long long)v, 1)); }

LVal emit_splat(Emitter *e, LVal v, int lanes) {
  if (lanes == 1 || emit_lanes(v) > 1)
    return v;
  LType t = emit_vec(LLVMTypeOf(v), lanes);
  if (LLVMIsConstant(v))
    return constant_splat(t, v);
  LVal one = LLVMBuildInsertElement(e->b, LLVMGetPoison(t), v, LLVMConstInt(e->i32, 0, 0), "");
  return LLVMBuildShuffleVector(e->b, one, LLVMGetPoison(t), LLVMConstNull(emit_vec(e->i32, lanes)), "");
}

LVal emit_match(Emitter *e, LVal v, LVal like) { return emit_splat(e, v, emit_lanes(like)); }

LVal emit_iota(Emitter *e, LType elem, int lanes) {
  LVal all[256];
  (void)e;
  for (int i = 0; i < lanes; i++)
    all[i] = LLVMConstInt(elem, (unsigned)i, 0);
  return lanes == 1 ? all[0] : LLVMConstVector(all, (unsigned)lanes);
}

static LVal call(Emitter *e, const char *name, LType *overload, unsigned noverload, LVal *arg, unsigned n) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  LVal f = LLVMGetIntrinsicDeclaration(e->mod, id, overload, noverload);
  return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, arg, n, "");
}

LVal emit_call(Emitter *e, const char *name, LType overload, LVal *arg, unsigned n) {
  return call(e, name, &overload, 1, arg, n);
}

/* llvm.fmuladd never becomes a call, llvm.fma does where there is no instruction. */
LVal emit_fma(Emitter *e, LVal a, LVal b, LVal c) {
  LVal arg[] = {a, b, c};
  return emit_call(e, e->fma ? "llvm.fma" : "llvm.fmuladd", LLVMTypeOf(a), arg, 3);
}

LVal emit_bitcast(Emitter *e, LVal v, LType elem) { return LLVMBuildBitCast(e->b, v, emit_like(elem, v), ""); }

LVal emit_select(Emitter *e, LVal cond, LVal a, LVal b) {
  int n = emit_lanes(cond), na = emit_lanes(a), nb = emit_lanes(b);
  n = na > n ? na : n, n = nb > n ? nb : n;
  return LLVMBuildSelect(e->b, cond, emit_splat(e, a, n), emit_splat(e, b, n), "");
}

LVal emit_min_fast(Emitter *e, LVal a, LVal b) {
  return LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, LLVMRealOLT, a, b, ""), a, b, "");
}

LVal emit_max_fast(Emitter *e, LVal a, LVal b) {
  return LLVMBuildSelect(e->b, LLVMBuildFCmp(e->b, LLVMRealOGT, a, b, ""), a, b, "");
}

LVal emit_any(Emitter *e, LVal mask) {
  int n = emit_lanes(mask);
  if (n == 1)
    return mask;
  return emit_call(e, "llvm.vector.reduce.or", LLVMTypeOf(mask), &mask, 1);
}

LLVMBasicBlockRef emit_block(Emitter *e, const char *name) {
  return LLVMAppendBasicBlockInContext(e->lc, LLVMGetBasicBlockParent(LLVMGetInsertBlock(e->b)), name);
}

/* --- masked access. Up to LLVM 21 the alignment is an operand, from 22 on an attribute of the pointer. --- */

#if LLVM_VERSION_MAJOR >= 22
static LVal masked(Emitter *e, const char *name, LType *overload, LVal *arg, unsigned n, unsigned pointer,
                   unsigned align) {
  LVal r = call(e, name, overload, 2, arg, n);
  unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);
  LLVMAddCallSiteAttribute(r, pointer + 1, LLVMCreateEnumAttribute(e->lc, kind, align));
  return r;
}
#else
static LVal masked(Emitter *e, const char *name, LType *overload, LVal *arg, unsigned n, unsigned pointer,
                   unsigned align) {
  LVal with[8];
  unsigned k = 0;
  for (unsigned i = 0; i < n; i++) {
    with[k++] = arg[i];
    if (i == pointer)
      with[k++] = LLVMConstInt(e->i32, align, 0);
  }
  return call(e, name, overload, 2, with, k);
}
#endif

LVal emit_masked_load(Emitter *e, LType vec, LVal p, LVal mask, LVal other, unsigned align) {
  return masked(e, "llvm.masked.load", (LType[]){vec, LLVMTypeOf(p)}, (LVal[]){p, mask, other}, 3, 0, align);
}

void emit_masked_store(Emitter *e, LVal v, LVal p, LVal mask, unsigned align) {
  masked(e, "llvm.masked.store", (LType[]){LLVMTypeOf(v), LLVMTypeOf(p)}, (LVal[]){v, p, mask}, 3, 1, align);
}

LVal emit_gather(Emitter *e, LType vec, LVal ptrs, LVal mask, LVal other, unsigned align) {
  return masked(e, "llvm.masked.gather", (LType[]){vec, LLVMTypeOf(ptrs)}, (LVal[]){ptrs, mask, other}, 3, 0, align);
}

void emit_scatter(Emitter *e, LVal v, LVal ptrs, LVal mask, unsigned align) {
  masked(e, "llvm.masked.scatter", (LType[]){LLVMTypeOf(v), LLVMTypeOf(ptrs)}, (LVal[]){v, ptrs, mask}, 3, 1, align);
}

void emit_stream(Emitter *e, LVal v, LVal p, int align) {
  LVal store = LLVMBuildStore(e->b, v, p);
  LLVMMetadataRef one = LLVMValueAsMetadata(LLVMConstInt(e->i32, 1, 0));
  LLVMSetAlignment(store, (unsigned)align);
  LLVMSetMetadata(store, LLVMGetMDKindIDInContext(e->lc, "nontemporal", 11),
                  LLVMMetadataAsValue(e->lc, LLVMMDNodeInContext2(e->lc, &one, 1)));
}

void emit_fence(Emitter *e) { call(e, "llvm.x86.sse.sfence", NULL, 0, NULL, 0); }

void emit_prefetch(Emitter *e, LVal p) {
  LVal read = LLVMConstInt(e->i32, 0, 0), keep = LLVMConstInt(e->i32, 3, 0), data = LLVMConstInt(e->i32, 1, 0);
  emit_call(e, "llvm.prefetch", e->ptr, (LVal[]){p, read, keep, data}, 4);
}

LVal emit_pick(Emitter *e, LVal a, LVal b, LVal at) {
  return call(e, "llvm.x86.avx512.vpermi2var.d.512", NULL, 0, (LVal[]){a, at, b}, 3);
}

LVal emit_pick16(Emitter *e, LVal a, LVal at) {
  return call(e, "llvm.x86.avx512.permvar.sf.512", NULL, 0, (LVal[]){a, at}, 2);
}

LVal emit_pick8(Emitter *e, LVal a, LVal at) { return call(e, "llvm.x86.avx2.permd", NULL, 0, (LVal[]){a, at}, 2); }

LVal emit_scalef(Emitter *e, LVal a, LVal n) {
  LVal all = LLVMConstInt(e->i16, 0xffff, 0), round = LLVMConstInt(e->i32, 4, 0); /* as ever */
  return call(e, "llvm.x86.avx512.mask.scalef.ps.512", NULL, 0, (LVal[]){a, n, a, all, round}, 5);
}

LVal emit_bounded(Emitter *e, LVal a, LVal most) {
  LVal all = LLVMConstInt(e->i16, 0xffff, 0), least = LLVMConstInt(e->i32, 2, 0), round = LLVMConstInt(e->i32, 4, 0);
  return call(e, "llvm.x86.avx512.mask.range.ps.512", NULL, 0, (LVal[]){a, most, least, a, all, round}, 6);
}

LVal emit_fraction(Emitter *e, LVal a) {
  LVal all = LLVMConstInt(e->i16, 0xffff, 0), down = LLVMConstInt(e->i32, 9, 0), round = LLVMConstInt(e->i32, 4, 0);
  return call(e, "llvm.x86.avx512.mask.reduce.ps.512", NULL, 0, (LVal[]){a, down, a, all, round}, 5);
}

LVal emit_to_i32(Emitter *e, LVal a) {
  LVal all = LLVMConstInt(e->i16, 0xffff, 0), round = LLVMConstInt(e->i32, 4, 0); /* as ever */
  if (emit_lanes(a) == 32)
    return emit_side_by_side(e, emit_to_i32(e, emit_lanes_of(e, a, 0, 16)),
                             emit_to_i32(e, emit_lanes_of(e, a, 16, 16)));
  LVal none = LLVMConstNull(emit_like(e->i32, a));
  return call(e, "llvm.x86.avx512.mask.cvtps2dq.512", NULL, 0, (LVal[]){a, none, all, round}, 4);
}

LVal emit_lanes_of(Emitter *e, LVal v, int from, int n) {
  LVal at[256];
  for (int i = 0; i < n; i++)
    at[i] = emit_int(e->i32, from + i);
  return LLVMBuildShuffleVector(e->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(at, (unsigned)n), "");
}

LVal emit_side_by_side(Emitter *e, LVal a, LVal b) {
  LVal at[256];
  int n = 2 * emit_lanes(a);
  for (int i = 0; i < n; i++)
    at[i] = emit_int(e->i32, i);
  return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(at, (unsigned)n), "");
}

/* --- functions that units share --- */

struct Shared {
  const char *text;
  LVal fn;
  struct Shared *next;
};

LVal emit_find_shared(const Emitter *e, const char *text) {
  for (const struct Shared *s = e->shared; s; s = s->next)
    if (!strcmp(s->text, text))
      return s->fn;
  return NULL;
}

void emit_add_shared(Emitter *e, const char *text, LVal fn) {
  struct Shared *s = arena_new(e->a, struct Shared);
  *s = (struct Shared){text, fn, e->shared};
  e->shared = s;
}
