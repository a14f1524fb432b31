/* memory.c - loads and stores: by how their address moves from lane to lane (not at all: one scalar access; by one: a vector
 * access; otherwise gather and scatter), and by how the element type lies in memory.
 *
 *   in memory                        in registers
 *   f32, f64, i8 … u64               the same
 *   f16, bf16, the small floats      f32
 *   bool                             i1
 *   i4, u4, i2, u2: several a byte,  i8, sign- or zero-extended (packed.c)
 *     the first in the low bits
 *   f6: four in three bytes          f32
 *   complex                          i64, i128: only moved
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/memory.h"

#define B (k->e->b)

/* --- types --- */

static LType int_type(const Emitter *e, int bits) {
  return bits <= 8    ? e->i8
         : bits == 16 ? e->i16
         : bits == 32 ? e->i32
         : bits == 64 ? e->i64
                      : LLVMIntTypeInContext(e->lc, (unsigned)bits);
}

/* Of one element that was loaded: the codes of narrow floats and packed integers are integers. */
LType kemit_memory_type(const KEmit *k, DType t) {
  if (!dtype_valid(t) || t == DT_str)
    return NULL;
  return t == DT_f32 ? k->e->f32 : t == DT_f64 ? k->e->f64 : int_type(k->e, dtype_bits(t));
}

LType kemit_type(const KEmit *k, DType t) {
  if (t == DT_bool)
    return k->e->i1;
  return dtype_is_float(t) && t != DT_f64 ? k->e->f32 : kemit_memory_type(k, t);
}

LVal kemit_from_memory(KEmit *k, DType t, LVal v) {
  switch (t) {
  case DT_f16: return emit_f16_load(k->e, v);
  case DT_bf16: return emit_bf16_load(k->e, v);
  case DT_bool: return LLVMBuildICmp(B, LLVMIntNE, v, emit_int(LLVMTypeOf(v), 0), "");
  case DT_f32:
  case DT_f64: return v;
  default: return dtype_is_float(t) ? emit_small_load(k->e, t, v) : kemit_wrap(k, t, v);
  }
}

LVal kemit_to_memory(KEmit *k, DType t, int mode, LVal v) {
  switch (t) {
  case DT_f16: return emit_f16_store(k->e, v);
  case DT_bf16: return emit_bf16_store(k->e, v);
  case DT_bool: return LLVMBuildZExt(B, v, emit_like(k->e->i8, v), "");
  case DT_f32:
  case DT_f64: return v;
  default:
    return dtype_is_float(t) ? emit_small_store(k->e, t, v, !(mode & KC_OPEN),
                                                mode & KC_DOWN      ? E8M0_DOWN
                                                : mode & KC_NEAREST ? E8M0_NEAREST
                                                                    : E8M0_UP)
                             : v;
  }
}

/* Packed integers fill an i8 when they are held in a register. */
LVal kemit_wrap(KEmit *k, DType t, LVal v) {
  int bits = dtype_bits(t);
  if (bits >= 8 || dtype_is_float(t))
    return v;
  LType lt = LLVMTypeOf(v);
  v = LLVMBuildAnd(B, v, emit_int(lt, (1 << bits) - 1), "");
  if (dtype_kind(t) == DK_UINT)
    return v;
  LVal top = emit_int(lt, 1 << (bits - 1));
  return LLVMBuildSub(B, LLVMBuildXor(B, v, top, ""), top, "");
}

/* --- how an expression moves from lane to lane --- */

static bool varies(const KEmit *k, const KExpr *x) {
  switch (x->kind) {
  case KE_VAR: return x->var == k->lane_var || (k->var[x->var->id] && emit_lanes(k->var[x->var->id]) > 1);
  case KE_LOAD:
    if (!x->buf->index && !x->buf->output && k->input0)
      return emit_lanes(k->input0) > 1;
    for (int i = 0; i < x->buf->rank; i++)
      if (varies(k, x->index[i]))
        return true;
    return false;
  case KE_SELECT:
  case KE_BINARY:
  case KE_UNARY:
  case KE_CAST:
    for (int i = 0; i < 3 && x->arg[i]; i++)
      if (varies(k, x->arg[i]))
        return true;
    return false;
  default: return false;
  }
}

/* Is x = (something uniform) + step * lane? */
static bool linear(const KEmit *k, const KExpr *x, int64_t *step) {
  int64_t a, b;
  *step = 0;
  if (k->lanes == 1 || !varies(k, x))
    return true;
  if (x->kind == KE_VAR) {
    if (x->var != k->lane_var)
      return x->var->def->kind == KS_LET && linear(k, x->var->def->value, step);
    *step = 1;
    return true;
  }
  if (x->kind != KE_BINARY || !linear(k, x->arg[0], &a) || !linear(k, x->arg[1], &b))
    return false;
  if (x->op == KOP_add)
    return !__builtin_add_overflow(a, b, step);
  if (x->op == KOP_sub)
    return !__builtin_sub_overflow(a, b, step);
  if (x->op != KOP_mul)
    return false;
  if (x->arg[0]->kind == KE_INT)
    return !__builtin_mul_overflow(x->arg[0]->i, b, step);
  return x->arg[1]->kind == KE_INT && !__builtin_mul_overflow(x->arg[1]->i, a, step);
}

/* a < b or a <= b for indices that grow by different constants from lane to lane: the lanes below some number, or from it on,
 * which is a comparison of bytes. by: what the difference grows by, above 0. */
static bool splits_lanes(const KEmit *k, const KExpr *x, bool *below, int64_t *by) {
  int64_t a, b;
  if ((x->op != KOP_lt && x->op != KOP_le) || x->arg[0]->dtype != DT_i64 || k->lanes == 1 || k->lanes >= 128 ||
      k->at_base || !linear(k, x->arg[0], &a) || !linear(k, x->arg[1], &b))
    return false;
  *below = a > b; /* a + by * l < b: l < (b - a) / by */
  return !__builtin_sub_overflow(*below ? a : b, *below ? b : a, by) && *by > 0;
}

Status kemit_compare_lanes(KEmit *k, const KExpr *x, bool *done, LVal *r) {
  Emitter *e = k->e;
  LVal a, b, zero = emit_int(e->i64, 0), all = emit_int(e->i64, k->lanes);
  bool below;
  int64_t by;
  *done = splits_lanes(k, x, &below, &by);
  if (!*done)
    return ST_OK;
  k->at_base = true;
  TRY(kemit_expr(k, x->arg[0], &a));
  TRY(kemit_expr(k, x->arg[1], &b));
  k->at_base = false;
  LVal first = below ? LLVMBuildSub(B, b, a, "") : LLVMBuildSub(B, a, b, "");
  if ((x->op == KOP_le) == below)
    first = LLVMBuildAdd(B, first, emit_int(e->i64, 1), "");
  first = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSLT, first, zero, ""), zero, first, "");
  if (by > 1)
    first = LLVMBuildUDiv(B, LLVMBuildAdd(B, first, emit_int(e->i64, by - 1), ""), emit_int(e->i64, by), "");
  first = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSGT, first, all, ""), all, first, "");
  LVal bound = emit_splat(e, LLVMBuildTrunc(B, first, e->i8, ""), k->lanes);
  *r = LLVMBuildICmp(B, below ? LLVMIntULT : LLVMIntUGE, emit_iota(e, e->i8, k->lanes), bound, "");
  return ST_OK;
}

/* --- addresses --- */

static Status flat(KEmit *k, const KBuf *b, KExpr *const *index, bool at_base, LVal *offset) {
  bool saved = k->at_base;
  LVal sum = NULL;
  k->at_base = at_base || saved;
  for (int i = 0; i < b->rank; i++) {
    LVal v;
    TRY(kemit_expr(k, index[i], &v));
    if (i + 1 < b->rank)
      v = LLVMBuildMul(B, v, emit_match(k->e, k->stride[b->index][i], v), "");
    if (!sum)
      sum = v;
    else {
      LVal s = emit_match(k->e, sum, v);
      sum = LLVMBuildAdd(B, s, emit_match(k->e, v, s), "");
    }
  }
  k->at_base = saved;
  *offset = sum ? sum : emit_int(k->e->i64, 0);
  return ST_OK;
}

/* How far the address moves from lane to lane, in elements; NULL: not by the same everywhere. */
static LVal lane_step(KEmit *k, const KBuf *b, KExpr *const *index) {
  LVal step = emit_int(k->e->i64, 0);
  for (int i = 0; i < b->rank; i++) {
    int64_t s;
    if (!linear(k, index[i], &s))
      return NULL;
    if (s)
      step = LLVMBuildAdd(B, step, LLVMBuildMul(B, k->stride[b->index][i], emit_int(k->e->i64, s), ""), "");
  }
  return step;
}

static bool is_step(LVal step, int64_t v) {
  return step && LLVMIsAConstantInt(step) && LLVMConstIntGetSExtValue(step) == v;
}

/* Only the last index moves from lane to lane, and 32 bits hold it: machines gather by such. A constant that is added to it goes
 * into the base. */
static Status narrow_address(KEmit *k, const KBuf *b, KExpr *const *index, Address *a) {
  const KExpr *last = b->rank ? index[b->rank - 1] : NULL;
  LVal v, base;
  *a = (Address){.how = SCATTERED};
  int64_t extent;
  bool fits = last && dim_is_const(b->dim[b->rank - 1], &extent) && extent <= INT32_MAX;
  if (last)
    a->tap = kemit_tap(&last);
  bool cast = last && last->kind == KE_CAST && last->arg[0]->dtype == DT_i32;
  if (!cast && !fits)
    return ST_OK;
  for (int i = 0; i + 1 < b->rank; i++)
    if (varies(k, index[i]))
      return ST_OK;
  TRY(kemit_expr(k, cast ? last->arg[0] : last, &v));
  v = cast ? v : LLVMBuildTrunc(B, v, emit_like(k->e->i32, v), "");
  LVal before = emit_int(k->e->i64, a->tap);
  for (int i = 0; i + 1 < b->rank; i++) {
    TRY(kemit_expr(k, index[i], &base));
    before = LLVMBuildAdd(B, before, LLVMBuildMul(B, base, k->stride[b->index][i], ""), "");
  }
  if (emit_lanes(v) > 1)
    a->at = v, a->base = before;
  return ST_OK;
}

static Status address(KEmit *k, const KBuf *b, KExpr *const *index, bool load, Address *a) {
  bool vector = k->lanes > 1 && !k->at_base;
  LVal step = vector ? lane_step(k, b, index) : NULL, offset;
  if (vector && !step && !kemit_packed(b->dtype)) {
    TRY(narrow_address(k, b, index, a));
    if (a->at)
      return ST_OK;
  }
  TRY(flat(k, b, index, !vector || step, &offset));
  if (!vector || is_step(step, 0)) {
    *a = (Address){.how = UNIFORM, .at = offset};
    return ST_OK;
  }
  if (is_step(step, 1)) {
    *a = (Address){.how = CONTIGUOUS, .at = offset};
    return ST_OK;
  }
  if (is_step(step, -1) && !kemit_packed(b->dtype)) {
    offset = LLVMBuildSub(B, offset, emit_int(k->e->i64, k->lanes - 1), ""); /* of the last lane */
    *a = (Address){.how = REVERSED, .at = offset};
    return ST_OK;
  }
  if (load && is_step(step, 2) && !kemit_packed(b->dtype)) {
    *a = (Address){.how = ALTERNATE, .at = offset};
    return ST_OK;
  }
  LVal first = offset;
  if (step) {
    LVal lanes = LLVMBuildMul(B, emit_iota(k->e, k->e->i64, k->lanes), emit_splat(k->e, step, k->lanes), "");
    offset = LLVMBuildAdd(B, emit_splat(k->e, offset, k->lanes), lanes, "");
  }
  *a = (Address){.how = SCATTERED, .at = offset, .first = first, .step = step};
  return ST_OK;
}

LVal kemit_pointer(KEmit *k, const KBuf *b, LType elem, LVal offset) {
  return LLVMBuildGEP2(B, elem, k->buf[b->index], &offset, 1, "");
}

/* Of an access to lanes side by side. The schedules of GPUs make vectors only of what lies at whole vectors (codegen/gpu.h). */
static unsigned vector_align(const KEmit *k, DType t) {
  return kemit_bytes(t) * (k->e->gpu && !k->mask ? (unsigned)k->lanes : 1);
}

/* A constant mask would be made by an instruction that waits for what has last been in some mask register (kxnor): a gather of elements
 * takes 7.0 ms with one of a comparison, not 8.0 (bench memory="gather elements"). */
LVal kemit_all_lanes(KEmit *k) {
  if (k->mask)
    return k->mask;
  if (!k->many)
    return emit_int(emit_vec(k->e->i1, k->lanes), 1);
  return LLVMBuildICmp(B, LLVMIntSLT, emit_iota(k->e, k->e->i32, k->lanes), emit_splat(k->e, k->many, k->lanes), "");
}

/* --- loads and stores --- */

/* Machines gather and scatter elements of 32 and 64 bits. Of narrower ones each lane is a question about its mask; where all lanes are
 * there, equally far apart, none has to be asked: a picture of 3 channels is quantised and transposed in three fifths of the time. */
static bool one_by_one(const KEmit *k, DType t, const Address *a) {
  return a->how == SCATTERED && a->step && !k->mask && !k->e->gpu && kemit_bytes(t) < 4;
}

static LVal lane_after(KEmit *k, DType t, const Address *a, LVal p) {
  LVal step = a->step;
  return LLVMBuildGEP2(B, kemit_memory_type(k, t), p, &step, 1, "");
}

static LVal load_lanes(KEmit *k, const KBuf *b, const Address *a) {
  LType elem = kemit_memory_type(k, b->dtype);
  LVal v = LLVMGetPoison(emit_vec(elem, k->lanes)), p = kemit_pointer(k, b, elem, a->first);
  for (int i = 0; i < k->lanes; i++, p = lane_after(k, b->dtype, a, p)) {
    LVal x = LLVMBuildLoad2(B, elem, p, "");
    LLVMSetAlignment(x, kemit_bytes(b->dtype));
    v = LLVMBuildInsertElement(B, v, x, emit_int(k->e->i32, i), "");
  }
  return v;
}

static void store_lanes(KEmit *k, const KBuf *b, const Address *a, LVal v) {
  LVal p = kemit_pointer(k, b, kemit_memory_type(k, b->dtype), a->first);
  for (int i = 0; i < k->lanes; i++, p = lane_after(k, b->dtype, a, p)) {
    LVal x = LLVMBuildExtractElement(B, v, emit_int(k->e->i32, i), "");
    LLVMSetAlignment(LLVMBuildStore(B, x, p), kemit_bytes(b->dtype));
  }
}

/* The lanes in the other order. */
static LVal backwards(KEmit *k, LVal v) {
  LVal at[256];
  int n = emit_lanes(v);
  for (int i = 0; i < n; i++)
    at[i] = emit_int(k->e->i32, n - 1 - i);
  return LLVMBuildShuffleVector(B, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(at, (unsigned)n), "");
}

/* Elements 0, 2, … 2n - 2 from p on, n lanes: two vectors, of which the second ends with the last of them, and a shuffle.
 * Under a mask only what its lanes ask for is touched. */
static LVal load_alternate(KEmit *k, LType elem, LVal p, unsigned align) {
  Emitter *e = k->e;
  int n = k->lanes;
  LVal pick[256], on[2][256], v[2];
  LType vec = emit_vec(elem, n);
  for (int i = 0; i < n; i++) {
    int behind = i + n - 1; /* element of lane i of the second vector */
    pick[i] = emit_int(e->i32, 2 * i < n ? 2 * i : 2 * i + 1);
    on[0][i] = emit_int(e->i32, i % 2 ? n : i / 2); /* n: a lane that is off */
    on[1][i] = emit_int(e->i32, behind % 2 || behind < n ? n : behind / 2);
  }
  for (int i = 0; i < 2; i++) {
    LVal from = emit_int(e->i64, i * (n - 1)), at = LLVMBuildGEP2(B, elem, p, &from, 1, "");
    if (k->mask) {
      LVal mask = LLVMBuildShuffleVector(B, k->mask, LLVMConstNull(emit_vec(e->i1, n)),
                                         LLVMConstVector(on[i], (unsigned)n), "");
      v[i] = emit_masked_load(e, vec, at, mask, LLVMConstNull(vec), align);
    } else
      LLVMSetAlignment(v[i] = LLVMBuildLoad2(B, vec, at, ""), align);
  }
  return LLVMBuildShuffleVector(B, v[0], v[1], LLVMConstVector(pick, (unsigned)n), "");
}

/* How far the address moves with u, elements; the lanes' own variables stand still. NULL: not by the same everywhere. */
static LVal step_along(KEmit *k, const KBuf *b, KExpr *const *index, const KVar *u) {
  const KVar *lane = k->lane_var;
  LVal now = k->var[u->id];
  k->lane_var = u, k->var[u->id] = NULL;
  LVal s = lane_step(k, b, index);
  int64_t own;
  for (int i = 0; i < b->rank; i++) /* what a definition has made of u already does not tell */
    if (s && kernel_depends(index[i], u) && linear(k, index[i], &own) && !own)
      s = NULL;
  k->lane_var = lane, k->var[u->id] = now;
  return s;
}

/* Where the address is looked up, in another buffer, it is again for the later iteration, the last one at most. Nothing has checked
 * what is found there, but any address will do. */
static Status look_ahead_anew(KEmit *k, const KExpr *x, int bytes) {
  Emitter *e = k->e;
  const KStmt *loop = k->ahead->def;
  LVal now = k->var[k->ahead->id], offset, last;
  if (loop->kind != KS_FOR || !now)
    return ST_OK;
  TRY(kemit_trips(k, loop, &last));
  last = LLVMBuildSub(B, last, emit_int(e->i64, 1), "");
  LVal later = LLVMBuildAdd(B, now, emit_int(e->i64, k->ahead_by), "");
  later = LLVMBuildSelect(B, LLVMBuildICmp(B, LLVMIntSLT, later, last, ""), later, last, "");
  k->var[k->ahead->id] = later, k->anew = true;
  TRY(flat(k, x->buf, x->index, true, &offset));
  k->var[k->ahead->id] = now, k->anew = false;
  for (int i = 0; i < bytes; i += 64) {
    LVal line = emit_int(e->i64, i), p = kemit_pointer(k, x->buf, kemit_memory_type(k, x->dtype), offset);
    emit_prefetch(e, LLVMBuildGEP2(B, e->i8, p, &line, 1, ""));
  }
  return ST_OK;
}

/* `bytes` of them from p + step elements of type t, times the iterations to look ahead. */
static void ask_for_lines(KEmit *k, DType t, LVal p, LVal step, int bytes) {
  Emitter *e = k->e;
  LVal at = LLVMBuildMul(B, step, emit_int(e->i64, k->ahead_by * (int)kemit_bytes(t)), "");
  for (int i = 0; i < bytes; i += 64) {
    LVal line = LLVMBuildAdd(B, at, emit_int(e->i64, i), "");
    emit_prefetch(e, LLVMBuildGEP2(B, e->i8, p, &line, 1, ""));
  }
}

/* The cache lines that this load touches some iterations later. */
static Status look_ahead(KEmit *k, const KExpr *x, Access how, LVal p) {
  LVal step = step_along(k, x->buf, x->index, k->ahead);
  int bytes = k->lanes * (int)kemit_bytes(x->dtype) * (how == ALTERNATE ? 2 : 1);
  if (is_step(step, 0))
    return ST_OK;
  if (!step)
    return look_ahead_anew(k, x, bytes);
  ask_for_lines(k, x->dtype, p, step, bytes);
  return ST_OK;
}

/* Is all that x is made of known here, but for the lanes? */
static bool in_reach(const KEmit *k, const KExpr *x) {
  if (x->kind == KE_VAR)
    return x->var == k->lane_var || k->var[x->var->id];
  for (int i = 0; i < 3 && x->arg[i]; i++)
    if (!in_reach(k, x->arg[i]))
      return false;
  return x->kind != KE_LOAD;
}

static Status ask_for(KEmit *k, const KExpr *x) {
  LVal at;
  for (int i = 0; i < 3 && x->arg[i]; i++)
    TRY(ask_for(k, x->arg[i]));
  if (x->kind != KE_LOAD || x->buf->output || kemit_packed(x->dtype))
    return ST_OK;
  for (int i = 0; i < x->buf->rank; i++)
    if (!in_reach(k, x->index[i]))
      return ST_OK;
  if (!is_step(lane_step(k, x->buf, x->index), 1))
    return ST_OK;
  TRY(flat(k, x->buf, x->index, true, &at));
  return look_ahead(k, x, CONTIGUOUS, kemit_pointer(k, x->buf, kemit_memory_type(k, x->dtype), at));
}

Status kemit_ask_for(KEmit *k, const KStmt *f) {
  const KVar *lane = k->lane_var;
  k->lane_var = f->var;
  for (const KStmt *s = f->body; s; s = s->next)
    if (s->value)
      TRY(ask_for(k, s->value));
  k->lane_var = lane;
  return ST_OK;
}

/* Elements are picked from a row in any order: as many of the next row as lanes are asked for, so that it is there by then. */
static void look_ahead_row(KEmit *k, const KExpr *x, const Address *a) {
  Emitter *e = k->e;
  const KVar *lane = k->lane_var;
  LVal now = k->var[k->ahead->id], step = emit_int(e->i64, 0), at;
  int64_t s, size = (int)kemit_bytes(x->dtype);
  k->lane_var = k->ahead, k->var[k->ahead->id] = NULL;
  for (int i = 0; i + 1 < x->buf->rank && step; i++) {
    bool ok = linear(k, x->index[i], &s);
    at = LLVMBuildMul(B, k->stride[x->buf->index][i], emit_int(e->i64, ok ? s * k->ahead_by : 0), "");
    step = ok ? LLVMBuildAdd(B, step, at, "") : NULL;
  }
  k->lane_var = lane, k->var[k->ahead->id] = now;
  if (!step || is_step(step, 0))
    return;
  at = LLVMBuildAdd(B, LLVMBuildAdd(B, a->base, step, ""), k->lane_base, "");
  for (int64_t i = 0; i < k->lanes * size; i += 64) {
    LVal line = emit_int(e->i64, i);
    emit_prefetch(e,
                  LLVMBuildGEP2(B, e->i8, kemit_pointer(k, x->buf, kemit_memory_type(k, x->dtype), at), &line, 1, ""));
  }
}

static Status load_elements(KEmit *k, const KExpr *x, LVal *r) {
  const DType t = x->dtype;
  Address a;
  for (const TileLoad *l = k->tile; l; l = l->next)
    if (l->load == x) {
      *r = l->value[k->tile_at];
      return ST_OK;
    }
  TRY(address(k, x->buf, x->index, true, &a));
  if (kemit_packed(t)) {
    *r = kemit_load_packed(k, x->buf, &a);
    return ST_OK;
  }
  LType elem = kemit_memory_type(k, t), vec = emit_vec(elem, k->lanes);
  unsigned align = kemit_bytes(t);
  if (a.base) {
    if (k->ahead && !x->buf->output)
      look_ahead_row(k, x, &a);
    *r = kemit_load_narrow(k, x, elem, &a);
    return ST_OK;
  }
  LVal p = kemit_pointer(k, x->buf, elem, a.at);
  if ((a.how == CONTIGUOUS || a.how == ALTERNATE) && k->ahead && !x->buf->output)
    TRY(look_ahead(k, x, a.how, p));
  if (one_by_one(k, t, &a))
    *r = load_lanes(k, x->buf, &a);
  else if (a.how == SCATTERED)
    *r = emit_gather(k->e, vec, p, kemit_all_lanes(k), LLVMConstNull(vec), align);
  else if (a.how == ALTERNATE)
    *r = load_alternate(k, elem, p, align);
  else if (a.how == REVERSED && k->mask)
    *r = backwards(k, emit_masked_load(k->e, vec, p, backwards(k, k->mask), LLVMConstNull(vec), align));
  else if (a.how == REVERSED) {
    LLVMSetAlignment(*r = LLVMBuildLoad2(B, vec, p, ""), align);
    *r = backwards(k, *r);
  } else if (a.how == CONTIGUOUS && k->mask)
    *r = emit_masked_load(k->e, vec, p, k->mask, LLVMConstNull(vec), align);
  else {
    *r = LLVMBuildLoad2(B, a.how == CONTIGUOUS ? vec : elem, p, "");
    LLVMSetAlignment(*r, a.how == CONTIGUOUS ? vector_align(k, t) : align);
  }
  return ST_OK;
}

static bool is_input0(const KEmit *k, const KExpr *x) { return k->input0 && !x->buf->index && !x->buf->output; }

Status kemit_load(KEmit *k, const KExpr *x, LVal *r) {
  if (is_input0(k, x)) {
    *r = k->input0;
    return ST_OK;
  }
  TRY(load_elements(k, x, r));
  *r = kemit_from_memory(k, x->dtype, *r);
  return ST_OK;
}

/* The value of x as it lies in memory. What is only moved, or rounded just for being stored, does not pass through a register's
 * type on the way. */
static Status stored_value(KEmit *k, const KExpr *x, LVal *r) {
  LVal c, a, b;
  switch (x->kind) {
  case KE_LOAD:
    if (!is_input0(k, x))
      return load_elements(k, x, r);
    break;
  case KE_SELECT:
    TRY(kemit_expr(k, x->arg[0], &c));
    TRY(stored_value(k, x->arg[1], &a));
    TRY(stored_value(k, x->arg[2], &b));
    *r = emit_select(k->e, c, a, b);
    return ST_OK;
  case KE_CAST: return kemit_cast(k, x, true, r);
  default: break;
  }
  TRY(kemit_expr(k, x, r));
  *r = kemit_to_memory(k, x->dtype, KC_OPEN, *r); /* a number of that type already: infinity stays */
  return ST_OK;
}

/* Whether vectors that are stored to b go past the caches where they are aligned; NULL: never. Halves of a line do outside of tiles,
 * where one follows the other: exponentials of columns are stored so (bench memory="softmax of columns"). */
static LVal large_of(KEmit *k, const KBuf *b) {
  int bits = k->lanes * dtype_bits(b->dtype);
  bool half = bits == k->e->bits && 2 * bits == STREAM_BITS && !k->tile_loop;
  return k->large && (half || bits % STREAM_BITS == 0) ? k->large[b->index] : NULL;
}

/* Stores a vector: past the caches when it is aligned and the buffer larger than they are. A copy of 64 MB gains a fifth, rows that
 * lie apart up to two thirds (bench memory). */
static void store_vector(KEmit *k, const KBuf *b, LVal v, LVal p) {
  Emitter *e = k->e;
  LVal large = large_of(k, b);
  if (large && k->past == STREAM_YES) {
    emit_stream(e, v, p, STREAM_BITS / 8);
    return;
  }
  if (!large || k->past == STREAM_NO) {
    LLVMSetAlignment(LLVMBuildStore(B, v, p), vector_align(k, b->dtype));
    return;
  }
  LLVMBasicBlockRef past = emit_block(e, "past"), plain = emit_block(e, "plain"), done = emit_block(e, "");
  int bits = k->lanes * dtype_bits(b->dtype);
  LVal within = emit_int(e->i64, (bits < STREAM_BITS ? bits : STREAM_BITS) / 8 - 1);
  LVal low = LLVMBuildAnd(B, LLVMBuildPtrToInt(B, p, e->i64, ""), within, "");
  LLVMBuildCondBr(B, LLVMBuildAnd(B, large, LLVMBuildIsNull(B, low, ""), ""), past, plain);
  LLVMPositionBuilderAtEnd(B, past);
  emit_stream(e, v, p, bits < STREAM_BITS ? bits / 8 : STREAM_BITS / 8);
  k->streamed = true;
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, plain);
  LLVMSetAlignment(LLVMBuildStore(B, v, p), kemit_bytes(b->dtype));
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, done);
}

/* Has the buffer no element whatever the symbols? Its strides are 0 then: all indices look the same. */
static bool is_empty(const KBuf *b) {
  for (int i = 0; i < b->rank; i++)
    if (dim_is(b->dim[i], 0))
      return true;
  return false;
}

/* Rows that begin anywhere in a cache line do not go past the caches, which bring the lines in first: they are asked for beforehand,
 * too. A pad takes 3.2 ms, not 3.6 (bench memory=pad). */
static void store_ahead(KEmit *k, const KStmt *s, LVal p) {
  LVal step = step_along(k, s->buf, s->index, k->ahead);
  int bytes = (int)kemit_bytes(s->buf->dtype);
  if (step && LLVMIsAConstantInt(step) && LLVMConstIntGetSExtValue(step) * bytes % (STREAM_BITS / 8))
    ask_for_lines(k, s->buf->dtype, p, step, k->lanes * bytes);
}

Status kemit_store(KEmit *k, const KStmt *s) {
  const DType t = s->buf->dtype;
  Address a;
  LVal v;
  if (is_empty(s->buf))
    return ST_OK; /* nothing comes here */
  TRY(stored_value(k, s->value, &v));
  TRY(address(k, s->buf, s->index, false, &a));
  if (a.how == UNIFORM && emit_lanes(v) > 1)
    return kemit_unsupported(k, "a vector loop that stores to one element");
  if (a.how != UNIFORM)
    v = emit_splat(k->e, v, k->lanes);
  if (kemit_packed(t)) {
    kemit_store_packed(k, s->buf, &a, v);
    return ST_OK;
  }
  if (k->window.buf == s->buf)
    k->window.buf = NULL;
  LVal p = a.base ? kemit_pointer(k, s->buf, kemit_memory_type(k, t), a.base)
                  : kemit_pointer(k, s->buf, kemit_memory_type(k, t), a.at);
  if (a.base)
    p = LLVMBuildGEP2(B, kemit_memory_type(k, t), p, &a.at, 1, "");
  unsigned align = kemit_bytes(t);
  if (one_by_one(k, t, &a))
    store_lanes(k, s->buf, &a, v);
  else if (a.how == SCATTERED)
    emit_scatter(k->e, v, p, kemit_all_lanes(k), align);
  else if (a.how == CONTIGUOUS && k->mask)
    emit_masked_store(k->e, v, p, k->mask, align);
  else if (a.how == REVERSED && k->mask)
    emit_masked_store(k->e, backwards(k, v), p, backwards(k, k->mask), align);
  else if (a.how == REVERSED)
    LLVMSetAlignment(LLVMBuildStore(B, backwards(k, v), p), align);
  else if (a.how == CONTIGUOUS) {
    if (k->ahead && k->large && k->large[s->buf->index])
      store_ahead(k, s, p);
    store_vector(k, s->buf, v, p);
  } else
    LLVMSetAlignment(LLVMBuildStore(B, v, p), align);
  return ST_OK;
}

/* --- tiles --- */

/* The address of lane 0 when u is `at`. */
static Status tile_address(KEmit *k, const KBuf *b, KExpr *const *index, const KVar *u, LVal at, LVal *p) {
  LVal saved = k->var[u->id], offset;
  k->var[u->id] = at;
  TRY(flat(k, b, index, true, &offset));
  k->var[u->id] = saved;
  *p = kemit_pointer(k, b, kemit_memory_type(k, b->dtype), offset);
  return ST_OK;
}

static bool loads_across(KEmit *k, const KExpr *x, const KVar *u, LVal *step) {
  int bits = dtype_bits(x->dtype);
  if (x->kind != KE_LOAD || is_input0(k, x) || bits < 8 || bits > 64)
    return false;
  *step = lane_step(k, x->buf, x->index);
  return *step && !is_step(*step, 0) && !is_step(*step, 1) && is_step(step_along(k, x->buf, x->index, u), 1);
}

/* Row l is what lane l loads for the n iterations, of which there are as many as lanes, or half as many: two tiles then. What is
 * behind is asked for as well: rows lie too far apart for the machine to foresee it. A third of the time of a transposition (bench
 * memory=transpose). */
static Status tile_load(KEmit *k, const KExpr *x, const KVar *u, LVal u0, int n, LVal step) {
  Emitter *e = k->e;
  LType elem = kemit_memory_type(k, x->dtype), vec = emit_vec(elem, n);
  TileLoad *l = arena_new(e->a, TileLoad);
  LVal p, row[KEMIT_TILE], ahead = emit_int(e->i64, n);
  TRY(tile_address(k, x->buf, x->index, u, u0, &p));
  for (int half = 0; half < k->lanes / n; half++) {
    for (int i = 0; i < n; i++) {
      emit_prefetch(e, LLVMBuildGEP2(B, elem, p, &ahead, 1, ""));
      LLVMSetAlignment(row[i] = LLVMBuildLoad2(B, vec, p, ""), kemit_bytes(x->dtype));
      p = LLVMBuildGEP2(B, elem, p, &step, 1, "");
    }
    emit_transpose(e, row, n, dtype_bits(x->dtype));
    for (int i = 0; i < n; i++)
      l->value[i] = half ? emit_side_by_side(e, l->value[i], row[i]) : row[i];
  }
  l->load = x, l->next = k->tile, k->tile = l;
  return ST_OK;
}

static Status tile_expr(KEmit *k, const KExpr *x, const KVar *u, LVal u0, int n) {
  LVal step;
  for (int i = 0; i < 3 && x->arg[i]; i++)
    TRY(tile_expr(k, x->arg[i], u, u0, n));
  for (const TileLoad *l = k->tile; l; l = l->next)
    if (l->load == x)
      return ST_OK;
  return loads_across(k, x, u, &step) ? tile_load(k, x, u, u0, n, step) : ST_OK;
}

Status kemit_tile_loads(KEmit *k, const KStmt *s, const KVar *u, LVal u0, int n) {
  for (; s; s = s->next)
    if (s->kind == KS_LET || s->kind == KS_STORE)
      TRY(tile_expr(k, s->value, u, u0, n));
  return ST_OK;
}

/* One question for all stores of a tile: with one for each the registers do not last. */
Status kemit_tile_past(KEmit *k, const KStmt *s, const KVar *u, LVal u0, LVal *past) {
  const KStmt *store = NULL;
  LVal p, step, low;
  *past = NULL;
  for (; s; s = s->next) {
    if (s->kind == KS_STORE && store)
      return ST_OK;
    store = s->kind == KS_STORE ? s : store;
  }
  LVal large = store && !k->mask && is_step(lane_step(k, store->buf, store->index), 1) ? large_of(k, store->buf) : NULL;
  step = large ? step_along(k, store->buf, store->index, u) : NULL;
  if (!step)
    return ST_OK;
  TRY(tile_address(k, store->buf, store->index, u, u0, &p));
  step = LLVMBuildMul(B, step, emit_int(k->e->i64, kemit_bytes(store->buf->dtype)), "");
  low = LLVMBuildOr(B, LLVMBuildPtrToInt(B, p, k->e->i64, ""), step, "");
  low = LLVMBuildAnd(B, low, emit_int(k->e->i64, STREAM_BITS / 8 - 1), "");
  *past = LLVMBuildAnd(B, large, LLVMBuildIsNull(B, low, ""), "");
  k->streamed = true;
  return ST_OK;
}
