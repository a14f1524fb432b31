/* arith.c - shape arithmetic on dim expressions. A result that cannot be decided leaves the content unknown.
 *
 * TorchScript's Expand writes Where(Equal(shape, -1), ones, shape): comparisons are decided by what the ranges of the
 * symbols say, so that extents, which are never negative, survive it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/arith.h"

#include "ops/ops.h"
#include "support/checked.h"

#include <math.h>
#include <string.h>

typedef struct Elems {
  const Dim *v;
  int64_t n;
} Elems;

/* Constants of bool and float tensors, as far as they are whole numbers. */
static bool constant_elems(Infer *x, const Tensor *t, Elems *r) {
  int64_t n = t->kind == VK_TENSOR ? tensor_count(t) : 0;
  if (t->kind != VK_TENSOR || t->rank > 1 || n > MAX_CONTENT ||
      !(t->dtype == DT_bool || dtype_is_int(t->dtype) || dtype_is_float(t->dtype)))
    return false;
  Dim *d = arena_array(x->arena, Dim, (size_t)n);
  for (int64_t i = 0; i < n; i++) {
    uint64_t cell = 0; /* the data of a mapped constant may be unaligned */
    int bits = dtype_bits(t->dtype);
    if (bits >= 8)
      memcpy(&cell, (const char *)t->data + i * (bits / 8), (size_t)bits / 8);
    const void *p = bits >= 8 ? (const void *)&cell : t->data;
    int64_t at = bits >= 8 ? 0 : i, v = elem_i64(t->dtype, p, at);
    if (t->dtype == DT_u64 && v < 0)
      return false;
    if (dtype_is_float(t->dtype)) {
      double f = elem_f64(t->dtype, p, at);
      if (!(fabs(f) < 0x1p62) || f != (double)v)
        return false;
    }
    d[i] = dim_const(x->c, v);
  }
  *r = (Elems){d, n};
  return true;
}

static bool elems(Infer *x, int i, Elems *r) {
  const Tensor *t;
  if (!has_in(x, i) || in_type(x, i)->rank > 1)
    return false;
  return in_content(x, i, &r->v, &r->n) || (in_const(x, i, &t) && constant_elems(x, t, r));
}

/* --- single elements; NULL: not known --- */

static Dim truth(Ctx *c, bool known, bool value) { return known ? dim_const(c, value) : NULL; }

/* a < b? */
static Dim less(Ctx *c, Dim a, Dim b) {
  int64_t x, y;
  if (dim_is_const(a, &x) && dim_is_const(b, &y)) /* differences of constants may overflow */
    return dim_const(c, x < y);
  bool yes = dim_at_least(c, b, dim_add(c, a, dim_const(c, 1))), no = dim_at_least(c, a, b);
  return truth(c, yes || no, yes);
}

static Dim equal(Ctx *c, Dim a, Dim b) {
  bool constants = dim_is_const(a, NULL) && dim_is_const(b, NULL);
  return truth(c, a == b || constants || dim_differ(c, a, b), a == b);
}

static Dim negated(Ctx *c, Dim d) {
  int64_t v;
  return d && dim_is_const(d, &v) ? dim_const(c, !v) : NULL;
}

/* Division and remainder: floor is what dims have; it equals truncation where nothing is negative. */
static Dim quotient(Ctx *c, Dim a, Dim b) {
  int64_t x, y;
  if (dim_is_const(a, &x) && dim_is_const(b, &y))
    return !y || (y == -1 && x == INT64_MIN) ? NULL : dim_const(c, x / y);
  return a->lo >= 0 && b->lo > 0 ? dim_div(c, a, b) : NULL;
}

static Dim remainder_of(Ctx *c, Dim a, Dim b, bool truncating) {
  int64_t x, y;
  if (dim_is_const(a, &x) && dim_is_const(b, &y)) {
    if (!y)
      return NULL;
    int64_t m = y == -1 ? 0 : x % y;
    return dim_const(c, !truncating && m && (m < 0) != (y < 0) ? m + y : m);
  }
  return b->lo > 0 && (!truncating || a->lo >= 0) ? dim_mod(c, a, b) : NULL;
}

static Dim logic(Ctx *c, OpId op, Dim a, Dim b) {
  int64_t x = -1, y = -1;
  dim_is_const(a, &x), dim_is_const(b, &y);
  if (op == OP_Xor)
    return truth(c, x >= 0 && y >= 0, (x != 0) != (y != 0));
  int64_t absorbing = op == OP_Or; /* one such operand decides */
  if ((x >= 0 && !!x == absorbing) || (y >= 0 && !!y == absorbing))
    return dim_const(c, absorbing);
  return truth(c, x >= 0 && y >= 0, !absorbing);
}

/* a + b, a - b, a * b; NULL where numbers would wrap. */
static Dim sum(Ctx *c, Dim a, Dim b) {
  int64_t x, y, r;
  bool numbers = dim_is_const(a, &x) && dim_is_const(b, &y);
  return numbers && !add_ok(x, y, &r) ? NULL : dim_add(c, a, b);
}

static Dim difference(Ctx *c, Dim a, Dim b) {
  int64_t x, y, r;
  bool numbers = dim_is_const(a, &x) && dim_is_const(b, &y);
  return numbers && !sub_ok(x, y, &r) ? NULL : dim_sub(c, a, b);
}

static Dim product(Ctx *c, Dim a, Dim b) {
  int64_t x, y, r;
  bool numbers = dim_is_const(a, &x) && dim_is_const(b, &y);
  return numbers && !mul_ok(x, y, &r) ? NULL : dim_mul(c, a, b);
}

static Dim extreme(Ctx *c, bool largest, Dim a, Dim b) {
  int64_t x, y;
  if (dim_is_const(a, &x) && dim_is_const(b, &y)) /* their difference may overflow */
    return (x > y) == largest ? a : b;
  return largest ? dim_max(c, a, b) : dim_min(c, a, b);
}

static Dim one_of_two(Infer *x, Dim a, Dim b) {
  Ctx *c = x->c;
  switch (x->n->op) {
  case OP_Add:
  case OP_Sum: return sum(c, a, b);
  case OP_Sub: return difference(c, a, b);
  case OP_Mul: return product(c, a, b);
  case OP_Div: return quotient(c, a, b);
  case OP_Mod: return remainder_of(c, a, b, ATTR(x->n, Mod)->fmod != 0);
  case OP_Max: return extreme(c, true, a, b);
  case OP_Min: return extreme(c, false, a, b);
  case OP_Equal: return equal(c, a, b);
  case OP_Less: return less(c, a, b);
  case OP_Greater: return less(c, b, a);
  case OP_GreaterOrEqual: return negated(c, less(c, a, b));
  case OP_LessOrEqual: return negated(c, less(c, b, a));
  case OP_And:
  case OP_Or:
  case OP_Xor: return logic(c, x->n->op, a, b);
  default: return NULL;
  }
}

static Dim one_of_one(Infer *x, Dim a) {
  Ctx *c = x->c;
  Dim zero = dim_const(c, 0);
  switch (x->n->op) {
  case OP_Neg: return difference(c, zero, a);
  case OP_Abs: return a->lo >= 0 ? a : a->hi <= 0 ? difference(c, zero, a) : NULL;
  case OP_Relu: return extreme(c, true, a, zero);
  case OP_Not: return negated(c, a);
  case OP_Sign: return a->lo > 0 ? dim_const(c, 1) : a->hi < 0 ? dim_const(c, -1) : dim_is(a, 0) ? a : NULL;
  case OP_Max:
  case OP_Min:
  case OP_Sum: return a;
  default: return NULL;
  }
}

static Dim chosen(Dim cond, Dim a, Dim b) {
  int64_t v;
  return a == b ? a : dim_is_const(cond, &v) ? (v ? a : b) : NULL;
}

/* --- whole tensors --- */

/* Does the result fit the element type? What would wrap is left to the evaluator. Extents are taken to fit. */
static bool fits(DType t, Dim d) {
  int bits = dtype_bits(t);
  if ((d->kind != DIM_CONST && !d->data) || bits == 64)
    return true;
  if (t == DT_bool)
    return d->lo >= 0 && d->hi <= 1;
  return dtype_kind(t) == DK_UINT ? d->lo >= 0 && d->hi < (int64_t)1 << bits
                                  : d->lo >= -((int64_t)1 << (bits - 1)) && d->hi < (int64_t)1 << (bits - 1);
}

/* Content is kept for the types shapes are computed in. */
static bool keeps_content(DType t) { return t == DT_i64 || t == DT_i32 || t == DT_bool; }

static Dim element(Infer *x, const Elems *in, int64_t i) {
  Dim e[3] = {NULL};
  int nin = x->n->nin;
  for (int k = 0; k < nin && k < 3; k++)
    e[k] = in[k].v[in[k].n == 1 ? 0 : i];
  if (x->n->op == OP_Where)
    return chosen(e[0], e[1], e[2]);
  if (nin == 1)
    return one_of_one(x, e[0]);
  Dim r = one_of_two(x, e[0], e[1]);
  return nin == 3 && r ? one_of_two(x, r, e[2]) : r; /* Max, Min, Sum of three */
}

static bool gives_bool(OpId op) {
  return op == OP_Equal || op == OP_Less || op == OP_Greater || op == OP_GreaterOrEqual || op == OP_LessOrEqual ||
         op == OP_And || op == OP_Or || op == OP_Xor || op == OP_Not;
}

/* Without float inputs: a float that happens to be whole is not shape arithmetic. */
static bool integer_input(Infer *x, int i) {
  DType t = in_type(x, i)->dtype;
  return dtype_is_int(t) || t == DT_bool;
}

void content_elementwise(Infer *x) {
  Elems in[3];
  int nin = x->n->nin;
  int64_t n = 1;
  if (nin > 3 || x->out[0].rank < 0 || x->out[0].rank > 1)
    return;
  for (int i = 0; i < nin; i++) {
    if (!has_in(x, i) || !integer_input(x, i) || !elems(x, i, &in[i]))
      return;
    if (in[i].n != 1)
      n = in[i].n;
  }
  DType t = x->n->op == OP_Where ? in_type(x, 1)->dtype : in_type(x, 0)->dtype;
  bool compares = gives_bool(x->n->op);
  if (n > MAX_CONTENT || !keeps_content(t))
    return;
  Dim *r = arena_array(x->arena, Dim, (size_t)n);
  for (int64_t i = 0; i < n; i++) {
    r[i] = element(x, in, i);
    if (!r[i] || !fits(compares ? DT_bool : t, r[i]))
      return;
  }
  set_content(x, 0, r);
}

/* Clip: Min(max, Max(x, min)) with bounds of one element. */
void content_clip(Infer *x) {
  Elems in, bound[3] = {{NULL, 0}};
  if (!keeps_content(in_type(x, 0)->dtype) || !integer_input(x, 0) || !elems(x, 0, &in))
    return;
  for (int i = 1; i < x->n->nin && i < 3; i++)
    if (has_in(x, i) && (!elems(x, i, &bound[i]) || bound[i].n != 1))
      return;
  Dim *r = arena_array(x->arena, Dim, (size_t)in.n);
  for (int64_t i = 0; i < in.n; i++) {
    r[i] = bound[1].n ? extreme(x->c, true, in.v[i], bound[1].v[0]) : in.v[i];
    r[i] = bound[2].n ? extreme(x->c, false, r[i], bound[2].v[0]) : r[i];
  }
  set_content(x, 0, r);
}

void content_cast(Infer *x, DType to) {
  Elems in;
  if (!keeps_content(to) || !elems(x, 0, &in) || in.n > MAX_CONTENT)
    return;
  Dim *r = arena_array(x->arena, Dim, (size_t)in.n), zero = dim_const(x->c, 0);
  for (int64_t i = 0; i < in.n; i++) {
    Dim d = in.v[i];
    if (to == DT_bool)
      d = negated(x->c, equal(x->c, d, zero));
    if (!d || !fits(to, d))
      return;
    r[i] = d;
  }
  set_content(x, 0, r);
}

void content_reduce(Infer *x, bool to_scalar) {
  Elems in;
  DType t = in_type(x, 0)->dtype;
  Ctx *c = x->c;
  if (!integer_input(x, 0) || !keeps_content(t) || t == DT_bool || !elems(x, 0, &in))
    return;
  if (!to_scalar) {
    set_content(x, 0, in.v);
    return;
  }
  OpId op = x->n->op;
  if (!in.n && op != OP_ReduceSum && op != OP_ReduceProd)
    return;
  Dim r = in.n ? in.v[0] : dim_const(c, op == OP_ReduceProd);
  for (int64_t i = 1; r && i < in.n; i++)
    r = op == OP_ReduceSum    ? sum(c, r, in.v[i])
        : op == OP_ReduceProd ? product(c, r, in.v[i])
                              : extreme(c, op == OP_ReduceMax, r, in.v[i]);
  if (r && fits(t, r))
    set_content(x, 0, &r);
}
