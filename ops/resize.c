/* resize.c - inference of Resize and GridSample.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/resize.h"
#include "ops/ops.h"

#include "ir/infer.h"

#include <math.h>
#include <string.h>

/* floor(in * scale): numbers exactly as the evaluator; k / 64 of a symbol as an expression; else a fresh symbol. */
static Status scaled(Infer *x, Dim in, double scale, int i, Dim *out) {
  int64_t n, r = 0;
  bool is_const = dim_is_const(in, &n);
  if (!resize_extent(is_const ? n : 1, (float)scale, &r))
    return infer_fail(x, "scales[%d] is %g; it must be above 0, and the output not too large", i, scale);
  double fixed = scale * 64;
  if (is_const)
    *out = dim_const(x->c, r);
  else if (fixed == floor(fixed) && fixed < 0x1p40) {
    int64_t p = (int64_t)fixed, q = 64;
    for (; p % 2 == 0 && q > 1; p /= 2)
      q /= 2;
    *out = dim_mul(x->c, in, dim_const(x->c, p));
    *out = q > 1 ? dim_div(x->c, *out, dim_const(x->c, q)) : *out;
  } else
    *out = dim_fresh(x->c, "resized");
  return ST_OK;
}

/* Extent of the axis that was `in` when axis j, `have`, becomes `size` and all keep their proportions: in * size / have, a half
 * up. */
static Dim in_proportion(Ctx *c, Dim in, Dim size, Dim have) {
  Dim two = dim_const(c, 2), below = dim_mul(c, two, dim_max(c, have, dim_const(c, 1)));
  return dim_div(c, dim_add(c, dim_mul(c, two, dim_mul(c, size, in)), have), below);
}

/* Sizes, with the aspect ratio policy. */
static Status from_sizes(Infer *x, const ResizeAttr *a, const int *axis, int64_t n, const Dim *size, Dim *out) {
  int64_t in[MAX_RANK], want[MAX_RANK], r[MAX_RANK];
  double scale[MAX_RANK];
  Dim had[MAX_RANK], d;
  bool stretch = str_is(a->keep_aspect_ratio_policy, "stretch"), known = true,
       larger = str_is(a->keep_aspect_ratio_policy, "not_smaller");
  memcpy(had, out, sizeof had);
  for (int i = 0; i < n; i++)
    known = known && dim_is_const(size[i], &want[i]) && dim_is_const(out[axis[i]], &in[axis[i]]);
  if (known)
    TRY(resize_from_sizes(x->c, a->keep_aspect_ratio_policy, (int)n, axis, want, in, r, scale));
  for (int i = 0; i < n; i++) {
    Dim *to = &out[axis[i]];
    if (known || stretch) {
      *to = known ? dim_const(x->c, r[axis[i]]) : size[i];
      continue;
    }
    for (int j = 0; j < n; j++) {
      d = in_proportion(x->c, had[axis[i]], size[j], had[axis[j]]);
      *to = !j ? d : larger ? dim_max(x->c, *to, d) : dim_min(x->c, *to, d);
    }
  }
  return ST_OK;
}

/* Strings can be picked, but not mixed. */
static Status picks_strings(Infer *x, Str mode) {
  if (in_type(x, 0)->dtype != DT_str || str_is(mode, "nearest"))
    return ST_OK;
  return infer_fail(x, "strings have no values in between: mode '%.*s' is for numbers",
                    (int)(mode.len < 60 ? mode.len : 60), mode.len ? mode.ptr : "");
}

Status resize_infer(Infer *x) {
  const ResizeAttr *a = ATTR(x->n, Resize);
  int rank, axis[MAX_RANK];
  int64_t n = -1;
  Dim out[MAX_RANK];
  const Dim *size;
  const Tensor *scales;
  TRY(picks_strings(x, a->mode));
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  memcpy(out, in_type(x, 0)->dim, sizeof out);
  if (x->n->op == OP_Resize && in_const(x, 2, &scales) && tensor_count(scales) > 0) {
    n = tensor_count(scales);
    TRY(resize_axes(x->c, a->axes, rank, n, axis));
    for (int i = 0; i < n; i++) {
      float f;
      memcpy(&f, (const char *)scales->data + (size_t)i * sizeof f, sizeof f); /* may be unaligned */
      TRY(scaled(x, out[axis[i]], (double)f, i, &out[axis[i]]));
    }
  } else if (in_content(x, 3, &size, &n) && n > 0) {
    TRY(resize_axes(x->c, a->axes, rank, n, axis));
    TRY(from_sizes(x, a, axis, n, size, out));
  } else {
    const int64_t *v;
    if (in_ints(x, 3, &v, &n) && n > 0) {
      Dim s[MAX_RANK];
      TRY(resize_axes(x->c, a->axes, rank, n, axis));
      for (int i = 0; i < n; i++)
        s[i] = dim_const(x->c, v[i]);
      TRY(from_sizes(x, a, axis, n, s, out));
    } else {
      TRY(resize_axes(x->c, a->axes, rank, -1, axis));
      for (int i = 0, k = a->axes.v ? (int)a->axes.n : rank; i < k; i++)
        out[axis[i]] = dim_fresh(x->c, "resized");
    }
  }
  set_out(x, 0, DT_none, rank, out);
  return ST_OK;
}

Status scaled_sizes_infer(Infer *x) {
  set_out_like(x, 0, 0);
  return ST_OK;
}

Status grid_sample_infer(Infer *x) {
  int rank, grid;
  Dim out[MAX_RANK];
  TRY(picks_strings(x, ATTR(x->n, GridSample)->mode));
  if (!in_rank(x, 0, &rank) || !in_rank(x, 1, &grid))
    return ST_OK;
  if (rank < 3 || rank != grid)
    return infer_fail(x, "X and grid must have the same rank, at least 3");
  TRY(same_dim(x, in_dim(x, 0, 0), in_dim(x, 1, 0), "the batch size of grid must be {a}, not {b}", &out[0]));
  TRY(same_dim(x, in_dim(x, 1, rank - 1), dim_const(x->c, rank - 2),
               "the last extent of grid (spatial axes of X) must be {b}, not {a}", NULL));
  out[1] = in_dim(x, 0, 1);
  for (int i = 2; i < rank; i++)
    out[i] = in_dim(x, 1, i - 1);
  set_out(x, 0, DT_none, rank, out);
  return ST_OK;
}
