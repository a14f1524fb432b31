/* signal.c - evaluation of DFT, STFT, the window functions and MelWeightMatrix.
 *
 * A signal's last axis holds one number (real) or two (real and imaginary part).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/fft.h"
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>

/* The one element of integer input i, or `absent`. */
static Status scalar(Eval *e, int i, int64_t absent, const char *what, int64_t *v) {
  const int64_t *list;
  int64_t n;
  *v = absent;
  if (!eval_has(e, i))
    return ST_OK;
  TRY(eval_ints(e, i, &list, &n));
  if (n != 1)
    return eval_fail(e, "%s must be one number, not %lld", what, (long long)n);
  *v = list[0];
  return ST_OK;
}

static Status check_complex(Eval *e, const Tensor *x, int least) {
  if (x->rank < least)
    return eval_fail(e, "the signal must have rank %d at least, not %d", least, x->rank);
  if (x->dim[x->rank - 1] != 1 && x->dim[x->rank - 1] != 2)
    return eval_fail(e, "the last axis must be 1 (real) or 2 (complex), not %lld", (long long)x->dim[x->rank - 1]);
  return ST_OK;
}

static Complex complex_at(const double *v, int64_t at, int64_t parts) {
  return (Complex){v[at * parts], parts == 2 ? v[at * parts + 1] : 0};
}

/* --- DFT --- */

typedef struct Dft {
  Eval *e;
  bool inverse, onesided;
  int axis;
  int64_t n, in, out; /* length of the transform, extents of the axis */
  int64_t parts, out_parts;
  int64_t outer, inner; /* elements around the axis, complex numbers counting once */
} Dft;

static Status open_dft(Dft *d) {
  Eval *e = d->e;
  const DFTAttr *a = e->attr;
  const Tensor *x = e->in[0];
  int64_t axis;
  TRY(check_complex(e, x, 2));
  TRY(scalar(e, 2, -2, "axis", &axis));
  TRY(eval_axis(e, axis, x->rank, false, &d->axis));
  if (d->axis == x->rank - 1)
    return eval_fail(e, "axis %lld is that of the real and the imaginary part", (long long)axis);
  d->inverse = a->inverse != 0, d->onesided = a->onesided != 0;
  d->in = x->dim[d->axis], d->parts = x->dim[x->rank - 1];
  d->outer = d->inner = 1;
  for (int i = 0; i < x->rank - 1; i++)
    *(i < d->axis ? &d->outer : &d->inner) *= i == d->axis ? 1 : x->dim[i];
  TRY(scalar(e, 1, d->inverse && d->onesided ? 2 * (d->in - 1) : d->in, "dft_length", &d->n));
  if (d->n < 1)
    return eval_fail(e, "the length of the transform is %lld", (long long)d->n);
  d->out = d->onesided && !d->inverse ? d->n / 2 + 1 : d->n;
  d->out_parts = d->onesided && d->inverse ? 1 : 2;
  return ST_OK;
}

/* Row at: read with zeros behind its end, transformed. One-sided inverse: the other half is the conjugate. */
static void transform_row(const Dft *d, const Fft *f, const double *v, int64_t at, Complex *row) {
  bool half = d->inverse && d->onesided;
  int64_t have = half ? d->n / 2 + 1 : d->n;
  for (int64_t k = 0; k < d->n; k++)
    row[k] = k < have && k < d->in ? complex_at(v, at + k * d->inner, d->parts) : (Complex){0, 0};
  for (int64_t k = have; half && k < d->n; k++)
    row[k] = (Complex){row[d->n - k].re, -row[d->n - k].im};
  fft_run(f, row, d->inverse);
}

/* DFT, ONNX 20. */
Status dft_eval(Eval *e) {
  Dft d = {.e = e};
  const double *v;
  int64_t dim[MAX_RANK], n;
  Complex *row;
  Tensor *y;
  Fft *f;
  TRY(open_dft(&d));
  const Tensor *x = e->in[0];
  for (int i = 0; i < x->rank; i++)
    dim[i] = x->dim[i];
  dim[d.axis] = d.out, dim[x->rank - 1] = d.out_parts;
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &y));
  TRY(nn_load(e, x, &v));
  TRY(fft_open(e, d.n, &f));
  if (!mul_ok(d.n, (int64_t)sizeof *row, &n))
    return eval_fail(e, "a transform of length %lld is too large", (long long)d.n);
  row = arena_array(e->scratch, Complex, (size_t)d.n);
  double scale = d.inverse ? 1 / (double)d.n : 1;
  for (int64_t o = 0; o < d.outer; o++)
    for (int64_t i = 0; i < d.inner; i++) {
      TRY(ctx_poll(e->c));
      transform_row(&d, f, v, o * d.in * d.inner + i, row);
      for (int64_t k = 0; k < d.out; k++) {
        double part[2] = {row[k].re * scale, row[k].im * scale};
        nn_store(y, ((o * d.out + k) * d.inner + i) * d.out_parts, part, d.out_parts);
      }
    }
  return ST_OK;
}

/* --- STFT --- */

/* STFT, ONNX 17: frames of the signal [batch][length][1 or 2] times the window, transformed. */
Status stft_eval(Eval *e) {
  const STFTAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const double *v, *window;
  int64_t step, n, dim[4];
  Complex *row;
  Tensor *y;
  Fft *f;
  TRY(check_complex(e, x, 3));
  if (x->rank != 3)
    return eval_fail(e, "the signal must have rank 3, not %d", x->rank);
  TRY(scalar(e, 1, 0, "frame_step", &step));
  if (eval_has(e, 2))
    TRY(nn_expect_rank(e, 2, 1, "the window"));
  TRY(scalar(e, 3, eval_has(e, 2) ? e->in[2]->dim[0] : x->dim[1], "frame_length", &n));
  if (step < 1)
    return eval_fail(e, "the step between frames is %lld; it must be at least 1", (long long)step);
  if (n < 1)
    return eval_fail(e, "the length of a frame is %lld; it must be at least 1", (long long)n);
  if (n > x->dim[1])
    return eval_fail(e, "a frame of %lld does not fit a signal of %lld", (long long)n, (long long)x->dim[1]);
  if (eval_has(e, 2))
    TRY(nn_expect_dim(e, 2, 0, n, "the length of the window (frame_length)"));
  dim[0] = x->dim[0], dim[1] = 1 + (x->dim[1] - n) / step, dim[2] = a->onesided ? n / 2 + 1 : n, dim[3] = 2;
  TRY(eval_out(e, 0, x->dtype, 4, dim, &y));
  TRY(nn_load(e, x, &v));
  TRY(nn_load_input(e, 2, &window));
  TRY(fft_open(e, n, &f));
  row = arena_array(e->scratch, Complex, (size_t)n);
  for (int64_t i = 0; i < dim[0] * dim[1]; i++) {
    int64_t at = i / dim[1] * x->dim[1] + i % dim[1] * step;
    TRY(ctx_poll(e->c));
    for (int64_t k = 0; k < n; k++) {
      double w = window ? window[k] : 1;
      row[k] = complex_at(v, at + k, x->dim[2]);
      row[k] = (Complex){row[k].re * w, row[k].im * w};
    }
    fft_run(f, row, false);
    for (int64_t k = 0; k < dim[2]; k++)
      nn_store(y, (i * dim[2] + k) * 2, (double[]){row[k].re, row[k].im}, 2);
  }
  return ST_OK;
}

/* --- windows --- */

/* Rounds towards zero where the output is of integers, as Cast does. */
static void store_cast(Tensor *y, int64_t at, double v) {
  v = dtype_is_float(y->dtype) ? v : trunc(v);
  nn_store(y, at, &v, 1);
}

static Status window_type(Eval *e, int64_t type, DType *t) {
  *t = (DType)type;
  if (type < 1 || type >= DT_count || !dtype_valid(*t) || !(dtype_is_float(*t) || dtype_is_int(*t)))
    return eval_fail(e, "output_datatype %lld is no type of numbers", (long long)type);
  return ST_OK;
}

/* HannWindow, HammingWindow, BlackmanWindow, ONNX 17: a - b cos(t) + c cos(2 t), t = 2 pi i / n; a window of one, which has
 * no period when it is symmetric, is 1. */
Status window_eval(Eval *e) {
  const WindowFunctionAttr *a = e->attr;
  double alpha = e->op == OP_HannWindow ? 0.5 : e->op == OP_HammingWindow ? 25.0 / 46 : 0.42;
  double gamma = e->op == OP_BlackmanWindow ? 0.08 : 0, beta = e->op == OP_BlackmanWindow ? 0.5 : 1 - alpha;
  int64_t n;
  Tensor *y;
  DType t;
  TRY(window_type(e, a->output_datatype, &t));
  TRY(scalar(e, 0, 0, "size", &n));
  TRY(eval_out(e, 0, t, 1, &n, &y));
  double period = (double)(a->periodic ? n : n - 1);
  for (int64_t i = 0; i < n; i++) {
    double x = 2 * M_PI * (double)i / period;
    store_cast(y, i, period > 0 ? alpha - beta * cos(x) + gamma * cos(2 * x) : 1);
  }
  return ST_OK;
}

/* --- MelWeightMatrix --- */

typedef struct Mel {
  int64_t bins, bands; /* of the spectrum; triangles */
  const int64_t *edge; /* bands + 2 */
} Mel;

static Status number(Eval *e, int i, const char *what, double *v) {
  const double *list;
  if (tensor_count(e->in[i]) != 1)
    return eval_fail(e, "%s must be one number", what);
  TRY(nn_load(e, e->in[i], &list));
  *v = list[0];
  return ST_OK;
}

/* Bins in which the triangles begin, peak and end: equally spaced on the mel scale, 2595 log10(1 + hz / 700). */
static Status mel_edges(Eval *e, Mel *m) {
  int64_t length, rate, *edge;
  double low, high;
  TRY(scalar(e, 0, 0, "num_mel_bins", &m->bands));
  TRY(scalar(e, 1, 0, "dft_length", &length));
  TRY(scalar(e, 2, 0, "sample_rate", &rate));
  TRY(number(e, 3, "lower_edge_hertz", &low));
  TRY(number(e, 4, "upper_edge_hertz", &high));
  for (int i = 0; i < 2; i++) {
    int64_t v = i ? length : m->bands;
    if (v < i)
      return eval_fail(e, "%s is %lld; it must be at least %d", i ? "dft_length" : "num_mel_bins", (long long)v, i);
    if (v > INT32_MAX)
      return eval_fail(e, "%s is %lld; it must be at most %d", i ? "dft_length" : "num_mel_bins", (long long)v,
                       INT32_MAX);
  }
  if (rate < 1)
    return eval_fail(e, "sample_rate is %lld", (long long)rate);
  m->bins = length / 2 + 1;
  m->edge = edge = arena_array(e->scratch, int64_t, (size_t)m->bands + 2);
  low = 2595 * log10(1 + low / 700), high = 2595 * log10(1 + high / 700);
  double step = (high - low) / (double)(m->bands + 2);
  for (int64_t i = 0; i < m->bands + 2; i++) {
    double hz = 700 * (pow(10, ((double)i * step + low) / 2595) - 1);
    double at = floor((double)(length + 1) * hz / (double)rate);
    if (!(at >= 0 && at < (double)m->bins) && i < m->bands + 1)
      return eval_fail(e, "band %lld lies outside of the spectrum", (long long)i);
    edge[i] = at >= 0 && at <= (double)m->bins ? (int64_t)at : m->bins;
  }
  return ST_OK;
}

static double mel_weight(const Mel *m, int64_t band, int64_t bin) {
  int64_t low = m->edge[band], peak = m->edge[band + 1], high = m->edge[band + 2];
  if (bin >= peak && bin < high)
    return (double)(high - bin) / (double)(high - peak);
  if (bin == peak)
    return 1;
  return bin >= low && bin < peak ? (double)(bin - low) / (double)(peak - low) : 0;
}

/* MelWeightMatrix, ONNX 17. */
Status mel_weight_eval(Eval *e) {
  const MelWeightMatrixAttr *a = e->attr;
  Mel m;
  Tensor *y;
  DType t;
  TRY(window_type(e, a->output_datatype, &t));
  TRY(mel_edges(e, &m));
  int64_t dim[2] = {m.bins, m.bands};
  TRY(eval_out(e, 0, t, 2, dim, &y));
  for (int64_t i = 0; i < m.bins; i++)
    for (int64_t j = 0; j < m.bands; j++)
      store_cast(y, i * m.bands + j, mel_weight(&m, j, i));
  return ST_OK;
}
