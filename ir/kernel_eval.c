/* kernel_eval.c - runs a kernel statement by statement on tensors: the oracle of everything that emits code for kernels.
 * Loops run in order whatever their schedule: what emission computes may differ by the order of its sums.
 * Floats are computed in double and rounded to the expression's type after each operator.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/kernel.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

/* A scalar: i for integers and bools, f for floats; complex numbers, which are only moved, have their bytes in both. */
typedef struct Num {
  int64_t i;
  double f;
} Num;
_Static_assert(sizeof(Num) == 16, "a complex128");

typedef struct Machine {
  Ctx *c;
  const Kernel *k;
  Tensor *const *buf;
  bool (*get)(void *arg, Dim sym, int64_t *v);
  void *arg;
  Num *var; /* by id */
} Machine;

static int64_t wrapped(DType t, int64_t v) {
  int64_t x = 0;
  elem_set_i64(t, &x, 0, v);
  return elem_i64(t, &x, 0);
}

static double float_op(KOp op, double a, double b) {
  switch (op) {
  case KOP_add: return a + b;
  case KOP_sub: return a - b;
  case KOP_mul: return a * b;
  case KOP_div: return a / b;
  case KOP_mod: {
    double r = fmod(a, b);
    if (r == 0)
      return copysign(0, b);
    return (r < 0) != (b < 0) ? r + b : r;
  }
  case KOP_fmod: return fmod(a, b);
  case KOP_pow: return pow(a, b);
  case KOP_min: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
  case KOP_max: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
  case KOP_neg: return -a;
  case KOP_abs: return fabs(a);
  case KOP_sign: return isnan(a) ? a : (a > 0) - (a < 0);
  case KOP_floor: return floor(a);
  case KOP_ceil: return ceil(a);
  case KOP_round: return nearbyint(a);
  case KOP_trunc: return trunc(a);
  case KOP_sqrt: return sqrt(a);
  case KOP_exp: return exp(a);
  case KOP_log: return log(a);
  case KOP_log1p: return log1p(a);
  case KOP_erf: return erf(a);
  case KOP_tanh: return tanh(a);
  case KOP_sigmoid: return a < 0 ? exp(a) / (1 + exp(a)) : 1 / (1 + exp(-a));
  case KOP_sin: return sin(a);
  case KOP_cos: return cos(a);
  case KOP_tan: return tan(a);
  case KOP_asin: return asin(a);
  case KOP_acos: return acos(a);
  case KOP_atan: return atan(a);
  case KOP_asinh: return asinh(a);
  case KOP_acosh: return acosh(a);
  case KOP_atanh: return atanh(a);
  default: return NAN;
  }
}

static bool float_test(KOp op, double a, double b) {
  switch (op) {
  case KOP_eq: return a == b;
  case KOP_ne: return !(a == b);
  case KOP_lt: return a < b;
  case KOP_le: return a <= b;
  case KOP_isnan: return isnan(a);
  default: return isinf(a);
  }
}

/* Modulo 2^64; a negative exponent gives 1 / a^|b| toward zero. */
static int64_t int_power(bool is_unsigned, int64_t a, int64_t b) {
  uint64_t r = 1, x = (uint64_t)a;
  if (!is_unsigned && b < 0)
    return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  for (uint64_t n = (uint64_t)b; n; n >>= 1, x *= x)
    r *= n & 1 ? x : 1;
  return (int64_t)r;
}

static Status int_op(Machine *m, DType t, KOp op, int64_t a, int64_t b, int64_t *r) {
  bool u = dtype_kind(t) == DK_UINT;
  uint64_t x = (uint64_t)a, y = (uint64_t)b;
  switch (op) {
  case KOP_add: *r = (int64_t)(x + y); break;
  case KOP_sub: *r = (int64_t)(x - y); break;
  case KOP_mul: *r = (int64_t)(x * y); break;
  case KOP_div:
  case KOP_mod:
  case KOP_fmod:
    if (!b || (op == KOP_div && !u && b == -1 && a == INT64_MIN))
      return fail(m->c, ST_INVALID, "kernel '%s': %lld divided by %lld", m->k->name, (long long)a, (long long)b);
    if (op == KOP_div)
      *r = u ? (int64_t)(x / y) : a / b;
    else {
      *r = u ? (int64_t)(x % y) : b == -1 ? 0 : a % b;
      if (op == KOP_mod && !u && *r && (*r < 0) != (b < 0))
        *r += b;
    }
    break;
  case KOP_pow: *r = int_power(u, a, b); break;
  case KOP_min: *r = u ? (x < y ? a : b) : a < b ? a : b; break;
  case KOP_max: *r = u ? (x > y ? a : b) : a > b ? a : b; break;
  case KOP_and: *r = a & b; break;
  case KOP_or: *r = a | b; break;
  case KOP_xor: *r = a ^ b; break;
  case KOP_shl: *r = y < (uint64_t)dtype_bits(t) ? (int64_t)(x << y) : 0; break;
  case KOP_shr: *r = y >= (uint64_t)dtype_bits(t) ? 0 : u ? (int64_t)(x >> y) : a >> y; break;
  case KOP_neg: *r = (int64_t)(0 - x); break;
  case KOP_not: *r = t == DT_bool ? !a : ~a; break;
  case KOP_abs: *r = !u && a < 0 ? (int64_t)(0 - x) : a; break;
  case KOP_sign: *r = u ? a != 0 : (a > 0) - (a < 0); break;
  default: *r = a; break; /* rounding an integer */
  }
  *r = wrapped(t, *r);
  return ST_OK;
}

static bool int_test(DType t, KOp op, int64_t a, int64_t b) {
  bool u = dtype_kind(t) == DK_UINT;
  switch (op) {
  case KOP_eq: return a == b;
  case KOP_ne: return a != b;
  case KOP_lt: return u ? (uint64_t)a < (uint64_t)b : a < b;
  case KOP_le: return u ? (uint64_t)a <= (uint64_t)b : a <= b;
  default: return false;
  }
}

static Status value(Machine *m, const KExpr *e, Num *r);

static Status element(Machine *m, const KBuf *b, KExpr *const *index, int64_t *at) {
  const Tensor *t = m->buf[b->index];
  *at = 0;
  for (int i = 0; i < b->rank; i++) {
    Num n;
    TRY(value(m, index[i], &n));
    if (n.i < 0 || n.i >= t->dim[i])
      return fail(m->c, ST_INTERNAL, "kernel '%s': index %lld of axis %d of '%s' is not in [0, %lld)", m->k->name,
                  (long long)n.i, i, b->name, (long long)t->dim[i]);
    *at = *at * t->dim[i] + n.i;
  }
  return ST_OK;
}

static Status apply(Machine *m, const KExpr *e, Num *r) {
  Num a, b = {0, 0};
  const DType t = e->arg[0]->dtype;
  TRY(value(m, e->arg[0], &a));
  if (e->kind == KE_BINARY)
    TRY(value(m, e->arg[1], &b));
  if (dtype_is_float(t)) {
    if (e->dtype == DT_bool)
      r->i = float_test((KOp)e->op, a.f, b.f);
    else
      r->f = dtype_round(t, float_op((KOp)e->op, a.f, b.f));
    return ST_OK;
  }
  if (e->dtype == DT_bool && t != DT_bool) {
    r->i = int_test(t, (KOp)e->op, a.i, b.i);
    return ST_OK;
  }
  if (t == DT_bool && (e->op == KOP_eq || e->op == KOP_ne)) {
    r->i = int_test(t, (KOp)e->op, a.i, b.i);
    return ST_OK;
  }
  return int_op(m, t, (KOp)e->op, a.i, b.i, &r->i);
}

/* An element of a small float format, by the mode of the cast. */
static double narrowed(DType to, int mode, double v) {
  E8M0Round round = mode & KC_DOWN ? E8M0_DOWN : mode & KC_NEAREST ? E8M0_NEAREST : E8M0_UP;
  bool saturate = !(mode & KC_OPEN);
  if (to == DT_f8e8m0)
    return small_float_value(to, e8m0_code(v, saturate, round));
  return small_float(to) ? small_float_value(to, small_float_code(to, v, saturate)) : dtype_round(to, v);
}

static void cast(DType from, DType to, int mode, Num a, Num *r) {
  union {
    double d;
    int64_t i;
    uint8_t b[8];
  } u = {0};
  if (dtype_is_float(to))
    r->f = dtype_is_float(from) ? narrowed(to, mode, a.f)
           : to == DT_f64       ? (from == DT_u64 ? (double)(uint64_t)a.i : (double)a.i)
                                : narrowed(to, mode, sticky_f64(a.i, from == DT_u64));
  else if (dtype_is_float(from)) {
    elem_set_f64(to, &u, 0, a.f);
    r->i = elem_i64(to, &u, 0);
  } else
    r->i = wrapped(to, a.i);
}

static Status value(Machine *m, const KExpr *e, Num *r) {
  Num a;
  int64_t at;
  *r = (Num){0, 0};
  switch (e->kind) {
  case KE_FLOAT: r->f = dtype_round(e->dtype, e->f); return ST_OK;
  case KE_INT: r->i = e->i; return ST_OK;
  case KE_DIM:
    return dim_eval(e->dim, m->get, m->arg, &r->i)
               ? ST_OK
               : fail(m->c, ST_INVALID, "'%s' has no value", dim_text(m->c, e->dim));
  case KE_VAR: *r = m->var[e->var->id]; return ST_OK;
  case KE_LOAD:
    TRY(element(m, e->buf, e->index, &at));
    if (dtype_kind(e->dtype) == DK_COMPLEX)
      memcpy(r, (const char *)m->buf[e->buf->index]->data + at * (dtype_bits(e->dtype) / 8),
             (size_t)dtype_bits(e->dtype) / 8);
    else if (dtype_is_float(e->dtype))
      r->f = elem_f64(e->dtype, m->buf[e->buf->index]->data, at);
    else
      r->i = elem_i64(e->dtype, m->buf[e->buf->index]->data, at);
    return ST_OK;
  case KE_SELECT: TRY(value(m, e->arg[0], &a)); return value(m, e->arg[a.i ? 1 : 2], r);
  case KE_CAST:
    TRY(value(m, e->arg[0], &a));
    cast(e->arg[0]->dtype, e->dtype, e->op, a, r);
    return ST_OK;
  default: return apply(m, e, r);
  }
}

static Status run(Machine *m, const KStmt *s);

static Status loop(Machine *m, const KStmt *s) {
  int64_t n;
  Num to;
  if (!dim_eval(s->extent, m->get, m->arg, &n))
    return fail(m->c, ST_INVALID, "'%s' has no value", dim_text(m->c, s->extent));
  if (s->value) {
    TRY(value(m, s->value, &to));
    n = to.i < n ? to.i : n;
  }
  for (int64_t i = 0; i < n; i++) {
    TRY(ctx_poll(m->c));
    m->var[s->var->id] = (Num){i, 0};
    TRY(run(m, s->body));
  }
  return ST_OK;
}

static Status update(Machine *m, const KStmt *s) {
  Num v, *acc = &m->var[s->var->id];
  TRY(value(m, s->value, &v));
  if (!s->op) {
    *acc = v;
    return ST_OK;
  }
  if (dtype_is_float(s->var->dtype)) {
    acc->f = dtype_round(s->var->dtype, float_op((KOp)s->op, acc->f, v.f));
    return ST_OK;
  }
  return int_op(m, s->var->dtype, (KOp)s->op, acc->i, v.i, &acc->i);
}

static Status store(Machine *m, const KStmt *s) {
  Num v;
  int64_t at;
  TRY(value(m, s->value, &v));
  TRY(element(m, s->buf, s->index, &at));
  if (dtype_kind(s->buf->dtype) == DK_COMPLEX)
    memcpy((char *)m->buf[s->buf->index]->data + at * (dtype_bits(s->buf->dtype) / 8), &v,
           (size_t)dtype_bits(s->buf->dtype) / 8);
  else if (s->buf->dtype == DT_f8e5m2)
    ((uint8_t *)m->buf[s->buf->index]->data)[at] = (uint8_t)small_float_code(DT_f8e5m2, v.f, false); /* has infinity */
  else if (dtype_is_float(s->buf->dtype))
    elem_set_f64(s->buf->dtype, m->buf[s->buf->index]->data, at, v.f);
  else
    elem_set_i64(s->buf->dtype, m->buf[s->buf->index]->data, at, v.i);
  return ST_OK;
}

static Status run_one(Machine *m, const KStmt *s) {
  Num v, n;
  switch (s->kind) {
  case KS_FOR: return loop(m, s);
  case KS_LET:
  case KS_ACC: return value(m, s->value, &m->var[s->var->id]);
  case KS_UPDATE: return update(m, s);
  case KS_STORE: return store(m, s);
  case KS_IF: TRY(value(m, s->value, &v)); return v.i ? run(m, s->body) : ST_OK;
  default:
    TRY(value(m, s->value, &v));
    TRY(value(m, s->number, &n));
    if (v.i)
      return ST_OK;
    if (s->number->dtype == DT_f64)
      return fail(m->c, ST_INVALID, "kernel '%s': a check failed for %.9g", m->k->name, n.f);
    return fail(m->c, ST_INVALID, "kernel '%s': a check failed for %lld", m->k->name, (long long)n.i);
  }
}

static Status run(Machine *m, const KStmt *s) {
  for (; s; s = s->next)
    TRY(run_one(m, s));
  return ST_OK;
}

/* Temporaries, full of ones: a large negative number or NaN to whoever reads before writing. */
static Status temporaries(Machine *m, Arena *a, Tensor *const *given) {
  Tensor **all = arena_array(a, Tensor *, m->k->nbuf);
  for (uint32_t i = 0; i < m->k->nbuf; i++) {
    const KBuf *b = m->k->buf[i];
    int64_t dim[MAX_RANK];
    if (i < m->k->nio) {
      all[i] = given[i];
      continue;
    }
    for (int d = 0; d < b->rank; d++)
      if (!dim_eval(b->dim[d], m->get, m->arg, &dim[d]))
        return fail(m->c, ST_INVALID, "'%s' has no value", dim_text(m->c, b->dim[d]));
    TRY(tensor_new(m->c, a, b->dtype, b->rank, dim, &all[i]));
    memset(all[i]->data, 0xff, tensor_bytes(all[i]));
  }
  m->buf = all;
  return ST_OK;
}

Status kernel_eval(Ctx *c, const Kernel *k, Tensor *const *buf, bool (*get)(void *arg, Dim sym, int64_t *v),
                   void *arg) {
  Arena *a = arena_create(c);
  Machine m = {.c = c, .k = k, .buf = buf, .get = get, .arg = arg, .var = arena_array(a, Num, k->next_id)};
  Status st = temporaries(&m, a, buf);
  if (!st)
    st = run(&m, k->body);
  arena_destroy(a);
  return st;
}
