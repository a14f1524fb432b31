/* attention_match.c - finds attentions: from the product with V, or from an Attention, back to what Q, K, V and masks are.
 *
 * Operands are followed through transpositions and through factors that are scalars: dynamo multiplies Q and K by the
 * root of the scale each. Keys and values that are repeated for grouped heads lose the repetition.
 *
 * A row whose scores are all masked by -inf gives NaN in these nodes, zeros behind the guard Where(IsNaN(p), 0, p), and
 * zeros in Attention, and behind the guard of the operator's own text, Where(ReduceMax(mask) == -inf, 0, p). So without
 * a guard the mask must be known to leave every row open: see open_rows.
 * XLNet subtracts its mask, and scales the sum of scores and bias: both become factors of what is added.
 * Scores may be filled instead, Where(keep, scores, low) with a low that no score comes near: keep is a bool mask.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/attention.h"

#include <math.h>
#include <string.h>

/* --- operands --- */

Value *attention_unscaled(const Value *v, double *scale) {
  Node *n = v->def;
  double k;
  if (!n || (n->op != OP_Mul && n->op != OP_Div) || !value_scalar(n->in[1], &k) || !same_type(n->in[0], v) ||
      !isfinite(k) || k == 0)
    return NULL;
  *scale *= n->op == OP_Mul ? k : 1 / k;
  return n->in[0];
}

static void peel(Match *m, Operand *o, bool scaling) {
  for (;;) {
    Node *n = o->v->def;
    int64_t p[MAX_RANK], q[4];
    int rank;
    Value *x;
    if (scaling && (x = attention_unscaled(o->v, &o->scale))) {
      match_also(m, n);
      o->v = x;
    } else if (n && n->op == OP_Transpose && perm_of(n, p, &rank) && rank == 4) {
      for (int i = 0; i < 4; i++)
        q[i] = p[o->perm[i]];
      memcpy(o->perm, q, sizeof q);
      match_also(m, n);
      o->v = n->in[0];
    } else {
      return;
    }
  }
}

/* [B,Hk,L,D] that was repeated to [B,Hk*r,L,D] by Reshape [B,Hk,1,L,D], Expand [B,Hk,r,L,D], Reshape; else NULL. */
static Value *unrepeated(const Operand *o) {
  Node *join = def_of(o->v, OP_Reshape), *expand = join ? def_of(join->in[0], OP_Expand) : NULL;
  Node *open = expand ? def_of(expand->in[0], OP_Reshape) : NULL;
  if (!open || o->perm[1] != 1)
    return NULL;
  Value *x = open->in[0];
  const Type *t = &x->type, *one = &open->out[0]->type, *many = &expand->out[0]->type, *all = &o->v->type;
  int64_t heads, times, total;
  if (!type_known(x) || t->rank != 4 || one->rank != 5 || many->rank != 5 || all->rank != 4 ||
      !dim_is_const(t->dim[1], &heads) || !dim_is_const(many->dim[2], &times) || !dim_is_const(all->dim[1], &total) ||
      heads * times != total || !dim_is(one->dim[2], 1))
    return NULL;
  static const int of5[] = {0, 1, 3, 4};
  for (int i = 0; i < 4; i++)
    if (one->dim[of5[i]] != t->dim[i] || many->dim[of5[i]] != t->dim[i] || (i != 1 && all->dim[i] != t->dim[i]))
      return NULL;
  return x;
}

static void lose_repetition(Match *m, Heads *h) {
  Value *k = unrepeated(&h->k), *v = unrepeated(&h->v);
  if (!k || !v)
    return;
  h->k.v = k, h->v.v = v;
  h->repeated = true;
  peel(m, &h->k, true);
  peel(m, &h->v, false);
}

static bool four(const Operand *o) { return type_known(o->v) && o->v->type.rank == 4; }

Dim attention_extent(const Operand *o, int axis) { return o->v->type.dim[o->perm[axis]]; }

/* The extents fit for all values of the symbols; equal head counts, or a constant multiple. */
static bool fits(const Heads *h) {
  int64_t hq, hk;
  const Operand *q = &h->q, *k = &h->k, *v = &h->v;
  if (attention_extent(q, 0) != attention_extent(k, 0) || attention_extent(q, 0) != attention_extent(v, 0) ||
      attention_extent(q, 3) != attention_extent(k, 3) || attention_extent(k, 1) != attention_extent(v, 1) ||
      attention_extent(k, 2) != attention_extent(v, 2))
    return false;
  return attention_extent(q, 1) == attention_extent(k, 1) ||
         (dim_is_const(attention_extent(q, 1), &hq) && dim_is_const(attention_extent(k, 1), &hk) && hk > 0 &&
          hq % hk == 0);
}

/* --- masks --- */

/* Every row (last axis) of the constant has an element above -inf, and no NaN. */
static bool const_open(const Value *v) {
  const Tensor *t = v->konst;
  int64_t n = tensor_count(t), last = t->rank ? t->dim[t->rank - 1] : 1;
  if (n > 1 << 24)
    return false;
  for (int64_t i = 0; i < n; i += last) {
    bool open = false;
    for (int64_t j = 0; j < last; j++) {
      double x = const_elem(t, i + j);
      if (isnan(x))
        return false;
      open |= x > -INFINITY;
    }
    if (!open)
      return false;
  }
  return true;
}

static bool const_finite(const Value *v) {
  const Tensor *t = v->konst;
  int64_t n = tensor_count(t);
  if (n > 1 << 24)
    return false;
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(const_elem(t, i)))
      return false;
  return true;
}

/* v holds finite numbers (looked at: *budget values at most), given that sums and products of finite numbers do
 * (exporters use the lowest float for that), those of matrices among them, whatever they are of. */
static bool stays_finite_in(const Value *v, int *budget) {
  static const struct {
    OpId op;
    int first, last;
  } through[] = {{OP_Where, 1, 2},         {OP_Add, 0, 1},
                 {OP_Sub, 0, 1},           {OP_Mul, 0, 1},
                 {OP_Expand, 0, 0},        {OP_Reshape, 0, 0},
                 {OP_Transpose, 0, 0},     {OP_Slice, 0, 0},
                 {OP_Gather, 0, 0},        {OP_Squeeze, 0, 0},
                 {OP_Unsqueeze, 0, 0},     {OP_Identity, 0, 0},
                 {OP_Split, 0, 0},         {OP_Neg, 0, 0},
                 {OP_Tile, 0, 0},          {OP_Cast, 0, 0},
                 {OP_Concat, 0, 255},      {OP_Min, 0, 255},
                 {OP_Max, 0, 255},         {OP_Trilu, 0, 0},
                 {OP_ScatterND, 0, 2},     {OP_ScatterElements, 0, 2},
                 {OP_Abs, 0, 0},           {OP_Relu, 0, 0},
                 {OP_GatherElements, 0, 0}};
  if (!v || v->type.kind != VK_TENSOR || (*budget)-- <= 0)
    return false;
  if (dtype_kind(v->type.dtype) == DK_BOOL || dtype_is_int(v->type.dtype))
    return true;
  if (v->konst)
    return const_finite(v);
  if (!v->def)
    return false;
  double by;
  if (v->def->op == OP_Sigmoid || v->def->op == OP_Tanh || v->def->op == OP_MatMul)
    return true;
  if (v->def->op == OP_Div && value_scalar(v->def->in[1], &by) && by != 0)
    return stays_finite_in(v->def->in[0], budget);
  for (size_t i = 0; i < countof(through); i++)
    if (through[i].op == v->def->op) {
      for (int k = through[i].first; k <= through[i].last && k < v->def->nin; k++)
        if (!stays_finite_in(v->def->in[k], budget))
          return false;
      return true;
    }
  return false;
}

static bool stays_finite(const Value *v) {
  int budget = 300;
  return stays_finite_in(v, &budget);
}

static bool open_rows(const Value *mask) { return !mask || (mask->konst ? const_open(mask) : stays_finite(mask)); }

/* The mask reaches the scores by broadcasting. Its last axis must be theirs or 1, or the product with V would be
 * refused. */
static bool mask_fits(const Value *mask, const Value *scores) {
  int rank = mask->type.rank;
  if (!type_known(mask) || rank < 1 || rank > 4 || mask->type.dtype != scores->type.dtype)
    return false;
  for (int i = 0; i < rank - 1; i++)
    if (!dim_is(mask->type.dim[i], 1) && mask->type.dim[i] != scores->type.dim[4 - rank + i])
      return false;
  return true;
}

/* a and b have rank 4 and agree on all axes but the last. */
static bool same_rows(const Value *a, const Value *b) {
  if (!type_known(a) || !type_known(b) || a->type.rank != 4 || b->type.rank != 4)
    return false;
  return !memcmp(a->type.dim, b->type.dim, 3 * sizeof a->type.dim[0]);
}

/* --- matching --- */

/* p, or what stands in front of its guard Where(IsNaN(s), 0, s). */
static Value *unguarded(Match *m, Value *p, bool *guarded) {
  Node *w = def_of(p, OP_Where), *nan = w ? def_of(w->in[0], OP_IsNaN) : NULL;
  if (!nan || !is_num(w->in[1], 0) || nan->in[0] != w->in[2] || !value_sole_user(p) || !value_sole_user(nan->out[0]))
    return p;
  for (const Use *u = w->in[2]->uses; u; u = u->next)
    if (u->node != w && u->node != nan)
      return p;
  *guarded = true;
  match_also(m, w);
  match_also(m, nan);
  return w->in[2];
}

/* p, or what stands in front of the guard that the operator's own text has: Where(ReduceMax(mask) == -inf, 0, s). */
static Value *unguarded_rows(Match *m, Value *p, Value **mask) {
  Node *w = def_of(p, OP_Where), *eq = w ? def_of(w->in[0], OP_Equal) : NULL;
  Node *max = eq ? def_of(eq->in[0], OP_ReduceMax) : NULL;
  const int64_t *axis;
  int64_t n;
  if (!max || !is_num(w->in[1], 0) || !is_num(eq->in[1], -INFINITY) || !value_sole_user(p) ||
      !value_sole_user(w->in[2]) || !ATTR(max, Reduce)->keepdims || max->nin < 2 ||
      !value_ints(max->in[1], &axis, &n, m->g->arena) || n != 1 || axis_of(axis[0], max->in[0]) < 0 ||
      axis_of(axis[0], max->in[0]) != max->in[0]->type.rank - 1)
    return p;
  *mask = max->in[0];
  match_also(m, w);
  return w->in[2];
}

/* The product of Q and K' behind scores that may be scaled. */
static Node *product(const Value *v, double *scale) {
  Value *x;
  double by = 1;
  while (value_sole_user(v) && (x = attention_unscaled(v, &by)))
    v = x;
  Node *n = def_of(v, OP_MatMul);
  if (!n || !value_sole_user(v) || !type_known(v) || v->type.rank != 4 || !type_known(n->in[0]) ||
      !type_known(n->in[1]) || n->in[0]->type.rank != 4 || n->in[1]->type.rank != 4)
    return NULL;
  *scale *= by;
  return n;
}

/* Scores on their way to the softmax: a product, or a sum, scaled perhaps. */
static bool are_scores(const Value *v) {
  double unused = 1;
  if (product(v, &unused))
    return true;
  Value *x = attention_unscaled(v, &unused);
  v = x ? x : v;
  return def_of(v, OP_Add) || def_of(v, OP_Sub);
}

/* Swin adds its windows' mask in five dimensions: v = Reshape(Reshape(s [B*W,H,S,L] -> [B,W,H,S,L]) + mask).
 * Returns s. */
static Value *windowed(Match *m, Value *v, Heads *h) {
  Node *join = def_of(v, OP_Reshape), *add = join ? def_of(join->in[0], OP_Add) : NULL;
  if (!add || !value_sole_user(v) || !value_sole_user(add->out[0]) || h->nmask == MAX_MASKS)
    return NULL;
  for (int i = 0; i < 2; i++) {
    Value *five = add->in[i], *mask = add->in[1 - i];
    Node *open = def_of(five, OP_Reshape);
    if (!open || !value_sole_user(five) || !same_shape(open->in[0], v) || !same_shape(five, add->out[0]) ||
        five->type.rank != 5 || v->type.rank != 4 || memcmp(five->type.dim + 2, v->type.dim + 1, 3 * sizeof(Dim)) ||
        !type_known(mask) || mask->type.rank != 5 || !broadcasts_into(mask, five) ||
        !dims_bound(m->g, five->type.dim, 5, NULL))
      continue;
    h->mask[h->nmask] = mask, h->factor[h->nmask] = h->scale;
    h->windows[h->nmask++] = five;
    match_also(m, join);
    match_also(m, add);
    match_also(m, open);
    return open->in[0];
  }
  return NULL;
}

/* v = Where(cond, low, s) or Where(cond, s, low): s. */
static Value *unfilled(Match *m, Value *v, Heads *h) {
  Node *w = def_of(v, OP_Where);
  if (!w || !value_sole_user(v))
    return NULL;
  for (int side = 1; side <= 2; side++) {
    Value *s = w->in[3 - side], *cond = w->in[0];
    if (!value_scalar(w->in[side], &h->low) || !(h->low <= -1e30) || !same_shape(s, v) || !type_known(cond) ||
        cond->type.rank < 1 || cond->type.rank > 4)
      continue;
    if (h->low > -INFINITY && v->type.dtype != DT_f32 &&
        v->type.dtype != DT_f64) /* the mean of V is a sum, which has to fit */
      continue;
    h->cond = cond, h->keeps = side == 2;
    match_also(m, w);
    return s;
  }
  return NULL;
}

/* No row is masked out by mask i where that would not be what Attention makes of it. A factor keeps finite numbers finite. */
static bool mask_holds(const Heads *h, int i) {
  if (h->factor[i] != 1 && !(fabs(h->factor[i]) <= 1 && stays_finite(h->mask[i])))
    return false;
  if (h->guarded && !h->cond)
    return true;
  return h->nmask == 1 && !h->cond ? h->open == h->mask[i] || open_rows(h->mask[i]) : stays_finite(h->mask[i]);
}

/* Follows sums of scores and masks to the product. */
static Node *match_scores(Match *m, Value *v, Heads *h) {
  Node *mm;
  Value *bare = unfilled(m, v, h);
  v = bare ? bare : v;
  while (!(mm = product(v, &h->scale))) {
    Value *inner = windowed(m, v, h);
    if (inner) {
      v = inner;
      continue;
    }
    Node *add = v->def;
    if (!add || !value_sole_user(v))
      return NULL;
    if ((inner = attention_unscaled(v, &h->scale))) {
      match_also(m, add);
      v = inner;
      continue;
    }
    if ((add->op != OP_Add && add->op != OP_Sub) || h->nmask == MAX_MASKS)
      return NULL;
    int at = add->op == OP_Sub || (same_rows(add->in[0], v) && are_scores(add->in[0])) ? 0 : 1;
    if (!same_rows(add->in[at], v))
      return NULL;
    h->factor[h->nmask] = add->op == OP_Sub ? -h->scale : h->scale;
    h->mask[h->nmask++] = add->in[1 - at];
    match_also(m, add);
    v = add->in[at];
  }
  for (int i = 0; i < h->nmask; i++)
    if ((!h->windows[i] && !mask_fits(h->mask[i], mm->out[0])) || !mask_holds(h, i))
      return NULL;
  if (h->open && (h->cond || !(h->nmask == 1 && h->open == h->mask[0])))
    return NULL;
  match_also(m, mm);
  return mm;
}

static bool match_product(Match *m, Node *pv, Heads *h) {
  Value *p = unguarded_rows(m, unguarded(m, pv->in[0], &h->guarded), &h->open);
  Node *soft = def_of(p, OP_Softmax), *qk;
  if (!soft || !type_known(p) || p->type.rank != 4 || axis_of(ATTR(soft, Softmax)->axis, p) != 3 ||
      !dtype_is_float(p->type.dtype) || (!h->guarded && !value_sole_user(p)))
    return false;
  h->scale = 1;
  match_also(m, pv);
  match_also(m, soft);
  if (!(qk = match_scores(m, soft->in[0], h)))
    return false;
  h->q = (Operand){qk->in[0], {0, 1, 2, 3}, 1};
  h->k = (Operand){qk->in[1], {0, 1, 3, 2}, 1};
  h->v = (Operand){pv->in[1], {0, 1, 2, 3}, 1};
  return true;
}

/* An Attention of 4-D operands without cache of its own. */
static bool match_node(Match *m, Node *n, Heads *h) {
  int64_t d;
  for (int i = 4; i < n->nin; i++)
    if (n->in[i])
      return false;
  for (int i = 1; i < n->nout; i++)
    if (n->out[i] && n->out[i]->uses)
      return false;
  if (!type_known(n->in[0]) || n->in[0]->type.rank != 4)
    return false;
  h->attr = ATTR(n, Attention);
  if (n->nin > 3 && n->in[3])
    h->factor[0] = 1, h->mask[h->nmask++] = n->in[3];
  h->q = (Operand){n->in[0], {0, 1, 2, 3}, 1};
  h->k = (Operand){n->in[1], {0, 1, 2, 3}, 1};
  h->v = (Operand){n->in[2], {0, 1, 2, 3}, 1};
  h->scale = (double)h->attr->scale;
  match_also(m, n);
  if (isnan(h->scale))
    h->scale = dim_is_const(n->in[0]->type.dim[3], &d) && d > 0 ? 1 / sqrt((double)d) : NAN;
  return true;
}

bool attention_match(Match *m, Node *n, Heads *h) {
  if (n->op == OP_Attention ? !match_node(m, n, h) : !match_product(m, n, h))
    return false;
  bool scaling = !isnan(h->scale);
  peel(m, &h->q, scaling);
  peel(m, &h->k, scaling);
  peel(m, &h->v, false);
  if (!four(&h->q) || !four(&h->k) || !four(&h->v))
    return false;
  lose_repetition(m, h);
  Dim keys = attention_extent(&h->k, 2);
  return fits(h) && dims_bound(m->g, &keys, 1, NULL);
}
