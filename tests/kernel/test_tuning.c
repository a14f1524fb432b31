/* test_tuning.c - the table of tuned products: what a key tells apart, which bytes are a table, how two of them become one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/product.h"
#include "codegen/tuning.h"
#include "support/dim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEVEL "x86-64-v4"

typedef struct World {
  Alloc alloc;
  Ctx c;
  Arena *a;
} World;

static int setup(void **state) {
  World *w = calloc(1, sizeof *w);
  alloc_init_system(&w->alloc);
  ctx_open(&w->c, &w->alloc);
  w->a = arena_create(&w->c);
  *state = w;
  return 0;
}

static int teardown(void **state) {
  World *w = *state;
  dim_release(&w->c);
  ctx_close(&w->c);
  free(w);
  return 0;
}

static Product product(Ctx *c, int64_t n, const char *m) {
  return (Product){.batch = dim_const(c, 1),
                   .m = m ? dim_sym(c, m) : dim_const(c, 8),
                   .n = dim_const(c, n),
                   .k = dim_const(c, 64),
                   .packed_b = true};
}

static void test_key(void **state) {
  World *w = *state;
  Product x = product(&w->c, 96, "batch"), y = product(&w->c, 96, "rows");
  uint64_t key = tuning_key(w->a, &x, LEVEL);
  assert_true(key != 0);
  assert_true(tuning_key(w->a, &y, LEVEL) == key); /* what a symbol is called does not matter */
  y.cut = (ProductCut){2, 1, -1, 1};
  assert_true(tuning_key(w->a, &y, LEVEL) == key);
  assert_true(tuning_key(w->a, &x, "x86-64-v3") != key);
  Product other[] = {product(&w->c, 97, "m"), product(&w->c, 96, NULL), x, x, x};
  other[2].packed_b = false, other[3].bytes = DT_u8, other[4].winograd = 4;
  other[4].images = dim_const(&w->c, 1);
  for (size_t i = 0; i < countof(other); i++)
    assert_true(tuning_key(w->a, &other[i], LEVEL) != key);
  x.channelwise = true; /* has but one cut */
  assert_true(tuning_key(w->a, &x, LEVEL) == 0);
}

static void test_apply(void **state) {
  World *w = *state;
  Product x = product(&w->c, 96, "m"), y = product(&w->c, 48, "m");
  ProductCut all = {.cols = 1};
  TuningRow row = {.key = tuning_key(w->a, &x, LEVEL), .cut = {.tile = 3, .rows = -1}};
  Tuning t = {.row = &row, .n = 1};
  tuning_apply(&t, w->a, &x, LEVEL), tuning_apply(&t, w->a, &y, LEVEL);
  assert_int_equal(x.cut.tile, 3);
  assert_int_equal(product_plan(&x, LEVEL).mr, 12); /* the third row of the table: 12x32 */
  assert_int_equal(product_plan(&x, LEVEL).nr, 32);
  assert_int_equal(y.cut.tile, 0);
  t.all = &all;
  tuning_apply(&t, w->a, &x, LEVEL), tuning_apply(&t, w->a, &y, LEVEL);
  assert_int_equal(x.cut.cols, 0); /* a row goes before what all others get */
  assert_int_equal(y.cut.cols, 1);
}

static void test_take(void **state) {
  (void)state;
  TuningRow good[] = {{1, {4, 3, -3, 0}, 0}, {2, {0, 0, 0, 1}, 0}}, bad[2];
  Tuning t;
  assert_true(tuning_take(good, sizeof good, LEVEL, &t));
  assert_int_equal(t.n, 2);
  assert_true(tuning_take(good, 0, LEVEL, &t));
  assert_int_equal(t.n, 0);
  assert_false(tuning_take(good, sizeof good - 1, LEVEL, &t));
  static const TuningRow wrong[] = {
      {2, {0}, 0},          {1, {0}, 0},           {0, {0}, 0},          {3, {5, 0, 0, 0}, 0},
      {3, {0, 4, 0, 0}, 0}, {3, {0, 0, -4, 0}, 0}, {3, {0, 0, 0, 4}, 0}, {3, {0}, 1},
  };
  for (size_t i = 0; i < countof(wrong);
       i++) { /* not in order, no key, a tile that there is none of, scales, no zero */
    bad[0] = good[1], bad[1] = wrong[i];
    assert_false(tuning_take(bad, sizeof bad, LEVEL, &t));
    assert_int_equal(t.n, 0);
  }
}

static void test_merge(void **state) {
  World *w = *state;
  TuningRow old[] = {{1, {1, 0, 0, 0}, 0}, {3, {2, 0, 0, 0}, 0}, {5, {3, 0, 0, 0}, 0}};
  TuningRow new[] = {{2, {4, 0, 0, 0}, 0}, {3, {0, 1, 0, 0}, 0}, {5, {0}, 0}};
  Tuning t;
  tuning_merge(w->a, &(Tuning){.row = old, .n = 3}, &(Tuning){.row = new, .n = 3}, &t);
  assert_int_equal(t.n, 3); /* 5 is as it was again */
  assert_memory_equal(&t.row[0], &old[0], sizeof *old);
  assert_memory_equal(&t.row[1], &new[0], sizeof *new);
  assert_memory_equal(&t.row[2], &new[1], sizeof *new);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_key, setup, teardown),
      cmocka_unit_test_setup_teardown(test_apply, setup, teardown),
      cmocka_unit_test(test_take),
      cmocka_unit_test_setup_teardown(test_merge, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
