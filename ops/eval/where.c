/* where.c - choosing elements: Where, Trilu. Any element type; bytes are copied as they are.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"

#include <string.h>

/* Where (16): condition bool; all three broadcast together. */
Status where_eval(Eval *e) {
  const Tensor *c = e->in[0], *a = e->in[1], *b = e->in[2];
  int64_t dim[MAX_RANK];
  int rank;
  Tensor *y;
  TRY(operands(e, 3));
  if (c->dtype != DT_bool || a->dtype != b->dtype)
    return eval_fail(e, "the condition must be bool and the other inputs of one element type");
  TRY(eval_broadcast(e, a->rank, a->dim, b->rank, b->dim, &rank, dim));
  TRY(eval_broadcast(e, c->rank, c->dim, rank, dim, &rank, dim));
  TRY(eval_out(e, 0, a->dtype, rank, dim, &y));
  Loop l;
  loop_open(&l, rank, dim, 3, e->in);
  while (loop_next(&l)) {
    TRY(loop_poll(&l, e->c));
    const uint8_t *cond = (const uint8_t *)c->data + l.at[0];
    if (a->dtype == DT_f32) {
      const float *p = (const float *)a->data + l.at[1], *q = (const float *)b->data + l.at[2];
      for (int64_t i = 0; i < l.len; i++)
        ((float *)y->data)[l.out + i] = cond[i * l.step[0]] ? p[i * l.step[1]] : q[i * l.step[2]];
      continue;
    }
    for (int64_t i = 0; i < l.len; i++)
      if (cond[i * l.step[0]])
        copy_elem(e, a->dtype, y->data, l.out + i, a->data, l.at[1] + i * l.step[1]);
      else
        copy_elem(e, a->dtype, y->data, l.out + i, b->data, l.at[2] + i * l.step[2]);
  }
  return ST_OK;
}

static void clear_elem(DType t, void *data, int64_t i) {
  int bits = dtype_bits(t);
  if (t == DT_str)
    ((Str *)data)[i] = (Str){"", 0};
  else if (bits >= 8)
    memset((char *)data + (size_t)i * ((size_t)bits / 8), 0, (size_t)bits / 8);
  else if (dtype_is_float(t))
    elem_set_f64(t, data, i, 0);
  else
    elem_set_i64(t, data, i, 0);
}

/* Trilu (14): the upper or lower triangle from diagonal k on; [*, N, M]; zeros elsewhere. */
Status trilu_eval(Eval *e) {
  const Tensor *x = e->in[0];
  bool upper = ((const TriluAttr *)e->attr)->upper != 0;
  int64_t k = 0, n = 1;
  Tensor *y;
  TRY(operands(e, 1));
  if (x->rank < 2)
    return eval_fail(e, "the input must have at least 2 dimensions");
  if (eval_has(e, 1)) {
    const int64_t *v;
    TRY(eval_ints(e, 1, &v, &n));
    if (n != 1)
      return eval_fail(e, "k must be one number");
    k = *v;
  }
  TRY(eval_out_like(e, 0, x, &y));
  int64_t rows = x->dim[x->rank - 2], cols = x->dim[x->rank - 1], count = tensor_count(x);
  for (int64_t at = 0; at < count; at += cols) {
    int64_t i = at / cols % rows;
    if (i % 64 == 0)
      TRY(ctx_poll(e->c));
    for (int64_t j = 0; j < cols; j++)
      if (upper ? j - i >= k : j - i <= k)
        copy_elem(e, x->dtype, y->data, at + j, x->data, at + j);
      else
        clear_elem(x->dtype, y->data, at + j);
  }
  return ST_OK;
}
