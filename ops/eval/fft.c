/* fft.c - fast Fourier transforms.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/fft.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

static Complex add(Complex a, Complex b) { return (Complex){a.re + b.re, a.im + b.im}; }
static Complex mul(Complex a, Complex b) { return (Complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
static Complex conjugate(Complex a) { return (Complex){a.re, -a.im}; }

/* exp(-2 pi i k / n), exact where it is 0 or 1. */
static Complex root(int64_t k, int64_t n) {
  k %= n;
  if (4 * k % n == 0) {
    static const Complex quarter[] = {{1, 0}, {0, -1}, {-1, 0}, {0, 1}};
    return quarter[4 * k / n];
  }
  double a = -2 * M_PI * (double)k / (double)n;
  return (Complex){cos(a), sin(a)};
}

static int64_t least_factor(int64_t n) {
  for (int64_t p = 2; p * p <= n; p++)
    if (n % p == 0)
      return p;
  return n;
}

static bool smooth(int64_t n) {
  while (n > 1) {
    int64_t p = least_factor(n);
    if (p > FFT_PRIME)
      return false;
    n /= p;
  }
  return true;
}

/* out[0..n) = transform of in[0], in[step], … ; total: the length w is for. Decimation in time: transforms of the p
 * subsequences, then p-point transforms across them. */
static void transform(const Fft *f, int64_t n, const Complex *in, int64_t step, Complex *out) {
  if (n == 1) {
    *out = *in;
    return;
  }
  int64_t p = least_factor(n), m = n / p, scale = f->n / n;
  Complex t[FFT_PRIME];
  for (int64_t r = 0; r < p; r++)
    transform(f, m, in + r * step, step * p, out + r * m);
  for (int64_t k = 0; k < m; k++) {
    for (int64_t r = 0; r < p; r++)
      t[r] = mul(out[r * m + k], f->w[r * k * scale]);
    for (int64_t q = 0; q < p; q++) {
      Complex s = t[0];
      for (int64_t r = 1; r < p; r++)
        s = add(s, mul(t[r], f->w[r * q % p * m * scale]));
      out[q * m + k] = s;
    }
  }
}

static Status buffer(Eval *e, int64_t n, Complex **v) {
  size_t bytes;
  if (n < 1 || !size_mul_ok((size_t)n, sizeof(Complex), &bytes))
    return eval_fail(e, "a transform of length %lld is too large", (long long)n);
  *v = arena_array(e->scratch, Complex, (size_t)n);
  return ST_OK;
}

/* j k = (j^2 + k^2 - (k - j)^2) / 2 turns the transform into a convolution with the chirp. */
static Status open_bluestein(Eval *e, Fft *f) {
  int64_t n = f->n, m = 1;
  while (m < 2 * n - 1)
    m *= 2;
  TRY(fft_open(e, m, &f->inner));
  TRY(buffer(e, n, &f->chirp));
  TRY(buffer(e, m, &f->filter));
  TRY(buffer(e, m, &f->work));
  memset(f->filter, 0, (size_t)m * sizeof *f->filter);
  for (int64_t k = 0, square = 0; k < n; square = (square + 2 * k + 1) % (2 * n), k++) {
    f->chirp[k] = root(square, 2 * n);
    f->filter[k] = f->filter[k ? m - k : 0] = conjugate(f->chirp[k]);
  }
  fft_run(f->inner, f->filter, false);
  return ST_OK;
}

Status fft_open(Eval *e, int64_t n, Fft **out) {
  Fft *f = *out = arena_new(e->scratch, Fft);
  *f = (Fft){.n = n};
  if (n < 1 || n > INT64_C(1) << 56)
    return eval_fail(e, "a transform of length %lld", (long long)n);
  if (!smooth(n))
    return open_bluestein(e, f);
  TRY(buffer(e, n, &f->w));
  TRY(buffer(e, n, &f->work));
  for (int64_t k = 0; k < n; k++)
    f->w[k] = root(k, n);
  return ST_OK;
}

static void bluestein(const Fft *f, Complex *x) {
  Complex *a = f->work;
  int64_t m = f->inner->n;
  memset(a, 0, (size_t)m * sizeof *a);
  for (int64_t k = 0; k < f->n; k++)
    a[k] = mul(x[k], f->chirp[k]);
  fft_run(f->inner, a, false);
  for (int64_t k = 0; k < m; k++)
    a[k] = mul(a[k], f->filter[k]);
  fft_run(f->inner, a, true);
  for (int64_t k = 0; k < f->n; k++) {
    Complex y = mul(a[k], f->chirp[k]);
    x[k] = (Complex){y.re / (double)m, y.im / (double)m};
  }
}

void fft_run(const Fft *f, Complex *x, bool inverse) {
  for (int64_t k = 0; inverse && k < f->n; k++)
    x[k] = conjugate(x[k]);
  if (f->inner) {
    bluestein(f, x);
  } else {
    memcpy(f->work, x, (size_t)f->n * sizeof *x);
    transform(f, f->n, f->work, 1, x);
  }
  for (int64_t k = 0; inverse && k < f->n; k++)
    x[k] = conjugate(x[k]);
}
