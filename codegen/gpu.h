/* gpu.h - loop kernels on GPUs: what each thread does.
 *
 *   for i, j, k: nested, no loop inside           -> for part in i*j*k grid(1): a thread per element, or per 16 bytes of a row
 *   for i, j { statistics over k }                -> for part in i*j grid { for k block(4) … }: a block of threads per row
 *   anything that must run in order               -> one block, whose threads share the loops that may be shared
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_GPU_H
#define SARD_CODEGEN_GPU_H

#include "codegen/unit.h"

enum { GPU_VECTOR_BYTES = 16 };

/* The targets: "sm_80", "sm_90", "sm_90a". Code for one runs on later GPUs, but for sm_90a. */
bool gpu_level(const char *level);
/* Schedules the serial loops of u->kernel, and fills in parts (iterations of the grid's loop), threads, scratch (per block),
 * flops and bytes. */
void gpu_schedule(Ctx *c, Unit *u);
/* Do threads meet in memory: is something loaded that was stored, or stored at two places of the code? */
bool gpu_meets(const Kernel *k);

#endif
