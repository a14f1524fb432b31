/* fixture.h - a context and an arena for each test, with all memory given back behind it: setup and teardown of cmocka.
 * Included last: cmocka.h hides the function fail of ctx.h. SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_SUPPORT_FIXTURE_H
#define SARD_TESTS_SUPPORT_FIXTURE_H

static Alloc alloc;
static Ctx c;
static Arena *a;

static int setup(void **state) {
  (void)state;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  a = arena_create(&c);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  ctx_close(&c);
  assert_int_equal(atomic_load(&alloc.used), 0);
  return 0;
}

#endif
