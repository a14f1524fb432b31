/* machine.c - FMA peak by independent chains of multiply-adds; bandwidth by summing 256 MB.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/machine.h"

#include "support/ctx.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CHAINS = 12, TURNS = 200000, MEGABYTES = 256 };

typedef float V4 __attribute__((vector_size(16)));
typedef float V8 __attribute__((vector_size(32)));
typedef float V16 __attribute__((vector_size(64)));

/* x = x * a + b in CHAINS independent registers, as instructions: nothing for a compiler to do. */
#if defined(__x86_64__)
#define FMA(x, a, b)    __asm__ volatile("vfmadd213ps %2, %1, %0" : "+v"(x) : "v"(a), "v"(b))
#define MULADD(x, a, b) __asm__ volatile("mulps %1, %0\n\taddps %2, %0" : "+x"(x) : "x"(a), "x"(b))
#else
#define MULADD(x, a, b) __asm__ volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(x) : "w"(a), "w"(b))
#endif
#define PEAK(name, V, STEP, features)                                                                                  \
  features static float name(void) {                                                                                   \
    V a = {0.999f}, b = {0.001f}, x0 = a, x1 = a, x2 = a, x3 = a, x4 = a, x5 = a;                                      \
    V y0 = b, y1 = b, y2 = b, y3 = b, y4 = b, y5 = b;                                                                  \
    for (int t = 0; t < TURNS; t++) {                                                                                  \
      STEP(x0, a, b);                                                                                                  \
      STEP(x1, a, b);                                                                                                  \
      STEP(x2, a, b);                                                                                                  \
      STEP(x3, a, b);                                                                                                  \
      STEP(x4, a, b);                                                                                                  \
      STEP(x5, a, b);                                                                                                  \
      STEP(y0, a, b);                                                                                                  \
      STEP(y1, a, b);                                                                                                  \
      STEP(y2, a, b);                                                                                                  \
      STEP(y3, a, b);                                                                                                  \
      STEP(y4, a, b);                                                                                                  \
      STEP(y5, a, b);                                                                                                  \
    }                                                                                                                  \
    x0 += x1 + x2 + x3 + x4 + x5 + y0 + y1 + y2 + y3 + y4 + y5;                                                        \
    return x0[0];                                                                                                      \
  }
PEAK(peak4, V4, MULADD, )
#if defined(__x86_64__)
PEAK(peak8, V8, FMA, __attribute__((target("avx2,fma"))))
PEAK(peak16, V16, FMA, __attribute__((target("avx512f"))))
#endif

int64_t machine_thread_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double machine_peak(const char *level) {
  float (*fn)(void) = peak4;
  int lanes = 4;
#if defined(__x86_64__)
  if (!strncmp(level, "x86-64-v4", 9))
    fn = peak16, lanes = 16;
  else if (!strcmp(level, "x86-64-v3"))
    fn = peak8, lanes = 8;
#endif
  double best = 0;
  for (int i = 0; i < 40; i++) {
    int64_t t0 = machine_thread_ns();
    volatile float sink = fn();
    (void)sink;
    double gflops = 2.0 * lanes * CHAINS * TURNS / (double)(machine_thread_ns() - t0);
    best = gflops > best ? gflops : best;
  }
  return best;
}

typedef struct Reader {
  const V8 *data;
  size_t n;
  float sum;
} Reader;

static void *read_all(void *arg) {
  Reader *r = arg;
  V8 s[4] = {{0}};
  for (size_t i = 0; i + 4 <= r->n; i += 4)
    for (int j = 0; j < 4; j++)
      s[j] += r->data[i + (size_t)j];
  r->sum = s[0][0] + s[1][0] + s[2][0] + s[3][0];
  return NULL;
}

double machine_bandwidth(int threads) {
  size_t bytes = (size_t)MEGABYTES << 20, n = bytes / sizeof(V8) / (size_t)threads;
  V8 *data = aligned_alloc(64, bytes);
  double best = 0;
  if (!data)
    return 0;
  memset(data, 0, bytes);
  for (int turn = 0; turn < 24; turn++) {
    pthread_t id[64];
    Reader r[64];
    int64_t t0 = threads > 1 ? now_ns() : machine_thread_ns();
    for (int i = 0; i < threads && i < 64; i++) {
      r[i] = (Reader){.data = data + (size_t)i * n, .n = n};
      if (i && pthread_create(&id[i], NULL, read_all, &r[i]))
        abort();
    }
    read_all(&r[0]);
    for (int i = 1; i < threads && i < 64; i++)
      pthread_join(id[i], NULL);
    double gbs = (double)bytes / (double)((threads > 1 ? now_ns() : machine_thread_ns()) - t0);
    best = gbs > best ? gbs : best;
  }
  free(data);
  return best;
}

void machine_print_cpu(void) {
  char line[512];
  FILE *f = fopen("/proc/cpuinfo", "r");
  while (f && fgets(line, sizeof line, f))
    if (!strncmp(line, "model name", 10)) {
      fputs(strchr(line, ':') ? strchr(line, ':') + 2 : line, stdout);
      break;
    }
  if (f)
    fclose(f);
}

double machine_best_seconds(void (*fn)(void *), void *arg) {
  double best = 1e30, total = 0;
  int64_t t0 = machine_thread_ns();
  fn(arg);
  int64_t once = machine_thread_ns() - t0;
  int times = once < 1000000 ? (int)(2000000 / (once + 1)) + 1 : 1; /* a reading covers some milliseconds */
  for (int i = 0; i < 5 || (total < 0.3 && i < 10000); i++) {
    t0 = machine_thread_ns();
    for (int k = 0; k < times; k++)
      fn(arg);
    double t = (double)(machine_thread_ns() - t0) * 1e-9 / times;
    best = t < best ? t : best;
    total += t * times;
  }
  return best;
}

typedef struct Pair {
  void (*fn)(void *);
  void *arg;
  atomic_int turn, done; /* what is asked for, and what is done; -1: no more */
} Pair;

static void *second_thread(void *arg) {
  Pair *p = arg;
  for (int turn = 1;; turn++) {
    int asked;
    while ((asked = atomic_load(&p->turn)) != -1 && asked < turn)
      ;
    if (asked == -1)
      return NULL;
    p->fn(p->arg);
    atomic_store(&p->done, turn);
  }
}

double machine_best_pair(void (*fn)(void *), void *first, void *second) {
  Pair p = {.fn = fn, .arg = second};
  pthread_t id;
  double best = 1e30;
  if (pthread_create(&id, NULL, second_thread, &p))
    abort();
  int64_t begin = now_ns();
  for (int turn = 1; turn <= 5 || now_ns() - begin < 300000000; turn++) {
    int64_t t0 = now_ns();
    atomic_store(&p.turn, turn);
    fn(first);
    while (atomic_load(&p.done) < turn)
      ;
    double t = (double)(now_ns() - t0) * 1e-9;
    best = t < best ? t : best;
  }
  atomic_store(&p.turn, -1);
  pthread_join(id, NULL);
  return best;
}
