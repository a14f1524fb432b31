/* weights.c - emission for constants B that are rounded to bf16 or f16 (codegen/product.h says how they lie).
 *
 * Where the CPU multiplies bf16, the rows of A of a part are rounded into scratch memory, once for all its columns, and one instruction
 * adds the products of a pair of k to a sum of f32. Elsewhere numbers are made f32, which is exact, and multiplied as such: few rows
 * do so as they read B, and are bound by that; for more rows a block of a panel is made f32 in scratch memory before. Either way the
 * sums are those of one order, and the bits do not depend on how many rows there are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"

static LVal load(Emitter *e, LType elem, int n, LVal p) {
  LVal v = LLVMBuildLoad2(e->b, emit_vec(elem, n), p, "");
  LLVMSetAlignment(v, 2);
  return v;
}

void weights_load(Emitter *e, const TileKernel *t, LVal p, LVal *b, LVal *next) {
  if (t->dots) {
    *b = load_f32(e, t->lanes, p);
  } else if (t->b == DT_f16) {
    *b = emit_f16_load(e, load(e, e->i16, t->lanes, p));
  } else {
    LVal both = load(e, e->i32, t->lanes, p);
    LType whole = LLVMTypeOf(both);
    *b = emit_bitcast(e, LLVMBuildShl(e->b, both, emit_int(whole, 16), ""), e->f32);
    *next = emit_bitcast(e, LLVMBuildAnd(e->b, both, emit_int(whole, -65536), ""), e->f32);
  }
}

static LVal intrinsic(Emitter *e, const char *name, size_t length, LVal *arg, unsigned n) {
  LVal f = LLVMGetIntrinsicDeclaration(e->mod, LLVMLookupIntrinsicID(name, length), NULL, 0);
  return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, arg, n, "");
}

LVal weights_dot(Emitter *e, LVal a, LVal b, LVal sum) {
  static const char name[] = "llvm.x86.avx512bf16.dpbf16ps.512";
  LType pairs = LLVMVectorType(LLVMBFloatTypeInContext(e->lc), 32);
  LVal arg[] = {sum, LLVMBuildBitCast(e->b, a, pairs, ""), LLVMBuildBitCast(e->b, b, pairs, "")};
  return intrinsic(e, name, sizeof name - 1, arg, countof(arg));
}

/* A function of the module that g->pack is, with its arguments in a[]; the builder stands in it. Returns where it stood. */
static LLVMBasicBlockRef pack_begin(Gen *g, const char *what, LType *param, unsigned n, LVal *a) {
  Emitter *e = g->e;
  LType none = LLVMVoidTypeInContext(e->lc);
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  g->pack_type = LLVMFunctionType(none, param, n, 0);
  g->pack = function_begin(e, sub_name(g, what, 0), none, param, n);
  LLVMGetParams(g->pack, a);
  return back;
}

static void pack_end(Gen *g, LLVMBasicBlockRef back) {
  LLVMBuildRetVoid(g->e->b);
  if (back)
    LLVMPositionBuilderAtEnd(g->e->b, back);
}

/* --- many rows, without instructions for bf16 --- */

void weights_unpack(Gen *g) {
  Emitter *e = g->e;
  TileKernel t = {.lanes = lanes(g), .b = g->p->weights};
  int n = lanes(g), nr = g->plan.nr, pair = t.b == DT_bf16 ? 2 : 1;
  LType param[] = {e->ptr, e->i64, e->ptr};
  LVal a[countof(param)], x[2];
  LLVMBasicBlockRef back = pack_begin(g, "unpack", param, countof(param), a);
  Loop l = loop_begin(e, i64_of(e, 0), a[1], pair);
  LVal from = at_bytes(e, a[0], i64_muli(e, l.i, nr * 2)), to = at_bytes(e, a[2], i64_muli(e, l.i, nr * 4));
  for (int v = 0; v < nr / n; v++) {
    weights_load(e, &t, at_bytes(e, from, i64_of(e, v * n * 2 * pair)), &x[0], &x[1]);
    for (int half = 0; half < pair; half++)
      store_f32(e, x[half], at_bytes(e, to, i64_of(e, (half * nr + v * n) * 4)));
  }
  loop_end(e, &l);
  pack_end(g, back);
  g->unpacks = true;
}

/* --- with them --- */

enum { CHUNK = 32 }; /* bf16 of a vector */

/* CHUNK numbers from p on, those below `left` as they are, others as zero; left NULL: all are. */
static LVal rounded(Emitter *e, LVal p, LVal left) {
  static const char name[] = "llvm.x86.avx512bf16.cvtne2ps2bf16.512";
  LVal half[2];
  LType vec = emit_vec(e->f32, CHUNK / 2);
  for (int i = 0; i < 2; i++) {
    LVal at = at_bytes(e, p, i64_of(e, i * CHUNK / 2 * 4));
    if (!left) {
      half[i] = load_f32(e, CHUNK / 2, at);
      continue;
    }
    LVal room = LLVMBuildTrunc(e->b, i64_sub(e, left, i64_of(e, i * CHUNK / 2)), e->i32, "");
    LVal mask = LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->i32, CHUNK / 2), emit_splat(e, room, CHUNK / 2), "");
    half[i] = emit_masked_load(e, vec, at, mask, emit_real(vec, 0), 4);
  }
  LVal arg[] = {half[1], half[0]};
  return intrinsic(e, name, sizeof name - 1, arg, countof(arg));
}

static void store_pairs(Emitter *e, LVal v, LVal p) { LLVMSetAlignment(LLVMBuildStore(e->b, v, p), 64); }

void weights_round(Gen *g) {
  Emitter *e = g->e;
  LType param[] = {e->ptr, e->i64, e->i64, e->i64, e->ptr};
  LVal a[countof(param)];
  LLVMBasicBlockRef back = pack_begin(g, "round", param, countof(param), a);
  LVal steps = a[3], whole = LLVMBuildAnd(e->b, steps, i64_of(e, -CHUNK), "");
  Loop r = loop_begin(e, i64_of(e, 0), a[2], 1);
  LVal from = at_bytes(e, a[0], i64_mul(e, r.i, a[1])), to = at_bytes(e, a[4], i64_muli(e, r.i, g->plan.dots));
  Loop l = loop_begin(e, i64_of(e, 0), whole, CHUNK);
  store_pairs(e, rounded(e, at_float(e, from, l.i), NULL), at_bytes(e, to, i64_muli(e, l.i, 2)));
  loop_end(e, &l);
  LLVMBasicBlockRef done = when_begin(e, i64_less(e, whole, steps));
  LVal rest = rounded(e, at_float(e, from, whole), i64_sub(e, steps, whole));
  store_pairs(e, rest, at_bytes(e, to, i64_muli(e, whole, 2)));
  when_end(e, done);
  loop_end(e, &r);
  pack_end(g, back);
}
