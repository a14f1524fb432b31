/* ahead.h - test cases that are compiled ahead of time and run as what came out.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_AHEAD_H
#define SARD_TOOLS_AHEAD_H

#include "tools/session.h"

/* The model as a compiled file, in a folder that vanishes with the context. */
typedef struct Ahead {
  const char *folder, *path;
  Cleanup cleanup;
} Ahead;

/* kind: "so", "sard" or "exe"; for the machine that --target names. */
Status ahead_compile(Tool *t, const char *model, const char *kind, Ahead **out);
/* Runs the program, behind the words of --runner, with inputs and outputs in files; s says what they are called. in[i] NULL: the
 * input's default. Tensors of numbers alone. */
Status ahead_run(Tool *t, const Ahead *x, const Session *s, const Tensor *const *in, Tensor ***out);

#endif
