/* near.c - loads by indices whose lanes lie close together, as those of a resize do: registers and a shuffle instead of a gather,
 * five times as fast. Whether they do is found out as the code runs, where the indices are made: once for a loop inside, for which they
 * stay the same, and for all that is picked from one place.
 *
 *   index      7 7 8 9 …  of a row of buffer b        first = 7, behind = 0 0 1 2 …, in: all behind are below 32
 *   b[index]       = pick behind     from b[first …], b[first + 16 …]
 *   b[index + tap] = pick behind + tap from the same
 *
 * AVX2 picks from one register of 8 lanes, which begins at the tap: all behind are below 8.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/memory.h"

#define B (k->e->b)

int kemit_tap(const KExpr **index) {
  const KExpr *x = *index, *tap = x->kind == KE_BINARY && x->op == KOP_add ? x->arg[1] : NULL;
  if (!tap || tap->kind != KE_INT || tap->i < 0 || tap->i >= NEAR_TAPS)
    return 0;
  *index = x->arg[0];
  return (int)tap->i;
}

/* Lanes of a register. */
static int lanes_of(const KEmit *k) { return k->e->bits / 32; }

/* Are they picked from two registers, the same for all taps? */
static bool pairs(const KEmit *k) { return k->e->bits == 512; }

/* How many elements from the first are loaded. */
static int reach(const KEmit *k, int taps) { return pairs(k) ? 2 * lanes_of(k) : lanes_of(k) + taps - 1; }

/* Can values of buffer b be picked from registers here? */
static bool may_be_near(const KEmit *k, const KBuf *b) {
  int n = lanes_of(k);
  return k->e->bits >= 256 && !k->mask && kemit_bytes(b->dtype) == 4 && b->rank && (k->lanes == n || k->lanes == 2 * n);
}

/* Lanes from `from` on. Of temporaries the registers must end in the row: those that are picked from have room there. */
static void find_part(KEmit *k, const KBuf *b, LVal index, int from, Near *w) {
  Emitter *e = k->e;
  int lanes = lanes_of(k), taps = b->temp ? NEAR_TAPS : 1, below = pairs(k) ? 2 * lanes + 1 - taps : lanes;
  LVal at = emit_lanes_of(e, index, from, lanes), in, last;
  w->first = LLVMBuildExtractElement(B, at, emit_int(e->i32, 0), "");
  w->behind[0] = LLVMBuildSub(B, at, emit_splat(e, w->first, lanes), "");
  for (int i = 1; i < taps && pairs(k); i++)
    w->behind[i] = LLVMBuildAdd(B, w->behind[0], emit_int(LLVMTypeOf(at), i), "");
  in = LLVMBuildICmp(B, LLVMIntULT, w->behind[0], emit_int(LLVMTypeOf(at), below), "");
  w->in = emit_call(e, "llvm.vector.reduce.and", LLVMTypeOf(in), &in, 1);
  w->first = LLVMBuildSExt(B, w->first, e->i64, "");
  w->p = kemit_pointer(k, b, kemit_memory_type(k, b->dtype), w->first);
  if (!b->temp)
    return;
  last = LLVMBuildSub(B, kemit_dim(k, b->dim[b->rank - 1]), emit_int(e->i64, reach(k, taps)), "");
  w->in = LLVMBuildAnd(B, w->in, LLVMBuildICmp(B, LLVMIntSLE, w->first, last, ""), "");
}

/* Behind the instruction that makes the index: for what comes later it is known then, wherever that is. */
static void find_index(KEmit *k, const KBuf *b, LVal index, NearIndex *n) {
  LVal next = LLVMIsAInstruction(index) ? LLVMGetNextInstruction(index) : NULL;
  LLVMBasicBlockRef here = LLVMGetInsertBlock(B);
  while (next && LLVMIsAPHINode(next))
    next = LLVMGetNextInstruction(next);
  if (next)
    LLVMPositionBuilderBefore(B, next);
  *n = (NearIndex){.at = index, .buf = b};
  for (int i = 0; i < k->lanes / lanes_of(k); i++)
    find_part(k, b, index, i * lanes_of(k), &n->part[i]);
  LLVMPositionBuilderAtEnd(B, here);
}

static LVal all_near(KEmit *k, const NearIndex *n) {
  return k->lanes == lanes_of(k) ? n->part[0].in : LLVMBuildAnd(B, n->part[0].in, n->part[1].in, "");
}

/* The registers of each part, from row `base` on, or from where the tap is in it. */
static void load_window(KEmit *k, LType elem, const NearIndex *n, LVal base, LVal v[2][2]) {
  int lanes = lanes_of(k);
  LType vec = emit_vec(k->e->i32, lanes);
  for (int h = 0; h < k->lanes / lanes; h++)
    for (int i = 0; i < (pairs(k) ? 2 : 1); i++) {
      LVal to = LLVMBuildAdd(B, base, emit_int(k->e->i64, i * lanes), "");
      v[h][i] = LLVMBuildLoad2(B, vec, LLVMBuildGEP2(B, elem, n->part[h].p, &to, 1, ""), "");
      LLVMSetAlignment(v[h][i], 4);
    }
}

static LVal pick(KEmit *k, LType elem, const NearIndex *n, LVal v[2][2], int tap) {
  LVal r[2];
  for (int h = 0; h < k->lanes / lanes_of(k); h++)
    r[h] = emit_bitcast(k->e,
                        pairs(k) ? emit_pick(k->e, v[h][0], v[h][1], n->part[h].behind[tap])
                                 : emit_pick8(k->e, v[h][0], n->part[h].behind[0]),
                        elem);
  return k->lanes == lanes_of(k) ? r[0] : emit_side_by_side(k->e, r[0], r[1]);
}

/* What other taps have loaded for the same row, or now. */
static LVal pick_tap(KEmit *k, const KExpr *x, LType elem, const NearIndex *n, const Address *a) {
  bool row = x->buf->rank == 2 && x->index[0]->kind == KE_VAR;
  LVal now = row ? k->var[x->index[0]->var->id] : NULL;
  if (!pairs(k)) {
    LVal v[2][2];
    load_window(k, elem, n, a->base, v);
    return pick(k, elem, n, v, 0);
  }
  if (!row || k->window.buf != x->buf || k->window.at != n->at || k->window.row != now ||
      k->window.block != LLVMGetInsertBlock(B)) {
    LVal base = LLVMBuildSub(B, a->base, emit_int(k->e->i64, a->tap), "");
    load_window(k, elem, n, base, k->window.v);
    k->window.buf = row ? x->buf : NULL, k->window.at = n->at, k->window.row = now;
    k->window.block = LLVMGetInsertBlock(B);
  }
  return pick(k, elem, n, k->window.v, a->tap);
}

static LVal gather(KEmit *k, const KBuf *b, LType elem, const Address *a) {
  LType vec = emit_vec(elem, k->lanes);
  LVal at = a->at, from = kemit_pointer(k, b, elem, a->base);
  return emit_gather(k->e, vec, LLVMBuildGEP2(B, elem, from, &at, 1, ""), kemit_all_lanes(k), LLVMConstNull(vec),
                     kemit_bytes(b->dtype));
}

LVal kemit_load_narrow(KEmit *k, const KExpr *x, LType elem, const Address *a) {
  Emitter *e = k->e;
  const KBuf *b = x->buf;
  NearIndex n;
  for (int i = 0; i < k->nnear; i++)
    if (k->near[i].at == a->at && k->near[i].buf == b)
      return k->are_near ? pick_tap(k, x, elem, &k->near[i], a) : gather(k, b, elem, a);
  if (!may_be_near(k, b))
    return gather(k, b, elem, a);
  find_index(k, b, a->at, &n);
  LVal all = all_near(k, &n), v[2][2], value, r;
  if (!b->temp) {
    LVal count = LLVMBuildMul(B, k->stride[b->index][0], kemit_dim(k, b->dim[0]), "");
    LVal room = LLVMBuildSub(B, count, LLVMBuildAdd(B, a->base, emit_int(e->i64, reach(k, 1)), ""), "");
    for (int h = 0; h < k->lanes / lanes_of(k); h++)
      all = LLVMBuildAnd(B, all, LLVMBuildICmp(B, LLVMIntSLE, n.part[h].first, room, ""), "");
  }
  LLVMBasicBlockRef close = emit_block(e, "near"), far = emit_block(e, "far"), done = emit_block(e, "");
  LLVMBuildCondBr(B, all, close, far);
  LLVMPositionBuilderAtEnd(B, close);
  load_window(k, elem, &n, a->base, v);
  value = pick(k, elem, &n, v, 0);
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, far);
  r = gather(k, b, elem, a); /* only what stands in the block itself is seen to be one for all lanes */
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, done);
  LVal phi = LLVMBuildPhi(B, LLVMTypeOf(value), "");
  LLVMAddIncoming(phi, (LVal[]){value, r}, (LLVMBasicBlockRef[]){close, far}, 2);
  return phi;
}

/* --- loops for which the indices stay the same --- */

/* The lanes that x, the last index of a load, adds a constant to; NULL: it does something else, or they are not known yet. */
static LVal picked_by(const KEmit *k, const KExpr *x) {
  (void)kemit_tap(&x);
  const KExpr *v = x->kind == KE_CAST && x->arg[0]->dtype == DT_i32 ? x->arg[0] : NULL;
  LVal at = v && v->kind == KE_VAR ? k->var[v->var->id] : NULL;
  return at && emit_lanes(at) > 1 ? at : NULL;
}

static void find_loads(KEmit *k, const KExpr *x, LVal *all) {
  if (!x)
    return;
  for (int i = 0; i < 3; i++)
    find_loads(k, x->arg[i], all);
  const KBuf *b = x->kind == KE_LOAD ? x->buf : NULL;
  LVal at = b && b->temp && may_be_near(k, b) ? picked_by(k, x->index[b->rank - 1]) : NULL;
  for (int i = 0; i < k->nnear; i++)
    if (k->near[i].at == at && k->near[i].buf == b)
      return;
  if (!at || k->nnear == MAX_NEAR)
    return;
  NearIndex *n = &k->near[k->nnear++];
  find_index(k, b, at, n);
  *all = *all ? LLVMBuildAnd(B, *all, all_near(k, n), "") : all_near(k, n);
}

LVal kemit_near(KEmit *k, const KStmt *s) {
  LVal all = NULL;
  for (; s; s = s->next) {
    if (s->kind != KS_LET && s->kind != KS_STORE) {
      k->nnear = 0;
      return NULL;
    }
    find_loads(k, s->value, &all);
  }
  return all;
}
