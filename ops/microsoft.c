/* microsoft.c - inference of the operators of com.microsoft.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/content.h"
#include "ops/eval/nbits.h"
#include "ops/ops.h"

#include <string.h>

/* Elements of input i, where they are known, must be `want`. */
static Status check_count(Infer *x, int i, const char *what, int64_t want) {
  int rank;
  int64_t n;
  if (!has_in(x, i) || !known_rank(x, i, &rank) || !dim_is_const(type_count(x->c, in_type(x, i)), &n) || n == want)
    return ST_OK;
  return infer_fail(x, "%s has %lld elements instead of %lld", what, (long long)n, (long long)want);
}

Status matmul_nbits_infer(Infer *x) {
  const MatMulNBitsAttr *a = ATTR(x->n, MatMulNBits);
  NBits f;
  int rank;
  Dim dim[MAX_RANK];
  if (!nbits_of(a->K, a->N, a->bits, a->block_size, &f))
    return fail(x->c, ST_UNSUPPORTED, "K %lld, N %lld, %lld bits in blocks of %lld", (long long)a->K, (long long)a->N,
                (long long)a->bits, (long long)a->block_size);
  TRY(check_count(x, 1, "B", f.n * nbits_column_bytes(&f)));
  TRY(check_count(x, 2, "scales", f.n * f.blocks));
  if (has_in(x, 3))
    TRY(check_count(x, 3, "zero_points", f.n * (in_type(x, 3)->dtype == DT_u8 ? nbits_zero_bytes(&f) : f.blocks)));
  TRY(check_count(x, 5, "bias", f.n));
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank < 1)
    return infer_fail(x, "a scalar cannot be multiplied as a matrix");
  TRY(same_dim(x, in_dim(x, 0, rank - 1), dim_const(x->c, f.k), "the last extent of A and K", NULL));
  memcpy(dim, in_type(x, 0)->dim, (size_t)rank * sizeof *dim);
  dim[rank - 1] = dim_const(x->c, f.n);
  set_out(x, 0, DT_none, rank, dim);
  return ST_OK;
}
