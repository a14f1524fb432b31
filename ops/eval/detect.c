/* detect.c - evaluation of NonMaxSuppression, Suppress, RoiAlign and MaxRoiPool.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ops/eval/nn.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- NonMaxSuppression --- */

typedef struct Box {
  float lo[2], hi[2], area;
} Box;

typedef struct Nms {
  Eval *e;
  int64_t batch, classes, boxes, most;
  float iou, score; /* thresholds */
  bool has_score, center;
  Box *box;            /* of the batch item at hand */
  const float *scores; /* of the class at hand */
  int64_t *order, *kept;
} Nms;

/* Two opposite corners (y, x, y, x) in any order, or the centre (x, y) and the size. */
static Box read_box(const float *v, bool center) {
  Box b;
  for (int i = 0; i < 2; i++) {
    float p = center ? v[i] - v[i + 2] / 2 : v[i], q = center ? v[i] + v[i + 2] / 2 : v[i + 2];
    b.lo[i] = center || p < q ? p : q, b.hi[i] = center || p < q ? q : p;
  }
  b.area = (b.hi[0] - b.lo[0]) * (b.hi[1] - b.lo[1]);
  return b;
}

static bool overlap(const Box *a, const Box *b, float threshold) {
  float area = 1;
  for (int i = 0; i < 2; i++) {
    float lo = fmaxf(a->lo[i], b->lo[i]), hi = fminf(a->hi[i], b->hi[i]);
    if (hi <= lo)
      return false;
    area *= hi - lo;
  }
  float both = a->area + b->area - area;
  return area > 0 && a->area > 0 && b->area > 0 && both > 0 && area / both > threshold;
}

/* Higher scores first, then lower indices. */
static int by_score(const void *p, const void *q, void *arg) {
  const float *s = arg;
  int64_t i = *(const int64_t *)p, j = *(const int64_t *)q;
  if (isnan(s[i]) != isnan(s[j])) /* NaN, which is not selected, first */
    return isnan(s[i]) ? -1 : 1;
  return s[i] != s[j] && !isnan(s[i]) ? (s[i] > s[j] ? -1 : 1) : i < j ? -1 : i > j;
}

/* The boxes to keep of the class at hand, met in the order `order`; how many there are. */
static int64_t select_boxes(Nms *m) {
  int64_t kept = 0;
  for (int64_t i = 0; i < m->boxes && kept < m->most; i++) {
    int64_t at = m->order[i];
    bool free = !isnan(m->scores[at]) && (!m->has_score || m->scores[at] > m->score);
    for (int64_t k = 0; free && k < kept; k++)
      free = !overlap(&m->box[at], &m->box[m->kept[k]], m->iou);
    if (free)
      m->kept[kept++] = at;
  }
  return kept;
}

static int64_t select_class(Nms *m) {
  for (int64_t i = 0; i < m->boxes; i++)
    m->order[i] = i;
  qsort_r(m->order, (size_t)m->boxes, sizeof *m->order, by_score, (void *)(uintptr_t)m->scores);
  return select_boxes(m);
}

/* The limit and the thresholds are inputs `limit` and behind it. */
static Status open_nms(Nms *m, int limit) {
  Eval *e = m->e;
  const Tensor *b = e->in[0], *s = e->in[1];
  int64_t n;
  const int64_t *most;
  TRY(nn_expect_rank(e, 0, 3, "boxes"));
  TRY(nn_expect_rank(e, 1, 3, "scores"));
  TRY(nn_expect_dim(e, 0, 2, 4, "the last axis of boxes"));
  TRY(nn_expect_dim(e, 1, 0, b->dim[0], "the batch size of scores"));
  TRY(nn_expect_dim(e, 1, 2, b->dim[1], "the number of boxes in scores"));
  m->center = ((const NonMaxSuppressionAttr *)e->attr)->center_point_box != 0;
  m->batch = b->dim[0], m->boxes = b->dim[1], m->classes = s->dim[1];
  if (eval_has(e, limit)) {
    TRY(eval_ints(e, limit, &most, &n));
    m->most = n && most[0] > 0 ? most[0] : 0;
  }
  if (eval_has(e, limit + 1) && tensor_count(e->in[limit + 1]))
    m->iou = *(const float *)e->in[limit + 1]->data;
  if (m->batch && m->classes && !(m->iou >= 0 && m->iou <= 1))
    return eval_fail(e, "iou_threshold is not in [0, 1]");
  if (eval_has(e, limit + 2) && tensor_count(e->in[limit + 2]))
    m->score = *(const float *)e->in[limit + 2]->data, m->has_score = true;
  m->box = arena_array(e->scratch, Box, (size_t)m->boxes);
  m->order = arena_array(e->scratch, int64_t, (size_t)m->boxes);
  m->kept = arena_array(e->scratch, int64_t, (size_t)m->boxes);
  return ST_OK;
}

static void enter_class(Nms *m, int64_t b, int64_t c) {
  for (int64_t i = 0; !c && i < m->boxes; i++)
    m->box[i] = read_box((const float *)m->e->in[0]->data + 4 * (b * m->boxes + i), m->center);
  m->scores = (const float *)m->e->in[1]->data + (b * m->classes + c) * m->boxes;
}

/* NonMaxSuppression, ONNX 11: triples (batch, class, box). */
Status nms_eval(Eval *e) {
  Nms m = {.e = e};
  Tensor *y, *room;
  TRY(open_nms(&m, 2));
  int64_t n = 0, dim[4] = {m.batch, m.classes, m.most < m.boxes ? m.most : m.boxes, 3};
  TRY(tensor_new(e->c, e->scratch, DT_i64, 4, dim, &room));
  for (int64_t b = 0; b < m.batch; b++)
    for (int64_t c = 0; c < m.classes; c++) {
      TRY(ctx_poll(e->c));
      enter_class(&m, b, c);
      int64_t kept = select_class(&m), *s = (int64_t *)room->data + 3 * n;
      for (int64_t k = 0; k < kept; k++, n++, s += 3)
        s[0] = b, s[1] = c, s[2] = m.kept[k];
    }
  TRY(eval_out(e, 0, DT_i64, 2, (int64_t[]){n, 3}, &y));
  if (n)
    memcpy(y->data, room->data, (size_t)n * 3 * sizeof(int64_t));
  return ST_OK;
}

/* Suppress (sard): the boxes that are kept of each class, then -1. */
Status suppress_eval(Eval *e) {
  Nms m = {.e = e};
  Tensor *y;
  TRY(open_nms(&m, 3));
  for (int i = 0; i < 3; i++)
    TRY(nn_expect_dim(e, 2, i, e->in[1]->dim[i], "the order"));
  TRY(eval_out(e, 0, DT_i64, 3, e->in[1]->dim, &y));
  for (int64_t b = 0; b < m.batch; b++)
    for (int64_t c = 0; c < m.classes; c++) {
      int64_t row = (b * m.classes + c) * m.boxes, *to = (int64_t *)y->data + row;
      TRY(ctx_poll(e->c));
      enter_class(&m, b, c);
      for (int64_t i = 0; i < m.boxes; i++) {
        m.order[i] = ((const int64_t *)e->in[2]->data)[row + i], to[i] = -1;
        if (m.order[i] < 0 || m.order[i] >= m.boxes)
          return eval_fail(e, "the order names box %lld of %lld", (long long)m.order[i], (long long)m.boxes);
      }
      int64_t kept = select_boxes(&m);
      for (int64_t k = 0; k < kept; k++)
        to[k] = m.kept[k];
    }
  return ST_OK;
}

/* --- RoiAlign --- */

typedef struct Sample { /* four neighbours of a point and their weights */
  int64_t at[4];
  double w[4];
} Sample;

/* A point more than one pixel outside of the image has weights 0. */
static Sample sample_at(double y, double x, int64_t H, int64_t W) {
  Sample s = {0};
  if (!(y >= -1 && y <= (double)H && x >= -1 && x <= (double)W) || !H || !W)
    return s;
  y = y < 0 ? 0 : y > (double)(H - 1) ? (double)(H - 1) : y;
  x = x < 0 ? 0 : x > (double)(W - 1) ? (double)(W - 1) : x;
  int64_t i = (int64_t)y, j = (int64_t)x;
  int64_t down = i + 1 < H ? W : 0, right = j + 1 < W ? 1 : 0;
  double v = y - (double)i, u = x - (double)j;
  for (int k = 0; k < 4; k++) {
    s.at[k] = i * W + j + (k & 2 ? down : 0) + (k & 1 ? right : 0);
    s.w[k] = (k & 2 ? v : 1 - v) * (k & 1 ? u : 1 - u);
  }
  return s;
}

typedef struct Roi {
  double y, x, bin_y, bin_x; /* the region's corner and the size of a bin */
  int64_t grid_y, grid_x;    /* samples per bin */
} Roi;

static Roi read_roi(const RoiAlignAttr *a, const double *v) {
  bool half = str_is(a->coordinate_transformation_mode, "half_pixel");
  double scale = (double)a->spatial_scale, offset = half ? 0.5 : 0;
  double x0 = v[0] * scale - offset, y0 = v[1] * scale - offset;
  double w = v[2] * scale - offset - x0, h = v[3] * scale - offset - y0;
  if (!half)
    w = fmax(w, 1), h = fmax(h, 1); /* what is malformed becomes 1 x 1 */
  Roi r = {.y = y0, .x = x0, .bin_y = h / (double)a->output_height, .bin_x = w / (double)a->output_width};
  r.grid_y = a->sampling_ratio > 0 ? a->sampling_ratio : (int64_t)ceil(fmin(fmax(r.bin_y, 0), 1 << 20));
  r.grid_x = a->sampling_ratio > 0 ? a->sampling_ratio : (int64_t)ceil(fmin(fmax(r.bin_x, 0), 1 << 20));
  return r;
}

/* The mean of the samples, or the largest weighted neighbour. */
static double pool_bin(const Roi *r, int64_t py, int64_t px, const double *image, int64_t H, int64_t W, bool max) {
  double sum = 0, top = 0;
  bool first = true;
  for (int64_t i = 0; i < r->grid_y; i++)
    for (int64_t j = 0; j < r->grid_x; j++) {
      double y = r->y + (double)py * r->bin_y + ((double)i + 0.5) * r->bin_y / (double)r->grid_y;
      double x = r->x + (double)px * r->bin_x + ((double)j + 0.5) * r->bin_x / (double)r->grid_x;
      Sample s = sample_at(y, x, H, W);
      for (int k = 0; k < 4; k++) {
        double v = s.w[k] * image[s.at[k]];
        sum += v;
        top = first || v > top || isnan(v) ? v : top;
        first = false;
      }
    }
  int64_t n = r->grid_y * r->grid_x;
  return max ? top : sum / (double)(n > 1 ? n : 1);
}

static Status check_roi_align(Eval *e) {
  const RoiAlignAttr *a = e->attr;
  TRY(nn_expect_rank(e, 0, 4, "X"));
  TRY(nn_expect_rank(e, 1, 2, "rois"));
  TRY(nn_expect_rank(e, 2, 1, "batch_indices"));
  TRY(nn_expect_dim(e, 1, 1, 4, "the columns of rois"));
  TRY(nn_expect_dim(e, 2, 0, e->in[1]->dim[0], "the length of batch_indices (regions)"));
  if (a->output_height < 1 || a->output_width < 1 || a->sampling_ratio < 0)
    return eval_fail(e, "output %lld x %lld with %lld samples per bin", (long long)a->output_height,
                     (long long)a->output_width, (long long)a->sampling_ratio);
  if (!str_is(a->mode, "avg") && !str_is(a->mode, "max"))
    return eval_fail(e, "mode is '%.*s'; it must be avg or max", (int)(a->mode.len < 40 ? a->mode.len : 40),
                     a->mode.ptr);
  Str t = a->coordinate_transformation_mode;
  if (!str_is(t, "half_pixel") && !str_is(t, "output_half_pixel"))
    return eval_fail(e, "coordinate_transformation_mode is '%.*s'; it must be half_pixel or output_half_pixel",
                     (int)(t.len < 40 ? t.len : 40), t.ptr);
  return ST_OK;
}

/* RoiAlign, ONNX 22. */
Status roi_align_eval(Eval *e) {
  const RoiAlignAttr *a = e->attr;
  const double *image, *rois;
  const int64_t *batch;
  int64_t n, at = 0;
  Tensor *y;
  TRY(check_roi_align(e));
  const Tensor *x = e->in[0];
  int64_t C = x->dim[1], H = x->dim[2], W = x->dim[3];
  TRY(nn_load(e, x, &image));
  TRY(nn_load(e, e->in[1], &rois));
  TRY(eval_ints(e, 2, &batch, &n));
  TRY(eval_out(e, 0, x->dtype, 4, (int64_t[]){n, C, a->output_height, a->output_width}, &y));
  for (int64_t i = 0; i < n; i++) {
    if (batch[i] < 0 || batch[i] >= x->dim[0])
      return eval_fail(e, "a region is of image %lld; there are %lld", (long long)batch[i], (long long)x->dim[0]);
    if (!H || !W)
      return eval_fail(e, "the images are empty");
    Roi r = read_roi(a, rois + 4 * i);
    for (int64_t c = 0; c < C; c++) {
      TRY(ctx_poll(e->c));
      for (int64_t py = 0; py < a->output_height; py++)
        for (int64_t px = 0; px < a->output_width; px++, at++) {
          double v = pool_bin(&r, py, px, image + (batch[i] * C + c) * H * W, H, W, str_is(a->mode, "max"));
          nn_store(y, at, &v, 1);
        }
    }
  }
  return ST_OK;
}

/* --- MaxRoiPool --- */

typedef struct Span {
  int64_t from, to;
} Span;

/* Bin k of n over the rounded region [start, end], clipped to the image. */
static Span bin_span(double start, double end, int64_t k, int64_t n, int64_t extent) {
  double first = round(start), size = fmax(round(end) - first + 1, 1) / (double)n, most = (double)extent;
  double lo = floor((double)k * size) + first, hi = ceil((double)(k + 1) * size) + first;
  return (Span){(int64_t)fmin(fmax(lo, 0), most), (int64_t)fmin(fmax(hi, 0), most)};
}

/* MaxRoiPool, ONNX 22: regions (image, x, y, x, y). An empty bin gives 0. */
Status max_roi_pool_eval(Eval *e) {
  const MaxRoiPoolAttr *a = e->attr;
  const double *image, *r;
  double scale = (double)a->spatial_scale;
  int64_t at = 0;
  Tensor *y;
  TRY(nn_expect_rank(e, 0, 4, "X"));
  TRY(nn_expect_rank(e, 1, 2, "rois"));
  TRY(nn_expect_dim(e, 1, 1, 5, "the columns of rois"));
  if (a->pooled_shape.n != 2 || a->pooled_shape.v[0] < 1 || a->pooled_shape.v[1] < 1)
    return eval_fail(e, "pooled_shape must be two positive numbers");
  const Tensor *x = e->in[0];
  int64_t C = x->dim[1], H = x->dim[2], W = x->dim[3], ph = a->pooled_shape.v[0], pw = a->pooled_shape.v[1];
  TRY(nn_load(e, x, &image));
  TRY(nn_load(e, e->in[1], &r));
  TRY(eval_out(e, 0, x->dtype, 4, (int64_t[]){e->in[1]->dim[0], C, ph, pw}, &y));
  for (int64_t i = 0; i < e->in[1]->dim[0]; i++, r += 5) {
    if (!(r[0] >= 0 && r[0] < (double)x->dim[0]))
      return eval_fail(e, "a region is of image %lld; there are %lld",
                       r[0] >= 0 && r[0] < 0x1p62 ? (long long)r[0] : -1, (long long)x->dim[0]);
    for (int64_t k = 0; k < C * ph * pw; k++, at++) {
      const double *plane = image + ((int64_t)r[0] * C + k / (ph * pw)) * H * W;
      Span v = bin_span(r[2] * scale, r[4] * scale, k / pw % ph, ph, H);
      Span u = bin_span(r[1] * scale, r[3] * scale, k % pw, pw, W);
      double top = v.from < v.to && u.from < u.to ? -INFINITY : 0;
      for (int64_t p = v.from; p < v.to; p++)
        for (int64_t q = u.from; q < u.to; q++)
          top = plane[p * W + q] > top || isnan(plane[p * W + q]) ? plane[p * W + q] : top;
      nn_store(y, at, &top, 1);
    }
    TRY(ctx_poll(e->c));
  }
  return ST_OK;
}
