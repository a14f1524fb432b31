/* test_special.c - losses, signals, detection, image geometry, recurrences, random numbers and training: the cases of
 * special.txt (made by gen_special.py), suppress.txt, order.txt and special_errors.txt.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

#include "ops/lower.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/special.txt");
  h_run_file("op/suppress.txt");
  h_run_file("op/order.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/special_errors.txt");
}

/* All but those whose output's extents depend on the data, and what passes/ expands, have kernels. */
static void compiled(void **state) {
  (void)state;
  static const OpId ops[] = {OP_NegativeLogLikelihoodLoss,
                             OP_Det,
                             OP_HannWindow,
                             OP_HammingWindow,
                             OP_BlackmanWindow,
                             OP_MelWeightMatrix,
                             OP_AffineGrid,
                             OP_CenterCropPad,
                             OP_Col2Im,
                             OP_MaxUnpool,
                             OP_RoiAlign,
                             OP_MaxRoiPool,
                             OP_DeformConv,
                             OP_LinearAttention,
                             OP_RandomNormal,
                             OP_RandomNormalLike,
                             OP_RandomUniform,
                             OP_RandomUniformLike,
                             OP_Bernoulli,
                             OP_Multinomial,
                             OP_CausalConvWithState,
                             OP_Adagrad,
                             OP_Adam,
                             OP_Momentum,
                             OP_Dropout};
  for (size_t i = 0; i < countof(ops); i++)
    if (op_lowering(ops[i])->kind == LOWER_NONE)
      fail_msg("no kernel for %s", op_info(ops[i])->name);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
      cmocka_unit_test(refused),
      cmocka_unit_test(compiled),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
