/* ml.c - inference of the operators of ai.onnx.ml.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/forest.h"
#include "ops/eval/labels.h"

#include "ops/content.h"
#include "ops/ops.h"

/* The number of rows of input 0, which is [N, F] or [F]; NULL: not known. */
static Status rows_of(Infer *x, Dim *n) {
  int rank;
  *n = NULL;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank != 1 && rank != 2)
    return infer_fail(x, "the input must be of shape [N, F] or [F]");
  *n = rank == 2 ? in_dim(x, 0, 0) : dim_const(x->c, 1);
  return ST_OK;
}

/* Output i is a matrix with as many rows as the input. */
static Status matrix(Infer *x, int i, DType t, int64_t width) {
  Dim n;
  TRY(rows_of(x, &n));
  if (!n || width < 0)
    return ST_OK;
  set_out(x, i, t, 2, (Dim[]){n, dim_const(x->c, width)});
  return ST_OK;
}

/* The dtype of an output stands even where its shape is not known. */
static void only_dtype(Infer *x, int i, DType t) { set_out_type(x, i, type_tensor(t, -1, NULL)); }

static Status labels(Infer *x, Ints ints, Strs strs) {
  Dim n;
  TRY(rows_of(x, &n));
  only_dtype(x, 0, strs.n ? DT_str : DT_i64);
  if (n)
    set_out(x, 0, strs.n ? DT_str : DT_i64, 1, &n);
  return ints.n && strs.n ? infer_fail(x, "class labels are given as integers and as strings") : ST_OK;
}

Status array_feature_extractor_infer(Infer *x) {
  int rank, index;
  Dim dim[MAX_RANK];
  if (!in_rank(x, 0, &rank) || !in_rank(x, 1, &index))
    return ST_OK;
  if (!rank)
    return infer_fail(x, "the input must have an axis");
  for (int i = 0; i < rank; i++)
    dim[i] = in_dim(x, 0, i);
  if (rank == 1)
    dim[0] = dim_const(x->c, 1), rank = 2;
  dim[rank - 1] = type_count(x->c, in_type(x, 1));
  set_out(x, 0, DT_none, rank, dim);
  return ST_OK;
}

Status feature_vectorizer_infer(Infer *x) {
  const FeatureVectorizerAttr *a = ATTR(x->n, FeatureVectorizer);
  int64_t width = 0;
  if (a->inputdimensions.n != x->n->nin)
    return infer_fail(x, "inputdimensions has %lld entries for %d inputs", (long long)a->inputdimensions.n, x->n->nin);
  for (int64_t i = 0; i < a->inputdimensions.n; i++) {
    if (a->inputdimensions.v[i] < 0 || a->inputdimensions.v[i] > INT32_MAX)
      return infer_fail(x, "inputdimensions[%lld] is %lld", (long long)i, (long long)a->inputdimensions.v[i]);
    width += a->inputdimensions.v[i];
  }
  return matrix(x, 0, DT_f32, width);
}

Status one_hot_encoder_infer(Infer *x) {
  const OneHotEncoderAttr *a = ATTR(x->n, OneHotEncoder);
  DType t = in_dtype(x, 0);
  int rank;
  Dim dim[MAX_RANK + 1];
  if (!in_rank(x, 0, &rank) || !t)
    return ST_OK;
  TRY(check_rank(x, rank + 1));
  for (int i = 0; i < rank; i++)
    dim[i] = in_dim(x, 0, i);
  dim[rank] = dim_const(x->c, t == DT_str ? a->cats_strings.n : a->cats_int64s.n);
  set_out(x, 0, DT_f32, rank + 1, dim);
  return ST_OK;
}

static Status like_input(Infer *x, DType t) {
  int rank;
  only_dtype(x, 0, t);
  if (in_rank(x, 0, &rank))
    set_out(x, 0, t, rank, in_type(x, 0)->dim);
  return ST_OK;
}

Status label_encoder_infer(Infer *x) {
  LabelTable t;
  const char *wrong = label_table(x->arena, ATTR(x->n, LabelEncoder), &t);
  return wrong ? infer_fail(x, "%s", wrong) : like_input(x, t.values->dtype);
}

Status category_mapper_infer(Infer *x) {
  DType t = in_dtype(x, 0);
  return t ? like_input(x, t == DT_str ? DT_i64 : DT_str) : ST_OK;
}

Status linear_regressor_infer(Infer *x) { return matrix(x, 0, DT_f32, ATTR(x->n, LinearRegressor)->targets); }

Status linear_classifier_infer(Infer *x) {
  const LinearClassifierAttr *a = ATTR(x->n, LinearClassifier);
  int64_t width, n;
  int rank;
  TRY(labels(x, a->classlabels_ints, a->classlabels_strings));
  only_dtype(x, 1, DT_f32);
  if (!in_rank(x, 0, &rank) || !dim_is_const(in_dim(x, 0, rank - 1), &width) || !width)
    return ST_OK;
  n = a->coefficients.n / width;
  return matrix(x, 1, DT_f32, n == 1 ? 2 : n);
}

Status svm_regressor_infer(Infer *x) { return matrix(x, 0, DT_f32, 1); }

Status svm_classifier_infer(Infer *x) {
  const SVMClassifierAttr *a = ATTR(x->n, SVMClassifier);
  int64_t n = a->classlabels_strings.n ? a->classlabels_strings.n : a->classlabels_ints.n;
  n = n ? n : a->vectors_per_class.n ? a->vectors_per_class.n : 1;
  bool pairs = a->vectors_per_class.n && !a->prob_a.n && n != 2;
  TRY(labels(x, a->classlabels_ints, a->classlabels_strings));
  return matrix(x, 1, DT_f32, n > INT32_MAX ? -1 : pairs ? n * (n - 1) / 2 : n);
}

/* The trees are looked at when they run, or are made into a kernel: here only the number of targets matters. */
Status tree_ensemble_infer(Infer *x) {
  const TreeEnsembleAttr *a = ATTR(x->n, TreeEnsemble);
  int64_t n = a->n_targets == ABSENT ? 0 : a->n_targets;
  for (int64_t i = 0; a->n_targets == ABSENT && i < a->leaf_targetids.n; i++)
    if (a->leaf_targetids.v[i] >= n && a->leaf_targetids.v[i] < INT32_MAX)
      n = a->leaf_targetids.v[i] + 1;
  return matrix(x, 0, DT_none, n);
}

Status tree_regressor_infer(Infer *x) {
  int64_t n = ATTR(x->n, TreeEnsembleRegressor)->n_targets;
  return matrix(x, 0, DT_f32, n == ABSENT ? 1 : n);
}

Status tree_classifier_infer(Infer *x) {
  const TreeEnsembleClassifierAttr *a = ATTR(x->n, TreeEnsembleClassifier);
  TRY(labels(x, a->classlabels_int64s, a->classlabels_strings));
  return matrix(x, 1, DT_f32, a->classlabels_strings.n ? a->classlabels_strings.n : a->classlabels_int64s.n);
}

/* --- maps --- */

/* Input 0 as a map; NULL: not known. */
static Status map_of(Infer *x, const Type **t) {
  const Type *in = in_type(x, 0);
  *t = in->kind == VK_MAP ? in : NULL;
  if (*t || (in->kind == VK_TENSOR && !in->dtype && in->rank < 0))
    return ST_OK;
  return infer_fail(x, "the input must be a map");
}

Status cast_map_infer(Infer *x) {
  const CastMapAttr *a = ATTR(x->n, CastMap);
  const Type *t;
  TRY(map_of(x, &t));
  DType to = str_is(a->cast_to, "TO_STRING") ? DT_str : str_is(a->cast_to, "TO_INT64") ? DT_i64 : DT_f32;
  Dim n = str_is(a->map_form, "SPARSE") ? dim_const(x->c, a->max_map) : run_dim(x, 0, 2, 1, "keys");
  set_out(x, 0, to, 2, (Dim[]){dim_const(x->c, 1), n});
  return ST_OK;
}

Status dict_vectorizer_infer(Infer *x) {
  const DictVectorizerAttr *a = ATTR(x->n, DictVectorizer);
  const Type *t;
  TRY(map_of(x, &t));
  if (!t || !t->elem || t->elem->kind != VK_TENSOR)
    return ST_OK;
  int64_t n = t->dtype == DT_str ? a->string_vocabulary.n : a->int64_vocabulary.n;
  set_out(x, 0, t->elem->dtype, 2, (Dim[]){dim_const(x->c, 1), dim_const(x->c, n)});
  return ST_OK;
}

Status zip_map_infer(Infer *x) {
  const ZipMapAttr *a = ATTR(x->n, ZipMap);
  Type *map = arena_new(x->arena, Type), *value = arena_new(x->arena, Type);
  *value = type_tensor(in_dtype(x, 0), 0, NULL);
  *map = (Type){.kind = VK_MAP, .dtype = a->classlabels_strings.n ? DT_str : DT_i64, .rank = -1, .elem = value};
  set_out_type(x, 0, (Type){.kind = VK_SEQUENCE, .rank = -1, .elem = map});
  return ST_OK;
}
