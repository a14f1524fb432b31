/* show.h - tensors as text, the way NumPy prints arrays, and as JSON.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_SHOW_H
#define SARD_TOOLS_SHOW_H

#include "support/tensor.h"

/* All elements up to 200 of them, else three at each end of every dimension. Ends with a newline. */
void show_value(StrBuf *b, const Tensor *t);
/* {"name", "dtype", "shape", "min", "max", "mean", "data"}: see the manual of `sard run`. */
void show_json(StrBuf *b, const char *name, const Tensor *t);

#endif
