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
  LVal table; /* function, when A is read through one (rows.c) */
  LType table_type;
} Gen;

static inline int64_t k_unit(const Gen *g) { return product_k_unit(g->p); }

static inline int lanes(const Gen *g) { return g->plan.level->lanes; }

static inline const char *sub_name(const Gen *g, const char *what, int i) {
  return arena_printf(g->e->a, "%s.%s%d", g->name, what, i);
}

/* int epilogue(args, sums, batch, row0, rows, col0, cols): sums of `rows` rows, plan.nr apart, to the output. */
Status make_epilogue(Gen *g);
void call_epilogue(Gen *g, LVal sums, LVal batch, LVal row0, LVal rows, LVal col0, LVal cols);

/* --- depthwise.c, channelwise.c --- */
Status depthwise_body(Gen *g); /* the function's body; the epilogue is made */
Status channelwise_body(Gen *g);

/* --- rows.c --- */
/* Makes i64 table(args, x, row0, tap0, taps, b, zero, table): for each tap from tap0 on that some row from row0 on finds inside
 * of the input, an entry: where B goes on, b being that of tap0, and the address of every row's channels, or of zeros. */
Status make_table(Gen *g);
LVal call_table(Gen *g, LVal x, LVal row0, LVal tap0, LVal taps, LVal b);
/* Where its entries are; and a row of zeros, which clear_zeros writes. */
LVal table_address(Gen *g);
LVal zeros_address(Gen *g);
void clear_zeros(Gen *g);

#endif
