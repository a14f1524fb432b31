/* cast.c - Cast and CastLike: between all numeric types, bool and strings. BitCast.
 *
 * Numbers: rounded once, to nearest even; integers wrap; float to integer as support/dtype.h says. Strings are written as NumPy writes them: the
 * shortest digits that read back as the same number. Reading and writing do not depend on the locale.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct Cast {
  DType from, to;
  bool saturate;
  E8M0Round round;
  locale_t locale; /* "C" */
} Cast;

/* --- number to number --- */

static bool is_float8(DType t) {
  return t == DT_f8e4m3fn || t == DT_f8e4m3fnuz || t == DT_f8e5m2 || t == DT_f8e5m2fnuz;
}

static void put_float(const Cast *k, void *data, int64_t i, double v) {
  if (k->to == DT_f8e8m0)
    ((uint8_t *)data)[i] = (uint8_t)e8m0_code(v, k->saturate, k->round);
  else if (is_float8(k->to))
    ((uint8_t *)data)[i] = (uint8_t)small_float_code(k->to, v, k->saturate);
  else
    elem_set_f64(k->to, data, i, v);
}

static void number_to_number(const Cast *k, const Tensor *x, Tensor *y, int64_t i) {
  bool from_float = dtype_is_float(k->from), to_float = dtype_is_float(k->to);
  if (from_float && to_float)
    put_float(k, y->data, i, elem_f64(k->from, x->data, i));
  else if (from_float)
    elem_set_f64(k->to, y->data, i, elem_f64(k->from, x->data, i));
  else if (k->to == DT_f64)
    ((double *)y->data)[i] = elem_f64(k->from, x->data, i);
  else if (to_float)
    put_float(k, y->data, i, sticky_f64(elem_i64(k->from, x->data, i), k->from == DT_u64));
  else
    elem_set_i64(k->to, y->data, i, elem_i64(k->from, x->data, i));
}

/* --- number to string --- */

/* Does the decimal text read back as element `want` of type t? */
static bool reads_back(const Cast *k, const char *text, double want) {
  uint64_t cell = 0;
  char *end;
  if (k->from == DT_f32)
    return strtof_l(text, &end, k->locale) == (float)want;
  elem_set_f64(k->from, &cell, 0, strtod_l(text, &end, k->locale));
  return elem_f64(k->from, &cell, 0) == want;
}

/* The shortest digits of |v| (finite, not 0): d[0].d[1]… * 10^exp; returns their number. */
static int shortest_digits(const Cast *k, double v, char digits[20], int *exp10) {
  char text[40], clean[40];
  int n = 0;
  for (int precision = 0; precision <= 16; precision++) {
    snprintf(text, sizeof text, "%.*e", precision, v);
    const char *e = strchr(text, 'e');
    n = 0;
    for (const char *p = text; p < e; p++) /* whatever the locale's decimal point is */
      if (isdigit((unsigned char)*p))
        digits[n++] = *p;
    *exp10 = atoi(e + 1);
    snprintf(clean, sizeof clean, "%.*s.%.*se%d", 1, digits, n - 1, digits + 1, *exp10);
    if (reads_back(k, clean, v))
      break;
  }
  while (n > 1 && digits[n - 1] == '0')
    n--;
  return n;
}

/* As NumPy 2 prints an element: positional between 1e-4 and 10^digits of the type, with an exponent otherwise. */
static int float_text(const Cast *k, double v, char *out, size_t cap) {
  char digits[20];
  int e;
  double a = fabs(v), top = k->from == DT_f64 ? 1e16 : k->from == DT_f16 ? 1e3 : 1e6;
  const char *sign = signbit(v) ? "-" : "";
  if (isnan(v))
    return snprintf(out, cap, "nan");
  if (isinf(v) || v == 0)
    return snprintf(out, cap, "%s%s", sign, v == 0 ? "0.0" : "inf");
  int n = shortest_digits(k, a, digits, &e);
  if (a < 1e-4 || a >= top)
    return snprintf(out, cap, "%s%c%s%.*se%c%02d", sign, digits[0], n > 1 ? "." : "", n - 1, digits + 1,
                    e < 0 ? '-' : '+', abs(e));
  if (e < 0)
    return snprintf(out, cap, "%s0.%.*s%.*s", sign, -e - 1, "0000000000", n, digits);
  if (n <= e + 1)
    return snprintf(out, cap, "%s%.*s%.*s.0", sign, n, digits, e + 1 - n, "00000000000000000");
  return snprintf(out, cap, "%s%.*s.%.*s", sign, e + 1, digits, n - e - 1, digits + e + 1);
}

static void number_to_string(Eval *e, const Cast *k, const Tensor *x, Tensor *y, int64_t i) {
  char text[64];
  int n;
  if (dtype_is_float(k->from))
    n = float_text(k, elem_f64(k->from, x->data, i), text, sizeof text);
  else if (k->from == DT_bool)
    n = snprintf(text, sizeof text, "%s", elem_i64(k->from, x->data, i) ? "True" : "False");
  else if (k->from == DT_u64)
    n = snprintf(text, sizeof text, "%llu", (unsigned long long)elem_i64(k->from, x->data, i));
  else
    n = snprintf(text, sizeof text, "%lld", (long long)elem_i64(k->from, x->data, i));
  ((Str *)y->data)[i] = (Str){arena_copy(e->keep, text, (size_t)n), (size_t)n};
}

/* --- string to number --- */

/* Copies s without surrounding blanks; false: too long for a number. */
static bool trimmed(Str s, char *buf, size_t cap) {
  while (s.len && isspace((unsigned char)*s.ptr))
    s.ptr++, s.len--;
  while (s.len && isspace((unsigned char)s.ptr[s.len - 1]))
    s.len--;
  if (s.len >= cap)
    return false;
  if (s.len)
    memcpy(buf, s.ptr, s.len);
  buf[s.len] = 0;
  return !memchr(buf, 0, s.len);
}

/* A decimal number, "nan", "inf", "+inf" or "-inf" in any case. No hexadecimal, nothing behind it. */
static bool parse_float(const Cast *k, const char *s, double *v) {
  const char *word = *s == '+' || *s == '-' ? s + 1 : s;
  char *end;
  if (!strcasecmp(word, "inf") || !strcasecmp(word, "infinity")) {
    *v = *s == '-' ? -INFINITY : INFINITY;
    return true;
  }
  if (!strcasecmp(word, "nan")) {
    *v = NAN;
    return true;
  }
  if (!*s || s[strspn(s, "0123456789+-.eE")])
    return false;
  *v = k->to == DT_f32 ? (double)strtof_l(s, &end, k->locale) : strtod_l(s, &end, k->locale);
  return end != s && !*end;
}

/* Whole numbers exactly; "100.5" gives 100. False: not a number, or out of range. */
static bool parse_int(const Cast *k, const char *s, int64_t *v) {
  const char *digits = *s == '+' || *s == '-' ? s + 1 : s;
  double d;
  char *end;
  errno = 0;
  if (*digits && !digits[strspn(digits, "0123456789")]) {
    *v = k->to == DT_u64 && *s != '-' ? (int64_t)strtoull(s, &end, 10) : (int64_t)strtoll(s, &end, 10);
    return !errno;
  }
  if (!parse_float(k, s, &d) || !(fabs(d) < 0x1p63))
    return false;
  *v = (int64_t)d;
  return true;
}

static bool parse_bool(const Cast *k, const char *s, bool *v) {
  double d;
  if (!strcasecmp(s, "true") || !strcasecmp(s, "false")) {
    *v = tolower((unsigned char)*s) == 't';
    return true;
  }
  if (!parse_float(k, s, &d))
    return false;
  *v = d != 0;
  return true;
}

static bool fits(DType t, int64_t v) {
  int bits = dtype_bits(t);
  if (bits == 64)
    return true; /* parse_int has seen to it */
  return dtype_kind(t) == DK_UINT ? v >= 0 && v < (int64_t)1 << bits
                                  : v >= -((int64_t)1 << (bits - 1)) && v < (int64_t)1 << (bits - 1);
}

static Status string_to_number(Eval *e, const Cast *k, const Tensor *x, Tensor *y, int64_t i) {
  Str s = ((const Str *)x->data)[i];
  char buf[512];
  double d;
  int64_t v;
  bool b, ok = trimmed(s, buf, sizeof buf);
  if (dtype_is_float(k->to)) {
    if ((ok = ok && parse_float(k, buf, &d)))
      put_float(k, y->data, i, d);
  } else if (k->to == DT_bool) {
    if ((ok = ok && parse_bool(k, buf, &b)))
      elem_set_i64(k->to, y->data, i, b);
  } else if ((ok = ok && parse_int(k, buf, &v) && fits(k->to, v))) {
    elem_set_i64(k->to, y->data, i, v);
  }
  return ok ? ST_OK
            : eval_fail(e, "element %lld, \"%.*s\", cannot be read as %s", (long long)i, (int)(s.len < 60 ? s.len : 60),
                        s.ptr ? s.ptr : "", dtype_name(k->to));
}

/* --- the operators --- */

static void free_locale(void *arg) { freelocale((locale_t)arg); }

static Status cast_elements(Eval *e, const Cast *k, const Tensor *x, Tensor *y) {
  int64_t n = tensor_count(x);
  if (k->from == k->to && k->from != DT_str) {
    if (n && y->data != x->data) /* the same in an in-place step */
      memcpy(y->data, x->data, tensor_bytes(x));
    return ST_OK;
  }
  for (int64_t i = 0; i < n; i++) {
    if (i % 4096 == 0)
      TRY(ctx_poll(e->c));
    if (k->from == DT_str && k->to == DT_str)
      copy_elem(e, DT_str, y->data, i, x->data, i);
    else if (k->from == DT_str)
      TRY(string_to_number(e, k, x, y, i));
    else if (k->to == DT_str)
      number_to_string(e, k, x, y, i);
    else
      number_to_number(k, x, y, i);
  }
  return ST_OK;
}

static Status cast_to(Eval *e, int64_t to, int64_t saturate, Str round_mode) {
  const Tensor *x = e->in[0];
  Cast k = {.from = x->dtype, .saturate = saturate != 0};
  Tensor *y;
  if (to < 0 || to >= DT_count || !dtype_valid((int)to))
    return eval_fail(e, "there is no element type %lld", (long long)to);
  k.to = (DType)to;
  if (!dtype_valid(k.from))
    return eval_fail(e, "the input has no element type");
  if (dtype_kind(k.from) == DK_COMPLEX || dtype_kind(k.to) == DK_COMPLEX)
    return eval_unsupported(e, "casts of complex numbers are not supported");
  if (str_is(round_mode, "down"))
    k.round = E8M0_DOWN;
  else if (str_is(round_mode, "nearest"))
    k.round = E8M0_NEAREST;
  else if (round_mode.ptr && !str_is(round_mode, "up"))
    return eval_fail(e, "round_mode must be \"up\", \"down\" or \"nearest\"");
  TRY(eval_out(e, 0, k.to, x->rank, x->dim, &y));
  if (k.from != DT_str && k.to != DT_str)
    return cast_elements(e, &k, x, y);
  Cleanup *cleanup = arena_new(e->scratch, Cleanup); /* arenas may unwind */
  k.locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (!k.locale)
    return fail(e->c, ST_MEMORY, "cannot make the C locale");
  ctx_on_failure(e->c, cleanup, free_locale, k.locale);
  Status st = cast_elements(e, &k, x, y);
  ctx_forget(e->c, cleanup);
  freelocale(k.locale);
  return st;
}

/* Cast (28). ST_INVALID: a string that is no number. Complex numbers: ST_UNSUPPORTED. */
Status cast_eval(Eval *e) {
  const CastAttr *a = e->attr;
  TRY(operands(e, 1));
  return cast_to(e, a->to, a->saturate, a->round_mode);
}

/* CastLike (25): to the element type of input 1. */
Status castlike_eval(Eval *e) {
  const CastLikeAttr *a = e->attr;
  TRY(operands(e, 2));
  return cast_to(e, e->in[1]->dtype, a->saturate, a->round_mode);
}

/* BitCast (26): the same bits as elements of another type of that width. */
Status bitcast_eval(Eval *e) {
  const Tensor *x = e->in[0];
  int64_t to = ((const BitCastAttr *)e->attr)->to;
  Tensor *y;
  TRY(operands(e, 1));
  if (to < 0 || to >= DT_count || !dtype_valid((int)to))
    return eval_fail(e, "there is no element type %lld", (long long)to);
  if (to == DT_str || x->dtype == DT_str || dtype_bits((DType)to) != dtype_bits(x->dtype))
    return eval_fail(e, "%s and %s have not the same bits", dtype_name(x->dtype), dtype_name((DType)to));
  TRY(eval_out(e, 0, (DType)to, x->rank, x->dim, &y));
  size_t n = tensor_bytes(x);
  if (n && y->data != x->data)
    memcpy(y->data, x->data, n);
  return ST_OK;
}

static Status same_bytes(Eval *e, DType t, int rank, const int64_t *dim) {
  Tensor *y;
  TRY(eval_out(e, 0, t, rank, dim, &y));
  if (tensor_count(y))
    memcpy(y->data, e->in[0]->data, tensor_bytes(y));
  return ST_OK;
}

/* Parts: real and imaginary parts along one more axis. */
Status parts_eval(Eval *e) {
  const Tensor *x = e->in[0];
  int64_t dim[MAX_RANK];
  TRY(operands(e, 1));
  if (x->rank == MAX_RANK)
    return eval_fail(e, "no axis is left for the parts");
  memcpy(dim, x->dim, sizeof dim);
  dim[x->rank] = 2;
  return same_bytes(e, x->dtype == DT_c64 ? DT_f32 : DT_f64, x->rank + 1, dim);
}

/* Complex: the numbers that have these Parts. */
Status complex_eval(Eval *e) {
  const Tensor *x = e->in[0];
  TRY(operands(e, 1));
  if (!x->rank || x->dim[x->rank - 1] != 2)
    return eval_fail(e, "there is no axis of parts");
  return same_bytes(e, x->dtype == DT_f32 ? DT_c64 : DT_c128, x->rank - 1, x->dim);
}
