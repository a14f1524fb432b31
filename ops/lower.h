/* lower.h - from operators to kernel IR. An operator says how one element of its output follows from elements of its inputs; who
 * builds the kernel (codegen/group.c) decides which operators are computed in one loop nest, asks the last one for its
 * elements, and answers what it asks for in turn: by a load, or by lowering the operator that makes that value.
 *
 * Three kinds of operators. ELEM: element by element or by moving elements; `elem` gives the expression at an index, having
 * written loops of its own in front where it needs some (a window, an inner product). ROW: statistics over some axes of
 * input 0 come first (`begin`, which writes loops), then either one element per row (reductions) or every element of the row
 * (softmax, norms). NEST: none of these (a scatter, a recurrence): it writes the whole nest, stores included, and is alone in
 * its kernel.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_LOWER_H
#define SARD_OPS_LOWER_H

#include "ir/kernel.h"
#include "ops/ops.h"

enum { LOWER_LEVELS = 2 * MAX_RANK + 4, ROW_STATS = 4 };

/* The loops and conditions around the place where statements go, outermost first. */
typedef struct Level {
  KVar *var;
  KStmt **before; /* the link to the loop's statement: where statements that do not depend on it go; NULL: level 0 */
  int guard;      /* Lower.guard around it */
} Level;

/* An index that was checked and made positive, and how far it is in scope. */
typedef struct CheckedIndex {
  const KExpr *raw;
  Dim extent;
  KExpr *at;
  int level;
  const KVar *scope;
  struct CheckedIndex *next;
} CheckedIndex;

typedef struct Lower {
  Ctx *c;
  Arena *a;
  Kernel *k;
  KCursor at; /* statements go here */
  Level level[LOWER_LEVELS];
  int depth;         /* levels open */
  int guard;         /* level of the innermost condition: loads inside of it stay there; 0: none */
  bool flat;         /* nothing moves out of the innermost loop (epilogues of products) */
  uint8_t *level_of; /* by variable id: how many loops must be open for it to be in scope */
  uint32_t nlevel_of;
  CheckedIndex *checked;
  /* The element of v at index (v's rank of i64 expressions). */
  Status (*read)(struct Lower *x, Value *v, KExpr *const *index, KExpr **e);
  void *arg;
} Lower;

/* A ROW operator at work. Its rows are the elements of input 0 that share the values of the outer axes. */
typedef struct Row {
  Lower *x;
  const Node *n;
  int rank; /* of the space below: that of input 0, or one more (GroupNormalization) */
  Dim dim[MAX_RANK + 1];
  bool inner[MAX_RANK + 1]; /* axes inside a row */
  /* Whether an axis is inside of a row may be known at run time only: then it is both, with one of the extents being 1. That
   * of the loop outside; NULL: it is as `inner` says. */
  Dim outer[MAX_RANK + 1];
  KExpr *lead[MAX_RANK + 1]; /* the index of that loop */
  bool reduced;              /* the output has one element per row, on axes `keep` */
  bool serial;               /* the last pass goes along the row in order */
  bool backwards;            /* …from its end */
  int split;                 /* axis of input 0 that is axes split and split + 1 here; -1: none */
  KExpr *at[MAX_RANK + 1];   /* index: outer axes always, inner ones inside a pass */
  KBuf *spill;               /* an output with the shape of input 0, free to hold results between passes; or NULL */
  KVar *stat[ROW_STATS];     /* what begin found out */
  int64_t flag;
} Row;

typedef enum { LOWER_NONE, LOWER_ELEM, LOWER_ROW, LOWER_NEST } LowerKind;

typedef struct Lowering {
  uint8_t kind;   /* LowerKind */
  uint8_t passes; /* ROW: how often input 0 is read */
  /* Can this node be lowered? Its types are known. Says why not. NULL: always. */
  bool (*can)(Ctx *c, const Node *n, const char **why);
  /* ELEM: element `index` of output `out`. ROW: the same, within the last pass (reduced: behind begin). */
  Status (*elem)(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e);
  /* ROW: fills in the space; then the passes before the last. */
  void (*space)(Ctx *c, Row *r);
  Status (*begin)(Row *r);
  Status (*row_elem)(Row *r, KExpr *const *index, KExpr **e);
  KExpr *(*row_stat)(Row *r, int out); /* ROW: output `out` > 0, of one element per row on the axes outside of it */
  /* NEST: out[i] is the buffer of output i, NULL when it is not wanted. ELEM: the same, for a cache (Value.append). */
  Status (*nest)(Lower *x, const Node *n, KBuf *const *out);
  /* ELEM: an element takes a loop, or elements that others read as well: nothing dear goes into it, and it goes nowhere
   * where it would be computed more than once. */
  bool again;
} Lowering;

const Lowering *op_lowering(OpId op); /* never NULL; kind LOWER_NONE when there is none */
/* Kind of lowering of node n, all of it considered: types, ranks, attributes. *why is set when it is LOWER_NONE. */
LowerKind node_lowering(Ctx *c, const Node *n, const char **why);

/* --- for lowerings --- */
bool lower_dtype(DType t); /* an element type of kernels */
Status lower_read(Lower *x, Value *v, KExpr *const *index, KExpr **e);
/* As lower_read of input i, the index being that of the output, to which the input broadcasts. */
Status lower_read_bcast(Lower *x, const Node *n, int i, KExpr *const *index, KExpr **e);
/* Index j of an axis of extent `want` on an axis of extent `have` that broadcasts to it. */
Status lower_bcast_index(Lower *x, Dim have, Dim want, KExpr *j, KExpr **at);
/* A variable holding e, unless e is one or a constant, defined outside of all loops that e does not depend on. */
KExpr *lower_once(Lower *x, const char *name, KExpr *e);
/* e as it is now: what is stored later does not change it. */
KExpr *lower_now(Lower *x, const char *name, KExpr *e);
int lower_level(const Lower *x, const KExpr *e); /* how many loops e depends on */
/* A KS_CHECK with what it says (KStmt.text), as far out as it can stand, but inside of the outermost loop: what is beside that runs once per thread. */
Status lower_check(Lower *x, KExpr *cond, KExpr *number, Dim bound, const char *text);
/* Two extents that are the same, or of which the first is not above the second; compared in the kernel where that is not known. */
Status lower_same_extent(Lower *x, Dim a, Dim b, const char *text);
Status lower_fits(Lower *x, Dim small, Dim large, const char *text);
/* An index as ONNX has it, on an axis: checked to be in [-extent, extent - 1]; negative ones count from the end. */
Status lower_checked_index(Lower *x, KExpr *i, int axis, Dim extent, KExpr **at);
KExpr *lower_index_const(Lower *x, int64_t v); /* an i64 */
/* Opens a loop at x->at; *behind (may be NULL) is where to go on when it is closed. Returns its variable. */
KExpr *lower_open(Lower *x, const char *name, Dim extent, KCursor *behind);
KExpr *lower_open_ordered(Lower *x, const char *name, Dim extent,
                          KCursor *behind);            /* whose iterations meet in memory */
void lower_if(Lower *x, KExpr *cond, KCursor *behind); /* a level as well: what is read inside is not read before it */
void lower_close(Lower *x, int n, KCursor behind);     /* the n innermost; behind the outermost of them */
/* Loops over the axes [from, to) of t; axes of extent 1 need none. How many were opened. */
int lower_open_axes(Lower *x, const Type *t, int from, int to, KExpr **index, KCursor *behind);
void lower_set_level(Lower *x, const KVar *v, int level);
DType lower_work(DType t); /* the type arithmetic is done in: f32 for narrower floats, else t */
/* Which axes of input 0 input 1 names (when it names none: all, or with `none` none): on[i] is 1 or 0, or an expression over
 * what the data tell. False: how many are named is not known. */
bool axes_named(Ctx *c, const Node *n, bool none, Dim *on);
/* Elements of an integer value as dim expressions: constants, contents known from shapes, or told by data. */
bool value_content(Ctx *c, const Value *v, const Dim **elem, int64_t *n);
/* MaxUnpool: the extents that its indices count in. False: the attributes do not say. */
bool unpooled_extents(Ctx *c, const Node *n, Dim *own);
bool same_dims(const Type *a, const Type *b);

/* What the lowering takes for granted of numbers that only data tell: a == b, or the run fails with `what`. */
typedef struct Need {
  Dim a, b;
  const char *what;
  const Origin *origin; /* of the node */
} Need;
/* Those of node n, in arena a; all numbers that its outputs' extents and its lowering use are known before it runs. */
uint32_t node_needs(Ctx *c, Arena *a, const Node *n, Need **need);

/* Opens a loop over an axis inside of the row: the index on that axis. */
KExpr *row_open(Row *r, int axis, KCursor *behind);
/* The present index in terms of input 0's own axes. */
void row_index(const Row *r, KExpr **at);
/* Reshape & co.: every axis of the input follows from the output's by sums and products alone. */
bool lower_view_affine(Ctx *c, const Node *n);

/* Between lower_outside and lower_back, statements go in front of the loops inside of `level`, as if those were not open. */
typedef struct Outside {
  KCursor at, here;
  KStmt *loop;
  int level, depth, guard;
  Level saved[LOWER_LEVELS];
} Outside;
void lower_outside(Lower *x, int level, Outside *o);
void lower_back(Lower *x, const Outside *o);

/* An accumulator at x->at. */
KVar *lower_acc(Lower *x, const char *name, KExpr *init);

/* Short forms of expressions. */
static inline KExpr *k_add(Lower *x, KExpr *a, KExpr *b) { return ke_binary(x->k, KOP_add, a, b); }
static inline KExpr *k_sub(Lower *x, KExpr *a, KExpr *b) { return ke_binary(x->k, KOP_sub, a, b); }
static inline KExpr *k_mul(Lower *x, KExpr *a, KExpr *b) { return ke_binary(x->k, KOP_mul, a, b); }
static inline KExpr *k_div(Lower *x, KExpr *a, KExpr *b) { return ke_binary(x->k, KOP_div, a, b); }
static inline KExpr *k_bin(Lower *x, KOp op, KExpr *a, KExpr *b) { return ke_binary(x->k, op, a, b); }
static inline KExpr *k_un(Lower *x, KOp op, KExpr *a) { return ke_unary(x->k, op, a); }
/* A constant of the type of `like`. */
KExpr *k_num(Lower *x, const KExpr *like, double v);

#endif
