/* conv.c - evaluation of Conv, ConvTranspose, ConvInteger and QLinearConv.
 *
 *   x [N][C][spatial]   w [M][C/group][kernel]   y [N][M][spatial]      (ConvTranspose: w [C][M/group][kernel])
 *
 * All four run on doubles, one output row (last axis) at a time: each tap adds weight * input row to the row, so that
 * the inner loop runs over contiguous numbers. Integer sums stay exact.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

typedef struct Conv {
  Eval *e;
  int64_t N, C, M, group;
  int64_t in_size, out_size, k_size; /* products of the spatial extents */
  const double *x, *w, *bias;        /* bias may be NULL */
  const double *mult;                /* [M] QLinearConv: y = round(sum * mult) + zero; else NULL */
  double zero;
  Tensor *out;
} Conv;

static int64_t product(const int64_t *v, int n) {
  int64_t p = 1;
  for (int i = 0; i < n; i++)
    p *= v[i];
  return p;
}

/* Finishes a row and stores it. ConvInteger wraps in 32 bits, as ONNX allows; the others round and saturate. */
static void put_row(const Conv *k, int64_t m, int64_t at, double *row, int64_t n) {
  if (k->mult)
    for (int64_t i = 0; i < n; i++)
      row[i] = rint(row[i] * k->mult[m]) + k->zero;
  if (k->out->dtype == DT_i32)
    for (int64_t i = 0; i < n; i++)
      elem_set_i64(DT_i32, k->out->data, at + i, (int64_t)row[i]);
  else
    nn_store(k->out, at, row, n);
}

/* --- forward --- */

typedef struct Taps {
  int64_t n;        /* taps of all axes but the last that fall inside the input, at one outer output position */
  int64_t *x, *w;   /* offsets of the input row and of the weight row */
  int64_t *o0, *o1; /* per tap of the last axis: output positions [o0, o1) it feeds */
} Taps;

static Status taps_new(Eval *e, const Window *w, Taps *t) {
  int last = w->n - 1;
  int64_t outer = product(w->kernel, last), k = w->kernel[last];
  *t = (Taps){.x = arena_array(e->scratch, int64_t, (size_t)outer),
              .w = arena_array(e->scratch, int64_t, (size_t)outer),
              .o0 = arena_array(e->scratch, int64_t, (size_t)k),
              .o1 = arena_array(e->scratch, int64_t, (size_t)k)};
  for (int64_t i = 0; i < k; i++) {
    int64_t first = w->begin[last] - i * w->dilation[last], s = w->stride[last], n = w->out[last];
    int64_t end = w->in[last] + first; /* o * s - first is in [0, in) */
    t->o0[i] = first > 0 ? (first + s - 1) / s : 0;
    t->o1[i] = end > 0 ? (end + s - 1) / s : 0;
    t->o1[i] = t->o1[i] > n ? n : t->o1[i];
  }
  return ST_OK;
}

static void taps_at(const Window *w, const int64_t *o, Taps *t) {
  int outer = w->n - 1;
  int64_t k0[MAX_RANK], count[MAX_RANK], x0[MAX_RANK], k[MAX_RANK] = {0};
  t->n = 0;
  for (int i = 0; i < outer; i++) {
    int64_t k1;
    window_taps(w, i, o[i], &k0[i], &k1, &x0[i]);
    count[i] = k1 - k0[i];
    if (!count[i])
      return;
  }
  do {
    int64_t x = 0, v = 0;
    for (int i = 0; i < outer; i++) {
      x = x * w->in[i] + x0[i] + k[i] * w->dilation[i];
      v = v * w->kernel[i] + k0[i] + k[i];
    }
    t->x[t->n] = x * w->in[outer];
    t->w[t->n++] = v * w->kernel[outer];
  } while (next_index(outer, count, k));
}

static void add_row(const Window *w, const Taps *t, const double *x, const double *weight, double *row) {
  int last = w->n - 1;
  int64_t s = w->stride[last];
  for (int64_t k = 0; k < w->kernel[last]; k++) {
    double v = weight[k];
    int64_t at = k * w->dilation[last] - w->begin[last];
    if (s == 1)
      for (int64_t o = t->o0[k]; o < t->o1[k]; o++)
        row[o] += v * x[at + o];
    else
      for (int64_t o = t->o0[k]; o < t->o1[k]; o++)
        row[o] += v * x[at + o * s];
  }
}

static Status run_forward(const Conv *k, const Window *w) {
  Taps t;
  int last = w->n - 1;
  int64_t n = w->out[last], cg = k->C / k->group, mg = k->M / k->group;
  double *row;
  if (!tensor_count(k->out))
    return ST_OK;
  TRY(nn_buffer(k->e, n, &row));
  TRY(taps_new(k->e, w, &t));
  for (int64_t b = 0; b < k->N; b++) {
    int64_t o[MAX_RANK] = {0}, at = b * k->M * k->out_size;
    do {
      taps_at(w, o, &t);
      for (int64_t m = 0; m < k->M; m++) {
        TRY(ctx_poll(k->e->c));
        for (int64_t i = 0; i < n; i++)
          row[i] = k->bias ? k->bias[m] : 0;
        for (int64_t c = 0; c < cg; c++)
          for (int64_t i = 0; i < t.n; i++)
            add_row(w, &t, k->x + (b * k->C + m / mg * cg + c) * k->in_size + t.x[i],
                    k->w + (m * cg + c) * k->k_size + t.w[i], row);
        put_row(k, m, at + m * k->out_size, row, n);
      }
      at += n;
    } while (next_index(last, w->out, o));
  }
  return ST_OK;
}

/* --- what the operators share --- */

static WindowAttr window_attr(const ConvAttr *a) {
  return (WindowAttr){.auto_pad = a->auto_pad,
                      .kernel = a->kernel_shape,
                      .pads = a->pads,
                      .strides = a->strides,
                      .dilations = a->dilations};
}

static Status check_group(Eval *e, int64_t group, int64_t C, const char *what) {
  if (group < 1 || C % group)
    return eval_fail(e, "group %lld does not divide the %lld %s", (long long)group, (long long)C, what);
  return ST_OK;
}

/* Shapes of x (input 0) and w (input iw), and the output. */
static Status forward_setup(Eval *e, int iw, DType t, Conv *k, Window *win) {
  const ConvAttr *a = e->attr;
  const WindowAttr wa = window_attr(a);
  const Tensor *x = e->in[0], *w = e->in[iw];
  WindowSpec s;
  int64_t dim[MAX_RANK];
  if (x->rank < 3)
    return eval_fail(e, "X must have a batch, a channel and at least one spatial axis");
  TRY(nn_expect_rank(e, iw, x->rank, "W"));
  *k = (Conv){.e = e, .N = x->dim[0], .C = x->dim[1], .M = w->dim[0], .group = a->group};
  TRY(check_group(e, k->group, k->C, "input channels"));
  TRY(check_group(e, k->group, k->M, "output channels"));
  if (w->dim[1] != k->C / k->group)
    return eval_fail(e, "W takes %lld channels (in all groups), X has %lld", (long long)(w->dim[1] * k->group),
                     (long long)k->C);
  TRY(window_spec(e->c, &wa, x->rank - 2, &s));
  TRY(window_kernel(e->c, &s, w->dim + 2));
  TRY(window_apply(e, &s, x->dim + 2, win));
  dim[0] = k->N, dim[1] = k->M;
  memcpy(dim + 2, win->out, (size_t)win->n * sizeof *dim);
  TRY(eval_out(e, 0, t, x->rank, dim, &k->out));
  k->in_size = product(win->in, win->n), k->out_size = product(win->out, win->n),
  k->k_size = product(win->kernel, win->n);
  return ST_OK;
}

static Status load_bias(Eval *e, int i, int64_t M, const double **bias) {
  *bias = NULL;
  if (!eval_has(e, i))
    return ST_OK;
  TRY(nn_expect_rank(e, i, 1, "the bias"));
  TRY(nn_expect_dim(e, i, 0, M, "the length of the bias"));
  return nn_load(e, e->in[i], bias);
}

/* Conv, ONNX 22. */
Status conv_eval(Eval *e) {
  Conv k;
  Window w;
  TRY(forward_setup(e, 1, e->in[0]->dtype, &k, &w));
  TRY(load_bias(e, 2, k.M, &k.bias));
  TRY(nn_load(e, e->in[0], &k.x));
  TRY(nn_load(e, e->in[1], &k.w));
  return run_forward(&k, &w);
}

/* --- integers --- */

static Status expect_byte(Eval *e, int i, const char *what) {
  if (e->in[i]->dtype != DT_u8 && e->in[i]->dtype != DT_i8)
    return eval_fail(e, "%s must be u8 or i8", what);
  return ST_OK;
}

/* Input i minus its zero point, input iz: one number, or one per entry of the first axis when per_first allows it. */
static Status load_centred(Eval *e, int i, int iz, bool per_first, const double **v) {
  const Tensor *t = e->in[i];
  const double *src, *zero;
  double *r;
  int64_t n = tensor_count(t), first = t->dim[0];
  TRY(nn_load(e, t, &src));
  *v = src;
  if (!eval_has(e, iz))
    return ST_OK;
  TRY(nn_load(e, e->in[iz], &zero));
  int64_t nz = tensor_count(e->in[iz]);
  if (nz != 1 && !(per_first && e->in[iz]->rank == 1 && nz == first))
    return eval_fail(e,
                     per_first ? "the zero point (input %d) must be a scalar or have one element per output channel"
                               : "the zero point (input %d) must be a scalar",
                     iz);
  if (e->in[iz]->dtype != t->dtype)
    return eval_fail(e, "the zero point (input %d) must have the type of input %d", iz, i);
  TRY(nn_buffer(e, n, &r));
  for (int64_t j = 0; j < n; j++)
    r[j] = src[j] - zero[nz == 1 ? 0 : j / (n / first)];
  *v = r;
  return ST_OK;
}

/* ConvInteger, ONNX 10. */
Status conv_integer_eval(Eval *e) {
  Conv k;
  Window w;
  TRY(expect_byte(e, 0, "x"));
  TRY(expect_byte(e, 1, "w"));
  TRY(forward_setup(e, 1, DT_i32, &k, &w));
  TRY(load_centred(e, 0, 2, false, &k.x));
  TRY(load_centred(e, 1, 3, true, &k.w));
  return run_forward(&k, &w);
}

/* x_scale * w_scale[m] / y_scale, in f32 as the types say. */
static Status load_multiplier(Eval *e, Conv *k) {
  const double *xs, *ws, *ys;
  double *mult;
  int64_t nw = tensor_count(e->in[4]);
  if (tensor_count(e->in[1]) != 1 || tensor_count(e->in[6]) != 1 || tensor_count(e->in[7]) != 1)
    return eval_fail(e, "x_scale, y_scale and y_zero_point must be scalars");
  if (nw != 1 && (e->in[4]->rank != 1 || nw != k->M))
    return eval_fail(e, "w_scale must be a scalar or have one element for each of the %lld output channels",
                     (long long)k->M);
  TRY(nn_load(e, e->in[1], &xs));
  TRY(nn_load(e, e->in[4], &ws));
  TRY(nn_load(e, e->in[6], &ys));
  TRY(nn_buffer(e, k->M, &mult));
  for (int64_t m = 0; m < k->M; m++)
    mult[m] = (double)((float)xs[0] * (float)ws[nw == 1 ? 0 : m] / (float)ys[0]);
  k->mult = mult;
  k->zero = elem_f64(e->in[7]->dtype, e->in[7]->data, 0);
  return ST_OK;
}

/* QLinearConv, ONNX 10. */
Status qlinear_conv_eval(Eval *e) {
  Conv k;
  Window w;
  TRY(expect_byte(e, 0, "x"));
  TRY(expect_byte(e, 3, "w"));
  TRY(expect_byte(e, 7, "y_zero_point"));
  TRY(forward_setup(e, 3, e->in[7]->dtype, &k, &w));
  TRY(load_multiplier(e, &k));
  TRY(load_bias(e, 8, k.M, &k.bias));
  TRY(load_centred(e, 0, 2, false, &k.x));
  TRY(load_centred(e, 3, 5, true, &k.w));
  return run_forward(&k, &w);
}

/* --- transposed --- */

/* Output extent and padding at the beginning of each axis, in s->begin. */
static Status transpose_extents(Eval *e, const ConvTransposeAttr *a, WindowSpec *s, const int64_t *in, int64_t *out) {
  int n = s->n;
  TRY(conv_transpose_lists(e->c, a, n));
  for (int i = 0; i < n; i++) {
    int64_t extra = a->output_padding.n ? a->output_padding.v[i] : 0, full, far, total;
    if (!mul_ok(in[i] - 1, s->stride[i], &full) || !mul_ok(s->kernel[i] - 1, s->dilation[i], &far) ||
        !add_ok(full, far, &full) || !add_ok(full, extra + 1, &full) || full >= (int64_t)1 << 60)
      return eval_fail(e, "the output extent on spatial axis %d is too large", i);
    bool same = s->mode == PAD_SAME_UPPER || s->mode == PAD_SAME_LOWER;
    if (a->output_shape.n || same) {
      out[i] = a->output_shape.n ? a->output_shape.v[i] : in[i] * s->stride[i];
      total = full > out[i] ? full - out[i] : 0; /* a larger output gets more at its end */
      s->begin[i] = s->mode == PAD_SAME_UPPER ? total / 2 : total - total / 2;
    } else {
      out[i] = full - s->begin[i] - s->end[i];
    }
    if (out[i] < 0)
      return eval_fail(e, "the pads on spatial axis %d are larger than the unpadded output of %lld", i,
                       (long long)full);
  }
  return ST_OK;
}

/* One channel of x into one channel of acc (double, out_size): every input number meets every tap. */
static void scatter(const WindowSpec *s, const int64_t *in, const int64_t *out, const double *x, const double *w,
                    double *acc) {
  int last = s->n - 1;
  int64_t at[MAX_RANK] = {0};
  do {
    int64_t k[MAX_RANK] = {0}, kw = 0;
    do { /* taps of the outer axes */
      int64_t base = 0;
      bool inside = true;
      for (int i = 0; i < last && inside; i++) {
        int64_t o = at[i] * s->stride[i] - s->begin[i] + k[i] * s->dilation[i];
        inside = o >= 0 && o < out[i];
        base = base * out[i] + o;
      }
      if (inside)
        for (int64_t j = 0; j < s->kernel[last]; j++) {
          int64_t o = j * s->dilation[last] - s->begin[last], step = s->stride[last], room = out[last] - o;
          int64_t i0 = o < 0 ? (-o + step - 1) / step : 0, i1 = room > 0 ? (room + step - 1) / step : 0;
          double v = w[kw + j], *row = acc + base * out[last];
          for (int64_t i = i0; i < i1 && i < in[last]; i++)
            row[o + i * step] += v * x[i];
        }
      kw += s->kernel[last];
    } while (next_index(last, s->kernel, k));
    x += in[last];
  } while (next_index(last, in, at));
}

static Status run_transposed(const Conv *k, const WindowSpec *s, const int64_t *in, const int64_t *out) {
  int64_t cg = k->C / k->group, mg = k->M / k->group;
  double *acc;
  if (!tensor_count(k->out))
    return ST_OK;
  TRY(nn_buffer(k->e, k->out_size, &acc));
  for (int64_t b = 0; b < k->N; b++)
    for (int64_t m = 0; m < k->M; m++) {
      for (int64_t i = 0; i < k->out_size; i++)
        acc[i] = k->bias ? k->bias[m] : 0;
      for (int64_t c = 0; c < cg && k->in_size; c++) {
        int64_t ic = m / mg * cg + c;
        TRY(ctx_poll(k->e->c));
        scatter(s, in, out, k->x + (b * k->C + ic) * k->in_size, k->w + (ic * mg + m % mg) * k->k_size, acc);
      }
      put_row(k, m, (b * k->M + m) * k->out_size, acc, k->out_size);
    }
  return ST_OK;
}

Status conv_transpose_lists(Ctx *c, const ConvTransposeAttr *a, int n) {
  const struct {
    const char *name;
    Ints list;
    int64_t least;
  } lists[] = {{"output_padding", a->output_padding, 0}, {"output_shape", a->output_shape, 1}};
  for (size_t k = 0; k < countof(lists); k++) {
    Ints l = lists[k].list;
    if (l.n && l.n != n)
      return fail(c, ST_INVALID, "%s has %lld values where %d are needed", lists[k].name, (long long)l.n, n);
    for (int64_t i = 0; i < l.n; i++)
      if (l.v[i] < lists[k].least || l.v[i] > (int64_t)1 << WINDOW_LIMIT_BITS)
        return fail(c, ST_INVALID, "%s[%lld] is %lld; it must be at least %lld and at most 2^%d", lists[k].name,
                    (long long)i, (long long)l.v[i], (long long)lists[k].least, WINDOW_LIMIT_BITS);
  }
  return ST_OK;
}

/* ConvTranspose, ONNX 22. */
Status conv_transpose_eval(Eval *e) {
  const ConvTransposeAttr *a = e->attr;
  const WindowAttr wa = {.auto_pad = a->auto_pad,
                         .kernel = a->kernel_shape,
                         .pads = a->pads,
                         .strides = a->strides,
                         .dilations = a->dilations};
  const Tensor *x = e->in[0], *w = e->in[1];
  Conv k = {.e = e, .group = a->group};
  WindowSpec s;
  int64_t dim[MAX_RANK];
  if (x->rank < 3)
    return eval_fail(e, "X must have a batch, a channel and at least one spatial axis");
  TRY(nn_expect_rank(e, 1, x->rank, "W"));
  k.N = x->dim[0], k.C = x->dim[1];
  TRY(check_group(e, k.group, k.C, "input channels"));
  TRY(nn_expect_dim(e, 1, 0, k.C, "the first extent of W (input channels)"));
  if (!mul_ok(w->dim[1], k.group, &k.M))
    return eval_fail(e, "too many output channels");
  TRY(window_spec(e->c, &wa, x->rank - 2, &s));
  TRY(window_kernel(e->c, &s, w->dim + 2));
  dim[0] = k.N, dim[1] = k.M;
  TRY(transpose_extents(e, a, &s, x->dim + 2, dim + 2));
  TRY(load_bias(e, 2, k.M, &k.bias));
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &k.out));
  TRY(nn_load(e, x, &k.x));
  TRY(nn_load(e, w, &k.w));
  k.in_size = product(x->dim + 2, s.n), k.out_size = product(dim + 2, s.n), k.k_size = product(s.kernel, s.n);
  return run_transposed(&k, &s, x->dim + 2, dim + 2);
}
