/* test_types.c - element types that few operators take: complex numbers and strings being moved, bits read as another type, packed
 * integers and small floats.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void by_hand(void **state) {
  (void)state;
  h_run_file("op/types.txt");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
