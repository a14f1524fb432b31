/* show.c - tensors as text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/show.h"

#include "tools/json.h"
#include "tools/tool.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FULL = 200, EDGE = 3, MAX_JSON = 10000, LINE = 100 };

typedef struct Format {
  bool exponent; /* of floats */
  int digits;    /* behind the point */
  int width;     /* of the widest element shown */
} Format;

typedef struct Show {
  StrBuf *b;
  const Tensor *t;
  bool all;
  Format f;
  int column;
} Show;

static bool shown(const Show *s, int64_t i, int64_t n) { return s->all || n <= 2 * EDGE || i < EDGE || i >= n - EDGE; }

static void float_text(char *out, size_t cap, double v, const Format *f) {
  if (isnan(v))
    snprintf(out, cap, "nan");
  else if (isinf(v))
    snprintf(out, cap, v > 0 ? "inf" : "-inf");
  else
    snprintf(out, cap, f->exponent ? "%.*e" : "%.*f", f->digits, v);
}

static void put_string(StrBuf *b, Str s) {
  size_t n = s.len < 200 ? s.len : 200;
  char text[900];
  escape_text(text, sizeof text, s.ptr, n);
  buf_putc(b, '"');
  for (const char *p = text; *p; p++)
    if (*p == '"')
      buf_puts(b, "\\\"");
    else
      buf_putc(b, *p);
  buf_puts(b, n < s.len ? "\"..." : "\"");
}

static void element_text(const Show *s, int64_t i, char *out, size_t cap) {
  const Tensor *t = s->t;
  switch (dtype_kind(t->dtype)) {
  case DK_FLOAT: float_text(out, cap, elem_f64(t->dtype, t->data, i), &s->f); return;
  case DK_BOOL: snprintf(out, cap, elem_i64(t->dtype, t->data, i) ? "true" : "false"); return;
  case DK_UINT: snprintf(out, cap, "%" PRIu64, (uint64_t)elem_i64(t->dtype, t->data, i)); return;
  case DK_COMPLEX: {
    double re, im;
    if (t->dtype == DT_c64)
      re = ((const float *)t->data)[2 * i], im = ((const float *)t->data)[2 * i + 1];
    else
      re = ((const double *)t->data)[2 * i], im = ((const double *)t->data)[2 * i + 1];
    snprintf(out, cap, "%.6g%+.6gj", re, im);
    return;
  }
  default: snprintf(out, cap, "%" PRId64, elem_i64(t->dtype, t->data, i));
  }
}

/* Visits the elements that will be shown. */
static void visit(Show *s, int axis, int64_t at, void (*fn)(Show *s, int64_t i, void *arg), void *arg) {
  if (axis == s->t->rank) {
    fn(s, at, arg);
    return;
  }
  int64_t n = s->t->dim[axis];
  for (int64_t i = 0; i < n; i++) {
    if (!shown(s, i, n))
      i = n - EDGE;
    visit(s, axis + 1, at * n + i, fn, arg);
  }
}

typedef struct Range {
  double lo, hi; /* of the finite non-zero magnitudes */
} Range;

static void see_magnitude(Show *s, int64_t i, void *arg) {
  Range *r = arg;
  double v = fabs(elem_f64(s->t->dtype, s->t->data, i));
  if (!isfinite(v) || v == 0)
    return;
  r->lo = v < r->lo ? v : r->lo, r->hi = v > r->hi ? v : r->hi;
}

static void see_width(Show *s, int64_t i, void *arg) {
  char text[96];
  (void)arg;
  element_text(s, i, text, sizeof text);
  int n = (int)strlen(text);
  s->f.width = n > s->f.width ? n : s->f.width;
}

/* Digits that element i needs once its trailing zeros are gone. */
static void see_digits(Show *s, int64_t i, void *arg) {
  int *most = arg, n;
  char text[400];
  double v = elem_f64(s->t->dtype, s->t->data, i);
  if (!isfinite(v))
    return;
  float_text(text, sizeof text, v, &s->f);
  char *point = strchr(text, '.'), *end = strpbrk(text, "e");
  end = end ? end : text + strlen(text);
  while (point && end > point + 1 && end[-1] == '0')
    end--;
  n = point ? (int)(end - point) - 1 : 0;
  *most = n > *most ? n : *most;
}

/* Fixed point where the magnitudes allow it, with the digits that tell the elements apart. */
static void choose_format(Show *s) {
  if (dtype_is_float(s->t->dtype)) {
    Range r = {DBL_MAX, 0};
    visit(s, 0, 0, see_magnitude, &r);
    s->f.exponent = r.hi > 0 && (r.hi >= 1e8 || r.lo < 1e-4 || r.hi / r.lo > 1e6);
    s->f.digits = s->t->dtype == DT_f64 ? 8 : dtype_bits(s->t->dtype) == 32 ? 6 : 4;
    if (r.hi >= 1e4 && !s->f.exponent)
      s->f.digits = 3;
    int digits = 1;
    visit(s, 0, 0, see_digits, &digits);
    s->f.digits = digits;
  }
  if (s->t->dtype != DT_str)
    visit(s, 0, 0, see_width, NULL);
}

static void put_element(Show *s, int64_t i) {
  char text[96];
  if (s->t->dtype == DT_str) {
    put_string(s->b, ((const Str *)s->t->data)[i]);
    return;
  }
  element_text(s, i, text, sizeof text);
  buf_printf(s->b, "%*s", s->f.width, text);
}

static void put_axis(Show *s, int axis, int64_t at) {
  int rank = s->t->rank;
  if (axis == rank) {
    put_element(s, at);
    return;
  }
  int64_t n = s->t->dim[axis];
  size_t line = s->b->len;
  buf_putc(s->b, '[');
  for (int64_t i = 0; i < n; i++) {
    bool gap = !shown(s, i, n);
    if (i && axis < rank - 1) {
      for (int k = axis; k < rank - 1; k++)
        buf_putc(s->b, '\n');
      buf_printf(s->b, "%*s", axis + 1, "");
    } else if (i && (int)(s->b->len - line) + s->f.width > LINE) {
      line = s->b->len;
      buf_printf(s->b, "\n%*s", axis + 1, "");
    } else if (i)
      buf_putc(s->b, ' ');
    if (gap) {
      buf_puts(s->b, "...");
      i = n - EDGE - 1;
    } else
      put_axis(s, axis + 1, at * n + i);
  }
  buf_putc(s->b, ']');
}

/* {"a": 0.25, "b": 0.75} */
static void show_map(StrBuf *b, const Tensor *t) {
  Show key = {.b = b, .t = t->item[0]}, value = {.b = b, .t = t->item[1]};
  int64_t n = tensor_count(key.t);
  choose_format(&value);
  value.f.width = 0;
  buf_putc(b, '{');
  for (int64_t i = 0; i < n && i < FULL; i++) {
    buf_puts(b, i ? ", " : "");
    put_element(&key, i);
    buf_puts(b, ": ");
    put_element(&value, i);
  }
  buf_puts(b, n > FULL ? ", ...}\n" : "}\n");
}

void show_value(StrBuf *b, const Tensor *t) {
  if (t->kind == VK_MAP && t->nitem == 2) {
    show_map(b, t);
    return;
  }
  if (t->kind != VK_TENSOR) {
    char type[320];
    for (int64_t i = 0; i < t->nitem; i++) {
      buf_printf(b, "item %lld: %s\n", (long long)i, tensor_type_text(t->item[i], type, sizeof type));
      show_value(b, t->item[i]);
    }
    if (!t->nitem)
      buf_puts(b, t->kind == VK_OPTIONAL ? "none\n" : "empty\n");
    return;
  }
  Show s = {.b = b, .t = t, .all = tensor_count(t) <= FULL};
  if (tensor_count(t)) {
    choose_format(&s);
    put_axis(&s, 0, 0);
  } else
    buf_puts(b, "[]");
  buf_putc(b, '\n');
}

static void json_element(StrBuf *b, const Tensor *t, int64_t i) {
  Show s = {.b = b, .t = t};
  char text[96];
  if (t->dtype == DT_str)
    json_strn(b, ((const Str *)t->data)[i].ptr, ((const Str *)t->data)[i].len);
  else if (dtype_is_float(t->dtype))
    json_f64(b, elem_f64(t->dtype, t->data, i), t->dtype == DT_f64 ? 17 : 9);
  else {
    element_text(&s, i, text, sizeof text);
    if (dtype_kind(t->dtype) == DK_COMPLEX)
      json_str(b, text);
    else
      buf_puts(b, text);
  }
}

static void json_statistics(StrBuf *b, const Tensor *t, int64_t n, bool *first) {
  double lo = INFINITY, hi = -INFINITY, sum = 0;
  int64_t seen = 0;
  for (int64_t i = 0; i < n; i++) {
    double v = elem_f64(t->dtype, t->data, i);
    if (isfinite(v))
      lo = v < lo ? v : lo, hi = v > hi ? v : hi, sum += v, seen++;
  }
  const char *key[] = {"min", "max", "mean"};
  double v[] = {lo, hi, sum / (double)(seen ? seen : 1)};
  for (int k = 0; k < 3; k++) {
    json_key(b, first, key[k]);
    if (seen)
      json_f64(b, v[k], 9);
    else
      buf_puts(b, "null");
  }
}

void show_json(StrBuf *b, const char *name, const Tensor *t) {
  bool first = true;
  buf_putc(b, '{');
  if (name) {
    json_key(b, &first, "name");
    json_str(b, name);
  }
  if (t->kind == VK_MAP && t->nitem == 2) {
    json_key(b, &first, "keys");
    show_json(b, NULL, t->item[0]);
    json_key(b, &first, "values");
    show_json(b, NULL, t->item[1]);
    buf_putc(b, '}');
    return;
  }
  if (t->kind != VK_TENSOR) {
    json_key(b, &first, t->kind == VK_OPTIONAL ? "optional" : "sequence");
    buf_putc(b, '[');
    for (int64_t i = 0; i < t->nitem; i++) {
      buf_puts(b, i ? ", " : "");
      show_json(b, NULL, t->item[i]);
    }
    buf_puts(b, "]}");
    return;
  }
  int64_t n = tensor_count(t);
  json_key(b, &first, "dtype");
  json_str(b, dtype_name(t->dtype));
  json_key(b, &first, "shape");
  buf_putc(b, '[');
  for (int i = 0; i < t->rank; i++)
    buf_printf(b, "%s%lld", i ? ", " : "", (long long)t->dim[i]);
  buf_putc(b, ']');
  if (t->dtype != DT_str && dtype_kind(t->dtype) != DK_COMPLEX)
    json_statistics(b, t, n, &first);
  if (n <= MAX_JSON) {
    json_key(b, &first, "data");
    buf_putc(b, '[');
    for (int64_t i = 0; i < n; i++) {
      buf_puts(b, i ? ", " : "");
      json_element(b, t, i);
    }
    buf_putc(b, ']');
  }
  buf_putc(b, '}');
}
