/* inplace.h - runs of a decoder's step with its caches in buffers that have room for more rows: past and present are one memory, and
 * only the new rows are written.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_INPLACE_H
#define SARD_TOOLS_INPLACE_H

#include "tools/session.h"

typedef struct InPlace InPlace;

/* For the inputs of a run whose result is r: buffers for its caches, twice as long as they are behind the run, with the rows that they
 * have before it, and memory for the other outputs. ST_USAGE: the model has no caches, or one that the run does not append to. */
Status inplace_new(Tool *t, const Session *s, const sard_tensor *in, const sard_result *r, InPlace **out);
size_t inplace_caches(const InPlace *p);
/* The same step again: the same rows are written to the same place. */
Status inplace_run(Tool *t, Session *s, const InPlace *p, const sard_run_options *ro, double *ms);
/* What it has computed, dense. */
void inplace_take(Tool *t, const Session *s, const InPlace *p, Tensor ***out);

#endif
