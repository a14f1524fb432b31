/* test_arena.c - arenas, the byte budget, unwinding, cleanups, errors of a context.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/arena.h"

#include "support/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* cmocka's; ours is meant */

typedef struct Fixture {
  Alloc alloc;
  Ctx c;
  char order[16]; /* which cleanups ran */
} Fixture;

static Fixture fx;

static int setup(void **state) {
  (void)state;
  memset(&fx, 0, sizeof fx);
  alloc_init_system(&fx.alloc);
  ctx_open(&fx.c, &fx.alloc);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  ctx_close(&fx.c);
  assert_int_equal(atomic_load(&fx.alloc.used), 0);
  return 0;
}

static void test_alignment_and_zeroes(void **state) {
  (void)state;
  Arena *a = arena_create(&fx.c);
  uint32_t seed = 3;
  for (int i = 0; i < 3000; i++) {
    seed = seed * 1664525 + 1013904223;
    size_t align = (size_t)1 << (seed >> 28) % 9, n = i % 100 ? (seed >> 8) % 300 : (seed >> 8) % 100000;
    unsigned char *p = arena_get(a, n, 1, align);
    assert_int_equal((uintptr_t)p % align, 0);
    for (size_t k = 0; k < n; k++)
      assert_int_equal(p[k], 0);
    memset(p, 0xff, n); /* a neighbour that overlaps will not be zero */
  }
  assert_true(arena_bytes(a) == atomic_load(&fx.alloc.used));
  arena_destroy(a);
  assert_int_equal(atomic_load(&fx.alloc.used), 0);
}

static void test_large_and_first(void **state) {
  (void)state;
  Arena *a = arena_create(&fx.c);
  char *big = arena_get(a, 10 << 20, 1, 4096), *small = arena_get(a, 8, 1, 8), *big2 = arena_get(a, 3 << 20, 1, 64),
       *small2 = arena_get(a, 8, 1, 8);
  memset(big, 1, 10 << 20), memset(big2, 2, 3 << 20), memset(small, 3, 8), memset(small2, 4, 8);
  assert_true(big[0] == 1 && big[(10 << 20) - 1] == 1 && small[7] == 3 && big2[(3 << 20) - 1] == 2);
  assert_true(arena_bytes(a) < 15 << 20);
  assert_string_equal(arena_printf(a, "%s-%d", "x", 7), "x-7");
  assert_string_equal(arena_strndup(a, "hello", 2), "he");
  assert_string_equal(arena_strdup(a, ""), "");
  assert_memory_equal(arena_copy(a, "abc", 3), "abc", 3);
  assert_non_null(arena_copy(a, NULL, 0));
}

/* A reset arena gives out what it has, zeroed, and asks for nothing as long as that is enough. */
static void test_reset(void **state) {
  (void)state;
  Arena *a = arena_create(&fx.c);
  arena_reset(a);
  for (int i = 0; i < 100; i++)
    memset(arena_get(a, 100, 1, 8), 1, 100);
  memset(arena_get(a, 1 << 20, 1, 64), 1, 1 << 20);
  arena_reset(a);
  assert_true(arena_bytes(a) == atomic_load(&fx.alloc.used) && arena_bytes(a) < 1 << 15);
  size_t count = atomic_load(&fx.alloc.count);
  for (int i = 0; i < 1000; i++) {
    char *p = arena_get(a, 1000, 1, 8);
    for (int k = 0; k < 1000; k++)
      assert_int_equal(p[k], 0);
    memset(p, 1, 1000);
    arena_reset(a);
  }
  assert_int_equal(atomic_load(&fx.alloc.count), count);
  arena_destroy(a);
}

static Status too_much(Ctx *c, void *arg) {
  Arena *a = arena_create(c), *b = arena_create(c);
  for (;;) {
    arena_get(a, 1000, 1, 8);
    arena_get(b, 1, *(size_t *)arg, 8);
  }
  return ST_OK;
}

static Status overflow(Ctx *c, void *arg) {
  arena_get(arena_create(c), SIZE_MAX / 2, *(size_t *)arg, 8);
  return ST_OK;
}

static void test_budget_unwinds(void **state) {
  size_t piece = 5000;
  (void)state;
  fx.alloc.limit = 1 << 20;
  assert_int_equal(ctx_protect(&fx.c, too_much, &piece), ST_MEMORY);
  assert_int_equal(atomic_load(&fx.alloc.used), 0);
  assert_true(atomic_load(&fx.alloc.peak) <= 1 << 20);
  assert_int_equal(fx.c.err.kind, ST_MEMORY);
  assert_non_null(strstr(fx.c.err.message, "limit 1048576"));
  piece = 3;
  assert_int_equal(ctx_protect(&fx.c, overflow, &piece), ST_MEMORY);
  assert_int_equal(atomic_load(&fx.alloc.used), 0);
}

static void note(void *arg) {
  size_t n = strlen(fx.order);
  fx.order[n] = *(char *)arg;
}

static Cleanup k1, k2, k3, k4;

static Status inner(Ctx *c, void *arg) {
  ctx_on_failure(c, &k3, note, "3");
  arena_create(c);
  ctx_on_failure(c, &k4, note, "4");
  ctx_forget(c, &k4);
  return *(Status *)arg;
}

static Status outer(Ctx *c, void *arg) {
  Status st = ST_INVALID, ok = ST_OK;
  ctx_on_failure(c, &k1, note, "1");
  ctx_on_failure(c, &k2, note, "2");
  assert_int_equal(ctx_protect(c, inner, &st), ST_INVALID);
  assert_string_equal(fx.order, "3"); /* the inner one only */
  assert_int_equal(ctx_protect(c, inner, &ok), ST_OK);
  assert_string_equal(fx.order, "3"); /* what succeeded stays */
  if (arg)
    ctx_out_of_memory(c, 1);
  return ST_OK;
}

static void test_cleanups_newest_first(void **state) {
  (void)state;
  assert_int_equal(ctx_protect(&fx.c, outer, "x"), ST_MEMORY);
  assert_string_equal(fx.order, "3321");
  assert_int_equal(atomic_load(&fx.alloc.used), 0);
  memset(fx.order, 0, sizeof fx.order);
  assert_int_equal(ctx_protect(&fx.c, outer, NULL), ST_OK);
  ctx_close(&fx.c);
  assert_string_equal(fx.order, "3321");
}

static void test_adopt(void **state) {
  Ctx other;
  (void)state;
  ctx_open(&other, &fx.alloc);
  Arena *a = arena_create(&fx.c);
  arena_adopt(a, &other);
  assert_ptr_equal(arena_ctx(a), &other);
  ctx_close(&fx.c);
  assert_true(atomic_load(&fx.alloc.used) > 0);
  assert_string_equal(arena_strdup(a, "still here"), "still here");
  ctx_close(&other);
}

static void test_alloc_counts(void **state) {
  (void)state;
  fx.alloc.limit = 100;
  void *p = alloc_get(&fx.alloc, 0, 1), *q = alloc_get(&fx.alloc, 99, 64);
  assert_true(p && q && p != q);
  assert_null(alloc_get(&fx.alloc, 1, 1));
  assert_null(alloc_get(&fx.alloc, SIZE_MAX, 1));
  assert_int_equal(atomic_load(&fx.alloc.used), 100);
  alloc_put(&fx.alloc, NULL, 5);
  alloc_put(&fx.alloc, p, 0);
  alloc_put(&fx.alloc, q, 99);
}

static void test_error_fields(void **state) {
  Ctx *c = &fx.c;
  (void)state;
  Status st = err_hint(c, fail(c, ST_INVALID, "bad %d", 7), "do %s", "this");
  assert_int_equal(err_file(c, st, "a.onnx"), ST_INVALID);
  err_file(c, st, "b.onnx"); /* the first stays */
  err_node(c, st, "n", "Op", NULL, "x.py:3");
  err_node(c, st, "outer", "If", "m", NULL);
  assert_string_equal(c->err.message, "bad 7");
  assert_string_equal(c->err.hint, "do this");
  assert_string_equal(c->err.file, "a.onnx");
  assert_string_equal(c->err.node, "n");
  assert_string_equal(c->err.module, "m");
  err_note(c, st, "in body '%s'", "b");
  assert_string_equal(c->err.message, "in body 'b': bad 7");
  fail(c, ST_IO, "new");
  assert_string_equal(c->err.file, ""); /* another error */
  fail(c, ST_INVALID, "%s", "esc \x1b[31m c1 \xc2\x9b bad \xff\xfe tab\t end\x7f");
  assert_string_equal(c->err.message, "esc \\x1b[31m c1 \\xc2\\x9b bad \\xff\\xfe tab\\x09 end\\x7f");
}

/* Messages are cut to their field, but never inside a character. */
static void test_long_messages_stay_utf8(void **state) {
  char text[3000];
  (void)state;
  for (int shift = 0; shift < 3; shift++) {
    memset(text, 'x', (size_t)shift);
    for (int i = shift; i + 3 < (int)sizeof text; i += 3)
      memcpy(text + i, "\xe6\x89\xb9", 4);
    fail(&fx.c, ST_INVALID, "%s", text);
    assert_true(utf8_valid(fx.c.err.message, strlen(fx.c.err.message)) && strlen(fx.c.err.message) > 900);
    err_note(&fx.c, ST_INVALID, "%s", text);
    assert_true(utf8_valid(fx.c.err.message, strlen(fx.c.err.message)) && strlen(fx.c.err.message) > 900);
    err_hint(&fx.c, ST_INVALID, "%s", text);
    assert_true(utf8_valid(fx.c.err.hint, strlen(fx.c.err.hint)));
  }
}

static void test_poll(void **state) {
  atomic_int flag = 0;
  (void)state;
  fx.c.cancel = &flag;
  assert_int_equal(ctx_poll(&fx.c), ST_OK);
  flag = 1;
  assert_int_equal(ctx_poll(&fx.c), ST_CANCELLED);
  flag = 0;
  fx.c.deadline_ns = now_ns() + 3600000000000;
  assert_int_equal(ctx_poll(&fx.c), ST_OK);
  fx.c.deadline_ns = now_ns() - 1;
  assert_int_equal(ctx_poll(&fx.c), ST_TIMEOUT);
}

int main(void) {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
  const struct CMUnitTest tests[] = {T(test_alignment_and_zeroes),
                                     T(test_large_and_first),
                                     T(test_reset),
                                     T(test_budget_unwinds),
                                     T(test_cleanups_newest_first),
                                     T(test_adopt),
                                     T(test_alloc_counts),
                                     T(test_error_fields),
                                     T(test_long_messages_stay_utf8),
                                     T(test_poll)};
  return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
