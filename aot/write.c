/* write.c - packages as files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "aot/write.h"

Status aot_put_zeros(Ctx *c, OutFile *f, uint64_t n) {
  static const char zeros[PACKAGE_PAGE];
  for (; n > sizeof zeros; n -= sizeof zeros)
    TRY(file_put(c, f, zeros, sizeof zeros));
  return file_put(c, f, zeros, n);
}

Status aot_put_weights(Ctx *c, OutFile *f, const AotPackage *p) {
  uint64_t at = 0;
  for (uint32_t i = 0; i < p->nweight; i++) {
    const AotSpan *s = &p->weight[i];
    TRY(aot_put_zeros(c, f, s->at - at));
    TRY(file_put(c, f, s->data, s->size));
    at = s->at + s->size;
  }
  return ST_OK;
}

static uint64_t to_page(uint64_t n) { return (PACKAGE_PAGE - n % PACKAGE_PAGE) % PACKAGE_PAGE; }

Status aot_write_package(Ctx *c, Arena *a, const AotPackage *p, const char *path) {
  OutFile *f;
  TRY(file_begin(c, a, path, &f));
  TRY(file_put(c, f, p->head, p->head_size));
  TRY(aot_put_zeros(c, f, to_page(p->head_size)));
  TRY(file_put(c, f, p->code, p->code_size));
  if (!(((const PackageHeader *)(const void *)p->head)->flags & PACKAGE_EXTERNAL))
    TRY(aot_put_weights(c, f, p));
  return file_commit(c, f);
}

Status aot_write_weights(Ctx *c, Arena *a, const AotPackage *p, const char *path) {
  const PackageHeader *h = (const PackageHeader *)(const void *)p->head;
  WeightsHeader w = {.magic = WEIGHTS_MAGIC, .version = PACKAGE_VERSION, .sum = h->weights_sum, .size = h->weights};
  OutFile *f;
  TRY(file_begin(c, a, path, &f));
  TRY(file_put(c, f, &w, sizeof w));
  TRY(aot_put_zeros(c, f, PACKAGE_PAGE - sizeof w));
  TRY(aot_put_weights(c, f, p));
  return file_commit(c, f);
}
