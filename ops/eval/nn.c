/* nn.c - double buffers and window geometry for the evaluators of neural network operators.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

Status nn_buffer(Eval *e, int64_t n, double **v) {
  size_t bytes;
  if (n < 0 || !size_mul_ok((size_t)n, sizeof(double), &bytes))
    return fail(e->c, ST_INVALID, "a working buffer of %lld numbers is too large", (long long)n);
  *v = arena_array(e->scratch, double, (size_t)n);
  return ST_OK;
}

Status nn_load(Eval *e, const Tensor *t, const double **v) {
  DKind k = dtype_kind(t->dtype);
  if (t->kind != VK_TENSOR || k == DK_STRING || k == DK_COMPLEX || k == DK_NONE)
    return eval_unsupported(e, "numbers are needed, not %s", dtype_name(t->dtype));
  if (t->dtype == DT_f64) {
    *v = t->data;
    return ST_OK;
  }
  if (t->dtype != DT_f32)
    return eval_doubles(e, t, v);
  int64_t n = tensor_count(t);
  double *r = NULL;
  TRY(nn_buffer(e, n, &r));
  const float *f = t->data;
  for (int64_t i = 0; i < n; i++)
    r[i] = (double)f[i];
  *v = r;
  return ST_OK;
}

Status nn_load_input(Eval *e, int i, const double **v) {
  *v = NULL;
  return eval_has(e, i) ? nn_load(e, e->in[i], v) : ST_OK;
}

bool nn_int_range(DType t, double *lo, double *hi) {
  int bits = dtype_bits(t);
  if (!dtype_is_int(t) || bits > 32)
    return false;
  bool is_signed = dtype_kind(t) == DK_SINT;
  *lo = is_signed ? -ldexp(1, bits - 1) : 0;
  *hi = ldexp(1, is_signed ? bits - 1 : bits) - 1;
  return true;
}

double nn_round(DType t, double v) {
  union {
    double d;
    float f;
    uint8_t b[8];
  } u = {0};
  if (t == DT_f64)
    return v;
  if (t == DT_f32)
    return (double)(float)v;
  elem_set_f64(t, u.b, 0, v);
  return elem_f64(t, u.b, 0);
}

void nn_store(Tensor *out, int64_t at, const double *v, int64_t n) {
  double lo, hi;
  if (out->dtype == DT_f32) {
    float *f = (float *)out->data + at;
    for (int64_t i = 0; i < n; i++)
      f[i] = (float)v[i];
  } else if (nn_int_range(out->dtype, &lo, &hi)) {
    for (int64_t i = 0; i < n; i++) {
      double r = rint(v[i]);
      elem_set_i64(out->dtype, out->data, at + i, r != r ? 0 : (int64_t)(r < lo ? lo : r > hi ? hi : r));
    }
  } else {
    for (int64_t i = 0; i < n; i++)
      elem_set_f64(out->dtype, out->data, at + i, dtype_is_float(out->dtype) ? v[i] : rint(v[i]));
  }
}

void nn_copy(Eval *e, Tensor *dst, int64_t i, const Tensor *src, int64_t j, int64_t n) {
  int bits = dtype_bits(dst->dtype);
  size_t b = (size_t)bits / 8;
  if (dst->dtype == DT_str)
    for (int64_t k = 0; k < n; k++) {
      const Str *s = (const Str *)src->data + j + k;
      ((Str *)dst->data)[i + k] = (Str){arena_strndup(e->keep, s->len ? s->ptr : "", s->len), s->len};
    }
  else if (bits % 8)
    for (int64_t k = 0; k < n; k++)
      elem_set_f64(dst->dtype, dst->data, i + k, elem_f64(src->dtype, src->data, j + k));
  else if (n)
    memcpy((char *)dst->data + (size_t)i * b, (const char *)src->data + (size_t)j * b, (size_t)n * b);
}

Status nn_expect_rank(Eval *e, int i, int rank, const char *what) {
  if (e->in[i]->rank != rank)
    return eval_fail(e, "%s must have rank %d, not %d", what, rank, e->in[i]->rank);
  return ST_OK;
}

Status nn_expect_dim(Eval *e, int i, int axis, int64_t want, const char *what) {
  if (e->in[i]->dim[axis] != want)
    return eval_fail(e, "%s must be %lld, not %lld", what, (long long)want, (long long)e->in[i]->dim[axis]);
  return ST_OK;
}

/* --- windows --- */

static const struct {
  const char *name;
  AutoPad mode;
} pad_modes[] = {{"NOTSET", PAD_EXPLICIT},
                 {"", PAD_EXPLICIT},
                 {"SAME_UPPER", PAD_SAME_UPPER},
                 {"SAME_LOWER", PAD_SAME_LOWER},
                 {"VALID", PAD_VALID}};

static Status fill(Ctx *c, const char *name, Ints list, int n, int64_t least, int64_t standard, int64_t *v) {
  if (list.v && list.n && list.n != n)
    return fail(c, ST_INVALID, "%s has %lld values where %d are needed", name, (long long)list.n, n);
  for (int i = 0; i < n; i++) {
    v[i] = list.v && list.n ? list.v[i] : standard;
    if (list.v && list.n && (v[i] < least || v[i] > (int64_t)1 << WINDOW_LIMIT_BITS))
      return fail(c, ST_INVALID, "%s[%d] is %lld; it must be at least %lld and at most 2^%d", name, i, (long long)v[i],
                  (long long)least, WINDOW_LIMIT_BITS);
  }
  return ST_OK;
}

Status window_spec(Ctx *c, const WindowAttr *a, int n, WindowSpec *s) {
  int64_t pads[2 * MAX_RANK];
  size_t m = 0;
  *s = (WindowSpec){.n = n, .ceil = a->ceil};
  while (m < countof(pad_modes) && !str_is(a->auto_pad, pad_modes[m].name))
    m++;
  if (m == countof(pad_modes))
    return fail(c, ST_INVALID, "auto_pad is '%.*s'; it must be NOTSET, SAME_UPPER, SAME_LOWER or VALID",
                (int)(a->auto_pad.len < 40 ? a->auto_pad.len : 40), a->auto_pad.ptr);
  s->mode = pad_modes[m].mode;
  TRY(fill(c, "kernel_shape", a->kernel, n, 1, -1, s->kernel));
  TRY(fill(c, "strides", a->strides, n, 1, 1, s->stride));
  TRY(fill(c, "dilations", a->dilations, n, 1, 1, s->dilation));
  TRY(fill(c, "pads", a->pads, 2 * n, 0, 0, pads));
  for (int i = 0; i < n && s->mode == PAD_EXPLICIT; i++)
    s->begin[i] = pads[i], s->end[i] = pads[n + i];
  return ST_OK;
}

Status window_kernel(Ctx *c, WindowSpec *s, const int64_t *weight) {
  for (int i = 0; i < s->n; i++) {
    if (!weight && s->kernel[i] < 0)
      return fail(c, ST_INVALID, "kernel_shape is missing");
    if (weight && s->kernel[i] >= 0 && s->kernel[i] != weight[i])
      return fail(c, ST_INVALID, "kernel_shape[%d] is %lld, but the weight has %lld there", i, (long long)s->kernel[i],
                  (long long)weight[i]);
    if (weight)
      s->kernel[i] = weight[i];
    if (s->kernel[i] < 1)
      return fail(c, ST_INVALID, "the kernel's extent on spatial axis %d is %lld; it must be at least 1", i,
                  (long long)s->kernel[i]);
  }
  return ST_OK;
}

/* Extent of the dilated kernel; false when it cannot be right. */
static bool reach(int64_t kernel, int64_t dilation, int64_t *r) {
  return mul_ok(kernel - 1, dilation, r) && *r < (int64_t)1 << 60 && add_ok(*r, 1, r);
}

static Status apply_axis(Eval *e, const WindowSpec *s, int i, int64_t in, Window *w) {
  int64_t far, stride = s->stride[i], begin = s->begin[i], end = s->end[i];
  if (in >= (int64_t)1 << 60 || !reach(s->kernel[i], s->dilation[i], &far))
    return eval_fail(e, "the kernel of %lld with dilation %lld is too large", (long long)s->kernel[i],
                     (long long)s->dilation[i]);
  if (s->mode == PAD_SAME_UPPER || s->mode == PAD_SAME_LOWER) {
    w->out[i] = in / stride + (in % stride != 0);
    int64_t total = w->out[i] ? (w->out[i] - 1) * stride + far - in : 0;
    total = total < 0 ? 0 : total;
    w->begin[i] = s->mode == PAD_SAME_UPPER ? total / 2 : total - total / 2;
    w->end[i] = total - w->begin[i];
    return ST_OK;
  }
  int64_t room = in + begin + end - far; /* all below 2^62 */
  w->begin[i] = begin, w->end[i] = end;
  if (room < 0)
    return eval_fail(e, "on spatial axis %d the window of %lld is larger than the padded input of %lld", i,
                     (long long)far, (long long)(in + begin + end));
  bool up = s->ceil && s->mode == PAD_EXPLICIT; /* VALID: ceil((in - far + 1) / stride) is the rounded-down form */
  w->out[i] = room / stride + (up && room % stride) + 1;
  if (up && w->out[i] > 1 && (w->out[i] - 1) * stride >= in + begin)
    w->out[i]--; /* the last window must not start in the padding at the end */
  return ST_OK;
}

Status window_apply(Eval *e, const WindowSpec *s, const int64_t *in, Window *w) {
  *w = (Window){.n = s->n};
  for (int i = 0; i < s->n; i++) {
    w->in[i] = in[i], w->kernel[i] = s->kernel[i], w->stride[i] = s->stride[i], w->dilation[i] = s->dilation[i];
    TRY(apply_axis(e, s, i, in[i], w));
  }
  return ST_OK;
}

void window_taps(const Window *w, int axis, int64_t o, int64_t *k0, int64_t *k1, int64_t *x) {
  int64_t start = o * w->stride[axis] - w->begin[axis], d = w->dilation[axis], in = w->in[axis];
  *k0 = start < 0 ? (-start + d - 1) / d : 0;
  *k1 = start < in ? (in - 1 - start) / d + 1 : 0;
  if (*k1 > w->kernel[axis])
    *k1 = w->kernel[axis];
  if (*k1 < *k0)
    *k1 = *k0;
  *x = start + *k0 * d;
}
