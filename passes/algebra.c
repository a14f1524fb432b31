/* algebra.c - one form for what exporters write in several: no-ops go, constants stand on the right, Squeeze, Unsqueeze
 * and Flatten are Reshapes whose shape is stated in full, transpositions are merged, linear layers are MatMul + Add on
 * the activation's own rank, axes and split sizes are explicit. Needs: types inferred. Every rule holds for all values
 * of the symbols. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  MAX_DECIDING = 1 << 16, /* elements of a condition that are looked at */
  MANY_AXES = 5           /* transpositions of so many have no ones among them */
};

/* --- what does nothing --- */

/* x when it has the type of the result. */
static Value *keep_x(Match *m) {
  return m->v[0]->type.kind == VK_TENSOR && same_type(m->v[0], m->root->out[0]) ? m->v[0] : NULL;
}

static Value *identity(Match *m) { return m->v[0]; }

static Value *cast_same(Match *m) {
  return m->v[0]->type.kind == VK_TENSOR && m->v[0]->type.dtype == ATTR(m->root, Cast)->to ? m->v[0] : NULL;
}

static Value *cast_like(Match *m) {
  const CastLikeAttr *a = ATTR(m->root, CastLike);
  CastAttr to = {.round_mode = a->round_mode, .saturate = a->saturate, .to = m->v[1]->type.dtype};
  return m->v[1]->type.kind == VK_TENSOR && to.to ? EMIT(m, Cast, &to, m->v[0]) : NULL;
}

/* Inference only: training_mode is absent or false. */
static Value *dropout(Match *m) {
  Node *n = m->root;
  double training = 0;
  if (n->nin > 2 && n->in[2] && !(value_scalar(n->in[2], &training) && training == 0))
    return NULL;
  return n->nout > 1 && n->out[1] && n->out[1]->uses ? NULL : n->in[0];
}

static Value *same_shape_out(Match *m) { return same_type(m->root->in[0], m->root->out[0]) ? m->root->in[0] : NULL; }

/* A tensor stands for an optional that holds it. */
static Value *element(Match *m) { return type_known(m->root->in[0]) ? m->root->in[0] : NULL; }

/* With steps of 1 a slice of the same extents is the whole. */
static Value *slice_all(Match *m) {
  Node *n = m->root;
  const int64_t *step;
  int64_t k = 0;
  if (n->nin > 4 && n->in[4]) {
    if (!value_ints(n->in[4], &step, &k, m->g->arena))
      return NULL;
    for (int64_t i = 0; i < k; i++)
      if (step[i] != 1)
        return NULL;
  }
  return same_shape_out(m);
}

/* Slice by constants and steps of 1: axes from the front, bounds within constant extents, no steps. */
static Value *slice_stated(Match *m) {
  Node *n = m->root;
  const int64_t *v[4];
  int64_t count[4] = {0}, from[MAX_RANK], to[MAX_RANK], at[MAX_RANK], d;
  Value *x = n->in[0];
  bool same = n->nin == 4;
  for (int i = 0; i < 4; i++) {
    bool given = i + 1 < n->nin && n->in[i + 1];
    if (given ? !value_ints(n->in[i + 1], &v[i], &count[i], m->g->arena) || n->in[i + 1]->type.dtype != DT_i64 : i < 2)
      return NULL;
    if (given && count[i] != count[0])
      return NULL;
  }
  if (!type_known(x) || count[0] > x->type.rank)
    return NULL;
  for (int64_t i = 0; i < count[0]; i++) {
    int axis = count[2] ? axis_of(v[2][i], x) : (int)i;
    if (axis < 0 || (count[3] && v[3][i] != 1))
      return NULL;
    at[i] = axis, from[i] = v[0][i], to[i] = v[1][i];
    if (dim_is_const(x->type.dim[axis], &d)) {
      from[i] = from[i] < -d ? 0 : from[i] < 0 ? from[i] + d : from[i] > d ? d : from[i];
      to[i] = to[i] < -d ? 0 : to[i] < 0 ? to[i] + d : to[i] > d ? d : to[i];
    } else if (to[i] >= INT32_MAX) {
      to[i] = INT64_MAX;
    }
    same = same && count[2] && at[i] == v[2][i] && from[i] == v[0][i] && to[i] == v[1][i];
  }
  if (same)
    return NULL;
  return EMIT(m, Slice, NULL, x, const_ints(m, from, count[0]), const_ints(m, to, count[0]),
              const_ints(m, at, count[0]));
}

static Value *pad_nothing(Match *m) {
  const int64_t *pad;
  int64_t n;
  if (!value_ints(m->root->in[1], &pad, &n, m->g->arena))
    return NULL;
  for (int64_t i = 0; i < n; i++)
    if (pad[i])
      return NULL;
  return same_shape_out(m);
}

static Value *concat_some(Match *m) {
  Node *n = m->root;
  int axis = axis_of(ATTR(n, Concat)->axis, n->out[0]), kept = 0;
  if (n->nin == 1)
    return n->in[0];
  if (axis < 0)
    return NULL;
  Value **in = arena_array(m->g->arena, Value *, n->nin);
  for (int i = 0; i < n->nin; i++)
    if (!type_known(n->in[i]) || !dim_is(n->in[i]->type.dim[axis], 0))
      in[kept++] = n->in[i];
  if (kept == n->nin || !kept)
    return NULL;
  return kept == 1 && same_type(in[0], n->out[0]) ? in[0] : kept > 1 ? emit(m, OP_Concat, n->attr, kept, in) : NULL;
}

static Value *split_one(Match *m) { return m->root->nout == 1 ? same_shape_out(m) : NULL; }

/* --- order of operands --- */

static Value *const_right(Match *m) {
  Node *n = m->root;
  if (n->nin != 2 || !n->in[0]->konst || n->in[1]->konst)
    return NULL;
  return emit(m, n->op, n->attr, 2, (Value *[]){n->in[1], n->in[0]});
}

/* Exact only for powers of two. */
static Value *div_to_mul(Match *m) {
  double k;
  int e;
  Value *c = m->v[1];
  if (!value_scalar(c, &k) || !dtype_is_float(c->konst->dtype) || !isfinite(k) || fabs(frexp(k, &e)) != 0.5 ||
      abs(e) > 12)
    return NULL;
  Tensor *t;
  if ((m->st = tensor_new(m->c, m->g->arena, c->konst->dtype, c->konst->rank, c->konst->dim, &t)))
    return NULL;
  elem_set_f64(t->dtype, t->data, 0, 1 / k);
  return EMIT(m, Mul, NULL, m->v[0], graph_add_const(m->g, NULL, t));
}

/* A constant condition that is the same everywhere. */
static Value *where_decided(Match *m) {
  const Tensor *c = m->root->in[0]->konst;
  int64_t n = c ? tensor_count(c) : 0;
  if (n < 1 || n > MAX_DECIDING)
    return NULL;
  for (int64_t i = 1; i < n; i++)
    if (const_elem(c, i) != const_elem(c, 0))
      return NULL;
  Value *r = m->root->in[const_elem(c, 0) != 0 ? 1 : 2];
  return same_type(r, m->root->out[0]) ? r : NULL;
}

/* --- shapes --- */

/* The shape input says exactly the output's extents. */
static bool is_shape_of(const Value *s, const Value *out) {
  int64_t n;
  if (!s->content || !type_known(s) || !dim_is_const(s->type.rank == 1 ? s->type.dim[0] : NULL, &n) ||
      n != out->type.rank)
    return false;
  for (int i = 0; i < n; i++)
    if (s->content[i] != out->type.dim[i])
      return false;
  return true;
}

static bool stated(Match *m, const Value *out) {
  return type_known(out) && dims_bound(m->g, out->type.dim, out->type.rank, NULL);
}

static Value *to_reshape(Match *m) {
  Node *n = m->root;
  Value *out = n->out[0];
  if (!stated(m, out) || !type_known(n->in[0]))
    return NULL;
  return reshape_to(m, n->in[0], out->type.dim, out->type.rank);
}

static Value *reshape_stated(Match *m) {
  Node *n = m->root;
  Value *out = n->out[0], *s = n->in[1];
  if (!stated(m, out))
    return NULL;
  if (type_known(n->in[0]) && same_shape(n->in[0], out))
    return n->in[0];
  bool plain = s->konst || def_of(s, OP_Dims);
  if (ATTR(n, Reshape)->allowzero == 1 && plain && is_shape_of(s, out))
    return NULL;
  return reshape_to(m, n->in[0], out->type.dim, out->type.rank);
}

static Value *reshape_twice(Match *m) {
  if (!stated(m, m->root->out[0]))
    return NULL;
  return reshape_to(m, m->v[0], m->root->out[0]->type.dim, m->root->out[0]->type.rank);
}

/* Are elements of v known from data only? Then they may be wrong, and the operator that reads them says so. */
static bool from_data(Match *m, const Value *v) {
  int64_t n;
  if (v->content && v->type.rank >= 0 && dim_is_const(type_count(m->c, &v->type), &n))
    for (int64_t i = 0; i < n; i++)
      if (v->content[i]->data)
        return true;
  return false;
}

static Value *expand_stated(Match *m) {
  Node *n = m->root;
  Value *out = n->out[0], *s = n->in[1];
  if (from_data(m, s))
    return NULL;
  if (same_type(n->in[0], out))
    return n->in[0];
  if (!stated(m, out) || ((s->konst || def_of(s, OP_Dims)) && is_shape_of(s, out)))
    return NULL;
  return EMIT(m, Expand, NULL, n->in[0], dims_value(m, out->type.dim, out->type.rank));
}

static Value *fill_to_expand(Match *m) {
  Node *n = m->root;
  Value *out = n->out[0];
  const Tensor *value = ATTR(n, ConstantOfShape)->value;
  if (!stated(m, out) || (value && tensor_count(value) != 1))
    return NULL;
  Value *k = const_like(m, 0, out->type.dtype);
  if (value && dtype_bits(value->dtype) >= 8 && value->dtype != DT_str)
    memcpy(k->konst->data, value->data, tensor_bytes(value));
  else if (value)
    return NULL;
  return EMIT(m, Expand, NULL, k, dims_value(m, out->type.dim, out->type.rank));
}

/* --- transpositions --- */

static Value *transpose_stated(Match *m) {
  Node *n = m->root;
  int64_t p[MAX_RANK];
  int rank;
  bool none = true;
  if (!perm_of(n, p, &rank))
    return NULL;
  for (int i = 0; i < rank; i++)
    none &= p[i] == i;
  if (none)
    return n->in[0];
  return ATTR(n, Transpose)->perm.v ? NULL : transpose_by(m, n->in[0], p, rank);
}

static Value *transpose_twice(Match *m) {
  int64_t p[MAX_RANK], q[MAX_RANK], r[MAX_RANK];
  int rank, other;
  if (!perm_of(m->root, p, &rank) || !perm_of(m->node[1], q, &other))
    return NULL;
  for (int i = 0; i < rank; i++)
    r[i] = q[p[i]];
  return transpose_by(m, m->v[0], r, rank);
}

/* The groups of consecutive dims of `to` whose products are the dims of `from`, in order: to[first[i] .. first[i + 1])
 * is from[i]. False: `to` does not split `from`. */
static bool split_groups(Ctx *c, int nfrom, Dim const *from, int nto, Dim const *to, int *first) {
  int at = 0;
  for (int i = 0; i < nfrom; i++) {
    first[i] = at;
    if (at == nto)
      return false;
    Dim p = to[at++];
    while (p != from[i] && at < nto)
      p = dim_mul(c, p, to[at++]);
    if (p != from[i])
      return false;
  }
  while (at < nto && dim_is(to[at], 1)) /* ones behind the last */
    at++;
  first[nfrom] = at;
  return at == nto;
}

/* Does `to` have the dims of `from`, and ones among them? */
static bool adds_ones(int nfrom, Dim const *from, int nto, Dim const *to) {
  int i = 0;
  for (int k = 0; k < nto; k++)
    if (!dim_is(to[k], 1)) {
      while (i < nfrom && dim_is(from[i], 1))
        i++;
      if (i == nfrom || from[i++] != to[k])
        return false;
    }
  return true;
}

/* A Reshape that splits axes of a transposed value splits them before the transposition:
 *     x [S, B*H, D] -> Transpose [B*H, S, D] -> Reshape [B, H, S, D]   is   x -> Reshape [S, B, H, D] -> Transpose.
 * So the Reshapes around a transposition meet and merge (dynamo writes K's transposition as Reshape, Transpose,
 * Reshape). Ones among many axes stay behind it, where transpose_units puts them. */
static Value *split_before_transpose(Match *m) {
  Value *x = m->v[0], *t = m->node[1]->out[0], *out = m->root->out[0];
  int64_t p[MAX_RANK], q[MAX_RANK];
  int rank, first[MAX_RANK + 1], at[MAX_RANK], n = 0, k = 0;
  Dim d[MAX_RANK];
  if (!type_known(x) || !type_known(t) || !stated(m, out) || !perm_of(m->node[1], p, &rank) || out->type.rank <= rank ||
      (out->type.rank >= MANY_AXES && adds_ones(rank, t->type.dim, out->type.rank, out->type.dim)) ||
      !split_groups(m->c, rank, t->type.dim, out->type.rank, out->type.dim, first))
    return NULL;
  for (int i = 0; i < rank; i++) { /* axis i of x is axis j of t, which becomes the axes first[j] .. of out */
    int j = 0;
    while (p[j] != i)
      j++;
    at[j] = n;
    for (int o = first[j]; o < first[j + 1]; o++)
      d[n++] = out->type.dim[o];
  }
  for (int j = 0; j < rank; j++)
    for (int o = first[j]; o < first[j + 1]; o++)
      q[k++] = at[j] + (o - first[j]);
  return transpose_by(m, reshape_to(m, x, d, n), q, n);
}

/* In transpositions of many axes those of extent 1 are the Reshape's business. */
static Value *transpose_units(Match *m) {
  Value *x = m->root->in[0], *out = m->root->out[0];
  int64_t p[MAX_RANK], q[MAX_RANK];
  int rank, at[MAX_RANK], n = 0, k = 0;
  Dim d[MAX_RANK];
  if (!perm_of(m->root, p, &rank) || rank < MANY_AXES || !stated(m, out) || !stated(m, x))
    return NULL;
  for (int i = 0; i < rank; i++)
    if (!dim_is(x->type.dim[i], 1)) {
      at[i] = n;
      d[n++] = x->type.dim[i];
    }
  if (n == rank)
    return NULL;
  for (int i = 0; i < rank; i++)
    if (!dim_is(x->type.dim[p[i]], 1))
      q[k++] = at[p[i]];
  Value *t = transpose_by(m, reshape_to(m, x, d, n), q, n);
  return reshape_to(m, t, out->type.dim, out->type.rank);
}

/* --- linear layers --- */

/* alpha = beta = 1: MatMul(A or its transpose, B or its transpose) + C. */
static Value *gemm(Match *m) {
  static const int64_t swap[] = {1, 0};
  Node *n = m->root;
  const GemmAttr *a = ATTR(n, Gemm);
  bool add = n->nin > 2 && n->in[2];
  if (a->alpha != 1 || (add && a->beta != 1) || !type_known(n->in[0]) || !dtype_is_float(n->in[0]->type.dtype))
    return NULL;
  Value *x = a->transA ? transpose_by(m, n->in[0], swap, 2) : n->in[0];
  Value *w = a->transB ? transpose_by(m, n->in[1], swap, 2) : n->in[1];
  Value *y = EMIT(m, MatMul, NULL, x, w);
  return add ? EMIT(m, Add, NULL, y, n->in[2]) : y;
}

/* Reshape(f(y)) that splits the rows of y [N, K] -> f(Reshape(y)): layers keep the activation's own rank. */
static bool splits_rows(Match *m, const Value *y) {
  Value *out = m->root->out[0];
  return type_known(y) && stated(m, out) && y->type.rank == 2 && out->type.rank > 2 &&
         out->type.dim[out->type.rank - 1] == y->type.dim[1];
}

static Value *rows_before(Match *m, Value *y) {
  Value *out = m->root->out[0];
  Dim d[MAX_RANK];
  memcpy(d, out->type.dim, sizeof d);
  d[out->type.rank - 1] = y->type.dim[1];
  return reshape_to(m, y, d, out->type.rank);
}

static Value *rows_of_matmul(Match *m) {
  Value *y = m->v[0], *w = m->v[1];
  if (!splits_rows(m, m->node[1]->out[0]) || !type_known(y) || !type_known(w) || y->type.rank != 2 ||
      w->type.rank != 2 || !dims_bound(m->g, y->type.dim, 2, NULL))
    return NULL;
  return EMIT(m, MatMul, NULL, rows_before(m, y), w);
}

static Value *rows_of_bias(Match *m) {
  Value *y = m->v[0], *b = m->v[1];
  if (!splits_rows(m, m->node[1]->out[0]) || !same_shape(y, m->node[1]->out[0]) || !type_known(b) ||
      b->type.rank != 1 || b->type.dim[0] != y->type.dim[1])
    return NULL;
  return emit(m, m->node[1]->op, NULL, 2, (Value *[]){rows_before(m, y), b});
}

/* --- axes --- */

#define AXIS_RULE(Name, Kind, of, last)                                                                                \
  static Value *axis_##Name(Match *m) {                                                                                \
    Kind##Attr a = *ATTR(m->root, Kind);                                                                               \
    int axis = axis_of(a.axis, of);                                                                                    \
    int64_t want = axis >= 0 && (last) && axis == (of)->type.rank - 1 ? -1 : axis;                                     \
    if (axis < 0 || a.axis == want)                                                                                    \
      return NULL;                                                                                                     \
    a.axis = want;                                                                                                     \
    return emit(m, OP_##Name, &a, m->root->nin, m->root->in);                                                          \
  }
AXIS_RULE(Gather, Gather, m->root->in[0], false)
AXIS_RULE(Concat, Concat, m->root->out[0], false)
AXIS_RULE(Softmax, Softmax, m->root->in[0], true)
AXIS_RULE(RMSNormalization, RMSNormalization, m->root->in[0], true)

/* Nodes of several outputs are changed in place. */
static Value *layer_norm_axis(Match *m) {
  LayerNormalizationAttr *a = m->root->attr;
  int axis = axis_of(a->axis, m->root->in[0]);
  if (axis >= 0)
    a->axis = axis == m->root->in[0]->type.rank - 1 ? -1 : axis;
  return NULL;
}

/* Split says its axis from the front and its sizes as a constant. */
static Value *split_stated(Match *m) {
  Node *n = m->root;
  SplitAttr *a = n->attr;
  int axis = axis_of(a->axis, n->in[0]);
  int64_t size[256];
  if (axis < 0)
    return NULL;
  a->axis = axis;
  if ((n->nin > 1 && n->in[1]) || a->num_outputs == ABSENT || n->nout > (int)countof(size))
    return NULL;
  for (int i = 0; i < n->nout; i++)
    if (!n->out[i] || !type_known(n->out[i]) || !dim_is_const(n->out[i]->type.dim[axis], &size[i]))
      return NULL;
  node_set_inputs(n, 2, (Value *[]){n->in[0], const_ints(m, size, n->nout)});
  a->num_outputs = ABSENT;
  return NULL;
}

static const Rule rules[] = {
    {"identity", P(Identity, V(0)), identity},
    {"x+0", P(Add, V(0), K(0)), keep_x},
    {"x-0", P(Sub, V(0), K(0)), keep_x},
    {"x*1", P(Mul, V(0), K(1)), keep_x},
    {"x/1", P(Div, V(0), K(1)), keep_x},
    {"x**1", P(Pow, V(0), K(1)), keep_x},
    {"x and true", P(And, V(0), K(1)), keep_x},
    {"x or false", P(Or, V(0), K(0)), keep_x},
    {"not not", P(Not, P(Not, V(0))), keep_x},
    {"neg neg", P(Neg, P(Neg, V(0))), keep_x},
    {"cast to the same", P(Cast, V(0)), cast_same},
    {"cast like", P(CastLike, V(0), V(1)), cast_like},
    {"dropout", OPERATOR(Dropout), dropout},
    {"slice of all", OPERATOR(Slice), slice_all},
    {"slice by constants", OPERATOR(Slice), slice_stated},
    {"pad of nothing", OPERATOR(Pad), pad_nothing},
    {"concat of one", OPERATOR(Concat), concat_some},
    {"split in one", OPERATOR(Split), split_one},
    {"where decided", OPERATOR(Where), where_decided},
    {"x/2^k", P(Div, V(0), C(1)), div_to_mul},
    {"constant right", OPERATOR(Add), const_right},
    {"constant right", OPERATOR(Mul), const_right},
    {"constant right", OPERATOR(Equal), const_right},
    {"constant right", OPERATOR(And), const_right},
    {"constant right", OPERATOR(Or), const_right},
    {"constant right", OPERATOR(Max), const_right},
    {"constant right", OPERATOR(Min), const_right},
    {"reshape", OPERATOR(Squeeze), to_reshape},
    {"reshape", OPERATOR(Unsqueeze), to_reshape},
    {"reshape", OPERATOR(Flatten), to_reshape},
    {"fill", OPERATOR(ConstantOfShape), fill_to_expand},
    {"expand", OPERATOR(Expand), expand_stated},
    {"element of a tensor", OPERATOR(OptionalGetElement), element},
    {"split before transpose", P(Reshape, P1(Transpose, V(0)), V(1)), split_before_transpose},
    {"rows of matmul", P(Reshape, P1(MatMul, V(0), V(1)), V(2)), rows_of_matmul},
    {"rows of bias", P(Reshape, P1(Add, V(0), C(1)), V(2)), rows_of_bias},
    {"reshape of reshape", P(Reshape, P(Reshape, V(0), V(1)), V(2)), reshape_twice},
    {"reshape", OPERATOR(Reshape), reshape_stated},
    {"transpose", OPERATOR(Transpose), transpose_stated},
    {"transpose of transpose", P(Transpose, P(Transpose, V(0))), transpose_twice},
    {"transpose of ones", OPERATOR(Transpose), transpose_units},
    {"gemm", OPERATOR(Gemm), gemm},
    {"axis", OPERATOR(Gather), axis_Gather},
    {"axis", OPERATOR(Concat), axis_Concat},
    {"axis", OPERATOR(Softmax), axis_Softmax},
    {"axis", OPERATOR(LayerNormalization), layer_norm_axis},
    {"axis", OPERATOR(RMSNormalization), axis_RMSNormalization},
    {"split sizes", OPERATOR(Split), split_stated},
};

Status pass_algebra(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
