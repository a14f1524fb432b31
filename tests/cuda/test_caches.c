/* test_caches.c - attention with a cache of its own on the device cuda, in the forms whose new keys and queries differ in number, whose
 * scores are an output or whose softmax is in 16 bits: one kernel of the generator's for each, over the null driver, against the
 * definition in double. SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/runs.h"

#include "tests/frontend/models.h"

#include <math.h>

enum { B = 2, H = 4, KV = 2, D = 8, MOST_ROWS = 40, F16 = 10 };
enum { RAW = 0, WEIGHTS = 3 }; /* qk_matmul_output_mode */
enum { NO_MASK, BOOLS, NUMBERS };

typedef struct Form {
  const char *name;
  int64_t causal, left, right, mode, soft; /* left, right: -1: no window; soft: 0: none is given */
  int mask;
  bool scores;
} Form;

static const Form forms[] = {
    {"causal", 1, -1, -1, RAW, 0, NO_MASK, false},
    {"windows", 0, 3, 1, RAW, 0, NO_MASK, false},
    {"bools", 1, 4, -1, RAW, 0, BOOLS, false},
    {"numbers", 1, -1, -1, RAW, 0, NUMBERS, false},
    {"products", 0, -1, -1, RAW, 0, NO_MASK, true},
    {"weights", 1, -1, -1, WEIGHTS, 0, NO_MASK, true},
    {"masked weights", 1, 5, 0, WEIGHTS, 0, NUMBERS, true},
    {"f16", 1, -1, -1, RAW, F16, NO_MASK, false},
    {"f16 weights", 0, -1, -1, WEIGHTS, F16, BOOLS, true},
};

/* Queries, new keys, keys of the past. */
static const int64_t lengths[][3] = {{3, 3, 5}, {1, 4, 6}, {5, 2, 7}, {4, 9, 0}, {20, 17, 19}};

typedef struct Data {
  float q[B * H * MOST_ROWS * D], k[B * KV * MOST_ROWS * D], v[B * KV * MOST_ROWS * D];
  float past_k[B * KV * MOST_ROWS * D], past_v[B * KV * MOST_ROWS * D], numbers[MOST_ROWS * MOST_ROWS];
  bool bools[MOST_ROWS * MOST_ROWS];
} Data;

/* len: the lengths, to be fixed in the model; NULL: they are symbols, one of their own for the mask's. */
static Pb model(const Form *f, const int64_t *len) {
  char q[32] = "2 4 s 8", k[32] = "2 2 t 8", past[32] = "2 2 p 8", mask[32] = "s u";
  Pb g = {0}, n = node("attention", "Attention", f->mask ? "q k v m pk pv" : "q k v - pk pv",
                       f->scores ? "y nk nv w" : "y nk nv");
  if (len) {
    snprintf(q, sizeof q, "2 4 %lld 8", (long long)len[0]), snprintf(k, sizeof k, "2 2 %lld 8", (long long)len[1]);
    snprintf(past, sizeof past, "2 2 %lld 8", (long long)len[2]);
    snprintf(mask, sizeof mask, "%lld %lld", (long long)len[0], (long long)(len[1] + len[2]));
  }
  attr_int(&n, "is_causal", f->causal);
  attr_int(&n, "qk_matmul_output_mode", f->mode);
  if (f->left >= 0)
    attr_int(&n, "left_window_size", f->left);
  if (f->right >= 0)
    attr_int(&n, "right_window_size", f->right);
  if (f->soft)
    attr_int(&n, "softmax_precision", f->soft);
  put_node(&g, &n);
  put_value(&g, GRAPH_INPUT, "q", F32, q), put_value(&g, GRAPH_INPUT, "k", F32, k);
  put_value(&g, GRAPH_INPUT, "v", F32, k), put_value(&g, GRAPH_INPUT, "pk", F32, past);
  put_value(&g, GRAPH_INPUT, "pv", F32, past);
  if (f->mask)
    put_value(&g, GRAPH_INPUT, "m", f->mask == BOOLS ? BOOL : F32, mask);
  put_value(&g, GRAPH_OUTPUT, "y", F32, q), put_value(&g, GRAPH_OUTPUT, "nk", F32, "2 2 ? 8");
  put_value(&g, GRAPH_OUTPUT, "nv", F32, "2 2 ? 8");
  if (f->scores)
    put_value(&g, GRAPH_OUTPUT, "w", F32, "2 4 ? ?");
  return model_of(&g, 13, 28);
}

static void fill(float *x, size_t n, uint32_t seed) {
  for (size_t i = 0; i < n; i++)
    seed = seed * 1664525 + 1013904223, x[i] = (float)(int32_t)seed * 0x1p-30f;
}

static double one(const float *x, const float *past, int64_t head, int64_t n, int64_t p, int64_t j, int64_t d) {
  return j < p ? (double)past[(head * p + j) * D + d] : (double)x[(head * n + j - p) * D + d];
}

/* Row i of a head: y and the row of scores. */
static void row_of(const Form *f, const Data *x, const int64_t *len, int64_t head, int64_t i, double *y, double *w) {
  int64_t s = len[0], t = len[1], p = len[2], all = t + p, of = head / H * KV + head % H / (H / KV), at = p + i;
  double raw[2 * MOST_ROWS], most = -INFINITY, sum = 0;
  for (int64_t j = 0; j < all; j++) {
    double dot = 0;
    for (int64_t d = 0; d < D; d++)
      dot += (double)x->q[(head * s + i) * D + d] * one(x->k, x->past_k, of, t, p, j, d);
    raw[j] = w[j] = dot / sqrt(D);
    bool seen = (!f->causal || j <= at) && (f->left < 0 || j >= at - f->left) && (f->right < 0 || j <= at + f->right) &&
                (f->mask != BOOLS || x->bools[i * all + j]);
    raw[j] = seen ? raw[j] + (f->mask == NUMBERS ? (double)x->numbers[i * all + j] : 0) : -INFINITY;
    most = fmax(most, raw[j]);
  }
  for (int64_t j = 0; j < all; j++)
    sum += raw[j] = most > -INFINITY ? exp(raw[j] - most) : 0;
  for (int64_t d = 0; d < D; d++)
    y[d] = 0;
  for (int64_t j = 0; j < all; j++) {
    double part = sum > 0 ? raw[j] / sum : 0;
    w[j] = f->mode == WEIGHTS ? part : w[j];
    for (int64_t d = 0; d < D; d++)
      y[d] += part * one(x->v, x->past_v, of, t, p, j, d);
  }
}

static void near(const Form *f, const char *what, double got, double want) {
  if (!(fabs(got - want) <= (f->soft ? 2e-3 : 1e-5)))
    fail_msg("%s: %s is %.9g, must be %.9g", f->name, what, got, want);
}

static void check(const Form *f, const Data *x, const int64_t *len, const sard_result *r) {
  int64_t s = len[0], t = len[1], p = len[2], all = t + p;
  const float *y = output(r, 0).data, *k = output(r, 1).data, *w = f->scores ? output(r, 3).data : NULL;
  double want[D], score[2 * MOST_ROWS];
  for (int64_t head = 0; head < B * H; head++)
    for (int64_t i = 0; i < s; i++) {
      row_of(f, x, len, head, i, want, score);
      for (int64_t d = 0; d < D; d++)
        near(f, "an output", (double)y[(head * s + i) * D + d], want[d]);
      for (int64_t j = 0; w && j < all; j++)
        near(f, "a score", (double)w[(head * s + i) * all + j], score[j]);
    }
  for (int64_t i = 0; i < B * KV * all * D; i++)
    assert_true((double)k[i] == one(x->k, x->past_k, i / D / all, t, p, i / D % all, i % D));
}

static void with_lengths(const Form *f, const sard_model *m, const int64_t *len) {
  static Data x;
  int64_t s = len[0], t = len[1], p = len[2], all = t + p;
  fill(x.q, B * H * (size_t)s * D, 1), fill(x.k, B * KV * (size_t)t * D, 2), fill(x.v, B * KV * (size_t)t * D, 3);
  fill(x.past_k, B * KV * (size_t)p * D, 4), fill(x.past_v, B * KV * (size_t)p * D, 5);
  fill(x.numbers, (size_t)(s * all), 6);
  for (int64_t i = 0; i < s * all; i++)
    x.bools[i] = i % 5 != 2;
  sard_tensor in[] = {{.data = x.q, .dtype = SARD_F32, .rank = 4, .dim = {B, H, s, D}},
                      {.data = x.k, .dtype = SARD_F32, .rank = 4, .dim = {B, KV, t, D}},
                      {.data = x.v, .dtype = SARD_F32, .rank = 4, .dim = {B, KV, t, D}},
                      {.data = x.past_k, .dtype = SARD_F32, .rank = 4, .dim = {B, KV, p, D}},
                      {.data = x.past_v, .dtype = SARD_F32, .rank = 4, .dim = {B, KV, p, D}},
                      {.data = x.numbers, .dtype = SARD_F32, .rank = 2, .dim = {s, all}}};
  if (f->mask == BOOLS)
    in[5].data = x.bools, in[5].dtype = SARD_BOOL;
  sard_result *r = run(m, in, f->mask ? 6 : 5);
  check(f, &x, len, r);
  sard_result_free(r);
}

/* One attention of the generator's, and no softmax in loops. */
static void by_generator(const Form *f, const sard_model *m) {
  int found = 0;
  for (size_t i = 0; i < sard_step_count(m); i++) {
    sard_step s = SARD_STEP_INIT;
    assert_int_equal(sard_step_info(m, i, &s), SARD_OK);
    bool own = !strcmp(s.op, "Attention");
    if (own && (s.kind != SARD_STEP_COMPILED || !strstr(s.tile, "rows x")))
      fail_msg("%s: %s, %s", f->name, s.kernel, s.tile);
    found += own;
  }
  assert_int_equal(found, 1);
}

static sard_model *load(const Form *f, const int64_t *len, const char *device) {
  Pb bytes = model(f, len);
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m;
  sard_error *err = NULL;
  o.device = device, o.cache = "off";
  if (sard_load_bytes(NULL, bytes.b, bytes.n, NULL, &o, &m, &err))
    fail_msg("%s: %s", f->name, sard_error_text(err));
  free(bytes.b);
  return m;
}

/* Scores need to know that a mask has a key at least: of such a form the generator takes those of fixed lengths. */
static void symbolic(void **unused) {
  (void)unused;
  static const char *const devices[] = {"cuda", "cpu"};
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
    for (int d = 0; d < 2; d++) {
      sard_model *m = load(&forms[i], NULL, devices[d]);
      if (!d && !(forms[i].scores && forms[i].mask))
        by_generator(&forms[i], m);
      for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
        with_lengths(&forms[i], m, lengths[k]);
      sard_model_free(m);
    }
}

static void fixed(void **unused) {
  (void)unused;
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    const int64_t *len = lengths[i % (sizeof lengths / sizeof *lengths)];
    sard_model *m = load(&forms[i], len, "cuda");
    by_generator(&forms[i], m);
    with_lengths(&forms[i], m, len);
    sard_model_free(m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(symbolic), cmocka_unit_test(fixed)};
  return cmocka_run_group_tests(tests, load_null, NULL);
}
