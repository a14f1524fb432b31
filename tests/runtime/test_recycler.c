/* test_recycler.c - memory of results that is used again: how much is kept, and when it is given back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/recycler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* last: it defines fail */

enum { MB = 1 << 20 };

typedef struct World {
  Alloc alloc;
  Recycler r;
} World;

static int setup(void **state) {
  World *w = calloc(1, sizeof *w);
  alloc_init_system(&w->alloc);
  recycler_init(&w->r, &w->alloc);
  recycler_join(&w->r);
  *state = w;
  return 0;
}

static int teardown(void **state) {
  World *w = *state;
  recycler_leave(&w->r);
  int left = (int)atomic_load(&w->alloc.used);
  recycler_destroy(&w->r);
  free(w);
  return left;
}

static size_t used(World *w) { return atomic_load(&w->alloc.used); }

static void *get(World *w, size_t bytes, size_t *got) {
  void *p = recycler_get(&w->r, &w->alloc, bytes, got);
  if (p) {
    assert_true(*got >= bytes);
    memset(p, 1, bytes);
  }
  return p;
}

static void put(World *w, void *p, size_t got) { recycler_put(&w->r, &w->alloc, p, got); }

/* A result that comes and goes; how large its block was. */
static size_t pass(World *w, size_t bytes) {
  size_t got;
  void *p = get(w, bytes, &got);
  put(w, p, got);
  return got;
}

/* The memory of a result serves the next one of about its size. */
static void test_again(void **state) {
  World *w = *state;
  size_t a, b;
  void *p = get(w, 3 * MB, &a);
  put(w, p, a);
  assert_int_equal(atomic_load(&w->alloc.count), 1);
  void *q = get(w, 3 * MB + 1000, &b); /* 3 MB and a header stand in one class with it */
  put(w, q, b);
  p = get(w, 3 * MB + 2000, &a);
  assert_ptr_equal(p, q);
  assert_int_equal(a, b);
  put(w, p, a);
  assert_int_equal(atomic_load(&w->alloc.count), 2);
}

/* Never more than was out at once: what is kept and too small is driven out. */
static void test_bound(void **state) {
  World *w = *state;
  size_t a, b;
  void *p = get(w, MB, &a), *q = get(w, 2 * MB, &b);
  put(w, p, a), put(w, q, b);
  assert_int_equal(used(w), a + b);
  p = get(w, 3 * MB, &a);
  assert_int_equal(used(w), a);
  put(w, p, a);
}

/* Smaller requests take the smallest block that is large enough, which comes back as large as it was. */
static void test_best_fit(void **state) {
  World *w = *state;
  size_t a, b, c;
  void *p = get(w, 4 * MB, &a), *q = get(w, 2 * MB, &b);
  put(w, p, a), put(w, q, b);
  void *small = get(w, MB, &c);
  assert_ptr_equal(small, q);
  assert_int_equal(b, c);
  void *other = get(w, MB, &c);
  assert_ptr_equal(other, p);
  assert_int_equal(a, c);
  assert_int_equal(used(w), a + b);
  put(w, small, b), put(w, other, a);
  assert_int_equal(atomic_load(&w->alloc.count), 2);
}

/* What nobody asks for again goes in the end. */
static void test_age(void **state) {
  World *w = *state;
  size_t small = 0;
  pass(w, 64 * MB);
  for (int i = 0; i < 1000; i++)
    small = pass(w, MB);
  assert_int_equal(used(w), small);
}

/* The budget counts what is kept; a request that would not fit beside it, or not rounded up, is served all the same. */
static void test_budget(void **state) {
  World *w = *state;
  size_t a, b;
  w->alloc.limit = 4 * MB + 64;
  pass(w, MB);
  void *p = get(w, 4 * MB + 64, &b);
  assert_non_null(p);
  assert_int_equal(b, 4 * MB + 64);
  assert_null(get(w, MB, &a));
  put(w, p, b);
  p = get(w, MB, &a);
  assert_non_null(p);
  put(w, p, a);
}

/* Blocks of a recycler without users are given back at once, and those it has kept when its last user leaves; small ones are
 * records of the next power of two. */
static void test_not_kept(void **state) {
  World *w = *state;
  size_t a, b, small;
  assert_int_equal(pass(w, 1000), 1000);
  assert_int_equal(used(w), 1024);
  void *p = get(w, MB, &a), *q = get(w, MB, &b), *s = get(w, 100, &small);
  put(w, p, a);
  assert_int_equal(used(w), 1024 + a + b + 128);
  recycler_leave(&w->r);
  assert_int_equal(used(w), b + 128);
  put(w, q, b), put(w, s, small); /* results that outlive their model */
  assert_int_equal(used(w), 0);
  recycler_join(&w->r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_again, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
      cmocka_unit_test_setup_teardown(test_best_fit, setup, teardown),
      cmocka_unit_test_setup_teardown(test_age, setup, teardown),
      cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
      cmocka_unit_test_setup_teardown(test_not_kept, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
