/* product.h - the state of emitting one matrix product, shared by product.c and depthwise.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_PRODUCT_H
#define SARD_CODEGEN_LLVM_PRODUCT_H

#include "codegen/llvm/tile.h"
#include "codegen/product.h"

typedef struct Gen {
  Emitter *e;
  const Unit *u;
  const Product *p;
  ProductPlan plan;
  const char *name;
  const Dim *dim;
  uint32_t ndim;
  TileSet tiles, tail; /* tail: of the last panel, when the plan has one */
  LVal epilogue, pack; /* functions */
  LType epilogue_type, pack_type;
  EmitArgs args;
  LVal batch, m, n, k;
  LVal plane; /* elements of a channel of the input, when B is read through a window */
} Gen;

static inline int64_t taps(const Gen *g) { return g->p->window ? g->p->window->taps : 1; }

static inline int lanes(const Gen *g) { return g->plan.level->lanes; }

static inline const char *sub_name(const Gen *g, const char *what, int i) {
  return arena_printf(g->e->a, "%s.%s%d", g->name, what, i);
}

/* int epilogue(args, sums, batch, row0, rows, col0, cols): sums of `rows` rows, plan.nr apart, to the output. */
Status make_epilogue(Gen *g);
void call_epilogue(Gen *g, LVal sums, LVal batch, LVal row0, LVal rows, LVal col0, LVal cols);

/* --- depthwise.c --- */
Status depthwise_body(Gen *g); /* the function's body; the epilogue is made */

#endif
