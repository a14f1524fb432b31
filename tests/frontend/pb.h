/* pb.h - protobuf written by hand, for tests: a buffer, and one function for each kind of field.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_FRONTEND_PB_H
#define SARD_TESTS_FRONTEND_PB_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Pb {
  uint8_t *b;
  size_t n, cap;
} Pb;

static inline void pb_put(Pb *p, const void *bytes, size_t n) {
  if (p->n + n > p->cap) {
    p->cap = (p->n + n) * 2 + 64;
    p->b = realloc(p->b, p->cap);
    assert(p->b);
  }
  if (n)
    memcpy(p->b + p->n, bytes, n);
  p->n += n;
}

static inline void pb_varint(Pb *p, uint64_t v) {
  for (; v >= 0x80; v >>= 7)
    pb_put(p, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
  pb_put(p, &(uint8_t){(uint8_t)v}, 1);
}

static inline void pb_tag(Pb *p, uint32_t field, unsigned wire) { pb_varint(p, (uint64_t)field << 3 | wire); }

static inline void pb_int(Pb *p, uint32_t field, int64_t v) {
  pb_tag(p, field, 0);
  pb_varint(p, (uint64_t)v);
}

static inline void pb_f32(Pb *p, uint32_t field, float v) {
  pb_tag(p, field, 5);
  pb_put(p, &v, 4);
}

static inline void pb_f64(Pb *p, uint32_t field, double v) {
  pb_tag(p, field, 1);
  pb_put(p, &v, 8);
}

static inline void pb_bytes(Pb *p, uint32_t field, const void *bytes, size_t n) {
  pb_tag(p, field, 2);
  pb_varint(p, n);
  pb_put(p, bytes, n);
}

static inline void pb_str(Pb *p, uint32_t field, const char *s) { pb_bytes(p, field, s, strlen(s)); }

/* Adds the message m as a field and frees m. */
static inline void pb_msg(Pb *p, uint32_t field, Pb *m) {
  pb_bytes(p, field, m->b, m->n);
  free(m->b);
  *m = (Pb){0};
}

static inline void pb_free(Pb *p) {
  free(p->b);
  *p = (Pb){0};
}

#endif
