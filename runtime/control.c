/* control.c - If, Loop and Scan: regions run over the same frame, values handed over by counted buffers.
 * Semantics: ONNX If-25, Loop-25, Scan-25.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/internal.h"

#include "support/checked.h"

#include <string.h>

static const ProgRegion *region_at(const Frame *f, uint32_t i) { return REC(f->p, SEC_REGIONS, ProgRegion) + i; }

static Cell *cell_of(Frame *f, uint32_t list, uint32_t i) {
  uint32_t slot = rt_list(f->p, list + i);
  return slot == PROG_NONE ? NULL : &f->cell[slot];
}

/* A body's output, which may have no value only through a bug. */
static Status body_output(Frame *f, const ProgRegion *r, uint32_t i, const Cell **out) {
  *out = cell_of(f, r->out, i);
  return (*out)->state ? ST_OK : fail(f->c, ST_INTERNAL, "a body's output %u has no value", i);
}

static Status scalar_bool(Frame *f, const Cell *x, const char *what, bool *v) {
  char text[128];
  if (!x->state || x->t.kind != VK_TENSOR || x->t.dtype != DT_bool || tensor_count(&x->t) != 1)
    return fail(f->c, ST_INVALID, "%s must be one bool, not %s", what, tensor_type_text(&x->t, text, sizeof text));
  *v = *(const uint8_t *)x->t.data != 0;
  return ST_OK;
}

Status run_if(Frame *f, const ProgStep *s) {
  bool cond;
  TRY(scalar_bool(f, cell_of(f, s->in, 0), "the condition", &cond));
  uint32_t which = s->region[cond ? 0 : 1];
  const ProgRegion *r = region_at(f, which);
  region_enter(f, r);
  TRY(run_region(f, which));
  for (uint32_t i = 0; i < s->nout; i++) {
    const Cell *x;
    TRY(body_output(f, r, i, &x));
    if (cell_of(f, s->out, i))
      TRY(cell_export(f, cell_of(f, s->out, i), x));
  }
  region_enter(f, r);
  return ST_OK;
}

/* --- values collected over trips --- */

typedef struct Trail {
  Cell *item;
  int64_t n, cap;
} Trail;

static Status trail_add(Frame *f, Arena *a, Trail *t, const Cell *x) {
  if (t->n == t->cap) {
    t->cap = t->cap ? 2 * t->cap : 8;
    Cell *bigger = arena_array(a, Cell, (size_t)t->cap);
    if (t->n)
      memcpy(bigger, t->item, (size_t)t->n * sizeof *bigger);
    t->item = bigger;
  }
  char p[128], q[128];
  if (x->t.kind != VK_TENSOR)
    return fail(f->c, ST_INVALID, "a scan output must be a tensor");
  if (t->n && (x->t.dtype != t->item[0].t.dtype || !tensor_same_shape(&x->t, &t->item[0].t)))
    return fail(f->c, ST_INVALID, "a scan output changes from %s to %s in trip %lld",
                tensor_type_text(&t->item[0].t, p, sizeof p), tensor_type_text(&x->t, q, sizeof q), (long long)t->n);
  return cell_export(f, &t->item[t->n++], x);
}

/* The items stacked along a new axis, in reverse order when asked. Without items: dims from the inferred type, an unknown
 * extent being 0. */
static Status trail_stack(Frame *f, Trail *t, uint32_t slot, int64_t axis, bool reverse) {
  const ProgSlot *s = rt_slot(f->p, slot);
  int64_t dim[MAX_RANK] = {0}, count;
  int rank = t->n ? t->item[0].t.rank + 1 : s->rank;
  DType dtype = t->n ? t->item[0].t.dtype : s->dtype;
  Tensor *out;
  if (rank < 1 || !dtype)
    return fail(f->c, ST_UNSUPPORTED, "a loop without trips whose scan output has no known type");
  if (rank > MAX_RANK)
    return fail(f->c, ST_UNSUPPORTED, "a scan output of rank %d", rank);
  if (axis < -rank || axis >= rank)
    return fail(f->c, ST_INVALID, "scan output axis %lld is not in [%d, %d]", (long long)axis, -rank, rank - 1);
  axis = axis < 0 ? axis + rank : axis;
  for (int k = 0, j = 0; k < rank; k++)
    if (k == axis)
      dim[k] = t->n;
    else if (t->n)
      dim[k] = t->item[0].t.dim[j++];
    else if (!rt_symbols_eval(&f->sym, rt_list(f->p, s->dims + (uint32_t)k), &dim[k]))
      dim[k] = 0;
  TRY(slot_alloc(f, slot, dtype, rank, dim, &out));
  if (!t->n || !extent_ok(dim, rank, &count) || !count)
    return ST_OK;
  if (dtype_bits(dtype) < 8)
    return fail(f->c, ST_UNSUPPORTED, "scan outputs of %s", dtype_name(dtype));
  int64_t outer = 1;
  for (int k = 0; k < axis; k++)
    outer *= dim[k];
  size_t inner = tensor_bytes(&t->item[0].t) / (size_t)outer;
  for (int64_t i = 0; i < t->n; i++) {
    int64_t at = reverse ? t->n - 1 - i : i;
    for (int64_t o = 0; o < outer; o++)
      memcpy((char *)out->data + (size_t)(o * t->n + at) * inner, (const char *)t->item[i].t.data + (size_t)o * inner,
             inner);
  }
  return ST_OK;
}

static void trail_clear(Frame *f, Trail *t) {
  for (int64_t i = 0; i < t->n; i++)
    cell_clear(f, &t->item[i]);
}

/* --- Loop --- */

static Status put_scalar(Frame *f, Cell *x, DType t, int64_t v) {
  TRY(cell_alloc(f, x, t, 0, NULL));
  elem_set_i64(t, x->t.data, 0, v);
  return ST_OK;
}

static Status trip_count(Frame *f, const Cell *x, int64_t *n) {
  char text[128];
  *n = INT64_MAX;
  if (!x)
    return ST_OK;
  if (!x->state || x->t.dtype != DT_i64 || tensor_count(&x->t) != 1)
    return fail(f->c, ST_INVALID, "the trip count must be one i64, not %s", tensor_type_text(&x->t, text, sizeof text));
  memcpy(n, x->t.data, sizeof *n);
  return ST_OK;
}

static Status loop_trip(Frame *f, const ProgStep *s, const ProgRegion *r, Arena *a, Cell *carried, Trail *trail,
                        int64_t i, bool *cond) {
  uint32_t ncarried = s->nin - 2;
  const Cell *x;
  region_enter(f, r);
  TRY(put_scalar(f, cell_of(f, r->in, 0), DT_i64, i));
  TRY(put_scalar(f, cell_of(f, r->in, 1), DT_bool, *cond));
  for (uint32_t k = 0; k < ncarried; k++) {
    cell_share(f, cell_of(f, r->in, 2 + k), &carried[k]);
    cell_clear(f, &carried[k]);
  }
  region_bind(f, r);
  TRY(run_region(f, s->region[0]));
  TRY(body_output(f, r, 0, &x));
  TRY(scalar_bool(f, x, "the loop condition", cond));
  for (uint32_t k = 0; k < s->nout; k++) {
    TRY(body_output(f, r, 1 + k, &x));
    if (k < ncarried)
      TRY(cell_export(f, &carried[k], x));
    else
      TRY(trail_add(f, a, &trail[k - ncarried], x));
  }
  return ST_OK;
}

Status run_loop(Frame *f, const ProgStep *s) {
  const ProgRegion *r = region_at(f, s->region[0]);
  uint32_t ncarried = s->nin - 2, nscan = s->nout - ncarried;
  int64_t trips;
  bool cond = true;
  TRY(trip_count(f, cell_of(f, s->in, 0), &trips));
  if (cell_of(f, s->in, 1))
    TRY(scalar_bool(f, cell_of(f, s->in, 1), "the condition", &cond));
  Arena *a = arena_create(f->c);
  Cell *carried = arena_array(a, Cell, ncarried);
  Trail *trail = arena_array(a, Trail, nscan);
  for (uint32_t k = 0; k < ncarried; k++) {
    if (!cell_of(f, s->in, 2 + k))
      return fail(f->c, ST_INVALID, "loop-carried input %u is missing", k);
    TRY(cell_export(f, &carried[k], cell_of(f, s->in, 2 + k)));
  }
  for (int64_t i = 0; i < trips && cond; i++) {
    TRY(ctx_poll(f->c));
    TRY(loop_trip(f, s, r, a, carried, trail, i, &cond));
  }
  region_enter(f, r);
  for (uint32_t k = 0; k < s->nout; k++) {
    Cell *out = cell_of(f, s->out, k);
    if (out && k < ncarried)
      cell_share(f, out, &carried[k]);
    else if (out)
      TRY(trail_stack(f, &trail[k - ncarried], rt_list(f->p, s->out + k), 0, false));
    if (k < ncarried)
      cell_clear(f, &carried[k]);
    else
      trail_clear(f, &trail[k - ncarried]);
  }
  arena_destroy(a);
  return ST_OK;
}

/* --- Scan --- */

typedef struct ScanInput {
  Cell *from;
  int axis;
  bool reverse;
  int64_t length;
} ScanInput;

static int64_t list_at(Ints l, uint32_t i, int64_t deflt) { return l.v && i < l.n ? l.v[i] : deflt; }

static Status scan_input(Frame *f, const ProgStep *s, const ScanAttr *attr, uint32_t i, uint32_t nstate,
                         ScanInput *in) {
  in->from = cell_of(f, s->in, nstate + i);
  if (!in->from || !in->from->state || in->from->t.kind != VK_TENSOR)
    return fail(f->c, ST_INVALID, "scan input %u is missing", i);
  const Tensor *t = &in->from->t;
  int64_t axis = list_at(attr->scan_input_axes, i, 0);
  if (axis < -t->rank || axis >= t->rank)
    return fail(f->c, ST_INVALID, "scan input axis %lld is not in [%d, %d]", (long long)axis, -t->rank, t->rank - 1);
  if (dtype_bits(t->dtype) < 8)
    return fail(f->c, ST_UNSUPPORTED, "scan inputs of %s", dtype_name(t->dtype));
  in->axis = (int)(axis < 0 ? axis + t->rank : axis);
  in->reverse = list_at(attr->scan_input_directions, i, 0) == 1;
  in->length = t->dim[in->axis];
  return ST_OK;
}

/* Element i of a scan input along its axis, as a tensor without that axis. */
static Status scan_slice(Frame *f, const ScanInput *in, int64_t i, Cell *out) {
  const Tensor *t = &in->from->t;
  int64_t dim[MAX_RANK], outer = 1, count;
  int rank = 0;
  for (int k = 0; k < t->rank; k++) {
    if (k < in->axis)
      outer *= t->dim[k];
    if (k != in->axis)
      dim[rank++] = t->dim[k];
  }
  TRY(cell_alloc(f, out, t->dtype, rank, dim));
  extent_ok(dim, rank, &count);
  if (!count)
    return ST_OK;
  size_t inner = tensor_bytes(&out->t) / (size_t)outer;
  if (in->reverse)
    i = in->length - 1 - i;
  for (int64_t o = 0; o < outer; o++)
    memcpy((char *)out->t.data + (size_t)o * inner, (const char *)t->data + (size_t)(o * in->length + i) * inner,
           inner);
  return ST_OK;
}

static Status scan_trip(Frame *f, const ProgStep *s, const ProgRegion *r, Arena *a, Cell *state, uint32_t nstate,
                        const ScanInput *in, uint32_t nscan, Trail *trail, int64_t i) {
  const Cell *x;
  region_enter(f, r);
  for (uint32_t k = 0; k < nstate; k++) {
    cell_share(f, cell_of(f, r->in, k), &state[k]);
    cell_clear(f, &state[k]);
  }
  for (uint32_t k = 0; k < nscan; k++)
    TRY(scan_slice(f, &in[k], i, cell_of(f, r->in, nstate + k)));
  region_bind(f, r);
  TRY(run_region(f, s->region[0]));
  for (uint32_t k = 0; k < s->nout; k++) {
    TRY(body_output(f, r, k, &x));
    if (k < nstate)
      TRY(cell_export(f, &state[k], x));
    else
      TRY(trail_add(f, a, &trail[k - nstate], x));
  }
  return ST_OK;
}

Status run_scan(Frame *f, const ProgStep *s, const ScanAttr *attr) {
  const ProgRegion *r = region_at(f, s->region[0]);
  int64_t n = attr ? attr->num_scan_inputs : 0;
  if (n < 1 || n > s->nin || r->nin != s->nin || r->nout != s->nout || s->nout < s->nin - (uint32_t)n)
    return fail(f->c, ST_INVALID, "Scan with %lld scan inputs has %u inputs and %u outputs, its body %u and %u",
                (long long)n, s->nin, s->nout, r->nin, r->nout);
  uint32_t nscan = (uint32_t)n, nstate = s->nin - nscan;
  Arena *a = arena_create(f->c);
  ScanInput *in = arena_array(a, ScanInput, nscan);
  Cell *state = arena_array(a, Cell, nstate);
  Trail *trail = arena_array(a, Trail, s->nout - nstate);
  for (uint32_t k = 0; k < nscan; k++) {
    TRY(scan_input(f, s, attr, k, nstate, &in[k]));
    if (in[k].length != in[0].length)
      return fail(f->c, ST_INVALID, "scan inputs have different lengths: %lld and %lld", (long long)in[0].length,
                  (long long)in[k].length);
  }
  for (uint32_t k = 0; k < nstate; k++) {
    if (!cell_of(f, s->in, k))
      return fail(f->c, ST_INVALID, "state input %u is missing", k);
    TRY(cell_export(f, &state[k], cell_of(f, s->in, k)));
  }
  for (int64_t i = 0; i < in[0].length; i++) {
    TRY(ctx_poll(f->c));
    TRY(scan_trip(f, s, r, a, state, nstate, in, nscan, trail, i));
  }
  region_enter(f, r);
  for (uint32_t k = 0; k < s->nout; k++) {
    Cell *out = cell_of(f, s->out, k);
    if (k < nstate) {
      if (out)
        cell_share(f, out, &state[k]);
      cell_clear(f, &state[k]);
      continue;
    }
    uint32_t j = k - nstate;
    if (out)
      TRY(trail_stack(f, &trail[j], rt_list(f->p, s->out + k), list_at(attr->scan_output_axes, j, 0),
                      list_at(attr->scan_output_directions, j, 0) == 1));
    trail_clear(f, &trail[j]);
  }
  arena_destroy(a);
  return ST_OK;
}
