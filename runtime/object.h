/* object.h - machine code: lays out the relocatable objects that our code generator makes, and maps what was laid out: one
 * mapping per object, code and constants only, no imports, never writable and executable at once. Nothing in the bytes is
 * trusted to be well formed; what the code does when run is as trustworthy as whoever wrote it, so callers check a hash first.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_OBJECT_H
#define SARD_RUNTIME_OBJECT_H

#include "runtime/kernel_abi.h"
#include "support/arena.h"

#include <stdbool.h>

enum { OBJECT_PAGE = 4096 };
typedef struct RtCode RtCode;

typedef struct CodeFunction {
  const char *name;
  size_t offset, size;
  uint32_t object; /* it came from */
} CodeFunction;

typedef struct CodeObject {
  const uint8_t *bytes;
  size_t size;
} CodeObject;

/* Code as it runs at any address that is a multiple of OBJECT_PAGE. */
typedef struct CodeImage {
  uint8_t *bytes;
  size_t size, code; /* multiples of OBJECT_PAGE; constants begin at `code` */
  CodeFunction *fn;
  uint32_t nfn;
} CodeImage;

uint16_t object_machine(void); /* this one: EM_X86_64, EM_AARCH64 */
/* n objects as one, in arena a. ST_INVALID: not such an object; ST_UNSUPPORTED: of another machine than `machine`, or with a
 * relocation or import that is not on the list. */
Status object_link(Ctx *c, Arena *a, const CodeObject *object, uint32_t n, uint16_t machine, CodeImage *out);
/* Maps a copy, which lives until object_unload, or a failure of the arena's context. image->fn must live as long. */
Status object_map(Ctx *c, Arena *a, const CodeImage *image, RtCode **out);
/* Both: an object of this machine. bytes are not needed afterwards. */
Status object_load(Ctx *c, Arena *a, const uint8_t *bytes, size_t size, RtCode **out);
void object_unload(RtCode *code);
/* The function of that name, or NULL. */
KernelFn object_symbol(const RtCode *code, const char *name);
KernelFn object_at(const uint8_t *base, uint64_t offset);
const uint8_t *object_base(const RtCode *code);
size_t object_bytes(const RtCode *code); /* mapped */
/* Appends the functions to dir/perf-PID.map, where `perf` looks for the names of code made at run time (dir "/tmp"). */
Status object_perf_map(Ctx *c, const RtCode *code, const char *dir);

#endif
