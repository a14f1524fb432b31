/* product.h - the state of emitting one matrix product, shared by the files that emit parts of it.
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
  TileSet streamed;    /* tiles of so few rows that B is read once, when M is not known; high 0: as others are */
  LVal epilogue, pack; /* functions */
  LType epilogue_type, pack_type;
  EmitArgs args;
  LVal batch, m, n, k;
  const TileFinish *finish; /* of the kernels; NULL: an epilogue is called */
  TileSet exact;            /* of rows that are not halved (halved.c) */
  LVal halved_row;          /* bytes of such a row, in functions that products of a module share; NULL: plan.halved */
  TileSet beside;           /* kernels for tiles whose rows are of one line (rows.c); high 0: none */
  TileSet few;              /* kernels that read B of few bits as it is packed; high 0: none */
  bool unpacks;             /* blocks of B of 16 bits are made f32 first */
  LVal plane;               /* elements of a channel of the input, when B is read through a window */
  LVal width;               /* positions of a line of the output, when A is */
  LVal table, line;         /* functions, when A is read through one (rows.c) */
  LType table_type, line_type;
  struct Gather *gather; /* when A is of integers and read through a window (integer.c) */
  /* Of the parts: how many blocks there are; rows of a tile, and how many tiles have one more; i1: plan.rows_outer. */
  LVal row_blocks, col_blocks, base, extra, rows_outer;
} Gen;

static inline int64_t k_unit(const Gen *g) { return product_k_unit(g->p); }

static inline int lanes(const Gen *g) { return g->plan.level->lanes; }

static inline const char *sub_name(const Gen *g, const char *what, int i) {
  return arena_printf(g->e->a, "%s.%s%d", g->name, what, i);
}

/* --- epilogue.c --- */
/* The epilogue's expressions inside of a function that has these arguments: one vector of sums, of a row from column col on, to the
 * output. mask: lanes that exist, or NULL. */
typedef struct Epilogue Epilogue;
Status epilogue_open(Gen *g, const EmitArgs *args, Epilogue **x);
bool epilogue_is_cheap(const Gen *g); /* so few operations that they may stand in a function many times */
Status epilogue_store(Epilogue *x, LVal batch, LVal row, LVal col, LVal sum, LVal mask);

/* int epilogue(args, sums, batch, row0, rows, col0, cols, m, n): sums of `rows` rows, plan.nr apart, to the output. */
Status make_epilogue(Gen *g);
void call_epilogue(Gen *g, LVal sums, LVal batch, LVal row0, LVal rows, LVal col0, LVal cols);

/* A part of the work. */
typedef struct Part {
  LVal batch, tiles, base, extra; /* rows: `tiles` tiles, the first `extra` of base + 1 rows, the others of base */
  LVal tile0, tile1, panel0, panel1, panels;
  LVal after;      /* the first panel of the part that most likely follows */
  LVal next;       /* the block of a panel that comes next */
  LVal ahead_step; /* bytes of it to fetch per step of k, so that all tiles together fetch it */
  LVal a, b;       /* the operands of this batch */
  LVal block, blocks, k0, steps, more, last; /* the block of k */
} Part;

/* Of a tile of `rows` rows, the lines that its epilogue reads and writes are asked for. */
void ask_for_result(Gen *g, const Part *w, LVal row, LVal rows, LVal col);

/* Does the unit stream B from memory as the inner kernel reads it? */
static inline bool streams_b(const Gen *g) { return g->p->packed_b && !g->p->bits.bits && !g->p->bytes && !g->unpacks; }

/* Bytes of a step of k in a panel of packed B. */
static inline int64_t b_step(const Gen *g) { return g->plan.nr * product_b_bytes(g->p); }

/* --- weights.c --- */
/* void unpack(b, steps, dst): a block of a panel of 16 bits as f32, dst[steps][nr]. g->pack. */
void weights_unpack(Gen *g);
/* void round(a, row bytes, rows, steps, dst): rows of A as bf16, plan.dots bytes apart. g->pack. */
void weights_round(Gen *g);

/* --- nbits.c --- */
/* void pack(b, blocks, dst): blocks of a panel of B of few bits as f32, dst[blocks * block][nr]. */
void nbits_unpack(Gen *g);
void nbits_kernels(Gen *g);                              /* g->few */
LVal nbits_address(Gen *g, LVal b, LVal panel, LVal k0); /* of a block of a panel */
/* For up to g->few.high rows: products of all of them with these panels, epilogue included. */
void nbits_rows(Gen *g, LVal a, LVal b, LVal batch, LVal panel0, LVal panel1);

/* --- rounded.c --- */
void rounded_kernels(Gen *g, int low, int high); /* g->tiles */
void rounded_tiles(Gen *g, const Part *w);       /* its tiles by its panels, epilogue included */

/* --- integer.c --- */
void integer_kernels(Gen *g, int low, int high); /* g->tiles */
Status integer_window(Gen *g);                   /* g->gather; the arguments are at hand */
void integer_tiles(Gen *g, const Part *w);       /* its tiles by its panels, epilogue included */
/* Of a channelwise product: the i32 of a vector of channels, less their zero point, from memory where mask (or NULL) says that there
 * are any; and sum + x * k, k being packed. */
LVal integer_channels(Gen *g, LVal from, LVal mask);
LVal integer_tap(Gen *g, LVal sum, LVal x, LVal k);
void integer_zeros(Gen *g); /* zero_bytes of zero points at zeros_address */

/* An intrinsic whose integer vectors are cut into other elements by some versions of LLVM. */
LVal emit_x86(Emitter *e, const char *name, LVal *arg, unsigned n, LType result);

/* --- halved.c --- */
/* Of `rows` rows at a, pairs that are too large are halved. i1: there were so many, for `steps` steps of k, that it was undone. */
LVal halved_rows(Gen *g, LVal a, LVal rows, LVal steps);
LVal halved_row(Gen *g);                                    /* bytes of a row */
LVal halved_number(Gen *g, LVal a);                         /* of steps that have such pairs */
LVal halved_step(Gen *g, LVal a, LVal i);                   /* number i of them */
LVal halved_rest(Gen *g, LVal a);                           /* the rows of the other halves */
LVal halved_multiply_add(Gen *g, LVal sum, LVal a, LVal b); /* where no pair is too large */
LVal halved_exact(Gen *g, LVal sum, LVal a, LVal b);        /* of any numbers */

/* --- depthwise.c, channelwise.c --- */
Status depthwise_body(Gen *g); /* the function's body; the epilogue is made */
Status channelwise_body(Gen *g);

/* --- winograd.c --- */
Status winograd_unit(Gen *g); /* all of it */

/* --- rows.c --- */
enum { LINE_ENTRY = 16 }; /* bytes: an address of B and one of A */
/* Makes i64 table(args, x, row0, tap0, taps, b, zero, table): for each tap from tap0 on that some row from row0 on finds inside
 * of the input, an entry: where B goes on, b being that of tap0, and the address of every row's channels, or of zeros. */
Status make_table(Gen *g);
LVal call_table(Gen *g, LVal x, LVal row0, LVal tap0, LVal taps, LVal b);
/* Rows of one line of the output whose taps along it are all inside, as those of planes are, lie beside each other: of such
 * tiles i64 line(args, x, row0, b, table) makes entries with the first row's address. Is that so for this product, and are
 * there registers for what rows have in common, since a row of sums takes one? */
bool has_lines(const Gen *g);
LVal in_line(Gen *g, LVal row0, LVal rows); /* i1: are these rows of one line? */
LVal call_line(Gen *g, LVal x, LVal row0, LVal b);
/* Where its entries are; and a row of zeros, which clear_zeros writes. */
LVal table_address(Gen *g);
LVal zeros_address(Gen *g);
void clear_zeros(Gen *g);

#endif
