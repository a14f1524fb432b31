/* content.h - what the inference of movement and shape operators shares: the elements of small integer tensors as dim
 * expressions, and extents that only a run can tell.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_CONTENT_H
#define SARD_OPS_CONTENT_H

#include "ir/infer.h"

/* Elements of integer input i: as in_content, and of constants of any rank too. At most MAX_CONTENT. */
bool content_of(const Infer *x, int i, const Dim **elem, int64_t *n);
/* The number of elements of input i, when all its extents are constant. */
bool count_of(const Infer *x, int i, int64_t *n);
/* As in_ints, for lists of axes, pads and sizes: false also for more than MAX_CONTENT elements. */
bool few_ints(const Infer *x, int i, const int64_t **elem, int64_t *n);
/* The one element of v as an expression, a whole number. Seen through conversions and the float arithmetic that
 * exporters make of arange: Ceil((limit - start) / step). Exact as long as the float type holds the numbers (f32: up to
 * 2^24). */
bool number_of(Ctx *c, const Value *v, Dim *d);
/* Of a Cast of one number to integers: what number_of says of it. */
void content_whole(Infer *x);
/* Output 0 has the elements of input 0 in the same order. */
void content_same(Infer *x);
/* The node moves elements only: those of its inputs in the set `data` (bit i: input i), or zeros, to places that its
 * other inputs say. When those are constants, the node's evaluator is run on the elements' numbers, and the content of
 * every output follows. What the evaluator finds wrong (an index out of range) is an error, as it would be in every
 * run. */
Status content_moved(Infer *x, uint64_t data);

/* An extent of output i, of that rank, that is known when the step has run: a symbol whose name starts with hint. The
 * same symbol when the node is inferred again. */
Dim run_dim(Infer *x, int i, int rank, int axis, const char *hint);
/* Output i gets type t and that rank, every extent known at run time only. */
void set_out_run(Infer *x, int i, DType t, int rank, const char *hint);
/* ST_UNSUPPORTED when rank is above MAX_RANK. */
Status check_rank(Infer *x, int64_t rank);
/* The dtype of input i; DT_none: not known, or a container. */
DType in_dtype(const Infer *x, int i);
/* As in_rank, for those who can go on without: x->unknown stays as it is. */
bool known_rank(const Infer *x, int i, int *rank);
/* 1 when v, an axis of `rank` that may count from the end, is axis a, else 0: an expression. */
Dim names_axis(Ctx *c, Dim v, int rank, int a);
/* -1 when v is negative, else 0. */
Dim sign_of(Ctx *c, Dim v);
/* Integers of input i as axes of `rank`, each named once. */
Status mark_axes(Infer *x, const int64_t *axes, int64_t n, int rank, bool *mark);

#endif
