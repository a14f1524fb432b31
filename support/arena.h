/* arena.h - memory that is freed all at once. Never returns NULL: exhaustion unwinds to ctx_protect (ctx.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_ARENA_H
#define SARD_SUPPORT_ARENA_H

#include "support/ctx.h"

typedef struct Arena Arena;

/* Registered with c, so that a failure inside ctx_protect frees it. */
Arena *arena_create(Ctx *c);
void arena_destroy(Arena *a); /* a may be NULL */
void arena_reset(Arena *a);   /* frees what it has given out; the newest chunk stays for what comes */
/* Moves the arena to another context (a graph handed to another thread). */
void arena_adopt(Arena *a, Ctx *c);
Ctx *arena_ctx(Arena *a);
size_t arena_bytes(const Arena *a); /* taken from the allocator */

/* Zeroed memory. n * size is checked. */
void *arena_get(Arena *a, size_t n, size_t size, size_t align);
#define arena_new(a, T)      ((T *)arena_get((a), 1, sizeof(T), _Alignof(T)))
#define arena_array(a, T, n) ((T *)arena_get((a), (n), sizeof(T), _Alignof(T)))

void *arena_copy(Arena *a, const void *src, size_t n);
char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n); /* adds the terminating 0 */
char *arena_printf(Arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
