/* describe.c - units for people.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/describe.h"

#include "codegen/attention.h"
#include "codegen/gpu.h"
#include "codegen/gpu_attention.h"
#include "codegen/gpu_product.h"

/* --- how the work is cut --- */

typedef struct Schedule {
  bool parallel;
  int lanes, unroll;
} Schedule;

static void schedule_of(const KStmt *s, Schedule *x) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR) {
      x->parallel |= s->loop == KL_PARALLEL;
      bool vector = s->loop == KL_VECTOR || s->loop == KL_PARALLEL;
      if (vector && s->width > x->lanes)
        x->lanes = s->width;
      if (s->loop == KL_UNROLL && s->width > x->unroll)
        x->unroll = s->width;
    }
    schedule_of(s->body, x);
  }
}

static const char *loop_tile(Arena *a, const Kernel *k) {
  Schedule x = {0};
  StrBuf b;
  buf_init(&b, a);
  schedule_of(k->body, &x);
  buf_puts(&b, x.parallel ? "parallel" : "serial");
  if (x.lanes > 1)
    buf_printf(&b, ", %d lanes", x.lanes);
  if (x.unroll > 1)
    buf_printf(&b, ", unrolled %d times", x.unroll);
  return b.text;
}

const char *unit_tile(Arena *a, const Unit *u, const char *cpu_level) {
  switch ((UnitKind)u->kind) {
  case UNIT_LOOP: return loop_tile(a, u->kernel);
  case UNIT_PRODUCT: {
    if (gpu_level(cpu_level))
      return gpu_product_text(a, &u->product);
    ProductPlan p = product_plan(&u->product, cpu_level);
    return arena_printf(a, u->product.winograd ? "%dx%d, Winograd F(%ux%u, 3x3)" : "%dx%d", p.mr, p.nr,
                        u->product.winograd, u->product.winograd);
  }
  case UNIT_ATTENTION: {
    if (u->attention.gpu)
      return gpu_attention_text(a, &u->attention);
    AttentionPlan p = attention_plan(&u->attention, cpu_level);
    return arena_printf(a, "%d queries x %lld keys", p.wide.nr, (long long)p.keys);
  }
  }
  return "";
}

/* --- does it compute anything? --- */

/* A load, or a choice between loads and constants by position. */
static bool moves(const KExpr *x) {
  switch ((KExprKind)x->kind) {
  case KE_LOAD: return true;
  case KE_VAR: return !x->var->def || x->var->def->kind != KS_LET || moves(x->var->def->value);
  case KE_SELECT: return moves(x->arg[1]) && moves(x->arg[2]);
  case KE_FLOAT:
  case KE_INT: return true;
  default: return false;
  }
}

static bool loads(const KExpr *x) {
  if (!x || x->kind == KE_LOAD)
    return x;
  if (x->kind == KE_VAR && x->var->def && x->var->def->kind == KS_LET)
    return loads(x->var->def->value);
  return loads(x->arg[0]) || loads(x->arg[1]) || loads(x->arg[2]);
}

/* *any: something is copied at all, not just filled in. */
static bool only_moves(const KStmt *s, bool *any) {
  for (; s; s = s->next) {
    if (s->kind == KS_ACC || s->kind == KS_UPDATE || (s->kind == KS_STORE && !moves(s->value)) ||
        !only_moves(s->body, any))
      return false;
    *any |= s->kind == KS_STORE && loads(s->value);
  }
  return true;
}

bool unit_copies(const Unit *u) {
  bool any = false;
  return u->kind == UNIT_LOOP && only_moves(u->kernel->body, &any) && any;
}

/* --- as text --- */

static void put_dim(Ctx *c, StrBuf *b, const char *name, Dim d) { buf_printf(b, " %s=%s", name, dim_text(c, d)); }

static void print_product(Ctx *c, StrBuf *b, const Product *p) {
  buf_printf(b, "  A%s%s, B%s%s%s;", p->trans_a ? " transposed" : "", p->batch_a ? " batched" : "",
             p->trans_b ? " transposed" : "", p->batch_b ? " batched" : "", p->packed_b ? " packed" : "");
  put_dim(c, b, "batch", p->batch);
  put_dim(c, b, "m", p->m);
  put_dim(c, b, "n", p->n);
  put_dim(c, b, "k", p->k);
  if (p->weights)
    buf_printf(b, " of f32 by %s", dtype_name(p->weights));
  if (p->bytes)
    buf_printf(b, " of %s by i8", dtype_name(p->bytes));
  if (p->narrow.type)
    buf_printf(b, " of %s%s", dtype_name(p->narrow.type), p->narrow.zero ? " with zero points" : "");
  if (p->bits.bits)
    buf_printf(b, " of %u bits by blocks of %lld%s", p->bits.bits, (long long)p->bits.block,
               p->bits.zero ? " with zero points" : "");
  buf_putc(b, '\n');
  if (p->epilogue)
    kernel_print(b, p->epilogue);
}

static void print_attention(Ctx *c, StrBuf *b, const Attention *t) {
  buf_printf(b, "  heads=%lld/%lld dk=%lld dv=%lld scale=%.9g%s%s mask=%s;", (long long)t->heads,
             (long long)t->kv_heads, (long long)t->dk, (long long)t->dv, t->scale, t->causal ? " causal" : "",
             t->zero_rows ? " zero_rows" : "", t->mask ? dtype_name(t->mask) : "none");
  put_dim(c, b, "batch", t->batch);
  put_dim(c, b, "q", t->q_len);
  put_dim(c, b, "kv", t->kv_len);
  if (t->k_rows)
    put_dim(c, b, "rows of k", t->k_rows);
  if (t->v_rows)
    put_dim(c, b, "rows of v", t->v_rows);
  buf_putc(b, '\n');
}

void unit_print(Ctx *c, StrBuf *b, const Unit *u, const char *cpu_level) {
  buf_printf(b, "unit \"%s\" tile \"%s\"\n", u->name, unit_tile(b->arena, u, cpu_level));
  switch ((UnitKind)u->kind) {
  case UNIT_LOOP: kernel_print(b, u->kernel); break;
  case UNIT_PRODUCT: print_product(c, b, &u->product); break;
  case UNIT_ATTENTION: print_attention(c, b, &u->attention); break;
  }
}
