/* pool.c - inference of the pooling operators.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"
#include "ops/window.h"

Status pool_infer(Infer *x) {
  const PoolAttr *a = ATTR(x->n, Pool);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, a->ceil_mode != 0};
  WindowSpec s;
  int rank;
  Dim out[MAX_RANK], kernel[MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 3)
    return infer_fail(x, "X must have a batch, a channel and at least one spatial axis");
  TRY(window_spec(x->c, &wa, rank - 2, &s));
  TRY(window_kernel(x->c, &s, NULL));
  for (int i = 0; i < s.n; i++)
    kernel[i] = dim_const(x->c, s.kernel[i]);
  out[0] = in_dim(x, 0, 0), out[1] = in_dim(x, 0, 1);
  TRY(window_dims(x, &s, in_type(x, 0)->dim + 2, kernel, out + 2));
  set_out(x, 0, DT_none, rank, out);
  if (has_out(x, 1))
    set_out(x, 1, DT_i64, rank, out);
  return ST_OK;
}

Status global_pool_infer(Infer *x) {
  int rank;
  Dim out[MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 2)
    return infer_fail(x, "X must have a batch and a channel axis");
  for (int i = 0; i < rank; i++)
    out[i] = i < 2 ? in_dim(x, 0, i) : dim_const(x->c, 1);
  set_out(x, 0, DT_none, rank, out);
  return ST_OK;
}
