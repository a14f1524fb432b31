/* recurrence.c - lowering of LinearAttention (27) and CausalConvWithState (27).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }

/* --- LinearAttention ---
 *
 *   for b, h                              parallel: a head's state is a temporary of its own
 *     S = past, k' = u = 0
 *     for t in order
 *       for j: r = 0, o = 0               lanes along j
 *         for i in order: S[i, j] = (S[i, j] + k'[i] u[j]) exp(g[i]); r += S[i, j] k[i]; o[q] += q[i] S[i, j]
 *         u[j] = beta (v[j] - r)          r and beta where the rule has them
 *         y[q, j] = o[q] + (q . k) u[j]   for the query heads q that share the head
 *       k' = k
 *     present = S + k' u
 *
 * What a token writes is added when the next one reads, so that each goes over the state once.
 */

enum { MOST_GROUP = 64 }; /* query heads to a head of keys */

typedef struct Linear {
  Lower *x;
  const Node *n;
  int64_t heads, group; /* key heads; query heads to each */
  Dim T, dk, dv;
  DType work;
  bool gated, delta;
  KExpr *b, *h, *t;
  KBuf *state, *row, *fade; /* [dk, dv]; u: [dv]; exp(g): [dk], or NULL */
} Linear;

static bool linear_can(Ctx *c, const Node *n, const char **why) {
  const LinearAttentionAttr *a = ATTR(n, LinearAttention);
  const Type *q = in_of(n, 0), *s = n->nout > 1 && n->out[1] ? &n->out[1]->type : NULL;
  *why = "a state that is not wanted, or extents that are compared at run time";
  if (!n->out[0] || !s || q->dim[2] != dim_mul(c, dim_const(c, a->q_num_heads), s->dim[2]) ||
      in_of(n, 1)->dim[2] != dim_mul(c, dim_const(c, a->kv_num_heads), s->dim[2]) ||
      in_of(n, 2)->dim[2] != dim_mul(c, dim_const(c, a->kv_num_heads), s->dim[3]))
    return false;
  for (int i = 1; i < n->nin; i++)
    if (has(n, i) && i != 3 &&
        (in_of(n, i)->rank != 3 || in_of(n, i)->dim[0] != q->dim[0] || in_of(n, i)->dim[1] != q->dim[1]))
      return false;
  if (has(n, 3) && !same_dims(in_of(n, 3), s))
    return false;
  Str r = a->update_rule;
  bool gated = str_is(r, "gated") || str_is(r, "gated_delta"), delta = str_is(r, "delta") || str_is(r, "gated_delta");
  int64_t g = a->kv_num_heads, last;
  if (gated != has(n, 4) || delta != has(n, 5) || (!gated && !delta && !str_is(r, "linear")) ||
      a->q_num_heads / g > MOST_GROUP)
    return false;
  if (delta && (!dim_is_const(in_of(n, 5)->dim[2], &last) || (last != 1 && last != g)))
    return false;
  return !gated || dim_is(in_of(n, 4)->dim[2], g) || in_of(n, 4)->dim[2] == in_of(n, 1)->dim[2];
}

/* Element [b, t, at] of an input, in the type of the state. */
static Status element(Linear *l, int in, KExpr *t, KExpr *at, KExpr **e) {
  KExpr *index[3] = {l->b, t, at};
  TRY(lower_read(l->x, l->n->in[in], index, e));
  *e = ke_cast(l->x->k, l->work, *e);
  return ST_OK;
}

static Status token(Linear *l, int in, KExpr *at, KExpr **e) { return element(l, in, l->t, at, e); }

static KExpr *packed(Linear *l, KExpr *head, Dim size, KExpr *i) {
  return k_add(l->x, k_mul(l->x, head, ke_dim(l->x->k, size)), i);
}

static KExpr *state_at(Linear *l, KExpr *i, KExpr *j) { return ke_load(l->x->k, l->state, (KExpr *[]){i, j}); }

static KExpr *zero(Linear *l) { return ke_float(l->x->k, l->work, 0); }

static Status load_state(Linear *l) {
  KCursor behind;
  KExpr *v = zero(l), *i = lower_open(l->x, "i", l->dk, &behind), *j = lower_open(l->x, "j", l->dv, NULL);
  if (has(l->n, 3)) {
    TRY(lower_read(l->x, l->n->in[3], (KExpr *[]){l->b, l->h, i, j}, &v));
    v = ke_cast(l->x->k, l->work, v);
  }
  ks_store(&l->x->at, l->state, (KExpr *[]){i, j}, v);
  lower_close(l->x, 2, behind);
  j = lower_open(l->x, "j", l->dv, &behind);
  ks_store(&l->x->at, l->row, &j, zero(l));
  lower_close(l->x, 1, behind);
  return ST_OK;
}

static KExpr *query_head(Linear *l, int64_t q) {
  return k_add(l->x, k_mul(l->x, l->h, lower_index_const(l->x, l->group)), lower_index_const(l->x, q));
}

/* q . k of this token, for query head r of the group. */
static Status dot(Linear *l, int64_t r, KExpr **e) {
  Lower *x = l->x;
  KCursor behind;
  KExpr *k, *q;
  KVar *acc = lower_acc(x, "qk", zero(l));
  KExpr *i = lower_open(x, "i", l->dk, &behind);
  TRY(token(l, 1, packed(l, l->h, l->dk, i), &k));
  TRY(token(l, 0, packed(l, query_head(l, r), l->dk, i), &q));
  ks_update(&x->at, acc, KOP_add, k_mul(x, q, k));
  lower_close(x, 1, behind);
  *e = ke_var(x->k, acc);
  return ST_OK;
}

/* exp(g): one for the head, which is returned, or one for each row of the state, which is stored; NULL: there is none, or that. */
static Status find_fade(Linear *l, KExpr **e) {
  Lower *x = l->x;
  KCursor behind;
  KExpr *g;
  *e = NULL;
  if (!l->gated)
    return ST_OK;
  if (!l->fade) {
    TRY(token(l, 4, l->h, &g));
    *e = lower_once(x, "g", k_un(x, KOP_exp, g));
    return ST_OK;
  }
  KExpr *i = lower_open(x, "i", l->dk, &behind);
  TRY(token(l, 4, packed(l, l->h, l->dk, i), &g));
  ks_store(&x->at, l->fade, &i, k_un(x, KOP_exp, g));
  lower_close(x, 1, behind);
  return ST_OK;
}

static KExpr *scale_of(Linear *l) {
  const LinearAttentionAttr *a = ATTR(l->n, LinearAttention);
  Lower *x = l->x;
  if (a->scale != 0)
    return ke_float(x->k, l->work, (double)a->scale);
  KExpr *root = k_un(x, KOP_sqrt, ke_cast(x->k, l->work, ke_dim(x->k, l->dk)));
  return lower_once(x, "scale", k_div(x, ke_float(x->k, l->work, 1), root));
}

/* The state in lane j: what the token before wrote, faded, and what it holds under this token's key and queries. */
static Status read_state(Linear *l, KExpr *j, KExpr *g, KVar *held, KVar *const *out) {
  Lower *x = l->x;
  KCursor behind;
  KExpr *k, *q, *before, *one = lower_index_const(x, 1), *none = lower_index_const(x, 0);
  KExpr *last = ke_select(x->k, k_bin(x, KOP_eq, l->t, none), none, k_sub(x, l->t, one)); /* 0: u is 0 then */
  KExpr *u = lower_once(x, "u", ke_load(x->k, l->row, &j));
  KExpr *i = lower_open_ordered(x, "i", l->dk, &behind), *row = packed(l, l->h, l->dk, i);
  TRY(element(l, 1, last, row, &before));
  KExpr *s = k_add(x, state_at(l, i, j), k_mul(x, before, u));
  g = l->fade ? ke_load(x->k, l->fade, &i) : g;
  s = lower_once(x, "s", g ? k_mul(x, s, g) : s);
  ks_store(&x->at, l->state, (KExpr *[]){i, j}, s);
  TRY(token(l, 1, row, &k));
  if (l->delta)
    ks_update(&x->at, held, KOP_add, k_mul(x, s, k));
  for (int64_t r = 0; r < l->group; r++) {
    TRY(token(l, 0, packed(l, query_head(l, r), l->dk, i), &q));
    ks_update(&x->at, out[r], KOP_add, k_mul(x, q, s));
  }
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status one_token(Linear *l, KBuf *y) {
  Lower *x = l->x;
  KCursor behind;
  KExpr *g, *u, *beta = NULL, *scale = scale_of(l), *qk[MOST_GROUP];
  KVar *out[MOST_GROUP], *held = NULL;
  for (int64_t r = 0; r < l->group; r++)
    TRY(dot(l, r, &qk[r]));
  TRY(find_fade(l, &g));
  if (l->delta) {
    bool by_head = dim_is(in_of(l->n, 5)->dim[2], l->heads);
    TRY(token(l, 5, by_head ? l->h : lower_index_const(x, 0), &beta));
    beta = lower_once(x, "beta", beta);
  }
  KExpr *j = lower_open(x, "j", l->dv, &behind);
  if (l->delta)
    held = lower_acc(x, "r", zero(l));
  for (int64_t r = 0; r < l->group; r++)
    out[r] = lower_acc(x, "o", zero(l));
  TRY(read_state(l, j, g, held, out));
  TRY(token(l, 2, packed(l, l->h, l->dv, j), &u));
  u = lower_once(x, "w", l->delta ? k_mul(x, beta, k_sub(x, u, ke_var(x->k, held))) : u);
  ks_store(&x->at, l->row, &j, u);
  for (int64_t r = 0; r < l->group && y; r++) {
    KExpr *v = k_mul(x, scale, k_add(x, ke_var(x->k, out[r]), k_mul(x, qk[r], u)));
    ks_store(&x->at, y, (KExpr *[]){l->b, l->t, packed(l, query_head(l, r), l->dv, j)}, ke_cast(x->k, y->dtype, v));
  }
  lower_close(x, 1, behind);
  return ST_OK;
}

/* With what the last token wrote; without tokens there is no key to read. */
static Status store_state(Linear *l, KBuf *present) {
  Lower *x = l->x;
  KCursor behind, inner;
  KExpr *k, *rows = ke_dim(x->k, l->T), *i = lower_open(x, "i", l->dk, &behind);
  KVar *last = lower_acc(x, "k", zero(l));
  lower_if(x, k_bin(x, KOP_lt, lower_index_const(x, 0), rows), &inner);
  TRY(element(l, 1, k_sub(x, rows, lower_index_const(x, 1)), packed(l, l->h, l->dk, i), &k));
  ks_update(&x->at, last, KOP_none, k);
  lower_close(x, 1, inner);
  KExpr *j = lower_open(x, "j", l->dv, NULL);
  KExpr *s = k_add(x, state_at(l, i, j), k_mul(x, ke_var(x->k, last), ke_load(x->k, l->row, &j)));
  ks_store(&x->at, present, (KExpr *[]){l->b, l->h, i, j}, ke_cast(x->k, present->dtype, s));
  lower_close(x, 2, behind);
  return ST_OK;
}

static Status linear(Lower *x, const Node *n, KBuf *const *out) {
  const LinearAttentionAttr *a = ATTR(n, LinearAttention);
  const Type *s = &n->out[1]->type;
  Linear l = {.x = x,
              .n = n,
              .heads = a->kv_num_heads,
              .group = a->q_num_heads / a->kv_num_heads,
              .T = in_of(n, 0)->dim[1],
              .dk = s->dim[2],
              .dv = s->dim[3],
              .work = lower_work(s->dtype)};
  KCursor behind, inner;
  l.gated = has(n, 4), l.delta = has(n, 5);
  l.state = kernel_add_temp(x->k, "s", l.work, 2, (Dim[]){l.dk, l.dv});
  l.row = kernel_add_temp(x->k, "u", l.work, 1, &l.dv);
  if (l.gated && !dim_is(in_of(n, 4)->dim[2], l.heads))
    l.fade = kernel_add_temp(x->k, "g", l.work, 1, &l.dk);
  l.b = lower_open(x, "b", s->dim[0], &behind);
  l.h = lower_open(x, "h", s->dim[1], NULL);
  TRY(load_state(&l));
  l.t = lower_open_ordered(x, "t", l.T, &inner);
  TRY(one_token(&l, out[0]));
  lower_close(x, 1, inner);
  if (out[1])
    TRY(store_state(&l, out[1]));
  lower_close(x, 2, behind);
  return ST_OK;
}
const Lowering linear_attention_lower = {LOWER_NEST, .can = linear_can, .nest = linear};

/* --- CausalConvWithState --- */

static bool causal_can(Ctx *c, const Node *n, const char **why) {
  const Type *in = in_of(n, 0), *w = in_of(n, 1);
  *why = "extents that are compared at run time";
  if (in->rank != 3 || w->rank != 3 || w->dim[0] != in->dim[1] || !dim_is(w->dim[1], 1) || w->dim[2]->lo < 1 ||
      (has(n, 2) && (in_of(n, 2)->rank != 1 || in_of(n, 2)->dim[0] != in->dim[1])))
    return false;
  if (!has(n, 3))
    return true;
  const Type *p = in_of(n, 3);
  return p->rank == 3 && p->dim[0] == in->dim[0] && p->dim[1] == in->dim[1] &&
         p->dim[2] == dim_sub(c, w->dim[2], dim_const(c, 1));
}

typedef struct Padded { /* the input behind the past state */
  Lower *x;
  const Node *n;
  KExpr *b, *c;
} Padded;

/* acc op= f * element t. f NULL: 1. */
static Status add_element(Padded *p, KExpr *t, KExpr *f, KVar *acc, KOp op) {
  Lower *x = p->x;
  Dim before = dim_sub(x->c, in_of(p->n, 1)->dim[2], dim_const(x->c, 1));
  KExpr *pos = lower_once(x, "pos", k_sub(x, t, ke_dim(x->k, before))), *now, *zero = lower_index_const(x, 0);
  for (int i = 0; i < (has(p->n, 3) && !dim_is(before, 0) ? 2 : 1); i++) {
    KCursor behind;
    KExpr *v, *index[3] = {p->b, p->c, i ? t : pos};
    now = i ? k_bin(x, KOP_lt, pos, zero) : k_bin(x, KOP_le, zero, pos);
    lower_if(x, now, &behind);
    TRY(lower_read(x, p->n->in[i ? 3 : 0], index, &v));
    v = ke_cast(x->k, acc->dtype, v);
    ks_update(&x->at, acc, op, f ? k_mul(x, f, v) : v);
    lower_close(x, 1, behind);
  }
  return ST_OK;
}

static Status causal(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  Padded p = {x, n, index[0], index[1]};
  DType t = in_of(n, 0)->dtype, w = lower_work(t);
  KExpr *v, *f;
  KCursor behind;
  if (out) { /* the last k - 1 elements */
    KVar *last = lower_acc(x, "last", ke_float(x->k, t, 0));
    TRY(add_element(&p, k_add(x, index[2], ke_dim(x->k, in_of(n, 0)->dim[2])), NULL, last, KOP_none));
    *e = ke_var(x->k, last);
    return ST_OK;
  }
  KVar *acc = lower_acc(x, "s", ke_float(x->k, w, 0));
  KExpr *j = lower_open(x, "w", in_of(n, 1)->dim[2], &behind);
  TRY(lower_read(x, n->in[1], (KExpr *[]){index[1], lower_index_const(x, 0), j}, &f));
  TRY(add_element(&p, k_add(x, index[2], j), ke_cast(x->k, w, f), acc, KOP_add));
  lower_close(x, 1, behind);
  v = ke_var(x->k, acc);
  if (has(n, 2)) {
    TRY(lower_read(x, n->in[2], &index[1], &f));
    v = k_add(x, v, ke_cast(x->k, w, f));
  }
  v = lower_once(x, "v", ke_cast(x->k, w, ke_cast(x->k, t, v)));
  if (!str_is(ATTR(n, CausalConvWithState)->activation, "none"))
    v = k_mul(x, v, k_un(x, KOP_sigmoid, v));
  *e = ke_cast(x->k, t, v);
  return ST_OK;
}
const Lowering causal_conv_lower = {LOWER_ELEM, .can = causal_can, .elem = causal, .again = true};
