/* test_traffic.c - requests of many shapes in any order: MiniLM with 20 shapes drawn by seed (batches of 1 to 8, 8 to 64 tokens: what the fixture has positions for),
 * every shape once, then 50 times each, shuffled. After that one pass nothing is compiled, no memory is asked for, and every
 * shape's results have the bits of its first run.
 *
 * `build/bench traffic` measures the times of such requests.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* ctx.h has a function of that name */

#include "tests/models/compilations.h"
#include "sard.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHAPES = 20, RUNS = 50, MAX_BATCH = 8, MIN_SEQ = 8, MAX_SEQ = 64, PORTS = 3, VOCABULARY = 100 };

/* --- the allocator, counted --- */

/* Blocks by size: class k holds those of 2^(k-1) to 2^k - 1 bytes. */
static struct Counts {
  pthread_mutex_t lock; /* loading has threads */
  int64_t of[64];
} counts = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int class_of(size_t size) { return size ? 64 - __builtin_clzll(size) : 0; }

static void *counted_get(void *arg, size_t size, size_t align) {
  (void)arg;
  pthread_mutex_lock(&counts.lock);
  counts.of[class_of(size)]++;
  pthread_mutex_unlock(&counts.lock);
  return aligned_alloc(align < 64 ? 64 : align, (size + 63) / 64 * 64 + 64);
}

static void counted_put(void *arg, void *p, size_t size) {
  (void)arg, (void)size;
  free(p);
}

/* --- requests --- */

static uint64_t draw(uint64_t *seed) { /* xorshift64* */
  *seed ^= *seed >> 12, *seed ^= *seed << 25, *seed ^= *seed >> 27;
  return (*seed * UINT64_C(2685821657736338717)) >> 33;
}

typedef struct Request {
  int64_t batch, seq;
  int64_t *data[PORTS];
  sard_tensor in[PORTS];
  void *want[4]; /* the first run's results */
} Request;

/* Ids anywhere in the vocabulary, masks of ones, token types of zeros: by name, as the inputs' order is the exporter's. */
static void make_request(Request *r, const sard_model *m, uint64_t *seed) {
  r->batch = 1 + (int64_t)(draw(seed) % MAX_BATCH), r->seq = MIN_SEQ + (int64_t)(draw(seed) % (MAX_SEQ - MIN_SEQ + 1));
  for (size_t i = 0; i < PORTS; i++) {
    sard_io io = SARD_IO_INIT;
    assert_int_equal(sard_input(m, i, &io), SARD_OK);
    r->data[i] = calloc((size_t)(r->batch * r->seq), sizeof(int64_t));
    for (int64_t k = 0; k < r->batch * r->seq; k++)
      r->data[i][k] = strstr(io.name, "mask") ? 1 : strstr(io.name, "type") ? 0 : (int64_t)(draw(seed) % VOCABULARY);
    r->in[i] = (sard_tensor){.dtype = SARD_I64, .rank = 2, .dim = {r->batch, r->seq}, .data = r->data[i]};
  }
}

static void run(sard_model *m, Request *r) {
  sard_result *result = NULL;
  assert_int_equal(sard_run(m, r->in, PORTS, NULL, &result, NULL), SARD_OK);
  for (size_t i = 0; i < sard_result_count(result); i++) {
    sard_tensor t;
    assert_int_equal(sard_result_tensor(result, i, &t), SARD_OK);
    size_t n = (size_t)sard_tensor_bytes(&t);
    if (!r->want[i])
      r->want[i] = memcpy(malloc(n), t.data, n);
    else
      assert_memory_equal(t.data, r->want[i], n);
  }
  sard_result_free(result);
}

/* Every shape RUNS times. */
static void shuffle(int *order, uint64_t *seed) {
  for (int i = 0; i < SHAPES * RUNS; i++)
    order[i] = i % SHAPES;
  for (int i = SHAPES * RUNS - 1; i > 0; i--) {
    int k = (int)(draw(seed) % (uint64_t)(i + 1)), t = order[i];
    order[i] = order[k], order[k] = t;
  }
}

static sard_model *load(sard_env *env) {
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m = NULL;
  sard_error *err = NULL;
  o.threads = 2;
  if (sard_load_file(env, SOURCE_DIR "/models/fixtures/minilm/dynamo24/model.onnx", &o, &m, &err))
    print_error("%s\n", sard_error_text(err));
  assert_non_null(m);
  assert_int_equal(sard_input_count(m), PORTS);
  return m;
}

static void test_many_shapes(void **state) {
  static Request r[SHAPES];
  static int order[SHAPES * RUNS];
  sard_env *env;
  sard_env_options o = SARD_ENV_OPTIONS_INIT;
  uint64_t seed = 7;
  int64_t all = 0;
  (void)state;
  o.alloc = counted_get, o.free = counted_put;
  assert_int_equal(sard_env_create(&o, &env, NULL), SARD_OK);
  sard_model *m = load(env);
  for (int i = 0; i < SHAPES; i++)
    make_request(&r[i], m, &seed), run(m, &r[i]);
  shuffle(order, &seed);
  int compiled = compilations;
  struct Counts before = counts;
  for (int i = 0; i < SHAPES * RUNS; i++)
    run(m, &r[order[i]]);
  assert_true(compiled > 0);
  assert_int_equal(compilations, compiled);
  for (int k = 0; k < 64; k++) {
    int64_t n = counts.of[k] - before.of[k];
    if (n)
      print_error("%lld blocks of %lld bytes and more\n", (long long)n, k ? 1LL << (k - 1) : 0);
    all += n;
  }
  assert_int_equal(all, 0);
  sard_model_free(m);
  sard_env_free(env);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_shapes)};
  if (!sard_device_available("cpu")) {
    printf("this build has no device cpu\n");
    return 77;
  }
  return cmocka_run_group_tests_name("traffic", tests, NULL, NULL);
}
