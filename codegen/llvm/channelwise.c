/* channelwise.c - convolutions of single channels where the channels go last: a vector holds neighbouring channels of one
 * position, a block of sums is some positions of a row by the vectors of a panel of channels.
 *
 *   for each part: a row of the last axis, a panel of channels; a few rows of a panel follow each other
 *     for each block of positions
 *       for each tap     the vectors of the weight, then for each position its channels, from memory
 *
 * Integers of 8 bits are widened as they are read, and the sums are exact (codegen/integer.h).
 *
 * What the mean of all positions is made of, that of every line, is taken when the line has been stored.
 *
 * Where a line's blocks are known, sums go through a cheap epilogue from the registers they are in; else a function of its own reads
 * them from scratch.
 *
 * A block whose taps are all inside along the row reaches every position from one address. Where extents are known, so is what
 * blocks at the edges see; else each position has an address of its own there, that of a row of zeros where the tap is outside.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"

#include <string.h>

enum {
  MAX_SUMS = 24,
  UNROLLED = 128, /* multiply-adds written out for a row of taps, at most */
  MAX_APART = 4,  /* taps whose places other positions see as well */
  MOST_EDGES = 4, /* blocks of a line that are written out */
  LINES = 4       /* of a panel, one after the other */
};

typedef struct Channelwise {
  Gen *g;
  Emitter *e;
  const ProductWindow *w;
  int lanes, rows, vecs; /* of a block: positions, vectors */
  int64_t step;          /* bytes from position to position of the input */
  LVal in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES];
  LVal mask[MAX_SUMS];       /* by vector: channels that exist; NULL: all */
  LVal place[WINDOW_AXES];   /* where the windows begin: of the row, and of the block's first position */
  LVal low[2], high[2];      /* taps inside, of the first two axes */
  LVal image, weight, zeros; /* the first channel of the panel, in the image; the panel's taps; a row of zeros */
  LVal sum[MAX_SUMS], phi[3][MAX_SUMS];
  Epilogue *epilogue; /* NULL: it is called */
  /* Of a block at an edge whose place is known: where its first window begins, the input's extent, the positions that there
   * are. 0 positions: all windows are inside. */
  int64_t from, extent, positions;
} Channelwise;

static Status geometry(Channelwise *d) {
  Gen *g = d->g;
  for (int i = 0; i < WINDOW_AXES; i++) {
    TRY(dim_value(d->e, &g->args, d->w->in[i], g->dim, g->ndim, &d->in[i]));
    TRY(dim_value(d->e, &g->args, d->w->out[i], g->dim, g->ndim, &d->out[i]));
    TRY(dim_value(d->e, &g->args, d->w->begin[i], g->dim, g->ndim, &d->begin[i]));
  }
  return ST_OK;
}

/* --- sums carried through loops --- */

static Loop carry_begin(Channelwise *d, int level, LVal from, LVal to) {
  Emitter *e = d->e;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  Loop l = loop_begin(e, from, to, 1);
  LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(l.head));
  for (int i = 0; i < d->rows * d->vecs; i++) {
    LVal phi = LLVMBuildPhi(e->b, LLVMTypeOf(d->sum[i]), "");
    LLVMAddIncoming(phi, &d->sum[i], &before, 1);
    d->sum[i] = d->phi[level][i] = phi;
  }
  LLVMPositionBuilderAtEnd(e->b, l.body);
  return l;
}

static void carry_end(Channelwise *d, int level, Loop *l) {
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(d->e->b);
  for (int i = 0; i < d->rows * d->vecs; i++)
    LLVMAddIncoming(d->phi[level][i], &d->sum[i], &latch, 1), d->sum[i] = d->phi[level][i];
  loop_end(d->e, l);
}

/* --- a block --- */

static bool integers(const Channelwise *d) { return d->g->p->bytes != DT_none; }
static int64_t element_bytes(const Gen *g) { return g->p->bytes ? 1 : 4; }

static LVal load_channels(Channelwise *d, LVal from, int v) {
  LVal at = at_bytes(d->e, from, i64_of(d->e, v * d->lanes * element_bytes(d->g)));
  if (integers(d))
    return integer_channels(d->g, at, d->mask[v]);
  LType t = emit_vec(d->e->f32, d->lanes);
  return d->mask[v] ? emit_masked_load(d->e, t, at, d->mask[v], emit_real(t, 0), 4) : load_f32(d->e, d->lanes, at);
}

static LVal load_weight(Channelwise *d, LVal taps, int v) {
  LVal k = load_f32(d->e, d->lanes, at_bytes(d->e, taps, i64_of(d->e, v * d->lanes * 4)));
  return integers(d) ? emit_bitcast(d->e, k, d->e->i32) : k;
}

static LVal multiply_add(Channelwise *d, LVal x, LVal k, LVal sum) {
  return integers(d) ? integer_tap(d->g, sum, x, k) : emit_fma(d->e, x, k, sum);
}

/* Tap t of the last axis. row: the first channel of the input's row; weight: those of tap 0. */
static void one_tap(Channelwise *d, LVal row, LVal weight, LVal t, bool inside) {
  Emitter *e = d->e;
  const ProductWindow *w = d->w;
  LVal x0 = i64_add(e, d->place[2], i64_muli(e, t, w->dilation[2])), k[MAX_SUMS];
  LVal base = at_bytes(e, row, i64_muli(e, x0, d->step)), taps = at_bytes(e, weight, i64_muli(e, t, d->g->plan.nr * 4));
  for (int v = 0; v < d->vecs; v++)
    k[v] = load_weight(d, taps, v);
  for (int p = 0; p < d->rows; p++) {
    LVal from = at_bytes(e, base, i64_of(e, p * w->stride[2] * d->step));
    if (!inside) {
      LVal x = i64_add(e, x0, i64_of(e, p * w->stride[2]));
      from = LLVMBuildSelect(e->b, LLVMBuildICmp(e->b, LLVMIntULT, x, d->in[2], ""), from, d->zeros, "");
    }
    for (int v = 0; v < d->vecs; v++)
      d->sum[p * d->vecs + v] = multiply_add(d, load_channels(d, from, v), k[v], d->sum[p * d->vecs + v]);
  }
}

/* Does position p of the block see what is `at` behind its first window's beginning? By which tap? */
static bool sees(const Channelwise *d, int p, int64_t at, int64_t *tap) {
  int64_t stride = d->w->stride[2], apart = d->w->dilation[2];
  if (d->positions && (p >= d->positions || d->from + at < 0 || d->from + at >= d->extent))
    return false;
  *tap = (at - p * stride) / apart;
  return at >= p * stride && (at - p * stride) % apart == 0 && *tap < d->w->kernel[2];
}

/* The furthest column that a block reads, from its first. */
static int64_t reach(const Channelwise *d) {
  return (d->rows - 1) * d->w->stride[2] + (d->w->kernel[2] - 1) * d->w->dilation[2];
}

/* The channels of column c of a block. */
static LVal column(Channelwise *d, LVal base, int64_t c, bool inside) {
  Emitter *e = d->e;
  LVal from = at_bytes(e, base, i64_of(e, c * d->step));
  if (inside)
    return from;
  LVal ok = LLVMBuildICmp(e->b, LLVMIntULT, i64_add(e, d->place[2], i64_of(e, c)), d->in[2], "");
  return LLVMBuildSelect(e->b, ok, from, d->zeros, "");
}

/* Do the sums, the taps of a vector and what they meet have room in registers? */
static bool in_registers(const Channelwise *d) {
  return d->rows * d->vecs + d->w->kernel[2] + 1 <= (d->lanes == 16 ? 32 : 16) && d->w->dilation[2] <= MAX_APART;
}

/* Taps of the last axis: what stands at a place is loaded, and widened, once for all positions that see it, by one tap or another,
 * while the taps of a vector of channels stay in registers where there is room. A sum still takes its taps in order. */
static void row_of_taps(Channelwise *d, LVal row, LVal weight, bool inside) {
  Emitter *e = d->e;
  const ProductWindow *w = d->w;
  bool kept = in_registers(d);
  LVal base = at_bytes(e, row, i64_muli(e, d->place[2], d->step)), k[UNROLLED];
  for (int v = 0; v < d->vecs; v++) {
    int64_t t;
    for (t = 0; kept && t < w->kernel[2]; t++)
      k[t] = load_weight(d, at_bytes(e, weight, i64_of(e, t * d->g->plan.nr * 4)), v);
    for (int64_t at = 0; at <= reach(d); at++) {
      LVal x = NULL;
      for (int p = 0; p < d->rows; p++)
        if (sees(d, p, at, &t)) {
          LVal *sum = &d->sum[p * d->vecs + v];
          LVal tap = kept ? k[t] : load_weight(d, at_bytes(e, weight, i64_of(e, t * d->g->plan.nr * 4)), v);
          x = x ? x : load_channels(d, column(d, base, at, inside), v);
          *sum = multiply_add(d, x, tap, *sum);
        }
    }
  }
}

/* All taps of a block, of an image of one plane without a loop over planes. */
static void sum_block(Channelwise *d, bool inside) {
  Emitter *e = d->e;
  const ProductWindow *w = d->w;
  for (int i = 0; i < d->rows * d->vecs; i++)
    d->sum[i] = integers(d) ? emit_int(emit_vec(e->i32, d->lanes), 0) : emit_real(emit_vec(e->f32, d->lanes), 0);
  bool flat = w->kernel[0] == 1 && dim_is(w->in[0], 1) && dim_is(w->out[0], 1) && dim_is(w->begin[0], 0);
  Loop t0 = {.i = i64_of(e, 0)}, t1;
  if (!flat)
    t0 = carry_begin(d, 0, d->low[0], d->high[0]);
  t1 = carry_begin(d, 1, d->low[1], d->high[1]);
  LVal y0 = i64_add(e, d->place[0], i64_muli(e, t0.i, w->dilation[0]));
  LVal y1 = i64_add(e, d->place[1], i64_muli(e, t1.i, w->dilation[1]));
  LVal line = i64_mul(e, i64_add(e, i64_mul(e, y0, d->in[1]), y1), d->in[2]);
  LVal row = settled(e, at_bytes(e, d->image, i64_muli(e, line, d->step)));
  LVal tap = i64_muli(e, i64_add(e, i64_muli(e, t0.i, w->kernel[1]), t1.i), w->kernel[2] * d->g->plan.nr * 4);
  LVal weight = settled(e, at_bytes(e, d->weight, tap));
  bool unrolled = w->kernel[2] * d->rows * d->vecs <= UNROLLED;
  if ((inside && in_registers(d)) || (unrolled && integers(d) && reach(d) <= UNROLLED)) {
    row_of_taps(d, row, weight, inside);
  } else if (unrolled) {
    for (int t = 0; t < w->kernel[2]; t++)
      one_tap(d, row, weight, i64_of(e, t), inside);
  } else {
    Loop t2 = carry_begin(d, 2, i64_of(e, 0), i64_of(e, w->kernel[2]));
    one_tap(d, row, weight, t2.i, inside);
    carry_end(d, 2, &t2);
  }
  carry_end(d, 1, &t1);
  if (!flat)
    carry_end(d, 0, &t0);
}

static void sums_to_scratch(Channelwise *d) {
  for (int i = 0; i < d->rows * d->vecs; i++)
    store_f32(d->e, d->sum[i], at_bytes(d->e, d->g->args.scratch, i64_of(d->e, i * d->lanes * 4)));
}

static void one_block(Channelwise *d, LVal o2) {
  Emitter *e = d->e;
  const ProductWindow *w = d->w;
  LLVMBasicBlockRef inner = emit_block(e, "inside"), edge = emit_block(e, "edge"), done = emit_block(e, "summed");
  d->place[2] = i64_sub(e, i64_muli(e, o2, w->stride[2]), d->begin[2]);
  LVal last = i64_add(e, d->place[2], i64_of(e, reach(d)));
  LVal ok = LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntSGE, d->place[2], i64_of(e, 0), ""),
                         i64_less(e, last, d->in[2]), "");
  LLVMBuildCondBr(e->b, ok, inner, edge);
  LLVMPositionBuilderAtEnd(e->b, inner);
  sum_block(d, true);
  sums_to_scratch(d);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, edge);
  sum_block(d, false);
  sums_to_scratch(d);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

/* --- a part --- */

static LVal not_below(Emitter *e, LVal v, int64_t low) {
  LVal l = i64_of(e, low);
  return LLVMBuildSelect(e->b, i64_less(e, v, l), l, v, "");
}

/* Taps of the first two axes that are inside of the input: place + t * dilation in [0, in). */
static void taps_inside(Channelwise *d) {
  Emitter *e = d->e;
  for (int i = 0; i < 2; i++) {
    LVal step = i64_of(e, d->w->dilation[i]), before = i64_sub(e, i64_of(e, 0), d->place[i]);
    LVal room = i64_sub(e, d->in[i], d->place[i]);
    d->low[i] = i64_ceildiv(e, not_below(e, before, 0), step);
    d->high[i] = i64_min(e, i64_ceildiv(e, not_below(e, room, 0), step), i64_of(e, d->w->kernel[i]));
  }
}

static void channels_left(Channelwise *d, LVal col0) {
  Emitter *e = d->e;
  int64_t n;
  for (int v = 0; v < d->vecs; v++) {
    d->mask[v] = NULL;
    if (dim_is_const(d->g->p->n, &n) && n % d->g->plan.nr == 0)
      continue;
    LVal left = i64_sub(e, i64_sub(e, d->g->n, col0), i64_of(e, v * d->lanes));
    LVal room = emit_splat(e, LLVMBuildTrunc(e->b, left, e->i32, ""), d->lanes);
    d->mask[v] = LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->i32, d->lanes), room, "");
  }
}

/* What a block has summed goes where it belongs, by a function that is made on need. */
static Status finish_block(Channelwise *d, LVal line, LVal o2, LVal col0) {
  Emitter *e = d->e;
  Gen *g = d->g;
  if (!g->epilogue)
    TRY(make_epilogue(g));
  LVal rows = i64_min(e, i64_sub(e, d->out[2], o2), i64_of(e, d->rows));
  LVal cols = i64_min(e, i64_sub(e, g->n, col0), i64_of(e, g->plan.nr));
  call_epilogue(g, g->args.scratch, i64_of(e, 0), i64_add(e, i64_mul(e, line, d->out[2]), o2), rows, col0, cols);
  return ST_OK;
}

static Status store_positions(Channelwise *d, LVal row, int64_t from, int64_t to, LVal col0) {
  Emitter *e = d->e;
  for (int64_t p = from; p < to; p++)
    for (int v = 0; v < d->vecs; v++)
      TRY(epilogue_store(d->epilogue, i64_of(e, 0), i64_add(e, row, i64_of(e, p)),
                         i64_add(e, col0, i64_of(e, v * d->lanes)), d->sum[p * d->vecs + v], d->mask[v]));
  return ST_OK;
}

/* The sums of block b of a line of `out` positions, of which the last block may have fewer than the others. */
static Status store_block(Channelwise *d, LVal line, LVal b, int64_t out, LVal col0) {
  Emitter *e = d->e;
  int64_t last = (out - 1) / d->rows, fewest = out - last * d->rows;
  LVal o2 = i64_muli(e, b, d->rows), row = i64_add(e, i64_mul(e, line, d->out[2]), o2);
  if (!d->epilogue) {
    sums_to_scratch(d);
    return finish_block(d, line, o2, col0);
  }
  TRY(store_positions(d, row, 0, fewest, col0));
  if (fewest == d->rows || !last)
    return ST_OK;
  LLVMBasicBlockRef done = when_begin(e, LLVMBuildICmp(e->b, LLVMIntNE, b, i64_of(e, last), ""));
  TRY(store_positions(d, row, fewest, d->rows, col0));
  when_end(e, done);
  return ST_OK;
}

/* A block at this position, known, of a line of known extents. */
static void edge_block(Channelwise *d, int64_t o2, int64_t out, int64_t begin) {
  d->from = o2 * d->w->stride[2] - begin, d->positions = out - o2 < d->rows ? out - o2 : d->rows;
  d->place[2] = i64_of(d->e, d->from);
  sum_block(d, true);
  d->positions = 0;
}

/* Ways to sum a block, one of which is taken: where each ends, with which sums. */
typedef struct Ways {
  LLVMBasicBlockRef done, from[MOST_EDGES + 1];
  LVal sum[MOST_EDGES + 1][MAX_SUMS];
  unsigned n;
} Ways;

static void end_way(Channelwise *d, Ways *w) {
  memcpy(w->sum[w->n], d->sum, sizeof d->sum);
  w->from[w->n++] = LLVMGetInsertBlock(d->e->b);
  LLVMBuildBr(d->e->b, w->done);
}

static void join_ways(Channelwise *d, Ways *w) {
  LLVMPositionBuilderAtEnd(d->e->b, w->done);
  for (int i = 0; i < d->rows * d->vecs; i++) {
    LVal phi = LLVMBuildPhi(d->e->b, LLVMTypeOf(w->sum[0][i]), "");
    for (unsigned k = 0; k < w->n; k++)
      LLVMAddIncoming(phi, &w->sum[k][i], &w->from[k], 1);
    d->sum[i] = phi;
  }
}

/* The blocks of a line of known extents: the sums of those at its ends are written out, in which taps outside of the input do not
 * occur; what becomes of sums stands once behind all of them.
 * *done false: not such a line. */
static Status known_line(Channelwise *d, LVal line, LVal col0, bool *done) {
  Emitter *e = d->e;
  const ProductWindow *w = d->w;
  int64_t out, begin, step = d->rows * w->stride[2];
  *done = false;
  if (!dim_is_const(w->in[2], &d->extent) || !dim_is_const(w->out[2], &out) || !dim_is_const(w->begin[2], &begin) ||
      !in_registers(d) || w->kernel[2] * d->rows * d->vecs > UNROLLED)
    return ST_OK;
  int64_t blocks = (out - 1) / d->rows + 1, low = (begin + step - 1) / step, high = blocks;
  if (low > blocks)
    low = blocks;
  while (high > low && ((high - 1) * step - begin + reach(d) >= d->extent || high * d->rows > out))
    high--;
  if (out < 1 || low + blocks - high > MOST_EDGES)
    return ST_OK;
  *done = true;
  int64_t edge[MOST_EDGES + 1], n = 0; /* one below 0: the blocks between the edges */
  if (low < high)
    edge[n++] = -1;
  for (int64_t b = 0; b < blocks; b++)
    if (b < low || b >= high)
      edge[n++] = b;
  Loop l = loop_begin(e, i64_of(e, 0), i64_of(e, blocks), 1);
  Ways ways = {.done = emit_block(e, "summed")};
  for (int64_t i = 0; i < n; i++) {
    LLVMBasicBlockRef this = emit_block(e, "way"), other = i + 1 < n ? emit_block(e, "other") : NULL;
    LVal behind = i64_sub(e, l.i, i64_of(e, edge[i] < 0 ? low : edge[i]));
    LVal many = i64_of(e, edge[i] < 0 ? high - low : 1);
    if (other)
      LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntULT, behind, many, ""), this, other);
    else
      LLVMBuildBr(e->b, this);
    LLVMPositionBuilderAtEnd(e->b, this);
    if (edge[i] < 0) {
      d->place[2] = i64_sub(e, i64_muli(e, l.i, step), d->begin[2]);
      sum_block(d, true);
    } else {
      edge_block(d, edge[i] * d->rows, out, begin);
    }
    end_way(d, &ways);
    if (other)
      LLVMPositionBuilderAtEnd(e->b, other);
  }
  join_ways(d, &ways);
  TRY(store_block(d, line, l.i, out, col0));
  loop_end(e, &l);
  return ST_OK;
}

/* Of a line that is stored, in the cache still. */
static void line_means(Channelwise *d, LVal line, LVal col0) {
  Emitter *e = d->e;
  Gen *g = d->g;
  LType t = emit_vec(e->f32, d->lanes);
  uint32_t at = g->p->epilogue ? g->p->epilogue->nbuf : 2;
  LVal y = emit_arg_buf(e, &g->args, at), means = emit_arg_buf(e, &g->args, at + 1);
  int rows = d->rows;
  d->rows = 1;
  for (int v = 0; v < d->vecs; v++)
    d->sum[v] = emit_real(t, 0);
  Loop l = carry_begin(d, 0, i64_of(e, 0), d->out[2]);
  LVal row = i64_add(e, i64_mul(e, line, d->out[2]), l.i),
       from = at_float(e, y, i64_add(e, i64_mul(e, row, g->n), col0));
  for (int v = 0; v < d->vecs; v++) {
    LVal p = at_bytes(e, from, i64_of(e, v * d->lanes * 4));
    LVal x = d->mask[v] ? emit_masked_load(e, t, p, d->mask[v], emit_real(t, 0), 4) : load_f32(e, d->lanes, p);
    d->sum[v] = LLVMBuildFAdd(e->b, d->sum[v], x, "");
  }
  carry_end(d, 0, &l);
  LVal count = emit_splat(e, LLVMBuildSIToFP(e->b, d->out[2], e->f32, ""), d->lanes);
  LVal to = at_float(e, means, i64_add(e, i64_mul(e, line, g->n), col0));
  for (int v = 0; v < d->vecs; v++) {
    LVal mean = LLVMBuildFDiv(e->b, d->sum[v], count, ""), p = at_bytes(e, to, i64_of(e, v * d->lanes * 4));
    if (d->mask[v])
      emit_masked_store(e, mean, p, d->mask[v], 4);
    else
      store_f32(e, mean, p);
  }
  d->rows = rows;
}

static Status one_part(Channelwise *d, LVal line, LVal panel) {
  Emitter *e = d->e;
  Gen *g = d->g;
  LVal col0 = i64_muli(e, panel, g->plan.nr), o1 = i64_rem(e, line, d->out[1]), rest = i64_div(e, line, d->out[1]);
  LVal o0 = i64_rem(e, rest, d->out[0]), image = i64_div(e, rest, d->out[0]);
  d->place[0] = i64_sub(e, i64_muli(e, o0, d->w->stride[0]), d->begin[0]);
  d->place[1] = i64_sub(e, i64_muli(e, o1, d->w->stride[1]), d->begin[1]);
  taps_inside(d);
  channels_left(d, col0);
  LVal size = i64_muli(e, i64_mul(e, d->in[0], i64_mul(e, d->in[1], d->in[2])), d->step);
  LVal channel = i64_muli(e, col0, element_bytes(g));
  d->image = at_bytes(e, at_bytes(e, emit_arg_buf(e, &g->args, 0), channel), i64_mul(e, image, size));
  d->weight = at_float(e, emit_arg_buf(e, &g->args, 1), i64_mul(e, col0, g->k));
  bool done;
  TRY(known_line(d, line, col0, &done));
  if (!done) {
    Loop b = loop_begin(e, i64_of(e, 0), d->out[2], d->rows);
    one_block(d, b.i);
    TRY(finish_block(d, line, b.i, col0));
    loop_end(e, &b);
  }
  if (g->p->line_means)
    line_means(d, line, col0);
  return ST_OK;
}

/* What windows of neighbouring lines both see of a panel is in L1 still, as whole lines of all channels would not be: of
 * mobilenet_v3's convolutions of single channels 0.635 ms of 4.4 went to 0.603. */
static void line_and_panel(Emitter *e, LVal part, LVal lines, int64_t panels, LVal *line, LVal *panel) {
  LVal all = i64_of(e, panels), high = i64_of(e, LINES), group = i64_of(e, panels * LINES);
  LVal whole = i64_less(e, part, i64_mul(e, i64_div(e, lines, high), group)); /* else among the lines that are left */
  LVal first = i64_mul(e, i64_div(e, part, group), high), behind = i64_rem(e, part, group);
  LVal down = i64_add(e, first, i64_rem(e, behind, high));
  *line = LLVMBuildSelect(e->b, whole, down, i64_div(e, part, all), "");
  *panel = LLVMBuildSelect(e->b, whole, i64_div(e, behind, high), i64_rem(e, part, all), "");
}

Status channelwise_body(Gen *g) {
  Emitter *e = g->e;
  int64_t n = 0;
  Channelwise d = {.g = g, .e = e, .w = g->p->rows, .lanes = lanes(g), .rows = g->plan.mr};
  d.vecs = g->plan.nr / d.lanes;
  if (!dim_is_const(g->p->n, &n))
    return fail(e->c, ST_INTERNAL, "channels of %s that are known at run time only", g->name);
  d.step = n * element_bytes(g);
  TRY(geometry(&d));
  if (epilogue_is_cheap(g) &&
      (d.lanes == 16 || n % g->plan.nr == 0)) /* stores of some lanes are slow without AVX-512 */
    TRY(epilogue_open(g, &g->args, &d.epilogue));
  if (integers(&d))
    integer_zeros(g);
  else
    clear_zeros(g);
  d.zeros = zeros_address(g);
  LVal lines, line, panel;
  TRY(dim_value(e, &g->args, g->p->batch, g->dim, g->ndim, &lines));
  Loop p = loop_begin(e, g->args.begin, g->args.end, 1);
  emit_poll(e, &g->args);
  line_and_panel(e, p.i, lines, product_panels(&g->plan, n), &line, &panel);
  TRY(one_part(&d, line, panel));
  loop_end(e, &p);
  LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
  return ST_OK;
}
