/* loop.c - one loop kernel for a set of nodes.
 *
 *   for the axes of the result, outermost first       or, with a ROW node:  for the axes outside of a row
 *     store root[i, j, …]                                                     passes over the row, in begin
 *                                                                             for the axes inside of a row: store root[…]
 *
 * An element of a value is computed where it is asked for. What is asked for again at the same place, or is wanted as an
 * output on the way, becomes a variable. In later passes over a row a value stored on the way is read back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/loop.h"

#include "codegen/append.h"
#include "codegen/nest.h"

#include <stdio.h>
#include <string.h>

typedef struct Memo {
  const Value *v;
  KExpr *index[MAX_RANK];
  KExpr *e;
  int level;
  const KVar *scope; /* innermost loop that e depends on; NULL: none */
  struct Memo *next;
} Memo;

typedef struct Build {
  Lower x;
  const LoopSpec *s;
  Value *in[LOOP_BUFFERS];
  KBuf *inbuf[LOOP_BUFFERS];
  uint32_t nin;
  KBuf *outbuf[LOOP_BUFFERS];
  bool stored[LOOP_BUFFERS];
  Memo *memo;
  Row row;
  bool in_row;           /* the passes of the core are done or under way */
  KExpr *lead[MAX_RANK]; /* epilogue: the root's index on each axis */
} Build;

static bool member(const Build *b, const Node *n) {
  for (uint32_t i = 0; n && i < b->s->nnode; i++)
    if (b->s->node[i] == n)
      return true;
  return false;
}

static int output_of(const Build *b, const Value *v) {
  for (uint32_t i = 0; i < b->s->nout; i++)
    if (b->s->out[i] == v)
      return (int)i;
  return -1;
}

/* --- what was computed before --- */

static bool same_expr(const KExpr *a, const KExpr *b) {
  return a == b || (a->kind == KE_INT && b->kind == KE_INT && a->i == b->i && a->dtype == b->dtype) ||
         (a->kind == KE_VAR && b->kind == KE_VAR && a->var == b->var) ||
         (a->kind == KE_DIM && b->kind == KE_DIM && a->dim == b->dim);
}

static KExpr *recall(Build *b, const Value *v, KExpr *const *index) {
  for (Memo *m = b->memo; m; m = m->next) {
    bool same = m->v == v && m->level <= b->x.depth && (!m->level || b->x.level[m->level - 1].var == m->scope);
    for (int i = 0; same && i < v->type.rank; i++)
      same = same_expr(m->index[i], index[i]);
    if (same)
      return m->e;
  }
  return NULL;
}

static void remember(Build *b, const Value *v, KExpr *const *index, KExpr *e) {
  Memo *m = arena_new(b->x.a, Memo);
  m->v = v, m->e = e, m->level = lower_level(&b->x, e);
  m->scope = m->level ? b->x.level[m->level - 1].var : NULL;
  if (v->type.rank)
    memcpy(m->index, index, (size_t)v->type.rank * sizeof *index);
  m->next = b->memo, b->memo = m;
}

static bool used_again(const Value *v) { return v->uses && v->uses->next; }

/* --- reading --- */

/* Constants of one element are literals, not buffers. */
static bool is_literal(const Value *v) {
  return v->konst && tensor_count(v->konst) == 1 && dtype_kind(v->type.dtype) != DK_COMPLEX;
}

/* The only element of a constant as a literal. */
static KExpr *literal(Build *b, const Tensor *t) {
  if (dtype_is_float(t->dtype))
    return ke_float(b->x.k, t->dtype, const_elem(t, 0));
  uint64_t bits = 0; /* the file may hold it at any address */
  memcpy(&bits, t->data, tensor_bytes(t));
  return ke_int(b->x.k, t->dtype, elem_i64(t->dtype, &bits, 0));
}

static KBuf *buffer(Build *b, const Value *v) {
  for (uint32_t i = 0; i < b->nin; i++)
    if (b->in[i] == v)
      return b->inbuf[i];
  return NULL;
}

/* Epilogue: index in terms of the product's own axes [batch,] m, n. */
static Status flat_index(Build *b, const Value *v, KExpr *const *index, KExpr **at) {
  const Type *out = &b->s->acc->type;
  const LoopAxes *x = &b->s->axes;
  int lead = out->rank - v->type.rank, n = 0;
  for (int g = 0; g < x->n; g++) {
    int from = x->at[g], to = x->at[g + 1];
    KExpr *e = v == b->s->acc ? b->lead[to - 1] : NULL;
    for (int i = from; i < to; i++)
      if (i >= lead && !dim_is(v->type.dim[i - lead], 1))
        e = index[i - lead];
    if (buffer(b, v)->rank > n && e)
      at[n++] = e;
  }
  return n == buffer(b, v)->rank ? ST_OK : fail(b->x.c, ST_INTERNAL, "an operand that does not fit the epilogue");
}

static Status load(Build *b, Value *v, KExpr *const *index, KExpr **e) {
  KBuf *buf = buffer(b, v);
  KExpr *at[MAX_RANK];
  if (!buf)
    return fail(b->x.c, ST_INTERNAL, "'%s' is no input of the kernel", v->name ? v->name : "?");
  if (b->s->acc) {
    TRY(flat_index(b, v, index, at));
    index = at;
  }
  *e = ke_load(b->x.k, buf, index);
  if (!b->x.flat && lower_level(&b->x, *e) < b->x.depth)
    *e = lower_once(&b->x, "c", *e);
  return ST_OK;
}

/* Gemm (13): alpha * A B + beta * C. */
static Status scaled(Build *b, const Node *n, KExpr *const *index, KExpr **e) {
  const GemmAttr *a = ATTR(n, Gemm);
  Lower *x = &b->x;
  KExpr *c;
  if (a->alpha != 1)
    *e = k_mul(x, *e, k_num(x, *e, a->alpha));
  if (n->nin < 3 || !n->in[2] || a->beta == 0)
    return ST_OK;
  TRY(lower_read_bcast(x, n, 2, index, &c));
  *e = k_add(x, *e, a->beta == 1 ? c : k_mul(x, c, k_num(x, c, a->beta)));
  return ST_OK;
}

static Value *bias_of(const Node *n) { return n->nin > 2 ? n->in[2] : NULL; }

/* The convolution whose sums an epilogue works on, at once or through a Transpose that puts the channels last; or NULL. */
static const Node *acc_conv(const Build *b) {
  const Node *n = b->s->acc ? b->s->acc->def : NULL;
  if (n && n->op == OP_Transpose)
    n = n->in[0]->def;
  return n && n->op == OP_Conv ? n : NULL;
}

/* Conv (22): one number per channel, axis 1 or the last one, is added. */
static Status biased(Build *b, const Node *n, KExpr **e) {
  Value *v = bias_of(n);
  if (!v)
    return ST_OK;
  bool one = v->konst && tensor_count(v->konst) == 1;
  int axis = b->s->acc->def == n ? 1 : b->s->acc->type.rank - 1;
  *e = k_add(&b->x, *e, one ? literal(b, v->konst) : ke_load(b->x.k, buffer(b, v), &b->lead[axis]));
  return ST_OK;
}

/* Checks that are written from here on are n's. Returns whose they were. */
static const Origin *lowering(Build *b, const Node *n) {
  const Origin *before = b->x.k->origin;
  b->x.k->origin = n->origin;
  return before;
}

static Status compute(Build *b, Value *v, KExpr *const *index, KExpr **e) {
  const Node *n = v->def;
  if (n == b->s->core && !b->in_row)
    return fail(b->x.c, ST_INTERNAL, "a row is asked for before it is there");
  const Origin *before = lowering(b, n);
  Status st = n == b->s->core ? op_lowering(n->op)->row_elem(&b->row, index, e)
                              : op_lowering(n->op)->elem(&b->x, n, v->index, index, e);
  b->x.k->origin = before;
  return st;
}

static Status store(Build *b, int out, KExpr *const *index, KExpr *e) {
  KExpr *at[MAX_RANK];
  if (b->s->acc) {
    for (int g = 0; g < b->s->axes.n; g++)
      at[g] = b->lead[b->s->axes.at[g]];
    index = at;
  }
  ks_store(&b->x.at, b->outbuf[out], index, e);
  b->stored[out] = true;
  return ST_OK;
}

static Status read(Lower *x, Value *v, KExpr *const *index, KExpr **e) {
  Build *b = (Build *)(void *)x;
  int out = output_of(b, v);
  const Dim *content;
  int64_t n;
  if (is_literal(v)) {
    *e = literal(b, v->konst);
    return ST_OK;
  }
  if (!v->konst && value_content(x->c, v, &content, &n) && n == 1 && !(*content)->data) {
    *e = ke_cast(x->k, v->type.dtype, ke_dim(x->k, *content));
    return ST_OK;
  }
  if ((*e = recall(b, v, index)))
    return ST_OK;
  if (!member(b, v->def)) {
    TRY(load(b, v, index, e));
    if (v == b->s->acc && v->def->op == OP_Gemm)
      TRY(scaled(b, v->def, index, e));
    if (v == b->s->acc && acc_conv(b))
      TRY(biased(b, acc_conv(b), e));
  } else if (out >= 0 && b->stored[out]) {
    *e = ke_load(x->k, b->outbuf[out], index);
  } else {
    TRY(compute(b, v, index, e));
  }
  if (out >= 0 && !b->stored[out]) {
    *e = lower_once(x, "v", *e);
    TRY(store(b, out, index, *e));
  } else if (used_again(v)) {
    *e = lower_once(x, "v", *e);
  }
  remember(b, v, index, *e);
  return ST_OK;
}

/* --- buffers --- */

/* [batch,] m, n of an epilogue's operand, without what is broadcast. */
static int operand_dims(Build *b, const Type *t, Dim *dim) {
  const LoopAxes *x = &b->s->axes;
  int lead = b->s->acc->type.rank - t->rank, n = 0;
  for (int g = 0; g < x->n; g++) {
    int from = x->at[g], to = x->at[g + 1];
    Dim d = dim_const(b->x.c, 1);
    for (int j = from > lead ? from : lead; j < to; j++)
      d = dim_mul(b->x.c, d, t->dim[j - lead]);
    if (!dim_is(d, 1))
      dim[n++] = d;
  }
  return n;
}

/* Extents in memory: by these the kernel finds elements, its loops run over those of the type. */
static void memory_dims(const Value *v, Dim *dim) {
  for (int i = 0; i < v->type.rank; i++)
    dim[i] = value_rows(v, i);
}

static const Value *conv_bias(const Build *b) {
  const Node *n = acc_conv(b);
  return n ? bias_of(n) : NULL;
}

static Status add_input(Build *b, Value *v) {
  char name[32];
  Dim dim[MAX_RANK];
  if (!v || buffer(b, v) || member(b, v->def) || is_literal(v))
    return ST_OK;
  if (b->nin == LOOP_BUFFERS)
    return fail(b->x.c, ST_INTERNAL, "a group with too many inputs");
  int rank = v->type.rank;
  if (b->s->acc && v != conv_bias(b))
    rank = operand_dims(b, &v->type, dim);
  else
    memory_dims(v, dim);
  snprintf(name, sizeof name, "x%u", b->nin);
  b->in[b->nin] = v;
  b->inbuf[b->nin++] = kernel_add_buf(b->x.k, name, v->type.dtype, rank, dim, false);
  return ST_OK;
}

static Status add_inputs(Build *b) {
  if (acc_conv(b) || (b->s->acc && b->s->acc->def->op == OP_Gemm))
    TRY(add_input(b, bias_of(acc_conv(b) ? acc_conv(b) : b->s->acc->def)));
  for (uint32_t i = 0; i < b->s->nnode; i++)
    for (int k = 0; k < b->s->node[i]->nin; k++)
      TRY(add_input(b, b->s->node[i]->in[k]));
  return ST_OK;
}

static Dim product_of(Ctx *c, const Type *t, int from, int to) {
  Dim d = dim_const(c, 1);
  for (int i = from; i < to; i++)
    d = dim_mul(c, d, t->dim[i]);
  return d;
}

/* [batch,] m, n of a product's result. */
static int flat_dims(Ctx *c, const Type *t, const LoopAxes *x, Dim *dim) {
  for (int g = 0; g < x->n; g++)
    dim[g] = product_of(c, t, x->at[g], x->at[g + 1]);
  return x->n;
}

static void add_outputs(Build *b) {
  char name[32];
  Dim dim[MAX_RANK];
  for (uint32_t i = 0; i < b->s->nout; i++) {
    const Type *t = &b->s->out[i]->type;
    snprintf(name, sizeof name, b->s->nout > 1 ? "y%u" : "y", i);
    if (b->s->acc)
      b->outbuf[i] = kernel_add_buf(b->x.k, name, t->dtype, flat_dims(b->x.c, t, &b->s->axes, dim), dim, true);
    else {
      memory_dims(b->s->out[i], dim);
      b->outbuf[i] = kernel_add_buf(b->x.k, name, t->dtype, t->rank, dim, true);
    }
  }
}

/* --- loops --- */

/* Makes sure that output `out` is stored at that index. */
static Status emit_output(Build *b, uint32_t out, KExpr *const *index) {
  KExpr *e;
  TRY(read(&b->x, b->s->out[out], index, &e));
  if (!b->stored[out])
    TRY(store(b, (int)out, index, e));
  return ST_OK;
}

static int axis_of(int64_t axis, int rank) { return (int)(axis < 0 ? axis + rank : axis); }

/* What of input i is written: of a cache's past perhaps nothing, it may be there already. */
static Type concat_part(const Node *n, int i, int axis) {
  const Append *x = n->out[0]->append;
  Type t = n->in[i]->type;
  if (!i && x && x->past == n->in[0])
    t.dim[axis] = x->copied;
  return t;
}

/* Concat: a loop nest per input, around it the axes before. */
static Status concat_nests(Build *b, const Node *n) {
  const Type *t = &n->out[0]->type;
  int a = axis_of(ATTR(n, Concat)->axis, t->rank);
  KExpr *index[MAX_RANK], *at[MAX_RANK], *e;
  KCursor behind, inner;
  int outer = lower_open_axes(&b->x, t, 0, a, index, &behind);
  Dim from = dim_const(b->x.c, 0);
  for (int i = 0; i < n->nin; i++) {
    const Type *in = &n->in[i]->type;
    for (int k = 0; k < t->rank; k++)
      if (k != a && in->dim[k] != t->dim[k]) {
        KExpr *have = ke_dim(b->x.k, in->dim[k]);
        TRY(lower_check(
            &b->x, k_bin(&b->x, KOP_eq, have, ke_dim(b->x.k, t->dim[k])), have, t->dim[k],
            arena_printf(b->x.a, "tensor %d to concatenate has extent %%lld on axis %d, the first %%lld", i, k)));
      }
    Type part = concat_part(n, i, a);
    int depth = lower_open_axes(&b->x, &part, a, t->rank, index, &inner);
    TRY(lower_read(&b->x, n->in[i], index, &e));
    memcpy(at, index, sizeof at);
    at[a] = k_add(&b->x, index[a], ke_dim(b->x.k, from));
    ks_store(&b->x.at, b->outbuf[0], at, e);
    lower_close(&b->x, depth, inner);
    from = dim_add(b->x.c, from, in->dim[a]);
  }
  lower_close(&b->x, outer, behind);
  return ST_OK;
}

/* Outputs that differ in extents: a nest for each, around them the axes they share. */
static Status output_nests(Build *b) {
  const Type *t = &b->s->out[0]->type;
  KExpr *index[MAX_RANK];
  KCursor behind, inner;
  int shared = t->rank;
  for (uint32_t o = 1; o < b->s->nout; o++) {
    const Type *u = &b->s->out[o]->type;
    int k = 0;
    while (k < shared && k < u->rank && u->dim[k] == t->dim[k])
      k++;
    shared = k;
  }
  int outer = lower_open_axes(&b->x, t, 0, shared, index, &behind);
  for (uint32_t o = 0; o < b->s->nout; o++) {
    const Type *u = &b->s->out[o]->type;
    int depth = lower_open_axes(&b->x, u, shared, u->rank, index, &inner);
    TRY(emit_output(b, o, index));
    lower_close(&b->x, depth, inner);
  }
  lower_close(&b->x, outer, behind);
  return ST_OK;
}

static Status own_nest(Build *b, const Node *n) {
  KBuf *out[LOOP_BUFFERS] = {0};
  for (uint32_t i = 0; i < b->s->nout; i++)
    out[b->s->out[i]->index] = b->outbuf[i];
  lowering(b, n);
  return op_lowering(n->op)->nest(&b->x, n, out);
}

/* Is v made by the row operator or behind it, so that it is stored in the last pass? */
static bool behind_core(const Build *b, const Value *v) {
  uint32_t core = 0, at = 0;
  for (uint32_t i = 0; i < b->s->nnode; i++) {
    core = b->s->node[i] == b->s->core ? i : core;
    at = b->s->node[i] == v->def ? i : at;
  }
  return at >= core;
}

/* An output that may hold what lies between the passes: like the row operator's own result, of the type it computes in. */
static KBuf *spill_of(Build *b) {
  const Value *v = b->s->core->out[0];
  for (uint32_t i = 0; v && i < b->s->nout; i++) {
    const Value *o = b->s->out[i];
    DType t = v->type.dtype;
    if ((t == DT_f32 || t == DT_f64) && o->type.dtype == t && same_dims(&o->type, &v->type) && behind_core(b, o))
      return b->outbuf[i];
  }
  return NULL;
}

/* What the core finds out about a row beside its elements (the mean, the deviation), where that is wanted. */
static void store_stats(Build *b) {
  Row *r = &b->row;
  KExpr *index[MAX_RANK + 1];
  for (uint32_t i = 0; i < b->s->nout; i++) {
    const Value *v = b->s->out[i];
    if (v->def != b->s->core || !v->index)
      continue;
    for (int k = 0; k < v->type.rank; k++)
      index[k] = r->inner[k] ? lower_index_const(&b->x, 0) : r->at[k];
    KExpr *e = op_lowering(b->s->core->op)->row_stat(r, v->index);
    ks_store(&b->x.at, b->outbuf[i], index, ke_cast(b->x.k, v->type.dtype, e));
    b->stored[i] = true;
  }
}

/* Stores inside of a row, or behind the passes when each row gives one element. */
static Status row_nest(Build *b) {
  static const char *const names[] = {"i", "j", "k", "l"};
  Row *r = &b->row;
  Lower *x = &b->x;
  const Lowering *l = op_lowering(b->s->core->op);
  KExpr *index[MAX_RANK + 1];
  KCursor behind, inner;
  int outer = 0, depth = 0, n = 0;
  *r = (Row){.x = x, .n = b->s->core, .split = -1};
  l->space(x->c, r);
  r->spill = r->reduced || r->serial ? NULL : spill_of(b);
  for (int i = 0; i < r->rank; i++)
    if (!r->inner[i] || r->outer[i]) {
      Dim d = r->outer[i] ? r->outer[i] : r->dim[i];
      r->at[i] = r->lead[i] =
          dim_is(d, 1) ? lower_index_const(x, 0) : lower_open(x, names[i & 3], d, outer++ ? NULL : &behind);
    }
  const Origin *before = lowering(b, b->s->core);
  TRY(l->begin(r));
  b->x.k->origin = before;
  b->in_row = true;
  store_stats(b);
  for (int i = 0; !r->reduced && i < r->rank; i++)
    if (r->inner[i])
      r->at[i] = row_open(r, i, depth++ ? NULL : &inner);
  if (r->reduced) {
    const Type *t = &b->s->core->out[0]->type;
    bool keep = t->rank == r->rank;
    for (int i = 0; i < r->rank; i++)
      if (!r->inner[i] || keep)
        index[n++] = r->outer[i] ? r->lead[i] : r->inner[i] ? lower_index_const(x, 0) : r->at[i];
  } else {
    row_index(r, index);
  }
  for (uint32_t i = 0; i < b->s->nout; i++)
    if (!b->stored[i])
      TRY(emit_output(b, i, index));
  lower_close(x, depth, inner);
  lower_close(x, outer, behind);
  return ST_OK;
}

/* Epilogue of a product: loops over [batch,] m, n; the axes that m or the batch stand for share its variable. */
static Status epilogue_nest(Build *b) {
  const Type *t = &b->s->acc->type;
  const LoopAxes *x = &b->s->axes;
  int n, depth = 0;
  Dim dim[MAX_RANK];
  KExpr *var[3];
  KCursor behind;
  n = flat_dims(b->x.c, t, &b->s->axes, dim);
  for (int i = 0; i < n; i++)
    var[i] = lower_open(&b->x, i == n - 1 ? "n" : i == n - 2 ? "m" : "b", dim[i], depth++ ? NULL : &behind);
  for (int g = 0; g < n; g++)
    for (int i = x->at[g]; i < x->at[g + 1]; i++)
      b->lead[i] = var[g];
  TRY(emit_output(b, 0, b->lead));
  lower_close(&b->x, depth, behind);
  return ST_OK;
}

bool loop_epilogue_operand(const Type *out, const Type *t, const LoopAxes *axes) {
  int lead = out->rank - t->rank;
  if (lead < 0)
    return false;
  for (int g = 0; g < axes->n; g++) { /* all axes of a group are there, or none */
    int from = axes->at[g], to = axes->at[g + 1], there = 0, gone = 0;
    for (int i = from; i < to; i++) {
      bool one = i < lead || dim_is(t->dim[i - lead], 1);
      if (!one && t->dim[i - lead] != out->dim[i])
        return false;
      if (!dim_is(out->dim[i], 1))
        there += !one, gone += one;
    }
    if (there && gone)
      return false;
  }
  return true;
}

Status loop_build(Ctx *c, Arena *a, const LoopSpec *s, Loop *out) {
  Build *b = arena_new(a, Build);
  uint32_t kept[LOOP_BUFFERS];
  Dim dim[MAX_RANK];
  const Node *root = s->nnode ? s->node[s->nnode - 1] : NULL;
  b->s = s;
  b->x = (Lower){.c = c, .a = a, .k = kernel_create(c, a, s->name), .read = read};
  b->x.at = kernel_cursor(b->x.k);
  if (s->acc) {
    b->x.flat = true;
    b->in[0] = s->acc;
    b->inbuf[b->nin++] =
        kernel_add_buf(b->x.k, "acc", s->acc->type.dtype, flat_dims(c, &s->acc->type, &s->axes, dim), dim, false);
  }
  TRY(add_inputs(b));
  add_outputs(b);
  if (s->acc)
    TRY(epilogue_nest(b));
  else if (s->core)
    TRY(row_nest(b));
  else if (root->op == OP_Concat)
    TRY(concat_nests(b, root));
  else if (op_lowering(root->op)->kind == LOWER_NEST || append_scatters(root))
    TRY(own_nest(b, root));
  else
    TRY(output_nests(b));
  if (!s->acc)
    nest_merge(c, b->x.k);
  uint32_t n = nest_prune(b->x.k, kept);
  out->kernel = b->x.k, out->nin = n;
  out->in = arena_array(a, Value *, n + 1u);
  for (uint32_t i = 0; i < n; i++)
    out->in[i] = b->in[kept[i]];
  return kernel_verify(c, b->x.k);
}
