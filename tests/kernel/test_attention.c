/* test_attention.c - compiled attention against its definition in double: softmax(scale * Q K^T + mask) V per head.
 * Scores are of size sqrt(dk) / 3 before the scale, weights sum to 1 and values lie in [-1, 1]: errors of f32 scores
 * and weights come to some units of 2^-23; the tests allow 2^-18.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/attention.h"
#include "tests/kernel/rig.h"

#include <math.h>

static Jit jit;
static double allowed = 0x1p-18;
static const float *sinks; /* of the case at hand, one for each head, or NULL */

typedef struct Sizes {
  int64_t b, q, k;
} Sizes;

static bool size_of(void *arg, Dim sym, int64_t *v) {
  const Sizes *s = arg;
  if (!strcmp(sym->name, "b"))
    *v = s->b;
  else if (!strcmp(sym->name, "q"))
    *v = s->q;
  else if (!strcmp(sym->name, "k"))
    *v = s->k;
  else
    return false;
  return true;
}

static int64_t value(Dim d, Sizes s) { return rig_value(d, (RigSizes){size_of, &s}); }

typedef struct Compiled {
  Unit u;
  KernelFn fn;
} Compiled;

static Compiled compile(Attention t) {
  Compiled c = {.u = {.kind = UNIT_ATTENTION, .name = "attention", .attention = t}};
  attention_schedule(&jit.ctx, &c.u, jit.level);
  c.fn = rig_compile(&jit, &c.u);
  return c;
}

static Dim sym(const char *name) { return dim_sym(&jit.ctx, name); }
static Dim num(int64_t v) { return dim_const(&jit.ctx, v); }

static void run(const Compiled *c, Sizes s, void **buf, int pieces) {
  rig_run(&jit, &c->u, c->fn, (RigSizes){size_of, &s}, buf, pieces);
}

/* Element d of row i of head h of entry b. */
static int64_t at(bool split, int64_t b, int64_t h, int64_t i, int64_t heads, int64_t len, int64_t dims, int64_t d) {
  return split ? ((b * heads + h) * len + i) * dims + d : ((b * len + i) * heads + h) * dims + d;
}

static double mask_value(const Attention *t, Sizes s, const void *mask, int64_t b, int64_t h, int64_t i, int64_t j) {
  int64_t index[4] = {b, h, i, j}, x = 0;
  for (int a = 0; a < t->mask_rank; a++) {
    int64_t n = value(t->mask_dim[a], s);
    x = x * n + (n == 1 ? 0 : index[4 - t->mask_rank + a]);
  }
  if (t->mask == DT_none)
    return 0;
  return t->mask == DT_f32 ? (double)((const float *)mask)[x] : ((const uint8_t *)mask)[x] ? 0 : -INFINITY;
}

static bool unseen(const Attention *t, Sizes s, int64_t i, int64_t j) {
  int64_t at = i + s.k - s.q;
  return (t->causal && j > at) || (t->has_left && j < at - t->left) || (t->has_right && j > at + t->right);
}

/* One row of the definition; want: dv values. */
static void row(const Attention *t, Sizes s, void *const *buf, int64_t b, int64_t h, int64_t i, double *want) {
  const float *q = buf[0], *k = buf[1], *v = buf[2];
  int64_t g = h / (t->heads / t->kv_heads);
  double max = sinks ? (double)sinks[h] : -INFINITY, sum = 0, score[2048];
  for (int64_t j = 0; j < s.k; j++) {
    double m = unseen(t, s, i, j) ? -INFINITY : mask_value(t, s, buf[3], b, h, i, j), dot = 0;
    for (int64_t d = 0; d < t->dk; d++)
      dot += (double)q[at(t->q_split, b, h, i, t->heads, s.q, t->dk, d)] *
             (double)k[at(t->kv_split, b, g, j, t->kv_heads, s.k, t->dk, d)];
    dot *= t->scale;
    dot = t->cap > 0 ? t->cap * tanh(dot / t->cap) : dot;
    score[j] = m == -INFINITY ? m : dot + m;
    max = score[j] > max || score[j] != score[j] ? score[j] : max;
  }
  for (int64_t d = 0; d < t->dv; d++)
    want[d] = t->zero_rows ? 0 : NAN;
  if (max == -INFINITY)
    return;
  sum = sinks ? exp((double)sinks[h] - max) : 0;
  for (int64_t j = 0; j < s.k; j++)
    sum += score[j] = exp(score[j] - max);
  for (int64_t d = 0; d < t->dv; d++) {
    want[d] = 0;
    for (int64_t j = 0; j < s.k; j++) { /* what is masked does not count, even NaN */
      double p = (float)(score[j] / sum) == 0 ? 0 : score[j] / sum;
      if (p != 0 || (t->mask == DT_none && !t->causal && !t->has_left && !t->has_right))
        want[d] += p * (double)v[at(t->kv_split, b, g, j, t->kv_heads, s.k, t->dv, d)];
    }
  }
}

static void compare(const Attention *t, Sizes s, void *const *buf, const float *out) {
  double want[512];
  for (int64_t b = 0; b < s.b; b++)
    for (int64_t h = 0; h < t->heads; h++)
      for (int64_t i = 0; i < s.q; i++) {
        row(t, s, buf, b, h, i, want);
        for (int64_t d = 0; d < t->dv; d++) {
          double got = (double)out[at(t->out_split, b, h, i, t->heads, s.q, t->dv, d)];
          if (isnan(want[d]) ? !isnan(got) : got != want[d] && !(fabs(got - want[d]) <= allowed))
            fail_msg("b %lld q %lld k %lld, dims %lld %lld: [%lld,%lld,%lld,%lld] is %.9g, not %.9g", (long long)s.b,
                     (long long)s.q, (long long)s.k, (long long)t->dk, (long long)t->dv, (long long)b, (long long)h,
                     (long long)i, (long long)d, got, want[d]);
        }
      }
}

/* change: what to do to the operands before the run. */
static void check(const Compiled *c, Sizes s, void (*change)(const Attention *t, Sizes s, void **buf)) {
  const Attention *t = &c->u.attention;
  int64_t nq = s.b * t->heads * s.q, nk = s.b * t->kv_heads * s.k, nm = 1;
  for (int i = 0; i < t->mask_rank; i++)
    nm *= value(t->mask_dim[i], s);
  float *out = numbers(nq * t->dv + 16, 5), *again = numbers(nq * t->dv + 16, 6);
  void *buf[6] = {numbers(nq * t->dk, 1), numbers(nk * t->dk, 2), numbers(nk * t->dv, 3)}, *mask = numbers(nm, 4);
  float *sink = numbers(t->heads, 7);
  int last = 3;
  uint8_t *yes = mask;
  if (t->mask == DT_bool)
    for (int64_t i = 0; i < nm; i++)
      yes[i] = (i * 7 + i / 5) % 3 != 0;
  if (t->mask != DT_none)
    buf[last++] = mask;
  if (t->sink)
    buf[last++] = sink;
  if (change)
    change(t, s, buf);
  memset(out + nq * t->dv, 0x5a, 64), memset(again + nq * t->dv, 0x5a, 64);
  buf[last] = out;
  run(c, s, buf, 1);
  buf[last] = again;
  run(c, s, buf, 3);
  assert_memory_equal(out, again, (size_t)(nq * t->dv + 16) * 4);
  sinks = t->sink ? sink : NULL;
  compare(t, s, buf, out);
  for (int i = 0; i < 3; i++)
    free(buf[i]);
  free(mask), free(sink), free(out), free(again);
}

static const Sizes sizes[] = {{1, 1, 1},   {2, 3, 5},    {1, 8, 8},   {2, 16, 17},  {1, 33, 130},
                              {2, 64, 64}, {1, 65, 300}, {1, 1, 513}, {1, 130, 97}, {0, 4, 4},
                              {1, 0, 4},   {2, 5, 0},    {1, 4, 20}};

static void check_all(Attention t) {
  Compiled c = compile(t);
  for (size_t i = 0; i < countof(sizes); i++)
    check(&c, sizes[i], NULL);
}

static Attention plain(int64_t heads, int64_t kv_heads, int64_t dk, int64_t dv) {
  return (Attention){.batch = sym("b"),
                     .q_len = sym("q"),
                     .kv_len = sym("k"),
                     .heads = heads,
                     .kv_heads = kv_heads,
                     .dk = dk,
                     .dv = dv,
                     .scale = 1 / sqrt((double)dk)};
}

static void test_layouts(void **state) {
  (void)state;
  for (int form = 0; form < 8; form++) {
    Attention t = plain(3, 3, 32, 32);
    t.q_split = form & 1, t.kv_split = form & 2, t.out_split = form & 4;
    check_all(t);
  }
}

static void test_dims(void **state) {
  static const int64_t d[][2] = {{1, 1}, {7, 5}, {64, 64}, {80, 80}, {64, 100}, {33, 17}, {128, 48}, {16, 96}};
  (void)state;
  for (size_t i = 0; i < countof(d); i++)
    check_all(plain(2, 2, d[i][0], d[i][1]));
}

static void test_grouped(void **state) {
  (void)state;
  check_all(plain(6, 2, 24, 24));
  check_all(plain(4, 1, 16, 16));
}

static void test_causal(void **state) {
  (void)state;
  for (int form = 0; form < 4; form++) {
    Attention t = plain(2, 1, 40, 24);
    t.causal = true, t.zero_rows = form & 1, t.q_split = t.kv_split = form & 2;
    check_all(t);
  }
}

/* Lengths known beforehand: only the ways through a part that they need exist. */
static void test_constant_lengths(void **state) {
  static const int64_t lens[] = {0, 1, 2, 4, 5, 8, 9, 16, 17, 24, 25, 32, 33, 64, 65, 80, 81, 96, 97, 128};
  (void)state;
  for (size_t i = 0; i < countof(lens); i++) {
    Attention t = plain(1, 1, 16, 16);
    t.q_len = num(lens[i]), t.causal = i & 1;
    Compiled c = compile(t);
    check(&c, (Sizes){2, lens[i], 140}, NULL);
  }
  Attention t = plain(1, 1, 16, 16);
  t.kv_len = t.q_len;
  Compiled c = compile(t);
  for (size_t i = 0; i < countof(lens); i++)
    check(&c, (Sizes){2, lens[i], lens[i]}, NULL);
}

static void set_mask(Attention *t, DType type, int rank, Dim b, Dim h, Dim q, Dim k) {
  Dim all[] = {b, h, q, k};
  t->mask = type, t->mask_rank = (int8_t)rank;
  for (int i = 0; i < rank; i++)
    t->mask_dim[i] = all[4 - rank + i];
}

static void test_masks(void **state) {
  (void)state;
  for (int form = 0; form < 12; form++) {
    Attention t = plain(2, 2, 16, 16);
    DType type = form & 1 ? DT_bool : DT_f32;
    switch (form / 2) {
    case 0: set_mask(&t, type, 4, sym("b"), num(1), num(1), sym("k")); break;
    case 1: set_mask(&t, type, 4, num(1), num(1), sym("q"), sym("k")); break;
    case 2: set_mask(&t, type, 4, sym("b"), num(2), sym("q"), sym("k")); break;
    case 3: set_mask(&t, type, 2, NULL, NULL, sym("q"), sym("k")); break;
    case 4: set_mask(&t, type, 1, NULL, NULL, NULL, sym("k")); break;
    case 5: set_mask(&t, type, 4, sym("b"), num(1), sym("q"), num(1)), t.causal = true; break;
    }
    t.zero_rows = form % 3 == 0;
    check_all(t);
  }
}

static void test_windows(void **state) {
  static const int64_t left[] = {0, 3, 40, INT32_MAX, -1}, right[] = {0, 2, 70, INT32_MAX, -1};
  (void)state;
  for (size_t i = 0; i < countof(left) * countof(right); i += 1 + i % 3) {
    Attention t = plain(2, 1, 16, 24);
    t.left = left[i % 5], t.right = right[i / 5];
    t.has_left = t.left >= 0, t.has_right = t.right >= 0, t.zero_rows = true, t.causal = i % 4 == 0;
    if (i & 1)
      set_mask(&t, DT_bool, 2, NULL, NULL, sym("q"), sym("k"));
    check_all(t);
  }
}

static void test_caps(void **state) {
  (void)state;
  for (int form = 0; form < 6; form++) {
    Attention t = plain(2, 2, 16, 16);
    t.cap = 0.25, t.causal = form & 1, t.zero_rows = true;
    if (form / 2)
      set_mask(&t, form / 2 > 1 ? DT_f32 : DT_bool, 2, NULL, NULL, sym("q"), sym("k"));
    check_all(t);
  }
}

/* No key seen: the sink alone is left, and zeros. */
static void test_sinks(void **state) {
  (void)state;
  for (int form = 0; form < 8; form++) {
    Attention t = plain(4, 2, 16, 16);
    t.sink = true, t.zero_rows = true, t.cap = form == 7 ? 0.5 : 0;
    t.causal = form & 1, t.has_left = form & 2, t.left = 3;
    if (form & 4)
      set_mask(&t, DT_bool, 2, NULL, NULL, sym("q"), sym("k"));
    check_all(t);
  }
}

/* Float masks as exporters write them: 0 and the lowest f32, whole rows of -inf, and NaN behind a mask. */
static void hostile(const Attention *t, Sizes s, void **buf) {
  float *mask = buf[3], *q = buf[0], *k = buf[1];
  for (int64_t i = 0; i < s.q; i++)
    for (int64_t j = 0; j < s.k; j++)
      mask[i * s.k + j] = i == 2        ? -INFINITY
                          : i == 3      ? -3.402823466e38f
                          : i == 4 && j ? -INFINITY
                          : (i + j) % 3 ? 0
                                        : -3.402823466e38f;
  if (s.q > 6 && s.k > 7) {
    float *v = buf[2];
    q[at(t->q_split, 0, 0, 5, t->heads, s.q, t->dk, 0)] = NAN; /* a row that is NaN */
    k[at(t->kv_split, 0, 0, 6, t->kv_heads, s.k, t->dk, 1)] = NAN;
    v[at(t->kv_split, 0, 0, 6, t->kv_heads, s.k, t->dv, 0)] = NAN;
    v[at(t->kv_split, 0, 0, 7, t->kv_heads, s.k, t->dv, 1)] = INFINITY;
    v[at(t->kv_split, 0, 0, 7, t->kv_heads, s.k, t->dv, 2)] = NAN;
    for (int64_t i = 0; i < s.q; i++) /* only row 1 sees the NaN of key 6, only row 0 what is not finite in key 7 */
      mask[i * s.k + 6] = i == 1 ? 0 : -INFINITY, mask[i * s.k + 7] = i == 0 ? 0 : -INFINITY;
  }
}

static void test_masked_rows(void **state) {
  (void)state;
  for (int zero = 0; zero < 2; zero++) {
    Attention t = plain(1, 1, 8, 8);
    set_mask(&t, DT_f32, 2, NULL, NULL, sym("q"), sym("k"));
    t.zero_rows = zero;
    Compiled c = compile(t);
    check(&c, (Sizes){1, 10, 11}, hostile);
    check(&c, (Sizes){1, 70, 300}, hostile);
    check(&c, (Sizes){1, 5, 3}, hostile);
  }
}

/* A NaN in the last value: only what sees the last key is NaN. */
static void last_value(const Attention *t, Sizes s, void **buf) {
  float *v = buf[2];
  for (int64_t h = 0; h < t->kv_heads && s.k; h++)
    v[at(t->kv_split, 0, h, s.k - 1, t->kv_heads, s.k, t->dv, t->dv - 1)] = NAN;
}

static void test_masked_values(void **state) {
  (void)state;
  Attention t = plain(2, 1, 24, 20);
  t.causal = true;
  Compiled c = compile(t);
  for (size_t i = 0; i < countof(sizes); i++)
    if (sizes[i].b)
      check(&c, sizes[i], last_value);
  t.causal = false;
  set_mask(&t, DT_bool, 2, NULL, NULL, sym("q"), sym("k"));
  c = compile(t);
  for (size_t i = 0; i < countof(sizes); i++)
    if (sizes[i].b)
      check(&c, sizes[i], last_value);
}

/* Parts of several groups of queries, some of which do not see a block of keys that others see. */
static void test_many_queries(void **state) {
  static const Sizes many[] = {{1, 300, 290}, {1, 257, 410}, {2, 70, 600}, {1, 600, 150}};
  (void)state;
  for (int form = 0; form < 5; form++) {
    Attention t = plain(2, 1, 16, 24);
    t.causal = form == 1 || form == 3, t.zero_rows = true;
    t.has_left = form == 2 || form == 3, t.left = 50;
    t.has_right = form == 2, t.right = 30;
    if (form == 4)
      set_mask(&t, DT_bool, 2, NULL, NULL, sym("q"), sym("k"));
    Compiled c = compile(t);
    for (size_t i = 0; i < countof(many); i++)
      check(&c, many[i], form ? last_value : NULL);
  }
}

/* Scores so far apart that only the maximum keeps them from overflowing. */
static void large(const Attention *t, Sizes s, void **buf) {
  float *q = buf[0];
  for (int64_t i = 0; i < s.b * t->heads * s.q * t->dk; i++)
    q[i] *= 64;
}

static void test_large_scores(void **state) {
  (void)state;
  Attention t = plain(2, 2, 16, 16);
  t.scale = 1;
  Compiled c = compile(t);
  allowed = 0x1p-13; /* scores of some 100, off by some units of 2^-17 */
  check(&c, (Sizes){1, 20, 400}, large);
  allowed = 0x1p-18;
}

/* A key so far below the others that its weight is 0 in f32: without masks, 0 times infinity is NaN, as in the product. */
static void weightless(const Attention *t, Sizes s, void **buf) {
  float *q = buf[0], *k = buf[1], *v = buf[2];
  for (int64_t i = 0; i < s.q * t->dk; i++)
    q[i] = 1;
  for (int64_t d = 0; d < t->dk; d++)
    k[d] = -400;
  v[1] = INFINITY;
}

static void test_weightless_values(void **state) {
  (void)state;
  Compiled c = compile(plain(1, 1, 8, 8));
  check(&c, (Sizes){1, 10, 11}, weightless);
  check(&c, (Sizes){1, 1, 300}, weightless);
}

/* A key whose weight is below the smallest normal number, where some levels take 0, and a query that is a NaN of many bits, which is one
 * whatever the weights are made of. */
static void faint(const Attention *t, Sizes s, void **buf) {
  float *q = buf[0], *k = buf[1];
  static const uint32_t nan[] = {0x7fffffff, 0x7fc00100, 0xffc001ff};
  for (int64_t i = 0; i < s.q * t->dk; i++)
    q[i] = 1;
  for (int64_t d = 0; d < t->dk; d++)
    k[d] = -92 / (float)t->scale / (float)t->dk;
  for (int64_t i = 0; i < s.q && i < 3; i++)
    memcpy(&q[i * 3 * t->dk], &nan[i], s.q > 6 ? 4 : 0);
}

static void test_faint_weights(void **state) {
  (void)state;
  Compiled c = compile(plain(1, 1, 8, 8));
  check(&c, (Sizes){1, 10, 11}, faint);
  check(&c, (Sizes){1, 40, 130}, faint);
  check(&c, (Sizes){1, 1, 300}, faint);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_layouts),
      cmocka_unit_test(test_dims),
      cmocka_unit_test(test_grouped),
      cmocka_unit_test(test_causal),
      cmocka_unit_test(test_constant_lengths),
      cmocka_unit_test(test_masks),
      cmocka_unit_test(test_masked_rows),
      cmocka_unit_test(test_large_scores),
      cmocka_unit_test(test_masked_values),
      cmocka_unit_test(test_weightless_values),
      cmocka_unit_test(test_faint_weights),
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_many_queries),
      cmocka_unit_test(test_caps),
      cmocka_unit_test(test_sinks),
  };
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4"};
  RIG_MAIN(&jit, levels, tests);
}
