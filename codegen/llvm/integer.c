/* integer.c - emission of products of 8-bit integers (codegen/integer.h): K is one block.
 *
 *   for each tile of rows: its rows of A to scratch memory, as the instructions take them, unless they lie so already
 *     for each panel: sums = start; for each unit of k: sums += A * B; the epilogue
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/integer.h"
#include "codegen/llvm/product.h"

#include <string.h>

enum { MAX_SUMS = 28, WRITTEN_OUT = 4, FEW_LINES = 9, LINE = 64 };

static int unit(const Gen *g) { return integer_unit(&g->plan); }
static int64_t k_of(const Gen *g) {
  int64_t k = 0;
  dim_is_const(g->p->k, &k);
  return k;
}
/* Bytes of a row of A in scratch memory. */
static int64_t row_bytes(const Gen *g) {
  return g->plan.halved ? g->plan.halved : integer_depth(k_of(g)) * (4 / unit(g));
}

static LVal load(Emitter *e, LType elem, int n, LVal p) {
  LVal v = LLVMBuildLoad2(e->b, emit_vec(elem, n), p, "");
  LLVMSetAlignment(v, 1);
  return v;
}

/* --- A --- */

/* Do rows of A lie in memory as the instructions take them? */
static bool lie_so(const Gen *g) {
  return unit(g) == 4 && !g->plan.halved && g->p->bytes == DT_u8 && !g->p->rows && k_of(g) % 4 == 0;
}

/* n elements of A, as the instructions take them. */
static LVal taken(Gen *g, LVal v, int n) {
  Emitter *e = g->e;
  if (unit(g) == 4)
    return g->p->bytes == DT_i8 ? LLVMBuildXor(e->b, v, emit_int(LLVMTypeOf(v), -128), "") : v;
  return g->p->bytes == DT_i8 ? LLVMBuildSExt(e->b, v, emit_vec(e->i16, n), "")
                              : LLVMBuildZExt(e->b, v, emit_vec(e->i16, n), "");
}

/* n elements of A from p on, or of its zero point where p is NULL, to dst. */
static void put_elements(Gen *g, int n, LVal p, LVal dst) {
  Emitter *e = g->e;
  LVal v = taken(g, p ? load(e, e->i8, n, p) : emit_int(emit_vec(e->i8, n), g->p->zero), n);
  LLVMSetAlignment(LLVMBuildStore(e->b, v, dst), 1);
}

/* n elements from number `at` of p on. */
static void put_piece(Gen *g, int n, LVal p, LVal dst, LVal at) {
  put_elements(g, n, p ? at_bytes(g->e, p, at) : NULL, at_bytes(g->e, dst, i64_muli(g->e, at, 4 / unit(g))));
}

/* The same for any number of them: whole vectors, the last of which may overlap the one before. */
static void put_run(Gen *g, int64_t n, LVal p, LVal dst) {
  Emitter *e = g->e;
  int64_t wide = lanes(g) * 4, i = 0;
  while (wide > n)
    wide /= 2;
  if (n / wide > WRITTEN_OUT) {
    Loop w = loop_begin(e, i64_of(e, 0), i64_of(e, n / wide * wide), wide);
    put_piece(g, (int)wide, p, dst, w.i);
    loop_end(e, &w);
  } else {
    for (; i + wide <= n; i += wide)
      put_piece(g, (int)wide, p, dst, i64_of(e, i));
  }
  if (n % wide)
    put_piece(g, (int)wide, p, dst, i64_of(e, n - wide));
}

/* Zeros behind K. */
static void put_end(Gen *g, LVal row) {
  Emitter *e = g->e;
  for (int64_t i = k_of(g) * (4 / unit(g)); i < row_bytes(g); i++)
    LLVMBuildStore(e->b, LLVMConstInt(e->i8, 0, 0), at_bytes(e, row, i64_of(e, i)));
}

/* `rows` rows of A, row_bytes apart. */
static void copy_rows(Gen *g, LVal a, LVal rows, LVal dst) {
  Emitter *e = g->e;
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal to = at_bytes(e, dst, i64_muli(e, r.i, row_bytes(g)));
  put_run(g, k_of(g), at_bytes(e, a, i64_mul(e, r.i, g->k)), to);
  put_end(g, to);
  loop_end(e, &r);
}

/* --- A through a window: rows are positions of the output, K the channels of tap after tap --- */

typedef struct Gather {
  Gen *g;
  const ProductWindow *w;
  int64_t channels, pitch; /* of a tap; of a position, which has those of all groups */
  LVal in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES];
  LVal image, place[WINDOW_AXES]; /* where the window of this row begins; may be outside */
} Gather;

static LVal place_bytes(Gather *x, LVal place) { return i64_muli(x->g->e, place, x->pitch); }

/* Do taps side by side lie so in memory? */
static bool dense(const Gather *x) { return x->channels == x->pitch && x->w->dilation[2] == 1; }

/* Taps t, t + 1, … of the last axis of a line of the input, of which all are inside or none, to dst. */
static void put_taps(Gather *x, LVal line, LVal place, LVal inside, int64_t taps, LVal dst) {
  Emitter *e = x->g->e;
  LLVMBasicBlockRef in = emit_block(e, "inside"), out = emit_block(e, "outside"), done = emit_block(e, "put");
  LLVMBuildCondBr(e->b, inside, in, out);
  LLVMPositionBuilderAtEnd(e->b, in);
  put_run(x->g, taps * x->channels, at_bytes(e, line, place_bytes(x, place)), dst);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, out);
  put_run(x->g, taps * x->channels, NULL, dst);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static LVal is_inside(Gather *x, LVal place, int axis) {
  return LLVMBuildICmp(x->g->e->b, LLVMIntULT, place, x->in[axis], "");
}

/* The taps of a line: at once where all are inside, else one by one. */
static void put_line(Gather *x, LVal line, LVal inside, LVal dst) {
  Emitter *e = x->g->e;
  const ProductWindow *w = x->w;
  int64_t taps = w->kernel[2], tap_bytes = x->channels * (4 / unit(x->g));
  LVal place = x->place[2], end = i64_add(e, place, i64_of(e, taps - 1));
  if (taps == 1) {
    put_taps(x, line, place, LLVMBuildAnd(e->b, inside, is_inside(x, place, 2), ""), 1, dst);
    return;
  }
  LLVMBasicBlockRef whole = emit_block(e, "whole"), each = emit_block(e, "each"), done = emit_block(e, "line");
  LVal all = LLVMBuildAnd(e->b, is_inside(x, place, 2), is_inside(x, end, 2), "");
  all = dense(x) ? LLVMBuildAnd(e->b, inside, all, "") : LLVMConstInt(e->i1, 0, 0);
  LLVMBuildCondBr(e->b, all, whole, each);
  LLVMPositionBuilderAtEnd(e->b, whole);
  put_run(x->g, taps * x->channels, at_bytes(e, line, place_bytes(x, place)), dst);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, each);
  Loop t = loop_begin(e, i64_of(e, 0), i64_of(e, taps), 1);
  LVal at = i64_add(e, place, i64_muli(e, t.i, w->dilation[2]));
  put_taps(x, line, at, LLVMBuildAnd(e->b, inside, is_inside(x, at, 2), ""), 1,
           at_bytes(e, dst, i64_muli(e, t.i, tap_bytes)));
  loop_end(e, &t);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static void place_row(Gather *x, LVal row) {
  Emitter *e = x->g->e;
  LVal rest = row;
  for (int i = WINDOW_AXES; i-- > 0;) {
    x->place[i] = i64_sub(e, i64_muli(e, i64_rem(e, rest, x->out[i]), x->w->stride[i]), x->begin[i]);
    rest = i64_div(e, rest, x->out[i]);
  }
  x->image = rest;
}

/* Line number `line` of the input, which may be one before the first. */
static LVal line_address(Gather *x, LVal a, LVal line) {
  Emitter *e = x->g->e;
  return at_bytes(e, a, i64_muli(e, i64_mul(e, line, x->in[2]), x->pitch));
}

/* A row with taps outside: each line looks for its own. */
static void gather_edge(Gather *x, LVal a, LVal dst) {
  Emitter *e = x->g->e;
  const ProductWindow *w = x->w;
  int64_t line_bytes = w->kernel[2] * x->channels * (4 / unit(x->g));
  Loop t0 = loop_begin(e, i64_of(e, 0), i64_of(e, w->kernel[0]), 1);
  Loop t1 = loop_begin(e, i64_of(e, 0), i64_of(e, w->kernel[1]), 1);
  LVal y0 = i64_add(e, x->place[0], i64_muli(e, t0.i, w->dilation[0]));
  LVal y1 = i64_add(e, x->place[1], i64_muli(e, t1.i, w->dilation[1]));
  LVal inside = LLVMBuildAnd(e->b, is_inside(x, y0, 0), is_inside(x, y1, 1), "");
  LVal line = i64_add(e, i64_mul(e, i64_add(e, i64_mul(e, x->image, x->in[0]), y0), x->in[1]), y1);
  LVal index = i64_add(e, i64_muli(e, t0.i, w->kernel[1]), t1.i);
  put_line(x, line_address(x, a, line), inside, at_bytes(e, dst, i64_muli(e, index, line_bytes)));
  loop_end(e, &t1);
  loop_end(e, &t0);
}

/* A row whose taps are all inside: its lines are runs at constant distances. */
static void gather_inner(Gather *x, LVal a, LVal dst) {
  Emitter *e = x->g->e;
  const ProductWindow *w = x->w;
  int64_t parts = dense(x) ? 1 : w->kernel[2], run = w->kernel[2] / parts * x->channels,
          run_bytes = run * (4 / unit(x->g));
  LVal first = i64_add(e, i64_mul(e, i64_add(e, i64_mul(e, x->image, x->in[0]), x->place[0]), x->in[1]), x->place[1]);
  LVal from = at_bytes(e, line_address(x, a, first), place_bytes(x, x->place[2]));
  for (int64_t t0 = 0; t0 < w->kernel[0]; t0++)
    for (int64_t t1 = 0; t1 < w->kernel[1]; t1++) {
      LVal line = i64_add(e, i64_muli(e, x->in[1], t0 * w->dilation[0]), i64_of(e, t1 * w->dilation[1]));
      for (int64_t t2 = 0; t2 < parts; t2++)
        put_run(x->g, run, at_bytes(e, line_address(x, from, line), i64_of(e, t2 * w->dilation[2] * x->pitch)),
                at_bytes(e, dst, i64_of(e, ((t0 * w->kernel[1] + t1) * parts + t2) * run_bytes)));
    }
}

/* Most rows have all taps inside: one question for all of them, where lines are few enough to be written out. */
static void gather_row(Gather *x, LVal a, LVal dst) {
  Emitter *e = x->g->e;
  const ProductWindow *w = x->w;
  LVal all = LLVMConstInt(e->i1, 1, 0);
  if (w->kernel[0] * w->kernel[1] * (dense(x) ? 1 : w->kernel[2]) > FEW_LINES) {
    gather_edge(x, a, dst);
    return;
  }
  for (int i = 0; i < WINDOW_AXES; i++) {
    LVal end = i64_add(e, x->place[i], i64_of(e, (w->kernel[i] - 1) * w->dilation[i]));
    all = LLVMBuildAnd(e->b, all, is_inside(x, x->place[i], i), "");
    all = LLVMBuildAnd(e->b, all, is_inside(x, end, i), "");
  }
  LLVMBasicBlockRef inner = emit_block(e, "inner"), edge = emit_block(e, "edge"), done = emit_block(e, "gathered");
  LLVMBuildCondBr(e->b, all, inner, edge);
  LLVMPositionBuilderAtEnd(e->b, inner);
  gather_inner(x, a, dst);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, edge);
  gather_edge(x, a, dst);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

Status integer_window(Gen *g) {
  Gather *x = g->gather = arena_new(g->e->a, Gather);
  *x = (Gather){.g = g, .w = g->p->rows, .channels = k_of(g) / g->p->rows->taps};
  x->pitch = x->channels * (g->p->groups > 1 ? g->p->groups : 1);
  for (int i = 0; i < WINDOW_AXES; i++) {
    TRY(dim_value(g->e, &g->args, x->w->in[i], g->dim, g->ndim, &x->in[i]));
    TRY(dim_value(g->e, &g->args, x->w->out[i], g->dim, g->ndim, &x->out[i]));
    TRY(dim_value(g->e, &g->args, x->w->begin[i], g->dim, g->ndim, &x->begin[i]));
  }
  return ST_OK;
}

static void gather_rows(Gen *g, LVal a, LVal m0, LVal rows, LVal dst) {
  Emitter *e = g->e;
  Gather x = *g->gather;
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal to = at_bytes(e, dst, i64_muli(e, r.i, row_bytes(g)));
  place_row(&x, i64_add(e, m0, r.i));
  gather_row(&x, a, to);
  put_end(g, to);
  loop_end(e, &r);
}

/* --- the inner kernel --- */

LVal emit_x86(Emitter *e, const char *name, LVal *arg, unsigned n, LType result) {
  LType param[3];
  LVal f = LLVMGetIntrinsicDeclaration(e->mod, LLVMLookupIntrinsicID(name, strlen(name)), NULL, 0);
  LLVMGetParamTypes(LLVMGlobalGetValueType(f), param);
  for (unsigned i = 0; i < n; i++)
    arg[i] = LLVMBuildBitCast(e->b, arg[i], param[i], "");
  return LLVMBuildBitCast(e->b, LLVMBuildCall2(e->b, LLVMGlobalGetValueType(f), f, arg, n, ""), result, "");
}

/* The even and the odd elements' products, where no instruction adds neighbours. */
static LVal plain_multiply_add(Emitter *e, LVal sum, LVal a, LVal b) {
  LType t = LLVMTypeOf(sum);
  LVal half = emit_int(t, 16), x = LLVMBuildBitCast(e->b, b, t, "");
  for (int odd = 0; odd < 2; odd++) {
    LVal u = odd ? a : LLVMBuildShl(e->b, a, half, ""), v = odd ? x : LLVMBuildShl(e->b, x, half, "");
    u = LLVMBuildAShr(e->b, u, half, ""), v = LLVMBuildAShr(e->b, v, half, "");
    sum = LLVMBuildAdd(e->b, sum, LLVMBuildMul(e->b, u, v, ""), "");
  }
  return sum;
}

static bool is_x86(const Gen *g) { return !strncmp(g->plan.level->level, "x86", 3); }

/* sum + the products of pairs of 16 bits, on x86. */
static LVal pairs_multiply_add(Gen *g, LVal sum, LVal a, LVal b) {
  Emitter *e = g->e;
  LType t = LLVMTypeOf(sum);
  if (unit(g) == 4)
    return emit_x86(e, "llvm.x86.avx512.vpdpwssd.512", (LVal[]){sum, a, b}, 3, t);
  const char *name = e->bits == 512   ? "llvm.x86.avx512.pmaddw.d.512"
                     : e->bits == 256 ? "llvm.x86.avx2.pmadd.wd"
                                      : "llvm.x86.sse2.pmadd.wd";
  return LLVMBuildAdd(e->b, sum, emit_x86(e, name, (LVal[]){a, b}, 2, t), "");
}

/* sum + the products of one unit of k; a: as many elements of A as an i32 holds, in every lane. */
static LVal multiply_add(Gen *g, LVal sum, LVal a, LVal b) {
  if (unit(g) == 4)
    return emit_x86(g->e, "llvm.x86.avx512.vpdpbusd.512", (LVal[]){sum, a, b}, 3, LLVMTypeOf(sum));
  return is_x86(g) ? pairs_multiply_add(g, sum, a, b) : plain_multiply_add(g->e, sum, a, b);
}

static LVal load_b(Gen *g, LVal p) {
  Emitter *e = g->e;
  int n = lanes(g);
  if (unit(g) == 4)
    return load(e, e->i32, n, p);
  return LLVMBuildSExt(e->b, load(e, e->i8, 2 * n, p), emit_vec(e->i16, 2 * n), "");
}

static LVal steps_of_k(const Gen *g) { return i64_of(g->e, integer_depth(k_of(g)) / unit(g)); }

/* What the steps of k of a tile read. */
typedef struct Steps {
  LVal a, data;     /* of A's rows, of the panel */
  LVal n, list;     /* how many; NULL, or the rows whose list of steps it is */
  LVal ahead, step; /* or NULL */
  bool twice;       /* two to a turn: what counts and steps along takes the ports of the products */
} Steps;

typedef LVal MultiplyAdd(Gen *g, LVal sum, LVal a, LVal b);

/* One step of k: `in` and `at` are where A's rows and the panel have it. */
static void tile_step(Gen *g, int rows, const LVal *row, LVal in, LVal at, MultiplyAdd *multiply, LVal *sum) {
  Emitter *e = g->e;
  int n = lanes(g), vecs = g->plan.nr / n;
  LVal b[6];
  for (int v = 0; v < vecs; v++)
    b[v] = load_b(g, at_bytes(e, at, i64_of(e, v * n * unit(g))));
  for (int r = 0; r < rows; r++) {
    LVal x = emit_splat(e, load(e, e->i32, 1, at_bytes(e, in, row[r])), n);
    for (int v = 0; v < vecs; v++)
      sum[r * vecs + v] = multiply(g, sum[r * vecs + v], x, b[v]);
  }
}

static void tile_steps(Gen *g, int rows, const Steps *s, MultiplyAdd *multiply, LVal *sum) {
  Emitter *e = g->e;
  int nr = g->plan.nr, vecs = nr / lanes(g), n = s->twice ? 2 : 1, walks = s->list ? 0 : s->ahead ? 3 : 2;
  LVal phi[MAX_SUMS], start[MAX_SUMS], row[MAX_SUMS], zero = i64_of(e, 0), times[2];
  LVal walk[] = {s->a, s->data, s->ahead}, by[] = {i64_of(e, 4 * n), i64_of(e, nr * unit(g) * n), NULL}, first[3];
  for (int r = 0; r < rows; r++)
    row[r] = g->plan.halved ? i64_muli(e, halved_row(g), r) : i64_of(e, r * row_bytes(g));
  for (int u = 0; s->ahead && u < n; u++)
    times[u] = i64_muli(e, s->step, u);
  by[2] = s->ahead ? i64_muli(e, s->step, n) : NULL;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b), body = emit_block(e, "k"), done = emit_block(e, "kdone");
  if (s->list)
    LLVMBuildCondBr(e->b, i64_less(e, zero, s->n), body, done);
  else
    LLVMBuildBr(e->b, body);
  LLVMPositionBuilderAtEnd(e->b, body);
  LVal i = LLVMBuildPhi(e->b, e->i64, "k");
  LLVMAddIncoming(i, &zero, &before, 1);
  for (int j = 0; j < walks; j++) {
    first[j] = LLVMBuildPhi(e->b, e->ptr, "");
    LLVMAddIncoming(first[j], &walk[j], &before, 1);
    walk[j] = first[j];
  }
  for (int j = 0; j < rows * vecs; j++) {
    phi[j] = LLVMBuildPhi(e->b, LLVMTypeOf(sum[j]), "");
    LLVMAddIncoming(phi[j], &sum[j], &before, 1);
    start[j] = sum[j], sum[j] = phi[j];
  }
  if (s->list) {
    LVal k = halved_step(g, s->list, i);
    walk[0] = at_bytes(e, s->a, i64_muli(e, k, 4)), walk[1] = at_bytes(e, s->data, i64_muli(e, k, nr * unit(g)));
  }
  for (int u = 0; u < n; u++) {
    tile_step(g, rows, row, at_bytes(e, walk[0], i64_of(e, 4 * u)), at_bytes(e, walk[1], i64_of(e, nr * unit(g) * u)),
              multiply, sum);
    if (s->ahead) {
      LVal line[] = {at_bytes(e, walk[2], times[u]), emit_int(e->i32, 0), emit_int(e->i32, 2), emit_int(e->i32, 1)};
      emit_call(e, "llvm.prefetch", e->ptr, line, countof(line)); /* read, to L2, data */
    }
  }
  LVal next = i64_add(e, i, i64_of(e, n));
  LLVMAddIncoming(i, &next, &body, 1);
  for (int j = 0; j < walks; j++) {
    LVal on = at_bytes(e, walk[j], by[j]);
    LLVMAddIncoming(first[j], &on, &body, 1);
  }
  for (int j = 0; j < rows * vecs; j++)
    LLVMAddIncoming(phi[j], &sum[j], &body, 1);
  LLVMBuildCondBr(e->b, i64_less(e, next, s->n), body, done);
  LLVMPositionBuilderAtEnd(e->b, done);
  for (int j = 0; s->list && j < rows * vecs; j++) {
    LVal all = LLVMBuildPhi(e->b, LLVMTypeOf(sum[j]), "");
    LLVMAddIncoming(all, &start[j], &before, 1);
    LLVMAddIncoming(all, &sum[j], &body, 1);
    sum[j] = all;
  }
}

/* void tile(a, panel, sums, ahead, step): `rows` rows at a by one panel; at each step of k the line at ahead comes into L2, and
 * ahead goes on by `step` bytes. Of halved rows: (…, steps, row), and all products of the module share it. */
enum { TILE_ARGS = 5, HALVED_ARGS = 7 };

static void tile_body(Gen *g, int rows, MultiplyAdd *multiply, LVal *arg) {
  Emitter *e = g->e;
  int n = lanes(g), nr = g->plan.nr, vecs = nr / n;
  LVal sum[MAX_SUMS], a = arg[0], panel = arg[1], sums = arg[2], data = at_bytes(e, panel, i64_of(e, nr * 4));
  for (int i = 0; i < rows * vecs; i++)
    sum[i] = load(e, e->i32, n, at_bytes(e, panel, i64_of(e, i % vecs * n * 4)));
  if (multiply == halved_multiply_add) {
    Steps some = {.a = halved_rest(g, a), .data = data, .n = halved_number(g, a), .list = a};
    tile_steps(g, rows, &some, multiply, sum);
  }
  Steps all = {.a = a, .data = data, .n = g->plan.halved ? arg[5] : steps_of_k(g), .ahead = arg[3], .step = arg[4]};
  all.twice = unit(g) == 4 && !g->plan.halved && integer_depth(k_of(g)) / unit(g) % 2 == 0;
  tile_steps(g, rows, &all, multiply, sum);
  for (int i = 0; i < rows * vecs; i++)
    store_f32(e, sum[i], at_bytes(e, sums, i64_of(e, (i / vecs * nr + i % vecs * n) * 4)));
}

static void tile(Gen *g, int rows, const char *name, MultiplyAdd *multiply, TileKernel *t) {
  Emitter *e = g->e;
  LType none = LLVMVoidTypeInContext(e->lc), param[] = {e->ptr, e->ptr, e->ptr, e->ptr, e->i64, e->i64, e->i64};
  unsigned n = g->plan.halved ? HALVED_ARGS : TILE_ARGS;
  const char *text = arena_printf(e->a, "halved %s %dx%d of %d", name, rows, g->plan.nr, g->plan.mr);
  LVal arg[countof(param)], shared = g->plan.halved ? emit_find_shared(e, text) : NULL;
  t->rows = rows, t->type = LLVMFunctionType(none, param, n, 0), t->fn = shared;
  if (shared)
    return;
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  t->fn = function_begin(e, sub_name(g, name, rows), none, param, n);
  if (g->plan.halved)
    emit_add_shared(e, text, t->fn);
  LLVMGetParams(t->fn, arg);
  g->halved_row = g->plan.halved ? arg[6] : NULL;
  tile_body(g, rows, multiply, arg);
  g->halved_row = NULL;
  LLVMBuildRetVoid(e->b);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
}

static void kernels(Gen *g, int low, int high, const char *name, MultiplyAdd *multiply, TileSet *s) {
  *s = (TileSet){.kernel = arena_array(g->e->a, TileKernel, (size_t)high), .low = low, .high = high};
  for (int r = low; r <= high; r++)
    tile(g, r, name, multiply, &s->kernel[r - 1]);
}

void integer_kernels(Gen *g, int low, int high) {
  kernels(g, low, high, "tile", g->plan.halved ? halved_multiply_add : multiply_add, &g->tiles);
  if (g->plan.halved)
    kernels(g, low, high, "exact", halved_exact, &g->exact);
}

static void multiply_tile(Gen *g, LVal rows, LVal exact, LVal *arg) {
  Emitter *e = g->e;
  if (!exact) {
    tile_choose(e, &g->tiles, rows, arg, TILE_ARGS);
    return;
  }
  LLVMBasicBlockRef yes = emit_block(e, "exact"), no = emit_block(e, "halved"), done = emit_block(e, "tiled");
  LLVMBuildCondBr(e->b, exact, yes, no);
  LLVMPositionBuilderAtEnd(e->b, yes);
  tile_choose(e, &g->exact, rows, arg, HALVED_ARGS);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, no);
  tile_choose(e, &g->tiles, rows, arg, HALVED_ARGS);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

/* Of parts that are whole rows, all of B stays in L2, and what the next product reads lies behind it: in how many shares, a line
 * for each step of a tile, it comes in as far as there is room. 0: parts have other columns. */
static int64_t shares_ahead(const Gen *g) {
  int64_t n, panels, bytes, room = g->plan.level->l2 * 7 / 8, share;
  if (!dim_is_const(g->p->n, &n) || g->plan.col_panels < (panels = product_panels(&g->plan, n)))
    return 0;
  bytes = panels * integer_panel_bytes(&g->plan, k_of(g));
  share = panels * (integer_depth(k_of(g)) / unit(g)) * LINE;
  room = room - bytes < bytes ? room - bytes : bytes;
  return room < 2 * share ? 1 : room / share;
}

/* What comes in meanwhile: of the part that follows, as much by each tile; the address for this tile and panel, and *step by step. */
static LVal ahead_of(Gen *g, const Part *w, LVal b, LVal t, LVal j, LVal *step) {
  Emitter *e = g->e;
  int64_t shares = shares_ahead(g);
  LVal next = at_bytes(e, b, i64_muli(e, w->panel1, integer_panel_bytes(&g->plan, k_of(g))));
  LVal tile = shares ? i64_rem(e, t, i64_of(e, shares)) : i64_sub(e, t, w->tile0);
  LVal done = i64_add(e, i64_mul(e, tile, i64_sub(e, w->panel1, w->panel0)), i64_sub(e, j, w->panel0));
  *step = shares ? i64_of(e, LINE) : w->ahead_step;
  return at_bytes(e, next, i64_mul(e, done, i64_mul(e, steps_of_k(g), *step)));
}

void integer_tiles(Gen *g, const Part *w) {
  Emitter *e = g->e;
  LVal rows_of_a = at_bytes(e, g->args.scratch, i64_of(e, g->plan.tile_bytes)), sums = g->args.scratch;
  int64_t panel_bytes = integer_panel_bytes(&g->plan, k_of(g));
  LVal b = w->b, x = w->a, first = i64_of(e, 0); /* of the group */
  if (g->p->groups > 1) {
    b = at_bytes(e, b, i64_mul(e, w->batch, i64_muli(e, w->panels, panel_bytes)));
    x = at_bytes(e, x, i64_muli(e, w->batch, g->gather->channels)), first = i64_mul(e, w->batch, g->n);
  }
  Loop t = loop_begin(e, w->tile0, w->tile1, 1);
  LVal m0 = i64_add(e, i64_mul(e, t.i, w->base), i64_min(e, t.i, w->extra));
  LVal rows = i64_add(e, w->base, LLVMBuildZExt(e->b, i64_less(e, t.i, w->extra), e->i64, ""));
  LVal a = at_bytes(e, w->a, i64_mul(e, m0, g->k));
  if (g->p->rows)
    gather_rows(g, x, m0, rows, rows_of_a);
  else if (lie_so(g))
    rows_of_a = a;
  else
    copy_rows(g, a, rows, rows_of_a);
  LVal exact = g->plan.halved ? halved_rows(g, rows_of_a, rows, steps_of_k(g)) : NULL;
  Loop j = loop_begin(e, w->panel0, w->panel1, 1);
  LVal panel = at_bytes(e, b, i64_muli(e, j.i, panel_bytes)), step, ahead = ahead_of(g, w, b, t.i, j.i, &step);
  ask_for_result(g, w, m0, rows, i64_muli(e, j.i, g->plan.nr));
  multiply_tile(g, rows, exact, (LVal[]){rows_of_a, panel, sums, ahead, step, steps_of_k(g), halved_row(g)});
  LVal col0 = i64_muli(e, j.i, g->plan.nr), cols = i64_min(e, i64_sub(e, g->n, col0), i64_of(e, g->plan.nr));
  LVal batch = g->p->groups > 1 ? i64_of(e, 0) : w->batch;
  call_epilogue(g, sums, batch, m0, rows, i64_add(e, first, col0), cols);
  loop_end(e, &j);
  loop_end(e, &t);
}

/* --- single channels (channelwise.c) --- */

LVal integer_channels(Gen *g, LVal from, LVal mask) {
  Emitter *e = g->e;
  int n = lanes(g);
  LType bytes = emit_vec(e->i8, n), wide = emit_vec(e->i32, n);
  LVal x = mask ? emit_masked_load(e, bytes, from, mask, emit_int(bytes, 0), 1) : load(e, e->i8, n, from);
  x = g->p->bytes == DT_i8 ? LLVMBuildSExt(e->b, x, wide, "") : LLVMBuildZExt(e->b, x, wide, "");
  return g->p->zero ? LLVMBuildSub(e->b, x, emit_int(wide, g->p->zero), "") : x;
}

LVal integer_tap(Gen *g, LVal sum, LVal x, LVal k) {
  Emitter *e = g->e;
  if (is_x86(g))
    return pairs_multiply_add(g, sum, x, k);
  LVal half = emit_int(LLVMTypeOf(k), 16);
  k = LLVMBuildAShr(e->b, LLVMBuildShl(e->b, k, half, ""), half, "");
  return LLVMBuildAdd(e->b, sum, LLVMBuildMul(e->b, x, k, ""), "");
}

void integer_zeros(Gen *g) {
  Emitter *e = g->e;
  int n = 4 * lanes(g);
  Loop l = loop_begin(e, i64_of(e, 0), i64_of(e, g->plan.zero_bytes), n);
  LVal to = at_bytes(e, zeros_address(g), l.i);
  LLVMSetAlignment(LLVMBuildStore(e->b, emit_int(emit_vec(e->i8, n), g->p->zero), to), 1);
  loop_end(e, &l);
}
