/* test_alloc.c - allocation number k fails, for every k, while a model is loaded: an error each time, nothing lost.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/model.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t fail_at; /* 0: never */

static void *failing_get(void *self, size_t size, size_t align) {
  (void)self;
  void *m = NULL;
  if (fail_at && !--fail_at)
    return NULL;
  return posix_memalign(&m, align < sizeof m ? sizeof m : align, size) ? NULL : m;
}

static int open_files(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  if (!d)
    return 0;
  while (readdir(d))
    n++;
  closedir(d);
  return n;
}

/* Loads the fixture; the k-th allocation is refused. */
static Status load(const char *name, size_t k) {
  char path[512];
  Alloc alloc;
  Ctx c;
  Model *m;
  alloc_init_system(&alloc);
  alloc.get = failing_get;
  ctx_open(&c, &alloc);
  strcpy(path, SOURCE_DIR "/models/fixtures/");
  strcat(strcat(path, name), "/model.onnx");
  fail_at = k;
  Status st = model_load_file(&c, path, NULL, &m);
  fail_at = 0;
  assert_true(!st || (st == ST_MEMORY && c.err.kind == ST_MEMORY && *c.err.message));
  if (!st)
    model_close(&c, m);
  ctx_close(&c);
  assert_int_equal(atomic_load(&alloc.used), 0);
  return st;
}

static void each_in_turn(const char *name) {
  assert_int_equal(load(name, 0), ST_OK);
  int files = open_files();
  size_t k = 1;
  for (; load(name, k); k++)
    assert_int_equal(open_files(), files);
  assert_true(k > 10); /* there was something to fail */
  assert_int_equal(open_files(), files);
}

static void weights_inside(void **state) {
  (void)state;
  each_in_turn("bert_qa/ts17");
}

static void weights_outside_and_metadata(void **state) {
  (void)state;
  each_in_turn("bert_qa/dynamo");
}

static void loops_and_bodies(void **state) {
  (void)state;
  each_in_turn("speech/dynamo");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(weights_inside),
      cmocka_unit_test(weights_outside_and_metadata),
      cmocka_unit_test(loops_and_bodies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
