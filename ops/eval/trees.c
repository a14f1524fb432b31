/* trees.c - TreeEnsemble (ai.onnx.ml 5), TreeEnsembleRegressor, TreeEnsembleClassifier (3), a node at a time.
 *
 * Numbers are compared in the type of the input and its thresholds, integers as f32. The label of a classifier is that of the
 * largest score; where two classes share one score s, onnx.reference and ONNX Runtime disagree here and there, and the
 * output is what is consistent: (1 - s, s) when all weights are probabilities, (-s, s) otherwise.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/forest.h"
#include "ops/eval/loop.h"

#include <math.h>

static bool holds(const Forest *f, const TreeNode *n, double v) {
  if (isnan(v) && n->missing)
    return true;
  switch (n->mode) {
  case TM_LEQ: return v <= n->split;
  case TM_LT: return v < n->split;
  case TM_GTE: return v >= n->split;
  case TM_GT: return v > n->split;
  case TM_EQ: return v == n->split;
  case TM_NEQ: return v != n->split && !isnan(v);
  default:
    for (int64_t i = 0; i < n->n; i++)
      if (f->member[n->first + i] == v)
        return true;
    return false;
  }
}

static void vote(const Forest *f, const TreeVote *v, double *score, bool *seen) {
  double *s = &score[v->target];
  if (f->aggregate == TA_MIN || f->aggregate == TA_MAX)
    *s = !seen[v->target] ? v->weight : f->aggregate == TA_MIN ? fmin(*s, v->weight) : fmax(*s, v->weight);
  else
    *s += v->weight;
  seen[v->target] = true;
}

/* The scores of one row, base values included, before the transform. */
static void scores(const Forest *f, const double *x, double *score, bool *seen) {
  for (int64_t k = 0; k < f->ntarget; k++)
    score[k] = 0, seen[k] = false;
  for (int64_t t = 0; t < f->ntree; t++) {
    const TreeNode *n = &f->node[f->root[t]];
    while (n->mode != TM_LEAF)
      n = &f->node[holds(f, n, x[n->feature]) ? n->yes : n->no];
    for (int64_t i = 0; i < n->n; i++)
      vote(f, &f->vote[n->first + i], score, seen);
  }
  for (int64_t k = 0; k < f->ntarget; k++)
    score[k] = (f->aggregate == TA_AVERAGE && f->ntree ? score[k] / (double)f->ntree : score[k]) + forest_base(f, k);
}

static Status open_rows(Eval *e, const Forest *f, Rows *r) {
  TRY(operands(e, 1));
  TRY(ml_rows(e, 0, r));
  return f->feature >= r->width
             ? eval_fail(e, "the trees read feature %lld of %lld", (long long)f->feature, (long long)r->width)
             : ST_OK;
}

static Status regress(Eval *e, const Forest *f, DType t) {
  Rows r;
  Tensor *y;
  TRY(open_rows(e, f, &r));
  int64_t dim[2] = {r.n, f->ntarget};
  TRY(eval_out(e, 0, t, 2, dim, &y));
  double *x = arena_array(e->scratch, double, (size_t)r.width);
  double *s = arena_array(e->scratch, double, (size_t)f->ntarget);
  bool *seen = arena_array(e->scratch, bool, (size_t)f->ntarget);
  for (int64_t i = 0; i < r.n; i++) {
    TRY(ctx_poll(e->c));
    ml_row(&r, i, x);
    scores(f, x, s, seen);
    ml_transform(f->post, s, f->ntarget);
    for (int64_t k = 0; k < f->ntarget; k++)
      elem_set_f64(t, y->data, i * f->ntarget + k, s[k]);
  }
  return ST_OK;
}

Status tree_ensemble_eval(Eval *e) {
  Forest f;
  TRY(forest_of_ensemble(e->c, e->scratch, e->attr, &f));
  return regress(e, &f, e->in[0]->dtype);
}

Status tree_regressor_eval(Eval *e) {
  Forest f;
  TRY(forest_of_regressor(e->c, e->scratch, e->attr, &f));
  return regress(e, &f, DT_f32);
}

/* Scores for output; returns the class, or -1: that of a sole label is not it. */
static int64_t finish(const Forest *f, ClassForm form, double *s) {
  int64_t best = 0;
  if (form == CLASS_ONE) {
    best = s[0] > 0 ? 0 : -1;
  } else if (form == CLASS_EACH) {
    for (int64_t k = 1; k < f->ntarget; k++)
      best = s[k] > s[best] ? k : best;
  } else {
    s[1] = s[0];
    s[0] = form == CLASS_REST ? 1 - s[1] : -s[1];
    best = s[1] > s[0];
  }
  ml_transform(f->post, s, f->ntarget);
  return best;
}

Status tree_classifier_eval(Eval *e) {
  const TreeEnsembleClassifierAttr *a = e->attr;
  Labels labels = {a->classlabels_int64s, a->classlabels_strings};
  Forest f;
  Rows r;
  Tensor *y, *z;
  TRY(forest_of_classifier(e->c, e->scratch, a, &f));
  TRY(open_rows(e, &f, &r));
  ClassForm form = forest_class_form(&f);
  int64_t n = f.ntarget, dim[2] = {r.n, n};
  TRY(ml_label_output(e, &labels, r.n, &y));
  TRY(eval_out(e, 1, DT_f32, 2, dim, &z));
  double *x = arena_array(e->scratch, double, (size_t)r.width), *s = arena_array(e->scratch, double, (size_t)n);
  bool *seen = arena_array(e->scratch, bool, (size_t)n);
  for (int64_t i = 0; i < r.n; i++) {
    TRY(ctx_poll(e->c));
    ml_row(&r, i, x);
    scores(&f, x, s, seen);
    int64_t label = finish(&f, form, s);
    if (label >= 0)
      TRY(ml_put_label(e, &labels, y, i, label));
    else if (y->dtype == DT_str)
      ((Str *)y->data)[i] = str_of("");
    else
      ((int64_t *)y->data)[i] = 0;
    for (int64_t k = 0; k < n; k++)
      ((float *)z->data)[i * n + k] = (float)s[k];
  }
  return ST_OK;
}
