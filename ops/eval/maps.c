/* maps.c - maps, a container of two items, keys and values, both of rank 1: ZipMap, CastMap, DictVectorizer (ai.onnx.ml 1).
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"
#include "ops/eval/ml.h"
#include "ops/eval/move.h"

#include <stdlib.h>
#include <string.h>

static Tensor *new_list(Eval *e, DType t, int64_t n) {
  Tensor *x = arena_new(e->keep, Tensor);
  size_t bytes = 0;
  dtype_bytes(t, n, &bytes); /* n is a tensor's extent */
  *x = (Tensor){.dtype = t, .rank = 1, .dim = {n}, .data = arena_get(e->keep, bytes, 1, 64)};
  return x;
}

/* One map per row, from the labels to the row's elements. */
Status zip_map_eval(Eval *e) {
  const ZipMapAttr *a = e->attr;
  bool strings = a->classlabels_strings.n > 0;
  int64_t n = strings ? a->classlabels_strings.n : a->classlabels_int64s.n;
  Rows r;
  Tensor *y;
  TRY(operands(e, 1));
  TRY(ml_rows(e, 0, &r));
  if (strings && a->classlabels_int64s.n)
    return eval_fail(e, "labels are given as integers and as strings");
  if (n != r.width)
    return eval_fail(e, "%lld labels for %lld columns", (long long)n, (long long)r.width);
  TRY(eval_out_items(e, 0, VK_SEQUENCE, r.n, &y));
  Tensor *keys = new_list(e, strings ? DT_str : DT_i64, n); /* of all maps */
  if (n)
    memcpy(keys->data, strings ? (const void *)a->classlabels_strings.v : a->classlabels_int64s.v, tensor_bytes(keys));
  TRY(move_done(e, keys));
  for (int64_t k = 0; k < r.n; k++) {
    Tensor *m = y->item[k] = arena_new(e->keep, Tensor), *v = new_list(e, r.t->dtype, n);
    *m = (Tensor){.kind = VK_MAP, .nitem = 2, .item = arena_array(e->keep, Tensor *, 2)};
    m->item[0] = keys, m->item[1] = v;
    move_run(r.t->dtype, v->data, 0, r.t->data, k * n, n);
  }
  return ST_OK;
}

static Status need_map(Eval *e, const Tensor **keys, const Tensor **values) {
  const Tensor *m = e->in[0];
  if (m->kind != VK_MAP || m->nitem != 2)
    return eval_fail(e, "the input must be a map");
  *keys = m->item[0], *values = m->item[1];
  if (tensor_count(*keys) != tensor_count(*values))
    return eval_fail(e, "a map of %lld keys and %lld values", (long long)tensor_count(*keys),
                     (long long)tensor_count(*values));
  return ST_OK;
}

/* Index of key i of a map in the vocabulary, or -1. */
static int64_t word_index(const DictVectorizerAttr *a, const Tensor *keys, int64_t i) {
  if (keys->dtype == DT_str) {
    for (int64_t k = 0; k < a->string_vocabulary.n; k++)
      if (str_eq(a->string_vocabulary.v[k], ((const Str *)keys->data)[i]))
        return k;
    return -1;
  }
  for (int64_t k = 0; k < a->int64_vocabulary.n; k++)
    if (a->int64_vocabulary.v[k] == elem_i64(keys->dtype, keys->data, i))
      return k;
  return -1;
}

/* A map to a row of n columns, one for each word of the vocabulary. Other keys are left out, as onnx.reference does. */
Status dict_vectorizer_eval(Eval *e) {
  const DictVectorizerAttr *a = e->attr;
  const Tensor *keys, *values;
  Tensor *y;
  TRY(need_map(e, &keys, &values));
  int64_t dim[2] = {1, keys->dtype == DT_str ? a->string_vocabulary.n : a->int64_vocabulary.n};
  if (!dim[1])
    return eval_fail(e, "no vocabulary of %s is given", keys->dtype == DT_str ? "strings" : "integers");
  TRY(eval_out(e, 0, values->dtype, 2, dim, &y));
  move_fill(y->dtype, y->data, 0, dim[1], NULL);
  for (int64_t i = 0, n = tensor_count(keys); i < n; i++) {
    int64_t k = word_index(a, keys, i);
    if (k >= 0)
      move_run(y->dtype, y->data, k, values->data, i, 1);
    TRY(ctx_poll(e->c));
  }
  return move_done(e, y);
}

/* --- CastMap --- */

static int by_key(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Positions of the map's values in the order of their keys, or by key: -1 where there is none. */
static Status map_order(Eval *e, const CastMapAttr *a, const Tensor *keys, bool sparse, int64_t n, int64_t *at) {
  int64_t count = tensor_count(keys), (*pair)[2] = arena_get(e->scratch, (size_t)count, sizeof *pair, 8);
  for (int64_t i = 0; i < count; i++)
    pair[i][0] = elem_i64(keys->dtype, keys->data, i), pair[i][1] = i;
  if (count)
    qsort(pair, (size_t)count, sizeof *pair, by_key);
  for (int64_t i = 0; i < n; i++)
    at[i] = sparse ? -1 : pair[i][1];
  for (int64_t i = 0; sparse && i < count; i++) {
    if (pair[i][0] < 0 || pair[i][0] >= n)
      return eval_fail(e, "key %lld is not below max_map, %lld", (long long)pair[i][0], (long long)a->max_map);
    at[pair[i][0]] = pair[i][1];
  }
  return ST_OK;
}

static Status cast_type(Eval *e, const CastMapAttr *a, int64_t *t) {
  static const struct {
    const char *name;
    DType t;
  } types[] = {{"TO_FLOAT", DT_f32}, {"TO_STRING", DT_str}, {"TO_INT64", DT_i64}};
  for (size_t i = 0; i < countof(types); i++)
    if (str_is(a->cast_to, types[i].name)) {
      *t = types[i].t;
      return ST_OK;
    }
  return eval_fail(e, "cast_to must be \"TO_FLOAT\", \"TO_STRING\" or \"TO_INT64\"");
}

/* The values of a map as a row, cast as Cast does it: in the order of their keys, or each in the column its key says. */
Status cast_map_eval(Eval *e) {
  const CastMapAttr *a = e->attr;
  const Tensor *keys, *values;
  CastAttr to = {.saturate = 1};
  bool sparse = str_is(a->map_form, "SPARSE");
  Tensor *row;
  TRY(need_map(e, &keys, &values));
  TRY(cast_type(e, a, &to.to));
  if (keys->dtype != DT_i64 || (!sparse && !str_is(a->map_form, "DENSE")))
    return eval_fail(e, "the keys must be i64, and map_form \"DENSE\" or \"SPARSE\"");
  int64_t n = sparse ? a->max_map : tensor_count(keys), dim[2] = {1, n};
  TRY(tensor_new(e->c, e->scratch, values->dtype, 2, dim, &row));
  int64_t *at = arena_array(e->scratch, int64_t, (size_t)n);
  TRY(map_order(e, a, keys, sparse, n, at));
  move_fill(row->dtype, row->data, 0, n, NULL);
  for (int64_t i = 0; i < n; i++)
    if (at[i] >= 0)
      move_run(row->dtype, row->data, i, values->data, at[i], 1);
    else if (row->dtype == DT_str && to.to != DT_str)
      ((Str *)row->data)[i] = str_of("0");
  const Tensor *in[1] = {row};
  Eval cast = *e;
  cast.op = OP_Cast, cast.nin = 1, cast.in = in, cast.attr = &to;
  return eval_find(OP_Cast)(&cast);
}
