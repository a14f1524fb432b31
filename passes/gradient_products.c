/* gradient_products.c - derivatives of matrix products, of Einsum, and of normalisations.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/einsum.h"
#include "passes/gradient.h"

/* --- matrix products --- */

static Value *transposed(Back *b, Value *x) {
  int64_t perm[MAX_RANK];
  int rank = x->type.rank;
  for (int i = 0; i < rank; i++)
    perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
  return transpose_by(&b->m, x, perm, rank);
}

static Value *with_axis(Back *b, Value *x, int64_t axis) {
  return apply2(b, OP_Unsqueeze, x, const_ints(&b->m, &axis, 1));
}

/* A vector stands for a matrix of one row on the left, of one column on the right; y lacks that axis. */
void back_matmul(Back *b) {
  Value *l = b->n->in[0], *r = b->n->in[1], *dy = b->dy[0];
  if (!type_known(l) || !type_known(r)) {
    no_rule(b, "meets a tensor of unknown rank");
    return;
  }
  bool row = l->type.rank == 1, column = r->type.rank == 1;
  dy = column ? with_axis(b, dy, -1) : dy;
  dy = row ? with_axis(b, dy, -2) : dy;
  if (wants(b, 0)) {
    Value *d = apply2(b, OP_MatMul, dy, transposed(b, column ? with_axis(b, r, -1) : r));
    give(b, 0, row ? apply2(b, OP_Squeeze, d, const_ints(&b->m, (int64_t[]){-2}, 1)) : d);
  }
  if (wants(b, 1)) {
    Value *d = apply2(b, OP_MatMul, transposed(b, row ? with_axis(b, l, -2) : l), dy);
    give(b, 1, column ? apply2(b, OP_Squeeze, d, const_ints(&b->m, (int64_t[]){-1}, 1)) : d);
  }
}

static Value *gemm(Back *b, Value *l, bool flip_l, Value *r, bool flip_r) {
  GemmAttr a = {.alpha = ATTR(b->n, Gemm)->alpha, .beta = 1, .transA = flip_l, .transB = flip_r};
  return EMIT(&b->m, Gemm, &a, l, r);
}

void back_gemm(Back *b) {
  const GemmAttr *a = ATTR(b->n, Gemm);
  Value *l = b->n->in[0], *r = b->n->in[1], *dy = b->dy[0];
  if (wants(b, 0))
    give(b, 0, a->transA ? gemm(b, r, a->transB, dy, true) : gemm(b, dy, false, r, !a->transB));
  if (wants(b, 1))
    give(b, 1, a->transB ? gemm(b, dy, true, l, a->transA) : gemm(b, l, !a->transA, dy, false));
  if (wants(b, 2))
    give(b, 2, scaled(b, dy, (double)a->beta));
}

/* --- Einsum --- */

/* Labels as letters; the axes of the ellipsis take those that the equation leaves over. */
static char letter_of(const Equation *q, int label) {
  bool used[52] = {false};
  int spare = label - 52;
  for (int i = 0; i < q->nin; i++)
    for (int k = 0; k < q->in[i].n; k++)
      if (q->in[i].label[k] < 52)
        used[q->in[i].label[k]] = true;
  for (int l = 0; spare >= 0 && l < 52; l++)
    if (!used[l] && !spare--)
      label = l;
  return label < 26 ? (char)('A' + label) : label < 52 ? (char)('a' + label - 26) : 0;
}

static bool put_term(const Equation *q, StrBuf *text, const Term *t) {
  for (int k = 0; k < t->n; k++) {
    char c = letter_of(q, t->label[k]);
    if (!c)
      return false;
    buf_putc(text, c);
  }
  return true;
}

static bool repeats_label(const Term *t) {
  for (int k = 0; k < t->n; k++)
    for (int j = 0; j < k; j++)
      if (t->label[j] == t->label[k])
        return true;
  return false;
}

/* dx[i] sums dy times the other operands over what operand i lacks; ones like it bring the labels that it alone has. */
static Value *einsum_dx(Back *b, const Equation *q, int i) {
  Value *in[EIN_MAX_IN + 1], *x = b->n->in[i];
  StrBuf text;
  int n = 0;
  buf_init(&text, b->m.g->arena);
  in[n++] = b->dy[0], in[n++] = apply2(b, OP_Expand, num(b, 1, x), shape_of(b, x));
  bool ok = put_term(q, &text, &q->out);
  buf_putc(&text, ',');
  ok &= put_term(q, &text, &q->in[i]);
  for (int k = 0; k < q->nin; k++)
    if (k != i) {
      buf_putc(&text, ',');
      ok &= put_term(q, &text, &q->in[k]);
      in[n++] = b->n->in[k];
    }
  buf_puts(&text, "->");
  ok &= put_term(q, &text, &q->in[i]);
  EinsumAttr a = {.equation = {text.text, text.len}};
  if (!ok)
    return no_rule(b, "has more letters than there are"), x;
  return emit(&b->m, OP_Einsum, &a, n, in);
}

void back_einsum(Back *b) {
  int rank[EIN_MAX_IN];
  Equation q;
  for (int i = 0; i < b->n->nin && i < EIN_MAX_IN; i++) {
    rank[i] = b->n->in[i]->type.rank;
    if (!type_known(b->n->in[i])) {
      no_rule(b, "meets a tensor of unknown rank");
      return;
    }
  }
  b->m.st = einsum_parse(b->m.c, ATTR(b->n, Einsum)->equation, b->n->nin, rank, &q);
  for (int i = 0; i < b->n->nin && !b->m.st; i++) {
    if (wants(b, i) && repeats_label(&q.in[i]))
      no_rule(b, "has no derivative by an operand that repeats a letter");
    else if (wants(b, i))
      give(b, i, einsum_dx(b, &q, i));
  }
}

/* --- normalisations --- */

static Value *mean_over(Back *b, Value *x, Value *axes) {
  ReduceAttr keep = {.keepdims = 1};
  return EMIT(&b->m, ReduceMean, &keep, x, axes);
}

static Value *one_over_root(Back *b, Value *x, float epsilon) {
  return apply1(b, OP_Reciprocal, apply1(b, OP_Sqrt, add(b, x, num(b, (double)epsilon, x))));
}

/* The axes from `axis` on; NULL: the rank is not known. */
static Value *axes_from(Back *b, int64_t axis) {
  int64_t list[MAX_RANK];
  int first = axis_of(axis, b->n->in[0]), n = 0;
  if (first < 0)
    return no_rule(b, "meets a tensor of unknown rank"), NULL;
  for (int i = first; i < b->n->in[0]->type.rank; i++)
    list[n++] = i;
  return const_ints(&b->m, list, n);
}

/* y = z scale + bias, z = (x - mean) r, r = 1 / sqrt(var + epsilon):
 * dx = r (dz - mean(dz) - z mean(dz z)), without mean(dz) where no mean was taken off. */
static void back_norm(Back *b, Value *axes, Value *z, Value *r, bool centred) {
  Value *scale = b->n->in[1], *dy = as(b, b->dy[0], z->type.dtype);
  Value *dz = mul(b, dy, as(b, scale, z->type.dtype));
  if (wants(b, 0)) {
    Value *d = mul(b, z, mean_over(b, mul(b, dz, z), axes));
    d = sub(b, centred ? sub(b, dz, mean_over(b, dz, axes)) : dz, d);
    give(b, 0, as(b, mul(b, d, r), b->n->in[0]->type.dtype));
  }
  if (wants(b, 1))
    give(b, 1, as(b, mul(b, dy, z), scale->type.dtype));
  if (wants(b, 2))
    give(b, 2, as(b, dy, b->n->in[2]->type.dtype));
}

void back_layer_norm(Back *b) {
  const LayerNormalizationAttr *a = ATTR(b->n, LayerNormalization);
  Value *axes = axes_from(b, a->axis), *x = b->n->in[0];
  if (axes && ((b->n->nout > 1 && b->dy[1]) || (b->n->nout > 2 && b->dy[2])))
    no_rule(b, "has no derivative of its statistics");
  if (!axes || b->m.st || !b->dy[0])
    return;
  x = as(b, x, x->type.dtype == DT_f64 ? DT_f64 : (DType)a->stash_type);
  Value *d = sub(b, x, mean_over(b, x, axes));
  Value *r = one_over_root(b, mean_over(b, square(b, d), axes), a->epsilon);
  back_norm(b, axes, mul(b, d, r), r, true);
}

void back_rms_norm(Back *b) {
  const RMSNormalizationAttr *a = ATTR(b->n, RMSNormalization);
  Value *axes = axes_from(b, a->axis), *x = b->n->in[0];
  if (!axes)
    return;
  x = as(b, x, x->type.dtype == DT_f64 ? DT_f64 : (DType)a->stash_type);
  Value *r = one_over_root(b, mean_over(b, square(b, x), axes), a->epsilon);
  back_norm(b, axes, mul(b, x, r), r, false);
}

/* With fixed statistics; what takes them from the batch is made of reductions before (losses.c). */
void back_batch_norm(Back *b) {
  Node *n = b->n;
  const BatchNormalizationAttr *a = ATTR(n, BatchNormalization);
  int64_t axes[MAX_RANK], others[MAX_RANK] = {0}, k = 0;
  int rank = n->in[0]->type.rank;
  if (a->training_mode || !type_known(n->in[0]) || rank < 2 || wants(b, 3) || wants(b, 4)) {
    no_rule(b, wants(b, 3) || wants(b, 4) ? "has no derivative by its statistics" : "has no derivative in this form");
    return;
  }
  for (int i = 2; i < rank; i++)
    axes[k] = i - 1, others[++k] = i;
  Value *p[5], *behind = const_ints(&b->m, axes, k), *but_channels = const_ints(&b->m, others, k + 1);
  for (int i = 1; i < 5; i++)
    p[i] = k ? apply2(b, OP_Unsqueeze, n->in[i], behind) : n->in[i];
  Value *r = one_over_root(b, p[4], a->epsilon), *dy = b->dy[0];
  if (wants(b, 0))
    give(b, 0, as(b, mul(b, dy, as(b, mul(b, r, as(b, p[1], r->type.dtype)), dy->type.dtype)), n->in[0]->type.dtype));
  if (wants(b, 1)) {
    Value *z = mul(b, sub(b, as(b, n->in[0], r->type.dtype), p[3]), r);
    give(b, 1, as(b, sum_over(b, mul(b, as(b, dy, r->type.dtype), z), but_channels, false), n->in[1]->type.dtype));
  }
  if (wants(b, 2))
    give(b, 2, as(b, sum_over(b, dy, but_channels, false), n->in[2]->type.dtype));
}
