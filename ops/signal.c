/* signal.c - inference of DFT, STFT, the window functions and MelWeightMatrix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

#include <string.h>

/* The one element of integer input i; false: not known. */
static bool number(const Infer *x, int i, Dim *d) {
  const Dim *elem;
  int64_t n;
  if (!has_in(x, i) || !content_of(x, i, &elem, &n) || n != 1)
    return false;
  *d = elem[0];
  return true;
}

static Status check_parts(Infer *x, int rank) {
  Dim last = in_dim(x, 0, rank - 1);
  if (last->hi < 1 || last->lo > 2)
    return infer_fail(x, "the last axis must be 1 (real) or 2 (complex), not %s", dim_text(x->c, last));
  return ST_OK;
}

Status dft_infer(Infer *x) {
  const DFTAttr *a = ATTR(x->n, DFT);
  Dim n, d, dim[MAX_RANK], one = dim_const(x->c, 1), two = dim_const(x->c, 2);
  bool half = a->onesided != 0, inverse = a->inverse != 0;
  int rank, axis;
  int64_t at = -2;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 2)
    return infer_fail(x, "the signal must have rank 2 at least, not %d", rank);
  TRY(check_parts(x, rank));
  if (has_in(x, 2) && (!number(x, 2, &d) || !dim_is_const(d, &at))) {
    set_out_run(x, 0, DT_none, rank, "dft");
    return ST_OK;
  }
  TRY(norm_axis(x, at, rank, false, &axis));
  if (axis == rank - 1)
    return infer_fail(x, "axis %lld is that of the real and the imaginary part", (long long)at);
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  if (!has_in(x, 1))
    n = half && inverse ? dim_mul(x->c, two, dim_sub(x->c, dim[axis], one)) : dim[axis];
  else if (!number(x, 1, &n))
    n = NULL;
  if (n && n->hi < 1)
    return infer_fail(x, "the length of the transform is %s", dim_text(x->c, n));
  dim[axis] = !n ? run_dim(x, 0, rank, axis, "dft") : half && !inverse ? dim_add(x->c, dim_div(x->c, n, two), one) : n;
  dim[rank - 1] = half && inverse ? one : two;
  set_out(x, 0, DT_none, rank, dim);
  return ST_OK;
}

Status stft_infer(Infer *x) {
  Dim n = NULL, step, dim[4], one = dim_const(x->c, 1), two = dim_const(x->c, 2);
  int rank, window;
  if (!in_rank(x, 0, &rank) || (has_in(x, 2) && !in_rank(x, 2, &window)))
    return ST_OK;
  if (rank != 3)
    return infer_fail(x, "the signal must have rank 3, not %d", rank);
  if (has_in(x, 2) && window != 1)
    return infer_fail(x, "the window must have rank 1, not %d", window);
  TRY(check_parts(x, rank));
  if (!has_in(x, 3))
    n = has_in(x, 2) ? in_dim(x, 2, 0) : in_dim(x, 0, 1);
  else if (!number(x, 3, &n))
    n = NULL;
  bool known = n && number(x, 1, &step);
  if (known && step->hi < 1)
    return infer_fail(x, "frame_step is %s", dim_text(x->c, step));
  dim[0] = in_dim(x, 0, 0), dim[3] = two;
  dim[1] = known ? dim_add(x->c, dim_div(x->c, dim_sub(x->c, in_dim(x, 0, 1), n), step), one)
                 : run_dim(x, 0, 4, 1, "frames");
  dim[2] = !n                           ? run_dim(x, 0, 4, 2, "bins")
           : ATTR(x->n, STFT)->onesided ? dim_add(x->c, dim_div(x->c, n, two), one)
                                        : n;
  if (dim[1]->hi < 1)
    return infer_fail(x, "a frame of %s does not fit the signal", dim_text(x->c, n));
  set_out(x, 0, DT_none, 4, dim);
  return ST_OK;
}

static Status number_type(Infer *x, int64_t type) {
  if (type < 1 || type >= DT_count || !dtype_valid((DType)type) ||
      !(dtype_is_float((DType)type) || dtype_is_int((DType)type)))
    return infer_fail(x, "output_datatype %lld is no type of numbers", (long long)type);
  return ST_OK;
}

Status window_infer(Infer *x) {
  int64_t type = ATTR(x->n, WindowFunction)->output_datatype;
  Dim n;
  TRY(number_type(x, type));
  if (!number(x, 0, &n))
    n = run_dim(x, 0, 1, 0, "window");
  if (n->hi < 0)
    return infer_fail(x, "the size is %s", dim_text(x->c, n));
  set_out(x, 0, (DType)type, 1, &n);
  return ST_OK;
}

Status mel_weight_infer(Infer *x) {
  int64_t type = ATTR(x->n, MelWeightMatrix)->output_datatype;
  Dim dim[2], n;
  TRY(number_type(x, type));
  dim[0] = number(x, 1, &n) ? dim_add(x->c, dim_div(x->c, n, dim_const(x->c, 2)), dim_const(x->c, 1))
                            : run_dim(x, 0, 2, 0, "bins");
  if (!number(x, 0, &dim[1]))
    dim[1] = run_dim(x, 0, 2, 1, "bands");
  set_out(x, 0, (DType)type, 2, dim);
  return ST_OK;
}
