/* embed.c - loads a model, feeds every input with ones (symbolic extents: 2), runs it once, prints what goes in and comes out.
 *   cc embed.c $(pkg-config --cflags --libs sard) -o embed && ./embed model.onnx
 * SPDX-License-Identifier: Apache-2.0 */
#include <sard.h>

#include <stdio.h>
#include <stdlib.h>

static void print(const char *name, const sard_tensor *t) {
  printf("%s %s[", name, sard_dtype_name(t->dtype));
  for (int k = 0; k < t->rank; k++)
    printf(k ? ",%lld" : "%lld", (long long)t->dim[k]);
  printf("]");
  for (int64_t i = 0; t->dtype == SARD_F32 && i < sard_tensor_count(t) && i < 4; i++)
    printf(" %.4f", (double)((const float *)t->data)[i]);
  printf("\n");
}

static sard_tensor ones(const sard_io *io) {
  sard_tensor t = {.dtype = io->dtype, .rank = io->rank};
  for (int k = 0; k < io->rank; k++)
    t.dim[k] = io->dim[k] < 0 ? 2 : io->dim[k];
  t.data = calloc(1, (size_t)sard_tensor_bytes(&t) + 1);
  for (int64_t i = 0; i < sard_tensor_count(&t); i++)
    if (t.dtype == SARD_F32)
      ((float *)t.data)[i] = 1;
    else if (t.dtype == SARD_I64)
      ((int64_t *)t.data)[i] = 1;
  return t;
}

int main(int argc, char **argv) {
  sard_error *err = NULL;
  sard_model *model;
  sard_result *result;
  sard_tensor out;
  sard_io io = SARD_IO_INIT;
  if (sard_load_file(NULL, argc > 1 ? argv[1] : "model.onnx", NULL, &model, &err))
    return fprintf(stderr, "%s\n", sard_error_text(err)), 1;
  size_t n = sard_input_count(model);
  sard_tensor *in = calloc(n + 1, sizeof *in);
  for (size_t i = 0; i < n && !sard_input(model, i, &io); i++)
    print(io.name, (in[i] = ones(&io), &in[i]));
  if (sard_run(model, in, n, NULL, &result, &err))
    return fprintf(stderr, "%s\n", sard_error_text(err)), 1;
  for (size_t i = 0; !sard_output(model, i, &io) && !sard_result_tensor(result, i, &out); i++)
    print(io.name, &out);
  sard_result_free(result);
  sard_model_free(model);
  for (size_t i = 0; i < n; i++)
    free(in[i].data);
  free(in);
  return 0;
}
