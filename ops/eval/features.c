/* features.c - preparing features: ArrayFeatureExtractor, Binarizer, FeatureVectorizer, Imputer, Normalizer, OneHotEncoder,
 * Scaler (ai.onnx.ml 1).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"
#include "ops/eval/ml.h"
#include "ops/eval/move.h"

#include <math.h>
#include <string.h>

/* Columns by index; a vector gives a matrix of one row. */
Status array_feature_extractor_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const int64_t *raw;
  int64_t n, k, dim[MAX_RANK];
  Tensor *y;
  TRY(operands(e, 2));
  if (!x->rank)
    return eval_fail(e, "the input must have an axis");
  TRY(eval_ints(e, 1, &raw, &n));
  memcpy(dim, x->dim, sizeof dim);
  int rank = x->rank == 1 ? 2 : x->rank, last = x->rank - 1;
  int64_t width = x->dim[last], rows = move_count(x, 0, last);
  if (x->rank == 1)
    dim[0] = 1;
  dim[rank - 1] = n;
  TRY(move_out(e, 0, x->dtype, rank, dim, &y));
  for (int64_t i = 0; i < n; i++) {
    TRY(move_index(e, raw[i], last, width, &k));
    for (int64_t r = 0; r < rows; r++)
      move_run(x->dtype, y->data, r * n + i, x->data, r * width + k, 1);
  }
  return move_done(e, y);
}

Status binarizer_eval(Eval *e) {
  const BinarizerAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Tensor *y;
  TRY(operands(e, 1));
  TRY(eval_out_like(e, 0, x, &y));
  for (int64_t i = 0, n = tensor_count(x); i < n; i++)
    elem_set_i64(x->dtype, y->data, i, elem_f64(x->dtype, x->data, i) > (double)a->threshold);
  return ST_OK;
}

/* Element of a list that is as long as the features, or stands for all of them. */
static double of_feature(Floats f, int64_t i, double absent) { return !f.n ? absent : f.v[f.n == 1 ? 0 : i]; }

static Status check_list(Eval *e, const char *name, int64_t n) {
  const Tensor *x = e->in[0];
  if (n > 1 && (!x->rank || x->dim[x->rank - 1] != n))
    return eval_fail(e, "%s has %lld entries: neither one nor one for each feature", name, (long long)n);
  return ST_OK;
}

Status scaler_eval(Eval *e) {
  const ScalerAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Tensor *y;
  TRY(operands(e, 1));
  TRY(check_list(e, "offset", a->offset.n));
  TRY(check_list(e, "scale", a->scale.n));
  TRY(eval_out(e, 0, DT_f32, x->rank, x->dim, &y));
  int64_t width = x->rank ? x->dim[x->rank - 1] : 1;
  for (int64_t i = 0, n = tensor_count(x); i < n; i++)
    ((float *)y->data)[i] = (float)((elem_f64(x->dtype, x->data, i) - of_feature(a->offset, i % width, 0)) *
                                    of_feature(a->scale, i % width, 1));
  return ST_OK;
}

Status imputer_eval(Eval *e) {
  const ImputerAttr *a = e->attr;
  const Tensor *x = e->in[0];
  bool is_float = dtype_is_float(x->dtype);
  int64_t n = is_float ? a->imputed_value_floats.n : a->imputed_value_int64s.n;
  Tensor *y;
  TRY(operands(e, 1));
  if (!n)
    return eval_fail(e, "attribute 'imputed_value_%s' is missing", is_float ? "floats" : "int64s");
  TRY(check_list(e, "the list of values", n));
  TRY(eval_out_like(e, 0, x, &y));
  int64_t width = x->rank ? x->dim[x->rank - 1] : 1;
  for (int64_t i = 0, count = tensor_count(x); i < count; i++) {
    int64_t k = n == 1 ? 0 : i % width;
    if (!is_float) {
      int64_t v = elem_i64(x->dtype, x->data, i);
      elem_set_i64(x->dtype, y->data, i, v == a->replaced_value_int64 ? a->imputed_value_int64s.v[k] : v);
      continue;
    }
    double v = elem_f64(x->dtype, x->data, i), old = (double)a->replaced_value_float;
    elem_set_f64(x->dtype, y->data, i, v == old || (isnan(v) && isnan(old)) ? (double)a->imputed_value_floats.v[k] : v);
  }
  return ST_OK;
}

/* A row of zeros stays as it is. */
Status normalizer_eval(Eval *e) {
  const NormalizerAttr *a = e->attr;
  const Tensor *x = e->in[0];
  bool max = str_is(a->norm, "MAX"), l1 = str_is(a->norm, "L1");
  Rows r;
  Tensor *y;
  TRY(operands(e, 1));
  if (!max && !l1 && !str_is(a->norm, "L2"))
    return eval_fail(e, "norm must be \"MAX\", \"L1\" or \"L2\"");
  TRY(ml_rows(e, 0, &r));
  TRY(eval_out(e, 0, DT_f32, x->rank, x->dim, &y));
  double *v = arena_array(e->scratch, double, (size_t)r.width);
  for (int64_t k = 0; k < r.n; k++) {
    double norm = 0;
    ml_row(&r, k, v);
    for (int64_t i = 0; i < r.width; i++)
      norm = max ? fmax(norm, fabs(v[i])) : norm + (l1 ? fabs(v[i]) : v[i] * v[i]);
    norm = max || l1 ? norm : sqrt(norm);
    for (int64_t i = 0; i < r.width; i++)
      ((float *)y->data)[k * r.width + i] = (float)(norm == 0 ? v[i] : v[i] / norm);
  }
  return ST_OK;
}

/* The inputs side by side; each is cut or filled with zeros to its entry of inputdimensions. */
Status feature_vectorizer_eval(Eval *e) {
  const FeatureVectorizerAttr *a = e->attr;
  int64_t dim[2] = {0, 0}, at = 0;
  Rows r;
  Tensor *y;
  TRY(operands(e, e->nin));
  if (a->inputdimensions.n != e->nin)
    return eval_fail(e, "inputdimensions has %lld entries for %d inputs", (long long)a->inputdimensions.n, e->nin);
  for (int i = 0; i < e->nin; i++) {
    int64_t w = a->inputdimensions.v[i];
    TRY(ml_rows(e, i, &r));
    if (w < 0 || w > INT32_MAX || (i && r.n != dim[0]))
      return eval_fail(e, "input %d: %lld rows of %lld features", i, (long long)r.n, (long long)w);
    dim[0] = r.n, dim[1] += w;
  }
  TRY(eval_out(e, 0, DT_f32, 2, dim, &y));
  memset(y->data, 0, tensor_bytes(y));
  for (int i = 0; i < e->nin; at += a->inputdimensions.v[i++]) {
    TRY(ml_rows(e, i, &r));
    for (int64_t k = 0; k < r.n; k++)
      for (int64_t c = 0; c < r.width && c < a->inputdimensions.v[i]; c++)
        ((float *)y->data)[k * dim[1] + at + c] = (float)elem_f64(r.t->dtype, r.t->data, k * r.width + c);
  }
  return ST_OK;
}

/* The position of element i among the categories, or -1. Numbers are cast to integers. The last of equals counts. */
static int64_t category(const OneHotEncoderAttr *a, const Tensor *x, int64_t i) {
  if (x->dtype == DT_str) {
    for (int64_t k = a->cats_strings.n; k-- > 0;)
      if (str_eq(a->cats_strings.v[k], ((const Str *)x->data)[i]))
        return k;
    return -1;
  }
  int64_t v = dtype_is_float(x->dtype) ? 0 : elem_i64(x->dtype, x->data, i);
  if (dtype_is_float(x->dtype)) {
    double d = elem_f64(x->dtype, x->data, i);
    if (!(fabs(d) < 0x1p63))
      return -1;
    v = (int64_t)d;
  }
  for (int64_t k = a->cats_int64s.n; k-- > 0;)
    if (a->cats_int64s.v[k] == v)
      return k;
  return -1;
}

Status one_hot_encoder_eval(Eval *e) {
  const OneHotEncoderAttr *a = e->attr;
  const Tensor *x = e->in[0];
  int64_t n = x->dtype == DT_str ? a->cats_strings.n : a->cats_int64s.n, dim[MAX_RANK + 1];
  Tensor *y;
  TRY(operands(e, 1));
  if (!n)
    return eval_fail(e, "no categories are given for %s", x->dtype == DT_str ? "strings" : "numbers");
  TRY(move_rank(e, x->rank + 1));
  memcpy(dim, x->dim, sizeof x->dim);
  dim[x->rank] = n;
  TRY(eval_out(e, 0, DT_f32, x->rank + 1, dim, &y));
  memset(y->data, 0, tensor_bytes(y));
  for (int64_t i = 0, count = tensor_count(x); i < count; i++) {
    int64_t k = category(a, x, i);
    if (k < 0 && !a->zeros)
      return eval_fail(e, "element %lld is none of the categories", (long long)i);
    if (k >= 0)
      ((float *)y->data)[i * n + k] = 1;
    if (i % 4096 == 0)
      TRY(ctx_poll(e->c));
  }
  return ST_OK;
}
