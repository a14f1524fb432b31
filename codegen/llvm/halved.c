/* halved.c - rows of u8 for products whose pairs are summed in 16 bits (ProductPlan.halved).
 *
 * A pair of A by a pair of i8 fits where the pair's sum is at most 256. Other pairs are halved: a half stays, the rest goes into rows
 * of the same shape, and the step of k into a list, which the tile's kernel takes first. In scratch memory, behind the sums:
 *
 *     rows      mr of them, plan.halved bytes apart
 *     rests     of the same places, where the list says that some are not zero
 *     steps     their number, i64; then i32 each
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/integer.h"
#include "codegen/llvm/product.h"

enum { AT_A_TIME = 32, STEPS = AT_A_TIME / 4, MOST = 256, MANY = 3 };

static LVal load(Emitter *e, LType t, LVal p) {
  LVal v = LLVMBuildLoad2(e->b, t, p, "");
  LLVMSetAlignment(v, 1);
  return v;
}

static void store(Emitter *e, LVal v, LVal p) { LLVMSetAlignment(LLVMBuildStore(e->b, v, p), 1); }

LVal halved_row(Gen *g) { return g->halved_row ? g->halved_row : i64_of(g->e, g->plan.halved); }

LVal halved_rest(Gen *g, LVal a) { return at_bytes(g->e, a, i64_muli(g->e, halved_row(g), g->plan.mr)); }

static LVal number_at(Gen *g, LVal a) { return at_bytes(g->e, a, i64_muli(g->e, halved_row(g), 2 * g->plan.mr)); }

LVal halved_number(Gen *g, LVal a) { return load(g->e, g->e->i64, number_at(g, a)); }

LVal halved_step(Gen *g, LVal a, LVal i) {
  Emitter *e = g->e;
  LVal at = at_bytes(e, number_at(g, a), i64_add(e, i64_of(e, 8), i64_muli(e, i, 4)));
  return LLVMBuildZExt(e->b, load(e, e->i32, at), e->i64, "");
}

/* All ones in the 16 bits of each pair of v that is too large. */
static LVal too_large(Emitter *e, LVal v) {
  LType pairs = emit_vec(e->i16, AT_A_TIME / 2);
  LVal sum = emit_x86(e, "llvm.x86.avx2.pmadd.ub.sw", (LVal[]){v, emit_int(LLVMTypeOf(v), 1)}, 2, pairs);
  return LLVMBuildSExt(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, sum, emit_int(pairs, MOST), ""), pairs, "");
}

static void halve(Gen *g, LVal a, LVal rows, LVal at) {
  Emitter *e = g->e;
  LType bytes = emit_vec(e->i8, AT_A_TIME), pairs = emit_vec(e->i16, AT_A_TIME / 2);
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal p = at_bytes(e, a, i64_add(e, i64_mul(e, r.i, halved_row(g)), at)), v = load(e, bytes, p);
  LVal half = LLVMBuildLShr(e->b, LLVMBuildBitCast(e->b, v, pairs, ""), emit_int(pairs, 1), "");
  half = LLVMBuildAnd(e->b, half, emit_int(pairs, 0x7f7f), "");
  half = LLVMBuildBitCast(e->b, LLVMBuildAnd(e->b, half, too_large(e, v), ""), bytes, "");
  store(e, LLVMBuildSub(e->b, v, half, ""), p);
  store(e, half, halved_rest(g, p));
  loop_end(e, &r);
}

/* Is the list so long that sums of 32 bits take less time? */
static LVal is_long(Gen *g, LVal a, LVal steps) {
  return i64_less(g->e, steps, i64_muli(g->e, halved_number(g, a), MANY));
}

/* Those of 8 steps that `some` has pairs of are appended to the list. */
static void list_steps(Gen *g, LVal a, LVal some, LVal at) {
  Emitter *e = g->e;
  LType words = emit_vec(e->i32, STEPS);
  LVal set = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildBitCast(e->b, some, words, ""), emit_int(words, 0), "");
  LVal bits = LLVMBuildZExt(e->b, LLVMBuildBitCast(e->b, set, e->i8, ""), e->i64, ""), n = halved_number(g, a);
  LVal first = i64_div(e, at, i64_of(e, 4));
  for (int i = 0; i < STEPS; i++) {
    LVal to = at_bytes(e, number_at(g, a), i64_add(e, i64_of(e, 8), i64_muli(e, n, 4)));
    store(e, LLVMBuildTrunc(e->b, i64_add(e, first, i64_of(e, i)), e->i32, ""), to);
    LVal bit = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, bits, i64_of(e, i), ""), i64_of(e, 1), "");
    n = i64_add(e, n, bit);
  }
  store(e, n, number_at(g, a));
}

/* Of the rows at a, pairs that are too large are halved. */
static void halve_rows(Gen *g, LVal a, LVal rows, LVal steps) {
  Emitter *e = g->e;
  LVal row[16], last = i64_sub(e, rows, i64_of(e, 1)), some = NULL;
  for (int r = 0; r < g->plan.mr; r++) /* of fewer, the last one again */
    row[r] = at_bytes(e, a, i64_mul(e, i64_min(e, i64_of(e, r), last), halved_row(g)));
  store(e, i64_of(e, 0), number_at(g, a));
  Loop k = loop_begin(e, i64_of(e, 0), halved_row(g), AT_A_TIME);
  for (int r = 0; r < g->plan.mr; r++) {
    LVal large = too_large(e, load(e, emit_vec(e->i8, AT_A_TIME), at_bytes(e, row[r], k.i)));
    some = r ? LLVMBuildOr(e->b, some, large, "") : large;
  }
  LType all = LLVMIntTypeInContext(e->lc, AT_A_TIME * 8);
  LVal any = LLVMBuildICmp(e->b, LLVMIntNE, LLVMBuildBitCast(e->b, some, all, ""), LLVMConstInt(all, 0, 0), "");
  LVal few = LLVMBuildNot(e->b, is_long(g, a, steps), "");
  LLVMBasicBlockRef done = when_begin(e, LLVMBuildAnd(e->b, any, few, ""));
  halve(g, a, rows, k.i);
  list_steps(g, a, some, k.i);
  when_end(e, done);
  loop_end(e, &k);
}

/* i1: if that was so at more than a third of the steps, it was undone. */
static LVal undo(Gen *g, LVal a, LVal rows, LVal steps) {
  Emitter *e = g->e;
  LType bytes = emit_vec(e->i8, 4);
  LVal n = halved_number(g, a), many = is_long(g, a, steps);
  LLVMBasicBlockRef done = when_begin(e, many);
  Loop i = loop_begin(e, i64_of(e, 0), n, 1);
  LVal at = i64_muli(e, halved_step(g, a, i.i), 4);
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal p = at_bytes(e, a, i64_add(e, i64_mul(e, r.i, halved_row(g)), at));
  store(e, LLVMBuildAdd(e->b, load(e, bytes, p), load(e, bytes, halved_rest(g, p)), ""), p);
  loop_end(e, &r);
  loop_end(e, &i);
  when_end(e, done);
  return many;
}

LVal halved_rows(Gen *g, LVal a, LVal rows, LVal steps) {
  Emitter *e = g->e;
  LType param[] = {e->ptr, e->i64, e->i64, e->i64};
  const char *text = arena_printf(e->a, "halved rows %d", g->plan.mr);
  LVal fn = emit_find_shared(e, text), arg[countof(param)];
  if (!fn) {
    LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
    fn = function_begin(e, sub_name(g, "halve", 0), e->i1, param, countof(param));
    emit_add_shared(e, text, fn);
    LLVMGetParams(fn, arg);
    g->halved_row = arg[3];
    halve_rows(g, arg[0], arg[1], arg[2]);
    LLVMBuildRet(e->b, undo(g, arg[0], arg[1], arg[2]));
    g->halved_row = NULL;
    LLVMPositionBuilderAtEnd(e->b, back);
  }
  LLVMTypeRef type = LLVMFunctionType(e->i1, param, countof(param), 0);
  return LLVMBuildCall2(e->b, type, fn, (LVal[]){a, rows, steps, halved_row(g)}, countof(param), "");
}

LVal halved_multiply_add(Gen *g, LVal sum, LVal a, LVal b) {
  Emitter *e = g->e;
  LType pairs = emit_vec(e->i16, 2 * lanes(g)), t = LLVMTypeOf(sum);
  LVal x = emit_x86(e, "llvm.x86.avx2.pmadd.ub.sw", (LVal[]){a, b}, 2, pairs);
  return LLVMBuildAdd(e->b, sum, emit_x86(e, "llvm.x86.avx2.pmadd.wd", (LVal[]){x, emit_int(pairs, 1)}, 2, t), "");
}

/* The pairs of even and of odd bytes. */
LVal halved_exact(Gen *g, LVal sum, LVal a, LVal b) {
  Emitter *e = g->e;
  LType pairs = emit_vec(e->i16, 2 * lanes(g)), t = LLVMTypeOf(sum);
  LVal eight = emit_int(pairs, 8), x = LLVMBuildBitCast(e->b, a, pairs, ""), y = LLVMBuildBitCast(e->b, b, pairs, "");
  LVal even[] = {LLVMBuildAnd(e->b, x, emit_int(pairs, 255), ""),
                 LLVMBuildAShr(e->b, LLVMBuildShl(e->b, y, eight, ""), eight, "")};
  LVal odd[] = {LLVMBuildLShr(e->b, x, eight, ""), LLVMBuildAShr(e->b, y, eight, "")};
  sum = LLVMBuildAdd(e->b, sum, emit_x86(e, "llvm.x86.avx2.pmadd.wd", even, 2, t), "");
  return LLVMBuildAdd(e->b, sum, emit_x86(e, "llvm.x86.avx2.pmadd.wd", odd, 2, t), "");
}
