/* signal.c - inference of DFT, STFT, the window functions and MelWeightMatrix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/signal.h"

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

bool dft_shape(Ctx *c, const Type *in, const DFTAttr *a, Dim axis, Dim length, DftShape *s) {
  Dim zero = dim_const(c, 0), one = dim_const(c, 1), two = dim_const(c, 2);
  int64_t at;
  *s = (DftShape){.rank = in->rank, .in = zero};
  if (in->rank < 2)
    return false;
  for (int i = 0; i < in->rank - 1; i++) {
    s->on[i] =
        dim_is_const(axis, &at) ? dim_const(c, (at < 0 ? at + in->rank : at) == i) : names_axis(c, axis, in->rank, i);
    s->in = dim_add(c, s->in, dim_mul(c, s->on[i], in->dim[i]));
  }
  s->length = length ? length : a->inverse && a->onesided ? dim_mul(c, two, dim_sub(c, s->in, one)) : s->in;
  s->out = a->onesided && !a->inverse ? dim_add(c, dim_div(c, s->length, two), one) : s->length;
  return true;
}

/* Extent i of the result when only a run tells the axis. */
static Dim blended(Ctx *c, const DftShape *s, const Type *in, int i) {
  return dim_add(c, in->dim[i], dim_mul(c, s->on[i], dim_sub(c, s->out, in->dim[i])));
}

Status dft_infer(Infer *x) {
  const DFTAttr *a = ATTR(x->n, DFT);
  Dim n = NULL, axis = dim_const(x->c, -2), dim[MAX_RANK];
  DftShape s;
  int rank, k = -1;
  int64_t at;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 2)
    return infer_fail(x, "the signal must have rank 2 at least, not %d", rank);
  TRY(check_parts(x, rank));
  if (has_in(x, 2) && !number(x, 2, &axis)) {
    set_out_run(x, 0, DT_none, rank, "dft");
    return ST_OK;
  }
  if (dim_is_const(axis, &at)) {
    TRY(norm_axis(x, at, rank, false, &k));
    if (k == rank - 1)
      return infer_fail(x, "axis %lld is that of the real and the imaginary part", (long long)at);
  }
  bool known = !has_in(x, 1) || number(x, 1, &n);
  dft_shape(x->c, in_type(x, 0), a, axis, n, &s);
  if (known && s.length->hi < 1)
    return infer_fail(x, "the length of the transform is %s", dim_text(x->c, s.length));
  for (int i = 0; i < rank - 1; i++)
    dim[i] = known || (k >= 0 && i != k) ? blended(x->c, &s, in_type(x, 0), i) : run_dim(x, 0, rank, i, "dft");
  dim[rank - 1] = dim_const(x->c, a->inverse && a->onesided ? 1 : 2);
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
    return infer_fail(x, "the step between frames is %s; it must be at least 1", dim_text(x->c, step));
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
