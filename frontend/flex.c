/* flex.c - FlexAttention (ai.onnx.preview 1), expanded: it holds graphs that change scores and probabilities.
 *
 *   scores = (Q sqrt(scale)) (K sqrt(scale))'   in the type of Q, then in that of the softmax
 *   probs = prob_mod(Softmax(score_mod(scores)))
 *   Y = probs V                                 in the type of the softmax, then in that of V
 *
 * Query heads that share a key head are rows of one product: [B, Hq, L, E] as [B, Hk, Hq / Hk * L, E].
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/flex.h"

#include <math.h>
#include <string.h>

typedef struct Flex {
  Ctx *c;
  Arena *a;
  const RawNode *n;
  const FlexSink *to;
  int64_t heads, kv_heads;
  DType in, soft; /* of Q; of scores and probabilities */
  float root;     /* of the scale */
} Flex;

bool flex_is(const RawNode *n) { return !strcmp(n->op, "FlexAttention") && !strcmp(n->domain, "ai.onnx.preview"); }

static const RawAttr *find(const Flex *f, const char *name, RawAttrType type, Status *st) {
  for (uint32_t i = 0; i < f->n->nattr; i++)
    if (!strcmp(f->n->attr[i].name, name)) {
      if (f->n->attr[i].type != type)
        *st = fail(f->c, ST_INVALID, "attribute '%s' has the wrong type", name);
      return &f->n->attr[i];
    }
  return NULL;
}

/* One node; what it gives has a new name, or that of the output. */
static Status add(Flex *f, const char *op, const char *x, const char *y, const RawAttr *attr, const char *as,
                  const char **out) {
  const char **in = arena_array(f->a, const char *, 2), **made = arena_array(f->a, const char *, 1);
  in[0] = x, in[1] = y;
  *out = made[0] = as ? as : f->to->fresh(f->to->arg, op);
  RawNode n = {.name = f->n->name,
               .op = op,
               .domain = "",
               .overload = "",
               .doc = "",
               .in = in,
               .nin = !x  ? 0
                      : y ? 2
                          : 1,
               .out = made,
               .nout = 1,
               .attr = attr ? arena_copy(f->a, attr, sizeof *attr) : NULL,
               .nattr = attr ? 1 : 0};
  return f->to->node(f->to->arg, &n);
}

static RawAttr attr(const char *name, RawAttrType type) {
  return (RawAttr){.name = name, .ref = "", .doc = "", .type = type};
}

/* [B, from, …] as [B, to, rows, last]. */
static Status regroup(Flex *f, int64_t to, const char **x) {
  int64_t shape[4] = {0, to, -1, 0};
  RawAttr ints = attr("value_ints", RA_INTS);
  const char *dims;
  if (f->heads == f->kv_heads)
    return ST_OK;
  ints.n = 4, ints.ints = arena_copy(f->a, shape, sizeof shape);
  TRY(add(f, "Constant", NULL, NULL, &ints, NULL, &dims));
  return add(f, "Reshape", *x, dims, NULL, NULL, x);
}

static Status cast(Flex *f, const char *x, DType t, const char *as, const char **out) {
  RawAttr to = attr("to", RA_INT);
  to.i = t;
  return add(f, "Cast", x, NULL, &to, as, out);
}

static Status modify(Flex *f, const char *name, const char **x) {
  Status st = ST_OK;
  const RawAttr *t = find(f, name, RA_GRAPH, &st);
  if (st || !t)
    return st;
  if (t->graph[0]->nin != 1 || t->graph[0]->nout != 1)
    return fail(f->c, ST_INVALID, "%s must have one input and one output", name);
  const char *out = f->to->fresh(f->to->arg, name);
  TRY(f->to->graph(f->to->arg, t->graph[0], *x, out));
  *x = out;
  return ST_OK;
}

static Status check_attrs(Flex *f) {
  static const char *const known[] = {"scale", "softmax_precision", "score_mod", "prob_mod"};
  for (uint32_t i = 0; i < f->n->nattr; i++) {
    bool ok = false;
    for (size_t k = 0; k < countof(known); k++)
      ok |= !strcmp(f->n->attr[i].name, known[k]);
    if (!ok)
      return fail(f->c, ST_INVALID, "FlexAttention has no attribute '%s'", f->n->attr[i].name);
  }
  if (f->n->nin != 3 || f->n->nout != 1)
    return fail(f->c, ST_INVALID, "FlexAttention has three inputs and one output");
  return ST_OK;
}

/* What the types of Q, K and V say. */
static Status open_flex(Flex *f) {
  const Type *t[3];
  int64_t size = 0;
  Status st = ST_OK;
  TRY(check_attrs(f));
  for (int i = 0; i < 3; i++) {
    t[i] = *f->n->in[i] ? f->to->type(f->to->arg, f->n->in[i]) : NULL;
    if (!t[i] || t[i]->kind != VK_TENSOR || t[i]->rank < 0 || !t[i]->dtype)
      return fail(f->c, ST_UNSUPPORTED, "FlexAttention with an input of unknown rank or type");
    if (t[i]->rank != 4 || !dtype_is_float(t[i]->dtype))
      return fail(f->c, ST_INVALID, "FlexAttention takes floats of rank 4");
  }
  if (!dim_is_const(t[0]->dim[1], &f->heads) || !dim_is_const(t[1]->dim[1], &f->kv_heads))
    return fail(f->c, ST_UNSUPPORTED, "FlexAttention with a number of heads that is not constant");
  if (f->kv_heads < 1 || f->heads % f->kv_heads)
    return fail(f->c, ST_INVALID, "%lld query heads are not a multiple of %lld key heads", (long long)f->heads,
                (long long)f->kv_heads);
  const RawAttr *scale = find(f, "scale", RA_FLOAT, &st), *soft = find(f, "softmax_precision", RA_INT, &st);
  TRY(st);
  if (!scale && (!dim_is_const(t[0]->dim[3], &size) || size < 1))
    return fail(f->c, ST_UNSUPPORTED, "FlexAttention with a head size that is not constant");
  f->in = t[0]->dtype;
  f->soft = soft ? (DType)soft->i : f->in == DT_f64 ? DT_f64 : DT_f32;
  if (soft && (soft->i < 1 || soft->i >= DT_count || !dtype_valid(f->soft) || !dtype_is_float(f->soft)))
    return fail(f->c, ST_INVALID, "softmax_precision %lld is no float type", (long long)soft->i);
  f->root = sqrtf(scale ? scale->f : (float)(1 / sqrt((double)size)));
  return ST_OK;
}

static Status scores(Flex *f, const char **out) {
  RawAttr value = attr("value_float", RA_FLOAT), perm = attr("perm", RA_INTS);
  int64_t last[4] = {0, 1, 3, 2};
  const char *root, *q, *k;
  value.f = f->root;
  perm.n = 4, perm.ints = arena_copy(f->a, last, sizeof last);
  TRY(add(f, "Constant", NULL, NULL, &value, NULL, &root));
  TRY(add(f, "CastLike", root, f->n->in[0], NULL, NULL, &root));
  TRY(add(f, "Mul", f->n->in[0], root, NULL, NULL, &q));
  TRY(add(f, "Mul", f->n->in[1], root, NULL, NULL, &k));
  TRY(regroup(f, f->kv_heads, &q));
  TRY(add(f, "Transpose", k, NULL, &perm, NULL, &k));
  TRY(add(f, "MatMul", q, k, NULL, NULL, out));
  TRY(regroup(f, f->heads, out));
  return f->soft == f->in ? ST_OK : cast(f, *out, f->soft, NULL, out);
}

Status flex_expand(Ctx *c, Arena *a, const RawNode *n, const FlexSink *to) {
  Flex f = {.c = c, .a = a, .n = n, .to = to};
  RawAttr axis = attr("axis", RA_INT);
  const char *p, *v = n->nin > 2 ? n->in[2] : "", *y;
  axis.i = -1;
  TRY(open_flex(&f));
  DType out = to->type(to->arg, v)->dtype;
  TRY(scores(&f, &p));
  TRY(modify(&f, "score_mod", &p));
  TRY(add(&f, "Softmax", p, NULL, &axis, NULL, &p));
  TRY(modify(&f, "prob_mod", &p));
  if (f.soft != out)
    TRY(cast(&f, v, f.soft, NULL, &v));
  TRY(regroup(&f, f.kv_heads, &p));
  TRY(add(&f, "MatMul", p, v, NULL, NULL, &y));
  TRY(regroup(&f, f.heads, &y));
  return cast(&f, y, out, n->out[0], &y);
}
