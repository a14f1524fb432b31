/* npy.h - NumPy's .npy arrays, format versions 1 to 3.
 *
 * Types NumPy lacks: bfloat16 is stored as '<V2', the 8-bit floats as '|V1'; types below 8 bits one element per byte
 * (int8, uint8, or '|V1' for floats). They are read back when the wanted type is given.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_NPY_H
#define SARD_TOOLS_NPY_H

#include "support/tensor.h"

/* Reads an array; nothing in bytes is trusted. want: the type for void data and packed types, DT_none when not known.
 * Fortran order and big-endian data are converted; object arrays and structures are refused. The data is borrowed from
 * bytes where it can be, else in arena a. */
Status npy_read(Ctx *c, Arena *a, const void *bytes, size_t n, DType want, Tensor **out);

/* The array as a header and its data (borrowed from t where the layout is the same). */
Status npy_write(Ctx *c, Arena *a, const Tensor *t, Str *header, Str *data);

#endif
