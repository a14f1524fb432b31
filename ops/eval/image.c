/* image.c - evaluation of AffineGrid, CenterCropPad, Col2Im, MaxUnpool and DeformConv.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

/* --- AffineGrid --- */

/* Where pixel i of n lies between -1 and 1: by its centre, or with the outer pixels' centres at the ends. */
static double grid_coordinate(int64_t i, int64_t n, bool corners) {
  if (corners)
    return n > 1 ? 2 * (double)i / (double)(n - 1) - 1 : 0;
  return (2 * (double)i + 1) / (double)n - 1;
}

/* AffineGrid, ONNX 20: grid[n][(d,) h, w] = theta[n] (x, y, (z,) 1). */
Status affine_grid_eval(Eval *e) {
  bool corners = ((const AffineGridAttr *)e->attr)->align_corners != 0;
  const Tensor *t = e->in[0];
  const double *theta;
  const int64_t *size;
  int64_t n, idx[MAX_RANK] = {0}, dim[MAX_RANK];
  Tensor *y;
  TRY(nn_expect_rank(e, 0, 3, "theta"));
  TRY(eval_ints(e, 1, &size, &n));
  int s = (int)t->dim[1]; /* spatial axes */
  if ((n != 4 && n != 5) || t->dim[1] != n - 2 || t->dim[2] != n - 1 || t->dim[0] != size[0])
    return eval_fail(e, "theta must be [N,2,3] with a size of 4, or [N,3,4] with a size of 5");
  TRY(nn_load(e, t, &theta));
  dim[0] = size[0], dim[s + 1] = s;
  memcpy(dim + 1, size + 2, (size_t)s * sizeof *dim);
  TRY(eval_out(e, 0, t->dtype, s + 2, dim, &y));
  for (int64_t i = 0, count = tensor_count(y); i < count; i += s) {
    double base[4], row[3];
    for (int k = 0; k < s; k++) /* x belongs to the last axis */
      base[k] = grid_coordinate(idx[s - k], dim[s - k], corners);
    base[s] = 1;
    for (int r = 0; r < s; r++) {
      row[r] = 0;
      for (int k = 0; k <= s; k++)
        row[r] += theta[(idx[0] * s + r) * (s + 1) + k] * base[k];
    }
    nn_store(y, i, row, s);
    next_index(s + 1, dim, idx);
  }
  return ST_OK;
}

/* --- CenterCropPad --- */

/* CenterCropPad, ONNX 18: on each axis the middle of the input, or the input in the middle of zeros. */
Status center_crop_pad_eval(Eval *e) {
  const CenterCropPadAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const int64_t *want;
  int64_t n, dim[MAX_RANK], box[MAX_RANK];
  bool seen[MAX_RANK] = {0};
  Tensor *y;
  TRY(eval_ints(e, 1, &want, &n));
  if (n != (a->axes.v ? a->axes.n : x->rank))
    return eval_fail(e, "shape has %lld extents where %lld are needed", (long long)n,
                     (long long)(a->axes.v ? a->axes.n : x->rank));
  memcpy(dim, x->dim, sizeof dim);
  for (int64_t i = 0; i < n; i++) {
    int axis = (int)i;
    if (a->axes.v)
      TRY(eval_axis(e, a->axes.v[i], x->rank, false, &axis));
    if (seen[axis] || want[i] < 0)
      return eval_fail(e, "extent %lld of axis %d, or an axis that is named twice", (long long)want[i], axis);
    seen[axis] = true, dim[axis] = want[i];
  }
  TRY(move_out(e, 0, x->dtype, x->rank, dim, &y));
  View from = view_of(x), to = view_of(y);
  move_fill(x->dtype, y->data, 0, tensor_count(y), NULL);
  for (int i = 0; i < x->rank; i++) {
    int64_t more = dim[i] - x->dim[i]; /* an odd pixel goes to the end */
    *(more > 0 ? &to.at : &from.at) += (more > 0 ? more / 2 : -more / 2) * (more > 0 ? to.stride[i] : from.stride[i]);
    box[i] = more > 0 ? x->dim[i] : dim[i];
  }
  if (tensor_count(x) && tensor_count(y))
    move_box(x->dtype, x->rank, box, &to, &from);
  return move_done(e, y);
}

/* --- Col2Im --- */

/* The geometry of blocks, as that of a convolution on the image. */
static Status block_window(Eval *e, const Col2ImAttr *a, Window *w, int64_t *taps, int64_t *blocks) {
  const WindowAttr wa = {
      .auto_pad = str_of("NOTSET"), .pads = a->pads, .strides = a->strides, .dilations = a->dilations};
  const int64_t *image, *kernel;
  int64_t n, m;
  WindowSpec s;
  TRY(eval_ints(e, 1, &image, &n));
  TRY(eval_ints(e, 2, &kernel, &m));
  if (n != m || n < 1 || n > MAX_RANK - 2)
    return eval_fail(e, "image_shape and block_shape must have as many extents as the image has axes");
  for (int64_t i = 0; i < n; i++)
    if (image[i] < 0)
      return eval_fail(e, "extent %lld of the image is %lld", (long long)i, (long long)image[i]);
  TRY(window_spec(e->c, &wa, (int)n, &s));
  TRY(window_kernel(e->c, &s, kernel));
  TRY(window_apply(e, &s, image, w));
  if (!extent_ok(w->kernel, w->n, taps) || !extent_ok(w->out, w->n, blocks))
    return eval_fail(e, "the blocks are too many");
  return ST_OK;
}

/* Where in the image each element of a column goes: [taps][blocks], -1 outside of it. */
static void column_places(const Window *w, int64_t taps, int64_t blocks, int64_t *place) {
  for (int64_t k = 0; k < taps; k++)
    for (int64_t b = 0; b < blocks; b++) {
      int64_t at = 0, scale = 1, tap = k, block = b;
      bool inside = true;
      for (int i = w->n - 1; i >= 0; i--) {
        int64_t p = block % w->out[i] * w->stride[i] - w->begin[i] + tap % w->kernel[i] * w->dilation[i];
        inside = inside && p >= 0 && p < w->in[i];
        at += p * scale, scale *= w->in[i];
        tap /= w->kernel[i], block /= w->out[i];
      }
      place[k * blocks + b] = inside ? at : -1;
    }
}

typedef union Sum {
  double f;
  uint64_t n; /* integers wrap, as all sums of them do */
} Sum;

/* n elements of columns into the image they make, which begins at `to`; sum: as many as it has elements. */
static void add_columns(const Tensor *x, const int64_t *place, int64_t n, int64_t from, Tensor *y, int64_t to,
                        int64_t size, Sum *sum) {
  bool whole = dtype_is_int(x->dtype);
  memset(sum, 0, (size_t)size * sizeof *sum);
  for (int64_t i = 0; i < n; i++)
    if (place[i] >= 0 && whole)
      sum[place[i]].n += (uint64_t)elem_i64(x->dtype, x->data, from + i);
    else if (place[i] >= 0)
      sum[place[i]].f += elem_f64(x->dtype, x->data, from + i);
  for (int64_t i = 0; i < size; i++)
    if (whole)
      elem_set_i64(y->dtype, y->data, to + i, (int64_t)sum[i].n);
    else
      elem_set_f64(y->dtype, y->data, to + i, sum[i].f);
}

/* Col2Im, ONNX 18. */
Status col2im_eval(Eval *e) {
  const Tensor *x = e->in[0];
  int64_t taps, blocks, dim[MAX_RANK], size = 1, *place;
  Window w;
  Tensor *y;
  TRY(nn_expect_rank(e, 0, 3, "the input"));
  TRY(block_window(e, e->attr, &w, &taps, &blocks));
  if (x->dim[1] % taps)
    return eval_fail(e, "the columns have %lld elements, no multiple of a block's", (long long)x->dim[1]);
  if (x->dim[2] != blocks)
    return eval_fail(e, "%lld blocks make an image, not %lld", (long long)blocks, (long long)x->dim[2]);
  dim[0] = x->dim[0], dim[1] = x->dim[1] / taps;
  memcpy(dim + 2, w.in, (size_t)w.n * sizeof *dim);
  TRY(eval_out(e, 0, x->dtype, w.n + 2, dim, &y));
  for (int i = 0; i < w.n; i++)
    size *= w.in[i];
  place = arena_array(e->scratch, int64_t, (size_t)(taps * blocks));
  column_places(&w, taps, blocks, place);
  Sum *sum = arena_array(e->scratch, Sum, (size_t)size);
  for (int64_t i = 0; i < dim[0] * dim[1]; i++) {
    TRY(ctx_poll(e->c));
    add_columns(x, place, taps * blocks, i * taps * blocks, y, i * size, size, sum);
  }
  return ST_OK;
}

/* --- MaxUnpool --- */

/* The extents that MaxPool was given, if nothing was cut off. */
static Status unpooled_extents(Eval *e, int64_t *dim) {
  const MaxUnpoolAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const WindowAttr wa = {
      .auto_pad = str_of("NOTSET"), .kernel = a->kernel_shape, .pads = a->pads, .strides = a->strides};
  WindowSpec s;
  if (x->rank < 3)
    return eval_fail(e, "X must have a batch, a channel and at least one spatial axis");
  TRY(nn_expect_rank(e, 1, x->rank, "the indices"));
  for (int i = 0; i < x->rank; i++)
    if (x->dim[i] != e->in[1]->dim[i])
      return eval_fail(e, "an extent of the indices is %lld, that of X %lld", (long long)e->in[1]->dim[i],
                       (long long)x->dim[i]);
  TRY(window_spec(e->c, &wa, x->rank - 2, &s));
  TRY(window_kernel(e->c, &s, NULL));
  memcpy(dim, x->dim, sizeof *dim * MAX_RANK);
  for (int i = 0; i < s.n; i++) {
    if (!mul_ok(x->dim[i + 2] - 1, s.stride[i], &dim[i + 2]) ||
        !add_ok(dim[i + 2], s.kernel[i] - s.begin[i] - s.end[i], &dim[i + 2]) || dim[i + 2] < 0)
      return eval_fail(e, "the output has no extent on spatial axis %d", i);
  }
  return ST_OK;
}

/* MaxUnpool, ONNX 22. The indices count elements of the extents that follow from the attributes; output_shape may be larger:
 * the rest is zeros at the ends. */
Status max_unpool_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const int64_t *at, *want;
  int64_t own[MAX_RANK], dim[MAX_RANK], stride[MAX_RANK], n, count;
  Tensor *y;
  TRY(unpooled_extents(e, own));
  memcpy(dim, own, sizeof dim);
  if (eval_has(e, 2)) {
    TRY(eval_ints(e, 2, &want, &n));
    for (int i = 0; n == x->rank && i < x->rank; i++)
      dim[i] = want[i];
    for (int i = 0; i < x->rank; i++)
      if (n != x->rank || dim[i] < own[i] || (i < 2 && dim[i] != own[i]))
        return eval_fail(e, "output_shape does not hold what is unpooled");
  }
  if (!extent_ok(own, x->rank, &count))
    return eval_fail(e, "the output is too large");
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &y));
  TRY(eval_ints(e, 1, &at, &n));
  move_fill(x->dtype, y->data, 0, tensor_count(y), NULL);
  row_major_strides(x->rank, dim, stride);
  for (int64_t i = 0; i < n; i++) {
    if (at[i] < 0 || at[i] >= count)
      return eval_fail(e, "index %lld is not among the %lld elements of the output", (long long)at[i],
                       (long long)count);
    int64_t to = 0, rest = at[i];
    for (int k = x->rank - 1; k >= 0; k--)
      to += rest % own[k] * stride[k], rest /= own[k];
    nn_copy(e, y, to, x, i, 1);
  }
  return ST_OK;
}

/* --- DeformConv --- */

typedef struct Deform {
  Eval *e;
  Window w;
  int64_t N, C, M, group, parts; /* parts: offset groups */
  int64_t taps, spots, size;     /* taps of the kernel, output positions, pixels of a plane */
  const double *x, *weight, *offset, *bias, *mask;
} Deform;

static Status open_deform(Deform *d) {
  Eval *e = d->e;
  const DeformConvAttr *a = e->attr;
  const Tensor *x = e->in[0], *w = e->in[1], *o = e->in[2];
  const WindowAttr wa = {.auto_pad = str_of("NOTSET"),
                         .kernel = a->kernel_shape,
                         .pads = a->pads,
                         .strides = a->strides,
                         .dilations = a->dilations};
  WindowSpec s;
  if (x->rank < 3 || w->rank != x->rank || o->rank != x->rank)
    return eval_fail(e, "X, W and offset must have one rank, with at least one spatial axis");
  TRY(window_spec(e->c, &wa, x->rank - 2, &s));
  TRY(window_kernel(e->c, &s, w->dim + 2));
  TRY(window_apply(e, &s, x->dim + 2, &d->w));
  d->N = x->dim[0], d->C = x->dim[1], d->M = w->dim[0], d->group = a->group, d->parts = a->offset_group;
  if (d->group < 1 || d->C % d->group || d->M % d->group || w->dim[1] != d->C / d->group)
    return eval_fail(e, "%lld groups do not fit %lld input and %lld output channels", (long long)d->group,
                     (long long)d->C, (long long)d->M);
  if (d->parts < 1 || d->C % d->parts)
    return eval_fail(e, "offset_group %lld does not divide the %lld channels", (long long)d->parts, (long long)d->C);
  if (!extent_ok(d->w.kernel, s.n, &d->taps) || !extent_ok(d->w.out, s.n, &d->spots))
    return eval_fail(e, "the kernel or the output is too large");
  d->size = 1;
  for (int i = 0; i < s.n; i++)
    d->size *= d->w.in[i];
  for (int i = 2; i < 5; i += 2) { /* offset and mask have the output's extents */
    const Tensor *t = eval_has(e, i) ? e->in[i] : NULL;
    bool fits = !t || (t->rank == x->rank && t->dim[0] == d->N && t->dim[1] == d->parts * d->taps * (i == 2 ? s.n : 1));
    for (int k = 0; t && fits && k < s.n; k++)
      fits = t->dim[k + 2] == d->w.out[k];
    if (!fits)
      return eval_fail(e, "%s does not fit the kernel and the output", i == 2 ? "offset" : "mask");
  }
  if (eval_has(e, 3)) {
    TRY(nn_expect_rank(e, 3, 1, "B"));
    TRY(nn_expect_dim(e, 3, 0, d->M, "the length of B (output channels)"));
  }
  return ST_OK;
}

/* The plane at a point between pixels, zeros around it: over the 2^n pixels next to it. */
static double interpolate(const Window *w, const double *plane, const double *at) {
  double sum = 0;
  for (int corner = 0; corner < 1 << w->n; corner++) {
    double weight = 1;
    int64_t index = 0;
    bool inside = true;
    for (int i = 0; i < w->n; i++) {
      double low = floor(at[i]), part = at[i] - low;
      bool upper = corner >> i & 1;
      inside = inside && low + upper >= 0 && low + upper < (double)w->in[i];
      weight *= upper ? part : 1 - part;
      index = inside ? index * w->in[i] + (int64_t)low + upper : 0;
    }
    sum += inside ? weight * plane[index] : 0;
  }
  return sum;
}

/* Input channel c of sample b as output position o sees it through tap k. */
static double deformed(const Deform *d, int64_t b, int64_t c, int64_t k, int64_t o) {
  int64_t part = (b * d->parts + c / (d->C / d->parts)) * d->taps + k, tap = k, spot = o;
  double at[MAX_RANK];
  for (int i = d->w.n - 1; i >= 0; i--) {
    at[i] = (double)(spot % d->w.out[i] * d->w.stride[i] - d->w.begin[i] + tap % d->w.kernel[i] * d->w.dilation[i]);
    at[i] += d->offset[(part * d->w.n + i) * d->spots + o];
    tap /= d->w.kernel[i], spot /= d->w.out[i];
  }
  double v = interpolate(&d->w, d->x + (b * d->C + c) * d->size, at);
  return d->mask ? v * d->mask[part * d->spots + o] : v;
}

/* DeformConv, ONNX 22. */
Status deform_conv_eval(Eval *e) {
  Deform d = {.e = e};
  int64_t dim[MAX_RANK], n;
  double *col, *row;
  Tensor *y;
  TRY(open_deform(&d));
  dim[0] = d.N, dim[1] = d.M;
  memcpy(dim + 2, d.w.out, (size_t)d.w.n * sizeof *dim);
  TRY(eval_out(e, 0, e->in[0]->dtype, d.w.n + 2, dim, &y));
  TRY(nn_load_input(e, 0, &d.x));
  TRY(nn_load_input(e, 1, &d.weight));
  TRY(nn_load_input(e, 2, &d.offset));
  TRY(nn_load_input(e, 3, &d.bias));
  TRY(nn_load_input(e, 4, &d.mask));
  int64_t per = d.C / d.group, rows = d.M / d.group;
  if (!mul_ok(d.C, d.taps, &n))
    return eval_fail(e, "the kernel is too large");
  TRY(nn_buffer(e, n, &col));
  TRY(nn_buffer(e, d.M, &row));
  for (int64_t i = 0; i < d.N * d.spots; i++) {
    int64_t b = i / d.spots, o = i % d.spots;
    TRY(ctx_poll(e->c));
    for (int64_t k = 0; k < d.C * d.taps; k++)
      col[k] = deformed(&d, b, k / d.taps, k % d.taps, o);
    for (int64_t m = 0; m < d.M; m++) {
      double s = d.bias ? d.bias[m] : 0;
      for (int64_t k = 0; k < per * d.taps; k++)
        s += d.weight[m * per * d.taps + k] * col[m / rows * per * d.taps + k];
      nn_store(y, (b * d.M + m) * d.spots + o, &s, 1);
    }
  }
  return ST_OK;
}
