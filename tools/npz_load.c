/* npz_load.c - npz.h by libsard-npz.so, which is loaded when the first .npz is named, and stays: libzip brings libcrypto, two
 * megabytes for every process.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/beside.h"
#include "tools/npz/api.h"

static const NpzApi *loaded; /* the tool reads and writes files on one thread */

static Status load(Ctx *c) {
  const Beside npz = {.name = "libsard-npz.so",
                      .what = "the library of .npz archives",
                      .hint = "it belongs beside sard or in ../lib; .npy files need none",
                      .symbol = "sard_npz_api",
                      .build = NPZ_BUILD};
  const void *api;
  if (loaded)
    return ST_OK;
  TRY(beside_load(c, &npz, &api));
  loaded = api;
  return ST_OK;
}

Status npz_open(Ctx *c, Arena *a, const char *path, Npz **out) {
  TRY(load(c));
  return loaded->open(c, a, path, out);
}

void npz_close(Npz *z) { loaded->close(z); }

const char *npz_name(Npz *z, size_t i) { return loaded->name(z, i); }

int64_t npz_find(Npz *z, const char *name) { return loaded->find(z, name); }

Status npz_read(Npz *z, size_t i, DType want, Tensor **out) { return loaded->read(z, i, want, out); }

Status npz_write(Ctx *c, Arena *a, OutFile *f, size_t n, const char *const *name, const Tensor *const *t) {
  TRY(load(c));
  return loaded->write(c, a, f, n, name, t);
}
