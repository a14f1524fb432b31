/* concat.h - joining and cutting tensors, shared with the sequence operators.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_CONCAT_H
#define SARD_OPS_EVAL_CONCAT_H

#include "ops/eval/eval.h"

/* Output 0: x[0..n) joined along axis, n >= 1; dtypes, ranks and the other extents are checked. */
Status concat_tensors(Eval *e, int64_t n, const Tensor *const *x, int64_t axis, Tensor **out);
/* Fills part with x[from, from + size) along axis; part has x's shape with `size` on that axis, or, size being 1, lacks
 * it. */
void split_copy(const Tensor *x, int axis, int64_t from, int64_t size, const Tensor *part);

#endif
