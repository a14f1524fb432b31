/* needs.c - what compiled code takes for granted of numbers that only a run tells: extents are not negative, axes are axes, parts
 * make up the whole, windows fit. A run checks it before the code is called; the reference evaluators check the same.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"
#include "ops/content.h"
#include "ops/eval/nn.h"
#include "ops/lower.h"
#include "ops/signal.h"

typedef struct Needs {
  Ctx *c;
  Arena *a;
  const Origin *origin;
  Need *list;
  uint32_t n, cap;
} Needs;

static void must(Needs *x, Dim a, Dim b, const char *what) {
  if (a == b)
    return;
  if (x->n == x->cap) {
    Need *bigger = arena_array(x->a, Need, x->cap = 2 * x->cap + 8);
    for (uint32_t i = 0; i < x->n; i++)
      bigger[i] = x->list[i];
    x->list = bigger;
  }
  x->list[x->n++] = (Need){a, b, what, x->origin};
}

/* What the shapes tell was checked, or is where it is read. */
static void add(Needs *x, Dim a, Dim b, const char *what) {
  if (a->data || b->data)
    must(x, a, b, what);
}

static void at_least(Needs *x, Dim d, int64_t least, const char *what) {
  add(x, dim_max(x->c, dim_const(x->c, least), d), d, what);
}

static void at_most(Needs *x, Dim d, Dim most, const char *what) { add(x, dim_min(x->c, most, d), d, what); }

static void one_of_rank(Needs *x, Dim axis, int rank) {
  const char *text = arena_printf(x->a, "axis {b} is not in [%d, %d]", -rank, rank - 1);
  at_least(x, axis, -rank, text);
  at_most(x, axis, dim_const(x->c, rank - 1), text);
}

/* Axes that input 1 names: each of them one of the rank, none twice. */
static void named_axes(Needs *x, const Node *n) {
  Dim on[MAX_RANK], one = dim_const(x->c, 1);
  const Dim *axes;
  int64_t k;
  int rank = n->in[0]->type.rank;
  if (n->nin < 2 || !n->in[1] || !value_content(x->c, n->in[1], &axes, &k) || !k || !axes_named(x->c, n, false, on))
    return;
  for (int64_t i = 0; i < k; i++) {
    one_of_rank(x, axes[i], rank);
  }
  for (int i = 0; i < rank; i++)
    at_most(x, on[i], one, "times that an axis is named");
}

/* Expand (13): every extent asked for is 1 or that of the result. */
static void expand(Needs *x, const Node *n) {
  const Dim *want;
  int64_t k;
  const Type *out = &n->out[0]->type;
  if (!value_content(x->c, n->in[1], &want, &k) || k > out->rank)
    return;
  for (int64_t i = 0; i < k; i++) {
    Dim d = out->dim[out->rank - k + i];
    if (want[i]->data && want[i] != d)
      add(x, dim_mul(x->c, dim_sub(x->c, want[i], dim_const(x->c, 1)), dim_sub(x->c, want[i], d)), dim_const(x->c, 0),
          "the shapes do not broadcast");
  }
}

static void split(Needs *x, const Node *n) {
  const Dim *part;
  int64_t k;
  int rank = n->in[0]->type.rank, axis = (int)ATTR(n, Split)->axis;
  Dim sum = dim_const(x->c, 0);
  if (n->nin < 2 || !n->in[1] || !value_content(x->c, n->in[1], &part, &k))
    return;
  for (int64_t i = 0; i < k; i++) {
    at_least(x, part[i], 0, "the size of a part");
    sum = dim_add(x->c, sum, part[i]);
  }
  add(x, sum, n->in[0]->type.dim[axis < 0 ? axis + rank : axis], "the sum of the parts and the extent of the axis");
}

static void repeats(Needs *x, const Node *n) {
  const Dim *times;
  int64_t k;
  if (value_content(x->c, n->in[1], &times, &k))
    for (int64_t i = 0; i < k; i++)
      at_least(x, times[i], 0, "repeats");
}

/* Pad (25) of another mode than constant: there must be something to repeat, unless nothing is asked for. */
static void pad(Needs *x, const Node *n) {
  const Dim *p, *axes = NULL;
  int64_t k, m, axis;
  int rank = n->in[0]->type.rank;
  Dim zero = dim_const(x->c, 0), one = dim_const(x->c, 1);
  if (str_is(ATTR(n, Pad)->mode, "constant") || !value_content(x->c, n->in[1], &p, &k))
    return;
  bool listed = n->nin > 3 && n->in[3] && value_content(x->c, n->in[3], &axes, &m);
  for (int64_t i = 0; i < k / 2; i++) {
    axis = i;
    if (listed && !dim_is_const(axes[i], &axis))
      return;
    axis += axis < 0 ? rank : 0;
    Dim before = p[i], after = p[k / 2 + i];
    Dim kept =
        dim_add(x->c, n->in[0]->type.dim[axis], dim_add(x->c, dim_min(x->c, before, zero), dim_min(x->c, after, zero)));
    if (!(dim_is(before, 0) && dim_is(after, 0)))
      must(x, dim_max(x->c, kept, dim_min(x->c, type_count(x->c, &n->out[0]->type), one)), dim_max(x->c, kept, zero),
           "elements to pad from");
  }
}

/* ScatterND (18): an update per index tuple, of the shape that a tuple leaves of the data. */
static void updates(Needs *x, const Node *n) {
  const Type *in = &n->in[0]->type, *ix = &n->in[1]->type, *u = &n->in[2]->type;
  int q = ix->rank, k = in->rank - (u->rank - (q - 1));
  for (int i = 0; i < u->rank; i++)
    must(x, i < q - 1 ? ix->dim[i] : in->dim[k + i - (q - 1)], u->dim[i], "an extent of the updates");
}

static void one_hot(Needs *x, const Node *n) {
  const Dim *depth;
  int64_t k;
  if (value_content(x->c, n->in[1], &depth, &k) && k == 1)
    at_least(x, depth[0], 0, "depth");
}

static void topk(Needs *x, const Node *n) {
  const Dim *k;
  int64_t m;
  int rank = n->in[0]->type.rank, axis = (int)ATTR(n, TopK)->axis;
  if (value_content(x->c, n->in[1], &k, &m) && m == 1)
    at_most(x, k[0], n->in[0]->type.dim[axis < 0 ? axis + rank : axis], "k");
}

/* Convolution (weight: its input) and pooling (weight -1): a window must fit in the padded input, unless the padding is made so. */
static void windows(Needs *x, const Node *n, const WindowAttr *a, int weight) {
  const Type *in = &n->in[0]->type;
  WindowSpec s;
  if (window_spec(x->c, a, in->rank - 2, &s) || s.mode == PAD_SAME_UPPER || s.mode == PAD_SAME_LOWER)
    return;
  for (int i = 0; i < s.n; i++) {
    Dim one = dim_const(x->c, 1), kernel = weight < 0 ? dim_const(x->c, s.kernel[i]) : n->in[weight]->type.dim[i + 2],
        far = dim_add(x->c, dim_mul(x->c, dim_sub(x->c, kernel, one), dim_const(x->c, s.dilation[i])), one),
        padded = dim_add(x->c, in->dim[i + 2], dim_const(x->c, s.begin[i] + s.end[i]));
    must(x, dim_max(x->c, padded, far), padded,
         arena_printf(x->a, "on spatial axis %d the window of {a} is larger than the padded input of {b}", i));
  }
}

static void conv(Needs *x, const Node *n, int weight) {
  const ConvAttr *a = ATTR(n, Conv);
  windows(x, n, &(WindowAttr){a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, false}, weight);
}

static void deform_conv(Needs *x, const Node *n) {
  const DeformConvAttr *a = ATTR(n, DeformConv);
  windows(x, n, &(WindowAttr){str_of("NOTSET"), a->kernel_shape, a->pads, a->strides, a->dilations, false}, 1);
}

static void pool(Needs *x, const Node *n) {
  const PoolAttr *a = ATTR(n, Pool);
  windows(x, n, &(WindowAttr){a->auto_pad, a->kernel_shape, a->pads, a->strides, a->dilations, a->ceil_mode != 0}, -1);
}

/* MaxUnpool (22): there is something to unpool to, which the output has room for. */
static void unpool(Needs *x, const Node *n) {
  const Type *out = &n->out[0]->type;
  Dim own[MAX_RANK], zero = dim_const(x->c, 0);
  if (!unpooled_extents(x->c, n, own))
    return;
  for (int i = 0; i < out->rank; i++) {
    must(x, n->in[0]->type.dim[i], n->in[1]->type.dim[i], "an extent of the indices is {b}, that of X {a}");
    if (i >= 2 && own[i]->lo < 0)
      must(x, dim_max(x->c, zero, own[i]), own[i], "an extent that is unpooled to");
    if (!dim_at_least(x->c, out->dim[i], own[i]) || (i < 2 && out->dim[i] != own[i]))
      must(x, i < 2 ? own[i] : dim_max(x->c, out->dim[i], own[i]), out->dim[i], "an extent of output_shape");
  }
}

/* Col2Im (18): a column has the elements of a block for every channel. */
static void columns(Needs *x, const Node *n) {
  const Dim *block;
  int64_t axes;
  Dim rows = n->out[0]->type.dim[1];
  if (!value_content(x->c, n->in[2], &block, &axes))
    return;
  for (int i = 0; i < axes; i++) {
    must(x, dim_max(x->c, dim_const(x->c, 1), block[i]), block[i],
         arena_printf(x->a, "the kernel's extent on spatial axis %d is {b}; it must be at least 1", i));
    rows = dim_mul(x->c, rows, block[i]);
  }
  must(x, rows, n->in[0]->type.dim[1], "the columns have {b} elements, no multiple of a block's");
}

/* Resize (19): the result is as large as is asked for; to keep proportions there must be some. */
static void resize(Needs *x, const Node *n) {
  const ResizeAttr *a = ATTR(n, Resize);
  const Type *in = &n->in[0]->type, *out = &n->out[0]->type;
  const Dim *size;
  int64_t k;
  if (n->nin < 4 || !n->in[3] || !value_content(x->c, n->in[3], &size, &k) || (a->axes.v && a->axes.n != k))
    return;
  bool stretch = str_is(a->keep_aspect_ratio_policy, "stretch");
  for (int64_t i = 0; i < k && k <= in->rank; i++) {
    int64_t at = a->axes.v ? a->axes.v[i] : i;
    at += at < 0 ? in->rank : 0;
    at_least(x, size[i], 0, "a size");
    if (stretch)
      must(x, size[i], out->dim[at], "the size that is asked for, and that of the result");
    else
      must(x, dim_max(x->c, dim_const(x->c, 1), in->dim[at]), in->dim[at], "an extent that is resized");
  }
}

/* DFT (20): of numbers or of pairs; a transform of something, along an axis that is not that of the parts. */
static void dft(Needs *x, const Node *n) {
  Dim one = dim_const(x->c, 1), on = dim_const(x->c, 0);
  DftShape s;
  const Dim *axis;
  int64_t k;
  if (!dft_shape_of(x->c, n, &s))
    return;
  if (n->nin > 2 && n->in[2] && value_content(x->c, n->in[2], &axis, &k) && k == 1) {
    one_of_rank(x, axis[0], s.rank);
    at_most(x, axis[0], dim_const(x->c, s.rank - 2), "axis {b} is that of the real and the imaginary part");
  }
  for (int i = 0; i < s.rank - 1; i++)
    on = dim_add(x->c, on, s.on[i]);
  add(x, on, one, "axes with the index that is asked for, those of real and imaginary parts apart");
  must(x, dim_max(x->c, one, s.length), s.length, "the length of the transform is {b}");
  Dim parts = n->in[0]->type.dim[s.rank - 1], two = dim_const(x->c, 2);
  must(x, dim_min(x->c, two, dim_max(x->c, one, parts)), parts,
       "the last axis must be 1 (real) or 2 (complex), not {b}");
}

static void stft(Needs *x, const Node *n) {
  Dim one = dim_const(x->c, 1), step, length, have = n->in[0]->type.dim[1];
  if (!stft_shape_of(x->c, n, &step, &length))
    return;
  at_least(x, step, 1, "the step between frames is {b}; it must be at least 1");
  must(x, dim_max(x->c, one, length), length, "the length of a frame is {b}; it must be at least 1");
  must(x, dim_min(x->c, have, length), length, "a frame of {b} does not fit a signal of {a}");
  if (n->nin > 2 && n->in[2])
    must(x, n->in[2]->type.dim[0], length, "the length of the window (frame_length) must be {b}, not {a}");
}

/* MelWeightMatrix (17): a spectrum of something. */
static void mel(Needs *x, const Node *n) {
  const Dim *size;
  int64_t k;
  for (int i = 0; i < 2; i++)
    if (value_content(x->c, n->in[i], &size, &k) && k == 1) {
      const char *name = i ? "dft_length" : "num_mel_bins";
      must(x, dim_max(x->c, dim_const(x->c, i), size[0]), size[0],
           arena_printf(x->a, "%s is {b}; it must be at least %d", name, i));
      at_most(x, size[0], dim_const(x->c, INT32_MAX),
              arena_printf(x->a, "%s is {b}; it must be at most %d", name, INT32_MAX));
    }
}

/* What inference could not decide. */
static void assumptions(Needs *x, const Node *n) {
  Assumptions s = node_assumptions(x->c, x->a, n);
  for (uint32_t i = 0; i < s.n; i++)
    must(x, s.list[i].a, s.list[i].b, s.list[i].what);
}

/* Range (27): a step. */
static void range(Needs *x, const Node *n) {
  const Dim *delta;
  int64_t k;
  if (!value_content(x->c, n->in[2], &delta, &k) || k != 1)
    return;
  Dim size = dim_max(x->c, delta[0], dim_sub(x->c, dim_const(x->c, 0), delta[0]));
  add(x, dim_max(x->c, size, dim_const(x->c, 1)), size, "delta is {b}");
}

static const char *extent_text(Arena *a, const Value *out) {
  if (out->type.rank != 1)
    return "an extent";
  return arena_printf(a, "the output would be %s[{b}], which is no size a tensor can have",
                      dtype_name(out->type.dtype));
}

uint32_t node_needs(Ctx *c, Arena *a, const Node *n, Need **need) {
  Needs x = {.c = c, .a = a, .origin = n->origin};
  assumptions(&x, n);
  switch (n->op) {
  case OP_Expand: expand(&x, n); break;
  case OP_Split: split(&x, n); break;
  case OP_Tile: repeats(&x, n); break;
  case OP_Resize:
  case OP_ResizeTo: resize(&x, n); break;
  case OP_MaxUnpool: unpool(&x, n); break;
  case OP_Col2Im: columns(&x, n); break;
  case OP_MelWeightMatrix: mel(&x, n); break;
  case OP_Range: range(&x, n); break;
  case OP_DFT: dft(&x, n); break;
  case OP_STFT: stft(&x, n); break;
  case OP_Pad: pad(&x, n); break;
  case OP_ScatterND: updates(&x, n); break;
  case OP_TopK: topk(&x, n); break;
  case OP_OneHot: one_hot(&x, n); break;
  case OP_Conv:
  case OP_ConvInteger: conv(&x, n, 1); break;
  case OP_QLinearConv: conv(&x, n, 3); break;
  case OP_DeformConv: deform_conv(&x, n); break;
  case OP_AveragePool:
  case OP_MaxPool:
  case OP_LpPool: pool(&x, n); break;
  case OP_CumSum:
  case OP_CumProd: named_axes(&x, n); break;
  default:
    if (op_lowering(n->op) == op_lowering(OP_ReduceSum))
      named_axes(&x, n);
  }
  for (int i = 0; i < n->nout; i++)
    for (int k = 0; n->out[i] && k < n->out[i]->type.rank; k++)
      if (n->out[i]->type.dim[k]->data)
        at_least(&x, n->out[i]->type.dim[k], 0, extent_text(a, n->out[i]));
  *need = x.list;
  return x.n;
}
