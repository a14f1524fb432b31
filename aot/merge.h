/* merge.h - a static linker for one purpose: takes from an archive what a compiled model needs, section by section, and makes
 * one relocatable object of that and of sections of the caller's. All names but the exported ones become local, so that objects made
 * this way can be linked into one program whatever is in them. What is not found stays an import: libc's, libm's, libraries'.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_AOT_MERGE_H
#define SARD_AOT_MERGE_H

#include "support/str.h"

/* A section of the caller's. bytes NULL: `size` bytes that the writer of the file supplies (MergeOutput.hole). */
typedef struct MergeSection {
  const char *name;
  uint64_t flags; /* SHF_… */
  uint64_t align;
  const uint8_t *bytes;
  uint64_t size;
} MergeSection;

/* A symbol in a section of the caller's. */
typedef struct MergeSymbol {
  const char *name;
  uint32_t section;
  uint64_t value;
} MergeSymbol;

/* A function in a section of the caller's, which is for tools that show names: nothing refers to it. */
typedef struct MergeLabel {
  const char *name;
  uint32_t section;
  uint64_t value, size;
} MergeLabel;

/* The 64-bit address of a symbol, put into a section of the caller's. */
typedef struct MergeAddress {
  uint32_t section;
  uint64_t offset;
  const char *symbol;
  uint64_t addend;
} MergeAddress;

/* A symbol of the archive that is visible outside, under another name. */
typedef struct MergeExport {
  const char *from, *to;
} MergeExport;

typedef struct MergeInput {
  const uint8_t *archive;
  size_t archive_size;
  uint32_t machine;
  const MergeSection *section;
  uint32_t nsection;
  const MergeSymbol *symbol;
  uint32_t nsymbol;
  const MergeLabel *label;
  uint32_t nlabel;
  const MergeAddress *address;
  uint32_t naddress;
  const MergeExport *export;
  uint32_t nexport;
} MergeInput;

/* The object: bytes, then the hole's at hole_at, which is a multiple of its section's alignment. */
typedef struct MergeOutput {
  const uint8_t *bytes;
  size_t size;
  uint64_t hole_at, hole_size; /* hole_size 0: none */
  const char *const *import;   /* names that are not defined here */
  uint32_t nimport;
} MergeOutput;

/* ST_INVALID: the archive is not one of ours; ST_INTERNAL: an export is not in it. */
Status aot_merge(Ctx *c, Arena *a, const MergeInput *in, MergeOutput *out);

#endif
