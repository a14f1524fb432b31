/* dim_text.c - dim expressions as text, and back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/dim.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NEST = 64 };

static bool ident_char(char ch, bool first) {
  return isalpha((unsigned char)ch) || ch == '_' || (!first && (isdigit((unsigned char)ch) || ch == '.'));
}

static void print_name(StrBuf *b, const char *s) {
  bool plain = *s;
  for (const char *p = s; *p; p++)
    plain &= ident_char(*p, p == s);
  if (plain) {
    buf_puts(b, s);
    return;
  }
  buf_putc(b, '\'');
  for (; *s; s++) {
    if (*s == '\'' || *s == '\\')
      buf_putc(b, '\\');
    if ((unsigned char)*s < 0x20 || *s == 0x7f)
      buf_printf(b, "\\x%02x", (unsigned char)*s);
    else
      buf_putc(b, *s);
  }
  buf_putc(b, '\'');
}

static void print_factor(StrBuf *b, Dim d) {
  bool paren = d->kind == DIM_ADD || d->kind == DIM_DIV || d->kind == DIM_MUL;
  if (paren)
    buf_putc(b, '(');
  dim_print(b, d);
  if (paren)
    buf_putc(b, ')');
}

static void print_call(StrBuf *b, const char *fn, Dim d) {
  buf_printf(b, "%s(", fn);
  dim_print(b, d->arg[0]);
  buf_puts(b, ", ");
  dim_print(b, d->arg[1]);
  buf_putc(b, ')');
}

static void print_product(StrBuf *b, Dim d, bool negate) {
  for (int i = 0; i < d->n; i++) {
    if (!i && d->arg[0]->kind == DIM_CONST) {
      int64_t v = d->arg[0]->value;
      if (v == -1 && !negate)
        buf_puts(b, "-");
      else if (!(v == -1 && negate))
        buf_printf(b, "%lld*", (long long)(negate ? -v : v));
    } else {
      print_factor(b, d->arg[i]);
      if (i + 1 < d->n)
        buf_putc(b, '*');
    }
  }
}

void dim_print(StrBuf *b, Dim d) {
  switch (d->kind) {
  case DIM_CONST: buf_printf(b, "%lld", (long long)d->value); break;
  case DIM_SYM: print_name(b, d->name); break;
  case DIM_ADD: /* the constant last, as people write it */
    for (int k = 0; k < d->n; k++) {
      bool lead = d->arg[0]->kind == DIM_CONST;
      Dim t = lead ? d->arg[(k + 1) % d->n] : d->arg[k];
      bool minus = k && ((t->kind == DIM_CONST && t->value < 0 && t->value > INT64_MIN) ||
                         (t->kind == DIM_MUL && t->arg[0]->kind == DIM_CONST && t->arg[0]->value < 0 &&
                          t->arg[0]->value > INT64_MIN));
      if (k)
        buf_puts(b, minus ? " - " : " + ");
      if (t->kind == DIM_MUL)
        print_product(b, t, minus);
      else if (minus)
        buf_printf(b, "%lld", (long long)-t->value);
      else
        dim_print(b, t);
    }
    break;
  case DIM_MUL: print_product(b, d, false); break;
  case DIM_DIV:
    print_factor(b, d->arg[0]);
    buf_puts(b, "//");
    print_factor(b, d->arg[1]);
    break;
  case DIM_MOD: print_call(b, "Mod", d); break;
  case DIM_MIN: print_call(b, "Min", d); break;
  case DIM_MAX: print_call(b, "Max", d); break;
  case DIM_BCAST: print_call(b, "Bcast", d); break;
  }
}

const char *dim_text(Ctx *c, Dim d) {
  StrBuf b;
  buf_init(&b, dim_arena(c));
  dim_print(&b, d);
  return b.text;
}

typedef struct Parser {
  Ctx *c;
  const char *p, *end, *start;
  int depth;
} Parser;

static void space(Parser *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
    s->p++;
}

static bool eat(Parser *s, const char *t) {
  space(s);
  size_t n = strlen(t);
  if ((size_t)(s->end - s->p) < n || memcmp(s->p, t, n))
    return false;
  s->p += n;
  return true;
}

/* While parsing: n / d. Exporters write `floor(s/2 + 1/2)`, where halves must not be rounded one by one. n NULL: no expression. */
typedef struct Frac {
  Dim n, d;
} Frac;

static const Frac none = {NULL, NULL};

static Frac frac(Parser *s, Dim n) { return n ? (Frac){n, dim_const(s->c, 1)} : none; }

static Frac frac_add(Parser *s, Frac a, Frac b, bool minus) {
  Ctx *c = s->c;
  if (a.d == b.d)
    return (Frac){minus ? dim_sub(c, a.n, b.n) : dim_add(c, a.n, b.n), a.d};
  Dim x = dim_mul(c, a.n, b.d), y = dim_mul(c, b.n, a.d);
  return (Frac){minus ? dim_sub(c, x, y) : dim_add(c, x, y), dim_mul(c, a.d, b.d)};
}

static Frac frac_mul(Parser *s, Frac a, Frac b) { return (Frac){dim_mul(s->c, a.n, b.n), dim_mul(s->c, a.d, b.d)}; }

static Frac frac_div(Parser *s, Frac a, Frac b) { return (Frac){dim_mul(s->c, a.n, b.d), dim_mul(s->c, a.d, b.n)}; }

/* What stands as a fraction in the end is exact, as far as the exporter knows. */
static Dim whole(Parser *s, Frac a) { return a.n ? dim_div(s->c, a.n, a.d) : NULL; }

static Frac parse_sum(Parser *s);

enum { FN_PAIR, FN_FLOOR, FN_CEIL, FN_SAME, FN_OVER };

static Frac parse_call(Parser *s, const char *name, size_t n) {
  static const struct {
    const char *name;
    int kind, nmin, nmax; /* arguments */
    Dim (*make)(Ctx *c, Dim a, Dim b);
  } fn[] = {{"Min", FN_PAIR, 1, 99, dim_min},    {"Max", FN_PAIR, 1, 99, dim_max},
            {"min", FN_PAIR, 1, 99, dim_min},    {"max", FN_PAIR, 1, 99, dim_max},
            {"Mod", FN_PAIR, 2, 2, dim_mod},     {"PythonMod", FN_PAIR, 2, 2, dim_mod},
            {"Bcast", FN_PAIR, 2, 2, dim_bcast}, {"FloorDiv", FN_PAIR, 2, 2, dim_div},
            {"floor", FN_FLOOR, 1, 1, NULL},     {"FloorToInt", FN_FLOOR, 1, 1, NULL},
            {"ceiling", FN_CEIL, 1, 1, NULL},    {"CeilToInt", FN_CEIL, 1, 1, NULL},
            {"ToFloat", FN_SAME, 1, 1, NULL},    {"FloatTrueDiv", FN_OVER, 2, 2, NULL},
            {"IntTrueDiv", FN_OVER, 2, 2, NULL}, {"CleanDiv", FN_OVER, 2, 2, NULL}};
  size_t i = 0;
  while (i < countof(fn) && (strlen(fn[i].name) != n || memcmp(fn[i].name, name, n)))
    i++;
  if (i == countof(fn))
    return none;
  Frac a = parse_sum(s);
  int k = 1;
  for (; a.n && eat(s, ","); k++) {
    Frac b = parse_sum(s);
    if (!b.n || k >= fn[i].nmax)
      return none;
    a = fn[i].kind == FN_OVER ? frac_div(s, a, b) : frac(s, fn[i].make(s->c, whole(s, a), whole(s, b)));
  }
  if (!a.n || k < fn[i].nmin || !eat(s, ")"))
    return none;
  switch (fn[i].kind) {
  case FN_FLOOR: return frac(s, dim_div(s->c, a.n, a.d));
  case FN_CEIL: return frac(s, dim_ceildiv(s->c, a.n, a.d));
  default: return a;
  }
}

static Frac parse_number(Parser *s, bool negative) {
  uint64_t v = 0;
  for (; s->p < s->end && isdigit((unsigned char)*s->p); s->p++)
    if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*s->p - '0'), &v))
      return none;
  if (v > (uint64_t)INT64_MAX + negative || (s->p < s->end && ident_char(*s->p, true)))
    return none;
  return frac(s, dim_const(s->c, negative ? (int64_t)(0 - v) : (int64_t)v));
}

static Frac parse_quoted(Parser *s) {
  size_t n = 0;
  char *name = arena_get(dim_arena(s->c), (size_t)(s->end - s->p), 1, 1);
  for (s->p++; s->p < s->end && *s->p != '\''; s->p++) {
    if (*s->p == '\\' && s->end - s->p > 3 && s->p[1] == 'x') {
      char hex[3] = {s->p[2], s->p[3], 0};
      name[n++] = (char)strtol(hex, NULL, 16), s->p += 3;
      continue;
    }
    if (*s->p == '\\' && s->p + 1 < s->end)
      s->p++;
    name[n++] = *s->p;
  }
  if (s->p == s->end)
    return none;
  s->p++;
  name[n] = 0;
  return frac(s, dim_sym(s->c, name));
}

static Frac parse_atom(Parser *s) {
  space(s);
  if (s->p == s->end || s->depth > MAX_NEST)
    return none;
  if (eat(s, "(")) {
    Frac d = parse_sum(s);
    return d.n && eat(s, ")") ? d : none;
  }
  if (isdigit((unsigned char)*s->p))
    return parse_number(s, false);
  if (*s->p == '\'')
    return parse_quoted(s);
  const char *start = s->p;
  while (s->p < s->end && ident_char(*s->p, s->p == start))
    s->p++;
  size_t n = (size_t)(s->p - start);
  if (!n)
    return none;
  if (s->p < s->end && *s->p == '(') {
    s->p++;
    return parse_call(s, start, n);
  }
  return frac(s, dim_sym(s->c, arena_strndup(dim_arena(s->c), start, n)));
}

static Frac parse_power(Parser *s) {
  Frac a = parse_atom(s);
  int64_t k;
  if (!a.n || !eat(s, "**"))
    return a;
  Dim e = whole(s, parse_atom(s));
  if (!e || !dim_is_const(e, &k) || k < 0 || k > 8)
    return none;
  Frac r = frac(s, dim_const(s->c, 1));
  while (k-- > 0)
    r = frac_mul(s, r, a);
  return r;
}

/* A sign binds looser than a power: -x**2 is -(x**2). */
static Frac parse_signed(Parser *s) {
  bool negative = false;
  while (eat(s, "-"))
    negative = !negative;
  if (negative && s->end - s->p > 18 && isdigit((unsigned char)*s->p)) { /* -2^63 has no positive counterpart */
    const char *back = s->p;
    Frac v = parse_number(s, true);
    if (v.n && dim_is(v.n, INT64_MIN))
      return v;
    s->p = back;
  }
  Frac a = parse_power(s);
  return a.n && negative ? (Frac){dim_mul(s->c, dim_const(s->c, -1), a.n), a.d} : a;
}

static Frac parse_product(Parser *s) {
  Frac a = parse_signed(s);
  while (a.n) {
    int op = eat(s, "*") ? '*' : eat(s, "//") ? 'f' : eat(s, "/") ? '/' : eat(s, "%") ? '%' : 0;
    if (!op)
      break;
    Frac b = parse_signed(s);
    if (!b.n)
      return none;
    if (op == '*')
      a = frac_mul(s, a, b);
    else if (op == '%')
      a = frac(s, dim_mod(s->c, whole(s, a), whole(s, b)));
    else
      a = op == '/' ? frac_div(s, a, b) : frac(s, whole(s, frac_div(s, a, b)));
  }
  return a;
}

/* `batch-size` is a name, `batch - size` and `2-size` are differences. */
static bool hyphen(const Parser *s) {
  if (s->end - s->p < 2 || *s->p != '-' || !ident_char(s->p[1], true))
    return false;
  const char *q = s->p;
  while (q > s->start && ident_char(q[-1], false))
    q--;
  return q < s->p && ident_char(*q, true);
}

static Frac parse_sum(Parser *s) {
  s->depth++;
  Frac a = parse_product(s);
  while (a.n) {
    if (hyphen(s))
      return none;
    bool plus = eat(s, "+");
    if (!plus && !eat(s, "-"))
      break;
    Frac b = parse_product(s);
    a = b.n ? frac_add(s, a, b, !plus) : none;
  }
  s->depth--;
  return a;
}

Dim dim_parse_prefix(Ctx *c, const char *text, const char *end, const char **rest) {
  Parser s = {.c = c, .p = text, .end = end, .start = text};
  Dim d = whole(&s, parse_sum(&s));
  *rest = s.p;
  return d;
}

Dim dim_parse(Ctx *c, const char *text, size_t n) {
  Parser s = {.c = c, .p = text, .end = text + n, .start = text};
  Dim d = n < 4096 ? whole(&s, parse_sum(&s)) : NULL;
  space(&s);
  if (d && s.p == s.end)
    return d;
  return dim_sym(c, arena_strndup(dim_arena(c), text, n));
}
