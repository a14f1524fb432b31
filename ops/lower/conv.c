/* conv.c - lowering of Conv, ConvTranspose (22), ConvInteger and QLinearConv (10) as plain loops: for what the product
 * generator does not take (codegen/conv.c): element types other than f32, extents of the weight known at run time only, more
 * than three axes, the transposed and the integer forms.
 *
 *   acc s                              for each output element; lanes run along its last axis
 *   for c in the channels of a group
 *     for t in the kernel's axes       left out where they are outside of the input
 *       s += x[place] * w[tap]
 *
 * Transposed, the taps come first: one in `stride` of them meets an element of the input.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include "ops/eval/nn.h"

#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

typedef struct Conv {
  const Node *n;
  int iw, ibias; /* inputs: the weight, the bias */
  int axes;      /* spatial */
  int64_t group, stride[MAX_RANK], dilation[MAX_RANK];
  Dim begin[MAX_RANK];                /* padding in front */
  bool low[MAX_RANK], high[MAX_RANK]; /* may a window reach beyond the input there? */
} Conv;

static Dim kernel_dim(const Conv *k, int i) { return in_of(k->n, k->iw)->dim[i + 2]; }

/* The dilated kernel less 1. */
static Dim reach(Ctx *c, const Conv *k, int i) {
  return dim_mul(c, dim_sub(c, kernel_dim(k, i), dim_const(c, 1)), dim_const(c, k->dilation[i]));
}

static Dim half(Ctx *c, AutoPad mode, Dim total) {
  Dim less = dim_div(c, total, dim_const(c, 2));
  return mode == PAD_SAME_UPPER ? less : dim_sub(c, total, less);
}

static bool conv_of(Ctx *c, const Node *n, Conv *k) {
  const ConvAttr *a = ATTR(n, Conv);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  bool plain = n->op == OP_Conv, byte = n->op == OP_QLinearConv;
  *k = (Conv){.n = n, .iw = byte ? 3 : 1, .ibias = plain ? 2 : byte ? 8 : -1, .group = a->group};
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  WindowSpec s;
  k->axes = in->rank - 2;
  if (in->rank < 3 || in_of(n, k->iw)->rank != in->rank || a->group < 1 || window_spec(c, &wa, k->axes, &s))
    return false;
  for (int i = 0; i < k->axes; i++) {
    Dim zero = dim_const(c, 0), end = dim_const(c, s.end[i]);
    k->stride[i] = s.stride[i], k->dilation[i] = s.dilation[i];
    k->begin[i] = dim_const(c, s.begin[i]);
    if (s.mode == PAD_SAME_UPPER || s.mode == PAD_SAME_LOWER) {
      Dim last = dim_mul(c, dim_sub(c, out->dim[i + 2], dim_const(c, 1)), dim_const(c, s.stride[i]));
      Dim room = dim_sub(c, in->dim[i + 2], dim_const(c, 1));
      Dim total = dim_max(c, zero, dim_sub(c, dim_add(c, last, reach(c, k, i)), room));
      k->begin[i] = half(c, s.mode, total), end = dim_sub(c, total, k->begin[i]);
    }
    k->low[i] = !dim_is(k->begin[i], 0), k->high[i] = !dim_is(end, 0);
  }
  return true;
}

/* Inputs [from, to) have one element, or, where per_channel says so, one per output channel. */
static bool one_element(const Node *n, int i, Dim channels) {
  const Type *t = has(n, i) ? in_of(n, i) : NULL;
  if (!t || t->rank == 0)
    return true;
  return t->rank == 1 && (dim_is(t->dim[0], 1) || (channels && t->dim[0] == channels));
}

static bool is_byte(const Type *t) { return t->dtype == DT_u8 || t->dtype == DT_i8; }

static bool bytes_can(const Node *n, const Conv *k) {
  Dim channels = in_of(n, k->iw)->dim[0];
  int zero_x = 2, zero_w = k->iw == 3 ? 5 : 3;
  if (!is_byte(in_of(n, 0)) || !is_byte(in_of(n, k->iw)) || !one_element(n, zero_x, NULL) ||
      !one_element(n, zero_w, channels))
    return false;
  return n->op == OP_ConvInteger || (one_element(n, 1, NULL) && one_element(n, 4, channels) &&
                                     one_element(n, 6, NULL) && one_element(n, 7, NULL) && is_byte(in_of(n, 7)));
}

static bool conv_can(Ctx *c, const Node *n, const char **why) {
  Conv k;
  (void)why;
  return conv_of(c, n, &k) && (n->op == OP_Conv || bytes_can(n, &k));
}

/* i as an index of an input of one element, or of one per output channel m. */
static Status read_channel(Lower *x, const Node *n, int i, KExpr *m, KExpr **e) {
  KExpr *at[1] = {dim_is(type_count(x->c, in_of(n, i)), 1) ? num(x, 0) : m};
  return lower_read(x, n->in[i], at, e);
}

/* An element as it enters the sum: in the type sums have, less its zero point. zero: that input; -1: there is none. */
static Status term(Lower *x, const Node *n, int i, int zero, KExpr *const *at, KExpr *m, DType t, KExpr **e) {
  KExpr *z;
  TRY(lower_read(x, n->in[i], at, e));
  *e = ke_cast(x->k, t, *e);
  if (zero < 0 || !has(n, zero))
    return ST_OK;
  TRY(read_channel(x, n, zero, m, &z));
  *e = k_sub(x, *e, ke_cast(x->k, t, z));
  return ST_OK;
}

/* The first channel of the input that output channel m reads. */
static KExpr *first_channel(Lower *x, const Conv *k, KExpr *m, Dim channels, Dim rows) {
  return k->group == 1 ? num(x, 0) : k_mul(x, k_div(x, m, ke_dim(x->k, rows)), ke_dim(x->k, channels));
}

/* Loops over the window at output position `index`, open behind it: how many levels. at: the place in the input, tap: in the
 * weight, both from axis 2 on. */
static int open_window(Lower *x, const Conv *k, KExpr *const *index, KExpr **at, KExpr **tap) {
  const Type *in = in_of(k->n, 0);
  int depth = 0;
  for (int i = 0; i < k->axes; i++) {
    KExpr *inside = NULL, *t = num(x, 0);
    if (!dim_is(kernel_dim(k, i), 1))
      t = lower_open(x, "t", kernel_dim(k, i), NULL), depth++;
    KExpr *start = k_sub(x, k_mul(x, index[i + 2], num(x, k->stride[i])), ke_dim(x->k, k->begin[i]));
    KExpr *place = k_add(x, start, k_mul(x, t, num(x, k->dilation[i])));
    if (k->low[i])
      inside = k_bin(x, KOP_le, num(x, 0), place);
    if (k->high[i]) {
      KExpr *below = k_bin(x, KOP_lt, place, ke_dim(x->k, in->dim[i + 2]));
      inside = inside ? k_bin(x, KOP_and, inside, below) : below;
    }
    if (inside)
      lower_if(x, inside, NULL), depth++;
    at[i + 2] = place, tap[i + 2] = t;
  }
  return depth;
}

/* The type sums are kept in: 32 bits hold what bytes give unless there are very many of them; ConvInteger wraps there. */
static DType sum_type(Ctx *c, const Conv *k) {
  const Type *w = in_of(k->n, k->iw);
  Dim terms = dim_const(c, 1);
  if (k->n->op == OP_Conv)
    return lower_work(w->dtype);
  for (int i = 1; i < w->rank; i++)
    terms = dim_mul(c, terms, w->dim[i]);
  return k->n->op == OP_ConvInteger || terms->hi < (INT32_MAX >> 16) ? DT_i32 : DT_i64;
}

static Status conv_sum(Lower *x, const Conv *k, KExpr *const *index, KExpr **e) {
  const Node *n = k->n;
  const Type *w = in_of(n, k->iw);
  DType t = sum_type(x->c, k);
  int zero_x = n->op == OP_Conv ? -1 : 2, zero_w = n->op == OP_Conv ? -1 : k->iw == 3 ? 5 : 3;
  KExpr *at[MAX_RANK], *tap[MAX_RANK], *p, *q, *m = index[1];
  KCursor behind;
  Dim rows = dim_div(x->c, w->dim[0], dim_const(x->c, k->group));
  Dim have = in_of(n, 0)->dim[1], takes = dim_mul(x->c, w->dim[1], dim_const(x->c, k->group));
  if (have != takes)
    TRY(lower_check(x, k_bin(x, KOP_eq, ke_dim(x->k, have), ke_dim(x->k, takes)), ke_dim(x->k, takes), have,
                    "W takes %lld channels (in all groups), X has %lld"));
  KVar *acc = lower_acc(x, "s", dtype_is_float(t) ? ke_float(x->k, t, 0) : ke_int(x->k, t, 0));
  KExpr *first = first_channel(x, k, m, w->dim[1], rows), *c = lower_open(x, "c", w->dim[1], &behind);
  at[0] = index[0], at[1] = k_add(x, first, c), tap[0] = m, tap[1] = c;
  int depth = open_window(x, k, index, at, tap);
  TRY(term(x, n, 0, zero_x, at, m, t, &p));
  TRY(term(x, n, k->iw, zero_w, tap, m, t, &q));
  ks_update(&x->at, acc, KOP_add, k_mul(x, p, q));
  lower_close(x, depth + 1, behind);
  *e = ke_var(x->k, acc);
  return ST_OK;
}

static Status add_bias(Lower *x, const Node *n, int i, KExpr *m, KExpr **e) {
  KExpr *b;
  if (i < 0 || !has(n, i))
    return ST_OK;
  TRY(lower_same_extent(x, n->out[0]->type.dim[1], in_of(n, i)->dim[0],
                        "the length of the bias must be %lld, not %lld"));
  TRY(lower_read(x, n->in[i], &m, &b));
  *e = k_add(x, *e, ke_cast(x->k, (*e)->dtype, b));
  return ST_OK;
}

static Status conv(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  Conv k;
  (void)out;
  conv_of(x->c, n, &k);
  TRY(conv_sum(x, &k, index, e));
  TRY(add_bias(x, n, k.ibias, index[1], e));
  *e = ke_cast(x->k, n->out[0]->type.dtype, *e);
  return ST_OK;
}
const Lowering conv_lower = {LOWER_ELEM, .can = conv_can, .elem = conv, .again = true};

/* round(sum * (x_scale * w_scale / y_scale)) + y_zero, saturated; the factor in f32, as the scales are, the rest in f64, which
 * holds every sum. */
static Status qlinear_conv(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  Conv k;
  KExpr *sx, *sw, *sy, *zero, *m = index[1];
  DType t = n->out[0]->type.dtype;
  double low = t == DT_u8 ? 0 : -128, high = t == DT_u8 ? 255 : 127;
  (void)out;
  conv_of(x->c, n, &k);
  TRY(conv_sum(x, &k, index, e));
  *e = ke_cast(x->k, DT_f64, *e);
  TRY(add_bias(x, n, k.ibias, m, e));
  TRY(read_channel(x, n, 1, m, &sx));
  TRY(read_channel(x, n, 4, m, &sw));
  TRY(read_channel(x, n, 6, m, &sy));
  TRY(read_channel(x, n, 7, m, &zero));
  KExpr *factor = lower_once(x, "f", ke_cast(x->k, DT_f64, k_div(x, k_mul(x, sx, sw), sy)));
  *e = k_add(x, k_un(x, KOP_round, k_mul(x, *e, factor)), ke_cast(x->k, DT_f64, zero));
  *e = k_bin(x, KOP_min, k_bin(x, KOP_max, *e, k_num(x, *e, low)), k_num(x, *e, high));
  *e = ke_cast(x->k, t, ke_cast(x->k, DT_i32, *e));
  return ST_OK;
}
const Lowering qlinear_conv_lower = {LOWER_ELEM, .can = conv_can, .elem = qlinear_conv, .again = true};

/* --- transposed --- */

static bool transpose_of(Ctx *c, const Node *n, Conv *k) {
  const ConvTransposeAttr *a = ATTR(n, ConvTranspose);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  WindowSpec s;
  *k = (Conv){.n = n, .iw = 1, .ibias = 2, .axes = in->rank - 2, .group = a->group};
  if (in->rank < 3 || in_of(n, 1)->rank != in->rank || a->group < 1 || window_spec(c, &wa, k->axes, &s) ||
      conv_transpose_lists(c, a, k->axes))
    return false;
  for (int i = 0; i < k->axes; i++) {
    int64_t extra = a->output_padding.n ? a->output_padding.v[i] : 0;
    k->stride[i] = s.stride[i], k->dilation[i] = s.dilation[i];
    k->begin[i] = dim_const(c, s.mode == PAD_EXPLICIT ? s.begin[i] : 0);
    if (!a->output_shape.n && s.mode != PAD_SAME_UPPER && s.mode != PAD_SAME_LOWER)
      continue;
    Dim steps = dim_mul(c, dim_sub(c, in->dim[i + 2], dim_const(c, 1)), dim_const(c, s.stride[i]));
    Dim full = dim_add(c, dim_add(c, steps, reach(c, k, i)), dim_const(c, extra + 1));
    Dim total = dim_max(c, dim_const(c, 0), dim_sub(c, full, out->dim[i + 2]));
    k->begin[i] = half(c, s.mode, total);
  }
  return true;
}

static bool transpose_can(Ctx *c, const Node *n, const char **why) {
  Conv k;
  (void)why;
  return transpose_of(c, n, &k);
}

/* Loops over the taps that meet an element of the input at output position `index`. */
static int open_taps(Lower *x, const Conv *k, KExpr *const *index, KExpr **at, KExpr **tap, KCursor *behind) {
  const Type *in = in_of(k->n, 0);
  int depth = 0;
  for (int i = 0; i < k->axes; i++) {
    KExpr *t = num(x, 0), *s = num(x, k->stride[i]);
    if (!dim_is(kernel_dim(k, i), 1))
      t = lower_open(x, "t", kernel_dim(k, i), depth++ ? NULL : behind);
    KExpr *far = k_sub(x, k_add(x, index[i + 2], ke_dim(x->k, k->begin[i])), k_mul(x, t, num(x, k->dilation[i])));
    far = lower_once(x, "q", far);
    KExpr *place = lower_once(x, "y", k_div(x, far, s));
    KExpr *inside =
        k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), far), k_bin(x, KOP_lt, place, ke_dim(x->k, in->dim[i + 2])));
    if (k->stride[i] > 1)
      inside = k_bin(x, KOP_and, inside, k_bin(x, KOP_eq, k_mul(x, place, s), far));
    lower_if(x, inside, depth++ ? NULL : behind);
    at[i + 2] = place, tap[i + 2] = t;
  }
  return depth;
}

static Status conv_transpose(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  Conv k;
  const Type *w = in_of(n, 1);
  DType t = lower_work(w->dtype);
  KExpr *at[MAX_RANK], *tap[MAX_RANK], *p, *q, *m = index[1];
  KCursor behind;
  (void)out;
  transpose_of(x->c, n, &k);
  Dim channels = dim_div(x->c, w->dim[0], dim_const(x->c, k.group));
  TRY(lower_same_extent(x, in_of(n, 0)->dim[1], w->dim[0],
                        "the first extent of W (input channels) must be %lld, not %lld"));
  KVar *acc = lower_acc(x, "s", ke_float(x->k, t, 0));
  KExpr *first = lower_once(x, "g", first_channel(x, &k, m, channels, w->dim[1]));
  int depth = open_taps(x, &k, index, at, tap, &behind);
  KExpr *c = lower_open(x, "c", channels, NULL);
  at[0] = index[0], at[1] = tap[0] = k_add(x, first, c);
  tap[1] = k.group == 1 ? m : k_bin(x, KOP_mod, m, ke_dim(x->k, w->dim[1]));
  TRY(term(x, n, 0, -1, at, m, t, &p));
  TRY(term(x, n, 1, -1, tap, m, t, &q));
  ks_update(&x->at, acc, KOP_add, k_mul(x, p, q));
  lower_close(x, depth + 1, behind);
  *e = ke_var(x->k, acc);
  TRY(add_bias(x, n, 2, m, e));
  *e = ke_cast(x->k, n->out[0]->type.dtype, *e);
  return ST_OK;
}
const Lowering conv_transpose_lower = {LOWER_ELEM, .can = transpose_can, .elem = conv_transpose, .again = true};
