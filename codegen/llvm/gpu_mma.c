/* gpu_mma.c - attention on tensor cores: a warp has 16 rows, of f16 or bf16.
 *
 *   shared memory:  K [keys][dk], V [keys][dv], rows padded to whole steps of 16 and 16 bytes apart from each other, so that the
 *                   eight rows of a matrix lie in different banks
 *   registers:      Q as operand A of S = Q K^T; S, whose layout is that of operand A of O += P V once it is rounded; O
 *
 * Many rows have P rounded to the type of V, few rows lose nothing.
 * While scores are worked out, V is on its way; while values are added, the next K is. Of heads above 256 elements a slice of K is there
 * at a time, and none on its way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_attention.h"

enum { STEP = 16, BYTES = 2, APART = 16, KEPT = 320 };

static int padded(int64_t n) { return (int)((n + STEP - 1) / STEP * STEP); }
static int row_bytes(int64_t d) { return padded(d) * BYTES + APART; }
/* Columns of K in shared memory at a time. */
static int64_t slice(const Ga *g) { return g->t->dk < GPU_ATTENTION_COLUMNS ? g->t->dk : GPU_ATTENTION_COLUMNS; }
static bool sliced(const Ga *g) { return g->t->dk > GPU_ATTENTION_COLUMNS; }
static int v_at(const Ga *g) { return g->stage->keys * row_bytes(slice(g)); }

int64_t ga_mma_shared(const Ga *g) { return v_at(g) + g->stage->keys * row_bytes(g->t->gpu->width); }

/* Few rows are bound by memory: P is two numbers of 16 bits then, which together are as good as f32. */
static bool precise(const Ga *g) { return g->stage->form == GA_FEW; }

static LVal add(Ga *g, LVal a, LVal b) { return LLVMBuildAdd(g->e->b, a, b, ""); }
static LVal muli(Ga *g, LVal a, int64_t k) { return LLVMBuildMul(g->e->b, a, ga_i32(g, k), ""); }
static LVal bit(Ga *g, LVal a, int from, int mask) {
  return LLVMBuildAnd(g->e->b, LLVMBuildLShr(g->e->b, a, ga_i32(g, from), ""), ga_i32(g, mask), "");
}

/* Large heads leave no registers for Q: it is read again for each tile of keys. */
static bool keeps_queries(const Ga *g) {
  return !sliced(g) && !g->t->gpu->twice && g->t->dk + g->t->gpu->width <= KEPT;
}

void ga_mma_setup(Ga *g) {
  Emitter *e = g->e;
  LVal pair = muli(g, bit(g, g->lane, 0, 3), 2), first = add(g, muli(g, g->warp, STEP), bit(g, g->lane, 2, 7));
  g->nrow = 2, g->span = 4;
  g->row[0].number = first, g->row[1].number = add(g, first, ga_i32(g, 8));
  g->ncol = g->stage->keys / 4, g->nsum = padded(g->t->gpu->width) / 4;
  for (int i = 0; i < g->ncol; i++)
    g->column[i] = add(g, pair, ga_i32(g, i / 2 * 8 + i % 2));
  for (int i = 0; i < g->nsum; i++)
    g->sum_column[i] = add(g, pair, ga_i32(g, i / 2 * 8 + i % 2));
  for (int r = 0; r < 2; r++)
    for (int i = 0; i < g->nsum; i++)
      g->sum[r][i] = ga_variable(g, e->f32);
  for (int i = 0; keeps_queries(g) && i < padded(g->t->dk) / STEP; i++)
    for (int x = 0; x < 4; x++)
      g->query[i][x] = ga_variable(g, e->i32);
}

/* --- Q --- */

/* Elements c and c + 1 of a row, c even; zeros behind its end. */
static LVal two(Ga *g, LVal row, LVal c) {
  Emitter *e = g->e;
  LVal dims = ga_i32(g, g->t->dk), zero = ga_i32(g, 0), part[2];
  bool whole = g->t->dk % (sliced(g) ? slice(g) : STEP) == 0;
  LVal in = LLVMBuildICmp(e->b, LLVMIntSLT, c, dims, "");
  if (g->t->dk % 2 == 0) {
    LVal at = whole ? c : LLVMBuildSelect(e->b, in, c, zero, "");
    LVal v = LLVMBuildLoad2(e->b, e->i32, at_bytes(e, row, LLVMBuildSExt(e->b, muli(g, at, BYTES), e->i64, "")), "");
    LLVMSetAlignment(v, 4);
    return whole ? v : LLVMBuildSelect(e->b, in, v, zero, "");
  }
  for (int i = 0; i < 2; i++) {
    LVal at = add(g, c, ga_i32(g, i));
    in = LLVMBuildICmp(e->b, LLVMIntSLT, at, dims, "");
    at = LLVMBuildSelect(e->b, in, at, zero, "");
    LVal v = LLVMBuildLoad2(e->b, e->i16, at_bytes(e, row, LLVMBuildSExt(e->b, muli(g, at, BYTES), e->i64, "")), "");
    LLVMSetAlignment(v, 2);
    part[i] = LLVMBuildSelect(e->b, in, LLVMBuildZExt(e->b, v, e->i32, ""), zero, "");
  }
  return LLVMBuildOr(e->b, part[0], LLVMBuildShl(e->b, part[1], ga_i32(g, 16), ""), "");
}

/* Operand A of the i-th 16 columns from d0 (i32; NULL: 0) on, from rows at row[2]. */
static void query_step(Ga *g, LVal const row[2], LVal d0, int i, LVal a[4]) {
  LVal pair = muli(g, bit(g, g->lane, 0, 3), 2);
  pair = d0 ? add(g, pair, d0) : pair;
  for (int x = 0; x < 4; x++)
    a[x] = two(g, row[x % 2], add(g, pair, ga_i32(g, i * STEP + x / 2 * 8)));
}

static void load_queries(Ga *g) {
  LVal a[4];
  g->query_row[0] = ga_query_row(g, g->row[0].number), g->query_row[1] = ga_query_row(g, g->row[1].number);
  for (int i = 0; keeps_queries(g) && i < padded(g->t->dk) / STEP; i++) {
    query_step(g, g->query_row, NULL, i, a);
    for (int x = 0; x < 4; x++)
      ga_set(g, g->query[i][x], a[x]);
  }
}

/* --- tiles --- */

/* Of keys j0 and on: the columns of V that the part has, or of K from d0 (i32; NULL: 0) on. */
static void copy_keys(Ga *g, LVal j0, bool values, LVal d0) {
  Emitter *e = g->e;
  int64_t d = values ? g->t->gpu->width : slice(g);
  LVal row = values ? g->v_row : g->k_row, left = i64_sub(e, g->to, j0);
  ga_copy(g, &(GaCopy){.to = ga_i32(g, values ? v_at(g) : 0),
                       .to_row = row_bytes(d),
                       .rows = g->stage->keys,
                       .width = padded(d),
                       .from = at_bytes(e, values ? g->v : g->k, i64_mul(e, j0, row)),
                       .row = row,
                       .limit = LLVMBuildTrunc(e->b, i64_min(e, left, i64_of(e, g->stage->keys)), e->i32, ""),
                       .first = values ? g->column0 : d0,
                       .dims = values ? g->t->dv : g->t->dk});
}

/* Of four 8 x 8 matrices in a tile of 16 x 16: this thread's row. across: the second one is to the right of the first. */
static LVal matrix_row(Ga *g, int row_size, bool across) {
  LVal matrix = bit(g, g->lane, 3, 3), right = bit(g, matrix, across ? 0 : 1, 1),
       down = bit(g, matrix, across ? 1 : 0, 1);
  LVal row = add(g, bit(g, g->lane, 0, 7), muli(g, down, 8));
  return add(g, muli(g, row, row_size), muli(g, right, 8 * BYTES));
}

typedef LVal Scores[2 * GA_COLUMNS / 4][4];

/* S += Q K^T of the columns of K that are there. */
static void add_scores(Ga *g, LVal d0, Scores sum) {
  Emitter *e = g->e;
  int size = row_bytes(slice(g)), keys = g->stage->keys / STEP;
  LVal at = ga_shared(g, matrix_row(g, size, true)), r[4], a[4];
  for (int k = 0; k < padded(slice(g)) / STEP; k++) {
    for (int x = 0; keeps_queries(g) && x < 4; x++)
      a[x] = ga_get(g, e->i32, g->query[k][x]);
    if (!keeps_queries(g))
      query_step(g, g->query_row, d0, k, a);
    for (int n = 0; n < keys; n++) {
      ptx_matrices(e, at, n * STEP * size + k * STEP * BYTES, false, r);
      ptx_multiply(e, g->t->type, a, r, sum[2 * n]);
      ptx_multiply(e, g->t->type, a, r + 2, sum[2 * n + 1]);
    }
  }
}

static void set_scores(Ga *g, Scores sum) {
  for (int n = 0; n < g->stage->keys / 8; n++)
    for (int i = 0; i < 4; i++)
      g->score[i / 2][n * 2 + i % 2] = sum[n][i];
}

static void scores(Ga *g) {
  Scores sum;
  for (int i = 0; i < g->stage->keys / 2; i++)
    sum[i / 4][i % 4] = emit_real(g->e->f32, 0);
  add_scores(g, NULL, sum);
  set_scores(g, sum);
}

static void arrived(Ga *g) {
  ptx_copies_end(g->e);
  ptx_copies_wait(g->e, 0);
  ptx_barrier(g->e);
}

/* The same, with slices of K copied one after the other. */
static void slice_scores(Ga *g, LVal j0) {
  Emitter *e = g->e;
  int n = g->stage->keys / 2;
  Scores sum, kept;
  for (int i = 0; i < n; i++)
    kept[i / 4][i % 4] = ga_variable(g, e->f32), ga_set(g, kept[i / 4][i % 4], emit_real(e->f32, 0));
  Loop d = loop_begin(e, i64_of(e, 0), i64_of(e, g->t->dk), slice(g));
  LVal d0 = LLVMBuildTrunc(e->b, d.i, e->i32, "");
  copy_keys(g, j0, false, d0);
  arrived(g);
  for (int i = 0; i < n; i++)
    sum[i / 4][i % 4] = ga_get(g, e->f32, kept[i / 4][i % 4]);
  add_scores(g, d0, sum);
  for (int i = 0; i < n; i++)
    ga_set(g, kept[i / 4][i % 4], sum[i / 4][i % 4]);
  ptx_barrier(e);
  loop_end(e, &d);
  for (int i = 0; i < n; i++)
    sum[i / 4][i % 4] = ga_get(g, e->f32, kept[i / 4][i % 4]);
  set_scores(g, sum);
}

/* What is left of an f32 when it is rounded to half `high` of the pair. */
static LVal rest(Ga *g, LVal x, LVal pair, bool high) {
  Emitter *e = g->e;
  LVal bits = LLVMBuildTrunc(e->b, high ? bit(g, pair, 16, 0xffff) : pair, e->i16, "");
  LVal rounded = g->t->type == DT_f16 ? emit_f16_load(e, bits) : emit_bf16_load(e, bits);
  return LLVMBuildFSub(e->b, x, rounded, "");
}

/* P of 16 keys as operand A, and, where few rows leave tensor cores idle, what rounding took off it. */
static void weights(Ga *g, int k, LVal a[4], LVal more[4]) {
  Emitter *e = g->e;
  for (int x = 0; x < 4; x++) {
    LVal *p = &g->score[x % 2][k * 4 + x / 2 * 2];
    a[x] = ptx_pair(e, g->t->type, p[0], p[1]);
    if (precise(g))
      more[x] = ptx_pair(e, g->t->type, rest(g, p[0], a[x], false), rest(g, p[1], a[x], true));
  }
}

/* O += P V */
static void add_values(Ga *g) {
  Emitter *e = g->e;
  int size = row_bytes(g->t->gpu->width);
  LVal at = ga_shared(g, add(g, ga_i32(g, v_at(g)), matrix_row(g, size, false)));
  for (int k = 0; k < g->stage->keys / STEP; k++) {
    LVal a[4], more[4], r[4];
    weights(g, k, a, more);
    for (int n = 0; n < padded(g->t->gpu->width) / STEP; n++) {
      ptx_matrices(e, at, k * STEP * size + n * STEP * BYTES, true, r);
      for (int half = 0; half < 2; half++) {
        LVal sum[4];
        for (int i = 0; i < 4; i++)
          sum[i] = ga_get(g, e->f32, g->sum[i / 2][n * 4 + half * 2 + i % 2]);
        ptx_multiply(e, g->t->type, a, r + 2 * half, sum);
        if (precise(g))
          ptx_multiply(e, g->t->type, more, r + 2 * half, sum);
        for (int i = 0; i < 4; i++)
          ga_set(g, g->sum[i / 2][n * 4 + half * 2 + i % 2], sum[i]);
      }
    }
  }
}

/* Without slices: the tile's scores, while V, and then the next K, is on its way. */
static void piped_scores(Ga *g, LVal j0, bool values) {
  Emitter *e = g->e;
  ptx_copies_wait(e, values);
  ptx_barrier(e);
  scores(g);
  ptx_barrier(e);
  LVal next = i64_add(e, j0, i64_of(e, g->stage->keys));
  LLVMBasicBlockRef last = when_begin(e, i64_less(e, next, g->to));
  copy_keys(g, next, false, NULL);
  when_end(e, last);
  ptx_copies_end(e); /* a group even when there is no next tile: V is the last but one */
}

static Status keys(Ga *g) {
  Emitter *e = g->e;
  bool values = g->turn != GA_STATISTICS;
  LLVMBasicBlockRef none = when_begin(e, i64_less(e, g->from, g->to));
  if (!sliced(g)) {
    copy_keys(g, g->from, false, NULL);
    ptx_copies_end(e);
  }
  Loop j = loop_begin(e, g->from, g->to, g->stage->keys);
  if (values) {
    copy_keys(g, j.i, true, NULL);
    ptx_copies_end(e);
  }
  if (sliced(g))
    slice_scores(g, j.i);
  else
    piped_scores(g, j.i, values);
  TRY(ga_softmax(g, j.i));
  if (values) {
    ptx_copies_wait(e, !sliced(g));
    ptx_barrier(e);
    add_values(g);
    ptx_barrier(e);
  }
  loop_end(e, &j);
  when_end(e, none);
  return ST_OK;
}

Status ga_mma_part(Ga *g) {
  load_queries(g);
  ptx_barrier(g->e); /* the part before is done with the block's memory */
  return ga_turns(g, keys);
}
