/* attention.c - inference of Attention.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include "ir/infer.h"

typedef struct Heads {
  Dim B, H, S, D;
} Heads;

/* The axes of a 4-D input, or of a 3-D input [B][S][heads * D]. */
static Status heads_of(Infer *x, int i, int64_t heads, const char *what, Heads *h) {
  const Type *t = in_type(x, i);
  Dim n;
  int64_t size;
  if (t->rank == 4) {
    *h = (Heads){t->dim[0], t->dim[1], t->dim[2], t->dim[3]};
    return ST_OK;
  }
  if (t->rank != 3)
    return infer_fail(x, "%s must have rank 3 or 4, not %d", what, t->rank);
  if (heads == ABSENT || heads < 1)
    return infer_fail(x, "q_num_heads and kv_num_heads are needed with inputs of rank 3");
  if (dim_is_const(t->dim[2], &size) && size % heads)
    return infer_fail(x, "the hidden size %lld of %s is not a multiple of its %lld heads", (long long)size, what,
                      (long long)heads);
  n = dim_const(x->c, heads);
  *h = (Heads){t->dim[0], n, t->dim[1], dim_div(x->c, t->dim[2], n)};
  return ST_OK;
}

static Status check(Infer *x, const Heads *q, const Heads *k, const Heads *v) {
  int64_t hq, hk;
  TRY(same_dim(x, q->B, k->B, "the batch sizes of Q and K", NULL));
  TRY(same_dim(x, q->B, v->B, "the batch sizes of Q and V", NULL));
  TRY(same_dim(x, q->D, k->D, "the head sizes of Q and K", NULL));
  TRY(same_dim(x, k->S, v->S, "the lengths of K and V", NULL));
  TRY(same_dim(x, k->H, v->H, "the heads of K and V", NULL));
  if (dim_is_const(q->H, &hq) && dim_is_const(k->H, &hk) && hk > 0 && hq % hk)
    return infer_fail(x, "%lld query heads are not a multiple of %lld key heads", (long long)hq, (long long)hk);
  return ST_OK;
}

bool attention_keys_all(const Node *n, Dim keys) {
  const Value *v = n->nin > 6 ? n->in[6] : NULL;
  if (v && v->def && v->def->op == OP_Expand)
    v = v->def->in[0];
  int64_t count;
  if (!v || !v->content || v->type.rank != 1 || !dim_is_const(v->type.dim[0], &count))
    return false;
  for (int64_t i = 0; i < count; i++)
    if (v->content[i] != keys)
      return false;
  return count > 0;
}

Status attention_infer(Infer *x) {
  const AttentionAttr *a = ATTR(x->n, Attention);
  Ctx *c = x->c;
  Heads q, k, v;
  int rank, past;
  if (has_in(x, 4) != has_in(x, 5))
    return infer_fail(x, "past_key and past_value must be given together");
  if (!in_rank(x, 0, &rank) || !in_rank(x, 1, &rank) || !in_rank(x, 2, &rank) ||
      (has_in(x, 4) && !in_rank(x, 4, &past)))
    return ST_OK;
  rank = in_type(x, 0)->rank;
  if (rank != in_type(x, 1)->rank || rank != in_type(x, 2)->rank)
    return infer_fail(x, "Q, K and V must have the same rank");
  TRY(heads_of(x, 0, a->q_num_heads, "Q", &q));
  TRY(heads_of(x, 1, a->kv_num_heads, "K", &k));
  TRY(heads_of(x, 2, a->kv_num_heads, "V", &v));
  TRY(check(x, &q, &k, &v));
  if (has_in(x, 4) && past != 4)
    return infer_fail(x, "past_key must have rank 4, not %d", past);
  Dim L = has_in(x, 4) ? dim_add(c, in_dim(x, 4, 2), k.S) : k.S;
  if (rank == 4)
    set_out(x, 0, DT_none, 4, (Dim[]){q.B, q.H, q.S, v.D});
  else
    set_out(x, 0, DT_none, 3, (Dim[]){q.B, q.S, dim_mul(c, q.H, v.D)});
  set_out(x, 1, in_type(x, 1)->dtype, 4, (Dim[]){q.B, k.H, L, k.D});
  set_out(x, 2, in_type(x, 2)->dtype, 4, (Dim[]){q.B, k.H, L, v.D});
  set_out(x, 3, in_type(x, 0)->dtype, 4, (Dim[]){q.B, q.H, q.S, L});
  return ST_OK;
}

/* Input 7: one number for each query head, whose exponential the sums of its softmaxes have besides those of the scores. */
Status sink_attention_infer(Infer *x) {
  int rank;
  if (in_rank(x, 7, &rank) && rank != 1)
    return infer_fail(x, "the sinks must have rank 1, not %d", rank);
  return attention_infer(x);
}
