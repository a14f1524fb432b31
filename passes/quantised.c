/* quantised.c - what stands between DequantizeLinear and QuantizeLinear, as exporters of quantised models write it, on integers:
 *
 *     Conv(DQ(x), DQ(w), b)              ->  Cast(ConvInteger(x, w)) * (x's scale * w's scale) + b
 *     Gemm(DQ(x), DQ(w), b)              ->  MatMul(DQ(x), DQ(w)) + b, which the pass `integers` makes one of integers
 *     Q(MaxPool(DQ(x))), Q(Reshape(…))   ->  MaxPool(x), where both have the same scale and zero point
 *     QLinearConv                        ->  ConvInteger, its scaling in f64 and its rounding, as the reference has them
 *     ConvInteger(x, w, zx, zw)          ->  ConvInteger(Pad(x, zx), w) - zx * sums of w, where only the run tells zx
 *
 * A constant weight of a convolution that stays one of floats is dequantised here. Elements of ConvInteger that lie outside of x are
 * x's zero point, which is what the float 0 around DQ(x) is.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <string.h>

#define LARGE_SCALE 1e30 /* below it no dequantised number is beyond f32 */

enum {
  EXACT_I32 = INT32_MAX / (255 * 255),
  LEAST_ROWS = 8,
  LEAST_GROUP_ROWS = 4,
  LEAST_GROUP_CHANNELS = 16,
  MAX_TAPS = 1024
};

/* A DequantizeLinear to f32 of 8-bit integers. */
typedef struct Source {
  Value *q, *scale, *zero; /* zero may be NULL */
  int64_t axis;
} Source;

static Value *cast(Match *m, Value *v, DType t) {
  CastAttr to = {.to = t, .saturate = 1, .round_mode = str_of("up")};
  return EMIT(m, Cast, &to, v);
}

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

/* Does code generation have a product for convolution n of x by constant w? */
static bool fits_product(const Node *n, const Value *x, const Value *w) {
  int rank = x->type.rank;
  const Tensor *t = w->konst;
  int64_t taps = 1, group = ATTR(n, Conv)->group;
  bool grouped = group > 1 && t->rank > 1 && !(t->dim[0] == group && t->dim[1] == 1);
  for (int i = 2; i < t->rank; i++)
    taps = taps > MAX_TAPS ? taps : taps * t->dim[i];
  return taps <= MAX_TAPS && rank >= 3 && rank <= 5 && t->rank == rank && group >= 1 &&
         t->dim[0] / group >= (grouped ? LEAST_GROUP_ROWS : 1) && t->dim[0] >= LEAST_ROWS && tensor_count(t) > 0 &&
         tensor_count(t) / t->dim[0] <= EXACT_I32 && type_known(n->out[0]) &&
         !(one_position(x) && one_position(n->out[0]));
}

/* No bias, or one that is a constant of one number per row. */
static bool bias_known(const Value *bias, DType t, int64_t rows) {
  return !bias || (bias->konst && bias->type.dtype == t && bias->konst->rank == 1 && bias->konst->dim[0] == rows);
}

/* A constant of [1, n, 1, …], made by `make` for each channel. */
typedef double (*PerChannel)(const void *arg, int64_t channel);

static Value *channels(Match *m, DType t, int64_t n, int rank, PerChannel make, const void *arg) {
  int64_t dim[MAX_RANK];
  Tensor *r;
  for (int i = 0; i < rank; i++)
    dim[i] = i == 1 ? n : 1;
  if ((m->st = tensor_new(m->c, m->g->arena, t, rank, dim, &r)))
    return NULL;
  for (int64_t i = 0; i < n; i++)
    elem_set_f64(t, r->data, i, make(arg, i));
  return graph_add_const(m->g, NULL, r);
}

static double element(const void *v, int64_t i) { return parameter(v, i); }

/* Of a convolution of dequantised numbers: x's scale times w's. */
static double product_scale(const void *arg, int64_t channel) {
  const Source *const *s = arg;
  return (double)((float)parameter(s[1]->scale, channel) * (float)parameter(s[0]->scale, 0));
}

static Value *integer_conv(Match *m, const Source *x, const Source *w) {
  Node *n = m->root;
  int rank = x->q->type.rank;
  int64_t rows = w->q->konst->dim[0];
  Value *bias = n->nin > 2 ? n->in[2] : NULL;
  if (!bias_known(bias, DT_f32, rows))
    return NULL;
  Value *weight = signed_weight(m, w);
  const Source *both[] = {x, w};
  Value *scale = weight ? channels(m, DT_f32, rows, rank, product_scale, both) : NULL;
  bias = scale && bias ? channels(m, DT_f32, rows, rank, element, bias) : NULL;
  if (!scale || m->st)
    return NULL;
  match_also(m, n->in[0]->def), match_also(m, n->in[1]->def);
  Value *y = emit(m, OP_ConvInteger, n->attr, x->zero ? 3 : 2, (Value *[]){x->q, weight, x->zero});
  y = EMIT(m, Mul, NULL, cast(m, y, DT_f32), scale);
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

/* Groups of few channels, whose taps are short runs, take longer to gather than as floats (3x3 of 28x28 positions, 256 channels
 * in 32 groups: 0.21 ms instead of 0.19; 128 channels in 4 groups: 0.08 instead of 0.26). */
static bool groups_pay(const Node *n, const Value *w) {
  int64_t group = ATTR(n, Conv)->group;
  return group == 1 || w->konst->dim[1] >= LEAST_GROUP_CHANNELS || (w->konst->dim[1] == 1 && w->konst->dim[0] == group);
}

static Value *dequantised_conv(Match *m) {
  Node *n = m->root;
  Source x, w;
  if (!source_of(n->in[1], &w) || !is_weight(&w, 0))
    return NULL;
  Value *y = NULL;
  if (source_of(n->in[0], &x) && is_uniform(&x) && fits_product(n, x.q, w.q) && groups_pay(n, w.q))
    y = integer_conv(m, &x, &w);
  return y || m->st ? y : float_conv(m, &w);
}

/* --- operators on quantised numbers --- */

static Value *input(const Node *n, int i) { return i < n->nin ? n->in[i] : NULL; }

static bool bytes_known(const Value *v) { return type_known(v) && (v->type.dtype == DT_u8 || v->type.dtype == DT_i8); }

/* Zero points of the weight w, input i, that are constants: one, or one per channel. */
static bool zeros_known(const Node *n, int i, const Value *w) {
  const Value *z = input(n, i);
  return !z ||
         (z->konst && z->type.rank <= 1 && (tensor_count(z->konst) == 1 || tensor_count(z->konst) == w->konst->dim[0]));
}

/* The sum of a channel's weights: fewer of them than EXACT_I32. */
static double weight_sum(const void *arg, int64_t channel) {
  const Tensor *w = ((const Value *)arg)->konst;
  int64_t each = tensor_count(w) / w->dim[0], sum = 0;
  for (int64_t i = 0; i < each; i++)
    sum += ((const int8_t *)w->data)[channel * each + i];
  return (double)sum;
}

/* x between margins of its zero point. */
static Value *padded(Match *m, Value *x, Value *zero, ConvAttr *a) {
  int64_t pads[2 * MAX_RANK] = {0};
  int r = x->type.rank;
  PadAttr constant = {.mode = str_of("constant")};
  for (int i = 0; i < a->pads.n / 2; i++)
    pads[i + 2] = a->pads.v[i], pads[r + i + 2] = a->pads.v[a->pads.n / 2 + i];
  bool none = true;
  for (int i = 0; i < a->pads.n; i++)
    none &= !a->pads.v[i];
  a->pads = (Ints){0};
  if (none)
    return x;
  if (zero->type.rank)
    zero = EMIT(m, Squeeze, NULL, zero, const_ints(m, (int64_t[]){0}, 1));
  return EMIT(m, Pad, &constant, x, const_ints(m, pads, 2 * r), zero);
}

/* ConvInteger with zero points of the weight, or with one of x that only the run tells. */
static Value *integer_zeros(Match *m) {
  Node *n = m->root;
  ConvAttr a = *ATTR(n, Conv);
  Value *x = n->in[0], *zero = input(n, 2);
  Source w = {.q = n->in[1], .zero = input(n, 3)};
  bool told = zero && !zero->konst;
  if ((!told && !w.zero) || !bytes_known(x) || !w.q->konst || !bytes_known(w.q) || !fits_product(n, x, w.q) ||
      !zeros_known(n, 3, w.q) || (zero && !one_element(zero)) ||
      (told && (!str_is(a.auto_pad, "NOTSET") || (a.pads.n && a.pads.n != 2 * (x->type.rank - 2)))))
    return NULL;
  Value *weight = signed_weight(m, &w);
  Value *sums = weight && told ? channels(m, DT_i32, weight->konst->dim[0], x->type.rank, weight_sum, weight) : NULL;
  if (!weight || m->st)
    return NULL;
  if (!told)
    return emit(m, OP_ConvInteger, n->attr, zero ? 3 : 2, (Value *[]){x, weight, zero});
  x = padded(m, x, zero, &a);
  Value *y = EMIT(m, ConvInteger, &a, x, weight);
  return EMIT(m, Sub, NULL, y, EMIT(m, Mul, NULL, cast(m, zero, DT_i32), sums));
}

/* x_scale * w_scale / y_scale, in f32. */
static double multiplier(const void *arg, int64_t channel) {
  const Node *n = arg;
  float v = (float)parameter(n->in[1], 0) * (float)parameter(n->in[4], channel);
  return (double)(v / (float)parameter(n->in[6], 0));
}

static bool constant_scale(const Value *v) { return v->konst && v->type.dtype == DT_f32 && v->type.rank <= 1; }

static Value *quantised_conv(Match *m) {
  Node *n = m->root;
  Value *x = n->in[0], *bias = input(n, 8), *zero = n->in[7];
  Source w = {.q = n->in[3], .zero = n->in[5]};
  if (!bytes_known(x) || !w.q->konst || !bytes_known(w.q) || !fits_product(n, x, w.q) || !zeros_known(n, 5, w.q) ||
      !n->in[2]->konst || !one_element(n->in[2]) || !constant_scale(n->in[1]) || !one_element(n->in[1]) ||
      !constant_scale(n->in[4]) || !constant_scale(n->in[6]) || !one_element(n->in[6]) || !zero->konst ||
      !one_element(zero) || zero->type.dtype != n->out[0]->type.dtype || !bytes_known(zero))
    return NULL;
  int rank = x->type.rank;
  int64_t rows = w.q->konst->dim[0], scales = tensor_count(n->in[4]->konst);
  if ((scales != 1 && scales != rows) || !bias_known(bias, DT_i32, rows))
    return NULL;
  Value *weight = signed_weight(m, &w), *by = weight ? channels(m, DT_f64, rows, rank, multiplier, n) : NULL;
  bias = by && bias ? channels(m, DT_f64, rows, rank, element, bias) : NULL;
  if (!by || m->st)
    return NULL;
  bool is_signed = zero->type.dtype == DT_i8;
  Value *y = emit(m, OP_ConvInteger, n->attr, 3, (Value *[]){x, weight, n->in[2]});
  y = cast(m, y, DT_f64);
  y = bias ? EMIT(m, Add, NULL, y, bias) : y;
  y = EMIT(m, Round, NULL, EMIT(m, Mul, NULL, y, by));
  y = EMIT(m, Add, NULL, y, const_like(m, parameter(zero, 0), DT_f64));
  y = EMIT(m, Clip, NULL, y, const_like(m, is_signed ? -128 : 0, DT_f64), const_like(m, is_signed ? 127 : 255, DT_f64));
  return cast(m, y, zero->type.dtype);
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
    {"convolution of integers with zero points", OPERATOR(ConvInteger), integer_zeros},
    {"quantised convolution", OPERATOR(QLinearConv), quantised_conv},
    {"Gemm of what was dequantised", OPERATOR(Gemm), dequantised_gemm},
    {"elements that stay quantised", OPERATOR(QuantizeLinear), kept_elements},
};

Status pass_quantised(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
