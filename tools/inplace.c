/* inplace.c - buffers for caches that grow in place, and runs into them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/inplace.h"

#include "support/checked.h"

#include <string.h>

enum { ROOM = 2 }; /* times the rows behind a run */

struct InPlace {
  sard_tensor *in, *out;
  size_t caches;
};

/* A dense tensor's memory. */
static Status dense(Tool *t, sard_tensor *x) {
  int64_t bytes = sard_tensor_bytes(x);
  if (bytes < 0)
    return fail(t->c, ST_MEMORY, "an output is too large");
  x->strided = false, x->data = arena_get(t->arena, (size_t)bytes + 1, 1, 64);
  return ST_OK;
}

/* x as rows of a buffer of so many of them. */
static void as_rows(sard_tensor *x, int axis, int64_t room, void *data) {
  int64_t step = 1;
  x->strided = true, x->data = data;
  for (int k = x->rank - 1; k >= 0; k--) {
    x->stride[k] = step;
    step *= k == axis ? room : x->dim[k];
  }
}

/* Bytes of an index of the axis, with all of those behind it, and how many blocks of such there are. */
static void blocks_of(const sard_tensor *x, int axis, size_t *row, size_t *n) {
  *row = dtype_bits((DType)x->dtype) / 8, *n = 1;
  for (int k = axis + 1; k < x->rank; k++)
    *row *= (size_t)x->dim[k];
  for (int k = 0; k < axis; k++)
    *n *= (size_t)x->dim[k];
}

/* Rows between a buffer of `room` of them and dense memory. */
static void copy_rows(const sard_tensor *x, int axis, int64_t room, uint8_t *buffer, uint8_t *rows, bool out) {
  size_t row, n;
  blocks_of(x, axis, &row, &n);
  size_t have = row * (size_t)x->dim[axis], step = row * (size_t)room;
  for (size_t i = 0; have && i < n; i++)
    memcpy(out ? rows + i * have : buffer + i * step, out ? buffer + i * step : rows + i * have, have);
}

static Status cache(Tool *t, const Session *s, InPlace *p, size_t o, size_t input, int axis) {
  sard_tensor *past = &p->in[input], *present = &p->out[o];
  size_t row, n, bytes;
  int64_t room;
  if (!past->data || past->rank != present->rank || past->dim[axis] > present->dim[axis])
    return fail(t->c, ST_USAGE, "the cache '%s' does not grow", s->in[input].name);
  blocks_of(present, axis, &row, &n);
  if (!mul_ok(present->dim[axis], ROOM, &room) || !size_mul_ok(row, n, &bytes) ||
      !size_mul_ok(bytes, (size_t)room, &bytes))
    return fail(t->c, ST_MEMORY, "the cache '%s' is too large", s->in[input].name);
  uint8_t *buffer = arena_get(t->arena, bytes, 1, 64);
  copy_rows(past, axis, room, buffer, past->data, false);
  as_rows(past, axis, room, buffer);
  as_rows(present, axis, room, buffer);
  p->caches++;
  return ST_OK;
}

Status inplace_new(Tool *t, const Session *s, const sard_tensor *in, const sard_result *r, InPlace **out) {
  InPlace *p = arena_new(t->arena, InPlace);
  size_t input;
  int axis;
  p->in = arena_array(t->arena, sard_tensor, s->nin), p->out = arena_array(t->arena, sard_tensor, s->nout);
  memcpy(p->in, in, s->nin * sizeof *in);
  for (size_t i = 0; i < s->nout; i++) {
    if (sard_result_tensor(r, i, &p->out[i]))
      return fail(t->c, ST_USAGE, "output '%s' is no tensor, so that it cannot be computed into given memory",
                  s->out[i].name);
    if (sard_output_appends(s->model, i, &input, &axis))
      TRY(cache(t, s, p, i, input, axis));
    else
      TRY(dense(t, &p->out[i]));
  }
  if (!p->caches)
    return err_hint(
        t->c, fail(t->c, ST_USAGE, "the model has no caches that grow in place"),
        "a cache is an output that is an input and new rows, as Concat, TensorScatter or an attention makes it");
  *out = p;
  return ST_OK;
}

size_t inplace_caches(const InPlace *p) { return p->caches; }

Status inplace_run(Tool *t, Session *s, const InPlace *p, const sard_run_options *ro, double *ms) {
  return session_call_into(t, s, p->in, p->out, ro, ms);
}

void inplace_take(Tool *t, const Session *s, const InPlace *p, Tensor ***out) {
  size_t input;
  int axis;
  *out = arena_array(t->arena, Tensor *, s->nout);
  for (size_t i = 0; i < s->nout; i++) {
    const sard_tensor *x = &p->out[i];
    Tensor *y = (*out)[i] = arena_new(t->arena, Tensor);
    y->dtype = (DType)x->dtype, y->rank = (int8_t)x->rank, y->data = x->data;
    memcpy(y->dim, x->dim, sizeof y->dim);
    if (!sard_output_appends(s->model, i, &input, &axis))
      continue;
    y->data = arena_get(t->arena, (size_t)sard_tensor_bytes(x) + 1, 1, 64);
    copy_rows(x, axis, ROOM * x->dim[axis], x->data, y->data, true);
  }
}
