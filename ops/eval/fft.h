/* fft.h - the discrete Fourier transform of complex doubles of any length in O(n log n): mixed radix where n has small prime
 * factors only, else by the algorithm of Bluestein (a convolution of a power of two).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_FFT_H
#define SARD_OPS_EVAL_FFT_H

#include "ops/eval/eval.h"

typedef struct Complex {
  double re, im;
} Complex;

typedef struct Fft {
  int64_t n;
  Complex *w;    /* w[k] = exp(-2 pi i k / n) */
  Complex *work; /* n; Bluestein: the length of the convolution */
  /* Bluestein only (inner != NULL): */
  struct Fft *inner;
  Complex *chirp;  /* exp(-pi i k^2 / n) */
  Complex *filter; /* the transform of its conjugate, padded */
} Fft;

/* Prime factors up to FFT_PRIME are radices. */
enum { FFT_PRIME = 31 };

Status fft_open(Eval *e, int64_t n, Fft **f); /* n >= 1; in scratch */
/* x[k] = sum over j of x[j] exp(-+ 2 pi i j k / n), + for the inverse, which is not divided by n. */
void fft_run(const Fft *f, Complex *x, bool inverse);

#endif
