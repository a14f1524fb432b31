/* nn.h - what the evaluators of neural network operators share: tensors as double buffers, and window geometry.
 *
 * These evaluators compute in double whatever the element type: inputs are read with nn_load, results are rounded once
 * by nn_store. Sums of products of 8-bit integers are exact in double, so the integer forms use the same loops.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_NN_H
#define SARD_OPS_EVAL_NN_H

#include "ops/eval/eval.h"

/* The elements of a numeric tensor as double: the data itself for f64, else a copy in scratch. */
Status nn_load(Eval *e, const Tensor *t, const double **v);
/* As nn_load for input i; *v is NULL when it is absent. */
Status nn_load_input(Eval *e, int i, const double **v);
/* n doubles of zero in scratch; ST_INVALID when the size overflows. */
Status nn_buffer(Eval *e, int64_t n, double **v);
/* Writes elements [at, at + n) of out. Floats are rounded to nearest even, integers rounded to even and saturated. */
void nn_store(Tensor *out, int64_t at, const double *v, int64_t n);
/* v as an element of type t holds it. */
double nn_round(DType t, double v);
/* The range of an integer type of at most 32 bits; false for other types. */
bool nn_int_range(DType t, double *lo, double *hi);
/* dst[i .. i + n) = src[j .. j + n) of the same dtype, whichever it is (characters of strings copied to e->keep). */
void nn_copy(Eval *e, Tensor *dst, int64_t i, const Tensor *src, int64_t j, int64_t n);
/* Input i must have the given rank; what names it ("W"). */
Status nn_expect_rank(Eval *e, int i, int rank, const char *what);
/* Dimension `axis` of input i must be `want`; what names it in the message. */
Status nn_expect_dim(Eval *e, int i, int axis, int64_t want, const char *what);

/* --- windows: convolution and pooling --- */

typedef struct WindowAttr {
  Str auto_pad;
  Ints kernel, pads, strides, dilations; /* as in the node; empty lists stand for the defaults */
  bool ceil;                             /* round the output extent up */
} WindowAttr;

typedef enum { PAD_EXPLICIT, PAD_SAME_UPPER, PAD_SAME_LOWER, PAD_VALID } AutoPad;

/* The attributes with defaults filled in and checked: kernel, strides and dilations at least 1, pads at least 0, and
 * none above 2^40. kernel[] is -1 when the attribute is not given. */
typedef struct WindowSpec {
  int n; /* spatial axes */
  AutoPad mode;
  bool ceil;
  int64_t kernel[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK], begin[MAX_RANK], end[MAX_RANK];
} WindowSpec;

/* A spec on an input: begin and end hold the actual padding, out the output extents. */
typedef struct Window {
  int n;
  int64_t in[MAX_RANK], out[MAX_RANK], kernel[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK], begin[MAX_RANK],
      end[MAX_RANK];
} Window;

enum { WINDOW_LIMIT_BITS = 40 };

/* Shared by inference and evaluation. Errors: ST_INVALID naming attribute, value and axis. */
Status window_spec(Ctx *c, const WindowAttr *a, int n, WindowSpec *s);
/* weight: kernel extents the weight tensor has (NULL for pooling); must agree with kernel_shape when both are given. */
Status window_kernel(Ctx *c, WindowSpec *s, const int64_t *weight);
/* Output extents. ST_INVALID when a window is larger than the padded input. */
Status window_apply(Eval *e, const WindowSpec *s, const int64_t *in, Window *w);
/* The taps k0 <= k < k1 of output position o on an axis that fall inside the input; *x: input position of tap k0. */
void window_taps(const Window *w, int axis, int64_t o, int64_t *k0, int64_t *k1, int64_t *x);

/* output_padding and output_shape of ConvTranspose: lengths and ranges. */
Status conv_transpose_lists(Ctx *c, const ConvTransposeAttr *a, int n);

#endif
