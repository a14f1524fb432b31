/* gpu_tensor.c - products for GPUs by tiles on tensor cores: f16 and bf16 with sums of f32, bytes with exact sums of i32.
 *
 * In shared memory an operand's rows have TENSOR_BYTES of k each, or, of 16 bits that lie side by side across k, its steps of k have a
 * row for each: ldmatrix turns these round. Bytes cannot be turned round in pairs, so they are when they are stored. Rows are
 * TENSOR_APART bytes further apart than they are long: the eight rows of a matrix lie in different banks.
 *
 * Where A has a zero point z, sum (a - z) b = sum a b - z sum b: the sums of B's columns are added up beside.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_product.h"

#define B (g->e->b)

enum { WARPS = GPU_BLOCK / GPU_WARP, MOST_DOWN = 4, MOST_ACROSS = 8, FRAGMENT_ROWS = 16, FRAGMENT_COLUMNS = 8 };

typedef struct Mma {
  Gp *g;
  GpuTile t;
  GpSide a, b;
  int size;         /* bytes of an element */
  int down, across; /* fragments of a warp */
  int warps_across;
  LVal shared, lane, warp_row, warp_column; /* i32; of the warp in the block's grid of warps */
  LVal sum[MOST_DOWN][MOST_ACROSS][4];      /* variables */
  LVal column_sum[MOST_ACROSS];             /* variables: this thread's part of column lane / 4 */
} Mma;

static LVal add(Gp *g, LVal a, LVal b) { return LLVMBuildAdd(B, a, b, ""); }
static LVal muli(Gp *g, LVal a, int64_t k) { return LLVMBuildMul(B, a, gp_i32(g, k), ""); }
static LVal bits(Gp *g, LVal a, int from, int mask) {
  return LLVMBuildAnd(B, LLVMBuildLShr(B, a, gp_i32(g, from), ""), gp_i32(g, mask), "");
}
static LVal byte_at(Gp *g, LVal at, LVal i32) { return LLVMBuildGEP2(B, g->e->i8, at, &i32, 1, ""); }

/* --- the operands in shared memory --- */

/* Is there a row for each step of k? */
static bool turned(const Mma *x, const GpSide *s) { return !s->o.along_k && x->size > 1; }
static int row_bytes(const Mma *x, const GpSide *s) {
  return (turned(x, s) ? s->rows * x->size : TENSOR_BYTES) + TENSOR_APART;
}
static int side_bytes(const Mma *x, const GpSide *s) { return row_bytes(x, s) * (turned(x, s) ? x->t.bk : s->rows); }

/* What either layout takes at most, of `rows` rows: before it is known which one it is. */
static int most_bytes(const Mma *x, int rows) {
  int straight = rows * (TENSOR_BYTES + TENSOR_APART), over = x->t.bk * (rows * x->size + TENSOR_APART);
  return straight > over ? straight : over;
}

static int chunk_words(const GpSide *s, int size) { return (s->o.vector * size + 3) / 4; }

static void fetch(Mma *x, GpSide *s, LVal k0) {
  Gp *g = x->g;
  LVal word[4];
  int each = chunk_words(s, x->size);
  for (int i = 0; i < s->chunks; i++) {
    gp_fetch_words(g, &s->o, &s->at[i], add(g, k0, s->step[i]), word);
    for (int j = 0; j < each; j++)
      gp_set(g, s->next[i * each + j], word[j]);
  }
}

static void store_words(Gp *g, LVal at, const LVal *word, int n) {
  LVal all = n == 1 ? word[0] : LLVMGetUndef(emit_vec(g->e->i32, n));
  for (int j = 0; n > 1 && j < n; j++)
    all = LLVMBuildInsertElement(B, all, word[j], gp_i32(g, j), "");
  LLVMSetAlignment(LLVMBuildStore(B, all, at), (unsigned)n * 4);
}

/* The elements of a chunk of bytes belong to rows below each other. */
static void store_bytes(Gp *g, LVal at, const LVal *word, int n, int apart) {
  for (int j = 0; j < n; j++) {
    LVal v = LLVMBuildLShr(B, word[j / 4], gp_i32(g, j % 4 * 8), "");
    LLVMBuildStore(B, LLVMBuildTrunc(B, v, g->e->i8, ""), byte_at(g, at, gp_i32(g, j * apart)));
  }
}

/* Into half `half` (i32) of its shared memory. */
static void put(Mma *x, GpSide *s, LVal half) {
  Gp *g = x->g;
  int each = chunk_words(s, x->size), ld = row_bytes(x, s);
  LVal base = byte_at(g, s->shared, muli(g, half, side_bytes(x, s))), word[4];
  for (int i = 0; i < s->chunks; i++) {
    LVal out = turned(x, s) ? s->step[i] : s->row[i], in = turned(x, s) ? s->row[i] : s->step[i];
    LVal at = byte_at(g, base, add(g, muli(g, out, ld), muli(g, in, x->size)));
    for (int j = 0; j < each; j++)
      word[j] = gp_get(g, s->next[i * each + j]);
    if (x->size == 1 && !s->o.along_k)
      store_bytes(g, at, word, s->o.vector, ld);
    else if (s->o.vector * x->size >= 4)
      store_words(g, at, word, each);
    else
      LLVMBuildStore(B, LLVMBuildTrunc(B, word[0], x->size == 1 ? g->e->i8 : g->e->i16, ""), at);
  }
}

/* --- multiplying --- */

/* Where this thread's row is of the four matrices that are operand A of 16 rows from `first` on: left and right of each other are
 * those of 8 rows, then those of k. */
static LVal rows_of_a(Mma *x, LVal base, LVal first) {
  Gp *g = x->g;
  int ld = row_bytes(x, &x->a);
  LVal row = bits(g, x->lane, 0, 7), odd = bits(g, x->lane, 3, 1), high = bits(g, x->lane, 4, 1);
  if (turned(x, &x->a)) {
    LVal step = add(g, row, muli(g, high, 8)), column = add(g, first, muli(g, odd, 8));
    return byte_at(g, base, add(g, muli(g, step, ld), muli(g, column, x->size)));
  }
  row = add(g, first, add(g, row, muli(g, odd, 8)));
  return byte_at(g, base, add(g, muli(g, row, ld), muli(g, high, 16)));
}

/* The same of operand B of 8 columns: all of k there is, two steps of mma. */
static LVal rows_of_b(Mma *x, LVal base, LVal first) {
  Gp *g = x->g;
  int ld = row_bytes(x, &x->b);
  LVal row = bits(g, x->lane, 0, 7), matrix = bits(g, x->lane, 3, 3);
  if (turned(x, &x->b))
    return byte_at(g, base, add(g, muli(g, add(g, row, muli(g, matrix, 8)), ld), muli(g, first, x->size)));
  return byte_at(g, base, add(g, muli(g, add(g, first, row), ld), muli(g, matrix, 16)));
}

static void fragment(Mma *x, const LVal a[4], const LVal b[2], LVal variable[4]) {
  Gp *g = x->g;
  LVal sum[4];
  for (int i = 0; i < 4; i++)
    sum[i] = gp_get(g, variable[i]);
  if (g->p->bytes)
    ptx_multiply_bytes(g->e, g->p->bytes, a, b, sum);
  else
    ptx_multiply(g->e, g->p->type, a, b, sum);
  for (int i = 0; i < 4; i++)
    gp_set(g, variable[i], sum[i]);
}

static void multiply(Mma *x, LVal half) {
  Gp *g = x->g;
  LVal first_a = muli(g, x->warp_row, x->down * FRAGMENT_ROWS),
       first_b = muli(g, x->warp_column, x->across * FRAGMENT_COLUMNS);
  LVal a_at = rows_of_a(x, byte_at(g, x->a.shared, muli(g, half, side_bytes(x, &x->a))), first_a);
  LVal b_at = rows_of_b(x, byte_at(g, x->b.shared, muli(g, half, side_bytes(x, &x->b))), first_b);
  int a_next = FRAGMENT_ROWS * (turned(x, &x->a) ? x->size : row_bytes(x, &x->a));
  int b_next = FRAGMENT_COLUMNS * (turned(x, &x->b) ? x->size : row_bytes(x, &x->b));
  int a_step = turned(x, &x->a) ? x->t.bk / 2 * row_bytes(x, &x->a) : TENSOR_BYTES / 2;
  LVal a[MOST_DOWN][4], b[MOST_ACROSS][4];
  for (int j = 0; j < x->across; j++) {
    ptx_matrices(g->e, b_at, j * b_next, turned(x, &x->b), b[j]);
    for (int i = 0; g->p->zero && i < 4; i++)
      gp_set(g, x->column_sum[j], ptx_add_bytes(g->e, b[j][i], gp_get(g, x->column_sum[j])));
  }
  for (int k = 0; k < 2; k++) {
    for (int i = 0; i < x->down; i++)
      ptx_matrices(g->e, a_at, i * a_next + k * a_step, turned(x, &x->a), a[i]);
    for (int i = 0; i < x->down; i++)
      for (int j = 0; j < x->across; j++)
        fragment(x, a[i], b[j] + 2 * k, x->sum[i][j]);
  }
}

/* All of k: one barrier for each step of bk, as the halves of shared memory take turns. */
static void over_k(Mma *x) {
  Gp *g = x->g;
  Emitter *e = g->e;
  for (int j = 0; j < x->across; j++) {
    for (int i = 0; i < 4 * x->down; i++)
      gp_set(g, x->sum[i / 4][j][i % 4], LLVMConstNull(gp_sum(g)));
    gp_set(g, x->column_sum[j], gp_i32(g, 0));
  }
  fetch(x, &x->a, gp_i32(g, 0)), fetch(x, &x->b, gp_i32(g, 0));
  Loop l = loop_begin(e, i64_of(e, 0), i64_ceildiv(e, g->k, i64_of(e, x->t.bk)), 1);
  LVal i = LLVMBuildTrunc(B, l.i, e->i32, ""), half = LLVMBuildAnd(B, i, gp_i32(g, 1), "");
  put(x, &x->a, half), put(x, &x->b, half);
  ptx_barrier(e);
  LVal next = muli(g, add(g, i, gp_i32(g, 1)), x->t.bk);
  fetch(x, &x->a, next), fetch(x, &x->b, next);
  multiply(x, half);
  loop_end(e, &l);
  ptx_barrier(e); /* those who still multiply, before the sums go where the operands were */
}

/* --- sums --- */

static LVal from_lane(Gp *g, LVal i32, LVal lane) {
  Emitter *e = g->e;
  return LLVMBuildBitCast(B, ptx_from_lane(e, LLVMBuildBitCast(B, i32, e->f32, ""), lane), e->i32, "");
}

/* Four threads have a part each of a column's sum; column c of a fragment is with thread 4 c then. */
static void take_zero_off(Mma *x) {
  Gp *g = x->g;
  Emitter *e = g->e;
  for (int j = 0; j < x->across; j++) {
    LVal all = gp_get(g, x->column_sum[j]);
    for (int by = 1; by < 4; by *= 2) {
      LVal other = ptx_exchange(e, LLVMBuildBitCast(B, all, e->f32, ""), by);
      all = add(g, all, LLVMBuildBitCast(B, other, e->i32, ""));
    }
    all = muli(g, all, g->p->zero);
    LVal first = muli(g, bits(g, x->lane, 0, 3), 8);
    LVal off[2] = {from_lane(g, all, first), from_lane(g, all, add(g, first, gp_i32(g, 4)))};
    for (int i = 0; i < 4 * x->down; i++) {
      LVal v = x->sum[i / 4][j][i % 4];
      gp_set(g, v, LLVMBuildSub(B, gp_get(g, v), off[i % 2], ""));
    }
  }
}

/* The warp's sums to rows from `first` (i32) on. */
static void put_sums(Mma *x, LVal first) {
  Gp *g = x->g;
  int ld = x->t.bn + TILE_PAD;
  LVal column = add(g, muli(g, x->warp_column, x->across * FRAGMENT_COLUMNS), muli(g, bits(g, x->lane, 0, 3), 2));
  LVal base = add(g, muli(g, add(g, first, bits(g, x->lane, 2, 7)), ld), column);
  for (int i = 0; i < x->down; i++)
    for (int j = 0; j < x->across; j++)
      for (int high = 0; high < 2; high++) {
        int offset = (i * FRAGMENT_ROWS + high * 8) * ld + j * FRAGMENT_COLUMNS;
        LVal pair = LLVMGetUndef(emit_vec(gp_sum(g), 2));
        for (int c = 0; c < 2; c++)
          pair = LLVMBuildInsertElement(B, pair, gp_get(g, x->sum[i][j][high * 2 + c]), gp_i32(g, c), "");
        LVal at = gp_element(g, x->shared, add(g, base, gp_i32(g, offset)));
        LLVMSetAlignment(LLVMBuildStore(B, pair, at), 8);
      }
}

/* As many rows at a time as shared memory takes. */
static Status store(Mma *x, LVal batch, LVal row0, LVal col0) {
  Gp *g = x->g;
  Emitter *e = g->e;
  int rows = gp_sum_rows(x->t), own = x->down * FRAGMENT_ROWS;
  if (g->p->zero)
    take_zero_off(x);
  for (int from = 0; from < x->t.bm; from += rows) {
    LVal first = LLVMBuildSub(B, muli(g, x->warp_row, own), gp_i32(g, from), "");
    LLVMBasicBlockRef none = when_begin(e, LLVMBuildICmp(B, LLVMIntULT, first, gp_i32(g, rows), ""));
    put_sums(x, first);
    when_end(e, none);
    ptx_barrier(e);
    GpBlock b = {x->shared, rows, x->t.bn, x->t.bn + TILE_PAD, batch, i64_add(e, row0, i64_of(e, from)), col0};
    TRY(gp_epilogue(g, &b));
    ptx_barrier(e);
  }
  return ST_OK;
}

/* The warps' parts are as square as can be. */
static void share_out(Mma *x) {
  int down = x->t.bm / FRAGMENT_ROWS < WARPS ? x->t.bm / FRAGMENT_ROWS : WARPS;
  while (down > 1 && x->t.bm / down < x->t.bn * down / WARPS)
    down /= 2;
  x->warps_across = WARPS / down;
  x->down = x->t.bm / down / FRAGMENT_ROWS, x->across = x->t.bn / x->warps_across / FRAGMENT_COLUMNS;
}

static void begin(Mma *x) {
  Gp *g = x->g;
  share_out(x);
  int a = 2 * most_bytes(x, x->t.bm), b = 2 * most_bytes(x, x->t.bn),
      sums = gp_sum_rows(x->t) * (x->t.bn + TILE_PAD) * 4;
  x->shared = gp_shared(g, "tile", (a + b > sums ? a + b : sums) / 4);
  x->a.shared = x->shared, x->b.shared = byte_at(g, x->shared, gp_i32(g, a));
  LVal warp = LLVMBuildLShr(B, g->thread, gp_i32(g, 5), "");
  x->lane = bits(g, g->thread, 0, GPU_WARP - 1);
  x->warp_row = LLVMBuildUDiv(B, warp, gp_i32(g, x->warps_across), "");
  x->warp_column = LLVMBuildURem(B, warp, gp_i32(g, x->warps_across), "");
  for (int j = 0; j < x->across; j++) {
    for (int i = 0; i < 4 * x->down; i++)
      x->sum[i / 4][j][i % 4] = gp_variable(g, LLVMConstNull(gp_sum(g)));
    x->column_sum[j] = gp_variable(g, gp_i32(g, 0));
  }
  for (int i = 0; i < GP_CHUNKS; i++)
    x->a.next[i] = gp_variable(g, gp_i32(g, 0)), x->b.next[i] = gp_variable(g, gp_i32(g, 0));
}

Status gp_tensor(Gp *g) {
  Emitter *e = g->e;
  Mma *x = arena_new(e->a, Mma);
  *x = (Mma){.g = g, .t = gpu_tile(g->p), .size = g->p->bytes ? 1 : 2};
  begin(x);
  LVal down = i64_ceildiv(e, g->m, i64_of(e, x->t.bm)), across = i64_ceildiv(e, g->n, i64_of(e, x->t.bn));
  Loop l = gp_parts(g, i64_mul(e, g->batch, i64_mul(e, down, across)));
  LVal rest = i64_div(e, l.i, across), batch = i64_div(e, rest, down);
  LVal col0 = i64_muli(e, i64_rem(e, l.i, across), x->t.bn), row0 = i64_muli(e, i64_rem(e, rest, down), x->t.bm);
  TRY(gp_side(g, &x->a, x->t, false, batch, row0));
  TRY(gp_side(g, &x->b, x->t, true, batch, col0));
  over_k(x);
  TRY(store(x, batch, row0, col0));
  loop_end(e, &l);
  return ST_OK;
}
