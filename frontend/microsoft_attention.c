/* microsoft_attention.c - the attentions of com.microsoft as Attention, with what they do beside it: projections, rotations, caches
 * that are buffers of a greatest length, masks in several forms.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"
#include "frontend/nodes.h"

#include <math.h>
#include <string.h>

static const char *at_axes(Upgrade *u, const char *x, uint32_t n, const int64_t *axis) {
  return raw_two(u, "Unsqueeze", x, raw_ints(u, n, axis));
}

static const char *concat(Upgrade *u, const char *out, int64_t axis, uint32_t n, Names in) {
  RawAttr attr = raw_int_attr("axis", axis);
  return raw_put(u, "Concat", out, n, in, 1, &attr);
}

/* Three parts of the last axis of [batch, seq, all], whose extents are as these weights. */
static void split(Upgrade *u, const char *x, const int64_t *weight, const char **out) {
  RawAttr axis = raw_int_attr("axis", -1);
  const char *unit = raw_two(u, "Div", raw_extent(u, x, 2), raw_ints(u, INTS(weight[0] + weight[1] + weight[2])));
  raw_put_many(u, "Split", 3, out, NAMES(x, raw_two(u, "Mul", unit, raw_ints(u, 3, weight))), 1, &axis);
}

/* Of a mask of ones and zeros: 0, and `filter` where it is zero. */
static const char *additive(Upgrade *u, const char *mask, float filter, const char *like) {
  RawAttr to = raw_int_attr("to", DT_bool);
  const char *keep = raw_put(u, "Cast", NULL, NAMES(mask), 1, &to);
  const char *zero = raw_two(u, "CastLike", raw_real(u, 0), like),
             *low = raw_two(u, "CastLike", raw_real(u, filter), like);
  return raw_put(u, "Where", NULL, NAMES(keep, zero, low), 0, NULL);
}

/* x + more, of which either may be missing. */
static const char *sum(Upgrade *u, const char *x, const char *more) {
  return !x || !*x ? more : !more || !*more ? x : raw_two(u, "Add", x, more);
}

/* The forms of mask_index and key_padding_mask: [batch], lengths; [batch, total]; [batch, seq, total]. As [batch, 1, 1 or seq,
 * total] of the type of `like`; NULL: another. columns: 0 … total-1. */
static const char *padding(Upgrade *u, uint32_t input, const char *columns, const char *like) {
  const char *mask = raw_in(u, input);
  const Type *t = raw_type(u, mask), *x = raw_type(u, raw_in(u, 0));
  int64_t n, batch;
  if (!t || t->rank < 1 || t->rank > 3 ||
      (t->rank == 1 && x && dim_is_const(t->dim[0], &n) && dim_is_const(x->dim[0], &batch) && n != batch))
    return NULL;
  if (t->rank == 1)
    mask = raw_two(u, "Less", columns, at_axes(u, raw_cast(u, mask, DT_i64), INTS(1)));
  mask = t->rank == 3 ? at_axes(u, mask, INTS(1)) : at_axes(u, mask, INTS(1, 2));
  return additive(u, mask, raw_float(u, "mask_filter_value", -10000), like);
}

/* Rows of [seq] may see columns up to their own position, which the past puts forward. */
static const char *causal(Upgrade *u, const char *seq, const char *total, const char *columns, const char *like) {
  const char *at = raw_two(u, "Add", raw_count(u, seq), raw_two(u, "Sub", total, seq));
  return additive(u, raw_two(u, "LessOrEqual", columns, at_axes(u, at, INTS(1))), -INFINITY, like);
}

/* --- MultiHeadAttention, DecoderMaskedMultiHeadAttention --- */

typedef struct MultiHead {
  Upgrade *u;
  uint32_t bias, mask, more, past, length, beams; /* inputs behind query, key and value */
  int64_t heads;
  const char *x[3];           /* query, key, value: [batch, rows, heads * d] */
  bool split;                 /* key and value are [batch, heads, rows, d] */
  const char *total, *scores; /* total: i64[1], rows of keys */
} MultiHead;

/* The n parts of [batch, rows, heads, n, d]. */
static void unpack(Upgrade *u, const char *x, uint32_t n, const char **part) {
  RawAttr attr[] = {raw_int_attr("axis", 3), raw_int_attr("num_outputs", n)};
  raw_put_many(u, "Split", n, part, NAMES(x), 2, attr);
  for (uint32_t i = 0; i < n; i++)
    part[i] = raw_two(u, "Reshape", part[i], raw_ints(u, INTS(0, 0, -1)));
}

/* Query, key and value: apart, or packed; keys and values of another sequence may have their heads split already. */
static Status head_inputs(MultiHead *m) {
  Upgrade *u = m->u;
  int rank[3];
  for (uint32_t i = 0; i < 3; i++) {
    const Type *t = raw_has(u, i) ? raw_type(u, raw_in(u, i)) : NULL;
    if ((raw_has(u, i) || !i) && !t)
      return raw_unsupported(u, "has inputs of unknown rank");
    m->x[i] = raw_in(u, i), rank[i] = t ? t->rank : 0;
  }
  int ranks = rank[0] * 100 + rank[1] * 10 + rank[2];
  if (ranks == 500)
    unpack(u, m->x[0], 3, m->x);
  else if (ranks == 350)
    unpack(u, m->x[1], 2, m->x + 1);
  else if (ranks == 344)
    m->split = true;
  else if (ranks == 300 && !strncmp(u->n.op, "DecoderMasked", 13))
    split(u, m->x[0], (const int64_t[]){1, 1, 1}, m->x);
  else if (ranks != 333)
    return raw_unsupported(u, "has a query, key and value of ranks that do not belong together");
  return ST_OK;
}

/* One bias for query, key and value, behind each other; keys that are split already have theirs. */
static void add_bias(MultiHead *m) {
  Upgrade *u = m->u;
  RawAttr axis = raw_int_attr("axis", 0);
  const char *part[3], *extent[3], *bias = raw_in(u, m->bias);
  if (m->split) {
    const char *zero = raw_ints(u, INTS(0));
    part[0] = raw_put(u, "Slice", NULL, NAMES(bias, zero, raw_extent(u, m->x[0], 2), zero), 0, NULL);
  } else {
    for (int i = 0; i < 3; i++)
      extent[i] = raw_extent(u, m->x[i], 2);
    raw_put_many(u, "Split", 3, part, NAMES(bias, concat(u, NULL, 0, 3, extent)), 1, &axis);
  }
  for (int i = 0; i < (m->split ? 1 : 3); i++)
    m->x[i] = raw_two(u, "Add", m->x[i], part[i]);
}

/* The past is a buffer of a greatest length, of which so many rows are there: the new ones are written behind them. */
static void into_buffer(MultiHead *m) {
  Upgrade *u = m->u;
  RawAttr axis = raw_int_attr("axis", -2);
  const char *start = raw_cast(u, raw_two(u, "Reshape", raw_in(u, m->length), raw_ints(u, INTS(1))), DT_i64);
  const char *each = raw_two(u, "Expand", start, raw_extent(u, m->x[0], 0));
  const char *zero = raw_ints(u, INTS(0)), *two = raw_ints(u, INTS(2));
  m->total = raw_two(u, "Add", start, raw_extent(u, m->x[1], 1));
  for (uint32_t i = 1; i < 3; i++) {
    const char *past = raw_in(u, m->past + i - 1), *now = raw_heads(u, m->x[i], m->heads);
    const char *all = raw_put(u, "TensorScatter", raw_out(u, i), NAMES(past, now, each), 1, &axis);
    m->x[i] = raw_put(u, "Slice", NULL, NAMES(all, zero, m->total, two), 0, NULL);
  }
  m->split = true;
}

/* Attention of heads that are split; its scores may be wanted. */
static Status attend_split(MultiHead *m, const char *mask, bool is_causal) {
  Upgrade *u = m->u;
  const char *out[4], *q = raw_heads(u, m->x[0], m->heads);
  float scale = raw_float(u, "scale", 0);
  RawAttr attr[] = {raw_int_attr("qk_matmul_output_mode", 2), raw_float_attr("scale", scale)};
  if (is_causal) { /* by the rows that were there, which Attention does not know */
    const char *seq = raw_extent(u, m->x[0], 1);
    mask = sum(u, mask, causal(u, seq, m->total, raw_count(u, m->total), m->x[0]));
  }
  const char *const in[] = {q, m->x[1], m->x[2], mask};
  uint32_t nin = mask && *mask ? 4 : 3, nattr = scale != 0 ? 2 : 1;
  if (!*m->scores)
    return raw_become_joined(u, raw_put(u, "Attention", NULL, nin, in, nattr, attr));
  raw_put_many(u, "Attention", 4, out, nin, in, nattr, attr);
  raw_put(u, "Identity", m->scores, NAMES(out[3]), 0, NULL);
  return raw_become_joined(u, out[0]);
}

static Status check_heads(MultiHead *m) {
  Upgrade *u = m->u;
  if (m->heads < 1)
    return raw_unsupported(u, "has no heads");
  if (raw_has(u, m->past) != raw_has(u, m->past + 1) || (m->split && raw_has(u, m->past)))
    return raw_unsupported(u, "has a past that does not belong to its keys and values");
  if (raw_has(u, m->length) && !raw_has(u, m->past))
    return raw_unsupported(u, "has the length of a past, but no past");
  if (m->split && raw_int(u, "unidirectional", 0))
    return raw_unsupported(u, "is causal over another sequence");
  if (m->split && (*raw_out(u, 1) || *raw_out(u, 2)))
    return raw_unsupported(u, "gives back keys and values of another sequence");
  return raw_has(u, m->beams) ? raw_unsupported(u, "reads its cache by beams") : ST_OK;
}

static Status multi_head(MultiHead m) {
  Upgrade *u = m.u;
  const char *mask = raw_in(u, m.more), *like;
  bool is_causal = raw_int(u, "unidirectional", 0);
  m.heads = raw_int(u, "num_heads", 0), m.scores = raw_out(u, 3);
  TRY(head_inputs(&m));
  TRY(check_heads(&m));
  if (raw_has(u, m.bias))
    add_bias(&m);
  like = m.x[0], m.total = raw_extent(u, m.x[1], m.split ? 2 : 1);
  if (raw_has(u, m.length))
    into_buffer(&m);
  else if (raw_has(u, m.past))
    m.total = raw_two(u, "Add", m.total, raw_extent(u, raw_in(u, m.past), 2));
  if (raw_has(u, m.mask)) {
    const char *more = padding(u, m.mask, raw_count(u, m.total), like);
    if (!more)
      return raw_unsupported(u, "has a mask of keys of another form, or of unknown rank");
    mask = sum(u, more, mask);
  }
  if (m.split)
    return attend_split(&m, mask, is_causal);
  float scale = raw_float(u, "scale", 0);
  RawAttr attr[] = {raw_int_attr("q_num_heads", m.heads), raw_int_attr("kv_num_heads", m.heads),
                    raw_int_attr("is_causal", is_causal), raw_int_attr("qk_matmul_output_mode", 2),
                    raw_float_attr("scale", scale)};
  const char *const in[] = {m.x[0], m.x[1], m.x[2], mask, raw_in(u, m.past), raw_in(u, m.past + 1)};
  uint32_t nin = raw_has(u, m.past) ? 6 : *mask ? 4 : 3, nout = u->n.nout;
  const char *const *out = u->n.out;
  TRY(raw_become(u, "Attention", nin, in, scale != 0 ? 5 : 4, attr));
  u->n.out = out, u->n.nout = nout;
  return ST_OK;
}

/* query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value, past_sequence_length, cache_indirection. */
Status microsoft_multi_head(Upgrade *u) {
  return multi_head((MultiHead){.u = u, .bias = 3, .mask = 4, .more = 5, .past = 6, .length = 8, .beams = 9});
}

/* query, key, value, mask_index, attention_bias, past_key, past_value, past_sequence_length, beam_width, cache_indirection, bias. */
Status microsoft_decoder_heads(Upgrade *u) {
  return multi_head((MultiHead){.u = u, .mask = 3, .more = 4, .past = 5, .length = 7, .beams = 9, .bias = 10});
}

/* --- Attention --- */

/* past: [2, batch, heads, rows, d], keys and values; so is the second output. */
static void with_past(Upgrade *u, uint32_t past, const char **k, const char **v) {
  RawAttr axis = raw_int_attr("axis", 0);
  const char **both[] = {k, v};
  for (int64_t i = 0; i < 2 && raw_has(u, past); i++) {
    RawAttr index = raw_int_attr("value_int", i);
    const char *at = raw_put(u, "Constant", NULL, 0, NULL, 1, &index);
    const char *part = raw_put(u, "Gather", NULL, NAMES(raw_in(u, past), at), 1, &axis);
    *both[i] = concat(u, NULL, 2, NAMES(part, *both[i]));
  }
  if (*raw_out(u, 1))
    concat(u, raw_out(u, 1), 0, NAMES(at_axes(u, *k, INTS(0)), at_axes(u, *v, INTS(0))));
}

/* How many heads; the weights of query, key and value in the last axis of their projection. */
static Status projected_heads(Upgrade *u, int64_t *heads, const int64_t **size) {
  static const int64_t alike[] = {1, 1, 1};
  const RawAttr *given = raw_find(u, "qkv_hidden_sizes", RA_INTS);
  const int64_t *s = given && given->n == 3 ? given->ints : alike;
  *heads = raw_int(u, "num_heads", 0), *size = s;
  if (*heads < 1 || s[0] < 1 || s[1] < 1 || s[2] < 1 || s[0] > INT32_MAX || s[1] > INT32_MAX || s[2] > INT32_MAX)
    return raw_unsupported(u, "has no heads, or parts of no extent");
  if (raw_int(u, "do_rotary", 0) || raw_int(u, "past_present_share_buffer", 0))
    return raw_unsupported(u, "rotates its rows, or has its cache in one buffer");
  return ST_OK;
}

Status microsoft_projected(Upgrade *u, const ProjectedAttention *p) {
  const char *part[3], *mask = NULL;
  const int64_t *size;
  int64_t heads;
  TRY(projected_heads(u, &heads, &size));
  split(u, p->qkv, size, part);
  const char *q = raw_heads(u, part[0], heads), *k = raw_heads(u, part[1], heads), *v = raw_heads(u, part[2], heads);
  with_past(u, p->past, &k, &v);
  const char *seq = raw_extent(u, q, 2), *total = raw_extent(u, k, 2), *columns = raw_count(u, total);
  if (raw_has(u, p->mask) && !(mask = padding(u, p->mask, columns, p->like)))
    return raw_unsupported(u, "has a mask_index of another form, or of unknown rank");
  mask = sum(u, mask, raw_in(u, p->bias));
  if (raw_int(u, "unidirectional", 0))
    mask = sum(u, mask, causal(u, seq, total, columns, p->like));
  RawAttr scale = raw_float_attr("scale", raw_float(u, "scale", 0));
  const char *const in[] = {q, k, v, mask};
  return raw_become_joined(u, raw_put(u, "Attention", NULL, mask && *mask ? 4 : 3, in, scale.f != 0 ? 1 : 0, &scale));
}

/* Attention: input, weights, bias, mask_index, past, attention_bias, past_sequence_length. */
Status microsoft_attention(Upgrade *u) {
  ProjectedAttention a = {.like = raw_in(u, 0), .mask = 3, .past = 4, .bias = 5};
  TRY(raw_refuse_inputs(u, 6, "has its cache in one buffer"));
  a.qkv = sum(u, raw_two(u, "MatMul", raw_in(u, 0), raw_in(u, 1)), raw_in(u, 2));
  return microsoft_projected(u, &a);
}

/* --- GroupQueryAttention: query, key, value, past_key, past_value, seqlens_k, total_sequence_length, cos_cache, sin_cache,
 * position_ids, attention_bias, head_sink, k_scale, v_scale, q_norm_weight, k_norm_weight --- */

typedef struct GroupQuery {
  Upgrade *u;
  int64_t heads, kv_heads;
  const char *q, *k, *v;
  const char *seq, *total; /* i64[1]: new rows; rows of the cache, as long as the longest needs it */
  const char *start, *end; /* i64[batch]: the row of the cache where the new ones begin; how many rows there are then */
  const char *at;          /* i64[batch, seq]: the position of each new row */
} GroupQuery;

/* Query, key and value, which may come in one. */
static void group_inputs(GroupQuery *g) {
  const char *part[] = {raw_in(g->u, 0), raw_in(g->u, 1), raw_in(g->u, 2)};
  if (!*part[1])
    split(g->u, part[0], (const int64_t[]){g->heads, g->kv_heads, g->kv_heads}, part);
  g->q = part[0], g->k = part[1], g->v = part[2];
}

/* seqlens_k says how many rows each sequence has in the end, less one. A prompt may be shorter than the others of its batch: it
 * begins in front all the same. */
static void group_positions(GroupQuery *g) {
  Upgrade *u = g->u;
  g->seq = raw_extent(u, g->q, 1);
  g->total = raw_cast(u, raw_two(u, "Reshape", raw_in(u, 6), raw_ints(u, INTS(1))), DT_i64);
  const char *last = raw_cast(u, raw_two(u, "Reshape", raw_in(u, 5), raw_ints(u, INTS(-1))), DT_i64);
  g->end = raw_two(u, "Add", last, raw_ints(u, INTS(1)));
  g->start = raw_two(u, "Max", raw_two(u, "Sub", g->end, g->seq), raw_ints(u, INTS(0)));
  g->at = raw_two(u, "Add", at_axes(u, g->start, INTS(1)), raw_count(u, g->seq));
}

/* Each head of it by its root mean square. */
static const char *normed(GroupQuery *g, const char *x, int64_t heads, uint32_t weight, const char *epsilon) {
  Upgrade *u = g->u;
  float both = raw_float(u, "qk_norm_epsilon", 1e-6f);
  RawAttr attr[] = {raw_int_attr("axis", -1), raw_float_attr("epsilon", raw_float(u, epsilon, both))};
  x = raw_two(u, "Reshape", x, raw_ints(u, INTS(0, 0, heads, -1)));
  x = raw_put(u, "RMSNormalization", NULL, NAMES(x, raw_in(u, weight)), 2, attr);
  return raw_two(u, "Reshape", x, raw_ints(u, INTS(0, 0, -1)));
}

static const char *rotated(GroupQuery *g, const char *x, int64_t heads) {
  Upgrade *u = g->u;
  const Type *t = raw_type(u, raw_in(u, 7));
  int64_t half = 0; /* as many as the tables have columns, if that is known: else all */
  if (t && t->rank == 2 && !dim_is_const(t->dim[1], &half))
    half = 0;
  RawAttr attr[] = {raw_int_attr("num_heads", heads), raw_int_attr("interleaved", raw_int(u, "rotary_interleaved", 0)),
                    raw_int_attr("rotary_embedding_dim", 2 * half)};
  return raw_put(u, "RotaryEmbedding", NULL, NAMES(x, raw_in(u, 7), raw_in(u, 8), raw_has(u, 9) ? raw_in(u, 9) : g->at),
                 3, attr);
}

/* The cache has room for all rows, or grows by what is missing; the new rows are written where each sequence goes on. */
static const char *cached(GroupQuery *g, const char *x, uint32_t past, uint32_t present) {
  Upgrade *u = g->u;
  RawAttr axis = raw_int_attr("axis", -2);
  x = raw_heads(u, x, g->kv_heads);
  const char *have = raw_has(u, past) ? raw_extent(u, raw_in(u, past), 2) : g->seq;
  const char *more = raw_two(u, "Sub", raw_two(u, "Max", have, g->total), have);
  const char *pads = concat(u, NULL, 0, NAMES(raw_ints(u, INTS(0, 0, 0, 0, 0, 0)), more, raw_ints(u, INTS(0))));
  if (!raw_has(u, past))
    return raw_put(u, "Pad", raw_out(u, present), NAMES(x, pads), 0, NULL);
  return raw_put(u, "TensorScatter", raw_out(u, present), NAMES(raw_two(u, "Pad", raw_in(u, past), pads), x, g->start),
                 1, &axis);
}

/* Each row sees the rows of its sequence up to its own, or the last so many of them; all there are when it is not causal. */
static const char *group_mask(GroupQuery *g, const char *k) {
  Upgrade *u = g->u;
  int64_t window = raw_int(u, "local_window_size", -1);
  const char *column = raw_count(u, raw_extent(u, k, 2)), *row = at_axes(u, g->at, INTS(1, 3)), *keep;
  if (raw_int(u, "causal", 1))
    keep = raw_two(u, "LessOrEqual", column, row);
  else
    keep = raw_two(u, "Less", column, at_axes(u, g->end, INTS(1, 2, 3)));
  if (window > 0)
    keep = raw_two(u, "And", keep, raw_two(u, "Greater", column, raw_two(u, "Sub", row, raw_ints(u, INTS(window)))));
  if (!raw_has(u, 10))
    return keep;
  const char *low = raw_two(u, "CastLike", raw_real(u, -INFINITY), raw_in(u, 10));
  return raw_put(u, "Where", NULL, NAMES(keep, raw_in(u, 10), low), 0, NULL);
}

/* One for each head: exp(sink) is added to the sum of its softmaxes, 1 when they are only smooth. NULL: there is none. */
static const char *sinks(GroupQuery *g) {
  Upgrade *u = g->u;
  if (raw_has(u, 11))
    return raw_in(u, 11);
  if (raw_int(u, "smooth_softmax", 0) <= 0)
    return NULL;
  return raw_two(u, "Expand", raw_two(u, "CastLike", raw_real(u, 0), g->q), raw_ints(u, INTS(g->heads)));
}

Status microsoft_group_query(Upgrade *u) {
  GroupQuery g = {.u = u, .heads = raw_int(u, "num_heads", 0), .kv_heads = raw_int(u, "kv_num_heads", 0)};
  if (g.heads < 1 || g.kv_heads < 1 || g.heads > INT16_MAX || g.kv_heads > INT16_MAX || !raw_has(u, 5) ||
      !raw_has(u, 6) || raw_has(u, 1) != raw_has(u, 2))
    return raw_unsupported(u, "lacks its heads or lengths");
  if (raw_int(u, "sliding_window_cache", 0) || raw_int(u, "kv_cache_bit_width", 0))
    return raw_unsupported(u, "has a cache of its window's length, or of narrow integers");
  if (raw_has(u, 12) || raw_has(u, 13) || raw_has(u, 14) != raw_has(u, 15))
    return raw_unsupported(u, "has scales of its cache, or a norm of its query or key alone");
  TRY(raw_refuse_inputs(u, 16, "has padded queries"));
  TRY(raw_refuse_output(u, 3, "with its scores as an output"));
  group_inputs(&g);
  group_positions(&g);
  if (raw_has(u, 14)) {
    g.q = normed(&g, g.q, g.heads, 14, "q_norm_epsilon");
    g.k = normed(&g, g.k, g.kv_heads, 15, "k_norm_epsilon");
  }
  if (raw_int(u, "do_rotary", 0))
    g.q = rotated(&g, g.q, g.heads), g.k = rotated(&g, g.k, g.kv_heads);
  const char *k = cached(&g, g.k, 3, 1), *v = cached(&g, g.v, 4, 2), *q = raw_heads(u, g.q, g.heads);
  const char *mask = group_mask(&g, k), *sink = sinks(&g);
  float scale = raw_float(u, "scale", 0);
  RawAttr attr[] = {raw_float_attr("softcap", raw_float(u, "softcap", 0)), raw_float_attr("scale", scale)};
  uint32_t nattr = scale != 0 ? 2 : 1;
  if (sink)
    return raw_become_joined(u, raw_put_own(u, "SinkAttention", NAMES(q, k, v, mask, "", "", "", sink), nattr, attr));
  return raw_become_joined(u, raw_put(u, "Attention", NULL, NAMES(q, k, v, mask), nattr, attr));
}
