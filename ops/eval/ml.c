/* ml.c - what the evaluators of ai.onnx.ml share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/ml.h"

#include <math.h>

Status ml_rows(Eval *e, int i, Rows *r) {
  const Tensor *t = e->in[i];
  if (t->rank != 1 && t->rank != 2)
    return eval_fail(e, "input %d must be of shape [N, F] or [F]", i);
  *r = (Rows){t, t->rank == 2 ? t->dim[0] : 1, t->dim[t->rank - 1]};
  return ST_OK;
}

void ml_row(const Rows *r, int64_t k, double *v) {
  DType t = r->t->dtype;
  for (int64_t i = 0; i < r->width; i++)
    v[i] = dtype_is_float(t) ? elem_f64(t, r->t->data, k * r->width + i)
                             : (double)(float)elem_i64(t, r->t->data, k * r->width + i);
}

/* --- scores --- */

bool ml_post_by_name(Str name, PostTransform *p) {
  static const char *const names[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
  *p = POST_NONE;
  if (!name.len)
    return true;
  for (int i = 0; i < POST_COUNT; i++)
    if (str_is(name, names[i])) {
      *p = (PostTransform)i;
      return true;
    }
  return false;
}

Status ml_post(Eval *e, Str name, PostTransform *p) {
  return ml_post_by_name(name, p) ? ST_OK : eval_fail(e, "there is no post_transform of this name");
}

static double logistic(double v) { return 1 / (1 + exp(-v)); }

/* The quantile of the normal distribution, by Winitzki's approximation of the inverse error function (a = 0.147), which
 * ONNX's implementations use. */
static double probit(double p) {
  const double a = 0.147, pi = 3.14159265358979323846;
  double x = 2 * p - 1, l = log((1 - x) * (1 + x)), b = 2 / (pi * a) + 0.5 * l;
  double v = sqrt(sqrt(b * b - l / a) - b);
  return (x < 0 ? -v : v) * 1.41421356;
}

/* Scores of zero stay zero: "no vote for this class". */
static void softmax(double *v, int64_t n, bool keep_zero) {
  double top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++)
    top = v[i] > top ? v[i] : top;
  for (int64_t i = 0; i < n; i++)
    sum += v[i] = keep_zero && fabs(v[i]) <= 1e-7 ? v[i] * exp(-top) : exp(v[i] - top);
  for (int64_t i = 0; i < n; i++)
    v[i] = keep_zero && sum == 0 ? 0.5 : v[i] / sum;
}

void ml_transform(PostTransform p, double *v, int64_t n) {
  if (p == POST_SOFTMAX || p == POST_SOFTMAX_ZERO) {
    softmax(v, n, p == POST_SOFTMAX_ZERO);
    return;
  }
  for (int64_t i = 0; i < n; i++)
    v[i] = p == POST_LOGISTIC ? logistic(v[i]) : p == POST_PROBIT ? probit(v[i]) : v[i];
}

/* --- labels --- */

int64_t ml_label_count(const Labels *l) { return l->strs.n ? l->strs.n : l->ints.n; }

Status ml_label_output(Eval *e, const Labels *l, int64_t n, Tensor **y) {
  if (l->strs.n && l->ints.n)
    return eval_fail(e, "class labels are given as integers and as strings");
  return eval_out(e, 0, l->strs.n ? DT_str : DT_i64, 1, &n, y);
}

Status ml_put_label(Eval *e, const Labels *l, Tensor *y, int64_t i, int64_t label) {
  int64_t n = ml_label_count(l);
  if (n && label >= n)
    return eval_fail(e, "class %lld has no label: there are %lld", (long long)label, (long long)n);
  if (l->strs.n) {
    Str s = l->strs.v[label];
    ((Str *)y->data)[i] = (Str){arena_copy(e->keep, s.ptr ? s.ptr : "", s.len), s.len};
  } else {
    ((int64_t *)y->data)[i] = n ? l->ints.v[label] : label;
  }
  return ST_OK;
}
