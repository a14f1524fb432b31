/* attr_bytes.c - attribute structs as bytes: per field in table order an int64 head (value, or length of a list with -1 for
 * "not given"), then the list's elements, padded to 8 bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/attr.h"

#include "support/checked.h"

#include <string.h>

static void put_i64(StrBuf *b, int64_t v) { buf_put(b, (const char *)&v, sizeof v); }

static void put_bytes(StrBuf *b, const void *p, size_t n) {
  static const char zero[8];
  buf_put(b, p, n);
  if (n % 8)
    buf_put(b, zero, 8 - n % 8);
}

static void put_list(StrBuf *b, const void *v, int64_t n, size_t size) {
  put_i64(b, v ? n : -1);
  if (v)
    put_bytes(b, v, (size_t)n * size);
}

static void put_str(StrBuf *b, Str s) { put_list(b, s.ptr, (int64_t)s.len, 1); }

static void put_tensor(StrBuf *b, const Tensor *t) {
  put_i64(b, t ? t->dtype : -1);
  if (!t)
    return;
  put_list(b, t->dim, t->rank, sizeof t->dim[0]);
  if (t->dtype != DT_str) {
    put_list(b, t->data, (int64_t)tensor_bytes(t), 1);
    return;
  }
  for (int64_t i = 0, n = tensor_count(t); i < n; i++)
    put_str(b, ((const Str *)t->data)[i]);
}

void attr_encode(StrBuf *b, const AttrInfo *info, const void *attr) {
  if (!info->size)
    return;
  for (const AttrField *f = info->field; f->name; f++)
    switch (f->kind) {
    case AK_INT: put_i64(b, ATTR_GET(int64_t, attr, f)); break;
    case AK_FLOAT: {
      uint32_t u;
      memcpy(&u, &ATTR_GET(float, attr, f), 4);
      put_i64(b, u);
      break;
    }
    case AK_STR: put_str(b, ATTR_GET(Str, attr, f)); break;
    case AK_INTS: put_list(b, ATTR_GET(Ints, attr, f).v, ATTR_GET(Ints, attr, f).n, sizeof(int64_t)); break;
    case AK_FLOATS: put_list(b, ATTR_GET(Floats, attr, f).v, ATTR_GET(Floats, attr, f).n, sizeof(float)); break;
    case AK_STRS: {
      Strs s = ATTR_GET(Strs, attr, f);
      put_i64(b, s.v ? s.n : -1);
      for (int64_t i = 0; s.v && i < s.n; i++)
        put_str(b, s.v[i]);
      break;
    }
    case AK_TENSOR: put_tensor(b, ATTR_GET(Tensor *, attr, f)); break;
    case AK_DIMS: break;
    }
}

typedef struct Reader {
  Ctx *c;
  Arena *a;
  const char *p, *end;
} Reader;

static Status damaged(Reader *r) { return fail(r->c, ST_INVALID, "damaged attributes in a compiled program"); }

static Status get_i64(Reader *r, int64_t *v) {
  if (r->end - r->p < 8)
    return damaged(r);
  memcpy(v, r->p, 8);
  r->p += 8;
  return ST_OK;
}

/* A list of n elements copied to the arena; *v NULL and *n 0 when it was not given. */
static Status get_list(Reader *r, void **v, int64_t *n, size_t size) {
  int64_t bytes;
  TRY(get_i64(r, n));
  *v = NULL;
  if (*n < 0) {
    *n = 0;
    return ST_OK;
  }
  if (!mul_ok(*n, (int64_t)size, &bytes) || bytes > r->end - r->p || (bytes + 7) / 8 * 8 > r->end - r->p)
    return damaged(r);
  *v = arena_copy(r->a, r->p, (size_t)bytes);
  r->p += (bytes + 7) / 8 * 8;
  return ST_OK;
}

static Status get_str(Reader *r, Str *s) {
  void *v;
  int64_t n;
  TRY(get_list(r, &v, &n, 1));
  *s = (Str){v, (size_t)n};
  return ST_OK;
}

static Status get_tensor(Reader *r, const Tensor **out) {
  int64_t dtype, rank, n;
  void *dim, *data;
  TRY(get_i64(r, &dtype));
  *out = NULL;
  if (dtype == -1)
    return ST_OK;
  if (dtype < 0 || dtype > INT32_MAX || !dtype_valid((int)dtype))
    return damaged(r);
  TRY(get_list(r, &dim, &rank, sizeof(int64_t)));
  Tensor *t;
  if (rank > MAX_RANK)
    return damaged(r);
  if (dtype != DT_str) {
    TRY(get_list(r, &data, &n, 1));
    t = arena_new(r->a, Tensor);
    t->dtype = (DType)dtype, t->rank = (int8_t)rank, t->data = data;
    if (rank)
      memcpy(t->dim, dim, (size_t)rank * sizeof(int64_t));
    int64_t count;
    size_t bytes;
    if (!extent_ok(t->dim, t->rank, &count) || !dtype_bytes(t->dtype, count, &bytes) || bytes != (size_t)n)
      return damaged(r);
    *out = t;
    return ST_OK;
  }
  int64_t count;
  if (!extent_ok(dim, (int)rank, &count) || count > r->end - r->p)
    return damaged(r);
  TRY(tensor_new(r->c, r->a, DT_str, (int)rank, dim, &t));
  for (int64_t i = 0; i < count; i++)
    TRY(get_str(r, &((Str *)t->data)[i]));
  *out = t;
  return ST_OK;
}

static Status get_strs(Reader *r, Strs *s) {
  TRY(get_i64(r, &s->n));
  s->v = NULL;
  if (s->n < 0) {
    s->n = 0;
    return ST_OK;
  }
  if (s->n > (r->end - r->p) / 8)
    return damaged(r);
  Str *v = arena_array(r->a, Str, (size_t)s->n);
  for (int64_t i = 0; i < s->n; i++)
    TRY(get_str(r, &v[i]));
  s->v = v;
  return ST_OK;
}

Status attr_decode(Ctx *c, Arena *a, const AttrInfo *info, const void *bytes, size_t n, void **attr) {
  Reader r = {c, a, bytes, (const char *)bytes + n};
  void *p = attr_new(a, info), *v;
  int64_t i;
  for (const AttrField *f = info->field; info->size && f->name; f++)
    switch (f->kind) {
    case AK_INT: TRY(get_i64(&r, &ATTR_AT(int64_t, p, f))); break;
    case AK_FLOAT: {
      TRY(get_i64(&r, &i));
      uint32_t u = (uint32_t)i;
      memcpy(&ATTR_AT(float, p, f), &u, 4);
      break;
    }
    case AK_STR: TRY(get_str(&r, &ATTR_AT(Str, p, f))); break;
    case AK_INTS:
      TRY(get_list(&r, &v, &ATTR_AT(Ints, p, f).n, sizeof(int64_t)));
      ATTR_AT(Ints, p, f).v = v;
      break;
    case AK_FLOATS:
      TRY(get_list(&r, &v, &ATTR_AT(Floats, p, f).n, sizeof(float)));
      ATTR_AT(Floats, p, f).v = v;
      break;
    case AK_STRS: TRY(get_strs(&r, &ATTR_AT(Strs, p, f))); break;
    case AK_TENSOR: TRY(get_tensor(&r, &ATTR_AT(const Tensor *, p, f))); break;
    case AK_DIMS: break;
    }
  if (r.p != r.end)
    return damaged(&r);
  *attr = p;
  return ST_OK;
}
