/* softmax.c - Softmax, LogSoftmax, Hardmax (13) along one axis, in double, rounded once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <math.h>

static double largest(const double *v, int64_t n) { /* NaN if there is one */
  double m = v[0];
  for (int64_t i = 1; i < n && !isnan(m); i++)
    m = isnan(v[i]) || v[i] > m ? v[i] : m;
  return m;
}

/* exp(x - max) / sum. A row of -inf gives NaN (-inf - -inf), as IEEE arithmetic has it. */
static void softmax(double *v, int64_t n) {
  double m = largest(v, n), sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += v[i] = exp(v[i] - m);
  for (int64_t i = 0; i < n; i++)
    v[i] /= sum;
}

static void log_softmax(double *v, int64_t n) {
  double m = largest(v, n), sum = 0;
  for (int64_t i = 0; i < n; i++)
    sum += exp(v[i] - m);
  double l = log(sum);
  for (int64_t i = 0; i < n; i++)
    v[i] = v[i] - m - l;
}

static void hardmax(double *v, int64_t n) { /* NaN counts as the largest, as in NumPy's argmax */
  double m = largest(v, n);
  bool found = false;
  for (int64_t i = 0; i < n; i++) {
    bool hit = !found && (v[i] == m || (isnan(m) && isnan(v[i])));
    v[i] = hit;
    found |= hit;
  }
}

Status softmax_eval(Eval *e) {
  const Tensor *x = e->in[0];
  void (*row)(double *v, int64_t n) = e->op == OP_Softmax ? softmax : e->op == OP_LogSoftmax ? log_softmax : hardmax;
  int axis;
  Tensor *y;
  TRY(operands(e, 1));
  if (!dtype_is_float(x->dtype))
    return eval_unsupported(e, "not defined for %s", dtype_name(x->dtype));
  TRY(eval_axis(e, ((const SoftmaxAttr *)e->attr)->axis, x->rank, false, &axis));
  TRY(eval_out_like(e, 0, x, &y));
  Axis3 s = axis_split(x, axis);
  if (!s.outer)
    return ST_OK;
  double *v = arena_array(e->scratch, double, (size_t)s.n);
  for (int64_t r = 0; r < s.outer * s.inner; r++) {
    int64_t at = r / s.inner * s.n * s.inner + r % s.inner;
    TRY(ctx_poll(e->c));
    load_f64(x->dtype, x->data, at, s.inner, s.n, v);
    row(v, s.n);
    store_f64(y->dtype, y->data, at, s.inner, s.n, v);
  }
  return ST_OK;
}
