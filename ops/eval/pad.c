/* pad.c - Pad 25. A negative pad cuts. With constant padding the output is filled, then what is left of the input moved
 * in; the other modes read every output position through a map per axis, made from the input as cut.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/move.h"
#include "support/checked.h"

typedef struct Pads {
  int64_t begin[MAX_RANK], end[MAX_RANK], out[MAX_RANK];
} Pads;

static Status read_pads(Eval *e, Pads *p) {
  const Tensor *x = e->in[0];
  const int64_t *v, *axes = NULL;
  int64_t n, k = x->rank;
  bool seen[MAX_RANK] = {0};
  TRY(eval_ints(e, 1, &v, &n));
  if (eval_has(e, 3))
    TRY(eval_ints(e, 3, &axes, &k));
  if (n % 2 || n / 2 != k)
    return eval_fail(e, "%lld pads for %lld axes", (long long)n, (long long)k);
  for (int i = 0; i < x->rank; i++)
    p->begin[i] = p->end[i] = 0, p->out[i] = x->dim[i];
  for (int64_t i = 0; i < k; i++) {
    int a;
    TRY(eval_axis(e, axes ? axes[i] : i, x->rank, false, &a));
    if (seen[a])
      return eval_fail(e, "axis %d is named twice", a);
    seen[a] = true;
    p->begin[a] = v[i], p->end[a] = v[k + i];
    if (!add_ok(x->dim[a], v[i], &p->out[a]) || !add_ok(p->out[a], v[k + i], &p->out[a]) || p->out[a] < 0)
      return eval_fail(e, "pads %lld and %lld on axis %d of extent %lld", (long long)v[i], (long long)v[k + i], a,
                       (long long)x->dim[a]);
  }
  return ST_OK;
}

static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }

static Status pad_constant(Eval *e, const Pads *p, Tensor *y) {
  const Tensor *x = e->in[0], *v = eval_has(e, 2) ? e->in[2] : NULL;
  View d = view_of(y), s = view_of(x);
  int64_t box[MAX_RANK];
  if (v && (v->dtype != x->dtype || tensor_count(v) != 1))
    return eval_fail(e, "the padding value must be one element of the data's type");
  move_fill(y->dtype, y->data, 0, tensor_count(y), v ? v->data : NULL);
  for (int i = 0; i < x->rank; i++) { /* what stays of x: [from, to) */
    int64_t from = p->begin[i] < 0 ? (p->begin[i] < -x->dim[i] ? x->dim[i] : -p->begin[i]) : 0;
    int64_t to = p->end[i] < 0 ? max64(x->dim[i] + p->end[i], 0) : x->dim[i];
    box[i] = max64(to - from, 0);
    if (!box[i])
      return ST_OK;
    s.at += from * s.stride[i];
    d.at += max64(p->begin[i], 0) * d.stride[i];
  }
  move_box(y->dtype, x->rank, box, &d, &s);
  return ST_OK;
}

/* Position i of an axis, of which [0, n) is there. */
static int64_t reflect(int64_t i, int64_t n) {
  int64_t period = 2 * (n - 1), k;
  if (n == 1)
    return 0;
  k = i % period;
  k = k < 0 ? k + period : k;
  return k < n ? k : period - k;
}
static int64_t wrap(int64_t i, int64_t n) {
  int64_t k = i % n;
  return k < 0 ? k + n : k;
}
static int64_t edge(int64_t i, int64_t n) { return max64(0, min64(i, n - 1)); }

typedef int64_t (*MapFn)(int64_t i, int64_t n);

/* map[i]: elements from x's start to the source of output position i. */
static Status axis_map(Eval *e, const Pads *p, int axis, int64_t stride, MapFn fn, int64_t **map) {
  int64_t d = e->in[0]->dim[axis], from = p->begin[axis] < 0 ? -p->begin[axis] : 0;
  int64_t n = d - from + min64(p->end[axis], 0), pad = max64(p->begin[axis], 0);
  if (n < 1)
    return eval_fail(e, "axis %d has no element to pad with", axis);
  int64_t *m = arena_array(e->scratch, int64_t, (size_t)p->out[axis]);
  for (int64_t i = 0; i < p->out[axis]; i++)
    m[i] = (from + fn(i - pad, n)) * stride;
  *map = m;
  return ST_OK;
}

static Status pad_mapped(Eval *e, const Pads *p, MapFn fn, Tensor *y) {
  const Tensor *x = e->in[0];
  int64_t *map[MAX_RANK], stride[MAX_RANK], at[MAX_RANK] = {0}, n = tensor_count(y), k = 0;
  if (!n)
    return ST_OK;
  row_major_strides(x->rank, x->dim, stride);
  for (int i = 0; i < x->rank; i++)
    TRY(axis_map(e, p, i, stride[i], fn, &map[i]));
  do {
    int64_t s = 0;
    for (int i = 0; i < x->rank; i++)
      s += map[i][at[i]];
    move_run(x->dtype, y->data, k++, x->data, s, 1);
  } while (next_index(x->rank, y->dim, at));
  return ST_OK;
}

Status pad_eval(Eval *e) {
  const PadAttr *a = e->attr;
  static const struct {
    const char *name;
    MapFn fn;
  } modes[] = {{"constant", NULL}, {"reflect", reflect}, {"edge", edge}, {"wrap", wrap}};
  const Tensor *x = e->in[0];
  Pads p;
  Tensor *y;
  for (size_t i = 0; i < countof(modes); i++)
    if (str_is(a->mode, modes[i].name)) {
      TRY(read_pads(e, &p));
      TRY(move_out(e, 0, x->dtype, x->rank, p.out, &y));
      TRY(modes[i].fn ? pad_mapped(e, &p, modes[i].fn, y) : pad_constant(e, &p, y));
      return move_done(e, y);
    }
  return eval_fail(e, "mode %.*s is none of constant, reflect, edge, wrap", (int)a->mode.len, a->mode.ptr);
}
