/* tile.h - what products and attention share: counted loops and the inner kernel that multiplies one tile.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_TILE_H
#define SARD_CODEGEN_LLVM_TILE_H

#include "codegen/llvm/internal.h"

/* for (i = from; i < to; i += step); signed. */
typedef struct Loop {
  LVal i, phi, step, to; /* i: phi, settled */
  LLVMBasicBlockRef head, body, done;
} Loop;
Loop loop_begin(Emitter *e, LVal from, LVal to, int64_t step);
void loop_end(Emitter *e, Loop *l);

/* if (cond) { … } */
LLVMBasicBlockRef when_begin(Emitter *e, LVal cond);
void when_end(Emitter *e, LLVMBasicBlockRef done);

/* 64-bit arithmetic in short. */
LVal i64_of(Emitter *e, int64_t v);
LVal i64_add(Emitter *e, LVal a, LVal b);
LVal i64_sub(Emitter *e, LVal a, LVal b);
LVal i64_mul(Emitter *e, LVal a, LVal b);
LVal i64_muli(Emitter *e, LVal a, int64_t b);
LVal i64_div(Emitter *e, LVal a, LVal b); /* unsigned: extents are not negative */
LVal i64_rem(Emitter *e, LVal a, LVal b);
LVal i64_ceildiv(Emitter *e, LVal a, LVal b);
LVal i64_min(Emitter *e, LVal a, LVal b);
LVal i64_less(Emitter *e, LVal a, LVal b); /* i1, signed */
/* Piece i of `pieces` of about the same size. */
void even_share(Emitter *e, LVal i, LVal pieces, LVal all, LVal *from, LVal *to);
LVal at_bytes(Emitter *e, LVal p, LVal bytes);
LVal at_float(Emitter *e, LVal p, LVal index);
/* An address, or what a loop counts, that loop strength reduction takes as it is. It would look for better ways to each of many loads
 * at constant distances from it, and can take as long for that as all the rest of code generation; what it finds runs no faster. */
LVal settled(Emitter *e, LVal p);
LVal load_f32(Emitter *e, int lanes, LVal p); /* aligned as f32 */
void store_f32(Emitter *e, LVal v, LVal p);

/* dst[k][cols] = scale * src[col][k] for `cols` rows of src, a multiple of 8 (of 4 with 128-bit vectors); rows from
 * `rows` >= 1 on repeat the last one. ld: bytes from row to row of src; dst_ld: of dst. */
void pack_transposed(Emitter *e, LVal src, LVal ld, LVal rows, LVal k, LVal scale, LVal dst, LVal dst_ld, LVal cols);

/* --- window.c --- */
/* Elements of one channel of the input. */
Status window_plane(Emitter *e, const ProductWindow *w, const EmitArgs *args, const Dim *dim, uint32_t ndim,
                    LVal *plane);
/* Makes void pack(args, x, channels, position, width, dst): dst[channels * taps][nr], the window on the channels from x on at
 * `width` positions of the output, 1 to nr, and zeros behind them. */
Status window_pack(Emitter *e, const char *name, const ProductWindow *w, int lanes, int nr, const Dim *dim,
                   uint32_t ndim, LVal *fn, LType *type);

/* A function of the module alone; the builder stands in its entry block. */
LVal function_begin(Emitter *e, const char *name, LType ret, LType *param, unsigned n);
/* The fields of the KernelArgs that fn's first parameter points to. */
EmitArgs args_of(Emitter *e, LVal fn);
EmitArgs args_at(Emitter *e, LVal fn, LVal args); /* of those at an address */

/* An inner kernel: what is fixed in its code. */
typedef struct TileKernel {
  int rows, vecs, lanes, unroll;
  int64_t a_row, a_step; /* bytes from row to row and from k to k of A; 0: an argument */
  int64_t b_step;        /* bytes from k to k of B; 0: an argument */
  int64_t sums_row;      /* bytes from row to row of sums; 0: they are side by side */
  /* Above 0: rows lie anywhere. a is a table of entries of so many bytes, an address of B and one for each row; a_row says
   * how many there are, and k steps are done with each. */
  int64_t entry;
  DType b;        /* what B is: DT_f16, DT_bf16 in pairs (codegen/product.h), or DT_none: f32. Pairs: k is even */
  bool dots;      /* A is of such pairs as well, and the CPU multiplies them */
  bool once;      /* sums start at zero: k is one block */
  bool some;      /* k is at least 1 */
  int run;        /* with a table: steps that are done with each entry; 0: k says */
  int64_t beside; /* with a table: bytes from row to row; entries have an address of the first only. 0: one of each */
  bool ahead;     /* fetches memory into L2 beside its work, one address per step of k */
  bool all_ahead; /* … as much of it as the steps take of B */
  int few_rows;   /* a set of kernels: those of so many rows have all_ahead */
  const struct TileFinish *finish; /* what becomes of the sums; NULL: they are stored as sums */
  LVal fn;
  LType type;
} TileKernel;

/* A kernel of a product of its own whose sums do not go to memory: emit gets the kernel's function, whose parameters from
 * FINISH_ARGS on are those of TileArgs: KernelArgs, the first row and column of the tile; and the sums, row after row. */
enum { FINISH_ARGS = 10, FINISH_ROW, FINISH_COL };
typedef struct TileFinish {
  const char *name; /* of the product */
  Status (*emit)(const struct TileFinish *f, const TileKernel *t, LVal *sum);
  void *arg;
} TileFinish;

/* One call: sums[rows][vecs * lanes], rows sums_row bytes apart, = (more ? sums : 0) + A·B over k steps. What the kernel has fixed may be NULL. */
typedef struct TileArgs {
  LVal a, a_row, a_step, b, b_step, k, sums, more, ahead, ahead_step;
  LVal args, row, col; /* with a finish */
} TileArgs;

/* --- weights.c: B of 16 bits --- */
/* A vector of B at p: f32 of one step in *b, of pairs the second one in *next; with dots the pairs as they are. */
void weights_load(Emitter *e, const TileKernel *t, LVal p, LVal *b, LVal *next);
/* sum + the pairs of a by those of b, both as lanes of 32 bits; AVX-512 with BF16. */
LVal weights_dot(Emitter *e, LVal a, LVal b, LVal sum);

/* Emitted once per module: units share their inner kernels, but for those with a finish. */
Status tile_kernel(Emitter *e, TileKernel *t);
void tile_call(Emitter *e, const TileKernel *t, const TileArgs *x);

/* Kernels alike but for their rows, low to high. */
typedef struct TileSet {
  TileKernel *kernel; /* by rows - 1 */
  int low, high;
} TileSet;
Status tile_set(Emitter *e, TileSet *s, int low, int high, TileKernel like);
/* Calls the kernel of that many rows, a run-time value in low..high. */
void tile_dispatch(Emitter *e, const TileSet *s, LVal rows, const TileArgs *x);
/* The same for functions with arguments of their own. */
void tile_choose(Emitter *e, const TileSet *s, LVal rows, LVal *arg, unsigned n);

/* The value of a dim expression: a constant, or its place among the unit's. */
Status dim_value(Emitter *e, const EmitArgs *args, Dim d, const Dim *dim, uint32_t ndim, LVal *v);

#endif
