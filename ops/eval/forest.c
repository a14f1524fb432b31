/* forest.c - the trees of three operators in one form, checked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/forest.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

enum { MAX_NODES = 1 << 30 };

static double list_elem(const Tensor *t, Floats f, int64_t i) {
  return t ? elem_f64(t->dtype, t->data, i) : (double)f.v[i];
}

static Status same_length(Ctx *c, const char *name, int64_t have, int64_t want) {
  return have == want ? ST_OK
                      : fail(c, ST_INVALID, "attribute '%s' has %lld entries where %lld are needed", name,
                             (long long)have, (long long)want);
}

static Status bad_node(Ctx *c, int64_t i, const char *what, int64_t v) {
  return fail(c, ST_INVALID, "tree node %lld has %s %lld", (long long)i, what, (long long)v);
}

/* --- ways through a tree --- */

typedef struct Walk {
  Ctx *c;
  const Forest *f;
  uint8_t *state; /* of a node: 0 not seen, 1 on the way from the root, 2 done */
  int32_t *depth, *stack;
  int64_t n;
} Walk;

static Status enter(Walk *w, int32_t i) {
  const TreeNode *x = &w->f->node[i];
  const int32_t child[2] = {x->yes, x->no};
  w->state[i] = 1;
  for (int k = 0; k < 2; k++) {
    if (w->state[child[k]] == 1)
      return fail(w->c, ST_INVALID, "the tree has a cycle: from node %d to node %d", (int)i, (int)child[k]);
    if (!w->state[child[k]])
      w->stack[w->n++] = child[k];
  }
  return ST_OK;
}

/* Visits everything below a root, without recursion: a tree may be as deep as it has nodes. */
static Status walk_tree(Walk *w, int32_t root) {
  w->n = 0;
  w->stack[w->n++] = root;
  while (w->n) {
    int32_t i = w->stack[w->n - 1];
    const TreeNode *x = &w->f->node[i];
    if (!w->state[i] && x->mode != TM_LEAF) {
      TRY(enter(w, i));
      continue;
    }
    w->n--;
    if (x->mode != TM_LEAF && w->state[i] == 1)
      w->depth[i] = 1 + (w->depth[x->yes] > w->depth[x->no] ? w->depth[x->yes] : w->depth[x->no]);
    w->state[i] = 2;
  }
  return ST_OK;
}

static Status check_ways(Ctx *c, Arena *a, Forest *f) {
  Walk w = {c, f, NULL, NULL, NULL, 0};
  w.state = arena_array(a, uint8_t, (size_t)f->nnode);
  w.depth = arena_array(a, int32_t, (size_t)f->nnode);
  w.stack = arena_array(a, int32_t, 2 * (size_t)f->nnode + 1);
  for (int64_t t = 0; t < f->ntree; t++) {
    if (t % 64 == 0)
      TRY(ctx_poll(c));
    TRY(walk_tree(&w, f->root[t]));
    f->depth = w.depth[f->root[t]] > f->depth ? w.depth[f->root[t]] : f->depth;
  }
  f->feature = -1;
  for (int64_t i = 0; i < f->nnode; i++)
    if (f->node[i].mode != TM_LEAF && f->node[i].feature > f->feature)
      f->feature = f->node[i].feature;
  return ST_OK;
}

static Status check_votes(Ctx *c, const Forest *f, int64_t nvote) {
  for (int64_t i = 0; i < nvote; i++)
    if (f->vote[i].target < 0 || f->vote[i].target >= f->ntarget)
      return fail(c, ST_INVALID, "entry %lld of the leaves is for target %lld of %lld", (long long)i,
                  (long long)f->vote[i].target, (long long)f->ntarget);
  return ST_OK;
}

static Status set_feature(Ctx *c, TreeNode *x, int64_t i, int64_t feature) {
  if (feature < 0 || feature >= INT32_MAX)
    return bad_node(c, i, "feature", feature);
  x->feature = (int32_t)feature;
  return ST_OK;
}

/* --- TreeEnsemble: inner nodes and leaves are numbered apart; here leaves come behind the inner nodes --- */

static Status ensemble_child(Ctx *c, const TreeEnsembleAttr *at, int64_t i, int64_t id, int64_t is_leaf, int32_t *out) {
  int64_t inner = at->nodes_featureids.n, n = is_leaf ? at->leaf_targetids.n : inner;
  if (id < 0 || id >= n)
    return bad_node(c, i, is_leaf ? "leaf" : "child", id);
  *out = (int32_t)(is_leaf ? inner + id : id);
  return ST_OK;
}

static Status ensemble_lengths(Ctx *c, const TreeEnsembleAttr *at) {
  int64_t n = at->nodes_featureids.n, m = at->leaf_targetids.n;
  if (!at->nodes_modes || !at->nodes_splits || !at->leaf_weights)
    return fail(c, ST_INVALID, "nodes_modes, nodes_splits and leaf_weights must be given");
  if (n >= MAX_NODES || m >= MAX_NODES)
    return fail(c, ST_UNSUPPORTED, "trees of %lld nodes and %lld leaves", (long long)n, (long long)m);
  TRY(same_length(c, "nodes_modes", tensor_count(at->nodes_modes), n));
  TRY(same_length(c, "nodes_splits", tensor_count(at->nodes_splits), n));
  TRY(same_length(c, "nodes_truenodeids", at->nodes_truenodeids.n, n));
  TRY(same_length(c, "nodes_falsenodeids", at->nodes_falsenodeids.n, n));
  TRY(same_length(c, "nodes_trueleafs", at->nodes_trueleafs.n, n));
  TRY(same_length(c, "nodes_falseleafs", at->nodes_falseleafs.n, n));
  TRY(same_length(c, "leaf_weights", tensor_count(at->leaf_weights), m));
  if (!dtype_is_float(at->nodes_splits->dtype) || !dtype_is_float(at->leaf_weights->dtype) ||
      (at->membership_values && !dtype_is_float(at->membership_values->dtype)) || at->nodes_modes->dtype == DT_str ||
      dtype_kind(at->nodes_modes->dtype) == DK_COMPLEX)
    return fail(c, ST_INVALID,
                "nodes_splits, leaf_weights and membership_values must hold floats, nodes_modes integers");
  return at->nodes_missing_value_tracks_true.n
             ? same_length(c, "nodes_missing_value_tracks_true", at->nodes_missing_value_tracks_true.n, n)
             : ST_OK;
}

/* Members of the set of node x, up to the next NaN. */
static Status take_members(Ctx *c, const Forest *f, int64_t total, int64_t *next, TreeNode *x) {
  x->first = *next;
  while (*next < total && !isnan(f->member[*next]))
    ++*next;
  if (*next == total)
    return fail(c, ST_INVALID, "membership_values has no set for every node that tests one");
  x->n = (*next)++ - x->first;
  return ST_OK;
}

static Status ensemble_nodes(Ctx *c, Arena *a, const TreeEnsembleAttr *at, Forest *f) {
  int64_t n = at->nodes_featureids.n, next = 0, total = at->membership_values ? tensor_count(at->membership_values) : 0;
  f->member = arena_array(a, double, (size_t)total);
  for (int64_t i = 0; i < total; i++)
    f->member[i] = elem_f64(at->membership_values->dtype, at->membership_values->data, i);
  for (int64_t i = 0; i < n; i++) {
    TreeNode *x = &f->node[i];
    int64_t mode = (int64_t)elem_f64(at->nodes_modes->dtype, at->nodes_modes->data, i);
    if (mode < 0 || mode > TM_MEMBER)
      return bad_node(c, i, "mode", mode);
    x->mode = (uint8_t)mode;
    x->split = elem_f64(at->nodes_splits->dtype, at->nodes_splits->data, i);
    x->missing = at->nodes_missing_value_tracks_true.n && at->nodes_missing_value_tracks_true.v[i];
    TRY(set_feature(c, x, i, at->nodes_featureids.v[i]));
    TRY(ensemble_child(c, at, i, at->nodes_truenodeids.v[i], at->nodes_trueleafs.v[i], &x->yes));
    TRY(ensemble_child(c, at, i, at->nodes_falsenodeids.v[i], at->nodes_falseleafs.v[i], &x->no));
    if (mode == TM_MEMBER)
      TRY(take_members(c, f, total, &next, x));
  }
  return ST_OK;
}

Status forest_of_ensemble(Ctx *c, Arena *a, const TreeEnsembleAttr *at, Forest *f) {
  int64_t n = at->nodes_featureids.n, m = at->leaf_targetids.n;
  TRY(ensemble_lengths(c, at));
  *f = (Forest){.nnode = n + m,
                .ntree = at->tree_roots.n,
                .aggregate = (TreeAggregate)at->aggregate_function,
                .post = (PostTransform)at->post_transform,
                .wide = at->nodes_splits->dtype == DT_f64};
  if (at->aggregate_function < TA_AVERAGE || at->aggregate_function > TA_MAX || at->post_transform < 0 ||
      at->post_transform >= POST_COUNT)
    return fail(c, ST_INVALID, "aggregate_function %lld, post_transform %lld", (long long)at->aggregate_function,
                (long long)at->post_transform);
  f->node = arena_array(a, TreeNode, (size_t)f->nnode);
  f->vote = arena_array(a, TreeVote, (size_t)m);
  f->root = arena_array(a, int32_t, (size_t)f->ntree);
  TRY(ensemble_nodes(c, a, at, f));
  for (int64_t i = 0; i < m; i++) {
    f->node[n + i] = (TreeNode){.mode = TM_LEAF, .first = i, .n = 1};
    f->vote[i] = (TreeVote){at->leaf_targetids.v[i], elem_f64(at->leaf_weights->dtype, at->leaf_weights->data, i)};
    if (at->n_targets == ABSENT && f->vote[i].target >= f->ntarget && f->vote[i].target < INT32_MAX)
      f->ntarget = f->vote[i].target + 1;
  }
  if (at->n_targets != ABSENT)
    f->ntarget = at->n_targets;
  for (int64_t t = 0; t < f->ntree; t++) {
    int64_t r = at->tree_roots.v[t];
    if (r < 0 || r >= n)
      return fail(c, ST_INVALID, "tree %lld starts at node %lld of %lld", (long long)t, (long long)r, (long long)n);
    /* A tree that is a leaf is written as a node with that leaf on both sides. */
    bool leaf = f->node[r].yes == f->node[r].no && at->nodes_trueleafs.v[r] && at->nodes_falseleafs.v[r];
    f->root[t] = leaf ? f->node[r].yes : (int32_t)r;
  }
  TRY(check_votes(c, f, m));
  return check_ways(c, a, f);
}

/* --- the older operators: nodes and votes are named by (tree, node) --- */

typedef struct OldLists {
  Ints tree, id, feature, yes, no, missing;
  Floats value;
  const Tensor *wide_value;
  Strs mode;
  Ints vote_tree, vote_node, vote_target;
  Floats weight;
  const Tensor *wide_weight;
} OldLists;

typedef struct NodeKey {
  int64_t tree, node;
} NodeKey;

static int64_t find_node(const Map *m, int64_t tree, int64_t node) {
  NodeKey k = {tree, node};
  return (int64_t)(uintptr_t)map_get_n(m, (const char *)&k, sizeof k) - 1;
}

static Status old_lengths(Ctx *c, const OldLists *l) {
  int64_t n = l->tree.n, m = l->vote_tree.n;
  if (n >= MAX_NODES || m >= MAX_NODES)
    return fail(c, ST_UNSUPPORTED, "trees of %lld nodes", (long long)n);
  TRY(same_length(c, "nodes_nodeids", l->id.n, n));
  TRY(same_length(c, "nodes_featureids", l->feature.n, n));
  TRY(same_length(c, "nodes_truenodeids", l->yes.n, n));
  TRY(same_length(c, "nodes_falsenodeids", l->no.n, n));
  TRY(same_length(c, "nodes_modes", l->mode.n, n));
  TRY(same_length(c, "nodes_values", l->wide_value ? tensor_count(l->wide_value) : l->value.n, n));
  TRY(same_length(c, "the node ids of the leaves", l->vote_node.n, m));
  TRY(same_length(c, "the ids of the leaves", l->vote_target.n, m));
  TRY(same_length(c, "the weights of the leaves", l->wide_weight ? tensor_count(l->wide_weight) : l->weight.n, m));
  if ((l->wide_value && !dtype_is_float(l->wide_value->dtype)) ||
      (l->wide_weight && !dtype_is_float(l->wide_weight->dtype)))
    return fail(c, ST_INVALID, "values and weights given as tensors must hold floats");
  return l->missing.n ? same_length(c, "nodes_missing_value_tracks_true", l->missing.n, n) : ST_OK;
}

static bool mode_by_name(Str s, uint8_t *mode) {
  static const char *const names[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE",    "BRANCH_GT",
                                      "BRANCH_EQ",  "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF"};
  for (uint8_t i = 0; i < countof(names); i++)
    if (i != TM_MEMBER && str_is(s, names[i])) {
      *mode = i;
      return true;
    }
  return false;
}

static Status old_child(Ctx *c, const Map *m, const OldLists *l, int64_t i, int64_t id, int32_t *out) {
  int64_t k = find_node(m, l->tree.v[i], id);
  if (k < 0)
    return bad_node(c, i, "a child that is not in its tree:", id);
  *out = (int32_t)k;
  return ST_OK;
}

static Status old_nodes(Ctx *c, const OldLists *l, const Map *m, Forest *f) {
  for (int64_t i = 0; i < f->nnode; i++) {
    TreeNode *x = &f->node[i];
    if (!mode_by_name(l->mode.v[i], &x->mode))
      return bad_node(c, i, "a mode that is not known, in tree", l->tree.v[i]);
    if (x->mode == TM_LEAF)
      continue;
    x->split = list_elem(l->wide_value, l->value, i);
    x->missing = l->missing.n && l->missing.v[i];
    TRY(set_feature(c, x, i, l->feature.v[i]));
    TRY(old_child(c, m, l, i, l->yes.v[i], &x->yes));
    TRY(old_child(c, m, l, i, l->no.v[i], &x->no));
  }
  return ST_OK;
}

/* Votes in the order of their leaves; those of nodes that are none are never counted. */
static Status old_votes(Ctx *c, Arena *a, const OldLists *l, const Map *m, Forest *f) {
  int64_t n = l->vote_tree.n, at = 0, *node = arena_array(a, int64_t, (size_t)n);
  f->vote = arena_array(a, TreeVote, (size_t)n);
  for (int64_t i = 0; i < n; i++) {
    node[i] = find_node(m, l->vote_tree.v[i], l->vote_node.v[i]);
    if (node[i] < 0)
      return fail(c, ST_INVALID, "leaf entry %lld is for node %lld of tree %lld, which is not there", (long long)i,
                  (long long)l->vote_node.v[i], (long long)l->vote_tree.v[i]);
    f->node[node[i]].n++;
  }
  for (int64_t i = 0; i < f->nnode; i++)
    f->node[i].first = at, at += f->node[i].n, f->node[i].n = 0;
  for (int64_t i = 0; i < n; i++) {
    TreeNode *x = &f->node[node[i]];
    f->vote[x->first + x->n++] = (TreeVote){l->vote_target.v[i], list_elem(l->wide_weight, l->weight, i)};
  }
  return check_votes(c, f, n);
}

/* A tree's root is the first of its nodes in the lists. */
static Status old_forest(Ctx *c, Arena *a, const OldLists *l, Forest *f) {
  Map nodes, trees;
  int64_t n = l->tree.n;
  TRY(old_lengths(c, l));
  f->nnode = n;
  f->wide = l->wide_value && l->wide_value->dtype == DT_f64;
  f->node = arena_array(a, TreeNode, (size_t)n);
  f->root = arena_array(a, int32_t, (size_t)n);
  NodeKey *key = arena_array(a, NodeKey, (size_t)n);
  map_init(&nodes, a), map_init(&trees, a);
  for (int64_t i = 0; i < n; i++) {
    void *at = (void *)(uintptr_t)(i + 1);
    key[i] = (NodeKey){l->tree.v[i], l->id.v[i]};
    if (map_put_n(&nodes, (const char *)&key[i], sizeof key[i], at))
      return fail(c, ST_INVALID, "tree %lld has two nodes %lld", (long long)key[i].tree, (long long)key[i].node);
    if (!map_get_n(&trees, (const char *)&key[i].tree, sizeof key[i].tree)) {
      map_put_n(&trees, (const char *)&key[i].tree, sizeof key[i].tree, at);
      f->root[f->ntree++] = (int32_t)i;
    }
  }
  TRY(old_nodes(c, l, &nodes, f));
  TRY(old_votes(c, a, l, &nodes, f));
  return check_ways(c, a, f);
}

static Status check_base(Ctx *c, const Forest *f) {
  int64_t n = forest_base_count(f);
  if (f->wide_base && !dtype_is_float(f->wide_base->dtype))
    return fail(c, ST_INVALID, "base_values must hold floats");
  return n && n != 1 && n != f->ntarget
             ? fail(c, ST_INVALID, "%lld base values for %lld targets", (long long)n, (long long)f->ntarget)
             : ST_OK;
}

Status forest_of_regressor(Ctx *c, Arena *a, const TreeEnsembleRegressorAttr *at, Forest *f) {
  static const char *const names[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  OldLists l = {at->nodes_treeids,     at->nodes_nodeids,           at->nodes_featureids,
                at->nodes_truenodeids, at->nodes_falsenodeids,      at->nodes_missing_value_tracks_true,
                at->nodes_values,      at->nodes_values_as_tensor,  at->nodes_modes,
                at->target_treeids,    at->target_nodeids,          at->target_ids,
                at->target_weights,    at->target_weights_as_tensor};
  *f = (Forest){.ntarget = at->n_targets == ABSENT ? 1 : at->n_targets,
                .base = at->base_values,
                .wide_base = at->base_values_as_tensor};
  size_t k = 0;
  while (k < countof(names) && !str_is(at->aggregate_function, names[k]))
    k++;
  if (k == countof(names) || !ml_post_by_name(at->post_transform, &f->post))
    return fail(c, ST_INVALID, "aggregate_function or post_transform is not known");
  if (f->ntarget < 1 || f->ntarget > INT32_MAX)
    return fail(c, ST_INVALID, "%lld targets", (long long)f->ntarget);
  f->aggregate = (TreeAggregate)k;
  TRY(old_forest(c, a, &l, f));
  return check_base(c, f);
}

Status forest_of_classifier(Ctx *c, Arena *a, const TreeEnsembleClassifierAttr *at, Forest *f) {
  OldLists l = {at->nodes_treeids,     at->nodes_nodeids,          at->nodes_featureids,
                at->nodes_truenodeids, at->nodes_falsenodeids,     at->nodes_missing_value_tracks_true,
                at->nodes_values,      at->nodes_values_as_tensor, at->nodes_modes,
                at->class_treeids,     at->class_nodeids,          at->class_ids,
                at->class_weights,     at->class_weights_as_tensor};
  Labels labels = {at->classlabels_int64s, at->classlabels_strings};
  *f = (Forest){.ntarget = ml_label_count(&labels),
                .aggregate = TA_SUM,
                .base = at->base_values,
                .wide_base = at->base_values_as_tensor};
  if (!f->ntarget)
    return fail(c, ST_INVALID, "class labels must be given");
  if (!ml_post_by_name(at->post_transform, &f->post))
    return fail(c, ST_INVALID, "post_transform is not known");
  TRY(old_forest(c, a, &l, f));
  return check_base(c, f);
}

/* --- asking --- */

int64_t forest_base_count(const Forest *f) { return f->wide_base ? tensor_count(f->wide_base) : f->base.n; }

double forest_base(const Forest *f, int64_t target) {
  int64_t n = forest_base_count(f);
  return n ? list_elem(f->wide_base, f->base, n == 1 ? 0 : target) : 0;
}

ClassForm forest_class_form(const Forest *f) {
  bool shared = true, positive = true;
  for (int64_t i = 0; i < f->nnode; i++)
    for (int64_t k = 0; f->node[i].mode == TM_LEAF && k < f->node[i].n; k++) {
      shared &= f->vote[f->node[i].first + k].target == 0;
      positive &= f->vote[f->node[i].first + k].weight >= 0;
    }
  if (f->ntarget == 1)
    return CLASS_ONE;
  if (f->ntarget > 2 || !shared)
    return CLASS_EACH;
  if (f->post == POST_PROBIT)
    return CLASS_REST;
  return f->post == POST_NONE && positive ? CLASS_REST : CLASS_NEGATIVE;
}
