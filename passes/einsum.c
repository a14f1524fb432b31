/* einsum.c - an Einsum of two operands is a batched matrix product between movements, one of one operand a movement where nothing is summed.
 *
 *   A -> [batch, rows, k]   B -> [batch, k, columns]   MatMul   -> [batch, rows, columns] -> the output's axes
 *
 * Labels of both operands and the output are batch, of both alone k, of one operand and the output rows or columns. What is
 * summed in one operand only, or repeated in it, is left to the operator itself, as are equations of more operands.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/einsum.h"
#include "passes/rewrite.h"

#include <string.h>

typedef enum { BATCH, ROWS, COLUMNS, SUMMED, ROLES } Role;

typedef struct Plan {
  Equation q;
  Dim extent[EIN_MAX_LABEL];
  uint8_t label[ROLES][MAX_RANK]; /* in the order of the output, those of k in that of A */
  int n[ROLES];
} Plan;

static bool in_term(const Term *t, int label) {
  for (int k = 0; k < t->n; k++)
    if (t->label[k] == label)
      return true;
  return false;
}

/* Does every label occur once in t, with one extent throughout? */
static bool note_extents(Plan *p, const Term *t, const Type *type) {
  for (int k = 0; k < t->n; k++) {
    Dim *d = &p->extent[t->label[k]];
    for (int j = 0; j < k; j++)
      if (t->label[j] == t->label[k])
        return false;
    if (*d && *d != type->dim[k])
      return false;
    *d = type->dim[k];
  }
  return true;
}

static bool plan_of(Ctx *c, const Node *n, Plan *p) {
  const Value *a = n->in[0], *b = n->nin == 2 ? n->in[1] : NULL;
  *p = (Plan){.n = {0}};
  if (!b || !type_known(a) || !type_known(b) || !dtype_is_float(a->type.dtype))
    return false;
  if (einsum_parse(c, ATTR(n, Einsum)->equation, 2, (int[]){a->type.rank, b->type.rank}, &p->q))
    return false;
  const Term *ta = &p->q.in[0], *tb = &p->q.in[1], *to = &p->q.out;
  if (!note_extents(p, ta, &a->type) || !note_extents(p, tb, &b->type))
    return false;
  for (int k = 0; k < to->n; k++) {
    Role r = in_term(ta, to->label[k]) ? in_term(tb, to->label[k]) ? BATCH : ROWS : COLUMNS;
    p->label[r][p->n[r]++] = to->label[k];
  }
  for (int k = 0; k < ta->n; k++)
    if (!in_term(to, ta->label[k])) {
      if (!in_term(tb, ta->label[k]))
        return false;
      p->label[SUMMED][p->n[SUMMED]++] = ta->label[k];
    }
  for (int k = 0; k < tb->n; k++)
    if (!in_term(to, tb->label[k]) && !in_term(ta, tb->label[k]))
      return false;
  return p->n[SUMMED] > 0;
}

/* The product of the extents of the labels of a role. */
static Dim extent_of(Match *m, const Plan *p, Role r) {
  Dim d = dim_const(m->c, 1);
  for (int k = 0; k < p->n[r]; k++)
    d = dim_mul(m->c, d, p->extent[p->label[r][k]]);
  return d;
}

/* Operand v as [batch, x, y]: its axes in the order of the roles, each role one axis. */
static Value *as_matrices(Match *m, const Plan *p, Value *v, const Term *t, Role x, Role y) {
  const Role order[3] = {BATCH, x, y};
  int64_t perm[MAX_RANK], n = 0;
  Dim dim[3];
  for (int i = 0; i < 3; i++) {
    dim[i] = extent_of(m, p, order[i]);
    for (int k = 0; k < p->n[order[i]]; k++)
      for (int a = 0; a < t->n; a++)
        if (t->label[a] == p->label[order[i]][k])
          perm[n++] = a;
  }
  v = transpose_by(m, v, perm, t->n);
  return p->n[BATCH] ? reshape_to(m, v, dim, 3) : reshape_to(m, v, dim + 1, 2);
}

static Value *make_product(Match *m) {
  Plan p;
  int64_t perm[MAX_RANK];
  Dim dim[MAX_RANK];
  const Node *n = m->root;
  if (!plan_of(m->c, n, &p) || !dims_bound(m->g, n->in[0]->type.dim, n->in[0]->type.rank, NULL) ||
      !dims_bound(m->g, n->in[1]->type.dim, n->in[1]->type.rank, NULL))
    return NULL;
  Value *a = as_matrices(m, &p, n->in[0], &p.q.in[0], ROWS, SUMMED);
  Value *b = as_matrices(m, &p, n->in[1], &p.q.in[1], SUMMED, COLUMNS);
  Value *y = EMIT(m, MatMul, NULL, a, b);
  int at = 0;
  for (Role r = BATCH; r <= COLUMNS; r++)
    for (int k = 0; k < p.n[r]; k++, at++) {
      dim[at] = p.extent[p.label[r][k]];
      for (int o = 0; o < p.q.out.n; o++)
        if (p.q.out.label[o] == p.label[r][k])
          perm[o] = at;
    }
  return transpose_by(m, reshape_to(m, y, dim, at), perm, at);
}

/* Every label of the operand occurs once in it and once in the output. */
static Value *make_transpose(Match *m) {
  Plan p = {.n = {0}};
  int64_t perm[MAX_RANK];
  const Node *n = m->root;
  if (n->nin != 1 || !type_known(n->in[0]))
    return NULL;
  if (einsum_parse(m->c, ATTR(n, Einsum)->equation, 1, (int[]){n->in[0]->type.rank}, &p.q)) {
    m->c->err = (Err){0};
    return NULL;
  }
  const Term *from = &p.q.in[0], *to = &p.q.out;
  if (from->n != to->n || !note_extents(&p, from, &n->in[0]->type) || !note_extents(&p, to, &n->out[0]->type))
    return NULL;
  for (int i = 0; i < to->n; i++)
    for (int k = 0; k < from->n; k++)
      if (from->label[k] == to->label[i])
        perm[i] = k;
  return transpose_by(m, n->in[0], perm, to->n);
}

static const Rule rules[] = {{"einsum of two", OPERATOR(Einsum), make_product},
                             {"einsum of one", OPERATOR(Einsum), make_transpose}};

Status pass_einsum(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
