/* judge.h - outputs of models that draw random numbers, which no test case can know beforehand.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_JUDGE_H
#define SARD_TOOLS_JUDGE_H

#include "tools/compare.h"
#include "tools/session.h"

typedef struct Judged {
  bool random;        /* an output hangs on random numbers; false: nothing was judged */
  const char *reason; /* NULL: right; else what is wrong */
  const char *seen;   /* what was drawn, in words */
} Judged;

/* Judges what a run of the model at `path`, opened as `o` says into s, gave for in[]: outputs that hang on no random number are
 * compared with want[0..nwant). Of the others shape and type are, and their values with what the reference evaluators make of
 * the numbers that the nodes drew in such a run; and these numbers, with as many as needed from nodes of other seeds, are
 * tried by laws.h. Nodes that draw numbers in functions, or in the bodies of If, Loop and Scan, cannot be judged, and fail. */
Status judge_run(Tool *t, const char *path, const SessionOptions *o, const Tolerance *tol, const Session *s,
                 const Tensor *const *in, const Tensor *const *got, const Tensor *const *want, uint32_t nwant,
                 Judged *out);

#endif
