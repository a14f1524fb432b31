/* recipes.c - what random nodes are made of: a function per family of operators, which finds inputs and attributes that are
 * likely to be accepted. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/random.h"

#include <string.h>

/* --- attributes by name --- */

static void *attr_at(Gen *g, Make *m, const char *name) {
  const AttrInfo *info = op_info(m->op)->attrs;
  if (!m->attr)
    m->attr = attr_new(g->top->arena, info);
  return (char *)m->attr + attr_field(info, name)->offset;
}

void make_int(Gen *g, Make *m, const char *name, int64_t v) { *(int64_t *)attr_at(g, m, name) = v; }
static void make_float(Gen *g, Make *m, const char *name, float v) { *(float *)attr_at(g, m, name) = v; }
static void make_str(Gen *g, Make *m, const char *name, const char *v) {
  *(Str *)attr_at(g, m, name) = (Str){arena_strdup(g->top->arena, v), strlen(v)};
}
static void make_ints(Gen *g, Make *m, const char *name, const int64_t *v, int64_t n) {
  *(Ints *)attr_at(g, m, name) = (Ints){arena_copy(g->top->arena, v, (size_t)n * sizeof *v), n};
}

/* --- helpers --- */

static int64_t any_axis(Gen *g, int rank) { return rng_below(&g->r, 2 * rank) - rank; }
static int64_t extent(Gen *g, const Value *v, int axis) { return gen_tensor(g, v)->dim[axis]; }

static OpId one_of(Gen *g, const OpId *op, size_t n) { return op[rng_below(&g->r, (int64_t)n)]; }
#define ONE_OF(g, ...) one_of(g, (const OpId[]){__VA_ARGS__}, sizeof((const OpId[]){__VA_ARGS__}) / sizeof(OpId))

/* A second operand of v's dtype: from the pool, or a constant that broadcasts to it. */
static Value *operand_like(Gen *g, const Value *v) {
  Value *w = rng_chance(&g->r, 70) ? gen_pick(g, v->type.dtype, 0, 6) : NULL;
  int64_t dim[MAX_RANK];
  if (w)
    return w;
  const Tensor *t = gen_tensor(g, v);
  int rank = (int)rng_below(&g->r, t->rank + 1);
  for (int k = 0; k < rank; k++) {
    bool fixed = dim_is_const(v->type.dim[t->rank - rank + k], NULL);
    dim[k] = fixed && rng_chance(&g->r, 60) ? t->dim[t->rank - rank + k] : 1;
  }
  return gen_const(g, v->type.dtype, rank, dim);
}

/* --- families --- */

static bool elementwise(Gen *g, Make *m) {
  do
    m->op = (OpId)(1 + rng_below(&g->r, op_count() - 1));
  while (!(op_info(m->op)->flags & OPF_ELEMENTWISE) || op_info(m->op)->flags & OPF_CONTROL);
  const OpInfo *o = op_info(m->op);
  int64_t most = o->max_in == OP_VARIADIC ? 3 : o->max_in;
  m->nin = (int)(o->min_in + rng_below(&g->r, most - o->min_in + 1)), m->nout = 1;
  m->in[0] = m->op == OP_Where || m->op == OP_Not ? gen_pick(g, DT_bool, 0, 6) : gen_pick(g, DT_none, 0, 6);
  if (m->in[0] && m->op == OP_Where)
    m->in[1] = gen_pick(g, DT_none, 0, 6);
  for (int i = m->op == OP_Where ? 2 : 1; i < m->nin; i++) {
    if (!m->in[i - 1])
      return false;
    m->in[i] = m->op == OP_CastLike ? gen_pick(g, DT_none, 0, 6) : operand_like(g, m->in[i - 1]);
  }
  if (m->op == OP_Clip)
    for (int i = 1; i < m->nin; i++)
      m->in[i] = gen_const(g, m->in[0] ? m->in[0]->type.dtype : DT_f32, 0, NULL);
  if (m->op == OP_Cast) {
    static const DType to[] = {DT_f32, DT_f32, DT_f16, DT_bf16, DT_f64, DT_i64, DT_i32, DT_bool, DT_u8, DT_i8};
    make_int(g, m, "to", to[rng_below(&g->r, (int64_t)countof(to))]);
  }
  if (m->op == OP_Mod)
    make_int(g, m, "fmod", m->in[0] && dtype_is_float(m->in[0]->type.dtype) ? 1 : rng_below(&g->r, 2));
  if (m->op == OP_BitShift)
    make_str(g, m, "direction", rng_chance(&g->r, 50) ? "LEFT" : "RIGHT");
  if (m->op == OP_Gelu && rng_chance(&g->r, 50))
    make_str(g, m, "approximate", "tanh");
  return m->in[0];
}

static bool reduction(Gen *g, Make *m) {
  m->op = ONE_OF(g, OP_ReduceSum, OP_ReduceSum, OP_ReduceMean, OP_ReduceMax, OP_ReduceMin, OP_ReduceProd, OP_ReduceL1,
                 OP_ReduceL2, OP_ReduceSumSquare, OP_ReduceLogSum, OP_ReduceLogSumExp);
  m->in[0] = gen_pick(g, DT_none, 0, 6), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  make_int(g, m, "keepdims", rng_below(&g->r, 2));
  int rank = m->in[0]->type.rank, n = 0;
  int64_t axis[8];
  for (int k = 0; k < rank; k++)
    if (rng_chance(&g->r, 50))
      axis[n++] = rng_chance(&g->r, 50) ? k : k - rank;
  if (n)
    m->in[1] = gen_ints(g, axis, n, 1), m->nin = 2;
  else
    make_int(g, m, "noop_with_empty_axes", rng_chance(&g->r, 20));
  return true;
}

static bool by_axis(Gen *g, Make *m) {
  m->op =
      ONE_OF(g, OP_Softmax, OP_Softmax, OP_LogSoftmax, OP_Hardmax, OP_ArgMax, OP_ArgMin, OP_CumSum, OP_LpNormalization);
  m->in[0] = gen_float(g, 1, 5), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  int64_t axis = any_axis(g, m->in[0]->type.rank);
  if (m->op == OP_CumSum) {
    m->in[1] = gen_ints(g, &axis, 1, 0), m->nin = 2;
    make_int(g, m, "exclusive", rng_below(&g->r, 2)), make_int(g, m, "reverse", rng_below(&g->r, 2));
    return true;
  }
  make_int(g, m, "axis", axis);
  if (m->op == OP_ArgMax || m->op == OP_ArgMin)
    make_int(g, m, "keepdims", rng_below(&g->r, 2)), make_int(g, m, "select_last_index", rng_below(&g->r, 2));
  if (m->op == OP_LpNormalization)
    make_int(g, m, "p", 1 + rng_below(&g->r, 2));
  return true;
}

/* A constant right operand for rows of v, or a value that happens to fit. */
static bool product(Gen *g, Make *m) {
  m->op = rng_chance(&g->r, 65) ? OP_MatMul : OP_Gemm, m->nin = 2, m->nout = 1;
  m->in[0] = m->op == OP_Gemm ? gen_float(g, 2, 2) : gen_float(g, 1, 4);
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  int64_t ta = m->op == OP_Gemm && rng_chance(&g->r, 30), tb = m->op == OP_Gemm && rng_chance(&g->r, 50);
  int64_t k = extent(g, m->in[0], ta ? 0 : rank - 1), n = 1 + rng_below(&g->r, 40), dim[3] = {tb ? n : k, tb ? k : n};
  if (!dim_is_const(m->in[0]->type.dim[ta ? 0 : rank - 1], NULL) || rng_chance(&g->r, 30))
    m->in[1] = gen_pick(g, m->in[0]->type.dtype, 1, 4);
  else
    m->in[1] = gen_const(g, m->in[0]->type.dtype, 2, dim);
  if (m->op == OP_Gemm) {
    make_int(g, m, "transA", ta), make_int(g, m, "transB", tb);
    if (rng_chance(&g->r, 60))
      m->in[2] = gen_const(g, m->in[0]->type.dtype, 1, &n), m->nin = 3;
    if (rng_chance(&g->r, 30))
      make_float(g, m, "alpha", 0.5f), make_float(g, m, "beta", 2);
  }
  return m->in[1];
}

static bool reshaping(Gen *g, Make *m) {
  m->op = ONE_OF(g, OP_Reshape, OP_Reshape, OP_Flatten, OP_Squeeze, OP_Unsqueeze, OP_Transpose, OP_Transpose, OP_Expand,
                 OP_Tile, OP_Identity);
  m->in[0] = gen_pick(g, DT_none, 0, 4), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  int64_t v[8], n = 0;
  switch (m->op) {
  case OP_Reshape: { /* some axes kept, the rest in one */
    int64_t cut = rng_below(&g->r, rank + 1);
    for (; n < cut; n++)
      v[n] = 0;
    v[n++] = -1;
    if (rng_chance(&g->r, 30))
      v[n++] = 1;
    break;
  }
  case OP_Squeeze:
    for (int k = 0; k < rank; k++)
      if (dim_is(m->in[0]->type.dim[k], 1))
        v[n++] = k;
    if (!n)
      return false;
    break;
  case OP_Unsqueeze: v[n++] = rng_below(&g->r, rank + 1); break;
  case OP_Expand:
    v[n++] = 1 + rng_below(&g->r, 3);
    for (int k = 0; k < rank; k++)
      v[n++] = dim_is(m->in[0]->type.dim[k], 1) ? 1 + rng_below(&g->r, 4) : 1;
    break;
  case OP_Tile:
    for (int k = 0; k < rank; k++)
      v[n++] = 1 + rng_below(&g->r, 3);
    break;
  case OP_Transpose:
    for (; n < rank; n++) {
      int64_t at = rng_below(&g->r, n + 1);
      v[n] = v[at], v[at] = n;
    }
    make_ints(g, m, "perm", v, n);
    return true;
  case OP_Flatten: make_int(g, m, "axis", rng_below(&g->r, rank + 1)); return true;
  default: return true;
  }
  m->in[1] = gen_ints(g, v, n, 1), m->nin = 2;
  return true;
}

static bool cutting(Gen *g, Make *m) {
  m->op =
      ONE_OF(g, OP_Slice, OP_Slice, OP_Split, OP_Concat, OP_Concat, OP_Pad, OP_Trilu, OP_DepthToSpace, OP_SpaceToDepth);
  m->in[0] = gen_pick(g, DT_none, 1, 4), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  int64_t axis = rng_below(&g->r, rank), v[8];
  switch (m->op) {
  case OP_Slice: {
    int64_t step = (int64_t[]){1, 1, 2, -1}[rng_below(&g->r, 4)], from = rng_below(&g->r, 4) - 1,
            to = rng_below(&g->r, 8) - 2;
    if (step < 0)
      from = -1, to = rng_chance(&g->r, 50) ? INT64_MIN : 0;
    else if (rng_chance(&g->r, 40))
      to = INT64_MAX;
    m->in[1] = gen_ints(g, &from, 1, 1), m->in[2] = gen_ints(g, &to, 1, 1), m->in[3] = gen_ints(g, &axis, 1, 1);
    m->in[4] = gen_ints(g, &step, 1, 1), m->nin = 5;
    return true;
  }
  case OP_Split: make_int(g, m, "axis", axis), make_int(g, m, "num_outputs", m->nout = 2); return true;
  case OP_Concat:
    make_int(g, m, "axis", rng_chance(&g->r, 50) ? axis : axis - rank);
    m->nin = 2 + (int)rng_below(&g->r, 2);
    for (int i = 1; i < m->nin; i++)
      m->in[i] = rng_chance(&g->r, 60) ? gen_pick(g, m->in[0]->type.dtype, rank, rank) : m->in[0];
    return m->in[1];
  case OP_Pad: {
    static const char *const mode[] = {"constant", "constant", "reflect", "edge", "wrap"};
    make_str(g, m, "mode", mode[rng_below(&g->r, 5)]);
    for (int k = 0; k < 2 * rank; k++)
      v[k] = rng_below(&g->r, 4) - (rng_chance(&g->r, 15) ? 1 : 0);
    m->in[1] = gen_ints(g, v, 2 * rank, 1), m->nin = 2;
    if (rng_chance(&g->r, 50))
      m->in[2] = gen_const(g, m->in[0]->type.dtype, 0, NULL), m->nin = 3;
    return true;
  }
  case OP_Trilu: make_int(g, m, "upper", rng_below(&g->r, 2)); return rank > 1;
  default: make_int(g, m, "blocksize", 1 + rng_below(&g->r, 2)); return rank == 4;
  }
}

static bool indexing(Gen *g, Make *m) {
  m->op = ONE_OF(g, OP_Gather, OP_Gather, OP_GatherElements, OP_GatherND, OP_ScatterElements, OP_ScatterND, OP_OneHot,
                 OP_TopK, OP_NonZero, OP_Compress);
  m->in[0] = m->op == OP_OneHot ? gen_pick(g, DT_i64, 0, 3) : gen_pick(g, DT_none, 1, 4), m->nin = 2, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  int64_t axis = rank ? rng_below(&g->r, rank) : 0, v[8], n = 1 + rng_below(&g->r, 4);
  int64_t room = rank ? extent(g, m->in[0], (int)axis) : 1;
  for (int k = 0; k < n; k++)
    v[k] = room ? rng_below(&g->r, 2 * room) - room : 0;
  switch (m->op) {
  case OP_Gather:
    make_int(g, m, "axis", axis),
        m->in[1] = rng_chance(&g->r, 25) ? gen_pick(g, DT_i64, 0, 2) : gen_ints(g, v, n == 1 ? 1 : n, n == 1 ? 0 : 1);
    return m->in[1];
  case OP_GatherElements:
  case OP_ScatterElements: {
    int64_t dim[4];
    for (int k = 0; k < rank; k++)
      dim[k] = k == axis ? n : 1;
    m->in[1] = gen_ints(g, v, n, 1);
    Tensor *t = (Tensor *)(uintptr_t)m->in[1]->konst;
    t->rank = (int8_t)rank, memcpy(t->dim, dim, sizeof dim);
    m->in[1]->type = type_of_tensor(g->c, t);
    make_int(g, m, "axis", axis);
    if (m->op == OP_ScatterElements) {
      static const char *const how[] = {"none", "add", "mul", "max", "min"};
      for (int k = 0; k < n; k++) /* no element twice: the order would matter */
        ((int64_t *)t->data)[k] = k;
      make_str(g, m, "reduction", how[rng_below(&g->r, 5)]);
      m->in[2] = gen_const(g, m->in[0]->type.dtype, rank, dim), m->nin = 3;
      return n <= room;
    }
    return true;
  }
  case OP_GatherND:
  case OP_ScatterND: {
    int64_t at[4];
    for (int k = 0; k < rank; k++)
      at[k] = extent(g, m->in[0], k) ? rng_below(&g->r, extent(g, m->in[0], k)) : 0;
    m->in[1] = gen_ints(g, at, 1 + rng_below(&g->r, rank), 1);
    if (m->op == OP_ScatterND)
      m->in[2] = gen_pick(g, m->in[0]->type.dtype, 0, rank), m->nin = 3;
    return m->nin == 2 || m->in[2];
  }
  case OP_OneHot: {
    int64_t depth = 1 + rng_below(&g->r, 5), two = 2;
    m->in[1] = gen_ints(g, &depth, 1, 0), m->in[2] = gen_const(g, DT_f32, 1, &two), m->nin = 3;
    return true;
  }
  case OP_TopK: {
    int64_t k = 1 + rng_below(&g->r, 3);
    make_int(g, m, "axis", axis), make_int(g, m, "largest", rng_below(&g->r, 2));
    m->in[1] = gen_ints(g, &k, 1, 1), m->nout = 2;
    return true;
  }
  case OP_Compress: m->in[1] = gen_pick(g, DT_bool, 1, 1), make_int(g, m, "axis", axis); return m->in[1];
  default: m->nin = 1; return true;
  }
}

static bool shapes(Gen *g, Make *m) {
  m->op = ONE_OF(g, OP_Shape, OP_Size, OP_ConstantOfShape, OP_Range, OP_EyeLike, OP_Reshape, OP_Expand);
  m->nin = 1, m->nout = 1;
  switch (m->op) {
  case OP_ConstantOfShape: m->in[0] = gen_pick(g, DT_i64, 1, 1); break;
  case OP_EyeLike: m->in[0] = gen_pick(g, DT_none, 2, 2); break;
  case OP_Range: {
    int64_t v[2] = {rng_below(&g->r, 3), 1 + rng_below(&g->r, 2)};
    m->in[0] = gen_ints(g, &v[0], 1, 0), m->in[1] = gen_pick(g, DT_i64, 0, 0), m->in[2] = gen_ints(g, &v[1], 1, 0),
    m->nin = 3;
    return m->in[1];
  }
  case OP_Reshape:
  case OP_Expand:
    m->in[0] = gen_pick(g, DT_none, 0, 4), m->in[1] = gen_pick(g, DT_i64, 1, 1), m->nin = 2;
    return m->in[0] && m->in[1];
  default: m->in[0] = gen_pick(g, DT_none, 0, 6); break;
  }
  return m->in[0];
}

static bool normalising(Gen *g, Make *m) {
  m->op = ONE_OF(g, OP_LayerNormalization, OP_LayerNormalization, OP_RMSNormalization, OP_BatchNormalization,
                 OP_InstanceNormalization, OP_GroupNormalization, OP_MeanVarianceNormalization, OP_LRN);
  m->in[0] = gen_float(g, 1, 4), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  DType t = m->in[0]->type.dtype;
  int64_t size[4];
  switch (m->op) {
  case OP_LayerNormalization:
  case OP_RMSNormalization: {
    int axis = (int)rng_below(&g->r, rank), n = 0;
    for (int k = axis; k < rank; k++, n++) {
      if (!dim_is_const(m->in[0]->type.dim[k], &size[n]))
        size[n] = 1;
    }
    make_int(g, m, "axis", axis);
    m->in[1] = gen_const(g, t, n, size), m->nin = 2;
    if (m->op == OP_LayerNormalization && rng_chance(&g->r, 60))
      m->in[2] = gen_const(g, t, n, size), m->nin = 3;
    return true;
  }
  case OP_MeanVarianceNormalization: return rank == 4;
  case OP_LRN: make_int(g, m, "size", 1 + 2 * rng_below(&g->r, 3)); return rank > 2;
  default:
    if (rank < 2 || !dim_is_const(m->in[0]->type.dim[1], &size[0]))
      return false;
    m->in[1] = gen_const(g, t, 1, size), m->in[2] = gen_const(g, t, 1, size), m->nin = 3;
    if (m->op == OP_GroupNormalization)
      make_int(g, m, "num_groups", 1);
    if (m->op == OP_BatchNormalization) {
      Tensor *x;
      m->in[3] = gen_const(g, t, 1, size), m->nin = 5;
      if (tensor_new(g->c, g->top->arena, t, 1, size, &x))
        return false;
      for (int64_t i = 0; i < size[0]; i++) /* variances are positive */
        elem_set_f64(t, x->data, i, 0.25 + (double)rng_below(&g->r, 8) / 4);
      m->in[4] = graph_add_const(g->top, NULL, x);
    }
    return true;
  }
}

static bool windows(Gen *g, Make *m) {
  m->op = ONE_OF(g, OP_Conv, OP_Conv, OP_Conv, OP_ConvTranspose, OP_MaxPool, OP_AveragePool, OP_GlobalAveragePool,
                 OP_GlobalMaxPool, OP_Resize);
  m->in[0] = gen_float(g, 3, 4), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank, space = rank - 2;
  int64_t kernel[2], stride[2], pad[4], dilation[2], channels = extent(g, m->in[0], 1);
  for (int k = 0; k < space; k++) {
    kernel[k] = 1 + rng_below(&g->r, 3), stride[k] = 1 + rng_below(&g->r, 2), dilation[k] = 1 + rng_chance(&g->r, 20);
    pad[k] = rng_below(&g->r, kernel[k]), pad[space + k] = rng_below(&g->r, kernel[k]);
  }
  switch (m->op) {
  case OP_Conv:
  case OP_ConvTranspose: {
    if (!dim_is_const(m->in[0]->type.dim[1], NULL) || !channels)
      return false;
    bool back = m->op == OP_ConvTranspose;
    int64_t group = rng_chance(&g->r, 30) ? channels : 1, out = group * (1 + rng_below(&g->r, group > 1 ? 2 : 9));
    int64_t w[4] = {back ? channels : out, back ? out / group : channels / group, kernel[0], kernel[1 % space]};
    m->in[1] = gen_const(g, m->in[0]->type.dtype, rank, w), m->nin = 2;
    if (rng_chance(&g->r, 50))
      m->in[2] = gen_const(g, m->in[0]->type.dtype, 1, &out), m->nin = 3;
    make_int(g, m, "group", group), make_ints(g, m, "dilations", dilation, space);
    break;
  }
  case OP_MaxPool:
  case OP_AveragePool:
    make_int(g, m, "ceil_mode", rng_chance(&g->r, 30));
    make_ints(g, m, "kernel_shape", kernel, space);
    if (m->op == OP_AveragePool)
      make_int(g, m, "count_include_pad", rng_below(&g->r, 2));
    break;
  case OP_Resize: {
    static const char *const mode[] = {"nearest", "linear", "cubic"};
    int64_t n = rank;
    Tensor *x;
    if (tensor_new(g->c, g->top->arena, DT_f32, 1, &n, &x))
      return false;
    for (int k = 0; k < rank; k++)
      elem_set_f64(DT_f32, x->data, k, k < 2 ? 1 : (double[]){0.5, 1, 1.5, 2}[rng_below(&g->r, 4)]);
    m->in[2] = graph_add_const(g->top, NULL, x), m->nin = 3;
    make_str(g, m, "mode", mode[rng_below(&g->r, 3)]);
    return true;
  }
  default: return true;
  }
  make_ints(g, m, "strides", stride, space), make_ints(g, m, "pads", pad, 2 * space);
  return true;
}

/* --- control flow --- */

static Value *body_chain(Gen *g, int n) {
  int before = g->npool;
  for (int made = 0, tries = 0; made < n && tries < 40; tries++)
    made += gen_node(g);
  return g->npool > before ? g->pool[g->npool - 1] : NULL;
}

static Value *into(Gen *g, Value *v, DType t, int64_t rank,
                   const Value *like) { /* v as a value of like's type, made in g->g */
  Make cast = {.op = OP_Cast, .in = {v}, .nin = 1, .nout = 1};
  (void)rank;
  make_int(g, &cast, "to", t);
  if (!gen_add(g, &cast))
    return NULL;
  Value *x = g->pool[g->npool - 1];
  Make sum = {.op = OP_ReduceSum, .in = {x}, .nin = 1, .nout = 1};
  make_int(g, &sum, "keepdims", 0);
  if (!gen_add(g, &sum))
    return NULL;
  Make add = {.op = OP_Add, .in = {(Value *)(uintptr_t)like, g->pool[g->npool - 1]}, .nin = 2, .nout = 1};
  return gen_add(g, &add) ? g->pool[g->npool - 1] : NULL;
}

/* The values of a body go out of sight with it. */
static bool branch(Gen *g, Node *n, int which, const Value *like) {
  Graph *up = g->g;
  int before = g->npool;
  g->g = graph_create_body(n, which, which ? "else" : "then"), g->depth++;
  Value *v = body_chain(g, 1 + (int)rng_below(&g->r, 3));
  v = v ? into(g, v, like->type.dtype, like->type.rank, like) : NULL;
  if (v)
    graph_add_output(g->g, v);
  g->g = up, g->depth--, g->npool = before;
  return v;
}

static bool conditional(Gen *g) {
  Value *c = gen_pick(g, DT_bool, 0, 0), *like = gen_pick(g, DT_f32, 0, 4);
  if (!c || !like || g->depth > 1)
    return false;
  Node *n = graph_add_node(g->g, NULL, OP_If, 1, 1, NULL, origin_new(g->top, "If", "If", 0));
  node_set_input(n, 0, c);
  if (!branch(g, n, 0, like) || !branch(g, n, 1, like) || node_infer(g->c, n) || interp_node(&g->run, n)) {
    node_remove(n);
    return false;
  }
  g->pool[g->npool++] = n->out[0];
  return true;
}

static bool loop(Gen *g) {
  Value *carried = gen_pick(g, DT_f32, 0, 3);
  int64_t trips = rng_below(&g->r, 4);
  if (!carried || g->depth > 1 || g->npool + 16 > MAX_POOL)
    return false;
  Tensor *yes = tensor_vec_i64(g->top->arena, (int64_t[]){1}, 1);
  yes->dtype = DT_bool, yes->rank = 0;
  Node *n = graph_add_node(g->g, NULL, OP_Loop, 3, 1, NULL, origin_new(g->top, "Loop", "Loop", 0));
  Graph *b = graph_create_body(n, 0, "body"), *up = g->g;
  Value *i = graph_add_input(b, arena_printf(g->top->arena, "i%u", n->id), type_tensor(DT_i64, 0, NULL)),
        *cond = graph_add_input(b, arena_printf(g->top->arena, "c%u", n->id), type_tensor(DT_bool, 0, NULL)),
        *x = graph_add_input(b, arena_printf(g->top->arena, "t%u", n->id), carried->type);
  node_set_input(n, 0, gen_ints(g, &trips, 1, 0)), node_set_input(n, 1, graph_add_const(g->top, NULL, yes)),
      node_set_input(n, 2, carried);
  g->run.value[i->id] = (Tensor *)(uintptr_t)gen_tensor(g, n->in[0]), g->run.value[cond->id] = yes;
  g->run.value[x->id] = (Tensor *)(uintptr_t)gen_tensor(g, carried);
  int before = g->npool;
  g->g = b, g->depth++, g->pool[g->npool++] = x, g->pool[g->npool++] = i;
  Value *v = body_chain(g, 1 + (int)rng_below(&g->r, 3));
  v = v ? into(g, v, DT_f32, 0, x) : NULL;
  graph_add_output(b, cond);
  if (v)
    graph_add_output(b, v);
  g->g = up, g->depth--, g->npool = before;
  if (!v || node_infer(g->c, n) || interp_node(&g->run, n)) {
    node_remove(n);
    return false;
  }
  g->pool[g->npool++] = n->out[0];
  return true;
}

bool gen_node(Gen *g) {
  static bool (*const recipe[])(Gen *, Make *) = {elementwise, reduction, by_axis, product,     reshaping,
                                                  cutting,     indexing,  shapes,  normalising, windows};
  static const int weight[] = {40, 8, 6, 8, 10, 8, 8, 5, 5, 6};
  int64_t k = rng_below(&g->r, 108);
  if (g->npool + 8 > MAX_POOL)
    return false;
  if (k >= 104)
    return k >= 106 ? conditional(g) : loop(g);
  for (size_t i = 0; i < countof(recipe); i++)
    if ((k -= weight[i]) < 0) {
      Make m = {0};
      return recipe[i](g, &m) && gen_add(g, &m);
    }
  return false;
}
