/* sequence.c - inference of sequences of tensors and of optionals.
 *
 * A sequence's element type says what all elements share. An extent in which they may differ is a symbol named vary_N;
 * whoever takes an element out gives it an extent of its own in place of that symbol. Sequences put together and taken
 * apart by nodes in sight (SequenceConstruct, SequenceInsert, SplitToSequence) are seen through.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/content.h"
#include "ops/ops.h"

#include <string.h>

enum { MAX_SEEN = 256 }; /* elements of a sequence that are followed one by one */

static void set_sequence(Infer *x, int i, const Type *elem) {
  Type *kept = elem ? arena_copy(x->arena, elem, sizeof *elem) : NULL;
  set_out_type(x, i, (Type){.kind = VK_SEQUENCE, .rank = -1, .elem = kept});
}

/* False: the type of input 0 is not known. */
static Status need_sequence(Infer *x, bool *known) {
  const Type *t = in_type(x, 0);
  *known = t->kind == VK_SEQUENCE;
  if (*known || (t->kind == VK_TENSOR && !t->dtype && t->rank < 0))
    return ST_OK;
  return infer_fail(x, "input 0 must be a sequence");
}

static bool varies(Dim d) { return d->kind == DIM_SYM && !strncmp(d->name, "vary_", 5); }

/* The symbol for "differs" on an axis of output 0's elements; the same one when inferred again. */
static Dim vary(Infer *x, int rank, int axis) {
  const Type *old = x->n->out[0] ? x->n->out[0]->type.elem : NULL;
  if (old && old->kind == VK_TENSOR && old->rank == rank && varies(old->dim[axis]))
    return old->dim[axis];
  return dim_fresh(x->c, "vary");
}

/* What elements of types a and b share, in a. */
static void join(Infer *x, Type *a, const Type *b) {
  if (a->kind != VK_TENSOR || b->kind != VK_TENSOR || a->rank != b->rank) {
    a->rank = -1;
    return;
  }
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i] && !varies(a->dim[i]))
      a->dim[i] = varies(b->dim[i]) ? b->dim[i] : vary(x, a->rank, i);
}

/* The values a sequence holds, in order, when the nodes that made it are in sight. Returns how many, or -1. */
static int items_of(const Value *v, Value **item, int depth) {
  const Node *n = v->def;
  int count = -1;
  int64_t at, k;
  const int64_t *elem;
  if (!n || depth > MAX_SEEN)
    return -1;
  if (n->op == OP_SequenceEmpty)
    return 0;
  if (n->op == OP_SequenceConstruct && n->nin <= MAX_SEEN) {
    memcpy(item, n->in, n->nin * sizeof *item);
    return n->nin;
  }
  if (n->op == OP_SequenceInsert && n->in[0] && n->in[1])
    count = items_of(n->in[0], item, depth + 1);
  if (count < 0 || count >= MAX_SEEN)
    return -1;
  at = count;
  if (n->nin > 2 && n->in[2]) {
    if (!value_ints(n->in[2], &elem, &k, n->graph->arena) || k != 1 || *elem < -count || *elem > count)
      return -1;
    at = *elem < 0 ? *elem + count : *elem;
  }
  memmove(item + at + 1, item + at, (size_t)(count - at) * sizeof *item);
  item[at] = n->in[1];
  return count + 1;
}

/* Output i as one element of a sequence of such elements. */
static void set_element(Infer *x, int i, const Type *elem) {
  Type t;
  if (!elem)
    return;
  t = *elem;
  for (int k = 0; t.kind == VK_TENSOR && k < t.rank; k++)
    if (varies(t.dim[k]))
      t.dim[k] = run_dim(x, i, t.rank, k, "item");
  set_out_type(x, i, t);
}

Status sequence_construct_infer(Infer *x) {
  Type elem = *in_type(x, 0);
  for (int i = 1; i < x->n->nin; i++) {
    if (!has_in(x, i))
      return infer_fail(x, "input %d is missing", i);
    join(x, &elem, in_type(x, i));
  }
  set_sequence(x, 0, &elem);
  return ST_OK;
}

Status sequence_empty_infer(Infer *x) {
  int64_t t = ATTR(x->n, SequenceEmpty)->dtype;
  if (t != ABSENT && (t < 0 || t >= DT_count || !dtype_valid((int)t)))
    return infer_fail(x, "dtype %lld is not known", (long long)t);
  Type elem = type_tensor(t == ABSENT ? DT_f32 : (DType)t, -1, NULL);
  set_sequence(x, 0, &elem);
  return ST_OK;
}

/* Element `at` of the parts that SplitToSequence node n makes: its extent on the axis; NULL: not known. */
static Dim part_extent(Infer *x, const Node *n, int64_t at, Dim extent) {
  const int64_t *v;
  int64_t k, each = 1, from = 0;
  if (n->nin > 1 && n->in[1]) {
    if (!value_ints(n->in[1], &v, &k, x->arena) || k < 1)
      return NULL;
    if (n->in[1]->type.rank == 1)
      return at >= 0 && at < k ? dim_const(x->c, v[at]) : at < 0 && at >= -k ? dim_const(x->c, v[at + k]) : NULL;
    each = v[0];
  }
  if (at < 0 || each < 1 || __builtin_mul_overflow(at, each, &from))
    return NULL;
  Dim left = dim_sub(x->c, extent, dim_const(x->c, from)), size = dim_const(x->c, each);
  return dim_at_least(x->c, left, size)                 ? size
         : dim_at_least(x->c, left, dim_const(x->c, 1)) ? dim_min(x->c, left, size)
                                                        : NULL;
}

/* SequenceAt of SplitToSequence at a constant position. */
static bool element_of_split(Infer *x, int64_t at, Type *t) {
  const Node *n = x->n->in[0]->def;
  if (!n || n->op != OP_SplitToSequence || n->in[0]->type.kind != VK_TENSOR || n->in[0]->type.rank < 1)
    return false;
  const SplitToSequenceAttr *a = ATTR(n, SplitToSequence);
  int64_t axis = a->axis < 0 ? a->axis + n->in[0]->type.rank : a->axis;
  bool drop = !(n->nin > 1 && n->in[1]) && !a->keepdims;
  Dim size;
  if (drop || axis < 0 || axis >= n->in[0]->type.rank)
    return false;
  size = part_extent(x, n, at, n->in[0]->type.dim[axis]);
  if (!size)
    return false;
  *t = n->in[0]->type;
  t->dim[axis] = size;
  return true;
}

Status sequence_at_infer(Infer *x) {
  bool known;
  const int64_t *at;
  int64_t k;
  Value *item[MAX_SEEN + 1];
  Type t;
  TRY(need_sequence(x, &known));
  if (few_ints(x, 1, &at, &k) && k == 1) {
    int n = items_of(x->n->in[0], item, 0);
    if (n >= 0 && (*at < -n || *at >= n))
      return infer_fail(x, "position %lld is out of range for a sequence of %d", (long long)*at, n);
    if (n >= 0) {
      set_out_type(x, 0, item[*at < 0 ? *at + n : *at]->type);
      return ST_OK;
    }
    if (element_of_split(x, *at, &t)) {
      set_out_type(x, 0, t);
      return ST_OK;
    }
  }
  if (known)
    set_element(x, 0, in_type(x, 0)->elem);
  return ST_OK;
}

Status sequence_insert_infer(Infer *x) {
  bool known;
  Value *item[MAX_SEEN + 1];
  const Type *t = in_type(x, 1);
  TRY(need_sequence(x, &known));
  const Type *elem = known ? in_type(x, 0)->elem : NULL;
  if (elem && elem->kind == VK_TENSOR && t->kind == VK_TENSOR && elem->dtype && t->dtype && elem->dtype != t->dtype)
    return infer_fail(x, "a %s does not go into a sequence of %s", dtype_name(t->dtype), dtype_name(elem->dtype));
  Type both = *t;
  if (items_of(x->n->in[0], item, 0)) { /* not known to be empty */
    if (elem)
      join(x, &both, elem);
    else
      both.rank = -1;
  }
  set_sequence(x, 0, &both);
  return ST_OK;
}

Status sequence_erase_infer(Infer *x) {
  bool known;
  TRY(need_sequence(x, &known));
  set_sequence(x, 0, known ? in_type(x, 0)->elem : NULL);
  return ST_OK;
}

Status sequence_length_infer(Infer *x) {
  bool known;
  Value *item[MAX_SEEN + 1];
  TRY(need_sequence(x, &known));
  set_out(x, 0, DT_i64, 0, NULL);
  int n = items_of(x->n->in[0], item, 0);
  if (n >= 0) {
    Dim d = dim_const(x->c, n);
    set_content(x, 0, &d);
  }
  return ST_OK;
}

Status split_to_sequence_infer(Infer *x) {
  const SplitToSequenceAttr *a = ATTR(x->n, SplitToSequence);
  int rank, axis;
  const int64_t *v = NULL;
  int64_t k, extent;
  Type t = *in_type(x, 0);
  bool sized = has_in(x, 1);
  if (!known_rank(x, 0, &rank)) {
    t = type_tensor(t.kind == VK_TENSOR ? t.dtype : DT_none, -1, NULL);
    set_sequence(x, 0, &t);
    return ST_OK;
  }
  TRY(norm_axis(x, a->axis, rank, false, &axis));
  if (!sized && !a->keepdims) {
    memmove(t.dim + axis, t.dim + axis + 1, (size_t)(rank - axis - 1) * sizeof *t.dim);
    t.rank--;
    set_sequence(x, 0, &t);
    return ST_OK;
  }
  Dim size = sized ? NULL : dim_const(x->c, 1);
  if (sized && few_ints(x, 1, &v, &k) && k > 0) {
    bool even = in_type(x, 1)->rank == 1 || (dim_is_const(t.dim[axis], &extent) && v[0] > 0 && extent % v[0] == 0);
    for (int64_t i = 0; i < k; i++)
      even &= v[i] == v[0];
    size = even ? dim_const(x->c, v[0]) : NULL;
  }
  t.dim[axis] = size ? size : vary(x, rank, axis);
  set_sequence(x, 0, &t);
  return ST_OK;
}

/* Extent of the joined axis: the sum over the items, when they are in sight. */
static Dim joined_extent(Infer *x, bool stacked, int rank, int axis) {
  Value *item[MAX_SEEN + 1];
  int n = items_of(x->n->in[0], item, 0);
  Dim sum = dim_const(x->c, n);
  if (n >= 0 && stacked)
    return sum;
  sum = dim_const(x->c, 0);
  for (int i = 0; i < n; i++) {
    if (item[i]->type.kind != VK_TENSOR || item[i]->type.rank != rank)
      n = -1;
    else
      sum = dim_add(x->c, sum, item[i]->type.dim[axis]);
  }
  return n >= 0 ? sum : run_dim(x, 0, rank, axis, "joined");
}

Status concat_from_sequence_infer(Infer *x) {
  const ConcatFromSequenceAttr *a = ATTR(x->n, ConcatFromSequence);
  bool known, stacked = a->new_axis != 0;
  int axis, r = 0;
  Dim dim[MAX_RANK];
  TRY(need_sequence(x, &known));
  const Type *elem = known ? in_type(x, 0)->elem : NULL;
  if (!elem || elem->kind != VK_TENSOR)
    return ST_OK;
  if (elem->rank < 0) {
    x->out[0].dtype = elem->dtype;
    return ST_OK;
  }
  TRY(check_rank(x, elem->rank + stacked));
  TRY(norm_axis(x, a->axis, elem->rank, stacked, &axis));
  int rank = elem->rank + stacked;
  for (int i = 0; i < rank; i++) {
    if (i == axis)
      dim[i] = joined_extent(x, stacked, rank, axis);
    else
      dim[i] = varies(elem->dim[r]) ? run_dim(x, 0, rank, i, "item") : elem->dim[r];
    r += !(stacked && i == axis);
  }
  set_out(x, 0, elem->dtype, rank, dim);
  return ST_OK;
}

Status optional_infer(Infer *x) {
  Type *elem = has_in(x, 0) ? arena_copy(x->arena, in_type(x, 0), sizeof *elem) : NULL;
  set_out_type(x, 0, (Type){.kind = VK_OPTIONAL, .rank = -1, .elem = elem});
  return ST_OK;
}

Status optional_has_element_infer(Infer *x) {
  set_out(x, 0, DT_bool, 0, NULL);
  return ST_OK;
}

Status optional_get_element_infer(Infer *x) {
  const Type *t = in_type(x, 0);
  if (t->kind != VK_OPTIONAL)
    set_out_like(x, 0, 0);
  else if (t->elem)
    set_out_type(x, 0, *t->elem);
  return ST_OK;
}
