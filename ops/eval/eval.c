/* eval.c - what reference evaluators share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/eval.h"

#include "support/checked.h"

#include <stdio.h>
#include <string.h>

EvalFn eval_find(OpId op) { return op < OP_count ? eval_rows[op].eval : NULL; }

const AttrInfo *eval_attrs(OpId op) { return op && op < OP_count ? eval_rows[op].attrs : &No_attrs; }

OpId eval_op_by_name(const char *domain, const char *name) {
  for (OpId i = 1; i < OP_count; i++)
    if (eval_rows[i].name && !strcmp(eval_rows[i].name, name) && !strcmp(eval_rows[i].domain, domain))
      return i;
  return OP_none;
}

bool eval_has(const Eval *e, int i) { return i < e->nin && e->in[i]; }

static bool wanted(const Eval *e, int i) { return i < e->nout && e->wanted[i]; }

Status eval_out(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out) {
  if (!wanted(e, i))
    return tensor_new(e->c, e->scratch, t, rank, dim, out);
  TRY(e->alloc(e, i, t, rank, dim, out));
  e->out[i] = *out;
  return ST_OK;
}

Status eval_out_like(Eval *e, int i, const Tensor *like, Tensor **out) {
  return eval_out(e, i, like->dtype, like->rank, like->dim, out);
}

Status eval_out_items(Eval *e, int i, ValueKind kind, int64_t n, Tensor **out) {
  Tensor *t = arena_new(e->keep, Tensor);
  t->kind = (uint8_t)kind;
  t->nitem = n;
  t->item = arena_array(e->keep, Tensor *, (size_t)n);
  if (wanted(e, i))
    e->out[i] = t;
  *out = t;
  return ST_OK;
}

Status eval_keep(Eval *e, const Tensor *t, Tensor **out) {
  TRY(tensor_new(e->c, e->keep, t->dtype, t->rank, t->dim, out));
  size_t n = tensor_bytes(t);
  if (n)
    memcpy((*out)->data, t->data, n);
  return ST_OK;
}

static Status fail_with_types(Eval *e, Status kind, const char *fmt, va_list ap) {
  char text[512], types[480] = "", one[160];
  vsnprintf(text, sizeof text, fmt, ap);
  size_t n = 0;
  for (int i = 0; i < e->nin && i < 4; i++) {
    int k = snprintf(types + n, sizeof types - n, "%s%s", i ? ", " : "",
                     e->in[i] ? tensor_type_text(e->in[i], one, sizeof one) : "absent");
    if (k < 0 || (size_t)k >= sizeof types - n)
      break;
    n += (size_t)k;
  }
  return fail(e->c, kind, e->nin ? "%s (inputs: %s%s)" : "%s", text, types, e->nin > 4 ? ", ..." : "");
}

Status eval_fail(Eval *e, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  Status st = fail_with_types(e, ST_INVALID, fmt, ap);
  va_end(ap);
  return st;
}

Status eval_unsupported(Eval *e, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  Status st = fail_with_types(e, ST_UNSUPPORTED, fmt, ap);
  va_end(ap);
  return st;
}

Status eval_axis(Eval *e, int64_t axis, int rank, bool inclusive, int *out) {
  int top = rank + (inclusive ? 1 : 0);
  if (axis < -top || axis >= top)
    return eval_fail(e, "axis %lld is not in [%d, %d]", (long long)axis, -top, top - 1);
  *out = (int)(axis < 0 ? axis + top : axis);
  return ST_OK;
}

Status eval_ints(Eval *e, int i, const int64_t **v, int64_t *n) {
  const Tensor *t = e->in[i];
  *n = tensor_count(t);
  if (!dtype_is_int(t->dtype) && t->dtype != DT_bool)
    return eval_fail(e, "input %d must hold integers", i);
  int64_t *r = arena_array(e->scratch, int64_t, (size_t)*n);
  for (int64_t k = 0; k < *n; k++)
    r[k] = elem_i64(t->dtype, t->data, k);
  *v = r;
  return ST_OK;
}

Status eval_doubles(Eval *e, const Tensor *t, const double **v) {
  int64_t n = tensor_count(t);
  double *r = arena_array(e->scratch, double, (size_t)n);
  for (int64_t k = 0; k < n; k++)
    r[k] = elem_f64(t->dtype, t->data, k);
  *v = r;
  return ST_OK;
}

Status eval_broadcast(Eval *e, int ra, const int64_t *a, int rb, const int64_t *b, int *rank, int64_t *dim) {
  int r = ra > rb ? ra : rb;
  for (int i = 0; i < r; i++) { /* from the last axis */
    int64_t x = i < ra ? a[ra - 1 - i] : 1, y = i < rb ? b[rb - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) {
      char s[128], t[128];
      return eval_fail(e, "shapes %s and %s do not broadcast", shape_text(ra, a, s, sizeof s),
                       shape_text(rb, b, t, sizeof t));
    }
    dim[r - 1 - i] = x == 1 ? y : x;
  }
  *rank = r;
  return ST_OK;
}

void row_major_strides(int rank, const int64_t *dim, int64_t *stride) {
  int64_t s = 1;
  for (int i = rank - 1; i >= 0; i--) {
    stride[i] = s;
    s *= dim[i] > 0 ? dim[i] : 1;
  }
}

void eval_bcast_strides(const Tensor *t, int rank, const int64_t *dim, int64_t *stride) {
  int64_t own[MAX_RANK];
  row_major_strides(t->rank, t->dim, own);
  for (int i = 0; i < rank; i++) {
    int k = i - (rank - t->rank);
    stride[i] = k < 0 || (t->dim[k] == 1 && dim[i] != 1) ? 0 : own[k];
  }
}

bool next_index(int rank, const int64_t *dim, int64_t *idx) {
  for (int i = rank - 1; i >= 0; i--) {
    if (++idx[i] < dim[i])
      return true;
    idx[i] = 0;
  }
  return false;
}
