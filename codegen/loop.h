/* loop.h - one loop kernel for a set of nodes: asks the last for its elements, follows their inputs inside of the set, loads the rest.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LOOP_H
#define SARD_CODEGEN_LOOP_H

#include "ops/lower.h"

enum { LOOP_BUFFERS = 32, LOOP_NODES = 64 };

/* How the axes of a product's result are those of the product: group i, of m and n or of batch, m and n, is axes at[i] to
 * at[i + 1] - 1. */
typedef struct LoopAxes {
  int8_t n, at[4];
} LoopAxes;

typedef struct LoopSpec {
  const char *name;
  Node *const *node; /* the set; the last node is the root */
  uint32_t nnode;
  Node *core;        /* the ROW node among them, or NULL */
  Value *const *out; /* what is to be stored */
  uint32_t nout;
  Value *acc;    /* epilogue of a product: its result, input 0, not in the set; NULL otherwise */
  LoopAxes axes; /* epilogue */
} LoopSpec;

typedef struct Loop {
  Kernel *kernel;
  Value **in; /* by input of the kernel */
  uint32_t nin;
} Loop;

Status loop_build(Ctx *c, Arena *a, const LoopSpec *s, Loop *out);

/* Can an operand of type t be read in the epilogue of a product whose result has type `out`? */
bool loop_epilogue_operand(const Type *out, const Type *t, const LoopAxes *axes);

#endif
