/* test_append.c - caches in the caller's memory: past and present in one buffer with room, where new rows are appended and nothing
 * is copied, and every arrangement that is not that. Two layers of grouped heads; the cache as a Concat, as Attention's own (which becomes one), and
 * one that is read as dense memory.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sard.h"
#include "tests/api/caches.h"
#include "tests/frontend/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { B = 2, HEADS = 4, H = 2, D = 64, CAP = 32, CACHES = 4, PLANE = CAP * D, ALL = B * H * PLANE };
enum { Q, KEY, VALUE, PAST, INPUTS = PAST + CACHES, OUTPUTS = 1 + CACHES };

#define NEW_Q  "b 4 n 64"
#define NEW_KV "b 2 n 64"
#define PAST_T "b 2 past 64"

static Pb graph(void) {
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "q", F32, NEW_Q);
  put_value(&g, GRAPH_INPUT, "k", F32, NEW_KV), put_value(&g, GRAPH_INPUT, "v", F32, NEW_KV);
  static const char *const past[] = {"k0", "v0", "k1", "v1"};
  for (int i = 0; i < CACHES; i++)
    put_value(&g, GRAPH_INPUT, past[i], F32, PAST_T);
  return g;
}

static Pb finish_as(Pb *g, const char *y) {
  static const char *const out[] = {"y", "K0", "V0", "K1", "V1"};
  for (int i = 0; i < OUTPUTS; i++)
    put_value(g, GRAPH_OUTPUT, out[i], F32, i ? "b 2 all 64" : y);
  return model_of(g, 11, 24);
}

static Pb finish(Pb *g) { return finish_as(g, NEW_Q); }

static void put_concat(Pb *g, const char *in, const char *out) {
  Pb n = node(out, "Concat", in, out);
  attr_int(&n, "axis", -2);
  put_node(g, &n);
}

static Pb concats(void) {
  Pb g = graph();
  put_concat(&g, "k0 k", "K0"), put_concat(&g, "v0 v", "V0");
  put_op(&g, "first", "Attention", "q K0 V0", "x");
  put_concat(&g, "k1 k", "K1"), put_concat(&g, "v1 v", "V1");
  put_op(&g, "second", "Attention", "x K1 V1", "y");
  return finish(&g);
}

static Pb attentions(void) {
  Pb g = graph();
  for (int i = 0; i < 2; i++) {
    Pb n = node(i ? "second" : "first", "Attention", i ? "x k v - k1 v1" : "q k v - k0 v0", i ? "y K1 V1" : "x K0 V0");
    attr_int(&n, "is_causal", 1);
    put_node(&g, &n);
  }
  return finish(&g);
}

/* K1 is also read as a matrix product's operand, V1 through a Reshape: both must be dense. */
static Pb dense_readers(void) {
  Pb g = graph();
  static const int64_t shape[] = {0, 0, -1, 64};
  put_ints(&g, "shape", shape, 4);
  put_concat(&g, "k0 k", "K0"), put_concat(&g, "v0 v", "V0");
  put_op(&g, "first", "Attention", "q K0 V0", "x");
  put_concat(&g, "k1 k", "K1"), put_concat(&g, "v1 v", "V1");
  Pb t = node("t", "Transpose", "K1", "T1");
  attr_ints(&t, "perm", (int64_t[]){0, 1, 3, 2}, 4);
  put_node(&g, &t);
  put_op(&g, "squares", "MatMul", "T1 K1", "S1");
  put_op(&g, "view", "Reshape", "V1 shape", "R1");
  put_op(&g, "turned", "MatMul", "R1 S1", "W1");
  put_op(&g, "second", "Attention", "x K1 W1", "y");
  return finish(&g);
}

/* The first layer's keys and values have lengths of different names; its products say that they are equal. */
static Pb other_names(void) {
  Pb g = {0};
  static const char *const past[] = {"k0", "v0", "k1", "v1"};
  static const char *const type[] = {"b 2 past_k 64", "b 2 past_v 64", PAST_T, PAST_T};
  put_value(&g, GRAPH_INPUT, "q", F32, NEW_KV);
  put_value(&g, GRAPH_INPUT, "k", F32, NEW_KV), put_value(&g, GRAPH_INPUT, "v", F32, NEW_KV);
  for (int i = 0; i < CACHES; i++)
    put_value(&g, GRAPH_INPUT, past[i], F32, type[i]);
  put_concat(&g, "k0 k", "K0"), put_concat(&g, "v0 v", "V0");
  Pb t = node("t", "Transpose", "K0", "T0");
  attr_ints(&t, "perm", (int64_t[]){0, 1, 3, 2}, 4);
  put_node(&g, &t);
  put_op(&g, "scores", "MatMul", "q T0", "s0");
  put_op(&g, "weights", "Softmax", "s0", "p0");
  put_op(&g, "first", "MatMul", "p0 V0", "x");
  put_concat(&g, "k1 k", "K1"), put_concat(&g, "v1 v", "V1");
  put_op(&g, "second", "Attention", "x K1 V1", "y");
  return finish_as(&g, NEW_KV);
}

typedef struct Case {
  sard_model *m;
  float *buf[CACHES]; /* [B, H, CAP, D] */
  float *fresh[PAST]; /* q, k, v: of at most CAP rows */
  float *want_y;      /* of the dense run */
  sard_tensor in[INPUTS], out[OUTPUTS];
  int64_t past, n;
} Case;

static void open_case(Case *c, Pb model) {
  sard_options o = SARD_OPTIONS_INIT;
  sard_error *e = NULL;
  *c = (Case){0};
  o.cache = "off";
  if (sard_load_bytes(NULL, model.b, model.n, NULL, &o, &c->m, &e)) {
    print_error("%s\n", sard_error_text(e));
    fail_msg("cannot load");
  }
  free(model.b);
  for (uint32_t i = 0; i < CACHES; i++)
    c->buf[i] = pages(ALL), fill(c->buf[i], ALL, i + 1);
  for (uint32_t i = 0; i < PAST; i++)
    c->fresh[i] = pages(ALL * 2), fill(c->fresh[i], ALL * 2, i + 11);
  c->want_y = pages(ALL * 2);
}

static void close_case(Case *c) {
  sard_model_free(c->m);
  for (int i = 0; i < CACHES; i++)
    munmap(c->buf[i], ALL * sizeof(float));
  for (int i = 0; i < PAST; i++)
    munmap(c->fresh[i], ALL * 2 * sizeof(float));
  munmap(c->want_y, ALL * 2 * sizeof(float));
}

static sard_tensor dense(float *p, int64_t heads, int64_t rows) {
  return (sard_tensor){.data = p, .dtype = SARD_F32, .rank = 4, .dim = {B, heads, rows, D}};
}

static sard_tensor view(float *p, int64_t rows, int64_t cap) {
  sard_tensor t = dense(p, H, rows);
  t.strided = true, t.stride[0] = H * cap * D, t.stride[1] = cap * D, t.stride[2] = D, t.stride[3] = 1;
  return t;
}

/* Element (plane, row, d) of a tensor [B, H, rows, D]. */
static float at(const sard_tensor *t, int64_t plane, int64_t row, int64_t d) {
  int64_t i = (plane * t->dim[2] + row) * D + d;
  if (t->strided)
    i = plane / H * t->stride[0] + plane % H * t->stride[1] + row * t->stride[2] + d * t->stride[3];
  return ((const float *)t->data)[i];
}

static bool run_into(Case *c, const sard_run_options *o, sard_error **e) {
  return !sard_run_into(c->m, c->in, INPUTS, c->out, OUTPUTS, o, e);
}

static void must_run(Case *c, const sard_run_options *o) {
  sard_error *e = NULL;
  if (!run_into(c, o, &e)) {
    print_error("%s\n", sard_error_text(e));
    fail_msg("the run fails");
  }
}

static void must_fail(Case *c, const char *part) {
  sard_error *e = NULL;
  assert_false(run_into(c, NULL, &e));
  assert_int_equal(sard_error_status(e), SARD_ERROR_USAGE);
  if (!strstr(sard_error_text(e), part))
    print_error("%s\n", sard_error_text(e));
  assert_non_null(strstr(sard_error_text(e), part));
  sard_error_free(e);
}

/* Inputs and outputs in place, with `past` rows there and n to come; what y is, by a run on dense copies. */
static void prepare(Case *c, int64_t past, int64_t n) {
  sard_tensor in[INPUTS], y;
  sard_result *r;
  sard_error *e = NULL;
  static float y_memory[B * HEADS * CAP * D];
  c->past = past, c->n = n;
  for (int i = 0; i < PAST; i++)
    in[i] = c->in[i] = dense(c->fresh[i], i == Q ? HEADS : H, n);
  for (int i = 0; i < CACHES; i++) {
    c->in[PAST + i] = view(c->buf[i], past, CAP), c->out[1 + i] = view(c->buf[i], past + n, CAP);
    in[PAST + i] = dense(malloc(ALL * sizeof(float)), H, past);
    for (int64_t p = 0; p < B * H; p++)
      memcpy((float *)in[PAST + i].data + p * past * D, c->buf[i] + p * PLANE, (size_t)(past * D) * sizeof(float));
  }
  c->out[0] = dense(y_memory, HEADS, n);
  memset(y_memory, 0x7f, sizeof y_memory);
  assert_int_equal(sard_run(c->m, in, INPUTS, NULL, &r, &e), SARD_OK);
  assert_int_equal(sard_result_tensor(r, 0, &y), SARD_OK);
  memcpy(c->want_y, y.data, (size_t)sard_tensor_bytes(&y));
  sard_result_free(r);
  for (int i = 0; i < CACHES; i++)
    free(in[PAST + i].data);
}

/* What a present has to be, from the past as it was before the run. */
static void check(const Case *c, float *const before[CACHES]) {
  assert_memory_equal(c->out[0].data, c->want_y, (size_t)sard_tensor_bytes(&c->out[0]));
  for (int i = 0; i < CACHES; i++)
    for (int64_t p = 0; c->out[1 + i].data && p < B * H; p++)
      for (int64_t j = 0; j < c->past + c->n; j++)
        for (int64_t d = 0; d < D; d++) {
          float want =
              j < c->past ? before[i][p * PLANE + j * D + d] : c->fresh[KEY + i % 2][(p * c->n + j - c->past) * D + d];
          float got = at(&c->out[1 + i], p, j, d);
          assert_memory_equal(&got, &want, sizeof got);
        }
}

static void keep(const Case *c, float *copy[CACHES]) {
  for (int i = 0; i < CACHES; i++) {
    copy[i] = malloc(ALL * sizeof(float));
    memcpy(copy[i], c->buf[i], ALL * sizeof(float));
  }
}

static void drop(float *copy[CACHES]) {
  for (int i = 0; i < CACHES; i++)
    free(copy[i]);
}

static void run_and_check(Case *c) {
  float *before[CACHES];
  keep(c, before);
  must_run(c, NULL);
  check(c, before);
  drop(before);
}

/* Rows are appended from an empty cache to a full one; what lies behind them is left alone. */
static void grow(Pb model) {
  static const int64_t steps[] = {3, 1, 12, 1, 15};
  Case c;
  int64_t past = 0;
  open_case(&c, model);
  for (size_t s = 0; s < sizeof steps / sizeof *steps; past += steps[s++]) {
    float *before[CACHES];
    prepare(&c, past, steps[s]);
    keep(&c, before);
    must_run(&c, NULL);
    check(&c, before);
    for (int i = 0; i < CACHES; i++)
      for (int64_t p = 0; p < B * H; p++)
        assert_memory_equal(c.buf[i] + p * PLANE + (past + steps[s]) * D, before[i] + p * PLANE + (past + steps[s]) * D,
                            (size_t)(CAP - past - steps[s]) * D * sizeof(float));
    drop(before);
  }
  assert_int_equal(past, CAP);
  close_case(&c);
}

static void test_concats_grow(void **state) {
  (void)state;
  grow(concats());
}

static void test_attentions_grow(void **state) {
  (void)state;
  grow(attentions());
}

static void test_dense_readers_grow(void **state) {
  (void)state;
  grow(dense_readers());
}

typedef struct Bytes {
  const sard_model *m;
  int64_t concat;
  int n;
} Bytes;

static void count_bytes(void *arg, const sard_step_time *t) {
  Bytes *b = arg;
  sard_step s = SARD_STEP_INIT;
  assert_int_equal(sard_step_info(b->m, t->step, &s), SARD_OK);
  if (!strcmp(s.op, "Concat"))
    b->concat += t->bytes, b->n++;
}

/* A page of each plane holds the past: it is not written, for it cannot be. */
static void untouched(Pb model) {
  enum { ROWS = 16, PAGE = ROWS * D }; /* 4096 bytes */
  Case c;
  open_case(&c, model);
  if (sysconf(_SC_PAGESIZE) != PAGE * sizeof(float))
    skip();
  prepare(&c, ROWS, 1);
  for (int i = 0; i < CACHES; i++)
    for (int p = 0; p < B * H; p++)
      assert_int_equal(mprotect(c.buf[i] + p * PLANE, PAGE * sizeof(float), PROT_READ), 0);
  Bytes bytes = {.m = c.m};
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  o.profile = count_bytes, o.profile_arg = &bytes;
  must_run(&c, &o);
  check(&c, c.buf);
  assert_int_equal(bytes.n, CACHES);
  assert_int_equal(bytes.concat, bytes.n * 2 * B * H * D * 4); /* one row read, one written */
  close_case(&c);
}

static void test_concats_copy_nothing(void **state) {
  (void)state;
  untouched(concats());
}

static void test_attentions_copy_nothing(void **state) {
  (void)state;
  untouched(attentions());
}

/* Memory that is no such buffer gives the same results, by way of copies. */
static void elsewhere(Pb model) {
  static float other[2 * ALL];
  Case c;
  open_case(&c, model);
  for (int k = 0; k < 9; k++) {
    prepare(&c, 5, 2);
    sard_tensor *past = &c.in[PAST], *present = &c.out[1];
    switch (k) {
    case 0: *present = view(other, 7, CAP); break;        /* another buffer of that kind */
    case 1: *present = dense(other, H, 7); break;         /* dense memory */
    case 2: *present = view(c.buf[0], 7, CAP / 2); break; /* the same memory, other strides */
    case 3: *present = dense(c.buf[0], H, 7); break;      /* the same memory, dense */
    case 4: present->data = c.buf[0] + D; break;          /* the same strides, a row further down */
    case 5: present->data = NULL; break;                  /* not wanted */
    case 6:                                               /* the axes of heads and rows the other way round */
      present->data = other;
      present->stride[0] = H * CAP * D, present->stride[1] = D, present->stride[2] = H * D;
      break;
    case 7: /* another input lies where new rows go */
      memcpy(c.buf[0] + 5 * D, c.fresh[KEY], (size_t)(B * H * 2 * D) * sizeof(float));
      c.in[KEY].data = c.buf[0] + 5 * D;
      break;
    default: /* a dense past, and the present over it */
      for (int64_t p = 0; p < B * H; p++)
        memcpy(other + p * 5 * D, c.buf[0] + p * PLANE, 5 * D * sizeof(float));
      *past = dense(other, H, 5), *present = dense(other, H, 7);
      break;
    }
    run_and_check(&c);
    for (int i = 0; i < CACHES; i++) /* whole again */
      fill(c.buf[i], ALL, (uint32_t)(i + 1));
  }
  close_case(&c);
}

static void test_concats_elsewhere(void **state) {
  (void)state;
  elsewhere(concats());
}

static void test_attentions_elsewhere(void **state) {
  (void)state;
  elsewhere(attentions());
}

static void test_results_of_strided_caches(void **state) {
  Case c;
  sard_result *r;
  sard_error *e = NULL;
  (void)state;
  open_case(&c, concats());
  prepare(&c, 9, 3);
  assert_int_equal(sard_run(c.m, c.in, INPUTS, NULL, &r, &e), SARD_OK);
  for (size_t i = 0; i < OUTPUTS; i++)
    assert_int_equal(sard_result_tensor(r, i, &c.out[i]), SARD_OK);
  check(&c, c.buf);
  sard_result_free(r);
  close_case(&c);
}

static void test_refused(void **state) {
  Case c;
  (void)state;
  open_case(&c, concats());
  prepare(&c, 5, 2);
  c.out[1] = view(c.buf[0], 7, 6);
  must_fail(&c, "the memory given for 'K0' has room for 6 rows, not for 7");
  c.out[1] = view(c.buf[0], 8, CAP);
  must_fail(&c, "output 'K0' is f32[2,2,7,64] but the memory given for it is f32[2,2,8,64]");
  c.out[1] = view(c.buf[0], 7, CAP);
  must_run(&c, NULL);
  close_case(&c);
}

static void test_other_names(void **state) {
  Case c;
  sard_error *e = NULL;
  sard_result *r;
  size_t input;
  int axis;
  (void)state;
  open_case(&c, other_names());
  for (size_t o = 1; o < OUTPUTS; o++)
    assert_true(sard_output_appends(c.m, o, &input, &axis) && input == PAST + o - 1 && axis == 2);
  for (int i = 0; i < PAST; i++)
    c.in[i] = dense(c.fresh[i], H, 2);
  for (int i = 0; i < CACHES; i++)
    c.in[PAST + i] = dense(c.buf[i], H, 5);
  assert_int_equal(sard_run(c.m, c.in, INPUTS, NULL, &r, &e), SARD_OK);
  sard_result_free(r);
  c.in[PAST + 1] = dense(c.buf[1], H, 4);
  assert_int_equal(sard_run(c.m, c.in, INPUTS, NULL, &r, &e), SARD_ERROR_INVALID);
  assert_non_null(strstr(sard_error_text(e), "'v0'"));
  sard_error_free(e);
  close_case(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_other_names),
      cmocka_unit_test(test_concats_grow),
      cmocka_unit_test(test_attentions_grow),
      cmocka_unit_test(test_dense_readers_grow),
      cmocka_unit_test(test_concats_copy_nothing),
      cmocka_unit_test(test_attentions_copy_nothing),
      cmocka_unit_test(test_concats_elsewhere),
      cmocka_unit_test(test_attentions_elsewhere),
      cmocka_unit_test(test_results_of_strided_caches),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
