/* tile.c - the inner kernel of products: a tile of sums in vector registers while k runs; and loops to put around it.
 *
 * One step of k reads `vecs` vectors of B, broadcasts `rows` values of A and does rows * vecs multiply-adds. Code
 * generation runs no IR passes, so everything is in SSA form from the start.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/tile.h"
#include "runtime/kernel_abi.h"

/* --- arithmetic --- */

LVal i64_of(Emitter *e, int64_t v) { return LLVMConstInt(e->i64, (unsigned long long)v, 1); }
LVal i64_add(Emitter *e, LVal a, LVal b) { return LLVMBuildAdd(e->b, a, b, ""); }
LVal i64_sub(Emitter *e, LVal a, LVal b) { return LLVMBuildSub(e->b, a, b, ""); }
LVal i64_mul(Emitter *e, LVal a, LVal b) { return LLVMBuildMul(e->b, a, b, ""); }
LVal i64_muli(Emitter *e, LVal a, int64_t b) { return LLVMBuildMul(e->b, a, i64_of(e, b), ""); }
LVal i64_div(Emitter *e, LVal a, LVal b) { return LLVMBuildUDiv(e->b, a, b, ""); }
LVal i64_rem(Emitter *e, LVal a, LVal b) { return LLVMBuildURem(e->b, a, b, ""); }
LVal i64_less(Emitter *e, LVal a, LVal b) { return LLVMBuildICmp(e->b, LLVMIntSLT, a, b, ""); }
LVal i64_min(Emitter *e, LVal a, LVal b) { return LLVMBuildSelect(e->b, i64_less(e, a, b), a, b, ""); }

LVal i64_ceildiv(Emitter *e, LVal a, LVal b) { return i64_div(e, i64_add(e, a, i64_sub(e, b, i64_of(e, 1))), b); }

void even_share(Emitter *e, LVal i, LVal pieces, LVal all, LVal *from, LVal *to) {
  *from = i64_div(e, i64_mul(e, i, all), pieces);
  *to = i64_div(e, i64_mul(e, i64_add(e, i, i64_of(e, 1)), all), pieces);
}

LVal at_bytes(Emitter *e, LVal p, LVal bytes) { return LLVMBuildGEP2(e->b, e->i8, p, &bytes, 1, ""); }
LVal at_float(Emitter *e, LVal p, LVal index) { return LLVMBuildGEP2(e->b, e->f32, p, &index, 1, ""); }

LVal settled(Emitter *e, LVal p) { return LLVMBuildFreeze(e->b, p, ""); }

LVal load_f32(Emitter *e, int lanes, LVal p) {
  LVal v = LLVMBuildLoad2(e->b, emit_vec(e->f32, lanes), p, "");
  LLVMSetAlignment(v, 4);
  return v;
}

void store_f32(Emitter *e, LVal v, LVal p) { LLVMSetAlignment(LLVMBuildStore(e->b, v, p), 4); }

/* v[i] lane j and v[j] lane i change places, by swapping blocks of 1, 2, 4 … lanes across the diagonal. */
static void transpose_f32(Emitter *e, LVal *v, int n) {
  for (int s = 1; s < n; s *= 2) {
    LVal low[16], high[16];
    for (int l = 0; l < n; l++) {
      low[l] = emit_int(e->i32, l & s ? n + l - s : l);
      high[l] = emit_int(e->i32, l & s ? n + l : l + s);
    }
    LVal pick_low = LLVMConstVector(low, (unsigned)n), pick_high = LLVMConstVector(high, (unsigned)n);
    for (int i = 0; i < n; i++)
      if (!(i & s)) {
        LVal a = v[i], b = v[i + s];
        v[i] = LLVMBuildShuffleVector(e->b, a, b, pick_low, "");
        v[i + s] = LLVMBuildShuffleVector(e->b, a, b, pick_high, "");
      }
  }
}

/* --- control --- */

Loop loop_begin(Emitter *e, LVal from, LVal to, int64_t step) {
  Loop l = {.step = i64_of(e, step), .to = to};
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  l.head = emit_block(e, "loop"), l.body = emit_block(e, "body"), l.done = emit_block(e, "done");
  LLVMBuildBr(e->b, l.head);
  LLVMPositionBuilderAtEnd(e->b, l.head);
  l.phi = LLVMBuildPhi(e->b, e->i64, "i");
  LLVMAddIncoming(l.phi, &from, &before, 1);
  l.i = settled(e, l.phi);
  LLVMBuildCondBr(e->b, i64_less(e, l.i, to), l.body, l.done);
  LLVMPositionBuilderAtEnd(e->b, l.body);
  return l;
}

void loop_end(Emitter *e, Loop *l) {
  LVal next = i64_add(e, l->i, l->step);
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(l->phi, &next, &latch, 1);
  LLVMBuildBr(e->b, l->head);
  LLVMPositionBuilderAtEnd(e->b, l->done);
}

LLVMBasicBlockRef when_begin(Emitter *e, LVal cond) {
  LLVMBasicBlockRef yes = emit_block(e, "then"), done = emit_block(e, "endif");
  LLVMBuildCondBr(e->b, cond, yes, done);
  LLVMPositionBuilderAtEnd(e->b, yes);
  return done;
}

void when_end(Emitter *e, LLVMBasicBlockRef done) {
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

LVal function_begin(Emitter *e, const char *name, LType ret, LType *param, unsigned n) {
  LVal fn = LLVMAddFunction(e->mod, name, LLVMFunctionType(ret, param, n, 0));
  unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateEnumAttribute(e->lc, nounwind, 0));
  LLVMAddTargetDependentFunctionAttr(fn, "no-builtins", ""); /* nothing may become a call */
  LLVMSetLinkage(fn, LLVMInternalLinkage);
  LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->lc, fn, ""));
  return fn;
}

static LVal field(Emitter *e, LVal args, size_t offset, LType t) {
  return LLVMBuildLoad2(e->b, t, at_bytes(e, args, i64_of(e, (int64_t)offset)), "");
}

EmitArgs args_of(Emitter *e, LVal fn) { return args_at(e, fn, LLVMGetParam(fn, 0)); }

EmitArgs args_at(Emitter *e, LVal fn, LVal args) {
  return (EmitArgs){
      .fn = fn,
      .bufs = field(e, args, offsetof(KernelArgs, buf), e->ptr),
      .dims = field(e, args, offsetof(KernelArgs, dim), e->ptr),
      .begin = i64_of(e, 0),
      .end = i64_of(e, 1),
      .scratch = field(e, args, offsetof(KernelArgs, scratch), e->ptr),
      .cancel = field(e, args, offsetof(KernelArgs, cancel), e->ptr),
      .number = field(e, args, offsetof(KernelArgs, number), e->ptr),
  };
}

Status dim_value(Emitter *e, const EmitArgs *args, Dim d, const Dim *dim, uint32_t ndim, LVal *v) {
  int64_t k;
  if (dim_is_const(d, &k)) {
    *v = i64_of(e, k);
    return ST_OK;
  }
  for (uint32_t i = 0; i < ndim; i++)
    if (dim[i] == d) {
      *v = emit_arg_dim(e, args, i);
      return ST_OK;
    }
  return fail(e->c, ST_INTERNAL, "%s is not among the dims of the unit", dim_text(e->c, d));
}

/* --- transposing --- */

static void pack_square(Emitter *e, int n, LVal src, LVal ld, LVal rows, LVal k, LVal scale, LVal dst, LVal dst_ld,
                        LVal col) {
  LVal row[16], v[16], spread = emit_splat(e, scale, n), to = at_float(e, dst, col),
                       last = i64_sub(e, rows, i64_of(e, 1));
  for (int i = 0; i < n; i++)
    row[i] = at_bytes(e, src, i64_mul(e, i64_min(e, i64_add(e, col, i64_of(e, i)), last), ld));
  LVal whole = LLVMBuildAnd(e->b, k, i64_of(e, -n), "");
  Loop l = loop_begin(e, i64_of(e, 0), whole, n);
  for (int i = 0; i < n; i++)
    v[i] = LLVMBuildFMul(e->b, load_f32(e, n, at_float(e, row[i], l.i)), spread, "");
  transpose_f32(e, v, n);
  LVal at = at_bytes(e, to, i64_mul(e, l.i, dst_ld));
  for (int i = 0; i < n; i++, at = at_bytes(e, at, dst_ld))
    store_f32(e, v[i], at);
  loop_end(e, &l);
  l = loop_begin(e, whole, k, 1);
  LVal x = LLVMGetPoison(emit_vec(e->f32, n));
  for (int i = 0; i < n; i++)
    x = LLVMBuildInsertElement(e->b, x, load_f32(e, 1, at_float(e, row[i], l.i)), emit_int(e->i32, i), "");
  store_f32(e, LLVMBuildFMul(e->b, x, spread, ""), at_bytes(e, to, i64_mul(e, l.i, dst_ld)));
  loop_end(e, &l);
}

/* Squares of 8 at most: those of 16 run no faster to speak of and take three times as long to compile. */
void pack_transposed(Emitter *e, LVal src, LVal ld, LVal rows, LVal k, LVal scale, LVal dst, LVal dst_ld, LVal cols) {
  int lanes = e->bits >= 256 ? 8 : 4;
  static const char name[] = "pack.transposed";
  LType param[] = {e->ptr, e->i64, e->i64, e->i64, e->f32, e->ptr, e->i64, e->i64}, none = LLVMVoidTypeInContext(e->lc);
  LVal fn = LLVMGetNamedFunction(e->mod, name), a[countof(param)];
  if (!fn) {
    LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
    fn = function_begin(e, name, none, param, countof(param));
    LLVMGetParams(fn, a);
    Loop j = loop_begin(e, i64_of(e, 0), a[7], lanes);
    pack_square(e, lanes, a[0], a[1], a[2], a[3], a[4], a[5], a[6], j.i);
    loop_end(e, &j);
    LLVMBuildRetVoid(e->b);
    LLVMPositionBuilderAtEnd(e->b, back);
  }
  LVal arg[] = {src, ld, rows, k, scale, dst, dst_ld, cols};
  LLVMBuildCall2(e->b, LLVMFunctionType(none, param, countof(param), 0), fn, arg, countof(arg), "");
}

/* --- the inner kernel --- */

enum { LINE = 64, MAX_ROWS = 16, MAX_VECS = 6, ROWS_PER_BASE = 3 };

/* The running state of the inner loop. Rows at a distance known only at run time are reached from every third row's
 * address plus one or two distances, which x86 addresses without further registers. */
typedef struct Inner {
  Emitter *e;
  const TileKernel *t;
  int bases;
  LVal a_row, a_step, b_step;
  LVal at; /* with a table: bytes behind the rows' addresses */
  LVal ahead, ahead_step;
  LVal a[MAX_ROWS], b, left, sum[MAX_ROWS * MAX_VECS];
} Inner;

/* Steps of k that are read together. */
static int pair(const TileKernel *t) { return t->b == DT_bf16 ? 2 : 1; }

static LVal row_address(Inner *in, int row, int step) {
  const TileKernel *t = in->t;
  Emitter *e = in->e;
  if (t->beside)
    return at_bytes(e, in->a[0], i64_of(e, row * t->beside + step * t->a_step));
  if (t->entry)
    return at_bytes(e, at_bytes(e, in->a[row], in->at), i64_of(e, step * t->a_step));
  LVal p = in->a[t->a_row ? 0 : row / ROWS_PER_BASE];
  if (!t->a_row && row % ROWS_PER_BASE)
    p = at_bytes(e, p, i64_muli(e, in->a_row, row % ROWS_PER_BASE));
  if (step && !t->a_step)
    p = at_bytes(e, p, i64_muli(e, in->a_step, step));
  int64_t fixed = (t->a_row ? row * t->a_row : 0) + step * t->a_step;
  return fixed ? at_bytes(e, p, i64_of(e, fixed)) : p;
}

/* The vectors of B of one step, or of a pair of steps. */
static void load_b(Inner *in, int step, LVal *b) {
  const TileKernel *t = in->t;
  Emitter *e = in->e;
  for (int v = 0; v < t->vecs; v++) {
    LVal p = at_bytes(e, in->b, i64_of(e, step * t->b_step + v * t->lanes * (t->b == DT_f16 ? 2 : 4)));
    if (t->b)
      weights_load(e, t, p, b + v, b + t->vecs + v);
    else
      b[v] = load_f32(e, t->lanes, p);
  }
}

static void one_step(Inner *in, int step) {
  const TileKernel *t = in->t;
  Emitter *e = in->e;
  LVal b[2 * MAX_VECS];
  load_b(in, step * pair(t), b);
  for (int half = 0; half < (t->dots ? 1 : pair(t)); half++)
    for (int r = 0; r < t->rows; r++) {
      LVal a = emit_splat(e, load_f32(e, 1, row_address(in, r, step * pair(t) + half)), t->lanes);
      for (int v = 0; v < t->vecs; v++) {
        LVal *sum = &in->sum[r * t->vecs + v], with = b[half * t->vecs + v];
        *sum = t->dots ? weights_dot(e, a, with, *sum) : emit_fma(e, a, with, *sum);
      }
    }
}

/* Fetches what comes and goes on by n steps: the next line, or all that as many steps take. */
static void fetch_ahead(Inner *in, int n) {
  Emitter *e = in->e;
  int64_t bytes = in->t->all_ahead ? n * in->t->b_step : 1;
  for (int64_t i = 0; i < bytes; i += LINE) {
    LVal line = at_bytes(e, in->ahead, i64_of(e, i));
    LVal arg[] = {line, emit_int(e->i32, 0), emit_int(e->i32, 2), emit_int(e->i32, 1)}; /* read, to L2, data */
    emit_call(e, "llvm.prefetch", e->ptr, arg, countof(arg));
  }
  in->ahead = at_bytes(e, in->ahead, i64_muli(e, in->ahead_step, n));
}

/* What goes on from step to step. */
static void settle_steps(Inner *in) {
  Emitter *e = in->e;
  in->b = settled(e, in->b);
  for (int i = 0; i < in->bases; i++)
    in->a[i] = settled(e, in->a[i]);
  if (in->t->ahead)
    in->ahead = settled(e, in->ahead);
  if (in->t->entry)
    in->at = settled(e, in->at);
}

/* The loop over `unroll` steps, or pairs of them, at a time while so many are left, as there are surely at first or not. Strides that are
 * arguments allow one step at a time. */
static void steps(Inner *in, int unroll, bool surely) {
  Emitter *e = in->e;
  const TileKernel *t = in->t;
  int n = t->rows * t->vecs;
  LVal phi_a[MAX_ROWS], phi_b, phi_left, phi_ahead = NULL, phi_at = NULL, phi_sum[MAX_ROWS * MAX_VECS];
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = emit_block(e, "k"), done = emit_block(e, "kdone");
  int all = unroll * pair(t);
  LVal enough = LLVMBuildICmp(e->b, LLVMIntSGE, in->left, i64_of(e, all), "");
  if (surely)
    LLVMBuildBr(e->b, body);
  else
    LLVMBuildCondBr(e->b, enough, body, done);
  LLVMPositionBuilderAtEnd(e->b, body);
  Inner old = *in;
  phi_left = in->left = LLVMBuildPhi(e->b, e->i64, "left");
  phi_b = in->b = LLVMBuildPhi(e->b, e->ptr, "b");
  for (int i = 0; i < in->bases; i++)
    phi_a[i] = in->a[i] = LLVMBuildPhi(e->b, e->ptr, "a");
  for (int i = 0; i < n; i++)
    phi_sum[i] = in->sum[i] = LLVMBuildPhi(e->b, LLVMTypeOf(old.sum[i]), "");
  if (t->ahead)
    phi_ahead = in->ahead = LLVMBuildPhi(e->b, e->ptr, "ahead");
  if (t->entry)
    phi_at = in->at = LLVMBuildPhi(e->b, e->i64, "at");
  settle_steps(in);
  for (int u = 0; u < unroll; u++)
    one_step(in, u);
  if (t->ahead)
    fetch_ahead(in, all);
  if (t->entry)
    in->at = i64_add(e, in->at, i64_of(e, all * t->a_step));
  in->left = i64_sub(e, in->left, i64_of(e, all));
  in->b = at_bytes(e, in->b, i64_muli(e, in->b_step, all));
  for (int i = 0; i < in->bases; i++)
    in->a[i] = at_bytes(e, in->a[i], i64_muli(e, in->a_step, all));
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntSGE, in->left, i64_of(e, all), ""), body, done);
  LLVMPositionBuilderAtEnd(e->b, done);
#define JOIN(phi, was, now)                                                                                            \
  do {                                                                                                                 \
    LVal in_[] = {was, now};                                                                                           \
    LLVMBasicBlockRef from[] = {before, latch};                                                                        \
    LLVMAddIncoming(phi, in_, from, 2);                                                                                \
    if (!surely) {                                                                                                     \
      now = LLVMBuildPhi(e->b, LLVMTypeOf(phi), "");                                                                   \
      LLVMAddIncoming(now, in_, from, 2);                                                                              \
    }                                                                                                                  \
  } while (0)
  JOIN(phi_left, old.left, in->left);
  JOIN(phi_b, old.b, in->b);
  if (t->ahead)
    JOIN(phi_ahead, old.ahead, in->ahead);
  if (t->entry)
    JOIN(phi_at, old.at, in->at);
  for (int i = 0; i < in->bases; i++)
    JOIN(phi_a[i], old.a[i], in->a[i]);
  for (int i = 0; i < n; i++)
    JOIN(phi_sum[i], old.sum[i], in->sum[i]);
#undef JOIN
}

static LVal sum_address(Inner *in, LVal sums, int i) {
  const TileKernel *t = in->t;
  int64_t vec = t->lanes * 4, row = t->sums_row ? t->sums_row : t->vecs * vec;
  return at_bytes(in->e, sums, i64_of(in->e, i / t->vecs * row + i % t->vecs * vec));
}

/* The sums' start: zero, or what an earlier block of k left. */
static void start_sums(Inner *in, LVal sums, LVal more) {
  Emitter *e = in->e;
  int n = in->t->rows * in->t->vecs;
  LVal loaded[MAX_ROWS * MAX_VECS];
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), done = when_begin(e, more), from = LLVMGetInsertBlock(e->b);
  for (int i = 0; i < n; i++)
    loaded[i] = load_f32(e, in->t->lanes, sum_address(in, sums, i));
  when_end(e, done);
  for (int i = 0; i < n; i++) {
    LVal zero = emit_real(LLVMTypeOf(loaded[i]), 0);
    in->sum[i] = LLVMBuildPhi(e->b, LLVMTypeOf(loaded[i]), "");
    LLVMAddIncoming(in->sum[i], &zero, &before, 1);
    LLVMAddIncoming(in->sum[i], &loaded[i], &from, 1);
  }
}

static void all_steps(Inner *in) {
  const TileKernel *t = in->t;
  for (int i = 0; i < t->run; i++)
    one_step(in, i);
  if (t->run && t->ahead)
    fetch_ahead(in, t->run);
  if (t->run)
    return;
  if (t->unroll > 1 && t->a_step && t->b_step)
    steps(in, t->unroll, false);
  steps(in, 1, t->some && pair(t) == 1 && (t->unroll == 1 || !t->a_step || !t->b_step));
}

/* The entries of a table, one after the other; sums stay in registers. */
static void table_steps(Inner *in, LVal table, LVal entries) {
  Emitter *e = in->e;
  const TileKernel *t = in->t;
  int n = t->rows * t->vecs;
  LVal k = in->left, phi[MAX_ROWS * MAX_VECS], ahead = in->ahead;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  Loop l = loop_begin(e, i64_of(e, 0), entries, 1);
  LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(l.head));
  for (int i = 0; i < n; i++) {
    phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(in->sum[i]), "");
    LLVMAddIncoming(phi[i], &in->sum[i], &before, 1);
    in->sum[i] = phi[i];
  }
  if (t->ahead) {
    ahead = LLVMBuildPhi(e->b, e->ptr, "");
    LLVMAddIncoming(ahead, &in->ahead, &before, 1);
    in->ahead = ahead;
  }
  LLVMPositionBuilderAtEnd(e->b, l.body);
  LVal entry = at_bytes(e, table, i64_muli(e, l.i, t->entry));
  in->b = LLVMBuildLoad2(e->b, e->ptr, entry, "");
  for (int r = 0; r < (t->beside ? 1 : t->rows); r++)
    in->a[r] = LLVMBuildLoad2(e->b, e->ptr, at_bytes(e, entry, i64_of(e, 8 * (r + 1))), "");
  in->at = i64_of(e, 0), in->left = k;
  all_steps(in);
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  for (int i = 0; i < n; i++)
    LLVMAddIncoming(phi[i], &in->sum[i], &latch, 1);
  if (t->ahead)
    LLVMAddIncoming(ahead, &in->ahead, &latch, 1);
  loop_end(e, &l);
  for (int i = 0; i < n; i++)
    in->sum[i] = phi[i];
}

Status tile_kernel(Emitter *e, TileKernel *t) {
  LType param[] = {e->ptr, e->i64, e->i64, e->ptr, e->i64, e->i64, e->ptr,
                   e->i1,  e->ptr, e->i64, e->ptr, e->i64, e->i64};
  unsigned nparam = t->finish ? countof(param) : FINISH_ARGS;
  const char *type = t->dots ? ".dots" : t->b ? dtype_name(t->b) : "";
  const char *name =
      arena_printf(e->a, "%s%stile%s.%dx%d%s%s%s.%d.%d.%lld.%lld.%lld.%lld.%lld.%lld", t->finish ? t->finish->name : "",
                   t->finish ? "." : "", type, t->rows, t->vecs * t->lanes,
                   t->all_ahead ? "++"
                   : t->ahead   ? "+"
                                : "",
                   t->once ? "o" : "", t->some ? "s" : "", t->unroll, t->run, (long long)t->a_row, (long long)t->a_step,
                   (long long)t->b_step, (long long)t->sums_row, (long long)t->entry, (long long)t->beside);
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  t->type = LLVMFunctionType(LLVMVoidTypeInContext(e->lc), param, nparam, 0);
  if ((t->fn = LLVMGetNamedFunction(e->mod, name)))
    return ST_OK;
  t->fn = function_begin(e, name, LLVMVoidTypeInContext(e->lc), param, nparam);
  Inner in = {.e = e,
              .t = t,
              .a_row = LLVMGetParam(t->fn, 1),
              .a_step = LLVMGetParam(t->fn, 2),
              .b_step = LLVMGetParam(t->fn, 4),
              .ahead = LLVMGetParam(t->fn, 8),
              .ahead_step = LLVMGetParam(t->fn, 9)};
  if (t->a_step)
    in.a_step = i64_of(e, t->a_step);
  if (t->b_step)
    in.b_step = i64_of(e, t->b_step);
  in.bases = t->entry ? 0 : t->a_row ? 1 : (t->rows + ROWS_PER_BASE - 1) / ROWS_PER_BASE;
  for (int i = 0; i < in.bases; i++)
    in.a[i] = i ? at_bytes(e, in.a[0], i64_muli(e, in.a_row, i * ROWS_PER_BASE)) : LLVMGetParam(t->fn, 0);
  in.b = LLVMGetParam(t->fn, 3);
  in.left = LLVMGetParam(t->fn, 5);
  LVal sums = LLVMGetParam(t->fn, 6);
  if (t->finish || t->once)
    for (int i = 0; i < t->rows * t->vecs; i++)
      in.sum[i] = emit_real(emit_vec(e->f32, t->lanes), 0);
  else
    start_sums(&in, sums, LLVMGetParam(t->fn, 7));
  if (t->entry)
    table_steps(&in, LLVMGetParam(t->fn, 0), in.a_row);
  else
    all_steps(&in);
  if (t->finish)
    TRY(t->finish->emit(t->finish, t, in.sum));
  else
    for (int i = 0; i < t->rows * t->vecs; i++)
      store_f32(e, in.sum[i], sum_address(&in, sums, i));
  LLVMBuildRetVoid(e->b);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
  return ST_OK;
}

void tile_call(Emitter *e, const TileKernel *t, const TileArgs *x) {
  LVal none = LLVMGetUndef(e->i64); /* a constant of the kernel: nothing to pass */
  LVal arg[] = {x->a,
                t->a_row ? none : x->a_row,
                t->a_step ? none : x->a_step,
                x->b,
                t->b_step ? none : x->b_step,
                x->k,
                x->sums,
                x->more,
                t->ahead ? x->ahead : LLVMGetUndef(e->ptr),
                t->ahead ? x->ahead_step : none,
                x->args,
                x->row,
                x->col};
  LLVMBuildCall2(e->b, t->type, t->fn, arg, t->finish ? countof(arg) : FINISH_ARGS, "");
}

Status tile_set(Emitter *e, TileSet *s, int low, int high, TileKernel like) {
  *s = (TileSet){.kernel = arena_array(e->a, TileKernel, (size_t)high), .low = low, .high = high};
  for (int r = low; r <= high; r++) {
    s->kernel[r - 1] = like;
    s->kernel[r - 1].rows = r, s->kernel[r - 1].all_ahead = like.ahead && r <= like.few_rows;
    TRY(tile_kernel(e, &s->kernel[r - 1]));
  }
  return ST_OK;
}

static void dispatch(Emitter *e, const TileSet *s, LVal rows, const TileArgs *x, LVal *arg, unsigned narg) {
  LLVMBasicBlockRef done = emit_block(e, "called");
  for (int r = s->high; r >= s->low; r--) { /* tall ones first: they are the rule */
    const TileKernel *t = &s->kernel[r - 1];
    LLVMBasicBlockRef next = NULL;
    if (r > s->low) {
      LLVMBasicBlockRef yes = emit_block(e, "rows");
      next = emit_block(e, "fewer");
      LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, rows, i64_of(e, r), ""), yes, next);
      LLVMPositionBuilderAtEnd(e->b, yes);
    }
    if (x)
      tile_call(e, t, x);
    else
      LLVMBuildCall2(e->b, t->type, t->fn, arg, narg, "");
    LLVMBuildBr(e->b, done);
    if (next)
      LLVMPositionBuilderAtEnd(e->b, next);
  }
  LLVMPositionBuilderAtEnd(e->b, done);
}

void tile_dispatch(Emitter *e, const TileSet *s, LVal rows, const TileArgs *x) { dispatch(e, s, rows, x, NULL, 0); }

void tile_choose(Emitter *e, const TileSet *s, LVal rows, LVal *arg, unsigned n) { dispatch(e, s, rows, NULL, arg, n); }
