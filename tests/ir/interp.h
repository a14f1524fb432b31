/* interp.h - runs a graph with the reference evaluators: what the passes' tests compare before and after with. Nodes in
 * order, Dims from the symbols that the inputs bind, If by its condition, Loop without scan outputs trip by trip.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_IR_INTERP_H
#define TESTS_IR_INTERP_H

#include "ir/graph.h"
#include "ops/eval/eval.h"
#include "ops/ops.h"

#include <string.h>

typedef struct Interp {
  Ctx *c;
  Arena *a;
  Tensor **value; /* by value id */
  Dim sym[64];    /* bound symbols */
  int64_t extent[64];
  int nsym;
  void (*after)(void *arg, const Node *n,
                Tensor *t); /* may change what an operator has computed; NULL: nothing to do */
  void *arg;
} Interp;

static bool interp_get(void *arg, Dim sym, int64_t *v) {
  Interp *x = arg;
  for (int i = 0; i < x->nsym; i++)
    if (x->sym[i] == sym) {
      *v = x->extent[i];
      return true;
    }
  return false;
}

static void interp_bind(Interp *x, Dim sym, int64_t v) {
  int64_t have;
  if (sym->kind == DIM_SYM && !interp_get(x, sym, &have) && x->nsym < 64)
    x->sym[x->nsym] = sym, x->extent[x->nsym++] = v;
}

static Status interp_alloc(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out) {
  (void)i;
  return tensor_new(e->c, e->keep, t, rank, dim, out);
}

static const Tensor *interp_value(Interp *x, const Value *v) {
  return !v ? NULL : v->konst ? v->konst : x->value[v->id];
}

static Status interp_graph(Interp *x, const Graph *g);

/* The type that inference gave must fit what the run gives: the extents are equal under the binding. */
static Status interp_check(Interp *x, const Value *v, const Tensor *t) {
  char text[200];
  if (t->kind != VK_TENSOR || v->type.rank < 0)
    return ST_OK;
  if (v->type.rank != t->rank || (v->type.dtype && v->type.dtype != t->dtype))
    return fail(x->c, ST_INTERNAL, "%%%s is %s, not %s", v->name, tensor_type_text(t, text, sizeof text),
                type_text(x->c, &v->type));
  for (int i = 0; i < t->rank; i++) {
    int64_t want;
    interp_bind(x, v->type.dim[i], t->dim[i]);
    if (dim_eval(v->type.dim[i], interp_get, x, &want) && want != t->dim[i])
      return fail(x->c, ST_INTERNAL, "%%%s is %s, not %s", v->name, tensor_type_text(t, text, sizeof text),
                  type_text(x->c, &v->type));
  }
  return ST_OK;
}

static Status interp_dims(Interp *x, const Node *n, Tensor **out) {
  const DimsAttr *a = ATTR(n, Dims);
  TRY(tensor_new(x->c, x->a, (DType)a->dtype, (int)a->rank, &a->dims.n, out));
  for (int64_t i = 0; i < a->dims.n; i++) {
    int64_t v;
    if (!dim_eval(a->dims.v[i], interp_get, x, &v))
      return fail(x->c, ST_INTERNAL, "%s is not bound", dim_text(x->c, a->dims.v[i]));
    elem_set_i64((DType)a->dtype, (*out)->data, i, v);
  }
  return ST_OK;
}

/* Carried values only: as many outputs as there are of those. */
static Status interp_loop(Interp *x, const Node *n, const Tensor *const *in, Tensor **out) {
  const Graph *b = n->body[0];
  int64_t trips = in[0] ? elem_i64(DT_i64, in[0]->data, 0) : INT64_MAX, one = 1;
  const Tensor *go = in[1];
  if (b->nout != n->nout + 1u || n->nin != n->nout + 2)
    return fail(x->c, ST_UNSUPPORTED, "a Loop with scan outputs");
  for (int i = 0; i < n->nout; i++)
    out[i] = (Tensor *)(uintptr_t)in[i + 2];
  for (int64_t t = 0; t < trips && (!go || elem_i64(DT_bool, go->data, 0)); t++) {
    Tensor *trip = tensor_vec_i64(x->a, &one, 1);
    trip->rank = 0, ((int64_t *)trip->data)[0] = t;
    x->value[b->in[0]->id] = trip;
    x->value[b->in[1]->id] = (Tensor *)(uintptr_t)go;
    for (int i = 0; i < n->nout; i++)
      x->value[b->in[i + 2]->id] = out[i];
    TRY(interp_graph(x, b));
    go = interp_value(x, b->out[0]);
    for (int i = 0; i < n->nout; i++)
      out[i] = (Tensor *)(uintptr_t)interp_value(x, b->out[i + 1]);
  }
  return ST_OK;
}

static Status interp_node(Interp *x, const Node *n) {
  const Tensor **in = arena_array(x->a, const Tensor *, n->nin);
  Tensor **out = arena_array(x->a, Tensor *, n->nout);
  bool *wanted = arena_array(x->a, bool, n->nout);
  for (int i = 0; i < n->nin; i++)
    in[i] = interp_value(x, n->in[i]);
  for (int i = 0; i < n->nout; i++)
    wanted[i] = n->out[i];
  if (n->op == OP_Dims) {
    TRY(interp_dims(x, n, &out[0]));
  } else if (n->op == OP_If) {
    const Graph *b = n->body[elem_i64(DT_bool, in[0]->data, 0) ? 0 : 1];
    TRY(interp_graph(x, b));
    for (int i = 0; i < n->nout; i++)
      out[i] = (Tensor *)(uintptr_t)interp_value(x, b->out[i]);
  } else if (n->op == OP_Loop) {
    TRY(interp_loop(x, n, in, out));
  } else {
    Eval e = {.c = x->c,
              .op = n->op,
              .nin = n->nin,
              .nout = n->nout,
              .in = in,
              .out = out,
              .wanted = wanted,
              .attr = n->attr,
              .scratch = x->a,
              .keep = x->a,
              .alloc = interp_alloc};
    EvalFn fn = eval_find(n->op);
    if (!fn)
      return fail(x->c, ST_UNSUPPORTED, "%s has no evaluator", op_info(n->op)->name);
    Status st = fn(&e);
    if (st)
      return err_origin(x->c, st, n->origin);
    for (int i = 0; i < n->nout && x->after; i++)
      if (out[i])
        x->after(x->arg, n, out[i]);
  }
  for (int i = 0; i < n->nout; i++)
    if (n->out[i]) {
      x->value[n->out[i]->id] = out[i];
      TRY(interp_check(x, n->out[i], out[i]));
    }
  return ST_OK;
}

static Status interp_graph(Interp *x, const Graph *g) {
  for (const Node *n = g->first; n; n = n->next)
    TRY(interp_node(x, n));
  return ST_OK;
}

/* Runs g on the inputs; result[i] is output i, in arena a. */
static Status interp_run_with(Ctx *c, Arena *a, const Graph *g, Tensor *const *input, const Tensor **result,
                              void (*after)(void *arg, const Node *n, Tensor *t), void *arg) {
  Interp x = {.c = c, .a = a, .after = after, .arg = arg, .value = arena_array(a, Tensor *, *g->next_id)};
  for (uint32_t i = 0; i < g->nin; i++) {
    x.value[g->in[i]->id] = input[i];
    TRY(interp_check(&x, g->in[i], input[i]));
  }
  TRY(interp_graph(&x, g));
  for (uint32_t i = 0; i < g->nout; i++)
    result[i] = interp_value(&x, g->out[i]);
  return ST_OK;
}

static inline Status interp_run(Ctx *c, Arena *a, const Graph *g, Tensor *const *input, const Tensor **result) {
  return interp_run_with(c, a, g, input, result, NULL, NULL);
}

#endif
