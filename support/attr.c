/* attr.c - attribute structs by table.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/attr.h"

#include <math.h>
#include <string.h>

void *attr_new(Arena *a, const AttrInfo *info) {
  if (!info->size)
    return NULL;
  void *p = arena_get(a, 1, info->size, 16);
  for (const AttrField *f = info->field; f->name; f++) {
    if (f->kind == AK_INT)
      ATTR_AT(int64_t, p, f) = f->i;
    else if (f->kind == AK_FLOAT)
      ATTR_AT(float, p, f) = f->f;
    else if (f->kind == AK_STR)
      ATTR_AT(Str, p, f) = str_of(f->s);
  }
  return p;
}

/* A list keeps "given but empty" apart from "not given". */
static void *copy_list(Arena *a, const void *v, int64_t n, size_t size) {
  return v ? arena_copy(a, v, (size_t)n * size) : NULL;
}

static Str copy_str(Arena *a, Str s) { return s.ptr ? (Str){arena_strndup(a, s.ptr, s.len), s.len} : s; }

void *attr_copy(Arena *a, const AttrInfo *info, const void *attr) {
  if (!info->size)
    return NULL;
  void *p = arena_copy(a, attr, info->size);
  for (const AttrField *f = info->field; f->name; f++)
    switch (f->kind) {
    case AK_STR: ATTR_AT(Str, p, f) = copy_str(a, ATTR_GET(Str, attr, f)); break;
    case AK_INTS:
      ATTR_AT(Ints, p, f).v = copy_list(a, ATTR_GET(Ints, attr, f).v, ATTR_GET(Ints, attr, f).n, sizeof(int64_t));
      break;
    case AK_FLOATS:
      ATTR_AT(Floats, p, f).v = copy_list(a, ATTR_GET(Floats, attr, f).v, ATTR_GET(Floats, attr, f).n, sizeof(float));
      break;
    case AK_DIMS:
      ATTR_AT(Dims, p, f).v = copy_list(a, ATTR_GET(Dims, attr, f).v, ATTR_GET(Dims, attr, f).n, sizeof(Dim));
      break;
    case AK_STRS: {
      Strs s = ATTR_GET(Strs, attr, f);
      Str *v = copy_list(a, s.v, s.n, sizeof(Str));
      for (int64_t i = 0; v && i < s.n; i++)
        v[i] = copy_str(a, s.v[i]);
      ATTR_AT(Strs, p, f).v = v;
      break;
    }
    case AK_TENSOR: {
      const Tensor *t = ATTR_GET(Tensor *, attr, f);
      if (t)
        ATTR_AT(const Tensor *, p, f) = arena_copy(a, t, sizeof *t);
      break;
    }
    default: break;
    }
  return p;
}

static bool list_equal(const void *v, int64_t n, const void *w, int64_t m, size_t size) {
  return n == m && !v == !w && (!n || !memcmp(v, w, (size_t)n * size));
}

static bool field_equal(const AttrField *f, const void *a, const void *b) {
  switch (f->kind) {
  case AK_INT: return ATTR_GET(int64_t, a, f) == ATTR_GET(int64_t, b, f);
  case AK_FLOAT: return !memcmp(&ATTR_GET(float, a, f), &ATTR_GET(float, b, f), sizeof(float));
  case AK_STR:
    return !ATTR_GET(Str, a, f).ptr == !ATTR_GET(Str, b, f).ptr && str_eq(ATTR_GET(Str, a, f), ATTR_GET(Str, b, f));
  case AK_INTS:
    return list_equal(ATTR_GET(Ints, a, f).v, ATTR_GET(Ints, a, f).n, ATTR_GET(Ints, b, f).v, ATTR_GET(Ints, b, f).n,
                      sizeof(int64_t));
  case AK_FLOATS:
    return list_equal(ATTR_GET(Floats, a, f).v, ATTR_GET(Floats, a, f).n, ATTR_GET(Floats, b, f).v,
                      ATTR_GET(Floats, b, f).n, sizeof(float));
  case AK_DIMS:
    return list_equal(ATTR_GET(Dims, a, f).v, ATTR_GET(Dims, a, f).n, ATTR_GET(Dims, b, f).v, ATTR_GET(Dims, b, f).n,
                      sizeof(Dim));
  case AK_STRS: {
    Strs x = ATTR_GET(Strs, a, f), y = ATTR_GET(Strs, b, f);
    if (x.n != y.n || !x.v != !y.v)
      return false;
    for (int64_t i = 0; i < x.n; i++)
      if (!str_eq(x.v[i], y.v[i]))
        return false;
    return true;
  }
  case AK_TENSOR: {
    const Tensor *x = ATTR_GET(Tensor *, a, f), *y = ATTR_GET(Tensor *, b, f);
    return x == y || (x && y && tensor_equal(x, y));
  }
  }
  return false;
}

bool attr_equal(const AttrInfo *info, const void *a, const void *b) {
  if (info->size)
    for (const AttrField *f = info->field; f->name; f++)
      if (!field_equal(f, a, b))
        return false;
  return true;
}

uint64_t attr_hash(const AttrInfo *info, const void *attr) {
  uint64_t h = 0;
  if (!info->size)
    return h;
  for (const AttrField *f = info->field; f->name; f++)
    switch (f->kind) {
    case AK_INT: h = hash_bytes(&ATTR_GET(int64_t, attr, f), sizeof(int64_t), h); break;
    case AK_FLOAT: h = hash_bytes(&ATTR_GET(float, attr, f), sizeof(float), h); break;
    case AK_STR: h = hash_bytes(ATTR_GET(Str, attr, f).ptr, ATTR_GET(Str, attr, f).len, h); break;
    case AK_INTS:
      h = hash_bytes(ATTR_GET(Ints, attr, f).v, (size_t)ATTR_GET(Ints, attr, f).n * sizeof(int64_t), h);
      break;
    case AK_FLOATS:
      h = hash_bytes(ATTR_GET(Floats, attr, f).v, (size_t)ATTR_GET(Floats, attr, f).n * sizeof(float), h);
      break;
    case AK_DIMS: h = hash_bytes(ATTR_GET(Dims, attr, f).v, (size_t)ATTR_GET(Dims, attr, f).n * sizeof(Dim), h); break;
    case AK_STRS: h = hash_bytes(&ATTR_GET(Strs, attr, f).n, sizeof(int64_t), h); break; /* equality decides */
    case AK_TENSOR: {
      const Tensor *t = ATTR_GET(Tensor *, attr, f);
      if (t && t->dtype != DT_str)
        h = hash_bytes(t->data, tensor_bytes(t), h + t->dtype);
      break;
    }
    }
  return h;
}

const AttrField *attr_field(const AttrInfo *info, const char *name) {
  if (info->size)
    for (const AttrField *f = info->field; f->name; f++)
      if (!strcmp(f->name, name))
        return f;
  return NULL;
}

bool attr_is_default(const AttrField *f, const void *attr) {
  switch (f->kind) {
  case AK_INT: return ATTR_GET(int64_t, attr, f) == f->i;
  case AK_FLOAT: return ATTR_GET(float, attr, f) == f->f || (isnan(ATTR_GET(float, attr, f)) && isnan(f->f));
  case AK_STR: return !ATTR_GET(Str, attr, f).ptr == !f->s && str_eq(ATTR_GET(Str, attr, f), str_of(f->s));
  case AK_INTS: return !ATTR_GET(Ints, attr, f).v;
  case AK_FLOATS: return !ATTR_GET(Floats, attr, f).v;
  case AK_STRS: return !ATTR_GET(Strs, attr, f).v;
  case AK_DIMS: return !ATTR_GET(Dims, attr, f).v;
  case AK_TENSOR: return !ATTR_GET(Tensor *, attr, f);
  }
  return false;
}
