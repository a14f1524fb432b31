/* test_memory.c - the caller's memory on the device, and the caller's streams, over the null driver in this process. It puts off the
 * work of a stream until somebody waits: whoever does not order two streams sees memory that nobody has written yet.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/runs.h"

#include "tests/frontend/models.h"

static CudaStream stream;
static CudaContext context;

static int open_context(void **unused) {
  if (load_null(unused))
    return -1;
  assert_int_equal(null.cuInit(0), 0);
  assert_int_equal(null.cuDevicePrimaryCtxRetain(&context, 0), 0);
  assert_int_equal(null.cuCtxSetCurrent(context), 0);
  assert_int_equal(null.cuStreamCreate(&stream, CUDA_STREAM_APART), 0);
  return 0;
}

static int close_context(void **unused) {
  (void)unused;
  null.cuCtxSetCurrent(context);
  null.cuStreamSynchronize(stream);
  null.cuStreamDestroy_v2(stream);
  null.cuDevicePrimaryCtxRelease_v2(0);
  return 0;
}

/* --- memory of ours there --- */

static uint64_t there(size_t bytes) {
  uint64_t at;
  null.cuCtxSetCurrent(context);
  assert_int_equal(null.cuMemAllocAsync(&at, bytes, stream), 0);
  return at;
}

static void drop(uint64_t at) {
  null.cuCtxSetCurrent(context);
  null.cuMemFreeAsync(at, stream);
  null.cuStreamSynchronize(stream);
}

/* The same tensor at that address; its elements go there on the stream. */
static sard_tensor sent(const sard_tensor *t, uint64_t at) {
  sard_tensor x = *t;
  null.cuCtxSetCurrent(context);
  assert_int_equal(null.cuMemcpyHtoDAsync_v2(at, t->data, (size_t)sard_tensor_bytes(t), stream), 0);
  x.data = (void *)(uintptr_t)at, x.device = true;
  return x;
}

/* Comes back on the stream, or by what is there now. */
static void fetch(void *to, const sard_tensor *t) {
  null.cuCtxSetCurrent(context);
  assert_int_equal(null.cuMemcpyDtoHAsync_v2(to, (uint64_t)(uintptr_t)t->data, (size_t)sard_tensor_bytes(t), stream),
                   0);
  assert_int_equal(null.cuStreamSynchronize(stream), 0);
}

static void into(const sard_model *m, const sard_tensor *in, size_t nin, const sard_tensor *out, size_t nout,
                 CudaStream on) {
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  sard_error *err = NULL;
  o.stream = on;
  if (sard_run_into(m, in, nin, out, nout, &o, &err))
    fail_msg("%s", sard_error_text(err));
}

/* Inputs come on our stream and outputs are fetched on it, so that all three orders matter; first and last without a
 * graph and with one; the addresses change, which the graph follows. */
static void on_a_stream(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("encoder/ts17"), "cuda"), *cpu = load_on(FIXTURE("encoder/ts17"), "cpu");
  enum { TOKENS = 7 * 2, LOGITS = TOKENS * 96 };
  uint64_t id[2] = {there(TOKENS * 8), there(TOKENS * 8)}, logits[2] = {there(LOGITS * 4), there(LOGITS * 4)};
  static float got[LOGITS];
  Feed f;
  for (int64_t i = 0; i < 8; i++) {
    sard_tensor in = sent(tokens(&f, 7, 2, i), id[i / 4]);
    sard_tensor out = {
        .data = (void *)(uintptr_t)logits[i / 4], .dtype = SARD_F32, .rank = 3, .dim = {7, 2, 96}, .device = true};
    into(m, &in, 1, &out, 1, stream);
    fetch(got, &out);
    sard_result *want = run(cpu, f.t, 1);
    sard_tensor w = output(want, 0), g = out;
    g.data = got;
    same(&g, &w, false);
    sard_result_free(want);
  }
  assert_int_equal(graphs_of(m).recorded, 2);
  assert_int_equal(graphs_of(m).replayed, 7);
  for (int i = 0; i < 2; i++)
    drop(id[i]), drop(logits[i]);
  sard_model_free(m), sard_model_free(cpu);
}

/* Without a stream everything is done when the call returns; results may stay there, longer than their model. */
static void results(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("encoder/ts17"), "cuda");
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  sard_result *x[3], *host;
  Feed f;
  o.outputs_on_device = true;
  host = run(m, tokens(&f, 7, 2, 1), 1);
  for (int i = 0; i < 3; i++)
    x[i] = run_with(m, f.t, 1, &o);
  sard_model_free(m);
  sard_tensor want = output(host, 0);
  assert_false(want.device);
  for (int i = 0; i < 3; i++) {
    sard_tensor t = output(x[i], 0), h = t;
    assert_true(t.device);
    h.data = null.memory((uint64_t)(uintptr_t)t.data, (size_t)sard_tensor_bytes(&t));
    assert_non_null(h.data);
    same(&h, &want, true);
    sard_result_free(x[i]);
  }
  sard_result_free(host);
}

/* --- models of one node or two --- */

static sard_model *load_small(Pb *g, const char *device) {
  Pb b = model_of(g, 11, 24);
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m = NULL;
  sard_error *err = NULL;
  o.device = device, o.cache = "off";
  if (sard_load_bytes(NULL, b.b, b.n, NULL, &o, &m, &err))
    fail_msg("%s", sard_error_text(err));
  free(b.b);
  return m;
}

/* A shape is read here, wherever it lies; the host's own step and a kernel behind it. */
static void elements_of_inputs(void **unused) {
  (void)unused;
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "a b"), put_value(&g, GRAPH_INPUT, "s", I64, "2");
  put_op(&g, "n", "Neg", "x", "t"), put_op(&g, "r", "Reshape", "t s", "y");
  put_value(&g, GRAPH_OUTPUT, "y", F32, "c d");
  sard_model *m = load_small(&g, "cuda");
  float x[6] = {1, 2, 3, 4, 5, 6};
  int64_t s[2] = {3, 2};
  sard_tensor in[2] = {{.data = x, .dtype = SARD_F32, .rank = 2, .dim = {2, 3}},
                       {.data = s, .dtype = SARD_I64, .rank = 1, .dim = {2}}};
  uint64_t at = there(6 * 4), shape = there(2 * 8);
  in[0] = sent(&in[0], at), in[1] = sent(&in[1], shape);
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  o.stream = stream;
  sard_result *r = run_with(m, in, 2, &o);
  sard_tensor y = output(r, 0);
  assert_int_equal(y.dim[0], 3);
  for (int i = 0; i < 6; i++)
    assert_true(((float *)y.data)[i] == -x[i]);
  sard_result_free(r);
  drop(at), drop(shape);
  sard_model_free(m);
}

/* A result over its own input, and one half over it: computed elsewhere first. */
static void overlaps(void **unused) {
  (void)unused;
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "n");
  Pb n = node("flip", "Gather", "x i", "y");
  put_ints(&g, "i", (int64_t[]){3, 2, 1, 0}, 4);
  put_node(&g, &n);
  put_value(&g, GRAPH_OUTPUT, "y", F32, "4");
  sard_model *m = load_small(&g, "cuda");
  float x[8] = {1, 2, 3, 4, 5, 6, 7, 8}, got[8];
  uint64_t at = there(sizeof x);
  for (int off = 0; off <= 4; off += 4) {
    sard_tensor all = {.data = x, .dtype = SARD_F32, .rank = 1, .dim = {8}}, back = sent(&all, at), in = back,
                out = back;
    out.dim[0] = 4, out.data = (void *)(uintptr_t)(at + (uint64_t)off * 4);
    into(m, &in, 1, &out, 1, stream);
    fetch(got, &back);
    for (int i = 0; i < 4; i++)
      assert_true(got[off + i] == x[3 - i]);
  }
  drop(at);
  sard_model_free(m);
}

/* A cache there: only the new rows are written, the others are read where they are. */
enum { HEADS = 2, CAPACITY = 8, SIZE = 8, CACHE = HEADS * CAPACITY * SIZE };

static sard_tensor rows(uint64_t at, int64_t n) {
  return (sard_tensor){.data = (void *)(uintptr_t)at,
                       .dtype = SARD_F32,
                       .rank = 4,
                       .dim = {1, HEADS, n, SIZE},
                       .stride = {CACHE, CAPACITY * SIZE, SIZE, 1},
                       .strided = true,
                       .device = true};
}

static void caches(void **unused) {
  (void)unused;
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "new", F32, "1 2 n 8"), put_value(&g, GRAPH_INPUT, "past", F32, "1 2 p 8");
  Pb n = node("grow", "Concat", "past new", "present");
  attr_int(&n, "axis", 2);
  put_node(&g, &n);
  put_value(&g, GRAPH_OUTPUT, "present", F32, "1 2 t 8");
  sard_model *m = load_small(&g, "cuda");
  static float cache[CACHE], fresh[HEADS * SIZE];
  uint64_t at = there(sizeof cache), new = there(sizeof fresh);
  sard_tensor all = {.data = cache, .dtype = SARD_F32, .rank = 1, .dim = {CACHE}},
              one = {.data = fresh, .dtype = SARD_F32, .rank = 4, .dim = {1, HEADS, 1, SIZE}};
  for (int i = 0; i < CACHE; i++)
    cache[i] = (float)i;
  all = sent(&all, at);
  for (int64_t past = 2; past < 5; past++) {
    for (int i = 0; i < HEADS * SIZE; i++)
      fresh[i] = (float)(1000 * past + i);
    null.cuStreamSynchronize(stream); /* the copy before has read `fresh` */
    sard_tensor in[2] = {sent(&one, new), rows(at, past)}, out = rows(at, past + 1);
    into(m, in, 2, &out, 1, stream);
    null.cuCtxSetCurrent(context);
    null.cuStreamSynchronize(stream);
  }
  static float got[CACHE];
  fetch(got, &all);
  for (int h = 0; h < HEADS; h++)
    for (int r = 0; r < CAPACITY; r++)
      for (int d = 0; d < SIZE; d++) {
        int i = (h * CAPACITY + r) * SIZE + d;
        assert_true(got[i] == (r < 2 || r >= 5 ? (float)i : (float)(1000 * r + h * SIZE + d)));
      }
  drop(at), drop(new);
  sard_model_free(m);
}

/* --- what is refused --- */

static void refused(const sard_model *m, const sard_tensor *in, const sard_tensor *out, sard_status want,
                    const char *what) {
  sard_error *err = NULL;
  sard_result *r = NULL;
  sard_status st = out ? sard_run_into(m, in, 1, out, 1, NULL, &err) : sard_run(m, in, 1, NULL, &r, &err);
  if (st != want || !strstr(sard_error_text(err), what))
    fail_msg("status %d, wanted %d and '%s': %s", st, want, what, err ? sard_error_text(err) : "");
  sard_error_free(err);
}

static void what_cannot_be(void **unused) {
  (void)unused;
  Pb g = {0}, h = {0};
  for (int i = 0; i < 2; i++) {
    Pb *p = i ? &h : &g;
    put_value(p, GRAPH_INPUT, "x", F32, "a b"), put_op(p, "n", "Neg", "x", "y"),
        put_value(p, GRAPH_OUTPUT, "y", F32, "a b");
  }
  sard_model *m = load_small(&g, "cuda"), *cpu = load_small(&h, "cpu");
  uint64_t at = there(256), result = there(256);
  sard_tensor x = {.data = (void *)(uintptr_t)at, .dtype = SARD_F32, .rank = 2, .dim = {2, 3}, .device = true}, y = x,
              bad;
  y.data = (void *)(uintptr_t)result;
  refused(cpu, &x, NULL, SARD_ERROR_USAGE, "in the memory of a GPU, and the model runs on 'cpu'");
  bad = x, bad.data = (void *)(uintptr_t)(at + 4);
  refused(m, &bad, NULL, SARD_ERROR_UNSUPPORTED, "not aligned to 16 bytes");
  bad = x, bad.strided = true, bad.stride[0] = 4, bad.stride[1] = 1;
  refused(m, &bad, NULL, SARD_ERROR_UNSUPPORTED, "input 0 is not dense");
  bad = y, bad.strided = true, bad.stride[0] = 4, bad.stride[1] = 1;
  refused(m, &x, &bad, SARD_ERROR_UNSUPPORTED, "output 0 is not dense");
  bad = y, bad.dim[1] = 4;
  refused(m, &x, &bad, SARD_ERROR_USAGE, "output 'y' is f32[2,3] but the memory given for it is f32[2,4]");
  bad = x, bad.dtype = SARD_F64;
  refused(m, &bad, NULL, SARD_ERROR_INVALID, "f64");
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  sard_result *r = NULL;
  sard_error *err = NULL;
  o.outputs_on_device = true;
  float host[6] = {0};
  bad = (sard_tensor){.data = host, .dtype = SARD_F32, .rank = 2, .dim = {2, 3}};
  assert_int_equal(sard_run(cpu, &bad, 1, &o, &r, &err), SARD_ERROR_USAGE);
  sard_error_free(err);
  into(m, &x, 1, &y, 1, NULL); /* and what can be */
  drop(at), drop(result);
  sard_model_free(m), sard_model_free(cpu);
}

/* --- DLPack --- */

typedef struct DlTensor {
  void *data;
  int32_t device, id, ndim;
  uint8_t code, bits;
  uint16_t lanes;
  int64_t *shape, *stride;
  uint64_t offset;
} DlTensor;
typedef struct DlManaged {
  DlTensor t;
  void *context;
  void (*deleter)(struct DlManaged *);
} DlManaged;
typedef struct DlVersioned {
  uint32_t major, minor;
  void *context;
  void (*deleter)(struct DlVersioned *);
  uint64_t flags;
  DlTensor t;
} DlVersioned;

static void from_dlpack(void **unused) {
  (void)unused;
  int64_t shape[2] = {2, 3}, stride[2] = {3, 1};
  DlTensor d = {.data = (void *)4096,
                .device = 2,
                .ndim = 2,
                .code = 2,
                .bits = 32,
                .lanes = 1,
                .shape = shape,
                .stride = stride,
                .offset = 64};
  sard_tensor t;
  assert_int_equal(sard_from_dlpack(&d, &t, NULL), SARD_OK);
  assert_true(t.device && t.data == (void *)4160 && t.dtype == SARD_F32 && t.rank == 2 && t.dim[1] == 3 && t.strided);
  d.device = 1, d.stride = NULL, d.code = 4, d.bits = 16;
  assert_int_equal(sard_from_dlpack(&d, &t, NULL), SARD_OK);
  assert_true(!t.device && t.dtype == SARD_BF16 && !t.strided);
  static const struct {
    int32_t device, id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    sard_status want;
    const char *what;
  } bad[] = {{2, 1, 2, 2, 32, 1, SARD_ERROR_DEVICE, "on GPU 1"},
             {10, 0, 2, 2, 32, 1, SARD_ERROR_DEVICE, "neither a CPU nor"},
             {2, 0, 17, 2, 32, 1, SARD_ERROR_USAGE, "17 dimensions"},
             {2, 0, -1, 2, 32, 1, SARD_ERROR_USAGE, "-1 dimensions"},
             {2, 0, 2, 2, 32, 4, SARD_ERROR_UNSUPPORTED, "4 lanes"},
             {2, 0, 2, 3, 64, 1, SARD_ERROR_UNSUPPORTED, "code 3"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    sard_error *err = NULL;
    d.device = bad[i].device, d.id = bad[i].id, d.ndim = bad[i].ndim, d.code = bad[i].code, d.bits = bad[i].bits,
    d.lanes = bad[i].lanes;
    assert_int_equal(sard_from_dlpack(&d, &t, &err), bad[i].want);
    assert_non_null(strstr(sard_error_text(err), bad[i].what));
    sard_error_free(err);
  }
}

/* The consumer keeps what it was given, whatever becomes of the result; both forms say the same. */
static void to_dlpack(void **unused) {
  (void)unused;
  sard_model *m = load_on(FIXTURE("encoder/ts17"), "cuda");
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  Feed f;
  void *plain, *versioned;
  o.outputs_on_device = true;
  sard_result *r = run_with(m, tokens(&f, 7, 2, 1), 1, &o);
  assert_int_equal(sard_result_dlpack(r, 1, true, &plain, NULL), SARD_ERROR_USAGE);
  assert_int_equal(sard_result_dlpack(r, 0, false, &plain, NULL), SARD_OK);
  assert_int_equal(sard_result_dlpack(r, 0, true, &versioned, NULL), SARD_OK);
  sard_result_free(r), sard_model_free(m);
  DlManaged *p = plain;
  DlVersioned *v = versioned;
  assert_true(v->major == 1 && v->t.device == 2 && v->t.id == 0 && v->t.ndim == 3 && v->t.bits == 32 && v->t.code == 2);
  assert_true(v->t.shape[2] == 96 && v->t.stride[0] == 2 * 96 && v->t.data == p->t.data && p->t.ndim == 3);
  assert_non_null(null.memory((uint64_t)(uintptr_t)v->t.data, 7 * 2 * 96 * 4));
  sard_tensor t;
  assert_int_equal(sard_from_dlpack(&p->t, &t, NULL), SARD_OK);
  assert_true(t.device && t.dim[0] == 7 && t.data == v->t.data);
  p->deleter(p);
  assert_non_null(null.memory((uint64_t)(uintptr_t)v->t.data, 7 * 2 * 96 * 4));
  uint64_t at = (uint64_t)(uintptr_t)v->t.data;
  v->deleter(v);
  assert_null(null.memory(at, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(on_a_stream), cmocka_unit_test(results),   cmocka_unit_test(elements_of_inputs),
      cmocka_unit_test(overlaps),    cmocka_unit_test(caches),    cmocka_unit_test(what_cannot_be),
      cmocka_unit_test(from_dlpack), cmocka_unit_test(to_dlpack),
  };
  return cmocka_run_group_tests(tests, open_context, close_context);
}
