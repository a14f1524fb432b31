/* inputs.h - the inputs of a run, from the options of the command line.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_INPUTS_H
#define SARD_TOOLS_INPUTS_H

#include "tools/session.h"
#include "tools/bindings.h"

/* One tensor per input of the session, in order; NULL: an optional input that was not given. Checked against what the
 * model declares: names, kinds, element types, ranks, fixed dimensions, and symbols that several inputs share. */
Status inputs_gather(Tool *t, const Session *s, const Tensor ***out);
/* With this file in place of --inputs; NULL: none. */
Status inputs_gather_from(Tool *t, const Session *s, const char *npz, const Tensor ***out);
/* The same for what reads no elements: an input that is not given has the shape that the model and --bind say, and no data. */
Status inputs_shapes(Tool *t, const Session *s, const Tensor ***out);

#endif
