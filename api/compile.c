/* compile.c - the whole story: from an ONNX file to a program that runs.
 *
 *   bytes --frontend--> Graph --passes--> Graph' --codegen--> Program --runtime--> outputs
 *     |                                                          ^
 *     +---------------- the same bytes as before: cache ---------+
 *
 * Everything in between lives in arenas of the model's context; what the program does not need is freed at the end: the
 * graph, the decoded file, the dim expressions. The weights stay where they are, in the mapped files.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "codegen/constants.h"
#include "codegen/kernels.h"
#include "cuda/device.h"
#include "cuda/link.h"
#include "frontend/model.h"
#include "passes/pass.h"
#include "runtime/device.h"
#include "support/cores.h"
#include "support/cpu.h"

#include <stdlib.h>
#include <string.h>

#define GPU_LEVEL "sm_80" /* PTX for this runs on all later GPUs */

static double ms_since(int64_t start) { return (double)(now_ns() - start) * 1e-6; }

static Status import(Ctx *c, const CompileArgs *a, DimBinding *bind, uint32_t nbind, Model **m) {
  LoadOptions lo = {.strict = a->o->strict, .bind = bind, .nbind = nbind};
  return a->path ? model_load_file(c, a->path, &lo, m) : model_load_bytes(c, a->data, a->n, a->dir, &lo, m);
}

static Status optimise(Ctx *c, const CompileArgs *a, Model *m) {
  PassOptions po = {.dump_after = a->o->dump_after,
                    .stop_after = a->o->stop_after,
                    .precision = a->o->precision,
                    .gpu = !strcmp(a->m->device, "cuda"),
                    .time = a->o->time_passes,
                    .verify = true,
                    .out = a->o->dump,
                    .arg = a->o->dump_arg};
  return passes_run(c, m->graph, &po);
}

Status compile_graph(Ctx *c, const CompileArgs *a, DimBinding *bind, uint32_t nbind, Model **m) {
  int64_t t = now_ns();
  TRY(import(c, a, bind, nbind, m));
  a->m->times.import_ms = ms_since(t);

  t = now_ns();
  TRY(optimise(c, a, *m));
  a->m->times.passes_ms = ms_since(t);
  return ST_OK;
}

/* The memory that constants may borrow from: the mapped files first, then the caller's bytes for a model from memory. */
static PlanFile *plan_files(Arena *a, const Model *m, bool named, uint32_t *n) {
  PlanFile *f = arena_array(a, PlanFile, m->nfile + 2u);
  *n = 0;
  for (uint32_t i = 0; i < m->nfile; i++)
    f[(*n)++] = (PlanFile){named ? m->file[i]->path : "", m->file[i]->base, m->file[i]->size};
  if (!m->path)
    f[(*n)++] = (PlanFile){"", m->bytes, m->nbytes};
  return f;
}

static const char **meta_pairs(Arena *a, const Model *m) {
  const char **meta = arena_array(a, const char *, 2 * (size_t)m->nmeta);
  for (uint32_t i = 0; i < m->nmeta; i++)
    meta[2 * i] = m->meta[i].key, meta[2 * i + 1] = m->meta[i].value;
  return meta;
}

/* What tuning knows the kernels by. */
static const uint64_t *product_keys(Arena *a, const Groups *g) {
  uint64_t *key = arena_array(a, uint64_t, g->nkernel);
  for (uint32_t i = 0; i < g->nkernel; i++)
    key[i] = g->kernel[i]->kind == UNIT_PRODUCT ? g->kernel[i]->product.key : 0;
  return key;
}

Status compile_program(Ctx *c, const CompileArgs *a, Arena *scratch, const Model *m, const CompileTarget *target,
                       bool for_file, Generated *out) {
  enum { OBJECTS = 4 }; /* in a file, on any machine */
  sard_model *s = a->m;
  PlanInput in = {.nmeta = m->nmeta, .meta = meta_pairs(scratch, m), .precision = a->o->precision};
  Arena *keep = s->arena;
  Kernels k = {0};
  in.file = plan_files(scratch, m, !for_file, &in.nfile);
  KernelsInput ki = {.level = target->level,
                     .assemble = target->assemble,
                     .gpu = target->gpu,
                     .keep_ptx = for_file,
                     .tuning = for_file ? NULL : s->tuning, /* a file is the same wherever it is made */
                     .threads = (unsigned)s->cores,
                     .objects = for_file ? OBJECTS : 0,
                     .allow_reference = a->o->allow_reference,
                     .mapped = in.file,
                     .nmapped = m->nfile};
  if (strcmp(s->device, "reference")) {
    constants_copy(m->graph, in.file, m->nfile);
    TRY(kernels_compile(c, scratch, keep, m->graph, &ki, &k));
  }
  if (a->trial && k.groups)
    s->product = product_keys(keep, k.groups);
  if (a->o->dump_kernel && !k.groups)
    return fail(c, ST_USAGE, "device '%s' has no kernels to print", s->device);
  if (a->o->dump_kernel)
    TRY(kernels_dump(c, k.groups, a->o->dump_kernel, a->o->dump, a->o->dump_arg));
  in.groups = k.groups, in.object = k.object, in.nobject = k.nobject, in.code = k.code;
  const uint8_t *bytes;
  TRY(plan_build(c, scratch, m->graph, &in, &bytes, &out->size));
  uint8_t *copy = arena_get(keep, out->size, 1, PROG_ALIGN);
  memcpy(copy, bytes, out->size);
  out->image = copy;
  out->file = arena_array(keep, RtFile, in.nfile + 1u);
  out->nfile = in.nfile;
  for (uint32_t i = 0; i < in.nfile; i++)
    out->file[i] = (RtFile){in.file[i].base, in.file[i].size};
  out->packed = k.packed != NULL;
  if (k.packed) /* the last file of the program */
    out->file[out->nfile++] = (RtFile){k.packed, k.groups->packed_size};
  return ST_OK;
}

/* The mappings change hands: from the imported model, which is about to go, to the session. */
static void keep_files(Ctx *c, sard_model *s, Model *m) {
  Mapped *file = arena_array(s->arena, Mapped, m->nfile);
  s->file = arena_array(s->arena, Mapped *, m->nfile);
  s->nfile = m->nfile;
  for (uint32_t i = 0; i < m->nfile; i++) {
    map_move(c, m->file[i], &file[i]);
    file[i].path = arena_strdup(s->arena, m->file[i]->path);
    map_forget(&file[i]); /* import and packing are done with it; few runs read all of what is left */
    s->file[i] = &file[i];
  }
  m->nfile = 0;
}

/* Compiling uses every core; runs use them unless the caller says how many. */
static void choose_threads(Ctx *c, sard_model *s) {
  Arena *a = arena_create(c);
  Cores cores;
  cores_find(a, "", &cores);
  arena_destroy(a);
  s->cores = cores.usable;
  s->threads = s->threads > 0 ? s->threads : cores.usable;
  if (!strcmp(s->device, "reference"))
    s->threads = 1;
}

/* PTX for a level that later GPUs run, and machine code for this very GPU. */
static CompileTarget gpu_target(Ctx *c, sard_model *s) {
  const char *why;
  CompileTarget t = {.level = GPU_LEVEL, .gpu = arena_printf(s->arena, "sm_%d", s->gpu->capability)};
  if (cuda_assembles(cuda_library(CUDA_DRIVER)->version, &why))
    t.assemble = cuda_assemble;
  s->no_linker = !t.assemble;
  if (s->no_linker)
    ctx_log(c, 1, "no machine code for %s is made or kept: libnvJitLink: %s", t.gpu, why);
  return t;
}

/* For this machine. Machine code for a GPU is a gain of time alone: where none can be made, the driver compiles the PTX. */
static Status compile_here(Ctx *c, const CompileArgs *a, Arena *scratch, const Model *m, Generated *g) {
  CompileTarget target = a->m->gpu ? gpu_target(c, a->m) : (CompileTarget){.level = cpu_level()};
  Status st = compile_program(c, a, scratch, m, &target, false, g);
  if (st != ST_DEVICE || !target.assemble)
    return st;
  ctx_log(c, 0, "no machine code for %s is made or kept: %s", target.gpu, c->err.message);
  target.assemble = NULL;
  return compile_program(c, a, scratch, m, &target, false, g);
}

static Status compile(Ctx *c, CompileArgs *a) {
  sard_model *s = a->m;
  Model *m;
  Generated g;
  TRY(compile_graph(c, a, NULL, 0, &m));

  int64_t t = now_ns();
  Arena *scratch = arena_create(c);
  TRY(compile_here(c, a, scratch, m, &g));
  TRY(rt_load_on(c, s->arena, g.image, g.size, plan_build_id(), g.file, g.nfile, s->gpu, &s->program));
  keep_files(c, s, m);
  arena_destroy(scratch);
  model_close(c, m);
  dim_release(c);
  cache_fill(c, a, g.image, g.size, g.packed ? &g.file[g.nfile - 1] : NULL);
  s->times.compile_ms = ms_since(t);
  return ST_OK;
}

/* SARD_PERF_MAP names a directory, "/tmp" for perf. Being without a map fails no load. */
static void name_code(Ctx *c, const sard_model *s) {
  const char *dir = secure_getenv("SARD_PERF_MAP");
  if (dir && *dir && rt_perf_map(s->program, c, dir))
    ctx_log(c, 0, "%s: %s", c->err.message, c->err.file);
}

/* What the caller has permitted does not pass unnoticed. */
static void log_reference(Ctx *c, const sard_model *s) {
  for (uint32_t i = 0; strcmp(s->device, "reference") && i < rt_count(s->program, SEC_STEPS); i++) {
    const ProgStep *x = rt_step(s->program, i);
    if (step_kind(s->program, x) == SARD_STEP_REFERENCE)
      ctx_log(c, 0, "node '%s' (%s) runs as reference: %s",
              rt_string(s->program, rt_origin(s->program, x->origin)->node), rt_string(s->program, x->op),
              rt_string(s->program, x->why));
  }
}

static void log_device_code(Ctx *c, const sard_model *s) {
  if (*s->device_code)
    ctx_log(c, 1, "device '%s' runs %s", s->device, s->device_code);
}

Status compile_model(Ctx *c, void *args) {
  CompileArgs *a = args;
  sard_model *s = a->m;
  choose_threads(c, s);
  s->arena = arena_create(c);
  s->path = arena_strdup(s->arena, a->path ? a->path : "");
  if (a->path)
    TRY(compiled_start(c, a));
  if (!s->program)
    TRY(precision_check(c, a->o->precision, s->device));
  if (!strcmp(s->device, "cuda") && !s->gpu)
    TRY(cuda_open(c, &s->gpu));
  if (!s->program && !s->gpu && !sard_device_available(s->device))
    return fail(
        c, ST_DEVICE,
        "device 'cpu' needs the code generator libsard-codegen.so, which is not here; 'reference' works without, "
        "slowly");
  if (!s->program)
    TRY(tuning_start(c, a));
  if (!s->program)
    TRY(cache_start(c, a));
  if (!s->program)
    TRY(compile(c, a));
  TRY(choices_start(c, a));
  log_reference(c, s);
  s->device_code = rt_device_code(s->program, s->arena);
  log_device_code(c, s);
  name_code(c, s);
  if (rt_count(s->program, SEC_CALLS) && s->threads > 1)
    TRY(env_pool(s->env, c, &s->pool));
  return ST_OK;
}
