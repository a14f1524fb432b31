/* forest.h - decision trees, however an operator's attributes state them: TreeEnsemble (ai.onnx.ml 5), and the two it
 * replaces, TreeEnsembleClassifier and TreeEnsembleRegressor (3).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_FOREST_H
#define SARD_OPS_EVAL_FOREST_H

#include "ops/eval/ml.h"

typedef enum { TM_LEQ, TM_LT, TM_GTE, TM_GT, TM_EQ, TM_NEQ, TM_MEMBER, TM_LEAF } TreeMode;
typedef enum { TA_AVERAGE, TA_SUM, TA_MIN, TA_MAX } TreeAggregate;

typedef struct TreeNode {
  double split;
  uint8_t mode;
  bool missing; /* NaN takes the branch `yes` */
  int32_t feature, yes, no;
  int64_t first, n; /* MEMBER: its members; LEAF: its votes */
} TreeNode;

typedef struct TreeVote {
  int64_t target;
  double weight;
} TreeVote;

typedef struct Forest {
  TreeNode *node;
  int32_t *root;
  double *member;
  TreeVote *vote;
  int64_t nnode, ntree, ntarget;
  int64_t depth;   /* steps of the longest way from a root to a leaf */
  int64_t feature; /* the largest that is read; -1: none */
  TreeAggregate aggregate;
  PostTransform post;
  Floats base;
  const Tensor *wide_base; /* instead of base */
  bool wide;               /* thresholds are f64 */
} Forest;

/* Checks everything: lengths, indices, modes, and that no way comes back to where it was. The lists are the arena's. */
Status forest_of_ensemble(Ctx *c, Arena *a, const TreeEnsembleAttr *at, Forest *f);
Status forest_of_regressor(Ctx *c, Arena *a, const TreeEnsembleRegressorAttr *at, Forest *f);
Status forest_of_classifier(Ctx *c, Arena *a, const TreeEnsembleClassifierAttr *at, Forest *f);

int64_t forest_base_count(const Forest *f);
double forest_base(const Forest *f, int64_t target);

/* How a classifier's scores become its output: two classes may share one score (class_ids has one value only). */
typedef enum {
  CLASS_EACH,     /* one score for each class */
  CLASS_NEGATIVE, /* two, of one score s: -s, s */
  CLASS_REST,     /* two, of one score s: 1 - s, s */
  CLASS_ONE,      /* one label: it, or none, as the score is positive or not */
} ClassForm;
ClassForm forest_class_form(const Forest *f);

#endif
