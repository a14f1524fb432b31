/* describe.h - units for people: how a unit's work is cut, whether it computes anything, and the whole of it as text.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_DESCRIBE_H
#define SARD_CODEGEN_DESCRIBE_H

#include "codegen/unit.h"

/* "8x48" for a product, "64 queries x 128 keys" for an attention, "parallel, 16 lanes" for loops; "" for none. In arena a. */
const char *unit_tile(Arena *a, const Unit *u, const char *cpu_level);
/* Does it only move elements from its inputs to its outputs? */
bool unit_copies(const Unit *u);
/* Its kernel IR with the schedule, or the fields of a product or an attention, the kernel IR of its epilogue behind them. */
void unit_print(Ctx *c, StrBuf *b, const Unit *u, const char *cpu_level);

#endif
