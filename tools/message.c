/* message.c - the protobuf wire format: tag (number << 3 | type), then a varint, 4 or 8 bytes, or a length and that many bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/message.h"

#include "frontend/wire.h"

#include <string.h>

bool field_next(const uint8_t **p, const uint8_t *end, Field *f) {
  const uint8_t *start = *p;
  uint64_t tag;
  if (!wire_varint(p, end, &tag))
    return false;
  *f = (Field){.number = tag >> 3, .type = tag & 7};
  size_t skip = 0;
  if (f->type == WIRE_VARINT) {
    if (!wire_varint(p, end, &f->value))
      return false;
  } else if (f->type == WIRE_BYTES) {
    if (!wire_varint(p, end, &f->value) || f->value > (size_t)(end - *p))
      return false;
    f->ptr = *p, skip = (size_t)f->value;
  } else if (f->type == WIRE_FIXED64 || f->type == WIRE_FIXED32)
    skip = f->type == WIRE_FIXED64 ? 8 : 4;
  else
    return false;
  if (skip > (size_t)(end - *p))
    return false;
  *p += skip;
  f->whole = (Str){(const char *)start, (size_t)(*p - start)};
  return true;
}

static void put_varint(StrBuf *b, uint64_t v) {
  for (; v >= 128; v >>= 7)
    buf_putc(b, (char)(v | 128));
  buf_putc(b, (char)v);
}

void field_put_bytes(StrBuf *b, unsigned number, const void *p, size_t n) {
  put_varint(b, number << 3 | WIRE_BYTES);
  put_varint(b, n);
  buf_put(b, p, n);
}

void field_put_text(StrBuf *b, unsigned number, const char *s) { field_put_bytes(b, number, s, strlen(s)); }

void field_put_int(StrBuf *b, unsigned number, uint64_t v) {
  put_varint(b, number << 3 | WIRE_VARINT);
  put_varint(b, v);
}

void field_put_float(StrBuf *b, unsigned number, float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  put_varint(b, number << 3 | WIRE_FIXED32);
  for (int i = 0; i < 4; i++)
    buf_putc(b, (char)(bits >> 8 * i));
}
