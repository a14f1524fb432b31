/* conv.c - Conv as a Product:  Y[b, m, position] = sum over channels and taps  W[m, channel, tap] * X[b, channel, place].
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/conv.h"

#include "ops/eval/nn.h"

enum {
  MAX_TAPS = 4096,
  MAX_STRIDE = 1 << 15,
  MAX_ROWS_TAPS = 1024
}; /* a block of k holds all taps of a channel; lanes count in 32 bits */

/* Product.type */
static DType narrow(const Value *v) {
  return v->type.dtype == DT_f16 || v->type.dtype == DT_bf16 ? v->type.dtype : DT_none;
}

static bool spatial_tensor(const Value *v, DType t) {
  return v && v->type.kind == VK_TENSOR && v->type.dtype == t && v->type.rank >= 3 && v->type.rank <= 2 + WINDOW_AXES;
}

/* Padding in front: as given, or what SAME makes of the extents. */
static Dim margin(Ctx *c, const WindowSpec *s, int i, Dim in, Dim out, int64_t kernel) {
  Dim one = dim_const(c, 1), zero = dim_const(c, 0);
  if (s->mode == PAD_EXPLICIT)
    return dim_const(c, s->begin[i]);
  if (s->mode == PAD_VALID)
    return zero;
  Dim far = dim_const(c, (kernel - 1) * s->dilation[i] + 1);
  Dim steps = dim_mul(c, dim_sub(c, out, one), dim_const(c, s->stride[i]));
  Dim all = dim_max(c, dim_sub(c, dim_add(c, steps, far), in), zero);
  return s->mode == PAD_SAME_UPPER ? dim_div(c, all, dim_const(c, 2)) : dim_ceildiv(c, all, dim_const(c, 2));
}

/* Spatial axes stand at the end of the window's; those in front have one element and one tap. */
static bool window_of(Ctx *c, const Node *n, ProductWindow *w) {
  const ConvAttr *a = ATTR(n, Conv);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  const Type *x = &n->in[0]->type, *y = &n->out[0]->type, *weight = &n->in[1]->type;
  int rank = x->rank - 2, first = WINDOW_AXES - rank;
  WindowSpec s;
  *w = (ProductWindow){.taps = 1};
  if (window_spec(c, &wa, rank, &s))
    return false;
  for (int i = 0; i < WINDOW_AXES; i++) {
    int k = i - first;
    w->in[i] = k < 0 ? dim_const(c, 1) : x->dim[k + 2];
    w->out[i] = k < 0 ? dim_const(c, 1) : y->dim[k + 2];
    w->kernel[i] = w->stride[i] = w->dilation[i] = 1;
    w->begin[i] = dim_const(c, 0);
    if (k < 0)
      continue;
    w->stride[i] = s.stride[k], w->dilation[i] = s.dilation[k];
    if (!dim_is_const(weight->dim[k + 2], &w->kernel[i]) || w->kernel[i] < 1 || w->kernel[i] > MAX_TAPS ||
        s.stride[k] > MAX_STRIDE || s.dilation[k] > INT32_MAX)
      return false;
    w->begin[i] = margin(c, &s, k, w->in[i], w->out[i], w->kernel[i]);
    w->taps *= w->kernel[i];
    if (w->taps > MAX_TAPS)
      return false;
  }
  return true;
}

/* One tap that reads every element once, in order: the input is a matrix as it lies. */
static bool is_matrix(const ProductWindow *w) {
  for (int i = 0; i < WINDOW_AXES; i++)
    if (w->stride[i] != 1 || w->in[i] != w->out[i] || !dim_is(w->begin[i], 0))
      return false;
  return w->taps == 1;
}

/* One position: the images are the rows of a matrix. */
static bool is_vector(const Value *in, const Value *out) {
  for (int i = 2; i < in->type.rank; i++)
    if (!dim_is(in->type.dim[i], 1) || !dim_is(out->type.dim[i], 1))
      return false;
  return true;
}

/* Extents that a product can be made of: rows of the weight, channels of a group. */
static bool extents_of(Ctx *c, const Node *n, int64_t *rows, int64_t *channels, ProductWindow *w, const char **why) {
  bool floats = n->op == OP_Conv; /* else ConvInteger, whose types its caller knows */
  const Value *in = n->in[0], *weight = n->in[1], *out = n->out[0], *bias = floats && n->nin > 2 ? n->in[2] : NULL;
  DType t = in->type.dtype;
  int64_t group = ATTR(n, Conv)->group, all;
  *why = "a convolution of other types or ranks";
  if ((floats && t != DT_f32 && t != DT_f16 && t != DT_bf16) || !spatial_tensor(in, t) ||
      !spatial_tensor(weight, floats ? t : DT_i8) || !spatial_tensor(out, floats ? t : DT_i32) ||
      weight->type.rank != in->type.rank || (bias && (bias->type.dtype != t || bias->type.rank != 1)))
    return false;
  *why = "a convolution whose channels or taps are known at run time only, or are too many";
  if (group < 1 || !dim_is_const(weight->type.dim[0], rows) || !dim_is_const(weight->type.dim[1], channels) ||
      !dim_is_const(in->type.dim[1], &all) || *rows % group || all % group || all / group != *channels ||
      (bias && bias->type.dim[0] != weight->type.dim[0]) || !window_of(c, n, w))
    return false;
  *why = "";
  return true;
}

/* Is v made by a Transpose in graph g that takes the channels from axis `from` to axis `to`? */
static Node *channels_moved(const Graph *g, Node *t, int from, int to) {
  if (!t || t->op != OP_Transpose || t->graph != g || t->in[0]->type.rank < 3)
    return NULL;
  Ints perm = ATTR(t, Transpose)->perm;
  int r = t->in[0]->type.rank;
  for (int i = 0, k = 0; i < r && perm.v; i++) {
    k += k == from;
    if (perm.v[i] != (i == to ? from : k++))
      return NULL;
  }
  return perm.v ? t : NULL;
}

bool conv_channels_last(const Node *n, Node **in, Node **out) {
  int last = n->in[0]->type.rank - 1;
  Node *user = value_sole_user(n->out[0]);
  *in = channels_moved(n->graph, n->in[0]->def, last, 1);
  *out = channels_moved(n->graph, user, 1, last);
  return *out;
}

/* All positions read side by side, inside of the input, along the last axis: then a run of taps is one of memory. */
static bool reads_runs(Ctx *c, const Node *n) {
  const ConvAttr *a = ATTR(n, Conv);
  const WindowAttr wa = {a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false};
  int last = n->in[0]->type.rank - 3;
  WindowSpec s;
  if (window_spec(c, &wa, last + 1, &s) || s.dilation[last] != 1)
    return false;
  return s.mode == PAD_VALID || (s.mode == PAD_EXPLICIT && !s.begin[last] && !s.end[last]);
}

/* group_work: there is code for groups of several channels. */
static bool rows_product(Ctx *c, Arena *a, const Node *n, bool planes, bool group_work, Product *x) {
  int64_t group = ATTR(n, Conv)->group, rows, channels;
  const char *why;
  ProductWindow w;
  if (!extents_of(c, n, &rows, &channels, &w, &why) || w.taps > MAX_ROWS_TAPS || !channels || !rows ||
      (group > 1 && !group_work && (channels != 1 || rows != group)) ||
      (planes && (group > 1 || channels > CONV_PLANES || !reads_runs(c, n))))
    return false;
  int64_t positions;
  bool single = group > 1 && channels == 1 && rows == group;
  Dim lines = dim_mul(c, n->in[0]->type.dim[0], dim_mul(c, w.out[0], w.out[1]));
  *x = (Product){.batch = single ? lines : dim_const(c, group),
                 .m = dim_mul(c, lines, w.out[2]),
                 .n = dim_const(c, single ? rows : rows / group),
                 .k = dim_const(c, channels * w.taps),
                 .groups = single ? 0 : group,
                 .trans_b = true,
                 .packed_b = true,
                 .type = narrow(n->in[0]),
                 .planes = planes,
                 .channelwise = single,
                 .images = n->in[0]->type.dim[0]};
  Dim image = dim_mul(c, w.out[0], dim_mul(c, w.out[1], w.out[2]));
  x->positions = dim_is_const(image, &positions) && positions > 0 ? positions : -1;
  if (planes || group > 1 || !is_matrix(&w))
    x->rows = arena_copy(a, &w, sizeof w);
  return true;
}

bool conv_rows_product(Ctx *c, Arena *a, const Node *n, bool planes, Product *x) {
  return rows_product(c, a, n, planes, false, x);
}

bool conv_integer_product(Ctx *c, Arena *a, const Node *n, Product *x) {
  const Value *zero = n->nin > 2 ? n->in[2] : NULL;
  double z = 0;
  DType t = n->in[0]->type.dtype;
  if ((t != DT_u8 && t != DT_i8) || (n->nin > 3 && n->in[3]) || !n->in[1]->konst || (zero && !value_scalar(zero, &z)) ||
      !rows_product(c, a, n, false, true, x))
    return false;
  x->bytes = t, x->zero = (int)z;
  return true;
}

bool conv_product(Ctx *c, Arena *a, const Node *n, Product *x, const char **why) {
  const Value *in = n->in[0], *out = n->out[0];
  int64_t group = ATTR(n, Conv)->group, rows, channels;
  ProductWindow w;
  if (!extents_of(c, n, &rows, &channels, &w, why))
    return false;
  if (is_vector(in, out) && group == 1 && w.taps == 1) {
    *x = (Product){
        .batch = dim_const(c, 1), .m = in->type.dim[0], .n = dim_const(c, rows), .trans_b = true, .type = narrow(in)};
    x->k = dim_const(c, channels);
    return true;
  }
  *x = (Product){.batch = dim_mul(c, in->type.dim[0], dim_const(c, group)),
                 .m = dim_const(c, rows / group),
                 .k = dim_mul(c, dim_const(c, channels), dim_const(c, w.taps)),
                 .n = dim_const(c, 1),
                 .batch_b = true,
                 .type = narrow(in),
                 .group = group};
  for (int i = 0; i < WINDOW_AXES; i++)
    x->n = dim_mul(c, x->n, w.out[i]);
  if (!is_matrix(&w))
    x->window = arena_copy(a, &w, sizeof w);
  return true;
}
