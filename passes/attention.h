/* attention.h - what the two files of the pass `attention` share: an attention as it is found, and finding it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_PASSES_ATTENTION_H
#define SARD_PASSES_ATTENTION_H

#include "passes/rewrite.h"

enum { MAX_MASKS = 4 };

/* What stands behind an input of the attention: transpose(v, perm) * scale. */
typedef struct Operand {
  Value *v;
  int64_t perm[4];
  double scale;
} Operand;

/* An attention: softmax(scale * q k' + masks) v of heads. */
typedef struct Heads {
  Operand q, k, v;
  Value *mask[MAX_MASKS];    /* their sum, as it was added up from the last */
  Value *windows[MAX_MASKS]; /* a mask of five dimensions: the scores it is added to; else NULL */
  double factor[MAX_MASKS];  /* of each on its way: -1 where it is subtracted, the scale where it is in front of that */
  int nmask;
  Value *cond; /* scores are `low` where it is true, or (keeps) where it is false; NULL: nowhere */
  bool keeps;
  double low;
  double scale; /* of the scores, besides the operands' own */
  bool guarded;
  Value *open;               /* a mask whose rows of nothing but -inf are guarded, or NULL */
  const AttentionAttr *attr; /* of a node that is an Attention already, or NULL */
  bool repeated;             /* K and V lost a repetition */
} Heads;

/* x, when v is x times (or divided by) a constant scalar of the same shape; *scale is multiplied by it. */
Value *attention_unscaled(const Value *v, double *scale);
/* Along an axis of [batch, heads, rows, size], behind the transposition. */
Dim attention_extent(const Operand *o, int axis);
/* Is n, a product with V or an Attention, one of heads that a single node can compute? Everything it is made of is told to m. */
bool attention_match(Match *m, Node *n, Heads *h);

#endif
