/* topk.c - TopK (24): the k largest or smallest along an axis with their indices, sorted; of equal values the lower
 * index first. NaN counts as larger than every number, as in NumPy's sort. SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <string.h>

/* Stable merge sort of idx[n] by key; tmp has room for n. */
static void sort_by_key(int64_t *idx, int64_t *tmp, int64_t n, const int64_t *key) {
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t lo = 0; lo < n; lo += 2 * width) {
      int64_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
      for (int64_t i = lo, j = mid, k = lo; k < hi; k++)
        tmp[k] = i < mid && (j >= hi || key[idx[i]] <= key[idx[j]]) ? idx[i++] : idx[j++];
    }
    memcpy(idx, tmp, (size_t)n * sizeof *idx);
  }
}

static Status count_of(Eval *e, int axis, int64_t *k) {
  const int64_t *v;
  int64_t n;
  TRY(eval_ints(e, 1, &v, &n));
  if (n != 1)
    return eval_fail(e, "k must be one number");
  if (*v < 0 || *v > e->in[0]->dim[axis])
    return eval_fail(e, "k is %lld, but axis %d has %lld elements", (long long)*v, axis,
                     (long long)e->in[0]->dim[axis]);
  *k = *v;
  return ST_OK;
}

Status topk_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const TopKAttr *a = e->attr;
  int64_t k = 0, dim[MAX_RANK], flip = a->largest ? -1 : 0;
  int axis;
  Tensor *values, *indices;
  TRY(operands(e, 2));
  if (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype))
    return eval_unsupported(e, "not defined for %s", dtype_name(x->dtype));
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(count_of(e, axis, &k));
  memcpy(dim, x->dim, sizeof dim);
  dim[axis] = k;
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &values));
  TRY(eval_out(e, 1, DT_i64, x->rank, dim, &indices));
  Axis3 s = axis_split(x, axis);
  if (!s.outer || !k)
    return ST_OK;
  int64_t *key = arena_array(e->scratch, int64_t, (size_t)s.n), *idx = arena_array(e->scratch, int64_t, (size_t)s.n);
  int64_t *tmp = arena_array(e->scratch, int64_t, (size_t)s.n);
  for (int64_t r = 0; r < s.outer * s.inner; r++) {
    int64_t from = r / s.inner * s.n * s.inner + r % s.inner, to = r / s.inner * k * s.inner + r % s.inner;
    TRY(ctx_poll(e->c));
    load_keys(x->dtype, x->data, from, s.inner, s.n, INT64_MAX, key);
    for (int64_t i = 0; i < s.n; i++)
      key[i] ^= flip, idx[i] = i;
    sort_by_key(idx, tmp, s.n, key);
    for (int64_t i = 0; i < k; i++) {
      copy_elem(e, x->dtype, values->data, to + i * s.inner, x->data, from + idx[i] * s.inner);
      ((int64_t *)indices->data)[to + i * s.inner] = idx[i];
    }
  }
  return ST_OK;
}
