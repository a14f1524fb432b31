/* kernels.c - groups, machine code for them, packed weights: what turns a plan of reference steps into a compiled program.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/kernels.h"

#include "codegen/backend.h"
#include "codegen/describe.h"
#include "codegen/packing.h"

#include <string.h>

static Status compile(Ctx *c, Arena *a, const char *level, unsigned threads, Kernels *k) {
  EmitTarget target = {.cpu_level = level};
  BackendResult r;
  TRY(backend_compile(c, a, k->groups->kernel, k->groups->nkernel, &target, threads, &r));
  k->nobject = r.nobject;
  k->object = arena_array(a, PlanObject, r.nobject);
  for (uint32_t i = 0; i < r.nobject; i++)
    k->object[i] = (PlanObject){r.object[i].bytes, r.object[i].size, level};
  k->code = arena_array(a, PlanCode, k->groups->nkernel);
  for (uint32_t i = 0; i < k->groups->nkernel; i++)
    k->code[i] = (PlanCode){r.code[i].object, r.code[i].symbol};
  return ST_OK;
}

Status kernels_compile(Ctx *c, Arena *a, Arena *keep, Graph *g, const KernelsInput *in, Kernels *out) {
  GroupOptions o = {.cpu_level = in->level, .pack = true};
  Packing *packing;
  *out = (Kernels){0};
  TRY(group_graph(c, a, g, &o, &out->groups));
  if (!out->groups->nkernel)
    return ST_OK;
  TRY(packing_begin(c, keep, out->groups, in->mapped, in->nmapped, in->threads, &packing));
  TRY(compile(c, a, in->level, in->objects ? in->objects : in->threads, out));
  return packing_end(c, packing, &out->packed);
}

static const char *kernel_name(void *arg, size_t i) {
  const Groups *g = arg;
  return i < g->nkernel ? g->kernel[i]->name : NULL;
}

Status kernels_dump(Ctx *c, const Groups *g, const char *name, void (*out)(void *arg, const char *text, size_t n),
                    void *arg) {
  Arena *a = arena_create(c);
  bool all = !strcmp(name, "all"), found = all;
  for (uint32_t i = 0; i < g->nkernel; i++) {
    StrBuf b;
    if (!all && strcmp(name, g->kernel[i]->name))
      continue;
    buf_init(&b, a);
    unit_print(c, &b, g->kernel[i], g->cpu_level);
    if (out)
      out(arg, b.text, b.len);
    found = true;
  }
  arena_destroy(a);
  if (found)
    return ST_OK;
  Status st = fail(c, ST_USAGE, "no kernel is called '%s'", name);
  const char *near = nearest_name(name, kernel_name, (void *)(uintptr_t)g);
  return near ? err_hint(c, st, "did you mean '%s'?", near) : err_hint(c, st, "sard explain lists the kernels");
}
