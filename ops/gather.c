/* gather.c - inference of Gather, GatherElements, GatherND, ScatterElements, ScatterND, TensorScatter.
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
  bool known = known_rank(x, 0, &rank);
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

/* --- the data's type, with elements replaced --- */

static Status check_reduction(Infer *x, Str name) {
  static const char *const names[] = {"none", "add", "mul", "max", "min"};
  for (size_t i = 0; i < countof(names); i++)
    if (str_is(name, names[i]))
      return ST_OK;
  return infer_fail(x, "reduction %.*s is none of none, add, mul, max, min", (int)name.len, name.ptr);
}

/* With a reduction the elements are not only moved. */
static Status scattered(Infer *x, Str reduction) {
  set_out_like(x, 0, 0);
  return str_is(reduction, "none") ? content_moved(x, 1 | 4) : ST_OK;
}

Status scatter_elements_infer(Infer *x) {
  const ScatterElementsAttr *a = ATTR(x->n, ScatterElements);
  int rank, axis, r;
  TRY(check_reduction(x, a->reduction));
  if (known_rank(x, 0, &rank)) {
    TRY(norm_axis(x, a->axis, rank, false, &axis));
    for (int i = 1; i < 3; i++)
      if (known_rank(x, i, &r) && r != rank)
        return infer_fail(x, "indices and updates must have the rank of the data");
  }
  if (known_rank(x, 1, &rank) && known_rank(x, 2, &r) && rank == r)
    for (int i = 0; i < r; i++)
      TRY(same_dim(x, in_dim(x, 1, i), in_dim(x, 2, i), "extents of indices and updates, which must have one shape,",
                   NULL));
  return scattered(x, a->reduction);
}

Status scatter_nd_infer(Infer *x) {
  int rank, q, r;
  int64_t k;
  Str reduction = ATTR(x->n, ScatterND)->reduction;
  TRY(check_reduction(x, reduction));
  if (known_rank(x, 0, &rank) && known_rank(x, 1, &q)) {
    if (rank < 1 || q < 1)
      return infer_fail(x, "data and indices must have rank 1 or more");
    if (dim_is_const(in_dim(x, 1, q - 1), &k) && k > rank)
      return infer_fail(x, "index tuples of %lld for %d axes", (long long)k, rank);
    if (dim_is_const(in_dim(x, 1, q - 1), &k) && known_rank(x, 2, &r)) {
      if (r != q - 1 + rank - k)
        return infer_fail(x, "the updates have rank %d, not %lld", r, (long long)(q - 1 + rank - k));
      for (int i = 0; i < r; i++)
        TRY(same_dim(x, in_dim(x, 2, i), i < q - 1 ? in_dim(x, 1, i) : in_dim(x, 0, (int)k + i - (q - 1)),
                     "extents of updates and of the slices the indices name", NULL));
    }
  }
  return scattered(x, reduction);
}

Status tensor_scatter_infer(Infer *x) {
  const TensorScatterAttr *a = ATTR(x->n, TensorScatter);
  int rank, r, axis;
  if (!str_is(a->mode, "linear") && !str_is(a->mode, "circular"))
    return infer_fail(x, "mode must be linear or circular");
  if (known_rank(x, 0, &rank)) {
    TRY(norm_axis(x, a->axis, rank, false, &axis));
    if (!axis)
      return infer_fail(x, "axis 0 is the batch");
    if (known_rank(x, 1, &r) && r != rank)
      return infer_fail(x, "cache and update differ in rank");
    for (int i = 0; in_type(x, 1)->rank == rank && i < rank; i++)
      if (i != axis)
        TRY(same_dim(x, in_dim(x, 0, i), in_dim(x, 1, i),
                     arena_printf(x->arena, "an update of {b} does not fit the cache on axis %d, of extent {a}", i),
                     NULL));
  }
  set_out_like(x, 0, 0);
  return ST_OK;
}
