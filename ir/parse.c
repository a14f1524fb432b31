/* parse.c - reads a graph from text (graph.h describes the form). Errors say line and column; nothing in the text is
 * trusted: nesting, counts and sizes are bounded.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/graph.h"
#include "ir/text.h"
#include "support/checked.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64, MAX_LIST = 65535, MAX_PATTERN = 64 << 20 };

typedef struct Scope {
  Map names; /* to Value */
  struct Scope *up;
} Scope;

typedef struct Parser {
  Ctx *c;
  const char *text, *p, *end;
  const char *file;
  Graph *top;
  Arena *a; /* the graph's */
  Scope *scope;
  uint32_t nnode;
  int depth;
} Parser;

/* --- characters --- */

static Status bad(Parser *s, const char *at, const char *fmt, ...) PRINTF_LIKE(3, 4);
static Status bad(Parser *s, const char *at, const char *fmt, ...) {
  StrBuf b;
  va_list ap;
  char text[512];
  long row = 1, col = 1;
  for (const char *q = s->text; q < at; q++)
    row += *q == '\n', col = *q == '\n' ? 1 : col + 1;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  buf_init(&b, s->a);
  buf_printf(&b, "%ld:%ld: %s", row, col, text);
  return err_file(s->c, fail(s->c, ST_INVALID, "%s", b.text), s->file);
}

static void space(Parser *s) {
  while (s->p < s->end) {
    if (*s->p == '#')
      while (s->p < s->end && *s->p != '\n')
        s->p++;
    else if (isspace((unsigned char)*s->p))
      s->p++;
    else
      break;
  }
}

static bool peek(Parser *s, char ch) {
  space(s);
  return s->p < s->end && *s->p == ch;
}

static bool eat(Parser *s, char ch) {
  if (!peek(s, ch))
    return false;
  s->p++;
  return true;
}

static Status need(Parser *s, char ch) { return eat(s, ch) ? ST_OK : bad(s, s->p, "'%c' is missing here", ch); }

/* A word of letters, digits, `_` and `.`; len 0: none here. */
static Str word(Parser *s) {
  space(s);
  const char *start = s->p;
  while (s->p < s->end && (isalnum((unsigned char)*s->p) || *s->p == '_' || *s->p == '.'))
    s->p++;
  return (Str){start, (size_t)(s->p - start)};
}

static bool eat_word(Parser *s, const char *w) {
  const char *start = s->p;
  if (str_is(word(s), w))
    return true;
  s->p = start;
  return false;
}

/* An absent value, type or origin part: `_` that begins no longer word. */
static bool eat_none(Parser *s) { return eat_word(s, "_"); }

static int hex(char ch) {
  return ch >= '0' && ch <= '9'   ? ch - '0'
         : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
         : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                  : -1;
}

static Status quoted(Parser *s, Str *out) {
  TRY(need(s, '"'));
  const char *start = s->p;
  while (s->p < s->end && *s->p != '"' && *s->p != '\n')
    s->p += *s->p == '\\' && s->end - s->p > 1 ? 2 : 1;
  if (s->p >= s->end || *s->p != '"')
    return bad(s, start - 1, "the string does not end");
  char *r = arena_get(s->a, (size_t)(s->p - start) + 1, 1, 1);
  size_t n = 0;
  for (const char *q = start; q < s->p; q++) {
    if (*q != '\\') {
      r[n++] = *q;
    } else if (q[1] == 'x' && s->p - q > 3 && hex(q[2]) >= 0 && hex(q[3]) >= 0) {
      r[n++] = (char)(hex(q[2]) << 4 | hex(q[3])), q += 3;
    } else if (q[1] == '"' || q[1] == '\\') {
      r[n++] = *++q;
    } else {
      return bad(s, q, "no such escape: only \\\\, \\\" and \\xNN");
    }
  }
  s->p++;
  *out = (Str){r, n};
  return ST_OK;
}

/* The characters of a number, in a 0-terminated buffer. */
static Status number_text(Parser *s, char *buf, size_t cap) {
  space(s);
  size_t n = 0;
  const char *q = s->p;
  while (q < s->end && n + 1 < cap && (isalnum((unsigned char)*q) || *q == '.' || *q == '-' || *q == '+'))
    buf[n++] = *q++;
  buf[n] = 0;
  return n ? ST_OK : bad(s, s->p, "a number is missing here");
}

static Status integer(Parser *s, int64_t *v) {
  char buf[64], *end;
  TRY(number_text(s, buf, sizeof buf));
  errno = 0;
  *v = strtoll(buf, &end, 10);
  if (end == buf || errno)
    return bad(s, s->p, "not a 64-bit integer: %s", buf);
  s->p += end - buf;
  return ST_OK;
}

static Status real(Parser *s, double *v) {
  char buf[64], *end;
  TRY(number_text(s, buf, sizeof buf));
  *v = strtod(buf, &end);
  if (end == buf)
    return bad(s, s->p, "not a number: %s", buf);
  s->p += end - buf;
  return ST_OK;
}

static Status dim(Parser *s, Dim *d) {
  const char *rest;
  space(s);
  *d = dim_parse_prefix(s->c, s->p, s->end, &rest);
  if (!*d)
    return bad(s, s->p, "a dimension is missing here, or its expression is wrong");
  s->p = rest;
  return ST_OK;
}

/* --- names --- */

static Status name(Parser *s, Str *out) {
  TRY(need(s, '%'));
  if (s->p < s->end && *s->p == '"') {
    const char *at = s->p;
    TRY(quoted(s, out));
    return out->len && strlen(out->ptr) == out->len ? ST_OK : bad(s, at, "a name is not empty and holds no NUL");
  }
  const char *start = s->p;
  while (s->p < s->end && text_name_char(*s->p))
    s->p++;
  if (s->p == start)
    return bad(s, start, "a name is missing behind '%%'");
  *out = (Str){arena_strndup(s->a, start, (size_t)(s->p - start)), (size_t)(s->p - start)};
  return ST_OK;
}

static Value *find(Parser *s, Str n) {
  Value *v = NULL;
  for (Scope *k = s->scope; k && !v; k = k->up)
    v = map_get_n(&k->names, n.ptr, n.len);
  return v;
}

/* Fresh names are `_` and an id; ids go on above every such name of the text. */
static void skip_made_up(Parser *s, const char *n) {
  if (n[0] != '_' || !isdigit((unsigned char)n[1]) || strlen(n) > 10)
    return;
  char *end;
  unsigned long k = strtoul(n + 1, &end, 10);
  if (!*end && k < INT32_MAX / 4 && k >= *s->top->next_id)
    *s->top->next_id = (uint32_t)k + 1;
}

static Status define(Parser *s, const char *at, Str n, Value *v) {
  if (find(s, n))
    return bad(s, at, "%%%s is defined twice", n.ptr);
  map_put_n(&s->scope->names, n.ptr, n.len, v);
  value_rename(v, n.ptr);
  return ST_OK;
}

static Status use(Parser *s, Value **v) {
  Str n;
  space(s);
  const char *at = s->p;
  TRY(name(s, &n));
  *v = find(s, n);
  return *v ? ST_OK : bad(s, at, "%%%s is not defined before this", n.ptr);
}

/* --- types --- */

static Status type(Parser *s, Type *t, int depth) {
  static const struct {
    const char *name;
    ValueKind kind;
  } box[] = {{"seq", VK_SEQUENCE}, {"optional", VK_OPTIONAL}, {"map", VK_MAP}};
  *t = (Type){.kind = VK_TENSOR, .rank = -1};
  space(s);
  const char *at = s->p;
  if (depth > 8)
    return bad(s, at, "the type is nested too deep");
  Str w = eat(s, '?') ? (Str){"?", 1} : word(s);
  for (size_t i = 0; i < countof(box); i++)
    if (str_is(w, box[i].name)) {
      t->kind = (uint8_t)box[i].kind;
      TRY(need(s, '('));
      if (t->kind == VK_MAP) {
        Str key = word(s);
        if (!(t->dtype = dtype_parse(key.ptr, key.len)))
          return bad(s, key.ptr, "no such element type");
        TRY(need(s, ','));
      }
      space(s);
      if (s->end - s->p > 1 && s->p[0] == '?' && s->p[1] != '[') {
        s->p++;
      } else {
        Type *elem = arena_new(s->a, Type);
        TRY(type(s, elem, depth + 1));
        t->elem = elem;
      }
      return need(s, ')');
    }
  t->dtype = str_is(w, "?") ? DT_none : dtype_parse(w.ptr, w.len);
  if (!t->dtype && !str_is(w, "?"))
    return bad(s, at, "no such element type: %.*s", (int)(w.len < 40 ? w.len : 40), w.ptr);
  TRY(need(s, '['));
  if (eat(s, '*'))
    return need(s, ']');
  t->rank = 0;
  while (!eat(s, ']')) {
    if (t->rank)
      TRY(need(s, ','));
    if (t->rank == MAX_RANK)
      return bad(s, s->p, "more than %d dimensions", MAX_RANK);
    TRY(dim(s, &t->dim[t->rank]));
    t->rank++;
  }
  return ST_OK;
}

/* --- constants --- */

static Status element(Parser *s, DType t, void *data, int64_t i) {
  double re;
  int64_t v;
  switch (dtype_kind(t)) {
  case DK_STRING: return quoted(s, (Str *)data + i);
  case DK_FLOAT:
    TRY(real(s, &re));
    if (isinf(re) && t == DT_f8e5m2)
      ((uint8_t *)data)[i] = (uint8_t)small_float_code(t, re, false);
    else
      elem_set_f64(t, data, i, re);
    return ST_OK;
  case DK_BOOL:
    v = eat_word(s, "true") ? 1 : eat_word(s, "false") ? 0 : 2;
    if (v == 2)
      return bad(s, s->p, "true or false is missing here");
    elem_set_i64(t, data, i, v);
    return ST_OK;
  case DK_COMPLEX: {
    DType part = t == DT_c64 ? DT_f32 : DT_f64;
    TRY(need(s, '('));
    TRY(real(s, &re));
    elem_set_f64(part, data, 2 * i, re);
    TRY(need(s, ','));
    TRY(real(s, &re));
    elem_set_f64(part, data, 2 * i + 1, re);
    return need(s, ')');
  }
  default: break;
  }
  space(s);
  const char *at = s->p;
  if (t == DT_u64 && s->p < s->end && *s->p != '-') {
    char buf[64], *end;
    TRY(number_text(s, buf, sizeof buf));
    errno = 0;
    uint64_t u = strtoull(buf, &end, 10);
    if (end == buf || errno)
      return bad(s, at, "not a 64-bit integer: %s", buf);
    s->p += end - buf;
    memcpy((uint64_t *)data + i, &u, 8);
    return ST_OK;
  }
  TRY(integer(s, &v));
  elem_set_i64(t, data, i, v);
  return elem_i64(t, data, i) == v ? ST_OK : bad(s, at, "%lld is no %s", (long long)v, dtype_name(t));
}

static Status elements(Parser *s, Tensor *t) {
  TRY(need(s, '{'));
  for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
    if (i)
      TRY(need(s, ','));
    TRY(element(s, t->dtype, t->data, i));
  }
  return need(s, '}');
}

/* A constant that was printed as a hash: any fixed contents will do, of ordinary size. */
static void pattern(Arena *a, Tensor *t, uint64_t seed) {
  for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
    uint64_t h = hash_bytes(&i, sizeof i, seed);
    switch (dtype_kind(t->dtype)) {
    case DK_FLOAT: {
      double v = (double)(int64_t)(h >> 44) / (1 << 19) - 1; /* [-1, 1) */
      elem_set_f64(t->dtype, t->data, i, t->dtype == DT_f8e8m0 ? fabs(v) : v);
      break;
    }
    case DK_COMPLEX:
      elem_set_f64(t->dtype == DT_c64 ? DT_f32 : DT_f64, t->data, 2 * i, (double)(h >> 44) / (1 << 20));
      break;
    case DK_STRING: ((Str *)t->data)[i] = str_of(arena_printf(a, "s%u", (unsigned)(h & 15))); break;
    default:
      elem_set_i64(t->dtype, t->data, i,
                   (int64_t)(h & (dtype_bits(t->dtype) == 8         ? 255
                                  : dtype_kind(t->dtype) == DK_BOOL ? 1
                                                                    : 7)));
      break;
    }
  }
}

static Status new_tensor(Parser *s, const char *at, const Type *t, bool limited, Tensor **out) {
  int64_t d[MAX_RANK], n;
  size_t bytes;
  if (t->kind != VK_TENSOR || !t->dtype || t->rank < 0)
    return bad(s, at, "a constant has a known element type and shape");
  for (int i = 0; i < t->rank; i++)
    if (!dim_is_const(t->dim[i], &d[i]))
      return bad(s, at, "a constant has no symbolic dimensions");
  /* Elements that are written out cannot be more than the text is long. */
  if (!extent_ok(d, t->rank, &n) || !dtype_bytes(t->dtype, n, &bytes) || bytes > MAX_PATTERN ||
      (limited && n > s->end - s->p))
    return bad(s, at, "the constant is too large");
  return tensor_new(s->c, s->a, t->dtype, t->rank, d, out);
}

static Status constant(Parser *s) {
  Str n;
  Type t;
  Tensor *k;
  space(s);
  const char *at = s->p;
  TRY(name(s, &n));
  TRY(need(s, ':'));
  TRY(type(s, &t, 0));
  while (s->p < s->end && isspace((unsigned char)*s->p))
    s->p++;
  TRY(need(s, '='));
  while (s->p < s->end && isspace((unsigned char)*s->p))
    s->p++;
  uint64_t hash = 0;
  bool hashed = s->p < s->end && *s->p == '#';
  TRY(new_tensor(s, at, &t, !hashed, &k));
  if (hashed) {
    int digits = 0;
    for (s->p++; s->p < s->end && hex(*s->p) >= 0 && digits < 16; s->p++, digits++)
      hash = hash << 4 | (uint64_t)hex(*s->p);
    if (!hash)
      return bad(s, s->p, "a hash in hexadecimal, not 0, is missing here");
    pattern(s->a, k, hash);
  } else {
    TRY(elements(s, k));
  }
  Value *v = graph_add_const(s->top, n.ptr, k);
  v->hash = hash;
  return define(s, at, n, v);
}

/* --- attributes --- */

static Status list(Parser *s, const AttrField *f, void *attr) {
  static const size_t size[] = {
      [AK_INTS] = sizeof(int64_t), [AK_FLOATS] = sizeof(float), [AK_STRS] = sizeof(Str), [AK_DIMS] = sizeof(Dim)};
  size_t n = 0, cap = 4, each = size[f->kind];
  char *v = arena_get(s->a, cap, each, 8);
  double x;
  TRY(need(s, '['));
  while (!eat(s, ']')) {
    if (n)
      TRY(need(s, ','));
    if (n == MAX_LIST)
      return bad(s, s->p, "the list is too long");
    if (n == cap) {
      char *more = arena_get(s->a, cap *= 2, each, 8);
      memcpy(more, v, n * each);
      v = more;
    }
    void *at = v + n++ * each;
    switch (f->kind) {
    case AK_INTS: TRY(integer(s, at)); break;
    case AK_STRS: TRY(quoted(s, at)); break;
    case AK_DIMS: TRY(dim(s, at)); break;
    default:
      TRY(real(s, &x));
      *(float *)at = (float)x;
      break;
    }
  }
  ATTR_AT(Ints, attr, f) = (Ints){(const int64_t *)(void *)v, (int64_t)n}; /* all lists have this layout */
  return ST_OK;
}

static Status attribute(Parser *s, const OpInfo *op, void *attr) {
  Str w = word(s);
  char text[64];
  const AttrField *f = w.len < sizeof text ? attr_field(op->attrs, arena_strndup(s->a, w.ptr, w.len)) : NULL;
  if (!f)
    return bad(s, w.ptr, "%s has no attribute '%.*s'", op->name, (int)(w.len < 40 ? w.len : 40), w.ptr);
  TRY(need(s, '='));
  double x;
  Type t;
  Tensor *k;
  switch (f->kind) {
  case AK_INT: return integer(s, &ATTR_AT(int64_t, attr, f));
  case AK_FLOAT:
    TRY(real(s, &x));
    ATTR_AT(float, attr, f) = fabs(x) > 3.4028235677973366e38 && isfinite(x) ? (float)copysign(INFINITY, x) : (float)x;
    return ST_OK;
  case AK_STR: return quoted(s, &ATTR_AT(Str, attr, f));
  case AK_TENSOR:
    space(s);
    w.ptr = s->p;
    TRY(type(s, &t, 0));
    TRY(new_tensor(s, w.ptr, &t, true, &k));
    TRY(elements(s, k));
    ATTR_AT(const Tensor *, attr, f) = k;
    return ST_OK;
  default: return list(s, f, attr);
  }
}

static Status attributes(Parser *s, const OpInfo *op, void *attr) {
  if (eat(s, '{') && !eat(s, '}')) {
    do {
      TRY(attribute(s, op, attr));
    } while (eat(s, ','));
    TRY(need(s, '}'));
  }
  if (op->attrs->size)
    for (const AttrField *f = op->attrs->field; f->name; f++)
      if (f->required && attr_is_default(f, attr))
        return bad(s, s->p, "%s needs the attribute '%s'", op->name, f->name);
  return ST_OK;
}

static Status origin_parts(Parser *s, Origin *o) {
  const char **part[] = {&o->node, &o->module, &o->source};
  for (size_t i = 0; i < countof(part); i++) {
    Str t;
    if (eat_none(s))
      continue;
    TRY(quoted(s, &t));
    *part[i] = t.ptr;
  }
  return ST_OK;
}

static Status origins(Parser *s, const OpInfo *op, const Origin **out) {
  const Origin *more[256];
  uint32_t n = 0;
  Origin *root = origin_new(s->top, NULL, op->name, s->nnode++);
  *out = root;
  if (!eat(s, '@'))
    return ST_OK;
  TRY(origin_parts(s, root));
  while (eat(s, '+')) {
    Origin *o = origin_new(s->top, NULL, op->name, root->index);
    TRY(origin_parts(s, o));
    if (n == countof(more))
      return bad(s, s->p, "too many origins");
    more[n++] = o;
  }
  if (n)
    *out = origin_merge(s->top, root, more, n);
  return ST_OK;
}

/* --- statements --- */

static Status block(Parser *s, Graph *g);

typedef struct Names {
  Str *v; /* ptr NULL: `_` */
  const char **at;
  Type *type;
  int n;
} Names;

/* `%a, _, %b : type, _, type` up to `=` */
static Status outputs(Parser *s, Names *r) {
  int cap = 4;
  *r = (Names){.v = arena_array(s->a, Str, 4), .at = arena_array(s->a, const char *, 4)};
  if (peek(s, '='))
    return ST_OK;
  do {
    if (r->n == MAX_LIST)
      return bad(s, s->p, "too many outputs");
    if (r->n == cap) {
      Str *v = arena_array(s->a, Str, 2 * (size_t)cap);
      const char **at = arena_array(s->a, const char *, 2 * (size_t)cap);
      memcpy(v, r->v, (size_t)cap * sizeof *v);
      memcpy(at, r->at, (size_t)cap * sizeof *at);
      r->v = v, r->at = at, cap *= 2;
    }
    space(s);
    r->at[r->n] = s->p;
    if (!eat_none(s))
      TRY(name(s, &r->v[r->n]));
    r->n++;
  } while (eat(s, ','));
  r->type = arena_array(s->a, Type, (size_t)r->n);
  for (int i = 0; i < r->n; i++)
    r->type[i] = (Type){.kind = VK_TENSOR, .rank = -1};
  if (!eat(s, ':'))
    return ST_OK;
  for (int i = 0; i < r->n; i++) {
    if (i)
      TRY(need(s, ','));
    if (!eat_none(s))
      TRY(type(s, &r->type[i], 0));
  }
  return ST_OK;
}

static Status inputs(Parser *s, Value ***in, int *nin) {
  int n = 0, cap = 8;
  Value **v = arena_array(s->a, Value *, 8);
  TRY(need(s, '('));
  while (!eat(s, ')')) {
    if (n)
      TRY(need(s, ','));
    if (n == MAX_LIST)
      return bad(s, s->p, "too many inputs");
    if (n == cap) {
      Value **more = arena_array(s->a, Value *, 2 * (size_t)cap);
      memcpy(more, v, (size_t)cap * sizeof *v);
      v = more, cap *= 2;
    }
    if (!eat_none(s))
      TRY(use(s, &v[n]));
    n++;
  }
  *in = v, *nin = n;
  return ST_OK;
}

static OpId operator_id(Str w) {
  char full[128], *dot;
  if (!w.len || w.len >= sizeof full)
    return 0;
  memcpy(full, w.ptr, w.len);
  full[w.len] = 0;
  dot = strrchr(full, '.');
  if (!dot)
    return op_find("", full);
  *dot = 0;
  return op_find(full, dot + 1);
}

static Status bodies(Parser *s, Node *n, const OpInfo *op) {
  int want = !(op->flags & OPF_CONTROL) ? 0 : !strcmp(op->name, "If") ? 2 : 1;
  for (int k = 0; k < want; k++) {
    Str t;
    if (!eat_word(s, "body"))
      return bad(s, s->p, "%s has %d bodies; 'body' is missing here", op->name, want);
    TRY(quoted(s, &t));
    Graph *g = graph_create_body(n, k, t.ptr);
    TRY(block(s, g));
  }
  return ST_OK;
}

static Status node(Parser *s, Graph *g) {
  Names out;
  Value **in = NULL;
  int nin = 0;
  TRY(outputs(s, &out));
  TRY(need(s, '='));
  Str w = word(s);
  OpId id = operator_id(w);
  if (!id)
    return bad(s, w.ptr, "no such operator: %.*s", (int)(w.len < 60 ? w.len : 60), w.ptr);
  const OpInfo *op = op_info(id);
  TRY(inputs(s, &in, &nin));
  if (nin < op->min_in || nin > op->max_in)
    return bad(s, w.ptr, "%s takes %d to %d inputs, not %d", op->name, op->min_in, op->max_in, nin);
  if (out.n < op->min_out || out.n > op->max_out)
    return bad(s, w.ptr, "%s gives %d to %d outputs, not %d", op->name, op->min_out, op->max_out, out.n);
  void *attr = attr_new(s->a, op->attrs);
  const Origin *origin;
  TRY(attributes(s, op, attr));
  TRY(origins(s, op, &origin));
  Node *n = graph_add_node(g, NULL, id, nin, out.n, attr, origin);
  for (int i = 0; i < nin; i++)
    node_set_input(n, i, in[i]);
  TRY(bodies(s, n, op)); /* the bodies do not see the outputs */
  for (int i = 0; i < out.n; i++) {
    if (!out.v[i].ptr) {
      node_drop_output(n, i);
      continue;
    }
    n->out[i]->type = out.type[i];
    TRY(define(s, out.at[i], out.v[i], n->out[i]));
    skip_made_up(s, out.v[i].ptr);
  }
  return ST_OK;
}

static Status input(Parser *s, Graph *g) {
  Str n;
  Type t = {.kind = VK_TENSOR, .rank = -1};
  space(s);
  const char *at = s->p;
  TRY(name(s, &n));
  if (eat(s, ':'))
    TRY(type(s, &t, 0));
  skip_made_up(s, n.ptr);
  return define(s, at, n, graph_add_input(g, n.ptr, t));
}

static Status range(Parser *s) {
  Dim d;
  int64_t lo, hi = INT64_MAX;
  space(s);
  const char *at = s->p;
  TRY(dim(s, &d));
  if (d->kind != DIM_SYM)
    return bad(s, at, "a symbol is missing here");
  TRY(need(s, '='));
  TRY(integer(s, &lo));
  if (s->end - s->p < 2 || s->p[0] != '.' || s->p[1] != '.')
    return bad(s, s->p, "'..' is missing here");
  s->p += 2;
  if (s->p < s->end && isdigit((unsigned char)*s->p))
    TRY(integer(s, &hi));
  if (lo < 0 || hi < lo)
    return bad(s, at, "an empty range");
  dim_narrow(s->c, d, lo, hi);
  return ST_OK;
}

static Status statements(Parser *s, Graph *g) {
  while (!eat(s, '}')) {
    if (s->p >= s->end)
      return bad(s, s->p, "'}' is missing");
    if (eat_word(s, "in")) {
      TRY(input(s, g));
    } else if (eat_word(s, "const")) {
      TRY(constant(s));
    } else if (eat_word(s, "dim")) {
      TRY(range(s));
    } else if (eat_word(s, "out")) {
      do {
        Value *v;
        TRY(use(s, &v));
        graph_add_output(g, v);
      } while (eat(s, ','));
    } else {
      TRY(node(s, g));
    }
  }
  return ST_OK;
}

static Status block(Parser *s, Graph *g) {
  Scope own = {.up = s->scope};
  if (s->depth == MAX_DEPTH)
    return bad(s, s->p, "bodies are nested too deep");
  TRY(need(s, '{'));
  map_init(&own.names, s->a);
  s->scope = &own, s->depth++;
  Status st = statements(s, g);
  s->scope = own.up, s->depth--;
  return st;
}

static Status whole(Parser *s) {
  if (!eat_word(s, "graph"))
    return bad(s, s->p, "'graph' is missing here");
  Str t;
  TRY(quoted(s, &t));
  s->top->name = t.ptr;
  TRY(block(s, s->top));
  space(s);
  return s->p == s->end ? ST_OK : bad(s, s->p, "nothing may follow the graph");
}

Status graph_parse(Ctx *c, const char *text, size_t n, const char *file, Graph **out) {
  Graph *g = graph_create(c, "");
  Parser s = {.c = c, .text = text, .p = text, .end = text + n, .file = file, .top = g, .a = g->arena};
  Status st = whole(&s);
  if (st)
    graph_destroy(g);
  else
    *out = g;
  return st;
}
