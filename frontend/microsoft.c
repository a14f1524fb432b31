/* microsoft.c - operators that ONNX Runtime's tools write, as nodes of ai.onnx, for which there are kernels and passes: one function
 * per operator or family, and a table. What an operator can do beyond that is refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"

#include "frontend/nodes.h"

#include <string.h>

/* --- normalisation --- */

/* x + skip [+ bias], which may be wanted as output 3. */
static const char *skipped(Upgrade *u, uint32_t bias) {
  bool more = raw_has(u, bias);
  const char *sum = raw_put(u, "Add", more ? "" : raw_out(u, 3), NAMES(raw_in(u, 0), raw_in(u, 1)), 0, NULL);
  return more ? raw_put(u, "Add", raw_out(u, 3), NAMES(sum, raw_in(u, bias)), 0, NULL) : sum;
}

/* SkipLayerNormalization, SkipSimplifiedLayerNormalization: input, skip, gamma, [beta,] bias. */
static Status skip_norm(Upgrade *u) {
  bool simple = !strcmp(u->n.op, "SkipSimplifiedLayerNormalization");
  TRY(raw_refuse_output(u, 1, "with the mean as an output"));
  TRY(raw_refuse_output(u, 2, "with the deviation as an output"));
  RawAttr attr[] = {raw_int_attr("axis", -1), raw_float_attr("epsilon", raw_float(u, "epsilon", 1e-12f))};
  const char *x = skipped(u, simple ? 3 : 4), *scale = raw_in(u, 2), *beta = raw_in(u, 3);
  if (simple)
    return raw_become(u, "RMSNormalization", NAMES(x, scale), 2, attr);
  return raw_become(u, "LayerNormalization", *beta ? 3 : 2, (const char *const[]){x, scale, beta}, 2, attr);
}

static Status simplified_norm(Upgrade *u) {
  TRY(raw_refuse_output(u, 1, "with the deviation as an output"));
  RawAttr attr[] = {raw_int_attr("axis", raw_int(u, "axis", -1)),
                    raw_float_attr("epsilon", raw_float(u, "epsilon", 1e-5f))};
  return raw_become(u, "RMSNormalization", NAMES(raw_in(u, 0), raw_in(u, 1)), 2, attr);
}

/* Of f32, whatever x is: its type comes back at the end. */
static const char *in_f32(Upgrade *u, const char *x) { return raw_dtype(u, x) == DT_f32 ? x : raw_cast(u, x, DT_f32); }

/* The node becomes y in the type of input 0. */
static Status become_f32(Upgrade *u, const char *y) {
  return raw_become(u, raw_dtype(u, raw_in(u, 0)) == DT_f32 ? "Identity" : "CastLike",
                    raw_dtype(u, raw_in(u, 0)) == DT_f32 ? 1 : 2, (const char *const[]){y, raw_in(u, 0)}, 0, NULL);
}

/* GatedRMSNorm: X, scale, gate; each row of X is groups as long as the scale. */
static Status gated_norm(Upgrade *u) {
  const RawAttr *act = raw_find(u, "activation", RA_STRING);
  const Type *t = raw_type(u, raw_in(u, 0));
  RawAttr norm[] = {raw_int_attr("axis", -1), raw_float_attr("epsilon", raw_float(u, "epsilon", 1e-5f))};
  RawAttr axis = raw_int_attr("axis", 0);
  static const int64_t same[MAX_RANK];
  bool sigmoid = act && str_is(act->s, "sigmoid");
  if (!t || t->rank < 1 || t->rank >= MAX_RANK)
    return raw_unsupported(u, "has an input of unknown rank, or of too many axes");
  if (act && !sigmoid && !str_is(act->s, "silu") && !str_is(act->s, "swish"))
    return raw_unsupported(u, "has an activation of another name");
  const char *x = in_f32(u, raw_in(u, 0)), *scale = in_f32(u, raw_in(u, 1)), *gate = in_f32(u, raw_in(u, 2)), *shape;
  shape = raw_put(u, "Concat", NULL,
                  NAMES(raw_ints(u, (uint32_t)t->rank - 1, same), raw_ints(u, INTS(-1)), raw_extent(u, scale, 0)), 1,
                  &axis);
  const char *y = raw_put(u, "RMSNormalization", NULL, NAMES(raw_two(u, "Reshape", x, shape), scale), 2, norm);
  y = raw_two(u, "Reshape", y, raw_put(u, "Shape", NULL, NAMES(x), 0, NULL));
  y = raw_two(u, "Mul", y, raw_put(u, sigmoid ? "Sigmoid" : "Swish", NULL, NAMES(gate), 0, NULL));
  return become_f32(u, y);
}

/* --- activations --- */

/* Gelu, BiasGelu, FastGelu: of X, or of X + bias. */
static Status gelu(Upgrade *u) {
  RawAttr tanh = {.name = "approximate", .ref = "", .doc = "", .type = RA_STRING, .s = str_of("tanh")};
  bool fast = !strcmp(u->n.op, "FastGelu");
  const char *x = raw_in(u, 0);
  if (raw_has(u, 1))
    x = raw_put(u, "Add", "", NAMES(x, raw_in(u, 1)), 0, NULL);
  return raw_become(u, "Gelu", NAMES(x), fast, &tanh);
}

static Status quick_gelu(Upgrade *u) {
  RawAttr alpha = raw_float_attr("alpha", raw_float(u, "alpha", 1.702f));
  return raw_become(u, "Swish", NAMES(raw_in(u, 0)), 1, &alpha);
}

/* Its result by a bias that is spread like any operand, over all axes from `axis` on. */
static Status bias_softmax(Upgrade *u) {
  RawAttr axis = raw_int_attr("axis", raw_int(u, "axis", 1)), last = raw_int_attr("axis", -1);
  const char *x = raw_two(u, "Add", raw_in(u, 0), raw_in(u, 1)), *y = raw_put(u, "Flatten", NULL, NAMES(x), 1, &axis);
  y = raw_put(u, "Softmax", NULL, NAMES(y), 1, &last);
  return raw_become(u, "Reshape", NAMES(y, raw_put(u, "Shape", NULL, NAMES(x), 0, NULL)), 0, NULL);
}

/* Both halves of the last axis. */
static void halves(Upgrade *u, const char *x, const char **half) {
  RawAttr attr[] = {raw_int_attr("axis", -1), raw_int_attr("num_outputs", 2)};
  raw_put_many(u, "Split", 2, half, NAMES(x), 2, attr);
}

/* BiasSplitGelu: of X + bias the left half by the gelu of the right. */
static Status split_gelu(Upgrade *u) {
  const char *half[2];
  halves(u, raw_two(u, "Add", raw_in(u, 0), raw_in(u, 1)), half);
  return raw_become(u, "Mul", NAMES(half[0], raw_put(u, "Gelu", NULL, NAMES(half[1]), 0, NULL)), 0, NULL);
}

/* SwiGLU: gate and up, or both in one. */
static Status swiglu(Upgrade *u) {
  const char *x[2] = {raw_in(u, 0), raw_in(u, 1)};
  float limit = raw_float(u, "limit", 0), beta = raw_float(u, "activation_beta", 0);
  RawAttr alpha = raw_float_attr("alpha", raw_float(u, "activation_alpha", 1));
  if (!*x[1])
    halves(u, x[0], x);
  if (limit > 0) {
    const char *most = raw_two(u, "CastLike", raw_real(u, limit), x[0]);
    const char *least = raw_put(u, "Neg", NULL, NAMES(most), 0, NULL);
    x[0] = raw_two(u, "Min", x[0], most), x[1] = raw_put(u, "Clip", NULL, NAMES(x[1], least, most), 0, NULL);
  }
  if (beta != 0)
    x[1] = raw_two(u, "Add", x[1], raw_two(u, "CastLike", raw_real(u, beta), x[1]));
  return raw_become(u, "Mul", NAMES(raw_put(u, "Swish", NULL, NAMES(x[0]), 1, &alpha), x[1]), 0, NULL);
}

/* ScaledSiLU: of X times a number that is an input or the attribute. */
static Status scaled_silu(Upgrade *u) {
  const char *x = raw_in(u, 0), *by = raw_has(u, 1) ? raw_in(u, 1) : raw_real(u, raw_float(u, "alpha", 1));
  x = raw_two(u, "Mul", x, raw_two(u, "CastLike", by, x));
  return raw_become(u, "Swish", NAMES(x), 0, NULL);
}

/* BiasAdd: X, bias, skip; GatedAdd: X + Y gate. */
static Status sums(Upgrade *u) {
  if (!strcmp(u->n.op, "BiasAdd"))
    return raw_become(u, "Add", NAMES(raw_two(u, "Add", raw_in(u, 0), raw_in(u, 1)), raw_in(u, 2)), 0, NULL);
  TRY(raw_refuse_inputs(u, 3, "projects its gate"));
  return raw_become(u, "Add", NAMES(raw_in(u, 0), raw_two(u, "Mul", raw_in(u, 1), raw_in(u, 2))), 0, NULL);
}

/* --- quantisation --- */

/* GatherBlockQuantized: data, indices, scales, zero_points. Rows are gathered as narrow as they are, then dequantised. Bytes hold
 * several numbers, the first in the lowest bits. */
typedef struct GatherBlocks {
  Upgrade *u;
  int64_t bits, axis; /* axis: of gathering */
  int rank;           /* of what is gathered */
  bool bytes;         /* of data and zero points */
} GatherBlocks;

static const char *bytes_constant(Upgrade *u, int64_t v) { return raw_cast(u, raw_ints(u, INTS(v)), DT_u8); }

static const char *unpacked(GatherBlocks *g, const char *x) {
  enum { MOST = 4 };
  Upgrade *u = g->u;
  const char *part[MOST];
  RawAttr right = {.name = "direction", .ref = "", .doc = "", .type = RA_STRING, .s = str_of("RIGHT")};
  RawAttr last = raw_int_attr("axis", -1);
  int64_t shape[MAX_RANK] = {0}; /* the axes as they are */
  if (!g->bytes || g->bits == 8)
    return x;
  for (int64_t i = 0; i < 8 / g->bits; i++) {
    const char *y = raw_put(u, "BitShift", NULL, NAMES(x, bytes_constant(u, i * g->bits)), 1, &right);
    y = raw_two(u, "BitwiseAnd", y, bytes_constant(u, (1 << g->bits) - 1));
    part[i] = raw_two(u, "Unsqueeze", y, raw_ints(u, INTS(-1)));
  }
  shape[g->rank - 1] = -1;
  x = raw_put(u, "Concat", NULL, (uint32_t)(8 / g->bits), part, 1, &last);
  return raw_two(u, "Reshape", x, raw_ints(u, (uint32_t)g->rank, shape));
}

static const char *gathered(GatherBlocks *g, const char *x) {
  RawAttr axis = raw_int_attr("axis", g->axis);
  return raw_put(g->u, "Gather", NULL, NAMES(x, raw_in(g->u, 1)), 1, &axis);
}

/* The last byte may hold more zero points than there are scales. */
static const char *as_many(GatherBlocks *g, const char *zero, const char *scale) {
  Upgrade *u = g->u;
  if (!g->bytes || g->bits == 8)
    return zero;
  const char *n = raw_extent(u, scale, g->rank - 1);
  return raw_put(u, "Slice", NULL, NAMES(zero, raw_ints(u, INTS(0)), n, raw_ints(u, INTS(g->rank - 1))), 0, NULL);
}

static Status gather_blocks(Upgrade *u) {
  const Type *data = raw_type(u, raw_in(u, 0)), *indices = raw_type(u, raw_in(u, 1));
  GatherBlocks g = {.u = u, .bits = raw_int(u, "bits", 4), .axis = raw_int(u, "gather_axis", 0)};
  int64_t along = raw_int(u, "quantize_axis", 1);
  if (!data || !indices)
    return raw_unsupported(u, "has inputs of unknown rank");
  g.rank = data->rank + indices->rank - 1, g.bytes = data->dtype == DT_u8;
  g.axis += g.axis < 0 ? data->rank : 0, along += along < 0 ? data->rank : 0;
  if (g.axis < 0 || g.axis >= data->rank || along < 0 || along >= data->rank || g.rank < 1 || g.rank > MAX_RANK)
    return raw_unsupported(u, "has axes out of range, or too many");
  if (g.axis == along || (g.bytes && along != data->rank - 1))
    return raw_unsupported(u, "gathers along its blocks, or has bytes along another axis than the last");
  if (g.bits != 2 && g.bits != 4 && g.bits != 8)
    return raw_unsupported(u, "has numbers of other than 2, 4 or 8 bits");
  const char *x = unpacked(&g, gathered(&g, raw_in(u, 0))), *scale = gathered(&g, raw_in(u, 2)), *zero = NULL;
  if (raw_has(u, 3))
    zero = as_many(&g, unpacked(&g, gathered(&g, raw_in(u, 3))), scale);
  else if (g.bytes)
    zero = raw_two(u, "Expand", bytes_constant(u, 1 << (g.bits - 1)), raw_put(u, "Shape", NULL, NAMES(scale), 0, NULL));
  RawAttr attr[] = {raw_int_attr("axis", along + (g.axis < along ? indices->rank - 1 : 0)),
                    raw_int_attr("block_size", raw_int(u, "block_size", 128))};
  return raw_become(u, "DequantizeLinear", zero ? 3 : 2, (const char *const[]){x, scale, zero}, 2, attr);
}

/* --- embeddings --- */

/* EmbedLayerNormalization: input_ids, segment_ids, word, position and segment embeddings, gamma, beta, mask, position_ids. */
static Status embed_norm(Upgrade *u) {
  const char *ids = raw_in(u, 0), *segments = raw_in(u, 1), *positions = raw_in(u, 3), *sum;
  RawAttr norm[] = {raw_int_attr("axis", -1), raw_float_attr("epsilon", raw_float(u, "epsilon", 1e-12f))};
  RawAttr axis = raw_int_attr("axis", 0), drop = raw_int_attr("keepdims", 0);
  sum = raw_put(u, "Gather", NULL, NAMES(raw_in(u, 2), ids), 1, &axis);
  if (raw_has(u, 8)) /* else those of 0 to seq - 1 */
    positions = raw_put(u, "Gather", NULL, NAMES(positions, raw_in(u, 8)), 1, &axis);
  else
    positions = raw_put(u, "Slice", NULL,
                        NAMES(positions, raw_ints(u, INTS(0)), raw_extent(u, ids, 1), raw_ints(u, INTS(0))), 0, NULL);
  bool more = raw_has(u, 4) && *segments;
  sum = raw_put(u, "Add", more ? NULL : raw_out(u, 2), NAMES(sum, positions), 0, NULL);
  if (more)
    sum = raw_put(u, "Add", raw_out(u, 2),
                  NAMES(sum, raw_put(u, "Gather", NULL, NAMES(raw_in(u, 4), segments), 1, &axis)), 0, NULL);
  if (*raw_out(u, 1) && raw_has(u, 7))
    raw_put(u, "ReduceSum", raw_out(u, 1), NAMES(raw_in(u, 7), raw_ints(u, INTS(1))), 1, &drop);
  else if (*raw_out(u, 1)) {
    const char *zero = raw_cast(u, raw_ints(u, INTS(0)), DT_i32);
    raw_put(u, "Expand", raw_out(u, 1), NAMES(zero, raw_extent(u, ids, 0)), 0, NULL);
  }
  return raw_become(u, "LayerNormalization", NAMES(sum, raw_in(u, 5), raw_in(u, 6)), 2, norm);
}

/* --- the table --- */

static const struct {
  const char *op;
  Status (*step)(Upgrade *u);
} rows[] = {
    {"Attention", microsoft_attention},
    {"BiasAdd", sums},
    {"BiasGelu", gelu},
    {"BiasSoftmax", bias_softmax},
    {"BiasSplitGelu", split_gelu},
    {"CDist", microsoft_distances},
    {"CausalConvWithState", microsoft_causal_conv},
    {"DecoderMaskedMultiHeadAttention", microsoft_decoder_heads},
    {"DequantizeLinear", microsoft_same},
    {"DynamicQuantizeLSTM", microsoft_dynamic_lstm},
    {"DynamicQuantizeMatMul", microsoft_dynamic_product},
    {"EmbedLayerNormalization", embed_norm},
    {"ExpandDims", microsoft_expand_dims},
    {"FastGelu", gelu},
    {"FusedConv", microsoft_conv},
    {"FusedGemm", microsoft_gemm},
    {"FusedMatMul", microsoft_matmul},
    {"FusedMatMulActivation", microsoft_matmul},
    {"GatedAdd", sums},
    {"GatedRMSNorm", gated_norm},
    {"GatedRelativePositionBias", microsoft_gated_bias},
    {"GatherBlockQuantized", gather_blocks},
    {"GatherND", microsoft_gather},
    {"Gelu", gelu},
    {"GemmFastGelu", microsoft_gemm_gelu},
    {"GridSample", microsoft_grid_sample},
    {"GroupNorm", microsoft_group_norm},
    {"GroupQueryAttention", microsoft_group_query},
    {"LinearAttention", microsoft_linear_attention},
    {"LinearAttentionGate", microsoft_linear_gate},
    {"MRotaryEmbedding", microsoft_sections_rotary},
    {"MatMulInteger16", microsoft_product_of_16},
    {"MatMulIntegerToFloat", microsoft_integer_to_float},
    {"MultiHeadAttention", microsoft_multi_head},
    {"NhwcConv", microsoft_conv},
    {"NhwcFusedConv", microsoft_conv},
    {"NhwcMaxPool", microsoft_max_pool},
    {"Pad", microsoft_pad},
    {"QAttention", microsoft_qattention},
    {"QGemm", microsoft_qgemm},
    {"QLinearAdd", microsoft_qlinear_binary},
    {"QLinearAveragePool", microsoft_qlinear_pool},
    {"QLinearConcat", microsoft_qlinear_concat},
    {"QLinearConv", microsoft_qlinear_conv},
    {"QLinearGlobalAveragePool", microsoft_qlinear_pool},
    {"QLinearLeakyRelu", microsoft_qlinear_unary},
    {"QLinearMul", microsoft_qlinear_binary},
    {"QLinearReduceMean", microsoft_qlinear_mean},
    {"QLinearSigmoid", microsoft_qlinear_unary},
    {"QLinearSoftmax", microsoft_qlinear_softmax},
    {"QLinearWhere", microsoft_qlinear_where},
    {"QuantizeLinear", microsoft_same},
    {"QuickGelu", quick_gelu},
    {"Range", microsoft_range},
    {"RotaryEmbedding", microsoft_rotary},
    {"ScaledSiLU", scaled_silu},
    {"SimplifiedLayerNormalization", simplified_norm}, /* which its tools write without a domain, too */
    {"SkipGroupNorm", microsoft_group_norm},
    {"SkipLayerNormalization", skip_norm},
    {"SkipSimplifiedLayerNormalization", skip_norm},
    {"SwiGLU", swiglu},
    {"TransposeMatMul", microsoft_matmul},
    {"Trilu", microsoft_same},
    {"Unique", microsoft_unique},
};

bool microsoft_wanted(const char *domain, const char *op) {
  if (!*domain)
    return !strcmp(op, "SimplifiedLayerNormalization");
  for (size_t i = 0; i < countof(rows); i++)
    if (!strcmp(rows[i].op, op))
      return !strcmp(domain, "com.microsoft");
  return false;
}

const char *microsoft_operator(uint32_t i) { return i < countof(rows) ? rows[i].op : NULL; }

Status microsoft_node(Upgrade *u) {
  for (size_t i = 0; i < countof(rows); i++)
    if (!strcmp(rows[i].op, u->n.op))
      return rows[i].step(u);
  return fail(u->c, ST_INTERNAL, "%s is no operator of com.microsoft", u->n.op);
}
