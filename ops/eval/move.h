/* move.h - moving elements of any type: what the evaluators of movement operators share.
 *
 * Offsets and strides count elements, so that packed sub-byte types move like any other. Strings move as Str; a step's
 * outputs may outlive its inputs, so move_done() copies the characters.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_MOVE_H
#define SARD_OPS_EVAL_MOVE_H

#include "ops/eval/eval.h"

enum { MAX_BOX = 2 * MAX_RANK }; /* Tile needs two axes for each of its input's */

/* Elements with strides, starting at element `at`. data may be written or read. */
typedef struct View {
  void *data;
  int64_t at;
  int64_t stride[MAX_BOX];
} View;

View view_of(const Tensor *t); /* dense row-major */

/* n consecutive elements from src[s..] to dst[d..]; the two do not overlap. */
void move_run(DType t, void *dst, int64_t d, const void *src, int64_t s, int64_t n);
/* Every element of the box dim[rank], rank <= MAX_BOX. */
void move_box(DType t, int rank, const int64_t *dim, const View *dst, const View *src);
/* Sets n elements from element d on to src[0]; src NULL: to zero (the empty string, false). */
void move_fill(DType t, void *dst, int64_t d, int64_t n, const void *src);

/* eval_out for a rank not yet checked; bits that no element covers are zero. Fails on a rank above MAX_RANK. */
Status move_out(Eval *e, int i, DType t, int64_t rank, const int64_t *dim, Tensor **out);
/* The same, writing nothing: the memory may be that of an input. */
Status move_shared_out(Eval *e, int i, DType t, int64_t rank, const int64_t *dim, Tensor **out);
/* Room for the dims of a tensor of that rank: ST_UNSUPPORTED when it is above MAX_RANK. */
Status move_rank(Eval *e, int64_t rank);
/* To be called when t, made by this step, is filled: copies the characters of strings into e->keep. */
Status move_done(Eval *e, Tensor *t);

/* Product of dims [from, to). They are a tensor's, so it fits. */
int64_t move_count(const Tensor *t, int from, int to);
/* i in [-extent, extent) to [0, extent); ST_INVALID naming the index, the axis and its extent otherwise. */
Status move_index(Eval *e, int64_t i, int axis, int64_t extent, int64_t *out);

#endif
