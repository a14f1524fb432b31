/* first.c - the smallest useful program: loads an image classifier, runs it on a grey image, prints its scores.
 * SPDX-License-Identifier: Apache-2.0 */
#include <sard.h>
#include <stdio.h>

int main(int argc, char **argv) {
  static float image[3 * 32 * 32];
  sard_tensor in = {.data = image, .dtype = SARD_F32, .rank = 4, .dim = {1, 3, 32, 32}}, out;
  sard_model *model = NULL;
  sard_result *result = NULL;
  sard_error *err = NULL;
  if (sard_load_file(NULL, argc > 1 ? argv[1] : "model.onnx", NULL, &model, &err) ||
      sard_run(model, &in, 1, NULL, &result, &err) || sard_result_tensor(result, 0, &out))
    return fprintf(stderr, "%s\n", sard_error_text(err)), 1;
  for (int64_t i = 0; i < sard_tensor_count(&out); i++)
    printf("%g\n", (double)((const float *)out.data)[i]);
  sard_result_free(result);
  sard_model_free(model);
  return 0;
}
