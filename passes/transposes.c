/* transposes.c - transpositions that elementwise operators keep apart meet and cancel; those that move no element are
 * reshapes.
 *
 *   Transpose(f(.. Transpose(x, p) ..), q)   ->  f(.. Transpose(x, p q) ..)         f: elementwise, scalars beside
 *   Transpose(Transpose(x, p) + y, q)        ->  x + Transpose(y, q)                when q undoes p
 *   f(Transpose(x, p), Transpose(y, p))      ->  Transpose(f(x, y), p)
 * Every rule leaves fewer transpositions than it found.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <string.h>

enum { MAX_CHAIN = 16 };

static bool elementwise(const Node *n) { return (op_info(n->op)->flags & OPF_ELEMENTWISE) && n->nout == 1; }

static bool one_element(const Value *v) {
  if (!type_known(v))
    return false;
  for (int i = 0; i < v->type.rank; i++)
    if (!dim_is(v->type.dim[i], 1))
      return false;
  return true;
}

/* The operand that n works through element by element: all others are scalars, or, if `other` is asked for, at most one
 * has n's own shape. -1: there is none. */
static int through(const Node *n, int *other) {
  int at = -1;
  *other = -1;
  if (!elementwise(n))
    return -1;
  for (int i = 0; i < n->nin; i++) {
    if (!n->in[i] || (one_element(n->in[i]) && n->in[i]->type.rank <= 1))
      continue;
    if (!same_shape(n->in[i], n->out[0]))
      return -1;
    if (at < 0)
      at = i;
    else if (*other < 0)
      *other = i;
    else
      return -1;
  }
  return at;
}

static bool undoes(const int64_t *q, const int64_t *p, int rank) {
  for (int i = 0; i < rank; i++)
    if (p[q[i]] != i)
      return false;
  return true;
}

/* The root is the lower transposition; goes up to the upper one, then builds the operators in between again. */
static Value *meet(Match *m) {
  int64_t p[MAX_RANK], q[MAX_RANK], r[MAX_RANK];
  Node *chain[MAX_CHAIN];
  int side[MAX_CHAIN], other[MAX_CHAIN], n = 0, rank, others = 0;
  if (!perm_of(m->root, q, &rank))
    return NULL;
  Value *v = m->root->in[0];
  while (v->def && v->def->op != OP_Transpose) {
    Node *f = v->def;
    if (n == MAX_CHAIN || f->nin > 4 || f->graph != m->g || !value_sole_user(v) ||
        (side[n] = through(f, &other[n])) < 0)
      return NULL;
    if (other[n] >= 0) { /* follow the operand that is transposed */
      if (!def_of(f->in[side[n]], OP_Transpose)) {
        int s = side[n];
        side[n] = other[n], other[n] = s;
      }
      others += !f->in[other[n]]->konst;
    }
    chain[n++] = f;
    v = f->in[side[n - 1]];
  }
  if (!n || !v->def || !value_sole_user(v) || !perm_of(v->def, p, &rank))
    return NULL;
  bool gone = undoes(q, p, rank);
  if (others > (gone ? 1 : 0))
    return NULL;
  for (int i = 0; i < rank; i++)
    r[i] = p[q[i]];
  match_also(m, v->def);
  Value *x = gone ? v->def->in[0] : transpose_by(m, v->def->in[0], r, rank);
  while (n--) {
    Node *f = chain[n];
    Value *in[4];
    match_also(m, f);
    for (int i = 0; i < f->nin; i++)
      in[i] = i == side[n] ? x : i == other[n] ? transpose_by(m, f->in[i], q, rank) : f->in[i];
    x = emit(m, f->op, f->attr, f->nin, in);
  }
  return x;
}

static Value *join(Match *m) {
  Node *n = m->root, *a = n->nin == 2 ? def_of(n->in[0], OP_Transpose) : NULL,
       *b = a ? def_of(n->in[1], OP_Transpose) : NULL;
  int64_t p[MAX_RANK], q[MAX_RANK];
  int rank, other;
  if (!b || a == b || !elementwise(n) || !value_sole_user(n->in[0]) || !value_sole_user(n->in[1]) ||
      !perm_of(a, p, &rank) || !perm_of(b, q, &other) || other != rank || memcmp(p, q, (size_t)rank * sizeof *p) ||
      !same_shape(n->in[0], n->in[1]))
    return NULL;
  match_also(m, a);
  match_also(m, b);
  return transpose_by(m, emit(m, n->op, n->attr, 2, (Value *[]){a->in[0], b->in[0]}), p, rank);
}

/* Axes of extent 1 move, the others keep their order. */
static Value *view(Match *m) {
  int64_t p[MAX_RANK];
  int rank, last = -1;
  Value *x = m->root->in[0], *out = m->root->out[0];
  if (!perm_of(m->root, p, &rank) || !type_known(out) || !dims_bound(m->g, out->type.dim, rank, NULL))
    return NULL;
  for (int i = 0; i < rank; i++) {
    if (dim_is(x->type.dim[p[i]], 1))
      continue;
    if (p[i] < last)
      return NULL;
    last = (int)p[i];
  }
  return reshape_to(m, x, out->type.dim, rank);
}

static Value *merge(Match *m) {
  int64_t p[MAX_RANK], q[MAX_RANK], r[MAX_RANK];
  int rank, other;
  if (!perm_of(m->root, q, &rank) || !perm_of(m->node[1], p, &other))
    return NULL;
  for (int i = 0; i < rank; i++)
    r[i] = p[q[i]];
  return undoes(q, p, rank) ? m->v[0] : transpose_by(m, m->v[0], r, rank);
}

static const Rule rules[] = {
    {"transpose of transpose", P(Transpose, P(Transpose, V(0))), merge},
    {"transpose that moves nothing", OPERATOR(Transpose), view},
    {"transposes meet", OPERATOR(Transpose), meet},
    {"transposes join", OPERATOR(none), join},
};

Status pass_transposes(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
