/* microsoft.c - operators that ONNX Runtime's tools write, as nodes of ai.onnx, for which there are kernels and passes: one function
 * per operator or family, and a table. What an operator can do beyond that is refused by name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/microsoft.h"

#include <string.h>

/* --- the node --- */

static bool has(const Upgrade *u, uint32_t i) { return i < u->n.nin && *u->n.in[i]; }
static const char *in_of(const Upgrade *u, uint32_t i) { return has(u, i) ? u->n.in[i] : ""; }
static const char *out_of(const Upgrade *u, uint32_t i) { return i < u->n.nout ? u->n.out[i] : ""; }

static const RawAttr *find(const Upgrade *u, const char *name, RawAttrType type) {
  for (uint32_t i = 0; i < u->n.nattr; i++)
    if (!strcmp(u->n.attr[i].name, name) && u->n.attr[i].type == type)
      return &u->n.attr[i];
  return NULL;
}

static float float_of(const Upgrade *u, const char *name, float otherwise) {
  const RawAttr *t = find(u, name, RA_FLOAT);
  return t ? t->f : otherwise;
}

static int64_t int_of(const Upgrade *u, const char *name, int64_t otherwise) {
  const RawAttr *t = find(u, name, RA_INT);
  return t ? t->i : otherwise;
}

static RawAttr int_attr(const char *name, int64_t v) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = RA_INT, .i = v};
}

static RawAttr float_attr(const char *name, float v) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = RA_FLOAT, .f = v};
}

static Status unsupported(Upgrade *u, const char *what) {
  return fail(u->c, ST_UNSUPPORTED, "%s of com.microsoft %s, which is not supported", u->n.op, what);
}

static Status refuse_inputs(Upgrade *u, uint32_t from, const char *what) {
  for (uint32_t i = from; i < u->n.nin; i++)
    if (has(u, i))
      return unsupported(u, what);
  return ST_OK;
}

static Status refuse_output(Upgrade *u, uint32_t i, const char *what) {
  return *out_of(u, i) ? unsupported(u, what) : ST_OK;
}

/* --- nodes made here --- */

typedef const char *const *Names;
#define NAMES(...)                                                                                                     \
  (uint32_t)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)), (const char *const[]) { __VA_ARGS__ }

static RawNode make(Upgrade *u, const char *op, const char *out, uint32_t nin, Names in, uint32_t nattr,
                    const RawAttr *attr) {
  return (RawNode){.name = u->n.name,
                   .op = op,
                   .domain = "",
                   .overload = "",
                   .doc = "",
                   .in = arena_copy(u->a, in, nin * sizeof *in),
                   .nin = nin,
                   .out = arena_copy(u->a, &out, sizeof out),
                   .nout = 1,
                   .attr = nattr ? arena_copy(u->a, attr, nattr * sizeof *attr) : NULL,
                   .nattr = nattr};
}

/* A node before; its output, under the name `out` or one of its own. */
static const char *put(Upgrade *u, const char *op, const char *out, uint32_t nin, Names in, uint32_t nattr,
                       const RawAttr *attr) {
  out = out && *out ? out : u->fresh(u->arg, u->n.nout ? u->n.out[0] : u->n.op);
  u->before[u->nbefore++] = make(u, op, out, nin, in, nattr, attr);
  return out;
}

/* The node itself becomes this one. */
static Status become(Upgrade *u, const char *op, uint32_t nin, Names in, uint32_t nattr, const RawAttr *attr) {
  u->n = make(u, op, out_of(u, 0), nin, in, nattr, attr);
  return ST_OK;
}

/* --- normalisation --- */

/* x + skip [+ bias], which may be wanted as output 3. */
static const char *skipped(Upgrade *u, uint32_t bias) {
  bool more = has(u, bias);
  const char *sum = put(u, "Add", more ? "" : out_of(u, 3), NAMES(in_of(u, 0), in_of(u, 1)), 0, NULL);
  return more ? put(u, "Add", out_of(u, 3), NAMES(sum, in_of(u, bias)), 0, NULL) : sum;
}

/* SkipLayerNormalization, SkipSimplifiedLayerNormalization: input, skip, gamma, [beta,] bias. */
static Status skip_norm(Upgrade *u) {
  bool simple = !strcmp(u->n.op, "SkipSimplifiedLayerNormalization");
  TRY(refuse_output(u, 1, "with the mean as an output"));
  TRY(refuse_output(u, 2, "with the deviation as an output"));
  RawAttr attr[] = {int_attr("axis", -1), float_attr("epsilon", float_of(u, "epsilon", 1e-12f))};
  const char *x = skipped(u, simple ? 3 : 4), *scale = in_of(u, 2), *beta = in_of(u, 3);
  if (simple)
    return become(u, "RMSNormalization", NAMES(x, scale), 2, attr);
  return become(u, "LayerNormalization", *beta ? 3 : 2, (const char *const[]){x, scale, beta}, 2, attr);
}

static Status simplified_norm(Upgrade *u) {
  TRY(refuse_output(u, 1, "with the deviation as an output"));
  RawAttr attr[] = {int_attr("axis", int_of(u, "axis", -1)), float_attr("epsilon", float_of(u, "epsilon", 1e-5f))};
  return become(u, "RMSNormalization", NAMES(in_of(u, 0), in_of(u, 1)), 2, attr);
}

/* --- activations --- */

/* Gelu, BiasGelu, FastGelu: of X, or of X + bias. */
static Status gelu(Upgrade *u) {
  RawAttr tanh = {.name = "approximate", .ref = "", .doc = "", .type = RA_STRING, .s = str_of("tanh")};
  bool fast = !strcmp(u->n.op, "FastGelu");
  const char *x = in_of(u, 0);
  if (has(u, 1))
    x = put(u, "Add", "", NAMES(x, in_of(u, 1)), 0, NULL);
  return become(u, "Gelu", NAMES(x), fast, &tanh);
}

static Status quick_gelu(Upgrade *u) {
  RawAttr alpha = float_attr("alpha", float_of(u, "alpha", 1.702f));
  return become(u, "Swish", NAMES(in_of(u, 0)), 1, &alpha);
}

/* --- products --- */

/* x with its last two axes exchanged. */
static Status exchanged(Upgrade *u, const char **x) {
  const Type *t = u->type(u->arg, *x);
  if (!t || t->kind != VK_TENSOR || t->rank < 0)
    return unsupported(u, "transposes an operand of unknown rank");
  if (t->rank < 2)
    return ST_OK;
  RawAttr perm = {.name = "perm", .ref = "", .doc = "", .type = RA_INTS, .n = (uint32_t)t->rank};
  int64_t *axis = arena_array(u->a, int64_t, (size_t)t->rank);
  for (int i = 0; i < t->rank; i++)
    axis[i] = i < t->rank - 2 ? i : 2 * t->rank - 3 - i;
  perm.ints = axis;
  *x = put(u, "Transpose", "", NAMES(*x), 1, &perm);
  return ST_OK;
}

/* FusedMatMul: alpha * A' B'. */
static Status fused_matmul(Upgrade *u) {
  const char *a = in_of(u, 0), *b = in_of(u, 1);
  if (int_of(u, "transBatchA", 0) || int_of(u, "transBatchB", 0))
    return unsupported(u, "moves the batch axis of an operand");
  if (int_of(u, "transA", 0))
    TRY(exchanged(u, &a));
  if (int_of(u, "transB", 0))
    TRY(exchanged(u, &b));
  float alpha = float_of(u, "alpha", 1);
  if (alpha == 1)
    return become(u, "MatMul", NAMES(a, b), 0, NULL);
  RawAttr value = float_attr("value_float", alpha);
  const char *y = put(u, "MatMul", "", NAMES(a, b), 0, NULL), *by = put(u, "Constant", "", 0, NULL, 1, &value);
  return become(u, "Mul", NAMES(y, put(u, "CastLike", "", NAMES(by, y), 0, NULL)), 0, NULL);
}

/* --- quantisation --- */

/* The operators of the same name; without an axis there, one scale. */
static Status same_name(Upgrade *u) {
  RawAttr axis = int_attr("axis", int_of(u, "axis", 1));
  return become(u, u->n.op, u->n.nin, u->n.in, 1, &axis);
}

/* --- positions --- */

/* RotaryEmbedding: X, position_ids, cos, sin. */
static Status rotary(Upgrade *u) {
  const Type *t = u->type(u->arg, in_of(u, 1));
  if (int_of(u, "is_packed_batching", 0))
    return unsupported(u, "packs its batches");
  if (float_of(u, "scale", 1) != 1)
    return unsupported(u, "scales its result");
  if (!t || t->kind != VK_TENSOR || t->rank < 0)
    return unsupported(u, "has position_ids of unknown rank");
  if (t->rank != 2)
    return unsupported(u, "has an offset for position_ids");
  RawAttr attr[] = {int_attr("interleaved", int_of(u, "interleaved", 0)),
                    int_attr("rotary_embedding_dim", int_of(u, "rotary_embedding_dim", 0)),
                    int_attr("num_heads", int_of(u, "num_heads", 0))};
  const char *const in[] = {in_of(u, 0), in_of(u, 2), in_of(u, 3), in_of(u, 1)};
  return become(u, "RotaryEmbedding", 4, in, attr[2].i ? 3 : 2, attr);
}

/* --- attention --- */

/* MultiHeadAttention: query, key, value, bias, key_padding_mask, attention_bias, past_key, past_value. */
static Status multi_head(Upgrade *u) {
  const Type *q = u->type(u->arg, in_of(u, 0)), *k = u->type(u->arg, in_of(u, 1));
  int64_t heads = int_of(u, "num_heads", 0);
  if (!has(u, 1) || !has(u, 2))
    return unsupported(u, "has its query, key and value in one input");
  if (!q || !k || q->rank < 0 || k->rank < 0)
    return unsupported(u, "has inputs of unknown rank");
  if (q->kind != VK_TENSOR || q->rank != 3 || k->kind != VK_TENSOR || k->rank != 3)
    return unsupported(u, "has inputs of other ranks than 3");
  if (has(u, 3))
    return unsupported(u, "has a bias");
  if (has(u, 4))
    return unsupported(u, "has a key_padding_mask");
  TRY(refuse_inputs(u, 8, "has a cache of its own"));
  TRY(refuse_output(u, 3, "with its scores as an output"));
  if (int_of(u, "unidirectional", 0) && has(u, 6))
    return unsupported(u, "is causal and has a past");
  float scale = float_of(u, "scale", 0);
  RawAttr attr[] = {int_attr("q_num_heads", heads), int_attr("kv_num_heads", heads),
                    int_attr("is_causal", int_of(u, "unidirectional", 0)), float_attr("scale", scale)};
  const char *const in[] = {in_of(u, 0), in_of(u, 1), in_of(u, 2), in_of(u, 5), in_of(u, 6), in_of(u, 7)};
  uint32_t nin = has(u, 6) || has(u, 7) ? 6 : has(u, 5) ? 4 : 3, nout = u->n.nout;
  const char *const *out = u->n.out;
  TRY(become(u, "Attention", nin, in, scale != 0 ? 4 : 3, attr));
  u->n.out = out, u->n.nout = nout;
  return ST_OK;
}

/* --- the table --- */

static const struct {
  const char *op;
  Status (*step)(Upgrade *u);
} rows[] = {
    {"BiasGelu", gelu},
    {"DequantizeLinear", same_name},
    {"FastGelu", gelu},
    {"FusedMatMul", fused_matmul},
    {"Gelu", gelu},
    {"MultiHeadAttention", multi_head},
    {"QuantizeLinear", same_name},
    {"QuickGelu", quick_gelu},
    {"RotaryEmbedding", rotary},
    {"SimplifiedLayerNormalization", simplified_norm}, /* which its tools write without a domain, too */
    {"SkipLayerNormalization", skip_norm},
    {"SkipSimplifiedLayerNormalization", skip_norm},
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
