/* gather.c - inference of Gather, GatherElements, GatherND.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

Status gather_infer(Infer *x) {
  int rank, q, axis, r = 0;
  Dim dim[2 * MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(norm_axis(x, ATTR(x->n, Gather)->axis, rank, false, &axis));
  if (!in_rank(x, 1, &q))
    return ST_OK;
  TRY(check_rank(x, rank + q - 1));
  for (int i = 0; i < axis; i++)
    dim[r++] = in_dim(x, 0, i);
  for (int i = 0; i < q; i++)
    dim[r++] = in_dim(x, 1, i);
  for (int i = axis + 1; i < rank; i++)
    dim[r++] = in_dim(x, 0, i);
  set_out(x, 0, in_dtype(x, 0), r, dim);
  return content_moved(x, 1);
}

Status gather_elements_infer(Infer *x) {
  int rank, q, axis;
  bool known = in_rank(x, 0, &rank);
  if (!in_rank(x, 1, &q))
    return ST_OK;
  TRY(norm_axis(x, ATTR(x->n, GatherElements)->axis, q, false, &axis));
  if (known && rank != q)
    return infer_fail(x, "the indices must have the rank of the data");
  set_out(x, 0, in_dtype(x, 0), q, in_type(x, 1)->dim);
  return content_moved(x, 1);
}

Status gather_nd_infer(Infer *x) {
  int rank, q, r = 0;
  int64_t b = ATTR(x->n, GatherND)->batch_dims, k;
  Dim dim[2 * MAX_RANK];
  if (!in_rank(x, 0, &rank) || !in_rank(x, 1, &q))
    return ST_OK;
  if (q < 1 || rank < 1 || b < 0 || b >= q || b >= rank)
    return infer_fail(x, "batch_dims %lld must be below both ranks, which are 1 or more", (long long)b);
  for (int i = 0; i < q - 1; i++)
    dim[r++] = in_dim(x, 1, i);
  for (int i = 0; i < b; i++)
    TRY(same_dim(x, in_dim(x, 0, i), in_dim(x, 1, i), "batch extents of data and indices", &dim[i]));
  if (!dim_is_const(in_dim(x, 1, q - 1), &k))
    return ST_OK;
  if (k < 1 || k > rank - b)
    return infer_fail(x, "index tuples of %lld for %lld axes", (long long)k, (long long)(rank - b));
  for (int i = (int)(b + k); i < rank; i++)
    dim[r++] = in_dim(x, 0, i);
  TRY(check_rank(x, r));
  set_out(x, 0, in_dtype(x, 0), r, dim);
  return content_moved(x, 1);
}
