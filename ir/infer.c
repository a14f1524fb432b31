/* infer.c - the driver of type and shape inference, and the questions inference functions ask.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- signatures: "T I > T; T=float, I=i32|i64" --- */

typedef struct Token {
  const char *s;
  int n;
  char suffix; /* 0 ? * + */
} Token;

static const char *next_token(const char *p, Token *t) {
  while (*p == ' ')
    p++;
  if (!*p || *p == '>' || *p == ';')
    return NULL;
  t->s = p;
  while (isalnum((unsigned char)*p))
    p++;
  t->n = (int)(p - t->s);
  t->suffix = *p == '?' || *p == '*' || *p == '+' ? *p++ : 0;
  return p;
}

static bool is_class(DType t, const char *name, size_t n) {
  DKind k = dtype_kind(t);
  if (n == 3 && !memcmp(name, "any", 3))
    return true;
  if (n == 3 && !memcmp(name, "num", 3))
    return k == DK_FLOAT || k == DK_SINT || k == DK_UINT;
  if (n == 3 && !memcmp(name, "int", 3))
    return k == DK_SINT || k == DK_UINT;
  if (n == 5 && !memcmp(name, "float", 5))
    return k == DK_FLOAT;
  return dtype_parse(name, n) == t;
}

/* Is dtype t among what the signature says of variable v? */
static bool allowed(const char *sig, char v, DType t, const char **cls, int *cls_n) {
  const char *p = strchr(sig, ';');
  *cls = "any", *cls_n = 3;
  while (p) {
    p++;
    while (*p == ' ')
      p++;
    const char *end = p + strcspn(p, ",");
    if (*p == v && p[1] == '=') {
      *cls = p + 2, *cls_n = (int)(end - p - 2);
      if (*cls_n == 5 && !memcmp(*cls, "value", 5))
        return true;
      for (const char *q = p + 2; q < end;) {
        size_t k = strcspn(q, "|,");
        if (is_class(t, q, k))
          return true;
        q += k + 1;
      }
      return false;
    }
    p = *end ? end : NULL;
  }
  return true;
}

static Status check_inputs(Infer *x, const char *sig, DType *var) {
  const OpInfo *op = op_info(x->n->op);
  Token t = {0};
  const char *p = sig, *cls;
  int cls_n;
  for (int i = 0; i < x->n->nin; i++) {
    if (t.suffix != '*' && t.suffix != '+')
      p = next_token(p, &t);
    if (!p)
      return fail(x->c, ST_INVALID, "%d inputs are too many", x->n->nin);
    Value *v = x->n->in[i];
    if (!v) {
      if (t.suffix != '?' && i < op->min_in)
        return fail(x->c, ST_INVALID, "input %d is missing", i);
      continue;
    }
    if (v->type.kind != VK_TENSOR || !v->type.dtype)
      continue;
    DType d = v->type.dtype;
    if (t.n > 1) {
      if (dtype_parse(t.s, (size_t)t.n) != d)
        return infer_fail(x, "input %d must be %.*s, not %s", i, t.n, t.s, dtype_name(d));
      continue;
    }
    if (!allowed(sig, t.s[0], d, &cls, &cls_n))
      return infer_fail(x, "input %d is %s; the operator takes %.*s", i, dtype_name(d), cls_n, cls);
    DType *known = &var[t.s[0] - 'A'];
    if (t.suffix == '+')
      continue;
    if (*known && *known != d)
      return infer_fail(x, "input %d is %s where %s is needed, as in the inputs before it", i, dtype_name(d),
                        dtype_name(*known));
    *known = d;
  }
  return ST_OK;
}

static Status check_outputs(Infer *x, const char *sig, const DType *var) {
  const char *p = strchr(sig, '>'), *cls;
  int cls_n;
  Token t = {0};
  p = p ? p + 1 : "";
  for (int i = 0; i < x->n->nout; i++) {
    if (t.suffix != '*' && t.suffix != '+')
      p = next_token(p, &t);
    if (!p)
      return fail(x->c, ST_INVALID, "%d outputs are too many", x->n->nout);
    if (x->out[i].kind != VK_TENSOR)
      continue;
    DType want = t.n > 1 ? dtype_parse(t.s, (size_t)t.n) : t.suffix == '+' ? DT_none : var[t.s[0] - 'A'];
    if (!x->out[i].dtype)
      x->out[i].dtype = want;
    else if (want && want != x->out[i].dtype)
      return infer_fail(x, "output %d is inferred as %s but must be %s", i, dtype_name(x->out[i].dtype),
                        dtype_name(want));
    else if (t.n == 1 && !allowed(sig, t.s[0], x->out[i].dtype, &cls, &cls_n))
      return infer_fail(x, "output %d would be %s; the operator gives %.*s", i, dtype_name(x->out[i].dtype), cls_n,
                        cls);
  }
  return ST_OK;
}

/* --- the driver --- */

/* A symbol that stands in no input's shape: this node's inference made it up. */
static bool made_up(const Infer *x, Dim sym) {
  for (int i = 0; i < x->n->nin; i++)
    for (int k = 0; x->n->in[i] && k < x->n->in[i]->type.rank; k++)
      if (dim_uses(x->n->in[i]->type.dim[k], sym))
        return false;
  return true;
}

/* What the file declares fills what inference left open. A constant that contradicts a constant is an error. */
static Status merge_declared(Infer *x, int i) {
  const Type *have = &x->n->out[i]->type;
  Type *t = &x->out[i];
  if (have->kind != t->kind)
    return have->kind == VK_TENSOR && !have->dtype && have->rank < 0 ? ST_OK
           : t->kind == VK_TENSOR && !t->dtype && t->rank < 0
               ? (*t = *have, ST_OK)
               : infer_fail(x, "output %d is declared as %s but inferred as %s", i, type_text(x->c, have),
                            type_text(x->c, t));
  if (t->kind != VK_TENSOR) {
    if (!t->elem)
      t->elem = have->elem;
    return ST_OK;
  }
  if (!t->dtype)
    t->dtype = have->dtype;
  else if (have->dtype && have->dtype != t->dtype)
    return infer_fail(x, "output %d is declared as %s but inferred as %s", i, type_text(x->c, have),
                      type_text(x->c, t));
  if (have->rank < 0)
    return ST_OK;
  if (t->rank < 0) {
    t->rank = have->rank;
    memcpy(t->dim, have->dim, sizeof t->dim);
    return ST_OK;
  }
  if (have->rank != t->rank)
    return infer_fail(x, "output %d is declared as %s but inferred as %s", i, type_text(x->c, have),
                      type_text(x->c, t));
  for (int k = 0; k < t->rank; k++) {
    if (have->dim[k] == t->dim[k])
      continue;
    bool hc = have->dim[k]->kind == DIM_CONST, tc = t->dim[k]->kind == DIM_CONST;
    if (hc && tc)
      return infer_fail(x, "output %d is declared as %s but inferred as %s", i, type_text(x->c, have),
                        type_text(x->c, t));
    if (hc && t->dim[k]->kind == DIM_SYM && !t->dim[k]->data && made_up(x, t->dim[k])) /* the file knows more */
      t->dim[k] = have->dim[k];
    /* A constant where the input has a symbol is stale: the model was made dynamic after its shapes were noted. */
  }
  return ST_OK;
}

static Status infer_bodies(Ctx *c, Node *n) {
  for (int b = 0; b < 2; b++)
    if (n->body[b] && !(op_info(n->op)->flags & OPF_CONTROL))
      return fail(c, ST_INTERNAL, "a body on an operator without control flow");
  return ST_OK;
}

static Status infer_one(Infer *x) {
  Node *n = x->n;
  const OpInfo *op = op_info(n->op);
  DType var[26] = {0};
  if (n->nin < op->min_in || n->nin > op->max_in)
    return fail(x->c, ST_INVALID, "%d inputs given, the operator takes %d to %d", n->nin, op->min_in, op->max_in);
  if (n->nout > op->max_out)
    return fail(x->c, ST_INVALID, "%d outputs asked for, the operator has at most %d", n->nout, op->max_out);
  TRY(check_inputs(x, op->sig, var));
  for (int i = 0; i < n->nout; i++)
    x->out[i] = (Type){.kind = VK_TENSOR, .rank = -1};
  TRY(infer_bodies(x->c, n));
  if (!op->infer)
    return fail(x->c, ST_UNSUPPORTED, "no inference for this operator");
  TRY(op->infer(x));
  TRY(check_outputs(x, op->sig, var));
  for (int i = 0; i < n->nout; i++) {
    Value *v = n->out[i];
    if (!v)
      continue;
    TRY(merge_declared(x, i));
    v->type = x->out[i];
    if (x->content[i])
      v->content = x->content[i], v->told = 0;
    value_tell(x->c, v);
  }
  return ST_OK;
}

Status node_infer(Ctx *c, Node *n) {
  Infer x = {.c = c, .g = n->graph, .n = n, .arena = n->graph->arena};
  NodePlace before = origin_enter(c, n->origin);
  Type few[4];
  const Dim *content[4] = {0};
  x.out = n->nout <= 4 ? few : arena_array(x.arena, Type, n->nout);
  x.content = n->nout <= 4 ? content : arena_array(x.arena, const Dim *, n->nout);
  Status st = infer_one(&x);
  c->place = before;
  return st ? err_origin(c, st, n->origin) : ST_OK;
}

static void assume(Infer *x, Dim a, Dim b, const char *what) {
  Assumptions *s = x->assumed;
  if (!s || a == b)
    return;
  if (s->n == s->cap) {
    Assumption *bigger = arena_array(x->arena, Assumption, s->cap = 2 * s->cap + 4);
    if (s->n)
      memcpy(bigger, s->list, s->n * sizeof *bigger);
    s->list = bigger;
  }
  s->list[s->n++] = (Assumption){a, b, arena_printf(x->arena, "%s", what)};
}

Assumptions node_assumptions(Ctx *c, Arena *a, const Node *n) {
  Assumptions r = {0};
  Infer x = {.c = c, .g = n->graph, .n = (Node *)n, .arena = a, .assumed = &r};
  x.out = arena_array(a, Type, n->nout + 1u);
  x.content = arena_array(a, const Dim *, n->nout + 1u);
  if (op_info(n->op)->infer(&x)) { /* in a branch that is never taken: what is known by now does not fit */
    assume(&x, dim_const(c, 0), dim_const(c, 1), arena_printf(a, "%s", c->err.message));
    c->err = (Err){0};
  }
  return r;
}

Status graph_infer(Ctx *c, Graph *g) {
  for (Node *n = g->first; n; n = n->next)
    TRY(node_infer(c, n));
  return ST_OK;
}

/* --- what inference functions ask --- */

bool has_in(const Infer *x, int i) { return i < x->n->nin && x->n->in[i]; }

bool has_out(const Infer *x, int i) { return i < x->n->nout && x->n->out[i]; }

const Type *in_type(const Infer *x, int i) { return &x->n->in[i]->type; }

bool in_rank(Infer *x, int i, int *rank) {
  const Type *t = in_type(x, i);
  if (t->kind != VK_TENSOR || t->rank < 0) {
    x->unknown = true;
    return false;
  }
  *rank = t->rank;
  return true;
}

Dim in_dim(const Infer *x, int i, int axis) { return in_type(x, i)->dim[axis]; }

bool in_const(const Infer *x, int i, const Tensor **t) {
  if (!has_in(x, i) || !x->n->in[i]->konst)
    return false;
  *t = x->n->in[i]->konst;
  return true;
}

bool in_content(const Infer *x, int i, const Dim **elem, int64_t *n) {
  if (!has_in(x, i))
    return false;
  const Value *v = x->n->in[i];
  Dim count;
  if (!v->content || v->type.rank < 0)
    return false;
  count = type_count(x->c, &v->type);
  if (!dim_is_const(count, n))
    return false;
  *elem = v->content;
  return true;
}

bool in_ints(const Infer *x, int i, const int64_t **elem, int64_t *n) {
  const Dim *d;
  if (!has_in(x, i))
    return false;
  if (value_ints(x->n->in[i], elem, n, x->arena))
    return true;
  if (!in_content(x, i, &d, n))
    return false;
  int64_t *r = arena_array(x->arena, int64_t, (size_t)*n);
  for (int64_t k = 0; k < *n; k++)
    if (!dim_is_const(d[k], &r[k]))
      return false;
  *elem = r;
  return true;
}

void set_out_type(Infer *x, int i, Type t) {
  if (i < x->n->nout)
    x->out[i] = t;
}

void set_out(Infer *x, int i, DType t, int rank, Dim const *dim) { set_out_type(x, i, type_tensor(t, rank, dim)); }

void set_out_like(Infer *x, int i, int in) { set_out_type(x, i, *in_type(x, in)); }

void set_content(Infer *x, int i, const Dim *elem) {
  int64_t n;
  if (!has_out(x, i) || x->out[i].rank < 0 || !dim_is_const(type_count(x->c, &x->out[i]), &n) || n > MAX_CONTENT)
    return;
  x->content[i] = arena_copy(x->arena, elem, (size_t)n * sizeof *elem);
}

Status norm_axis(Infer *x, int64_t axis, int rank, bool inclusive, int *out) {
  int top = rank + (inclusive ? 1 : 0);
  if (axis < -top || axis >= top)
    return infer_fail(x, "axis %lld is not in [%d, %d]", (long long)axis, -top, top - 1);
  *out = (int)(axis < 0 ? axis + top : axis);
  return ST_OK;
}

Status broadcast_dims(Infer *x, int ra, Dim const *a, int rb, Dim const *b, int *rank, Dim *out) {
  int r = ra > rb ? ra : rb;
  Dim one = dim_const(x->c, 1), tmp[MAX_RANK];
  for (int i = 0; i < r; i++) { /* from the last axis; out may be a or b */
    Dim p = i < ra ? a[ra - 1 - i] : one, q = i < rb ? b[rb - 1 - i] : one;
    if ((p->lo > 1 || p->hi < 1) && (q->lo > 1 || q->hi < 1) && dim_differ(x->c, p, q))
      return infer_fail(x, "the shapes do not broadcast: %s against %s", dim_text(x->c, p), dim_text(x->c, q));
    tmp[r - 1 - i] = dim_bcast(x->c, p, q);
  }
  memcpy(out, tmp, (size_t)r * sizeof *out);
  *rank = r;
  return ST_OK;
}

Status same_dim(Infer *x, Dim a, Dim b, const char *what, Dim *r) {
  char text[256];
  if (dim_differ(x->c, a, b) && pair_text(text, sizeof text, what, dim_text(x->c, a), dim_text(x->c, b)))
    return infer_fail(x, "%s", text);
  if (dim_differ(x->c, a, b))
    return infer_fail(x, "%s differ: %s and %s", what, dim_text(x->c, a), dim_text(x->c, b));
  assume(x, a, b, what);
  if (r)
    *r = b->kind == DIM_CONST ? b : a;
  return ST_OK;
}

Status infer_fail(Infer *x, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  StrBuf b;
  buf_init(&b, x->arena);
  for (int i = 0; i < x->n->nin && i < 4; i++)
    buf_printf(&b, "%s%s", i ? ", " : "", x->n->in[i] ? type_text(x->c, &x->n->in[i]->type) : "absent");
  return fail(x->c, ST_INVALID, x->n->nin ? "%s (inputs: %s%s)" : "%s", text, b.text, x->n->nin > 4 ? ", ..." : "");
}
