/* bindings.h - values of symbolic dimensions: from --bind, and from the shapes of given inputs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_BINDINGS_H
#define SARD_TOOLS_BINDINGS_H

#include "support/dim.h"

typedef struct Binding {
  const char *name, *from; /* from: "--bind" or "input 'x'" */
  int64_t value;
  bool used;
  struct Binding *next;
} Binding;

typedef struct Bindings {
  Ctx *c;
  Arena *a;
  Binding *first;
} Bindings;

/* The `batch=4,seq=128` of every --bind. */
Status bindings_parse(Bindings *s, const char *const *list, uint32_t n);
Binding *bindings_find(const Bindings *s, const char *name); /* NULL: not bound */
Binding *bindings_add(Bindings *s, const char *name, int64_t value, const char *from);
/* The value of an expression; false: a symbol of it is not bound, or it has no value. */
bool bindings_eval(Bindings *s, Dim d, int64_t *v);
/* ST_USAGE with the nearest name for a --bind that names no symbol of the model. names(arg, i): all symbols. */
Status bindings_check(const Bindings *s, const char *(*names)(void *arg, size_t i), void *arg);

#endif
