/* object.h - a package as a relocatable object for the linker, alone or in an archive: its parts as sections, the functions that its
 * header declares, and what they need of the runtime.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_AOT_OBJECT_H
#define SARD_AOT_OBJECT_H

#include "aot/merge.h"
#include "aot/pack.h"

typedef struct AotObject {
  const AotPackage *package;
  const uint8_t *runtime; /* the archive for the target machine */
  size_t runtime_size;
  uint32_t machine;
  const char *prefix;
  uint64_t identity;  /* tells this model from others: part of the names that aot_identified makes */
  bool static_arena;  /* PREFIX_init_static in place of PREFIX_init */
  bool program;       /* main */
  MergeOutput merged; /* set by aot_object */
} AotObject;

Status aot_object(Ctx *c, Arena *a, AotObject *o);
/* PREFIX_NAME_IDENTITY: what the header calls for PREFIX_NAME, so that who uses two models of one prefix draws in both, and the
 * linker finds that their other names clash. */
const char *aot_identified(Arena *a, const char *prefix, const char *name, uint64_t identity);
/* As X.o, or as the one member of X.a, on a page boundary. Either appears whole. */
Status aot_write_object(Ctx *c, Arena *a, const AotObject *o, const char *path);
Status aot_write_archive(Ctx *c, Arena *a, const AotObject *o, const char *path);
/* Options for the linker, from the names that the object imports: "-lm", "-lpcre2-8" … n of them. */
const char **aot_libraries(Arena *a, const AotObject *o, uint32_t *n);

#endif
