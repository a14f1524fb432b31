/* start.c - what ahead.py starts to measure a compiled library: start LIBRARY RUNS INPUT… opens it, runs it with these .npy files, and
 * prints a line of milliseconds since the program began: opened, first result, then the median of RUNS further runs; it stays until
 * its input ends. start --touch FILE: milliseconds to read a byte of every page of the mapped file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sard_types.h"
#include "start/npy.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { INPUTS = 128 };

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static int problem(const char *what) {
  fprintf(stderr, "%s\n", what ? what : "?");
  return 1;
}

static int touch(const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY);
  double begin = now_ms();
  if (fd < 0 || fstat(fd, &st))
    return problem(path);
  const volatile char *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED)
    return problem(path);
  int sum = 0;
  for (off_t i = 0; i < st.st_size; i += 4096)
    sum += p[i];
  printf("%.3f %d\n", now_ms() - begin, sum);
  return 0;
}

static double one_run(const sard_compiled_api *api, const sard_compiled *m, const sard_tensor *in, size_t n) {
  sard_result *r;
  double begin = now_ms();
  if (api->call(m, in, n, &r)) {
    problem(api->error());
    exit(1);
  }
  double end = now_ms();
  api->result_free(r);
  return end - begin;
}

int main(int argc, char **argv) {
  static sard_tensor in[INPUTS];
  union {
    void *p;
    const sard_compiled_api *(*fn)(void);
  } u = {0};
  sard_compiled_options o = SARD_COMPILED_OPTIONS_INIT;
  sard_compiled *m;
  if (argc == 3 && !strcmp(argv[1], "--touch"))
    return touch(argv[2]);
  int n = argc - 3, runs = argc > 2 ? atoi(argv[2]) : 0;
  double *ms = calloc((size_t)runs + 1, sizeof *ms);
  if (n < 0 || n > INPUTS || runs < 1 || !ms)
    return problem("usage: start LIBRARY RUNS INPUT.npy ...");
  for (int i = 0; i < n; i++)
    if (npy_load(argv[i + 3], &in[i]))
      return problem(argv[i + 3]);
  double begin = now_ms();
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (!library || !(u.p = dlsym(library, "sard_compiled_model")))
    return problem(dlerror());
  const sard_compiled_api *api = u.fn();
  o.threads = 2;
  if (api->init(&o, &m))
    return problem(api->error());
  double opened = now_ms() - begin;
  one_run(api, m, in, (size_t)n);
  double first = now_ms() - begin;
  for (int i = 0; i < runs; i++)
    ms[i] = one_run(api, m, in, (size_t)n);
  qsort(ms, (size_t)runs, sizeof *ms, by_size);
  printf("%.3f %.3f %.3f\n", opened, first, ms[runs / 2]);
  fflush(stdout);
  while (getchar() != EOF)
    ;
  api->free(m);
  free(ms);
  return 0;
}
