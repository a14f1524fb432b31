/* scatter.c - a copy with elements or slices replaced: ScatterElements 18, ScatterND 18, TensorScatter 24. Updates are
 * applied in row-major order of the indices, so that of duplicates the last one stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"

#include <math.h>
#include <string.h>

typedef enum { RED_NONE, RED_ADD, RED_MUL, RED_MAX, RED_MIN } Reduction;

static Status find_reduction(Eval *e, Str name, Reduction *r) {
  static const char *const names[] = {"none", "add", "mul", "max", "min"};
  DType t = e->in[0]->dtype;
  for (int i = 0; i < (int)countof(names); i++)
    if (str_is(name, names[i])) {
      *r = (Reduction)i;
      if (i && (t == DT_str || dtype_kind(t) == DK_COMPLEX))
        return eval_unsupported(e, "reduction %s of %s", names[i], dtype_name(t));
      return ST_OK;
    }
  return eval_fail(e, "reduction %.*s is none of none, add, mul, max, min", (int)name.len, name.ptr);
}

static double reduce_f64(Reduction r, double a, double b) {
  switch (r) {
  case RED_ADD: return a + b; /* double is wide enough that rounding the result once more is exact for narrower types */
  case RED_MUL: return a * b;
  case RED_MAX: return isnan(a) || a > b ? a : b;
  default: return isnan(a) || a < b ? a : b;
  }
}

static int64_t reduce_i64(Reduction r, DType t, int64_t a, int64_t b) {
  bool less = t == DT_u64 ? (uint64_t)a < (uint64_t)b : a < b;
  switch (r) {
  case RED_ADD: return (int64_t)((uint64_t)a + (uint64_t)b); /* wraps */
  case RED_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
  case RED_MAX: return less ? b : a;
  default: return less ? a : b;
  }
}

/* dst[d..d+n) becomes the reduction of itself and src[s..s+n). */
static void update_run(Reduction r, DType t, void *dst, int64_t d, const void *src, int64_t s, int64_t n) {
  if (r == RED_NONE)
    move_run(t, dst, d, src, s, n);
  else if (dtype_is_float(t))
    for (int64_t i = 0; i < n; i++)
      elem_set_f64(t, dst, d + i, reduce_f64(r, elem_f64(t, dst, d + i), elem_f64(t, src, s + i)));
  else
    for (int64_t i = 0; i < n; i++)
      elem_set_i64(t, dst, d + i, reduce_i64(r, t, elem_i64(t, dst, d + i), elem_i64(t, src, s + i)));
}

/* Output 0 as a copy of input 0. */
static Status out_copy(Eval *e, Tensor **y) {
  const Tensor *x = e->in[0];
  TRY(move_out(e, 0, x->dtype, x->rank, x->dim, y));
  size_t n = tensor_bytes(x);
  if (n)
    memcpy((*y)->data, x->data, n);
  return ST_OK;
}

Status scatter_elements_eval(Eval *e) {
  const ScatterElementsAttr *a = e->attr;
  const Tensor *x = e->in[0], *ix = e->in[1], *u = e->in[2];
  const int64_t *idx;
  int64_t n, k, stride[MAX_RANK], at[MAX_RANK] = {0};
  Reduction r = RED_NONE;
  int axis;
  Tensor *y;
  TRY(find_reduction(e, a->reduction, &r));
  if (u->dtype != x->dtype)
    return eval_fail(e, "data and updates differ in type");
  if (ix->rank != x->rank || !tensor_same_shape(ix, u))
    return eval_fail(e, "indices and updates must have one shape, of the rank of the data");
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(eval_ints(e, 1, &idx, &n));
  for (int i = 0; n && i < x->rank; i++)
    if (i != axis && ix->dim[i] > x->dim[i])
      return eval_fail(e, "%lld indices on axis %d reach beyond the %lld of the data", (long long)ix->dim[i], i,
                       (long long)x->dim[i]);
  TRY(out_copy(e, &y));
  row_major_strides(x->rank, x->dim, stride);
  for (int64_t p = 0; p < n; p++) {
    TRY(move_index(e, idx[p], axis, x->dim[axis], &k));
    int64_t d = k * stride[axis];
    for (int i = 0; i < x->rank; i++)
      d += i == axis ? 0 : at[i] * stride[i];
    update_run(r, x->dtype, y->data, d, u->data, p, 1);
    next_index(ix->rank, ix->dim, at);
  }
  return move_done(e, y);
}

/* updates must be indices[..., :-1] slices of data[k..]. */
static Status check_nd(Eval *e, int64_t k) {
  const Tensor *x = e->in[0], *ix = e->in[1], *u = e->in[2];
  int q = ix->rank;
  bool ok = u->dtype == x->dtype && u->rank == q - 1 + x->rank - k;
  for (int i = 0; ok && i < u->rank; i++)
    ok = u->dim[i] == (i < q - 1 ? ix->dim[i] : x->dim[k + i - (q - 1)]);
  return ok ? ST_OK : eval_fail(e, "the updates do not have the shape of the slices the indices name");
}

Status scatter_nd_eval(Eval *e) {
  const ScatterNDAttr *a = e->attr;
  const Tensor *x = e->in[0], *ix = e->in[1], *u = e->in[2];
  const int64_t *idx;
  int64_t count, stride[MAX_RANK];
  Reduction r = RED_NONE;
  Tensor *y;
  TRY(find_reduction(e, a->reduction, &r));
  int64_t k = ix->rank < 1 ? -1 : ix->dim[ix->rank - 1];
  if (k < 0 || x->rank < 1 || k > x->rank)
    return eval_fail(e, "index tuples of %lld for %d axes", (long long)k, x->rank);
  TRY(check_nd(e, k));
  TRY(eval_ints(e, 1, &idx, &count));
  TRY(out_copy(e, &y));
  row_major_strides(x->rank, x->dim, stride);
  int64_t inner = move_count(x, (int)k, x->rank), tuples = tensor_count(u) ? move_count(ix, 0, ix->rank - 1) : 0;
  for (int64_t t = 0; t < tuples; t++) {
    int64_t d = 0, p;
    for (int64_t i = 0; i < k; i++) {
      TRY(move_index(e, idx[t * k + i], (int)i, x->dim[i], &p));
      d += p * stride[i];
    }
    update_run(r, x->dtype, y->data, d, u->data, t * inner, inner);
  }
  return move_done(e, y);
}

/* Where batch b's updates go; NULL: from 0 on. */
static Status write_indices(Eval *e, int64_t batch, int64_t extent, int64_t len, bool circular, const int64_t **at) {
  int64_t n;
  *at = NULL;
  if (!eval_has(e, 2))
    return ST_OK;
  TRY(eval_ints(e, 2, at, &n));
  if (n != batch)
    return eval_fail(e, "%lld write indices for a batch of %lld", (long long)n, (long long)batch);
  for (int64_t b = 0; b < n; b++)
    if ((*at)[b] < 0 || (!circular && (*at)[b] > extent - len))
      return eval_fail(e, "index %lld is out of range for an update to an axis of extent %lld", (long long)(*at)[b],
                       (long long)extent);
  return ST_OK;
}

Status tensor_scatter_eval(Eval *e) {
  const TensorScatterAttr *a = e->attr;
  const Tensor *x = e->in[0], *u = e->in[1];
  const int64_t *at;
  bool circular = str_is(a->mode, "circular");
  int axis;
  Tensor *y;
  if (!circular && !str_is(a->mode, "linear"))
    return eval_fail(e, "mode must be linear or circular");
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  if (!axis)
    return eval_fail(e, "axis 0 is the batch");
  if (u->rank != x->rank || u->dtype != x->dtype)
    return eval_fail(e, "cache and update differ in type or rank");
  for (int i = 0; i < x->rank; i++)
    if (i == axis ? u->dim[i] > x->dim[i] : u->dim[i] != x->dim[i])
      return eval_fail(e, "an update of %lld does not fit the cache on axis %d, of extent %lld", (long long)u->dim[i],
                       i, (long long)x->dim[i]);
  int64_t len = u->dim[axis], extent = x->dim[axis], inner = move_count(x, axis + 1, x->rank);
  TRY(write_indices(e, x->dim[0], extent, len, circular, &at));
  TRY(out_copy(e, &y));
  int64_t outer = tensor_count(u) ? move_count(x, 0, axis) : 0, per_batch = outer ? outer / x->dim[0] : 1;
  for (int64_t o = 0; o < outer; o++) {
    int64_t from = at ? at[o / per_batch] % extent : 0;
    for (int64_t i = 0; i < len; i++)
      move_run(x->dtype, y->data, (o * extent + (from + i) % extent) * inner, u->data, (o * len + i) * inner, inner);
  }
  return move_done(e, y);
}
