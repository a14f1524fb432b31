/* constants.h - small constants, moved out of the model's files.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_CONSTANTS_H
#define SARD_CODEGEN_CONSTANTS_H

#include "codegen/plan.h"

/* Copies constants of g and its bodies that are smaller than 64 KB and lie in one of the n files to the graph's arena, so that a
 * program has them in its image: biases lie between large weights, and reading a byte of a mapped file brings in as much as the
 * system cached at once, up to 2 MB (Linux 6.18). */
void constants_copy(Graph *g, const PlanFile *file, uint32_t n);

#endif
