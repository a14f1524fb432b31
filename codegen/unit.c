/* unit.c - the text under which units share compiled code, their dim expressions, and what has no code generation.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/unit.h"

#include "codegen/gpu_attention.h"

typedef struct Fields {
  StrBuf b;
  Dim *dim;
  uint32_t n, cap;
} Fields;

/* Constants as numbers, other expressions by number in order of appearance. */
static void put_dim(Fields *f, const char *what, Dim d) {
  int64_t v;
  buf_printf(&f->b, " %s=", what);
  if (!d || dim_is_const(d, &v)) {
    buf_printf(&f->b, "%lld", d ? (long long)v : -1);
    return;
  }
  uint32_t i = 0;
  while (i < f->n && f->dim[i] != d)
    i++;
  if (i == f->cap) {
    Dim *bigger = arena_array(f->b.arena, Dim, f->cap += 8);
    for (uint32_t k = 0; k < f->n; k++)
      bigger[k] = f->dim[k];
    f->dim = bigger;
  }
  if (i == f->n)
    f->dim[f->n++] = d;
  buf_printf(&f->b, "d%u", i);
}

static void put_window(Fields *f, const char *what, const ProductWindow *w) {
  for (int i = 0; i < WINDOW_AXES; i++) {
    buf_printf(&f->b, " %s=%lld/%lld/%lld", what, (long long)w->kernel[i], (long long)w->stride[i],
               (long long)w->dilation[i]);
    put_dim(f, "in", w->in[i]);
    put_dim(f, "out", w->out[i]);
    put_dim(f, "begin", w->begin[i]);
  }
}

/* All of it but how it is cut and what stands behind it. */
static void put_shape(Fields *f, const Product *p) {
  buf_printf(&f->b, "product trans=%d%d packed=%d batched=%d%d", p->trans_a, p->trans_b, p->packed_b, p->batch_a,
             p->batch_b);
  put_dim(f, "batch", p->batch);
  put_dim(f, "m", p->m);
  put_dim(f, "n", p->n);
  put_dim(f, "k", p->k);
  buf_printf(&f->b, " group=%lld positions=%lld", (long long)p->group, (long long)p->positions);
  if (p->forms)
    buf_printf(&f->b, " forms=%u type=%s library=%u/%u/%u/%a", p->forms, p->type ? dtype_name(p->type) : "f32",
               p->library.bias, p->library.addend, p->library.after, (double)p->library.factor);
  if (p->narrow.type)
    buf_printf(&f->b, " narrow=%s/%s/%d/%lld/%lld/%lld", dtype_name(p->narrow.type), dtype_name(p->narrow.scale),
               p->narrow.zero, (long long)p->narrow.block, (long long)p->narrow.by_column,
               (long long)p->narrow.by_block);
  if (p->weights)
    buf_printf(&f->b, " weights=%s", dtype_name(p->weights));
  if (p->bytes)
    buf_printf(&f->b, " of %s - %d groups=%lld", dtype_name(p->bytes), p->zero, (long long)p->groups);
  if (p->bits.bits)
    buf_printf(&f->b, " bits=%u/%u/%d/%lld/%u", p->bits.bits, p->bits.zero, p->bits.rounded, (long long)p->bits.block,
               p->bits.scale);
  if (p->window)
    put_window(f, "window", p->window);
  if (p->rows)
    put_window(f, p->channelwise ? "channelwise" : p->planes ? "planes" : "rows", p->rows);
  if (p->winograd) {
    buf_printf(&f->b, " winograd=%u", p->winograd);
    put_dim(f, "images", p->images);
  }
}

static void put_product(Fields *f, const Product *p) {
  put_shape(f, p);
  buf_printf(&f->b, " cut=%u/%d/%d/%d", p->cut.tile, p->cut.depth, p->cut.rows, p->cut.cols);
  if (p->line_means)
    buf_puts(&f->b, " means");
  if (!p->epilogue)
    return;
  const Dim *dim;
  uint32_t n;
  const char *text = kernel_signature_in(f->b.arena, p->epilogue, &dim, &n);
  for (uint32_t i = 0; i < n; i++) /* the epilogue's own numbers, as numbers of the unit */
    put_dim(f, "e", dim[i]);
  buf_printf(&f->b, "\n%s", text);
}

static void put_attention(Fields *f, const Attention *a) {
  buf_printf(&f->b, "attention heads=%lld/%lld dk=%lld dv=%lld scale=%a causal=%d zero=%d split=%d%d%d mask=%s/%d",
             (long long)a->heads, (long long)a->kv_heads, (long long)a->dk, (long long)a->dv, a->scale, a->causal,
             a->zero_rows, a->q_split, a->kv_split, a->out_split, a->mask ? dtype_name(a->mask) : "none", a->mask_rank);
  if (a->type)
    buf_printf(&f->b, " of %s", dtype_name(a->type));
  if (a->cap > 0)
    buf_printf(&f->b, " cap=%a", a->cap);
  if (a->has_left)
    buf_printf(&f->b, " left=%lld", (long long)a->left);
  if (a->has_right)
    buf_printf(&f->b, " right=%lld", (long long)a->right);
  if (a->from_first)
    buf_printf(&f->b, " first");
  if (a->counted)
    buf_printf(&f->b, " counted");
  if (a->mask_short)
    buf_printf(&f->b, " short");
  if (a->scores || a->soft)
    buf_printf(&f->b, " scores=%d/%s", a->scores, dtype_name(a->soft));
  put_dim(f, "batch", a->batch);
  put_dim(f, "q", a->q_len);
  put_dim(f, "kv", a->kv_len);
  put_dim(f, "krows", a->k_rows);
  put_dim(f, "vrows", a->v_rows);
  for (int i = 0; i < a->mask_rank; i++)
    put_dim(f, "mask", a->mask_dim[i]);
  if (a->gpu) {
    put_dim(f, "splits", a->gpu->splits);
    put_dim(f, "chunk", a->gpu->chunk);
  }
}

const char *product_shape_text(Arena *a, const Product *p) {
  Fields f = {0};
  buf_init(&f.b, a);
  put_shape(&f, p);
  return f.b.text;
}

const char *unit_signature(Arena *a, const Unit *u, const Dim **dim, uint32_t *ndim) {
  if (u->kind == UNIT_LOOP)
    return kernel_signature_in(a, u->kernel, dim, ndim);
  Fields f = {0};
  buf_init(&f.b, a);
  if (u->kind == UNIT_PRODUCT)
    put_product(&f, &u->product);
  else
    put_attention(&f, &u->attention);
  *dim = f.dim, *ndim = f.n;
  return f.b.text;
}

/* --- what can be compiled --- */

/* The functions that math.c of the code generator has, by operator. */
static const struct {
  bool listed, f64;
} functions[KOP_count] = {
#define MATH(op, f32, f64, libm) [KOP_##op] = {true, f64 >= 0},
#include "codegen/llvm/math.def"
#undef MATH
};

static const char *operator_unsupported(const KExpr *x) {
  DType t = x->arg[0]->dtype;
  KOp op = (KOp)x->op;
  if (t == DT_f64 && functions[op].listed && !functions[op].f64)
    return "a function of f64";
  if (dtype_kind(t) == DK_COMPLEX)
    return "arithmetic of complex numbers";
  if (dtype_is_float(t))
    return op >= KOP_and && op <= KOP_shr ? "bits of floats" : NULL;
  if (op >= KOP_sqrt && op <= KOP_atanh)
    return "a function of integers";
  bool division = op == KOP_div || op == KOP_mod || op == KOP_fmod || op == KOP_shl || op == KOP_shr;
  return t == DT_bool && division ? "division of bools" : NULL;
}

static const char *expr_unsupported(const KExpr *x) {
  const char *why = x && x->dtype == DT_str ? dtype_name(x->dtype) : NULL;
  if (!x || why)
    return why;
  for (int i = 0; i < 3 && !why; i++)
    why = expr_unsupported(x->arg[i]);
  for (int i = 0; !why && x->kind == KE_LOAD && i < x->buf->rank; i++)
    why = expr_unsupported(x->index[i]);
  return why || (x->kind != KE_UNARY && x->kind != KE_BINARY) ? why : operator_unsupported(x);
}

static const char *list_unsupported(const KStmt *s) {
  const char *why = NULL;
  for (; s && !why; s = s->next) {
    why = expr_unsupported(s->value);
    why = why ? why : expr_unsupported(s->number);
    for (int i = 0; !why && s->kind == KS_STORE && i < s->buf->rank; i++)
      why = expr_unsupported(s->index[i]);
    why = why ? why : list_unsupported(s->body);
  }
  return why;
}

const char *kernel_unsupported(const Kernel *k) {
  for (uint32_t i = 0; i < k->nbuf; i++)
    if (k->buf[i]->dtype == DT_str)
      return dtype_name(k->buf[i]->dtype);
  return list_unsupported(k->body);
}
