/* kernel_print.c - kernels as text, and the renamed text under which compiled code is shared.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/kernel.h"

#include <math.h>
#include <string.h>

/* With `canon`, names give way to numbers: buffers b0 …, variables v0 …, dim expressions d0 … in order of appearance. */
typedef struct Printer {
  StrBuf *b;
  const Kernel *k;
  bool canon;
  uint32_t *var_name; /* canon: number + 1 by variable id */
  uint32_t nvar;
  Dim *dim; /* canon: dims seen */
  uint32_t ndim, cap;
  const Dim *open; /* canon: dims with names of their own */
  uint32_t nopen;
  int indent;
} Printer;

static void print_dim(Printer *p, Dim d) {
  int64_t v;
  for (uint32_t i = 0; i < p->nopen; i++)
    if (p->open[i] == d) {
      buf_printf(p->b, "o%u", i);
      return;
    }
  if (!p->canon || dim_is_const(d, &v)) {
    dim_print(p->b, d);
    return;
  }
  uint32_t i = 0;
  while (i < p->ndim && p->dim[i] != d)
    i++;
  if (i == p->ndim) {
    if (p->ndim == p->cap) {
      p->cap = p->cap ? 2 * p->cap : 16;
      Dim *bigger = arena_array(p->b->arena, Dim, p->cap);
      if (p->ndim)
        memcpy(bigger, p->dim, p->ndim * sizeof *bigger);
      p->dim = bigger;
    }
    p->dim[p->ndim++] = d;
  }
  buf_printf(p->b, "d%u", i);
}

static void print_var(Printer *p, const KVar *v) {
  if (!p->canon) {
    buf_puts(p->b, v->name);
    return;
  }
  if (!p->var_name[v->id])
    p->var_name[v->id] = ++p->nvar;
  buf_printf(p->b, "v%u", p->var_name[v->id] - 1);
}

static void print_buf(Printer *p, const KBuf *b) {
  if (p->canon)
    buf_printf(p->b, "b%u", b->index);
  else
    buf_puts(p->b, b->name);
}

static void print_float(StrBuf *b, double v) {
  if (isnan(v))
    buf_puts(b, "nan");
  else if (isinf(v))
    buf_puts(b, v < 0 ? "-inf" : "inf");
  else {
    size_t at = b->len;
    buf_printf(b, "%.17g", v);
    if (!strpbrk(b->text + at, ".en"))
      buf_puts(b, ".0");
  }
}

static void print_expr(Printer *p, const KExpr *e);

static void print_index(Printer *p, const KBuf *b, KExpr *const *index) {
  print_buf(p, b);
  buf_putc(p->b, '[');
  for (int i = 0; i < b->rank; i++) {
    if (i)
      buf_puts(p->b, ", ");
    print_expr(p, index[i]);
  }
  buf_putc(p->b, ']');
}

static bool is_word(const char *text) { return (*text >= 'a' && *text <= 'z'); }

static void print_call(Printer *p, const char *name, KExpr *const *arg, int n) {
  buf_printf(p->b, "%s(", name);
  for (int i = 0; i < n; i++) {
    if (i)
      buf_puts(p->b, ", ");
    print_expr(p, arg[i]);
  }
  buf_putc(p->b, ')');
}

/* Constants that are not f32, i64 or bool carry their type: `f16(0.5)`, `i32(3)`. */
static void print_const(Printer *p, const KExpr *e) {
  bool typed = e->dtype != DT_f32 && e->dtype != DT_i64 && e->dtype != DT_bool;
  if (typed)
    buf_printf(p->b, "%s(", dtype_name(e->dtype));
  if (e->kind == KE_FLOAT)
    print_float(p->b, e->f);
  else if (e->dtype == DT_bool)
    buf_puts(p->b, e->i ? "true" : "false");
  else
    buf_printf(p->b, "%lld", (long long)e->i);
  if (typed)
    buf_putc(p->b, ')');
}

static void print_expr(Printer *p, const KExpr *e) {
  switch (e->kind) {
  case KE_FLOAT:
  case KE_INT: print_const(p, e); break;
  case KE_DIM:
    buf_puts(p->b, "dim(");
    print_dim(p, e->dim);
    buf_putc(p->b, ')');
    break;
  case KE_VAR: print_var(p, e->var); break;
  case KE_LOAD: print_index(p, e->buf, e->index); break;
  case KE_UNARY: print_call(p, kop_text((KOp)e->op), e->arg, 1); break;
  case KE_SELECT: print_call(p, "select", e->arg, 3); break;
  case KE_CAST:
    buf_printf(p->b, "cast.%s%s%s", dtype_name(e->dtype), e->op & KC_OPEN ? ".open" : "",
               e->op & KC_DOWN      ? ".down"
               : e->op & KC_NEAREST ? ".nearest"
                                    : "");
    print_call(p, "", e->arg, 1);
    break;
  case KE_BINARY:
    if (is_word(kop_text((KOp)e->op))) {
      print_call(p, kop_text((KOp)e->op), e->arg, 2);
      break;
    }
    buf_putc(p->b, '(');
    print_expr(p, e->arg[0]);
    buf_printf(p->b, " %s ", kop_text((KOp)e->op));
    print_expr(p, e->arg[1]);
    buf_putc(p->b, ')');
    break;
  }
}

static void print_list(Printer *p, const KStmt *s);

static void print_body(Printer *p, const KStmt *body) {
  buf_puts(p->b, " {\n");
  p->indent++;
  print_list(p, body);
  p->indent--;
  buf_printf(p->b, "%*s}\n", 2 * p->indent, "");
}

static void print_loop(Printer *p, const KStmt *s) {
  static const char *const kind[] = {"",       " unroll",  " vector", " parallel", " grid",
                                     " block", " ordered", " tile",   " scan"};
  buf_puts(p->b, "for ");
  print_var(p, s->var);
  buf_puts(p->b, " in ");
  print_dim(p, s->extent);
  if (s->value) {
    buf_puts(p->b, " to ");
    print_expr(p, s->value);
  }
  buf_puts(p->b, kind[s->loop]);
  if (s->loop == KL_UNROLL || s->loop == KL_VECTOR || s->loop == KL_TILE || s->loop == KL_SCAN ||
      ((s->loop == KL_PARALLEL || s->loop == KL_GRID || s->loop == KL_BLOCK) && s->width))
    buf_printf(p->b, "(%u)", s->width);
  if (s->ahead) {
    buf_printf(p->b, " ahead(%u, ", s->ahead_by);
    print_var(p, s->ahead);
    buf_putc(p->b, ')');
  }
  print_body(p, s->body);
}

static void print_definition(Printer *p, const char *what, const KStmt *s) {
  buf_printf(p->b, "%s ", what);
  print_var(p, s->var);
  buf_printf(p->b, ": %s = ", dtype_name(s->var->dtype));
  print_expr(p, s->value);
  buf_putc(p->b, '\n');
}

static void print_stmt(Printer *p, const KStmt *s) {
  buf_printf(p->b, "%*s", 2 * p->indent, "");
  switch (s->kind) {
  case KS_FOR: print_loop(p, s); break;
  case KS_LET: print_definition(p, "let", s); break;
  case KS_ACC: print_definition(p, "acc", s); break;
  case KS_UPDATE:
    print_var(p, s->var);
    buf_printf(p->b, " %s= ", s->op ? kop_text((KOp)s->op) : "");
    print_expr(p, s->value);
    buf_putc(p->b, '\n');
    break;
  case KS_STORE:
    print_index(p, s->buf, s->index);
    buf_puts(p->b, " = ");
    print_expr(p, s->value);
    buf_putc(p->b, '\n');
    break;
  case KS_IF:
    buf_puts(p->b, "if ");
    print_expr(p, s->value);
    print_body(p, s->body);
    break;
  case KS_CHECK:
    buf_puts(p->b, "check ");
    print_expr(p, s->value);
    buf_puts(p->b, " else ");
    print_expr(p, s->number);
    if (s->text)
      buf_printf(p->b, " \"%s\"", s->text);
    buf_putc(p->b, '\n');
    break;
  }
}

static void print_list(Printer *p, const KStmt *s) {
  for (; s; s = s->next)
    print_stmt(p, s);
}

static void print_bufs(Printer *p, uint32_t from, uint32_t to) {
  buf_putc(p->b, '(');
  for (uint32_t i = from; i < to; i++) {
    const KBuf *b = p->k->buf[i];
    if (i > from)
      buf_puts(p->b, ", ");
    print_buf(p, b);
    buf_printf(p->b, ": %s[", dtype_name(b->dtype));
    for (int k = 0; k < b->rank; k++) {
      if (k)
        buf_puts(p->b, ", ");
      print_dim(p, b->dim[k]);
    }
    buf_putc(p->b, ']');
  }
  buf_putc(p->b, ')');
}

static void print(Printer *p) {
  if (p->canon)
    buf_puts(p->b, "kernel ");
  else
    buf_printf(p->b, "kernel \"%s\" ", p->k->name);
  print_bufs(p, 0, p->k->nin);
  buf_puts(p->b, " -> ");
  print_bufs(p, p->k->nin, p->k->nio);
  if (p->k->nbuf > p->k->nio) {
    buf_puts(p->b, " temp ");
    print_bufs(p, p->k->nio, p->k->nbuf);
  }
  print_body(p, p->k->body);
}

void kernel_print(StrBuf *b, const Kernel *k) {
  Printer p = {.b = b, .k = k};
  print(&p);
}

const char *kernel_signature_open(Arena *a, const Kernel *k, const Dim *open, uint32_t nopen, const Dim **dim,
                                  uint32_t *ndim) {
  StrBuf b;
  buf_init(&b, a);
  Printer p = {.b = &b, .k = k, .canon = true, .open = open, .nopen = nopen};
  p.var_name = arena_array(a, uint32_t, k->next_id);
  print(&p);
  *dim = p.dim, *ndim = p.ndim;
  return b.text;
}

const char *kernel_signature_in(Arena *a, const Kernel *k, const Dim **dim, uint32_t *ndim) {
  return kernel_signature_open(a, k, NULL, 0, dim, ndim);
}

const char *kernel_signature(Kernel *k, const Dim **dim, uint32_t *ndim) {
  return kernel_signature_in(k->arena, k, dim, ndim);
}
