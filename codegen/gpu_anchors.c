/* gpu_anchors.c - which products and convolutions of a graph are kernels of their own on GPUs, who computes them (FORM_ of unit.h), and
 * what behind them is part of them.
 *
 *   products of many rows     cuBLASLt, with what it can do behind them: a bias of one row, a residual, relu, and of f16 and bf16
 *                             gelu in the tanh form. The erf form differs from that by up to 5e-4, so it stays a kernel of its own,
 *                             and so does any gelu of f32: how exact the library's tanh is, its documentation does not say
 *   of few rows               code of ours, and everything that works element by element behind them; constants that are dequantised
 *                             are read as they are
 *   of few bits, of integers, windows, and with other work behind them that is part of the operator: code of ours, by tiles
 *
 * Convolutions of single channels, and of so few that tiles would be empty for the most part, are loops: a thread per element.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/gpu_product.h"
#include "codegen/grouper.h"

enum {
  LEAST_SIDE = 8,
  MOST_STEPS = INT32_MAX / 2
}; /* rows and steps of k worth a tile; code of ours counts k in 32 bits */

typedef struct Anchor {
  Operands o;
  Set s;
  uint32_t head; /* of its nodes: the operator itself, and a Transpose behind it */
  bool conv;
  GpuNarrow narrow;
  Dim wanted_if;              /* the wide B; NULL: always */
  const Value *bias, *addend; /* what the library adds; NULL: nothing */
} Anchor;

static Node *last_node(const Anchor *x) { return x->s.node[x->s.n - 1]; }

/* --- what the library does behind a product --- */

static bool is_row(const Value *v, Dim n) {
  int r = v->type.rank;
  for (int i = 0; i + 1 < r; i++)
    if (!dim_is(v->type.dim[i], 1))
      return false;
  return r > 0 && v->type.dim[r - 1] == n && !dim_is(n, 1);
}

static bool add_operand(Anchor *x, const Value *v, const Type *out) {
  if (v->type.dtype != out->dtype)
    return false;
  if (is_row(v, x->o.x.n) && !x->bias)
    x->bias = v;
  else if (same_dims(&v->type, out) && !x->addend && !is_row(v, x->o.x.n))
    x->addend = v;
  else
    return false;
  return true;
}

/* What the operator itself asks for. False: the library has no such thing. */
static bool own_work(Anchor *x, const Node *n) {
  const GemmAttr *gemm = n->op == OP_Gemm ? ATTR(n, Gemm) : NULL;
  const Value *third = n->nin > 2 ? n->in[2] : NULL;
  x->o.x.library.factor = gemm ? gemm->alpha : 1;
  if (x->conv && third) { /* by channel: a row of C when those are its columns */
    x->bias = third;
    return x->o.x.trans_b && third->type.dim[0] == x->o.x.n && !dim_is(x->o.x.n, 1);
  }
  return !gemm || !third || gemm->beta == 0 || (gemm->beta == 1 && add_operand(x, third, &n->out[0]->type));
}

/* Takes u, which reads v and nothing else of the set, if the library can do that. */
static bool joins(Grouper *p, Anchor *x, Node *u, const Value *v) {
  ProductLibrary *l = &x->o.x.library;
  const Type *out = &v->type;
  if (u->graph != p->g || info(p, u)->fixed || info(p, u)->host || info(p, u)->kind != LOWER_ELEM ||
      !same_dims(&u->out[0]->type, out) || u->out[0]->type.dtype != out->dtype || l->after)
    return false;
  if (u->op == OP_Add)
    return u->in[0] != u->in[1] && add_operand(x, u->in[u->in[0] == v], out);
  bool gelu = u->op == OP_Gelu && str_is(ATTR(u, Gelu)->approximate, "tanh") && x->o.x.type;
  l->after = u->op == OP_Relu ? AFTER_RELU : gelu ? AFTER_GELU : AFTER_NOTHING;
  return l->after != AFTER_NOTHING;
}

static void library_follow(Grouper *p, Anchor *x) {
  for (;;) {
    const Value *v = last_node(x)->out[0];
    Node *u = value_sole_user(v);
    if (!u || value_is_output(v) || !joins(p, x, u, v))
      return;
    x->s.node[x->s.n++] = u;
  }
}

/* --- whose work it is --- */

static bool forms_of_ours(const Product *x) {
  int64_t k;
  return dim_is_const(x->k, &k) && k > 0 && k <= MOST_STEPS;
}

/* Rows that there may be decide. */
static uint8_t forms_of(const Product *x, bool library) {
  bool ours = forms_of_ours(x), rows = ours && gpu_rows_fit(x) && x->m->lo <= PRODUCT_ROWS;
  bool many = !rows || x->m->hi > PRODUCT_ROWS;
  uint8_t other = library ? FORM_LIBRARY : ours ? FORM_TILES : 0;
  return (uint8_t)((rows ? FORM_ROWS : 0) | (many ? other : 0));
}

/* Is a tile of it filled with something? */
static bool fills_tiles(const Product *x) {
  int64_t m, n, k;
  return !x->channelwise && x->groups < 2 && (!dim_is_const(x->m, &m) || m >= LEAST_SIDE) &&
         (!dim_is_const(x->n, &n) || n >= LEAST_SIDE) && (!dim_is_const(x->k, &k) || k >= LEAST_SIDE);
}

static bool operands(Grouper *p, Anchor *x, const Node *n, const char **why) {
  switch (n->op) {
  case OP_Conv: return anchor_conv(p, n, &x->o, why);
  case OP_MatMulNBits: return anchor_nbits(p, n, &x->o, why);
  case OP_MatMulInteger: return anchor_integer(p, n, &x->o, why);
  case OP_ConvInteger: return anchor_integer_conv(p, n, &x->o, why);
  default: return anchor_product(p, n, &x->o, why);
  }
}

/* Code for few rows reads what B is made of. */
static void read_narrow(Grouper *p, Anchor *x, const Node *n) {
  Product *q = &x->o.x;
  if (!(q->forms & FORM_ROWS) || (q->forms & FORM_TILES) || !gpu_narrow_of(p, &x->o, &x->narrow))
    return;
  if ((q->forms & FORM_LIBRARY) && !(x->wanted_if = gpu_narrow_wanted_if(p, n, &x->narrow, q->m)))
    return;
  q->narrow = x->narrow.f;
  x->o.b = q->forms & FORM_LIBRARY ? x->o.b : x->narrow.weight;
}

/* Decides on the forms and collects the nodes. */
static bool shape(Grouper *p, Anchor *x, Node *n, const char **why) {
  Product *q = &x->o.x;
  bool matrices = !q->window && !q->rows && !q->bytes && !q->bits.bits;
  x->s = (Set){.n = 1, .node = {n}};
  if (x->o.behind)
    x->s.node[x->s.n++] = x->o.behind;
  x->head = x->s.n;
  x->conv = n->op == OP_Conv;
  q->packed_b = false;
  bool library = matrices && q->group <= 1 && own_work(x, n), adds = x->bias || x->addend;
  library &= !adds || q->k->lo > 0; /* it has no matrices without elements */
  q->forms = forms_of(q, library);
  if (matrices)
    read_narrow(p, x, n);
  if (q->forms & FORM_LIBRARY) {
    if (q->k->lo > 0)
      library_follow(p, x);
    return true;
  }
  q->library = (ProductLibrary){0};
  *why = "a product too small for tiles, or with extents known at run time only: a thread per element";
  if (!q->forms || ((q->forms & FORM_TILES) && !fills_tiles(q)))
    return false;
  *why = "a bias that is no row of the result";
  if (!anchor_bias_ok(n, &x->o.axes))
    return false;
  x->s.n = anchor_follow(p, &x->o.axes, &x->s);
  return true;
}

/* --- the unit --- */

static bool epilogue(Grouper *p, Anchor *x, Loop *loop, const char **why) {
  const Node *n = x->s.node[0];
  Value *result = last_node(x)->out[0];
  bool third = n->nin > 2 && n->in[2] && (n->op == OP_Gemm || x->conv);
  bool scaled = n->op == OP_Gemm ? ATTR(n, Gemm)->alpha != 1 || (third && ATTR(n, Gemm)->beta != 0) : third;
  if (x->s.n == x->head && !scaled)
    return true;
  LoopSpec spec = {.name = "epilogue",
                   .node = x->s.node + x->head,
                   .nnode = x->s.n - x->head,
                   .out = &result,
                   .nout = 1,
                   .acc = x->s.node[x->head - 1]->out[0],
                   .axes = x->o.axes};
  if (loop_build(p->c, p->a, &spec, loop)) {
    *why = arena_strdup(p->a, p->c->err.message);
    return false;
  }
  x->o.x.epilogue = loop->kernel;
  const char *missing = kernel_unsupported(loop->kernel);
  if (missing)
    *why = arena_printf(p->a, "no code generation for %s", missing);
  return !missing;
}

/* The inputs: A, B, what belongs to B (codegen/gpu_product.h), then those of the epilogue. */
static uint32_t inputs(Grouper *p, const Anchor *x, const Loop *loop, Value ***in) {
  const Node *n = x->s.node[0];
  const Product *q = &x->o.x;
  uint32_t count = 0;
  *in = arena_array(p->a, Value *, loop->nin + 5u);
  (*in)[count++] = x->o.a, (*in)[count++] = x->o.b;
  Value *const narrow[] = {x->narrow.weight, x->narrow.scale, x->narrow.zero};
  Value *const *extra = !q->narrow.type ? n->in + 2 : narrow + (q->forms & FORM_LIBRARY ? 0 : 1);
  for (uint32_t i = 0; i < gpu_product_extra(q); i++)
    (*in)[count++] = extra[i];
  for (uint32_t i = 1; i < loop->nin; i++) /* input 0 is the sum */
    (*in)[count++] = loop->in[i];
  return count;
}

/* Which input v is; false: it is none, as a number in the code is none. */
static bool input_number(Value *const *in, uint32_t n, const Value *v, uint8_t *number) {
  *number = 0;
  for (uint32_t i = 2; v && i < n; i++)
    if (in[i] == v)
      *number = (uint8_t)i;
  return !v || *number;
}

static bool knows(Grouper *p, const Product *x) {
  return group_knows(p, x->batch) && group_knows(p, x->m) && group_knows(p, x->n) && group_knows(p, x->k);
}

/* The constant weight of a window by rows, as k counts: made once however many read it. UINT32_MAX: it is read as it lies. */
static uint32_t weight_by_taps(Grouper *p, const Value *w, const Product *q) {
  const Groups *g = p->out;
  Packed x = {.value = w, .product = q, .trans = true};
  if (!w->konst || !gpu_weight_reordered(q) || !dim_is_const(q->k, &x.k) || !dim_is_const(q->n, &x.n))
    return UINT32_MAX;
  for (uint32_t i = 0; i < g->npacked; i++)
    if (g->packed[i].value == w && g->packed[i].taps == q->rows->taps)
      return i;
  x.taps = q->rows->taps, x.size = tensor_bytes(w->konst);
  return group_pack(p, &x);
}

static bool make_group(Grouper *p, Anchor *x, const char **why) {
  Product *q = &x->o.x;
  Node *n = x->s.node[0];
  Value *result = last_node(x)->out[0], **in;
  Loop loop = {0};
  if (!epilogue(p, x, &loop, why))
    return false;
  uint32_t nin = inputs(p, x, &loop, &in);
  *why = "a bias of one element";
  if ((q->forms & FORM_LIBRARY) &&
      (!input_number(in, nin, x->bias, &q->library.bias) || !input_number(in, nin, x->addend, &q->library.addend)))
    return false;
  bool conv = x->conv || n->op == OP_ConvInteger;
  Unit *u = group_unit(p, UNIT_PRODUCT,
                       group_name(p, conv ? anchor_conv_name(p, n, q) : anchor_product_name(p, q), x->s.node + x->head,
                                  x->s.n - x->head));
  uint32_t packed = weight_by_taps(p, x->o.b, q);
  q->packed_b = packed != UINT32_MAX;
  u->product = *q;
  gpu_product(p->c, u);
  Group *g = group_add(p, u, x->s.node, x->s.n, result->def);
  p->out->fate[result->def->id].why = anchor_why_ends(&x->s, result);
  g->packed = packed, g->in = in, g->nin = nin;
  g->out = arena_copy(p->a, &result, sizeof result), g->nout = 1;
  for (uint32_t i = 0; i < x->s.n; i++)
    info(p, x->s.node[i])->fixed = true;
  if (q->narrow.type && x->wanted_if)
    p->wanted_if[x->narrow.wide->id] = x->wanted_if;
  anchor_operands_end(p, g, "a product reads its operands from memory");
  group_need(p, g->in, g->nin);
  return true;
}

bool gpu_product_group(Grouper *p, Node *n) {
  Anchor *x = arena_new(p->a, Anchor);
  const char *why = "";
  bool ok = operands(p, x, n, &why);
  if (ok && !knows(p, &x->o.x))
    why = "its extents are too large expressions", ok = false;
  ok = ok && shape(p, x, n, &why) && make_group(p, x, &why);
  if (!ok)
    p->out->fate[n->id].why = why;
  return ok;
}
