/* arith.h - shape arithmetic: what element-by-element operators and reductions do to the elements of small integer
 * tensors that inference knows as dim expressions. Booleans are known as 0 and 1. SPDX-License-Identifier: Apache-2.0
 */
#ifndef SARD_OPS_ARITH_H
#define SARD_OPS_ARITH_H

#include "ir/infer.h"

/* Each sets the content of output 0 when it can be told from the inputs' contents; else does nothing. The type of
 * output 0 must be set; it and the inputs have rank 0 or 1. */
void content_elementwise(Infer *x); /* by the node's operator, all inputs broadcasting */
void content_clip(Infer *x);
void content_cast(Infer *x, DType to);
void content_reduce(Infer *x, bool to_scalar); /* over the only axis, or none when the input is a scalar */

#endif
