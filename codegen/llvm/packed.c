/* packed.c - loads and stores of elements that share bytes: two or four integers in one, four floats of six bits in three.
 *
 * They have no address of their own: whole bytes are written where lanes fill them, else each lane changes its bits of a byte. So
 * two threads must not be given elements of one byte (codegen/schedule.c sees to that).
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/memory.h"

#define B (k->e->b)

/* Where element `at` lies: its byte, and its first bit in that as an integer of 32 bits. */
static void bit_of(KEmit *k, DType t, LVal at, LVal *byte, LVal *shift) {
  LType lt = LLVMTypeOf(at);
  LVal bit = LLVMBuildMul(B, at, emit_int(lt, dtype_bits(t)), "");
  *byte = LLVMBuildLShr(B, bit, emit_int(lt, 3), "");
  *shift = LLVMBuildTrunc(B, LLVMBuildAnd(B, bit, emit_int(lt, 7), ""), emit_like(k->e->i32, at), "");
}

/* The byte behind when an element of six bits reaches into it, else the same. */
static LVal byte_behind(KEmit *k, LVal byte, LVal shift) {
  LVal over = LLVMBuildICmp(B, LLVMIntUGT, shift, emit_int(LLVMTypeOf(shift), 2), "");
  return LLVMBuildAdd(B, byte, LLVMBuildZExt(B, over, LLVMTypeOf(byte), ""), "");
}

static LVal load_bytes(KEmit *k, const KBuf *b, LVal byte) {
  LVal p = kemit_pointer(k, b, k->e->i8, byte), v;
  int lanes = emit_lanes(byte);
  LType vec = emit_vec(k->e->i8, lanes);
  if (lanes > 1)
    v = emit_gather(k->e, vec, p, kemit_all_lanes(k), LLVMConstNull(vec), 1);
  else
    LLVMSetAlignment(v = LLVMBuildLoad2(B, k->e->i8, p, ""), 1);
  return LLVMBuildZExt(B, v, emit_like(k->e->i32, v), "");
}

/* Codes of the elements `at`, each by itself. */
static LVal load_codes(KEmit *k, const KBuf *b, LVal at) {
  LVal byte, shift, w;
  bit_of(k, b->dtype, at, &byte, &shift);
  w = load_bytes(k, b, byte);
  if (dtype_bits(b->dtype) == 6) {
    LVal high = load_bytes(k, b, byte_behind(k, byte, shift));
    w = LLVMBuildOr(B, w, LLVMBuildShl(B, high, emit_int(LLVMTypeOf(high), 8), ""), "");
  }
  w = LLVMBuildAnd(B, LLVMBuildLShr(B, w, shift, ""), emit_int(LLVMTypeOf(w), (1 << dtype_bits(b->dtype)) - 1), "");
  return LLVMBuildTrunc(B, w, emit_like(k->e->i8, w), "");
}

/* Lanes 0, 1 … of a, with one of b behind each. */
static LVal interleave(KEmit *k, LVal a, LVal b) {
  LVal at[512];
  int n = emit_lanes(a);
  for (int i = 0; i < 2 * n; i++)
    at[i] = emit_int(k->e->i32, i % 2 * n + i / 2);
  return LLVMBuildShuffleVector(B, a, b, LLVMConstVector(at, 2u * (unsigned)n), "");
}

/* Bytes of 8 / bits codes each: one code per lane. */
static LVal unpack(KEmit *k, LVal bytes, int bits) {
  LVal part[4];
  int n = 8 / bits;
  LType t = LLVMTypeOf(bytes);
  for (int i = 0; i < n; i++)
    part[i] = LLVMBuildAnd(B, LLVMBuildLShr(B, bytes, emit_int(t, i * bits), ""), emit_int(t, (1 << bits) - 1), "");
  return n == 2 ? interleave(k, part[0], part[1])
                : interleave(k, interleave(k, part[0], part[2]), interleave(k, part[1], part[3]));
}

/* Do lanes of such elements fill whole bytes? */
static bool fills_bytes(const KEmit *k, DType t) { return dtype_bits(t) != 6 && k->lanes * dtype_bits(t) % 16 == 0; }

/* Consecutive codes from element `at`, which may lie in the middle of a byte: the bytes and those one further on, shifted
 * together. At the beginning of a byte nothing behind the last lane is touched. */
static LVal load_run(KEmit *k, const KBuf *b, LVal at) {
  int bits = dtype_bits(b->dtype), n = k->lanes * bits / 8;
  LType vec = emit_vec(k->e->i8, n);
  LVal byte, shift, v[2];
  bit_of(k, b->dtype, at, &byte, &shift);
  LVal inside = LLVMBuildICmp(B, LLVMIntNE, shift, emit_int(k->e->i32, 0), "");
  LVal behind = LLVMBuildAdd(B, byte, LLVMBuildZExt(B, inside, k->e->i64, ""), "");
  for (int i = 0; i < 2; i++)
    LLVMSetAlignment(v[i] = LLVMBuildLoad2(B, vec, kemit_pointer(k, b, k->e->i8, i ? behind : byte), ""), 1);
  LVal s = LLVMBuildTrunc(B, shift, k->e->i8, ""), rest = LLVMBuildSub(B, emit_int(k->e->i8, 8), s, "");
  rest = LLVMBuildAnd(B, rest, emit_int(k->e->i8, 7), ""); /* at the beginning of a byte both loads are the same */
  LVal low = LLVMBuildLShr(B, v[0], emit_splat(k->e, s, n), "");
  LVal high = LLVMBuildShl(B, v[1], emit_splat(k->e, rest, n), "");
  return unpack(k, LLVMBuildOr(B, low, high, ""), bits);
}

LVal kemit_load_packed(KEmit *k, const KBuf *b, const Address *a) {
  LVal at = a->at;
  if (a->how == CONTIGUOUS && !k->mask && fills_bytes(k, b->dtype))
    return load_run(k, b, at);
  if (a->how == CONTIGUOUS)
    at = LLVMBuildAdd(B, emit_splat(k->e, at, k->lanes), emit_iota(k->e, k->e->i64, k->lanes), "");
  return load_codes(k, b, at);
}

/* The bits of `mask` at p become those of v: integers of 32 bits. */
static void change_byte(KEmit *k, const KBuf *b, LVal byte, LVal mask, LVal v) {
  Emitter *e = k->e;
  LVal p = kemit_pointer(k, b, e->i8, byte), old = LLVMBuildLoad2(B, e->i8, p, "");
  LLVMSetAlignment(old, 1);
  LVal keep = LLVMBuildNot(B, LLVMBuildTrunc(B, mask, e->i8, ""), "");
  LVal now = LLVMBuildOr(B, LLVMBuildAnd(B, old, keep, ""), LLVMBuildTrunc(B, v, e->i8, ""), "");
  LLVMSetAlignment(LLVMBuildStore(B, now, p), 1);
}

static void store_code(KEmit *k, const KBuf *b, LVal at, LVal code) {
  int bits = dtype_bits(b->dtype);
  LVal byte, shift, ones = emit_int(k->e->i32, (1 << bits) - 1);
  bit_of(k, b->dtype, at, &byte, &shift);
  code = LLVMBuildAnd(B, LLVMBuildZExt(B, code, k->e->i32, ""), ones, "");
  LVal mask = LLVMBuildShl(B, ones, shift, ""), v = LLVMBuildShl(B, code, shift, "");
  change_byte(k, b, byte, mask, v);
  if (bits == 6) {
    LVal eight = emit_int(k->e->i32, 8);
    change_byte(k, b, byte_behind(k, byte, shift), LLVMBuildLShr(B, mask, eight, ""), LLVMBuildLShr(B, v, eight, ""));
  }
}

/* Lane by lane; at: of lane 0 or of all lanes. */
static void store_lanes(KEmit *k, const KBuf *b, LVal at, LVal codes) {
  Emitter *e = k->e;
  LVal mask = k->mask, next;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), head = emit_block(e, "lane"), on = emit_block(e, ""),
                    last = emit_block(e, ""), done = emit_block(e, "");
  LLVMBuildBr(B, head);
  LLVMPositionBuilderAtEnd(B, head);
  LVal lane = LLVMBuildPhi(B, e->i64, ""), zero = emit_int(e->i64, 0);
  LLVMBuildCondBr(B, mask ? LLVMBuildExtractElement(B, mask, lane, "") : emit_int(e->i1, 1), on, last);
  LLVMPositionBuilderAtEnd(B, on);
  LVal own = emit_lanes(at) > 1 ? LLVMBuildExtractElement(B, at, lane, "") : LLVMBuildAdd(B, at, lane, "");
  store_code(k, b, own, LLVMBuildExtractElement(B, codes, lane, ""));
  LLVMBuildBr(B, last);
  LLVMPositionBuilderAtEnd(B, last);
  next = LLVMBuildAdd(B, lane, emit_int(e->i64, 1), "");
  LLVMAddIncoming(lane, (LVal[]){zero, next}, (LLVMBasicBlockRef[]){before, last}, 2);
  LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSLT, next, emit_int(e->i64, k->lanes), ""), head, done);
  LLVMPositionBuilderAtEnd(B, done);
}

/* Every nth lane from the ith on. */
static LVal every(KEmit *k, LVal v, int n, int i) {
  LVal at[256];
  int lanes = emit_lanes(v) / n;
  for (int l = 0; l < lanes; l++)
    at[l] = emit_int(k->e->i32, l * n + i);
  return LLVMBuildShuffleVector(B, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(at, (unsigned)lanes), "");
}

static void store_whole_bytes(KEmit *k, const KBuf *b, LVal at, LVal codes) {
  int bits = dtype_bits(b->dtype), n = 8 / bits;
  LVal byte, shift, sum = NULL;
  codes = LLVMBuildAnd(B, codes, emit_int(LLVMTypeOf(codes), (1 << bits) - 1), "");
  for (int i = 0; i < n; i++) {
    LVal part = every(k, codes, n, i);
    part = LLVMBuildShl(B, part, emit_int(LLVMTypeOf(part), i * bits), "");
    sum = sum ? LLVMBuildOr(B, sum, part, "") : part;
  }
  bit_of(k, b->dtype, at, &byte, &shift);
  LLVMSetAlignment(LLVMBuildStore(B, sum, kemit_pointer(k, b, k->e->i8, byte)), 1);
}

void kemit_store_packed(KEmit *k, const KBuf *b, const Address *a, LVal codes) {
  Emitter *e = k->e;
  if (a->how == UNIFORM) {
    store_code(k, b, a->at, codes);
    return;
  }
  if (a->how != CONTIGUOUS || k->mask || !fills_bytes(k, b->dtype)) {
    store_lanes(k, b, a->at, codes);
    return;
  }
  LLVMBasicBlockRef whole = emit_block(e, "whole"), single = emit_block(e, "single"), done = emit_block(e, "");
  LVal rest = LLVMBuildAnd(B, a->at, emit_int(e->i64, 8 / dtype_bits(b->dtype) - 1), "");
  LLVMBuildCondBr(B, LLVMBuildIsNull(B, rest, ""), whole, single);
  LLVMPositionBuilderAtEnd(B, whole);
  store_whole_bytes(k, b, a->at, codes);
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, single);
  store_lanes(k, b, a->at, codes);
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, done);
}
