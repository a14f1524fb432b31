/* rounded.c - products of constants of few bits with A rounded to 8 bits per block of k, where the model allows that (accuracy_level
 * 4 of MatMulNBits) and the CPU has VNNI: the sums of a block are whole numbers, of u8 by i8.
 *
 *   for each tile of rows: for each block of k: a = scale * q, |q| <= 127
 *     for each panel: for each block: part = -middle * sum q; for each word: part += number * q; sum += part * scale * scale
 *
 * A word of 32 bits holds 32 / bits steps of k of one column. Shifted by `bits` once and again and masked it gives groups of
 * four of them, each of every (8 / bits)th step; q lies in the same order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"
#include "codegen/nbits.h"

#include <string.h>

enum { MAX_SUMS = 12, CHUNK = 16, AHEAD = 4096 };

/* Of a row in scratch memory, per block: its scale, where its sums start (i32), the sum of q as f32. */
enum { NOTE_BYTES = 16 };

static LVal load(Emitter *e, LType elem, int n, LVal p) {
  LVal v = LLVMBuildLoad2(e->b, emit_vec(elem, n), p, "");
  LLVMSetAlignment(v, 1);
  return v;
}

static int64_t k_of(const Gen *g) {
  int64_t k = 0;
  dim_is_const(g->p->k, &k);
  return k;
}

static int64_t blocks_of(const Gen *g) { return k_of(g) / g->p->bits.block; }
static int64_t row_bytes(const Gen *g) { return k_of(g) + blocks_of(g) * NOTE_BYTES; }
static int middle(const Gen *g) { return 1 << (g->p->bits.bits - 1); }

/* --- A --- */

/* Where the elements of CHUNK steps go, so that those of a group are side by side. */
static LVal order_of(Gen *g) {
  LVal at[CHUNK];
  int word = 32 / g->p->bits.bits, groups = word / 4;
  for (int p = 0; p < CHUNK; p++) {
    int in = p % word;
    at[p] = LLVMConstInt(g->e->i32, (unsigned)(p - in + in / 4 + groups * (in % 4)), 0);
  }
  return LLVMConstVector(at, CHUNK);
}

static LVal reduce(Emitter *e, const char *name, LVal v) { return emit_call(e, name, LLVMTypeOf(v), &v, 1); }

/* The greatest magnitude of a block; NaN if one is NaN. */
static LVal greatest(Gen *g, LVal from) {
  Emitter *e = g->e;
  LType t = emit_vec(e->i32, CHUNK);
  LVal zero = emit_int(t, 0);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  Loop l = loop_begin(e, i64_of(e, 0), i64_of(e, g->p->bits.block), CHUNK);
  LLVMPositionBuilder(e->b, l.head, LLVMGetNextInstruction(l.phi));
  LVal most = LLVMBuildPhi(e->b, t, "most");
  LLVMPositionBuilderAtEnd(e->b, l.body);
  LVal bits =
      emit_bitcast(e, load_f32(e, CHUNK, at_float(e, from, l.i)), e->i32); /* magnitudes have the order of their bits */
  bits = LLVMBuildAnd(e->b, bits, emit_int(t, 0x7fffffff), "");
  LVal next = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntSGT, bits, most, ""), bits, most, "");
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(most, &zero, &before, 1);
  LLVMAddIncoming(most, &next, &latch, 1);
  loop_end(e, &l);
  return emit_bitcast(e, reduce(e, "llvm.vector.reduce.smax", most), e->f32);
}

/* A block of a row, rounded, and its note. A block of zeros has scale 0; one with an infinity or NaN gives NaN. */
static void round_block(Gen *g, LVal from, LVal q, LVal note) {
  Emitter *e = g->e;
  LType whole = emit_vec(e->i32, CHUNK), fl = emit_vec(e->f32, CHUNK);
  LVal most = greatest(g, from), zero = emit_int(whole, 0), seven = emit_real(e->f32, 127);
  LVal some = LLVMBuildFCmp(e->b, LLVMRealOGT, most, emit_real(e->f32, 0), "");
  LVal by = LLVMBuildSelect(e->b, some, LLVMBuildFDiv(e->b, seven, most, ""), emit_real(e->f32, 0), "");
  by = emit_splat(e, by, CHUNK);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  Loop l = loop_begin(e, i64_of(e, 0), i64_of(e, g->p->bits.block), CHUNK);
  LLVMPositionBuilder(e->b, l.head, LLVMGetNextInstruction(l.phi));
  LVal sum = LLVMBuildPhi(e->b, whole, "sum");
  LLVMPositionBuilderAtEnd(e->b, l.body);
  LVal x = LLVMBuildFMul(e->b, load_f32(e, CHUNK, at_float(e, from, l.i)), by, "");
  LVal magic = emit_real(fl, 0x1.8p23); /* rounds to the nearest whole number, ties to even, in its low bits */
  LVal v = emit_bitcast(e, LLVMBuildFAdd(e->b, x, magic, ""), e->i32);
  v = LLVMBuildSub(e->b, v, emit_bitcast(e, magic, e->i32), "");
  LVal next = LLVMBuildAdd(e->b, sum, v, "");
  LVal bytes = LLVMBuildTrunc(e->b, v, emit_vec(e->i8, CHUNK), "");
  bytes = LLVMBuildShuffleVector(e->b, bytes, LLVMGetPoison(LLVMTypeOf(bytes)), order_of(g), "");
  LLVMSetAlignment(LLVMBuildStore(e->b, bytes, at_bytes(e, q, l.i)), 1);
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(sum, &zero, &before, 1);
  LLVMAddIncoming(sum, &next, &latch, 1);
  loop_end(e, &l);
  LVal total = reduce(e, "llvm.vector.reduce.add", sum);
  store_f32(e, LLVMBuildFDiv(e->b, most, seven, ""), note);
  LVal start = LLVMBuildMul(e->b, total, emit_int(e->i32, -middle(g)), "");
  LLVMSetAlignment(LLVMBuildStore(e->b, start, at_bytes(e, note, i64_of(e, 4))), 4);
  store_f32(e, LLVMBuildSIToFP(e->b, total, e->f32, ""), at_bytes(e, note, i64_of(e, 8)));
}

static void round_rows(Gen *g, LVal a, LVal rows, LVal dst) {
  Emitter *e = g->e;
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal to = at_bytes(e, dst, i64_muli(e, r.i, row_bytes(g)));
  LVal from = at_bytes(e, a, i64_muli(e, r.i, k_of(g) * 4));
  Loop b = loop_begin(e, i64_of(e, 0), i64_of(e, blocks_of(g)), 1);
  LVal k = i64_muli(e, b.i, g->p->bits.block);
  LVal note = at_bytes(e, to, i64_add(e, i64_of(e, k_of(g)), i64_muli(e, b.i, NOTE_BYTES)));
  round_block(g, at_float(e, from, k), at_bytes(e, to, k), note);
  loop_end(e, &b);
  loop_end(e, &r);
}

/* --- the inner kernel --- */

/* An intrinsic whose integer vectors are cut into other elements by some versions of LLVM. */
static LVal dot(Emitter *e, LVal sum, LVal numbers, LVal q) {
  static const char name[] = "llvm.x86.avx512.vpdpbusd.512";
  LType param[3];
  LVal arg[] = {sum, numbers, q},
       f = LLVMGetIntrinsicDeclaration(e->mod, LLVMLookupIntrinsicID(name, strlen(name)), NULL, 0);
  LLVMGetParamTypes(LLVMGlobalGetValueType(f), param);
  for (int i = 0; i < 3; i++)
    arg[i] = LLVMBuildBitCast(e->b, arg[i], param[i], "");
  return LLVMBuildBitCast(e->b, LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, arg, 3, ""), LLVMTypeOf(sum), "");
}

typedef struct Rounded {
  Gen *g;
  int rows, vecs;
  LVal a, block, index; /* rows of A; the block of the panel, and its number */
  LVal part[MAX_SUMS], sum[MAX_SUMS];
} Rounded;

static LVal note_of(Rounded *x, int r, int64_t at) {
  Emitter *e = x->g->e;
  LVal note = i64_add(e, i64_muli(e, x->index, NOTE_BYTES), i64_of(e, r * row_bytes(x->g) + k_of(x->g) + at));
  return at_bytes(e, x->a, note);
}

static void one_word(Rounded *x, LVal word, LVal k) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int bits = g->p->bits.bits, n = lanes(g), groups = 8 / bits;
  LType whole = emit_vec(e->i32, n);
  static const int64_t mask[] = {[2] = 0x03030303, [4] = 0x0f0f0f0f};
  for (int v = 0; v < x->vecs; v++) {
    LVal p = at_bytes(e, word, i64_of(e, v * n * 4));
    LVal arg[] = {at_bytes(e, p, i64_of(e, AHEAD)), emit_int(e->i32, 0), emit_int(e->i32, 2), emit_int(e->i32, 1)};
    emit_call(e, "llvm.prefetch", e->ptr, arg, countof(arg));
    LVal all = load(e, e->i32, n, p);
    for (int i = 0; i < groups; i++) {
      LVal four = i ? LLVMBuildLShr(e->b, all, emit_int(whole, i * bits), "") : all;
      four = bits < 8 ? LLVMBuildAnd(e->b, four, emit_int(whole, mask[bits]), "") : four;
      for (int r = 0; r < x->rows; r++) {
        LVal at = i64_add(e, k, i64_of(e, r * row_bytes(g) + i * 4));
        LVal q = emit_splat(e, load(e, e->i32, 1, at_bytes(e, x->a, at)), n), *part = &x->part[r * x->vecs + v];
        *part = dot(e, *part, four, q);
      }
    }
  }
}

static void start_block(Rounded *x) {
  Emitter *e = x->g->e;
  for (int r = 0; r < x->rows; r++) {
    LVal start = emit_splat(e, load(e, e->i32, 1, note_of(x, r, 4)), lanes(x->g));
    for (int v = 0; v < x->vecs; v++)
      x->part[r * x->vecs + v] = start;
  }
}

static LVal zero_of(Rounded *x, int v) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int n = lanes(g);
  LVal zeros = at_bytes(e, x->block, i64_of(e, g->plan.nr * 4));
  if (g->p->bits.zero == PZ_F32)
    return load(e, e->f32, n, at_bytes(e, zeros, i64_of(e, v * n * 4)));
  LVal whole = LLVMBuildSExt(e->b, load(e, e->i8, n, at_bytes(e, zeros, i64_of(e, v * n))), emit_vec(e->i32, n), "");
  return LLVMBuildSIToFP(e->b, whole, emit_vec(e->f32, n), "");
}

static void end_block(Rounded *x) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int n = lanes(g);
  for (int v = 0; v < x->vecs; v++) {
    LVal scale = load(e, e->f32, n, at_bytes(e, x->block, i64_of(e, v * n * 4)));
    LVal zero = g->p->bits.zero ? zero_of(x, v) : NULL;
    for (int r = 0; r < x->rows; r++) {
      LVal part = LLVMBuildSIToFP(e->b, x->part[r * x->vecs + v], emit_vec(e->f32, n), "");
      if (zero) {
        LVal total = emit_splat(e, load_f32(e, 1, note_of(x, r, 8)), n);
        part = LLVMBuildFSub(e->b, part, LLVMBuildFMul(e->b, zero, total, ""), "");
      }
      LVal by = LLVMBuildFMul(e->b, scale, emit_splat(e, load_f32(e, 1, note_of(x, r, 0)), n), "");
      x->sum[r * x->vecs + v] = emit_fma(e, part, by, x->sum[r * x->vecs + v]);
    }
  }
}

/* A loop of count turns around n values that start as first[]; body() makes the next ones in v[]. */
typedef void (*Turn)(Rounded *x, LVal i);

static void repeat(Rounded *x, int64_t count, LVal *v, int n, Turn body) {
  Emitter *e = x->g->e;
  LVal phi[MAX_SUMS], zero = i64_of(e, 0);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), turn = emit_block(e, "turn"), done = emit_block(e, "turned");
  LLVMBuildBr(e->b, turn);
  LLVMPositionBuilderAtEnd(e->b, turn);
  LVal i = LLVMBuildPhi(e->b, e->i64, "i");
  LLVMAddIncoming(i, &zero, &before, 1);
  for (int p = 0; p < n; p++) {
    phi[p] = LLVMBuildPhi(e->b, LLVMTypeOf(v[p]), "");
    LLVMAddIncoming(phi[p], &v[p], &before, 1);
    v[p] = phi[p];
  }
  body(x, i);
  LVal next = i64_add(e, i, i64_of(e, 1));
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(i, &next, &latch, 1);
  for (int p = 0; p < n; p++)
    LLVMAddIncoming(phi[p], &v[p], &latch, 1);
  LLVMBuildCondBr(e->b, i64_less(e, next, i64_of(e, count)), turn, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static void turn_word(Rounded *x, LVal i) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int steps = 32 / g->p->bits.bits;
  int64_t data = nbits_block_bytes(&g->p->bits, g->plan.nr) - g->plan.nr * g->p->bits.block * g->p->bits.bits / 8;
  LVal word = at_bytes(e, x->block, i64_add(e, i64_muli(e, i, g->plan.nr * 4), i64_of(e, data)));
  one_word(x, word, i64_add(e, i64_muli(e, x->index, g->p->bits.block), i64_muli(e, i, steps)));
}

static void turn_block(Rounded *x, LVal i) {
  Gen *g = x->g;
  LVal panel = x->block;
  x->index = i;
  x->block = at_bytes(g->e, panel, i64_muli(g->e, i, nbits_block_bytes(&g->p->bits, g->plan.nr)));
  start_block(x);
  repeat(x, g->p->bits.block * g->p->bits.bits / 32, x->part, x->rows * x->vecs, turn_word);
  end_block(x);
  x->block = panel;
}

static void kernel(Gen *g, int rows, TileKernel *t) {
  Emitter *e = g->e;
  LType none = LLVMVoidTypeInContext(e->lc), param[] = {e->ptr, e->ptr, e->ptr};
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  t->rows = rows, t->type = LLVMFunctionType(none, param, countof(param), 0);
  t->fn = function_begin(e, sub_name(g, "rounded", rows), none, param, countof(param));
  int vecs = g->plan.nr / lanes(g), n = rows * vecs;
  Rounded x = {.g = g, .rows = rows, .vecs = vecs, .a = LLVMGetParam(t->fn, 0), .block = LLVMGetParam(t->fn, 1)};
  for (int i = 0; i < n; i++)
    x.sum[i] = emit_real(emit_vec(e->f32, lanes(g)), 0);
  repeat(&x, blocks_of(g), x.sum, n, turn_block);
  for (int i = 0; i < n; i++) {
    int64_t at = (i / vecs * g->plan.nr + i % vecs * lanes(g)) * 4;
    store_f32(e, x.sum[i], at_bytes(e, LLVMGetParam(t->fn, 2), i64_of(e, at)));
  }
  LLVMBuildRetVoid(e->b);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
}

void rounded_kernels(Gen *g, int low, int high) {
  g->tiles = (TileSet){.kernel = arena_array(g->e->a, TileKernel, (size_t)high), .low = low, .high = high};
  for (int r = low; r <= high; r++)
    kernel(g, r, &g->tiles.kernel[r - 1]);
}

void rounded_tiles(Gen *g, const Part *w) {
  Emitter *e = g->e;
  LVal rounded = at_bytes(e, g->args.scratch, i64_of(e, g->plan.tile_bytes)), sums = g->args.scratch;
  Loop t = loop_begin(e, w->tile0, w->tile1, 1);
  LVal m0 = i64_add(e, i64_mul(e, t.i, w->base), i64_min(e, t.i, w->extra));
  LVal rows = i64_add(e, w->base, LLVMBuildZExt(e->b, i64_less(e, t.i, w->extra), e->i64, ""));
  round_rows(g, at_bytes(e, w->a, i64_muli(e, m0, k_of(g) * 4)), rows, rounded);
  Loop j = loop_begin(e, w->panel0, w->panel1, 1);
  tile_choose(e, &g->tiles, rows, (LVal[]){rounded, nbits_address(g, w->b, j.i, i64_of(e, 0)), sums}, 3);
  LVal col0 = i64_muli(e, j.i, g->plan.nr), cols = i64_min(e, i64_sub(e, g->n, col0), i64_of(e, g->plan.nr));
  call_epilogue(g, sums, w->batch, m0, rows, col0, cols);
  loop_end(e, &j);
  loop_end(e, &t);
}
