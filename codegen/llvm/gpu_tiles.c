/* gpu_tiles.c - products of f32 for GPUs by tiles: codegen/gpu_product.h has the picture.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_product.h"

#define B (g->e->b)

enum { MOST_SUMS = 8, TILE_BYTES = 32768 }; /* of a thread, along a side; of shared memory that sums go through */

typedef struct Tiles {
  Gp *g;
  GpuTile t;
  int tm, tn; /* of a thread */
  GpSide a, b;
  LVal sum[MOST_SUMS][MOST_SUMS]; /* variables */
  LVal shared, ty, tx;            /* i32 */
} Tiles;

static int row_elements(const GpSide *s) { return s->rows + TILE_PAD; }

/* --- bringing the operands --- */

Status gp_side(Gp *g, GpSide *s, GpuTile t, bool is_b, LVal batch, LVal row0) {
  Emitter *e = g->e;
  int each = (s->rows = is_b ? t.bn : t.bm) * t.bk / GPU_BLOCK;
  TRY(gp_operand(g, is_b, batch, &s->o));
  int bytes = s->o.scale ? 4 : dtype_bits(s->o.type) / 8;
  while (s->o.vector > each)
    s->o.vector /= 2;
  if (s->o.vector * bytes < 4 && !s->o.scale)
    s->o.vector = 1;
  s->chunks = each / s->o.vector;
  if (s->chunks > GP_CHUNKS)
    return fail(e->c, ST_INTERNAL, "%s: a thread has %d pieces of a tile", g->name, s->chunks);
  int along = (s->o.along_k ? t.bk : s->rows) / s->o.vector;
  for (int i = 0; i < s->chunks; i++) {
    LVal number = LLVMBuildAdd(B, g->thread, gp_i32(g, i * GPU_BLOCK), "");
    LVal in = LLVMBuildMul(B, LLVMBuildURem(B, number, gp_i32(g, along), ""), gp_i32(g, s->o.vector), "");
    LVal out = LLVMBuildUDiv(B, number, gp_i32(g, along), "");
    s->row[i] = s->o.along_k ? out : in, s->step[i] = s->o.along_k ? in : out;
    bool same = i && !s->o.along_k && GPU_BLOCK % along == 0; /* the same rows, other steps */
    s->at[i] = same ? s->at[0] : gp_row(g, &s->o, i64_add(e, row0, gp_wide(g, s->row[i])));
  }
  return ST_OK;
}

static void fetch(Tiles *x, GpSide *s, LVal k0) {
  Gp *g = x->g;
  LVal v[GP_VECTOR];
  for (int i = 0; i < s->chunks; i++) {
    gp_fetch(g, &s->o, &s->at[i], LLVMBuildAdd(B, k0, s->step[i], ""), v);
    for (int j = 0; j < s->o.vector; j++)
      gp_set(g, s->next[i * s->o.vector + j], v[j]);
  }
}

/* Into half `half` (i32) of its shared memory. */
static void put(Tiles *x, GpSide *s, LVal half) {
  Gp *g = x->g;
  int ld = row_elements(s);
  LVal base = LLVMBuildMul(B, half, gp_i32(g, ld * x->t.bk), "");
  for (int i = 0; i < s->chunks; i++)
    for (int j = 0; j < s->o.vector; j++) {
      LVal at = LLVMBuildAdd(B, LLVMBuildMul(B, s->step[i], gp_i32(g, ld), ""), s->row[i], "");
      at = LLVMBuildAdd(B, at, gp_i32(g, s->o.along_k ? j * ld : j), "");
      LLVMBuildStore(B, gp_get(g, s->next[i * s->o.vector + j]),
                     gp_element(g, s->shared, LLVMBuildAdd(B, base, at, "")));
    }
}

/* --- multiplying --- */

/* A thread's row i of n, being number `at` of TILE_SIDE threads: up to 4 side by side, further ones where the others' end. */
static LVal place(Gp *g, LVal at, int i, int n) {
  int w = n < 4 ? n : 4;
  return LLVMBuildAdd(B, LLVMBuildMul(B, at, gp_i32(g, w), ""), gp_i32(g, i / 4 * 4 * TILE_SIDE + i % 4), "");
}

static void fragment(Gp *g, const GpSide *s, LVal base, LVal at, int step, int n, LVal *v) {
  Emitter *e = g->e;
  int w = n < 4 ? n : 4;
  for (int i = 0; i < n; i += w) {
    LVal index = LLVMBuildAdd(B, base, LLVMBuildAdd(B, place(g, at, i, n), gp_i32(g, step * row_elements(s)), ""), "");
    LVal all = LLVMBuildLoad2(B, emit_vec(g->e->f32, w), gp_element(g, s->shared, index), "");
    LLVMSetAlignment(all, (unsigned)w * 4);
    for (int j = 0; j < w; j++)
      v[i + j] = w == 1 ? all : LLVMBuildExtractElement(B, all, emit_int(e->i32, j), "");
  }
}

static void multiply(Tiles *x, LVal half) {
  Gp *g = x->g;
  LVal a[MOST_SUMS], b[MOST_SUMS];
  LVal base_a = LLVMBuildMul(B, half, gp_i32(g, row_elements(&x->a) * x->t.bk), "");
  LVal base_b = LLVMBuildMul(B, half, gp_i32(g, row_elements(&x->b) * x->t.bk), "");
  for (int k = 0; k < x->t.bk; k++) {
    fragment(g, &x->a, base_a, x->ty, k, x->tm, a);
    fragment(g, &x->b, base_b, x->tx, k, x->tn, b);
    for (int i = 0; i < x->tm; i++)
      for (int j = 0; j < x->tn; j++)
        gp_set(g, x->sum[i][j], emit_fma(g->e, a[i], b[j], gp_get(g, x->sum[i][j])));
  }
}

/* All of k: one barrier for each step of bk, as the halves of shared memory take turns. */
static void over_k(Tiles *x) {
  Gp *g = x->g;
  Emitter *e = g->e;
  LVal zero = LLVMConstNull(g->e->f32);
  for (int i = 0; i < x->tm; i++)
    for (int j = 0; j < x->tn; j++)
      gp_set(g, x->sum[i][j], zero);
  fetch(x, &x->a, gp_i32(g, 0)), fetch(x, &x->b, gp_i32(g, 0));
  Loop l = loop_begin(e, i64_of(e, 0), i64_ceildiv(e, g->k, i64_of(e, x->t.bk)), 1);
  LVal i = LLVMBuildTrunc(B, l.i, e->i32, ""), half = LLVMBuildAnd(B, i, gp_i32(g, 1), "");
  put(x, &x->a, half), put(x, &x->b, half);
  ptx_barrier(e);
  LVal next = LLVMBuildMul(B, LLVMBuildAdd(B, i, gp_i32(g, 1), ""), gp_i32(g, x->t.bk), "");
  fetch(x, &x->a, next), fetch(x, &x->b, next);
  multiply(x, half);
  loop_end(e, &l);
  ptx_barrier(e); /* those who still multiply, before the sums go where the operands were */
}

/* --- sums --- */

int gp_sum_rows(GpuTile t) {
  int rows = t.bm;
  while (rows * (t.bn + TILE_PAD) * 4 > TILE_BYTES + 4096)
    rows /= 2;
  return rows;
}

static Status store(Tiles *x, LVal batch, LVal row0, LVal col0) {
  Gp *g = x->g;
  Emitter *e = g->e;
  int ld = x->t.bn + TILE_PAD, rows = gp_sum_rows(x->t);
  int each = x->tm * rows / x->t.bm;
  for (int i0 = 0; i0 < x->tm; i0 += each) {
    for (int i = i0; i < i0 + each; i++)
      for (int j = 0; j < x->tn; j++) {
        LVal r = place(g, x->ty, i % each, each), c = place(g, x->tx, j, x->tn);
        LVal at = LLVMBuildAdd(B, LLVMBuildMul(B, r, gp_i32(g, ld), ""), c, "");
        LLVMBuildStore(B, gp_get(g, x->sum[i][j]), gp_element(g, x->shared, at));
      }
    ptx_barrier(e);
    GpBlock b = {x->shared, rows, x->t.bn, ld, batch, i64_add(e, row0, i64_of(e, i0 / each * rows)), col0};
    TRY(gp_epilogue(g, &b));
    ptx_barrier(e);
  }
  return ST_OK;
}

static void begin(Tiles *x) {
  Gp *g = x->g;
  int halves = 2 * x->t.bk * (x->t.bm + x->t.bn + 2 * TILE_PAD), rows = gp_sum_rows(x->t), ld = x->t.bn + TILE_PAD;
  LVal zero = LLVMConstNull(g->e->f32);
  x->shared = gp_shared(g, "tile", halves > rows * ld ? halves : rows * ld);
  x->a.shared = x->shared;
  x->b.shared = gp_element(g, x->shared, gp_i32(g, 2 * x->t.bk * (x->t.bm + TILE_PAD)));
  x->ty = LLVMBuildUDiv(B, g->thread, gp_i32(g, TILE_SIDE), ""),
  x->tx = LLVMBuildURem(B, g->thread, gp_i32(g, TILE_SIDE), "");
  for (int i = 0; i < x->tm; i++)
    for (int j = 0; j < x->tn; j++)
      x->sum[i][j] = gp_variable(g, zero);
  for (int i = 0; i < x->t.bm * x->t.bk / GPU_BLOCK; i++)
    x->a.next[i] = gp_variable(g, zero);
  for (int i = 0; i < x->t.bn * x->t.bk / GPU_BLOCK; i++)
    x->b.next[i] = gp_variable(g, zero);
}

Status gp_tiles(Gp *g) {
  Emitter *e = g->e;
  Tiles *x = arena_new(e->a, Tiles);
  *x = (Tiles){.g = g, .t = gpu_tile(g->p)};
  x->tm = x->t.bm / TILE_SIDE, x->tn = x->t.bn / TILE_SIDE;
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
