/* recipes_seq.c - recurrent layers, attention, and the steps of optimizers. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/recipes.h"

/* --- recurrent layers --- */

static void make_activations(Gen *g, Make *m, int per_direction, int64_t directions) {
  static const char *const name[] = {"Relu", "Tanh",       "Sigmoid",     "Affine",   "LeakyRelu", "ThresholdedRelu",
                                     "Elu",  "ScaledTanh", "HardSigmoid", "Softsign", "Softplus"};
  const char *list[6];
  int64_t n = per_direction * directions;
  for (int64_t i = 0; i < n; i++)
    list[i] = PICK(g, name);
  make_strs(g, m, "activations", list, n);
}

static int32_t *lengths(Gen *g, int64_t batch, int64_t most, Value **out) {
  Tensor *t;
  if (tensor_new(g->c, g->top->arena, DT_i32, 1, &batch, &t))
    return NULL;
  for (int64_t i = 0; i < batch; i++)
    ((int32_t *)t->data)[i] = (int32_t)upto(g, 1, most);
  *out = graph_add_const(g->top, NULL, t);
  return t->data;
}

bool recipe_recurrent(Gen *g, Make *m) {
  int gates = m->op == OP_LSTM ? 4 : m->op == OP_GRU ? 3 : 1;
  int64_t time = upto(g, 1, 4), batch = upto(g, 1, 3), in = upto(g, 1, 5), hidden = upto(g, 1, 4);
  int64_t dirs = rng_chance(&g->r, 35) ? 2 : 1, layout = rng_chance(&g->r, 20);
  DType t = rng_chance(&g->r, 85) ? DT_f32 : PICK(g, (const DType[]){DT_f64, DT_f16});
  int64_t x[3] = {layout ? batch : time, layout ? time : batch, in}, w[3] = {dirs, gates * hidden, in};
  int64_t r[3] = {dirs, gates * hidden, hidden}, b[2] = {dirs, 2 * gates * hidden}, peep[2] = {dirs, 3 * hidden};
  int64_t state[3] = {layout ? batch : dirs, layout ? dirs : batch, hidden};
  m->in[0] = gen_feed(g, t, 3, x), m->in[1] = gen_const(g, t, 3, w), m->in[2] = gen_const(g, t, 3, r), m->nin = 3;
  m->nout = m->op == OP_LSTM ? 3 : 2;
  if (rng_chance(&g->r, 60))
    m->in[3] = gen_const(g, t, 2, b), m->nin = 4;
  if (rng_chance(&g->r, 35) && lengths(g, batch, time, &m->in[4]))
    m->nin = 5;
  if (rng_chance(&g->r, 40))
    m->in[5] = gen_feed(g, t, 3, state), m->nin = 6;
  if (m->op == OP_LSTM && rng_chance(&g->r, 40))
    m->in[6] = gen_feed(g, t, 3, state), m->nin = 7;
  if (m->op == OP_LSTM && rng_chance(&g->r, 30))
    m->in[7] = gen_const(g, t, 2, peep), m->nin = 8;
  make_int(g, m, "hidden_size", hidden), make_int(g, m, "layout", layout);
  make_str(g, m, "direction", dirs == 2 ? "bidirectional" : rng_chance(&g->r, 30) ? "reverse" : "forward");
  if (rng_chance(&g->r, 30))
    make_activations(g, m, m->op == OP_LSTM ? 3 : m->op == OP_GRU ? 2 : 1, dirs);
  if (rng_chance(&g->r, 20))
    make_float(g, m, "clip", 1.5f);
  if (m->op == OP_GRU)
    make_flag(g, m, "linear_before_reset");
  bool coupled = m->op == OP_LSTM && rng_chance(&g->r, 15);
  if (coupled && m->nin > 6) /* finite: 1 - i is 0 in float earlier than in double, which infinity times it tells */
    m->in[6] = gen_const(g, t, 3, state);
  if (m->op == OP_LSTM)
    make_int(g, m, "input_forget", coupled);
  for (int i = 0; i < m->nout; i++)
    m->absent |= (unsigned)rng_chance(&g->r, 30) << i;
  return m->in[0] && m->absent != (1u << m->nout) - 1;
}

/* --- attention --- */

static Value *heads(Gen *g, DType t, bool packed, int64_t batch, int64_t heads, int64_t length, int64_t size) {
  int64_t four[4] = {batch, heads, length, size}, three[3] = {batch, length, heads * size};
  return packed ? gen_feed(g, t, 3, three) : gen_feed(g, t, 4, four);
}

bool recipe_attention(Gen *g, Make *m) {
  int64_t batch = upto(g, 1, 2), kv = upto(g, 1, 2), q = kv * upto(g, 1, 2), s = upto(g, 1, 4), t = upto(g, 1, 5);
  int64_t size = upto(g, 1, 8), vsize = rng_chance(&g->r, 70) ? size : upto(g, 1, 8);
  int64_t past = rng_chance(&g->r, 30) ? upto(g, 1, 3) : 0, total = t + past;
  bool packed = rng_chance(&g->r, 40);
  DType type = rng_chance(&g->r, 85) ? DT_f32 : PICK(g, (const DType[]){DT_f64, DT_f16, DT_bf16});
  m->in[0] = heads(g, type, packed, batch, q, s, size), m->in[1] = heads(g, type, packed, batch, kv, t, size);
  m->in[2] = heads(g, type, packed, batch, kv, t, vsize), m->nin = 3, m->nout = 1;
  if (!m->in[0] || !m->in[1] || !m->in[2])
    return false;
  if (packed)
    make_int(g, m, "q_num_heads", q), make_int(g, m, "kv_num_heads", kv);
  if (rng_chance(&g->r, 50)) {
    int64_t mask[4] = {rng_chance(&g->r, 50) ? 1 : batch, rng_chance(&g->r, 50) ? 1 : q, s, total};
    int rank = (int)upto(g, 2, 4);
    m->in[3] = gen_feed(g, rng_chance(&g->r, 50) ? DT_bool : type, rank, mask + 4 - rank), m->nin = 4;
  }
  if (past) {
    int64_t dim[4] = {batch, kv, past, size};
    m->in[4] = gen_feed(g, type, 4, dim), dim[3] = vsize, m->in[5] = gen_feed(g, type, 4, dim);
    m->nin = 6, m->nout = 3;
  } else if (rng_chance(&g->r, 20)) {
    int64_t *at = arena_array(g->top->arena, int64_t, batch);
    for (int64_t i = 0; i < batch; i++)
      at[i] = upto(g, 1, t);
    m->in[6] = gen_ints(g, at, batch, 1), m->nin = 7;
  }
  if (rng_chance(&g->r, 30))
    make_int(g, m, "is_causal", 1);
  if (rng_chance(&g->r, 30))
    make_float(g, m, "scale", 0.75f);
  if (rng_chance(&g->r, 20))
    make_float(g, m, "softcap", 2);
  if (rng_chance(&g->r, 20))
    make_int(g, m, "left_window_size", rng_below(&g->r, 3));
  if (rng_chance(&g->r, 15))
    make_int(g, m, "right_window_size", rng_below(&g->r, 3));
  if (rng_chance(&g->r, 20)) {
    make_int(g, m, "qk_matmul_output_mode", rng_below(&g->r, 4)), m->absent = m->nout == 1 ? 6 : 0;
    m->nout = 4;
  }
  return true;
}

bool recipe_rotary(Gen *g, Make *m) {
  int64_t batch = upto(g, 1, 2), n = upto(g, 1, 3), s = upto(g, 1, 4), half = upto(g, 1, 4), size = 2 * half;
  int64_t part = rng_chance(&g->r, 30) ? upto(g, 1, half) : half, longest = s + 2;
  bool packed = rng_chance(&g->r, 40), placed = rng_chance(&g->r, 50);
  int64_t cache[3] = {batch, s, part}, table[2] = {longest, part}, place[2] = {batch, s};
  m->in[0] = heads(g, DT_f32, packed, batch, n, s, size), m->nin = 3, m->nout = 1;
  for (int i = 1; i < 3; i++)
    m->in[i] = placed ? gen_const(g, DT_f32, 2, table) : gen_feed(g, DT_f32, 3, cache);
  if (placed) {
    int64_t *at = arena_array(g->top->arena, int64_t, batch * s);
    for (int64_t i = 0; i < batch * s; i++)
      at[i] = rng_below(&g->r, longest);
    m->in[3] = gen_shaped_ints(g, at, 2, place), m->nin = 4;
  }
  if (packed)
    make_int(g, m, "num_heads", n);
  if (part != half)
    make_int(g, m, "rotary_embedding_dim", 2 * part);
  make_flag(g, m, "interleaved");
  return m->in[0] && m->in[1] && m->in[2];
}

bool recipe_linear_attention(Gen *g, Make *m) {
  static const char *const rule[] = {"linear", "gated", "delta", "gated_delta"};
  int which = (int)rng_below(&g->r, 4);
  int64_t batch = upto(g, 1, 2), kv = upto(g, 1, 2), q = kv * upto(g, 1, 2), s = upto(g, 1, 5);
  int64_t dk = upto(g, 1, 5), dv = upto(g, 1, 5), state[4] = {batch, kv, dk, dv};
  int64_t decay[3] = {batch, s, rng_chance(&g->r, 50) ? kv : kv * dk}, beta[3] = {batch, s, kv};
  m->in[0] = heads(g, DT_f32, true, batch, q, s, dk), m->in[1] = heads(g, DT_f32, true, batch, kv, s, dk);
  m->in[2] = heads(g, DT_f32, true, batch, kv, s, dv), m->nin = 3, m->nout = 1 + rng_chance(&g->r, 70);
  if (rng_chance(&g->r, 50))
    m->in[3] = gen_feed(g, DT_f32, 4, state), m->nin = 4;
  if (which & 1)
    m->in[4] = gen_feed(g, DT_f32, 3, decay), m->nin = 5;
  if (which & 2)
    m->in[5] = gen_feed(g, DT_f32, 3, beta), m->nin = 6;
  make_int(g, m, "q_num_heads", q), make_int(g, m, "kv_num_heads", kv), make_str(g, m, "update_rule", rule[which]);
  if (rng_chance(&g->r, 40))
    make_float(g, m, "scale", 0.5f);
  if (rng_chance(&g->r, 30))
    make_int(g, m, "chunk_size", upto(g, 1, 3));
  return m->in[0] && m->in[1] && m->in[2];
}

bool recipe_causal_conv(Gen *g, Make *m) {
  int64_t x[3] = {upto(g, 1, 2), upto(g, 1, 4), upto(g, 1, 6)}, k = upto(g, 1, 4);
  int64_t w[3] = {x[1], 1, k}, past[3] = {x[0], x[1], k - 1};
  m->in[0] = gen_feed(g, DT_f32, 3, x), m->in[1] = gen_const(g, DT_f32, 3, w), m->nin = 2;
  m->nout = 1 + rng_chance(&g->r, 70);
  if (rng_chance(&g->r, 50))
    m->in[2] = gen_const(g, DT_f32, 1, &x[1]), m->nin = 3;
  if (rng_chance(&g->r, 50))
    m->in[3] = gen_feed(g, DT_f32, 3, past), m->nin = 4;
  make_str(g, m, "activation", PICK(g, (const char *const[]){"none", "silu", "swish"}));
  return m->in[0];
}

/* --- optimizers: R, T, then tensors by kind: X, G, and one or two of state --- */

bool recipe_optimizer(Gen *g, Make *m) {
  int64_t dim[2] = {upto(g, 1, 4), upto(g, 1, 5)}, count = upto(g, 0, 3);
  int kinds = m->op == OP_Adam ? 4 : 3, rank = (int)upto(g, 0, 2);
  m->in[0] = gen_floats(g, (float[]){0.125f}, 0, NULL), m->in[1] = gen_ints(g, &count, 1, 0);
  for (int i = 0; i < kinds; i++) /* what squares were summed up in is positive */
    m->in[2 + i] = i >= kinds - (m->op == OP_Momentum ? 0 : 1) ? gen_positive(g, DT_f32, rank, dim)
                                                               : gen_feed(g, DT_f32, rank, dim);
  m->nin = 2 + kinds, m->nout = kinds - 1;
  make_float(g, m, "norm_coefficient", 0.25f);
  if (m->op == OP_Momentum)
    make_float(g, m, "alpha", 0.5f), make_float(g, m, "beta", 0.75f),
        make_str(g, m, "mode", PICK(g, (const char *const[]){"standard", "nesterov"}));
  return m->in[2] && m->in[3] && m->in[4];
}
