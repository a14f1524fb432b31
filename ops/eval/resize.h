/* resize.h - the extents Resize gives, for inference and evaluation alike.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_RESIZE_H
#define SARD_OPS_EVAL_RESIZE_H

#include "ops/eval/eval.h"

/* floor(in * scale): exact for scales that are multiples of 1/64; otherwise the product is taken in f32, as ONNX's own
 * shape inference and the exporters do (10 * 0.7f is 7). False: scale not above 0, or too large. */
bool resize_extent(int64_t in, float scale, int64_t *out);
/* The axes that scales or sizes of n elements (-1: not known) speak of, as many as axes has, or rank. */
Status resize_axes(Ctx *c, Ints axes, int rank, int64_t n, int *axis);
/* Extents and scales of the n axes named, from sizes and the aspect ratio policy; other entries are left alone. */
Status resize_from_sizes(Ctx *c, Str policy, int n, const int *axis, const int64_t *sizes, const int64_t *in,
                         int64_t *out, double *scale);

#endif
