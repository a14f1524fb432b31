/* fold.c - evaluates nodes whose inputs are all constants, with the reference evaluators; takes the branch of an If
 * that a constant condition names. A result may have 1 MiB, or the size of its inputs and 64 KiB. Quantised weights
 * stay quantised: what widens 8-bit and narrower tensors is left alone. So is a large matrix that is transposed for products, which
 * is done while it is packed (GPT-2's head: 154 MB, a third of the time it takes to compile). A node that cannot be evaluated
 * stays: if the run reaches it, the run says why.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/eval.h"
#include "passes/rewrite.h"
#include "support/checked.h"

#include <string.h>

enum { ALWAYS_BYTES = 1 << 20, SPARE_BYTES = 64 << 10, HEAVY_BYTES = 64 << 10, TURNED_BYTES = 256 << 10 };

typedef struct Job {
  Node *n;
  Arena *scratch;
  Tensor **out;
  bool *wanted;
  size_t limit; /* bytes that one result may have */
} Job;

static Status get_memory(Eval *e, int i, DType t, int rank, const int64_t *dim, Tensor **out) {
  const Job *j = e->host;
  int64_t n;
  size_t bytes;
  (void)i;
  if (rank >= 0 && rank <= MAX_RANK && extent_ok(dim, rank, &n) && dtype_bytes(t, n, &bytes) && bytes > j->limit)
    return fail(e->c, ST_UNSUPPORTED, "the result is too large to be folded");
  return tensor_new(e->c, e->scratch, t, rank, dim, out);
}

/* The evaluators want aligned data. */
static const Tensor *aligned(const Tensor *t, Arena *a) {
  if (t->kind != VK_TENSOR || tensor_aligned(t))
    return t;
  Tensor *r = arena_copy(a, t, sizeof *t);
  r->data = arena_get(a, tensor_bytes(t), 1, 64);
  memcpy(r->data, t->data, tensor_bytes(t));
  return r;
}

static Status evaluate(Ctx *c, void *arg) {
  Job *j = arg;
  Node *n = j->n;
  const Tensor **in = arena_array(j->scratch, const Tensor *, n->nin);
  size_t total = 0;
  for (int i = 0; i < n->nin; i++)
    if (n->in[i]) {
      in[i] = aligned(n->in[i]->konst, j->scratch);
      total += tensor_bytes(in[i]);
    }
  j->limit = total + SPARE_BYTES > ALWAYS_BYTES ? total + SPARE_BYTES : ALWAYS_BYTES;
  j->out = arena_array(j->scratch, Tensor *, n->nout);
  j->wanted = arena_array(j->scratch, bool, n->nout);
  for (int i = 0; i < n->nout; i++)
    j->wanted[i] = n->out[i];
  Eval e = {.c = c,
            .op = n->op,
            .nin = n->nin,
            .nout = n->nout,
            .in = in,
            .out = j->out,
            .wanted = j->wanted,
            .attr = n->attr,
            .scratch = j->scratch,
            .keep = n->graph->arena,
            .alloc = get_memory,
            .host = j};
  return eval_find(n->op)(&e);
}

/* Cast and DequantizeLinear of an integer or float8 weight: the copy would be four times as large. */
static bool widens_weight(const Node *n) {
  if (n->op != OP_Cast && n->op != OP_CastLike && n->op != OP_DequantizeLinear)
    return false;
  const Tensor *w = n->in[0]->konst;
  return dtype_bits(w->dtype) <= 8 && w->dtype != DT_bool && tensor_count(w) > 1 && n->out[0] &&
         dtype_bits(n->out[0]->type.dtype) > dtype_bits(w->dtype) && dtype_is_float(n->out[0]->type.dtype);
}

/* Work that grows faster than the data: folded only when the inputs are small. */
static bool heavy(const Node *n) {
  static const OpId ops[] = {OP_MatMul,      OP_Gemm,        OP_Einsum,        OP_Conv,          OP_ConvTranspose,
                             OP_ConvInteger, OP_QLinearConv, OP_MatMulInteger, OP_QLinearMatMul, OP_LSTM,
                             OP_GRU,         OP_RNN,         OP_Attention,     OP_SinkAttention, OP_GridSample};
  size_t total = 0;
  for (size_t i = 0; i < countof(ops); i++)
    if (n->op == ops[i]) {
      for (int k = 0; k < n->nin; k++)
        total += n->in[k] ? tensor_bytes(n->in[k]->konst) : 0;
      return total > HEAVY_BYTES || (n->op == OP_Einsum && n->nin > 2);
    }
  return false;
}

/* Products of rows by a constant matrix, which they take in either order. */
static bool turned_for_products(const Node *n) {
  if (n->op != OP_Transpose || n->in[0]->konst->rank != 2 || n->in[0]->konst->dtype != DT_f32 ||
      tensor_bytes(n->in[0]->konst) <= TURNED_BYTES)
    return false;
  Ints perm = ATTR(n, Transpose)->perm;
  if ((perm.v && perm.v[0] != 1) || !n->out[0]->uses)
    return false;
  for (const Use *u = n->out[0]->uses; u; u = u->next) {
    const Value *rows = u->node && u->node->op == OP_MatMul && u->slot == 1 ? u->node->in[0] : NULL;
    if (!rows || rows->type.kind != VK_TENSOR || rows->type.dtype != DT_f32 || rows->type.rank < 2)
      return false;
  }
  return true;
}

static bool foldable(const Node *n) {
  if (op_info(n->op)->flags & (OPF_NONDET | OPF_CONTROL) || !eval_find(n->op) || !n->nin)
    return false;
  bool some = false;
  for (int i = 0; i < n->nin; i++) {
    if (!n->in[i])
      continue;
    if (!n->in[i]->konst || n->in[i]->konst->kind != VK_TENSOR)
      return false;
    some = true;
  }
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && n->out[i]->type.kind != VK_TENSOR)
      return false;
  return some && !widens_weight(n) && !heavy(n) && !turned_for_products(n);
}

/* A constant in the graph's arena. What has the bytes of an input (Reshape & co.) borrows them. */
static Value *keep(Graph *g, Node *n, const Tensor *t) {
  Tensor *r = arena_copy(g->arena, t, sizeof *t);
  if (op_info(n->op)->flags & OPF_VIEW)
    r->data = n->in[0]->konst->data;
  else
    r->data = memcpy(arena_get(g->arena, tensor_bytes(t), 1, 64), t->data, tensor_bytes(t));
  return graph_add_const(g, NULL, r);
}

static bool consistent(const Type *declared, const Tensor *t) {
  if (t->kind != VK_TENSOR || (declared->dtype && declared->dtype != t->dtype))
    return false;
  if (declared->rank < 0)
    return true;
  int64_t v;
  for (int i = 0; i < t->rank && declared->rank == t->rank; i++)
    if (dim_is_const(declared->dim[i], &v) && v != t->dim[i])
      return false;
  return declared->rank == t->rank;
}

static Status fold_node(Ctx *c, Node *n) {
  Job j = {.n = n, .scratch = arena_create(c)};
  Graph *g = n->graph;
  Status st = ctx_protect(c, evaluate, &j);
  if (!st)
    st = ctx_poll(c);
  for (int i = 0; !st && i < n->nout; i++)
    if (n->out[i] && (!j.out[i] || !consistent(&n->out[i]->type, j.out[i])))
      st = fail(c, ST_INVALID, "folding gives another type than inference");
  if (st) {
    arena_destroy(j.scratch);
    if (st == ST_CANCELLED || st == ST_TIMEOUT)
      return st;
    ctx_log(c, 2, "fold: %s '%s' stays: %s", op_info(n->op)->name, n->origin->node, c->err.message);
    c->err = (Err){0};
    return ST_OK;
  }
  for (int i = 0; i < n->nout; i++) {
    if (!n->out[i] || !n->out[i]->uses)
      continue;
    Value *k = keep(g, n, j.out[i]);
    if (!replace_value(n->out[i], k) || !k->uses)
      continue;
    if ((st = infer_users(c, k)))
      break;
  }
  arena_destroy(j.scratch);
  ctx_log(c, 2, "fold: %s '%s'", op_info(n->op)->name, n->origin->node);
  remove_dead(n);
  return st;
}

static Status fold_named(Ctx *c, Node *n) {
  NodePlace before = origin_enter(c, n->origin);
  Status st = fold_node(c, n);
  c->place = before;
  return st;
}

/* The branch's nodes move in front of the If, under new names (two branches may use the same ones). */
static Status inline_branch(Ctx *c, Node *n, Graph *branch) {
  Graph *g = n->graph;
  Value **result = arena_array(g->arena, Value *, branch->nout);
  Node *first = branch->first;
  for (Node *b = branch->first, *next; b; b = next) {
    next = b->next;
    for (int i = 0; i < b->nout; i++)
      if (b->out[i])
        value_rename(b->out[i], graph_name(g, (*g->next_id)++));
    node_move_before(b, n);
  }
  for (uint32_t i = 0; i < branch->nout; i++)
    result[i] = branch->out[i];
  graph_drop_outputs(branch);
  for (int i = 0; i < n->nout; i++)
    if (n->out[i] && n->out[i]->uses)
      replace_value(n->out[i], result[i]);
  for (Node *b = first; b && b != n; b = b->next) /* what was not known yet when the branch was inferred */
    for (int i = 0; i < b->nin; i++)
      if (b->in[i])
        TRY(infer_users(c, b->in[i]));
  for (int i = 0; i < n->nout; i++)
    TRY(infer_users(c, result[i]));
  remove_dead(n);
  return ST_OK;
}

static Status sweep(Ctx *c, Graph *g) {
  for (Node *n = g->first, *next; n; n = next) {
    double cond;
    next = n->next;
    if (n->op == OP_If && value_scalar(n->in[0], &cond)) {
      Graph *branch = n->body[cond != 0 ? 0 : 1];
      next = branch->first ? branch->first : next;
      ctx_log(c, 2, "fold: If '%s' takes its %s branch", n->origin->node, cond != 0 ? "then" : "else");
      TRY(inline_branch(c, n, branch));
      continue;
    }
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(sweep(c, n->body[b]));
    if (foldable(n))
      TRY(fold_named(c, n));
  }
  return ctx_poll(c);
}

Status pass_fold(Ctx *c, Graph *g) { return sweep(c, g); }
