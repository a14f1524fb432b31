/* literal.h - input values written on the command line: [[1,2],[3,4]], and generated ones.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_LITERAL_H
#define SARD_TOOLS_LITERAL_H

#include "support/tensor.h"

/* Does text look like a literal (a list, a number, true, false, nan, inf, or a quoted string)? */
bool is_literal(const char *text);
/* A nested list as a tensor of type dt; all lists of one level have one length, and numbers fit dt. Strings are quoted
 * as in JSON. ST_USAGE otherwise. */
Status literal_parse(Ctx *c, Arena *a, const char *text, DType dt, Tensor **out);

typedef enum { GEN_NONE, GEN_RANDOM, GEN_ONES, GEN_ZEROS, GEN_ARANGE } GenKind;
typedef struct Generator {
  GenKind kind;
  bool has_shape, has_range;
  int rank;
  int64_t dim[MAX_RANK];
  double lo, hi;    /* random, floats: lo <= x < hi */
  int64_t ilo, ihi; /* random, integers: ilo <= x <= ihi; has_int false: the range is no whole number */
  bool has_int;
} Generator;

/* `random:2x128:0..30521`, `zeros`, `arange:3x4`. kind GEN_NONE: text starts with none of these words. */
Status generator_parse(Ctx *c, const char *text, Generator *g);
/* Fills a tensor of the given shape. seed and name decide what random gives, so the order of options does not matter.
 */
Status generator_make(Ctx *c, Arena *a, const Generator *g, DType dt, int rank, const int64_t *dim, int64_t seed,
                      const char *name, Tensor **out);

#endif
