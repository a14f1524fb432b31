/* npz.h - NumPy's .npz archives: a zip file of .npy arrays, stored or deflated, also above 4 GB.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_NPZ_H
#define SARD_TOOLS_NPZ_H

#include "support/tensor.h"
#include "tools/files.h"

typedef struct Npz Npz;

/* Opens an archive for reading; it stays open until npz_close or until the work fails. */
Status npz_open(Ctx *c, Arena *a, const char *path, Npz **out);
void npz_close(Npz *z);
/* The i-th array's name (in the arena); NULL at the end. */
const char *npz_name(Npz *z, size_t i);
int64_t npz_find(Npz *z, const char *name); /* -1: no such array */
Status npz_read(Npz *z, size_t i, DType want, Tensor **out);

/* Writes n arrays to f (see files.h), which the caller commits. */
Status npz_write(Ctx *c, Arena *a, OutFile *f, size_t n, const char *const *name, const Tensor *const *t);

#endif
