/* object.h - loads the relocatable objects that our code generator makes (and the cache keeps): one mapping per object, code
 * and constants only, no imports, never writable and executable at once. Nothing in the bytes is trusted to be well formed;
 * what the code does when run is as trustworthy as whoever wrote it, so callers check a hash first.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_OBJECT_H
#define SARD_RUNTIME_OBJECT_H

#include "runtime/kernel_abi.h"
#include "support/arena.h"

#include <stdbool.h>

typedef struct RtCode RtCode;

/* bytes are not needed afterwards. The mapping lives until object_unload, or a failure of the arena's context. ST_INVALID:
 * not such an object; ST_UNSUPPORTED: of another machine, or with a relocation or import that is not on the list. */
Status object_load(Ctx *c, Arena *a, const uint8_t *bytes, size_t size, RtCode **out);
void object_unload(RtCode *code);
/* The function of that name, or NULL. */
KernelFn object_symbol(const RtCode *code, const char *name);
size_t object_bytes(const RtCode *code); /* mapped */
/* Appends the functions to dir/perf-PID.map, where `perf` looks for the names of code made at run time (dir "/tmp"). */
Status object_perf_map(Ctx *c, const RtCode *code, const char *dir);

#endif
