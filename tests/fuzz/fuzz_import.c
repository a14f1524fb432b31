/* fuzz_import.c - libFuzzer target: any bytes as a model, with 256 MiB to spend. Whatever comes, the importer answers
 * with a status and a message, and gives all memory back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/model.h"

#include <stdlib.h>

typedef struct Input {
  const uint8_t *data;
  size_t n;
} Input;

static Status load(Ctx *c, void *arg) {
  const Input *in = arg;
  Model *m;
  LoadOptions o = {.max_bytes = 64 << 20, .max_nodes = 20000};
  TRY(model_load_bytes(c, in->data, in->n, NULL, &o, &m));
  model_close(c, m);
  return ST_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  Alloc alloc;
  Ctx c;
  Input in = {data, n};
  alloc_init_system(&alloc);
  alloc.limit = 256 << 20;
  ctx_open(&c, &alloc);
  Status st = ctx_protect(&c, load, &in);
  if (st && (st != c.err.kind || !*c.err.message))
    abort(); /* an error without its message */
  if (st == ST_INTERNAL)
    abort(); /* our own check found our own bug */
  ctx_close(&c);
  if (atomic_load(&alloc.used))
    abort();
  return 0;
}
