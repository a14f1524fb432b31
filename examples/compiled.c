/* compiled.c - prints the embedding of a sentence, by the demo's model, which is compiled into this program.
 *   sard compile demo/data/model.onnx -o embed.a
 *   cc compiled.c embed.a -lm -lpthread -o compiled && ./compiled
 * SPDX-License-Identifier: Apache-2.0 */
#include "embed.h"
#include <stdio.h>

int main(void) {
  /* "[CLS] the cat sat on the mat [SEP]" */
  int64_t ids[] = {101, 1996, 4937, 2938, 2006, 1996, 13523, 102}, mask[] = {1, 1, 1, 1, 1, 1, 1, 1};
  float embedding[384];
  embed_inputs in = {.batch_size = 1, .sequence_length = 8, .input_ids = ids, .attention_mask = mask};
  embed_outputs out = {._461 = embedding};
  embed *model;
  if (embed_init(NULL, &model) || embed_run(model, &in, &out))
    return fprintf(stderr, "%s\n", embed_error()), 1;
  for (int i = 0; i < 384; i++)
    printf("%.7g%c", (double)embedding[i], i % 8 == 7 ? '\n' : ' ');
  embed_free(model);
  return 0;
}
