/* api.h - what libsard-npz.so does: the functions of tools/npz.h over libzip. The only header of tools/npz/ that others include. The
 * shared object is of the same build as its caller (NpzApi.build): it shares Ctx and Arena with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_NPZ_API_H
#define SARD_TOOLS_NPZ_API_H

#include "tools/npz.h"

/* The one symbol that the shared object exports: sard_npz_api, a function returning this. */
typedef struct NpzApi {
  uint64_t build; /* NPZ_BUILD of the build that made it */
  Status (*open)(Ctx *c, Arena *a, const char *path, Npz **out);
  void (*close)(Npz *z);
  const char *(*name)(Npz *z, size_t i);
  int64_t (*find)(Npz *z, const char *name);
  Status (*read)(Npz *z, size_t i, DType want, Tensor **out);
  Status (*write)(Ctx *c, Arena *a, OutFile *f, size_t n, const char *const *name, const Tensor *const *t);
} NpzApi;

/* Changes with the layout of what crosses the boundary. */
#define NPZ_BUILD                                                                                                      \
  ((uint64_t)2 << 56 ^ (uint64_t)sizeof(Ctx) << 40 ^ (uint64_t)sizeof(OutFile) << 24 ^                                 \
   (uint64_t)sizeof(Tensor) << 12 ^ sizeof(NpzApi))

#endif
