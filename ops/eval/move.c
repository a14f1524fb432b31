/* move.c - moving elements of any type. A box is first reduced to few axes (axes of extent 1 dropped, neighbours that
 * both sides step through alike merged); the innermost axis is then a memcpy, or a loop for the element's width.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"

#include <string.h>

View view_of(const Tensor *t) {
  View v = {.data = t->data};
  row_major_strides(t->rank, t->dim, v.stride);
  return v;
}

static void move_element(DType t, void *dst, int64_t d, const void *src, int64_t s) {
  if (dtype_is_float(t)) /* the packed floats have no NaN: their value is their code */
    elem_set_f64(t, dst, d, elem_f64(t, src, s));
  else
    elem_set_i64(t, dst, d, elem_i64(t, src, s));
}

/* Width in bytes, 0 for packed types. */
static size_t width(DType t) {
  int bits = dtype_bits(t);
  return bits % 8 ? 0 : (size_t)bits / 8;
}

void move_run(DType t, void *dst, int64_t d, const void *src, int64_t s, int64_t n) {
  size_t w = width(t);
  if (n <= 0)
    return;
  if (w)
    memcpy((char *)dst + (size_t)d * w, (const char *)src + (size_t)s * w, (size_t)n * w);
  else
    for (int64_t i = 0; i < n; i++)
      move_element(t, dst, d + i, src, s + i);
}

typedef struct Wide {
  uint64_t half[2];
} Wide; /* strings, double complex */

#define LOOP(T)                                                                                                        \
  do {                                                                                                                 \
    T *p = (T *)dst->data + d;                                                                                         \
    const T *q = (const T *)src->data + s;                                                                             \
    for (int64_t i = 0; i < n; i++)                                                                                    \
      p[i * ds] = q[i * ss];                                                                                           \
  } while (0)

static void move_line(DType t, int64_t n, const View *dst, int64_t d, int64_t ds, const View *src, int64_t s,
                      int64_t ss) {
  if (ds == 1 && ss == 1) {
    move_run(t, dst->data, d, src->data, s, n);
    return;
  }
  switch (width(t)) {
  case 1: LOOP(uint8_t); break;
  case 2: LOOP(uint16_t); break;
  case 4: LOOP(uint32_t); break;
  case 8: LOOP(uint64_t); break;
  case 16: LOOP(Wide); break;
  default:
    for (int64_t i = 0; i < n; i++)
      move_element(t, dst->data, d + i * ds, src->data, s + i * ss);
  }
}

/* Fewer axes that visit the same elements in the same order. Returns how many. */
static int merge_axes(int rank, const int64_t *dim, const View *dst, const View *src, int64_t *ext, int64_t *ds,
                      int64_t *ss) {
  int n = 0;
  for (int i = 0; i < rank; i++) {
    if (dim[i] == 1)
      continue;
    int64_t p = dst->stride[i], q = src->stride[i];
    if (n && ds[n - 1] == p * dim[i] && ss[n - 1] == q * dim[i]) {
      ext[n - 1] *= dim[i], ds[n - 1] = p, ss[n - 1] = q;
      continue;
    }
    ext[n] = dim[i], ds[n] = p, ss[n] = q;
    n++;
  }
  if (!n)
    ext[0] = 1, ds[0] = ss[0] = 1, n = 1;
  return n;
}

void move_box(DType t, int rank, const int64_t *dim, const View *dst, const View *src) {
  int64_t ext[MAX_BOX], ds[MAX_BOX], ss[MAX_BOX], idx[MAX_BOX] = {0}, d = dst->at, s = src->at;
  for (int i = 0; i < rank; i++)
    if (!dim[i])
      return;
  int n = merge_axes(rank, dim, dst, src, ext, ds, ss), k;
  do {
    move_line(t, ext[n - 1], dst, d, ds[n - 1], src, s, ss[n - 1]);
    for (k = n - 2; k >= 0; k--) {
      d += ds[k], s += ss[k];
      if (++idx[k] < ext[k])
        break;
      d -= ds[k] * ext[k], s -= ss[k] * ext[k];
      idx[k] = 0;
    }
  } while (k >= 0);
}

void move_fill(DType t, void *dst, int64_t d, int64_t n, const void *src) {
  const Str empty = {.ptr = "", .len = 0};
  size_t w = width(t);
  if (n <= 0)
    return;
  if (!src && t == DT_str)
    src = &empty;
  if (!src && w) {
    memset((char *)dst + (size_t)d * w, 0, (size_t)n * w);
    return;
  }
  const uint64_t zero = 0;
  View to = {.data = dst, .at = d, .stride = {1}}, from = {.data = (void *)(uintptr_t)(src ? src : &zero)};
  move_box(t, 1, &n, &to, &from);
}

Status move_rank(Eval *e, int64_t rank) {
  return rank <= MAX_RANK ? ST_OK
                          : eval_unsupported(e, "an output of rank %lld is above %d", (long long)rank, MAX_RANK);
}

Status move_shared_out(Eval *e, int i, DType t, int64_t rank, const int64_t *dim, Tensor **out) {
  TRY(move_rank(e, rank));
  if (!dtype_valid(t))
    return eval_fail(e, "a tensor is needed, not a sequence or optional");
  return eval_out(e, i, t, (int)rank, dim, out);
}

Status move_out(Eval *e, int i, DType t, int64_t rank, const int64_t *dim, Tensor **out) {
  TRY(move_shared_out(e, i, t, rank, dim, out));
  size_t bytes = tensor_bytes(*out);
  if (!width(t) && bytes)
    memset((*out)->data, 0, bytes);
  return ST_OK;
}

Status move_done(Eval *e, Tensor *t) {
  if (t->kind != VK_TENSOR || t->dtype != DT_str)
    return ST_OK;
  Str *s = t->data, was = {0}, is = {0};
  for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
    if (!was.ptr || s[i].ptr != was.ptr || s[i].len != was.len) { /* a string repeated is copied once */
      was = s[i];
      is = (Str){.ptr = was.len ? arena_strndup(e->keep, was.ptr, was.len) : "", .len = was.len};
    }
    s[i] = is;
  }
  return ST_OK;
}

int64_t move_count(const Tensor *t, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; i++)
    n *= t->dim[i];
  return n;
}

Status move_index(Eval *e, int64_t i, int axis, int64_t extent, int64_t *out) {
  if (i < -extent || i >= extent)
    return eval_fail(e, "index %lld is out of range for axis %d of extent %lld", (long long)i, axis, (long long)extent);
  *out = i < 0 ? i + extent : i;
  return ST_OK;
}
