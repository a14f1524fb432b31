/* optimizer.c - evaluation of Adagrad, Adam and Momentum (ai.onnx.preview.training 1).
 *
 * Inputs: learning rate, update count, then the tensors X of all variables, their gradients G, and one or two lists of
 * states; outputs: the new X, then the new states. Elements in double, rounded once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include <math.h>

/* One element: x, g and the states in; x and the states out. */
typedef void (*UpdateFn)(const void *attr, double rate, double count, double g, double *x, double *state);

static void adagrad(const void *attr, double rate, double count, double g, double *x, double *h) {
  const AdagradAttr *a = attr;
  g += (double)a->norm_coefficient * *x;
  *h += g * g;
  *x -= rate / (1 + count * (double)a->decay_factor) * g / (sqrt(*h) + (double)a->epsilon);
}

static void adam(const void *attr, double rate, double count, double g, double *x, double *state) {
  const AdamAttr *a = attr;
  double alpha = (double)a->alpha, beta = (double)a->beta;
  g += (double)a->norm_coefficient * *x;
  state[0] = alpha * state[0] + (1 - alpha) * g;
  state[1] = beta * state[1] + (1 - beta) * g * g;
  if (count > 0)
    rate *= sqrt(1 - pow(beta, count)) / (1 - pow(alpha, count));
  *x -= rate * state[0] / (sqrt(state[1]) + (double)a->epsilon);
  *x *= 1 - (double)a->norm_coefficient_post;
}

static void momentum(const void *attr, double rate, double count, double g, double *x, double *v) {
  const MomentumAttr *a = attr;
  double alpha = (double)a->alpha;
  g += (double)a->norm_coefficient * *x;
  *v = alpha * *v + (count > 0 ? (double)a->beta : 1) * g;
  *x -= rate * (str_is(a->mode, "nesterov") ? g + alpha * *v : *v);
}

static Status number(Eval *e, int i, const char *what, double *v) {
  const double *list;
  if (tensor_count(e->in[i]) != 1)
    return eval_fail(e, "%s must be one number", what);
  TRY(nn_load(e, e->in[i], &list));
  *v = list[0];
  return ST_OK;
}

/* Variable k of n: inputs 2 + k, 2 + n + k (gradient), 2 + 2 n + k, … (states). */
static Status update_variable(Eval *e, UpdateFn fn, int k, int n, int states, double rate, double count) {
  const Tensor *x = e->in[2 + k];
  const double *in[4];
  Tensor *out[3];
  for (int i = 0; i < 2 + states; i++) {
    if (!eval_has(e, 2 + i * n + k) || !tensor_same_shape(e->in[2 + i * n + k], x))
      return eval_fail(e, "the gradient and the states of variable %d must have its shape", k);
    TRY(nn_load(e, e->in[2 + i * n + k], &in[i]));
  }
  for (int i = 0; i < 1 + states; i++)
    TRY(eval_out_like(e, i * n + k, x, &out[i]));
  for (int64_t i = 0; i < tensor_count(x); i++) {
    double v = in[0][i], s[2] = {in[2][i], states > 1 ? in[3][i] : 0};
    fn(e->attr, rate, count, in[1][i], &v, s);
    nn_store(out[0], i, &v, 1);
    for (int j = 0; j < states; j++)
      nn_store(out[1 + j], i, &s[j], 1);
  }
  return ST_OK;
}

Status optimizer_eval(Eval *e) {
  int states = e->op == OP_Adam ? 2 : 1, n = (e->nin - 2) / (2 + states);
  UpdateFn fn = e->op == OP_Adam ? adam : e->op == OP_Adagrad ? adagrad : momentum;
  double rate, count;
  if (e->op == OP_Momentum) {
    Str mode = ((const MomentumAttr *)e->attr)->mode;
    if (!str_is(mode, "standard") && !str_is(mode, "nesterov"))
      return eval_fail(e, "mode is '%.*s'; it must be standard or nesterov", (int)(mode.len < 40 ? mode.len : 40),
                       mode.ptr);
  }
  if (n < 1 || (e->nin - 2) % (2 + states) || e->nout != n * (1 + states))
    return eval_fail(e, "%d inputs and %d outputs are no whole number of variables", e->nin, e->nout);
  TRY(number(e, 0, "the learning rate", &rate));
  TRY(number(e, 1, "the update count", &count));
  for (int k = 0; k < n; k++)
    TRY(update_variable(e, fn, k, n, states, rate, count));
  return ST_OK;
}
