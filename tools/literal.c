/* literal.c - values from the command line.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/literal.h"

#include "support/checked.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One element as written: enough for any type. */
typedef struct Elem {
  bool is_int, is_unsigned, is_str;
  int64_t i;
  uint64_t u;
  double f;
  Str s;
} Elem;

typedef struct Parser {
  Ctx *c;
  Arena *a;
  const char *p;
  DType dt;
  int rank;              /* -1 until the first element or empty list */
  int64_t dim[MAX_RANK]; /* -1: not known yet */
  Elem *elem;
  size_t n, cap;
} Parser;

bool is_literal(const char *s) {
  s += strspn(s, " ");
  if (*s == '[' || *s == '"')
    return true;
  if (*s == '-' || *s == '+')
    s++;
  if (*s >= '0' && *s <= '9') {
    char *end;
    strtod(s, &end);
    return !end[strspn(end, " ")];
  }
  size_t n = strcspn(s, " ");
  static const char *const words[] = {"true", "false", "nan", "inf"};
  for (size_t i = 0; i < countof(words); i++)
    if (strlen(words[i]) == n && !memcmp(words[i], s, n))
      return true;
  return false;
}

static Status bad(Parser *x, const char *what) {
  char near[40] = "";
  strncat(near, x->p, sizeof near - 1);
  if (*near)
    return fail(x->c, ST_USAGE, "bad literal: %s, before \"%s\"", what, near);
  return fail(x->c, ST_USAGE, "bad literal: %s at its end", what);
}

static void space(Parser *x) { x->p += strspn(x->p, " \t\n"); }

/* A quoted string with JSON's escapes, but for \u. */
static Status parse_string(Parser *x, Str *out) {
  const char *from = "\"\\/bfnrt", *to = "\"\\/\b\f\n\r\t";
  char *s = arena_get(x->a, strlen(x->p), 1, 1);
  size_t n = 0;
  for (x->p++; *x->p != '"'; x->p++) {
    if (!*x->p)
      return bad(x, "a string without its closing quote");
    if (*x->p == '\\') {
      const char *k = x->p[1] ? strchr(from, x->p[1]) : NULL;
      if (!k)
        return bad(x, "an unknown escape");
      s[n++] = to[k - from];
      x->p++;
    } else
      s[n++] = *x->p;
  }
  x->p++;
  *out = (Str){s, n};
  return ST_OK;
}

static Status parse_element(Parser *x, Elem *e) {
  char *end;
  if (*x->p == '"') {
    e->is_str = true;
    return parse_string(x, &e->s);
  }
  if (!strncmp(x->p, "true", 4) || !strncmp(x->p, "false", 5)) {
    e->is_int = e->is_unsigned = true;
    e->i = *x->p == 't', e->u = (uint64_t)e->i, e->f = (double)e->i;
    x->p += e->i ? 4 : 5;
    return ST_OK;
  }
  e->f = strtod(x->p, &end);
  if (end == x->p)
    return bad(x, "a number is wanted");
  size_t len = (size_t)(end - x->p);
  if (len == strspn(x->p, "+-0123456789")) {
    errno = 0;
    e->i = strtoll(x->p, NULL, 10), e->is_int = !errno;
    errno = 0;
    e->u = strtoull(x->p, NULL, 10), e->is_unsigned = !errno && *x->p != '-';
  } else if (fabs(e->f) < 9e15 && e->f == floor(e->f)) {
    e->i = (int64_t)e->f, e->u = (uint64_t)e->i, e->is_int = true, e->is_unsigned = e->i >= 0;
  }
  x->p = end;
  return ST_OK;
}

static Status add_element(Parser *x, int depth) {
  if (x->rank >= 0 && x->rank != depth)
    return bad(x, "an element at another depth than the first one");
  x->rank = depth;
  if (x->n == x->cap) {
    Elem *grown = arena_array(x->a, Elem, x->cap ? x->cap * 2 : 16);
    if (x->n)
      memcpy(grown, x->elem, x->n * sizeof *grown);
    x->elem = grown, x->cap = x->cap ? x->cap * 2 : 16;
  }
  x->elem[x->n] = (Elem){0};
  return parse_element(x, &x->elem[x->n++]);
}

static Status parse_value(Parser *x, int depth) {
  space(x);
  if (*x->p != '[')
    return add_element(x, depth);
  if (depth == MAX_RANK)
    return bad(x, "too many dimensions");
  int64_t n = 0;
  x->p++;
  space(x);
  if (*x->p == ']') {
    if (x->rank >= 0 && x->rank != depth + 1)
      return bad(x, "an empty list at another depth");
    x->rank = depth + 1;
  }
  while (*x->p != ']') {
    TRY(parse_value(x, depth + 1));
    n++;
    space(x);
    if (*x->p == ',') {
      x->p++;
      space(x);
      if (*x->p == ']')
        return bad(x, "a comma without a value");
    } else if (*x->p != ']')
      return bad(x, "a comma or ] is wanted");
  }
  x->p++;
  if (x->dim[depth] >= 0 && x->dim[depth] != n)
    return bad(x, "lists of one level have different lengths");
  x->dim[depth] = n;
  return ST_OK;
}

static bool int_fits(DType dt, const Elem *e) {
  int bits = dtype_bits(dt);
  if (dtype_kind(dt) == DK_UINT)
    return e->is_unsigned && (bits == 64 || e->u >> bits == 0);
  return e->is_int && (bits == 64 || (e->i >= -((int64_t)1 << (bits - 1)) && e->i < (int64_t)1 << (bits - 1)));
}

static Status store(Parser *x, Tensor *t, int64_t i, const Elem *e) {
  DKind k = dtype_kind(t->dtype);
  if (e->is_str != (k == DK_STRING))
    return fail(x->c, ST_USAGE, "bad literal: element %lld is %s, %s is wanted", (long long)i,
                e->is_str ? "a string" : "a number", dtype_name(t->dtype));
  if (k == DK_STRING)
    ((Str *)t->data)[i] = e->s;
  else if (k == DK_FLOAT)
    elem_set_f64(t->dtype, t->data, i, e->f);
  else if (k == DK_BOOL && e->is_int && (e->i == 0 || e->i == 1))
    elem_set_i64(t->dtype, t->data, i, e->i);
  else if ((k == DK_SINT || k == DK_UINT) && int_fits(t->dtype, e))
    elem_set_i64(t->dtype, t->data, i, k == DK_UINT ? (int64_t)e->u : e->i);
  else
    return fail(x->c, ST_USAGE, "bad literal: element %lld (%.17g) is no %s", (long long)i, e->f, dtype_name(t->dtype));
  return ST_OK;
}

Status literal_parse(Ctx *c, Arena *a, const char *text, DType dt, Tensor **out) {
  Parser x = {.c = c, .a = a, .p = text, .dt = dt, .rank = -1};
  if (dtype_kind(dt) == DK_COMPLEX)
    return err_hint(c, fail(c, ST_UNSUPPORTED, "complex numbers cannot be given as a literal"), "use an .npy file");
  for (int i = 0; i < MAX_RANK; i++)
    x.dim[i] = -1;
  TRY(parse_value(&x, 0));
  space(&x);
  if (*x.p)
    return bad(&x, "something follows the value");
  for (int i = 0; i < x.rank; i++)
    if (x.dim[i] < 0)
      x.dim[i] = 0;
  TRY(tensor_new(c, a, dt, x.rank, x.dim, out));
  for (size_t i = 0; i < x.n; i++)
    TRY(store(&x, *out, (int64_t)i, &x.elem[i]));
  return ST_OK;
}

/* --- generated values --- */

static Status bad_generator(Ctx *c, const char *text, const char *what) {
  fail(c, ST_USAGE, "'%s': %s", text, what);
  return err_hint(c, ST_USAGE, "examples: random:2x128, random:2x128:0..30521, ones:4, zeros, arange:3x4");
}

static bool parse_range(const char *s, Generator *g) {
  char *end;
  const char *dots = strstr(s, "..");
  if (!dots)
    return false;
  g->lo = strtod(s, &end);
  if (end != dots && !(end == dots + 1 && dots > s)) /* "0..5" : strtod may take "0." */
    return false;
  g->hi = strtod(dots + 2, &end);
  if (*end || end == dots + 2 || !isfinite(g->lo) || !isfinite(g->hi) || g->hi < g->lo)
    return false;
  errno = 0;
  g->ilo = strtoll(s, &end, 10);
  g->has_int = end == dots && !errno;
  g->ihi = strtoll(dots + 2, &end, 10);
  g->has_int &= !*end && !errno;
  g->has_range = true;
  return true;
}

Status generator_parse(Ctx *c, const char *text, Generator *g) {
  static const char *const word[] = {
      [GEN_RANDOM] = "random", [GEN_ONES] = "ones", [GEN_ZEROS] = "zeros", [GEN_ARANGE] = "arange"};
  *g = (Generator){0};
  size_t n = strcspn(text, ":");
  for (int k = GEN_RANDOM; k <= GEN_ARANGE; k++)
    if (strlen(word[k]) == n && !memcmp(word[k], text, n))
      g->kind = (GenKind)k;
  if (!g->kind || !text[n])
    return ST_OK;
  const char *s = text + n + 1;
  if (*s != ':' && !strstr(s, "..")) /* random:0..5 has a range only */
    g->has_shape = true;
  else if (strchr(s, ':') && *s != ':')
    g->has_shape = true;
  while (g->has_shape && *s && *s != ':') {
    char *end;
    errno = 0;
    if (g->rank == MAX_RANK || *s < '0' || *s > '9')
      return bad_generator(c, text, "a shape such as 2x128 is wanted");
    g->dim[g->rank++] = strtoll(s, &end, 10);
    if (errno || (*end && *end != 'x' && *end != ',' && *end != ':') || ((*end == 'x' || *end == ',') && !end[1]))
      return bad_generator(c, text, "a shape such as 2x128 is wanted");
    s = *end == 'x' || *end == ',' ? end + 1 : end;
  }
  if (*s == ':')
    s++;
  if (*s && !parse_range(s, g))
    return bad_generator(c, text, "a range such as 0..30521 is wanted");
  if (g->has_range && g->kind != GEN_RANDOM)
    return bad_generator(c, text, "only random takes a range");
  return ST_OK;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *s) {
  uint64_t z = *s += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

static double unit_random(uint64_t *s) { return (double)(next_random(s) >> 11) * 0x1p-53; }

static double normal_random(uint64_t *s) { /* Box-Muller */
  double u = 1.0 - unit_random(s), v = unit_random(s);
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

/* Uniform in 0 .. span, without bias that anyone could see (span < 2^63: the high word of a 128-bit product). */
static uint64_t below(uint64_t *s, uint64_t span) {
  return span == UINT64_MAX ? next_random(s) : (uint64_t)((unsigned __int128)next_random(s) * (span + 1) >> 64);
}

static int64_t int_value(const Generator *g, DType dt, int64_t i, uint64_t *s) {
  switch (g->kind) {
  case GEN_ONES: return 1;
  case GEN_ARANGE: return i;
  case GEN_RANDOM:
    if (dt == DT_bool && !g->has_range)
      return (int64_t)(next_random(s) >> 63);
    return (int64_t)((uint64_t)g->ilo + below(s, (uint64_t)g->ihi - (uint64_t)g->ilo));
  default: return 0;
  }
}

static double float_value(const Generator *g, int64_t i, uint64_t *s) {
  switch (g->kind) {
  case GEN_ONES: return 1;
  case GEN_ARANGE: return (double)i;
  case GEN_RANDOM: return g->has_range ? g->lo + unit_random(s) * (g->hi - g->lo) : normal_random(s);
  default: return 0;
  }
}

Status generator_make(Ctx *c, Arena *a, const Generator *g, DType dt, int rank, const int64_t *dim, int64_t seed,
                      const char *name, Tensor **out) {
  DKind k = dtype_kind(dt);
  if (k == DK_STRING || k == DK_COMPLEX || k == DK_NONE)
    return err_hint(c, fail(c, ST_USAGE, "%s values are not generated", dtype_name(dt)), "give a literal or a file");
  if (g->kind == GEN_RANDOM && (k == DK_SINT || k == DK_UINT) && !g->has_range)
    return err_hint(c, fail(c, ST_USAGE, "random integers need a range"), "for example random:2x128:0..30521");
  if (g->has_range && k != DK_FLOAT) {
    Elem lo = {.is_int = true, .is_unsigned = g->ilo >= 0, .i = g->ilo, .u = (uint64_t)g->ilo};
    Elem hi = {.is_int = true, .is_unsigned = g->ihi >= 0, .i = g->ihi, .u = (uint64_t)g->ihi};
    bool fits = dt == DT_bool ? g->ilo >= 0 && g->ihi <= 1 : int_fits(dt, &lo) && int_fits(dt, &hi);
    if (!g->has_int || !fits)
      return fail(c, ST_USAGE, "the range %g..%g is not one of %s", g->lo, g->hi, dtype_name(dt));
  }
  TRY(tensor_new(c, a, dt, rank, dim, out));
  uint64_t s = hash_bytes(name, strlen(name), (uint64_t)seed);
  for (int64_t i = 0, n = tensor_count(*out); i < n; i++) {
    if (k == DK_FLOAT)
      elem_set_f64(dt, (*out)->data, i, float_value(g, i, &s));
    else
      elem_set_i64(dt, (*out)->data, i, int_value(g, dt, i, &s));
    if (!(i & 0xfffff))
      TRY(ctx_poll(c));
  }
  return ST_OK;
}
