/* unique.c - evaluation of Unique, RowOrder and Det.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/loop.h"
#include "ops/eval/move.h"
#include "ops/eval/nn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- Unique --- */

typedef struct Unique {
  Axis3 x;            /* slice i holds the elements (o, i, j) */
  const int64_t *key; /* in the order of the values; NaN is the largest and equals NaN */
  const Str *text;    /* strings instead */
} Unique;

static int compare_elements(const Unique *u, int64_t p, int64_t q) {
  if (!u->text)
    return u->key[p] < u->key[q] ? -1 : u->key[p] > u->key[q];
  const Str *a = &u->text[p], *b = &u->text[q];
  size_t n = a->len < b->len ? a->len : b->len;
  int r = n ? memcmp(a->ptr, b->ptr, n) : 0;
  return r ? r : a->len < b->len ? -1 : a->len > b->len;
}

static int compare_slices(const Unique *u, int64_t i, int64_t k) {
  for (int64_t o = 0; o < u->x.outer; o++)
    for (int64_t j = 0; j < u->x.inner; j++) {
      int r = compare_elements(u, (o * u->x.n + i) * u->x.inner + j, (o * u->x.n + k) * u->x.inner + j);
      if (r)
        return r;
    }
  return 0;
}

static int by_value(const void *p, const void *q, void *arg) {
  int64_t i = *(const int64_t *)p, k = *(const int64_t *)q;
  int r = compare_slices(arg, i, k);
  return r ? r : i < k ? -1 : i > k;
}

static int by_index(const void *p, const void *q) {
  int64_t i = *(const int64_t *)p, k = *(const int64_t *)q;
  return i < k ? -1 : i > k;
}

/* Slices along `at`; ABSENT: single elements, and *axis is -1. */
static Status open_slices(Eval *e, int64_t at, int *axis, Unique *u) {
  const Tensor *x = e->in[0];
  *axis = -1;
  *u = (Unique){.x = {1, tensor_count(x), 1}};
  if (at != ABSENT) {
    TRY(eval_axis(e, at, x->rank, false, axis));
    u->x = axis_split(x, *axis);
  }
  if (x->dtype == DT_str) {
    u->text = x->data;
    return ST_OK;
  }
  if (dtype_kind(x->dtype) == DK_COMPLEX)
    return eval_unsupported(e, "complex numbers have no order");
  int64_t n = tensor_count(x), *key = arena_array(e->scratch, int64_t, (size_t)n);
  load_keys(x->dtype, x->data, 0, 1, n, INT64_MAX, key);
  u->key = key;
  return ST_OK;
}

/* Positions of the slices as they come in order, equal ones as they stand. */
static int64_t *sorted_slices(Eval *e, const Unique *u) {
  int64_t n = u->x.n, *order = arena_array(e->scratch, int64_t, (size_t)n);
  for (int64_t i = 0; i < n; i++)
    order[i] = i;
  qsort_r(order, (size_t)n, sizeof *order, by_value, (void *)(uintptr_t)u);
  return order;
}

/* first[g]: the first slice of group g, in the order of the output; group[i]: of slice i. Returns the number of groups. */
static int64_t group_slices(Eval *e, const Unique *u, bool sorted, int64_t *first, int64_t *group) {
  int64_t n = u->x.n, groups = 0, *order = sorted_slices(e, u);
  int64_t *rank = arena_array(e->scratch, int64_t, (size_t)n);
  for (int64_t i = 0; i < n; i++) {
    if (!i || compare_slices(u, order[i - 1], order[i]))
      first[groups++] = order[i];
    group[order[i]] = groups - 1;
  }
  if (sorted)
    return groups;
  for (int64_t g = 0; g < groups; g++) /* by first occurrence */
    order[g] = first[g];
  qsort(first, (size_t)groups, sizeof *first, by_index);
  for (int64_t g = 0; g < groups; g++)
    rank[first[g]] = g;
  for (int64_t i = 0; i < n; i++)
    group[i] = rank[order[group[i]]];
  return groups;
}

static Status write_lists(Eval *e, int64_t n, int64_t groups, const int64_t *first, const int64_t *group) {
  Tensor *indices, *inverse, *counts;
  TRY(eval_out(e, 1, DT_i64, 1, &groups, &indices));
  TRY(eval_out(e, 2, DT_i64, 1, &n, &inverse));
  TRY(eval_out(e, 3, DT_i64, 1, &groups, &counts));
  for (int64_t g = 0; g < groups; g++)
    ((int64_t *)indices->data)[g] = first[g], ((int64_t *)counts->data)[g] = 0;
  for (int64_t i = 0; i < n; i++)
    ((int64_t *)inverse->data)[i] = group[i], ((int64_t *)counts->data)[group[i]]++;
  return ST_OK;
}

/* Unique, ONNX 28. */
Status unique_eval(Eval *e) {
  const Tensor *x = e->in[0];
  int64_t dim[MAX_RANK], *first, *group;
  Unique u;
  Tensor *y;
  int axis;
  TRY(open_slices(e, ((const UniqueAttr *)e->attr)->axis, &axis, &u));
  first = arena_array(e->scratch, int64_t, (size_t)u.x.n);
  group = arena_array(e->scratch, int64_t, (size_t)u.x.n);
  int64_t groups = group_slices(e, &u, ((const UniqueAttr *)e->attr)->sorted != 0, first, group);
  memcpy(dim, x->dim, sizeof dim);
  dim[axis < 0 ? 0 : axis] = groups;
  TRY(move_out(e, 0, x->dtype, axis < 0 ? 1 : x->rank, dim, &y));
  for (int64_t o = 0; o < u.x.outer; o++)
    for (int64_t g = 0; g < groups; g++)
      move_run(x->dtype, y->data, (o * groups + g) * u.x.inner, x->data, (o * u.x.n + first[g]) * u.x.inner, u.x.inner);
  TRY(move_done(e, y));
  return write_lists(e, u.x.n, groups, first, group);
}

/* RowOrder (sard). */
Status row_order_eval(Eval *e) {
  const Tensor *x = e->in[0];
  Unique u;
  Tensor *y;
  int axis;
  if (x->rank != 2)
    return eval_fail(e, "rows are of a matrix, not of rank %d", x->rank);
  TRY(open_slices(e, 0, &axis, &u));
  TRY(eval_out(e, 0, DT_i64, 1, x->dim, &y));
  const int64_t *order = sorted_slices(e, &u);
  for (int64_t i = 0; i < u.x.n; i++)
    ((int64_t *)y->data)[i] = order[i];
  return ST_OK;
}

/* --- Det --- */

/* By elimination with the largest pivot of each column. */
static double determinant(double *a, int64_t n) {
  double det = 1;
  for (int64_t k = 0; k < n; k++) {
    int64_t p = k;
    for (int64_t i = k + 1; i < n; i++)
      p = fabs(a[i * n + k]) > fabs(a[p * n + k]) ? i : p;
    if (a[p * n + k] == 0)
      return 0;
    for (int64_t j = 0; p != k && j < n; j++) {
      double t = a[k * n + j];
      a[k * n + j] = a[p * n + j], a[p * n + j] = t;
    }
    det *= p != k ? -a[k * n + k] : a[k * n + k];
    for (int64_t i = k + 1; i < n; i++) {
      double f = a[i * n + k] / a[k * n + k];
      for (int64_t j = k; j < n; j++)
        a[i * n + j] -= f * a[k * n + j];
    }
  }
  return det;
}

/* Det, ONNX 22: of the matrices in the last two axes. */
Status det_eval(Eval *e) {
  const Tensor *x = e->in[0];
  const double *v;
  double *a;
  Tensor *y;
  if (x->rank < 2 || x->dim[x->rank - 1] != x->dim[x->rank - 2])
    return eval_fail(e, "the last two axes must make square matrices");
  int64_t n = x->dim[x->rank - 1];
  TRY(nn_load(e, x, &v));
  TRY(nn_buffer(e, n * n, &a));
  TRY(eval_out(e, 0, x->dtype, x->rank - 2, x->dim, &y));
  for (int64_t i = 0, count = tensor_count(y); i < count; i++) {
    TRY(ctx_poll(e->c));
    if (n)
      memcpy(a, v + i * n * n, (size_t)(n * n) * sizeof *a);
    double d = determinant(a, n);
    nn_store(y, i, &d, 1);
  }
  return ST_OK;
}
