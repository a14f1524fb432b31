/* kernel.h - the kernel IR: one loop nest over dense buffers, an algorithm apart from its schedule.
 *
 * A kernel reads input buffers and writes output buffers, row-major, whose extents are dim expressions (support/dim.h): the
 * same kernel serves every binding of the symbols. Its body is a tree of statements: loops, scalar definitions,
 * accumulators, stores. Expressions are scalar; an index is an integer expression per axis of the buffer.
 *
 * What is computed is fixed by the statements; how, by the schedule of each loop (serial, unrolled, vector, parallel, and
 * for GPUs grid, block), which changes no result except the order in which an accumulator's terms are combined: a vector
 * loop keeps `lanes` partial results and combines them pairwise at its end, the same way on every device and for any number
 * of threads. A parallel or grid loop never carries an accumulator. An `ordered` loop's iterations meet in memory (a scatter, a
 * recurrence): it runs serially whatever is around it.
 *
 * Temporaries hold what an iteration of the outermost parallel loop needs for itself: written before they are read in it,
 * gone behind it.
 *
 * Text form (print, parse, verify, and a slow evaluator in kernel_eval.c):
 *
 *   kernel "softmax" (x: f32[batch, n]) -> (y: f32[batch, n]) {       or, with temporaries, … -> (y: …) temp (t: f32[n]) {
 *     for i in batch parallel {
 *       acc m: f32 = -inf
 *       for k in n vector(16) { m max= x[i, k] }
 *       acc s: f32 = 0
 *       for k in n vector(16) {
 *         let e: f32 = exp(x[i, k] - m)
 *         s += e
 *         y[i, k] = e
 *       }
 *       let r: f32 = 1 / s
 *       for k in n vector(16) { y[i, k] = y[i, k] * r }
 *     }
 *   }
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_IR_KERNEL_H
#define SARD_IR_KERNEL_H

#include "support/dim.h"
#include "support/tensor.h"

/* --- expressions --- */

typedef enum {
  KE_FLOAT,  /* f, of dtype */
  KE_INT,    /* i, of dtype (also bool) */
  KE_DIM,    /* the value of dim, an i64 */
  KE_VAR,    /* a loop variable (i64), a let or an accumulator's present value */
  KE_LOAD,   /* buf[index…]; index in range is the lowering's duty, gathered indices are checked by KS_CHECK */
  KE_UNARY,  /* op, arg[0] */
  KE_BINARY, /* op, arg[0], arg[1] of one dtype */
  KE_SELECT, /* arg[0] (bool) ? arg[1] : arg[2]; both sides may be evaluated */
  KE_CAST,   /* arg[0] to dtype by ONNX Cast's rules for numbers; op: KCastMode */
} KExprKind;

/* How a cast to the small floats rounds and what it makes of numbers out of range; text: `cast.f8e4m3fn.open(x)`. */
typedef enum {
  KC_OPEN = 1,    /* infinity or NaN where the format has them (saturate=0), not the largest number */
  KC_DOWN = 2,    /* f8e8m0: toward zero (round_mode="down"); up otherwise */
  KC_NEAREST = 4, /* f8e8m0: to the nearest, ties up */
} KCastMode;

/* Element operators: KOP(name, arity, result: S same dtype, B bool; text; what it is) in kernel.def. Floats follow IEEE 754;
 * comparisons with NaN are false; min and max give NaN if either is NaN. Integer division truncates; `mod` has the sign of
 * the divisor. Transcendental functions are within the ulp stated in docs. */
typedef enum {
  KOP_none,
#define KOP(name, arity, result, text) KOP_##name,
#include "ir/kernel.def"
#undef KOP
  KOP_count
} KOp;

const char *kop_text(KOp op);
int kop_arity(KOp op);
KOp kop_find(const char *text, size_t n); /* KOP_none: no such text */

typedef struct KVar KVar;
typedef struct KBuf KBuf;
typedef struct KStmt KStmt;

typedef struct KExpr {
  uint8_t kind; /* KExprKind */
  DType dtype;
  uint8_t op; /* KOp; casts: KCastMode */
  double f;
  int64_t i;
  Dim dim;
  KVar *var;
  KBuf *buf;
  struct KExpr *arg[3];
  struct KExpr **index; /* KE_LOAD: buf->rank of them */
} KExpr;

struct KVar {
  const char *name;
  DType dtype;
  uint32_t id;
  KStmt *def; /* the loop, let or accumulator that defines it */
};

/* --- buffers --- */
struct KBuf {
  const char *name;
  DType dtype;
  int8_t rank;
  Dim dim[MAX_RANK];
  bool output; /* written by the kernel: outputs and temporaries */
  bool temp;
  uint32_t index; /* position among the kernel's buffers: inputs, outputs, temporaries */
};

/* --- statements --- */

typedef enum {
  KS_FOR,    /* var from 0 to extent - 1, or to value - 1 if that is given (an i64) and less: body */
  KS_LET,    /* var = value, once */
  KS_ACC,    /* var = value, to be updated further down in the same or an inner loop */
  KS_UPDATE, /* var op= value: add, mul, min, max, and, or (associative), or var = value (KOP_none) */
  KS_STORE, /* buf[index…] = value; outputs and temporaries only; outside of ordered loops every element once per pass */
  KS_IF,    /* when value (bool): body */
  KS_CHECK, /* value (bool) must hold, else the kernel returns `code` and the offending number in `args`: index errors */
} KStmtKind;

/* KL_GRID: its iterations are shared out to the blocks of a GPU, or, with a width, to all threads of all blocks. KL_BLOCK: to the
 * threads of the block, `width` or one at a time side by side; accumulators are combined over the threads at its end.
 * KL_TILE: around one vector loop. `width` iterations are made at once for each vector of lanes: what they load along this loop's
 * variable, one lane a row, is transposed in registers. KL_SCAN: a vector loop whose accumulators are read as they grow: what is
 * before a lane in its vector is combined in a tree, then with what was before the vector. */
typedef enum {
  KL_SERIAL,
  KL_UNROLL,
  KL_VECTOR,
  KL_PARALLEL,
  KL_GRID,
  KL_BLOCK,
  KL_ORDERED,
  KL_TILE,
  KL_SCAN
} KLoopKind;

/* A parallel loop with a width is cut into parts of so many iterations, each of which is a vector loop of that width. */
enum { KERNEL_CHUNK = 4096, KERNEL_CHUNK_LOOPS = 64 }; /* the latter when there are loops in them */

enum { TEMP_ALIGN = 64 }; /* bytes; a temporary's size is a multiple of it as well */

struct KStmt {
  uint8_t kind; /* KStmtKind */
  uint8_t op;   /* KS_UPDATE: KOp; KOP_none: assigned */
  uint8_t loop; /* KS_FOR: KLoopKind */
  uint16_t
      width; /* KL_UNROLL: factor; KL_VECTOR: lanes; KL_TILE, KL_SCAN; KL_PARALLEL: 0, or lanes: see KERNEL_CHUNK */
  uint8_t
      ahead_by; /* KL_VECTOR: what it loads so many iterations of the loop over `ahead` later is asked for beforehand; … */
  KVar *ahead;       /* … that loop is around it; NULL: nothing is */
  const KStmt *asks; /* … and what that loop, of as many iterations, loads, too; or NULL */
  KVar *var;
  Dim extent;
  KExpr *value;
  KExpr *number; /* KS_CHECK: an i64 or an f64 to report */
  const char *text;            /* KS_CHECK: what to say, "%lld" ("%.9g": an f64) standing for the number and then "%lld" for the bound;
                                * NULL: an index is out of range */
  Dim bound;                   /* KS_CHECK: in terms of the graph, no part of the code; or NULL */
  const struct Origin *origin; /* KS_CHECK: of the node that wants it, or NULL */
  KBuf *buf;
  KExpr **index;
  KStmt *body; /* first statement inside */
  KStmt *next;
};

typedef struct Kernel {
  Arena *arena;
  Ctx *c;
  const char *name;
  KBuf **buf;              /* inputs, then outputs, then temporaries */
  uint32_t nin, nio, nbuf; /* inputs; with outputs; all */
  KStmt *body;
  uint32_t next_id;
  const struct Origin *origin; /* of the node that is being lowered, or NULL */
} Kernel;

/* --- building (kernel.c): everything in the kernel's arena --- */
Kernel *kernel_create(Ctx *c, Arena *a, const char *name);
KBuf *kernel_add_buf(Kernel *k, const char *name, DType t, int rank, Dim const *dim, bool output); /* inputs first */
KBuf *kernel_add_temp(Kernel *k, const char *name, DType t, int rank, Dim const *dim); /* behind the outputs */

KExpr *ke_float(Kernel *k, DType t, double v);
KExpr *ke_int(Kernel *k, DType t, int64_t v);
KExpr *ke_dim(Kernel *k, Dim d); /* constants become KE_INT */
KExpr *ke_var(Kernel *k, KVar *v);
KExpr *ke_load(Kernel *k, KBuf *b, KExpr *const *index);
/* These fold constants and the plain identities x+0, x*1, 0*i of integers. */
KExpr *ke_unary(Kernel *k, KOp op, KExpr *a);
KExpr *ke_binary(Kernel *k, KOp op, KExpr *a, KExpr *b);
KExpr *ke_select(Kernel *k, KExpr *cond, KExpr *a, KExpr *b);
KExpr *ke_cast(Kernel *k, DType t, KExpr *a); /* a itself when it has that dtype */
KExpr *ke_cast_mode(Kernel *k, DType t, KExpr *a, int mode);

/* A place where statements go: the end of a statement list. */
typedef struct KCursor {
  Kernel *k;
  KStmt **at;
} KCursor;
KCursor kernel_cursor(Kernel *k);                                          /* the kernel's body */
KStmt *ks_for(KCursor *at, const char *name, Dim extent, KCursor *inside); /* serial; *inside: its body */
KVar *ks_let(KCursor *at, const char *name, KExpr *value);
KVar *ks_acc(KCursor *at, const char *name, KExpr *init);
void ks_update(KCursor *at, KVar *acc, KOp op, KExpr *value);
void ks_store(KCursor *at, KBuf *b, KExpr *const *index, KExpr *value);
void ks_if(KCursor *at, KExpr *cond, KCursor *inside);
KStmt *ks_check(KCursor *at, KExpr *cond, KExpr *number);

/* Does e change with v, through definitions as well? */
bool kernel_depends(const KExpr *e, const KVar *v);
/* In the list, v becomes the expression `with`. */
void kernel_substitute(Kernel *k, KStmt *list, const KVar *v, KExpr *with);
/* Is the loop an ordered one, or does it read an accumulator from outside that it updates (a scan), assign one or update it by
 * several operators, or store to one place again and again? Then it cannot be a vector loop. */
bool kernel_loop_ordered(const KStmt *loop);
/* Is it ordered only because its accumulators are read as they grow, each updated once by one operator: can it be a scan? */
bool kernel_loop_scans(const KStmt *loop);
/* May its iterations run in any order, each with temporaries of its own? Then it can be a parallel loop. */
bool kernel_loop_splits(const KStmt *loop);
int64_t kernel_chunk(const KStmt *loop); /* iterations per part of a parallel loop with a width */

/* --- whole kernels --- */
/* The checks in the order of their codes: first code 2. Returns their number; at may be NULL. */
uint32_t kernel_checks(const Kernel *k, const KStmt **at);
/* Definitions before uses and in scope, dtypes, ranks, no accumulator across a parallel loop, stores to outputs only. */
Status kernel_verify(Ctx *c, const Kernel *k);
void kernel_print(StrBuf *b, const Kernel *k);
Status kernel_parse(Ctx *c, Arena *a, const char *text, size_t n, const char *file, Kernel **out);
/* The text with buffers, variables and symbols renamed in order of appearance: equal texts, equal code. The symbols and dim
 * expressions in that order (the KernelArgs.dim of the compiled code) go to *dim. In the kernel's arena. */
const char *kernel_signature(Kernel *k, const Dim **dim, uint32_t *ndim);
/* The same in arena a: k is only read. */
const char *kernel_signature_in(Arena *a, const Kernel *k, const Dim **dim, uint32_t *ndim);
/* The same for code that gets the values of the dims `open`, constants or not or NULL, from elsewhere: which of them stands where. */
const char *kernel_signature_open(Arena *a, const Kernel *k, const Dim *open, uint32_t nopen, const Dim **dim,
                                  uint32_t *ndim);
/* Runs the kernel on tensors (inputs, then outputs, dims filled in) statement by statement, with temporaries of its own that
 * hold garbage at first: the oracle of emission.
 * get gives the symbols' values. ST_INVALID: a KS_CHECK failed. */
Status kernel_eval(Ctx *c, const Kernel *k, Tensor *const *buf, bool (*get)(void *arg, Dim sym, int64_t *v), void *arg);

#endif
