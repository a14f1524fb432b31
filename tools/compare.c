/* compare.c - comparing tensors within tolerances.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/compare.h"

#include <math.h>
#include <string.h>

static const char *type_of(Arena *a, const Tensor *t) {
  char *s = arena_get(a, 320, 1, 1);
  return tensor_type_text(t, s, 320);
}

static const char *index_text(Arena *a, const Tensor *t, int64_t i) {
  int64_t idx[MAX_RANK] = {0};
  char *s = arena_get(a, 320, 1, 1);
  for (int k = t->rank - 1; k >= 0; k--)
    idx[k] = i % t->dim[k], i /= t->dim[k];
  return shape_text(t->rank, idx, s, 320);
}

/* One number per element; complex numbers count as two. */
static double element(const Tensor *t, int64_t i) {
  double d;
  float f;
  if (t->dtype == DT_c64) {
    memcpy(&f, (const char *)t->data + (size_t)i * 4, 4);
    return f;
  }
  if (t->dtype == DT_c128) {
    memcpy(&d, (const char *)t->data + (size_t)i * 8, 8);
    return d;
  }
  return elem_f64(t->dtype, t->data, i);
}

static double difference(const Tensor *got, const Tensor *want, int64_t i, double g, double w) {
  if (dtype_is_int(got->dtype) && dtype_bits(got->dtype) == 64) { /* above 2^53 doubles would hide a difference */
    uint64_t a = (uint64_t)elem_i64(got->dtype, got->data, i), b = (uint64_t)elem_i64(want->dtype, want->data, i);
    bool less = got->dtype == DT_i64 ? (int64_t)a < (int64_t)b : a < b;
    return (double)(less ? b - a : a - b);
  }
  if (isnan(g) && isnan(w))
    return 0;
  if (!isfinite(g) || !isfinite(w))
    return g == w ? 0 : INFINITY;
  return fabs(g - w);
}

static void compare_numbers(Arena *a, const Tensor *got, const Tensor *want, const Tolerance *tol, Diff *d) {
  bool complex = dtype_kind(got->dtype) == DK_COMPLEX, exact = !dtype_is_float(got->dtype) && !complex;
  int64_t n = tensor_count(got) * (complex ? 2 : 1);
  double largest = 0, rtol = got->dtype == DT_bf16 && tol->bf16_rtol > tol->rtol ? tol->bf16_rtol : tol->rtol;
  for (int64_t i = 0; i < n; i++) {
    double g = element(got, i), w = element(want, i), e = difference(got, want, i, g, w);
    if (isfinite(w) && fabs(w) > largest)
      largest = fabs(w);
    if (tol->relative < 0 ? !(e <= tol->atol + rtol * (isfinite(w) ? fabs(w) : 0)) : (exact && e > 0) || isinf(e))
      d->bad++;
    if (e > d->max_abs) {
      d->max_abs = e, d->worst = i;
      d->got = g, d->want = w;
    }
  }
  d->max_rel = d->max_abs == 0 ? 0 : largest > 0 ? d->max_abs / largest : INFINITY;
  if (tol->relative >= 0 && !exact && !d->bad && d->max_abs > tol->relative * largest)
    d->bad = 1;
  if (d->worst >= 0)
    d->at = index_text(a, got, complex ? d->worst / 2 : d->worst);
  if (!d->bad)
    return;
  d->ok = false;
  if (tol->relative >= 0)
    d->reason = arena_printf(
        a, "largest difference %.3g (%.3g of the largest magnitude, %.3g allowed) at %s: %.9g, expected %.9g",
        d->max_abs, d->max_rel, exact ? 0 : tol->relative, d->at, d->got, d->want);
  else
    d->reason = arena_printf(
        a, "%lld of %lld elements out of tolerance, the largest difference %.3g at %s: %.9g, expected %.9g",
        (long long)d->bad, (long long)n, d->max_abs, d->at, d->got, d->want);
}

static void compare_strings(Arena *a, const Tensor *got, const Tensor *want, Diff *d) {
  const Str *g = got->data, *w = want->data;
  for (int64_t i = 0; i < d->count; i++)
    if (!str_eq(g[i], w[i]) && !d->bad++) {
      d->ok = false, d->worst = i, d->at = index_text(a, got, i);
      d->reason = arena_printf(a, "strings differ at %s: \"%.*s\", expected \"%.*s\"", d->at,
                               (int)(g[i].len < 200 ? g[i].len : 200), g[i].ptr, (int)(w[i].len < 200 ? w[i].len : 200),
                               w[i].ptr);
    }
}

static void compare_items(Arena *a, const Tensor *got, const Tensor *want, const Tolerance *tol, Diff *d) {
  for (int64_t i = 0; i < got->nitem && d->ok; i++) {
    Diff x;
    compare_values(a, got->item[i], want->item[i], tol, &x);
    d->count += x.count, d->bad += x.bad;
    if (!x.ok)
      d->ok = false, d->reason = arena_printf(a, "item %lld: %s", (long long)i, x.reason);
    if (x.max_abs > d->max_abs)
      d->max_abs = x.max_abs, d->max_rel = x.max_rel, d->got = x.got, d->want = x.want, d->at = x.at,
      d->worst = x.worst;
  }
}

/* Fills *d when the two are not of one kind, type and shape. got: what an optional holds, where a tensor is wanted. */
static bool same_type(Arena *a, const Tensor **got, const Tensor *want, Diff *d) {
  const Tensor *g = *got;
  *d = (Diff){.ok = true, .reason = "", .worst = -1, .at = ""};
  if (g->kind == VK_OPTIONAL && want->kind == VK_TENSOR && g->nitem == 1)
    *got = g = g->item[0];
  if (g->kind == want->kind && g->nitem == want->nitem &&
      (g->kind != VK_TENSOR || (g->dtype == want->dtype && tensor_same_shape(g, want))))
    return true;
  d->ok = false;
  d->reason = arena_printf(a, "is %s, expected %s", type_of(a, g), type_of(a, want));
  return false;
}

void compare_types(Arena *a, const Tensor *got, const Tensor *want, Diff *d) {
  if (!same_type(a, &got, want, d) || got->kind == VK_TENSOR)
    return;
  for (int64_t i = 0; i < got->nitem && d->ok; i++)
    compare_types(a, got->item[i], want->item[i], d);
}

void compare_values(Arena *a, const Tensor *got, const Tensor *want, const Tolerance *tol, Diff *d) {
  if (!same_type(a, &got, want, d))
    return;
  if (got->kind != VK_TENSOR) {
    compare_items(a, got, want, tol, d);
    return;
  }
  d->count = tensor_count(got);
  if (got->dtype == DT_str)
    compare_strings(a, got, want, d);
  else
    compare_numbers(a, got, want, tol, d);
}
