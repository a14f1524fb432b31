/* unary.c - functions of one element: Abs … ThresholdedRelu, Not, BitwiseNot, IsNaN, IsInf, Clip.
 * Floats are computed in double and rounded once; integers wrap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <math.h>

typedef double (*Fn)(double x, const double *p); /* p: the attributes, alpha or bias first */

static double max_nan(double a, double b) { return isnan(a) || a > b ? a : b; } /* NaN in a or b propagates */
static double min_nan(double a, double b) { return isnan(a) || a < b ? a : b; }

static double sigmoid(double x) {
  double t = exp(-fabs(x));
  return x < 0 ? t / (1 + t) : isnan(x) ? x : 1 / (1 + t);
}

static double softplus(double x) { return max_nan(x, 0) + log1p(exp(-fabs(x))); }

#define FN(name, expr)                                                                                                 \
  static double fn_##name(double x, const double *p) {                                                                 \
    (void)p;                                                                                                           \
    return expr;                                                                                                       \
  }
FN(abs, fabs(x))
FN(acos, acos(x))
FN(acosh, acosh(x))
FN(asin, asin(x))
FN(asinh, asinh(x))
FN(atan, atan(x))
FN(atanh, atanh(x))
FN(ceil, ceil(x))
FN(celu, max_nan(x, 0) + min_nan(p[0] * expm1(x / p[0]), 0))
FN(cos, cos(x))
FN(cosh, cosh(x))
FN(elu, x < 0 ? p[0] * expm1(x) : x)
FN(erf, erf(x))
FN(exp, exp(x))
FN(floor, floor(x))
FN(gelu, 0.5 * x * erfc(-x * M_SQRT1_2))
FN(gelu_tanh, x / (1 + exp(-2 * sqrt(M_2_PI) * (x + 0.044715 * x * x * x)))) /* (1 + tanh u) / 2 = 1 / (1 + exp(-2u)) */
FN(hard_sigmoid, max_nan(min_nan(p[0] * x + p[1], 1), 0))
FN(hard_swish, x *max_nan(min_nan(x / 6 + 0.5, 1), 0))
FN(leaky_relu, x < 0 ? p[0] * x : x)
FN(log, log(x))
FN(mish, x *tanh(softplus(x)))
FN(neg, -x)
FN(reciprocal, 1 / x)
FN(relu, max_nan(x, 0))
FN(round, nearbyint(x))
FN(selu, x > 0 ? p[1] * x : p[1] * p[0] * expm1(x))
FN(shrink, x<-p[1] ? x + p[0] : x> p[1] ? x - p[0] : 0)
FN(sigmoid, sigmoid(x))
FN(sign, isnan(x) ? x : (double)((x > 0) - (x < 0)))
FN(sin, sin(x))
FN(sinh, sinh(x))
FN(softplus, softplus(x))
FN(softsign, x / (1 + fabs(x)))
FN(sqrt, sqrt(x))
FN(swish, x *sigmoid(p[0] * x))
FN(tan, tan(x))
FN(tanh, tanh(x))
FN(thresholded_relu, x > p[0] ? x : 0)

static const Fn functions[OP_count] = {
    [OP_Abs] = fn_abs,
    [OP_Acos] = fn_acos,
    [OP_Acosh] = fn_acosh,
    [OP_Asin] = fn_asin,
    [OP_Asinh] = fn_asinh,
    [OP_Atan] = fn_atan,
    [OP_Atanh] = fn_atanh,
    [OP_Ceil] = fn_ceil,
    [OP_Celu] = fn_celu,
    [OP_Cos] = fn_cos,
    [OP_Cosh] = fn_cosh,
    [OP_Elu] = fn_elu,
    [OP_Erf] = fn_erf,
    [OP_Exp] = fn_exp,
    [OP_Floor] = fn_floor,
    [OP_Gelu] = fn_gelu,
    [OP_HardSigmoid] = fn_hard_sigmoid,
    [OP_HardSwish] = fn_hard_swish,
    [OP_LeakyRelu] = fn_leaky_relu,
    [OP_Log] = fn_log,
    [OP_Mish] = fn_mish,
    [OP_Neg] = fn_neg,
    [OP_Reciprocal] = fn_reciprocal,
    [OP_Relu] = fn_relu,
    [OP_Round] = fn_round,
    [OP_Selu] = fn_selu,
    [OP_Shrink] = fn_shrink,
    [OP_Sigmoid] = fn_sigmoid,
    [OP_Sign] = fn_sign,
    [OP_Sin] = fn_sin,
    [OP_Sinh] = fn_sinh,
    [OP_Softplus] = fn_softplus,
    [OP_Softsign] = fn_softsign,
    [OP_Sqrt] = fn_sqrt,
    [OP_Swish] = fn_swish,
    [OP_Tan] = fn_tan,
    [OP_Tanh] = fn_tanh,
    [OP_ThresholdedRelu] = fn_thresholded_relu,
};

/* The attributes as numbers, in the order the functions above expect. */
static void parameters(const Eval *e, double *p) {
  p[0] = p[1] = 0;
  switch (e->op) {
  case OP_Celu: p[0] = ((const CeluAttr *)e->attr)->alpha; break;
  case OP_Elu: p[0] = ((const EluAttr *)e->attr)->alpha; break;
  case OP_HardSigmoid:
    p[0] = ((const HardSigmoidAttr *)e->attr)->alpha, p[1] = ((const HardSigmoidAttr *)e->attr)->beta;
    break;
  case OP_LeakyRelu: p[0] = ((const LeakyReluAttr *)e->attr)->alpha; break;
  case OP_Selu: p[0] = ((const SeluAttr *)e->attr)->alpha, p[1] = ((const SeluAttr *)e->attr)->gamma; break;
  case OP_Shrink: p[0] = ((const ShrinkAttr *)e->attr)->bias, p[1] = ((const ShrinkAttr *)e->attr)->lambd; break;
  case OP_Swish: p[0] = ((const SwishAttr *)e->attr)->alpha; break;
  case OP_ThresholdedRelu: p[0] = ((const ThresholdedReluAttr *)e->attr)->alpha; break;
  default: break;
  }
}

static Status function_of(Eval *e, Fn *fn) {
  *fn = functions[e->op];
  if (e->op != OP_Gelu)
    return ST_OK;
  Str how = ((const GeluAttr *)e->attr)->approximate;
  if (str_is(how, "tanh"))
    *fn = fn_gelu_tanh;
  else if (!str_is(how, "none"))
    return eval_fail(e, "approximate must be \"none\" or \"tanh\"");
  return ST_OK;
}

/* Integers: exact for the operators that take them. Unsigned ones are their own Abs and Relu; Neg wraps. */
static void integers(OpId op, bool is_unsigned, int64_t n, int64_t *v) {
  for (int64_t i = 0; i < n; i++) {
    bool negative = !is_unsigned && v[i] < 0;
    switch (op) {
    case OP_Abs: v[i] = negative ? (int64_t)(0 - (uint64_t)v[i]) : v[i]; break;
    case OP_Neg: v[i] = (int64_t)(0 - (uint64_t)v[i]); break;
    case OP_Relu: v[i] = negative ? 0 : v[i]; break;
    default: v[i] = negative ? -1 : v[i] != 0; break; /* Sign */
    }
  }
}

static bool has_integer_form(OpId op) { return op == OP_Abs || op == OP_Neg || op == OP_Relu || op == OP_Sign; }

/* Every operator of this name's rows in ops.def, in their newest form. */
Status unary_eval(Eval *e) {
  const Tensor *x = e->in[0];
  Tensor *y;
  Fn fn;
  double p[2], v[CHUNK];
  int64_t w[CHUNK];
  TRY(operands(e, 1));
  DKind kind = dtype_kind(x->dtype);
  TRY(function_of(e, &fn));
  if (kind != DK_FLOAT && (!dtype_is_int(x->dtype) || !(has_integer_form(e->op) || e->op == OP_Shrink)))
    return eval_unsupported(e, "not defined for %s", dtype_name(x->dtype));
  TRY(eval_out_like(e, 0, x, &y));
  parameters(e, p);
  for (int64_t at = 0, count = tensor_count(x); at < count; at += CHUNK) {
    int64_t n = count - at < CHUNK ? count - at : CHUNK;
    if (kind != DK_FLOAT && has_integer_form(e->op)) {
      load_i64(x->dtype, x->data, at, 1, n, w);
      integers(e->op, kind == DK_UINT, n, w);
      store_i64(y->dtype, y->data, at, 1, n, w);
    } else {
      load_f64(x->dtype, x->data, at, 1, n, v);
      for (int64_t i = 0; i < n; i++)
        v[i] = fn(v[i], p);
      store_f64(y->dtype, y->data, at, 1, n, v);
    }
    if (at % (CHUNK * 64) == 0)
      TRY(ctx_poll(e->c));
  }
  return ST_OK;
}

/* Not (1). bool of any shape. */
Status not_eval(Eval *e) {
  const Tensor *x = e->in[0];
  Tensor *y;
  TRY(operands(e, 1));
  if (x->dtype != DT_bool)
    return eval_fail(e, "the input must be bool");
  TRY(eval_out_like(e, 0, x, &y));
  for (int64_t i = 0, n = tensor_count(x); i < n; i++)
    ((uint8_t *)y->data)[i] = !((const uint8_t *)x->data)[i];
  return ST_OK;
}

/* BitwiseNot (18). Integers of any width. */
Status bitnot_eval(Eval *e) {
  const Tensor *x = e->in[0];
  Tensor *y;
  TRY(operands(e, 1));
  if (!dtype_is_int(x->dtype))
    return eval_fail(e, "the input must hold integers");
  TRY(eval_out_like(e, 0, x, &y));
  for (int64_t i = 0, n = tensor_count(x); i < n; i++)
    elem_set_i64(y->dtype, y->data, i, ~elem_i64(x->dtype, x->data, i));
  return ST_OK;
}

/* IsNaN (20). */
Status isnan_eval(Eval *e) {
  const Tensor *x = e->in[0];
  Tensor *y;
  TRY(operands(e, 1));
  if (!dtype_is_float(x->dtype))
    return eval_fail(e, "the input must hold floating-point numbers");
  TRY(eval_out(e, 0, DT_bool, x->rank, x->dim, &y));
  for (int64_t i = 0, n = tensor_count(x); i < n; i++)
    ((uint8_t *)y->data)[i] = isnan(elem_f64(x->dtype, x->data, i)) != 0;
  return ST_OK;
}

/* IsInf (20), with detect_negative and detect_positive. */
Status isinf_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const IsInfAttr *a = e->attr;
  Tensor *y;
  TRY(operands(e, 1));
  if (!dtype_is_float(x->dtype))
    return eval_fail(e, "the input must hold floating-point numbers");
  TRY(eval_out(e, 0, DT_bool, x->rank, x->dim, &y));
  for (int64_t i = 0, n = tensor_count(x); i < n; i++) {
    double v = elem_f64(x->dtype, x->data, i);
    ((uint8_t *)y->data)[i] = isinf(v) && (v < 0 ? a->detect_negative : a->detect_positive);
  }
  return ST_OK;
}

static Status bound_ok(Eval *e, int i) {
  if (!eval_has(e, i))
    return ST_OK;
  if (e->in[i]->dtype != e->in[0]->dtype || tensor_count(e->in[i]) != 1)
    return eval_fail(e, "%s must be one %s", i == 1 ? "min" : "max", dtype_name(e->in[0]->dtype));
  return ST_OK;
}

/* Clip (13): Min(max, Max(x, min)); either bound may be absent; NaN propagates. */
Status clip_eval(Eval *e) {
  const Tensor *x = e->in[0];
  Tensor *y;
  TRY(operands(e, 1));
  TRY(bound_ok(e, 1));
  TRY(bound_ok(e, 2));
  bool is_float = dtype_is_float(x->dtype), is_unsigned = x->dtype == DT_u64;
  if (!is_float && !dtype_is_int(x->dtype))
    return eval_fail(e, "not defined for %s", dtype_name(x->dtype));
  TRY(eval_out_like(e, 0, x, &y));
  const Tensor *bound[2] = {eval_has(e, 1) ? e->in[1] : NULL, eval_has(e, 2) ? e->in[2] : NULL};
  for (int64_t i = 0, n = tensor_count(x); i < n; i++) {
    if (is_float) {
      double v = elem_f64(x->dtype, x->data, i);
      v = bound[0] ? max_nan(v, elem_f64(x->dtype, bound[0]->data, 0)) : v;
      v = bound[1] ? min_nan(v, elem_f64(x->dtype, bound[1]->data, 0)) : v;
      elem_set_f64(y->dtype, y->data, i, v);
      continue;
    }
    int64_t flip = is_unsigned ? INT64_MIN : 0, v = elem_i64(x->dtype, x->data, i) ^ flip;
    int64_t lo = bound[0] ? elem_i64(x->dtype, bound[0]->data, 0) ^ flip : INT64_MIN;
    int64_t hi = bound[1] ? elem_i64(x->dtype, bound[1]->data, 0) ^ flip : INT64_MAX;
    v = v < lo ? lo : v;
    v = v > hi ? hi : v;
    elem_set_i64(y->dtype, y->data, i, v ^ flip);
  }
  return ST_OK;
}
