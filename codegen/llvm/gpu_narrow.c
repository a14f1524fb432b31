/* gpu_narrow.c - constants of integers and floats of 8 bits and fewer, as products of few rows on GPUs read them: 8 numbers at a time.
 * Integers become f32 by bits: 2^23 and the number less 2^23. Floats of 8 bits become halves by bits, which sm_80 has no instruction
 * for: with as many bits of the exponent they are the upper half of one; with one less they are one of another bias, which the scale
 * puts right.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_product.h"

#include <string.h>

#define B (g->e->b)

static int bits_of(const Gp *g) { return dtype_bits(g->p->narrow.type); }

/* That code in each number of a word. */
static LVal repeated(Gp *g, unsigned code, int bits) {
  uint32_t v = 0;
  for (int i = 0; i < 32; i += bits)
    v |= (uint32_t)code << i;
  return LLVMConstInt(g->e->i32, v, 0);
}

static LVal either(Gp *g, LVal v, unsigned mask16) {
  return LLVMBuildAnd(B, v, LLVMConstInt(g->e->i32, mask16 | mask16 << 16, 0), "");
}

/* Two halves in a word: of the numbers in the upper bytes of its halves. */
static LVal halves(Gp *g, LVal v) {
  if (g->p->narrow.type == DT_f8e5m2)
    return either(g, v, 0xff00);
  LVal magnitude = LLVMBuildLShr(B, either(g, v, 0x7f00), gp_i32(g, 1), "");
  return LLVMBuildOr(B, either(g, v, 0x8000), magnitude, "");
}

static void floats(Gp *g, LVal word, LVal *v) {
  Emitter *e = g->e;
  LVal even = halves(g, LLVMBuildShl(B, word, gp_i32(g, 8), "")), odd = halves(g, word);
  for (int i = 0; i < 4; i++) {
    LVal h = i % 2 ? odd : even;
    h = LLVMBuildTrunc(B, i < 2 ? h : LLVMBuildLShr(B, h, gp_i32(g, 16), ""), e->i16, "");
    v[i] = emit_f16_load(e, h);
  }
}

static bool is_signed(const Gp *g) { return dtype_kind(g->p->narrow.type) == DK_SINT; }

/* Of integers, those of a signed type counted from the lowest on. */
static LVal from_lowest(Gp *g, LVal word) {
  int bits = bits_of(g);
  return is_signed(g) ? LLVMBuildXor(B, word, repeated(g, 1u << (bits - 1), bits), "") : word;
}

void gp_narrow(Gp *g, const GpOperand *o, LVal at, LVal there, LVal *v) {
  Emitter *e = g->e;
  LVal word[2], all[16];
  int bits = bits_of(g), each = 32 / bits; /* 16 of 2 bits, of which half are there */
  gp_words(g, at_bytes(e, o->base, LLVMBuildLShr(B, i64_muli(e, at, bits), i64_of(e, 3), "")), bits, there, word);
  for (int i = 0; i * each < NARROW_STEPS; i++)
    if (dtype_is_float(g->p->narrow.type))
      floats(g, word[i], all + i * each);
    else
      gp_numbers(g, bits, from_lowest(g, word[i]), all + i * each);
  memcpy(v, all, NARROW_STEPS * sizeof *v);
}

/* Where the scale of a column and a step of k stands. */
static LVal scale_at(Gp *g, LVal column, LVal k) {
  Emitter *e = g->e;
  const ProductNarrow *f = &g->p->narrow;
  LVal at = i64_muli(e, column, f->by_column);
  return f->block ? i64_add(e, at, i64_muli(e, i64_div(e, k, i64_of(e, f->block)), f->by_block)) : at;
}

LVal gp_narrow_scale(Gp *g, const GpOperand *o, LVal column, LVal k, LVal there) {
  Emitter *e = g->e;
  const ProductNarrow *f = &g->p->narrow;
  int bytes = dtype_bits(f->scale) / 8;
  LVal word, v[2];
  gp_words(g, at_bytes(e, o->scale, i64_muli(e, scale_at(g, column, k), bytes)), bytes, there, &word);
  gp_unpack(g, f->scale, &word, 1, v);
  double factor = f->type == DT_f8e4m3fn ? 256 : f->type == DT_f8e4m3fnuz ? 128 : 1;
  return factor > 1 ? LLVMBuildFMul(B, v[0], emit_real(e->f32, factor), "") : v[0];
}

LVal gp_narrow_zero(Gp *g, const GpOperand *o, LVal column, LVal k, LVal there) {
  Emitter *e = g->e;
  int bits = bits_of(g);
  LVal word, i = scale_at(g, column, k);
  if (!g->p->narrow.zero)
    return is_signed(g) ? emit_real(e->f32, 1 << (bits - 1)) : NULL;
  LVal bit = i64_muli(e, i, bits);
  gp_words(g, at_bytes(e, o->zero, LLVMBuildLShr(B, bit, i64_of(e, 3), "")), 1, there, &word);
  word = LLVMBuildLShr(B, word, LLVMBuildAnd(B, LLVMBuildTrunc(B, bit, e->i32, ""), gp_i32(g, 7), ""), "");
  word = LLVMBuildAnd(B, from_lowest(g, word), gp_i32(g, (1 << bits) - 1), "");
  return LLVMBuildUIToFP(B, word, e->f32, "");
}
