/* npy.c - .npy in and out. The header is a Python dict in ASCII or UTF-8: {'descr': '<f4', 'fortran_order': False,
 * 'shape': (3, 4), }.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/npy.h"

#include "support/checked.h"

#include <stdio.h>
#include <string.h>

typedef struct Header {
  char order, kind; /* of descr "<f4": '<', 'f' */
  int64_t size;     /* 4: bytes per element; 'U': characters */
  bool has_descr, has_order, has_shape, fortran;
  int rank;
  int64_t dim[MAX_RANK];
} Header;

typedef struct Text {
  Ctx *c;
  const char *p, *end;
} Text;

static Status bad(Ctx *c, const char *what) { return fail(c, ST_INVALID, "damaged .npy data: %s", what); }

static void skip_space(Text *t) {
  while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t'))
    t->p++;
}

static bool accept(Text *t, char ch) {
  skip_space(t);
  if (t->p == t->end || *t->p != ch)
    return false;
  t->p++;
  return true;
}

static bool accept_word(Text *t, const char *w) {
  size_t n = strlen(w);
  skip_space(t);
  if ((size_t)(t->end - t->p) < n || memcmp(t->p, w, n))
    return false;
  t->p += n;
  return true;
}

static bool quoted(Text *t, Str *s) {
  skip_space(t);
  if (t->p == t->end || (*t->p != '\'' && *t->p != '"'))
    return false;
  const char *start = t->p + 1, *close = memchr(start, *t->p, (size_t)(t->end - start));
  if (!close)
    return false;
  *s = (Str){start, (size_t)(close - start)};
  t->p = close + 1;
  return true;
}

static bool whole(Text *t, int64_t *v) {
  skip_space(t);
  const char *start = t->p;
  for (*v = 0; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
    if (!mul_ok(*v, 10, v) || !add_ok(*v, *t->p - '0', v))
      return false;
  if (t->p > start && t->p < t->end && *t->p == 'L') /* Python 2 */
    t->p++;
  return t->p > start;
}

static Status parse_descr(Text *t, Header *h) {
  Str s;
  if (!quoted(t, &s))
    return fail(t->c, ST_UNSUPPORTED, ".npy data of a structured type is not an array of one element type");
  Text d = {t->c, s.ptr, s.ptr + s.len};
  h->order = '|';
  if (d.p < d.end && strchr("<>|=", *d.p))
    h->order = *d.p++;
  if (d.p < d.end)
    h->kind = *d.p++;
  if (h->kind == 'O')
    return err_hint(t->c, fail(t->c, ST_UNSUPPORTED, ".npy data of Python objects is not read"),
                    "store it as an array of numbers or fixed-width strings");
  if (!whole(&d, &h->size) || d.p != d.end)
    return bad(t->c, "the element type cannot be read");
  h->has_descr = true;
  return ST_OK;
}

static Status parse_shape(Text *t, Header *h) {
  if (!accept(t, '('))
    return bad(t->c, "the shape is no tuple");
  while (!accept(t, ')')) {
    if (h->rank == MAX_RANK)
      return fail(t->c, ST_UNSUPPORTED, "an array of more than %d dimensions", MAX_RANK);
    if (!whole(t, &h->dim[h->rank++]))
      return bad(t->c, "the shape cannot be read");
    if (!accept(t, ',') && (skip_space(t), t->p == t->end || *t->p != ')'))
      return bad(t->c, "the shape cannot be read");
  }
  h->has_shape = true;
  return ST_OK;
}

static Status parse_header(Text *t, Header *h) {
  Str key;
  if (!accept(t, '{'))
    return bad(t->c, "the header is no dictionary");
  while (!accept(t, '}')) {
    if (!quoted(t, &key) || !accept(t, ':'))
      return bad(t->c, "the header cannot be read");
    if (str_is(key, "descr") && !h->has_descr)
      TRY(parse_descr(t, h));
    else if (str_is(key, "shape") && !h->has_shape)
      TRY(parse_shape(t, h));
    else if (str_is(key, "fortran_order") && !h->has_order) {
      h->fortran = accept_word(t, "True");
      if (!h->fortran && !accept_word(t, "False"))
        return bad(t->c, "fortran_order is neither True nor False");
      h->has_order = true;
    } else
      return bad(t->c, "the header has an unknown or repeated key");
    if (!accept(t, ',') && (skip_space(t), t->p == t->end || *t->p != '}'))
      return bad(t->c, "the header cannot be read");
  }
  return h->has_descr && h->has_order && h->has_shape ? ST_OK : bad(t->c, "the header is not complete");
}

/* Finds the header and the data behind it. */
static Status split(Ctx *c, const uint8_t *p, size_t n, Header *h, const uint8_t **data, size_t *ndata) {
  if (n < 10 || memcmp(p, "\x93NUMPY", 6))
    return fail(c, ST_INVALID, "is no .npy data: it does not start with \\x93NUMPY");
  if (p[6] < 1 || p[6] > 3)
    return fail(c, ST_UNSUPPORTED, ".npy format version %d", p[6]);
  size_t head = p[6] == 1 ? 10 : 12;
  if (n < head)
    return bad(c, "it ends in the header");
  size_t len = p[8] | (size_t)p[9] << 8;
  if (p[6] > 1)
    len |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
  if (len > n - head)
    return bad(c, "it ends in the header");
  TRY(parse_header(&(Text){c, (const char *)p + head, (const char *)p + head + len}, h));
  *data = p + head + len, *ndata = n - head - len;
  return ST_OK;
}

/* The element type in memory of descr, and whether the file holds one element per byte of a smaller type. */
static Status element_type(Ctx *c, const Header *h, DType want, DType *dt, bool *unpack) {
  static const struct {
    char kind;
    int size;
    DType dt;
  } types[] = {{'f', 4, DT_f32}, {'f', 8, DT_f64},  {'f', 2, DT_f16}, {'i', 1, DT_i8},   {'i', 2, DT_i16},
               {'i', 4, DT_i32}, {'i', 8, DT_i64},  {'u', 1, DT_u8},  {'u', 2, DT_u16},  {'u', 4, DT_u32},
               {'u', 8, DT_u64}, {'b', 1, DT_bool}, {'c', 8, DT_c64}, {'c', 16, DT_c128}};
  int bits = dtype_bits(want);
  DKind k = dtype_kind(want);
  *unpack = false;
  if (h->kind == 'U' || h->kind == 'S') {
    *dt = DT_str;
    return ST_OK;
  }
  if (h->kind == 'V' && want && want != DT_str && !*dtype_numpy(want) && h->size == (bits + 7) / 8) {
    *dt = want, *unpack = bits < 8;
    return ST_OK;
  }
  if (want && bits < 8 && h->size == 1 && ((h->kind == 'i' && k == DK_SINT) || (h->kind == 'u' && k == DK_UINT))) {
    *dt = want, *unpack = true;
    return ST_OK;
  }
  for (size_t i = 0; i < countof(types); i++)
    if (types[i].kind == h->kind && types[i].size == h->size) {
      *dt = types[i].dt;
      return ST_OK;
    }
  return fail(c, ST_UNSUPPORTED, ".npy element type '%c%c%lld' has no counterpart here", h->order, h->kind,
              (long long)h->size);
}

static void swap_bytes(uint8_t *p, size_t unit, size_t n) {
  for (size_t i = 0; i + unit <= n; i += unit)
    for (size_t k = 0; k < unit / 2; k++) {
      uint8_t x = p[i + k];
      p[i + k] = p[i + unit - 1 - k], p[i + unit - 1 - k] = x;
    }
}

/* Column-major to row-major: dst in order, src with strides of a column-major array. */
static void from_fortran(const Tensor *t, const uint8_t *src, size_t size, uint8_t *dst) {
  int64_t idx[MAX_RANK] = {0}, stride[MAX_RANK], n = 1, at = 0;
  for (int i = 0; i < t->rank; i++)
    stride[i] = n, n *= t->dim[i];
  for (int64_t i = 0; i < n; i++) {
    memcpy(dst + (size_t)i * size, src + (size_t)at * size, size);
    for (int k = t->rank - 1; k >= 0; k--) {
      at += stride[k];
      if (++idx[k] < t->dim[k])
        break;
      at -= stride[k] * t->dim[k], idx[k] = 0;
    }
  }
}

static size_t utf8_put(char *dst, uint32_t ch) {
  if (ch > 0x10ffff || (ch >= 0xd800 && ch < 0xe000))
    ch = 0xfffd;
  if (ch < 0x80)
    return dst[0] = (char)ch, 1;
  if (ch < 0x800)
    return dst[0] = (char)(0xc0 | ch >> 6), dst[1] = (char)(0x80 | (ch & 63)), 2;
  if (ch < 0x10000)
    return dst[0] = (char)(0xe0 | ch >> 12), dst[1] = (char)(0x80 | (ch >> 6 & 63)), dst[2] = (char)(0x80 | (ch & 63)),
           3;
  dst[0] = (char)(0xf0 | ch >> 18), dst[1] = (char)(0x80 | (ch >> 12 & 63));
  dst[2] = (char)(0x80 | (ch >> 6 & 63)), dst[3] = (char)(0x80 | (ch & 63));
  return 4;
}

/* Fixed-width strings of `width` characters, padded with NUL. */
static void read_strings(Arena *a, Tensor *t, const uint8_t *src, size_t width, char kind) {
  Str *dst = t->data;
  for (int64_t i = 0, n = tensor_count(t); i < n; i++, src += width * (kind == 'U' ? 4 : 1)) {
    char *s = arena_get(a, width * (kind == 'U' ? 4 : 1) + 1, 1, 1);
    size_t len = 0, used = width;
    if (kind == 'S') {
      while (used && !src[used - 1])
        used--;
      memcpy(s, src, used);
      len = used;
    } else {
      uint32_t ch;
      for (; used; used--) {
        memcpy(&ch, src + (used - 1) * 4, 4);
        if (ch)
          break;
      }
      for (size_t k = 0; k < used; k++) {
        memcpy(&ch, src + k * 4, 4);
        len += utf8_put(s + len, ch);
      }
    }
    dst[i] = (Str){s, len};
  }
}

Status npy_read(Ctx *c, Arena *a, const void *bytes, size_t n, DType want, Tensor **out) {
  Header h = {0};
  const uint8_t *src = NULL;
  size_t nsrc = 0, need, width;
  DType dt = DT_none;
  bool unpack = false;
  int64_t count;
  TRY(split(c, bytes, n, &h, &src, &nsrc));
  TRY(element_type(c, &h, want, &dt, &unpack));
  if (!size_mul_ok((size_t)h.size, h.kind == 'U' ? 4 : 1, &width) || !extent_ok(h.dim, h.rank, &count) ||
      !size_mul_ok((size_t)count, width, &need))
    return bad(c, "the size overflows");
  if (need != nsrc)
    return fail(c, ST_INVALID, "damaged .npy data: %zu bytes of elements where the header says %zu", nsrc, need);
  Tensor *t = arena_new(a, Tensor);
  t->dtype = dt, t->rank = (int8_t)h.rank, t->data = (void *)(uintptr_t)src;
  memcpy(t->dim, h.dim, sizeof h.dim);
  *out = t;
  size_t unit = h.kind == 'U' ? 4 : h.kind == 'c' ? width / 2 : h.kind == 'S' || h.kind == 'V' ? 1 : width;
  bool fortran = h.fortran && h.rank > 1 && count, swap = h.order == '>' && unit > 1;
  if (fortran || swap || (!unpack && dt != DT_str && !tensor_aligned(t))) {
    uint8_t *copy = arena_get(a, need, 1, 64);
    if (fortran)
      from_fortran(t, src, width, copy);
    else if (need)
      memcpy(copy, src, need);
    if (swap)
      swap_bytes(copy, unit, need);
    t->data = copy, src = copy;
  }
  if (dt == DT_str) {
    if (width > (size_t)1 << 31 || (count && !width)) /* without characters a small file could claim any number */
      return bad(c, "strings of no or too many characters");
    TRY(tensor_new(c, a, DT_str, h.rank, h.dim, &t));
    read_strings(a, t, src, (size_t)h.size, h.kind);
    *out = t;
  } else if (unpack) {
    TRY(tensor_new(c, a, dt, h.rank, h.dim, &t));
    for (int64_t i = 0; i < count; i++)
      if (dtype_is_int(dt))
        elem_set_i64(dt, t->data, i, h.kind == 'i' ? (int8_t)src[i] : src[i]);
      else
        elem_set_f64(dt, t->data, i, small_float_value(dt, src[i]));
    *out = t;
  }
  if (dt == DT_bool)
    for (int64_t i = 0; i < count; i++)
      if (((const uint8_t *)t->data)[i] > 1)
        return bad(c, "a bool that is neither 0 nor 1");
  return ST_OK;
}

/* --- writing --- */

static uint32_t utf8_get(const char *s, size_t len) {
  const unsigned char *u = (const unsigned char *)s;
  if (len == 1)
    return u[0];
  uint32_t ch = u[0] & (0x7fu >> len);
  for (size_t i = 1; i < len; i++)
    ch = ch << 6 | (u[i] & 63);
  return ch;
}

/* Strings as '<U': UTF-32; bytes that are no UTF-8 become U+FFFD. */
static Status write_strings(Ctx *c, Arena *a, const Tensor *t, int64_t n, size_t *width, Str *data) {
  const Str *s = t->data;
  size_t total;
  *width = 1;
  for (int64_t i = 0; i < n; i++)
    if (s[i].len > *width)
      *width = s[i].len;
  if (!size_mul_ok(*width * 4, (size_t)n, &total))
    return fail(c, ST_UNSUPPORTED, "strings too long for an .npy file");
  uint32_t *dst = arena_get(a, total, 1, 64);
  for (int64_t i = 0; i < n; i++)
    for (size_t at = 0, k = 0; at < s[i].len; k++) {
      size_t len = utf8_length(s[i].ptr + at, s[i].len - at);
      dst[(size_t)i * *width + k] = len ? utf8_get(s[i].ptr + at, len) : 0xfffd;
      at += len ? len : 1;
    }
  *data = (Str){(const char *)dst, total};
  return ST_OK;
}

static unsigned packed_code(DType dt, const void *data, int64_t i) {
  int bits = dtype_bits(dt);
  size_t at = (size_t)i * (size_t)bits, byte = at / 8, shift = at % 8;
  const uint8_t *p = data;
  unsigned v = p[byte];
  if (shift + (size_t)bits > 8)
    v |= (unsigned)p[byte + 1] << 8;
  return v >> shift & ((1u << bits) - 1);
}

static const char *descr(Arena *a, DType dt, size_t width) {
  static const char kinds[] = {[DK_FLOAT] = 'f', [DK_SINT] = 'i', [DK_UINT] = 'u', [DK_BOOL] = 'b', [DK_COMPLEX] = 'c'};
  int size = (dtype_bits(dt) + 7) / 8;
  char kind = kinds[dtype_kind(dt)];
  if (dt == DT_str)
    return arena_printf(a, "<U%zu", width);
  if (!*dtype_numpy(dt) && dtype_is_float(dt))
    kind = 'V';
  return arena_printf(a, "%c%c%d", size > 1 ? '<' : '|', kind, size);
}

Status npy_write(Ctx *c, Arena *a, const Tensor *t, Str *header, Str *data) {
  if (t->kind != VK_TENSOR)
    return err_hint(c, fail(c, ST_UNSUPPORTED, "a sequence cannot be stored as .npy"), "store it as NAME=FILE.pb");
  int64_t n = tensor_count(t);
  int bits = dtype_bits(t->dtype);
  size_t width = 0;
  *data = (Str){t->data, tensor_bytes(t)};
  if (t->dtype == DT_str)
    TRY(write_strings(c, a, t, n, &width, data));
  else if (bits < 8) {
    uint8_t *p = arena_get(a, (size_t)n, 1, 64);
    for (int64_t i = 0; i < n; i++)
      p[i] =
          dtype_is_int(t->dtype) ? (uint8_t)elem_i64(t->dtype, t->data, i) : (uint8_t)packed_code(t->dtype, t->data, i);
    *data = (Str){(const char *)p, (size_t)n};
  }
  StrBuf b;
  buf_init(&b, a);
  buf_put(&b, "\x93NUMPY\x01\x00\x00\x00", 10);
  buf_printf(&b, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr(a, t->dtype, width));
  for (int i = 0; i < t->rank; i++)
    buf_printf(&b, "%s%lld%s", i ? ", " : "", (long long)t->dim[i], t->rank == 1 ? "," : "");
  buf_puts(&b, "), }");
  while ((b.len + 1) % 64)
    buf_putc(&b, ' ');
  buf_putc(&b, '\n');
  size_t len = b.len - 10;
  b.text[8] = (char)(len & 255), b.text[9] = (char)(len >> 8);
  *header = (Str){b.text, b.len};
  return ST_OK;
}
