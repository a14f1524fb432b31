/* kernel.c - one walk over the kernel IR: statements and loops as LLVM IR in SSA form, already vectorised, so that no IR
 * pass is needed afterwards.
 *
 * A vector loop of width w runs over whole vectors and then, for what is left, once more under a mask. Iteration i always
 * works in lane i mod w; an accumulator from outside has w partial results that start from the operator's identity, are
 * combined at the end by halves (lane l with lane l + w/2, then w/4 …), the accumulator's earlier value first. So the order
 * of a sum depends on the extent and the width alone, not on threads or the rest of the shape.
 *
 * The outermost parallel loop runs over the parts it is given; parallel loops inside of it run serially.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/kemit.h"
#include "runtime/kernel_abi.h"

enum { MAX_DEPTH = 60, MAX_LANES = 128, REGISTER_LANES = 8 }; /* the last: of 64 bits, with AVX-512 */

#define B (k->e->b)

/* --- functions --- */

static LVal field(Emitter *e, LVal args, size_t offset, LType t) {
  LVal at = emit_int(e->i64, (int64_t)offset);
  return LLVMBuildLoad2(e->b, t, LLVMBuildGEP2(e->b, e->i8, args, &at, 1, ""), "");
}

EmitArgs emit_function(Emitter *e, const char *name) {
  LVal fn = LLVMAddFunction(e->mod, name, LLVMFunctionType(e->i32, &e->ptr, 1, 0));
  unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateEnumAttribute(e->lc, nounwind, 0));
  /* loops that copy or fill stay loops: nothing may become a call */
  LLVMAddTargetDependentFunctionAttr(fn, "no-builtins", "");
  LLVMPositionBuilderAtEnd(e->b, LLVMAppendBasicBlockInContext(e->lc, fn, ""));
  LVal args = LLVMGetParam(fn, 0);
  return (EmitArgs){
      .fn = fn,
      .bufs = field(e, args, offsetof(KernelArgs, buf), e->ptr),
      .dims = field(e, args, offsetof(KernelArgs, dim), e->ptr),
      .begin = field(e, args, offsetof(KernelArgs, begin), e->i64),
      .end = field(e, args, offsetof(KernelArgs, end), e->i64),
      .scratch = field(e, args, offsetof(KernelArgs, scratch), e->ptr),
      .cancel = field(e, args, offsetof(KernelArgs, cancel), e->ptr),
      .number = field(e, args, offsetof(KernelArgs, number), e->ptr),
  };
}

LVal emit_arg_buf(Emitter *e, const EmitArgs *a, uint32_t i) {
  return e->gpu ? LLVMGetParam(a->fn, i) : field(e, a->bufs, 8 * (size_t)i, e->ptr);
}
LVal emit_arg_dim(Emitter *e, const EmitArgs *a, uint32_t i) {
  if (a->grown && a->grown[i])
    return a->grown[i];
  return e->gpu ? LLVMGetParam(a->fn, a->first_dim + i) : field(e, a->dims, 8 * (size_t)i, e->i64);
}

static void go(Emitter *e, LLVMBasicBlockRef to) { LLVMPositionBuilderAtEnd(e->b, to); }

void emit_poll(Emitter *e, const EmitArgs *a) {
  LLVMBasicBlockRef look = emit_block(e, "poll"), stop = emit_block(e, "cancelled"), on = emit_block(e, "");
  LLVMBuildCondBr(e->b, LLVMBuildIsNull(e->b, a->cancel, ""), on, look);
  go(e, look);
  LVal flag = LLVMBuildLoad2(e->b, e->i32, a->cancel, "");
  LLVMSetVolatile(flag, 1);
  LLVMBuildCondBr(e->b, LLVMBuildIsNull(e->b, flag, ""), on, stop);
  go(e, stop);
  LLVMBuildRet(e->b, emit_int(e->i32, 1));
  go(e, on);
}

/* --- accumulators --- */

static bool collect(const KEmit *k, const KStmt *s, AccList *l) {
  for (; s; s = s->next) {
    if ((s->kind == KS_FOR || s->kind == KS_IF) && !collect(k, s->body, l))
      return false;
    if (s->kind != KS_UPDATE || !k->var[s->var->id])
      continue;
    int i = 0;
    while (i < l->n && l->var[i] != s->var)
      i++;
    if (i == MAX_ACC)
      return false;
    l->op[i] = i < l->n && l->op[i] != s->op ? KOP_none : s->op;
    l->var[i] = s->var;
    if (i == l->n)
      l->n++;
  }
  return true;
}

Status kemit_accumulators(KEmit *k, const KStmt *body, AccList **l) {
  *l = arena_new(k->e->a, AccList);
  return collect(k, body, *l) ? ST_OK : kemit_unsupported(k, "so many accumulators");
}

static void remember(KEmit *k, AccList *l) {
  for (int i = 0; i < l->n; i++)
    l->before[i] = k->var[l->var[i]->id];
}

/* The accumulators where a path that has left them at `value` meets the present one. */
static void merge(KEmit *k, const AccList *l, LVal const *value, LLVMBasicBlockRef from, LLVMBasicBlockRef here) {
  for (int i = 0; i < l->n; i++) {
    LVal now = k->var[l->var[i]->id];
    LVal phi = LLVMBuildPhi(B, LLVMTypeOf(now), "");
    LLVMAddIncoming(phi, (LVal[]){value[i], now}, (LLVMBasicBlockRef[]){from, here}, 2);
    k->var[l->var[i]->id] = phi;
  }
}

/* --- loops --- */

static Status list(KEmit *k, const KStmt *s, int depth);
static Status statement(KEmit *k, const KStmt *s, int depth);

Status kemit_count_loop(KEmit *k, const KStmt *s, LVal from, LVal to, LVal step, AccList *acc, LoopBody body,
                        int depth) {
  Emitter *e = k->e;
  LVal any = LLVMBuildICmp(B, LLVMIntSLT, from, to, "");
  if (LLVMIsAConstantInt(any) && !LLVMConstIntGetZExtValue(any))
    return ST_OK;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), head = emit_block(e, "loop"), done = emit_block(e, "");
  remember(k, acc);
  LLVMBuildCondBr(B, any, head, done);
  go(e, head);
  LVal i = LLVMBuildPhi(B, e->i64, "");
  LLVMAddIncoming(i, &from, &before, 1);
  for (int n = 0; n < acc->n; n++) {
    acc->phi[n] = LLVMBuildPhi(B, LLVMTypeOf(acc->before[n]), "");
    LLVMAddIncoming(acc->phi[n], &acc->before[n], &before, 1);
    k->var[acc->var[n]->id] = acc->phi[n];
  }
  TRY(body(k, s, i, depth));
  LVal next = LLVMBuildAdd(B, i, step, "");
  LLVMBasicBlockRef last = LLVMGetInsertBlock(B);
  LLVMAddIncoming(i, &next, &last, 1);
  for (int n = 0; n < acc->n; n++)
    LLVMAddIncoming(acc->phi[n], &k->var[acc->var[n]->id], &last, 1);
  LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSLT, next, to, ""), head, done);
  LLVMMoveBasicBlockAfter(done, last);
  go(e, done);
  merge(k, acc, acc->before, before, last);
  return ST_OK;
}

static Status count_loop(KEmit *k, const KStmt *s, LVal from, LVal to, int64_t step, AccList *acc, LoopBody body,
                         int depth) {
  return kemit_count_loop(k, s, from, to, emit_int(k->e->i64, step), acc, body, depth);
}

Status kemit_scalar_body(KEmit *k, const KStmt *s, LVal i, int depth) {
  k->var[s->var->id] = i;
  TRY(list(k, s->body, depth));
  k->var[s->var->id] = NULL;
  return ST_OK;
}

static Status unrolled_body(KEmit *k, const KStmt *s, LVal i, int depth) {
  for (int u = 0; u < s->width; u++)
    TRY(kemit_scalar_body(k, s, LLVMBuildAdd(B, i, emit_int(k->e->i64, u), ""), depth));
  return ST_OK;
}

static Status serial_loop(KEmit *k, const KStmt *s, LVal from, LVal to, int depth) {
  AccList *acc;
  TRY(kemit_accumulators(k, s->body, &acc));
  LVal rest = from;
  if (s->loop == KL_UNROLL && s->width > 1 && s->width <= 64) {
    LVal n = LLVMBuildSub(B, to, from, ""), w = emit_int(k->e->i64, s->width);
    LVal whole = LLVMBuildSub(B, n, LLVMBuildSRem(B, n, w, ""), "");
    rest = LLVMBuildAdd(B, from, whole, "");
    if (!LLVMIsAConstantInt(n) || LLVMConstIntGetSExtValue(whole) > 0)
      TRY(count_loop(k, s, from, rest, s->width, acc, unrolled_body, depth));
  }
  return count_loop(k, s, rest, to, 1, acc, kemit_scalar_body, depth);
}

/* --- vector loops --- */

LVal kemit_identity(KEmit *k, DType t, KOp op) {
  LType lt = kemit_type(k, t);
  int bits = dtype_bits(t);
  bool real = dtype_is_float(t), u = dtype_kind(t) == DK_UINT;
  switch (op) {
  case KOP_add: return real ? emit_real(lt, -0.0) : emit_int(lt, 0);
  case KOP_mul: return real ? emit_real(lt, 1) : emit_int(lt, 1);
  case KOP_and: return emit_int(lt, -1);
  case KOP_or: return emit_int(lt, 0);
  case KOP_min:
    if (real)
      return emit_real(lt, __builtin_inf());
    if (u && bits < 8)
      return emit_int(lt, (1 << bits) - 1);
    return emit_int(lt, t == DT_bool || u ? -1 : bits == 64 ? INT64_MAX : ((int64_t)1 << (bits - 1)) - 1);
  case KOP_max:
    if (real)
      return emit_real(lt, -__builtin_inf());
    return emit_int(lt, t == DT_bool || u ? 0 : bits == 64 ? INT64_MIN : -((int64_t)1 << (bits - 1)));
  default: return NULL;
  }
}

Status kemit_combine(KEmit *k, DType t, KOp op, LVal v, LVal *r) {
  if (t == DT_bool && (op == KOP_or || op == KOP_and)) {
    *r = emit_call(k->e, op == KOP_or ? "llvm.vector.reduce.or" : "llvm.vector.reduce.and", LLVMTypeOf(v), &v, 1);
    return ST_OK;
  }
  for (int n = emit_lanes(v) / 2; n; n /= 2) {
    LVal low[MAX_LANES], high[MAX_LANES];
    for (int i = 0; i < n; i++)
      low[i] = emit_int(k->e->i32, i), high[i] = emit_int(k->e->i32, i + n);
    LVal poison = LLVMGetPoison(LLVMTypeOf(v)), a, b;
    if (n == 1) {
      a = LLVMBuildExtractElement(B, v, low[0], "");
      b = LLVMBuildExtractElement(B, v, high[0], "");
    } else {
      a = LLVMBuildShuffleVector(B, v, poison, LLVMConstVector(low, (unsigned)n), "");
      b = LLVMBuildShuffleVector(B, v, poison, LLVMConstVector(high, (unsigned)n), "");
    }
    TRY(kemit_binary(k, t, op, a, b, &v));
  }
  *r = v;
  return ST_OK;
}

Status kemit_lanes_body(KEmit *k, const KStmt *s, LVal i, int depth) {
  k->lane_base = i;
  if (k->ahead && s->asks)
    TRY(kemit_ask_for(k, s->asks));
  return list(k, s->body, depth);
}

/* The iterations from `from` (a lane boundary) that do not fill a vector. */
static Status masked_rest(KEmit *k, const KStmt *s, LVal from, LVal to, AccList *acc, LoopBody body, int depth) {
  Emitter *e = k->e;
  LVal any = LLVMBuildICmp(B, LLVMIntSLT, from, to, "");
  if (LLVMIsAConstantInt(any) && !LLVMConstIntGetZExtValue(any))
    return ST_OK;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), rest = emit_block(e, "rest"), done = emit_block(e, "");
  remember(k, acc);
  LLVMBuildCondBr(B, any, rest, done);
  go(e, rest);
  LVal left = LLVMBuildTrunc(B, LLVMBuildSub(B, to, from, ""), e->i32, "");
  k->mask = LLVMBuildICmp(B, LLVMIntSLT, emit_iota(e, e->i32, k->lanes), emit_splat(e, left, k->lanes), "");
  TRY(body(k, s, from, depth));
  k->mask = NULL;
  LLVMBasicBlockRef last = LLVMGetInsertBlock(B);
  LLVMBuildBr(B, done);
  LLVMMoveBasicBlockAfter(done, last);
  go(e, done);
  merge(k, acc, acc->before, before, last);
  return ST_OK;
}

static Status vector_range(KEmit *k, const KStmt *s, LVal from, LVal to, int w, int depth) {
  AccList *acc;
  LVal outer[MAX_ACC];
  if (w > MAX_LANES || (w & (w - 1)))
    return kemit_unsupported(k, "a vector loop whose width is no power of two up to 128");
  if (kernel_loop_ordered(s))
    return kemit_unsupported(k, "a vector loop whose iterations have an order");
  TRY(kemit_accumulators(k, s->body, &acc));
  for (int i = 0; i < acc->n; i++) {
    const KVar *v = acc->var[i];
    LVal id = kemit_identity(k, v->dtype, (KOp)acc->op[i]);
    if (!id)
      return kemit_unsupported(k, "an accumulator with several operators in a vector loop");
    outer[i] = k->var[v->id];
    k->var[v->id] = emit_splat(k->e, id, w);
  }
  k->lanes = w, k->lane_var = s->var;
  k->ahead = s->ahead, k->ahead_by = s->ahead_by;
  LVal n = LLVMBuildSub(B, to, from, "");
  LVal whole = LLVMBuildAnd(B, n, emit_int(k->e->i64, -(int64_t)w), "");
  LVal middle = LLVMBuildAdd(B, from, whole, "");
  TRY(count_loop(k, s, from, middle, w, acc, kemit_lanes_body, depth));
  k->ahead = NULL;
  TRY(masked_rest(k, s, middle, to, acc, kemit_lanes_body, depth));
  k->lanes = 1, k->lane_var = NULL, k->lane_base = NULL;
  for (int i = 0; i < acc->n; i++) {
    const KVar *v = acc->var[i];
    LVal sum;
    TRY(kemit_combine(k, v->dtype, (KOp)acc->op[i], k->var[v->id], &sum));
    TRY(kemit_binary(k, v->dtype, (KOp)acc->op[i], outer[i], sum, &k->var[v->id]));
  }
  return ST_OK;
}

/* --- the outermost parallel loop --- */

static Status part_body(KEmit *k, const KStmt *s, LVal i, int depth) {
  emit_poll(k->e, &k->args);
  return kemit_scalar_body(k, s, i, depth);
}

/* A loop that is both parallel and vector: part p is kernel_chunk iterations. */
static Status chunk_body(KEmit *k, const KStmt *s, LVal p, int depth) {
  Emitter *e = k->e;
  LVal chunk = emit_int(e->i64, kernel_chunk(s)), n = kemit_dim(k, s->extent);
  emit_poll(e, &k->args);
  LVal from = LLVMBuildMul(B, p, chunk, ""), to = LLVMBuildAdd(B, from, chunk, "");
  to = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSLT, to, n, ""), to, n, "");
  return vector_range(k, s, from, to, s->width, depth);
}

static Status parallel_loop(KEmit *k, const KStmt *s, int depth) {
  AccList *acc;
  k->split = true;
  TRY(kemit_accumulators(k, s->body, &acc));
  if (acc->n)
    return kemit_unsupported(k, "an accumulator across a parallel loop");
  return count_loop(k, s, k->args.begin, k->args.end, 1, acc, s->width ? chunk_body : part_body, depth);
}

/* --- scans ---
 *
 * An accumulator is one value in all lanes between the vectors. Its update combines the lanes before each with it in a tree, and
 * what is read of it then is that; what the next vector begins with waits for one operation only. */

typedef struct Scan {
  const KVar *var[MAX_ACC];
  LVal before[MAX_ACC]; /* in all lanes: what this vector began with */
  LVal next[MAX_ACC];   /* what the next one begins with */
  int n;
} Scan;

static int scan_of(const KEmit *k, const KVar *v) {
  for (int i = 0; k->scan && i < k->scan->n; i++)
    if (k->scan->var[i] == v)
      return i;
  return -1;
}

/* Lanes moved up by n; the first n are those of `fill`. */
static LVal moved_up(KEmit *k, LVal v, LVal fill, int n) {
  LVal at[MAX_LANES];
  int w = emit_lanes(v);
  for (int i = 0; i < w; i++)
    at[i] = emit_int(k->e->i32, i < n ? i : w + i - n);
  return LLVMBuildShuffleVector(B, fill, v, LLVMConstVector(at, (unsigned)w), "");
}

static Status scan_update(KEmit *k, const KStmt *s, int i) {
  Emitter *e = k->e;
  Scan *x = k->scan;
  DType t = s->var->dtype;
  KOp op = (KOp)s->op;
  LVal v, last, none = emit_splat(e, kemit_identity(k, t, op), k->lanes), pick[MAX_LANES];
  TRY(kemit_expr(k, s->value, &v));
  v = emit_splat(e, v, k->lanes);
  if (k->mask)
    v = emit_select(e, k->mask, v, none);
  for (int n = 1; n < k->lanes; n *= 2)
    TRY(kemit_binary(k, t, op, moved_up(k, v, none, n), v, &v));
  for (int l = 0; l < k->lanes; l++)
    pick[l] = emit_int(e->i32, k->lanes - 1);
  last = LLVMBuildShuffleVector(B, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(pick, (unsigned)k->lanes), "");
  TRY(kemit_binary(k, t, op, x->before[i], last, &x->next[i]));
  return kemit_binary(k, t, op, x->before[i], v, &k->var[s->var->id]);
}

/* The accumulator that s holds as it is before its update, or NULL: its value is known behind that only. */
static const KVar *held(const KEmit *k, const KStmt *s) {
  return s->kind == KS_LET && s->value->kind == KE_VAR && scan_of(k, s->value->var) >= 0 ? s->value->var : NULL;
}

static Status scan_statement(KEmit *k, const KStmt *body, const KStmt *s, int depth) {
  int i = s->kind == KS_UPDATE ? scan_of(k, s->var) : -1;
  bool waits = false;
  for (const KStmt *u = s; held(k, s) && u; u = u->next)
    waits |= u->kind == KS_UPDATE && u->var == held(k, s);
  if (waits)
    return ST_OK;
  if (i < 0)
    return statement(k, s, depth);
  TRY(scan_update(k, s, i));
  for (const KStmt *h = body; h != s; h = h->next)
    if (held(k, h) == s->var)
      k->var[h->var->id] = moved_up(k, k->var[s->var->id], k->scan->before[i], 1);
  return ST_OK;
}

static Status scan_body(KEmit *k, const KStmt *s, LVal base, int depth) {
  Scan *x = k->scan;
  k->lane_base = base;
  for (int i = 0; i < x->n; i++)
    x->before[i] = k->var[x->var[i]->id];
  for (const KStmt *in = s->body; in; in = in->next)
    TRY(scan_statement(k, s->body, in, depth));
  for (const KStmt *in = s->body; in; in = in->next)
    if (in->kind == KS_LET)
      k->var[in->var->id] = NULL;
  for (int i = 0; i < x->n; i++)
    k->var[x->var[i]->id] = x->next[i];
  return ST_OK;
}

static Status scan_range(KEmit *k, const KStmt *s, LVal to, int depth) {
  AccList *acc;
  Scan *x = k->scan = arena_new(k->e->a, Scan);
  int w = s->width;
  if (w > MAX_LANES || (w & (w - 1)) || !kernel_loop_scans(s))
    return kemit_unsupported(k, "such a scan");
  TRY(kemit_accumulators(k, s->body, &acc));
  for (x->n = 0; x->n < acc->n; x->n++) {
    x->var[x->n] = acc->var[x->n];
    k->var[acc->var[x->n]->id] = emit_splat(k->e, k->var[acc->var[x->n]->id], w);
  }
  k->lanes = w, k->lane_var = s->var;
  LVal zero = emit_int(k->e->i64, 0), middle = LLVMBuildAnd(B, to, emit_int(k->e->i64, -(int64_t)w), "");
  TRY(count_loop(k, s, zero, middle, w, acc, scan_body, depth));
  TRY(masked_rest(k, s, middle, to, acc, scan_body, depth));
  k->lanes = 1, k->lane_var = NULL, k->lane_base = NULL, k->scan = NULL;
  for (int i = 0; i < x->n; i++)
    k->var[x->var[i]->id] = LLVMBuildExtractElement(B, k->var[x->var[i]->id], emit_int(k->e->i32, 0), "");
  return ST_OK;
}

Status kemit_trips(KEmit *k, const KStmt *s, LVal *n) {
  LVal to;
  *n = kemit_dim(k, s->extent);
  if (!*n)
    return fail(k->e->c, ST_INTERNAL, "kernel '%s': an extent that its signature lacks", k->k->name);
  if (!s->value)
    return ST_OK;
  TRY(kemit_expr(k, s->value, &to));
  if (emit_lanes(to) > 1)
    return kemit_unsupported(k, "a loop that ends elsewhere in each lane");
  *n = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSLT, to, *n, ""), to, *n, "");
  return ST_OK;
}

/* --- tiles --- */

/* The iterations of the tile around from u0 on, whose loads are made. */
static Status tile_rows(KEmit *k, const KStmt *body, LVal u0, int depth) {
  const KStmt *u = k->tile_loop;
  for (k->tile_at = 0; k->tile_at < u->width; k->tile_at++) {
    k->var[u->var->id] = LLVMBuildAdd(B, u0, emit_int(k->e->i64, k->tile_at), "");
    TRY(list(k, body, depth));
  }
  k->var[u->var->id] = u0;
  return ST_OK;
}

/* For one vector of lanes: what all iterations of the tile load, then each by itself. */
static Status tile_vector(KEmit *k, const KStmt *lanes, LVal base, int depth) {
  Emitter *e = k->e;
  const KStmt *u = k->tile_loop, *s = lanes->body, *rest = s;
  LVal u0 = k->var[u->var->id], large;
  k->lane_base = base;
  for (; rest && rest->kind == KS_LET && !kernel_depends(rest->value, u->var); rest = rest->next)
    TRY(statement(k, rest, depth));
  TRY(kemit_tile_loads(k, rest, u->var, u0, u->width));
  TRY(kemit_tile_past(k, rest, u->var, u0, &large));
  if (large) {
    LLVMBasicBlockRef past = emit_block(e, "past"), plain = emit_block(e, "plain"), done = emit_block(e, "");
    LLVMBuildCondBr(B, large, past, plain);
    go(e, past);
    k->past = STREAM_YES;
    TRY(tile_rows(k, rest, u0, depth));
    LLVMBuildBr(B, done);
    go(e, plain);
    k->past = STREAM_NO;
    TRY(tile_rows(k, rest, u0, depth));
    k->past = STREAM_ASK;
    LLVMBuildBr(B, done);
    go(e, done);
  } else
    TRY(tile_rows(k, rest, u0, depth));
  k->tile = NULL;
  for (; s != rest; s = s->next)
    k->var[s->var->id] = NULL;
  return ST_OK;
}

/* The lanes that fill no vector, one iteration after another. */
static Status tile_rest(KEmit *k, const KStmt *s, LVal i, int depth) {
  const KStmt *lanes = s->body;
  AccList none = {0};
  LVal n;
  k->var[s->var->id] = i;
  TRY(kemit_trips(k, lanes, &n));
  k->lanes = lanes->width, k->lane_var = lanes->var;
  LVal middle = LLVMBuildAnd(B, n, emit_int(k->e->i64, -(int64_t)lanes->width), "");
  TRY(masked_rest(k, lanes, middle, n, &none, kemit_lanes_body, depth));
  k->lanes = 1, k->lane_var = NULL, k->lane_base = NULL;
  k->var[s->var->id] = NULL;
  return ST_OK;
}

static Status tile_body(KEmit *k, const KStmt *s, LVal u0, int depth) {
  Emitter *e = k->e;
  const KStmt *lanes = s->body;
  int w = lanes->width;
  AccList none = {0};
  LVal n, zero = emit_int(e->i64, 0);
  k->var[s->var->id] = u0;
  TRY(kemit_trips(k, lanes, &n));
  LVal middle = LLVMBuildAnd(B, n, emit_int(e->i64, -(int64_t)w), "");
  k->lanes = w, k->lane_var = lanes->var, k->tile_loop = s;
  TRY(count_loop(k, lanes, zero, middle, w, &none, tile_vector, depth));
  k->lanes = 1, k->lane_var = NULL, k->lane_base = NULL;
  LVal rest = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSLT, middle, n, ""), emit_int(e->i64, s->width), zero, "");
  return count_loop(k, s, u0, LLVMBuildAdd(B, u0, rest, ""), 1, &none, tile_rest, depth);
}

static Status tile_loop(KEmit *k, const KStmt *s, LVal n, int depth) {
  AccList *acc;
  LVal zero = emit_int(k->e->i64, 0), w = emit_int(k->e->i64, s->width);
  TRY(kemit_accumulators(k, s->body, &acc));
  if (acc->n || s->width > KEMIT_TILE || (s->body->width != s->width && s->body->width != 2 * s->width) ||
      (s->width & (s->width - 1)))
    return kemit_unsupported(k, "such a tile");
  LVal whole = LLVMBuildSub(B, n, LLVMBuildSRem(B, n, w, ""), "");
  TRY(count_loop(k, s, zero, whole, s->width, acc, tile_body, depth));
  return count_loop(k, s, whole, n, 1, acc, kemit_scalar_body, depth);
}

/* A loop inside of vectors whose loads go by indices from outside: they are looked at once, for all iterations. */
static Status near_loop(KEmit *k, const KStmt *s, LVal all, LVal n, int depth) {
  Emitter *e = k->e;
  LVal zero = emit_int(e->i64, 0);
  LLVMBasicBlockRef close = emit_block(e, "near"), far = emit_block(e, "far"), done = emit_block(e, "");
  LLVMBuildCondBr(B, all, close, far);
  for (int i = 0; i < 2; i++) {
    go(e, i ? far : close);
    k->are_near = !i;
    TRY(serial_loop(k, s, zero, n, depth));
    LLVMBuildBr(B, done);
  }
  k->nnear = 0;
  go(e, done);
  return ST_OK;
}

static Status loop(KEmit *k, const KStmt *s, int depth) {
  LVal n, zero = emit_int(k->e->i64, 0);
  TRY(kemit_trips(k, s, &n));
  if (s->loop == KL_TILE && k->lanes == 1)
    return tile_loop(k, s, n, depth);
  if (s->loop == KL_SCAN && k->lanes == 1)
    return scan_range(k, s, n, depth);
  if (s->loop == KL_GRID || s->loop == KL_BLOCK)
    return k->e->gpu ? gpu_loop(k, s, n, depth) : kemit_unsupported(k, "a GPU schedule on a CPU");
  if (s->loop == KL_PARALLEL && !k->split)
    return parallel_loop(k, s, depth);
  bool vector = (s->loop == KL_VECTOR || (s->loop == KL_PARALLEL && s->width)) && k->lanes == 1 && s->width > 1;
  LVal near = k->lanes > 1 && !k->nnear ? kemit_near(k, s->body) : NULL;
  if (near)
    return near_loop(k, s, near, n, depth);
  k->nnear = 0;
  return vector ? vector_range(k, s, zero, n, s->width, depth) : serial_loop(k, s, zero, n, depth);
}

/* --- other statements --- */

static Status update(KEmit *k, const KStmt *s) {
  LVal old = k->var[s->var->id], v, r;
  if (!old)
    return fail(k->e->c, ST_INTERNAL, "kernel '%s': an update of what is not defined", k->k->name);
  TRY(kemit_expr(k, s->value, &v));
  bool order =
      s->op == KOP_max || s->op == KOP_min; /* NaN is looked for in the first operand: what waits is the second */
  if (s->op)
    TRY(kemit_binary(k, s->var->dtype, (KOp)s->op, order ? v : old, order ? old : v, &r));
  else
    r = emit_match(k->e, v, old);
  if (k->mask)
    r = emit_select(k->e, k->mask, r, old);
  k->var[s->var->id] = r;
  return ST_OK;
}

/* The body where cond, a scalar, holds. */
static Status guarded(KEmit *k, const KStmt *s, LVal cond, AccList *acc, int depth) {
  Emitter *e = k->e;
  remember(k, acc);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(B), then = emit_block(e, "then"), done = emit_block(e, "");
  LLVMBuildCondBr(B, cond, then, done);
  go(e, then);
  TRY(list(k, s->body, depth));
  LLVMBasicBlockRef last = LLVMGetInsertBlock(B);
  LLVMBuildBr(B, done);
  LLVMMoveBasicBlockAfter(done, last);
  go(e, done);
  merge(k, acc, acc->before, before, last);
  return ST_OK;
}

static bool straight(const KStmt *s) {
  for (; s; s = s->next)
    if (s->kind == KS_FOR || s->kind == KS_IF || s->kind == KS_CHECK)
      return false;
  return true;
}

/* Where all lanes hold (the inside of an image), the body without a mask; else with one. */
static Status all_or_some(KEmit *k, const KStmt *s, LVal mask, AccList *acc, int depth) {
  Emitter *e = k->e;
  LVal *whole_value = arena_array(e->a, LVal, (size_t)acc->n + 1);
  LLVMBasicBlockRef whole = emit_block(e, "whole"), some = emit_block(e, "some"), done = emit_block(e, "");
  remember(k, acc);
  LLVMBuildCondBr(B, emit_call(e, "llvm.vector.reduce.and", LLVMTypeOf(mask), &mask, 1), whole, some);
  go(e, whole);
  TRY(list(k, s->body, depth));
  LLVMBasicBlockRef from = LLVMGetInsertBlock(B);
  LLVMBuildBr(B, done);
  for (int i = 0; i < acc->n; i++) {
    whole_value[i] = k->var[acc->var[i]->id];
    k->var[acc->var[i]->id] = acc->before[i];
  }
  go(e, some);
  k->mask = mask;
  TRY(guarded(k, s, emit_any(e, mask), acc, depth));
  k->mask = NULL;
  LLVMBasicBlockRef here = LLVMGetInsertBlock(B);
  LLVMBuildBr(B, done);
  LLVMMoveBasicBlockAfter(done, here);
  go(e, done);
  merge(k, acc, whole_value, from, here);
  return ST_OK;
}

/* Lanes that the condition excludes are masked; when no lane is left the body is passed over. */
static Status branch(KEmit *k, const KStmt *s, int depth) {
  LVal cond, saved = k->mask;
  AccList *acc;
  TRY(kemit_accumulators(k, s->body, &acc));
  TRY(kemit_expr(k, s->value, &cond));
  if (emit_lanes(cond) == 1)
    return guarded(k, s, cond, acc, depth);
  if (!saved && straight(s->body))
    return all_or_some(k, s, cond, acc, depth);
  k->mask = saved ? LLVMBuildAnd(B, saved, cond, "") : cond;
  TRY(guarded(k, s, emit_any(k->e, k->mask), acc, depth));
  k->mask = saved;
  return ST_OK;
}

/* The code of a check is its place among the kernel's checks, whatever loop copies were made of it. */
static int check_code(KEmit *k, const KStmt *s) {
  uint32_t i = 0;
  while (i < k->checks && k->check[i] != s)
    i++;
  return 2 + (int)i;
}

static Status failing_lanes(KEmit *k, const KStmt *s, LVal *bad) {
  LVal cond;
  TRY(kemit_expr(k, s->value, &cond));
  *bad = LLVMBuildNot(B, cond, "");
  if (emit_lanes(*bad) > 1 && k->mask)
    *bad = LLVMBuildAnd(B, *bad, k->mask, "");
  return ST_OK;
}

/* Does any lane fail? Of indices without signs that must all be below one number the largest tells, by one comparison: a gather of
 * elements takes 6.6 ms, not 7.0 (bench memory="gather elements"). */
static Status any_fails(KEmit *k, const KStmt *s, LVal *any) {
  const KExpr *x = s->value;
  LVal v, bound;
  bool largest = k->e->bits == 512 && !k->mask && x->kind == KE_BINARY && x->op == KOP_lt && x->arg[0]->dtype == DT_u64;
  if (largest) {
    TRY(kemit_expr(k, x->arg[0], &v));
    TRY(kemit_expr(k, x->arg[1], &bound));
  }
  if (!largest || emit_lanes(v) <= REGISTER_LANES || emit_lanes(bound) > 1) {
    TRY(failing_lanes(k, s, &v));
    *any = emit_any(k->e, v);
    return ST_OK;
  }
  for (int n = emit_lanes(v) / 2; n >= REGISTER_LANES; n /= 2)
    TRY(kemit_binary(k, DT_u64, KOP_max, emit_lanes_of(k->e, v, 0, n), emit_lanes_of(k->e, v, n, n), &v));
  *any = emit_any(k->e, LLVMBuildICmp(B, LLVMIntUGE, v, emit_splat(k->e, bound, emit_lanes(v)), ""));
  return ST_OK;
}

static Status check(KEmit *k, const KStmt *s) {
  Emitter *e = k->e;
  LVal any, bad, number;
  TRY(any_fails(k, s, &any));
  LLVMBasicBlockRef wrong = emit_block(e, "wrong"), on = emit_block(e, "");
  LLVMBuildCondBr(B, any, wrong, on);
  go(e, wrong);
  TRY(kemit_expr(k, s->number, &number));
  if (emit_lanes(number) > 1) { /* the first lane that failed */
    TRY(failing_lanes(k, s, &bad));
    int lanes = emit_lanes(number);
    LVal lane = emit_splat(e, bad, lanes), first = LLVMConstNull(LLVMGetElementType(LLVMTypeOf(number)));
    for (int i = lanes; i-- > 0;)
      first = LLVMBuildSelect(B, LLVMBuildExtractElement(B, lane, emit_int(e->i32, i), ""),
                              LLVMBuildExtractElement(B, number, emit_int(e->i32, i), ""), first, "");
    number = first;
  }
  number = LLVMBuildBitCast(B, number, e->i64, ""); /* an f64 by its bits */
  if (e->gpu) {
    gpu_wrong(k->e, &k->args, check_code(k, s), number);
    go(e, on);
    return ST_OK;
  }
  LLVMBasicBlockRef say = emit_block(e, ""), out = emit_block(e, "");
  LLVMBuildCondBr(B, LLVMBuildIsNull(B, k->args.number, ""), out, say);
  go(e, say);
  LLVMBuildStore(B, number, k->args.number);
  LLVMBuildBr(B, out);
  go(e, out);
  LLVMBuildRet(B, emit_int(e->i32, check_code(k, s)));
  go(e, on);
  return ST_OK;
}

static Status statement(KEmit *k, const KStmt *s, int depth) {
  LVal v;
  switch (s->kind) {
  case KS_FOR: return loop(k, s, depth);
  case KS_IF: return branch(k, s, depth);
  case KS_UPDATE: return update(k, s);
  case KS_STORE: return k->once ? gpu_store(k, s) : kemit_store(k, s);
  case KS_CHECK: return check(k, s);
  default: /* inside a vector loop every lane has an accumulator of its own */
    TRY(kemit_expr(k, s->value, &v));
    k->var[s->var->id] = s->kind == KS_ACC ? emit_splat(k->e, v, k->lanes) : v;
    return ST_OK;
  }
}

static Status list(KEmit *k, const KStmt *first, int depth) {
  if (depth > MAX_DEPTH)
    return kemit_unsupported(k, "statements nested so deep");
  for (const KStmt *s = first; s; s = s->next)
    TRY(statement(k, s, depth + 1));
  for (const KStmt *s = first; s; s = s->next)
    if (s->kind == KS_LET || s->kind == KS_ACC)
      k->var[s->var->id] = NULL;
  return ST_OK;
}

/* --- whole kernels --- */

static int parallel_loops(const KStmt *s) {
  int n = 0;
  for (; s; s = s->next)
    n += s->kind == KS_FOR && s->loop == KL_PARALLEL ? 1 : parallel_loops(s->body);
  return n;
}

/* What stands beside a parallel loop runs once per range of parts, and not at all when there are no parts: only
 * definitions and checks may. */
static bool alone(const KStmt *first) {
  for (const KStmt *s = first; s; s = s->next)
    if (s->kind == KS_FOR && s->loop == KL_PARALLEL) {
      for (const KStmt *other = first; other; other = other->next)
        if (other != s && other->kind != KS_LET && other->kind != KS_ACC && other->kind != KS_CHECK)
          return false;
    } else if (parallel_loops(s->body))
      return false;
  return true;
}

KEmit *kemit_create_open(Emitter *e, const Kernel *kernel, const EmitArgs *args, const Dim *dim, uint32_t ndim,
                         const OpenDims *open) {
  KEmit *k = arena_new(e->a, KEmit);
  *k = (KEmit){.e = e, .k = kernel, .args = *args, .dim = dim, .ndim = ndim, .open = *open, .lanes = 1};
  k->dim_value = arena_array(e->a, LVal, ndim);
  for (uint32_t i = 0; i < ndim; i++)
    k->dim_value[i] = emit_arg_dim(e, args, i);
  k->buf = arena_array(e->a, LVal, kernel->nbuf);
  k->stride = arena_get(e->a, kernel->nbuf, sizeof *k->stride, _Alignof(LVal));
  for (uint32_t i = 0; i < kernel->nbuf; i++) {
    LVal step = emit_int(e->i64, 1);
    for (int d = kernel->buf[i]->rank; d-- > 0;) {
      LVal extent = kemit_dim(k, kernel->buf[i]->dim[d]);
      k->stride[i][d] = step;
      if (d)
        step = LLVMBuildMul(e->b, step, extent ? extent : emit_int(e->i64, 1), "");
    }
  }
  k->var = arena_array(e->a, LVal, kernel->next_id);
  k->check = arena_array(e->a, const KStmt *, kernel_checks(kernel, NULL));
  k->checks = kernel_checks(kernel, k->check);
  return k;
}

KEmit *kemit_create(Emitter *e, const Kernel *k, const EmitArgs *args, const Dim *dim, uint32_t ndim) {
  return kemit_create_open(e, k, args, dim, ndim, &(OpenDims){0});
}

void kemit_bind_buf(KEmit *k, uint32_t index, LVal base) { k->buf[index] = base; }
void kemit_bind_var(KEmit *k, const KVar *v, LVal value) { k->var[v->id] = value; }
void kemit_input0(KEmit *k, LVal value) { k->input0 = value; }

void kemit_bind_lanes(KEmit *k, const KVar *v, LVal base, int lanes, LVal mask) {
  k->lane_var = v, k->lane_base = base, k->lanes = lanes, k->mask = mask;
}

Status kemit_list(KEmit *k, const KStmt *s) { return list(k, s, 0); }

/* Temporaries lie one behind another in the thread's scratch, each at a multiple of TEMP_ALIGN (unit_count adds them up). */
static void place_temporaries(KEmit *k) {
  Emitter *e = k->e;
  LVal at = emit_int(e->i64, 0);
  for (uint32_t i = k->k->nio; i < k->k->nbuf; i++) {
    const KBuf *b = k->k->buf[i];
    k->buf[i] = LLVMBuildGEP2(B, e->i8, k->args.scratch, &at, 1, "");
    LVal size = emit_int(e->i64, dtype_bits(b->dtype) / 8);
    if (b->rank)
      size = LLVMBuildMul(B, size, LLVMBuildMul(B, k->stride[i][0], kemit_dim(k, b->dim[0]), ""), "");
    size = LLVMBuildAdd(B, size, emit_int(e->i64, TEMP_ALIGN - 1), "");
    at = LLVMBuildAdd(B, at, LLVMBuildAnd(B, size, emit_int(e->i64, -TEMP_ALIGN), ""), "");
  }
}

Status emit_loop_unit(Emitter *e, const Unit *u, const char *name) {
  const Dim *dim;
  uint32_t ndim;
  kernel_signature_in(e->a, u->kernel, &dim, &ndim);
  EmitArgs args = emit_function(e, name);
  KEmit *k = kemit_create(e, u->kernel, &args, dim, ndim);
  if (parallel_loops(u->kernel->body) && !alone(u->kernel->body))
    return kemit_unsupported(k, "statements beside a parallel loop");
  for (uint32_t i = 0; i < u->kernel->nio; i++)
    k->buf[i] = emit_arg_buf(e, &args, i);
  place_temporaries(k);
  if (e->bits == 512) {
    LVal there = LLVMBuildZExt(B, LLVMBuildIsNotNull(B, args.bufs, ""), e->i32, "");
    k->many = LLVMBuildMul(B, there, emit_int(e->i32, MAX_LANES), "");
  }
  kemit_find_large(k);
  if (!parallel_loops(u->kernel->body)) { /* one part: 0 */
    LLVMBasicBlockRef work = emit_block(e, ""), none = emit_block(e, "");
    LLVMBuildCondBr(B, LLVMBuildICmp(B, LLVMIntSLT, args.begin, args.end, ""), work, none);
    go(e, none);
    LLVMBuildRet(B, emit_int(e->i32, 0));
    go(e, work);
    emit_poll(e, &args);
  }
  TRY(list(k, u->kernel->body, 0));
  if (k->streamed)
    emit_fence(e);
  LLVMBuildRet(B, emit_int(e->i32, 0));
  return ST_OK;
}
