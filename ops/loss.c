/* loss.c - inference of NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/ops.h"

Status loss_infer(Infer *x) {
  Str reduction = ATTR(x->n, Loss)->reduction;
  Dim dim[MAX_RANK];
  int rank, labels, weights;
  bool none = str_is(reduction, "none"), known = in_rank(x, 0, &rank);
  if (!none && !str_is(reduction, "sum") && !str_is(reduction, "mean"))
    return infer_fail(x, "reduction is '%.*s'; it must be none, sum or mean",
                      (int)(reduction.len < 40 ? reduction.len : 40), reduction.ptr);
  set_out_like(x, 1, 0);
  if (!none)
    set_out(x, 0, DT_none, 0, NULL);
  if (!known || !in_rank(x, 1, &labels))
    return ST_OK;
  if (rank < 2)
    return infer_fail(x, "the scores must have a batch and a class axis");
  if (labels != rank - 1)
    return infer_fail(x, "the labels must have the shape of the scores without the class axis");
  for (int i = 0; i < labels; i++)
    TRY(same_dim(x, in_dim(x, 0, i ? i + 1 : 0), in_dim(x, 1, i), "an extent of the scores and of the labels",
                 &dim[i]));
  if (has_in(x, 2) && in_rank(x, 2, &weights)) {
    if (weights != 1)
      return infer_fail(x, "the weights must have rank 1, not %d", weights);
    TRY(same_dim(x, in_dim(x, 0, 1), in_dim(x, 2, 0), "the classes and the number of weights", NULL));
  }
  if (none)
    set_out(x, 0, DT_none, labels, dim);
  return ST_OK;
}
