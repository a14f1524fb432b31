/* attention_past.c - the caches of Attention apart from it: present keys and values are a Concat of the past ones and the new, over
 * which attention goes as over any keys. So caches grow in place (codegen/append.h), and the generators of code have one attention.
 * Where causality or windows count from the past on, nonpad_kv_seqlen says that all keys are there: queries stand at the last of them
 * then. Where there are more new keys than queries, or fewer, they do not: positions go into the mask. Needs: types inferred.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/ops.h"
#include "passes/positions.h"

enum { Q, K, V, MASK, PAST_K, PAST_V, VALID };
enum { Y, PRESENT_K, PRESENT_V, SCORES };

static bool has(const Node *n, int i) { return i < n->nin && n->in[i]; }
static bool wants(const Node *n, int i) {
  return i < n->nout && n->out[i] && (n->out[i]->uses || value_is_output(n->out[i]));
}

static bool is_float(int64_t t) { return t == DT_f32 || t == DT_f16 || t == DT_bf16; }

/* Is it an attention that has a generator, but for the caches? */
static bool takes(const Node *n) {
  const AttentionAttr *a = ATTR(n, Attention);
  for (int i = Q; i <= V; i++)
    if (!type_known(n->in[i]) || n->in[i]->type.dtype != n->in[Q]->type.dtype)
      return false;
  int r = n->in[Q]->type.rank;
  for (int i = Q; r == 3 && i <= V; i++)
    if (!dim_is_const(n->in[i]->type.dim[2], NULL))
      return false;
  return is_float(n->in[Q]->type.dtype) && !has(n, VALID) &&
         (a->softmax_precision == ABSENT || is_float(a->softmax_precision)) &&
         (r == 4 || (r == 3 && a->q_num_heads > 0 && a->kv_num_heads > 0));
}

/* [batch, length, heads * size] as [batch, heads, length, size]. */
static Value *split(Match *m, Value *x, int64_t heads) {
  static const int64_t perm[] = {0, 2, 1, 3};
  int64_t width;
  if (x->type.rank == 4)
    return x;
  dim_is_const(x->type.dim[2], &width);
  x = EMIT(m, Reshape, NULL, x, const_ints(m, (const int64_t[]){0, 0, heads, width / heads}, 4));
  return transpose_by(m, x, perm, 4);
}

static Value *joined(Match *m, Value *x) {
  static const int64_t perm[] = {0, 2, 1, 3};
  int64_t heads, size;
  if (!dim_is_const(x->type.dim[1], &heads) || !dim_is_const(x->type.dim[3], &size))
    return NULL;
  x = transpose_by(m, x, perm, 4);
  return EMIT(m, Reshape, NULL, x, const_ints(m, (const int64_t[]){0, 0, heads * size}, 3));
}

static Value *behind_past(Match *m, int past, Value *x) {
  ConcatAttr rows = {.axis = 2};
  return has(m->root, past) ? emit(m, OP_Concat, &rows, 2, (Value *[]){m->root->in[past], x}) : x;
}

/* The length of k for each entry of x's batch. */
static Value *all_keys(Match *m, Value *x, Value *k) {
  ShapeAttr length = {.start = 2, .end = 3}, batch = {.start = 0, .end = 1};
  return EMIT(m, Expand, NULL, EMIT(m, Shape, &length, k), EMIT(m, Shape, &batch, x));
}

/* Where queries stand: they are to see keys by that from the past on. A mask that ends before the keys do hides those behind it: it
 * keeps its length. False: it cannot be said so. */
static bool positions_of(const Match *m, Positions *p) {
  const Node *n = m->root;
  const AttentionAttr *a = ATTR(n, Attention);
  const Value *mask = has(n, MASK) ? n->in[MASK] : NULL;
  int length = n->in[Q]->type.rank == 4 ? 2 : 1;
  if (!type_known(n->in[PAST_K]) || n->in[PAST_K]->type.rank != 4 || a->left_window_size < -1 ||
      a->right_window_size < -1 || a->left_window_size > INT32_MAX || a->right_window_size > INT32_MAX)
    return false;
  *p = (Positions){.seq = n->in[Q]->type.dim[length],
                   .before = n->in[PAST_K]->type.dim[2],
                   .causal = a->is_causal,
                   .left = a->left_window_size,
                   .right = a->right_window_size};
  p->total = dim_add(m->c, p->before, n->in[K]->type.dim[length]);
  if (mask && type_known(mask) && mask->type.rank)
    p->total = mask->type.dim[mask->type.rank - 1];
  return dims_bound(m->g, (Dim[]){p->seq, p->before, p->total}, 3, NULL) && (!mask || positions_fit(mask, p->total));
}

/* The attention over all keys; *scores: as an output, if they are wanted. */
static Value *over_all(Match *m, const AttentionAttr *a, int nin, Value *const *in, Value **scores) {
  *scores = NULL;
  if (!wants(m->root, SCORES))
    return emit(m, OP_Attention, a, nin, in);
  Node *n = graph_add_node(m->g, m->root, OP_Attention, nin, SCORES + 1, a, m->root->origin);
  node_set_inputs(n, nin, in);
  m->st = m->st ? m->st : node_infer(m->c, n);
  *scores = n->out[SCORES];
  return n->out[Y];
}

static Value *apart(Match *m) {
  Node *n = m->root;
  AttentionAttr a = *ATTR(n, Attention);
  bool past = has(n, PAST_K) && has(n, PAST_V),
       counts = a.is_causal || a.left_window_size >= 0 || a.right_window_size >= 0, last = true;
  Positions at;
  if (!takes(n) || (!past && !wants(n, PRESENT_K) && !wants(n, PRESENT_V)))
    return NULL;
  int length = n->in[Q]->type.rank == 4 ? 2 : 1;
  if (past && counts)
    last = n->in[Q]->type.dim[length] == n->in[K]->type.dim[length]; /* do queries stand at the last of all keys? */
  if (!last && !positions_of(m, &at))
    return NULL;
  Value *q = split(m, n->in[Q], a.q_num_heads), *k = behind_past(m, PAST_K, split(m, n->in[K], a.kv_num_heads));
  Value *v = behind_past(m, PAST_V, split(m, n->in[V], a.kv_num_heads)), *scores;
  Value *in[] = {q, k, v, has(n, MASK) ? n->in[MASK] : NULL, NULL, NULL, NULL};
  a.q_num_heads = a.kv_num_heads = ABSENT;
  if (!last) {
    in[MASK] = positions_mask(m, &at, in[MASK]);
    a.is_causal = 0, a.left_window_size = a.right_window_size = -1;
  } else if (past && counts)
    in[VALID] = all_keys(m, q, k);
  Value *y = over_all(m, &a, in[VALID] ? VALID + 1 : in[MASK] ? MASK + 1 : V + 1, in, &scores);
  if (n->in[Q]->type.rank == 3)
    y = joined(m, y);
  if (m->st || !y)
    return NULL;
  if (wants(n, PRESENT_K))
    replace_value(n->out[PRESENT_K], k);
  if (wants(n, PRESENT_V))
    replace_value(n->out[PRESENT_V], v);
  if (scores)
    replace_value(n->out[SCORES], scores);
  return y;
}

static const Rule rules[] = {{"a cache apart", OPERATOR(Attention), apart}};

Status pass_attention_past(Ctx *c, Graph *g) { return rewrite(c, g, rules, countof(rules)); }
