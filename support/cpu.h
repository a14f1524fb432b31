/* cpu.h - what this CPU can run, as levels of which each includes the ones before.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_CPU_H
#define SARD_SUPPORT_CPU_H

#include <stdbool.h>

/* "x86-64", "x86-64-v3" (AVX2, FMA, F16C), "x86-64-v4" (AVX-512 F BW CD DQ VL), "x86-64-v4-vnni-bf16"; the highest that this
 * CPU and its operating system support. */
const char *cpu_level(void);
bool cpu_runs(const char *level);       /* is code for that level safe here? */
int cpu_vector_bits(const char *level); /* 0: no such level */
int cpu_rank(const char *level);        /* a higher one includes the lower ones; -1: no such level */
const char *cpu_level_names(void);      /* all of them, for messages */

#endif
