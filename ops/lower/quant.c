/* quant.c - lowering of QuantizeLinear and DequantizeLinear (28) in all granularities, and of DynamicQuantizeLinear (11).
 *
 * They give what the reference evaluators give, to the bit: those compute in double and round where ONNX says. So does the
 * code here, or in f32 where an f32 operation on these operands rounds to the same number.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>
#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }

/* --- granularity: one scale, one per slice of an axis, or one per block of an axis --- */

typedef struct Grain {
  bool single;
  int axis;
  int64_t block; /* elements per scale along the axis; 0: one scale per slice */
} Grain;

static bool one_element(const Type *t) { return !t->rank || (t->rank == 1 && dim_is(t->dim[0], 1)); }

/* How input 1 covers input 0. False: not in a way that is known before the run. */
static bool find_grain(Ctx *c, const Node *n, int64_t axis, int64_t block, Grain *g) {
  const Type *x = in_of(n, 0), *s = in_of(n, 1);
  *g = (Grain){.single = one_element(s) && !(s->rank && block && x->rank == 1), .block = block};
  if (has(n, 2) && !same_dims(in_of(n, 2), s) && !(one_element(s) && one_element(in_of(n, 2))))
    return false;
  if (g->single)
    return true;
  if (block < 0 || axis < -x->rank || axis >= x->rank)
    return false;
  g->axis = (int)(axis < 0 ? axis + x->rank : axis);
  if (!block)
    return s->rank == 1 && s->dim[0] == x->dim[g->axis];
  bool fits = s->rank == x->rank;
  for (int i = 0; fits && i < x->rank; i++)
    fits = s->dim[i] == (i == g->axis ? dim_ceildiv(c, x->dim[i], dim_const(c, block)) : x->dim[i]);
  return fits;
}

/* The scale or zero point (input i) of the element at `index`. */
static Status parameter(Lower *x, const Node *n, int i, const Grain *g, KExpr *const *index, KExpr **e) {
  KExpr *at[MAX_RANK] = {lower_index_const(x, 0)};
  if (!g->single && !g->block)
    at[0] = index[g->axis];
  for (int k = 0; !g->single && g->block && k < in_of(n, i)->rank; k++)
    at[k] = k == g->axis ? k_div(x, index[k], lower_index_const(x, g->block)) : index[k];
  return lower_read(x, n->in[i], at, e);
}

/* A zero point that is not known to be zero? */
static bool has_zero_point(const Node *n) {
  double v;
  return has(n, 2) && !(n->in[2]->konst && value_scalar(n->in[2], &v) && v == 0);
}

/* --- QuantizeLinear --- */

static bool int_range(DType t, double *lo, double *hi) {
  int bits = dtype_bits(t);
  bool is_signed = dtype_kind(t) == DK_SINT;
  *lo = is_signed ? -ldexp(1, bits - 1) : 0;
  *hi = ldexp(1, is_signed ? bits - 1 : bits) - 1;
  return dtype_is_int(t) && bits <= 16;
}

/* The type the division is rounded in. */
static DType precision_of(const Node *n) {
  int64_t p = ATTR(n, QuantizeLinear)->precision;
  DType t = p ? (DType)p : in_of(n, 1)->dtype;
  return t == DT_f16 || t == DT_bf16 || t == DT_f64 ? t : DT_f32;
}

static bool quantize_can(Ctx *c, const Node *n, const char **why) {
  const QuantizeLinearAttr *a = ATTR(n, QuantizeLinear);
  DType t = n->out[0]->type.dtype;
  double lo, hi;
  Grain g;
  *why = "scales whose shape is known at run time only, or types that there is no quantisation of";
  if (!int_range(t, &lo, &hi) && !(dtype_is_float(t) && dtype_bits(t) <= 8 && t != DT_f8e8m0))
    return false;
  if (a->precision && a->precision != DT_f32 && a->precision != DT_f16 && a->precision != DT_bf16 &&
      a->precision != DT_f64)
    return false;
  if (has(n, 2) && in_of(n, 2)->dtype != t)
    return false;
  DType s = in_of(n, 1)->dtype;
  return (dtype_is_float(s) || s == DT_i32) && find_grain(c, n, a->axis, a->block_size, &g);
}

/* x as a number of type p, held in the type that p is computed in. */
static KExpr *rounded_to(Lower *x, DType p, KExpr *e) { return ke_cast(x->k, lower_work(p), ke_cast(x->k, p, e)); }

static bool is_one(const Value *scale) {
  double v;
  return scale->konst && value_scalar(scale, &v) && v == 1;
}

static Status quantize(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const QuantizeLinearAttr *a = ATTR(n, QuantizeLinear);
  DType t = n->out[0]->type.dtype, p = precision_of(n);
  double lo, hi;
  Grain g;
  KExpr *v, *s, *z = NULL;
  find_grain(x->c, n, a->axis, a->block_size, &g);
  TRY(lower_read(x, n->in[0], index, &v));
  TRY(parameter(x, n, 1, &g, index, &s));
  if (has_zero_point(n))
    TRY(parameter(x, n, 2, &g, index, &z));
  v = rounded_to(x, p, v);
  if (!is_one(n->in[1]))
    v = rounded_to(x, p, k_div(x, v, rounded_to(x, p, s)));
  if (int_range(t, &lo, &hi)) {
    v = k_un(x, KOP_round, v);
    v = z ? k_add(x, v, ke_cast(x->k, v->dtype, z)) : v;
    v = k_bin(x, KOP_min, k_bin(x, KOP_max, v, k_num(x, v, lo)), k_num(x, v, hi));
  } else if (z) { /* a sum of two rounded numbers is rounded once more, to t */
    v = k_add(x, ke_cast(x->k, DT_f64, v), ke_cast(x->k, DT_f64, z));
  }
  *e = ke_cast_mode(x->k, t, v, a->saturate ? 0 : KC_OPEN);
  return ST_OK;
}
const Lowering quantize_lower = {LOWER_ELEM, .can = quantize_can, .elem = quantize};

/* --- DequantizeLinear --- */

static DType dequantized_type(const Node *n) { return n->out[0]->type.dtype; }

static bool dequantize_can(Ctx *c, const Node *n, const char **why) {
  const DequantizeLinearAttr *a = ATTR(n, DequantizeLinear);
  DType t = dequantized_type(n), s = in_of(n, 1)->dtype;
  Grain g;
  *why = "scales whose shape is known at run time only, or types that there is no quantisation of";
  if (t != DT_f32 && t != DT_f16 && t != DT_bf16 && t != DT_f64)
    return false;
  if (has(n, 2) && in_of(n, 2)->dtype != in_of(n, 0)->dtype)
    return false;
  return (dtype_is_float(s) || s == DT_i32) &&
         (dtype_is_int(in_of(n, 0)->dtype) || dtype_is_float(in_of(n, 0)->dtype)) &&
         find_grain(c, n, a->axis, a->block_size, &g);
}

/* Bits that hold every number of a type, or every difference of two. */
static int significant_bits(DType t, bool difference) {
  const SmallFloat *s = small_float(t);
  if (dtype_is_int(t))
    return dtype_bits(t) + difference;
  if (difference)
    return 53;
  return t == DT_f8e8m0 ? 1 : s ? s->mbits + 1 : t == DT_bf16 ? 8 : t == DT_f16 ? 11 : t == DT_f32 ? 24 : 53;
}

/* f32 where it holds the difference, and the product too unless its one rounding is to f32 itself. */
static DType product_type(const Node *n) {
  int x = significant_bits(in_of(n, 0)->dtype, has_zero_point(n)), s = significant_bits(in_of(n, 1)->dtype, false);
  DType t = dequantized_type(n);
  return t != DT_f64 && x <= 24 && s <= 24 && (t == DT_f32 || x + s <= 24) ? DT_f32 : DT_f64;
}

static Status dequantize(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const DequantizeLinearAttr *a = ATTR(n, DequantizeLinear);
  DType w = product_type(n);
  Grain g;
  KExpr *v, *s, *z;
  find_grain(x->c, n, a->axis, a->block_size, &g);
  TRY(lower_read(x, n->in[0], index, &v));
  TRY(parameter(x, n, 1, &g, index, &s));
  v = ke_cast(x->k, w, v);
  if (has_zero_point(n)) {
    TRY(parameter(x, n, 2, &g, index, &z));
    v = k_sub(x, v, ke_cast(x->k, w, z));
  }
  *e = ke_cast(x->k, dequantized_type(n), k_mul(x, v, ke_cast(x->k, w, s)));
  return ST_OK;
}
const Lowering dequantize_lower = {LOWER_ELEM, .can = dequantize_can, .elem = dequantize};

/* --- DynamicQuantizeLinear: to u8 over the range of the data and 0 --- */

static KExpr *number_or_zero(Lower *x, KExpr *v) {
  v = lower_once(x, "v", v);
  return ke_select(x->k, k_un(x, KOP_isnan, v), k_num(x, v, 0), v);
}

/* The least and the greatest number, 0 among them; NaN counts for nothing. */
static Status extremes(Lower *x, const Node *n, KExpr **lo, KExpr **hi) {
  const Type *t = in_of(n, 0);
  KExpr *index[MAX_RANK], *v, *zero = ke_float(x->k, DT_f32, 0);
  KCursor behind;
  KVar *least = ks_acc(&x->at, "lo", zero), *most = ks_acc(&x->at, "hi", zero);
  lower_set_level(x, least, 0), lower_set_level(x, most, 0);
  int depth = lower_open_axes(x, t, 0, t->rank, index, &behind);
  TRY(lower_read(x, n->in[0], index, &v));
  v = lower_once(x, "x", number_or_zero(x, v));
  ks_update(&x->at, least, KOP_min, v);
  ks_update(&x->at, most, KOP_max, v);
  lower_close(x, depth, behind);
  *lo = ke_var(x->k, least), *hi = ke_var(x->k, most);
  return ST_OK;
}

/* All zeros: the scale is 1/255. */
static Status dynamic_quantize(Lower *x, const Node *n, KBuf *const *out) {
  const Type *t = in_of(n, 0);
  KExpr *index[MAX_RANK], *lo, *hi, *v;
  KCursor behind;
  TRY(extremes(x, n, &lo, &hi));
  KExpr *zero = k_num(x, lo, 0), *most = k_num(x, lo, 255);
  KExpr *range = ke_select(x->k, k_bin(x, KOP_eq, hi, lo), k_num(x, lo, 1), k_sub(x, hi, lo));
  KExpr *s = lower_once(x, "scale", k_div(x, range, most));
  KExpr *z = number_or_zero(x, k_div(x, k_un(x, KOP_neg, lo), s));
  z = lower_once(x, "zero", k_un(x, KOP_round, k_bin(x, KOP_min, k_bin(x, KOP_max, z, zero), most)));
  if (out[1])
    ks_store(&x->at, out[1], NULL, s);
  if (out[2])
    ks_store(&x->at, out[2], NULL, ke_cast(x->k, DT_u8, z));
  if (!out[0])
    return ST_OK;
  int depth = lower_open_axes(x, t, 0, t->rank, index, &behind);
  TRY(lower_read(x, n->in[0], index, &v));
  v = k_add(x, k_un(x, KOP_round, k_div(x, v, s)), z);
  v = k_bin(x, KOP_min, k_bin(x, KOP_max, v, zero), most);
  ks_store(&x->at, out[0], index, ke_cast(x->k, DT_u8, v));
  lower_close(x, depth, behind);
  return ST_OK;
}
const Lowering dynamic_quantize_lower = {LOWER_NEST, .nest = dynamic_quantize};
