/* index.c - lowering of what finds its elements by index arithmetic beyond plain moves: GatherND, GatherElements,
 * ReverseSequence, OneHot, EyeLike, DepthToSpace and SpaceToDepth, TensorScatter.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static int axis_of(int64_t axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }
static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

/* --- GatherElements (13), GatherND (13) --- */

static Status gather_elements(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const Type *in = in_of(n, 0), *ix = in_of(n, 1);
  int a = axis_of(ATTR(n, GatherElements)->axis, in->rank);
  KExpr *at[MAX_RANK], *i;
  for (int k = 0; k < in->rank; k++)
    if (k != a)
      TRY(lower_fits(x, ix->dim[k], in->dim[k],
                     arena_printf(x->a, "%%lld indices on axis %d reach beyond the %%lld of the data", k)));
  TRY(lower_read(x, n->in[1], index, &i));
  TRY(lower_checked_index(x, i, a, in->dim[a], &i));
  for (int k = 0; k < in->rank; k++)
    at[k] = k == a ? i : index[k];
  return lower_read(x, n->in[0], at, e);
}
static bool same_rank(Ctx *c, const Node *n, const char **why) {
  (void)c;
  *why = "data and indices of different ranks";
  return in_of(n, 0)->rank == in_of(n, 1)->rank;
}
const Lowering gather_elements_lower = {LOWER_ELEM, .can = same_rank, .elem = gather_elements};

/* Axes in a tuple of GatherND or ScatterND; -1: not known. */
static int tuple_of(const Node *n) {
  const Type *ix = in_of(n, 1);
  int64_t k;
  if (ix->rank < 1 || in_of(n, 0)->rank < 1 || !dim_is_const(ix->dim[ix->rank - 1], &k) || k < 0 ||
      k > in_of(n, 0)->rank)
    return -1;
  return (int)k;
}

static bool gather_nd_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  int k = tuple_of(n);
  int64_t b = ATTR(n, GatherND)->batch_dims;
  *why = "the length of its index tuples is known at run time only";
  return k >= 1 && b >= 0 && b < in_of(n, 1)->rank && b + k <= in_of(n, 0)->rank;
}

/* out[i…, s…] = data[batch part of i…, indices[i…, :], s…]. */
static Status gather_nd(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const Type *in = in_of(n, 0), *ix = in_of(n, 1);
  int b = (int)ATTR(n, GatherND)->batch_dims, k = tuple_of(n), q = ix->rank;
  KExpr *at[MAX_RANK], *tuple[MAX_RANK];
  memcpy(tuple, index, (size_t)(q - 1) * sizeof *tuple);
  for (int i = 0; i < in->rank; i++)
    if (i < b) {
      TRY(lower_same_extent(x, ix->dim[i], in->dim[i], "batches of %lld index tuples and of %lld data"));
      at[i] = index[i];
    } else if (i < b + k) {
      tuple[q - 1] = num(x, i - b);
      TRY(lower_read(x, n->in[1], tuple, &at[i]));
      TRY(lower_checked_index(x, at[i], i, in->dim[i], &at[i]));
    } else {
      at[i] = index[q - 1 + i - b - k];
    }
  return lower_read(x, n->in[0], at, e);
}
const Lowering gather_nd_lower = {LOWER_ELEM, .can = gather_nd_can, .elem = gather_nd};

/* --- ReverseSequence (28) --- */

static bool reverse_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  const ReverseSequenceAttr *a = ATTR(n, ReverseSequence);
  *why = "time_axis and batch_axis must be 0 and 1, or 1 and 0";
  return in_of(n, 0)->rank >= 2 && in_of(n, 1)->rank == 1 && (a->time_axis == 0 || a->time_axis == 1) &&
         a->batch_axis == 1 - a->time_axis;
}
static Status reverse(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const Type *in = in_of(n, 0);
  int t = (int)ATTR(n, ReverseSequence)->time_axis;
  KExpr *at[MAX_RANK], *len, *batch[1] = {index[1 - t]}, *one = num(x, 1);
  TRY(lower_same_extent(x, in_of(n, 1)->dim[0], in->dim[1 - t], "%lld sequence lengths for a batch of %lld"));
  TRY(lower_read(x, n->in[1], batch, &len));
  len = lower_once(x, "len", len);
  KExpr *fits = k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), len), k_bin(x, KOP_le, len, ke_dim(x->k, in->dim[t])));
  TRY(lower_check(x, fits, len, in->dim[t], "sequence length %lld is not in [0, %lld]"));
  memcpy(at, index, (size_t)in->rank * sizeof *at);
  at[t] = ke_select(x->k, k_bin(x, KOP_lt, index[t], len), k_sub(x, k_sub(x, len, one), index[t]), index[t]);
  at[t] = lower_once(x, "at", at[t]);
  return lower_read(x, n->in[0], at, e);
}
const Lowering reverse_sequence_lower = {LOWER_ELEM, .can = reverse_can, .elem = reverse};

/* --- OneHot (28), EyeLike (22) --- */

static bool one_hot_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return in_of(n, 2)->rank == 1 && dim_is(in_of(n, 2)->dim[0], 2);
}
static Status one_hot(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  int rank = n->out[0]->type.rank, a = axis_of(ATTR(n, OneHot)->axis, rank);
  Dim depth = n->out[0]->type.dim[a];
  KExpr *at[MAX_RANK], *i, *off, *on, *zero[1] = {num(x, 0)}, *one[1] = {num(x, 1)};
  for (int k = 0; k < rank - 1; k++)
    at[k] = index[k < a ? k : k + 1];
  TRY(lower_read(x, n->in[0], at, &i));
  if (i->dtype == DT_u64) /* what does not fit an index is beyond every depth, from either end */
    i = ke_select(x->k, k_bin(x, KOP_lt, i, ke_int(x->k, DT_u64, INT64_MAX)), i, ke_int(x->k, DT_u64, INT64_MAX));
  i = lower_once(x, "i", ke_cast(x->k, DT_i64, i));
  i = ke_select(x->k, k_bin(x, KOP_lt, i, num(x, 0)), k_add(x, i, ke_dim(x->k, depth)), i);
  i = lower_once(x, "hot", i);
  TRY(lower_read(x, n->in[2], zero, &off));
  TRY(lower_read(x, n->in[2], one, &on));
  *e = ke_select(x->k, k_bin(x, KOP_eq, i, index[a]), on, off);
  return ST_OK;
}
const Lowering one_hot_lower = {LOWER_ELEM, .can = one_hot_can, .elem = one_hot};

static Status eye_like(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  DType t = n->out[0]->type.dtype;
  bool real = dtype_is_float(t);
  int64_t k = ATTR(n, EyeLike)->k, far = INT64_C(1) << 60; /* beyond every extent */
  k = k < -far ? -far : k > far ? far : k;
  KExpr *on = real ? ke_float(x->k, t, 1) : ke_int(x->k, t, 1), *off = real ? ke_float(x->k, t, 0) : ke_int(x->k, t, 0);
  *e = ke_select(x->k, k_bin(x, KOP_eq, k_add(x, index[0], num(x, k)), index[1]), on, off);
  return ST_OK;
}
const Lowering eye_like_lower = {LOWER_ELEM, .elem = eye_like};

/* --- DepthToSpace, SpaceToDepth (28) --- */

static bool blocks_can(Ctx *c, const Node *n, const char **why) {
  const DepthToSpaceAttr *a = ATTR(n, DepthToSpace);
  const Type *in = in_of(n, 0);
  *why = "the blocks may not divide the extents";
  if (in->rank != 4 || a->blocksize < 1 || a->blocksize > INT32_MAX ||
      !(str_is(a->mode, "DCR") || str_is(a->mode, "CRD")))
    return false;
  Dim b = dim_const(c, a->blocksize), square = dim_mul(c, b, b);
  if (n->op == OP_DepthToSpace)
    return dim_mul(c, dim_div(c, in->dim[1], square), square) == in->dim[1];
  return dim_mul(c, dim_div(c, in->dim[2], b), b) == in->dim[2] &&
         dim_mul(c, dim_div(c, in->dim[3], b), b) == in->dim[3];
}

/* Channel of the deep side for channel c of the flat one and position (i, j) in the block of b x b: DCR: (i, j, c); CRD: (c, i, j). */
static KExpr *deep_channel(Lower *x, bool crd, KExpr *c, KExpr *i, KExpr *j, KExpr *b, Dim channels) {
  KExpr *ij = k_add(x, k_mul(x, i, b), j);
  return crd ? k_add(x, k_mul(x, c, k_mul(x, b, b)), ij) : k_add(x, k_mul(x, ij, ke_dim(x->k, channels)), c);
}

static Status depth_to_space(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const DepthToSpaceAttr *a = ATTR(n, DepthToSpace);
  KExpr *b = num(x, a->blocksize), *i = lower_once(x, "bi", k_bin(x, KOP_mod, index[2], b)),
        *j = lower_once(x, "bj", k_bin(x, KOP_mod, index[3], b));
  KExpr *c = deep_channel(x, str_is(a->mode, "CRD"), index[1], i, j, b, n->out[0]->type.dim[1]);
  KExpr *at[4] = {index[0], lower_once(x, "c", c), k_div(x, index[2], b), k_div(x, index[3], b)};
  return lower_read(x, n->in[0], at, e);
}
const Lowering depth_to_space_lower = {LOWER_ELEM, .can = blocks_can, .elem = depth_to_space};

static Status space_to_depth(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const DepthToSpaceAttr *a = ATTR(n, DepthToSpace);
  bool crd = str_is(a->mode, "CRD");
  KExpr *b = num(x, a->blocksize), *square = k_mul(x, b, b), *flat = ke_dim(x->k, in_of(n, 0)->dim[1]);
  KExpr *c = crd ? k_div(x, index[1], square) : k_bin(x, KOP_mod, index[1], flat);
  KExpr *ij = crd ? k_bin(x, KOP_mod, index[1], square) : k_div(x, index[1], flat);
  ij = lower_once(x, "ij", ij);
  KExpr *at[4] = {index[0], lower_once(x, "c", c), k_add(x, k_mul(x, index[2], b), k_div(x, ij, b)),
                  k_add(x, k_mul(x, index[3], b), k_bin(x, KOP_mod, ij, b))};
  return lower_read(x, n->in[0], at, e);
}
static bool space_can(Ctx *c, const Node *n, const char **why) {
  return blocks_can(c, n, why) && in_of(n, 0)->dim[1]->lo > 0; /* divided by */
}
const Lowering space_to_depth_lower = {LOWER_ELEM, .can = space_can, .elem = space_to_depth};

/* --- TensorScatter (24) --- */

static bool tensor_scatter_can(Ctx *c, const Node *n, const char **why) {
  const Type *in = in_of(n, 0), *u = in_of(n, 1);
  int a = axis_of(ATTR(n, TensorScatter)->axis, in->rank);
  (void)c;
  *why = "an update of another rank, or along the batch";
  return a > 0 && u->rank == in->rank && (!has(n, 2) || in_of(n, 2)->rank == 1);
}

static const char *misfit(Lower *x, int axis) {
  return arena_printf(x->a, "an update of %%lld does not fit the cache on axis %d, of extent %%lld", axis);
}

/* Where along `axis` the updates of the batch entry of `index` begin. */
typedef struct Scatter {
  int axis;
  bool circular;
  KExpr *start, *extent, *len;
} Scatter;

static Status scatter_begin(Lower *x, const Node *n, KExpr *const *index, Scatter *s) {
  const Type *in = in_of(n, 0), *u = in_of(n, 1);
  const TensorScatterAttr *at = ATTR(n, TensorScatter);
  int a = axis_of(at->axis, in->rank);
  *s = (Scatter){.axis = a, .circular = str_is(at->mode, "circular"), .start = num(x, 0)};
  s->extent = ke_dim(x->k, dim_max(x->c, in->dim[a], dim_const(x->c, 1))), s->len = ke_dim(x->k, u->dim[a]);
  for (int i = 0; i < in->rank; i++)
    TRY(i == a ? lower_fits(x, u->dim[i], in->dim[i], misfit(x, i))
               : lower_same_extent(x, u->dim[i], in->dim[i], misfit(x, i)));
  if (!has(n, 2))
    return ST_OK;
  TRY(lower_same_extent(x, in_of(n, 2)->dim[0], in->dim[0], "%lld write indices for a batch of %lld"));
  TRY(lower_read(x, n->in[2], index, &s->start));
  s->start = lower_once(x, "start", s->start);
  KExpr *ok = k_bin(x, KOP_le, num(x, 0), s->start);
  if (!s->circular)
    ok = k_bin(x, KOP_and, ok, k_bin(x, KOP_le, s->start, k_sub(x, s->extent, s->len)));
  return lower_check(x, ok, s->start, in->dim[a], "index %lld is out of range for an update to an axis of extent %lld");
}

/* Position p of the axis holds update (p - start) mod extent where there is one, else what the cache has. */
static Status scattered(Lower *x, const Node *n, const Scatter *s, KExpr *const *index, KExpr *old, KExpr **e) {
  KExpr *pos[MAX_RANK], *new, *p = s->start;
  KCursor behind;
  p = k_sub(x, index[s->axis], s->circular ? k_bin(x, KOP_mod, p, s->extent) : p);
  p = lower_once(x, "p", s->circular ? k_bin(x, KOP_mod, p, s->extent) : p);
  memcpy(pos, index, (size_t)in_of(n, 0)->rank * sizeof *pos);
  pos[s->axis] = p;
  KVar *acc = lower_acc(x, "v", old);
  lower_if(x, k_bin(x, KOP_and, k_bin(x, KOP_le, num(x, 0), p), k_bin(x, KOP_lt, p, s->len)), &behind);
  TRY(lower_read(x, n->in[1], pos, &new));
  ks_update(&x->at, acc, KOP_none, new);
  lower_close(x, 1, behind);
  *e = ke_var(x->k, acc);
  return ST_OK;
}

static Status tensor_scatter(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  Scatter s;
  KExpr *old;
  (void)out;
  TRY(scatter_begin(x, n, index, &s));
  TRY(lower_read(x, n->in[0], index, &old));
  return scattered(x, n, &s, index, old, e);
}

/* Stores the positions [from, from + extent) of the axis: the updates there, else what the past has, or zeros where it is NULL. */
static Status store_rows(Lower *x, const Node *n, const Scatter *s, KExpr **index, Dim from, Dim extent, Value *past,
                         KBuf *out) {
  Type part = n->out[0]->type;
  KExpr *at[MAX_RANK], *e = dtype_is_float(part.dtype) ? ke_float(x->k, part.dtype, 0) : ke_int(x->k, part.dtype, 0);
  KCursor behind;
  part.dim[s->axis] = extent;
  int depth = lower_open_axes(x, &part, s->axis, part.rank, index, &behind);
  memcpy(at, index, sizeof at);
  at[s->axis] = dim_is(from, 0) ? index[s->axis] : lower_once(x, "at", k_add(x, index[s->axis], ke_dim(x->k, from)));
  if (past)
    TRY(lower_read(x, past, at, &e));
  TRY(scattered(x, n, s, at, e, &e));
  ks_store(&x->at, out, at, e);
  lower_close(x, depth, behind);
  return ST_OK;
}

/* A cache whose memory may be that of its past: the rows of the past are copied, if they are elsewhere; those by which a Pad makes the
 * cache longer are zeros; then come the updates. What two of these loops write is the same, so that threads may run them at once. */
static Status tensor_scatter_nest(Lower *x, const Node *n, KBuf *const *out) {
  const Append *cache = n->out[0]->append;
  const Type *u = in_of(n, 1);
  KExpr *index[MAX_RANK], *at[MAX_RANK], *e;
  KCursor behind, inner;
  Scatter s;
  Dim before = cache->past->type.dim[cache->axis], longer = dim_sub(x->c, n->out[0]->type.dim[cache->axis], before);
  int outer = lower_open_axes(x, &n->out[0]->type, 0, cache->axis, index, &behind);
  TRY(scatter_begin(x, n, index, &s));
  TRY(store_rows(x, n, &s, index, dim_const(x->c, 0), cache->copied, cache->past, out[0]));
  if (!dim_is(longer, 0))
    TRY(store_rows(x, n, &s, index, before, longer, NULL, out[0]));
  int depth = lower_open_axes(x, u, s.axis, u->rank, index, &inner);
  TRY(lower_read(x, n->in[1], index, &e));
  memcpy(at, index, sizeof at);
  at[s.axis] = k_add(x, s.start, index[s.axis]);
  if (s.circular)
    at[s.axis] = k_bin(x, KOP_mod, at[s.axis], s.extent);
  ks_store(&x->at, out[0], at, e);
  lower_close(x, depth, inner);
  lower_close(x, outer, behind);
  return ST_OK;
}
const Lowering tensor_scatter_lower = {LOWER_ELEM, .can = tensor_scatter_can, .elem = tensor_scatter,
                                       .nest = tensor_scatter_nest};
