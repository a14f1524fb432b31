/* depthwise.c - convolutions of single channels: each part is one plane of the input and the rows of the weight on it.
 *
 * The plane is copied into scratch with zeros around it. With a stride along the last axis every row is stored as that many
 * phases, columns 0, s, 2s … then 1, s + 1 …, so that consecutive positions are consecutive elements under every tap:
 *
 *   stride 2, begin 1:   row | 0 x1 x3 x5 … | x0 x2 x4 … |      tap t of position o: phase t % 2, element o + t / 2
 *
 * Then a block of positions, some rows by some vectors, runs through all taps, which are unrolled. Sums of the whole plane go
 * to scratch; stores of whole vectors run over the ends of rows, which the next row mends.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"

typedef struct Depthwise {
  Gen *g;
  Emitter *e;
  const ProductWindow *w;
  int lanes, rows, vecs; /* of a block of positions */
  LVal in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES];
  LVal reach[2];     /* rows of the copy along the first two axes */
  LVal pitch, phase; /* elements of the copy from row to row, from phase to phase of a row */
  LVal copy, sums;
  LVal x, weight; /* the plane; the taps of the row of the weight */
} Depthwise;

static Status geometry(Depthwise *d) {
  const ProductWindow *w = d->w;
  Emitter *e = d->e;
  Gen *g = d->g;
  int64_t n, m;
  for (int i = 0; i < WINDOW_AXES; i++) {
    TRY(dim_value(e, &g->args, w->in[i], g->dim, g->ndim, &d->in[i]));
    TRY(dim_value(e, &g->args, w->out[i], g->dim, g->ndim, &d->out[i]));
    TRY(dim_value(e, &g->args, w->begin[i], g->dim, g->ndim, &d->begin[i]));
  }
  for (int i = 0; i < 2; i++)
    d->reach[i] = i64_add(e, i64_muli(e, i64_sub(e, d->out[i], i64_of(e, 1)), w->stride[i]),
                          i64_of(e, (w->kernel[i] - 1) * w->dilation[i] + 1));
  d->rows = 1, d->vecs = DEPTHWISE_VECS / 2;
  if (dim_is_const(w->out[2], &n) && n > 0) {
    int64_t vecs = (n - 1) / d->lanes + 1;
    d->vecs = vecs < DEPTHWISE_VECS ? (int)vecs : DEPTHWISE_VECS;
    d->rows = DEPTHWISE_VECS / d->vecs;
  }
  if (!dim_is_const(w->out[1], &m) || m < d->rows)
    d->rows = 1;
  d->phase = i64_add(e, d->out[2], i64_of(e, depthwise_reach(w) + DEPTHWISE_VECS * d->lanes));
  d->pitch = i64_muli(e, d->phase, w->stride[2]);
  return ST_OK;
}

/* --- the copy --- */

/* Lanes l whose place + l * step is in the input's row. */
static LVal lanes_in_row(Depthwise *d, LVal place, int64_t step) {
  Emitter *e = d->e;
  LVal lane[16];
  for (int i = 0; i < d->lanes; i++)
    lane[i] = emit_int(e->i64, i * step);
  LVal at = LLVMBuildAdd(e->b, emit_splat(e, place, d->lanes), LLVMConstVector(lane, (unsigned)d->lanes), "");
  return LLVMBuildICmp(e->b, LLVMIntULT, at, emit_splat(e, d->in[2], d->lanes), "");
}

static LVal load_row(Depthwise *d, LVal row, LVal place) {
  LType t = emit_vec(d->e->f32, d->lanes);
  return emit_masked_load(d->e, t, at_float(d->e, row, place), lanes_in_row(d, place, 1), emit_real(t, 0), 4);
}

static LVal every_second(Emitter *e, LVal a, LVal b, int lanes, int first) {
  LVal lane[16];
  for (int i = 0; i < lanes; i++)
    lane[i] = emit_int(e->i32, first + 2 * i);
  return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(lane, (unsigned)lanes), "");
}

/* Elements v … of all phases of a row. */
static void copy_vector(Depthwise *d, LVal row, LVal v, LVal to) {
  Emitter *e = d->e;
  int64_t s = d->w->stride[2];
  int n = d->lanes;
  LVal place = i64_sub(e, i64_muli(e, v, s), d->begin[2]);
  LVal second = at_float(e, to, d->phase), lane[16];
  if (s == 1) {
    store_f32(e, load_row(d, row, place), to);
  } else if (s == 2) {
    LVal a = load_row(d, row, place), b = load_row(d, row, i64_add(e, place, i64_of(e, n)));
    store_f32(e, every_second(e, a, b, n, 0), to);
    store_f32(e, every_second(e, a, b, n, 1), second);
  } else {
    LType t = emit_vec(e->f32, n);
    for (int i = 0; i < n; i++)
      lane[i] = emit_int(e->i64, i * s);
    LVal index = LLVMConstVector(lane, (unsigned)n);
    Loop p = loop_begin(e, i64_of(e, 0), i64_of(e, s), 1);
    LVal first = i64_add(e, place, p.i), from = at_float(e, row, first);
    LVal x = emit_gather(e, t, LLVMBuildGEP2(e->b, e->f32, from, &index, 1, ""), lanes_in_row(d, first, s),
                         emit_real(t, 0), 4);
    store_f32(e, x, at_float(e, to, i64_mul(e, p.i, d->phase)));
    loop_end(e, &p);
  }
}

/* All that is read is written: rows by whole vectors, the last one reaching back so as to end with the row. */
static void copy_row(Depthwise *d, LVal row, LVal to, LVal inside) {
  Emitter *e = d->e;
  LVal zero = emit_real(emit_vec(e->f32, d->lanes), 0), step = i64_of(e, d->lanes);
  LLVMBasicBlockRef yes = emit_block(e, "inside"), no = emit_block(e, "outside"), done = emit_block(e, "copied");
  LLVMBuildCondBr(e->b, inside, yes, no);
  LLVMPositionBuilderAtEnd(e->b, yes);
  Loop v = loop_begin(e, i64_of(e, 0), d->phase, d->lanes);
  LVal at = i64_min(e, v.i, i64_sub(e, d->phase, step));
  copy_vector(d, row, at, at_float(e, to, at));
  loop_end(e, &v);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, no);
  v = loop_begin(e, i64_of(e, 0), d->pitch, d->lanes);
  store_f32(e, zero, at_float(e, to, i64_min(e, v.i, i64_sub(e, d->pitch, step))));
  loop_end(e, &v);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static void copy_plane(Depthwise *d) {
  Emitter *e = d->e;
  Loop a = loop_begin(e, i64_of(e, 0), d->reach[0], 1), b = loop_begin(e, i64_of(e, 0), d->reach[1], 1);
  LVal y0 = i64_sub(e, a.i, d->begin[0]), y1 = i64_sub(e, b.i, d->begin[1]);
  LVal ok = LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntULT, y0, d->in[0], ""),
                         LLVMBuildICmp(e->b, LLVMIntULT, y1, d->in[1], ""), "");
  LVal row = at_float(e, d->x, i64_mul(e, i64_add(e, i64_mul(e, y0, d->in[1]), y1), d->in[2]));
  LVal to = at_float(e, d->copy, i64_mul(e, i64_add(e, i64_mul(e, a.i, d->reach[1]), b.i), d->pitch));
  copy_row(d, row, to, ok);
  loop_end(e, &b);
  loop_end(e, &a);
}

/* --- sums --- */

enum { BLOCK = DEPTHWISE_VECS };

/* One row of taps, those of the last axis, for the whole block. from: the block's first element under tap (t0, t1, 0). */
static void tap_row(Depthwise *d, LVal from, int first, LVal *sum) {
  Emitter *e = d->e;
  const ProductWindow *w = d->w;
  for (int t = 0; t < w->kernel[2]; t++) {
    int64_t far = t * w->dilation[2];
    LVal tap = emit_splat(e, load_f32(e, 1, at_bytes(e, d->weight, i64_of(e, (first + t) * 4))), d->lanes);
    LVal phase = at_float(e, from, i64_muli(e, d->phase, far % w->stride[2]));
    for (int r = 0; r < d->rows; r++) {
      LVal row = at_float(e, phase, i64_muli(e, d->pitch, r * w->stride[1]));
      for (int v = 0; v < d->vecs; v++) {
        LVal at = at_bytes(e, row, i64_of(e, (far / w->stride[2] + v * d->lanes) * 4));
        LVal *s = &sum[r * d->vecs + v];
        *s = emit_fma(e, tap, load_f32(e, d->lanes, at), *s);
      }
    }
  }
}

/* A block of positions from (o0, o1, o2) on. */
static void sum_block(Depthwise *d, LVal o0, LVal o1, LVal o2) {
  Emitter *e = d->e;
  const ProductWindow *w = d->w;
  LVal sum[BLOCK];
  for (int i = 0; i < d->rows * d->vecs; i++)
    sum[i] = emit_real(emit_vec(e->f32, d->lanes), 0);
  int tap = 0;
  for (int t0 = 0; t0 < w->kernel[0]; t0++)
    for (int t1 = 0; t1 < w->kernel[1]; t1++, tap += (int)w->kernel[2]) {
      LVal y0 = i64_add(e, i64_muli(e, o0, w->stride[0]), i64_of(e, t0 * w->dilation[0]));
      LVal y1 = i64_add(e, i64_muli(e, o1, w->stride[1]), i64_of(e, t1 * w->dilation[1]));
      LVal row = i64_mul(e, i64_add(e, i64_mul(e, y0, d->reach[1]), y1), d->pitch);
      tap_row(d, at_float(e, d->copy, i64_add(e, row, o2)), tap, sum);
    }
  LVal at = i64_add(e, i64_mul(e, i64_add(e, i64_mul(e, o0, d->out[1]), o1), d->out[2]), o2);
  for (int r = 0; r < d->rows; r++)
    for (int v = 0; v < d->vecs; v++) {
      LVal to = i64_add(e, at, i64_muli(e, d->out[2], r));
      store_f32(e, sum[r * d->vecs + v], at_float(e, d->sums, i64_add(e, to, i64_of(e, v * d->lanes))));
    }
}

/* The last block of rows reaches back to be whole: it computes some rows again, in the same way. */
static void sum_plane(Depthwise *d) {
  Emitter *e = d->e;
  Loop a = loop_begin(e, i64_of(e, 0), d->out[0], 1), b = loop_begin(e, i64_of(e, 0), d->out[1], d->rows);
  LVal o1 = i64_min(e, b.i, i64_sub(e, d->out[1], i64_of(e, d->rows)));
  Loop v = loop_begin(e, i64_of(e, 0), d->out[2], d->vecs * d->lanes);
  sum_block(d, a.i, o1, v.i);
  loop_end(e, &v);
  loop_end(e, &b);
  loop_end(e, &a);
}

Status depthwise_body(Gen *g) {
  Emitter *e = g->e;
  Depthwise d = {.g = g, .e = e, .w = g->p->window, .lanes = lanes(g)};
  TRY(geometry(&d));
  LVal rows = i64_mul(e, d.reach[0], d.reach[1]), group = i64_of(e, g->p->group > 1 ? g->p->group : 1);
  d.copy = g->args.scratch, d.sums = at_float(e, d.copy, i64_mul(e, rows, d.pitch));
  Loop p = loop_begin(e, g->args.begin, g->args.end, 1);
  emit_poll(e, &g->args);
  d.x = at_float(e, emit_arg_buf(e, &g->args, 1), i64_mul(e, p.i, g->plane));
  copy_plane(&d);
  Loop i = loop_begin(e, i64_of(e, 0), g->m, 1);
  LVal row = i64_add(e, i64_mul(e, i64_rem(e, p.i, group), g->m), i.i);
  d.weight = at_float(e, emit_arg_buf(e, &g->args, 0), i64_muli(e, row, d.w->taps));
  sum_plane(&d);
  call_epilogue(g, d.sums, p.i, i.i, i64_of(e, 1), i64_of(e, 0), g->n);
  loop_end(e, &i);
  loop_end(e, &p);
  LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
  return ST_OK;
}
