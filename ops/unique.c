/* unique.c - inference of Unique, RowOrder and Det.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

#include <string.h>

Status unique_infer(Infer *x) {
  int64_t at = ATTR(x->n, Unique)->axis;
  Dim dim[MAX_RANK], all;
  int rank = 1, axis = 0;
  bool known = known_rank(x, 0, &rank);
  if (at != ABSENT && known) {
    TRY(norm_axis(x, at, rank, false, &axis));
    memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  }
  all = !known ? NULL : at == ABSENT ? type_count(x->c, in_type(x, 0)) : in_dim(x, 0, axis);
  if (at == ABSENT)
    rank = 1;
  dim[axis] = run_dim(x, 0, rank, axis, "unique");
  if (known || at == ABSENT)
    set_out(x, 0, in_dtype(x, 0), rank, dim);
  set_out(x, 1, DT_i64, 1, &dim[axis]);
  set_out(x, 3, DT_i64, 1, &dim[axis]);
  if (!all)
    all = run_dim(x, 2, 1, 0, "inverse");
  set_out(x, 2, DT_i64, 1, &all);
  return ST_OK;
}

/* RowOrder (sard): the rows of a matrix as they come when their elements are compared one by one, equal ones by position. */
Status row_order_infer(Infer *x) {
  int rank;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank != 2)
    return infer_fail(x, "rows are of a matrix, not of rank %d", rank);
  set_out(x, 0, DT_i64, 1, in_type(x, 0)->dim);
  return ST_OK;
}

Status det_infer(Infer *x) {
  int rank;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 2)
    return infer_fail(x, "the last two axes must make square matrices");
  TRY(same_dim(x, in_dim(x, 0, rank - 2), in_dim(x, 0, rank - 1), "the extents of a square matrix", NULL));
  set_out(x, 0, DT_none, rank - 2, in_type(x, 0)->dim);
  return ST_OK;
}
