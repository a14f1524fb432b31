/* test_records.c - small blocks that are used again: what the allocator is asked for, when it gets it back, several threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/records.h"

#include "support/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* cmocka's; ours is meant */

static Alloc alloc;
static Records records;

static size_t used(void) { return atomic_load(&alloc.used); }
static size_t asked(void) { return atomic_load(&alloc.count); }

static int setup(void **state) {
  (void)state;
  alloc_init_system(&alloc);
  records_init(&records, &alloc);
  records_keep(&records, true);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  records_keep(&records, false);
  records_destroy(&records);
  assert_int_equal(used(), 0);
  return 0;
}

static void *get(size_t size) {
  void *p = records_get(&records, &alloc, size, 16);
  if (p)
    memset(p, 0xff, size); /* the sanitizer's if it is not ours */
  return p;
}

static void put(void *p, size_t size) { records_put(&records, &alloc, p, size); }

/* A block serves every size of its power of two; as many are kept as were out at once. */
static void test_again(void **state) {
  (void)state;
  void *p = get(65), *q = get(128);
  put(p, 65), put(q, 128);
  assert_int_equal(asked(), 2);
  assert_int_equal(used(), 256);
  for (size_t size = 65; size <= 128; size++) {
    p = get(size), q = get(193 - size);
    put(p, size), put(q, 193 - size);
  }
  assert_int_equal(asked(), 2);
  p = get(0), q = get(129);
  assert_int_equal(asked(), 4);
  put(p, 0), put(q, 129);
  put(NULL, 7);
  records_keep(&records, true);
  assert_int_equal(used(), 0);
}

/* Large blocks, those of nobody's records, and those that come back when nothing is to be kept. */
static void test_not_kept(void **state) {
  (void)state;
  put(get(RECORD_MOST + 1), RECORD_MOST + 1);
  assert_int_equal(used(), 0);
  void *p = records_get(NULL, &alloc, 100, 16);
  assert_int_equal(used(), 100);
  records_put(NULL, &alloc, p, 100);
  p = get(RECORD_MOST);
  records_keep(&records, false);
  put(p, RECORD_MOST);
  assert_int_equal(used(), 0);
}

/* What is kept makes way for what is wanted. */
static void test_budget(void **state) {
  (void)state;
  alloc.limit = 4096;
  put(get(2048), 2048), put(get(1024), 1024);
  void *p = get(4096);
  assert_non_null(p);
  assert_int_equal(used(), 4096);
  assert_null(get(64));
  put(p, 4096);
}

/* Contexts that come one after the other, with arenas of the same sizes. */
static void test_arenas(void **state) {
  (void)state;
  size_t first = 0;
  for (int i = 0; i < 10; i++) {
    Ctx c;
    ctx_open(&c, &alloc);
    c.records = &records;
    Arena *a = arena_create(&c), *b = arena_create(&c);
    for (int k = 0; k < 100; k++) {
      const char *zeros = arena_get(a, (size_t)k, 7, 8);
      for (int z = 0; z < k * 7; z++)
        assert_int_equal(zeros[z], 0);
      memset(arena_get(b, 3, 5, 4), 1, 15);
    }
    ctx_close(&c);
    first = first ? first : asked();
  }
  assert_int_equal(asked(), first);
}

static void *takes(void *arg) {
  unsigned char mark = (unsigned char)(uintptr_t)arg;
  for (int i = 0; i < 20000; i++) {
    size_t size = (size_t)(i % 5 + 1) * 50;
    unsigned char *p = get(size);
    memset(p, mark, size);
    for (size_t k = 0; k < size; k += 49)
      if (p[k] != mark)
        return p;
    put(p, size);
  }
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  pthread_t id[4];
  for (uintptr_t i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&id[i], NULL, takes, (void *)i), 0);
  for (int i = 0; i < 4; i++) {
    void *shared;
    pthread_join(id[i], &shared);
    assert_null(shared);
  }
  assert_true(asked() <= 4 * 3); /* three powers of two, a block of each for each thread */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_again, setup, teardown),
      cmocka_unit_test_setup_teardown(test_not_kept, setup, teardown),
      cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
      cmocka_unit_test_setup_teardown(test_arenas, setup, teardown),
      cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
  };
  return cmocka_run_group_tests_name("records", tests, NULL, NULL);
}
