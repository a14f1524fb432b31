/* packing.h - the constant operands of products, packed by threads of their own while the code is compiled.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_PACKING_H
#define SARD_CODEGEN_PACKING_H

#include "codegen/plan.h"

typedef struct Packing Packing;

/* Starts packing what groups says, on up to `threads` threads, into memory that belongs to the context of arena keep. Pages of
 * the n files, which are mapped, are given back once what lies in them is packed. Registered with c until packing_end. *out
 * NULL: nothing is to be packed. */
Status packing_begin(Ctx *c, Arena *keep, const Groups *groups, const PlanFile *file, uint32_t n, unsigned threads,
                     Packing **out);
/* Helps, waits, and gives the packed memory: groups->packed_size bytes aligned to 64. p may be NULL. */
Status packing_end(Ctx *c, Packing *p, const uint8_t **memory);

#endif
