/* tensor.c - dense arrays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/tensor.h"

#include "support/checked.h"

#include <stdio.h>
#include <string.h>

int64_t tensor_count(const Tensor *t) {
  int64_t n = 0;
  if (t->kind != VK_TENSOR)
    return t->nitem;
  extent_ok(t->dim, t->rank, &n);
  return n;
}

size_t tensor_bytes(const Tensor *t) {
  size_t n = 0;
  if (t->kind == VK_TENSOR)
    dtype_bytes(t->dtype, tensor_count(t), &n);
  return n;
}

bool tensor_aligned(const Tensor *t) {
  int bytes = dtype_bits(t->dtype) / 8, align = bytes > 8 ? 8 : bytes;
  return align < 2 || (uintptr_t)t->data % (unsigned)align == 0;
}

bool tensor_same_shape(const Tensor *a, const Tensor *b) {
  return a->rank == b->rank && !memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]);
}

bool tensor_equal(const Tensor *a, const Tensor *b) {
  if (a->dtype != b->dtype || a->kind != b->kind || a->kind != VK_TENSOR || !tensor_same_shape(a, b))
    return false;
  if (a->dtype == DT_str) {
    for (int64_t i = 0, n = tensor_count(a); i < n; i++)
      if (!str_eq(((const Str *)a->data)[i], ((const Str *)b->data)[i]))
        return false;
    return true;
  }
  size_t n = tensor_bytes(a);
  return !n || !memcmp(a->data, b->data, n);
}

Status tensor_new(Ctx *c, Arena *a, DType dt, int rank, const int64_t *dim, Tensor **out) {
  int64_t count;
  size_t bytes;
  char text[256];
  if (rank < 0 || rank > MAX_RANK)
    return fail(c, ST_UNSUPPORTED, "rank %d is above %d", rank, MAX_RANK);
  if (!extent_ok(dim, rank, &count) || !dtype_bytes(dt, count, &bytes))
    return fail(c, ST_INVALID, "%s%s is not a size a tensor can have", dtype_name(dt),
                shape_text(rank, dim, text, sizeof text));
  Tensor *t = arena_new(a, Tensor);
  t->dtype = dt, t->rank = (int8_t)rank;
  if (rank)
    memcpy(t->dim, dim, (size_t)rank * sizeof *dim);
  t->data = arena_get(a, bytes, 1, 64);
  *out = t;
  return ST_OK;
}

Tensor *tensor_vec_i64(Arena *a, const int64_t *v, int64_t n) {
  Tensor *t = arena_new(a, Tensor);
  t->dtype = DT_i64, t->rank = 1, t->dim[0] = n;
  t->data = arena_get(a, (size_t)n, sizeof *v, 64);
  if (n)
    memcpy(t->data, v, (size_t)n * sizeof *v);
  return t;
}

char *shape_text(int rank, const int64_t *dim, char *buf, size_t cap) {
  size_t n = 0;
  if (cap)
    buf[0] = 0;
  n += (size_t)snprintf(buf + n, cap - n, "[");
  for (int i = 0; i < rank && n + 24 < cap; i++)
    n += (size_t)snprintf(buf + n, cap - n, "%s%lld", i ? "," : "", (long long)dim[i]);
  if (n + 2 <= cap)
    snprintf(buf + n, cap - n, "]");
  return buf;
}

char *tensor_type_text(const Tensor *t, char *buf, size_t cap) {
  static const char *const kind[] = {"", "sequence", "optional", "map"};
  if (t->kind != VK_TENSOR) {
    snprintf(buf, cap, "%s(%lld)", kind[t->kind], (long long)t->nitem);
    return buf;
  }
  int n = snprintf(buf, cap, "%s", dtype_name(t->dtype));
  shape_text(t->rank, t->dim, buf + n, cap - (size_t)n);
  return buf;
}
