/* kemit.h - the state of the walk over one kernel, shared by kernel.c (statements) and expr.c (expressions).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_KEMIT_H
#define SARD_CODEGEN_LLVM_KEMIT_H

#include "codegen/llvm/internal.h"

enum { KEMIT_TILE = 32, MAX_ACC = 256, STREAM_BITS = 512 }; /* rows and lanes of a tile at most; a cache line */

/* Loads of a tile that go along its loop's variable: transposed, the value of iteration t is value[t]. */
typedef struct TileLoad {
  const KExpr *load;
  LVal value[KEMIT_TILE]; /* as in memory */
  struct TileLoad *next;
} TileLoad;

/* Where a register's lanes of an index lie: how far each is behind the first of them, and more by the constants that may be added;
 * whether all are close enough to be picked; the address of the first, in row 0. */
enum { NEAR_TAPS = 4, MAX_NEAR = 4 };
typedef struct Near {
  LVal first, behind[NEAR_TAPS], in, p;
} Near;
typedef struct NearIndex {
  LVal at;
  const KBuf *buf;
  Near part[2];
} NearIndex;

/* A value is uniform (a scalar) or varies over the lanes of the vector loop around (a vector). How each type is held in
 * registers: memory.c. */
struct KEmit {
  Emitter *e;
  const Kernel *k;
  EmitArgs args;
  const Dim *dim; /* the kernel's dim expressions and their values */
  uint32_t ndim;
  LVal *dim_value;
  OpenDims open;
  LVal *buf;                /* by buffer index: base address */
  LVal (*stride)[MAX_RANK]; /* by buffer index and axis, in elements */
  LVal *var;                /* by variable id: the present value; NULL: not defined here */
  LVal input0;              /* value of loads from input 0, or NULL */
  const KVar *lane_var;     /* the axis of the lanes; NULL: scalar code */
  LVal lane_base;           /* i64: its value in lane 0 */
  int lanes;                /* 1: scalar code */
  LVal mask;                /* <lanes x i1>; NULL: all lanes */
  LVal many;                /* i32: more than lanes, which no compiler can tell; or NULL */
  bool at_base;             /* expressions are emitted for lane 0 alone */
  bool split;               /* the outermost parallel loop has been met */
  struct Scan *scan;        /* the scan around, or NULL */
  const KVar *ahead; /* vector loads are made so many iterations of this variable's loop beforehand, too; or NULL */
  int ahead_by;
  bool anew;              /* definitions that depend on it are evaluated where they are used */
  const KStmt *tile_loop; /* the tile around */
  TileLoad *tile;         /* loads made for the whole tile around */
  int tile_at;            /* the iteration of it that is being emitted */
  LVal *large;            /* by buffer: an i1, whether vectors stored to it go past the caches; NULL: never */
  bool streamed;          /* some may have */
  bool once;              /* GPUs: code that all threads of a block run alike: one of them stores */
  bool barriers;          /* GPUs: threads of a block read what others have stored */
  enum { STREAM_ASK, STREAM_YES, STREAM_NO } past; /* for those stored here: each is looked at, all do, none does */
  NearIndex near
      [MAX_NEAR]; /* of the loop around that is emitted twice: where all of these are near, and where they are not */
  int nnear;
  bool are_near;
  struct {
    const KBuf *buf; /* NULL: none */
    LVal at, row, v[2][2];
    LLVMBasicBlockRef block;
  } window;            /* the registers that were picked from last */
  uint32_t checks;     /* number of KS_CHECK statements seen, for their codes */
  const KStmt **check; /* by code */
  int depth;
};

Status kemit_expr(KEmit *k, const KExpr *x, LVal *r);
Status kemit_binary(KEmit *k, DType t, KOp op, LVal a, LVal b, LVal *r);
LVal kemit_dim(KEmit *k, Dim d);
Status kemit_unsupported(const KEmit *k, const char *what);

/* --- kernel.c --- */
/* Accumulators that a body updates but does not define. */
typedef struct AccList {
  const KVar *var[MAX_ACC];
  uint8_t op[MAX_ACC]; /* of its updates; KOP_none: different ones */
  LVal before[MAX_ACC];
  LVal phi[MAX_ACC];
  int n;
} AccList;
Status kemit_accumulators(KEmit *k, const KStmt *body, AccList **l);
Status kemit_trips(KEmit *k, const KStmt *loop, LVal *n);         /* how often it runs */
LVal kemit_identity(KEmit *k, DType t, KOp op);                   /* NULL: op has none */
Status kemit_combine(KEmit *k, DType t, KOp op, LVal v, LVal *r); /* the lanes of v, by halves */
/* What a loop does for one value of its variable. */
typedef Status (*LoopBody)(KEmit *k, const KStmt *s, LVal i, int depth);
/* for (i = from; i < to; i += step) body, with phis for the accumulators. */
Status kemit_count_loop(KEmit *k, const KStmt *s, LVal from, LVal to, LVal step, AccList *acc, LoopBody body,
                        int depth);
Status kemit_scalar_body(KEmit *k, const KStmt *s, LVal i, int depth);
Status kemit_lanes_body(KEmit *k, const KStmt *s, LVal i, int depth);

/* --- gpu.c --- */
Status gpu_loop(KEmit *k, const KStmt *s, LVal n, int depth); /* KL_GRID, KL_BLOCK */
Status gpu_store(KEmit *k, const KStmt *s);                   /* by one thread of the block, if k->once */
/* Where check `code` has failed: tells so, and ends the thread. */
void gpu_wrong(Emitter *e, const EmitArgs *args, int code, LVal number);

/* --- memory.c --- */
LType kemit_type(const KEmit *k, DType t); /* of values in registers; NULL: no emission for that type */
Status kemit_load(KEmit *k, const KExpr *x, LVal *r);
Status kemit_store(KEmit *k, const KStmt *s);
/* The comparison x of two indices, when its result splits the lanes at one place; else *done is false. */
Status kemit_compare_lanes(KEmit *k, const KExpr *x, bool *done, LVal *r);
/* What loop f, of as many iterations as the vector loop around, loads along its lanes is asked for k->ahead_by iterations beforehand. */
Status kemit_ask_for(KEmit *k, const KStmt *f);
LVal kemit_from_memory(KEmit *k, DType t, LVal v);
LVal kemit_to_memory(KEmit *k, DType t, int mode, LVal v); /* rounds; mode: KCastMode */
LVal kemit_wrap(KEmit *k, DType t, LVal v);                /* an i8 as a packed integer is held; others as they are */

/* The loads among the statements that jump along the lanes and are contiguous along u, for n iterations of u from u0. */
Status kemit_tile_loads(KEmit *k, const KStmt *s, const KVar *u, LVal u0, int n);
/* Whether all that they store may go past the caches, an i1; NULL: each store sees to that itself. */
Status kemit_tile_past(KEmit *k, const KStmt *s, const KVar *u, LVal u0, LVal *past);

/* --- near.c --- */
/* An i1: do the loads in the body of a loop by indices known already find all lanes close together? NULL: there are no such, or the
 * body does other things than to store. They are noted in k->near. */
LVal kemit_near(KEmit *k, const KStmt *body);

/* --- stream.c --- */
/* Finds out which outputs are larger than the caches, stored to once, and not read here. */
void kemit_find_large(KEmit *k);

/* --- transpose.c --- */
void emit_transpose(Emitter *e, LVal *row, int n, int bits); /* n vectors of n lanes of so many bits, in place */

/* --- convert.c --- */
/* x: a cast. stored: the result as it lies in memory, not as it is held in a register. */
Status kemit_cast(KEmit *k, const KExpr *x, bool stored, LVal *r);
/* Where binary x takes the zero point off a quantised number, that is its result. */
Status kemit_dequantised(KEmit *k, const KExpr *x, bool *done, LVal *r);

#endif
