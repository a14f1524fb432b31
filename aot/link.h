/* link.h - libraries and programs, by the system's linker.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_AOT_LINK_H
#define SARD_AOT_LINK_H

#include "support/arena.h"

#include <stdbool.h>

typedef struct AotLink {
  const char *compiler; /* that is called: "cc", or a path */
  const char *object;   /* what is linked */
  const char *out;      /* where it goes */
  const char *prefix;   /* of a library: its functions are PREFIX_… */
  bool program;
  const char *const *library; /* "-lm" … */
  uint32_t nlibrary;
} AotLink;

/* ST_UNSUPPORTED: there is no such compiler; ST_IO: it failed, with the last of what it said. The output appears whole. */
Status aot_link(Ctx *c, Arena *a, const AotLink *l);
/* The compiler's path, or NULL: it is not in PATH. */
const char *aot_find_compiler(Arena *a, const char *name);

#endif
