/* einsum.h - the equation of Einsum, read once for inference and evaluation.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_EINSUM_H
#define SARD_OPS_EVAL_EINSUM_H

#include "support/tensor.h"

/* Labels: 0..51 for A-Z, a-z (in the order of ASCII); 52 + i for the i-th axis of the ellipsis, counted from its left
 * end in the operand that has most of them. */
enum { EIN_MAX_LABEL = 52 + MAX_RANK, EIN_MAX_IN = 64 };

typedef struct Term {
  int n; /* rank of the operand */
  uint8_t label[MAX_RANK];
} Term;

typedef struct Equation {
  int nin;
  Term in[EIN_MAX_IN], out;
} Equation;

/* Reads text for operands of the given ranks. ST_INVALID with a message that quotes the equation. */
Status einsum_parse(Ctx *c, Str text, int nin, const int *rank, Equation *q);

#endif
