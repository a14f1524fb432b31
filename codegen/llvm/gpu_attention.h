/* gpu_attention.h - shared by the files that emit attention for GPUs: gpu_attention.c (parts, masks, softmax, results), and what
 * multiplies tiles: gpu_fma.c (f32) and gpu_mma.c (tensor cores).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_GPU_ATTENTION_H
#define SARD_CODEGEN_LLVM_GPU_ATTENTION_H

#include "codegen/gpu_attention.h"
#include "codegen/llvm/ptx.h"
#include "codegen/llvm/tile.h"

enum { GPU_COPY = 16 }; /* bytes of ptx_copy */
enum { GA_ROWS = 8, GA_COLUMNS = 32, GA_SUMS = GPU_ATTENTION_COLUMNS / 4, GA_FRAGMENTS = GPU_ATTENTION_COLUMNS / 16 };

/* One row of the tile. Where there is none, the last one that is. */
typedef struct GaRow {
  LVal number;      /* i32: in the tile */
  LVal there;       /* i1 */
  LVal query, head; /* i64 */
  LVal mask;        /* address of what it has for key 0; NULL: no mask */
  LVal scores;      /* of the second output's, for key 0; NULL: there is none */
  LVal first, end;  /* i32: the keys that it sees, counted from the part's first; first: NULL: all up to end */
} GaRow;

/* Once through the keys: P without its division, and O. Twice: m and l, then P as it is. */
typedef enum { GA_ONCE, GA_STATISTICS, GA_WEIGHTS } GaTurn;

/* A kernel being made, and its part: one tile of rows of one key/value head. Variables are allocas, which LLVM makes registers of. */
typedef struct Ga {
  Emitter *e;
  const Attention *t;
  const GpuAttentionStage *stage;
  bool half; /* f16, bf16: tensor cores */
  double
      unit; /* scores are so many times what they are: log2(e), for 2^x; 1 where a mask is added, which may be the lowest f32 */
  bool masked;   /* some key may have no weight for some row: its value does not count then, be it infinite */
  bool combined; /* there may be several splits */
  GaTurn turn;   /* through the keys, being emitted */
  const Dim *dim;
  uint32_t ndim;
  EmitArgs args;
  LVal thread, lane, warp, shared;                     /* i32, address */
  LVal q_len, kv_len, k_rows, v_rows, splits, chunk;   /* i64 */
  LVal mask_len;                                       /* keys that it is for, at most kv_len; NULL: all */
  LVal rows, offset;                                   /* of a key/value head; query i stands at key i + offset */
  LVal batch, kv_head, split, row0;                    /* of the part */
  LVal count;                                          /* of the batch entry: keys that there are */
  LVal column0;                                        /* i32: of O, the first of the part; NULL: it has all of them */
  LVal q, k, v, out;                                   /* q, out: of the batch entry; k, v: of the head */
  LVal q_row, q_head, k_row, v_row, out_row, out_head; /* bytes */
  LVal from, to;                                       /* the keys that the tile's rows see between them */
  int nrow, ncol, nsum;                                /* of a thread: rows, keys of a tile, columns of O */
  int span;                                            /* so many threads side by side have the same rows */
  GaRow row[GA_ROWS];
  LVal column[GA_COLUMNS]; /* i32: key in the tile */
  LVal sum_column[GA_SUMS];
  LVal score[GA_ROWS][GA_COLUMNS];
  LVal m[GA_ROWS], l[GA_ROWS], sum[GA_ROWS][GA_SUMS]; /* variables; l of this thread's keys alone */
  LVal query[GA_FRAGMENTS][4], query_row[2];          /* gpu_mma.c: variables: Q; addresses of its rows */
  LVal scores[GA_ROWS][GA_COLUMNS];                   /* gpu_fma.c: variables: S */
} Ga;

/* --- gpu_attention.c --- */
LVal ga_variable(Ga *g, LType t);
LVal ga_get(Ga *g, LType t, LVal variable);
void ga_set(Ga *g, LVal variable, LVal v);
LVal ga_shared(Ga *g, LVal i32_bytes); /* an address in the block's memory */
LVal ga_i32(Ga *g, int64_t v);
LVal ga_query_row(Ga *g, LVal number); /* address of Q's row with that number (i32) in the tile */
/* g->score, of keys j0 and on, becomes P, as g->turn says; m, l and the sums so far follow. */
Status ga_softmax(Ga *g, LVal j0);
/* `keys` goes through all keys of the part: once, or twice with what is between. */
Status ga_turns(Ga *g, Status (*keys)(Ga *g));

/* rows x width elements from the device's memory to the block's, by all threads; zeros where there is nothing. Over when
 * ptx_copies_wait and ptx_barrier say so. */
typedef struct GaCopy {
  LVal to;    /* i32: offset */
  int to_row; /* bytes */
  int rows, width;
  LVal from;    /* address of row 0; NULL: Q */
  LVal row;     /* bytes from row to row */
  LVal limit;   /* i32: rows that there are, at least 1 */
  LVal first;   /* i32: column, or NULL: 0 */
  int64_t dims; /* columns that there are */
} GaCopy;
void ga_copy(Ga *g, const GaCopy *x);

/* --- gpu_fma.c, gpu_mma.c --- */
int64_t ga_fma_shared(const Ga *g); /* bytes */
void ga_fma_setup(Ga *g);           /* which rows and columns a thread has, and its variables */
Status ga_fma_part(Ga *g);          /* all keys of the part */
int64_t ga_mma_shared(const Ga *g);
void ga_mma_setup(Ga *g);
Status ga_mma_part(Ga *g);

#endif
