/* backend.h - the code generator, loaded on need: finds libsard-codegen.so, loads it once per process, and compiles units on
 * several threads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_BACKEND_H
#define SARD_CODEGEN_BACKEND_H

#include "codegen/llvm/emit.h"

/* Loads the shared object if that has not happened yet (support/beside.h). ST_UNSUPPORTED: not found, or of another build, with
 * what was tried. */
Status backend_load(Ctx *c, const EmitApi **api);
/* Is there a code generator? Loads nothing. */
bool backend_present(void);
/* The files that code comes from: the library or executable this code is in, and the code generator ("" without one), each
 * in PATH_MAX bytes. False: it cannot be told. backend_llvm_path: the LLVM that the code generator uses, in arena a; NULL:
 * it is not loaded, or not a library of its own. */
bool backend_paths(char *own, char *generator);
const char *backend_llvm_path(Arena *a);

/* Where the code of a unit is: object[object].symbol. */
typedef struct BackendCode {
  uint32_t object;
  const char *symbol;
} BackendCode;

typedef struct BackendResult {
  const EmitObject *object;
  uint32_t nobject;
  const BackendCode *code; /* by unit */
} BackendResult;

/* Compiles n units into up to `objects` objects on up to `threads` threads (the caller's included). The result is in arena a; how units
 * are spread over objects depends on `objects` and `threads` alone, and what their code is, not on either. */
Status backend_compile(Ctx *c, Arena *a, const Unit *const *unit, uint32_t n, const EmitTarget *target,
                       unsigned threads, unsigned objects, BackendResult *out);

#endif
