/* detect.c - inference of NonMaxSuppression, Suppress, RoiAlign and MaxRoiPool.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

static Status expect_rank(Infer *x, int i, int rank, const char *what, bool *known) {
  int r;
  if (!known_rank(x, i, &r))
    *known = false;
  else if (r != rank)
    return infer_fail(x, "%s must have rank %d, not %d", what, rank, r);
  return ST_OK;
}

Status nms_infer(Infer *x) {
  bool known = true;
  Dim triple[2];
  TRY(expect_rank(x, 0, 3, "boxes", &known));
  TRY(expect_rank(x, 1, 3, "scores", &known));
  if (known) {
    TRY(same_dim(x, in_dim(x, 0, 2), dim_const(x->c, 4), "the last axis of boxes and the corners", NULL));
    TRY(same_dim(x, in_dim(x, 0, 0), in_dim(x, 1, 0), "the batch sizes of boxes and scores", NULL));
    TRY(same_dim(x, in_dim(x, 0, 1), in_dim(x, 1, 2), "the numbers of boxes in boxes and scores", NULL));
  }
  triple[0] = run_dim(x, 0, 2, 0, "selected"), triple[1] = dim_const(x->c, 3);
  set_out(x, 0, DT_i64, 2, triple);
  return ST_OK;
}

/* Suppress: boxes, scores, the boxes of each class by falling score, how many to keep, the thresholds; the boxes that are
 * kept, class by class in that order, then -1. */
Status suppress_infer(Infer *x) {
  bool known = true;
  TRY(expect_rank(x, 0, 3, "boxes", &known));
  TRY(expect_rank(x, 1, 3, "scores", &known));
  set_out(x, 0, DT_i64, known ? 3 : -1, in_type(x, 1)->dim);
  return ST_OK;
}

Status roi_align_infer(Infer *x) {
  const RoiAlignAttr *a = ATTR(x->n, RoiAlign);
  bool known = true;
  TRY(expect_rank(x, 0, 4, "X", &known));
  TRY(expect_rank(x, 1, 2, "rois", &known));
  TRY(expect_rank(x, 2, 1, "batch_indices", &known));
  if (a->output_height < 1 || a->output_width < 1 || a->sampling_ratio < 0)
    return infer_fail(x, "output %lld x %lld with %lld samples per bin", (long long)a->output_height,
                      (long long)a->output_width, (long long)a->sampling_ratio);
  if (!known)
    return ST_OK;
  TRY(same_dim(x, in_dim(x, 1, 1), dim_const(x->c, 4), "the columns of rois and the corners", NULL));
  TRY(same_dim(x, in_dim(x, 1, 0), in_dim(x, 2, 0), "the lengths of rois and batch_indices", NULL));
  set_out(
      x, 0, DT_none, 4,
      (Dim[]){in_dim(x, 1, 0), in_dim(x, 0, 1), dim_const(x->c, a->output_height), dim_const(x->c, a->output_width)});
  return ST_OK;
}

Status max_roi_pool_infer(Infer *x) {
  Ints pooled = ATTR(x->n, MaxRoiPool)->pooled_shape;
  bool known = true;
  TRY(expect_rank(x, 0, 4, "X", &known));
  TRY(expect_rank(x, 1, 2, "rois", &known));
  if (pooled.n != 2 || pooled.v[0] < 1 || pooled.v[1] < 1)
    return infer_fail(x, "pooled_shape must be two positive numbers");
  if (!known)
    return ST_OK;
  TRY(same_dim(x, in_dim(x, 1, 1), dim_const(x->c, 5), "the columns of rois and (image, corners)", NULL));
  set_out(x, 0, DT_none, 4,
          (Dim[]){in_dim(x, 1, 0), in_dim(x, 0, 1), dim_const(x->c, pooled.v[0]), dim_const(x->c, pooled.v[1])});
  return ST_OK;
}
