/* pool.c - lowering of what works on windows: MaxPool, AveragePool, LpPool (22), LRN (13).
 *
 *   acc                                       for each output element; lanes run along its last axis
 *   for k in the window's first axis
 *     if the position is inside               scalar for all axes but the last; left out where no padding can be met
 *       for the next axis … acc op= x[position]
 *
 * Where windows overlap along a row, what they hold of a column is put together first, for a band of rows of the output; nothing along
 * a row is outside then, for a row of columns has padding beside it. An average of 3 x 3 takes 2.9 ms, not 5.0 (bench
 * memory="average pool").
 *
 *   for the plane:    columns[BAND][…] = padding beside the row;  done = 0
 *     for the row:
 *       for bands, while row >= done: for r in BAND: for w: columns[r][w] = op of x[…, w]; done += BAND
 *       for w: acc;  for k in the window's last axis: acc op= columns[row % BAND][w * stride + k]
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include "ops/eval/nn.h"

#include <math.h>
#include <string.h>

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

typedef struct Pool {
  const Node *n;
  const PoolAttr *attr;
  int axes; /* spatial */
  int64_t kernel[MAX_RANK], stride[MAX_RANK], dilation[MAX_RANK];
  Dim begin[MAX_RANK], end[MAX_RANK]; /* padding */
  bool low[MAX_RANK], high[MAX_RANK]; /* may a window reach beyond the input there? */
  bool ceil;                          /* may the last one reach beyond the padding? */
} Pool;

static bool pool_of(Ctx *c, const Node *n, Pool *p) {
  const PoolAttr *a = ATTR(n, Pool);
  const Type *in = in_of(n, 0), *out = n->out[0] ? &n->out[0]->type : &n->out[1]->type; /* of the same shape */
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, a->ceil_mode != 0};
  WindowSpec s;
  *p = (Pool){.n = n, .attr = a, .axes = in->rank - 2};
  if (in->rank < 3 || window_spec(c, &wa, p->axes, &s) || window_kernel(c, &s, NULL))
    return false;
  for (int i = 0; i < p->axes; i++) {
    Dim zero = dim_const(c, 0), far = dim_const(c, (s.kernel[i] - 1) * s.dilation[i] + 1);
    p->kernel[i] = s.kernel[i], p->stride[i] = s.stride[i], p->dilation[i] = s.dilation[i];
    p->begin[i] = dim_const(c, s.begin[i]), p->end[i] = dim_const(c, s.end[i]);
    if (s.mode == PAD_SAME_UPPER || s.mode == PAD_SAME_LOWER) {
      Dim last = dim_mul(c, dim_sub(c, out->dim[i + 2], dim_const(c, 1)), dim_const(c, s.stride[i]));
      Dim total = dim_max(c, zero, dim_sub(c, dim_add(c, last, far), in->dim[i + 2])),
          half = dim_div(c, total, dim_const(c, 2));
      p->begin[i] = s.mode == PAD_SAME_UPPER ? half : dim_sub(c, total, half);
      p->end[i] = dim_sub(c, total, p->begin[i]);
    }
    p->low[i] = !dim_is(p->begin[i], 0);
    p->ceil = s.ceil && s.mode == PAD_EXPLICIT;
    p->high[i] = !dim_is(p->end[i], 0) || p->ceil;
  }
  return true;
}

static bool pool_can(Ctx *c, const Node *n, const char **why) {
  Pool p;
  DType t = in_of(n, 0)->dtype;
  (void)why;
  if (dtype_is_int(t) ? n->op != OP_MaxPool || dtype_bits(t) > 32 : !dtype_is_float(t))
    return false;
  return pool_of(c, n, &p) && (n->op != OP_LpPool || p.attr->p >= 1);
}

/* Input position where the window at output position o of axis i begins. */
static KExpr *window_start(Lower *x, const Pool *p, int i, KExpr *o) {
  return k_sub(x, k_mul(x, o, num(x, p->stride[i])), ke_dim(x->k, p->begin[i]));
}

/* Is position pos of axis i in the input? NULL: it is. */
static KExpr *is_inside(Lower *x, const Pool *p, int i, KExpr *pos) {
  KExpr *inside = p->low[i] ? k_bin(x, KOP_le, num(x, 0), pos) : NULL;
  if (!p->high[i])
    return inside;
  KExpr *below = k_bin(x, KOP_lt, pos, ke_dim(x->k, in_of(p->n, 0)->dim[i + 2]));
  return inside ? k_bin(x, KOP_and, inside, below) : below;
}

/* The loops over the first axes of a window: which is inside of the input where they end. How many levels they are. */
static int open_window(Lower *x, const Pool *p, int axes, KExpr *const *index, KExpr **at, KCursor *behind) {
  int depth = 0;
  *behind = x->at;
  at[0] = index[0], at[1] = index[1];
  for (int i = 0; i < axes; i++) {
    KExpr *start = window_start(x, p, i, index[i + 2]), *k = num(x, 0);
    if (p->kernel[i] > 1)
      k = lower_open(x, "w", dim_const(x->c, p->kernel[i]), depth++ ? NULL : behind);
    KExpr *pos = k_add(x, start, k_mul(x, k, num(x, p->dilation[i])));
    KExpr *inside = is_inside(x, p, i, pos);
    if (inside)
      lower_if(x, inside, depth++ ? NULL : behind);
    at[i + 2] = pos;
  }
  return depth;
}

/* Elements of the window along axis i that an average counts, where it is at output position o of that axis. */
static KExpr *axis_count(Lower *x, const Pool *p, int i, KExpr *o) {
  KExpr *kernel = num(x, p->kernel[i]), *d = num(x, p->dilation[i]), *start = window_start(x, p, i, o);
  KExpr *zero = num(x, 0), *one = num(x, 1), *room = ke_dim(x->k, in_of(p->n, 0)->dim[i + 2]), *first = zero;
  if (p->attr->count_include_pad && !p->ceil)
    return kernel;
  if (p->attr->count_include_pad)
    room = k_add(x, room, ke_dim(x->k, p->end[i]));
  else if (p->low[i])
    first = k_bin(x, KOP_max, zero, k_div(x, k_add(x, k_sub(x, zero, start), k_sub(x, d, one)), d));
  KExpr *last = kernel;
  if (p->high[i])
    last = k_bin(x, KOP_min, kernel, k_add(x, k_div(x, k_sub(x, k_sub(x, room, one), start), d), one));
  return k_bin(x, KOP_max, zero, k_sub(x, last, first));
}

/* … along the first n axes. */
static KExpr *window_count(Lower *x, const Pool *p, int axes, KExpr *const *index) {
  KExpr *n = num(x, 1);
  for (int i = 0; i < axes; i++)
    n = k_mul(x, n, axis_count(x, p, i, index[i + 2]));
  return n;
}

static KExpr *lowest(Lower *x, DType t) {
  if (dtype_is_float(t))
    return ke_float(x->k, t, -INFINITY);
  return ke_int(x->k, t, dtype_kind(t) == DK_UINT ? 0 : INT64_MIN >> (64 - dtype_bits(t)));
}

/* x to the power p, x >= 0. */
static KExpr *power(Lower *x, KExpr *v, double p) {
  if (p == 1)
    return v;
  if (p == 0.5)
    return k_un(x, KOP_sqrt, v);
  if (p == 2)
    return k_mul(x, v, v);
  return k_bin(x, KOP_pow, v, k_num(x, v, p));
}

/* Where the largest is: its position in the whole input, by rows or by columns within a plane; the first of several, or the
 * first NaN. */
static Status max_position(Lower *x, const Pool *p, KExpr *const *index, KExpr **e) {
  const Type *in = in_of(p->n, 0);
  DType w = lower_work(in->dtype);
  KExpr *at[MAX_RANK], *v, *pos = num(x, 0), *plane = num(x, 1);
  KCursor behind, found;
  KVar *best = lower_acc(x, "best", lowest(x, w)), *where = lower_acc(x, "where", num(x, -1));
  int depth = open_window(x, p, p->axes, index, at, &behind), r = in->rank;
  TRY(lower_read(x, p->n->in[0], at, &v));
  v = lower_once(x, "v", ke_cast(x->k, w, v));
  for (int i = 0; i < p->axes; i++) {
    int a = p->attr->storage_order ? r - 1 - i : i + 2;
    pos = k_add(x, k_mul(x, pos, ke_dim(x->k, in->dim[a])), at[a]);
    plane = k_mul(x, plane, ke_dim(x->k, in->dim[a]));
  }
  pos = k_add(x, k_mul(x, k_add(x, k_mul(x, at[0], ke_dim(x->k, in->dim[1])), at[1]), plane), pos);
  KExpr *so_far = ke_var(x->k, best), *better = k_bin(x, KOP_lt, so_far, v);
  if (dtype_is_float(w))
    better = k_bin(x, KOP_or, better,
                   k_bin(x, KOP_and, k_un(x, KOP_isnan, v), k_un(x, KOP_not, k_un(x, KOP_isnan, so_far))));
  better = k_bin(x, KOP_or, better, k_bin(x, KOP_lt, ke_var(x->k, where), num(x, 0)));
  lower_if(x, better, &found);
  ks_update(&x->at, best, KOP_none, v);
  ks_update(&x->at, where, KOP_none, pos);
  lower_close(x, 1, found);
  lower_close(x, depth, behind);
  *e = ke_var(x->k, where);
  return ST_OK;
}

/* How many elements an average counts. Along the last axis, where the lanes are, that is found out once per plane: it takes longer
 * than the sum (bench memory="average pool"). */
static KExpr *count_of(Lower *x, const Pool *p, DType w, KExpr *const *index) {
  int last = p->axes - 1, a = lower_level(x, index[0]), b = lower_level(x, index[1]), level = a > b ? a : b;
  KExpr *j = index[last + 2], *along = axis_count(x, p, last, j);
  KExpr *others = lower_once(x, "n", ke_cast(x->k, w, window_count(x, p, last, index)));
  Outside o;
  KCursor behind;
  if (along->kind == KE_INT || !level || x->flat || x->guard || j->kind != KE_VAR || j->var->def->kind != KS_FOR ||
      lower_level(x, j) != x->depth || x->depth < level + 2)
    return k_mul(x, others, ke_cast(x->k, w, along));
  KBuf *count = kernel_add_temp(x->k, "count", w, 1, (Dim[]){j->var->def->extent});
  lower_outside(x, level, &o);
  KExpr *i = lower_open(x, "i", j->var->def->extent, &behind);
  ks_store(&x->at, count, &i, ke_cast(x->k, w, axis_count(x, p, last, i)));
  lower_close(x, 1, behind);
  lower_back(x, &o);
  return k_mul(x, others, ke_load(x->k, count, &j));
}

/* What is put together of the elements of a window, before it is stored or divided. */
static Status take(Lower *x, const Pool *p, DType w, KExpr *const *at, KVar *acc) {
  KExpr *v;
  TRY(lower_read(x, p->n->in[0], at, &v));
  v = ke_cast(x->k, w, v);
  if (p->n->op == OP_LpPool)
    v = power(x, lower_once(x, "v", k_un(x, KOP_abs, v)), (double)p->attr->p);
  ks_update(&x->at, acc, p->n->op == OP_MaxPool ? KOP_max : KOP_add, v);
  return ST_OK;
}

static KExpr *nothing(Lower *x, const Pool *p, DType w) {
  return p->n->op == OP_MaxPool ? lowest(x, w) : ke_float(x->k, w, 0);
}

/* --- windows that overlap along a row --- */

enum { BAND = 8, ALIGN = 16, PLANES = 8 };

typedef struct Bands {
  const Pool *p;
  DType w;
  KBuf *columns; /* [BAND, lead + row + what is beyond] */
  Dim lead, row;
  KVar *done;
} Bands;

/* The level of the plane, 1 or more; 0: windows do not overlap, the loops are others, or there are too few planes to share out. */
static int band_level(const Lower *x, const Pool *p, KExpr *const *index) {
  int last = p->axes - 1, rank = p->axes + 2, level = 0;
  const KExpr *row = index[rank - 2], *j = index[rank - 1];
  int64_t planes = 1, n;
  if (p->axes < 2 || p->kernel[last] <= p->stride[last] || x->flat || x->guard || row->kind != KE_VAR ||
      j->kind != KE_VAR || row->var->def->kind != KS_FOR || j->var->def->kind != KS_FOR ||
      lower_level(x, j) != x->depth || lower_level(x, row) != x->depth - 1 ||
      row->var->def->extent != p->n->out[0]->type.dim[rank - 2])
    return 0;
  for (int i = 0; i < rank - 2; i++) {
    int own = lower_level(x, index[i]);
    level = own > level ? own : level;
    planes *= dim_is_const(p->n->out[0]->type.dim[i], &n) && n < PLANES ? n : PLANES;
    planes = planes > PLANES ? PLANES : planes;
  }
  return planes < PLANES || level >= x->depth - 1 ? 0 : level;
}

static Dim rounded_up(Lower *x, Dim d) {
  Dim align = dim_const(x->c, ALIGN);
  return dim_mul(x->c, dim_ceildiv(x->c, d, align), align);
}

/* Room for the columns, with nothing beside them. */
static void begin_bands(Lower *x, Bands *b, int level) {
  const Pool *p = b->p;
  int last = p->axes - 1;
  Dim one = dim_const(x->c, 1), out = p->n->out[0]->type.dim[last + 2];
  Outside o;
  KCursor behind;
  b->row = in_of(p->n, 0)->dim[last + 2];
  b->lead = rounded_up(x, p->begin[last]);
  Dim reach = dim_mul(x->c, dim_sub(x->c, dim_max(x->c, out, one), one), dim_const(x->c, p->stride[last]));
  reach = dim_add(x->c, reach, dim_const(x->c, (p->kernel[last] - 1) * p->dilation[last] + 1));
  Dim beyond = dim_max(x->c, dim_const(x->c, 0), dim_sub(x->c, dim_sub(x->c, reach, p->begin[last]), b->row));
  Dim n = rounded_up(x, dim_add(x->c, dim_add(x->c, b->lead, b->row), beyond));
  b->columns = kernel_add_temp(x->k, "columns", b->w, 2, (Dim[]){dim_const(x->c, BAND), n});
  lower_outside(x, level, &o);
  KExpr *r = lower_open(x, "r", dim_const(x->c, BAND), &behind), *i;
  KCursor next;
  i = lower_open(x, "i", b->lead, &next);
  ks_store(&x->at, b->columns, (KExpr *[]){r, i}, nothing(x, p, b->w));
  lower_close(x, 1, next);
  i = lower_open(x, "i", beyond, NULL);
  i = k_add(x, ke_dim(x->k, dim_add(x->c, b->lead, b->row)), i);
  ks_store(&x->at, b->columns, (KExpr *[]){r, i}, nothing(x, p, b->w));
  lower_close(x, 2, behind);
  b->done = lower_acc(x, "done", num(x, 0));
  lower_back(x, &o);
}

/* The columns of the windows of row `row` of the output, and of those behind it in its band, are there then. */
static Status fill_band(Lower *x, const Bands *b, KExpr *const *index, KExpr *row) {
  const Pool *p = b->p;
  int last = p->axes - 1;
  Dim rows = p->n->out[0]->type.dim[last + 1];
  KExpr *band = num(x, BAND), *done = ke_var(x->k, b->done), *at[MAX_RANK], *out[MAX_RANK];
  KCursor behind, inner, window;
  KExpr *loop = lower_open(x, "band", dim_ceildiv(x->c, rows, dim_const(x->c, BAND)), &behind);
  loop->var->def->value = k_div(x, k_add(x, k_sub(x, row, done), band), band); /* row >= done - BAND */
  KExpr *from = lower_now(x, "from", done), *r = lower_open(x, "r", dim_const(x->c, BAND), &inner);
  r->var->def->value = k_sub(x, ke_dim(x->k, rows), from);
  memcpy(out, index, (size_t)(p->axes + 2) * sizeof *out);
  out[last + 1] = k_add(x, from, r);
  at[last + 2] = lower_open(x, "w", b->row, NULL);
  KVar *acc = lower_acc(x, "c", nothing(x, p, b->w));
  int depth = open_window(x, p, last, out, at, &window);
  TRY(take(x, p, b->w, at, acc));
  lower_close(x, depth, window);
  KExpr *place = k_add(x, ke_dim(x->k, b->lead), at[last + 2]);
  ks_store(&x->at, b->columns, (KExpr *[]){r, place}, ke_var(x->k, acc));
  lower_close(x, 2, inner);
  ks_update(&x->at, b->done, KOP_none, k_add(x, from, band));
  lower_close(x, 1, behind);
  return ST_OK;
}

/* acc: of the whole window. */
static Status by_bands(Lower *x, const Pool *p, DType w, KExpr *const *index, int level, KVar **acc) {
  Bands b = {.p = p, .w = w};
  int last = p->axes - 1;
  Outside o;
  KCursor behind;
  begin_bands(x, &b, level);
  lower_outside(x, x->depth - 1, &o);
  TRY(fill_band(x, &b, index, index[last + 1]));
  KExpr *slot = lower_now(x, "slot", k_bin(x, KOP_mod, index[last + 1], num(x, BAND)));
  lower_back(x, &o);
  *acc = lower_acc(x, "s", nothing(x, p, w));
  KExpr *k = lower_open(x, "w", dim_const(x->c, p->kernel[last]), &behind);
  KExpr *at = k_add(x, window_start(x, p, last, index[last + 2]), k_mul(x, k, num(x, p->dilation[last])));
  at = k_add(x, ke_dim(x->k, b.lead), at);
  ks_update(&x->at, *acc, p->n->op == OP_MaxPool ? KOP_max : KOP_add, ke_load(x->k, b.columns, (KExpr *[]){slot, at}));
  lower_close(x, 1, behind);
  return ST_OK;
}

/* --- the operators --- */

static Status pool(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  Pool p;
  KExpr *at[MAX_RANK], *v;
  KCursor behind;
  KVar *acc;
  DType t = in_of(n, 0)->dtype, w = lower_work(t);
  pool_of(x->c, n, &p);
  if (out)
    return max_position(x, &p, index, e);
  int level = band_level(x, &p, index);
  if (level) {
    TRY(by_bands(x, &p, w, index, level, &acc));
  } else {
    acc = lower_acc(x, n->op == OP_MaxPool ? "m" : "s", nothing(x, &p, w));
    int depth = open_window(x, &p, p.axes, index, at, &behind);
    TRY(take(x, &p, w, at, acc));
    lower_close(x, depth, behind);
  }
  v = ke_var(x->k, acc);
  if (n->op == OP_LpPool)
    v = power(x, v, 1 / (double)p.attr->p);
  if (n->op == OP_AveragePool) {
    KExpr *count = lower_once(x, "n", count_of(x, &p, w, index));
    v = ke_select(x->k, k_bin(x, KOP_lt, k_num(x, v, 0), count), k_div(x, v, count), k_num(x, v, 0));
  }
  *e = ke_cast(x->k, t, v);
  return ST_OK;
}
const Lowering pool_lower = {LOWER_ELEM, .can = pool_can, .elem = pool, .again = true};

/* --- LRN (13): x / (bias + alpha / size * sum of squares over size channels around)^beta --- */

static bool lrn_can(Ctx *c, const Node *n, const char **why) {
  (void)c, (void)why;
  return in_of(n, 0)->rank >= 3 && ATTR(n, LRN)->size >= 1 && ATTR(n, LRN)->size <= INT32_MAX;
}

static Status lrn(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  (void)out;
  const LRNAttr *a = ATTR(n, LRN);
  const Type *in = in_of(n, 0);
  DType w = lower_work(in->dtype);
  KExpr *at[MAX_RANK], *v;
  KCursor behind;
  KVar *acc = lower_acc(x, "s", ke_float(x->k, w, 0));
  KExpr *k = lower_open(x, "w", dim_const(x->c, a->size), &behind), *zero = num(x, 0);
  KExpr *c = k_sub(x, k_add(x, index[1], k), num(x, (a->size - 1) / 2));
  lower_if(x, k_bin(x, KOP_and, k_bin(x, KOP_le, zero, c), k_bin(x, KOP_lt, c, ke_dim(x->k, in->dim[1]))), NULL);
  memcpy(at, index, (size_t)in->rank * sizeof *at);
  at[1] = c;
  TRY(lower_read(x, n->in[0], at, &v));
  v = lower_once(x, "v", ke_cast(x->k, w, v));
  ks_update(&x->at, acc, KOP_add, k_mul(x, v, v));
  lower_close(x, 2, behind);
  TRY(lower_read(x, n->in[0], index, &v));
  v = ke_cast(x->k, w, v);
  KExpr *base = k_mul(x, ke_var(x->k, acc), ke_float(x->k, w, (double)a->alpha / (double)a->size));
  base = k_bin(x, KOP_pow, k_add(x, base, ke_float(x->k, w, a->bias)), ke_float(x->k, w, a->beta));
  *e = ke_cast(x->k, in->dtype, k_div(x, v, base));
  return ST_OK;
}
const Lowering lrn_lower = {LOWER_ELEM, .can = lrn_can, .elem = lrn, .again = true};
