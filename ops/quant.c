/* quant.c - inference of the quantisation operators and integer matrix products.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include "ir/infer.h"

#include <string.h>

static bool one_element(const Node *n, int i) {
  const Type *t = i < n->nin && n->in[i] ? &n->in[i]->type : NULL;
  return !t || !t->rank || (t->rank == 1 && dim_is(t->dim[0], 1));
}

bool node_quantises_alike(const Node *n) {
  bool q = n->op == OP_QuantizeLinear;
  if ((!q && n->op != OP_DequantizeLinear) || !one_element(n, 1) || !one_element(n, 2))
    return false;
  return !(q ? ATTR(n, QuantizeLinear)->block_size : ATTR(n, DequantizeLinear)->block_size);
}

static Status with_shape_of_input(Infer *x, DType t) {
  const Type *in = in_type(x, 0);
  set_out(x, 0, t, in->rank, in->dim);
  return ST_OK;
}

static Status check_dtype(Infer *x, int64_t t) {
  if (t && !dtype_valid(t > 0 && t < DT_count ? (int)t : 0))
    return infer_fail(x, "output_dtype %lld is no type", (long long)t);
  return ST_OK;
}

Status quantize_infer(Infer *x) {
  int64_t t = ATTR(x->n, QuantizeLinear)->output_dtype;
  TRY(check_dtype(x, t));
  DType zero = has_in(x, 2) ? in_type(x, 2)->dtype : t ? (DType)t : DT_u8;
  if (t && zero && zero != (DType)t)
    return infer_fail(x, "output_dtype is %s, but y_zero_point is %s", dtype_name((DType)t), dtype_name(zero));
  return with_shape_of_input(x, zero ? zero : (DType)t);
}

Status dequantize_infer(Infer *x) {
  int64_t t = ATTR(x->n, DequantizeLinear)->output_dtype;
  TRY(check_dtype(x, t));
  return with_shape_of_input(x, t ? (DType)t : in_type(x, 1)->dtype);
}

Status dynamic_quantize_infer(Infer *x) {
  set_out(x, 1, DT_f32, 0, NULL);
  set_out(x, 2, DT_u8, 0, NULL);
  return with_shape_of_input(x, DT_u8);
}

/* numpy's matmul of inputs ia and ib. */
static Status product(Infer *x, int ia, int ib, DType t) {
  int ra, rb, rank;
  Dim a[MAX_RANK + 1], b[MAX_RANK + 1], out[MAX_RANK + 2];
  if (!in_rank(x, ia, &ra) || !in_rank(x, ib, &rb))
    return ST_OK;
  if (ra < 1 || rb < 1)
    return infer_fail(x, "a matrix product takes no scalars");
  bool va = ra == 1, vb = rb == 1;
  memcpy(a + va, in_type(x, ia)->dim, (size_t)ra * sizeof *a);
  memcpy(b, in_type(x, ib)->dim, (size_t)rb * sizeof *b);
  if (va)
    a[0] = dim_const(x->c, 1), ra = 2;
  if (vb)
    b[1] = dim_const(x->c, 1), rb = 2;
  TRY(same_dim(x, a[ra - 1], b[rb - 2], "inner dimensions {a} and {b} differ", NULL));
  TRY(broadcast_dims(x, ra - 2, a, rb - 2, b, &rank, out));
  if (!va)
    out[rank++] = a[ra - 2];
  if (!vb)
    out[rank++] = b[rb - 1];
  set_out(x, 0, t, rank, out);
  return ST_OK;
}

Status matmul_integer_infer(Infer *x) { return product(x, 0, 1, DT_i32); }

Status qlinear_matmul_infer(Infer *x) { return product(x, 0, 3, in_type(x, 7)->dtype); }
