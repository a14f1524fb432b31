/* integers.c - products of 8-bit integers in the one form that has a kernel, A of u8 or i8 by a constant B of i8 without zero points:
 *
 *   sum (a - za)(b - zb) = sum ab - za sum b - zb (sum a - K za)      with the sums of B's columns known here
 *
 * all in 32 bits that wrap, so that the result is the same to the bit. A B of u8 becomes one of i8 with 128 taken off it and
 * off its zero point. QLinearMatMul as such a product, its scaling in f64 and its rounding, as the reference has them; a product of
 * dequantised matrices as the dequantised product of the integers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <string.h>

enum { EXACT_I32 = INT32_MAX / (255 * 255) }; /* as many products of 8-bit integers fit a sum of 32 bits */

static Value *optional(const Node *n, int i) { return i < n->nin ? n->in[i] : NULL; }

static Value *cast(Match *m, Value *v, DType t) {
  CastAttr to = {.to = t, .saturate = 1, .round_mode = str_of("up")};
  return v->type.dtype == t ? v : EMIT(m, Cast, &to, v);
}

static Value *constant(Match *m, DType t, int rank, const int64_t *dim, Tensor **data) {
  return (m->st = tensor_new(m->c, m->g->arena, t, rank, dim, data)) ? NULL : graph_add_const(m->g, NULL, *data);
}

static bool eight_bits(const Value *v) { return v->type.dtype == DT_u8 || v->type.dtype == DT_i8; }

static bool one_element(const Value *v) {
  return type_known(v) && (!v->type.rank || (v->type.rank == 1 && dim_is(v->type.dim[0], 1)));
}

/* --- operands --- */

typedef struct Operands {
  Value *a, *b, *za, *zb; /* zero points may be NULL */
  int64_t k, n;
} Operands;

/* A constant matrix by which a stack of rows is multiplied, with zero points of one element, zb also of one per column. */
static bool fit(const Operands *o) {
  if (!type_known(o->a) || !eight_bits(o->a) || o->a->type.rank < 2 || !o->b->konst || !eight_bits(o->b) ||
      o->b->type.rank != 2)
    return false;
  if (o->za && !one_element(o->za))
    return false;
  if (!o->zb || (o->zb->konst && one_element(o->zb)))
    return true;
  return o->zb->konst && o->zb->type.rank == 1 && o->zb->konst->dim[0] == o->n;
}

static Operands operands_of(Value *a, Value *za, Value *b, Value *zb) {
  Operands o = {.a = a, .b = b, .za = za, .zb = zb};
  if (b->konst && b->konst->rank == 2)
    o.k = b->konst->dim[0], o.n = b->konst->dim[1];
  return o;
}

/* --- B --- */

/* Takes 128 off an operand of u8. */
static int64_t offset_of(const Operands *o) { return o->b->type.dtype == DT_u8 ? 128 : 0; }

/* B as i8, and the sums of its columns. */
static Value *signed_b(Match *m, const Operands *o, Value **sums) {
  Tensor *b = NULL, *s;
  Value *v = offset_of(o) ? constant(m, DT_i8, 2, (int64_t[]){o->k, o->n}, &b) : o->b;
  *sums = v ? constant(m, DT_i32, 1, &o->n, &s) : NULL;
  if (!*sums)
    return NULL;
  const uint8_t *from = o->b->konst->data;
  uint32_t *sum = s->data;
  memset(sum, 0, (size_t)o->n * 4);
  for (int64_t i = 0; i < o->k; i++)
    for (int64_t j = 0; j < o->n; j++) {
      int8_t x = (int8_t)(uint8_t)(from[i * o->n + j] ^ (offset_of(o) ? 0x80 : 0));
      if (b)
        ((int8_t *)b->data)[i * o->n + j] = x;
      sum[j] += (uint32_t)x;
    }
  return v;
}

/* The zero points of what signed_b gives as i32, one or one per column; *none: all are zero. */
static Value *zero_of_b(Match *m, const Operands *o, bool *none) {
  Tensor *z;
  int64_t n = o->zb ? tensor_count(o->zb->konst) : 1;
  Value *v = constant(m, DT_i32, 1, &n, &z);
  *none = true;
  for (int64_t i = 0; v && i < n; i++) {
    int64_t x = (o->zb ? elem_i64(o->zb->konst->dtype, o->zb->konst->data, i) : 0) - offset_of(o);
    ((int32_t *)z->data)[i] = (int32_t)x;
    *none &= !x;
  }
  return v;
}

/* --- the product --- */

static Value *without_zero_points(Match *m, const Operands *o) {
  bool none;
  Value *sums, *b = signed_b(m, o, &sums), *zb = b ? zero_of_b(m, o, &none) : NULL;
  if (!zb)
    return NULL;
  Value *y = EMIT(m, MatMulInteger, NULL, o->a, b), *za = NULL;
  if (o->za && !is_num(o->za, 0))
    za = cast(m, o->za, DT_i32);
  if (za)
    y = EMIT(m, Sub, NULL, y, EMIT(m, Mul, NULL, za, sums));
  if (none)
    return y;
  ReduceAttr keep = {.keepdims = 1};
  Value *rows = EMIT(m, ReduceSum, &keep, cast(m, o->a, DT_i32), const_ints(m, (int64_t[]){-1}, 1));
  if (za)
    rows = EMIT(m, Sub, NULL, rows, EMIT(m, Mul, NULL, za, const_like(m, (double)o->k, DT_i32)));
  return EMIT(m, Sub, NULL, y, EMIT(m, Mul, NULL, rows, zb));
}

static Value *integer_product(Match *m) {
  Node *n = m->root;
  Operands o = operands_of(n->in[0], optional(n, 2), n->in[1], optional(n, 3));
  bool done = !o.za && !o.zb && !offset_of(&o);
  return done || !fit(&o) || o.k > INT32_MAX ? NULL : without_zero_points(m, &o);
}

/* A scale of one element, or (B's) of one per column. */
static bool scale_fits(const Value *s, int64_t n) {
  return one_element(s) || (type_known(s) && s->type.rank == 1 && n && dim_is(s->type.dim[0], n));
}

/* round(sum * (a_scale * b_scale / y_scale)) + y_zero_point, within the bounds of y. */
static Value *quantised_product(Match *m) {
  Node *n = m->root;
  for (int i = 0; i < 8; i++)
    if (i >= n->nin || !n->in[i])
      return NULL;
  Operands o = operands_of(n->in[0], n->in[2], n->in[3], n->in[5]);
  Value *y = n->in[7];
  if (!fit(&o) || o.k > EXACT_I32 || !scale_fits(n->in[1], 0) || !scale_fits(n->in[4], o.n) ||
      !scale_fits(n->in[6], 0) || !one_element(y) || !eight_bits(y))
    return NULL;
  if (n->in[1]->type.dtype != n->in[6]->type.dtype || n->in[4]->type.dtype != n->in[6]->type.dtype)
    return NULL;
  bool is_signed = y->type.dtype == DT_i8;
  Value *sum = without_zero_points(m, &o);
  if (!sum)
    return NULL;
  Value *by = EMIT(m, Div, NULL, EMIT(m, Mul, NULL, n->in[1], n->in[4]), n->in[6]);
  Value *v = EMIT(m, Round, NULL, EMIT(m, Mul, NULL, cast(m, sum, DT_f64), cast(m, by, DT_f64)));
  v = EMIT(m, Add, NULL, v, cast(m, y, DT_f64));
  v = EMIT(m, Clip, NULL, v, const_like(m, is_signed ? -128 : 0, DT_f64), const_like(m, is_signed ? 127 : 255, DT_f64));
  return cast(m, v, y->type.dtype);
}

/* --- matrices that are dequantised to be multiplied --- */

/* v op s for an s of one element: at once where both are constants. */
static Value *scaled(Match *m, Value *v, Value *s, OpId op) {
  Tensor *t;
  if (!v->konst || !s->konst)
    return emit(m, op, NULL, 2, (Value *[]){v, s});
  Value *r = constant(m, DT_f32, v->konst->rank, v->konst->dim, &t);
  float by = (float)elem_f64(DT_f32, s->konst->data, 0);
  for (int64_t i = 0; r && i < tensor_count(t); i++) {
    float x = (float)elem_f64(DT_f32, v->konst->data, i);
    ((float *)t->data)[i] = op == OP_Mul ? x * by : x / by;
  }
  return r;
}

/* A DequantizeLinear of 8-bit integers with one scale, or with one per column of a constant matrix. */
static bool dequantised(const Value *v, bool columns, Operands *o, Value **scale) {
  const Node *n = def_of(v, OP_DequantizeLinear);
  if (!n || !type_known(n->in[0]) || n->in[1]->type.dtype != DT_f32 || v->type.dtype != DT_f32)
    return false;
  const DequantizeLinearAttr *a = ATTR(n, DequantizeLinear);
  *scale = n->in[1];
  if (columns)
    o->b = n->in[0], o->zb = optional(n, 2);
  else
    o->a = n->in[0], o->za = optional(n, 2);
  if (a->block_size)
    return false;
  return one_element(*scale) || (columns && (a->axis == 1 || a->axis == -1));
}

static Value *dequantised_product(Match *m) {
  Operands o = {0};
  Value *sa, *sb;
  Node *n = m->root;
  if (!dequantised(n->in[0], false, &o, &sa) || !dequantised(n->in[1], true, &o, &sb))
    return NULL;
  o = operands_of(o.a, o.za, o.b, o.zb);
  if (!fit(&o) || o.k > EXACT_I32 || !scale_fits(sb, o.n))
    return NULL;
  match_also(m, n->in[0]->def), match_also(m, n->in[1]->def);
  Value *sum = without_zero_points(m, &o), *by = sum ? scaled(m, sb, sa, OP_Mul) : NULL;
  return by ? EMIT(m, Mul, NULL, cast(m, sum, DT_f32), by) : NULL;
}

/* --- sums that are quantised again --- */

static bool f32_constant(const Value *v) { return v->konst && v->type.dtype == DT_f32; }

/* v as operator op of a value that nobody else reads and a constant, in *by; or NULL. */
static Node *with_constant(const Value *v, OpId op, Value **by) {
  Node *n = def_of(v, op);
  if (!n || !value_sole_user(v))
    return NULL;
  *by = f32_constant(n->in[1]) ? n->in[1] : n->in[0];
  return f32_constant(*by) ? n : NULL;
}

static Value *other(const Node *n, const Value *v) { return n->in[n->in[0] == v]; }

/* QuantizeLinear of sums times constants: its scale goes into those, and is 1. An element close to the middle of two quanta may
 * become the other one, as the order in which floats are added up may have it. */
static Value *requantised(Match *m) {
  Node *q = m->root;
  Value *scale = q->in[1], *v = q->in[0], *bias = NULL, *by;
  if (!f32_constant(scale) || !one_element(scale) || is_num(scale, 1) || ATTR(q, QuantizeLinear)->precision)
    return NULL;
  Node *relu = value_sole_user(v) ? def_of(v, OP_Relu) : NULL;
  v = relu ? relu->in[0] : v;
  Node *add = with_constant(v, OP_Add, &bias), *mul = with_constant(add ? other(add, bias) : v, OP_Mul, &by);
  Value *sum = mul ? other(mul, by) : NULL;
  if (!sum || !def_of(sum, OP_Cast) || sum->def->in[0]->type.dtype != DT_i32)
    return NULL;
  by = scaled(m, by, scale, OP_Div), bias = bias && !m->st ? scaled(m, bias, scale, OP_Div) : NULL;
  if (m->st)
    return NULL;
  match_also(m, mul), match_also(m, add ? add : mul), match_also(m, relu ? relu : mul);
  v = EMIT(m, Mul, NULL, sum, by);
  v = bias ? EMIT(m, Add, NULL, v, bias) : v;
  v = relu ? EMIT(m, Relu, NULL, v) : v;
  Value *in[] = {v, const_like(m, 1, DT_f32), optional(q, 2)};
  return emit(m, OP_QuantizeLinear, q->attr, q->nin, in);
}

/* --- DynamicQuantizeLinear --- */

/* The least (or greatest) number of x, 0 among them: that of each row first, which threads share. Of x the numbers on that side of 0
 * alone, so not NaN: one step per extreme, each of which reads x and writes nothing of its size. */
static Value *extreme(Match *m, Value *x, OpId side, OpId reduce, OpId of_two) {
  ReduceAttr row = {.keepdims = 0};
  Value *zero = const_like(m, 0, DT_f32);
  Value *v = EMIT(m, Where, NULL, emit(m, side, NULL, 2, (Value *[]){x, zero}), x, zero);
  Value *rows = emit(m, reduce, &row, 2, (Value *[]){v, const_ints(m, (int64_t[]){-1}, 1)});
  Value *all = v->type.rank > 1 ? emit(m, reduce, &row, 1, &rows) : rows;
  return emit(m, of_two, NULL, 2, (Value *[]){all, const_like(m, 0, DT_f32)});
}

/* The range of all numbers, by rows, then a QuantizeLinear; NaN counts for nothing in it. */
static Value *dynamic_quantisation(Match *m) {
  Node *n = m->root;
  Value *x = n->in[0], *zero = const_like(m, 0, DT_f32);
  if (!type_known(x) || !x->type.rank || x->type.dtype != DT_f32)
    return NULL;
  Value *lo = extreme(m, x, OP_Less, OP_ReduceMin, OP_Min), *hi = extreme(m, x, OP_Greater, OP_ReduceMax, OP_Max);
  Value *range =
      EMIT(m, Where, NULL, EMIT(m, Equal, NULL, lo, hi), const_like(m, 1, DT_f32), EMIT(m, Sub, NULL, hi, lo));
  Value *scale = EMIT(m, Div, NULL, range, const_like(m, 255, DT_f32));
  Value *z = EMIT(m, Div, NULL, EMIT(m, Neg, NULL, lo), scale);
  z = EMIT(m, Where, NULL, EMIT(m, IsNaN, NULL, z), zero, z);
  z = EMIT(m, Round, NULL, EMIT(m, Clip, NULL, z, zero, const_like(m, 255, DT_f32)));
  z = cast(m, z, DT_u8);
  QuantizeLinearAttr whole = {.axis = 1, .saturate = 1};
  Value *y = EMIT(m, QuantizeLinear, &whole, x, scale, z);
  for (int i = 1; i < n->nout && !m->st; i++)
    if (n->out[i])
      replace_value(n->out[i], i == 1 ? scale : z);
  return y;
}

/* A DequantizeLinear of v's number of quanta by f32 scales, the scale divided by `by`; or NULL. */
static Value *in_quanta(Match *m, const Value *v, Value *by) {
  const Node *n = def_of(v, OP_DequantizeLinear);
  Value *in[3] = {n->in[0], scaled(m, n->in[1], by, OP_Div), optional(n, 2)};
  match_also(m, v->def);
  return m->st ? NULL : emit(m, OP_DequantizeLinear, n->attr, n->nin, in);
}

static bool is_dequantised(const Value *v) {
  const Node *n = def_of(v, OP_DequantizeLinear);
  return n && node_quantises_alike(n) && f32_constant(n->in[1]) && v->type.dtype == DT_f32 &&
         dtype_is_int(n->in[0]->type.dtype) && dtype_bits(n->in[0]->type.dtype) == 8;
}

/* QuantizeLinear of a sum of two dequantised ones: its scale goes into theirs, and is 1. */
static Value *sum_in_quanta(Match *m) {
  Node *q = m->root;
  Value *scale = q->in[1], *v = q->in[0];
  if (!f32_constant(scale) || !one_element(scale) || is_num(scale, 1) || ATTR(q, QuantizeLinear)->precision)
    return NULL;
  Node *relu = value_sole_user(v) ? def_of(v, OP_Relu) : NULL, *add = def_of(relu ? relu->in[0] : v, OP_Add);
  if (!add || !value_sole_user(add->out[0]) || !is_dequantised(add->in[0]) || !is_dequantised(add->in[1]))
    return NULL;
  match_also(m, add), match_also(m, relu ? relu : add);
  Value *a = in_quanta(m, add->in[0], scale), *b = a ? in_quanta(m, add->in[1], scale) : NULL;
  if (!b)
    return NULL;
  v = EMIT(m, Add, NULL, a, b);
  v = relu ? EMIT(m, Relu, NULL, v) : v;
  Value *in[] = {v, const_like(m, 1, DT_f32), optional(q, 2)};
  return emit(m, OP_QuantizeLinear, q->attr, q->nin, in);
}

static const Rule rules[] = {
    {"dynamic quantisation", OPERATOR(DynamicQuantizeLinear), dynamic_quantisation},
    {"product of integers", OPERATOR(MatMulInteger), integer_product},
    {"quantised product", OPERATOR(QLinearMatMul), quantised_product},
    {"product of dequantised matrices", OPERATOR(MatMul), dequantised_product},
    {"quantised sums", OPERATOR(QuantizeLinear), requantised},
    {"quantised sum of two", OPERATOR(QuantizeLinear), sum_in_quanta},
};

Status pass_integers(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
