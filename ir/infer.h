/* infer.h - type and shape inference: the driver, and what an operator's inference function may ask and say.
 *
 * Before calling it the driver has checked arity and the signature (dtypes). The function sets the shape of each output;
 * a dtype that the signature determines may be left at DT_none. An output it does not set gets unknown rank. When an
 * input's rank is not known and the function asks for it through in_rank, the driver gives all outputs unknown rank.
 * Shapes that cannot be right for any values of the symbols are errors; what cannot be decided is left to the run.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_IR_INFER_H
#define SARD_IR_INFER_H

#include "ir/graph.h"

typedef struct Infer {
  Ctx *c;
  Graph *g;
  Node *n;
  Arena *arena;                /* the graph's */
  Type *out;                   /* nout of them */
  const Dim **content;         /* of each output: its elements as dim expressions, when they are known; NULL */
  bool unknown;                /* set by in_rank & co.: a needed type is not known */
  struct Assumptions *assumed; /* where to note what cannot be decided; or NULL */
} Infer;

/* Extents that inference took to be equal, because nothing but a run tells. */
typedef struct Assumption {
  Dim a, b;
  const char *what; /* a message with {a} and {b} (pair_text), or the name of b in one */
} Assumption;
typedef struct Assumptions {
  Assumption *list;
  uint32_t n, cap;
} Assumptions;

/* Types every node of g and its bodies in order. Declared types of outputs (from the file) are kept where inference
 * knows less; a contradiction between constants is an error. */
Status graph_infer(Ctx *c, Graph *g);
Status node_infer(Ctx *c, Node *n); /* one node, its inputs being typed */
/* What inference of a node that it has typed takes for granted, in arena a. */
Assumptions node_assumptions(Ctx *c, Arena *a, const Node *n);

/* --- for inference functions --- */
bool has_in(const Infer *x, int i);         /* given */
bool has_out(const Infer *x, int i);        /* wanted */
const Type *in_type(const Infer *x, int i); /* input must be given */
/* Rank of input i. False: it is not known (x->unknown is set): return ST_OK at once. */
bool in_rank(Infer *x, int i, int *rank);
Dim in_dim(const Infer *x, int i, int axis); /* rank known, 0 <= axis < rank */
/* The elements of integer input i as dim expressions. False: not known (x->unknown is not set). */
bool in_content(const Infer *x, int i, const Dim **elem, int64_t *n);
/* The elements of integer input i when all are constants. */
bool in_ints(const Infer *x, int i, const int64_t **elem, int64_t *n);
bool in_const(const Infer *x, int i, const Tensor **t); /* constant input of any dtype */

void set_out(Infer *x, int i, DType t, int rank, Dim const *dim); /* no-op when the output is not wanted */
void set_out_like(Infer *x, int i, int in);                       /* dtype and shape of an input */
void set_out_type(Infer *x, int i, Type t);
void set_content(Infer *x, int i, const Dim *elem); /* as many as the output has elements; copied */

/* axis in [-rank, rank-1] (or up to rank when inclusive) to [0, rank); ST_INVALID with a message otherwise. */
Status norm_axis(Infer *x, int64_t axis, int rank, bool inclusive, int *out);
/* The broadcast shape of two shapes; ST_INVALID when it cannot be. out has room for MAX_RANK. */
Status broadcast_dims(Infer *x, int ra, Dim const *a, int rb, Dim const *b, int *rank, Dim *out);
/* Requires a == b; where only a run tells it is an assumption, which that checks. what: names the
 * dimension in the message, or is all of it, with {a} and {b}. Returns the more precise one in *r. */
Status same_dim(Infer *x, Dim a, Dim b, const char *what, Dim *r);
/* fail(ST_INVALID) with the shapes of all inputs behind the text. */
Status infer_fail(Infer *x, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
