/* gpu.h - NVIDIA's GPUs as targets of code: "sm_80" is code for compute capability 8.0; "sm_90a" uses what 9.0 alone has.
 * Capabilities are numbers here: 90 is 9.0.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_GPU_H
#define SARD_SUPPORT_GPU_H

#include <stdbool.h>

int gpu_rank(const char *level); /* among those that there is code generation for, ascending; -1: it is none of them */
const char *gpu_level_names(void); /* all of them, for messages */
/* Does machine code for the target run there? It does on the capabilities of its generation from its own on. */
bool gpu_runs(const char *target, int capability);
/* Can PTX for the target be compiled for it? For all from its own on, but for sm_90a and its like. */
bool gpu_compiles(const char *target, int capability);

#endif
