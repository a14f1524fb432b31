/* image.c - inference of AffineGrid, CenterCropPad, Col2Im, MaxUnpool and DeformConv.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"
#include "ops/window.h"

#include <string.h>

Status affine_grid_infer(Infer *x) {
  const Dim *size;
  Dim dim[MAX_RANK];
  int rank;
  int64_t n;
  if (known_rank(x, 0, &rank) && rank != 3)
    return infer_fail(x, "theta must have rank 3, not %d", rank);
  if (!content_of(x, 1, &size, &n)) {
    if (count_of(x, 1, &n) && (n == 4 || n == 5))
      set_out_run(x, 0, DT_none, (int)n, "grid");
    return ST_OK;
  }
  if (n != 4 && n != 5)
    return infer_fail(x, "size must have 4 or 5 elements, not %lld", (long long)n);
  if (in_type(x, 0)->rank == 3) {
    TRY(same_dim(x, in_dim(x, 0, 0), size[0], "the batch sizes of theta and size", NULL));
    TRY(same_dim(x, in_dim(x, 0, 1), dim_const(x->c, n - 2), "the rows of theta and the spatial axes", NULL));
    TRY(same_dim(x, in_dim(x, 0, 2), dim_const(x->c, n - 1), "the columns of theta and the coordinates", NULL));
  }
  dim[0] = size[0], dim[n - 1] = dim_const(x->c, n - 2);
  for (int64_t i = 2; i < n; i++)
    dim[i - 1] = size[i];
  set_out(x, 0, DT_none, (int)n, dim);
  return ST_OK;
}

Status center_crop_pad_infer(Infer *x) {
  Ints axes = ATTR(x->n, CenterCropPad)->axes;
  const Dim *want;
  Dim dim[MAX_RANK];
  bool seen[MAX_RANK] = {0};
  int rank, axis;
  int64_t n;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  if (!axes.v)
    for (int i = 0; i < rank; i++)
      seen[i] = true;
  else
    TRY(mark_axes(x, axes.v, axes.n, rank, seen));
  if (!content_of(x, 1, &want, &n)) {
    for (int i = 0; i < rank; i++)
      dim[i] = seen[i] ? run_dim(x, 0, rank, i, "crop") : dim[i];
    set_out(x, 0, DT_none, rank, dim);
    return ST_OK;
  }
  if (n != (axes.v ? axes.n : rank))
    return infer_fail(x, "shape has %lld extents where %lld are needed", (long long)n,
                      (long long)(axes.v ? axes.n : rank));
  for (int64_t i = 0; i < n; i++) {
    axis = (int)i;
    if (axes.v)
      TRY(norm_axis(x, axes.v[i], rank, false, &axis));
    if (want[i]->hi < 0)
      return infer_fail(x, "extent %lld of the shape is %s", (long long)i, dim_text(x->c, want[i]));
    dim[axis] = want[i];
  }
  set_out(x, 0, DT_none, rank, dim);
  return ST_OK;
}

/* The channels: rows of the columns over the taps of a block. */
static Dim block_channels(Infer *x) {
  const Dim *block;
  int64_t n;
  if (in_type(x, 0)->rank != 3 || !content_of(x, 2, &block, &n))
    return NULL;
  Dim taps = dim_const(x->c, 1), one = taps;
  for (int64_t i = 0; i < n; i++)
    taps = dim_mul(x->c, taps, dim_max(x->c, block[i], one)); /* what is less is an error */
  return dim_div(x->c, in_dim(x, 0, 1), taps);
}

Status col2im_infer(Infer *x) {
  const Dim *image;
  Dim dim[MAX_RANK];
  int rank;
  int64_t n;
  bool known = known_rank(x, 0, &rank);
  if (known && rank != 3)
    return infer_fail(x, "the input must have rank 3, not %d", rank);
  bool content = content_of(x, 1, &image, &n);
  if (!content && !count_of(x, 1, &n))
    return ST_OK;
  if (n < 1 || n > MAX_RANK - 2)
    return infer_fail(x, "an image of %lld axes", (long long)n);
  Dim channels = block_channels(x);
  dim[0] = known ? in_dim(x, 0, 0) : run_dim(x, 0, (int)n + 2, 0, "image");
  dim[1] = channels ? channels : run_dim(x, 0, (int)n + 2, 1, "image");
  for (int i = 0; i < n; i++) {
    dim[i + 2] = content ? image[i] : run_dim(x, 0, (int)n + 2, i + 2, "image");
    if (dim[i + 2]->hi < 0)
      return infer_fail(x, "extent %d of the image is %s", i, dim_text(x->c, dim[i + 2]));
  }
  set_out(x, 0, DT_none, (int)n + 2, dim);
  return ST_OK;
}

Status max_unpool_infer(Infer *x) {
  const MaxUnpoolAttr *a = ATTR(x->n, MaxUnpool);
  const WindowAttr wa = {
      .auto_pad = str_of("NOTSET"), .kernel = a->kernel_shape, .pads = a->pads, .strides = a->strides};
  const Dim *want;
  Dim dim[MAX_RANK];
  WindowSpec s;
  int rank;
  int64_t n;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 3)
    return infer_fail(x, "X must have a batch, a channel and at least one spatial axis");
  TRY(window_spec(x->c, &wa, rank - 2, &s));
  TRY(window_kernel(x->c, &s, NULL));
  if (has_in(x, 2) && !content_of(x, 2, &want, &n)) {
    set_out_run(x, 0, DT_none, rank, "unpool");
    return ST_OK;
  }
  if (has_in(x, 2) && n != rank)
    return infer_fail(x, "output_shape has %lld extents where %d are needed", (long long)n, rank);
  for (int i = 0; i < rank; i++) {
    dim[i] = in_dim(x, 0, i);
    if (i >= 2) {
      Dim steps = dim_mul(x->c, dim_sub(x->c, dim[i], dim_const(x->c, 1)), dim_const(x->c, s.stride[i - 2]));
      dim[i] = dim_add(x->c, steps, dim_const(x->c, s.kernel[i - 2] - s.begin[i - 2] - s.end[i - 2]));
    }
    if (dim[i]->hi < 0 || (has_in(x, 2) && want[i]->hi < dim[i]->lo))
      return infer_fail(x, "axis %d of the output does not hold what is unpooled", i);
    dim[i] = has_in(x, 2) ? want[i] : dim[i];
  }
  set_out(x, 0, DT_none, rank, dim);
  return ST_OK;
}

Status deform_conv_infer(Infer *x) {
  const DeformConvAttr *a = ATTR(x->n, DeformConv);
  const WindowAttr wa = {.auto_pad = str_of("NOTSET"),
                         .kernel = a->kernel_shape,
                         .pads = a->pads,
                         .strides = a->strides,
                         .dilations = a->dilations};
  Dim kernel[MAX_RANK], out[MAX_RANK];
  WindowSpec s;
  int rank, weight;
  if (!in_rank(x, 0, &rank) || !in_rank(x, 1, &weight))
    return ST_OK;
  if (rank < 3 || weight != rank)
    return infer_fail(x, "X and W must have one rank, with at least one spatial axis");
  TRY(check_group_dim(x, 0, 1, a->group, "input channels"));
  TRY(check_group_dim(x, 1, 0, a->group, "output channels"));
  TRY(check_group_dim(x, 0, 1, a->offset_group, "input channels"));
  TRY(same_dim(x, in_dim(x, 0, 1), dim_mul(x->c, in_dim(x, 1, 1), dim_const(x->c, a->group)),
               "W takes {b} channels (in all groups), X has {a}", NULL));
  TRY(window_spec(x->c, &wa, rank - 2, &s));
  TRY(window_weight(x, &s, 1, kernel));
  out[0] = in_dim(x, 0, 0), out[1] = in_dim(x, 1, 0);
  TRY(window_dims(x, &s, in_type(x, 0)->dim + 2, kernel, out + 2));
  set_out(x, 0, DT_none, rank, out);
  return ST_OK;
}
