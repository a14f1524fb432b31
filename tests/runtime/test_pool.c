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

static atomic_int others;

/* The caller's first part ends when all other parts have been done, of which some are in its own range. */
static void wait_for_others(void *arg, int thread, int64_t begin, int64_t end) {
  (void)arg, (void)thread;
  if (begin)
    atomic_fetch_add(&others, (int)(end - begin));
  while (!begin && atomic_load(&others) < 7)
    sched_yield();
}

static void test_takes_over(void **state) {
  World *w = *state;
  Pool *p;
  assert_int_equal(pool_create(&w->c, 2, &p), ST_OK);
  for (int round = 0; round < 100; round++) {
    atomic_store(&others, 0);
    pool_run(p, 2, 8, wait_for_others, NULL);
    assert_int_equal(others, 7);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_every_part_once, setup, teardown),
      cmocka_unit_test_setup_teardown(test_two_callers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_takes_over, setup, teardown),
      cmocka_unit_test_setup_teardown(test_idle_costs_nothing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_after_fork, setup, teardown),
      cmocka_unit_test_setup_teardown(test_cgroup_quota, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
