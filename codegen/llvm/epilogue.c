/* epilogue.c - what becomes of the sums of a product: the expressions of its epilogue, a vector of sums at a time, in the registers of who
 * has them, or by a function that reads a tile of sums from memory.
 *
 * Products of a module that differ in their extents alone have one such function.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/product.h"

struct Epilogue {
  Gen *g;
  KEmit *walk; /* NULL: sums are stored as they are */
  const KVar *row_var, *col_var, *batch_var;
  const KStmt *body;
  LVal out, m, n; /* where sums go that are stored as they are; extents of the result */
};

/* Loops over batch (when there is one), m and n, nested. */
static Status epilogue_loops(Epilogue *x, const Kernel *k) {
  Ctx *c = x->g->e->c;
  const KStmt *s = k->body, *loop[3];
  int n = 0;
  for (; s && s->kind == KS_FOR && n < 3; s = s->body)
    loop[n++] = s;
  if (n < 2 || k->nin < 1)
    return fail(c, ST_INTERNAL, "the epilogue of %s is no nest of loops over rows and columns", x->g->name);
  x->batch_var = n == 3 ? loop[0]->var : NULL;
  x->row_var = loop[n - 2]->var, x->col_var = loop[n - 1]->var;
  x->body = loop[n - 1]->body;
  return ST_OK;
}

enum { CHEAP = 12, TRANSCENDENTAL = 16 }; /* operations for a vector */

static int64_t operations(const KExpr *x) {
  int64_t n = 0;
  if (!x || x->kind == KE_LOAD)
    return 0;
  for (int i = 0; i < 3; i++)
    n += operations(x->arg[i]);
  bool function = (x->kind == KE_UNARY && x->op >= KOP_exp && x->op < KOP_isnan) ||
                  (x->kind == KE_BINARY && (x->op == KOP_pow || x->op == KOP_div));
  return n + (function ? TRANSCENDENTAL : x->kind >= KE_UNARY);
}

bool epilogue_is_cheap(const Gen *g) {
  const KStmt *s = g->p->epilogue ? g->p->epilogue->body : NULL;
  int64_t n = 0;
  while (s && s->kind == KS_FOR)
    s = s->body;
  for (; s; s = s->next) {
    if (s->kind != KS_LET && s->kind != KS_STORE)
      return false;
    n += operations(s->value);
  }
  return n <= CHEAP;
}

/* x->m and x->n are the result's rows, of one of several matrices in turn, and columns, of one of several groups. */
static Status open_epilogue(Gen *g, const EmitArgs *args, const OpenDims *open, Epilogue *x) {
  Emitter *e = g->e;
  const Kernel *k = g->p->epilogue;
  if (g->p->groups > 1) /* the result has the columns of all */
    x->n = i64_muli(e, x->n, g->p->groups);
  if (!k) {
    x->out = emit_arg_buf(e, args, 2);
    return ST_OK;
  }
  TRY(epilogue_loops(x, k));
  x->walk = kemit_create_open(e, k, args, g->dim, g->ndim, open);
  for (uint32_t i = 1; i < k->nbuf; i++) /* A and B stand where the sums would */
    kemit_bind_buf(x->walk, i, emit_arg_buf(e, args, i + 1));
  return ST_OK;
}

Status epilogue_open(Gen *g, const EmitArgs *args, Epilogue **out) {
  Epilogue *x = *out = arena_new(g->e->a, Epilogue);
  *x = (Epilogue){.g = g};
  TRY(dim_value(g->e, args, g->p->m, g->dim, g->ndim, &x->m));
  TRY(dim_value(g->e, args, g->p->n, g->dim, g->ndim, &x->n));
  return open_epilogue(g, args, &(OpenDims){0}, x);
}

Status epilogue_store(Epilogue *x, LVal batch, LVal row, LVal col, LVal sum, LVal mask) {
  Gen *g = x->g;
  Emitter *e = g->e;
  if (!x->walk) {
    LVal index = i64_add(e, i64_mul(e, i64_add(e, i64_mul(e, batch, x->m), row), x->n), col);
    LVal p = at_float(e, x->out, index);
    if (mask)
      emit_masked_store(e, sum, p, mask, 4);
    else
      store_f32(e, sum, p);
    return ST_OK;
  }
  if (x->batch_var)
    kemit_bind_var(x->walk, x->batch_var, batch);
  kemit_bind_var(x->walk, x->row_var, row);
  kemit_bind_lanes(x->walk, x->col_var, col, emit_lanes(sum), mask);
  kemit_input0(x->walk, sum);
  return kemit_list(x->walk, x->body);
}

/* The parameters of the function. */
typedef struct Sums {
  LVal sums, batch, row0, rows, col0, cols;
} Sums;

/* A vector of `width` sums of row i, from column `col` of the tile on. mask: lanes that exist. */
static Status store_columns(Epilogue *x, const Sums *t, LVal i, LVal col, int width, LVal mask) {
  Gen *g = x->g;
  Emitter *e = g->e;
  LVal from = at_float(e, at_bytes(e, t->sums, i64_muli(e, i, g->plan.nr * 4)), col);
  LVal sum = load_f32(e, width, from); /* tiles are padded to whole vectors */
  if (g->p->bytes)
    sum = emit_bitcast(e, sum, e->i32);
  return epilogue_store(x, t->batch, i64_add(e, t->row0, i), i64_add(e, t->col0, col), sum, mask);
}

static bool has_part_vectors(const Gen *g) {
  int64_t n;
  return !dim_is_const(g->p->n, &n) || n % lanes(g);
}

/* Of long chains of operations, as of GELU, two registers of 256 bits at a time wait less for each other (Zen 3, ViT-B's products with
 * GELU: 136 ms with one, 128 so). */
static bool by_twos(const Gen *g) { return lanes(g) == 8 && !g->p->bytes && !epilogue_is_cheap(g); }

/* for each row of the tile: whole vectors, then the rest under a mask. */
static Status epilogue_rows(Epilogue *x, const Sums *t) {
  Emitter *e = x->g->e;
  int w = lanes(x->g);
  LVal whole = LLVMBuildAnd(e->b, t->cols, i64_of(e, -w), "");
  LVal rest = LLVMBuildICmp(e->b, LLVMIntSLT, emit_iota(e, e->i32, w),
                            emit_splat(e, LLVMBuildTrunc(e->b, i64_sub(e, t->cols, whole), e->i32, ""), w), "");
  Loop r = loop_begin(e, i64_of(e, 0), t->rows, 1);
  LVal twos = i64_of(e, 0);
  if (by_twos(x->g)) {
    twos = LLVMBuildAnd(e->b, t->cols, i64_of(e, -2 * w), "");
    Loop v = loop_begin(e, i64_of(e, 0), twos, 2 * w);
    TRY(store_columns(x, t, r.i, v.i, 2 * w, NULL));
    loop_end(e, &v);
  }
  Loop v = loop_begin(e, twos, whole, w);
  TRY(store_columns(x, t, r.i, v.i, w, NULL));
  loop_end(e, &v);
  if (has_part_vectors(x->g)) {
    LLVMBasicBlockRef done = when_begin(e, i64_less(e, whole, t->cols));
    TRY(store_columns(x, t, r.i, whole, w, rest));
    when_end(e, done);
  }
  loop_end(e, &r);
  return ST_OK;
}

/* Extents that one function for several products is given: of more columns than a vector has, and of several rows, code does not depend
 * on how many they are. */
static OpenDims open_dims(const Gen *g, LVal m, LVal n) {
  OpenDims open = {.value = {n, m}};
  int64_t v;
  if (dim_is_const(g->p->n, &v) && v > lanes(g) && v <= INT32_MAX)
    open.dim[0] = g->p->n;
  if (dim_is_const(g->p->m, &v) && v > 1 && v <= INT32_MAX)
    open.dim[1] = g->p->m;
  return open;
}

/* All that an epilogue's code depends on. */
static const char *epilogue_text(const Gen *g, const OpenDims *open) {
  const Product *p = g->p;
  StrBuf b;
  buf_init(&b, g->e->a);
  buf_printf(&b, "epilogue nr=%d rest=%d bytes=%d groups=%lld group=%lld", g->plan.nr, has_part_vectors(g),
             p->bytes != DT_none, (long long)p->groups, (long long)p->group);
  if (p->epilogue) {
    const Dim *dim;
    uint32_t n;
    const char *text = kernel_signature_open(g->e->a, p->epilogue, open->dim, MAX_OPEN, &dim, &n);
    for (uint32_t i = 0; i < n; i++) /* where among the unit's they are */
      for (uint32_t k = 0; k < g->ndim; k++)
        if (g->dim[k] == dim[i])
          buf_printf(&b, " d%u=%u", i, k);
    buf_printf(&b, "\n%s", text);
  }
  return b.text;
}

static Status emit_epilogue(Gen *g, const OpenDims *open, LVal *a) {
  Emitter *e = g->e;
  Epilogue x = {.g = g, .m = a[7], .n = a[8]};
  EmitArgs args = args_of(e, g->epilogue);
  TRY(open_epilogue(g, &args, open, &x));
  Sums t = {a[1], a[2], a[3], a[4], a[5], a[6]};
  if (g->p->epilogue && g->p->group > 1) {
    LVal group = i64_of(e, g->p->group);
    t.row0 = i64_add(e, t.row0, i64_mul(e, i64_rem(e, t.batch, group), x.m));
    t.batch = i64_div(e, t.batch, group);
  }
  TRY(epilogue_rows(&x, &t));
  LLVMBuildRet(e->b, LLVMConstInt(e->i32, 0, 0));
  return ST_OK;
}

Status make_epilogue(Gen *g) {
  Emitter *e = g->e;
  LType param[] = {e->ptr, e->ptr, e->i64, e->i64, e->i64, e->i64, e->i64, e->i64, e->i64};
  LVal a[countof(param)];
  LLVMBasicBlockRef back = LLVMGetInsertBlock(e->b);
  OpenDims open = open_dims(g, NULL, NULL);
  const char *text = epilogue_text(g, &open);
  g->epilogue_type = LLVMFunctionType(e->i32, param, countof(param), 0);
  if ((g->epilogue = emit_find_shared(e, text)))
    return ST_OK;
  g->epilogue = function_begin(e, sub_name(g, "epilogue", 0), e->i32, param, countof(param));
  emit_add_shared(e, text, g->epilogue);
  LLVMGetParams(g->epilogue, a);
  open = open_dims(g, a[7], a[8]);
  TRY(emit_epilogue(g, &open, a));
  if (back)
    LLVMPositionBuilderAtEnd(e->b, back);
  return ST_OK;
}

void call_epilogue(Gen *g, LVal sums, LVal batch, LVal row0, LVal rows, LVal col0, LVal cols) {
  LVal arg[] = {LLVMGetParam(g->args.fn, 0), sums, batch, row0, rows, col0, cols, g->m, g->n};
  LLVMBuildCall2(g->e->b, g->epilogue_type, g->epilogue, arg, countof(arg), "");
}
