/* cost.h - what one run of a graph takes: floating-point operations by operator, and memory, for bound symbols.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TOOLS_COST_H
#define SARD_TOOLS_COST_H

#include "ops/ops.h"
#include "tools/bindings.h"

typedef struct Cost {
  double *flops; /* by OpId, op_count() of them: 2 per multiply-add in products, convolutions, attention, LSTM … */
  double total;  /* the sum of flops */
  double
      elementwise; /* one per output element of element-wise operators, one per input element of reductions and norms */
  int64_t unknown; /* nodes whose shapes or operator are not known */
  int64_t looped;  /* nodes inside Loop and Scan bodies: counted for one trip */
  int64_t peak;    /* bytes of values alive at once, weights not counted, in file order and without reuse in place */
  bool peak_known;
} Cost;

/* Types must have been inferred. Bindings of the inputs come from s. */
void cost_of_graph(Arena *a, const Graph *g, Bindings *s, Cost *out);

#endif
