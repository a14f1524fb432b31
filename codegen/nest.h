/* schedule.h - the shape of a loop nest: axes that always go together become one, rows run in parallel, the last axis in
 * lanes; what a kernel costs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_SCHEDULE_H
#define SARD_CODEGEN_SCHEDULE_H

#include "ir/kernel.h"

/* Merges axes and marks the outermost loop as parallel. Buffers keep their elements but may change their axes. */
void schedule_loops(Ctx *c, Kernel *k);
/* Drops input buffers that nothing loads. kept[i]: the former index of input i. Returns how many are left. */
uint32_t schedule_prune(Kernel *k, uint32_t *kept);
/* Bit i: the kernel reads input i at the element it writes, and nowhere else. */
uint32_t schedule_in_place(const Kernel *k);
/* The extent of the outermost parallel loop, or 1. */
Dim schedule_parts(Ctx *c, const Kernel *k);
void schedule_cost(Ctx *c, const Kernel *k, Dim *flops, Dim *bytes);

#endif
