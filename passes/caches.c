/* caches.c - an Attention with a cache of its own as one of all keys, for which there are kernels and caches that grow in place:
 *
 *   Attention(q, k, v, mask, past_k, past_v) -> Attention(q, Concat(past_k, k), Concat(past_v, v), mask')
 *
 * The present keys and values are the concatenations. What depends on positions (causality, windows) goes into the mask, as the kernels'
 * own would mean something else where there are more keys than queries. For CPUs: GPUs have kernels for more, and make do with
 * attention_past, which comes first and leaves to this one what it has made of caches, with positions that the kernels of CPUs have not.
 * Needs: types inferred. The forms with scores as an output, and with keys counted by batch entry, which a run must check, stay as they
 * are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"
#include "passes/pass.h"
#include "passes/positions.h"

enum { MASK = 3, PAST_K, PAST_V, VALID };

typedef struct Cached {
  Match *m;
  Node *n;
  const AttentionAttr *a;
  bool split, past;         /* split: inputs are [batch, heads, rows, size]; past: there are such inputs */
  bool native, wanted;      /* positions mean the same to the kernels; present keys or values are wanted */
  bool causal, left, right; /* what the mask has to say */
  int64_t heads, kv_heads;
  Dim batch, seq, before, total; /* before: rows of the past */
} Cached;

static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }

static const Type *type_in(const Node *n, int i) { return type_known(n->in[i]) ? &n->in[i]->type : NULL; }

static Dim size_of(Ctx *c, const Type *t, int64_t heads) {
  return t->rank == 4 ? t->dim[3] : dim_div(c, t->dim[2], dim_const(c, heads));
}

/* The past fits, for all values of the symbols. */
static bool past_fits(const Cached *x, int input, const Type *now) {
  const Type *t = type_in(x->n, input);
  return t && t->rank == 4 && t->dtype == now->dtype && t->dim[0] == x->batch && dim_is(t->dim[1], x->kv_heads) &&
         t->dim[2] == x->before && t->dim[3] == size_of(x->m->c, now, x->kv_heads);
}

static bool find_shapes(Cached *x) {
  Ctx *c = x->m->c;
  Node *n = x->n;
  const Type *q = type_in(n, 0), *k = type_in(n, 1), *v = type_in(n, 2);
  if (!q || !k || !v || (q->rank != 3 && q->rank != 4) || k->rank != q->rank || v->rank != q->rank)
    return false;
  x->split = q->rank == 4;
  x->heads = x->a->q_num_heads, x->kv_heads = x->a->kv_num_heads;
  if (x->split && (!dim_is_const(q->dim[1], &x->heads) || !dim_is_const(k->dim[1], &x->kv_heads)))
    return false;
  if (x->heads < 1 || x->kv_heads < 1)
    return false;
  int rows = x->split ? 2 : 1;
  x->batch = q->dim[0], x->seq = q->dim[rows], x->total = k->dim[rows], x->before = dim_const(c, 0);
  if (x->past) {
    const Type *t = type_in(n, PAST_K);
    if (!t || t->rank != 4)
      return false;
    x->before = t->dim[2], x->total = dim_add(c, x->before, x->total);
    if (!past_fits(x, PAST_K, k) || !past_fits(x, PAST_V, v))
      return false;
  }
  Dim all[] = {x->batch,
               x->seq,
               x->total,
               x->before,
               size_of(c, q, x->heads),
               size_of(c, k, x->kv_heads),
               size_of(c, v, x->kv_heads)};
  return dims_bound(x->m->g, all, countof(all), NULL);
}

/* Is there something to do, and can it be done? */
static bool find_cache(Cached *x) {
  Node *n = x->n;
  const AttentionAttr *a = x->a;
  x->past = has(n, PAST_K) && has(n, PAST_V);
  if (has(n, PAST_K) != has(n, PAST_V) || (x->past && has(n, VALID)) || (n->nout > 3 && n->out[3] && n->out[3]->uses) ||
      a->left_window_size < -1 || a->right_window_size < -1 || !find_shapes(x))
    return false;
  if (has(n, VALID) && !attention_keys_all(n, x->total))
    return false;
  if (has(n, VALID)) /* queries stand at the last of all keys */
    x->before = dim_sub(x->m->c, x->total, x->seq);
  bool alone = dim_is(x->seq, 1); /* the last of all keys */
  x->native = !x->past && x->seq == x->total;
  x->causal = !x->native && a->is_causal && !(alone && x->before == dim_sub(x->m->c, x->total, x->seq));
  x->left = !x->native && a->left_window_size >= 0 && a->left_window_size < INT32_MAX; /* no sequence is longer */
  x->right = !x->native && a->right_window_size >= 0 && a->right_window_size < INT32_MAX;
  bool positions = x->causal || x->left || x->right;
  for (int i = 1; i < 3 && i < n->nout; i++)
    x->wanted |= n->out[i] && n->out[i]->uses;
  if (!x->past && !positions && !x->wanted)
    return false;
  return !positions || !has(n, MASK) || positions_fit(n->in[MASK], x->total);
}

static Value *mask_of(Cached *x) {
  Positions p = {.seq = x->seq, .total = x->total, .before = x->before, .left = -1, .right = -1, .causal = x->causal};
  if (x->left)
    p.left = x->a->left_window_size;
  if (x->right)
    p.right = x->a->right_window_size;
  return positions_mask(x->m, &p, has(x->n, MASK) ? x->n->in[MASK] : NULL);
}

/* --- building --- */

static Value *heads_of(Cached *x, Value *v, int64_t heads) {
  static const int64_t heads_first[] = {0, 2, 1, 3};
  Match *m = x->m;
  const Type *t = &v->type;
  if (t->rank == 4)
    return v;
  v = reshape_to(m, v, (Dim[]){t->dim[0], t->dim[1], dim_const(m->c, heads), size_of(m->c, t, heads)}, 4);
  return transpose_by(m, v, heads_first, 4);
}

/* The keys (values) of all rows, which may be wanted as an output. */
static Value *present(Cached *x, int now, int past) {
  ConcatAttr axis = {.axis = 2};
  Value *v = heads_of(x, x->n->in[now], x->kv_heads);
  if (x->past)
    v = EMIT(x->m, Concat, &axis, x->n->in[past], v);
  if (now < x->n->nout && x->n->out[now])
    replace_value(x->n->out[now], v);
  return v;
}

static Value *make(Match *m) {
  static const int64_t back[] = {0, 2, 1, 3};
  Cached x = {.m = m, .n = m->root, .a = ATTR(m->root, Attention)};
  Node *n = m->root;
  if (!type_known(n->out[0]) || !find_cache(&x))
    return NULL;
  AttentionAttr a = *x.a;
  if (!x.native)
    a.is_causal = 0, a.left_window_size = a.right_window_size = -1;
  Value *mask = mask_of(&x);
  if (!x.past && !x.wanted) /* the rows are as they were */
    return emit(m, OP_Attention, &a, mask ? 4 : 3, (Value *[]){n->in[0], n->in[1], n->in[2], mask});
  Value *q = heads_of(&x, n->in[0], x.heads), *k = present(&x, 1, PAST_K), *v = present(&x, 2, PAST_V);
  a.q_num_heads = a.kv_num_heads = ABSENT;
  Value *y = emit(m, OP_Attention, &a, mask ? 4 : 3, (Value *[]){q, k, v, mask});
  if (x.split)
    return y;
  y = transpose_by(m, y, back, 4);
  const Type *t = &n->in[0]->type;
  Dim hidden = dim_mul(m->c, dim_const(m->c, x.heads), size_of(m->c, &n->in[2]->type, x.kv_heads));
  return reshape_to(m, y, (Dim[]){t->dim[0], t->dim[1], hidden}, 3);
}

static const Rule rules[] = {{"attention with a cache", OPERATOR(Attention), make}};

Status pass_caches(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
