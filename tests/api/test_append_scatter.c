/* test_append_scatter.c - caches in the caller's memory whose new rows go where the data say: GroupQueryAttention, whose past may have
 * all of the capacity or grow, and ONNX's own TensorScatter before an Attention. Nothing but the new rows is written; results
 * are those of runs on dense copies, which tests/op has from ONNX Runtime.
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

enum { B = 2, HEADS = 4, H = 2, D = 64, CAP = 32, PLANE = CAP * D, ALL = B * H * PLANE, N = 2, CACHES = 2 };
enum { Q, NEW, PAST = 3, WHERE = 5, TOTAL, INPUTS };
enum { OUTPUTS = 1 + CACHES, I32 = 6, DOMAIN = 7, OPSET = 8 };

/* --- models: q, the new k and v, their pasts, where they go --- */

static Pb graph(const char *q, const char *kv, const char *past) {
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "q", F32, q);
  put_value(&g, GRAPH_INPUT, "k", F32, kv), put_value(&g, GRAPH_INPUT, "v", F32, kv);
  put_value(&g, GRAPH_INPUT, "past_k", F32, past), put_value(&g, GRAPH_INPUT, "past_v", F32, past);
  return g;
}

static Pb finish(Pb *g, const char *y) {
  put_value(g, GRAPH_OUTPUT, "y", F32, y);
  put_value(g, GRAPH_OUTPUT, "K", F32, "b 2 all 64"), put_value(g, GRAPH_OUTPUT, "V", F32, "b 2 all 64");
  Pb m = model_of(g, 11, 24);
  put_opset(&m, OPSET, "com.microsoft", 1);
  return m;
}

static Pb group_query(void) {
  Pb g = graph("b n 256", "b n 128", "b 2 past 64");
  put_value(&g, GRAPH_INPUT, "last", I32, "b"), put_value(&g, GRAPH_INPUT, "total", I32, "");
  Pb n = node("attention", "GroupQueryAttention", "q k v past_k past_v last total", "y K V");
  pb_str(&n, DOMAIN, "com.microsoft");
  attr_int(&n, "num_heads", HEADS), attr_int(&n, "kv_num_heads", H);
  put_node(&g, &n);
  return finish(&g, "b n 256");
}

static Pb scatters(void) {
  Pb g = graph("b 4 n 64", "b 2 n 64", "b 2 all 64");
  put_value(&g, GRAPH_INPUT, "at", I64, "b");
  put_op(&g, "keys", "TensorScatter", "past_k k at", "K");
  put_op(&g, "values", "TensorScatter", "past_v v at", "V");
  put_op(&g, "attention", "Attention", "q K V", "y");
  return finish(&g, "b 4 n 64");
}

/* As scatters, but past_k is read once more, as it was. */
static Pb read_twice(void) {
  Pb g = graph("b 4 n 64", "b 2 n 64", "b 2 all 64");
  put_value(&g, GRAPH_INPUT, "at", I64, "b");
  put_op(&g, "keys", "TensorScatter", "past_k k at", "K");
  put_op(&g, "values", "TensorScatter", "past_v v at", "V");
  put_op(&g, "attention", "Attention", "q past_k V", "y");
  return finish(&g, "b 4 n 64");
}

/* --- a run --- */

typedef struct Case {
  sard_model *m;
  bool heads_apart;       /* q, k, v are [B, heads, N, D], else [B, N, heads * D] */
  float *buf[CACHES];     /* [B, H, CAP, D] */
  float *before[CACHES];  /* the same, before the run */
  float *fresh[PAST];     /* q, k, v */
  float *want, *y;        /* of the dense run, of the run */
  int64_t at[B], last[B]; /* the first and the last row of each entry that is written */
  int32_t last32[B], total;
  sard_tensor in[INPUTS], out[OUTPUTS];
  size_t nin;
} Case;

static sard_tensor rows_of(float *p, int64_t rows, int64_t cap) {
  sard_tensor t = {.data = p, .dtype = SARD_F32, .rank = 4, .dim = {B, H, rows, D}};
  t.strided = rows != cap, t.stride[0] = H * cap * D, t.stride[1] = cap * D, t.stride[2] = D, t.stride[3] = 1;
  return t;
}

static sard_tensor new_rows(const Case *c, float *p, int64_t heads) {
  if (c->heads_apart)
    return (sard_tensor){.data = p, .dtype = SARD_F32, .rank = 4, .dim = {B, heads, N, D}};
  return (sard_tensor){.data = p, .dtype = SARD_F32, .rank = 3, .dim = {B, N, heads * D}};
}

static void open_case(Case *c, Pb model, bool heads_apart) {
  sard_options o = SARD_OPTIONS_INIT;
  sard_error *e = NULL;
  *c = (Case){.heads_apart = heads_apart};
  o.cache = "off";
  if (sard_load_bytes(NULL, model.b, model.n, NULL, &o, &c->m, &e)) {
    print_error("%s\n", sard_error_text(e));
    fail_msg("cannot load");
  }
  free(model.b);
  c->nin = sard_input_count(c->m);
  for (uint32_t i = 0; i < CACHES; i++)
    c->buf[i] = pages(ALL), c->before[i] = pages(ALL), fill(c->buf[i], ALL, i + 1);
  for (uint32_t i = 0; i < PAST; i++)
    c->fresh[i] = pages(B * HEADS * N * D), fill(c->fresh[i], B * HEADS * N * D, i + 11);
  c->want = pages(B * HEADS * N * D), c->y = pages(B * HEADS * N * D);
}

static void close_case(Case *c) {
  sard_model_free(c->m);
  for (int i = 0; i < CACHES; i++)
    munmap(c->buf[i], ALL * sizeof(float)), munmap(c->before[i], ALL * sizeof(float));
  for (int i = 0; i < PAST; i++)
    munmap(c->fresh[i], B * HEADS * N * D * sizeof(float));
  munmap(c->want, B * HEADS * N * D * sizeof(float)), munmap(c->y, B * HEADS * N * D * sizeof(float));
}

static void must(sard_status st, sard_error *e) {
  if (st)
    print_error("%s\n", sard_error_text(e));
  assert_int_equal(st, SARD_OK);
}

/* What y is, by a run on dense copies of the first `past` rows. */
static void run_dense(Case *c, int64_t past) {
  sard_tensor in[INPUTS], y;
  sard_result *r;
  sard_error *e = NULL;
  memcpy(in, c->in, sizeof in);
  for (int i = 0; i < CACHES; i++) {
    in[PAST + i] = rows_of(malloc(ALL * sizeof(float)), past, past);
    for (int64_t p = 0; p < B * H; p++)
      memcpy((float *)in[PAST + i].data + p * past * D, c->buf[i] + p * PLANE, (size_t)(past * D) * sizeof(float));
  }
  must(sard_run(c->m, in, c->nin, NULL, &r, &e), e);
  assert_int_equal(sard_result_tensor(r, 0, &y), SARD_OK);
  memcpy(c->want, y.data, (size_t)sard_tensor_bytes(&y));
  sard_result_free(r);
  for (int i = 0; i < CACHES; i++)
    free(in[PAST + i].data);
}

/* Past and present in one buffer: `past` rows of it, and `present`, entry b's new rows ending at last[b]. */
static void prepare(Case *c, int64_t past, int64_t present, int64_t last0, int64_t last1) {
  c->last[0] = last0, c->last[1] = last1, c->total = (int32_t)(last0 > last1 ? last0 : last1) + 1;
  for (int b = 0; b < B; b++)
    c->at[b] = c->last[b] + 1 - N, c->last32[b] = (int32_t)c->last[b];
  for (int i = 0; i < PAST; i++)
    c->in[i] = new_rows(c, c->fresh[i], i == Q ? HEADS : H);
  for (int i = 0; i < CACHES; i++) {
    c->in[PAST + i] = rows_of(c->buf[i], past, CAP), c->out[1 + i] = rows_of(c->buf[i], present, CAP);
    memcpy(c->before[i], c->buf[i], ALL * sizeof(float));
  }
  if (c->heads_apart)
    c->in[WHERE] = (sard_tensor){.data = c->at, .dtype = SARD_I64, .rank = 1, .dim = {B}};
  else
    c->in[WHERE] = (sard_tensor){.data = c->last32, .dtype = SARD_I32, .rank = 1, .dim = {B}};
  c->in[TOTAL] = (sard_tensor){.data = &c->total, .dtype = SARD_I32};
  c->out[0] = new_rows(c, c->y, HEADS);
  run_dense(c, past);
}

static float new_element(const Case *c, int cache, int64_t b, int64_t h, int64_t j, int64_t d) {
  return c->fresh[NEW + cache][c->heads_apart ? ((b * H + h) * N + j) * D + d : (b * N + j) * H * D + h * D + d];
}

/* y, and every row of both buffers: new, or as it was, or behind a past that has grown for another entry's sake. */
static void check(const Case *c, float *const got[CACHES], int64_t past) {
  assert_memory_equal(c->y, c->want, (size_t)sard_tensor_bytes(&c->out[0]));
  for (int i = 0; i < CACHES; i++)
    for (int64_t p = 0; p < B * H; p++)
      for (int64_t r = 0; r < c->out[1 + i].dim[2]; r++)
        for (int64_t d = 0; d < D; d++) {
          int64_t b = p / H, k = (p * CAP + r) * D + d;
          float want = r >= c->at[b] && r <= c->last[b] ? new_element(c, i, b, p % H, r - c->at[b], d)
                       : r < past                       ? c->before[i][k]
                                                        : 0;
          assert_memory_equal(&got[i][k], &want, sizeof want);
        }
}

static void behind_untouched(const Case *c) {
  for (int i = 0; i < CACHES; i++)
    for (int64_t p = 0, rows = c->out[1 + i].dim[2]; p < B * H; p++)
      assert_memory_equal(c->buf[i] + p * PLANE + rows * D, c->before[i] + p * PLANE + rows * D,
                          (size_t)((CAP - rows) * D) * sizeof(float));
}

static void run_into(Case *c, const sard_run_options *o) {
  sard_error *e = NULL;
  must(sard_run_into(c->m, c->in, c->nin, c->out, OUTPUTS, o, &e), e);
}

/* --- tests --- */

static void test_appends(void **state) {
  Pb (*const model[])(void) = {group_query, scatters, read_twice};
  (void)state;
  for (int i = 0; i < 3; i++) {
    Case c;
    open_case(&c, model[i](), i > 0);
    for (size_t o = 1; o < OUTPUTS; o++) {
      size_t input;
      int axis;
      bool want = i != 2 || o != 1; /* a past that others read must stay as it is */
      assert_int_equal(sard_output_appends(c.m, o, &input, &axis), want);
      if (want)
        assert_true(input == PAST + o - 1 && axis == 2);
    }
    close_case(&c);
  }
}

static void test_grows(void **state) {
  Case c;
  (void)state;
  open_case(&c, group_query(), false);
  static const int64_t past[] = {0, 2, 13, 28, 30};
  for (size_t i = 0; i < sizeof past / sizeof *past; i++) {
    prepare(&c, past[i], past[i] + N, past[i] + N - 1, past[i] + N - 1);
    run_into(&c, NULL);
    check(&c, c.buf, past[i]);
    behind_untouched(&c);
  }
  prepare(&c, 16, 21, 20, 9); /* one entry is shorter: what it has not is zero */
  run_into(&c, NULL);
  check(&c, c.buf, 16);
  close_case(&c);
}

typedef struct Bytes {
  const sard_model *m;
  int64_t bytes;
  int n;
} Bytes;

static void count_bytes(void *arg, const sard_step_time *t) {
  Bytes *b = arg;
  sard_step s = SARD_STEP_INIT;
  assert_int_equal(sard_step_info(b->m, t->step, &s), SARD_OK);
  if (strstr(s.kernel, "tensorscatter"))
    b->bytes += t->bytes, b->n++;
}

/* A page of each plane holds rows that stay: it is not written, for it cannot be. */
static void untouched(Pb model, bool heads_apart, int64_t past, int64_t present) {
  enum { ROWS = 16, PAGE = ROWS * D, ROW = D * sizeof(float) };
  Case c;
  open_case(&c, model, heads_apart);
  if (sysconf(_SC_PAGESIZE) != PAGE * sizeof(float))
    skip();
  prepare(&c, past, present, present == CAP ? 18 : present - 1, present - 1);
  for (int i = 0; i < CACHES; i++)
    for (int p = 0; p < B * H; p++)
      assert_int_equal(mprotect(c.buf[i] + p * PLANE, PAGE * sizeof(float), PROT_READ), 0);
  Bytes bytes = {.m = c.m};
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  o.profile = count_bytes, o.profile_arg = &bytes;
  run_into(&c, &o);
  check(&c, c.buf, past);
  /* the new rows are read and written, zeros are written by which it grew; and where they go is read */
  assert_int_equal(bytes.n, CACHES);
  assert_int_equal(bytes.bytes, CACHES * (B * H * (2 * N + present - past) * ROW + B * (int64_t)sizeof(int64_t)));
  close_case(&c);
}

static void test_copies_nothing(void **state) {
  (void)state;
  untouched(group_query(), false, 17, 19);
  untouched(group_query(), false, CAP, CAP);
  untouched(scatters(), true, CAP, CAP);
}

/* Present is elsewhere, or past is dense: everything is copied, and the past stays as it was. */
static void test_elsewhere(void **state) {
  Case c;
  float *other[CACHES];
  (void)state;
  for (int i = 0; i < CACHES; i++)
    other[i] = pages(ALL);
  for (int scatter = 0; scatter < 2; scatter++) {
    open_case(&c, scatter ? scatters() : group_query(), scatter);
    prepare(&c, CAP, CAP, 9, 30);
    for (int i = 0; i < CACHES; i++)
      c.out[1 + i].data = other[i];
    run_into(&c, NULL);
    check(&c, other, CAP);
    for (int i = 0; i < CACHES; i++)
      assert_memory_equal(c.buf[i], c.before[i], ALL * sizeof(float));
    close_case(&c);
  }
  for (int i = 0; i < CACHES; i++)
    munmap(other[i], ALL * sizeof(float));
}

static void test_read_twice(void **state) {
  Case c;
  (void)state;
  open_case(&c, read_twice(), true);
  prepare(&c, CAP, CAP, 9, 30);
  run_into(&c, NULL);
  check(&c, c.buf, CAP);
  close_case(&c);
}

/* Rows that do not fit are refused; a row that is no row of the cache as well. */
static void test_refused(void **state) {
  Case c;
  sard_error *e = NULL;
  (void)state;
  open_case(&c, group_query(), false);
  prepare(&c, 5, 7, 6, 6);
  c.out[1] = rows_of(c.buf[0], 7, 6);
  assert_int_equal(sard_run_into(c.m, c.in, c.nin, c.out, OUTPUTS, NULL, &e), SARD_ERROR_USAGE);
  assert_non_null(strstr(sard_error_text(e), "the memory given for 'K' has room for 6 rows, not for 7"));
  sard_error_free(e);
  c.out[1] = rows_of(c.buf[0], 8, CAP);
  assert_int_equal(sard_run_into(c.m, c.in, c.nin, c.out, OUTPUTS, NULL, &e), SARD_ERROR_USAGE);
  assert_non_null(
      strstr(sard_error_text(e), "output 'K' is f32[2,2,7,64] but the memory given for it is f32[2,2,8,64]"));
  sard_error_free(e);
  close_case(&c);
  open_case(&c, scatters(), true);
  prepare(&c, CAP, CAP, 9, 30);
  c.at[1] = CAP - 1;
  assert_int_not_equal(sard_run_into(c.m, c.in, c.nin, c.out, OUTPUTS, NULL, &e), SARD_OK);
  sard_error_free(e);
  close_case(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_appends),   cmocka_unit_test(test_grows),      cmocka_unit_test(test_copies_nothing),
      cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_read_twice), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
