/* norm.c - evaluation of the normalisations.
 *
 * All in double and rounded once, except that the two-stage definitions of ONNX round a narrow input's normalised value
 * to the input's type before scale and bias are applied.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t extent(const int64_t *dim, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; i++)
    n *= dim[i];
  return n;
}

static Status check_stash(Eval *e, int64_t stash) {
  if (stash != DT_f32 && stash != DT_f64 && stash != DT_f16 && stash != DT_bf16)
    return eval_fail(e, "stash_type %lld is no float type", (long long)stash);
  return ST_OK;
}

/* The result of the first stage, as the second one sees it. */
static double staged(DType t, double v) { return t == DT_f32 ? v : nn_round(t, v); }

/* The type in which the definitions of LpNormalization and LRN have their squares, X's, or f32 for narrower ones: beyond its largest
 * number they are infinite, below its smallest 0. */
static DType square_type(DType x) { return x == DT_f64 ? DT_f64 : DT_f32; }

/* Mean and population variance of n numbers. */
static void moments(const double *x, int64_t n, double *mean, double *var) {
  double s = 0, q = 0;
  for (int64_t i = 0; i < n; i++)
    s += x[i];
  s /= (double)n;
  for (int64_t i = 0; i < n; i++)
    q += (x[i] - s) * (x[i] - s);
  *mean = s;
  *var = q / (double)n;
}

/* A per-channel input: rank 1, C elements. */
static Status load_channels(Eval *e, int i, int64_t C, const char *what, const double **v) {
  char text[64];
  snprintf(text, sizeof text, "the length of %s (channels)", what);
  TRY(nn_expect_rank(e, i, 1, what));
  TRY(nn_expect_dim(e, i, 0, C, text));
  return nn_load(e, e->in[i], v);
}

/* --- by channel --- */

/* Statistics of channel c over batch and space. */
static void channel_moments(const double *x, int64_t N, int64_t C, int64_t size, int64_t c, double *mean, double *var) {
  double s = 0, q = 0, n = (double)N * (double)size;
  for (int64_t b = 0; b < N; b++)
    for (int64_t i = 0; i < size; i++)
      s += x[(b * C + c) * size + i];
  s /= n;
  for (int64_t b = 0; b < N; b++)
    for (int64_t i = 0; i < size; i++) {
      double d = x[(b * C + c) * size + i] - s;
      q += d * d;
    }
  *mean = s, *var = q / n;
}

/* BatchNormalization, ONNX 15, both modes. X may have rank 1 (then C is 1). */
Status batch_norm_eval(Eval *e) {
  const BatchNormalizationAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const double *v, *scale, *bias, *mean, *var;
  double *row;
  Tensor *out, *running[2];
  if (x->rank < 1)
    return eval_fail(e, "X must have a batch axis");
  int64_t N = x->dim[0], C = x->rank > 1 ? x->dim[1] : 1, size = x->rank > 1 ? extent(x->dim, 2, x->rank) : 1;
  TRY(load_channels(e, 1, C, "scale", &scale));
  TRY(load_channels(e, 2, C, "B", &bias));
  TRY(load_channels(e, 3, C, "input_mean", &mean));
  TRY(load_channels(e, 4, C, "input_var", &var));
  TRY(eval_out_like(e, 0, x, &out));
  TRY(nn_load(e, x, &v));
  TRY(nn_buffer(e, size, &row));
  if (!a->training_mode && e->nout > 1 && (e->wanted[1] || (e->nout > 2 && e->wanted[2])))
    return eval_fail(e, "the running statistics are outputs of training mode only");
  for (int i = 0; i < 2 && a->training_mode; i++)
    TRY(eval_out_like(e, i + 1, e->in[i + 3], &running[i]));
  for (int64_t c = 0; c < C; c++) {
    double m = mean[c], s = var[c], keep = (double)a->momentum;
    TRY(ctx_poll(e->c));
    if (a->training_mode) {
      channel_moments(v, N, C, size, c, &m, &s);
      double r[2] = {mean[c] * keep + m * (1 - keep), var[c] * keep + s * (1 - keep)};
      nn_store(running[0], c, &r[0], 1);
      nn_store(running[1], c, &r[1], 1);
    }
    double mul = scale[c] / sqrt(s + (double)a->epsilon);
    for (int64_t b = 0; b < N; b++) {
      int64_t at = (b * C + c) * size;
      for (int64_t i = 0; i < size; i++)
        row[i] = (v[at + i] - m) * mul + bias[c];
      nn_store(out, at, row, size);
    }
  }
  return ST_OK;
}

/* Groups of per_group channels share statistics; scale and bias per channel. stage: the type of the normalised value.
 */
static Status group_norm(Eval *e, int64_t per_group, double epsilon, DType stage) {
  const Tensor *x = e->in[0];
  const double *v, *scale, *bias;
  double *row, m, s;
  Tensor *out;
  int64_t C = x->dim[1], size = extent(x->dim, 2, x->rank), n = per_group * size;
  TRY(load_channels(e, 1, C, "scale", &scale));
  TRY(load_channels(e, 2, C, "bias", &bias));
  TRY(eval_out_like(e, 0, x, &out));
  if (!tensor_count(out))
    return ST_OK;
  TRY(nn_load(e, x, &v));
  TRY(nn_buffer(e, n, &row));
  for (int64_t at = 0, total = tensor_count(out); at < total; at += n) {
    TRY(ctx_poll(e->c));
    moments(v + at, n, &m, &s);
    double inv = 1 / sqrt(s + epsilon);
    for (int64_t i = 0; i < n; i++) {
      int64_t c = (at + i) / size % C;
      row[i] = staged(stage, (v[at + i] - m) * inv) * scale[c] + bias[c];
    }
    nn_store(out, at, row, n);
  }
  return ST_OK;
}

/* InstanceNormalization, ONNX 22. */
Status instance_norm_eval(Eval *e) {
  if (e->in[0]->rank < 2)
    return eval_fail(e, "the input must have a batch and a channel axis");
  return group_norm(e, 1, (double)((const InstanceNormalizationAttr *)e->attr)->epsilon, DT_f64);
}

/* GroupNormalization, ONNX 21. */
Status group_norm_eval(Eval *e) {
  const GroupNormalizationAttr *a = e->attr;
  if (e->in[0]->rank < 2)
    return eval_fail(e, "X must have a batch and a channel axis");
  if (a->num_groups < 1 || e->in[0]->dim[1] % a->num_groups)
    return eval_fail(e, "num_groups %lld does not divide the %lld channels", (long long)a->num_groups,
                     (long long)e->in[0]->dim[1]);
  TRY(check_stash(e, a->stash_type));
  return group_norm(e, e->in[0]->dim[1] / a->num_groups, (double)a->epsilon, e->in[0]->dtype);
}

/* --- over the last axes --- */

typedef struct Affine {
  const double *v; /* NULL: absent */
  bool per_row;    /* one row serves all; otherwise as many elements as X */
} Affine;

/* Scale or bias, broadcast to the shape of X. */
static Status load_affine(Eval *e, int i, const Tensor *x, int axis, Affine *f) {
  *f = (Affine){0};
  if (!eval_has(e, i))
    return ST_OK;
  const Tensor *t = e->in[i];
  const double *v;
  double *all;
  int64_t stride[MAX_RANK], idx[MAX_RANK] = {0}, n = tensor_count(x);
  bool whole = t->rank == x->rank - axis, fits = t->rank <= x->rank;
  if (!fits)
    return eval_fail(e, "input %d has rank %d, what it scales %d", i, t->rank, x->rank);
  for (int k = t->rank; k >= 1; k--) {
    int64_t have = t->dim[t->rank - k], want = x->dim[x->rank - k];
    if (have != 1 && have != want)
      return eval_fail(e, "an extent of %lld does not broadcast to %lld", (long long)have, (long long)want);
    whole = whole && have == want;
  }
  TRY(nn_load(e, t, &v));
  if (whole) {
    *f = (Affine){v, true};
    return ST_OK;
  }
  TRY(nn_buffer(e, n, &all));
  eval_bcast_strides(t, x->rank, x->dim, stride);
  for (int64_t k = 0; k < n; k++, next_index(x->rank, x->dim, idx)) {
    int64_t at = 0;
    for (int j = 0; j < x->rank; j++)
      at += idx[j] * stride[j];
    all[k] = v[at];
  }
  *f = (Affine){all, false};
  return ST_OK;
}

static void affine_row(const Affine *scale, const Affine *bias, int64_t r, int64_t n, double *row) {
  const double *s = scale->v && !scale->per_row ? scale->v + r * n : scale->v;
  const double *b = bias->v && !bias->per_row ? bias->v + r * n : bias->v;
  for (int64_t i = 0; s && i < n; i++)
    row[i] *= s[i];
  for (int64_t i = 0; b && i < n; i++)
    row[i] += b[i];
}

/* LayerNormalization, ONNX 17. */
Status layer_norm_eval(Eval *e) {
  const LayerNormalizationAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Affine scale, bias;
  Tensor *out, *mean, *inv;
  const double *v;
  double *row;
  int axis;
  int64_t dim[MAX_RANK];
  TRY(check_stash(e, a->stash_type));
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(load_affine(e, 1, x, axis, &scale));
  TRY(load_affine(e, 2, x, axis, &bias));
  for (int i = 0; i < x->rank; i++)
    dim[i] = i < axis ? x->dim[i] : 1;
  DType stash = (DType)a->stash_type;
  int64_t rows = extent(x->dim, 0, axis), n = extent(x->dim, axis, x->rank);
  TRY(eval_out_like(e, 0, x, &out));
  TRY(eval_out(e, 1, stash, x->rank, dim, &mean));
  TRY(eval_out(e, 2, stash, x->rank, dim, &inv));
  TRY(nn_load(e, x, &v));
  TRY(nn_buffer(e, n, &row));
  for (int64_t r = 0; r < rows; r++) {
    double m, s;
    TRY(ctx_poll(e->c));
    moments(v + r * n, n, &m, &s);
    double q = 1 / sqrt(s + (double)a->epsilon);
    for (int64_t i = 0; i < n; i++)
      row[i] = staged(x->dtype, (v[r * n + i] - m) * q);
    affine_row(&scale, &bias, r, n, row);
    nn_store(out, r * n, row, n);
    nn_store(mean, r, &m, 1);
    nn_store(inv, r, &q, 1);
  }
  return ST_OK;
}

/* RMSNormalization, ONNX 23. The output has the type of scale. */
Status rms_norm_eval(Eval *e) {
  const RMSNormalizationAttr *a = e->attr;
  const Tensor *x = e->in[0];
  Affine scale, none = {0};
  Tensor *out;
  const double *v;
  double *row;
  int axis;
  TRY(check_stash(e, a->stash_type));
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(load_affine(e, 1, x, axis, &scale));
  int64_t rows = extent(x->dim, 0, axis), n = extent(x->dim, axis, x->rank);
  TRY(eval_out(e, 0, e->in[1]->dtype, x->rank, x->dim, &out));
  TRY(nn_load(e, x, &v));
  TRY(nn_buffer(e, n, &row));
  for (int64_t r = 0; r < rows; r++) {
    double s = 0;
    TRY(ctx_poll(e->c));
    for (int64_t i = 0; i < n; i++)
      s += v[r * n + i] * v[r * n + i];
    double q = 1 / sqrt(s / (double)n + (double)a->epsilon);
    for (int64_t i = 0; i < n; i++)
      row[i] = staged(x->dtype, v[r * n + i] * q);
    affine_row(&scale, &none, r, n, row);
    nn_store(out, r * n, row, n);
  }
  return ST_OK;
}

/* --- along one axis --- */

/* LpNormalization, ONNX 22: p 1 or 2; a norm of zero gives zeros. */
Status lp_norm_eval(Eval *e) {
  const LpNormalizationAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const DType square = square_type(x->dtype);
  const double *v;
  double *y;
  Tensor *out;
  int axis;
  if (a->p != 1 && a->p != 2)
    return eval_fail(e, "p is %lld; it must be 1 or 2", (long long)a->p);
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(eval_out_like(e, 0, x, &out));
  TRY(nn_load(e, x, &v));
  int64_t outer = extent(x->dim, 0, axis), n = x->dim[axis], inner = extent(x->dim, axis + 1, x->rank);
  TRY(nn_buffer(e, tensor_count(x), &y));
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < inner; i++) {
      const double *p = v + o * n * inner + i;
      double s = 0;
      if (i % 1024 == 0)
        TRY(ctx_poll(e->c));
      for (int64_t k = 0; k < n; k++)
        s += a->p == 1 ? fabs(p[k * inner]) : nn_round(square, p[k * inner] * p[k * inner]);
      s = a->p == 1 ? s : sqrt(nn_round(square, s));
      for (int64_t k = 0; k < n; k++)
        y[o * n * inner + k * inner + i] = s == 0 ? 0 : p[k * inner] / s;
    }
  nn_store(out, 0, y, tensor_count(x));
  return ST_OK;
}

/* LRN, ONNX 13. */
Status lrn_eval(Eval *e) {
  const LRNAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const DType square = square_type(x->dtype);
  const double *v;
  double *row;
  Tensor *out;
  if (x->rank < 2)
    return eval_fail(e, "X must have a batch and a channel axis");
  if (a->size < 1)
    return eval_fail(e, "size is %lld; it must be at least 1", (long long)a->size);
  int64_t C = x->dim[1], size = extent(x->dim, 2, x->rank), before = (a->size - 1) / 2, after = a->size - 1 - before;
  TRY(eval_out_like(e, 0, x, &out));
  TRY(nn_load(e, x, &v));
  TRY(nn_buffer(e, size, &row));
  for (int64_t b = 0; b < x->dim[0]; b++)
    for (int64_t c = 0; c < C; c++) {
      int64_t lo = c > before ? c - before : 0, hi = after < C - 1 - c ? c + after : C - 1;
      const double *p = v + b * C * size;
      TRY(ctx_poll(e->c));
      for (int64_t i = 0; i < size; i++) {
        double s = 0;
        for (int64_t k = lo; k <= hi; k++)
          s += p[k * size + i] * p[k * size + i];
        row[i] = p[c * size + i] /
                 pow((double)a->bias + (double)a->alpha / (double)a->size * nn_round(square, s), (double)a->beta);
      }
      nn_store(out, (b * C + c) * size, row, size);
    }
  return ST_OK;
}

/* MeanVarianceNormalization, ONNX 13: (X - mean) / (sqrt(variance) + 1e-9), as the function body of the schema. */
Status mvn_eval(Eval *e) {
  const MeanVarianceNormalizationAttr *a = e->attr;
  static const int64_t standard[] = {0, 2, 3};
  const int64_t *axes = a->axes.v ? a->axes.v : standard;
  const Tensor *x = e->in[0];
  int64_t naxes = a->axes.v ? a->axes.n : 3, slot[MAX_RANK], idx[MAX_RANK] = {0}, total = tensor_count(x), groups = 1;
  bool over[MAX_RANK] = {false};
  const double *v;
  double *y, *mean, *var;
  Tensor *out;
  for (int64_t i = 0; i < naxes; i++) {
    int axis;
    TRY(eval_axis(e, axes[i], x->rank, false, &axis));
    over[axis] = true;
  }
  for (int i = x->rank - 1; i >= 0; i--) {
    slot[i] = over[i] ? 0 : groups;
    groups *= over[i] || !x->dim[i] ? 1 : x->dim[i];
  }
  TRY(eval_out_like(e, 0, x, &out));
  TRY(nn_load(e, x, &v));
  TRY(nn_buffer(e, total, &y));
  TRY(nn_buffer(e, groups, &mean));
  TRY(nn_buffer(e, groups, &var));
  double n = (double)total / (double)groups;
  for (int pass = 0; pass < 3; pass++) {
    for (int64_t k = 0; k < total; k++, next_index(x->rank, x->dim, idx)) {
      int64_t g = 0;
      if (k % 65536 == 0)
        TRY(ctx_poll(e->c));
      for (int j = 0; j < x->rank; j++)
        g += idx[j] * slot[j];
      if (pass == 0)
        mean[g] += v[k] / n;
      else if (pass == 1)
        var[g] += (v[k] - mean[g]) * (v[k] - mean[g]) / n;
      else
        y[k] = (v[k] - mean[g]) / (sqrt(var[g]) + 1e-9);
    }
  }
  nn_store(out, 0, y, total);
  return ST_OK;
}
