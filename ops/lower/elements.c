/* elements.c - lowering of the operators that work element by element: unary functions, arithmetic, comparisons, logic,
 * Where, Cast, Clip, Max and its kin, BatchNormalization.
 *
 * f16 and bf16 are computed in f32 and rounded once per operator, as the reference evaluators do.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>
#include <string.h>

/* --- functions of one element --- */

static KExpr *k_max0(Lower *x, KExpr *v) { return k_bin(x, KOP_max, v, k_num(x, v, 0)); }

/* exp(v) - 1 = 2t / (1 - t) with t = tanh(v / 2): no digits are lost near 0. Meant for v <= 0. */
static KExpr *k_expm1(Lower *x, KExpr *v) {
  KExpr *t = lower_once(x, "t", k_un(x, KOP_tanh, k_mul(x, v, k_num(x, v, 0.5))));
  return k_div(x, k_mul(x, t, k_num(x, t, 2)), k_sub(x, k_num(x, t, 1), t));
}

/* log(1 + exp(v)) without overflow. */
static KExpr *k_softplus(Lower *x, KExpr *v) {
  KExpr *e = k_un(x, KOP_exp, k_un(x, KOP_neg, k_un(x, KOP_abs, v)));
  return k_add(x, k_max0(x, v), k_un(x, KOP_log1p, e));
}

static KExpr *k_clamp01(Lower *x, KExpr *v) { return k_max0(x, k_bin(x, KOP_min, v, k_num(x, v, 1))); }

static KExpr *celu(Lower *x, const Node *n, KExpr *v) {
  KExpr *a = k_num(x, v, ATTR(n, Celu)->alpha), *low = k_bin(x, KOP_min, v, k_num(x, v, 0));
  KExpr *neg =
      ke_select(x->k, k_bin(x, KOP_lt, v, k_num(x, v, 0)), k_mul(x, a, k_expm1(x, k_div(x, low, a))), k_num(x, v, 0));
  return k_add(x, k_max0(x, v), neg);
}
static KExpr *elu(Lower *x, const Node *n, KExpr *v) {
  KExpr *low = k_bin(x, KOP_min, v, k_num(x, v, 0));
  return ke_select(x->k, k_bin(x, KOP_lt, v, k_num(x, v, 0)),
                   k_mul(x, k_num(x, v, ATTR(n, Elu)->alpha), k_expm1(x, low)), v);
}
static KExpr *selu(Lower *x, const Node *n, KExpr *v) {
  const SeluAttr *a = ATTR(n, Selu);
  KExpr *low = k_bin(x, KOP_min, v, k_num(x, v, 0));
  KExpr *neg = k_mul(x, k_num(x, v, (double)a->gamma * a->alpha), k_expm1(x, low));
  return ke_select(x->k, k_bin(x, KOP_lt, k_num(x, v, 0), v), k_mul(x, k_num(x, v, a->gamma), v), neg);
}
static KExpr *gelu(Lower *x, const Node *n, KExpr *v) {
  KExpr *half = k_mul(x, v, k_num(x, v, 0.5));
  if (str_is(ATTR(n, Gelu)->approximate, "none"))
    return k_mul(x, half, k_add(x, k_num(x, v, 1), k_un(x, KOP_erf, k_mul(x, v, k_num(x, v, M_SQRT1_2)))));
  KExpr *cube = k_mul(x, k_mul(x, v, v), v); /* v sigmoid(2u) = v (1 + tanh u) / 2 */
  KExpr *u = k_mul(x, k_num(x, v, 2 * sqrt(M_2_PI)), k_add(x, v, k_mul(x, k_num(x, v, 0.044715), cube)));
  return k_mul(x, v, k_un(x, KOP_sigmoid, u));
}
static KExpr *hard_sigmoid(Lower *x, const Node *n, KExpr *v) {
  const HardSigmoidAttr *a = ATTR(n, HardSigmoid);
  return k_clamp01(x, k_add(x, k_mul(x, v, k_num(x, v, a->alpha)), k_num(x, v, a->beta)));
}
static KExpr *hard_swish(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  return k_mul(x, v, k_clamp01(x, k_add(x, k_mul(x, v, k_num(x, v, 1.0 / 6)), k_num(x, v, 0.5))));
}
static KExpr *leaky_relu(Lower *x, const Node *n, KExpr *v) {
  return ke_select(x->k, k_bin(x, KOP_lt, v, k_num(x, v, 0)), k_mul(x, v, k_num(x, v, ATTR(n, LeakyRelu)->alpha)), v);
}
static KExpr *mish(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  return k_mul(x, v, k_un(x, KOP_tanh, k_softplus(x, v)));
}
static KExpr *reciprocal(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  return k_div(x, k_num(x, v, 1), v);
}
static KExpr *relu(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  return dtype_kind(v->dtype) == DK_UINT ? v : k_max0(x, v);
}
static KExpr *shrink(Lower *x, const Node *n, KExpr *v) {
  const ShrinkAttr *a = ATTR(n, Shrink);
  KExpr *b = k_num(x, v, a->bias),
        *up = ke_select(x->k, k_bin(x, KOP_lt, k_num(x, v, a->lambd), v), k_sub(x, v, b), k_num(x, v, 0));
  return ke_select(x->k, k_bin(x, KOP_lt, v, k_num(x, v, -(double)a->lambd)), k_add(x, v, b), up);
}
static KExpr *softplus(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  return k_softplus(x, v);
}
static KExpr *softsign(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  return k_div(x, v, k_add(x, k_num(x, v, 1), k_un(x, KOP_abs, v)));
}
static KExpr *swish(Lower *x, const Node *n, KExpr *v) {
  float a = ATTR(n, Swish)->alpha;
  return k_mul(x, v, k_un(x, KOP_sigmoid, a == 1 ? v : k_mul(x, v, k_num(x, v, a))));
}
static KExpr *thresholded_relu(Lower *x, const Node *n, KExpr *v) {
  return ke_select(x->k, k_bin(x, KOP_lt, k_num(x, v, ATTR(n, ThresholdedRelu)->alpha), v), v, k_num(x, v, 0));
}
/* exp(v) / 2, finite wherever that is: exp(v) alone overflows a factor of two earlier. */
static KExpr *half_exp(Lower *x, KExpr *v) {
  KExpr *half = k_num(x, v, 0.5), *h = lower_once(x, "h", k_un(x, KOP_exp, k_mul(x, v, half)));
  return ke_select(x->k, k_bin(x, KOP_lt, k_num(x, v, 80), v), k_mul(x, k_mul(x, half, h), h),
                   k_mul(x, half, k_un(x, KOP_exp, v)));
}
static KExpr *cosh_of(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  return k_add(x, half_exp(x, v), half_exp(x, k_un(x, KOP_neg, v)));
}
/* sinh v = 2t / (1 - t^2), t = tanh(v / 2), near 0; by exponentials elsewhere. */
static KExpr *sinh_of(Lower *x, const Node *n, KExpr *v) {
  (void)n;
  KExpr *far = k_sub(x, half_exp(x, v), half_exp(x, k_un(x, KOP_neg, v)));
  KExpr *t = lower_once(x, "t", k_un(x, KOP_tanh, k_mul(x, v, k_num(x, v, 0.5))));
  KExpr *near = k_div(x, k_mul(x, t, k_num(x, t, 2)), k_sub(x, k_num(x, t, 1), k_mul(x, t, t)));
  return ke_select(x->k, k_bin(x, KOP_lt, k_un(x, KOP_abs, v), k_num(x, v, 1)), near, far);
}

typedef KExpr *(*UnaryFn)(Lower *x, const Node *n, KExpr *v);

/* Operators that are one element operator of the kernel IR, and those that are a formula. */
static const uint8_t unary_kop[OP_count] = {
    [OP_Abs] = KOP_abs,        [OP_Ceil] = KOP_ceil,       [OP_Cos] = KOP_cos,    [OP_Erf] = KOP_erf,
    [OP_Exp] = KOP_exp,        [OP_Floor] = KOP_floor,     [OP_Log] = KOP_log,    [OP_Neg] = KOP_neg,
    [OP_Round] = KOP_round,    [OP_Sigmoid] = KOP_sigmoid, [OP_Sign] = KOP_sign,  [OP_Sin] = KOP_sin,
    [OP_Sqrt] = KOP_sqrt,      [OP_Tan] = KOP_tan,         [OP_Tanh] = KOP_tanh,  [OP_Not] = KOP_not,
    [OP_BitwiseNot] = KOP_not, [OP_Asin] = KOP_asin,       [OP_Acos] = KOP_acos,  [OP_Atan] = KOP_atan,
    [OP_Asinh] = KOP_asinh,    [OP_Acosh] = KOP_acosh,     [OP_Atanh] = KOP_atanh};
static const UnaryFn unary_fn[OP_count] = {[OP_Celu] = celu,
                                           [OP_Elu] = elu,
                                           [OP_Selu] = selu,
                                           [OP_Gelu] = gelu,
                                           [OP_HardSigmoid] = hard_sigmoid,
                                           [OP_HardSwish] = hard_swish,
                                           [OP_LeakyRelu] = leaky_relu,
                                           [OP_Mish] = mish,
                                           [OP_Reciprocal] = reciprocal,
                                           [OP_Relu] = relu,
                                           [OP_Shrink] = shrink,
                                           [OP_Softplus] = softplus,
                                           [OP_Softsign] = softsign,
                                           [OP_Swish] = swish,
                                           [OP_ThresholdedRelu] = thresholded_relu,
                                           [OP_Cosh] = cosh_of,
                                           [OP_Sinh] = sinh_of};

static bool unary_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  DType t = n->in[0]->type.dtype;
  if (!unary_kop[n->op] && !unary_fn[n->op])
    return false;
  if (n->op == OP_Gelu && !str_is(ATTR(n, Gelu)->approximate, "none") && !str_is(ATTR(n, Gelu)->approximate, "tanh"))
    return false;
  if (n->op == OP_Not)
    return t == DT_bool;
  if (n->op == OP_BitwiseNot)
    return dtype_is_int(t);
  return dtype_is_float(t) ||
         (dtype_is_int(t) && (n->op == OP_Abs || n->op == OP_Neg || n->op == OP_Relu || n->op == OP_Sign));
}

/* Input 0 at the index, widened to the type arithmetic is done in. */
static Status operand(Lower *x, const Node *n, int i, KExpr *const *index, KExpr **e) {
  TRY(lower_read_bcast(x, n, i, index, e));
  *e = ke_cast(x->k, lower_work((*e)->dtype), *e);
  return ST_OK;
}

static Status unary(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *v;
  TRY(operand(x, n, 0, index, &v));
  if (unary_kop[n->op])
    v = k_un(x, (KOp)unary_kop[n->op], v);
  else
    v = unary_fn[n->op](x, n, lower_once(x, "v", v));
  *e = ke_cast(x->k, n->out[0]->type.dtype, v);
  return ST_OK;
}
const Lowering unary_lower = {LOWER_ELEM, .can = unary_can, .elem = unary};

static bool float_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return dtype_is_float(n->in[0]->type.dtype);
}

static Status isnan_elem(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  TRY(operand(x, n, 0, index, e));
  *e = k_un(x, KOP_isnan, *e);
  return ST_OK;
}
const Lowering isnan_lower = {LOWER_ELEM, .can = float_can, .elem = isnan_elem};

static Status isinf_elem(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const IsInfAttr *a = ATTR(n, IsInf);
  KExpr *v;
  TRY(operand(x, n, 0, index, &v));
  v = lower_once(x, "v", v);
  KExpr *up = k_bin(x, KOP_eq, v, k_num(x, v, INFINITY)), *down = k_bin(x, KOP_eq, v, k_num(x, v, -INFINITY));
  *e = a->detect_positive && a->detect_negative ? k_un(x, KOP_isinf, v)
       : a->detect_positive                     ? up
       : a->detect_negative                     ? down
                                                : ke_int(x->k, DT_bool, 0);
  return ST_OK;
}
const Lowering isinf_lower = {LOWER_ELEM, .can = float_can, .elem = isinf_elem};

/* --- functions of two elements --- */

static const uint8_t binary_kop[OP_count] = {
    [OP_Add] = KOP_add,      [OP_Sub] = KOP_sub,        [OP_Mul] = KOP_mul, [OP_BitwiseAnd] = KOP_and,
    [OP_BitwiseOr] = KOP_or, [OP_BitwiseXor] = KOP_xor, [OP_And] = KOP_and, [OP_Or] = KOP_or,
    [OP_Xor] = KOP_xor,      [OP_Max] = KOP_max,        [OP_Min] = KOP_min, [OP_Sum] = KOP_add,
    [OP_Mean] = KOP_add};

static bool direction_known(const Node *n) {
  Str d = ATTR(n, BitShift)->direction;
  return str_is(d, "LEFT") || str_is(d, "RIGHT");
}

static bool binary_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  DType t = n->in[0]->type.dtype, u = n->nin > 1 && n->in[1] ? n->in[1]->type.dtype : t;
  bool is_float = dtype_is_float(t);
  switch (n->op) {
  case OP_Pow: /* a negative power of an unsigned number is not one of the signed number of its bits */
    return (is_float || dtype_is_int(t)) && (dtype_is_float(u) || dtype_is_int(u)) &&
           !(dtype_kind(t) == DK_UINT && dtype_kind(u) == DK_SINT);
  case OP_PRelu: return (is_float || dtype_is_int(t)) && same_dims(&n->in[0]->type, &n->out[0]->type);
  case OP_SwiGLU: return is_float && same_dims(&n->in[0]->type, &n->in[1]->type);
  case OP_BitShift: return dtype_is_int(t) && direction_known(n);
  case OP_And:
  case OP_Or:
  case OP_Xor: return t == DT_bool;
  case OP_BitwiseAnd:
  case OP_BitwiseOr:
  case OP_BitwiseXor: return dtype_is_int(t);
  case OP_Mean: return is_float;
  default: return is_float || dtype_is_int(t);
  }
}

/* Checked where it is computed: what is not computed cannot fail. */
static void check_here(Lower *x, KExpr *cond, KExpr *number, const char *text) {
  ks_check(&x->at, cond, ke_cast(x->k, DT_i64, number))->text = text;
}

static KExpr *divide(Lower *x, KExpr *a, KExpr *b) {
  DType t = a->dtype;
  if (dtype_is_float(t))
    return k_div(x, a, b);
  a = lower_once(x, "v", a), b = lower_once(x, "w", b);
  if (b->kind != KE_INT || !b->i)
    check_here(x, k_bin(x, KOP_ne, b, k_num(x, b, 0)), a, "integer division by zero: %lld / 0");
  if (dtype_kind(t) == DK_SINT && (b->kind != KE_INT || b->i == -1)) {
    KExpr *least = ke_int(x->k, t, INT64_MIN >> (64 - dtype_bits(t)));
    KExpr *fits = k_bin(x, KOP_or, k_bin(x, KOP_ne, b, k_num(x, b, -1)), k_bin(x, KOP_ne, a, least));
    check_here(x, fits, a, arena_printf(x->a, "integer overflow: %%lld / -1 does not fit %s", dtype_name(t)));
  }
  return k_div(x, a, b);
}

static KExpr *modulo(Lower *x, const Node *n, KExpr *a, KExpr *b) {
  if (!dtype_is_float(a->dtype)) {
    a = lower_once(x, "v", a), b = lower_once(x, "w", b);
    if (b->kind != KE_INT || !b->i)
      check_here(x, k_bin(x, KOP_ne, b, k_num(x, b, 0)), a, "integer division by zero: %lld mod 0");
  }
  return k_bin(x, ATTR(n, Mod)->fmod ? KOP_fmod : KOP_mod, a, b);
}

/* A shift by less than 0 or at least the width leaves what sign extension gives: to the right as one by all bits but one. */
static KExpr *bit_shift(Lower *x, const Node *n, KExpr *a, KExpr *b) {
  if (str_is(ATTR(n, BitShift)->direction, "LEFT"))
    return k_bin(x, KOP_shl, a, b);
  if (dtype_kind(a->dtype) == DK_SINT) {
    KExpr *bits = k_num(x, b, dtype_bits(a->dtype));
    b = lower_once(x, "w", b);
    KExpr *inside = k_bin(x, KOP_and, k_bin(x, KOP_le, k_num(x, b, 0), b), k_bin(x, KOP_lt, b, bits));
    b = ke_select(x->k, inside, b, k_num(x, b, dtype_bits(a->dtype) - 1));
  }
  return k_bin(x, KOP_shr, a, b);
}

/* Integers to the power of integers, in a type that holds the exponent: its low bits are those of the result. */
static KExpr *int_power(Lower *x, KExpr *a, KExpr *b) {
  bool is_unsigned = dtype_kind(b->dtype) == DK_UINT, wide = dtype_bits(a->dtype) > 32 || dtype_bits(b->dtype) > 32;
  DType w = wide ? (is_unsigned ? DT_u64 : DT_i64) : is_unsigned ? DT_u32 : DT_i32;
  a = lower_once(x, "v", ke_cast(x->k, w, a)), b = lower_once(x, "w", ke_cast(x->k, w, b));
  if (!is_unsigned && (b->kind != KE_INT || b->i < 0)) {
    KExpr *defined = k_bin(x, KOP_or, k_bin(x, KOP_le, k_num(x, b, 0), b), k_bin(x, KOP_ne, a, k_num(x, a, 0)));
    check_here(x, defined, b, "integer 0 to the power %lld");
  }
  return k_bin(x, KOP_pow, a, b);
}

/* The type in which a float power, or an integer's float power, is computed; what is narrower than f32 is rounded once. */
static DType power_type(DType t, DType u) {
  bool exact = dtype_is_float(u) ? dtype_bits(u) <= 32 : dtype_bits(u) < 32; /* f32 holds the exponent */
  return t == DT_f32 && exact ? DT_f32 : DT_f64;
}

/* x to a small constant power without pow. */
static KExpr *power(Lower *x, const Node *n, KExpr *a, KExpr *b) {
  DType t = n->in[0]->type.dtype, u = n->in[1]->type.dtype, w = power_type(t, u);
  double p;
  if (dtype_is_int(t) && dtype_is_int(u))
    return int_power(x, a, b);
  if (dtype_is_float(t) && n->in[1]->konst && value_scalar(n->in[1], &p)) {
    if (p == 2)
      return a = lower_once(x, "v", a), k_mul(x, a, a);
    if (p == 3)
      return a = lower_once(x, "v", a), k_mul(x, k_mul(x, a, a), a);
    if (p == 1)
      return a;
  }
  return k_bin(x, KOP_pow, ke_cast(x->k, w, a), ke_cast(x->k, w, b));
}

static Status binary(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *a, *b, *r;
  TRY(operand(x, n, 0, index, &a));
  TRY(operand(x, n, 1, index, &b));
  switch (n->op) {
  case OP_Div: r = divide(x, a, b); break;
  case OP_Mod: r = modulo(x, n, a, b); break;
  case OP_Pow: r = power(x, n, a, b); break;
  case OP_PRelu:
    a = lower_once(x, "v", a);
    r = dtype_kind(a->dtype) == DK_UINT ? a : ke_select(x->k, k_bin(x, KOP_lt, a, k_num(x, a, 0)), k_mul(x, a, b), a);
    break;
  case OP_SwiGLU: {
    float alpha = ATTR(n, SwiGLU)->alpha;
    a = lower_once(x, "v", a);
    r = k_mul(x, k_mul(x, a, k_un(x, KOP_sigmoid, alpha == 1 ? a : k_mul(x, a, k_num(x, a, alpha)))), b);
    break;
  }
  case OP_BitShift: r = bit_shift(x, n, a, b); break;
  default: r = k_bin(x, (KOp)binary_kop[n->op], a, b);
  }
  *e = ke_cast(x->k, n->out[0]->type.dtype, r);
  return ST_OK;
}
const Lowering binary_lower = {LOWER_ELEM, .can = binary_can, .elem = binary};

/* Max, Min, Mean, Sum (13) of any number of inputs. */
static Status variadic(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *r, *v;
  TRY(operand(x, n, 0, index, &r));
  for (int i = 1; i < n->nin; i++) {
    TRY(operand(x, n, i, index, &v));
    r = k_bin(x, (KOp)binary_kop[n->op], r, v);
  }
  if (n->op == OP_Mean)
    r = k_div(x, r, k_num(x, r, n->nin));
  *e = ke_cast(x->k, n->out[0]->type.dtype, r);
  return ST_OK;
}
const Lowering variadic_lower = {LOWER_ELEM, .can = binary_can, .elem = variadic};

static Status compare(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *a, *b;
  TRY(operand(x, n, 0, index, &a));
  TRY(operand(x, n, 1, index, &b));
  switch (n->op) {
  case OP_Equal: *e = k_bin(x, KOP_eq, a, b); break;
  case OP_Less: *e = k_bin(x, KOP_lt, a, b); break;
  case OP_LessOrEqual: *e = k_bin(x, KOP_le, a, b); break;
  case OP_Greater: *e = k_bin(x, KOP_lt, b, a); break;
  default: *e = k_bin(x, KOP_le, b, a);
  }
  return ST_OK;
}
const Lowering compare_lower = {LOWER_ELEM, .elem = compare};

/* Where (16). */
static Status where(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *c, *a, *b;
  TRY(lower_read_bcast(x, n, 0, index, &c));
  TRY(lower_read_bcast(x, n, 1, index, &a));
  TRY(lower_read_bcast(x, n, 2, index, &b));
  *e = ke_select(x->k, c, a, b);
  return ST_OK;
}
const Lowering where_lower = {LOWER_ELEM, .elem = where};

/* Cast (28), CastLike (25) between numbers. */
static bool cast_mode(const Node *n, int *mode) {
  bool like = n->op == OP_CastLike;
  Str round = like ? ATTR(n, CastLike)->round_mode : ATTR(n, Cast)->round_mode;
  *mode = (like ? ATTR(n, CastLike)->saturate : ATTR(n, Cast)->saturate) ? 0 : KC_OPEN;
  if (str_is(round, "down"))
    *mode |= KC_DOWN;
  else if (str_is(round, "nearest"))
    *mode |= KC_NEAREST;
  else
    return !round.ptr || str_is(round, "up");
  return true;
}
static Status cast(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  int mode;
  TRY(lower_read(x, n->in[0], index, e));
  cast_mode(n, &mode);
  *e = ke_cast_mode(x->k, n->out[0]->type.dtype, *e, mode);
  return ST_OK;
}
static bool cast_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  int mode;
  *why = "a cast of complex numbers, or by a round_mode that there is not";
  return dtype_kind(n->in[0]->type.dtype) != DK_COMPLEX && dtype_kind(n->out[0]->type.dtype) != DK_COMPLEX &&
         cast_mode(n, &mode);
}
const Lowering cast_lower = {LOWER_ELEM, .can = cast_can, .elem = cast};

/* Clip (13). */
static Status clip(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *v, *bound, *zero[1] = {lower_index_const(x, 0)};
  TRY(lower_read_bcast(x, n, 0, index, &v));
  for (int i = 1; i < 3 && i < n->nin; i++) {
    if (!n->in[i])
      continue;
    TRY(lower_read(x, n->in[i], zero, &bound));
    v = k_bin(x, i == 1 ? KOP_max : KOP_min, v, bound);
  }
  *e = v;
  return ST_OK;
}
static bool clip_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  for (int i = 1; i < n->nin; i++)
    if (n->in[i] && (n->in[i]->type.dtype != n->in[0]->type.dtype || n->in[i]->type.rank > 1 ||
                     (n->in[i]->type.rank && !dim_is(n->in[i]->type.dim[0], 1))))
      return false;
  return dtype_is_float(n->in[0]->type.dtype) || dtype_is_int(n->in[0]->type.dtype);
}
const Lowering clip_lower = {LOWER_ELEM, .can = clip_can, .elem = clip};

/* BatchNormalization (15) outside of training: (x - mean) * scale / sqrt(var + eps) + bias, by channel. */
static Status batch_norm(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *v, *p[5], *channel[1] = {n->in[0]->type.rank > 1 ? index[1] : lower_index_const(x, 0)};
  TRY(lower_read(x, n->in[0], index, &v));
  DType w = lower_work(v->dtype);
  for (int i = 1; i < 5; i++) {
    TRY(lower_read(x, n->in[i], channel, &p[i]));
    p[i] = ke_cast(x->k, w, p[i]);
  }
  KExpr *mul =
      k_div(x, p[1], k_un(x, KOP_sqrt, k_add(x, p[4], ke_float(x->k, w, ATTR(n, BatchNormalization)->epsilon))));
  mul = lower_once(x, "mul", mul);
  v = k_add(x, k_mul(x, k_sub(x, ke_cast(x->k, w, v), p[3]), mul), p[2]);
  *e = ke_cast(x->k, n->out[0]->type.dtype, v);
  return ST_OK;
}
static bool batch_norm_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  if (ATTR(n, BatchNormalization)->training_mode || n->in[0]->type.rank < 1 || (n->nout > 1 && n->out[1]) ||
      (n->nout > 2 && n->out[2]))
    return false;
  for (int i = 1; i < 5; i++)
    if (n->in[i]->type.rank != 1 || (n->in[0]->type.rank > 1 && n->in[i]->type.dim[0] != n->in[0]->type.dim[1]))
      return false;
  return true;
}
const Lowering batch_norm_lower = {LOWER_ELEM, .can = batch_norm_can, .elem = batch_norm};
