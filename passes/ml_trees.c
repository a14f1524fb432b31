/* ml_trees.c - trees as tables, walked by a compiled kernel (sard.Trees), and their leaves gathered by operators of ai.onnx.
 *
 * Every test becomes `v <= split` on numbers that are not NaN, with the branch that NaN takes beside it:
 *     v < s    v <= the number below s          v > s, v >= s    the same with the branches swapped
 *     v == s   v <= the number below s ? no : v <= s ? yes : no      v in {a, b, …}   one such pair for each, in a row
 * Nodes lie in flat lists; a leaf leads to itself, so that all ways take as many steps as the deepest.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/ml.h"

#include "ops/eval/forest.h"

#include <math.h>
#include <string.h>

enum { MAX_LEAVES = 1 << 26 };

typedef struct Flat {
  Match *m;
  const Forest *f;
  DType t; /* of the comparisons */
  int64_t n, cap;
  int32_t *feature, *next; /* ~feature: NaN takes the branch `yes`. next[2 i]: yes, next[2 i + 1]: no */
  double *split;
  bool missing;
} Flat;

/* --- flattening --- */

static double below(DType t, double s) {
  return t == DT_f64 ? nextafter(s, -INFINITY) : (double)nextafterf((float)s, -INFINITY);
}

/* How many flat nodes a node becomes. */
static int64_t flat_size(const TreeNode *x) {
  switch (x->mode) {
  case TM_EQ:
  case TM_NEQ: return 2;
  case TM_MEMBER: return x->n ? 2 * x->n : 1;
  default: return 1;
  }
}

static void put(Flat *k, int64_t i, int32_t feature, double split, bool missing, int64_t yes, int64_t no) {
  k->feature[i] = missing ? ~feature : feature;
  k->split[i] = split;
  k->next[2 * i] = (int32_t)yes, k->next[2 * i + 1] = (int32_t)no;
  k->missing |= missing;
}

/* Nodes at and at + 1: is it s? NaN goes to `yes` or `no` as missing says. */
static void put_equal(Flat *k, int64_t at, int32_t feature, double s, bool missing, int64_t yes, int64_t no) {
  double before = s == -INFINITY ? NAN : below(k->t, s); /* nothing is below; nothing is NaN or less */
  put(k, at, feature, before, !missing, no, at + 1);
  put(k, at + 1, feature, s, missing, yes, no);
}

/* A test that no number passes. */
static void put_never(Flat *k, int64_t at, const TreeNode *x, int64_t yes, int64_t no) {
  put(k, at, x->feature, NAN, x->missing, yes, no);
}

static void put_node(Flat *k, int64_t at, const TreeNode *x, int64_t yes, int64_t no) {
  bool swap = x->mode == TM_GT || x->mode == TM_GTE, strict = x->mode == TM_LT || x->mode == TM_GTE;
  double s = x->split;
  switch (x->mode) {
  case TM_LEAF: put(k, at, 0, INFINITY, false, at, at); return;
  case TM_EQ:
    if (isnan(s))
      put_never(k, at, x, yes, no), put(k, at + 1, 0, 0, false, at, at);
    else
      put_equal(k, at, x->feature, s, x->missing, yes, no);
    return;
  case TM_NEQ:
    if (isnan(s))
      put(k, at, x->feature, NAN, !x->missing, no, yes), put(k, at + 1, 0, 0, false, at, at);
    else
      put_equal(k, at, x->feature, s, !x->missing, no, yes);
    return;
  case TM_MEMBER:
    for (int64_t i = 0; i < x->n; i++)
      put_equal(k, at + 2 * i, x->feature, k->f->member[x->first + i], x->missing, yes,
                i + 1 < x->n ? at + 2 * i + 2 : no);
    if (!x->n)
      put_never(k, at, x, yes, no);
    return;
  default:
    if (isnan(s)) {
      put_never(k, at, x, yes, no);
      return;
    }
    s = strict ? (s == -INFINITY ? NAN : below(k->t, s)) : s;
    put(k, at, x->feature, s, swap ? !x->missing : x->missing, swap ? no : yes, swap ? yes : no);
  }
}

/* False: too many nodes. *at: where each node of the forest starts. */
static bool flatten(Flat *k, int32_t **at) {
  Arena *a = k->m->g->arena;
  int32_t *first = arena_array(a, int32_t, (size_t)k->f->nnode + 1);
  for (int64_t i = 0; i < k->f->nnode; i++) {
    first[i] = (int32_t)k->n;
    k->n += flat_size(&k->f->node[i]);
    if (k->n > MAX_LEAVES)
      return false;
  }
  k->feature = arena_array(a, int32_t, (size_t)k->n), k->next = arena_array(a, int32_t, 2 * (size_t)k->n);
  k->split = arena_array(a, double, (size_t)k->n);
  for (int64_t i = 0; i < k->f->nnode; i++) {
    const TreeNode *x = &k->f->node[i];
    put_node(k, first[i], x, first[x->yes], first[x->no]);
  }
  *at = first;
  return true;
}

/* Steps of the longest way: the trees have no cycles. */
static int64_t flat_depth(const Flat *k, const int32_t *at) {
  Arena *a = k->m->g->arena;
  int64_t most = 0, top = 0;
  int32_t *depth = arena_array(a, int32_t, (size_t)k->n), *stack = arena_array(a, int32_t, 2 * (size_t)k->n + 2);
  for (int64_t t = 0; t < k->f->ntree; t++) {
    stack[top++] = at[k->f->root[t]];
    while (top) {
      int32_t i = stack[top - 1], yes = k->next[2 * i], no = k->next[2 * i + 1];
      bool leaf = yes == i;
      if (!depth[i] && !leaf && ((yes != i && !depth[yes]) || !depth[no])) {
        if (!depth[yes])
          stack[top++] = yes;
        if (!depth[no])
          stack[top++] = no;
        continue;
      }
      depth[i] = leaf ? 1 : 1 + (depth[yes] > depth[no] ? depth[yes] : depth[no]);
      most = depth[i] - 1 > most ? depth[i] - 1 : most;
      top--;
    }
  }
  return most;
}

/* --- the walk --- */

static Value *int_list(Match *m, const int32_t *v, int64_t n) {
  Tensor *t = ml_tensor(m, DT_i32, 1, n, 0);
  if (n)
    memcpy(t->data, v, (size_t)n * sizeof *v);
  return ml_const(m, t);
}

/* The flat node at which each row's way through each tree ends, i32[N, T]; trees in the given order. */
static Value *walk(Flat *k, Value *x, const int32_t *at, const int32_t *order) {
  Match *m = k->m;
  const Forest *f = k->f;
  int32_t *root = arena_array(m->g->arena, int32_t, (size_t)f->ntree);
  Tensor *split = ml_tensor(m, k->t, 1, k->n, 0);
  for (int64_t i = 0; i < k->n; i++)
    elem_set_f64(k->t, split->data, i, k->split[i]);
  for (int64_t t = 0; t < f->ntree; t++)
    root[t] = at[f->root[order[t]]];
  TreesAttr a = {.depth = flat_depth(k, at), .missing = k->missing, .width = f->feature + 1};
  return EMIT(m, Trees, &a, ml_cast(m, ml_matrix(m, x), k->t), int_list(m, k->feature, k->n), ml_const(m, split),
              int_list(m, k->next, 2 * k->n), int_list(m, root, f->ntree));
}

/* --- what the leaves say --- */

/* The only target of tree t, whose leaves have one vote each; -1: it is not so. */
static int64_t sole_target(const Forest *f, int32_t root, int32_t *stack, int32_t *seen, int32_t mark) {
  int64_t top = 0, target = -2;
  stack[top++] = root;
  while (top) {
    int32_t i = stack[--top];
    const TreeNode *x = &f->node[i];
    if (seen[i] == mark)
      continue;
    seen[i] = mark;
    if (x->mode != TM_LEAF) {
      stack[top++] = x->yes, stack[top++] = x->no;
      continue;
    }
    if (x->n != 1 || (target >= 0 && f->vote[x->first].target != target))
      return -1;
    target = f->vote[x->first].target;
  }
  return target;
}

/* Trees in the order of their targets, as many for each. False: it is not so. */
static bool by_target(Match *m, const Forest *f, int32_t *order) {
  Arena *a = m->g->arena;
  int64_t *target = arena_array(a, int64_t, (size_t)f->ntree), each = f->ntree / f->ntarget, n = 0;
  int32_t *stack = arena_array(a, int32_t, 2 * (size_t)f->nnode + 2);
  int32_t *seen = arena_array(a, int32_t, (size_t)f->nnode);
  for (int64_t t = 0; t < f->ntree; t++) {
    target[t] = sole_target(f, f->root[t], stack, seen, (int32_t)t + 1);
    if (target[t] < 0)
      return false;
  }
  for (int64_t k = 0; k < f->ntarget; k++) {
    for (int64_t t = 0; t < f->ntree; t++)
      if (target[t] == k)
        order[n++] = (int32_t)t;
    if (n != (k + 1) * each)
      return false;
  }
  return n == f->ntree;
}

static Value *reduce(Match *m, TreeAggregate how, Value *v, int64_t axis) {
  ReduceAttr drop = {.keepdims = 0};
  Value *at = const_ints(m, &axis, 1);
  switch (how) {
  case TA_MIN: return EMIT(m, ReduceMin, &drop, v, at);
  case TA_MAX: return EMIT(m, ReduceMax, &drop, v, at);
  case TA_AVERAGE:
  default: return EMIT(m, ReduceSum, &drop, v, at);
  }
}

/* Each leaf has one number: [N, T] -> [N, targets]. */
static Value *gather_numbers(Flat *k, Value *leaf, const int32_t *at) {
  Match *m = k->m;
  const Forest *f = k->f;
  GatherAttr first = {.axis = 0};
  Tensor *w = ml_tensor(m, k->t, 1, k->n, 0);
  for (int64_t i = 0; i < f->nnode; i++)
    if (f->node[i].mode == TM_LEAF && f->node[i].n)
      elem_set_f64(k->t, w->data, at[i], f->vote[f->node[i].first].weight);
  Value *v = EMIT(m, Gather, &first, ml_const(m, w), leaf);
  ReshapeAttr as = {0};
  if (f->ntarget == 1) {
    v = reduce(m, f->aggregate, v, 1);
    return EMIT(m, Unsqueeze, NULL, v, const_ints(m, (int64_t[]){1}, 1));
  }
  v = EMIT(m, Reshape, &as, v, const_ints(m, (int64_t[]){0, f->ntarget, f->ntree / f->ntarget}, 3));
  return reduce(m, f->aggregate, v, 2);
}

/* Each leaf has a number for every target: [N, T] -> [N, T, targets] -> [N, targets]. */
static Value *gather_rows(Flat *k, Value *leaf, const int32_t *at) {
  Match *m = k->m;
  const Forest *f = k->f;
  GatherAttr first = {.axis = 0};
  Tensor *w = ml_tensor(m, k->t, 2, k->n, f->ntarget);
  for (int64_t i = 0; i < f->nnode; i++)
    for (int64_t v = 0; f->node[i].mode == TM_LEAF && v < f->node[i].n; v++) {
      const TreeVote *x = &f->vote[f->node[i].first + v];
      int64_t p = at[i] * f->ntarget + x->target;
      elem_set_f64(k->t, w->data, p, elem_f64(k->t, w->data, p) + x->weight);
    }
  return reduce(m, TA_SUM, EMIT(m, Gather, &first, ml_const(m, w), leaf), 1);
}

/* Scores [N, targets] of type t, base values included; NULL: the trees stay as they are. */
static Value *scores(Match *m, Value *x, const Forest *f) {
  int64_t width;
  Flat k = {.m = m, .f = f, .t = x->type.dtype == DT_f64 || f->wide ? DT_f64 : DT_f32};
  int32_t *at, *order = arena_array(m->g->arena, int32_t, (size_t)f->ntree + 1);
  if (!type_known(x) || (x->type.rank != 1 && x->type.rank != 2) || !f->ntree || f->ntarget < 1 ||
      (dim_is_const(x->type.dim[x->type.rank - 1], &width) && width <= f->feature))
    return NULL;
  bool numbers = by_target(m, f, order), sum = f->aggregate == TA_SUM || f->aggregate == TA_AVERAGE;
  for (int64_t t = 0; !numbers && t < f->ntree; t++)
    order[t] = (int32_t)t;
  if ((!numbers && !sum) || !flatten(&k, &at) || (!numbers && k.n > MAX_LEAVES / f->ntarget))
    return NULL;
  Value *leaf = walk(&k, x, at, order);
  Value *s = numbers ? gather_numbers(&k, leaf, at) : gather_rows(&k, leaf, at);
  if (f->aggregate == TA_AVERAGE)
    s = EMIT(m, Div, NULL, s, const_like(m, (double)f->ntree, k.t));
  if (forest_base_count(f)) {
    Tensor *b = ml_tensor(m, k.t, 1, f->ntarget, 0);
    for (int64_t i = 0; i < f->ntarget; i++)
      elem_set_f64(k.t, b->data, i, forest_base(f, i));
    s = EMIT(m, Add, NULL, s, ml_const(m, b));
  }
  return s;
}

/* A forest that is not right is left to its evaluator, which says why. */
static bool ok(Match *m, Status st) {
  if (st)
    memset(&m->c->err, 0, sizeof m->c->err);
  return !st;
}

static Value *regression(Match *m, const Forest *f, DType t) {
  Value *s = scores(m, m->root->in[0], f);
  return s ? ml_cast(m, ml_transformed(m, s, f->post), t) : NULL;
}

Value *ml_tree_ensemble(Match *m) {
  Forest f;
  return ok(m, forest_of_ensemble(m->c, m->g->arena, ATTR(m->root, TreeEnsemble), &f))
             ? regression(m, &f, m->root->in[0]->type.dtype)
             : NULL;
}

Value *ml_tree_regressor(Match *m) {
  Forest f;
  return ok(m, forest_of_regressor(m->c, m->g->arena, ATTR(m->root, TreeEnsembleRegressor), &f))
             ? regression(m, &f, DT_f32)
             : NULL;
}

/* A classifier's sole label stays with the evaluator. */
Value *ml_tree_classifier(Match *m) {
  const TreeEnsembleClassifierAttr *a = ATTR(m->root, TreeEnsembleClassifier);
  Forest f;
  if (!ok(m, forest_of_classifier(m->c, m->g->arena, a, &f)))
    return NULL;
  ClassForm form = forest_class_form(&f);
  bool pair = form == CLASS_NEGATIVE || form == CLASS_REST;
  if (form == CLASS_ONE || (a->classlabels_int64s.n && a->classlabels_strings.n))
    return NULL;
  if (pair)
    f.ntarget = 1; /* the votes are all for the first */
  Value *s = scores(m, m->root->in[0], &f);
  if (!s)
    return NULL;
  s = pair ? ml_pair(m, s, form == CLASS_REST) : s;
  Value *label = ml_labels(m, ml_best(m, s), a->classlabels_int64s, a->classlabels_strings);
  return ml_outputs(m, label, ml_transformed(m, s, f.post));
}
