/* attention.c - lowering of Attention (25) in its full form, for what the attention generator does not take
 * (codegen/anchors.c): caches, caps, windows, lengths, further outputs, other types, sinks on GPUs; and of RotaryEmbedding (23).
 *
 *   for each batch entry and key/value head: the present keys and values, where they are wanted
 *     for each query head of it and query s
 *       score[j] = q . k[j], capped, masked           a temporary of L = past + new
 *       score[j] = softmax
 *       y = sum over j of score[j] v[j]               lanes along v
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>
#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

enum { Q, K, V, MASK, PAST_K, PAST_V, VALID, SINK };

typedef struct Att {
  Lower *x;
  const Node *n;
  const AttentionAttr *a;
  DType w;                 /* of arithmetic */
  int64_t heads, kv_heads; /* query heads per key/value head: heads / kv_heads */
  Dim B, S, L, past, D, Dv;
  bool split;           /* inputs are [batch, heads, length, dim], else [batch, length, heads * dim] */
  KExpr *b, *g, *h, *s; /* batch entry, key/value head, query head, query */
  KExpr *scale;
  KExpr *valid, *position; /* nonpad_kv_seqlen of b, or NULL; of s among the keys */
  KBuf *score, *qk;
} Att;

/* --- what there is --- */

static Dim head_size(Ctx *c, const Type *t, int64_t heads) {
  return t->rank == 4 ? t->dim[3] : dim_div(c, t->dim[2], dim_const(c, heads));
}

static bool att_of(Ctx *c, const Node *n, Att *t) {
  const AttentionAttr *a = ATTR(n, Attention);
  const Type *q = in_of(n, Q), *k = in_of(n, K), *v = in_of(n, V);
  *t = (Att){.n = n, .a = a, .split = q->rank == 4, .past = dim_const(c, 0)};
  if ((q->rank != 3 && q->rank != 4) || k->rank != q->rank || v->rank != q->rank)
    return false;
  t->heads = a->q_num_heads, t->kv_heads = a->kv_num_heads;
  if (t->split &&
      (!dim_is_const(q->dim[1], &t->heads) || !dim_is_const(k->dim[1], &t->kv_heads) || v->dim[1] != k->dim[1]))
    return false;
  if (t->heads < 1 || t->kv_heads < 1 || t->heads % t->kv_heads)
    return false;
  int len = t->split ? 2 : 1;
  t->B = q->dim[0], t->S = q->dim[len], t->L = k->dim[len];
  t->D = head_size(c, q, t->heads), t->Dv = head_size(c, v, t->kv_heads);
  if (k->dim[0] != t->B || v->dim[0] != t->B || v->dim[len] != t->L || head_size(c, k, t->kv_heads) != t->D)
    return false;
  if (has(n, PAST_K) != has(n, PAST_V) || (has(n, PAST_K) && has(n, VALID)))
    return false;
  if (has(n, PAST_K)) {
    const Type *pk = in_of(n, PAST_K), *pv = in_of(n, PAST_V);
    if (pk->rank != 4 || pv->rank != 4 || pk->dim[0] != t->B || pv->dim[0] != t->B || pk->dim[2] != pv->dim[2] ||
        !dim_is(pk->dim[1], t->kv_heads) || !dim_is(pv->dim[1], t->kv_heads) || pk->dim[3] != t->D ||
        pv->dim[3] != t->Dv)
      return false;
    t->past = pk->dim[2], t->L = dim_add(c, t->past, t->L);
  }
  t->w = a->softmax_precision == DT_f64 ? DT_f64 : lower_work(q->dtype);
  return true;
}

static bool att_can(Ctx *c, const Node *n, const char **why) {
  const AttentionAttr *a = ATTR(n, Attention);
  Att t;
  *why = "shapes that are compared at run time, or heads that are not known";
  if (!att_of(c, n, &t) || a->softcap < 0 || a->left_window_size < -1 || a->right_window_size < -1)
    return false;
  if (has(n, MASK) && (in_of(n, MASK)->rank < 1 || in_of(n, MASK)->rank > 4 ||
                       (in_of(n, MASK)->dtype != DT_bool && !dtype_is_float(in_of(n, MASK)->dtype))))
    return false;
  if (has(n, VALID) && in_of(n, VALID)->rank != 1)
    return false;
  if (has(n, SINK) && (in_of(n, SINK)->rank != 1 || !dim_is(in_of(n, SINK)->dim[0], t.heads)))
    return false;
  *why = "a softmax in a precision that there is not";
  DType p = a->softmax_precision == ABSENT ? DT_none : (DType)a->softmax_precision;
  return p == DT_none || p == DT_f16 || p == DT_bf16 || p == DT_f32 || p == DT_f64;
}

/* --- reading --- */

/* Element d of row `pos` of input i in head h of size `size`, as a number of the work type. */
static Status element(Att *t, int i, KExpr *h, KExpr *pos, KExpr *d, Dim size, KExpr **e) {
  Lower *x = t->x;
  KExpr *at[4] = {t->b, h, pos, d};
  if (!t->split && i <= V)
    at[1] = pos, at[2] = k_add(x, k_mul(x, h, ke_dim(x->k, size)), d);
  TRY(lower_read(x, t->n->in[i], at, e));
  *e = ke_cast(x->k, t->w, *e);
  return ST_OK;
}

/* Past keys (values) first, then the new ones: part 0 and 1. Their input, length and first position. */
typedef struct Part {
  int input;
  Dim len;
  KExpr *from;
} Part;

static int parts_of(Att *t, int now, int past, Part *p) {
  int n = 0, axis = t->split ? 2 : 1;
  if (has(t->n, past))
    p[n++] = (Part){past, t->past, num(t->x, 0)};
  p[n++] = (Part){now, in_of(t->n, now)->dim[axis], ke_dim(t->x->k, t->past)};
  return n;
}

/* --- the present --- */

static Status present(Att *t, int now, int past, Dim size, KBuf *out) {
  Lower *x = t->x;
  Part part[2];
  KCursor behind;
  KExpr *v;
  for (int i = 0, n = parts_of(t, now, past, part); i < n; i++) {
    const Append *cache = part[i].input == past ? t->n->in[past]->append : NULL; /* written, or there already */
    Dim len = cache && cache->present == t->n->out[now] ? cache->copied : part[i].len;
    KExpr *j = lower_open(x, "j", len, &behind), *d = lower_open(x, "d", size, NULL);
    TRY(element(t, part[i].input, t->g, j, d, size, &v));
    ks_store(&x->at, out, (KExpr *[]){t->b, t->g, k_add(x, part[i].from, j), d}, ke_cast(x->k, out->dtype, v));
    lower_close(x, 2, behind);
  }
  return ST_OK;
}

/* --- scores --- */

/* What the mask has for key j: added, -inf where it excludes. Beyond its end it excludes. */
static Status mask_value(Att *t, KExpr *j, KExpr **e) {
  Lower *x = t->x;
  const Type *m = in_of(t->n, MASK);
  Dim full[4] = {t->B, dim_const(x->c, t->heads), t->S, t->L};
  KExpr *index[4] = {t->b, t->h, t->s, j}, *at[4], *v, *none = ke_float(x->k, t->w, -INFINITY);
  KCursor behind;
  int r = m->rank;
  bool all = m->dim[r - 1] == t->L;
  for (int i = 0; i < r - 1; i++)
    TRY(lower_bcast_index(x, m->dim[i], full[4 - r + i], index[4 - r + i], &at[i]));
  at[r - 1] = j;
  KVar *acc = NULL;
  if (!all) {
    KExpr *len = ke_dim(x->k, m->dim[r - 1]);
    TRY(lower_check(x, k_bin(x, KOP_le, len, ke_dim(x->k, t->L)), len, t->L,
                    "attn_mask is for %lld keys, and there are %lld"));
    acc = lower_acc(x, "bias", none);
    lower_if(x, k_bin(x, KOP_lt, j, len), &behind);
  }
  TRY(lower_read(x, t->n->in[MASK], at, &v));
  v = m->dtype == DT_bool ? ke_select(x->k, v, ke_float(x->k, t->w, 0), none) : ke_cast(x->k, t->w, v);
  if (!all) {
    ks_update(&x->at, acc, KOP_none, v);
    lower_close(x, 1, behind);
    v = ke_var(x->k, acc);
  }
  *e = lower_once(x, "bias", v);
  return ST_OK;
}

/* May query s look at key j, as far as positions say? NULL: always. */
static KExpr *admitted(Att *t, KExpr *j) {
  Lower *x = t->x;
  KExpr *ok[4], *r = NULL, *p = t->position;
  int n = 0;
  if (t->a->is_causal)
    ok[n++] = k_bin(x, KOP_le, j, p);
  if (t->a->left_window_size >= 0)
    ok[n++] = k_bin(x, KOP_le, k_sub(x, p, j), num(x, t->a->left_window_size));
  if (t->a->right_window_size >= 0)
    ok[n++] = k_bin(x, KOP_le, k_sub(x, j, p), num(x, t->a->right_window_size));
  if (t->valid)
    ok[n++] = k_bin(x, KOP_lt, j, t->valid);
  for (int i = 0; i < n; i++)
    r = r ? k_bin(x, KOP_and, r, ok[i]) : ok[i];
  return r;
}

static void store_qk(Att *t, KExpr *j, KExpr *v) {
  if (t->qk)
    ks_store(&t->x->at, t->qk, (KExpr *[]){t->b, t->h, t->s, j}, ke_cast(t->x->k, t->qk->dtype, v));
}

/* Rounded to the precision that the softmax is to have. */
static KExpr *in_precision(Att *t, KExpr *v) {
  DType p = t->a->softmax_precision == ABSENT ? t->w : (DType)t->a->softmax_precision;
  return ke_cast(t->x->k, t->w, ke_cast(t->x->k, p, v));
}

/* score[from + j] for one part of the keys; the scaled products, capped and masked. */
static Status scores(Att *t, const Part *part) {
  Lower *x = t->x;
  const AttentionAttr *a = t->a;
  KExpr *q, *k, *bias = NULL;
  KCursor behind, inner;
  KExpr *i = lower_open(x, "j", part->len, &behind), *j = lower_once(x, "at", k_add(x, part->from, i));
  KVar *acc = lower_acc(x, "dot", ke_float(x->k, t->w, 0));
  KExpr *d = lower_open(x, "d", t->D, &inner);
  TRY(element(t, Q, t->h, t->s, d, t->D, &q));
  TRY(element(t, part->input, t->g, i, d, t->D, &k));
  ks_update(&x->at, acc, KOP_add, k_mul(x, q, k));
  lower_close(x, 1, inner);
  KExpr *v = lower_once(x, "v", k_mul(x, ke_var(x->k, acc), t->scale));
  if (a->qk_matmul_output_mode == 0)
    store_qk(t, j, v);
  if (a->softcap > 0) {
    KExpr *cap = ke_float(x->k, t->w, (double)a->softcap);
    v = lower_once(x, "v", k_mul(x, cap, k_un(x, KOP_tanh, k_div(x, v, cap))));
  }
  if (a->qk_matmul_output_mode == 1)
    store_qk(t, j, v);
  KExpr *none = ke_float(x->k, t->w, -INFINITY), *ok = admitted(t, j);
  if (has(t->n, MASK)) {
    TRY(mask_value(t, j, &bias));
    v = ke_select(x->k, k_bin(x, KOP_eq, bias, none), none, k_add(x, v, bias)); /* what is masked is -inf, even NaN */
  }
  v = ok ? ke_select(x->k, ok, v, none) : v;
  v = lower_once(x, "v", v);
  if (a->qk_matmul_output_mode == 2)
    store_qk(t, j, v);
  ks_store(&x->at, t->score, &j, in_precision(t, v));
  lower_close(x, 1, behind);
  return ST_OK;
}

/* The softmax of score in place; zeros where there is nothing to look at. */
static Status softmax(Att *t) {
  Lower *x = t->x;
  KCursor behind;
  KExpr *none = ke_float(x->k, t->w, -INFINITY), *zero = ke_float(x->k, t->w, 0), *one = ke_float(x->k, t->w, 1);
  KExpr *sink = none;
  if (has(t->n, SINK)) {
    TRY(lower_read(x, t->n->in[SINK], &t->h, &sink));
    sink = lower_once(x, "sink", ke_cast(x->k, t->w, sink));
  }
  KVar *m = lower_acc(x, "m", sink);
  KExpr *j = lower_open(x, "j", t->L, &behind);
  ks_update(&x->at, m, KOP_max, ke_load(x->k, t->score, &j));
  lower_close(x, 1, behind);
  KExpr *nothing = k_bin(x, KOP_eq, ke_var(x->k, m), none), *top = ke_select(x->k, nothing, zero, ke_var(x->k, m));
  KVar *shift = ks_let(&x->at, "top", top);
  lower_set_level(x, shift, x->depth);
  KVar *s = lower_acc(x, "sum", has(t->n, SINK) ? k_un(x, KOP_exp, k_sub(x, sink, ke_var(x->k, shift))) : zero);
  j = lower_open(x, "j", t->L, &behind); /* exp(-inf) is 0 */
  KVar *e = ks_let(&x->at, "e", k_un(x, KOP_exp, k_sub(x, ke_load(x->k, t->score, &j), ke_var(x->k, shift))));
  lower_set_level(x, e, x->depth);
  ks_update(&x->at, s, KOP_add, ke_var(x->k, e));
  ks_store(&x->at, t->score, &j, ke_var(x->k, e));
  lower_close(x, 1, behind);
  KExpr *empty = k_bin(x, KOP_eq, ke_var(x->k, s), zero);
  KVar *by = ks_let(&x->at, "by", k_div(x, one, ke_select(x->k, empty, one, ke_var(x->k, s))));
  lower_set_level(x, by, x->depth);
  j = lower_open(x, "j", t->L, &behind);
  KVar *p = ks_let(&x->at, "p", in_precision(t, k_mul(x, ke_load(x->k, t->score, &j), ke_var(x->k, by))));
  lower_set_level(x, p, x->depth);
  ks_store(&x->at, t->score, &j, ke_var(x->k, p));
  if (t->a->qk_matmul_output_mode == 3)
    store_qk(t, j, ke_var(x->k, p));
  lower_close(x, 1, behind);
  return ST_OK;
}

static bool masks(const Att *t) {
  const AttentionAttr *a = t->a;
  return has(t->n, MASK) || a->is_causal || a->left_window_size >= 0 || a->right_window_size >= 0 || t->valid;
}

/* y[d] = sum of score[j] v[j, d]; where something is masked, what has no weight does not count, be it infinite. */
static Status weighted(Att *t, KBuf *y) {
  Lower *x = t->x;
  Part part[2];
  KCursor behind, inner;
  KExpr *v;
  KExpr *d = lower_open(x, "d", t->Dv, &behind);
  KVar *acc = lower_acc(x, "s", ke_float(x->k, t->w, 0));
  for (int i = 0, n = parts_of(t, V, PAST_V, part); i < n; i++) {
    KExpr *j = lower_open(x, "j", part[i].len, &inner), *at = k_add(x, part[i].from, j);
    KExpr *p = ke_load(x->k, t->score, &at);
    if (masks(t))
      lower_if(x, k_bin(x, KOP_ne, p, ke_float(x->k, t->w, 0)), NULL);
    TRY(element(t, part[i].input, t->g, j, d, t->Dv, &v));
    ks_update(&x->at, acc, KOP_add, k_mul(x, p, v));
    lower_close(x, masks(t) ? 2 : 1, inner);
  }
  KExpr *r = ke_cast(x->k, y->dtype, ke_var(x->k, acc)), *at4[4] = {t->b, t->h, t->s, d};
  KExpr *at3[3] = {t->b, t->s, k_add(x, k_mul(x, t->h, ke_dim(x->k, t->Dv)), d)};
  ks_store(&x->at, y, t->split ? at4 : at3, r);
  lower_close(x, 1, behind);
  return ST_OK;
}

/* 1 over the root of the head's size, unless it is given. */
static KExpr *scale_of(Att *t) {
  Lower *x = t->x;
  int64_t size;
  if (!isnan(t->a->scale))
    return ke_float(x->k, t->w, (double)t->a->scale);
  if (dim_is_const(t->D, &size))
    return ke_float(x->k, t->w, 1 / sqrt((double)size));
  KExpr *root = k_un(x, KOP_sqrt, ke_cast(x->k, t->w, ke_dim(x->k, t->D)));
  return lower_once(x, "scale", k_div(x, ke_float(x->k, t->w, 1), root));
}

static Status query(Att *t, KBuf *y) {
  Part part[2];
  for (int i = 0, n = parts_of(t, K, PAST_K, part); i < n; i++)
    TRY(scores(t, &part[i]));
  TRY(softmax(t));
  return y ? weighted(t, y) : ST_OK;
}

/* Where query s stands among the keys, and how many of those of this batch entry count. */
static Status find_position(Att *t) {
  Lower *x = t->x;
  KExpr *first = ke_dim(x->k, t->past);
  if (has(t->n, VALID)) {
    if (in_of(t->n, VALID)->dim[0] != t->B) {
      KExpr *n = ke_dim(x->k, in_of(t->n, VALID)->dim[0]);
      TRY(lower_check(x, k_bin(x, KOP_eq, n, ke_dim(x->k, t->B)), n, t->B,
                      "%lld values of nonpad_kv_seqlen for a batch of %lld"));
    }
    TRY(lower_read(x, t->n->in[VALID], &t->b, &t->valid));
    t->valid = lower_once(x, "valid", t->valid);
    KExpr *fits =
        k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), t->valid), k_bin(x, KOP_le, t->valid, ke_dim(x->k, t->L)));
    TRY(lower_check(x, fits, t->valid, t->L, "nonpad_kv_seqlen holds %lld; it must be in [0, %lld]"));
    first = k_sub(x, t->valid, ke_dim(x->k, t->S));
  }
  t->position = lower_once(x, "pos", k_add(x, first, t->s));
  return ST_OK;
}

static Status attention(Lower *x, const Node *n, KBuf *const *out) {
  Att t;
  KCursor behind, inner;
  att_of(x->c, n, &t);
  t.x = x, t.qk = out[3];
  int64_t group = t.heads / t.kv_heads;
  t.score = kernel_add_temp(x->k, "score", t.w, 1, &t.L);
  t.scale = scale_of(&t);
  t.b = lower_open(x, "b", t.B, &behind);
  bool stores = out[1] || out[2];
  if (stores) { /* parts are key/value heads, which write their present */
    t.g = lower_open(x, "g", dim_const(x->c, t.kv_heads), NULL);
    if (out[1])
      TRY(present(&t, K, PAST_K, t.D, out[1]));
    if (out[2])
      TRY(present(&t, V, PAST_V, t.Dv, out[2]));
    KExpr *r = lower_open(x, "r", dim_const(x->c, group), &inner);
    t.h = lower_once(x, "h", k_add(x, k_mul(x, t.g, num(x, group)), r));
  } else {
    inner = behind;
    t.h = lower_open(x, "h", dim_const(x->c, t.heads), &inner);
  }
  t.s = lower_open(x, "s", t.S, NULL);
  if (!t.g)
    t.g = lower_once(x, "g", k_div(x, t.h, num(x, group)));
  TRY(find_position(&t));
  TRY(query(&t, out[0]));
  lower_close(x, 2, inner);
  lower_close(x, stores ? 2 : 1, behind);
  return ST_OK;
}
const Lowering attention_lower = {LOWER_NEST, .can = att_can, .nest = attention};

/* --- RotaryEmbedding --- */

typedef struct Rotary {
  int64_t half; /* pairs that are rotated */
  Dim D;
  bool split; /* [batch, heads, length, dim], else [batch, length, heads * dim] */
} Rotary;

static bool rotary_of(Ctx *c, const Node *n, Rotary *r) {
  const RotaryEmbeddingAttr *a = ATTR(n, RotaryEmbedding);
  const Type *t = in_of(n, 0);
  int64_t size;
  *r = (Rotary){.split = t->rank == 4};
  if ((t->rank != 3 && t->rank != 4) || (!r->split && a->num_heads < 1))
    return false;
  r->D = r->split ? t->dim[3] : dim_div(c, t->dim[2], dim_const(c, a->num_heads));
  if (!dim_is_const(r->D, &size) || a->rotary_embedding_dim < 0 || a->rotary_embedding_dim > size ||
      (!r->split && dim_mul(c, r->D, dim_const(c, a->num_heads)) != t->dim[2]))
    return false;
  size = a->rotary_embedding_dim ? a->rotary_embedding_dim : size;
  r->half = size / 2;
  int rank = has(n, 3) ? 2 : 3;
  for (int i = 1; i < 3; i++) {
    const Type *cache = in_of(n, i);
    if (cache->rank != rank || !dim_is(cache->dim[rank - 1], r->half) || cache->dim[0] != in_of(n, 1)->dim[0])
      return false;
    if (rank == 3 && (cache->dim[0] != t->dim[0] || cache->dim[1] != t->dim[r->split ? 2 : 1]))
      return false;
  }
  return size % 2 == 0 && r->half > 0 &&
         (rank == 3 || (in_of(n, 3)->rank == 2 && in_of(n, 3)->dim[0] == t->dim[0] &&
                        in_of(n, 3)->dim[1] == t->dim[r->split ? 2 : 1]));
}

static bool rotary_can(Ctx *c, const Node *n, const char **why) {
  Rotary r;
  *why = "sizes that are known at run time only";
  return rotary_of(c, n, &r);
}

/* cos (1) or sin (2) of pair i at batch entry b, position s. */
static Status cache_value(Lower *x, const Node *n, int which, KExpr *b, KExpr *s, KExpr *i, KExpr **e) {
  KExpr *at[3] = {b, s, i}, *row;
  if (has(n, 3)) {
    KExpr *rows = ke_dim(x->k, in_of(n, which)->dim[0]);
    TRY(lower_read(x, n->in[3], at, &row));
    row = lower_once(x, "row", ke_cast(x->k, DT_i64, row));
    TRY(lower_check(x, k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), row), k_bin(x, KOP_lt, row, rows)), row,
                    in_of(n, which)->dim[0], "position_ids holds %lld; the caches have %lld rows"));
    at[0] = row, at[1] = i;
  }
  TRY(lower_read(x, n->in[which], at, e));
  *e = ke_cast(x->k, lower_work(in_of(n, 0)->dtype), *e);
  return ST_OK;
}

/* Element d of a head is one of a pair (p, q): c p - s q, or s p + c q. */
static Status rotary(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  Rotary r;
  KExpr *at[4], *c, *s, *v, *other;
  KCursor behind;
  DType t = in_of(n, 0)->dtype, w = lower_work(t);
  int last = in_of(n, 0)->rank - 1;
  bool inter = ATTR(n, RotaryEmbedding)->interleaved != 0;
  rotary_of(x->c, n, &r);
  bool whole = dim_is(r.D, 2 * r.half);
  KExpr *d = r.split ? index[last] : lower_once(x, "d", k_bin(x, KOP_mod, index[last], ke_dim(x->k, r.D)));
  KExpr *half = num(x, r.half), *one = num(x, 1), *second, *pair, *step;
  if (inter) {
    second = k_bin(x, KOP_eq, k_bin(x, KOP_mod, d, num(x, 2)), one);
    pair = lower_once(x, "pair", k_div(x, d, num(x, 2))), step = one;
  } else {
    second = k_bin(x, KOP_le, half, d);
    pair = lower_once(x, "pair", ke_select(x->k, second, k_sub(x, d, half), d)), step = half;
  }
  second = lower_once(x, "second", second);
  TRY(lower_read(x, n->in[0], index, &v));
  v = lower_once(x, "v", ke_cast(x->k, w, v));
  KVar *acc = whole ? NULL : lower_acc(x, "r", v);
  if (!whole)
    lower_if(x, k_bin(x, KOP_lt, d, num(x, 2 * r.half)), &behind);
  memcpy(at, index, (size_t)(last + 1) * sizeof *at);
  at[last] = lower_once(x, "at", k_add(x, index[last], ke_select(x->k, second, k_sub(x, num(x, 0), step), step)));
  TRY(lower_read(x, n->in[0], at, &other));
  other = ke_cast(x->k, w, other);
  KExpr *pos = index[r.split ? 2 : 1];
  TRY(cache_value(x, n, 1, index[0], pos, pair, &c));
  TRY(cache_value(x, n, 2, index[0], pos, pair, &s));
  s = k_mul(x, s, other);
  KExpr *turned = ke_select(x->k, second, k_add(x, s, k_mul(x, c, v)), k_sub(x, k_mul(x, c, v), s));
  if (!whole) {
    ks_update(&x->at, acc, KOP_none, turned);
    lower_close(x, 1, behind);
    turned = ke_var(x->k, acc);
  }
  *e = ke_cast(x->k, t, turned);
  return ST_OK;
}
const Lowering rotary_lower = {LOWER_ELEM, .can = rotary_can, .elem = rotary, .again = true};
