/* error.c - errors of a compiled model: one line of text per thread, in place of the objects of api/error.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start/start.h"

#include <stdio.h>

static _Thread_local char last[1024];

const char *compiled_error(void) { return last; }

sard_status error_from(Ctx *c, sard_error **err) {
  (void)err;
  error_compose(&c->err, last, sizeof last);
  return (sard_status)c->err.kind;
}

sard_status error_new(sard_status kind, sard_error **err, const char *fmt, ...) {
  va_list ap;
  (void)err;
  va_start(ap, fmt);
  vsnprintf(last, sizeof last, fmt, ap);
  va_end(ap);
  return kind;
}
