/* recipes.c - what random nodes are made of: a function per family of operators, which finds inputs and attributes that are
 * likely to be accepted. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/recipes.h"

#include <string.h>

/* --- attributes by name --- */

static void *attr_at(Gen *g, Make *m, const char *name) {
  const AttrInfo *info = op_info(m->op)->attrs;
  if (!m->attr)
    m->attr = attr_new(g->top->arena, info);
  return (char *)m->attr + attr_field(info, name)->offset;
}

void make_int(Gen *g, Make *m, const char *name, int64_t v) { *(int64_t *)attr_at(g, m, name) = v; }
void make_flag(Gen *g, Make *m, const char *name) { make_int(g, m, name, rng_below(&g->r, 2)); }
void make_float(Gen *g, Make *m, const char *name, float v) { *(float *)attr_at(g, m, name) = v; }
void make_str(Gen *g, Make *m, const char *name, const char *v) {
  *(Str *)attr_at(g, m, name) = (Str){arena_strdup(g->top->arena, v), strlen(v)};
}
void make_ints(Gen *g, Make *m, const char *name, const int64_t *v, int64_t n) {
  *(Ints *)attr_at(g, m, name) = (Ints){arena_copy(g->top->arena, v, (size_t)n * sizeof *v), n};
}

void make_floats(Gen *g, Make *m, const char *name, const float *v, int64_t n) {
  *(Floats *)attr_at(g, m, name) = (Floats){arena_copy(g->top->arena, v, (size_t)n * sizeof *v), n};
}
void make_strs(Gen *g, Make *m, const char *name, const char *const *v, int64_t n) {
  Str *s = arena_array(g->top->arena, Str, n);
  for (int64_t i = 0; i < n; i++)
    s[i] = (Str){arena_strdup(g->top->arena, v[i]), strlen(v[i])};
  *(Strs *)attr_at(g, m, name) = (Strs){s, n};
}

/* --- helpers --- */

int64_t upto(Gen *g, int64_t lo, int64_t hi) { return lo + rng_below(&g->r, hi - lo + 1); }

int64_t any_axis(Gen *g, int rank) { return rng_below(&g->r, 2 * rank) - rank; }
int64_t extent(Gen *g, const Value *v, int axis) { return gen_tensor(g, v)->dim[axis]; }

/* A second operand of v's dtype: from the pool, or a constant that broadcasts to it. */
Value *operand_like(Gen *g, const Value *v) {
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

/* Another alpha, beta, gamma, bias or lambd than the default. */
static void make_alpha(Gen *g, Make *m) {
  static const char *const name[] = {"alpha", "beta", "gamma", "bias", "lambd", "threshold"};
  for (size_t i = 0; i < countof(name); i++)
    if (attr_field(op_info(m->op)->attrs, name[i]) && rng_chance(&g->r, 50))
      make_float(g, m, name[i], (float)(1 + rng_below(&g->r, 12)) / 8);
}

bool recipe_elementwise(Gen *g, Make *m) {
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
    static const DType to[] = {DT_f32,  DT_f32, DT_f32, DT_f16, DT_bf16,     DT_f64,    DT_i64, DT_i32,
                               DT_bool, DT_u8,  DT_i8,  DT_u32, DT_f8e4m3fn, DT_f8e5m2, DT_i4,  DT_u4};
    make_int(g, m, "to", to[rng_below(&g->r, (int64_t)countof(to))]);
  }
  if (m->op == OP_Mod)
    make_int(g, m, "fmod", m->in[0] && dtype_is_float(m->in[0]->type.dtype) ? 1 : rng_below(&g->r, 2));
  if (m->op == OP_BitShift)
    make_str(g, m, "direction", rng_chance(&g->r, 50) ? "LEFT" : "RIGHT");
  if (m->op == OP_Gelu && rng_chance(&g->r, 50))
    make_str(g, m, "approximate", "tanh");
  if (m->op == OP_IsInf)
    make_int(g, m, "detect_negative", rng_below(&g->r, 2)), make_int(g, m, "detect_positive", rng_below(&g->r, 2));
  make_alpha(g, m);
  return m->in[0];
}

bool recipe_reduction(Gen *g, Make *m) {
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

bool recipe_by_axis(Gen *g, Make *m) {
  m->in[0] = gen_float(g, 1, 5), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  int64_t axis = any_axis(g, m->in[0]->type.rank);
  if (m->op == OP_CumSum || m->op == OP_CumProd) {
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
bool recipe_product(Gen *g, Make *m) {
  m->nin = 2, m->nout = 1;
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

bool recipe_reshaping(Gen *g, Make *m) {
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
  case OP_BitCast: {
    static const DType to[] = {DT_i32, DT_u32, DT_f32, DT_i64, DT_f64, DT_u64, DT_i16, DT_f16, DT_bf16, DT_i8, DT_u8};
    make_int(g, m, "to", to[rng_below(&g->r, (int64_t)countof(to))]);
    return true;
  }
  case OP_Flatten: make_int(g, m, "axis", rng_below(&g->r, rank + 1)); return true;
  default: return true;
  }
  m->in[1] = gen_ints(g, v, n, 1), m->nin = 2;
  return true;
}

bool recipe_cutting(Gen *g, Make *m) {
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
  default:
    make_int(g, m, "blocksize", 1 + rng_below(&g->r, 2));
    if (m->op == OP_DepthToSpace && rng_chance(&g->r, 50))
      make_str(g, m, "mode", "CRD");
    return rank == 4;
  }
}

bool recipe_indexing(Gen *g, Make *m) {
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

bool recipe_shapes(Gen *g, Make *m) {
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
