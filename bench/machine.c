/* machine.c - peaks by independent chains of multiply-adds, of floats and of what products of 8-bit integers use (codegen/integer.h);
 * bandwidth by summing 256 MB, all with the widest registers of a level.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/machine.h"

#include "support/ctx.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { CHAINS = 12, TURNS = 200000, MEGABYTES = 256, HUGE_PAGE = 2 << 20 };

typedef float V4 __attribute__((vector_size(16)));
typedef float V8 __attribute__((vector_size(32)));
typedef float V16 __attribute__((vector_size(64)));
typedef int32_t I4 __attribute__((vector_size(16)));
typedef int32_t I8 __attribute__((vector_size(32)));
typedef int32_t I16 __attribute__((vector_size(64)));

/* One step of a chain, x += a * b, as instructions: nothing for a compiler to do. PAIRS multiplies two 16-bit integers for each
 * sum, DOT four of 8 bits. */
#if defined(__x86_64__)
#define FMA(x, a, b)    __asm__ volatile("vfmadd213ps %2, %1, %0" : "+v"(x) : "v"(a), "v"(b))
#define MULADD(x, a, b) __asm__ volatile("mulps %1, %0\n\taddps %2, %0" : "+x"(x) : "x"(a), "x"(b))
#define DOT(x, a, b)    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(x) : "v"(a), "v"(b))
#define PAIRS(x, a, b)                                                                                                 \
  do {                                                                                                                 \
    __typeof__(x) pair;                                                                                                \
    __asm__ volatile("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+v"(x), "=&v"(pair) : "v"(a), "v"(b));              \
  } while (0)
#define PAIRS4(x, a, b)                                                                                                \
  do {                                                                                                                 \
    I4 pair = a;                                                                                                       \
    __asm__ volatile("pmaddwd %2, %1\n\tpaddd %1, %0" : "+x"(x), "+x"(pair) : "x"(b));                                 \
  } while (0)
#else
#define MULADD(x, a, b) __asm__ volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(x) : "w"(a), "w"(b))
#define PAIRS4(x, a, b) __asm__ volatile("mla %0.4s, %1.4s, %2.4s" : "+w"(x) : "w"(a), "w"(b))
#endif
#define PEAK(name, V, STEP, features)                                                                                  \
  features static float name(void) {                                                                                   \
    V a = {1}, b = {0}, x0 = a, x1 = a, x2 = a, x3 = a, x4 = a, x5 = a;                                                \
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
    return (float)x0[0];                                                                                               \
  }
PEAK(peak4, V4, MULADD, )
PEAK(pairs4, I4, PAIRS4, )
#if defined(__x86_64__)
PEAK(peak8, V8, FMA, __attribute__((target("avx2,fma"))))
PEAK(pairs8, I8, PAIRS, __attribute__((target("avx2"))))
PEAK(peak16, V16, FMA, __attribute__((target("avx512f"))))
PEAK(pairs16, I16, PAIRS, __attribute__((target("avx512bw"))))
PEAK(dot16, I16, DOT, __attribute__((target("avx512vnni"))))
#endif

int64_t machine_thread_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The sum of what is read, in sums that do not wait for one another; the wider the loads, the more lines are under way. */
#define READ(name, V, features)                                                                                        \
  features static float name(const char *data, size_t bytes) {                                                         \
    const V *v = (const void *)data;                                                                                   \
    V a = {0}, b = {0}, c = {0}, d = {0};                                                                              \
    for (size_t i = 0; i + 4 <= bytes / sizeof(V); i += 4)                                                             \
      a += v[i], b += v[i + 1], c += v[i + 2], d += v[i + 3];                                                          \
    a += b + c + d;                                                                                                    \
    return a[0];                                                                                                       \
  }
READ(read4, V4, )
#if defined(__x86_64__)
READ(read8, V8, __attribute__((target("avx2,fma"))))
READ(read16, V16, __attribute__((target("avx512f"))))
#endif

typedef struct Level {
  float (*peak)(void), (*integer_peak)(void);
  float (*read)(const char *data, size_t bytes);
  int lanes, multiplied; /* integers that integer_peak multiplies for each 32 bits */
} Level;

static Level level_named(const char *name) {
#if defined(__x86_64__)
  if (!strncmp(name, "x86-64-v4-", 10)) /* all of them have VNNI */
    return (Level){peak16, dot16, read16, 16, 4};
  if (!strcmp(name, "x86-64-v4"))
    return (Level){peak16, pairs16, read16, 16, 2};
  if (!strcmp(name, "x86-64-v3"))
    return (Level){peak8, pairs8, read8, 8, 2};
  return (Level){peak4, pairs4, read4, 4, 2};
#endif
  (void)name;
  return (Level){peak4, pairs4, read4, 4, 1};
}

/* Seconds that fn takes with these arguments, one for each thread. */
static double best_of(int threads, void (*fn)(void *), void *first, void *second) {
  return threads == 2 ? machine_best_pair(fn, first, second) : machine_best_seconds(fn, first);
}

static void run_peak(void *arg) {
  volatile float sink = ((const Level *)arg)->peak();
  (void)sink;
}

static void run_integer_peak(void *arg) {
  volatile float sink = ((const Level *)arg)->integer_peak();
  (void)sink;
}

double machine_peak(const char *level, int threads) {
  Level l = level_named(level);
  return 2e-9 * l.lanes * CHAINS * TURNS * threads / best_of(threads, run_peak, &l, &l);
}

double machine_integer_peak(const char *level, int threads) {
  Level l = level_named(level);
  return 2e-9 * l.lanes * l.multiplied * CHAINS * TURNS * threads / best_of(threads, run_integer_peak, &l, &l);
}

typedef struct Reader {
  Level level;
  const char *data;
  size_t bytes;
} Reader;

static void run_read(void *arg) {
  const Reader *r = arg;
  volatile float sink = r->level.read(r->data, r->bytes);
  (void)sink;
}

double machine_bandwidth(const char *level, int threads) {
  size_t bytes = (size_t)MEGABYTES << 20, each = bytes / (size_t)threads;
  char *data = aligned_alloc(HUGE_PAGE, bytes);
  if (!data)
    return 0;
  madvise(data, bytes, MADV_HUGEPAGE); /* refused, pages are small: a tenth less */
  memset(data, 0, bytes);
  Reader r[2] = {{level_named(level), data, each}, {level_named(level), data + each, each}};
  double seconds = best_of(threads, run_read, &r[0], &r[1]);
  free(data);
  return 1e-9 * (double)bytes / seconds;
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
