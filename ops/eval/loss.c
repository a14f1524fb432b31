/* loss.c - evaluation of NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.
 *
 *   scores [N][C][D]   labels [N][D]   loss[n][d] = -weight[t] * log_prob[n][t][d] with t = labels[n][d]
 *
 * D stands for all axes behind the second. A label equal to ignore_index, which need not be a class, has loss and weight 0.
 * The mean divides by the sum of the weights.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include <math.h>

typedef enum { REDUCE_NONE, REDUCE_SUM, REDUCE_MEAN } Reduction;

typedef struct Loss {
  Eval *e;
  int64_t N, C, D;
  const int64_t *label;
  const double *weight; /* by class, or NULL: 1 */
  int64_t ignored;      /* ABSENT: none */
  Reduction reduction;
} Loss;

static Status find_reduction(Eval *e, Str name, Reduction *r) {
  static const char *const names[] = {"none", "sum", "mean"};
  for (size_t i = 0; i < countof(names); i++)
    if (str_is(name, names[i])) {
      *r = (Reduction)i;
      return ST_OK;
    }
  return eval_fail(e, "reduction is '%.*s'; it must be none, sum or mean", (int)(name.len < 40 ? name.len : 40),
                   name.ptr);
}

static Status check_labels(Loss *l) {
  for (int64_t i = 0; i < l->N * l->D; i++)
    if (l->label[i] != l->ignored && (l->label[i] < 0 || l->label[i] >= l->C))
      return eval_fail(l->e, "label %lld is no class; there are %lld", (long long)l->label[i], (long long)l->C);
  return ST_OK;
}

static Status open_loss(Loss *l, Eval *e, int64_t ignored, Str reduction) {
  const Tensor *x = e->in[0], *t = e->in[1];
  int64_t n;
  *l = (Loss){.e = e, .ignored = ignored, .D = 1};
  TRY(find_reduction(e, reduction, &l->reduction));
  if (x->rank < 2)
    return eval_fail(e, "the scores must have a batch and a class axis");
  bool fits = t->rank == x->rank - 1 && t->dim[0] == x->dim[0];
  for (int i = 2; i < x->rank; i++) {
    fits = fits && t->dim[i - 1] == x->dim[i];
    l->D *= x->dim[i];
  }
  if (!fits)
    return eval_fail(e, "the labels must have the shape of the scores without the class axis");
  l->N = x->dim[0], l->C = x->dim[1];
  if (eval_has(e, 2)) {
    TRY(nn_expect_rank(e, 2, 1, "the weights"));
    TRY(nn_expect_dim(e, 2, 0, l->C, "the number of weights (classes)"));
  }
  TRY(nn_load_input(e, 2, &l->weight));
  TRY(eval_ints(e, 1, &l->label, &n));
  return check_labels(l);
}

/* Output 0 from the logarithms of the probabilities. */
static Status reduce_loss(Loss *l, const double *log_prob) {
  const Tensor *t = l->e->in[1];
  double sum = 0, weights = 0, *row;
  int64_t n = l->N * l->D;
  Tensor *y;
  TRY(nn_buffer(l->e, n, &row));
  for (int64_t i = 0; i < n; i++) {
    int64_t c = l->label[i];
    double w = c == l->ignored ? 0 : l->weight ? l->weight[c] : 1;
    row[i] = c == l->ignored ? 0 : -w * log_prob[(i / l->D * l->C + c) * l->D + i % l->D];
    sum += row[i], weights += w;
  }
  if (l->reduction == REDUCE_NONE) {
    TRY(eval_out(l->e, 0, l->e->in[0]->dtype, t->rank, t->dim, &y));
    nn_store(y, 0, row, n);
    return ST_OK;
  }
  TRY(eval_out(l->e, 0, l->e->in[0]->dtype, 0, NULL, &y));
  if (l->reduction == REDUCE_MEAN)
    sum /= weights;
  nn_store(y, 0, &sum, 1);
  return ST_OK;
}

/* NegativeLogLikelihoodLoss, ONNX 22. */
Status nll_loss_eval(Eval *e) {
  const LossAttr *a = e->attr;
  const double *v;
  Loss l;
  TRY(open_loss(&l, e, a->ignore_index, a->reduction));
  TRY(nn_load(e, e->in[0], &v));
  return reduce_loss(&l, v);
}

static void log_softmax(const double *x, double *y, int64_t n, int64_t step) {
  double max = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++)
    max = x[i * step] > max || isnan(x[i * step]) ? x[i * step] : max;
  for (int64_t i = 0; i < n; i++)
    sum += exp(x[i * step] - max);
  for (int64_t i = 0; i < n; i++)
    y[i * step] = x[i * step] - max - log(sum);
}

/* SoftmaxCrossEntropyLoss, ONNX 13. */
Status cross_entropy_eval(Eval *e) {
  const LossAttr *a = e->attr;
  const double *v;
  double *p;
  Tensor *out;
  Loss l;
  TRY(open_loss(&l, e, a->ignore_index, a->reduction));
  TRY(nn_load(e, e->in[0], &v));
  TRY(nn_buffer(e, tensor_count(e->in[0]), &p));
  for (int64_t i = 0; i < l.N * l.D; i++) {
    int64_t at = i / l.D * l.C * l.D + i % l.D;
    log_softmax(v + at, p + at, l.C, l.D);
  }
  if (e->nout > 1 && e->wanted[1]) {
    TRY(eval_out_like(e, 1, e->in[0], &out));
    nn_store(out, 0, p, tensor_count(out));
  }
  return reduce_loss(&l, p);
}
