/* gradient_rules.c - which operator has which derivative.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

static const BackFn rules[] = {
    /* element by element; functions of one number: gradient_elements.c has their slopes */
    [OP_Add] = back_add,
    [OP_Sub] = back_sub,
    [OP_Mul] = back_mul,
    [OP_Div] = back_div,
    [OP_Pow] = back_pow,
    [OP_PRelu] = back_prelu,
    [OP_Max] = back_extreme,
    [OP_Min] = back_extreme,
    [OP_Sum] = back_sum,
    [OP_Mean] = back_sum,
    [OP_Where] = back_where,
    [OP_Clip] = back_clip,
    [OP_Cast] = back_cast,
    [OP_CastLike] = back_cast,
    [OP_Identity] = back_reshape,
    [OP_Ceil] = back_none,
    [OP_Floor] = back_none,
    [OP_Round] = back_none,
    [OP_Sign] = back_none,
    [OP_Dropout] = back_dropout,
    /* movement */
    [OP_Reshape] = back_reshape,
    [OP_Flatten] = back_reshape,
    [OP_Squeeze] = back_reshape,
    [OP_Unsqueeze] = back_reshape,
    [OP_Transpose] = back_transpose,
    [OP_Concat] = back_concat,
    [OP_Split] = back_split,
    [OP_Expand] = back_expand,
    [OP_Pad] = back_pad,
    [OP_Trilu] = back_trilu,
    [OP_Slice] = back_pick,
    [OP_Gather] = back_pick,
    [OP_GatherElements] = back_pick,
    [OP_GatherND] = back_pick,
    [OP_Tile] = back_pick,
    [OP_DepthToSpace] = back_pick,
    [OP_SpaceToDepth] = back_pick,
    [OP_ReverseSequence] = back_pick,
    [OP_Compress] = back_pick,
    [OP_ScatterElements] = back_scatter_elements,
    [OP_ScatterND] = back_scatter_nd,
    [OP_TopK] = back_top_k,
    [OP_MaxPool] = back_max_pool,
    /* sums */
    [OP_ReduceSum] = back_reduce_sum,
    [OP_ReduceMean] = back_reduce_mean,
    [OP_ReduceMax] = back_reduce_extreme,
    [OP_ReduceMin] = back_reduce_extreme,
    [OP_ReduceProd] = back_reduce_prod,
    [OP_ReduceL1] = back_reduce_l1,
    [OP_ReduceL2] = back_reduce_l2,
    [OP_ReduceSumSquare] = back_reduce_square,
    [OP_ReduceLogSum] = back_reduce_log_sum,
    [OP_ReduceLogSumExp] = back_reduce_log_sum_exp,
    [OP_CumSum] = back_cumsum,
    [OP_Softmax] = back_softmax,
    [OP_LogSoftmax] = back_log_softmax,
    [OP_GlobalAveragePool] = back_global_average,
    [OP_NegativeLogLikelihoodLoss] = back_nll_loss,
    /* bodies */
    [OP_If] = back_if,
    [OP_Loop] = back_trips,
    [OP_Scan] = back_trips,
    /* products, windows, norms */
    [OP_MatMul] = back_matmul,
    [OP_Gemm] = back_gemm,
    [OP_Einsum] = back_einsum,
    [OP_Attention] = back_attention,
    [OP_Conv] = back_conv,
    [OP_ConvTranspose] = back_conv_transpose,
    [OP_AveragePool] = back_average_pool,
    [OP_LayerNormalization] = back_layer_norm,
    [OP_RMSNormalization] = back_rms_norm,
    [OP_BatchNormalization] = back_batch_norm,
};

BackFn gradient_rule(OpId op) {
  if (op < countof(rules) && rules[op])
    return rules[op];
  return has_slope(op) ? back_unary : NULL;
}
