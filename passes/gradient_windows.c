/* gradient_windows.c - derivatives of convolutions and of the mean of windows.
 *
 * Conv and ConvTranspose are each other's adjoint: of y = Conv(x, W), dx is ConvTranspose(dy, W) and dW the convolution of x
 * with dy; of y = ConvTranspose(x, W), dx is Conv(dy, W) and dW the convolution of dy with x.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

typedef struct Window {
  int n; /* spatial axes */
  int64_t stride[MAX_RANK], dilation[MAX_RANK], pads[2 * MAX_RANK], kernel[MAX_RANK];
} Window;

static bool find_window(Back *b, Str auto_pad, Ints strides, Ints dilations, Ints pads, Ints kernel, Window *w) {
  Value *x = b->n->in[0];
  *w = (Window){.n = x->type.rank - 2};
  if (!type_known(x) || (b->n->nin > 1 && !type_known(b->n->in[1])) || w->n < 1)
    return no_rule(b, "meets a tensor of unknown rank"), false;
  if (!str_is(auto_pad, "NOTSET") && !str_is(auto_pad, "VALID"))
    return no_rule(b, "has a derivative with explicit pads only"), false;
  for (int i = 0; i < w->n; i++) {
    w->stride[i] = strides.v ? strides.v[i] : 1;
    w->dilation[i] = dilations.v ? dilations.v[i] : 1;
    w->pads[i] = pads.v ? pads.v[i] : 0;
    w->pads[w->n + i] = pads.v ? pads.v[w->n + i] : 0;
    w->kernel[i] = kernel.v ? kernel.v[i] : 0;
  }
  return true;
}

/* Zeros behind x, or elements cut off, so that its axes from 2 on get the extents of `like`. */
static Value *fit(Back *b, Value *x, Value *like, int n) {
  int64_t axes[MAX_RANK];
  ShapeAttr spatial = {.start = 2, .end = ABSENT};
  ConcatAttr first = {.axis = 0};
  for (int i = 0; i < n; i++)
    axes[i] = i + 2;
  Value *more = sub(b, EMIT(&b->m, Shape, &spatial, like), EMIT(&b->m, Shape, &spatial, x));
  Value *pads = EMIT(&b->m, Concat, &first, sub(b, more, more), more);
  return EMIT(&b->m, Pad, NULL, x, pads, NULL, const_ints(&b->m, axes, n));
}

static Value *conv(Back *b, const Window *w, int64_t group, Value *x, Value *k) {
  ConvAttr a = {.auto_pad = str_of("NOTSET"),
                .group = group,
                .strides = {w->stride, w->n},
                .dilations = {w->dilation, w->n},
                .pads = {w->pads, 2 * w->n}};
  return EMIT(&b->m, Conv, &a, x, k);
}

/* What a convolution takes from each place of an image `like`, given back to it. No pads behind: the last windows may not
 * have reached its end. */
static Value *conv_back(Back *b, const Window *w, int64_t group, Value *y, Value *k, Value *like) {
  int64_t pads[2 * MAX_RANK] = {0};
  for (int i = 0; i < w->n; i++)
    pads[i] = w->pads[i];
  ConvTransposeAttr a = {.auto_pad = str_of("NOTSET"),
                         .group = group,
                         .strides = {w->stride, w->n},
                         .dilations = {w->dilation, w->n},
                         .pads = {pads, 2 * w->n}};
  return fit(b, EMIT(&b->m, ConvTranspose, &a, y, k), like, w->n);
}

/* [A, g B, …] to [B, g A, …] */
static Value *groups_in_batch(Back *b, Value *x, int64_t g, int n) {
  int64_t split[MAX_RANK + 1] = {0, g, -1}, perm[MAX_RANK + 1] = {2, 1, 0}, join[MAX_RANK] = {0, -1};
  ShapeAttr spatial = {.start = 2, .end = ABSENT};
  ConcatAttr first = {.axis = 0};
  if (g == 1) {
    perm[0] = 1, perm[1] = 0;
    for (int i = 2; i < n + 2; i++)
      perm[i] = i;
    return transpose_by(&b->m, x, perm, n + 2);
  }
  for (int i = 3; i < n + 3; i++)
    perm[i] = i;
  Value *size = EMIT(&b->m, Shape, &spatial, x);
  Value *to = EMIT(&b->m, Concat, &first, const_ints(&b->m, split, 3), size);
  x = transpose_by(&b->m, EMIT(&b->m, Reshape, NULL, x, to), perm, n + 3);
  to = EMIT(&b->m, Concat, &first, const_ints(&b->m, join, 2), size);
  return EMIT(&b->m, Reshape, NULL, x, to);
}

/* By its kernel k, for a convolution from image x to y, whose gradient (or what stands for it) is given: x with channels as
 * batch, convolved with y with batch as channels. Strides and dilations change places. */
static Value *conv_dw(Back *b, const Window *w, int64_t g, Value *x, Value *y, Value *k) {
  int64_t swap[MAX_RANK] = {1, 0};
  Window turned = *w;
  for (int i = 0; i < w->n; i++)
    turned.stride[i] = w->dilation[i], turned.dilation[i] = w->stride[i];
  for (int i = 2; i < w->n + 2; i++)
    swap[i] = i;
  x = groups_in_batch(b, x, g, w->n);         /* [C/g, g N, …] */
  y = transpose_by(&b->m, y, swap, w->n + 2); /* [M, N, …] */
  Value *dw = conv(b, &turned, g, x, y);      /* [C/g, M, …] */
  return fit(b, transpose_by(&b->m, dw, swap, w->n + 2), k, w->n);
}

/* Each channel's number was added at all places. */
static void give_bias(Back *b, int n) {
  int64_t axes[MAX_RANK] = {0};
  for (int i = 1; i < n + 1; i++)
    axes[i] = i + 1;
  if (wants(b, 2))
    give(b, 2, sum_over(b, b->dy[0], const_ints(&b->m, axes, n + 1), false));
}

void back_conv(Back *b) {
  const ConvAttr *a = ATTR(b->n, Conv);
  Value *x = b->n->in[0], *k = b->n->in[1], *dy = b->dy[0];
  Window w;
  if (!find_window(b, a->auto_pad, a->strides, a->dilations, a->pads, a->kernel_shape, &w))
    return;
  if (wants(b, 0))
    give(b, 0, conv_back(b, &w, a->group, dy, k, x));
  if (wants(b, 1))
    give(b, 1, conv_dw(b, &w, a->group, x, dy, k));
  give_bias(b, w.n);
}

void back_conv_transpose(Back *b) {
  const ConvTransposeAttr *a = ATTR(b->n, ConvTranspose);
  Value *x = b->n->in[0], *k = b->n->in[1], *dy = b->dy[0];
  Window w;
  if (a->output_shape.n) {
    no_rule(b, "has a derivative with explicit pads only");
    return;
  }
  if (!find_window(b, a->auto_pad, a->strides, a->dilations, a->pads, a->kernel_shape, &w))
    return;
  if (wants(b, 0))
    give(b, 0, fit(b, conv(b, &w, a->group, dy, k), x, w.n));
  if (wants(b, 1))
    give(b, 1, conv_dw(b, &w, a->group, dy, x, k));
  give_bias(b, w.n);
}

/* Each channel is an image of its own: [N, C, …] to [N C, 1, …]. */
static Value *images_of(Back *b, Value *x) {
  static const int64_t one[2] = {-1, 1};
  ShapeAttr spatial = {.start = 2, .end = ABSENT};
  ConcatAttr first = {.axis = 0};
  Value *to = EMIT(&b->m, Concat, &first, const_ints(&b->m, one, 2), EMIT(&b->m, Shape, &spatial, x));
  return EMIT(&b->m, Reshape, NULL, x, to);
}

/* The mean of a window is a convolution with ones, divided by how many elements count. */
void back_average_pool(Back *b) {
  const PoolAttr *a = ATTR(b->n, Pool);
  Value *x = b->n->in[0], *dy = b->dy[0];
  int64_t shape[MAX_RANK] = {1, 1}, all = 1;
  Window w;
  if (!find_window(b, a->auto_pad, a->strides, a->dilations, a->pads, a->kernel_shape, &w))
    return;
  if (a->ceil_mode) {
    no_rule(b, "has a derivative without ceil_mode only");
    return;
  }
  for (int i = 0; i < w.n; i++)
    shape[i + 2] = w.kernel[i], all *= w.kernel[i];
  Value *ones = apply2(b, OP_Expand, num(b, 1, x), const_ints(&b->m, shape, w.n + 2)), *image = images_of(b, x);
  Value *count =
      a->count_include_pad ? num(b, (double)all, x) : conv(b, &w, 1, spread_like(b, num(b, 1, x), image), ones);
  Value *part = quot(b, images_of(b, dy), count);
  give(b, 0, shaped_like(b, conv_back(b, &w, 1, part, ones, image), x));
}
