/* interp.h - runs a graph with the reference evaluators: what the passes' tests compare before and after with. Nodes in
 * order, Dims from the symbols that the inputs bind, If by its condition, Loop and Scan trip by trip.
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
  if ((sym->kind == DIM_ADD || sym->kind == DIM_MUL) && sym->n == 2 && sym->arg[0]->kind == DIM_CONST) /* 4*h + 1 */
    interp_bind(x, sym->arg[1], sym->kind == DIM_ADD ? v - sym->arg[0]->value : v / sym->arg[0]->value);
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

/* What a loop has put aside: values of one shape, trip by trip. */
typedef struct Shelf {
  const Tensor **v;
  int64_t n, cap;
} Shelf;

static void shelf_put(Arena *a, Shelf *s, const Tensor *t) {
  if (s->n == s->cap) {
    const Tensor **v = arena_array(a, const Tensor *, 2 * s->cap + 8);
    for (int64_t i = 0; i < s->n; i++)
      v[i] = s->v[i];
    s->v = v, s->cap = 2 * s->cap + 8;
  }
  s->v[s->n++] = t;
}

/* Copies between the slices of `whole` at `at` along axis, and `part`, which has no such axis. Elements of whole bytes. */
static void interp_slice(const Tensor *whole, int axis, int64_t at, const Tensor *part, bool in) {
  size_t inner = (size_t)dtype_bits(whole->dtype) / 8;
  int64_t outer = 1;
  for (int i = 0; i < whole->rank; i++)
    if (i < axis)
      outer *= whole->dim[i];
    else if (i > axis)
      inner *= (size_t)whole->dim[i];
  for (int64_t o = 0; o < outer; o++) {
    char *w = (char *)whole->data + ((size_t)(o * whole->dim[axis] + at)) * inner,
         *p = (char *)part->data + (size_t)o * inner;
    memcpy(in ? w : p, in ? p : w, inner);
  }
}

/* The values of a shelf along a new axis; an empty one has `like` for a shape, every unknown extent of which is an error. */
static Status interp_stack(Interp *x, const Shelf *s, const Value *like, int axis, bool backward, Tensor **out) {
  int64_t dim[MAX_RANK];
  int rank = s->n ? s->v[0]->rank : like->type.rank;
  axis += axis < 0 ? rank + 1 : 0;
  for (int i = 0; i < rank; i++)
    if (s->n)
      dim[i + (i >= axis)] = s->v[0]->dim[i];
    else if (!dim_eval(like->type.dim[i], interp_get, x, &dim[i + (i >= axis)]))
      return fail(x->c, ST_UNSUPPORTED, "no trips, and the shape is not known");
  dim[axis] = s->n;
  TRY(tensor_new(x->c, x->a, like->type.dtype, rank + 1, dim, out));
  for (int64_t t = 0; t < s->n; t++) {
    if (!tensor_same_shape(s->v[t], s->v[0]))
      return fail(x->c, ST_INVALID, "what is stacked has several shapes");
    interp_slice(*out, axis, backward ? s->n - 1 - t : t, s->v[t], true);
  }
  return ST_OK;
}

static Status interp_loop(Interp *x, const Node *n, const Tensor *const *in, Tensor **out) {
  const Graph *b = n->body[0];
  int64_t trips = in[0] ? elem_i64(DT_i64, in[0]->data, 0) : INT64_MAX, zero = 0;
  int carried = n->nin - 2;
  const Tensor *go = in[1];
  Shelf *shelf = arena_array(x->a, Shelf, n->nout);
  for (int i = 0; i < carried; i++)
    out[i] = (Tensor *)(uintptr_t)in[i + 2];
  for (int64_t t = 0; t < trips && (!go || elem_i64(DT_bool, go->data, 0)); t++) {
    Tensor *trip = tensor_vec_i64(x->a, &zero, 1);
    trip->rank = 0, ((int64_t *)trip->data)[0] = t;
    x->value[b->in[0]->id] = trip;
    x->value[b->in[1]->id] = (Tensor *)(uintptr_t)go;
    for (int i = 0; i < carried; i++)
      x->value[b->in[i + 2]->id] = out[i];
    TRY(interp_graph(x, b));
    go = interp_value(x, b->out[0]);
    for (int i = 0; i < carried; i++)
      out[i] = (Tensor *)(uintptr_t)interp_value(x, b->out[i + 1]);
    for (int i = carried; i < n->nout; i++)
      shelf_put(x->a, &shelf[i], interp_value(x, b->out[i + 1]));
  }
  for (int i = carried; i < n->nout; i++)
    TRY(interp_stack(x, &shelf[i], b->out[i + 1], 0, false, &out[i]));
  return ST_OK;
}

static int64_t listed(const Ints *v, int64_t i) { return v->v ? v->v[i] : 0; }

static Status interp_scan(Interp *x, const Node *n, const Tensor *const *in, Tensor **out) {
  const ScanAttr *at = ATTR(n, Scan);
  const Graph *b = n->body[0];
  int scanned = (int)at->num_scan_inputs, state = n->nin - scanned;
  int64_t trips = -1;
  Shelf *shelf = arena_array(x->a, Shelf, n->nout);
  for (int i = 0; i < state; i++)
    out[i] = (Tensor *)(uintptr_t)in[i];
  for (int k = 0; k < scanned; k++) {
    const Tensor *t = in[state + k];
    int64_t axis = listed(&at->scan_input_axes, k), extent = t->dim[axis + (axis < 0 ? t->rank : 0)];
    if (trips >= 0 && trips != extent)
      return fail(x->c, ST_INVALID, "scan inputs of several lengths");
    trips = extent;
  }
  for (int64_t trip = 0; trip < trips; trip++) {
    for (int i = 0; i < state; i++)
      x->value[b->in[i]->id] = out[i];
    for (int k = 0; k < scanned; k++) {
      const Tensor *t = in[state + k];
      int axis = (int)listed(&at->scan_input_axes, k), rank = 0;
      int64_t dim[MAX_RANK];
      Tensor *part;
      axis += axis < 0 ? t->rank : 0;
      for (int i = 0; i < t->rank; i++)
        if (i != axis)
          dim[rank++] = t->dim[i];
      TRY(tensor_new(x->c, x->a, t->dtype, rank, dim, &part));
      interp_slice(t, axis, listed(&at->scan_input_directions, k) ? trips - 1 - trip : trip, part, false);
      x->value[b->in[state + k]->id] = part;
    }
    TRY(interp_graph(x, b));
    for (int i = 0; i < state; i++)
      out[i] = (Tensor *)(uintptr_t)interp_value(x, b->out[i]);
    for (int i = state; i < n->nout; i++)
      shelf_put(x->a, &shelf[i], interp_value(x, b->out[i]));
  }
  for (int i = state; i < n->nout; i++)
    TRY(interp_stack(x, &shelf[i], b->out[i], (int)listed(&at->scan_output_axes, i - state),
                     listed(&at->scan_output_directions, i - state), &out[i]));
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
  } else if (n->op == OP_Scan) {
    TRY(interp_scan(x, n, in, out));
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
