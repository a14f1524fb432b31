/* test_text.c - operators on strings, and of strings by operators that take any type: text.txt (made by gen_text.py), and
 * text_errors.txt. SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/text.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/text_errors.txt");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
