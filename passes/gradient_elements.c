/* gradient_elements.c - derivatives of what is computed element by element. Where a function has a corner, the derivative is
 * the one that PyTorch takes there. SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

#include <math.h>

/* --- functions of one number: dx = dy * slope(x, y) --- */

typedef Value *(*SlopeFn)(Back *b, Value *x, Value *y);

static Value *above(Back *b, Value *x, double limit) { return apply2(b, OP_Greater, x, num(b, limit, x)); }
static Value *one_where(Back *b, Value *c, const Value *like) { return as(b, c, like->type.dtype); }
static Value *less_one(Back *b, Value *x) { return sub(b, num(b, 1, x), x); }
static Value *plus(Back *b, Value *x, double k) { return add(b, x, num(b, k, x)); }
static Value *over(Back *b, double k, Value *x) { return quot(b, num(b, k, x), x); }
static Value *root(Back *b, Value *x) { return apply1(b, OP_Sqrt, x); }
static Value *sigmoid(Back *b, Value *x) { return apply1(b, OP_Sigmoid, x); }
static Value *exp_below_zero(Back *b, Value *x) { /* finite above, where it is not chosen */
  return apply1(b, OP_Exp, apply2(b, OP_Min, x, num(b, 0, x)));
}

#define SLOPE(name, expr)                                                                                              \
  static Value *slope_##name(Back *b, Value *x, Value *y) {                                                            \
    (void)b, (void)b, (void)x, (void)y;                                                                                \
    return expr;                                                                                                       \
  }
SLOPE(abs, apply1(b, OP_Sign, x))
SLOPE(acos, over(b, -1, root(b, less_one(b, square(b, x)))))
SLOPE(acosh, over(b, 1, root(b, plus(b, square(b, x), -1))))
SLOPE(asin, over(b, 1, root(b, less_one(b, square(b, x)))))
SLOPE(asinh, over(b, 1, root(b, plus(b, square(b, x), 1))))
SLOPE(atan, over(b, 1, plus(b, square(b, x), 1)))
SLOPE(atanh, over(b, 1, less_one(b, square(b, x))))
SLOPE(cos, neg(b, apply1(b, OP_Sin, x)))
SLOPE(cosh, apply1(b, OP_Sinh, x))
SLOPE(erf, scaled(b, apply1(b, OP_Exp, neg(b, square(b, x))), 2 / sqrt(M_PI)))
SLOPE(exp, y)
SLOPE(log, over(b, 1, x))
SLOPE(neg, num(b, -1, x))
SLOPE(reciprocal, neg(b, square(b, y)))
SLOPE(relu, one_where(b, above(b, x, 0), x))
SLOPE(sigmoid, mul(b, y, less_one(b, y)))
SLOPE(sin, apply1(b, OP_Cos, x))
SLOPE(sinh, apply1(b, OP_Cosh, x))
SLOPE(softplus, sigmoid(b, x))
SLOPE(softsign, over(b, 1, square(b, plus(b, apply1(b, OP_Abs, x), 1))))
SLOPE(sqrt, over(b, 0.5, y))
SLOPE(tan, plus(b, square(b, y), 1))
SLOPE(tanh, less_one(b, square(b, y)))
SLOPE(thresholded, one_where(b, above(b, x, (double)ATTR(b->n, ThresholdedRelu)->alpha), x))
SLOPE(shrink, one_where(b, above(b, apply1(b, OP_Abs, x), (double)ATTR(b->n, Shrink)->lambd), x))
SLOPE(leaky, select_of(b, above(b, x, 0), num(b, 1, x), num(b, (double)ATTR(b->n, LeakyRelu)->alpha, x)))

static Value *slope_elu(Back *b, Value *x, Value *y) {
  (void)y;
  return select_of(b, above(b, x, 0), num(b, 1, x), scaled(b, exp_below_zero(b, x), (double)ATTR(b->n, Elu)->alpha));
}

static Value *slope_selu(Back *b, Value *x, Value *y) {
  (void)y;
  const SeluAttr *a = ATTR(b->n, Selu);
  double gamma = (double)a->gamma, alpha = (double)a->alpha;
  return select_of(b, above(b, x, 0), num(b, gamma, x), scaled(b, exp_below_zero(b, x), gamma * alpha));
}

static Value *slope_celu(Back *b, Value *x, Value *y) {
  (void)y;
  Value *e = exp_below_zero(b, scaled(b, x, 1 / (double)ATTR(b->n, Celu)->alpha));
  return select_of(b, above(b, x, 0), num(b, 1, x), e);
}

static Value *slope_hard_sigmoid(Back *b, Value *x, Value *y) {
  Value *inside = apply2(b, OP_And, above(b, y, 0), apply2(b, OP_Less, y, num(b, 1, y)));
  return select_of(b, inside, num(b, (double)ATTR(b->n, HardSigmoid)->alpha, x), num(b, 0, x));
}

static Value *slope_hard_swish(Back *b, Value *x, Value *y) { /* x (x + 3) / 6 between -3 and 3 */
  (void)y;
  Value *inside = plus(b, scaled(b, x, 1.0 / 3), 0.5);
  Value *right = select_of(b, above(b, x, 3), num(b, 1, x), inside);
  return select_of(b, above(b, neg(b, x), 3), num(b, 0, x), right);
}

/* (x f(x))' = f + x f', f a sigmoid of alpha x */
static Value *slope_swish(Back *b, Value *x, Value *y) {
  (void)y;
  double alpha = (double)ATTR(b->n, Swish)->alpha;
  Value *s = sigmoid(b, scaled(b, x, alpha));
  return add(b, s, mul(b, scaled(b, x, alpha), mul(b, s, less_one(b, s))));
}

/* f = tanh(softplus(x)) */
static Value *slope_mish(Back *b, Value *x, Value *y) {
  (void)y;
  Value *t = apply1(b, OP_Tanh, apply1(b, OP_Softplus, x));
  return add(b, t, mul(b, mul(b, x, less_one(b, square(b, t))), sigmoid(b, x)));
}

static Value *slope_gelu(Back *b, Value *x, Value *y) {
  (void)y;
  if (str_is(ATTR(b->n, Gelu)->approximate, "tanh")) { /* x (1 + tanh u) / 2, u = k (x + c x^3) */
    double k = sqrt(2 / M_PI), c = 0.044715;
    Value *x2 = square(b, x);
    Value *t = apply1(b, OP_Tanh, scaled(b, mul(b, x, plus(b, scaled(b, x2, c), 1)), k));
    Value *du = scaled(b, plus(b, scaled(b, x2, 3 * c), 1), k / 2);
    Value *bend = mul(b, mul(b, x, less_one(b, square(b, t))), du);
    return add(b, scaled(b, plus(b, t, 1), 0.5), bend);
  }
  Value *phi = scaled(b, plus(b, apply1(b, OP_Erf, scaled(b, x, sqrt(0.5))), 1), 0.5);
  Value *bell = scaled(b, apply1(b, OP_Exp, scaled(b, square(b, x), -0.5)), 1 / sqrt(2 * M_PI));
  return add(b, phi, mul(b, x, bell));
}

static const SlopeFn slopes[] = {
    [OP_Abs] = slope_abs,
    [OP_Acos] = slope_acos,
    [OP_Acosh] = slope_acosh,
    [OP_Asin] = slope_asin,
    [OP_Asinh] = slope_asinh,
    [OP_Atan] = slope_atan,
    [OP_Atanh] = slope_atanh,
    [OP_Celu] = slope_celu,
    [OP_Cos] = slope_cos,
    [OP_Cosh] = slope_cosh,
    [OP_Elu] = slope_elu,
    [OP_Erf] = slope_erf,
    [OP_Exp] = slope_exp,
    [OP_Gelu] = slope_gelu,
    [OP_HardSigmoid] = slope_hard_sigmoid,
    [OP_HardSwish] = slope_hard_swish,
    [OP_LeakyRelu] = slope_leaky,
    [OP_Log] = slope_log,
    [OP_Mish] = slope_mish,
    [OP_Neg] = slope_neg,
    [OP_Reciprocal] = slope_reciprocal,
    [OP_Relu] = slope_relu,
    [OP_Selu] = slope_selu,
    [OP_Shrink] = slope_shrink,
    [OP_Sigmoid] = slope_sigmoid,
    [OP_Sin] = slope_sin,
    [OP_Sinh] = slope_sinh,
    [OP_Softplus] = slope_softplus,
    [OP_Softsign] = slope_softsign,
    [OP_Sqrt] = slope_sqrt,
    [OP_Swish] = slope_swish,
    [OP_Tan] = slope_tan,
    [OP_Tanh] = slope_tanh,
    [OP_ThresholdedRelu] = slope_thresholded,
};

bool has_slope(OpId op) { return op < countof(slopes) && slopes[op]; }

void back_unary(Back *b) { give(b, 0, mul(b, b->dy[0], slopes[b->n->op](b, b->n->in[0], b->n->out[0]))); }

void back_none(Back *b) { (void)b; } /* steps: 0 wherever there is a derivative */

/* --- functions of several, with broadcasting --- */

void back_add(Back *b) {
  give(b, 0, b->dy[0]);
  give(b, 1, b->dy[0]);
}

void back_sub(Back *b) {
  give(b, 0, b->dy[0]);
  if (wants(b, 1))
    give(b, 1, neg(b, b->dy[0]));
}

void back_mul(Back *b) {
  for (int i = 0; i < 2; i++)
    if (wants(b, i))
      give(b, i, mul(b, b->dy[0], b->n->in[1 - i]));
}

void back_div(Back *b) {
  Value *part = quot(b, b->dy[0], b->n->in[1]);
  give(b, 0, part);
  if (wants(b, 1))
    give(b, 1, neg(b, mul(b, part, b->n->out[0])));
}

/* d/da a^k = k a^(k-1), 0 where k is 0; d/dk a^k = a^k log a, 0 where a is 0. */
void back_pow(Back *b) {
  Value *a = b->n->in[0], *k = b->n->in[1], *y = b->n->out[0], *dy = b->dy[0];
  if (wants(b, 0)) {
    Value *k0 = as(b, k, a->type.dtype);
    Value *zero = apply2(b, OP_Equal, k0, num(b, 0, a));
    Value *slope = mul(b, k0, apply2(b, OP_Pow, a, plus(b, k0, -1)));
    give(b, 0, mul(b, dy, select_of(b, zero, num(b, 0, a), slope)));
  }
  if (wants(b, 1)) {
    Value *zero = apply2(b, OP_Equal, a, num(b, 0, a));
    Value *slope = mul(b, y, apply1(b, OP_Log, select_of(b, zero, num(b, 1, a), a)));
    give(b, 1, as(b, mul(b, dy, slope), k->type.dtype));
  }
}

void back_prelu(Back *b) {
  Value *x = b->n->in[0], *dy = b->dy[0], *right = above(b, x, 0);
  if (wants(b, 0))
    give(b, 0, select_of(b, right, dy, mul(b, dy, b->n->in[1])));
  if (wants(b, 1))
    give(b, 1, select_of(b, right, num(b, 0, x), mul(b, dy, x)));
}

/* Max, Min: equal ones share. */
void back_extreme(Back *b) {
  Node *n = b->n;
  Value *y = n->out[0], *count = NULL;
  Value **is = arena_array(b->m.g->arena, Value *, n->nin);
  for (int i = 0; i < n->nin; i++) {
    is[i] = as(b, apply2(b, OP_Equal, n->in[i], y), y->type.dtype);
    count = count ? add(b, count, is[i]) : is[i];
  }
  Value *share = quot(b, b->dy[0], count);
  for (int i = 0; i < n->nin; i++)
    if (wants(b, i))
      give(b, i, mul(b, share, is[i]));
}

void back_sum(Back *b) { /* Sum, Mean */
  Value *part = b->n->op == OP_Mean ? scaled(b, b->dy[0], 1.0 / b->n->nin) : b->dy[0];
  for (int i = 0; i < b->n->nin; i++)
    give(b, i, part);
}

void back_where(Back *b) {
  Value *c = b->n->in[0], *dy = b->dy[0];
  if (wants(b, 1))
    give(b, 1, select_of(b, c, dy, num(b, 0, dy)));
  if (wants(b, 2))
    give(b, 2, select_of(b, c, num(b, 0, dy), dy));
}

/* An element that has not been moved is inside the bounds. */
void back_clip(Back *b) {
  Node *n = b->n;
  Value *x = n->in[0], *dy = b->dy[0], *zero = num(b, 0, dy);
  if (wants(b, 0))
    give(b, 0, select_of(b, apply2(b, OP_Equal, x, n->out[0]), dy, zero));
  if (wants(b, 1)) { /* the upper bound wins where they cross */
    Value *low = apply2(b, OP_Less, x, n->in[1]);
    if (n->nin > 2 && n->in[2])
      low = apply2(b, OP_And, low, apply2(b, OP_Less, n->in[1], n->in[2]));
    give(b, 1, select_of(b, low, dy, zero));
  }
  if (wants(b, 2)) {
    Value *top = n->in[1] ? apply2(b, OP_Max, x, n->in[1]) : x;
    give(b, 2, select_of(b, apply2(b, OP_Greater, top, n->in[2]), dy, zero));
  }
}

void back_cast(Back *b) { give(b, 0, as(b, b->dy[0], b->n->in[0]->type.dtype)); }

void back_dropout(Back *b) {
  Node *n = b->n;
  double ratio = 0.5, training = 0;
  bool told = n->nin < 2 || !n->in[1] || value_scalar(n->in[1], &ratio);
  if (n->nin > 2 && n->in[2] && !value_scalar(n->in[2], &training))
    training = 1;
  if (!training)
    give(b, 0, b->dy[0]);
  else if (n->nout < 2 || !n->out[1] || !told || ratio >= 1)
    no_rule(b, "in training needs its mask as an output and a constant ratio");
  else
    give(b, 0, scaled(b, select_of(b, n->out[1], b->dy[0], num(b, 0, b->dy[0])), 1 / (1 - ratio)));
}
