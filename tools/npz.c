/* npz.c - .npz over zip.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/npz.h"

#include "tools/npy.h"
#include "tools/zip.h"

#include <string.h>

struct Npz {
  Ctx *c;
  Arena *a;
  Zip *zip;
  const char **name;
};

void npz_close(Npz *z) { zip_close(z->c, z->zip); }

Status npz_open(Ctx *c, Arena *a, const char *path, Npz **out) {
  Npz *z = arena_new(a, Npz);
  *z = (Npz){.c = c, .a = a};
  TRY(zip_open(c, a, path, &z->zip));
  z->name = arena_array(a, const char *, z->zip->n + 1);
  for (size_t i = 0; i < z->zip->n; i++) {
    const char *s = z->zip->entry[i].name;
    z->name[i] = has_suffix(s, ".npy") ? arena_strndup(a, s, strlen(s) - 4) : s;
  }
  *out = z;
  return ST_OK;
}

const char *npz_name(Npz *z, size_t i) { return i < z->zip->n ? z->name[i] : NULL; }

int64_t npz_find(Npz *z, const char *name) {
  for (size_t i = 0; i < z->zip->n; i++)
    if (!strcmp(z->name[i], name))
      return (int64_t)i;
  return -1;
}

Status npz_read(Npz *z, size_t i, DType want, Tensor **out) {
  size_t size = z->zip->entry[i].size;
  uint8_t *p = arena_get(z->a, size, 1, 64);
  Status st = zip_read(z->c, z->zip, i, p);
  st = st ? st : npy_read(z->c, z->a, p, size, want, out);
  return st ? err_file(z->c, err_note(z->c, st, "array '%s'", z->name[i]), z->zip->path) : ST_OK;
}

Status npz_write(Ctx *c, Arena *a, OutFile *f, size_t n, const char *const *name, const Tensor *const *t) {
  ZipWriter w = {.f = f, .entry = arena_array(a, ZipEntry, n + 1)};
  for (size_t i = 0; i < n; i++) {
    Str head, data;
    TRY(npy_write(c, a, t[i], &head, &data));
    TRY(zip_put(c, &w, arena_printf(a, "%s.npy", name[i]), head, data));
  }
  return zip_finish(c, &w);
}
