/* recurrent.c - evaluation of LSTM, GRU and RNN.
 *
 *   x [T][B][I]   w [D][G*H][I]   r [D][G*H][H]   b [D][2*G*H]   y [T][D][B][H]     D directions, G gates of H units
 *
 * Gates: LSTM i o f c, GRU z r h, RNN i. Weights are transposed once per direction, so that a step adds input * row to
 * a row of all gates: the inner loops are contiguous. The state stays in double over the steps.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>
#include <strings.h>

typedef struct Activation {
  double (*fn)(double x, double alpha, double beta);
  double alpha, beta;
} Activation;

/* Into [0, 1]; NaN stays. */
static double unit_clip(double v) { return v > 1 ? 1 : v < 0 ? 0 : v; }

/* name, takes the next activation_alpha, the next activation_beta, their defaults, f(x, a, b) */
#define ACTIVATIONS(A)                                                                                                 \
  A(Relu, 0, 0, 0, 0, x > 0 || x != x ? x : 0)                                                                         \
  A(Tanh, 0, 0, 0, 0, tanh(x))                                                                                         \
  A(Sigmoid, 0, 0, 0, 0, 1 / (1 + exp(-x)))                                                                            \
  A(Affine, 1, 1, 1, 0, a *x + b)                                                                                      \
  A(LeakyRelu, 1, 0, 0.01, 0, x >= 0 ? x : a * x)                                                                      \
  A(ThresholdedRelu, 1, 0, 1, 0, x >= a ? x : 0)                                                                       \
  A(ScaledTanh, 1, 1, 1, 1, a *tanh(b *x))                                                                             \
  A(HardSigmoid, 1, 1, 0.2, 0.5, unit_clip(a *x + b))                                                                  \
  A(Elu, 1, 0, 1, 0, x >= 0 ? x : a * expm1(x))                                                                        \
  A(Softsign, 0, 0, 0, 0, x / (1 + fabs(x)))                                                                           \
  A(Softplus, 0, 0, 0, 0, fmax(x, 0) + log1p(exp(-fabs(x))))

#define A(name, has_a, has_b, std_a, std_b, expr)                                                                      \
  static double act_##name(double x, double a, double b) {                                                             \
    (void)a, (void)b;                                                                                                  \
    return expr;                                                                                                       \
  }
ACTIVATIONS(A)
#undef A

static const struct {
  const char *name;
  bool has_alpha, has_beta;
  Activation standard;
} activations[] = {
#define A(name, has_a, has_b, std_a, std_b, expr) {#name, has_a, has_b, {act_##name, std_a, std_b}},
    ACTIVATIONS(A)
#undef A
};

enum { MAX_ACT = 3 };

/* The attributes the three operators share. */
typedef struct Common {
  Strs activations;
  Floats alpha, beta;
  Str direction;
  int64_t hidden, layout;
  double clip; /* INFINITY: none */
} Common;

typedef struct Rnn {
  Eval *e;
  OpId op;
  int gates, nact, dirs;
  bool reverse, layout, input_forget, linear_before_reset;
  double clip;
  int64_t T, B, I, H;
  Activation act[2][MAX_ACT];
  const double *x, *w, *r, *bias, *h0, *c0, *peep; /* bias, h0, c0, peep may be NULL */
  const int64_t *len;                              /* per batch entry; NULL: all T */
  double *wt, *rt;                                 /* transposed weights of the direction at hand: [I][G*H], [H][G*H] */
  double *h, *c, *gate, *tmp;                      /* state, gates [G*H], scratch [H] */
  Tensor *y, *yh, *yc;
} Rnn;

static Status pick_activations(Rnn *k, const Common *a) {
  static const char *const standard[2][MAX_ACT] = {{"Sigmoid", "Tanh", "Tanh"}, {"Tanh"}};
  int64_t na = 0, nb = 0, n = (int64_t)k->nact * k->dirs;
  if (a->activations.n && a->activations.n != n)
    return eval_fail(k->e, "%lld activations are given, %lld are needed", (long long)a->activations.n, (long long)n);
  for (int i = 0; i < n; i++) {
    Str name = a->activations.n ? a->activations.v[i] : str_of(standard[k->op == OP_RNN][i % k->nact]);
    size_t f = 0;
    while (f < countof(activations) &&
           (strlen(activations[f].name) != name.len || strncasecmp(activations[f].name, name.ptr, name.len)))
      f++;
    if (f == countof(activations))
      return eval_fail(k->e, "activation '%.*s' is not known", (int)(name.len < 60 ? name.len : 60), name.ptr);
    Activation act = activations[f].standard;
    if (activations[f].has_alpha && na < a->alpha.n)
      act.alpha = (double)a->alpha.v[na++];
    if (activations[f].has_beta && nb < a->beta.n)
      act.beta = (double)a->beta.v[nb++];
    k->act[i / k->nact][i % k->nact] = act;
  }
  return ST_OK;
}

static Status expect_shape(Eval *e, int i, const char *what, int rank, int64_t a, int64_t b, int64_t c) {
  const int64_t want[3] = {a, b, c};
  char text[2][96];
  if (!eval_has(e, i))
    return ST_OK;
  const Tensor *t = e->in[i];
  if (t->rank != rank || memcmp(t->dim, want, (size_t)rank * sizeof *want))
    return eval_fail(e, "%s must have shape %s, not %s", what, shape_text(rank, want, text[0], sizeof text[0]),
                     shape_text(t->rank, t->dim, text[1], sizeof text[1]));
  return ST_OK;
}

static Status read_direction(Rnn *k, const Common *a) {
  bool both = str_is(a->direction, "bidirectional");
  k->reverse = str_is(a->direction, "reverse");
  if (!both && !k->reverse && !str_is(a->direction, "forward"))
    return eval_fail(k->e, "direction must be forward, reverse or bidirectional");
  k->dirs = both ? 2 : 1;
  return ST_OK;
}

static Status check_shapes(Rnn *k, const Common *a) {
  Eval *e = k->e;
  const Tensor *x = e->in[0];
  int64_t gh;
  TRY(nn_expect_rank(e, 0, 3, "X"));
  TRY(nn_expect_rank(e, 2, 3, "R"));
  k->layout = a->layout != 0;
  k->T = x->dim[k->layout], k->B = x->dim[!k->layout], k->I = x->dim[2], k->H = e->in[2]->dim[2];
  if (a->hidden != ABSENT && a->hidden != k->H)
    return eval_fail(e, "hidden_size is %lld, but R has %lld", (long long)a->hidden, (long long)k->H);
  if (!mul_ok(k->H, 2 * k->gates, &gh))
    return eval_fail(e, "the hidden size is too large");
  gh /= 2;
  int64_t d = k->dirs, first = k->layout ? k->B : d, second = k->layout ? d : k->B;
  TRY(expect_shape(e, 1, "W", 3, d, gh, k->I));
  TRY(expect_shape(e, 2, "R", 3, d, gh, k->H));
  TRY(expect_shape(e, 3, "B", 2, d, 2 * gh, 0));
  TRY(expect_shape(e, 4, "sequence_lens", 1, k->B, 0, 0));
  TRY(expect_shape(e, 5, "initial_h", 3, first, second, k->H));
  TRY(expect_shape(e, 6, "initial_c", 3, first, second, k->H));
  return expect_shape(e, 7, "P", 2, d, 3 * k->H, 0);
}

static Status load_inputs(Rnn *k) {
  Eval *e = k->e;
  int64_t n;
  TRY(nn_load_input(e, 0, &k->x));
  TRY(nn_load_input(e, 1, &k->w));
  TRY(nn_load_input(e, 2, &k->r));
  TRY(nn_load_input(e, 3, &k->bias));
  TRY(nn_load_input(e, 5, &k->h0));
  TRY(nn_load_input(e, 6, &k->c0));
  TRY(nn_load_input(e, 7, &k->peep));
  if (!eval_has(e, 4))
    return ST_OK;
  TRY(eval_ints(e, 4, &k->len, &n));
  for (int64_t b = 0; b < n; b++)
    if (k->len[b] < 0 || k->len[b] > k->T)
      return eval_fail(e, "sequence_lens holds %lld; it must be in [0, %lld]", (long long)k->len[b], (long long)k->T);
  return ST_OK;
}

static Status make_outputs(Rnn *k) {
  Eval *e = k->e;
  int64_t d = k->dirs, y[4] = {k->T, d, k->B, k->H}, last[3] = {d, k->B, k->H};
  DType t = e->in[0]->dtype;
  if (k->layout) {
    memcpy(y, (int64_t[]){k->B, k->T, d, k->H}, sizeof y);
    memcpy(last, (int64_t[]){k->B, d, k->H}, sizeof last);
  }
  TRY(eval_out(e, 0, t, 4, y, &k->y));
  TRY(eval_out(e, 1, t, 3, last, &k->yh));
  return k->op == OP_LSTM ? eval_out(e, 2, t, 3, last, &k->yc) : ST_OK;
}

/* acc[0..n) += s * row[0..n) */
static void add_scaled(double *acc, double s, const double *row, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    acc[i] += s * row[i];
}

static double activate(const Rnn *k, const Activation *f, double x) {
  return f->fn(x > k->clip ? k->clip : x < -k->clip ? -k->clip : x, f->alpha, f->beta);
}

/* Gates i o f c, with peepholes p (i o f). */
static void lstm_step(Rnn *k, const Activation *f, const double *p) {
  int64_t H = k->H;
  double *g = k->gate;
  for (int64_t i = 0; i < H; i++)
    add_scaled(g, k->h[i], k->rt + i * 4 * H, 4 * H);
  for (int64_t i = 0; i < H; i++) {
    double c = k->c[i];
    double in = activate(k, &f[0], g[i] + (p ? p[i] * c : 0));
    double forget = k->input_forget ? 1 - in : activate(k, &f[0], g[2 * H + i] + (p ? p[2 * H + i] * c : 0));
    c = forget * c + in * activate(k, &f[1], g[3 * H + i]);
    double out = activate(k, &f[0], g[H + i] + (p ? p[H + i] * c : 0));
    k->c[i] = c;
    k->h[i] = out * f[2].fn(c, f[2].alpha, f[2].beta);
  }
}

/* Gates z r h; rb: the recurrent bias of h, used only when linear_before_reset. */
static void gru_step(Rnn *k, const Activation *f, const double *rb) {
  int64_t H = k->H;
  double *g = k->gate, *t = k->tmp;
  for (int64_t i = 0; i < H; i++)
    add_scaled(g, k->h[i], k->rt + i * 3 * H, 2 * H);
  for (int64_t i = 0; i < 2 * H; i++)
    g[i] = activate(k, &f[0], g[i]);
  for (int64_t i = 0; i < H; i++)
    t[i] = k->linear_before_reset && rb ? rb[i] : 0;
  for (int64_t i = 0; i < H; i++)
    add_scaled(t, k->linear_before_reset ? k->h[i] : g[H + i] * k->h[i], k->rt + i * 3 * H + 2 * H, H);
  for (int64_t i = 0; i < H; i++) {
    double n = activate(k, &f[1], g[2 * H + i] + (k->linear_before_reset ? g[H + i] * t[i] : t[i]));
    k->h[i] = (1 - g[i]) * n + g[i] * k->h[i];
  }
}

static void rnn_step(Rnn *k, const Activation *f) {
  for (int64_t i = 0; i < k->H; i++)
    add_scaled(k->gate, k->h[i], k->rt + i * k->H, k->H);
  for (int64_t i = 0; i < k->H; i++)
    k->h[i] = activate(k, &f[0], k->gate[i]);
}

/* One step of direction d for the input row x. */
static void step(Rnn *k, int d, const double *x) {
  int64_t gh = k->gates * k->H, own = gh;
  const double *wb = k->bias ? k->bias + d * 2 * gh : NULL, *rb = wb ? wb + gh : NULL;
  if (k->op == OP_GRU && k->linear_before_reset)
    own = 2 * k->H; /* the recurrent bias of h goes inside the reset */
  for (int64_t i = 0; i < gh; i++)
    k->gate[i] = wb ? wb[i] + (i < own ? rb[i] : 0) : 0;
  for (int64_t i = 0; i < k->I; i++)
    add_scaled(k->gate, x[i], k->wt + i * gh, gh);
  if (k->op == OP_LSTM)
    lstm_step(k, k->act[d], k->peep ? k->peep + d * 3 * k->H : NULL);
  else if (k->op == OP_GRU)
    gru_step(k, k->act[d], rb ? rb + 2 * k->H : NULL);
  else
    rnn_step(k, k->act[d]);
}

static void transpose(const double *src, int64_t rows, int64_t cols, double *dst) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++)
      dst[j * rows + i] = src[i * cols + j];
}

static void load_state(const Rnn *k, const double *src, int64_t at, double *dst) {
  for (int64_t i = 0; i < k->H; i++)
    dst[i] = src ? src[at + i] : 0;
}

/* Sequence b in direction d. */
static Status run_sequence(Rnn *k, int d, int64_t b) {
  int64_t n = k->len ? k->len[b] : k->T, state = (k->layout ? b * k->dirs + d : d * k->B + b) * k->H;
  bool back = k->reverse || d == 1;
  load_state(k, k->h0, state, k->h);
  load_state(k, k->c0, state, k->c);
  memset(k->tmp, 0, (size_t)k->H * sizeof *k->tmp);
  for (int64_t s = 0; s < k->T; s++) {
    int64_t t = back && s < n ? n - 1 - s : s;
    int64_t at = (k->layout ? (b * k->T + t) * k->dirs + d : (t * k->dirs + d) * k->B + b) * k->H;
    TRY(ctx_poll(k->e->c));
    if (s < n)
      step(k, d, k->x + (k->layout ? b * k->T + t : t * k->B + b) * k->I);
    else if (s == n)
      memset(k->tmp, 0, (size_t)k->H * sizeof *k->tmp);
    nn_store(k->y, at, s < n ? k->h : k->tmp, k->H);
  }
  nn_store(k->yh, state, k->h, k->H);
  if (k->yc)
    nn_store(k->yc, state, k->c, k->H);
  return ST_OK;
}

static Status run(Rnn *k, const Common *a) {
  Eval *e = k->e;
  TRY(read_direction(k, a));
  TRY(pick_activations(k, a));
  TRY(check_shapes(k, a));
  if (a->clip < 0)
    return eval_fail(e, "clip is %g; it must not be negative", a->clip);
  k->clip = a->clip;
  TRY(load_inputs(k));
  TRY(make_outputs(k));
  if (!k->H || !k->B)
    return ST_OK;
  int64_t gh = k->gates * k->H;
  TRY(nn_buffer(e, gh * k->I, &k->wt)); /* W and R are tensors of that size */
  TRY(nn_buffer(e, gh * k->H, &k->rt));
  TRY(nn_buffer(e, gh, &k->gate));
  TRY(nn_buffer(e, k->H, &k->h));
  TRY(nn_buffer(e, k->H, &k->c));
  TRY(nn_buffer(e, k->H, &k->tmp));
  for (int d = 0; d < k->dirs; d++) {
    transpose(k->w + d * gh * k->I, gh, k->I, k->wt);
    transpose(k->r + d * gh * k->H, gh, k->H, k->rt);
    for (int64_t b = 0; b < k->B; b++)
      TRY(run_sequence(k, d, b));
  }
  return ST_OK;
}

#define COMMON(a)                                                                                                      \
  (Common) {                                                                                                           \
    (a)->activations, (a)->activation_alpha, (a)->activation_beta, (a)->direction, (a)->hidden_size, (a)->layout,      \
        isnan((a)->clip) ? (double)INFINITY : (double)(a)->clip                                                        \
  }

/* LSTM, ONNX 22. */
Status lstm_eval(Eval *e) {
  const LSTMAttr *a = e->attr;
  Rnn k = {.e = e, .op = OP_LSTM, .gates = 4, .nact = 3, .input_forget = a->input_forget != 0};
  return run(&k, &COMMON(a));
}

/* GRU, ONNX 22. */
Status gru_eval(Eval *e) {
  const GRUAttr *a = e->attr;
  Rnn k = {.e = e, .op = OP_GRU, .gates = 3, .nact = 2, .linear_before_reset = a->linear_before_reset != 0};
  return run(&k, &COMMON(a));
}

/* RNN, ONNX 22. */
Status rnn_eval(Eval *e) {
  const RNNAttr *a = e->attr;
  Rnn k = {.e = e, .op = OP_RNN, .gates = 1, .nact = 1};
  return run(&k, &COMMON(a));
}
