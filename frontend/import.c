/* import.c - raw structs to the graph: names become values, nodes are upgraded, checked, typed and put in order.
 *
 * Values are found through scopes: one per graph, a body's scope inside its enclosing one. A call of a model-local
 * function is expanded in place: its body is imported in a scope of its own that sees nothing outside; the names of its
 * values get the call's name in front. Each node is typed as soon as it is made, so that upgrade steps may ask for
 * ranks. SPDX-License-Identifier: Apache-2.0 */
#include "frontend/import.h"

#include "frontend/flex.h"
#include "frontend/microsoft.h"
#include "frontend/upgrade.h"
#include "ir/infer.h"
#include "ops/control.h"
#include "ops/ops.h"

#include <string.h>

enum { MAX_ATTRS = 1024, MAX_CANDIDATES = 4096, FRESH = (char)0xFF /* starts names made here: no UTF-8 text does */ };

/* What nodes of one model or one expanded call share. */
typedef struct Frame {
  const OpsetImport *opset;
  uint32_t nopset;
  const RawFunction *fn; /* NULL: the model itself */
  const RawNode *call;
  const char *prefix;   /* of names */
  const Origin *origin; /* of the call */
} Frame;

typedef struct Scope {
  struct Scope *up;
  const Frame *frame;
  Graph *g;
  Map names; /* -> Value */
  Map types; /* declared: -> RawType */
  bool main; /* the model's own graph: its names are kept as they are */
} Scope;

typedef struct Import {
  Ctx *c;
  Arena *a; /* scratch */
  Model *m;
  const RawModel *raw;
  Weights *w;
  Functions *fs;
  bool infer;
  DimBinding *bind;
  uint32_t nbind;
  Map used; /* names of values -> count of names made from it + 1 */
  Map ops;  /* operators of ai.onnx -> OpId */
  uint32_t fresh;
  int depth;
} Import;

static const Value absent_value; /* what the name of a parameter stands for when the call leaves it out */
#define absent ((Value *)(uintptr_t)&absent_value)

static const char *plain_domain(const char *d) { return strcmp(d, "ai.onnx") ? d : ""; }

/* --- names --- */

static Value *lookup(const Scope *s, const char *name) {
  for (; s; s = s->up) {
    Value *v = map_get(&s->names, name);
    if (v)
      return v;
  }
  return NULL;
}

typedef struct Candidates {
  const Scope *s;
  size_t slot, count;
} Candidates;

static const char *candidate(void *arg, size_t i) {
  Candidates *k = arg;
  (void)i;
  for (; k->s && k->count < MAX_CANDIDATES; k->s = k->s->up, k->slot = 0)
    while (k->slot < k->s->names.cap) {
      const char *key = k->s->names.slot[k->slot++].key;
      if (key && key[0] != FRESH && strlen(key) < 256)
        return k->count++, key;
    }
  return NULL;
}

static Status undefined(Import *im, const Scope *s, const char *what, const char *name) {
  Status st = fail(im->c, ST_INVALID, "%s '%s' is made by no node and is no input or initializer", what, name);
  const char *near = strlen(name) < 256 ? nearest_name(name, candidate, &(Candidates){.s = s}) : NULL;
  return near ? err_hint(im->c, st, "did you mean '%s'?", near) : st;
}

/* A name that no other value has, made from want, and that nobody will make up. */
static const char *unique_name(Import *im, const char *want) {
  uintptr_t k = (uintptr_t)map_get(&im->used, want);
  if (name_made_up(want))
    return unique_name(im, arena_printf(im->a, "%s.", want));
  const char *name = want;
  if (k)
    do
      name = arena_printf(im->a, "%s.%llu", want, (unsigned long long)k++);
    while (map_get(&im->used, name));
  else
    name = arena_strdup(im->a, want);
  map_put(&im->used, name, (void *)(uintptr_t)1);
  if (k)
    map_put(&im->used, want, (void *)k);
  return name;
}

/* The name of the value that the file calls `name` in this scope; in the graph's arena or longer. */
static const char *value_name(Import *im, const Scope *s, const char *name) {
  if (name[0] == FRESH) {
    name = strchr(name, ':') + 1;
    return unique_name(im, s->frame->prefix ? arena_printf(im->a, "%s%s", s->frame->prefix, name) : name);
  }
  if (s->main)
    return name;
  return unique_name(im, s->frame->prefix ? arena_printf(im->a, "%s%s", s->frame->prefix, name) : name);
}

static void name_value(Import *im, Value *v, const char *name) { value_rename(v, arena_strdup(im->m->arena, name)); }

static const char *fresh_name(void *arg, const char *base) {
  Import *im = ((void **)arg)[0];
  const char *plain = base[0] == FRESH ? strchr(base, ':') + 1 : base;
  return arena_printf(im->a, "%c%u:%s", FRESH, im->fresh++, plain);
}

/* --- types --- */

/* What writers put where they know nothing: it names no symbol, as two of them need not be equal. */
static bool names_nothing(const char *param) {
  static const char *const none[] = {"", "?", "*", "None", "unk"};
  for (size_t i = 0; i < countof(none); i++)
    if (!strcmp(param, none[i]))
      return true;
  return false;
}

/* The number that the caller fixes a symbol to. */
static Dim bound(void *arg, Dim sym) {
  Import *im = arg;
  for (uint32_t i = 0; i < im->nbind; i++)
    if (!strcmp(im->bind[i].name, sym->name)) {
      im->bind[i].used = true;
      return dim_const(im->c, im->bind[i].value);
    }
  return NULL;
}

static Status import_dim(Import *im, const RawDim *d, const char *of, int i, Dim *out) {
  Ctx *c = im->c;
  *out = NULL;
  if (d->kind == RD_VALUE && d->value < -1)
    return fail(c, ST_INVALID, "dimension %d of '%s' is %lld", i, of, (long long)d->value);
  if (d->kind == RD_VALUE && d->value >= 0)
    *out = dim_const(c, d->value);
  else if (d->kind == RD_PARAM && !names_nothing(d->param))
    *out = dim_substitute(c, dim_parse(c, d->param, strlen(d->param)), bound, im);
  if (!*out || (*out)->hi < 0) /* unknown; several writers say -1 */
    *out = dim_fresh(c, arena_printf(im->a, "%.64s_dim%d", of, i));
  return ST_OK;
}

static Status import_type(Import *im, const RawType *r, const char *of, Type *t) {
  static const uint8_t kind[] = {[RT_SEQUENCE] = VK_SEQUENCE, [RT_OPTIONAL] = VK_OPTIONAL, [RT_MAP] = VK_MAP};
  Ctx *c = im->c;
  *t = (Type){.kind = VK_TENSOR, .rank = -1};
  if (!r || r->kind == RT_NONE)
    return ST_OK;
  if (r->kind == RT_SPARSE || r->kind == RT_OPAQUE)
    return fail(c, ST_UNSUPPORTED, "'%s' is %s", of, r->kind == RT_SPARSE ? "a sparse tensor" : "of an opaque type");
  if ((r->kind == RT_TENSOR || r->kind == RT_MAP) && r->elem_type && !dtype_valid(r->elem_type))
    return fail(c, ST_INVALID, "'%s' has the unknown element type %d", of, r->elem_type);
  if (r->kind == RT_TENSOR || r->kind == RT_MAP)
    t->dtype = (DType)r->elem_type;
  if (r->kind != RT_TENSOR) {
    t->kind = kind[r->kind];
    if (!r->elem || r->elem->kind == RT_NONE)
      return ST_OK;
    Type *e = arena_new(im->m->arena, Type);
    t->elem = e;
    return import_type(im, r->elem, of, e);
  }
  if (!r->has_shape)
    return ST_OK;
  if (r->ndim > MAX_RANK)
    return fail(c, ST_UNSUPPORTED, "'%s' has %u dimensions; at most %d are supported", of, r->ndim, MAX_RANK);
  t->rank = (int8_t)r->ndim;
  for (uint32_t i = 0; i < r->ndim; i++)
    TRY(import_dim(im, &r->dim[i], of, (int)i, &t->dim[i]));
  return ST_OK;
}

/* Gives v the type that the file declares for the name, if it does. */
static Status declare(Import *im, const Scope *s, Value *v, const char *name) {
  const RawType *r = map_get(&s->types, name);
  if (!r)
    return ST_OK;
  Type *t = arena_new(im->m->arena, Type);
  TRY(import_type(im, r, name, t));
  v->type = *t, v->declared = t;
  return ST_OK;
}

/* --- initializers and inputs --- */

static Status bind(Import *im, Scope *s, const char *name, Value *v) {
  if (map_put(&s->names, name, v))
    return fail(im->c, ST_INVALID, "the name '%s' is defined twice among inputs and initializers", name);
  return ST_OK;
}

static Status add_constant(Import *im, Scope *s, const char *name, const Tensor *t) {
  return bind(im, s, name, graph_add_const(s->g, value_name(im, s, name), t));
}

static Status check_default(Import *im, Value *v) {
  const Tensor *t = v->deflt;
  bool fits = v->type.kind == t->kind && (!v->type.dtype || v->type.dtype == t->dtype) &&
              (v->type.rank < 0 || v->type.rank == t->rank);
  for (int i = 0; fits && i < v->type.rank; i++)
    fits = v->type.dim[i]->kind != DIM_CONST || v->type.dim[i]->value == t->dim[i];
  char text[160];
  if (!fits)
    return fail(im->c, ST_INVALID, "input '%s' is declared as %s but its default value is %s", v->name,
                type_text(im->c, &v->type), tensor_type_text(t, text, sizeof text));
  if (!v->type.dtype)
    v->type.dtype = t->dtype;
  return ST_OK;
}

/* Initializers become constants, except those that are inputs too: from IR version 4 on they are defaults of inputs;
 * before, the list of inputs had to repeat all initializers, and they are constants. */
static Status import_inputs(Import *im, Scope *s, const RawGraph *r) {
  Map input, init;
  bool defaults = im->raw->ir_version >= 4;
  map_init(&input, im->a), map_init(&init, im->a);
  for (uint32_t i = 0; i < r->nin; i++)
    if (map_put(&input, r->in[i].name, (void *)(uintptr_t)(i + 1)))
      return fail(im->c, ST_INVALID, "two inputs are called '%s'", r->in[i].name);
  for (uint32_t i = 0; i < r->ninit + r->nsparse; i++) {
    const RawSparse *sp = i < r->ninit ? NULL : &r->sparse[i - r->ninit];
    const char *name = sp ? sp->values->name : r->init[i].name;
    const Tensor *t;
    TRY(sp ? weights_sparse(im->w, sp, &t) : weights_tensor(im->w, &r->init[i], &t));
    if (map_put(&init, name, (void *)(uintptr_t)t))
      return fail(im->c, ST_INVALID, "two initializers are called '%s'", name);
    if (!defaults || !map_get(&input, name))
      TRY(add_constant(im, s, name, t));
  }
  for (uint32_t i = 0; i < r->nin; i++) {
    const char *name = r->in[i].name;
    const Tensor *t = map_get(&init, name);
    if (t && !defaults)
      continue;
    if (!*name)
      return fail(im->c, ST_INVALID, "input %u has no name", i);
    Type type;
    TRY(import_type(im, r->in[i].type, name, &type));
    if (!s->g->owner && type.kind == VK_TENSOR && !type.dtype && !t && im->infer)
      return fail(im->c, ST_INVALID, "input '%s' has no element type", name);
    Value *v = graph_add_input(s->g, value_name(im, s, name), type);
    if (s->g->owner) {
      v->declared = arena_copy(im->m->arena, &type, sizeof type);
    } else if (t) {
      v->deflt = t;
      TRY(check_default(im, v));
    }
    TRY(bind(im, s, name, v));
  }
  return ST_OK;
}

/* --- nodes --- */

static Status import_nodes(Import *im, Scope *s, const RawNode *node, uint32_t n);
static Status import_body(Import *im, Scope *up, Node *owner, int which, const RawGraph *r);

/* Every node looks its domain up in the list, so that a long one is refused; no real model imports ten. */
static Status check_opsets(Ctx *c, const OpsetImport *opset, uint32_t n) {
  if (n > MAX_OPSETS)
    return fail(c, ST_INVALID, "%u opset imports; at most %d are accepted", n, MAX_OPSETS);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < i; j++)
      if (opset[i].version != opset[j].version && !strcmp(plain_domain(opset[i].domain), plain_domain(opset[j].domain)))
        return fail(c, ST_INVALID, "domain '%s' is imported twice, as opset %lld and as opset %lld", opset[i].domain,
                    (long long)opset[j].version, (long long)opset[i].version);
  return ST_OK;
}

static Status opset_of(Import *im, const Frame *f, const char *domain, int64_t *version) {
  domain = plain_domain(domain);
  for (uint32_t i = 0; i < f->nopset; i++)
    if (!strcmp(plain_domain(f->opset[i].domain), domain)) {
      *version = f->opset[i].version;
      if (*version < 1)
        return fail(im->c, ST_INVALID, "opset %lld of domain '%s' does not exist", (long long)*version, domain);
      return ST_OK;
    }
  for (uint32_t i = 0; f->fn && i < im->raw->nopset; i++)
    if (!strcmp(plain_domain(im->raw->opset[i].domain), domain))
      return opset_of(im, &(Frame){.opset = &im->raw->opset[i], .nopset = 1}, domain, version);
  if (im->raw->ir_version >= 3)
    return fail(im->c, ST_INVALID, "the model imports no opset for domain '%s'", domain);
  *version = 1; /* before IR version 3 there were no imports */
  return ST_OK;
}

static OpId find_op(const Import *im, const RawNode *n) {
  const char *domain = plain_domain(n->domain);
  return *domain ? op_find(domain, n->op) : (OpId)(uintptr_t)map_get(&im->ops, n->op);
}

static const char *op_name(void *arg, size_t i) {
  if (i + 1 >= op_count())
    return NULL;
  const OpInfo *op = op_info((OpId)(i + 1));
  return strcmp(op->domain, arg) ? "" : op->name;
}

static Status hint_opset(Ctx *c, Status st, int64_t opset) {
  if (!st || opset <= NEWEST_OPSET)
    return st;
  return err_hint(c, st, "the model needs opset %lld; opsets up to %d are known", (long long)opset, NEWEST_OPSET);
}

static Status unknown_op(Import *im, const RawNode *n, int64_t opset) {
  Ctx *c = im->c;
  const char *domain = plain_domain(n->domain);
  bool known = !*domain;
  Status st = fail(c, ST_UNSUPPORTED, "operator %s%s%s of %sopset %lld is not supported", domain, *domain ? "." : "",
                   n->op, *domain ? "" : "ai.onnx ", (long long)opset);
  const char *near = strlen(n->op) < 64 ? nearest_name(n->op, op_name, (void *)(uintptr_t)domain) : NULL;
  if (near && *near)
    return err_hint(c, st, "the nearest operator that is supported is %s", near);
  if (known)
    hint_opset(c, st, opset);
  return err_hint(c, st,
                  known ? "`sard ops` lists what is supported"
                        : "custom operators are not supported, unless the model defines them as functions");
}

/* The number of names without empty ones at the end. */
static uint32_t trimmed(const char *const *name, uint32_t n, int least) {
  while (n > (uint32_t)least && !*name[n - 1])
    n--;
  return n;
}

/* Outputs without unwanted ones at the end, but as many as inference functions rely on; where any number is possible,
 * how many there are says something (Split). */
static uint32_t count_outputs(const RawNode *r, const OpInfo *op) {
  uint32_t n = op->max_out == OP_VARIADIC ? r->nout : trimmed(r->out, r->nout, 0);
  return n < (uint32_t)op->min_out ? (uint32_t)op->min_out : n;
}

static Status check_arity(Import *im, const RawNode *n, OpId op, uint32_t nin, uint32_t nout, int64_t opset) {
  const OpInfo *info = op_info(op);
  Status st = ST_OK;
  if (nin < (uint32_t)info->min_in || nin > (uint32_t)info->max_in)
    st = fail(im->c, ST_INVALID, "%s has %u inputs here; it takes %d to %d", n->op, nin, info->min_in, info->max_in);
  else if (nout > (uint32_t)info->max_out)
    st = fail(im->c, ST_INVALID, "%s has %u outputs here; it makes at most %d", n->op, nout, info->max_out);
  return hint_opset(im->c, st, opset);
}

static Status set_inputs(Import *im, const Scope *s, const RawNode *r, Node *n) {
  for (uint32_t i = 0; i < n->nin; i++) {
    if (!*r->in[i])
      continue;
    Value *v = lookup(s, r->in[i]);
    if (!v)
      return undefined(im, s, "input", r->in[i]);
    if (v != absent)
      node_set_input(n, (int)i, v);
  }
  return ST_OK;
}

static Status set_outputs(Import *im, Scope *s, const RawNode *r, Node *n) {
  for (uint32_t i = 0; i < n->nout; i++) {
    if (i >= r->nout || !*r->out[i]) {
      n->out[i] = NULL;
      continue;
    }
    name_value(im, n->out[i], value_name(im, s, r->out[i]));
    TRY(declare(im, s, n->out[i], r->out[i]));
    map_put(&s->names, r->out[i], n->out[i]);
  }
  return ST_OK;
}

/* Attributes and bodies of r. Without inference, what a newer opset has changed is not known rather than wrong. */
static Status read_form(Import *im, const RawNode *r, OpId *op, uint32_t nin, uint32_t nout, int64_t opset, void **attr,
                        const RawGraph **body) {
  if (!*op)
    return im->infer ? unknown_op(im, r, opset) : ST_OK;
  Status st = check_arity(im, r, *op, nin, nout, opset);
  if (!st)
    st = hint_opset(im->c, import_attrs(im->c, im->a, im->w, r, *op, attr, body), opset);
  if (!st || im->infer || opset <= NEWEST_OPSET)
    return st;
  *op = OP_none, *attr = NULL, body[0] = body[1] = NULL;
  return ST_OK;
}

/* One node in newest form; op OP_none: an operator that is not known (without inference only). */
static Status add_node(Import *im, Scope *s, const RawNode *r, OpId op, const Origin *origin, int64_t opset) {
  Ctx *c = im->c;
  if (!strcmp(r->op, "Constant") && !*plain_domain(r->domain)) {
    const Tensor *t;
    TRY(import_constant(c, im->a, im->w, r, im->m->arena, &t));
    return *r->out[0] ? add_constant(im, s, r->out[0], t) : ST_OK;
  }
  const RawGraph *body[2] = {0};
  void *attr = NULL;
  uint32_t nin = trimmed(r->in, r->nin, op_info(op)->min_in), nout = count_outputs(r, op_info(op));
  TRY(read_form(im, r, &op, nin, nout, opset, &attr, body));
  if (nin >= OP_VARIADIC || nout >= OP_VARIADIC)
    return fail(c, ST_UNSUPPORTED, "more than %d inputs or outputs", OP_VARIADIC - 1);
  if (body[0])
    TRY(control_arity(c, op, attr, body[0]->nout, nin, &nout));
  Node *n = graph_add_node(s->g, NULL, op, (int)nin, (int)nout, attr, origin);
  TRY(set_inputs(im, s, r, n));
  for (int b = 0; b < 2 && body[b]; b++)
    TRY(import_body(im, s, n, b, body[b]));
  TRY(set_outputs(im, s, r, n));
  return im->infer ? control_tolerate(n, node_infer(c, n)) : ST_OK;
}

static const Type *known_type(void *arg, const char *name) {
  const Value *v = lookup(((void **)arg)[1], name);
  return v && v != absent ? &v->type : NULL;
}

static const Tensor *known_constant(void *arg, const char *name) {
  const Value *v = lookup(((void **)arg)[1], name);
  return v ? v->konst : NULL;
}

/* --- Gradient --- */

static const RawAttr *attr_of(const RawNode *n, const char *name, RawAttrType type) {
  for (uint32_t i = 0; i < n->nattr; i++)
    if (!strcmp(n->attr[i].name, name) && n->attr[i].type == type)
      return &n->attr[i];
  return NULL;
}

/* The tensors that the attributes name become inputs too: behind the values come xs, zs and y. */
static Status import_gradient(Import *im, Scope *s, const RawNode *r, const Origin *origin, int64_t opset) {
  const RawAttr *list[2] = {attr_of(r, "xs", RA_STRINGS), attr_of(r, "zs", RA_STRINGS)};
  const RawAttr *y = attr_of(r, "y", RA_STRING);
  RawNode n = *r;
  const char **in =
      arena_array(im->a, const char *, (size_t)r->nin + (list[0] ? list[0]->n : 0) + (list[1] ? list[1]->n : 0) + 1);
  for (uint32_t i = 0; i < r->nin; i++)
    in[i] = r->in[i];
  for (int k = 0; k < 2; k++)
    for (uint32_t i = 0; list[k] && i < list[k]->n; i++)
      in[n.nin++] = arena_strndup(im->a, list[k]->strings[i].ptr, list[k]->strings[i].len);
  if (y)
    in[n.nin++] = arena_strndup(im->a, y->s.ptr, y->s.len);
  n.in = in;
  return add_node(im, s, &n, OP_Gradient, origin, opset);
}

static Status import_operator(Import *im, Scope *s, const RawNode *r, const Origin *origin) {
  int64_t opset;
  TRY(opset_of(im, s->frame, r->domain, &opset));
  if (raw_is_gradient(r))
    return import_gradient(im, s, r, origin, opset);
  bool ours = !*plain_domain(r->domain) || !strcmp(r->domain, "ai.onnx.ml"); /* which share no names */
  bool theirs = microsoft_wanted(plain_domain(r->domain), r->op);
  if (r->newest || (!theirs && (!ours || !upgrade_wanted(r->op, opset))))
    return add_node(im, s, r, find_op(im, r), origin, opset);
  void *arg[2] = {im, s};
  Upgrade *u = arena_new(im->a, Upgrade);
  *u = (Upgrade){.c = im->c,
                 .a = im->a,
                 .keep = im->m->arena,
                 .n = *r,
                 .type = known_type,
                 .konst = known_constant,
                 .fresh = fresh_name,
                 .arg = arg};
  Status st = theirs ? microsoft_node(u) : upgrade_node(u, opset);
  if (st == ST_UNSUPPORTED && !im->infer)
    return add_node(im, s, r, OP_none, origin, opset);
  if (st)
    return st;
  for (uint32_t i = 0; i < u->nbefore; i++)
    TRY(add_node(im, s, &u->before[i], find_op(im, &u->before[i]), origin, opset));
  TRY(add_node(im, s, &u->n, find_op(im, &u->n), origin, opset));
  for (uint32_t i = 0; i < u->nafter; i++)
    TRY(add_node(im, s, &u->after[i], find_op(im, &u->after[i]), origin, opset));
  return ST_OK;
}

/* --- calls of functions --- */

static Status bind_parameters(Import *im, const Scope *s, const RawNode *call, Scope *inner) {
  const RawFunction *fn = inner->frame->fn;
  if (call->nin > fn->nin || call->nout > fn->nout)
    return fail(im->c, ST_INVALID, "function %s takes %u inputs and gives %u outputs; here it has %u and %u", fn->name,
                fn->nin, fn->nout, call->nin, call->nout);
  for (uint32_t i = 0; i < fn->nin; i++) {
    Value *v = absent;
    if (i < call->nin && *call->in[i] && !(v = lookup(s, call->in[i])))
      return undefined(im, s, "input", call->in[i]);
    if (map_put(&inner->names, fn->in[i], v))
      return fail(im->c, ST_INVALID, "two inputs of function %s are called '%s'", fn->name, fn->in[i]);
  }
  return ST_OK;
}

/* Outputs of the call take over the values the body made; what it only handed through gets an Identity. */
static Status bind_results(Import *im, Scope *s, const RawNode *call, const Scope *inner, uint32_t first_id,
                           const Origin *origin) {
  const RawFunction *fn = inner->frame->fn;
  Map taken;
  map_init(&taken, im->a);
  for (uint32_t i = 0; i < call->nout; i++) {
    if (!*call->out[i])
      continue;
    Value *v = lookup(inner, fn->out[i]);
    if (!v || v == absent)
      return undefined(im, inner, "function output", fn->out[i]);
    if (v->id < first_id || map_put(&taken, fn->out[i], v)) {
      v = graph_emit(s->g, NULL, OP_Identity, NULL, origin, 1, &v);
      if (im->infer)
        TRY(node_infer(im->c, v->def));
    }
    name_value(im, v, value_name(im, s, call->out[i]));
    if (!im->infer)
      TRY(declare(im, s, v, call->out[i]));
    map_put(&s->names, call->out[i], v);
  }
  return ST_OK;
}

static Status import_call(Import *im, Scope *s, const RawNode *call, const RawFunction *fn, const Origin *origin) {
  Frame f = {.opset = fn->opset,
             .nopset = fn->nopset,
             .fn = fn,
             .call = call,
             .origin = origin,
             .prefix = arena_printf(im->a, "%s/", origin->node)};
  Scope inner = {.frame = &f, .g = s->g};
  uint32_t first_id = *s->g->next_id;
  map_init(&inner.names, im->a), map_init(&inner.types, im->a);
  TRY(bind_parameters(im, s, call, &inner));
  if (++im->depth > MAX_NESTING)
    return fail(im->c, ST_INVALID, "functions and bodies are nested more than %d deep", MAX_NESTING);
  TRY(import_nodes(im, &inner, fn->node, fn->nnode));
  im->depth--;
  return bind_results(im, s, call, &inner, first_id, origin);
}

/* --- FlexAttention --- */

typedef struct FlexCall {
  Import *im; /* these two first, as known_type and fresh_name take them */
  Scope *s;
  const Origin *origin;
} FlexCall;

static Status flex_node(void *arg, const RawNode *n) {
  FlexCall *f = arg;
  return add_node(f->im, f->s, n, find_op(f->im, n), f->origin, NEWEST_OPSET);
}

/* A graph of one input in place of a node, in a scope of its own. */
static Status flex_graph(void *arg, const RawGraph *r, const char *in, const char *out) {
  FlexCall *f = arg;
  Scope inner = {.up = f->s, .frame = f->s->frame, .g = f->s->g};
  RawGraph constants = *r;
  constants.nin = 0;
  map_init(&inner.names, f->im->a), map_init(&inner.types, f->im->a);
  TRY(import_inputs(f->im, &inner, &constants));
  TRY(bind(f->im, &inner, r->in[0].name, lookup(f->s, in)));
  if (++f->im->depth > MAX_NESTING)
    return fail(f->im->c, ST_INVALID, "functions and bodies are nested more than %d deep", MAX_NESTING);
  TRY(import_nodes(f->im, &inner, r->node, r->nnode));
  f->im->depth--;
  Value *v = lookup(&inner, r->out[0].name);
  if (!v || v == absent)
    return undefined(f->im, &inner, "graph output", r->out[0].name);
  map_put(&f->s->names, out, v);
  return ST_OK;
}

static Status import_flex(Import *im, Scope *s, const RawNode *r, const Origin *origin) {
  FlexCall call = {im, s, origin};
  FlexSink to = {known_type, fresh_name, flex_node, flex_graph, &call};
  return flex_expand(im->c, im->a, r, &to);
}

/* The attributes of r, with references resolved in functions and refused elsewhere. */
static Status own_attrs(Import *im, const Frame *f, const RawNode *r, RawNode *own) {
  *own = *r;
  if (r->nattr > MAX_ATTRS)
    return fail(im->c, ST_INVALID, "%u attributes; at most %d are supported", r->nattr, MAX_ATTRS);
  if (f->fn)
    return function_attrs(im->c, im->a, f->fn, f->call, r, own);
  for (uint32_t i = 0; i < r->nattr; i++)
    if (*r->attr[i].ref)
      return fail(im->c, ST_INVALID, "attribute '%s' refers to an attribute of a function, outside of one",
                  r->attr[i].name);
  return ST_OK;
}

static Status import_node(Import *im, Scope *s, const RawNode *r, uint32_t index) {
  const Frame *f = s->frame;
  const Origin *origin = import_origin(s->g, im->a, r, index, f->prefix, f->origin);
  NodePlace before = origin_enter(im->c, origin);
  RawNode own;
  Status st = own_attrs(im, f, r, &own);
  const RawFunction *fn = st ? NULL : functions_find(im->fs, &own);
  if (!st)
    st = fn                           ? import_call(im, s, &own, fn, origin)
         : im->infer && flex_is(&own) ? import_flex(im, s, &own, origin)
                                      : import_operator(im, s, &own, origin);
  im->c->place = before;
  return st ? err_origin(im->c, st, origin) : ST_OK;
}

static Status import_nodes(Import *im, Scope *s, const RawNode *node, uint32_t n) {
  uint32_t *order;
  TRY(order_nodes(im->c, im->a, node, n, &s->names, &order));
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = order ? order[i] : i;
    if (!(i & 63))
      TRY(ctx_poll(im->c));
    TRY(import_node(im, s, &node[k], k));
  }
  return ST_OK;
}

/* --- graphs --- */

static Status import_outputs(Import *im, Scope *s, const RawGraph *r) {
  Map seen;
  map_init(&seen, im->a);
  for (uint32_t i = 0; i < r->nout; i++) {
    const char *name = r->out[i].name;
    if (map_put(&seen, name, s) && s->main)
      return fail(im->c, ST_INVALID, "two outputs are called '%s'", name);
    Value *v = lookup(s, name);
    if (!v || v == absent)
      return undefined(im, s, "graph output", name);
    if (s->g->owner && !map_get(&s->names, name)) { /* a body hands out a value of an enclosing graph */
      v = graph_emit(s->g, NULL, OP_Identity, NULL, s->g->owner->origin, 1, &v);
      name_value(im, v, unique_name(im, name));
      if (im->infer)
        TRY(node_infer(im->c, v->def));
    }
    graph_add_output(s->g, v);
  }
  return ST_OK;
}

static Status import_graph(Import *im, Scope *s, const RawGraph *r) {
  map_init(&s->names, im->a), map_init(&s->types, im->a);
  for (uint32_t i = 0; i < r->ninfo; i++)
    if (r->info[i].type)
      map_put(&s->types, r->info[i].name, (void *)(uintptr_t)r->info[i].type);
  for (uint32_t i = 0; i < r->nout; i++)
    if (r->out[i].type)
      map_put(&s->types, r->out[i].name, (void *)(uintptr_t)r->out[i].type);
  TRY(import_inputs(im, s, r));
  if (s->g->owner)
    TRY(control_enter(im->c, s->g));
  TRY(import_nodes(im, s, r->node, r->nnode));
  TRY(import_outputs(im, s, r));
  return s->g->owner ? control_leave(im->c, s->g, im->infer) : ST_OK;
}

static Status import_body(Import *im, Scope *up, Node *owner, int which, const RawGraph *r) {
  Scope s = {.up = up, .frame = up->frame, .g = graph_create_body(owner, which, r->name)};
  if (++im->depth > MAX_NESTING)
    return fail(im->c, ST_INVALID, "functions and bodies are nested more than %d deep", MAX_NESTING);
  TRY(import_graph(im, &s, r));
  im->depth--;
  return ST_OK;
}

/* --- the model --- */

static MetaEntry *copy_meta(Arena *a, const MetaEntry *m, uint32_t n) {
  MetaEntry *r = arena_array(a, MetaEntry, n);
  for (uint32_t i = 0; i < n; i++)
    r[i] = (MetaEntry){arena_strdup(a, m[i].key), arena_strdup(a, m[i].value)};
  return r;
}

static void copy_header(Model *m, const RawModel *raw) {
  Arena *a = m->arena;
  m->ir_version = raw->ir_version, m->model_version = raw->model_version;
  m->producer = arena_strdup(a, raw->producer);
  m->producer_version = arena_strdup(a, raw->producer_version);
  m->domain = arena_strdup(a, raw->domain);
  m->doc = arena_strdup(a, raw->doc);
  m->meta = copy_meta(a, raw->meta, raw->nmeta), m->nmeta = raw->nmeta;
  m->opset = arena_array(a, OpsetImport, raw->nopset), m->nopset = raw->nopset;
  for (uint32_t i = 0; i < raw->nopset; i++)
    m->opset[i] = (OpsetImport){arena_strdup(a, plain_domain(raw->opset[i].domain)), raw->opset[i].version};
  m->graph->name = arena_strdup(a, raw->graph->name);
}

typedef struct Names {
  Map *used;
  uint64_t underscores; /* bit k: there is a name of k underscores and a number */
} Names;

static void reserve(Names *n, const char *name) {
  map_put(n->used, name, (void *)(uintptr_t)1);
  n->underscores |= (uint64_t)1 << name_made_up(name);
}

/* Names of the outermost graph stay as they are; all others are made to differ from them. */
static void reserve_names(Import *im, const RawGraph *g) {
  Names n = {.used = &im->used};
  for (uint32_t i = 0; i < g->nin; i++)
    reserve(&n, g->in[i].name);
  for (uint32_t i = 0; i < g->ninit; i++)
    reserve(&n, g->init[i].name);
  for (uint32_t i = 0; i < g->nsparse; i++)
    reserve(&n, g->sparse[i].values->name);
  for (uint32_t i = 0; i < g->nnode; i++)
    for (uint32_t k = 0; k < g->node[i].nout; k++)
      reserve(&n, g->node[i].out[k]);
  while (im->m->graph->underscores < 63 && n.underscores >> im->m->graph->underscores & 1)
    im->m->graph->underscores++;
}

Status import_model(Ctx *c, Arena *a, const RawModel *raw, Weights *w, const LoadOptions *o, Model *m) {
  Import im = {.c = c, .a = a, .m = m, .raw = raw, .w = w, .infer = !o || !o->no_infer};
  if (o)
    im.bind = o->bind, im.nbind = o->nbind;
  Frame f = {.opset = raw->opset, .nopset = raw->nopset};
  Scope s = {.frame = &f, .g = m->graph, .main = true};
  copy_header(m, raw);
  map_init(&im.used, a), map_init(&im.ops, a);
  for (OpId i = 1; i < op_count(); i++)
    if (!*op_info(i)->domain)
      map_put(&im.ops, op_info(i)->name, (void *)(uintptr_t)i);
  TRY(check_opsets(c, raw->opset, raw->nopset));
  for (uint32_t i = 0; i < raw->nfunction; i++)
    TRY(check_opsets(c, raw->function[i].opset, raw->function[i].nopset));
  TRY(functions_open(c, a, raw, o && o->max_nodes ? o->max_nodes : DEFAULT_MAX_NODES, &im.fs));
  import_ranges(c, a, raw->graph);
  reserve_names(&im, raw->graph);
  return import_graph(&im, &s, raw->graph);
}
