/* loop.h - what the element-by-element evaluators share: spans of a broadcast, and elements in and out as doubles or
 * int64.
 *
 * An evaluator walks its output in spans of at most CHUNK elements; along a span each input advances by 0 or 1.
 * Elements are widened to double (floats) or int64 (integers, bool; u64 keeps its bits), worked on, and rounded or
 * wrapped once. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_LOOP_H
#define SARD_OPS_EVAL_LOOP_H

#include "ops/eval/eval.h"

/* Every given input is a tensor (not a sequence or optional), and the first n are given. */
Status operands(Eval *e, int n);

enum { CHUNK = 256, LOOP_MAX_IN = 3 };

/* n elements of data at elements at, at + step, …; any step. */
void load_f64(DType t, const void *data, int64_t at, int64_t step, int64_t n, double *v);
void store_f64(DType t, void *data, int64_t at, int64_t step, int64_t n, const double *v);
void load_i64(DType t, const void *data, int64_t at, int64_t step, int64_t n, int64_t *v);
void store_i64(DType t, void *data, int64_t at, int64_t step, int64_t n, const int64_t *v);

/* Elements as int64 keys in the order of the values; -0 and 0 are equal; NaN: nan. */
void load_keys(DType t, const void *data, int64_t at, int64_t step, int64_t n, int64_t nan, int64_t *key);

typedef struct Loop {
  int n, rank;
  int64_t dim[MAX_RANK], idx[MAX_RANK], stride[LOOP_MAX_IN][MAX_RANK]; /* after merging of adjacent axes */
  int64_t base[LOOP_MAX_IN];
  int64_t done, total; /* elements of the output */
  uint64_t spans;
  /* the current span */
  int64_t out;               /* its first element in the output */
  int64_t at[LOOP_MAX_IN];   /* in input k */
  int64_t step[LOOP_MAX_IN]; /* 0 or 1 */
  int64_t len;               /* 1..CHUNK */
} Loop;

/* A walk over shape dim[rank], to which each of the n tensors broadcasts (checked by the caller). */
void loop_open(Loop *l, int rank, const int64_t *dim, int n, const Tensor *const *t);
bool loop_next(Loop *l);
Status loop_poll(const Loop *l, Ctx *c); /* now and then asks ctx_poll */

/* Element j of src to element i of dst, both of type t; characters of strings go to e->keep. */
void copy_elem(Eval *e, DType t, void *dst, int64_t i, const void *src, int64_t j);

/* A shape seen from one axis: outer x axis x inner. */
typedef struct Axis3 {
  int64_t outer, n, inner;
} Axis3;
Axis3 axis_split(const Tensor *t, int axis);

#endif
