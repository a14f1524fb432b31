/* test_api.c - the public C API on small models: description, runs into all kinds of memory, options, limits, threads,
 * failing allocations, weight files that shrink.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DIR   SOURCE_DIR "/models/fixtures/encoder/dynamo/"
#define MODEL DIR "model.onnx" /* tokens i64[seq, batch] -> logits f32[seq, batch, 96] */
enum { VOCAB = 96 };

static sard_model *load(sard_env *env, const char *path) {
  sard_model *m = NULL;
  sard_error *err = NULL;
  if (sard_load_file(env, path, NULL, &m, &err)) {
    print_error("%s\n", sard_error_text(err));
    fail_msg("cannot load");
  }
  return m;
}

static sard_tensor tokens_of(int64_t *v, int64_t seq, int64_t batch) {
  for (int64_t i = 0; i < seq * batch; i++)
    v[i] = (i * 7 + 3) % VOCAB;
  return (sard_tensor){.data = v, .dtype = SARD_I64, .rank = 2, .dim = {seq, batch}};
}

static void expect(sard_status got, sard_status want, sard_error **err, const char *part) {
  if (got != want || !strstr(sard_error_text(*err), part))
    print_error("status %d, expected %d: %s\n", got, want, sard_error_text(*err));
  assert_int_equal(got, want);
  assert_int_equal(sard_error_status(*err), want);
  assert_non_null(strstr(sard_error_text(*err), part));
  sard_error_free(*err);
  *err = NULL;
}

/* Structs that the library fills in have a size: nothing behind it is written, and without one nothing at all. */
static void test_sizes(void **state) {
  (void)state;
  sard_model *m = load(NULL, MODEL);
  sard_step s;
  sard_io io;
  memset(&s, 0x5a, sizeof s), memset(&io, 0x5a, sizeof io);
  s.size = offsetof(sard_step, why), io.size = offsetof(sard_io, optional); /* a program from before these fields */
  const sard_step untouched = s;
  assert_int_equal(sard_step_info(m, 0, &s), SARD_OK);
  assert_true(*s.node && s.size == offsetof(sard_step, why));
  assert_memory_equal(&s.why, &untouched.why, sizeof s - offsetof(sard_step, why));
  assert_int_equal(sard_input(m, 0, &io), SARD_OK);
  assert_int_equal(io.rank, 2);
  assert_int_equal(*(unsigned char *)&io.optional, 0x5a);
  s.size = 0, io.size = 1;
  assert_int_equal(sard_step_info(m, 0, &s), SARD_ERROR_USAGE);
  assert_int_equal(sard_input(m, 0, &io), SARD_ERROR_USAGE);
  assert_int_equal(sard_output(m, 0, &io), SARD_ERROR_USAGE);
  int64_t v[6];
  sard_tensor in = tokens_of(v, 3, 2);
  sard_memory p;
  memset(&p, 0x5a, sizeof p);
  p.size = offsetof(sard_memory, peak);
  assert_int_equal(sard_plan(m, &in, 1, &p, NULL), SARD_OK);
  assert_int_equal(p.outputs, 4 * 3 * 2 * VOCAB);
  assert_int_equal(*(unsigned char *)&p.peak, 0x5a);
  p.size = 0;
  assert_int_equal(sard_plan(m, &in, 1, &p, NULL), SARD_ERROR_USAGE);
  p.size = sizeof p;
  assert_int_equal(sard_plan(m, NULL, 1, &p, NULL), SARD_ERROR_USAGE);
  assert_int_equal(sard_plan(m, &in, 0, &p, NULL), SARD_ERROR_USAGE);
  sard_model_free(m);
}

static void test_description(void **state) {
  sard_io io = SARD_IO_INIT;
  sard_step s = SARD_STEP_INIT;
  (void)state;
  sard_model *m = load(NULL, MODEL);
  assert_int_equal(sard_version(), SARD_VERSION_MAJOR * 10000 + SARD_VERSION_MINOR * 100 + SARD_VERSION_PATCH);
  assert_string_equal(sard_version_string(), SARD_VERSION_STRING);
  assert_int_equal(sard_input_count(m), 1);
  assert_int_equal(sard_output_count(m), 1);
  assert_int_equal(sard_input(m, 0, &io), SARD_OK);
  assert_string_equal(io.name, "tokens");
  assert_true(io.dtype == SARD_I64 && io.rank == 2 && io.dim[0] == -1 && io.dim[1] == -1 && !io.optional &&
              io.kind == SARD_KIND_TENSOR);
  assert_int_equal(sard_output(m, 0, &io), SARD_OK);
  assert_string_equal(io.name, "logits");
  assert_true(io.dtype == SARD_F32 && io.rank == 3 && io.dim[0] == -1 && io.dim[2] == VOCAB);
  assert_string_equal(sard_input_dim_text(m, 0, 0), "seq");
  assert_string_equal(sard_output_dim_text(m, 0, 1), "batch");
  assert_string_equal(sard_output_dim_text(m, 0, 2), "96");
  assert_null(sard_input_dim_text(m, 0, 2));
  assert_null(sard_input_dim_text(m, 0, -1));
  assert_null(sard_input_dim_text(m, 1, 0));
  assert_int_equal(sard_input_index(m, "tokens"), 0);
  assert_int_equal(sard_input_index(m, "logits"), -1);
  assert_int_equal(sard_output_index(m, "logits"), 0);
  assert_int_equal(sard_symbol_count(m), 2); /* of the input shapes; what inference made up is not listed */
  assert_string_equal(sard_symbol_name(m, 0), "seq");
  assert_string_equal(sard_symbol_name(m, 1), "batch");
  assert_null(sard_symbol_name(m, 2));
  assert_int_equal(sard_input(m, 1, &io), SARD_ERROR_USAGE);
  assert_true(sard_step_count(m) > 5);
  for (size_t i = 0; i < sard_step_count(m); i++)
    assert_true(!sard_step_info(m, i, &s) && *s.op && s.node && s.module && s.source);
  assert_int_equal(sard_step_info(m, sard_step_count(m), &s), SARD_ERROR_USAGE);
  assert_null(sard_metadata(m, "no such key"));
  for (size_t i = 0; sard_metadata_key(m, i); i++)
    assert_non_null(sard_metadata(m, sard_metadata_key(m, i)));
  sard_times t = sard_model_times(m);
  assert_true(t.import_ms > 0 && t.passes_ms > 0 && t.compile_ms > 0);
  sard_model_free(m);
}

static void test_run(void **state) {
  int64_t v[6], dim[SARD_MAX_RANK];
  int32_t rank;
  sard_result *r;
  sard_tensor in = tokens_of(v, 3, 2), out;
  sard_error *err = NULL;
  (void)state;
  sard_model *m = load(NULL, MODEL);
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, &err), SARD_OK);
  assert_int_equal(sard_result_count(r), 1);
  assert_int_equal(sard_result_tensor(r, 0, &out), SARD_OK);
  assert_true(out.dtype == SARD_F32 && out.rank == 3 && out.dim[0] == 3 && out.dim[1] == 2 && out.dim[2] == VOCAB &&
              !out.strided);
  assert_int_equal(sard_tensor_count(&out), 3 * 2 * VOCAB);
  assert_int_equal(sard_tensor_bytes(&out), 4 * 3 * 2 * VOCAB);
  assert_int_equal(sard_result_items(r, 0), -1);
  assert_int_equal(sard_result_tensor(r, 1, &out), SARD_ERROR_USAGE);
  assert_int_equal(sard_result_item(r, 0, 0, &out), SARD_ERROR_USAGE);
  assert_int_equal(sard_output_shape(m, 0, &in, 1, dim, &rank, &err), SARD_OK);
  assert_true(rank == 3 && dim[0] == 3 && dim[1] == 2 && dim[2] == VOCAB);
  expect(sard_output_shape(m, 5, &in, 1, dim, &rank, &err), SARD_ERROR_USAGE, &err, "there is no output 5");
  sard_result_free(r);
  sard_model_free(m);
}

static sard_result *reference(sard_model *m, const sard_tensor *in, sard_tensor *out) {
  sard_result *r;
  assert_int_equal(sard_run(m, in, 1, NULL, &r, NULL), SARD_OK);
  assert_int_equal(sard_result_tensor(r, 0, out), SARD_OK);
  return r;
}

/* Dense, strided, reversed and transposed memory, on both sides. */
static void test_strides(void **state) {
  int64_t v[6], wide[20] = {0}, back[6];
  static float dense[3 * 2 * VOCAB], spread[3 * 2 * 2 * VOCAB + 8];
  sard_tensor in = tokens_of(v, 3, 2), want;
  sard_error *err = NULL;
  (void)state;
  sard_model *m = load(NULL, MODEL);
  sard_result *r = reference(m, &in, &want);

  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 2; j++)
      wide[i * 5 + j * 2] = v[i * 2 + j], back[5 - (i * 2 + j)] = v[i * 2 + j];
  sard_tensor strided = {.data = wide, .dtype = SARD_I64, .rank = 2, .dim = {3, 2}, .stride = {5, 2}, .strided = true};
  sard_tensor reversed = {
      .data = back + 5, .dtype = SARD_I64, .rank = 2, .dim = {3, 2}, .stride = {-2, -1}, .strided = true};
  sard_tensor out = {.data = dense, .dtype = SARD_F32, .rank = 3, .dim = {3, 2, VOCAB}};
  const sard_tensor *ins[] = {&in, &strided, &reversed};
  for (int i = 0; i < 3; i++) {
    memset(dense, 0, sizeof dense);
    assert_int_equal(sard_run_into(m, ins[i], 1, &out, 1, NULL, &err), SARD_OK);
    assert_memory_equal(dense, want.data, sizeof dense);
  }
  /* output transposed in memory: element (i, j, k) at 2 * (k * 6 + i * 2 + j) */
  sard_tensor turned = {
      .data = spread, .dtype = SARD_F32, .rank = 3, .dim = {3, 2, VOCAB}, .stride = {4, 2, 12}, .strided = true};
  memset(spread, 0x7f, sizeof spread);
  assert_int_equal(sard_run_into(m, &in, 1, &turned, 1, NULL, &err), SARD_OK);
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 2; j++)
      for (int k = 0; k < VOCAB; k++)
        assert_memory_equal(&spread[i * 4 + j * 2 + k * 12], &dense[(i * 2 + j) * VOCAB + k], sizeof(float));
  assert_int_equal(((unsigned char *)spread)[4], 0x7f); /* what lies between is left alone */
  /* strides that say "dense" */
  sard_tensor said = out;
  said.strided = true, said.stride[0] = 2 * VOCAB, said.stride[1] = VOCAB, said.stride[2] = 1;
  memset(dense, 0, sizeof dense);
  assert_int_equal(sard_run_into(m, &in, 1, &said, 1, NULL, &err), SARD_OK);
  assert_memory_equal(dense, want.data, sizeof dense);
  /* not wanted; then the wrong shape, and strides beyond all memory */
  assert_int_equal(sard_run_into(m, &in, 1, &(sard_tensor){0}, 1, NULL, &err), SARD_OK);
  out.dim[2] = 95;
  expect(sard_run_into(m, &in, 1, &out, 1, NULL, &err), SARD_ERROR_USAGE, &err,
         "output 'logits' is f32[3,2,96] but the memory given for it is f32[3,2,95]");
  turned.dim[2] = 95;
  expect(sard_run_into(m, &in, 1, &turned, 1, NULL, &err), SARD_ERROR_USAGE, &err,
         "but the memory given for it is f32[3,2,95]");
  strided.stride[0] = INT64_MAX / 4;
  expect(sard_run(m, &strided, 1, NULL, &(sard_result *){0}, &err), SARD_ERROR_USAGE, &err, "strides reach further");
  strided.stride[0] = INT64_MIN;
  expect(sard_run(m, &strided, 1, NULL, &(sard_result *){0}, &err), SARD_ERROR_USAGE, &err, "strides reach further");
  sard_result_free(r);
  sard_model_free(m);
}

static void test_wrong_arguments(void **state) {
  int64_t v[6], dim[SARD_MAX_RANK];
  int32_t rank;
  sard_tensor in = tokens_of(v, 3, 2), two[2] = {in, in};
  sard_error *err = NULL;
  sard_model *none = (sard_model *)&dim;
  sard_result *r;
  (void)state;
  sard_model *m = load(NULL, MODEL);
  expect(sard_load_file(NULL, NULL, NULL, &none, &err), SARD_ERROR_USAGE, &err, "path is NULL");
  expect(sard_load_file(NULL, MODEL, NULL, NULL, &err), SARD_ERROR_USAGE, &err, "NULL argument");
  expect(sard_load_bytes(NULL, NULL, 3, NULL, NULL, &none, &err), SARD_ERROR_USAGE, &err, "data is NULL");
  assert_ptr_equal(none, &dim); /* nothing else was changed */
  expect(sard_run(NULL, &in, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "NULL argument");
  expect(sard_run(m, &in, 1, NULL, NULL, &err), SARD_ERROR_USAGE, &err, "NULL argument");
  expect(sard_run(m, NULL, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "inputs is NULL");
  expect(sard_run(m, NULL, 0, NULL, &r, &err), SARD_ERROR_USAGE, &err, "0 inputs given, the model takes 1");
  expect(sard_run(m, two, 2, NULL, &r, &err), SARD_ERROR_USAGE, &err, "2 inputs given, the model takes 1");
  expect(sard_run(m, &(sard_tensor){0}, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "input 'tokens' is not given");
  expect(sard_run_into(m, &in, 1, NULL, 0, NULL, &err), SARD_ERROR_USAGE, &err, "0 outputs given, the model has 1");
  expect(sard_run_into(m, &in, 1, NULL, 1, NULL, &err), SARD_ERROR_USAGE, &err, "NULL argument");
  expect(sard_output_shape(m, 0, NULL, 1, dim, &rank, &err), SARD_ERROR_USAGE, &err, "NULL argument");
  in.data = NULL;
  expect(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "data is NULL");
  in.data = v, in.rank = 17;
  expect(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "rank or dimensions are not valid");
  in.rank = 2, in.dim[0] = -3;
  expect(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "rank or dimensions are not valid");
  in.dim[0] = INT64_MAX;
  expect(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "rank or dimensions are not valid");
  in.dim[0] = 3, in.dtype = (sard_dtype)77;
  expect(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_USAGE, &err, "77 is no element type");
  in.dtype = SARD_F32;
  expect(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_INVALID, &err,
         "input 'tokens' is f32[3,2] but the model takes i64[seq, batch]");
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, NULL), SARD_ERROR_INVALID); /* err may be NULL */
  v[0] = VOCAB + 1, in.dtype = SARD_I64;
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_INVALID); /* fails in a node: the fields say where */
  assert_true(*sard_error_node(err) && *sard_error_message(err) && strstr(sard_error_file(err), "model.onnx"));
  assert_string_equal(sard_error_op(err), "Gather");
  sard_error_free(err);
  sard_model_free(m);
  sard_model_free(NULL), sard_result_free(NULL), sard_error_free(NULL), sard_env_free(NULL);
  assert_int_equal(sard_input_count(NULL) + sard_output_count(NULL) + sard_symbol_count(NULL) + sard_step_count(NULL) +
                       sard_result_count(NULL),
                   0);
  assert_null(sard_metadata(NULL, "x"));
  assert_int_equal(sard_input(NULL, 0, &(sard_io)SARD_IO_INIT), SARD_ERROR_USAGE);
  assert_int_equal(sard_tensor_count(NULL), -1);
  assert_string_equal(sard_error_text(NULL), "");
  assert_string_equal(sard_status_name(SARD_ERROR_TIMEOUT), "timeout");
}

static void test_options(void **state) {
  sard_error *err = NULL;
  sard_model *m;
  sard_options o = SARD_OPTIONS_INIT;
  int64_t v[6];
  sard_tensor in = tokens_of(v, 3, 2);
  sard_result *r;
  (void)state;
  o.device = "abacus";
  expect(sard_load_file(NULL, MODEL, &o, &m, &err), SARD_ERROR_DEVICE, &err, "no device 'abacus'");
  o.size = offsetof(sard_options, device); /* an older program: it knows only the size */
  assert_int_equal(sard_load_file(NULL, MODEL, &o, &m, &err), SARD_OK);
  o.size = 0;
  sard_model *none;
  expect(sard_load_file(NULL, MODEL, &o, &none, &err), SARD_ERROR_USAGE, &err, "SARD_OPTIONS_INIT");
  sard_run_options ro = SARD_RUN_OPTIONS_INIT;
  volatile int cancel = 1;
  ro.cancel = &cancel;
  expect(sard_run(m, &in, 1, &ro, &r, &err), SARD_ERROR_CANCELLED, &err, "cancelled");
  ro.size = offsetof(sard_run_options, cancel);
  assert_int_equal(sard_run(m, &in, 1, &ro, &r, &err), SARD_OK);
  sard_result_free(r);
  struct {
    sard_run_options o;
    char newer[64];
  } big = {SARD_RUN_OPTIONS_INIT, {1}};
  big.o.size = sizeof big; /* a newer program: what this library does not know is not read */
  assert_int_equal(sard_run(m, &in, 1, &big.o, &r, &err), SARD_OK);
  sard_result_free(r);
  ro.size = sizeof ro, ro.cancel = NULL, ro.timeout = 1e-9;
  expect(sard_run(m, &in, 1, &ro, &r, &err), SARD_ERROR_TIMEOUT, &err, "time limit");
  sard_options lo = SARD_OPTIONS_INIT;
  lo.stop_after = "nonsense";
  expect(sard_load_file(NULL, MODEL, &lo, &none, &err), SARD_ERROR_USAGE, &err, "nonsense");
  expect(sard_load_file(NULL, DIR "missing.onnx", NULL, &none, &err), SARD_ERROR_IO, &err, "missing.onnx");
  expect(sard_load_bytes(NULL, "garbage", 7, NULL, NULL, &none, &err), SARD_ERROR_INVALID, &err, "");
  sard_model_free(m);
}

/* --- a caller's allocator --- */

typedef struct Counted {
  atomic_long left; /* requests granted before one is refused; negative: all */
  atomic_long bytes;
  atomic_long refused;
} Counted;

static void *counted_get(void *arg, size_t size, size_t align) {
  Counted *x = arg;
  void *p;
  if (atomic_load(&x->left) >= 0 && atomic_fetch_sub(&x->left, 1) <= 0) {
    atomic_store(&x->left, 1 << 30); /* the one request only */
    atomic_fetch_add(&x->refused, 1);
    return NULL;
  }
  if (posix_memalign(&p, align < sizeof(void *) ? sizeof(void *) : align, size))
    return NULL;
  memset(p, 0xa5, size);
  atomic_fetch_add(&x->bytes, (long)size);
  return p;
}

static void counted_put(void *arg, void *p, size_t size) {
  atomic_fetch_sub(&((Counted *)arg)->bytes, (long)size);
  free(p);
}

static sard_env *counted_env(Counted *x, size_t limit) {
  sard_env_options o = SARD_ENV_OPTIONS_INIT;
  sard_env *env;
  o.alloc = counted_get, o.free = counted_put, o.alloc_arg = x, o.max_memory = limit;
  assert_int_equal(sard_env_create(&o, &env, NULL), SARD_OK);
  return env;
}

/* A model large enough for memory to run out while a node is read or worked on: the error names it. */
static void test_memory_at_a_node(void **state) {
  Counted x = {.left = -1};
  sard_env *env = counted_env(&x, 0);
  sard_options o = SARD_OPTIONS_INIT;
  o.device = "reference";
  long named = 0;
  (void)state;
  for (long n = 0;; n++) {
    sard_model *m = NULL;
    sard_error *err = NULL;
    atomic_store(&x.left, n);
    atomic_store(&x.refused, 0);
    sard_status st = sard_load_file(env, TEST_DIR "/../models/fixtures/bert_qa/dynamo/model.onnx", &o, &m, &err);
    if (st) {
      assert_int_equal(st, SARD_ERROR_MEMORY);
      named += *sard_error_node(err) && *sard_error_op(err);
      sard_error_free(err);
    }
    sard_model_free(m);
    if (!atomic_load(&x.refused))
      break;
  }
  assert_true(named > 5);
  sard_env_free(env);
}

/* Every allocation of load and run refused in turn. */
static void test_failing_allocations(void **state) {
  Counted x = {.left = -1};
  int64_t v[6];
  sard_tensor in = tokens_of(v, 3, 2);
  (void)state;
  sard_env *env = counted_env(&x, 0);
  long n = 0, without = 0;
  for (;; n++) {
    sard_model *m = NULL;
    sard_error *err = NULL;
    atomic_store(&x.left, n);
    atomic_store(&x.refused, 0);
    sard_status st = sard_load_file(env, MODEL, NULL, &m, &err);
    if (st) {
      assert_non_null(strstr(sard_error_file(err), "model.onnx"));
      expect(st, SARD_ERROR_MEMORY, &err, "out of memory");
      assert_null(m);
    }
    if (m)
      sard_model_free(m);
    assert_int_equal(atomic_load(&x.bytes), 0);
    if (!atomic_load(&x.refused))
      break;
    without += !st; /* a constant that cannot be folded for want of memory stays as it is */
  }
  assert_true(n > 20 && without * 5 < n);
  atomic_store(&x.left, -1);
  without = 0;
  for (long k = 0;; k++) {
    sard_model *m = load(env, MODEL); /* anew: what runs ask for stays with the model's environment */
    sard_result *r = NULL;
    sard_error *err = NULL;
    atomic_store(&x.left, k);
    atomic_store(&x.refused, 0);
    sard_status st = sard_run(m, &in, 1, NULL, &r, &err);
    atomic_store(&x.left, -1);
    sard_result_free(r);
    sard_model_free(m);
    assert_int_equal(atomic_load(&x.bytes), 0);
    if (!atomic_load(&x.refused)) {
      assert_int_equal(st, SARD_OK);
      assert_true(k > 8 && without * 2 < k);
      break;
    }
    if (st)
      expect(st, SARD_ERROR_MEMORY, &err, "out of memory");
    without += !st; /* records that were kept for the next run have made way */
  }
  size_t used, peak;
  sard_env_memory(env, &used, &peak);
  assert_int_equal(used, 0);
  assert_true(peak > 10000);
  sard_env_free(env);
}

static void test_budget(void **state) {
  Counted x = {.left = -1};
  sard_error *err = NULL;
  sard_model *m;
  sard_env *env = counted_env(&x, 20000), *none;
  (void)state;
  expect(sard_load_file(env, MODEL, NULL, &m, &err), SARD_ERROR_MEMORY, &err, "limit 20000");
  assert_int_equal(atomic_load(&x.bytes), 0);
  sard_env_free(env);
  sard_env_options o = SARD_ENV_OPTIONS_INIT;
  o.alloc = counted_get;
  expect(sard_env_create(&o, &none, &err), SARD_ERROR_USAGE, &err, "together");
  expect(sard_env_create(NULL, &none, &err), SARD_ERROR_USAGE, &err, "NULL");
}

static void test_result_outlives(void **state) {
  Counted x = {.left = -1};
  int64_t v[6];
  sard_tensor in = tokens_of(v, 3, 2), t;
  sard_result *r;
  (void)state;
  sard_env *env = counted_env(&x, 64 << 20);
  sard_model *m = load(env, MODEL);
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, NULL), SARD_OK);
  sard_model_free(m);
  sard_env_free(env);
  assert_int_equal(sard_result_tensor(r, 0, &t), SARD_OK);
  assert_true(t.rank > 0 && atomic_load(&x.bytes) > 0);
  sard_result_free(r);
  assert_int_equal(atomic_load(&x.bytes), 0);
}

static void test_no_growth(void **state) {
  Counted x = {.left = -1};
  int64_t v[6];
  sard_tensor in = tokens_of(v, 3, 2);
  (void)state;
  sard_env *env = counted_env(&x, 0);
  sard_model *m = load(env, MODEL);
  long first = 0;
  for (int i = 0; i < 1000; i++) {
    sard_result *r;
    assert_int_equal(sard_run(m, &in, 1, NULL, &r, NULL), SARD_OK);
    sard_result_free(r);
    if (!i)
      first = atomic_load(&x.bytes);
    assert_int_equal(atomic_load(&x.bytes), first);
  }
  sard_model_free(m);
  for (int i = 0; i < 20; i++)
    sard_model_free(load(env, MODEL));
  assert_int_equal(atomic_load(&x.bytes), 0);
  sard_env_free(env);
}

/* --- threads --- */

enum { THREADS = 8, ROUNDS = 12 };
typedef struct Worker {
  pthread_t t;
  sard_model *m;
  int64_t v[20];
  sard_tensor in;
  float want[20 * VOCAB];
  int wrong;
} Worker;

static void *work(void *arg) {
  Worker *w = arg;
  for (int i = 0; i < ROUNDS; i++) {
    sard_result *r;
    sard_tensor out;
    if (sard_run(w->m, &w->in, 1, NULL, &r, NULL)) {
      w->wrong++;
      continue;
    }
    sard_result_tensor(r, 0, &out);
    w->wrong += memcmp(out.data, w->want, (size_t)sard_tensor_bytes(&out)) != 0;
    sard_result_free(r);
  }
  return NULL;
}

static void test_threads(void **state) {
  static Worker w[THREADS];
  (void)state;
  sard_model *m = load(NULL, MODEL);
  for (int i = 0; i < THREADS; i++) {
    sard_tensor out;
    w[i].m = m;
    w[i].in = tokens_of(w[i].v, 1 + i % 5, 1 + i / 3);
    sard_model *alone = load(NULL, MODEL);
    sard_result *r = reference(alone, &w[i].in, &out);
    memcpy(w[i].want, out.data, (size_t)sard_tensor_bytes(&out));
    sard_result_free(r);
    sard_model_free(alone);
  }
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&w[i].t, NULL, work, &w[i]), 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(w[i].t, NULL);
    assert_int_equal(w[i].wrong, 0);
  }
  sard_model_free(m);
}

typedef struct Canceller {
  volatile int flag;
  struct timespec at;
} Canceller;

static void *cancel_later(void *arg) {
  Canceller *x = arg;
  nanosleep(&(struct timespec){0, 30000000}, NULL);
  clock_gettime(CLOCK_MONOTONIC, &x->at);
  __atomic_store_n(&x->flag, 1, __ATOMIC_RELAXED); /* as the library reads it */
  return NULL;
}

/* A run that would take seconds, stopped from another thread between two steps. */
static void test_cancel(void **state) {
  enum { SEQ = 64, BATCH = 64 };
  static int64_t v[SEQ * BATCH];
  sard_tensor in = tokens_of(v, SEQ, BATCH);
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  sard_error *err = NULL;
  sard_result *r;
  Canceller x = {0};
  pthread_t t;
  (void)state;
  sard_model *m = load(NULL, MODEL);
  o.cancel = &x.flag;
  assert_int_equal(pthread_create(&t, NULL, cancel_later, &x), 0);
  sard_status st;
  do /* some machines are fast */
    st = sard_run(m, &in, 1, &o, &r, &err);
  while (!st && (sard_result_free(r), true));
  pthread_join(t, NULL);
  expect(st, SARD_ERROR_CANCELLED, &err, "cancelled");
  sard_model_free(m);
}

/* --- files --- */

static void copy(const char *from, const char *to) {
  char buf[65536];
  FILE *f = fopen(from, "rb"), *g = fopen(to, "wb");
  assert_true(f && g);
  for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;)
    assert_int_equal(fwrite(buf, 1, n, g), n);
  fclose(f), fclose(g);
}

/* Reading a mapping behind the end of its file kills the process; it is noticed before. */
static void test_weight_file_cut_while_mapped(void **state) {
  char dir[] = "/tmp/sard-test-XXXXXX", model[64], data[80];
  int64_t v[6];
  sard_tensor in = tokens_of(v, 3, 2);
  sard_error *err = NULL;
  sard_result *r;
  (void)state;
  assert_non_null(mkdtemp(dir));
  snprintf(model, sizeof model, "%s/model.onnx", dir);
  snprintf(data, sizeof data, "%s/model.onnx.data", dir);
  copy(MODEL, model), copy(DIR "model.onnx.data", data);
  sard_model *m = load(NULL, model);
  assert_int_equal(truncate(data, 4096), 0);
  expect(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_INVALID, &err, "cut short");
  sard_model_free(m);
  assert_int_equal(sard_load_file(NULL, model, NULL, &m, &err),
                   SARD_ERROR_INVALID); /* and when it is loaded like that */
  sard_error_free(err);
  unlink(model), unlink(data), rmdir(dir);
}

static void test_from_memory(void **state) {
  FILE *f = fopen(SOURCE_DIR "/models/fixtures/encoder/ts17/model.onnx", "rb");
  static char bytes[1 << 20];
  int64_t v[14];
  sard_tensor in = tokens_of(v, 7, 2), a, b;
  sard_model *m;
  sard_error *err = NULL;
  (void)state;
  assert_non_null(f);
  size_t n = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  assert_int_equal(sard_load_bytes(NULL, bytes, n, NULL, NULL, &m, &err), SARD_OK);
  sard_model *same = load(NULL, SOURCE_DIR "/models/fixtures/encoder/ts17/model.onnx");
  sard_result *r = reference(m, &in, &a), *q = reference(same, &in, &b);
  assert_int_equal(sard_tensor_bytes(&a), sard_tensor_bytes(&b));
  assert_memory_equal(a.data, b.data, (size_t)sard_tensor_bytes(&a));
  sard_result_free(r), sard_result_free(q);
  sard_model_free(m), sard_model_free(same);
  for (size_t k = 0; k < n; k += n / 40) { /* cut short: an error, or a model that happens to be whole */
    if (!sard_load_bytes(NULL, bytes, k, NULL, NULL, &m, &err))
      sard_model_free(m);
    sard_error_free(err);
    err = NULL;
  }
}

int main(void) {
#define T cmocka_unit_test
  const struct CMUnitTest tests[] = {T(test_description),
                                     T(test_sizes),
                                     T(test_run),
                                     T(test_strides),
                                     T(test_wrong_arguments),
                                     T(test_options),
                                     T(test_memory_at_a_node),
                                     T(test_failing_allocations),
                                     T(test_budget),
                                     T(test_result_outlives),
                                     T(test_no_growth),
                                     T(test_threads),
                                     T(test_cancel),
                                     T(test_weight_file_cut_while_mapped),
                                     T(test_from_memory)};
  return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
