/* str.c - strings, text buffers, UTF-8, name maps.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/str.h"

#include <stdio.h>
#include <string.h>

Str str_of(const char *s) { return (Str){s, s ? strlen(s) : 0}; }

bool str_eq(Str a, Str b) { return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len)); }

bool str_is(Str a, const char *b) { return str_eq(a, str_of(b)); }

void buf_init(StrBuf *b, Arena *a) { *b = (StrBuf){.arena = a, .text = arena_get(a, 64, 1, 16), .cap = 64}; }

static void reserve(StrBuf *b, size_t more) {
  if (b->cap - b->len > more)
    return;
  size_t cap = b->cap;
  while (cap - b->len <= more)
    cap *= 2;
  char *text = arena_get(b->arena, cap, 1, 16);
  memcpy(text, b->text, b->len + 1);
  b->text = text, b->cap = cap;
}

void buf_put(StrBuf *b, const char *s, size_t n) {
  reserve(b, n);
  if (n)
    memcpy(b->text + b->len, s, n);
  b->len += n;
  b->text[b->len] = 0;
}

void buf_puts(StrBuf *b, const char *s) { buf_put(b, s, strlen(s)); }

void buf_putc(StrBuf *b, char ch) { buf_put(b, &ch, 1); }

void buf_printf(StrBuf *b, const char *fmt, ...) {
  va_list ap, again;
  va_start(ap, fmt);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  reserve(b, (size_t)n);
  vsnprintf(b->text + b->len, (size_t)n + 1, fmt, again);
  va_end(again);
  b->len += (size_t)n;
}

bool pair_text(char *buf, size_t cap, const char *fmt, const char *a, const char *b) {
  size_t used = 0;
  bool any = false;
  for (const char *p = fmt; *p && used + 1 < cap;) {
    const char *put = !strncmp(p, "{a}", 3) ? a : !strncmp(p, "{b}", 3) ? b : NULL;
    int n = put ? snprintf(buf + used, cap - used, "%s", put) : snprintf(buf + used, cap - used, "%c", *p);
    used += n > 0 ? (size_t)n : 0;
    p += put ? 3 : 1;
    any |= put != NULL;
  }
  if (used >= cap)
    used = cap - 1;
  buf[used] = 0;
  return any;
}

size_t utf8_length(const char *s, size_t n) {
  const unsigned char *u = (const unsigned char *)s;
  if (!n)
    return 0;
  if (u[0] < 0x80)
    return 1;
  size_t len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
  if (u[0] < 0xc2 || u[0] > 0xf4 || n < len)
    return 0;
  for (size_t i = 1; i < len; i++)
    if ((u[i] & 0xc0) != 0x80)
      return 0;
  if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || /* overlong; surrogates */
      (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
    return 0;
  return len;
}

bool utf8_valid(const char *s, size_t n) {
  for (size_t i = 0, len; i < n; i += len)
    if (!(len = utf8_length(s + i, n - i)))
      return false;
  return true;
}

static uint64_t mix(uint64_t h) {
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  h ^= h >> 32;
  h *= 0xd6e8feb86659fd93u;
  return h ^ h >> 32;
}

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed) {
  const unsigned char *s = p;
  uint64_t h = mix(seed ^ 0xcbf29ce484222325u ^ n), w;
  for (; n >= 8; n -= 8, s += 8) {
    memcpy(&w, s, 8);
    h = mix(h ^ w) * 0x100000001b3u;
  }
  w = 0;
  if (n)
    memcpy(&w, s, n);
  return mix(h ^ w);
}

uint64_t sum_bytes(const void *p, size_t n, uint64_t seed) {
  const unsigned char *s = p;
  uint64_t lane[8], h = mix(seed ^ n), w;
  for (unsigned i = 0; i < 8; i++)
    lane[i] = h + i;
  for (; n >= 64; n -= 64, s += 64)
    for (unsigned i = 0; i < 8; i++) {
      memcpy(&w, s + 8 * i, 8);
      lane[i] = (lane[i] ^ w) * 0x9e3779b97f4a7c15u; /* odd, so a bit that differs stays a difference */
      lane[i] ^= lane[i] >> 29;
    }
  for (unsigned i = 0; i < 8; i++)
    h = mix(h ^ lane[i]) * 0x100000001b3u;
  return hash_bytes(s, n, h);
}

void map_init(Map *m, Arena *a) { *m = (Map){.arena = a}; }

static MapSlot *find(const Map *m, const char *key, size_t len, uint64_t hash) {
  for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
    MapSlot *s = &m->slot[i];
    if (!s->value || (s->hash == hash && s->len == len && !memcmp(s->key, key, len)))
      return s;
  }
}

void *map_get_n(const Map *m, const char *key, size_t len) {
  return m->cap ? find(m, key, len, hash_bytes(key, len, 0))->value : NULL;
}

void *map_get(const Map *m, const char *key) { return map_get_n(m, key, strlen(key)); }

static void grow(Map *m) {
  Map old = *m;
  m->cap = old.cap ? old.cap * 2 : 16;
  m->slot = arena_array(m->arena, MapSlot, m->cap);
  for (size_t i = 0; i < old.cap; i++)
    if (old.slot[i].value)
      *find(m, old.slot[i].key, old.slot[i].len, old.slot[i].hash) = old.slot[i];
}

void *map_put_n(Map *m, const char *key, size_t len, void *value) {
  if (m->count * 4 >= m->cap * 3)
    grow(m);
  uint64_t hash = hash_bytes(key, len, 0);
  MapSlot *s = find(m, key, len, hash);
  void *old = s->value;
  if (!old)
    m->count++;
  *s = (MapSlot){.key = key, .len = len, .hash = hash, .value = value};
  return old;
}

void *map_put(Map *m, const char *key, void *value) { return map_put_n(m, key, strlen(key), value); }

/* Levenshtein distance of two short words, 99 if one is too long to bother. */
static int distance(const char *a, const char *b) {
  enum { MAX = 64 };
  size_t n = strlen(a), m = strlen(b);
  if (n >= MAX || m >= MAX)
    return 99;
  int row[MAX];
  for (size_t j = 0; j <= m; j++)
    row[j] = (int)j;
  for (size_t i = 1; i <= n; i++) {
    int diag = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= m; j++) {
      int up = row[j], best = diag + ((a[i - 1] | 32) != (b[j - 1] | 32));
      if (up + 1 < best)
        best = up + 1;
      if (row[j - 1] + 1 < best)
        best = row[j - 1] + 1;
      diag = up, row[j] = best;
    }
  }
  return row[m];
}

const char *nearest_name(const char *word, const char *(*get)(void *arg, size_t i), void *arg) {
  const char *best = NULL;
  int best_d = 99, limit = (int)strlen(word) / 3 + 1;
  for (size_t i = 0;; i++) {
    const char *w = get(arg, i);
    if (!w)
      break;
    int d = distance(word, w);
    if (d < best_d)
      best_d = d, best = w;
  }
  return best_d <= limit ? best : NULL;
}
