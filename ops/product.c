/* product.c - inference of MatMul, Gemm and Einsum.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/eval/einsum.h"
#include "ops/ops.h"

#include <string.h>

/* MatMul, as numpy.matmul: a vector on the left is a row, on the right a column; the added axis is dropped again. */
Status matmul_infer(Infer *x) {
  int ra, rb, batch, rank;
  Dim dim[MAX_RANK];
  bool known = in_rank(x, 0, &ra);
  if (!in_rank(x, 1, &rb) || !known)
    return ST_OK;
  if (!ra || !rb)
    return infer_fail(x, "a scalar cannot be multiplied as a matrix");
  TRY(same_dim(x, in_dim(x, 0, ra - 1), in_dim(x, 1, rb > 1 ? rb - 2 : 0), "inner dimensions {a} and {b} differ",
               NULL));
  TRY(broadcast_dims(x, ra > 2 ? ra - 2 : 0, in_type(x, 0)->dim, rb > 2 ? rb - 2 : 0, in_type(x, 1)->dim, &batch, dim));
  rank = batch;
  if (ra > 1)
    dim[rank++] = in_dim(x, 0, ra - 2);
  if (rb > 1)
    dim[rank++] = in_dim(x, 1, rb - 1);
  set_out(x, 0, DT_none, rank, dim);
  return ST_OK;
}

/* C must broadcast to [M, N] without widening it. */
static Status check_bias(Infer *x, Dim const *dim) {
  int rc;
  if (!has_in(x, 2) || !in_rank(x, 2, &rc))
    return ST_OK;
  if (rc > 2)
    return infer_fail(x, "C has more than two dimensions");
  for (int i = 0; i < rc; i++) {
    Dim c = in_dim(x, 2, i), want = dim[2 - rc + i];
    if ((c->lo > 1 || c->hi < 1) && dim_differ(x->c, c, want))
      return infer_fail(x, "C does not broadcast to [%s,%s]", dim_text(x->c, dim[0]), dim_text(x->c, dim[1]));
  }
  return ST_OK;
}

Status gemm_infer(Infer *x) {
  const GemmAttr *at = ATTR(x->n, Gemm);
  int ra, rb, ta = at->transA != 0, tb = at->transB != 0;
  bool known = in_rank(x, 0, &ra);
  if (!in_rank(x, 1, &rb) || !known)
    return ST_OK;
  if (ra != 2 || rb != 2)
    return infer_fail(x, "A and B must have two dimensions");
  Dim dim[2] = {in_dim(x, 0, ta), in_dim(x, 1, !tb)};
  TRY(same_dim(x, in_dim(x, 0, !ta), in_dim(x, 1, tb), "inner dimensions {a} and {b} differ", NULL));
  TRY(check_bias(x, dim));
  set_out(x, 0, DT_none, 2, dim);
  return ST_OK;
}

/* The extent of each label: all its occurrences, extents of 1 broadcasting. */
static Status label_dims(Infer *x, const Equation *q, Dim *size) {
  int rank;
  for (int i = 0; i < q->nin; i++)
    for (int k = 0; k < q->in[i].n; k++) {
      Dim *d = &size[q->in[i].label[k]], other = in_dim(x, i, k);
      if (!*d)
        *d = other;
      else
        TRY(broadcast_dims(x, 1, d, 1, &other, &rank, d));
    }
  return ST_OK;
}

Status einsum_infer(Infer *x) {
  Equation q;
  int rank[EIN_MAX_IN];
  bool known = true;
  Dim size[EIN_MAX_LABEL] = {NULL}, dim[MAX_RANK];
  for (int i = 0; i < x->n->nin; i++) {
    if (!has_in(x, i))
      return infer_fail(x, "input %d is missing", i);
    int r = 0;
    known &= in_rank(x, i, &r);
    if (i < EIN_MAX_IN)
      rank[i] = r;
  }
  if (!known)
    return ST_OK;
  TRY(einsum_parse(x->c, ATTR(x->n, Einsum)->equation, x->n->nin, rank, &q));
  TRY(label_dims(x, &q, size));
  for (int k = 0; k < q.out.n; k++)
    dim[k] = size[q.out.label[k]];
  set_out(x, 0, DT_none, q.out.n, dim);
  return ST_OK;
}
