/* counts.c - how many elements are chosen is for the data to say: NonZero, Compress, NonMaxSuppression and Unique as running
 * counts, which say where each chosen element goes, and scatters into a result of the size that the last count is. What is
 * not chosen goes to one place behind it, which is cut off. All of it has kernels. Needs: types inferred, ranks known.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

static Value *number(Match *m, int v) { return const_like(m, v, DT_i64); }

/* x as one axis. */
static Value *flat(Match *m, Value *x) {
  return x->type.rank == 1 ? x : EMIT(m, Reshape, NULL, x, const_ints(m, (const int64_t[]){-1}, 1));
}

typedef struct Choice {
  Value *place; /* i64[n]: where element i of the flat mask goes; `count` when it is not chosen */
  Value *count; /* i64[1] */
  Value *room;  /* i64[1]: count + 1 */
} Choice;

static Choice choose(Match *m, Value *mask) {
  CastAttr to = {.to = DT_i64, .saturate = 1};
  Choice k;
  if (mask->type.dtype != DT_bool)
    mask = EMIT(m, Not, NULL, EMIT(m, Equal, NULL, mask, const_like(m, 0, mask->type.dtype)));
  mask = flat(m, mask);
  Value *one = EMIT(m, Cast, &to, mask), *unit = const_ints(m, (const int64_t[]){1}, 1);
  Value *upto = EMIT(m, CumSum, NULL, one, number(m, 0));
  k.count = EMIT(m, ReduceSum, NULL, one);
  if (k.count->told)
    dim_narrow(m->c, k.count->content[0], 0, one->type.dim[0]->hi);
  k.room = EMIT(m, Add, NULL, k.count, unit);
  k.place = EMIT(m, Where, NULL, mask, EMIT(m, Sub, NULL, upto, unit), k.count);
  return k;
}

/* Of i64 values, one per element of the mask, the chosen ones. */
static Value *pick(Match *m, const Choice *k, Value *values) {
  ConstantOfShapeAttr zeros = {.value = tensor_vec_i64(m->g->arena, (const int64_t[]){0}, 1)};
  Value *all =
      EMIT(m, ScatterElements, NULL, emit(m, OP_ConstantOfShape, &zeros, 1, (Value *[]){k->room}), k->place, values);
  return EMIT(m, Slice, NULL, all, const_ints(m, (const int64_t[]){0}, 1), k->count);
}

/* 0, 1, … along axis a of x. */
static Value *numbers_along(Match *m, Value *x, int a) {
  ShapeAttr part = {.start = a, .end = a + 1};
  return EMIT(m, Range, NULL, number(m, 0), EMIT(m, Shape, &part, x), number(m, 1));
}

/* The same at every element of x in order. */
static Value *coordinate(Match *m, Value *x, int a) {
  int64_t shape[MAX_RANK];
  Value *along = numbers_along(m, x, a);
  if (x->type.rank == 1)
    return along;
  for (int i = 0; i < x->type.rank; i++)
    shape[i] = i == a ? -1 : 1;
  along = EMIT(m, Reshape, NULL, along, const_ints(m, shape, x->type.rank));
  return flat(m, EMIT(m, Expand, NULL, along, EMIT(m, Shape, NULL, x)));
}

/* Few integers are counted on the host. */
static bool countable(const Value *x) {
  return type_known(x) && !x->konst && x->type.rank > 0 && x->type.dtype != DT_str;
}

static Value *nonzero(Match *m) {
  Value *x = m->root->in[0], *row[MAX_RANK];
  int r = x->type.rank;
  ConcatAttr rows = {.axis = 0};
  if (!countable(x) || dtype_kind(x->type.dtype) == DK_COMPLEX) /* which have no Equal */
    return NULL;
  Choice k = choose(m, x);
  for (int a = 0; a < r; a++)
    row[a] = EMIT(m, Unsqueeze, NULL, pick(m, &k, coordinate(m, x, a)), const_ints(m, (const int64_t[]){0}, 1));
  return r == 1 ? row[0] : emit(m, OP_Concat, &rows, r, row);
}

static Value *compress(Match *m) {
  Node *n = m->root;
  int64_t axis = ATTR(n, Compress)->axis;
  GatherAttr along = {.axis = axis == ABSENT ? 0 : axis};
  if (!countable(n->in[0]) || !countable(n->in[1]) || n->in[1]->type.rank != 1)
    return NULL;
  Choice k = choose(m, n->in[1]);
  Value *x = axis == ABSENT ? flat(m, n->in[0]) : n->in[0];
  return EMIT(m, Gather, &along, x, pick(m, &k, coordinate(m, n->in[1], 0)));
}

/* A TopK of all elements along the last axis: equal ones by position, NaN above all. */
static Node *in_order(Match *m, Value *x, bool largest) {
  TopKAttr sort = {.axis = -1, .largest = largest, .sorted = 1};
  ShapeAttr last = {.start = -1, .end = ABSENT};
  Value *in[2] = {x, EMIT(m, Shape, &last, x)};
  Node *top = graph_add_node(m->g, m->root, OP_TopK, 2, 2, &sort, m->root->origin);
  node_set_inputs(top, 2, in);
  Status st = m->st ? m->st : node_infer(m->c, top);
  m->st = st;
  return top;
}

/* --- NonMaxSuppression --- */

/* Input i as a scalar; NULL: it is not given. False: it may be something else than one number. */
static bool scalar_input(Match *m, int i, Value **v) {
  Node *n = m->root;
  *v = i < n->nin ? n->in[i] : NULL;
  if (!*v)
    return true;
  if (!type_known(*v) || (*v)->type.rank > 1 || ((*v)->type.rank && !dim_is((*v)->type.dim[0], 1)))
    return false;
  if ((*v)->type.rank)
    *v = EMIT(m, Squeeze, NULL, *v, const_ints(m, (const int64_t[]){0}, 1));
  return true;
}

static bool shapes_agree(const Value *boxes, const Value *scores) {
  return type_known(boxes) && type_known(scores) && boxes->type.rank == 3 && scores->type.rank == 3 &&
         boxes->type.dim[0] == scores->type.dim[0] && boxes->type.dim[1] == scores->type.dim[2] &&
         dim_is(boxes->type.dim[2], 4);
}

/* The boxes by falling score, class by class; those that are kept, in order, then -1; of these the ones from 0 up. */
static Value *suppression(Match *m) {
  Node *n = m->root;
  Value *boxes = n->in[0], *scores = n->in[1], *most, *iou, *score, *column[3];
  ConcatAttr columns = {.axis = 1};
  if (!shapes_agree(boxes, scores) || !scalar_input(m, 2, &most) || !scalar_input(m, 3, &iou) ||
      !scalar_input(m, 4, &score))
    return NULL;
  Value *order = in_order(m, scores, true)->out[1];
  Value *in[6] = {boxes, scores, order, most ? most : number(m, 0), iou ? iou : const_like(m, 0, DT_f32), score};
  Value *kept = emit(m, OP_Suppress, n->attr, score ? 6 : 5, in);
  Choice k = choose(m, EMIT(m, GreaterOrEqual, NULL, kept, number(m, 0)));
  for (int i = 0; i < 3; i++) {
    column[i] = pick(m, &k, i < 2 ? coordinate(m, kept, i) : flat(m, kept));
    column[i] = EMIT(m, Unsqueeze, NULL, column[i], const_ints(m, (const int64_t[]){1}, 1));
  }
  return emit(m, OP_Concat, &columns, 3, column);
}

/* --- Unique --- */

/* Is element or row i of sorted x another than the one before? NaN equals NaN. */
static Value *starts_group(Match *m, Value *x) {
  Value *place = numbers_along(m, x, 0),
        *left = EMIT(m, Max, NULL, EMIT(m, Sub, NULL, place, number(m, 1)), number(m, 0));
  Value *before = EMIT(m, Gather, NULL, x, left);
  Value *same = EMIT(m, Equal, NULL, x, before);
  ReduceAttr all = {.keepdims = 0};
  if (dtype_is_float(x->type.dtype)) {
    Value *nan = EMIT(m, And, NULL, EMIT(m, IsNaN, NULL, x), EMIT(m, IsNaN, NULL, before));
    same = EMIT(m, Or, NULL, same, nan);
  }
  if (x->type.rank > 1)
    same = EMIT(m, ReduceMin, &all, same, const_ints(m, (const int64_t[]){1}, 1));
  return EMIT(m, Or, NULL, EMIT(m, Equal, NULL, place, number(m, 0)), EMIT(m, Not, NULL, same));
}

/* to[at[i]] = v[i] in place of zeros, `n` (i64[1]) of them; added up when `sum`. */
static Value *spread(Match *m, Value *n, Value *at, Value *v, bool sum) {
  ConstantOfShapeAttr zeros = {.value = tensor_vec_i64(m->g->arena, (const int64_t[]){0}, 1)};
  ScatterElementsAttr put = {.reduction = str_of(sum ? "add" : "none")};
  return EMIT(m, ScatterElements, &put, emit(m, OP_ConstantOfShape, &zeros, 1, &n), at, v);
}

/* The slices along the axis as rows of a matrix. */
static Value *as_rows(Match *m, Value *x, int axis) {
  int64_t perm[MAX_RANK];
  TransposeAttr to_front = {.perm = {perm, x->type.rank}};
  FlattenAttr rows = {.axis = 1};
  perm[0] = axis;
  for (int i = 0; i < x->type.rank - 1; i++)
    perm[i + 1] = i + (i >= axis);
  return EMIT(m, Flatten, &rows, axis ? EMIT(m, Transpose, &to_front, x) : x);
}

/* x, or its slices along the axis as rows, in order; and which they are. Booleans are compared as bytes. */
static Value *in_order_along(Match *m, Value *x, int axis, Value **order) {
  CastAttr bytes = {.to = DT_u8, .saturate = 1};
  x = x->type.dtype == DT_bool ? EMIT(m, Cast, &bytes, x) : x;
  if (x->type.rank > 1) {
    x = as_rows(m, x, axis);
    *order = EMIT(m, RowOrder, NULL, x);
    return EMIT(m, Gather, NULL, x, *order);
  }
  Node *top = in_order(m, x, false);
  *order = top->out[1];
  return top->out[0];
}

/* Sorted, what is found once or more falls into groups; the first of a group is the first to occur, as the sort is stable. */
static Value *unique(Match *m) {
  Node *n = m->root;
  const UniqueAttr *a = ATTR(n, Unique);
  CastAttr to = {.to = DT_i64, .saturate = 1};
  ShapeAttr whole = {.start = 0, .end = 1};
  Value *x = n->in[0], *unit = const_ints(m, (const int64_t[]){1}, 1), *order;
  if (!countable(x) || dtype_kind(x->type.dtype) == DK_COMPLEX)
    return NULL;
  int axis = (int)(a->axis == ABSENT ? 0 : a->axis < 0 ? a->axis + x->type.rank : a->axis);
  x = a->axis == ABSENT ? flat(m, x) : x;
  Value *sorted = in_order_along(m, x, axis, &order);
  if (m->st)
    return x;
  Value *starts = starts_group(m, sorted);
  Choice k = choose(m, starts);
  Value *first = pick(m, &k, order);
  Value *group = EMIT(m, CumSum, NULL, EMIT(m, Cast, &to, starts), number(m, 0));
  group = EMIT(m, Sub, NULL, group, unit);
  Value *all = EMIT(m, Shape, &whole, sorted), *inverse = spread(m, all, order, group, false);
  if (!a->sorted) { /* groups by their first elements */
    Node *by_place = in_order(m, first, false);
    Value *rank = spread(m, k.count, by_place->out[1], coordinate(m, first, 0), false);
    first = by_place->out[0];
    inverse = EMIT(m, Gather, NULL, rank, inverse);
  }
  Value *ones = EMIT(m, Expand, NULL, unit, all), *counts = spread(m, k.count, inverse, ones, true);
  Value *lists[] = {NULL, first, inverse, counts};
  GatherAttr along = {.axis = axis};
  for (int i = 1; i < n->nout && !m->st; i++)
    if (n->out[i])
      replace_value(n->out[i], lists[i]);
  return EMIT(m, Gather, &along, x, first);
}

static const Rule rules[] = {
    {"boxes by running counts", OPERATOR(NonMaxSuppression), suppression},
    {"groups by running counts", OPERATOR(Unique), unique},
    {"positions by running counts", OPERATOR(NonZero), nonzero},
    {"chosen slices by running counts", OPERATOR(Compress), compress},
};

Status pass_counts(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
