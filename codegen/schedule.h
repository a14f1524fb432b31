/* schedule.h - how the loops of a kernel run on a CPU: the outermost ones in parallel, the innermost over vector lanes;
 * and the counts that the cost model and the reports need.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_SCHEDULE_H
#define SARD_CODEGEN_SCHEDULE_H

#include "codegen/unit.h"

/* Schedules the serial loops of u->kernel (UNIT_LOOP) for a CPU level (support/cpu.h), then counts: perfectly nested outer
 * loops become one parallel loop, the innermost loops become vector loops. Loops that have a schedule keep it. */
void unit_schedule(Ctx *c, Unit *u, const char *cpu_level);
/* Fills in parts, scratch, flops and bytes of a loop unit as it is scheduled now. */
void unit_count(Ctx *c, Unit *u);

#endif
