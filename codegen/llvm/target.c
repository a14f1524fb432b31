/* target.c - the CPU levels as LLVM knows them, and a target machine for one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

#include <llvm-c/Target.h>
#include <pthread.h>
#include <string.h>

typedef struct Level {
  const char *name, *triple, *cpu, *features;
  int bits;
  bool gpu;
  bool rounds, fma, f16c; /* instructions for floor and its like, for fused products, for conversions of f16 */
} Level;

#define X86   "x86_64-unknown-linux-gnu"
#define ARM   "aarch64-unknown-linux-gnu"
#define RISCV "riscv64-unknown-linux-gnu"
#define PTX   "nvptx64-nvidia-cuda"

static const Level levels[] = {
    {"x86-64", X86, "x86-64", "", 128, false, false, false, false},
    {"x86-64-v3", X86, "x86-64-v3", "", 256, false, true, true, true},
    {"x86-64-v4", X86, "x86-64-v4", "-prefer-256-bit", 512, false, true, true, true},
    {"x86-64-v4-vnni", X86, "x86-64-v4", "-prefer-256-bit,+avx512vnni", 512, false, true, true, true},
    {"x86-64-v4-vnni-bf16", X86, "x86-64-v4", "-prefer-256-bit,+avx512vnni,+avx512bf16", 512, false, true, true, true},
    {"aarch64", ARM, "generic", "+neon", 128, false, true, true, true},
    {"riscv64", RISCV, "generic-rv64", "+m,+a,+f,+d,+c,-relax", 128, false, false, true, false},
    {"sm_80", PTX, "sm_80", "+ptx78", 128, true, true, true, true},
    {"sm_90", PTX, "sm_90", "+ptx80", 128, true, true, true, true},
    {"sm_90a", PTX, "sm_90a", "+ptx80", 128, true, true, true, true},
};

static const Level *find(const char *name) {
  for (size_t i = 0; i < countof(levels); i++)
    if (name && !strcmp(levels[i].name, name))
      return &levels[i];
  return NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT, gpu_once = PTHREAD_ONCE_INIT;

#define INITIALIZE(target)                                                                                             \
  LLVMInitialize##target##TargetInfo(), LLVMInitialize##target##Target(), LLVMInitialize##target##TargetMC(),          \
      LLVMInitialize##target##AsmPrinter()

static void init(void) {
  INITIALIZE(X86);
#ifndef SARD_LLVM_HOST_ONLY
  INITIALIZE(AArch64);
  INITIALIZE(RISCV);
#endif
}

/* Apart, so that who compiles for a CPU does not wait for it. */
static void init_gpu(void) {
#ifndef SARD_LLVM_NO_NVPTX
  INITIALIZE(NVPTX);
#endif
}

const char *target_cpu(const Emitter *e) { return find(e->target->cpu_level)->cpu; }
const char *target_features(const Emitter *e) { return find(e->target->cpu_level)->features; }

static bool has_generator(const Level *l) {
#ifdef SARD_LLVM_HOST_ONLY
  return l->gpu || !strcmp(l->triple, X86); /* of GPUs LLVM tells */
#else
  return l != NULL;
#endif
}

Status target_create(Emitter *e) {
  const Level *l = find(e->target->cpu_level);
  if (!l)
    return fail(e->c, ST_UNSUPPORTED, "no code generation for the CPU level '%s'",
                e->target->cpu_level ? e->target->cpu_level : "");
  if (!has_generator(l))
    return err_hint(
        e->c,
        fail(e->c, ST_UNSUPPORTED, "this code generator has only x86-64 in it, and no %s, as that of the wheel",
             l->name),
        "for other machines install llvm-19-dev, gcc-aarch64-linux-gnu and gcc-riscv64-linux-gnu, and build Sard "
        "from its sources with make");
  pthread_once(l->gpu ? &gpu_once : &once, l->gpu ? init_gpu : init);
  LLVMTargetRef t;
  char *message = NULL;
  if (LLVMGetTargetFromTriple(l->triple, &t, &message)) {
    Status st = fail(e->c, ST_UNSUPPORTED, "LLVM has no %s: %s", l->triple, message);
    LLVMDisposeMessage(message);
    return st;
  }
  int opt = e->target->opt ? e->target->opt : 1;
  e->tm = LLVMCreateTargetMachine(t, l->triple, l->cpu, l->features,
                                  opt >= 3   ? LLVMCodeGenLevelAggressive
                                  : opt == 2 ? LLVMCodeGenLevelDefault
                                             : LLVMCodeGenLevelLess,
                                  LLVMRelocPIC, LLVMCodeModelSmall);
  if (!e->tm)
    return fail(e->c, ST_INTERNAL, "LLVM made no target machine for %s", l->cpu);
  e->bits = l->bits, e->gpu = l->gpu;
  e->rounds = l->rounds, e->fma = l->fma, e->f16c = l->f16c;
  return ST_OK;
}
