/* random.h - random graphs: what the files of tests/random share.
 *
 * A graph is made node by node: an operator, inputs among the values so far, attributes; what inference or evaluation refuses is
 * taken back. So every graph is valid, and all of its values are known. As text it is then run in several ways (variants.c)
 * and judged against the reference evaluators (oracle.c); a graph that fails is made smaller while it fails (reduce.c).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_RANDOM_H
#define SARD_TESTS_RANDOM_H

#include "ir/graph.h"
#include "ir/infer.h"
#include "ops/ops.h"
#include "tests/random/oracle.h"

enum { MAX_POOL = 96 };

typedef struct Rng {
  uint64_t s;
} Rng;
uint64_t rng_next(Rng *r);
int64_t rng_below(Rng *r, int64_t n); /* 0 .. n-1; n > 0 */
bool rng_chance(Rng *r, int percent);

/* --- gen.c --- */

typedef struct Gen {
  Ctx *c;
  Rng r;
  Graph *top, *g; /* g: the graph that nodes go to now: top or a body */
  Interp run;     /* the values so far, at the sizes of this graph */
  Value *pool[MAX_POOL];
  int npool;
  int depth, feeds;
  uint64_t seed;
  OpId favourite; /* tried more often than the others */
} Gen;

/* A node being proposed. */
typedef struct Make {
  OpId op;
  Value *in[12];
  int nin, nout;
  void *attr;
  unsigned absent; /* by output: it is not wanted */
  bool done;       /* the recipe has added the node itself */
} Make;

/* A graph of about `nodes` nodes from a seed, of the operator `favourite` more than of others; NULL: nothing came of it. */
Graph *random_graph(Ctx *c, uint64_t seed, int nodes, OpId favourite);
Status random_read(Ctx *c, const char *text, Graph **g); /* and infers its types */
/* The inputs of graph g from its seed: by name, type and the sizes of the symbols, so that a smaller graph has the same ones. */
Tensor **random_inputs(Ctx *c, Arena *a, const Graph *g, uint64_t seed);
/* A value of the pool that is a tensor with these properties, or NULL. dtype DT_none: any; ranks from lo to hi. */
Value *gen_pick(Gen *g, DType t, int lo, int hi);
Value *gen_float(Gen *g, int lo, int hi);                        /* of f32 mostly */
Value *gen_ints(Gen *g, const int64_t *v, int64_t n, int rank);  /* a constant i64[n], or a scalar with rank 0 */
Value *gen_const(Gen *g, DType t, int rank, const int64_t *dim); /* random elements */
/* A value of this shape at the sizes of this graph: of the pool, a new graph input, or a constant. */
Value *gen_feed(Gen *g, DType t, int rank, const int64_t *dim);
/* Constants. */
Value *gen_shaped_ints(Gen *g, const int64_t *v, int rank, const int64_t *dim);
Value *gen_floats(Gen *g, const float *v, int rank, const int64_t *dim);
Value *gen_positive(Gen *g, DType t, int rank, const int64_t *dim); /* 1/4 .. 2 */
Value *gen_distinct(Gen *g, DType t, int rank, const int64_t *dim); /* no element twice */
Value *gen_zeros(Gen *g, DType t, int rank, const int64_t *dim);
const Tensor *gen_tensor(Gen *g, const Value *v);
bool gen_add(Gen *g, const Make *m); /* false: refused */
void fill_random(Rng *r, Tensor *t, bool special);

/* --- table.c --- */
bool gen_node(Gen *g); /* one more node; false: this try failed */
OpId favourite_of(uint64_t seed);
/* Is the operator generated? If not, why; NULL: the table lacks it. */
bool is_generated(OpId op, const char **why);

/* --- recipes.c --- */
void make_int(Gen *g, Make *m, const char *name, int64_t v);

/* --- variants.c --- */
typedef enum { SAME, DIFFERENT, BROKEN } Verdict; /* BROKEN: an error, a crash or a hang */
/* Runs the graph of a text in every way, in a process of its own. What is wrong goes to why. */
Verdict judge(const char *text, uint64_t seed, char *why, size_t cap);

typedef Verdict Judge(const char *text, uint64_t seed, char *why, size_t cap);

/* --- peer.c --- */
void peer_open(const char *command); /* a shell's command that runs onnx_reference.py */
void peer_close(void);
Verdict judge_by_peer(const char *text, uint64_t seed, char *why, size_t cap);

/* --- reduce.c --- */
/* The smallest graph found that is judged as the given one; its text is malloced. */
char *reduce(const char *text, uint64_t seed, Verdict like, Judge *by);

#endif
