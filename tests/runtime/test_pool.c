/* test_pool.c - the thread pool, and how many threads a process may use.
 * SPDX-License-Identifier: Apache-2.0 */
#include "runtime/pool.h"
#include "support/cores.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* last: it defines fail */

typedef struct World {
  Alloc alloc;
  Ctx c;
} World;

static int setup(void **state) {
  World *w = calloc(1, sizeof *w);
  alloc_init_system(&w->alloc);
  ctx_open(&w->c, &w->alloc);
  *state = w;
  return 0;
}

static int teardown(void **state) {
  World *w = *state;
  ctx_close(&w->c);
  int left = (int)atomic_load(&w->alloc.used);
  free(w);
  return left; /* everything was given back */
}

static void count(void *arg, int thread, int64_t begin, int64_t end) {
  atomic_int *hits = arg;
  (void)thread;
  for (int64_t i = begin; i < end; i++)
    atomic_fetch_add(&hits[i], 1);
}

/* Of eight threads a run leaves one to every other run, and keeps one whatever there is of them. */
static void test_share(void **state) {
  World *w = *state;
  Pool *p;
  assert_int_equal(pool_create(&w->c, 8, &p), ST_OK);
  for (int runs = 0; runs < 10; runs++) {
    int want = runs < 2 ? 8 : runs < 8 ? 8 - (runs - 1) : 1;
    assert_int_equal(pool_share(p, 8), want);
    assert_int_equal(pool_share(p, 1), 1);
    pool_hold(p);
  }
  for (int runs = 0; runs < 10; runs++)
    pool_release(p);
  assert_int_equal(pool_share(p, 8), 8);
  pool_destroy(p);
  assert_int_equal(pool_share(NULL, 8), 8);
  assert_int_equal(pool_share(NULL, 0), 1);
}

/* Every part once, for any number of threads and parts, work after work. */
static void test_every_part_once(void **state) {
  World *w = *state;
  static const int64_t parts[] = {0, 1, 2, 3, 7, 64, 1000};
  for (int threads = 1; threads <= 9; threads += 2) {
    Pool *p;
    assert_int_equal(pool_create(&w->c, threads, &p), ST_OK);
    for (int round = 0; round < 50; round++)
      for (size_t k = 0; k < countof(parts); k++) {
        atomic_int hits[1000] = {0};
        pool_run(p, 1 + round % (threads + 1), parts[k], count, hits);
        for (int64_t i = 0; i < 1000; i++)
          assert_int_equal(hits[i], i < parts[k]);
      }
    pool_destroy(p);
  }
}

typedef struct Caller {
  Pool *p;
  atomic_int hits[333];
} Caller;

static void *call_often(void *arg) {
  Caller *x = arg;
  for (int i = 0; i < 2000; i++)
    pool_run(x->p, 8, 333, count, x->hits);
  return NULL;
}

/* Two callers of one pool: one of them works alone, both get all their parts done. */
static void test_two_callers(void **state) {
  World *w = *state;
  Pool *p;
  pthread_t id;
  static Caller a, b;
  assert_int_equal(pool_create(&w->c, 3, &p), ST_OK);
  memset(&a, 0, sizeof a), memset(&b, 0, sizeof b);
  a.p = b.p = p;
  assert_int_equal(pthread_create(&id, NULL, call_often, &a), 0);
  call_often(&b);
  pthread_join(id, NULL);
  for (int i = 0; i < 333; i++) {
    assert_int_equal(a.hits[i], 2000);
    assert_int_equal(b.hits[i], 2000);
  }
  pool_destroy(p);
}

enum { PARTS = 32 }; /* a piece of each thread's range is one part */
static atomic_int others;

/* The caller's first part ends when all other parts have been done, of which some are in its own range. */
static void wait_for_others(void *arg, int thread, int64_t begin, int64_t end) {
  (void)arg, (void)thread;
  if (begin)
    atomic_fetch_add(&others, (int)(end - begin));
  while (!begin && atomic_load(&others) < PARTS - 1)
    sched_yield();
}

static void test_takes_over(void **state) {
  World *w = *state;
  Pool *p;
  assert_int_equal(pool_create(&w->c, 2, &p), ST_OK);
  for (int round = 0; round < 100; round++) {
    atomic_store(&others, 0);
    pool_run(p, 2, PARTS, wait_for_others, NULL);
    assert_int_equal(others, PARTS - 1);
  }
  pool_destroy(p);
}

static double cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* After its work a pool sleeps: half a second of idling costs at most a few milliseconds of CPU. */
static void test_idle_costs_nothing(void **state) {
  World *w = *state;
  Pool *p;
  atomic_int hits[64] = {0};
  assert_int_equal(pool_create(&w->c, 4, &p), ST_OK);
  pool_run(p, 4, 64, count, hits);
  usleep(10000);
  double before = cpu_seconds();
  usleep(500000);
  assert_true(cpu_seconds() - before < 0.01);
  pool_destroy(p);
}

/* A forked child has none of the workers: it works alone and does not hang. */
static void test_after_fork(void **state) {
  World *w = *state;
  Pool *p;
  atomic_int hits[64] = {0};
  assert_int_equal(pool_create(&w->c, 4, &p), ST_OK);
  pool_run(p, 4, 64, count, hits);
  pid_t child = fork();
  if (!child) {
    alarm(5);
    pool_run(p, 4, 64, count, hits);
    _exit(hits[63] == 2 ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  pool_destroy(p);
}

static void put(const char *root, const char *path, const char *text) {
  char name[512];
  snprintf(name, sizeof name, "%s%s", root, path);
  for (char *s = name + 1; (s = strchr(s, '/')); *s++ = '/') {
    *s = 0;
    mkdir(name, 0700);
  }
  FILE *f = fopen(name, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static double quota_of(World *w, const char *root) {
  Cores cores;
  Arena *a = arena_create(&w->c);
  cores_find(a, root, &cores);
  arena_destroy(a);
  assert_true(cores.usable >= 1 && cores.usable <= cores.affinity && cores.affinity <= cores.online);
  if (cores.quota > 0 && cores.quota < cores.affinity)
    assert_true(cores.usable < cores.affinity + 1 && cores.usable >= cores.quota);
  return cores.quota;
}

static Status quotas(Ctx *c, void *arg) {
  World *w = arg;
  (void)c;
  char root[] = "/tmp/sard-cgroup-XXXXXX", cmd[64];
  assert_non_null(mkdtemp(root));
  assert_true(quota_of(w, root) == 0); /* no /proc, no /sys */
  put(root, "/proc/self/cgroup", "0::/user.slice/job\n");
  put(root, "/sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
  assert_true(quota_of(w, root) == 0);
  put(root, "/sys/fs/cgroup/user.slice/cpu.max", "50000 100000\n"); /* a group above limits too */
  assert_true(quota_of(w, root) == 0.5);
  put(root, "/sys/fs/cgroup/user.slice/job/cpu.max", "25000 100000\n"); /* the least counts */
  assert_true(quota_of(w, root) == 0.25);
  put(root, "/proc/self/cgroup", "4:cpu,cpuacct:/old\n"); /* version 1 */
  put(root, "/sys/fs/cgroup/cpu/old/cpu.cfs_quota_us", "150000\n");
  put(root, "/sys/fs/cgroup/cpu/old/cpu.cfs_period_us", "100000\n");
  assert_true(quota_of(w, root) == 1.5);
  put(root, "/sys/fs/cgroup/cpu/old/cpu.cfs_quota_us", "-1\n");
  assert_true(quota_of(w, root) == 0);
  snprintf(cmd, sizeof cmd, "rm -r %s", root);
  assert_int_equal(system(cmd), 0);
  return ST_OK;
}

static void test_cgroup_quota(void **state) {
  World *w = *state;
  assert_int_equal(ctx_protect(&w->c, quotas, w), ST_OK);
}

/* Where the stack of the thread that does a part is. No part ends before all have begun, so each has a thread of its own. */
typedef struct Meeting {
  pthread_barrier_t all;
  atomic_uintptr_t at[8];
} Meeting;

static void where(void *arg, int thread, int64_t begin, int64_t end) {
  Meeting *m = arg;
  (void)begin, (void)end;
  pthread_barrier_wait(&m->all);
  atomic_store(&m->at[thread], (uintptr_t)__builtin_frame_address(0));
}

typedef struct Bump {
  char *memory;
  size_t used, size;
} Bump;

static void *bump_get(void *self, size_t size, size_t align) {
  Bump *b = self;
  size_t at = (b->used + align - 1) / align * align;
  if (at > b->size || size > b->size - at)
    return NULL;
  b->used = at + size;
  return b->memory + at;
}

static void bump_put(void *self, void *p, size_t size) { (void)self, (void)p, (void)size; }

/* Threads in stacks of the allocator's memory, all of them from the start. */
static void test_own_stacks(void **state) {
  enum { STACK = 128 << 10, THREADS = 4, ROOM = THREADS * STACK };
  World *w = *state;
  Pool *p;
  Meeting m = {0};
  Bump b = {.memory = aligned_alloc(4096, ROOM), .size = ROOM};
  Alloc system = w->alloc;
  w->alloc.get = bump_get, w->alloc.put = bump_put, w->alloc.self = &b;
  assert_int_equal(pool_create(&w->c, POOL_MAX_THREADS, &p), ST_OK);
  assert_int_equal(pool_start(&w->c, p, THREADS, STACK), ST_OK);
  pthread_barrier_init(&m.all, NULL, THREADS);
  for (int round = 0; round < 50; round++)
    pool_run(p, THREADS, THREADS, where, &m);
  pthread_barrier_destroy(&m.all);
  for (int i = 1; i < THREADS; i++) {
    uintptr_t x = atomic_load(&m.at[i]);
    if (x <= (uintptr_t)b.memory || x >= (uintptr_t)b.memory + ROOM)
      fail_msg("thread %d is at %p, not in %p", i, (void *)x, (void *)b.memory);
  }
  pool_destroy(p);
  b.used = 0; /* as if new: two stacks find room, three do not */
  assert_int_equal(pool_create(&w->c, POOL_MAX_THREADS, &p), ST_OK);
  assert_int_equal(pool_start(&w->c, p, THREADS, ROOM / 3), ST_MEMORY);
  pool_destroy(p);
  w->alloc.get = system.get, w->alloc.put = system.put, w->alloc.self = system.self;
  free(b.memory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_share, setup, teardown),
      cmocka_unit_test_setup_teardown(test_every_part_once, setup, teardown),
      cmocka_unit_test_setup_teardown(test_own_stacks, setup, teardown),
      cmocka_unit_test_setup_teardown(test_two_callers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_takes_over, setup, teardown),
      cmocka_unit_test_setup_teardown(test_idle_costs_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_after_fork, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cgroup_quota, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
