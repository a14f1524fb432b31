/* recurrence.c - evaluation of LinearAttention and CausalConvWithState.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

/* --- LinearAttention ---
 *
 *   q [B][T][Hq dk]   k [B][T][H dk]   v [B][T][H dv]   decay g [B][T][H or H dk]   beta [B][T][H or 1]
 *   S [dk][dv] per head:  S = exp(g) S;   S += k (beta (v - S' k))', or k v' without the delta rule;   o = scale S' q
 *
 * Query head h reads the state of head h / (Hq / H). States are double here, rounded once at the end. */

typedef struct Lin {
  Eval *e;
  int64_t B, T, Hq, H, dk, dv;
  const double *q, *k, *v, *past, *decay, *beta;
  bool decay_by_key, beta_by_head;
  double scale;
  double *state, *row; /* dk x dv; dv */
} Lin;

static Status check_rule(Lin *l) {
  const LinearAttentionAttr *a = l->e->attr;
  Str r = a->update_rule;
  bool gated = str_is(r, "gated"), delta = str_is(r, "delta"), both = str_is(r, "gated_delta");
  if (!gated && !delta && !both && !str_is(r, "linear"))
    return eval_fail(l->e, "update_rule is '%.*s'; it must be linear, gated, delta or gated_delta",
                     (int)(r.len < 40 ? r.len : 40), r.ptr);
  if ((gated || both) != eval_has(l->e, 4))
    return eval_fail(l->e, "decay goes with the update rules gated and gated_delta");
  if ((delta || both) != eval_has(l->e, 5))
    return eval_fail(l->e, "beta goes with the update rules delta and gated_delta");
  if (a->q_num_heads < 1 || a->kv_num_heads < 1 || a->q_num_heads % a->kv_num_heads)
    return eval_fail(l->e, "%lld query heads are not a multiple of %lld key heads", (long long)a->q_num_heads,
                     (long long)a->kv_num_heads);
  return ST_OK;
}

static Status check_extents(Lin *l) {
  static const char *const names[] = {"query", "key", "value", "past_state", "decay", "beta"};
  Eval *e = l->e;
  for (int i = 0; i < 6; i++) {
    if (!eval_has(e, i) || i == 3)
      continue;
    TRY(nn_expect_rank(e, i, 3, names[i]));
    if (e->in[i]->dim[0] != e->in[0]->dim[0] || e->in[i]->dim[1] != e->in[0]->dim[1])
      return eval_fail(e, "query and %s differ in batch or length", names[i]);
  }
  l->B = e->in[0]->dim[0], l->T = e->in[0]->dim[1];
  l->dk = e->in[0]->dim[2] / l->Hq, l->dv = e->in[2]->dim[2] / l->H;
  if (e->in[0]->dim[2] != l->dk * l->Hq || e->in[1]->dim[2] != l->dk * l->H || e->in[2]->dim[2] != l->dv * l->H)
    return eval_fail(e, "the hidden sizes of query, key and value do not fit %lld and %lld heads", (long long)l->Hq,
                     (long long)l->H);
  if (eval_has(e, 4)) {
    l->decay_by_key = e->in[4]->dim[2] != l->H;
    if (l->decay_by_key && e->in[4]->dim[2] != l->H * l->dk)
      return eval_fail(e, "decay must have one number per head, or per head and key");
  }
  if (eval_has(e, 5)) {
    l->beta_by_head = e->in[5]->dim[2] == l->H;
    if (!l->beta_by_head && e->in[5]->dim[2] != 1)
      return eval_fail(e, "beta must have one number per head, or one");
  }
  if (eval_has(e, 3)) {
    const Tensor *p = e->in[3];
    if (p->rank != 4 || p->dim[0] != l->B || p->dim[1] != l->H || p->dim[2] != l->dk || p->dim[3] != l->dv)
      return eval_fail(e, "past_state must be [%lld,%lld,%lld,%lld]", (long long)l->B, (long long)l->H,
                       (long long)l->dk, (long long)l->dv);
  }
  return ST_OK;
}

static Status load_linear(Lin *l) {
  const LinearAttentionAttr *a = l->e->attr;
  int64_t n;
  TRY(check_rule(l));
  l->Hq = a->q_num_heads, l->H = a->kv_num_heads;
  TRY(check_extents(l));
  l->scale = a->scale != 0 ? (double)a->scale : 1 / sqrt((double)l->dk);
  TRY(nn_load_input(l->e, 0, &l->q));
  TRY(nn_load_input(l->e, 1, &l->k));
  TRY(nn_load_input(l->e, 2, &l->v));
  TRY(nn_load_input(l->e, 3, &l->past));
  TRY(nn_load_input(l->e, 4, &l->decay));
  TRY(nn_load_input(l->e, 5, &l->beta));
  if (!mul_ok(l->dk, l->dv, &n))
    return eval_fail(l->e, "a state of %lld x %lld is too large", (long long)l->dk, (long long)l->dv);
  TRY(nn_buffer(l->e, n, &l->state));
  return nn_buffer(l->e, l->dv, &l->row);
}

/* Token t of head h: the state moves on. */
static void step_state(Lin *l, int64_t bt, int64_t h) {
  const double *k = l->k + (bt * l->H + h) * l->dk, *v = l->v + (bt * l->H + h) * l->dv;
  double *s = l->state;
  for (int64_t i = 0; l->decay && i < l->dk; i++) {
    double g = exp(l->decay[l->decay_by_key ? (bt * l->H + h) * l->dk + i : bt * l->H + h]);
    for (int64_t j = 0; j < l->dv; j++)
      s[i * l->dv + j] *= g;
  }
  memcpy(l->row, v, (size_t)l->dv * sizeof *v);
  for (int64_t j = 0; l->beta && j < l->dv; j++) {
    double have = 0;
    for (int64_t i = 0; i < l->dk; i++)
      have += s[i * l->dv + j] * k[i];
    l->row[j] = l->beta[l->beta_by_head ? bt * l->H + h : bt] * (v[j] - have);
  }
  for (int64_t i = 0; i < l->dk; i++)
    for (int64_t j = 0; j < l->dv; j++)
      s[i * l->dv + j] += k[i] * l->row[j];
}

/* What the query heads of head h read from its state. */
static void read_state(Lin *l, int64_t bt, int64_t h, Tensor *y) {
  int64_t group = l->Hq / l->H;
  for (int64_t r = h * group; r < (h + 1) * group; r++) {
    const double *q = l->q + (bt * l->Hq + r) * l->dk;
    for (int64_t j = 0; j < l->dv; j++) {
      double sum = 0;
      for (int64_t i = 0; i < l->dk; i++)
        sum += q[i] * l->state[i * l->dv + j];
      l->row[j] = l->scale * sum;
    }
    nn_store(y, (bt * l->Hq + r) * l->dv, l->row, l->dv);
  }
}

/* LinearAttention, ONNX 27. */
Status linear_attention_eval(Eval *e) {
  Lin l = {.e = e};
  Tensor *y, *present;
  TRY(load_linear(&l));
  int64_t dim[4] = {l.B, l.H, l.dk, l.dv}, size = l.dk * l.dv, out[3] = {l.B, l.T, 0};
  if (!mul_ok(l.Hq, l.dv, &out[2]))
    return eval_fail(e, "the output's hidden size is too large");
  TRY(eval_out(e, 0, e->in[0]->dtype, 3, out, &y));
  TRY(eval_out(e, 1, eval_has(e, 3) ? e->in[3]->dtype : e->in[0]->dtype, 4, dim, &present));
  for (int64_t i = 0; i < l.B * l.H; i++) {
    for (int64_t k = 0; k < size; k++)
      l.state[k] = l.past ? l.past[i * size + k] : 0;
    for (int64_t t = 0; t < l.T; t++) {
      int64_t bt = i / l.H * l.T + t;
      TRY(ctx_poll(e->c));
      step_state(&l, bt, i % l.H);
      read_state(&l, bt, i % l.H, y);
    }
    nn_store(present, i * size, l.state, size);
  }
  return ST_OK;
}

/* --- CausalConvWithState --- */

/* CausalConvWithState, ONNX 27: y[t] = act(b + sum over j of w[j] x[t - (k - 1) + j]); x before 0 is the past state. */
Status causal_conv_eval(Eval *e) {
  Str act = ((const CausalConvWithStateAttr *)e->attr)->activation;
  const double *x, *w, *bias, *past;
  double *row;
  Tensor *y, *present;
  bool silu = str_is(act, "silu") || str_is(act, "swish");
  if (!silu && !str_is(act, "none"))
    return eval_fail(e, "activation is '%.*s'; it must be none, silu or swish", (int)(act.len < 40 ? act.len : 40),
                     act.ptr);
  TRY(nn_expect_rank(e, 0, 3, "the input"));
  TRY(nn_expect_rank(e, 1, 3, "the weight"));
  int64_t B = e->in[0]->dim[0], C = e->in[0]->dim[1], L = e->in[0]->dim[2], K = e->in[1]->dim[2], n;
  TRY(nn_expect_dim(e, 1, 0, C, "the weight's first extent (channels)"));
  TRY(nn_expect_dim(e, 1, 1, 1, "the weight's second extent"));
  if (K < 1 || !add_ok(L, K - 1, &n))
    return eval_fail(e, "a kernel of %lld", (long long)K);
  if (eval_has(e, 2)) {
    TRY(nn_expect_rank(e, 2, 1, "the bias"));
    TRY(nn_expect_dim(e, 2, 0, C, "the length of the bias (channels)"));
  }
  if (eval_has(e, 3) &&
      (e->in[3]->rank != 3 || e->in[3]->dim[0] != B || e->in[3]->dim[1] != C || e->in[3]->dim[2] != K - 1))
    return eval_fail(e, "past_state must be [%lld,%lld,%lld]", (long long)B, (long long)C, (long long)(K - 1));
  TRY(nn_load_input(e, 0, &x));
  TRY(nn_load_input(e, 1, &w));
  TRY(nn_load_input(e, 2, &bias));
  TRY(nn_load_input(e, 3, &past));
  TRY(eval_out_like(e, 0, e->in[0], &y));
  TRY(eval_out(e, 1, e->in[0]->dtype, 3, (int64_t[]){B, C, K - 1}, &present));
  TRY(nn_buffer(e, n, &row));
  for (int64_t i = 0; i < B * C; i++) {
    TRY(ctx_poll(e->c));
    for (int64_t t = 0; t < n; t++)
      row[t] = t >= K - 1 ? x[i * L + t - (K - 1)] : past ? past[i * (K - 1) + t] : 0;
    nn_store(present, i * (K - 1), row + L, K - 1);
    for (int64_t t = 0; t < L; t++) {
      double s = bias ? bias[i % C] : 0;
      for (int64_t j = 0; j < K; j++)
        s += w[i % C * K + j] * row[t + j];
      s = y->dtype == DT_f32 ? s : nn_round(y->dtype, s); /* the convolution is a step of its own */
      s = silu ? s / (1 + exp(-s)) : s;
      nn_store(y, i * L + t, &s, 1);
    }
  }
  return ST_OK;
}
