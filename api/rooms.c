/* rooms.c - caches in the caller's memory: tensors with room for more rows, and a past and a present in one place.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/internal.h"

#include "support/checked.h"

/* The extent of `axis` in memory when t is row-major but for that: *room. False: it is not, or this does not tell it. */
static bool has_room(const sard_tensor *t, uint32_t axis, int64_t *room) {
  int64_t want = 1, inner;
  *room = 0;
  if (!t->strided || axis >= (uint32_t)t->rank || sard_tensor_count(t) == 0)
    return false;
  for (int k = t->rank - 1; k > (int)axis; want *= t->dim[k--]) /* no more than the elements, which were counted */
    if (t->dim[k] != 1 && t->stride[k] != want)
      return false;
  inner = want;
  if (t->dim[axis] != 1 && t->stride[axis] != inner)
    return false;
  for (int k = (int)axis - 1; k >= 0; k--) {
    if (t->dim[k] == 1)
      continue;
    if (!*room && (t->stride[k] <= 0 || t->stride[k] % inner))
      return false;
    if (!*room)
      *room = t->stride[k] / inner, want = t->stride[k];
    if (t->stride[k] != want || !mul_ok(want, t->dim[k], &want))
      return false;
  }
  return *room > 0;
}

static bool aligned(const sard_tensor *t) {
  Tensor x = tensor_of(t);
  return tensor_aligned(&x);
}

/* The first byte of a tensor's memory and the one behind its last. Its strides reach no further than an address. */
static void span(const sard_tensor *t, uintptr_t *from, uintptr_t *to) {
  int64_t size = dtype_bits((DType)t->dtype) / 8;
  *from = *to = (uintptr_t)t->data;
  if (!t->strided || size == 0) {
    *to += (uintptr_t)sard_tensor_bytes(t);
    return;
  }
  if (sard_tensor_count(t) == 0)
    return;
  *to += (uintptr_t)size;
  for (int k = 0; k < t->rank; k++) {
    int64_t reach = t->dim[k] > 1 ? (t->dim[k] - 1) * t->stride[k] * size : 0;
    *(reach < 0 ? from : to) += (uintptr_t)reach;
  }
}

static bool overlap(const sard_tensor *a, const sard_tensor *b) {
  uintptr_t a0, a1, b0, b1;
  span(a, &a0, &a1), span(b, &b0, &b1);
  return a0 < a1 && b0 < b1 && a0 < b1 && b0 < a1;
}

/* Does element [.., j, ..] of a cache's past lie where that of its present does, for every j? */
static bool in_one_place(const sard_tensor *past, const sard_tensor *present, uint32_t axis, const RtRoom *r) {
  int64_t outer = 1, rows = r->past ? r->past : past->dim[axis];
  for (uint32_t k = 0; k < axis; k++)
    outer *= past->dim[k];
  return past->data == present->data && (outer == 1 || rows == (r->present ? r->present : present->dim[axis]));
}

static const ProgAppend *append_of(const RtProgram *p, size_t output, uint32_t *i) {
  for (*i = 0; *i < rt_count(p, SEC_APPENDS); ++*i)
    if (rt_append(p, *i)->output == output)
      return rt_append(p, *i);
  return NULL;
}

static Status output_room(Ctx *c, const RtProgram *p, const ProgAppend *x, const sard_tensor *t, int64_t *room) {
  if (!has_room(t, x->axis, room) || !aligned(t)) {
    *room = 0;
    return ST_OK;
  }
  if (*room < t->dim[x->axis])
    return fail(c, ST_USAGE, "the memory given for '%s' has room for %lld rows, not for %lld",
                rt_string(p, rt_output(p, x->output)->name), (long long)*room, (long long)t->dim[x->axis]);
  return ST_OK;
}

/* An output of the given memory, against every input that is read where the caller has it. */
static void keep_apart(RtOutput *o) {
  if (o->device)
    o->apart = true;
  else
    o->into = NULL;
}

static void check_overlaps(const CallTensors *t, size_t o) {
  uint32_t i;
  const ProgAppend *x = append_of(t->program, o, &i);
  bool one_place = false;
  for (size_t k = 0; k < t->nin && t->o[o].into && !t->o[o].apart; k++) {
    const sard_tensor *in = &t->in[k];
    if (in->kind != SARD_KIND_TENSOR || t->copied[k] || !overlap(in, &t->out[o]))
      continue;
    if (x && k == x->input && in_one_place(in, &t->out[o], x->axis, &t->room[i]) && aligned(in))
      one_place = true;
    else
      keep_apart(&t->o[o]); /* computed elsewhere, then copied */
  }
  if (x && t->o[o].into && !t->o[o].apart)
    t->room[i].in_place = one_place;
  else if (x)
    t->room[i].present = 0;
}

Status call_rooms(Ctx *c, const CallTensors *t) {
  for (uint32_t i = 0; i < rt_count(t->program, SEC_APPENDS); i++) {
    const ProgAppend *x = rt_append(t->program, i);
    const sard_tensor *in = x->input < t->nin ? &t->in[x->input] : NULL;
    int64_t rows;
    if (in && t->copied[x->input] && (in->device || !t->gpu) && has_room(in, x->axis, &rows) &&
        rows >= in->dim[x->axis] && aligned(in))
      t->room[i].past = rows, t->copied[x->input] = false;
    if (!t->out || !t->o[x->output].wanted || t->o[x->output].into || (t->gpu && !t->o[x->output].device))
      continue;
    TRY(output_room(c, t->program, x, &t->out[x->output], &t->room[i].present));
    if (t->room[i].present)
      t->o[x->output].into = &t->into[x->output];
  }
  for (size_t o = 0; t->out && o < rt_count(t->program, SEC_OUTPUTS); o++)
    if (t->o[o].into)
      check_overlaps(t, o);
  return ST_OK;
}
