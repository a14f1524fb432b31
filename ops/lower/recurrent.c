/* recurrent.c - lowering of LSTM, GRU and RNN (22).
 *
 *   for each direction d and sequence b (parallel)
 *     z[t, :] = W x[t] + bias, for all steps: each row of W is read once
 *     for t in T, in order:  g = z[t] + R h;  c, h from g;  y[t] = h
 *
 * The state h (and c), the gates g and z are temporaries. Gates stand as ONNX has them: LSTM i o f c, GRU z r h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum { MAX_ACT = 3 };

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

/* --- activations --- */

typedef struct Activation {
  uint8_t which; /* in the table below */
  double alpha, beta;
} Activation;

enum { RELU, TANH, SIGMOID, AFFINE, LEAKY_RELU, THRESHOLDED_RELU, SCALED_TANH, HARD_SIGMOID, ELU, SOFTSIGN, SOFTPLUS };

static const struct {
  const char *name;
  bool has_alpha, has_beta; /* takes the next of activation_alpha, of activation_beta */
  double alpha, beta;
} activations[] = {[RELU] = {"Relu", 0, 0, 0, 0},
                   [TANH] = {"Tanh", 0, 0, 0, 0},
                   [SIGMOID] = {"Sigmoid", 0, 0, 0, 0},
                   [AFFINE] = {"Affine", 1, 1, 1, 0},
                   [LEAKY_RELU] = {"LeakyRelu", 1, 0, 0.01, 0},
                   [THRESHOLDED_RELU] = {"ThresholdedRelu", 1, 0, 1, 0},
                   [SCALED_TANH] = {"ScaledTanh", 1, 1, 1, 1},
                   [HARD_SIGMOID] = {"HardSigmoid", 1, 1, 0.2, 0.5},
                   [ELU] = {"Elu", 1, 0, 1, 0},
                   [SOFTSIGN] = {"Softsign", 0, 0, 0, 0},
                   [SOFTPLUS] = {"Softplus", 0, 0, 0, 0}};

static KExpr *activation(Lower *x, const Activation *f, KExpr *v) {
  KExpr *a = k_num(x, v, f->alpha), *b = k_num(x, v, f->beta), *zero = k_num(x, v, 0), *one = k_num(x, v, 1), *t;
  KExpr *negative = k_bin(x, KOP_lt, v, zero);
  switch (f->which) {
  case RELU: return k_bin(x, KOP_max, v, zero);
  case TANH: return k_un(x, KOP_tanh, v);
  case SIGMOID: return k_un(x, KOP_sigmoid, v);
  case AFFINE: return k_add(x, k_mul(x, a, v), b);
  case LEAKY_RELU: return ke_select(x->k, negative, k_mul(x, a, v), v);
  case THRESHOLDED_RELU: return ke_select(x->k, k_bin(x, KOP_le, a, v), v, zero);
  case SCALED_TANH: return k_mul(x, a, k_un(x, KOP_tanh, k_mul(x, b, v)));
  case HARD_SIGMOID: return k_bin(x, KOP_min, one, k_bin(x, KOP_max, zero, k_add(x, k_mul(x, a, v), b)));
  case ELU: /* exp(v) - 1 = 2t / (1 - t), t = tanh(v / 2) */
    t = lower_once(x, "t", k_un(x, KOP_tanh, k_mul(x, k_bin(x, KOP_min, v, zero), k_num(x, v, 0.5))));
    t = k_div(x, k_mul(x, t, k_num(x, t, 2)), k_sub(x, one, t));
    return ke_select(x->k, negative, k_mul(x, a, t), v);
  case SOFTSIGN: return k_div(x, v, k_add(x, one, k_un(x, KOP_abs, v)));
  default:
    t = k_un(x, KOP_log1p, k_un(x, KOP_exp, k_un(x, KOP_neg, k_un(x, KOP_abs, v))));
    return k_add(x, k_bin(x, KOP_max, v, zero), t);
  }
}

/* --- the node --- */

typedef struct Rnn {
  Lower *x;
  const Node *n;
  Strs names;
  Floats alphas, betas;
  Str direction;
  bool layout, input_forget, linear_before_reset;
  double clip; /* NAN: none */
  int gates, nact, dirs;
  Activation act[2][MAX_ACT];
  DType w; /* of arithmetic */
  Dim T, B, I, H;
  KExpr *d, *b, *back;         /* direction, sequence, whether it runs from its end */
  KBuf *h, *c, *z, *g, *reset; /* temporaries */
} Rnn;

#define COMMON(r, a)                                                                                                   \
  (r)->names = (a)->activations, (r)->alphas = (a)->activation_alpha, (r)->betas = (a)->activation_beta,               \
  (r)->direction = (a)->direction, (r)->layout = (a)->layout != 0, (r)->clip = (double)(a)->clip

static void attributes(const Node *n, Rnn *r) {
  switch (n->op) {
  case OP_LSTM:
    COMMON(r, ATTR(n, LSTM));
    r->gates = 4, r->nact = 3, r->input_forget = ATTR(n, LSTM)->input_forget != 0;
    break;
  case OP_GRU:
    COMMON(r, ATTR(n, GRU));
    r->gates = 3, r->nact = 2, r->linear_before_reset = ATTR(n, GRU)->linear_before_reset != 0;
    break;
  default: COMMON(r, ATTR(n, RNN)); r->gates = r->nact = 1;
  }
  r->dirs = str_is(r->direction, "bidirectional") ? 2 : 1;
}

static bool find_activations(Rnn *r) {
  static const uint8_t standard[2][MAX_ACT] = {{SIGMOID, TANH, TANH}, {TANH}};
  int64_t na = 0, nb = 0, n = (int64_t)r->nact * r->dirs;
  if (r->names.n && r->names.n != n)
    return false;
  for (int i = 0; i < n; i++) {
    uint8_t f = standard[r->n->op == OP_RNN][i % r->nact];
    if (r->names.n)
      for (f = 0; f < countof(activations); f++)
        if (strlen(activations[f].name) == r->names.v[i].len &&
            !strncasecmp(activations[f].name, r->names.v[i].ptr, r->names.v[i].len))
          break;
    if (f == countof(activations))
      return false;
    Activation *a = &r->act[i / r->nact][i % r->nact];
    *a = (Activation){f, activations[f].alpha, activations[f].beta};
    if (activations[f].has_alpha && na < r->alphas.n)
      a->alpha = (double)r->alphas.v[na++];
    if (activations[f].has_beta && nb < r->betas.n)
      a->beta = (double)r->betas.v[nb++];
  }
  return true;
}

static bool shape_is(const Node *n, int i, int rank, Dim a, Dim b, Dim c) {
  Dim want[3] = {a, b, c};
  if (!has(n, i))
    return true;
  if (in_of(n, i)->rank != rank)
    return false;
  for (int k = 0; k < rank; k++)
    if (in_of(n, i)->dim[k] != want[k])
      return false;
  return true;
}

/* Everything about the node. False: shapes that are compared at run time, or attributes that are wrong. */
static bool rnn_of(Ctx *c, const Node *n, Rnn *r) {
  *r = (Rnn){.n = n};
  attributes(n, r);
  const Type *in = in_of(n, 0), *rec = in_of(n, 2);
  if (in->rank != 3 || rec->rank != 3 || !find_activations(r) || r->clip < 0)
    return false;
  r->T = in->dim[r->layout], r->B = in->dim[!r->layout], r->I = in->dim[2], r->H = rec->dim[2];
  Dim d = dim_const(c, r->dirs), gh = dim_mul(c, dim_const(c, r->gates), r->H);
  Dim first = r->layout ? r->B : d, second = r->layout ? d : r->B;
  r->w = lower_work(in->dtype);
  return shape_is(n, 1, 3, d, gh, r->I) && shape_is(n, 2, 3, d, gh, r->H) &&
         shape_is(n, 3, 2, d, dim_mul(c, gh, dim_const(c, 2)), NULL) && shape_is(n, 4, 1, r->B, NULL, NULL) &&
         shape_is(n, 5, 3, first, second, r->H) && shape_is(n, 6, 3, first, second, r->H) &&
         shape_is(n, 7, 2, d, dim_mul(c, r->H, dim_const(c, 3)), NULL);
}

static bool rnn_can(Ctx *c, const Node *n, const char **why) {
  Rnn r;
  *why = "shapes that are compared at run time";
  return rnn_of(c, n, &r);
}

/* --- pieces --- */

/* Gate g of unit i: its place among all gates. */
static KExpr *gate_at(Rnn *r, int g, KExpr *i) {
  return k_add(r->x, ke_dim(r->x->k, dim_mul(r->x->c, r->H, dim_const(r->x->c, g))), i);
}

static KExpr *load1(Rnn *r, KBuf *b, KExpr *i) { return ke_load(r->x->k, b, &i); }
static void store1(Rnn *r, KBuf *b, KExpr *i, KExpr *v) { ks_store(&r->x->at, b, &i, v); }

/* Input i as a number of the work type. */
static Status input(Rnn *r, int i, KExpr *const *index, KExpr **e) {
  TRY(lower_read(r->x, r->n->in[i], index, e));
  *e = ke_cast(r->x->k, r->w, *e);
  return ST_OK;
}

/* Bias of gate j, that of the recurrence when `recurrent`; zero when there is none. */
static Status bias(Rnn *r, KExpr *j, bool recurrent, KExpr **e) {
  Lower *x = r->x;
  Dim gh = dim_mul(x->c, r->H, dim_const(x->c, r->gates));
  KExpr *at[2] = {r->d, recurrent ? k_add(x, ke_dim(x->k, gh), j) : j};
  *e = ke_float(x->k, r->w, 0);
  return has(r->n, 3) ? input(r, 3, at, e) : ST_OK;
}

/* Function f of this direction, of v within the clip. */
static KExpr *activate(Rnn *r, int f, KExpr *v, bool clipped) {
  Lower *x = r->x;
  if (clipped && !isnan(r->clip))
    v = k_bin(x, KOP_max, k_num(x, v, -r->clip), k_bin(x, KOP_min, v, k_num(x, v, r->clip)));
  v = lower_once(x, "v", v);
  KExpr *one = activation(x, &r->act[0][f], v);
  if (r->dirs == 1 || !memcmp(&r->act[0][f], &r->act[1][f], sizeof r->act[0][f]))
    return lower_once(x, "a", one);
  return lower_once(x, "a", ke_select(x->k, k_bin(x, KOP_eq, r->d, num(x, 0)), one, activation(x, &r->act[1][f], v)));
}

/* sum over k of R[d, j, k] * state[k] */
static Status recurrence(Rnn *r, KExpr *j, KBuf *state, KExpr **e) {
  Lower *x = r->x;
  KExpr *v;
  KCursor behind;
  KVar *acc = lower_acc(x, "s", ke_float(x->k, r->w, 0));
  KExpr *k = lower_open(x, "k", r->H, &behind);
  TRY(input(r, 2, (KExpr *[]){r->d, j, k}, &v));
  ks_update(&x->at, acc, KOP_add, k_mul(x, v, load1(r, state, k)));
  lower_close(x, 1, behind);
  *e = ke_var(x->k, acc);
  return ST_OK;
}

/* z[t, j] for all steps. The recurrent bias joins here, but that of a GRU's h which stands inside the reset. */
static Status input_products(Rnn *r) {
  Lower *x = r->x;
  KExpr *own, *rec, *w, *v;
  KCursor behind, inner;
  KExpr *j = lower_open(x, "j", r->g->dim[0], &behind), *t = lower_open(x, "t", r->T, NULL);
  KVar *acc = lower_acc(x, "s", ke_float(x->k, r->w, 0));
  KExpr *i = lower_open(x, "i", r->I, &inner);
  TRY(input(r, 1, (KExpr *[]){r->d, j, i}, &w));
  TRY(input(r, 0, r->layout ? (KExpr *[]){r->b, t, i} : (KExpr *[]){t, r->b, i}, &v));
  ks_update(&x->at, acc, KOP_add, k_mul(x, w, v));
  lower_close(x, 1, inner);
  TRY(bias(r, j, false, &own));
  TRY(bias(r, j, true, &rec));
  if (r->linear_before_reset)
    rec = ke_select(x->k, k_bin(x, KOP_lt, j, gate_at(r, 2, num(x, 0))), rec, ke_float(x->k, r->w, 0));
  KExpr *sum = k_add(x, ke_var(x->k, acc), has(r->n, 3) ? k_add(x, own, rec) : own);
  ks_store(&x->at, r->z, (KExpr *[]){t, j}, sum);
  lower_close(x, 2, behind);
  return ST_OK;
}

/* g[j] = z[t, j] + (R h)[j] for the first n units' worth of gates; through function f unless f is -1. */
static Status gates(Rnn *r, int n, KExpr *t, int f) {
  Lower *x = r->x;
  KExpr *v;
  KCursor behind;
  KExpr *j = lower_open(x, "j", dim_mul(x->c, r->H, dim_const(x->c, n)), &behind);
  TRY(recurrence(r, j, r->h, &v));
  v = k_add(x, ke_load(x->k, r->z, (KExpr *[]){t, j}), v);
  store1(r, r->g, j, f < 0 ? v : activate(r, f, v, true));
  lower_close(x, 1, behind);
  return ST_OK;
}

/* Gate g of unit i with its peephole to the state c. */
static Status lstm_gate(Rnn *r, int g, int peephole, KExpr *i, KExpr *c, KExpr **e) {
  Lower *x = r->x;
  KExpr *p;
  *e = load1(r, r->g, gate_at(r, g, i));
  if (!has(r->n, 7) || peephole < 0)
    return ST_OK;
  TRY(input(r, 7, (KExpr *[]){r->d, gate_at(r, peephole, i)}, &p));
  *e = k_add(x, *e, k_mul(x, p, c));
  return ST_OK;
}

static Status lstm_step(Rnn *r, KExpr *t) {
  Lower *x = r->x;
  KCursor behind;
  KExpr *in, *out, *forget, *cell;
  TRY(gates(r, 4, t, -1));
  KExpr *i = lower_open(x, "i", r->H, &behind), *c = lower_once(x, "c", load1(r, r->c, i));
  TRY(lstm_gate(r, 0, 0, i, c, &in));
  in = activate(r, 0, in, true);
  if (r->input_forget)
    forget = k_sub(x, k_num(x, in, 1), in);
  else {
    TRY(lstm_gate(r, 2, 2, i, c, &forget));
    forget = activate(r, 0, forget, true);
  }
  TRY(lstm_gate(r, 3, -1, i, c, &cell));
  c = lower_once(x, "c", k_add(x, k_mul(x, forget, c), k_mul(x, in, activate(r, 1, cell, true))));
  TRY(lstm_gate(r, 1, 1, i, c, &out));
  out = activate(r, 0, out, true);
  store1(r, r->c, i, c);
  store1(r, r->h, i, k_mul(x, out, activate(r, 2, c, false)));
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status gru_step(Rnn *r, KExpr *t) {
  Lower *x = r->x;
  KCursor behind;
  KExpr *v, *b;
  TRY(gates(r, 2, t, 0));
  if (!r->linear_before_reset) {
    KExpr *k = lower_open(x, "k", r->H, &behind);
    store1(r, r->reset, k, k_mul(x, load1(r, r->g, gate_at(r, 1, k)), load1(r, r->h, k)));
    lower_close(x, 1, behind);
  }
  KExpr *i = lower_open(x, "i", r->H, &behind), *j = lower_once(x, "j", gate_at(r, 2, i));
  TRY(recurrence(r, j, r->linear_before_reset ? r->h : r->reset, &v));
  if (r->linear_before_reset) {
    TRY(bias(r, j, true, &b));
    v = k_mul(x, load1(r, r->g, gate_at(r, 1, i)), k_add(x, v, b));
  }
  v = k_add(x, ke_load(x->k, r->z, (KExpr *[]){t, j}), v);
  store1(r, r->g, j, activate(r, 1, v, true));
  lower_close(x, 1, behind);
  i = lower_open(x, "i", r->H, &behind);
  KExpr *update = lower_once(x, "u", load1(r, r->g, i)), *fresh = load1(r, r->g, gate_at(r, 2, i));
  KExpr *kept = k_mul(x, update, load1(r, r->h, i));
  store1(r, r->h, i, k_add(x, k_mul(x, k_sub(x, k_num(x, update, 1), update), fresh), kept));
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status rnn_step(Rnn *r, KExpr *t) {
  Lower *x = r->x;
  KCursor behind;
  TRY(gates(r, 1, t, 0));
  KExpr *i = lower_open(x, "i", r->H, &behind);
  store1(r, r->h, i, load1(r, r->g, i));
  lower_close(x, 1, behind);
  return ST_OK;
}

/* The state from initial_h or initial_c (input i), or zero. */
static Status begin_state(Rnn *r, int i, KBuf *state) {
  Lower *x = r->x;
  KCursor behind;
  KExpr *v = ke_float(x->k, r->w, 0), *u = lower_open(x, "u", r->H, &behind);
  if (has(r->n, i))
    TRY(input(r, i, r->layout ? (KExpr *[]){r->b, r->d, u} : (KExpr *[]){r->d, r->b, u}, &v));
  store1(r, state, u, v);
  lower_close(x, 1, behind);
  return ST_OK;
}

static void end_state(Rnn *r, KBuf *state, KBuf *out) {
  Lower *x = r->x;
  KCursor behind;
  if (!out)
    return;
  KExpr *u = lower_open(x, "u", r->H, &behind), *v = ke_cast(x->k, out->dtype, load1(r, state, u));
  ks_store(&x->at, out, r->layout ? (KExpr *[]){r->b, r->d, u} : (KExpr *[]){r->d, r->b, u}, v);
  lower_close(x, 1, behind);
}

/* y at time t: the state, or zero behind the sequence's end. */
static void store_y(Rnn *r, KBuf *y, KExpr *t, KExpr *inside) {
  Lower *x = r->x;
  KCursor behind;
  if (!y)
    return;
  KExpr *u = lower_open(x, "u", r->H, &behind), *v = load1(r, r->h, u);
  v = ke_cast(x->k, y->dtype, inside ? ke_select(x->k, inside, v, k_num(x, v, 0)) : v);
  ks_store(&x->at, y, r->layout ? (KExpr *[]){r->b, t, r->d, u} : (KExpr *[]){t, r->d, r->b, u}, v);
  lower_close(x, 1, behind);
}

/* All steps of a sequence of n elements (NULL: all T). */
static Status steps(Rnn *r, KExpr *n, KBuf *y) {
  Lower *x = r->x;
  KCursor behind, here;
  KExpr *s = lower_open_ordered(x, "s", r->T, &behind), *inside = n ? k_bin(x, KOP_lt, s, n) : NULL;
  KExpr *last = k_sub(x, n ? n : ke_dim(x->k, r->T), num(x, 1)), *t = s;
  if (r->back) {
    KExpr *turned = inside ? k_bin(x, KOP_and, r->back, inside) : r->back;
    t = lower_once(x, "t", ke_select(x->k, turned, k_sub(x, last, s), s));
  }
  if (inside)
    lower_if(x, inside, &here);
  TRY(r->n->op == OP_LSTM ? lstm_step(r, t) : r->n->op == OP_GRU ? gru_step(r, t) : rnn_step(r, t));
  if (inside)
    lower_close(x, 1, here);
  store_y(r, y, t, inside);
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status rnn(Lower *x, const Node *n, KBuf *const *out) {
  Rnn r;
  KCursor behind;
  KExpr *len = NULL;
  rnn_of(x->c, n, &r);
  r.x = x;
  Dim gh = dim_mul(x->c, dim_const(x->c, r.gates), r.H);
  r.h = kernel_add_temp(x->k, "h", r.w, 1, &r.H), r.g = kernel_add_temp(x->k, "g", r.w, 1, &gh);
  r.z = kernel_add_temp(x->k, "z", r.w, 2, (Dim[]){r.T, gh});
  if (n->op != OP_RNN)
    *(n->op == OP_LSTM ? &r.c : &r.reset) = kernel_add_temp(x->k, n->op == OP_LSTM ? "c" : "reset", r.w, 1, &r.H);
  r.d = lower_open(x, "d", dim_const(x->c, r.dirs), &behind);
  r.b = lower_open(x, "b", r.B, NULL);
  if (str_is(r.direction, "reverse"))
    r.back = ke_int(x->k, DT_bool, 1);
  else if (r.dirs == 2)
    r.back = k_bin(x, KOP_eq, r.d, num(x, 1));
  if (has(n, 4)) {
    TRY(lower_read(x, n->in[4], &r.b, &len));
    len = lower_once(x, "len", ke_cast(x->k, DT_i64, len));
    KExpr *fits = k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), len), k_bin(x, KOP_le, len, ke_dim(x->k, r.T)));
    TRY(lower_check(x, fits, len, r.T, "sequence_lens holds %lld; it must be in [0, %lld]"));
  }
  TRY(begin_state(&r, 5, r.h));
  if (r.c)
    TRY(begin_state(&r, 6, r.c));
  TRY(input_products(&r));
  TRY(steps(&r, len, out[0]));
  end_state(&r, r.h, out[1]);
  if (r.c)
    end_state(&r, r.c, out[2]);
  lower_close(x, 2, behind);
  return ST_OK;
}
const Lowering rnn_lower = {LOWER_NEST, .can = rnn_can, .nest = rnn};
