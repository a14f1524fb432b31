/* elementwise.c - inference of operators that work element by element: the shape of the input, or the broadcast of all.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/arith.h"
#include "ops/content.h"
#include "ops/ops.h"

#include <string.h>

/* Output 0 has the shape of input 0; its dtype comes from the signature (input 0's, or bool). */
Status same_infer(Infer *x) {
  int rank;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  set_out(x, 0, DT_none, rank, in_type(x, 0)->dim);
  if (x->n->op == OP_Clip)
    content_clip(x);
  else if (x->n->nin == 1)
    content_elementwise(x);
  return ST_OK;
}

/* Operators that broadcast one way only, or not at all. */
static Status check_rules(Infer *x, int rank, Dim const *dim) {
  const Type *a = in_type(x, 0);
  if (x->n->op == OP_SwiGLU && a->rank != in_type(x, 1)->rank)
    return infer_fail(x, "the inputs must have the same shape");
  for (int i = 0; x->n->op == OP_SwiGLU && i < rank; i++)
    TRY(same_dim(x, a->dim[i], in_dim(x, 1, i), "extents of the inputs", NULL));
  if (x->n->op != OP_PRelu)
    return ST_OK;
  bool wider = rank != a->rank;
  for (int i = 0; !wider && i < rank; i++)
    wider = dim_differ(x->c, a->dim[i], dim[i]);
  return wider ? infer_fail(x, "the slope must broadcast to the shape of the input") : ST_OK;
}

/* The broadcast of all inputs. */
Status broadcast_infer(Infer *x) {
  Dim dim[MAX_RANK];
  int rank, r;
  bool known = true;
  for (int i = 0; i < x->n->nin; i++) {
    if (!has_in(x, i))
      return infer_fail(x, "input %d is missing", i);
    known &= in_rank(x, i, &r);
  }
  if (!known || !in_rank(x, 0, &rank))
    return ST_OK;
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  for (int i = 1; i < x->n->nin; i++)
    TRY(broadcast_dims(x, rank, dim, in_type(x, i)->rank, in_type(x, i)->dim, &rank, dim));
  TRY(check_rules(x, rank, dim));
  if (x->n->op == OP_PRelu || x->n->op == OP_SwiGLU)
    set_out(x, 0, DT_none, rank, in_type(x, 0)->dim);
  else
    set_out(x, 0, DT_none, rank, dim);
  content_elementwise(x);
  return ST_OK;
}

static Status cast_type(Infer *x, int64_t to) {
  Type t = *in_type(x, 0);
  if (to < 0 || to >= DT_count || !dtype_valid((int)to))
    return infer_fail(x, "there is no element type %lld", (long long)to);
  if (t.kind != VK_TENSOR || t.rank < 0)
    t = (Type){.kind = VK_TENSOR, .rank = -1};
  t.dtype = (DType)to;
  set_out_type(x, 0, t);
  content_cast(x, t.dtype);
  content_whole(x);
  return ST_OK;
}

Status bitcast_infer(Infer *x) {
  DType from = in_type(x, 0)->dtype;
  int64_t to = ATTR(x->n, BitCast)->to;
  if (to < 0 || to >= DT_count || !dtype_valid((int)to))
    return infer_fail(x, "there is no element type %lld", (long long)to);
  if (from && (from == DT_str || to == DT_str || dtype_bits(from) != dtype_bits((DType)to)))
    return infer_fail(x, "%s and %s have not the same bits", dtype_name(from), dtype_name((DType)to));
  Type t = *in_type(x, 0);
  if (t.kind != VK_TENSOR || t.rank < 0)
    t = (Type){.kind = VK_TENSOR, .rank = -1};
  t.dtype = (DType)to;
  set_out_type(x, 0, t);
  return ST_OK;
}

/* Parts: real and imaginary parts along one more axis. */
Status parts_infer(Infer *x) {
  int rank;
  Dim dim[MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank == MAX_RANK)
    return infer_fail(x, "no axis is left for the parts");
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  dim[rank] = dim_const(x->c, 2);
  set_out(x, 0, in_type(x, 0)->dtype == DT_c64 ? DT_f32 : DT_f64, rank + 1, dim);
  return ST_OK;
}

/* Complex: the numbers that have these Parts. */
Status complex_infer(Infer *x) {
  int rank;
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (!rank)
    return infer_fail(x, "there is no axis of parts");
  TRY(same_dim(x, in_dim(x, 0, rank - 1), dim_const(x->c, 2), "the number of parts", NULL));
  set_out(x, 0, in_type(x, 0)->dtype == DT_f32 ? DT_c64 : DT_c128, rank - 1, in_type(x, 0)->dim);
  return ST_OK;
}

Status cast_infer(Infer *x) { return cast_type(x, ATTR(x->n, Cast)->to); }

Status castlike_infer(Infer *x) {
  const Type *like = in_type(x, 1);
  int rank;
  if (like->kind == VK_TENSOR && like->dtype)
    return cast_type(x, like->dtype);
  if (in_rank(x, 0, &rank))
    set_out(x, 0, DT_none, rank, in_type(x, 0)->dim);
  return ST_OK;
}
