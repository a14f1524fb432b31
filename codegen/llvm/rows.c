/* rows.c - A of a convolution whose channels go last: the rows of a tile are positions of the output, and under each tap a
 * row is one run of channels somewhere in the input. A table says where:
 *
 *   entry | B of the tap | row 0 | row 1 | …          a tap that no row of the tile finds inside of the input has no entry:
 *   entry | B of the tap | row 0 | zeros | …          with large dilations these are most
 *
 * The inner kernel (tile.c) goes through the entries with its sums in registers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"

typedef struct Rows {
  Gen *g;
  Emitter *e;
  const ProductWindow *w;
  int lanes; /* rows of an entry; those behind the tile's are copies */
  LVal in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES];
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

static LVal spread(Rows *r, LVal v) { return emit_splat(r->e, v, r->lanes); }

/* The coordinates of the first row by division; of each that follows, by counting on. */
static void place_rows(Rows *r, LVal row0) {
  Emitter *e = r->e;
  LVal o[WINDOW_AXES], image, rest = row0, vec[WINDOW_AXES + 1], one = i64_of(e, 1), zero = i64_of(e, 0);
  for (int i = WINDOW_AXES; i-- > 0;)
    o[i] = i64_rem(e, rest, r->out[i]), rest = i64_div(e, rest, r->out[i]);
  image = rest;
  for (int i = 0; i <= WINDOW_AXES; i++)
    vec[i] = LLVMGetPoison(emit_vec(e->i64, r->lanes));
  for (int l = 0; l < r->lanes; l++) {
    LVal y[WINDOW_AXES], at = image;
    for (int i = 0; i < WINDOW_AXES; i++) {
      y[i] = i64_sub(e, i64_muli(e, o[i], r->w->stride[i]), r->begin[i]);
      at = i64_add(e, i64_mul(e, at, r->in[i]), y[i]);
      vec[i] = LLVMBuildInsertElement(e->b, vec[i], y[i], emit_int(e->i32, l), "");
    }
    at = i64_muli(e, at, 4 * k_unit(r->g));
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

/* Lanes whose window has tap t, its coordinates, inside of the input. *far: the tap's distance in bytes. */
static LVal rows_inside(Rows *r, LVal *t, LVal *far) {
  Emitter *e = r->e;
  const ProductWindow *w = r->w;
  LVal inside = NULL, at = i64_of(e, 0);
  for (int i = 0; i < WINDOW_AXES; i++) {
    LVal d = i64_muli(e, t[i], w->dilation[i]);
    at = i64_add(e, i64_mul(e, at, r->in[i]), d);
    LVal p = LLVMBuildAdd(e->b, r->place[i], spread(r, d), "");
    LVal ok = LLVMBuildICmp(e->b, LLVMIntULT, p, spread(r, r->in[i]), "");
    inside = inside ? LLVMBuildAnd(e->b, inside, ok, "") : ok;
  }
  *far = i64_muli(e, at, 4 * k_unit(r->g));
  return inside;
}

static void fill_table(Rows *r, LVal x, LVal tap0, LVal taps, LVal b, LVal zero, LVal table) {
  Emitter *e = r->e;
  const ProductWindow *w = r->w;
  int64_t entry = 8 * (r->g->plan.table_rows + 1);
  LVal none = i64_of(e, 0), t[WINDOW_AXES], far;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
  Loop l = loop_begin(e, i64_of(e, 0), taps, 1);
  LLVMPositionBuilderBefore(e->b, LLVMGetFirstInstruction(l.head));
  LVal count = LLVMBuildPhi(e->b, e->i64, "count");
  LLVMAddIncoming(count, &none, &before, 1);
  LLVMPositionBuilderAtEnd(e->b, l.body);
  LVal rest = i64_add(e, tap0, l.i);
  for (int i = WINDOW_AXES; i-- > 0;)
    t[i] = i64_rem(e, rest, i64_of(e, w->kernel[i])), rest = i64_div(e, rest, i64_of(e, w->kernel[i]));
  LVal inside = rows_inside(r, t, &far);
  LVal distance = LLVMBuildAdd(e->b, r->offset, spread(r, far), "");
  LVal row = LLVMBuildGEP2(e->b, e->i8, x, &distance, 1, "");
  row = LLVMBuildSelect(e->b, inside, row, spread(r, zero), "");
  LVal to = at_bytes(e, table, i64_muli(e, count, entry)), step = i64_of(e, k_unit(r->g) * r->g->plan.nr * 4);
  LLVMBuildStore(e->b, at_bytes(e, b, i64_mul(e, l.i, step)), to);
  LLVMSetAlignment(LLVMBuildStore(e->b, row, at_bytes(e, to, i64_of(e, 8))), 8);
  LVal next = i64_add(e, count, LLVMBuildZExt(e->b, emit_any(e, inside), e->i64, ""));
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(e->b);
  LLVMAddIncoming(count, &next, &latch, 1);
  loop_end(e, &l);
  LLVMBuildRet(e->b, count);
}

Status make_table(Gen *g) {
  Emitter *e = g->e;
  LType param[] = {e->ptr, e->ptr, e->i64, e->i64, e->i64, e->ptr, e->ptr, e->ptr};
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  LVal a[countof(param)];
  Rows r = {.g = g, .e = e, .w = g->p->rows, .lanes = g->plan.table_rows};
  g->table_type = LLVMFunctionType(e->i64, param, countof(param), 0);
  g->table = function_begin(e, sub_name(g, "table", 0), e->i64, param, countof(param));
  LLVMGetParams(g->table, a);
  EmitArgs args = args_of(e, g->table);
  for (int i = 0; i < WINDOW_AXES; i++) {
    TRY(dim_value(e, &args, r.w->in[i], g->dim, g->ndim, &r.in[i]));
    TRY(dim_value(e, &args, r.w->out[i], g->dim, g->ndim, &r.out[i]));
    TRY(dim_value(e, &args, r.w->begin[i], g->dim, g->ndim, &r.begin[i]));
  }
  place_rows(&r, a[2]);
  fill_table(&r, a[1], a[3], a[4], a[5], a[6], a[7]);
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
  return ST_OK;
}

LVal call_table(Gen *g, LVal x, LVal row0, LVal tap0, LVal taps, LVal b) {
  LVal arg[] = {LLVMGetParam(g->args.fn, 0), x, row0, tap0, taps, b, zeros_address(g), table_address(g)};
  return LLVMBuildCall2(g->e->b, g->table_type, g->table, arg, countof(arg), "");
}
