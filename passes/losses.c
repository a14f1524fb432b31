/* losses.c - losses as operators that are compiled: SoftmaxCrossEntropyLoss as a LogSoftmax and a NegativeLogLikelihoodLoss;
 * that with a reduction as one without, its sum, and for the mean the sum of the weights, which are 0 for ignored labels.
 * BatchNormalization in training with its statistics as reductions; optimizer steps over several variables as one for each.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

static Value *optional(const Node *n, int i) { return i < n->nin ? n->in[i] : NULL; }

static Value *cross_entropy(Match *m) {
  Node *n = m->root;
  SoftmaxAttr along = {.axis = 1};
  Value *p = EMIT(m, LogSoftmax, &along, n->in[0]);
  Value *loss = EMIT(m, NegativeLogLikelihoodLoss, n->attr, p, n->in[1], optional(n, 2));
  if (!m->st && n->nout > 1 && n->out[1])
    replace_value(n->out[1], p);
  return loss;
}

/* The weight of each label. */
static Value *label_weights(Match *m) {
  Node *n = m->root;
  Value *labels = n->in[1], *weights = optional(n, 2);
  DType t = n->in[0]->type.dtype;
  int64_t ignore = ATTR(n, Loss)->ignore_index;
  GatherAttr along = {.axis = 0};
  if (ignore == ABSENT)
    return weights ? EMIT(m, Gather, &along, weights, labels) : NULL;
  Value *ignored = EMIT(m, Equal, NULL, labels, const_like(m, (double)ignore, labels->type.dtype));
  Value *zero = const_like(m, 0, t);
  if (!weights)
    return EMIT(m, Where, NULL, ignored, zero, const_like(m, 1, t));
  Value *class = EMIT(m, Where, NULL, ignored, const_like(m, 0, labels->type.dtype), labels);
  return EMIT(m, Where, NULL, ignored, zero, EMIT(m, Gather, &along, weights, class));
}

static bool exact_ignore(const Node *n) {
  int64_t i = ATTR(n, Loss)->ignore_index;
  return i == ABSENT || (i >= INT32_MIN && i <= INT32_MAX);
}

static Value *reduced_loss(Match *m) {
  Node *n = m->root;
  LossAttr each = *ATTR(n, Loss);
  ReduceAttr all = {.keepdims = 0};
  if (str_is(each.reduction, "none") || !type_known(n->in[0]) || !type_known(n->in[1]) || !exact_ignore(n))
    return NULL;
  bool mean = str_is(each.reduction, "mean");
  each.reduction = str_of("none");
  Value *loss = EMIT(m, NegativeLogLikelihoodLoss, &each, n->in[0], n->in[1], optional(n, 2));
  Value *weights = mean ? label_weights(m) : NULL;
  if (mean && !weights)
    return EMIT(m, ReduceMean, &all, loss);
  loss = EMIT(m, ReduceSum, &all, loss);
  return mean ? EMIT(m, Div, NULL, loss, EMIT(m, ReduceSum, &all, weights)) : loss;
}

static Value *as(Match *m, Value *v, DType t) {
  CastAttr to = {.round_mode = str_of("up"), .saturate = 1, .to = t};
  return v->type.dtype == t ? v : EMIT(m, Cast, &to, v);
}

/* The type that inputs of several float types are computed in. */
static DType common_float(const Node *n) {
  DType t = n->in[0]->type.dtype;
  for (int i = 1; i < n->nin; i++)
    if (n->in[i]->type.dtype != t)
      t = t == DT_f64 || n->in[i]->type.dtype == DT_f64 ? DT_f64 : DT_f32;
  return t;
}

/* y = (x - mean) / sqrt(var + epsilon) * scale + bias with the statistics of the batch, which move the running ones. */
static Value *batch_training(Match *m) {
  Node *n = m->root;
  const BatchNormalizationAttr *a = ATTR(n, BatchNormalization);
  Value *x = n->in[0], *p[3], *stat[2];
  int64_t axes[MAX_RANK] = {0}, behind[MAX_RANK];
  int rank = x->type.rank;
  ReduceAttr keep = {.keepdims = 1};
  if (!a->training_mode || !type_known(x) || rank < 2)
    return NULL;
  DType t = common_float(n);
  x = as(m, x, t);
  for (int i = 2; i < rank; i++)
    axes[i - 1] = i, behind[i - 2] = i - 1;
  Value *others = const_ints(m, axes, rank - 1);
  for (int i = 1; i < 3; i++) /* [C] to [C, 1, …] */
    p[i] =
        rank > 2 ? EMIT(m, Unsqueeze, NULL, as(m, n->in[i], t), const_ints(m, behind, rank - 2)) : as(m, n->in[i], t);
  stat[0] = EMIT(m, ReduceMean, &keep, x, others);
  Value *d = EMIT(m, Sub, NULL, x, stat[0]);
  stat[1] = EMIT(m, ReduceMean, &keep, EMIT(m, Mul, NULL, d, d), others);
  Value *sd = EMIT(m, Add, NULL, stat[1], const_like(m, (double)a->epsilon, t));
  Value *y = EMIT(m, Div, NULL, d, EMIT(m, Sqrt, NULL, sd));
  y = EMIT(m, Add, NULL, EMIT(m, Mul, NULL, y, p[1]), p[2]);
  for (int i = 0; i < 2; i++) {
    double momentum = (double)a->momentum;
    Value *now = EMIT(m, Squeeze, NULL, stat[i], others);
    now = EMIT(m, Mul, NULL, now, const_like(m, 1 - momentum, t));
    Value *before = EMIT(m, Mul, NULL, as(m, n->in[i + 3], t), const_like(m, momentum, t));
    stat[i] = as(m, EMIT(m, Add, NULL, before, now), n->in[3]->type.dtype);
  }
  for (int i = 0; i < 2 && !m->st; i++)
    if (i + 1 < n->nout && n->out[i + 1])
      replace_value(n->out[i + 1], stat[i]);
  return as(m, y, n->in[0]->type.dtype);
}

/* Inputs: rate, count, all X, all G, then the states; outputs: all X, then the states. */
static Value *one_variable_each(Match *m) {
  Node *n = m->root;
  int lists = n->op == OP_Adam ? 4 : 3, vars = (n->nin - 2) / lists;
  Value *in[6] = {n->in[0], n->in[1]}, *first = NULL;
  if (vars < 2)
    return NULL;
  Node **made = arena_array(m->g->arena, Node *, (size_t)vars);
  for (int k = 0; k < vars; k++) {
    for (int i = 0; i < lists; i++)
      in[2 + i] = n->in[2 + i * vars + k];
    made[k] = graph_add_node(m->g, n, n->op, 2 + lists, lists - 1, n->attr, n->origin);
    node_set_inputs(made[k], 2 + lists, in);
    Status st = m->st ? ST_OK : node_infer(m->c, made[k]);
    m->st = st ? st : m->st;
  }
  for (int k = 0; !m->st && k < vars; k++)
    for (int i = 0; i < lists - 1; i++) {
      Value *old = n->out[i * vars + k];
      if (!k && !i)
        first = made[0]->out[0];
      else if (old)
        replace_value(old, made[k]->out[i]);
    }
  return first ? first : made[0]->out[0];
}

static const Rule rules[] = {
    {"cross entropy", OPERATOR(SoftmaxCrossEntropyLoss), cross_entropy},
    {"loss with a reduction", OPERATOR(NegativeLogLikelihoodLoss), reduced_loss},
    {"statistics of the batch", OPERATOR(BatchNormalization), batch_training},
    {"one variable each", OPERATOR(Adagrad), one_variable_each},
    {"one variable each", OPERATOR(Adam), one_variable_each},
    {"one variable each", OPERATOR(Momentum), one_variable_each},
};

Status pass_losses(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
