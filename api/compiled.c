/* compiled.c - starting from a model that was compiled ahead of time: a .sard file, or a compiled object, library or executable,
 * which is read, not run: programs, code and weights are what Sard's own runtime takes from it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "codegen/plan.h"
#include "cuda/device.h"
#include "runtime/object.h"
#include "runtime/package.h"

#include <string.h>

/* The code of a variant, mapped again where it may run: the file is mapped to be read only. */
static Status map_code(Ctx *c, sard_model *s, const Package *p, const PackageVariant *v, const uint8_t **base) {
  RtCode *code;
  *base = NULL;
  if (!v->code_size)
    return ST_OK;
  CodeImage image = {(uint8_t *)(uintptr_t)(p->code + v->code), v->code_size, v->code_exec, NULL, 0};
  TRY(object_map(c, s->arena, &image, &code));
  *base = object_base(code);
  s->code = code;
  return ST_OK;
}

static Status start(Ctx *c, CompileArgs *a, Mapped *m) {
  sard_model *s = a->m;
  const PackageVariant *v;
  const uint8_t *code;
  Package p;
  Mapped *beside;
  RtFile weights;
  TRY(package_find(c, m, &p));
  s->device = p.h->flags & PACKAGE_GPU ? "cuda" : "cpu"; /* with or without a code generator */
  if (a->o->device && strcmp(a->o->device, s->device))
    return fail(c, ST_USAGE, "this compiled model runs on the device '%s', not on '%s'", s->device, a->o->device);
  s->threads = a->o->threads ? a->o->threads : s->cores;
  if (p.h->build != plan_build_id())
    return err_hint(c, fail(c, ST_INVALID, "the model was compiled by another version of Sard"), "compile it again");
  if (p.h->flags & PACKAGE_GPU)
    TRY(cuda_open(c, &s->gpu));
  TRY(package_choose(c, &p, s->gpu, &v));
  TRY(package_weights(c, s->arena, &p, a->path, NULL, &beside, &weights));
  TRY(map_code(c, s, &p, v, &code));
  TRY(package_load(c, s->arena, &p, v, &weights, code, s->gpu, &s->program));
  if (a->o->precision && strcmp(a->o->precision, rt_precision(s->program)))
    return fail(c, ST_USAGE, "this compiled model has the precision %s, not %s", rt_precision(s->program),
                a->o->precision);
  s->file = arena_array(s->arena, Mapped *, 2);
  s->file[s->nfile++] = m;
  if (beside)
    s->file[s->nfile++] = beside;
  return ST_OK;
}

Status compiled_start(Ctx *c, CompileArgs *a) {
  Mapped *m;
  TRY(map_open(c, a->m->arena, a->path, &m));
  if (package_is(m))
    return start(c, a, m);
  map_close(c, m);
  return ST_OK;
}
