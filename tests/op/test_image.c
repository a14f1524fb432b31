/* test_image.c - ImageDecoder: image.txt (made by gen_image.py), and
 * image_errors.txt. SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/image.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/image_errors.txt");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
