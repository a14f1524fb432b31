/* reduce.c - Reduce*, ArgMax, ArgMin, CumSum, CumProd.
 * Sums of floats accumulate in double in row-major order and are rounded once; integers accumulate in int64 and wrap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <math.h>
#include <string.h>

/* --- which axes --- */

/* Marks the reduced axes. Axes absent or empty: all, or none with noop_with_empty_axes. */
static Status reduced_axes(Eval *e, bool *reduced) {
  const ReduceAttr *a = e->attr;
  int rank = e->in[0]->rank, k;
  const int64_t *axes = NULL;
  int64_t n = 0;
  if (eval_has(e, 1))
    TRY(eval_ints(e, 1, &axes, &n));
  for (int i = 0; i < rank; i++)
    reduced[i] = !n && !a->noop_with_empty_axes;
  for (int64_t i = 0; i < n; i++) {
    TRY(eval_axis(e, axes[i], rank, false, &k));
    if (reduced[k])
      return eval_fail(e, "axis %lld is given twice", (long long)axes[i]);
    reduced[k] = true;
  }
  return ST_OK;
}

/* --- accumulating a span --- */

static double start_f64(OpId op) {
  return op == OP_ReduceMax || op == OP_ReduceLogSumExp ? -INFINITY
         : op == OP_ReduceMin                           ? INFINITY
                                                        : op == OP_ReduceProd;
}

static double combine_f64(OpId op, double acc, double x) {
  switch (op) {
  case OP_ReduceMax:
  case OP_ReduceLogSumExp: return isnan(x) || x > acc ? x : acc; /* LogSumExp: first the largest */
  case OP_ReduceMin: return isnan(x) || x < acc ? x : acc;
  case OP_ReduceProd: return acc * x;
  case OP_ReduceL1: return acc + fabs(x);
  case OP_ReduceL2:
  case OP_ReduceSumSquare: return acc + x * x;
  default: return acc + x;
  }
}

static double finish_f64(OpId op, double acc, int64_t n) {
  return op == OP_ReduceL2 ? sqrt(acc) : op == OP_ReduceLogSum ? log(acc) : op == OP_ReduceMean ? acc / (double)n : acc;
}

/* u64 is compared with its sign bit flipped; order holds the flip. */
static int64_t start_i64(OpId op, DType t) {
  int bits = dtype_bits(t);
  bool is_unsigned = dtype_kind(t) == DK_UINT;
  int64_t flip = t == DT_u64 ? INT64_MIN : 0;
  if (op == OP_ReduceMax)
    return is_unsigned || t == DT_bool ? 0 ^ flip : INT64_MIN >> (64 - bits);
  if (op == OP_ReduceMin)
    return t == DT_bool ? 1 : is_unsigned ? (int64_t)(UINT64_MAX >> (64 - bits)) ^ flip : INT64_MAX >> (64 - bits);
  return op == OP_ReduceProd;
}

static int64_t combine_i64(OpId op, bool is_unsigned, int64_t acc, int64_t x) {
  uint64_t a = (uint64_t)acc, b = (uint64_t)x;
  switch (op) {
  case OP_ReduceMax: return x > acc ? x : acc;
  case OP_ReduceMin: return x < acc ? x : acc;
  case OP_ReduceProd: return (int64_t)(a * b);
  case OP_ReduceL1: return (int64_t)(a + (x < 0 && !is_unsigned ? 0 - b : b));
  case OP_ReduceL2:
  case OP_ReduceSumSquare: return (int64_t)(a + b * b);
  default: return (int64_t)(a + b);
  }
}

static int64_t finish_i64(OpId op, DType t, int64_t acc, int64_t n) {
  bool is_unsigned = dtype_kind(t) == DK_UINT;
  if (op == OP_ReduceL2)
    return (int64_t)sqrt((double)(uint64_t)acc);
  if (op == OP_ReduceMean)
    return is_unsigned ? (int64_t)((uint64_t)acc / (uint64_t)n) : acc / n;
  return (op == OP_ReduceMax || op == OP_ReduceMin) && t == DT_u64 ? acc ^ INT64_MIN : acc;
}

/* --- the walk: over the input, the output being its broadcast operand with extent 1 on reduced axes --- */

static Status sum_f64(Eval *e, const Tensor *kept, double *acc) {
  const Tensor *x = e->in[0];
  double v[CHUNK];
  Loop l;
  loop_open(&l, x->rank, x->dim, 1, &kept);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    load_f64(x->dtype, x->data, l.out, 1, l.len, v);
    double *r = acc + l.at[0];
    for (int64_t i = 0; i < l.len; i++)
      r[i * l.step[0]] = combine_f64(e->op, r[i * l.step[0]], v[i]);
  }
  return ST_OK;
}

/* log(sum(exp(x - m))) + m, given m in acc; an infinite m is the answer itself. */
static Status log_sum_exp(Eval *e, const Tensor *kept, double *acc, int64_t count) {
  const Tensor *x = e->in[0];
  double *sum = arena_array(e->scratch, double, (size_t)count), v[CHUNK];
  Loop l;
  loop_open(&l, x->rank, x->dim, 1, &kept);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    load_f64(x->dtype, x->data, l.out, 1, l.len, v);
    for (int64_t i = 0; i < l.len; i++) {
      int64_t o = l.at[0] + i * l.step[0];
      sum[o] += isfinite(acc[o]) ? exp(v[i] - acc[o]) : 1;
    }
  }
  for (int64_t i = 0; i < count; i++)
    acc[i] = isfinite(acc[i]) ? log(sum[i]) + acc[i] : acc[i];
  return ST_OK;
}

static Status sum_i64(Eval *e, const Tensor *kept, int64_t *acc) {
  const Tensor *x = e->in[0];
  bool order = e->op == OP_ReduceMax || e->op == OP_ReduceMin, is_unsigned = dtype_kind(x->dtype) == DK_UINT;
  int64_t v[CHUNK];
  Loop l;
  loop_open(&l, x->rank, x->dim, 1, &kept);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    if (order)
      load_keys(x->dtype, x->data, l.out, 1, l.len, 0, v);
    else
      load_i64(x->dtype, x->data, l.out, 1, l.len, v);
    int64_t *r = acc + l.at[0];
    for (int64_t i = 0; i < l.len; i++)
      r[i * l.step[0]] = combine_i64(e->op, is_unsigned, r[i * l.step[0]], v[i]);
  }
  return ST_OK;
}

static Status reduce_floats(Eval *e, const Tensor *kept, int64_t count, int64_t n, Tensor *y) {
  double *acc = arena_array(e->scratch, double, (size_t)count);
  for (int64_t i = 0; i < count; i++)
    acc[i] = start_f64(e->op);
  TRY(sum_f64(e, kept, acc));
  if (e->op == OP_ReduceLogSumExp)
    TRY(log_sum_exp(e, kept, acc, count));
  for (int64_t i = 0; i < count; i++)
    acc[i] = finish_f64(e->op, acc[i], n);
  store_f64(y->dtype, y->data, 0, 1, count, acc);
  return ST_OK;
}

static Status reduce_ints(Eval *e, const Tensor *kept, int64_t count, int64_t n, Tensor *y) {
  if (e->op == OP_ReduceMean && !n && count)
    return eval_fail(e, "the mean of no integers is not defined");
  int64_t *acc = arena_array(e->scratch, int64_t, (size_t)count);
  for (int64_t i = 0; i < count; i++)
    acc[i] = start_i64(e->op, y->dtype);
  TRY(sum_i64(e, kept, acc));
  for (int64_t i = 0; i < count; i++)
    acc[i] = finish_i64(e->op, y->dtype, acc[i], n);
  store_i64(y->dtype, y->data, 0, 1, count, acc);
  return ST_OK;
}

/* ReduceL1, L2, Mean, Prod, SumSquare (18), Sum (13), LogSum, LogSumExp (28), Max, Min (20). Over no elements: 0, 1 for
 * Prod, the least or greatest value for Max and Min, -inf for the logarithms, NaN for the mean of floats. */
Status reduce_eval(Eval *e) {
  const Tensor *x = e->in[0];
  bool keep = ((const ReduceAttr *)e->attr)->keepdims != 0, reduced[MAX_RANK];
  bool only_float = e->op == OP_ReduceLogSum || e->op == OP_ReduceLogSumExp;
  int64_t dim[MAX_RANK], n = 1;
  int rank = 0;
  TRY(operands(e, 1));
  bool is_float = dtype_is_float(x->dtype),
       is_bool = x->dtype == DT_bool && (e->op == OP_ReduceMax || e->op == OP_ReduceMin);
  if (!is_float && !is_bool && (only_float || !dtype_is_int(x->dtype)))
    return eval_unsupported(e, "not defined for %s", dtype_name(x->dtype));
  TRY(reduced_axes(e, reduced));
  Tensor kept = *x, *y; /* the output as an operand that broadcasts to the input */
  for (int i = 0; i < x->rank; i++) {
    if (reduced[i]) {
      kept.dim[i] = 1;
      n = n && x->dim[i] ? n * x->dim[i] : 0;
    }
    if (keep || !reduced[i])
      dim[rank++] = kept.dim[i];
  }
  TRY(eval_out(e, 0, x->dtype, rank, dim, &y));
  int64_t count = tensor_count(y);
  return is_float ? reduce_floats(e, &kept, count, n, y) : reduce_ints(e, &kept, count, n, y);
}

/* --- ArgMax, ArgMin --- */

/* ArgMax, ArgMin (13): the first (or last) index of the extreme along an axis; NaN counts as the extreme, as in NumPy.
 */
Status argreduce_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const ArgReduceAttr *a = e->attr;
  int64_t dim[MAX_RANK], flip = e->op == OP_ArgMax ? -1 : 0; /* keys are made so that the smallest wins */
  int axis, rank = 0;
  Tensor *y;
  TRY(operands(e, 1));
  if (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype))
    return eval_unsupported(e, "not defined for %s", dtype_name(x->dtype));
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  for (int i = 0; i < x->rank; i++)
    if (i != axis || a->keepdims)
      dim[rank++] = i == axis ? 1 : x->dim[i];
  TRY(eval_out(e, 0, DT_i64, rank, dim, &y));
  if (!x->dim[axis] && tensor_count(y))
    return eval_fail(e, "axis %d has no elements to choose from", axis);
  Axis3 s = axis_split(x, axis);
  int64_t key[CHUNK], best[CHUNK], *out = y->data;
  for (int64_t o = 0; o < s.outer; o++)
    for (int64_t j = 0; j < s.inner; j += CHUNK) {
      int64_t n = s.inner - j < CHUNK ? s.inner - j : CHUNK, *r = out + o * s.inner + j;
      TRY(ctx_poll(e->c));
      for (int64_t k = 0; k < s.n; k++) {
        load_keys(x->dtype, x->data, (o * s.n + k) * s.inner + j, 1, n, flip ? INT64_MAX : INT64_MIN, key);
        for (int64_t i = 0; i < n; i++) {
          key[i] ^= flip;
          if (!k || key[i] < best[i] || (a->select_last_index && key[i] == best[i]))
            best[i] = key[i], r[i] = k;
        }
      }
    }
  return ST_OK;
}

/* --- CumSum, CumProd --- */

typedef struct Walk {
  int64_t n, inner; /* elements along the axis, and their distance */
  bool exclusive, reverse, product;
} Walk;

static void cumulate_f64(const Tensor *x, Tensor *y, int64_t base, const Walk *w) {
  double acc = w->product;
  for (int64_t k = 0; k < w->n; k++) {
    int64_t i = base + (w->reverse ? w->n - 1 - k : k) * w->inner;
    double v = elem_f64(x->dtype, x->data, i), next = w->product ? acc * v : acc + v;
    elem_set_f64(y->dtype, y->data, i, w->exclusive ? acc : next);
    acc = next;
  }
}

static void cumulate_i64(const Tensor *x, Tensor *y, int64_t base, const Walk *w) {
  uint64_t acc = w->product;
  for (int64_t k = 0; k < w->n; k++) {
    int64_t i = base + (w->reverse ? w->n - 1 - k : k) * w->inner;
    uint64_t v = (uint64_t)elem_i64(x->dtype, x->data, i), next = w->product ? acc * v : acc + v;
    elem_set_i64(y->dtype, y->data, i, (int64_t)(w->exclusive ? acc : next));
    acc = next;
  }
}

/* CumSum (14), CumProd (26): the axis is input 1, one integer. */
Status cumulate_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const CumulateAttr *a = e->attr;
  const int64_t *v;
  int64_t n;
  int axis;
  Tensor *y;
  TRY(operands(e, 2));
  bool is_float = dtype_is_float(x->dtype);
  if (!is_float && !dtype_is_int(x->dtype))
    return eval_unsupported(e, "not defined for %s", dtype_name(x->dtype));
  TRY(eval_ints(e, 1, &v, &n));
  if (n != 1)
    return eval_fail(e, "the axis must be one number");
  TRY(eval_axis(e, *v, x->rank, false, &axis));
  TRY(eval_out_like(e, 0, x, &y));
  Axis3 s = axis_split(x, axis);
  Walk w = {s.n, s.inner, a->exclusive != 0, a->reverse != 0, e->op == OP_CumProd};
  for (int64_t o = 0; o < s.outer; o++) {
    TRY(ctx_poll(e->c));
    for (int64_t j = 0; j < s.inner; j++)
      (is_float ? cumulate_f64 : cumulate_i64)(x, y, o * s.n * s.inner + j, &w);
  }
  return ST_OK;
}
