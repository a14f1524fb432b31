/* quantised.c - what stands between DequantizeLinear and QuantizeLinear, as exporters of quantised models write it, on integers:
 *
 *     Conv(DQ(x), DQ(w), b)              ->  Cast(ConvInteger(x, w)) * (x's scale * w's scale) + b
 *     Gemm(DQ(x), DQ(w), b)              ->  MatMul(DQ(x), DQ(w)) + b, which the pass `integers` makes one of integers
 *     Q(MaxPool(DQ(x))), Q(Reshape(…))   ->  MaxPool(x), where both have the same scale and zero point
 *
 * A constant weight of a convolution that stays one of floats is dequantised here. Elements of ConvInteger that lie outside of x are
 * x's zero point, which is what the float 0 around DQ(x) is.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <string.h>

#define LARGE_SCALE 1e30 /* below it no dequantised number is beyond f32 */

enum { EXACT_I32 = INT32_MAX / (255 * 255), LEAST_ROWS = 8 };

/* A DequantizeLinear to f32 of 8-bit integers. */
typedef struct Source {
  Value *q, *scale, *zero; /* zero may be NULL */
  int64_t axis;
} Source;

static bool one_element(const Value *v) {
  return type_known(v) && (!v->type.rank || (v->type.rank == 1 && dim_is(v->type.dim[0], 1)));
}

static bool source_of(const Value *v, Source *s) {
  const Node *n = def_of(v, OP_DequantizeLinear);
  if (!n || !type_known(n->in[0]) || n->in[1]->type.dtype != DT_f32 || v->type.dtype != DT_f32)
    return false;
  DType t = n->in[0]->type.dtype;
  const DequantizeLinearAttr *a = ATTR(n, DequantizeLinear);
  *s = (Source){n->in[0], n->in[1], n->nin > 2 ? n->in[2] : NULL, a->axis};
  return !a->block_size && (t == DT_u8 || t == DT_i8);
}

/* One constant scale and zero point. */
static bool is_uniform(const Source *s) {
  return s->scale->konst && one_element(s->scale) && (!s->zero || (s->zero->konst && one_element(s->zero)));
}

static double parameter(const Value *v, int64_t i) {
  return !v ? 0 : elem_f64(v->type.dtype, v->konst->data, tensor_count(v->konst) == 1 ? 0 : i);
}

/* A constant with scales and zero points that are constants, of one element or one per entry of `axis`. */
static bool is_weight(const Source *s, int64_t axis) {
  if (!s->q->konst || !s->scale->konst || (s->zero && !s->zero->konst))
    return false;
  int rank = s->q->type.rank;
  bool per_axis = axis < rank && s->scale->type.rank == 1 && s->scale->konst->dim[0] == s->q->konst->dim[axis] &&
                  (s->axis == axis || s->axis == axis - rank);
  if (s->zero && tensor_count(s->zero->konst) != tensor_count(s->scale->konst))
    return false;
  return one_element(s->scale) || per_axis;
}

/* --- convolutions --- */

/* The weight as i8 without zero points, or NULL: some element does not fit. */
static Value *signed_weight(Match *m, const Source *w) {
  int64_t rows = w->q->konst->dim[0], each = rows ? tensor_count(w->q->konst) / rows : 0;
  Tensor *t;
  bool same = w->q->type.dtype == DT_i8;
  for (int64_t i = 0; i < rows; i++)
    same &= parameter(w->zero, i) == 0;
  if (same)
    return w->q;
  if ((m->st = tensor_new(m->c, m->g->arena, DT_i8, w->q->konst->rank, w->q->konst->dim, &t)))
    return NULL;
  for (int64_t i = 0; i < rows * each; i++) {
    int64_t v = elem_i64(w->q->type.dtype, w->q->konst->data, i) - (int64_t)parameter(w->zero, i / each);
    if (v < INT8_MIN || v > INT8_MAX)
      return NULL;
    ((int8_t *)t->data)[i] = (int8_t)v;
  }
  return graph_add_const(m->g, NULL, t);
}

static bool one_position(const Value *v) {
  for (int i = 2; i < v->type.rank; i++)
    if (!dim_is(v->type.dim[i], 1))
      return false;
  return true;
}

/* Does code generation have a product for it? */
static bool fits_product(const Node *n, const Source *x, const Source *w) {
  int rank = x->q->type.rank;
  const Tensor *t = w->q->konst;
  return rank >= 3 && rank <= 5 && t->rank == rank && ATTR(n, Conv)->group == 1 && t->dim[0] >= LEAST_ROWS &&
         tensor_count(t) > 0 && tensor_count(t) / t->dim[0] <= EXACT_I32 && type_known(n->out[0]) &&
         !(one_position(n->in[0]) && one_position(n->out[0]));
}

/* f32 [1, n, 1, …] of one number per channel; by: what they are multiplied with. */
static Value *per_channel(Match *m, const Value *v, int64_t n, int rank, float by) {
  int64_t dim[MAX_RANK];
  Tensor *t;
  for (int i = 0; i < rank; i++)
    dim[i] = i == 1 ? n : 1;
  if ((m->st = tensor_new(m->c, m->g->arena, DT_f32, rank, dim, &t)))
    return NULL;
  for (int64_t i = 0; i < n; i++)
    ((float *)t->data)[i] = (float)parameter(v, i) * by;
  return graph_add_const(m->g, NULL, t);
}

static Value *integer_conv(Match *m, const Source *x, const Source *w) {
  Node *n = m->root;
  int rank = x->q->type.rank;
  int64_t rows = w->q->konst->dim[0];
  Value *bias = n->nin > 2 ? n->in[2] : NULL;
  if (bias && (!bias->konst || bias->type.dtype != DT_f32))
    return NULL;
  Value *weight = signed_weight(m, w);
  Value *scale = weight ? per_channel(m, w->scale, rows, rank, (float)parameter(x->scale, 0)) : NULL;
  bias = scale && bias ? per_channel(m, bias, rows, rank, 1) : NULL;
  if (!scale || m->st)
    return NULL;
  match_also(m, n->in[0]->def), match_also(m, n->in[1]->def);
  CastAttr to = {.to = DT_f32, .saturate = 1, .round_mode = str_of("up")};
  Value *y = emit(m, OP_ConvInteger, n->attr, x->zero ? 3 : 2, (Value *[]){x->q, weight, x->zero});
  y = EMIT(m, Mul, NULL, EMIT(m, Cast, &to, y), scale);
  return bias ? EMIT(m, Add, NULL, y, bias) : y;
}

/* The weight as it is. */
static Value *float_conv(Match *m, const Source *w) {
  Node *n = m->root;
  const Tensor *q = w->q->konst;
  int64_t rows = q->rank ? q->dim[0] : 0, each = rows ? tensor_count(q) / rows : 0;
  Tensor *t;
  if ((m->st = tensor_new(m->c, m->g->arena, DT_f32, q->rank, q->dim, &t)))
    return NULL;
  for (int64_t i = 0; i < rows * each; i++)
    ((float *)t->data)[i] = (float)(elem_i64(q->dtype, q->data, i) - (int64_t)parameter(w->zero, i / each)) *
                            (float)parameter(w->scale, i / each);
  match_also(m, n->in[1]->def);
  Value *in[] = {n->in[0], graph_add_const(m->g, NULL, t), n->nin > 2 ? n->in[2] : NULL};
  return emit(m, OP_Conv, n->attr, n->nin, in);
}

static Value *dequantised_conv(Match *m) {
  Node *n = m->root;
  Source x, w;
  if (!source_of(n->in[1], &w) || !is_weight(&w, 0))
    return NULL;
  Value *y = NULL;
  if (source_of(n->in[0], &x) && is_uniform(&x) && fits_product(n, &x, &w))
    y = integer_conv(m, &x, &w);
  return y || m->st ? y : float_conv(m, &w);
}

/* --- Gemm --- */

/* The constant matrix transposed, dequantised along its columns. */
static Value *transposed(Match *m, const Source *w) {
  const Tensor *q = w->q->konst;
  int64_t rows = q->dim[0], cols = q->dim[1];
  Tensor *t;
  DequantizeLinearAttr a = {.axis = 1};
  if ((m->st = tensor_new(m->c, m->g->arena, q->dtype, 2, (int64_t[]){cols, rows}, &t)))
    return NULL;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++)
      ((uint8_t *)t->data)[j * rows + i] = ((const uint8_t *)q->data)[i * cols + j];
  Value *in[] = {graph_add_const(m->g, NULL, t), w->scale, w->zero};
  return emit(m, OP_DequantizeLinear, &a, w->zero ? 3 : 2, in);
}

static Value *dequantised_gemm(Match *m) {
  Node *n = m->root;
  const GemmAttr *a = ATTR(n, Gemm);
  Source x, w;
  Value *bias = n->nin > 2 ? n->in[2] : NULL;
  if (a->alpha != 1 || (bias && a->beta != 1) || a->transA || !source_of(n->in[0], &x) || !one_element(x.scale) ||
      !source_of(n->in[1], &w) || w.q->type.rank != 2 || !is_weight(&w, a->transB ? 0 : 1))
    return NULL;
  match_also(m, n->in[1]->def);
  Value *b = a->transB ? transposed(m, &w) : n->in[1];
  Value *y = b ? EMIT(m, MatMul, NULL, n->in[0], b) : NULL;
  return y && bias ? EMIT(m, Add, NULL, y, bias) : y;
}

/* --- what only moves or compares elements --- */

static bool keeps_elements(const Node *n) {
  static const OpId ops[] = {OP_MaxPool,   OP_Reshape, OP_Transpose, OP_Flatten,     OP_Squeeze,
                             OP_Unsqueeze, OP_Slice,   OP_Identity,  OP_DepthToSpace};
  for (size_t i = 0; i < countof(ops); i++)
    if (n->op == ops[i])
      return !(n->nout > 1 && n->out[1]);
  return false;
}

static bool same_number(const Value *a, const Value *b) { return parameter(a, 0) == parameter(b, 0); }

/* Q(f(DQ(x))) with the same parameters, which are positive, so that the order of numbers stays. */
static Value *kept_elements(Match *m) {
  Node *q = m->root, *n = q->in[0]->def;
  Value *zero = q->nin > 2 ? q->in[2] : NULL, *in[8];
  bool direct = n && n->op == OP_DequantizeLinear, moved = n && keeps_elements(n);
  Source x;
  if ((!direct && !moved) || n->nin > 8 || !source_of(direct ? q->in[0] : n->in[0], &x) || !is_uniform(&x) ||
      ATTR(q, QuantizeLinear)->block_size || !q->in[1]->konst || !one_element(q->in[1]) ||
      q->in[1]->type.dtype != DT_f32 || (zero && (!zero->konst || !one_element(zero))) ||
      !same_number(x.scale, q->in[1]) || !same_number(x.zero, zero) || !(parameter(x.scale, 0) > 0) ||
      parameter(x.scale, 0) > LARGE_SCALE || q->out[0]->type.dtype != x.q->type.dtype)
    return NULL;
  match_also(m, n);
  if (direct)
    return x.q;
  match_also(m, n->in[0]->def);
  for (int i = 0; i < n->nin; i++)
    in[i] = i ? n->in[i] : x.q;
  return emit(m, n->op, n->attr, n->nin, in);
}

static const Rule rules[] = {
    {"convolution of what was dequantised", OPERATOR(Conv), dequantised_conv},
    {"Gemm of what was dequantised", OPERATOR(Gemm), dequantised_gemm},
    {"elements that stay quantised", OPERATOR(QuantizeLinear), kept_elements},
};

Status pass_quantised(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
