/* test_microsoft.c - com.microsoft: microsoft.txt (made by gen_microsoft.py) and microsoft_errors.txt.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/microsoft.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/microsoft_errors.txt");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(generated), cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
