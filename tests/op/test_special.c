/* test_special.c - losses, signals, detection, image geometry, recurrences, random numbers and training: the cases of
 * special.txt (made by gen_special.py) and special_errors.txt.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/special.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/special_errors.txt");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
