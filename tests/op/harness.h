/* harness.h - runs one operator by its reference evaluator and by inference, from text, and compares.
 *
 * A case is a block of lines; blocks are separated by empty lines; a line that starts with `#` is a comment:
 *     op Add                       first line; any words behind the name are a note; an operator of ai.onnx, or DOMAIN.Name
 *     attr axis=1 mode=linear ks=[1,2] alpha=0.5 value={f32[1] 3}
 *     in f32[2,3] 1 2 3 4 5 6      one line per input; `in -`: absent; `var` for `in`: never a constant to inference
 *     out f32[2,3] ...             one line per output; `out -`: not wanted; `out ?`: not compared
 *     tol 1e-5                     instead of the tolerance of the output's dtype
 *     error text                   evaluation must fail with a message that contains text
 *     infer error                  …and inference must fail as well, all inputs being constants
 * A tensor: dtype[dims] and values in row-major order; one value followed by `*` fills. nan, inf, -inf; complex numbers are
 * (re,im); strings in double quotes with \" \\ \n \xNN. Containers: seq{ t | t | t }, opt{ t } and map{ keys | values }.
 *
 * Inference is run three times: with all inputs constants, with static shapes, and with a symbol for every extent; whatever
 * it says must agree with what evaluation gives. ELEMENTWISE operators are also run in the place of each input they fit.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_OP_HARNESS_H
#define SARD_TESTS_OP_HARNESS_H

#include "ir/infer.h"
#include "ops/eval/eval.h"
#include "ops/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* last: its fail() hides ours */

enum { H_MAX = 24 };

typedef struct Harness {
  Alloc alloc;
  Ctx c;
  Arena *a;
  const char *where; /* what is being run, for messages */
} Harness;

typedef struct Case {
  OpId op;
  void *attr;
  Tensor *in[H_MAX], *out[H_MAX];
  bool is_var[H_MAX], skip[H_MAX]; /* skip: `?` */
  int nin, nout;
  double tol;
  const char *error;
  bool infer_error;
} Case;

__attribute__((unused)) static void h_open(Harness *h) {
  alloc_init_system(&h->alloc);
  h->alloc.limit = (size_t)1 << 30;
  ctx_open(&h->c, &h->alloc);
  h->a = arena_create(&h->c);
  h->where = "";
}

__attribute__((unused)) static void h_close(Harness *h) {
  ctx_close(&h->c);
  assert_int_equal(atomic_load(&h->alloc.used), 0);
}

/* --- tensors from text --- */

#define h_die(h, ...)                                                                                                  \
  do {                                                                                                                 \
    print_error("%s: ", (h)->where);                                                                                   \
    print_error(__VA_ARGS__);                                                                                          \
    print_error("\n");                                                                                                 \
    fail_msg("bad test text");                                                                                         \
  } while (0)

static const char *h_space(const char *p) {
  while (*p == ' ' || *p == '\t')
    p++;
  return p;
}

static const char *h_string(Harness *h, const char *p, Str *s) {
  if (*p++ != '"')
    h_die(h, "string expected at %.20s", p - 1);
  StrBuf b;
  buf_init(&b, h->a);
  for (; *p && *p != '"'; p++)
    if (*p != '\\')
      buf_putc(&b, *p);
    else if (*++p == 'n')
      buf_putc(&b, '\n');
    else if (*p == 'x') {
      buf_putc(&b, (char)strtol((char[]){p[1], p[2], 0}, NULL, 16));
      p += 2;
    } else
      buf_putc(&b, *p);
  *s = (Str){b.len ? b.text : "", b.len};
  return *p ? p + 1 : p;
}

static const char *h_value(Harness *h, const char *p, Tensor *t, int64_t i) {
  char *end;
  if (t->dtype == DT_str)
    return h_string(h, p, &((Str *)t->data)[i]);
  if (dtype_kind(t->dtype) == DK_COMPLEX) { /* (re,im) */
    DType part = t->dtype == DT_c64 ? DT_f32 : DT_f64;
    elem_set_f64(part, t->data, 2 * i, strtod(p + (*p == '('), &end));
    elem_set_f64(part, t->data, 2 * i + 1, strtod(end + (*end == ','), &end));
    if (*end != ')')
      h_die(h, "complex number expected at %.20s", p);
    return end + 1;
  }
  if (dtype_is_float(t->dtype)) {
    double v = strtod(p, &end);
    if (t->dtype == DT_f32)
      ((float *)t->data)[i] = strtof(p, &end); /* one rounding */
    else if (isinf(v) && dtype_bits(t->dtype) == 8)
      ((uint8_t *)t->data)[i] = (uint8_t)small_float_code(t->dtype, v, false);
    else
      elem_set_f64(t->dtype, t->data, i, v);
  } else {
    elem_set_i64(t->dtype, t->data, i, *p == '-' ? (int64_t)strtoll(p, &end, 0) : (int64_t)strtoull(p, &end, 0));
  }
  if (end == p)
    h_die(h, "number expected at %.20s", p);
  return end;
}

static const char *h_tensor_at(Harness *h, const char *p, Tensor **out);

static const char *h_container(Harness *h, const char *p, Tensor **out) {
  Tensor *t = arena_new(h->a, Tensor);
  t->kind = *p == 's' ? VK_SEQUENCE : *p == 'm' ? VK_MAP : VK_OPTIONAL;
  t->item = arena_array(h->a, Tensor *, 64);
  for (p = h_space(p + 4); *p && *p != '}';) {
    p = h_space(h_tensor_at(h, p, &t->item[t->nitem++]));
    if (*p == '|')
      p = h_space(p + 1);
  }
  *out = t;
  return *p ? p + 1 : p;
}

static const char *h_tensor_at(Harness *h, const char *p, Tensor **out) {
  if (!strncmp(p, "seq{", 4) || !strncmp(p, "opt{", 4) || !strncmp(p, "map{", 4))
    return h_container(h, p, out);
  size_t n = strcspn(p, "[ ");
  DType dt = dtype_parse(p, n);
  if (!dt || p[n] != '[')
    h_die(h, "no tensor: %.40s", p);
  int64_t dim[MAX_RANK];
  int rank = 0;
  for (p += n + 1; *p && *p != ']'; p += *p == ',') {
    char *end;
    dim[rank++] = strtoll(p, &end, 10);
    p = end;
  }
  if (tensor_new(&h->c, h->a, dt, rank, dim, out))
    h_die(h, "%s", h->c.err.message);
  p = h_space(p + 1);
  for (int64_t i = 0, count = tensor_count(*out); i < count; i++) {
    const char *start = p;
    p = h_space(h_value(h, p, *out, i));
    if (*p == '*') {
      for (int64_t k = i + 1; k < count; k++)
        h_value(h, start, *out, k);
      return h_space(p + 1);
    }
  }
  return p;
}

/* "f32[2,2] 1 2 3 4" */
__attribute__((unused)) static Tensor *h_tensor(Harness *h, const char *text) {
  Tensor *t;
  const char *rest = h_tensor_at(h, h_space(text), &t);
  if (*rest && *rest != '\n')
    h_die(h, "too many values: %.40s", rest);
  return t;
}

/* --- attributes from text --- */

static const char *h_numbers(Harness *h, const char *p, const AttrField *f, void *attr) {
  size_t cap = strlen(p); /* more than there are */
  int64_t *iv = arena_array(h->a, int64_t, cap), n = 0;
  float *fv = arena_array(h->a, float, cap);
  Str *sv = arena_array(h->a, Str, cap);
  char *end;
  for (p++; *p && *p != ']'; p += *p == ',', n++) {
    if (f->kind == AK_INTS)
      iv[n] = strtoll(p, &end, 10);
    else if (f->kind == AK_FLOATS)
      fv[n] = strtof(p, &end);
    else if (*p == '"')
      end = (char *)(uintptr_t)h_string(h, p, &sv[n]);
    else {
      end = (char *)(uintptr_t)(p + strcspn(p, ",]"));
      sv[n] = (Str){p, (size_t)(end - p)};
    }
    p = end;
  }
  if (f->kind == AK_INTS)
    ATTR_AT(Ints, attr, f) = (Ints){iv, n};
  else if (f->kind == AK_FLOATS)
    ATTR_AT(Floats, attr, f) = (Floats){fv, n};
  else
    ATTR_AT(Strs, attr, f) = (Strs){sv, n};
  return *p ? p + 1 : p;
}

/* The attribute struct of op from "axis=1 mode=linear"; a string with spaces in it is written in double quotes. */
__attribute__((unused)) static void *h_attrs(Harness *h, OpId op, const char *text) {
  const AttrInfo *info = eval_attrs(op);
  void *attr = attr_new(h->a, info);
  for (const char *p = h_space(text ? text : ""); *p && *p != '\n'; p = h_space(p)) {
    size_t n = strcspn(p, "=");
    const AttrField *f = info->size ? attr_field(info, arena_strndup(h->a, p, n)) : NULL;
    char *end;
    if (!f)
      h_die(h, "no attribute %.*s", (int)n, p);
    p += n + 1;
    if (f->kind == AK_INT) {
      ATTR_AT(int64_t, attr, f) = strtoll(p, &end, 10);
      p = end;
    } else if (f->kind == AK_FLOAT) {
      ATTR_AT(float, attr, f) = strtof(p, &end);
      p = end;
    } else if (f->kind == AK_STR) {
      Str s = {p, strcspn(p, " \n")};
      p = *p == '"' ? h_string(h, p, &s) : p + s.len;
      ATTR_AT(Str, attr, f) = s;
    } else if (f->kind == AK_TENSOR) {
      Tensor *t;
      p = h_space(h_tensor_at(h, p + 1, &t));
      p += *p == '}';
      ATTR_AT(const Tensor *, attr, f) = t;
    } else {
      p = h_numbers(h, p, f, attr);
    }
  }
  return attr;
}

/* --- comparing --- */

static double h_tolerance(DType t) {
  return t == DT_f64 ? 1e-12 : t == DT_f32 ? 1e-6 : t == DT_f16 ? 1e-3 : t == DT_bf16 ? 8e-3 : 0;
}

static void h_print(Harness *h, const char *what, const Tensor *t) {
  char text[200];
  print_error("%s: %s %s", h->where, what, tensor_type_text(t, text, sizeof text));
  for (int64_t i = 0, n = t->kind == VK_TENSOR ? tensor_count(t) : 0; i < n && i < 24; i++)
    if (t->dtype == DT_str)
      print_error(" \"%.*s\"", (int)((Str *)t->data)[i].len, ((Str *)t->data)[i].ptr);
    else if (dtype_kind(t->dtype) == DK_COMPLEX)
      print_error(" (%.9g,%.9g)", elem_f64(t->dtype == DT_c64 ? DT_f32 : DT_f64, t->data, 2 * i),
                  elem_f64(t->dtype == DT_c64 ? DT_f32 : DT_f64, t->data, 2 * i + 1));
    else if (dtype_is_float(t->dtype))
      print_error(" %.9g", elem_f64(t->dtype, t->data, i));
    else
      print_error(" %lld", (long long)elem_i64(t->dtype, t->data, i));
  print_error("\n");
}

static bool h_near(double a, double b, double tol, double scale) {
  if (isnan(a) || isnan(b))
    return isnan(a) && isnan(b);
  if (isinf(a) || isinf(b))
    return a == b;
  return fabs(a - b) <= tol * fmax(fabs(b), 1e-3 * scale);
}

/* got equals want: type, shape, elements within tol (< 0: that of the dtype) relative to the element or, for small
 * ones, to a thousandth of the largest. */
__attribute__((unused)) static bool h_equal(Harness *h, const Tensor *got, const Tensor *want, double tol) {
  bool ok = got && got->kind == want->kind;
  if (ok && want->kind != VK_TENSOR) {
    ok = got->nitem == want->nitem;
    for (int64_t i = 0; ok && i < want->nitem; i++)
      ok = h_equal(h, got->item[i], want->item[i], tol);
  } else if (ok) {
    ok = got->dtype == want->dtype && tensor_same_shape(got, want);
    double scale = 0;
    bool is_float = dtype_is_float(want->dtype);
    int64_t n = ok ? tensor_count(want) : 0;
    for (int64_t i = 0; is_float && i < n; i++) {
      double v = fabs(elem_f64(want->dtype, want->data, i));
      if (isfinite(v) && v > scale)
        scale = v;
    }
    for (int64_t i = 0; ok && i < n; i++)
      ok = dtype_kind(want->dtype) == DK_COMPLEX
               ? !memcmp((char *)got->data + i * (dtype_bits(want->dtype) / 8),
                         (char *)want->data + i * (dtype_bits(want->dtype) / 8), (size_t)dtype_bits(want->dtype) / 8)
           : want->dtype == DT_str ? str_eq(((Str *)got->data)[i], ((Str *)want->data)[i])
           : is_float              ? h_near(elem_f64(want->dtype, got->data, i), elem_f64(want->dtype, want->data, i),
                               tol < 0 ? h_tolerance(want->dtype) : tol, scale)
                                   : elem_i64(want->dtype, got->data, i) == elem_i64(want->dtype, want->data, i);
  }
  if (!ok) {
    if (got)
      h_print(h, "got ", got);
    else
      print_error("%s: no output\n", h->where);
    h_print(h, "want", want);
  }
  return ok;
}

/* --- evaluation --- */

/* host: an input whose memory output 0 takes, or NULL. */
static Status h_alloc(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out) {
  const Tensor *shared = e->host;
  TRY(tensor_new(e->c, e->keep, t, rank, dim, out));
  if (shared && i == 0) {
    (*out)->data = shared->data;
    return ST_OK;
  }
  size_t n = tensor_bytes(*out);
  if (n)
    memset((*out)->data, 0xa5, n); /* evaluators must not rely on zeroed memory */
  return ST_OK;
}

static Status h_run_protected(Ctx *c, void *arg) {
  (void)c;
  Eval *e = arg;
  return eval_find(e->op)(e);
}

/* Runs the evaluator; out[i] is set for the outputs it made. wanted NULL: all. */
__attribute__((unused)) static Status h_eval(Harness *h, OpId op, const void *attr, int nin, Tensor *const *in,
                                             int nout, const bool *wanted, Tensor **out) {
  static const bool all[H_MAX] = {true, true, true, true, true, true, true, true, true, true, true, true,
                                  true, true, true, true, true, true, true, true, true, true, true, true};
  if (!eval_find(op))
    h_die(h, "no evaluator for %s", op_info(op)->name);
  memset(out, 0, (size_t)nout * sizeof *out);
  Eval e = {.c = &h->c,
            .op = op,
            .nin = nin,
            .nout = nout,
            .in = (const Tensor *const *)in,
            .out = out,
            .wanted = wanted ? wanted : all,
            .attr = attr,
            .scratch = h->a,
            .keep = h->a,
            .alloc = h_alloc};
  return ctx_protect(&h->c, h_run_protected, &e);
}

/* An ELEMENTWISE operator must allow output 0 to be the memory of an input of the same shape and element size. */
static bool h_check_in_place(Harness *h, Case *k, const Tensor *got) {
  bool ok = true;
  for (int i = 0; i < k->nin && (op_info(k->op)->flags & OPF_ELEMENTWISE); i++) {
    Tensor *in[H_MAX], *out[1] = {NULL}, *x = k->in[i];
    const bool wanted[1] = {true};
    if (!x || !got || !tensor_same_shape(x, got) || dtype_bits(x->dtype) != dtype_bits(got->dtype))
      continue;
    memcpy(in, k->in, sizeof in);
    in[i] = arena_new(h->a, Tensor);
    *in[i] = *x;
    in[i]->data = arena_copy(h->a, x->data, tensor_bytes(x));
    Eval e = {.c = &h->c,
              .op = k->op,
              .nin = k->nin,
              .nout = 1,
              .in = (const Tensor *const *)in,
              .out = out,
              .wanted = wanted,
              .attr = k->attr,
              .scratch = h->a,
              .keep = h->a,
              .alloc = h_alloc,
              .host = in[i]};
    if (ctx_protect(&h->c, h_run_protected, &e) || !h_equal(h, out[0], got, 0)) {
      print_error("%s: differs when it runs in the place of input %d\n", h->where, i);
      ok = false;
    }
  }
  return ok;
}

/* --- inference --- */

typedef enum { H_CONST, H_STATIC, H_SYMBOLIC } HMode;

enum { H_BINDS = 1024 };

typedef struct HBind {
  Dim sym[H_BINDS]; /* extents, and elements of small integer inputs */
  int64_t value[H_BINDS];
  int n;
} HBind;

static bool h_lookup(void *arg, Dim sym, int64_t *v) {
  HBind *b = arg;
  for (int i = 0; i < b->n; i++)
    if (b->sym[i] == sym) {
      *v = b->value[i];
      return true;
    }
  return false;
}

static const Type *h_elem_type(Harness *h, Graph *g, const Tensor *t) {
  if (!t->nitem)
    return NULL;
  Type *r = arena_new(g->arena, Type);
  *r = type_of_tensor(&h->c, t->item[0]);
  for (int64_t i = 1; i < t->nitem; i++) {
    Type other = type_of_tensor(&h->c, t->item[i]);
    if (!type_equal(r, &other))
      r->rank = -1;
  }
  return r;
}

static Value *h_input(Harness *h, Graph *g, Case *k, int i, HMode mode, HBind *bind) {
  Tensor *t = k->in[i];
  char name[40];
  snprintf(name, sizeof name, "in%d", i);
  if (mode == H_CONST && t->kind == VK_TENSOR && !k->is_var[i])
    return graph_add_const(g, name, t);
  Type type = type_of_tensor(&h->c, t);
  if (t->kind == VK_MAP)
    type.dtype = t->item[0]->dtype, type.elem = h_elem_type(h, g, &(Tensor){.nitem = 1, .item = t->item + 1});
  else if (t->kind != VK_TENSOR)
    type.elem = h_elem_type(h, g, t);
  for (int d = 0; mode == H_SYMBOLIC && t->kind == VK_TENSOR && d < t->rank; d++) {
    type.dim[d] = dim_fresh(&h->c, "d");
    bind->sym[bind->n] = type.dim[d], bind->value[bind->n++] = t->dim[d];
  }
  Value *v = graph_add_input(g, name, type);
  for (uint32_t e = 0; e < v->told && bind->n < H_BINDS; e++)
    bind->sym[bind->n] = v->content[e], bind->value[bind->n++] = elem_i64(t->dtype, t->data, e);
  return v;
}

static bool h_type_agrees(Harness *h, const Value *v, const Tensor *t, HBind *bind) {
  const Type *ty = &v->type;
  int64_t x;
  if (ty->kind == VK_TENSOR && ty->rank < 0 && !ty->dtype)
    return true;
  if (ty->kind != t->kind)
    return false;
  if (t->kind != VK_TENSOR)
    return true;
  if ((ty->dtype && ty->dtype != t->dtype) || (ty->rank >= 0 && ty->rank != t->rank))
    return false;
  for (int i = 0; i < ty->rank; i++)
    if (dim_eval(ty->dim[i], h_lookup, bind, &x) && x != t->dim[i])
      return false;
  for (int64_t i = 0, n = tensor_count(t); v->content && i < n; i++)
    if (dim_eval(v->content[i], h_lookup, bind, &x) && x != elem_i64(t->dtype, t->data, i)) {
      print_error("%s: content[%lld] is %lld (%s), evaluation gives %lld\n", h->where, (long long)i, (long long)x,
                  dim_text(&h->c, v->content[i]), (long long)elem_i64(t->dtype, t->data, i));
      return false;
    }
  return true;
}

/* Runs inference on a node of the case's inputs. got: what evaluation gave, or NULL. */
static Status h_infer(Harness *h, Case *k, HMode mode, Tensor *const *got, bool *agrees) {
  static const char *const names[] = {"constant", "static", "symbolic"};
  Graph *g = graph_create(&h->c, "test");
  Value *in[H_MAX] = {0};
  HBind bind = {.n = 0};
  for (int i = 0; i < k->nin; i++)
    in[i] = k->in[i] ? h_input(h, g, k, i, mode, &bind) : NULL;
  Node *n = graph_add_node(g, NULL, k->op, k->nin, k->nout ? k->nout : op_info(k->op)->min_out, k->attr, NULL);
  node_set_inputs(n, k->nin, in);
  Status st = node_infer(&h->c, n);
  *agrees = true;
  for (int i = 0; !st && got && i < k->nout; i++)
    if (got[i] && n->out[i] && !h_type_agrees(h, n->out[i], got[i], &bind)) {
      print_error("%s: %s inference of output %d gives %s\n", h->where, names[mode], i,
                  type_text(&h->c, &n->out[i]->type));
      h_print(h, "evaluation gives", got[i]);
      *agrees = false;
    }
  graph_destroy(g);
  return st;
}

/* --- cases --- */

static bool h_check_inference(Harness *h, Case *k, Tensor *const *got) {
  bool ok = true, agrees;
  for (HMode m = H_CONST; m <= H_SYMBOLIC; m++) {
    Status st = h_infer(h, k, m, got, &agrees);
    if (st)
      print_error("%s: inference fails (mode %d): %s\n", h->where, (int)m, h->c.err.message);
    ok &= !st && agrees;
  }
  return ok;
}

static bool h_check_error(Harness *h, Case *k, Status st) {
  bool ok = st && strstr(h->c.err.message, k->error), agrees;
  if (!ok)
    print_error("%s: expected an error with \"%s\", got %s\n", h->where, k->error, st ? h->c.err.message : "none");
  if (k->infer_error && !h_infer(h, k, H_CONST, NULL, &agrees)) {
    print_error("%s: inference should fail\n", h->where);
    ok = false;
  }
  return ok;
}

/* True: as expected. */
__attribute__((unused)) static bool h_run_case(Harness *h, Case *k) {
  Tensor *got[H_MAX] = {0};
  bool want[H_MAX], ok = true;
  for (int i = 0; i < H_MAX; i++)
    want[i] = i < k->nout && (k->out[i] || k->skip[i]);
  Status st = h_eval(h, k->op, k->attr, k->nin, k->in, k->error && !k->nout ? 1 : k->nout, k->error ? NULL : want, got);
  if (st == ST_UNSUPPORTED && strstr(h->c.err.message, "it was made without")) { /* a library */
    print_message("%s: %s\n", h->where, h->c.err.message);
    return true;
  }
  if (k->error)
    return h_check_error(h, k, st);
  if (st) {
    print_error("%s: %s\n", h->where, h->c.err.message);
    return false;
  }
  for (int i = 0; i < k->nout; i++)
    if (k->out[i])
      ok &= h_equal(h, got[i], k->out[i], k->tol);
  bool inferred = h_check_inference(h, k, got), placed = h_check_in_place(h, k, got[0]);
  return ok && inferred && placed;
}

/* "Add", or with its domain "ai.onnx.preview.training.Adam". */
static OpId h_find_op(char *name) {
  char *dot = strrchr(name, '.');
  if (!dot)
    return op_find("", name);
  *dot = 0;
  return op_find(name, dot + 1);
}

/* One line of a block. */
static void h_line(Harness *h, Case *k, const char *line) {
  size_t n = strcspn(line, " ");
  const char *arg = h_space(line + n);
  bool none = !strcmp(arg, "-");
  if (!strncmp(line, "op ", 3)) {
    k->op = h_find_op(arena_strndup(h->a, arg, strcspn(arg, " ")));
    if (!k->op)
      h_die(h, "no operator %s", arg);
    k->attr = h_attrs(h, k->op, "");
  } else if (!strncmp(line, "attr ", 5)) {
    k->attr = h_attrs(h, k->op, arg);
  } else if (!strncmp(line, "in ", 3) || !strncmp(line, "var ", 4)) {
    k->is_var[k->nin] = *line == 'v';
    k->in[k->nin++] = none ? NULL : h_tensor(h, arg);
  } else if (!strncmp(line, "out ", 4)) {
    k->skip[k->nout] = *arg == '?';
    k->out[k->nout++] = none || *arg == '?' ? NULL : h_tensor(h, arg);
  } else if (!strncmp(line, "tol ", 4)) {
    k->tol = strtod(arg, NULL);
  } else if (!strncmp(line, "error", 5)) {
    k->error = arena_strdup(h->a, arg);
  } else if (!strcmp(line, "infer error")) {
    k->infer_error = true;
  } else {
    h_die(h, "what is this line: %s", line);
  }
}

/* What is done with each case: a program may put its own in. */
__attribute__((unused)) static bool (*h_runner)(Harness *h, Case *k) = h_run_case;

/* Runs one block of text given in the program. */
__attribute__((unused)) static bool h_run_text(Harness *h, const char *text) {
  Case k = {.tol = -1};
  h->where = arena_strndup(h->a, text, strcspn(text, "\n"));
  for (const char *p = text; *p;) {
    size_t n = strcspn(p, "\n");
    const char *line = h_space(arena_strndup(h->a, p, n));
    if (*line && *line != '#')
      h_line(h, &k, line);
    p += n + (p[n] == '\n');
  }
  return h_runner(h, &k);
}

/* Runs every block of a file under tests/ ("op/math.txt"); fails the test when one does not come out as stated. */
__attribute__((unused)) static void h_run_file(const char *name) {
  char path[600];
  snprintf(path, sizeof path, "%s/%s", TEST_DIR, name);
  FILE *f = fopen(path, "r");
  if (!f)
    fail_msg("cannot open %s", path);
  char *line = NULL, *block = NULL;
  size_t cap = 0, used = 0, room = 0;
  int no = 0, start = 0, run = 0, bad = 0;
  for (;;) {
    ssize_t got = getline(&line, &cap, f);
    no++;
    if (got > 1) {
      if (used + (size_t)got + 1 > room)
        block = realloc(block, room = (used + (size_t)got) * 2 + 1);
      start = used ? start : no;
      memcpy(block + used, line, (size_t)got + 1);
      used += (size_t)got;
      continue;
    }
    char *op = used ? (strncmp(block, "op ", 3) ? strstr(block, "\nop ") : block) : NULL;
    if (op) {
      Harness h;
      h_open(&h);
      bool ok = h_run_text(&h, op + (*op == '\n'));
      if (!ok)
        print_error("  at %s:%d\n", name, start);
      h_close(&h);
      run++, bad += !ok;
    }
    used = 0;
    if (got < 0)
      break;
  }
  free(line), free(block), fclose(f);
  print_message("%s: %d cases, %d failed\n", name, run, bad);
  assert_true(run > 0);
  assert_int_equal(bad, 0);
}

#endif
