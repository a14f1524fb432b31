/* oracle.h - what a random graph should compute: the reference evaluators node by node, and how far rounding may carry.
 *
 * Kernels round in other places than the evaluators do, and a graph may blow that up (a difference of equals, a floor, a
 * comparison). So the graph is evaluated several times more, every floating-point result moved by a few units of its last place at
 * random; what the outputs spread by is what an element may differ by. Where an integer, NaN or infinity moves, anything goes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_RANDOM_ORACLE_H
#define SARD_TESTS_RANDOM_ORACLE_H

#include "tests/ir/interp.h"

enum { SHAKES = 12 };

typedef struct Oracle {
  uint32_t n;
  const Tensor **want;          /* by output */
  const Tensor **shake[SHAKES]; /* the same, shaken; NULL: that run failed */
  Tensor **value;               /* every value of the graph by id */
} Oracle;

/* False: the graph does not run at these inputs, with the reason in c. */
bool oracle_run(Ctx *c, Arena *a, const Graph *g, Tensor *const *in, uint64_t seed, Oracle *out);
/* By how much element k of output i may differ; INFINITY: it may be anything. */
double oracle_bound(const Oracle *o, uint32_t i, int64_t k);
bool oracle_steady(const Oracle *o); /* no rounding makes the graph fail or changes the shape of an output */
/* Is `got` output i? why: what differs. */
bool oracle_accepts(const Oracle *o, uint32_t i, const Tensor *got, char *why, size_t cap);

#endif
