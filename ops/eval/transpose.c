/* transpose.c - permuted axes: Transpose 25, DepthToSpace 28, SpaceToDepth 28.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"
#include "support/checked.h"

/* y[rank axes, dense] takes axis i from axis perm[i] of x, seen as dense with extents dim. */
static Status permute(Eval *e, int rank, const int64_t *dim, const int *perm, Tensor *y) {
  const Tensor *x = e->in[0];
  int64_t stride[MAX_RANK], to[MAX_RANK];
  View d = {.data = y->data}, s = {.data = x->data};
  row_major_strides(rank, dim, stride);
  for (int i = 0; i < rank; i++) {
    to[i] = dim[perm[i]];
    s.stride[i] = stride[perm[i]];
  }
  row_major_strides(rank, to, d.stride);
  move_box(x->dtype, rank, to, &d, &s);
  return move_done(e, y);
}

Status transpose_eval(Eval *e) {
  const TransposeAttr *a = e->attr;
  const Tensor *x = e->in[0];
  int perm[MAX_RANK];
  int64_t dim[MAX_RANK];
  bool seen[MAX_RANK] = {0};
  Tensor *y;
  if (a->perm.v && a->perm.n != x->rank)
    return eval_fail(e, "perm has %lld axes, the input %d", (long long)a->perm.n, x->rank);
  for (int i = 0; i < x->rank; i++) {
    int64_t p = a->perm.v ? a->perm.v[i] : x->rank - 1 - i;
    if (p < 0 || p >= x->rank || seen[p])
      return eval_fail(e, "perm is no permutation of the %d axes", x->rank);
    perm[i] = (int)p, seen[p] = true;
    dim[i] = x->dim[p];
  }
  TRY(move_out(e, 0, x->dtype, x->rank, dim, &y));
  return permute(e, x->rank, x->dim, perm, y);
}

/* Mode of DepthToSpace and SpaceToDepth, and the input's shape. */
static Status check_blocks(Eval *e, const DepthToSpaceAttr *a, bool *crd, int64_t *square) {
  *crd = str_is(a->mode, "CRD");
  if (!*crd && !str_is(a->mode, "DCR"))
    return eval_fail(e, "mode must be DCR or CRD");
  if (e->in[0]->rank != 4)
    return eval_fail(e, "the input must have rank 4");
  if (a->blocksize < 1 || !mul_ok(a->blocksize, a->blocksize, square))
    return eval_fail(e, "blocksize %lld is not a block", (long long)a->blocksize);
  return ST_OK;
}

Status depth_to_space_eval(Eval *e) {
  const DepthToSpaceAttr *a = e->attr;
  static const int dcr[] = {0, 3, 4, 1, 5, 2}, crd[] = {0, 1, 4, 2, 5, 3};
  const Tensor *x = e->in[0];
  const int64_t *d = x->dim, b = a->blocksize;
  int64_t square = 1, h, w;
  bool is_crd = false;
  Tensor *y;
  TRY(check_blocks(e, a, &is_crd, &square));
  if (d[1] % square)
    return eval_fail(e, "%lld channels do not divide into blocks of %lld x %lld", (long long)d[1], (long long)b,
                     (long long)b);
  if (!mul_ok(d[2], b, &h) || !mul_ok(d[3], b, &w))
    return eval_fail(e, "blocksize %lld is too large", (long long)b);
  TRY(move_out(e, 0, x->dtype, 4, (int64_t[]){d[0], d[1] / square, h, w}, &y));
  if (is_crd)
    return permute(e, 6, (int64_t[]){d[0], d[1] / square, b, b, d[2], d[3]}, crd, y);
  return permute(e, 6, (int64_t[]){d[0], b, b, d[1] / square, d[2], d[3]}, dcr, y);
}

Status space_to_depth_eval(Eval *e) {
  const DepthToSpaceAttr *a = e->attr;
  static const int dcr[] = {0, 3, 5, 1, 2, 4}, crd[] = {0, 1, 3, 5, 2, 4};
  const Tensor *x = e->in[0];
  const int64_t *d = x->dim, b = a->blocksize;
  int64_t square = 1, c;
  bool is_crd = false;
  Tensor *y;
  TRY(check_blocks(e, a, &is_crd, &square));
  if (d[2] % b || d[3] % b)
    return eval_fail(e, "%lld x %lld does not divide into blocks of %lld x %lld", (long long)d[2], (long long)d[3],
                     (long long)b, (long long)b);
  if (!mul_ok(d[1], square, &c))
    return eval_fail(e, "blocksize %lld is too large", (long long)b);
  TRY(move_out(e, 0, x->dtype, 4, (int64_t[]){d[0], c, d[2] / b, d[3] / b}, &y));
  return permute(e, 6, (int64_t[]){d[0], d[1], d[2] / b, b, d[3] / b, b}, is_crd ? crd : dcr, y);
}
