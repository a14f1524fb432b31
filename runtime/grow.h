/* grow.h - runs of one kind on a device: their shapes differ in what grows from run to run, by less than a step of it (ProgSymbol.grows).
 * One graph serves them all: values lie where the largest of them have room, launches have its grid, and kernels read the numbers that
 * grow from a table on the device, which each run fills in.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_GROW_H
#define SARD_RUNTIME_GROW_H

#include "runtime/internal.h"

enum { GROW_STEP = 64 };

/* What is known at load: of region 0. */
typedef struct GrowPlan {
  uint8_t *expr;         /* by expression: it hangs on what grows */
  uint32_t *table;       /* by step: where its numbers begin in the table */
  uint32_t ntable;       /* numbers in it */
  uint32_t *step, nstep; /* kernels that read it, or take something for granted of it */
  uint32_t *slot, nslot; /* whose extents grow */
} GrowPlan;

/* All values that an expression may have in runs of this kind are among these. */
typedef struct Bounds {
  int64_t lo, hi;
} Bounds;

struct Growth {
  const RtProgram *p;
  int64_t *key; /* by symbol: its value, rounded up where it grows; equal in runs of one kind */
  Bounds *memo; /* by expression */
  uint32_t *memo_epoch, epoch;
  bool on;        /* this run goes by the kind's numbers */
  uint64_t table; /* its address, in what is recorded; else 0 */
};

/* p->grows stays NULL where nothing grows, or a graph could not serve several shapes. graph_plan has found that runs are recorded:
 * these steps of them. */
void grow_plan(Arena *a, RtProgram *p, const uint8_t *recorded, uint32_t n);

Growth *growth_begin(const RtProgram *p, Arena *a, const Symbols *s); /* NULL: nothing grows */
/* Symbols have been bound since. Sets g->on: every value of the run has elements if the largest has. */
void growth_update(Growth *g, Symbols *s);
bool growth_most(Growth *g, uint32_t expr, int64_t *v); /* false: there is no saying */
bool growth_dims(Growth *g, const ProgSlot *slot, int64_t *dim);
size_t growth_bytes(Growth *g, const ProgSlot *slot); /* 0: there is no saying */
/* Where the step's numbers are; 0: it takes its parameters. */
uint64_t growth_table(const Growth *g, uint32_t step);
/* The table for this run, of addresses that hold until it ends. */
Status growth_fill(Frame *f);
/* What kernels take for granted, which is looked at when they are launched: a graph that is replayed does not. */
Status growth_needs(Frame *f);

#endif
