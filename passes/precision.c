/* precision.c - constants that products multiply by, rounded to 16 bits, where the caller asks for that (--precision):
 *
 *     MatMul(x, w)   ->   MatMul(x, Cast(Cast(w, to bf16), to f32))
 *
 * Both casts stay in the graph, which says what is computed on any device; code generation packs w as it is rounded, and reads that
 * instead of running them (codegen/anchors.c). So the passes run last: nothing may fold the casts. K, or the channels of a
 * convolution, are even, as codegen packs by pairs; other products stay as they are, and so do convolutions that are no products
 * with packed weights: those of groups, and those that read an image of few channels.
 * Needs: types inferred, channels last around convolutions. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

static bool f32_tensor(const Value *v, int least) {
  return type_known(v) && v->type.dtype == DT_f32 && v->type.rank >= least;
}

static bool is_even(Dim d) {
  int64_t k;
  return dim_is_const(d, &k) && k % 2 == 0;
}

/* MatMul and Gemm by a constant matrix of even K. */
static bool by_matrix(const Node *n) {
  if ((n->op != OP_MatMul && n->op != OP_Gemm) || !f32_tensor(n->in[0], 2) || !f32_tensor(n->in[1], 2))
    return false;
  int axis = n->op == OP_Gemm && ATTR(n, Gemm)->transB ? 1 : 0;
  return n->in[1]->type.rank == 2 && is_even(n->in[1]->type.dim[axis]);
}

/* One position of one tap: a product of the images' channels. */
static bool one_position(const Type *t) {
  for (int i = 2; i < t->rank; i++)
    if (!dim_is(t->dim[i], 1))
      return false;
  return true;
}

/* Conv of one group between the transpositions of the pass layout, or of single positions. */
static bool by_taps(const Node *n) {
  if (n->op != OP_Conv || ATTR(n, Conv)->group != 1 || !f32_tensor(n->in[0], 3) || !f32_tensor(n->in[1], 3) ||
      !f32_tensor(n->out[0], 3) || !is_even(n->in[1]->type.dim[1]))
    return false;
  const Node *user = value_sole_user(n->out[0]);
  return (def_of(n->in[0], OP_Transpose) && user && user->op == OP_Transpose) ||
         (one_position(&n->in[0]->type) && one_position(&n->in[1]->type) && one_position(&n->out[0]->type));
}

static Status cast(Ctx *c, Node *before, Value **v, DType to) {
  CastAttr attr = {.round_mode = str_of("up"), .saturate = 1, .to = to};
  *v = graph_emit(before->graph, before, OP_Cast, &attr, before->origin, 1, v);
  return node_infer(c, (*v)->def);
}

static Status round_weights(Ctx *c, Graph *g, DType t) {
  for (Node *n = g->first; n; n = n->next) {
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(round_weights(c, n->body[b], t));
    if ((!by_matrix(n) && !by_taps(n)) || !n->in[1]->konst)
      continue;
    Value *w = n->in[1];
    TRY(cast(c, n, &w, t));
    TRY(cast(c, n, &w, DT_f32));
    node_set_input(n, 1, w);
  }
  return ctx_poll(c);
}

Status pass_bf16(Ctx *c, Graph *g) { return round_weights(c, g, DT_bf16); }
Status pass_fp16(Ctx *c, Graph *g) { return round_weights(c, g, DT_f16); }
