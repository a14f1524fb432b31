/* test_shapes.c - one program for all shapes and all numbers of threads: every fixture of models/ in every export is loaded once,
 * then run at ten other batch sizes and lengths. Nothing is compiled for that (calls of the code generator are counted by the
 * linker's --wrap), the results of one and two threads agree bit for bit, every step's work being shared out however small it
 * is, and they are what the reference device computes, to 1e-4 of each output's largest magnitude. What sard_plan says of the
 * memory before each run is what the run then takes: the arena and the working memory of kernels to the byte.
 *
 * The inputs of a shape repeat the fixture's own ones in order: indices and masks stay within what the model takes.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* ctx.h has a function of that name */

#include "api/internal.h"
#include "tests/models/compilations.h"
#include "runtime/internal.h"
#include "support/dim.h"
#include "tools/cases.c"
#include "tools/files.c"
#include "tools/message.c"
#include "tools/pb.c"

#include <math.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
enum { SHAPES = 2 }; /* the sanitizers look at the code, not at the numbers */
#else
enum { SHAPES = 10 };
#endif

enum { MAX_SYMBOLS = 16, MAX_PORTS = 16 };

/* --- shapes --- */

typedef struct Shapes {
  Ctx *c;
  const sard_model *m;
  Tensor *data[MAX_PORTS]; /* the fixture's own inputs */
  size_t nsym;
  const char *name[MAX_SYMBOLS];
  int64_t own[MAX_SYMBOLS], now[MAX_SYMBOLS]; /* extents: of the fixture's data, of the shape at hand */
} Shapes;

static bool value_of(void *arg, Dim sym, int64_t *v) {
  const Shapes *x = arg;
  for (size_t i = 0; i < x->nsym; i++)
    if (!strcmp(x->name[i], sym->name)) {
      *v = x->now[i];
      return true;
    }
  return false;
}

static int64_t *find(Shapes *x, const char *name) {
  for (size_t i = 0; i < x->nsym; i++)
    if (!strcmp(x->name[i], name))
      return &x->now[i];
  return NULL;
}

/* What the fixture's own shapes say of the symbols: alone, or as a multiple. */
static void learn(Shapes *x) {
  x->nsym = sard_symbol_count(x->m);
  assert_true(x->nsym <= MAX_SYMBOLS);
  for (size_t s = 0; s < x->nsym; s++) {
    x->name[s] = sard_symbol_name(x->m, s), x->own[s] = 0;
    for (size_t i = 0; i < sard_input_count(x->m); i++)
      for (int k = 0; k < x->data[i]->rank; k++) {
        const char *text = sard_input_dim_text(x->m, i, k);
        Dim d = dim_parse(x->c, text, strlen(text));
        for (int64_t v = 1; !x->own[s] && dim_uses(d, dim_sym(x->c, x->name[s])) && v <= x->data[i]->dim[k]; v++) {
          int64_t got;
          for (size_t z = 0; z < x->nsym; z++) /* those already known, then this one */
            x->now[z] = z == s ? v : x->own[z];
          if (dim_eval(d, value_of, x, &got) && got == x->data[i]->dim[k])
            x->own[s] = v;
        }
      }
  }
}

/* Shape number n: batches of 1 to 10, and, when that is wanted, lengths that differ from the fixture's by n - 3. */
static void choose(Shapes *x, int n, bool lengths) {
  for (size_t s = 0; s < x->nsym; s++) {
    int64_t other = x->own[s] + n - 3;
    x->now[s] = !strcmp(x->name[s], "batch") ? n + 1 : lengths ? (other > 0 ? other : 1) : x->own[s];
  }
  if (find(x, "total") && find(x, "past") && find(x, "seq")) /* the mask of a cache and what is new */
    *find(x, "total") = *find(x, "past") + *find(x, "seq");
}

/* Input i at the shape at hand: the fixture's elements, over and over. */
static sard_tensor feed(Shapes *x, Arena *a, size_t i) {
  const Tensor *from = x->data[i];
  sard_tensor t = {.dtype = (sard_dtype)from->dtype, .rank = from->rank};
  size_t elem = (size_t)dtype_bits(from->dtype) / 8, have = (size_t)tensor_count(from);
  for (int k = 0; k < t.rank; k++) {
    const char *text = sard_input_dim_text(x->m, i, k);
    assert_true(dim_eval(dim_parse(x->c, text, strlen(text)), value_of, x, &t.dim[k]));
  }
  size_t n = (size_t)sard_tensor_count(&t);
  uint8_t *p = arena_get(a, n + 1, elem, 64);
  for (size_t k = 0; k < n; k++)
    memcpy(p + k * elem, (const uint8_t *)from->data + k % have * elem, elem);
  t.data = p;
  return t;
}

/* --- memory --- */

/* What the environment of the models has allocated. */
static struct Watch {
  pthread_mutex_t lock; /* loading has threads */
  size_t used, peak, before;
  size_t want; /* is a block of this size asked for? */
  bool met;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};
static int complete_plans;

static void *watched_get(void *arg, size_t size, size_t align) {
  (void)arg;
  pthread_mutex_lock(&watch.lock);
  watch.used += size;
  watch.peak = watch.used > watch.peak ? watch.used : watch.peak;
  watch.met |= size == watch.want;
  pthread_mutex_unlock(&watch.lock);
  return aligned_alloc(align < 64 ? 64 : align, (size + 63) / 64 * 64 + 64);
}

static void watched_put(void *arg, void *p, size_t size) {
  (void)arg;
  pthread_mutex_lock(&watch.lock);
  watch.used -= p ? size : 0;
  pthread_mutex_unlock(&watch.lock);
  free(p);
}

static sard_env *watched(void) {
  static sard_env *env;
  sard_env_options o = SARD_ENV_OPTIONS_INIT;
  o.alloc = watched_get, o.free = watched_put;
  if (!env)
    assert_int_equal(sard_env_create(&o, &env, NULL), SARD_OK);
  return env;
}

/* What was foretold of the run that has just ended. */
static void check_plan(const sard_model *m, const sard_memory *plan) {
  enum { OTHER = 1 << 20 }; /* the frame of a run, and small things */
  size_t took = watch.peak - watch.before;
  assert_int_equal((size_t)plan->arena, m->program->spare[SPARE_ARENA].bytes);
  assert_true(watch.met || !plan->scratch);
  assert_true(plan->peak <= plan->arena + plan->apart);
  assert_true(took >= (size_t)plan->arena);
  if (plan->unknown || strcmp(m->device, "cpu")) /* evaluators have working memory of their own */
    return;
  complete_plans++;
  assert_true(took >= (size_t)(plan->arena + plan->apart));
  assert_true(took <= (size_t)(plan->arena + plan->apart + plan->scratch) + OTHER);
}

/* --- running --- */

static int shared_steps;

static void count_shared(void *arg, const sard_step_time *t) {
  (void)arg;
  shared_steps += t->threads == 2;
}

static sard_result *run(sard_model *m, const sard_tensor *in, int threads) {
  sard_result *r = NULL;
  sard_memory plan = SARD_MEMORY_INIT;
  sard_run_options o = SARD_RUN_OPTIONS_INIT;
  o.profile = count_shared;
  m->threads = threads, m->eager = true;
  bool planned = !sard_plan(m, in, sard_input_count(m), &plan, NULL);
  spare_drop(m->program);
  recycler_leave(&m->env->recycler), recycler_join(&m->env->recycler); /* gives back what it keeps */
  watch.want = planned && plan.scratch ? (size_t)plan.scratch : SIZE_MAX, watch.met = false;
  watch.before = watch.peak = watch.used;
  if (sard_run(m, in, sard_input_count(m), &o, &r, NULL))
    return NULL;
  assert_true(planned);
  check_plan(m, &plan);
  return r;
}

static double largest(const sard_tensor *t) {
  double most = 0;
  for (int64_t i = 0; i < sard_tensor_count(t); i++) {
    double v = fabs(elem_f64((DType)t->dtype, t->data, i));
    most = isfinite(v) && v > most ? v : most;
  }
  return most;
}

static bool near(const sard_tensor *got, const sard_tensor *want) {
  double bound = 1e-4 * largest(want);
  if (got->dtype != want->dtype || got->rank != want->rank ||
      memcmp(got->dim, want->dim, sizeof got->dim[0] * (size_t)got->rank))
    return false;
  for (int64_t i = 0; i < sard_tensor_count(got); i++) {
    double x = elem_f64((DType)got->dtype, got->data, i), y = elem_f64((DType)want->dtype, want->data, i);
    if (!(x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= bound))
      return false;
  }
  return true;
}

static void compare(sard_result *one, sard_result *two, sard_result *want) {
  assert_non_null(one), assert_non_null(two);
  for (size_t o = 0; o < sard_result_count(want); o++) {
    sard_tensor a, b, w;
    assert_int_equal(sard_result_tensor(one, o, &a), SARD_OK);
    assert_int_equal(sard_result_tensor(two, o, &b), SARD_OK);
    assert_int_equal(sard_result_tensor(want, o, &w), SARD_OK);
    assert_int_equal(sard_tensor_bytes(&a), sard_tensor_bytes(&b));
    if (sard_tensor_bytes(&a))
      assert_memory_equal(a.data, b.data, (size_t)sard_tensor_bytes(&a));
    assert_true(near(&a, &w));
  }
}

/* False: the model does not take this shape, on either device. */
static bool run_shape(Shapes *x, sard_model *cpu, sard_model *reference) {
  Arena *a = arena_create(x->c);
  sard_tensor in[MAX_PORTS];
  for (size_t i = 0; i < sard_input_count(x->m); i++)
    in[i] = feed(x, a, i);
  sard_result *want = run(reference, in, 1), *one = run(cpu, in, 1), *two = run(cpu, in, 2);
  if (want)
    compare(one, two, want);
  else
    assert_true(!one && !two);
  bool ran = want;
  sard_result_free(want), sard_result_free(one), sard_result_free(two);
  arena_destroy(a);
  return ran;
}

/* --- fixtures --- */

static sard_model *load(const char *dir, const char *device) {
  char path[512];
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m = NULL;
  sard_error *err = NULL;
  snprintf(path, sizeof path, "%s/model.onnx", dir);
  o.device = device, o.threads = 2, o.allow_reference = true;
  if (sard_load_file(watched(), path, &o, &m, &err))
    print_error("%s\n", sard_error_text(err));
  assert_non_null(m);
  return m;
}

static void read_inputs(Shapes *x, Arena *a, const TestCase *t) {
  for (size_t i = 0; i < sard_input_count(x->m); i++) {
    char path[512];
    Str bytes;
    snprintf(path, sizeof path, "%s/input_%zu.pb", t->set[0], i);
    assert_int_equal(file_read(x->c, a, path, &bytes), ST_OK);
    assert_int_equal(pb_read(x->c, a, VK_TENSOR, bytes.ptr, bytes.len, &x->data[i], NULL), ST_OK);
  }
}

static void one_fixture(Ctx *c, const TestCase *t) {
  Arena *a = arena_create(c);
  sard_model *cpu = load(t->dir, "cpu"), *reference = load(t->dir, "reference");
  Shapes x = {.c = c, .m = cpu};
  int before = compilations, ran = 0, lengths = 0;
  read_inputs(&x, a, t);
  learn(&x);
  for (int n = 0; n < SHAPES; n++) {
    choose(&x, n, true);
    if (run_shape(&x, cpu, reference)) {
      ran++, lengths++;
      continue;
    }
    choose(&x, n, false); /* a length that is bound to the data, or exported as a constant */
    ran += run_shape(&x, cpu, reference);
  }
  if (compilations != before || ran < SHAPES)
    print_error("%s: %d shapes ran, %d compilations\n", t->name, ran, compilations - before);
  assert_int_equal(compilations, before);
  assert_int_equal(ran, SHAPES);
  printf("%-28s %d shapes, %d with other lengths\n", t->name, ran, x.nsym > 1 ? lengths : 0);
  sard_model_free(cpu), sard_model_free(reference);
  arena_destroy(a);
}

static void test_all(void **state) {
  Alloc alloc;
  Ctx c;
  TestCase *list;
  size_t n;
  (void)state;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  Arena *a = arena_create(&c);
  assert_int_equal(cases_find(&c, a, SOURCE_DIR "/models/fixtures", &list, &n), ST_OK);
  for (size_t i = 0; i < n; i++)
    one_fixture(&c, &list[i]);
  assert_true(n >= 60 && compilations > 0 && shared_steps > SHAPES * 500);
  assert_true(complete_plans > SHAPES * 60);
  printf("%d compilations, %d steps shared by two threads, %d complete plans\n", compilations, shared_steps,
         complete_plans);
  ctx_close(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
  if (!sard_device_available("cpu")) {
    printf("this build has no device cpu\n");
    return 77;
  }
  return cmocka_run_group_tests_name("shapes", tests, NULL, NULL);
}
