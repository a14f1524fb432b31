/* ctx.c - errors, unwinding on memory exhaustion, limits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/ctx.h"

#include "support/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct Guard {
  jmp_buf at;
  struct Guard *up;
} Guard;

void ctx_open(Ctx *c, Alloc *alloc) { *c = (Ctx){.alloc = alloc}; }

static void unwind(Ctx *c, Cleanup *mark) {
  while (c->cleanups && c->cleanups != mark) {
    Cleanup *x = c->cleanups;
    c->cleanups = x->up;
    x->fn(x->arg); /* may free x itself */
  }
}

void ctx_close(Ctx *c) { unwind(c, NULL); }

Status ctx_protect(Ctx *c, Status (*fn)(Ctx *c, void *arg), void *arg) {
  Guard g = {.up = c->guard};
  const NodePlace place = c->place;
  Cleanup *mark = c->cleanups;
  c->guard = &g;
  Status st = setjmp(g.at) ? ST_MEMORY : fn(c, arg);
  c->guard = g.up;
  c->place = place;
  if (st)
    unwind(c, mark);
  return st;
}

void ctx_on_failure(Ctx *c, Cleanup *x, void (*fn)(void *), void *arg) {
  *x = (Cleanup){.fn = fn, .arg = arg, .up = c->cleanups};
  c->cleanups = x;
}

void ctx_forget(Ctx *c, Cleanup *x) {
  for (Cleanup **p = &c->cleanups; *p; p = &(*p)->up)
    if (*p == x) {
      *p = x->up;
      return;
    }
}

void ctx_out_of_memory(Ctx *c, size_t wanted) {
  size_t used = atomic_load(&c->alloc->used);
  if (c->alloc->limit)
    fail(c, ST_MEMORY, "out of memory: %zu bytes wanted, %zu in use, limit %zu", wanted, used, c->alloc->limit);
  else
    fail(c, ST_MEMORY, "out of memory: %zu bytes wanted, %zu in use", wanted, used);
  err_node(c, ST_MEMORY, c->place.node, c->place.op, c->place.module, c->place.source);
  if (!c->guard)
    __builtin_trap(); /* every entry point of api/ and tools/ protects; reaching this is our bug */
  longjmp(c->guard->at, 1);
}

int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

Status ctx_poll(Ctx *c) {
  if (c->cancel && atomic_load_explicit(c->cancel, memory_order_relaxed))
    return fail(c, ST_CANCELLED, "cancelled");
  if (c->deadline_ns && now_ns() > c->deadline_ns)
    return err_hint(c, fail(c, ST_TIMEOUT, "the time limit has passed"), "raise the limit (--timeout)");
  return ST_OK;
}

char *escape_text(char *dst, size_t cap, const char *src, size_t n) {
  size_t o = 0;
  for (size_t i = 0; i < n;) {
    size_t len = utf8_length(src + i, n - i); /* 0: not UTF-8 */
    unsigned char ch = (unsigned char)src[i];
    bool c1 = len == 2 && ch == 0xc2 && (unsigned char)src[i + 1] < 0xa0; /* C1 controls drive terminals too */
    if (len && !c1 && ch >= 0x20 && ch != 0x7f) {
      if (o + len >= cap)
        break;
      memcpy(dst + o, src + i, len);
      o += len, i += len;
    } else {
      if (o + 4 >= cap)
        break;
      o += (size_t)snprintf(dst + o, cap - o, ch == '\n' ? "\\n" : "\\x%02x", ch);
      i++;
    }
  }
  if (cap)
    dst[o] = 0;
  return dst;
}

static void format_into(char *dst, size_t cap, const char *fmt, va_list ap) {
  char raw[1024];
  vsnprintf(raw, sizeof raw, fmt, ap);
  escape_text(dst, cap, raw, strlen(raw));
}

Status fail(Ctx *c, Status kind, const char *fmt, ...) {
  Err e = {.kind = kind};
  va_list ap;
  va_start(ap, fmt);
  format_into(e.message, sizeof e.message, fmt, ap);
  va_end(ap);
  c->err = e;
  return kind;
}

Status fail_errno(Ctx *c, const char *what, const char *path) {
  int e = errno;
  return err_file(c, fail(c, e == ENOMEM ? ST_MEMORY : ST_IO, "cannot %s: %s", what, strerror(e)), path);
}

static void fill(char *dst, size_t cap, const char *src) {
  if (src && !*dst)
    escape_text(dst, cap, src, strlen(src));
}

Status err_hint(Ctx *c, Status kind, const char *fmt, ...) {
  if (!*c->err.hint) {
    va_list ap;
    va_start(ap, fmt);
    format_into(c->err.hint, sizeof c->err.hint, fmt, ap);
    va_end(ap);
  }
  return kind;
}

Status err_file(Ctx *c, Status kind, const char *file) {
  fill(c->err.file, sizeof c->err.file, file);
  return kind;
}

Status err_node(Ctx *c, Status kind, const char *node, const char *op, const char *module, const char *source) {
  fill(c->err.node, sizeof c->err.node, node);
  fill(c->err.op, sizeof c->err.op, op);
  fill(c->err.module, sizeof c->err.module, module);
  fill(c->err.source, sizeof c->err.source, source);
  return kind;
}

Status err_note(Ctx *c, Status kind, const char *fmt, ...) {
  char note[512], both[sizeof c->err.message];
  va_list ap;
  va_start(ap, fmt);
  format_into(note, sizeof note, fmt, ap);
  va_end(ap);
  snprintf(both, sizeof both, "%.500s: %.520s", note, c->err.message);
  escape_text(c->err.message, sizeof c->err.message, both, strlen(both)); /* may have been cut inside a character */
  return kind;
}

void ctx_log(Ctx *c, int level, const char *fmt, ...) {
  if (!c->log)
    return;
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  format_into(text, sizeof text, fmt, ap);
  va_end(ap);
  c->log(c->log_arg, level, text);
}
