/* optimizer.c - inference of Adagrad, Adam, Momentum and Gradient.
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

/* The inputs: a value for each tensor in xs and zs, those tensors, and y (frontend/import.c). */
Status gradient_infer(Infer *x) {
  const GradientAttr *a = ATTR(x->n, Gradient);
  int64_t n = a->xs.n + a->zs.n, given = x->n->nin - 1 - n;
  if (a->xs.n < 1)
    return infer_fail(x, "attribute xs names no tensor");
  if (given != n)
    return infer_fail(x, "%lld values for the %lld tensors in xs and zs", (long long)given, (long long)n);
  if (x->n->nout > a->xs.n)
    return infer_fail(x, "%d gradients of the %lld tensors in xs", x->n->nout, (long long)a->xs.n);
  for (int i = 0; i < x->n->nin; i++)
    if (!has_in(x, i))
      return infer_fail(x, "input %d is not given", i);
  if (in_type(x, x->n->nin - 1)->dtype && dtype_kind(in_type(x, x->n->nin - 1)->dtype) != DK_FLOAT)
    return infer_fail(x, "y is no tensor of floating-point numbers");
  for (int i = 0; i < x->n->nout; i++)
    set_out_like(x, i, i);
  return ST_OK;
}
