/* linear.c - LinearRegressor, LinearClassifier (ai.onnx.ml 1).
 *
 * A classifier with one row of coefficients and two labels has the score of the second; that of the first is its negative,
 * as in onnx.reference. Labels follow from the scores before the transform.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"
#include "ops/eval/ml.h"

typedef struct Linear {
  Rows x;
  int64_t n; /* scores per row */
  Floats coefficient, intercept;
} Linear;

static Status open_linear(Eval *e, Linear *l, Floats coefficient, Floats intercept, int64_t n) {
  TRY(operands(e, 1));
  TRY(ml_rows(e, 0, &l->x));
  l->coefficient = coefficient, l->intercept = intercept;
  l->n = n ? n : l->x.width ? coefficient.n / l->x.width : 0;
  if (l->n < 1 || coefficient.n % l->n || coefficient.n / l->n != l->x.width)
    return eval_fail(e, "%lld coefficients for %lld features", (long long)coefficient.n, (long long)l->x.width);
  if (intercept.n && intercept.n != l->n)
    return eval_fail(e, "%lld intercepts for %lld scores", (long long)intercept.n, (long long)l->n);
  return ST_OK;
}

static void scores(const Linear *l, int64_t row, double *x, double *score) {
  ml_row(&l->x, row, x);
  for (int64_t k = 0; k < l->n; k++) {
    double s = 0;
    for (int64_t i = 0; i < l->x.width; i++)
      s += x[i] * (double)l->coefficient.v[k * l->x.width + i];
    score[k] = s + (l->intercept.n ? (double)l->intercept.v[k] : 0);
  }
}

Status linear_regressor_eval(Eval *e) {
  const LinearRegressorAttr *a = e->attr;
  PostTransform post;
  Linear l;
  Tensor *y;
  if (a->targets < 1)
    return eval_fail(e, "%lld targets", (long long)a->targets);
  TRY(ml_post(e, a->post_transform, &post));
  TRY(open_linear(e, &l, a->coefficients, a->intercepts, a->targets));
  int64_t dim[2] = {l.x.n, l.n};
  TRY(eval_out(e, 0, DT_f32, 2, dim, &y));
  double *x = arena_array(e->scratch, double, (size_t)l.x.width), *s = arena_array(e->scratch, double, (size_t)l.n);
  for (int64_t r = 0; r < l.x.n; r++) {
    TRY(ctx_poll(e->c));
    scores(&l, r, x, s);
    ml_transform(post, s, l.n);
    for (int64_t k = 0; k < l.n; k++)
      ((float *)y->data)[r * l.n + k] = (float)s[k];
  }
  return ST_OK;
}

static int64_t largest(const double *v, int64_t n) {
  int64_t at = 0;
  for (int64_t i = 1; i < n; i++)
    at = v[i] > v[at] ? i : at;
  return at;
}

Status linear_classifier_eval(Eval *e) {
  const LinearClassifierAttr *a = e->attr;
  Labels labels = {a->classlabels_ints, a->classlabels_strings};
  PostTransform post;
  Linear l;
  Tensor *y, *z;
  TRY(ml_post(e, a->post_transform, &post));
  TRY(open_linear(e, &l, a->coefficients, a->intercepts, 0));
  bool pair = l.n == 1;
  int64_t n = pair ? 2 : l.n, dim[2] = {l.x.n, n};
  if (ml_label_count(&labels) && ml_label_count(&labels) != n)
    return eval_fail(e, "%lld class labels for %lld classes", (long long)ml_label_count(&labels), (long long)n);
  TRY(ml_label_output(e, &labels, l.x.n, &y));
  TRY(eval_out(e, 1, DT_f32, 2, dim, &z));
  double *x = arena_array(e->scratch, double, (size_t)l.x.width), *s = arena_array(e->scratch, double, (size_t)n);
  for (int64_t r = 0; r < l.x.n; r++) {
    TRY(ctx_poll(e->c));
    scores(&l, r, x, s);
    if (pair)
      s[1] = s[0], s[0] = -s[0];
    TRY(ml_put_label(e, &labels, y, r, largest(s, n)));
    ml_transform(post, s, n);
    for (int64_t k = 0; k < n; k++)
      ((float *)z->data)[r * n + k] = (float)s[k];
  }
  return ST_OK;
}
