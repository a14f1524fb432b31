/* trees.c - lowering of Trees (sard): from the root of tree t to the leaf of row n, as many steps as the deepest tree has.
 *
 *     node = root[t]
 *     for depth { node = next[2 * node + !(x[n, feature[node]] <= split[node])] }      a leaf leads to itself
 *
 * Nothing branches on data, so that the ways of several trees overlap in the processor.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

enum { X, FEATURE, SPLIT, NEXT, ROOT };

/* The tables are constants whose indices stay inside of them: nothing is checked on the way. */
static bool trees_can(Ctx *c, const Node *n, const char **why) {
  const TreesAttr *a = ATTR(n, Trees);
  (void)c;
  *why = "tables of trees that are no constants, or lead out of themselves";
  for (int i = FEATURE; i <= ROOT; i++)
    if (!n->in[i] || !n->in[i]->konst || !tensor_aligned(n->in[i]->konst) || n->in[i]->konst->rank != 1)
      return false;
  int64_t count = n->in[FEATURE]->konst->dim[0];
  const int32_t *feature = n->in[FEATURE]->konst->data, *next = n->in[NEXT]->konst->data,
                *root = n->in[ROOT]->konst->data;
  if (n->in[SPLIT]->konst->dim[0] != count || n->in[NEXT]->konst->dim[0] != 2 * count)
    return false;
  for (int64_t i = 0; i < count; i++)
    if ((feature[i] < 0 ? ~feature[i] : feature[i]) >= (a->width < 1 ? 1 : a->width))
      return false;
  for (int64_t i = 0; i < 2 * count; i++)
    if (next[i] < 0 || next[i] >= count)
      return false;
  for (int64_t i = 0; i < n->in[ROOT]->konst->dim[0]; i++)
    if (root[i] < 0 || root[i] >= count)
      return false;
  return a->depth >= 0;
}

static Status table(Lower *x, const Node *n, int i, KExpr *at, KExpr **e) { return lower_read(x, n->in[i], &at, e); }

/* The node behind `node` for row r. */
static Status step(Lower *x, const Node *n, KExpr *r, KExpr *node, KExpr **to) {
  KExpr *f, *s, *v, *at[2] = {r, NULL}, *two = lower_index_const(x, 2), *zero = lower_index_const(x, 0), *yes;
  TRY(table(x, n, FEATURE, node, &f));
  f = lower_once(x, "f", ke_cast(x->k, DT_i64, f));
  KExpr *flagged = k_bin(x, KOP_lt, f, zero);
  at[1] = ATTR(n, Trees)->missing
              ? lower_once(x, "f", ke_select(x->k, flagged, k_sub(x, lower_index_const(x, -1), f), f))
              : f;
  TRY(lower_read(x, n->in[X], at, &v));
  v = lower_once(x, "v", v);
  TRY(table(x, n, SPLIT, node, &s));
  yes = k_bin(x, KOP_le, v, s);
  if (ATTR(n, Trees)->missing)
    yes = k_bin(x, KOP_or, yes, k_bin(x, KOP_and, k_un(x, KOP_isnan, v), flagged));
  KExpr *side = ke_select(x->k, yes, zero, lower_index_const(x, 1));
  TRY(table(x, n, NEXT, k_add(x, k_mul(x, node, two), side), to));
  *to = ke_cast(x->k, DT_i64, *to);
  return ST_OK;
}

static Status trees(Lower *x, const Node *n, int o, KExpr *const *index, KExpr **e) {
  const TreesAttr *a = ATTR(n, Trees);
  KExpr *root, *to, *width = ke_dim(x->k, n->in[X]->type.dim[1]), *need = lower_index_const(x, a->width);
  KCursor behind;
  (void)o;
  TRY(lower_check(x, k_bin(x, KOP_le, need, width), need, n->in[X]->type.dim[1],
                  "the trees read %lld features, X has %lld"));
  TRY(table(x, n, ROOT, index[1], &root));
  KVar *node = ks_acc(&x->at, "node", ke_cast(x->k, DT_i64, root));
  lower_set_level(x, node, x->depth);
  lower_open_ordered(x, "d", dim_const(x->c, a->depth), &behind);
  TRY(step(x, n, index[0], ke_var(x->k, node), &to));
  ks_update(&x->at, node, KOP_add, k_sub(x, to, ke_var(x->k, node)));
  lower_close(x, 1, behind);
  *e = ke_cast(x->k, DT_i32, ke_var(x->k, node));
  return ST_OK;
}
const Lowering trees_lower = {LOWER_ELEM, .can = trees_can, .elem = trees};
