/* microsoft_recurrence.c - linear attention and causal convolutions of com.microsoft as those of ai.onnx, which are compiled with
 * their states, and the gates that feed them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"
#include "frontend/nodes.h"

#include <string.h>

/* The node itself becomes this one, with all its outputs. */
static Status become_all(Upgrade *u, const char *op, uint32_t nin, Names in, uint32_t nattr, const RawAttr *attr) {
  const char *const *out = u->n.out;
  uint32_t nout = u->n.nout;
  TRY(raw_become(u, op, nin, in, nattr, attr));
  u->n.out = out, u->n.nout = nout;
  return ST_OK;
}

/* --- LinearAttention --- */

/* Each query head is read by `times` heads of keys behind each other: [b, s, heads * d] as [b, s, heads * times * d]. */
static const char *repeated(Upgrade *u, const char *q, int64_t heads, int64_t times) {
  q = raw_two(u, "Reshape", q, raw_ints(u, INTS(0, 0, heads, 1, -1)));
  q = raw_two(u, "Expand", q, raw_ints(u, INTS(1, 1, 1, times, 1)));
  return raw_two(u, "Reshape", q, raw_ints(u, INTS(0, 0, -1)));
}

/* query, key, value, past_state, decay, beta. */
Status microsoft_linear_attention(Upgrade *u) {
  int64_t heads = raw_int(u, "q_num_heads", 0), kv_heads = raw_int(u, "kv_num_heads", 0);
  static const char *const known[] = {"chunk_size", "scale", "update_rule"};
  RawAttr attr[countof(known) + 2];
  uint32_t n = raw_kept(u, countof(known), known, attr);
  const char *in[6];
  if (raw_int(u, "state_window", 0))
    return raw_unsupported(u, "keeps the states of several rows");
  if (heads < 1 || kv_heads < 1 || heads > INT16_MAX || kv_heads > INT16_MAX)
    return raw_unsupported(u, "lacks its heads");
  for (uint32_t i = 0; i < 6; i++)
    in[i] = raw_in(u, i);
  if (kv_heads > heads && kv_heads % heads == 0) {
    in[0] = repeated(u, in[0], heads, kv_heads / heads);
    heads = kv_heads;
  }
  attr[n++] = raw_int_attr("q_num_heads", heads), attr[n++] = raw_int_attr("kv_num_heads", kv_heads);
  return become_all(u, "LinearAttention", 6, in, n, attr);
}

/* LinearAttentionGate: a, dt_bias, decay_scale, b; the gates in f32, as their exponentials need it. */
Status microsoft_linear_gate(Upgrade *u) {
  const char *a = raw_in(u, 0), *x = raw_dtype(u, a) == DT_f32 ? a : raw_cast(u, a, DT_f32);
  x = raw_put(u, "Softplus", NULL, NAMES(raw_two(u, "Add", x, raw_in(u, 1))), 0, NULL);
  x = raw_two(u, "Mul", raw_in(u, 2), x);
  if (*raw_out(u, 1))
    raw_put(u, "Sigmoid", raw_out(u, 1), NAMES(raw_in(u, 3)), 0, NULL);
  return raw_become(u, "CastLike", NAMES(x, a), 0, NULL);
}

/* --- CausalConvWithState --- */

/* Taps that are `by` apart as taps without gaps, among which are zeros: [C, 1, k] as [C, 1, (k - 1) by + 1]. */
static const char *spread(Upgrade *u, const char *w, int64_t by) {
  w = raw_two(u, "Unsqueeze", w, raw_ints(u, INTS(3)));
  w = raw_put(u, "Pad", NULL, NAMES(w, raw_ints(u, INTS(0, 0, 0, 0, 0, 0, 0, by - 1))), 0, NULL);
  w = raw_two(u, "Reshape", w, raw_ints(u, INTS(0, 1, -1)));
  return raw_put(u, "Slice", NULL, NAMES(w, raw_ints(u, INTS(0)), raw_ints(u, INTS(1 - by)), raw_ints(u, INTS(2))), 0,
                 NULL);
}

/* [N, rows, d1, …] as [N, C, rows]. */
static const char *channels_first(Upgrade *u, const char *x) {
  return raw_transpose(u, raw_two(u, "Reshape", x, raw_ints(u, INTS(0, 0, -1))), 3, (const int64_t[]){0, 2, 1});
}

/* Back, in the axes that x has behind its rows. */
static void channels_last(Upgrade *u, const char *out, const char *y, const char *x) {
  RawAttr from = raw_int_attr("start", 2), axis = raw_int_attr("axis", 0);
  const char *behind = raw_put(u, "Shape", NULL, NAMES(x), 1, &from);
  const char *shape = raw_put(u, "Concat", NULL, NAMES(raw_ints(u, INTS(0, 0)), behind), 1, &axis);
  raw_put(u, "Reshape", out, NAMES(raw_transpose(u, y, 3, (const int64_t[]){0, 2, 1}), shape), 0, NULL);
}

static Status causal_rows(Upgrade *u, const char *const *in, const RawAttr *attr) {
  const char *out[2], *x = raw_in(u, 0), *first = channels_first(u, x);
  raw_put_many(u, "CausalConvWithState", 2, out, NAMES(first, in[1], in[2], in[3]), 1, attr);
  if (*raw_out(u, 1))
    channels_last(u, raw_out(u, 1), out[1], x);
  channels_last(u, NULL, out[0], x);
  return raw_become_last(u);
}

/* input, weight, bias, past_state. */
Status microsoft_causal_conv(Upgrade *u) {
  static const char *const extended[] = {"state_update_capacity", "state_length", "input_channels",
                                         "input_channel_offset", "state_window"};
  RawAttr none = {.name = "activation", .ref = "", .doc = "", .type = RA_STRING, .s = str_of("none")};
  const RawAttr *act = raw_find(u, "activation", RA_STRING);
  int64_t by = raw_int(u, "dilation", 1);
  const char *in[4];
  for (size_t i = 0; i < countof(extended); i++)
    if (raw_int(u, extended[i], 0))
      return raw_unsupported(u, "keeps several states, or reads a part of its channels");
  if (raw_int(u, "ndim", 1) != 1 || by < 1 || by > INT16_MAX || raw_int(u, "state_channels_last", -1) != -1)
    return raw_unsupported(u, "has several axes of positions, or another form of its state");
  TRY(raw_refuse_output(u, 2, "gives what changed of its state"));
  for (uint32_t i = 0; i < 4; i++)
    in[i] = raw_in(u, i);
  in[1] = by > 1 ? spread(u, in[1], by) : in[1];
  if (!raw_int(u, "channels_last", 0))
    return become_all(u, "CausalConvWithState", 4, in, 1, act ? act : &none);
  in[3] = *in[3] ? channels_first(u, in[3]) : in[3];
  return causal_rows(u, in, act ? act : &none);
}
