/* loop.c - spans of a broadcast; elements widened and narrowed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <math.h>
#include <string.h>

Status operands(Eval *e, int n) {
  for (int i = 0; i < n || i < e->nin; i++) {
    if (i < n && !eval_has(e, i))
      return eval_fail(e, "input %d is missing", i);
    if (eval_has(e, i) && e->in[i]->kind != VK_TENSOR)
      return eval_fail(e, "input %d must be a tensor", i);
  }
  return ST_OK;
}

#define LOAD(T, R)                                                                                                     \
  do {                                                                                                                 \
    const T *p = (const T *)data + at;                                                                                 \
    if (step == 1)                                                                                                     \
      for (int64_t i = 0; i < n; i++)                                                                                  \
        v[i] = (R)p[i];                                                                                                \
    else                                                                                                               \
      for (int64_t i = 0; i < n; i++)                                                                                  \
        v[i] = (R)p[i * step];                                                                                         \
    return;                                                                                                            \
  } while (0)

#define STORE(T)                                                                                                       \
  do {                                                                                                                 \
    T *p = (T *)data + at;                                                                                             \
    for (int64_t i = 0; i < n; i++)                                                                                    \
      p[i * step] = (T)v[i];                                                                                           \
    return;                                                                                                            \
  } while (0)

void load_f64(DType t, const void *data, int64_t at, int64_t step, int64_t n, double *v) {
  switch (t) {
  case DT_f32: LOAD(float, double);
  case DT_f64: LOAD(double, double);
  case DT_i64: LOAD(int64_t, double);
  case DT_i32: LOAD(int32_t, double);
  case DT_u8: LOAD(uint8_t, double);
  case DT_i8: LOAD(int8_t, double);
  default:
    for (int64_t i = 0; i < n; i++)
      v[i] = elem_f64(t, data, at + i * step);
  }
}

void store_f64(DType t, void *data, int64_t at, int64_t step, int64_t n, const double *v) {
  switch (t) {
  case DT_f32: STORE(float);
  case DT_f64: STORE(double);
  default:
    for (int64_t i = 0; i < n; i++)
      elem_set_f64(t, data, at + i * step, v[i]);
  }
}

void load_i64(DType t, const void *data, int64_t at, int64_t step, int64_t n, int64_t *v) {
  switch (t) {
  case DT_i64: LOAD(int64_t, int64_t);
  case DT_i32: LOAD(int32_t, int64_t);
  case DT_u8: LOAD(uint8_t, int64_t);
  case DT_i8: LOAD(int8_t, int64_t);
  default:
    for (int64_t i = 0; i < n; i++)
      v[i] = elem_i64(t, data, at + i * step);
  }
}

void store_i64(DType t, void *data, int64_t at, int64_t step, int64_t n, const int64_t *v) {
  switch (t) {
  case DT_i64: STORE(int64_t);
  case DT_i32: STORE(int32_t);
  default:
    for (int64_t i = 0; i < n; i++)
      elem_set_i64(t, data, at + i * step, v[i]);
  }
}

static int64_t float_key(double d, int64_t nan) {
  if (isnan(d))
    return nan;
  d += 0.0; /* -0 becomes 0 */
  int64_t k;
  memcpy(&k, &d, sizeof k);
  return k < 0 ? ~(k & INT64_MAX) : k; /* sign and magnitude to two's complement order */
}

void load_keys(DType t, const void *data, int64_t at, int64_t step, int64_t n, int64_t nan, int64_t *key) {
  if (dtype_is_float(t)) {
    for (int64_t i = 0; i < n; i++)
      key[i] = float_key(elem_f64(t, data, at + i * step), nan);
    return;
  }
  load_i64(t, data, at, step, n, key);
  for (int64_t i = 0; t == DT_u64 && i < n; i++)
    key[i] ^= INT64_MIN;
}

/* Can axis i be walked as one with axis i + 1 by every input? */
static bool mergeable(const Loop *l, int i) {
  for (int k = 0; k < l->n; k++)
    if (l->stride[k][i] != l->stride[k][i + 1] * l->dim[i + 1])
      return false;
  return true;
}

static void drop_axis(Loop *l, int i) {
  for (int k = 0; k < l->n; k++)
    memmove(&l->stride[k][i], &l->stride[k][i + 1], (size_t)(l->rank - i - 1) * sizeof(int64_t));
  memmove(&l->dim[i], &l->dim[i + 1], (size_t)(l->rank - i - 1) * sizeof(int64_t));
  l->rank--;
}

void loop_open(Loop *l, int rank, const int64_t *dim, int n, const Tensor *const *t) {
  memset(l, 0, sizeof *l);
  l->n = n, l->rank = rank, l->total = 1;
  for (int i = 0; i < rank; i++) {
    l->dim[i] = dim[i];
    l->total = dim[i] && l->total ? l->total * dim[i] : 0;
  }
  for (int k = 0; k < n; k++)
    eval_bcast_strides(t[k], rank, dim, l->stride[k]);
  if (!l->total)
    return;
  for (int i = l->rank - 1; i >= 0; i--)
    if (l->dim[i] == 1)
      drop_axis(l, i);
  for (int i = l->rank - 2; i >= 0; i--)
    if (mergeable(l, i)) {
      l->dim[i + 1] *= l->dim[i];
      drop_axis(l, i);
    }
  if (!l->rank)
    l->rank = 1, l->dim[0] = 1;
}

bool loop_next(Loop *l) {
  if (l->done >= l->total)
    return false;
  int last = l->rank - 1;
  int64_t rest = l->dim[last] - l->idx[last];
  l->len = rest < CHUNK ? rest : CHUNK;
  l->out = l->done;
  for (int k = 0; k < l->n; k++) {
    l->step[k] = l->stride[k][last];
    l->at[k] = l->base[k] + l->idx[last] * l->step[k];
  }
  l->done += l->len, l->spans++;
  l->idx[last] += l->len;
  if (l->idx[last] < l->dim[last])
    return true;
  l->idx[last] = 0;
  for (int i = last - 1; i >= 0; i--) { /* base: where the innermost axis starts */
    for (int k = 0; k < l->n; k++)
      l->base[k] += l->stride[k][i];
    if (++l->idx[i] < l->dim[i])
      return true;
    for (int k = 0; k < l->n; k++)
      l->base[k] -= l->dim[i] * l->stride[k][i];
    l->idx[i] = 0;
  }
  return true;
}

Status loop_poll(const Loop *l, Ctx *c) { return l->spans % 256 ? ST_OK : ctx_poll(c); }

void copy_elem(Eval *e, DType t, void *dst, int64_t i, const void *src, int64_t j) {
  int bits = dtype_bits(t);
  if (t == DT_str) {
    Str s = ((const Str *)src)[j];
    ((Str *)dst)[i] = (Str){s.len ? arena_copy(e->keep, s.ptr, s.len) : "", s.len};
  } else if (bits >= 8) {
    size_t n = (size_t)bits / 8;
    char *to = (char *)dst + (size_t)i * n;
    const char *from = (const char *)src + (size_t)j * n;
    if (to != from) /* the same in an in-place step */
      memcpy(to, from, n);
  } else if (dtype_is_float(t)) {
    elem_set_f64(t, dst, i, elem_f64(t, src, j)); /* exact */
  } else {
    elem_set_i64(t, dst, i, elem_i64(t, src, j));
  }
}

Axis3 axis_split(const Tensor *t, int axis) {
  Axis3 a = {1, t->dim[axis], 1};
  bool empty = tensor_count(t) == 0;
  for (int i = 0; i < t->rank && !empty; i++)
    if (i < axis)
      a.outer *= t->dim[i];
    else if (i > axis)
      a.inner *= t->dim[i];
  if (empty) /* no element to visit, except where only the axis is empty: the caller asks dim itself */
    a.outer = a.inner = 0;
  return a;
}
