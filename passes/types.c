/* types.c - operators in types that no kernel has, as the same in others between casts: integers and booleans that are
 * interpolated or multiplied by fractions, booleans that are reduced while they are scattered, numbers that say how much there
 * will be and are not i64, complex numbers. Results are those of the evaluators, to the bit where these are exact.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include <math.h>

static DType of(const Value *v) { return v->type.dtype; }

static Value *as(Match *m, Value *v, DType t) {
  CastAttr to = {.round_mode = str_of("up"), .saturate = 1, .to = t};
  return of(v) == t ? v : EMIT(m, Cast, &to, v);
}

/* v, of f64, as integers of type t: the nearest ones, those at the ends where there are none; booleans: is it another than 0? */
static Value *rounded(Match *m, Value *v, DType t) {
  v = EMIT(m, Round, NULL, v);
  bool sign = dtype_kind(t) == DK_SINT;
  int bits = dtype_bits(t), own = sign ? bits - 1 : bits;
  if (t == DT_bool || bits > 32)
    return as(m, v, t);
  double most = (double)((1LL << own) - 1), least = sign ? -(double)(1LL << own) : 0;
  return as(m, EMIT(m, Clip, NULL, v, const_like(m, least, DT_f64), const_like(m, most, DT_f64)), t);
}

static bool interpolates(const Node *n) {
  return n->op == OP_GridSample ? !str_is(ATTR(n, GridSample)->mode, "nearest")
                                : !str_is(ATTR(n, Resize)->mode, "nearest");
}

static bool crops(const Node *n) {
  return str_is(ATTR(n, Resize)->coordinate_transformation_mode, "tf_crop_and_resize");
}

/* GridSample, and Resize of booleans, in f64. */
static Value *sampled(Match *m) {
  Node *n = m->root;
  DType t = of(n->in[0]);
  Value *in[4] = {0};
  if (!(t == DT_bool || (n->op == OP_GridSample && dtype_is_int(t))) || !(n->op == OP_GridSample || interpolates(n)))
    return NULL;
  for (int i = 1; i < n->nin; i++)
    in[i] = n->in[i];
  in[0] = as(m, n->in[0], DT_f64);
  return rounded(m, emit(m, n->op, n->attr, n->nin, in), t);
}

static bool is_complex(const Value *v) { return dtype_kind(of(v)) == DK_COMPLEX; }

/* GridSample and Resize of complex numbers: their parts. What lies outside has no imaginary part. */
static Value *sampled_parts(Match *m) {
  Node *n = m->root;
  Value *in[4] = {0}, *part[2], *x = n->in[0];
  ResizeAttr none = {0};
  const int64_t last[1] = {x->type.rank};
  bool grid = n->op == OP_GridSample;
  if (!is_complex(x) || !type_known(x) || x->type.rank == MAX_RANK || (!grid && !interpolates(n) && !crops(n)))
    return NULL;
  for (int i = 1; i < n->nin; i++)
    in[i] = n->in[i];
  if (!grid)
    none = *ATTR(n, Resize), none.extrapolation_value = 0;
  Value *parts = EMIT(m, Parts, NULL, x), *axis = const_ints(m, last, 1);
  for (int i = 0; i < 2; i++) {
    GatherAttr along = {.axis = last[0]};
    in[0] = EMIT(m, Gather, &along, parts, const_like(m, i, DT_i64));
    part[i] = EMIT(m, Unsqueeze, NULL, emit(m, n->op, i && !grid ? &none : n->attr, n->nin, in), axis);
  }
  ConcatAttr along = {.axis = last[0]};
  return EMIT(m, Complex, NULL, EMIT(m, Concat, &along, part[0], part[1]));
}

/* A complex number is another than 0 where one of its parts is. */
static Value *nonzero_parts(Match *m) {
  Value *x = m->root->in[0];
  ReduceAttr any = {0};
  const int64_t last[1] = {x->type.rank};
  if (!is_complex(x) || !type_known(x) || x->type.rank == MAX_RANK)
    return NULL;
  Value *is = as(m, EMIT(m, Parts, NULL, x), DT_bool);
  return EMIT(m, NonZero, NULL, EMIT(m, ReduceMax, &any, is, const_ints(m, last, 1)));
}

/* Integers times a number: exact if that is whole, else in f64. */
static Value *times(Match *m, Value *x, double by) {
  DType t = of(x);
  if (by == 1)
    return x;
  if (by == nearbyint(by) && fabs(by) < 0x1p31)
    return EMIT(m, Mul, NULL, x, as(m, const_like(m, by, DT_i64), t));
  return as(m, as(m, EMIT(m, Mul, NULL, as(m, as(m, x, DT_i64), DT_f64), const_like(m, by, DT_f64)), DT_i64), t);
}

static Value *gemm_of_integers(Match *m) {
  Node *n = m->root;
  const GemmAttr *a = ATTR(n, Gemm);
  const int64_t turn[2] = {1, 0};
  if (!type_known(n->in[0]) || !type_known(n->in[1]) || !dtype_is_int(of(n->in[0])) || n->in[0]->type.rank != 2 ||
      n->in[1]->type.rank != 2 || (n->nin > 2 && n->in[2] && !broadcasts_into(n->in[2], n->out[0])))
    return NULL;
  Value *x = a->transA ? transpose_by(m, n->in[0], turn, 2) : n->in[0],
        *y = a->transB ? transpose_by(m, n->in[1], turn, 2) : n->in[1];
  Value *product = times(m, EMIT(m, MatMul, NULL, x, y), (double)a->alpha);
  if (n->nin < 3 || !n->in[2])
    return product;
  return EMIT(m, Add, NULL, product, times(m, n->in[2], (double)a->beta));
}

/* Of booleans: a sum is whether one of them is true, a product whether all are. */
static Value *scattered(Match *m) {
  Node *n = m->root;
  ScatterElementsAttr elements = {0};
  ScatterNDAttr tuples = {0};
  bool nd = n->op == OP_ScatterND;
  Str how = nd ? ATTR(n, ScatterND)->reduction : ATTR(n, ScatterElements)->reduction;
  if (of(n->in[0]) != DT_bool || str_is(how, "none"))
    return NULL;
  Str with = str_of(str_is(how, "add") || str_is(how, "max") ? "max" : "min");
  if (nd)
    tuples = *ATTR(n, ScatterND), tuples.reduction = with;
  else
    elements = *ATTR(n, ScatterElements), elements.reduction = with;
  Value *in[3] = {as(m, n->in[0], DT_u8), n->in[1], as(m, n->in[2], DT_u8)};
  return as(m, emit(m, n->op, nd ? (const void *)&tuples : &elements, 3, in), DT_bool);
}

static bool counts(DType t) { return t == DT_i64 || t == DT_i32; }

static Value *one_hot(Match *m) {
  Node *n = m->root;
  if (counts(of(n->in[1])) || n->in[1]->konst || !type_known(n->in[1]))
    return NULL;
  Value *depth = as(m, n->in[1], DT_i64);
  if (dtype_is_float(of(n->in[1]))) /* NaN is no depth, nor is what is below 0 */
    depth = EMIT(m, Where, NULL, EMIT(m, IsNaN, NULL, n->in[1]), const_like(m, (double)INT64_MIN, DT_i64), depth);
  return EMIT(m, OneHot, n->attr, n->in[0], depth, n->in[2]);
}

/* How many steps there are from start to limit. What has no end has too many. */
static Value *steps(Match *m, Value *start, Value *limit, Value *delta) {
  Value *most = const_like(m, 0x1p62, DT_f64), *none = const_like(m, 0, DT_f64);
  Value *n = EMIT(m, Div, NULL, EMIT(m, Sub, NULL, limit, start), delta);
  n = EMIT(m, Where, NULL, EMIT(m, IsNaN, NULL, n), most, EMIT(m, Ceil, NULL, n));
  return as(m, EMIT(m, Max, NULL, EMIT(m, Min, NULL, n, most), none), DT_i64);
}

/* Its number of elements is that of a range by 1 or -1; by 0 it is refused. */
static Value *range(Match *m) {
  Node *n = m->root;
  DType t = of(n->in[0]);
  Value *in[3];
  if (counts(t) || n->out[0]->type.rank != 1 || n->out[0]->type.dim[0]->kind == DIM_CONST)
    return NULL;
  DType wide = dtype_is_float(t) ? DT_f64 : DT_i64, work = wide;
  for (int i = 0; i < 3; i++)
    in[i] = as(m, n->in[i], wide);
  if (wide == DT_i64)
    return as(m, emit(m, OP_Range, n->attr, 3, in), t);
  if ((t == DT_f16 || t == DT_bf16) && ATTR(n, Range)->stash_type == DT_f32)
    work = DT_f32;
  Value *sign = as(m, EMIT(m, Sign, NULL, in[2]), DT_i64), *count = steps(m, in[0], in[1], in[2]);
  Value *at = EMIT(m, Range, NULL, const_like(m, 0, DT_i64), EMIT(m, Mul, NULL, count, sign), sign);
  Value *way = EMIT(m, Mul, NULL, as(m, EMIT(m, Mul, NULL, at, sign), work), as(m, n->in[2], work));
  return as(m, EMIT(m, Add, NULL, as(m, n->in[0], work), way), t);
}

static Value *mask_of_integers(Match *m) {
  Node *n = m->root;
  Value *in[7] = {0};
  if (n->nin < 4 || !n->in[3] || !dtype_is_int(of(n->in[3])))
    return NULL;
  for (int i = 0; i < n->nin; i++)
    in[i] = n->in[i];
  in[3] = as(m, in[3], of(n->in[0]));
  Node *k = graph_add_node(m->g, n, n->op, n->nin, n->nout, n->attr, n->origin);
  node_set_inputs(k, n->nin, in);
  Status st = m->st ? ST_OK : node_infer(m->c, k);
  m->st = st ? st : m->st;
  for (int i = 1; i < n->nout && !m->st; i++)
    if (n->out[i])
      replace_value(n->out[i], k->out[i]);
  return k->out[0];
}

static const Rule rules[] = {
    {"integers sampled as f64", OPERATOR(GridSample), sampled},
    {"booleans resized as f64", OPERATOR(Resize), sampled},
    {"complex numbers sampled by parts", OPERATOR(GridSample), sampled_parts},
    {"complex numbers resized by parts", OPERATOR(Resize), sampled_parts},
    {"complex numbers other than 0 by parts", OPERATOR(NonZero), nonzero_parts},
    {"integers of a Gemm", OPERATOR(Gemm), gemm_of_integers},
    {"booleans scattered as bytes", OPERATOR(ScatterElements), scattered},
    {"booleans scattered as bytes", OPERATOR(ScatterND), scattered},
    {"a depth as i64", OPERATOR(OneHot), one_hot},
    {"a range of other numbers by i64", OPERATOR(Range), range},
    {"a mask of integers as floats", OPERATOR(Attention), mask_of_integers},
};

Status pass_types(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
