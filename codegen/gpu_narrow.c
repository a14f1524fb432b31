/* gpu_narrow.c - products for GPUs whose B is a constant that DequantizeLinear (25) widens: with few rows of A code of ours reads the
 * narrow one, and is done in the time that takes. The library gets the wide one, which is made only where there are many rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu_product.h"
#include "codegen/grouper.h"

#include <string.h>

/* --- what numbers there are --- */

/* How code of ours (codegen/llvm/gpu_narrow.c) makes numbers of them: all values of t but NaN. */
static bool readable(DType t) {
  return (dtype_is_int(t) && dtype_bits(t) <= 8) || t == DT_f8e4m3fn || t == DT_f8e4m3fnuz || t == DT_f8e5m2;
}

static bool is_nan(DType t, uint8_t code) {
  return t == DT_f8e4m3fn ? (code & 0x7f) == 0x7f : t == DT_f8e4m3fnuz && code == 0x80;
}

static bool has_nan(const Tensor *w) {
  const uint8_t *code = w->data;
  bool nan = false;
  int64_t n = dtype_is_float(w->dtype) && w->dtype != DT_f8e5m2 ? tensor_count(w) : 0;
  for (int64_t i = 0; i < n; i++)
    nan |= is_nan(w->dtype, code[i]);
  return nan;
}

static bool all_zero(const Tensor *t) {
  const uint8_t *byte = t->data;
  bool zero = true;
  for (size_t i = 0; i < tensor_bytes(t); i++)
    zero &= !byte[i];
  return zero;
}

/* --- where scales lie --- */

static bool one_element(const Tensor *t) { return t->kind == VK_TENSOR && tensor_count(t) == 1; }

/* Of B's axes the one of k is k_axis. */
static bool scales(const DequantizeLinearAttr *at, const Tensor *w, const Tensor *s, int k_axis, ProductNarrow *f) {
  int axis = (int)(at->axis < 0 ? at->axis + 2 : at->axis), n_axis = 1 - k_axis;
  if (s->kind != VK_TENSOR || (s->dtype != DT_f32 && s->dtype != DT_f16 && s->dtype != DT_bf16))
    return false;
  f->scale = s->dtype;
  if (one_element(s) && !at->block_size)
    return true;
  if (!at->block_size) {
    f->by_column = 1;
    return axis == n_axis && s->rank == 1 && s->dim[0] == w->dim[n_axis];
  }
  if (axis != k_axis || s->rank != 2)
    return false;
  f->block = at->block_size;
  f->by_column = k_axis ? s->dim[1] : 1, f->by_block = k_axis ? 1 : s->dim[1];
  return !k_axis || f->block % NARROW_STEPS == 0;
}

static bool zeros(const Tensor *w, const Tensor *s, const Value *v, ProductNarrow *f) {
  if (!v)
    return true;
  const Tensor *z = v->konst;
  if (!z || z->dtype != w->dtype || tensor_count(z) != tensor_count(s))
    return false;
  f->zero = !all_zero(z);
  return !f->zero || dtype_is_int(w->dtype);
}

bool gpu_narrow_of(Grouper *p, const Operands *o, GpuNarrow *x) {
  const Node *n = o->b->def;
  if (!n || n->op != OP_DequantizeLinear || n->graph != p->g || !n->in[0]->konst || !n->in[1]->konst)
    return false;
  const Tensor *w = n->in[0]->konst, *s = n->in[1]->konst;
  Value *zero = n->nin > 2 ? n->in[2] : NULL;
  int k_axis = o->x.trans_b ? 1 : 0;
  *x = (GpuNarrow){.weight = n->in[0], .scale = n->in[1], .wide = o->b, .f = {.type = w->dtype}};
  if (w->kind != VK_TENSOR || w->rank != 2 || !readable(w->dtype) || w->dim[1] % NARROW_STEPS ||
      !scales(ATTR(n, DequantizeLinear), w, s, k_axis, &x->f) || !zeros(w, s, zero, &x->f) || has_nan(w))
    return false;
  x->zero = x->f.zero ? zero : NULL;
  return true;
}

/* --- the wide one --- */

/* Is v read by node n alone, be it through a Transpose? */
static bool only_reader(const Value *v, const Node *n) {
  const Node *u = value_sole_user(v);
  if (u && u->op == OP_Transpose && !value_is_output(v))
    v = u->out[0], u = value_sole_user(v);
  return u == n && !value_is_output(v);
}

/* Do extents of the program's inputs tell it, before the first step? */
static bool told_by_inputs(const Grouper *p, Dim d) {
  bool told = d->kind != DIM_SYM;
  for (uint32_t i = 0; i < p->g->nin && !told; i++)
    for (int k = 0; k < p->g->in[i]->type.rank; k++)
      told |= p->g->in[i]->type.dim[k] == d;
  for (int i = 0; i < d->n && d->kind != DIM_SYM; i++)
    told &= told_by_inputs(p, d->arg[i]);
  return told;
}

Dim gpu_narrow_wanted_if(Grouper *p, const Node *n, const GpuNarrow *x, Dim rows) {
  if (p->up || !only_reader(x->wide, n) || !told_by_inputs(p, rows))
    return NULL;
  Dim beyond = dim_max(p->c, dim_sub(p->c, rows, dim_const(p->c, PRODUCT_ROWS)), dim_const(p->c, 0));
  return dim_min(p->c, beyond, dim_const(p->c, 1));
}
