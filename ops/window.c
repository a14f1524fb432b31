/* window.c - extents of convolution and pooling as dim expressions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/window.h"

/* The dilated kernel: (k - 1) * d + 1. */
static Dim reach(Ctx *c, Dim kernel, int64_t dilation) {
  return dim_add(c, dim_mul(c, dim_sub(c, kernel, dim_const(c, 1)), dim_const(c, dilation)), dim_const(c, 1));
}

static Status window_dim(Infer *x, const WindowSpec *s, int i, Dim in, Dim kernel, Dim *out) {
  Ctx *c = x->c;
  Dim stride = dim_const(c, s->stride[i]);
  int64_t k;
  if (s->mode == PAD_SAME_UPPER || s->mode == PAD_SAME_LOWER) {
    *out = dim_ceildiv(c, in, stride);
    return ST_OK;
  }
  Dim far = reach(c, kernel, s->dilation[i]);
  Dim room = dim_sub(c, dim_add(c, in, dim_const(c, s->begin[i] + s->end[i])), far);
  if (room->hi < 0)
    return infer_fail(x, "on spatial axis %d the window of %s is larger than the padded input of %s", i,
                      dim_text(c, far), dim_text(c, dim_add(c, room, far)));
  room = dim_add(c, room,
                 stride); /* floor((room + stride) / stride): the same expression as SAME gives where both agree */
  if (!s->ceil || s->mode == PAD_VALID) {
    *out = dim_div(c, room, stride);
    return ST_OK;
  }
  Dim all = dim_ceildiv(c, room, stride);
  bool known = dim_is_const(far, &k);
  *out = all;
  if (!known || s->end[i] + s->stride[i] > k) /* the last window may start in the padding at the end: it is left out */
    *out = dim_min(c, all, dim_div(c, dim_add(c, in, dim_const(c, s->begin[i] - 1 + s->stride[i])), stride));
  if (!known || s->end[i] > k) /* so may others before it: they stay */
    *out = dim_max(c, *out, dim_sub(c, all, dim_const(c, 1)));
  return ST_OK;
}

Status window_dims(Infer *x, const WindowSpec *s, Dim const *in, Dim const *kernel, Dim *out) {
  for (int i = 0; i < s->n; i++)
    TRY(window_dim(x, s, i, in[i], kernel[i], &out[i]));
  return ST_OK;
}

Status window_weight(Infer *x, WindowSpec *s, int w, Dim *kernel) {
  int64_t weight[MAX_RANK];
  bool known = true;
  for (int i = 0; i < s->n; i++) {
    kernel[i] = in_dim(x, w, i + 2);
    if (!dim_is_const(kernel[i], &weight[i]))
      weight[i] = s->kernel[i], known = known && s->kernel[i] >= 0;
  }
  if (known)
    TRY(window_kernel(x->c, s, weight));
  for (int i = 0; known && i < s->n; i++) {
    Dim given = kernel[i];
    kernel[i] = dim_const(x->c, s->kernel[i]);
    TRY(same_dim(x, kernel[i], given,
                 arena_printf(x->arena, "kernel_shape[%d] is {a}, but the weight has {b} there", i), NULL));
  }
  for (int i = 0; !known && i < s->n; i++)
    TRY(same_dim(x, dim_max(x->c, dim_const(x->c, 1), kernel[i]), kernel[i],
                 arena_printf(x->arena, "the kernel's extent on spatial axis %d is {b}; it must be at least 1", i),
                 NULL));
  return ST_OK;
}

Status check_group_dim(Infer *x, int i, int axis, int64_t group, const char *what) {
  int64_t n;
  if (group < 1)
    return infer_fail(x, "group is %lld; it must be at least 1", (long long)group);
  if (dim_is_const(in_dim(x, i, axis), &n) && n % group)
    return infer_fail(x, "group %lld does not divide the %lld %s", (long long)group, (long long)n, what);
  Dim all = in_dim(x, i, axis), each = dim_const(x->c, group);
  return same_dim(x, dim_mul(x->c, dim_div(x->c, all, each), each), all,
                  arena_printf(x->arena, "group %lld does not divide the {b} %s", (long long)group, what), NULL);
}
