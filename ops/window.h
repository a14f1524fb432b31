/* window.h - extents of convolution and pooling as dim expressions; the numeric side is ops/eval/nn.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_WINDOW_H
#define SARD_OPS_WINDOW_H

#include "ir/infer.h"
#include "ops/eval/nn.h"

/* Spatial extents of the output. in and kernel: s->n dims each. ST_INVALID when no value of the symbols fits a window.
 */
Status window_dims(Infer *x, const WindowSpec *s, Dim const *in, Dim const *kernel, Dim *out);
/* Kernel extents of the weight `w` (input, rank known, spatial axes from 2), merged with kernel_shape in s. */
Status window_weight(Infer *x, WindowSpec *s, int w, Dim *kernel);
/* Is dim `axis` of input i divisible by group, and group at least 1? */
Status check_group_dim(Infer *x, int i, int axis, int64_t group, const char *what);

#endif
