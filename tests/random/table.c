/* table.c - which operators random graphs are made of, how often, by which recipe; and which not, why.
 * Operators that work element by element need no row. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/recipes.h"

typedef struct Row {
  OpId op;
  Recipe *make; /* NULL: not generated, for the reason in why */
  int weight;
  const char *why;
} Row;

static const char containers[] = "sequences and optionals: no numbers are computed";
static const char text[] = "strings", image[] = "decodes files", chance[] = "gives random numbers";
static const char maps[] = "maps and labels", trees[] = "its attributes are a model; tests/op has models of its own";

static const Row rows[] = {
    {OP_ReduceSum, recipe_reduction, 2, 0},
    {OP_ReduceMean, recipe_reduction, 1, 0},
    {OP_ReduceMax, recipe_reduction, 1, 0},
    {OP_ReduceMin, recipe_reduction, 1, 0},
    {OP_ReduceProd, recipe_reduction, 1, 0},
    {OP_ReduceL1, recipe_reduction, 1, 0},
    {OP_ReduceL2, recipe_reduction, 1, 0},
    {OP_ReduceSumSquare, recipe_reduction, 1, 0},
    {OP_ReduceLogSum, recipe_reduction, 1, 0},
    {OP_ReduceLogSumExp, recipe_reduction, 1, 0},
    {OP_Softmax, recipe_by_axis, 3, 0},
    {OP_LogSoftmax, recipe_by_axis, 1, 0},
    {OP_Hardmax, recipe_by_axis, 1, 0},
    {OP_ArgMax, recipe_by_axis, 1, 0},
    {OP_ArgMin, recipe_by_axis, 1, 0},
    {OP_CumSum, recipe_by_axis, 1, 0},
    {OP_CumProd, recipe_by_axis, 1, 0},
    {OP_LpNormalization, recipe_by_axis, 1, 0},
    {OP_MatMul, recipe_product, 6, 0},
    {OP_Gemm, recipe_product, 3, 0},
    {OP_Einsum, recipe_einsum, 2, 0},
    {OP_Det, recipe_det, 1, 0},
    {OP_Identity, recipe_reshaping, 1, 0},
    {OP_Reshape, recipe_reshaping, 2, 0},
    {OP_Reshape, recipe_shapes, 1, 0},
    {OP_Flatten, recipe_reshaping, 1, 0},
    {OP_Squeeze, recipe_reshaping, 1, 0},
    {OP_Unsqueeze, recipe_reshaping, 1, 0},
    {OP_Transpose, recipe_reshaping, 3, 0},
    {OP_Expand, recipe_reshaping, 1, 0},
    {OP_Expand, recipe_shapes, 1, 0},
    {OP_Tile, recipe_reshaping, 1, 0},
    {OP_BitCast, recipe_reshaping, 1, 0},
    {OP_Slice, recipe_cutting, 3, 0},
    {OP_Split, recipe_cutting, 1, 0},
    {OP_Concat, recipe_cutting, 3, 0},
    {OP_Pad, recipe_cutting, 1, 0},
    {OP_Trilu, recipe_cutting, 1, 0},
    {OP_DepthToSpace, recipe_cutting, 1, 0},
    {OP_SpaceToDepth, recipe_cutting, 1, 0},
    {OP_CenterCropPad, recipe_crop, 1, 0},
    {OP_ReverseSequence, recipe_reverse, 1, 0},
    {OP_TensorScatter, recipe_tensor_scatter, 1, 0},
    {OP_Gather, recipe_indexing, 2, 0},
    {OP_GatherElements, recipe_indexing, 1, 0},
    {OP_GatherND, recipe_indexing, 1, 0},
    {OP_ScatterElements, recipe_indexing, 1, 0},
    {OP_ScatterND, recipe_indexing, 1, 0},
    {OP_OneHot, recipe_indexing, 1, 0},
    {OP_TopK, recipe_indexing, 1, 0},
    {OP_NonZero, recipe_indexing, 1, 0},
    {OP_Compress, recipe_indexing, 1, 0},
    {OP_Unique, recipe_unique, 1, 0},
    {OP_Shape, recipe_shapes, 1, 0},
    {OP_Size, recipe_shapes, 1, 0},
    {OP_ConstantOfShape, recipe_shapes, 1, 0},
    {OP_Range, recipe_shapes, 1, 0},
    {OP_EyeLike, recipe_shapes, 1, 0},
    {OP_LayerNormalization, recipe_normalising, 3, 0},
    {OP_RMSNormalization, recipe_normalising, 1, 0},
    {OP_BatchNormalization, recipe_normalising, 1, 0},
    {OP_InstanceNormalization, recipe_normalising, 1, 0},
    {OP_GroupNormalization, recipe_normalising, 1, 0},
    {OP_MeanVarianceNormalization, recipe_normalising, 1, 0},
    {OP_LRN, recipe_normalising, 1, 0},
    {OP_Conv, recipe_conv, 4, 0},
    {OP_ConvTranspose, recipe_conv_transpose, 1, 0},
    {OP_DeformConv, recipe_deform_conv, 1, 0},
    {OP_MaxPool, recipe_pool, 1, 0},
    {OP_AveragePool, recipe_pool, 1, 0},
    {OP_LpPool, recipe_pool, 1, 0},
    {OP_GlobalAveragePool, recipe_global_pool, 1, 0},
    {OP_GlobalMaxPool, recipe_global_pool, 1, 0},
    {OP_GlobalLpPool, recipe_global_pool, 1, 0},
    {OP_MaxUnpool, recipe_unpool, 1, 0},
    {OP_MaxRoiPool, recipe_regions, 1, 0},
    {OP_RoiAlign, recipe_regions, 1, 0},
    {OP_NonMaxSuppression, recipe_nms, 1, 0},
    {OP_Resize, recipe_resize, 2, 0},
    {OP_GridSample, recipe_grid_sample, 1, 0},
    {OP_AffineGrid, recipe_affine_grid, 1, 0},
    {OP_Col2Im, recipe_col2im, 1, 0},
    {OP_Dropout, recipe_dropout, 1, 0},
    {OP_LSTM, recipe_recurrent, 1, 0},
    {OP_GRU, recipe_recurrent, 1, 0},
    {OP_RNN, recipe_recurrent, 1, 0},
    {OP_Attention, recipe_attention, 2, 0},
    {OP_RotaryEmbedding, recipe_rotary, 1, 0},
    {OP_LinearAttention, recipe_linear_attention, 1, 0},
    {OP_CausalConvWithState, recipe_causal_conv, 1, 0},
    {OP_QuantizeLinear, recipe_quantize, 2, 0},
    {OP_DequantizeLinear, recipe_dequantize, 2, 0},
    {OP_DynamicQuantizeLinear, recipe_dynamic_quantize, 1, 0},
    {OP_MatMulInteger, recipe_matmul_integer, 1, 0},
    {OP_QLinearMatMul, recipe_matmul_integer, 1, 0},
    {OP_ConvInteger, recipe_conv_integer, 1, 0},
    {OP_QLinearConv, recipe_conv_integer, 1, 0},
    {OP_DFT, recipe_transform, 1, 0},
    {OP_STFT, recipe_transform, 1, 0},
    {OP_HannWindow, recipe_window, 1, 0},
    {OP_HammingWindow, recipe_window, 1, 0},
    {OP_BlackmanWindow, recipe_window, 1, 0},
    {OP_MelWeightMatrix, recipe_mel, 1, 0},
    {OP_NegativeLogLikelihoodLoss, recipe_loss, 1, 0},
    {OP_SoftmaxCrossEntropyLoss, recipe_loss, 1, 0},
    {OP_Adagrad, recipe_optimizer, 1, 0},
    {OP_Adam, recipe_optimizer, 1, 0},
    {OP_Momentum, recipe_optimizer, 1, 0},
    {OP_Scaler, recipe_feature, 1, 0},
    {OP_Normalizer, recipe_feature, 1, 0},
    {OP_Imputer, recipe_feature, 1, 0},
    {OP_LinearRegressor, recipe_feature, 1, 0},
    {OP_FeatureVectorizer, recipe_feature, 1, 0},
    {OP_ArrayFeatureExtractor, recipe_feature, 1, 0},
    {OP_OneHotEncoder, recipe_feature, 1, 0},
    {OP_If, recipe_if, 2, 0},
    {OP_Loop, recipe_loop, 2, 0},
    {OP_Scan, recipe_scan, 2, 0},
    /* not generated */
    {OP_SequenceConstruct, .why = containers},
    {OP_SequenceEmpty, .why = containers},
    {OP_SequenceAt, .why = containers},
    {OP_SequenceInsert, .why = containers},
    {OP_SequenceErase, .why = containers},
    {OP_SequenceLength, .why = containers},
    {OP_SplitToSequence, .why = containers},
    {OP_ConcatFromSequence, .why = containers},
    {OP_Optional, .why = containers},
    {OP_OptionalHasElement, .why = containers},
    {OP_OptionalGetElement, .why = containers},
    {OP_StringConcat, .why = text},
    {OP_StringSplit, .why = text},
    {OP_StringNormalizer, .why = text},
    {OP_RegexFullMatch, .why = text},
    {OP_TfIdfVectorizer, .why = text},
    {OP_ImageDecoder, .why = image},
    {OP_Bernoulli, .why = chance},
    {OP_Multinomial, .why = chance},
    {OP_RandomNormal, .why = chance},
    {OP_RandomNormalLike, .why = chance},
    {OP_RandomUniform, .why = chance},
    {OP_RandomUniformLike, .why = chance},
    {OP_CastMap, .why = maps},
    {OP_CategoryMapper, .why = maps},
    {OP_DictVectorizer, .why = maps},
    {OP_LabelEncoder, .why = maps},
    {OP_ZipMap, .why = maps},
    {OP_LinearClassifier, .why = trees},
    {OP_SVMClassifier, .why = trees},
    {OP_SVMRegressor, .why = trees},
    {OP_TreeEnsemble, .why = trees},
    {OP_TreeEnsembleClassifier, .why = trees},
    {OP_TreeEnsembleRegressor, .why = trees},
    {OP_Trees, .why = "made by passes only, from trees"},
    {OP_Dims, .why = "made by passes only; it holds expressions of shapes"},
    {OP_Parts, .why = "made by passes only, for complex numbers"},
    {OP_Complex, .why = "made by passes only, for complex numbers"},
    {OP_ByAxis, .why = "made by passes only"},
    {OP_ResizeTo, .why = "made by passes only, from Resize"},
    {OP_ScaledSizes, .why = "made by passes only"},
    {OP_MatMulNBits, .why = "not of ai.onnx: tests/op/microsoft.txt"},
    {OP_Suppress, .why = "made by passes only, from NonMaxSuppression"},
    {OP_SinkAttention, .why = "made by the importer only, from GroupQueryAttention"},
    {OP_RowOrder, .why = "made by passes only, from Unique"},
    {OP_Gradient, .why = "a pass turns it into what it differentiates: tests/runtime/gradient.txt"},
};

enum { ELEMENTWISE_WEIGHT = 40 };

static const Row *row_of(OpId op) {
  for (size_t i = 0; i < countof(rows); i++)
    if (rows[i].op == op)
      return &rows[i];
  return NULL;
}

static bool by_element(OpId op) {
  return (op_info(op)->flags & OPF_ELEMENTWISE) && !(op_info(op)->flags & OPF_CONTROL) && !row_of(op);
}

bool is_generated(OpId op, const char **why) {
  const Row *row = row_of(op);
  *why = row ? row->why : NULL;
  return row ? row->make != NULL : by_element(op);
}

OpId favourite_of(uint64_t seed) {
  OpId op = (OpId)(1 + seed % (op_count() - 1u));
  const char *why;
  while (!is_generated(op, &why))
    op = op + 1 < op_count() ? op + 1 : 1;
  return op;
}

static bool by_recipe(Gen *g, Recipe *recipe, OpId op) {
  Make m = {.op = op};
  return recipe(g, &m) && (m.done || gen_add(g, &m));
}

static bool any_by_element(Gen *g) {
  OpId op;
  do
    op = (OpId)(1 + rng_below(&g->r, op_count() - 1));
  while (!by_element(op));
  return by_recipe(g, recipe_elementwise, op);
}

bool gen_node(Gen *g) {
  int sum = 0;
  for (size_t i = 0; i < countof(rows); i++)
    sum += rows[i].weight;
  if (g->npool + 8 > MAX_POOL)
    return false;
  if (g->favourite && rng_chance(&g->r, 25))
    return by_recipe(g, by_element(g->favourite) ? recipe_elementwise : row_of(g->favourite)->make, g->favourite);
  if (rng_chance(&g->r, ELEMENTWISE_WEIGHT))
    return any_by_element(g);
  int64_t k = rng_below(&g->r, sum);
  for (size_t i = 0; i < countof(rows); i++)
    if ((k -= rows[i].weight) < 0)
      return by_recipe(g, rows[i].make, rows[i].op);
  return false;
}
