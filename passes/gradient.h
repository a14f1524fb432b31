/* gradient.h - what the rules of the pass `gradient` are written in.
 *
 * A rule is called with a node and the gradients of its outputs; it gives those of the inputs that are wanted. All that it
 * emits is placed before the Gradient node, and is made of operators that have rules themselves, so that gradients of
 * gradients work. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_PASSES_GRADIENT_H
#define SARD_PASSES_GRADIENT_H

#include "passes/rewrite.h"

typedef struct Back {
  Match m;            /* its root is the Gradient node */
  Node *n;            /* the node that is gone through, in its newest form */
  Value **dy;         /* of each output; NULL: none comes */
  Value **dx;         /* of each input; NULL: none given yet, or zero */
  const bool *wanted; /* of each input */
  Value **outer;      /* of nodes with bodies: what these read from outside, of which gradients are wanted */
  Value **douter;     /* of each of those */
  int nouter;
  Arena *scratch;
} Back;

typedef void (*BackFn)(Back *b);

/* The rule of an operator, or NULL (gradient_rules.c). */
BackFn gradient_rule(OpId op);

/* A recurrent layer of a known number of steps as those steps; others stay (gradient_recurrent.c). */
Status unroll_recurrent(Ctx *c, Node *n);

/* What n and its bodies read that is not made in the bodies. */
Value **node_reads(Arena *a, const Node *n, uint32_t *count);
/* n once more, with its bodies; map: by the ids of values, what stands for them. Not inferred. */
Node *copy_with_bodies(Graph *to, Node *before, const Node *n, Value **map);
Status pass_gradient(Ctx *c, Graph *g);

/* --- families (gradient_*.c) --- */
void back_unary(Back *b);
bool has_slope(OpId op);
void back_none(Back *b), back_add(Back *b), back_sub(Back *b), back_mul(Back *b), back_div(Back *b), back_pow(Back *b),
    back_prelu(Back *b), back_extreme(Back *b), back_sum(Back *b), back_where(Back *b), back_clip(Back *b),
    back_cast(Back *b);
void back_reshape(Back *b), back_transpose(Back *b), back_concat(Back *b), back_split(Back *b), back_expand(Back *b),
    back_pick(Back *b), back_pad(Back *b), back_trilu(Back *b), back_scatter_elements(Back *b),
    back_scatter_nd(Back *b), back_top_k(Back *b), back_max_pool(Back *b), back_dropout(Back *b);
void back_reduce_sum(Back *b), back_reduce_mean(Back *b), back_reduce_extreme(Back *b), back_reduce_l1(Back *b),
    back_reduce_prod(Back *b), back_reduce_l2(Back *b), back_reduce_square(Back *b), back_reduce_log_sum(Back *b),
    back_reduce_log_sum_exp(Back *b), back_cumsum(Back *b), back_softmax(Back *b), back_log_softmax(Back *b),
    back_global_average(Back *b), back_nll_loss(Back *b);
void back_matmul(Back *b), back_gemm(Back *b), back_einsum(Back *b);
void back_attention(Back *b);
void back_if(Back *b), back_trips(Back *b);
void back_conv(Back *b), back_conv_transpose(Back *b), back_average_pool(Back *b);
void back_layer_norm(Back *b), back_rms_norm(Back *b), back_batch_norm(Back *b);

/* --- the vocabulary (gradient.c) --- */
bool wants(const Back *b, int i);
/* dx of input i, summed over what broadcasting had repeated. */
void give(Back *b, int i, Value *dx);
/* ST_UNSUPPORTED, with the operator's name in front. */
void no_rule(Back *b, const char *why);

Value *num(Back *b, double x, const Value *like);        /* a scalar of that dtype */
Value *apply1(Back *b, OpId op, Value *x);               /* an operator without attributes */
Value *apply2(Back *b, OpId op, Value *x, Value *y);     /* the same */
Value *select_of(Back *b, Value *c, Value *x, Value *y); /* Where */
Value *as(Back *b, Value *x, DType t);                   /* Cast, unless it has that dtype */
Value *zeros_like(Back *b, Value *x);
Value *shape_of(Back *b, Value *x);
Value *shaped_like(Back *b, Value *x, Value *like);         /* Reshape */
Value *spread_like(Back *b, Value *x, Value *like);         /* Expand */
Value *sum_over(Back *b, Value *x, Value *axes, bool keep); /* ReduceSum; axes NULL: all */
/* Zeros like x, plus each element of dy at the place in flattened x that `place`, of dy's shape, names. */
Value *scatter_back(Back *b, Value *x, Value *place, Value *dy);
/* Of x's shape: the place of each element in flattened x. */
Value *places(Back *b, Value *x);
/* Output i of the node; of a copy of the node, when the graph does not want it. */
Value *also_output(Back *b, int i);

static inline Value *add(Back *b, Value *x, Value *y) { return apply2(b, OP_Add, x, y); }
static inline Value *sub(Back *b, Value *x, Value *y) { return apply2(b, OP_Sub, x, y); }
static inline Value *mul(Back *b, Value *x, Value *y) { return apply2(b, OP_Mul, x, y); }
static inline Value *quot(Back *b, Value *x, Value *y) { return apply2(b, OP_Div, x, y); }
static inline Value *neg(Back *b, Value *x) { return apply1(b, OP_Neg, x); }
static inline Value *square(Back *b, Value *x) { return mul(b, x, x); }
static inline Value *scaled(Back *b, Value *x, double k) { return k == 1 ? x : mul(b, x, num(b, k, x)); }

#endif
