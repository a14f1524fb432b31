/* target.c - the CPU levels as LLVM knows them, and a target machine for one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

#include <llvm-c/Target.h>
#include <pthread.h>
#include <string.h>

typedef struct Level {
  const char *name, *cpu, *features;
  int bits;
  bool sse41, fma, f16c, avx512;
} Level;

static const Level levels[] = {
    {"x86-64", "x86-64", "", 128, false, false, false, false},
    {"x86-64-v3", "x86-64-v3", "", 256, true, true, true, false},
    {"x86-64-v4", "x86-64-v4", "-prefer-256-bit", 512, true, true, true, true},
    {"x86-64-v4-vnni-bf16", "x86-64-v4", "-prefer-256-bit,+avx512vnni,+avx512bf16", 512, true, true, true, true},
};

static const Level *find(const char *name) {
  for (size_t i = 0; i < countof(levels); i++)
    if (name && !strcmp(levels[i].name, name))
      return &levels[i];
  return NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
}

const char *target_cpu(const Emitter *e) { return find(e->target->cpu_level)->cpu; }
const char *target_features(const Emitter *e) { return find(e->target->cpu_level)->features; }

Status target_create(Emitter *e) {
  static const char triple[] = "x86_64-unknown-linux-gnu";
  const Level *l = find(e->target->cpu_level);
  if (!l)
    return fail(e->c, ST_UNSUPPORTED, "no code generation for the CPU level '%s'",
                e->target->cpu_level ? e->target->cpu_level : "");
  pthread_once(&once, init);
  LLVMTargetRef t;
  char *message = NULL;
  if (LLVMGetTargetFromTriple(triple, &t, &message)) {
    Status st = fail(e->c, ST_UNSUPPORTED, "LLVM has no %s: %s", triple, message);
    LLVMDisposeMessage(message);
    return st;
  }
  int opt = e->target->opt ? e->target->opt : 1;
  e->tm = LLVMCreateTargetMachine(t, triple, l->cpu, l->features,
                                  opt >= 3   ? LLVMCodeGenLevelAggressive
                                  : opt == 2 ? LLVMCodeGenLevelDefault
                                             : LLVMCodeGenLevelLess,
                                  LLVMRelocPIC, LLVMCodeModelSmall);
  if (!e->tm)
    return fail(e->c, ST_INTERNAL, "LLVM made no target machine for %s", l->cpu);
  e->bits = l->bits;
  e->sse41 = l->sse41, e->fma = l->fma, e->f16c = l->f16c, e->avx512 = l->avx512;
  return ST_OK;
}
