/* error.c - public error objects. They come from malloc, not from an environment: the budget may be what ran out.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sard_error {
  Err e;
  char text[3072];
};

/* Given out when there is no memory for an error; never freed. */
static const sard_error no_memory = {.e = {.kind = ST_MEMORY, .message = "out of memory"}, .text = "out of memory"};

/* "FILE: node 'N' (Op) of module M, from SOURCE: message; hint". */
static void compose(sard_error *x) {
  const Err *e = &x->e;
  char *p = x->text;
  size_t left = sizeof x->text;
#define PUT(...)                                                                                                       \
  do {                                                                                                                 \
    int n = snprintf(p, left, __VA_ARGS__);                                                                            \
    size_t k = n < 0 ? 0 : (size_t)n < left ? (size_t)n : left - 1;                                                    \
    p += k, left -= k;                                                                                                 \
  } while (0)
  if (*e->file)
    PUT("%s: ", e->file);
  if (*e->node || *e->op) {
    PUT("node '%s'", e->node);
    if (*e->op)
      PUT(" (%s)", e->op);
    if (*e->module)
      PUT(" of module %s", e->module);
    if (*e->source)
      PUT(", from %s", e->source);
    PUT(": ");
  }
  PUT("%s", e->message);
  if (*e->hint)
    PUT("; %s", e->hint);
#undef PUT
}

static sard_status give(const Err *e, sard_error **err) {
  if (!err)
    return (sard_status)e->kind;
  sard_error *x = malloc(sizeof *x);
  if (!x) {
    *err = (sard_error *)(uintptr_t)&no_memory;
    return (sard_status)e->kind;
  }
  x->e = *e;
  compose(x);
  *err = x;
  return (sard_status)e->kind;
}

sard_status error_from(Ctx *c, sard_error **err) { return give(&c->err, err); }

sard_status error_new(sard_status kind, sard_error **err, const char *fmt, ...) {
  Err e = {.kind = (Status)kind};
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(e.message, sizeof e.message, fmt, ap);
  va_end(ap);
  return give(&e, err);
}

sard_status sard_error_status(const sard_error *e) { return e ? (sard_status)e->e.kind : SARD_OK; }
const char *sard_error_text(const sard_error *e) { return e ? e->text : ""; }
const char *sard_error_message(const sard_error *e) { return e ? e->e.message : ""; }
const char *sard_error_file(const sard_error *e) { return e ? e->e.file : ""; }
const char *sard_error_node(const sard_error *e) { return e ? e->e.node : ""; }
const char *sard_error_op(const sard_error *e) { return e ? e->e.op : ""; }
const char *sard_error_module(const sard_error *e) { return e ? e->e.module : ""; }
const char *sard_error_source(const sard_error *e) { return e ? e->e.source : ""; }
const char *sard_error_hint(const sard_error *e) { return e ? e->e.hint : ""; }

void sard_error_free(sard_error *e) {
  if (e != &no_memory)
    free(e);
}

const char *sard_status_name(sard_status s) {
  switch (s) {
  case SARD_OK: return "ok";
  case SARD_ERROR_USAGE: return "usage";
  case SARD_ERROR_INVALID: return "invalid";
  case SARD_ERROR_UNSUPPORTED: return "unsupported";
  case SARD_ERROR_MEMORY: return "memory";
  case SARD_ERROR_DEVICE: return "device";
  case SARD_ERROR_IO: return "io";
  case SARD_ERROR_CANCELLED: return "cancelled";
  case SARD_ERROR_TIMEOUT: return "timeout";
  case SARD_ERROR_INTERNAL: return "internal";
  }
  return "unknown";
}
