/* rms_norm.c - x / sqrt(mean(x^2) + epsilon) * scale -> RMSNormalization (opset 23 form). The dynamo exporter writes
 * Pow, ReduceMean, Add, Sqrt, Reciprocal, Mul, Mul at every opset; half-precision models compute it in f32 between
 * Casts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

enum { X, SCALE, EPS, AXES };

#define SQUARE(x) ALT(P1(Pow, x, K(2)), P1(Mul, x, x))
#define ROOT(x)                                                                                                        \
  ALT(P1(Sqrt, P1(Add, P1(ReduceMean, SQUARE(x), C(AXES)), C(EPS))),                                                   \
      P1(Pow, P1(Add, P1(ReduceMean, SQUARE(x), C(AXES)), C(EPS)), K(0.5)))
#define INVERSE(x)                                                                                                     \
  ALT(P1(Reciprocal, ROOT(x)), P1(Div, K(1), ROOT(x)),                                                                 \
      P1(Pow, P1(Add, P1(ReduceMean, SQUARE(x), C(AXES)), C(EPS)), K(-0.5)))
#define NORMAL(P_, x)     P_(Mul, x, INVERSE(x))
#define NORMAL_DIV(P_, x) P_(Div, x, ROOT(x))
#define ANY_NORMAL(x)     ALT(NORMAL(P1, x), NORMAL_DIV(P1, x))
#define WIDE              P1(Cast, V(X))

/* The attribute is f32: in f64 arithmetic the difference would show. */
static bool fits_f32(const Value *x, double eps) { return x->type.dtype != DT_f64 || (double)(float)eps == eps; }

static Value *make(Match *m) {
  Value *x = m->v[X], *scale = m->v[SCALE];
  const int64_t *axes;
  int64_t n;
  double eps;
  for (int i = 0; i < m->nnode; i++)
    if (m->node[i]->op == OP_ReduceMean && !ATTR(m->node[i], Reduce)->keepdims)
      return NULL;
  if (!same_type(x, m->root->out[0]) || !dtype_is_float(x->type.dtype) || x->type.rank < 1 ||
      !value_scalar(m->v[EPS], &eps) || !(eps >= 0) || !fits_f32(x, eps) ||
      !value_ints(m->v[AXES], &axes, &n, m->g->arena) || n != 1 || axis_of(axes[0], x) != x->type.rank - 1)
    return NULL;
  Dim width = x->type.dim[x->type.rank - 1];
  if (scale && (!type_known(scale) || scale->type.dtype != x->type.dtype || scale->type.rank != 1 ||
                scale->type.dim[0] != width))
    return NULL;
  if (!scale) {
    int64_t k;
    Tensor *t;
    if (!dim_is_const(width, &k) || tensor_new(m->c, m->g->arena, x->type.dtype, 1, &k, &t))
      return NULL;
    for (int64_t i = 0; i < k; i++)
      elem_set_f64(t->dtype, t->data, i, 1);
    scale = graph_add_const(m->g, NULL, t);
  }
  RMSNormalizationAttr a = {.axis = -1, .epsilon = (float)eps, .stash_type = x->type.dtype == DT_f64 ? DT_f64 : DT_f32};
  return EMIT(m, RMSNormalization, &a, x, scale);
}

/* Between Casts the computation is in f32, as stash_type says; the product with scale is in the narrow type. */
static Value *make_narrow(Match *m) {
  Node *wide = NULL;
  for (int i = 1; i < m->nnode; i++)
    if (m->node[i]->op == OP_Cast && m->node[i]->in[0] == m->v[X])
      wide = m->node[i];
  DType t = m->v[X]->type.dtype;
  return wide && ATTR(wide, Cast)->to == DT_f32 && (t == DT_f16 || t == DT_bf16) ? make(m) : NULL;
}

static const Rule scaled[] = {
    {"rms norm", P(Mul, ANY_NORMAL(V(X)), V(SCALE)), make},
    {"rms norm in f32", P(Mul, P1(Cast, ANY_NORMAL(WIDE)), V(SCALE)), make_narrow},
};
static const Rule bare[] = {
    {"rms norm without scale", NORMAL(P, V(X)), make},
    {"rms norm without scale", NORMAL_DIV(P, V(X)), make},
};

Status pass_rms_norm(Ctx *c, Graph *g) {
  TRY(rewrite(c, g, scaled, countof(scaled)));
  return rewrite(c, g, bare, countof(bare));
}
