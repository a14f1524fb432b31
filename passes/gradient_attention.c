/* gradient_attention.c - derivatives of Attention (25) through what it is made of:
 *
 *     S = scale Q K' + mask    P = softmax(S)    Y = P V
 *     dV = P' dY    dP = dY V'    dS = P (dP - sum over keys of dP P)    dQ = scale dS K    dK = scale dS' Q
 *
 * Heads are put on an axis of their own, and key/value heads that several query heads share are repeated; their gradients
 * are summed. SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

#include <math.h>

enum { QUERY, KEY, VALUE, MASK };

typedef struct Heads {
  Back *b;
  const AttentionAttr *a;
  bool joined;                      /* heads are side by side on the last axis of three */
  int64_t heads, kv_heads;          /* kv_heads 0: as many as there are query heads */
  Value *q, *k, *v, *scale, *score; /* [batch, heads, length, size]; k and v repeated */
} Heads;

static Value *swapped(Back *b, Value *x, int64_t one, int64_t two) {
  int64_t perm[4] = {0, 1, 2, 3};
  perm[one] = two, perm[two] = one;
  return transpose_by(&b->m, x, perm, 4);
}

/* [batch, length, heads * size] to [batch, heads, length, size], and back. */
static Value *parted(Heads *h, Value *x, int64_t heads) {
  int64_t to[4] = {0, 0, heads, -1};
  return h->joined ? swapped(h->b, EMIT(&h->b->m, Reshape, NULL, x, const_ints(&h->b->m, to, 4)), 1, 2) : x;
}

static Value *joined(Heads *h, Value *x) {
  int64_t to[3] = {0, 0, -1};
  return h->joined ? EMIT(&h->b->m, Reshape, NULL, swapped(h->b, x, 1, 2), const_ints(&h->b->m, to, 3)) : x;
}

/* Shape of x with its heads replaced. */
static Value *with_heads(Heads *h, Value *x, const int64_t *heads, int n) {
  Match *m = &h->b->m;
  ShapeAttr batch = {.end = 1}, rest = {.start = 2, .end = ABSENT};
  ConcatAttr first = {.axis = 0};
  return EMIT(m, Concat, &first, EMIT(m, Shape, &batch, x), const_ints(m, heads, n), EMIT(m, Shape, &rest, x));
}

/* Every key/value head once for each of its query heads. */
static Value *repeated(Heads *h, Value *x) {
  Match *m = &h->b->m;
  int64_t two = 2, each[2] = {h->kv_heads, h->heads / (h->kv_heads ? h->kv_heads : 1)};
  if (!h->kv_heads)
    return x;
  Value *more = EMIT(m, Expand, NULL, EMIT(m, Unsqueeze, NULL, x, const_ints(m, &two, 1)), with_heads(h, x, each, 2));
  return EMIT(m, Reshape, NULL, more, with_heads(h, x, &h->heads, 1));
}

static Value *shared(Heads *h, Value *dx) {
  Match *m = &h->b->m;
  int64_t two = 2, each[2] = {h->kv_heads, h->heads / (h->kv_heads ? h->kv_heads : 1)};
  if (!h->kv_heads)
    return dx;
  dx = EMIT(m, Reshape, NULL, dx, with_heads(h, dx, each, 2));
  return sum_over(h->b, dx, const_ints(m, &two, 1), false);
}

static bool find_heads(Heads *h) {
  const Node *n = h->b->n;
  const Type *q = &n->in[QUERY]->type, *k = &n->in[KEY]->type;
  h->joined = q->rank == 3;
  if (h->joined)
    h->heads = h->a->q_num_heads, h->kv_heads = h->a->kv_num_heads;
  else if (q->dim[1] == k->dim[1])
    return true;
  else if (!dim_is_const(q->dim[1], &h->heads) || !dim_is_const(k->dim[1], &h->kv_heads))
    return false;
  if (h->heads < 1 || h->kv_heads < 1 || h->heads % h->kv_heads)
    return false;
  h->kv_heads = h->kv_heads == h->heads ? 0 : h->kv_heads;
  return true;
}

static const char *refused(Heads *h) {
  const Back *b = h->b;
  const Node *n = b->n;
  for (int i = 0; i < n->nin; i++)
    if (n->in[i] && !type_known(n->in[i]))
      return "meets a tensor of unknown rank";
  for (int i = MASK + 1; i < n->nin; i++)
    if (n->in[i])
      return "has a derivative without a cache and without lengths only";
  for (int i = 1; i < n->nout; i++)
    if (b->dy[i])
      return "has a derivative of its first output only";
  if (h->a->softcap != 0 || h->a->left_window_size >= 0 || h->a->right_window_size >= 0)
    return "has a derivative without soft cap and windows only";
  const Type *k = &n->in[KEY]->type, *mask = n->nin > MASK && n->in[MASK] ? &n->in[MASK]->type : NULL;
  if (mask && (mask->rank < 1 || mask->dim[mask->rank - 1] != k->dim[k->rank == 3 ? 1 : 2]))
    return "has a mask that may not reach over all keys";
  return find_heads(h) ? NULL : "has heads that are not known";
}

/* A score is -inf where `may` says no. */
static void mask_by(Heads *h, Value *may) { h->score = select_of(h->b, may, h->score, num(h->b, -INFINITY, h->score)); }

/* Query s sees the keys up to s. */
static Value *causal(Heads *h) {
  Match *m = &h->b->m;
  ShapeAttr length = {.start = 2, .end = 3};
  ConcatAttr first = {.axis = 0};
  TriluAttr lower = {.upper = 0};
  Value *shape = EMIT(m, Concat, &first, EMIT(m, Shape, &length, h->q), EMIT(m, Shape, &length, h->k));
  Value *all = EMIT(m, Expand, NULL, const_like(m, 1, h->score->type.dtype), shape);
  return as(h->b, EMIT(m, Trilu, &lower, all), DT_bool);
}

/* A query that sees nothing gives zeros, whatever it is. */
static Value *weights(Heads *h) {
  Back *b = h->b;
  SoftmaxAttr keys = {.axis = -1};
  ReduceAttr keep = {.keepdims = 1};
  Value *mask = b->n->nin > MASK ? b->n->in[MASK] : NULL;
  if (h->a->is_causal)
    mask_by(h, causal(h));
  if (mask && mask->type.dtype == DT_bool)
    mask_by(h, mask);
  else if (mask)
    h->score = add(b, h->score, mask);
  if (!mask)
    return EMIT(&b->m, Softmax, &keys, h->score);
  Value *most = EMIT(&b->m, ReduceMax, &keep, h->score, const_ints(&b->m, (int64_t[]){-1}, 1));
  Value *blind = apply2(b, OP_Equal, most, num(b, -INFINITY, most)), *zero = num(b, 0, most);
  Value *p = EMIT(&b->m, Softmax, &keys, select_of(b, blind, zero, h->score));
  return select_of(b, blind, zero, p);
}

static Value *scale_of(Heads *h) {
  ShapeAttr size = {.start = 3, .end = 4};
  if (!isnan(h->a->scale))
    return num(h->b, (double)h->a->scale, h->q);
  Value *d = as(h->b, EMIT(&h->b->m, Shape, &size, h->q), h->q->type.dtype);
  return apply1(h->b, OP_Reciprocal, apply1(h->b, OP_Sqrt, d));
}

static Value *product(Back *b, Value *x, Value *y) { return apply2(b, OP_MatMul, x, y); }
static Value *turned(Back *b, Value *x) { return swapped(b, x, 2, 3); }

void back_attention(Back *b) {
  Heads h = {.b = b, .a = ATTR(b->n, Attention)};
  const char *why = refused(&h);
  if (why || !b->dy[0]) {
    if (why)
      no_rule(b, why);
    return;
  }
  int64_t kv = h.kv_heads ? h.kv_heads : h.heads;
  h.q = parted(&h, b->n->in[QUERY], h.heads);
  h.k = repeated(&h, parted(&h, b->n->in[KEY], kv)), h.v = repeated(&h, parted(&h, b->n->in[VALUE], kv));
  h.scale = scale_of(&h);
  h.score = mul(b, product(b, h.q, turned(b, h.k)), h.scale);
  Value *p = weights(&h), *dy = parted(&h, b->dy[0], h.heads);
  Value *dp = product(b, dy, turned(b, h.v));
  Value *mean = sum_over(b, mul(b, dp, p), const_ints(&b->m, (int64_t[]){-1}, 1), true);
  Value *ds = mul(b, p, sub(b, dp, mean)), *scaled_ds = mul(b, ds, h.scale);
  if (wants(b, QUERY))
    give(b, QUERY, joined(&h, product(b, scaled_ds, h.k)));
  if (wants(b, KEY))
    give(b, KEY, joined(&h, shared(&h, product(b, turned(b, scaled_ds), h.q))));
  if (wants(b, VALUE))
    give(b, VALUE, joined(&h, shared(&h, product(b, turned(b, p), dy))));
  if (wants(b, MASK))
    give(b, MASK, ds);
}
