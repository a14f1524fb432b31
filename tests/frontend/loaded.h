/* loaded.h - models that a test builds, loaded from memory or refused. For one test program each.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_FRONTEND_LOADED_H
#define SARD_TESTS_FRONTEND_LOADED_H

#include "frontend/model.h"
#include "include/sard.h"
#include "ir/infer.h"
#include "ops/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/frontend/models.h"

#undef fail

typedef struct Loaded {
  Alloc alloc;
  Ctx c;
  Model *m;
  Pb bytes;
  Status st;
} Loaded;

static LoadOptions options;

/* Loads and frees *model at close(). */
static inline void load(Loaded *l, Pb *model) {
  memset(l, 0, sizeof *l);
  alloc_init_system(&l->alloc);
  l->alloc.limit = (size_t)256 << 20;
  ctx_open(&l->c, &l->alloc);
  l->bytes = *model;
  *model = (Pb){0};
  l->st = model_load_bytes(&l->c, l->bytes.b, l->bytes.n, NULL, &options, &l->m);
}

static inline void close_model(Loaded *l) {
  if (!l->st)
    model_close(&l->c, l->m);
  ctx_close(&l->c);
  assert_int_equal(atomic_load(&l->alloc.used), 0);
  pb_free(&l->bytes);
}

static inline void load_ok(Loaded *l, Pb *model) {
  load(l, model);
  if (l->st)
    print_error("%s; node %s; hint %s\n", l->c.err.message, l->c.err.node, l->c.err.hint);
  assert_int_equal(l->st, ST_OK);
  if (!options.no_infer && graph_verify(&l->c, l->m->graph)) {
    print_error("%s\n", l->c.err.message);
    assert_true(false);
  }
}

/* The model is refused with the status, and the message or hint holds each of the words (NULL at the end). */
static inline void refused(Pb *model, Status kind, ...) {
  Loaded l;
  va_list ap;
  load(&l, model);
  if (l.st != kind)
    print_error("status %d: %s\n", l.st, l.c.err.message);
  assert_int_equal(l.st, kind);
  va_start(ap, kind);
  for (const char *w; (w = va_arg(ap, const char *)) != NULL;)
    if (!strstr(l.c.err.message, w) && !strstr(l.c.err.hint, w) && !strstr(l.c.err.node, w) && !strstr(l.c.err.op, w)) {
      print_error("no '%s' in: %s; hint: %s; node: %s\n", w, l.c.err.message, l.c.err.hint, l.c.err.node);
      assert_true(false);
    }
  va_end(ap);
  close_model(&l);
}

static inline Value *output(const Loaded *l, uint32_t i) {
  assert_true(i < l->m->graph->nout);
  return l->m->graph->out[i];
}

static inline const char *type_of(Loaded *l, const Value *v) { return type_text(&l->c, &v->type); }

static inline const Node *find_node(const Graph *g, const char *name) {
  for (const Node *n = g->first; n; n = n->next)
    if (!strcmp(n->origin->node, name))
      return n;
  return NULL;
}

/* x -> Relu -> y */
static inline Pb relu_graph(void) {
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "batch 3");
  put_value(&g, GRAPH_OUTPUT, "y", F32, "batch 3");
  put_op(&g, "act", "Relu", "x", "y");
  return g;
}

#endif
