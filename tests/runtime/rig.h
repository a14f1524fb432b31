/* rig.h - a graph in text form, as a loaded program that a test feeds and runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_RUNTIME_RIG_H
#define SARD_TESTS_RUNTIME_RIG_H

#include "codegen/plan.h"
#include "ir/graph.h"
#include "runtime/internal.h"
#include "support/dim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { RIG_MAX = 8 };

typedef struct Rig {
  Alloc alloc;
  Ctx c; /* graph and program */
  Ctx r; /* the run */
  Arena *a;
  const uint8_t *image;
  size_t size;
  RtProgram *p;
  Tensor in[RIG_MAX];
  uint32_t nin;
  RtOutput out[RIG_MAX];
  RtRunOptions o;
  const char *text;
} Rig;

static Status rig_build(Ctx *c, void *arg) {
  Rig *k = arg;
  Graph *g;
  PlanInput none = {0};
  TRY(graph_parse(c, k->text, strlen(k->text), "test", &g));
  TRY(graph_verify(c, g));
  k->a = arena_create(c);
  TRY(plan_build(c, k->a, g, &none, &k->image, &k->size));
  graph_destroy(g);
  dim_release(c);
  return rt_load(c, k->a, k->image, k->size, plan_build_id(), NULL, 0, &k->p);
}

static __attribute__((unused)) void rig_open(Rig *k, const char *text) {
  memset(k, 0, sizeof *k);
  alloc_init_system(&k->alloc);
  ctx_open(&k->c, &k->alloc);
  k->text = text;
  if (ctx_protect(&k->c, rig_build, k)) {
    print_error("%s (node %s)\n", k->c.err.message, k->c.err.node);
    fail_msg("the program does not build");
  }
  ctx_open(&k->r, &k->alloc);
}

static __attribute__((unused)) void rig_close(Rig *k) {
  ctx_close(&k->r);
  rt_unload(k->p);
  ctx_close(&k->c);
  assert_int_equal(atomic_load(&k->alloc.used), 0);
}

/* Input data is the caller's: v must live until the run. */
static __attribute__((unused)) void rig_feed(Rig *k, DType t, int rank, const int64_t *dim, const void *v) {
  Tensor *x = &k->in[k->nin++];
  *x = (Tensor){.kind = VK_TENSOR, .dtype = t, .rank = (int8_t)rank, .data = (void *)(uintptr_t)v};
  for (int i = 0; i < rank; i++)
    x->dim[i] = dim[i];
}
#define SHAPE(...)                                                                                                     \
  (int)countof(((int64_t[]){__VA_ARGS__})), (int64_t[]) { __VA_ARGS__ }
#define F32(...) ((float[]){__VA_ARGS__})
#define I64(...) ((int64_t[]){__VA_ARGS__})

/* Runs once more; what the run before gave is gone. Outputs with `into` set keep it. */
static __attribute__((unused)) Status rig_try(Rig *k) {
  uint32_t n = rt_count(k->p, SEC_OUTPUTS);
  const atomic_int *cancel = k->r.cancel;
  int64_t deadline = k->r.deadline_ns;
  ctx_close(&k->r);
  ctx_open(&k->r, &k->alloc);
  k->r.cancel = cancel, k->r.deadline_ns = deadline;
  for (uint32_t i = 0; i < n; i++)
    k->out[i] = (RtOutput){.wanted = true, .into = k->out[i].into};
  return rt_run(k->p, &k->r, &k->o, k->in, k->nin, k->out, n);
}

static __attribute__((unused)) void rig_run(Rig *k) {
  if (rig_try(k)) {
    print_error("%s (node %s, %s)\n", k->r.err.message, k->r.err.node, k->r.err.op);
    fail_msg("the run fails");
  }
}

static __attribute__((unused)) void rig_error(Rig *k, Status st, const char *message) {
  assert_int_equal(rig_try(k), st);
  assert_string_equal(k->r.err.message, message);
}

static __attribute__((unused)) void rig_expect(Rig *k, uint32_t i, DType t, int rank, const int64_t *dim,
                                               const void *v) {
  const Tensor *x = k->out[i].in_place ? k->out[i].into : &k->out[i].t;
  Tensor want = {.kind = VK_TENSOR, .dtype = t, .rank = (int8_t)rank, .data = (void *)(uintptr_t)v};
  for (int j = 0; j < rank; j++)
    want.dim[j] = dim[j];
  char a[128], b[128];
  assert_string_equal(tensor_type_text(x, a, sizeof a), tensor_type_text(&want, b, sizeof b));
  size_t n = tensor_bytes(&want);
  if (n && memcmp(x->data, v, n))
    for (int64_t j = 0; j < tensor_count(&want); j++)
      print_error("  [%d] %g, expected %g\n", (int)j, elem_f64(t, x->data, j), elem_f64(t, v, j));
  assert_true(!n || !memcmp(x->data, v, n));
}

/* Bytes of the arena of the newest layout, in slots of PROG_ALIGN. */
static __attribute__((unused)) uint64_t rig_arena(const Rig *k) { return k->p->layouts->arena / PROG_ALIGN; }

#endif
