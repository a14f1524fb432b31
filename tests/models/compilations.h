/* compilations.h - calls of backend_compile, counted; the program is linked with --wrap=backend_compile.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_MODELS_COMPILATIONS_H
#define SARD_TESTS_MODELS_COMPILATIONS_H

#include "codegen/backend.h"

static int compilations;

__typeof__(backend_compile) __real_backend_compile, __wrap_backend_compile;
Status __wrap_backend_compile(Ctx *c, Arena *a, const Unit *const *unit, uint32_t n, const EmitTarget *target,
                              unsigned threads, unsigned objects, BackendResult *out) {
  compilations++;
  return __real_backend_compile(c, a, unit, n, target, threads, objects, out);
}

#endif
