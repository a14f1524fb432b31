/* identity.c - what tells a model apart without importing it: a hash over the bounded scan of its file, in which tensor
 * data is cut out. What is left is the graph; where the data lies is hashed with it, since compiled programs refer to
 * weights by offset; and data small enough to be a shape or a scalar is hashed as it is, so that such a file need not be the
 * same file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/import.h"

enum { SMALL_DATA = 4096 };

static void hash_pieces(const WireScan *scan, const uint8_t *base, ModelId *id) {
  for (uint32_t i = 0; i < scan->npiece; i++) {
    const WirePiece *p = &scan->piece[i];
    uint64_t where[3] = {(uint64_t)(p->ptr - base), p->len, (uint64_t)p->field << 1 | p->packed};
    bool small = p->len <= SMALL_DATA;
    id->holds_weights |= !small;
    for (int k = 0; k < 2; k++) {
      id->hash[k] = hash_bytes(where, sizeof where, id->hash[k]);
      if (small)
        id->hash[k] = hash_bytes(p->ptr, p->len, id->hash[k]);
    }
  }
}

Status model_identify(Ctx *c, Arena *a, const char *path, const void *data, size_t n, const char *dir,
                      const LoadOptions *o, ModelId *out) {
  *out = (ModelId){.dir = dir};
  if (!path) {
    for (uint64_t k = 0; k < 2; k++)
      out->hash[k] = sum_bytes(data, n, k);
    return ST_OK;
  }
  WireLimits limits = {.max_bytes = o ? o->max_bytes : 0, .strict = o && o->strict};
  WireScan scan;
  TRY(map_open(c, a, path, &out->file));
  out->dir = model_directory(a, path);
  Arena *tmp = arena_create(c);
  TRY(wire_scan(c, tmp, WIRE_ModelProto, out->file->base, out->file->size, &limits, &scan));
  for (uint64_t k = 0; k < 2; k++)
    out->hash[k] = sum_bytes(scan.bytes, scan.n, k);
  hash_pieces(&scan, out->file->base, out);
  arena_destroy(tmp);
  return ST_OK;
}

Status model_map_weights(Ctx *c, Arena *a, const char *path, const char *dir, const LoadOptions *o,
                         const char *const *name, uint32_t n, Mapped **out) {
  Weights *w;
  Model *m = arena_new(a, Model);
  m->arena = a, m->path = path;
  if (!n)
    return ST_OK;
  TRY(weights_open(c, m, dir, o, &w));
  for (uint32_t i = 0; i < n; i++)
    TRY(weights_file(w, name[i], &out[i]));
  weights_close(w);
  return ST_OK;
}
