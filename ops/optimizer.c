/* optimizer.c - inference of Adagrad, Adam and Momentum.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/ops.h"

#include <math.h>

Status optimizer_infer(Infer *x) {
  int states = x->n->op == OP_Adam ? 2 : 1, n = (x->n->nin - 2) / (2 + states);
  if (n < 1 || (x->n->nin - 2) % (2 + states) || x->n->nout != n * (1 + states))
    return infer_fail(x, "%d inputs and %d outputs are no whole number of variables", x->n->nin, x->n->nout);
  if (x->n->op == OP_Momentum) {
    const MomentumAttr *a = ATTR(x->n, Momentum);
    Str mode = a->mode;
    if (isnan(a->alpha) || isnan(a->beta) || isnan(a->norm_coefficient))
      return infer_fail(x, "attributes alpha, beta and norm_coefficient are needed");
    if (!str_is(mode, "standard") && !str_is(mode, "nesterov"))
      return infer_fail(x, "mode is '%.*s'; it must be standard or nesterov", (int)(mode.len < 40 ? mode.len : 40),
                        mode.ptr);
  }
  for (int k = 0; k < n; k++)
    for (int i = 0; i < 1 + states; i++)
      set_out_like(x, i * n + k, 2 + k);
  return ST_OK;
}
