/* print.c - a graph as text (graph.h describes the form).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/graph.h"
#include "ir/text.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Printer {
  StrBuf *b;
  PrintOptions o;
  uint32_t *number; /* by value id: 1 + its number with no_names, 0: not seen */
  uint8_t *shown;   /* by value id: the constant has been printed */
  uint32_t next;
  int indent;
} Printer;

/* --- pieces --- */

/* "…" with \" \\ and \xNN for what is not printable UTF-8. */
static void quote(StrBuf *b, const char *s, size_t n) {
  buf_putc(b, '"');
  for (size_t i = 0; i < n;) {
    size_t len = utf8_length(s + i, n - i);
    unsigned char ch = (unsigned char)s[i];
    bool c1 = len == 2 && ch == 0xc2 && (unsigned char)s[i + 1] < 0xa0; /* terminals obey these */
    if (!len || c1 || ch < 0x20 || ch == 0x7f) {
      for (size_t k = 0; k < (len ? len : 1); k++)
        buf_printf(b, "\\x%02x", (unsigned char)s[i + k]);
    } else {
      if (ch == '"' || ch == '\\')
        buf_putc(b, '\\');
      buf_put(b, s + i, len);
    }
    i += len ? len : 1;
  }
  buf_putc(b, '"');
}

bool text_name_char(char ch) { return isalnum((unsigned char)ch) || ch == '_' || ch == '.' || ch == '/' || ch == '-'; }

static void print_name(Printer *p, const Value *v) {
  if (p->o.no_names) {
    if (!p->number[v->id])
      p->number[v->id] = ++p->next;
    buf_printf(p->b, "%%%u", p->number[v->id] - 1);
    return;
  }
  bool plain = *v->name && strcmp(v->name, "_");
  for (const char *s = v->name; *s; s++)
    plain &= text_name_char(*s);
  buf_putc(p->b, '%');
  if (plain)
    buf_puts(p->b, v->name);
  else
    quote(p->b, v->name, strlen(v->name));
}

static void print_value(Printer *p, const Value *v) {
  if (v)
    print_name(p, v);
  else
    buf_putc(p->b, '_');
}

/* --- elements --- */

/* Element i as the first element of raw (16 bytes, aligned); data may be unaligned. Not for strings. */
static void element(DType t, const void *data, int64_t i, void *raw) {
  int bytes = dtype_bits(t) / 8;
  if (bytes) {
    memcpy(raw, (const char *)data + i * bytes, (size_t)bytes);
    return;
  }
  memset(raw, 0, 16);
  if (dtype_is_float(t))
    elem_set_f64(t, raw, 0, elem_f64(t, data, i));
  else
    elem_set_i64(t, raw, 0, elem_i64(t, data, i));
}

/* In plain figures if few of them are exact, else the shortest decimal that reads back as the same element. */
static void print_float(StrBuf *b, DType t, const void *raw) {
  double v = elem_f64(t, raw, 0);
  char text[40];
  if (isnan(v) || isinf(v)) {
    buf_puts(b, isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
    return;
  }
  if (v == nearbyint(v) && fabs(v) < 1e7) {
    buf_printf(b, "%.0f", v);
    return;
  }
  for (int digits = 1; digits <= 6; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) {
      buf_puts(b, text);
      return;
    }
  }
  for (int digits = 1; digits <= 17; digits++) {
    _Alignas(16) char back[16] = {0};
    snprintf(text, sizeof text, "%.*g", digits, v);
    elem_set_f64(t, back, 0, strtod(text, NULL));
    if (elem_f64(t, back, 0) == v)
      break;
  }
  buf_puts(b, text);
}

static void print_elem(StrBuf *b, DType t, const void *data, int64_t i) {
  _Alignas(16) char raw[16];
  if (t == DT_str) {
    Str s;
    memcpy(&s, (const Str *)data + i, sizeof s);
    quote(b, s.ptr ? s.ptr : "", s.len);
    return;
  }
  element(t, data, i, raw);
  switch (dtype_kind(t)) {
  case DK_FLOAT: print_float(b, t, raw); break;
  case DK_BOOL: buf_puts(b, raw[0] ? "true" : "false"); break;
  case DK_UINT: buf_printf(b, "%llu", (unsigned long long)elem_i64(t, raw, 0)); break;
  case DK_SINT: buf_printf(b, "%lld", (long long)elem_i64(t, raw, 0)); break;
  case DK_COMPLEX: {
    DType part = t == DT_c64 ? DT_f32 : DT_f64;
    buf_putc(b, '(');
    print_float(b, part, raw);
    buf_puts(b, ", ");
    _Alignas(16) char im[8] = {0};
    memcpy(im, raw + dtype_bits(part) / 8, (size_t)dtype_bits(part) / 8);
    print_float(b, part, im);
    buf_putc(b, ')');
    break;
  }
  default: break;
  }
}

static void print_elems(StrBuf *b, const Tensor *t) {
  buf_putc(b, '{');
  for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
    if (i)
      buf_puts(b, ", ");
    print_elem(b, t->dtype, t->data, i);
  }
  buf_putc(b, '}');
}

uint64_t value_hash(Value *v) {
  const Tensor *t = v->konst;
  if (v->hash)
    return v->hash;
  uint64_t h = t->dtype;
  if (t->dtype == DT_str)
    for (int64_t i = 0, n = tensor_count(t); i < n; i++)
      h = hash_bytes(((const Str *)t->data)[i].ptr, ((const Str *)t->data)[i].len, h);
  else
    h = hash_bytes(t->data, tensor_bytes(t), h);
  return v->hash = h ? h : 1;
}

/* --- attributes --- */

static void print_list(StrBuf *b, const AttrField *f, const void *attr) {
  buf_putc(b, '[');
  const Ints *any = (const Ints *)(const void *)((const char *)attr + f->offset); /* all lists have this layout */
  for (int64_t i = 0; i < any->n; i++) {
    if (i)
      buf_puts(b, ", ");
    switch (f->kind) {
    case AK_INTS: buf_printf(b, "%lld", (long long)any->v[i]); break;
    case AK_FLOATS: print_float(b, DT_f32, &ATTR_GET(Floats, attr, f).v[i]); break;
    case AK_STRS: quote(b, ATTR_GET(Strs, attr, f).v[i].ptr, ATTR_GET(Strs, attr, f).v[i].len); break;
    default: dim_print(b, ATTR_GET(Dims, attr, f).v[i]); break;
    }
  }
  buf_putc(b, ']');
}

static void print_attr(Printer *p, const AttrField *f, const void *attr) {
  StrBuf *b = p->b;
  buf_printf(b, "%s = ", f->name);
  switch (f->kind) {
  case AK_INT: buf_printf(b, "%lld", (long long)ATTR_GET(int64_t, attr, f)); break;
  case AK_FLOAT: print_float(b, DT_f32, &ATTR_GET(float, attr, f)); break;
  case AK_STR: quote(b, ATTR_GET(Str, attr, f).ptr, ATTR_GET(Str, attr, f).len); break;
  case AK_TENSOR: {
    const Tensor *t = ATTR_GET(Tensor *, attr, f);
    char shape[400];
    buf_printf(b, "%s%s ", dtype_name(t->dtype), shape_text(t->rank, t->dim, shape, sizeof shape));
    print_elems(b, t);
    break;
  }
  default: print_list(b, f, attr); break;
  }
}

static void print_attrs(Printer *p, const Node *n) {
  const AttrInfo *info = op_info(n->op)->attrs;
  int shown = 0;
  if (!info->size)
    return;
  for (const AttrField *f = info->field; f->name; f++)
    if (!attr_is_default(f, n->attr)) {
      buf_puts(p->b, shown++ ? ", " : " {");
      print_attr(p, f, n->attr);
    }
  if (shown)
    buf_putc(p->b, '}');
}

static void print_origin(StrBuf *b, const Origin *o) {
  const char *part[] = {o->node, o->module, o->source};
  for (size_t i = 0; i < countof(part); i++) {
    buf_putc(b, ' ');
    if (part[i])
      quote(b, part[i], strlen(part[i]));
    else
      buf_putc(b, '_');
  }
}

static void print_origins(Printer *p, const Origin *o) {
  if (!p->o.origins || !*o->node)
    return;
  buf_puts(p->b, " @");
  print_origin(p->b, o);
  for (uint32_t i = 0; i < o->nmore; i++) {
    buf_puts(p->b, " +");
    print_origin(p->b, o->more[i]);
  }
}

/* --- statements --- */

static void line(Printer *p) {
  buf_putc(p->b, '\n');
  for (int i = 0; i < p->indent; i++)
    buf_puts(p->b, "  ");
}

static void print_const(Printer *p, Value *v) {
  int64_t limit = p->o.const_limit ? p->o.const_limit : 16;
  if (!v || !v->konst || p->shown[v->id])
    return;
  p->shown[v->id] = 1;
  line(p);
  buf_puts(p->b, "const ");
  print_name(p, v);
  buf_puts(p->b, " : ");
  type_print(p->b, &v->type);
  buf_puts(p->b, " = ");
  if (tensor_count(v->konst) <= limit)
    print_elems(p->b, v->konst);
  else
    buf_printf(p->b, "#%016llx", (unsigned long long)value_hash(v));
}

static void print_consts_of(Printer *p, const Node *n) {
  for (int i = 0; i < n->nin; i++)
    print_const(p, n->in[i]);
  for (int k = 0; k < 2; k++)
    if (n->body[k]) {
      for (const Node *m = n->body[k]->first; m; m = m->next)
        print_consts_of(p, m);
      for (uint32_t i = 0; i < n->body[k]->nout; i++)
        print_const(p, n->body[k]->out[i]);
    }
}

static void print_graph(Printer *p, const Graph *g);

static void print_node(Printer *p, const Node *n) {
  line(p);
  for (int i = 0; i < n->nout; i++) {
    if (i)
      buf_puts(p->b, ", ");
    print_value(p, n->out[i]);
  }
  for (int i = 0; i < n->nout && !p->o.no_types; i++) {
    buf_puts(p->b, i ? ", " : " : ");
    if (n->out[i])
      type_print(p->b, &n->out[i]->type);
    else
      buf_putc(p->b, '_');
  }
  const OpInfo *op = op_info(n->op);
  buf_printf(p->b, "%s= %s%s%s(", n->nout ? " " : "", op->domain, *op->domain ? "." : "", op->name);
  for (int i = 0; i < n->nin; i++) {
    if (i)
      buf_puts(p->b, ", ");
    print_value(p, n->in[i]);
  }
  buf_putc(p->b, ')');
  print_attrs(p, n);
  print_origins(p, n->origin);
  for (int k = 0; k < 2; k++)
    if (n->body[k]) {
      buf_puts(p->b, " body ");
      quote(p->b, n->body[k]->name, strlen(n->body[k]->name));
      buf_putc(p->b, ' ');
      print_graph(p, n->body[k]);
    }
}

static void print_ranges(Printer *p, Map *seen, Dim d) {
  char key[24];
  if (d->kind != DIM_SYM) {
    for (int i = 0; i < d->n; i++)
      print_ranges(p, seen, d->arg[i]);
    return;
  }
  int n = snprintf(key, sizeof key, "%u", d->id);
  if ((d->lo == 0 && d->hi == INT64_MAX) || map_get(seen, key))
    return;
  map_put_n(seen, arena_copy(p->b->arena, key, (size_t)n), (size_t)n, seen);
  line(p);
  buf_puts(p->b, "dim ");
  dim_print(p->b, d);
  buf_printf(p->b, " = %lld..", (long long)d->lo);
  if (d->hi != INT64_MAX)
    buf_printf(p->b, "%lld", (long long)d->hi);
}

static void print_graph(Printer *p, const Graph *g) {
  buf_putc(p->b, '{');
  p->indent++;
  if (!g->up && !p->o.no_types) {
    Map seen;
    map_init(&seen, p->b->arena);
    for (uint32_t i = 0; i < g->nin; i++)
      for (int k = 0; g->in[i]->type.kind == VK_TENSOR && k < g->in[i]->type.rank; k++)
        print_ranges(p, &seen, g->in[i]->type.dim[k]);
  }
  for (uint32_t i = 0; i < g->nin; i++) {
    line(p);
    buf_puts(p->b, "in ");
    print_name(p, g->in[i]);
    if (p->o.no_types)
      continue;
    buf_puts(p->b, " : ");
    type_print(p->b, &g->in[i]->type);
  }
  for (const Node *n = g->first; n; n = n->next) {
    print_consts_of(p, n); /* in a body: all printed already */
    print_node(p, n);
  }
  for (uint32_t i = 0; i < g->nout; i++)
    print_const(p, g->out[i]);
  if (g->nout) {
    line(p);
    buf_puts(p->b, "out ");
  }
  for (uint32_t i = 0; i < g->nout; i++) {
    if (i)
      buf_puts(p->b, ", ");
    print_name(p, g->out[i]);
  }
  p->indent--;
  line(p);
  buf_putc(p->b, '}');
}

void graph_print(StrBuf *b, const Graph *g, const PrintOptions *o) {
  Printer p = {.b = b};
  if (o)
    p.o = *o;
  p.number = arena_array(b->arena, uint32_t, *g->next_id);
  p.shown = arena_array(b->arena, uint8_t, *g->next_id);
  buf_puts(b, "graph ");
  quote(b, g->name, strlen(g->name));
  buf_putc(b, ' ');
  print_graph(&p, g);
  buf_putc(b, '\n');
}
