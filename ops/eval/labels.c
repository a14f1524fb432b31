/* labels.c - tables from one set of values to another: LabelEncoder (ai.onnx.ml 4), CategoryMapper (1).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/labels.h"

#include "ops/eval/loop.h"
#include "ops/eval/move.h"

#include <math.h>
#include <string.h>

/* A list attribute as a tensor of rank 1, whose data is the list's. */
static const Tensor *as_tensor(Arena *a, DType t, const void *v, int64_t n) {
  Tensor *x = arena_new(a, Tensor);
  *x = (Tensor){.dtype = t, .rank = 1, .dim = {n}, .data = (void *)(uintptr_t)v};
  return x;
}

static int pick(Arena *a, const Tensor *t, Floats f, Ints i, Strs s, const Tensor **out) {
  int n = 0;
  if (t)
    *out = t, n++;
  if (f.v)
    *out = as_tensor(a, DT_f32, f.v, f.n), n++;
  if (i.v)
    *out = as_tensor(a, DT_i64, i.v, i.n), n++;
  if (s.v)
    *out = as_tensor(a, DT_str, s.v, s.n), n++;
  return n;
}

const char *label_table(Arena *a, const LabelEncoderAttr *at, LabelTable *t) {
  if (pick(a, at->keys_tensor, at->keys_floats, at->keys_int64s, at->keys_strings, &t->keys) != 1)
    return "one of the attributes 'keys_*' must be given";
  if (pick(a, at->values_tensor, at->values_floats, at->values_int64s, at->values_strings, &t->values) != 1)
    return "one of the attributes 'values_*' must be given";
  if (t->keys->rank != 1 || t->values->rank != 1 || t->keys->dim[0] != t->values->dim[0])
    return "keys and values must be lists of one length";
  DType v = t->values->dtype;
  t->other = at->default_tensor;
  if (t->other && (t->other->dtype != v || tensor_count(t->other) != 1))
    return "the default must be one element of the values' type";
  if (!t->other) {
    Tensor *d = arena_new(a, Tensor);
    *d = (Tensor){.dtype = v, .rank = 1, .dim = {1}, .data = arena_get(a, 1, 16, 16)};
    if (v == DT_str)
      *(Str *)d->data = at->default_string;
    else if (dtype_is_float(v))
      elem_set_f64(v, d->data, 0, (double)at->default_float);
    else
      elem_set_i64(v, d->data, 0, at->default_int64);
    t->other = d;
  }
  return NULL;
}

/* A number as bits that are equal when the numbers are: one NaN, one zero. */
static int64_t number_key(DType t, const void *data, int64_t i) {
  if (!dtype_is_float(t))
    return elem_i64(t, data, i);
  double v = elem_f64(t, data, i);
  int64_t bits;
  v = isnan(v) ? (double)NAN : v == 0 ? 0 : v;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

/* Keys to position + 1. Of equal keys the last counts. */
static void index_keys(Arena *a, const Tensor *keys, Map *m) {
  int64_t n = keys->dim[0], *bits = arena_array(a, int64_t, (size_t)n);
  map_init(m, a);
  for (int64_t i = 0; i < n; i++) {
    void *at = (void *)(uintptr_t)(i + 1);
    if (keys->dtype == DT_str) {
      Str s = ((const Str *)keys->data)[i];
      map_put_n(m, s.ptr ? s.ptr : "", s.len, at);
      continue;
    }
    bits[i] = number_key(keys->dtype, keys->data, i);
    map_put_n(m, (const char *)&bits[i], sizeof *bits, at);
  }
}

static int64_t find_key(const Map *m, const Tensor *x, int64_t i) {
  if (x->dtype == DT_str) {
    Str s = ((const Str *)x->data)[i];
    return (int64_t)(uintptr_t)map_get_n(m, s.ptr ? s.ptr : "", s.len) - 1;
  }
  int64_t bits = number_key(x->dtype, x->data, i);
  return (int64_t)(uintptr_t)map_get_n(m, (const char *)&bits, sizeof bits) - 1;
}

static Status look_up(Eval *e, const LabelTable *t) {
  const Tensor *x = e->in[0];
  Map m;
  Tensor *y;
  if (t->keys->dtype != x->dtype)
    return eval_fail(e, "the keys are %s", dtype_name(t->keys->dtype));
  TRY(eval_out(e, 0, t->values->dtype, x->rank, x->dim, &y));
  index_keys(e->scratch, t->keys, &m);
  for (int64_t i = 0, n = tensor_count(x); i < n; i++) {
    int64_t k = find_key(&m, x, i);
    const Tensor *from = k < 0 ? t->other : t->values;
    move_run(y->dtype, y->data, i, from->data, k < 0 ? 0 : k, 1);
    if (i % 4096 == 0)
      TRY(ctx_poll(e->c));
  }
  return move_done(e, y);
}

Status label_encoder_eval(Eval *e) {
  LabelTable t;
  TRY(operands(e, 1));
  const char *wrong = label_table(e->scratch, e->attr, &t);
  return wrong ? eval_fail(e, "%s", wrong) : look_up(e, &t);
}

Status category_mapper_eval(Eval *e) {
  const CategoryMapperAttr *a = e->attr;
  LabelTable t;
  TRY(operands(e, 1));
  if (a->cats_int64s.n != a->cats_strings.n)
    return eval_fail(e, "%lld integers and %lld strings cannot be mapped to each other", (long long)a->cats_int64s.n,
                     (long long)a->cats_strings.n);
  const Tensor *ints = as_tensor(e->scratch, DT_i64, a->cats_int64s.v, a->cats_int64s.n);
  const Tensor *strs = as_tensor(e->scratch, DT_str, a->cats_strings.v, a->cats_strings.n);
  if (e->in[0]->dtype == DT_str)
    t = (LabelTable){strs, ints, as_tensor(e->scratch, DT_i64, &a->default_int64, 1)};
  else
    t = (LabelTable){ints, strs, as_tensor(e->scratch, DT_str, &a->default_string, 1)};
  return look_up(e, &t);
}
