/* layout.c - channels go last around convolutions. A convolution with constant weights is put between transpositions,
 *
 *     Conv(x, w)   ->   P⁻¹(P(Conv(P⁻¹(P(x)), w)))         P: [N, C, …] -> [N, …, C]
 *
 * of which the inner two stay: code generation sees by them that it may read and write channels last (codegen/conv.h), and
 * whoever does not still computes the same. The outer two meet those of the neighbours: what works element by element, moves
 * along an axis, pools or resizes goes over to channels last as well, so that only the ends of the graph convert.
 * Needs: types inferred. SPDX-License-Identifier: Apache-2.0 */
#include "passes/rewrite.h"

#include "ops/eval/nn.h"

#include <math.h>
#include <string.h>

enum {
  LEAST_CHANNELS = 12, /* of floats: fewer fill vectors of 16 badly, and go first */
  LEAST_CHANNELS_INTEGER = 8,
  LEAST_GROUP_ROWS = 4,
  MAX_TAPS = 1024,
  MOST_INPUTS = 64,
  IMAGE_CHANNELS = 4,
  MANY_ROWS = 96
};

typedef struct Layout {
  Ctx *c;
  Arena *a;
  Value **last; /* by Value.id, below n: the value with its channels last, or NULL */
  uint32_t n;
  bool *wanted; /* by Value.id: a convolution reads it, through what keeps the layout */
  bool halves;  /* there are products of 16 bits, on GPUs */
  Match m;      /* the node at hand: where and for whom nodes are emitted */
} Layout;

static bool is_byte(DType t) { return t == DT_u8 || t == DT_i8; }
static bool is_half(DType t) { return t == DT_f16 || t == DT_bf16; }

/* Of the types of convolutions of floats, and of integers and what is between them. */
static bool spatial(const Value *v) {
  if (!v || v->type.kind != VK_TENSOR || v->type.rank < 3 || v->type.rank > 5)
    return false;
  DType t = v->type.dtype;
  return t == DT_f32 || t == DT_f64 || is_half(t) || t == DT_i32 || is_byte(t);
}

/* One position only: the two layouts have the same bytes. */
static bool one_position(const Value *v) {
  for (int i = 2; i < v->type.rank; i++)
    if (!dim_is(v->type.dim[i], 1))
      return false;
  return true;
}

/* --- which nodes --- */

static bool is_integer_conv(const Node *n) {
  return n->op == OP_ConvInteger && is_byte(n->in[0]->type.dtype) && n->in[1]->type.dtype == DT_i8 &&
         (n->nin < 3 || !n->in[2] || n->in[2]->konst) && (n->nin < 4 || !n->in[3]);
}

static bool is_float_conv(const Layout *l, const Node *n) {
  return n->op == OP_Conv && (n->in[0]->type.dtype == DT_f32 || (l->halves && is_half(n->in[0]->type.dtype)));
}

/* A convolution that code generation has a form for that is better with channels last: of one group, of single channels, or of
 * integers. */
static bool is_conv(const Layout *l, const Node *n) {
  int64_t rows, channels, taps = 1, k;
  if ((!is_float_conv(l, n) && !is_integer_conv(n)) || !spatial(n->in[0]) || !n->in[1]->konst || !spatial(n->in[1]) ||
      !spatial(n->out[0]) || (one_position(n->in[0]) && one_position(n->out[0])))
    return false;
  const Type *w = &n->in[1]->type;
  int64_t group = ATTR(n, Conv)->group;
  for (int i = 2; i < w->rank; i++) {
    if (!dim_is_const(w->dim[i], &k) || k < 1 || k > MAX_TAPS)
      return false;
    taps *= k;
  }
  if (!dim_is_const(w->dim[0], &rows) || !dim_is_const(w->dim[1], &channels) || taps > MAX_TAPS || channels < 1 ||
      rows < (n->op == OP_Conv ? LEAST_CHANNELS : LEAST_CHANNELS_INTEGER))
    return false;
  return group == 1 || (channels == 1 && rows == group) ||
         (n->op == OP_ConvInteger && group > 0 && rows / group >= LEAST_GROUP_ROWS);
}

static bool is_elementwise(const Node *n) {
  return ((op_info(n->op)->flags & OPF_ELEMENTWISE) || node_quantises_alike(n)) && n->nout == 1 && spatial(n->out[0]) &&
         n->nin <= MOST_INPUTS;
}

/* Works on the spatial axes alone, of input 0: stays as it is, between transpositions. */
static bool is_local(const Node *n) {
  if (!n->nin || !spatial(n->in[0]) || !spatial(n->out[0]) || n->in[0]->type.rank != n->out[0]->type.rank)
    return false;
  for (int i = 1; i < n->nout; i++)
    if (n->out[i])
      return false;
  return n->op == OP_MaxPool || n->op == OP_AveragePool || n->op == OP_LpPool || n->op == OP_Resize;
}

/* A BatchNormalization outside of training whose statistics are constants. */
static bool is_norm(const Node *n) {
  int64_t channels;
  if (n->op != OP_BatchNormalization || n->in[0]->type.dtype != DT_f32 || ATTR(n, BatchNormalization)->training_mode ||
      !spatial(n->out[0]) || (n->nout > 1 && n->out[1]) || (n->nout > 2 && n->out[2]) ||
      !dim_is_const(n->out[0]->type.dim[1], &channels))
    return false;
  for (int i = 1; i < 5; i++)
    if (!n->in[i]->konst || n->in[i]->type.dtype != DT_f32 || tensor_count(n->in[i]->konst) != channels)
      return false;
  return true;
}

static bool is_concat(const Node *n) { return n->op == OP_Concat && spatial(n->out[0]) && n->nin <= MOST_INPUTS; }

static bool keeps_layout(const Node *n) { return is_elementwise(n) || is_local(n) || is_concat(n) || is_norm(n); }

/* Last to first: what is read by a convolution, at once or through what keeps the layout. */
static void find_wanted(Layout *l, const Graph *g) {
  for (Node *n = g->last; n; n = n->prev) {
    bool want = is_conv(l, n) || (keeps_layout(n) && l->wanted[n->out[0]->id]);
    for (int i = 0; want && i < n->nin && (i < 1 || is_elementwise(n) || is_concat(n)); i++)
      if (n->in[i])
        l->wanted[n->in[i]->id] = true;
  }
}

/* --- both layouts of a value --- */

/* The order of axes that puts the channels last, or first again. */
static void order_of(bool last, int r, int64_t *perm) {
  for (int i = 1; i < r; i++)
    perm[i] = last ? i + 1 : i - 1;
  perm[0] = 0, perm[last ? r - 1 : 1] = last ? 1 : r - 1;
}

/* Between the layouts; where there is one position only, as a view. */
static Value *reorder(Layout *l, Value *v, bool last) {
  int64_t perm[MAX_RANK];
  Dim d[MAX_RANK];
  int r = v->type.rank;
  bool view = !v->konst && dims_bound(l->m.g, v->type.dim, r, NULL);
  order_of(last, r, perm);
  for (int i = 0; i < r; i++)
    d[i] = v->type.dim[perm[i]], view &= i == 0 || i == (last ? r - 1 : 1) || dim_is(d[i], 1);
  return view ? reshape_to(&l->m, v, d, r) : transpose_by(&l->m, v, perm, r);
}

static Value *to_last(Layout *l, Value *v) { return reorder(l, v, true); }
static Value *to_first(Layout *l, Value *v) { return reorder(l, v, false); }

/* Is n a Transpose to that order? */
static bool reorders(const Node *n, bool last) {
  int64_t perm[MAX_RANK], want[MAX_RANK];
  int r;
  if (!n || n->op != OP_Transpose || !perm_of(n, perm, &r) || r < 3)
    return false;
  order_of(last, r, want);
  return !memcmp(perm, want, (size_t)r * sizeof *perm);
}

static Value *known_last(const Layout *l, const Value *v) { return v->id < l->n ? l->last[v->id] : NULL; }

static Value *last_of(Layout *l, Value *v) {
  Value *have = known_last(l, v);
  if (!have && reorders(v->def, false))
    have = v->def->in[0];
  return have ? have : to_last(l, v);
}

/* --- nodes over to channels last --- */

/* The few channels of an image are read as they come, where it is wide enough along the last axis: v with the padding that
 * conv has there. NULL: not so. */
static Value *image_of(Layout *l, const Node *n, ConvAttr *a) {
  Value *v = n->in[0];
  int r = v->type.rank;
  int64_t channels, pads[2 * MAX_RANK] = {0}, *rest = arena_array(n->graph->arena, int64_t, 2u * MAX_RANK);
  WindowSpec s;
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  if (a->group != 1 || !dim_is_const(v->type.dim[1], &channels) || channels > IMAGE_CHANNELS ||
      window_spec(l->c, &wa, r - 2, &s) || (s.mode != PAD_EXPLICIT && s.mode != PAD_VALID) || s.dilation[r - 3] != 1)
    return NULL;
  if (s.mode == PAD_VALID || (!s.begin[r - 3] && !s.end[r - 3]))
    return v;
  pads[r - 1] = s.begin[r - 3], pads[2 * r - 1] = s.end[r - 3];
  for (int i = 0; i < r - 3; i++)
    rest[i] = s.begin[i], rest[r - 2 + i] = s.end[i];
  a->pads = (Ints){rest, 2 * (r - 2)};
  return emit(&l->m, OP_Pad, NULL, 2, (Value *[]){v, const_ints(&l->m, pads, 2 * r)});
}

static Value *conv_last(Layout *l, Node *n) {
  ConvAttr a = *ATTR(n, Conv);
  Value *image = n->op != OP_Conv || known_last(l, n->in[0]) ? NULL : image_of(l, n, &a);
  if (image) {
    Value *in[3] = {image, n->in[1], n->nin > 2 ? n->in[2] : NULL};
    return to_last(l, emit(&l->m, OP_Conv, &a, n->nin, in));
  }
  Value *in[3] = {to_first(l, last_of(l, n->in[0])), n->in[1], n->nin > 2 ? n->in[2] : NULL};
  return to_last(l, emit(&l->m, n->op, n->attr, n->nin, in));
}

static Value *local_last(Layout *l, Node *n) {
  Value *in[4] = {to_first(l, last_of(l, n->in[0]))};
  for (int i = 1; i < n->nin; i++)
    in[i] = n->in[i];
  return to_last(l, emit(&l->m, n->op, n->attr, n->nin, in));
}

/* Is an operand one number, or can its axes be moved at no cost? */
static bool moves_free(const Value *v, int rank) {
  if (!type_known(v))
    return false;
  if (v->type.rank <= 1 && (!v->type.rank || dim_is(v->type.dim[0], 1)))
    return true;
  return v->type.rank == rank && (v->konst || one_position(v));
}

static bool operands_last(const Layout *l, const Node *n) {
  bool some = false;
  for (int i = 0; i < n->nin; i++) {
    Value *v = n->in[i];
    if (!v)
      continue;
    bool have = known_last(l, v) && v->type.rank == n->out[0]->type.rank;
    some |= have;
    if (!have && !moves_free(v, n->out[0]->type.rank))
      return false;
  }
  return some;
}

static Value *elementwise_last(Layout *l, Node *n) {
  Value *in[MOST_INPUTS];
  for (int i = 0; i < n->nin; i++)
    in[i] = n->in[i] && n->in[i]->type.rank > 1 ? last_of(l, n->in[i]) : n->in[i];
  return emit(&l->m, n->op, n->attr, n->nin, in);
}

/* One number per channel, as an operand of what has its channels last: factor is scale / sqrt(variance + epsilon). */
static Value *per_channel(Layout *l, const Node *n, int input, bool factor) {
  int r = n->out[0]->type.rank;
  int64_t dim[MAX_RANK], channels = tensor_count(n->in[input]->konst);
  Tensor *t;
  for (int i = 0; i < r; i++)
    dim[i] = i == r - 1 ? channels : 1;
  if ((l->m.st = tensor_new(l->c, n->graph->arena, DT_f32, r, dim, &t)))
    return NULL;
  for (int64_t i = 0; i < channels; i++) {
    double v = const_elem(n->in[input]->konst, i);
    if (factor)
      v /= sqrt(const_elem(n->in[4]->konst, i) + (double)ATTR(n, BatchNormalization)->epsilon);
    elem_set_f64(DT_f32, t->data, i, v);
  }
  return graph_add_const(n->graph, NULL, t);
}

/* (x - mean) * factor + bias. */
static Value *norm_last(Layout *l, Node *n) {
  Value *x = known_last(l, n->in[0]), *mean = per_channel(l, n, 3, false), *factor = per_channel(l, n, 1, true),
        *bias = per_channel(l, n, 2, false);
  if (!mean || !factor || !bias)
    return NULL;
  x = emit(&l->m, OP_Sub, NULL, 2, (Value *[]){x, mean});
  x = emit(&l->m, OP_Mul, NULL, 2, (Value *[]){x, factor});
  return emit(&l->m, OP_Add, NULL, 2, (Value *[]){x, bias});
}

static Value *concat_last(Layout *l, Node *n) {
  Value *in[MOST_INPUTS];
  int r = n->out[0]->type.rank, axis = axis_of(ATTR(n, Concat)->axis, n->out[0]);
  ConcatAttr a = {.axis = axis == 0 ? 0 : axis == 1 ? r - 1 : axis - 1};
  for (int i = 0; i < n->nin; i++)
    in[i] = last_of(l, n->in[i]);
  return emit(&l->m, OP_Concat, &a, n->nin, in);
}

/* A mean or a maximum over all positions: the operator of reductions, and whether the axes stay. */
static OpId over_positions(const Node *n, bool *keep) {
  const int64_t *axis;
  int64_t k, seen = 0;
  *keep = true;
  if (n->nout != 1 || !n->nin || !spatial(n->in[0]))
    return OP_none;
  if (n->op == OP_GlobalAveragePool)
    return OP_ReduceMean;
  if (n->op == OP_GlobalMaxPool)
    return OP_ReduceMax;
  if ((n->op != OP_ReduceMean && n->op != OP_ReduceMax && n->op != OP_ReduceSum) || n->nin < 2 || !n->in[1] ||
      !value_ints(n->in[1], &axis, &k, n->graph->arena))
    return OP_none;
  for (int64_t i = 0; i < k; i++)
    seen |= (int64_t)1 << axis_of(axis[i], n->in[0]); /* in range: the node's type was inferred */
  *keep = ATTR(n, Reduce)->keepdims != 0;
  return seen == (1 << n->in[0]->type.rank) - 4 ? n->op : OP_none;
}

/* Is a value with its channels last made by a convolution of single channels and what follows it element by element? */
static bool by_single_channels(const Value *v) {
  enum { FAR = 6 };
  for (int i = 0; i < FAR && v && v->def; i++) {
    const Node *n = v->def;
    if (n->op == OP_Conv)
      return ATTR(n, Conv)->group > 1 && dim_is(n->in[1]->type.dim[1], 1) && n->in[0]->type.dtype == DT_f32 &&
             dim_is(n->in[1]->type.dim[0], ATTR(n, Conv)->group);
    if (n->op != OP_Transpose && !is_elementwise(n))
      return false;
    v = n->in[0];
  }
  return false;
}

/* Takes the place of n: over the axes between the first and the last. Of a convolution of single channels the mean of every line comes
 * first, which code generation takes where the line is made. */
static Value *reduced(Layout *l, Node *n, OpId op, bool keep) {
  int64_t axis[MAX_RANK];
  int r = n->in[0]->type.rank;
  ReduceAttr a = {.keepdims = keep};
  Value *x = known_last(l, n->in[0]);
  if (op == OP_ReduceMean && r > 3 && by_single_channels(x)) {
    const ReduceAttr lines = {.keepdims = true};
    axis[0] = r - 2;
    x = emit(&l->m, op, &lines, 2, (Value *[]){x, const_ints(&l->m, axis, 1)});
  }
  for (int i = 0; i < r - 2; i++)
    axis[i] = i + 1;
  Value *y = emit(&l->m, op, &a, 2, (Value *[]){x, const_ints(&l->m, axis, r - 2)});
  return keep ? to_first(l, y) : y;
}

/* Does what is made of v element by element stay in its order of axes? */
static bool stays_first(const Value *v, int far) {
  for (const Use *u = v->uses; u; u = u->next) {
    const Node *n = u->node;
    if (n && (n->op == OP_Transpose || n->op == OP_Reshape ||
              (is_elementwise(n) && (!far || !stays_first(n->out[0], far - 1)))))
      return false;
  }
  return true;
}

/* A first layer that no other convolution follows, and nobody who wants its channels last: it reads the few channels of an image as they
 * come, and so the others may go. Strides above 2 it reads element by element, which takes many rows of the weight to be worth it. */
static bool is_alone(const Layout *l, const Node *n) {
  enum { FAR = 2 };
  if (n->op != OP_Conv || ATTR(n, Conv)->group != 1 || known_last(l, n->in[0]) || n->out[0]->id >= l->n ||
      l->wanted[n->out[0]->id] || n->in[0]->type.dim[1]->hi > IMAGE_CHANNELS || !stays_first(n->out[0], FAR))
    return false;
  Ints by = ATTR(n, Conv)->strides;
  return !by.n || by.v[by.n - 1] <= 2 || n->in[1]->type.dim[0]->lo >= MANY_ROWS;
}

/* Node n with channels last, or NULL: it stays. */
static Value *turned(Layout *l, Node *n) {
  if (is_conv(l, n))
    return is_alone(l, n) ? NULL : conv_last(l, n);
  if (is_elementwise(n) && operands_last(l, n))
    return elementwise_last(l, n);
  if (is_norm(n) && known_last(l, n->in[0]))
    return norm_last(l, n);
  if (is_local(n) && (known_last(l, n->in[0]) || one_position(n->in[0])) &&
      (l->wanted[n->out[0]->id] || (n->op != OP_Resize && known_last(l, n->in[0]))))
    return local_last(l, n);
  if (is_concat(n) && l->wanted[n->out[0]->id] && operands_last(l, n))
    return concat_last(l, n);
  return NULL;
}

/* y is v with its channels last. */
static void note_last(Layout *l, const Value *v, Value *y) {
  if (v->id >= l->n) {
    uint32_t n = 2 * v->id + 64;
    Value **bigger = arena_array(l->a, Value *, n);
    memcpy(bigger, l->last, l->n * sizeof *bigger);
    l->last = bigger, l->n = n;
  }
  l->last[v->id] = y;
}

static Status turn(Layout *l, Node *n) {
  bool keep;
  OpId op = over_positions(n, &keep);
  Value *y = NULL, *by = NULL;
  l->m = (Match){.c = l->c, .g = n->graph, .root = n, .node = {n}, .nnode = 1};
  if (reorders(n, true) && known_last(l, n->in[0]))
    by = known_last(l, n->in[0]);
  else if (op && known_last(l, n->in[0]))
    by = reduced(l, n, op, keep);
  else if ((y = turned(l, n)))
    by = to_first(l, y);
  if (!by)
    return ST_OK;
  TRY(l->m.st);
  if (y)
    note_last(l, by, y);
  replace_value(n->out[0], by);
  remove_dead(n);
  return ST_OK;
}

static Status layout(Layout *l, Graph *g) {
  find_wanted(l, g);
  for (Node *n = g->first, *next; n; n = next) {
    next = n->next; /* stays: nodes are added and removed before it */
    for (int b = 0; b < 2; b++)
      if (n->body[b])
        TRY(layout(l, n->body[b]));
    TRY(turn(l, n));
  }
  return ctx_poll(l->c);
}

static Status run(Ctx *c, Graph *g, bool halves) {
  Layout l = {.c = c, .a = arena_create(c), .n = *g->next_id, .halves = halves};
  l.last = arena_array(l.a, Value *, l.n);
  l.wanted = arena_array(l.a, bool, l.n);
  Status st = layout(&l, g);
  arena_destroy(l.a);
  return st;
}

Status pass_layout(Ctx *c, Graph *g) { return run(c, g, false); }
Status pass_layout16(Ctx *c, Graph *g) { return run(c, g, true); }
