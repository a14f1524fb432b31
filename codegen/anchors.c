/* anchors.c - products, convolutions and attentions: the nodes that a group is built around.
 *
 * A matrix product takes the element-by-element work behind it as its epilogue as long as nothing in between is wanted
 * elsewhere; an attention stands alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu.h"
#include "codegen/grouper.h"

#include "codegen/attention.h"
#include "codegen/conv.h"
#include "codegen/gpu_attention.h"
#include "codegen/integer.h"
#include "codegen/nbits.h"
#include "codegen/tuning.h"
#include "codegen/winograd.h"
#include "ops/eval/nbits.h"

#include <math.h>
#include <string.h>

/* --- products --- */

static bool f32_matrix(const Value *v, int least) {
  return v && v->type.kind == VK_TENSOR && v->type.dtype == DT_f32 && v->type.rank >= least;
}

/* GPUs multiply narrower ones as well. */
static bool float_matrix(const Grouper *p, const Value *v, int least) {
  DType t = v ? v->type.dtype : DT_none;
  bool narrow = (t == DT_f16 || t == DT_bf16) && gpu_level(p->o->cpu_level);
  return f32_matrix(v, least) || (narrow && v->type.kind == VK_TENSOR && v->type.rank >= least);
}

/* Are constants packed, or read as they are by code for GPUs? */
static bool constants_taken(const Grouper *p) { return p->o->pack || gpu_level(p->o->cpu_level); }

static Dim dims_product(Ctx *c, const Type *t, int from, int to) {
  Dim d = dim_const(c, 1);
  for (int i = from; i < to; i++)
    d = dim_mul(c, d, t->dim[i]);
  return d;
}

/* v as Transpose of its last two axes in graph g: the value behind it; else v. */
static Value *untransposed(const Graph *g, Value *v, bool *trans) {
  Node *t = v->def;
  if (!t || t->op != OP_Transpose || v->type.rank < 2 || t->graph != g)
    return v;
  Ints perm = ATTR(t, Transpose)->perm;
  int r = v->type.rank;
  for (int i = 0; i < r; i++) {
    int64_t want = i < r - 2 ? i : i == r - 2 ? r - 1 : r - 2;
    if (perm.v ? perm.v[i] != want : r != 2)
      return v;
  }
  *trans = !*trans;
  return t->in[0];
}

/* v as a Cast to f32 of a Cast of an f32 constant in graph g to a type of 16 bits, as the passes bf16 and fp16 make it: the constant,
 * and that type in *t; else v. */
static Value *unrounded(const Graph *g, Value *v, DType *t) {
  Node *wide = v->def, *narrow = wide && wide->op == OP_Cast ? wide->in[0]->def : NULL;
  if (!narrow || narrow->op != OP_Cast || wide->graph != g || narrow->graph != g || v->type.dtype != DT_f32)
    return v;
  Value *from = narrow->in[0];
  DType to = narrow->out[0]->type.dtype;
  if (!from->konst || from->type.dtype != DT_f32 || (to != DT_bf16 && to != DT_f16))
    return v;
  *t = to;
  return from;
}

static bool same_batch(const Type *a, const Type *b) {
  if (a->rank != b->rank)
    return false;
  for (int i = 0; i < a->rank - 2; i++)
    if (a->dim[i] != b->dim[i])
      return false;
  return true;
}

/* Is B one matrix for all of A's, whose rows are those of one product then? */
static bool one_matrix(const Type *a, const Type *b) {
  for (int i = 0; i < b->rank - 2; i++)
    if (!dim_is(b->dim[i], 1))
      return false;
  return b->rank == 2 || (b->rank <= a->rank && !same_batch(a, b));
}

/* B that is packed may be of 16 bits. */
static void take_rounded(const Grouper *p, Operands *o) {
  DType t = DT_none;
  Value *b = unrounded(p->g, o->b, &t);
  int64_t k;
  int axis = o->x.trans_b ? 1 : 0;
  if (!t || !p->o->pack || b->type.rank != 2 || !dim_is_const(b->type.dim[axis], &k) || k % 2)
    return;
  o->b = b, o->x.weights = t;
}

/* The weight of a convolution that is a product of rows by it: the constant, perhaps rounded. NULL: it is none. */
static Value *constant_weight(const Grouper *p, const Node *n, DType *t) {
  Value *w = p->o->pack ? unrounded(p->g, n->in[1], t) : n->in[1];
  return w->konst ? w : NULL;
}

bool anchor_product(Grouper *p, const Node *n, Operands *o, const char **why) {
  Ctx *c = p->c;
  Product *x = &o->x;
  *o = (Operands){.a = n->in[0], .b = n->in[1]};
  *why = "a product of other types or ranks";
  if (!float_matrix(p, o->a, 2) || !float_matrix(p, o->b, 2) || o->a->type.dtype != o->b->type.dtype ||
      n->out[0]->type.rank < 2)
    return false;
  x->type = o->a->type.dtype == DT_f32 ? DT_none : o->a->type.dtype;
  if (n->op == OP_Gemm)
    x->trans_a = ATTR(n, Gemm)->transA != 0, x->trans_b = ATTR(n, Gemm)->transB != 0;
  else {
    o->b = untransposed(p->g, o->b, &x->trans_b);
    if (!one_matrix(&o->a->type, &o->b->type) || o->a->type.rank == 2)
      o->a = untransposed(p->g, o->a, &x->trans_a);
  }
  take_rounded(p, o);
  const Type *a = &o->a->type, *b = &o->b->type;
  int ra = a->rank, rb = b->rank;
  Dim one = dim_const(c, 1);
  x->batch = one;
  if (one_matrix(a, b) && !x->trans_a) { /* all rows of A at once */
    x->m = dims_product(c, a, 0, ra - 1), x->k = a->dim[ra - 1];
  } else if (rb == 2 && ra == 2) {
    x->m = a->dim[1], x->k = a->dim[0];
  } else if (rb > 2 && (ra == 2 || same_batch(a, b))) {
    x->batch = dims_product(c, b, 0, rb - 2);
    x->batch_a = ra > 2, x->batch_b = true;
    x->m = a->dim[x->trans_a ? ra - 1 : ra - 2], x->k = a->dim[x->trans_a ? ra - 2 : ra - 1];
  } else {
    *why = "a product whose batches do not match one to one";
    return false;
  }
  x->n = b->dim[x->trans_b ? rb - 2 : rb - 1];
  int r = n->out[0]->type.rank;
  o->axes = x->batch_b ? (LoopAxes){3, {0, (int8_t)(r - 2), (int8_t)(r - 1), (int8_t)r}}
                       : (LoopAxes){2, {0, (int8_t)(r - 1), (int8_t)r}};
  *why = "a product whose inner extents are compared at run time";
  if (x->k != b->dim[x->trans_b ? rb - 1 : rb - 2])
    return false;
  *why = "";
  return true;
}

/* MatMulNBits (com.microsoft 1) with constant weights as a Product; *why otherwise. The pass `microsoft` has made a node of its
 * own of the bias. */
bool anchor_nbits(Grouper *p, const Node *n, Operands *o, const char **why) {
  Ctx *c = p->c;
  const MatMulNBitsAttr *at = ATTR(n, MatMulNBits);
  const Type *a = &n->in[0]->type;
  const Value *zero = n->nin > 3 ? n->in[3] : NULL;
  NBits f;
  *o = (Operands){.a = n->in[0], .b = n->in[1]};
  *why = "a product of other types or ranks, or weights of few bits that are no constants";
  if (!constants_taken(p) || !float_matrix(p, o->a, 2) || !nbits_of(at->K, at->N, at->bits, at->block_size, &f))
    return false;
  DType scale = n->in[2]->type.dtype;
  if (!n->in[1]->konst || !n->in[2]->konst || (scale != DT_f32 && scale != a->dtype) || (n->nin > 4 && n->in[4]) ||
      (n->nin > 5 && n->in[5]))
    return false;
  if (zero && (!zero->konst || (zero->type.dtype != DT_u8 && zero->type.dtype != DT_f32)))
    return false;
  bool rounded = at->accuracy_level == 4 && f.k % f.block == 0 && strstr(p->o->cpu_level, "vnni");
  uint8_t z = !zero ? PZ_NONE : zero->type.dtype == DT_u8 ? PZ_BYTE : PZ_F32;
  o->x = (Product){.batch = dim_const(c, 1),
                   .m = dims_product(c, a, 0, a->rank - 1),
                   .n = dim_const(c, f.n),
                   .k = dim_const(c, f.k),
                   .packed_b = true,
                   .type = a->dtype == DT_f32 ? DT_none : a->dtype,
                   .bits = {.bits = (uint8_t)f.bits,
                            .zero = z,
                            .scale = scale == DT_f32 ? DT_none : scale,
                            .rounded = rounded,
                            .block = f.block}};
  o->axes = (LoopAxes){2, {0, (int8_t)(a->rank - 1), a->rank}};
  *why = "";
  return dim_is(a->dim[a->rank - 1], f.k);
}

/* MatMulInteger (10) without zero points, of u8 or i8 by a constant of i8, as a Product; *why otherwise. The pass `integers` has
 * made nodes of their own of the zero points. */
bool anchor_integer(Grouper *p, const Node *n, Operands *o, const char **why) {
  const Type *a = &n->in[0]->type, *b = &n->in[1]->type;
  int64_t k, cols;
  *o = (Operands){.a = n->in[0], .b = n->in[1]};
  *why = "a product of integers with zero points, of other types or ranks, or with a right side that is no constant";
  if (!constants_taken(p) || !n->in[1]->konst || b->dtype != DT_i8 || b->rank != 2 || a->rank < 2 ||
      a->kind != VK_TENSOR)
    return false;
  for (int i = 2; i < n->nin; i++)
    if (n->in[i])
      return false;
  if ((a->dtype != DT_u8 && a->dtype != DT_i8) || !dim_is_const(b->dim[0], &k) || !dim_is_const(b->dim[1], &cols) || !k)
    return false;
  o->x = (Product){.batch = dim_const(p->c, 1),
                   .m = dims_product(p->c, a, 0, a->rank - 1),
                   .n = b->dim[1],
                   .k = b->dim[0],
                   .packed_b = true,
                   .bytes = a->dtype};
  o->axes = (LoopAxes){2, {0, (int8_t)(a->rank - 1), a->rank}};
  *why = "";
  return a->dim[a->rank - 1] == b->dim[0];
}

/* ConvInteger (10) between transpositions that make its channels the last, as a Product; *why otherwise. */
bool anchor_integer_conv(Grouper *p, const Node *n, Operands *o, const char **why) {
  Node *in, *out;
  *o = (Operands){.b = n->in[1]};
  *why =
      "a convolution of integers that is no product: with zero points of the weight, or a weight that is no constant";
  if (!constants_taken(p) || !conv_channels_last(n, &in, &out) || !in || info(p, out)->fixed || !info(p, out)->timely ||
      !conv_integer_product(p->c, p->a, n, &o->x))
    return false;
  int rank = out->out[0]->type.rank;
  o->a = in->in[0], o->behind = out;
  o->axes = (LoopAxes){2, {0, (int8_t)(rank - 1), (int8_t)rank}};
  *why = "";
  return true;
}

bool anchor_bias_ok(const Node *n, const LoopAxes *axes) {
  return n->op != OP_Gemm || n->nin < 3 || !n->in[2] || ATTR(n, Gemm)->beta == 0 ||
         (n->in[2]->type.dtype == n->out[0]->type.dtype &&
          loop_epilogue_operand(&n->out[0]->type, &n->in[2]->type, axes));
}

/* A weight of 16 bits is packed by pairs of channels, or of a matrix's k; not for sums of single channels or of planes. */
static bool weights_by_pairs(const Product *x, DType t) {
  int64_t k;
  return !t || (!x->planes && !x->channelwise && dim_is_const(x->k, &k) && k / (x->rows ? x->rows->taps : 1) % 2 == 0);
}

/* A convolution between the transpositions that make its input's and its result's channels the last: they go away. */
static bool conv_rows_of(Grouper *p, const Node *n, Operands *o) {
  Node *in, *out;
  DType t = DT_none;
  *o = (Operands){.b = constant_weight(p, n, &t)};
  if (!constants_taken(p) || !o->b || !conv_channels_last(n, &in, &out) || info(p, out)->fixed ||
      !info(p, out)->timely || !conv_rows_product(p->c, p->a, n, !in, &o->x) || !weights_by_pairs(&o->x, t))
    return false;
  int rank = out->out[0]->type.rank;
  o->a = in ? in->in[0] : n->in[0], o->behind = out;
  o->axes = (LoopAxes){2, {0, (int8_t)(rank - 1), (int8_t)rank}};
  o->x.weights = t;
  if (!gpu_level(p->o->cpu_level))
    o->x.winograd = (uint8_t)winograd_choose(&o->x, p->o->cpu_level, o->b->konst->data);
  return true;
}

bool anchor_conv(Grouper *p, const Node *n, Operands *o, const char **why) {
  *why = "a convolution of other types";
  if (n->in[0]->type.dtype != DT_f32 && !gpu_level(p->o->cpu_level))
    return false;
  *why = "";
  if (conv_rows_of(p, n, o))
    return true;
  *o = (Operands){.a = n->in[1], .b = n->in[0]};
  if (!conv_product(p->c, p->a, n, &o->x, why))
    return false;
  if (!o->x.group) {
    DType t = DT_none;
    Value *w = constant_weight(p, n, &t);
    bool taken = w && weights_by_pairs(&o->x, t);
    *o = (Operands){.a = n->in[0], .b = taken ? w : n->in[1], .x = o->x};
    o->x.weights = taken ? t : DT_none;
    o->axes = (LoopAxes){2, {0, 1, n->out[0]->type.rank}};
    return true;
  }
  o->x.batch_a = o->x.group > 1;
  o->axes = (LoopAxes){3, {0, 1, 2, n->out[0]->type.rank}};
  return true;
}

/* May node n work on the product's result in its epilogue? */
static bool fits_epilogue(Grouper *p, const Set *s, const Node *n, const Type *out, const LoopAxes *axes) {
  Info *f = info(p, n);
  if (n->graph != p->g || f->fixed || f->host || f->kind != LOWER_ELEM || !elementwise(n) || n->nout != 1 ||
      !same_dims(&n->out[0]->type, out) || dtype_bits(n->out[0]->type.dtype) < 8) /* whose parts would share bytes */
    return false;
  for (int i = 0; i < n->nin; i++) {
    const Value *v = n->in[i];
    if (!v || (v->def && set_find(s, v->def) >= 0) || (v->konst && tensor_count(v->konst) == 1))
      continue;
    if (!loop_epilogue_operand(out, &v->type, axes))
      return false;
  }
  return true;
}

/* The one value of the set that is wanted outside of it, or NULL: several are. */
static Value *open_value(const Set *s) {
  Value *open = NULL;
  for (uint32_t i = 0; i < s->n; i++) {
    Value *v = s->node[i]->out[0];
    bool outside = false;
    for (const Use *u = v->uses; u; u = u->next)
      outside |= !u->node || set_find(s, u->node) < 0;
    if (outside && open)
      return NULL;
    open = outside ? v : open;
  }
  return open;
}

/* The first node behind the set that may join it. */
static Node *next_consumer(Grouper *p, const Set *s, const Type *out, const LoopAxes *axes, const bool *tried) {
  Node *best = NULL;
  for (uint32_t i = 0; i < s->n; i++)
    for (const Use *u = s->node[i]->out[0]->uses; u; u = u->next)
      if (u->node && set_find(s, u->node) < 0 && !tried[u->node->id] &&
          (!best || info(p, u->node)->pos < info(p, best)->pos) && fits_epilogue(p, s, u->node, out, axes))
        best = u->node;
  return best;
}

enum { MAX_EPILOGUE = 16 };

/* What node u reads is widened for it alone from a narrower type that the epilogue can read: it is done there as well. */
static void take_widening(Grouper *p, Set *s, const Node *u, const Type *out, const LoopAxes *axes) {
  for (int i = 0; i < u->nin; i++) {
    Node *w = u->in[i] ? u->in[i]->def : NULL;
    if (!w || (w->op != OP_DequantizeLinear && w->op != OP_Cast) || set_find(s, w) >= 0 ||
        !value_sole_user(w->out[0]) || s->n + 1 >= LOOP_NODES ||
        dtype_bits(w->in[0]->type.dtype) >= dtype_bits(w->out[0]->type.dtype) || info(p, w)->pos > info(p, u)->pos ||
        !fits_epilogue(p, s, w, out, axes))
      continue;
    s->node[s->n++] = w;
  }
}

/* The longest run of element-by-element nodes behind those of the set that ends in one value. Returns how many of s->node
 * belong to it. */
uint32_t anchor_follow(Grouper *p, const LoopAxes *axes, Set *s) {
  bool *tried = arena_array(p->a, bool, *p->g->next_id);
  uint32_t closed = s->n, most = s->n + MAX_EPILOGUE;
  const Type *type = &s->node[s->n - 1]->out[0]->type;
  while (s->n < most) {
    Node *u = next_consumer(p, s, type, axes, tried);
    if (!u)
      break;
    tried[u->id] = true;
    take_widening(p, s, u, type, axes);
    s->node[s->n++] = u;
    if (set_inputs(s) > MAX_INPUTS)
      break;
    Value *open = open_value(s);
    if (open && open->def == u)
      closed = s->n;
  }
  return closed;
}

const char *anchor_product_name(Grouper *p, const Product *x) {
  int64_t k, n;
  const char *kind = x->bytes ? ".integers" : "";
  if (x->bits.bits)
    kind = arena_printf(p->a, ".%ubits", x->bits.bits);
  if (x->weights)
    kind = arena_printf(p->a, ".%s", dtype_name(x->weights));
  if (dim_is_const(x->k, &k) && dim_is_const(x->n, &n))
    return arena_printf(p->a, "product%s.%lldx%lld", kind, (long long)k, (long long)n);
  return x->batch_b ? "product.batched" : "product";
}

/* "conv.3x3.64x128": taps, channels of a group in, channels out. */
const char *anchor_conv_name(Grouper *p, const Node *n, const Product *x) {
  StrBuf b;
  const Type *w = &n->in[1]->type;
  int64_t group = ATTR(n, Conv)->group;
  buf_init(&b, p->a);
  buf_puts(&b, n->op == OP_ConvInteger ? "conv.integers" : "conv");
  if (x->weights)
    buf_printf(&b, ".%s", dtype_name(x->weights));
  for (int i = 2; i < w->rank; i++)
    buf_printf(&b, "%c%s", i == 2 ? '.' : 'x', dim_text(p->c, w->dim[i]));
  buf_printf(&b, ".%sx%s", dim_text(p->c, w->dim[1]), dim_text(p->c, w->dim[0]));
  if (group > 1)
    buf_printf(&b, ".%lldgroups", (long long)group);
  return b.text;
}

static bool packed_bytes(const Product *x, const ProductPlan *plan, int64_t k, int64_t n, int64_t *bytes) {
  if (x->bits.bits)
    return nbits_packed_bytes(plan, &x->bits, k, n, bytes);
  if (x->bytes)
    return integer_packed_bytes(plan, x, k, n, bytes);
  if (x->winograd)
    k = winograd_elements(x) * winograd_channels(x);
  if (!product_packed_floats(plan, k, n, bytes))
    return false;
  *bytes *= product_b_bytes(x); /* which is known not to overflow */
  return true;
}

uint32_t group_pack(Grouper *p, const Packed *x) {
  Groups *g = p->out;
  Packed *bigger = arena_array(p->a, Packed, g->npacked + 1u);
  if (g->npacked)
    memcpy(bigger, g->packed, g->npacked * sizeof *bigger);
  g->packed = bigger;
  g->packed[g->npacked] = *x;
  return g->npacked++;
}

/* The packed form of a constant B, made once however many products read it. */
static uint32_t packed_of(Grouper *p, const Packed *like) {
  const Product *x = like->product;
  ProductPlan plan = product_plan(x, p->o->cpu_level);
  int64_t k, n, bytes, taps = x->rows && !x->channelwise && !x->planes ? x->rows->taps : 1;
  if (!dim_is_const(x->k, &k) || !dim_is_const(x->n, &n))
    return UINT32_MAX;
  if (!packed_bytes(x, &plan, k, n, &bytes))
    return UINT32_MAX;
  Groups *g = p->out;
  for (uint32_t i = 0; i < g->npacked; i++) {
    const Packed *y = &g->packed[i];
    if (y->value == like->value && y->scale == like->scale && y->zero == like->zero && y->trans == x->trans_b &&
        y->taps == taps && y->product->bits.bits == x->bits.bits && y->product->bits.rounded == x->bits.rounded &&
        y->product->bytes == x->bytes && y->n == n && y->product->channelwise == x->channelwise &&
        y->product->weights == x->weights && y->product->winograd == x->winograd && y->product->zero == x->zero &&
        y->product->bits.block == x->bits.block && product_plan(y->product, p->o->cpu_level).nr == plan.nr)
      return i;
  }
  Packed new = *like;
  new.k = k, new.n = n, new.trans = x->trans_b, new.taps = taps;
  new.size = (uint64_t)bytes;
  return group_pack(p, &new);
}

/* What stands behind a product and is not part of its epilogue. */
const char *anchor_why_ends(const Set *s, const Value *result) {
  if (!result->uses || value_is_output(result))
    return "";
  return s->n > MAX_EPILOGUE ? "its epilogue is long enough"
                             : "what reads it does not work element by element on all of it";
}

/* What makes the operands of an anchor does not become part of it. */
void anchor_operands_end(Grouper *p, const Group *x, const char *why) {
  for (uint32_t i = 0; i < x->nin; i++)
    if (x->in[i]->def && x->in[i]->def->graph == p->g)
      p->out->fate[x->in[i]->def->id].why = why;
}

static bool operands_of(Grouper *p, const Node *n, Operands *o, const char **why) {
  switch (n->op) {
  case OP_Conv: return anchor_conv(p, n, o, why);
  case OP_MatMulNBits: return anchor_nbits(p, n, o, why);
  case OP_MatMulInteger: return anchor_integer(p, n, o, why);
  case OP_ConvInteger: return anchor_integer_conv(p, n, o, why);
  default: return anchor_product(p, n, o, why);
  }
}

/* The mean of every line of what a convolution of single channels makes, if that is wanted: the node that takes it. */
static Node *line_means_of(Grouper *p, const Value *v) {
  const int64_t *axis;
  int64_t n;
  for (const Use *u = v->uses; u; u = u->next) {
    Node *m = u->node;
    if (m && m->op == OP_ReduceMean && m->graph == p->g && m->in[0] == v && m->nin > 1 && m->in[1] && m->in[1]->konst &&
        value_ints(m->in[1], &axis, &n, p->a) && n == 1 && (axis[0] == v->type.rank - 2 || axis[0] == -2) &&
        !info(p, m)->fixed && info(p, m)->timely)
      return m;
  }
  return NULL;
}

static bool product_group(Grouper *p, Node *n) {
  Operands o;
  Set s;
  Loop loop = {0};
  const char *why;
  bool conv = n->op == OP_Conv, bits = n->op == OP_MatMulNBits;
  bool whole = bits || n->op == OP_MatMulInteger || n->op == OP_ConvInteger;
  if (!operands_of(p, n, &o, &why) || !anchor_bias_ok(n, &o.axes)) {
    p->out->fate[n->id].why = *why ? why : "a bias that is no row of the result";
    return false;
  }
  s = (Set){.n = 1, .node = {n}};
  if (o.behind)
    s.node[s.n++] = o.behind;
  uint32_t head = s.n;
  s.n = anchor_follow(p, &o.axes, &s);
  Value *result = s.node[s.n - 1]->out[0];
  const GemmAttr *gemm = n->op == OP_Gemm ? ATTR(n, Gemm) : NULL;
  bool third = n->nin > 2 && n->in[2];
  bool scaled = gemm ? gemm->alpha != 1 || (third && gemm->beta != 0) : conv && third;
  if (s.n > head || scaled) {
    LoopSpec spec = {.name = "epilogue",
                     .node = s.node + head,
                     .nnode = s.n - head,
                     .out = &result,
                     .nout = 1,
                     .acc = s.node[head - 1]->out[0],
                     .axes = o.axes};
    if (loop_build(p->c, p->a, &spec, &loop)) {
      p->out->fate[n->id].why = arena_strdup(p->a, p->c->err.message);
      return false;
    }
    o.x.epilogue = loop.kernel;
  }
  Node *means = o.x.channelwise && !o.x.bytes && result->type.dtype == DT_f32 ? line_means_of(p, result) : NULL;
  const char *ends = anchor_why_ends(&s, result);
  o.x.line_means = means;
  if (means)
    s.node[s.n++] = means;
  Unit *u = group_unit(
      p, UNIT_PRODUCT,
      group_name(p, conv || n->op == OP_ConvInteger ? anchor_conv_name(p, n, &o.x) : anchor_product_name(p, &o.x),
                 s.node + head, s.n - head));
  uint32_t packed = UINT32_MAX;
  if (!group_knows(p, o.x.batch) || !group_knows(p, o.x.m) || !group_knows(p, o.x.n) || !group_knows(p, o.x.k)) {
    p->out->fate[n->id].why = "its extents are too large expressions";
    return false;
  }
  o.x.packed_b = whole || (p->o->pack && o.b->konst && (o.behind || conv ? !o.x.group : o.b->type.rank == 2));
  if (!gpu_level(p->o->cpu_level))
    tuning_apply(p->o->tuning, p->a, &o.x, p->o->cpu_level);
  u->product = o.x;
  if (o.x.packed_b)
    packed = packed_of(p, &(Packed){.value = o.b,
                                    .scale = bits ? n->in[2] : NULL,
                                    .zero = bits && n->nin > 3 ? n->in[3] : NULL,
                                    .product = &u->product});
  u->product.packed_b = packed != UINT32_MAX;
  if ((o.x.rows || whole) && packed == UINT32_MAX) {
    p->out->fate[n->id].why = "its weight is too large";
    return false;
  }
  product_schedule(p->c, u, p->o->cpu_level);
  Group *x = group_add(p, u, s.node, s.n, result->def);
  p->out->fate[result->def->id].why = ends;
  x->packed = packed;
  x->in = arena_array(p->a, Value *, loop.nin + 2u);
  x->in[x->nin++] = o.a, x->in[x->nin++] = o.b;
  for (uint32_t i = 1; i < loop.nin; i++) /* input 0 is the sum */
    x->in[x->nin++] = loop.in[i];
  x->out = arena_copy(p->a, (Value *[]){result, means ? means->out[0] : NULL}, 2 * sizeof result);
  x->nout = means ? 2 : 1;
  for (uint32_t i = 0; i < s.n; i++)
    info(p, s.node[i])->fixed = true;
  anchor_operands_end(p, x, "a product reads its operands from memory");
  group_need(p, x->in, x->nin);
  return true;
}

/* --- attention --- */

/* Exporters broadcast a mask cut to the length of one cache to the keys of another: Bcast(keys, x) is `keys` in every run, but
 * where that is 1 and x is 0. */
static bool is_keys(Dim d, Dim keys) {
  return d == keys || (d->kind == DIM_BCAST && (d->arg[0] == keys || d->arg[1] == keys));
}

static bool gpu_float(DType t) { return t == DT_f32 || t == DT_f16 || t == DT_bf16; }

static bool wants(const Node *n, int i) {
  return i < n->nout && n->out[i] && (n->out[i]->uses || value_is_output(n->out[i]));
}

static bool mask_of(const Value *m, Attention *t, bool gpu) {
  Dim full[4] = {t->batch, NULL, t->q_len, t->kv_len};
  if (!m)
    return true;
  int r = m->type.rank;
  if ((gpu ? !gpu_float(m->type.dtype) : m->type.dtype != DT_f32) && m->type.dtype != DT_bool)
    return false;
  if (r < (gpu ? 1 : 2) || r > 4)
    return false;
  t->mask_short = !is_keys(m->type.dim[r - 1], t->kv_len);
  Dim own = m->type.dim[r - 1]; /* a key at least, where keys behind the mask are looked at */
  if (t->mask_short && (!gpu || own->lo > t->kv_len->hi || (t->scores && own->lo < 1)))
    return false;
  for (int i = 0; i < r; i++) {
    Dim d = i == r - 1 && !t->mask_short ? t->kv_len : m->type.dim[i], want = full[4 - r + i];
    if (!dim_is(d, 1) && i < r - 1 && (want ? d != want : !dim_is(d, t->heads)))
      return false;
    t->mask_dim[i] = d;
  }
  t->mask = m->type.dtype, t->mask_rank = (int8_t)r;
  return true;
}

/* May it be an operand? On GPUs all three are of one type of two. */
static bool attention_operand(const Node *n, int i, bool gpu) {
  const Value *v = n->in[i];
  return v && v->type.kind == VK_TENSOR && v->type.rank >= 3 && v->type.rank <= 4 &&
         (gpu ? gpu_float(v->type.dtype) && v->type.dtype == n->in[0]->type.dtype : v->type.dtype == DT_f32);
}

enum { SINK = 7, SCORES = 3 }; /* the last input of SinkAttention; the last output */

/* The scores as an output, and the precision of the softmax. */
static bool scores_of(const Node *n, bool gpu, Attention *t) {
  const AttentionAttr *at = ATTR(n, Attention);
  if (wants(n, SCORES))
    t->scores = (uint8_t)(SCORES_PRODUCTS + at->qk_matmul_output_mode);
  if (at->softmax_precision == DT_f16 || at->softmax_precision == DT_bf16)
    t->soft = (DType)at->softmax_precision;
  else if (at->softmax_precision != ABSENT && at->softmax_precision != DT_f32)
    return false;
  return gpu ? wants(n, 0) && t->scores <= SCORES_WEIGHTS : !t->scores && !t->soft;
}

/* Attention (25) without cache, of f32, which may have a sink; on GPUs also of f16 and bf16, with the scores as an output and lengths of the
 * entries' own, but without a sink. nonpad_kv_seqlen may also say that all keys are there, which puts queries at the last of them. */
static bool attention_of(const Node *n, bool gpu, Attention *t, const char **why) {
  const AttentionAttr *at = ATTR(n, Attention);
  int64_t width[3];
  *why = "an attention with a cache or further outputs";
  for (int i = 4; i < n->nin && i < 6; i++)
    if (n->in[i])
      return false;
  if (wants(n, 1) || wants(n, 2) || (wants(n, SCORES) && !gpu))
    return false;
  *why = "an attention with a sink";
  if (n->op == OP_SinkAttention && (gpu || n->in[SINK]->type.dtype != DT_f32 || n->in[SINK]->type.rank != 1))
    return false;
  bool counted = n->nin > 6 && n->in[6], windows = at->left_window_size >= 0 || at->right_window_size >= 0;
  *why = "an attention of other types, or extents known at run time only";
  int r = n->in[0]->type.rank;
  for (int i = 0; i < 3; i++)
    if (!attention_operand(n, i, gpu) || n->in[i]->type.rank != r ||
        !dim_is_const(n->in[i]->type.dim[r - 1], &width[i]) || n->in[i]->type.dim[0] != n->in[0]->type.dim[0])
      return false;
  const Type *q = &n->in[0]->type, *k = &n->in[1]->type, *v = &n->in[2]->type;
  *t = (Attention){.batch = q->dim[0], .q_len = q->dim[r - 2], .kv_len = k->dim[r - 2], .zero_rows = true};
  if (v->dim[r - 2] != t->kv_len || !scores_of(n, gpu, t))
    return false;
  if (r == 3) {
    t->heads = at->q_num_heads, t->kv_heads = at->kv_num_heads;
    t->q_len = q->dim[1], t->kv_len = k->dim[1];
    if (v->dim[1] != t->kv_len || t->heads < 1 || t->kv_heads < 1 || width[0] % t->heads || width[1] % t->kv_heads ||
        width[2] % t->kv_heads)
      return false;
    t->dk = width[0] / t->heads, t->dv = width[2] / t->kv_heads;
    if (width[1] / t->kv_heads != t->dk)
      return false;
  } else {
    if (!dim_is_const(q->dim[1], &t->heads) || !dim_is_const(k->dim[1], &t->kv_heads) || v->dim[1] != k->dim[1] ||
        width[0] != width[1])
      return false;
    t->dk = width[0], t->dv = width[2];
    t->q_split = t->kv_split = t->out_split = true;
  }
  if (t->heads < 1 || t->kv_heads < 1 || t->heads % t->kv_heads || t->dk < 1 || t->dv < 1)
    return false;
  t->scale = isnan(at->scale) ? 1 / sqrt((double)t->dk) : (double)at->scale;
  t->causal = at->is_causal != 0, t->cap = at->softcap > 0 ? (double)at->softcap : 0;
  t->has_left = at->left_window_size >= 0, t->left = at->left_window_size;
  t->has_right = at->right_window_size >= 0, t->right = at->right_window_size;
  *why = "an attention with a negative cap, or windows longer than any sequence";
  if (at->softcap < 0 || t->left > INT32_MAX || t->right > INT32_MAX)
    return false;
  t->sink = n->op == OP_SinkAttention;
  *why = "a sink of another length";
  if (t->sink && !dim_is(n->in[SINK]->type.dim[0], t->heads))
    return false;
  if (gpu) {
    t->type = q->dtype;
    *why = "an attention of heads with more elements than 32 bits count";
    if (!gpu_attention_fits(t))
      return false;
  }
  *why = "an attention whose sequences have lengths of their own";
  if (counted && !attention_keys_all(n, t->kv_len)) {
    const Type *valid = &n->in[6]->type;
    t->counted = gpu && valid->dtype == DT_i64 && valid->rank == 1 && valid->dim[0] == t->batch;
    if (!t->counted)
      return false;
  }
  t->from_first = !counted && (t->causal || windows) && t->q_len != t->kv_len;
  *why = "a causal attention over two lengths";
  if (t->from_first && !gpu)
    return false;
  *why = "a mask that does not broadcast to the scores";
  return mask_of(n->nin > 3 ? n->in[3] : NULL, t, gpu);
}

/* …which each run checks. */
static void need_keys(Grouper *p, Group *x, const Value *m, Dim keys) {
  Dim d = m ? m->type.dim[m->type.rank - 1] : keys;
  if (d == keys || x->unit->attention.mask_short)
    return;
  Need *all = arena_array(p->a, Need, x->nneed + 1u);
  if (x->nneed)
    memcpy(all, x->need, x->nneed * sizeof *all);
  all[x->nneed++] = (Need){keys, d, "the last extent of the mask", x->root->origin};
  x->need = all;
}

/* A cache may have room for more keys than there are. */
static Dim cache_rows(const Value *v) { return v->append ? value_rows(v, v->type.rank - 2) : NULL; }

static bool attention_group(Grouper *p, Node *n) {
  Attention t;
  const char *why;
  bool gpu = gpu_level(p->o->cpu_level);
  if (!attention_of(n, gpu, &t, &why)) {
    p->out->fate[n->id].why = why;
    return false;
  }
  Unit *u =
      group_unit(p, UNIT_ATTENTION, arena_printf(p->a, "attention.%lldx%lld", (long long)t.heads, (long long)t.dk));
  if (!group_knows(p, t.batch) || !group_knows(p, t.q_len) || !group_knows(p, t.kv_len)) {
    p->out->fate[n->id].why = "its extents are too large expressions";
    return false;
  }
  u->attention = t;
  u->attention.k_rows = cache_rows(n->in[1]), u->attention.v_rows = cache_rows(n->in[2]);
  if (gpu)
    gpu_attention_schedule(p->c, p->a, u);
  else
    attention_schedule(p->c, u, p->o->cpu_level);
  Group *x = group_add(p, u, &n, 1, n);
  x->in = arena_array(p->a, Value *, 6);
  for (int i = 0; i < n->nin && i < 4; i++)
    if (n->in[i])
      x->in[x->nin++] = n->in[i];
  if (t.sink)
    x->in[x->nin++] = n->in[SINK];
  if (t.counted)
    x->in[x->nin++] = n->in[6];
  x->out = arena_copy(p->a, (Value *[]){n->out[0], t.scores ? n->out[SCORES] : NULL}, 2 * sizeof *n->out);
  x->nout = t.scores ? 2 : 1;
  need_keys(p, x, n->nin > 3 ? n->in[3] : NULL, t.kv_len);
  info(p, n)->fixed = true;
  anchor_operands_end(p, x, "an attention reads its operands from memory");
  group_need(p, x->in, x->nin);
  return true;
}

static bool is_product(OpId op) {
  return op == OP_MatMul || op == OP_Gemm || op == OP_Conv || op == OP_MatMulNBits || op == OP_MatMulInteger ||
         op == OP_ConvInteger;
}

static bool is_attention(OpId op) { return op == OP_Attention || op == OP_SinkAttention; }

bool op_is_anchor(OpId op) { return is_product(op) || is_attention(op); }

void group_anchors(Grouper *p) {
  for (uint32_t i = p->norder; i-- > 0;) {
    Node *n = p->order[i];
    Info *f = info(p, n);
    if (f->fixed || f->host || !f->timely || !op_is_anchor(n->op))
      continue;
    if (is_attention(n->op))
      attention_group(p, n);
    else if (gpu_level(p->o->cpu_level))
      gpu_product_group(p, n);
    else
      product_group(p, n);
    if (!f->fixed)
      f->why = p->out->fate[n->id].why;
  }
}
