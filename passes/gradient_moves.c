/* gradient_moves.c - derivatives of what moves elements: each element's gradient goes back to where it came from.
 * SPDX-License-Identifier: Apache-2.0 */
#include "passes/gradient.h"

/* The bytes stay in order: Reshape, Flatten, Squeeze, Unsqueeze, Identity. */
void back_reshape(Back *b) { give(b, 0, shaped_like(b, b->dy[0], b->n->in[0])); }

void back_transpose(Back *b) {
  int64_t perm[MAX_RANK], back[MAX_RANK];
  int rank;
  if (!perm_of(b->n, perm, &rank)) {
    no_rule(b, "meets a tensor of unknown rank");
    return;
  }
  for (int i = 0; i < rank; i++)
    back[perm[i]] = i;
  give(b, 0, transpose_by(&b->m, b->dy[0], back, rank));
}

/* The extent of x along an axis, as a vector of one. */
static Value *extent(Back *b, Value *x, int axis) {
  ShapeAttr one = {.start = axis, .end = axis + 1};
  return EMIT(&b->m, Shape, &one, x);
}

void back_concat(Back *b) {
  Node *n = b->n;
  int axis = axis_of(ATTR(n, Concat)->axis, n->out[0]);
  if (axis < 0) {
    no_rule(b, "meets a tensor of unknown rank");
    return;
  }
  Value *along = const_ints(&b->m, (int64_t[]){axis}, 1), *from = const_ints(&b->m, (int64_t[]){0}, 1);
  for (int i = 0; i < n->nin; i++) {
    Value *to = add(b, from, extent(b, n->in[i], axis));
    if (wants(b, i))
      give(b, i, EMIT(&b->m, Slice, NULL, b->dy[0], from, to, along));
    from = to;
  }
}

void back_split(Back *b) {
  Node *n = b->n;
  ConcatAttr along = {.axis = ATTR(n, Split)->axis};
  Value **part = arena_array(b->m.g->arena, Value *, n->nout);
  for (int i = 0; i < n->nout; i++)
    part[i] = b->dy[i] ? b->dy[i] : zeros_like(b, also_output(b, i));
  give(b, 0, emit(&b->m, OP_Concat, &along, n->nout, part));
}

void back_expand(Back *b) { give(b, 0, b->dy[0]); }

/* The node done to the places of its elements tells where each element of y comes from. */
static void pick(Back *b, int nin, Value *const *others) {
  Node *n = b->n;
  Value **in = arena_array(b->m.g->arena, Value *, n->nin);
  if (!wants(b, 0))
    return;
  in[0] = places(b, n->in[0]);
  for (int i = 1; i < nin; i++)
    in[i] = others[i];
  give(b, 0, scatter_back(b, n->in[0], emit(&b->m, n->op, n->attr, nin, in), b->dy[0]));
}

void back_pick(Back *b) { pick(b, b->n->nin, b->n->in); }

/* A constant border takes nothing back: padding by the negative amounts cuts it off. */
void back_pad(Back *b) {
  Node *n = b->n;
  Value *in[4] = {b->dy[0], NULL, NULL, n->nin > 3 ? n->in[3] : NULL};
  if (wants(b, 2))
    no_rule(b, "has no derivative by its border");
  else if (str_is(ATTR(n, Pad)->mode, "constant"))
    in[1] = neg(b, n->in[1]), give(b, 0, emit(&b->m, OP_Pad, n->attr, in[3] ? 4 : 2, in));
  else
    pick(b, n->nin, n->in);
}

void back_trilu(Back *b) {
  Node *n = b->n;
  Value *in[2] = {b->dy[0], n->nin > 1 ? n->in[1] : NULL};
  give(b, 0, emit(&b->m, OP_Trilu, n->attr, n->nin, in));
}

/* What is scattered is added, or takes the place of what was there (once, as ONNX wants it). */
static bool scatter_kind(Back *b, Str reduction, bool *adds) {
  *adds = str_is(reduction, "add");
  if (!*adds && !str_is(reduction, "none"))
    no_rule(b, "has a derivative for the reductions add and none only");
  return *adds || str_is(reduction, "none");
}

void back_scatter_elements(Back *b) {
  Node *n = b->n;
  Value *dy = b->dy[0], *place = n->in[1], *none;
  ScatterElementsAttr put = {.axis = ATTR(n, ScatterElements)->axis, .reduction = str_of("none")};
  GatherElementsAttr take = {.axis = put.axis};
  bool adds;
  if (!scatter_kind(b, ATTR(n, ScatterElements)->reduction, &adds))
    return;
  none = adds || !wants(b, 0) ? NULL : zeros_like(b, n->in[2]);
  if (wants(b, 0))
    give(b, 0, adds ? dy : EMIT(&b->m, ScatterElements, &put, dy, place, none));
  if (wants(b, 2))
    give(b, 2, EMIT(&b->m, GatherElements, &take, dy, place));
}

void back_scatter_nd(Back *b) {
  Node *n = b->n;
  Value *dy = b->dy[0], *place = n->in[1], *none;
  ScatterNDAttr put = {.reduction = str_of("none")};
  bool adds;
  if (!scatter_kind(b, ATTR(n, ScatterND)->reduction, &adds))
    return;
  none = adds || !wants(b, 0) ? NULL : zeros_like(b, n->in[2]);
  if (wants(b, 0))
    give(b, 0, adds ? dy : EMIT(&b->m, ScatterND, &put, dy, place, none));
  if (wants(b, 2))
    give(b, 2, EMIT(&b->m, GatherND, NULL, dy, place));
}

void back_top_k(Back *b) {
  ScatterElementsAttr put = {.axis = ATTR(b->n, TopK)->axis, .reduction = str_of("none")};
  if (wants(b, 0) && b->dy[0])
    give(b, 0, EMIT(&b->m, ScatterElements, &put, zeros_like(b, b->n->in[0]), also_output(b, 1), b->dy[0]));
}

void back_max_pool(Back *b) {
  if (ATTR(b->n, Pool)->storage_order)
    no_rule(b, "has no derivative with indices in column-major order");
  else if (wants(b, 0) && b->dy[0])
    give(b, 0, scatter_back(b, b->n->in[0], also_output(b, 1), b->dy[0]));
}
