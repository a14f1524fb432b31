/* memory.h - benchmark of the operators that memory bounds.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_BENCH_MEMORY_H
#define SARD_BENCH_MEMORY_H

#include "tests/kernel/jit.h"

/* Prints a line for each; only NULL: all, else those with that in their name. */
void bench_memory(Jit *jit, const char *only);

#endif
