/* rewrite.h - rewriting by rules: a pattern, and a function that builds what takes its place.
 *
 *     static const Rule rules[] = {
 *       {"x*1", P(Mul, V(0), K(1)), keep_x},
 *     };
 *     Status pass_tidy(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
 *
 * Patterns are static data. Operators that are commutative match in both orders, with full backtracking. A variable
 * that occurs twice stands for one value. A node matched by P1 has no use outside the match, so that it goes away.
 * `make` returns the value that replaces the root's first output, or NULL (before it emitted anything) to decline. The
 * rewriter infers the types of new nodes, merges the origins of all matched nodes into them, removes what died, logs
 * the rule's name (ctx_log level 2), and sweeps graph and bodies until nothing matches any more.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_PASSES_REWRITE_H
#define SARD_PASSES_REWRITE_H

#include "ir/infer.h"
#include "ops/ops.h"

enum { MAX_VARS = 16, MAX_MATCHED = 64 };

typedef struct Match {
  Ctx *c;
  Graph *g; /* graph of the root */
  Node *root;
  Value *v[MAX_VARS];      /* bound variables */
  Node *node[MAX_MATCHED]; /* matched nodes; node[0] is the root */
  int nnode;
  uint64_t inner;       /* bit i: node[i] must have no use outside */
  Status st;            /* set when something that make called failed */
  const Origin *origin; /* merged; made by the first emit */
} Match;

typedef enum { PK_OP, PK_VAR, PK_CONST, PK_NUM, PK_ALT } PatKind;

typedef struct Pat {
  uint8_t kind; /* PatKind */
  uint8_t var;  /* PK_VAR, PK_CONST */
  bool inner;   /* PK_OP: P1 */
  OpId op;      /* PK_OP; OP_none: any operator */
  double num;   /* PK_NUM: a constant of one element of this value, as near as its dtype holds it */
  bool (*test)(const Match *m, const Value *v); /* of the value (for PK_OP: output 0 of the node), or NULL */
  const struct Pat *const *in; /* PK_OP: all inputs, NULL-ended; NULL: inputs do not matter. PK_ALT: the choices */
} Pat;

#define PAT_LIST(...)                                                                                                  \
  (const Pat *const[]) { __VA_ARGS__, NULL }
#define P(name, ...)   (&(const Pat){.kind = PK_OP, .op = OP_##name, .in = PAT_LIST(__VA_ARGS__)})
#define P1(name, ...)  (&(const Pat){.kind = PK_OP, .op = OP_##name, .inner = true, .in = PAT_LIST(__VA_ARGS__)})
#define OPERATOR(name) (&(const Pat){.kind = PK_OP, .op = OP_##name}) /* whatever its inputs */
#define V(i)           (&(const Pat){.kind = PK_VAR, .var = (i)})
#define W(i, fn)       (&(const Pat){.kind = PK_VAR, .var = (i), .test = fn})
#define C(i)           (&(const Pat){.kind = PK_CONST, .var = (i)})
#define K(x)           (&(const Pat){.kind = PK_NUM, .num = (x)})
#define ALT(...)       (&(const Pat){.kind = PK_ALT, .in = PAT_LIST(__VA_ARGS__)})

typedef struct Rule {
  const char *name;
  const Pat *pat;
  Value *(*make)(Match *m);
} Rule;

Status rewrite(Ctx *c, Graph *g, const Rule *rules, size_t n);

/* --- for make functions --- */
/* A node before the root with merged origin and inferred type; its first output. attr NULL: defaults. Never NULL: when
 * inference fails m->st is set and the rule is not applied. */
Value *emit(Match *m, OpId op, const void *attr, int nin, Value *const *in);
#define EMIT(m, name, attr, ...)                                                                                       \
  emit(m, OP_##name, attr, (int)countof(((Value *[]){__VA_ARGS__})), (Value *[]){__VA_ARGS__})
Value *const_ints(Match *m, const int64_t *v, int64_t n); /* i64[n] */
Value *const_like(Match *m, double x, DType t);           /* a scalar */
/* Shape tensor i64[n] of these dims: a constant, or a Dims node. Call only when dims_bound. */
Value *dims_value(Match *m, Dim const *d, int n);
Value *reshape_to(Match *m, Value *x, Dim const *d, int n);          /* x itself when it has that shape already */
Value *transpose_by(Match *m, Value *x, const int64_t *perm, int n); /* x itself when perm moves nothing */
void match_also(Match *m, Node *n);                                  /* n takes part too: its origin is merged */

/* --- questions --- */
Node *def_of(const Value *v, OpId op);           /* the node that makes v, when it is of this operator; v may be NULL */
bool is_num(const Value *v, double x);           /* constant of one element equal to x, to the precision of its dtype */
bool type_known(const Value *v);                 /* tensor of known rank and dtype */
bool same_shape(const Value *a, const Value *b); /* provably equal shapes of known rank */
bool same_type(const Value *a, const Value *b);  /* and dtype */
/* Broadcasting k with x leaves the shape of x, provably. */
bool broadcasts_into(const Value *k, const Value *x);
/* Every symbol in d is bound when the graph's inputs are, or is a dimension of `near` (may be NULL). */
bool dims_bound(const Graph *g, Dim const *d, int n, const Value *near);
/* Attribute perm of a Transpose (its default spelt out); false: rank not known. */
bool perm_of(const Node *n, int64_t *perm, int *rank);
/* Normalised axis, or -1 when the rank is not known. */
int axis_of(int64_t axis, const Value *x);

/* --- for passes that are no list of rules --- */
/* Replaces every use of old by `by`, with what old's type says that by's does not. An output of the outermost graph
 * keeps its name: `by` takes it, or an Identity stays behind (then returns false). */
bool replace_value(Value *old, Value *by);
/* Removes n when nothing uses it, then what fed it alone. */
void remove_dead(Node *n);
/* After a value became better known (constant, sharper type): infers its users again, as far as that teaches
 * something. */
Status infer_users(Ctx *c, Value *v);

#endif
