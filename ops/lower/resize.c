/* resize.c - lowering of Resize (19) and GridSample (22): where an output position lies in the input, then taps around it.
 *
 * The axes that do not stay as they are: one tap each for nearest, else a weighted sum over the product of their taps.
 * Coordinates are computed in f64 as the reference does, so that both round to the same pixel; those of outer axes move out
 * of the inner loops by themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>
#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) {
  return i < n->nin && n->in[i] && !(n->in[i]->type.rank == 1 && dim_is(n->in[i]->type.dim[0], 0));
}
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }
static KExpr *real(Lower *x, double v) { return ke_float(x->k, DT_f64, v); }
static KExpr *real_dim(Lower *x, Dim d) { return ke_cast(x->k, DT_f64, ke_dim(x->k, d)); }
static KExpr *once(Lower *x, const char *name, KExpr *e) { return lower_once(x, name, e); }

static KExpr *clamped(Lower *x, KExpr *i, Dim extent) {
  return k_bin(x, KOP_max, num(x, 0), k_bin(x, KOP_min, i, k_sub(x, ke_dim(x->k, extent), num(x, 1))));
}

/* Between 0 and what an index holds; NaN counts as 0. */
static KExpr *bounded(Lower *x, KExpr *s) {
  KExpr *far = k_num(x, s, 0x1p40), *near = k_num(x, s, -0x1p40);
  KExpr *v = k_bin(x, KOP_max, near, k_bin(x, KOP_min, s, far));
  return ke_select(x->k, k_un(x, KOP_isnan, s), k_num(x, s, 0), v);
}

/* Keys' cubic of distance d: up to 1, and from there to 2. */
static KExpr *cubic_near(Lower *x, KExpr *d, double a) {
  KExpr *near = k_sub(x, k_mul(x, k_num(x, d, a + 2), d), k_num(x, d, a + 3));
  return k_add(x, k_mul(x, k_mul(x, near, d), d), k_num(x, d, 1));
}

static KExpr *cubic_far(Lower *x, KExpr *d, double a) {
  KExpr *far = k_sub(x, k_mul(x, k_num(x, d, a), d), k_num(x, d, 5 * a));
  far = k_add(x, k_mul(x, far, d), k_num(x, d, 8 * a));
  return k_sub(x, k_mul(x, far, d), k_num(x, d, 4 * a));
}

static KExpr *cubic(Lower *x, KExpr *v, double a) {
  KExpr *d = once(x, "d", k_un(x, KOP_abs, v)), *none = k_num(x, v, 0);
  KExpr *far = ke_select(x->k, k_bin(x, KOP_lt, d, k_num(x, v, 2)), cubic_far(x, d, a), none);
  return ke_select(x->k, k_bin(x, KOP_le, d, k_num(x, v, 1)), cubic_near(x, d, a), far);
}

/* The same for tap t of four: those in the middle are at most 1 away, the others at least. */
static KExpr *cubic_tap(Lower *x, int64_t t, KExpr *v, double a) {
  KExpr *d = once(x, "d", k_un(x, KOP_abs, v));
  if (t == 1 || t == 2)
    return cubic_near(x, d, a);
  KExpr *counts = k_bin(x, KOP_and, k_bin(x, KOP_lt, k_num(x, v, 1), d), k_bin(x, KOP_lt, d, k_num(x, v, 2)));
  return ke_select(x->k, counts, cubic_far(x, d, a), k_num(x, v, 0));
}

/* --- Resize: one axis --- */

typedef struct Axis {
  int axis;
  Dim in, out, taps; /* taps: per output position */
  KExpr *scale;      /* out per in, f64 */
  bool stretch;      /* the scale is that of the extents */
  bool keep;         /* it is one for all axes, from the sizes that were asked for */
  KExpr *at;         /* position in the input, f64 */
  KExpr *base;       /* floor of it, i64 */
  KExpr *frac;       /* what is above base, f64 */
  KExpr *grow;       /* of the kernel: min(scale, 1) with antialias; NULL: 1 */
  KExpr *norm;       /* 1 / the sum of the weights; NULL: 1 */
  KExpr *tap;        /* the tap at hand, from the first */
} Axis;

typedef struct Resizing {
  const Node *n;
  const ResizeAttr *a;
  bool nearest, cubic;
  int naxes;
  Axis axis[MAX_RANK];
} Resizing;

static bool known_name(Str s, const char *const *names) {
  for (; *names; names++)
    if (str_is(s, *names))
      return true;
  return false;
}

/* The scale of entry i, when it is a constant. */
static bool const_scale(const Node *n, int64_t i, double *v) {
  if (!has(n, 2) || !n->in[2]->konst || i >= tensor_count(n->in[2]->konst))
    return false;
  *v = const_elem(n->in[2]->konst, i);
  return true;
}

/* The axes that change; of what must be read for them, nothing is yet. */
static void find_axes(Resizing *r) {
  const Type *in = in_of(r->n, 0), *out = &r->n->out[0]->type;
  int listed = r->a->axes.v ? (int)r->a->axes.n : in->rank;
  bool crop = str_is(r->a->coordinate_transformation_mode, "tf_crop_and_resize"), by_scale = has(r->n, 2);
  bool keep = !by_scale && !str_is(r->a->keep_aspect_ratio_policy, "stretch");
  for (int i = 0; i < listed; i++) {
    int a = (int)(r->a->axes.v ? r->a->axes.v[i] : i);
    double s = 1;
    a = a < 0 ? a + in->rank : a;
    bool one = !by_scale || (const_scale(r->n, i, &s) && fabs(s - 1) <= 1e-9);
    if (one && in->dim[a] == out->dim[a] && !crop && !keep)
      continue;
    r->axis[r->naxes++] =
        (Axis){.axis = a, .in = in->dim[a], .out = out->dim[a], .stretch = !by_scale && !keep, .keep = keep};
  }
}

static bool resize_of(const Node *n, Resizing *r) {
  *r = (Resizing){.n = n, .a = ATTR(n, Resize)};
  r->nearest = str_is(r->a->mode, "nearest"), r->cubic = str_is(r->a->mode, "cubic");
  if (r->a->axes.v && r->a->axes.n > MAX_RANK)
    return false;
  find_axes(r);
  return true;
}

/* Can the sizes be told beforehand? They say what the scale is. */
static bool sizes_told(Ctx *c, const Node *n) {
  const Dim *size;
  int64_t k, listed = ATTR(n, Resize)->axes.v ? ATTR(n, Resize)->axes.n : in_of(n, 0)->rank;
  return value_content(c, n->in[3], &size, &k) && k == listed;
}

static bool resize_can(Ctx *c, const Node *n, const char **why) {
  static const char *const modes[] = {"nearest", "linear", "cubic", NULL}, *const coords[] = {"half_pixel",
                                                                                              "half_pixel_symmetric",
                                                                                              "pytorch_half_pixel",
                                                                                              "align_corners",
                                                                                              "asymmetric",
                                                                                              "tf_crop_and_resize",
                                                                                              NULL},
                           *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL},
                           *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
  const ResizeAttr *a = ATTR(n, Resize);
  Resizing r;
  *why = "sizes that no step tells before";
  bool crop = str_is(a->coordinate_transformation_mode, "tf_crop_and_resize"),
       stretch = str_is(a->keep_aspect_ratio_policy, "stretch");
  if ((n->op == OP_Resize && has(n, 2) == has(n, 3)) || !known_name(a->mode, modes) ||
      !known_name(a->coordinate_transformation_mode, coords) || !known_name(a->nearest_mode, roundings) ||
      !known_name(a->keep_aspect_ratio_policy, policies) || (crop && !has(n, 1)))
    return false;
  if ((!has(n, 2) && !stretch && !sizes_told(c, n)) || (a->antialias && str_is(a->mode, "nearest")))
    return false;
  if (has(n, 1) && crop && in_of(n, 1)->rank != 1)
    return false;
  bool picks = str_is(a->mode, "nearest"), is_complex = dtype_kind(in_of(n, 0)->dtype) == DK_COMPLEX;
  if ((in_of(n, 0)->dtype == DT_bool && !picks) ||
      (is_complex && (crop || !picks))) /* passes/types.c has others for them */
    return false;
  return resize_of(n, &r);
}

/* Element i of input k as f64. */
static Status input_real(Lower *x, const Node *n, int k, int64_t i, KExpr **e) {
  KExpr *at[1] = {num(x, i)};
  TRY(lower_read(x, n->in[k], at, e));
  *e = once(x, "r", ke_cast(x->k, DT_f64, *e));
  return ST_OK;
}

/* Place of axis a in the lists of scales and regions. */
static int64_t listed_at(const Resizing *r, const Axis *a) {
  int rank = in_of(r->n, 0)->rank;
  for (int64_t i = 0; r->a->axes.v && i < r->a->axes.n; i++)
    if ((r->a->axes.v[i] < 0 ? r->a->axes.v[i] + rank : r->a->axes.v[i]) == a->axis)
      return i;
  return a->axis;
}

/* The least or the greatest of what the sizes ask for. */
static KExpr *kept_scale(Lower *x, const Resizing *r) {
  const Dim *size;
  int64_t n;
  const Type *in = in_of(r->n, 0);
  KExpr *best = NULL;
  KOp op = str_is(r->a->keep_aspect_ratio_policy, "not_larger") ? KOP_min : KOP_max;
  value_content(x->c, r->n->in[3], &size, &n);
  for (int64_t i = 0; i < n; i++) {
    int64_t a = r->a->axes.v ? r->a->axes.v[i] : i;
    KExpr *s = k_div(x, real_dim(x, size[i]), real_dim(x, in->dim[a < 0 ? a + in->rank : a]));
    best = best ? k_bin(x, op, best, s) : s;
  }
  return once(x, "scale", best);
}

/* Scale and taps. Taps with antialias: 2 ceil(reach / scale); scale >= out / in says how many there are at most, and the ones
 * too many have no weight. */
static Status find_scale(Lower *x, Resizing *r, Axis *a) {
  Dim least = dim_const(x->c, r->nearest ? 1 : r->cubic ? 2 : 1), reach = least;
  double s = 0;
  if (r->a->antialias)
    reach =
        dim_max(x->c, reach, dim_ceildiv(x->c, dim_mul(x->c, reach, a->in), dim_max(x->c, a->out, dim_const(x->c, 1))));
  if (a->stretch) {
    a->scale = once(x, "scale", k_div(x, real_dim(x, a->out), real_dim(x, a->in)));
  } else if (a->keep) {
    a->scale = kept_scale(x, r);
  } else if (const_scale(r->n, listed_at(r, a), &s)) {
    a->scale = real(x, s), reach = least;
    if (r->a->antialias && s < 1)
      reach = dim_const(x->c, -(int64_t)floor((r->cubic ? -2 : -1) / s));
  } else {
    TRY(input_real(x, r->n, 2, listed_at(r, a), &a->scale));
  }
  if (r->a->antialias && !(s >= 1))
    a->grow = once(x, "grow", k_bin(x, KOP_min, a->scale, real(x, 1)));
  a->taps = r->nearest ? reach : dim_mul(x->c, reach, dim_const(x->c, 2));
  return ST_OK;
}

/* Where output position y lies in the input. *outside: NULL, or that it is not in there (tf_crop_and_resize). */
static Status source(Lower *x, const Resizing *r, Axis *a, KExpr *index, KExpr **outside) {
  Str mode = r->a->coordinate_transformation_mode;
  KExpr *y = ke_cast(x->k, DT_f64, index), *half = real(x, 0.5), *one = real(x, 1),
        *last = k_sub(x, real_dim(x, a->in), one);
  KExpr *length = a->stretch ? real_dim(x, a->out) : k_mul(x, a->scale, real_dim(x, a->in));
  KExpr *single = k_bin(x, KOP_eq, length, one), *steps = ke_select(x->k, single, one, k_sub(x, length, one));
  KExpr *pixel = k_sub(x, k_div(x, k_add(x, y, half), a->scale), half), *roi0, *roi1, *v = pixel;
  length = once(x, "length", length);
  if (str_is(mode, "align_corners"))
    v = ke_select(x->k, single, real(x, 0), k_div(x, k_mul(x, y, last), once(x, "steps", steps)));
  else if (str_is(mode, "asymmetric"))
    v = k_div(x, y, a->scale);
  else if (str_is(mode, "pytorch_half_pixel"))
    v = ke_select(x->k, single, real(x, 0), pixel);
  else if (str_is(mode, "half_pixel_symmetric")) { /* added up as the text does: a position may be next to an integer */
    KExpr *offset = k_mul(x, k_mul(x, real_dim(x, a->in), half), k_sub(x, one, k_div(x, real_dim(x, a->out), length)));
    v = k_sub(x, k_add(x, offset, k_div(x, k_add(x, y, half), a->scale)), half);
  } else if (str_is(mode, "tf_crop_and_resize")) {
    int64_t n = r->a->axes.v ? r->a->axes.n : in_of(r->n, 0)->rank, i = listed_at(r, a);
    TRY(input_real(x, r->n, 1, i, &roi0));
    TRY(input_real(x, r->n, 1, n + i, &roi1));
    KExpr *middle = k_mul(x, k_mul(x, half, k_add(x, roi0, roi1)), last);
    KExpr *step = k_div(x, k_mul(x, k_mul(x, y, k_sub(x, roi1, roi0)), last), once(x, "steps", steps));
    v = once(x, "at", ke_select(x->k, single, middle, k_add(x, k_mul(x, roi0, last), step)));
    KExpr *in_there = k_bin(x, KOP_and, k_bin(x, KOP_le, real(x, 0), v), k_bin(x, KOP_le, v, last));
    *outside = *outside ? k_bin(x, KOP_or, *outside, k_un(x, KOP_not, in_there)) : k_un(x, KOP_not, in_there);
  }
  a->at = once(x, "at", bounded(x, once(x, "at", v)));
  return ST_OK;
}

static KExpr *nearest_pixel(Lower *x, const Resizing *r, const Axis *a) {
  KExpr *f = once(x, "f", k_un(x, KOP_floor, a->at)), *rest = k_sub(x, a->at, f), *half = real(x, 0.5), *up;
  if (str_is(r->a->nearest_mode, "round_prefer_floor"))
    up = k_bin(x, KOP_lt, half, rest);
  else if (str_is(r->a->nearest_mode, "round_prefer_ceil"))
    up = k_bin(x, KOP_le, half, rest);
  else if (str_is(r->a->nearest_mode, "ceil"))
    up = k_bin(x, KOP_lt, real(x, 0), rest);
  else
    up = ke_int(x->k, DT_bool, 0);
  KExpr *i = ke_cast(x->k, DT_i64, f);
  return once(x, "p", clamped(x, ke_select(x->k, up, k_add(x, i, num(x, 1)), i), a->in));
}

/* Position in the input of tap t, not clamped. */
static KExpr *tap_position(Lower *x, const Axis *a, KExpr *t) {
  Dim before = dim_sub(x->c, dim_div(x->c, a->taps, dim_const(x->c, 2)), dim_const(x->c, 1));
  return k_add(x, k_sub(x, a->base, ke_dim(x->k, before)), t);
}

static KExpr *tap_weight(Lower *x, const Resizing *r, const Axis *a, KExpr *t) {
  Dim before = dim_sub(x->c, dim_div(x->c, a->taps, dim_const(x->c, 2)), dim_const(x->c, 1));
  KExpr *d = k_sub(x, ke_cast(x->k, DT_f64, k_sub(x, t, ke_dim(x->k, before))), a->frac), *w;
  d = a->grow ? k_mul(x, d, a->grow) : d;
  if (r->cubic && !a->grow && t->kind == KE_INT)
    w = cubic_tap(x, t->i, d, (double)r->a->cubic_coeff_a);
  else if (r->cubic)
    w = cubic(x, d, (double)r->a->cubic_coeff_a);
  else
    w = k_bin(x, KOP_max, real(x, 0), k_sub(x, real(x, 1), k_un(x, KOP_abs, d)));
  if (!r->a->exclude_outside)
    return w;
  KExpr *p = tap_position(x, a, t);
  KExpr *there = k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), p), k_bin(x, KOP_lt, p, ke_dim(x->k, a->in)));
  return ke_select(x->k, there, w, real(x, 0));
}

/* base, frac, and the sum of the weights where it may differ from 1. */
static void begin_taps(Lower *x, const Resizing *r, Axis *a) {
  KExpr *f = once(x, "f", k_un(x, KOP_floor, a->at));
  KCursor behind;
  a->frac = once(x, "frac", k_sub(x, a->at, f));
  a->base = once(x, "base", ke_cast(x->k, DT_i64, f));
  if (!a->grow && !r->a->exclude_outside)
    return;
  KVar *sum = lower_acc(x, "sum", real(x, 0));
  KExpr *t = lower_open(x, "t", a->taps, &behind);
  ks_update(&x->at, sum, KOP_add, tap_weight(x, r, a, t));
  lower_close(x, 1, behind);
  KExpr *s = ke_var(x->k, sum), *none = k_bin(x, KOP_eq, s, real(x, 0));
  a->norm = once(x, "norm", k_div(x, real(x, 1), ke_select(x->k, none, real(x, 1), s)));
}

/* The sum as an element of type t: integers are rounded to even and saturate. */
static KExpr *rounded(Lower *x, DType t, KExpr *v) {
  if (dtype_is_float(t))
    return ke_cast(x->k, t, v);
  int bits = dtype_bits(t);
  double lo = dtype_kind(t) == DK_UINT ? 0 : -ldexp(1, bits - 1),
         hi = ldexp(1, dtype_kind(t) == DK_UINT ? bits : bits - 1) - 1;
  v = k_un(x, KOP_round, v);
  return ke_cast(x->k, t, k_bin(x, KOP_max, k_num(x, v, lo), k_bin(x, KOP_min, v, k_num(x, v, hi))));
}

/* What has no weight does not count, be it infinite. */
static KExpr *weighted(Lower *x, KExpr *weight, KExpr *v) {
  KExpr *none = k_num(x, weight, 0);
  return ke_select(x->k, k_bin(x, KOP_ne, weight, none), k_mul(x, weight, v), none);
}

static Status smooth(Lower *x, Resizing *r, KExpr **at, KExpr **e) {
  DType t = in_of(r->n, 0)->dtype, w = t == DT_f64 || (dtype_is_int(t) && dtype_bits(t) > 16) ? DT_f64 : DT_f32;
  KExpr *weight = NULL, *v;
  KCursor behind = x->at;
  for (int i = 0; i < r->naxes; i++)
    begin_taps(x, r, &r->axis[i]);
  KVar *acc = lower_acc(x, "s", ke_float(x->k, w, 0));
  for (int i = 0; i < r->naxes; i++) {
    Axis *a = &r->axis[i];
    KExpr *tap = lower_open(x, "t", a->taps, i ? NULL : &behind), *f = tap_weight(x, r, a, tap);
    f = once(x, "w", ke_cast(x->k, w, a->norm ? k_mul(x, f, a->norm) : f));
    weight = weight ? once(x, "w", k_mul(x, weight, f)) : f;
    at[a->axis] = once(x, "p", clamped(x, tap_position(x, a, tap), a->in));
  }
  TRY(lower_read(x, r->n->in[0], at, &v));
  v = ke_cast(x->k, w, v);
  if (weight)
    v = weighted(x, weight, v);
  ks_update(&x->at, acc, KOP_add, v);
  lower_close(x, r->naxes, behind);
  *e = rounded(x, t, ke_var(x->k, acc));
  return ST_OK;
}

/* --- Resize along rows ---
 *
 * Where the last axis changes and only axes before it stay, what depends on the position in a row is found out once per plane, as
 * tables over the row; then a row of the result is made from one line: the weighted sum of the rows it lies between.
 *
 *   for the plane:  for w: pixel[t][w], weight[t][w]           t: taps of the last axis
 *     for the row:  for i: line[i] = sum of weight * x[row, i]
 *       for w:      y = sum over t of weight[t][w] * line[pixel[t][w]] */

enum {
  LINE_TERMS = 16,
  MAX_TAPS = 4,
  BESIDE = 32, /* elements behind a line: vectors that begin in it end there */
  BAND = 4,
  RING = 8, /* rows: a band, and what a row of the result reaches before it */
};

typedef struct Tap {
  KExpr *pixel, *weight;
} Tap;

/* The level of the plane: 1 or more; 0: the axes, the loops or the mode are others. */
static int plane_level(const Lower *x, const Resizing *r, KExpr *const *index) {
  int rank = in_of(r->n, 0)->rank, level = 0, terms = 1, n;
  KExpr *last = index[rank - 1];
  if (!r->naxes || r->axis[r->naxes - 1].axis != rank - 1 || x->flat || x->guard || last->kind != KE_VAR ||
      last->var->def->kind != KS_FOR || lower_level(x, last) != x->depth || r->a->antialias ||
      str_is(r->a->coordinate_transformation_mode, "tf_crop_and_resize"))
    return 0;
  for (int a = 0, i = 0; a < rank; a++)
    if (i < r->naxes && r->axis[i].axis == a)
      i++;
    else if ((n = lower_level(x, index[a])) > level)
      level = n;
  for (int i = 0; i < r->naxes; i++) {
    KExpr *e = index[r->axis[i].axis];
    if (e->kind != KE_INT && lower_level(x, e) <= level)
      return 0;
    terms *= r->nearest || i == r->naxes - 1 ? 1 : r->cubic ? 4 : 2;
  }
  return terms <= LINE_TERMS ? level : 0;
}

/* The taps of output position `index` of an axis, one by one. */
static Status taps_of(Lower *x, Resizing *r, Axis *a, KExpr *index, DType w, Tap *tap, int *n) {
  KExpr *outside = NULL;
  int64_t taps;
  TRY(source(x, r, a, index, &outside));
  *n = 1;
  if (r->nearest) {
    tap[0] = (Tap){nearest_pixel(x, r, a), NULL};
    return ST_OK;
  }
  begin_taps(x, r, a);
  if (!dim_is_const(a->taps, &taps) || taps > MAX_TAPS)
    return fail(x->c, ST_INTERNAL, "a resize of so many taps");
  for (*n = 0; *n < taps; ++*n) {
    KExpr *t = num(x, *n), *f = tap_weight(x, r, a, t);
    f = once(x, "w", ke_cast(x->k, w, a->norm ? k_mul(x, f, a->norm) : f));
    tap[*n] = (Tap){once(x, "p", clamped(x, tap_position(x, a, t), a->in)), f};
  }
  return ST_OK;
}

/* By position in a row and tap: the pixel, an i32, and its weight (NULL: 1). */
typedef struct Tables {
  KBuf *pixel[MAX_TAPS], *weight[MAX_TAPS];
  int n;
} Tables;

static Status make_tables(Lower *x, Resizing *r, Axis *a, DType w, int level, Tables *table) {
  Tap here[MAX_TAPS];
  Outside o;
  KCursor behind;
  *table = (Tables){{NULL}, {NULL}, 0};
  lower_outside(x, level, &o);
  KExpr *i = lower_open(x, "i", a->out, &behind);
  TRY(taps_of(x, r, a, i, w, here, &table->n));
  for (int t = 0; t < table->n; t++) {
    table->pixel[t] = kernel_add_temp(x->k, "pixel", DT_i32, 1, &a->out);
    ks_store(&x->at, table->pixel[t], &i, ke_cast(x->k, DT_i32, here[t].pixel));
    if (!here[t].weight)
      continue;
    table->weight[t] = kernel_add_temp(x->k, "weight", w, 1, &a->out);
    ks_store(&x->at, table->weight[t], &i, here[t].weight);
  }
  lower_close(x, 1, behind);
  lower_back(x, &o);
  return ST_OK;
}

/* Elements of one line and those beside them. */
static KBuf *add_line(Lower *x, DType w, int rank, Dim rows, Dim in) {
  Dim n = dim_add(x->c, in, dim_const(x->c, BESIDE));
  return kernel_add_temp(x->k, "line", w, rank, rank > 1 ? (Dim[]){rows, n} : &n);
}

/* The weighted sum of what the axes before the last reach from here, at position at[last]. */
static Status line_sum(Lower *x, Resizing *r, Tap (*tap)[MAX_TAPS], const int *n, int axis, KExpr *weight, DType w,
                       KExpr **at, KExpr **sum) {
  KExpr *v;
  if (axis < r->naxes - 1) {
    for (int t = 0; t < n[axis]; t++) {
      at[r->axis[axis].axis] = tap[axis][t].pixel;
      KExpr *f = weight ? once(x, "w", k_mul(x, weight, tap[axis][t].weight)) : tap[axis][t].weight;
      TRY(line_sum(x, r, tap, n, axis + 1, f, w, at, sum));
    }
    return ST_OK;
  }
  TRY(lower_read(x, r->n->in[0], at, &v));
  v = ke_cast(x->k, w, v);
  v = weight ? weighted(x, weight, v) : v;
  *sum = *sum ? k_add(x, *sum, v) : v;
  return ST_OK;
}

static DType weight_type(const Resizing *r) {
  DType t = in_of(r->n, 0)->dtype;
  return t == DT_f64 || (dtype_is_int(t) && dtype_bits(t) > 16) ? DT_f64 : DT_f32;
}

static Status by_rows(Lower *x, Resizing *r, KExpr *const *index, KExpr **at, int level, KExpr **e) {
  DType t = in_of(r->n, 0)->dtype, w = weight_type(r);
  Axis *last = &r->axis[r->naxes - 1];
  Tap tap[MAX_RANK][MAX_TAPS];
  Tables table;
  int n[MAX_RANK];
  Outside o;
  KCursor behind;
  KExpr *j = index[last->axis], *sum = NULL;
  TRY(make_tables(x, r, last, w, level, &table));
  lower_outside(x, x->depth - 1, &o);
  for (int i = 0; i < r->naxes - 1; i++)
    TRY(taps_of(x, r, &r->axis[i], index[r->axis[i].axis], w, tap[i], &n[i]));
  if (r->nearest) {
    lower_back(x, &o);
    for (int i = 0; i < r->naxes - 1; i++)
      at[r->axis[i].axis] = tap[i][0].pixel;
    at[last->axis] = ke_cast(x->k, DT_i64, ke_load(x->k, table.pixel[0], &j));
    return lower_read(x, r->n->in[0], at, e);
  }
  KBuf *line = add_line(x, w, 1, NULL, last->in);
  KExpr *i = at[last->axis] = lower_open(x, "i", last->in, &behind);
  TRY(line_sum(x, r, tap, n, 0, NULL, w, at, &sum));
  ks_store(&x->at, line, &i, sum);
  lower_close(x, 1, behind);
  lower_back(x, &o);
  *e = NULL;
  for (int k = 0; k < table.n; k++) {
    KExpr *pixel = ke_cast(x->k, DT_i64, ke_load(x->k, table.pixel[k], &j));
    KExpr *v = weighted(x, ke_load(x->k, table.weight[k], &j), ke_load(x->k, line, &pixel));
    *e = *e ? k_add(x, *e, v) : v;
  }
  *e = rounded(x, t, *e);
  return ST_OK;
}

/* --- Resize of rows to more rows ---
 *
 * Every row of the input is stretched once, then, a band of them at a time, into a ring that stays in the cache: what depends on the
 * position in a row alone is found once per band. A row of the result is a weighted sum of rows of the ring; what has no weight there is
 * a row of zeros. Twice as wide and high takes 1.7 ms, not 4.8, cubic 2.2, not 9.4 (bench memory=resize).
 *
 *   for the plane:  for w: start[w], weight[t][w];  for h: pixel[t][h], weight[t][h];  ring[RING] = 0;  done = 0
 *     for the row:
 *       for bands, while the row reaches beyond done
 *         for r in BAND: line[r] = x[done + r] between its ends, repeated
 *         for w: for r in BAND: ring[(done + r) % RING][w] = sum over t of weight[t][w] * line[r][start[w] + t]
 *         done += BAND
 *       for w: y = sum over t of the row's weight * ring[its pixel % RING][w] */

typedef struct Ring {
  Resizing *r;
  DType w;
  int64_t taps, beside; /* of a position in a row; what a line repeats of its ends */
  KBuf *line, *rows;
  KVar *done;
  KBuf *start, *weight[MAX_TAPS]; /* by position in a row: the first tap's place in a line, i32, and the weights */
  Tables row;
} Ring;

/* Is each row of the input reached, by rows of the result in order? */
static bool grows(const Lower *x, const Resizing *r, KExpr *const *index) {
  const Axis *a = &r->axis[0];
  const KExpr *row = index[a->axis];
  int64_t in, out;
  double s;
  if (r->nearest || r->naxes != 2 || row->kind != KE_VAR || row->var->def->kind != KS_FOR ||
      row->var->def->extent != a->out || lower_level(x, row) != x->depth - 1)
    return false;
  if (dim_is_const(a->in, &in) && dim_is_const(a->out, &out))
    return in <= out;
  return !a->stretch && const_scale(r->n, listed_at(r, a), &s) && s >= 1;
}

/* A loop over the rows of the band that begins with row `from`. */
static KExpr *open_band(Lower *x, const Axis *a, KExpr *from, KCursor *behind) {
  KExpr *r = lower_open(x, "r", dim_const(x->c, BAND), behind);
  r->var->def->value = k_sub(x, ke_dim(x->k, a->in), from);
  return r;
}

static Status read_band(Lower *x, const Ring *g, KExpr **at, KExpr *from) {
  const Axis *a = g->r->axis;
  KCursor behind, ends;
  KExpr *v, *r = open_band(x, a, from, &behind), *beside = num(x, g->beside), *last = num(x, 0);
  at[a[0].axis] = k_add(x, from, r);
  KExpr *i = at[a[1].axis] = lower_open(x, "i", a[1].in, &ends);
  TRY(lower_read(x, g->r->n->in[0], at, &v));
  ks_store(&x->at, g->line, (KExpr *[]){r, k_add(x, i, beside)}, ke_cast(x->k, g->w, v));
  lower_close(x, 2, behind);
  r = open_band(x, a, from, &behind);
  last = k_add(x, beside, k_sub(x, ke_dim(x->k, a[1].in), num(x, 1)));
  KExpr *first = lower_now(x, "first", ke_load(x->k, g->line, (KExpr *[]){r, beside}));
  last = lower_now(x, "last", ke_load(x->k, g->line, (KExpr *[]){r, last}));
  i = lower_open(x, "i", dim_const(x->c, g->beside), NULL);
  KExpr *end = k_add(x, k_add(x, ke_dim(x->k, a[1].in), beside), i);
  ks_store(&x->at, g->line, (KExpr *[]){r, i}, first);
  ks_store(&x->at, g->line, (KExpr *[]){r, end}, last);
  lower_close(x, 2, behind);
  return ST_OK;
}

static void stretch_band(Lower *x, const Ring *g, KExpr *from) {
  KExpr *weight[MAX_TAPS], *counts[MAX_TAPS], *sum = NULL, *none = ke_float(x->k, g->w, 0);
  KCursor behind;
  KExpr *first = lower_now(x, "first", k_bin(x, KOP_mod, from, num(x, RING)));
  KExpr *w = lower_open(x, "w", g->r->axis[1].out, &behind);
  KExpr *start = lower_now(x, "p", ke_load(x->k, g->start, &w));
  for (int t = 0; t < g->taps; t++) {
    weight[t] = lower_now(x, "f", ke_load(x->k, g->weight[t], &w));
    counts[t] = lower_now(x, "some", k_bin(x, KOP_ne, weight[t], none));
  }
  KExpr *r = open_band(x, g->r->axis, from, NULL);
  for (int t = 0; t < g->taps; t++) {
    KExpr *v = ke_load(x->k, g->line, (KExpr *[]){r, k_add(x, ke_cast(x->k, DT_i64, start), num(x, t))});
    v = ke_select(x->k, counts[t], k_mul(x, weight[t], v), none);
    sum = sum ? k_add(x, sum, v) : v;
  }
  ks_store(&x->at, g->rows, (KExpr *[]){k_add(x, first, r), w}, sum);
  lower_close(x, 2, behind);
}

/* The rows of the input up to `last` are in the ring then. */
static Status fill_ring(Lower *x, const Ring *g, KExpr **at, KExpr *last) {
  KExpr *band = num(x, BAND), *done = ke_var(x->k, g->done);
  Dim bands = dim_ceildiv(x->c, g->r->axis[0].in, dim_const(x->c, BAND));
  KCursor behind;
  KExpr *b = lower_open(x, "band", bands, &behind);
  b->var->def->value = k_div(x, k_add(x, k_sub(x, last, done), band), band); /* last >= done - BAND */
  KExpr *from = lower_now(x, "from", done);
  TRY(read_band(x, g, at, from));
  stretch_band(x, g, from);
  ks_update(&x->at, g->done, KOP_none, k_add(x, from, band));
  lower_close(x, 1, behind);
  return ST_OK;
}

/* Of the last axis: where the taps of a position begin, in a line with its ends repeated, is one number then. */
static Status make_starts(Lower *x, Ring *g, int level) {
  Axis *a = &g->r->axis[1];
  Tap tap[MAX_TAPS];
  Outside o;
  KCursor behind;
  int n;
  lower_outside(x, level, &o);
  KExpr *i = lower_open(x, "i", a->out, &behind), *last = k_sub(x, ke_dim(x->k, a->in), num(x, 1));
  TRY(taps_of(x, g->r, a, i, g->w, tap, &n));
  g->taps = n, g->beside = n - 1;
  KExpr *start = k_bin(x, KOP_min, tap_position(x, a, num(x, 0)), last);
  start = k_add(x, k_bin(x, KOP_max, start, num(x, -g->beside)), num(x, g->beside));
  g->start = kernel_add_temp(x->k, "start", DT_i32, 1, &a->out);
  ks_store(&x->at, g->start, &i, ke_cast(x->k, DT_i32, start));
  for (int t = 0; t < n; t++) {
    g->weight[t] = kernel_add_temp(x->k, "weight", g->w, 1, &a->out);
    ks_store(&x->at, g->weight[t], &i, tap[t].weight);
  }
  lower_close(x, 1, behind);
  lower_back(x, &o);
  return ST_OK;
}

static Status begin_ring(Lower *x, Ring *g, int level) {
  const Axis *a = g->r->axis;
  Outside o;
  KCursor behind;
  TRY(make_tables(x, g->r, &g->r->axis[0], g->w, level, &g->row));
  TRY(make_starts(x, g, level));
  g->line = add_line(x, g->w, 2, dim_const(x->c, BAND), dim_add(x->c, a[1].in, dim_const(x->c, 2 * g->beside)));
  g->rows = kernel_add_temp(x->k, "rows", g->w, 2, (Dim[]){dim_const(x->c, RING + 1), a[1].out});
  lower_outside(x, level, &o);
  KExpr *i = lower_open(x, "i", a[1].out, &behind);
  ks_store(&x->at, g->rows, (KExpr *[]){num(x, RING), i}, ke_float(x->k, g->w, 0));
  lower_close(x, 1, behind);
  g->done = lower_acc(x, "done", num(x, 0));
  lower_back(x, &o);
  return ST_OK;
}

static Status by_ring(Lower *x, Resizing *r, KExpr *const *index, KExpr **at, int level, KExpr **e) {
  Ring g = {.r = r, .w = weight_type(r)};
  KExpr *row = index[r->axis[0].axis], *column = index[r->axis[1].axis];
  KExpr *pixel[MAX_TAPS], *weight[MAX_TAPS], *none = ke_float(x->k, g.w, 0), *ring = num(x, RING);
  Outside o;
  TRY(begin_ring(x, &g, level));
  lower_outside(x, x->depth - 1, &o);
  for (int t = 0; t < g.row.n; t++) {
    pixel[t] = lower_now(x, "pixel", ke_cast(x->k, DT_i64, ke_load(x->k, g.row.pixel[t], &row)));
    weight[t] = lower_now(x, "f", ke_load(x->k, g.row.weight[t], &row));
  }
  TRY(fill_ring(x, &g, at, pixel[g.row.n - 1]));
  for (int t = 0; t < g.row.n; t++) {
    KExpr *some = k_bin(x, KOP_ne, weight[t], none), *place = k_bin(x, KOP_mod, pixel[t], ring);
    pixel[t] = lower_now(x, "place", ke_select(x->k, some, place, ring));
  }
  lower_back(x, &o);
  *e = NULL;
  for (int t = 0; t < g.row.n; t++) {
    KExpr *v = k_mul(x, weight[t], ke_load(x->k, g.rows, (KExpr *[]){pixel[t], column}));
    *e = *e ? k_add(x, *e, v) : v;
  }
  *e = rounded(x, in_of(r->n, 0)->dtype, *e);
  return ST_OK;
}

static Status resize(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  Resizing r;
  KExpr *at[MAX_RANK], *outside = NULL;
  DType t = in_of(n, 0)->dtype;
  resize_of(n, &r);
  memcpy(at, index, (size_t)in_of(n, 0)->rank * sizeof *at);
  for (int i = 0; i < r.naxes; i++) {
    Axis *a = &r.axis[i];
    if (a->in->lo < 1) { /* there must be an element to read, where one is asked for */
      KExpr *have = ke_dim(x->k, a->in);
      ks_check(&x->at, k_bin(x, KOP_lt, num(x, 0), have), have);
    }
    TRY(find_scale(x, &r, a));
  }
  int level = plane_level(x, &r, index);
  if (level && grows(x, &r, index))
    return by_ring(x, &r, index, at, level, e);
  if (level)
    return by_rows(x, &r, index, at, level, e);
  for (int i = 0; i < r.naxes; i++) {
    Axis *a = &r.axis[i];
    TRY(source(x, &r, a, index[a->axis], &outside));
    if (r.nearest)
      at[a->axis] = nearest_pixel(x, &r, a);
  }
  if (r.nearest)
    TRY(lower_read(x, n->in[0], at, e));
  else
    TRY(smooth(x, &r, at, e));
  if (outside) {
    double fill = (double)r.a->extrapolation_value;
    *e = ke_select(x->k, outside, dtype_is_float(t) ? ke_float(x->k, t, fill) : ke_int(x->k, t, (int64_t)fill), *e);
  }
  return ST_OK;
}
const Lowering resize_lower = {LOWER_ELEM, .can = resize_can, .elem = resize, .again = true};

/* --- GridSample --- */

typedef struct Grid {
  const Node *n;
  const GridSampleAttr *a;
  bool nearest, cubic, align, zeros, border;
  DType t, w;         /* of coordinates, and of weights */
  KExpr *base, *frac; /* of the axis at hand */
} Grid;

static bool grid_can(Ctx *c, const Node *n, const char **why) {
  static const char *const modes[] = {"nearest", "linear", "cubic", NULL}, *const paddings[] = {"zeros", "border",
                                                                                                "reflection", NULL};
  const GridSampleAttr *a = ATTR(n, GridSample);
  const Type *in = in_of(n, 0), *grid = in_of(n, 1);
  (void)c, (void)why;
  return in->rank >= 3 && grid->rank == in->rank && known_name(a->mode, modes) &&
         known_name(a->padding_mode, paddings) && dtype_is_float(in->dtype) && dtype_is_float(grid->dtype);
}

/* v mirrored at the borders of [lo, hi] until it is between them. */
static KExpr *reflected(Lower *x, KExpr *v, KExpr *lo, KExpr *hi) {
  KExpr *range = once(x, "range", k_sub(x, hi, lo)), *one = k_num(x, v, 1),
        *none = k_bin(x, KOP_le, range, k_num(x, v, 0));
  KExpr *period = once(x, "period", k_mul(x, k_num(x, v, 2), ke_select(x->k, none, one, range)));
  KExpr *d = once(x, "d", k_un(x, KOP_abs, k_sub(x, v, lo)));
  d = once(x, "d", k_sub(x, d, k_mul(x, period, k_un(x, KOP_trunc, k_div(x, d, period)))));
  KExpr *back = k_sub(x, hi, k_sub(x, d, range));
  return ke_select(x->k, none, lo, ke_select(x->k, k_bin(x, KOP_le, d, range), k_add(x, lo, d), back));
}

static void borders(Lower *x, const Grid *g, Dim n, KExpr **lo, KExpr **hi) {
  KExpr *count = ke_cast(x->k, g->t, ke_dim(x->k, n));
  *lo = ke_float(x->k, g->t, g->align ? 0 : -0.5);
  *hi = once(x, "hi", k_sub(x, count, ke_float(x->k, g->t, g->align ? 1 : 0.5)));
}

/* base and frac of the coordinate c, normalised to [-1, 1], on an axis of n. */
static void sample_axis(Lower *x, Grid *g, KExpr *c, Dim n) {
  KExpr *count = ke_cast(x->k, g->t, ke_dim(x->k, n)), *one = ke_float(x->k, g->t, 1), *two = ke_float(x->k, g->t, 2),
        *lo, *hi, *v;
  borders(x, g, n, &lo, &hi);
  c = once(x, "g", ke_cast(x->k, g->t, c));
  c = once(x, "g", k_add(x, ke_select(x->k, k_un(x, KOP_isnan, c), ke_float(x->k, g->t, -1), c), one));
  if (g->align)
    v = k_mul(x, k_div(x, c, two), k_sub(x, count, one));
  else
    v = k_div(x, k_sub(x, k_mul(x, c, count), one), two);
  v = once(x, "at", g->nearest ? k_un(x, KOP_round, v) : v);
  KExpr *beyond = k_bin(x, KOP_or, k_bin(x, KOP_lt, v, lo), k_bin(x, KOP_lt, hi, v));
  if (g->border)
    v = ke_select(x->k, beyond, k_bin(x, KOP_min, k_bin(x, KOP_max, v, ke_float(x->k, g->t, 0)), k_sub(x, count, one)),
                  v);
  else if (!g->zeros)
    v = ke_select(x->k, beyond, reflected(x, v, lo, hi), v);
  v = once(x, "at", bounded(x, once(x, "at", v)));
  KExpr *f = once(x, "f", g->nearest ? k_un(x, KOP_trunc, v) : k_un(x, KOP_floor, v));
  g->frac = once(x, "frac", k_sub(x, v, f));
  g->base = once(x, "base", ke_cast(x->k, DT_i64, f));
}

/* The pixel that position i stands for; with zeros around, *inside says whether it is one. */
static KExpr *grid_pixel(Lower *x, const Grid *g, KExpr *i, Dim n, KExpr **inside) {
  KExpr *there = k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), i), k_bin(x, KOP_lt, i, ke_dim(x->k, n))), *lo, *hi;
  if (g->zeros) {
    *inside = *inside ? k_bin(x, KOP_and, *inside, there) : there;
    return i;
  }
  if (g->border)
    return clamped(x, i, n);
  borders(x, g, n, &lo, &hi);
  KExpr *m = ke_cast(x->k, DT_i64, reflected(x, ke_cast(x->k, g->t, i), lo, hi));
  return ke_select(x->k, there, i, clamped(x, m, n));
}

static KExpr *grid_weight(Lower *x, const Grid *g, KExpr *tap) {
  KExpr *d = k_sub(x, ke_cast(x->k, g->w, g->cubic ? k_sub(x, tap, num(x, 1)) : tap), ke_cast(x->k, g->w, g->frac));
  if (g->cubic)
    return cubic(x, d, -0.75);
  return k_sub(x, ke_float(x->k, g->w, 1), k_un(x, KOP_abs, d));
}

static Status grid_sample(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const Type *in = in_of(n, 0);
  const GridSampleAttr *a = ATTR(n, GridSample);
  int axes = in->rank - 2, depth = 0;
  DType t = in->dtype, w = lower_work(t);
  Grid g[MAX_RANK], one = {.n = n, .a = a, .align = a->align_corners != 0};
  KExpr *at[MAX_RANK], *where[MAX_RANK], *weight = NULL, *inside = NULL, *v;
  KCursor behind;
  one.nearest = str_is(a->mode, "nearest"), one.cubic = str_is(a->mode, "cubic");
  one.zeros = str_is(a->padding_mode, "zeros"), one.border = str_is(a->padding_mode, "border");
  one.t = in_of(n, 1)->dtype == DT_f64 ? DT_f64 : DT_f32;
  one.w = w == DT_f64 ? w : one.t;
  where[0] = at[0] = index[0], at[1] = index[1];
  for (int i = 0; i < axes; i++)
    where[i + 1] = index[i + 2];
  for (int i = 0; i < axes; i++) {
    KExpr *have = ke_dim(x->k, in->dim[i + 2]);
    if (in->dim[i + 2]->lo < 1)
      ks_check(&x->at, k_bin(x, KOP_lt, num(x, 0), have), have); /* an element is asked for */
    where[axes + 1] = num(x, axes - 1 - i);                      /* the grid names the last axis first */
    TRY(lower_read(x, n->in[1], where, &v));
    g[i] = one;
    sample_axis(x, &g[i], v, in->dim[i + 2]);
  }
  KVar *acc = lower_acc(x, "s", ke_float(x->k, w, 0));
  behind = x->at;
  for (int i = 0; i < axes; i++) {
    KExpr *tap =
        one.nearest ? num(x, 0) : lower_open(x, "t", dim_const(x->c, one.cubic ? 4 : 2), depth++ ? NULL : &behind);
    KExpr *p = one.cubic ? k_sub(x, k_add(x, g[i].base, tap), num(x, 1)) : k_add(x, g[i].base, tap);
    at[i + 2] = once(x, "p", grid_pixel(x, &g[i], once(x, "p", p), in->dim[i + 2], &inside));
    KExpr *f = one.nearest ? NULL : once(x, "w", ke_cast(x->k, w, grid_weight(x, &g[i], tap)));
    weight = !f ? NULL : weight ? once(x, "w", k_mul(x, weight, f)) : f;
  }
  if (weight) { /* what has no weight does not count, be it infinite */
    KExpr *counts = k_bin(x, KOP_ne, weight, k_num(x, weight, 0));
    inside = inside ? k_bin(x, KOP_and, inside, counts) : counts;
  }
  if (inside)
    lower_if(x, inside, depth++ ? NULL : &behind);
  TRY(lower_read(x, n->in[0], at, &v));
  v = ke_cast(x->k, w, v);
  ks_update(&x->at, acc, KOP_add, weight ? k_mul(x, weight, v) : v);
  lower_close(x, depth, behind);
  *e = ke_cast(x->k, t, ke_var(x->k, acc));
  return ST_OK;
}
const Lowering grid_sample_lower = {LOWER_ELEM, .can = grid_can, .elem = grid_sample, .again = true};
