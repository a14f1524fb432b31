/* fourier.c - DFT and STFT of constant length as matrix products.
 *
 *   n <= DENSE        one product with the matrix of the transform, [n * parts, bins * 2]: padding, halves, inverses are in it
 *   n = n1 * n2       n2 transforms of length n1, a factor for every element, n1 transforms of length n2 (Cooley and Tukey,
 *                     "An algorithm for the machine calculation of complex Fourier series", 1965), recursively
 *   a large prime     a convolution with a chirp, by transforms of a power of two (Bluestein, 1970)
 *
 * A complex number is two elements of the last axis. With n1 around the size of a product's tile a transform is a few
 * products that run at full speed, O(n * n1 * log n / log n1).
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <math.h>
#include <string.h>

enum { DENSE = 64, RADIX = 32, MAX_LENGTH = 1 << 24 };

typedef struct Root {
  double re, im;
} Root;

/* exp(-+ 2 pi i k / n); + for the inverse. */
static Root root(int64_t k, int64_t n, bool inverse) {
  k %= n;
  double a = 2 * M_PI * (double)k / (double)n;
  Root r = {cos(a), inverse ? sin(a) : -sin(a)};
  if (4 * k % n == 0) { /* exactly */
    static const int quarter[] = {1, 0, -1, 0};
    int64_t q = 4 * k / n;
    r = (Root){quarter[q], (inverse ? 1 : -1) * quarter[(q + 3) & 3]};
  }
  return r;
}

static Value *constant(Match *m, Tensor *t) { return graph_add_const(m->g, NULL, t); }

static Tensor *tensor(Match *m, DType t, int rank, const int64_t *dim) {
  Tensor *r = NULL;
  Status st = tensor_new(m->c, m->g->arena, t, rank, dim, &r);
  m->st = m->st ? m->st : st;
  return st ? NULL : r;
}

static Value *reshaped(Match *m, Value *x, int64_t a, int64_t b, int64_t c, int64_t d) {
  int64_t dim[4] = {a, b, c, d};
  return EMIT(m, Reshape, NULL, x, const_ints(m, dim, d ? 4 : c ? 3 : 2));
}

/* --- one product --- */

typedef struct Plan {
  int64_t in, n, out; /* elements given, length, elements wanted */
  int parts;          /* 1: the input is real */
  bool inverse, half; /* half: forward, the first bins only; inverse, from them, to real numbers */
  DType t;
} Plan;

static bool to_real(const Plan *p) { return p->inverse && p->half; }

/* Entry of input j, output k; times the input's part and the output's. */
static Root entry(const Plan *p, int64_t j, int64_t k) {
  double scale = p->inverse ? 1 / (double)p->n : 1;
  if (to_real(p)) {
    if (j > p->n / 2)
      return (Root){0, 0};
    scale *= j == 0 || 2 * j == p->n ? 1 : 2; /* with its conjugate */
  } else if (j >= p->n) {
    return (Root){0, 0};
  }
  Root r = root(j * k, p->n, p->inverse);
  return (Root){r.re * scale, r.im * scale};
}

static Value *matrix(Match *m, const Plan *p) {
  int wide = to_real(p) ? 1 : 2;
  Tensor *t = tensor(m, p->t, 2, (int64_t[]){p->in * p->parts, p->out * wide});
  if (!t)
    return const_like(m, 0, p->t);
  for (int64_t j = 0; j < p->in; j++)
    for (int64_t k = 0; k < p->out; k++) {
      Root r = entry(p, j, k);
      double v[2][2] = {{r.re, r.im}, {-r.im, r.re}}; /* of the real part, of the imaginary part */
      for (int i = 0; i < p->parts; i++)
        for (int o = 0; o < wide; o++)
          elem_set_f64(p->t, t->data, ((j * p->parts + i) * p->out + k) * wide + o, v[i][o]);
    }
  return constant(m, t);
}

/* x [rows, in, parts] -> [rows, out, 2 or 1] */
static Value *dense(Match *m, Value *x, const Plan *p) {
  x = EMIT(m, MatMul, NULL, reshaped(m, x, -1, p->in * p->parts, 0, 0), matrix(m, p));
  return reshaped(m, x, -1, p->out, to_real(p) ? 1 : 2, 0);
}

/* --- factors --- */

/* x [rows, n, 2] times the complex numbers r[n]: x * (re, re) + swapped x * (-im, im). */
static Value *times(Match *m, Value *x, const Root *r, int64_t n, DType t) {
  static const int64_t other[2] = {1, 0};
  GatherAttr last = {.axis = -1};
  Tensor *a = tensor(m, t, 2, (int64_t[]){n, 2}), *b = tensor(m, t, 2, (int64_t[]){n, 2});
  for (int64_t k = 0; !m->st && k < n; k++) {
    elem_set_f64(t, a->data, 2 * k, r[k].re), elem_set_f64(t, a->data, 2 * k + 1, r[k].re);
    elem_set_f64(t, b->data, 2 * k, -r[k].im), elem_set_f64(t, b->data, 2 * k + 1, r[k].im);
  }
  if (m->st)
    return x;
  Value *swapped = EMIT(m, Gather, &last, x, const_ints(m, other, 2));
  return EMIT(m, Add, NULL, EMIT(m, Mul, NULL, x, constant(m, a)), EMIT(m, Mul, NULL, swapped, constant(m, b)));
}

/* --- fast transforms --- */

/* The largest divisor of n that is at most RADIX; 1: n is prime, or nearly. */
static int64_t radix(int64_t n) {
  for (int64_t p = RADIX; p > 1; p--)
    if (n % p == 0)
      return p;
  return 1;
}

/* Can factors up to RADIX bring n down to DENSE? */
static bool splits(int64_t n) {
  while (n > DENSE) {
    int64_t p = radix(n);
    if (p == 1)
      return false;
    n /= p;
  }
  return true;
}

static Value *transform(Match *m, Value *x, int64_t n, int parts, bool inverse, DType t);

static Value *swap_middle(Match *m, Value *x) { return transpose_by(m, x, (int64_t[]){0, 2, 1, 3}, 4); }

/* j = j1 n2 + j2, k = k1 + n1 k2. The inverse divides by each length. */
static Value *cooley_tukey(Match *m, Value *x, int64_t n, int parts, bool inverse, DType t) {
  int64_t n1 = radix(n), n2 = n / n1;
  Plan p = {.in = n1, .n = n1, .out = n1, .parts = parts, .inverse = inverse, .t = t};
  Root *r = arena_array(m->g->arena, Root, (size_t)n);
  x = reshaped(m, swap_middle(m, reshaped(m, x, -1, n1, n2, parts)), -1, n1, parts, 0);
  x = reshaped(m, dense(m, x, &p), -1, n, 2, 0); /* [rows, j2 k1, 2] */
  for (int64_t j2 = 0; j2 < n2; j2++)
    for (int64_t k1 = 0; k1 < n1; k1++)
      r[j2 * n1 + k1] = root(j2 * k1, n, inverse);
  x = reshaped(m, times(m, x, r, n, t), -1, n2, n1, 2);
  x = transform(m, reshaped(m, swap_middle(m, x), -1, n2, 2, 0), n2, 2, inverse, t);
  x = swap_middle(m, reshaped(m, x, -1, n1, n2, 2));
  return reshaped(m, x, -1, n, 2, 0);
}

/* Zeros behind, or cut off: axis 1 of [rows, have, parts] to want. */
static Value *resized(Match *m, Value *x, int64_t have, int64_t want) {
  int64_t zero = 0, one = 1, pads[6] = {0, 0, 0, 0, want - have, 0};
  if (want > have)
    return EMIT(m, Pad, NULL, x, const_ints(m, pads, 6));
  return want == have
             ? x
             : EMIT(m, Slice, NULL, x, const_ints(m, &zero, 1), const_ints(m, &want, 1), const_ints(m, &one, 1));
}

/* The transform of a chirp's conjugate of length n, padded to size, in the slow way it is defined: once, in double. */
static void fft_constant(Root *x, int64_t n, Root *work) {
  if (n == 1)
    return;
  int64_t h = n / 2;
  for (int64_t k = 0; k < h; k++)
    work[k] = x[2 * k], work[h + k] = x[2 * k + 1];
  memcpy(x, work, (size_t)n * sizeof *x);
  fft_constant(x, h, work), fft_constant(x + h, h, work);
  for (int64_t k = 0; k < h; k++) {
    Root w = root(k, n, false), a = x[k], b = x[h + k];
    b = (Root){b.re * w.re - b.im * w.im, b.re * w.im + b.im * w.re};
    x[k] = (Root){a.re + b.re, a.im + b.im}, x[h + k] = (Root){a.re - b.re, a.im - b.im};
  }
}

static Value *bluestein(Match *m, Value *x, int64_t n, int parts, bool inverse, DType t) {
  int64_t size = 1;
  while (size < 2 * n - 1)
    size *= 2;
  Root *chirp = arena_array(m->g->arena, Root, (size_t)n), *filter = arena_array(m->g->arena, Root, (size_t)size);
  memset(filter, 0, (size_t)size * sizeof *filter);
  for (int64_t k = 0, square = 0; k < n; square = (square + 2 * k + 1) % (2 * n), k++) {
    chirp[k] = root(square, 2 * n, inverse);
    filter[k] = filter[k ? size - k : 0] = (Root){chirp[k].re, -chirp[k].im};
  }
  fft_constant(filter, size, arena_array(m->g->arena, Root, (size_t)size));
  if (parts == 1) { /* zeros for imaginary parts */
    int64_t pads[6] = {0, 0, 0, 0, 0, 1};
    x = EMIT(m, Pad, NULL, x, const_ints(m, pads, 6));
  }
  x = resized(m, times(m, x, chirp, n, t), n, size);
  x = times(m, transform(m, x, size, 2, false, t), filter, size, t);
  x = resized(m, transform(m, x, size, 2, true, t), size, n);
  for (int64_t k = 0; inverse && k < n; k++)
    chirp[k] = (Root){chirp[k].re / (double)n, chirp[k].im / (double)n};
  return times(m, x, chirp, n, t);
}

/* x [rows, n, parts] -> [rows, n, 2] */
static Value *transform(Match *m, Value *x, int64_t n, int parts, bool inverse, DType t) {
  Plan p = {.in = n, .n = n, .out = n, .parts = parts, .inverse = inverse, .t = t};
  if (n <= DENSE)
    return dense(m, x, &p);
  return (splits(n) ? cooley_tukey : bluestein)(m, x, n, parts, inverse, t);
}

/* The whole spectrum of real numbers from its first n / 2 + 1 bins: the others are conjugates. */
static Value *unfolded(Match *m, Value *x, const Plan *p) {
  GatherAttr along = {.axis = 1};
  int64_t n = p->n, *from = arena_array(m->g->arena, int64_t, (size_t)n);
  Tensor *sign = tensor(m, p->t, 2, (int64_t[]){n, 2});
  x = resized(m, x, p->in, n / 2 + 1);
  for (int64_t k = 0; sign && k < n; k++) {
    from[k] = k <= n / 2 ? k : n - k;
    elem_set_f64(p->t, sign->data, 2 * k, 1), elem_set_f64(p->t, sign->data, 2 * k + 1, k <= n / 2 ? 1 : -1);
  }
  return sign ? EMIT(m, Mul, NULL, EMIT(m, Gather, &along, x, const_ints(m, from, n)), constant(m, sign)) : x;
}

/* x [rows, in, parts] -> [rows, out, 2 or 1] */
static Value *whole(Match *m, Value *x, const Plan *p) {
  int64_t zero = 0, one = 1, two = 2;
  if (p->n <= DENSE)
    return dense(m, x, p);
  if (to_real(p)) {
    x = transform(m, unfolded(m, x, p), p->n, 2, true, p->t);
    return EMIT(m, Slice, NULL, x, const_ints(m, &zero, 1), const_ints(m, &one, 1), const_ints(m, &two, 1));
  }
  x = transform(m, resized(m, x, p->in, p->n), p->n, p->parts, p->inverse, p->t);
  return resized(m, x, p->n, p->out);
}

/* --- operators --- */

static Value *optional(const Node *n, int i) { return i < n->nin ? n->in[i] : NULL; }

static bool one_int(Match *m, Value *v, int64_t *x) {
  const int64_t *list;
  int64_t n;
  if (!v || !value_ints(v, &list, &n, m->g->arena) || n != 1)
    return false;
  *x = list[0];
  return true;
}

/* Products are of f32 and f64. */
static Value *widened(Match *m, Value *x, DType *t) {
  *t = x->type.dtype == DT_f64 ? DT_f64 : DT_f32;
  CastAttr to = {.to = *t, .saturate = 1, .round_mode = str_of("up")};
  return *t == x->type.dtype ? x : EMIT(m, Cast, &to, x);
}

static Value *narrowed(Match *m, Value *x, DType t) {
  CastAttr to = {.to = t, .saturate = 1, .round_mode = str_of("up")};
  return t == x->type.dtype ? x : EMIT(m, Cast, &to, x);
}

static bool plan_dft(Match *m, int *axis, Plan *p) {
  Node *n = m->root;
  const Type *x = &n->in[0]->type, *y = &n->out[0]->type;
  int64_t at = -2, parts;
  if (!type_known(n->in[0]) || x->rank < 2 || y->rank != x->rank || (optional(n, 2) && !one_int(m, n->in[2], &at)))
    return false;
  *axis = (int)(at < 0 ? at + x->rank : at);
  p->inverse = ATTR(n, DFT)->inverse != 0, p->half = ATTR(n, DFT)->onesided != 0;
  if (!dim_is_const(x->dim[*axis], &p->in) || !dim_is_const(x->dim[x->rank - 1], &parts) || p->in < 1)
    return false;
  p->parts = (int)parts;
  p->n = to_real(p) ? 2 * (p->in - 1) : p->in;
  if (optional(n, 1) && !one_int(m, n->in[1], &p->n))
    return false;
  p->out = p->half && !p->inverse ? p->n / 2 + 1 : p->n;
  return p->n >= 1 && p->n <= MAX_LENGTH && (p->parts == 2 || !to_real(p)) && dims_bound(m->g, y->dim, y->rank, NULL);
}

static Value *dft(Match *m) {
  int64_t perm[MAX_RANK];
  Dim dim[MAX_RANK];
  Plan p = {0};
  int axis;
  if (!plan_dft(m, &axis, &p))
    return NULL;
  const Type *y = &m->root->out[0]->type;
  int r = y->rank;
  Value *x = widened(m, m->root->in[0], &p.t);
  for (int i = 0; i < r; i++) /* the axis goes to the place before the last; the same permutation brings it back */
    perm[i] = i == axis ? r - 2 : i == r - 2 ? axis : i;
  if (axis != r - 2)
    x = transpose_by(m, x, perm, r);
  x = whole(m, reshaped(m, x, -1, p.in, p.parts, 0), &p);
  for (int i = 0; i < r; i++)
    dim[i] = y->dim[perm[i]];
  x = reshape_to(m, x, dim, r);
  return narrowed(m, axis != r - 2 ? transpose_by(m, x, perm, r) : x, y->dtype);
}

static Value *scalar_dim(Match *m, Dim d) {
  DimsAttr a = {.dims = {&d, 1}, .rank = 0, .dtype = DT_i64};
  return emit(m, OP_Dims, &a, 0, NULL);
}

/* Element k of frame f of the signal is element f * step + k. */
static Value *frames(Match *m, Value *x, Dim count, int64_t step, int64_t n) {
  int64_t one = 1;
  GatherAttr along = {.axis = 1};
  Value *zero = const_like(m, 0, DT_i64), *unit = const_like(m, 1, DT_i64);
  Value *f = EMIT(m, Range, NULL, zero, scalar_dim(m, count), unit);
  f = EMIT(m, Unsqueeze, NULL, EMIT(m, Mul, NULL, f, const_like(m, (double)step, DT_i64)), const_ints(m, &one, 1));
  Value *k = EMIT(m, Range, NULL, zero, const_like(m, (double)n, DT_i64), unit);
  return EMIT(m, Gather, &along, x, EMIT(m, Add, NULL, f, k));
}

static Value *stft(Match *m) {
  Node *n = m->root;
  const Type *x = &n->in[0]->type, *y = &n->out[0]->type;
  int64_t step, parts;
  Plan p = {.half = ATTR(n, STFT)->onesided != 0};
  Value *window = optional(n, 2);
  if (!type_known(n->in[0]) || x->rank != 3 || y->rank != 4 || !one_int(m, n->in[1], &step) ||
      !dim_is_const(x->dim[2], &parts) || step < 1 || !dims_bound(m->g, y->dim, 4, NULL))
    return NULL;
  if (optional(n, 3) ? !one_int(m, n->in[3], &p.n) : !dim_is_const(window ? window->type.dim[0] : x->dim[1], &p.n))
    return NULL;
  if (p.n < 1 || p.n > MAX_LENGTH || x->dim[1]->lo < p.n || (window && !dim_is(window->type.dim[0], p.n)))
    return NULL;
  p.in = p.n, p.parts = (int)parts, p.out = p.half ? p.n / 2 + 1 : p.n;
  Value *v = frames(m, widened(m, n->in[0], &p.t), y->dim[1], step, p.n);
  if (window)
    v = EMIT(m, Mul, NULL, v, reshaped(m, widened(m, window, &p.t), p.n, 1, 0, 0));
  v = whole(m, reshaped(m, v, -1, p.n, p.parts, 0), &p);
  return narrowed(m, reshape_to(m, v, y->dim, 4), y->dtype);
}

static const Rule rules[] = {
    {"dft by products", OPERATOR(DFT), dft},
    {"stft by products", OPERATOR(STFT), stft},
};

Status pass_fourier(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
