/* gpu_rows.c - products of a few rows for GPUs: codegen/gpu_product.h says how the threads share the work.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_product.h"

#define B (g->e->b)

enum { WARPS = GPU_BLOCK / GPU_WARP, COLUMNS = 4, AHEAD = 2, BITS_STEPS = 8, SLICES = GPU_BLOCK / ROWS_LANES };
enum { ROWS_COLUMNS = 16 }; /* of a thread, at most */
_Static_assert((int)BITS_STEPS == (int)NARROW_STEPS, "lanes have as many steps of k of either");

/* A loop over a part's columns of B for a number of rows that the code has fixed. */
typedef struct Rows {
  Gp *g;
  GpOperand a, b;
  int rows;
  int columns;     /* of the block */
  LVal warp, lane; /* i32 */
  LVal col0;       /* i64 */
  GpRow at[PRODUCT_ROWS];
  LVal *sum; /* variables: of row i and column j of this thread at i * its columns + j */
  LVal scale[ROWS_COLUMNS], zero[ROWS_COLUMNS]; /* of a narrow B's columns, where they are the same for all k */
  LVal shared;
} Rows;

/* The rows of A; where there are fewer, the last one again. */
static void rows_begin(Rows *x) {
  Gp *g = x->g;
  Emitter *e = g->e;
  LVal last = i64_sub(e, g->m, i64_of(e, 1));
  for (int i = 0; i < x->rows; i++)
    x->at[i] = gp_row(g, &x->a, i64_min(e, i64_of(e, i), last));
}

static void clear(Rows *x, int n) {
  for (int i = 0; i < n; i++)
    gp_set(x->g, x->sum[i], LLVMConstNull(gp_sum(x->g)));
}

/* Steps k to k + n - 1 of row i of A. */
static void row_of_a(Rows *x, int i, LVal k, int n, LVal *v) {
  Gp *g = x->g;
  for (int j = 0; j < n; j += x->a.vector)
    gp_fetch(g, &x->a, &x->at[i], LLVMBuildAdd(B, k, gp_i32(g, j), ""), v + j);
}

/* The thread's own sums of all lanes that differ in the bits from `low` up. */
static LVal over_lanes(Gp *g, LVal v, int low) {
  for (int by = GPU_WARP / 2; by >= low; by /= 2)
    v = LLVMBuildFAdd(B, v, ptx_exchange(g->e, v, by), "");
  return v;
}

static Status finish(Rows *x) {
  GpBlock b = {x->shared, x->rows, x->columns, x->columns, i64_of(x->g->e, 0), i64_of(x->g->e, 0), x->col0};
  ptx_barrier(x->g->e);
  TRY(gp_epilogue(x->g, &b));
  ptx_barrier(x->g->e);
  return ST_OK;
}

/* --- narrow numbers --- */

static bool same_for_all_k(const Gp *g) { return g->p->narrow.type && !g->p->narrow.block; }

/* Of a column, before the loop over k. */
static void column_scales(Rows *x, int j, LVal number, LVal there) {
  Gp *g = x->g;
  LVal k = i64_of(g->e, 0);
  x->scale[j] = gp_narrow_scale(g, &x->b, number, k, there);
  x->zero[j] = gp_narrow_zero(g, &x->b, number, k, there);
}

static LVal less_zero(Gp *g, LVal v, LVal zero) { return zero ? LLVMBuildFSub(B, v, zero, "") : v; }

/* Column j's steps from k on; sums of them, then the scale. */
static void narrow_steps(Rows *x, const GpRow *column, int j, LVal k, LVal a[][BITS_STEPS]) {
  Gp *g = x->g;
  Emitter *e = g->e;
  LVal v[NARROW_STEPS], wide = gp_wide(g, k), scale = x->scale[j], zero = x->zero[j];
  LVal there = LLVMBuildAnd(B, column->there, i64_less(e, wide, g->k), "");
  gp_narrow(g, &x->b, i64_add(e, column->at, wide), there, v);
  if (!same_for_all_k(g)) {
    scale = gp_narrow_scale(g, &x->b, column->number, wide, there);
    zero = gp_narrow_zero(g, &x->b, column->number, wide, there);
  }
  scale = LLVMBuildSelect(B, there, scale, emit_real(e->f32, 0), ""); /* it may be infinite */
  for (int i = 0; i < NARROW_STEPS; i++)
    v[i] = less_zero(g, v[i], zero);
  for (int i = 0; i < x->rows; i++) {
    LVal own = LLVMBuildFMul(B, a[i][0], v[0], ""), to = x->sum[i * COLUMNS + j];
    for (int s = 1; s < NARROW_STEPS; s++)
      own = emit_fma(e, a[i][s], v[s], own);
    gp_set(g, to, emit_fma(e, own, scale, gp_get(g, to)));
  }
}

/* Step k of NARROW_STEPS columns side by side. */
static void narrow_columns(Rows *x, const GpRow *column, LVal k, LVal *v) {
  Gp *g = x->g;
  Emitter *e = g->e;
  LVal wide = gp_wide(g, k), there = LLVMBuildAnd(B, column->there, i64_less(e, wide, g->k), "");
  gp_narrow(g, &x->b, i64_add(e, column->at, i64_mul(e, wide, x->b.by_k)), there, v);
  for (int j = 0; j < NARROW_STEPS; j++) {
    if (same_for_all_k(g)) {
      v[j] = less_zero(g, v[j], x->zero[j]);
      continue;
    }
    LVal own = i64_add(e, column->number, i64_of(e, j));
    v[j] = less_zero(g, v[j], gp_narrow_zero(g, &x->b, own, wide, there));
    v[j] = LLVMBuildFMul(B, v[j], gp_narrow_scale(g, &x->b, own, wide, there), "");
  }
}

/* --- lanes along k --- */

/* Numbers of few bits: sums of a word's steps, then the block's scale. */
static void few_bits(Rows *x, const GpRow *column, LVal k, LVal a[][BITS_STEPS], LVal *sum) {
  Gp *g = x->g;
  Emitter *e = g->e;
  const ProductBits *f = &g->p->bits;
  int64_t blocks;
  dim_is_const(g->p->k, &blocks);
  blocks = (blocks - 1) / f->block + 1;
  LVal there = LLVMBuildAnd(B, column->there, i64_less(e, gp_wide(g, k), g->k), ""), word[2], v[BITS_STEPS * 2], scale,
       zero;
  LVal at = i64_add(e, i64_muli(e, column->at, blocks * f->block * f->bits / 8),
                    LLVMBuildLShr(B, i64_muli(e, gp_wide(g, k), f->bits), i64_of(e, 3), ""));
  gp_words(g, at_bytes(e, x->b.base, at), f->bits, there, word); /* 8 steps of so many bits are so many bytes */
  gp_scale(g, &x->b, column->at, i64_div(e, gp_wide(g, k), i64_of(e, f->block)), there, &scale, &zero);
  gp_numbers(g, f->bits, word[0], v);
  if (f->bits == 8)
    gp_numbers(g, f->bits, word[1], v + 4);
  for (int j = 0; j < BITS_STEPS; j++)
    v[j] = LLVMBuildFSub(B, v[j], zero, "");
  for (int i = 0; i < x->rows; i++) {
    LVal own = LLVMBuildFMul(B, a[i][0], v[0], "");
    for (int j = 1; j < BITS_STEPS; j++)
      own = emit_fma(e, a[i][j], v[j], own);
    LVal to = sum[i * COLUMNS];
    gp_set(g, to, emit_fma(e, own, scale, gp_get(g, to)));
  }
}

static void whole_numbers(Rows *x, const GpRow *column, LVal k, int steps, LVal a[][BITS_STEPS], LVal *sum) {
  Gp *g = x->g;
  LVal v[BITS_STEPS];
  for (int j = 0; j < steps; j += x->b.vector)
    gp_fetch(g, &x->b, column, LLVMBuildAdd(B, k, gp_i32(g, j), ""), v + j);
  for (int i = 0; i < x->rows; i++)
    for (int j = 0; j < steps; j++)
      gp_set(g, sum[i * COLUMNS], emit_fma(g->e, a[i][j], v[j], gp_get(g, sum[i * COLUMNS])));
}

static Status along_k(Rows *x) {
  Gp *g = x->g;
  Emitter *e = g->e;
  int each = x->columns / WARPS, steps = x->b.scale || g->p->type ? BITS_STEPS : 4;
  GpRow column[COLUMNS];
  LVal a[PRODUCT_ROWS][BITS_STEPS];
  LVal own = LLVMBuildMul(B, x->warp, gp_i32(g, each), "");
  for (int j = 0; j < each; j++)
    column[j] = gp_row(g, &x->b, i64_add(e, x->col0, gp_wide(g, LLVMBuildAdd(B, own, gp_i32(g, j), ""))));
  for (int j = 0; j < each && same_for_all_k(g); j++)
    column_scales(x, j, column[j].number, column[j].there);
  clear(x, x->rows * COLUMNS);
  Loop l = loop_begin(e, i64_of(e, 0), g->k, GPU_WARP * steps * AHEAD);
  for (int u = 0; u < AHEAD; u++) {
    LVal k = LLVMBuildTrunc(B, i64_add(e, l.i, i64_of(e, (int64_t)u * GPU_WARP * steps)), e->i32, "");
    k = LLVMBuildAdd(B, k, LLVMBuildMul(B, x->lane, gp_i32(g, steps), ""), "");
    for (int i = 0; i < x->rows; i++)
      row_of_a(x, i, k, steps, a[i]);
    for (int j = 0; j < each; j++)
      if (g->p->narrow.type)
        narrow_steps(x, &column[j], j, k, a);
      else if (x->b.scale)
        few_bits(x, &column[j], k, a, &x->sum[j]);
      else
        whole_numbers(x, &column[j], k, steps, a, &x->sum[j]);
  }
  loop_end(e, &l);
  LVal first = LLVMBuildIsNull(B, x->lane, ""), all[PRODUCT_ROWS * COLUMNS];
  for (int i = 0; i < x->rows; i++)
    for (int j = 0; j < each; j++)
      all[i * COLUMNS + j] = over_lanes(g, gp_get(g, x->sum[i * COLUMNS + j]), 1);
  LLVMBasicBlockRef done = when_begin(e, first);
  for (int i = 0; i < x->rows; i++)
    for (int j = 0; j < each; j++)
      LLVMBuildStore(B, all[i * COLUMNS + j],
                     gp_element(g, x->shared, LLVMBuildAdd(B, own, gp_i32(g, i * x->columns + j), "")));
  when_end(e, done);
  return finish(x);
}

/* --- lanes along columns --- */

/* What the warps have is in shared memory, warp after warp: its sum, which every thread makes of one element, goes in front. */
static Status over_warps(Rows *x) {
  Gp *g = x->g;
  Emitter *e = g->e;
  int n = x->rows * x->columns;
  ptx_barrier(e);
  LVal sum = gp_variable(g, emit_real(e->f32, 0));
  LVal mine = LLVMBuildICmp(B, LLVMIntULT, g->thread, gp_i32(g, n), "");
  LLVMBasicBlockRef done = when_begin(e, mine);
  for (int w = 0; w < WARPS; w++) {
    LVal at = gp_element(g, x->shared, LLVMBuildAdd(B, g->thread, gp_i32(g, w * n), ""));
    gp_set(g, sum, LLVMBuildFAdd(B, gp_get(g, sum), LLVMBuildLoad2(B, e->f32, at, ""), ""));
  }
  when_end(e, done);
  ptx_barrier(e);
  done = when_begin(e, mine);
  LLVMBuildStore(B, gp_get(g, sum), gp_element(g, x->shared, g->thread));
  when_end(e, done);
  return finish(x);
}

static Status along_columns(Rows *x) {
  Gp *g = x->g;
  Emitter *e = g->e;
  int each = x->columns / ROWS_LANES;
  LVal group = LLVMBuildURem(B, g->thread, gp_i32(g, ROWS_LANES), ""),
       slice = LLVMBuildUDiv(B, g->thread, gp_i32(g, ROWS_LANES), "");
  LVal own = LLVMBuildMul(B, group, gp_i32(g, each), ""), v[AHEAD][16], a[AHEAD][PRODUCT_ROWS];
  GpRow column[16];
  for (int j = 0; j < each; j += x->b.vector)
    column[j] = gp_row(g, &x->b, i64_add(e, x->col0, gp_wide(g, LLVMBuildAdd(B, own, gp_i32(g, j), ""))));
  for (int j = 0; j < each && same_for_all_k(g); j++)
    column_scales(x, j, i64_add(e, column[0].number, i64_of(e, j)), column[0].there);
  clear(x, x->rows * each);
  GpOperand single = x->a;
  single.vector = 1;
  Loop l = loop_begin(e, i64_of(e, 0), g->k, SLICES * AHEAD);
  for (int u = 0; u < AHEAD; u++) {
    LVal k = LLVMBuildAdd(B, LLVMBuildTrunc(B, l.i, e->i32, ""), LLVMBuildAdd(B, slice, gp_i32(g, u * SLICES), ""), "");
    if (g->p->narrow.type)
      narrow_columns(x, &column[0], k, v[u]);
    else
      for (int j = 0; j < each; j += x->b.vector)
        gp_fetch(g, &x->b, &column[j], k, v[u] + j);
    for (int i = 0; i < x->rows; i++)
      gp_fetch(g, &single, &x->at[i], k, &a[u][i]);
  }
  for (int u = 0; u < AHEAD; u++)
    for (int i = 0; i < x->rows; i++)
      for (int j = 0; j < each; j++)
        gp_set(g, x->sum[i * each + j], emit_fma(e, a[u][i], v[u][j], gp_get(g, x->sum[i * each + j])));
  loop_end(e, &l);
  LVal all[PRODUCT_ROWS * 16];
  for (int i = 0; i < x->rows * each; i++)
    all[i] = over_lanes(g, gp_get(g, x->sum[i]), ROWS_LANES);
  for (int i = 0; i < x->rows * each && same_for_all_k(g); i++)
    all[i] = LLVMBuildFMul(B, all[i], x->scale[i % each], "");
  LVal first = LLVMBuildICmp(B, LLVMIntULT, x->lane, gp_i32(g, ROWS_LANES), "");
  LLVMBasicBlockRef done = when_begin(e, first);
  for (int i = 0; i < x->rows; i++)
    for (int j = 0; j < each; j++) {
      LVal at = LLVMBuildAdd(B, LLVMBuildMul(B, x->warp, gp_i32(g, x->rows * x->columns), ""), own, "");
      LLVMBuildStore(B, all[i * each + j],
                     gp_element(g, x->shared, LLVMBuildAdd(B, at, gp_i32(g, i * x->columns + j), "")));
    }
  when_end(e, done);
  return over_warps(x);
}

/* --- so many rows --- */

static Status some_rows(Rows *x, int rows) {
  Gp *g = x->g;
  Emitter *e = g->e;
  x->rows = rows;
  LVal zero = i64_of(e, 0);
  TRY(gp_operand(g, false, zero, &x->a));
  TRY(gp_operand(g, true, zero, &x->b));
  if (x->a.vector > 4 && !g->p->type)
    x->a.vector = 4;
  rows_begin(x);
  Loop l = gp_parts(g, i64_ceildiv(e, g->n, i64_of(e, x->columns)));
  x->col0 = i64_muli(e, l.i, x->columns);
  TRY(x->b.along_k ? along_k(x) : along_columns(x));
  loop_end(e, &l);
  return ST_OK;
}

/* Code for 1, 2, 4 and 8 rows, or for as many as there surely are. */
Status gp_rows(Gp *g) {
  Emitter *e = g->e;
  Rows *x = arena_new(e->a, Rows);
  int64_t m = 0;
  int most = dim_is_const(g->p->m, &m) && m >= 1 && m <= PRODUCT_ROWS ? (int)m : PRODUCT_ROWS;
  *x = (Rows){.g = g, .columns = gpu_rows_columns(g->p)};
  x->warp = LLVMBuildUDiv(B, g->thread, gp_i32(g, GPU_WARP), ""),
  x->lane = LLVMBuildURem(B, g->thread, gp_i32(g, GPU_WARP), "");
  bool across = !g->p->trans_b && !g->p->bits.bits;
  x->shared = gp_shared(g, "rows", (int64_t)(across ? WARPS : 1) * PRODUCT_ROWS * x->columns);
  int n = PRODUCT_ROWS * 16;
  x->sum = arena_array(e->a, LVal, n);
  for (int i = 0; i < n; i++)
    x->sum[i] = gp_variable(g, LLVMConstNull(gp_sum(g)));
  if (most == m)
    return some_rows(x, most);
  LLVMBasicBlockRef done = emit_block(e, "counted");
  for (int rows = 1; rows <= PRODUCT_ROWS; rows *= 2) {
    LLVMBasicBlockRef more = emit_block(e, "more"), these = emit_block(e, "these");
    LLVMBuildCondBr(B, i64_less(e, i64_of(e, rows), g->m), more, these);
    LLVMPositionBuilderAtEnd(B, these);
    TRY(some_rows(x, rows));
    LLVMBuildBr(B, done);
    LLVMPositionBuilderAtEnd(B, more);
  }
  LLVMBuildBr(B, done); /* more than that are not for this code */
  LLVMPositionBuilderAtEnd(B, done);
  return ST_OK;
}
