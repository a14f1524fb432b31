/* losses.c - losses as operators that are compiled: SoftmaxCrossEntropyLoss as a LogSoftmax and a NegativeLogLikelihoodLoss;
 * that with a reduction as one without, its sum, and for the mean the sum of the weights, which are 0 for ignored labels.
 * Optimizer steps over several variables as one per variable.
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
    {"one variable each", OPERATOR(Adagrad), one_variable_each},
    {"one variable each", OPERATOR(Adam), one_variable_each},
    {"one variable each", OPERATOR(Momentum), one_variable_each},
};

Status pass_losses(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
