/* laws.c - the distributions of the operators that draw random numbers (ONNX 22).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/laws.h"

#include <math.h>
#include <string.h>

/* What happens in each of many independent draws with a probability that is known. */
typedef struct Event {
  int64_t hits, trials;
  double mean, variance;
} Event;

typedef struct Law {
  Arena *a;
  const RawNode *n;
  const Tensor *const *in;
  const Draw *draw;
  int ndraw;
  double log_same; /* logarithm of the probability that two draws are the same */
  const char *seen;
} Law;

static void count(Event *x, double probability, bool hit) {
  x->trials++, x->hits += hit;
  x->mean += probability, x->variance += probability * (1 - probability);
}

/* Bernstein's inequality: P(|sum - mean| >= t) <= 2 exp(-t^2 / (2 variance + 2 t / 3)), here at least 10^-9. */
static const char *unlikely(const Law *x, const Event *e, const char *what) {
  double t = fabs((double)e->hits - e->mean) - 1e-6 * (double)e->trials; /* the probabilities are rounded, too */
  if (t <= 0 || t * t <= (2 * e->variance + 2 * t / 3) * log(2e9))
    return NULL;
  return arena_printf(x->a, "%s: %lld of %lld, where %.1f are to be expected", what, (long long)e->hits,
                      (long long)e->trials, e->mean);
}

static const RawAttr *attribute(const RawNode *n, const char *name) {
  for (uint32_t i = 0; i < n->nattr; i++)
    if (!strcmp(n->attr[i].name, name))
      return &n->attr[i];
  return NULL;
}

static double number(const RawNode *n, const char *name, double otherwise) {
  const RawAttr *a = attribute(n, name);
  return a ? (double)a->f : otherwise;
}

/* The relative distance of neighbours. */
static double unit(DType t) {
  return ldexp(1, t == DT_f64 ? -52 : t == DT_f32 ? -23 : t == DT_f16 ? -10 : t == DT_bf16 ? -7 : -1);
}

static double at(const Tensor *t, int64_t i) { return elem_f64(t->dtype, t->data, i); }

static const char *impossible(const Law *x, int64_t i, double v, const char *why) {
  return arena_printf(x->a, "element %lld is %.9g, %s", (long long)i, v, why);
}

static const char other_shape[] = "an output has another shape than its input says";

static const char *bernoulli(Law *x) {
  Event ones = {0};
  if (!tensor_same_shape(x->draw[0].out[0], x->in[0]))
    return other_shape;
  int64_t n = tensor_count(x->draw[0].out[0]);
  for (int64_t i = 0; i < n; i++) {
    double p = at(x->in[0], i);
    x->log_same += log(p * p + (1 - p) * (1 - p));
    for (int d = 0; d < x->ndraw; d++) {
      double v = at(x->draw[d].out[0], i);
      if (v != 0 && v != 1)
        return impossible(x, i, v, "neither 0 nor 1");
      count(&ones, p, v == 1);
    }
  }
  x->seen = arena_printf(x->a, "%lld ones of %lld, about %.1f expected", (long long)ones.hits, (long long)ones.trials,
                         ones.mean);
  return unlikely(x, &ones, "ones");
}

/* A distribution of real numbers that `quarter` maps to its quarters 0 to 3; -1: impossible. width 0: one number alone. */
static const char *real(Law *x, double width, int (*quarter)(const Law *x, double v), const char *why) {
  Event part[4] = {{0}};
  int64_t n = tensor_count(x->draw[0].out[0]);
  bool coarse = width == 0 || dtype_bits(x->draw[0].out[0]->dtype) < 16; /* rounding moves many to the next quarter */
  for (int64_t i = 0; i < n; i++)
    for (int d = 0; d < x->ndraw; d++) {
      double v = at(x->draw[d].out[0], i);
      int q = quarter(x, v);
      if (q < 0)
        return impossible(x, i, v, why);
      for (int k = 0; k < 4; k++)
        count(&part[k], 0.25, k == q);
    }
  x->log_same = coarse ? 0 : -5 * (double)n; /* less than one in a hundred for each, in the coarsest type */
  x->seen = arena_printf(x->a, "%lld, %lld, %lld and %lld of %lld in the quarters of the distribution",
                         (long long)part[0].hits, (long long)part[1].hits, (long long)part[2].hits,
                         (long long)part[3].hits, (long long)part[0].trials);
  const char *bad = NULL;
  for (int k = 0; k < 4 && !bad && !coarse; k++)
    bad = unlikely(
        x, &part[k],
        ((const char *const[]){"numbers in the first quarter of the distribution", "numbers in its second quarter",
                               "numbers in its third quarter", "numbers in its last quarter"})[k]);
  return bad;
}

static int uniform_quarter(const Law *x, double v) {
  double low = number(x->n, "low", 0), high = number(x->n, "high", 1);
  double slack = fmax(fabs(low), fabs(high)) * unit(x->draw[0].out[0]->dtype); /* rounding */
  if (!(v >= low - slack && v <= high + slack))
    return -1;
  double q = high > low ? floor(4 * (v - low) / (high - low)) : 0;
  return q < 0 ? 0 : q > 3 ? 3 : (int)q;
}

static const char *uniform(Law *x) {
  double low = number(x->n, "low", 0), high = number(x->n, "high", 1);
  return real(x, high - low, uniform_quarter, arena_printf(x->a, "outside [%.9g, %.9g)", low, high));
}

static int normal_quarter(const Law *x, double v) {
  double off = v - number(x->n, "mean", 0), scale = number(x->n, "scale", 1), z = off == 0 ? 0 : off / scale;
  if (!(fabs(z) < 10)) /* less than once in 10^22 */
    return -1;
  return z < -0.6744897501960817 ? 0 : z < 0 ? 1 : z < 0.6744897501960817 ? 2 : 3;
}

static const char *normal(Law *x) {
  return real(x, number(x->n, "scale", 1), normal_quarter, "no number or further than 10 deviations from the mean");
}

/* out[i]: probability of class i of n, as exp(x[i]) to each other. */
static void softmax(const Tensor *t, int64_t row, int64_t n, double *out) {
  double max = -INFINITY, total = 0;
  for (int64_t c = 0; c < n; c++)
    max = fmax(max, at(t, row * n + c));
  for (int64_t c = 0; c < n; c++)
    total += out[c] = exp(at(t, row * n + c) - max);
  for (int64_t c = 0; c < n; c++)
    out[c] /= total;
}

static const char *multinomial(Law *x) {
  const Tensor *y = x->draw[0].out[0];
  if (x->in[0]->rank != 2 || y->rank != 2 || x->in[0]->dim[0] != y->dim[0])
    return other_shape;
  int64_t classes = x->in[0]->dim[1], samples = y->dim[1];
  Event *of = arena_array(x->a, Event, (size_t)classes);
  double *p = arena_array(x->a, double, (size_t)classes);
  for (int64_t row = 0; row < y->dim[0]; row++) {
    double same = 0;
    softmax(x->in[0], row, classes, p);
    for (int64_t c = 0; c < classes; c++)
      same += p[c] * p[c];
    x->log_same += (double)samples * log(same);
    for (int64_t i = row * samples; i < (row + 1) * samples; i++)
      for (int d = 0; d < x->ndraw; d++) {
        double v = at(x->draw[d].out[0], i);
        if (!(v >= 0 && v < (double)classes))
          return impossible(x, i, v, "no class");
        for (int64_t c = 0; c < classes; c++)
          count(&of[c], p[c], v == (double)c);
      }
  }
  x->seen =
      arena_printf(x->a, "%lld samples of %lld classes", (long long)(classes ? of[0].trials : 0), (long long)classes);
  const char *bad = NULL;
  for (int64_t c = 0; c < classes && !bad; c++)
    bad = unlikely(x, &of[c], arena_printf(x->a, "class %lld", (long long)c));
  return bad;
}

/* Is an element of Dropout's output what its input and mask say? */
static bool scaled(DType t, double y, double x, bool keep, double ratio) {
  double want = keep ? x / (1 - ratio) : 0;
  return y == want || (isnan(y) && isnan(want)) || fabs(y - want) <= 4 * unit(t) * fabs(want);
}

static const char *dropout(Law *x) {
  const Tensor *in = x->in[0], *mode = x->in[2];
  double ratio = x->in[1] ? at(x->in[1], 0) : 0.5;
  bool training = mode && at(mode, 0) != 0 && ratio > 0;
  Event kept = {0};
  for (int k = 0; k < 2; k++)
    if (x->draw[0].out[k] && !tensor_same_shape(x->draw[0].out[k], in))
      return other_shape;
  for (int64_t i = 0, n = tensor_count(in); i < n; i++) {
    double v = at(in, i);
    for (int d = 0; d < x->ndraw; d++) {
      const Tensor *out = x->draw[d].out[0], *mask = x->draw[d].out[1];
      double y = out ? at(out, i) : 0;
      bool keep = mask ? at(mask, i) != 0 : y != 0;
      if (!training && !keep && (mask || v != 0))
        return impossible(x, i, v, "dropped without training or with a ratio of 0");
      if (out && !scaled(out->dtype, y, v, keep, training ? ratio : 0))
        return impossible(x, i, y, arena_printf(x->a, "made of %.9g: neither dropped nor scaled as the mask says", v));
      if (mask || v != 0) /* else nothing tells */
        count(&kept, training ? 1 - ratio : 1, keep);
    }
    x->log_same += training ? log(ratio * ratio + (1 - ratio) * (1 - ratio)) : 0;
  }
  x->seen = arena_printf(x->a, "%lld kept of %lld, about %.1f expected", (long long)kept.hits, (long long)kept.trials,
                         kept.mean);
  return unlikely(x, &kept, "kept elements");
}

static const struct {
  const char *op;
  const char *(*law)(Law *x);
  uint8_t outputs;
} laws[] = {
    {"Bernoulli", bernoulli, 1},     {"Multinomial", multinomial, 1}, {"RandomNormal", normal, 1},
    {"RandomNormalLike", normal, 1}, {"RandomUniform", uniform, 1},   {"RandomUniformLike", uniform, 1},
    {"Dropout", dropout, 2},
};

static int find(const RawNode *n) {
  if (*n->domain && strcmp(n->domain, "ai.onnx") != 0)
    return -1;
  for (size_t i = 0; i < countof(laws); i++)
    if (!strcmp(n->op, laws[i].op))
      return laws[i].law == dropout && !(n->nin > 2 && *n->in[2]) ? -1 : (int)i;
  return -1;
}

int law_outputs(const RawNode *n) {
  int i = find(n);
  return i < 0 ? 0 : laws[i].outputs;
}

const char *law_broken(Arena *a, const RawNode *n, const Tensor *const *in, const Draw *draw, int ndraw,
                       const char **seen) {
  Law x = {a, n, in, draw, ndraw, 0, ""};
  int alike = 1;
  for (int d = 1; d < ndraw; d++) {
    bool same = true;
    for (int k = 0; k < LAW_MAX_OUTPUTS; k++) {
      const Tensor *first = draw[0].out[k], *y = draw[d].out[k];
      if (!first || !y)
        continue;
      if (first->dtype != y->dtype || !tensor_same_shape(first, y))
        return "draws differ in type or shape";
      same = same && (!tensor_bytes(y) || !memcmp(first->data, y->data, tensor_bytes(y)));
    }
    alike += same;
  }
  const char *bad = laws[find(n)].law(&x);
  *seen = x.seen;
  if (!bad && alike == ndraw && x.log_same * (ndraw - 1) < log(1e-9))
    bad = arena_printf(a, "%d draws with as many seeds are the same", ndraw);
  return bad;
}
