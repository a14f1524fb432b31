/* conv.c - inference of Conv, ConvTranspose, ConvInteger and QLinearConv.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"
#include "ops/window.h"

/* Rank of X and, when W's is known too, the check that they agree. False: nothing can be said. */
static Status ranks(Infer *x, int iw, int *rank, bool *known) {
  int rw;
  *known = false;
  if (!in_rank(x, 0, rank) || !in_rank(x, iw, &rw))
    return ST_OK;
  if (*rank < 3)
    return infer_fail(x, "X must have a batch, a channel and at least one spatial axis");
  if (*rank != rw)
    return infer_fail(x, "X has rank %d, W has rank %d", *rank, rw);
  *known = true;
  return ST_OK;
}

static Status check_bias(Infer *x, int i, Dim channels) {
  int rank;
  if (!has_in(x, i) || !in_rank(x, i, &rank))
    return ST_OK;
  if (rank != 1)
    return infer_fail(x, "the bias must have rank 1, not %d", rank);
  return same_dim(x, in_dim(x, i, 0), channels, "the length of the bias must be {b}, not {a}", NULL);
}

/* Input 0 and weight iw; the output has dtype t. */
static Status forward(Infer *x, int iw, int ibias, DType t) {
  const ConvAttr *a = ATTR(x->n, Conv);
  const WindowAttr wa = {.auto_pad = a->auto_pad,
                         .kernel = a->kernel_shape,
                         .pads = a->pads,
                         .strides = a->strides,
                         .dilations = a->dilations};
  WindowSpec s;
  int rank;
  bool known;
  Dim out[MAX_RANK], kernel[MAX_RANK];
  TRY(ranks(x, iw, &rank, &known));
  if (!known)
    return ST_OK;
  TRY(check_group_dim(x, 0, 1, a->group, "input channels"));
  TRY(check_group_dim(x, iw, 0, a->group, "output channels"));
  TRY(same_dim(x, in_dim(x, 0, 1), dim_mul(x->c, in_dim(x, iw, 1), dim_const(x->c, a->group)),
               "W takes {b} channels (in all groups), X has {a}", NULL));
  TRY(check_bias(x, ibias, in_dim(x, iw, 0)));
  TRY(window_spec(x->c, &wa, rank - 2, &s));
  TRY(window_weight(x, &s, iw, kernel));
  out[0] = in_dim(x, 0, 0), out[1] = in_dim(x, iw, 0);
  TRY(window_dims(x, &s, in_type(x, 0)->dim + 2, kernel, out + 2));
  set_out(x, 0, t, rank, out);
  return ST_OK;
}

Status conv_infer(Infer *x) { return forward(x, 1, 2, DT_none); }

Status conv_integer_infer(Infer *x) { return forward(x, 1, 4, DT_i32); }

Status qlinear_conv_infer(Infer *x) { return forward(x, 3, 8, in_type(x, 7)->dtype); }

/* stride * (in - 1) + output_padding + dilated kernel - pads, or what output_shape or SAME say. */
static Dim transposed_dim(Infer *x, const ConvTransposeAttr *a, const WindowSpec *s, int i, Dim in, Dim kernel) {
  Ctx *c = x->c;
  Dim one = dim_const(c, 1), stride = dim_const(c, s->stride[i]);
  int64_t extra = a->output_padding.n ? a->output_padding.v[i] : 0;
  if (a->output_shape.n)
    return dim_const(c, a->output_shape.v[i]);
  if (s->mode == PAD_SAME_UPPER || s->mode == PAD_SAME_LOWER)
    return dim_mul(c, in, stride);
  Dim far = dim_mul(c, dim_sub(c, kernel, one), dim_const(c, s->dilation[i]));
  Dim full = dim_add(c, dim_mul(c, stride, dim_sub(c, in, one)), far);
  return dim_add(c, full, dim_const(c, extra + 1 - s->begin[i] - s->end[i]));
}

Status conv_transpose_infer(Infer *x) {
  const ConvTransposeAttr *a = ATTR(x->n, ConvTranspose);
  const WindowAttr wa = {.auto_pad = a->auto_pad,
                         .kernel = a->kernel_shape,
                         .pads = a->pads,
                         .strides = a->strides,
                         .dilations = a->dilations};
  WindowSpec s;
  int rank;
  bool known;
  Dim out[MAX_RANK], kernel[MAX_RANK];
  TRY(ranks(x, 1, &rank, &known));
  if (!known)
    return ST_OK;
  TRY(check_group_dim(x, 0, 1, a->group, "input channels"));
  TRY(same_dim(x, in_dim(x, 0, 1), in_dim(x, 1, 0), "the first extent of W (input channels) must be {a}, not {b}",
               NULL));
  TRY(window_spec(x->c, &wa, rank - 2, &s));
  TRY(conv_transpose_lists(x->c, a, rank - 2));
  TRY(window_weight(x, &s, 1, kernel));
  out[0] = in_dim(x, 0, 0), out[1] = dim_mul(x->c, in_dim(x, 1, 1), dim_const(x->c, a->group));
  TRY(check_bias(x, 2, out[1]));
  for (int i = 0; i < s.n; i++) {
    out[i + 2] = transposed_dim(x, a, &s, i, in_dim(x, 0, i + 2), kernel[i]);
    if (out[i + 2]->hi < 0)
      return infer_fail(x, "the pads on spatial axis %d are larger than the unpadded output", i);
  }
  set_out(x, 0, DT_none, rank, out);
  return ST_OK;
}
