/* optimizer.c - lowering of Adagrad, Adam and Momentum (ai.onnx.preview.training 1) of one variable: every output element by
 * element.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

static bool optimizer_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  *why = "several variables, a rate or a count that is no scalar, or shapes that are compared at run time";
  if (n->nin != (n->op == OP_Adam ? 6 : 5) || n->in[0]->type.rank || n->in[1]->type.rank)
    return false;
  for (int i = 3; i < n->nin; i++)
    if (!same_dims(&n->in[i]->type, &n->in[2]->type))
      return false;
  return true;
}

typedef struct Step {
  Lower *x;
  KExpr *rate, *count, *v, *g, *state[2]; /* v: X */
} Step;

static KExpr *number(const Step *s, double v) { return k_num(s->x, s->v, v); }

/* a * p + b * q */
static KExpr *mix(const Step *s, double a, KExpr *p, double b, KExpr *q) {
  return k_add(s->x, k_mul(s->x, number(s, a), p), k_mul(s->x, number(s, b), q));
}

static KExpr *positive_count(const Step *s) { return k_bin(s->x, KOP_lt, number(s, 0), s->count); }

/* Each gives output `out` of its operator: X, then the states. */
static KExpr *adagrad(const Step *s, const AdagradAttr *a, int out) {
  Lower *x = s->x;
  KExpr *h = lower_once(x, "h", k_add(x, s->state[0], k_mul(x, s->g, s->g)));
  if (out)
    return h;
  KExpr *rate = k_div(x, s->rate, k_add(x, number(s, 1), k_mul(x, s->count, number(s, (double)a->decay_factor))));
  KExpr *step = k_div(x, s->g, k_add(x, k_un(x, KOP_sqrt, h), number(s, (double)a->epsilon)));
  return k_sub(x, s->v, k_mul(x, lower_once(x, "rate", rate), step));
}

static KExpr *adam(const Step *s, const AdamAttr *a, int out) {
  Lower *x = s->x;
  double alpha = (double)a->alpha, beta = (double)a->beta;
  KExpr *v = lower_once(x, "v", mix(s, alpha, s->state[0], 1 - alpha, s->g));
  KExpr *h = lower_once(x, "h", mix(s, beta, s->state[1], 1 - beta, k_mul(x, s->g, s->g)));
  if (out)
    return out == 1 ? v : h;
  KExpr *one = number(s, 1), *up = k_sub(x, one, k_bin(x, KOP_pow, number(s, beta), s->count));
  KExpr *down = k_sub(x, one, k_bin(x, KOP_pow, number(s, alpha), s->count));
  KExpr *rate = k_div(x, k_mul(x, s->rate, k_un(x, KOP_sqrt, up)), down);
  rate = lower_once(x, "rate", ke_select(x->k, positive_count(s), rate, s->rate));
  KExpr *step = k_div(x, v, k_add(x, k_un(x, KOP_sqrt, h), number(s, (double)a->epsilon)));
  KExpr *y = k_sub(x, s->v, k_mul(x, rate, step));
  return k_mul(x, y, number(s, 1 - (double)a->norm_coefficient_post));
}

static KExpr *momentum(const Step *s, const MomentumAttr *a, int out) {
  Lower *x = s->x;
  KExpr *alpha = number(s, (double)a->alpha);
  KExpr *beta = lower_once(x, "beta", ke_select(x->k, positive_count(s), number(s, (double)a->beta), number(s, 1)));
  KExpr *v = lower_once(x, "v", k_add(x, k_mul(x, alpha, s->state[0]), k_mul(x, beta, s->g)));
  if (out)
    return v;
  KExpr *step = str_is(a->mode, "nesterov") ? k_add(x, s->g, k_mul(x, alpha, v)) : v;
  return k_sub(x, s->v, k_mul(x, s->rate, step));
}

static double regularisation(const Node *n) {
  switch (n->op) {
  case OP_Adagrad: return (double)ATTR(n, Adagrad)->norm_coefficient;
  case OP_Adam: return (double)ATTR(n, Adam)->norm_coefficient;
  default: return (double)ATTR(n, Momentum)->norm_coefficient;
  }
}

static Status optimizer(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  Step s = {.x = x};
  KExpr **part[6] = {&s.rate, &s.count, &s.v, &s.g, &s.state[0], &s.state[1]};
  for (int i = 0; i < n->nin; i++) {
    TRY(lower_read(x, n->in[i], index, part[i]));
    *part[i] = lower_once(x, "in", ke_cast(x->k, n->in[2]->type.dtype, *part[i]));
  }
  double c = regularisation(n);
  if (c != 0)
    s.g = lower_once(x, "g", k_add(x, s.g, k_mul(x, number(&s, c), s.v)));
  *e = n->op == OP_Adagrad ? adagrad(&s, ATTR(n, Adagrad), out)
       : n->op == OP_Adam  ? adam(&s, ATTR(n, Adam), out)
                           : momentum(&s, ATTR(n, Momentum), out);
  return ST_OK;
}
const Lowering optimizer_lower = {LOWER_ELEM, .can = optimizer_can, .elem = optimizer};
