/* ml.c - numeric operators of ai.onnx.ml in terms of those of ai.onnx, which are compiled; trees to a kernel of their own.
 *
 * Arithmetic is f32, or f64 where the input is. What needs strings, maps or a loop until convergence stays as it is, and so does
 * a node whose attributes do not fit together: its evaluator says what is wrong. Needs: types inferred.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/ml.h"

#include "ops/eval/labels.h"
#include "ops/eval/svm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- building blocks --- */

DType ml_work(const Value *x) { return x->type.dtype == DT_f64 ? DT_f64 : DT_f32; }

Value *ml_cast(Match *m, Value *x, DType t) {
  CastAttr to = {.round_mode = str_of("up"), .saturate = 1, .to = t};
  return x->type.dtype == t ? x : EMIT(m, Cast, &to, x);
}

Value *ml_const(Match *m, const Tensor *t) { return graph_add_const(m->g, NULL, t); }

/* A tensor of rank 0 to 2 to fill in; NULL: too large. */
Tensor *ml_tensor(Match *m, DType t, int rank, int64_t a, int64_t b) {
  int64_t dim[2] = {a, b};
  Tensor *x;
  return tensor_new(m->c, m->g->arena, t, rank, dim, &x) ? NULL : x;
}

static Value *row(Match *m, DType t, Floats f) {
  Tensor *x = ml_tensor(m, t, 1, f.n, 0);
  for (int64_t i = 0; i < f.n; i++)
    elem_set_f64(t, x->data, i, (double)f.v[i]);
  return ml_const(m, x);
}

Value *ml_matrix(Match *m, Value *x) {
  Value *w = ml_cast(m, x, ml_work(x));
  return x->type.rank == 2 ? w : EMIT(m, Unsqueeze, NULL, w, const_ints(m, (int64_t[]){0}, 1));
}

/* An input whose features are as many as is known before the run: their number; 0: not so. */
static int64_t features(const Value *x) {
  int64_t n = 0;
  bool ok = type_known(x) && (x->type.rank == 1 || x->type.rank == 2) && dtype_kind(x->type.dtype) != DK_STRING &&
            dim_is_const(x->type.dim[x->type.rank - 1], &n);
  return ok ? n : 0;
}

static Value *exp_shifted(Match *m, Value *v, DType t, Value **top) {
  ReduceAttr keep = {.keepdims = 1};
  (void)t;
  *top = EMIT(m, ReduceMax, &keep, v, const_ints(m, (int64_t[]){-1}, 1));
  return EMIT(m, Exp, NULL, EMIT(m, Sub, NULL, v, *top));
}

/* Scores of zero stay zero; see ops/eval/ml.c. */
static Value *softmax_zero(Match *m, Value *v) {
  DType t = v->type.dtype;
  ReduceAttr keep = {.keepdims = 1};
  Value *top, *e = exp_shifted(m, v, t, &top),
              *small = EMIT(m, LessOrEqual, NULL, EMIT(m, Abs, NULL, v), const_like(m, 1e-7, t));
  Value *zero = EMIT(m, Mul, NULL, v, EMIT(m, Exp, NULL, EMIT(m, Neg, NULL, top)));
  e = EMIT(m, Where, NULL, small, zero, e);
  Value *sum = EMIT(m, ReduceSum, &keep, e, const_ints(m, (int64_t[]){-1}, 1));
  Value *none = EMIT(m, Equal, NULL, sum, const_like(m, 0, t));
  return EMIT(m, Where, NULL, none, const_like(m, 0.5, t), EMIT(m, Div, NULL, e, sum));
}

/* Winitzki's inverse of the error function, as in ops/eval/ml.c. */
static Value *probit(Match *m, Value *p) {
  const double a = 0.147, pi = 3.14159265358979323846;
  DType t = p->type.dtype;
  Value *one = const_like(m, 1, t);
  Value *x = EMIT(m, Sub, NULL, EMIT(m, Mul, NULL, p, const_like(m, 2, t)), one);
  Value *l = EMIT(m, Log, NULL, EMIT(m, Mul, NULL, EMIT(m, Sub, NULL, one, x), EMIT(m, Add, NULL, x, one)));
  Value *b = EMIT(m, Add, NULL, EMIT(m, Mul, NULL, l, const_like(m, 0.5, t)), const_like(m, 2 / (pi * a), t));
  Value *d = EMIT(m, Sub, NULL, EMIT(m, Mul, NULL, b, b), EMIT(m, Mul, NULL, l, const_like(m, 1 / a, t)));
  Value *v = EMIT(m, Sqrt, NULL, EMIT(m, Sub, NULL, EMIT(m, Sqrt, NULL, d), b));
  v = EMIT(m, Mul, NULL, v, const_like(m, 1.41421356, t));
  return EMIT(m, Where, NULL, EMIT(m, Less, NULL, x, const_like(m, 0, t)), EMIT(m, Neg, NULL, v), v);
}

Value *ml_transformed(Match *m, Value *v, PostTransform p) {
  SoftmaxAttr last = {.axis = -1};
  switch (p) {
  case POST_LOGISTIC: return EMIT(m, Sigmoid, NULL, v);
  case POST_SOFTMAX: return EMIT(m, Softmax, &last, v);
  case POST_SOFTMAX_ZERO: return softmax_zero(m, v);
  case POST_PROBIT: return probit(m, v);
  default: return v;
  }
}

/* Labels of class numbers i64[N]. */
Value *ml_labels(Match *m, Value *at, Ints ints, Strs strs) {
  GatherAttr first = {.axis = 0};
  int64_t n = strs.n ? strs.n : ints.n;
  if (!n)
    return at;
  Tensor *t = ml_tensor(m, strs.n ? DT_str : DT_i64, 1, n, 0);
  memcpy(t->data, strs.n ? (const void *)strs.v : ints.v, tensor_bytes(t));
  return EMIT(m, Gather, &first, ml_const(m, t), at);
}

/* The classifier's second output goes to z; its first is what the rule returns. */
Value *ml_outputs(Match *m, Value *label, Value *z) {
  if (!m->st && m->root->out[1])
    replace_value(m->root->out[1], ml_cast(m, z, DT_f32));
  return label;
}

Value *ml_best(Match *m, Value *scores) {
  ArgReduceAttr first = {.axis = 1, .keepdims = 0};
  return EMIT(m, ArgMax, &first, scores);
}

/* The scores of one class as those of two: -s, s, or 1 - s, s. */
Value *ml_pair(Match *m, Value *s, bool rest) {
  ConcatAttr side = {.axis = 1};
  Value *other = rest ? EMIT(m, Sub, NULL, const_like(m, 1, s->type.dtype), s) : EMIT(m, Neg, NULL, s);
  return EMIT(m, Concat, &side, other, s);
}

/* --- features --- */

static Value *extractor(Match *m) {
  Value *x = m->root->in[0], *at = m->root->in[1];
  GatherAttr last = {.axis = -1};
  if (!type_known(x) || !type_known(at))
    return NULL;
  if (at->type.rank != 1)
    at = EMIT(m, Reshape, NULL, at, const_ints(m, (int64_t[]){-1}, 1));
  Value *y = EMIT(m, Gather, &last, x, at);
  return x->type.rank == 1 ? EMIT(m, Unsqueeze, NULL, y, const_ints(m, (int64_t[]){0}, 1)) : y;
}

/* Integers are compared as f64, as the evaluator does. */
static Value *binarizer(Match *m) {
  Value *x = m->root->in[0];
  if (!type_known(x))
    return NULL;
  DType t = x->type.dtype, w = t == DT_f32 ? t : DT_f64;
  Value *above =
      EMIT(m, Greater, NULL, ml_cast(m, x, w), const_like(m, (double)ATTR(m->root, Binarizer)->threshold, w));
  return ml_cast(m, above, t);
}

static bool list_fits(int64_t n, int64_t width) { return n <= 1 || n == width; }

static Value *scaler(Match *m) {
  const ScalerAttr *a = ATTR(m->root, Scaler);
  Value *x = m->root->in[0], *y;
  int64_t n = features(x);
  if (!n || !list_fits(a->offset.n, n) || !list_fits(a->scale.n, n))
    return NULL;
  y = ml_cast(m, x, ml_work(x));
  if (a->offset.n)
    y = EMIT(m, Sub, NULL, y, row(m, y->type.dtype, a->offset));
  if (a->scale.n)
    y = EMIT(m, Mul, NULL, y, row(m, y->type.dtype, a->scale));
  return y == x ? EMIT(m, Identity, NULL, x) : ml_cast(m, y, DT_f32);
}

static Value *imputer(Match *m) {
  const ImputerAttr *a = ATTR(m->root, Imputer);
  Value *x = m->root->in[0], *old, *with;
  DType t = x->type.dtype;
  int64_t n = features(x), k = dtype_is_float(t) ? a->imputed_value_floats.n : a->imputed_value_int64s.n;
  if (!n || !k || !list_fits(k, n))
    return NULL;
  if (dtype_is_float(t)) {
    with = row(m, t, a->imputed_value_floats);
    old = isnan(a->replaced_value_float) ? EMIT(m, IsNaN, NULL, x)
                                         : EMIT(m, Equal, NULL, x, const_like(m, (double)a->replaced_value_float, t));
  } else {
    Tensor *list = ml_tensor(m, t, 1, k, 0), *one = ml_tensor(m, t, 0, 0, 0);
    int64_t v = a->replaced_value_int64;
    if (t == DT_i32 && v != (int32_t)v)
      return NULL;
    for (int64_t i = 0; i < k; i++)
      elem_set_i64(t, list->data, i, a->imputed_value_int64s.v[i]);
    elem_set_i64(t, one->data, 0, v);
    with = ml_const(m, list);
    old = EMIT(m, Equal, NULL, x, ml_const(m, one));
  }
  return EMIT(m, Where, NULL, old, with, x);
}

static Value *normalizer(Match *m) {
  Str norm = ATTR(m->root, Normalizer)->norm;
  Value *x = m->root->in[0], *last;
  ReduceAttr keep = {.keepdims = 1};
  if (!features(x) || (!str_is(norm, "MAX") && !str_is(norm, "L1") && !str_is(norm, "L2")))
    return NULL;
  x = ml_cast(m, x, ml_work(x));
  last = const_ints(m, (int64_t[]){-1}, 1);
  Value *d = str_is(norm, "MAX")  ? EMIT(m, ReduceMax, &keep, EMIT(m, Abs, NULL, x), last)
             : str_is(norm, "L1") ? EMIT(m, ReduceL1, &keep, x, last)
                                  : EMIT(m, ReduceL2, &keep, x, last);
  Value *zero = EMIT(m, Equal, NULL, d, const_like(m, 0, x->type.dtype));
  d = EMIT(m, Where, NULL, zero, const_like(m, 1, x->type.dtype), d);
  return ml_cast(m, EMIT(m, Div, NULL, x, d), DT_f32);
}

static Value *vectorizer(Match *m) {
  const FeatureVectorizerAttr *a = ATTR(m->root, FeatureVectorizer);
  Node *n = m->root;
  ConcatAttr side = {.axis = 1};
  Value *part[MAX_MATCHED];
  if (a->inputdimensions.n != n->nin || n->nin > MAX_MATCHED)
    return NULL;
  for (int i = 0; i < n->nin; i++)
    if (!features(n->in[i]) || features(n->in[i]) < a->inputdimensions.v[i] || a->inputdimensions.v[i] < 1)
      return NULL; /* it would be filled up */
  for (int i = 0; i < n->nin; i++) {
    Value *x = ml_cast(m, ml_matrix(m, n->in[i]), DT_f32);
    int64_t w = a->inputdimensions.v[i];
    if (features(x) > w)
      x = EMIT(m, Slice, NULL, x, const_ints(m, (int64_t[]){0}, 1), const_ints(m, &w, 1),
               const_ints(m, (int64_t[]){1}, 1));
    part[i] = x;
  }
  Value *y = emit(m, OP_Concat, &side, n->nin, part);
  return y;
}

static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Categories that are all different, so that at most one is met. */
static Value *one_hot(Match *m) {
  const OneHotEncoderAttr *a = ATTR(m->root, OneHotEncoder);
  Value *x = m->root->in[0];
  int64_t n = a->cats_int64s.n;
  if (!type_known(x) || x->type.dtype == DT_str || !n || !a->zeros || x->type.rank >= MAX_RANK)
    return NULL;
  Tensor *t = ml_tensor(m, DT_i64, 1, n, 0);
  memcpy(t->data, a->cats_int64s.v, tensor_bytes(t));
  qsort(t->data, (size_t)n, sizeof(int64_t), by_value);
  for (int64_t i = 1; i < n; i++)
    if (((int64_t *)t->data)[i] == ((int64_t *)t->data)[i - 1])
      return NULL;
  memcpy(t->data, a->cats_int64s.v, tensor_bytes(t));
  x = EMIT(m, Unsqueeze, NULL, ml_cast(m, x, DT_i64), const_ints(m, (int64_t[]){-1}, 1));
  return ml_cast(m, EMIT(m, Equal, NULL, x, ml_const(m, t)), DT_f32);
}

/* --- LabelEncoder: a search by halves in sorted keys, one comparison for all elements at a time --- */

typedef struct Entry {
  double key;
  int64_t whole, at;
} Entry;

static int by_entry(const void *a, const void *b) {
  const Entry *x = a, *y = b;
  int c = (x->key > y->key) - (x->key < y->key);
  c = c ? c : (x->whole > y->whole) - (x->whole < y->whole);
  return c ? c : (x->at > y->at) - (x->at < y->at);
}

/* Keys and values in order, the last of equal keys alone; NaN apart. Returns how many. */
static int64_t sort_keys(Match *m, const LabelTable *t, Entry *list, int64_t *nan) {
  int64_t n = 0, k = 0;
  (void)m;
  *nan = -1;
  for (int64_t i = 0; i < t->keys->dim[0]; i++) {
    bool real = dtype_is_float(t->keys->dtype);
    Entry e = {.at = i};
    if (real)
      e.key = elem_f64(t->keys->dtype, t->keys->data, i) + 0.0; /* one zero */
    else
      e.whole = elem_i64(t->keys->dtype, t->keys->data, i);
    if (isnan(e.key))
      *nan = i;
    else
      list[n++] = e;
  }
  qsort(list, (size_t)n, sizeof *list, by_entry);
  for (int64_t i = 0; i < n; i++)
    if (i + 1 == n || list[i].key != list[i + 1].key || list[i].whole != list[i + 1].whole)
      list[k++] = list[i];
  return k;
}

static void copy_number(const Tensor *from, int64_t i, Tensor *to, int64_t k) {
  size_t size = (size_t)dtype_bits(from->dtype) / 8;
  memcpy((char *)to->data + size * (size_t)k, (const char *)from->data + size * (size_t)i, size);
}

static Value *number_of_tensor(Match *m, const Tensor *from, int64_t i) {
  Tensor *t = ml_tensor(m, from->dtype, 0, 0, 0);
  copy_number(from, i, t, 0);
  return ml_const(m, t);
}

static bool plain_number(DType t) { return t == DT_f32 || t == DT_f64 || t == DT_i64 || t == DT_i32 || t == DT_i16; }

static Value *label_encoder(Match *m) {
  Value *x = m->root->in[0], *pos = NULL;
  LabelTable t;
  GatherAttr first = {.axis = 0};
  int64_t nan, size = 1;
  if (!type_known(x) || label_table(m->g->arena, ATTR(m->root, LabelEncoder), &t) || t.keys->dtype != x->type.dtype ||
      !plain_number(t.keys->dtype) || !plain_number(t.values->dtype) || !t.keys->dim[0] || t.keys->dim[0] > 1 << 20)
    return NULL;
  Entry *list = arena_array(m->g->arena, Entry, (size_t)t.keys->dim[0]);
  int64_t n = sort_keys(m, &t, list, &nan);
  if (!n)
    return NULL;
  while (size < n)
    size *= 2;
  Tensor *key = ml_tensor(m, t.keys->dtype, 1, size, 0), *value = ml_tensor(m, t.values->dtype, 1, size, 0);
  for (int64_t i = 0; i < size; i++) {
    int64_t from = list[i < n ? i : n - 1].at;
    copy_number(t.keys, from, key, i);
    copy_number(t.values, from, value, i);
  }
  Value *keys = ml_const(m, key);
  for (int64_t step = size / 2; step; step /= 2) {
    Tensor *s = ml_tensor(m, DT_i64, 0, 0, 0);
    *(int64_t *)s->data = step;
    Value *c = ml_const(m, s), *probe = pos ? EMIT(m, Add, NULL, pos, c) : c;
    Value *more = EMIT(m, LessOrEqual, NULL, EMIT(m, Gather, &first, keys, probe), x);
    Value *add = EMIT(m, Mul, NULL, ml_cast(m, more, DT_i64), c);
    pos = pos ? EMIT(m, Add, NULL, pos, add) : add;
  }
  Value *at = pos ? pos : const_like(m, 0, DT_i64), *other = number_of_tensor(m, t.other, 0);
  Value *hit = EMIT(m, Equal, NULL, EMIT(m, Gather, &first, keys, at), x);
  Value *y = EMIT(m, Where, NULL, hit, EMIT(m, Gather, &first, ml_const(m, value), at), other);
  return nan < 0 ? y : EMIT(m, Where, NULL, EMIT(m, IsNaN, NULL, x), number_of_tensor(m, t.values, nan), y);
}

/* --- linear models --- */

/* x [N, F] times coefficients [n, F], plus n intercepts. */
static Value *linear(Match *m, Value *x, Floats coefficient, int64_t n, Floats intercept) {
  int64_t width = coefficient.n / n;
  Value *w = ml_matrix(m, x);
  Tensor *t = ml_tensor(m, w->type.dtype, 2, width, n);
  for (int64_t k = 0; k < n; k++)
    for (int64_t i = 0; i < width; i++)
      elem_set_f64(t->dtype, t->data, i * n + k, (double)coefficient.v[k * width + i]);
  Value *y = EMIT(m, MatMul, NULL, w, ml_const(m, t));
  return intercept.n ? EMIT(m, Add, NULL, y, row(m, w->type.dtype, intercept)) : y;
}

static bool linear_fits(const Value *x, Floats coefficient, int64_t n, Floats intercept) {
  int64_t width = features(x);
  return width && n >= 1 && coefficient.n % n == 0 && coefficient.n / n == width && (!intercept.n || intercept.n == n);
}

static Value *linear_regressor(Match *m) {
  const LinearRegressorAttr *a = ATTR(m->root, LinearRegressor);
  PostTransform post;
  if (!linear_fits(m->root->in[0], a->coefficients, a->targets, a->intercepts) ||
      !ml_post_by_name(a->post_transform, &post))
    return NULL;
  Value *y = linear(m, m->root->in[0], a->coefficients, a->targets, a->intercepts);
  return ml_cast(m, ml_transformed(m, y, post), DT_f32);
}

static bool labels_fit(Ints ints, Strs strs, int64_t n) {
  return !(ints.n && strs.n) && (ints.n + strs.n == 0 || ints.n + strs.n == n);
}

static Value *linear_classifier(Match *m) {
  const LinearClassifierAttr *a = ATTR(m->root, LinearClassifier);
  Value *x = m->root->in[0];
  PostTransform post;
  int64_t width = features(x), n = width ? a->coefficients.n / width : 0;
  if (!linear_fits(x, a->coefficients, n, a->intercepts) || !ml_post_by_name(a->post_transform, &post) ||
      !labels_fit(a->classlabels_ints, a->classlabels_strings, n == 1 ? 2 : n))
    return NULL;
  Value *s = linear(m, x, a->coefficients, n, a->intercepts);
  if (n == 1)
    s = ml_pair(m, s, false);
  Value *label = ml_labels(m, ml_best(m, s), a->classlabels_ints, a->classlabels_strings);
  return ml_outputs(m, label, ml_transformed(m, s, post));
}

/* --- support vectors --- */

static const Floats no_floats;

/* Kernels of x [N, F] with n vectors: [N, n]. */
static Value *kernels(Match *m, Value *x, Floats vectors, int64_t n, SvmKernel k, Floats params) {
  DType t = ml_work(x);
  double gamma = params.n ? (double)params.v[0] : 0, coef0 = params.n ? (double)params.v[1] : 0;
  double degree = params.n ? trunc((double)params.v[2]) : 0;
  if (k == SVM_RBF) {
    int64_t width = vectors.n / n, dim[3] = {1, n, width};
    ReduceAttr drop = {.keepdims = 0};
    Tensor *v;
    if ((m->st = tensor_new(m->c, m->g->arena, t, 3, dim, &v)))
      return x;
    for (int64_t i = 0; i < vectors.n; i++)
      elem_set_f64(t, v->data, i, (double)vectors.v[i]);
    Value *wide = EMIT(m, Unsqueeze, NULL, ml_matrix(m, x), const_ints(m, (int64_t[]){1}, 1));
    Value *d =
        EMIT(m, ReduceSumSquare, &drop, EMIT(m, Sub, NULL, wide, ml_const(m, v)), const_ints(m, (int64_t[]){2}, 1));
    return EMIT(m, Exp, NULL, EMIT(m, Mul, NULL, d, const_like(m, -gamma, t)));
  }
  Value *dot = linear(m, x, vectors, n, no_floats);
  if (k == SVM_LINEAR)
    return dot;
  dot = EMIT(m, Add, NULL, EMIT(m, Mul, NULL, dot, const_like(m, gamma, t)), const_like(m, coef0, t));
  return k == SVM_POLY ? EMIT(m, Pow, NULL, dot, const_like(m, degree, t)) : EMIT(m, Tanh, NULL, dot);
}

static bool vectors_fit(const Value *x, Floats vectors, int64_t n, Floats params) {
  int64_t width = features(x);
  return width && n >= 1 && n <= 1 << 20 && vectors.n % n == 0 && vectors.n / n == width &&
         (!params.n || params.n == 3);
}

static Value *svm_regressor(Match *m) {
  const SVMRegressorAttr *a = ATTR(m->root, SVMRegressor);
  Value *x = m->root->in[0], *y;
  PostTransform post;
  SvmKernel k;
  if (!svm_kernel_by_name(a->kernel_type, &k) || !ml_post_by_name(a->post_transform, &post) || !a->rho.n)
    return NULL;
  Floats rho = {a->rho.v, 1};
  if (a->n_supports) {
    if (!vectors_fit(x, a->support_vectors, a->n_supports, a->kernel_params) || a->coefficients.n != a->n_supports)
      return NULL;
    y = kernels(m, x, a->support_vectors, a->n_supports, k, a->kernel_params);
    y = linear(m, y, a->coefficients, 1, rho);
  } else {
    if (!linear_fits(x, a->coefficients, 1, rho) || a->support_vectors.n)
      return NULL;
    y = linear(m, x, a->coefficients, 1, rho);
  }
  DType t = y->type.dtype;
  y = ml_transformed(m, y, post);
  if (a->one_class)
    y = EMIT(m, Where, NULL, EMIT(m, Greater, NULL, y, const_like(m, 0, t)), const_like(m, 1, t), const_like(m, -1, t));
  return ml_cast(m, y, DT_f32);
}

/* Decisions of all pairs of classes from the kernels, as one product: column (i, j) has the coefficients of both. */
static Value *pair_decisions(Match *m, const SVMClassifierAttr *a, Value *kernel, int64_t nvec, int64_t n) {
  int64_t p = 0, at = 0, *first = arena_array(m->g->arena, int64_t, (size_t)n + 1);
  Tensor *c = ml_tensor(m, kernel->type.dtype, 2, nvec, n * (n - 1) / 2);
  for (int64_t i = 0; i < n; at += a->vectors_per_class.v[i++])
    first[i] = at;
  first[n] = at;
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i + 1; j < n; j++, p++) {
      for (int64_t k = first[i]; k < first[i + 1]; k++)
        elem_set_f64(c->dtype, c->data, k * c->dim[1] + p, (double)a->coefficients.v[(j - 1) * nvec + k]);
      for (int64_t k = first[j]; k < first[j + 1]; k++)
        elem_set_f64(c->dtype, c->data, k * c->dim[1] + p, (double)a->coefficients.v[i * nvec + k]);
    }
  Floats rho = {a->rho.v, p};
  return EMIT(m, Add, NULL, EMIT(m, MatMul, NULL, kernel, ml_const(m, c)), row(m, c->dtype, rho));
}

/* A decision above 0 is a vote for i, another one for j. */
static Value *votes(Match *m, Value *pair, int64_t n) {
  DType t = pair->type.dtype;
  int64_t p = 0;
  Tensor *sign = ml_tensor(m, t, 2, n * (n - 1) / 2, n), *start = ml_tensor(m, t, 1, n, 0);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i + 1; j < n; j++, p++) {
      elem_set_f64(t, sign->data, p * n + i, 1);
      elem_set_f64(t, sign->data, p * n + j, -1);
      elem_set_f64(t, start->data, j, elem_f64(t, start->data, j) + 1);
    }
  Value *yes = ml_cast(m, EMIT(m, Greater, NULL, pair, const_like(m, 0, t)), t);
  return EMIT(m, Add, NULL, EMIT(m, MatMul, NULL, yes, ml_const(m, sign)), ml_const(m, start));
}

static Value *svm_classifier(Match *m) {
  const SVMClassifierAttr *a = ATTR(m->root, SVMClassifier);
  Value *x = m->root->in[0], *s, *best;
  PostTransform post;
  SvmKernel k;
  int64_t nvec = 0, n = a->classlabels_strings.n ? a->classlabels_strings.n : a->classlabels_ints.n;
  n = n ? n : a->vectors_per_class.n ? a->vectors_per_class.n : 1;
  if (!svm_kernel_by_name(a->kernel_type, &k) || !ml_post_by_name(a->post_transform, &post) || n > 64 ||
      !labels_fit(a->classlabels_ints, a->classlabels_strings, n) || (a->vectors_per_class.n && a->prob_a.n))
    return NULL;
  for (int64_t i = 0; i < a->vectors_per_class.n; nvec += a->vectors_per_class.v[i++])
    if (a->vectors_per_class.v[i] < 0 || a->vectors_per_class.v[i] > 1 << 20)
      return NULL;
  if (!a->vectors_per_class.n) {
    Floats none = {0};
    if (!linear_fits(x, a->coefficients, n, none) || !a->rho.n || a->support_vectors.n)
      return NULL;
    s = linear(m, x, a->coefficients, n, none);
    s = EMIT(m, Add, NULL, s, const_like(m, (double)a->rho.v[0], s->type.dtype));
    best = ml_best(m, s);
  } else {
    if (n < 2 || a->vectors_per_class.n != n || !vectors_fit(x, a->support_vectors, nvec, a->kernel_params) ||
        a->coefficients.n != (n - 1) * nvec || a->rho.n < n * (n - 1) / 2)
      return NULL;
    s = pair_decisions(m, a, kernels(m, x, a->support_vectors, nvec, k, a->kernel_params), nvec, n);
    best = ml_best(m, votes(m, s, n));
    s = n == 2 ? ml_pair(m, s, false) : s;
  }
  return ml_outputs(m, ml_labels(m, best, a->classlabels_ints, a->classlabels_strings), ml_transformed(m, s, post));
}

static const Rule rules[] = {
    {"ArrayFeatureExtractor", OPERATOR(ArrayFeatureExtractor), extractor},
    {"Binarizer", OPERATOR(Binarizer), binarizer},
    {"Scaler", OPERATOR(Scaler), scaler},
    {"Imputer", OPERATOR(Imputer), imputer},
    {"Normalizer", OPERATOR(Normalizer), normalizer},
    {"FeatureVectorizer", OPERATOR(FeatureVectorizer), vectorizer},
    {"OneHotEncoder", OPERATOR(OneHotEncoder), one_hot},
    {"LabelEncoder", OPERATOR(LabelEncoder), label_encoder},
    {"LinearRegressor", OPERATOR(LinearRegressor), linear_regressor},
    {"LinearClassifier", OPERATOR(LinearClassifier), linear_classifier},
    {"SVMRegressor", OPERATOR(SVMRegressor), svm_regressor},
    {"SVMClassifier", OPERATOR(SVMClassifier), svm_classifier},
    {"TreeEnsemble", OPERATOR(TreeEnsemble), ml_tree_ensemble},
    {"TreeEnsembleRegressor", OPERATOR(TreeEnsembleRegressor), ml_tree_regressor},
    {"TreeEnsembleClassifier", OPERATOR(TreeEnsembleClassifier), ml_tree_classifier},
};

Status pass_ml(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
