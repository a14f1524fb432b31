/* recurrent.c - inference of LSTM, GRU and RNN.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"

#include "ir/infer.h"

/* Dimension `axis` of input i, when it is given and its rank known, must be want. */
static Status expect(Infer *x, int i, int rank, int axis, Dim want, const char *what) {
  int r;
  if (!has_in(x, i) || in_type(x, i)->rank < 0)
    return ST_OK;
  r = in_type(x, i)->rank;
  if (r != rank)
    return infer_fail(x, "input %d must have rank %d, not %d", i, rank, r);
  return same_dim(x, want, in_dim(x, i, axis), what, NULL);
}

static Status recurrent(Infer *x, int gates, Str direction, int64_t hidden, int64_t layout) {
  Ctx *c = x->c;
  int rank;
  bool both = str_is(direction, "bidirectional");
  if (!both && !str_is(direction, "forward") && !str_is(direction, "reverse"))
    return infer_fail(x, "direction must be forward, reverse or bidirectional");
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank != 3)
    return infer_fail(x, "X must have rank 3, not %d", rank);
  Dim dirs = dim_const(c, both ? 2 : 1), T = in_dim(x, 0, layout ? 1 : 0), B = in_dim(x, 0, layout ? 0 : 1), H = NULL;
  if (in_type(x, 2)->rank == 3)
    H = in_dim(x, 2, 2);
  if (hidden != ABSENT) {
    if (H)
      TRY(same_dim(x, dim_const(c, hidden), H, "hidden_size and the last extent of R", NULL));
    H = dim_const(c, hidden);
  }
  H = H ? H : dim_fresh(c, "hidden");
  Dim gh = dim_mul(c, dim_const(c, gates), H);
  TRY(expect(x, 1, 3, 0, dirs, "the number of directions and the first extent of W"));
  TRY(expect(x, 1, 3, 1, gh, "gates times hidden size and the second extent of W"));
  TRY(expect(x, 1, 3, 2, in_dim(x, 0, 2), "the input size of X and of W"));
  TRY(expect(x, 2, 3, 0, dirs, "the number of directions and the first extent of R"));
  TRY(expect(x, 2, 3, 1, gh, "gates times hidden size and the second extent of R"));
  TRY(expect(x, 3, 2, 1, dim_mul(c, dim_const(c, 2), gh), "twice gates times hidden size and the length of B"));
  TRY(expect(x, 4, 1, 0, B, "the batch size and the length of sequence_lens"));
  TRY(expect(x, 5, 3, 2, H, "the hidden size and that of initial_h"));
  TRY(expect(x, 6, 3, 2, H, "the hidden size and that of initial_c"));
  Dim y[2][4] = {{T, dirs, B, H}, {B, T, dirs, H}}, last[2][3] = {{dirs, B, H}, {B, dirs, H}};
  set_out(x, 0, DT_none, 4, y[layout != 0]);
  set_out(x, 1, DT_none, 3, last[layout != 0]);
  set_out(x, 2, DT_none, 3, last[layout != 0]);
  return ST_OK;
}

Status lstm_infer(Infer *x) {
  const LSTMAttr *a = ATTR(x->n, LSTM);
  return recurrent(x, 4, a->direction, a->hidden_size, a->layout);
}

Status gru_infer(Infer *x) {
  const GRUAttr *a = ATTR(x->n, GRU);
  return recurrent(x, 3, a->direction, a->hidden_size, a->layout);
}

Status rnn_infer(Infer *x) {
  const RNNAttr *a = ATTR(x->n, RNN);
  return recurrent(x, 1, a->direction, a->hidden_size, a->layout);
}
