/* test_control.c - If, Loop and Scan in compiled programs: trips, captured values, growing shapes, limits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/runtime/rig.h"

static void test_if(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %c : bool[]\nin %x : f32[n]\n"
               "const %k : f32[2] = {7, 8}\n"
               "%a : f32[n] = Neg(%x)\n"
               "%y, %z : f32[m], f32[n] = If(%c) body \"then\" {\n"
               "  %t : f32[n] = Exp(%a)\n"
               "  %u : f32[n] = Neg(%a)\n"
               "  out %u, %a\n"
               "} body \"else\" {\n"
               "  out %k, %x\n"
               "}\n"
               "%w : f32[m] = Neg(%y)\n"
               "out %w, %z\n}\n");
  uint8_t c = 1;
  rig_feed(&k, DT_bool, 0, NULL, &c);
  rig_feed(&k, DT_f32, SHAPE(3), F32(1, 2, 3));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(3), F32(-1, -2, -3));
  rig_expect(&k, 1, DT_f32, SHAPE(3), F32(-1, -2, -3));
  c = 0;
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2), F32(-7, -8));
  rig_expect(&k, 1, DT_f32, SHAPE(3), F32(1, 2, 3));
  rig_close(&k);
}

/* What an If hands on may be a constant or the caller's input: the in-place step behind it must not write there. */
static void test_nothing_is_computed_into_a_branch_that_is_a_constant(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %c : bool[]\nin %x : f32[2]\n"
               "const %k : f32[2] = {7, 8}\n"
               "%y : f32[2] = If(%c) body \"then\" {\n  out %k\n} body \"else\" {\n  out %x\n}\n"
               "%v : f32[2] = Neg(%y)\n%w : f32[2] = Neg(%v)\n%z : f32[2] = Neg(%w)\n"
               "out %z\n}\n");
  uint8_t c = 1;
  float x[] = {1, 2};
  rig_feed(&k, DT_bool, 0, NULL, &c);
  rig_feed(&k, DT_f32, SHAPE(2), x);
  for (int i = 0; i < 2; i++) {
    rig_run(&k);
    rig_expect(&k, 0, DT_f32, SHAPE(2), F32(-7, -8));
  }
  c = 0;
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2), F32(-1, -2));
  assert_memory_equal(x, F32(1, 2), sizeof x);
  rig_close(&k);
}

/* What an If or a Loop hands over is freed behind its last reader, like everything else. */
static void test_outputs_of_control_flow_are_freed(void **state) {
  enum { N = 100000, IFS = 8 };
  static float x[N];
  char text[4000], *p = text;
  uint8_t c = 1;
  Rig k;
  (void)state;
  p += sprintf(p, "graph \"g\" {\nin %%c : bool[]\nin %%v0 : f32[n]\n");
  for (int i = 0; i < IFS; i++)
    p += sprintf(p,
                 "%%v%d : f32[n] = If(%%c) body \"t%d\" {\n  %%t%d : f32[n] = Neg(%%v%d)\n  out %%t%d\n} body \"e%d\" "
                 "{\n  out %%v%d\n}\n"
                 "%%w%d : f32[n] = Abs(%%v%d)\n",
                 i + 1, i, i, i, i, i, i, i, i + 1);
  sprintf(p, "%%y : f32[] = ReduceMax(%%w%d, _) {keepdims = 0}\nout %%y\n}\n", IFS - 1);
  rig_open(&k, text);
  rig_feed(&k, DT_bool, 0, NULL, &c);
  rig_feed(&k, DT_f32, SHAPE(N), x);
  size_t idle = atomic_load(&k.alloc.used);
  atomic_store(&k.alloc.peak, 0);
  rig_run(&k);
  size_t most = atomic_load(&k.alloc.peak) - idle;
  print_message("%zu values of %zu bytes at most\n", most / sizeof x, sizeof x);
  assert_true(most < 5 * sizeof x);
  rig_close(&k);
}

/* sum = sum + step, stops when the sum reaches the limit; every sum is kept as a scan output. */
#define COUNTING                                                                                                       \
  "graph \"g\" {\n"                                                                                                    \
  "in %m : i64[]\nin %c : bool[]\nin %s : f32[]\nin %limit : f32[]\n"                                                  \
  "const %step : f32[] = {2}\n"                                                                                        \
  "%last, %all : f32[], f32[trips] = Loop(%m, %c, %s) body \"body\" {\n"                                               \
  "  in %i : i64[]\n  in %go : bool[]\n  in %sum : f32[]\n"                                                            \
  "  %t : f32[] = Add(%sum, %step)\n"                                                                                  \
  "  %again : bool[] = Less(%t, %limit)\n"                                                                             \
  "  out %again, %t, %t\n"                                                                                             \
  "}\n"                                                                                                                \
  "%d : i64[1] = sard.Dims() {dims = [trips]}\n"                                                                       \
  "out %last, %all, %d\n}\n"

static void test_loop(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, COUNTING);
  int64_t m = 10;
  uint8_t c = 1;
  float s = 1, limit = 6, seven = 7;
  rig_feed(&k, DT_i64, 0, NULL, &m);
  rig_feed(&k, DT_bool, 0, NULL, &c);
  rig_feed(&k, DT_f32, 0, NULL, &s);
  rig_feed(&k, DT_f32, 0, NULL, &limit);
  rig_run(&k); /* stopped early by the condition */
  rig_expect(&k, 0, DT_f32, 0, NULL, &seven);
  rig_expect(&k, 1, DT_f32, SHAPE(3), F32(3, 5, 7));
  rig_expect(&k, 2, DT_i64, SHAPE(1), I64(3));
  m = 2; /* by the trip count */
  rig_run(&k);
  rig_expect(&k, 1, DT_f32, SHAPE(2), F32(3, 5));
  for (int zero = 0; zero < 2; zero++) { /* no trip at all, for both reasons */
    m = zero ? 0 : 5, c = (uint8_t)zero;
    rig_run(&k);
    rig_expect(&k, 0, DT_f32, 0, NULL, &s);
    rig_expect(&k, 1, DT_f32, SHAPE(0), NULL);
    rig_expect(&k, 2, DT_i64, SHAPE(1), I64(0));
  }
  m = -3, c = 1;
  rig_run(&k);
  rig_expect(&k, 1, DT_f32, SHAPE(0), NULL);
  rig_close(&k);
}

/* The carried value grows; inside, its extent is a symbol that is told anew in every trip, and so is NonZero's. */
static void test_shapes_that_change_from_trip_to_trip(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %m : i64[]\nin %x : f32[n]\n"
               "%y, %sizes : f32[r], i64[trips, 2] = Loop(%m, _, %x) body \"body\" {\n"
               "  in %i : i64[]\n  in %go : bool[]\n  in %v : f32[k]\n"
               "  %w : f32[k + n] = Concat(%v, %x) {axis = 0}\n"
               "  %nz : i64[1, z] = NonZero(%w)\n"
               "  %d : i64[2] = sard.Dims() {dims = [k, 2*z]}\n"
               "  out %go, %w, %d\n"
               "}\n"
               "out %y, %sizes\n}\n");
  int64_t m = 3;
  rig_feed(&k, DT_i64, 0, NULL, &m);
  rig_feed(&k, DT_f32, SHAPE(2), F32(0, 5));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(8), F32(0, 5, 0, 5, 0, 5, 0, 5));
  rig_expect(&k, 1, DT_i64, SHAPE(3, 2), I64(2, 4, 4, 6, 6, 8));
  rig_close(&k);
}

/* The inner loop reads what the outer one carries, its trip number among it, in every trip. */
static void test_nested_loops(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %m : i64[]\nin %x : i64[]\n"
               "%y : i64[] = Loop(%m, _, %x) body \"outer\" {\n"
               "  in %i : i64[]\n  in %go : bool[]\n  in %v : i64[]\n"
               "  %three : i64[] = Add(%m, %i)\n"
               "  %w : i64[] = Loop(%m, _, %v) body \"inner\" {\n"
               "    in %j : i64[]\n    in %on : bool[]\n    in %u : i64[]\n"
               "    %p : i64[] = Mul(%i, %j)\n"
               "    %q : i64[] = Add(%p, %v)\n"
               "    %r : i64[] = Add(%q, %three)\n"
               "    %t : i64[] = Add(%u, %r)\n"
               "    out %on, %t\n"
               "  }\n"
               "  out %go, %w\n"
               "}\n"
               "out %y\n}\n");
  int64_t m = 3, x = 1, want = 1;
  for (int64_t i = 0; i < m; i++) {
    int64_t v = want, u = v;
    for (int64_t j = 0; j < m; j++)
      u += i * j + v + m + i;
    want = u;
  }
  rig_feed(&k, DT_i64, 0, NULL, &m);
  rig_feed(&k, DT_i64, 0, NULL, &x);
  rig_run(&k);
  rig_expect(&k, 0, DT_i64, 0, NULL, &want);
  rig_close(&k);
}

static void test_scan(void **state) {
  Rig k;
  (void)state;
  rig_open(
      &k,
      "graph \"g\" {\n"
      "in %s : f32[2]\nin %x : f32[2, n]\n"
      "%last, %fwd, %rev : f32[2], f32[n, 2], f32[2, n] = Scan(%s, %x, %x) {num_scan_inputs = 2, scan_input_axes = "
      "[-1, 1], "
      "scan_input_directions = [0, 1], scan_output_axes = [0, -1], scan_output_directions = [0, 1]} body \"body\" {\n"
      "  in %v : f32[2]\n  in %e : f32[2]\n  in %back : f32[2]\n"
      "  %w : f32[2] = Add(%v, %e)\n"
      "  out %w, %w, %back\n"
      "}\n"
      "out %last, %fwd, %rev\n}\n");
  rig_feed(&k, DT_f32, SHAPE(2), F32(100, 200));
  rig_feed(&k, DT_f32, SHAPE(2, 3), F32(1, 2, 3, 10, 20, 30));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2), F32(106, 260));
  rig_expect(&k, 1, DT_f32, SHAPE(3, 2), F32(101, 210, 103, 230, 106, 260));
  rig_expect(&k, 2, DT_f32, SHAPE(2, 3), F32(1, 2, 3, 10, 20, 30)); /* read backwards, written backwards */
  k.in[1].dim[1] = 0;
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2), F32(100, 200));
  rig_expect(&k, 1, DT_f32, SHAPE(0, 2), NULL);
  rig_close(&k);
}

static void test_scan_errors(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[n, 2]\nin %y : f32[m, 2]\n"
               "%s : f32[q, 2] = Scan(%x, %y) {num_scan_inputs = 2} body \"b\" {\n  in %e : f32[2]\n  in %f : f32[2]\n"
               "  %g : f32[2] = Add(%e, %f)\n  out %g\n}\nout %s\n}\n");
  float v[8] = {0};
  rig_feed(&k, DT_f32, SHAPE(2, 2), v);
  rig_feed(&k, DT_f32, SHAPE(3, 2), v);
  rig_error(&k, ST_INVALID, "scan inputs have different lengths: 2 and 3");
  k.in[1].dim[0] = 2;
  rig_run(&k);
  rig_close(&k);
}

static void test_scan_outputs_must_agree(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %m : i64[]\nin %x : f32[n]\n"
               "%y, %s : f32[r], f32[t, q] = Loop(%m, _, %x) body \"b\" {\n  in %i : i64[]\n  in %go : bool[]\n  in %v "
               ": f32[k]\n"
               "  %w : f32[2*k] = Concat(%v, %v) {axis = 0}\n  out %go, %w, %w\n}\nout %y, %s\n}\n");
  int64_t m = 2;
  rig_feed(&k, DT_i64, 0, NULL, &m);
  rig_feed(&k, DT_f32, SHAPE(1), F32(1));
  rig_error(&k, ST_INVALID, "a scan output changes from f32[2] to f32[4] in trip 1");
  m = 1;
  rig_run(&k);
  rig_expect(&k, 1, DT_f32, SHAPE(1, 2), F32(1, 1));
  rig_close(&k);
}

/* --- stopping what does not stop by itself --- */

#define ENDLESS                                                                                                        \
  "graph \"g\" {\nin %x : f32[]\n%y : f32[] = Loop(_, _, %x) body \"b\" {\n  in %i : i64[]\n  in %go : bool[]\n"       \
  "  in %v : f32[]\n  %w : f32[] = Neg(%v)\n  out %go, %w\n}\nout %y\n}\n"

static void test_deadline(void **state) {
  Rig k;
  float x = 1;
  (void)state;
  rig_open(&k, ENDLESS);
  rig_feed(&k, DT_f32, 0, NULL, &x);
  int64_t start = now_ns();
  k.r.deadline_ns = start + 20000000;
  rig_error(&k, ST_TIMEOUT, "the time limit has passed");
  assert_in_range((now_ns() - start) / 1000000, 19, 20 + 50);
  k.r.deadline_ns = 0;
  rig_close(&k);
}

typedef struct Canceller {
  atomic_int flag;
  int64_t at;
} Canceller;

static void *cancel_later(void *arg) {
  Canceller *x = arg;
  struct timespec t = {0, 20000000};
  nanosleep(&t, NULL);
  x->at = now_ns();
  atomic_store(&x->flag, 1);
  return NULL;
}

static void test_cancel(void **state) {
  Rig k;
  float x = 1;
  (void)state;
  rig_open(&k, ENDLESS);
  rig_feed(&k, DT_f32, 0, NULL, &x);
  Canceller z = {0};
  pthread_t t;
  k.r.cancel = &z.flag;
  assert_int_equal(pthread_create(&t, NULL, cancel_later, &z), 0);
  rig_error(&k, ST_CANCELLED, "cancelled");
  int64_t stopped = now_ns();
  pthread_join(t, NULL);
  assert_in_range((stopped - z.at) / 1000000, 0, 50);
  rig_close(&k);
}

/* An endless loop that also collects runs into the byte budget, with everything given back. */
static void test_budget_in_a_loop(void **state) {
  Rig k;
  float x = 1;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[]\n%y, %s : f32[], f32[t] = Loop(_, _, %x) body \"b\" {\n  in %i : i64[]\n"
               "  in %go : bool[]\n  in %v : f32[]\n  %w : f32[] = Neg(%v)\n  out %go, %w, %w\n}\nout %y, %s\n}\n");
  rig_feed(&k, DT_f32, 0, NULL, &x);
  k.alloc.limit = 1 << 20;
  assert_int_equal(rig_try(&k), ST_MEMORY);
  assert_true(*k.r.err.op); /* Neg or Loop: whichever the budget ran out in */
  assert_true(atomic_load(&k.alloc.peak) <= 1 << 20);
  rig_close(&k);
}

/* Captured and carried values are freed as the loop goes: a long one needs no more than a short one. */
static void test_loops_do_not_grow(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, COUNTING);
  int64_t m = 10;
  uint8_t c = 1;
  float s = 1, limit = 1e9f;
  rig_feed(&k, DT_i64, 0, NULL, &m);
  rig_feed(&k, DT_bool, 0, NULL, &c);
  rig_feed(&k, DT_f32, 0, NULL, &s);
  rig_feed(&k, DT_f32, 0, NULL, &limit);
  rig_run(&k);
  m = 2000;
  atomic_store(&k.alloc.peak, 0);
  rig_run(&k);
  assert_in_range(atomic_load(&k.alloc.peak), 0,
                  2000 * 1000); /* the scan output's pieces, not the trips' temporaries */
  rig_close(&k);
}

int main(void) {
#define T cmocka_unit_test
  const struct CMUnitTest tests[] = {T(test_if),
                                     T(test_outputs_of_control_flow_are_freed),
                                     T(test_nothing_is_computed_into_a_branch_that_is_a_constant),
                                     T(test_loop),
                                     T(test_shapes_that_change_from_trip_to_trip),
                                     T(test_nested_loops),
                                     T(test_scan),
                                     T(test_scan_errors),
                                     T(test_scan_outputs_must_agree),
                                     T(test_deadline),
                                     T(test_cancel),
                                     T(test_budget_in_a_loop),
                                     T(test_loops_do_not_grow)};
  return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
