/* attrs.c - attributes of a node in its newest form, checked against the operator's table; the tensor of a Constant.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/import.h"
#include "ops/ops.h"

#include <string.h>

static const char *const type_names[] = {"nothing", "a float",         "an int",         "a string", "a tensor",
                                         "a graph", "floats",          "ints",           "strings",  "tensors",
                                         "graphs",  "a sparse tensor", "sparse tensors", "a type",   "types"};
static const uint8_t wanted_type[] = {
    [AK_INT] = RA_INT,       [AK_FLOAT] = RA_FLOAT,  [AK_STR] = RA_STRING,    [AK_INTS] = RA_INTS,
    [AK_FLOATS] = RA_FLOATS, [AK_STRS] = RA_STRINGS, [AK_TENSOR] = RA_TENSOR, [AK_DIMS] = RA_UNDEFINED};

static const struct Bodies {
  OpId op;
  const char *attr[2];
} bodies[] = {{OP_If, {"then_branch", "else_branch"}}, {OP_Loop, {"body", NULL}}, {OP_Scan, {"body", NULL}}};

static const struct Bodies *bodies_of(OpId op) {
  for (size_t i = 0; i < countof(bodies); i++)
    if (bodies[i].op == op)
      return &bodies[i];
  return NULL;
}

static Status wrong_type(Ctx *c, const RawAttr *t, int want) {
  return fail(c, ST_INVALID, "attribute '%s' holds %s where %s is needed", t->name,
              type_names[t->type < countof(type_names) ? t->type : 0], type_names[want]);
}

static const char *field_name(void *arg, size_t i) {
  const AttrInfo *info = arg;
  return info->size ? info->field[i].name : NULL;
}

static Status unknown_attr(Ctx *c, const RawAttr *t, OpId op) {
  Status st = fail(c, ST_INVALID, "%s has no attribute '%s'", op_info(op)->name, t->name);
  const char *near = nearest_name(t->name, field_name, (void *)(uintptr_t)op_info(op)->attrs);
  return near ? err_hint(c, st, "did you mean '%s'?", near) : st;
}

/* A list that is given keeps a pointer, be it empty. */
static const void *list_of(Arena *a, const void *v) { return v ? v : arena_get(a, 1, 8, 8); }

static Status set_field(Ctx *c, Arena *a, Weights *w, const AttrField *f, const RawAttr *t, void *attr) {
  int want = wanted_type[f->kind];
  if (t->type != want || want == RA_UNDEFINED)
    return wrong_type(c, t, want);
  switch (f->kind) {
  case AK_INT:
    if (t->i <= REQUIRED)
      return fail(c, ST_INVALID, "attribute '%s' is out of range", t->name);
    ATTR_AT(int64_t, attr, f) = t->i;
    break;
  case AK_FLOAT: ATTR_AT(float, attr, f) = t->f; break;
  case AK_STR: ATTR_AT(Str, attr, f) = (Str){t->s.ptr ? t->s.ptr : "", t->s.len}; break;
  case AK_INTS: ATTR_AT(Ints, attr, f) = (Ints){list_of(a, t->ints), t->n}; break;
  case AK_FLOATS: ATTR_AT(Floats, attr, f) = (Floats){list_of(a, t->floats), t->n}; break;
  case AK_STRS: ATTR_AT(Strs, attr, f) = (Strs){list_of(a, t->strings), t->n}; break;
  case AK_TENSOR: return weights_tensor(w, t->tensor, &ATTR_AT(const Tensor *, attr, f));
  default: break;
  }
  return ST_OK;
}

static bool is_given(const AttrField *f, const void *attr) {
  if (f->kind == AK_INT)
    return ATTR_GET(int64_t, attr, f) != REQUIRED;
  return f->kind != AK_STR || ATTR_GET(Str, attr, f).ptr;
}

static Status check_required(Ctx *c, OpId op, const void *attr, const RawGraph *const *body) {
  const AttrInfo *info = op_info(op)->attrs;
  const struct Bodies *b = bodies_of(op);
  for (int i = 0; b && i < 2; i++)
    if (b->attr[i] && !body[i])
      return fail(c, ST_INVALID, "attribute '%s' is missing", b->attr[i]);
  if (info->size)
    for (const AttrField *f = info->field; f->name; f++)
      if (f->required && !is_given(f, attr))
        return fail(c, ST_INVALID, "attribute '%s' is missing", f->name);
  return ST_OK;
}

/* True: the attribute is one of op's bodies. */
static bool take_body(OpId op, const RawAttr *t, const RawGraph **body) {
  const struct Bodies *b = bodies_of(op);
  for (int i = 0; b && i < 2; i++)
    if (b->attr[i] && !strcmp(t->name, b->attr[i]) && t->type == RA_GRAPH) {
      body[i] = t->graph[0];
      return true;
    }
  return false;
}

Status import_attrs(Ctx *c, Arena *a, Weights *w, const RawNode *n, OpId op, void **attr, const RawGraph *body[2]) {
  const AttrInfo *info = op_info(op)->attrs;
  *attr = attr_new(a, info);
  body[0] = body[1] = NULL;
  for (uint32_t i = 0; i < n->nattr; i++) {
    const RawAttr *t = &n->attr[i];
    for (uint32_t k = 0; k < i; k++)
      if (!strcmp(n->attr[k].name, t->name))
        return fail(c, ST_INVALID, "attribute '%s' is given twice", t->name);
    if (take_body(op, t, body))
      continue;
    const AttrField *f = attr_field(info, t->name);
    if (!f)
      return unknown_attr(c, t, op);
    TRY(set_field(c, a, w, f, t, *attr));
  }
  return check_required(c, op, *attr, body);
}

/* --- Constant --- */

static Status constant_list(Ctx *c, Arena *keep, DType d, const void *v, uint32_t n, size_t size, bool scalar,
                            const Tensor **out) {
  Tensor *t;
  int64_t dim = n;
  TRY(tensor_new(c, keep, d, scalar ? 0 : 1, &dim, &t));
  if (n)
    memcpy(t->data, v, n * size);
  *out = t;
  return ST_OK;
}

static Status constant_strings(Ctx *c, Arena *keep, const Str *s, uint32_t n, bool scalar, const Tensor **out) {
  Tensor *t;
  int64_t dim = n;
  TRY(tensor_new(c, keep, DT_str, scalar ? 0 : 1, &dim, &t));
  for (uint32_t i = 0; i < n; i++)
    ((Str *)t->data)[i] = (Str){arena_strndup(keep, s[i].ptr ? s[i].ptr : "", s[i].len), s[i].len};
  *out = t;
  return ST_OK;
}

Status import_constant(Ctx *c, Arena *a, Weights *w, const RawNode *n, Arena *keep, const Tensor **out) {
  static const struct {
    const char *name;
    uint8_t type;
  } forms[] = {{"value", RA_TENSOR},        {"sparse_value", RA_SPARSE},  {"value_int", RA_INT},
               {"value_ints", RA_INTS},     {"value_float", RA_FLOAT},    {"value_floats", RA_FLOATS},
               {"value_string", RA_STRING}, {"value_strings", RA_STRINGS}};
  (void)a;
  if (n->nattr != 1 || n->nin || n->nout != 1)
    return fail(c, ST_INVALID, "a Constant has one attribute, no input and one output");
  const RawAttr *t = &n->attr[0];
  for (size_t i = 0; i < countof(forms); i++) {
    if (strcmp(t->name, forms[i].name))
      continue;
    if (t->type != forms[i].type)
      return wrong_type(c, t, forms[i].type);
    switch (t->type) {
    case RA_TENSOR: return weights_tensor(w, t->tensor, out);
    case RA_SPARSE: return weights_sparse(w, t->sparse, out);
    case RA_INT: return constant_list(c, keep, DT_i64, &t->i, 1, 8, true, out);
    case RA_INTS: return constant_list(c, keep, DT_i64, t->ints, t->n, 8, false, out);
    case RA_FLOAT: return constant_list(c, keep, DT_f32, &t->f, 1, 4, true, out);
    case RA_FLOATS: return constant_list(c, keep, DT_f32, t->floats, t->n, 4, false, out);
    case RA_STRING: return constant_strings(c, keep, &t->s, 1, true, out);
    default: return constant_strings(c, keep, t->strings, t->n, false, out);
    }
  }
  return fail(c, ST_INVALID, "a Constant has no attribute '%s'", t->name);
}
