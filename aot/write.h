/* write.h - packages as files.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_AOT_WRITE_H
#define SARD_AOT_WRITE_H

#include "aot/pack.h"
#include "support/outfile.h"

/* The weights' bytes, from the first to the last. */
Status aot_put_weights(Ctx *c, OutFile *f, const AotPackage *p);
Status aot_put_zeros(Ctx *c, OutFile *f, uint64_t n);

/* A .sard file; weights inside unless the package says that they are beside. */
Status aot_write_package(Ctx *c, Arena *a, const AotPackage *p, const char *path);
/* The file for weights beside. */
Status aot_write_weights(Ctx *c, Arena *a, const AotPackage *p, const char *path);

#endif
