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

/* --- what schedules for CPUs and GPUs (codegen/gpu.h) share --- */
bool schedule_has(const KStmt *s, KStmtKind kind);
/* Accesses of the list that are contiguous along v less those that jump. */
int schedule_score(const KStmt *s, const KVar *v);
/* Is memory rather contiguous along f than along the loops inside of it, or are those short? */
bool schedule_lanes_outside(const KStmt *f);
/* The loops nested in f one in another with nothing beside them, f included: at most cap. */
int schedule_nest(KStmt *f, KStmt **nest, int cap);
/* nest[0] becomes the loop over all n of them. */
void schedule_collapse(Ctx *c, Kernel *k, KStmt **nest, int n);
/* The one loop of the list, which has only definitions beside it; NULL: there is no such loop. */
KStmt *schedule_only_loop(KStmt *first);

#endif
