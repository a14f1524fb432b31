/* gradient_recurrent.c - recurrent layers in front of a Gradient, written out step by step in operators that have rules.
 *
 * With the columns of a step's product cut into gates, the step t from H (and C) is, in ONNX's order of gates,
 *
 *   LSTM   i, o, f = sigmoid, c = tanh of X[t] W' + H R' + b;   C' = f C + i c;   H' = o tanh(C'); peepholes add P C, P C' for o
 *   GRU    z, r = sigmoid of theirs, h = tanh(X[t] W' + (r H) R' + b), or r (H R' + b) where linear_before_reset;   H' = (1 - z) h + z H
 *   RNN    H' = tanh(X[t] W' + H R' + b)
 *
 * A layer whose steps are not known before the run, that has lengths, a clip or other activations stays, and has no derivative.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

enum { MOST_STEPS = 4096 };

typedef struct Layer {
  Match m;
  Node *n;
  OpId op;
  int gates;
  int64_t steps, hidden, dirs;
  Str direction;
  bool batch_first, linear;
} Layer;

typedef struct Weights {
  Value *r, *bw, *br, *peep; /* R transposed; of W and R; absent ones NULL */
} Weights;

static Value *given(const Layer *l, int i) { return i < l->n->nin ? l->n->in[i] : NULL; }
static Value *plus(Layer *l, Value *a, Value *b) { return !a ? b : b ? EMIT(&l->m, Add, NULL, a, b) : a; }
static Value *times(Layer *l, Value *a, Value *b) { return EMIT(&l->m, Mul, NULL, a, b); }
static Value *sigmoid(Layer *l, Value *x) { return EMIT(&l->m, Sigmoid, NULL, x); }
static Value *tanh_of(Layer *l, Value *x) { return EMIT(&l->m, Tanh, NULL, x); }

/* v[i] along an axis. */
static Value *pick(Layer *l, Value *v, int64_t i, int axis) {
  GatherAttr a = {.axis = axis};
  return v ? EMIT(&l->m, Gather, &a, v, const_like(&l->m, (double)i, DT_i64)) : NULL;
}

/* Part k of the last axis, which has parts of `hidden`. */
static Value *gate(Layer *l, Value *v, int64_t k) {
  int64_t from = k * l->hidden, to = from + l->hidden, last = -1;
  return v ? EMIT(&l->m, Slice, NULL, v, const_ints(&l->m, &from, 1), const_ints(&l->m, &to, 1),
                  const_ints(&l->m, &last, 1))
           : NULL;
}

/* H R' + b of R. */
static Value *recurrence(Layer *l, const Weights *w, Value *h) {
  return plus(l, h ? EMIT(&l->m, MatMul, NULL, h, w->r) : NULL, w->br);
}

static Value *lstm_step(Layer *l, const Weights *w, Value *x, Value *h, Value **c) {
  Value *z = plus(l, x, recurrence(l, w, h)),
        *peep[3] = {gate(l, w->peep, 0), gate(l, w->peep, 1), gate(l, w->peep, 2)};
  Value *in = gate(l, z, 0), *forget = gate(l, z, 2), *out = gate(l, z, 1);
  if (w->peep && *c)
    in = plus(l, in, times(l, peep[0], *c)), forget = plus(l, forget, times(l, peep[2], *c));
  Value *next = times(l, sigmoid(l, in), tanh_of(l, gate(l, z, 3)));
  *c = *c ? plus(l, times(l, sigmoid(l, forget), *c), next) : next;
  if (w->peep)
    out = plus(l, out, times(l, peep[1], *c));
  return times(l, sigmoid(l, out), tanh_of(l, *c));
}

static Value *gru_step(Layer *l, const Weights *w, Value *x, Value *h) {
  Value *y = recurrence(l, w, h), *z = sigmoid(l, plus(l, gate(l, x, 0), gate(l, y, 0))),
        *r = sigmoid(l, plus(l, gate(l, x, 1), gate(l, y, 1))), *back = gate(l, y, 2);
  if (l->linear) {
    back = back ? times(l, r, back) : NULL;
  } else {
    int64_t from = 2 * l->hidden, to = 3 * l->hidden, last = -1;
    Value *part = h ? EMIT(&l->m, Slice, NULL, w->r, const_ints(&l->m, &from, 1), const_ints(&l->m, &to, 1),
                           const_ints(&l->m, &last, 1))
                    : NULL;
    back = plus(l, h ? EMIT(&l->m, MatMul, NULL, times(l, r, h), part) : NULL, gate(l, w->br, 2));
  }
  Value *fresh = tanh_of(l, plus(l, gate(l, x, 2), back)),
        *kept = EMIT(&l->m, Sub, NULL, const_like(&l->m, 1, x->type.dtype), z);
  fresh = times(l, kept, fresh);
  return h ? plus(l, fresh, times(l, z, h)) : fresh;
}

static Value *transposed(Layer *l, Value *v) { return transpose_by(&l->m, v, (int64_t[]){1, 0}, 2); }

/* One direction: y[t] of every step; the last H and C. */
static void run_direction(Layer *l, int64_t d, Value **y, Value **h, Value **c) {
  int state = l->batch_first ? 1 : 0;
  bool back = str_is(l->direction, "reverse") || d == 1;
  int64_t zero = 0, middle = l->gates * l->hidden, end = 2 * middle;
  Value *b = pick(l, given(l, 3), d, 0);
  Weights w = {.r = transposed(l, pick(l, l->n->in[2], d, 0)),
               .peep = l->op == OP_LSTM ? pick(l, given(l, 7), d, 0) : NULL};
  if (b) {
    w.bw = EMIT(&l->m, Slice, NULL, b, const_ints(&l->m, &zero, 1), const_ints(&l->m, &middle, 1));
    w.br = EMIT(&l->m, Slice, NULL, b, const_ints(&l->m, &middle, 1), const_ints(&l->m, &end, 1));
  }
  Value *x = EMIT(&l->m, MatMul, NULL, l->n->in[0], transposed(l, pick(l, l->n->in[1], d, 0)));
  x = plus(l, x, w.bw);
  *h = pick(l, given(l, 5), d, state), *c = l->op == OP_LSTM ? pick(l, given(l, 6), d, state) : NULL;
  for (int64_t i = 0; i < l->steps && !l->m.st; i++) {
    int64_t t = back ? l->steps - 1 - i : i;
    Value *at = pick(l, x, t, l->batch_first ? 1 : 0);
    *h = l->op == OP_LSTM  ? lstm_step(l, &w, at, *h, c)
         : l->op == OP_GRU ? gru_step(l, &w, at, *h)
                           : tanh_of(l, plus(l, at, recurrence(l, &w, *h)));
    y[t] = *h;
  }
}

/* Values side by side along a new axis. */
static Value *stack(Layer *l, Value *const *v, int64_t n, int64_t axis) {
  ConcatAttr along = {.axis = axis};
  Value **one = arena_array(l->m.g->arena, Value *, (size_t)n);
  for (int64_t i = 0; i < n; i++)
    one[i] = EMIT(&l->m, Unsqueeze, NULL, v[i], const_ints(&l->m, &axis, 1));
  return n == 1 ? one[0] : emit(&l->m, OP_Concat, &along, (int)n, one);
}

static bool usual(Strs given, const char *const *names, int n) {
  for (int64_t i = 0; i < given.n; i++)
    if (!str_is(given.v[i], names[i % n]))
      return false;
  return true;
}

/* Has the layer the form above? */
static bool layer_of(Node *n, Layer *l) {
  static const char *const of_lstm[] = {"Sigmoid", "Tanh", "Tanh"}, *const of_rnn[] = {"Tanh"};
  float clip;
  int64_t layout;
  *l = (Layer){.n = n, .op = n->op};
  if (n->op == OP_LSTM) {
    const LSTMAttr *a = ATTR(n, LSTM);
    l->gates = 4, l->direction = a->direction, clip = a->clip, layout = a->layout;
    if (!usual(a->activations, of_lstm, 3) || a->input_forget)
      return false;
  } else if (n->op == OP_GRU) {
    const GRUAttr *a = ATTR(n, GRU);
    l->gates = 3, l->direction = a->direction, clip = a->clip, layout = a->layout,
    l->linear = a->linear_before_reset != 0;
    if (!usual(a->activations, of_lstm, 2))
      return false;
  } else {
    const RNNAttr *a = ATTR(n, RNN);
    l->gates = 1, l->direction = a->direction, clip = a->clip, layout = a->layout;
    if (!usual(a->activations, of_rnn, 1))
      return false;
  }
  l->batch_first = layout != 0;
  if (clip == clip || given(l, 4) || !type_known(n->in[0]) || !type_known(n->in[1]) || !type_known(n->in[2]))
    return false;
  return dim_is_const(n->in[0]->type.dim[l->batch_first], &l->steps) && l->steps > 0 && l->steps <= MOST_STEPS &&
         dim_is_const(n->in[2]->type.dim[2], &l->hidden) && dim_is_const(n->in[2]->type.dim[0], &l->dirs) &&
         l->dirs <= 2;
}

Status unroll_recurrent(Ctx *c, Node *n) {
  Layer l;
  Value *last[2], *cell[2], *dir[2];
  if (!layer_of(n, &l))
    return ST_OK;
  l.m = (Match){.c = c, .g = n->graph, .root = n, .nnode = 1, .node = {n}};
  Value **y = arena_array(n->graph->arena, Value *, (size_t)l.steps);
  for (int64_t d = 0; d < l.dirs; d++) {
    run_direction(&l, d, y, &last[d], &cell[d]);
    dir[d] = l.m.st ? NULL : stack(&l, y, l.steps, l.batch_first ? 1 : 0);
    if (l.m.st)
      return l.m.st;
  }
  Value *made[3] = {stack(&l, dir, l.dirs, l.batch_first ? 2 : 1), stack(&l, last, l.dirs, l.batch_first ? 1 : 0),
                    l.op == OP_LSTM ? stack(&l, cell, l.dirs, l.batch_first ? 1 : 0) : NULL};
  for (int i = 0; i < n->nout && !l.m.st; i++)
    if (n->out[i])
      replace_value(n->out[i], made[i]);
  if (!l.m.st)
    remove_dead(n);
  return l.m.st;
}
