/* attention.h - attention apart from any compiler: how the work falls into parts, and the scratch it needs.
 *
 * A part is one head of one batch entry and up to `groups` groups of the wide tile's queries, which take turns with each block of
 * keys. Scores are held transposed, a row per key and a lane per query, so that the softmax needs nothing from the neighbouring lane
 * and K is read in place; their unit is log 2, so that weights are powers of 2:
 *
 *     Qt [dk][queries]   scaled queries, packed once per group         S  [keys][queries]  one block of keys at a time
 *     S = K · Qt         rows of K in place, as A of a product         O  [queries][dv] += St · V, V in place
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_ATTENTION_H
#define SARD_CODEGEN_ATTENTION_H

#include "codegen/product.h"

typedef struct AttentionPlan {
  const ProductLevel *level;
  ProductTile wide, narrow;          /* keys by queries of S: many queries, and few */
  ProductTile value;                 /* queries by columns of V of O */
  int64_t keys;                      /* most keys in a block */
  int64_t groups;                    /* most groups of queries in a part */
  int64_t value_panels;              /* panels of V's columns */
  int64_t qt, s, stats, o, v, bytes; /* scratch: where each begins, in bytes, and all of it */
} AttentionPlan;

AttentionPlan attention_plan(const Attention *t, const char *level);
/* Fills in parts, scratch, flops and bytes of a UNIT_ATTENTION. */
void attention_schedule(Ctx *c, Unit *u, const char *level);

#endif
