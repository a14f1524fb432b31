/* resize.c - evaluation of Resize and GridSample.
 *
 * Resize is separable: each axis has a list of taps per output position, and the axes are done one after the other.
 * Nearest only copies, so it takes every dtype.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/resize.h"

#include "ops/eval/nn.h"
#include "support/checked.h"

#include <math.h>
#include <string.h>

/* --- names --- */

typedef enum { NEAREST, LINEAR, CUBIC } Mode;
typedef enum { HALF_PIXEL, HALF_PIXEL_SYMMETRIC, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, TF_CROP } Coord;
typedef enum { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL } Rounding;

static const char *const mode_names[] = {"nearest", "linear", "cubic", NULL};
static const char *const coord_names[] = {
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
    NULL};
static const char *const rounding_names[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
static const char *const policy_names[] = {"stretch", "not_larger", "not_smaller", NULL};
static const char *const padding_names[] = {"zeros", "border", "reflection", NULL};

static Status pick(Ctx *c, const char *attr, Str s, const char *const *name, int *which) {
  for (int i = 0; name[i]; i++)
    if (str_is(s, name[i])) {
      *which = i;
      return ST_OK;
    }
  return fail(c, ST_INVALID, "%s '%.*s' is not known", attr, (int)(s.len < 60 ? s.len : 60), s.len ? s.ptr : "");
}

/* --- sizes, shared with inference --- */

bool resize_extent(int64_t in, float scale, int64_t *out) {
  double s = (double)scale, fixed = s * 64;
  if (!(s > 0) || isinf(s))
    return false;
  if (fixed == floor(fixed) && fixed < 0x1p40) { /* a multiple of 1/64: exact */
    int64_t p;
    if (!mul_ok(in, (int64_t)fixed, &p))
      return false;
    *out = p / 64;
    return true;
  }
  float f = floorf((float)in * scale);
  if (!(f < 0x1p62f))
    return false;
  *out = (int64_t)f;
  return true;
}

Status resize_axes(Ctx *c, Ints axes, int rank, int64_t n, int *axis) {
  bool seen[MAX_RANK] = {false};
  int64_t want = axes.v ? axes.n : rank;
  if (n >= 0 && n != want)
    return fail(c, ST_INVALID, "scales or sizes has %lld elements where %lld are needed", (long long)n,
                (long long)want);
  if (want > rank)
    return fail(c, ST_INVALID, "%lld axes are more than the rank %d", (long long)want, rank);
  for (int i = 0; i < want; i++) {
    int64_t a = axes.v ? axes.v[i] : i;
    a = a < 0 ? a + rank : a;
    if (a < 0 || a >= rank || seen[a])
      return fail(c, ST_INVALID, "axes[%d] is out of range or repeated", i);
    seen[a] = true;
    axis[i] = (int)a;
  }
  return ST_OK;
}

/* in * size / have, a half up. */
static bool in_proportion(int64_t in, int64_t size, int64_t have, int64_t *v) {
  if (have < 1 || !mul_ok(in, size, v) || !mul_ok(*v, 2, v) || !add_ok(*v, have, v) || have > INT64_MAX / 2)
    return false;
  *v /= 2 * have;
  return true;
}

Status resize_from_sizes(Ctx *c, Str policy, int n, const int *axis, const int64_t *sizes, const int64_t *in,
                         int64_t *out, double *scale) {
  int which = 0;
  double best = 0;
  TRY(pick(c, "keep_aspect_ratio_policy", policy, policy_names, &which));
  for (int i = 0; i < n; i++) {
    int64_t have = in[axis[i]];
    if (sizes[i] < 0 || sizes[i] >= (int64_t)1 << 60)
      return fail(c, ST_INVALID, "sizes[%d] is %lld", i, (long long)sizes[i]);
    if (!have && sizes[i])
      return fail(c, ST_INVALID, "axis %d is empty and cannot be resized to %lld", axis[i], (long long)sizes[i]);
    double s = have ? (double)sizes[i] / (double)have : 1;
    best = !i || (which == 1 ? s < best : s > best) ? s : best;
    out[axis[i]] = sizes[i], scale[axis[i]] = s;
  }
  for (int i = 0; which && i < n; i++) {
    int64_t best_extent = 0, v;
    for (int j = 0; j < n; j++) {
      if (!in_proportion(in[axis[i]], sizes[j], in[axis[j]], &v))
        return fail(c, ST_INVALID, "the resized extent on axis %d is too large, or one of an empty axis", axis[i]);
      best_extent = !j || (which == 1 ? v < best_extent : v > best_extent) ? v : best_extent;
    }
    out[axis[i]] = best_extent, scale[axis[i]] = best;
  }
  return ST_OK;
}

/* --- one axis --- */

typedef struct AxisPlan {
  int64_t in, out;
  double scale, length; /* length: the output extent, a fraction when it comes from a scale */
  double roi0, roi1;
  bool identity;
  int64_t taps;   /* per output position; 1 for nearest */
  int64_t *index; /* [out][taps], inside the input */
  double *weight; /* [out][taps]; NULL for nearest */
  bool *outside;  /* [out]: takes the extrapolation value; NULL: none does */
} AxisPlan;

typedef struct Plan {
  Eval *e;
  const ResizeAttr *a;
  int mode, coord, rounding, rank;
  AxisPlan axis[MAX_RANK];
} Plan;

static double source(const Plan *p, const AxisPlan *x, int64_t o) {
  double y = (double)o, in = (double)x->in;
  switch (p->coord) {
  case ALIGN_CORNERS: return x->length == 1 ? 0 : y * (in - 1) / (x->length - 1);
  case ASYMMETRIC: return y / x->scale;
  case TF_CROP:
    return x->length == 1 ? 0.5 * (x->roi0 + x->roi1) * (in - 1)
                          : x->roi0 * (in - 1) + y * (x->roi1 - x->roi0) * (in - 1) / (x->length - 1);
  case PYTORCH_HALF_PIXEL: return x->length == 1 ? 0 : (y + 0.5) / x->scale - 0.5;
  case HALF_PIXEL_SYMMETRIC: return in / 2 * (1 - (double)x->out / x->length) + (y + 0.5) / x->scale - 0.5;
  default: return (y + 0.5) / x->scale - 0.5;
  }
}

static int64_t nearest(int rounding, double x) {
  double f = floor(x), r = x - f;
  bool up = rounding == PREFER_FLOOR ? r > 0.5 : rounding == PREFER_CEIL ? r >= 0.5 : rounding == CEIL && r > 0;
  return (int64_t)f + up;
}

static double cubic_weight(double x, double a) {
  x = fabs(x);
  return x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static int64_t clamp_index(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* Taps of one output position at source coordinate x, the kernel stretched by 1 / st. */
static void fill_taps(const Plan *p, AxisPlan *ax, int64_t o, double x, double st) {
  int64_t x0 = (int64_t)floor(x), start = 1 - ax->taps / 2;
  double sum = 0, *w = ax->weight + o * ax->taps;
  for (int64_t i = 0; i < ax->taps; i++) {
    int64_t at = x0 + start + i;
    double t = ((double)(start + i) - (x - floor(x))) * st;
    w[i] = p->mode == CUBIC ? cubic_weight(t, (double)p->a->cubic_coeff_a) : fmax(1 - fabs(t), 0);
    if (p->a->exclude_outside && (at < 0 || at >= ax->in))
      w[i] = 0;
    sum += w[i];
    ax->index[o * ax->taps + i] = clamp_index(at, ax->in);
  }
  for (int64_t i = 0; sum != 0 && i < ax->taps; i++)
    w[i] /= sum;
}

static Status plan_axis(Plan *p, AxisPlan *x) {
  Eval *e = p->e;
  double st = p->a->antialias && p->mode != NEAREST && x->scale < 1 ? x->scale : 1;
  x->identity =
      fabs(x->scale - 1) <= 1e-9 && x->in == x->out && (p->coord != TF_CROP || (x->roi0 == 0 && x->roi1 == 1));
  if (x->identity)
    return ST_OK;
  double reach = floor(-(p->mode == CUBIC ? 2 : 1) / st) + 1; /* first tap, relative to the source position */
  if (!(reach > -0x1p40))
    return eval_fail(e, "scale %g is too small", x->scale);
  x->taps = p->mode == NEAREST ? 1 : 2 - 2 * (int64_t)reach;
  int64_t n;
  if (!mul_ok(x->taps, x->out, &n))
    return eval_fail(e, "the output is too large");
  x->index = arena_array(e->scratch, int64_t, (size_t)n);
  if (p->mode != NEAREST)
    TRY(nn_buffer(e, n, &x->weight));
  if (p->coord == TF_CROP)
    x->outside = arena_array(e->scratch, bool, (size_t)x->out);
  for (int64_t o = 0; o < x->out; o++) {
    double s = source(p, x, o);
    if (x->outside)
      x->outside[o] = !(s >= 0 && s <= (double)(x->in - 1));
    s = s != s ? 0 : fmin(fmax(s, -0x1p50), 0x1p50);
    if (p->mode == NEAREST)
      x->index[o] = clamp_index(nearest(p->rounding, s), x->in);
    else
      fill_taps(p, x, o, s, st);
  }
  return ST_OK;
}

/* --- running --- */

static bool is_outside(const Plan *p, const int64_t *idx) {
  for (int i = 0; i < p->rank; i++)
    if (p->axis[i].outside && p->axis[i].outside[idx[i]])
      return true;
  return false;
}

/* Complex numbers are pairs of numbers of this type. */
static DType part_type(DType t) { return t == DT_c64 ? DT_f32 : t == DT_c128 ? DT_f64 : t; }
static int parts_of(DType t) { return dtype_kind(t) == DK_COMPLEX ? 2 : 1; }

/* Element k: the number v, imaginary part 0. */
static void put_number(Tensor *out, int64_t k, double v) {
  DType t = part_type(out->dtype);
  int parts = parts_of(out->dtype);
  elem_set_f64(t, out->data, k * parts, v);
  if (parts == 2)
    elem_set_f64(t, out->data, k * parts + 1, 0);
}

/* nn_load and nn_store, with two numbers for each complex one. */
static Status load_parts(Eval *e, const Tensor *x, const double **v) {
  Tensor pairs = *x;
  if (parts_of(x->dtype) == 1)
    return nn_load(e, x, v);
  pairs.dtype = part_type(x->dtype), pairs.rank = 1, pairs.dim[0] = 2 * tensor_count(x);
  return nn_load(e, arena_copy(e->scratch, &pairs, sizeof pairs), v);
}

static void store_parts(Tensor *out, int64_t at, const double *v, int64_t n) {
  Tensor pairs = *out;
  pairs.dtype = part_type(out->dtype);
  nn_store(&pairs, at, v, n);
}

static Status run_nearest(Plan *p, const Tensor *x, Tensor *out) {
  int64_t idx[MAX_RANK] = {0}, stride[MAX_RANK], n = tensor_count(out);
  row_major_strides(x->rank, x->dim, stride);
  for (int64_t k = 0; k < n; k++, next_index(p->rank, out->dim, idx)) {
    int64_t at = 0;
    if (k % 4096 == 0)
      TRY(ctx_poll(p->e->c));
    for (int i = 0; i < p->rank; i++)
      at += (p->axis[i].identity ? idx[i] : p->axis[i].index[idx[i]]) * stride[i];
    bool outside = is_outside(p, idx);
    if (outside && out->dtype == DT_str)
      return eval_fail(p->e, "the region reaches beyond X, where extrapolation_value, a number, is no string");
    if (outside)
      put_number(out, k, (double)p->a->extrapolation_value);
    else
      nn_copy(p->e, out, k, x, at, 1);
  }
  return ST_OK;
}

/* Resizes one axis of src [outer][in][inner] into dst [outer][out][inner]. */
static Status run_axis(Plan *p, const AxisPlan *x, int64_t outer, int64_t inner, const double *src, double *dst) {
  for (int64_t a = 0; a < outer; a++)
    for (int64_t o = 0; o < x->out; o++) {
      double *row = dst + (a * x->out + o) * inner;
      TRY(ctx_poll(p->e->c));
      for (int64_t i = 0; i < inner; i++)
        row[i] = 0;
      for (int64_t k = 0; k < x->taps; k++) {
        double w = x->weight[o * x->taps + k];
        const double *from = src + (a * x->in + x->index[o * x->taps + k]) * inner;
        if (w != 0)
          for (int64_t i = 0; i < inner; i++)
            row[i] += w * from[i];
      }
    }
  return ST_OK;
}

static Status run_smooth(Plan *p, const Tensor *x, Tensor *out) {
  const double *v;
  int parts = parts_of(x->dtype);
  int64_t dim[MAX_RANK], idx[MAX_RANK] = {0}, n = tensor_count(out);
  TRY(load_parts(p->e, x, &v));
  memcpy(dim, x->dim, sizeof dim);
  for (int i = 0; i < p->rank; i++) {
    double *next;
    int64_t outer = 1, inner = parts, total;
    if (p->axis[i].identity)
      continue;
    for (int k = 0; k < p->rank; k++)
      if (k != i)
        *(k < i ? &outer : &inner) *= dim[k];
    dim[i] = p->axis[i].out;
    if (!extent_ok(dim, p->rank, &total) || !mul_ok(total, parts, &total))
      return eval_fail(p->e, "the output is too large");
    TRY(nn_buffer(p->e, total, &next));
    TRY(run_axis(p, &p->axis[i], outer, inner, v, next));
    v = next;
  }
  if (p->coord == TF_CROP) {
    double *fixed;
    TRY(nn_buffer(p->e, n * parts, &fixed));
    for (int64_t k = 0; k < n; k++, next_index(p->rank, dim, idx))
      for (int i = 0; i < parts; i++)
        fixed[k * parts + i] = !is_outside(p, idx) ? v[k * parts + i] : i ? 0 : (double)p->a->extrapolation_value;
    v = fixed;
  }
  store_parts(out, 0, v, n * parts);
  return ST_OK;
}

static bool given(Eval *e, int i) { return eval_has(e, i) && tensor_count(e->in[i]) > 0; }

/* Fills extents, scales and region of every axis from inputs 1 to 3. */
static Status read_plan(Plan *p, int64_t *dim) {
  Eval *e = p->e;
  const Tensor *x = e->in[0];
  int axis[MAX_RANK], rank = x->rank;
  int64_t n = -1;
  const double *scales = NULL, *roi = NULL;
  const int64_t *sizes = NULL;
  double scale[MAX_RANK];
  if (e->op == OP_Resize && given(e, 2) == given(e, 3) && rank)
    return eval_fail(e, "one of scales and sizes must be given, not %s", given(e, 2) ? "both" : "none");
  if (given(e, 2)) {
    TRY(nn_load(e, e->in[2], &scales));
    n = tensor_count(e->in[2]);
  }
  if (given(e, 3))
    TRY(eval_ints(e, 3, &sizes, &n));
  TRY(resize_axes(e->c, p->a->axes, rank, n, axis));
  if (p->coord == TF_CROP) {
    if (!given(e, 1) || tensor_count(e->in[1]) != 2 * n)
      return eval_fail(e, "tf_crop_and_resize needs a roi of %lld elements", (long long)(n < 0 ? 0 : 2 * n));
    TRY(nn_load(e, e->in[1], &roi));
  }
  for (int i = 0; i < rank; i++) {
    dim[i] = x->dim[i], scale[i] = 1;
    p->axis[i] = (AxisPlan){.in = x->dim[i], .scale = 1, .roi1 = 1};
  }
  if (sizes)
    TRY(resize_from_sizes(e->c, p->a->keep_aspect_ratio_policy, (int)n, axis, sizes, x->dim, dim, scale));
  for (int i = 0; i < n; i++) {
    if (scales && !resize_extent(x->dim[axis[i]], (float)scales[i], &dim[axis[i]]))
      return eval_fail(e, "scales[%d] is %g; it must be above 0, and the output not too large", i, scales[i]);
    if (scales)
      scale[axis[i]] = scales[i];
    if (roi)
      p->axis[axis[i]].roi0 = roi[i], p->axis[axis[i]].roi1 = roi[n + i];
  }
  bool stretch = sizes && !scales && str_is(p->a->keep_aspect_ratio_policy, "stretch");
  for (int i = 0; i < rank; i++) {
    AxisPlan *ax = &p->axis[i];
    ax->out = dim[i], ax->scale = scale[i];
    ax->length = stretch ? (double)ax->out : scale[i] * (double)ax->in;
  }
  return ST_OK;
}

/* ScaledSizes: the extents of input 0 by the scales of input 1. */
Status scaled_sizes_eval(Eval *e) {
  const int64_t *in;
  const double *scale;
  int64_t n;
  Tensor *y;
  TRY(eval_ints(e, 0, &in, &n));
  if (tensor_count(e->in[1]) != n)
    return eval_fail(e, "scales or sizes has %lld elements where %lld are needed", (long long)tensor_count(e->in[1]),
                     (long long)n);
  TRY(nn_load(e, e->in[1], &scale));
  TRY(eval_out(e, 0, DT_i64, 1, &n, &y));
  for (int64_t i = 0; i < n; i++)
    if (!resize_extent(in[i], (float)scale[i], (int64_t *)y->data + i))
      return eval_fail(e, "scales[%lld] is %g; it must be above 0, and the output not too large", (long long)i,
                       scale[i]);
  return ST_OK;
}

/* Resize, ONNX 19; ResizeTo: the same with scales and the sizes that they make. */
Status resize_eval(Eval *e) {
  const ResizeAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Plan p = {.e = e, .a = a, .rank = x->rank};
  int64_t dim[MAX_RANK];
  Tensor *out;
  TRY(pick(e->c, "mode", a->mode, mode_names, &p.mode));
  TRY(pick(e->c, "coordinate_transformation_mode", a->coordinate_transformation_mode, coord_names, &p.coord));
  TRY(pick(e->c, "nearest_mode", a->nearest_mode, rounding_names, &p.rounding));
  if (a->antialias && p.mode == NEAREST)
    return eval_fail(e, "antialias goes with linear and cubic only");
  if (x->dtype == DT_str && p.mode != NEAREST)
    return eval_fail(e, "strings have no values in between");
  TRY(read_plan(&p, dim));
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &out));
  if (!tensor_count(out))
    return ST_OK;
  for (int i = 0; i < p.rank; i++)
    TRY(plan_axis(&p, &p.axis[i]));
  return p.mode == NEAREST ? run_nearest(&p, x, out) : run_smooth(&p, x, out);
}

/* --- GridSample --- */

typedef enum { ZEROS, BORDER, REFLECTION } Padding;

typedef struct Grid {
  Eval *e;
  int n, mode, padding; /* n: spatial axes */
  bool align, wide;     /* wide: the grid is f64, coordinates are not rounded to f32 */
  const int64_t *in;
  int taps;
  int64_t index[MAX_RANK][4]; /* of the position at hand; -1: outside */
  double weight[MAX_RANK][4];
} Grid;

/* x mirrored at the borders lo and hi until it is between them. */
static double reflect(double x, double lo, double hi) {
  double range = hi - lo;
  if (!(range > 0))
    return lo;
  double d = fmod(x < lo ? lo - x : x - lo, 2 * range);
  return d <= range ? lo + d : hi - (d - range);
}

/* Position in pixels of normalised coordinate g on an axis of n, in the grid's precision. NaN counts as -1. */
static double denormalise(const Grid *k, double g, int64_t n) {
  if (g != g)
    g = -1;
  if (k->wide)
    return k->align ? (g + 1) / 2 * (double)(n - 1) : ((g + 1) * (double)n - 1) / 2;
  float f = (float)g;
  return (double)(k->align ? (f + 1) / 2 * (float)(n - 1) : ((f + 1) * (float)n - 1) / 2);
}

static int64_t pixel(const Grid *k, int64_t i, int64_t n) {
  if (i >= 0 && i < n)
    return i;
  if (k->padding == ZEROS)
    return -1;
  if (k->padding == BORDER)
    return clamp_index(i, n);
  return clamp_index((int64_t)reflect((double)i, k->align ? 0 : -0.5, k->align ? (double)n - 1 : (double)n - 0.5), n);
}

static void sample_axis(Grid *k, int axis, double g) {
  int64_t n = k->in[axis];
  double lo = k->align ? 0 : -0.5, hi = k->align ? (double)n - 1 : (double)n - 0.5, x = denormalise(k, g, n);
  if (k->mode == NEAREST)
    x = rint(x);
  if (x < lo || x > hi) {
    x = k->padding == BORDER ? fmin(fmax(x, 0), (double)(n - 1)) : k->padding == REFLECTION ? reflect(x, lo, hi) : x;
    x = k->wide ? x : (double)(float)x;
  }
  x = fmin(fmax(x, -0x1p40), 0x1p40);
  double f = floor(x), r = x - f;
  int64_t first = (int64_t)f - (k->mode == CUBIC);
  for (int t = 0; t < k->taps; t++) {
    double d = (double)(t - (k->mode == CUBIC)) - r;
    k->index[axis][t] = pixel(k, k->mode == NEAREST ? (int64_t)x : first + t, n);
    k->weight[axis][t] = k->mode == NEAREST ? 1 : k->mode == LINEAR ? 1 - fabs(d) : cubic_weight(d, -0.75);
  }
}

/* The weighted sum of the taps in one channel, whose elements are `step` apart. */
static double gather(const Grid *k, const double *x, int step) {
  int64_t count[MAX_RANK], t[MAX_RANK] = {0};
  double sum = 0;
  for (int i = 0; i < k->n; i++)
    count[i] = k->taps;
  do {
    int64_t at = 0;
    double w = 1;
    for (int i = 0; i < k->n && at >= 0; i++) {
      int64_t p = k->index[i][t[i]];
      w *= k->weight[i][t[i]];
      at = p < 0 ? -1 : at * k->in[i] + p;
    }
    if (at >= 0 && w != 0)
      sum += w * x[at * step];
  } while (next_index(k->n, count, t));
  return sum;
}

/* The nearest string, outside of X the empty one. */
static void pick_string(const Grid *k, Tensor *out, int64_t to, const Tensor *x, int64_t from) {
  int64_t at = 0;
  for (int i = 0; i < k->n && at >= 0; i++)
    at = k->index[i][0] < 0 ? -1 : at * k->in[i] + k->index[i][0];
  if (at < 0)
    ((Str *)out->data)[to] = str_of("");
  else
    nn_copy(k->e, out, to, x, from + at, 1);
}

/* Every channel at one position, `p` of `points`. */
static void sample_channels(const Grid *k, Tensor *out, const Tensor *x, const double *v, int64_t plane, int64_t size,
                            int64_t p, int64_t points) {
  int parts = parts_of(x->dtype);
  for (int64_t c = plane; c < plane + x->dim[1]; c++) {
    if (!v) {
      pick_string(k, out, c * points + p, x, c * size);
      continue;
    }
    double s[2];
    for (int i = 0; i < parts; i++)
      s[i] = gather(k, v + c * size * parts + i, parts);
    store_parts(out, (c * points + p) * parts, s, parts);
  }
}

/* GridSample, ONNX 22. */
Status grid_sample_eval(Eval *e) {
  const GridSampleAttr *a = e->attr;
  const Tensor *x = e->in[0], *grid = e->in[1];
  Grid k = {.e = e, .n = x->rank - 2, .align = a->align_corners != 0, .wide = grid->dtype == DT_f64, .in = x->dim + 2};
  int64_t dim[MAX_RANK], points = 1, size = 1;
  const double *v = NULL, *g;
  Tensor *out;
  TRY(pick(e->c, "mode", a->mode, mode_names, &k.mode));
  if (x->dtype == DT_str && k.mode != NEAREST)
    return eval_fail(e, "strings have no values in between");
  TRY(pick(e->c, "padding_mode", a->padding_mode, padding_names, &k.padding));
  if (x->rank < 3)
    return eval_fail(e, "X must have a batch, a channel and at least one spatial axis");
  TRY(nn_expect_rank(e, 1, x->rank, "grid"));
  TRY(nn_expect_dim(e, 1, 0, x->dim[0], "the batch size of grid"));
  TRY(nn_expect_dim(e, 1, x->rank - 1, k.n, "the last extent of grid (spatial axes of X)"));
  memcpy(dim, x->dim, sizeof dim);
  memcpy(dim + 2, grid->dim + 1, (size_t)k.n * sizeof *dim);
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &out));
  if (!tensor_count(out))
    return ST_OK;
  for (int i = 0; i < k.n; i++) {
    points *= dim[i + 2], size *= k.in[i];
    if (!k.in[i])
      return eval_fail(e, "X has no elements to sample");
  }
  if (x->dtype != DT_str)
    TRY(load_parts(e, x, &v));
  TRY(nn_load(e, grid, &g));
  k.taps = k.mode == NEAREST ? 1 : k.mode == LINEAR ? 2 : 4;
  for (int64_t b = 0; b < dim[0]; b++)
    for (int64_t p = 0; p < points; p++) {
      TRY(ctx_poll(e->c));
      for (int i = 0; i < k.n; i++) /* the grid names the last axis first */
        sample_axis(&k, i, g[(b * points + p) * k.n + (k.n - 1 - i)]);
      sample_channels(&k, out, x, v, b * dim[1], size, p, points);
    }
  return ST_OK;
}
