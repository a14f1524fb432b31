/* recipes_quant.c - quantised operators. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/recipes.h"

static const DType bytes[] = {DT_u8, DT_i8};

bool recipe_quantize(Gen *g, Make *m) {
  static const DType to[] = {DT_u8, DT_i8, DT_u8, DT_i8, DT_i16, DT_u16, DT_i4, DT_u4, DT_f8e4m3fn, DT_f8e5m2};
  m->in[0] = gen_float(g, 0, 4), m->nin = 2, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank, srank = 0;
  int64_t axis = rank ? rng_below(&g->r, rank) : 0, dim[4] = {0}, n = rank ? extent(g, m->in[0], (int)axis) : 1;
  DType t = PICK(g, to);
  if (rank && dim_is_const(m->in[0]->type.dim[axis], NULL) && rng_chance(&g->r, 60)) {
    srank = 1, dim[0] = n;
    make_int(g, m, "axis", axis);
  }
  if (srank && n % 2 == 0 && n && type_is_static(&m->in[0]->type) && rng_chance(&g->r, 40)) {
    for (srank = rank; srank-- > 0;)
      dim[srank] = extent(g, m->in[0], srank);
    srank = rank, dim[axis] /= 2;
    make_int(g, m, "block_size", 2);
  }
  m->in[1] = gen_positive(g, m->in[0]->type.dtype, srank, dim);
  if (rng_chance(&g->r, 75))
    m->in[2] = dtype_is_float(t) ? gen_zeros(g, t, srank, dim) : gen_const(g, t, srank, dim), m->nin = 3;
  else
    make_int(g, m, "output_dtype", t);
  if (dtype_is_float(t))
    make_flag(g, m, "saturate");
  return true;
}

bool recipe_dequantize(Gen *g, Make *m) {
  static const DType from[] = {DT_u8, DT_i8, DT_i32, DT_i16, DT_u16, DT_i4, DT_u4, DT_f8e4m3fn, DT_f8e5m2};
  DType t = PICK(g, from);
  int64_t dim[4] = {upto(g, 1, 3), upto(g, 1, 4), upto(g, 1, 4), upto(g, 1, 3)}, sdim[4], axis;
  m->in[0] = rng_chance(&g->r, 50) ? gen_pick(g, t, 0, 4) : NULL;
  if (!m->in[0])
    m->in[0] = gen_feed(g, t, (int)upto(g, 0, 4), dim);
  m->nin = 2, m->nout = 1;
  if (!m->in[0])
    return false;
  int rank = m->in[0]->type.rank, srank = 0;
  axis = rank ? rng_below(&g->r, rank) : 0;
  if (rank && type_is_static(&m->in[0]->type) && rng_chance(&g->r, 60)) {
    srank = 1, sdim[0] = extent(g, m->in[0], (int)axis);
    make_int(g, m, "axis", axis);
    if (sdim[0] && rng_chance(&g->r, 40)) {
      for (srank = 0; srank < rank; srank++)
        sdim[srank] = extent(g, m->in[0], srank);
      make_int(g, m, "block_size", 2), sdim[axis] = (sdim[axis] + 1) / 2;
    }
  }
  m->in[1] = gen_positive(g, PICK(g, (const DType[]){DT_f32, DT_f32, DT_f16}), srank, sdim);
  if (t != DT_i32 && rng_chance(&g->r, 60))
    m->in[2] = dtype_is_float(t) ? gen_zeros(g, t, srank, sdim) : gen_const(g, t, srank, sdim), m->nin = 3;
  if (rng_chance(&g->r, 20))
    make_int(g, m, "output_dtype", PICK(g, (const DType[]){DT_f32, DT_f16}));
  return true;
}

bool recipe_dynamic_quantize(Gen *g, Make *m) {
  m->in[0] = gen_pick(g, DT_f32, 0, 4), m->nin = 1, m->nout = 3;
  return m->in[0];
}

/* MatMulInteger: A B a_zero b_zero; QLinearMatMul: A a_scale a_zero B b_scale b_zero y_scale y_zero. */
bool recipe_matmul_integer(Gen *g, Make *m) {
  int64_t a[4] = {upto(g, 1, 2), upto(g, 1, 3), upto(g, 1, 5), upto(g, 1, 17)}, b[2] = {a[3], upto(g, 1, 9)}, n = b[1];
  int rank = (int)upto(g, 2, 4);
  DType ta = PICK(g, bytes), tb = PICK(g, bytes), ty = PICK(g, bytes);
  bool by_column = rng_chance(&g->r, 50);
  Value *x = gen_feed(g, ta, rank, a + 4 - rank), *w = gen_const(g, tb, 2, b);
  Value *za = gen_const(g, ta, 0, NULL), *zb = gen_const(g, tb, by_column, &n);
  if (!x)
    return false;
  m->nout = 1;
  if (m->op == OP_MatMulInteger) {
    m->in[0] = x, m->in[1] = w, m->nin = 2;
    if (rng_chance(&g->r, 60))
      m->in[2] = za, m->nin = 3;
    if (rng_chance(&g->r, 60))
      m->in[3] = zb, m->nin = 4;
    return true;
  }
  Value *all[8] = {x,
                   gen_positive(g, DT_f32, 0, NULL),
                   za,
                   w,
                   gen_positive(g, DT_f32, by_column, &n),
                   zb,
                   gen_positive(g, DT_f32, 0, NULL),
                   gen_const(g, ty, 0, NULL)};
  memcpy(m->in, all, sizeof all), m->nin = 8;
  return true;
}

/* ConvInteger: x w x_zero w_zero; QLinearConv: x x_scale x_zero w w_scale w_zero y_scale y_zero bias. */
bool recipe_conv_integer(Gen *g, Make *m) {
  int space = (int)upto(g, 1, 2);
  int64_t group = rng_chance(&g->r, 30) ? 2 : 1, c = group * upto(g, 1, 3), out = group * upto(g, 1, 4),
          k = upto(g, 1, 3);
  int64_t x[4] = {upto(g, 1, 2), c, upto(g, 3, 8), upto(g, 3, 8)}, w[4] = {out, c / group, k, k}, pad[4], stride[2];
  DType tx = PICK(g, bytes), tw = PICK(g, bytes), ty = PICK(g, bytes);
  bool by_channel = rng_chance(&g->r, 50);
  Value *image = gen_feed(g, tx, space + 2, x), *kernel = gen_const(g, tw, space + 2, w);
  Value *zx = gen_const(g, tx, 0, NULL), *zw = gen_const(g, tw, by_channel, &out);
  if (!image)
    return false;
  for (int i = 0; i < space; i++)
    pad[i] = rng_below(&g->r, k), pad[space + i] = rng_below(&g->r, k), stride[i] = upto(g, 1, 2);
  make_int(g, m, "group", group), make_ints(g, m, "pads", pad, 2 * space), make_ints(g, m, "strides", stride, space);
  m->nout = 1;
  if (m->op == OP_ConvInteger) {
    m->in[0] = image, m->in[1] = kernel, m->nin = 2;
    if (rng_chance(&g->r, 60))
      m->in[2] = zx, m->nin = 3;
    if (rng_chance(&g->r, 50))
      m->in[3] = zw, m->nin = 4;
    return true;
  }
  Value *all[8] = {image,
                   gen_positive(g, DT_f32, 0, NULL),
                   zx,
                   kernel,
                   gen_positive(g, DT_f32, by_channel, &out),
                   zw,
                   gen_positive(g, DT_f32, 0, NULL),
                   gen_const(g, ty, 0, NULL)};
  memcpy(m->in, all, sizeof all), m->nin = 8;
  if (rng_chance(&g->r, 50))
    m->in[8] = gen_const(g, DT_i32, 1, &out), m->nin = 9;
  return true;
}
