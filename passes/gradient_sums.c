/* gradient_sums.c - derivatives of reductions, of what divides by them, and of the likelihood loss.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

/* --- Reduce* --- */

static Value *axes_of(const Back *b) { return b->n->nin > 1 ? b->n->in[1] : NULL; }

/* v, of y's shape, with the axes that were dropped as 1. */
static Value *kept(Back *b, Value *v) {
  const ReduceAttr *a = ATTR(b->n, Reduce);
  Value *axes = axes_of(b);
  int64_t one[MAX_RANK];
  int rank = b->n->in[0]->type.rank;
  if (a->keepdims || (!axes && a->noop_with_empty_axes))
    return v;
  if (axes && type_known(axes) && !dim_is(axes->type.dim[0], 0))
    return EMIT(&b->m, Unsqueeze, NULL, v, axes);
  if (axes && !a->noop_with_empty_axes && rank >= 0)
    axes = NULL; /* none are all */
  if (axes || rank < 0) {
    no_rule(b, axes ? "has axes that only a run tells" : "meets a tensor of unknown rank");
    return v;
  }
  for (int i = 0; i < rank; i++)
    one[i] = 1;
  return EMIT(&b->m, Reshape, NULL, v, const_ints(&b->m, one, rank));
}

/* v, of y's shape, repeated to x's. */
static Value *repeated(Back *b, Value *v) { return spread_like(b, kept(b, v), b->n->in[0]); }

/* How many elements of x there are to one of y, as a scalar. */
static Value *ratio(Back *b, Value *x, Value *y) {
  Value *n = quot(b, apply1(b, OP_Size, x),
                  apply2(b, OP_Max, apply1(b, OP_Size, y), num(b, 1, &(Value){.type.dtype = DT_i64})));
  return as(b, n, x->type.dtype);
}

void back_reduce_sum(Back *b) { give(b, 0, repeated(b, b->dy[0])); }

void back_reduce_mean(Back *b) { give(b, 0, repeated(b, quot(b, b->dy[0], ratio(b, b->n->in[0], b->n->out[0])))); }

/* Equal ones share. */
void back_reduce_extreme(Back *b) {
  Value *x = b->n->in[0], *y = b->n->out[0];
  Value *is = as(b, apply2(b, OP_Equal, x, kept(b, y)), x->type.dtype);
  ReduceAttr like = *ATTR(b->n, Reduce);
  Value *in[2] = {is, axes_of(b)};
  Value *count = emit(&b->m, OP_ReduceSum, &like, in[1] ? 2 : 1, in);
  give(b, 0, mul(b, is, kept(b, quot(b, b->dy[0], count))));
}

void back_reduce_l1(Back *b) { give(b, 0, mul(b, apply1(b, OP_Sign, b->n->in[0]), kept(b, b->dy[0]))); }

void back_reduce_l2(Back *b) { /* x / y, 0 where all of x are 0 */
  Value *x = b->n->in[0], *y = b->n->out[0], *zero = apply2(b, OP_Equal, y, num(b, 0, y));
  Value *part = quot(b, b->dy[0], select_of(b, zero, num(b, 1, y), y));
  give(b, 0, mul(b, x, kept(b, select_of(b, zero, num(b, 0, y), part))));
}

void back_reduce_square(Back *b) { give(b, 0, mul(b, scaled(b, b->n->in[0], 2), kept(b, b->dy[0]))); }

/* The product of the others: of all that are not 0, divided by x itself unless that is 0; nothing where two of them are. */
void back_reduce_prod(Back *b) {
  Value *x = b->n->in[0], *is_zero = apply2(b, OP_Equal, x, num(b, 0, x)), *zero = num(b, 0, x), *one = num(b, 1, x);
  Value *others = select_of(b, is_zero, one, x), *in[2] = {as(b, is_zero, x->type.dtype), axes_of(b)};
  ReduceAttr like = *ATTR(b->n, Reduce);
  Value *zeros = kept(b, emit(&b->m, OP_ReduceSum, &like, in[1] ? 2 : 1, in));
  in[0] = others;
  Value *product = kept(b, emit(&b->m, OP_ReduceProd, &like, in[1] ? 2 : 1, in));
  Value *alone = select_of(b, apply2(b, OP_Equal, zeros, one), product, zero);
  Value *among = select_of(b, apply2(b, OP_Equal, zeros, zero), quot(b, product, others), zero);
  give(b, 0, mul(b, select_of(b, is_zero, alone, among), kept(b, b->dy[0])));
}

void back_reduce_log_sum(Back *b) { /* exp(-y) = 1 / sum */
  give(b, 0, repeated(b, mul(b, b->dy[0], apply1(b, OP_Exp, neg(b, b->n->out[0])))));
}

void back_reduce_log_sum_exp(Back *b) {
  Value *share = apply1(b, OP_Exp, sub(b, b->n->in[0], kept(b, b->n->out[0])));
  give(b, 0, mul(b, share, kept(b, b->dy[0])));
}

void back_cumsum(Back *b) {
  CumulateAttr a = *ATTR(b->n, Cumulate);
  a.reverse = !a.reverse;
  give(b, 0, EMIT(&b->m, CumSum, &a, b->dy[0], b->n->in[1]));
}

/* --- what divides by a sum --- */

static Value *along(Back *b, Value *x) {
  return sum_over(b, x, const_ints(&b->m, (int64_t[]){ATTR(b->n, Softmax)->axis}, 1), true);
}

void back_softmax(Back *b) {
  Value *y = b->n->out[0], *dy = b->dy[0];
  give(b, 0, mul(b, y, sub(b, dy, along(b, mul(b, dy, y)))));
}

void back_log_softmax(Back *b) {
  Value *p = apply1(b, OP_Exp, b->n->out[0]);
  give(b, 0, sub(b, b->dy[0], mul(b, p, along(b, b->dy[0]))));
}

void back_global_average(Back *b) {
  Value *x = b->n->in[0];
  give(b, 0, spread_like(b, quot(b, b->dy[0], ratio(b, x, b->n->out[0])), x));
}

/* loss = -w[t] p[t]; what reduces it stands behind it (losses.c). */
void back_nll_loss(Back *b) {
  Node *n = b->n;
  const LossAttr *a = ATTR(n, Loss);
  Value *p = n->in[0], *t = n->in[1], *w = n->nin > 2 ? n->in[2] : NULL, *g = neg(b, b->dy[0]);
  GatherAttr first = {.axis = 0};
  ScatterElementsAttr put = {.axis = 1, .reduction = str_of("none")};
  if (!str_is(a->reduction, "none") || wants(b, 2)) {
    no_rule(b, wants(b, 2) ? "has no derivative by its weights" : "has no derivative with this reduction here");
    return;
  }
  Value *ignored = a->ignore_index == ABSENT ? NULL : apply2(b, OP_Equal, t, num(b, (double)a->ignore_index, t));
  t = ignored ? select_of(b, ignored, num(b, 0, t), t) : t;
  g = w ? mul(b, g, EMIT(&b->m, Gather, &first, w, t)) : g;
  g = ignored ? select_of(b, ignored, num(b, 0, g), g) : g;
  Value *one = const_ints(&b->m, (int64_t[]){1}, 1);
  t = apply2(b, OP_Unsqueeze, t, one);
  g = apply2(b, OP_Unsqueeze, g, one);
  give(b, 0, EMIT(&b->m, ScatterElements, &put, zeros_like(b, p), t, g));
}
