/* ops.h - operator ids and attribute structs for those who work on graphs. The table itself is ops.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_OPS_H
#define SARD_OPS_OPS_H

#include "ir/graph.h"
#include "ops/eval/attrs.h"
#include "ops/eval/opid.h"

#define ATTR(n, Name) ((const Name##Attr *)(n)->attr) /* ATTR(node, Softmax)->axis */

/* A QuantizeLinear or DequantizeLinear with one scale for all elements: it works element by element. */
bool node_quantises_alike(const Node *n);
/* Does nonpad_kv_seqlen of an Attention say that all `keys` there are count, in every batch entry? */
bool attention_keys_all(const Node *n, Dim keys);

#endif
