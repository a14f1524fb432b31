/* recurrence.c - inference of LinearAttention and CausalConvWithState.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

static Status packed(Infer *x, int i, int64_t heads, const char *what, Dim *size) {
  Dim d = in_dim(x, i, 2);
  int64_t n;
  if (dim_is_const(d, &n) && n % heads)
    return infer_fail(x, "the hidden size %lld of %s is not a multiple of its %lld heads", (long long)n, what,
                      (long long)heads);
  *size = dim_div(x->c, d, dim_const(x->c, heads));
  return ST_OK;
}

Status linear_attention_infer(Infer *x) {
  const LinearAttentionAttr *a = ATTR(x->n, LinearAttention);
  Ctx *c = x->c;
  Dim dk, dv, dk2;
  int rank;
  if (a->q_num_heads < 1 || a->kv_num_heads < 1 || a->q_num_heads % a->kv_num_heads)
    return infer_fail(x, "%lld query heads are not a multiple of %lld key heads", (long long)a->q_num_heads,
                      (long long)a->kv_num_heads);
  for (int i = 0; i < 3; i++) {
    if (!in_rank(x, i, &rank))
      return ST_OK;
    if (rank != 3)
      return infer_fail(x, "query, key and value must have rank 3, not %d", rank);
  }
  TRY(packed(x, 0, a->q_num_heads, "query", &dk));
  TRY(packed(x, 1, a->kv_num_heads, "key", &dk2));
  TRY(packed(x, 2, a->kv_num_heads, "value", &dv));
  TRY(same_dim(x, dk, dk2, "the head sizes of query and key", NULL));
  for (int i = 1; i < 3; i++) {
    TRY(same_dim(x, in_dim(x, 0, 0), in_dim(x, i, 0), "the batch sizes of query, key and value", NULL));
    TRY(same_dim(x, in_dim(x, 0, 1), in_dim(x, i, 1), "the lengths of query, key and value", NULL));
  }
  set_out(x, 0, DT_none, 3, (Dim[]){in_dim(x, 0, 0), in_dim(x, 0, 1), dim_mul(c, dim_const(c, a->q_num_heads), dv)});
  set_out(x, 1, in_dtype(x, has_in(x, 3) ? 3 : 0), 4, (Dim[]){in_dim(x, 0, 0), dim_const(c, a->kv_num_heads), dk, dv});
  return ST_OK;
}

Status causal_conv_infer(Infer *x) {
  Dim past;
  int rank, weight;
  Str act = ATTR(x->n, CausalConvWithState)->activation;
  if (!str_is(act, "none") && !str_is(act, "silu") && !str_is(act, "swish"))
    return infer_fail(x, "activation is '%.*s'; it must be none, silu or swish", (int)(act.len < 40 ? act.len : 40),
                      act.ptr);
  if (!in_rank(x, 0, &rank) || !in_rank(x, 1, &weight))
    return ST_OK;
  if (rank != 3 || weight != 3)
    return infer_fail(x, "the input and the weight must have rank 3");
  TRY(same_dim(x, in_dim(x, 0, 1), in_dim(x, 1, 0), "the channels of the input and of the weight", NULL));
  past = dim_sub(x->c, in_dim(x, 1, 2), dim_const(x->c, 1));
  if (past->hi < 0)
    return infer_fail(x, "the kernel is empty");
  set_out_like(x, 0, 0);
  set_out(x, 1, in_dtype(x, 0), 3, (Dim[]){in_dim(x, 0, 0), in_dim(x, 0, 1), past});
  return ST_OK;
}
