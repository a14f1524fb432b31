/* microsoft.c - operators of com.microsoft in terms of those of ai.onnx, which are compiled and which other passes know.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

static Value *optional(const Node *n, int i) { return i < n->nin ? n->in[i] : NULL; }

/* --- MatMulNBits: a bias becomes a node of its own, groups in their order need no list --- */

static bool in_order(const Tensor *groups, int64_t k, int64_t block) {
  bool same = groups->dtype == DT_i32 && tensor_count(groups) >= k;
  for (int64_t i = 0; same && i < k; i++)
    same = elem_i64(DT_i32, groups->data, i) == i / block;
  return same;
}

static Value *nbits(Match *m) {
  Node *n = m->root;
  const MatMulNBitsAttr *a = ATTR(n, MatMulNBits);
  Value *groups = optional(n, 4), *bias = optional(n, 5);
  bool drop = groups && groups->konst && in_order(groups->konst, a->K, a->block_size);
  if (!drop && !bias)
    return NULL;
  Value *y = EMIT(m, MatMulNBits, a, n->in[0], n->in[1], n->in[2], optional(n, 3), drop ? NULL : groups);
  return bias ? EMIT(m, Add, NULL, y, bias) : y;
}

static const Rule rules[] = {
    {"MatMulNBits", OPERATOR(MatMulNBits), nbits},
};

Status pass_microsoft(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
