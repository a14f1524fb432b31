/* binary.c - functions of two or more elements with broadcasting: arithmetic, bits, comparisons, logic,
 * Max/Min/Mean/Sum. Floats are computed in double and rounded once; integers wrap modulo 2^bits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <math.h>
#include <string.h>

/* --- a span of floats --- */

typedef void (*FloatFn)(int64_t n, const double *a, const double *b, double *r, double p);

#define FLOAT_FN(name, expr)                                                                                           \
  static void float_##name(int64_t n, const double *a, const double *b, double *r, double p) {                         \
    (void)p;                                                                                                           \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
      double x = a[i], y = b[i];                                                                                       \
      r[i] = expr;                                                                                                     \
    }                                                                                                                  \
  }

static double mod_floor(double x, double y) { /* the sign of y, as Python's % */
  double m = fmod(x, y);
  if (m == 0)
    return copysign(0, y);
  return (m < 0) != (y < 0) && !isnan(m) ? m + y : m;
}

static double sigmoid(double x) {
  double t = exp(-fabs(x));
  return isnan(x) ? x : x < 0 ? t / (1 + t) : 1 / (1 + t);
}

FLOAT_FN(add, x + y)
FLOAT_FN(sub, x - y)
FLOAT_FN(mul, (x * y))
FLOAT_FN(div, x / y)
FLOAT_FN(pow, pow(x, y))
FLOAT_FN(prelu, x < 0 ? x * y : x)
FLOAT_FN(mod, p != 0 ? fmod(x, y) : mod_floor(x, y))
FLOAT_FN(swiglu, (x * sigmoid(p * x) * y))
FLOAT_FN(max, isnan(x) || x > y ? x : y)
FLOAT_FN(min, isnan(x) || x < y ? x : y)

static const FloatFn float_fn[OP_count] = {
    [OP_Add] = float_add, [OP_Sub] = float_sub,     [OP_Mul] = float_mul,  [OP_Div] = float_div,
    [OP_Pow] = float_pow, [OP_PRelu] = float_prelu, [OP_Mod] = float_mod,  [OP_SwiGLU] = float_swiglu,
    [OP_Max] = float_max, [OP_Min] = float_min,     [OP_Mean] = float_add, [OP_Sum] = float_add,
};

/* --- a span of integers --- */

typedef struct IntType {
  DType dtype;
  int bits;
  bool is_unsigned;
  bool flag; /* Mod: fmod; BitShift: to the left */
  bool unsigned_exponent;
} IntType;

typedef Status (*IntFn)(Eval *e, const IntType *t, int64_t n, const int64_t *a, const int64_t *b, int64_t *r);

#define INT_FN(name, expr)                                                                                             \
  static Status int_##name(Eval *e, const IntType *t, int64_t n, const int64_t *a, const int64_t *b, int64_t *r) {     \
    (void)e, (void)t;                                                                                                  \
    for (int64_t i = 0; i < n; i++) {                                                                                  \
      uint64_t x = (uint64_t)a[i], y = (uint64_t)b[i];                                                                 \
      r[i] = (int64_t)(expr);                                                                                          \
    }                                                                                                                  \
    return ST_OK;                                                                                                      \
  }

INT_FN(add, x + y)
INT_FN(sub, x - y)
INT_FN(mul, (x * y))
INT_FN(and, (x & y))
INT_FN(or, x | y)
INT_FN(xor, x ^ y)
INT_FN(prelu, !t->is_unsigned && a[i] < 0 ? x * y : x)
INT_FN(max, (t->is_unsigned ? x > y : a[i] > b[i]) ? x : y)
INT_FN(min, (t->is_unsigned ? x < y : a[i] < b[i]) ? x : y)

static Status int_div(Eval *e, const IntType *t, int64_t n, const int64_t *a, const int64_t *b, int64_t *r) {
  for (int64_t i = 0; i < n; i++) {
    if (!b[i])
      return eval_fail(e, "integer division by zero: %lld / 0", (long long)a[i]);
    if (t->is_unsigned) {
      r[i] = (int64_t)((uint64_t)a[i] / (uint64_t)b[i]);
      continue;
    }
    if (b[i] == -1 && a[i] == INT64_MIN >> (64 - t->bits))
      return eval_fail(e, "integer overflow: %lld / -1 does not fit %s", (long long)a[i], dtype_name(t->dtype));
    r[i] = a[i] / b[i];
  }
  return ST_OK;
}

static Status int_mod(Eval *e, const IntType *t, int64_t n, const int64_t *a, const int64_t *b, int64_t *r) {
  for (int64_t i = 0; i < n; i++) {
    if (!b[i])
      return eval_fail(e, "integer division by zero: %lld mod 0", (long long)a[i]);
    if (t->is_unsigned) {
      r[i] = (int64_t)((uint64_t)a[i] % (uint64_t)b[i]);
      continue;
    }
    int64_t m = b[i] == -1 ? 0 : a[i] % b[i];
    r[i] = !t->flag && m && (m < 0) != (b[i] < 0) ? m + b[i] : m;
  }
  return ST_OK;
}

/* BitShift 28: a shift by less than 0 or at least the width leaves what sign extension gives. */
static Status int_shift(Eval *e, const IntType *t, int64_t n, const int64_t *a, const int64_t *b, int64_t *r) {
  (void)e;
  for (int64_t i = 0; i < n; i++) {
    bool inside = t->is_unsigned ? (uint64_t)b[i] < (uint64_t)t->bits : b[i] >= 0 && b[i] < t->bits;
    if (!inside)
      r[i] = !t->flag && !t->is_unsigned && a[i] < 0 ? -1 : 0;
    else if (t->flag)
      r[i] = (int64_t)((uint64_t)a[i] << b[i]);
    else
      r[i] = t->is_unsigned ? (int64_t)((uint64_t)a[i] >> b[i]) : a[i] >> b[i];
  }
  return ST_OK;
}

static Status int_pow(Eval *e, const IntType *t, int64_t n, const int64_t *a, const int64_t *b, int64_t *r) {
  for (int64_t i = 0; i < n; i++) {
    uint64_t x = (uint64_t)a[i], y = (uint64_t)b[i], v = 1;
    if (!t->unsigned_exponent && b[i] < 0) { /* 1 / x^|y|, toward zero */
      if (!x)
        return eval_fail(e, "integer 0 to the power %lld", (long long)b[i]);
      r[i] = x == 1 ? 1 : !t->is_unsigned && a[i] == -1 ? (b[i] & 1 ? -1 : 1) : 0;
      continue;
    }
    for (; y; y >>= 1, x *= x)
      if (y & 1)
        v *= x;
    r[i] = (int64_t)v;
  }
  return ST_OK;
}

static const IntFn int_fn[OP_count] = {
    [OP_Add] = int_add,        [OP_Sub] = int_sub,      [OP_Mul] = int_mul,        [OP_Div] = int_div,
    [OP_Pow] = int_pow,        [OP_Mod] = int_mod,      [OP_PRelu] = int_prelu,    [OP_BitShift] = int_shift,
    [OP_BitwiseAnd] = int_and, [OP_BitwiseOr] = int_or, [OP_BitwiseXor] = int_xor, [OP_Max] = int_max,
    [OP_Min] = int_min,
};

/* --- two inputs, one output --- */

static Status same_dtypes(Eval *e) {
  for (int i = 1; i < e->nin; i++)
    if (e->in[i]->dtype != e->in[0]->dtype && e->op != OP_Pow)
      return eval_fail(e, "the inputs must have one element type");
  return ST_OK;
}

/* The broadcast shape of all inputs. */
static Status common_shape(Eval *e, int *rank, int64_t *dim) {
  *rank = e->in[0]->rank;
  memcpy(dim, e->in[0]->dim, sizeof e->in[0]->dim);
  for (int i = 1; i < e->nin; i++)
    TRY(eval_broadcast(e, *rank, dim, e->in[i]->rank, e->in[i]->dim, rank, dim));
  return ST_OK;
}

static Status attributes(Eval *e, double *p, bool *flag) {
  *p = 0, *flag = false;
  if (e->op == OP_Mod) {
    *flag = ((const ModAttr *)e->attr)->fmod != 0, *p = *flag;
  } else if (e->op == OP_SwiGLU) {
    *p = ((const SwiGLUAttr *)e->attr)->alpha;
  } else if (e->op == OP_BitShift) {
    Str d = ((const BitShiftAttr *)e->attr)->direction;
    *flag = str_is(d, "LEFT");
    if (!*flag && !str_is(d, "RIGHT"))
      return eval_fail(e, "direction must be \"LEFT\" or \"RIGHT\"");
  }
  return ST_OK;
}

/* PRelu broadcasts its slope only; SwiGLU does not broadcast. */
static Status shape_rules(Eval *e, int rank, const int64_t *dim) {
  Tensor all = {.rank = (int8_t)rank};
  memcpy(all.dim, dim, (size_t)rank * sizeof *dim);
  if (e->op == OP_PRelu && !tensor_same_shape(e->in[0], &all))
    return eval_fail(e, "the slope must broadcast to the shape of the input");
  if (e->op == OP_SwiGLU && !tensor_same_shape(e->in[0], e->in[1]))
    return eval_fail(e, "the inputs must have the same shape");
  return ST_OK;
}

static Status float_spans(Eval *e, Tensor *y, double p) {
  const Tensor *a = e->in[0], *b = e->in[1];
  FloatFn fn = float_fn[e->op];
  double x[CHUNK], z[CHUNK], r[CHUNK];
  Loop l;
  loop_open(&l, y->rank, y->dim, 2, e->in);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    load_f64(a->dtype, a->data, l.at[0], l.step[0], l.len, x);
    load_f64(b->dtype, b->data, l.at[1], l.step[1], l.len, z);
    fn(l.len, x, z, r, p);
    store_f64(y->dtype, y->data, l.out, 1, l.len, r);
  }
  return ST_OK;
}

static Status int_spans(Eval *e, Tensor *y, bool flag) {
  const Tensor *a = e->in[0], *b = e->in[1];
  IntFn fn = int_fn[e->op];
  IntType t = {a->dtype, dtype_bits(a->dtype), dtype_kind(a->dtype) == DK_UINT, flag, dtype_kind(b->dtype) == DK_UINT};
  int64_t x[CHUNK], z[CHUNK], r[CHUNK];
  Loop l;
  loop_open(&l, y->rank, y->dim, 2, e->in);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    load_i64(a->dtype, a->data, l.at[0], l.step[0], l.len, x);
    load_i64(b->dtype, b->data, l.at[1], l.step[1], l.len, z);
    TRY(fn(e, &t, l.len, x, z, r));
    store_i64(y->dtype, y->data, l.out, 1, l.len, r);
  }
  return ST_OK;
}

/* Add, Sub, Mul, Div (14), Pow (15), Mod (28), PRelu (16), BitShift (28), Bitwise* (18), SwiGLU (28).
 * Errors: ST_INVALID for shapes that do not broadcast, integer division by zero and MIN / -1. */
Status binary_eval(Eval *e) {
  const Tensor *a = e->in[0], *b = e->in[1];
  int64_t dim[MAX_RANK];
  int rank;
  double p;
  bool flag;
  Tensor *y;
  TRY(operands(e, 2));
  TRY(same_dtypes(e));
  TRY(common_shape(e, &rank, dim));
  TRY(shape_rules(e, rank, dim));
  TRY(attributes(e, &p, &flag));
  bool fa = dtype_is_float(a->dtype), fb = dtype_is_float(b->dtype);
  if ((!fa && !dtype_is_int(a->dtype)) || (!fb && !dtype_is_int(b->dtype)) ||
      !(fa ? (void *)float_fn[e->op] : (void *)int_fn[e->op]))
    return eval_unsupported(e, "not defined for these element types");
  TRY(eval_out(e, 0, a->dtype, rank, dim, &y));
  return fa || fb ? float_spans(e, y, p) : int_spans(e, y, flag);
}

/* --- comparisons and logic --- */

static bool holds(OpId op, int cmp) { /* cmp: sign of a - b; 2: unordered */
  switch (op) {
  case OP_Equal: return cmp == 0;
  case OP_Greater: return cmp == 1;
  case OP_GreaterOrEqual: return cmp == 1 || cmp == 0;
  case OP_Less: return cmp == -1;
  default: return cmp == -1 || cmp == 0;
  }
}

static void compare_span(OpId op, DType t, const void *a, const void *b, const Loop *l, uint8_t *r) {
  double x[CHUNK], y[CHUNK];
  int64_t p[CHUNK], q[CHUNK];
  if (dtype_is_float(t)) {
    load_f64(t, a, l->at[0], l->step[0], l->len, x);
    load_f64(t, b, l->at[1], l->step[1], l->len, y);
    for (int64_t i = 0; i < l->len; i++)
      r[i] = holds(op, isnan(x[i]) || isnan(y[i]) ? 2 : (x[i] > y[i]) - (x[i] < y[i]));
    return;
  }
  load_keys(t, a, l->at[0], l->step[0], l->len, 0, p);
  load_keys(t, b, l->at[1], l->step[1], l->len, 0, q);
  for (int64_t i = 0; i < l->len; i++)
    r[i] = holds(op, (p[i] > q[i]) - (p[i] < q[i]));
}

static void compare_strings(const Str *a, const Str *b, const Loop *l, uint8_t *r) {
  for (int64_t i = 0; i < l->len; i++)
    r[i] = str_eq(a[l->at[0] + i * l->step[0]], b[l->at[1] + i * l->step[1]]);
}

/* Equal (19; also bool and string), Greater, Less (13), GreaterOrEqual, LessOrEqual (16). NaN compares false. */
Status compare_eval(Eval *e) {
  const Tensor *a = e->in[0], *b = e->in[1];
  int64_t dim[MAX_RANK];
  int rank;
  Tensor *y;
  TRY(operands(e, 2));
  TRY(same_dtypes(e));
  TRY(common_shape(e, &rank, dim));
  if (dtype_kind(a->dtype) == DK_COMPLEX || (e->op != OP_Equal && a->dtype == DT_str))
    return eval_unsupported(e, "not defined for %s", dtype_name(a->dtype));
  TRY(eval_out(e, 0, DT_bool, rank, dim, &y));
  Loop l;
  loop_open(&l, rank, dim, 2, e->in);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    if (a->dtype == DT_str)
      compare_strings(a->data, b->data, &l, (uint8_t *)y->data + l.out);
    else
      compare_span(e->op, a->dtype, a->data, b->data, &l, (uint8_t *)y->data + l.out);
  }
  return ST_OK;
}

/* And, Or, Xor (7) of bool. */
Status logic_eval(Eval *e) {
  const Tensor *a = e->in[0], *b = e->in[1];
  int64_t dim[MAX_RANK];
  int rank;
  Tensor *y;
  TRY(operands(e, 2));
  if (a->dtype != DT_bool || b->dtype != DT_bool)
    return eval_fail(e, "the inputs must be bool");
  TRY(common_shape(e, &rank, dim));
  TRY(eval_out(e, 0, DT_bool, rank, dim, &y));
  Loop l;
  loop_open(&l, rank, dim, 2, e->in);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    const uint8_t *p = (const uint8_t *)a->data + l.at[0], *q = (const uint8_t *)b->data + l.at[1];
    for (int64_t i = 0; i < l.len; i++) {
      bool x = p[i * l.step[0]] != 0, z = q[i * l.step[1]] != 0;
      ((uint8_t *)y->data)[l.out + i] = e->op == OP_And ? x && z : e->op == OP_Or ? x || z : x != z;
    }
  }
  return ST_OK;
}

/* --- any number of inputs --- */

/* Folds input k, broadcast to y's shape, into acc (doubles or int64). */
static Status fold_input(Eval *e, const Tensor *y, int k, double *facc, int64_t *iacc) {
  const Tensor *t = e->in[k];
  IntType it = {t->dtype, dtype_bits(t->dtype), dtype_kind(t->dtype) == DK_UINT, false, false};
  double x[CHUNK];
  int64_t z[CHUNK];
  Loop l;
  loop_open(&l, y->rank, y->dim, 1, &t);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    if (facc && !k) {
      load_f64(t->dtype, t->data, l.at[0], l.step[0], l.len, facc + l.out);
    } else if (facc) {
      load_f64(t->dtype, t->data, l.at[0], l.step[0], l.len, x);
      float_fn[e->op](l.len, facc + l.out, x, facc + l.out, 0);
    } else if (!k) {
      load_i64(t->dtype, t->data, l.at[0], l.step[0], l.len, iacc + l.out);
    } else {
      load_i64(t->dtype, t->data, l.at[0], l.step[0], l.len, z);
      TRY(int_fn[e->op](e, &it, l.len, iacc + l.out, z, iacc + l.out));
    }
  }
  return ST_OK;
}

/* Max, Min (13; NaN propagates), Mean, Sum (13) of one or more inputs that broadcast together. */
Status variadic_eval(Eval *e) {
  int64_t dim[MAX_RANK];
  int rank;
  Tensor *y;
  TRY(operands(e, e->nin > 1 ? e->nin : 1));
  DType t = e->in[0]->dtype;
  TRY(same_dtypes(e));
  TRY(common_shape(e, &rank, dim));
  bool is_float = dtype_is_float(t);
  if (!is_float && (!dtype_is_int(t) || !int_fn[e->op]))
    return eval_unsupported(e, "not defined for %s", dtype_name(t));
  TRY(eval_out(e, 0, t, rank, dim, &y));
  int64_t count = tensor_count(y);
  double *facc = is_float ? arena_array(e->scratch, double, (size_t)count) : NULL;
  int64_t *iacc = is_float ? NULL : arena_array(e->scratch, int64_t, (size_t)count);
  for (int k = 0; k < e->nin; k++)
    TRY(fold_input(e, y, k, facc, iacc));
  for (int64_t i = 0; e->op == OP_Mean && i < count; i++)
    facc[i] /= e->nin;
  if (is_float)
    store_f64(t, y->data, 0, 1, count, facc);
  else
    store_i64(t, y->data, 0, 1, count, iacc);
  return ST_OK;
}
