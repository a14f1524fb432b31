/* beside.h - files of this build that are not in the library or program itself: shared objects that are loaded on need, and the
 * archives of ahead-of-time output. Compiled models have none and do without.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_BESIDE_H
#define SARD_SUPPORT_BESIDE_H

#include "support/ctx.h"

#include <stdbool.h>

/* Looked for in: the directory in the environment variable SARD_CODEGEN_DIR if set; the directory of the library or executable
 * this code is in; the library directory beside that (../lib); the installed library directory. found: PATH_MAX bytes. */
bool beside_find(const char *name, char *found);
/* The library or executable this code is in, in PATH_MAX bytes. False: it cannot be told. */
bool beside_own(char *path);

typedef struct Beside {
  const char *name, *what; /* "libsard-codegen.so", "the code generator" */
  const char *hint;        /* when it is not there; the places are named behind it */
  const char *symbol;      /* a function of it: returns its table, which starts with a uint64_t: the build */
  uint64_t build;          /* the build that is wanted */
} Beside;

/* Loads a shared object for good: its table. ST_UNSUPPORTED: not found, or of another build, with what was tried. */
Status beside_load(Ctx *c, const Beside *b, const void **table);

#endif
