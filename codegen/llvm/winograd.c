/* winograd.c - emission of 3x3 convolutions by tiles of outputs (codegen/winograd.h).
 *
 *   for each part (a run of tiles, in the order of their positions, and a block of columns):
 *     spread: each tile of the input, channel by channel, into its elements:   input[element][tile][channel]
 *     for each panel of columns:
 *       for each element, for some tiles at a time: the inner kernel:           sums[element][tile][column]
 *       gather: of up to WINOGRAD_STRIP tiles side by side, the outputs:        strip[row][position][column]
 *               and each row of those through the epilogue
 *
 * Tiles at the far edges may reach beyond the output: what they have there is left out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/winograd.h"

#include "codegen/llvm/product.h"

typedef struct Winograd {
  Gen *g;
  Emitter *e;
  const WinogradForm *f;
  int64_t channels, row_bytes, input_bytes, sums_bytes, strip_bytes;
  LVal spread, gather, exact; /* functions */
  LType spread_type, gather_type, exact_type;
  /* Of the function being built: */
  LVal in[2], out[2], begin[2], tiles[2]; /* y and x; tiles: along each axis */
  LVal zeros;
} Winograd;

/* A tile: its image, its first output. */
typedef struct Place {
  LVal image, at[2];
  LVal tile; /* along x */
} Place;

static Status extents(Winograd *w, const EmitArgs *args) {
  Gen *g = w->g;
  const ProductWindow *p = g->p->rows;
  for (int i = 0; i < 2; i++) {
    TRY(dim_value(w->e, args, p->in[i + 1], g->dim, g->ndim, &w->in[i]));
    TRY(dim_value(w->e, args, p->out[i + 1], g->dim, g->ndim, &w->out[i]));
    TRY(dim_value(w->e, args, p->begin[i + 1], g->dim, g->ndim, &w->begin[i]));
    w->tiles[i] = i64_ceildiv(w->e, w->out[i], i64_of(w->e, w->f->m));
  }
  w->zeros = at_bytes(w->e, args->scratch, i64_of(w->e, g->plan.tile_bytes + g->plan.panel_bytes));
  return ST_OK;
}

static Place place_of(Winograd *w, LVal tile) {
  Emitter *e = w->e;
  LVal x = i64_rem(e, tile, w->tiles[1]), rest = i64_div(e, tile, w->tiles[1]);
  LVal y = i64_rem(e, rest, w->tiles[0]);
  return (Place){i64_div(e, rest, w->tiles[0]), {i64_muli(e, y, w->f->m), i64_muli(e, x, w->f->m)}, x};
}

/* --- the transformations --- */

/* sum of coef[i] * x[i]: nothing is done for zeros and ones. */
static LVal combine(Winograd *w, const float *coef, int n, LVal *x, int step) {
  Emitter *e = w->e;
  LVal sum = NULL;
  int first = 0;
  while (coef[first] != 1 && first + 1 < n)
    first++;
  sum = coef[first] == 1 ? x[first * step] : NULL;
  for (int i = 0; i < n; i++) {
    LVal v = x[i * step];
    if (coef[i] == 0 || (i == first && coef[i] == 1))
      continue;
    if (!sum)
      sum = LLVMBuildFMul(e->b, v, emit_real(LLVMTypeOf(v), (double)coef[i]), "");
    else if (coef[i] == 1)
      sum = LLVMBuildFAdd(e->b, sum, v, "");
    else if (coef[i] == -1)
      sum = LLVMBuildFSub(e->b, sum, v, "");
    else
      sum = emit_fma(e, v, emit_real(LLVMTypeOf(v), (double)coef[i]), sum);
  }
  return sum;
}

/* y[rows][rows] = M x M', x [edge][edge], M [rows][edge]. */
static void both_sides(Winograd *w, const float (*m)[WINOGRAD_EDGE], int rows, LVal *x, LVal *y) {
  LVal half[WINOGRAD_EDGE * WINOGRAD_EDGE];
  int edge = w->f->edge;
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < edge; c++)
      half[r * edge + c] = combine(w, m[r], edge, x + c, edge);
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < rows; c++)
      y[r * rows + c] = combine(w, m[c], edge, half + r * edge, 1);
}

static LVal inside(Winograd *w, LVal at, int axis) { return LLVMBuildICmp(w->e->b, LLVMIntULT, at, w->in[axis], ""); }

/* One tile's elements, from the addresses of its inputs' channels. */
static void spread_tile(Winograd *w, LVal *from, LVal to) {
  Emitter *e = w->e;
  LVal x[WINOGRAD_EDGE * WINOGRAD_EDGE], y[WINOGRAD_EDGE * WINOGRAD_EDGE];
  int n = w->f->edge * w->f->edge;
  Loop c = loop_begin(e, i64_of(e, 0), i64_of(e, w->channels * 4), lanes(w->g) * 4);
  for (int i = 0; i < n; i++)
    x[i] = load_f32(e, lanes(w->g), at_bytes(e, from[i], c.i));
  both_sides(w, w->f->input, w->f->edge, x, y);
  for (int i = 0; i < n; i++)
    store_f32(e, y[i], at_bytes(e, at_bytes(e, to, i64_of(e, i * w->input_bytes)), c.i));
  loop_end(e, &c);
}

/* Tiles whose inputs all exist reach them from one address; others look at each. */
static void spread_any(Winograd *w, LVal x, const Place *p, LVal to) {
  Emitter *e = w->e;
  LVal from[WINOGRAD_EDGE * WINOGRAD_EDGE], first[2], in[2][WINOGRAD_EDGE];
  int edge = w->f->edge;
  for (int i = 0; i < 2; i++) {
    first[i] = i64_sub(e, p->at[i], w->begin[i]);
    for (int k = 0; k < edge; k++)
      in[i][k] = inside(w, i64_add(e, first[i], i64_of(e, k)), i);
  }
  LVal line = i64_add(e, i64_mul(e, p->image, w->in[0]), first[0]);
  LVal base = at_bytes(e, x, i64_muli(e, i64_add(e, i64_mul(e, line, w->in[1]), first[1]), w->channels * 4));
  for (int i = 0; i < edge * edge; i++) {
    LVal far = i64_add(e, i64_muli(e, w->in[1], i / edge), i64_of(e, i % edge));
    from[i] = at_bytes(e, base, i64_muli(e, far, w->channels * 4));
  }
  LLVMBasicBlockRef whole = emit_block(e, "whole"), part = emit_block(e, "part"), done = emit_block(e, "spread");
  LVal all = LLVMBuildAnd(e->b, LLVMBuildAnd(e->b, in[0][0], in[0][edge - 1], ""),
                          LLVMBuildAnd(e->b, in[1][0], in[1][edge - 1], ""), "");
  LLVMBuildCondBr(e->b, all, whole, part);
  LLVMPositionBuilderAtEnd(e->b, whole);
  spread_tile(w, from, to);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, part);
  for (int i = 0; i < edge * edge; i++)
    from[i] = LLVMBuildSelect(e->b, LLVMBuildAnd(e->b, in[0][i / edge], in[1][i % edge], ""), from[i], w->zeros, "");
  spread_tile(w, from, to);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

/* void spread(args, x, tile0, tiles, input) */
static Status make_spread(Winograd *w) {
  Emitter *e = w->e;
  LType param[] = {e->ptr, e->ptr, e->i64, e->i64, e->ptr};
  LVal a[countof(param)];
  w->spread_type = LLVMFunctionType(LLVMVoidTypeInContext(e->lc), param, countof(param), 0);
  w->spread = function_begin(e, sub_name(w->g, "spread", 0), LLVMVoidTypeInContext(e->lc), param, countof(param));
  LLVMGetParams(w->spread, a);
  EmitArgs args = args_of(e, w->spread);
  TRY(extents(w, &args));
  Loop i = loop_begin(e, i64_of(e, 0), a[3], 1);
  Place p = place_of(w, i64_add(e, a[2], i.i));
  spread_any(w, a[1], &p, at_bytes(e, a[4], i64_muli(e, i.i, w->row_bytes)));
  loop_end(e, &i);
  LLVMBuildRetVoid(e->b);
  return ST_OK;
}

/* --- what is not finite: tap by tap --- */

/* Tap i, j of channel c times the panel's columns, from the elements of the packed weight. */
static LVal recover(Winograd *w, LVal weight, int i, int j, LVal c, LVal col) {
  Emitter *e = w->e;
  const WinogradForm *f = w->f;
  LVal sum = NULL, at = at_bytes(e, at_float(e, weight, col), i64_muli(e, c, w->g->plan.nr * 4));
  for (int a = 0; a < f->edge; a++)
    for (int b = 0; b < f->edge; b++) {
      float by = f->back[i][a] * f->back[j][b];
      if (by == 0)
        continue;
      LVal u =
          load_f32(e, lanes(w->g), at_bytes(e, at, i64_of(e, (a * f->edge + b) * w->channels * w->g->plan.nr * 4)));
      LVal k = emit_real(LLVMTypeOf(u), (double)by);
      sum = sum ? emit_fma(e, u, k, sum) : LLVMBuildFMul(e->b, u, k, "");
    }
  return sum;
}

/* sums += the channels of tap i, j of an output whose window begins at y, x; `sums` is in memory. */
static void exact_tap(Winograd *w, LVal x, LVal weight, int i, int j, const Place *p, LVal sums) {
  Emitter *e = w->e;
  LVal y0 = i64_add(e, p->at[0], i64_of(e, i)), x0 = i64_add(e, p->at[1], i64_of(e, j));
  LLVMBasicBlockRef done = when_begin(e, LLVMBuildAnd(e->b, inside(w, y0, 0), inside(w, x0, 1), ""));
  LVal line = i64_mul(e, i64_add(e, i64_mul(e, p->image, w->in[0]), y0), w->in[1]);
  LVal from = at_bytes(e, x, i64_muli(e, i64_add(e, line, x0), w->channels * 4));
  Loop c = loop_begin(e, i64_of(e, 0), i64_of(e, w->channels), 1);
  LVal v = emit_splat(e, load_f32(e, 1, at_float(e, from, c.i)), lanes(w->g));
  Loop col = loop_begin(e, i64_of(e, 0), i64_of(e, w->g->plan.nr), lanes(w->g));
  LVal to = at_float(e, sums, col.i);
  store_f32(e, emit_fma(e, v, recover(w, weight, i, j, c.i, col.i), load_f32(e, lanes(w->g), to)), to);
  loop_end(e, &col);
  loop_end(e, &c);
  when_end(e, done);
}

/* void exact(args, x, weight of the panel, tile, strip): its outputs, in a strip. */
static Status make_exact(Winograd *w) {
  Emitter *e = w->e;
  Gen *g = w->g;
  LType param[] = {e->ptr, e->ptr, e->ptr, e->i64, e->ptr};
  LVal a[countof(param)];
  w->exact_type = LLVMFunctionType(LLVMVoidTypeInContext(e->lc), param, countof(param), 0);
  w->exact = function_begin(e, sub_name(g, "exact", 0), LLVMVoidTypeInContext(e->lc), param, countof(param));
  LLVMGetParams(w->exact, a);
  EmitArgs args = args_of(e, w->exact);
  TRY(extents(w, &args));
  Place tile = place_of(w, a[3]);
  Loop r = loop_begin(e, i64_of(e, 0), i64_of(e, w->f->m), 1), q = loop_begin(e, i64_of(e, 0), i64_of(e, w->f->m), 1);
  LVal sums = at_bytes(e, a[4], i64_add(e, i64_muli(e, r.i, w->strip_bytes), i64_muli(e, q.i, g->plan.nr * 4)));
  Place p = {.image = tile.image};
  p.at[0] = i64_sub(e, i64_add(e, tile.at[0], r.i), w->begin[0]);
  p.at[1] = i64_sub(e, i64_add(e, tile.at[1], q.i), w->begin[1]);
  Loop z = loop_begin(e, i64_of(e, 0), i64_of(e, g->plan.nr), lanes(g));
  store_f32(e, emit_real(emit_vec(e->f32, lanes(g)), 0), at_float(e, sums, z.i));
  loop_end(e, &z);
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++)
      exact_tap(w, a[1], a[2], i, j, &p, sums);
  loop_end(e, &q);
  loop_end(e, &r);
  LLVMBuildRetVoid(e->b);
  return ST_OK;
}

/* --- the outputs --- */

/* The outputs of a tile, a vector of columns at a time, to their places in a strip; what it adds up to is finite if they are. */
static LVal gather_tile(Winograd *w, LVal sums, LVal strip) {
  Emitter *e = w->e;
  Gen *g = w->g;
  LVal x[WINOGRAD_EDGE * WINOGRAD_EDGE], y[WINOGRAD_EDGE * WINOGRAD_EDGE];
  int m = w->f->m, n = w->f->edge * w->f->edge;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  LVal none = emit_real(emit_vec(e->f32, lanes(g)), 0);
  Loop col = loop_begin(e, i64_of(e, 0), i64_of(e, g->plan.nr * 4), lanes(g) * 4);
  LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(col.head));
  LVal total = LLVMBuildPhi(e->b, LLVMTypeOf(none), ""), all = total;
  LLVMAddIncoming(total, &none, &before, 1);
  LLVMPositionBuilderAtEnd(e->b, col.body);
  for (int i = 0; i < n; i++)
    x[i] = load_f32(e, lanes(g), at_bytes(e, at_bytes(e, sums, i64_of(e, i * w->sums_bytes)), col.i));
  both_sides(w, w->f->output, m, x, y);
  for (int i = 0; i < m * m; i++) {
    LVal to = at_bytes(e, strip, i64_of(e, i / m * w->strip_bytes + i % m * g->plan.nr * 4));
    store_f32(e, y[i], at_bytes(e, to, col.i));
    all = LLVMBuildFAdd(e->b, all, y[i], "");
  }
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(total, &all, &latch, 1);
  loop_end(e, &col);
  return total;
}

static LVal not_finite(Emitter *e, LVal v) {
  LVal d = LLVMBuildFSub(e->b, v, v, "");
  return emit_any(e, LLVMBuildFCmp(e->b, LLVMRealUNO, d, d, ""));
}

/* Each row of outputs of `count` tiles side by side through the epilogue. */
static void strip_rows(Winograd *w, const Place *p, LVal count, LVal strip, LVal col0) {
  Emitter *e = w->e;
  Gen *g = w->g;
  LVal width = i64_min(e, i64_muli(e, count, w->f->m), i64_sub(e, w->out[1], p->at[1]));
  LVal rows = i64_min(e, i64_of(e, w->f->m), i64_sub(e, w->out[0], p->at[0]));
  LVal cols = i64_min(e, i64_sub(e, g->n, col0), i64_of(e, g->plan.nr));
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal line = i64_add(e, i64_mul(e, p->image, w->out[0]), i64_add(e, p->at[0], r.i));
  LVal row0 = i64_add(e, i64_mul(e, line, w->out[1]), p->at[1]);
  call_epilogue(g, at_bytes(e, strip, i64_muli(e, r.i, w->strip_bytes)), i64_of(e, 0), row0, width, col0, cols);
  loop_end(e, &r);
}

/* void gather(args, x, weight of the panel, tile0, tiles, sums, strip, col0) */
static Status make_gather(Winograd *w) {
  Emitter *e = w->e;
  Gen *g = w->g;
  LType param[] = {e->ptr, e->ptr, e->ptr, e->i64, e->i64, e->ptr, e->ptr, e->i64};
  LVal a[countof(param)], to;
  w->gather_type = LLVMFunctionType(LLVMVoidTypeInContext(e->lc), param, countof(param), 0);
  w->gather = function_begin(e, sub_name(g, "gather", 0), LLVMVoidTypeInContext(e->lc), param, countof(param));
  LLVMGetParams(w->gather, a);
  EmitArgs outer = g->args;
  g->args = args_of(e, w->gather);
  TRY(extents(w, &g->args));
  TRY(dim_value(e, &g->args, g->p->m, g->dim, g->ndim, &g->m));
  TRY(dim_value(e, &g->args, g->p->n, g->dim, g->ndim, &g->n));
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), strips = emit_block(e, "strips"), done = emit_block(e, "all");
  LLVMBuildBr(e->b, strips);
  LLVMPositionBuilderAtEnd(e->b, strips);
  LVal first = LLVMBuildPhi(e->b, e->i64, "first"), none = i64_of(e, 0);
  LLVMAddIncoming(first, &none, &before, 1);
  Place p = place_of(w, i64_add(e, a[3], first));
  LVal count =
      i64_min(e, i64_min(e, i64_sub(e, a[4], first), i64_sub(e, w->tiles[1], p.tile)), i64_of(e, WINOGRAD_STRIP));
  Loop i = loop_begin(e, i64_of(e, 0), count, 1);
  LVal number = i64_add(e, first, i.i);
  to = at_bytes(e, a[6], i64_muli(e, i.i, w->f->m * g->plan.nr * 4));
  LVal total = gather_tile(w, at_bytes(e, a[5], i64_muli(e, number, g->plan.nr * 4)), to);
  LLVMBasicBlockRef finite = when_begin(e, not_finite(e, total));
  LVal arg[] = {a[0], a[1], a[2], i64_add(e, a[3], number), to};
  LLVMBuildCall2(e->b, w->exact_type, w->exact, arg, countof(arg), "");
  when_end(e, finite);
  loop_end(e, &i);
  strip_rows(w, &p, count, a[6], a[7]);
  LVal next = i64_add(e, first, count);
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(first, &next, &latch, 1);
  LLVMBuildCondBr(e->b, i64_less(e, next, a[4]), strips, done);
  LLVMPositionBuilderAtEnd(e->b, done);
  LLVMBuildRetVoid(e->b);
  g->args = outer;
  return ST_OK;
}

/* --- a part --- */

/* sums = input * weight of one element, for all tiles of the part. next: what is fetched meanwhile. */
static void one_element(Winograd *w, LVal tiles, LVal input, LVal weight, LVal sums) {
  Emitter *e = w->e;
  Gen *g = w->g;
  int64_t panel = w->channels * g->plan.nr * 4;
  LVal heights = i64_ceildiv(e, tiles, i64_of(e, g->plan.mr));
  LVal base = i64_div(e, tiles, heights), extra = i64_rem(e, tiles, heights);
  LVal step = i64_ceildiv(e, i64_of(e, g->plan.nr * 4), heights);
  Loop t = loop_begin(e, i64_of(e, 0), heights, 1);
  LVal m0 = i64_add(e, i64_mul(e, t.i, base), i64_min(e, t.i, extra));
  LVal rows = i64_add(e, base, LLVMBuildZExt(e->b, i64_less(e, t.i, extra), e->i64, ""));
  TileArgs x = {.a = at_bytes(e, input, i64_muli(e, m0, w->row_bytes)),
                .a_row = i64_of(e, w->row_bytes),
                .b = weight,
                .k = i64_of(e, w->channels),
                .sums = at_bytes(e, sums, i64_muli(e, m0, g->plan.nr * 4)),
                .more = LLVMConstInt(e->i1, 0, 0),
                .ahead_step = step};
  x.ahead = at_bytes(e, weight, i64_add(e, i64_of(e, panel), i64_mul(e, t.i, i64_muli(e, step, w->channels))));
  tile_dispatch(e, &g->tiles, rows, &x);
  loop_end(e, &t);
}

static void one_panel(Winograd *w, LVal panel, LVal tile0, LVal tiles) {
  Emitter *e = w->e;
  Gen *g = w->g;
  int n = winograd_elements(g->p);
  int64_t element = w->channels * g->plan.nr * 4;
  LVal sums = g->args.scratch, strip = at_bytes(e, sums, i64_of(e, n * w->sums_bytes));
  LVal input = at_bytes(e, sums, i64_of(e, g->plan.tile_bytes));
  LVal weight = at_bytes(e, emit_arg_buf(e, &g->args, 1), i64_muli(e, panel, n * element));
  Loop t = loop_begin(e, i64_of(e, 0), i64_of(e, n), 1);
  one_element(w, tiles, at_bytes(e, input, i64_muli(e, t.i, w->input_bytes)),
              at_bytes(e, weight, i64_muli(e, t.i, element)), at_bytes(e, sums, i64_muli(e, t.i, w->sums_bytes)));
  loop_end(e, &t);
  LVal arg[] = {LLVMGetParam(g->args.fn, 0),   emit_arg_buf(e, &g->args, 0), weight, tile0, tiles, sums, strip,
                i64_muli(e, panel, g->plan.nr)};
  LLVMBuildCall2(e->b, w->gather_type, w->gather, arg, countof(arg), "");
}

static Status make_parts(Winograd *w) {
  Emitter *e = w->e;
  Gen *g = w->g;
  LVal images;
  TRY(extents(w, &g->args));
  TRY(dim_value(e, &g->args, g->p->images, g->dim, g->ndim, &images));
  TRY(dim_value(e, &g->args, g->p->n, g->dim, g->ndim, &g->n));
  LVal all = i64_mul(e, images, i64_mul(e, w->tiles[0], w->tiles[1]));
  LVal blocks = i64_ceildiv(e, all, i64_of(e, g->plan.tiles)), panels = i64_ceildiv(e, g->n, i64_of(e, g->plan.nr));
  LVal col_blocks = i64_ceildiv(e, panels, i64_of(e, g->plan.col_panels)), tile0, tile1, panel0, panel1;
  Loop p = loop_begin(e, g->args.begin, g->args.end, 1);
  emit_poll(e, &g->args);
  clear_zeros(g);
  even_share(e, i64_rem(e, p.i, blocks), blocks, all, &tile0, &tile1);
  even_share(e, i64_div(e, p.i, blocks), col_blocks, panels, &panel0, &panel1);
  LVal tiles = i64_sub(e, tile1, tile0);
  LVal arg[] = {LLVMGetParam(g->args.fn, 0), emit_arg_buf(e, &g->args, 0), tile0, tiles,
                at_bytes(e, g->args.scratch, i64_of(e, g->plan.tile_bytes))};
  LLVMBuildCall2(e->b, w->spread_type, w->spread, arg, countof(arg), "");
  Loop j = loop_begin(e, panel0, panel1, 1);
  one_panel(w, j.i, tile0, tiles);
  loop_end(e, &j);
  loop_end(e, &p);
  LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
  return ST_OK;
}

Status winograd_unit(Gen *g) {
  Emitter *e = g->e;
  const Product *p = g->p;
  Winograd w = {.g = g,
                .e = e,
                .f = winograd_form(p->winograd),
                .channels = winograd_channels(p),
                .row_bytes = winograd_row_bytes(p),
                .input_bytes = winograd_input_bytes(p, &g->plan),
                .sums_bytes = winograd_sums_bytes(&g->plan),
                .strip_bytes = winograd_strip_bytes(p, &g->plan)};
  TileKernel like = {.lanes = lanes(g),
                     .vecs = g->plan.nr / lanes(g),
                     .unroll = g->plan.level->unroll,
                     .a_step = 4,
                     .b_step = g->plan.nr * 4,
                     .sums_row = g->plan.nr * 4,
                     .ahead = true};
  int low, high;
  winograd_heights(p, &g->plan, &low, &high);
  TRY(tile_set(e, &g->tiles, low, high, like));
  TRY(make_epilogue(g));
  TRY(make_spread(&w));
  TRY(make_exact(&w));
  TRY(make_gather(&w));
  g->args = emit_function(e, g->name);
  return make_parts(&w);
}
