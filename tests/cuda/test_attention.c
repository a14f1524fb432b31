/* test_attention.c - attention for GPUs, run by the interpreter of PTX, against its definition in double: softmax(scale Q K^T + mask) V
 * per head, for two grids and orders of the threads with the same bits; and assembled by ptxas, where the CUDA toolkit is.
 *
 * Scores are of size sqrt(dk) / 3 before the scale, weights sum to 1 and values lie in [-1, 1]. f32: errors of scores and weights come to
 * some units of 2^-23, 2^-18 are allowed. Tensor cores: a result is rounded to the type of V, by 2^-12 and 2^-9 at most, and, of
 * more than a few rows, so are the weights: 2^-12 and 2^-9 of their sum.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "codegen/backend.h"
#include "codegen/gpu_attention.h"
#include "runtime/kernel_abi.h"
#include "support/tensor.h"
#include "tests/cuda/null/ptx.h"
#include "tests/cuda/ptxas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static Ctx ctx;
static Arena *arena;
static int kernels, most_registers;

/* --- extents --- */

typedef struct Sizes {
  int64_t b, q, k, room; /* room: of the cache, at least k */
} Sizes;

static bool size_of(void *arg, Dim sym, int64_t *v) {
  const Sizes *s = arg;
  static const char *const name[] = {"b", "q", "k", "room", "short"};
  const int64_t value[] = {s->b, s->q, s->k, s->room,
                           s->k * 2 / 3}; /* short: keys of a mask for fewer than there are */
  for (size_t i = 0; i < countof(name); i++)
    if (!strcmp(sym->name, name[i])) {
      *v = value[i];
      return true;
    }
  return false;
}

static int64_t value(Dim d, Sizes s) {
  int64_t v;
  assert_true(dim_eval(d, size_of, &s, &v));
  return v;
}

static Dim sym(const char *name) { return dim_sym(&ctx, name); }
static Dim num(int64_t v) { return dim_const(&ctx, v); }

/* --- compiling --- */

typedef struct Compiled {
  Unit u;
  PtxModule *module;
  const PtxKernel *stage[3];
  const Dim *dim;
  uint32_t ndim;
  char *ptx;
} Compiled;

static char *compile_for(const Unit *u, const char *target, const char **symbol) {
  BackendResult r;
  EmitTarget t = {.cpu_level = target};
  if (backend_compile(&ctx, arena, &u, 1, &t, 1, 1, &r))
    fail_msg("%s", ctx.err.message);
  *symbol = r.code[0].symbol;
  return arena_strndup(arena, (const char *)r.object[0].bytes, r.object[0].size);
}

/* No spills, and not more registers than a block of its threads may have each. */
static void assemble(const char *ptx, const char *target) {
  if (!ptxas_path())
    return;
  Assembled x = ptxas_assemble(ptx, target);
  if (x.rc || x.stack)
    fail_msg("ptxas -arch=%s: %s:\n%s", target, x.stack ? "a kernel spills" : "fails", ptx);
  most_registers = x.registers > most_registers ? x.registers : most_registers;
  kernels += x.kernels;
}

static Compiled compile(Attention t) {
  Compiled c = {.u = {.kind = UNIT_ATTENTION, .name = "attention", .attention = t}};
  const char *symbol;
  char why[256];
  gpu_attention_schedule(&ctx, arena, &c.u);
  c.ptx = compile_for(&c.u, "sm_80", &symbol);
  if (strstr(c.ptx, ".local"))
    fail_msg("memory of a thread's own:\n%s", c.ptx);
  if (getenv("VERBOSE"))
    printf("%s\n", c.ptx);
  c.module = ptx_parse(c.ptx, why);
  if (!c.module)
    fail_msg("%s", why);
  for (uint32_t i = 0; i <= c.u.nmore; i++) {
    c.stage[i] = ptx_find(c.module, i ? arena_printf(arena, "%s_then%u", symbol, i) : symbol);
    assert_non_null(c.stage[i]);
  }
  unit_signature(arena, &c.u, &c.dim, &c.ndim);
  return c;
}

/* --- operands --- */

static bool is_half_type(DType t) { return t == DT_f16 || t == DT_bf16; }
static bool is_half(const Attention *t) { return is_half_type(t->type); }

typedef struct Operand {
  Tensor *t; /* as the kernel has it */
  double *v; /* the same numbers */
} Operand;

/* n numbers, uniform in [-1, 1), as they are when rounded to the type. */
static Operand operand(DType type, int64_t n, uint32_t seed) {
  Operand x = {.v = arena_array(arena, double, (size_t)n + 1)};
  assert_int_equal(tensor_new(&ctx, arena, type, 1, &n, &x.t), ST_OK);
  for (int64_t i = 0; i < n; i++) {
    seed = seed * 1664525 + 1013904223;
    if (type == DT_bool)
      ((uint8_t *)x.t->data)[i] = (i * 7 + i / 5) % 3 != 0;
    else
      elem_set_f64(type, x.t->data, i, (double)(int32_t)seed * 0x1p-31);
    x.v[i] = elem_f64(type, x.t->data, i);
  }
  return x;
}

static void put(Operand *x, int64_t i, double v) {
  elem_set_f64(x->t->dtype, x->t->data, i, v);
  x->v[i] = elem_f64(x->t->dtype, x->t->data, i);
}

typedef struct Operands {
  Operand q, k, v, mask;
} Operands;

/* Element d of row i of head h of entry b. */
static int64_t at(bool split, int64_t b, int64_t h, int64_t i, int64_t heads, int64_t len, int64_t dims, int64_t d) {
  return split ? ((b * heads + h) * len + i) * dims + d : ((b * len + i) * heads + h) * dims + d;
}

static int64_t room(const Attention *t, Sizes s) { return t->k_rows ? s.room : s.k; }

/* --- running --- */

enum { BUFFERS = 10 };
typedef struct Device {
  struct {
    void *at;
    size_t size;
  } region[BUFFERS];
} Device;

static uint64_t address_of(size_t i) { return (uint64_t)(i + 1) << 40; }

static void *memory(void *arg, uint64_t address, size_t size) {
  Device *d = arg;
  uint64_t i = (address >> 40) - 1, offset = address & (((uint64_t)1 << 40) - 1);
  if (i >= BUFFERS || offset + size > d->region[i].size)
    return NULL;
  return (uint8_t *)d->region[i].at + offset;
}

static GpuError run(const Compiled *c, Sizes s, Tensor *const *buf, uint32_t nbuf, int64_t most, bool backwards) {
  Device d = {0};
  uint64_t param[BUFFERS + 16];
  GpuError error = {0};
  char why[256];
  size_t n = 0, scratch = (size_t)value(c->u.scratch, s);
  for (; n < nbuf; n++)
    d.region[n].at = buf[n]->data, d.region[n].size = tensor_bytes(buf[n]), param[n] = address_of(n);
  d.region[n].size = scratch, d.region[n].at = malloc(scratch + 1);
  memset(d.region[n].at, 0xff, scratch);
  d.region[n + 1].at = &error, d.region[n + 1].size = sizeof error;
  assert_true(c->ndim <= 14);
  for (uint32_t i = 0; i < c->ndim; i++)
    param[n + i] = (uint64_t)value(c->dim[i], s);
  param[n + c->ndim] = address_of(n), param[n + c->ndim + 1] = address_of(n + 1);
  for (uint32_t i = 0; i <= c->u.nmore; i++) {
    int64_t parts = value(i ? c->u.more[i - 1].parts : c->u.parts, s);
    PtxLaunch l = {.param = param, .backwards = backwards, .memory = memory, .arg = &d};
    assert_int_equal(ptx_params(c->stage[i]), n + c->ndim + 2);
    if (!parts)
      continue;
    gpu_geometry(parts, value(i ? c->u.more[i - 1].threads : c->u.threads, s), most, &l.blocks, &l.threads);
    if (!ptx_run(c->stage[i], &l, why))
      fail_msg("%s", why);
  }
  free(d.region[n].at);
  return error;
}

/* --- the definition --- */

static double mask_value(const Attention *t, Sizes s, const double *mask, const int64_t index[4]) {
  int64_t x = 0;
  if (t->mask_short && index[3] >= value(t->mask_dim[t->mask_rank - 1], s))
    return -INFINITY;
  for (int a = 0; a < t->mask_rank; a++) {
    int64_t n = value(t->mask_dim[a], s);
    x = x * n + (n == 1 && !(t->mask_short && a == t->mask_rank - 1) ? 0 : index[4 - t->mask_rank + a]);
  }
  if (t->mask == DT_none)
    return 0;
  return t->mask != DT_bool ? mask[x] : mask[x] != 0 ? 0 : -INFINITY;
}

/* Keys of entry b. */
static int64_t count_of(const Attention *t, Sizes s, int64_t b) { return t->counted ? s.k * (b + 1) / (s.b + 1) : s.k; }

static bool sees(const Attention *t, Sizes s, int64_t b, int64_t i, int64_t j) {
  int64_t n = count_of(t, s, b);
  int64_t p = t->from_first ? i : i + n - s.q;
  return j < n && (!t->causal || j <= p) && (!t->has_right || j <= p + t->right) && (!t->has_left || j >= p - t->left);
}

/* To the precision of the softmax. */
static double rounded(const Attention *t, double v) {
  uint64_t bits;
  if (!t->soft)
    return v;
  elem_set_f64(t->soft, &bits, 0, v);
  return elem_f64(t->soft, &bits, 0);
}

/* scores: what the second output has, or NULL. */
static void row(const Attention *t, Sizes s, const Operands *x, int64_t b, int64_t h, int64_t i, double *want,
                double *scores) {
  int64_t g = h / (t->heads / t->kv_heads);
  double max = -INFINITY, sum = 0, score[2048];
  bool masked = t->mask != DT_none || t->causal || t->has_left || t->has_right || t->counted;
  for (int64_t j = 0; j < s.k; j++) {
    double m = sees(t, s, b, i, j) ? mask_value(t, s, x->mask.v, (int64_t[]){b, h, i, j}) : -INFINITY, dot = 0;
    for (int64_t d = 0; d < t->dk; d++)
      dot += x->q.v[at(t->q_split, b, h, i, t->heads, s.q, t->dk, d)] *
             x->k.v[at(t->kv_split, b, g, j, t->kv_heads, room(t, s), t->dk, d)];
    dot *= t->scale;
    double capped = t->cap > 0 ? t->cap * tanh(dot / t->cap) : dot;
    score[j] = m == -INFINITY ? m : capped + m;
    if (scores)
      scores[j] = t->scores == SCORES_PRODUCTS ? dot : t->scores == SCORES_CAPPED ? capped : score[j];
    score[j] = rounded(t, score[j]);
    max = score[j] > max || score[j] != score[j] ? score[j] : max;
  }
  for (int64_t d = 0; d < t->dv; d++)
    want[d] = t->zero_rows ? 0 : NAN;
  for (int64_t j = 0; j < s.k; j++)
    sum += score[j] = max == -INFINITY ? 0 : exp(score[j] - max);
  for (int64_t j = 0; j < s.k; j++) {
    score[j] = sum == 0 ? 0 : rounded(t, score[j] / sum);
    if (t->scores == SCORES_WEIGHTS)
      scores[j] = score[j];
  }
  if (max == -INFINITY)
    return;
  for (int64_t d = 0; d < t->dv; d++) {
    want[d] = 0;
    for (int64_t j = 0; j < s.k; j++) { /* what is masked does not count, even NaN */
      double p = (float)score[j] == 0 ? 0 : score[j];
      if (p != 0 || !masked)
        want[d] += p * x->v.v[at(t->kv_split, b, g, j, t->kv_heads, room(t, s), t->dv, d)];
    }
  }
}

static double stretch = 1; /* of what is allowed */

/* Of weights that are rounded, one that is almost between two numbers may become either. */
static double flips(const Attention *t) { return t->soft == DT_f16 ? 0x1p-11 : t->soft == DT_bf16 ? 0x1p-8 : 0; }

static double allowed(const Attention *t, Sizes s) {
  bool few = s.q * (t->heads / t->kv_heads) <= 16;
  if (!is_half(t))
    return stretch * 0x1p-18 + 2 * flips(t);
  return stretch * (t->type == DT_f16 ? 0x1p-12 : 0x1p-9) * (few ? 1 : 2) * 1.01 + 2 * flips(t);
}

/* Scores of a row: sums in f32, then rounded to the type. */
static void compare_scores(const Attention *t, Sizes s, const double *want, const Tensor *got, int64_t row) {
  double unit = !is_half(t) ? 0x1p-18 : (t->type == DT_f16 ? 0x1p-11 : 0x1p-8) * 1.01; /* of size 1 to 2 */
  for (int64_t j = 0; j < s.k; j++) {
    double v = elem_f64(got->dtype, got->data, row * s.k + j), size = fabs(want[j]) > 1 ? fabs(want[j]) : 1;
    uint64_t bits;
    elem_set_f64(got->dtype, &bits, 0, want[j]); /* which may be too large for the type */
    bool same = isnan(want[j]) ? isnan(v)
                               : v == elem_f64(got->dtype, &bits, 0) || fabs(v - want[j]) <= unit * size + 2 * flips(t);
    if (!same || (t->scores == SCORES_WEIGHTS && !isnan(v) && !is_half(t) && v != rounded(t, v)))
      fail_msg("%s, scores %d, b %lld q %lld k %lld: row %lld has %.9g for key %lld, not %.9g", dtype_name(got->dtype),
               t->scores, (long long)s.b, (long long)s.q, (long long)s.k, (long long)row, v, (long long)j, want[j]);
  }
}

static void compare(const Attention *t, Sizes s, const Operands *x, const Tensor *out, const Tensor *scores) {
  double want[1024], wanted[2048], most = allowed(t, s);
  for (int64_t b = 0; b < s.b; b++)
    for (int64_t h = 0; h < t->heads; h++)
      for (int64_t i = 0; i < s.q; i++) {
        row(t, s, x, b, h, i, want, scores ? wanted : NULL);
        if (scores)
          compare_scores(t, s, wanted, scores, (b * t->heads + h) * s.q + i);
        for (int64_t d = 0; d < t->dv; d++) {
          double got = elem_f64(out->dtype, out->data, at(t->out_split, b, h, i, t->heads, s.q, t->dv, d));
          if (isnan(want[d]) ? !isnan(got) : got != want[d] && !(fabs(got - want[d]) <= most))
            fail_msg("%s, b %lld q %lld k %lld, dims %lld %lld: [%lld,%lld,%lld,%lld] is %.9g, not %.9g",
                     dtype_name(out->dtype), (long long)s.b, (long long)s.q, (long long)s.k, (long long)t->dk,
                     (long long)t->dv, (long long)b, (long long)h, (long long)i, (long long)d, got, want[d]);
        }
      }
}

/* change: what to do to the operands before the run. */
static void check(const Compiled *c, Sizes s, void (*change)(const Attention *t, Sizes s, Operands *x)) {
  const Attention *t = &c->u.attention;
  DType type = t->type ? t->type : DT_f32;
  int64_t nq = s.b * t->heads * s.q, nk = s.b * t->kv_heads * room(t, s), nm = 1;
  for (int i = 0; i < t->mask_rank; i++)
    nm *= value(t->mask_dim[i], s);
  Operands x = {operand(type, nq * t->dk, 1), operand(type, nk * t->dk, 2), operand(type, nk * t->dv, 3),
                operand(t->mask ? t->mask : DT_f32, nm, 4)};
  if (change)
    change(t, s, &x);
  Tensor *out[2], *scores[2] = {0}, *count, *buf[7] = {x.q.t, x.k.t, x.v.t, x.mask.t};
  uint32_t last = t->mask == DT_none ? 3 : 4;
  assert_int_equal(tensor_new(&ctx, arena, DT_i64, 1, &s.b, &count), ST_OK);
  for (int64_t b = 0; b < s.b; b++)
    elem_set_i64(DT_i64, count->data, b, count_of(t, s, b));
  if (t->counted)
    buf[last++] = count;
  for (int i = 0; i < 2; i++) {
    int64_t n = nq * t->dv;
    assert_int_equal(tensor_new(&ctx, arena, type, 1, &n, &out[i]), ST_OK);
    memset(out[i]->data, 0x5a, tensor_bytes(out[i]));
    buf[last] = out[i];
    n = nq * s.k;
    if (t->scores) {
      assert_int_equal(tensor_new(&ctx, arena, type, 1, &n, &scores[i]), ST_OK);
      memset(scores[i]->data, 0x5a, tensor_bytes(scores[i]));
      buf[last + 1] = scores[i];
    }
    assert_int_equal(run(c, s, buf, last + 1 + (t->scores > 0), i ? 1024 : 1, i).code, 0);
  }
  if (t->scores)
    assert_memory_equal(scores[0]->data, scores[1]->data, tensor_bytes(scores[0]));
  assert_memory_equal(out[0]->data, out[1]->data, tensor_bytes(out[0]));
  compare(t, s, &x, out[0], scores[0]);
}

static Attention plain(DType type, int64_t heads, int64_t kv_heads, int64_t dk, int64_t dv) {
  return (Attention){.type = type,
                     .batch = sym("b"),
                     .q_len = sym("q"),
                     .kv_len = sym("k"),
                     .heads = heads,
                     .kv_heads = kv_heads,
                     .dk = dk,
                     .dv = dv,
                     .scale = 1 / sqrt((double)dk)};
}

static const DType types[] = {DT_f32, DT_f16, DT_bf16};
static void last_value(const Attention *t, Sizes s, Operands *x);

/* Few rows, split and whole; many, in one tile and several; nothing at all. */
static const Sizes sizes[] = {{2, 3, 5, 9},    {1, 1, 513, 520}, {1, 33, 130, 130}, {1, 65, 70, 80},
                              {1, 17, 64, 64}, {0, 4, 4, 4},     {1, 0, 4, 4},      {2, 5, 0, 3}};

static void check_all(Attention t) {
  Compiled c = compile(t);
  for (size_t i = 0; i < countof(sizes); i++)
    check(&c, sizes[i], NULL);
  ptx_free(c.module);
}

/* --- tests --- */

static void test_dims(void **state) {
  static const int64_t d[][2] = {{1, 1}, {32, 32}, {64, 64}, {80, 80}, {33, 17}, {40, 24}};
  (void)state;
  for (size_t y = 0; y < countof(types); y++)
    for (size_t i = 0; i < countof(d); i++)
      check_all(plain(types[y], 1, 1, d[i][0], d[i][1]));
}

static void test_large_dims(void **state) {
  static const int64_t d[][2] = {{128, 128}, {256, 256}, {192, 128}};
  (void)state;
  for (size_t y = 0; y < countof(types); y++)
    for (size_t i = 0; i < countof(d); i++) {
      Compiled c = compile(plain(types[y], 1, 1, d[i][0], d[i][1]));
      check(&c, (Sizes){1, 3, 150, 150}, NULL);
      check(&c, (Sizes){1, 66, 70, 70}, NULL);
      ptx_free(c.module);
    }
}

/* More columns than a block has sums for, more than shared memory has room for; few rows, split and whole, and many. */
static void test_larger_dims(void **state) {
  static const int64_t d[][2] = {{320, 320}, {300, 40}, {64, 520}, {517, 301}};
  (void)state;
  for (size_t y = 0; y < countof(types); y++)
    for (size_t i = 0; i < countof(d); i++) {
      Attention t = plain(types[y], 2, 1, d[i][0], d[i][1]);
      t.causal = i & 1;
      Compiled c = compile(t);
      check(&c, (Sizes){2, 2, 5, 5}, NULL);
      check(&c, (Sizes){1, 2, 150, 150}, last_value);
      check(&c, (Sizes){1, 20, 36, 36}, last_value);
      ptx_free(c.module);
    }
}

static void test_layouts(void **state) {
  (void)state;
  for (int form = 0; form < 8; form++) {
    Attention t = plain(types[form % 3], 2, 2, 16, 24);
    t.q_split = form & 1, t.kv_split = form & 2, t.out_split = form & 4;
    check_all(t);
  }
}

static void test_grouped(void **state) {
  (void)state;
  for (size_t y = 0; y < countof(types); y++) {
    check_all(plain(types[y], 6, 2, 24, 24));
    check_all(plain(types[y], 5, 1, 16, 16));
  }
}

static void test_windows(void **state) {
  (void)state;
  for (int form = 0; form < 9; form++) {
    Attention t = plain(types[form % 3], 2, 1, 24, 16);
    t.causal = form & 1, t.zero_rows = form & 2, t.q_split = t.kv_split = form & 4;
    t.has_left = form >= 3, t.left = form, t.has_right = form >= 6, t.right = 2;
    t.cap = form % 2 ? 0.5 : 0;
    check_all(t);
  }
}

static void set_mask(Attention *t, DType type, int rank, Dim b, Dim h, Dim q, Dim k) {
  Dim all[] = {b, h, q, k};
  t->mask = type, t->mask_rank = (int8_t)rank;
  for (int i = 0; i < rank; i++)
    t->mask_dim[i] = all[4 - rank + i];
}

static void test_masks(void **state) {
  static const DType mask[] = {DT_f32, DT_bool, DT_f16};
  (void)state;
  for (int form = 0; form < 12; form++) {
    Attention t = plain(types[form / 2 % 3], 2, 2, 16, 16);
    DType type = mask[form % 3];
    switch (form / 2) {
    case 0: set_mask(&t, type, 4, sym("b"), num(1), num(1), sym("k")); break;
    case 1: set_mask(&t, type, 4, num(1), num(1), sym("q"), sym("k")); break;
    case 2: set_mask(&t, type, 4, sym("b"), num(2), sym("q"), sym("k")); break;
    case 3: set_mask(&t, type, 2, NULL, NULL, sym("q"), sym("k")); break;
    case 4: set_mask(&t, type, 1, NULL, NULL, NULL, sym("k")); break;
    case 5: set_mask(&t, type, 4, sym("b"), num(1), sym("q"), num(1)), t.causal = true; break;
    }
    t.zero_rows = form % 3 == 0;
    stretch = t.type == DT_bf16 ? 1.5 : 1; /* additions of up to 1 change scores, which f32 holds */
    check_all(t);
  }
  stretch = 1;
}

/* Float masks as exporters write them: 0 and the lowest f32, whole rows of -inf, and NaN behind a mask. */
static void hostile(const Attention *t, Sizes s, Operands *x) {
  for (int64_t i = 0; i < s.q; i++)
    for (int64_t j = 0; j < s.k; j++)
      put(&x->mask, i * s.k + j,
          i == 2        ? (double)-INFINITY
          : i == 3      ? (double)-3.402823466e38f
          : i == 4 && j ? (double)-INFINITY
          : (i + j) % 3 ? 0
                        : (double)-3.402823466e38f);
  if (s.q <= 6 || s.k <= 7)
    return;
  put(&x->q, at(t->q_split, 0, 0, 5, t->heads, s.q, t->dk, 0), NAN); /* a row that is NaN */
  put(&x->k, at(t->kv_split, 0, 0, 6, t->kv_heads, s.k, t->dk, 1), NAN);
  put(&x->v, at(t->kv_split, 0, 0, 6, t->kv_heads, s.k, t->dv, 0), NAN);
  put(&x->v, at(t->kv_split, 0, 0, 7, t->kv_heads, s.k, t->dv, 1), INFINITY);
  put(&x->v, at(t->kv_split, 0, 0, 7, t->kv_heads, s.k, t->dv, 2), NAN);
  for (int64_t i = 0; i < s.q; i++) /* only row 1 sees the NaN of key 6, only row 0 what is not finite in key 7 */
    put(&x->mask, i * s.k + 6, i == 1 ? 0 : (double)-INFINITY),
        put(&x->mask, i * s.k + 7, i == 0 ? 0 : (double)-INFINITY);
}

static void test_masked_rows(void **state) {
  (void)state;
  for (int form = 0; form < 6; form++) {
    Attention t = plain(types[form / 2], 1, 1, 8, 8);
    set_mask(&t, DT_f32, 2, NULL, NULL, sym("q"), sym("k"));
    t.zero_rows = form & 1;
    Compiled c = compile(t);
    check(&c, (Sizes){1, 10, 11, 11}, hostile);
    check(&c, (Sizes){1, 70, 200, 200}, hostile);
    check(&c, (Sizes){1, 8, 300, 300}, hostile);
    check(&c, (Sizes){1, 5, 3, 3}, hostile);
    ptx_free(c.module);
  }
}

/* A NaN in the last value: only what sees the last key is NaN. */
static void last_value(const Attention *t, Sizes s, Operands *x) {
  for (int64_t h = 0; h < t->kv_heads && s.k && s.b; h++)
    put(&x->v, at(t->kv_split, 0, h, s.k - 1, t->kv_heads, s.k, t->dv, t->dv - 1), NAN);
}

static void test_masked_values(void **state) {
  (void)state;
  for (int form = 0; form < 6; form++) {
    Attention t = plain(types[form / 2], 2, 1, 24, 20);
    t.causal = form & 1;
    if (!t.causal)
      set_mask(&t, DT_bool, 2, NULL, NULL, sym("q"), sym("k"));
    Compiled c = compile(t);
    for (size_t i = 0; i < countof(sizes); i++)
      check(&c, sizes[i], last_value);
    ptx_free(c.module);
  }
}

/* Queries and keys of two lengths, counted from the first key on, with causality and windows. */
static void test_from_first(void **state) {
  (void)state;
  for (int form = 0; form < 6; form++) {
    Attention t = plain(types[form / 2], 2, 1, 24, 20);
    t.from_first = true, t.causal = form & 1;
    t.has_left = t.has_right = !t.causal, t.left = 7, t.right = 3;
    Compiled c = compile(t);
    for (size_t i = 0; i < countof(sizes); i++)
      check(&c, sizes[i], last_value);
    check(&c, (Sizes){1, 70, 20, 20}, last_value);
    ptx_free(c.module);
  }
}

/* Fewer keys than there is room for, as each entry says. */
static void test_counted(void **state) {
  (void)state;
  for (int form = 0; form < 9; form++) {
    Attention t = plain(types[form / 3], 4, 2, 24, 20);
    t.counted = true, t.causal = form % 3 == 1;
    if (form % 3 == 2)
      set_mask(&t, DT_bool, 2, NULL, NULL, sym("q"), sym("k")), t.has_left = true, t.left = 40;
    Compiled c = compile(t);
    for (size_t i = 0; i < countof(sizes); i++)
      check(&c, sizes[i], last_value);
    ptx_free(c.module);
  }
}

/* A mask for fewer keys than there are, or none of them. */
static void test_short_masks(void **state) {
  static const DType mask[] = {DT_f32, DT_bool, DT_f16};
  (void)state;
  stretch = 1.5;
  for (int form = 0; form < 6; form++) {
    Attention t = plain(types[form / 2], 2, 1, 24, 20);
    Dim keys = form == 5 ? num(1) : sym("short");
    set_mask(&t, mask[form % 3], form & 1 ? 2 : 4, sym("b"), num(1), sym("q"), keys);
    t.mask_short = true, t.causal = form == 1, t.zero_rows = form & 2;
    Compiled c = compile(t);
    for (size_t i = form == 5; i < countof(sizes); i++)
      if (value(keys, sizes[i]) <= sizes[i].k)
        check(&c, sizes[i], last_value);
    ptx_free(c.module);
  }
  stretch = 1;
}

/* The scores as an output, at each of four stages, and a softmax in 16 bits. */
static void test_scores(void **state) {
  static const DType soft[] = {DT_none, DT_f16, DT_bf16};
  (void)state;
  for (int form = 0; form < 36; form++) {
    Attention t = plain(types[form % 3], 2, 1, form % 11 ? 24 : 300, form % 17 ? 20 : 290);
    t.scores = (uint8_t)(SCORES_NONE + form / 3 % 5), t.soft = soft[form / 12];
    t.zero_rows = true, t.cap = form % 4 == 1 ? 0.5 : 0, t.causal = form % 4 == 2, t.counted = form % 8 == 3;
    t.has_left = form % 8 == 5, t.left = 9, t.has_right = form % 8 == 5, t.right = 2;
    if (form % 3 == 1) /* room for a key in each mask where scores are stored */
      set_mask(&t, form & 1 ? DT_bool : DT_f32, 2, NULL, NULL, sym("q"), form % 2 ? num(1) : sym("k")),
          t.mask_short = form % 2;
    stretch = t.type == DT_bf16 ? 1.5 : 1;
    Compiled c = compile(t);
    for (size_t i = 0; i < countof(sizes); i++)
      if (!t.mask_short || sizes[i].k)
        check(&c, sizes[i], form & 1 ? last_value : NULL);
    ptx_free(c.module);
  }
  stretch = 1;
}

/* A row of NaN and keys that are, in every stage of the scores; masks of -inf, and values that are not finite. */
static void test_hostile_scores(void **state) {
  (void)state;
  for (int form = 0; form < 15; form++) {
    Attention t = plain(types[form % 3], 1, 1, 8, 8);
    set_mask(&t, DT_f32, 2, NULL, NULL, sym("q"), sym("k"));
    t.zero_rows = true, t.scores = (uint8_t)(SCORES_NONE + form / 3), t.soft = form / 3 ? DT_none : DT_bf16;
    Compiled c = compile(t);
    check(&c, (Sizes){1, 10, 11, 11}, hostile);
    check(&c, (Sizes){1, 70, 200, 200}, hostile);
    ptx_free(c.module);
  }
}

/* A length that cannot be is told, with the number. */
static void test_wrong_counts(void **state) {
  static const int64_t wrong[] = {-1, 6};
  (void)state;
  Attention t = plain(DT_f16, 1, 1, 8, 8);
  t.counted = true;
  Compiled c = compile(t);
  for (size_t i = 0; i < countof(wrong); i++) {
    Operand x = operand(DT_f16, 40, 1);
    Tensor *count, *out;
    assert_int_equal(tensor_new(&ctx, arena, DT_i64, 1, (int64_t[]){1}, &count), ST_OK);
    assert_int_equal(tensor_new(&ctx, arena, DT_f16, 1, (int64_t[]){40}, &out), ST_OK);
    elem_set_i64(DT_i64, count->data, 0, wrong[i]);
    GpuError e = run(&c, (Sizes){1, 5, 5, 5}, (Tensor *[]){x.t, x.t, x.t, count, out}, 5, 1024, false);
    assert_int_equal(e.code, KERNEL_CHECK);
    assert_int_equal(e.number, wrong[i]);
  }
  ptx_free(c.module);
  t.counted = false, t.mask_short = true;
  set_mask(&t, DT_f16, 1, NULL, NULL, NULL, num(6));
  c = compile(t);
  Operand x = operand(DT_f16, 40, 1);
  GpuError e = run(&c, (Sizes){1, 5, 5, 5}, (Tensor *[]){x.t, x.t, x.t, x.t, x.t}, 5, 1024, false);
  assert_int_equal(e.code, KERNEL_CHECK);
  assert_int_equal(e.number, 6);
  ptx_free(c.module);
}

/* A value that is infinite and has some weight: the result is, too. */
static void infinite(const Attention *t, Sizes s, Operands *x) {
  put(&x->v, at(t->kv_split, 0, 0, s.k / 2, t->kv_heads, s.k, t->dv, 1), INFINITY);
}

/* A key so far below the others that its weight is 0 in f32: without masks, 0 times infinity is NaN, as in the product. */
static void weightless(const Attention *t, Sizes s, Operands *x) {
  for (int64_t i = 0; i < s.q * t->dk; i++)
    put(&x->q, i, 1);
  for (int64_t d = 0; d < t->dk; d++)
    put(&x->k, d, -400);
  put(&x->v, 1, INFINITY);
}

static void test_infinite_values(void **state) {
  (void)state;
  for (size_t y = 0; y < countof(types); y++) {
    Compiled c = compile(plain(types[y], 1, 1, 8, 8));
    check(&c, (Sizes){1, 10, 11, 11}, infinite);
    check(&c, (Sizes){1, 20, 70, 70}, infinite);
    check(&c, (Sizes){1, 10, 11, 11}, weightless);
    check(&c, (Sizes){1, 1, 300, 300}, weightless);
    ptx_free(c.module);
  }
}

/* Scores so far apart that only the maximum keeps them from overflowing. */
static void large(const Attention *t, Sizes s, Operands *x) {
  for (int64_t i = 0; i < s.b * t->heads * s.q * t->dk; i++)
    put(&x->q, i, x->q.v[i] * 64);
}

static void test_large_scores(void **state) {
  (void)state;
  for (size_t y = 0; y < countof(types); y++) {
    Attention t = plain(types[y], 2, 2, 16, 16);
    t.scale = 1;
    Compiled c = compile(t);
    stretch = is_half(&t) ? 1 : 32; /* scores of some 100, off by some units of 2^-17 */
    check(&c, (Sizes){1, 20, 400, 400}, large);
    check(&c, (Sizes){1, 2, 400, 400}, large);
    ptx_free(c.module);
  }
  stretch = 1;
}

/* A cache with room for more keys than there are. */
static void test_caches(void **state) {
  (void)state;
  for (size_t y = 0; y < countof(types); y++) {
    Attention t = plain(types[y], 4, 2, 32, 32);
    t.q_split = t.kv_split = t.out_split = true, t.k_rows = t.v_rows = sym("room");
    check_all(t);
  }
}

/* Lengths known beforehand: only the functions that they need exist. */
static void test_constant_lengths(void **state) {
  static const struct {
    int64_t q, k;
    uint32_t stages;
  } lens[] = {{0, 9, 1}, {1, 128, 1}, {1, 129, 2}, {16, 300, 2}, {17, 300, 1}, {64, 64, 1}, {4, 0, 1}};
  (void)state;
  for (size_t i = 0; i < countof(lens); i++) {
    Attention t = plain(types[i % 3], 1, 1, 16, 16);
    t.q_len = num(lens[i].q), t.kv_len = num(lens[i].k), t.causal = i & 1;
    Compiled c = compile(t);
    assert_int_equal(1 + c.u.nmore, lens[i].stages);
    check(&c, (Sizes){2, lens[i].q, lens[i].k, lens[i].k}, NULL);
    ptx_free(c.module);
  }
}

/* f32 by multiplications and additions in f32 alone, with powers as exact, f16 and bf16 on tensor cores; memory read 16 bytes at a
 * time in the background; the same bits in every run. */
static void instructions(const char *ptx, DType type) {
  const struct {
    const char *words;
    bool must;
  } all[] = {{"fma.rn.f32", true},
             {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", type == DT_f16},
             {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", type == DT_bf16},
             {"mma.sync", is_half_type(type)},
             {"ldmatrix.sync.aligned.m8n8.x4.shared.b16", is_half_type(type)},
             {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16", is_half_type(type)},
             {"ex2.approx.ftz.f32", is_half_type(type)},
             {"cp.async.cg.shared.global", true},
             {"cp.async.wait_group", true},
             {"shfl.sync.bfly.b32", true},
             {"bar.sync", true},
             {"tf32", false},
             {".local", false},
             {"atom.", false},
             {"red.global.add", false}};
  for (size_t i = 0; i < countof(all); i++)
    if ((strstr(ptx, all[i].words) != NULL) != all[i].must)
      fail_msg("%s: the PTX %s '%s':\n%s", dtype_name(type), all[i].must ? "lacks" : "must not have", all[i].words,
               ptx);
}

/* What the instructions must be, and whether ptxas takes them. */
static void test_code(void **state) {
  static const char *const targets[] = {"sm_80", "sm_90", "sm_90a"};
  static const int64_t dims[] = {32, 64, 80, 128, 256, 512};
  (void)state;
  for (size_t y = 0; y < countof(types); y++)
    for (size_t i = 0; i < countof(dims); i++)
      for (size_t k = 0; k < countof(targets); k++) {
        if (dims[i] > 256 && k != 1) /* as those of 256 */
          continue;
        Attention t = plain(types[y], 8, 4, dims[i], dims[i]);
        Unit u = {.kind = UNIT_ATTENTION, .name = "attention", .attention = t};
        const char *symbol;
        if (k == 1) /* all that takes registers */
          u.attention.causal = u.attention.q_split = u.attention.kv_split = u.attention.out_split = true;
        if (k == 1 || i == 2)
          set_mask(&u.attention, DT_f32, 4, sym("b"), num(1), sym("q"), sym("k"));
        gpu_attention_schedule(&ctx, arena, &u);
        char *ptx = compile_for(&u, targets[k], &symbol);
        instructions(ptx, types[y]);
        bool as_f16 = types[y] == DT_bf16 && dims[i] != 128; /* the same registers */
        if ((k == 1 && !as_f16) || dims[i] == 128)
          assemble(ptx, targets[k]);
        if (k != 1)
          continue;
        u.attention.scores = SCORES_WEIGHTS, u.attention.soft = DT_bf16; /* twice through the keys */
        gpu_attention_schedule(&ctx, arena, &u);
        ptx = compile_for(&u, targets[k], &symbol);
        instructions(ptx, types[y]);
        if (!as_f16)
          assemble(ptx, targets[k]);
      }
}

int main(int argc, char **argv) {
  if (argc > 1)
    cmocka_set_test_filter(argv[1]);
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_dims),
      cmocka_unit_test(test_large_dims),
      cmocka_unit_test(test_larger_dims),
      cmocka_unit_test(test_layouts),
      cmocka_unit_test(test_grouped),
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_masks),
      cmocka_unit_test(test_masked_rows),
      cmocka_unit_test(test_masked_values),
      cmocka_unit_test(test_from_first),
      cmocka_unit_test(test_counted),
      cmocka_unit_test(test_short_masks),
      cmocka_unit_test(test_scores),
      cmocka_unit_test(test_hostile_scores),
      cmocka_unit_test(test_wrong_counts),
      cmocka_unit_test(test_infinite_values),
      cmocka_unit_test(test_large_scores),
      cmocka_unit_test(test_caches),
      cmocka_unit_test(test_constant_lengths),
      cmocka_unit_test(test_code),
  };
  Alloc alloc;
  if (!backend_present()) {
    printf("this build has no code generator\n");
    return 0;
  }
  alloc_init_system(&alloc);
  ctx_open(&ctx, &alloc);
  arena = arena_create(&ctx);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  printf("%d kernels assembled%s, %d registers at most, nothing spilled\n", kernels,
         ptxas_path() ? "" : ": no ptxas here", most_registers);
  ctx_close(&ctx);
  return failed;
}
