/* random.c - evaluation of RandomUniform, RandomNormal, their Like forms, Bernoulli, Multinomial and Dropout.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/random.h"

#include "ops/eval/nn.h"
#include "support/philox.h"

#include <math.h>
#include <string.h>

uint64_t random_key(float seed) {
  uint32_t bits = 0;
  if (!isnan(seed) && seed != 0)
    memcpy(&bits, &seed, sizeof bits);
  return bits;
}

double random_uniform(uint64_t key, int64_t i, bool wide) {
  uint32_t r[4];
  philox(key, (uint64_t)i, r);
  return wide ? philox_f64(r[0], r[1]) : philox_f32(r[0]);
}

double random_normal(uint64_t key, int64_t i, bool wide) {
  uint32_t r[4];
  philox(key, (uint64_t)i, r);
  double u = 1 - (wide ? philox_f64(r[0], r[1]) : philox_f32(r[0])); /* in (0, 1] */
  double v = wide ? philox_f64(r[2], r[3]) : philox_f32(r[1]);
  return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

typedef struct Draw {
  double (*number)(uint64_t key, int64_t i, bool wide);
  double add, scale;
  float seed;
} Draw;

static Status fill(Eval *e, const Draw *d, Tensor *y) {
  uint64_t key = random_key(d->seed);
  for (int64_t i = 0, n = tensor_count(y); i < n; i++) {
    double v = d->add + d->scale * d->number(key, i, y->dtype == DT_f64);
    nn_store(y, i, &v, 1);
    if (!(i & 0xffff))
      TRY(ctx_poll(e->c));
  }
  return ST_OK;
}

static Status float_type(Eval *e, int64_t type, DType *t) {
  *t = (DType)type;
  if (type < 1 || type >= DT_count || !dtype_valid(*t) || !dtype_is_float(*t))
    return eval_fail(e, "dtype %lld is no float type", (long long)type);
  return ST_OK;
}

static Status shaped(Eval *e, const Draw *d, int64_t type, Ints shape) {
  Tensor *y;
  DType t;
  if (shape.n > MAX_RANK)
    return eval_unsupported(e, "a rank of %lld is above %d", (long long)shape.n, MAX_RANK);
  TRY(float_type(e, type, &t));
  TRY(eval_out(e, 0, t, (int)shape.n, shape.v, &y));
  return fill(e, d, y);
}

static Status like(Eval *e, const Draw *d, int64_t type) {
  Tensor *y;
  DType t;
  TRY(float_type(e, type == ABSENT ? e->in[0]->dtype : type, &t));
  TRY(eval_out(e, 0, t, e->in[0]->rank, e->in[0]->dim, &y));
  return fill(e, d, y);
}

/* RandomUniform, RandomUniformLike, ONNX 22. */
Status random_uniform_eval(Eval *e) {
  const RandomUniformAttr *a = e->attr;
  Draw d = {random_uniform, (double)a->low, (double)a->high - (double)a->low, a->seed};
  return shaped(e, &d, a->dtype, a->shape);
}

Status random_uniform_like_eval(Eval *e) {
  const RandomUniformLikeAttr *a = e->attr;
  Draw d = {random_uniform, (double)a->low, (double)a->high - (double)a->low, a->seed};
  return like(e, &d, a->dtype);
}

/* RandomNormal, RandomNormalLike, ONNX 22. */
Status random_normal_eval(Eval *e) {
  const RandomNormalAttr *a = e->attr;
  Draw d = {random_normal, (double)a->mean, (double)a->scale, a->seed};
  return shaped(e, &d, a->dtype, a->shape);
}

Status random_normal_like_eval(Eval *e) {
  const RandomNormalLikeAttr *a = e->attr;
  Draw d = {random_normal, (double)a->mean, (double)a->scale, a->seed};
  return like(e, &d, a->dtype);
}

/* Bernoulli, ONNX 22: 1 with the probability that the input says. */
Status bernoulli_eval(Eval *e) {
  const BernoulliAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const double *p;
  uint64_t key = random_key(a->seed);
  DType t = a->dtype == ABSENT ? x->dtype : (DType)a->dtype;
  Tensor *y;
  if (a->dtype != ABSENT && (a->dtype < 1 || a->dtype >= DT_count || !dtype_valid(t) || t == DT_str))
    return eval_fail(e, "dtype %lld is no type of numbers", (long long)a->dtype);
  TRY(nn_load(e, x, &p));
  TRY(eval_out(e, 0, t, x->rank, x->dim, &y));
  for (int64_t i = 0, n = tensor_count(y); i < n; i++) {
    if (!(p[i] >= 0 && p[i] <= 1))
      return eval_fail(e, NOT_A_PROBABILITY, p[i]);
    elem_set_f64(t, y->data, i, random_uniform(key, i, x->dtype == DT_f64) < p[i]);
  }
  return ST_OK;
}

/* One draw from the classes, whose probabilities are as exp(x) to each other. */
static int64_t draw_class(const double *x, int64_t n, double max, double total, double u) {
  double sum = 0;
  for (int64_t c = 0; c < n; c++) {
    sum += exp(x[c] - max);
    if (u * total < sum)
      return c;
  }
  return n - 1;
}

/* Multinomial, ONNX 22. */
Status multinomial_eval(Eval *e) {
  const MultinomialAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const double *v;
  uint64_t key = random_key(a->seed);
  Tensor *y;
  TRY(nn_expect_rank(e, 0, 2, "the input"));
  if (a->dtype != DT_i32 && a->dtype != DT_i64)
    return eval_fail(e, "dtype %lld is neither i32 nor i64", (long long)a->dtype);
  if (a->sample_size < 0 || (!x->dim[1] && x->dim[0]))
    return eval_fail(e, "%lld samples of %lld classes", (long long)a->sample_size, (long long)x->dim[1]);
  TRY(nn_load(e, x, &v));
  TRY(eval_out(e, 0, (DType)a->dtype, 2, (int64_t[]){x->dim[0], a->sample_size}, &y));
  for (int64_t b = 0; b < x->dim[0]; b++) {
    const double *row = v + b * x->dim[1];
    double max = -INFINITY, total = 0;
    TRY(ctx_poll(e->c));
    for (int64_t c = 0; c < x->dim[1]; c++)
      max = row[c] > max ? row[c] : max;
    for (int64_t c = 0; c < x->dim[1]; c++)
      total += exp(row[c] - max);
    for (int64_t i = b * a->sample_size; i < (b + 1) * a->sample_size; i++)
      elem_set_i64(y->dtype, y->data, i, draw_class(row, x->dim[1], max, total, random_uniform(key, i, true)));
  }
  return ST_OK;
}

/* Dropout, ONNX 22: in training an element stays with probability 1 - ratio, and grows as the others go; else the identity. */
Status dropout_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const double *v;
  double ratio = 0.5;
  int64_t seed = ((const DropoutAttr *)e->attr)->seed;
  uint64_t key = seed == ABSENT ? 0 : (uint64_t)seed;
  bool training = eval_has(e, 2) && tensor_count(e->in[2]) == 1 && elem_i64(e->in[2]->dtype, e->in[2]->data, 0);
  Tensor *out, *mask;
  if (eval_has(e, 1)) {
    if (tensor_count(e->in[1]) != 1 || !dtype_is_float(e->in[1]->dtype))
      return eval_fail(e, "ratio must be one float");
    ratio = elem_f64(e->in[1]->dtype, e->in[1]->data, 0);
  }
  if (training && !(ratio >= 0 && ratio <= 1))
    return eval_fail(e, "ratio: " NOT_A_PROBABILITY, ratio);
  TRY(eval_out_like(e, 0, x, &out));
  TRY(eval_out(e, 1, DT_bool, x->rank, x->dim, &mask));
  bool *keep = mask->data;
  for (int64_t i = 0, n = tensor_count(x); i < n; i++)
    keep[i] = !training || ratio == 0 || random_uniform(key, i, false) >= ratio;
  nn_copy(e, out, 0, x, 0, tensor_count(x));
  if (!training || ratio == 0)
    return ST_OK;
  TRY(nn_load(e, x, &v));
  for (int64_t i = 0, n = tensor_count(x); i < n; i++) {
    double y = keep[i] ? v[i] / (1 - ratio) : 0;
    nn_store(out, i, &y, 1);
  }
  return ST_OK;
}
