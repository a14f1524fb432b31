/* attention.c - evaluation of Attention and RotaryEmbedding.
 *
 *   q [B][Hq][S][D]   k [B][Hk][L][D]   v [B][Hk][L][Dv]   y [B][Hq][S][Dv];  3-D inputs hold [B][S][H*D]
 *
 * Query head h reads key/value head h / (Hq / Hk). Scores are double: one row of L at a time, rounded once at the end,
 * where ONNX's own reference rounds after every operator of the definition (in bf16 the results differ by a unit of the
 * last place).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

/* A 4-D view of a 3-D or 4-D input: element (b, h, s, d) is data[b * sb + h * sh + s * ss + d]. */
typedef struct Heads {
  const double *data;
  int64_t B, H, S, D;
  int64_t sb, sh, ss;
} Heads;

static Status view_heads(Eval *e, int i, int64_t heads, const char *what, Heads *h) {
  const Tensor *t = e->in[i];
  const int64_t *d = t->dim;
  if (t->rank != 3 && t->rank != 4)
    return eval_fail(e, "%s must have rank 3 or 4, not %d", what, t->rank);
  if (t->rank == 4) {
    *h = (Heads){.B = d[0], .H = d[1], .S = d[2], .D = d[3], .sb = d[1] * d[2] * d[3], .sh = d[2] * d[3], .ss = d[3]};
  } else {
    if (heads < 1 || d[2] % heads)
      return eval_fail(e, "the hidden size %lld of %s is not a multiple of its %lld heads", (long long)d[2], what,
                       (long long)heads);
    *h =
        (Heads){.B = d[0], .H = heads, .S = d[1], .D = d[2] / heads, .sb = d[1] * d[2], .sh = d[2] / heads, .ss = d[2]};
  }
  return nn_load(e, t, &h->data);
}

typedef struct Att {
  Eval *e;
  const AttentionAttr *a;
  Heads q, k, v, pk, pv; /* pk, pv: past; data NULL when absent */
  int64_t past, L;       /* past length; past + new keys */
  double scale;
  const double *mask; /* float mask, or bool as 0 / 1 */
  bool mask_is_bool;
  int64_t mask_len, mask_stride[4]; /* of its last axis; strides over (B, H, S, L) */
  const int64_t *valid;             /* nonpad_kv_seqlen, or NULL */
  DType soft;                       /* precision of the softmax */
  const double *sink;               /* one for each query head, or NULL */
  const double **krow, **vrow;      /* rows of the concatenated keys and values of the head at hand */
  double *score, *bias, *acc, *raw;
  Tensor *y, *qk;
} Att;

/* --- checking --- */

static Status check_attrs(Att *t) {
  const AttentionAttr *a = t->a;
  Eval *e = t->e;
  bool three = e->in[0]->rank == 3;
  if (e->in[1]->rank != e->in[0]->rank || e->in[2]->rank != e->in[0]->rank)
    return eval_fail(e, "Q, K and V must have the same rank");
  if (three && (a->q_num_heads == ABSENT || a->kv_num_heads == ABSENT))
    return eval_fail(e, "q_num_heads and kv_num_heads are needed with inputs of rank 3");
  if (a->left_window_size < -1 || a->right_window_size < -1)
    return eval_fail(e, "window sizes must be -1 or more");
  if (a->qk_matmul_output_mode < 0 || a->qk_matmul_output_mode > 3)
    return eval_fail(e, "qk_matmul_output_mode %lld is not in [0, 3]", (long long)a->qk_matmul_output_mode);
  if (eval_has(e, 4) != eval_has(e, 5))
    return eval_fail(e, "past_key and past_value must be given together");
  if (eval_has(e, 6) && eval_has(e, 4))
    return eval_fail(e, "nonpad_kv_seqlen cannot be combined with past_key and past_value");
  if (a->softcap < 0)
    return eval_fail(e, "softcap is %g; it must not be negative", (double)a->softcap);
  if (a->softmax_precision != ABSENT && a->softmax_precision != DT_f32 && a->softmax_precision != DT_f16 &&
      a->softmax_precision != DT_f64 && a->softmax_precision != DT_bf16)
    return eval_fail(e, "softmax_precision %lld is not f32, f16, f64 or bf16", (long long)a->softmax_precision);
  t->soft = a->softmax_precision == ABSENT ? DT_f64 : (DType)a->softmax_precision;
  return ST_OK;
}

static Status check_heads(Att *t) {
  Eval *e = t->e;
  const Heads *q = &t->q, *k = &t->k, *v = &t->v;
  if (k->B != q->B || v->B != q->B)
    return eval_fail(e, "the batch sizes of Q, K and V differ: %lld, %lld, %lld", (long long)q->B, (long long)k->B,
                     (long long)v->B);
  if (k->D != q->D)
    return eval_fail(e, "the head sizes of Q and K differ: %lld and %lld", (long long)q->D, (long long)k->D);
  if (k->H != v->H || k->S != v->S)
    return eval_fail(e, "K and V differ in heads or length: %lld x %lld and %lld x %lld", (long long)k->H,
                     (long long)k->S, (long long)v->H, (long long)v->S);
  if (k->H < 1 ? q->H != k->H : q->H % k->H != 0)
    return eval_fail(e, "%lld query heads are not a multiple of %lld key heads", (long long)q->H, (long long)k->H);
  return ST_OK;
}

static Status load_past(Att *t) {
  Eval *e = t->e;
  t->past = 0;
  if (eval_has(e, 4)) {
    TRY(nn_expect_rank(e, 4, 4, "past_key"));
    TRY(nn_expect_rank(e, 5, 4, "past_value"));
    if (e->in[4]->dtype != e->in[1]->dtype || e->in[5]->dtype != e->in[2]->dtype)
      return eval_fail(e, "past_key and past_value must have the types of K and V");
    TRY(view_heads(e, 4, 0, "past_key", &t->pk));
    TRY(view_heads(e, 5, 0, "past_value", &t->pv));
    if (t->pk.B != t->k.B || t->pk.H != t->k.H || t->pk.D != t->k.D || t->pv.B != t->v.B || t->pv.H != t->v.H ||
        t->pv.D != t->v.D || t->pk.S != t->pv.S)
      return eval_fail(e, "past_key and past_value do not fit K and V");
    t->past = t->pk.S;
  }
  return add_ok(t->past, t->k.S, &t->L) ? ST_OK : eval_fail(e, "the keys are too many");
}

static Status load_mask(Att *t) {
  Eval *e = t->e;
  if (!eval_has(e, 3))
    return ST_OK;
  const Tensor *m = e->in[3];
  int64_t full[4] = {t->q.B, t->q.H, t->q.S, t->L}, own[MAX_RANK];
  if (m->dtype != DT_bool && !dtype_is_float(m->dtype) && !dtype_is_int(m->dtype))
    return eval_fail(e, "attn_mask must be bool or numbers");
  if (m->rank < 1 || m->rank > 4)
    return eval_fail(e, "attn_mask has rank %d", m->rank);
  for (int i = 0; i < m->rank; i++) {
    int64_t have = m->dim[i], want = full[4 - m->rank + i];
    if (have != want && !(have == 1 && i < m->rank - 1) && !(i == m->rank - 1 && have <= want))
      return eval_fail(e, "an extent of %lld does not broadcast to %lld", (long long)have, (long long)want);
  }
  row_major_strides(m->rank, m->dim, own);
  for (int i = 0; i < 4; i++) {
    int k = i - (4 - m->rank);
    t->mask_stride[i] = k < 0 || m->dim[k] == 1 ? 0 : own[k];
  }
  t->mask_len = m->dim[m->rank - 1];
  t->mask_is_bool = m->dtype == DT_bool;
  return nn_load(e, m, &t->mask);
}

static Status load_valid(Att *t) {
  Eval *e = t->e;
  int64_t n;
  if (!eval_has(e, 6))
    return ST_OK;
  TRY(nn_expect_rank(e, 6, 1, "nonpad_kv_seqlen"));
  TRY(nn_expect_dim(e, 6, 0, t->q.B, "the length of nonpad_kv_seqlen (the batch size)"));
  TRY(eval_ints(e, 6, &t->valid, &n));
  for (int64_t b = 0; b < n; b++)
    if (t->valid[b] < 0 || t->valid[b] > t->L)
      return eval_fail(e, "nonpad_kv_seqlen holds %lld; it must be in [0, %lld]", (long long)t->valid[b],
                       (long long)t->L);
  return ST_OK;
}

/* SinkAttention alone has an eighth input. */
static Status load_sink(Att *t) {
  if (!eval_has(t->e, 7))
    return ST_OK;
  TRY(nn_expect_rank(t->e, 7, 1, "sinks"));
  TRY(nn_expect_dim(t->e, 7, 0, t->q.H, "the number of sinks (one for each query head)"));
  return nn_load(t->e, t->e->in[7], &t->sink);
}

/* --- outputs --- */

/* present = past ++ new along the sequence, bit by bit. */
static void write_present(Eval *e, Tensor *out, const Tensor *past, const Tensor *now, const Heads *h) {
  int64_t before = past ? past->dim[2] * h->D : 0, at = 0;
  for (int64_t b = 0; b < h->B; b++)
    for (int64_t g = 0; g < h->H; g++) {
      if (past)
        nn_copy(e, out, at, past, (b * h->H + g) * before, before);
      at += before;
      for (int64_t s = 0; s < h->S; s++, at += h->D)
        nn_copy(e, out, at, now, b * h->sb + g * h->sh + s * h->ss, h->D);
    }
}

static Status make_outputs(Att *t) {
  Eval *e = t->e;
  const Tensor *q = e->in[0];
  int64_t y4[4] = {t->q.B, t->q.H, t->q.S, t->v.D}, y3[3] = {t->q.B, t->q.S, 0}, kd[4] = {t->q.B, t->k.H, t->L, t->k.D},
          vd[4] = {t->q.B, t->k.H, t->L, t->v.D}, qk[4] = {t->q.B, t->q.H, t->q.S, t->L};
  Tensor *present;
  if (!mul_ok(t->q.H, t->v.D, &y3[2]))
    return eval_fail(e, "the output's hidden size is too large");
  TRY(eval_out(e, 0, q->dtype, q->rank, q->rank == 3 ? y3 : y4, &t->y));
  if (e->nout > 1 && e->wanted[1]) {
    TRY(eval_out(e, 1, e->in[1]->dtype, 4, kd, &present));
    write_present(e, present, eval_has(e, 4) ? e->in[4] : NULL, e->in[1], &t->k);
  }
  if (e->nout > 2 && e->wanted[2]) {
    TRY(eval_out(e, 2, e->in[2]->dtype, 4, vd, &present));
    write_present(e, present, eval_has(e, 5) ? e->in[5] : NULL, e->in[2], &t->v);
  }
  if (e->nout > 3 && e->wanted[3])
    TRY(eval_out(e, 3, q->dtype, 4, qk, &t->qk));
  return ST_OK;
}

/* --- one row of scores --- */

/* The bias of query s: 0 or the mask's value where it may look, -inf elsewhere. Returns whether it may look at all. */
static bool row_bias(Att *t, int64_t b, int64_t h, int64_t s) {
  const AttentionAttr *a = t->a;
  int64_t p = s + (t->valid ? t->valid[b] - t->q.S : t->past); /* absolute position */
  const double *m = t->mask ? t->mask + b * t->mask_stride[0] + h * t->mask_stride[1] + s * t->mask_stride[2] : NULL;
  bool any = false;
  for (int64_t j = 0; j < t->L; j++) {
    double v = 0;
    if (m)
      v = j >= t->mask_len ? -INFINITY : m[j * t->mask_stride[3]];
    if (t->mask_is_bool)
      v = v > 0 ? 0 : -INFINITY;
    if ((a->is_causal && j > p) || (a->left_window_size >= 0 && p - j > a->left_window_size) ||
        (a->right_window_size >= 0 && j - p > a->right_window_size) || (t->valid && j >= t->valid[b]))
      v = -INFINITY;
    t->bias[j] = v;
    any |= v != -INFINITY;
  }
  return any;
}

/* Softmax of score of head h in place, each step rounded to the precision asked for; a row that may look nowhere gives zeros. */
static void softmax_row(Att *t, int64_t h, bool any) {
  double max = t->sink ? t->sink[h] : -INFINITY, sum = 0, *x = t->score;
  for (int64_t j = 0; j < t->L; j++) {
    x[j] = nn_round(t->soft, x[j]);
    max = x[j] > max || x[j] != x[j] ? x[j] : max;
  }
  if (t->sink && max != -INFINITY)
    sum = exp(t->sink[h] - max);
  for (int64_t j = 0; j < t->L; j++) {
    x[j] = any && max != -INFINITY ? exp(x[j] - max) : 0;
    sum += x[j];
  }
  for (int64_t j = 0; j < t->L; j++)
    x[j] = sum == 0 ? 0 : nn_round(t->soft, x[j] / sum);
}

/* Where something is masked, what has no weight does not count, be it infinite; without masks 0 times infinity is NaN, as it
 * is in the product of the softmax and V. */
static void weigh_values(Att *t) {
  const AttentionAttr *a = t->a;
  bool masked =
      t->mask || (a->is_causal && t->q.S > 1) || a->left_window_size >= 0 || a->right_window_size >= 0 || t->valid;
  memset(t->acc, 0, (size_t)t->v.D * sizeof *t->acc);
  for (int64_t j = 0; j < t->L; j++) {
    double p = t->y->dtype == DT_f64 ? t->score[j] : (float)t->score[j] == 0 ? 0 : t->score[j];
    for (int64_t d = 0; d < t->v.D && (p != 0 || !masked); d++)
      t->acc[d] += p * t->vrow[j][d];
  }
}

static void attend(Att *t, int64_t b, int64_t h, int64_t s) {
  const AttentionAttr *a = t->a;
  const double *q = t->q.data + b * t->q.sb + h * t->q.sh + s * t->q.ss;
  double cap = (double)a->softcap;
  int64_t mode = a->qk_matmul_output_mode;
  bool any = row_bias(t, b, h, s);
  for (int64_t j = 0; j < t->L; j++) {
    double dot = 0;
    for (int64_t d = 0; d < t->q.D; d++)
      dot += q[d] * t->krow[j][d];
    dot *= t->scale;
    double capped = cap > 0 ? cap * tanh(dot / cap) : dot;
    t->score[j] =
        t->bias[j] == -INFINITY ? -INFINITY : capped + t->bias[j]; /* what is masked does not count, even NaN */
    t->raw[j] = mode == 0 ? dot : mode == 1 ? capped : t->score[j];
  }
  softmax_row(t, h, any);
  if (t->qk)
    nn_store(t->qk, ((b * t->q.H + h) * t->q.S + s) * t->L, mode == 3 ? t->score : t->raw, t->L);
  weigh_values(t);
  int64_t at = t->y->rank == 4 ? ((b * t->q.H + h) * t->q.S + s) * t->v.D : ((b * t->q.S + s) * t->q.H + h) * t->v.D;
  nn_store(t->y, at, t->acc, t->v.D);
}

static void pick_rows(const Heads *past, const Heads *now, int64_t before, int64_t b, int64_t g, const double **row) {
  for (int64_t s = 0; s < before; s++)
    row[s] = past->data + b * past->sb + g * past->sh + s * past->ss;
  for (int64_t s = 0; s < now->S; s++)
    row[before + s] = now->data + b * now->sb + g * now->sh + s * now->ss;
}

/* Attention, ONNX 25 (and 23, 24, which it extends); SinkAttention. */
Status attention_eval(Eval *e) {
  Att t = {.e = e, .a = e->attr};
  TRY(check_attrs(&t));
  bool three = e->in[0]->rank == 3;
  TRY(view_heads(e, 0, three ? t.a->q_num_heads : 0, "Q", &t.q));
  TRY(view_heads(e, 1, three ? t.a->kv_num_heads : 0, "K", &t.k));
  TRY(view_heads(e, 2, three ? t.a->kv_num_heads : 0, "V", &t.v));
  TRY(check_heads(&t));
  TRY(load_past(&t));
  TRY(load_mask(&t));
  TRY(load_valid(&t));
  TRY(load_sink(&t));
  t.scale = isnan(t.a->scale) ? 1 / sqrt((double)t.q.D) : (double)t.a->scale;
  TRY(make_outputs(&t));
  if (!tensor_count(t.y) && !t.qk)
    return ST_OK;
  TRY(nn_buffer(e, t.L, &t.score));
  TRY(nn_buffer(e, t.L, &t.bias));
  TRY(nn_buffer(e, t.L, &t.raw));
  TRY(nn_buffer(e, t.v.D, &t.acc));
  t.krow = arena_array(e->scratch, const double *, (size_t)t.L);
  t.vrow = arena_array(e->scratch, const double *, (size_t)t.L);
  for (int64_t b = 0; b < t.q.B; b++)
    for (int64_t h = 0; h < t.q.H; h++) {
      int64_t g = h / (t.q.H / t.k.H);
      pick_rows(&t.pk, &t.k, t.past, b, g, t.krow);
      pick_rows(&t.pv, &t.v, t.past, b, g, t.vrow);
      for (int64_t s = 0; s < t.q.S; s++) {
        TRY(ctx_poll(e->c));
        attend(&t, b, h, s);
      }
    }
  return ST_OK;
}

/* --- RotaryEmbedding --- */

typedef struct Rotary {
  const double *cos, *sin;
  const int64_t *position; /* [B][S], or NULL: the caches are [B][S][half] */
  int64_t half;            /* pairs that are rotated */
  bool interleaved;
} Rotary;

static Status load_caches(Eval *e, const Heads *x, Rotary *r) {
  int rank = eval_has(e, 3) ? 2 : 3;
  int64_t n, rows = 0;
  for (int i = 1; i < 3; i++) {
    const Tensor *t = e->in[i];
    const char *what = i == 1 ? "cos_cache" : "sin_cache";
    TRY(nn_expect_rank(e, i, rank, what));
    TRY(nn_expect_dim(e, i, rank - 1, r->half,
                      i == 1 ? "the last extent of cos_cache (half the rotated size)"
                             : "the last extent of sin_cache (half the rotated size)"));
    if (rank == 3 && (t->dim[0] != x->B || t->dim[1] != x->S))
      return eval_fail(e, "%s must be batch x sequence x half without position_ids", what);
    if (i == 2 && rank == 2 && t->dim[0] != rows)
      return eval_fail(e, "cos_cache and sin_cache differ in length");
    rows = t->dim[0];
  }
  TRY(nn_load(e, e->in[1], &r->cos));
  TRY(nn_load(e, e->in[2], &r->sin));
  if (rank == 3)
    return ST_OK;
  TRY(nn_expect_rank(e, 3, 2, "position_ids"));
  TRY(nn_expect_dim(e, 3, 0, x->B, "the batch size of position_ids"));
  TRY(nn_expect_dim(e, 3, 1, x->S, "the sequence length of position_ids"));
  TRY(eval_ints(e, 3, &r->position, &n));
  for (int64_t i = 0; i < n; i++)
    if (r->position[i] < 0 || r->position[i] >= rows)
      return eval_fail(e, "position_ids holds %lld; the caches have %lld rows", (long long)r->position[i],
                       (long long)rows);
  return ST_OK;
}

static void rotate(const Rotary *r, const double *x, int64_t at, int64_t n, double *y) {
  const double *c = r->cos + at * r->half, *s = r->sin + at * r->half;
  for (int64_t i = 0; i < r->half; i++) {
    int64_t p = r->interleaved ? 2 * i : i, q = r->interleaved ? 2 * i + 1 : i + r->half;
    y[p] = c[i] * x[p] - s[i] * x[q];
    y[q] = s[i] * x[p] + c[i] * x[q];
  }
  for (int64_t i = 2 * r->half; i < n; i++)
    y[i] = x[i];
}

/* RotaryEmbedding, ONNX 23. */
Status rotary_eval(Eval *e) {
  const RotaryEmbeddingAttr *a = e->attr;
  const Tensor *t = e->in[0];
  Heads x;
  Rotary r = {.interleaved = a->interleaved != 0};
  Tensor *out;
  double *row;
  if (t->rank == 3 && a->num_heads == ABSENT)
    return eval_fail(e, "num_heads is needed with an input of rank 3");
  TRY(view_heads(e, 0, a->num_heads, "X", &x));
  int64_t size = a->rotary_embedding_dim ? a->rotary_embedding_dim : x.D;
  if (size < 0 || size > x.D || size % 2)
    return eval_fail(e, "the rotated size %lld must be even and at most the head size %lld", (long long)size,
                     (long long)x.D);
  r.half = size / 2;
  TRY(load_caches(e, &x, &r));
  TRY(eval_out_like(e, 0, t, &out));
  TRY(nn_buffer(e, x.D, &row));
  for (int64_t b = 0; b < x.B; b++)
    for (int64_t h = 0; h < x.H; h++) {
      TRY(ctx_poll(e->c));
      for (int64_t s = 0; s < x.S; s++) {
        int64_t at = b * x.sb + h * x.sh + s * x.ss;
        rotate(&r, x.data + at, r.position ? r.position[b * x.S + s] : b * x.S + s, x.D, row);
        nn_store(out, at, row, x.D);
      }
    }
  return ST_OK;
}
