/* rows.c - A of a convolution whose channels go last: the rows of a tile are positions of the output, and under each tap a
 * row is one run of channels somewhere in the input. A table says where:
 *
 *   entry | B of the tap | row 0 | row 1 | …          a tap that no row of the tile finds inside of the input has no entry:
 *   entry | B of the tap | row 0 | zeros | …          with large dilations these are most
 *
 * Where the channels go first (an image of three of them), a run is that of the taps along the last axis, of one channel.
 * There the rows of a tile that is in one line of the output are beside each other, and an entry has the first one's address.
 *
 * The inner kernel (tile.c) goes through the entries with its sums in registers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"

enum { FEW_ENTRIES = 32 };

typedef struct Rows {
  Gen *g;
  Emitter *e;
  const ProductWindow *w;
  int lanes; /* rows of an entry; those behind the tile's are copies */
  LVal in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES], k;
  LVal place[WINDOW_AXES]; /* vectors: where the window of each row begins; may be outside */
  LVal offset;             /* vector: that in bytes from the beginning of the input */
} Rows;

LVal table_address(Gen *g) {
  return at_bytes(g->e, g->args.scratch, i64_of(g->e, g->plan.tile_bytes + g->plan.panel_bytes));
}

LVal zeros_address(Gen *g) { return at_bytes(g->e, table_address(g), i64_of(g->e, g->plan.table_bytes)); }

void clear_zeros(Gen *g) {
  Emitter *e = g->e;
  LVal zeros = zeros_address(g);
  Loop l = loop_begin(e, i64_of(e, 0), i64_of(e, g->plan.zero_bytes), 4 * lanes(g));
  store_f32(e, emit_real(emit_vec(e->f32, lanes(g)), 0), at_bytes(e, zeros, l.i));
  loop_end(e, &l);
}

/* Bytes from a place of the input to the next along the last axis; how many taps one run holds. */
static int64_t place_bytes(const Rows *r) { return r->g->p->planes ? 4 : 4 * k_unit(r->g); }
static int64_t run_taps(const Rows *r) { return r->g->p->planes ? r->w->kernel[2] : 1; }

static LVal spread(Rows *r, LVal v) { return emit_splat(r->e, v, r->lanes); }

/* From the coordinates of the first row, of each that follows by counting on. */
static void count_rows(Rows *r, LVal *o, LVal image, LVal planes) {
  Emitter *e = r->e;
  LVal vec[WINDOW_AXES + 1], one = i64_of(e, 1), zero = i64_of(e, 0);
  for (int i = 0; i <= WINDOW_AXES; i++)
    vec[i] = LLVMGetPoison(emit_vec(e->i64, r->lanes));
  for (int l = 0; l < r->lanes; l++) {
    LVal y[WINDOW_AXES], at = i64_mul(e, image, planes);
    for (int i = 0; i < WINDOW_AXES; i++) {
      y[i] = i64_sub(e, i64_muli(e, o[i], r->w->stride[i]), r->begin[i]);
      at = i64_add(e, i64_mul(e, at, r->in[i]), y[i]);
      vec[i] = LLVMBuildInsertElement(e->b, vec[i], y[i], emit_int(e->i32, l), "");
    }
    at = i64_muli(e, at, place_bytes(r));
    vec[WINDOW_AXES] = LLVMBuildInsertElement(e->b, vec[WINDOW_AXES], at, emit_int(e->i32, l), "");
    if (l + 1 >= r->g->plan.mr)
      continue;
    LVal carry = one;
    for (int i = WINDOW_AXES; i-- > 0;) {
      LVal next = i64_add(e, o[i], carry), over = LLVMBuildICmp(e->b, LLVMIntEQ, next, r->out[i], "");
      o[i] = LLVMBuildSelect(e->b, over, zero, next, ""), carry = LLVMBuildZExt(e->b, over, e->i64, "");
    }
    image = i64_add(e, image, carry);
  }
  for (int i = 0; i < WINDOW_AXES; i++)
    r->place[i] = vec[i];
  r->offset = vec[WINDOW_AXES];
}

/* The lanes' numbers, but those behind the tile's rows are copies, times n. */
static LVal lane_numbers(const Rows *r, int64_t n) {
  LVal v[64];
  for (int l = 0; l < r->lanes; l++)
    v[l] = i64_of(r->e, n * (l < r->g->plan.mr ? l : r->g->plan.mr - 1));
  return LLVMConstVector(v, (unsigned)r->lanes);
}

/* v + by in the lanes of a mask */
static LVal add_where(Rows *r, LVal v, LVal lanes, LVal by) {
  LVal none = LLVMConstNull(emit_vec(r->e->i64, r->lanes));
  return LLVMBuildAdd(r->e->b, v, LLVMBuildSelect(r->e->b, lanes, spread(r, by), none, ""), "");
}

/* All rows at once: one line of the output at most ends among them. */
static void place_together(Rows *r, LVal *o, LVal image, LVal planes) {
  Emitter *e = r->e;
  LVal at = i64_mul(e, image, planes), size = i64_of(e, place_bytes(r)), moved = NULL;
  for (int i = 0; i < WINDOW_AXES; i++) {
    LVal y = i64_sub(e, i64_muli(e, o[i], r->w->stride[i]), r->begin[i]);
    at = i64_add(e, i64_mul(e, at, r->in[i]), y), r->place[i] = spread(r, y);
  }
  r->offset = spread(r, i64_muli(e, at, place_bytes(r)));
  for (int i = WINDOW_AXES; i-- > 0;) {
    LVal stride = i64_of(e, r->w->stride[i]), step = i64_mul(e, stride, size), over, back;
    if (moved) { /* where the axis behind ended */
      over = LLVMBuildICmp(e->b, LLVMIntEQ, i64_add(e, o[i], i64_of(e, 1)), r->out[i], "");
      over = LLVMBuildAnd(e->b, moved, emit_splat(e, over, r->lanes), "");
      r->place[i] = add_where(r, r->place[i], moved, stride), r->offset = add_where(r, r->offset, moved, step);
    } else {
      LVal left = spread(r, i64_sub(e, r->out[i], o[i])),
           far = LLVMBuildMul(e->b, lane_numbers(r, 1), spread(r, step), "");
      over = LLVMBuildICmp(e->b, LLVMIntUGE, lane_numbers(r, 1), left, "");
      r->place[i] = LLVMBuildAdd(e->b, r->place[i], lane_numbers(r, r->w->stride[i]), "");
      r->offset = LLVMBuildAdd(e->b, r->offset, far, "");
    }
    back = i64_sub(e, i64_of(e, 0), r->out[i]);
    r->place[i] = add_where(r, r->place[i], over, i64_mul(e, back, stride));
    r->offset = add_where(r, r->offset, over, i64_mul(e, back, step));
    size = i64_mul(e, size, r->in[i]), moved = over;
  }
  r->offset = add_where(r, r->offset, moved, i64_mul(e, size, planes));
}

/* The coordinates of row0, and the image. */
static LVal coordinates(Rows *r, LVal row0, LVal *o) {
  LVal rest = row0;
  for (int i = WINDOW_AXES; i-- > 0;)
    o[i] = i64_rem(r->e, rest, r->out[i]), rest = i64_div(r->e, rest, r->out[i]);
  return rest;
}

/* The coordinates of the first row by division; those of the others follow from them. */
static void place_rows(Rows *r, LVal row0) {
  Emitter *e = r->e;
  LVal o[WINDOW_AXES], image = coordinates(r, row0, o);
  LVal planes = r->g->p->planes ? i64_div(e, r->k, i64_of(e, r->w->taps)) : i64_of(e, 1);
  int64_t line;
  bool together = dim_is_const(r->w->out[WINDOW_AXES - 1], &line) && line >= r->g->plan.mr;
  (together ? place_together : count_rows)(r, o, image, planes);
}

/* Lanes whose window has tap t, its coordinates in some plane, inside of the input. *far: the tap's distance in bytes. */
static LVal rows_inside(Rows *r, LVal plane, LVal *t, LVal *far) {
  Emitter *e = r->e;
  const ProductWindow *w = r->w;
  LVal inside = NULL, at = plane;
  for (int i = 0; i < WINDOW_AXES; i++) {
    LVal d = i64_muli(e, t[i], w->dilation[i]);
    at = i64_add(e, i64_mul(e, at, r->in[i]), d);
    LVal p = LLVMBuildAdd(e->b, r->place[i], spread(r, d), "");
    LVal ok = LLVMBuildICmp(e->b, LLVMIntULT, p, spread(r, r->in[i]), "");
    inside = inside ? LLVMBuildAnd(e->b, inside, ok, "") : ok;
  }
  *far = i64_muli(e, at, place_bytes(r));
  return inside;
}

typedef struct Table {
  LVal x, tap0, taps, b, zero, at; /* the parameters of the function that fills it */
} Table;

/* The entry of tap i of the block behind `count` others; returns how many there are then. */
static LVal fill_entry(Rows *r, const Table *t, LVal i, LVal count) {
  Emitter *e = r->e;
  const ProductWindow *w = r->w;
  int64_t entry = 8 * (r->g->plan.table_rows + 1);
  LVal tap[WINDOW_AXES], far, rest = i64_muli(e, i64_add(e, t->tap0, i), run_taps(r));
  for (int k = WINDOW_AXES; k-- > 0;)
    tap[k] = i64_rem(e, rest, i64_of(e, w->kernel[k])), rest = i64_div(e, rest, i64_of(e, w->kernel[k]));
  LVal inside = rows_inside(r, rest, tap, &far);
  LVal distance = LLVMBuildAdd(e->b, r->offset, spread(r, far), "");
  LVal row = LLVMBuildGEP2(e->b, e->i8, t->x, &distance, 1, "");
  row = LLVMBuildSelect(e->b, inside, row, spread(r, t->zero), "");
  LVal to = at_bytes(e, t->at, i64_muli(e, count, entry)), step = i64_of(e, k_unit(r->g) * r->g->plan.nr * 4);
  LLVMBuildStore(e->b, at_bytes(e, t->b, i64_mul(e, i, step)), to);
  LLVMSetAlignment(LLVMBuildStore(e->b, row, at_bytes(e, to, i64_of(e, 8))), 8);
  return i64_add(e, count, LLVMBuildZExt(e->b, emit_any(e, inside), e->i64, ""));
}

/* As many as there always are, when they are few: their distances are constants then. */
static int64_t few_entries(const Rows *r) {
  int64_t k;
  if (!r->g->plan.one_block || !dim_is_const(r->g->p->k, &k) || k % k_unit(r->g) || k / k_unit(r->g) > FEW_ENTRIES)
    return 0;
  return k / k_unit(r->g);
}

static void fill_table(Rows *r, Table *t) {
  Emitter *e = r->e;
  int64_t few = few_entries(r);
  LVal none = i64_of(e, 0), count = none;
  if (few) {
    t->tap0 = none;
    for (int64_t i = 0; i < few; i++)
      count = fill_entry(r, t, i64_of(e, i), count);
    LLVMBuildRet(e->b, count);
    return;
  }
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  Loop l = loop_begin(e, none, t->taps, 1);
  LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(l.head));
  count = LLVMBuildPhi(e->b, e->i64, "count");
  LLVMAddIncoming(count, &none, &before, 1);
  LLVMPositionBuilderAtEnd(e->b, l.body);
  LVal next = fill_entry(r, t, l.i, count);
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(count, &next, &latch, 1);
  loop_end(e, &l);
  LLVMBuildRet(e->b, count);
}

/* --- rows of one line --- */

bool has_lines(const Gen *g) {
  const Rows r = {.g = (Gen *)g};
  return g->p->planes && g->plan.nr == lanes(g) && !g->plan.tail && few_entries(&r);
}

/* As fill_table, for rows that have all but the place along the line in common. */
static void fill_line(Rows *r, LVal x, LVal row0, LVal b, LVal table) {
  Emitter *e = r->e;
  const ProductWindow *w = r->w;
  LVal o[WINDOW_AXES], y[WINDOW_AXES], image = coordinates(r, row0, o), count = i64_of(e, 0);
  LVal at = i64_mul(e, image, i64_div(e, r->k, i64_of(e, w->taps)));
  for (int i = 0; i < WINDOW_AXES; i++) {
    y[i] = i64_sub(e, i64_muli(e, o[i], w->stride[i]), r->begin[i]);
    at = i64_add(e, i64_mul(e, at, r->in[i]), y[i]);
  }
  for (int64_t k = 0, few = few_entries(r); k < few; k++) {
    const int64_t tap[] = {k / w->kernel[1] % w->kernel[0], k % w->kernel[1]};
    LVal far = i64_of(e, k / w->kernel[1] / w->kernel[0]), inside = LLVMConstInt(e->i1, 1, 0);
    for (int i = 0; i < 2; i++) {
      LVal d = i64_of(e, tap[i] * w->dilation[i]);
      far = i64_add(e, i64_mul(e, far, r->in[i]), d);
      LVal ok = LLVMBuildICmp(e->b, LLVMIntULT, i64_add(e, y[i], d), r->in[i], "");
      inside = LLVMBuildAnd(e->b, inside, ok, "");
    }
    LVal from = i64_muli(e, i64_add(e, at, i64_mul(e, far, r->in[2])), 4);
    LVal to = at_bytes(e, table, i64_muli(e, count, LINE_ENTRY));
    LLVMBuildStore(e->b, at_bytes(e, b, i64_of(e, k * k_unit(r->g) * r->g->plan.nr * 4)), to);
    LLVMBuildStore(e->b, at_bytes(e, x, from), at_bytes(e, to, i64_of(e, 8)));
    count = i64_add(e, count, LLVMBuildZExt(e->b, inside, e->i64, ""));
  }
  LLVMBuildRet(e->b, count);
}

static Status extents_of(Rows *r, LVal fn) {
  Gen *g = r->g;
  EmitArgs args = args_of(r->e, fn);
  for (int i = 0; i < WINDOW_AXES; i++) {
    TRY(dim_value(r->e, &args, r->w->in[i], g->dim, g->ndim, &r->in[i]));
    TRY(dim_value(r->e, &args, r->w->out[i], g->dim, g->ndim, &r->out[i]));
    TRY(dim_value(r->e, &args, r->w->begin[i], g->dim, g->ndim, &r->begin[i]));
  }
  return dim_value(r->e, &args, g->p->k, g->dim, g->ndim, &r->k);
}

static Status make_line(Gen *g) {
  Emitter *e = g->e;
  LType param[] = {e->ptr, e->ptr, e->i64, e->ptr, e->ptr};
  LVal a[countof(param)];
  Rows r = {.g = g, .e = e, .w = g->p->rows};
  g->line_type = LLVMFunctionType(e->i64, param, countof(param), 0);
  g->line = function_begin(e, sub_name(g, "line", 0), e->i64, param, countof(param));
  LLVMGetParams(g->line, a);
  TRY(extents_of(&r, g->line));
  fill_line(&r, a[1], a[2], a[3], a[4]);
  return ST_OK;
}

LVal call_line(Gen *g, LVal x, LVal row0, LVal b) {
  LVal arg[] = {LLVMGetParam(g->args.fn, 0), x, row0, b, table_address(g)};
  return LLVMBuildCall2(g->e->b, g->line_type, g->line, arg, countof(arg), "");
}

LVal in_line(Gen *g, LVal row0, LVal rows) {
  Emitter *e = g->e;
  LVal end = i64_add(e, i64_rem(e, row0, g->width), rows);
  return LLVMBuildICmp(e->b, LLVMIntULE, end, g->width, "");
}

/* --- the functions --- */

Status make_table(Gen *g) {
  Emitter *e = g->e;
  LType param[] = {e->ptr, e->ptr, e->i64, e->i64, e->i64, e->ptr, e->ptr, e->ptr};
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  LVal a[countof(param)];
  Rows r = {.g = g, .e = e, .w = g->p->rows, .lanes = g->plan.table_rows};
  g->table_type = LLVMFunctionType(e->i64, param, countof(param), 0);
  g->table = function_begin(e, sub_name(g, "table", 0), e->i64, param, countof(param));
  LLVMGetParams(g->table, a);
  TRY(extents_of(&r, g->table));
  place_rows(&r, a[2]);
  fill_table(&r, &(Table){.x = a[1], .tap0 = a[3], .taps = a[4], .b = a[5], .zero = a[6], .at = a[7]});
  if (g->beside.high)
    TRY(make_line(g));
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
  return ST_OK;
}

LVal call_table(Gen *g, LVal x, LVal row0, LVal tap0, LVal taps, LVal b) {
  LVal arg[] = {LLVMGetParam(g->args.fn, 0), x, row0, tap0, taps, b, zeros_address(g), table_address(g)};
  return LLVMBuildCall2(g->e->b, g->table_type, g->table, arg, countof(arg), "");
}
