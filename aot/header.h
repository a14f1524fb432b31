/* header.h - the C header of a compiled model.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_AOT_HEADER_H
#define SARD_AOT_HEADER_H

#include "runtime/program.h"
#include "support/str.h"

typedef struct AotHeader {
  const char *prefix, *name; /* of the symbols, of the model */
  const char *levels;        /* what the code was made for: "x86-64-v3, x86-64-v4" */
  const char *libraries;     /* how to link it: "-lm -lpthread" */
  const char *weights;       /* the file with weights; NULL: inside */
  const uint8_t *image;      /* a program of the model */
  uint64_t identity;         /* AotObject's */
  bool static_arena, gpu;
} AotHeader;

void aot_header(StrBuf *out, const AotHeader *h);

/* "f32[batch, 3]": the type of a port of a program. */
void aot_port_type(StrBuf *b, const uint8_t *image, const ProgPort *p);

/* A name for C made of s: letters, digits and '_', no keyword. */
const char *aot_identifier(Arena *a, const char *s);

#endif
