/* fuzz_ir.c - libFuzzer target: text is parsed as a graph, typed, optimised, verified after every pass, printed and
 * parsed again. Start it on the files of tests/ir. SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "passes/pass.h"

#include <stdlib.h>
#include <string.h>

typedef struct Input {
  const char *text;
  size_t n;
} Input;

static Status optimise(Ctx *c, void *arg) {
  const Input *in = arg;
  Graph *g, *h;
  StrBuf b;
  TRY(graph_parse(c, in->text, in->n, NULL, &g));
  if (graph_verify(c, g))
    abort();
  TRY(graph_infer(c, g));
  Status st = passes_run(c, g, &(PassOptions){.verify = true});
  if (st == ST_INTERNAL)
    abort();
  TRY(st);
  buf_init(&b, g->arena);
  graph_print(&b, g, NULL);
  st = graph_parse(c, b.text, b.len, NULL, &h);
  if (st == ST_INVALID)
    abort();
  return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  Input in = {(const char *)data, n};
  Alloc alloc;
  Ctx c;
  alloc_init_system(&alloc);
  alloc.limit = (size_t)256 << 20;
  ctx_open(&c, &alloc);
  c.deadline_ns = now_ns() + (int64_t)5000000000;
  ctx_protect(&c, optimise, &in);
  ctx_close(&c);
  if (alloc.used)
    abort();
  return 0;
}
