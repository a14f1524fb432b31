/* lower.c - what lowerings share: the table, loops, hoisting, broadcasting reads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include "ops/content.h"

#include <math.h>
#include <string.h>

#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig)                         \
  extern const Lowering lower;
#include "ops/ops.def"
#undef OP

const Lowering no_lower = {LOWER_NONE};

static const Lowering *const table[] = {
    [OP_none] = &no_lower,
#define OP(name, domain, since, imin, imax, omin, omax, flags, attrs, infer, eval, lower, sig) [OP_##name] = &lower,
#include "ops/ops.def"
#undef OP
};

const Lowering *op_lowering(OpId op) { return op < OP_count && table[op] ? table[op] : &no_lower; }

bool lower_dtype(DType t) { return dtype_valid(t) && t != DT_str; }

/* NULL: a kernel can have such a value. */
static const char *type_unfit(const Type *t) {
  if (t->kind != VK_TENSOR || t->dtype == DT_str)
    return "text, or a container, is no kernel's";
  return t->rank < 0 ? "a rank that only a run tells" : lower_dtype(t->dtype) ? NULL : "a type that is not known";
}

LowerKind node_lowering(Ctx *c, const Node *n, const char **why) {
  const Lowering *l = op_lowering(n->op);
  *why = "no kernel for this operator";
  if (l->kind == LOWER_NONE)
    return LOWER_NONE;
  for (int i = 0; i < n->nin + n->nout; i++) {
    const Value *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
    const char *unfit = v ? type_unfit(&v->type) : NULL;
    if (unfit) {
      *why = unfit;
      return LOWER_NONE;
    }
  }
  *why = "no kernel for these attributes or types";
  if (l->can && !l->can(c, n, why))
    return LOWER_NONE;
  *why = "";
  return (LowerKind)l->kind;
}

bool same_dims(const Type *a, const Type *b) {
  if (a->rank != b->rank || a->rank < 0)
    return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return true;
}

bool value_content(Ctx *c, const Value *v, const Dim **elem, int64_t *n) {
  const int64_t *k;
  if (!v)
    return false;
  if (v->konst) {
    if (!value_ints(v, &k, n, dim_arena(c)) || *n > MAX_CONTENT)
      return false;
    Dim *d = arena_array(dim_arena(c), Dim, (size_t)*n + 1);
    for (int64_t i = 0; i < *n; i++)
      d[i] = dim_const(c, k[i]);
    *elem = d;
    return true;
  }
  if (!v->content || v->type.rank < 0 || v->type.rank > 1)
    return false;
  *n = 1;
  if (v->type.rank && !dim_is_const(v->type.dim[0], n))
    return false;
  *elem = v->content;
  return true;
}

bool axes_named(Ctx *c, const Node *n, bool none, Dim *on) {
  const Dim *axes = NULL;
  int64_t k = 0;
  int rank = n->in[0]->type.rank;
  if (n->nin > 1 && n->in[1] && !value_content(c, n->in[1], &axes, &k))
    return false;
  for (int i = 0; i < rank; i++) {
    on[i] = dim_const(c, !k && !none);
    for (int64_t j = 0; j < k; j++)
      on[i] = dim_add(c, on[i], names_axis(c, axes[j], rank, i));
  }
  if (k == 1 && rank == 1)
    on[0] = dim_const(c, 1); /* there is no other */
  return true;
}

/* --- levels --- */

void lower_set_level(Lower *x, const KVar *v, int level) {
  if (v->id >= x->nlevel_of) {
    uint32_t cap = 2 * v->id + 64;
    uint8_t *bigger = arena_array(x->a, uint8_t, cap);
    if (x->nlevel_of)
      memcpy(bigger, x->level_of, x->nlevel_of);
    x->level_of = bigger, x->nlevel_of = cap;
  }
  x->level_of[v->id] = (uint8_t)level;
}

int lower_level(const Lower *x, const KExpr *e) {
  int level = 0, n = e->kind == KE_UNARY || e->kind == KE_CAST ? 1
                     : e->kind == KE_BINARY                    ? 2
                     : e->kind == KE_SELECT                    ? 3
                                                               : 0;
  if (e->kind == KE_VAR)
    return e->var->def && e->var->def->kind == KS_ACC ? x->depth : x->level_of[e->var->id];
  if (e->kind == KE_LOAD && e->buf->output)
    return x->depth; /* what was stored on the way is read where it stands */
  if (e->kind == KE_LOAD)
    level = x->guard;
  for (int i = 0; i < n; i++) {
    int k = lower_level(x, e->arg[i]);
    level = k > level ? k : level;
  }
  for (int i = 0; e->kind == KE_LOAD && i < e->buf->rank; i++) {
    int k = lower_level(x, e->index[i]);
    level = k > level ? k : level;
  }
  return level;
}

static Level *open_level(Lower *x) {
  Level *l = &x->level[x->depth++];
  l->before = x->at.at, l->guard = x->guard;
  return l;
}

KExpr *lower_open(Lower *x, const char *name, Dim extent, KCursor *behind) {
  KCursor inside;
  Level *l = open_level(x);
  KStmt *s = ks_for(&x->at, name, extent, &inside);
  if (behind)
    *behind = x->at;
  l->var = s->var;
  x->at = inside;
  lower_set_level(x, s->var, x->depth);
  return ke_var(x->k, s->var);
}

KExpr *lower_open_ordered(Lower *x, const char *name, Dim extent, KCursor *behind) {
  KExpr *v = lower_open(x, name, extent, behind);
  v->var->def->loop = KL_ORDERED;
  return v;
}

/* Its variable stands for the level and is used nowhere. */
void lower_if(Lower *x, KExpr *cond, KCursor *behind) {
  KCursor inside;
  Level *l = open_level(x);
  ks_if(&x->at, cond, &inside);
  if (behind)
    *behind = x->at;
  l->var = arena_new(x->k->arena, KVar);
  *l->var = (KVar){.name = "if", .dtype = DT_bool, .id = x->k->next_id++};
  x->at = inside;
  x->guard = x->depth;
}

void lower_close(Lower *x, int n, KCursor behind) {
  if (!n)
    return;
  x->depth -= n;
  x->guard = x->level[x->depth].guard;
  x->at = behind;
}

int lower_open_axes(Lower *x, const Type *t, int from, int to, KExpr **index, KCursor *behind) {
  static const char *const names[] = {"i", "j", "k", "l"};
  int n = 0;
  for (int i = from; i < to; i++)
    if (dim_is(t->dim[i], 1))
      index[i] = lower_index_const(x, 0);
    else
      index[i] = lower_open(x, names[i & 3], t->dim[i], n++ ? NULL : behind);
  return n;
}

KVar *lower_acc(Lower *x, const char *name, KExpr *init) {
  KVar *v = ks_acc(&x->at, name, init);
  lower_set_level(x, v, x->depth);
  return v;
}

/* Where statements of that level go, and the loop that they must stand before. */
static KCursor cursor_of(Lower *x, int level, KStmt **loop) {
  if (level >= x->depth) {
    *loop = NULL;
    return x->at;
  }
  KCursor at = {x->k, x->level[level].before};
  *loop = *at.at;
  return at;
}

static void put_back(Lower *x, int level, KCursor at, KStmt *loop) {
  if (!loop) {
    x->at = at;
    return;
  }
  *at.at = loop;
  x->level[level].before = at.at;
}

void lower_outside(Lower *x, int level, Outside *o) {
  *o = (Outside){.here = x->at, .level = level, .depth = x->depth, .guard = x->guard};
  memcpy(o->saved, x->level, sizeof o->saved);
  x->at = cursor_of(x, level, &o->loop);
  x->depth = level;
  x->guard = level < o->depth ? x->level[level].guard : x->guard;
}

void lower_back(Lower *x, const Outside *o) {
  KCursor at = x->at;
  memcpy(x->level + o->level, o->saved + o->level, sizeof o->saved - (size_t)o->level * sizeof *o->saved);
  x->at = o->here, x->depth = o->depth, x->guard = o->guard;
  put_back(x, o->level, at, o->loop);
}

static bool trivial(const KExpr *e) {
  return e->kind == KE_FLOAT || e->kind == KE_INT || e->kind == KE_DIM || e->kind == KE_VAR;
}

static KExpr *let_at(Lower *x, const char *name, KExpr *e, int level) {
  KStmt *loop;
  KCursor at = cursor_of(x, level, &loop);
  KVar *v = ks_let(&at, name, e);
  put_back(x, level, at, loop);
  lower_set_level(x, v, level);
  return ke_var(x->k, v);
}

KExpr *lower_once(Lower *x, const char *name, KExpr *e) {
  return trivial(e) ? e : let_at(x, name, e, x->flat ? x->depth : lower_level(x, e));
}

KExpr *lower_now(Lower *x, const char *name, KExpr *e) {
  KVar *v = ks_let(&x->at, name, e);
  lower_set_level(x, v, x->depth);
  return ke_var(x->k, v);
}

Status lower_check(Lower *x, KExpr *cond, KExpr *number, Dim bound, const char *text) {
  KStmt *loop;
  int a = lower_level(x, cond), b = lower_level(x, number), level = x->flat ? x->depth : a > b ? a : b;
  if (!level && x->depth)
    level = 1;
  KCursor at = cursor_of(x, level, &loop);
  KStmt *s = ks_check(&at, cond, number);
  s->text = text, s->bound = bound;
  put_back(x, level, at, loop);
  return ST_OK;
}

Status lower_same_extent(Lower *x, Dim a, Dim b, const char *text) {
  if (a == b)
    return ST_OK;
  return lower_check(x, k_bin(x, KOP_eq, ke_dim(x->k, a), ke_dim(x->k, b)), ke_dim(x->k, a), b, text);
}

Status lower_fits(Lower *x, Dim small, Dim large, const char *text) {
  if (dim_at_least(x->c, large, small))
    return ST_OK;
  return lower_check(x, k_bin(x, KOP_le, ke_dim(x->k, small), ke_dim(x->k, large)), ke_dim(x->k, small), large, text);
}

static KExpr *known_index(Lower *x, const KExpr *raw, Dim extent) {
  for (CheckedIndex *k = x->checked; k; k = k->next)
    if (k->raw->kind == KE_VAR && raw->kind == KE_VAR && k->raw->var == raw->var && k->extent == extent &&
        k->level <= x->depth && (!k->level || x->level[k->level - 1].var == k->scope))
      return k->at;
  return NULL;
}

/* Of i and i + n without signs the less is the place: n more than a negative i in range is small, than any other is larger. A gather of
 * elements takes 8.0 ms, not 8.4, by this (bench memory="gather elements"). */
Status lower_checked_index(Lower *x, KExpr *i, int axis, Dim extent, KExpr **at) {
  KExpr *n = ke_dim(x->k, extent);
  i = lower_once(x, "i", ke_cast(x->k, DT_i64, i));
  if (i->kind == KE_INT && (i->i >= 0 ? i->i < extent->lo : i->i > -(INT64_C(1) << 62) && -i->i <= extent->lo)) {
    *at = i->i >= 0 ? i : ke_binary(x->k, KOP_add, i, n);
    return ST_OK;
  }
  if ((*at = known_index(x, i, extent)))
    return ST_OK;
  KExpr *raw = ke_cast(x->k, DT_u64, i),
        *size = n->kind == KE_INT ? ke_int(x->k, DT_u64, n->i) : ke_cast(x->k, DT_u64, n);
  KExpr *place = lower_once(x, "place", k_bin(x, KOP_min, raw, k_bin(x, KOP_add, raw, size)));
  TRY(lower_check(x, k_bin(x, KOP_lt, place, size), i, extent,
                  arena_printf(x->a, "index %%lld is out of range for axis %d of extent %%lld", axis)));
  *at = lower_once(x, "at", ke_cast(x->k, DT_i64, place));
  CheckedIndex *k = arena_new(x->a, CheckedIndex);
  *k = (CheckedIndex){.raw = i, .extent = extent, .at = *at, .level = lower_level(x, *at), .next = x->checked};
  k->scope = k->level ? x->level[k->level - 1].var : NULL;
  x->checked = k;
  return ST_OK;
}

/* --- reading --- */

Status lower_read(Lower *x, Value *v, KExpr *const *index, KExpr **e) { return x->read(x, v, index, e); }

KExpr *lower_index_const(Lower *x, int64_t v) { return ke_int(x->k, DT_i64, v); }

Status lower_bcast_index(Lower *x, Dim have, Dim want, KExpr *j, KExpr **at) {
  *at = dim_is(have, 1) ? lower_index_const(x, 0) : j;
  if (dim_is(have, 1) || have == want)
    return ST_OK;
  KExpr *n = ke_dim(x->k, have), *one = k_bin(x, KOP_eq, n, lower_index_const(x, 1)); /* it may turn out to be 1 */
  TRY(lower_check(x, k_bin(x, KOP_or, one, k_bin(x, KOP_eq, n, ke_dim(x->k, want))), n, want,
                  "an extent of %lld does not broadcast to %lld"));
  *at = ke_select(x->k, one, lower_index_const(x, 0), j);
  return ST_OK;
}

Status lower_read_bcast(Lower *x, const Node *n, int i, KExpr *const *index, KExpr **e) {
  const Type *in = &n->in[i]->type, *out = &n->out[0]->type;
  int lead = out->rank - in->rank;
  KExpr *at[MAX_RANK];
  for (int k = 0; k < in->rank; k++)
    TRY(lower_bcast_index(x, in->dim[k], out->dim[lead + k], index[lead + k], &at[k]));
  return lower_read(x, n->in[i], at, e);
}

DType lower_work(DType t) { return dtype_is_float(t) && dtype_bits(t) < 32 ? DT_f32 : t; }

KExpr *k_num(Lower *x, const KExpr *like, double v) {
  return dtype_is_float(like->dtype) ? ke_float(x->k, like->dtype, v) : ke_int(x->k, like->dtype, (int64_t)v);
}
