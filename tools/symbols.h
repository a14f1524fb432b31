/* symbols.h - values of symbolic dimensions: from --bind, and from the shapes of given inputs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_SYMBOLS_H
#define SARD_TOOLS_SYMBOLS_H

#include "support/dim.h"

typedef struct Symbol {
  const char *name, *from; /* from: "--bind" or "input 'x'" */
  int64_t value;
  bool used;
  struct Symbol *next;
} Symbol;

typedef struct Symbols {
  Ctx *c;
  Arena *a;
  Symbol *first;
} Symbols;

/* The `batch=4,seq=128` of every --bind. */
Status symbols_parse(Symbols *s, const char *const *list, uint32_t n);
Symbol *symbols_find(const Symbols *s, const char *name); /* NULL: not bound */
Symbol *symbols_add(Symbols *s, const char *name, int64_t value, const char *from);
/* The value of an expression; false: a symbol of it is not bound, or it has no value. */
bool symbols_eval(Symbols *s, Dim d, int64_t *v);
/* ST_USAGE with the nearest name for a --bind that names no symbol of the model. names(arg, i): all symbols. */
Status symbols_check_used(const Symbols *s, const char *(*names)(void *arg, size_t i), void *arg);

#endif
