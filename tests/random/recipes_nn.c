/* recipes_nn.c - norms, convolutions, pools, regions, resampling, losses. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/recipes.h"

bool recipe_normalising(Gen *g, Make *m) {
  m->in[0] = gen_float(g, 1, 4), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  DType t = m->in[0]->type.dtype;
  int64_t size[4] = {0};
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
    if (m->op == OP_LayerNormalization && rng_chance(&g->r, 20))
      m->nout = 3;
    return true;
  }
  case OP_MeanVarianceNormalization:
    if (rng_chance(&g->r, 40))
      make_ints(g, m, "axes", (int64_t[]){rng_below(&g->r, rank)}, 1);
    return rank == 4;
  case OP_LRN: make_int(g, m, "size", 1 + 2 * rng_below(&g->r, 3)); return rank > 2;
  default:
    if (rank < 2 || !dim_is_const(m->in[0]->type.dim[1], &size[0]))
      return false;
    m->in[1] = gen_const(g, t, 1, size), m->in[2] = gen_const(g, t, 1, size), m->nin = 3;
    if (m->op == OP_GroupNormalization)
      make_int(g, m, "num_groups", size[0] % 2 || rng_chance(&g->r, 50) ? 1 : 2);
    if (m->op == OP_BatchNormalization) {
      m->in[3] = gen_const(g, t, 1, size), m->in[4] = gen_positive(g, t, 1, size), m->nin = 5;
      if (rng_chance(&g->r, 15))
        make_int(g, m, "training_mode", 1), m->nout = 3;
    }
    return true;
  }
}

/* --- windows --- */

typedef struct Window {
  int space;
  int64_t kernel[3], stride[3], dilation[3], pad[6];
} Window;

static Window any_window(Gen *g, int space) {
  Window w = {.space = space};
  for (int k = 0; k < space; k++) {
    w.kernel[k] = upto(g, 1, 3), w.stride[k] = upto(g, 1, 2), w.dilation[k] = 1 + rng_chance(&g->r, 20);
    w.pad[k] = rng_below(&g->r, w.kernel[k]), w.pad[space + k] = rng_below(&g->r, w.kernel[k]);
  }
  return w;
}

/* Strides, dilations and pads, or auto_pad; each may be left out. */
static void make_window(Gen *g, Make *m, const Window *w) {
  if (rng_chance(&g->r, 80))
    make_ints(g, m, "strides", w->stride, w->space);
  if (attr_field(op_info(m->op)->attrs, "dilations") && rng_chance(&g->r, 60))
    make_ints(g, m, "dilations", w->dilation, w->space);
  if (rng_chance(&g->r, 25))
    make_str(g, m, "auto_pad", PICK(g, (const char *const[]){"SAME_UPPER", "SAME_LOWER", "VALID"}));
  else if (rng_chance(&g->r, 80))
    make_ints(g, m, "pads", w->pad, 2 * w->space);
}

static int64_t any_divisor(Gen *g, int64_t n) {
  int64_t d = upto(g, 1, n);
  return n % d ? 1 : d;
}

/* An image of rank 3 to 5 whose channels are known: from the pool, or a new one. */
static Value *image(Gen *g, DType t) {
  Value *x = t ? gen_pick(g, t, 3, 5) : gen_float(g, 3, 5);
  if (x && rng_chance(&g->r, 60) && dim_is_const(x->type.dim[1], NULL) && extent(g, x, 1))
    return x;
  int64_t dim[5] = {upto(g, 1, 2), upto(g, 1, 6), upto(g, 1, 9), upto(g, 1, 9), upto(g, 1, 4)};
  return gen_feed(g,
                  t                       ? t
                  : rng_chance(&g->r, 85) ? DT_f32
                                          : PICK(g, (const DType[]){DT_f64, DT_f16, DT_bf16}),
                  PICK(g, (const int[]){3, 4, 4, 4, 5}), dim);
}

bool recipe_conv(Gen *g, Make *m) {
  m->in[0] = image(g, DT_none), m->nin = 2, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  DType t = m->in[0]->type.dtype;
  Window w = any_window(g, rank - 2);
  int64_t channels = extent(g, m->in[0], 1);
  int64_t group = rng_chance(&g->r, 35) ? any_divisor(g, channels) : 1, out = group * upto(g, 1, group > 1 ? 2 : 9);
  int64_t dim[5] = {out, channels / group, w.kernel[0], w.kernel[1], w.kernel[2]};
  m->in[1] = gen_const(g, t, rank, dim);
  if (rng_chance(&g->r, 50))
    m->in[2] = gen_const(g, t, 1, &out), m->nin = 3;
  if (group > 1 || rng_chance(&g->r, 20))
    make_int(g, m, "group", group);
  if (rng_chance(&g->r, 30))
    make_ints(g, m, "kernel_shape", w.kernel, w.space);
  make_window(g, m, &w);
  return true;
}

bool recipe_conv_transpose(Gen *g, Make *m) {
  m->in[0] = image(g, DT_none), m->nin = 2, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank;
  DType t = m->in[0]->type.dtype;
  Window w = any_window(g, rank - 2);
  int64_t channels = extent(g, m->in[0], 1), extra[3], size[3];
  int64_t group = rng_chance(&g->r, 35) ? any_divisor(g, channels) : 1, out = upto(g, 1, group > 1 ? 2 : 6);
  int64_t dim[5] = {channels, out, w.kernel[0], w.kernel[1], w.kernel[2]};
  m->in[1] = gen_const(g, t, rank, dim), out *= group;
  if (rng_chance(&g->r, 50))
    m->in[2] = gen_const(g, t, 1, &out), m->nin = 3;
  make_int(g, m, "group", group);
  make_window(g, m, &w);
  for (int k = 0; k < w.space; k++) {
    extra[k] = rng_below(&g->r, w.stride[k]);
    size[k] = (extent(g, m->in[0], 2 + k) - 1) * w.stride[k] + w.kernel[k] + rng_below(&g->r, 2);
  }
  if (rng_chance(&g->r, 30))
    make_ints(g, m, "output_padding", extra, w.space);
  else if (rng_chance(&g->r, 20))
    make_ints(g, m, "output_shape", size, w.space);
  return true;
}

bool recipe_deform_conv(Gen *g, Make *m) {
  int64_t n = upto(g, 1, 2), c = 2 * upto(g, 1, 2), h = upto(g, 3, 6), out = 2 * upto(g, 1, 2), kernel = upto(g, 1, 2);
  int64_t group = upto(g, 1, 2), parts = upto(g, 1, 2), to = h - kernel + 1;
  int64_t x[4] = {n, c, h, h}, w[4] = {out, c / group, kernel, kernel};
  int64_t offset[4] = {n, parts * kernel * kernel * 2, to, to}, mask[4] = {n, parts * kernel * kernel, to, to};
  m->in[0] = gen_feed(g, DT_f32, 4, x), m->in[1] = gen_const(g, DT_f32, 4, w),
  m->in[2] = gen_feed(g, DT_f32, 4, offset);
  m->nin = 3, m->nout = 1;
  if (rng_chance(&g->r, 50))
    m->in[3] = gen_const(g, DT_f32, 1, &out), m->nin = 4;
  if (rng_chance(&g->r, 50))
    m->in[4] = gen_feed(g, DT_f32, 4, mask), m->nin = 5;
  make_int(g, m, "group", group), make_int(g, m, "offset_group", parts);
  return m->in[0] && m->in[2];
}

bool recipe_pool(Gen *g, Make *m) {
  static const DType ints[] = {DT_i8, DT_u8};
  m->in[0] = image(g, m->op == OP_MaxPool && rng_chance(&g->r, 15) ? PICK(g, ints) : DT_none), m->nin = 1, m->nout = 1;
  if (!m->in[0])
    return false;
  Window w = any_window(g, m->in[0]->type.rank - 2);
  make_ints(g, m, "kernel_shape", w.kernel, w.space);
  make_window(g, m, &w);
  make_int(g, m, "ceil_mode", rng_chance(&g->r, 30));
  if (m->op == OP_AveragePool)
    make_flag(g, m, "count_include_pad");
  if (m->op == OP_LpPool)
    make_int(g, m, "p", upto(g, 1, 3));
  if (m->op == OP_MaxPool && rng_chance(&g->r, 25))
    m->nout = 2, make_flag(g, m, "storage_order");
  return true;
}

bool recipe_global_pool(Gen *g, Make *m) {
  m->in[0] = gen_float(g, 3, 5), m->nin = 1, m->nout = 1;
  if (m->op == OP_GlobalLpPool)
    make_int(g, m, "p", upto(g, 1, 3));
  return m->in[0];
}

/* What a MaxPool of size 2 and stride 2 has given, with indices as it would have told them. */
bool recipe_unpool(Gen *g, Make *m) {
  int64_t dim[4] = {upto(g, 1, 2), upto(g, 1, 3), upto(g, 1, 4), upto(g, 1, 4)}, two[2] = {2, 2};
  int64_t n = dim[0] * dim[1] * dim[2] * dim[3], shape[4] = {dim[0], dim[1], 2 * dim[2], 2 * dim[3]};
  int64_t *at = arena_array(g->top->arena, int64_t, n);
  for (int64_t i = 0; i < n; i++) {
    int64_t x = i % dim[3], y = i / dim[3] % dim[2], plane = i / dim[3] / dim[2];
    at[i] = (plane * 2 * dim[2] + 2 * y + rng_below(&g->r, 2)) * 2 * dim[3] + 2 * x + rng_below(&g->r, 2);
  }
  m->in[0] = gen_feed(g, DT_f32, 4, dim), m->in[1] = gen_shaped_ints(g, at, 4, dim), m->nin = 2, m->nout = 1;
  if (rng_chance(&g->r, 40))
    m->in[2] = gen_ints(g, shape, 4, 1), m->nin = 3;
  make_ints(g, m, "kernel_shape", two, 2), make_ints(g, m, "strides", two, 2);
  return m->in[0];
}

bool recipe_regions(Gen *g, Make *m) {
  int64_t x[4] = {upto(g, 1, 3), upto(g, 1, 3), upto(g, 4, 8), upto(g, 4, 8)}, count = upto(g, 1, 3), batch[3];
  bool align = m->op == OP_RoiAlign;
  int width = align ? 4 : 5;
  int64_t dim[2] = {count, width};
  Tensor *t;
  if (tensor_new(g->c, g->top->arena, DT_f32, 2, dim, &t))
    return false;
  for (int64_t i = 0; i < count; i++) {
    float *roi = (float *)t->data + i * width;
    batch[i] = rng_below(&g->r, x[0]);
    if (!align)
      *roi++ = (float)batch[i];
    for (int k = 0; k < 2; k++) /* x then y */
      roi[k] = (float)rng_below(&g->r, align ? 16 : 4) / (align ? 4 : 1),
      roi[2 + k] = roi[k] + (float)upto(g, 1, align ? 12 : 4) / (align ? 4 : 1);
  }
  m->in[0] = gen_feed(g, DT_f32, 4, x), m->in[1] = graph_add_const(g->top, NULL, t), m->nin = 2, m->nout = 1;
  make_float(g, m, "spatial_scale", PICK(g, (const float[]){1, 1, 0.5f}));
  if (!align)
    return make_ints(g, m, "pooled_shape", (int64_t[]){upto(g, 1, 3), upto(g, 1, 3)}, 2), m->in[0];
  m->in[2] = gen_ints(g, batch, count, 1), m->nin = 3;
  make_int(g, m, "output_height", upto(g, 1, 3)), make_int(g, m, "output_width", upto(g, 1, 3));
  make_int(g, m, "sampling_ratio", rng_below(&g->r, 3));
  make_str(g, m, "mode", PICK(g, (const char *const[]){"avg", "max"}));
  make_str(g, m, "coordinate_transformation_mode", PICK(g, (const char *const[]){"half_pixel", "output_half_pixel"}));
  return m->in[0];
}

/* --- resampling --- */

bool recipe_resize(Gen *g, Make *m) {
  static const char *const place[] = {"half_pixel",    "half_pixel_symmetric", "pytorch_half_pixel",
                                      "align_corners", "asymmetric",           "tf_crop_and_resize"};
  static const float factor[] = {0.5f, 0.6f, 1, 1.5f, 2, 3};
  m->in[0] = image(g, DT_none), m->nin = 3, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank, from = rng_chance(&g->r, 80) ? 2 : 0;
  int64_t n = 0, axes[5], size[5], n2;
  bool some = rng_chance(&g->r, 40), sized = rng_chance(&g->r, 40);
  const char *how = PICK(g, (const char *const[]){"nearest", "linear", "cubic"}), *where = PICK(g, place);
  float scale[5], roi[10];
  for (int k = some ? from : 0; k < rank; k++, n++) {
    axes[n] = k, scale[n] = k < from ? 1 : PICK(g, factor);
    size[n] = (int64_t)(scale[n] * (float)extent(g, m->in[0], k));
    roi[n] = (float)rng_below(&g->r, 3) / 8;
  }
  for (int k = 0; k < n; k++)
    roi[n + k] = 1 - (float)rng_below(&g->r, 3) / 8;
  n2 = 2 * n;
  if (sized)
    m->in[3] = gen_ints(g, size, n, 1), m->nin = 4;
  else
    m->in[2] = gen_floats(g, scale, 1, &n);
  if (!strcmp(where, "tf_crop_and_resize"))
    m->in[1] = gen_floats(g, roi, 1, &n2), make_float(g, m, "extrapolation_value", 1.5f);
  if (some)
    make_ints(g, m, "axes", axes, n);
  make_str(g, m, "mode", how), make_str(g, m, "coordinate_transformation_mode", where);
  if (*how == 'n')
    make_str(g, m, "nearest_mode",
             PICK(g, (const char *const[]){"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}));
  else if (rng_chance(&g->r, 30))
    make_int(g, m, "antialias", 1);
  if (*how == 'c' && rng_chance(&g->r, 40))
    make_float(g, m, "cubic_coeff_a", -0.5f), make_flag(g, m, "exclude_outside");
  if (sized && some && rng_chance(&g->r, 30))
    make_str(g, m, "keep_aspect_ratio_policy", PICK(g, (const char *const[]){"not_larger", "not_smaller"}));
  return true;
}

bool recipe_grid_sample(Gen *g, Make *m) {
  int space = rng_chance(&g->r, 75) ? 2 : 3;
  int64_t x[5] = {upto(g, 1, 2), upto(g, 1, 3), upto(g, 2, 5), upto(g, 2, 5), upto(g, 2, 4)};
  int64_t grid[5] = {x[0], upto(g, 1, 4), upto(g, 1, 4), upto(g, 1, 3), 3};
  grid[space + 1] = space;
  m->in[0] = gen_feed(g, DT_f32, space + 2, x), m->in[1] = gen_feed(g, DT_f32, space + 2, grid), m->nin = 2,
  m->nout = 1;
  make_flag(g, m, "align_corners");
  make_str(g, m, "mode", PICK(g, (const char *const[]){"linear", "nearest", "cubic"}));
  make_str(g, m, "padding_mode", PICK(g, (const char *const[]){"zeros", "border", "reflection"}));
  return m->in[0] && m->in[1];
}

bool recipe_affine_grid(Gen *g, Make *m) {
  int space = upto(g, 2, 3) == 2 ? 2 : 3;
  int64_t theta[3] = {upto(g, 1, 2), space, space + 1};
  int64_t size[5] = {theta[0], upto(g, 1, 2), upto(g, 1, 4), upto(g, 1, 4), upto(g, 1, 3)};
  m->in[0] = gen_feed(g, DT_f32, 3, theta), m->in[1] = gen_ints(g, size, space + 2, 1), m->nin = 2, m->nout = 1;
  make_flag(g, m, "align_corners");
  return m->in[0];
}

bool recipe_col2im(Gen *g, Make *m) {
  int64_t block[2] = {upto(g, 1, 3), upto(g, 1, 3)}, image[2] = {upto(g, 3, 6), upto(g, 3, 6)};
  int64_t stride[2] = {upto(g, 1, 2), upto(g, 1, 2)}, pad[4] = {0}, places = 1;
  for (int k = 0; k < 2; k++) {
    pad[k] = rng_below(&g->r, block[k]), pad[2 + k] = rng_below(&g->r, block[k]);
    places *= (image[k] + pad[k] + pad[2 + k] - block[k]) / stride[k] + 1;
  }
  int64_t dim[3] = {upto(g, 1, 2), upto(g, 1, 2) * block[0] * block[1], places};
  m->in[0] = gen_feed(g, DT_f32, 3, dim), m->in[1] = gen_ints(g, image, 2, 1), m->in[2] = gen_ints(g, block, 2, 1);
  m->nin = 3, m->nout = 1;
  make_ints(g, m, "strides", stride, 2), make_ints(g, m, "pads", pad, 4);
  return m->in[0];
}

/* --- training --- */

bool recipe_loss(Gen *g, Make *m) {
  int64_t dim[4] = {upto(g, 1, 3), upto(g, 2, 5), upto(g, 1, 3), upto(g, 1, 3)};
  int rank = (int)upto(g, 2, 4);
  int64_t label[3] = {dim[0], dim[2], dim[3]}, n = dim[0] * (rank > 2 ? dim[2] : 1) * (rank > 3 ? dim[3] : 1), *at;
  at = arena_array(g->top->arena, int64_t, n);
  for (int64_t i = 0; i < n; i++)
    at[i] = rng_below(&g->r, dim[1]);
  m->in[0] = gen_feed(g, DT_f32, rank, dim), m->in[1] = gen_shaped_ints(g, at, rank - 1, label), m->nin = 2,
  m->nout = 1;
  if (rng_chance(&g->r, 50))
    m->in[2] = gen_positive(g, DT_f32, 1, &dim[1]), m->nin = 3;
  make_str(g, m, "reduction", PICK(g, (const char *const[]){"mean", "sum", "none"}));
  if (rng_chance(&g->r, 30) && n > 1)
    make_int(g, m, "ignore_index", at[0]);
  if (m->op == OP_SoftmaxCrossEntropyLoss && rng_chance(&g->r, 50))
    m->nout = 2;
  return m->in[0];
}

/* As it is outside of training: what it was given, and a mask of ones. */
bool recipe_dropout(Gen *g, Make *m) {
  m->in[0] = gen_float(g, 0, 5), m->nin = 1, m->nout = 1 + rng_chance(&g->r, 40);
  if (rng_chance(&g->r, 50))
    m->in[1] = gen_floats(g, (float[]){0.25f}, 0, NULL), m->nin = 2;
  return m->in[0];
}
