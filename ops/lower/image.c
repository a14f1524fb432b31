/* image.c - lowering of AffineGrid (20), CenterCropPad (18), Col2Im (18), MaxUnpool (22), RoiAlign (22), MaxRoiPool (22),
 * DeformConv (22).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include "ops/eval/nn.h"

#include <math.h>
#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }
static KExpr *clamp(Lower *x, KExpr *v, KExpr *lo, KExpr *hi) {
  return k_bin(x, KOP_min, k_bin(x, KOP_max, v, lo), hi);
}

/* 0 <= v < extent */
static KExpr *within(Lower *x, KExpr *v, Dim extent) {
  return k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), v), k_bin(x, KOP_lt, v, ke_dim(x->k, extent)));
}

/* --- AffineGrid --- */

static bool affine_can(Ctx *c, const Node *n, const char **why) {
  const Type *t = in_of(n, 0), *out = &n->out[0]->type;
  (void)c;
  *why = "a theta whose extents are known at run time only";
  return t->rank == 3 && (out->rank == 4 || out->rank == 5) && dim_is(t->dim[1], out->rank - 2) &&
         dim_is(t->dim[2], out->rank - 1);
}

/* Where pixel i of n lies between -1 and 1. */
static KExpr *grid_coordinate(Lower *x, KExpr *i, Dim n, bool corners, DType t) {
  KExpr *extent = ke_dim(x->k, n), *two = num(x, 2), *one = num(x, 1), *unit = ke_float(x->k, t, 1);
  KExpr *up = k_mul(x, two, i), *down = extent;
  if (corners)
    down = k_bin(x, KOP_max, one, k_sub(x, extent, one));
  else
    up = k_add(x, up, one);
  KExpr *v = k_sub(x, k_div(x, ke_cast(x->k, t, up), ke_cast(x->k, t, down)), unit);
  return corners ? ke_select(x->k, k_bin(x, KOP_lt, one, extent), v, ke_float(x->k, t, 0)) : v;
}

static Status affine_grid(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *y = &n->out[out]->type;
  bool corners = ATTR(n, AffineGrid)->align_corners != 0;
  int s = y->rank - 2;
  KExpr *theta, *at[3] = {index[0], index[s + 1]}, *sum = NULL;
  DType w = lower_work(y->dtype);
  Dim batch = n->in[0]->type.dim[0];
  TRY(lower_same_extent(x, batch, y->dim[0], "theta is for a batch of %lld, the size for %lld"));
  for (int k = 0; k <= s; k++) { /* x belongs to the last axis */
    at[2] = num(x, k);
    TRY(lower_read(x, n->in[0], at, &theta));
    theta = ke_cast(x->k, w, theta);
    if (k < s)
      theta = k_mul(x, theta, lower_once(x, "at", grid_coordinate(x, index[s - k], y->dim[s - k], corners, w)));
    sum = sum ? k_add(x, sum, theta) : theta;
  }
  *e = ke_cast(x->k, y->dtype, sum);
  return ST_OK;
}
const Lowering affine_grid_lower = {LOWER_ELEM, .can = affine_can, .elem = affine_grid};

/* --- CenterCropPad --- */

static Status center(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *in = in_of(n, 0), *y = &n->out[out]->type;
  KExpr *at[MAX_RANK], *inside = NULL, *v;
  KCursor behind;
  for (int i = 0; i < in->rank; i++) {
    KExpr *shift = k_div(x, ke_dim(x->k, dim_sub(x->c, in->dim[i], y->dim[i])), num(x, 2)); /* towards 0 */
    at[i] = k_add(x, index[i], lower_once(x, "shift", shift));
    if (dim_at_least(x->c, in->dim[i], y->dim[i]))
      continue;
    KExpr *here = within(x, at[i], in->dim[i]);
    inside = inside ? k_bin(x, KOP_and, inside, here) : here;
  }
  if (!inside)
    return lower_read(x, n->in[0], at, e);
  KExpr *zero = dtype_is_float(y->dtype) ? ke_float(x->k, y->dtype, 0) : ke_int(x->k, y->dtype, 0);
  KVar *acc = lower_acc(x, "v", zero);
  lower_if(x, inside, &behind);
  TRY(lower_read(x, n->in[0], at, &v));
  ks_update(&x->at, acc, KOP_none, v);
  lower_close(x, 1, behind);
  *e = ke_var(x->k, acc);
  return ST_OK;
}
const Lowering center_crop_pad_lower = {LOWER_ELEM, .elem = center, .again = true};

/* --- Col2Im --- */

typedef struct Blocks {
  int axes;
  int64_t kernel[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK], begin[MAX_RANK], taps;
  Dim count[MAX_RANK], all; /* blocks per axis; together */
} Blocks;

static bool blocks_of(Ctx *c, const Node *n, Blocks *b) {
  const Col2ImAttr *a = ATTR(n, Col2Im);
  const Type *out = &n->out[0]->type;
  const WindowAttr wa = {
      .auto_pad = str_of("NOTSET"), .pads = a->pads, .strides = a->strides, .dilations = a->dilations};
  const Dim *kernel;
  int64_t m, k[MAX_RANK];
  WindowSpec s;
  *b = (Blocks){.axes = out->rank - 2, .taps = 1, .all = dim_const(c, 1)};
  if (b->axes < 1 || !value_content(c, n->in[2], &kernel, &m) || m != b->axes || window_spec(c, &wa, b->axes, &s))
    return false;
  for (int i = 0; i < b->axes; i++)
    if (!dim_is_const(kernel[i], &k[i]) || k[i] < 1)
      return false;
  if (window_kernel(c, &s, k))
    return false;
  for (int i = 0; i < b->axes; i++) {
    int64_t far = (k[i] - 1) * s.dilation[i] + 1;
    b->kernel[i] = k[i], b->stride[i] = s.stride[i], b->dilation[i] = s.dilation[i], b->begin[i] = s.begin[i];
    Dim room = dim_add(c, out->dim[i + 2], dim_const(c, s.begin[i] + s.end[i] - far + s.stride[i]));
    b->count[i] = dim_div(c, room, dim_const(c, s.stride[i]));
    b->all = dim_mul(c, b->all, b->count[i]);
    b->taps *= k[i];
  }
  return b->taps <= INT32_MAX;
}

/* Do the columns fit the blocks, provably? */
static bool blocks_fit(Ctx *c, const Node *n, Blocks *b) {
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  return blocks_of(c, n, b) && in->dim[2] == b->all && in->dim[1] == dim_mul(c, out->dim[1], dim_const(c, b->taps));
}

static bool attrs_of(Ctx *c, const Node *n, WindowSpec *s) {
  const Col2ImAttr *a = ATTR(n, Col2Im);
  const WindowAttr wa = {
      .auto_pad = str_of("NOTSET"), .pads = a->pads, .strides = a->strides, .dilations = a->dilations};
  return !window_spec(c, &wa, n->out[0]->type.rank - 2, s);
}

static bool col2im_can(Ctx *c, const Node *n, const char **why) {
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  Blocks b;
  WindowSpec s;
  *why = "extents that are compared at run time";
  if (in->rank != 3 || out->rank < 3 || in->dim[0] != out->dim[0])
    return false;
  return blocks_fit(c, n, &b) || attrs_of(c, n, &s);
}

/* Block shapes that are known at run time only: one loop over the taps, which are checked to be as many as the columns have
 * rows, and the blocks as many as they have elements. */
static Status col2im_any(Lower *x, const Node *n, KExpr *const *index, KVar *acc) {
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  KExpr *kernel[MAX_RANK], *count[MAX_RANK], *q[MAX_RANK], *one = num(x, 1), *taps = one, *blocks = one, *fits = NULL,
                                                           *v;
  KCursor behind;
  WindowSpec s;
  attrs_of(x->c, n, &s);
  for (int i = 0; i < s.n; i++) {
    KExpr *at = num(x, i),
          *room = ke_dim(x->k, dim_add(x->c, out->dim[i + 2], dim_const(x->c, s.begin[i] + s.end[i] - 1)));
    TRY(lower_read(x, n->in[2], &at, &kernel[i]));
    kernel[i] = lower_once(x, "kernel", kernel[i]);
    room = k_sub(x, room, k_mul(x, k_sub(x, kernel[i], one), num(x, s.dilation[i])));
    KExpr *some = k_bin(x, KOP_and, k_bin(x, KOP_le, one, kernel[i]), k_bin(x, KOP_le, num(x, 0), room));
    TRY(lower_check(x, some, kernel[i], out->dim[i + 2],
                    arena_printf(x->a, "a block of %%lld does not fit the image of %%lld on spatial axis %d", i)));
    kernel[i] = lower_once(x, "kernel", k_bin(x, KOP_max, kernel[i], one));
    count[i] = lower_once(x, "count", k_add(x, k_div(x, room, num(x, s.stride[i])), one));
    taps = k_mul(x, taps, kernel[i]), blocks = k_mul(x, blocks, count[i]);
  }
  KExpr *rows = lower_once(x, "rows", k_mul(x, taps, ke_dim(x->k, out->dim[1])));
  TRY(lower_check(x, k_bin(x, KOP_eq, rows, ke_dim(x->k, in->dim[1])), rows, in->dim[1],
                  "the columns have %lld elements, not %lld"));
  blocks = lower_once(x, "blocks", blocks);
  TRY(lower_check(x, k_bin(x, KOP_eq, blocks, ke_dim(x->k, in->dim[2])), blocks, in->dim[2],
                  "%lld blocks make an image, not %lld"));
  Dim all = dim_div(x->c, in->dim[1], dim_max(x->c, out->dim[1], dim_const(x->c, 1)));
  KExpr *tap = lower_open(x, "w", all, &behind), *rest = tap, *block = num(x, 0);
  for (int i = s.n - 1; i >= 0; i--) {
    KExpr *k = i ? k_bin(x, KOP_mod, rest, kernel[i]) : rest, *stride = num(x, s.stride[i]);
    rest = i ? lower_once(x, "rest", k_div(x, rest, kernel[i])) : rest;
    KExpr *pos = k_sub(x, k_add(x, index[i + 2], num(x, s.begin[i])), k_mul(x, k, num(x, s.dilation[i])));
    pos = lower_once(x, "pos", pos);
    q[i] = lower_once(x, "q", k_div(x, pos, stride));
    KExpr *here = k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), pos), k_bin(x, KOP_lt, q[i], count[i]));
    here = k_bin(x, KOP_and, here, k_bin(x, KOP_eq, k_mul(x, q[i], stride), pos));
    fits = fits ? k_bin(x, KOP_and, fits, here) : here;
  }
  for (int i = 0; i < s.n; i++)
    block = k_add(x, k_mul(x, block, count[i]), q[i]);
  lower_if(x, fits, NULL);
  KExpr *at[3] = {index[0], k_add(x, k_mul(x, index[1], ke_dim(x->k, all)), tap), block};
  TRY(lower_read(x, n->in[0], at, &v));
  ks_update(&x->at, acc, KOP_add, ke_cast(x->k, acc->dtype, v));
  lower_close(x, 2, behind);
  return ST_OK;
}

/* A pixel gathers what the blocks over it hold: through tap k, block (pixel + pad - k * dilation) / stride if that is one. */
static Status col2im(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  DType t = n->out[out]->type.dtype, w = lower_work(t);
  KExpr *tap = num(x, 0), *block = num(x, 0), *v;
  KCursor behind;
  Blocks b;
  int depth = 0;
  KVar *acc = lower_acc(x, "s", dtype_is_float(w) ? ke_float(x->k, w, 0) : ke_int(x->k, w, 0));
  if (!blocks_fit(x->c, n, &b)) {
    TRY(col2im_any(x, n, index, acc));
    *e = ke_cast(x->k, t, ke_var(x->k, acc));
    return ST_OK;
  }
  behind = x->at;
  for (int i = 0; i < b.axes; i++) {
    KExpr *k = b.kernel[i] > 1 ? lower_open(x, "w", dim_const(x->c, b.kernel[i]), depth++ ? NULL : &behind) : num(x, 0);
    KExpr *pos = k_sub(x, k_add(x, index[i + 2], num(x, b.begin[i])), k_mul(x, k, num(x, b.dilation[i])));
    pos = lower_once(x, "pos", pos);
    KExpr *stride = num(x, b.stride[i]), *q = lower_once(x, "q", k_div(x, pos, stride));
    KExpr *fits = k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), pos), within(x, q, b.count[i]));
    if (b.stride[i] > 1)
      fits = k_bin(x, KOP_and, fits, k_bin(x, KOP_eq, k_mul(x, q, stride), pos));
    lower_if(x, fits, depth++ ? NULL : &behind);
    tap = k_add(x, k_mul(x, tap, num(x, b.kernel[i])), k);
    block = k_add(x, k_mul(x, block, ke_dim(x->k, b.count[i])), q);
  }
  KExpr *at[3] = {index[0], k_add(x, k_mul(x, index[1], num(x, b.taps)), tap), block};
  TRY(lower_read(x, n->in[0], at, &v));
  ks_update(&x->at, acc, KOP_add, ke_cast(x->k, w, v));
  lower_close(x, depth, behind);
  *e = ke_cast(x->k, t, ke_var(x->k, acc));
  return ST_OK;
}
const Lowering col2im_lower = {LOWER_ELEM, .can = col2im_can, .elem = col2im, .again = true};

/* --- MaxUnpool --- */

bool unpooled_extents(Ctx *c, const Node *n, Dim *own) {
  const MaxUnpoolAttr *a = ATTR(n, MaxUnpool);
  const Type *in = in_of(n, 0);
  const WindowAttr wa = {
      .auto_pad = str_of("NOTSET"), .kernel = a->kernel_shape, .pads = a->pads, .strides = a->strides};
  WindowSpec s;
  if (in->rank < 3 || window_spec(c, &wa, in->rank - 2, &s) || window_kernel(c, &s, NULL))
    return false;
  own[0] = in->dim[0], own[1] = in->dim[1];
  for (int i = 2; i < in->rank; i++) {
    Dim steps = dim_mul(c, dim_sub(c, in->dim[i], dim_const(c, 1)), dim_const(c, s.stride[i - 2]));
    own[i] = dim_add(c, steps, dim_const(c, s.kernel[i - 2] - s.begin[i - 2] - s.end[i - 2]));
  }
  return true;
}

/* node_needs compares the extents. */
static bool unpool_can(Ctx *c, const Node *n, const char **why) {
  Dim own[MAX_RANK];
  *why = "values and indices of different ranks";
  return in_of(n, 0)->rank == in_of(n, 1)->rank && unpooled_extents(c, n, own);
}

static Status unpool(Lower *x, const Node *n, KBuf *const *out) {
  const Type *in = in_of(n, 0), *y = &n->out[0]->type;
  KExpr *index[MAX_RANK], *at[MAX_RANK], *rest, *v;
  KCursor behind;
  Dim own[MAX_RANK], all = dim_const(x->c, 1);
  int depth = lower_open_axes(x, y, 0, y->rank, index, &behind);
  ks_store(&x->at, out[0], index, ke_float(x->k, y->dtype, 0));
  lower_close(x, depth, behind);
  unpooled_extents(x->c, n, own);
  depth = 0;
  for (int i = 0; i < in->rank; i++) {
    index[i] = lower_open_ordered(x, "t", in->dim[i], depth++ ? NULL : &behind);
    all = dim_mul(x->c, all, own[i]);
  }
  TRY(lower_read(x, n->in[1], index, &rest));
  rest = lower_once(x, "to", rest);
  TRY(lower_check(x, within(x, rest, all), rest, all, "index %lld is not among the %lld elements of the output"));
  for (int i = in->rank - 1; i >= 0; i--) {
    KExpr *extent = ke_dim(x->k, dim_max(x->c, own[i], dim_const(x->c, 1))); /* of nothing there is no index */
    at[i] = i ? k_bin(x, KOP_mod, rest, extent) : rest;
    rest = i ? lower_once(x, "rest", k_div(x, rest, extent)) : rest;
  }
  TRY(lower_read(x, n->in[0], index, &v));
  ks_store(&x->at, out[0], at, v);
  lower_close(x, depth, behind);
  return ST_OK;
}
const Lowering max_unpool_lower = {LOWER_NEST, .can = unpool_can, .nest = unpool};

/* --- points between pixels --- */

typedef struct Axis { /* the two pixels next to a coordinate, and the weight of the upper one */
  KExpr *low, *high, *part;
} Axis;

/* sum over the four corners of weight * image[plane…, y, x], or the largest of the products. */
static Status corner(Lower *x, Value *image, KExpr *const *plane, const Axis *ax, int which, KExpr **e) {
  KExpr *at[MAX_RANK], *w = NULL;
  int r = image->type.rank, n = r - 2;
  at[0] = plane[0], at[1] = plane[1];
  for (int i = 0; i < n; i++) {
    bool upper = which >> i & 1;
    KExpr *part = upper ? ax[i].part : k_sub(x, k_num(x, ax[i].part, 1), ax[i].part);
    at[i + 2] = upper ? ax[i].high : ax[i].low;
    w = w ? k_mul(x, w, part) : part;
  }
  TRY(lower_read(x, image, at, e));
  *e = k_mul(x, w, ke_cast(x->k, w->dtype, *e));
  return ST_OK;
}

/* --- RoiAlign --- */

static bool roi_align_can(Ctx *c, const Node *n, const char **why) {
  const RoiAlignAttr *a = ATTR(n, RoiAlign);
  (void)c;
  *why = "regions that may not be of four numbers, or not as many as batch indices";
  bool known = (str_is(a->mode, "avg") || str_is(a->mode, "max")) &&
               (str_is(a->coordinate_transformation_mode, "half_pixel") ||
                str_is(a->coordinate_transformation_mode, "output_half_pixel"));
  return known && a->sampling_ratio >= 0 && dim_is(in_of(n, 1)->dim[1], 4) &&
         in_of(n, 1)->dim[0] == in_of(n, 2)->dim[0];
}

typedef struct RoiAxis {
  KExpr *start, *bin; /* the region's begin on the axis, and the extent of a bin */
  KExpr *samples;     /* of a bin, an i64 */
} RoiAxis;

enum { MOST_SAMPLES = 1 << 20 };

/* As many samples as the bin has pixels, where the model does not say; none in one that is malformed. */
static KExpr *samples_of(Lower *x, int64_t ratio, KExpr *bin) {
  if (ratio)
    return num(x, ratio);
  KExpr *n = k_bin(x, KOP_min, k_un(x, KOP_ceil, bin), k_num(x, bin, MOST_SAMPLES)), *zero = k_num(x, bin, 0);
  return lower_once(x, "samples", ke_cast(x->k, DT_i64, ke_select(x->k, k_bin(x, KOP_lt, zero, bin), n, zero)));
}

static KExpr *open_samples(Lower *x, const char *name, int64_t ratio, KExpr *samples, KCursor *behind) {
  KExpr *k = lower_open(x, name, dim_const(x->c, ratio ? ratio : MOST_SAMPLES), behind);
  k->var->def->value = ratio ? NULL : samples;
  return k;
}

static Status roi_axis(Lower *x, const Node *n, KExpr *roi, int axis, RoiAxis *r) {
  const RoiAlignAttr *a = ATTR(n, RoiAlign);
  bool half = str_is(a->coordinate_transformation_mode, "half_pixel");
  KExpr *end[2];
  for (int i = 0; i < 2; i++) { /* columns x, y, x, y */
    TRY(lower_read(x, n->in[1], (KExpr *[]){roi, num(x, 2 * i + 1 - axis)}, &end[i]));
    end[i] = ke_cast(x->k, lower_work(end[i]->dtype), end[i]);
    end[i] = k_sub(x, k_mul(x, end[i], k_num(x, end[i], (double)a->spatial_scale)), k_num(x, end[i], half ? 0.5 : 0));
    end[i] = lower_once(x, "end", end[i]);
  }
  KExpr *size = k_sub(x, end[1], end[0]);
  if (!half)
    size = k_bin(x, KOP_max, size, k_num(x, size, 1));
  r->start = end[0];
  r->bin = lower_once(x, "bin", k_div(x, size, k_num(x, size, (double)(axis ? a->output_width : a->output_height))));
  r->samples = samples_of(x, a->sampling_ratio, r->bin);
  return ST_OK;
}

/* Sample k of bin p; *valid: it is no further than a pixel outside of the image. */
static void roi_sample(Lower *x, const RoiAxis *r, KExpr *p, KExpr *k, Dim extent, Axis *ax, KExpr **valid) {
  DType t = r->bin->dtype;
  KExpr *size = ke_dim(x->k, extent), *top = ke_cast(x->k, t, size), *one = ke_float(x->k, t, 1), *zero = num(x, 0);
  KExpr *part = k_add(x, ke_cast(x->k, t, k), ke_float(x->k, t, 0.5));
  part = k_div(x, part, ke_cast(x->k, t, r->samples));
  KExpr *y = k_add(x, r->start, k_mul(x, k_add(x, ke_cast(x->k, t, p), part), r->bin));
  y = lower_once(x, "y", y);
  *valid = k_bin(x, KOP_and, k_bin(x, KOP_le, ke_float(x->k, t, -1), y), k_bin(x, KOP_le, y, top));
  y = lower_once(x, "y", clamp(x, y, ke_float(x->k, t, 0), k_sub(x, top, one)));
  KExpr *last = k_sub(x, size, num(x, 1));
  ax->low = lower_once(x, "low", clamp(x, ke_cast(x->k, DT_i64, y), zero, last));
  ax->high = k_bin(x, KOP_min, k_add(x, ax->low, num(x, 1)), last);
  ax->part = lower_once(x, "part", k_sub(x, y, ke_cast(x->k, t, ax->low)));
}

static Status roi_align(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const RoiAlignAttr *a = ATTR(n, RoiAlign);
  const Type *in = in_of(n, 0);
  bool max = str_is(a->mode, "max");
  KExpr *image, *valid[2], *v[4], *sum;
  KCursor behind;
  RoiAxis r[2];
  Axis ax[2];
  (void)out;
  TRY(lower_read(x, n->in[2], index, &image));
  image = lower_once(x, "image", image);
  TRY(lower_check(x, within(x, image, in->dim[0]), image, in->dim[0], "a region is of image %lld; there are %lld"));
  for (int i = 2; i < 4; i++)
    if (in->dim[i]->lo < 1) /* every sample is of a pixel */
      ks_check(&x->at, k_bin(x, KOP_lt, num(x, 0), ke_dim(x->k, in->dim[i])), ke_dim(x->k, in->dim[i]))->text =
          "the images are empty: an axis of extent %lld";
  for (int i = 0; i < 2; i++)
    TRY(roi_axis(x, n, index[0], i, &r[i]));
  DType t = r[0].bin->dtype;
  KVar *acc = lower_acc(x, "s", ke_float(x->k, t, max ? -INFINITY : 0));
  KExpr *k[2], *plane[2] = {image, index[1]};
  k[0] = open_samples(x, "v", a->sampling_ratio, r[0].samples, &behind);
  k[1] = open_samples(x, "u", a->sampling_ratio, r[1].samples, NULL);
  for (int i = 0; i < 2; i++)
    roi_sample(x, &r[i], index[i + 2], k[i], in->dim[i + 2], &ax[i], &valid[i]);
  for (int i = 0; i < 4; i++)
    TRY(corner(x, n->in[0], plane, ax, i, &v[i]));
  sum = v[0];
  for (int i = 1; i < 4; i++)
    sum = k_bin(x, max ? KOP_max : KOP_add, sum, v[i]);
  sum = ke_select(x->k, k_bin(x, KOP_and, valid[0], valid[1]), sum, ke_float(x->k, t, 0));
  ks_update(&x->at, acc, max ? KOP_max : KOP_add, sum);
  lower_close(x, 2, behind);
  sum = ke_var(x->k, acc);
  KExpr *count = k_mul(x, r[0].samples, r[1].samples);
  if (max) /* of no samples: 0 */
    sum = ke_select(x->k, k_bin(x, KOP_lt, num(x, 0), count), sum, ke_float(x->k, t, 0));
  else
    sum = k_div(x, sum, ke_cast(x->k, t, k_bin(x, KOP_max, count, num(x, 1))));
  *e = ke_cast(x->k, in->dtype, sum);
  return ST_OK;
}
const Lowering roi_align_lower = {LOWER_ELEM, .can = roi_align_can, .elem = roi_align, .again = true};

/* --- MaxRoiPool --- */

static bool roi_pool_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  *why = "regions that may not be of five numbers";
  return dim_is(in_of(n, 1)->dim[1], 5);
}

/* round(v * scale), halves away from 0. */
static Status roi_edge(Lower *x, const Node *n, KExpr *roi, int column, KExpr **e) {
  TRY(lower_read(x, n->in[1], (KExpr *[]){roi, num(x, column)}, e));
  KExpr *v = ke_cast(x->k, lower_work((*e)->dtype), *e);
  v = k_mul(x, v, k_num(x, v, (double)ATTR(n, MaxRoiPool)->spatial_scale));
  KExpr *size = k_un(x, KOP_floor, k_add(x, k_un(x, KOP_abs, v), k_num(x, v, 0.5)));
  *e = lower_once(x, "edge", k_mul(x, k_un(x, KOP_sign, v), size));
  return ST_OK;
}

/* The pixels of bin p: from *from to *to, clipped to the image. */
static Status roi_span(Lower *x, const Node *n, KExpr *const *index, int axis, KExpr **from, KExpr **to) {
  KExpr *start, *end, *p = index[axis + 2];
  int64_t pooled = ATTR(n, MaxRoiPool)->pooled_shape.v[axis];
  TRY(roi_edge(x, n, index[0], 2 - axis, &start));
  TRY(roi_edge(x, n, index[0], 4 - axis, &end));
  KExpr *one = k_num(x, start, 1), *size = k_bin(x, KOP_max, k_add(x, k_sub(x, end, start), one), one);
  size = lower_once(x, "size", k_div(x, size, k_num(x, start, (double)pooled)));
  KExpr *k = ke_cast(x->k, start->dtype, p);
  KExpr *lo = k_un(x, KOP_floor, k_mul(x, k, size)), *hi = k_un(x, KOP_ceil, k_mul(x, k_add(x, k, one), size));
  KExpr *least = k_num(x, start, 0), *most = ke_cast(x->k, start->dtype, ke_dim(x->k, in_of(n, 0)->dim[axis + 2]));
  *from = lower_once(x, "from", ke_cast(x->k, DT_i64, clamp(x, k_add(x, lo, start), least, most)));
  *to = lower_once(x, "to", ke_cast(x->k, DT_i64, clamp(x, k_add(x, hi, start), least, most)));
  return ST_OK;
}

/* Over the whole image, rows and columns outside of the bin left out: how many it has is known at run time only. */
static Status roi_pool(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *in = in_of(n, 0);
  KExpr *image, *from[2], *to[2], *v, *at[4];
  KCursor behind;
  DType t = lower_work(in->dtype);
  (void)out;
  TRY(lower_read(x, n->in[1], (KExpr *[]){index[0], num(x, 0)}, &image));
  image = lower_once(x, "number", ke_cast(x->k, lower_work(image->dtype), image));
  KExpr *number = k_bin(x, KOP_eq, image, image), *low = k_bin(x, KOP_le, k_num(x, image, 0), image);
  image = ke_select(x->k, k_bin(x, KOP_and, number, low), ke_cast(x->k, DT_i64, image), num(x, -1));
  image = lower_once(x, "image", image);
  TRY(lower_check(x, within(x, image, in->dim[0]), image, in->dim[0], "a region is of image %lld; there are %lld"));
  for (int i = 0; i < 2; i++)
    TRY(roi_span(x, n, index, i, &from[i], &to[i]));
  KVar *acc = lower_acc(x, "m", ke_float(x->k, t, -INFINITY));
  at[0] = image, at[1] = index[1];
  for (int i = 0; i < 2; i++) {
    at[i + 2] = lower_open(x, "w", in->dim[i + 2], i ? NULL : &behind);
    KExpr *inside = k_bin(x, KOP_and, k_bin(x, KOP_le, from[i], at[i + 2]), k_bin(x, KOP_lt, at[i + 2], to[i]));
    lower_if(x, inside, NULL);
  }
  TRY(lower_read(x, n->in[0], at, &v));
  ks_update(&x->at, acc, KOP_max, ke_cast(x->k, t, v));
  lower_close(x, 4, behind);
  KExpr *some = k_bin(x, KOP_and, k_bin(x, KOP_lt, from[0], to[0]), k_bin(x, KOP_lt, from[1], to[1]));
  *e = ke_cast(x->k, in->dtype, ke_select(x->k, some, ke_var(x->k, acc), ke_float(x->k, t, 0)));
  return ST_OK;
}
const Lowering max_roi_pool_lower = {LOWER_ELEM, .can = roi_pool_can, .elem = roi_pool, .again = true};

/* --- DeformConv ---
 *
 *   for b, o…                             parallel: each output position has its columns for itself
 *     for c, k…: col[c, k…] = X[b, c] at the deformed place, times the mask
 *     for m: Y[b, m, o…] = B[m] + sum over c, k… of W[m, c, k…] * col[group of m + c, k…]
 */

typedef struct Deform {
  Lower *x;
  const Node *n;
  int axes;
  int64_t group, parts, taps;
  WindowSpec s;
  DType t;
  KExpr *at[MAX_RANK]; /* [b, -, o…] */
  KBuf *col;
} Deform;

static bool deform_of(Ctx *c, const Node *n, Deform *d) {
  const DeformConvAttr *a = ATTR(n, DeformConv);
  const Type *x = in_of(n, 0), *w = in_of(n, 1), *o = in_of(n, 2), *y = &n->out[0]->type;
  const WindowAttr wa = {.auto_pad = str_of("NOTSET"),
                         .kernel = a->kernel_shape,
                         .pads = a->pads,
                         .strides = a->strides,
                         .dilations = a->dilations};
  int64_t k[MAX_RANK];
  *d = (Deform){.n = n, .axes = x->rank - 2, .group = a->group, .parts = a->offset_group, .taps = 1};
  if (d->axes < 1 || d->axes > 3 || w->rank != x->rank || o->rank != x->rank || d->group < 1 || d->parts < 1)
    return false;
  for (int i = 0; i < d->axes; i++) {
    if (!dim_is_const(w->dim[i + 2], &k[i]) || k[i] < 1 || x->dim[i + 2]->lo < 1 || o->dim[i + 2] != y->dim[i + 2])
      return false;
    d->taps *= k[i];
  }
  Dim per = dim_div(c, x->dim[1], dim_const(c, d->parts)), rows = dim_div(c, w->dim[0], dim_const(c, d->group));
  bool fits = dim_mul(c, per, dim_const(c, d->parts)) == x->dim[1] &&
              dim_mul(c, rows, dim_const(c, d->group)) == w->dim[0] &&
              dim_mul(c, w->dim[1], dim_const(c, d->group)) == x->dim[1] && o->dim[0] == x->dim[0] &&
              dim_is(o->dim[1], d->parts * d->taps * d->axes);
  if (fits && has(n, 4)) {
    const Type *m = in_of(n, 4);
    fits = m->rank == x->rank && m->dim[0] == x->dim[0] && dim_is(m->dim[1], d->parts * d->taps);
    for (int i = 2; fits && i < x->rank; i++)
      fits = m->dim[i] == y->dim[i];
  }
  if (has(n, 3) && (in_of(n, 3)->rank != 1 || in_of(n, 3)->dim[0] != w->dim[0]))
    return false;
  return fits && !window_spec(c, &wa, d->axes, &d->s) && !window_kernel(c, &d->s, k);
}

static bool deform_can(Ctx *c, const Node *n, const char **why) {
  Deform d;
  *why = "extents that are compared at run time";
  return deform_of(c, n, &d);
}

/* The coordinate on axis i through tap k[], and the pixels next to it; *inside[0], [1]: they are pixels. */
static Status deformed_axis(Deform *d, int i, KExpr *part, KExpr *const *k, Axis *ax, KExpr **inside) {
  Lower *x = d->x;
  Dim extent = in_of(d->n, 0)->dim[i + 2];
  KExpr *at[MAX_RANK], *v;
  memcpy(at, d->at, sizeof at);
  at[1] = k_add(x, k_mul(x, part, num(x, d->axes)), num(x, i));
  TRY(lower_read(x, d->n->in[2], at, &v));
  KExpr *base = k_add(x, k_mul(x, d->at[i + 2], num(x, d->s.stride[i])), k_mul(x, k[i], num(x, d->s.dilation[i])));
  base = k_sub(x, base, num(x, d->s.begin[i]));
  v = lower_once(x, "p", k_add(x, ke_cast(x->k, d->t, base), ke_cast(x->k, d->t, v)));
  KExpr *low = lower_once(x, "floor", k_un(x, KOP_floor, v)), *top = ke_cast(x->k, d->t, ke_dim(x->k, extent));
  ax->part = lower_once(x, "part", k_sub(x, v, low));
  low = lower_once(x, "low", ke_cast(x->k, DT_i64, clamp(x, low, ke_float(x->k, d->t, -2), top)));
  KExpr *high = k_add(x, low, num(x, 1)), *last = k_sub(x, ke_dim(x->k, extent), num(x, 1));
  inside[0] = within(x, low, extent), inside[1] = within(x, high, extent);
  ax->low = clamp(x, low, num(x, 0), last), ax->high = clamp(x, high, num(x, 0), last);
  return ST_OK;
}

static Status deformed_column(Deform *d, KExpr *c, KExpr *const *k, KExpr **sum) {
  Lower *x = d->x;
  const Type *in = in_of(d->n, 0);
  KExpr *tap = num(x, 0), *plane[2] = {d->at[0], c}, *inside[3][2], *v;
  Dim per = dim_div(x->c, in->dim[1], dim_const(x->c, d->parts));
  Axis ax[3];
  for (int i = 0; i < d->axes; i++)
    tap = k_add(x, k_mul(x, tap, num(x, d->s.kernel[i])), k[i]);
  KExpr *part = d->parts > 1 ? k_div(x, c, ke_dim(x->k, per)) : num(x, 0);
  part = lower_once(x, "tap", k_add(x, k_mul(x, part, num(x, d->taps)), tap));
  for (int i = 0; i < d->axes; i++)
    TRY(deformed_axis(d, i, part, k, &ax[i], inside[i]));
  *sum = NULL;
  for (int w = 0; w < 1 << d->axes; w++) {
    KExpr *ok = inside[0][w & 1];
    for (int i = 1; i < d->axes; i++)
      ok = k_bin(x, KOP_and, ok, inside[i][w >> i & 1]);
    TRY(corner(x, d->n->in[0], plane, ax, w, &v));
    v = ke_select(x->k, ok, v, ke_float(x->k, d->t, 0));
    *sum = *sum ? k_add(x, *sum, v) : v;
  }
  if (has(d->n, 4)) {
    KExpr *at[MAX_RANK];
    memcpy(at, d->at, sizeof at);
    at[1] = part;
    TRY(lower_read(x, d->n->in[4], at, &v));
    *sum = k_mul(x, *sum, ke_cast(x->k, d->t, v));
  }
  return ST_OK;
}

static Status deform_columns(Deform *d) {
  Lower *x = d->x;
  KExpr *index[4], *v;
  KCursor behind;
  index[0] = lower_open(x, "c", in_of(d->n, 0)->dim[1], &behind);
  for (int i = 0; i < d->axes; i++)
    index[i + 1] = lower_open(x, "w", dim_const(x->c, d->s.kernel[i]), NULL);
  TRY(deformed_column(d, index[0], index + 1, &v));
  ks_store(&x->at, d->col, index, v);
  lower_close(x, 1 + d->axes, behind);
  return ST_OK;
}

static Status deform_product(Deform *d, KBuf *y) {
  Lower *x = d->x;
  const Type *w = in_of(d->n, 1);
  KExpr *at[MAX_RANK], *col[4], *v, *f;
  KCursor behind, inner;
  KExpr *m = lower_open(x, "m", w->dim[0], &behind);
  KExpr *g = k_div(x, m, ke_dim(x->k, dim_div(x->c, w->dim[0], dim_const(x->c, d->group))));
  g = lower_once(x, "first", k_mul(x, g, ke_dim(x->k, w->dim[1])));
  KVar *acc = lower_acc(x, "s", ke_float(x->k, d->t, 0));
  at[0] = m, at[1] = lower_open(x, "c", w->dim[1], &inner);
  col[0] = d->group > 1 ? k_add(x, g, at[1]) : at[1];
  for (int i = 0; i < d->axes; i++)
    at[i + 2] = col[i + 1] = lower_open(x, "w", dim_const(x->c, d->s.kernel[i]), NULL);
  TRY(lower_read(x, d->n->in[1], at, &f));
  ks_update(&x->at, acc, KOP_add, k_mul(x, ke_cast(x->k, d->t, f), ke_load(x->k, d->col, col)));
  lower_close(x, 1 + d->axes, inner);
  v = ke_var(x->k, acc);
  if (has(d->n, 3)) {
    TRY(lower_read(x, d->n->in[3], &m, &f));
    v = k_add(x, v, ke_cast(x->k, d->t, f));
  }
  memcpy(at, d->at, sizeof at);
  at[1] = m;
  ks_store(&x->at, y, at, ke_cast(x->k, y->dtype, v));
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status deform(Lower *x, const Node *n, KBuf *const *out) {
  const Type *y = &n->out[0]->type;
  Dim dim[4] = {in_of(n, 0)->dim[1]};
  KCursor behind;
  Deform d;
  deform_of(x->c, n, &d);
  d.x = x, d.t = lower_work(y->dtype);
  for (int i = 0; i < d.axes; i++)
    dim[i + 1] = dim_const(x->c, d.s.kernel[i]);
  d.col = kernel_add_temp(x->k, "col", d.t, d.axes + 1, dim);
  d.at[0] = lower_open(x, "b", y->dim[0], &behind);
  d.at[1] = num(x, 0);
  for (int i = 0; i < d.axes; i++)
    d.at[i + 2] = lower_open(x, "o", y->dim[i + 2], NULL);
  TRY(deform_columns(&d));
  TRY(deform_product(&d, out[0]));
  lower_close(x, 1 + d.axes, behind);
  return ST_OK;
}
const Lowering deform_conv_lower = {LOWER_NEST, .can = deform_can, .nest = deform};
