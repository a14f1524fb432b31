/* error_text.c - an error as one line of text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include <stdio.h>

/* "FILE: node 'N' (Op) of module M, from SOURCE: message; hint". */
void error_compose(const Err *e, char *text, size_t left) {
  char *p = text;
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
