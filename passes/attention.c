/* attention.c - scaled scores, mask, softmax and their product with V -> Attention (opset 25 form).
 *
 *   q [B,H,S,D] -.                                                                .-> Transpose -> Reshape [B,S,H*D]
 *                 MatMul -> (* scale) -> (+ mask) -> Softmax -> (guard) -> MatMul -'
 *   k' [B,H,D,L] '                                              v [B,Hk,L,D] '
 *
 * attention_match.c finds them. Where Q, K and V all come from [batch, sequence, heads * size] (or sequence first) and the
 * result goes back there, the node takes and gives that layout, and splitting the heads is its own business. Else it
 * takes 4-D operands, as with a cache. The node that opset 23 exports contain is brought to the same form.
 *
 * Where scores are filled, a row of which nothing is kept gives the mean of V, or NaN where the fill is -inf, which Where
 * brings back behind the Attention (see filled_rows).
 *
 * Heads that were merged with the batch, [B*H,S,D], are split again in front (see split_scores), as DeBERTa needs it.
 * Needs: algebra (transposes and reshapes in normal form).
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/attention.h"
#include "passes/pass.h"

#include <math.h>
#include <string.h>

/* --- building --- */

/* [B,W,..] windows of a mask to [B*W,..]. */
static Value *flat_mask(Match *m, Value *mask, const Value *five) {
  Dim d[5];
  memcpy(d, mask->type.dim, sizeof d);
  d[0] = five->type.dim[0], d[1] = five->type.dim[1];
  mask = EMIT(m, Expand, NULL, mask, dims_value(m, d, 5));
  return reshape_to(m, mask, (Dim[]){dim_mul(m->c, d[0], d[1]), d[2], d[3], d[4]}, 4);
}

static AttentionAttr attributes(Match *m, const Heads *h) {
  AttentionAttr a = *(const AttentionAttr *)(h->attr ? h->attr : attr_new(m->g->arena, &Attention_attrs));
  double scale = h->scale * h->q.scale * h->k.scale;
  int64_t d;
  bool usual = dim_is_const(attention_extent(&h->q, 3), &d) && fabs(scale * sqrt((double)d) - 1) < 2e-6;
  a.scale = usual ? NAN : (float)scale;
  a.q_num_heads = a.kv_num_heads = ABSENT;
  return a;
}

/* Do its axes lie as they do when heads were split off [batch, sequence, heads * size]? */
static bool has_hidden(const Operand *o) {
  static const int64_t batch_first[] = {0, 2, 1, 3}, seq_first[] = {1, 2, 0, 3};
  return dim_is_const(attention_extent(o, 1), NULL) &&
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
  while (scaling && (y = attention_unscaled(x, &o->scale))) /* a factor in front of the split */
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
  return to_keys(m, h->keeps ? h->cond : EMIT(m, Not, NULL, h->cond), attention_extent(&h->k, 2));
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
    mask = to_keys(m, mask, attention_extent(&h->k, 2));
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
  Dim keys = attention_extent(&h->k, 2), one = dim_const(c, 1);
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
  if (!perm_of(t, p, &rank) || rank != 4 || !value_sole_user(t->in[0]))
    return NULL;
  bool swapped = !memcmp(p, seq_first, sizeof seq_first);
  if ((!swapped && memcmp(p, batch_first, sizeof batch_first)) ||
      !dims_bound(m->g, out->type.dim, out->type.rank, NULL))
    return NULL;
  if (!type_known(out) || !attention_match(m, t->in[0]->def, &h) || !has_hidden(&h.q) || !has_hidden(&h.k) ||
      !has_hidden(&h.v) || !dim_is_const(attention_extent(&h.q, 1), &hq) ||
      !dim_is_const(attention_extent(&h.k, 1), &hk) || !bound(m, &h.q) || !bound(m, &h.k) || !bound(m, &h.v) ||
      (needs_rows(&h) && (hq != hk || swapped || !alike_heads(&h))))
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
  if (!attention_match(m, m->root, &h))
    return NULL;
  if (h.attr && !h.repeated && h.q.scale * h.k.scale == 1)
    return NULL; /* nothing to gain */
  AttentionAttr a = attributes(m, &h);
  if (needs_rows(&h) &&
      (attention_extent(&h.q, 1) != attention_extent(&h.k, 1) || !dims_bound(m->g, h.q.v->type.dim, 4, NULL)))
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
  if (!type_known(y) || !merges_heads(m->c, x, y) || !n || !value_sole_user(x) ||
      !dims_bound(m->g, y->type.dim, 4, NULL) || !becomes_softmax(y))
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
  if (!def_of(p, OP_Softmax) || !merges_heads(m->c, r->out[0], p) || !value_sole_user(r->out[0]) || !type_known(v) ||
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
