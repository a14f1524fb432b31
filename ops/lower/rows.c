/* rows.c - lowering of what works on rows: reductions, softmax, norms, ArgMax, CumSum.
 *
 * Sums are kept in f32 (f64 for f64): a vector loop keeps one partial sum per lane. Means and variances take two passes, as
 * the definitions have it: the variance from the differences to the mean, not from the sum of squares.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <math.h>
#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static int axis_of(int64_t axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }

/* --- passes over the row --- */

/* The index in terms of input 0's own axes. */
void row_index(const Row *r, KExpr **at) {
  int k = 0;
  for (int i = 0; i < r->rank; i++, k++) {
    at[k] = r->at[i];
    if (i == r->split) {
      at[k] = k_add(r->x, k_mul(r->x, r->at[i], ke_dim(r->x->k, r->dim[i + 1])), r->at[i + 1]);
      i++;
    }
  }
}

KExpr *row_open(Row *r, int axis, KCursor *behind) {
  KExpr *k = lower_open(r->x, "k", r->dim[axis], behind);
  if (r->backwards)
    k = k_sub(r->x, k_sub(r->x, ke_dim(r->x->k, r->dim[axis]), lower_index_const(r->x, 1)), k);
  return r->outer[axis] ? k_add(r->x, r->lead[axis], k) : k;
}

/* Opens the loops over the row's axes. */
static int open_pass(Row *r, KCursor *behind) {
  int depth = 0;
  for (int i = 0; i < r->rank; i++)
    if (r->inner[i])
      r->at[i] = row_open(r, i, depth++ ? NULL : behind);
  return depth;
}

/* Means and lengths of integers are taken of 64-bit sums; other sums of integers may wrap where they are. */
static DType work(const Row *r) {
  DType t = in_of(r->n, 0)->dtype;
  if (dtype_is_int(t) && (r->n->op == OP_ReduceMean || r->n->op == OP_ReduceL2))
    return dtype_kind(t) == DK_UINT ? DT_u64 : DT_i64;
  return lower_work(t);
}

/* Input 0 at the index of the pass, as work type. */
static Status element(Row *r, KExpr **v) {
  KExpr *at[MAX_RANK + 1];
  row_index(r, at);
  TRY(lower_read(r->x, r->n->in[0], at, v));
  *v = ke_cast(r->x->k, work(r), *v);
  return ST_OK;
}

/* Elements in a row, as a number of the work type. */
static KExpr *row_count(Row *r) {
  Dim n = dim_const(r->x->c, 1);
  int64_t v;
  for (int i = 0; i < r->rank; i++)
    if (r->inner[i])
      n = dim_mul(r->x->c, n, r->dim[i]);
  if (dim_is_const(n, &v))
    return dtype_is_float(work(r)) ? ke_float(r->x->k, work(r), (double)v) : ke_int(r->x->k, work(r), v);
  KExpr *e = lower_index_const(r->x, 1); /* one by one: an expression for all may be too large to be kept */
  for (int i = 0; i < r->rank; i++)
    if (r->inner[i])
      e = k_mul(r->x, e, ke_dim(r->x->k, r->dim[i]));
  return lower_once(r->x, "n", ke_cast(r->x->k, work(r), e));
}

typedef KExpr *(*Term)(Row *r, KExpr *v);

/* acc op= term(x) over the row, from `init`. */
static Status gather_row(Row *r, const char *name, KOp op, KExpr *init, Term term, KVar **acc) {
  KCursor behind;
  KExpr *v;
  *acc = ks_acc(&r->x->at, name, init);
  lower_set_level(r->x, *acc, r->x->depth);
  int depth = open_pass(r, &behind);
  TRY(element(r, &v));
  ks_update(&r->x->at, *acc, op, term ? term(r, v) : v);
  lower_close(r->x, depth, behind);
  return ST_OK;
}

static KExpr *row_var(Row *r, int i) { return ke_var(r->x->k, r->stat[i]); }

/* A number found out about the row, for row_elem. */
static void set_stat(Row *r, int i, const char *name, KExpr *e) {
  KVar *v = ks_let(&r->x->at, name, e);
  lower_set_level(r->x, v, r->x->depth);
  r->stat[i] = v;
}

static KExpr *zero(Row *r) { return ke_float(r->x->k, work(r), 0); }

static void whole_space(Row *r) {
  const Type *t = in_of(r->n, 0);
  r->rank = t->rank;
  r->split = -1;
  memcpy(r->dim, t->dim, sizeof t->dim);
}

static bool float_rows(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return dtype_is_float(in_of(n, 0)->dtype);
}

/* --- Softmax, LogSoftmax, Hardmax (13) --- */

static void axis_space(Ctx *c, Row *r) {
  (void)c;
  whole_space(r);
  r->inner[axis_of(r->n->op == OP_LpNormalization ? ATTR(r->n, LpNormalization)->axis : ATTR(r->n, Softmax)->axis,
                   r->rank)] = true;
}

static KExpr *exp_shifted(Row *r, KExpr *v) { return k_un(r->x, KOP_exp, k_sub(r->x, v, row_var(r, 0))); }

enum { KEPT_ROW = 1 << 14 };

/* Where the exponentials of a row are kept: in memory of its own, which stays in the cache, so that the result is written once and
 * may go past it; where rows are long or not known, or walked down, in the place of the result if that is free. */
static void keep_row(Row *r) {
  int axis = axis_of(ATTR(r->n, Softmax)->axis, r->rank);
  int64_t n;
  for (int i = axis + 1; i < r->rank; i++)
    if (!dim_is(r->dim[i], 1))
      return;
  if (dim_is_const(r->dim[axis], &n) && n <= KEPT_ROW)
    r->spill = kernel_add_temp(r->x->k, "e", work(r), 1, &r->dim[axis]);
}

static KExpr *const *kept_at(const Row *r, KExpr *const *index) {
  return r->spill->temp ? &index[axis_of(ATTR(r->n, Softmax)->axis, r->rank)] : index;
}

/* The largest, then the sum of the exponentials, which are kept. */
static Status softmax_begin(Row *r) {
  KVar *m, *s;
  KExpr *v, *at[MAX_RANK + 1];
  Lower *x = r->x;
  KCursor behind;
  TRY(gather_row(r, "m", KOP_max, ke_float(x->k, work(r), -INFINITY), NULL, &m));
  r->stat[0] = m;
  if (r->n->op == OP_Softmax)
    keep_row(r);
  s = ks_acc(&x->at, "s", zero(r));
  lower_set_level(x, s, x->depth);
  int depth = open_pass(r, &behind);
  TRY(element(r, &v));
  v = exp_shifted(r, v);
  if (r->spill && r->n->op == OP_Softmax) {
    v = lower_once(x, "e", v);
    row_index(r, at);
    ks_store(&x->at, r->spill, kept_at(r, at), v);
  }
  ks_update(&x->at, s, KOP_add, v);
  lower_close(r->x, depth, behind);
  if (r->n->op == OP_Softmax)
    set_stat(r, 1, "r", k_div(x, ke_float(x->k, work(r), 1), ke_var(x->k, s)));
  else
    set_stat(r, 1, "l", k_un(x, KOP_log, ke_var(x->k, s)));
  return ST_OK;
}

static Status softmax_elem(Row *r, KExpr *const *index, KExpr **e) {
  Lower *x = r->x;
  KExpr *v;
  if (r->spill && r->n->op == OP_Softmax) {
    v = ke_load(x->k, r->spill, kept_at(r, index));
    *e = ke_cast(x->k, r->n->out[0]->type.dtype, k_mul(x, v, row_var(r, 1)));
    return ST_OK;
  }
  TRY(element(r, &v));
  if (r->n->op == OP_Softmax)
    v = k_mul(x, exp_shifted(r, v), row_var(r, 1));
  else
    v = k_sub(x, k_sub(x, v, row_var(r, 0)), row_var(r, 1));
  *e = ke_cast(x->k, r->n->out[0]->type.dtype, v);
  return ST_OK;
}
const Lowering softmax_lower = {
    LOWER_ROW, 3, float_rows, .space = axis_space, .begin = softmax_begin, .row_elem = softmax_elem};

/* --- Hardmax (13): 1 at the first of the largest, or at the first NaN --- */

static KExpr *term_first(Row *r, KExpr *v) {
  Lower *x = r->x;
  v = lower_once(x, "v", v);
  KExpr *hit = k_bin(x, KOP_or, k_bin(x, KOP_eq, v, row_var(r, 0)), k_un(x, KOP_isnan, v));
  return ke_select(x->k, hit, r->at[axis_of(ATTR(r->n, Softmax)->axis, r->rank)], lower_index_const(x, INT64_MAX));
}
static Status hardmax_begin(Row *r) {
  KVar *m, *at;
  TRY(gather_row(r, "m", KOP_max, ke_float(r->x->k, work(r), -INFINITY), NULL, &m));
  r->stat[0] = m;
  TRY(gather_row(r, "at", KOP_min, lower_index_const(r->x, INT64_MAX), term_first, &at));
  r->stat[0] = at;
  return ST_OK;
}
static Status hardmax_elem(Row *r, KExpr *const *index, KExpr **e) {
  DType t = r->n->out[0]->type.dtype;
  KExpr *here = k_bin(r->x, KOP_eq, index[axis_of(ATTR(r->n, Softmax)->axis, r->rank)], row_var(r, 0));
  *e = ke_select(r->x->k, here, ke_float(r->x->k, t, 1), ke_float(r->x->k, t, 0));
  return ST_OK;
}
const Lowering hardmax_lower = {
    LOWER_ROW, 2, float_rows, .space = axis_space, .begin = hardmax_begin, .row_elem = hardmax_elem};

/* --- LpNormalization (22) --- */

static KExpr *term_abs(Row *r, KExpr *v) { return k_un(r->x, KOP_abs, v); }
static KExpr *term_square(Row *r, KExpr *v) {
  v = lower_once(r->x, "v", v);
  return k_mul(r->x, v, v);
}

static Status lp_norm_begin(Row *r) {
  KVar *s;
  bool one = ATTR(r->n, LpNormalization)->p == 1;
  TRY(gather_row(r, "s", KOP_add, zero(r), one ? term_abs : term_square, &s));
  KExpr *v = ke_var(r->x->k, s);
  set_stat(r, 0, "norm", one ? v : k_un(r->x, KOP_sqrt, v));
  return ST_OK;
}
static Status lp_norm_elem(Row *r, KExpr *const *index, KExpr **e) {
  (void)index;
  KExpr *v, *norm = row_var(r, 0);
  TRY(element(r, &v));
  v = ke_select(r->x->k, k_bin(r->x, KOP_eq, norm, zero(r)), zero(r), k_div(r->x, v, norm));
  *e = ke_cast(r->x->k, r->n->out[0]->type.dtype, v);
  return ST_OK;
}
const Lowering lp_norm_lower = {
    LOWER_ROW, 2, float_rows, .space = axis_space, .begin = lp_norm_begin, .row_elem = lp_norm_elem};

/* --- norms by mean and variance --- */

static KExpr *term_deviation(Row *r, KExpr *v) {
  KExpr *d = lower_once(r->x, "d", k_sub(r->x, v, row_var(r, 0)));
  return k_mul(r->x, d, d);
}

static double epsilon_of(const Node *n) {
  switch (n->op) {
  case OP_LayerNormalization: return ATTR(n, LayerNormalization)->epsilon;
  case OP_RMSNormalization: return ATTR(n, RMSNormalization)->epsilon;
  case OP_InstanceNormalization: return ATTR(n, InstanceNormalization)->epsilon;
  case OP_GroupNormalization: return ATTR(n, GroupNormalization)->epsilon;
  default: return 0;
  }
}

/* stat 0: the mean; stat 1: 1 / sqrt(variance + epsilon). */
static Status moments_begin(Row *r) {
  Lower *x = r->x;
  KVar *s, *q;
  KExpr *n = row_count(r), *one = ke_float(x->k, work(r), 1);
  TRY(gather_row(r, "s", KOP_add, zero(r), NULL, &s));
  set_stat(r, 0, "mean", k_div(x, ke_var(x->k, s), n));
  TRY(gather_row(r, "q", KOP_add, zero(r), term_deviation, &q));
  KExpr *var = k_div(x, ke_var(x->k, q), n);
  if (r->n->op == OP_MeanVarianceNormalization)
    set_stat(r, 1, "inv", k_div(x, one, k_add(x, k_un(x, KOP_sqrt, var), ke_float(x->k, work(r), 1e-9))));
  else
    set_stat(r, 1, "inv", k_div(x, one, k_un(x, KOP_sqrt, k_add(x, var, ke_float(x->k, work(r), epsilon_of(r->n))))));
  return ST_OK;
}

/* Input i broadcast to the element, or read by channel. */
static Status parameter(Row *r, int i, KExpr *const *index, bool by_channel, KExpr **e) {
  KExpr *channel[1] = {index[by_channel ? 1 : 0]};
  if (by_channel)
    TRY(lower_read(r->x, r->n->in[i], channel, e));
  else
    TRY(lower_read_bcast(r->x, r->n, i, index, e));
  *e = ke_cast(r->x->k, lower_work((*e)->dtype), *e);
  return ST_OK;
}

/* scale * v + bias, rounded to the input's type in between when that is narrow. */
static Status affine(Row *r, KExpr *v, KExpr *const *index, bool by_channel, KExpr **e) {
  Lower *x = r->x;
  KExpr *p;
  v = ke_cast(x->k, work(r), ke_cast(x->k, in_of(r->n, 0)->dtype, v));
  for (int i = 1; i < 3; i++) {
    if (!has(r->n, i))
      continue;
    TRY(parameter(r, i, index, by_channel, &p));
    v = ke_cast(x->k, p->dtype, v);
    v = i == 1 ? k_mul(x, v, p) : k_add(x, v, p);
  }
  *e = ke_cast(x->k, r->n->out[0]->type.dtype, v);
  return ST_OK;
}

static Status normalised(Row *r, KExpr **v) {
  TRY(element(r, v));
  *v = k_mul(r->x, k_sub(r->x, *v, row_var(r, 0)), row_var(r, 1));
  return ST_OK;
}

static void tail_space(Ctx *c, Row *r) {
  (void)c;
  whole_space(r);
  bool layer = r->n->op == OP_LayerNormalization;
  for (int i = axis_of(layer ? ATTR(r->n, LayerNormalization)->axis : ATTR(r->n, RMSNormalization)->axis, r->rank);
       i < r->rank; i++)
    r->inner[i] = true;
}
static Status layer_norm_elem(Row *r, KExpr *const *index, KExpr **e) {
  KExpr *v;
  TRY(normalised(r, &v));
  return affine(r, v, index, false, e);
}
static KExpr *layer_norm_stat(Row *r, int out) { return row_var(r, out - 1); }
static bool layer_norm_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  DType t = in_of(n, 0)->dtype;
  *why = "the mean and the deviation are computed in another type";
  return ATTR(n, LayerNormalization)->stash_type == (t == DT_f64 ? DT_f64 : DT_f32) || t == DT_f64;
}
const Lowering layer_norm_lower = {LOWER_ROW,
                                   3,
                                   layer_norm_can,
                                   .space = tail_space,
                                   .begin = moments_begin,
                                   .row_elem = layer_norm_elem,
                                   .row_stat = layer_norm_stat};

static Status rms_norm_begin(Row *r) {
  Lower *x = r->x;
  KVar *s;
  KExpr *n = row_count(r);
  TRY(gather_row(r, "s", KOP_add, zero(r), term_square, &s));
  KExpr *v = k_add(x, k_div(x, ke_var(x->k, s), n), ke_float(x->k, work(r), epsilon_of(r->n)));
  set_stat(r, 0, "inv", k_div(x, ke_float(x->k, work(r), 1), k_un(x, KOP_sqrt, v)));
  return ST_OK;
}
static Status rms_norm_elem(Row *r, KExpr *const *index, KExpr **e) {
  KExpr *v;
  TRY(element(r, &v));
  return affine(r, k_mul(r->x, v, row_var(r, 0)), index, false, e);
}
static bool rms_norm_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return ATTR(n, RMSNormalization)->stash_type == DT_f32;
}
const Lowering rms_norm_lower = {
    LOWER_ROW, 2, rms_norm_can, .space = tail_space, .begin = rms_norm_begin, .row_elem = rms_norm_elem};

static void spatial_space(Ctx *c, Row *r) {
  (void)c;
  whole_space(r);
  for (int i = 2; i < r->rank; i++)
    r->inner[i] = true;
}
static bool channels_can(Ctx *c, const Node *n, const char **why) {
  const Type *t = in_of(n, 0);
  (void)why;
  if (t->rank < 2)
    return false;
  for (int i = 1; i < n->nin; i++)
    if (in_of(n, i)->rank != 1 || in_of(n, i)->dim[0] != t->dim[1])
      return false;
  if (n->op == OP_GroupNormalization) {
    Dim g = dim_const(c, ATTR(n, GroupNormalization)->num_groups);
    if (g->lo < 1 || dim_mul(c, g, dim_div(c, t->dim[1], g)) != t->dim[1] || t->rank == MAX_RANK)
      return false;
  }
  return true;
}
static Status channel_norm_elem(Row *r, KExpr *const *index, KExpr **e) {
  KExpr *v;
  TRY(normalised(r, &v));
  return affine(r, v, index, true, e);
}
const Lowering instance_norm_lower = {
    LOWER_ROW, 3, channels_can, .space = spatial_space, .begin = moments_begin, .row_elem = channel_norm_elem};

/* [N, C, …] as [N, groups, C / groups, …]. */
static void group_space(Ctx *c, Row *r) {
  const Type *t = in_of(r->n, 0);
  Dim g = dim_const(c, ATTR(r->n, GroupNormalization)->num_groups);
  r->rank = t->rank + 1;
  r->split = 1;
  for (int i = 0; i < t->rank; i++)
    r->dim[i < 2 ? i : i + 1] = t->dim[i];
  r->dim[1] = g, r->dim[2] = dim_div(c, t->dim[1], g);
  for (int i = 2; i < r->rank; i++)
    r->inner[i] = true;
}
const Lowering group_norm_lower = {
    LOWER_ROW, 3, channels_can, .space = group_space, .begin = moments_begin, .row_elem = channel_norm_elem};

static void mvn_space(Ctx *c, Row *r) {
  (void)c;
  static const int64_t standard[] = {0, 2, 3};
  Ints a = ATTR(r->n, MeanVarianceNormalization)->axes;
  whole_space(r);
  for (int i = 0; i < (a.v ? a.n : 3); i++)
    r->inner[axis_of(a.v ? a.v[i] : standard[i], r->rank)] = true;
}
static Status mvn_elem(Row *r, KExpr *const *index, KExpr **e) {
  (void)index;
  KExpr *v;
  TRY(normalised(r, &v));
  *e = ke_cast(r->x->k, r->n->out[0]->type.dtype, v);
  return ST_OK;
}
static bool mvn_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return dtype_is_float(in_of(n, 0)->dtype) && (ATTR(n, MeanVarianceNormalization)->axes.v || in_of(n, 0)->rank == 4);
}
const Lowering mvn_lower = {LOWER_ROW, 3, mvn_can, .space = mvn_space, .begin = moments_begin, .row_elem = mvn_elem};

/* --- reductions --- */

/* An axis that the data name or do not: on[i] is 1 when it is axis i. */
static void split_axes(Ctx *c, Row *r, Dim const *on) {
  Dim one = dim_const(c, 1);
  for (int i = 0; i < r->rank; i++) {
    Dim d = r->dim[i], more = dim_sub(c, d, one);
    r->inner[i] = !dim_is(on[i], 0);
    if (on[i]->kind == DIM_CONST)
      continue;
    r->outer[i] = dim_sub(c, d, dim_mul(c, more, on[i]));
    r->dim[i] = dim_add(c, one, dim_mul(c, more, on[i]));
  }
}

static void reduce_space(Ctx *c, Row *r) {
  Dim on[MAX_RANK];
  whole_space(r);
  axes_named(c, r->n, ATTR(r->n, Reduce)->noop_with_empty_axes != 0, on);
  split_axes(c, r, on);
  r->reduced = true;
}

static bool reduce_can(Ctx *c, const Node *n, const char **why) {
  Dim on[MAX_RANK];
  DType t = in_of(n, 0)->dtype;
  int rank = in_of(n, 0)->rank, r = n->out[0] ? n->out[0]->type.rank : -1;
  *why = "the number of axes is known at run time only, or the type has no kernel";
  if (!axes_named(c, n, ATTR(n, Reduce)->noop_with_empty_axes != 0, on))
    return false;
  for (int i = 0; i < rank; i++)
    if (on[i]->kind != DIM_CONST && r != rank)
      return false; /* passes/axes.c sees to it */
  bool order = n->op == OP_ReduceMax || n->op == OP_ReduceMin;
  if (t == DT_bool)
    return order;
  return dtype_is_float(t) || (dtype_is_int(t) && n->op != OP_ReduceLogSum && n->op != OP_ReduceLogSumExp);
}

/* The square root of a sum of squares; of integers as the integer below. */
static KExpr *length_of(Row *r, KExpr *squares) {
  if (dtype_is_float(squares->dtype))
    return k_un(r->x, KOP_sqrt, squares);
  KExpr *v = ke_cast(r->x->k, DT_f64, ke_cast(r->x->k, DT_u64, squares));
  return ke_cast(r->x->k, work(r), ke_cast(r->x->k, DT_i64, k_un(r->x, KOP_sqrt, v)));
}

static KExpr *mean_of(Row *r, KExpr *sum) {
  KExpr *n = row_count(r);
  if (!dtype_is_float(sum->dtype) && (n->kind != KE_INT || !n->i))
    ks_check(&r->x->at, k_bin(r->x, KOP_ne, n, k_num(r->x, n, 0)), ke_cast(r->x->k, DT_i64, n))->text =
        "the mean of no integers is not defined";
  return k_div(r->x, sum, n);
}

/* What Max and Min begin with. */
static KExpr *extreme(Row *r, DType t, bool least) {
  if (dtype_is_float(t))
    return ke_float(r->x->k, t, least ? -INFINITY : INFINITY);
  int bits = dtype_bits(t);
  if (dtype_kind(t) == DK_UINT || t == DT_bool)
    return ke_int(r->x->k, t, least ? 0 : t == DT_bool ? 1 : (int64_t)(UINT64_MAX >> (64 - bits)));
  return ke_int(r->x->k, t, least ? INT64_MIN >> (64 - bits) : INT64_MAX >> (64 - bits));
}

static KExpr *exp_finite(Row *r, KExpr *v) { return exp_shifted(r, v); }

/* log(sum(exp(x - m))) + m; an infinite m is the answer itself, which m = 0 in its place leads to. */
static Status log_sum_exp(Row *r) {
  Lower *x = r->x;
  KVar *m, *s;
  TRY(gather_row(r, "m", KOP_max, extreme(r, work(r), true), NULL, &m));
  KExpr *top = ke_var(x->k, m);
  set_stat(r, 0, "shift", ke_select(x->k, k_un(x, KOP_isinf, top), zero(r), top));
  TRY(gather_row(r, "s", KOP_add, zero(r), exp_finite, &s));
  set_stat(r, 0, "y", k_add(x, k_un(x, KOP_log, ke_var(x->k, s)), row_var(r, 0)));
  return ST_OK;
}

static double pool_power(const Row *r) { return (double)ATTR(r->n, GlobalLpPool)->p; }
static KExpr *term_power(Row *r, KExpr *v) {
  return k_bin(r->x, KOP_pow, k_un(r->x, KOP_abs, v), k_num(r->x, v, pool_power(r)));
}

static Status reduce_begin(Row *r) {
  Lower *x = r->x;
  DType w = work(r);
  KExpr *start = dtype_is_float(w) ? ke_float(x->k, w, 0) : ke_int(x->k, w, 0);
  Term term = NULL;
  KOp op = KOP_add;
  KVar *acc;
  switch (r->n->op) {
  case OP_ReduceLogSumExp: return log_sum_exp(r);
  case OP_ReduceMax:
  case OP_GlobalMaxPool: op = w == DT_bool ? KOP_or : KOP_max, start = extreme(r, w, true); break;
  case OP_ReduceMin: op = w == DT_bool ? KOP_and : KOP_min, start = extreme(r, w, false); break;
  case OP_ReduceProd: op = KOP_mul, start = k_num(x, start, 1); break;
  case OP_ReduceL1: term = dtype_kind(w) == DK_UINT ? NULL : term_abs; break;
  case OP_ReduceL2:
  case OP_ReduceSumSquare: term = term_square; break;
  case OP_GlobalLpPool: term = pool_power(r) == 1 ? term_abs : pool_power(r) == 2 ? term_square : term_power; break;
  default: break;
  }
  TRY(gather_row(r, "s", op, start, term, &acc));
  KExpr *v = ke_var(x->k, acc);
  switch (r->n->op) {
  case OP_ReduceL2: v = length_of(r, v); break;
  case OP_ReduceLogSum: v = k_un(x, KOP_log, v); break;
  case OP_GlobalLpPool:
    if (pool_power(r) == 2)
      v = k_un(x, KOP_sqrt, v);
    else if (pool_power(r) != 1)
      v = k_bin(x, KOP_pow, v, k_num(x, v, 1 / pool_power(r)));
    break;
  case OP_ReduceMean:
  case OP_GlobalAveragePool: v = mean_of(r, v); break;
  default: break;
  }
  set_stat(r, 0, "y", v);
  return ST_OK;
}
static Status reduce_elem(Row *r, KExpr *const *index, KExpr **e) {
  (void)index;
  *e = ke_cast(r->x->k, r->n->out[0]->type.dtype, row_var(r, 0));
  return ST_OK;
}
const Lowering reduce_lower = {
    LOWER_ROW, 1, reduce_can, .space = reduce_space, .begin = reduce_begin, .row_elem = reduce_elem};

static void pool_space(Ctx *c, Row *r) {
  spatial_space(c, r);
  r->reduced = true;
}
static bool pool_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return (n->op != OP_GlobalLpPool || ATTR(n, GlobalLpPool)->p >= 1) && in_of(n, 0)->rank >= 2 &&
         dtype_is_float(in_of(n, 0)->dtype);
}
const Lowering global_pool_lower = {
    LOWER_ROW, 1, pool_can, .space = pool_space, .begin = reduce_begin, .row_elem = reduce_elem};

/* --- ArgMax, ArgMin (13) --- */

static void arg_space(Ctx *c, Row *r) {
  (void)c;
  whole_space(r);
  r->inner[axis_of(ATTR(r->n, ArgReduce)->axis, r->rank)] = true;
  r->reduced = true;
}

enum { ARG_BLOCK = 256, ARG_SHORT = 64 };

static KExpr *is_extreme(Row *r, KExpr *v) {
  KExpr *hit = k_bin(r->x, KOP_eq, v, row_var(r, 0));
  return dtype_is_float(v->dtype) ? k_bin(r->x, KOP_or, hit, k_un(r->x, KOP_isnan, v)) : hit;
}

/* The position when v is the extreme, else one that loses. NaN is the extreme when there is one. */
static KExpr *term_position(Row *r, KExpr *v) {
  Lower *x = r->x;
  bool last = ATTR(r->n, ArgReduce)->select_last_index != 0;
  v = lower_once(x, "v", v);
  return ke_select(x->k, is_extreme(r, v), r->at[axis_of(ATTR(r->n, ArgReduce)->axis, r->rank)],
                   lower_index_const(x, last ? -1 : INT64_MAX));
}
/* Where the extreme m is: block by block until one has it, then which of its elements. */
static Status arg_search(Row *r, KVar *m, int axis, bool last, KVar **at) {
  Lower *x = r->x;
  Dim n = r->dim[axis], size = dim_const(x->c, ARG_BLOCK), blocks = dim_ceildiv(x->c, n, size);
  KExpr *none = lower_index_const(x, -1), *zero_ = lower_index_const(x, 0), *v;
  KCursor behind, inner;
  r->stat[0] = m;
  *at = lower_acc(x, "at", none);
  KExpr *b = lower_open_ordered(x, "b", blocks, &behind);
  b = last ? k_sub(x, k_sub(x, ke_dim(x->k, blocks), lower_index_const(x, 1)), b) : b;
  KExpr *from = lower_once(x, "from", k_mul(x, b, lower_index_const(x, ARG_BLOCK)));
  KExpr *left = lower_once(x, "left", k_sub(x, ke_dim(x->k, n), from));
  lower_if(x, k_bin(x, KOP_lt, ke_var(x->k, *at), zero_), NULL);
  KVar *some = lower_acc(x, "some", ke_int(x->k, DT_bool, 0));
  KVar *here = NULL;
  for (int turn = 0; turn < 2; turn++) {
    if (turn) {
      lower_if(x, ke_var(x->k, some), NULL);
      here = lower_acc(x, "here", lower_index_const(x, last ? -1 : INT64_MAX));
    }
    KExpr *i = lower_open(x, "i", size, &inner);
    i->var->def->value = left;
    r->at[axis] = k_add(x, from, i);
    TRY(element(r, &v));
    if (turn)
      ks_update(&x->at, here, last ? KOP_max : KOP_min, term_position(r, v));
    else
      ks_update(&x->at, some, KOP_or, is_extreme(r, lower_once(x, "v", v)));
    lower_close(x, 1, inner);
  }
  ks_update(&x->at, *at, KOP_none, ke_var(x->k, here));
  lower_close(x, 3, behind);
  return ST_OK;
}

/* Is v, the element after those that led to best, the extreme of all of them? NaN is; what comes first stays, or what comes last. */
static KExpr *is_better(Row *r, KExpr *v, KExpr *best, bool max, bool last) {
  Lower *x = r->x;
  KExpr *a = max ? v : best, *b = max ? best : v;
  if (!dtype_is_float(v->dtype))
    return k_bin(x, last ? KOP_le : KOP_lt, b, a);
  if (last)
    return k_bin(x, KOP_or, k_bin(x, KOP_le, b, a), k_un(x, KOP_isnan, v));
  return k_bin(x, KOP_and, k_un(x, KOP_not, k_bin(x, KOP_le, a, b)), k_un(x, KOP_not, k_un(x, KOP_isnan, best)));
}

/* The extreme so far and where it was, in one pass: for lanes that each go down a column. */
static Status arg_down(Row *r, int axis, bool max, bool last, KVar **at) {
  Lower *x = r->x;
  KCursor behind;
  KExpr *v;
  DType t = r->dim[axis]->hi <= INT32_MAX ? DT_i32 : DT_i64;
  KVar *best = lower_acc(x, "best", extreme(r, work(r), max)), *where = lower_acc(x, "where", ke_int(x->k, t, 0));
  int depth = open_pass(r, &behind);
  TRY(element(r, &v));
  v = lower_once(x, "v", v);
  KExpr *better = lower_now(x, "better", is_better(r, v, ke_var(x->k, best), max, last));
  KExpr *here = ke_cast(x->k, t, r->at[axis]);
  ks_update(&x->at, best, KOP_none, ke_select(x->k, better, v, ke_var(x->k, best)));
  ks_update(&x->at, where, KOP_none, ke_select(x->k, better, here, ke_var(x->k, where)));
  lower_close(x, depth, behind);
  set_stat(r, 0, "at", ke_cast(x->k, DT_i64, ke_var(x->k, where)));
  *at = r->stat[0];
  return ST_OK;
}

typedef enum { ARG_ROW, ARG_ROW_OF_FEW, ARG_COLUMN } ArgKind;

/* Does what is computed on the way to v read across a transposition? */
static bool transposed(const Value *v) {
  while (v->def && v->def->nin && v->def->in[0] && v->def->op != OP_Transpose &&
         op_lowering(v->def->op)->kind == LOWER_ELEM)
    v = v->def->in[0];
  return v->def && v->def->op == OP_Transpose;
}

static ArgKind arg_kind(const Row *r, int axis) {
  int64_t n;
  for (int i = axis + 1; i < r->rank; i++)
    if (!dim_is(r->dim[i], 1))
      return transposed(r->n->in[0]) ? ARG_ROW_OF_FEW : ARG_COLUMN;
  return !dim_is_const(r->dim[axis], &n) || n > ARG_SHORT ? ARG_ROW : ARG_ROW_OF_FEW;
}

static Status arg_begin(Row *r) {
  Lower *x = r->x;
  bool last = ATTR(r->n, ArgReduce)->select_last_index != 0, max = r->n->op == OP_ArgMax;
  int axis = axis_of(ATTR(r->n, ArgReduce)->axis, r->rank);
  Dim n = r->dim[axis];
  KVar *m, *at;
  if (n->lo < 1)
    ks_check(&x->at, k_bin(x, KOP_lt, lower_index_const(x, 0), ke_dim(x->k, n)), ke_dim(x->k, n))->text =
        arena_printf(x->a, "axis %d has no elements to choose from", axis);
  ArgKind kind = arg_kind(r, axis);
  if (kind == ARG_COLUMN)
    return arg_down(r, axis, max, last, &at);
  TRY(gather_row(r, "m", max ? KOP_max : KOP_min, extreme(r, work(r), max), NULL, &m));
  r->stat[0] = m;
  if (kind == ARG_ROW)
    TRY(arg_search(r, m, axis, last, &at));
  else
    TRY(gather_row(r, "at", last ? KOP_max : KOP_min, lower_index_const(x, last ? -1 : INT64_MAX), term_position, &at));
  r->stat[0] = at;
  return ST_OK;
}
static bool arg_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return dtype_is_float(in_of(n, 0)->dtype) || dtype_is_int(in_of(n, 0)->dtype);
}
const Lowering argreduce_lower = {
    LOWER_ROW, 2, arg_can, .space = arg_space, .begin = arg_begin, .row_elem = reduce_elem};

/* --- CumSum (14), CumProd (26) --- */

static void cumulate_space(Ctx *c, Row *r) {
  Dim on[MAX_RANK];
  whole_space(r);
  axes_named(c, r->n, false, on);
  split_axes(c, r, on);
  r->serial = true;
  r->backwards = ATTR(r->n, Cumulate)->reverse != 0;
}
static Status cumulate_begin(Row *r) {
  bool product = r->n->op == OP_CumProd;
  DType w = work(r);
  KExpr *start = dtype_is_float(w) ? ke_float(r->x->k, w, product) : ke_int(r->x->k, w, product);
  r->stat[0] = ks_acc(&r->x->at, "s", start);
  lower_set_level(r->x, r->stat[0], r->x->depth);
  return ST_OK;
}
static Status cumulate_elem(Row *r, KExpr *const *index, KExpr **e) {
  (void)index;
  Lower *x = r->x;
  KExpr *v, *before = NULL;
  TRY(element(r, &v));
  if (ATTR(r->n, Cumulate)->exclusive) {
    KVar *b = ks_let(&x->at, "before", row_var(r, 0));
    lower_set_level(x, b, x->depth);
    before = ke_var(x->k, b);
  }
  ks_update(&x->at, r->stat[0], r->n->op == OP_CumProd ? KOP_mul : KOP_add, v);
  *e = ke_cast(x->k, r->n->out[0]->type.dtype, before ? before : row_var(r, 0));
  return ST_OK;
}
static bool cumulate_can(Ctx *c, const Node *n, const char **why) {
  Dim on[MAX_RANK];
  const Dim *d;
  int64_t k, a;
  int rank = in_of(n, 0)->rank;
  *why = "the axis is none of the input";
  if (!axes_named(c, n, false, on) || !value_content(c, n->in[1], &d, &k) || k != 1)
    return false;
  return rank > 0 && (!dim_is_const(*d, &a) || (a >= -rank && a < rank));
}
const Lowering cumulate_lower = {
    LOWER_ROW, 1, cumulate_can, .space = cumulate_space, .begin = cumulate_begin, .row_elem = cumulate_elem};
