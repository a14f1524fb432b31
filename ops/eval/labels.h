/* labels.h - the table of a LabelEncoder, however its attributes state it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_LABELS_H
#define SARD_OPS_EVAL_LABELS_H

#include "ops/eval/eval.h"

typedef struct LabelTable {
  const Tensor *keys, *values; /* rank 1, equally long */
  const Tensor *other;         /* one element: what all that is no key becomes */
} LabelTable;

/* NULL, or what is wrong with the attributes. Lists are borrowed. */
const char *label_table(Arena *a, const LabelEncoderAttr *at, LabelTable *t);

#endif
