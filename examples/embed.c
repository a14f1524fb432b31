/* embed.c - loads a model, feeds every input with ones (symbolic extents: 2), runs it, prints the outputs.
 *   cc embed.c $(pkg-config --cflags --libs sard) -o embed && ./embed model.onnx
 * SPDX-License-Identifier: Apache-2.0 */
#include <sard.h>

#include <stdio.h>
#include <stdlib.h>

static int failed(sard_error *err) {
  fprintf(stderr, "%s\n", sard_error_text(err));
  sard_error_free(err);
  return 1;
}

static void print(const char *what, const char *name, const sard_tensor *t) {
  printf("%s %s: %s[", what, name, sard_dtype_name(t->dtype));
  for (int k = 0; k < t->rank; k++)
    printf("%s%lld", k ? "," : "", (long long)t->dim[k]);
  printf("]");
  for (int64_t i = 0; t->dtype == SARD_F32 && i < 4 && i < sard_tensor_count(t); i++)
    printf(" %.4f", (double)((const float *)t->data)[i]);
  printf("\n");
}

/* Ones of the common types; other types stay zero. */
static void fill(sard_tensor *t) {
  for (int64_t i = 0; i < sard_tensor_count(t); i++)
    switch (t->dtype) {
    case SARD_F32: ((float *)t->data)[i] = 1; break;
    case SARD_F64: ((double *)t->data)[i] = 1; break;
    case SARD_I64: ((int64_t *)t->data)[i] = 1; break;
    case SARD_I32: ((int32_t *)t->data)[i] = 1; break;
    case SARD_BOOL: ((uint8_t *)t->data)[i] = 1; break;
    default: break;
    }
}

int main(int argc, char **argv) {
  sard_error *err = NULL;
  sard_model *model;
  sard_result *result;
  if (argc != 2)
    return fprintf(stderr, "usage: embed MODEL\n"), 2;
  if (sard_load_file(NULL, argv[1], NULL, &model, &err))
    return failed(err);
  size_t n = sard_input_count(model);
  sard_tensor *in = calloc(n ? n : 1, sizeof *in), out;
  sard_io io;
  for (size_t i = 0; i < n && in; i++) {
    sard_input(model, i, &io);
    in[i] = (sard_tensor){.dtype = io.dtype, .rank = io.rank < 0 ? 0 : io.rank};
    for (int k = 0; k < in[i].rank; k++)
      in[i].dim[k] = io.dim[k] < 0 ? 2 : io.dim[k];
    in[i].data = calloc(1, (size_t)sard_tensor_bytes(&in[i]) + 1);
    fill(&in[i]);
    print("input ", io.name, &in[i]);
  }
  if (sard_run(model, in, n, NULL, &result, &err))
    return failed(err);
  for (size_t i = 0; i < sard_result_count(result); i++)
    if (!sard_output(model, i, &io) && !sard_result_tensor(result, i, &out))
      print("output", io.name, &out);
  for (size_t i = 0; i < n; i++)
    free(in[i].data);
  free(in);
  sard_result_free(result);
  sard_model_free(model);
  return 0;
}
