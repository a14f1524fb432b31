/* unit.c - the text under which units share compiled code, and their dim expressions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/unit.h"

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

static void put_product(Fields *f, const Product *p) {
  buf_printf(&f->b, "product trans=%d%d packed=%d batched=%d%d", p->trans_a, p->trans_b, p->packed_b, p->batch_a, p->batch_b);
  put_dim(f, "batch", p->batch);
  put_dim(f, "m", p->m);
  put_dim(f, "n", p->n);
  put_dim(f, "k", p->k);
  buf_printf(&f->b, " tile=%u", p->tile);
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
             (long long)a->heads, (long long)a->kv_heads, (long long)a->dk, (long long)a->dv, a->scale, a->causal, a->zero_rows,
             a->q_split, a->kv_split, a->out_split, a->mask ? dtype_name(a->mask) : "none", a->mask_rank);
  put_dim(f, "batch", a->batch);
  put_dim(f, "q", a->q_len);
  put_dim(f, "kv", a->kv_len);
  for (int i = 0; i < a->mask_rank; i++)
    put_dim(f, "mask", a->mask_dim[i]);
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
