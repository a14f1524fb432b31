/* group_norm.c - the nodes of a group normalisation -> GroupNormalization (21).
 *
 *   x [N,C,…] -> Reshape [N,G,rest] -> InstanceNormalization by ones and zeros -> Reshape like x -> * scale -> + bias
 *
 * as PyTorch's exporters write it below opset 21; scale and bias have one number for each channel.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"
#include "passes/rewrite.h"

static bool all_are(const Value *v, double x) {
  const Tensor *t = v->konst;
  int64_t n = t ? tensor_count(t) : 0;
  for (int64_t i = 0; i < n; i++)
    if (const_elem(t, i) != x)
      return false;
  return n > 0;
}

/* One number for each of the channels of x, whose axis is 1: [C,1,…] or [1,C,1,…]. */
static bool by_channel(const Value *p, const Value *x) {
  const Type *t = &p->type;
  int rank = x->type.rank;
  if (!type_known(p) || t->dtype != x->type.dtype || (t->rank != rank && t->rank != rank - 1))
    return false;
  for (int i = 0; i < t->rank; i++) {
    int axis = rank - t->rank + i;
    if (axis == 1 ? t->dim[i] != x->type.dim[1] : !dim_is(t->dim[i], 1))
      return false;
  }
  return true;
}

/* v: x, the shape, ones, zeros, the shape of x, scale, bias. */
static Value *group_norm(Match *m) {
  Value *x = m->v[0], *y = m->root->out[0];
  Node *norm = NULL;
  int64_t groups, channels;
  for (int i = 0; i < m->nnode; i++)
    norm = m->node[i]->op == OP_InstanceNormalization ? m->node[i] : norm;
  const Type *t = &norm->in[0]->type;
  if (!type_known(x) || !type_known(norm->in[0]) || x->type.rank < 3 || t->rank != 3 || x->type.dtype != DT_f32 ||
      !same_shape(x, y) || t->dim[0] != x->type.dim[0] || !dim_is_const(t->dim[1], &groups) ||
      !dim_is_const(x->type.dim[1], &channels) || groups < 1 || channels % groups || !all_are(m->v[2], 1) ||
      !all_are(m->v[3], 0) || !by_channel(m->v[5], x) || !by_channel(m->v[6], x))
    return NULL;
  GroupNormalizationAttr a = *(const GroupNormalizationAttr *)attr_new(m->g->arena, &GroupNormalization_attrs);
  a.epsilon = ATTR(norm, InstanceNormalization)->epsilon, a.num_groups = groups;
  Value *scale = reshape_to(m, m->v[5], &x->type.dim[1], 1), *bias = reshape_to(m, m->v[6], &x->type.dim[1], 1);
  return EMIT(m, GroupNormalization, &a, x, scale, bias);
}

static const Rule rules[] = {
    {"group normalisation",
     P(Add, P1(Mul, P1(Reshape, P1(InstanceNormalization, P1(Reshape, V(0), V(1)), C(2), C(3)), V(4)), V(5)), V(6)),
     group_norm},
};

Status pass_group_norm(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
