/* emit.h - what libsard-codegen.so does: units in, one relocatable ELF object out. The only header of codegen/llvm/ that
 * others include; no LLVM type appears in it. Callers go through codegen/backend.h, which loads the shared object on need.
 *
 * The shared object is of the same build as its caller (EmitApi.build): it shares Ctx, Arena, Unit and Kernel with it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_EMIT_H
#define SARD_CODEGEN_LLVM_EMIT_H

#include "codegen/unit.h"

/* What code is made for. The levels are those of support/cpu.h. */
typedef struct EmitTarget {
  const char *cpu_level; /* "x86-64", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "x86-64-v4-vnni-bf16" */
  int opt;               /* code generation level 1 to 3; 0: the default, 1 */
  bool keep_ir;          /* EmitObject.ir is filled in (dumps and tests) */
  /* GPUs: makes machine code for `gpu` of PTX, which ends in 0 (backend.c); NULL: none is made. */
  Status (*assemble)(Ctx *c, Arena *a, const char *gpu, const char *ptx, const uint8_t **code, size_t *size);
  const char *gpu; /* "sm_90" */
} EmitTarget;

/* A relocatable ELF object that imports nothing (runtime/object.h loads it); for GPUs PTX. */
typedef struct EmitObject {
  const uint8_t *bytes;
  size_t size;
  const uint8_t *machine; /* what EmitTarget.assemble made of the PTX */
  size_t machine_size;
  const char *const *symbol; /* by unit: the name of its KernelFn (runtime/kernel_abi.h) */
  const char *ir;            /* LLVM IR as text, or NULL */
} EmitObject;

/* Compiles n units into one object in arena a. May be called from several threads at once, each with a context and an arena
 * of its own; units are only read. ST_UNSUPPORTED: a kernel uses what has no emission, with the reason. */
Status emit_units(Ctx *c, Arena *a, const Unit *const *unit, uint32_t n, const EmitTarget *target, EmitObject *out);

/* The one symbol that the shared object exports: sard_codegen_api, a function returning this. */
typedef struct EmitApi {
  uint64_t build;   /* EMIT_BUILD of the build that made it */
  const char *llvm; /* "19.1.7" */
  Status (*emit_units)(Ctx *c, Arena *a, const Unit *const *unit, uint32_t n, const EmitTarget *target,
                       EmitObject *out);
} EmitApi;

/* Changes with the layout of what crosses the boundary. */
#define EMIT_BUILD                                                                                                     \
  ((uint64_t)1 << 56 ^ (uint64_t)sizeof(Ctx) << 40 ^ (uint64_t)sizeof(Unit) << 24 ^ (uint64_t)sizeof(Kernel) << 16 ^   \
   (uint64_t)sizeof(KExpr) << 8 ^ (uint64_t)KOP_count << 4 ^ sizeof(KStmt))

#endif
