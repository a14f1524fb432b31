/* window.c - packing a panel of B through the window of a convolution: nr positions of the output side by side, their taps
 * below each other. Where the last axis goes on, so does the input:
 *
 *   positions    | row 4 …        | row 5 …                  |  rest, zero     a segment is what lies in one row of the output
 *   c, t0,t1,t2  | x x x x x x 0  | 0 x x x x x x x x x x 0  |  0 0 0
 *
 * For each segment, tap of the last axis and vector of positions: whether a lane is inside of the input's row does not
 * depend on the channel and the other taps, which are the inner loops.
 *
 * Where the output is as wide as the input and the stride is 1, position p reads at p plus a distance that depends on the
 * tap alone: then a vector of positions is one load, whatever rows it lies in, under a mask for each tap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/tile.h"

typedef struct Segments {
  Emitter *e;
  const ProductWindow *w;
  int lanes, nr;
  LVal x, dst, channels, plane; /* the first channel to pack; its elements */
  LVal in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES];
  LVal at[WINDOW_AXES]; /* where tap 0 of the segment's first position reads; may be outside */
  LVal col, len;        /* the segment: first column of the panel, positions */
} Segments;

static LVal clamp(Emitter *e, LVal v, int64_t high) {
  LVal zero = i64_of(e, 0);
  return i64_min(e, LLVMBuildSelect(e->b, i64_less(e, v, zero), zero, v, ""), i64_of(e, high));
}

/* Lanes l with low <= l * step < high. */
static LVal lanes_between(Emitter *e, int lanes, int64_t first, int64_t step, LVal low, LVal high) {
  LVal lane[16];
  int64_t limit = first + lanes * step;
  for (int i = 0; i < lanes; i++)
    lane[i] = emit_int(e->i32, first + i * step);
  LVal l = LLVMConstVector(lane, (unsigned)lanes);
  LVal a = emit_splat(e, LLVMBuildTrunc(e->b, clamp(e, low, limit), e->i32, ""), lanes);
  LVal b = emit_splat(e, LLVMBuildTrunc(e->b, clamp(e, high, limit), e->i32, ""), lanes);
  return LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntSGE, l, a, ""), LLVMBuildICmp(e->b, LLVMIntSLT, l, b, ""), "");
}

/* How a vector of positions is read: from consecutive elements, every second one of two vectors, or one by one. */
typedef struct Reader {
  LVal mask, more; /* lanes inside of the row; of the second vector */
} Reader;

static Reader reader(Segments *s, LVal place) {
  Emitter *e = s->e;
  LVal low = i64_sub(e, i64_of(e, 0), place), high = i64_sub(e, s->in[2], place);
  int64_t stride = s->w->stride[2];
  if (stride == 2)
    return (Reader){lanes_between(e, s->lanes, 0, 1, low, high), lanes_between(e, s->lanes, s->lanes, 1, low, high)};
  return (Reader){lanes_between(e, s->lanes, 0, stride, low, high), NULL};
}

static LVal read_vector(Segments *s, const Reader *r, LVal from) {
  Emitter *e = s->e;
  int n = s->lanes;
  LType t = emit_vec(e->f32, n);
  LVal zero = emit_real(t, 0), lane[16];
  if (s->w->stride[2] == 1)
    return emit_masked_load(e, t, from, r->mask, zero, 4);
  if (r->more) {
    LVal a = emit_masked_load(e, t, from, r->mask, zero, 4);
    LVal b = emit_masked_load(e, t, at_bytes(e, from, i64_of(e, n * 4)), r->more, zero, 4);
    for (int i = 0; i < n; i++)
      lane[i] = emit_int(e->i32, 2 * i);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(lane, (unsigned)n), "");
  }
  for (int i = 0; i < n; i++)
    lane[i] = emit_int(e->i64, i * s->w->stride[2]);
  LVal index = LLVMConstVector(lane, (unsigned)n);
  return emit_gather(e, t, LLVMBuildGEP2(e->b, e->f32, from, &index, 1, ""), r->mask, zero, 4);
}

/* i1: is tap t of axis i inside of the input? *place: its index there. */
static LVal inside(Segments *s, int i, LVal t, LVal *place) {
  Emitter *e = s->e;
  *place = i64_add(e, s->at[i], i64_muli(e, t, s->w->dilation[i]));
  return LLVMBuildICmp(e->b, LLVMIntULT, *place, s->in[i], "");
}

/* One vector of one tap of the last axis, for all channels and other taps. */
static void pack_vector(Segments *s, LVal tap, LVal place, LVal v) {
  Emitter *e = s->e;
  const ProductWindow *w = s->w;
  LType t = emit_vec(e->f32, s->lanes);
  Reader r = reader(s, place);
  LVal left = i64_sub(e, s->len, v), col = i64_add(e, s->col, v);
  LVal mask = lanes_between(e, s->lanes, 0, 1, i64_of(e, 0), left);
  /* Lanes behind the segment are the next one's, which comes later; only those behind the panel must not be written. */
  LVal fits = LLVMBuildICmp(e->b, LLVMIntSLE, col, i64_of(e, s->nr - s->lanes), "");
  LVal to = at_float(e, s->dst, i64_add(e, i64_muli(e, tap, s->nr), col));
  Loop c = loop_begin(e, i64_of(e, 0), s->channels, 1);
  Loop t0 = loop_begin(e, i64_of(e, 0), i64_of(e, w->kernel[0]), 1);
  Loop t1 = loop_begin(e, i64_of(e, 0), i64_of(e, w->kernel[1]), 1);
  LVal y0, y1, ok = inside(s, 0, t0.i, &y0);
  ok = LLVMBuildAnd(e->b, ok, inside(s, 1, t1.i, &y1), "");
  LVal row = i64_add(e, i64_mul(e, y0, s->in[1]), y1);
  LVal from = i64_add(e, i64_mul(e, c.i, s->plane), i64_add(e, i64_mul(e, row, s->in[2]), place));
  LVal k = i64_add(e, i64_muli(e, i64_add(e, i64_muli(e, c.i, w->kernel[0]), t0.i), w->kernel[1]), t1.i);
  LVal at = at_float(e, to, i64_muli(e, k, w->kernel[2] * s->nr));
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), done = when_begin(e, ok), loaded;
  LVal value = read_vector(s, &r, at_float(e, s->x, from)), zero = emit_real(t, 0);
  loaded = LLVMGetInsertBlock(e->b);
  when_end(e, done);
  LVal x = LLVMBuildPhi(e->b, t, "");
  LLVMAddIncoming(x, (LVal[]){zero, value}, (LLVMBasicBlockRef[]){before, loaded}, 2);
  LLVMBasicBlockRef whole = emit_block(e, "whole"), part = emit_block(e, "part"), stored = emit_block(e, "stored");
  LLVMBuildCondBr(e->b, fits, whole, part);
  LLVMPositionBuilderAtEnd(e->b, whole);
  store_f32(e, x, at);
  LLVMBuildBr(e->b, stored);
  LLVMPositionBuilderAtEnd(e->b, part);
  emit_masked_store(e, x, at, mask, 4);
  LLVMBuildBr(e->b, stored);
  LLVMPositionBuilderAtEnd(e->b, stored);
  loop_end(e, &t1);
  loop_end(e, &t0);
  loop_end(e, &c);
}

static void pack_segment(Segments *s) {
  Emitter *e = s->e;
  const ProductWindow *w = s->w;
  Loop t = loop_begin(e, i64_of(e, 0), i64_of(e, w->kernel[2]), 1);
  LVal place = i64_add(e, s->at[2], i64_muli(e, t.i, w->dilation[2]));
  Loop v = loop_begin(e, i64_of(e, 0), s->len, s->lanes);
  pack_vector(s, t.i, i64_add(e, place, i64_muli(e, v.i, w->stride[2])), v.i);
  loop_end(e, &v);
  loop_end(e, &t);
}

/* Columns from width on, which nobody stores, are zero: what else is in memory may be slow numbers. */
static void clear_rest(Segments *s, LVal width) {
  Emitter *e = s->e;
  LVal rows = i64_muli(e, s->channels, s->w->taps), zero = emit_real(emit_vec(e->f32, s->lanes), 0);
  LLVMBasicBlockRef done = when_begin(e, i64_less(e, width, i64_of(e, s->nr)));
  Loop v = loop_begin(e, LLVMBuildAnd(e->b, width, i64_of(e, -s->lanes), ""), i64_of(e, s->nr), s->lanes);
  LVal mask = lanes_between(e, s->lanes, 0, 1, i64_sub(e, width, v.i), i64_of(e, s->lanes));
  Loop k = loop_begin(e, i64_of(e, 0), rows, 1);
  emit_masked_store(e, zero, at_float(e, s->dst, i64_add(e, i64_muli(e, k.i, s->nr), v.i)), mask, 4);
  loop_end(e, &k);
  loop_end(e, &v);
  when_end(e, done);
}

/* --- the same rows in input and output --- */

static bool same_rows(const ProductWindow *w) {
  return w->stride[0] == 1 && w->stride[1] == 1 && w->stride[2] == 1 && w->in[1] == w->out[1] && w->in[2] == w->out[2];
}

/* Lanes whose place, `at` on axis i without a tap, is inside of the input with tap t. */
static LVal lanes_inside(Segments *s, int i, LVal at, LVal t) {
  Emitter *e = s->e;
  LVal shift = i64_sub(e, i64_muli(e, t, s->w->dilation[i]), s->begin[i]);
  LVal place = LLVMBuildAdd(e->b, at, emit_splat(e, LLVMBuildTrunc(e->b, shift, e->i32, ""), s->lanes), "");
  LVal room = emit_splat(e, LLVMBuildTrunc(e->b, s->in[i], e->i32, ""), s->lanes);
  return LLVMBuildICmp(e->b, LLVMIntULT, place, room, "");
}

/* The coordinates of the positions from p on, as i32. */
static void coordinates(Segments *s, LVal p, LVal *o) {
  Emitter *e = s->e;
  LVal lane = emit_iota(e, e->i32, s->lanes);
  LVal at = LLVMBuildAdd(e->b, emit_splat(e, LLVMBuildTrunc(e->b, p, e->i32, ""), s->lanes), lane, "");
  for (int i = WINDOW_AXES; i-- > 1;) {
    LVal n = emit_splat(e, LLVMBuildTrunc(e->b, s->out[i], e->i32, ""), s->lanes);
    o[i] = LLVMBuildURem(e->b, at, n, "");
    at = LLVMBuildUDiv(e->b, at, n, "");
  }
  o[0] = at;
}

/* One vector of positions under one tap, for all channels. */
static void pack_tap(Segments *s, LVal from, LVal to, LVal mask) {
  Emitter *e = s->e;
  LType t = emit_vec(e->f32, s->lanes);
  LVal step = i64_muli(e, s->plane, 4), next = i64_of(e, s->w->taps * s->nr * 4);
  Loop c = loop_begin(e, i64_of(e, 0), s->channels, 1);
  LVal x = emit_masked_load(e, t, at_bytes(e, from, i64_mul(e, c.i, step)), mask, emit_real(t, 0), 4);
  store_f32(e, x, at_bytes(e, to, i64_mul(e, c.i, next)));
  loop_end(e, &c);
}

static void pack_same_rows(Segments *s, LVal position, LVal width) {
  Emitter *e = s->e;
  const ProductWindow *w = s->w;
  LVal o[WINDOW_AXES], mask;
  Loop v = loop_begin(e, i64_of(e, 0), i64_of(e, s->nr), s->lanes), t[WINDOW_AXES];
  LVal p = i64_add(e, position, v.i), exists = lanes_between(e, s->lanes, 0, 1, i64_of(e, 0), i64_sub(e, width, v.i));
  coordinates(s, p, o);
  LVal shift = i64_of(e, 0), tap = i64_of(e, 0);
  mask = exists;
  for (int i = 0; i < WINDOW_AXES; i++) {
    t[i] = loop_begin(e, i64_of(e, 0), i64_of(e, w->kernel[i]), 1);
    mask = LLVMBuildAnd(e->b, mask, lanes_inside(s, i, o[i], t[i].i), "");
    LVal by = i64_sub(e, i64_muli(e, t[i].i, w->dilation[i]), s->begin[i]);
    shift = i64_add(e, i64_mul(e, shift, s->in[i]), by);
    tap = i64_add(e, i64_muli(e, tap, w->kernel[i]), t[i].i);
  }
  LVal from = at_float(e, s->x, i64_add(e, p, shift));
  pack_tap(s, from, at_float(e, s->dst, i64_add(e, i64_muli(e, tap, s->nr), v.i)), mask);
  for (int i = WINDOW_AXES; i-- > 0;)
    loop_end(e, &t[i]);
  loop_end(e, &v);
}

/* --- a panel --- */

static void pack_panel(Segments *s, LVal position, LVal width) {
  Emitter *e = s->e;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), head = emit_block(e, "segment"), done = emit_block(e, "packed");
  LVal zero = i64_of(e, 0);
  LLVMBuildBr(e->b, head); /* width is at least 1 */
  LLVMPositionBuilderAtEnd(e->b, head);
  s->col = LLVMBuildPhi(e->b, e->i64, "col");
  LLVMAddIncoming(s->col, &zero, &before, 1);
  LVal p = i64_add(e, position, s->col);
  LVal o[WINDOW_AXES], row = i64_div(e, p, s->out[2]);
  o[2] = i64_rem(e, p, s->out[2]), o[1] = i64_rem(e, row, s->out[1]), o[0] = i64_div(e, row, s->out[1]);
  s->len = i64_min(e, i64_sub(e, s->out[2], o[2]), i64_sub(e, width, s->col));
  for (int i = 0; i < WINDOW_AXES; i++)
    s->at[i] = i64_sub(e, i64_muli(e, o[i], s->w->stride[i]), s->begin[i]);
  pack_segment(s);
  LVal next = i64_add(e, s->col, s->len);
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(s->col, &next, &latch, 1);
  LLVMBuildCondBr(e->b, i64_less(e, next, width), head, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static Status window_dims(Segments *s, const EmitArgs *args, const Dim *dim, uint32_t ndim) {
  const ProductWindow *w = s->w;
  for (int i = 0; i < WINDOW_AXES; i++) {
    TRY(dim_value(s->e, args, w->in[i], dim, ndim, &s->in[i]));
    TRY(dim_value(s->e, args, w->out[i], dim, ndim, &s->out[i]));
    TRY(dim_value(s->e, args, w->begin[i], dim, ndim, &s->begin[i]));
  }
  return ST_OK;
}

Status window_plane(Emitter *e, const ProductWindow *w, const EmitArgs *args, const Dim *dim, uint32_t ndim,
                    LVal *plane) {
  Segments s = {.e = e, .w = w};
  TRY(window_dims(&s, args, dim, ndim));
  *plane = i64_mul(e, s.in[0], i64_mul(e, s.in[1], s.in[2]));
  return ST_OK;
}

Status window_pack(Emitter *e, const char *name, const ProductWindow *w, int lanes, int nr, const Dim *dim,
                   uint32_t ndim, LVal *fn, LType *type) {
  LType none = LLVMVoidTypeInContext(e->lc), param[] = {e->ptr, e->ptr, e->i64, e->i64, e->i64, e->ptr};
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  LVal a[countof(param)];
  *type = LLVMFunctionType(none, param, countof(param), 0);
  *fn = function_begin(e, name, none, param, countof(param));
  LLVMGetParams(*fn, a);
  EmitArgs args = args_of(e, *fn);
  Segments s = {.e = e, .w = w, .lanes = lanes, .nr = nr, .x = a[1], .channels = a[2], .dst = a[5]};
  TRY(window_dims(&s, &args, dim, ndim));
  s.plane = i64_mul(e, s.in[0], i64_mul(e, s.in[1], s.in[2]));
  if (same_rows(w)) {
    pack_same_rows(&s, a[3], a[4]);
  } else {
    pack_panel(&s, a[3], a[4]);
    clear_rest(&s, a[4]);
  }
  LLVMBuildRetVoid(e->b);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
  return ST_OK;
}
