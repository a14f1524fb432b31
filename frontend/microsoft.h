/* microsoft.h - operators of com.microsoft as nodes of ai.onnx, while they are imported.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_FRONTEND_MICROSOFT_H
#define SARD_FRONTEND_MICROSOFT_H

#include "frontend/upgrade.h"

/* False: a node of this operator is one of its own row in ops.def, or not known. */
bool microsoft_wanted(const char *domain, const char *op);
const char *microsoft_operator(uint32_t i); /* those that become nodes of ai.onnx; NULL: there are no more */
/* Turns u->n into nodes of ai.onnx. ST_UNSUPPORTED: this form of it has no equivalent. */
Status microsoft_node(Upgrade *u);

/* --- microsoft_attention.c --- */
Status microsoft_attention(Upgrade *u);
Status microsoft_decoder_heads(Upgrade *u);
Status microsoft_group_query(Upgrade *u);
Status microsoft_multi_head(Upgrade *u);

/* An attention whose query, key and value are one product, to which a bias has been added. */
typedef struct ProjectedAttention {
  const char *qkv, *like;    /* like: of the type of masks */
  uint32_t mask, past, bias; /* inputs: mask_index, past, what is added to scores */
} ProjectedAttention;

Status microsoft_projected(Upgrade *u, const ProjectedAttention *p);

/* --- microsoft_images.c --- */
Status microsoft_conv(Upgrade *u);
Status microsoft_max_pool(Upgrade *u);
Status microsoft_group_norm(Upgrade *u);

/* --- microsoft_positions.c --- */
Status microsoft_rotary(Upgrade *u);
Status microsoft_sections_rotary(Upgrade *u);
Status microsoft_gated_bias(Upgrade *u);

/* --- microsoft_products.c --- */
Status microsoft_matmul(Upgrade *u);
Status microsoft_gemm(Upgrade *u);
Status microsoft_gemm_gelu(Upgrade *u);
/* act(x) as the last node before, or x; the activation's name and numbers are attributes of the node. */
Status microsoft_activated(Upgrade *u, const char **x);

/* --- microsoft_quantised.c --- */
Status microsoft_dynamic_lstm(Upgrade *u);
Status microsoft_dynamic_product(Upgrade *u);
Status microsoft_integer_to_float(Upgrade *u);
Status microsoft_product_of_16(Upgrade *u);
Status microsoft_qattention(Upgrade *u);
Status microsoft_qgemm(Upgrade *u);
Status microsoft_qlinear_binary(Upgrade *u);
Status microsoft_qlinear_concat(Upgrade *u);
Status microsoft_qlinear_conv(Upgrade *u);
Status microsoft_qlinear_mean(Upgrade *u);
Status microsoft_qlinear_pool(Upgrade *u);
Status microsoft_qlinear_softmax(Upgrade *u);
Status microsoft_qlinear_unary(Upgrade *u);
Status microsoft_qlinear_where(Upgrade *u);

/* --- microsoft_recurrence.c --- */
Status microsoft_causal_conv(Upgrade *u);
Status microsoft_linear_attention(Upgrade *u);
Status microsoft_linear_gate(Upgrade *u);

/* --- microsoft_same.c --- */
Status microsoft_distances(Upgrade *u);
Status microsoft_expand_dims(Upgrade *u);
Status microsoft_gather(Upgrade *u);
Status microsoft_grid_sample(Upgrade *u);
Status microsoft_pad(Upgrade *u);
Status microsoft_range(Upgrade *u);
Status microsoft_same(Upgrade *u);
Status microsoft_unique(Upgrade *u);

#endif
