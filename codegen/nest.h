/* nest.h - the loop nest of a kernel as grouping makes it: axes that always go together become one; what it reads and how.
 * How the loops run is decided later (codegen/schedule.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_NEST_H
#define SARD_CODEGEN_NEST_H

#include "ir/kernel.h"

/* Merges loops and drops axes of extent 1. Buffers keep their elements but may change their axes. */
void nest_merge(Ctx *c, Kernel *k);
/* Drops input buffers that nothing loads. kept[i]: the former index of input i. Returns how many are left. */
uint32_t nest_prune(Kernel *k, uint32_t *kept);
/* Bit i: the kernel reads input i at the element it writes, and nowhere else. */
uint32_t nest_in_place(const Kernel *k);

#endif
