/* microsoft_quantised.c - operators of com.microsoft on quantised numbers: QLinear… as the operator between DequantizeLinear and
 * QuantizeLinear, products as MatMulInteger and a scale, which are the forms that the passes `quantised` and `integers` know.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"
#include "frontend/nodes.h"

#include <string.h>

/* Inputs i, i + 1, i + 2: numbers, their scale, their zero point, which may be missing. */
static const char *dequantised(Upgrade *u, uint32_t i, const char *x) {
  const char *const in[] = {x, raw_in(u, i + 1), raw_in(u, i + 2)};
  return raw_put(u, "DequantizeLinear", NULL, raw_has(u, i + 2) ? 3 : 2, in, 0, NULL);
}

static const char *real(Upgrade *u, uint32_t i) { return dequantised(u, i, raw_in(u, i)); }

/* y by the scale and the zero point of inputs i and i + 1; without a zero point of the type of input 0. */
static Status quantised(Upgrade *u, const char **y, uint32_t i) {
  RawAttr type = raw_int_attr("output_dtype", raw_dtype(u, raw_in(u, 0)));
  if (raw_has(u, i + 1))
    *y = raw_put(u, "QuantizeLinear", NULL, NAMES(*y, raw_in(u, i), raw_in(u, i + 1)), 0, NULL);
  else if (type.i)
    *y = raw_put(u, "QuantizeLinear", NULL, NAMES(*y, raw_in(u, i)), 1, &type);
  else
    return raw_unsupported(u, "has neither a zero point nor an input of known type (unknown rank)");
  return ST_OK;
}

static Status become_quantised(Upgrade *u, const char *y, uint32_t i) {
  TRY(quantised(u, &y, i));
  return raw_become_last(u);
}

/* --- element by element --- */

/* QLinearAdd, QLinearMul: A, its scale and zero point, B, its, those of the result. */
Status microsoft_qlinear_binary(Upgrade *u) {
  const char *a = real(u, 0), *b = real(u, 3);
  return become_quantised(u, raw_two(u, strcmp(u->n.op, "QLinearAdd") ? "Mul" : "Add", a, b), 6);
}

/* QLinearSigmoid, QLinearLeakyRelu: X, its scale and zero point, those of the result. */
Status microsoft_qlinear_unary(Upgrade *u) {
  RawAttr alpha = raw_float_attr("alpha", raw_float(u, "alpha", 0.01f));
  bool leaky = !strcmp(u->n.op, "QLinearLeakyRelu");
  const char *x = real(u, 0);
  return become_quantised(u, raw_put(u, leaky ? "LeakyRelu" : "Sigmoid", NULL, NAMES(x), leaky, &alpha), 3);
}

Status microsoft_qlinear_where(Upgrade *u) {
  const char *x = real(u, 1), *y = real(u, 4);
  return become_quantised(u, raw_put(u, "Where", NULL, NAMES(raw_in(u, 0), x, y), 0, NULL), 7);
}

/* QLinearConcat: the scale and zero point of the result, then numbers, scale and zero point of each part. */
Status microsoft_qlinear_concat(Upgrade *u) {
  enum { MOST = 100 };
  const char *part[MOST];
  RawAttr axis = raw_int_attr("axis", raw_int(u, "axis", 0));
  uint32_t n = u->n.nin < 2 ? 0 : (u->n.nin - 2) / 3;
  if (!n || n > MOST || (u->n.nin - 2) % 3)
    return raw_unsupported(u, "has no parts, parts without a scale or zero point, or more than a hundred");
  for (uint32_t i = 0; i < n; i++)
    part[i] = real(u, 2 + 3 * i);
  const char *y = raw_put(u, "Concat", NULL, n, part, 1, &axis);
  return raw_become(u, "QuantizeLinear", NAMES(y, raw_in(u, 0), raw_in(u, 1)), 0, NULL);
}

/* --- along axes --- */

/* Before opset 13 all axes from `axis` on were one. */
Status microsoft_qlinear_softmax(Upgrade *u) {
  RawAttr axis = raw_int_attr("axis", raw_int(u, "axis", -1)), last = raw_int_attr("axis", -1);
  const char *x = real(u, 0), *y;
  if (raw_int(u, "opset", 13) >= 13) {
    y = raw_put(u, "Softmax", NULL, NAMES(x), 1, &axis);
  } else {
    y = raw_put(u, "Flatten", NULL, NAMES(x), 1, &axis);
    y = raw_put(u, "Softmax", NULL, NAMES(y), 1, &last);
    y = raw_two(u, "Reshape", y, raw_put(u, "Shape", NULL, NAMES(raw_in(u, 0)), 0, NULL));
  }
  return become_quantised(u, y, 3);
}

Status microsoft_qlinear_mean(Upgrade *u) {
  const RawAttr *axes = raw_find(u, "axes", RA_INTS);
  RawAttr keep = raw_int_attr("keepdims", raw_int(u, "keepdims", 1));
  const char *x = real(u, 0), *over = axes && axes->n ? raw_ints(u, axes->n, axes->ints) : "";
  return become_quantised(u, raw_put(u, "ReduceMean", NULL, *over ? 2 : 1, (Names)(const char *[]){x, over}, 1, &keep),
                          3);
}

/* QLinearAveragePool, QLinearGlobalAveragePool: X, its scale and zero point, those of the result. */
Status microsoft_qlinear_pool(Upgrade *u) {
  static const char *const known[] = {"kernel_shape", "strides", "pads", "auto_pad", "ceil_mode", "count_include_pad"};
  bool all = !strcmp(u->n.op, "QLinearGlobalAveragePool"), last = raw_int(u, "channels_last", 0);
  const Type *t = raw_type(u, raw_in(u, 0));
  RawAttr attr[countof(known)];
  uint32_t n = all ? 0 : raw_kept(u, countof(known), known, attr);
  if (last && (!t || t->rank < 3))
    return raw_unsupported(u, "has its channels last in an input of unknown rank, or of fewer axes than 3");
  const char *x = raw_in(u, 0), *y;
  y = dequantised(u, 0, last ? raw_channels_first(u, x, t->rank) : x);
  y = raw_put(u, all ? "GlobalAveragePool" : "AveragePool", NULL, NAMES(y), n, attr);
  TRY(quantised(u, &y, 3));
  if (last)
    raw_channels_last(u, y, t->rank);
  return raw_become_last(u);
}

/* QLinearConv with channels last: that of ai.onnx between transpositions. */
Status microsoft_qlinear_conv(Upgrade *u) {
  static const char *const known[] = {"kernel_shape", "strides", "pads", "auto_pad", "dilations", "group"};
  const Type *t = raw_type(u, raw_in(u, 0));
  bool last = raw_int(u, "channels_last", 0);
  const char *in[9];
  RawAttr attr[countof(known)];
  uint32_t n = raw_kept(u, countof(known), known, attr);
  if (last && (!t || t->rank < 3))
    return raw_unsupported(u, "has its channels last in an input of unknown rank, or of fewer axes than 3");
  for (uint32_t i = 0; i < 9; i++)
    in[i] = raw_in(u, i);
  in[0] = last ? raw_channels_first(u, in[0], t->rank) : in[0];
  const char *y = raw_put(u, "QLinearConv", NULL, *in[8] ? 9 : 8, in, n, attr);
  if (last)
    raw_channels_last(u, y, t->rank);
  return raw_become_last(u);
}

/* --- products --- */

typedef struct Product {
  const char *a, *b, *a_zero, *b_zero; /* zero points: "" if there are none */
  const char *scale;                   /* f32: of all, or of each column */
} Product;

/* (a - a_zero)(b - b_zero) in i32. */
static const char *sums(Upgrade *u, const Product *p) {
  const char *const in[] = {p->a, p->b, p->a_zero, p->b_zero};
  return raw_put(u, "MatMulInteger", NULL, *p->b_zero ? 4 : *p->a_zero ? 3 : 2, in, 0, NULL);
}

/* The same as f32, times the scale. */
static const char *scaled(Upgrade *u, const Product *p, const char *sum) {
  return raw_two(u, "Mul", raw_cast(u, sum, DT_f32), p->scale);
}

static const char *in_f32(Upgrade *u, const char *x) { return raw_dtype(u, x) == DT_f32 ? x : raw_cast(u, x, DT_f32); }

/* v + the bias of input i, if there is one, in the type of `like`. */
static Status become_biased(Upgrade *u, const char *v, uint32_t i, const char *like) {
  if (raw_dtype(u, like) != DT_f32)
    v = raw_two(u, "CastLike", v, like);
  if (raw_has(u, i))
    raw_two(u, "Add", v, raw_in(u, i));
  return raw_become_last(u);
}

/* MatMulIntegerToFloat: A, B, their scales, their zero points, bias. */
Status microsoft_integer_to_float(Upgrade *u) {
  Product p = {raw_in(u, 0), raw_in(u, 1), raw_in(u, 4), raw_in(u, 5), NULL};
  p.scale = raw_two(u, "Mul", in_f32(u, raw_in(u, 2)), in_f32(u, raw_in(u, 3)));
  return become_biased(u, scaled(u, &p, sums(u, &p)), 6, raw_in(u, 2));
}

/* DynamicQuantizeMatMul: A, B, B's scale and zero point, bias. */
Status microsoft_dynamic_product(Upgrade *u) {
  const char *a[3];
  raw_put_many(u, "DynamicQuantizeLinear", 3, a, NAMES(raw_in(u, 0)), 0, NULL);
  Product p = {a[0], raw_in(u, 1), a[2], raw_in(u, 3), raw_two(u, "Mul", a[1], raw_in(u, 2))};
  return become_biased(u, scaled(u, &p, sums(u, &p)), 4, raw_in(u, 0));
}

Status microsoft_product_of_16(Upgrade *u) {
  const char *a = raw_cast(u, raw_in(u, 0), DT_i32), *b = raw_cast(u, raw_in(u, 1), DT_i32);
  return raw_become(u, "MatMul", NAMES(a, b), 0, NULL);
}

/* QGemm: A, its scale and zero point, B, its, C of i32 in the scale of the sums, the scale and zero point of the result, which is f32
 * without them. */
Status microsoft_qgemm(Upgrade *u) {
  static const int64_t across[] = {1, 0};
  const char *a = raw_in(u, 0), *b = raw_in(u, 3), *sum;
  float alpha = raw_float(u, "alpha", 1);
  a = raw_int(u, "transA", 0) ? raw_transpose(u, a, 2, across) : a;
  b = raw_int(u, "transB", 0) ? raw_transpose(u, b, 2, across) : b;
  Product p = {a, b, raw_in(u, 2), raw_in(u, 5), raw_two(u, "Mul", raw_in(u, 1), raw_in(u, 4))};
  if (alpha != 1)
    p.scale = raw_two(u, "Mul", p.scale, raw_real(u, alpha));
  sum = sums(u, &p);
  if (raw_has(u, 6))
    sum = raw_two(u, "Add", sum, raw_in(u, 6));
  sum = scaled(u, &p, sum);
  return raw_has(u, 7) ? become_quantised(u, sum, 7) : raw_become_last(u);
}

/* QAttention: input, weights, bias, their scales, mask_index, their zero points, past. */
Status microsoft_qattention(Upgrade *u) {
  Product p = {raw_in(u, 0), raw_in(u, 1), raw_in(u, 6), raw_in(u, 7), raw_two(u, "Mul", raw_in(u, 3), raw_in(u, 4))};
  ProjectedAttention a = {.like = raw_in(u, 2), .mask = 5, .past = 8, .bias = u->n.nin};
  a.qkv = raw_two(u, "Add", scaled(u, &p, sums(u, &p)), raw_in(u, 2));
  return microsoft_projected(u, &a);
}

/* --- DynamicQuantizeLSTM --- */

/* Weights [dirs, in, 4 hidden], their scale and zero point ([dirs], or also one per column), as [dirs, 4 hidden, in] in f32. */
static const char *lstm_weight(Upgrade *u, uint32_t weight, uint32_t scale) {
  static const int64_t gates_first[] = {0, 2, 1};
  const char *shape = raw_ints(u, INTS(0, 1, -1)), *w = raw_cast(u, raw_in(u, weight), DT_f32);
  if (raw_has(u, scale + 1))
    w = raw_two(u, "Sub", w, raw_two(u, "Reshape", raw_cast(u, raw_in(u, scale + 1), DT_f32), shape));
  w = raw_two(u, "Mul", w, raw_two(u, "Reshape", raw_in(u, scale), shape));
  return raw_transpose(u, w, 3, gates_first);
}

/* Its weights are dequantised; its rows stay what they are, so that nothing is lost by quantising them at each step. */
Status microsoft_dynamic_lstm(Upgrade *u) {
  static const char *const known[] = {"activation_alpha", "activation_beta", "activations", "clip",
                                      "direction",        "hidden_size",     "input_forget"};
  RawAttr attr[countof(known)];
  uint32_t n = raw_kept(u, countof(known), known, attr), nout = u->n.nout;
  const char *const *out = u->n.out, *in[8];
  for (uint32_t i = 0; i < 8; i++)
    in[i] = raw_in(u, i);
  in[1] = lstm_weight(u, 1, 8), in[2] = lstm_weight(u, 2, 10);
  TRY(raw_become(u, "LSTM", 8, in, n, attr));
  u->n.out = out, u->n.nout = nout;
  return ST_OK;
}
