/* growing.h - extents that grow from run to run, as a decoder's cache does: kernels for GPUs read them from memory, so that one CUDA
 * graph serves many of them (runtime/grow.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_GROWING_H
#define SARD_CODEGEN_GROWING_H

#include "codegen/group.h"

/* Finds g's growing symbols, says in the units of its groups which of their dims hang on them, and numbers the kernels anew. */
void growing_mark(Arena *a, const Graph *g, Groups *groups);

#endif
