/* gpu_product.c - products for GPUs: what all ways to multiply share. The parameters of a kernel are those of a loop's (gpu.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/gpu_product.h"
#include "codegen/llvm/kemit.h"

#define B (g->e->b)

/* --- variables and memory --- */

LVal gp_variable(Gp *g, LVal first) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(B), entry = LLVMGetEntryBasicBlock(g->args.fn);
  LVal start = LLVMGetFirstInstruction(entry);
  if (start)
    LLVMPositionBuilderBefore(B, start);
  else
    LLVMPositionBuilderAtEnd(B, entry);
  LVal v = LLVMBuildAlloca(B, LLVMTypeOf(first), "");
  LLVMPositionBuilderAtEnd(B, here);
  gp_set(g, v, first);
  return v;
}

LVal gp_get(Gp *g, LVal variable) { return LLVMBuildLoad2(B, LLVMGetAllocatedType(variable), variable, ""); }
void gp_set(Gp *g, LVal variable, LVal v) { LLVMBuildStore(B, v, variable); }

LType gp_sum(const Gp *g) { return g->p->bytes ? g->e->i32 : g->e->f32; }

LVal gp_shared(Gp *g, const char *name, int64_t elements) { return ptx_shared(g->e, name, elements * 4); }

LVal gp_element(Gp *g, LVal at, LVal i32) { return LLVMBuildGEP2(B, g->e->f32, at, &i32, 1, ""); }

Loop gp_parts(Gp *g, LVal parts) {
  Emitter *e = g->e;
  Loop l = loop_begin(e, gp_wide(g, ptx_block(e)), parts, 1);
  l.step = gp_wide(g, ptx_blocks(e));
  return l;
}

/* --- the epilogue --- */

/* Loops over batch (when there is one), m and n, nested. */
static Status epilogue_begin(Gp *g) {
  Emitter *e = g->e;
  const Kernel *k = g->p->epilogue;
  const KStmt *loop[3];
  int n = 0;
  if (!k)
    return ST_OK;
  for (const KStmt *s = k->body; s && s->kind == KS_FOR && n < 3; s = s->body)
    loop[n++] = s;
  if (n < 2 || k->nin < 1)
    return fail(e->c, ST_INTERNAL, "the epilogue of %s is no nest of loops over rows and columns", g->name);
  g->batch_var = n == 3 ? loop[0]->var : NULL;
  g->row_var = loop[n - 2]->var, g->col_var = loop[n - 1]->var, g->body = loop[n - 1]->body;
  g->walk = kemit_create(e, k, &g->args, g->dim, g->ndim);
  for (uint32_t i = 1; i < k->nbuf; i++) /* A and B, and what belongs to B, stand where the sums would */
    kemit_bind_buf(g->walk, i, emit_arg_buf(e, &g->args, i + 1 + gpu_product_extra(g->p)));
  return ST_OK;
}

/* An element without an epilogue. */
static void store_sum(Gp *g, LVal sum, LVal batch, LVal row, LVal col) {
  Emitter *e = g->e;
  DType t = g->p->type;
  LVal at = i64_add(e, i64_mul(e, i64_add(e, i64_mul(e, batch, g->m), row), g->n), col);
  LVal out = emit_arg_buf(e, &g->args, 2 + gpu_product_extra(g->p));
  if (t)
    sum = t == DT_f16 ? emit_f16_store(e, sum) : emit_bf16_store(e, sum);
  LLVMBuildStore(B, sum, LLVMBuildGEP2(B, LLVMTypeOf(sum), out, &at, 1, ""));
}

static Status one_element(Gp *g, LVal sum, LVal batch, LVal row, LVal col) {
  Emitter *e = g->e;
  if (!g->walk) {
    store_sum(g, sum, batch, row, col);
    return ST_OK;
  }
  if (g->p->group > 1) {
    LVal group = i64_of(e, g->p->group);
    row = i64_add(e, row, i64_mul(e, i64_rem(e, batch, group), g->m));
    batch = i64_div(e, batch, group);
  }
  if (g->batch_var)
    kemit_bind_var(g->walk, g->batch_var, batch);
  kemit_bind_var(g->walk, g->row_var, row);
  kemit_bind_var(g->walk, g->col_var, col);
  kemit_input0(g->walk, sum);
  return kemit_list(g->walk, g->body);
}

Status gp_epilogue(Gp *g, const GpBlock *x) {
  Emitter *e = g->e;
  Loop l = loop_begin(e, gp_wide(g, g->thread), i64_of(e, x->rows * x->columns), GPU_BLOCK);
  LVal i = LLVMBuildTrunc(B, l.i, e->i32, "");
  LVal r = LLVMBuildUDiv(B, i, gp_i32(g, x->columns), ""), c = LLVMBuildURem(B, i, gp_i32(g, x->columns), "");
  LVal row = i64_add(e, x->row0, gp_wide(g, r)), col = i64_add(e, x->col0, gp_wide(g, c));
  LLVMBasicBlockRef none = when_begin(e, LLVMBuildAnd(B, i64_less(e, row, g->m), i64_less(e, col, g->n), ""));
  LVal at = LLVMBuildAdd(B, LLVMBuildMul(B, r, gp_i32(g, x->ld), ""), c, "");
  TRY(one_element(g, LLVMBuildLoad2(B, gp_sum(g), gp_element(g, x->at, at), ""), x->batch, row, col));
  when_end(e, none);
  loop_end(e, &l);
  return ST_OK;
}

/* --- whole kernels --- */

static Status tiles(Gp *g) { return gpu_tensor_cores(g->p) ? gp_tensor(g) : gp_tiles(g); }

static Status few_or_many(Gp *g) {
  Emitter *e = g->e;
  LLVMBasicBlockRef few = emit_block(e, "few"), many = emit_block(e, "many"), done = emit_block(e, "multiplied");
  LLVMBuildCondBr(B, i64_less(e, i64_of(e, PRODUCT_ROWS), g->m), many, few);
  LLVMPositionBuilderAtEnd(B, few);
  TRY(gp_rows(g));
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, many);
  TRY(tiles(g));
  LLVMBuildBr(B, done);
  LLVMPositionBuilderAtEnd(B, done);
  return ST_OK;
}

Status emit_gpu_product(Emitter *e, const Unit *u, const char *name) {
  Gp gen = {.e = e, .u = u, .p = &u->product, .name = name}, *g = &gen;
  const Product *p = g->p;
  unit_signature(e->a, u, &g->dim, &g->ndim);
  uint32_t more = p->epilogue ? p->epilogue->nbuf - 1 : 1;
  g->args = gpu_function(e, u, name, 2 + gpu_product_extra(p) + more, g->ndim);
  g->thread = ptx_thread(e);
  TRY(dim_value(e, &g->args, p->batch, g->dim, g->ndim, &g->batch));
  TRY(dim_value(e, &g->args, p->m, g->dim, g->ndim, &g->m));
  TRY(dim_value(e, &g->args, p->n, g->dim, g->ndim, &g->n));
  TRY(dim_value(e, &g->args, p->k, g->dim, g->ndim, &g->k));
  TRY(epilogue_begin(g));
  if ((p->forms & FORM_ROWS) && (p->forms & FORM_TILES))
    TRY(few_or_many(g));
  else
    TRY(p->forms & FORM_ROWS ? gp_rows(g) : tiles(g));
  LLVMBuildRetVoid(B);
  return ST_OK;
}
