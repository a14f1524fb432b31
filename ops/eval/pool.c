/* pool.c - evaluation of AveragePool, MaxPool, LpPool and their global forms.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include "support/checked.h"

#include <math.h>
#include <string.h>

typedef struct Pool {
  OpId op;
  const PoolAttr *attr;
  const Window *w;
  const double *x; /* one plane of the input */
  int64_t best;    /* MaxPool: offset of the largest in the plane, -1 when the window holds nothing */
} Pool;

/* Elements of the window at o that the average counts: those inside the input, or inside the padded input. */
static double window_count(const Pool *p, const int64_t *o, const int64_t *inside) {
  const Window *w = p->w;
  double n = 1;
  for (int i = 0; i < w->n; i++) {
    int64_t start = o[i] * w->stride[i] - w->begin[i], end = w->in[i] + w->end[i],
            k = (end - 1 - start) / w->dilation[i] + 1;
    n *= (double)(!p->attr->count_include_pad ? inside[i] : k < w->kernel[i] ? k : w->kernel[i]);
  }
  return n;
}

/* The pooled value at output position o. */
static double pool_at(Pool *p, const int64_t *o) {
  const Window *w = p->w;
  bool is_max = p->op == OP_MaxPool, is_lp = p->op == OP_LpPool;
  int64_t k0, k1, x0[MAX_RANK], n[MAX_RANK], k[MAX_RANK] = {0}, total = 1;
  double acc = is_max ? -INFINITY : 0, lp = (double)p->attr->p;
  int last = w->n - 1;
  for (int i = 0; i < w->n; i++) {
    window_taps(w, i, o[i], &k0, &k1, &x0[i]);
    n[i] = k1 - k0;
    total *= n[i];
  }
  p->best = -1;
  if (total)
    do {
      int64_t at = 0;
      for (int i = 0; i < last; i++)
        at = at * w->in[i] + x0[i] + k[i] * w->dilation[i];
      at = at * w->in[last] + x0[last];
      for (int64_t j = 0; j < n[last]; j++, at += w->dilation[last]) {
        double v = p->x[at];
        if (!is_max)
          acc += is_lp ? pow(fabs(v), lp) : v;
        else if (p->best < 0 || v > acc || (v != v && acc == acc)) /* NaN wins, and the first one stays */
          acc = v, p->best = at;
      }
    } while (next_index(last, n, k));
  if (is_lp)
    return pow(acc, 1 / lp);
  if (is_max)
    return acc;
  double count = window_count(p, o, n);
  return count > 0 ? acc / count : 0;
}

/* Offset in a plane, row-major, to column-major. */
static int64_t column_major(const Window *w, int64_t at) {
  int64_t idx[MAX_RANK], r = 0;
  for (int i = w->n - 1; i >= 0; i--)
    idx[i] = at % w->in[i], at /= w->in[i];
  for (int i = w->n - 1; i >= 0; i--)
    r = r * w->in[i] + idx[i];
  return r;
}

static Status run_planes(Eval *e, Pool *p, int64_t planes, int64_t in_size, const double *x, Tensor *out,
                         Tensor *index) {
  const Window *w = p->w;
  int last = w->n - 1;
  int64_t at = 0;
  double *row;
  if (!tensor_count(out))
    return ST_OK;
  TRY(nn_buffer(e, w->out[last], &row));
  for (int64_t c = 0; c < planes; c++) {
    int64_t o[MAX_RANK] = {0};
    p->x = x + c * in_size;
    do {
      for (o[last] = 0; o[last] < w->out[last]; o[last]++) {
        if (o[last] % 64 == 0)
          TRY(ctx_poll(e->c));
        row[o[last]] = pool_at(p, o);
        if (index)
          ((int64_t *)index->data)[at + o[last]] =
              p->best < 0 ? -1 : c * in_size + (p->attr->storage_order ? column_major(w, p->best) : p->best);
      }
      nn_store(out, at, row, w->out[last]);
      at += w->out[last];
    } while (next_index(last, w->out, o));
  }
  return ST_OK;
}

/* AveragePool, MaxPool, LpPool, ONNX 22. An element no input falls into is 0 (average), the lowest number (max). */
Status pool_eval(Eval *e) {
  const PoolAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, a->ceil_mode != 0};
  WindowSpec s;
  Window w;
  Tensor *out, *index = NULL;
  const double *v;
  int64_t dim[MAX_RANK];
  if (x->rank < 3)
    return eval_fail(e, "X must have a batch, a channel and at least one spatial axis");
  if (dtype_is_int(x->dtype) && dtype_bits(x->dtype) > 32)
    return eval_fail(e, "pooling takes floats and 8-bit integers");
  if (e->op == OP_LpPool && a->p < 1)
    return eval_fail(e, "p is %lld; it must be at least 1", (long long)a->p);
  TRY(window_spec(e->c, &wa, x->rank - 2, &s));
  TRY(window_kernel(e->c, &s, NULL));
  TRY(window_apply(e, &s, x->dim + 2, &w));
  memcpy(dim, x->dim, 2 * sizeof *dim);
  memcpy(dim + 2, w.out, (size_t)w.n * sizeof *dim);
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &out));
  if (e->nout > 1 && e->wanted[1])
    TRY(eval_out(e, 1, DT_i64, x->rank, dim, &index));
  TRY(nn_load(e, x, &v));
  int64_t in_size = 1;
  for (int i = 0; i < w.n; i++)
    in_size *= w.in[i];
  Pool p = {.op = e->op, .attr = a, .w = &w};
  return run_planes(e, &p, x->dim[0] * x->dim[1], in_size, v, out, index);
}

/* GlobalAveragePool, GlobalMaxPool, GlobalLpPool, ONNX 22. */
Status global_pool_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const double *v;
  int64_t dim[MAX_RANK], size = 1;
  double p = e->op == OP_GlobalLpPool ? (double)((const GlobalLpPoolAttr *)e->attr)->p : 1;
  Tensor *out;
  if (x->rank < 2)
    return eval_fail(e, "X must have a batch and a channel axis");
  if (p < 1)
    return eval_fail(e, "p is %g; it must be at least 1", p);
  for (int i = 0; i < x->rank; i++) {
    dim[i] = i < 2 ? x->dim[i] : 1;
    size *= i < 2 ? 1 : x->dim[i];
  }
  TRY(eval_out(e, 0, x->dtype, x->rank, dim, &out));
  TRY(nn_load(e, x, &v));
  for (int64_t c = 0, n = tensor_count(out); c < n; c++) {
    double acc = e->op == OP_GlobalMaxPool ? -INFINITY : 0;
    TRY(ctx_poll(e->c));
    for (int64_t i = 0; i < size; i++) {
      double u = v[c * size + i];
      if (e->op == OP_GlobalAveragePool)
        acc += u;
      else if (e->op == OP_GlobalLpPool)
        acc += pow(fabs(u), p);
      else if (u > acc || u != u)
        acc = u;
    }
    acc = e->op == OP_GlobalAveragePool ? acc / (double)size : e->op == OP_GlobalLpPool ? pow(acc, 1 / p) : acc;
    nn_store(out, c, &acc, 1);
  }
  return ST_OK;
}
