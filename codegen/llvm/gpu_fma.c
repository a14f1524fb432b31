/* gpu_fma.c - attention in f32: 16 x 8 threads, or 16 x 16, each with every 8th (16th) row and every 16th key or column.
 *
 *   shared memory:  Q [rows][slice], K [keys][slice], a slice of the head's size at a time; the same memory V [some keys][dv];
 *                   P [rows][keys]. Rows of Q, K and P are 4 elements apart from each other: what threads side by side read
 *                   lies in different banks
 *   registers:      S, O
 *
 * Of Q and K a thread reads 4 elements along the slice at once: for 8 rows and 4 keys 12 reads for 128 multiplications and additions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_attention.h"

enum { ACROSS = 16, SLICE = 32, APART = 4, BYTES = 4, VALUES = 16 << 10 };

static int rows_apart(const Ga *g) { return g->stage->threads / ACROSS; } /* of a thread */
static int slice(const Ga *g) { return g->t->dk >= SLICE ? SLICE : (int)((g->t->dk + 3) / 4 * 4); }
static int slice_row(const Ga *g) { return (slice(g) + APART) * BYTES; }
static int k_at(const Ga *g) { return g->stage->rows * slice_row(g); }
static int columns(const Ga *g) { return (g->t->gpu->width + ACROSS - 1) / ACROSS; } /* of O, of a thread */
static int v_row(const Ga *g) { return columns(g) * ACROSS * BYTES; }
static int p_row(const Ga *g) { return (g->stage->keys + APART) * BYTES; }

/* Keys whose values are in shared memory at a time: a power of 2. */
static int value_keys(const Ga *g) {
  int n = g->stage->keys;
  while (n * v_row(g) > VALUES)
    n /= 2;
  return n;
}

static int p_at(const Ga *g) {
  int scores = k_at(g) + g->stage->keys * slice_row(g), values = value_keys(g) * v_row(g);
  return scores > values ? scores : values;
}

int64_t ga_fma_shared(const Ga *g) { return p_at(g) + g->stage->rows * p_row(g); }

/* Columns of O that a thread has side by side. */
static int beside(const Ga *g) { return columns(g) % 4 == 0 ? 4 : columns(g) % 2 == 0 ? 2 : 1; }

static LVal add(Ga *g, LVal a, LVal b) { return LLVMBuildAdd(g->e->b, a, b, ""); }
static LVal muli(Ga *g, LVal a, int64_t k) { return LLVMBuildMul(g->e->b, a, ga_i32(g, k), ""); }
static LVal across(Ga *g) { return LLVMBuildAnd(g->e->b, g->thread, ga_i32(g, ACROSS - 1), ""); }
static LVal down(Ga *g) { return LLVMBuildLShr(g->e->b, g->thread, ga_i32(g, 4), ""); }

void ga_fma_setup(Ga *g) {
  Emitter *e = g->e;
  int side = beside(g);
  g->nrow = g->stage->rows / rows_apart(g), g->ncol = g->stage->keys / ACROSS, g->nsum = columns(g), g->span = ACROSS;
  for (int i = 0; i < g->ncol; i++)
    g->column[i] = add(g, across(g), ga_i32(g, i * ACROSS));
  for (int i = 0; i < g->nsum; i++)
    g->sum_column[i] = add(g, muli(g, across(g), side), ga_i32(g, i / side * side * ACROSS + i % side));
  for (int r = 0; r < g->nrow; r++) {
    g->row[r].number = add(g, down(g), ga_i32(g, r * rows_apart(g)));
    for (int i = 0; i < g->ncol; i++)
      g->scores[r][i] = ga_variable(g, e->f32);
    for (int i = 0; i < g->nsum; i++)
      g->sum[r][i] = ga_variable(g, e->f32);
  }
}

static LVal vector(Ga *g, LVal at, int n) {
  LVal v = LLVMBuildLoad2(g->e->b, emit_vec(g->e->f32, n), at, "");
  LLVMSetAlignment(v, (unsigned)(n * BYTES));
  return v;
}

static LVal lane(Ga *g, LVal v, int i) {
  return emit_lanes(v) == 1 ? v : LLVMBuildExtractElement(g->e->b, v, emit_int(g->e->i32, i), "");
}

static void arrived(Ga *g) {
  ptx_copies_end(g->e);
  ptx_copies_wait(g->e, 0);
  ptx_barrier(g->e);
}

static LVal rows_left(Ga *g, LVal from, int most) {
  LVal left = i64_sub(g->e, g->to, from);
  return LLVMBuildTrunc(g->e->b, i64_min(g->e, left, i64_of(g->e, most)), g->e->i32, "");
}

/* One slice of Q and K, columns d0 and on. */
static void copy_slice(Ga *g, LVal j0, LVal d0) {
  Emitter *e = g->e;
  LVal first = LLVMBuildTrunc(e->b, d0, e->i32, "");
  GaCopy q = {.to = ga_i32(g, 0),
              .to_row = slice_row(g),
              .rows = g->stage->rows,
              .width = slice(g),
              .limit = ga_i32(g, g->stage->rows),
              .first = first,
              .dims = g->t->dk};
  GaCopy k = q;
  k.to = ga_i32(g, k_at(g)), k.rows = g->stage->keys;
  k.from = at_bytes(e, g->k, i64_mul(e, j0, g->k_row)), k.row = g->k_row;
  k.limit = rows_left(g, j0, g->stage->keys);
  ga_copy(g, &q);
  ga_copy(g, &k);
}

/* S += Q K^T of the slice that is there. */
static void slice_scores(Ga *g) {
  Emitter *e = g->e;
  LVal q_at = ga_shared(g, muli(g, down(g), slice_row(g)));
  LVal k_from = ga_shared(g, add(g, ga_i32(g, k_at(g)), muli(g, across(g), slice_row(g))));
  Loop d = loop_begin(e, i64_of(e, 0), i64_of(e, slice(g) * BYTES), 4 * BYTES);
  LVal q[GA_ROWS], k[GA_COLUMNS];
  for (int r = 0; r < g->nrow; r++)
    q[r] = vector(g, at_bytes(e, at_bytes(e, q_at, d.i), ga_i32(g, r * rows_apart(g) * slice_row(g))), 4);
  for (int c = 0; c < g->ncol; c++)
    k[c] = vector(g, at_bytes(e, at_bytes(e, k_from, d.i), ga_i32(g, c * ACROSS * slice_row(g))), 4);
  for (int r = 0; r < g->nrow; r++)
    for (int c = 0; c < g->ncol; c++) {
      LVal s = ga_get(g, e->f32, g->scores[r][c]);
      for (int x = 0; x < 4; x++)
        s = emit_fma(e, lane(g, q[r], x), lane(g, k[c], x), s);
      ga_set(g, g->scores[r][c], s);
    }
  loop_end(e, &d);
}

static void scores(Ga *g, LVal j0) {
  Emitter *e = g->e;
  for (int r = 0; r < g->nrow; r++)
    for (int c = 0; c < g->ncol; c++)
      ga_set(g, g->scores[r][c], emit_real(e->f32, 0));
  Loop d = loop_begin(e, i64_of(e, 0), i64_of(e, g->t->dk), slice(g));
  ptx_barrier(e);
  copy_slice(g, j0, d.i);
  arrived(g);
  slice_scores(g);
  loop_end(e, &d);
  for (int r = 0; r < g->nrow; r++)
    for (int c = 0; c < g->ncol; c++)
      g->score[r][c] = ga_get(g, e->f32, g->scores[r][c]);
}

static void store_weights(Ga *g) {
  Emitter *e = g->e;
  for (int r = 0; r < g->nrow; r++)
    for (int c = 0; c < g->ncol; c++) {
      LVal at = add(g, muli(g, g->row[r].number, p_row(g)), muli(g, g->column[c], BYTES));
      store_f32(e, g->score[r][c], ga_shared(g, add(g, at, ga_i32(g, p_at(g)))));
    }
}

/* O += P V of the keys from v0 of the tile on, whose values are there. */
static void slice_values(Ga *g, LVal v0) {
  Emitter *e = g->e;
  int side = beside(g);
  LVal p_from = ga_shared(g, add(g, ga_i32(g, p_at(g)), muli(g, down(g), p_row(g))));
  LVal v_from = ga_shared(g, muli(g, across(g), side * BYTES));
  Loop j = loop_begin(e, i64_of(e, 0), i64_of(e, value_keys(g)), 4);
  LVal p[GA_ROWS], p_at_j = at_bytes(e, p_from, i64_muli(e, i64_add(e, v0, j.i), BYTES));
  LVal v_at_j = at_bytes(e, v_from, i64_muli(e, j.i, v_row(g)));
  for (int r = 0; r < g->nrow; r++)
    p[r] = vector(g, at_bytes(e, p_at_j, ga_i32(g, r * rows_apart(g) * p_row(g))), 4);
  for (int x = 0; x < 4; x++)
    for (int c = 0; c < g->nsum; c += side) {
      LVal v = vector(g, at_bytes(e, v_at_j, ga_i32(g, x * v_row(g) + c * ACROSS * BYTES)), side);
      for (int r = 0; r < g->nrow; r++)
        for (int i = 0; i < side; i++) {
          LVal sum = ga_get(g, e->f32, g->sum[r][c + i]);
          ga_set(g, g->sum[r][c + i], emit_fma(e, lane(g, p[r], x), lane(g, v, i), sum));
        }
    }
  loop_end(e, &j);
}

static void add_values(Ga *g, LVal j0) {
  Emitter *e = g->e;
  LVal keys = i64_min(e, i64_sub(e, g->to, j0), i64_of(e, g->stage->keys));
  Loop v = loop_begin(e, i64_of(e, 0), keys, value_keys(g));
  LVal j = i64_add(e, j0, v.i);
  ptx_barrier(e);
  ga_copy(g, &(GaCopy){.to = ga_i32(g, 0),
                       .to_row = v_row(g),
                       .rows = value_keys(g),
                       .width = columns(g) * ACROSS,
                       .from = at_bytes(e, g->v, i64_mul(e, j, g->v_row)),
                       .row = g->v_row,
                       .limit = rows_left(g, j, value_keys(g)),
                       .first = g->column0,
                       .dims = g->t->dv});
  arrived(g);
  slice_values(g, v.i);
  loop_end(e, &v);
}

static Status keys(Ga *g) {
  Emitter *e = g->e;
  Loop j = loop_begin(e, g->from, g->to, g->stage->keys);
  scores(g, j.i);
  TRY(ga_softmax(g, j.i));
  if (g->turn != GA_STATISTICS) {
    store_weights(g);
    add_values(g, j.i);
  }
  loop_end(e, &j);
  return ST_OK;
}

Status ga_fma_part(Ga *g) { return ga_turns(g, keys); }
