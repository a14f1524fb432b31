/* movement.c - inference of operators that move elements: Transpose, Concat, Split, Expand, Tile, Pad, Slice, Compress,
 * ReverseSequence, DepthToSpace, SpaceToDepth.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"
#include "support/checked.h"

#include <string.h>

Status transpose_infer(Infer *x) {
  Ints perm = ATTR(x->n, Transpose)->perm;
  int rank;
  bool seen[MAX_RANK] = {0};
  Dim dim[MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (perm.v && perm.n != rank)
    return infer_fail(x, "perm has %lld axes, the input %d", (long long)perm.n, rank);
  for (int i = 0; i < rank; i++) {
    int64_t p = perm.v ? perm.v[i] : rank - 1 - i;
    if (p < 0 || p >= rank || seen[p])
      return infer_fail(x, "perm is no permutation of the %d axes", rank);
    seen[p] = true;
    dim[i] = in_dim(x, 0, (int)p);
  }
  set_out(x, 0, in_dtype(x, 0), rank, dim);
  return content_moved(x, 1);
}

/* --- Concat and Split --- */

/* An input of unknown rank has that of the others, and an extent on the axis that is known at run time only. */
Status concat_infer(Infer *x) {
  int rank = -1, r, axis = 0;
  bool all = true;
  Dim dim[MAX_RANK], sum = dim_const(x->c, 0);
  for (int i = 0; i < x->n->nin; i++) {
    if (!has_in(x, i))
      return infer_fail(x, "input %d is missing", i);
    if (!known_rank(x, i, &r)) {
      all = false;
      continue;
    }
    if (rank < 0) {
      if (!r)
        return infer_fail(x, "scalars cannot be concatenated");
      TRY(norm_axis(x, ATTR(x->n, Concat)->axis, r, false, &axis));
      memcpy(dim, in_type(x, i)->dim, sizeof dim);
      rank = r;
    }
    if (r != rank)
      return infer_fail(x, "input %d to concatenate has rank %d, another %d", i, r, rank);
    for (int k = 0; k < rank; k++)
      if (k != axis)
        TRY(same_dim(x, dim[k], in_dim(x, i, k),
                     arena_printf(x->arena, "tensor %d to concatenate has extent {b} on axis %d, the first {a}", i, k),
                     &dim[k]));
    sum = dim_add(x->c, sum, in_dim(x, i, axis));
  }
  if (rank < 0)
    return ST_OK;
  dim[axis] = all ? sum : run_dim(x, 0, rank, axis, "concat");
  set_out(x, 0, in_dtype(x, 0), rank, dim);
  return content_moved(x, UINT64_MAX);
}

/* Sizes of the parts; size[i] NULL: known at run time only. */
static Status part_sizes(Infer *x, Dim extent, Dim *size) {
  int64_t n, parts = x->n->nout, want = ATTR(x->n, Split)->num_outputs, a, b;
  const Dim *list;
  Dim sum = dim_const(x->c, 0);
  if (has_in(x, 1)) {
    if (count_of(x, 1, &n) && n != parts)
      return infer_fail(x, "%lld sizes for %lld outputs", (long long)n, (long long)parts);
    if (!content_of(x, 1, &list, &n))
      return ST_OK;
    for (int i = 0; i < parts; i++) {
      size[i] = list[i];
      if (list[i]->hi < 0)
        return infer_fail(x, "part %d has size %s", i, dim_text(x->c, list[i]));
      sum = dim_add(x->c, sum, list[i]);
    }
    return same_dim(x, sum, extent, "the sum of the parts and the extent of the axis", NULL);
  }
  if (want != ABSENT && want != parts)
    return infer_fail(x, "num_outputs is %lld, but there are %lld outputs", (long long)want, (long long)parts);
  Dim each = dim_ceildiv(x->c, extent, dim_const(x->c, parts));
  Dim last = dim_sub(x->c, extent, dim_mul(x->c, each, dim_const(x->c, parts - 1)));
  if (dim_is_const(extent, &a) && dim_is_const(last, &b) && b < 0)
    return infer_fail(x, "an extent of %lld does not split into %lld parts", (long long)a, (long long)parts);
  for (int i = 0; i < parts; i++)
    size[i] = i + 1 < parts ? each : last;
  return ST_OK;
}

Status split_infer(Infer *x) {
  int rank, axis;
  Dim dim[MAX_RANK], *size = arena_array(x->arena, Dim, x->n->nout);
  if (!x->n->nout || !in_rank(x, 0, &rank))
    return ST_OK;
  TRY(norm_axis(x, ATTR(x->n, Split)->axis, rank, false, &axis));
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  TRY(part_sizes(x, dim[axis], size));
  for (int i = 0; i < x->n->nout; i++) {
    dim[axis] = size[i] ? size[i] : run_dim(x, i, rank, axis, "part");
    set_out(x, i, in_dtype(x, 0), rank, dim);
  }
  return content_moved(x, 1);
}

/* --- Expand, Tile, Pad --- */

Status expand_infer(Infer *x) {
  const Dim *want;
  int64_t n;
  int rank = -1, r;
  Dim dim[MAX_RANK];
  bool known = known_rank(x, 0, &rank);
  if (content_of(x, 1, &want, &n)) {
    TRY(check_rank(x, n));
    if (known)
      TRY(broadcast_dims(x, rank, in_type(x, 0)->dim, (int)n, want, &r, dim));
    if (known)
      set_out(x, 0, in_dtype(x, 0), r, dim);
    return known ? content_moved(x, 1) : ST_OK;
  }
  if (!known || !count_of(x, 1, &n) || n > MAX_RANK)
    return ST_OK;
  r = n > rank ? (int)n : rank;
  for (int i = 0; i < r; i++) { /* an extent above 1 stays; so does one that the shape does not reach */
    int own = i - (r - rank);
    bool stays = own >= 0 && (in_dim(x, 0, own)->lo > 1 || i < r - n);
    dim[i] = stays ? in_dim(x, 0, own) : run_dim(x, 0, r, i, "expand");
  }
  set_out(x, 0, in_dtype(x, 0), r, dim);
  return ST_OK;
}

Status tile_infer(Infer *x) {
  int rank;
  const Dim *times = NULL;
  int64_t n;
  Dim dim[MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (count_of(x, 1, &n) && n != rank)
    return infer_fail(x, "%lld repeats for an input of rank %d", (long long)n, rank);
  bool known = content_of(x, 1, &times, &n);
  for (int i = 0; i < rank; i++) {
    if (known && times[i]->hi < 0)
      return infer_fail(x, "repeats[%d] is %s", i, dim_text(x->c, times[i]));
    dim[i] = known ? dim_mul(x->c, in_dim(x, 0, i), times[i]) : run_dim(x, 0, rank, i, "tile");
  }
  set_out(x, 0, in_dtype(x, 0), rank, dim);
  return content_moved(x, 1);
}

/* Which axis pads i and i + n belong to; false: known at run time only. */
static Status pad_axes(Infer *x, int rank, int64_t n, bool *known, int *axis) {
  const int64_t *axes = NULL;
  int64_t k = rank;
  bool seen[MAX_RANK] = {0};
  *known = !has_in(x, 3) || few_ints(x, 3, &axes, &k);
  if (!*known)
    return ST_OK;
  if (k != n)
    return infer_fail(x, "%lld pads for %lld axes", (long long)(2 * n), (long long)k);
  if (axes)
    TRY(mark_axes(x, axes, k, rank, seen));
  for (int64_t i = 0; i < k; i++)
    TRY(norm_axis(x, axes ? axes[i] : i, rank, false, &axis[i]));
  return ST_OK;
}

Status pad_infer(Infer *x) {
  static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
  int rank, axis[MAX_RANK];
  const Dim *pads;
  int64_t n;
  bool known, mode = false;
  Dim dim[MAX_RANK];
  Str name = ATTR(x->n, Pad)->mode;
  for (size_t i = 0; i < countof(modes); i++)
    mode |= str_is(name, modes[i]);
  if (!mode)
    return infer_fail(x, "mode %.*s is none of constant, reflect, edge, wrap", (int)name.len, name.ptr);
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (count_of(x, 1, &n) && (n % 2 || n > 2 * rank))
    return infer_fail(x, "%lld pads for an input of rank %d", (long long)n, rank);
  if (!content_of(x, 1, &pads, &n)) {
    set_out_run(x, 0, in_dtype(x, 0), rank, "pad");
    return ST_OK;
  }
  n /= 2;
  TRY(pad_axes(x, rank, n, &known, axis));
  if (!known) {
    set_out_run(x, 0, in_dtype(x, 0), rank, "pad");
    return ST_OK;
  }
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  for (int64_t i = 0; i < n; i++) {
    Dim *d = &dim[axis[i]];
    *d = dim_add(x->c, *d, dim_add(x->c, pads[i], pads[n + i]));
    if ((*d)->hi < 0)
      return infer_fail(x, "pads %s and %s on axis %d leave less than nothing", dim_text(x->c, pads[i]),
                        dim_text(x->c, pads[n + i]), axis[i]);
  }
  set_out(x, 0, in_dtype(x, 0), rank, dim);
  return content_moved(x, 1 | 4);
}

/* --- Slice --- */

/* Position v of an axis of extent d, clamped to [0, d]. ONNX recommends INT_MAX and INT_MIN for "to the end" of an axis
 * of unknown extent; there they are taken at that word. */
static Dim clamped(Infer *x, Dim v, Dim d) {
  if (v->lo >= 0)
    return v->lo >= INT32_MAX && d->kind != DIM_CONST ? d : dim_min(x->c, v, d);
  Dim zero = dim_const(x->c, 0);
  if ((v->hi <= INT32_MIN && d->kind != DIM_CONST) || (v->hi <= 0 && dim_at_least(x->c, dim_sub(x->c, zero, v), d)))
    return zero;
  if (v->hi < 0)
    return dim_max(x->c, zero, dim_add(x->c, v, d));
  return dim_min(x->c, d, dim_max(x->c, zero, dim_sub(x->c, v, dim_mul(x->c, d, sign_of(x->c, v)))));
}

/* Elements of [s, t) of an axis of extent d. */
static Dim forward_length(Infer *x, Dim s, Dim t, Dim d) {
  Dim from = clamped(x, s, d), to = clamped(x, t, d), zero = dim_const(x->c, 0);
  if (from == zero)
    return to;
  if (to == d && (s->hi < 0 || s->lo >= 0)) /* in its simplest form: x[1:] and x[:-1] are equally long */
    return s->hi < 0 ? dim_min(x->c, dim_sub(x->c, zero, s), d) : dim_max(x->c, zero, dim_sub(x->c, d, s));
  Dim n = dim_sub(x->c, to, from);
  bool same_side = (s->lo >= 0 && t->lo >= 0) || (s->hi < 0 && t->hi < 0); /* clamping keeps the order of the two */
  bool ordered = dim_at_least(x->c, to, from) || (same_side && dim_at_least(x->c, t, s));
  return ordered ? n : dim_max(x->c, zero, n);
}

/* Elements from s back to, not including, t; both constants. */
static Dim backward_count(Infer *x, int64_t s, int64_t t, Dim d) {
  Dim zero = dim_const(x->c, 0), last = dim_sub(x->c, d, dim_const(x->c, 1)), from, to;
  bool open = d->kind != DIM_CONST;
  if (s == -1 || (open && s >= INT32_MAX))
    from = last;
  else if (s >= 0)
    from = dim_min(x->c, dim_const(x->c, s), last);
  else if (dim_at_least(x->c, d, dim_const(x->c, 1)))
    from = dim_max(x->c, zero, dim_add(x->c, d, dim_const(x->c, s)));
  else
    return NULL; /* an empty axis and a long one differ in more than Max can say */
  if (t >= 0)
    to = dim_min(x->c, dim_const(x->c, t), last);
  else
    to = open && t <= INT32_MIN ? dim_const(x->c, -1)
                                : dim_max(x->c, dim_const(x->c, -1), dim_add(x->c, d, dim_const(x->c, t)));
  return dim_max(x->c, zero, dim_sub(x->c, from, to));
}

/* Elements when only the run tells the signs: of a step back, positions end at d - 1 and begin at -1. */
static Dim run_length(Infer *x, Dim s, Dim t, Dim step, Dim d) {
  Ctx *c = x->c;
  Dim zero = dim_const(c, 0), back = sign_of(c, step), top = dim_add(c, d, back);
  Dim from = dim_sub(c, s, dim_mul(c, d, sign_of(c, s))), to = dim_sub(c, t, dim_mul(c, d, sign_of(c, t)));
  from = dim_min(c, top, dim_max(c, zero, from));
  to = dim_min(c, top, dim_max(c, back, to));
  return dim_max(c, zero, dim_sub(c, zero, dim_div(c, dim_sub(c, from, to), step)));
}

/* NULL: known at run time only. */
static Dim slice_length(Infer *x, Dim s, Dim t, int64_t step, Dim d) {
  Dim n;
  int64_t a, b;
  if (dim_is(d, 0))
    return d;
  if (step > 0)
    n = forward_length(x, s, t, d);
  else if (dim_is_const(s, &a) && dim_is_const(t, &b))
    n = backward_count(x, a, b, d);
  else
    return NULL;
  if (!n || step == 1 || step == -1)
    return n;
  return dim_ceildiv(x->c, n, dim_const(x->c, step > 0 ? step : step == INT64_MIN ? INT64_MAX : -step));
}

/* Starts, ends and steps of n axes; NULL elements are not known. */
typedef struct Cuts {
  int64_t n;
  int axis[MAX_RANK];
  const Dim *start, *end, *step;
} Cuts;

/* *known false: not even which axes. */
static Status read_cuts(Infer *x, int rank, Cuts *k, bool *known) {
  const int64_t *axes = NULL;
  int64_t n[5];
  bool seen[MAX_RANK] = {0};
  *known = false;
  k->n = -1;
  for (int i = 1; i < 5; i++) {
    if (!has_in(x, i) || !count_of(x, i, &n[i]))
      continue;
    if (n[i] > rank || (k->n >= 0 && n[i] != k->n))
      return infer_fail(x, "starts, ends, axes and steps differ in length, or have more elements than the input axes");
    k->n = n[i];
  }
  if (k->n < 0 || (has_in(x, 3) && (!few_ints(x, 3, &axes, &n[3]) || n[3] != k->n)))
    return ST_OK;
  TRY(mark_axes(x, axes, axes ? k->n : 0, rank, seen));
  for (int i = 0; i < k->n; i++)
    TRY(norm_axis(x, axes ? axes[i] : i, rank, false, &k->axis[i]));
  k->start = content_of(x, 1, &k->start, &n[1]) && n[1] == k->n ? k->start : NULL;
  k->end = content_of(x, 2, &k->end, &n[2]) && n[2] == k->n ? k->end : NULL;
  k->step = content_of(x, 4, &k->step, &n[4]) && n[4] == k->n ? k->step : NULL;
  *known = true;
  return ST_OK;
}

Status slice_infer(Infer *x) {
  int rank;
  bool known;
  Cuts k;
  Dim dim[MAX_RANK];
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  TRY(read_cuts(x, rank, &k, &known));
  if (!known) {
    set_out_run(x, 0, in_dtype(x, 0), rank, "slice");
    return ST_OK;
  }
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  for (int i = 0; i < k.n; i++) {
    int a = k.axis[i];
    int64_t step = 1;
    bool stepped = !has_in(x, 4) || (k.step && dim_is_const(k.step[i], &step)), cut = k.start && k.end;
    if (!step)
      return infer_fail(x, "the step of axis %d is 0", a);
    Dim n = stepped && cut ? slice_length(x, k.start[i], k.end[i], step, dim[a]) : NULL;
    if (!n && cut && (stepped || k.step))
      n = run_length(x, k.start[i], k.end[i], stepped ? dim_const(x->c, step) : k.step[i], dim[a]);
    dim[a] = n ? n : run_dim(x, 0, rank, a, "slice");
  }
  set_out(x, 0, in_dtype(x, 0), rank, dim);
  return content_moved(x, 1);
}

/* ByAxis: the base, with the values at the axes that input 0 names. */
Status by_axis_infer(Infer *x) {
  set_out_like(x, 0, 2);
  return ST_OK;
}

Status compress_infer(Infer *x) {
  int64_t axis_attr = ATTR(x->n, Compress)->axis, picked = 0;
  const Tensor *on;
  int rank, axis = 0;
  Dim dim[MAX_RANK], size = NULL;
  bool flat = axis_attr == ABSENT;
  if (in_type(x, 1)->rank >= 0 && in_type(x, 1)->rank != 1)
    return infer_fail(x, "the condition must have rank 1");
  if (in_const(x, 1, &on)) {
    for (int64_t i = 0, n = on->dtype == DT_bool ? tensor_count(on) : 0; i < n; i++)
      picked += ((const uint8_t *)on->data)[i] != 0;
    size = dim_const(x->c, picked);
  }
  if (flat)
    rank = 1;
  else if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (!flat) {
    TRY(norm_axis(x, axis_attr, rank, false, &axis));
    memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  }
  dim[axis] = size ? size : run_dim(x, 0, rank, axis, "compress");
  set_out(x, 0, in_dtype(x, 0), rank, dim);
  return content_moved(x, 1);
}

Status reverse_sequence_infer(Infer *x) {
  const ReverseSequenceAttr *a = ATTR(x->n, ReverseSequence);
  int rank;
  if (a->time_axis < 0 || a->time_axis > 1 || a->batch_axis != 1 - a->time_axis)
    return infer_fail(x, "time_axis and batch_axis must be 0 and 1, or 1 and 0");
  if (known_rank(x, 0, &rank) && rank < 2)
    return infer_fail(x, "the rank must be 2 or more");
  if (in_type(x, 0)->rank >= 2 && in_type(x, 1)->rank == 1)
    TRY(same_dim(x, in_dim(x, 0, (int)a->batch_axis), in_dim(x, 1, 0), "{b} sequence lengths for a batch of {a}",
                 NULL));
  set_out_like(x, 0, 0);
  return content_moved(x, 1);
}

/* --- blocks --- */

/* d / by, which must come out even. */
static Status divide(Infer *x, Dim d, int64_t by, Dim *q) {
  int64_t v;
  if (dim_is_const(d, &v) && v % by)
    return infer_fail(x, "an extent of %lld does not divide by %lld", (long long)v, (long long)by);
  *q = dim_div(x->c, d, dim_const(x->c, by));
  return ST_OK;
}

static Status blocks_infer(Infer *x, bool to_space) {
  const DepthToSpaceAttr *a = ATTR(x->n, DepthToSpace);
  int rank;
  int64_t b = a->blocksize, square;
  Dim dim[4];
  if (!str_is(a->mode, "DCR") && !str_is(a->mode, "CRD"))
    return infer_fail(x, "mode must be DCR or CRD");
  if (b < 1 || !mul_ok(b, b, &square))
    return infer_fail(x, "blocksize %lld is not a block", (long long)b);
  if (!in_rank(x, 0, &rank))
    return ST_OK;
  if (rank != 4)
    return infer_fail(x, "the input must have rank 4");
  memcpy(dim, in_type(x, 0)->dim, sizeof dim);
  Dim side = dim_const(x->c, b);
  if (to_space)
    TRY(divide(x, dim[1], square, &dim[1]));
  else
    dim[1] = dim_mul(x->c, dim[1], dim_const(x->c, square));
  for (int i = 2; i < 4; i++)
    if (to_space)
      dim[i] = dim_mul(x->c, dim[i], side);
    else
      TRY(divide(x, dim[i], b, &dim[i]));
  set_out(x, 0, in_dtype(x, 0), 4, dim);
  return ST_OK;
}

Status depth_to_space_infer(Infer *x) { return blocks_infer(x, true); }

Status space_to_depth_infer(Infer *x) { return blocks_infer(x, false); }
