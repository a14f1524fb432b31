/* test_ml.c - ai.onnx.ml: ml.txt (made by gen_ml.py), and
 * ml_errors.txt. SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/ml.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/ml_errors.txt");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
