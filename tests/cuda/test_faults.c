/* test_faults.c - a GPU that fails: every call of the driver and of cuBLASLt in turn gives an error, one after which the GPU is lost
 * or one that passes, while a model is loaded and run in all ways. Each time it is an error of the right kind, nothing is left behind,
 * and what can go on goes on. Too little memory likewise.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/runs.h"

#include "tests/frontend/models.h"

enum { PASSES = 1, NO_MEMORY = 2, ECC = 214, ILLEGAL = 700, LAUNCH = 719 }; /* INVALID_VALUE, … */
enum { N = 6 };

static Pb bytes;
static char cache[] = "/tmp/sard-faults-XXXXXX"; /* compiled once: the faults are the driver's */

/* A product, kernels around it, a check of an index. */
static int make_model(void **unused) {
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "n 6"), put_value(&g, GRAPH_INPUT, "i", I64, "1");
  put_op(&g, "a", "Neg", "x", "a");
  put_op(&g, "b", "MatMul", "a w", "b");
  put_op(&g, "c", "Softmax", "b", "c");
  put_op(&g, "d", "Gather", "c i", "y");
  float w[N * N];
  for (int i = 0; i < N * N; i++)
    w[i] = (float)(i % 5) - 2;
  put_floats(&g, "v", w, N * N), put_ints(&g, "s", (int64_t[]){N, N}, 2);
  put_op(&g, "r", "Reshape", "v s", "w");
  put_value(&g, GRAPH_OUTPUT, "y", F32, "1 6");
  bytes = model_of(&g, 11, 24);
  return mkdtemp(cache) ? load_null(unused) : -1;
}

static int free_model(void **unused) {
  (void)unused;
  free(bytes.b);
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", cache);
  return system(command);
}

static sard_status load(sard_env *env, const char *device, const char *where, sard_model **m, sard_error **err) {
  sard_options o = SARD_OPTIONS_INIT;
  o.device = device, o.cache = where;
  return sard_load_bytes(env, bytes.b, bytes.n, NULL, &o, m, err);
}

static float x[N * N];
static int64_t row = 1;

static sard_status run_rows(const sard_model *m, int64_t rows, bool there, sard_error **err) {
  const sard_tensor in[] = {{.data = x, .dtype = SARD_F32, .rank = 2, .dim = {rows, N}},
                            {.data = &row, .dtype = SARD_I64, .rank = 1, .dim = {1}}};
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  sard_result *r = NULL;
  o.outputs_on_device = there;
  sard_status st = sard_run(m, in, 2, &o, &r, err);
  sard_result_free(r);
  return st;
}

/* Step by step, recorded, replayed; other shapes, which need more memory, and the first again, recorded anew; an output there. */
static sard_status run_all_ways(const sard_model *m, sard_error **err) {
  static const int64_t rows[] = {2, 2, 2, N, 2};
  sard_status st = SARD_OK;
  for (size_t i = 0; i < sizeof rows / sizeof *rows && !st; i++)
    st = run_rows(m, rows[i], false, err);
  return st ? st : run_rows(m, 2, true, err);
}

static void right_error(sard_status st, sard_error *err, int error) {
  sard_status want = error == NO_MEMORY ? SARD_ERROR_MEMORY : SARD_ERROR_DEVICE;
  if (st && st != SARD_ERROR_DEVICE && st != want)
    fail_msg("status %d: %s", st, sard_error_text(err));
  if (st)
    assert_true(strlen(sard_error_message(err)) > 10);
  sard_error_free(err);
}

/* How many calls there are until nothing fails any more; 0 at the end of the context. */
static void each_call(int error, bool load_fails) {
  sard_env *env;
  sard_env_options eo = SARD_ENV_OPTIONS_INIT;
  long long k = 1, failed = 0;
  assert_int_equal(sard_env_create(&eo, &env, NULL), SARD_OK);
  for (bool reached = true; reached; k++) {
    sard_model *m = NULL;
    sard_error *err = NULL;
    size_t used, peak;
    if (load_fails)
      null.fail_at(k, error);
    sard_status st = load(env, "cuda", load_fails ? "off" : cache, &m, &err);
    if (!load_fails) {
      assert_int_equal(st, SARD_OK);
      null.fail_at(k, error);
    }
    if (!st && !load_fails)
      st = run_all_ways(m, &err);
    reached = null.calls() >= k;
    failed += st != SARD_OK;
    right_error(st, err, error);
    if (m && error == PASSES && !load_fails) { /* the model is as good as before */
      null.fail_at(0, 0);
      assert_int_equal(run_all_ways(m, NULL), SARD_OK);
    } else if (m && st && error != NO_MEMORY && error != PASSES) {
      err = NULL;
      assert_int_equal(run_rows(m, 2, false, &err), SARD_ERROR_DEVICE); /* and it says so again */
      assert_non_null(strstr(sard_error_hint(err), "lost"));
      sard_error_free(err);
    }
    sard_model_free(m);
    null.fail_at(0, 0);
    assert_int_equal(null.left(), 0);
    sard_env_memory(env, &used, &peak);
    assert_int_equal(used, 0);
  }
  assert_true(failed > (load_fails ? 12 : 60));
  sard_env_free(env);
}

static void cpu_goes_on(void) {
  sard_model *m = NULL;
  assert_int_equal(load(NULL, "cpu", "off", &m, NULL), SARD_OK);
  assert_int_equal(run_rows(m, 2, false, NULL), SARD_OK);
  sard_model_free(m);
}

static void loading(void **unused) {
  (void)unused;
  static const int error[] = {PASSES, NO_MEMORY, ILLEGAL};
  for (size_t i = 0; i < sizeof error / sizeof *error; i++)
    each_call(error[i], true);
  cpu_goes_on();
}

static void running(void **unused) {
  (void)unused;
  static const int error[] = {PASSES, NO_MEMORY, ECC, ILLEGAL, LAUNCH};
  for (size_t i = 0; i < sizeof error / sizeof *error; i++)
    each_call(error[i], false);
  cpu_goes_on();
}

/* What was lost on the GPU does not touch models on the CPU that were there before, and a new context begins anew. */
static void lost(void **unused) {
  (void)unused;
  sard_model *gpu = NULL, *cpu = NULL;
  sard_error *err = NULL;
  assert_int_equal(load(NULL, "cpu", "off", &cpu, NULL), SARD_OK);
  assert_int_equal(load(NULL, "cuda", "off", &gpu, NULL), SARD_OK);
  null.fail_at(20, ILLEGAL);
  assert_int_equal(run_all_ways(gpu, &err), SARD_ERROR_DEVICE);
  assert_non_null(strstr(sard_error_text(err), "CUDA_ERROR_ILLEGAL_ADDRESS"));
  sard_error_free(err);
  assert_int_equal(run_rows(cpu, 2, false, NULL), SARD_OK);
  sard_model_free(gpu);
  assert_int_equal(load(NULL, "cuda", "off", &gpu, NULL), SARD_OK);
  assert_int_equal(run_all_ways(gpu, NULL), SARD_OK);
  sard_model_free(gpu), sard_model_free(cpu);
}

/* A run that does not fit is an error of its own; what other runs have left is given back for one that does. */
static void little_memory(void **unused) {
  (void)unused;
  sard_model *m = NULL;
  sard_error *err = NULL;
  Feed f;
  setenv("SARD_NULL_MEMORY", "20", 1);
  assert_int_equal(load(NULL, "cuda", "off", &m, &err), SARD_ERROR_MEMORY);
  assert_non_null(strstr(sard_error_text(err), "bytes left"));
  sard_error_free(err);
  unsetenv("SARD_NULL_MEMORY");
  m = load_on(FIXTURE("bert_qa/ts17"), "cuda");
  setenv("SARD_NULL_MEMORY", "300000", 1);
  sard_result_free(run(m, tokens(&f, 2, 5, 0), 2));
  sard_result *r = NULL;
  err = NULL;
  assert_int_equal(sard_run(m, tokens(&f, 60, 60, 0), 2, NULL, &r, &err), SARD_ERROR_MEMORY);
  sard_error_free(err);
  for (int i = 0; i < 3; i++)
    sard_result_free(run(m, tokens(&f, 2, 5, i), 2));
  unsetenv("SARD_NULL_MEMORY");
  sard_model_free(m);
  assert_int_equal(null.left(), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(loading), cmocka_unit_test(running), cmocka_unit_test(lost),
                                     cmocka_unit_test(little_memory)};
  return cmocka_run_group_tests(tests, make_model, free_model);
}
