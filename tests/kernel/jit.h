/* jit.h - one unit compiled and loaded in one step, for tests and benchmarks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_KERNEL_JIT_H
#define SARD_TESTS_KERNEL_JIT_H

#include "codegen/backend.h"
#include "runtime/object.h"
#include "support/cpu.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct Jit {
  Ctx ctx;
  Alloc alloc;
  Arena *arena;
  const char *level; /* support/cpu.h */
  const EmitApi *api;
} Jit;

typedef struct JitUnit {
  Jit *j;
  const Unit *u;
  KernelFn fn;
} JitUnit;

static inline Status jit_load(Ctx *c, void *arg) { return backend_load(c, &((Jit *)arg)->api); }

static inline Status jit_emit(Ctx *c, void *arg) {
  JitUnit *x = arg;
  EmitObject o;
  RtCode *code;
  EmitTarget t = {.cpu_level = x->j->level};
  TRY(x->j->api->emit_units(c, x->j->arena, &x->u, 1, &t, &o));
  const char *dump = getenv("SARD_DUMP_OBJECT");
  FILE *f = dump ? fopen(dump, "wb") : NULL;
  if (f) {
    fwrite(o.bytes, 1, o.size, f);
    fclose(f);
  }
  TRY(object_load(c, x->j->arena, o.bytes, o.size, &code));
  x->fn = object_symbol(code, o.symbol[0]);
  return ST_OK;
}

/* level NULL: the best of this CPU. False: there is no code generator. */
static inline bool jit_open(Jit *j, const char *level) {
  *j = (Jit){.level = level ? level : cpu_level()};
  alloc_init_system(&j->alloc);
  ctx_open(&j->ctx, &j->alloc);
  j->arena = arena_create(&j->ctx);
  return ctx_protect(&j->ctx, jit_load, j) == ST_OK;
}

static inline void jit_close(Jit *j) { ctx_close(&j->ctx); }

/* NULL: j->ctx.err says why. */
static inline KernelFn jit_compile(Jit *j, const Unit *u) {
  JitUnit x = {j, u, NULL};
  return ctx_protect(&j->ctx, jit_emit, &x) ? NULL : x.fn;
}

#endif
