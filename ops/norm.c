/* norm.c - inference of the normalisations whose outputs are not all like the input or that have an axis, of Softmax and of Dropout.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include "ir/infer.h"

#include <stdio.h>

/* Like the input, an axis of which is meant. */
static Status along(Infer *x, int64_t axis) {
  int rank, a;
  set_out_like(x, 0, 0);
  return in_rank(x, 0, &rank) ? norm_axis(x, axis, rank, false, &a) : ST_OK;
}
Status softmax_infer(Infer *x) { return along(x, ATTR(x->n, Softmax)->axis); }

Status lp_norm_infer(Infer *x) {
  const LpNormalizationAttr *a = ATTR(x->n, LpNormalization);
  if (a->p != 1 && a->p != 2)
    return infer_fail(x, "p is %lld; it must be 1 or 2", (long long)a->p);
  return along(x, a->axis);
}

Status mvn_infer(Infer *x) {
  Ints axes = ATTR(x->n, MeanVarianceNormalization)->axes;
  for (int64_t i = 0; i < axes.n; i++)
    TRY(along(x, axes.v[i]));
  set_out_like(x, 0, 0);
  return ST_OK;
}

Status batch_norm_infer(Infer *x) {
  static const char *const names[] = {"", "scale", "B", "input_mean", "input_var"};
  int rank, r;
  bool training = ATTR(x->n, BatchNormalization)->training_mode != 0;
  set_out_like(x, 0, 0);
  for (int i = 1; i < 3; i++) {
    if (has_out(x, i) && !training)
      return infer_fail(x, "the running statistics are outputs of training mode only");
    if (has_out(x, i))
      set_out_like(x, i, i + 2);
  }
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 1)
    return infer_fail(x, "X must have a batch axis");
  Dim channels = rank > 1 ? in_dim(x, 0, 1) : dim_const(x->c, 1);
  for (int i = 1; i < 5; i++) {
    char what[64];
    snprintf(what, sizeof what, "the channels of X and the length of %s", names[i]);
    if (!in_rank(x, i, &r))
      continue;
    if (r != 1)
      return infer_fail(x, "%s must have rank 1, not %d", names[i], r);
    TRY(same_dim(x, channels, in_dim(x, i, 0), what, NULL));
  }
  return ST_OK;
}

Status layer_norm_infer(Infer *x) {
  const LayerNormalizationAttr *a = ATTR(x->n, LayerNormalization);
  int rank, axis, r, br;
  Dim dim[MAX_RANK];
  set_out_like(x, 0, 0);
  if (a->stash_type != DT_f32 && a->stash_type != DT_f64 && a->stash_type != DT_f16 && a->stash_type != DT_bf16)
    return infer_fail(x, "stash_type %lld is no float type", (long long)a->stash_type);
  for (int i = 1; i < 3; i++)
    if (has_out(x, i))
      set_out(x, i, (DType)a->stash_type, -1, NULL);
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(norm_axis(x, a->axis, rank, false, &axis));
  for (int i = 1; i < 3; i++)
    if (has_in(x, i) && in_rank(x, i, &r)) {
      TRY(broadcast_dims(x, rank, in_type(x, 0)->dim, r, in_type(x, i)->dim, &br, dim));
      if (br > rank)
        return infer_fail(x, "input %d has a higher rank than X", i);
    }
  for (int i = 0; i < rank; i++)
    dim[i] = i < axis ? in_dim(x, 0, i) : dim_const(x->c, 1);
  for (int i = 1; i < 3; i++)
    if (has_out(x, i))
      set_out(x, i, (DType)a->stash_type, rank, dim);
  return ST_OK;
}

Status rms_norm_infer(Infer *x) { /* the output has the type of scale */
  const Type *t = in_type(x, 0);
  int rank, axis, r;
  Dim dim[MAX_RANK];
  set_out(x, 0, in_type(x, 1)->dtype, t->rank, t->dim);
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(norm_axis(x, ATTR(x->n, RMSNormalization)->axis, rank, false, &axis));
  if (!in_rank(x, 1, &r))
    return ST_OK;
  TRY(broadcast_dims(x, rank, t->dim, r, in_type(x, 1)->dim, &r, dim));
  return r > rank ? infer_fail(x, "scale has a higher rank than X") : ST_OK;
}

Status dropout_infer(Infer *x) {
  set_out_like(x, 0, 0);
  if (has_out(x, 1)) {
    const Type *t = in_type(x, 0);
    set_out(x, 1, DT_bool, t->rank, t->dim);
  }
  return ST_OK;
}
