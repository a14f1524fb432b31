/* npy.h - arrays in .npy files, for programs made of models.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_START_NPY_H
#define SARD_START_NPY_H

#include "sard_types.h"

/* t's data is from malloc. NULL: read or written; else what is wrong. */
const char *npy_load(const char *path, sard_tensor *t);
const char *npy_store(const char *path, const sard_tensor *t);

#endif
