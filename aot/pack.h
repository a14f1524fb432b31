/* pack.h - programs made for a model become a package (runtime/package.h): one per level, their code laid out, and the
 * constants that they refer to, gathered and each kept once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_AOT_PACK_H
#define SARD_AOT_PACK_H

#include "runtime/package.h"

/* A program as plan_build makes it, and the memory that its constants lie in. */
typedef struct AotVariant {
  const char *level; /* support/cpu.h, support/gpu.h */
  const uint8_t *image;
  size_t size;
  const RtFile *file;
  uint32_t nfile;
} AotVariant;

typedef struct AotInput {
  const char *name; /* of the model */
  uint32_t machine; /* ELF's e_machine */
  const AotVariant *variant;
  uint32_t nvariant;
  bool gpu, gpu_code;       /* variants are for GPUs; with machine code */
  const char *weights_name; /* of the file for weights; NULL: they stay inside */
} AotInput;

typedef struct AotSpan {
  const uint8_t *data;
  uint64_t size, at; /* bytes, place in the weights */
} AotSpan;

typedef struct AotFunction {
  const char *name;
  uint64_t at, size; /* in the code */
} AotFunction;

typedef struct AotPackage {
  const uint8_t *head;
  size_t head_size;
  const uint8_t *code; /* code_size bytes, a multiple of OBJECT_PAGE */
  size_t code_size;
  const AotFunction *function; /* of all variants; inner kernels, too */
  uint32_t nfunction;
  const AotSpan *weight; /* by place; between them zeros up to the next multiple of 64 */
  uint32_t nweight;
  uint64_t weights_size;
  const char *const (*op)[2]; /* domain and name of every operator that is evaluated */
  uint32_t nop;
} AotPackage;

/* In arena a; weights are borrowed from the variants' files. */
Status aot_pack(Ctx *c, Arena *a, const AotInput *in, AotPackage *out);

#endif
