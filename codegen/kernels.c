/* kernels.c - groups, machine code for them, packed weights: what turns a plan of reference steps into a compiled program.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/kernels.h"

#include "codegen/append.h"
#include "codegen/backend.h"
#include "codegen/describe.h"
#include "codegen/gpu.h"
#include "codegen/growing.h"
#include "codegen/packing.h"
#include "ops/ops.h"
#include "support/checked.h"

#include <string.h>

/* --- steps that nothing compiles --- */

/* The first of g and of its bodies, and how many there are. */
static void find_reference(const Graph *g, const Groups *groups, const Node **first, uint32_t *n) {
  for (const Node *x = g->first; x; x = x->next) {
    if (plan_is_reference(groups, x) && !(*n)++)
      *first = x;
    for (int b = 0; b < 2; b++)
      if (x->body[b])
        find_reference(x->body[b], groups, first, n);
  }
}

/* Extents that fill a screen are left out. */
static void put_types(Ctx *c, StrBuf *b, Value *const *v, int n) {
  for (int i = 0; i < n; i++) {
    const char *text = v[i] ? type_text(c, &v[i]->type) : "none";
    buf_puts(b, i ? ", " : "");
    if (strlen(text) <= 80)
      buf_puts(b, text);
    else
      buf_printf(b, "%s of rank %d", dtype_name(v[i]->type.dtype), v[i]->type.rank);
  }
}

/* An output of more elements than 64 bits count is why there is no kernel. */
static bool can_exist(const Node *n, const Value **v) {
  int64_t dim[MAX_RANK], count;
  for (int i = 0; i < n->nout; i++) {
    *v = n->out[i];
    for (int k = 0; *v && k < (*v)->type.rank; k++)
      dim[k] = (*v)->type.dim[k]->value;
    if (*v && type_is_static(&(*v)->type) && !extent_ok(dim, (*v)->type.rank, &count))
      return false;
  }
  return true;
}

static Status refuse(Ctx *c, Arena *a, const Node *n, const char *device, const char *why, uint32_t count) {
  const Value *v;
  StrBuf b;
  if (!can_exist(n, &v))
    return fail(c, ST_INVALID, "the output would be %s, which is no size a tensor can have", type_text(c, &v->type));
  buf_init(&b, a);
  put_types(c, &b, n->in, n->nin);
  buf_puts(&b, " -> ");
  put_types(c, &b, n->out, n->nout);
  Status st = fail(c, ST_UNSUPPORTED, "no code generation for this step on device '%s': %s (%s)", device, why, b.text);
  buf_init(&b, a);
  if (count > 1)
    buf_printf(&b, "; the model has %u such steps", count);
  return err_hint(c, st,
                  "to run it by its slow reference evaluator: --allow reference, allow_reference in C, "
                  "allow=\"reference\" in Python%s",
                  b.text);
}

static Status refuse_reference(Ctx *c, Arena *a, const Graph *g, const Groups *groups) {
  const Node *n = NULL;
  uint32_t count = 0;
  find_reference(g, groups, &n, &count);
  if (!n)
    return ST_OK;
  Status st = refuse(c, a, n, gpu_level(groups->cpu_level) ? "cuda" : "cpu", groups->fate[n->id].why, count);
  return err_node(c, err_origin(c, st, n->origin), NULL, op_info(n->op)->name, NULL, NULL);
}

/* --- compiling --- */

/* More objects than threads come out even, and what LLVM holds at once is less; more than a few per thread would have too many inner
 * kernels twice. */
enum { OBJECTS_PER_THREAD = 3 };

static Status compile(Ctx *c, Arena *a, const KernelsInput *in, Kernels *k) {
  const char *level = in->level;
  unsigned threads = in->objects ? in->objects : in->threads;
  unsigned objects = in->objects ? in->objects : in->threads * OBJECTS_PER_THREAD;
  EmitTarget target = {.cpu_level = level};
  BackendResult r;
  TRY(backend_compile(c, a, k->groups->kernel, k->groups->nkernel, &target, threads, objects, &r));
  k->nobject = r.nobject;
  k->object = arena_array(a, PlanObject, r.nobject);
  for (uint32_t i = 0; i < r.nobject; i++)
    k->object[i] = (PlanObject){.code = {(const char *)r.object[i].bytes, r.object[i].size}, .target = level};
  k->code = arena_array(a, PlanCode, k->groups->nkernel);
  for (uint32_t i = 0; i < k->groups->nkernel; i++)
    k->code[i] = (PlanCode){r.code[i].object, r.code[i].symbol};
  return ST_OK;
}

static PlanObject gpu_object(const EmitObject *o, const KernelsInput *in) {
  PlanObject x = {.target = in->gpu ? in->gpu : "", .ptx_target = in->level};
  if (o->machine_size)
    x.code = (Str){(const char *)o->machine, o->machine_size};
  if (!o->machine_size || in->keep_ptx)
    x.ptx = (Str){(const char *)o->bytes, o->size};
  return x;
}

/* The same without what a library computes. */
static Status compile_for_gpu(Ctx *c, Arena *a, const KernelsInput *in, Kernels *k) {
  EmitTarget target = {.cpu_level = in->level, .assemble = in->assemble, .gpu = in->gpu};
  uint32_t nall = k->groups->nkernel, n = 0, *at = arena_array(a, uint32_t, nall);
  const Unit **unit = arena_array(a, const Unit *, nall);
  BackendResult r;
  k->code = arena_array(a, PlanCode, nall);
  for (uint32_t i = 0; i < nall; i++) {
    k->code[i] = (PlanCode){UINT32_MAX, ""};
    if (k->groups->kernel[i]->kind != UNIT_PRODUCT || k->groups->kernel[i]->product.forms != FORM_LIBRARY)
      at[n] = i, unit[n++] = k->groups->kernel[i];
  }
  unsigned threads = in->objects ? in->objects : in->threads;
  TRY(backend_compile(c, a, unit, n, &target, threads, threads, &r));
  k->nobject = r.nobject;
  k->object = arena_array(a, PlanObject, r.nobject);
  for (uint32_t i = 0; i < r.nobject; i++)
    k->object[i] = gpu_object(&r.object[i], in);
  for (uint32_t i = 0; i < n; i++)
    k->code[at[i]] = (PlanCode){r.code[i].object, r.code[i].symbol};
  return ST_OK;
}

Status kernels_compile(Ctx *c, Arena *a, Arena *keep, Graph *g, const KernelsInput *in, Kernels *out) {
  GroupOptions o = {.cpu_level = in->level, .pack = !gpu_level(in->level), .tuning = in->tuning};
  Packing *packing;
  *out = (Kernels){0};
  TRY(append_group(c, a, g, &o, &out->groups));
  if (!in->allow_reference)
    TRY(refuse_reference(c, a, g, out->groups));
  if (!out->groups->nkernel)
    return ST_OK;
  bool gpu = gpu_level(in->level);
  if (gpu)
    growing_mark(a, g, out->groups);
  TRY(packing_begin(c, keep, out->groups, in->mapped, in->nmapped, in->threads, &packing));
  TRY(gpu ? compile_for_gpu(c, a, in, out) : compile(c, a, in, out));
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
