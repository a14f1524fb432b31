/* svm.c - SVMRegressor, SVMClassifier (ai.onnx.ml 1), as libsvm decides: one vote per pair of classes.
 *
 * Support vectors are listed by class. Of class i against class j the decision is rho + a sum of coefficients times kernels,
 * and a positive one is a vote for i. With prob_a and prob_b the decisions become probabilities of pairs (Platt), and those
 * become probabilities of classes (Wu, Lin and Weng 2004, the second method).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/svm.h"

#include "ops/eval/loop.h"
#include "ops/eval/ml.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

bool svm_kernel_by_name(Str name, SvmKernel *k) {
  static const char *const names[] = {"LINEAR", "POLY", "RBF", "SIGMOID"};
  for (int i = 0; i < SVM_KERNELS; i++)
    if (str_is(name, names[i])) {
      *k = (SvmKernel)i;
      return true;
    }
  return false;
}

typedef struct Svm {
  Rows x;
  SvmKernel kernel;
  double gamma, coef0, degree;
  int64_t nvec; /* support vectors; 0: the coefficients are one vector per score */
  Floats vectors, coefficients, rho;
} Svm;

static Status open_svm(Eval *e, Svm *s, Str kernel, Floats params, int64_t nvec) {
  TRY(operands(e, 1));
  TRY(ml_rows(e, 0, &s->x));
  if (!svm_kernel_by_name(kernel, &s->kernel))
    return eval_fail(e, "kernel_type must be \"LINEAR\", \"POLY\", \"RBF\" or \"SIGMOID\"");
  if (params.n && params.n != 3)
    return eval_fail(e, "kernel_params has %lld entries; it takes gamma, coef0 and degree", (long long)params.n);
  if (params.n)
    s->gamma = (double)params.v[0], s->coef0 = (double)params.v[1], s->degree = trunc((double)params.v[2]);
  s->nvec = nvec;
  int64_t need;
  if (nvec < 0 || !mul_ok(nvec, s->x.width, &need) || s->vectors.n != need)
    return eval_fail(e, "%lld numbers are not %lld support vectors of %lld features", (long long)s->vectors.n,
                     (long long)nvec, (long long)s->x.width);
  return ST_OK;
}

static double kernel_of(const Svm *s, SvmKernel k, const double *x, const float *v) {
  double sum = 0;
  for (int64_t i = 0; i < s->x.width; i++) {
    double d = x[i] - (double)v[i];
    sum += k == SVM_RBF ? d * d : x[i] * (double)v[i];
  }
  switch (k) {
  case SVM_RBF: return exp(-s->gamma * sum);
  case SVM_POLY: return pow(sum * s->gamma + s->coef0, s->degree);
  case SVM_SIGMOID: return tanh(sum * s->gamma + s->coef0);
  default: return sum;
  }
}

Status svm_regressor_eval(Eval *e) {
  const SVMRegressorAttr *a = e->attr;
  Svm s = {.vectors = a->support_vectors, .coefficients = a->coefficients, .rho = a->rho};
  PostTransform post;
  Tensor *y;
  TRY(ml_post(e, a->post_transform, &post));
  TRY(open_svm(e, &s, a->kernel_type, a->kernel_params, a->n_supports));
  if (s.coefficients.n != (s.nvec ? s.nvec : s.x.width) || s.rho.n < 1)
    return eval_fail(e, "%lld coefficients and %lld rho for %lld support vectors", (long long)s.coefficients.n,
                     (long long)s.rho.n, (long long)s.nvec);
  int64_t dim[2] = {s.x.n, 1};
  TRY(eval_out(e, 0, DT_f32, 2, dim, &y));
  double *x = arena_array(e->scratch, double, (size_t)s.x.width);
  for (int64_t r = 0; r < s.x.n; r++) {
    double sum = 0;
    TRY(ctx_poll(e->c));
    ml_row(&s.x, r, x);
    for (int64_t k = 0; k < s.nvec; k++)
      sum += (double)s.coefficients.v[k] * kernel_of(&s, s.kernel, x, s.vectors.v + k * s.x.width);
    if (!s.nvec)
      sum = kernel_of(&s, SVM_LINEAR, x, s.coefficients.v);
    sum += (double)s.rho.v[0];
    ml_transform(post, &sum, 1);
    ((float *)y->data)[r] = (float)(a->one_class ? (sum > 0 ? 1 : -1) : sum);
  }
  return ST_OK;
}

/* --- classification --- */

typedef struct Classifier {
  Svm s;
  int64_t nclass, npair;
  const int64_t *count, *first; /* support vectors of each class */
  Floats a, b;                  /* of the sigmoids, one per pair */
  double *x, *kernel, *pair, *prob, *q, *qp;
} Classifier;

static void decide_pairs(const Classifier *c, int64_t *votes) {
  const Svm *s = &c->s;
  int64_t p = 0;
  for (int64_t k = 0; k < s->nvec; k++)
    c->kernel[k] = kernel_of(s, s->kernel, c->x, s->vectors.v + k * s->x.width);
  memset(votes, 0, (size_t)c->nclass * sizeof *votes);
  for (int64_t i = 0; i < c->nclass; i++)
    for (int64_t j = i + 1; j < c->nclass; j++, p++) {
      double sum = (double)s->rho.v[p];
      for (int64_t k = c->first[i]; k < c->first[i] + c->count[i]; k++)
        sum += (double)s->coefficients.v[(j - 1) * s->nvec + k] * c->kernel[k];
      for (int64_t k = c->first[j]; k < c->first[j] + c->count[j]; k++)
        sum += (double)s->coefficients.v[i * s->nvec + k] * c->kernel[k];
      c->pair[p] = sum;
      votes[sum > 0 ? i : j]++;
    }
}

/* Probabilities of pairs, r[i][j] of i against j, into q's place in the quadratic form that the classes' minimise. */
static void quadratic_form(const Classifier *c) {
  int64_t n = c->nclass, p = 0;
  double *q = c->q;
  memset(q, 0, (size_t)(n * n) * sizeof *q);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = i + 1; j < n; j++, p++) {
      double v = c->pair[p] * (double)c->a.v[p] + (double)c->b.v[p], r = 1 / (1 + exp(v));
      r = r < 1e-7 ? 1e-7 : r > 1 - 1e-7 ? 1 - 1e-7 : r;
      q[i * n + i] += (1 - r) * (1 - r);
      q[j * n + j] += r * r;
      q[i * n + j] = q[j * n + i] = -r * (1 - r);
    }
}

static void couple(const Classifier *c) {
  int64_t n = c->nclass;
  double *p = c->prob, *q = c->q, *qp = c->qp, eps = 0.005 / (double)n;
  quadratic_form(c);
  for (int64_t i = 0; i < n; i++)
    p[i] = 1.0 / (double)n;
  for (int64_t trip = 0; trip < (n > 100 ? n : 100); trip++) {
    double pqp = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
      qp[i] = 0;
      for (int64_t j = 0; j < n; j++)
        qp[i] += q[i * n + j] * p[j];
      pqp += p[i] * qp[i];
    }
    for (int64_t i = 0; i < n; i++)
      worst = fmax(worst, fabs(qp[i] - pqp));
    if (worst < eps)
      return;
    for (int64_t i = 0; i < n; i++) {
      double d = (pqp - qp[i]) / q[i * n + i];
      p[i] += d;
      pqp = (pqp + d * (d * q[i * n + i] + 2 * qp[i])) / (1 + d) / (1 + d);
      for (int64_t j = 0; j < n; j++)
        qp[j] = (qp[j] + d * q[i * n + j]) / (1 + d), p[j] /= 1 + d;
    }
  }
}

static int64_t largest(const double *v, int64_t n) {
  int64_t at = 0;
  for (int64_t i = 1; i < n; i++)
    at = v[i] > v[at] ? i : at;
  return at;
}

static Status count_vectors(Eval *e, const SVMClassifierAttr *a, int64_t nclass, int64_t *first, int64_t *total) {
  *total = 0;
  if (!a->vectors_per_class.n)
    return ST_OK;
  if (a->vectors_per_class.n != nclass || nclass < 2)
    return eval_fail(e, "vectors_per_class has %lld entries for %lld classes", (long long)a->vectors_per_class.n,
                     (long long)nclass);
  for (int64_t i = 0; i < nclass; i++) {
    first[i] = *total;
    if (a->vectors_per_class.v[i] < 0 || !add_ok(*total, a->vectors_per_class.v[i], total))
      return eval_fail(e, "class %lld has %lld support vectors", (long long)i, (long long)a->vectors_per_class.v[i]);
  }
  return ST_OK;
}

static Status open_classifier(Eval *e, Classifier *c, const SVMClassifierAttr *a, const Labels *labels) {
  c->nclass = ml_label_count(labels) ? ml_label_count(labels) : a->vectors_per_class.n ? a->vectors_per_class.n : 1;
  int64_t n = c->nclass, nvec, square, *first = arena_array(e->scratch, int64_t, (size_t)n);
  TRY(count_vectors(e, a, n, first, &nvec));
  c->s = (Svm){.vectors = a->support_vectors, .coefficients = a->coefficients, .rho = a->rho};
  c->count = a->vectors_per_class.v, c->first = first;
  TRY(open_svm(e, &c->s, a->kernel_type, a->kernel_params, nvec));
  if (!mul_ok(n, n, &square))
    return eval_fail(e, "%lld classes", (long long)n);
  c->npair = nvec ? (square - n) / 2 : 0;
  int64_t each = nvec ? nvec : c->s.x.width, need;
  if (!mul_ok(nvec ? n - 1 : n, each, &need) || a->coefficients.n != need || a->rho.n < (nvec ? c->npair : 1))
    return eval_fail(e, "%lld coefficients and %lld rho for %lld classes and %lld support vectors",
                     (long long)a->coefficients.n, (long long)a->rho.n, (long long)n, (long long)nvec);
  if (nvec && a->prob_a.n) {
    if (a->prob_a.n != c->npair || a->prob_b.n != c->npair)
      return eval_fail(e, "prob_a and prob_b need an entry for each of %lld pairs", (long long)c->npair);
    c->a = a->prob_a, c->b = a->prob_b;
    c->prob = arena_array(e->scratch, double, (size_t)n), c->qp = arena_array(e->scratch, double, (size_t)n);
    c->q = arena_array(e->scratch, double, (size_t)square);
  }
  c->x = arena_array(e->scratch, double, (size_t)c->s.x.width);
  c->kernel = arena_array(e->scratch, double, (size_t)nvec + 1);
  c->pair = arena_array(e->scratch, double, (size_t)(c->npair + n) + 2);
  return ST_OK;
}

/* Scores of the row in c->x, before the transform, and its class. */
static int64_t classify(const Classifier *c, int64_t *votes, double *score, int64_t n) {
  if (!c->s.nvec) {
    for (int64_t k = 0; k < n; k++)
      score[k] = kernel_of(&c->s, SVM_LINEAR, c->x, c->s.coefficients.v + k * c->s.x.width) + (double)c->s.rho.v[0];
    return largest(score, n);
  }
  int64_t best = 0;
  decide_pairs(c, votes);
  for (int64_t i = 1; i < c->nclass; i++)
    best = votes[i] > votes[best] ? i : best;
  if (c->prob) {
    couple(c);
    memcpy(score, c->prob, (size_t)n * sizeof *score);
  } else if (c->nclass == 2) {
    score[0] = -c->pair[0], score[1] = c->pair[0];
  } else {
    memcpy(score, c->pair, (size_t)n * sizeof *score);
  }
  return best;
}

/* Scores: probabilities of the classes; without prob_a the decisions, of which two classes have one, with its negative. */
Status svm_classifier_eval(Eval *e) {
  const SVMClassifierAttr *a = e->attr;
  Labels labels = {a->classlabels_ints, a->classlabels_strings};
  Classifier c = {0};
  PostTransform post;
  Tensor *y, *z;
  TRY(ml_post(e, a->post_transform, &post));
  TRY(open_classifier(e, &c, a, &labels));
  int64_t n = !c.s.nvec || c.prob || c.nclass == 2 ? c.nclass : c.npair, dim[2] = {c.s.x.n, n};
  TRY(ml_label_output(e, &labels, c.s.x.n, &y));
  TRY(eval_out(e, 1, DT_f32, 2, dim, &z));
  double *score = arena_array(e->scratch, double, (size_t)n);
  int64_t *votes = arena_array(e->scratch, int64_t, (size_t)c.nclass);
  for (int64_t r = 0; r < c.s.x.n; r++) {
    TRY(ctx_poll(e->c));
    ml_row(&c.s.x, r, c.x);
    TRY(ml_put_label(e, &labels, y, r, classify(&c, votes, score, n)));
    ml_transform(post, score, n);
    for (int64_t k = 0; k < n; k++)
      ((float *)z->data)[r * n + k] = (float)score[k];
  }
  return ST_OK;
}
