/* test_runs.c - runs on the device cuda, over the null driver in this process: CUDA graphs, and memory that stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/runs.h"

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
  enum { SHAPES = 5 };
  size_t before = 0;
  for (int i = 0; i < 100; i++) {
    if (i == 2 * SHAPES)
      before = null.allocations();
    sard_result_free(run(m, tokens(&f, 1 + i % SHAPES, 3 + i % SHAPES, i), 2));
  }
  assert_true(before > 0);
  assert_int_equal(null.allocations(), before);
  assert_int_equal(graphs_of(m).recorded, SHAPES);
  assert_int_equal(graphs_of(m).replayed, 100 - SHAPES);
  int held = null.left();
  sard_release(m);
  assert_true(null.left() < held - 2);
  sard_result_free(run(m, tokens(&f, 2, 5, 0), 2)); /* and begins anew */
  assert_true(null.allocations() > before);
  sard_model_free(m);
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(replays), cmocka_unit_test(no_growth),
                                     cmocka_unit_test(few_are_kept), cmocka_unit_test(turned_off)};
  return cmocka_run_group_tests(tests, load_null, NULL);
}
