/* sequence.c - sequences of tensors, and optionals: SequenceConstruct, SequenceEmpty, SequenceAt, SequenceInsert,
 * SequenceErase, SequenceLength, ConcatFromSequence 11, SplitToSequence 24, Optional 15, OptionalHasElement,
 * OptionalGetElement 28.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/concat.h"
#include "ops/eval/items.h"
#include "ops/eval/move.h"

#include <string.h>

/* A copy in e->keep of a tensor with its strings, or of a container with its items. */
static Status item_copy(Eval *e, const Tensor *x, Tensor **out) {
  if (x->kind == VK_TENSOR) {
    TRY(eval_keep(e, x, out));
    return move_done(e, *out);
  }
  Tensor *t = arena_new(e->keep, Tensor);
  t->kind = x->kind, t->nitem = x->nitem;
  t->item = arena_array(e->keep, Tensor *, (size_t)x->nitem);
  for (int64_t i = 0; i < x->nitem; i++)
    TRY(item_copy(e, x->item[i], &t->item[i]));
  *out = t;
  return ST_OK;
}

Status items_copy(Eval *e, int i, const Tensor *x) {
  Tensor *t;
  if (x->kind == VK_MAP)
    return eval_unsupported(e, "a map as an output of this operator");
  TRY(eval_out_items(e, i, (ValueKind)x->kind, x->nitem, &t));
  for (int64_t k = 0; k < x->nitem; k++)
    TRY(item_copy(e, x->item[k], &t->item[k]));
  return ST_OK;
}

/* Output 0 with x's value, whatever its kind. */
static Status out_value(Eval *e, const Tensor *x) {
  Tensor *y;
  if (x->kind != VK_TENSOR)
    return items_copy(e, 0, x);
  TRY(eval_out_like(e, 0, x, &y));
  size_t n = tensor_bytes(x);
  if (n)
    memcpy(y->data, x->data, n);
  return move_done(e, y);
}

static Status need_sequence(Eval *e) {
  return e->in[0]->kind == VK_SEQUENCE ? ST_OK : eval_fail(e, "input 0 must be a sequence");
}

/* The position in input i, of a sequence of n (when inserting: up to n). */
static Status position(Eval *e, int i, bool insert, int64_t *at) {
  const int64_t *v;
  int64_t k, n = e->in[0]->nitem;
  TRY(eval_ints(e, i, &v, &k));
  if (k != 1)
    return eval_fail(e, "the position must be a scalar");
  if (*v < -n || *v >= n + insert)
    return eval_fail(e, "position %lld is out of range for a sequence of %lld", (long long)*v, (long long)n);
  *at = *v < 0 ? *v + n : *v;
  return ST_OK;
}

Status sequence_construct_eval(Eval *e) {
  Tensor *y;
  for (int i = 0; i < e->nin; i++)
    if (!eval_has(e, i) || e->in[i]->kind != VK_TENSOR || e->in[i]->dtype != e->in[0]->dtype)
      return eval_fail(e, "the inputs must be tensors of one type");
  TRY(eval_out_items(e, 0, VK_SEQUENCE, e->nin, &y));
  for (int i = 0; i < e->nin; i++)
    TRY(item_copy(e, e->in[i], &y->item[i]));
  return ST_OK;
}

Status sequence_empty_eval(Eval *e) {
  Tensor *y;
  return eval_out_items(e, 0, VK_SEQUENCE, 0, &y);
}

Status sequence_at_eval(Eval *e) {
  int64_t at = 0;
  TRY(need_sequence(e));
  TRY(position(e, 1, false, &at));
  return out_value(e, e->in[0]->item[at]);
}

Status sequence_insert_eval(Eval *e) {
  const Tensor *s = e->in[0], *t = e->in[1];
  int64_t at = s->nitem;
  Tensor *y;
  TRY(need_sequence(e));
  if (s->nitem && (t->kind != s->item[0]->kind || t->dtype != s->item[0]->dtype))
    return eval_fail(e, "the tensor has another type than those in the sequence");
  if (eval_has(e, 2))
    TRY(position(e, 2, true, &at));
  TRY(eval_out_items(e, 0, VK_SEQUENCE, s->nitem + 1, &y));
  for (int64_t i = 0; i <= s->nitem; i++)
    TRY(item_copy(e, i == at ? t : s->item[i - (i > at)], &y->item[i]));
  return ST_OK;
}

Status sequence_erase_eval(Eval *e) {
  const Tensor *s = e->in[0];
  int64_t at = s->nitem - 1;
  Tensor *y;
  TRY(need_sequence(e));
  if (!s->nitem)
    return eval_fail(e, "the sequence is empty");
  if (eval_has(e, 1))
    TRY(position(e, 1, false, &at));
  TRY(eval_out_items(e, 0, VK_SEQUENCE, s->nitem - 1, &y));
  for (int64_t i = 0; i + 1 < s->nitem; i++)
    TRY(item_copy(e, s->item[i + (i >= at)], &y->item[i]));
  return ST_OK;
}

Status sequence_length_eval(Eval *e) {
  Tensor *y;
  TRY(need_sequence(e));
  TRY(eval_out(e, 0, DT_i64, 0, NULL, &y));
  *(int64_t *)y->data = e->in[0]->nitem;
  return ST_OK;
}

/* Sizes of the parts of an axis: all `each`, the last smaller; or listed, adding up to extent. */
static Status sequence_parts(Eval *e, int64_t extent, int64_t *n, const int64_t **list, int64_t *each) {
  const int64_t *v;
  int64_t k, left = extent;
  *list = NULL, *each = 1;
  if (eval_has(e, 1)) {
    TRY(eval_ints(e, 1, &v, &k));
    if (e->in[1]->rank > 1)
      return eval_fail(e, "split must have rank 0 or 1");
    if (!e->in[1]->rank) {
      if (*v < 1)
        return eval_fail(e, "split is %lld", (long long)*v);
      *each = *v;
    } else {
      for (int64_t i = 0; i < k; i++) {
        if (v[i] < 0 || v[i] > left)
          return eval_fail(e, "split[%lld] is %lld, and %lld are left on the axis", (long long)i, (long long)v[i],
                           (long long)left);
        left -= v[i];
      }
      if (left)
        return eval_fail(e, "the parts leave %lld of the axis", (long long)left);
      *list = v, *n = k;
      return ST_OK;
    }
  }
  *n = extent ? (extent - 1) / *each + 1 : 0;
  return ST_OK;
}

Status split_to_sequence_eval(Eval *e) {
  const SplitToSequenceAttr *a = e->attr;
  const Tensor *x = e->in[0];
  const int64_t *list;
  int64_t n = 0, each = 1, dim[MAX_RANK], from = 0;
  int axis, r = 0;
  bool drop = !eval_has(e, 1) && !a->keepdims;
  Tensor *y;
  TRY(eval_axis(e, a->axis, x->rank, false, &axis));
  TRY(sequence_parts(e, x->dim[axis], &n, &list, &each));
  TRY(eval_out_items(e, 0, VK_SEQUENCE, n, &y));
  for (int i = 0; i < x->rank; i++)
    if (!(drop && i == axis))
      dim[r++] = x->dim[i];
  for (int64_t k = 0; k < n; k++) {
    int64_t left = x->dim[axis] - from, size = list ? list[k] : left < each ? left : each;
    if (!drop)
      dim[axis] = size;
    TRY(tensor_new(e->c, e->keep, x->dtype, r, dim, &y->item[k]));
    split_copy(x, axis, from, size, y->item[k]);
    TRY(move_done(e, y->item[k]));
    from += size;
  }
  return ST_OK;
}

Status concat_from_sequence_eval(Eval *e) {
  const ConcatFromSequenceAttr *a = e->attr;
  const Tensor *s = e->in[0];
  Tensor *y, *wide;
  TRY(need_sequence(e));
  if (!s->nitem)
    return eval_fail(e, "an empty sequence cannot be concatenated");
  const Tensor **x = arena_array(e->scratch, const Tensor *, (size_t)s->nitem);
  for (int64_t k = 0; k < s->nitem; k++) {
    x[k] = s->item[k];
    if (x[k]->kind != VK_TENSOR)
      return eval_fail(e, "the sequence does not hold tensors");
    if (!a->new_axis)
      continue;
    int axis; /* stacked: each item gets an axis of 1 */
    TRY(move_rank(e, x[k]->rank + 1));
    TRY(eval_axis(e, a->axis, x[k]->rank, true, &axis));
    wide = arena_new(e->scratch, Tensor);
    *wide = *x[k];
    for (int i = wide->rank++; i > axis; i--)
      wide->dim[i] = wide->dim[i - 1];
    wide->dim[axis] = 1;
    x[k] = wide;
  }
  return concat_tensors(e, s->nitem, x, a->axis, &y);
}

Status optional_eval(Eval *e) {
  Tensor *y;
  bool one = eval_has(e, 0);
  TRY(eval_out_items(e, 0, VK_OPTIONAL, one, &y));
  return one ? item_copy(e, e->in[0], &y->item[0]) : ST_OK;
}

Status optional_has_element_eval(Eval *e) {
  const Tensor *x = eval_has(e, 0) ? e->in[0] : NULL;
  Tensor *y;
  TRY(eval_out(e, 0, DT_bool, 0, NULL, &y));
  *(uint8_t *)y->data = x && (x->kind != VK_OPTIONAL || x->nitem);
  return ST_OK;
}

Status optional_get_element_eval(Eval *e) {
  const Tensor *x = e->in[0];
  if (x->kind == VK_OPTIONAL && !x->nitem)
    return eval_fail(e, "the optional is empty");
  return out_value(e, x->kind == VK_OPTIONAL ? x->item[0] : x);
}
