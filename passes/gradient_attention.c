/* gradient_attention.c - derivatives of Attention (25) through what it is made of:
 *
 *     S = scale Q K' + mask    P = softmax(S)    Y = P V
 *     dV = P' dY    dP = dY V'    dS = P (dP - sum over keys of dP P)    dQ = scale dS K    dK = scale dS' Q
 *
 * A soft cap c makes c tanh(scale Q K' / c) of the product, whose slope dS is multiplied by.
 *
 * Heads are put on an axis of their own, and key/value heads that several query heads share are repeated; their gradients
 * are summed. Keys and values are those of the cache and the new ones behind them, which the gradients are cut into again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

#include <math.h>

enum { QUERY, KEY, VALUE, MASK, PAST_KEY, PAST_VALUE, LENGTHS }; /* inputs */
enum { PRESENT_KEY = 1, PRESENT_VALUE, PRODUCT };                /* outputs */

typedef struct Heads {
  Back *b;
  const AttentionAttr *a;
  bool joined;                      /* heads are side by side on the last axis of three */
  int64_t heads, kv_heads;          /* kv_heads 0: as many as there are query heads */
  Value *q, *k, *v, *scale, *score; /* [batch, heads, length, size]; k and v repeated */
  Value *slope;                     /* of a soft cap, by score; NULL: there is none */
} Heads;

static Value *input(const Heads *h, int i) { return i < h->b->n->nin ? h->b->n->in[i] : NULL; }

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
  if (n->nout > PRODUCT && b->dy[PRODUCT])
    return "has no derivative of its fourth output";
  return find_heads(h) ? NULL : "has heads that are not known";
}

/* Those of the cache, if there is one, and the new ones behind them: [batch, heads, length, size]. */
static Value *in_cache(Heads *h, int now, int past) {
  ConcatAttr rows = {.axis = 2};
  Value *x = parted(h, h->b->n->in[now], h->kv_heads ? h->kv_heads : h->heads);
  return input(h, past) ? EMIT(&h->b->m, Concat, &rows, input(h, past), x) : x;
}

static Value *length_of(Heads *h, Value *x) {
  ShapeAttr length = {.start = 2, .end = 3};
  return EMIT(&h->b->m, Shape, &length, x);
}

/* dx, of keys or values with those of the cache in front. */
static void give_rows(Heads *h, int now, int past, Value *dx) {
  Match *m = &h->b->m;
  int64_t zero = 0, most = INT64_MAX, two = 2;
  Value *before = input(h, past) ? length_of(h, input(h, past)) : NULL, *axis = const_ints(m, &two, 1);
  if (before && wants(h->b, past))
    give(h->b, past, EMIT(m, Slice, NULL, dx, const_ints(m, &zero, 1), before, axis));
  if (!wants(h->b, now))
    return;
  dx = before ? EMIT(m, Slice, NULL, dx, before, const_ints(m, &most, 1), axis) : dx;
  give(h->b, now, joined(h, dx));
}

/* A score is -inf where `may` says no. */
static void mask_by(Heads *h, Value *may) { h->score = select_of(h->b, may, h->score, num(h->b, -INFINITY, h->score)); }

/* 0, 1, … along axis `axis` of the scores; `like` has as many on its axis 2. */
static Value *numbers(Heads *h, Value *like, int64_t axis) {
  Match *m = &h->b->m;
  const Value wide = {.type.dtype = DT_i64};
  int64_t none = 0, one = 1;
  Value *length = EMIT(m, Squeeze, NULL, length_of(h, like), const_ints(m, &none, 1));
  Value *all = EMIT(m, Range, NULL, num(h->b, 0, &wide), length, num(h->b, 1, &wide));
  return axis == 2 ? EMIT(m, Unsqueeze, NULL, all, const_ints(m, &one, 1)) : all;
}

/* Query s is at position s, behind the keys of a cache, or the last one of as many as `lengths` says. */
static void mask_by_positions(Heads *h) {
  Back *b = h->b;
  Value *lengths = input(h, LENGTHS), *key = numbers(h, h->k, 3), *at = numbers(h, h->q, 2);
  const int64_t each[3] = {1, 2, 3}, left = h->a->left_window_size, right = h->a->right_window_size;
  if (lengths) {
    lengths = EMIT(&b->m, Unsqueeze, NULL, lengths, const_ints(&b->m, each, 3));
    mask_by(h, apply2(b, OP_Less, key, lengths));
    at = add(b, at, sub(b, lengths, length_of(h, h->q)));
  } else if (input(h, PAST_KEY)) {
    at = add(b, at, length_of(h, input(h, PAST_KEY)));
  }
  if (h->a->is_causal)
    mask_by(h, apply2(b, OP_LessOrEqual, key, at));
  if (left >= 0)
    mask_by(h, apply2(b, OP_LessOrEqual, sub(b, at, key), num(b, (double)left, key)));
  if (right >= 0)
    mask_by(h, apply2(b, OP_LessOrEqual, sub(b, key, at), num(b, (double)right, key)));
}

/* A query that sees nothing gives zeros, whatever it is. */
static Value *weights(Heads *h) {
  Back *b = h->b;
  SoftmaxAttr keys = {.axis = -1};
  ReduceAttr keep = {.keepdims = 1};
  Value *mask = input(h, MASK);
  bool windows = h->a->left_window_size >= 0 || h->a->right_window_size >= 0, some = input(h, LENGTHS) || windows;
  if (h->a->is_causal || some)
    mask_by_positions(h);
  if (mask && mask->type.dtype == DT_bool)
    mask_by(h, mask);
  else if (mask)
    h->score = add(b, h->score, mask);
  if (!mask && !some)
    return EMIT(&b->m, Softmax, &keys, h->score);
  Value *most = EMIT(&b->m, ReduceMax, &keep, h->score, const_ints(&b->m, (int64_t[]){-1}, 1));
  Value *blind = apply2(b, OP_Equal, most, num(b, -INFINITY, most)), *zero = num(b, 0, most);
  Value *p = EMIT(&b->m, Softmax, &keys, select_of(b, blind, zero, h->score));
  return select_of(b, blind, zero, p);
}

static void cap_score(Heads *h) {
  Back *b = h->b;
  double cap = (double)h->a->softcap;
  if (cap == 0)
    return;
  Value *t = apply1(b, OP_Tanh, scaled(b, h->score, 1 / cap));
  h->slope = sub(b, num(b, 1, t), square(b, t));
  h->score = scaled(b, t, cap);
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

/* The mask's last axis may be shorter than there are keys; what it lacks is hidden. */
static bool mask_reaches(const Heads *h) {
  const Value *mask = input(h, MASK);
  return !mask || (mask->type.rank > 0 && type_known(h->k) && mask->type.dim[mask->type.rank - 1] == h->k->type.dim[2]);
}

void back_attention(Back *b) {
  Heads h = {.b = b, .a = ATTR(b->n, Attention)};
  const char *why = refused(&h);
  if (why) {
    no_rule(b, why);
    return;
  }
  Value *past_k = b->n->nout > PRESENT_KEY ? b->dy[PRESENT_KEY] : NULL,
        *past_v = b->n->nout > PRESENT_VALUE ? b->dy[PRESENT_VALUE] : NULL;
  h.q = parted(&h, b->n->in[QUERY], h.heads);
  h.k = repeated(&h, in_cache(&h, KEY, PAST_KEY)), h.v = repeated(&h, in_cache(&h, VALUE, PAST_VALUE));
  if (!mask_reaches(&h)) {
    no_rule(b, "has a mask that may not reach over all keys");
    return;
  }
  h.scale = scale_of(&h);
  h.score = mul(b, product(b, h.q, turned(b, h.k)), h.scale);
  cap_score(&h);
  Value *p = weights(&h), *dy = parted(&h, b->dy[0] ? b->dy[0] : zeros_like(b, b->n->out[0]), h.heads);
  Value *dp = product(b, dy, turned(b, h.v));
  Value *mean = sum_over(b, mul(b, dp, p), const_ints(&b->m, (int64_t[]){-1}, 1), true);
  Value *ds = mul(b, p, sub(b, dp, mean)), *scaled_ds = mul(b, h.slope ? mul(b, ds, h.slope) : ds, h.scale);
  Value *dk = shared(&h, product(b, turned(b, scaled_ds), h.q)), *dv = shared(&h, product(b, turned(b, p), dy));
  if (wants(b, QUERY))
    give(b, QUERY, joined(&h, product(b, scaled_ds, h.k)));
  give_rows(&h, KEY, PAST_KEY, past_k ? add(b, dk, past_k) : dk);
  give_rows(&h, VALUE, PAST_VALUE, past_v ? add(b, dv, past_v) : dv);
  if (wants(b, MASK))
    give(b, MASK, ds);
}
