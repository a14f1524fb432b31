/* cost.c - counting the work of a graph. One row per operator that is more than element-wise.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tools/cost.h"

#include "support/checked.h"

#include <string.h>

typedef struct Shape {
  int rank; /* -1: not known */
  int64_t dim[MAX_RANK];
  double count;
} Shape;

typedef struct Count {
  Arena *a;
  Bindings *s;
  const Node *n;
  Cost *cost;
} Count;

static Shape shape_of(Count *x, const Value *v) {
  Shape r = {.rank = -1};
  if (!v || v->type.kind != VK_TENSOR || v->type.rank < 0)
    return r;
  r.count = 1;
  for (int i = 0; i < v->type.rank; i++) {
    if (!v->type.dim[i] || !bindings_eval(x->s, v->type.dim[i], &r.dim[i]))
      return (Shape){.rank = -1};
    r.count *= (double)r.dim[i];
  }
  r.rank = v->type.rank;
  return r;
}

static Shape in_shape(Count *x, int i) { return i < x->n->nin ? shape_of(x, x->n->in[i]) : (Shape){.rank = -1}; }

static Shape out_shape(Count *x, int i) { return i < x->n->nout ? shape_of(x, x->n->out[i]) : (Shape){.rank = -1}; }

/* Each returns the operations of node x->n, or -1: not known. */

static double matmul_cost(Count *x) { /* every output element: k multiply-adds */
  Shape a = in_shape(x, 0), y = out_shape(x, 0);
  return a.rank < 1 || y.rank < 0 ? -1 : 2 * y.count * (double)a.dim[a.rank - 1];
}

static double gemm_cost(Count *x) {
  Shape a = in_shape(x, 0), y = out_shape(x, 0);
  const GemmAttr *attr = ATTR(x->n, Gemm);
  if (a.rank != 2 || y.rank < 0)
    return -1;
  return 2 * y.count * (double)a.dim[attr && attr->transA ? 0 : 1];
}

static double conv_weights(Count *x, int w) { /* per output position and channel: C/group x kernel */
  Shape s = in_shape(x, w);
  return s.rank < 3 || !s.dim[0] ? -1 : s.count / (double)s.dim[0];
}

static double conv_cost(Count *x) {
  double w = conv_weights(x, x->n->op == OP_QLinearConv ? 3 : 1);
  Shape y = out_shape(x, 0);
  return w < 0 || y.rank < 0 ? -1 : 2 * y.count * w;
}

static double conv_transpose_cost(Count *x) { /* every input element meets M/group x kernel weights */
  double w = conv_weights(x, 1);
  Shape in = in_shape(x, 0);
  return w < 0 || in.rank < 0 ? -1 : 2 * in.count * w;
}

static double attention_cost(Count *x) { /* Q.K and the weighted sum of V, for all positions, masked or not */
  Shape q = in_shape(x, 0), k = in_shape(x, 1), y = out_shape(x, 0), past = in_shape(x, 4);
  if (q.rank < 3 || k.rank < 3 || y.rank < 3)
    return -1;
  double keys = (double)k.dim[k.rank - 2]; /* of rank 3 the last dimension holds all heads already */
  if (past.rank == 4)
    keys += (double)past.dim[2];
  return 2 * keys * (q.count + y.count);
}

static double recurrent_cost(
    Count *x) { /* X (seq, batch, input); W (dirs, gates * hidden, input); R (dirs, gates * hidden, hidden) */
  Shape in = in_shape(x, 0), w = in_shape(x, 1), r = in_shape(x, 2);
  return in.rank != 3 || w.rank != 3 || r.rank != 3 ? -1
                                                    : 2 * (double)in.dim[0] * (double)in.dim[1] * (w.count + r.count);
}

static double einsum_cost(Count *x) { /* every combination of the letters once */
  const Str eq = ATTR(x->n, Einsum)->equation;
  int64_t size[256] = {0};
  double all = 1;
  int operand = 0, axis = 0;
  Shape s = in_shape(x, 0);
  for (size_t i = 0; i < eq.len && eq.ptr[i] != '-'; i++) {
    unsigned char ch = (unsigned char)eq.ptr[i];
    if (ch == '.')
      return -1;
    if (ch == ',')
      s = in_shape(x, ++operand), axis = 0;
    else if (ch != ' ') {
      if (axis >= s.rank)
        return -1;
      size[ch] = s.dim[axis] > size[ch] ? s.dim[axis] : size[ch];
      axis++;
    }
  }
  for (int i = 0; i < 256; i++)
    all *= size[i] ? (double)size[i] : 1;
  return (x->n->nin > 1 ? 2 : 1) * all;
}

static const struct {
  OpId op;
  double (*cost)(Count *x);
} heavy[] = {
    {OP_MatMul, matmul_cost},
    {OP_MatMulInteger, matmul_cost},
    {OP_QLinearMatMul, matmul_cost},
    {OP_Gemm, gemm_cost},
    {OP_Conv, conv_cost},
    {OP_ConvInteger, conv_cost},
    {OP_QLinearConv, conv_cost},
    {OP_ConvTranspose, conv_transpose_cost},
    {OP_Attention, attention_cost},
    {OP_SinkAttention, attention_cost},
    {OP_LSTM, recurrent_cost},
    {OP_GRU, recurrent_cost},
    {OP_RNN, recurrent_cost},
    {OP_Einsum, einsum_cost},
};

/* Operators that read every input element a few times: counted as one operation per element. */
static bool reads_all(OpId op) {
  static const OpId ops[] = {OP_ReduceL1,
                             OP_ReduceL2,
                             OP_ReduceLogSum,
                             OP_ReduceLogSumExp,
                             OP_ReduceMax,
                             OP_ReduceMean,
                             OP_ReduceMin,
                             OP_ReduceProd,
                             OP_ReduceSum,
                             OP_ReduceSumSquare,
                             OP_ArgMax,
                             OP_ArgMin,
                             OP_Softmax,
                             OP_LogSoftmax,
                             OP_Hardmax,
                             OP_CumSum,
                             OP_CumProd,
                             OP_AveragePool,
                             OP_MaxPool,
                             OP_LpPool,
                             OP_GlobalAveragePool,
                             OP_GlobalMaxPool,
                             OP_GlobalLpPool,
                             OP_BatchNormalization,
                             OP_InstanceNormalization,
                             OP_GroupNormalization,
                             OP_LayerNormalization,
                             OP_RMSNormalization,
                             OP_LpNormalization,
                             OP_LRN,
                             OP_MeanVarianceNormalization,
                             OP_RotaryEmbedding,
                             OP_QuantizeLinear,
                             OP_DequantizeLinear};
  for (size_t i = 0; i < countof(ops); i++)
    if (ops[i] == op)
      return true;
  return false;
}

static void count_node(Count *x) {
  const Node *n = x->n;
  for (size_t i = 0; i < countof(heavy); i++)
    if (heavy[i].op == n->op) {
      double f = heavy[i].cost(x);
      if (f < 0)
        x->cost->unknown++;
      else
        x->cost->flops[n->op] += f, x->cost->total += f;
      return;
    }
  if (n->op == OP_none) {
    x->cost->unknown++;
    return;
  }
  bool elementwise = op_info(n->op)->flags & OPF_ELEMENTWISE, all = reads_all(n->op);
  if (!elementwise && !all)
    return;
  Shape s = elementwise ? out_shape(x, 0) : in_shape(x, 0);
  if (s.rank < 0)
    x->cost->unknown++;
  else
    x->cost->elementwise += s.count;
}

static void count_graph(Count *x, const Graph *g) {
  for (const Node *n = g->first; n; n = n->next) {
    x->n = n;
    count_node(x);
    for (int b = 0; b < 2; b++)
      if (n->body[b]) {
        if (n->op != OP_If)
          x->cost->looped += graph_node_count(n->body[b], true);
        count_graph(x, n->body[b]);
      }
  }
}

/* --- memory --- */

static bool value_bytes(Count *x, const Value *v, int64_t *bytes) {
  Shape s = shape_of(x, v);
  int64_t count;
  size_t size;
  if (s.rank < 0 || !v->type.dtype || !extent_ok(s.dim, s.rank, &count) || !dtype_bytes(v->type.dtype, count, &size) ||
      size > INT64_MAX / 4)
    return false;
  *bytes = (int64_t)size;
  return true;
}

/* The position of a value's last use: uses inside a body count at the node that owns the body. */
static int64_t last_use(const Graph *g, const Value *v, const int64_t *position, int64_t end) {
  int64_t last = -1;
  for (const Use *u = v->uses; u; u = u->next) {
    const Node *n = u->node;
    const Graph *in = n ? n->graph : u->graph;
    while (in != g && in) {
      n = in->owner;
      in = n ? n->graph : NULL;
    }
    int64_t at = n && in ? position[n->id] : end;
    last = at > last ? at : last;
  }
  return last;
}

static void count_memory(Count *x, const Graph *g) {
  int64_t nodes = 0, alive = 0, bytes;
  Cost *c = x->cost;
  uint32_t ids = *g->next_id;
  int64_t *position = arena_array(x->a, int64_t, ids + 1);
  for (const Node *n = g->first; n; n = n->next)
    if (n->id <= ids)
      position[n->id] = nodes++;
  int64_t *freed = arena_array(x->a, int64_t, (size_t)nodes + 1); /* bytes that die after node i */
  c->peak_known = true;
  for (uint32_t i = 0; i < g->nin; i++) {
    if (!value_bytes(x, g->in[i], &bytes)) {
      c->peak_known = false;
      return;
    }
    alive += bytes;
  }
  c->peak = alive;
  for (const Node *n = g->first; n; n = n->next) {
    int64_t at = position[n->id];
    for (int i = 0; i < n->nout; i++) {
      if (!n->out[i])
        continue;
      if (!value_bytes(x, n->out[i], &bytes) || !add_ok(alive, bytes, &alive)) {
        c->peak_known = false;
        return;
      }
      int64_t last = last_use(g, n->out[i], position, nodes);
      freed[last < at ? at : last] += bytes;
    }
    c->peak = alive > c->peak ? alive : c->peak;
    alive -= freed[at];
  }
}

void cost_of_graph(Arena *a, const Graph *g, Bindings *s, Cost *out) {
  *out = (Cost){.flops = arena_array(a, double, op_count())};
  Count x = {.a = a, .s = s, .cost = out};
  count_graph(&x, g);
  count_memory(&x, g);
}
