/* shapes.c - collapses the forests of Shape, Gather, Concat, … that compute shapes: an integer tensor whose elements
 * inference knows as dim expressions becomes a constant, or one Dims node; comparisons of such tensors that come out
 * the same for all values of the symbols are decided. Needs: types inferred. A Dims node uses only symbols that the
 * graph's inputs bind. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <string.h>

/* The elements of v as dims: known contents of an integer tensor. */
static bool contents(Ctx *c, const Value *v, const Dim **d, int64_t *n) {
  if (!v->content || !type_known(v) || (v->type.dtype != DT_i64 && v->type.dtype != DT_i32))
    return false;
  *d = v->content;
  return dim_is_const(type_count(c, &v->type), n) && *n <= MAX_CONTENT;
}

static Value *constant(Ctx *c, const Value *v, const Dim *d, int64_t n) {
  Graph *g = v->def->graph;
  int64_t shape[MAX_RANK];
  Tensor *t;
  for (int i = 0; i < v->type.rank; i++)
    if (!dim_is_const(v->type.dim[i], &shape[i]))
      return NULL;
  for (int64_t i = 0; i < n; i++)
    if (d[i]->kind != DIM_CONST)
      return NULL;
  if (tensor_new(c, g->arena, v->type.dtype, v->type.rank, shape, &t))
    return NULL;
  for (int64_t i = 0; i < n; i++)
    elem_set_i64(t->dtype, t->data, i, d[i]->value);
  return graph_add_const(g, NULL, t);
}

static Status dims_node(Ctx *c, Value *v, const Dim *d, int64_t n, Value **out) {
  Node *def = v->def;
  *out = NULL;
  if (v->type.rank > 1 || def->op == OP_Dims || !dims_bound(def->graph, d, (int)n, NULL))
    return ST_OK;
  DimsAttr a = {.dims = {d, n}, .rank = v->type.rank, .dtype = v->type.dtype};
  *out = graph_emit(def->graph, def, OP_Dims, &a, def->origin, 0, NULL);
  return node_infer(c, (*out)->def);
}

/* A comparison of a and b: 1, 0, or -1 when it depends on the symbols. */
static int decide(Ctx *c, OpId op, Dim a, Dim b) {
  Dim one = dim_const(c, 1);
  switch (op) {
  case OP_Equal: return a == b ? 1 : dim_differ(c, a, b) ? 0 : -1;
  case OP_GreaterOrEqual: return dim_at_least(c, a, b) ? 1 : dim_at_least(c, b, dim_add(c, a, one)) ? 0 : -1;
  case OP_LessOrEqual: return decide(c, OP_GreaterOrEqual, b, a);
  case OP_Greater: {
    int r = decide(c, OP_GreaterOrEqual, b, a);
    return r < 0 ? r : !r;
  }
  case OP_Less: return decide(c, OP_Greater, b, a);
  default: return -1;
  }
}

static bool compares(OpId op) {
  return op == OP_Equal || op == OP_Greater || op == OP_GreaterOrEqual || op == OP_Less || op == OP_LessOrEqual;
}

/* A constant bool when every element of the comparison is decided. Operands have one shape, or one of them one element.
 */
static Value *decided(Ctx *c, Node *n) {
  const Dim *a, *b;
  int64_t na, nb, shape[MAX_RANK];
  Value *v = n->out[0], *big;
  Tensor *t;
  if (!contents(c, n->in[0], &a, &na) || !contents(c, n->in[1], &b, &nb) || (na != nb && na != 1 && nb != 1))
    return NULL;
  if (na == nb && !same_shape(n->in[0], n->in[1]) && na != 1)
    return NULL;
  big = na >= nb ? n->in[0] : n->in[1];
  if (!type_is_static(&v->type) || v->type.rank != big->type.rank ||
      !dim_is(type_count(c, &v->type), na > nb ? na : nb))
    return NULL;
  for (int i = 0; i < v->type.rank; i++)
    dim_is_const(v->type.dim[i], &shape[i]);
  if (tensor_new(c, n->graph->arena, DT_bool, v->type.rank, shape, &t))
    return NULL;
  for (int64_t i = 0, m = tensor_count(t); i < m; i++) {
    int r = decide(c, n->op, a[na == 1 ? 0 : i], b[nb == 1 ? 0 : i]);
    if (r < 0)
      return NULL;
    elem_set_i64(DT_bool, t->data, i, r);
  }
  return graph_add_const(n->graph, NULL, t);
}

/* Where with a constant condition chooses among known elements. */
static bool choose(Ctx *c, Node *n) {
  const int64_t *pick;
  const Dim *a, *b;
  int64_t np, na, nb, nv;
  Value *v = n->out[0];
  if (v->content || !value_ints(n->in[0], &pick, &np, n->graph->arena) || !contents(c, n->in[1], &a, &na) ||
      !contents(c, n->in[2], &b, &nb) || !type_is_static(&v->type) || v->type.rank > 1 ||
      !dim_is_const(type_count(c, &v->type), &nv) || nv > MAX_CONTENT)
    return false;
  if ((np != nv && np != 1) || (na != nv && na != 1) || (nb != nv && nb != 1))
    return false;
  Dim *d = arena_array(n->graph->arena, Dim, (size_t)nv);
  for (int64_t i = 0; i < nv; i++)
    d[i] = pick[np == 1 ? 0 : i] ? a[na == 1 ? 0 : i] : b[nb == 1 ? 0 : i];
  v->content = d;
  return true;
}

static Status replace(Ctx *c, Value *v, Value *by) {
  ctx_log(c, 2, "shapes: %s '%s'", op_info(v->def->op)->name, v->def->origin->node);
  replace_value(v, by);
  return infer_users(c, by);
}

static Status simplify(Ctx *c, Node *n) {
  const Dim *d;
  int64_t k;
  if (compares(n->op) && n->out[0]) {
    Value *by = decided(c, n);
    if (by)
      return replace(c, n->out[0], by);
  }
  if (n->op == OP_Where && n->out[0] && choose(c, n))
    TRY(infer_users(c, n->out[0]));
  for (int i = 0; i < n->nout; i++) {
    Value *v = n->out[i], *by;
    if (!v || !v->uses || !contents(c, v, &d, &k))
      continue;
    if (!(by = constant(c, v, d, k)))
      TRY(dims_node(c, v, d, k, &by));
    if (by)
      TRY(replace(c, v, by));
  }
  return ST_OK;
}

static Status sweep(Ctx *c, Graph *g) {
  for (Node *n = g->first, *next; n; n = next) {
    next = n->next;
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(sweep(c, n->body[b]));
    if (op_info(n->op)->flags & (OPF_CONTROL | OPF_NONDET) || n->op == OP_Identity)
      continue;
    TRY(simplify(c, n));
    remove_dead(n);
  }
  return ctx_poll(c);
}

Status pass_shapes(Ctx *c, Graph *g) { return sweep(c, g); }
