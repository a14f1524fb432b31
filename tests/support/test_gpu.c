/* test_gpu.c - which code runs on which GPU: NVIDIA's rules for cubins (the same major version, this minor version or a later one), for
 * PTX (every later one) and for targets of one capability alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/gpu.h"

static void rules(void **unused) {
  static const struct {
    const char *target;
    int capability;
    bool runs, compiles;
  } row[] = {{"sm_80", 80, true, true},    {"sm_80", 86, true, true},    {"sm_80", 90, false, true},
             {"sm_80", 120, false, true},  {"sm_80", 75, false, false},  {"sm_86", 80, false, false},
             {"sm_90", 90, true, true},    {"sm_90", 89, false, false},  {"sm_90", 100, false, true},
             {"sm_90a", 90, true, true},   {"sm_90a", 91, false, false}, {"sm_90a", 100, false, false},
             {"sm_90a", 80, false, false}, {"sm_100", 103, true, true},  {"sm_103", 100, false, false},
             {"", 90, false, false},       {"sm_", 90, false, false},    {"sm_90b", 90, false, false},
             {"x86-64", 90, false, false}, {"sm_-9", 90, false, false},  {"sm_99999999999999999999", 90, false, false}};
  (void)unused;
  for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
    if (gpu_runs(row[i].target, row[i].capability) != row[i].runs)
      fail_msg("machine code for %s on %d", row[i].target, row[i].capability);
    if (gpu_compiles(row[i].target, row[i].capability) != row[i].compiles)
      fail_msg("PTX for %s on %d", row[i].target, row[i].capability);
  }
}

static void ranks(void **unused) {
  (void)unused;
  assert_true(gpu_rank("sm_80") >= 0 && gpu_rank("sm_80") < gpu_rank("sm_90") &&
              gpu_rank("sm_90") < gpu_rank("sm_90a"));
  assert_int_equal(gpu_rank("sm_75"), -1);
  assert_int_equal(gpu_rank(""), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(rules), cmocka_unit_test(ranks)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
