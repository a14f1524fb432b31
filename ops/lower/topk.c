/* topk.c - lowering of TopK (24), row by row: for few results known beforehand a sorted list that better elements are
 * inserted into, blocks of which none does being passed over; else a merge sort of positions (sort.h).
 *
 * Elements are ordered by value, NaN above all numbers, and by position where values are equal: a strict order, so that each
 * result is the same whatever the way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower/sort.h"

#include <math.h>
#include <string.h>

enum { FEW = 32, BLOCK = 256, PART = 16 };

static const Type *in_of(const Node *n, int i) { return &n->in[i]->type; }
static KExpr *num(Lower *x, int64_t v) { return lower_index_const(x, v); }

typedef struct Top {
  Lower *x;
  const Node *n;
  bool largest;
  int axis;
  Dim extent, k;
  DType t, w;          /* of elements; of comparisons */
  KExpr *at[MAX_RANK]; /* the row; [axis] is for whoever reads */
  KBuf *value, *index; /* results of this row, at `at`; or temporaries of k elements */
} Top;

static bool topk_can(Ctx *c, const Node *n, const char **why) {
  const Type *in = in_of(n, 0);
  (void)c;
  *why = "elements that share a byte with those of other rows"; /* ONNX has no TopK of these */
  return in->rank > 0 && in->dtype != DT_bool && dtype_bits(in->dtype) >= 8;
}

static Status value_at(Top *t, KExpr *i, KExpr **v) {
  KExpr *at[MAX_RANK];
  memcpy(at, t->at, sizeof at);
  at[t->axis] = i;
  return lower_read(t->x, t->n->in[0], at, v);
}

/* Is value a better than b, whatever their positions? */
static KExpr *beats(Top *t, KExpr *a, KExpr *b) {
  return lower_value_before(t->x, t->largest ? b : a, t->largest ? a : b);
}

/* Does element (a, i) come before (b, j)? */
static KExpr *before(Top *t, KExpr *a, KExpr *i, KExpr *b, KExpr *j) {
  Lower *x = t->x;
  KExpr *earlier = k_bin(x, KOP_and, lower_value_same(x, a, b), k_bin(x, KOP_lt, i, j));
  return k_bin(x, KOP_or, beats(t, a, b), earlier);
}

/* --- few results --- */

static KExpr *slot(Top *t, KBuf *b, KExpr *p) {
  KExpr *at[MAX_RANK];
  memcpy(at, t->at, sizeof at);
  at[t->axis] = p;
  return ke_load(t->x->k, b, b->temp ? &p : at);
}
static void set_slot(Top *t, KBuf *b, KExpr *p, KExpr *v) {
  KExpr *at[MAX_RANK];
  memcpy(at, t->at, sizeof at);
  at[t->axis] = p;
  ks_store(&t->x->at, b, b->temp ? &p : at, v);
}

/* Is v to be in the list: is the last place free, or v better? */
static KExpr *enters(Top *t, KExpr *v) {
  Lower *x = t->x;
  KExpr *last = k_sub(x, ke_dim(x->k, t->k), num(x, 1));
  KExpr *free_ = k_bin(x, KOP_lt, slot(t, t->index, last), num(x, 0));
  return k_bin(x, KOP_or, free_, beats(t, v, ke_cast(x->k, t->w, slot(t, t->value, last))));
}

/* (v, i) takes its place, the others move down: at each place the better one stays, the other goes on. */
static void insert(Top *t, KBuf *held, KBuf *held_at, KExpr *v, KExpr *i) {
  Lower *x = t->x;
  KCursor behind, here;
  ks_store(&x->at, held, NULL, v), ks_store(&x->at, held_at, NULL, i);
  KExpr *p = lower_open_ordered(x, "p", t->k, &behind);
  KExpr *mine = lower_now(x, "mine", ke_load(x->k, held, NULL)),
        *my_at = lower_now(x, "at", ke_load(x->k, held_at, NULL));
  KExpr *old = lower_now(x, "old", slot(t, t->value, p)), *old_at = lower_now(x, "oldat", slot(t, t->index, p));
  KExpr *first = before(t, ke_cast(x->k, t->w, mine), my_at, ke_cast(x->k, t->w, old), old_at);
  lower_if(x, k_bin(x, KOP_or, k_bin(x, KOP_lt, old_at, num(x, 0)), first), &here);
  set_slot(t, t->value, p, mine), set_slot(t, t->index, p, my_at);
  ks_store(&x->at, held, NULL, old), ks_store(&x->at, held_at, NULL, old_at);
  lower_close(x, 1, here);
  lower_close(x, 1, behind);
}

static KExpr *extreme(Lower *x, DType t, bool least) {
  if (dtype_is_float(t))
    return ke_float(x->k, t, least ? -INFINITY : INFINITY);
  int bits = dtype_bits(t);
  if (dtype_kind(t) == DK_UINT)
    return ke_int(x->k, t, least ? 0 : (int64_t)(UINT64_MAX >> (64 - bits)));
  return ke_int(x->k, t, least ? INT64_MIN >> (64 - bits) : INT64_MAX >> (64 - bits));
}

/* Does any of the n elements from `from` on enter the list as it is now? roughly: at least those, and NaN, by a comparison. */
static Status any_enters(Top *t, KExpr *from, int n, bool roughly, KExpr **some) {
  Lower *x = t->x;
  KCursor behind;
  KExpr *v, *last = k_sub(x, ke_dim(x->k, t->k), num(x, 1));
  KExpr *free_ = lower_now(x, "free", k_bin(x, KOP_lt, slot(t, t->index, last), num(x, 0)));
  last = lower_now(x, "last", ke_cast(x->k, t->w, slot(t, t->value, last)));
  KVar *any = lower_acc(x, "any", free_);
  KExpr *i = k_add(x, from, lower_open(x, "i", dim_const(x->c, n), &behind));
  TRY(value_at(t, i, &v));
  v = lower_once(x, "v", ke_cast(x->k, t->w, v));
  KExpr *not_behind = k_un(x, KOP_not, t->largest ? k_bin(x, KOP_le, v, last) : k_bin(x, KOP_le, last, v));
  ks_update(&x->at, any, KOP_or, roughly ? not_behind : beats(t, v, last));
  lower_close(x, 1, behind);
  *some = ke_var(x->k, any);
  return ST_OK;
}

/* Elements [from, from + n), one by one. held, held_at: for what goes from place to place. */
static Status scan(Top *t, KExpr *from, Dim n, KBuf *held, KBuf *held_at) {
  Lower *x = t->x;
  KCursor behind;
  KExpr *v, *i = lower_once(x, "i", k_add(x, from, lower_open_ordered(x, "o", n, &behind)));
  TRY(value_at(t, i, &v));
  v = lower_now(x, "v", v);
  lower_if(x, enters(t, ke_cast(x->k, t->w, v)), NULL);
  insert(t, held, held_at, v, i);
  lower_close(x, 2, behind);
  return ST_OK;
}

/* Parts [0, n) of what begins at `from`: those in which an element enters one by one. */
static Status parts(Top *t, KExpr *from, Dim n, KBuf *held, KBuf *held_at) {
  Lower *x = t->x;
  KCursor behind;
  KExpr *some, *p = lower_open_ordered(x, "part", n, &behind);
  from = lower_once(x, "from", k_add(x, from, k_mul(x, p, num(x, PART))));
  TRY(any_enters(t, from, PART, false, &some));
  lower_if(x, some, NULL);
  TRY(scan(t, from, dim_const(x->c, PART), held, held_at));
  lower_close(x, 2, behind);
  return ST_OK;
}

static Status few(Top *t) {
  Lower *x = t->x;
  Ctx *c = x->c;
  KCursor behind;
  KExpr *some;
  Dim all = dim_div(c, t->extent, dim_const(c, PART)), blocks = dim_div(c, t->extent, dim_const(c, BLOCK));
  Dim of_block = dim_const(c, BLOCK / PART), whole = dim_mul(c, blocks, dim_const(c, BLOCK));
  KBuf *held = kernel_add_temp(x->k, "held", t->t, 0, NULL),
       *held_at = kernel_add_temp(x->k, "heldat", DT_i64, 0, NULL);
  KExpr *p = lower_open(x, "p", t->k, &behind);
  set_slot(t, t->value, p, extreme(x, t->t, t->largest)), set_slot(t, t->index, p, num(x, -1));
  lower_close(x, 1, behind);
  KExpr *b = lower_open_ordered(x, "b", blocks, &behind), *from = lower_once(x, "from", k_mul(x, b, num(x, BLOCK)));
  TRY(any_enters(t, from, BLOCK, true, &some));
  lower_if(x, some, NULL);
  TRY(parts(t, from, of_block, held, held_at));
  lower_close(x, 2, behind);
  TRY(parts(t, ke_dim(x->k, whole), dim_sub(c, all, dim_mul(c, blocks, of_block)), held, held_at));
  whole = dim_mul(c, all, dim_const(c, PART));
  return scan(t, ke_dim(x->k, whole), dim_sub(c, t->extent, whole), held, held_at);
}

/* --- many --- */

static Status key_at(void *arg, KExpr *i, KExpr **v) {
  Top *t = arg;
  TRY(value_at(t, i, v));
  *v = ke_cast(t->x->k, t->w, *v);
  return ST_OK;
}

static Status comes_before(void *arg, KExpr *v, KExpr *i, KExpr *w, KExpr *j, KExpr **first) {
  *first = before(arg, v, i, w, j);
  return ST_OK;
}

static Status many(Top *t, KBuf *value, KBuf *index) {
  Lower *x = t->x;
  KCursor behind;
  KBuf *pos;
  KExpr *v, *side;
  TRY(lower_sort(&(Sort){x, t->extent, key_at, comes_before, t}, &pos, &side));
  KExpr *p = lower_open(x, "p", t->k, &behind), *i = lower_now(x, "i", ke_load(x->k, pos, (KExpr *[]){side, p}));
  if (value) {
    TRY(value_at(t, i, &v));
    set_slot(t, value, p, v);
  }
  if (index)
    set_slot(t, index, p, i);
  lower_close(x, 1, behind);
  return ST_OK;
}

static Status topk(Lower *x, const Node *n, KBuf *const *out) {
  const Type *in = in_of(n, 0), *made = &n->out[n->out[0] ? 0 : 1]->type;
  int64_t a = ATTR(n, TopK)->axis, k;
  Top t = {
      .x = x, .n = n, .largest = ATTR(n, TopK)->largest != 0, .axis = (int)(a < 0 ? a + in->rank : a), .t = in->dtype};
  KCursor behind = x->at;
  int depth = 0;
  t.w = lower_work(t.t), t.extent = in->dim[t.axis], t.k = made->dim[t.axis];
  for (int i = 0; i < in->rank; i++)
    if (i != t.axis)
      t.at[i] = lower_open(x, "r", in->dim[i], depth++ ? NULL : &behind);
  if (!dim_at_least(x->c, t.extent, t.k)) {
    KExpr *have = ke_dim(x->k, t.k);
    KStmt *s = ks_check(&x->at, k_bin(x, KOP_le, have, ke_dim(x->k, t.extent)), have);
    s->text = "k is %lld, but the axis has %lld elements", s->bound = t.extent;
  }
  if (dim_is_const(t.k, &k) && k <= FEW) {
    t.value = out[0] ? out[0] : kernel_add_temp(x->k, "value", t.t, 1, &t.k);
    t.index = out[1] ? out[1] : kernel_add_temp(x->k, "index", DT_i64, 1, &t.k);
    if (k)
      TRY(few(&t));
  } else {
    TRY(many(&t, out[0], out[1]));
  }
  lower_close(x, depth, behind);
  return ST_OK;
}
const Lowering topk_lower = {LOWER_NEST, .can = topk_can, .nest = topk};
