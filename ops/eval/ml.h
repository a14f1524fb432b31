/* ml.h - what the evaluators of ai.onnx.ml share: rows of numbers, scores made into probabilities, class labels.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_ML_H
#define SARD_OPS_EVAL_ML_H

#include "ops/eval/eval.h"

/* A matrix of features: [N, F], or [F], which is one row. */
typedef struct Rows {
  const Tensor *t;
  int64_t n, width;
} Rows;
Status ml_rows(Eval *e, int i, Rows *r);
/* Row k as doubles. Integers are rounded to f32 first, as every implementation compares them so. */
void ml_row(const Rows *r, int64_t k, double *v);

/* How scores become what the model reports. */
typedef enum { POST_NONE, POST_SOFTMAX, POST_LOGISTIC, POST_SOFTMAX_ZERO, POST_PROBIT, POST_COUNT } PostTransform;
/* False: there is no such transform. The empty string: NONE. */
bool ml_post_by_name(Str name, PostTransform *p);
Status ml_post(Eval *e, Str name, PostTransform *p);
void ml_transform(PostTransform p, double *v, int64_t n);

/* The labels of classes: integers or strings; neither given: 0, 1, … */
typedef struct Labels {
  Ints ints;
  Strs strs;
} Labels;
int64_t ml_label_count(const Labels *l);
/* Output 0 with the labels, n of them. */
Status ml_label_output(Eval *e, const Labels *l, int64_t n, Tensor **y);
Status ml_put_label(Eval *e, const Labels *l, Tensor *y, int64_t i, int64_t label);

#endif
