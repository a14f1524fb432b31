/* runs.h - what the tests of runs over the null driver share: the driver in this process, models on it, token inputs, comparison.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_RUNS_H
#define SARD_TESTS_CUDA_RUNS_H

#include "sard.h"

#include "tests/cuda/null/null.h"

#include <dlfcn.h>
#include <libgen.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FIXTURE(name) SOURCE_DIR "/models/fixtures/" name "/model.onnx"

static char null_dir[1024];
static struct {
  void (*fail_at)(long long at, int error);
  long long (*calls)(void);
  size_t (*allocations)(void);
  int (*left)(void);
  int (*launches)(void);
  void *(*memory)(uint64_t address, size_t size);
#define CU(library, symbol, parameters) int(*symbol) parameters;
#include "cuda/cuda.def"
#undef CU
} null;

static inline void find_null(void *lib, const char *name, void *function) {
  void *p = dlsym(lib, name);
  memcpy(function, &p, sizeof p);
}

/* The library stays loaded: the runtime never unloads it. */
static inline int load_null(void **unused) {
  (void)unused;
  char path[1100];
  ssize_t n = readlink("/proc/self/exe", null_dir, sizeof null_dir - 10);
  if (n < 0 || !sard_device_available("cpu"))
    return -1;
  null_dir[n] = 0;
  strcat(dirname(null_dir), "/null");
  setenv("SARD_CUDA_DIR", null_dir, 1);
  snprintf(path, sizeof path, "%s/libcuda.so.1", null_dir);
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  assert_non_null(lib);
  find_null(lib, "null_fail", &null.fail_at), find_null(lib, "null_calls", &null.calls);
  find_null(lib, "null_allocations", &null.allocations), find_null(lib, "null_left", &null.left);
  find_null(lib, "null_memory", &null.memory), find_null(lib, "null_launches", &null.launches);
#define CU(library, symbol, parameters) find_null(lib, #symbol, &null.symbol);
#include "cuda/cuda.def"
#undef CU
  return 0;
}

/* --- models and inputs --- */

static inline sard_model *load_on(const char *path, const char *device) {
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m = NULL;
  sard_error *err = NULL;
  o.device = device, o.cache = "off";
  if (sard_load_file(NULL, path, &o, &m, &err))
    fail_msg("%s", sard_error_text(err));
  return m;
}

enum { MOST = 1 << 12 };
typedef struct Feed {
  sard_tensor t[2];
  int64_t id[MOST], mask[MOST];
} Feed;

/* Token numbers, and a mask of ones; of so many sequences of that length. */
static inline const sard_tensor *tokens(Feed *f, int64_t batch, int64_t length, int64_t salt) {
  for (int64_t i = 0; i < batch * length; i++)
    f->id[i] = (i * 7 + salt) % 23 + 1, f->mask[i] = 1;
  f->t[0] = (sard_tensor){.data = f->id, .dtype = SARD_I64, .rank = 2, .dim = {batch, length}};
  f->t[1] = f->t[0];
  f->t[1].data = f->mask;
  return f->t;
}

static inline sard_result *run_with(const sard_model *m, const sard_tensor *in, size_t n, const sard_run_options *o) {
  sard_error *err = NULL;
  sard_result *r = NULL;
  if (sard_run(m, in, n, o, &r, &err))
    fail_msg("%s", sard_error_text(err));
  return r;
}

static inline sard_result *run(const sard_model *m, const sard_tensor *in, size_t n) {
  return run_with(m, in, n, NULL);
}

static inline sard_tensor output(const sard_result *r, size_t i) {
  sard_tensor t;
  assert_int_equal(sard_result_tensor(r, i, &t), SARD_OK);
  return t;
}

/* To 1e-5 of the largest magnitude; equal: bit for bit. */
static inline void same(const sard_tensor *x, const sard_tensor *y, bool equal) {
  int64_t n = sard_tensor_count(x);
  float most = 0, off = 0;
  assert_int_equal(n, sard_tensor_count(y));
  if (equal) {
    assert_memory_equal(x->data, y->data, (size_t)sard_tensor_bytes(x));
    return;
  }
  assert_int_equal(x->dtype, SARD_F32);
  for (int64_t i = 0; i < n; i++) {
    float a = ((const float *)x->data)[i], b = ((const float *)y->data)[i], d = a > b ? a - b : b - a;
    assert_true(a == a);
    most = a > most ? a : -a > most ? -a : most;
    off = d > off ? d : off;
  }
  assert_true(most > 0 && off <= 1e-5f * most);
}

static inline void all_same(const sard_result *x, const sard_result *y, bool equal) {
  for (size_t i = 0; i < sard_result_count(x); i++) {
    sard_tensor a = output(x, i), b = output(y, i);
    same(&a, &b, equal);
  }
}

static inline sard_graphs graphs_of(const sard_model *m) {
  sard_graphs g = SARD_GRAPHS_INIT;
  assert_int_equal(sard_model_graphs(m, &g), SARD_OK);
  return g;
}

#endif
