/* laws.h - what operators that draw random numbers may give: values that can occur, as often as their probabilities say.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_LAWS_H
#define SARD_TOOLS_LAWS_H

#include "frontend/decode.h"

enum { LAW_MAX_OUTPUTS = 2 };

/* One execution of a node: its outputs by position; NULL: not wanted. */
typedef struct Draw {
  const Tensor *out[LAW_MAX_OUTPUTS];
} Draw;

/* How many outputs a node can have that draws random numbers: Bernoulli, Multinomial, RandomNormal, RandomUniform, their Like
 * forms, and Dropout that is told whether it trains. 0: it draws none. */
int law_outputs(const RawNode *n);
/* Whether draws of a node, made with different seeds, are of shape and type as the first is, hold values that may occur, agree
 * with each other in their outputs, are not all the same, and have every value as often as is likely: a right node fails
 * less than once in 10^9. in: its inputs by position, NULL: absent. NULL when so, else why not, in arena a. *seen: in words,
 * what there was. */
const char *law_broken(Arena *a, const RawNode *n, const Tensor *const *in, const Draw *draw, int ndraw,
                       const char **seen);

#endif
