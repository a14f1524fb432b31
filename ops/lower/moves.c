/* moves.c - lowering of the operators that move elements: index arithmetic and loads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/lower.h"

#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }

static int axis_of(int64_t axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }

static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }

/* --- views --- */

/* Consecutive axes of the input and of the output that hold the same elements: [i, p) and [j, q). */
static bool next_run(Ctx *c, const Type *in, const Type *out, int i, int j, int *p, int *q) {
  for (int len = 1; len <= in->rank - i + out->rank - j; len++)
    for (int a = 0; a <= len; a++) {
      int b = len - a;
      if (a > in->rank - i || b > out->rank - j)
        continue;
      Dim x = dim_const(c, 1), y = x;
      for (int k = 0; k < a; k++)
        x = dim_mul(c, x, in->dim[i + k]);
      for (int k = 0; k < b; k++)
        y = dim_mul(c, y, out->dim[j + k]);
      if (x != y)
        continue;
      *p = i + a, *q = j + b;
      return true;
    }
  return false;
}

static bool view_can(Ctx *c, const Node *n, const char **why) {
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  int i = 0, j = 0;
  *why = "the axes do not split and merge in a way that is known before the run";
  while (i < in->rank || j < out->rank)
    if (!next_run(c, in, out, i, j, &i, &j))
      return false;
  return true;
}

/* One run: the position along the merged output axes, taken apart into the input's. Axes of extent 1 stand aside. */
static void map_run(Lower *x, const Type *in, const Type *out, int i, int p, int j, int q, KExpr *const *index,
                    KExpr **at) {
  KExpr *pos = lower_index_const(x, 0);
  int first = -1;
  for (int k = j; k < q; k++)
    pos =
        k_add(x, k_mul(x, pos, ke_dim(x->k, out->dim[k])), dim_is(out->dim[k], 1) ? lower_index_const(x, 0) : index[k]);
  for (int k = p - 1; k >= i; k--) {
    at[k] = lower_index_const(x, 0);
    first = dim_is(in->dim[k], 1) ? first : k;
  }
  for (int k = p - 1; first >= 0 && k >= first; k--) {
    KExpr *d = ke_dim(x->k, in->dim[k]);
    if (dim_is(in->dim[k], 1))
      continue;
    pos = k > first ? lower_once(x, "pos", pos) : pos;
    at[k] = k > first ? k_bin(x, KOP_mod, pos, d) : pos;
    pos = k > first ? k_div(x, pos, d) : pos;
  }
}

static Status view(Lower *x, const Node *n, int o, KExpr *const *index, KExpr **e) {
  (void)o;
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  KExpr *at[MAX_RANK] = {0};
  for (int i = 0, j = 0, p, q; i < in->rank || j < out->rank; i = p, j = q) {
    if (!next_run(x->c, in, out, i, j, &p, &q))
      return fail(x->c, ST_INTERNAL, "a view that view_can did not refuse");
    map_run(x, in, out, i, p, j, q, index, at);
  }
  return lower_read(x, n->in[0], at, e);
}
const Lowering view_lower = {LOWER_ELEM, .can = view_can, .elem = view};

bool lower_view_affine(Ctx *c, const Node *n) {
  const Type *in = in_of(n, 0), *out = &n->out[0]->type;
  for (int i = 0, j = 0, p, q; i < in->rank || j < out->rank; i = p, j = q) {
    int axes = 0;
    if (!next_run(c, in, out, i, j, &p, &q))
      return false;
    for (int k = i; k < p; k++)
      axes += !dim_is(in->dim[k], 1);
    if (axes > 1)
      return false;
  }
  return true;
}

static Status same(Lower *x, const Node *n, int o, KExpr *const *index, KExpr **e) {
  (void)o;
  return lower_read(x, n->in[0], index, e);
}
static bool same_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return same_dims(in_of(n, 0), &n->out[0]->type);
}
const Lowering identity_lower = {LOWER_ELEM, .can = same_can, .elem = same};

/* --- axes --- */

static Status transpose(Lower *x, const Node *n, int o, KExpr *const *index, KExpr **e) {
  (void)o;
  Ints perm = ATTR(n, Transpose)->perm;
  int rank = in_of(n, 0)->rank;
  KExpr *at[MAX_RANK];
  for (int i = 0; i < rank; i++)
    at[perm.v ? axis_of(perm.v[i], rank) : rank - 1 - i] = index[i];
  return lower_read(x, n->in[0], at, e);
}
const Lowering transpose_lower = {LOWER_ELEM, .elem = transpose};

static Status expand(Lower *x, const Node *n, int o, KExpr *const *index, KExpr **e) {
  (void)o;
  return lower_read_bcast(x, n, 0, index, e);
}
const Lowering expand_lower = {LOWER_ELEM, .elem = expand};

static Status tile(Lower *x, const Node *n, int o, KExpr *const *index, KExpr **e) {
  (void)o;
  const Type *in = in_of(n, 0);
  KExpr *at[MAX_RANK];
  for (int i = 0; i < in->rank; i++)
    at[i] = in->dim[i] == n->out[0]->type.dim[i] ? index[i]
            : dim_is(in->dim[i], 1)              ? lower_index_const(x, 0)
                                                 : k_bin(x, KOP_mod, index[i], ke_dim(x->k, in->dim[i]));
  return lower_read(x, n->in[0], at, e);
}
const Lowering tile_lower = {LOWER_ELEM, .elem = tile};

/* --- Slice (13) --- */

/* Where axis a starts and how far it steps; *start NULL: not cut. False: known at run time only. */
static bool cut_of(Ctx *c, const Node *n, int a, Dim *start, Dim *step) {
  const Dim *s, *axes = NULL, *steps = NULL;
  int64_t ns, m;
  int rank = in_of(n, 0)->rank;
  *start = NULL, *step = dim_const(c, 1);
  if (!value_content(c, n->in[1], &s, &ns) || (has(n, 3) && (!value_content(c, n->in[3], &axes, &m) || m != ns)) ||
      (has(n, 4) && (!value_content(c, n->in[4], &steps, &m) || m != ns)))
    return false;
  for (int64_t i = 0; i < ns; i++) {
    int64_t axis = i;
    if (axes && !dim_is_const(axes[i], &axis))
      return false;
    if (axis_of(axis, rank) != a)
      continue;
    *step = steps ? steps[i] : *step;
    Dim d = in_of(n, 0)->dim[a], zero = dim_const(c, 0), from = s[i];
    if (from->hi < 0)
      from = dim_max(c, zero, dim_add(c, from, d));
    else if (from->lo < 0)
      from = dim_max(c, zero, dim_sub(c, from, dim_mul(c, d, sign_of(c, from))));
    *start = (*step)->lo > 0 ? from : dim_min(c, from, dim_add(c, d, sign_of(c, *step)));
    return true;
  }
  return true;
}

static bool slice_can(Ctx *c, const Node *n, const char **why) {
  Dim start, step;
  *why = "which axes it cuts is known at run time only";
  for (int a = 0; a < in_of(n, 0)->rank; a++)
    if (!cut_of(c, n, a, &start, &step))
      return false;
  return true;
}

static Status slice(Lower *x, const Node *n, int o, KExpr *const *index, KExpr **e) {
  (void)o;
  KExpr *at[MAX_RANK];
  for (int a = 0; a < in_of(n, 0)->rank; a++) {
    Dim start, step;
    cut_of(x->c, n, a, &start, &step);
    at[a] = index[a];
    if (start && !(dim_is(start, 0) && dim_is(step, 1))) {
      bool single = dim_is(n->out[0]->type.dim[a], 1); /* the step may be anything then */
      at[a] = single ? ke_dim(x->k, start) : k_add(x, k_mul(x, index[a], ke_dim(x->k, step)), ke_dim(x->k, start));
    }
  }
  return lower_read(x, n->in[0], at, e);
}
const Lowering slice_lower = {LOWER_ELEM, .can = slice_can, .elem = slice};

/* --- Split (18), Concat (13) --- */

/* The extent of part i; false: it is written down nowhere. */
static bool part_of(Ctx *c, const Node *n, int i, Dim *d) {
  const Dim *part;
  int64_t k;
  if (n->out[i])
    *d = n->out[i]->type.dim[axis_of(ATTR(n, Split)->axis, in_of(n, 0)->rank)];
  else if (has(n, 1) && value_content(c, n->in[1], &part, &k) && i < k)
    *d = part[i];
  else
    return false;
  return true;
}

static Status split(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *in = in_of(n, 0);
  int a = axis_of(ATTR(n, Split)->axis, in->rank);
  KExpr *at[MAX_RANK];
  Dim from = dim_const(x->c, 0), d;
  for (int i = 0; i < out && part_of(x->c, n, i, &d); i++)
    from = dim_add(x->c, from, d);
  for (int i = 0; i < in->rank; i++)
    at[i] = i == a ? k_add(x, index[i], ke_dim(x->k, from)) : index[i];
  return lower_read(x, n->in[0], at, e);
}
static bool split_can(Ctx *c, const Node *n, const char **why) {
  const Type *in = in_of(n, 0);
  int a = axis_of(ATTR(n, Split)->axis, in->rank);
  Dim sum = dim_const(c, 0);
  *why = "the parts are known at run time only";
  for (int i = 0; i < n->nout; i++) {
    Dim d;
    if (!part_of(c, n, i, &d))
      return false;
    sum = dim_add(c, sum, d);
  }
  return sum == in->dim[a] || sum->data; /* node_needs has them checked */
}
const Lowering split_lower = {LOWER_ELEM, .can = split_can, .elem = split};

/* Every input is read, at a position inside of it; the one that has the element is chosen. A kernel of Concat alone is
 * written as one loop per input instead (codegen/group.c). */
static Status concat(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  int rank = n->out[0]->type.rank, a = axis_of(ATTR(n, Concat)->axis, rank);
  KExpr *at[MAX_RANK], *v, *pos = index[a];
  Dim from = dim_const(x->c, 0);
  memcpy(at, index, (size_t)rank * sizeof *at);
  *e = NULL;
  for (int i = 0; i < n->nin; i++) {
    Dim d = in_of(n, i)->dim[a];
    if (dim_is(d, 0))
      continue;
    KExpr *k = k_sub(x, pos, ke_dim(x->k, from)), *zero = lower_index_const(x, 0);
    at[a] = n->nin == 1
                ? k
                : k_bin(x, KOP_max, zero, k_bin(x, KOP_min, k, k_sub(x, ke_dim(x->k, d), lower_index_const(x, 1))));
    TRY(lower_read(x, n->in[i], at, &v));
    *e = !*e ? v : ke_select(x->k, k_bin(x, KOP_lt, pos, ke_dim(x->k, from)), *e, v);
    from = dim_add(x->c, from, d);
  }
  return *e ? ST_OK : fail(x->c, ST_INTERNAL, "an element of an empty Concat");
}
/* Inlined, an input of extent 0 could not be read at all. */
static bool concat_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  int a = axis_of(ATTR(n, Concat)->axis, n->out[0]->type.rank);
  bool some = false;
  *why = "all its inputs are empty";
  for (int i = 0; i < n->nin; i++)
    some |= !dim_is(in_of(n, i)->dim[a], 0);
  return some;
}
const Lowering concat_lower = {LOWER_ELEM, .can = concat_can, .elem = concat};

/* --- Pad (25) --- */

static bool pads_of(Ctx *c, const Node *n, int a, Dim *before, Dim *after) {
  const Dim *p, *axes = NULL;
  int64_t np, m;
  int rank = in_of(n, 0)->rank;
  *before = *after = dim_const(c, 0);
  if (!value_content(c, n->in[1], &p, &np) || (has(n, 3) && (!value_content(c, n->in[3], &axes, &m) || 2 * m != np)))
    return false;
  for (int64_t i = 0; i < np / 2; i++) {
    int64_t axis = i;
    if (axes && !dim_is_const(axes[i], &axis))
      return false;
    if (axis_of(axis, rank) == a)
      *before = p[i], *after = p[np / 2 + i];
  }
  return true;
}

static bool pad_can(Ctx *c, const Node *n, const char **why) {
  Str mode = ATTR(n, Pad)->mode;
  bool constant = str_is(mode, "constant");
  *why = "the pads are known at run time only, or there may be nothing to pad with";
  if (!constant && !str_is(mode, "edge") && !str_is(mode, "reflect") && !str_is(mode, "wrap"))
    return false;
  for (int a = 0; a < in_of(n, 0)->rank; a++) {
    Dim before, after, zero = dim_const(c, 0), d = in_of(n, 0)->dim[a];
    if (!pads_of(c, n, a, &before, &after))
      return false;
    Dim kept = dim_add(c, d, dim_add(c, dim_min(c, before, zero), dim_min(c, after, zero)));
    if (!constant && !(before == zero && after == zero) && kept->lo < 1 && n->out[0]->type.dim[a]->lo > 0)
      return false;
  }
  return !has(n, 2) || in_of(n, 2)->rank == 0 || dim_is(in_of(n, 2)->dim[0], 1);
}

/* Where position i of an axis comes from, [0, n) being there: n >= 1. */
static KExpr *reflected(Lower *x, KExpr *i, KExpr *n) {
  KExpr *one = lower_index_const(x, 1), *period = k_mul(x, lower_index_const(x, 2), k_sub(x, n, one));
  period = lower_once(x, "period", k_bin(x, KOP_max, one, period));
  KExpr *k = lower_once(x, "k", k_bin(x, KOP_mod, i, period));
  return ke_select(x->k, k_bin(x, KOP_lt, k, n), k, k_sub(x, period, k));
}

static KExpr *mapped(Lower *x, Str mode, KExpr *i, KExpr *n) {
  if (str_is(mode, "reflect"))
    return reflected(x, i, n);
  if (str_is(mode, "wrap"))
    return k_bin(x, KOP_mod, i, n);
  return k_bin(x, KOP_max, lower_index_const(x, 0), k_bin(x, KOP_min, i, k_sub(x, n, lower_index_const(x, 1))));
}

/* Edge, reflect, wrap: of what negative pads have left of the axis, which is not nothing: node_needs sees to it. */
static Status pad_mapped(Lower *x, const Node *n, KExpr *const *index, KExpr **e) {
  const Type *in = in_of(n, 0);
  KExpr *at[MAX_RANK];
  Dim zero = dim_const(x->c, 0);
  for (int a = 0; a < in->rank; a++) {
    Dim before, after;
    pads_of(x->c, n, a, &before, &after);
    at[a] = index[a];
    if (before == zero && after == zero)
      continue;
    Dim from = dim_sub(x->c, zero, dim_min(x->c, before, zero));
    Dim kept = dim_sub(x->c, dim_add(x->c, in->dim[a], dim_min(x->c, after, zero)), from);
    KExpr *have = ke_dim(x->k, kept), *i = k_sub(x, index[a], ke_dim(x->k, dim_max(x->c, before, zero)));
    at[a] =
        lower_once(x, "at", k_add(x, ke_dim(x->k, from), mapped(x, ATTR(n, Pad)->mode, lower_once(x, "i", i), have)));
  }
  return lower_read(x, n->in[0], at, e);
}

/* Constant: the fill, unless the element is there. */
static Status pad_constant(Lower *x, const Node *n, KExpr *const *index, KExpr **e) {
  const Type *in = in_of(n, 0);
  KExpr *at[MAX_RANK], *inside = NULL, *v, *zero[1] = {lower_index_const(x, 0)};
  KCursor behind;
  DType t = in->dtype;
  v = dtype_is_float(t) ? ke_float(x->k, t, 0) : ke_int(x->k, t, 0);
  if (has(n, 2))
    TRY(lower_read(x, n->in[2], zero, &v));
  for (int a = 0; a < in->rank; a++) {
    Dim before, after;
    pads_of(x->c, n, a, &before, &after);
    at[a] = k_sub(x, index[a], ke_dim(x->k, before));
    KExpr *low = k_bin(x, KOP_le, zero[0], at[a]), *high = k_bin(x, KOP_lt, at[a], ke_dim(x->k, in->dim[a]));
    KExpr *fits = before->hi <= 0 && after->hi <= 0 ? NULL
                  : before->hi <= 0                 ? high
                  : after->hi <= 0                  ? low
                                                    : k_bin(x, KOP_and, low, high);
    inside = !fits ? inside : inside ? k_bin(x, KOP_and, inside, fits) : fits;
  }
  if (!inside)
    return lower_read(x, n->in[0], at, e);
  KVar *acc = lower_acc(x, "p", v);
  lower_if(x, inside, &behind);
  TRY(lower_read(x, n->in[0], at, &v));
  ks_update(&x->at, acc, KOP_none, v);
  lower_close(x, 1, behind);
  *e = ke_var(x->k, acc);
  return ST_OK;
}

static Status pad(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  return str_is(ATTR(n, Pad)->mode, "constant") ? pad_constant(x, n, index, e) : pad_mapped(x, n, index, e);
}
const Lowering pad_lower = {LOWER_ELEM, .can = pad_can, .elem = pad};

/* --- Gather (13) --- */

static Status gather(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const Type *in = in_of(n, 0), *ix = in_of(n, 1);
  int a = axis_of(ATTR(n, Gather)->axis, in->rank);
  KExpr *at[MAX_RANK], *i;
  TRY(lower_read(x, n->in[1], index + a, &i));
  TRY(lower_checked_index(x, i, a, in->dim[a], &i));
  for (int k = 0; k < in->rank; k++)
    at[k] = k < a ? index[k] : k == a ? i : index[k + ix->rank - 1];
  return lower_read(x, n->in[0], at, e);
}
const Lowering gather_lower = {LOWER_ELEM, .elem = gather};

/* --- made from nothing --- */

/* Range (27): start + i * delta. */
static Status range(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  KExpr *start, *delta, *zero[1] = {lower_index_const(x, 0)};
  TRY(lower_read(x, n->in[0], zero, &start));
  TRY(lower_read(x, n->in[2], zero, &delta));
  DType t = start->dtype, w = lower_work(t);
  KExpr *step = k_mul(x, ke_cast(x->k, w, index[0]), ke_cast(x->k, w, delta));
  *e = ke_cast(x->k, t, k_add(x, ke_cast(x->k, w, start), step));
  return ST_OK;
}
static bool range_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  DType t = in_of(n, 0)->dtype;
  for (int i = 0; i < 3; i++)
    if (in_of(n, i)->rank > 1)
      return false;
  return dtype_is_int(t) || dtype_is_float(t);
}
const Lowering range_lower = {LOWER_ELEM, .can = range_can, .elem = range};

/* ConstantOfShape (25). */
static Status constant_of_shape(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out, (void)index;
  const Tensor *v = ATTR(n, ConstantOfShape)->value;
  DType t = n->out[0]->type.dtype;
  if (dtype_is_float(t)) {
    *e = ke_float(x->k, t, v ? const_elem(v, 0) : 0);
    return ST_OK;
  }
  int64_t bits = 0;
  if (v)
    memcpy(&bits, v->data, ((size_t)dtype_bits(t) + 7) / 8);
  *e = ke_int(x->k, t, v ? elem_i64(t, &bits, 0) : 0);
  return ST_OK;
}
const Lowering constant_of_shape_lower = {LOWER_ELEM, .elem = constant_of_shape};

/* Trilu (14). */
#define FAR (INT64_C(1) << 40) /* as far from the diagonal as nothing is */
static Status trilu(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  int r = in_of(n, 0)->rank;
  KExpr *k = lower_index_const(x, 0), *v;
  const Dim *d;
  int64_t m;
  if (has(n, 1) && value_content(x->c, n->in[1], &d, &m)) {
    Dim far = dim_const(x->c, FAR), back = dim_const(x->c, -FAR); /* no overflow with an index */
    k = ke_dim(x->k, dim_max(x->c, back, dim_min(x->c, far, *d)));
  }
  TRY(lower_read(x, n->in[0], index, &v));
  KExpr *diag = k_add(x, index[r - 2], k), *zero = k_num(x, v, 0);
  KExpr *keep = ATTR(n, Trilu)->upper ? k_bin(x, KOP_le, diag, index[r - 1]) : k_bin(x, KOP_le, index[r - 1], diag);
  *e = ke_select(x->k, keep, v, zero);
  return ST_OK;
}
static bool trilu_can(Ctx *c, const Node *n, const char **why) {
  const Dim *d;
  int64_t m;
  *why = "its diagonal is known at run time only";
  if (!has(n, 1))
    return in_of(n, 0)->rank >= 2;
  return value_content(c, n->in[1], &d, &m) && m == 1 && in_of(n, 0)->rank >= 2;
}
const Lowering trilu_lower = {LOWER_ELEM, .can = trilu_can, .elem = trilu};
