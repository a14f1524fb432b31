/* gpu_attention.c - attention as PTX: a function per stage of the plan (codegen/gpu_attention.h).
 *
 * A masked score is -inf whatever it was, NaN included. The value of a masked key meets a weight of 0, which is NaN when it is not
 * finite, and on tensor cores weights are rounded, perhaps to 0: rows whose result is not finite are worked out once more by one warp
 * each, key after key, and where something is masked without those of no weight.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_attention.h"

#include "codegen/llvm/kemit.h"
#include "runtime/kernel_abi.h"

#include <math.h>

enum { COPIES = 16 }; /* of a thread that are written out, instead of a loop over them */

#define B (g->e->b)

LVal ga_variable(Ga *g, LType t) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(B), entry = LLVMGetEntryBasicBlock(g->args.fn);
  LLVMPositionBuilderBefore(B, LLVMGetFirstInstruction(entry));
  LVal v = LLVMBuildAlloca(B, t, "");
  LLVMPositionBuilderAtEnd(B, here);
  return v;
}

LVal ga_get(Ga *g, LType t, LVal variable) { return LLVMBuildLoad2(B, t, variable, ""); }
void ga_set(Ga *g, LVal variable, LVal v) { LLVMBuildStore(B, v, variable); }
LVal ga_i32(Ga *g, int64_t v) { return emit_int(g->e->i32, v); }
LVal ga_shared(Ga *g, LVal bytes) { return at_bytes(g->e, g->shared, bytes); }

static LVal num(Ga *g, int64_t v) { return i64_of(g->e, v); }
static LVal real(Ga *g, double v) { return emit_real(g->e->f32, v); }
static LVal wide(Ga *g, LVal i32) { return LLVMBuildSExt(B, i32, g->e->i64, ""); }
static LVal i64_max(Ga *g, LVal a, LVal b) { return LLVMBuildSelect(B, i64_less(g->e, a, b), b, a, ""); }
static int size_of(const Ga *g) { return g->half ? 2 : 4; }
static LVal at(Ga *g, LVal p, LVal index, int64_t size) { return at_bytes(g->e, p, i64_muli(g->e, index, size)); }
static bool is_none(const Ga *g) { return g->t->mask == DT_none; }

/* --- elements --- */

static LVal load_as(Ga *g, DType t, LVal p) {
  Emitter *e = g->e;
  LVal v = LLVMBuildLoad2(B, t == DT_f32 ? e->f32 : t == DT_bool ? e->i8 : e->i16, p, "");
  LLVMSetAlignment(v, t == DT_f32 ? 4 : t == DT_bool ? 1 : 2);
  return t == DT_f16 ? emit_f16_load(e, v) : t == DT_bf16 ? emit_bf16_load(e, v) : v;
}

static DType type_of(const Ga *g) { return g->half ? g->t->type : DT_f32; }

static void store_element(Ga *g, LVal v, LVal p) {
  Emitter *e = g->e;
  v = g->t->type == DT_f16 ? emit_f16_store(e, v) : g->t->type == DT_bf16 ? emit_bf16_store(e, v) : v;
  LLVMSetAlignment(LLVMBuildStore(B, v, p), (unsigned)size_of(g));
}

/* --- the part --- */

/* Address of head h of batch entry b, and the distance of its rows in bytes. split: [batch, heads, len, d], else [batch, len,
 * heads * d]. */
static LVal head_of(Ga *g, uint32_t buf, bool split, LVal h, int64_t heads, LVal len, int64_t d, LVal *row,
                    LVal *head) {
  Emitter *e = g->e;
  int size = size_of(g);
  LVal entry = i64_mul(e, g->batch, i64_muli(e, len, heads * d * size));
  *head = split ? i64_muli(e, len, d * size) : num(g, d * size);
  *row = num(g, (split ? d : heads * d) * size);
  LVal p = at_bytes(e, emit_arg_buf(e, &g->args, buf), entry);
  return h ? at_bytes(e, p, i64_mul(e, h, *head)) : p;
}

static uint32_t outputs_at(const Ga *g) { return 3u + !is_none(g) + g->t->counted; }

static void find_operands(Ga *g) {
  const Attention *t = g->t;
  LVal unused;
  g->q = head_of(g, 0, t->q_split, NULL, t->heads, g->q_len, t->dk, &g->q_row, &g->q_head);
  g->k = head_of(g, 1, t->kv_split, g->kv_head, t->kv_heads, g->k_rows, t->dk, &g->k_row, &unused);
  g->v = head_of(g, 2, t->kv_split, g->kv_head, t->kv_heads, g->v_rows, t->dv, &g->v_row, &unused);
  g->out = head_of(g, outputs_at(g), t->out_split, NULL, t->heads, g->q_len, t->dv, &g->out_row, &g->out_head);
}

static LVal query_of(Ga *g, LVal row) { return i64_div(g->e, row, num(g, g->t->gpu->group)); }

/* The keys that rows row0 … see between them, in whole tiles; all, where each has a score to be stored. */
static void find_keys(Ga *g) {
  Emitter *e = g->e;
  const Attention *t = g->t;
  LVal last = i64_sub(e, i64_min(e, i64_add(e, g->row0, num(g, g->stage->rows)), g->rows), num(g, 1));
  g->from = num(g, 0), g->to = t->scores ? g->kv_len : g->count;
  if (t->has_right && !t->scores) {
    LVal end = i64_add(e, i64_add(e, query_of(g, last), g->offset), num(g, t->right + 1));
    g->to = i64_min(e, g->to, end);
  }
  if (t->has_left && !t->scores) {
    LVal first = i64_max(g, i64_sub(e, i64_add(e, query_of(g, g->row0), g->offset), num(g, t->left)), num(g, 0));
    g->from = i64_sub(e, first, i64_rem(e, first, num(g, g->stage->keys)));
  }
  if (g->stage->form != GA_FEW)
    return;
  LVal begin = i64_mul(e, g->split, g->chunk);
  g->from = i64_max(g, g->from, begin), g->to = i64_min(e, g->to, i64_add(e, begin, g->chunk));
}

/* A length above the keys that there are, or below 0, ends all, as a check does. */
static void check_length(Ga *g, int check, LVal length) {
  Emitter *e = g->e;
  LVal wrong = LLVMBuildICmp(B, LLVMIntULT, g->kv_len, length, "");
  LLVMBasicBlockRef bad = emit_block(e, "bad"), good = emit_block(e, "good");
  LLVMBuildCondBr(B, wrong, bad, good);
  LLVMPositionBuilderAtEnd(B, bad);
  gpu_wrong(e, &g->args, KERNEL_CHECK + check, length);
  LLVMPositionBuilderAtEnd(B, good);
}

/* Of a batch entry, and as far as the mask goes. */
static void count_keys(Ga *g) {
  Emitter *e = g->e;
  const Attention *t = g->t;
  g->count = g->kv_len;
  if (t->counted) {
    g->count = LLVMBuildLoad2(B, e->i64, at(g, emit_arg_buf(e, &g->args, is_none(g) ? 3 : 4), g->batch, 8), "");
    check_length(g, 0, g->count);
  }
  g->offset = t->from_first ? num(g, 0) : i64_sub(e, g->count, g->q_len);
  if (!g->mask_len)
    return;
  check_length(g, t->counted, g->mask_len);
  g->count = i64_min(e, g->count, g->mask_len);
}

/* The part's columns of O, of which `pass` counts the blocks. */
static void find_columns(Ga *g, LVal pass) {
  if (g->t->gpu->passes > 1)
    g->column0 = LLVMBuildTrunc(B, i64_muli(g->e, pass, g->t->gpu->width), g->e->i32, "");
}

/* Of a part without its tile: its columns, and its head. */
static void find_head(Ga *g, LVal rest) {
  Emitter *e = g->e;
  LVal passes = num(g, g->t->gpu->passes), head = i64_div(e, rest, passes);
  find_columns(g, i64_rem(e, rest, passes));
  g->kv_head = i64_rem(e, head, num(g, g->t->kv_heads)), g->batch = i64_div(e, head, num(g, g->t->kv_heads));
}

/* Parts go through the tiles of a head, then its columns, then the heads. Where later rows see more keys, they come first. */
static void find_part(Ga *g, LVal part) {
  Emitter *e = g->e;
  bool many = g->stage->form == GA_MANY;
  LVal n = many ? i64_ceildiv(e, g->rows, num(g, g->stage->rows)) : g->splits;
  LVal inner = i64_rem(e, part, n);
  if (many && g->t->has_right)
    inner = i64_sub(e, i64_sub(e, n, num(g, 1)), inner);
  g->row0 = many ? i64_muli(e, inner, g->stage->rows) : num(g, 0);
  g->split = many ? num(g, 0) : inner;
  find_head(g, i64_div(e, part, n));
  find_operands(g);
  count_keys(g);
  find_keys(g);
}

/* --- rows --- */

static LVal row_index(Ga *g, LVal number) {
  LVal row = i64_add(g->e, g->row0, wide(g, number));
  return i64_min(g->e, row, i64_sub(g->e, g->rows, num(g, 1)));
}

static void place_row(Ga *g, LVal number, LVal *query, LVal *head) {
  Emitter *e = g->e;
  LVal row = row_index(g, number), group = num(g, g->t->gpu->group);
  *query = i64_div(e, row, group);
  *head = i64_add(e, i64_mul(e, g->kv_head, group), i64_rem(e, row, group));
}

LVal ga_query_row(Ga *g, LVal number) {
  LVal query, head;
  place_row(g, number, &query, &head);
  LVal p = at_bytes(g->e, g->q, i64_mul(g->e, query, g->q_row));
  return at_bytes(g->e, p, i64_mul(g->e, head, g->q_head));
}

static int mask_size(const Ga *g) { return g->t->mask == DT_bool ? 1 : g->t->mask == DT_f32 ? 4 : 2; }

/* Bytes from key to key: its last extent is that of the keys, or 1, where it is not short. */
static int mask_step(const Ga *g) {
  return !g->t->mask_short && dim_is(g->t->mask_dim[g->t->mask_rank - 1], 1) ? 0 : mask_size(g);
}

/* What the mask has for key 0 of the row. */
static Status find_mask(Ga *g, GaRow *r) {
  Emitter *e = g->e;
  const Attention *t = g->t;
  r->mask = NULL;
  if (is_none(g))
    return ST_OK;
  LVal index[] = {g->batch, r->head, r->query, num(g, 0)}, step = num(g, 1), zero = num(g, 0), from = zero;
  for (int axis = 3, i = t->mask_rank; i-- > 0; axis--) {
    LVal n;
    TRY(dim_value(e, &g->args, t->mask_dim[i], g->dim, g->ndim, &n));
    LVal single = LLVMBuildICmp(B, LLVMIntEQ, n, num(g, 1), "");
    from = i64_add(e, from, i64_mul(e, index[axis], LLVMBuildSelect(B, single, zero, step, "")));
    step = i64_mul(e, step, n);
  }
  r->mask = at(g, emit_arg_buf(e, &g->args, 3), from, mask_size(g));
  return ST_OK;
}

/* Key j as a number of those that the part goes through: a run of fewer than 2^31, as they are in memory. */
static LVal behind(Ga *g, LVal j) {
  LVal n = i64_min(g->e, i64_max(g, i64_sub(g->e, j, g->from), num(g, -1)), num(g, INT32_MAX));
  return LLVMBuildTrunc(B, n, g->e->i32, "");
}

static Status make_row(Ga *g, LVal number, GaRow *r) {
  Emitter *e = g->e;
  const Attention *t = g->t;
  *r = (GaRow){.number = number, .there = i64_less(e, i64_add(e, g->row0, wide(g, number)), g->rows)};
  place_row(g, number, &r->query, &r->head);
  LVal position = i64_add(e, r->query, g->offset);
  LVal end = t->scores ? i64_min(e, g->to, g->count) : g->to;
  if (t->has_right)
    end = i64_min(e, end, i64_add(e, position, num(g, t->right + 1)));
  r->end = behind(g, end);
  if (t->has_left)
    r->first = behind(g, i64_sub(e, position, num(g, t->left)));
  if (t->scores) { /* [batch, heads, q_len, kv_len] */
    LVal row = i64_add(e, i64_mul(e, i64_add(e, i64_muli(e, g->batch, t->heads), r->head), g->q_len), r->query);
    r->scores = at(g, emit_arg_buf(e, &g->args, outputs_at(g) + 1), i64_mul(e, row, g->kv_len), size_of(g));
  }
  return find_mask(g, r);
}

/* --- scores --- */

/* To the precision that the softmax has. */
static LVal rounded(Ga *g, LVal x) {
  Emitter *e = g->e;
  return g->t->soft == DT_f16    ? emit_f16_load(e, emit_f16_store(e, x))
         : g->t->soft == DT_bf16 ? emit_bf16_load(e, emit_bf16_store(e, x))
                                 : x;
}

/* From a product of a query and a key to a score that is capped. */
static LVal capped(Ga *g, LVal product) {
  const Attention *t = g->t;
  LVal s = LLVMBuildFMul(B, product, real(g, t->cap > 0 ? t->scale / t->cap : t->scale * g->unit), "");
  return t->cap > 0 ? LLVMBuildFMul(B, emit_math(g->e, KOP_tanh, s), real(g, t->cap * g->unit), "") : s;
}

/* And masked by what stands there; NULL: there is no mask. */
static LVal score_of(Ga *g, LVal mask, LVal product) {
  const Attention *t = g->t;
  LVal none = real(g, -INFINITY), s = capped(g, product);
  if (!mask)
    return s;
  LVal m = load_as(g, t->mask, mask);
  if (t->mask == DT_bool)
    return LLVMBuildSelect(B, LLVMBuildIsNull(B, m, ""), none, s, "");
  LVal no = LLVMBuildFCmp(B, LLVMRealOEQ, m, none, "");
  return LLVMBuildSelect(B, no, none, LLVMBuildFAdd(B, s, m, ""), "");
}

static LVal exponential(Ga *g, LVal x) {
  if (!g->half)
    return emit_math(g->e, KOP_exp, x);
  return ptx_exp2(g->e, g->unit > 1 ? x : LLVMBuildFMul(B, x, real(g, M_LOG2E), ""));
}

/* Nothing seen so far: exp(-inf - 0) is the 0 it should be. */
static LVal safe(Ga *g, LVal m) {
  return LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOEQ, m, real(g, -INFINITY), ""), real(g, 0), m, "");
}

/* Does the second output have this of the scores, and is it known in this turn? The first columns' blocks store it. */
static bool stores(const Ga *g, AttentionScores what) {
  return g->t->scores == what && g->turn != (what == SCORES_WEIGHTS ? GA_STATISTICS : GA_WEIGHTS);
}

/* v of row i and the keys j0 and column c: to the second output. */
static void store_score(Ga *g, int i, LVal j0, int c, LVal v) {
  Emitter *e = g->e;
  LVal key = i64_add(e, j0, wide(g, g->column[c]));
  LVal there = LLVMBuildAnd(B, g->row[i].there, i64_less(e, key, g->kv_len), "");
  if (g->column0)
    there = LLVMBuildAnd(B, there, LLVMBuildIsNull(B, g->column0, ""), "");
  LLVMBasicBlockRef done = when_begin(e, there);
  store_element(g, v, at(g, g->row[i].scores, key, size_of(g)));
  when_end(e, done);
}

/* The scores of one row; what it does not see is -inf. */
static void row_scores(Ga *g, int i, LVal j0) {
  Emitter *e = g->e;
  const GaRow *r = &g->row[i];
  LVal from = behind(g, j0), end = LLVMBuildSub(B, r->end, from, ""), mask = NULL;
  LVal first = r->first ? LLVMBuildSub(B, r->first, from, "") : NULL;
  LVal last = LLVMBuildSub(B, behind(g, i64_sub(e, g->kv_len, num(g, 1))), from, "");
  for (int c = 0; c < g->ncol; c++) {
    LVal sees = LLVMBuildICmp(B, LLVMIntSLT, g->column[c], end, "");
    if (r->mask && g->mask_len) { /* the part may begin behind its end */
      LVal key = i64_min(e, i64_add(e, j0, wide(g, g->column[c])), i64_sub(e, g->mask_len, num(g, 1)));
      mask = at(g, r->mask, key, mask_step(g));
    } else if (r->mask) {
      LVal in = LLVMBuildICmp(B, LLVMIntSLT, g->column[c], last, "");
      LVal key = LLVMBuildSelect(B, in, g->column[c], last, "");
      mask = at(g, at(g, r->mask, j0, mask_step(g)), wide(g, key), mask_step(g));
    }
    if (first)
      sees = LLVMBuildAnd(B, sees, LLVMBuildICmp(B, LLVMIntSGE, g->column[c], first, ""), "");
    if (stores(g, SCORES_PRODUCTS))
      store_score(g, i, j0, c, LLVMBuildFMul(B, g->score[i][c], real(g, g->t->scale), ""));
    if (stores(g, SCORES_CAPPED))
      store_score(g, i, j0, c, capped(g, g->score[i][c]));
    LVal s = LLVMBuildSelect(B, sees, score_of(g, mask, g->score[i][c]), real(g, -INFINITY), "");
    if (stores(g, SCORES_MASKED))
      store_score(g, i, j0, c, s);
    g->score[i][c] = rounded(g, s);
  }
}

/* 1 over the sum of a row; 0 where there is none. */
static LVal inverse_of(Ga *g, LVal l) {
  LVal none = LLVMBuildFCmp(B, LLVMRealOEQ, l, real(g, 0), "");
  return LLVMBuildSelect(B, none, real(g, 0), LLVMBuildFDiv(B, real(g, 1), l, ""), "");
}

/* P of a score; inverse: NULL where that is divided by later. */
static LVal weight_of(Ga *g, LVal score, LVal top, LVal inverse) {
  LVal p = exponential(g, LLVMBuildFSub(B, score, top, ""));
  return inverse ? rounded(g, LLVMBuildFMul(B, p, inverse, "")) : p;
}

/* m and l are of all keys. */
static void row_weights(Ga *g, int i, LVal j0) {
  LVal top = safe(g, ga_get(g, g->e->f32, g->m[i])), inverse = inverse_of(g, ga_get(g, g->e->f32, g->l[i]));
  for (int c = 0; c < g->ncol; c++) {
    g->score[i][c] = weight_of(g, g->score[i][c], top, inverse);
    if (stores(g, SCORES_WEIGHTS))
      store_score(g, i, j0, c, g->score[i][c]);
  }
}

Status ga_softmax(Ga *g, LVal j0) {
  Emitter *e = g->e;
  for (int i = 0; i < g->nrow; i++) {
    row_scores(g, i, j0);
    if (g->turn == GA_WEIGHTS) {
      row_weights(g, i, j0);
      continue;
    }
    LVal old = ga_get(g, e->f32, g->m[i]), m = old, l = real(g, 0);
    for (int c = 0; c < g->ncol; c++)
      m = emit_max_fast(e, g->score[i][c], m); /* a NaN shows in the sum instead */
    for (int by = g->span / 2; by; by /= 2)
      m = emit_max_fast(e, ptx_exchange(e, m, by), m);
    LVal top = safe(g, m), fix = exponential(g, LLVMBuildFSub(B, old, top, ""));
    for (int c = 0; c < g->ncol; c++) {
      g->score[i][c] = weight_of(g, g->score[i][c], top, NULL);
      l = LLVMBuildFAdd(B, l, g->score[i][c], "");
    }
    ga_set(g, g->m[i], m);
    ga_set(g, g->l[i], emit_fma(e, ga_get(g, e->f32, g->l[i]), fix, l));
    for (int x = 0; x < g->nsum && g->turn == GA_ONCE; x++)
      ga_set(g, g->sum[i][x], LLVMBuildFMul(B, ga_get(g, e->f32, g->sum[i][x]), fix, ""));
  }
  return ST_OK;
}

/* l of a row, of the keys of all threads that have it. */
static LVal whole_sum(Ga *g, int i) {
  LVal l = ga_get(g, g->e->f32, g->l[i]);
  for (int by = g->span / 2; by; by /= 2)
    l = LLVMBuildFAdd(B, l, ptx_exchange(g->e, l, by), "");
  return l;
}

Status ga_turns(Ga *g, Status (*keys)(Ga *g)) {
  g->turn = g->t->gpu->twice ? GA_STATISTICS : GA_ONCE;
  TRY(keys(g));
  if (g->turn == GA_ONCE)
    return ST_OK;
  for (int i = 0; i < g->nrow; i++)
    ga_set(g, g->l[i], whole_sum(g, i));
  g->turn = GA_WEIGHTS;
  return keys(g);
}

/* --- copies --- */

/* Threads side by side have pieces side by side of `across` in a row, as many as divide both; so each thread's are whole rows and
 * columns apart, which is part of the instructions. */
typedef struct Pieces {
  int each, across, beside,
      down;         /* elements of a piece; pieces of a row; threads side by side; rows between a thread's */
  LVal row, column; /* i32: of this thread's first piece */
  LVal to, from;    /* addresses there; from: NULL: Q, of any row */
} Pieces;

static Pieces pieces_of(Ga *g, const GaCopy *x) {
  Emitter *e = g->e;
  int per = GPU_COPY / size_of(g), size = size_of(g), threads = g->stage->threads;
  Pieces p = {.each = x->dims % per ? 1 : per};
  p.across = p.beside = x->width / p.each;
  while (threads % p.beside) /* threads: a power of 2 */
    p.beside = p.beside % 2 ? 1 : threads < p.beside ? p.beside / 2 : (p.beside & -p.beside);
  p.down = threads / p.beside;
  p.row = LLVMBuildUDiv(B, g->thread, ga_i32(g, p.beside), "");
  p.column = LLVMBuildMul(B, LLVMBuildURem(B, g->thread, ga_i32(g, p.beside), ""), ga_i32(g, p.each), "");
  LVal to = LLVMBuildAdd(B, x->to, LLVMBuildMul(B, p.row, ga_i32(g, x->to_row), ""), "");
  p.to = ga_shared(g, LLVMBuildAdd(B, to, LLVMBuildMul(B, p.column, ga_i32(g, size), ""), ""));
  LVal column = x->first ? LLVMBuildAdd(B, p.column, x->first, "") : p.column;
  if (x->from)
    p.from = at(g, at_bytes(e, x->from, i64_mul(e, wide(g, p.row), x->row)), wide(g, column), size);
  return p;
}

/* Of the piece `down` rows below this thread's first one (i32), and `right` elements to its right: is it there, and its address; a
 * thread that reads it by itself reads what is there, in place of it. */
static LVal piece_from(Ga *g, const GaCopy *x, const Pieces *p, LVal down, int right, LVal *in) {
  Emitter *e = g->e;
  int size = size_of(g);
  bool alone = p->each * size != GPU_COPY, guard = x->first || x->dims < x->width;
  LVal row = LLVMBuildAdd(B, p->row, down, ""), column = LLVMBuildAdd(B, p->column, ga_i32(g, right), "");
  column = x->first ? LLVMBuildAdd(B, column, x->first, "") : column;
  *in = LLVMBuildICmp(B, LLVMIntSLT, row, x->limit, "");
  if (guard)
    *in = LLVMBuildAnd(B, *in, LLVMBuildICmp(B, LLVMIntSLT, column, ga_i32(g, x->dims), ""), "");
  if (!x->from)
    return at(g, ga_query_row(g, row), wide(g, guard ? LLVMBuildSelect(B, *in, column, ga_i32(g, 0), "") : column),
              size);
  LVal from = at(g, at_bytes(e, p->from, i64_mul(e, wide(g, down), x->row)), num(g, right), size);
  return alone ? LLVMBuildSelect(B, *in, from, x->from, "") : from;
}

static void copy_piece(Ga *g, const GaCopy *x, const Pieces *p, LVal down, int right) {
  Emitter *e = g->e;
  LVal in, from = piece_from(g, x, p, down, right, &in);
  LVal to = at_bytes(e, p->to, LLVMBuildMul(B, down, ga_i32(g, x->to_row), ""));
  to = at_bytes(e, to, ga_i32(g, right * size_of(g)));
  if (p->each * size_of(g) == GPU_COPY) {
    ptx_copy(e, to, from, LLVMBuildSelect(B, in, ga_i32(g, GPU_COPY), ga_i32(g, 0), ""));
    return;
  }
  LType t = g->half ? e->i16 : e->f32;
  LVal v = LLVMBuildLoad2(B, t, from, "");
  LLVMSetAlignment(v, (unsigned)size_of(g));
  v = LLVMBuildSelect(B, in, v, LLVMConstNull(t), "");
  LLVMSetAlignment(LLVMBuildStore(B, v, to), (unsigned)size_of(g));
}

void ga_copy(Ga *g, const GaCopy *x) {
  Emitter *e = g->e;
  Pieces p = pieces_of(g, x);
  int right = p.across / p.beside, group = x->rows; /* rows of a turn of the loop */
  while (group > p.down && group / p.down * right > COPIES)
    group /= 2;
  LLVMBasicBlockRef done =
      p.down > x->rows ? when_begin(e, LLVMBuildICmp(B, LLVMIntSLT, p.row, ga_i32(g, x->rows), "")) : NULL;
  Loop l = {.i = num(g, 0)};
  if (group < x->rows)
    l = loop_begin(e, num(g, 0), num(g, x->rows), group);
  LVal first = LLVMBuildTrunc(B, l.i, e->i32, "");
  for (int row = 0; row < group; row += p.down)
    for (int i = 0; i < right; i++)
      copy_piece(g, x, &p, LLVMBuildAdd(B, first, ga_i32(g, row), ""), i * p.beside * p.each);
  if (group < x->rows)
    loop_end(e, &l);
  if (done)
    when_end(e, done);
}

/* --- results --- */

/* Of the part's split: O [rows][dv], m, l in the scratch. */
static LVal partial(Ga *g, LVal split) {
  Emitter *e = g->e;
  LVal head = i64_add(e, i64_muli(e, g->batch, g->t->kv_heads), g->kv_head);
  LVal index = i64_add(e, i64_mul(e, head, g->splits), split);
  return at(g, g->args.scratch, index, 4 * gpu_attention_partial(g->t, g->stage->rows));
}

static LVal partial_m(Ga *g, LVal p, LVal row) {
  return at(g, p, i64_add(g->e, num(g, g->stage->rows * g->t->dv), row), 4);
}
static LVal partial_l(Ga *g, LVal p, LVal row) { return at(g, partial_m(g, p, row), num(g, g->stage->rows), 4); }

static LVal out_row(Ga *g, LVal query, LVal head) {
  LVal p = at_bytes(g->e, g->out, i64_mul(g->e, query, g->out_row));
  return at_bytes(g->e, p, i64_mul(g->e, head, g->out_head));
}

/* A row's sums over l, but where weights were divided; what was summed where nothing was seen does not matter. */
typedef struct Divide {
  LVal none, inverse, empty;
} Divide;

static Divide divide_by(Ga *g, LVal l) {
  return (Divide){.none = LLVMBuildFCmp(B, LLVMRealOEQ, l, real(g, 0), ""),
                  .inverse = g->t->gpu->twice ? real(g, 1) : LLVMBuildFDiv(B, real(g, 1), l, ""),
                  .empty = real(g, g->t->zero_rows ? 0 : NAN)};
}

static LVal divided(Ga *g, const Divide *d, LVal sum) {
  return LLVMBuildSelect(B, d->none, d->empty, LLVMBuildFMul(B, sum, d->inverse, ""), "");
}

/* Column i32 of the part, of all. */
static LVal column_of(Ga *g, LVal column) { return g->column0 ? LLVMBuildAdd(B, g->column0, column, "") : column; }

/* n columns of a row: the result, or this split's part of it. */
static void store_columns(Ga *g, const GaRow *r, LVal l, LVal const *sum, LVal const *own, int n) {
  Emitter *e = g->e;
  LVal there[GA_SUMS], column[GA_SUMS];
  Divide d = divide_by(g, l);
  for (int x = 0; x < n; x++) {
    column[x] = column_of(g, own[x]);
    there[x] = LLVMBuildICmp(B, LLVMIntSLT, column[x], ga_i32(g, g->t->dv), "");
  }
  LVal direct = g->combined ? LLVMBuildICmp(B, LLVMIntEQ, g->splits, num(g, 1), "") : emit_int(e->i1, 1);
  LLVMBasicBlockRef done = when_begin(e, direct);
  LVal to = out_row(g, r->query, r->head);
  for (int x = 0; x < n; x++) {
    LLVMBasicBlockRef next = when_begin(e, there[x]);
    store_element(g, divided(g, &d, sum[x]), at(g, to, wide(g, column[x]), size_of(g)));
    when_end(e, next);
  }
  when_end(e, done);
  if (!g->combined)
    return;
  done = when_begin(e, LLVMBuildNot(B, direct, ""));
  to = at(g, partial(g, g->split), wide(g, r->number), 4 * g->t->dv);
  for (int x = 0; x < n; x++) {
    LLVMBasicBlockRef next = when_begin(e, there[x]);
    store_f32(e, sum[x], at(g, to, wide(g, column[x]), 4));
    when_end(e, next);
  }
  when_end(e, done);
}

static void store_row(Ga *g, int i, LVal l) {
  Emitter *e = g->e;
  LVal sum[GA_SUMS];
  for (int x = 0; x < g->nsum; x++)
    sum[x] = ga_get(g, e->f32, g->sum[i][x]);
  LLVMBasicBlockRef done = when_begin(e, g->row[i].there);
  store_columns(g, &g->row[i], l, sum, g->sum_column, g->nsum);
  if (g->combined) { /* the same from all threads of the row, and from the blocks of all its columns */
    LVal p = partial(g, g->split), row = wide(g, g->row[i].number);
    store_f32(e, ga_get(g, e->f32, g->m[i]), partial_m(g, p, row));
    store_f32(e, l, partial_l(g, p, row));
  }
  when_end(e, done);
}

/* --- rows that are not finite --- */

/* 0 times a sum of the row, over the threads that have it: NaN when one is not finite. */
static LVal not_finite(Ga *g, int i) {
  Emitter *e = g->e;
  LVal sum = real(g, 0);
  for (int x = 0; x < g->nsum; x++)
    sum = emit_fma(e, ga_get(g, e->f32, g->sum[i][x]), real(g, 0), sum);
  for (int by = g->span / 2; by; by /= 2)
    sum = LLVMBuildFAdd(B, sum, ptx_exchange(e, sum, by), "");
  return sum;
}

static LVal product(Ga *g, LVal q, LVal k) {
  Emitter *e = g->e;
  LVal sum = ga_variable(g, e->f32);
  ga_set(g, sum, real(g, 0));
  Loop d = loop_begin(e, num(g, 0), num(g, g->t->dk), 1);
  LVal a = load_as(g, type_of(g), at(g, q, d.i, size_of(g))), b = load_as(g, type_of(g), at(g, k, d.i, size_of(g)));
  ga_set(g, sum, emit_fma(e, a, b, ga_get(g, e->f32, sum)));
  loop_end(e, &d);
  return ga_get(g, e->f32, sum);
}

/* A warp's: a key for each thread, then their values by the key, a column for each thread. */
static void careful_keys(Ga *g, const GaRow *r, LVal top, LVal inverse, LVal const *sum, LVal const *column,
                         int columns) {
  Emitter *e = g->e;
  LVal q = ga_query_row(g, r->number), zero = real(g, 0), lane = wide(g, g->lane);
  Loop j = loop_begin(e, g->from, g->to, GPU_WARP);
  LVal key = i64_add(e, j.i, lane), n = behind(g, key), sees = LLVMBuildICmp(B, LLVMIntSLT, n, r->end, "");
  if (r->first)
    sees = LLVMBuildAnd(B, sees, LLVMBuildICmp(B, LLVMIntSGE, n, r->first, ""), "");
  LVal there = i64_min(e, key, i64_sub(e, g->to, num(g, 1)));
  LVal masked = g->mask_len ? i64_min(e, there, i64_sub(e, g->mask_len, num(g, 1))) : there;
  LVal mask = r->mask ? at(g, r->mask, masked, mask_step(g)) : NULL;
  LVal s = rounded(g, score_of(g, mask, product(g, q, at_bytes(e, g->k, i64_mul(e, there, g->k_row)))));
  LVal p = LLVMBuildSelect(B, sees, weight_of(g, s, top, inverse), zero, "");
  Loop i = loop_begin(e, num(g, 0), num(g, GPU_WARP), 1);
  LVal w = ptx_from_lane(e, p, LLVMBuildTrunc(B, i.i, e->i32, ""));
  LVal number = i64_add(e, j.i, i.i), v = at_bytes(e, g->v, i64_mul(e, number, g->v_row));
  LVal counts = g->masked ? LLVMBuildFCmp(B, LLVMRealUNE, w, zero, "") : i64_less(e, number, g->to);
  LLVMBasicBlockRef none = when_begin(e, counts);
  for (int x = 0; x < columns; x++) {
    LVal here = column_of(g, column[x]), last = LLVMBuildICmp(B, LLVMIntSLT, here, ga_i32(g, g->t->dv), "");
    LVal c = wide(g, LLVMBuildSelect(B, last, here, ga_i32(g, 0), ""));
    LVal y = load_as(g, type_of(g), at(g, v, c, size_of(g)));
    ga_set(g, sum[x], emit_fma(e, w, y, ga_get(g, e->f32, sum[x])));
  }
  when_end(e, none);
  loop_end(e, &i);
  loop_end(e, &j);
}

static Status careful_row(Ga *g, LVal number, LVal m, LVal l) {
  Emitter *e = g->e;
  enum { MOST = GPU_ATTENTION_COLUMNS / GPU_WARP };
  LVal sum[MOST], column[MOST], value[MOST];
  int n = (g->t->gpu->width + GPU_WARP - 1) / GPU_WARP;
  GaRow r;
  TRY(make_row(g, number, &r));
  for (int x = 0; x < n; x++) {
    sum[x] = ga_variable(g, e->f32);
    ga_set(g, sum[x], real(g, 0));
    column[x] = LLVMBuildAdd(B, g->lane, ga_i32(g, x * GPU_WARP), "");
  }
  careful_keys(g, &r, safe(g, m), g->t->gpu->twice ? inverse_of(g, l) : NULL, sum, column, n);
  for (int x = 0; x < n; x++)
    value[x] = ga_get(g, e->f32, sum[x]);
  store_columns(g, &r, l, value, column, n);
  return ST_OK;
}

/* m, l and what is not finite, by row, in the block's memory: [3][rows]. */
static Status careful_rows(Ga *g, LVal const *l) {
  Emitter *e = g->e;
  int rows = g->stage->rows;
  ptx_barrier(e); /* who still reads what was there, and the results that are to be replaced */
  for (int i = 0; i < g->nrow; i++) {
    LVal bad = LLVMBuildSelect(B, g->row[i].there, not_finite(g, i), real(g, 0), "");
    LVal to = ga_shared(g, LLVMBuildMul(B, g->row[i].number, ga_i32(g, 4), ""));
    store_f32(e, ga_get(g, e->f32, g->m[i]), to);
    store_f32(e, l[i], at_bytes(e, to, num(g, 4 * rows)));
    store_f32(e, bad, at_bytes(e, to, num(g, 8 * rows)));
  }
  ptx_barrier(e);
  Loop r = loop_begin(e, wide(g, g->warp), num(g, rows), g->stage->threads / GPU_WARP);
  LVal from = ga_shared(g, LLVMBuildMul(B, LLVMBuildTrunc(B, r.i, e->i32, ""), ga_i32(g, 4), ""));
  LVal bad = load_f32(e, 1, at_bytes(e, from, num(g, 8 * rows)));
  LLVMBasicBlockRef done = when_begin(e, LLVMBuildFCmp(B, LLVMRealUNO, bad, bad, ""));
  TRY(careful_row(g, LLVMBuildTrunc(B, r.i, e->i32, ""), load_f32(e, 1, from),
                  load_f32(e, 1, at_bytes(e, from, num(g, 4 * rows)))));
  when_end(e, done);
  loop_end(e, &r);
  return ST_OK;
}

/* --- whole stages --- */

static Status attend(Ga *g, LVal part) {
  Emitter *e = g->e;
  const Attention *t = g->t;
  LVal l[GA_ROWS];
  find_part(g, part);
  for (int i = 0; i < g->nrow; i++) {
    TRY(make_row(g, g->row[i].number, &g->row[i]));
    ga_set(g, g->m[i], real(g, -INFINITY));
    ga_set(g, g->l[i], real(g, 0));
    for (int x = 0; x < g->nsum; x++)
      ga_set(g, g->sum[i][x], real(g, 0));
  }
  TRY(g->half ? ga_mma_part(g) : ga_fma_part(g));
  find_part(g, ptx_anew(e, part)); /* anew: nothing of it is kept in registers meanwhile */
  for (int i = 0; i < g->nrow; i++) {
    TRY(make_row(g, g->row[i].number, &g->row[i]));
    l[i] = t->gpu->twice ? ga_get(g, e->f32, g->l[i]) : whole_sum(g, i);
    store_row(g, i, l[i]);
  }
  return g->masked || g->half ? careful_rows(g, l) : ST_OK;
}

static void setup(Ga *g) {
  Emitter *e = g->e;
  g->shared = ptx_shared(e, "tiles", g->half ? ga_mma_shared(g) : ga_fma_shared(g));
  g->lane = LLVMBuildAnd(B, g->thread, ga_i32(g, GPU_WARP - 1), "");
  g->warp = LLVMBuildLShr(B, g->thread, ga_i32(g, 5), "");
  if (g->half)
    ga_mma_setup(g);
  else
    ga_fma_setup(g);
  for (int i = 0; i < g->nrow; i++)
    g->m[i] = ga_variable(g, e->f32), g->l[i] = ga_variable(g, e->f32);
}

/* One row of all splits; a thread for each column. */
static void combine(Ga *g, LVal part) {
  Emitter *e = g->e;
  LVal row = i64_rem(e, part, g->rows);
  LVal m = ga_variable(g, e->f32), l = ga_variable(g, e->f32), sum = ga_variable(g, e->f32), query, q_head;
  g->row0 = num(g, 0);
  find_head(g, i64_div(e, part, g->rows));
  find_operands(g);
  LVal column = wide(g, column_of(g, g->thread));
  place_row(g, LLVMBuildTrunc(B, row, e->i32, ""), &query, &q_head);
  ga_set(g, m, real(g, -INFINITY)), ga_set(g, l, real(g, 0)), ga_set(g, sum, real(g, 0));
  Loop s = loop_begin(e, num(g, 0), g->splits, 1);
  ga_set(g, m, emit_max_fast(e, load_f32(e, 1, partial_m(g, partial(g, s.i), row)), ga_get(g, e->f32, m)));
  loop_end(e, &s);
  LVal top = safe(g, ga_get(g, e->f32, m));
  LLVMBasicBlockRef done = when_begin(e, i64_less(e, column, num(g, g->t->dv)));
  s = loop_begin(e, num(g, 0), g->splits, 1);
  LVal p = partial(g, s.i), w = exponential(g, LLVMBuildFSub(B, load_f32(e, 1, partial_m(g, p, row)), top, ""));
  LVal o = load_f32(e, 1, at(g, p, i64_add(e, i64_muli(e, row, g->t->dv), column), 4)), old = ga_get(g, e->f32, sum);
  LVal more = emit_fma(e, o, w, old);
  if (g->masked)
    more = LLVMBuildSelect(B, LLVMBuildFCmp(B, LLVMRealOEQ, w, real(g, 0), ""), old, more, "");
  ga_set(g, sum, more);
  ga_set(g, l, emit_fma(e, load_f32(e, 1, partial_l(g, p, row)), w, ga_get(g, e->f32, l)));
  loop_end(e, &s);
  Divide d = divide_by(g, ga_get(g, e->f32, l));
  store_element(g, divided(g, &d, ga_get(g, e->f32, sum)), at(g, out_row(g, query, q_head), column, size_of(g)));
  when_end(e, done);
}

static Status lengths(Ga *g) {
  const Attention *t = g->t;
  const struct {
    Dim d;
    LVal *v;
  } all[] = {{t->q_len, &g->q_len},
             {t->kv_len, &g->kv_len},
             {t->gpu->splits, &g->splits},
             {t->gpu->chunk, &g->chunk},
             {t->k_rows ? t->k_rows : t->kv_len, &g->k_rows},
             {t->v_rows ? t->v_rows : t->kv_len, &g->v_rows}};
  for (size_t i = 0; i < countof(all); i++)
    TRY(dim_value(g->e, &g->args, all[i].d, g->dim, g->ndim, all[i].v));
  if (t->mask_short)
    TRY(dim_value(g->e, &g->args, t->mask_dim[t->mask_rank - 1], g->dim, g->ndim, &g->mask_len));
  g->rows = i64_muli(g->e, g->q_len, t->gpu->group);
  return ST_OK;
}

/* The stage's parts, as codegen/gpu_attention.c counts them: in a graph it may be launched where it has none. */
static Status count_parts(Ga *g, LVal *n) {
  Emitter *e = g->e;
  GpuAttentionForm form = (GpuAttentionForm)g->stage->form;
  LVal batch, few = i64_less(e, g->rows, num(g, GA_FEW_ROWS + 1));
  LVal none = form == GA_MANY ? few : LLVMBuildOr(B, LLVMBuildNot(B, few, ""), i64_less(e, g->rows, num(g, 1)), "");
  if (form == GA_COMBINE)
    none = LLVMBuildOr(B, none, i64_less(e, g->splits, num(g, 2)), "");
  TRY(dim_value(e, &g->args, g->t->batch, g->dim, g->ndim, &batch));
  LVal heads = i64_muli(e, batch, g->t->kv_heads);
  LVal each = g->stage->form == GA_MANY  ? i64_ceildiv(e, g->rows, num(g, g->stage->rows))
              : g->stage->form == GA_FEW ? g->splits
                                         : g->rows;
  *n = LLVMBuildSelect(B, none, num(g, 0), i64_mul(e, i64_muli(e, heads, g->t->gpu->passes), each), "");
  return ST_OK;
}

static Status make_stage(Emitter *e, const Unit *u, int i, const char *name) {
  const Attention *t = &u->attention;
  Ga *g = arena_new(e->a, Ga);
  LVal parts;
  g->e = e, g->t = t, g->stage = &t->gpu->stage[i];
  g->half = t->type == DT_f16 || t->type == DT_bf16;
  g->unit = g->half && (t->mask == DT_none || t->mask == DT_bool) && !t->scores && !t->soft ? M_LOG2E : 1;
  g->masked = t->mask != DT_none || t->has_right || t->has_left || t->counted;
  g->combined = g->stage->form == GA_FEW && !dim_is(t->gpu->splits, 1);
  unit_signature(e->a, u, &g->dim, &g->ndim);
  g->args = gpu_function(e, u, name, outputs_at(g) + 1 + (t->scores != SCORES_NONE), g->ndim);
  g->thread = ptx_thread(e);
  TRY(lengths(g));
  TRY(count_parts(g, &parts));
  if (g->stage->form != GA_COMBINE)
    setup(g);
  LVal step = wide(g, ptx_blocks(e));
  Loop p = loop_begin(e, wide(g, ptx_block(e)), parts, 1);
  p.step = step;
  if (g->stage->form == GA_COMBINE)
    combine(g, p.i);
  else
    TRY(attend(g, p.i));
  loop_end(e, &p);
  LLVMBuildRetVoid(e->b);
  return ST_OK;
}

Status emit_gpu_attention(Emitter *e, const Unit *u, const char *name) {
  const Attention *t = &u->attention;
  if (!t->gpu || !gpu_attention_fits(t) || t->heads < 1 || t->kv_heads < 1 || t->heads % t->kv_heads || t->dk < 1 ||
      t->dv < 1)
    return fail(e->c, ST_UNSUPPORTED, "%s: %lld heads of %lld and %lld, %lld of keys and values", name,
                (long long)t->heads, (long long)t->dk, (long long)t->dv, (long long)t->kv_heads);
  for (int i = 0; i < t->gpu->nstage; i++)
    TRY(make_stage(e, u, i, i ? arena_printf(e->a, "%s_then%d", name, i) : name));
  return ST_OK;
}
