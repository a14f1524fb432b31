/* gen.c - making random graphs. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/random.h"

#include <math.h>
#include <stdio.h>

uint64_t rng_next(Rng *r) { /* splitmix64 */
  uint64_t z = r->s += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t rng_below(Rng *r, int64_t n) { return (int64_t)(rng_next(r) % (uint64_t)n); }
bool rng_chance(Rng *r, int percent) { return rng_below(r, 100) < percent; }

/* --- values --- */

static double random_real(Rng *r, bool special) {
  static const double odd[] = {NAN, INFINITY, -INFINITY, 0, -0.0, 1e9, -1e-40, 65504};
  if (special && rng_chance(r, 12))
    return odd[rng_below(r, (int64_t)countof(odd))];
  return (double)(rng_below(r, 16384) - 8192) / 2048;
}

void fill_random(Rng *r, Tensor *t, bool special) {
  bool is_signed = dtype_kind(t->dtype) == DK_SINT;
  for (int64_t i = 0, n = tensor_count(t); i < n; i++)
    if (dtype_is_float(t->dtype))
      elem_set_f64(t->dtype, t->data, i, random_real(r, special));
    else if (t->dtype == DT_bool)
      elem_set_i64(t->dtype, t->data, i, rng_below(r, 2));
    else
      elem_set_i64(t->dtype, t->data, i, rng_below(r, 9) - (is_signed ? 4 : 0));
}

static DType random_dtype(Rng *r) {
  static const DType rare[] = {DT_f64, DT_f16, DT_bf16, DT_i32, DT_u8, DT_i8, DT_i16, DT_u16, DT_u32, DT_u64};
  int64_t k = rng_below(r, 100);
  return k < 62 ? DT_f32 : k < 74 ? DT_i64 : k < 82 ? DT_bool : rare[rng_below(r, (int64_t)countof(rare))];
}

/* Sizes of the symbols, by name and seed. */
static int64_t size_of(uint64_t seed, const char *name) {
  static const int64_t size[] = {1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 2, 3, 4, 0};
  Rng r = {hash_bytes(name, strlen(name), seed)};
  return size[rng_below(&r, (int64_t)countof(size))];
}

static bool size_get(void *arg, Dim sym, int64_t *v) { return *v = size_of(*(uint64_t *)arg, sym->name), true; }

static Tensor *random_input(Ctx *c, Arena *a, const Value *v, uint64_t seed) {
  int64_t dim[MAX_RANK];
  Tensor *t;
  for (int k = 0; k < v->type.rank; k++)
    if (!dim_eval(v->type.dim[k], size_get, &seed, &dim[k]))
      return NULL;
  if (tensor_new(c, a, v->type.dtype, v->type.rank, dim, &t))
    return NULL;
  Rng r = {hash_bytes(v->name, strlen(v->name), seed + 7)};
  fill_random(&r, t, rng_chance(&r, 20));
  return t;
}

Tensor **random_inputs(Ctx *c, Arena *a, const Graph *g, uint64_t seed) {
  Tensor **in = arena_array(a, Tensor *, g->nin);
  for (uint32_t i = 0; i < g->nin; i++)
    if (!(in[i] = random_input(c, a, g->in[i], seed)))
      return NULL;
  return in;
}

const Tensor *gen_tensor(Gen *g, const Value *v) { return v->konst ? v->konst : g->run.value[v->id]; }

static void keep(Gen *g, Value *v) {
  if (g->npool < MAX_POOL)
    g->pool[g->npool++] = v;
}

Value *gen_pick(Gen *g, DType t, int lo, int hi) {
  for (int k = 0; k < 40 && g->npool; k++) {
    int64_t at = rng_below(&g->r, g->npool), late = rng_below(&g->r, g->npool);
    Value *v = g->pool[at > late ? at : late]; /* late values more often: chains are what gets fused */
    if (v->type.kind == VK_TENSOR && (!t || v->type.dtype == t) && v->type.rank >= lo && v->type.rank <= hi)
      return v;
  }
  return NULL;
}

Value *gen_float(Gen *g, int lo, int hi) {
  Value *v = gen_pick(g, DT_f32, lo, hi);
  if (v && rng_chance(&g->r, 85))
    return v;
  Value *w = gen_pick(g, DT_none, lo, hi);
  return w && dtype_is_float(w->type.dtype) ? w : v;
}

Value *gen_const(Gen *g, DType t, int rank, const int64_t *dim) {
  Tensor *x;
  if (tensor_new(g->c, g->top->arena, t, rank, dim, &x))
    return NULL;
  fill_random(&g->r, x, false);
  return graph_add_const(g->top, NULL, x);
}

Value *gen_ints(Gen *g, const int64_t *v, int64_t n, int rank) {
  Tensor *x = tensor_vec_i64(g->top->arena, v, n);
  x->rank = (int8_t)rank;
  return graph_add_const(g->top, NULL, x);
}

Value *gen_shaped_ints(Gen *g, const int64_t *v, int rank, const int64_t *dim) {
  Tensor *x;
  if (tensor_new(g->c, g->top->arena, DT_i64, rank, dim, &x))
    return NULL;
  if (tensor_count(x))
    memcpy(x->data, v, tensor_bytes(x));
  return graph_add_const(g->top, NULL, x);
}

Value *gen_floats(Gen *g, const float *v, int rank, const int64_t *dim) {
  Tensor *x;
  if (tensor_new(g->c, g->top->arena, DT_f32, rank, dim, &x))
    return NULL;
  if (tensor_count(x))
    memcpy(x->data, v, tensor_bytes(x));
  return graph_add_const(g->top, NULL, x);
}

Value *gen_zeros(Gen *g, DType t, int rank, const int64_t *dim) {
  Tensor *x;
  return tensor_new(g->c, g->top->arena, t, rank, dim, &x) ? NULL : graph_add_const(g->top, NULL, x);
}

Value *gen_positive(Gen *g, DType t, int rank, const int64_t *dim) {
  Tensor *x;
  if (tensor_new(g->c, g->top->arena, t, rank, dim, &x))
    return NULL;
  for (int64_t i = 0; i < tensor_count(x); i++)
    elem_set_f64(t, x->data, i, 0.25 + (double)rng_below(&g->r, 8) / 4);
  return graph_add_const(g->top, NULL, x);
}

Value *gen_distinct(Gen *g, DType t, int rank, const int64_t *dim) {
  Tensor *x;
  if (tensor_new(g->c, g->top->arena, t, rank, dim, &x))
    return NULL;
  for (int64_t i = 0, n = tensor_count(x); i < n; i++) {
    int64_t at = rng_below(&g->r, i + 1);
    elem_set_f64(t, x->data, i, elem_f64(t, x->data, at));
    elem_set_f64(t, x->data, at, (double)i / 16);
  }
  return graph_add_const(g->top, NULL, x);
}

static bool has_shape(Gen *g, const Value *v, DType t, int rank, const int64_t *dim) {
  const Tensor *x = gen_tensor(g, v);
  return v->type.kind == VK_TENSOR && v->type.dtype == t && v->type.rank == rank && x &&
         !memcmp(x->dim, dim, (size_t)rank * sizeof *dim);
}

static Dim any_dim(Gen *g, int64_t extent) {
  static const char *const sym[] = {"n", "m", "k"};
  const char *name = sym[rng_below(&g->r, 3)];
  return size_of(g->seed, name) == extent && rng_chance(&g->r, 60) ? dim_sym(g->c, name) : dim_const(g->c, extent);
}

Value *gen_feed(Gen *g, DType t, int rank, const int64_t *dim) {
  Dim type[MAX_RANK];
  char name[16];
  if (rng_chance(&g->r, 60))
    for (int i = g->npool; i-- > 0;)
      if (has_shape(g, g->pool[i], t, rank, dim))
        return g->pool[i];
  if (rng_chance(&g->r, 20))
    return gen_const(g, t, rank, dim);
  for (int k = 0; k < rank; k++) {
    type[k] = any_dim(g, dim[k]);
    interp_bind(&g->run, type[k], dim[k]);
  }
  snprintf(name, sizeof name, "f%d", g->feeds++);
  Value *v = graph_add_input(g->top, name, type_tensor(t, rank, type));
  g->run.value[v->id] = random_input(g->c, g->run.a, v, g->seed);
  if (!g->depth)
    keep(g, v);
  return v;
}

/* --- nodes --- */

static double magnitude(DType t) { return ldexp(1, dtype_bits(t) - (dtype_kind(t) == DK_SINT)); }

static bool all_within(const Tensor *t, double least, double most) {
  for (int64_t i = 0; t && dtype_is_float(t->dtype) && i < tensor_count(t); i++) {
    double v = fabs(elem_f64(t->dtype, t->data, i));
    if (!(v <= most) || (v < least && v != 0))
      return false;
  }
  return true;
}

static bool has_nan(const Tensor *t) {
  for (int64_t i = 0; t && dtype_is_float(t->dtype) && i < tensor_count(t); i++)
    if (isnan(elem_f64(t->dtype, t->data, i)))
      return true;
  return false;
}

/* Could a product of some of the elements overflow or underflow, though that of all does not? Then the order matters. */
static bool product_may_leave(const Tensor *t) {
  double up = 0, down = 0;
  for (int64_t i = 0; dtype_is_float(t->dtype) && i < tensor_count(t); i++) {
    double v = fabs(elem_f64(t->dtype, t->data, i));
    up += v > 1 ? log2(v) : 0, down += v < 1 && v > 0 ? -log2(v) : 0;
  }
  return up > 120 || down > 120;
}

/* How many elements a norm works on at once. */
static int64_t normed(const Node *n, const Tensor *a) {
  int64_t count = 1;
  int from = 2;
  if (n->op == OP_LayerNormalization || n->op == OP_RMSNormalization) {
    from = (int)(n->op == OP_LayerNormalization ? ATTR(n, LayerNormalization)->axis : ATTR(n, RMSNormalization)->axis);
    from += from < 0 ? a->rank : 0;
  }
  for (int i = from; i < a->rank; i++)
    count *= a->dim[i];
  if (n->op == OP_GroupNormalization && a->rank > 1)
    count *= a->dim[1] / ATTR(n, GroupNormalization)->num_groups;
  if (n->op == OP_MeanVarianceNormalization)
    for (int i = 0; i < a->rank; i++) /* whatever its axes: the fewest there may be */
      count = !i || a->dim[i] < count ? a->dim[i] : count;
  return count;
}

/* Is what the node gives the same however it is computed? Few elements become +-1 by a norm however they are shaken, so that the
 * rounding inside would not show; where squares are formed in f32, they must neither overflow nor
 * vanish; the order of products must not matter; positions must be numbers; no NaN may be asked to be the largest. */
static bool robust(const Node *n, const Tensor *a, const Tensor *b, const Tensor *c) {
  switch (n->op) {
  case OP_LayerNormalization:
  case OP_RMSNormalization:
  case OP_InstanceNormalization:
  case OP_GroupNormalization:
  case OP_MeanVarianceNormalization: return normed(n, a) > 3 && all_within(a, 1e-12, 1e12);
  case OP_ReduceL2:
  case OP_ReduceSumSquare:
  case OP_LpNormalization:
  case OP_BatchNormalization:
  case OP_Normalizer:
  case OP_LRN:
  case OP_RoiAlign:
  case OP_LpPool:
  case OP_GlobalLpPool:
  case OP_Adagrad:
  case OP_Adam: return all_within(a, 1e-12, 1e12) && all_within(c, 1e-12, 1e12);
  case OP_Sin:
  case OP_Cos:
  case OP_Tan: return all_within(a, 0, 1e4);
  case OP_ReduceProd:
  case OP_CumProd: return !product_may_leave(a);
  case OP_ArgMax:
  case OP_ArgMin:
  case OP_TopK:
  case OP_Hardmax:
  case OP_Unique:
  case OP_OneHotEncoder: return !has_nan(a);
  case OP_MaxPool: return n->nout == 1 || !has_nan(a);
  case OP_BitCast:
  case OP_QuantizeLinear: return !has_nan(a);
  case OP_DynamicQuantizeLinear:
  case OP_DFT:
  case OP_STFT:
  case OP_Det: return all_within(a, 0, 1e30);
  case OP_GridSample: return all_within(b, 0, 1e4);
  case OP_DeformConv: return all_within(c, 0, 1e4);
  default: return true;
  }
}

/* ONNX leaves open what integer division by zero, long shifts, and casts of what does not fit give. */
static bool defined(Gen *g, const Node *n) {
  const Tensor *a = n->nin > 0 && n->in[0] ? gen_tensor(g, n->in[0]) : NULL,
               *b = n->nin > 1 && n->in[1] ? gen_tensor(g, n->in[1]) : NULL;
  const Tensor *c = n->nin > 2 && n->in[2] ? gen_tensor(g, n->in[2]) : NULL;
  DType to = n->out[0] ? n->out[0]->type.dtype : DT_none;
  if (!robust(n, a, b, c))
    return false;
  for (int i = 1; n->op == OP_Attention && i < n->nin && i < 6; i++) /* what has no weight may count or not */
    if (i != 3 && n->in[i] && !all_within(gen_tensor(g, n->in[i]), 0, 1e15))
      return false;
  if (n->op == OP_LSTM || n->op == OP_GRU || n->op == OP_RNN ||
      n->op == OP_LinearAttention) /* nor may what goes round and round */
    for (int i = 0; i < n->nout; i++)
      if (n->out[i] && !all_within(gen_tensor(g, n->out[i]), 0, 1e9))
        return false;
  if ((n->op == OP_Div || n->op == OP_Mod || n->op == OP_BitShift) && b && !dtype_is_float(b->dtype))
    for (int64_t i = 0; i < tensor_count(b); i++) {
      int64_t v = elem_i64(b->dtype, b->data, i);
      if (n->op == OP_BitShift ? v < 0 || v >= dtype_bits(b->dtype) : !v)
        return false;
    }
  if (n->op == OP_Pow && (!dtype_is_float(a->dtype) || !dtype_is_float(b->dtype)))
    return false;
  if ((n->op == OP_Cast || n->op == OP_CastLike) && dtype_is_float(a->dtype) && to != DT_bool && !dtype_is_float(to))
    for (int64_t i = 0; i < tensor_count(a); i++) {
      double v = elem_f64(a->dtype, a->data, i);
      if (!(fabs(v) < magnitude(to)) || (v <= -1 && dtype_kind(to) == DK_UINT))
        return false;
    }
  return true;
}

static bool small_enough(const Tensor *t) { return t->kind == VK_TENSOR && t->rank <= 6 && tensor_count(t) <= 20000; }

bool gen_add(Gen *g, const Make *m) {
  Node *n = graph_add_node(g->g, NULL, m->op, m->nin, m->nout, m->attr,
                           origin_new(g->top, op_info(m->op)->name, op_info(m->op)->name, 0));
  for (int i = 0; i < m->nin; i++)
    node_set_input(n, i, m->in[i]);
  for (int i = 0; i < m->nout; i++)
    if (m->absent >> i & 1)
      node_drop_output(n, i);
  bool ok = !node_infer(g->c, n);
  if (ok && *g->top->next_id >= 4096)
    ok = false;
  ok = ok && !interp_node(&g->run, n) && defined(g, n);
  for (int i = 0; ok && i < m->nout; i++)
    ok = !n->out[i] || small_enough(gen_tensor(g, n->out[i]));
  if (!ok) {
    node_remove(n);
    return false;
  }
  for (int i = 0; i < m->nout; i++)
    if (n->out[i])
      keep(g, n->out[i]);
  return true;
}

/* --- the graph --- */

static void add_input(Gen *g, uint64_t seed, int i) {
  static const char *const sym[] = {"n", "m", "k"};
  Dim dim[4];
  int64_t extent[4];
  int rank = (int)rng_below(&g->r, 5);
  for (int k = 0; k < rank; k++) {
    int64_t s = rng_below(&g->r, 5);
    dim[k] = s < 3 ? dim_sym(g->c, sym[s]) : dim_const(g->c, 1 + rng_below(&g->r, 5));
    dim_eval(dim[k], size_get, &seed, &extent[k]);
    interp_bind(&g->run, dim[k], extent[k]);
  }
  char name[16];
  snprintf(name, sizeof name, "x%d", i);
  keep(g, graph_add_input(g->top, name, type_tensor(i ? random_dtype(&g->r) : DT_f32, rank, dim)));
}

static void add_outputs(Gen *g) {
  for (Node *n = g->top->first; n; n = n->next) {
    Value *last = NULL;
    for (int i = 0; i < n->nout; i++)
      if (n->out[i] && !n->out[i]->uses)
        last = n->out[i];
    if (last)
      graph_add_output(g->top, last);
  }
  for (int i = 0; i < g->npool; i++) /* and some that are read inside, too */
    if (g->pool[i]->def && g->pool[i]->def->graph == g->top && !value_is_output(g->pool[i]) && rng_chance(&g->r, 8))
      graph_add_output(g->top, g->pool[i]);
}

/* Types are inferred anew, as of a model that was read. Those at hand have symbols of bodies that were there before the node was:
 * in a graph that was made node by node, and in one that was parsed. */
static void forget_types(Graph *g) {
  for (Node *n = g->first; n; n = n->next) {
    for (int i = 0; i < n->nout; i++)
      if (n->out[i])
        n->out[i]->type = type_tensor(DT_none, -1, NULL), n->out[i]->content = NULL, n->out[i]->told = 0;
    for (int i = 0; i < 2; i++)
      if (n->body[i])
        n->body[i]->typed = 0, forget_types(n->body[i]);
  }
}

Status random_read(Ctx *c, const char *text, Graph **g) {
  TRY(graph_parse(c, text, strlen(text), "random", g));
  forget_types(*g);
  return graph_infer(c, *g);
}

Graph *random_graph(Ctx *c, uint64_t seed, int nodes, OpId favourite) {
  Gen g = {.c = c, .r = {seed}, .seed = seed, .favourite = favourite};
  g.top = g.g = graph_create(c, "random");
  Arena *a = arena_create(c);
  g.run = (Interp){.c = c, .a = a, .value = arena_array(a, Tensor *, 8192)};
  for (int i = 0, n = 1 + (int)rng_below(&g.r, 4); i < n; i++)
    add_input(&g, seed, i);
  Tensor **in = random_inputs(c, a, g.top, seed);
  for (uint32_t i = 0; i < g.top->nin; i++)
    g.run.value[g.top->in[i]->id] = in[i];
  for (int made = 0, tries = 0; made < nodes && tries < 60 * nodes; tries++)
    made += gen_node(&g);
  add_outputs(&g);
  forget_types(g.top);
  return g.top->nout && !graph_infer(c, g.top) ? g.top : NULL;
}
