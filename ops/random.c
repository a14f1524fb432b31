/* random.c - inference of the operators that draw random numbers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

static Status check_float(Infer *x, int64_t type) {
  if (type < 1 || type >= DT_count || !dtype_valid((DType)type) || !dtype_is_float((DType)type))
    return infer_fail(x, "dtype %lld is no float type", (long long)type);
  return ST_OK;
}

Status random_shape_infer(Infer *x) {
  bool uniform = x->n->op == OP_RandomUniform;
  Ints shape = uniform ? ATTR(x->n, RandomUniform)->shape : ATTR(x->n, RandomNormal)->shape;
  int64_t type = uniform ? ATTR(x->n, RandomUniform)->dtype : ATTR(x->n, RandomNormal)->dtype;
  Dim dim[MAX_RANK];
  TRY(check_float(x, type));
  TRY(check_rank(x, shape.n));
  if (!shape.v)
    return infer_fail(x, "attribute 'shape' is missing");
  for (int i = 0; i < shape.n; i++) {
    if (shape.v[i] < 0)
      return infer_fail(x, "extent %d of the shape is %lld", i, (long long)shape.v[i]);
    dim[i] = dim_const(x->c, shape.v[i]);
  }
  set_out(x, 0, (DType)type, (int)shape.n, dim);
  return ST_OK;
}

/* The shape of the input, in the type of attribute dtype or that of the input. */
static Status shape_like(Infer *x, int64_t type) {
  set_out_like(x, 0, 0);
  if (type != ABSENT)
    x->out[0].dtype = (DType)type;
  return ST_OK;
}

Status random_like_infer(Infer *x) {
  int64_t type =
      x->n->op == OP_RandomUniformLike ? ATTR(x->n, RandomUniformLike)->dtype : ATTR(x->n, RandomNormalLike)->dtype;
  if (type != ABSENT)
    TRY(check_float(x, type));
  else if (in_dtype(x, 0))
    TRY(check_float(x, in_dtype(x, 0)));
  return shape_like(x, type);
}

Status bernoulli_infer(Infer *x) {
  int64_t type = ATTR(x->n, Bernoulli)->dtype;
  if (type != ABSENT && (type < 1 || type >= DT_count || !dtype_valid((DType)type) || type == DT_str))
    return infer_fail(x, "dtype %lld is no type of numbers", (long long)type);
  return shape_like(x, type);
}

Status multinomial_infer(Infer *x) {
  const MultinomialAttr *a = ATTR(x->n, Multinomial);
  int rank;
  if (a->dtype != DT_i32 && a->dtype != DT_i64)
    return infer_fail(x, "dtype %lld is neither i32 nor i64", (long long)a->dtype);
  if (a->sample_size < 0)
    return infer_fail(x, "%lld samples", (long long)a->sample_size);
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank != 2)
    return infer_fail(x, "the input must have rank 2, not %d", rank);
  set_out(x, 0, (DType)a->dtype, 2, (Dim[]){in_dim(x, 0, 0), dim_const(x->c, a->sample_size)});
  return ST_OK;
}
