/* kernel_parse.c - reads what kernel_print.c writes: recursive descent over one token of look-ahead.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/kernel.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 100 };

typedef struct Name {
  const char *s;
  KVar *var;
  struct Name *up;
} Name;

typedef struct Parser {
  Ctx *c;
  Arena *a;
  Kernel *k;
  const char *start, *p, *end, *file;
  Name *names; /* innermost first */
  int depth;
} Parser;

static Status syntax(Parser *s, const char *what) {
  int line = 1, col = 1;
  for (const char *q = s->start; q < s->p; q++)
    col = *q == '\n' ? (line++, 1) : col + 1;
  return err_file(s->c, fail(s->c, ST_INVALID, "%d:%d: %s", line, col, what), s->file);
}

static void space(Parser *s) {
  while (s->p < s->end && (isspace((unsigned char)*s->p) || *s->p == '#')) {
    if (*s->p == '#')
      while (s->p < s->end && *s->p != '\n')
        s->p++;
    else
      s->p++;
  }
}

static bool name_char(char ch) { return isalnum((unsigned char)ch) || ch == '_' || ch == '.'; }

/* Takes the text t if it comes next; a word must end there. */
static bool eat(Parser *s, const char *t) {
  space(s);
  size_t n = strlen(t);
  if ((size_t)(s->end - s->p) < n || memcmp(s->p, t, n))
    return false;
  if (name_char(t[n - 1]) && (size_t)(s->end - s->p) > n && name_char(s->p[n]))
    return false;
  s->p += n;
  return true;
}

static Status want(Parser *s, const char *t) {
  char text[64] = "expected ";
  return eat(s, t) ? ST_OK : syntax(s, strcat(text, t));
}

static Status word(Parser *s, const char **t) {
  space(s);
  const char *from = s->p;
  while (s->p < s->end && name_char(*s->p))
    s->p++;
  if (s->p == from || isdigit((unsigned char)*from))
    return syntax(s, "expected a name");
  *t = arena_strndup(s->a, from, (size_t)(s->p - from));
  return ST_OK;
}

static Status dtype(Parser *s, DType *t) {
  const char *w;
  TRY(word(s, &w));
  *t = dtype_parse(w, strlen(w));
  return *t ? ST_OK : syntax(s, "unknown element type");
}

static Status dim(Parser *s, Dim *d) {
  const char *rest;
  space(s);
  *d = dim_parse_prefix(s->c, s->p, s->end, &rest);
  if (!*d)
    return syntax(s, "expected an extent");
  s->p = rest;
  return ST_OK;
}

static KVar *find_var(const Parser *s, const char *w) {
  for (const Name *n = s->names; n; n = n->up)
    if (!strcmp(n->s, w))
      return n->var;
  return NULL;
}

static KBuf *find_buf(const Parser *s, const char *w) {
  for (uint32_t i = 0; i < s->k->nbuf; i++)
    if (!strcmp(s->k->buf[i]->name, w))
      return s->k->buf[i];
  return NULL;
}

/* --- expressions --- */

static Status expression(Parser *s, KExpr **e);

static Status index_list(Parser *s, const KBuf *b, KExpr **index) {
  for (int i = 0; i < b->rank; i++) {
    if (i)
      TRY(want(s, ","));
    TRY(expression(s, &index[i]));
    if (index[i]->dtype != DT_i64)
      return syntax(s, "an index must be an i64");
  }
  return want(s, "]");
}

static Status number(Parser *s, DType t, KExpr **e) {
  char text[64];
  size_t n = 0;
  bool real = false;
  space(s);
  if (eat(s, "true") || eat(s, "false")) {
    *e = ke_int(s->k, DT_bool, s->p[-1] == 'e' && s->p[-2] == 'u');
    return ST_OK;
  }
  if (s->p < s->end && *s->p == '-')
    text[n++] = *s->p++;
  if (eat(s, "inf") || eat(s, "nan")) {
    double v = s->p[-1] == 'f' ? INFINITY : NAN;
    *e = ke_float(s->k, t ? t : DT_f32, n ? -v : v);
    return ST_OK;
  }
  for (; s->p < s->end && n + 1 < sizeof text; s->p++) {
    char ch = *s->p;
    bool sign = (ch == '+' || ch == '-') && n && text[n - 1] == 'e';
    if (!isdigit((unsigned char)ch) && ch != '.' && ch != 'e' && !sign)
      break;
    real |= ch == '.' || ch == 'e';
    text[n++] = ch;
  }
  text[n] = 0;
  if (!n || !isdigit((unsigned char)text[n - 1] == '.' ? text[0] : text[n - 1]))
    return syntax(s, "expected a number");
  if (!t)
    t = real ? DT_f32 : DT_i64;
  *e = dtype_is_float(t) ? ke_float(s->k, t, strtod(text, NULL)) : ke_int(s->k, t, strtoll(text, NULL, 10));
  return ST_OK;
}

static Status arguments(Parser *s, KExpr **arg, int n) {
  for (int i = 0; i < n; i++) {
    if (i)
      TRY(want(s, ","));
    TRY(expression(s, &arg[i]));
  }
  return want(s, ")");
}

/* `type(x)`, or `type.mode…(x)`. */
static Status cast(Parser *s, const char *w, KExpr **e) {
  static const struct {
    const char *text;
    KCastMode mode;
  } modes[] = {{".open", KC_OPEN}, {".down", KC_DOWN}, {".nearest", KC_NEAREST}};
  size_t n = strcspn(w, ".");
  DType t = dtype_parse(w, n);
  KExpr *arg;
  int mode = 0;
  if (!t)
    return syntax(s, "unknown element type");
  for (size_t i = 0; i < countof(modes); i++)
    if (!strncmp(w + n, modes[i].text, strlen(modes[i].text)))
      mode |= modes[i].mode, n += strlen(modes[i].text);
  if (w[n])
    return syntax(s, "unknown way to cast");
  TRY(arguments(s, &arg, 1));
  *e = ke_cast_mode(s->k, t, arg, mode);
  return ST_OK;
}

/* What follows `name(`: a dim, a cast, a typed constant, a select, an operator's operands. */
static Status call(Parser *s, const char *w, KExpr **e) {
  KExpr *arg[3];
  if (!strcmp(w, "dim")) {
    Dim d;
    TRY(dim(s, &d));
    *e = ke_dim(s->k, d);
    return want(s, ")");
  }
  if (!strncmp(w, "cast.", 5))
    return cast(s, w + 5, e);
  DType t = dtype_parse(w, strlen(w));
  if (t) {
    TRY(number(s, t, e));
    return want(s, ")");
  }
  if (!strcmp(w, "select")) {
    TRY(arguments(s, arg, 3));
    if (arg[0]->dtype != DT_bool || arg[1]->dtype != arg[2]->dtype)
      return syntax(s, "select takes a bool and two values of one type");
    *e = ke_select(s->k, arg[0], arg[1], arg[2]);
    return ST_OK;
  }
  KOp op = kop_find(w, strlen(w));
  if (!op)
    return syntax(s, "unknown function");
  TRY(arguments(s, arg, kop_arity(op)));
  if (kop_arity(op) == 2 && arg[0]->dtype != arg[1]->dtype)
    return syntax(s, "operands of different types");
  *e = kop_arity(op) == 1 ? ke_unary(s->k, op, arg[0]) : ke_binary(s->k, op, arg[0], arg[1]);
  return ST_OK;
}

/* ( a op b ), op an infix operator. */
static Status infix(Parser *s, KExpr **e) {
  static const char *const text[] = {"<<", ">>", "==", "!=", "<=", "<", "+", "-", "*", "/", "&", "|", "^"};
  KExpr *a, *b;
  TRY(expression(s, &a));
  for (size_t i = 0; i < countof(text); i++) {
    if (!eat(s, text[i]))
      continue;
    TRY(expression(s, &b));
    if (a->dtype != b->dtype)
      return syntax(s, "operands of different types");
    *e = ke_binary(s->k, kop_find(text[i], strlen(text[i])), a, b);
    return want(s, ")");
  }
  *e = a;
  return want(s, ")");
}

static Status primary(Parser *s, KExpr **e) {
  space(s);
  if (s->p == s->end)
    return syntax(s, "expected an expression");
  if (eat(s, "("))
    return infix(s, e);
  if (isdigit((unsigned char)*s->p) || *s->p == '-')
    return number(s, DT_none, e);
  const char *from = s->p, *w;
  TRY(word(s, &w));
  if (!strcmp(w, "true") || !strcmp(w, "false") || !strcmp(w, "inf") || !strcmp(w, "nan")) {
    s->p = from;
    return number(s, DT_none, e);
  }
  if (eat(s, "("))
    return call(s, w, e);
  if (eat(s, "[")) {
    KBuf *b = find_buf(s, w);
    KExpr *index[MAX_RANK];
    if (!b) {
      s->p = from;
      return syntax(s, "no such buffer");
    }
    TRY(index_list(s, b, index));
    *e = ke_load(s->k, b, index);
    return ST_OK;
  }
  KVar *v = find_var(s, w);
  if (!v) {
    s->p = from;
    return syntax(s, "no such variable");
  }
  *e = ke_var(s->k, v);
  return ST_OK;
}

static Status expression(Parser *s, KExpr **e) {
  if (++s->depth > MAX_DEPTH)
    return syntax(s, "nested too deep");
  TRY(primary(s, e));
  s->depth--;
  return ST_OK;
}

/* --- statements --- */

static void declare(Parser *s, const char *w, KVar *v) {
  Name *n = arena_new(s->a, Name);
  *n = (Name){w, v, s->names};
  s->names = n;
}

static Status block(Parser *s, KCursor *at);

/* ahead(4, r): what is touched four iterations of r's loop later. */
static Status ahead(Parser *s, KStmt *f) {
  KExpr *by;
  const char *w;
  TRY(want(s, "("));
  TRY(number(s, DT_i64, &by));
  TRY(want(s, ","));
  TRY(word(s, &w));
  f->ahead = find_var(s, w);
  if (!f->ahead || by->i < 1 || by->i > UINT8_MAX)
    return syntax(s, "a number from 1 to 255 and a variable");
  f->ahead_by = (uint8_t)by->i;
  return want(s, ")");
}

static Status loop(Parser *s, KCursor *at) {
  static const struct {
    const char *word;
    KLoopKind kind;
  } kinds[] = {{"unroll", KL_UNROLL}, {"vector", KL_VECTOR},   {"parallel", KL_PARALLEL}, {"grid", KL_GRID},
               {"block", KL_BLOCK},   {"ordered", KL_ORDERED}, {"tile", KL_TILE},         {"scan", KL_SCAN}};
  const char *w;
  Dim extent;
  KCursor inside;
  KExpr *width;
  TRY(word(s, &w));
  TRY(want(s, "in"));
  TRY(dim(s, &extent));
  KStmt *f = ks_for(at, w, extent, &inside);
  if (eat(s, "to"))
    TRY(expression(s, &f->value));
  for (size_t i = 0; i < countof(kinds); i++)
    if (eat(s, kinds[i].word)) {
      f->loop = (uint8_t)kinds[i].kind;
      bool wide = f->loop == KL_UNROLL || f->loop == KL_VECTOR || f->loop == KL_TILE || f->loop == KL_SCAN;
      if (wide)
        TRY(want(s, "("));
      bool may = f->loop == KL_PARALLEL || f->loop == KL_GRID || f->loop == KL_BLOCK;
      if (wide || (may && eat(s, "("))) {
        TRY(number(s, DT_i64, &width));
        TRY(want(s, ")"));
        if (width->i < 1 || width->i > 4096)
          return syntax(s, "a width from 1 to 4096");
        f->width = (uint16_t)width->i;
      }
      break;
    }
  if (eat(s, "ahead"))
    TRY(ahead(s, f));
  Name *outer = s->names;
  declare(s, w, f->var);
  TRY(block(s, &inside));
  s->names = outer;
  return ST_OK;
}

static Status definition(Parser *s, KCursor *at, bool acc) {
  const char *w;
  DType t;
  KExpr *e;
  TRY(word(s, &w));
  TRY(want(s, ":"));
  TRY(dtype(s, &t));
  TRY(want(s, "="));
  TRY(expression(s, &e));
  if (e->kind == KE_INT && dtype_is_float(t))
    e = ke_float(s->k, t, (double)e->i);
  if (e->dtype != t)
    return syntax(s, "the value has another type");
  declare(s, w, acc ? ks_acc(at, w, e) : ks_let(at, w, e));
  return ST_OK;
}

static Status update(Parser *s, KCursor *at, const char *w) {
  static const char *const text[] = {"+", "*", "min", "max", "&", "|", ""};
  KVar *v = find_var(s, w);
  KExpr *e;
  if (!v)
    return syntax(s, "no such variable");
  for (size_t i = 0; i < countof(text); i++) {
    char with[8];
    strcpy(with, text[i]);
    if (!eat(s, strcat(with, "=")))
      continue;
    TRY(expression(s, &e));
    if (e->dtype != v->dtype)
      return syntax(s, "the value has another type");
    ks_update(at, v, *text[i] ? kop_find(text[i], strlen(text[i])) : KOP_none, e);
    return ST_OK;
  }
  return syntax(s, "expected an update");
}

static Status store(Parser *s, KCursor *at, const char *w) {
  KBuf *b = find_buf(s, w);
  KExpr *index[MAX_RANK], *e;
  if (!b)
    return syntax(s, "no such buffer");
  TRY(index_list(s, b, index));
  TRY(want(s, "="));
  TRY(expression(s, &e));
  if (e->dtype != b->dtype)
    return syntax(s, "the value has another type");
  ks_store(at, b, index, e);
  return ST_OK;
}

/* A text in quotes; NULL: there is none. */
static const char *quoted_text(Parser *s) {
  if (!eat(s, "\""))
    return NULL;
  const char *from = s->p;
  while (s->p < s->end && *s->p != '"')
    s->p++;
  const char *text = arena_strndup(s->a, from, (size_t)(s->p - from));
  s->p += s->p < s->end;
  return text;
}

static Status statement(Parser *s, KCursor *at) {
  const char *w;
  KExpr *e, *n;
  TRY(word(s, &w));
  if (!strcmp(w, "for"))
    return loop(s, at);
  if (!strcmp(w, "let") || !strcmp(w, "acc"))
    return definition(s, at, *w == 'a');
  if (!strcmp(w, "if")) {
    KCursor inside;
    Name *outer = s->names;
    TRY(expression(s, &e));
    ks_if(at, e, &inside);
    TRY(block(s, &inside));
    s->names = outer;
    return ST_OK;
  }
  if (!strcmp(w, "check")) {
    TRY(expression(s, &e));
    TRY(want(s, "else"));
    TRY(expression(s, &n));
    ks_check(at, e, n)->text = quoted_text(s);
    return ST_OK;
  }
  return eat(s, "[") ? store(s, at, w) : update(s, at, w);
}

static Status block(Parser *s, KCursor *at) {
  if (++s->depth > MAX_DEPTH)
    return syntax(s, "nested too deep");
  TRY(want(s, "{"));
  while (!eat(s, "}")) {
    if (s->p == s->end)
      return syntax(s, "expected }");
    TRY(statement(s, at));
  }
  s->depth--;
  return ST_OK;
}

typedef enum { BUF_INPUT, BUF_OUTPUT, BUF_TEMP } BufKind;

static Status buffers(Parser *s, BufKind kind) {
  TRY(want(s, "("));
  while (!eat(s, ")")) {
    const char *w;
    DType t;
    Dim d[MAX_RANK];
    int rank = 0;
    TRY(word(s, &w));
    TRY(want(s, ":"));
    TRY(dtype(s, &t));
    TRY(want(s, "["));
    while (!eat(s, "]")) {
      if (rank == MAX_RANK)
        return syntax(s, "too many dimensions");
      if (rank)
        TRY(want(s, ","));
      TRY(dim(s, &d[rank++]));
    }
    if (find_buf(s, w))
      return syntax(s, "two buffers of one name");
    if (kind == BUF_TEMP)
      kernel_add_temp(s->k, w, t, rank, d);
    else
      kernel_add_buf(s->k, w, t, rank, d, kind == BUF_OUTPUT);
    eat(s, ",");
  }
  return ST_OK;
}

Status kernel_parse(Ctx *c, Arena *a, const char *text, size_t n, const char *file, Kernel **out) {
  Parser s = {.c = c, .a = a, .start = text, .p = text, .end = text + n, .file = file};
  TRY(want(&s, "kernel"));
  TRY(want(&s, "\""));
  const char *from = s.p;
  while (s.p < s.end && *s.p != '"')
    s.p++;
  s.k = kernel_create(c, a, arena_strndup(a, from, (size_t)(s.p - from)));
  TRY(want(&s, "\""));
  TRY(buffers(&s, BUF_INPUT));
  TRY(want(&s, "->"));
  TRY(buffers(&s, BUF_OUTPUT));
  if (eat(&s, "temp"))
    TRY(buffers(&s, BUF_TEMP));
  KCursor at = kernel_cursor(s.k);
  TRY(block(&s, &at));
  space(&s);
  if (s.p != s.end)
    return syntax(&s, "something follows the kernel");
  *out = s.k;
  return kernel_verify(c, s.k);
}
