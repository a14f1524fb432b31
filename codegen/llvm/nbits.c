/* nbits.c - emission for constants B of few bits (codegen/nbits.h).
 *
 * Many rows: a block of a panel is made f32 in scratch memory and multiplied from there like any other B. Few rows read B as it is
 * packed, once, and are bound by that:
 *
 *   for each block of k: part = 0; for each word: for each step in it: part += a * number; sum += part * scale
 *
 * With AVX-512 four bits become a float by one permutation of a table of 16, whose index ignores all bits but the lowest four.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"
#include "codegen/nbits.h"

enum { MAX_VECS = 6, MAX_PARTS = 12, AHEAD = 4096 };

static LVal load(Emitter *e, LType elem, int n, LVal p) {
  LVal v = LLVMBuildLoad2(e->b, emit_vec(elem, n), p, "");
  LLVMSetAlignment(v, 1);
  return v;
}

static int vectors(const Gen *g) { return g->plan.nr / lanes(g); }

/* The numbers that the lowest four bits stand for. */
static LVal table_of(Gen *g) {
  LVal v[16];
  int bits = g->p->bits.bits, middle = 1 << (bits - 1);
  for (int i = 0; i < 16; i++)
    v[i] = LLVMConstReal(g->e->f32, ((i & (2 * middle - 1)) ^ middle) - middle);
  return LLVMConstVector(v, 16);
}

/* Step i of a word as floats. */
static LVal number(Gen *g, LVal word, int i) {
  Emitter *e = g->e;
  int bits = g->p->bits.bits, n = lanes(g);
  LType whole = emit_vec(e->i32, n);
  if (e->bits == 512) {
    LVal index = LLVMBuildLShr(e->b, word, emit_int(whole, i * bits), ""), arg[] = {table_of(g), index};
    unsigned id = LLVMLookupIntrinsicID("llvm.x86.avx512.permvar.sf.512", 30);
    LVal f = LLVMGetIntrinsicDeclaration(e->mod, id, NULL, 0);
    return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, arg, 2, "");
  }
  LVal high = LLVMBuildShl(e->b, word, emit_int(whole, 32 - bits * (i + 1)), "");
  return LLVMBuildSIToFP(e->b, LLVMBuildAShr(e->b, high, emit_int(whole, 32 - bits), ""), emit_vec(e->f32, n), "");
}

/* nbits_steps numbers of vector v of the columns from `data` on: x[step]. */
static void numbers(Gen *g, LVal data, int v, LVal *x) {
  Emitter *e = g->e;
  const ProductBits *b = &g->p->bits;
  int n = lanes(g), nr = g->plan.nr;
  if (b->bits == 8) {
    for (int i = 0; i < nbits_steps(b); i++) {
      LVal bytes = load(e, e->i8, n, at_bytes(e, data, i64_of(e, i * nr + v * n)));
      LVal whole = LLVMBuildSExt(e->b, bytes, emit_vec(e->i32, n), "");
      x[i] = LLVMBuildSIToFP(e->b, whole, emit_vec(e->f32, n), "");
    }
    return;
  }
  LVal word = load(e, e->i32, n, at_bytes(e, data, i64_of(e, v * n * 4)));
  for (int i = 0; i < nbits_steps(b); i++)
    x[i] = number(g, word, i);
}

/* The zero points of vector v of a block, or NULL. */
static LVal zeros(Gen *g, LVal block, int v) {
  Emitter *e = g->e;
  int n = lanes(g);
  int64_t at = g->plan.nr * 4;
  if (g->p->bits.zero == PZ_F32)
    return load(e, e->f32, n, at_bytes(e, block, i64_of(e, at + v * n * 4)));
  if (g->p->bits.zero == PZ_NONE)
    return NULL;
  LVal bytes = load(e, e->i8, n, at_bytes(e, block, i64_of(e, at + v * n)));
  return LLVMBuildSIToFP(e->b, LLVMBuildSExt(e->b, bytes, emit_vec(e->i32, n), ""), emit_vec(e->f32, n), "");
}

static LVal scales(Gen *g, LVal block, int v) {
  return load(g->e, g->e->f32, lanes(g), at_bytes(g->e, block, i64_of(g->e, v * lanes(g) * 4)));
}

static int64_t data_bytes(const Gen *g) { return g->plan.nr * g->p->bits.block * g->p->bits.bits / 8; }
static int64_t block_bytes(const Gen *g) { return nbits_block_bytes(&g->p->bits, g->plan.nr); }
/* Of what is unpacked at once, all columns. */
static int64_t word_bytes(const Gen *g) { return g->plan.nr * nbits_steps(&g->p->bits) * g->p->bits.bits / 8; }

LVal nbits_address(Gen *g, LVal b, LVal panel, LVal k0) {
  Emitter *e = g->e;
  LVal each = i64_of(e, g->p->bits.block), blocks = i64_ceildiv(e, g->k, each);
  LVal block = i64_add(e, i64_mul(e, panel, blocks), i64_div(e, k0, each));
  return at_bytes(e, b, i64_muli(e, block, block_bytes(g)));
}

/* --- many rows --- */

static void unpack_block(Gen *g, LVal block, LVal dst) {
  Emitter *e = g->e;
  int nr = g->plan.nr, steps = nbits_steps(&g->p->bits);
  LVal data = at_bytes(e, block, i64_of(e, block_bytes(g) - data_bytes(g))), x[16];
  Loop w = loop_begin(e, i64_of(e, 0), i64_of(e, g->p->bits.block / steps), 1);
  LVal word = at_bytes(e, data, i64_muli(e, w.i, word_bytes(g))),
       to = at_bytes(e, dst, i64_muli(e, w.i, steps * nr * 4));
  for (int v = 0; v < vectors(g); v++) {
    LVal scale = scales(g, block, v), zero = zeros(g, block, v);
    numbers(g, word, v, x);
    for (int i = 0; i < steps; i++) {
      x[i] = zero ? LLVMBuildFSub(e->b, x[i], zero, "") : x[i];
      store_f32(e, LLVMBuildFMul(e->b, x[i], scale, ""), at_bytes(e, to, i64_of(e, (i * nr + v * lanes(g)) * 4)));
    }
  }
  loop_end(e, &w);
}

void nbits_unpack(Gen *g) {
  Emitter *e = g->e;
  LType none = LLVMVoidTypeInContext(e->lc), param[] = {e->ptr, e->i64, e->ptr};
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  g->pack_type = LLVMFunctionType(none, param, countof(param), 0);
  g->pack = function_begin(e, sub_name(g, "unpack", 0), none, param, countof(param));
  LVal a[countof(param)];
  LLVMGetParams(g->pack, a);
  Loop l = loop_begin(e, i64_of(e, 0), a[1], 1);
  LVal dst = at_bytes(e, a[2], i64_muli(e, l.i, g->p->bits.block * g->plan.nr * 4));
  unpack_block(g, at_bytes(e, a[0], i64_muli(e, l.i, block_bytes(g))), dst);
  loop_end(e, &l);
  LLVMBuildRetVoid(e->b);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
}

/* --- few rows --- */

/* The kernel of so many rows: void few(a, a_row, b, blocks, sums). `sets` parts of a sum run beside each other, so that their
 * additions need not wait for one another. */
typedef struct Few {
  Gen *g;
  int rows, vecs, sets;
  LVal a, a_row, b, sums; /* of this block; sums: of the call */
  LVal sum[MAX_PARTS], part[MAX_PARTS];
} Few;

/* Phis for n values in a loop just begun, which starts with first[]. */
static void carry(Few *x, LVal *v, int n, const LVal *first, LLVMBasicBlockRef from) {
  for (int i = 0; i < n; i++) {
    LVal start = first ? first[i] : emit_real(emit_vec(x->g->e->f32, lanes(x->g)), 0);
    v[i] = LLVMBuildPhi(x->g->e->b, LLVMTypeOf(start), "");
    LLVMAddIncoming(v[i], &start, &from, 1);
  }
}

static void prefetch(Emitter *e, LVal p) {
  LVal arg[] = {p, emit_int(e->i32, 0), emit_int(e->i32, 2), emit_int(e->i32, 1)}; /* read, to L2, data */
  emit_call(e, "llvm.prefetch", e->ptr, arg, countof(arg));
}

static void one_word(Few *x, LVal word, LVal k) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int steps = nbits_steps(&g->p->bits), n = x->rows * x->vecs;
  LVal data[MAX_VECS][16], block = x->b;
  for (int64_t at = 0; at < word_bytes(g); at += 64)
    prefetch(e, at_bytes(e, word, i64_of(e, AHEAD + at)));
  for (int v = 0; v < x->vecs; v++)
    numbers(g, word, v, data[v]);
  for (int v = 0; v < x->vecs && g->p->bits.zero; v++) {
    LVal zero = zeros(g, block, v);
    for (int i = 0; i < steps; i++)
      data[v][i] = LLVMBuildFSub(e->b, data[v][i], zero, "");
  }
  for (int i = 0; i < steps; i++)
    for (int r = 0; r < x->rows; r++) {
      LVal row = at_bytes(e, x->a, i64_add(e, i64_muli(e, x->a_row, r), i64_muli(e, k, 4)));
      LVal a = emit_splat(e, load_f32(e, 1, at_bytes(e, row, i64_of(e, i * 4))), lanes(g));
      for (int v = 0; v < x->vecs; v++) {
        LVal *part = &x->part[i % x->sets * n + r * x->vecs + v];
        *part = emit_fma(e, a, data[v][i], *part);
      }
    }
}

/* Loops made with phis of their own: every value that goes round is in a register from the start. */
static void words_of_block(Few *x) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int n = x->rows * x->vecs * x->sets, steps = nbits_steps(&g->p->bits);
  LVal data = at_bytes(e, x->b, i64_of(e, block_bytes(g) - data_bytes(g))), phi[MAX_PARTS];
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = emit_block(e, "word"), done = emit_block(e, "words");
  LLVMBuildBr(e->b, body);
  LLVMPositionBuilderAtEnd(e->b, body);
  LVal i = LLVMBuildPhi(e->b, e->i64, "i"), zero = i64_of(e, 0);
  LLVMAddIncoming(i, &zero, &before, 1);
  carry(x, phi, n, NULL, before);
  for (int p = 0; p < n; p++)
    x->part[p] = phi[p];
  one_word(x, at_bytes(e, data, i64_muli(e, i, word_bytes(g))), i64_muli(e, i, steps));
  LVal next = i64_add(e, i, i64_of(e, 1));
  LLVMAddIncoming(i, &next, &body, 1);
  for (int p = 0; p < n; p++)
    LLVMAddIncoming(phi[p], &x->part[p], &body, 1);
  LLVMBuildCondBr(e->b, i64_less(e, next, i64_of(e, g->p->bits.block / steps)), body, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static void scale_block(Few *x) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int n = x->rows * x->vecs;
  for (int v = 0; v < x->vecs; v++) {
    LVal scale = scales(g, x->b, v);
    for (int r = 0; r < x->rows; r++) {
      LVal part = x->part[r * x->vecs + v];
      for (int s = 1; s < x->sets; s++)
        part = LLVMBuildFAdd(e->b, part, x->part[s * n + r * x->vecs + v], "");
      x->sum[r * x->vecs + v] = emit_fma(e, part, scale, x->sum[r * x->vecs + v]);
    }
  }
}

static void few_body(Few *x, LVal a, LVal b, LVal blocks) {
  Gen *g = x->g;
  Emitter *e = g->e;
  int n = x->rows * x->vecs;
  LVal phi[MAX_PARTS];
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = emit_block(e, "block"), done = emit_block(e, "blocks");
  LLVMBuildBr(e->b, body);
  LLVMPositionBuilderAtEnd(e->b, body);
  LVal i = LLVMBuildPhi(e->b, e->i64, "i"), zero = i64_of(e, 0);
  LLVMAddIncoming(i, &zero, &before, 1);
  carry(x, phi, n, NULL, before);
  for (int p = 0; p < n; p++)
    x->sum[p] = phi[p];
  x->a = at_bytes(e, a, i64_muli(e, i, g->p->bits.block * 4));
  x->b = at_bytes(e, b, i64_muli(e, i, block_bytes(g)));
  prefetch(e, at_bytes(e, x->b, i64_of(e, AHEAD)));
  words_of_block(x);
  scale_block(x);
  LVal next = i64_add(e, i, i64_of(e, 1));
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(i, &next, &latch, 1);
  for (int p = 0; p < n; p++)
    LLVMAddIncoming(phi[p], &x->sum[p], &latch, 1);
  LLVMBuildCondBr(e->b, i64_less(e, next, blocks), body, done);
  LLVMPositionBuilderAtEnd(e->b, done);
  for (int p = 0; p < n; p++)
    store_f32(e, x->sum[p], at_bytes(e, x->sums, i64_of(e, (p / x->vecs * g->plan.nr + p % x->vecs * lanes(g)) * 4)));
}

static void few_kernel(Gen *g, int rows, TileKernel *t) {
  Emitter *e = g->e;
  LType none = LLVMVoidTypeInContext(e->lc), param[] = {e->ptr, e->i64, e->ptr, e->i64, e->ptr};
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  t->rows = rows, t->type = LLVMFunctionType(none, param, countof(param), 0);
  t->fn = function_begin(e, sub_name(g, "few", rows), none, param, countof(param));
  LVal a[countof(param)];
  LLVMGetParams(t->fn, a);
  Few x = {.g = g, .rows = rows, .vecs = vectors(g), .a_row = a[1], .sums = a[4]};
  int room = (e->bits == 512 ? MAX_PARTS : 6) / (rows * x.vecs);
  x.sets = room >= 4 ? 4 : room >= 2 ? 2 : 1;
  few_body(&x, a[0], a[2], a[3]);
  LLVMBuildRetVoid(e->b);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
}

/* As many rows as have their sums and parts in registers. */
void nbits_kernels(Gen *g) {
  Emitter *e = g->e;
  int64_t k, m;
  int high = (e->bits == 512 ? MAX_PARTS : 6) / vectors(g), low = 1;
  high = high > 4 ? 4 : high;
  if (!dim_is_const(g->p->k, &k) || k % g->p->bits.block)
    return; /* A ends before the last block does */
  if (dim_is_const(g->p->m, &m)) {
    if (m < 1 || m > high)
      return;
    low = high = (int)m;
  }
  g->few = (TileSet){.kernel = arena_array(e->a, TileKernel, (size_t)high + 1), .low = low, .high = high};
  for (int r = low; r <= high; r++)
    few_kernel(g, r, &g->few.kernel[r - 1]);
}

void nbits_rows(Gen *g, LVal a, LVal b, LVal batch, LVal panel0, LVal panel1) {
  Emitter *e = g->e;
  LVal blocks = i64_div(e, g->k, i64_of(e, g->p->bits.block)), zero = i64_of(e, 0);
  Loop j = loop_begin(e, panel0, panel1, 1);
  LVal arg[] = {a, i64_muli(e, g->k, 4), nbits_address(g, b, j.i, zero), blocks, g->args.scratch};
  tile_choose(e, &g->few, g->m, arg, countof(arg));
  LVal col0 = i64_muli(e, j.i, g->plan.nr), cols = i64_min(e, i64_sub(e, g->n, col0), i64_of(e, g->plan.nr));
  call_epilogue(g, g->args.scratch, batch, zero, g->m, col0, cols);
  loop_end(e, &j);
}
