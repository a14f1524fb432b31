/* dim.h - tensor extents as expressions over named symbols: constants, sums, products, floor division, min, max, and
 * the broadcast of two extents. Interned per context and kept in a normal form (a sum of integer multiples of products),
 * so that equal expressions are equal pointers: `past + seq - past` is `seq`.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_SUPPORT_DIM_H
#define SARD_SUPPORT_DIM_H

#include "support/ctx.h"
#include "support/str.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum {
  DIM_CONST, /* value */
  DIM_SYM,   /* name */
  DIM_ADD,   /* sum of n >= 2 args; a constant comes first */
  DIM_MUL,   /* product of n >= 2 args; a constant comes first */
  DIM_DIV,   /* floor(arg0 / arg1) */
  DIM_MOD,   /* arg0 - arg1 * floor(arg0 / arg1) */
  DIM_MIN,
  DIM_MAX,
  DIM_BCAST, /* the extent two broadcast extents make: equal, or one of them 1; evaluation fails otherwise */
} DimKind;

typedef const struct DimExpr *Dim;
typedef struct DimExpr {
  uint8_t kind;     /* DimKind */
  bool data;        /* a symbol of dim_data is in it */
  uint16_t n;       /* arguments */
  uint32_t id;      /* order of creation: the order of arguments */
  uint32_t size;    /* expressions in it, written out; one that would exceed a bound becomes a fresh symbol */
  int64_t value;    /* DIM_CONST */
  int64_t lo, hi;   /* what is known of its value: lo <= v <= hi */
  const char *name; /* DIM_SYM */
  Dim arg[];
} DimExpr;

/* Overflow of constant arithmetic gives a fresh symbol that nothing is known of: evaluation at run time reports it. */
Dim dim_const(Ctx *c, int64_t v);
Dim dim_sym(Ctx *c, const char *name);   /* the symbol of that name; lo is 0, hi INT64_MAX until narrowed */
Dim dim_fresh(Ctx *c, const char *hint); /* a new symbol; its name starts with hint */
/* A new symbol for a number that lies in data: an element of a tensor. It may be anything from lo to hi. */
Dim dim_data(Ctx *c, const char *hint, int64_t lo, int64_t hi);
void dim_narrow(Ctx *c, Dim sym, int64_t lo, int64_t hi); /* before the symbol is used in an expression */
Dim dim_add(Ctx *c, Dim a, Dim b);
Dim dim_sub(Ctx *c, Dim a, Dim b);
Dim dim_mul(Ctx *c, Dim a, Dim b);
Dim dim_div(Ctx *c, Dim a, Dim b);     /* floor */
Dim dim_ceildiv(Ctx *c, Dim a, Dim b); /* b > 0 */
Dim dim_mod(Ctx *c, Dim a, Dim b);
Dim dim_min(Ctx *c, Dim a, Dim b);
Dim dim_max(Ctx *c, Dim a, Dim b);
Dim dim_bcast(Ctx *c, Dim a, Dim b);

bool dim_is(Dim d, int64_t v);
bool dim_is_const(Dim d, int64_t *v); /* v may be NULL */
/* Can a and b be proved different / a at least b? False: not known. */
bool dim_differ(Ctx *c, Dim a, Dim b);
bool dim_at_least(Ctx *c, Dim a, Dim b);

/* The value of d with symbols given by get (false: unbound). False: unbound, overflow, division by zero, broadcast of
 * unequal extents. */
bool dim_eval(Dim d, bool (*get)(void *arg, Dim sym, int64_t *v), void *arg, int64_t *v);
/* d with its symbols replaced; get returns NULL to keep a symbol. */
Dim dim_substitute(Ctx *c, Dim d, Dim (*get)(void *arg, Dim sym), void *arg);
bool dim_uses(Dim d, Dim sym);

/* Text: `2*batch*seq + 1`, `seq//2`, `Mod(seq, 2)`, `Min(512, seq)`, `Max(a, b)`, `Bcast(a, b)`. A name that is not an
 * identifier is printed in single quotes. dim_parse reads that, and the forms exporters write in dim_param (also
 * `floor(a/2 + 1/2)`, `CeilToInt(IntTrueDiv(a, 2))`, `a**2`); what it cannot read as an expression becomes one symbol of that whole text. */
void dim_print(StrBuf *b, Dim d);
void dim_release(Ctx *c);            /* forgets all expressions: no graph of this context may be left */
Arena *dim_arena(Ctx *c);            /* where the expressions live: as long as the context */
const char *dim_text(Ctx *c, Dim d); /* in dim_arena */
Dim dim_parse(Ctx *c, const char *text, size_t n);
/* As dim_parse, but *rest is set behind the expression and NULL is returned when there is none (for the IR parser). */
Dim dim_parse_prefix(Ctx *c, const char *text, const char *end, const char **rest);

#endif
