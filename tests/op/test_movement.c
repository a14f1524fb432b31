/* test_movement.c - movement, shapes, sequences: the cases of movement.txt (made by gen_movement.py).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/movement.txt");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
