/* loss.c - lowering of NegativeLogLikelihoodLoss (22) without a reduction. The sums and means are other nodes by then
 * (passes/losses.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

static bool nll_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  *why = "a loss that is reduced, or scores that may have no classes";
  return str_is(ATTR(n, Loss)->reduction, "none") && n->in[0]->type.rank >= 2 && n->in[0]->type.dim[1]->lo >= 1;
}

/* -weight[t] * log_prob[n, t, …] with t = labels[n, …], a class unless it is ignored. */
static Status nll(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const LossAttr *a = ATTR(n, Loss);
  const Type *in = &n->in[0]->type;
  KExpr *at[MAX_RANK], *t, *v, *w, *ignored = NULL, *zero = lower_index_const(x, 0);
  (void)out;
  TRY(lower_read(x, n->in[1], index, &t));
  t = lower_once(x, "t", ke_cast(x->k, DT_i64, t));
  KExpr *valid = k_bin(x, KOP_and, k_bin(x, KOP_le, zero, t), k_bin(x, KOP_lt, t, ke_dim(x->k, in->dim[1])));
  if (a->ignore_index != ABSENT) {
    ignored = lower_once(x, "ignored", k_bin(x, KOP_eq, t, lower_index_const(x, a->ignore_index)));
    valid = k_bin(x, KOP_or, valid, ignored);
  }
  TRY(lower_check(x, valid, t, in->dim[1], "label %lld is no class; there are %lld"));
  at[1] = ignored ? lower_once(x, "class", ke_select(x->k, ignored, zero, t)) : t;
  for (int i = 0; i < in->rank; i++)
    if (i != 1)
      at[i] = index[i ? i - 1 : 0];
  DType work = lower_work(in->dtype);
  TRY(lower_read(x, n->in[0], at, &v));
  v = k_un(x, KOP_neg, ke_cast(x->k, work, v));
  if (n->nin > 2 && n->in[2]) {
    TRY(lower_read(x, n->in[2], &at[1], &w));
    v = k_mul(x, v, ke_cast(x->k, work, w));
  }
  v = ignored ? ke_select(x->k, ignored, k_num(x, v, 0), v) : v;
  *e = ke_cast(x->k, in->dtype, v);
  return ST_OK;
}
const Lowering nll_loss_lower = {LOWER_ELEM, .can = nll_can, .elem = nll};
