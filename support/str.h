/* str.h - counted strings, a growing text buffer, UTF-8, name maps and nearest-name suggestions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_STR_H
#define SARD_SUPPORT_STR_H

#include "support/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that need not end in 0 (ONNX strings may hold NUL). Borrowed. */
typedef struct Str {
  const char *ptr;
  size_t len;
} Str;

Str str_of(const char *s); /* NULL gives the empty string */
bool str_eq(Str a, Str b);
bool str_is(Str a, const char *b);

/* A text buffer in an arena; text is always 0-terminated. */
typedef struct StrBuf {
  Arena *arena;
  char *text;
  size_t len, cap;
} StrBuf;

void buf_init(StrBuf *b, Arena *a);
void buf_put(StrBuf *b, const char *s, size_t n);
void buf_puts(StrBuf *b, const char *s);
void buf_putc(StrBuf *b, char ch);
void buf_printf(StrBuf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A message about two numbers: fmt with a in the place of each {a}, b in that of {b}. False: it has neither. */
bool pair_text(char *buf, size_t cap, const char *fmt, const char *a, const char *b);

/* Length in bytes of the UTF-8 character at s (n bytes available); 0 when it is not valid UTF-8. */
size_t utf8_length(const char *s, size_t n);
bool utf8_valid(const char *s, size_t n);

/* 64-bit hash of n bytes, seeded (FNV-1a over 8-byte words with a final mix). Not cryptographic. */
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
/* The same for large blocks, as fast as memory is read: eight lanes side by side. */
uint64_t sum_bytes(const void *p, size_t n, uint64_t seed);

/* A map from byte strings to pointers, open addressing, memory in an arena. */
typedef struct MapSlot {
  const char *key; /* borrowed, or copied by map_put_copy */
  size_t len;
  uint64_t hash;
  void *value;
} MapSlot;
typedef struct Map {
  Arena *arena;
  MapSlot *slot;
  size_t cap, count;
} Map;

void map_init(Map *m, Arena *a);
/* The value stored for key, or NULL. */
void *map_get(const Map *m, const char *key);
void *map_get_n(const Map *m, const char *key, size_t len);
/* Stores value (not NULL) under key; returns the value that stood there before, or NULL. The key is borrowed. */
void *map_put(Map *m, const char *key, void *value);
void *map_put_n(Map *m, const char *key, size_t len, void *value);

/* The candidate nearest to word by edit distance, if near enough to suggest; else NULL. get(arg, i) is NULL at the end. */
const char *nearest_name(const char *word, const char *(*get)(void *arg, size_t i), void *arg);

#endif
