/* gpu.c - loop kernels as PTX: the walk of kernel.c over one thread's share. The schedule (codegen/gpu.h) says how loops are shared out.
 *
 *   .entry name(buffers…, i64 dims…, scratch, error[, table])
 *
 * Blocks have 32 to GPU_BLOCK threads, whole warps. The grid's loop strides over all blocks or all threads, so any grid gives the
 * same bits. A block loop leaves a partial result per thread: those of a warp are exchanged in a butterfly, the warps' go through
 * shared memory, and every thread combines them by halves, so the order depends on the number of threads in a block alone.
 *
 * error: a GpuError, which the first thread that fails fills in. table: 0, or where the dims are that grow (codegen/growing.h), in
 * place of the parameters.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu.h"
#include "codegen/llvm/kemit.h"
#include "codegen/llvm/tile.h"
#include "runtime/kernel_abi.h"

#include <string.h>

enum { GLOBAL = 1, SHARED = 3, KERNEL_CALL = 71, MAX_WARPS = GPU_BLOCK / GPU_WARP };

#define B (k->e->b)

/* --- threads --- */

static LVal call_named(Emitter *e, const char *name, LVal *arg, unsigned n) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  LVal f = LLVMGetIntrinsicDeclaration(e->mod, id, NULL, 0);
  return LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, arg, n, "");
}

static LVal special(KEmit *k, const char *reg) { return call_named(k->e, reg, NULL, 0); }
static LVal thread(KEmit *k) { return special(k, "llvm.nvvm.read.ptx.sreg.tid.x"); }
static LVal block(KEmit *k) { return special(k, "llvm.nvvm.read.ptx.sreg.ctaid.x"); }
static LVal threads(KEmit *k) { return special(k, "llvm.nvvm.read.ptx.sreg.ntid.x"); }
static LVal blocks(KEmit *k) { return special(k, "llvm.nvvm.read.ptx.sreg.nctaid.x"); }
static LVal wide(KEmit *k, LVal i32) { return LLVMBuildZExt(B, i32, k->e->i64, ""); }

/* All threads of the block meet, and see what the others have stored. */
static void barrier(KEmit *k) {
  Emitter *e = k->e;
#if LLVM_VERSION_MAJOR >= 21
  LVal zero = emit_int(e->i32, 0);
  call_named(e, "llvm.nvvm.barrier.cta.sync.aligned.all", &zero, 1);
#else
  call_named(e, "llvm.nvvm.barrier0", NULL, 0);
#endif
}

/* --- accumulators over the threads of a block --- */

/* An accumulator as one or two integers of 32 bits, low bits first, and back. */
static int to_words(KEmit *k, LVal v, LVal word[2]) {
  Emitter *e = k->e;
  LType t = LLVMTypeOf(v);
  if (t == e->f32 || t == e->f64)
    v = LLVMBuildBitCast(B, v, t == e->f32 ? e->i32 : e->i64, "");
  if (t != e->f64 && t != e->i64) {
    word[0] = t == e->f32 ? v : LLVMBuildZExtOrBitCast(B, v, e->i32, "");
    return 1;
  }
  word[0] = LLVMBuildTrunc(B, v, e->i32, "");
  word[1] = LLVMBuildTrunc(B, LLVMBuildLShr(B, v, emit_int(e->i64, 32), ""), e->i32, "");
  return 2;
}

static LVal from_words(KEmit *k, LType t, LVal const word[2], int n) {
  Emitter *e = k->e;
  LVal v = word[0];
  if (n == 2) {
    LVal high = LLVMBuildShl(B, LLVMBuildZExt(B, word[1], e->i64, ""), emit_int(e->i64, 32), "");
    v = LLVMBuildOr(B, LLVMBuildZExt(B, v, e->i64, ""), high, "");
  }
  if (t == e->f32 || t == e->f64)
    return LLVMBuildBitCast(B, v, t, "");
  return LLVMBuildTruncOrBitCast(B, v, t, "");
}

/* v of the thread whose number in the warp differs in the bits of `by`. */
static LVal exchange(KEmit *k, LVal v, int by) {
  Emitter *e = k->e;
  LVal word[2];
  int n = to_words(k, v, word);
  for (int i = 0; i < n; i++)
    word[i] = call_named(e, "llvm.nvvm.shfl.sync.bfly.i32",
                         (LVal[]){emit_int(e->i32, -1), word[i], emit_int(e->i32, by), emit_int(e->i32, 31)}, 4);
  return from_words(k, LLVMTypeOf(v), word, n);
}

static LVal shared_slot(KEmit *k, LVal at, LVal index) { return LLVMBuildGEP2(B, k->e->i64, at, &index, 1, ""); }

/* Partial results of the warps, one after another, are in all threads of each. */
static LVal share_warps(KEmit *k) {
  LVal at = LLVMAddGlobalInAddressSpace(k->e->mod, LLVMArrayType2(k->e->i64, MAX_WARPS), "partial", SHARED);
  LLVMSetInitializer(at, LLVMGetUndef(LLVMArrayType2(k->e->i64, MAX_WARPS)));
  LLVMSetLinkage(at, LLVMInternalLinkage);
  LLVMSetAlignment(at, 8);
  return at;
}

static Status over_block(KEmit *k, DType t, KOp op, LVal partial, LVal *r) {
  Emitter *e = k->e;
  LVal v = partial, at = share_warps(k), word[2], tid = thread(k);
  LType lt = LLVMTypeOf(v);
  for (int by = GPU_WARP / 2; by; by /= 2)
    TRY(kemit_binary(k, t, op, v, exchange(k, v, by), &v));
  barrier(k); /* those who still read what was here before */
  LVal first = LLVMBuildIsNull(B, LLVMBuildAnd(B, tid, emit_int(e->i32, GPU_WARP - 1), ""), "");
  LLVMBasicBlockRef done = when_begin(e, first);
  int n = to_words(k, v, word);
  LVal bits = LLVMBuildZExt(B, word[0], e->i64, "");
  if (n == 2)
    bits = LLVMBuildOr(B, bits, LLVMBuildShl(B, LLVMBuildZExt(B, word[1], e->i64, ""), emit_int(e->i64, 32), ""), "");
  LLVMBuildStore(B, bits, shared_slot(k, at, wide(k, LLVMBuildLShr(B, tid, emit_int(e->i32, 5), ""))));
  when_end(e, done);
  barrier(k);
  LVal warps = LLVMBuildLShr(B, threads(k), emit_int(e->i32, 5), ""), part[MAX_WARPS];
  for (int w = 0; w < MAX_WARPS; w++) {
    bits = LLVMBuildLoad2(B, e->i64, shared_slot(k, at, emit_int(e->i64, w)), "");
    word[0] = LLVMBuildTrunc(B, bits, e->i32, "");
    word[1] = LLVMBuildTrunc(B, LLVMBuildLShr(B, bits, emit_int(e->i64, 32), ""), e->i32, "");
    LVal there = LLVMBuildICmp(B, LLVMIntULT, emit_int(e->i32, w), warps, "");
    part[w] = LLVMBuildSelect(B, there, from_words(k, lt, word, n), kemit_identity(k, t, op), "");
  }
  for (int half = MAX_WARPS / 2; half; half /= 2)
    for (int w = 0; w < half; w++)
      TRY(kemit_binary(k, t, op, part[w], part[w + half], &part[w]));
  *r = part[0];
  return ST_OK;
}

/* --- loops --- */

/* Whole vectors side by side, then single elements: what is left is less than a vector for each thread. */
static Status share_of_thread(KEmit *k, const KStmt *s, LVal n, AccList *acc, int depth) {
  Emitter *e = k->e;
  int w = s->width > 1 ? s->width : 1;
  LVal from = wide(k, thread(k)), step = wide(k, threads(k)), rest = NULL;
  if (w == 1)
    return kemit_count_loop(k, s, from, n, step, acc, kemit_scalar_body, depth);
  rest = LLVMBuildAnd(B, n, emit_int(e->i64, -(int64_t)w), "");
  for (int i = 0; i < acc->n; i++)
    k->var[acc->var[i]->id] = emit_splat(e, k->var[acc->var[i]->id], w);
  k->lanes = w, k->lane_var = s->var;
  TRY(kemit_count_loop(k, s, i64_muli(e, from, w), rest, i64_muli(e, step, w), acc, kemit_lanes_body, depth));
  k->lanes = 1, k->lane_var = NULL, k->lane_base = NULL;
  for (int i = 0; i < acc->n; i++) {
    LVal *v = &k->var[acc->var[i]->id];
    TRY(kemit_combine(k, acc->var[i]->dtype, (KOp)acc->op[i], *v, v));
  }
  return kemit_count_loop(k, s, i64_add(e, rest, from), n, step, acc, kemit_scalar_body, depth);
}

static Status block_loop(KEmit *k, const KStmt *s, LVal n, int depth) {
  AccList *acc;
  TRY(kemit_accumulators(k, s->body, &acc));
  LVal *outer = arena_array(k->e->a, LVal, (size_t)acc->n + 1);
  for (int i = 0; i < acc->n; i++) {
    LVal *v = &k->var[acc->var[i]->id];
    outer[i] = *v;
    *v = kemit_identity(k, acc->var[i]->dtype, (KOp)acc->op[i]);
    if (!*v)
      return kemit_unsupported(k, "an accumulator with several operators in a block loop");
  }
  k->once = false;
  TRY(share_of_thread(k, s, n, acc, depth));
  k->once = true;
  for (int i = 0; i < acc->n; i++) {
    LVal *v = &k->var[acc->var[i]->id];
    DType t = acc->var[i]->dtype;
    KOp op = (KOp)acc->op[i];
    TRY(over_block(k, t, op, *v, v));
    TRY(kemit_binary(k, t, op, outer[i], *v, v));
  }
  if (k->barriers)
    barrier(k);
  return ST_OK;
}

static Status row_body(KEmit *k, const KStmt *s, LVal i, int depth) {
  k->once = true;
  TRY(kemit_scalar_body(k, s, i, depth));
  k->once = false;
  if (k->barriers)
    barrier(k); /* temporaries are written anew */
  return ST_OK;
}

Status gpu_loop(KEmit *k, const KStmt *s, LVal n, int depth) {
  Emitter *e = k->e;
  AccList *acc;
  if (s->loop == KL_BLOCK) /* inside of another it is one thread's own */
    return k->once ? block_loop(k, s, n, depth) : kemit_unsupported(k, "a block loop inside of another");
  TRY(kemit_accumulators(k, s->body, &acc));
  if (acc->n || k->once)
    return kemit_unsupported(k, "such a grid loop");
  LVal from = wide(k, block(k)), step = wide(k, blocks(k));
  if (!s->width)
    return kemit_count_loop(k, s, from, n, step, acc, row_body, depth);
  from = i64_add(e, i64_mul(e, from, wide(k, threads(k))), wide(k, thread(k)));
  return kemit_count_loop(k, s, from, n, i64_mul(e, step, wide(k, threads(k))), acc, kemit_scalar_body, depth);
}

/* --- stores and checks --- */

Status gpu_store(KEmit *k, const KStmt *s) {
  if (k->barriers)
    barrier(k);
  LLVMBasicBlockRef done = when_begin(k->e, LLVMBuildIsNull(B, thread(k), ""));
  TRY(kemit_store(k, s));
  when_end(k->e, done);
  if (k->barriers)
    barrier(k);
  return ST_OK;
}

void gpu_wrong(Emitter *e, const EmitArgs *args, int code, LVal number) {
  LVal at = args->number, none = emit_int(e->i32, 0);
  LVal number_at = emit_int(e->i64, offsetof(GpuError, number));
  LVal was = LLVMBuildAtomicCmpXchg(e->b, at, none, emit_int(e->i32, code), LLVMAtomicOrderingMonotonic,
                                    LLVMAtomicOrderingMonotonic, 0);
  LLVMBasicBlockRef done = when_begin(e, LLVMBuildIsNull(e->b, LLVMBuildExtractValue(e->b, was, 0, ""), ""));
  LLVMBuildStore(e->b, number, LLVMBuildGEP2(e->b, e->i8, at, &number_at, 1, ""));
  when_end(e, done);
  LLVMBuildRetVoid(e->b);
}

/* --- whole kernels --- */

/* Dims that grow: from the table, one after another, if there is one. */
static void read_growing(Emitter *e, const Unit *u, EmitArgs *args, LVal table, uint32_t ndim) {
  LLVMBasicBlockRef entry = LLVMGetInsertBlock(e->b), there = emit_block(e, "table"), done = emit_block(e, "");
  LVal *read = arena_array(e->a, LVal, ndim);
  int64_t n = 0;
  args->grown = arena_array(e->a, LVal, ndim);
  LLVMBuildCondBr(e->b, LLVMBuildIsNull(e->b, table, ""), done, there);
  LLVMPositionBuilderAtEnd(e->b, there);
  for (uint32_t i = 0; i < ndim; i++)
    if (u->growing[i])
      read[i] = LLVMBuildLoad2(e->b, e->i64, at_bytes(e, table, emit_int(e->i64, 8 * n++)), "");
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
  for (uint32_t i = 0; i < ndim; i++) {
    if (!u->growing[i])
      continue;
    args->grown[i] = LLVMBuildPhi(e->b, e->i64, "");
    LLVMAddIncoming(args->grown[i], (LVal[]){LLVMGetParam(args->fn, args->first_dim + i), read[i]},
                    (LLVMBasicBlockRef[]){entry, there}, 2);
  }
}

EmitArgs gpu_function(Emitter *e, const Unit *u, const char *name, uint32_t nbuf, uint32_t ndim) {
  uint32_t n = nbuf + ndim + (u->growing ? 3 : 2);
  LType *t = arena_array(e->a, LType, n), global = LLVMPointerTypeInContext(e->lc, GLOBAL);
  for (uint32_t i = 0; i < n; i++)
    t[i] = i < nbuf || i >= nbuf + ndim ? global : e->i64;
  LVal fn = LLVMAddFunction(e->mod, name, LLVMFunctionType(LLVMVoidTypeInContext(e->lc), t, n, 0));
  LLVMSetFunctionCallConv(fn, KERNEL_CALL);
  LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->lc, fn, ""));
  EmitArgs args = {.fn = fn,
                   .first_dim = nbuf,
                   .scratch = LLVMGetParam(fn, nbuf + ndim),
                   .number = LLVMGetParam(fn, nbuf + ndim + 1)};
  if (u->growing)
    read_growing(e, u, &args, LLVMGetParam(fn, nbuf + ndim + 2), ndim);
  return args;
}

/* Temporaries: the block's part of the scratch. */
static void place_temporaries(KEmit *k) {
  Emitter *e = k->e;
  uint32_t n = k->k->nbuf - k->k->nio;
  LVal total = emit_int(e->i64, 0), *at = arena_array(e->a, LVal, (size_t)n + 1);
  if (!n)
    return;
  for (uint32_t i = 0; i < n; i++) {
    const KBuf *b = k->k->buf[k->k->nio + i];
    LVal size = emit_int(e->i64, dtype_bits(b->dtype) / 8);
    if (b->rank)
      size = i64_mul(e, size, i64_mul(e, k->stride[b->index][0], kemit_dim(k, b->dim[0])));
    at[i] = total;
    size = LLVMBuildAnd(B, i64_add(e, size, emit_int(e->i64, TEMP_ALIGN - 1)), emit_int(e->i64, -TEMP_ALIGN), "");
    total = i64_add(e, total, size);
  }
  LVal own = i64_mul(e, wide(k, block(k)), total);
  for (uint32_t i = 0; i < n; i++) {
    LVal offset = i64_add(e, own, at[i]);
    k->buf[k->k->nio + i] = LLVMBuildGEP2(B, e->i8, k->args.scratch, &offset, 1, "");
  }
}

static bool has_grid(const KStmt *s) {
  for (; s; s = s->next)
    if ((s->kind == KS_FOR && s->loop == KL_GRID) || has_grid(s->body))
      return true;
  return false;
}

Status emit_gpu_unit(Emitter *e, const Unit *u, const char *name) {
  const Dim *dim;
  uint32_t ndim;
  if (u->kind == UNIT_PRODUCT)
    return emit_gpu_product(e, u, name);
  if (u->kind == UNIT_ATTENTION)
    return emit_gpu_attention(e, u, name);
  if (u->kind != UNIT_LOOP)
    return fail(e->c, ST_UNSUPPORTED, "unit '%s': no code generation for its kind on GPUs", u->name);
  kernel_signature_in(e->a, u->kernel, &dim, &ndim);
  EmitArgs args = gpu_function(e, u, name, u->kernel->nio, ndim);
  KEmit *k = kemit_create(e, u->kernel, &args, dim, ndim);
  for (uint32_t i = 0; i < u->kernel->nio; i++)
    k->buf[i] = emit_arg_buf(e, &args, i);
  place_temporaries(k);
  k->barriers = gpu_meets(u->kernel);
  k->once = !has_grid(u->kernel->body);
  TRY(kemit_list(k, u->kernel->body));
  LLVMBuildRetVoid(B);
  return ST_OK;
}
