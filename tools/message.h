/* message.h - protobuf messages field by field, for what no schema describes or only a part of which is to change.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_MESSAGE_H
#define SARD_TOOLS_MESSAGE_H

#include "support/str.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

typedef struct Field {
  uint64_t number, type, value; /* value: varint, or length */
  const uint8_t *ptr;           /* WIRE_BYTES: the content */
  Str whole;                    /* with its tag */
} Field;

/* Takes the next field of [*p, end). False: damaged. */
bool field_next(const uint8_t **p, const uint8_t *end, Field *f);

void field_put_bytes(StrBuf *b, unsigned number, const void *p, size_t n);
void field_put_text(StrBuf *b, unsigned number, const char *s);
void field_put_int(StrBuf *b, unsigned number, uint64_t v);
void field_put_float(StrBuf *b, unsigned number, float v);

#endif
