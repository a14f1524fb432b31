/* traffic.c - what a service sees of the runtime beside the kernels: 20 shapes drawn by seed (batches of 1 to 8, 8 to 128 tokens),
 * every shape once, then 50 times each, shuffled; then two callers of one model beside one that does the same work alone.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/traffic.h"

#include "sard.h"
#include "support/ctx.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHAPES = 20, RUNS = 50, MAX_BATCH = 8, MIN_SEQ = 8, MAX_SEQ = 128, PORTS = 3, VOCABULARY = 30000, ROUNDS = 5 };

typedef struct Request {
  int64_t data[PORTS][MAX_BATCH * MAX_SEQ];
  sard_tensor in[PORTS];
  double ms[RUNS];
  int n;
} Request;

static uint64_t draw(uint64_t *seed) { /* xorshift64* */
  *seed ^= *seed >> 12, *seed ^= *seed << 25, *seed ^= *seed >> 27;
  return (*seed * UINT64_C(2685821657736338717)) >> 33;
}

static void make_request(Request *r, const sard_model *m, uint64_t *seed) {
  int64_t batch = 1 + (int64_t)(draw(seed) % MAX_BATCH);
  int64_t seq = MIN_SEQ + (int64_t)(draw(seed) % (MAX_SEQ - MIN_SEQ + 1));
  for (size_t i = 0; i < PORTS; i++) {
    sard_io io = SARD_IO_INIT;
    sard_input(m, i, &io);
    for (int64_t k = 0; k < batch * seq; k++)
      r->data[i][k] = strstr(io.name, "mask") ? 1 : strstr(io.name, "type") ? 0 : (int64_t)(draw(seed) % VOCABULARY);
    r->in[i] = (sard_tensor){.dtype = SARD_I64, .rank = 2, .dim = {batch, seq}, .data = r->data[i]};
  }
}

static double run_ms(sard_model *m, Request *r) {
  sard_result *result = NULL;
  sard_error *err = NULL;
  int64_t start = now_ns();
  if (sard_run(m, r->in, PORTS, NULL, &result, &err)) {
    fprintf(stderr, "%s\n", sard_error_text(err));
    exit(1);
  }
  double ms = (double)(now_ns() - start) * 1e-6;
  sard_result_free(result);
  return ms;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void shuffle(int *order, int n, uint64_t *seed) {
  for (int i = n - 1; i > 0; i--) {
    int k = (int)(draw(seed) % (uint64_t)(i + 1)), t = order[i];
    order[i] = order[k], order[k] = t;
  }
}

/* Every run's time, divided by the median of its shape. */
static void bench_shapes(sard_model *m, Request *r, uint64_t *seed) {
  static int order[SHAPES * RUNS];
  static double share[SHAPES * RUNS];
  int n = 0;
  for (int i = 0; i < SHAPES * RUNS; i++)
    order[i] = i % SHAPES;
  shuffle(order, SHAPES * RUNS, seed);
  for (int i = 0; i < SHAPES * RUNS; i++) {
    Request *x = &r[order[i]];
    x->ms[x->n++] = run_ms(m, x);
  }
  for (int i = 0; i < SHAPES; i++) {
    double sorted[RUNS];
    memcpy(sorted, r[i].ms, sizeof sorted);
    qsort(sorted, RUNS, sizeof *sorted, by_value);
    for (int k = 0; k < RUNS; k++)
      share[n++] = r[i].ms[k] / sorted[RUNS / 2];
  }
  qsort(share, (size_t)n, sizeof *share, by_value);
  printf("%d shapes, %d runs: time over the median of its shape  90 %%: %.2f  99 %%: %.2f (1.50 at most)  all: %.2f\n",
         SHAPES, n, share[n * 90 / 100], share[n * 99 / 100], share[n - 1]);
}

typedef struct Caller {
  sard_model *m;
  Request *r;
  int from, step;
} Caller;

static void *call(void *arg) {
  Caller *x = arg;
  for (int i = x->from; i < SHAPES; i += x->step)
    run_ms(x->m, &x->r[i]);
  return NULL;
}

static double one_ms(sard_model *m, Request *r) {
  int64_t start = now_ns();
  call(&(Caller){m, r, 0, 1});
  return (double)(now_ns() - start) * 1e-6;
}

/* Both callers go through all requests. */
static double two_ms(sard_model *m, Request *r) {
  Caller other = {m, r, 0, 1};
  pthread_t id;
  int64_t start = now_ns();
  if (pthread_create(&id, NULL, call, &other))
    exit(1);
  call(&(Caller){m, r, 0, 1});
  pthread_join(id, NULL);
  return (double)(now_ns() - start) * 1e-6;
}

/* In turn, so that a slow spell of the machine meets both. The best of each. */
static void bench_callers(sard_model *m, Request *r) {
  double one = one_ms(m, r), two = two_ms(m, r);
  for (int i = 0; i < ROUNDS; i++) {
    double a = one_ms(m, r), b = two_ms(m, r);
    one = a < one ? a : one, two = b < two ? b : two;
  }
  printf("one caller: %d requests in %.1f ms; two: twice as many in %.1f ms, throughput %.2f (0.95 at least)\n", SHAPES,
         one, two, 2 * one / two);
}

void bench_traffic(const char *model) {
  static Request r[SHAPES];
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m = NULL;
  sard_error *err = NULL;
  uint64_t seed = 7;
  o.cache = "off";
  if (sard_load_file(NULL, model, &o, &m, &err)) {
    printf("requests: %s (bench/peers/models.py exports the model)\n", sard_error_text(err));
    sard_error_free(err);
    return;
  }
  printf("requests to %s, %d threads\n", model, sard_model_threads(m));
  for (int i = 0; i < SHAPES; i++)
    make_request(&r[i], m, &seed), run_ms(m, &r[i]);
  bench_shapes(m, r, &seed);
  bench_callers(m, r);
  sard_model_free(m);
}
