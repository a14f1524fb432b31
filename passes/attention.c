/* attention.c - scaled scores, mask, softmax and their product with V -> Attention (opset 25 form).
 *
 *   q [B,H,S,D] -.                                                                .-> Transpose -> Reshape [B,S,H*D]
 *                 MatMul -> (* scale) -> (+ mask) -> Softmax -> (guard) -> MatMul -'
 *   k' [B,H,D,L] '                                              v [B,Hk,L,D] '
 *
 * Operands are followed through transpositions and through factors that are scalars: dynamo multiplies Q and K by the
 * root of the scale each. Where Q, K and V all come from [batch, sequence, heads * size] (or sequence first) and the
 * result goes back there, the node takes and gives that layout, and splitting the heads is its own business. Else it
 * takes 4-D operands, as with a cache. Keys and values that are repeated for grouped heads lose the repetition. The
 * node that opset 23 exports contain is brought to the same form.
 *
 * A row whose scores are all masked by -inf gives NaN in these nodes, zeros behind the guard Where(IsNaN(p), 0, p), and
 * zeros in Attention, and behind the guard of the operator's own text, Where(ReduceMax(mask) == -inf, 0, p). So without
 * a guard the mask must be known to leave every row open: see open_rows.
 * XLNet subtracts its mask, and scales the sum of scores and bias: both become factors of what is added.
 * Scores may be filled instead, Where(keep, scores, low) with a low that no score comes near: keep is a bool mask. A row of which nothing
 * is kept gives the mean of V, or NaN where low is -inf, which Where brings back behind the Attention (see filled_rows).
 *
 * Heads that were merged with the batch, [B*H,S,D], are split again in front (see split_scores), as DeBERTa needs it.
 * Needs: algebra (transposes and reshapes in normal form).
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"
#include "passes/rewrite.h"

#include <math.h>
#include <string.h>

enum { MAX_MASKS = 4 };

/* What stands behind an input of the attention: transpose(v, perm) * scale. */
typedef struct Operand {
  Value *v;
  int64_t perm[4];
  double scale;
} Operand;

typedef struct Heads {
  Operand q, k, v;
  Value *mask[MAX_MASKS];    /* their sum, as it was added up from the last */
  Value *windows[MAX_MASKS]; /* a mask of five dimensions: the scores it is added to; else NULL */
  double factor
      [MAX_MASKS]; /* what multiplies each on its way: -1 where it is subtracted, the scale where it is in front of that */
  int nmask;
  Value *cond; /* scores are `low` where it is true, or (keeps) where it is false; NULL: nowhere */
  bool keeps;
  double low;
  double scale; /* of the scores, besides the operands' own */
  bool guarded;
  Value *open;               /* a mask whose rows of nothing but -inf are guarded, or NULL */
  const AttentionAttr *attr; /* of a node that is an Attention already, or NULL */
  bool repeated;             /* K and V lost a repetition */
} Heads;

/* --- operands --- */

/* x, when v is x times (or divided by) a constant scalar of the same shape. */
static Value *unscaled(const Value *v, double *scale) {
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
    if (scaling && (x = unscaled(o->v, &o->scale))) {
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

static Dim extent(const Operand *o, int axis) { return o->v->type.dim[o->perm[axis]]; }

/* The extents fit for all values of the symbols; equal head counts, or a constant multiple. */
static bool fits(const Heads *h) {
  int64_t hq, hk;
  const Operand *q = &h->q, *k = &h->k, *v = &h->v;
  if (extent(q, 0) != extent(k, 0) || extent(q, 0) != extent(v, 0) || extent(q, 3) != extent(k, 3) ||
      extent(k, 1) != extent(v, 1) || extent(k, 2) != extent(v, 2))
    return false;
  return extent(q, 1) == extent(k, 1) ||
         (dim_is_const(extent(q, 1), &hq) && dim_is_const(extent(k, 1), &hk) && hk > 0 && hq % hk == 0);
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

static bool used_once(const Value *v) { return value_sole_user(v) != NULL; }

/* p, or what stands in front of its guard Where(IsNaN(s), 0, s). */
static Value *unguarded(Match *m, Value *p, bool *guarded) {
  Node *w = def_of(p, OP_Where), *nan = w ? def_of(w->in[0], OP_IsNaN) : NULL;
  if (!nan || !is_num(w->in[1], 0) || nan->in[0] != w->in[2] || !used_once(p) || !used_once(nan->out[0]))
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
  if (!max || !is_num(w->in[1], 0) || !is_num(eq->in[1], -INFINITY) || !used_once(p) || !used_once(w->in[2]) ||
      !ATTR(max, Reduce)->keepdims || max->nin < 2 || !value_ints(max->in[1], &axis, &n, m->g->arena) || n != 1 ||
      axis_of(axis[0], max->in[0]) < 0 || axis_of(axis[0], max->in[0]) != max->in[0]->type.rank - 1)
    return p;
  *mask = max->in[0];
  match_also(m, w);
  return w->in[2];
}

/* The product of Q and K' behind scores that may be scaled. */
static Node *product(const Value *v, double *scale) {
  Value *x;
  double by = 1;
  while (used_once(v) && (x = unscaled(v, &by)))
    v = x;
  Node *n = def_of(v, OP_MatMul);
  if (!n || !used_once(v) || !type_known(v) || v->type.rank != 4 || !type_known(n->in[0]) || !type_known(n->in[1]) ||
      n->in[0]->type.rank != 4 || n->in[1]->type.rank != 4)
    return NULL;
  *scale *= by;
  return n;
}

/* Scores on their way to the softmax: a product, or a sum, scaled perhaps. */
static bool are_scores(const Value *v) {
  double unused = 1;
  if (product(v, &unused))
    return true;
  Value *x = unscaled(v, &unused);
  v = x ? x : v;
  return def_of(v, OP_Add) || def_of(v, OP_Sub);
}

/* Swin adds its windows' mask in five dimensions: v = Reshape(Reshape(s [B*W,H,S,L] -> [B,W,H,S,L]) + mask).
 * Returns s. */
static Value *windowed(Match *m, Value *v, Heads *h) {
  Node *join = def_of(v, OP_Reshape), *add = join ? def_of(join->in[0], OP_Add) : NULL;
  if (!add || !used_once(v) || !used_once(add->out[0]) || h->nmask == MAX_MASKS)
    return NULL;
  for (int i = 0; i < 2; i++) {
    Value *five = add->in[i], *mask = add->in[1 - i];
    Node *open = def_of(five, OP_Reshape);
    if (!open || !used_once(five) || !same_shape(open->in[0], v) || !same_shape(five, add->out[0]) ||
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

/* [B,W,..] windows of a mask to [B*W,..]. */
static Value *flat_mask(Match *m, Value *mask, const Value *five) {
  Dim d[5];
  memcpy(d, mask->type.dim, sizeof d);
  d[0] = five->type.dim[0], d[1] = five->type.dim[1];
  mask = EMIT(m, Expand, NULL, mask, dims_value(m, d, 5));
  return reshape_to(m, mask, (Dim[]){dim_mul(m->c, d[0], d[1]), d[2], d[3], d[4]}, 4);
}

/* v = Where(cond, low, s) or Where(cond, s, low): s. */
static Value *unfilled(Match *m, Value *v, Heads *h) {
  Node *w = def_of(v, OP_Where);
  if (!w || !used_once(v))
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
    if (!add || !used_once(v))
      return NULL;
    if ((inner = unscaled(v, &h->scale))) {
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
      !dtype_is_float(p->type.dtype) || (!h->guarded && !used_once(p)))
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

static bool match(Match *m, Node *n, Heads *h) {
  if (n->op == OP_Attention ? !match_node(m, n, h) : !match_product(m, n, h))
    return false;
  bool scaling = !isnan(h->scale);
  peel(m, &h->q, scaling);
  peel(m, &h->k, scaling);
  peel(m, &h->v, false);
  if (!four(&h->q) || !four(&h->k) || !four(&h->v))
    return false;
  lose_repetition(m, h);
  Dim keys = extent(&h->k, 2);
  return fits(h) && dims_bound(m->g, &keys, 1, NULL);
}

/* --- building --- */

static AttentionAttr attributes(Match *m, const Heads *h) {
  AttentionAttr a = *(const AttentionAttr *)(h->attr ? h->attr : attr_new(m->g->arena, &Attention_attrs));
  double scale = h->scale * h->q.scale * h->k.scale;
  int64_t d;
  bool usual = dim_is_const(extent(&h->q, 3), &d) && fabs(scale * sqrt((double)d) - 1) < 2e-6;
  a.scale = usual ? NAN : (float)scale;
  a.q_num_heads = a.kv_num_heads = ABSENT;
  return a;
}

/* Do its axes lie as they do when heads were split off [batch, sequence, heads * size]? */
static bool has_hidden(const Operand *o) {
  static const int64_t batch_first[] = {0, 2, 1, 3}, seq_first[] = {1, 2, 0, 3};
  return dim_is_const(extent(o, 1), NULL) &&
         (!memcmp(o->perm, batch_first, sizeof o->perm) || !memcmp(o->perm, seq_first, sizeof o->perm));
}

static bool bound(const Match *m, const Operand *o) { return dims_bound(m->g, o->v->type.dim, 4, NULL); }

/* The operand as [batch, sequence, heads * size]. */
static Value *hidden(Match *m, Operand *o, bool scaling) {
  static const int64_t swap[] = {1, 0, 2};
  const Dim *d = o->v->type.dim;
  Value *x = o->v, *y;
  Node *split = def_of(x, OP_Reshape);
  if (split)
    x = split->in[0], match_also(m, split);
  while (scaling && (y = unscaled(x, &o->scale))) /* a factor in front of the split */
    match_also(m, x->def), x = y;
  x = reshape_to(m, x, (Dim[]){d[0], d[1], dim_mul(m->c, d[2], d[3])}, 3);
  return o->perm[0] == 0 ? x : transpose_by(m, x, swap, 3);
}

static Value *to_keys(Match *m, Value *mask, Dim keys) {
  Dim unit = dim_const(m->c, 1);
  if (mask->type.dim[mask->type.rank - 1] == keys)
    return mask;
  return EMIT(m, Expand, NULL, mask, dims_value(m, (Dim[]){unit, keys}, 2));
}

static Value *kept(Match *m, const Heads *h) {
  return to_keys(m, h->keeps ? h->cond : EMIT(m, Not, NULL, h->cond), extent(&h->k, 2));
}

static Value *finish(Match *m, const Heads *h, const AttentionAttr *a, Value *q, Value *k, Value *v) {
  Value *mask = NULL;
  for (int i = 0; i < h->nmask; i++) {
    Value *one = h->windows[i] ? flat_mask(m, h->mask[i], h->windows[i]) : h->mask[i];
    if (h->factor[i] == -1)
      one = EMIT(m, Neg, NULL, one);
    else if (h->factor[i] != 1)
      one = EMIT(m, Mul, NULL, one, const_like(m, h->factor[i], one->type.dtype));
    mask = mask ? EMIT(m, Add, NULL, one, mask) : one;
  }
  /* Attention reads a short last axis as a mask that ends early. */
  if (mask && !h->attr)
    mask = to_keys(m, mask, extent(&h->k, 2));
  if (h->cond && mask)
    mask = EMIT(m, Where, NULL, kept(m, h), mask, const_like(m, -INFINITY, mask->type.dtype));
  else if (h->cond)
    mask = kept(m, h);
  return emit(m, OP_Attention, a, mask ? 4 : 3, (Value *[]){q, k, v, mask});
}

static Value *extent_value(Match *m, Dim d) {
  DimsAttr a = {.dims = {&d, 1}, .rank = 0, .dtype = DT_i64};
  return emit(m, OP_Dims, &a, 0, NULL);
}

/* Does a row of which nothing is kept need what filled_rows does? Behind a guard of NaN, and no keys at all, it is zeros anyway. */
static bool needs_rows(const Heads *h) { return h->cond && !(h->guarded && h->low == -INFINITY); }

/* y of rows of which nothing is kept: all scores are `low` there, so that it is the mean of V, or NaN. `rows`: the axis of V's rows. */
static Value *filled_rows(Match *m, const Heads *h, Value *y, Value *v, int64_t rows) {
  Ctx *c = m->c;
  Dim keys = extent(&h->k, 2), one = dim_const(c, 1);
  DType t = y->type.dtype;
  Value *keep = kept(m, h), *other, *zero = const_like(m, 0, DT_i64);
  Value *any = EMIT(m, ReduceMax, NULL, keep, const_ints(m, (int64_t[]){-1}, 1));
  if (y->type.rank == 3 && any->type.rank == 4) /* the same for all heads */
    any = EMIT(m, Squeeze, NULL, any, const_ints(m, (int64_t[]){1}, 1));
  if (h->low == -INFINITY) {
    other = EMIT(m, Greater, NULL, extent_value(m, keys), zero);
    other = EMIT(m, Where, NULL, other, const_like(m, NAN, t), const_like(m, 0, t));
  } else {
    CastAttr to = *(const CastAttr *)attr_new(m->g->arena, &Cast_attrs);
    to.to = t;
    other = EMIT(m, ReduceSum, NULL, v, const_ints(m, &rows, 1));
    other = EMIT(m, Div, NULL, other, EMIT(m, Cast, &to, extent_value(m, dim_max(c, keys, one))));
  }
  return EMIT(m, Where, NULL, any, y, other);
}

/* The mask that decides what is kept has no axis of heads. */
static bool alike_heads(const Heads *h) {
  const Type *t = &h->cond->type;
  return t->rank < 3 || (t->rank == 4 && dim_is(t->dim[1], 1));
}

static Value *make_hidden(Match *m) {
  static const int64_t swap[] = {1, 0, 2};
  static const int64_t batch_first[] = {0, 2, 1, 3}, seq_first[] = {2, 0, 1, 3};
  Heads h = {.scale = 1};
  Node *t = m->node[1];
  Value *out = m->root->out[0];
  int64_t p[MAX_RANK], hq, hk;
  int rank;
  if (!perm_of(t, p, &rank) || rank != 4 || !used_once(t->in[0]))
    return NULL;
  bool swapped = !memcmp(p, seq_first, sizeof seq_first);
  if ((!swapped && memcmp(p, batch_first, sizeof batch_first)) ||
      !dims_bound(m->g, out->type.dim, out->type.rank, NULL))
    return NULL;
  if (!type_known(out) || !match(m, t->in[0]->def, &h) || !has_hidden(&h.q) || !has_hidden(&h.k) || !has_hidden(&h.v) ||
      !dim_is_const(extent(&h.q, 1), &hq) || !dim_is_const(extent(&h.k, 1), &hk) || !bound(m, &h.q) ||
      !bound(m, &h.k) || !bound(m, &h.v) || (needs_rows(&h) && (hq != hk || swapped || !alike_heads(&h))))
    return NULL;
  Value *q = hidden(m, &h.q, !isnan(h.scale)), *k = hidden(m, &h.k, !isnan(h.scale)), *v = hidden(m, &h.v, false);
  AttentionAttr a = attributes(m, &h);
  a.q_num_heads = hq, a.kv_num_heads = hk;
  Value *y = finish(m, &h, &a, q, k, v);
  if (needs_rows(&h))
    y = filled_rows(m, &h, y, v, 1);
  if (swapped)
    y = transpose_by(m, y, swap, 3);
  return reshape_to(m, y, out->type.dim, out->type.rank);
}

static Value *straight(Match *m, const Operand *o) { return transpose_by(m, o->v, o->perm, 4); }

static Value *make_heads(Match *m) {
  Heads h = {.scale = 1};
  if (!match(m, m->root, &h))
    return NULL;
  if (h.attr && !h.repeated && h.q.scale * h.k.scale == 1)
    return NULL; /* nothing to gain */
  AttentionAttr a = attributes(m, &h);
  if (needs_rows(&h) && (extent(&h.q, 1) != extent(&h.k, 1) || !dims_bound(m->g, h.q.v->type.dim, 4, NULL)))
    return NULL;
  Value *q = straight(m, &h.q), *k = straight(m, &h.k), *v = straight(m, &h.v);
  Value *y = finish(m, &h, &a, q, k, v);
  return needs_rows(&h) ? filled_rows(m, &h, y, v, 2) : y;
}

/* --- packed projections --- */

static bool one_number(const Match *m, const Value *v, int64_t *x) {
  const int64_t *p;
  int64_t n;
  if (!v || !value_ints(v, &p, &n, m->g->arena) || n != 1)
    return false;
  *x = p[0];
  return true;
}

/* The root is entry *pick of the first axis of what is returned, without that axis: a Gather, or a Reshape of a Slice or Split. */
static Value *picked(Match *m, int64_t *pick) {
  Node *n = m->root, *part;
  int64_t end, axis, step = 1;
  if (n->op == OP_Gather)
    return ATTR(n, Gather)->axis == 0 && n->in[1]->type.rank == 0 && one_number(m, n->in[1], pick) ? n->in[0] : NULL;
  part = n->in[0]->def;
  const Type *t = &n->in[0]->type, *y = &n->out[0]->type;
  if (n->op != OP_Reshape || !part || !type_known(n->in[0]) || !type_known(n->out[0]) || y->rank != t->rank - 1 ||
      !dim_is(t->dim[0], 1) || memcmp(y->dim, t->dim + 1, (size_t)y->rank * sizeof y->dim[0]))
    return NULL;
  match_also(m, part);
  if (part->op == OP_Split && ATTR(part, Split)->axis == 0) {
    for (*pick = 0; *pick < part->nout && part->out[*pick] != n->in[0]; ++*pick)
      if (!part->out[*pick] || !dim_is(part->out[*pick]->type.dim[0], 1))
        return NULL;
    return part->in[0];
  }
  if (part->op != OP_Slice || !one_number(m, part->in[1], pick) || !one_number(m, part->in[2], &end) || part->nin < 4 ||
      !one_number(m, part->in[3], &axis) || axis != 0 ||
      (part->nin > 4 && part->in[4] && !one_number(m, part->in[4], &step)) || step != 1)
    return NULL;
  return part->in[0];
}

/* One of n parts that a projection computes together: entry i of Transpose(Reshape(x [.., n*E] -> [.., n, ..]), n first)
 * -> a Split of x's last axis, and the transposition of the rest. */
static Value *unpack(Match *m) {
  int64_t p[MAX_RANK], q[MAX_RANK], n, each, size[16], pick;
  int rank, k = 0;
  Dim d[MAX_RANK];
  Node *t = def_of(picked(m, &pick), OP_Transpose), *r = t ? def_of(t->in[0], OP_Reshape) : NULL;
  if (!r || !perm_of(t, p, &rank) || !type_known(r->in[0]))
    return NULL;
  Value *x = r->in[0], *y = r->out[0];
  match_also(m, t), match_also(m, r);
  int at = (int)p[0], lead = x->type.rank - 1;
  if (at != lead || rank < lead + 2 || !dim_is_const(y->type.dim[at], &n) || n < 2 || n > (int)countof(size))
    return NULL;
  Dim whole = y->type.dim[at];
  for (int i = 0; i < lead; i++)
    if (x->type.dim[i] != y->type.dim[i])
      return NULL;
  for (int i = at + 1; i < rank; i++)
    whole = dim_mul(m->c, whole, y->type.dim[i]);
  if (whole != x->type.dim[lead] || !dim_is_const(whole, &each) || !dims_bound(m->g, y->type.dim, rank, NULL))
    return NULL;
  pick += pick < 0 ? n : 0;
  if (pick < 0 || pick >= n)
    return NULL;
  for (int i = 0; i < n; i++)
    size[i] = each / n;
  /* The Split that an earlier part made. */
  Node *split = NULL;
  for (Use *u = x->uses; u && !split; u = u->next)
    if (u->node && u->node->op == OP_Split && u->node->graph == m->g && u->node->nout == n &&
        ATTR(u->node, Split)->axis == lead)
      split = u->node;
  if (!split) {
    SplitAttr a = {.axis = lead, .num_outputs = ABSENT};
    split = graph_add_node(m->g, m->root, OP_Split, 2, (int)n, &a, r->origin);
    node_set_input(split, 0, x);
    node_set_input(split, 1, const_ints(m, size, n));
    if ((m->st = node_infer(m->c, split)))
      return NULL;
  }
  for (int i = 0; i < rank; i++)
    if (i != at)
      d[k++] = y->type.dim[i];
  for (int i = 1; i < rank; i++)
    q[i - 1] = p[i] - (p[i] > at);
  return transpose_by(m, reshape_to(m, split->out[pick], d, k), q, k);
}

/* --- heads that were merged with the batch --- */

/* Does v go through sums, factors and fills to a softmax? */
static bool becomes_softmax(const Value *v) {
  for (int steps = 0; steps < 8; steps++) {
    Node *n = value_sole_user(v);
    if (!n)
      return false;
    if (n->op == OP_Softmax)
      return true;
    if (n->op != OP_Add && n->op != OP_Mul && n->op != OP_Div && n->op != OP_Where &&
        !(n->op == OP_Sub && n->in[0] == v))
      return false;
    v = n->out[0];
  }
  return false;
}

/* [B*H,..] of rank 3 and [B,H,..] of rank 4: the same but for that axis. */
static bool merges_heads(Ctx *c, const Value *three, const Value *four) {
  const Type *a = &three->type, *b = &four->type;
  return type_known(three) && type_known(four) && a->rank == 3 && b->rank == 4 && a->dim[1] == b->dim[2] &&
         a->dim[2] == b->dim[3] && a->dim[0] == dim_mul(c, b->dim[0], b->dim[1]);
}

/* v [B*H,M,N] as [B,H,M,N], below transpositions and factors. */
static Value *split_operand(Match *m, Value *v, Dim b, Dim h) {
  Node *n = v->def;
  double by;
  int64_t p[MAX_RANK];
  int rank;
  if (n && n->op == OP_Reshape && merges_heads(m->c, v, n->in[0]) && n->in[0]->type.dim[0] == b) {
    match_also(m, n);
    return n->in[0];
  }
  if (n && n->op == OP_Transpose && perm_of(n, p, &rank) && rank == 3 && p[0] == 0 && p[1] == 2) {
    match_also(m, n);
    return transpose_by(m, split_operand(m, n->in[0], b, h), (const int64_t[]){0, 1, 3, 2}, 4);
  }
  if (n && (n->op == OP_Mul || n->op == OP_Div) && value_scalar(n->in[1], &by) && same_type(n->in[0], v)) {
    Value *x = split_operand(m, n->in[0], b, h);
    match_also(m, n);
    return emit(m, n->op, NULL, 2, (Value *[]){x, n->in[1]});
  }
  return reshape_to(m, v, (Dim[]){b, h, v->type.dim[1], v->type.dim[2]}, 4);
}

/* Reshape [B*H,S,L] -> [B,H,S,L] of what becomes a softmax: in front of products and sums. */
static Value *split_scores(Match *m) {
  Value *y = m->root->out[0], *x = m->root->in[0];
  Node *n = x->def;
  double by;
  if (!type_known(y) || !merges_heads(m->c, x, y) || !n || !used_once(x) || !dims_bound(m->g, y->type.dim, 4, NULL) ||
      !becomes_softmax(y))
    return NULL;
  bool product = n->op == OP_MatMul, sum = n->op == OP_Add;
  bool scaled = (n->op == OP_Mul || n->op == OP_Div) && value_scalar(n->in[1], &by);
  if ((!product && !sum && !scaled) || !type_known(n->in[0]) || n->in[0]->type.rank != 3 ||
      n->in[0]->type.dim[0] != x->type.dim[0])
    return NULL;
  if (!scaled && (!type_known(n->in[1]) || n->in[1]->type.rank != 3 || n->in[1]->type.dim[0] != x->type.dim[0]))
    return NULL;
  if (sum && (!same_shape(n->in[0], x) || !same_shape(n->in[1], x)))
    return NULL;
  if (!dims_bound(m->g, n->in[0]->type.dim, 3, NULL) || (!scaled && !dims_bound(m->g, n->in[1]->type.dim, 3, NULL)))
    return NULL;
  Dim b = y->type.dim[0], h = y->type.dim[1];
  Value *in[] = {split_operand(m, n->in[0], b, h), scaled ? n->in[1] : split_operand(m, n->in[1], b, h)};
  match_also(m, n);
  return emit(m, n->op, NULL, 2, in);
}

/* Reshape [B,H,S,L] -> [B*H,S,L] of a softmax, times V: behind the product. */
static Value *split_values(Match *m) {
  Node *r = m->node[1];
  Value *p = r->in[0], *v = m->root->in[1], *y = m->root->out[0];
  if (!def_of(p, OP_Softmax) || !merges_heads(m->c, r->out[0], p) || !used_once(r->out[0]) || !type_known(v) ||
      v->type.rank != 3 || v->type.dim[0] != r->out[0]->type.dim[0] || !type_known(y) ||
      !dims_bound(m->g, v->type.dim, 3, NULL) || !dims_bound(m->g, y->type.dim, 3, NULL) ||
      !dims_bound(m->g, p->type.dim, 4, NULL))
    return NULL;
  v = split_operand(m, v, p->type.dim[0], p->type.dim[1]);
  return reshape_to(m, EMIT(m, MatMul, NULL, p, v), y->type.dim, 3);
}

static const Rule packed[] = {
    {"packed projection", OPERATOR(Gather), unpack},
    {"packed projection", OPERATOR(Reshape), unpack},
    {"heads split from the batch", OPERATOR(Reshape), split_scores},
    {"heads split from the batch", P(MatMul, P(Reshape, V(0), V(1)), V(2)), split_values},
};
/* The longer form first: the shorter is part of it. */
static const Rule with_layout[] = {
    {"attention", P(Reshape, P1(Transpose, ALT(OPERATOR(MatMul), OPERATOR(Attention))), V(0)), make_hidden},
};
static const Rule heads_only[] = {
    {"attention of heads", OPERATOR(MatMul), make_heads},
    {"attention of heads", OPERATOR(Attention), make_heads},
};

Status pass_attention(Ctx *c, Graph *g) {
  TRY(rewrite(c, g, packed, countof(packed)));
  TRY(pass_run(c, g, "algebra"));
  TRY(rewrite(c, g, with_layout, countof(with_layout)));
  return rewrite(c, g, heads_only, countof(heads_only));
}
