/* test_runs.c - runs on the device cuda, over the null driver in this process: CUDA graphs, and memory that stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/runs.h"

#include <pthread.h>

/* --- graphs --- */

static void replays(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("bert_qa/ts17"), "cuda"), *cpu = load_on(FIXTURE("bert_qa/ts17"), "cpu");
  Feed f;
  assert_true(graphs_of(m).on && graphs_of(m).kernels > 10);
  for (int64_t salt = 0; salt < 4; salt++) { /* step by step, recorded, replayed, replayed: on other inputs each time */
    sard_result *x = run(m, tokens(&f, 2, 5, salt), 2), *y = run(cpu, f.t, 2);
    all_same(x, y, false);
    sard_result_free(x), sard_result_free(y);
  }
  assert_int_equal(graphs_of(m).recorded, 1);
  assert_int_equal(graphs_of(m).replayed, 3);
  sard_result *x = run(m, tokens(&f, 3, 4, 1), 2), *again = run(m, f.t, 2); /* other shapes: the same bits both ways */
  all_same(x, again, true);
  assert_int_equal(graphs_of(m).recorded, 2);
  sard_result_free(x), sard_result_free(again);
  sard_model_free(m), sard_model_free(cpu);
}

/* No call for memory once each shape has been recorded, in 100 runs; the first shape's graph is updated for the memory of the last. */
static void no_growth(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("bert_qa/ts17"), "cuda");
  Feed f;
  enum { FEW = 5 };
  size_t before = 0;
  for (int i = 0; i < 100; i++) {
    if (i == 2 * FEW)
      before = null.allocations();
    sard_result_free(run(m, tokens(&f, 1 + i % FEW, 3 + i % FEW, i), 2));
  }
  assert_true(before > 0);
  assert_int_equal(null.allocations(), before);
  assert_int_equal(graphs_of(m).recorded, FEW);
  assert_int_equal(graphs_of(m).replayed, 100 - FEW);
  int held = null.left();
  sard_release(m);
  assert_true(null.left() < held - 2);
  sard_result_free(run(m, tokens(&f, 2, 5, 0), 2)); /* and begins anew */
  assert_true(null.allocations() > before);
  sard_model_free(m);
  assert_int_equal(null.left(), 0);
}

/* On request all goes but weights and code, which a model that has never run holds, and results. */
static void released(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("bert_qa/ts17"), "cuda"), *other = load_on(FIXTURE("bert_qa/ts17"), "cuda");
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  int loaded = null.left();
  Feed f;
  o.outputs_on_device = true;
  tokens(&f, 2, 5, 0);
  sard_result *kept = run_with(m, f.t, 2, &o), *host = run(other, f.t, 2);
  int one = null.left();
  for (int i = 0; i < 3; i++)
    sard_result_free(run(m, f.t, 2));
  assert_int_equal(graphs_of(m).recorded, 1);
  sard_release(other);
  sard_release(m);
  assert_true(null.left() < one);
  sard_tensor got = output(kept, 0), want = output(host, 0);
  assert_memory_equal(null.memory((uint64_t)(uintptr_t)got.data, (size_t)sard_tensor_bytes(&got)), want.data,
                      (size_t)sard_tensor_bytes(&want));
  sard_result_free(kept), sard_result_free(host);
  assert_int_equal(null.left(), loaded);
  sard_release(m); /* nothing more is there */
  assert_int_equal(null.left(), loaded);
  sard_model_free(other);
  sard_result_free(run(m, f.t, 2));
  sard_model_free(m); /* the last one: with it goes the context */
  assert_int_equal(null.left(), 0);
}

static void few_are_kept(void **unused) {
  (void)unused;
  Feed f;
  setenv("SARD_CUDA_GRAPHS", "2", 1);
  sard_model *m = load_on(FIXTURE("bert_qa/ts17"), "cuda");
  unsetenv("SARD_CUDA_GRAPHS");
  for (int round = 0; round < 3; round++)
    for (int i = 1; i <= 3; i++) /* the third pushes the first out, and so on: none is ever seen twice */
      sard_result_free(run(m, tokens(&f, i, 4, i), 2));
  assert_int_equal(graphs_of(m).recorded, 0);
  sard_result_free(run(m, f.t, 2));
  assert_int_equal(graphs_of(m).recorded, 1);
  sard_model_free(m);
}

static void turned_off(void **unused) {
  (void)unused;
  Feed f;
  setenv("SARD_CUDA_GRAPHS", "off", 1);
  sard_model *m = load_on(FIXTURE("bert_qa/ts17"), "cuda");
  unsetenv("SARD_CUDA_GRAPHS");
  for (int i = 0; i < 3; i++)
    sard_result_free(run(m, tokens(&f, 2, 4, i), 2));
  assert_false(graphs_of(m).on);
  assert_non_null(strstr(graphs_of(m).why, "SARD_CUDA_GRAPHS"));
  assert_int_equal(graphs_of(m).replayed, 0);
  sard_model_free(m);
  m = load_on(FIXTURE("speech/dynamo"), "cuda"); /* a loop in it */
  assert_false(graphs_of(m).on);
  assert_true(graphs_of(m).step >= 0);
  sard_model_free(m);
}

/* --- several threads --- */

enum { THREADS = 4, SHAPES = 3 };
typedef struct Worker {
  sard_model *m;
  sard_result *const *want; /* by shape */
  int number;
  bool ok;
} Worker;

/* Runs of some shapes, whose results stay there every other time: giving those up waits for the context, which must not be while
 * another thread records. */
static void *work(void *arg) {
  Worker *w = arg;
  Feed *f = malloc(sizeof *f);
  w->ok = true;
  for (int i = 0; i < 24 && w->ok; i++) {
    int shape = (i + w->number) % SHAPES;
    sard_run_options o = SARD_RUN_OPTIONS_INIT;
    sard_result *r = NULL;
    o.outputs_on_device = i % 2;
    tokens(f, 1 + shape, 4, shape);
    w->ok = !sard_run(w->m, f->t, 2, &o, &r, NULL);
    for (size_t k = 0; w->ok && k < 2; k++) {
      sard_tensor t, want;
      sard_result_tensor(r, k, &t), sard_result_tensor(w->want[shape], k, &want);
      const void *at = t.device ? null.memory((uint64_t)(uintptr_t)t.data, (size_t)sard_tensor_bytes(&t)) : t.data;
      w->ok = !memcmp(at, want.data, (size_t)sard_tensor_bytes(&want));
    }
    sard_result_free(r);
    if (i % 8 == 7)
      sard_release(w->m);
  }
  free(f);
  return NULL;
}

static void threads(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("bert_qa/ts17"), "cuda");
  sard_result *want[SHAPES];
  Worker w[THREADS];
  pthread_t thread[THREADS];
  Feed f;
  for (int i = 0; i < SHAPES; i++)
    want[i] = run(m, tokens(&f, 1 + i, 4, i), 2);
  for (int i = 0; i < THREADS; i++) {
    w[i] = (Worker){m, want, i, false};
    assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
  }
  for (int i = 0; i < THREADS; i++)
    pthread_join(thread[i], NULL), assert_true(w[i].ok);
  assert_true(graphs_of(m).replayed > 0);
  for (int i = 0; i < SHAPES; i++)
    sard_result_free(want[i]);
  sard_model_free(m);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(replays),    cmocka_unit_test(no_growth),
                                     cmocka_unit_test(released),   cmocka_unit_test(few_are_kept),
                                     cmocka_unit_test(turned_off), cmocka_unit_test(threads)};
  return cmocka_run_group_tests(tests, load_null, NULL);
}
