/* recipes_more.c - sums by equation, transforms, rearrangement, features. SPDX-License-Identifier: Apache-2.0 */
#include "tests/random/recipes.h"

/* An equation whose letters have sizes: every term an input of its own. */
bool recipe_einsum(Gen *g, Make *m) {
  static const char *const equation[] = {
      "ij,jk->ik",   "bij,bjk->bik",       "ij->ji",          "ii->i",    "ii",           "i,j->ij",
      "ij->",        "ij,ij->i",           "bhid,bhjd->bhij", "ij,kj",    "ij,jk,kl->il", "bij->bji",
      "ijk,jil->kl", "...ij,...jk->...ik", "i...->...",       "bij,j->bi"};
  const char *text = PICK(g, equation);
  int64_t size[128], dim[6];
  int rank = 0;
  for (int k = 0; k < 128; k++)
    size[k] = upto(g, 1, 4);
  make_str(g, m, "equation", text), m->nout = 1;
  DType t = rng_chance(&g->r, 85) ? DT_f32 : PICK(g, (const DType[]){DT_f64, DT_f16, DT_i32, DT_i64});
  for (const char *s = text;; s++) {
    if (*s == '.') {
      dim[rank++] = size['.'], s += 2;
    } else if (*s >= 'a' && *s <= 'z') {
      dim[rank++] = size[(int)*s];
    } else {
      m->in[m->nin] = gen_feed(g, t, rank, dim), rank = 0;
      if (!m->in[m->nin++])
        return false;
      if (*s != ',')
        return true;
    }
  }
}

bool recipe_window(Gen *g, Make *m) {
  int64_t n = upto(g, 1, 12);
  m->in[0] = rng_chance(&g->r, 30) ? gen_pick(g, DT_i64, 0, 0) : NULL, m->nin = 1, m->nout = 1;
  if (!m->in[0])
    m->in[0] = gen_ints(g, &n, 1, 0);
  make_flag(g, m, "periodic"), make_int(g, m, "output_datatype", PICK(g, (const DType[]){DT_f32, DT_f64, DT_f16}));
  return true;
}

bool recipe_transform(Gen *g, Make *m) {
  int64_t n = upto(g, 1, 9), batch = upto(g, 1, 3), step = upto(g, 1, 4), frame = upto(g, 2, 6), axis = -2;
  m->nout = 1;
  if (m->op == OP_STFT) {
    int64_t x[3] = {batch, frame + upto(g, 0, 9), 1};
    m->in[0] = gen_feed(g, DT_f32, 3, x), m->in[1] = gen_ints(g, &step, 1, 0), m->nin = 4;
    m->in[2] = rng_chance(&g->r, 60) ? gen_const(g, DT_f32, 1, &frame) : NULL;
    m->in[3] = gen_ints(g, &frame, 1, 0);
    make_flag(g, m, "onesided");
    return m->in[0];
  }
  bool complex = rng_chance(&g->r, 40);
  int64_t x[3] = {batch, n, complex ? 2 : 1}, length = upto(g, 1, 10);
  m->in[0] = gen_feed(g, DT_f32, 3, x), m->nin = 3;
  m->in[1] = rng_chance(&g->r, 30) ? gen_ints(g, &length, 1, 0) : NULL;
  m->in[2] = gen_ints(g, &axis, 1, 0);
  if (rng_chance(&g->r, 40))
    make_int(g, m, "inverse", 1);
  else if (!complex)
    make_flag(g, m, "onesided");
  return m->in[0];
}

bool recipe_mel(Gen *g, Make *m) {
  int64_t v[3] = {upto(g, 2, 6), upto(g, 2, 5) * 8, 8000};
  for (int i = 0; i < 3; i++)
    m->in[i] = gen_ints(g, &v[i], 1, 0);
  m->in[3] = gen_floats(g, (float[]){100}, 0, NULL), m->in[4] = gen_floats(g, (float[]){3500}, 0, NULL);
  m->nin = 5, m->nout = 1;
  return true;
}

bool recipe_det(Gen *g, Make *m) {
  int64_t n = upto(g, 1, 4), dim[3] = {upto(g, 1, 3), n, n};
  int rank = (int)upto(g, 2, 3);
  m->in[0] = gen_feed(g, rng_chance(&g->r, 80) ? DT_f32 : DT_f64, rank, dim + 3 - rank), m->nin = 1, m->nout = 1;
  return m->in[0];
}

bool recipe_reverse(Gen *g, Make *m) {
  int64_t dim[3] = {upto(g, 1, 4), upto(g, 1, 4), upto(g, 1, 3)}, length[4], batch_axis = rng_below(&g->r, 2);
  for (int i = 0; i < 4; i++)
    length[i] = upto(g, 1, dim[!batch_axis]);
  m->in[0] = gen_feed(g, PICK(g, (const DType[]){DT_f32, DT_f32, DT_i64, DT_u8}), (int)upto(g, 2, 3), dim);
  m->in[1] = gen_ints(g, length, dim[batch_axis], 1), m->nin = 2, m->nout = 1;
  make_int(g, m, "batch_axis", batch_axis), make_int(g, m, "time_axis", !batch_axis);
  return m->in[0];
}

bool recipe_crop(Gen *g, Make *m) {
  m->in[0] = gen_pick(g, DT_none, 1, 4), m->nin = 2, m->nout = 1;
  if (!m->in[0])
    return false;
  int64_t size[4], axes[4], n = 0;
  for (int k = 0; k < m->in[0]->type.rank; k++)
    if (rng_chance(&g->r, 60))
      axes[n] = k, size[n++] = upto(g, 1, 6);
  m->in[1] = gen_ints(g, size, n, 1);
  make_ints(g, m, "axes", axes, n);
  return n;
}

bool recipe_tensor_scatter(Gen *g, Make *m) {
  int64_t dim[4] = {upto(g, 1, 3), upto(g, 1, 3), upto(g, 2, 6), upto(g, 1, 3)}, room = dim[2], n = upto(g, 1, room),
          at[3];
  bool circular = rng_chance(&g->r, 40);
  DType t = PICK(g, (const DType[]){DT_f32, DT_f32, DT_f16, DT_i64});
  m->in[0] = gen_feed(g, t, 4, dim), dim[2] = n, m->in[1] = gen_feed(g, t, 4, dim), m->nin = 2, m->nout = 1;
  for (int i = 0; i < 3; i++)
    at[i] = circular ? rng_below(&g->r, 2 * room) : rng_below(&g->r, room - n + 1);
  if (rng_chance(&g->r, 80))
    m->in[2] = gen_ints(g, at, dim[0], 1), m->nin = 3;
  if (circular)
    make_str(g, m, "mode", "circular");
  return m->in[0] && m->in[1];
}

bool recipe_unique(Gen *g, Make *m) {
  m->in[0] = gen_pick(g, PICK(g, (const DType[]){DT_f32, DT_i64, DT_u8}), 1, 3), m->nin = 1, m->nout = 4;
  if (!m->in[0])
    return false;
  if (rng_chance(&g->r, 50))
    make_int(g, m, "axis", any_axis(g, m->in[0]->type.rank));
  make_flag(g, m, "sorted");
  for (int i = 1; i < 4; i++)
    m->absent |= (unsigned)rng_chance(&g->r, 40) << i;
  return true;
}

bool recipe_nms(Gen *g, Make *m) {
  int64_t batch = upto(g, 1, 2), n = upto(g, 1, 6), boxes[3] = {batch, n, 4}, scores[3] = {batch, upto(g, 1, 2), n};
  int64_t most = upto(g, 0, 4);
  m->in[0] = gen_positive(g, DT_f32, 3, boxes), m->in[1] = gen_distinct(g, DT_f32, 3, scores);
  m->in[2] = gen_ints(g, &most, 1, 0), m->nin = 3, m->nout = 1;
  if (rng_chance(&g->r, 70))
    m->in[3] = gen_floats(g, (float[]){0.25f}, 0, NULL), m->nin = 4;
  if (rng_chance(&g->r, 50))
    m->in[4] = gen_floats(g, (float[]){0.5f}, 0, NULL), m->nin = 5;
  make_flag(g, m, "center_point_box");
  return true;
}

/* ai.onnx.ml: what turns numbers into numbers. */
bool recipe_feature(Gen *g, Make *m) {
  DType t = PICK(g, (const DType[]){DT_f32, DT_f32, DT_f64, DT_i64, DT_i32});
  int64_t dim[2] = {upto(g, 1, 4), upto(g, 1, 4)}, n = dim[1], at[3];
  float one[4], two[4];
  m->in[0] = gen_feed(g, t, 2, dim), m->nin = 1, m->nout = 1;
  for (int i = 0; i < 4; i++)
    one[i] = (float)upto(g, -8, 8) / 4, two[i] = (float)upto(g, 1, 8) / 4;
  if (!m->in[0])
    return false;
  switch (m->op) {
  case OP_Scaler: make_floats(g, m, "offset", one, n), make_floats(g, m, "scale", two, n); return true;
  case OP_Normalizer: make_str(g, m, "norm", PICK(g, (const char *const[]){"MAX", "L1", "L2"})); return true;
  case OP_Imputer:
    if (dtype_is_float(t))
      make_floats(g, m, "imputed_value_floats", one, n), make_float(g, m, "replaced_value_float", 1);
    else
      make_ints(g, m, "imputed_value_int64s", (int64_t[]){7}, 1), make_int(g, m, "replaced_value_int64", 1);
    return true;
  case OP_LinearRegressor:
    make_floats(g, m, "coefficients", one, n), make_floats(g, m, "intercepts", two, 1);
    return true;
  case OP_FeatureVectorizer:
    make_ints(g, m, "inputdimensions", (int64_t[]){n, n}, 2), m->in[1] = gen_feed(g, t, 2, dim), m->nin = 2;
    return m->in[1];
  case OP_ArrayFeatureExtractor:
    for (int i = 0; i < 3; i++)
      at[i] = rng_below(&g->r, n);
    m->in[1] = gen_ints(g, at, upto(g, 1, 3), 1), m->nin = 2;
    return true;
  case OP_OneHotEncoder: make_ints(g, m, "cats_int64s", (int64_t[]){-1, 0, 1, 2}, 4); return true;
  default: return false;
  }
}
