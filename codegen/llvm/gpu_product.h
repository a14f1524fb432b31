/* gpu_product.h - shared by the files that emit products for GPUs: gpu_product.c (the parts, the epilogue), gpu_operand.c (elements of
 * A and B, wherever they lie), gpu_narrow.c (constants of few bits and narrow floats), gpu_tiles.c, gpu_tensor.c and gpu_rows.c (what
 * codegen/gpu_product.h describes).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_GPU_PRODUCT_H
#define SARD_CODEGEN_LLVM_GPU_PRODUCT_H

#include "codegen/gpu_product.h"
#include "codegen/llvm/ptx.h"
#include "codegen/llvm/tile.h"
#include "runtime/kernel_abi.h"

enum { GP_CHUNKS = 16, GP_VECTOR = 16 }; /* what a thread fetches at once: chunks, bytes of one */

typedef struct Gp {
  Emitter *e;
  const Unit *u;
  const Product *p;
  const char *name;
  const Dim *dim;
  uint32_t ndim;
  EmitArgs args;
  LVal batch, m, n, k; /* i64 */
  LVal thread;         /* i32 */
  KEmit *walk;         /* of the epilogue; NULL: sums are stored as they are */
  const KVar *batch_var, *row_var, *col_var;
  const KStmt *body;
} Gp;

static inline LVal gp_i32(const Gp *g, int64_t v) { return emit_int(g->e->i32, v); }
static inline LVal gp_wide(const Gp *g, LVal i32) { return LLVMBuildZExt(g->e->b, i32, g->e->i64, ""); }

/* A variable: an alloca, which LLVM makes a register of. */
LVal gp_variable(Gp *g, LVal first);
LVal gp_get(Gp *g, LVal variable);
void gp_set(Gp *g, LVal variable, LVal v);
LType gp_sum(const Gp *g);                                 /* f32, or i32 of integers */
LVal gp_shared(Gp *g, const char *name, int64_t elements); /* of sums */
LVal gp_element(Gp *g, LVal at, LVal i32);                 /* the address of an element of that */

/* Epilogue of rows x columns of C from (row0, col0) on, by all threads: sums at `at`, row after row, ld elements apart. rows and
 * columns: powers of 2; those beyond C are left out. */
typedef struct GpBlock {
  LVal at;
  int rows, columns, ld;
  LVal batch, row0, col0; /* i64 */
} GpBlock;
Status gp_epilogue(Gp *g, const GpBlock *x);

/* --- gpu_operand.c --- */

/* A matrix of rows by k: A, or B with its columns as the rows. */
typedef struct GpOperand {
  bool is_b;
  LVal base; /* of the batch's matrix */
  DType type;
  LVal rows;         /* i64: that there are */
  LVal by_row, by_k; /* i64: elements from one to the next; of a matrix as it lies */
  const ProductWindow *window;
  LVal in[WINDOW_AXES], out[WINDOW_AXES], begin[WINDOW_AXES]; /* i64 */
  bool last;        /* window: channels are the last axis, and k has them inside of the taps */
  int64_t taps;     /* of a weight whose k has the channels inside, while memory has the taps inside; 0: it has not */
  int64_t channels; /* of a group: with `last`, and of such a weight */
  LVal scale, zero; /* addresses, of few bits; zero may be NULL */
  bool along_k;     /* elements side by side in memory are steps of k */
  int vector;       /* elements that surely are there, and aligned, as one; 1: none but single ones */
} GpOperand;
Status gp_operand(Gp *g, bool is_b, LVal batch, GpOperand *o);

/* A row of it: what does not depend on k. */
typedef struct GpRow {
  LVal there;          /* i1 */
  LVal number;         /* i64 */
  LVal at;             /* i64: elements from base */
  LVal y[WINDOW_AXES]; /* i64: where tap 0 is */
} GpRow;
GpRow gp_row(Gp *g, const GpOperand *o, LVal row);
/* o->vector elements from step k (i32) of that row on, or, unless along_k, of step k from that row on, as f32; zeros where there
 * is nothing. */
void gp_fetch(Gp *g, const GpOperand *o, const GpRow *r, LVal k, LVal *v);
/* The same as words of the operand's type (that of A, for few bits), or one zero-extended element: how many. p->zero stands where A
 * has nothing. */
int gp_fetch_words(Gp *g, const GpOperand *o, const GpRow *r, LVal k, LVal *word);
/* bytes (4, 8, 16) at p as words, zeros unless `there`. */
void gp_words(Gp *g, LVal p, int bytes, LVal there, LVal *word);
/* Elements of type t that such words hold, as f32: how many. */
int gp_unpack(Gp *g, DType t, const LVal *word, int words, LVal *v);
/* Whole numbers of few bits from `word`, 32 / bits of them, as f32. */
void gp_numbers(Gp *g, int bits, LVal word, LVal *v);
/* The factor of row `row` in block `block`, and what is taken off its numbers; both f32. */
void gp_scale(Gp *g, const GpOperand *o, LVal row, LVal block, LVal there, LVal *scale, LVal *zero);

/* --- gpu_narrow.c --- */
/* NARROW_STEPS numbers side by side from element `at` (i64) of a narrow B on, less neither zero points nor times scales. */
void gp_narrow(Gp *g, const GpOperand *o, LVal at, LVal there, LVal *v);
/* What they are to be multiplied by; what is to be taken off before, or NULL. */
LVal gp_narrow_scale(Gp *g, const GpOperand *o, LVal column, LVal k, LVal there);
LVal gp_narrow_zero(Gp *g, const GpOperand *o, LVal column, LVal k, LVal there);

/* --- gpu_tiles.c --- */

/* What a thread fetches of an operand for a tile. */
typedef struct GpSide {
  GpOperand o;
  int rows, chunks;     /* of the tile; chunks of o.vector elements */
  LVal row[GP_CHUNKS];  /* i32, in the tile */
  LVal step[GP_CHUNKS]; /* i32 */
  GpRow at[GP_CHUNKS];
  LVal next[GP_CHUNKS * GP_VECTOR]; /* variables: the elements of the next tile, or their words */
  LVal shared;
} GpSide;
/* A tile of t from row (or column) row0 on; threads side by side have elements side by side in memory. */
Status gp_side(Gp *g, GpSide *s, GpuTile t, bool is_b, LVal batch, LVal row0);
/* Of the rows of a tile of sums so many go through shared memory at a time. */
int gp_sum_rows(GpuTile t);

/* --- gpu_tiles.c, gpu_tensor.c, gpu_rows.c --- */
Status gp_tiles(Gp *g);  /* all parts */
Status gp_tensor(Gp *g); /* the same, on tensor cores */
Status gp_rows(Gp *g);
/* for each part of this block: its number; to be ended by loop_end. */
Loop gp_parts(Gp *g, LVal parts);

#endif
