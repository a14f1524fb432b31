/* test_grow.c - decoders whose caches grow, over the null driver in this process: one CUDA graph for all lengths of a step of 64.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/runs.h"

enum { SIZE = 8, CACHES = 4, ROOM = 160, INPUTS = 2 + CACHES, TOKENS = 100 };

/* One step of the fixture: inputs are tokens, a mask of ones, then the caches, from the last result. */
typedef struct Step {
  sard_tensor in[INPUTS];
  int64_t id[ROOM], mask[ROOM];
} Step;

static void begin(Step *s, const sard_result *last, int64_t heads, int64_t past, int64_t n) {
  static float nothing[1];
  for (int64_t i = 0; i < ROOM; i++)
    s->id[i] = (past + i) * 7 % TOKENS, s->mask[i] = 1;
  s->in[0] = (sard_tensor){.data = s->id, .dtype = SARD_I64, .rank = 2, .dim = {1, n}};
  s->in[1] = (sard_tensor){.data = s->mask, .dtype = SARD_I64, .rank = 2, .dim = {1, past + n}};
  for (int i = 0; i < CACHES; i++) {
    s->in[2 + i] = (sard_tensor){.data = nothing, .dtype = SARD_F32, .rank = 4, .dim = {1, heads, 0, SIZE}};
    if (last)
      s->in[2 + i] = output(last, 1 + (size_t)i);
  }
}

/* A prompt of 5, then one token after another until `to` are there. Both models get the caches of the CPU's. */
static void decode(const sard_model *m, const sard_model *cpu, int64_t heads, int64_t to) {
  sard_result *last = NULL;
  Step s;
  for (int64_t past = 0, n = 5; past < to; past += n, n = 1) {
    begin(&s, last, heads, past, n);
    sard_result *x = run(m, s.in, INPUTS), *y = run(cpu, s.in, INPUTS);
    all_same(x, y, false);
    sard_result_free(x), sard_result_free(last);
    last = y;
  }
  sard_result_free(last);
}

/* Of 5 to 144 rows, with a mask that is one longer, 5 to 63, 64, 65 to 127, 128, and 129 to 144 are of a kind each. The second run of
 * a kind is recorded. */
static void one_graph(void **unused) {
  (void)unused;
  static const struct {
    const char *path;
    int64_t heads, to, recorded, replayed;
  } list[] = {{FIXTURE("llama/ts17"), 2, 145, 3, 58 + 62 + 15},
              {FIXTURE("llama/dynamo"), 2, 80, 2, 58 + 14},
              {FIXTURE("gpt2/ts14"), 4, 60, 1, 54}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    sard_model *m = load_on(list[i].path, "cuda"), *cpu = load_on(list[i].path, "cpu");
    assert_int_equal(graphs_of(m).grows, 64);
    decode(m, cpu, list[i].heads, list[i].to);
    assert_int_equal(graphs_of(m).recorded, list[i].recorded);
    assert_int_equal(graphs_of(m).replayed, list[i].replayed);
    size_t before = null.allocations();
    decode(m, cpu, list[i].heads, 20);
    assert_int_equal(null.allocations(), before); /* what the largest needed is there */
    assert_true(graphs_of(m).replayed > list[i].replayed + 14);
    sard_model_free(m), sard_model_free(cpu);
    assert_int_equal(null.left(), 0);
  }
}

/* Shapes of models without a cache are none of a kind. */
static void no_cache(void **unused) {
  (void)unused;
  static const char *const path[] = {FIXTURE("bert_qa/ts17"), FIXTURE("t5_decoder/ts17")};
  for (int i = 0; i < 2; i++) {
    sard_model *m = load_on(path[i], "cuda");
    assert_true(graphs_of(m).on);
    assert_int_equal(graphs_of(m).grows, 0);
    sard_model_free(m);
  }
}

/* Caches on the device that grow where they are: nothing is copied, and no address changes. */
static void in_place(void **unused) {
  (void)unused;
  enum { HEADS = 2, ALL = HEADS * ROOM * SIZE };
  static float logits[5 * TOKENS];
  sard_model *m = load_on(FIXTURE("llama/ts17"), "cuda"), *cpu = load_on(FIXTURE("llama/ts17"), "cpu");
  sard_result *last = NULL;
  CudaContext context;
  CudaStream stream;
  uint64_t at[CACHES];
  Step s;
  assert_int_equal(null.cuDevicePrimaryCtxRetain(&context, 0), 0);
  null.cuCtxSetCurrent(context);
  assert_int_equal(null.cuStreamCreate(&stream, CUDA_STREAM_APART), 0);
  for (int i = 0; i < CACHES; i++)
    assert_int_equal(null.cuMemAllocAsync(&at[i], ALL * sizeof(float), stream), 0);
  assert_int_equal(null.cuStreamSynchronize(stream), 0);
  for (int64_t past = 0, n = 5; past < 80; past += n, n = 1) {
    sard_tensor out[1 + CACHES] = {{.data = logits, .dtype = SARD_F32, .rank = 3, .dim = {1, n, TOKENS}}}, want;
    begin(&s, last, HEADS, past, n);
    sard_result *y = run(cpu, s.in, INPUTS);
    for (int i = 0; i < CACHES; i++) {
      s.in[2 + i] = (sard_tensor){.data = (void *)(uintptr_t)at[i],
                                  .dtype = SARD_F32,
                                  .rank = 4,
                                  .dim = {1, HEADS, past, SIZE},
                                  .stride = {ALL, ROOM * SIZE, SIZE, 1},
                                  .strided = true,
                                  .device = true};
      out[1 + i] = s.in[2 + i], out[1 + i].dim[2] = past + n;
    }
    sard_error *err = NULL;
    if (sard_run_into(m, s.in, INPUTS, out, 1 + CACHES, NULL, &err))
      fail_msg("%s", sard_error_text(err));
    want = output(y, 0);
    same(&out[0], &want, false);
    sard_result_free(last);
    last = y;
  }
  sard_result_free(last);
  assert_int_equal(graphs_of(m).recorded, 2);
  assert_int_equal(graphs_of(m).replayed, 58 + 14);
  sard_model_free(m), sard_model_free(cpu);
  null.cuCtxSetCurrent(context);
  for (int i = 0; i < CACHES; i++)
    null.cuMemFreeAsync(at[i], stream);
  null.cuStreamSynchronize(stream);
  null.cuStreamDestroy_v2(stream);
  null.cuDevicePrimaryCtxRelease_v2(0);
}

/* Where nothing is kept from run to run, each goes step by step. */
static void same_bits(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("llama/ts17"), "cuda"), *one = load_on(FIXTURE("llama/ts17"), "cuda");
  sard_result *last = NULL;
  Step s;
  for (int64_t past = 0, n = 5; past < 80; past += n, n = 1) {
    begin(&s, last, 2, past, n);
    sard_result *x = run(m, s.in, INPUTS), *y = run(one, s.in, INPUTS);
    all_same(x, y, true);
    sard_release(one);
    sard_result_free(y), sard_result_free(last);
    last = x;
  }
  sard_result_free(last);
  assert_int_equal(graphs_of(one).replayed, 0);
  assert_true(graphs_of(m).replayed > 60);
  sard_model_free(m), sard_model_free(one);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_graph), cmocka_unit_test(no_cache),
                                     cmocka_unit_test(in_place), cmocka_unit_test(same_bits)};
  return cmocka_run_group_tests(tests, load_null, NULL);
}
