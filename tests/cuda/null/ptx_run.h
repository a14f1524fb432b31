/* ptx_run.h - the interpreter's machine: shared by ptx.c (threads) and ptx_warp.c (what a warp does together, copies).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_PTX_RUN_H
#define SARD_TESTS_CUDA_PTX_RUN_H

#include "tests/cuda/null/ptx_code.h"

typedef enum { RUNS, AT_BARRIER, AT_WARP, ENDED } State;

/* A copy in the background that has not arrived. */
typedef struct Pending {
  uint8_t *to;
  uint64_t from;
  size_t bytes, zeros; /* behind them */
  int group;
} Pending;

typedef struct Thread {
  uint64_t *reg;
  uint8_t *local;
  int pc;
  State state;
  int where; /* the barrier, or what the warp does together, that it waits at */
  Pending *copy;
  int ncopy, group; /* groups ended so far */
} Thread;

typedef struct Machine {
  const PtxKernel *k;
  const PtxLaunch *l;
  Thread *thread;
  uint8_t *shared;
  uint32_t block;
  char *why;
} Machine;

/* --- ptx.c --- */
bool ptx_fault(Machine *m, const Thread *t, const char *fmt, ...);
uint8_t *ptx_address(Machine *m, Thread *t, uint64_t a, size_t size); /* NULL: a fault */
uint64_t ptx_get(const Thread *t, const Operand *o);
double ptx_real(uint64_t v, Type t); /* of a float type */
uint64_t ptx_bits(double v, Type t); /* rounded to nearest even */

/* --- ptx_warp.c --- */
/* All n threads of a warp are at one instruction for all, or have ended. */
bool ptx_together(Machine *m, Thread *warp, unsigned n);
bool ptx_copies(Machine *m, Thread *t, const Ins *x); /* cp.async and what goes with it */

#endif
