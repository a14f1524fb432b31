/* control.c - type inference of If, Loop and Scan, bodies included.
 *
 * A body is inferred again only when the types it sees have changed: those of its inputs and of the outer values it
 * uses. So nested bodies cost time linear in their size times their depth, however often the driver passes.
 * A carried value whose shape a trip changes gets new symbols for the dimensions that change, and the body is inferred
 * again. What was found to change is remembered (Value.varies), so that each round at any depth loosens something for
 * good: 30 loops inside each other stay cheap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/control.h"

#include "ops/content.h"
#include "ops/ops.h"

#include <string.h>

enum { MAX_ROUNDS = 4 }; /* of one loop, before all its carried dimensions become symbols */

/* --- arity --- */

static uint32_t scan_inputs(const void *attr) {
  int64_t n = ((const ScanAttr *)attr)->num_scan_inputs;
  return n < 0 || n > OP_VARIADIC ? OP_VARIADIC : (uint32_t)n;
}

Status control_arity(Ctx *c, OpId op, const void *attr, uint32_t body_nout, uint32_t nin, uint32_t *nout) {
  uint32_t least = op == OP_Loop ? nin - 1 : op == OP_Scan ? nin - scan_inputs(attr) : 0;
  if (op == OP_Loop && nin < 2)
    return fail(c, ST_INVALID, "Loop needs the inputs M and cond, be they empty");
  if (op == OP_Scan && (scan_inputs(attr) < 1 || scan_inputs(attr) > nin))
    return fail(c, ST_INVALID, "num_scan_inputs is %lld with %u inputs",
                (long long)((const ScanAttr *)attr)->num_scan_inputs, nin);
  if (body_nout < least)
    return fail(c, ST_INVALID, "the body has %u outputs; it needs at least %u", body_nout, least);
  uint32_t n = op == OP_Loop ? body_nout - 1 : body_nout;
  if (*nout > n)
    return fail(c, ST_INVALID, "the node has %u outputs, its body gives %u", *nout, n);
  *nout = n;
  return ST_OK;
}

/* --- what a body sees --- */

static uint64_t hash_type(uint64_t h, const Type *t) {
  h = hash_bytes(&t->kind, 1, h);
  h = hash_bytes(&t->dtype, 1, h);
  h = hash_bytes(&t->rank, 1, h);
  if (t->rank > 0)
    h = hash_bytes(t->dim, (size_t)t->rank * sizeof t->dim[0], h); /* interned: the pointers are the values */
  return t->elem ? hash_type(h, t->elem) : h;
}

static uint64_t hash_value(uint64_t h, const Value *v) {
  int64_t n;
  h = hash_type(h, &v->type);
  if (v->content && v->type.kind == VK_TENSOR && v->type.rank >= 0 && v->type.rank <= 1) {
    n = 1;
    if (!v->type.rank || dim_is_const(v->type.dim[0], &n))
      h = hash_bytes(v->content, (size_t)n * sizeof *v->content, h);
  }
  return h;
}

/* Is v made outside of g? Constants never change; inputs do not say whose they are, so that all of them count. */
static bool is_outer(const Graph *g, const Value *v) {
  return v && !v->konst && (v->def ? !graph_encloses(g, v->def->graph) : true);
}

static uint64_t hash_captures(uint64_t h, const Graph *root, const Graph *g) {
  for (const Node *n = g->first; n; n = n->next) {
    for (int i = 0; i < n->nin; i++)
      if (is_outer(root, n->in[i]))
        h = hash_value(h, n->in[i]);
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        h = hash_captures(h, root, n->body[b]);
  }
  return h;
}

static uint64_t seen_by(const Graph *g) {
  uint64_t h = 1;
  for (uint32_t i = 0; i < g->nin; i++)
    h = hash_value(h, g->in[i]);
  h = hash_captures(h, g, g);
  return h ? h : 1;
}

static void forget_types(Graph *g) {
  for (Node *n = g->first; n; n = n->next)
    for (int i = 0; i < n->nout; i++)
      if (n->out[i]) {
        n->out[i]->type = n->out[i]->declared ? *n->out[i]->declared : (Type){.kind = VK_TENSOR, .rank = -1};
        if (!n->out[i]->told) /* symbols of its own stay: the same body gives the same types */
          n->out[i]->content = NULL;
      }
}

Status control_tolerate(Node *n, Status st) {
  if (st != ST_INVALID)
    return st;
  for (Graph *g = n->graph; g->owner; g = g->up)
    if (g->owner->op == OP_If) {
      g->impossible = true;
      return ST_OK;
    }
  return st;
}

static Status infer_body(Ctx *c, Graph *g) {
  if (g->typed && g->typed == seen_by(g))
    return ST_OK;
  if (g->typed)
    forget_types(g);
  g->impossible = false;
  for (Node *n = g->first; n; n = n->next)
    TRY(control_tolerate(n, node_infer(c, n)));
  g->typed = seen_by(g); /* now: what it takes in from inner bodies' inputs has settled */
  return ST_OK;
}

/* --- types of body inputs --- */

static Type type_in(const Node *n, int i) { return n->in[i] ? n->in[i]->type : (Type){.kind = VK_TENSOR, .rank = -1}; }

static bool says_nothing(const Type *t) { return t->kind == VK_TENSOR && !t->dtype && t->rank < 0; }

/* t comes from the outside; what it leaves open the file may declare, and what varies by trip stays as it was found. */
static void set_input_type(Ctx *c, Value *v, Type t) {
  const Type *d = v->declared;
  if (d && says_nothing(&t))
    t = *d;
  else if (d && d->kind == t.kind && !t.dtype)
    t.dtype = d->dtype;
  if (v->varies & VARIES_RANK)
    t.rank = -1;
  else if (v->varies && (v->type.kind != t.kind || v->type.rank != t.rank))
    v->varies = 0;
  for (int k = 0; k < t.rank; k++)
    if (v->varies >> k & 1)
      t.dim[k] = v->type.dim[k];
  v->type = t;
  value_tell(c, v);
}

/* The type of one slice of a scanned input. */
static Status slice_type(Ctx *c, const Node *n, uint32_t i, Type *t) {
  const ScanAttr *at = n->attr;
  int64_t k = i - (n->nin - at->num_scan_inputs),
          axis = at->scan_input_axes.v && k < at->scan_input_axes.n ? at->scan_input_axes.v[k] : 0;
  *t = type_in(n, (int)i);
  if (t->kind != VK_TENSOR)
    return fail(c, ST_INVALID, "Scan scans tensors; input %u is none", i);
  if (t->rank < 0)
    return ST_OK;
  if (axis < -t->rank || axis >= t->rank)
    return fail(c, ST_INVALID, "scan_input_axes: %lld is no axis of input %u, %s", (long long)axis, i, type_text(c, t));
  axis += axis < 0 ? t->rank : 0;
  memmove(t->dim + axis, t->dim + axis + 1, (size_t)(t->rank - 1 - axis) * sizeof t->dim[0]);
  t->rank--;
  return ST_OK;
}

static Status type_inputs(Ctx *c, Graph *g) {
  const Node *n = g->owner;
  uint32_t states = n->op == OP_Scan ? n->nin - scan_inputs(n->attr) : n->nin;
  for (uint32_t i = 0; i < g->nin; i++) {
    Type t = type_in(n, (int)i);
    if (n->op == OP_Loop && i < 2)
      t = type_tensor(i ? DT_bool : DT_i64, 0, NULL);
    else if (i >= states)
      TRY(slice_type(c, n, i, &t));
    set_input_type(c, g->in[i], t);
  }
  return ST_OK;
}

Status control_enter(Ctx *c, Graph *g) {
  const Node *n = g->owner;
  uint32_t want = n->op == OP_If ? 0 : n->nin;
  if (g->nin != want)
    return fail(c, ST_INVALID, "the body '%s' has %u inputs; %u are needed", g->name, g->nin, want);
  g->dims_before = dim_fresh(c, "body")->id;
  return type_inputs(c, g);
}

Status control_leave(Ctx *c, Graph *g, bool typed) {
  const Node *n = g->owner;
  uint32_t want = n->nout + (n->op == OP_Loop ? 1u : 0u);
  if (g->nout != want)
    return fail(c, ST_INVALID, "the body '%s' has %u outputs; %u are needed", g->name, g->nout, want);
  if (typed)
    g->typed = seen_by(g);
  return ST_OK;
}

static bool known_outside(const Graph *g, Dim d) {
  if (d->kind == DIM_SYM)
    return d->id <= g->dims_before;
  for (int i = 0; i < d->n; i++)
    if (!known_outside(g, d->arg[i]))
      return false;
  return true;
}

/* A type of the body as the outside may know it, for output i: extents in terms of the body's own symbols become new
 * symbols, the same ones when inferred again. extra: an axis that the output has beside those of t, or -1. */
static Type outside(Infer *x, int i, const Graph *g, Type t, int extra) {
  for (int k = 0; t.kind == VK_TENSOR && k < t.rank; k++)
    if (!known_outside(g, t.dim[k]))
      t.dim[k] = run_dim(x, i, t.rank + (extra >= 0), k + (extra >= 0 && k >= extra), "body");
  return t;
}

/* --- If --- */

/* What holds for both: equal dims stay, others become symbols; ranks that differ are unknown. */
static Status merge_types(Infer *x, int i, const Type *a, const Type *b, Type *r) {
  *r = says_nothing(a) ? *b : *a;
  if (says_nothing(a) || says_nothing(b)) {
    r->rank = -1;
    return ST_OK;
  }
  if (a->kind != b->kind || (a->dtype && b->dtype && a->dtype != b->dtype))
    return infer_fail(x, "output %d is %s in one branch and %s in the other", i, type_text(x->c, a),
                      type_text(x->c, b));
  if (!r->dtype)
    r->dtype = b->dtype;
  if (a->kind != VK_TENSOR) {
    r->elem = a->elem ? a->elem : b->elem;
    if (a->elem && b->elem) {
      Type *e = arena_new(x->arena, Type);
      TRY(merge_types(x, i, a->elem, b->elem, e));
      r->elem = e;
    }
    return ST_OK;
  }
  if (a->rank != b->rank)
    r->rank = -1;
  for (int k = 0; k < r->rank; k++)
    if (a->dim[k] != b->dim[k])
      r->dim[k] = run_dim(x, i, r->rank, k, "if");
  return ST_OK;
}

Status if_infer(Infer *x) {
  for (int b = 0; b < 2; b++) {
    if (!x->n->body[b]->typed)
      TRY(control_enter(x->c, x->n->body[b]));
    TRY(infer_body(x->c, x->n->body[b]));
  }
  const Graph *a = x->n->body[0], *b = x->n->body[1];
  if (a->impossible && b->impossible) /* then it is an error: what was wrong with the first */
    for (Node *n = a->first; n; n = n->next)
      TRY(node_infer(x->c, n));
  for (int i = 0; i < x->n->nout; i++) {
    Type p = outside(x, i, a, a->out[i]->type, -1), q = outside(x, i, b, b->out[i]->type, -1);
    Type t = a->impossible ? q : p;
    if (!a->impossible && !b->impossible)
      TRY(merge_types(x, i, &p, &q, &t));
    set_out_type(x, i, t);
  }
  return ST_OK;
}

/* --- Loop and Scan --- */

static void vary_extent(Infer *x, Value *in, int k) {
  if (in->varies >> k & 1)
    return;
  in->varies |= 1u << k;
  in->type.dim[k] = dim_fresh(x->c, "loop");
}

static void vary_rank(Value *in) {
  in->varies |= VARIES_RANK;
  in->type.rank = -1;
}

/* Makes the type of a carried value at the start of a trip wide enough for what a trip gives. */
static Status widen(Infer *x, int i, Value *in, const Type *out) {
  Type *t = &in->type;
  if (says_nothing(t))
    return ST_OK;
  if (says_nothing(out)) {
    if (t->kind == VK_TENSOR)
      vary_rank(in);
    return ST_OK;
  }
  if (t->kind == VK_OPTIONAL && t->elem && out->kind == t->elem->kind) /* an element is as good as an optional of it */
    return ST_OK;
  if (out->kind != t->kind || (out->dtype && t->dtype && out->dtype != t->dtype))
    return infer_fail(x, "carried value %d is %s before a trip and %s after it", i, type_text(x->c, t),
                      type_text(x->c, out));
  if (t->kind != VK_TENSOR) {
    if (t->elem && out->elem && t->elem->rank >= 0 && !type_equal(t->elem, out->elem)) {
      Type *e = arena_copy(x->arena, t->elem, sizeof *e);
      e->rank = -1;
      t->elem = e;
    }
    return ST_OK;
  }
  if (t->rank >= 0 && out->rank != t->rank)
    vary_rank(in);
  for (int k = 0; k < t->rank; k++)
    if (out->dim[k] != t->dim[k])
      vary_extent(x, in, k);
  return ST_OK;
}

/* Infers the body until what it gives for the carried values (in[first…] from out[from…]) fits what it takes. */
static Status infer_trips(Infer *x, Graph *g, int first, int from, int count) {
  if (g->typed)
    TRY(type_inputs(x->c, g));
  else
    TRY(control_enter(x->c, g));
  for (int round = 1;; round++) {
    TRY(infer_body(x->c, g));
    uint64_t before = seen_by(g);
    for (int i = 0; i < count; i++)
      TRY(widen(x, i, g->in[first + i], &g->out[from + i]->type));
    if (seen_by(g) == before)
      return ST_OK;
    for (int i = 0; i < count && round >= MAX_ROUNDS; i++) {
      Value *in = g->in[first + i];
      for (int k = 0; in->type.kind == VK_TENSOR && k < in->type.rank; k++)
        vary_extent(x, in, k);
      if (round > MAX_ROUNDS && in->type.kind == VK_TENSOR)
        vary_rank(in);
    }
  }
}

/* The type of a carried value behind the loop: what no trip changes is as at the start. */
static void carried_type(Infer *x, int i, const Graph *g, const Value *in, const Value *out) {
  Type t = in->type;
  if (!says_nothing(&t) && !says_nothing(&out->type) &&
      t.kind != out->type.kind) { /* an optional at first, perhaps its element then */
    set_out_type(x, i, (Type){.kind = VK_TENSOR, .rank = -1});
    return;
  }
  if (says_nothing(&t)) {
    t = out->type;
    t.rank = -1;
  } else if (!t.dtype) {
    t.dtype = out->type.dtype;
  }
  set_out_type(x, i, outside(x, i, g, t, -1));
}

/* Adds the axis along which the slices of all trips are laid. */
static Status stacked_type(Infer *x, int i, const Graph *g, Type slice, Dim trips, int64_t axis) {
  Type t = slice;
  if (t.kind != VK_TENSOR)
    return infer_fail(x, "output %d is scanned; its slices must be tensors", i);
  if (t.rank >= MAX_RANK)
    return infer_fail(x, "output %d would have more than %d dimensions", i, MAX_RANK);
  if (t.rank >= 0) {
    int at;
    TRY(norm_axis(x, axis, t.rank + 1, false, &at));
    t = outside(x, i, g, t, at);
    memmove(t.dim + at + 1, t.dim + at, (size_t)(t.rank - at) * sizeof t.dim[0]);
    t.dim[at] = trips, t.rank++;
  }
  set_out_type(x, i, t);
  return ST_OK;
}

/* The extent for the trips, axis `at` of output i, when only the run tells it. */
static Dim trips_of_run(Infer *x, int i, int at) {
  const Value *v = x->n->out[i];
  return v && v->type.rank > at ? run_dim(x, i, v->type.rank, at, "trips") : dim_fresh(x->c, "trips");
}

/* Trips of a Loop: M, when it is known and no condition stops before. carried: values before the scan outputs. */
static Dim loop_trips(Infer *x, int carried) {
  const Graph *g = x->n->body[0];
  const Value *start = x->n->in[1], *next = g->out[0];
  const Dim *m;
  int64_t n;
  double v = 0;
  bool goes_on = next == g->in[1] || (value_scalar(next, &v) && v != 0),
       enters = !start || (value_scalar(start, &v) && v != 0);
  if (goes_on && enters && in_content(x, 0, &m, &n) && n == 1)
    return dim_max(x->c, dim_const(x->c, 0), m[0]);
  return trips_of_run(x, carried, 0);
}

Status loop_infer(Infer *x) {
  Graph *g = x->n->body[0];
  int carried = x->n->nin - 2;
  TRY(infer_trips(x, g, 2, 1, carried));
  for (int i = 0; i < carried; i++)
    carried_type(x, i, g, g->in[2 + i], g->out[1 + i]);
  Dim trips = x->n->nout > carried ? loop_trips(x, carried) : NULL;
  for (int i = carried; i < x->n->nout; i++)
    TRY(stacked_type(x, i, g, g->out[1 + i]->type, trips, 0));
  return ST_OK;
}

/* The extent of the scanned axis, the same for all scanned inputs. */
static Status scan_trips(Infer *x, int states, Dim *trips) {
  const ScanAttr *at = ATTR(x->n, Scan);
  *trips = NULL;
  for (int i = states; i < x->n->nin; i++) {
    int rank, axis, k = i - states;
    if (!has_in(x, i))
      return infer_fail(x, "input %d is missing", i);
    if (in_type(x, i)->rank < 0)
      continue;
    rank = in_type(x, i)->rank;
    TRY(norm_axis(x, at->scan_input_axes.v && k < at->scan_input_axes.n ? at->scan_input_axes.v[k] : 0, rank, false,
                  &axis));
    Dim d = in_dim(x, i, axis);
    if (*trips)
      TRY(same_dim(x, *trips, d, "the lengths of the scanned inputs", &d));
    *trips = d;
  }
  if (!*trips)
    *trips = dim_fresh(x->c, "trips");
  return ST_OK;
}

static Status check_scan_list(Infer *x, const char *name, const Ints *l, int64_t n, bool direction) {
  if (l->v && l->n != n)
    return infer_fail(x, "%s has %lld entries for %lld values", name, (long long)l->n, (long long)n);
  for (int64_t i = 0; direction && l->v && i < l->n; i++)
    if (l->v[i] != 0 && l->v[i] != 1)
      return infer_fail(x, "%s: %lld is neither 0 nor 1", name, (long long)l->v[i]);
  return ST_OK;
}

Status scan_infer(Infer *x) {
  Graph *g = x->n->body[0];
  const ScanAttr *at = ATTR(x->n, Scan);
  Dim trips;
  uint32_t scanned = scan_inputs(at);
  if (!scanned || scanned > x->n->nin)
    return infer_fail(x, "num_scan_inputs is %lld", (long long)at->num_scan_inputs);
  int states = x->n->nin - (int)scanned, outs = x->n->nout - states;
  TRY(check_scan_list(x, "scan_input_axes", &at->scan_input_axes, scanned, false));
  TRY(check_scan_list(x, "scan_input_directions", &at->scan_input_directions, scanned, true));
  TRY(check_scan_list(x, "scan_output_axes", &at->scan_output_axes, outs, false));
  TRY(check_scan_list(x, "scan_output_directions", &at->scan_output_directions, outs, true));
  TRY(scan_trips(x, states, &trips));
  TRY(infer_trips(x, g, 0, 0, states));
  for (int i = 0; i < states; i++)
    carried_type(x, i, g, g->in[i], g->out[i]);
  for (int i = states; i < x->n->nout; i++)
    TRY(stacked_type(x, i, g, g->out[i]->type, trips, at->scan_output_axes.v ? at->scan_output_axes.v[i - states] : 0));
  return ST_OK;
}
