/* pass.h - the pass driver and what a pass looks like. The passes and their order are the rows of passes.def:
 *   PASS(name, "what it does in one line")      -> Status pass_name(Ctx *c, Graph *g), one file, one exported function
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_PASSES_PASS_H
#define SARD_PASSES_PASS_H

#include "ops/ops.h"

typedef struct PassOptions {
  const char *dump_after;                             /* a pass name or "all"; NULL: none */
  const char *stop_after;                             /* NULL: run all */
  const char *precision;                              /* the pass of those marked PRECISION that runs; NULL: none */
  bool gpu;                                           /* what is compiled is for GPUs: the passes of CPUs alone do not run */
  bool time;                                          /* a line per pass: name, milliseconds, nodes before and after */
  bool verify;                                        /* graph_verify after each pass */
  void (*out)(void *arg, const char *text, size_t n); /* where dumps and times go; may be NULL */
  void *arg;
} PassOptions;

/* Runs the table over the graph. An unknown pass name in the options is ST_USAGE with the nearest name as hint. */
Status passes_run(Ctx *c, Graph *g, const PassOptions *o);
/* Runs one pass by name (tests/ir). */
Status pass_run(Ctx *c, Graph *g, const char *name);
/* Row i of the table; false at the end. */
bool pass_info(size_t i, const char **name, const char **doc);

#endif
