/* decoder.c - a program that test_compile.py links with a compiled decoder: all memory is its own, that of the model's threads included,
 * and past and present share one cache with room for more rows. Rows that are there already are made read-only, so a copy of them
 * would end the program. decoder THREADS TOKENS…: prints the logits of all tokens; the first 128 come at once, the rest by
 * one, by one and by the others together.
 * SPDX-License-Identifier: Apache-2.0 */
#include <decoder.h> /* made by sard compile */

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { VOCAB = 100, CACHES = 4, HEADS = 2, D = 8, ROWS = 128, ROOM = 2 * ROWS, MEMORY = 8 << 20 };

static _Alignas(4096) float cache[CACHES][HEADS][ROOM][D]; /* ROWS rows of a head are a page */
static _Alignas(64) char memory[MEMORY];
static float logits[ROOM][VOCAB];

static sard_tensor numbers(const void *data, sard_dtype dtype, int64_t n) {
  return (sard_tensor){.data = (void *)(uintptr_t)data, .dtype = dtype, .rank = 2, .dim = {1, n}};
}

static sard_tensor rows_of(int i, int64_t n) {
  return (sard_tensor){.data = cache[i],
                       .dtype = SARD_F32,
                       .rank = 4,
                       .dim = {1, HEADS, n, D},
                       .strided = true,
                       .stride = {(int64_t)HEADS * ROOM * D, (int64_t)ROOM * D, D, 1}};
}

static sard_status step(const decoder *m, const int64_t *id, int64_t past, int64_t n) {
  int64_t mask[ROOM];
  sard_tensor in[2 + CACHES], out[1 + CACHES];
  for (int i = 0; i < ROOM; i++)
    mask[i] = 1;
  in[0] = numbers(id + past, SARD_I64, n), in[1] = numbers(mask, SARD_I64, past + n);
  out[0] = (sard_tensor){.data = logits[past], .dtype = SARD_F32, .rank = 3, .dim = {1, n, VOCAB}};
  for (int i = 0; i < CACHES; i++)
    in[2 + i] = rows_of(i, past), out[1 + i] = rows_of(i, past + n);
  return decoder_call_into(m, in, 2 + CACHES, out, 1 + CACHES);
}

int main(int argc, char **argv) {
  int64_t id[ROOM], past = 0, n = argc - 2;
  sard_compiled_options o = SARD_COMPILED_OPTIONS_INIT;
  decoder *m;
  if (n < ROWS + 2 || n > ROOM)
    return 2;
  o.threads = atoi(argv[1]);
  for (int i = 0; i < n; i++)
    id[i] = atoll(argv[i + 2]);
  sard_status st = decoder_init_static(memory, sizeof memory, &o, &m);
  const int64_t steps[] = {ROWS, 1, 1, n - ROWS - 2};
  for (int i = 0; !st && i < 4; past += steps[i++]) {
    for (int k = 0; i && k < CACHES * HEADS; k++)
      if (mprotect(cache[k / HEADS][k % HEADS], ROWS * D * sizeof(float), PROT_READ))
        return 3;
    st = step(m, id, past, steps[i]);
  }
  if (st)
    return fprintf(stderr, "%s\n", decoder_error()), 1;
  fprintf(stderr, "peak %zu\n", decoder_memory_peak(m));
  fwrite(logits, VOCAB * sizeof(float), (size_t)n, stdout);
  decoder_free(m);
  /* the block serves again, and too small a block is told */
  if (decoder_init_static(memory, sizeof memory, &o, &m))
    return 4;
  decoder_free(m);
  o.threads = 64;
  return decoder_init_static(memory, sizeof memory, &o, &m) == SARD_ERROR_MEMORY ? 0 : 5;
}
