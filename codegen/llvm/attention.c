/* attention.c - emission of attention: one function per unit; a part is one head and some groups of up to 64 queries
 * (codegen/attention.h).
 *
 *   for each group: Qt = log2 e * scale * Q, transposed
 *   for each block of keys, for each group (blocks that causality excludes are not visited):
 *     S = K · Qt, then per query (lane): masks, maximum so far m, correction a = 2^(m_old - m), P = 2^(S - m), l = a l + sum P
 *     O = a O + Pt · V
 *   out = O / l
 *
 * Scores may be capped before they are masked; a sink is one more key, of score sink[h] and of a value of zeros: it is where m and l
 * begin.
 *
 * Few queries take the same way through a tile of few columns. A masked score is -inf whatever it was, NaN included. V of a
 * masked key meets a weight of 0 in the product, which is NaN when it is not finite: a part whose O is not finite is
 * computed once more, leaving out what has no weight.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/attention.h"
#include "codegen/llvm/tile.h"

#include <float.h>
#include <math.h>

enum { LINE = 64 };

typedef struct Gen {
  Emitter *e;
  const Attention *t;
  AttentionPlan plan;
  const char *name;
  const Dim *dim;
  uint32_t ndim;
  EmitArgs args;
  LVal q_len, kv_len, k_rows, v_rows;
  int width;   /* queries of the function being made */
  bool single; /* it is for one query: S is one row, a lane per key */
  TileSet scores, values;
} Gen;

/* Where a part finds things: addresses, and distances in bytes. */
typedef struct Part {
  LVal b, h, i0, n; /* batch entry, head, first query, queries */
  LVal groups;      /* of up to `width` queries, each with its Qt, O and statistics */
  LVal q, k, v, out;
  LVal q_row, k_row, v_row, out_row;
  LVal qt, s, max, sum, fix, o, v_pack;
  LVal begin, end;   /* the keys that are looked at */
  LVal j0, j1, keys; /* the block of keys */
  LVal first;        /* i1: it is the first one */
  LVal offset;       /* query i stands at key i + offset */
  LVal sink;         /* f32 in units of log 2, or NULL */
  LVal careful;      /* i1: the second time; NULL: nothing is masked, so there is none */
} Part;

static int lanes(const Gen *g) { return g->plan.level->lanes; }

/* Address of head h of batch entry b, and the distance of its rows. split: [batch, heads, len, d], else [batch, len,
 * heads * d]. */
static LVal head_of(Gen *g, uint32_t buf, bool split, LVal b, LVal h, int64_t heads, LVal len, int64_t d, LVal *row) {
  Emitter *e = g->e;
  LVal base = emit_arg_buf(e, &g->args, buf), entry = i64_mul(e, b, i64_muli(e, len, heads * d));
  LVal in = split ? i64_mul(e, h, i64_muli(e, len, d)) : i64_muli(e, h, d);
  *row = i64_of(e, 4 * (split ? d : heads * d));
  return settled(e, at_float(e, base, i64_add(e, entry, in)));
}

/* Group i of a part, as if it were the part. */
static Part group_of(Gen *g, const Part *part, LVal i) {
  Emitter *e = g->e;
  const AttentionPlan *p = &g->plan;
  Part w = *part;
  int64_t o = (int64_t)g->width * p->value_panels * p->value.nr * 4;
  LVal first = i64_muli(e, i, g->width), zero = i64_of(e, 0);
  w.i0 = i64_add(e, part->i0, first), w.n = i64_min(e, i64_sub(e, part->n, first), i64_of(e, g->width));
  w.q = settled(e, at_bytes(e, part->q, i64_mul(e, first, part->q_row)));
  w.out = settled(e, at_bytes(e, part->out, i64_mul(e, first, part->out_row)));
  w.qt = settled(e, at_bytes(e, part->qt, i64_muli(e, first, g->t->dk * 4)));
  w.max = settled(e, at_bytes(e, part->max, i64_muli(e, first, 3 * 4)));
  w.sum = at_bytes(e, w.max, i64_of(e, g->width * 4)), w.fix = at_bytes(e, w.sum, i64_of(e, g->width * 4));
  w.o = settled(e, at_bytes(e, part->o, i64_muli(e, i, o)));
  w.begin = zero, w.end = g->kv_len;
  if (g->t->causal || g->t->has_right) { /* beyond the last query's last key there is nothing to see */
    LVal last = i64_add(e, i64_add(e, w.i0, w.n), w.offset);
    w.end = i64_min(e, w.end, i64_add(e, last, i64_of(e, g->t->causal ? 0 : g->t->right)));
  }
  if (g->t->has_left) { /* nor is there before the first query's first */
    LVal from = i64_add(e, i64_add(e, w.i0, w.offset), i64_of(e, -g->t->left));
    w.begin = LLVMBuildSelect(e->b, i64_less(e, from, zero), zero, from, "");
  }
  return w;
}

/* Scores are held in units of log 2, so that weights are powers of 2. */
#define LOG2E 1.44269504088896340736

static bool caps(const Gen *g) { return g->t->cap > 0; }

/* What a product of a query and a key is multiplied by: a score, or what is still to be capped. */
static double query_scale(const Gen *g) { return g->t->scale * (caps(g) ? 1 : LOG2E); }

/* Qt[d][width] = scale * Q[i][d]; lanes without a query repeat the last one. */
static void pack_queries(Gen *g, Part *w) {
  Emitter *e = g->e;
  pack_transposed(e, w->q, w->q_row, w->n, i64_of(e, g->t->dk), emit_real(e->f32, query_scale(g)), w->qt,
                  i64_of(e, g->width * 4), i64_of(e, g->width));
}

/* Rows split evenly into tiles of at most `most`; run `call` for each with its first row and its height. */
typedef struct Split {
  LVal tiles, base, extra;
} Split;

static Split split_rows(Emitter *e, LVal rows, int most) {
  Split s = {.tiles = i64_ceildiv(e, rows, i64_of(e, most))};
  s.base = i64_div(e, rows, s.tiles), s.extra = i64_rem(e, rows, s.tiles);
  return s;
}

static LVal split_first(Emitter *e, const Split *s, LVal tile) {
  return i64_add(e, i64_mul(e, tile, s->base), i64_min(e, tile, s->extra));
}

static LVal split_height(Emitter *e, const Split *s, LVal tile) {
  return i64_add(e, s->base, LLVMBuildZExt(e->b, i64_less(e, tile, s->extra), e->i64, ""));
}

/* Rows of K that the next tile reads, and of V as many: asked for while this one is worked out, for they lie apart, where no machine
 * looks ahead. */
static void ask_for_keys(Gen *g, const Part *w, LVal row, LVal rows) {
  Emitter *e = g->e;
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal j = i64_add(e, i64_add(e, w->j0, row), r.i);
  LVal k = at_bytes(e, w->k, i64_mul(e, i64_add(e, j, rows), w->k_row)), v = at_bytes(e, w->v, i64_mul(e, j, w->v_row));
  for (int64_t c = 0; c < g->t->dk * 4; c += LINE)
    emit_prefetch(e, at_bytes(e, k, i64_of(e, c)));
  for (int64_t c = 0; c < g->t->dv * 4; c += LINE)
    emit_prefetch(e, at_bytes(e, v, i64_of(e, c)));
  loop_end(e, &r);
}

/* S = K · Qt for the block of keys. Scores do not depend on their neighbours, so the last tile reaches back to be whole, and only
 * blocks of fewer keys than a tile has go by one: two inner kernels in place of one for every height. */
static void make_scores(Gen *g, Part *w) {
  Emitter *e = g->e;
  LVal whole = i64_of(e, g->scores.high), few = i64_less(e, w->keys, whole);
  LVal height = LLVMBuildSelect(e->b, few, i64_of(e, 1), whole, "");
  Loop t = loop_begin(e, i64_of(e, 0), i64_ceildiv(e, w->keys, height), 1);
  LVal row = i64_min(e, i64_mul(e, t.i, height), i64_sub(e, w->keys, height));
  if (lanes(g) == 16)
    ask_for_keys(g, w, row, height);
  TileArgs x = {.a = at_bytes(e, w->k, i64_mul(e, i64_add(e, w->j0, row), w->k_row)),
                .a_row = w->k_row,
                .b = w->qt,
                .k = i64_of(e, g->t->dk),
                .more = emit_int(e->i1, 0),
                .sums = at_bytes(e, w->s, i64_muli(e, row, g->width * 4))};
  LLVMBasicBlockRef many = emit_block(e, "whole"), one = emit_block(e, "one"), done = emit_block(e, "called");
  LLVMBuildCondBr(e->b, few, one, many);
  LLVMPositionBuilderAtEnd(e->b, many);
  tile_call(e, &g->scores.kernel[g->scores.high - 1], &x);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, one);
  tile_call(e, &g->scores.kernel[0], &x);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
  loop_end(e, &t);
}

/* --- caps and masks --- */

/* cap * tanh(score / cap), in units of log 2 */
static LVal capped(Gen *g, LVal score) {
  Emitter *e = g->e;
  LType t = LLVMTypeOf(score);
  LVal part = LLVMBuildFMul(e->b, score, emit_real(t, 1 / g->t->cap), "");
  return LLVMBuildFMul(e->b, emit_math(e, KOP_tanh, part), emit_real(t, g->t->cap * LOG2E), "");
}

/* Do positions decide what is seen? */
static bool positions(const Gen *g) { return g->t->causal || g->t->has_left || g->t->has_right; }

/* The mask's address for (b, h), its distances in elements from query to query and key to key. */
typedef struct Mask {
  LVal base, row, col;
  bool any, one_row; /* one_row: every query has the same */
  int size;          /* bytes of an element */
} Mask;

static Status find_mask(Gen *g, Part *w, Mask *m) {
  Emitter *e = g->e;
  const Attention *t = g->t;
  *m = (Mask){.any = t->mask != DT_none,
              .one_row = t->mask_rank < 2 || dim_is(t->mask_dim[t->mask_rank - 2], 1),
              .size = t->mask == DT_bool ? 1 : 4};
  if (!m->any)
    return ST_OK;
  LVal index[] = {w->b, w->h, w->i0, i64_of(e, 0)}, step = i64_of(e, 1), zero = i64_of(e, 0), at = zero,
       stride[4] = {zero, zero, zero, zero};
  for (int axis = 3, i = t->mask_rank; i-- > 0; axis--) {
    LVal n;
    TRY(dim_value(e, &g->args, t->mask_dim[i], g->dim, g->ndim, &n));
    LVal single = LLVMBuildICmp(e->b, LLVMIntEQ, n, i64_of(e, 1), "");
    stride[axis] = LLVMBuildSelect(e->b, single, zero, step, "");
    at = i64_add(e, at, i64_mul(e, index[axis], stride[axis]));
    step = i64_mul(e, step, n);
  }
  m->row = stride[2], m->col = stride[3];
  m->base = settled(e, at_bytes(e, emit_arg_buf(e, &g->args, 3), i64_muli(e, at, m->size)));
  return ST_OK;
}

/* The score with the mask's value m added, or -inf where a bool mask says no or a float mask is -inf. */
static LVal apply_value(Gen *g, LVal score, LVal m) {
  Emitter *e = g->e;
  LVal out = emit_real(LLVMTypeOf(score), -INFINITY);
  if (g->t->mask == DT_bool) {
    LVal no = LLVMBuildICmp(e->b, LLVMIntEQ, m, LLVMConstNull(LLVMTypeOf(m)), "");
    return emit_select(e, no, out, score);
  }
  LVal no = LLVMBuildFCmp(e->b, LLVMRealOEQ, m, emit_real(LLVMTypeOf(m), -INFINITY), "");
  LType t = LLVMTypeOf(m);
  LVal x = emit_fma(e, m, emit_real(t, LOG2E), score), most = emit_real(t, FLT_MAX), least = emit_real(t, -FLT_MAX);
  LVal endless = LLVMBuildFCmp(e->b, LLVMRealOEQ, m, emit_real(t, INFINITY), "");
  x = emit_select(e, endless, m, emit_min_fast(e, most, x)); /* finite ones stay so: the least f32 is a common mask */
  return emit_select(e, no, out, emit_max_fast(e, least, x));
}

/* -inf for the lanes that compare so with j - offset + by. */
static LVal beyond(Gen *g, Part *w, LVal j, LVal at, int64_t by, LLVMIntPredicate how, LVal score) {
  Emitter *e = g->e;
  int n = lanes(g);
  LVal limit = i64_sub(e, i64_sub(e, j, w->offset), i64_add(e, w->i0, at)), low = i64_of(e, -1);
  if (by) { /* whatever it is: 32 bits, which all lanes compare with as they would */
    limit = i64_min(e, i64_add(e, limit, i64_of(e, by)), i64_of(e, INT16_MAX));
    limit = LLVMBuildSelect(e->b, i64_less(e, limit, low), low, limit, "");
  }
  LVal lane = emit_splat(e, LLVMBuildTrunc(e->b, limit, e->i32, ""), n);
  LVal no = LLVMBuildICmp(e->b, how, emit_iota(e, e->i32, n), lane, "");
  return emit_select(e, no, emit_real(LLVMTypeOf(score), -INFINITY), score);
}

/* Scores of key j for the queries in the lanes from `at` on, masked. */
static LVal mask_scores(Gen *g, Part *w, const Mask *m, LVal j, LVal at, LVal score) {
  Emitter *e = g->e;
  int n = lanes(g);
  LType elem = g->t->mask == DT_bool ? e->i8 : e->f32;
  if (m->any && m->one_row) {
    LVal x = LLVMBuildLoad2(e->b, elem, at_bytes(e, m->base, i64_muli(e, i64_mul(e, j, m->col), m->size)), "");
    LLVMSetAlignment(x, (unsigned)m->size);
    score = apply_value(g, score, emit_splat(e, x, n));
  } else if (m->any) { /* one element per lane; lanes without a query take the last query's */
    LVal x = LLVMGetPoison(emit_vec(elem, n)), last = i64_sub(e, w->n, i64_of(e, 1));
    for (int l = 0; l < n; l++) {
      LVal i = i64_min(e, i64_add(e, at, i64_of(e, l)), last);
      LVal index = i64_add(e, i64_mul(e, i, m->row), i64_mul(e, j, m->col));
      LVal one = LLVMBuildLoad2(e->b, elem, at_bytes(e, m->base, i64_muli(e, index, m->size)), "");
      LLVMSetAlignment(one, (unsigned)m->size);
      x = LLVMBuildInsertElement(e->b, x, one, emit_int(e->i32, l), "");
    }
    score = apply_value(g, score, x);
  }
  if (g->t->causal || g->t->has_right) /* j <= i + offset + right */
    score = beyond(g, w, j, at, g->t->causal ? 0 : -g->t->right, LLVMIntSLT, score);
  if (g->t->has_left)
    score = beyond(g, w, j, at, g->t->left, LLVMIntSGT, score);
  return score;
}

/* --- softmax of a block, a vector of queries at a time --- */

enum { SIDE_BY_SIDE = 4 };

/* A loop over the keys of the block that carries n vectors from turn to turn. */
typedef struct Carry {
  LVal value[SIDE_BY_SIDE], phi[SIDE_BY_SIDE];
  LLVMBasicBlockRef head;
  LVal j, to;
  int n;
  int64_t step;
} Carry;

/* At least one key: the body comes before the test. */
static void carry_begin(Emitter *e, Carry *c, LVal to) {
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  LVal zero = i64_of(e, 0);
  c->head = emit_block(e, "keys"), c->to = to;
  LLVMBuildBr(e->b, c->head);
  LLVMPositionBuilderAtEnd(e->b, c->head);
  c->j = LLVMBuildPhi(e->b, e->i64, "j");
  LLVMAddIncoming(c->j, &zero, &before, 1);
  for (int i = 0; i < c->n; i++) {
    c->phi[i] = LLVMBuildPhi(e->b, LLVMTypeOf(c->value[i]), "");
    LLVMAddIncoming(c->phi[i], &c->value[i], &before, 1);
    c->value[i] = c->phi[i];
  }
}

static void carry_end(Emitter *e, Carry *c) {
  LVal next = i64_add(e, c->j, i64_of(e, c->step));
  LLVMBasicBlockRef last = LLVMGetInsertBlock(e->b), done = emit_block(e, "keysdone");
  LLVMAddIncoming(c->j, &next, &last, 1);
  for (int i = 0; i < c->n; i++)
    LLVMAddIncoming(c->phi[i], &c->value[i], &last, 1);
  LLVMBuildCondBr(e->b, i64_less(e, next, c->to), c->head, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

/* m, l and the correction of the queries from lane `at` on, c->n vectors of them; S becomes P. */
static void softmax_group(Gen *g, Part *w, const Mask *m, LVal at, int n) {
  Emitter *e = g->e;
  int v = lanes(g);
  LType vec = emit_vec(e->f32, v);
  LVal old[SIDE_BY_SIDE], safe[SIDE_BY_SIDE], s = at_float(e, w->s, at);
  Carry c = {.n = n, .step = 1};
  for (int i = 0; i < n; i++) {
    LVal seen = load_f32(e, v, at_float(e, w->max, i64_add(e, at, i64_of(e, i * v))));
    LVal begin = w->sink ? emit_splat(e, w->sink, v) : emit_real(vec, -INFINITY);
    c.value[i] = old[i] = emit_select(e, emit_splat(e, w->first, v), begin, seen);
  }
  carry_begin(e, &c, w->keys);
  LVal row = settled(e, at_bytes(e, s, i64_muli(e, c.j, g->width * 4)));
  for (int i = 0; i < n; i++) {
    LVal p = at_bytes(e, row, i64_of(e, i * v * 4)), x = load_f32(e, v, p);
    x = caps(g) ? capped(g, x) : x;
    if (m->any || positions(g))
      x = mask_scores(g, w, m, i64_add(e, w->j0, c.j), i64_add(e, at, i64_of(e, i * v)), x);
    if (caps(g) || m->any || positions(g))
      store_f32(e, x, p);
    c.value[i] = emit_max_fast(e, x, c.value[i]); /* a NaN shows in the sum instead */
  }
  carry_end(e, &c);
  LVal fix[SIDE_BY_SIDE];
  for (int i = 0; i < n; i++) {
    LVal now = c.value[i], none = LLVMBuildFCmp(e->b, LLVMRealOEQ, now, emit_real(vec, -INFINITY), "");
    LVal q = i64_add(e, at, i64_of(e, i * v));
    safe[i] = emit_select(e, none, emit_real(vec, 0), now); /* all masked so far: exp(-inf - 0) is the 0 it should be */
    fix[i] = LLVMBuildFSub(e->b, old[i], safe[i], "");
    math_exp2_below(e, &fix[i], 1);
    store_f32(e, now, at_float(e, w->max, q));
    store_f32(e, fix[i], at_float(e, w->fix, q));
    c.value[i] = emit_real(vec, 0);
  }
  carry_begin(e, &c, w->keys);
  row = settled(e, at_bytes(e, s, i64_muli(e, c.j, g->width * 4)));
  for (int i = 0, some = e->bits == 512 ? 1 : n; i < n; i += some) { /* registers of 512 bits are few to a cycle */
    LVal p[SIDE_BY_SIDE], x[SIDE_BY_SIDE];
    for (int j = 0; j < some; j++) {
      p[j] = at_bytes(e, row, i64_of(e, (i + j) * v * 4));
      x[j] = LLVMBuildFSub(e->b, load_f32(e, v, p[j]), safe[i + j], "");
    }
    math_exp2_below(e, x, some);
    for (int j = 0; j < some; j++) {
      store_f32(e, x[j], p[j]);
      c.value[i + j] = LLVMBuildFAdd(e->b, c.value[i + j], x[j], "");
    }
  }
  carry_end(e, &c);
  for (int i = 0; i < n; i++) {
    LVal p = at_float(e, w->sum, i64_add(e, at, i64_of(e, i * v)));
    LVal before = emit_select(e, emit_splat(e, w->first, v), emit_real(vec, w->sink ? 1 : 0), load_f32(e, v, p));
    store_f32(e, emit_fma(e, before, fix[i], c.value[i]), p);
  }
}

static Status softmax_block(Gen *g, Part *w) {
  Emitter *e = g->e;
  Mask m;
  TRY(find_mask(g, w, &m));
  int vectors = g->width / lanes(g), side = vectors < SIDE_BY_SIDE ? vectors : SIDE_BY_SIDE;
  if (vectors % side)
    side = 1;
  Loop l = loop_begin(e, i64_of(e, 0), w->n,
                      side * lanes(g)); /* lanes without queries are worked out where they come along */
  softmax_group(g, w, &m, l.i, side);
  loop_end(e, &l);
  return ST_OK;
}

/* --- a single query: K is read once, in whole vectors; S lies along the keys --- */

enum { SINGLE_VECTORS = 16 };

static bool has_single(const Gen *g) {
  return g->t->dk <= SINGLE_VECTORS * lanes(g) && !g->t->has_left && !g->t->has_right;
}

/* Elements c … c + lanes - 1 of a row of dk; zeros behind its end. */
static LVal row_vector(Gen *g, LVal row, int64_t c) {
  Emitter *e = g->e;
  int v = lanes(g);
  LType vec = emit_vec(e->f32, v);
  LVal p = at_bytes(e, row, i64_of(e, c * 4));
  if (c + v <= g->t->dk)
    return load_f32(e, v, p);
  LVal mask = LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->i32, v), emit_int(emit_vec(e->i32, v), g->t->dk - c), "");
  return emit_masked_load(e, vec, p, mask, emit_real(vec, 0), 4);
}

/* All lanes in one, by halves. */
static LVal fold(Gen *g, LVal x, LVal (*both)(Emitter *e, LVal a, LVal b)) {
  Emitter *e = g->e;
  for (int n = lanes(g) / 2; n; n /= 2) {
    LVal low[8], high[8], none = LLVMGetPoison(LLVMTypeOf(x));
    for (int i = 0; i < n; i++)
      low[i] = emit_int(e->i32, i), high[i] = emit_int(e->i32, i + n);
    LVal a = LLVMBuildShuffleVector(e->b, x, none, LLVMConstVector(low, (unsigned)n), "");
    x = both(e, LLVMBuildShuffleVector(e->b, x, none, LLVMConstVector(high, (unsigned)n), ""), a);
  }
  return LLVMBuildExtractElement(e->b, x, emit_int(e->i32, 0), "");
}

static LVal both_sum(Emitter *e, LVal a, LVal b) { return LLVMBuildFAdd(e->b, a, b, ""); }

static void single_query(Gen *g, Part *w) {
  Emitter *e = g->e;
  for (int64_t c = 0; c < g->t->dk; c += lanes(g)) {
    LVal scale = emit_real(emit_vec(e->f32, lanes(g)), query_scale(g));
    store_f32(e, LLVMBuildFMul(e->b, row_vector(g, w->q, c), scale, ""), at_bytes(e, w->qt, i64_of(e, c * 4)));
  }
}

/* The score of key j. */
static LVal single_mask(Gen *g, const Mask *m, LVal j, LVal score) {
  Emitter *e = g->e;
  LVal p = at_bytes(e, m->base, i64_muli(e, i64_mul(e, j, m->col), m->size));
  LVal x = LLVMBuildLoad2(e->b, g->t->mask == DT_bool ? e->i8 : e->f32, p, "");
  LLVMSetAlignment(x, (unsigned)m->size);
  return apply_value(g, score, x);
}

/* S[j] = K[j] · q, masked (causality ends the keys); -inf up to a whole vector. */
static void single_scores(Gen *g, Part *w, const Mask *m) {
  Emitter *e = g->e;
  int v = lanes(g);
  Loop j = loop_begin(e, i64_of(e, 0), w->keys, 1);
  LVal at = i64_add(e, w->j0, j.i), row = at_bytes(e, w->k, i64_mul(e, at, w->k_row));
  LVal sum = emit_real(emit_vec(e->f32, v), 0);
  for (int64_t c = 0; c < g->t->dk; c += v)
    sum = emit_fma(e, row_vector(g, row, c), load_f32(e, v, at_bytes(e, w->qt, i64_of(e, c * 4))), sum);
  LVal score = fold(g, sum, both_sum);
  score = m->any && !caps(g) ? single_mask(g, m, at, score) : score;
  store_f32(e, score, at_float(e, w->s, j.i));
  loop_end(e, &j);
  if (caps(g)) { /* in whole vectors, whatever stands behind the last key */
    j = loop_begin(e, i64_of(e, 0), w->keys, v);
    LVal p = at_float(e, w->s, j.i);
    store_f32(e, capped(g, load_f32(e, v, p)), p);
    loop_end(e, &j);
  }
  if (caps(g) && m->any) {
    j = loop_begin(e, i64_of(e, 0), w->keys, 1);
    LVal p = at_float(e, w->s, j.i);
    store_f32(e, single_mask(g, m, i64_add(e, w->j0, j.i), load_f32(e, 1, p)), p);
    loop_end(e, &j);
  }
  LVal whole = LLVMBuildAnd(e->b, i64_add(e, w->keys, i64_of(e, v - 1)), i64_of(e, -v), "");
  j = loop_begin(e, w->keys, whole, 1);
  store_f32(e, emit_real(e->f32, -INFINITY), at_float(e, w->s, j.i));
  loop_end(e, &j);
}

static void single_softmax(Gen *g, Part *w) {
  Emitter *e = g->e;
  int v = lanes(g);
  LType vec = emit_vec(e->f32, v);
  LVal low = emit_real(e->f32, -INFINITY), zero = emit_real(e->f32, 0);
  LVal begin = w->sink ? w->sink : low, old = LLVMBuildSelect(e->b, w->first, begin, load_f32(e, 1, w->max), "");
  Carry c = {.n = 1, .step = v, .value = {emit_real(vec, -INFINITY)}};
  carry_begin(e, &c, w->keys);
  c.value[0] = emit_max_fast(e, load_f32(e, v, at_float(e, w->s, c.j)), c.value[0]);
  carry_end(e, &c);
  LVal now = emit_max_fast(e, fold(g, c.value[0], emit_max_fast), old);
  LVal none = LLVMBuildFCmp(e->b, LLVMRealOEQ, now, low, ""), safe = LLVMBuildSelect(e->b, none, zero, now, "");
  LVal fix = LLVMBuildFSub(e->b, old, safe, ""), spread = emit_splat(e, safe, v);
  math_exp2_below(e, &fix, 1);
  c.value[0] = emit_real(vec, 0);
  carry_begin(e, &c, w->keys);
  LVal p = at_float(e, w->s, c.j), x = LLVMBuildFSub(e->b, load_f32(e, v, p), spread, "");
  math_exp2_below(e, &x, 1);
  store_f32(e, x, p);
  c.value[0] = LLVMBuildFAdd(e->b, c.value[0], x, "");
  carry_end(e, &c);
  LVal one = emit_real(e->f32, w->sink ? 1 : 0);
  LVal before = LLVMBuildSelect(e->b, w->first, one, load_f32(e, 1, w->sum), "");
  store_f32(e, emit_fma(e, before, fix, fold(g, c.value[0], both_sum)), w->sum);
  store_f32(e, now, w->max);
  store_f32(e, fix, w->fix);
}

/* --- O = fix * O + Pt · V --- */

static void correct(Gen *g, Part *w) {
  Emitter *e = g->e;
  int v = lanes(g), nr = g->plan.value.nr;
  LLVMBasicBlockRef done = when_begin(e, LLVMBuildNot(e->b, w->first, ""));
  Loop i = loop_begin(e, i64_of(e, 0), w->n, 1);
  LVal fix = emit_splat(e, load_f32(e, 1, at_float(e, w->fix, i.i)), v);
  Loop p = loop_begin(e, i64_of(e, 0), i64_of(e, g->plan.value_panels), 1);
  LVal row = at_bytes(e, w->o, i64_add(e, i64_muli(e, p.i, (int64_t)g->width * nr * 4), i64_muli(e, i.i, nr * 4)));
  for (int x = 0; x < nr / v; x++) {
    LVal at = at_bytes(e, row, i64_of(e, x * v * 4));
    store_f32(e, LLVMBuildFMul(e->b, load_f32(e, v, at), fix, ""), at);
  }
  loop_end(e, &p);
  loop_end(e, &i);
  when_end(e, done);
}

/* The last columns of V, padded with zeros: reading a whole panel in place could leave the buffer. */
static void pack_values(Gen *g, Part *w, LVal from) {
  Emitter *e = g->e;
  int nr = g->plan.value.nr, width = (int)(g->t->dv % nr);
  Loop j = loop_begin(e, i64_of(e, 0), w->keys, 1);
  LVal src = at_bytes(e, from, i64_mul(e, j.i, w->v_row)), dst = at_bytes(e, w->v_pack, i64_muli(e, j.i, nr * 4));
  Loop c = loop_begin(e, i64_of(e, 0), i64_of(e, width), 1);
  store_f32(e, load_f32(e, 1, at_float(e, src, c.i)), at_float(e, dst, c.i));
  loop_end(e, &c);
  c = loop_begin(e, i64_of(e, width), i64_of(e, nr), 1);
  store_f32(e, emit_real(e->f32, 0), at_float(e, dst, c.i));
  loop_end(e, &c);
  loop_end(e, &j);
}

/* The rows of one panel of O by tiles. */
static void tiled_rows(Gen *g, Part *w, LVal o, LVal v, LVal v_row) {
  Emitter *e = g->e;
  Split s = split_rows(e, w->n, g->values.high);
  Loop t = loop_begin(e, i64_of(e, 0), s.tiles, 1);
  LVal row = split_first(e, &s, t.i);
  TileArgs x = {.a = at_float(e, w->s, row),
                .a_step = i64_of(e, g->single ? 4 : g->width * 4),
                .b = v,
                .b_step = v_row,
                .k = w->keys,
                .more = LLVMBuildNot(e->b, w->first, ""),
                .sums = at_bytes(e, o, i64_muli(e, row, g->plan.value.nr * 4))};
  tile_dispatch(e, &g->values, split_height(e, &s, t.i), &x);
  loop_end(e, &t);
}

/* The same key after key, in the same order, without the keys of weight 0. */
static void careful_rows(Gen *g, Part *w, LVal o, LVal v, LVal v_row) {
  Emitter *e = g->e;
  int n = lanes(g), vecs = g->plan.value.nr / n;
  LVal zero = emit_real(emit_vec(e->f32, n), 0);
  Loop i = loop_begin(e, i64_of(e, 0), w->n, 1);
  LVal row = at_bytes(e, o, i64_muli(e, i.i, g->plan.value.nr * 4));
  LLVMBasicBlockRef done = when_begin(e, w->first);
  for (int x = 0; x < vecs; x++)
    store_f32(e, zero, at_bytes(e, row, i64_of(e, x * n * 4)));
  when_end(e, done);
  Loop j = loop_begin(e, i64_of(e, 0), w->keys, 1);
  LVal p = load_f32(e, 1, at_float(e, at_bytes(e, w->s, i64_muli(e, j.i, g->single ? 4 : g->width * 4)), i.i));
  done = when_begin(e, LLVMBuildFCmp(e->b, LLVMRealUNE, p, emit_real(e->f32, 0), ""));
  for (int x = 0; x < vecs; x++) {
    LVal at = at_bytes(e, row, i64_of(e, x * n * 4)),
         y = at_bytes(e, at_bytes(e, v, i64_mul(e, j.i, v_row)), i64_of(e, x * n * 4));
    store_f32(e, emit_fma(e, emit_splat(e, p, n), load_f32(e, n, y), load_f32(e, n, at)), at);
  }
  when_end(e, done);
  loop_end(e, &j);
  loop_end(e, &i);
}

static void add_values(Gen *g, Part *w) {
  Emitter *e = g->e;
  int nr = g->plan.value.nr;
  LVal v_block = at_bytes(e, w->v, i64_mul(e, w->j0, w->v_row));
  Loop p = loop_begin(e, i64_of(e, 0), i64_of(e, g->plan.value_panels), 1);
  LVal v = at_bytes(e, v_block, i64_muli(e, p.i, nr * 4)), v_row = w->v_row;
  if (g->t->dv % nr) {
    LVal last = LLVMBuildICmp(e->b, LLVMIntEQ, p.i, i64_of(e, g->plan.value_panels - 1), "");
    LLVMBasicBlockRef done = when_begin(e, last);
    pack_values(g, w, v);
    when_end(e, done);
    v = LLVMBuildSelect(e->b, last, w->v_pack, v, "");
    v_row = LLVMBuildSelect(e->b, last, i64_of(e, nr * 4), v_row, "");
  }
  LVal o = at_bytes(e, w->o, i64_muli(e, p.i, (int64_t)g->width * nr * 4));
  if (w->careful) {
    LLVMBasicBlockRef done = when_begin(e, w->careful);
    careful_rows(g, w, o, v, v_row);
    when_end(e, done);
    done = when_begin(e, LLVMBuildNot(e->b, w->careful, ""));
    tiled_rows(g, w, o, v, v_row);
    when_end(e, done);
  } else {
    tiled_rows(g, w, o, v, v_row);
  }
  loop_end(e, &p);
}

/* Is something in O not finite? 0 times it is NaN then; the corrections are not needed any more and keep the sum. */
static LVal not_finite(Gen *g, const Part *part) {
  Emitter *e = g->e;
  int v = lanes(g), nr = g->plan.value.nr;
  LVal zero = emit_real(emit_vec(e->f32, v), 0), fix = part->fix;
  store_f32(e, zero, fix);
  Loop s = loop_begin(e, i64_of(e, 0), part->groups, 1);
  Part group = group_of(g, part, s.i), *w = &group;
  Loop p = loop_begin(e, i64_of(e, 0), i64_of(e, g->plan.value_panels), 1);
  Loop i = loop_begin(e, i64_of(e, 0), w->n, 1);
  LVal row = at_bytes(e, w->o, i64_add(e, i64_muli(e, p.i, (int64_t)g->width * nr * 4), i64_muli(e, i.i, nr * 4)));
  LVal sum = load_f32(e, v, fix);
  for (int x = 0; x < nr / v; x++)
    sum = emit_fma(e, load_f32(e, v, at_bytes(e, row, i64_of(e, x * v * 4))), zero, sum);
  store_f32(e, sum, fix);
  loop_end(e, &i);
  loop_end(e, &p);
  loop_end(e, &s);
  LVal all = fold(g, load_f32(e, v, fix), both_sum);
  return LLVMBuildFCmp(e->b, LLVMRealUNO, all, all, "");
}

/* --- the end: O / l --- */

static void store_rows(Gen *g, Part *w, LVal seen) {
  Emitter *e = g->e;
  int v = lanes(g), nr = g->plan.value.nr;
  Loop i = loop_begin(e, i64_of(e, 0), w->n, 1);
  LVal l = load_f32(e, 1, at_float(e, w->sum, i.i));
  l = LLVMBuildSelect(e->b, seen, l, emit_real(e->f32, 0), "");
  LVal none = LLVMBuildFCmp(e->b, LLVMRealOEQ, l, emit_real(e->f32, 0), "");
  LVal inverse = emit_splat(e, LLVMBuildFDiv(e->b, emit_real(e->f32, 1), l, ""), v);
  LVal empty = emit_real(emit_vec(e->f32, v), g->t->zero_rows ? 0 : NAN),
       to = at_bytes(e, w->out, i64_mul(e, i.i, w->out_row));
  for (int64_t c = 0; c < g->t->dv; c += v) {
    LVal from = at_bytes(e, w->o, i64_add(e, i64_of(e, c / nr * g->width * nr * 4), i64_muli(e, i.i, nr * 4)));
    LVal x = load_f32(e, v, at_bytes(e, from, i64_of(e, c % nr * 4)));
    x = emit_select(e, none, empty, LLVMBuildFMul(e->b, x, inverse, ""));
    LVal p = at_bytes(e, to, i64_of(e, c * 4));
    if (c + v <= g->t->dv) {
      store_f32(e, x, p);
    } else {
      LVal mask =
          LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->i32, v), emit_int(emit_vec(e->i32, v), g->t->dv - c), "");
      emit_masked_store(e, x, p, mask, 4);
    }
  }
  loop_end(e, &i);
}

/* --- functions --- */

/* What stands between the two is done, and, when that is asked for, once more with w->careful set. */
static LLVMBasicBlockRef again_begin(Emitter *e, Part *w) {
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), head = emit_block(e, "again");
  LVal no = emit_int(e->i1, 0);
  LLVMBuildBr(e->b, head);
  LLVMPositionBuilderAtEnd(e->b, head);
  w->careful = LLVMBuildPhi(e->b, e->i1, "careful");
  LLVMAddIncoming(w->careful, &no, &before, 1);
  return head;
}

static void again_end(Emitter *e, Part *w, LLVMBasicBlockRef head, LVal wanted) {
  LVal yes = emit_int(e->i1, 1), more = LLVMBuildAnd(e->b, LLVMBuildNot(e->b, w->careful, ""), wanted, "");
  LLVMBasicBlockRef last = LLVMGetInsertBlock(e->b), done = emit_block(e, "enough");
  LLVMAddIncoming(w->careful, &yes, &last, 1);
  LLVMBuildCondBr(e->b, more, head, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static Status score_kernels(Gen *g, int rows) {
  TileKernel like = {.vecs = g->width / lanes(g),
                     .lanes = lanes(g),
                     .unroll = g->plan.level->unroll,
                     .a_step = 4,
                     .b_step = g->width * 4};
  g->scores = (TileSet){.kernel = arena_array(g->e->a, TileKernel, (size_t)rows), .low = 1, .high = rows};
  for (int r = 1; r <= rows; r += rows > 1 ? rows - 1 : 1) {
    g->scores.kernel[r - 1] = like, g->scores.kernel[r - 1].rows = r;
    TRY(tile_kernel(g->e, &g->scores.kernel[r - 1]));
  }
  return ST_OK;
}

/* Blocks are about even, and whole tiles of scores. */
static LVal block_of_keys(Gen *g, LVal keys, LVal blocks) {
  Emitter *e = g->e;
  LVal one = i64_of(e, 1), some = LLVMBuildSelect(e->b, i64_less(e, blocks, one), one, blocks, "");
  LVal even = i64_ceildiv(e, keys, some), tile = i64_of(e, g->single ? lanes(g) : g->scores.high);
  return i64_min(e, i64_mul(e, i64_ceildiv(e, even, tile), tile), i64_of(e, g->plan.keys));
}

/* What a block of keys adds to a group. Beyond the first block, which begins the sums, those that the group does not see are left out. */
static Status add_block(Gen *g, Part *w) {
  Emitter *e = g->e;
  bool some = positions(g) && !g->single;
  LVal j1 = i64_min(e, w->j1, w->end), none = i64_less(e, j1, i64_add(e, w->j0, i64_of(e, 1)));
  LVal unseen = LLVMBuildOr(e->b, none, i64_less(e, w->j1, i64_add(e, w->begin, i64_of(e, 1))), "");
  LLVMBasicBlockRef done = some ? when_begin(e, LLVMBuildOr(e->b, w->first, LLVMBuildNot(e->b, unseen, ""), "")) : NULL;
  w->keys = LLVMBuildSelect(e->b, none, i64_of(e, 1), i64_sub(e, j1, w->j0), "");
  if (g->single) {
    Mask m;
    TRY(find_mask(g, w, &m));
    single_scores(g, w, &m);
    single_softmax(g, w);
  } else {
    make_scores(g, w);
    TRY(softmax_block(g, w));
  }
  correct(g, w);
  add_values(g, w);
  if (done)
    when_end(e, done);
  return ST_OK;
}

/* int attend(args, b, h, i0, n): queries of one head, up to `groups` of `width` of them, of the narrow tile's width one group. */
static Status make_attend(Gen *g, const char *name, int width, ProductTile tile, LVal *fn, LType *type) {
  Emitter *e = g->e;
  const Attention *t = g->t;
  const AttentionPlan *plan = &g->plan;
  LType param[] = {e->ptr, e->i64, e->i64, e->i64, e->i64};
  g->width = width;
  if (!g->single)
    TRY(score_kernels(g, tile.mr < 8 ? tile.mr : 8));
  TRY(tile_set(e, &g->values, 1,
               g->single                ? 1
               : plan->value.mr < width ? plan->value.mr
                                        : width,
               (TileKernel){.vecs = plan->value.nr / lanes(g), .lanes = lanes(g), .unroll = 1, .a_row = 4}));
  *type = LLVMFunctionType(e->i32, param, countof(param), 0);
  *fn = function_begin(e, name, e->i32, param, countof(param));
  g->args = args_of(e, *fn);
  TRY(dim_value(e, &g->args, t->q_len, g->dim, g->ndim, &g->q_len));
  TRY(dim_value(e, &g->args, t->kv_len, g->dim, g->ndim, &g->kv_len));
  TRY(dim_value(e, &g->args, t->k_rows ? t->k_rows : t->kv_len, g->dim, g->ndim, &g->k_rows));
  TRY(dim_value(e, &g->args, t->v_rows ? t->v_rows : t->kv_len, g->dim, g->ndim, &g->v_rows));
  Part w = {
      .b = LLVMGetParam(*fn, 1), .h = LLVMGetParam(*fn, 2), .i0 = LLVMGetParam(*fn, 3), .n = LLVMGetParam(*fn, 4)};
  LVal scratch = g->args.scratch, kh = i64_div(e, w.h, i64_of(e, t->heads / t->kv_heads));
  w.q = head_of(g, 0, t->q_split, w.b, w.h, t->heads, g->q_len, t->dk, &w.q_row);
  w.k = head_of(g, 1, t->kv_split, w.b, kh, t->kv_heads, g->k_rows, t->dk, &w.k_row);
  w.v = head_of(g, 2, t->kv_split, w.b, kh, t->kv_heads, g->v_rows, t->dv, &w.v_row);
  uint32_t more = t->mask == DT_none ? 3 : 4; /* buffers behind Q, K, V and the mask */
  if (t->sink)
    w.sink = LLVMBuildFMul(e->b, load_f32(e, 1, at_float(e, emit_arg_buf(e, &g->args, more++), w.h)),
                           emit_real(e->f32, LOG2E), "");
  w.out = head_of(g, more, t->out_split, w.b, w.h, t->heads, g->q_len, t->dv, &w.out_row);
  w.q = settled(e, at_bytes(e, w.q, i64_mul(e, w.i0, w.q_row)));
  w.out = settled(e, at_bytes(e, w.out, i64_mul(e, w.i0, w.out_row)));
  w.qt = at_bytes(e, scratch, i64_of(e, plan->qt)), w.s = at_bytes(e, scratch, i64_of(e, plan->s));
  w.max = at_bytes(e, scratch, i64_of(e, plan->stats)), w.sum = at_bytes(e, w.max, i64_of(e, width * 4));
  w.fix = at_bytes(e, w.sum, i64_of(e, width * 4)), w.o = at_bytes(e, scratch, i64_of(e, plan->o));
  w.v_pack = at_bytes(e, scratch, i64_of(e, plan->v));
  w.offset = i64_sub(e, g->kv_len, g->q_len);
  w.groups = width > plan->narrow.nr ? i64_ceildiv(e, w.n, i64_of(e, width)) : i64_of(e, 1);
  LVal zero = i64_of(e, 0), one = i64_of(e, 1);
  Part first = group_of(g, &w, zero), last = group_of(g, &w, i64_sub(e, w.groups, one));
  LVal begin = first.begin, end = last.end;
  Loop s = loop_begin(e, zero, w.groups, 1);
  Part group = group_of(g, &w, s.i);
  (g->single ? single_query : pack_queries)(g, &group);
  loop_end(e, &s);
  bool masked = t->mask != DT_none || (positions(g) && !g->single);
  LLVMBasicBlockRef again = masked ? again_begin(e, &w) : NULL;
  LVal all = LLVMBuildSelect(e->b, i64_less(e, begin, end), i64_sub(e, end, begin), zero, "");
  LVal blocks = i64_ceildiv(e, all, i64_of(e, plan->keys)), size = block_of_keys(g, all, blocks);
  Loop j = loop_begin(e, zero, blocks, 1);
  w.j0 = i64_add(e, begin, i64_mul(e, j.i, size)), w.j1 = i64_min(e, end, i64_add(e, w.j0, size));
  w.first = LLVMBuildICmp(e->b, LLVMIntEQ, j.i, zero, "");
  s = loop_begin(e, zero, w.groups, 1);
  group = group_of(g, &w, s.i);
  TRY(add_block(g, &group));
  loop_end(e, &s);
  loop_end(e, &j);
  if (masked)
    again_end(e, &w, again, not_finite(g, &w));
  s = loop_begin(e, zero, w.groups, 1);
  group = group_of(g, &w, s.i);
  store_rows(g, &group, LLVMBuildICmp(e->b, LLVMIntSGT, end, begin, ""));
  loop_end(e, &s);
  LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
  return ST_OK;
}

/* The ways through a part that q_len can ask for. A single query is worth a form of its own where keys come from
 * elsewhere, a cache above all: where queries and keys are one sequence, one query has one key. */
typedef struct Forms {
  bool wide, narrow, single;
} Forms;

static Forms forms_of(const Gen *g) {
  int64_t n, many = g->plan.wide.nr, few = g->plan.narrow.nr;
  bool single = has_single(g) && g->t->q_len != g->t->kv_len;
  if (!dim_is_const(g->t->q_len, &n))
    return (Forms){true, true, single};
  int64_t rest = n % many, last = rest % few;
  bool some = rest > 0 && rest <= many / 2;
  Forms f = {.wide = n >= many || rest > many / 2, .single = some && last == 1 && single};
  f.narrow = (some && (rest >= few || last > 1 || !f.single)) || (!f.wide && !f.single);
  return f;
}

Status emit_attention_unit(Emitter *e, const Unit *u, const char *name) {
  const Attention *t = &u->attention;
  Gen g = {.e = e, .t = t, .name = name, .plan = attention_plan(t, e->target->cpu_level)};
  LVal wide = NULL, narrow = NULL, one = NULL, q_len, zero = i64_of(e, 0);
  LType type = NULL;
  if (g.plan.level->lanes * 32 != e->bits)
    return fail(e->c, ST_INTERNAL, "the tile table of %s is not of the vector width of its target",
                g.plan.level->level);
  if (t->heads < 1 || t->kv_heads < 1 || t->heads % t->kv_heads || t->dk < 1 || t->dv < 1 || t->dk > 4096 ||
      t->dv > 4096)
    return fail(e->c, ST_UNSUPPORTED, "%s: %lld heads of %lld and %lld, %lld of keys and values", name,
                (long long)t->heads, (long long)t->dk, (long long)t->dv, (long long)t->kv_heads);
  if (t->mask != DT_none && t->mask != DT_f32 && t->mask != DT_bool)
    return fail(e->c, ST_UNSUPPORTED, "%s: a mask of %s", name, dtype_name(t->mask));
  unit_signature(e->a, u, &g.dim, &g.ndim);
  int many = g.plan.wide.nr, few = g.plan.narrow.nr;
  Forms f = forms_of(&g);
  if (f.wide)
    TRY(make_attend(&g, arena_printf(e->a, "%s.wide", name), many, g.plan.wide, &wide, &type));
  if (f.narrow)
    TRY(make_attend(&g, arena_printf(e->a, "%s.narrow", name), few, g.plan.narrow, &narrow, &type));
  g.single = f.single;
  if (f.single)
    TRY(make_attend(&g, arena_printf(e->a, "%s.single", name), few, g.plan.narrow, &one, &type));
  narrow = narrow ? narrow : wide ? wide : one; /* what is not there is never called, or does as well */
  wide = wide ? wide : narrow, one = one ? one : narrow;
  g.args = emit_function(e, name);
  TRY(dim_value(e, &g.args, t->q_len, g.dim, g.ndim, &q_len));
  LVal groups = i64_ceildiv(e, q_len, i64_of(e, many)), most = i64_of(e, g.plan.groups);
  LVal blocks = i64_ceildiv(e, groups, most), least = i64_min(e, groups, most); /* as attention_schedule says */
  blocks = LLVMBuildSelect(e->b, i64_less(e, blocks, least), least, blocks, "");
  Loop p = loop_begin(e, g.args.begin, g.args.end, 1);
  emit_poll(e, &g.args);
  LVal group0, group1, rest = i64_div(e, p.i, blocks), arg0 = LLVMGetParam(g.args.fn, 0);
  even_share(e, i64_rem(e, p.i, blocks), blocks, groups, &group0, &group1);
  LVal h = i64_rem(e, rest, i64_of(e, t->heads)), b = i64_div(e, rest, i64_of(e, t->heads));
  LVal i0 = i64_muli(e, group0, many), n = i64_sub(e, i64_min(e, q_len, i64_muli(e, group1, many)), i0);
  LVal over = i64_rem(e, n, i64_of(e, many)); /* few ones are left to the narrow form */
  LVal wide_n = LLVMBuildSelect(e->b, i64_less(e, i64_of(e, many / 2), over), n, i64_sub(e, n, over), "");
  LLVMBasicBlockRef done = when_begin(e, i64_less(e, zero, wide_n));
  LLVMBuildCall2(e->b, type, wide, (LVal[]){arg0, b, h, i0, wide_n}, 5, "");
  when_end(e, done);
  Loop l = loop_begin(e, wide_n, n, few);
  LVal left = i64_min(e, i64_sub(e, n, l.i), i64_of(e, few));
  LVal lone = LLVMBuildICmp(e->b, LLVMIntEQ, left, i64_of(e, 1), "");
  LLVMBuildCall2(e->b, type, LLVMBuildSelect(e->b, lone, one, narrow, ""),
                 (LVal[]){arg0, b, h, i64_add(e, i0, l.i), left}, 5, "");
  loop_end(e, &l);
  loop_end(e, &p);
  LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
  return ST_OK;
}
