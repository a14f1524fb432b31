/* lengths.c - one name for lengths that must be equal.
 *
 * Exporters name the lengths of a layer's cached keys and values apart. The scores have a column for every key, the product with the
 * values takes a row for each of them: past_k + new == past_v + new in every run that succeeds, so past_k == past_v. Inputs
 * get the first of the two names, everything else follows; a run is refused at its inputs where it would be at the product.
 * Only products that always run and are needed say so: those in bodies may not run.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"

/* Of operator op, the axis `at` of input a has the extent of the axis `bt` of input b, counted from the last. */
static const struct {
  OpId op;
  int a, at, b, bt;
} equal[] = {{OP_MatMul, 0, 1, 1, 2}, {OP_Attention, 1, 2, 2, 2}, {OP_Attention, 4, 2, 5, 2}};

typedef struct Names {
  Ctx *c;
  Graph *g;
  Dim *from, *to; /* of n symbols: what stands for them */
  uint32_t n;
} Names;

static Dim name_of(void *arg, Dim sym) {
  const Names *x = arg;
  for (uint32_t i = 0; i < x->n; i++)
    if (x->from[i] == sym)
      return x->to[i];
  return NULL;
}

/* --- finding them --- */

static Dim extent(const Node *n, int i, int from_last) {
  const Value *v = i < n->nin ? n->in[i] : NULL;
  return v && v->type.kind == VK_TENSOR && v->type.rank >= from_last ? v->type.dim[v->type.rank - from_last] : NULL;
}

/* The first input that has the symbol for an extent; nin: none, or it is a number in data. */
static uint32_t named_by(const Graph *g, Dim sym) {
  for (uint32_t i = 0; !sym->data && i < g->nin; i++)
    for (int k = 0; k < g->in[i]->type.rank; k++)
      if (g->in[i]->type.dim[k] == sym)
        return i;
  return g->nin;
}

/* a == b, and that is s == t for two symbols. */
static bool symbols(Ctx *c, Dim a, Dim b, Dim *s, Dim *t) {
  Dim d = dim_sub(c, a, b);
  for (int i = 0; d->kind == DIM_ADD && d->n == 2 && i < 2; i++) {
    Dim minus = d->arg[i];
    *s = d->arg[1 - i], *t = minus->arg[minus->n - 1];
    if ((*s)->kind == DIM_SYM && minus->kind == DIM_MUL && minus->n == 2 && dim_is(minus->arg[0], -1) &&
        (*t)->kind == DIM_SYM)
      return true;
  }
  return false;
}

static void note(Names *x, Dim a, Dim b) {
  Dim s, t;
  a = dim_substitute(x->c, a, name_of, x), b = dim_substitute(x->c, b, name_of, x);
  if (a == b || !symbols(x->c, a, b, &s, &t))
    return;
  uint32_t first = named_by(x->g, s), second = named_by(x->g, t);
  if (first == x->g->nin || second == x->g->nin)
    return;
  Dim keep = first <= second ? s : t, lose = first <= second ? t : s;
  for (uint32_t i = 0; i < x->n; i++)
    if (x->to[i] == lose)
      x->to[i] = keep;
  Dim *more = arena_array(x->g->arena, Dim, 2 * (x->n + 1u));
  for (uint32_t i = 0; i < x->n; i++)
    more[i] = x->from[i], more[x->n + 1 + i] = x->to[i];
  more[x->n] = lose, more[2 * x->n + 1] = keep;
  x->from = more, x->to = more + x->n + 1, x->n++;
}

/* Does an output of the graph hang on n, whatever bodies do? */
static bool needed(const Node *n, const bool *need) {
  for (int i = 0; i < n->nout; i++)
    for (const Use *u = n->out[i] ? n->out[i]->uses : NULL; u; u = u->next)
      if (u->node ? u->node->graph == n->graph && need[u->node->id] : u->graph == n->graph)
        return true;
  return false;
}

static void find(Names *x) {
  bool *need = arena_array(x->g->arena, bool, *x->g->next_id);
  for (Node *n = x->g->last; n; n = n->prev) {
    need[n->id] = needed(n, need);
    for (size_t i = 0; need[n->id] && i < countof(equal); i++) {
      Dim a = equal[i].op == n->op ? extent(n, equal[i].a, equal[i].at) : NULL;
      Dim b = a ? extent(n, equal[i].b, equal[i].bt) : NULL;
      if (b)
        note(x, a, b);
    }
  }
}

/* --- replacing them --- */

static void rename_type(Names *x, Type *t) {
  for (int k = 0; t->kind == VK_TENSOR && k < t->rank; k++)
    t->dim[k] = dim_substitute(x->c, t->dim[k], name_of, x);
}

Status pass_lengths(Ctx *c, Graph *g) {
  Names x = {.c = c, .g = g};
  find(&x);
  if (!x.n)
    return ST_OK;
  for (uint32_t i = 0; i < g->nin; i++)
    rename_type(&x, &g->in[i]->type);
  for (Node *n = g->first; n; n = n->next)
    for (int i = 0; i < n->nout; i++)
      if (n->out[i])
        rename_type(&x, &n->out[i]->type);
  return pass_run(c, g, "retype");
}
