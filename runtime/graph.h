/* graph.h - how a program's runs become graphs of a device: what is known at load.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_GRAPH_H
#define SARD_RUNTIME_GRAPH_H

#include "runtime/places.h"

#include <stdatomic.h>

typedef struct GraphPlan {
  const char *why;       /* runs go step by step, and why; NULL: they are recorded */
  uint32_t step;         /* the step that wants that, or PROG_NONE */
  uint32_t kernels;      /* in the graph */
  uint32_t after;        /* steps from here on are behind it */
  uint32_t most;         /* graphs that a workspace keeps */
  uint8_t *recorded;     /* by step */
  uint8_t *dims;         /* by slot: made of the symbols alone, by a Dims */
  uint32_t *feed, nfeed; /* slots that the graph reads, constants not counted */
  uint32_t *keep, nkeep; /* slots that it makes, and that are read behind it */
  atomic_llong made, replayed;
} GraphPlan;

#endif
