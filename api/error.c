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

static sard_status give(const Err *e, sard_error **err) {
  if (!err)
    return (sard_status)e->kind;
  sard_error *x = malloc(sizeof *x);
  if (!x) {
    *err = (sard_error *)(uintptr_t)&no_memory;
    return (sard_status)e->kind;
  }
  x->e = *e;
  error_compose(e, x->text, sizeof x->text);
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
