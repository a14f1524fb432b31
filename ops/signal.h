/* signal.h - what a DFT (20) makes of which axis, as dim expressions: the axis may be a number that only a run tells.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_SIGNAL_H
#define SARD_OPS_SIGNAL_H

#include "ops/ops.h"

typedef struct DftShape {
  int rank;
  Dim on[MAX_RANK];    /* 1 for the transform's axis, 0 for the others before the last */
  Dim in, length, out; /* extent of the axis; of the transform; of the axis of the result */
} DftShape;

/* length: NULL when the axis has it. False: the rank is below 2. */
bool dft_shape(Ctx *c, const Type *in, const DFTAttr *a, Dim axis, Dim length, DftShape *s);
/* Of node n. False: the axis or the length is told by nothing. */
bool dft_shape_of(Ctx *c, const Node *n, DftShape *s);
/* From frame to frame, and the length of one, of an STFT (17). */
bool stft_shape_of(Ctx *c, const Node *n, Dim *step, Dim *length);

#endif
