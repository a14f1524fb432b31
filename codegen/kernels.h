/* kernels.h - what is compiled of a graph: its groups, their machine code, and the weights packed for it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_KERNELS_H
#define SARD_CODEGEN_KERNELS_H

#include "codegen/plan.h"

typedef struct Kernels {
  Groups *groups;
  PlanObject *object;
  uint32_t nobject;
  PlanCode *code;        /* by Groups.kernel */
  const uint8_t *packed; /* groups->packed_size bytes, aligned to 64; NULL when there are none */
} Kernels;

/* Groups the nodes of g (not changed), compiles a kernel per different group on up to `threads` threads, and packs weights. The
 * packed weights are in arena keep, the rest in arena a. level: support/cpu.h. ST_UNSUPPORTED: there is no code generator. */
Status kernels_compile(Ctx *c, Arena *a, Arena *keep, Graph *g, const char *level, unsigned threads, Kernels *out);

/* The kernels of this name, or "all", as text to out. ST_USAGE: there is none; the nearest name is the hint. */
Status kernels_dump(Ctx *c, const Groups *g, const char *name, void (*out)(void *arg, const char *text, size_t n),
                    void *arg);

#endif
