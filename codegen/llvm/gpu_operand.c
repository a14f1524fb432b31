/* gpu_operand.c - elements of the operands of a product on GPUs: of matrices, of what a convolution's window finds, of weights of few
 * bits. Loads are of what no one writes meanwhile, and of nothing where there is nothing: no thread branches around them, so that
 * all are on their way together.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_product.h"

#include <string.h>

#define B (g->e->b)

enum { INTEGER_BIAS = 0x4b000000 }; /* as an f32: 2^23, whose last bits count by ones */

/* --- what it is --- */

/* Is d surely a multiple of n? */
static bool whole(Ctx *c, Dim d, int n) { return dim_is(dim_mod(c, d, dim_const(c, n)), 0); }

static int element_bytes(DType t) { return dtype_bits(t) / 8; }

static Status window_of(Gp *g, GpOperand *o, const ProductWindow *w) {
  o->window = w;
  for (int i = 0; i < WINDOW_AXES; i++) {
    TRY(dim_value(g->e, &g->args, w->in[i], g->dim, g->ndim, &o->in[i]));
    TRY(dim_value(g->e, &g->args, w->out[i], g->dim, g->ndim, &o->out[i]));
    TRY(dim_value(g->e, &g->args, w->begin[i], g->dim, g->ndim, &o->begin[i]));
  }
  return ST_OK;
}

static LVal plane(Gp *g, const GpOperand *o) { return i64_mul(g->e, o->in[0], i64_mul(g->e, o->in[1], o->in[2])); }

static LVal offset(Gp *g, const GpOperand *o, LVal base, LVal elements) {
  return at_bytes(g->e, base, i64_muli(g->e, elements, element_bytes(o->type)));
}

static int64_t number(Dim d) {
  int64_t v = 0;
  dim_is_const(d, &v);
  return v;
}

/* Of A, or of B when trans. */
static void matrix(Gp *g, GpOperand *o, bool trans, Dim rows, LVal nrows) {
  Emitter *e = g->e;
  o->along_k = trans;
  o->by_row = trans ? g->k : i64_of(e, 1), o->by_k = trans ? i64_of(e, 1) : nrows;
  for (o->vector = GP_VECTOR / element_bytes(o->type); o->vector > 1; o->vector /= 2)
    if (whole(e->c, trans ? g->p->k : rows, o->vector))
      break;
}

static Status operand_a(Gp *g, LVal batch, GpOperand *o) {
  const Product *p = g->p;
  Emitter *e = g->e;
  o->rows = g->m;
  if (p->rows) {
    TRY(window_of(g, o, p->rows));
    o->last = !p->planes, o->along_k = o->last, o->channels = number(p->k) / p->rows->taps;
    for (o->vector = o->last ? GP_VECTOR / element_bytes(o->type) : 1; o->vector > 1; o->vector /= 2)
      if (o->channels % o->vector == 0)
        break;
    return ST_OK;
  }
  matrix(g, o, !p->trans_a, p->m, g->m);
  if (p->batch_a) {
    LVal i = p->group > 1 ? i64_rem(e, batch, i64_of(e, p->group)) : batch;
    o->base = offset(g, o, o->base, i64_mul(e, i, i64_mul(e, g->m, g->k)));
  }
  return ST_OK;
}

static Status operand_b(Gp *g, LVal batch, GpOperand *o) {
  const Product *p = g->p;
  Emitter *e = g->e;
  o->rows = g->n;
  if (p->bits.bits) {
    o->along_k = true, o->vector = 4,
    o->by_row = i64_of(e, 1); /* whose place in memory is worked out from its number */
    o->scale = emit_arg_buf(e, &g->args, 2), o->zero = p->bits.zero ? emit_arg_buf(e, &g->args, 3) : NULL;
    return ST_OK;
  }
  if (p->narrow.type) {
    uint32_t at = p->forms & FORM_LIBRARY ? 2 : 1;
    o->along_k = p->trans_b, o->vector = NARROW_STEPS;
    o->by_row = p->trans_b ? g->k : i64_of(e, 1), o->by_k = p->trans_b ? i64_of(e, 1) : g->n;
    o->base = emit_arg_buf(e, &g->args, at), o->scale = emit_arg_buf(e, &g->args, at + 1);
    o->zero = p->narrow.zero ? emit_arg_buf(e, &g->args, at + 2) : NULL;
    return ST_OK;
  }
  if (p->window) {
    o->vector = 1, o->channels = number(p->k) / p->window->taps;
    TRY(window_of(g, o, p->window));
    LVal image = i64_muli(e, plane(g, o), o->channels);
    o->base = offset(g, o, o->base, i64_mul(e, batch, image));
    return ST_OK;
  }
  matrix(g, o, p->trans_b, p->n, g->n);
  if (!p->packed_b && gpu_weight_reordered(p))
    o->taps = p->rows->taps, o->channels = number(p->k) / o->taps, o->vector = 1;
  if (p->batch_b)
    o->base = offset(g, o, o->base, i64_mul(e, batch, i64_mul(e, g->n, g->k)));
  return ST_OK;
}

Status gp_operand(Gp *g, bool is_b, LVal batch, GpOperand *o) {
  const Product *p = g->p;
  DType floats = p->type ? p->type : DT_f32;
  *o = (GpOperand){.is_b = is_b, .base = emit_arg_buf(g->e, &g->args, is_b)};
  o->type = p->bits.bits && is_b ? DT_u8 : !p->bytes ? floats : is_b ? DT_i8 : p->bytes;
  return is_b ? operand_b(g, batch, o) : operand_a(g, batch, o);
}

/* --- loads --- */

static LVal assembly(Gp *g, const char *text, const char *constraints, LType result, LVal *arg) {
  LType t[] = {LLVMTypeOf(arg[0]), LLVMTypeOf(arg[1])}, fn = LLVMFunctionType(result, t, 2, 0);
  LVal code = LLVMGetInlineAsm(fn, (char *)(uintptr_t)text, strlen(text), (char *)(uintptr_t)constraints,
                               strlen(constraints), 0, 0, LLVMInlineAsmDialectATT, 0);
  return LLVMBuildCall2(B, fn, code, arg, 2, "");
}

#define WHEN(n) "{ .reg .pred p; setp.ne.b32 p, $" #n ", 0; "
#define ZERO(n) "mov.b32 $" #n ", 0; "
#define ZERO2   ZERO(0) ZERO(1)
#define ZERO4   ZERO2 ZERO(2) ZERO(3)

void gp_words(Gp *g, LVal p, int bytes, LVal there, LVal *word) {
  Emitter *e = g->e;
  LVal arg[] = {p, LLVMBuildZExt(B, there, e->i32, "")};
  LType four[] = {e->i32, e->i32, e->i32, e->i32};
  if (bytes < 4) {
    const char *text = bytes == 1 ? WHEN(2) "mov.b16 $0, 0; @p ld.global.nc.u8 $0, [$1]; }"
                                  : WHEN(2) "mov.b16 $0, 0; @p ld.global.nc.u16 $0, [$1]; }";
    word[0] = LLVMBuildZExt(B, assembly(g, text, "=h,l,r", e->i16, arg), e->i32, "");
  } else if (bytes == 4) {
    word[0] = assembly(g, WHEN(2) ZERO(0) "@p ld.global.nc.b32 $0, [$1]; }", "=r,l,r", e->i32, arg);
  } else {
    const char *text = bytes == 8 ? WHEN(3) ZERO2 "@p ld.global.nc.v2.b32 {$0,$1}, [$2]; }"
                                  : WHEN(5) ZERO4 "@p ld.global.nc.v4.b32 {$0,$1,$2,$3}, [$4]; }";
    LType t = LLVMStructTypeInContext(e->lc, four, (unsigned)bytes / 4, 0);
    LVal all = assembly(g, text, bytes == 8 ? "=r,=r,l,r" : "=r,=r,=r,=r,l,r", t, arg);
    for (unsigned i = 0; i < (unsigned)bytes / 4; i++)
      word[i] = LLVMBuildExtractValue(B, all, i, "");
  }
}

/* --- elements --- */

/* `bits` bits of it from bit `from` on, as an i32. */
static LVal field(Gp *g, LVal word, int from, int bits) {
  Emitter *e = g->e;
  LVal v = from ? LLVMBuildLShr(B, word, gp_i32(g, from), "") : word;
  return from + bits == 32 ? v : LLVMBuildAnd(B, v, emit_int(e->i32, ((int64_t)1 << bits) - 1), "");
}

int gp_unpack(Gp *g, DType t, const LVal *word, int words, LVal *v) {
  Emitter *e = g->e;
  int bits = dtype_bits(t), n = 0;
  for (int i = 0; i < words; i++)
    for (int at = 0; at < 32; at += bits) {
      LVal x = bits == 32 ? word[i] : field(g, word[i], at, bits);
      if (t == DT_f32)
        x = LLVMBuildBitCast(B, x, e->f32, "");
      else if (t == DT_f16)
        x = emit_f16_load(e, LLVMBuildTrunc(B, x, e->i16, ""));
      else if (t == DT_bf16)
        x = LLVMBuildBitCast(B, LLVMBuildShl(B, x, gp_i32(g, 16), ""), e->f32, "");
      v[n++] = x;
    }
  return n;
}

void gp_numbers(Gp *g, int bits, LVal word, LVal *v) {
  Emitter *e = g->e;
  LVal bias = emit_int(e->i32, INTEGER_BIAS);
  for (int i = 0; i < 32 / bits; i++) {
    LVal x = LLVMBuildOr(B, field(g, word, i * bits, bits), bias, "");
    v[i] = LLVMBuildFSub(B, LLVMBuildBitCast(B, x, e->f32, ""), emit_real(e->f32, 0x1p23), "");
  }
}

void gp_scale(Gp *g, const GpOperand *o, LVal row, LVal block, LVal there, LVal *scale, LVal *zero) {
  Emitter *e = g->e;
  const ProductBits *x = &g->p->bits;
  int64_t blocks = (number(g->p->k) - 1) / x->block + 1;
  DType t = x->scale ? x->scale : DT_f32;
  LVal at = i64_add(e, i64_muli(e, row, blocks), block), word, v[2];
  gp_words(g, at_bytes(e, o->scale, i64_muli(e, at, element_bytes(t))), element_bytes(t), there, &word);
  gp_unpack(g, t, &word, 1, v);
  *scale = v[0];
  *zero = emit_real(e->f32, 1 << (x->bits - 1));
  if (x->zero == PZ_F32) {
    gp_words(g, at_float(e, o->zero, at), 4, there, &word);
    *zero = LLVMBuildBitCast(B, word, e->f32, "");
  } else if (x->zero == PZ_BYTE) {
    int64_t bytes = (blocks * x->bits + 7) / 8;
    LVal bit = i64_muli(e, block, x->bits);
    LVal p = at_bytes(e, o->zero, i64_add(e, i64_muli(e, row, bytes), LLVMBuildLShr(B, bit, i64_of(e, 3), "")));
    gp_words(g, p, 1, there, &word);
    word = LLVMBuildLShr(B, word, LLVMBuildAnd(B, LLVMBuildTrunc(B, bit, e->i32, ""), gp_i32(g, 7), ""), "");
    *zero = LLVMBuildUIToFP(B, LLVMBuildAnd(B, word, gp_i32(g, (1 << x->bits) - 1), ""), e->f32, "");
  }
}

/* --- rows --- */

/* What is no axis at all. */
static bool flat(const ProductWindow *w, int i) {
  return w->kernel[i] == 1 && dim_is(w->in[i], 1) && dim_is(w->out[i], 1) && dim_is(w->begin[i], 0);
}

GpRow gp_row(Gp *g, const GpOperand *o, LVal row) {
  Emitter *e = g->e;
  GpRow r = {.there = i64_less(e, row, o->rows), .number = row};
  const ProductWindow *w = o->window;
  if (!w) {
    r.at = i64_mul(e, row, o->by_row);
    return r;
  }
  for (int i = WINDOW_AXES; i-- > 0;) {
    if (flat(w, i))
      continue;
    LVal at = i64_rem(e, row, o->out[i]);
    row = i64_div(e, row, o->out[i]);
    r.y[i] = i64_sub(e, i64_muli(e, at, w->stride[i]), o->begin[i]);
  }
  r.at = i64_of(e, 0); /* what is left is the image */
  if (!o->is_b)
    r.at = i64_mul(e, row, i64_muli(e, plane(g, o), o->channels));
  return r;
}

/* Where the window's tap and channel of step k are; *there: inside. */
static LVal window_at(Gp *g, const GpOperand *o, const GpRow *r, LVal k, LVal *there) {
  Emitter *e = g->e;
  const ProductWindow *w = o->window;
  LVal inside = gp_i32(g, o->last ? o->channels : w->taps);
  LVal outer = LLVMBuildUDiv(B, k, inside, ""), inner = LLVMBuildURem(B, k, inside, "");
  LVal tap = o->last ? outer : inner, channel = gp_wide(g, o->last ? inner : outer);
  LVal at = o->last ? i64_of(e, 0) : channel, y[WINDOW_AXES];
  for (int i = WINDOW_AXES; i-- > 0;) {
    if (flat(w, i))
      continue;
    LVal t = gp_wide(g, LLVMBuildURem(B, tap, gp_i32(g, w->kernel[i]), ""));
    tap = LLVMBuildUDiv(B, tap, gp_i32(g, w->kernel[i]), "");
    y[i] = i64_add(e, r->y[i], i64_muli(e, t, w->dilation[i]));
    *there = LLVMBuildAnd(B, *there, LLVMBuildICmp(B, LLVMIntULT, y[i], o->in[i], ""), "");
  }
  for (int i = 0; i < WINDOW_AXES; i++)
    if (!flat(w, i))
      at = i64_add(e, i64_mul(e, at, o->in[i]), y[i]);
  at = o->last ? i64_add(e, i64_muli(e, at, o->channels), channel) : at;
  return i64_add(e, r->at, at);
}

static LVal weight_at(Gp *g, const GpOperand *o, const GpRow *r, LVal k) {
  LVal channels = gp_i32(g, o->channels), tap = LLVMBuildUDiv(B, k, channels, ""),
       c = LLVMBuildURem(B, k, channels, "");
  LVal at = LLVMBuildAdd(B, LLVMBuildMul(B, c, gp_i32(g, o->taps), ""), tap, "");
  return i64_add(g->e, r->at, gp_wide(g, at));
}

/* Steps k and on, o->vector of them in one word at most. */
static void few_bits(Gp *g, const GpOperand *o, const GpRow *r, LVal k, LVal there, LVal *v) {
  Emitter *e = g->e;
  const ProductBits *x = &g->p->bits;
  int64_t blocks = (number(g->p->k) - 1) / x->block + 1;
  LVal wide = gp_wide(g, k), all[16], word, scale, zero;
  LVal bytes = i64_add(e, i64_muli(e, r->at, blocks * x->block * x->bits / 8),
                       LLVMBuildLShr(B, i64_muli(e, wide, x->bits), i64_of(e, 3), ""));
  gp_words(g, at_bytes(e, o->base, bytes), o->vector * x->bits / 8, there, &word);
  gp_numbers(g, x->bits, word, all);
  gp_scale(g, o, r->at, i64_div(e, wide, i64_of(e, x->block)), there, &scale, &zero);
  for (int i = 0; i < o->vector; i++)
    v[i] = LLVMBuildFMul(B, LLVMBuildFSub(B, all[i], zero, ""), scale, "");
}

static LVal is_there(Gp *g, const GpRow *r, LVal k) {
  return LLVMBuildAnd(B, r->there, i64_less(g->e, gp_wide(g, k), g->k), "");
}

/* Elements as they are, o->vector of them. */
static int load(Gp *g, const GpOperand *o, const GpRow *r, LVal k, LVal *there, LVal *word) {
  Emitter *e = g->e;
  LVal at;
  int bytes = o->vector * element_bytes(o->type);
  if (o->window)
    at = window_at(g, o, r, k, there);
  else if (o->taps)
    at = weight_at(g, o, r, k);
  else
    at = i64_add(e, r->at, i64_mul(e, gp_wide(g, k), o->by_k));
  gp_words(g, offset(g, o, o->base, at), bytes, *there, word);
  return bytes < 4 ? 1 : bytes / 4;
}

void gp_fetch(Gp *g, const GpOperand *o, const GpRow *r, LVal k, LVal *v) {
  LVal there = is_there(g, r, k), word[4], all[16];
  if (o->scale) {
    few_bits(g, o, r, k, there, v);
    return;
  }
  gp_unpack(g, o->type, word, load(g, o, r, k, &there, word), all);
  for (int i = 0; i < o->vector; i++)
    v[i] = all[i];
}

int gp_fetch_words(Gp *g, const GpOperand *o, const GpRow *r, LVal k, LVal *word) {
  Emitter *e = g->e;
  LVal there = is_there(g, r, k), v[4];
  if (o->scale) {
    few_bits(g, o, r, k, there, v);
    for (int i = 0; i < o->vector; i += 2)
      word[i / 2] = ptx_pair(e, g->p->type, v[i], v[i + 1]);
    return o->vector / 2;
  }
  int n = load(g, o, r, k, &there, word);
  LVal zero = LLVMConstInt(e->i32, (uint8_t)g->p->zero * 0x01010101u, 0);
  for (int i = 0; !o->is_b && g->p->zero && i < n; i++)
    word[i] = LLVMBuildSelect(B, there, word[i], zero, "");
  return n;
}
