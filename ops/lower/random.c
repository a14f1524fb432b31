/* random.c - lowering of random numbers: Philox4x32-10 (support/philox.h) of the seed and the element's index, so that an
 * element is the same wherever and by whichever thread it is computed.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/lower.h"

#include "ops/eval/random.h"
#include "support/philox.h"

#include <math.h>

static KExpr *word(Lower *x, uint64_t v) { return ke_int(x->k, DT_u64, (int64_t)v); }

static KExpr *low_half(Lower *x, KExpr *v) { return k_bin(x, KOP_and, v, word(x, UINT32_MAX)); }
static KExpr *high_half(Lower *x, KExpr *v) { return k_bin(x, KOP_shr, v, word(x, 32)); }

/* The first words of a block: 32 bits each, as u64. */
static void draw(Lower *x, uint64_t key, KExpr *block, KExpr *out[4]) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  KExpr *c[4] = {low_half(x, block), high_half(x, block), word(x, 0), word(x, 0)};
  for (int i = 0; i < PHILOX_ROUNDS; i++) {
    KExpr *p = lower_once(x, "p", k_mul(x, c[0], word(x, PHILOX_M0)));
    KExpr *q = lower_once(x, "q", k_mul(x, c[2], word(x, PHILOX_M1)));
    KExpr *a = k_bin(x, KOP_xor, k_bin(x, KOP_xor, high_half(x, q), c[1]), word(x, k0));
    KExpr *b = k_bin(x, KOP_xor, k_bin(x, KOP_xor, high_half(x, p), c[3]), word(x, k1));
    c[0] = lower_once(x, "c", a), c[1] = low_half(x, q);
    c[2] = lower_once(x, "c", b), c[3] = low_half(x, p);
    k0 += PHILOX_W0, k1 += PHILOX_W1;
  }
  for (int i = 0; i < 4; i++)
    out[i] = c[i];
}

/* The number of the element at index of a value of type t. */
static KExpr *element_number(Lower *x, const Type *t, KExpr *const *index) {
  KExpr *n = lower_index_const(x, 0);
  for (int i = 0; i < t->rank; i++)
    n = k_add(x, k_mul(x, n, ke_dim(x->k, t->dim[i])), index[i]);
  return lower_once(x, "block", ke_cast(x->k, DT_u64, n));
}

/* In [0, 1): 24 bits of one word, or 53 of two. */
static KExpr *unit(Lower *x, KExpr *a, KExpr *b, bool wide) {
  if (!wide)
    return k_mul(x, ke_cast(x->k, DT_f32, k_bin(x, KOP_shr, a, word(x, 8))), ke_float(x->k, DT_f32, 0x1p-24));
  KExpr *both = k_bin(x, KOP_or, k_bin(x, KOP_shl, a, word(x, 32)), b);
  return k_mul(x, ke_cast(x->k, DT_f64, k_bin(x, KOP_shr, both, word(x, 11))), ke_float(x->k, DT_f64, 0x1p-53));
}

static KExpr *uniform(Lower *x, uint64_t key, KExpr *block, bool wide) {
  KExpr *r[4];
  draw(x, key, block, r);
  return unit(x, r[0], r[1], wide);
}

/* Box and Muller: sqrt(-2 ln u) cos(2 pi v). */
static KExpr *normal(Lower *x, uint64_t key, KExpr *block, bool wide) {
  KExpr *r[4];
  draw(x, key, block, r);
  KExpr *u = unit(x, r[0], r[1], wide), *v = wide ? unit(x, r[2], r[3], wide) : unit(x, r[1], r[1], wide);
  KExpr *radius = k_un(x, KOP_sqrt, k_mul(x, k_num(x, u, -2), k_un(x, KOP_log, k_sub(x, k_num(x, u, 1), u))));
  return k_mul(x, radius, k_un(x, KOP_cos, k_mul(x, k_num(x, u, 2 * M_PI), v)));
}

/* --- RandomUniform, RandomNormal, and Like (22) --- */

static Status random_elem(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *t = &n->out[out]->type;
  bool wide = t->dtype == DT_f64;
  double add = 0, scale = 1;
  float seed = NAN;
  if (n->op == OP_RandomUniform)
    add = (double)ATTR(n, RandomUniform)->low, scale = (double)ATTR(n, RandomUniform)->high - add,
    seed = ATTR(n, RandomUniform)->seed;
  else if (n->op == OP_RandomUniformLike)
    add = (double)ATTR(n, RandomUniformLike)->low, scale = (double)ATTR(n, RandomUniformLike)->high - add,
    seed = ATTR(n, RandomUniformLike)->seed;
  else if (n->op == OP_RandomNormal)
    add = (double)ATTR(n, RandomNormal)->mean, scale = (double)ATTR(n, RandomNormal)->scale,
    seed = ATTR(n, RandomNormal)->seed;
  else
    add = (double)ATTR(n, RandomNormalLike)->mean, scale = (double)ATTR(n, RandomNormalLike)->scale,
    seed = ATTR(n, RandomNormalLike)->seed;
  bool is_uniform = n->op == OP_RandomUniform || n->op == OP_RandomUniformLike;
  KExpr *block = element_number(x, t, index), *v = (is_uniform ? uniform : normal)(x, random_key(seed), block, wide);
  v = k_add(x, k_num(x, v, add), k_mul(x, k_num(x, v, scale), v));
  *e = ke_cast(x->k, t->dtype, v);
  return ST_OK;
}
const Lowering random_lower = {LOWER_ELEM, .elem = random_elem, .again = true};

/* --- Bernoulli (22) --- */

static Status bernoulli(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *t = &n->out[out]->type;
  DType w = lower_work(n->in[0]->type.dtype);
  KExpr *p, *number = element_number(x, t, index),
            *u = uniform(x, random_key(ATTR(n, Bernoulli)->seed), number, w == DT_f64);
  TRY(lower_read(x, n->in[0], index, &p));
  p = lower_once(x, "p", ke_cast(x->k, w, p));
  KExpr *fits = k_bin(x, KOP_and, k_bin(x, KOP_le, k_num(x, p, 0), p), k_bin(x, KOP_le, p, k_num(x, p, 1)));
  TRY(lower_check(x, fits, ke_cast(x->k, DT_f64, p), NULL, NOT_A_PROBABILITY));
  *e = ke_cast(x->k, t->dtype, k_bin(x, KOP_lt, u, p));
  return ST_OK;
}
const Lowering bernoulli_lower = {LOWER_ELEM, .elem = bernoulli, .again = true};

/* --- Multinomial (22): the first class at which the sum of the weights exp(x - max) passes u times their total --- */

static Status weight(Lower *x, const Node *n, KExpr *b, KExpr *c, const KVar *max, KExpr **e) {
  TRY(lower_read(x, n->in[0], (KExpr *[]){b, c}, e));
  *e = ke_cast(x->k, DT_f32, *e);
  if (max)
    *e = ke_cast(x->k, DT_f64, k_un(x, KOP_exp, k_sub(x, *e, ke_var(x->k, (KVar *)(uintptr_t)max))));
  return ST_OK;
}

static bool multinomial_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  *why = "probabilities of f64";
  return n->in[0]->type.dtype != DT_f64;
}

static Status multinomial(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *in = &n->in[0]->type, *t = &n->out[out]->type;
  KExpr *v, *c, *zero = lower_index_const(x, 0);
  KCursor behind, found;
  KVar *max = lower_acc(x, "m", ke_float(x->k, DT_f32, -INFINITY));
  c = lower_open(x, "c", in->dim[1], &behind);
  TRY(weight(x, n, index[0], c, NULL, &v));
  ks_update(&x->at, max, KOP_max, v);
  lower_close(x, 1, behind);
  KVar *total = lower_acc(x, "total", ke_float(x->k, DT_f64, 0));
  c = lower_open_ordered(x, "c", in->dim[1], &behind);
  TRY(weight(x, n, index[0], c, max, &v));
  ks_update(&x->at, total, KOP_add, v);
  lower_close(x, 1, behind);
  KExpr *u = uniform(x, random_key(ATTR(n, Multinomial)->seed), element_number(x, t, index), true);
  u = lower_once(x, "u", k_mul(x, u, ke_var(x->k, total)));
  KVar *sum = lower_acc(x, "sum", ke_float(x->k, DT_f64, 0)), *class = lower_acc(x, "class", lower_index_const(x, -1));
  c = lower_open_ordered(x, "c", in->dim[1], &behind);
  TRY(weight(x, n, index[0], c, max, &v));
  ks_update(&x->at, sum, KOP_add, v);
  KExpr *open = k_bin(x, KOP_lt, ke_var(x->k, class), zero);
  lower_if(x, k_bin(x, KOP_and, open, k_bin(x, KOP_lt, u, ke_var(x->k, sum))), &found);
  ks_update(&x->at, class, KOP_none, c);
  lower_close(x, 1, found);
  lower_close(x, 1, behind);
  KExpr *last = k_sub(x, ke_dim(x->k, in->dim[1]), lower_index_const(x, 1));
  v = ke_var(x->k, class);
  *e = ke_cast(x->k, t->dtype, ke_select(x->k, k_bin(x, KOP_lt, v, zero), last, v));
  return ST_OK;
}
const Lowering multinomial_lower = {LOWER_ELEM, .can = multinomial_can, .elem = multinomial, .again = true};

/* --- Dropout (22) --- */

static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }

static bool dropout_can(Ctx *c, const Node *n, const char **why) {
  (void)c;
  *why = "a ratio or a training mode that is no scalar";
  return (!has(n, 1) || !n->in[1]->type.rank) && (!has(n, 2) || !n->in[2]->type.rank);
}

/* In training an element stays with probability 1 - ratio, and grows as the others go. */
static Status dropout(Lower *x, const Node *n, int out, KExpr *const *index, KExpr **e) {
  const Type *t = &n->in[0]->type;
  DType w = lower_work(t->dtype);
  int64_t seed = ATTR(n, Dropout)->seed;
  KExpr *v, *training = ke_int(x->k, DT_bool, 0), *ratio = ke_float(x->k, DT_f32, 0.5), *zero = ke_float(x->k, w, 0);
  if (has(n, 2)) {
    TRY(lower_read(x, n->in[2], index, &training));
    training = ke_cast(x->k, DT_bool, training);
  }
  TRY(lower_read(x, n->in[0], index, &v));
  if (training->kind == KE_INT && !training->i) {
    *e = out ? ke_int(x->k, DT_bool, 1) : v;
    return ST_OK;
  }
  if (has(n, 1)) {
    TRY(lower_read(x, n->in[1], index, &ratio));
    ratio = lower_once(x, "ratio", ke_cast(x->k, DT_f32, ratio));
    KExpr *low = k_bin(x, KOP_le, k_num(x, ratio, 0), ratio), *high = k_bin(x, KOP_le, ratio, k_num(x, ratio, 1));
    KExpr *idle = k_un(x, KOP_not, training), *fits = k_bin(x, KOP_or, idle, k_bin(x, KOP_and, low, high));
    TRY(lower_check(x, fits, ke_cast(x->k, DT_f64, ratio), NULL, "ratio: " NOT_A_PROBABILITY));
  }
  KExpr *u = uniform(x, seed == ABSENT ? 0 : (uint64_t)seed, element_number(x, t, index), false);
  KExpr *active = k_bin(x, KOP_and, training, k_bin(x, KOP_ne, ratio, k_num(x, ratio, 0)));
  active = lower_once(x, "active", active);
  KExpr *keep = k_bin(x, KOP_or, k_un(x, KOP_not, active), k_bin(x, KOP_le, ratio, u));
  if (out) {
    *e = keep;
    return ST_OK;
  }
  keep = lower_once(x, "keep", keep);
  KExpr *rest = ke_cast(x->k, w, k_sub(x, k_num(x, ratio, 1), ratio)), *y = k_div(x, ke_cast(x->k, w, v), rest);
  y = ke_cast(x->k, t->dtype, ke_select(x->k, keep, y, zero));
  *e = ke_select(x->k, active, y, v);
  return ST_OK;
}
const Lowering dropout_lower = {LOWER_ELEM, .can = dropout_can, .elem = dropout};
