/* test_library.c - products of whole models that go to cuBLASLt, over one of our own (null/blas.c): with what follows them, against
 * arithmetic that stands here; few rows by code of ours, many by the library, as the extents of a run say; algorithms, which are asked
 * for once and kept in the compile cache; constants that are dequantised, for many rows only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/runs.h"

#include "support/dtype.h"
#include "tests/frontend/models.h"

#include <dirent.h>
#include <math.h>
#include <sys/stat.h>

enum { N = 24, K = 40, BATCH = 2, MOST_ROWS = 20, F16 = DT_f16, BF16 = DT_bf16 };
enum { X, W, BIAS, RESIDUAL, INPUTS };

static int (*asked)(void);
static NullProduct (*latest)(void);

static int find_blas(void **unused) {
  char path[1100];
  if (load_null(unused))
    return -1;
  snprintf(path, sizeof path, "%s/libcublasLt.so.13", null_dir);
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  assert_non_null(lib);
  find_null(lib, "null_asked", &asked), find_null(lib, "null_product", &latest);
  return 0;
}

/* --- models: inputs x [m, k], w [k, n], b [n], r [m, n] --- */

typedef struct Case {
  const char *name;
  void (*nodes)(Pb *g); /* from x, w, b, r to y */
  double (*behind)(double sum, double bias, double residual);
  uint32_t epilogue;
  bool addend, trans_b, batch;
  size_t steps;
} Case;

static Pb model(const Case *x, int type) {
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", type, x->batch ? "2 m 40" : "m 40");
  put_value(&g, GRAPH_INPUT, "w", type, x->batch ? "2 40 24" : x->trans_b ? "24 40" : "40 24");
  put_value(&g, GRAPH_INPUT, "b", type, "24");
  put_value(&g, GRAPH_INPUT, "r", type, x->batch ? "2 m 24" : "m 24");
  put_value(&g, GRAPH_OUTPUT, "y", type, x->batch ? "2 m 24" : "m 24");
  x->nodes(&g);
  return model_of(&g, 11, 24);
}

static void alone(Pb *g) { put_op(g, "p", "MatMul", "x w", "y"); }
static double itself(double sum, double b, double r) { return (void)b, (void)r, sum; }

static void with_bias(Pb *g) {
  put_op(g, "p", "MatMul", "x w", "s");
  put_op(g, "a", "Add", "b s", "y");
}
static double plus_bias(double sum, double b, double r) { return (void)r, sum + b; }

static void with_relu(Pb *g) {
  put_op(g, "p", "MatMul", "x w", "s");
  put_op(g, "a", "Add", "s b", "t");
  put_op(g, "r1", "Relu", "t", "y");
}
static double bias_relu(double sum, double b, double r) { return (void)r, fmax(sum + b, 0); }

static void with_residual(Pb *g) {
  put_op(g, "p", "MatMul", "x w", "s");
  put_op(g, "a", "Add", "s r", "t");
  put_op(g, "c", "Add", "t b", "y");
}
static double plus_both(double sum, double b, double r) { return sum + r + b; }

static void scaled(Pb *g) {
  Pb n = node("p", "Gemm", "x w b", "s");
  attr_int(&n, "transB", 1), attr_float(&n, "alpha", 0.25f);
  put_node(g, &n);
  put_op(g, "r1", "Relu", "s", "y");
}
static double quarter(double sum, double b, double r) { return (void)r, fmax(0.25 * sum + b, 0); }

static void gelu_node(Pb *g, const char *form) {
  Pb n = node("g", "Gelu", "t", "y"), a = {0};
  put_op(g, "p", "MatMul", "x w", "s");
  put_op(g, "a", "Add", "s b", "t");
  pb_str(&a, 1, "approximate"), pb_str(&a, 4, form), pb_int(&a, 20, 3);
  pb_msg(&n, 5, &a);
  put_node(g, &n);
}
static void with_tanh(Pb *g) { gelu_node(g, "tanh"); }
static void with_erf(Pb *g) { gelu_node(g, "none"); }
static double gelu_tanh(double sum, double b, double r) {
  double v = sum + b;
  (void)r;
  return 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
}
static double gelu_erf(double sum, double b, double r) {
  return (void)r, 0.5 * (sum + b) * (1 + erf((sum + b) / sqrt(2)));
}

/* --- running --- */

typedef struct Values {
  sard_tensor t[INPUTS];
  uint8_t data[INPUTS][4 * BATCH * K * (N + MOST_ROWS)];
} Values;

/* Eighths, of which sums are exact in f32. */
static Values *values(const Case *x, DType type, int64_t m) {
  Values *v = calloc(1, sizeof *v);
  const int64_t dim[INPUTS][3] = {
      {BATCH, m, K}, {BATCH, x->trans_b ? N : K, x->trans_b ? K : N}, {1, 1, N}, {BATCH, m, N}};
  for (int i = 0; i < INPUTS; i++) {
    int rank = i == BIAS ? 1 : x->batch ? 3 : 2;
    v->t[i] = (sard_tensor){.data = v->data[i], .dtype = (sard_dtype)type, .rank = rank};
    memcpy(v->t[i].dim, dim[i] + 3 - rank, (size_t)rank * sizeof(int64_t));
    for (int64_t k = 0; k < sard_tensor_count(&v->t[i]); k++)
      elem_set_f64(type, v->data[i], k, (double)((k * 37 + i * 11) % 17 - 8) / 8);
  }
  return v;
}

static double at(const Values *v, DType type, int i, int64_t k) { return elem_f64(type, v->data[i], k); }

/* Sums are f32; what follows may be rounded to the type once more before the result is. */
static void compare(const Case *x, DType type, const Values *v, int64_t m, const sard_result *r) {
  sard_tensor y = output(r, 0);
  double unit = type == DT_f16 ? 0x1p-11 : type == DT_bf16 ? 0x1p-8 : 0x1p-24;
  assert_int_equal(sard_tensor_count(&y), (x->batch ? BATCH : 1) * m * N);
  for (int64_t i = 0; i < sard_tensor_count(&y); i++) {
    int64_t row = i / N, j = i % N, b = x->batch ? row / m : 0;
    double sum = 0, got = elem_f64(type, y.data, i);
    for (int64_t k = 0; k < K; k++)
      sum += at(v, type, X, row * K + k) * at(v, type, W, b * K * N + (x->trans_b ? j * K + k : k * N + j));
    double bias = at(v, type, BIAS, j), residual = at(v, type, RESIDUAL, i), want = x->behind(sum, bias, residual);
    double allowed = unit * (fabs(want) + 2 * (fabs(sum) + fabs(bias) + fabs(residual))) + 1e-6;
    if (!(fabs(got - want) <= allowed))
      fail_msg("%s of %s, m %lld: element %lld is %.9g, must be %.9g", x->name, dtype_name(type), (long long)m,
               (long long)i, got, want);
  }
}

static sard_model *load_in(const Pb *bytes, const char *cache, const char *precision) {
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m = NULL;
  sard_error *err = NULL;
  o.device = "cuda", o.cache = cache, o.precision = precision;
  if (sard_load_bytes(NULL, bytes->b, bytes->n, NULL, &o, &m, &err))
    fail_msg("%s", sard_error_text(err));
  return m;
}

static sard_model *load_bytes(const Pb *bytes, const char *cache) { return load_in(bytes, cache, NULL); }

/* Of so many rows: twice step by step and recorded, then replayed. How often the library multiplied the first time. */
static int rows(const Case *x, DType type, const sard_model *m, int64_t n) {
  Values *v = values(x, type, n);
  int before = latest().count, products = 0;
  sard_result *first = run(m, v->t, INPUTS);
  products = latest().count - before;
  compare(x, type, v, n, first);
  for (int i = 0; i < 2; i++) {
    sard_result *again = run(m, v->t, INPUTS);
    all_same(first, again, true);
    sard_result_free(again);
  }
  sard_result_free(first);
  free(v);
  return products;
}

static void check(const Case *x, int type) {
  Pb bytes = model(x, type);
  sard_model *m = load_bytes(&bytes, "off");
  sard_step s = SARD_STEP_INIT;
  if (sard_step_count(m) != x->steps)
    fail_msg("%s of %s: %zu steps, must be %zu", x->name, dtype_name((DType)type), sard_step_count(m), x->steps);
  assert_int_equal(sard_step_info(m, 0, &s), SARD_OK);
  assert_int_equal(s.kind, SARD_STEP_LIBRARY);
  const int64_t few[] = {3, 1, 8}, many[] = {9, MOST_ROWS};
  for (int i = 0; i < 3; i++)
    assert_int_equal(rows(x, (DType)type, m, few[i]), x->batch);
  for (int i = 0; i < 2; i++)
    assert_int_equal(rows(x, (DType)type, m, many[i]), 1);
  if (latest().epilogue != x->epilogue || latest().addend != x->addend || latest().compute != BLAS_COMPUTE_F32)
    fail_msg("%s of %s: epilogue %u, addend %d", x->name, dtype_name((DType)type), latest().epilogue, latest().addend);
  assert_int_equal(rows(x, (DType)type, m, 2), x->batch); /* and few again */
  sard_model_free(m);
  free(bytes.b);
}

static void epilogues(void **unused) {
  (void)unused;
  static const Case all[] = {
      {"a product", alone, itself, BLAS_PLAIN, .steps = 1},
      {"a product of batches", alone, itself, BLAS_PLAIN, .batch = true, .steps = 1},
      {"a bias", with_bias, plus_bias, BLAS_WITH_BIAS, .steps = 1},
      {"bias and relu", with_relu, bias_relu, BLAS_WITH_BIAS | BLAS_RELU, .steps = 1},
      {"bias and residual", with_residual, plus_both, BLAS_WITH_BIAS, .addend = true, .steps = 1},
      {"a Gemm with a factor", scaled, quarter, BLAS_WITH_BIAS | BLAS_RELU, .trans_b = true, .steps = 1},
  };
  static const int type[] = {F32, F16, BF16};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    for (int t = 0; t < 3; t++)
      check(&all[i], type[t]);
}

/* The library's gelu is the tanh form, and how exact that is in f32 nobody says. */
static void gelu(void **unused) {
  (void)unused;
  static const Case in_library = {"gelu", with_tanh, gelu_tanh, BLAS_WITH_BIAS | BLAS_GELU, .steps = 1};
  static const Case behind = {"gelu of f32", with_tanh, gelu_tanh, BLAS_WITH_BIAS, .steps = 2};
  static const Case other = {"gelu by erf", with_erf, gelu_erf, BLAS_WITH_BIAS, .steps = 2};
  check(&in_library, F16), check(&in_library, BF16);
  check(&behind, F32);
  check(&other, F32), check(&other, F16);
}

/* On request f32 is rounded to the 10 bits of tf32: of 1 + 2^-12 nothing is left but 1. */
static void tf32(void **unused) {
  (void)unused;
  static const Case x = {"tf32", alone, .steps = 1};
  Pb bytes = model(&x, F32);
  for (int on = 0; on < 3; on++) { /* 1: by the environment, 2: as the model's precision */
    setenv("SARD_CUDA_TF32", on == 1 ? "1" : "0", 1);
    sard_model *m = load_in(&bytes, "off", on == 2 ? "tf32" : NULL);
    unsetenv("SARD_CUDA_TF32");
    Values *v = values(&x, DT_f32, MOST_ROWS);
    for (int i = 0; i < MOST_ROWS * K; i++)
      ((float *)(void *)v->data[X])[i] = 1 + 0x1p-12f;
    for (int i = 0; i < K * N; i++)
      ((float *)(void *)v->data[W])[i] = 1;
    sard_result *r = run(m, v->t, INPUTS);
    const float *y = output(r, 0).data;
    for (int i = 0; i < MOST_ROWS * N; i++)
      assert_true(y[i] == (on ? (float)K : K * (1 + 0x1p-12f)));
    assert_int_equal(latest().compute, on ? BLAS_COMPUTE_TF32 : BLAS_COMPUTE_F32);
    sard_result_free(r);
    free(v);
    sard_model_free(m);
  }
  free(bytes.b);
}

/* --- constants that are dequantised --- */

static struct {
  DType type;
  int zero;
  bool trans, again; /* a second reader wants them as they are */
} narrow;

/* w as eighths, which values() has: an eighth of whole numbers, columns one by one. */
static void dequantised(Pb *g) {
  uint8_t number[K * N] = {0}, zero[N] = {0};
  float scale[N];
  int64_t dim[] = {narrow.trans ? N : K, narrow.trans ? K : N}, n = N;
  for (int i = 0; i < K * N; i++)
    elem_set_f64(narrow.type, number, i, (double)((i * 37 + W * 11) % 17 - 8 + narrow.zero));
  for (int i = 0; i < N; i++)
    scale[i] = 0.125f, elem_set_f64(narrow.type, zero, i, narrow.zero);
  Pb t = tensor_of("q", narrow.type, dim, 2, number, K * N), z = tensor_of("z", narrow.type, &n, 1, zero, N);
  pb_msg(g, 5, &t), pb_msg(g, 5, &z);
  put_floats(g, "s", scale, N);
  Pb d = node("d", "DequantizeLinear", narrow.zero ? "q s z" : "q s", "e");
  attr_int(&d, "axis", !narrow.trans);
  put_node(g, &d);
  put_op(g, "t", narrow.trans ? "Transpose" : "Identity", "e", "f");
  put_op(g, "p", "MatMul", "x f", "u");
  put_op(g, "a", "Add", "u b", "y");
  if (narrow.again) {
    put_op(g, "q2", "Abs", "e", "y2");
    put_value(g, GRAPH_OUTPUT, "y2", F32, narrow.trans ? "24 40" : "40 24");
  }
}

/* Kernels that a run of so many rows launches. */
static int launches(const Case *x, const sard_model *m, int64_t n) {
  Values *v = values(x, DT_f32, n);
  int before = null.launches();
  sard_result_free(run(m, v->t, INPUTS));
  free(v);
  return null.launches() - before;
}

static void constants(void **unused) {
  (void)unused;
  static const struct {
    DType type;
    int zero;
  } all[] = {{DT_i8, 0}, {DT_i8, -3}, {DT_u8, 8}, {DT_f8e4m3fn, 0}, {DT_f8e5m2, 0}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    for (int trans = 0; trans < 2; trans++) {
      Case x = {"narrow", dequantised, plus_bias, BLAS_WITH_BIAS, .trans_b = trans};
      narrow.type = all[i].type, narrow.zero = all[i].zero, narrow.trans = trans, narrow.again = false;
      Pb bytes = model(&x, F32);
      sard_model *m = load_bytes(&bytes, "off");
      sard_step s = SARD_STEP_INIT;
      assert_int_equal(sard_step_count(m), 2);
      assert_int_equal(sard_step_info(m, 1, &s), SARD_OK);
      assert_non_null(strstr(s.tile, dtype_name(narrow.type)));
      assert_int_equal(launches(&x, m, 3), 1); /* the product's own */
      assert_int_equal(rows(&x, DT_f32, m, 3), 0);
      assert_int_equal(launches(&x, m, 12), 1); /* dequantised for the library */
      assert_int_equal(rows(&x, DT_f32, m, 12), 1);
      assert_int_equal(rows(&x, DT_f32, m, 8), 0);
      sard_model_free(m);
      free(bytes.b);
    }
}

static void wanted_elsewhere(void **unused) {
  (void)unused;
  Case x = {"narrow, and wide", dequantised, plus_bias, BLAS_WITH_BIAS};
  narrow.type = DT_i8, narrow.zero = 0, narrow.trans = false, narrow.again = true;
  Pb bytes = model(&x, F32);
  sard_model *m = load_bytes(&bytes, "off");
  assert_int_equal(rows(&x, DT_f32, m, 3), 0);
  assert_int_equal(rows(&x, DT_f32, m, 12), 1);
  sard_model_free(m);
  free(bytes.b);
}

/* Of 8-bit floats with NaN among them, which must stay one: the kernel takes the wide ones. */
static void not_a_number(void **unused) {
  (void)unused;
  static const int64_t dim[] = {8, 8};
  uint8_t code[64] = {0};
  float one = 1, x[2 * 8], *y;
  Pb g = {0};
  code[3 * 8 + 5] = 0x7f;
  put_value(&g, GRAPH_INPUT, "x", F32, "m 8");
  Pb t = tensor_of("q", DT_f8e4m3fn, dim, 2, code, 64);
  pb_msg(&g, 5, &t);
  put_floats(&g, "s", &one, 1);
  put_op(&g, "d", "DequantizeLinear", "q s", "e");
  put_op(&g, "p", "MatMul", "x e", "y");
  put_value(&g, GRAPH_OUTPUT, "y", F32, "m 8");
  Pb bytes = model_of(&g, 11, 24);
  sard_model *m = load_bytes(&bytes, "off");
  for (int i = 0; i < 16; i++)
    x[i] = 1;
  sard_tensor in = {.data = x, .dtype = SARD_F32, .rank = 2, .dim = {2, 8}};
  sard_result *r = run(m, &in, 1);
  y = output(r, 0).data;
  for (int i = 0; i < 16; i++)
    assert_true(i % 8 == 5 ? isnan(y[i]) : y[i] == 0);
  sard_result_free(r);
  sard_model_free(m);
  free(bytes.b);
}

/* --- algorithms --- */

static const Case biased = {"a bias", with_bias, plus_bias, BLAS_WITH_BIAS, .steps = 1};

/* How many algorithms a model asks for that runs with 9 rows to `most`. */
static int algorithms(const Pb *bytes, const char *cache, int64_t most) {
  sard_model *m = load_bytes(bytes, cache);
  int before = asked();
  for (int round = 0; round < 2; round++)
    for (int64_t n = 9; n <= most; n++)
      assert_int_equal(rows(&biased, DT_f32, m, n), 1);
  int n = asked() - before;
  sard_model_free(m);
  return n;
}

/* The entry with algorithms, which is smaller than one with a program: something in its middle is changed. */
static void damage(const char *folder) {
  char path[PATH_MAX], smallest[PATH_MAX];
  off_t size = 0;
  struct stat st;
  DIR *d = opendir(folder);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (*e->d_name != '.' && !stat(path, &st) && (!size || st.st_size < size))
      size = st.st_size, strcpy(smallest, path);
  }
  closedir(d);
  assert_true(size > 0 && !chmod(smallest, 0600));
  FILE *f = fopen(smallest, "r+");
  assert_non_null(f);
  fseek(f, 300, SEEK_SET);
  int c = fgetc(f);
  fseek(f, 300, SEEK_SET);
  fputc(c ^ 1, f);
  assert_int_equal(fclose(f), 0);
}

static void kept(void **unused) {
  (void)unused;
  char folder[] = "/tmp/sard-cache-XXXXXX", command[100];
  Pb bytes = model(&biased, F32);
  assert_non_null(mkdtemp(folder));
  assert_int_equal(algorithms(&bytes, "off", 10), 2); /* once for each shape */
  assert_int_equal(algorithms(&bytes, "off", 10), 2);
  assert_int_equal(algorithms(&bytes, folder, 10), 2);
  assert_int_equal(algorithms(&bytes, folder, 10), 0);
  assert_int_equal(algorithms(&bytes, folder, 12), 2); /* of two shapes that are new */
  assert_int_equal(algorithms(&bytes, folder, 12), 0);
  setenv("SARD_CUDA_TF32", "1", 1);
  assert_int_equal(algorithms(&bytes, folder, 9), 1); /* another algorithm */
  unsetenv("SARD_CUDA_TF32");
  assert_int_equal(algorithms(&bytes, folder, 12), 0);
  damage(folder);
  assert_int_equal(algorithms(&bytes, folder, 9), 1);
  assert_int_equal(algorithms(&bytes, folder, 9), 0);
  snprintf(command, sizeof command, "rm -r %s", folder);
  assert_int_equal(system(command), 0);
  free(bytes.b);
  assert_int_equal(null.left(), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(epilogues),
                                     cmocka_unit_test(gelu),
                                     cmocka_unit_test(tf32),
                                     cmocka_unit_test(constants),
                                     cmocka_unit_test(wanted_elsewhere),
                                     cmocka_unit_test(not_a_number),
                                     cmocka_unit_test(kept)};
  return cmocka_run_group_tests(tests, find_blas, NULL);
}
