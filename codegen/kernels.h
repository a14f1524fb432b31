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

typedef struct KernelsInput {
  const char *level;           /* support/cpu.h */
  const struct Tuning *tuning; /* of this CPU (codegen/tuning.h); NULL: none */
  unsigned threads;
  bool allow_reference;   /* steps that nothing compiles are no error */
  unsigned objects;       /* that code is spread over; 0: as many as threads */
  const PlanFile *mapped; /* files that weights lie in: pages that are packed are given back */
  uint32_t nmapped;
  /* GPUs: as in EmitTarget. */
  Status (*assemble)(Ctx *c, Arena *a, const char *gpu, const char *ptx, const uint8_t **code, size_t *size);
  const char *gpu;
  bool keep_ptx; /* beside machine code: it runs on GPUs that come later */
} KernelsInput;

/* Groups the nodes of g (not changed), compiles a kernel per different group, and packs weights beside that. The packed
 * weights go with arena keep, the rest is in arena a. ST_UNSUPPORTED: there is no code generator, or, with the node, its types and the reason, none for one
 * of the steps. */
Status kernels_compile(Ctx *c, Arena *a, Arena *keep, Graph *g, const KernelsInput *in, Kernels *out);

/* The kernels of this name, or "all", as text to out. ST_USAGE: there is none; the nearest name is the hint. */
Status kernels_dump(Ctx *c, const Groups *g, const char *name, void (*out)(void *arg, const char *text, size_t n),
                    void *arg);

#endif
