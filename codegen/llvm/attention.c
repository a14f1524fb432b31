/* attention.c - emission of attention.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/llvm/internal.h"

Status emit_attention_unit(Emitter *e, const Unit *u, const char *name) {
  (void)u;
  return fail(e->c, ST_UNSUPPORTED, "%s: attention has no code generation yet", name);
}
