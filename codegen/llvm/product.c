/* product.c - emission of matrix products: one function per unit, all loops inside.
 *
 *   for each part (batch, block of columns, block of rows; rows innermost, so that neighbours share the columns of B; columns
 *   innermost in a convolution whose A is the constant, and where A is of images and all of B stays in L2):
 *     for each block of k
 *       for each panel of columns (packed here when B is not packed already)
 *         for each tile of rows: inner kernel into sums[rows][nr]; after the last block of k the epilogue, from L1; or from
 *         the registers, where k is short and the epilogue as well
 *
 * A is read in place: the inner kernel broadcasts from `rows` streams, each contiguous along k (trans_a: from one
 * stream). M = 1 and other small M are the same code with one row of tiles: every panel of B is one contiguous stream,
 * read once. In a convolution B is packed from the input through its window (window.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"

enum { SHORTLY = 4096 }; /* bytes: the machine's own look ahead ends with a page */

/* Arguments that are asked for ahead, by tiles of so many steps: shorter ones end before they are there (with all, mobilenet_v3 takes 2 % longer). */
enum { MOST_OF_RESULT = 4, LONG_K = 128 };

/* --- the inner kernels --- */

/* Even splitting of m rows asks for one height or for two neighbours. */
static void heights_of(int64_t m, int mr, int *low, int *high) {
  int64_t tiles = (m - 1) / mr + 1, least = m / tiles, most = (m - 1) / tiles + 1;
  *low = least < *low ? (int)least : *low;
  *high = most > *high ? (int)most : *high;
}

/* Heights that even splitting of more than `few` rows can ask for: all up to mr when M is known at run time only. Of images, M is a
 * multiple of their positions, which leaves out most low ones; from mr * mr rows on, the two are mr - 1 and mr. */
static void heights(const Product *p, int few, int mr, int *low, int *high) {
  int64_t m;
  *low = mr, *high = 1;
  if (dim_is_const(p->m, &m) && m >= 1) {
    heights_of(m, mr, low, high);
    return;
  }
  int64_t step = p->positions > 0 ? p->positions : 1;
  for (m = step; m < mr * mr + step; m += step)
    if (m > few)
      heights_of(m, mr, low, high);
  if (step % mr && *low == mr)
    *low = mr - 1;
  *high = mr;
}

enum { SHORT_RUN = 8 }; /* steps of k that are written out */

/* B of 16 bits. With dots all rows read it as it is packed, else few ones do. Of a constant M one kind is enough. */
static Status weights_kernels(Gen *g, TileKernel like) {
  const ProductPlan *plan = &g->plan;
  int64_t m = 0;
  int low = 1, high = plan->few < plan->mr ? plan->few : plan->mr; /* 0: no rows are few */
  bool constant = dim_is_const(g->p->m, &m) && m >= 1;
  TileKernel narrow = like;
  narrow.b = g->p->weights, narrow.b_step = b_step(g), narrow.ahead = true;
  if (plan->dots) {
    narrow.dots = true, narrow.a_row = plan->dots, narrow.a_step = 2;
    heights(g->p, 0, plan->mr, &low, &high);
    TRY(tile_set(g->e, &g->tiles, low, high, narrow));
    weights_round(g);
    return ST_OK;
  }
  weights_unpack(g);
  if (constant && m <= high)
    low = high = (int)m;
  if (high && (!constant || m <= high))
    TRY(tile_set(g->e, &g->few, low, high, narrow));
  if (constant && m <= high)
    return ST_OK;
  like.ahead = false;
  heights(g->p, g->few.high, plan->mr, &low, &high);
  return tile_set(g->e, &g->tiles, low, high, like);
}

/* --- sums through the epilogue in registers --- */

enum { SHORT_K = 32 };

/* Of a tile of few steps of k, what its sums take to memory and back and through a loop of its own counts: an eighth of the time of
 * 24 steps, nothing of 40. */
static bool finishes_in_registers(const Gen *g) {
  const Product *p = g->p;
  const ProductPlan *plan = &g->plan;
  int64_t k, n;
  return p->positions && p->packed_b && plan->one_block && !p->bits.bits && !p->weights && !p->bytes && !p->batch_b &&
         dim_is_const(p->k, &k) && k > 0 && k <= SHORT_K && dim_is_const(p->n, &n) &&
         (lanes(g) == 16 ||
          n % (plan->tail ? lanes(g) : plan->nr) == 0) && /* stores of some lanes are slow without AVX-512 */
         epilogue_is_cheap(g);
}

/* May vector v of a tile have lanes that do not exist? */
static bool may_end(const Gen *g, const TileKernel *t, int v) {
  int64_t n = 0;
  dim_is_const(g->p->n, &n);
  if (g->plan.tail) /* in the last vector of the last panel */
    return t->vecs == g->plan.tail && v == t->vecs - 1 && n % t->lanes;
  return n % g->plan.nr;
}

static Status finish(const TileFinish *f, const TileKernel *t, LVal *sum) {
  Gen *g = f->arg;
  Emitter *e = g->e;
  Epilogue *x;
  EmitArgs args = args_at(e, t->fn, LLVMGetParam(t->fn, FINISH_ARGS));
  LVal row = LLVMGetParam(t->fn, FINISH_ROW), col = LLVMGetParam(t->fn, FINISH_COL);
  int64_t n = 0;
  TRY(epilogue_open(g, &args, &x));
  dim_is_const(g->p->n, &n);
  for (int v = 0; v < t->vecs; v++) {
    LVal at = i64_add(e, col, i64_of(e, v * t->lanes)), left = i64_sub(e, i64_of(e, n), at), mask = NULL;
    if (may_end(g, t, v))
      mask = LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->i32, t->lanes),
                           emit_splat(e, LLVMBuildTrunc(e->b, left, e->i32, ""), t->lanes), "");
    for (int r = 0; r < t->rows; r++)
      TRY(epilogue_store(x, i64_of(e, 0), i64_add(e, row, i64_of(e, r)), at, sum[r * t->vecs + v], mask));
  }
  return ST_OK;
}

/* Of the rows that B streams past, the taller tiles also stand in products of many, which want B's next block and less of it at a time:
 * there are two of each when M is not known. Images that have more positions than that have no such rows. */
static Status streamed_kernels(Gen *g, TileKernel *like, int *low, int *high) {
  ProductPlan *plan = &g->plan;
  TileKernel all = *like;
  int64_t m;
  if (plan->streamed <= like->few_rows)
    return ST_OK;
  all.few_rows = plan->streamed;
  if (dim_is_const(g->p->m, &m))
    *like = m <= plan->streamed ? all : *like;
  else if (g->p->positions > plan->streamed)
    plan->streamed = 0;
  else if (!plan->tail) {
    TRY(tile_set(g->e, &g->streamed, 1, plan->streamed < *high ? plan->streamed : *high, all));
    heights(g->p, g->streamed.high, plan->mr, low, high);
  }
  return ST_OK;
}

static Status make_kernels(Gen *g) {
  const ProductPlan *plan = &g->plan;
  TileKernel like = {.lanes = lanes(g),
                     .vecs = plan->nr / lanes(g),
                     .unroll = plan->level->unroll,
                     .b_step = plan->nr * 4,
                     .sums_row = plan->nr * 4,
                     .ahead = streams_b(g),
                     .few_rows = g->p->rows ? 0 : plan->mr / 2};
  int low, high;
  int64_t k;
  like.once = plan->one_block, like.some = dim_is_const(g->p->k, &k) && k > 0;
  if (g->p->rows)
    like.entry = 8 * (plan->table_rows + 1), like.a_step = 4,
    like.unroll = k_unit(g) <= SHORT_RUN ? (int)k_unit(g) : like.unroll;
  else if (g->p->trans_a)
    like.a_row = 4;
  else
    like.a_step = 4;
  if (g->p->weights)
    return weights_kernels(g, like);
  heights(g->p, 0, plan->mr, &low, &high);
  if (g->p->bytes || g->p->bits.rounded) {
    (g->p->bytes ? integer_kernels : rounded_kernels)(g, low, high);
    return ST_OK;
  }
  if (finishes_in_registers(g)) {
    TileFinish *f = arena_new(g->e->a, TileFinish);
    *f = (TileFinish){g->name, finish, g};
    like.finish = g->finish = f;
  }
  TRY(streamed_kernels(g, &like, &low, &high));
  TRY(tile_set(g->e, &g->tiles, low, high, like));
  if (g->p->rows && k_unit(g) <= SHORT_RUN && has_lines(g)) {
    TileKernel line = like;
    line.entry = LINE_ENTRY, line.run = (int)k_unit(g), line.beside = g->p->rows->stride[WINDOW_AXES - 1] * 4;
    TRY(tile_set(g->e, &g->beside, low, high, line));
  }
  like.vecs = plan->tail;
  return plan->tail ? tile_set(g->e, &g->tail, low, high, like) : ST_OK;
}

/* --- packing a block of a panel of B --- */

/* Lane i of n: first + i < limit. */
static LVal lanes_below(Emitter *e, int n, int first, LVal limit) {
  LVal room = LLVMBuildTrunc(e->b, i64_sub(e, limit, i64_of(e, first)), e->i32, "");
  return LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->i32, n), emit_splat(e, room, n), "");
}

/* dst[k][nr] = src[k * ld + 0 … width-1], zeros behind: rows of B as they lie. */
static void pack_rows(Gen *g, LVal src, LVal ld, LVal k, LVal width, LVal dst) {
  Emitter *e = g->e;
  int w = lanes(g), nr = g->plan.nr;
  LType t = emit_vec(e->f32, w);
  LLVMBasicBlockRef whole = emit_block(e, "whole"), part = emit_block(e, "part"), done = emit_block(e, "packed");
  LLVMBuildCondBr(e->b, LLVMBuildICmp(e->b, LLVMIntEQ, width, i64_of(e, nr), ""), whole, part);
  LLVMPositionBuilderAtEnd(e->b, whole);
  Loop l = loop_begin(e, i64_of(e, 0), k, 1);
  LVal from = at_bytes(e, src, i64_mul(e, l.i, ld)), to = at_bytes(e, dst, i64_muli(e, l.i, nr * 4)), mask[16];
  for (int v = 0; v < nr / w; v++)
    store_f32(e, load_f32(e, w, at_bytes(e, from, i64_of(e, v * w * 4))), at_bytes(e, to, i64_of(e, v * w * 4)));
  loop_end(e, &l);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, part);
  for (int v = 0; v < nr / w; v++)
    mask[v] = lanes_below(e, w, v * w, width);
  l = loop_begin(e, i64_of(e, 0), k, 1);
  from = at_bytes(e, src, i64_mul(e, l.i, ld)), to = at_bytes(e, dst, i64_muli(e, l.i, nr * 4));
  for (int v = 0; v < nr / w; v++) {
    LVal x = emit_masked_load(e, t, at_bytes(e, from, i64_of(e, v * w * 4)), mask[v], emit_real(t, 0), 4);
    store_f32(e, x, at_bytes(e, to, i64_of(e, v * w * 4)));
  }
  loop_end(e, &l);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

/* void pack(src, ld in bytes, k, width, dst) */
static void make_pack(Gen *g) {
  Emitter *e = g->e;
  LType none = LLVMVoidTypeInContext(e->lc), param[] = {e->ptr, e->i64, e->i64, e->i64, e->ptr};
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  g->pack_type = LLVMFunctionType(none, param, countof(param), 0);
  g->pack = function_begin(e, sub_name(g, "pack", 0), none, param, countof(param));
  LVal a[countof(param)];
  LLVMGetParams(g->pack, a);
  pack_rows(g, a[0], a[1], a[2], a[3], a[4]);
  LLVMBuildRetVoid(e->b);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
}

/* --- a part --- */

/* Is all of A so few rows that B, read once, is one stream? */
static LVal is_streamed(const Gen *g) {
  if (!g->plan.streamed)
    return LLVMConstInt(g->e->i1, 0, 0);
  return LLVMBuildICmp(g->e->b, LLVMIntSLE, g->m, i64_of(g->e, g->plan.streamed), "");
}

static void whole_panel(Gen *g, LVal rows, const TileArgs *x) {
  Emitter *e = g->e;
  if (!g->streamed.high) {
    tile_dispatch(e, &g->tiles, rows, x);
    return;
  }
  LLVMBasicBlockRef few = emit_block(e, "few"), many = emit_block(e, "many"), done = emit_block(e, "whole");
  LLVMBuildCondBr(e->b, is_streamed(g), few, many);
  LLVMPositionBuilderAtEnd(e->b, few);
  tile_dispatch(e, &g->streamed, rows, x);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, many);
  tile_dispatch(e, &g->tiles, rows, x);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static void multiply(Gen *g, const Part *w, LVal panel, LVal rows, const TileArgs *x) {
  Emitter *e = g->e;
  if (!g->plan.tail) {
    whole_panel(g, rows, x);
    return;
  }
  LLVMBasicBlockRef whole = emit_block(e, "whole"), tail = emit_block(e, "tail"), done = emit_block(e, "multiplied");
  LVal last = LLVMBuildICmp(e->b, LLVMIntEQ, i64_add(e, panel, i64_of(e, 1)), w->panels, "");
  LLVMBuildCondBr(e->b, last, tail, whole);
  LLVMPositionBuilderAtEnd(e->b, whole);
  tile_dispatch(e, &g->tiles, rows, x);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, tail);
  tile_dispatch(e, &g->tail, rows, x);
  LLVMBuildBr(e->b, done);
  LLVMPositionBuilderAtEnd(e->b, done);
}

static LVal first_row(Gen *g, const Part *w, LVal tile) {
  return i64_add(g->e, i64_mul(g->e, tile, w->base), i64_min(g->e, tile, w->extra));
}

/* Where the part's rows of A are as bf16. */
static LVal rounded_rows(Gen *g) { return at_bytes(g->e, g->args.scratch, i64_of(g->e, g->plan.tile_bytes)); }

static void round_a(Gen *g, const Part *w) {
  Emitter *e = g->e;
  LVal row0 = first_row(g, w, w->tile0), rows = i64_sub(e, first_row(g, w, w->tile1), row0);
  LVal a = at_float(e, w->a, i64_add(e, i64_mul(e, row0, g->k), w->k0));
  LVal arg[] = {a, i64_muli(e, g->k, 4), rows, w->steps, rounded_rows(g)};
  LLVMBuildCall2(e->b, g->pack_type, g->pack, arg, countof(arg), "");
}

/* Sums of a tile whose A is read through a window. */
static void multiply_window(Gen *g, const Part *w, LVal panel, LVal m0, LVal rows, TileArgs *x) {
  Emitter *e = g->e;
  LVal unit = i64_of(e, k_unit(g)), tap0 = i64_div(e, w->k0, unit), n = i64_div(e, w->steps, unit);
  LLVMBasicBlockRef done = g->beside.high ? emit_block(e, "windowed") : NULL;
  x->a = table_address(g), x->k = unit;
  if (done) {
    LLVMBasicBlockRef line = emit_block(e, "line"), lines = emit_block(e, "lines");
    LLVMBuildCondBr(e->b, in_line(g, m0, rows), line, lines);
    LLVMPositionBuilderAtEnd(e->b, line);
    x->a_row = call_line(g, w->a, m0, x->b);
    tile_dispatch(e, &g->beside, rows, x);
    LLVMBuildBr(e->b, done);
    LLVMPositionBuilderAtEnd(e->b, lines);
  }
  x->a_row = call_table(g, w->a, m0, tap0, n, x->b);
  multiply(g, w, panel, rows, x);
  if (done) {
    LLVMBuildBr(e->b, done);
    LLVMPositionBuilderAtEnd(e->b, done);
  }
}

/* The arguments that are of the result's form, which is its own memory and what is added to it, residuals above all: how many, and which.
 * With registers of 512 bits it pays for integers, whose tiles are done four times as fast; of f32 nobody has measured it. */
static int of_result(const Gen *g, uint32_t *arg) {
  const Kernel *k = g->p->epilogue;
  int64_t steps;
  int n = 0;
  bool measured = g->p->bytes ? lanes(g) == 16 : lanes(g) == 8;
  if (!measured || g->p->group > 1 || g->p->groups > 1 || (dim_is_const(g->p->k, &steps) && steps < LONG_K))
    return 0;
  if (!k)
    arg[n++] = 2;
  for (uint32_t i = 1; k && i < k->nio && n < MOST_OF_RESULT; i++) {
    const KBuf *x = k->buf[i], *sums = k->buf[0];
    bool same = x->dtype == DT_f32 && x->rank == sums->rank;
    for (int axis = 0; same && axis < x->rank; axis++)
      same = x->dim[axis] == sums->dim[axis];
    if (same)
      arg[n++] = i + 1;
  }
  return n;
}

/* Lines of a tile lie a row of the result apart, where no machine looks ahead; asked for before its sums are worked out, they are there
 * when the epilogue wants them (Zen 3: 1500x384x384 with a residual in 5.4 ms, not 6.4; of integers on Emerald Rapids, 256x768x3072 in
 * 2.05 ms, not 2.35, results in memory that no cache has). */
void ask_for_result(Gen *g, const Part *w, LVal row, LVal rows, LVal col) {
  Emitter *e = g->e;
  uint32_t arg[MOST_OF_RESULT];
  int n = of_result(g, arg),
      across = lanes(g) == 16 ? 16 : g->plan.nr - 1; /* with eight lanes a tile is one or two lines wide */
  if (!n)
    return;
  LLVMBasicBlockRef done = g->plan.one_block ? NULL : when_begin(e, w->last);
  LVal first = i64_add(e, i64_mul(e, i64_add(e, i64_mul(e, w->batch, g->m), row), g->n), col);
  Loop r = loop_begin(e, i64_of(e, 0), rows, 1);
  LVal at = i64_add(e, first, i64_mul(e, r.i, g->n));
  for (int i = 0; i < n; i++) {
    LVal p = at_float(e, emit_arg_buf(e, &g->args, arg[i]), at);
    for (int c = 0; c < g->plan.nr; c += across)
      emit_prefetch(e, at_bytes(e, p, i64_of(e, c * 4)));
  }
  loop_end(e, &r);
  if (done)
    when_end(e, done);
}

static void tile_of_rows(Gen *g, Part *w, LVal panel, LVal b, LVal tile) {
  Emitter *e = g->e;
  LVal m0 = first_row(g, w, tile);
  LVal rows = i64_add(e, w->base, LLVMBuildZExt(e->b, i64_less(e, tile, w->extra), e->i64, ""));
  LVal sums = g->args.scratch, a_row = i64_muli(e, g->k, 4), a_step = i64_of(e, 4);
  if (!g->plan.one_block) {
    LVal across = i64_sub(e, w->panel1, w->panel0);
    LVal i = i64_add(e, i64_mul(e, i64_sub(e, tile, w->tile0), across), i64_sub(e, panel, w->panel0));
    sums = at_bytes(e, sums, i64_muli(e, i, (int64_t)g->plan.mr * g->plan.nr * 4));
  }
  if (g->p->trans_a)
    a_row = i64_of(e, 4), a_step = i64_muli(e, g->m, 4);
  if (g->plan.dots)
    a_row = i64_of(e, g->plan.dots), a_step = i64_of(e, 2);
  LVal col0 = i64_muli(e, panel, g->plan.nr);
  TileArgs x = {.a_row = a_row, .a_step = a_step, .b = b, .k = w->steps, .sums = sums, .more = w->more};
  x.args = LLVMGetParam(g->args.fn, 0), x.row = m0, x.col = col0;
  if (g->plan.dots && !g->p->rows) {
    x.a = at_bytes(e, rounded_rows(g), i64_mul(e, i64_sub(e, m0, first_row(g, w, w->tile0)), a_row));
  } else if (!g->p->rows) {
    x.a = at_bytes(e, w->a, i64_add(e, i64_mul(e, m0, a_row), i64_mul(e, w->k0, a_step)));
  }
  if (streams_b(g)) {
    /* Meanwhile the next block comes in, a share of it with each tile, or what few rows need shortly; beyond the end it does no harm. */
    LVal share = i64_mul(e, w->steps, w->ahead_step), few = is_streamed(g);
    LVal next = at_bytes(e, w->next, i64_mul(e, i64_sub(e, tile, w->tile0), share));
    x.ahead = LLVMBuildSelect(e->b, few, at_bytes(e, b, i64_of(e, SHORTLY)), next, ""), x.ahead_step = w->ahead_step;
  }
  ask_for_result(g, w, m0, rows, col0);
  if (g->p->rows)
    multiply_window(g, w, panel, m0, rows, &x);
  else
    multiply(g, w, panel, rows, &x);
  if (g->finish)
    return;
  LLVMBasicBlockRef done = when_begin(e, w->last);
  LVal cols = i64_min(e, i64_sub(e, g->n, col0), i64_of(e, g->plan.nr));
  call_epilogue(g, sums, w->batch, m0, rows, col0, cols);
  when_end(e, done);
}

static LVal streamed_block(Gen *g, const Part *w, LVal panel, LVal k0) {
  Emitter *e = g->e;
  return at_bytes(e, w->b, i64_muli(e, i64_add(e, i64_mul(e, panel, g->k), k0), b_step(g)));
}

/* Behind the last panel come the first one's next steps of k, or another part. */
static LVal block_behind(Gen *g, const Part *w, LVal panel, LVal b) {
  Emitter *e = g->e;
  LVal beside = at_bytes(e, b, i64_muli(e, g->k, b_step(g)));
  if (g->plan.one_block)
    return beside;
  LVal deeper = streamed_block(g, w, w->panel0, i64_add(e, w->k0, w->steps));
  LVal other = streamed_block(g, w, w->after, i64_of(e, 0));
  LVal ends = LLVMBuildICmp(e->b, LLVMIntEQ, i64_add(e, panel, i64_of(e, 1)), w->panel1, "");
  return LLVMBuildSelect(e->b, ends, LLVMBuildSelect(e->b, w->last, other, deeper, ""), beside, "");
}

/* The address of this block of a panel of packed B, packed into scratch first if need be. */
static LVal panel_of_b(Gen *g, Part *w, LVal panel) {
  Emitter *e = g->e;
  LVal col0 = i64_muli(e, panel, g->plan.nr);
  if (streams_b(g))
    return streamed_block(g, w, panel, w->k0);
  LVal dst = at_bytes(e, g->args.scratch, i64_of(e, g->plan.tile_bytes));
  if (g->p->bits.bits) {
    LVal blocks = i64_ceildiv(e, w->steps, i64_of(e, g->p->bits.block));
    LVal arg[] = {nbits_address(g, w->b, panel, w->k0), blocks, dst};
    LLVMBuildCall2(e->b, g->pack_type, g->pack, arg, countof(arg), "");
    return dst;
  }
  if (g->p->weights) {
    LVal arg[] = {streamed_block(g, w, panel, w->k0), w->steps, dst};
    LLVMBuildCall2(e->b, g->pack_type, g->pack, arg, countof(arg), "");
    return dst;
  }
  LVal ld = i64_muli(e, g->p->trans_b ? g->k : g->n, 4);
  LVal at = g->p->trans_b ? i64_add(e, i64_mul(e, col0, g->k), w->k0) : i64_add(e, i64_mul(e, w->k0, g->n), col0);
  LVal width = i64_min(e, i64_sub(e, g->n, col0), i64_of(e, g->plan.nr));
  if (g->p->window) {
    LVal channel = i64_div(e, w->k0, i64_of(e, k_unit(g))), channels = i64_div(e, w->steps, i64_of(e, k_unit(g)));
    LVal x = at_float(e, w->b, i64_mul(e, channel, g->plane));
    LVal arg[] = {LLVMGetParam(g->args.fn, 0), x, channels, col0, width, dst};
    LLVMBuildCall2(e->b, g->pack_type, g->pack, arg, countof(arg), "");
    return dst;
  }
  if (g->p->trans_b) {
    pack_transposed(e, at_float(e, w->b, at), ld, width, w->steps, emit_real(e->f32, 1), dst, i64_of(e, g->plan.nr * 4),
                    i64_of(e, g->plan.nr));
    return dst;
  }
  LVal arg[] = {at_float(e, w->b, at), ld, w->steps, width, dst};
  LLVMBuildCall2(e->b, g->pack_type, g->pack, arg, countof(arg), "");
  return dst;
}

static void blocks_of_k(Gen *g, Part *w) {
  Emitter *e = g->e;
  LVal zero = i64_of(e, 0), one = i64_of(e, 1);
  LVal some = LLVMBuildICmp(e->b, LLVMIntNE, g->k, zero, "");
  w->blocks =
      g->plan.one_block ? one : LLVMBuildSelect(e->b, some, i64_ceildiv(e, g->k, i64_of(e, g->plan.kc)), one, "");
  if (streams_b(g) && !g->p->weights && !g->p->rows && !g->plan.one_block) /* blocks would break it */
    w->blocks = LLVMBuildSelect(e->b, is_streamed(g), one, w->blocks, "");
  LVal units = i64_ceildiv(e, g->k, i64_of(e, k_unit(g))); /* the last block of few bits may end beyond K */
  LVal size = i64_muli(e, i64_ceildiv(e, units, w->blocks), k_unit(g));
  Loop kb = loop_begin(e, zero, w->blocks, 1);
  w->k0 = i64_min(e, i64_mul(e, kb.i, size), g->k);
  w->steps = i64_min(e, size, i64_sub(e, g->k, w->k0));
  w->more = LLVMBuildICmp(e->b, LLVMIntNE, kb.i, zero, "");
  w->last = LLVMBuildICmp(e->b, LLVMIntEQ, i64_add(e, kb.i, one), w->blocks, "");
  if (g->plan.dots)
    round_a(g, w);
  Loop j = loop_begin(e, w->panel0, w->panel1, 1);
  LVal b = panel_of_b(g, w, j.i);
  if (streams_b(g))
    w->next = block_behind(g, w, j.i, b);
  Loop t = loop_begin(e, w->tile0, w->tile1, 1);
  tile_of_rows(g, w, j.i, b, t.i);
  loop_end(e, &t);
  loop_end(e, &j);
  loop_end(e, &kb);
}

/* By the kernels that read B as it is packed. */
static void few_of_weights(Gen *g, Part *w) {
  TileSet many = g->tiles;
  g->tiles = g->few, g->unpacks = false;
  blocks_of_k(g, w);
  g->tiles = many, g->unpacks = true;
}

static LVal tiles_of(const Gen *g) { return i64_ceildiv(g->e, g->m, i64_of(g->e, g->plan.mr)); }
static LVal panels_of(const Gen *g) { return i64_ceildiv(g->e, g->n, i64_of(g->e, g->plan.nr)); }

/* Blocks of rows and columns, and how rows are split into tiles: numbers where extents are. */
static void count_blocks(Gen *g) {
  Emitter *e = g->e;
  LVal tiles = tiles_of(g), none = LLVMBuildICmp(e->b, LLVMIntEQ, tiles, i64_of(e, 0), "");
  LVal some = LLVMBuildSelect(e->b, none, i64_of(e, 1), tiles, "");
  int64_t n;
  g->row_blocks = i64_ceildiv(e, tiles, i64_of(e, g->plan.row_tiles));
  g->col_blocks = dim_is_const(g->p->n, &n) ? i64_of(e, product_col_blocks(&g->plan, n))
                                            : i64_ceildiv(e, panels_of(g), i64_of(e, g->plan.col_panels));
  g->base = i64_div(e, g->m, some), g->extra = i64_rem(e, g->m, some);
  g->rows_outer = LLVMConstInt(e->i1, g->plan.rows_outer, 0);
}

static void make_body(Gen *g) {
  Emitter *e = g->e;
  const ProductPlan *plan = &g->plan;
  Part w = {.base = g->base, .extra = g->extra};
  w.tiles = tiles_of(g);
  LVal panels = w.panels = panels_of(g), row_blocks = g->row_blocks, col_blocks = g->col_blocks;
  Loop p = loop_begin(e, g->args.begin, g->args.end, 1);
  emit_poll(e, &g->args);
  LVal outer = g->rows_outer, fast = LLVMBuildSelect(e->b, outer, col_blocks, row_blocks, "");
  LVal first = i64_rem(e, p.i, fast), second = i64_div(e, p.i, fast);
  w.batch = i64_of(e, 0);
  if (!dim_is(g->p->batch, 1)) {
    LVal slow = LLVMBuildSelect(e->b, outer, row_blocks, col_blocks, "");
    w.batch = i64_div(e, second, slow), second = i64_rem(e, second, slow);
  }
  LVal row = LLVMBuildSelect(e->b, outer, second, first, ""), col = LLVMBuildSelect(e->b, outer, first, second, "");
  even_share(e, row, row_blocks, w.tiles, &w.tile0, &w.tile1);
  even_share(e, col, col_blocks, panels, &w.panel0, &w.panel1);
  LVal below = i64_less(e, i64_add(e, row, i64_of(e, 1)), row_blocks); /* … is the next part's block of rows */
  below = LLVMBuildAnd(e->b, below, LLVMBuildNot(e->b, outer, ""), "");
  w.after = LLVMBuildSelect(e->b, below, w.panel0, w.panel1, "");
  w.ahead_step = i64_ceildiv(e, i64_of(e, b_step(g)), i64_sub(e, w.tile1, w.tile0));
  w.a = emit_arg_buf(e, &g->args, 0), w.b = emit_arg_buf(e, &g->args, 1);
  if (g->p->rows && !g->p->bytes)
    clear_zeros(g);
  LVal matrix = g->p->group > 1 ? i64_rem(e, w.batch, i64_of(e, g->p->group)) : w.batch;
  if (g->p->batch_a)
    w.a = at_float(e, w.a, i64_mul(e, matrix, i64_mul(e, g->m, g->k)));
  if (g->p->window) {
    LVal channels = i64_div(e, g->k, i64_of(e, k_unit(g)));
    w.b = at_float(e, w.b, i64_mul(e, w.batch, i64_mul(e, channels, g->plane)));
  } else if (g->p->batch_b) {
    LVal columns = g->p->packed_b ? i64_muli(e, panels, plan->nr) : g->n;
    w.b = at_float(e, w.b, i64_mul(e, w.batch, i64_mul(e, columns, g->k)));
  }
  if (g->p->bytes || g->p->bits.rounded) {
    (g->p->bytes ? integer_tiles : rounded_tiles)(g, &w);
  } else if (g->few.high && !g->tiles.high && g->p->weights) { /* M is a constant */
    few_of_weights(g, &w);
  } else if (g->few.high) {
    LLVMBasicBlockRef few = emit_block(e, "few"), many = emit_block(e, "many"), done = emit_block(e, "multiplied");
    LLVMBuildCondBr(e->b, i64_less(e, i64_of(e, g->few.high), g->m), many, few);
    LLVMPositionBuilderAtEnd(e->b, few);
    if (g->p->weights)
      few_of_weights(g, &w);
    else
      nbits_rows(g, w.a, w.b, w.batch, w.panel0, w.panel1);
    LLVMBuildBr(e->b, done);
    LLVMPositionBuilderAtEnd(e->b, many);
    blocks_of_k(g, &w);
    LLVMBuildBr(e->b, done);
    LLVMPositionBuilderAtEnd(e->b, done);
  } else {
    blocks_of_k(g, &w);
  }
  loop_end(e, &p);
  LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
}

/* --- a body for several units --- */

/* Apart from extents, the functions it calls and what its key says, do bodies not differ? Not those that call kernels or functions of
 * their product alone. */
static bool shares_body(const Gen *g) {
  const Product *p = g->p;
  return p->packed_b && !p->window && !p->planes && !p->bytes && !p->bits.bits && !p->weights && !g->finish;
}

static void put_tiles(StrBuf *b, const TileSet *s) {
  for (int r = s->low; s->high && r <= s->high; r++) {
    size_t n;
    buf_printf(b, " %s", LLVMGetValueName2(s->kernel[r - 1].fn, &n));
  }
  buf_puts(b, ";");
}

/* All that make_body reads of g, but for what are parameters of a shared body: the same text, the same code. */
static const char *body_text(const Gen *g) {
  const Product *p = g->p;
  const ProductPlan *plan = &g->plan;
  uint32_t arg[MOST_OF_RESULT];
  StrBuf b;
  buf_init(&b, g->e->a);
  buf_printf(&b, "body %dx%d kc=%lld/%d streamed=%d trans=%d group=%lld batch=%d%d%d:", plan->mr, plan->nr,
             plan->one_block ? 0 : (long long)plan->kc, plan->one_block, plan->streamed, p->trans_a,
             (long long)p->group, dim_is(p->batch, 1), p->batch_a, p->batch_b);
  for (int i = 0, n = of_result(g, arg); i < n; i++)
    buf_printf(&b, " result=%u", arg[i]);
  put_tiles(&b, &g->tiles);
  put_tiles(&b, &g->tail);
  put_tiles(&b, &g->streamed);
  if (p->rows)
    buf_printf(&b, " rows unit=%lld scratch=%lld/%lld/%lld", (long long)k_unit(g),
               (long long)(plan->tile_bytes + plan->panel_bytes), (long long)plan->table_bytes,
               (long long)plan->zero_bytes);
  return b.text;
}

/* Emitted once per module, as inner kernels are. What it does with an extent is a division per part or less. */
static void call_body(Gen *g) {
  Emitter *e = g->e;
  const char *text = body_text(g);
  LVal none = LLVMGetUndef(e->ptr);
  LVal arg[] = {LLVMGetParam(g->args.fn, 0),
                g->args.begin,
                g->args.end,
                g->m,
                g->n,
                g->k,
                g->row_blocks,
                g->col_blocks,
                g->base,
                g->extra,
                g->rows_outer,
                g->epilogue,
                g->table ? g->table : none};
  LType param[countof(arg)];
  for (size_t i = 0; i < countof(arg); i++)
    param[i] = LLVMTypeOf(arg[i]);
  LType type = LLVMFunctionType(e->i32, param, countof(param), 0);
  LVal fn = emit_find_shared(e, text), a[countof(arg)];
  if (!fn) {
    LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
    Gen in = *g;
    fn = function_begin(e, sub_name(g, "body", 0), e->i32, param, countof(param));
    emit_add_shared(e, text, fn);
    LLVMGetParams(fn, a);
    in.args = args_of(e, fn);
    in.args.begin = a[1], in.args.end = a[2], in.m = a[3], in.n = a[4], in.k = a[5];
    in.row_blocks = a[6], in.col_blocks = a[7], in.base = a[8], in.extra = a[9], in.rows_outer = a[10];
    in.epilogue = a[11], in.table = a[12];
    make_body(&in);
    LLVMPositionBuilderAtEnd(e->b, back);
  }
  LLVMBuildRet(e->b, LLVMBuildCall2(e->b, type, fn, arg, countof(arg), ""));
}

Status emit_product_unit(Emitter *e, const Unit *u, const char *name) {
  Gen g = {.e = e, .u = u, .p = &u->product, .name = name};
  const Product *p = g.p;
  g.plan = product_plan(p, e->target->cpu_level);
  if (g.plan.level->lanes * 32 != e->bits)
    return fail(e->c, ST_INTERNAL, "the tile table of %s is not of the vector width of its target",
                g.plan.level->level);
  unit_signature(e->a, u, &g.dim, &g.ndim);
  if (p->winograd)
    return winograd_unit(&g);
  bool depthwise = product_is_depthwise(p) || p->channelwise;
  if (!depthwise)
    TRY(make_kernels(&g));
  if (!g.finish && !p->channelwise)
    TRY(make_epilogue(&g));
  if (p->rows && !p->channelwise && !p->bytes)
    TRY(make_table(&g));
  if (p->window && !depthwise)
    TRY(window_pack(e, sub_name(&g, "window", 0), p->window, lanes(&g), g.plan.nr, g.dim, g.ndim, &g.pack,
                    &g.pack_type));
  else if (!p->packed_b && !p->trans_b && !depthwise)
    make_pack(&g);
  if (p->bits.bits && !p->bits.rounded)
    nbits_unpack(&g), nbits_kernels(&g);
  g.args = emit_function(e, name);
  if (p->window)
    TRY(window_plane(e, p->window, &g.args, g.dim, g.ndim, &g.plane));
  TRY(dim_value(e, &g.args, p->m, g.dim, g.ndim, &g.m));
  TRY(dim_value(e, &g.args, p->n, g.dim, g.ndim, &g.n));
  TRY(dim_value(e, &g.args, p->k, g.dim, g.ndim, &g.k));
  if (depthwise)
    return p->channelwise ? channelwise_body(&g) : depthwise_body(&g);
  if (p->rows && p->bytes)
    TRY(integer_window(&g));
  if (p->rows)
    TRY(dim_value(e, &g.args, p->rows->out[WINDOW_AXES - 1], g.dim, g.ndim, &g.width));
  count_blocks(&g);
  if (shares_body(&g))
    call_body(&g);
  else
    make_body(&g);
  return ST_OK;
}
