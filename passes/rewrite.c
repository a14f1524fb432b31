/* rewrite.c - matches patterns, applies rules until none fits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* --- matching --- */

/* What is still to be matched: a list that lives on the stack of the search. */
typedef struct Goal {
  const Pat *p;
  Value *v;
  const struct Goal *next;
} Goal;

static bool solve(Match *m, const Goal *todo);

static bool matched(const Match *m, const Node *n) {
  for (int i = 0; i < m->nnode; i++)
    if (m->node[i] == n)
      return true;
  return false;
}

/* Everything matched; do the P1 nodes have uses outside? */
static bool closed(const Match *m) {
  for (int i = 1; i < m->nnode; i++) {
    if (!(m->inner >> i & 1))
      continue;
    for (int k = 0; k < m->node[i]->nout; k++)
      for (const Use *u = m->node[i]->out[k] ? m->node[i]->out[k]->uses : NULL; u; u = u->next)
        if (!u->node || !matched(m, u->node))
          return false;
  }
  return true;
}

static bool bind(Match *m, int var, Value *v, const Goal *rest) {
  if (m->v[var])
    return m->v[var] == v && solve(m, rest);
  m->v[var] = v;
  return solve(m, rest);
}

static bool solve_inputs(Match *m, const Pat *p, Node *n, const Goal *rest) {
  Goal in[8];
  int k = 0;
  if (!p->in)
    return solve(m, rest);
  while (p->in[k])
    k++;
  assert(k <= (int)countof(in));
  for (int i = k; i < n->nin; i++)
    if (n->in[i])
      return false;
  for (int swap = 0; swap < 2; swap++) {
    Match saved = *m;
    if (swap && (k != 2 || n->nin < 2 || !(op_info(n->op)->flags & OPF_COMMUTATIVE)))
      break;
    for (int i = 0; i < k; i++) {
      int at = swap ? 1 - i : i;
      in[i] = (Goal){p->in[i], at < n->nin ? n->in[at] : NULL, i + 1 < k ? &in[i + 1] : rest};
    }
    if (solve(m, in))
      return true;
    *m = saved;
  }
  return false;
}

static bool solve_op(Match *m, const Pat *p, Node *n, const Goal *rest) {
  if (!n || (p->op && n->op != p->op) || n->graph != m->g)
    return false;
  if (p->test && !p->test(m, n->out[0]))
    return false;
  int i = 0;
  while (i < m->nnode && m->node[i] != n)
    i++;
  if (i == m->nnode) {
    if (i == MAX_MATCHED)
      return false;
    m->node[m->nnode++] = n;
  }
  if (p->inner)
    m->inner |= (uint64_t)1 << i;
  return solve_inputs(m, p, n, rest);
}

static bool solve(Match *m, const Goal *todo) {
  if (!todo)
    return closed(m);
  const Pat *p = todo->p;
  Value *v = todo->v;
  if (p->kind == PK_ALT) {
    for (int i = 0; p->in[i]; i++) {
      Match saved = *m;
      Goal one = {p->in[i], v, todo->next};
      if (solve(m, &one))
        return true;
      *m = saved;
    }
    return false;
  }
  if (!v)
    return false;
  switch (p->kind) {
  case PK_OP: return v->def && v->index == 0 && solve_op(m, p, v->def, todo->next);
  case PK_NUM: return is_num(v, p->num) && solve(m, todo->next);
  case PK_CONST:
    if (!v->konst)
      return false;
    break;
  default: break;
  }
  return (!p->test || p->test(m, v)) && bind(m, p->var, v, todo->next);
}

static bool match_root(Match *m, const Pat *p, Node *n) {
  if (p->kind != PK_OP || !n->nout || !n->out[0])
    return false;
  return solve_op(m, p, n, NULL);
}

/* --- questions --- */

Node *def_of(const Value *v, OpId op) { return v && v->def && v->def->op == op ? v->def : NULL; }

bool is_num(const Value *v, double x) {
  double k;
  if (!value_scalar(v, &k))
    return false;
  DType t = v->konst->dtype;
  double eps = t == DT_f16 ? 1e-3 : t == DT_bf16 ? 8e-3 : dtype_is_float(t) ? 5e-7 : 0;
  return k == x || fabs(k - x) <= eps * fabs(x);
}

bool type_known(const Value *v) { return v && v->type.kind == VK_TENSOR && v->type.dtype && v->type.rank >= 0; }

bool same_shape(const Value *a, const Value *b) {
  if (!type_known(a) || !type_known(b) || a->type.rank != b->type.rank)
    return false;
  for (int i = 0; i < a->type.rank; i++)
    if (a->type.dim[i] != b->type.dim[i])
      return false;
  return true;
}

bool same_type(const Value *a, const Value *b) { return same_shape(a, b) && a->type.dtype == b->type.dtype; }

bool broadcasts_into(const Value *k, const Value *x) {
  if (!type_known(k) || !type_known(x) || k->type.rank > x->type.rank)
    return false;
  int lead = x->type.rank - k->type.rank;
  for (int i = 0; i < k->type.rank; i++)
    if (!dim_is(k->type.dim[i], 1) && k->type.dim[i] != x->type.dim[lead + i])
      return false;
  return true;
}

/* Does d's value tell sym's, as that of 4*sym + 1 does? A run solves such extents of its inputs (runtime/symbols.c). */
static bool tells(Dim d, Dim sym) {
  Dim rest = NULL;
  if (d == sym)
    return true;
  if (d->kind != DIM_ADD && d->kind != DIM_MUL)
    return false;
  for (int i = 0; i < d->n; i++)
    if (d->arg[i]->kind != DIM_CONST) {
      if (rest)
        return false;
      rest = d->arg[i];
    }
  return rest && tells(rest, sym);
}

static bool bound_in(const Type *t, Dim sym, bool alone) {
  for (int i = 0; t->kind == VK_TENSOR && i < t->rank; i++)
    if (alone ? tells(t->dim[i], sym) : dim_uses(t->dim[i], sym))
      return true;
  return false;
}

static bool dim_bound(const Graph *g, Dim d, const Value *near) {
  if (d->kind == DIM_CONST)
    return true;
  if (d->kind == DIM_SYM) {
    if (near && bound_in(&near->type, d, false))
      return true;
    while (g->up)
      g = g->up;
    for (uint32_t i = 0; i < g->nin; i++)
      if (bound_in(&g->in[i]->type, d, true))
        return true;
    return false;
  }
  for (int i = 0; i < d->n; i++)
    if (!dim_bound(g, d->arg[i], near))
      return false;
  return true;
}

bool dims_bound(const Graph *g, Dim const *d, int n, const Value *near) {
  for (int i = 0; i < n; i++)
    if (!dim_bound(g, d[i], near))
      return false;
  return true;
}

bool perm_of(const Node *n, int64_t *perm, int *rank) {
  Ints p = ATTR(n, Transpose)->perm;
  if (!type_known(n->in[0]))
    return false;
  *rank = n->in[0]->type.rank;
  if (p.v && p.n != *rank)
    return false;
  for (int i = 0; i < *rank; i++)
    perm[i] = p.v ? p.v[i] : *rank - 1 - i;
  return true;
}

int axis_of(int64_t axis, const Value *x) {
  if (!type_known(x) || axis < -x->type.rank || axis >= x->type.rank)
    return -1;
  return (int)(axis < 0 ? axis + x->type.rank : axis);
}

/* --- building --- */

void match_also(Match *m, Node *n) {
  if (!matched(m, n) && m->nnode < MAX_MATCHED)
    m->node[m->nnode++] = n;
}

Value *emit(Match *m, OpId op, const void *attr, int nin, Value *const *in) {
  if (!m->origin) {
    const Origin *more[MAX_MATCHED];
    for (int i = 1; i < m->nnode; i++)
      more[i - 1] = m->node[i]->origin;
    m->origin = m->nnode > 1 ? origin_merge(m->g, m->root->origin, more, (uint32_t)m->nnode - 1) : m->root->origin;
  }
  Value *v = graph_emit(m->g, m->root, op, attr, m->origin, nin, in);
  Status st = m->st ? ST_OK : node_infer(m->c, v->def);
  if (st)
    m->st = st;
  return v;
}

Value *const_ints(Match *m, const int64_t *v, int64_t n) {
  return graph_add_const(m->g, NULL, tensor_vec_i64(m->g->arena, v, n));
}

Value *const_like(Match *m, double x, DType t) {
  Tensor *k;
  Status st = tensor_new(m->c, m->g->arena, t, 0, NULL, &k);
  assert(!st), (void)st;
  elem_set_f64(t, k->data, 0, x);
  return graph_add_const(m->g, NULL, k);
}

Value *dims_value(Match *m, Dim const *d, int n) {
  int64_t v[MAX_CONTENT];
  int k = 0;
  assert(n <= MAX_CONTENT);
  while (k < n && dim_is_const(d[k], &v[k]))
    k++;
  if (k == n)
    return const_ints(m, v, n);
  DimsAttr a = {.dims = {d, n}, .rank = 1, .dtype = DT_i64};
  return emit(m, OP_Dims, &a, 0, NULL);
}

Value *reshape_to(Match *m, Value *x, Dim const *d, int n) {
  bool same = type_known(x) && x->type.rank == n;
  for (int i = 0; same && i < n; i++)
    same = x->type.dim[i] == d[i];
  if (same)
    return x;
  ReshapeAttr a = {.allowzero = 1};
  return EMIT(m, Reshape, &a, x, dims_value(m, d, n));
}

Value *transpose_by(Match *m, Value *x, const int64_t *perm, int n) {
  TransposeAttr a = {.perm = {perm, n}};
  for (int i = 0; i < n; i++)
    if (perm[i] != i)
      return EMIT(m, Transpose, &a, x);
  return x;
}

/* --- changing the graph --- */

/* For an extent of v, a is better than b: a constant, or nothing but symbols that the inputs bind. */
static bool tells_more(const Value *v, Dim a, Dim b) {
  if (a->kind == DIM_CONST || b->kind == DIM_CONST)
    return b->kind != DIM_CONST;
  return v->def && a != b && !dim_bound(v->def->graph, b, NULL) && dim_bound(v->def->graph, a, NULL);
}

/* Types may only become sharper: constants for symbols, symbols of the inputs for those of a node, a rank where there was none. Returns
 * whether it did. */
static bool sharpen_type(Value *v, const Type *t) {
  bool better = false;
  if (v->type.kind != VK_TENSOR || t->kind != VK_TENSOR)
    return false;
  if (!v->type.dtype && t->dtype)
    v->type.dtype = t->dtype, better = true;
  if (v->type.rank < 0 && t->rank >= 0) {
    v->type.rank = t->rank;
    memcpy(v->type.dim, t->dim, sizeof v->type.dim);
    return true;
  }
  for (int i = 0; t->rank == v->type.rank && i < t->rank; i++)
    if (!v->type.dim[i]->data && tells_more(v, t->dim[i], v->type.dim[i]))
      v->type.dim[i] = t->dim[i], better = true;
  return better;
}

bool replace_value(Value *old, Value *by) {
  Graph *g = old->def->graph;
  bool output = value_is_output(old);
  if (by->def) /* what an input admits is the caller's to say, and a constant says all */
    sharpen_type(by, &old->type);
  bool free_name = by->def && by->def->graph == g && !value_is_output(by);
  const char *name = old->name, *fresh = graph_name(g, (*g->next_id)++);
  if (!output || free_name) {
    value_replace(old, by);
    if (output)
      value_rename(by, name);
    value_rename(old, fresh);
    return true;
  }
  /* Other uses go over; the output itself becomes an Identity of `by`. */
  Node *n = old->def;
  if (n->op == OP_Identity && n->in[0] == by)
    return false;
  Value *copy = graph_emit(g, n, OP_Identity, NULL, n->origin, 1, &by);
  copy->type = old->type;
  for (Use *u = old->uses, *next; u; u = next) {
    next = u->next;
    if (u->node)
      node_set_input(u->node, (int)u->slot, by);
  }
  value_replace(old, copy);
  value_rename(copy, name);
  value_rename(old, fresh);
  return false;
}

static void remove_feeders(Node *n, int depth) {
  if (!n->graph) /* gone already, as another feeder's feeder */
    return;
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && n->out[i]->uses)
      return;
  Node *fed[16];
  int k = 0;
  for (int i = 0; i < n->nin && k < (int)countof(fed); i++)
    if (n->in[i] && n->in[i]->def) {
      int j = 0;
      while (j < k && fed[j] != n->in[i]->def)
        j++;
      if (j == k)
        fed[k++] = n->in[i]->def;
    }
  node_remove(n);
  n->graph = NULL;
  for (int i = 0; depth < 500 && i < k; i++) /* what is left is for dce */
    remove_feeders(fed[i], depth + 1);
}

void remove_dead(Node *n) { remove_feeders(n, 0); }

static Status infer_again(Ctx *c, Value *v, int depth);

static Status infer_user(Ctx *c, Node *n, int depth) {
  Type old[8];
  const Dim *content[8];
  if (n->nout > (int)countof(old) || op_info(n->op)->flags & OPF_CONTROL)
    return ST_OK;
  for (int i = 0; i < n->nout; i++)
    if (n->out[i])
      old[i] = n->out[i]->type, content[i] = n->out[i]->content;
  Status st = node_infer(c, n);
  if (st) { /* it will fail in the run, if the run comes here: branches that are never taken often do not fit */
    for (int i = 0; i < n->nout; i++)
      if (n->out[i])
        n->out[i]->type = old[i], n->out[i]->content = content[i];
    c->err = (Err){0};
    return ST_OK;
  }
  for (int i = 0; i < n->nout; i++) {
    Value *o = n->out[i];
    if (!o)
      continue;
    Type now = o->type;
    o->type = old[i]; /* a symbol made up anew is no news */
    bool news = sharpen_type(o, &now) || (!content[i] && o->content);
    if (news && depth < 200)
      TRY(infer_again(c, o, depth + 1));
  }
  return ST_OK;
}

static Status infer_again(Ctx *c, Value *v, int depth) {
  for (Use *u = v->uses; u; u = u->next)
    if (u->node)
      TRY(infer_user(c, u->node, depth));
  return ST_OK;
}

Status infer_users(Ctx *c, Value *v) { return infer_again(c, v, 0); }

/* --- the rewriter --- */

static bool only_outputs(const Value *v) {
  for (const Use *u = v->uses; u; u = u->next)
    if (u->node)
      return false;
  return true;
}

typedef struct Rewriter {
  Ctx *c;
  const Rule *rules;
  size_t n;
  uint64_t fired, limit;
  bool changed;
} Rewriter;

/* Takes back what a rule emitted before n. */
static void take_back(Node *n, uint32_t first_id) {
  for (Node *k = n->prev, *prev; k && k->id >= first_id; k = prev) {
    prev = k->prev;
    for (int i = 0; i < k->nout; i++)
      if (k->out[i] && k->out[i]->uses)
        return;
    node_remove(k);
  }
}

static Status apply(Rewriter *r, const Rule *rule, Node *n, bool *done) {
  Match m = {.c = r->c, .g = n->graph, .root = n};
  uint32_t first_id = *n->graph->next_id;
  *done = false;
  if (!match_root(&m, rule->pat, n))
    return ST_OK;
  Value *by = rule->make(&m), *old = n->out[0];
  if (m.st == ST_INVALID || m.st == ST_UNSUPPORTED) { /* a graph that fails when the run comes here stays as it is */
    ctx_log(r->c, 2, "%s: not applied to %s '%s': %s", rule->name, op_info(n->op)->name, n->origin->node,
            r->c->err.message);
    take_back(n, first_id);
    r->c->err = (Err){0};
    return ST_OK;
  }
  if (m.st)
    return err_note(r->c, m.st, "while rewriting by '%s'", rule->name);
  if (!by || by == old)
    return ST_OK;
  /* A bare copy of an output stays, as the output's name is needed. */
  if (n->op == OP_Identity && by == n->in[0] && only_outputs(old) &&
      !(by->def && by->def->graph == n->graph && !value_is_output(by)))
    return ST_OK;
  ctx_log(r->c, 2, "%s: %s '%s'", rule->name, op_info(n->op)->name, n->origin->node);
  replace_value(old, by);
  remove_dead(n);
  *done = r->changed = true;
  r->fired++;
  return ST_OK;
}

static Status sweep(Rewriter *r, Graph *g) {
  for (Node *n = g->first, *next; n; n = next) {
    next = n->next; /* stays: rules insert and remove at n and before it */
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(sweep(r, n->body[b]));
    if (!n->nout || !n->out[0])
      continue;
    for (size_t i = 0; i < r->n && r->fired < r->limit; i++) {
      bool done = false;
      if (r->rules[i].pat->op && r->rules[i].pat->op != n->op)
        continue;
      TRY(apply(r, &r->rules[i], n, &done));
      if (done)
        break;
    }
  }
  return ctx_poll(r->c);
}

Status rewrite(Ctx *c, Graph *g, const Rule *rules, size_t n) {
  Rewriter r = {.c = c, .rules = rules, .n = n, .limit = 1000 + 64 * (uint64_t)graph_node_count(g, true)};
  do {
    r.changed = false;
    TRY(sweep(&r, g));
  } while (r.changed && r.fired < r.limit);
  return ST_OK;
}
