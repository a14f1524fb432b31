/* layer_norm.c - (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias -> LayerNormalization (opset 17 form).
 * TorchScript below opset 17 writes ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add; others repeat the Sub,
 * or square by Mul; TensorFlow has the form of a batch norm, x * r + (bias - mean * r) with r = scale / deviation, whose parts have more
 * uses than one. The means are over the last axes, and scale and bias have just these axes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

enum { X, SCALE, BIAS, EPS, AXES, AXES2, AXES3 };

#define CENTRED(axes) P1(Sub, V(X), P1(ReduceMean, V(X), C(axes)))
#define SQUARE(d)     ALT(P1(Pow, d, K(2)), P1(Mul, d, d))
#define DEVIATION                                                                                                      \
  ALT(P1(Sqrt, P1(Add, P1(ReduceMean, SQUARE(CENTRED(AXES2)), C(AXES3)), C(EPS))),                                     \
      P1(Pow, P1(Add, P1(ReduceMean, SQUARE(CENTRED(AXES2)), C(AXES3)), C(EPS)), K(0.5)))
#define NORMAL(P_)     P_(Div, CENTRED(AXES), DEVIATION)
#define NORMAL_MUL(P_) P_(Mul, CENTRED(AXES), P1(Reciprocal, DEVIATION))
#define ANY_NORMAL     ALT(NORMAL(P1), NORMAL_MUL(P1))

/* The first of the trailing axes that every mean is over; -1: they are not such. */
static int first_axis(const Match *m) {
  int rank = m->v[X]->type.rank, first = -1;
  const Value *list[] = {m->v[AXES], m->v[AXES2], m->v[AXES3]};
  for (size_t k = 0; k < countof(list); k++) {
    const int64_t *a;
    int64_t n;
    uint32_t set = 0;
    if (!list[k] || !value_ints(list[k], &a, &n, m->g->arena) || n < 1 || n > rank)
      return -1;
    for (int64_t i = 0; i < n; i++) {
      int axis = axis_of(a[i], m->v[X]);
      if (axis < 0)
        return -1;
      set |= 1u << axis;
    }
    int at = rank - (int)n;
    if (set != (((1u << n) - 1) << at) || (first >= 0 && at != first))
      return -1;
    first = at;
  }
  return first;
}

static bool keeps_dims(const Match *m) {
  for (int i = 0; i < m->nnode; i++)
    if (m->node[i]->op == OP_ReduceMean && !ATTR(m->node[i], Reduce)->keepdims)
      return false;
  return true;
}

static bool spans(const Value *p, const Value *x, int axis) {
  if (!type_known(p) || p->type.rank != x->type.rank - axis || p->type.dtype != x->type.dtype)
    return false;
  for (int i = 0; i < p->type.rank; i++)
    if (p->type.dim[i] != x->type.dim[axis + i])
      return false;
  return true;
}

/* Scale of 1 over the axes; NULL when an extent is not constant. */
static Value *ones(Match *m, const Value *x, int axis) {
  int64_t d[MAX_RANK], n;
  Tensor *t;
  for (int i = axis; i < x->type.rank; i++)
    if (!dim_is_const(x->type.dim[i], &d[i - axis]))
      return NULL;
  if (tensor_new(m->c, m->g->arena, x->type.dtype, x->type.rank - axis, d, &t))
    return NULL;
  n = tensor_count(t);
  for (int64_t i = 0; i < n; i++)
    elem_set_f64(t->dtype, t->data, i, 1);
  return graph_add_const(m->g, NULL, t);
}

/* The attribute is f32: in f64 arithmetic the difference would show. */
static bool fits_f32(const Value *x, double eps) { return x->type.dtype != DT_f64 || (double)(float)eps == eps; }

static Value *make(Match *m) {
  Value *x = m->v[X], *scale = m->v[SCALE], *bias = m->v[BIAS];
  double eps;
  if (!type_known(x) || !dtype_is_float(x->type.dtype) || !keeps_dims(m) || !value_scalar(m->v[EPS], &eps) ||
      !(eps >= 0) || !fits_f32(x, eps))
    return NULL;
  int axis = first_axis(m), rank = x->type.rank;
  if (axis < 0 || !same_type(x, m->root->out[0]) || (scale && !spans(scale, x, axis)) ||
      (bias && !spans(bias, x, axis)))
    return NULL;
  if (!scale && !(scale = ones(m, x, axis)))
    return NULL;
  LayerNormalizationAttr a = {.axis = axis == rank - 1 ? -1 : axis,
                              .epsilon = (float)eps,
                              .stash_type = x->type.dtype == DT_f64 ? DT_f64 : DT_f32};
  return emit(m, OP_LayerNormalization, &a, bias ? 3 : 2, (Value *[]){x, scale, bias});
}

/* v = scale / sqrt(mean((x - mean)^2) + epsilon), its mean being that node's first output. */
static bool match_factor(Match *m, Value *v, Value *mean) {
  Node *mul = def_of(v, OP_Mul), *r = NULL, *root, *add, *var, *square, *sub;
  for (int i = 0; mul && i < 2 && !r; i++)
    if ((r = def_of(mul->in[i], OP_Reciprocal)))
      m->v[SCALE] = mul->in[1 - i];
  if (!r || !(root = def_of(r->in[0], OP_Sqrt)) || !(add = def_of(root->in[0], OP_Add)) ||
      !(var = def_of(add->in[0], OP_ReduceMean)) || var->nin < 2 || !(square = var->in[0]->def) || square->nin != 2)
    return false;
  bool squares =
      square->op == OP_Mul ? square->in[0] == square->in[1] : square->op == OP_Pow && is_num(square->in[1], 2);
  sub = def_of(square->in[0], OP_Sub);
  if (!squares || !sub || sub->in[0] != m->v[X] || sub->in[1] != mean || !ATTR(var, Reduce)->keepdims)
    return false;
  m->v[EPS] = add->in[1], m->v[AXES3] = var->in[1];
  Node *all[] = {mul, r, root, add, var, square, sub};
  for (size_t i = 0; i < countof(all); i++)
    match_also(m, all[i]);
  return true;
}

/* x * r + (bias - mean * r) */
static Value *make_as_batch_norm(Match *m) {
  for (int side = 0; side < 2; side++) {
    Node *rest = def_of(m->root->in[1 - side], OP_Sub), *scaled = def_of(m->root->in[side], OP_Mul);
    Node *shift = rest ? def_of(rest->in[1], OP_Mul) : NULL;
    for (int i = 0; scaled && shift && i < 4; i++) {
      Value *x = scaled->in[i & 1], *r = scaled->in[1 - (i & 1)], *mean = shift->in[i >> 1];
      Node *by = def_of(mean, OP_ReduceMean);
      if (shift->in[1 - (i >> 1)] != r || !by || by->nin < 2 || by->in[0] != x || !ATTR(by, Reduce)->keepdims)
        continue;
      m->v[X] = x, m->v[BIAS] = rest->in[0], m->v[AXES] = m->v[AXES2] = by->in[1];
      if (match_factor(m, r, mean)) {
        Node *all[] = {rest, scaled, shift, by};
        for (size_t k = 0; k < countof(all); k++)
          match_also(m, all[k]);
        return make(m);
      }
    }
  }
  return NULL;
}

/* The longest form first: the shorter ones are parts of it. */
static const Rule affine[] = {{"layer norm", P(Add, P1(Mul, ANY_NORMAL, V(SCALE)), V(BIAS)), make},
                              {"layer norm in the form of a batch norm", OPERATOR(Add), make_as_batch_norm}};
static const Rule scaled[] = {{"layer norm without bias", P(Mul, ANY_NORMAL, V(SCALE)), make}};
static const Rule bare[] = {
    {"layer norm without scale", NORMAL(P), make},
    {"layer norm without scale", NORMAL_MUL(P), make},
};

Status pass_layer_norm(Ctx *c, Graph *g) {
  TRY(rewrite(c, g, affine, countof(affine)));
  TRY(rewrite(c, g, scaled, countof(scaled)));
  return rewrite(c, g, bare, countof(bare));
}
