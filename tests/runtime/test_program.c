/* test_program.c - graphs planned, loaded and run: views, in-place steps, outputs of every kind, shapes, errors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/runtime/rig.h"

/* A chain of element-by-element steps over 16 floats needs one place, not one per step. */
static void test_in_place_chain(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[n]\n"
               "const %two : f32[] = {2}\n"
               "const %one : f32[] = {1}\n"
               "%a : f32[n] = Mul(%x, %two)\n"
               "%b : f32[n] = Add(%a, %one)\n"
               "%c : f32[n] = Neg(%b)\n"
               "%d : f32[n] = Neg(%c)\n"
               "%y : f32[n] = Neg(%d)\n"
               "out %y\n}\n");
  rig_feed(&k, DT_f32, SHAPE(3), F32(1, 2, 3));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(3), F32(-3, -5, -7));
  assert_int_equal(rig_arena(&k), 1);
  rig_close(&k);
}

static void test_value_used_later_is_kept(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[n]\n"
               "%a : f32[n] = Neg(%x)\n"
               "%b : f32[n] = Abs(%a)\n" /* a is read again below */
               "%c : f32[n] = Mul(%b, %b)\n"
               "%y : f32[n] = Add(%a, %c)\n"
               "out %y\n}\n");
  rig_feed(&k, DT_f32, SHAPE(3), F32(1, 2, 3));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(3), F32(0, 2, 6));
  assert_int_equal(rig_arena(&k), 2);
  rig_close(&k);
}

/* The view reads a's memory after b could have been computed into it. */
static void test_view_of_in_place_candidate(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[n, 2]\n"
               "const %flat : i64[1] = {-1}\n"
               "%a : f32[n, 2] = Neg(%x)\n"
               "%v : f32[2*n] = Reshape(%a, %flat)\n"
               "%b : f32[n, 2] = Abs(%a)\n"
               "%w : f32[2*n] = Reshape(%b, %flat)\n"
               "%s : f32[2*n] = Add(%v, %w)\n"
               "%y : f32[2*n] = Neg(%s)\n"
               "out %y, %w\n}\n");
  rig_feed(&k, DT_f32, SHAPE(2, 2), F32(1, -2, 3, -4));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(4), F32(-0.0f, -4, -0.0f, -8));
  rig_expect(&k, 1, DT_f32, SHAPE(4), F32(1, 2, 3, 4));
  rig_close(&k);
}

/* b is computed into a, and the view of b keeps that memory alive. */
static void test_view_of_in_place_result(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[n, 2]\n"
               "const %flat : i64[1] = {-1}\n"
               "%a : f32[n, 2] = Neg(%x)\n"
               "%b : f32[n, 2] = Abs(%a)\n"
               "%v : f32[2*n] = Reshape(%b, %flat)\n"
               "%p : f32[n, 2] = Exp(%x)\n"
               "%q : f32[n, 2] = Log(%p)\n"
               "%c : f32[2*n] = Neg(%v)\n"
               "%r : f32[2*n] = Reshape(%q, %flat)\n"
               "%y : f32[2*n] = Mul(%c, %r)\n"
               "%z : f32[2*n] = Neg(%y)\n"
               "out %z\n}\n");
  rig_feed(&k, DT_f32, SHAPE(1, 2), F32(0, 0));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2), F32(0, 0));
  rig_close(&k);
}

static void test_same_memory_in_another_order_is_not_overwritten(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[2, 1]\n"
               "const %row : i64[2] = {1, 2}\n"
               "%a : f32[2, 1] = Neg(%x)\n"
               "%t : f32[1, 2] = Reshape(%a, %row)\n"
               "%s : f32[2, 2] = Add(%a, %t)\n"
               "%u : f32[2, 1] = Neg(%a)\n"
               "%v : f32[1, 2] = Reshape(%u, %row)\n"
               "%w : f32[2, 2] = Mul(%u, %v)\n"
               "%y : f32[2, 2] = Sub(%w, %s)\n"
               "out %y\n}\n");
  rig_feed(&k, DT_f32, SHAPE(2, 1), F32(1, 10));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2, 2), F32(3, 21, 21, 120));
  rig_close(&k);
}

static void test_outputs(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[n, 2]\n"
               "const %k : f32[2] = {7, 8}\n"
               "const %flat : i64[1] = {-1}\n"
               "const %zero : i64[1] = {0}\n"
               "%v : f32[2*n] = Reshape(%x, %flat)\n"
               "%w : f32[1, 2] = Unsqueeze(%k, %zero)\n"
               "%unused : f32[n, 2] = Neg(%x)\n"
               "%t, _ : f32[n, 1], _ = Split(%x, _) {axis = 1, num_outputs = 2}\n"
               "out %x, %k, %v, %v, %w, %t\n}\n");
  float x[] = {1, 2, 3, 4};
  rig_feed(&k, DT_f32, SHAPE(2, 2), x);
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2, 2), x);
  rig_expect(&k, 1, DT_f32, SHAPE(2), F32(7, 8));
  rig_expect(&k, 2, DT_f32, SHAPE(4), x);
  rig_expect(&k, 3, DT_f32, SHAPE(4), x);
  rig_expect(&k, 4, DT_f32, SHAPE(1, 2), F32(7, 8));
  rig_expect(&k, 5, DT_f32, SHAPE(2, 1), F32(1, 3));
  for (int i = 0; i < 6; i++) /* outputs are copies: neither the caller's input nor the model's constant */
    assert_ptr_not_equal(k.out[i].t.data, x);
  rig_close(&k);
}

/* Straight into the caller's memory, also for one value given twice, and for memory that is not aligned. */
static void test_callers_memory(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[n]\n%y : f32[n] = Neg(%x)\n%z : f32[n] = Abs(%y)\nout %z, %z, %y\n}\n");
  float z[3], z2[3];
  char raw[16] __attribute__((aligned(16)));
  Tensor a = {.dtype = DT_f32, .rank = 1, .dim = {3}, .data = z}, b = a, c = a;
  b.data = z2, c.data = raw + 1;
  rig_feed(&k, DT_f32, SHAPE(3), F32(1, 2, 3));
  k.out[0].into = &a, k.out[1].into = &b, k.out[2].into = &c;
  rig_run(&k);
  assert_true(k.out[0].in_place);
  assert_memory_equal(z, F32(1, 2, 3), sizeof z);
  assert_memory_equal(z2, F32(1, 2, 3), sizeof z2);
  assert_memory_equal(raw + 1, F32(-1, -2, -3), sizeof z);
  a.dim[0] = 4;
  rig_error(&k, ST_USAGE, "output 'z' is f32[3] but the memory given for it is f32[4]");
  rig_close(&k);
}

static void test_empty_and_scalar(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[n, 3]\nin %s : f32[]\n"
               "const %ax : i64[1] = {0}\n"
               "%y : f32[n, 3] = Mul(%x, %s)\n"
               "%t : f32[] = Neg(%s)\n"
               "%u : f32[] = Neg(%t)\n"
               "%r : f32[3] = ReduceSum(%y, %ax) {keepdims = 0}\n"
               "out %y, %u, %r\n}\n");
  float s = 2;
  rig_feed(&k, DT_f32, SHAPE(0, 3), NULL);
  rig_feed(&k, DT_f32, 0, NULL, &s);
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(0, 3), NULL);
  rig_expect(&k, 1, DT_f32, 0, NULL, &s);
  rig_expect(&k, 2, DT_f32, SHAPE(3), F32(0, 0, 0));
  rig_close(&k);
}

static void test_no_steps_and_no_outputs(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[n]\nout %x\n}\n");
  rig_feed(&k, DT_f32, SHAPE(2), F32(5, 6));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2), F32(5, 6));
  rig_close(&k);
}

/* The number of non-zero elements is known when NonZero has run; what follows is planned with that symbol. */
static void test_data_dependent_shape(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\n"
               "in %x : f32[n]\n"
               "%i : i64[1, nz] = NonZero(%x)\n"
               "%j : i64[1, nz] = Add(%i, %i)\n"
               "%d : i64[2] = sard.Dims() {dims = [nz, 2*nz]}\n"
               "out %j, %d\n}\n");
  rig_feed(&k, DT_f32, SHAPE(4), F32(1, 0, 0, 3));
  rig_run(&k);
  rig_expect(&k, 0, DT_i64, SHAPE(1, 2), I64(0, 6));
  rig_expect(&k, 1, DT_i64, SHAPE(2), I64(2, 4));
  k.in[0].data = F32(0, 5, 6, 7);
  rig_run(&k);
  rig_expect(&k, 0, DT_i64, SHAPE(1, 3), I64(2, 4, 6));
  rig_expect(&k, 1, DT_i64, SHAPE(2), I64(3, 6));
  int64_t dim[MAX_RANK];
  int rank;
  assert_int_equal(rt_output_shape(k.p, &k.r, k.in, 1, 0, dim, &rank), ST_UNSUPPORTED);
  assert_int_equal(rt_output_shape(k.p, &k.r, k.in, 1, 7, dim, &rank), ST_USAGE);
  rig_close(&k);
}

/* --- what inputs may be --- */

static void test_input_errors(void **state) {
  Rig k;
  (void)state;
  rig_open(&k,
           "graph \"g\" {\nin %a : f32[batch, 4]\nin %b : f32[batch]\n%y : f32[batch, 4] = Neg(%a)\nout %y, %b\n}\n");
  float v[64] = {0};
  rig_error(&k, ST_USAGE, "0 inputs given, the model takes 2");
  rig_feed(&k, DT_f32, SHAPE(2, 4), v);
  rig_feed(&k, DT_f32, SHAPE(2), v);
  rig_run(&k);
  k.in[0].dtype = DT_i32;
  rig_error(&k, ST_INVALID, "input 'a' is i32[2,4] but the model takes f32[batch, 4]: another element type");
  k.in[0].dtype = DT_f32, k.in[0].rank = 1;
  rig_error(&k, ST_INVALID, "input 'a' is f32[2] but the model takes f32[batch, 4]: another number of dimensions");
  k.in[0].rank = 2, k.in[0].dim[1] = 5;
  rig_error(&k, ST_INVALID, "input 'a' is f32[2,5] but the model takes f32[batch, 4]");
  k.in[0].dim[1] = 4, k.in[1].dim[0] = 3;
  rig_error(&k, ST_INVALID, "dimension 0 of input 'b' is 3, but 'batch' is 2 by dimension 0 of input 'a'");
  k.in[1].dim[0] = -1;
  rig_error(&k, ST_INVALID, "input 'b' is f32[-1] but the model takes f32[batch]: not a shape");
  k.in[1] = (Tensor){0};
  rig_error(&k, ST_USAGE, "input 'b' is not given");
  rig_close(&k);
}

static void test_linear_expressions(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %mask : f32[past + seq]\nin %x : f32[seq]\nin %even : f32[2*m]\n"
               "%p : i64[3] = sard.Dims() {dims = [past, seq, m]}\nout %p\n}\n");
  float v[64] = {0};
  rig_feed(&k, DT_f32, SHAPE(7), v);
  rig_feed(&k, DT_f32, SHAPE(3), v);
  rig_feed(&k, DT_f32, SHAPE(8), v);
  rig_run(&k);
  rig_expect(&k, 0, DT_i64, SHAPE(3), I64(4, 3, 4));
  k.in[2].dim[0] = 7;
  rig_error(&k, ST_INVALID, "dimension 0 of input 'even' is 7, which '2*m' cannot be");
  k.in[2].dim[0] = 8, k.in[0].dim[0] = 2; /* past would be -1 */
  rig_error(&k, ST_INVALID, "dimension 0 of input 'mask' is 2, which 'past + seq' cannot be");
  rig_close(&k);
}

static void test_contradicting_expression(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[seq]\nin %y : f32[2*seq + 1]\n%p : f32[seq] = Neg(%x)\nout %p\n}\n");
  float v[64] = {0};
  rig_feed(&k, DT_f32, SHAPE(3), v);
  rig_feed(&k, DT_f32, SHAPE(6), v);
  rig_error(&k, ST_INVALID, "dimension 0 of input 'y' is 6, but '2*seq + 1' is 7");
  k.in[1].dim[0] = 7;
  rig_run(&k);
  rig_close(&k);
}

/* Nothing tells height: any extent is right, and what is computed from it finds its shape as it goes. */
static void test_expressions_that_determine_nothing(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[height//8]\nin %z : f32[a + b]\n%y : f32[height//8] = Neg(%x)\n"
               "%t : f32[height//8] = Neg(%y)\n%w : f32[a + b] = Neg(%z)\nout %t, %w\n}\n");
  rig_feed(&k, DT_f32, SHAPE(3), F32(1, 2, 3));
  rig_feed(&k, DT_f32, SHAPE(2), F32(4, 5));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(3), F32(1, 2, 3));
  rig_expect(&k, 1, DT_f32, SHAPE(2), F32(-4, -5));
  rig_close(&k);
}

/* --- limits --- */

static void test_budget(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %s : i64[1]\n%y : f32[n] = ConstantOfShape(%s)\n%z : f32[n] = Neg(%y)\nout %z\n}\n");
  rig_feed(&k, DT_i64, SHAPE(1), I64((int64_t)1 << 40));
  k.alloc.limit = 1 << 20;
  assert_int_equal(rig_try(&k), ST_MEMORY);
  assert_non_null(strstr(k.r.err.message, "limit 1048576"));
  assert_string_equal(k.r.err.op, "ConstantOfShape"); /* the step, though memory unwinds past it */
  k.in[0].data = I64(INT64_MAX);
  assert_int_equal(rig_try(&k), ST_INVALID);
  k.in[0].data = I64(4);
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(4), F32(-0.0f, -0.0f, -0.0f, -0.0f));
  rig_close(&k);
}

/* Every allocation of a run refused in turn: an error each time, and all memory given back. */
static void test_failing_allocations(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[n]\n%i : i64[1, nz] = NonZero(%x)\n%j : i64[1, nz] = Add(%i, %i)\n"
               "%a : f32[n] = Neg(%x)\n%b : f32[n] = Exp(%a)\n%y : f32[n] = Add(%a, %b)\nout %j, %y\n}\n");
  rig_feed(&k, DT_f32, SHAPE(4), F32(1, 0, 0, 3));
  size_t idle = atomic_load(&k.alloc.used);
  int failed = 0;
  for (size_t limit = idle + 1;; limit += 200) { /* the limit moves up through every request of the run */
    k.alloc.limit = limit;
    Status st = rig_try(&k);
    if (!st)
      break;
    assert_int_equal(st, ST_MEMORY);
    failed++;
    ctx_close(&k.r);
    size_t kept = (k.p->layouts ? k.p->layouts->bytes : 0) + k.p->spare[SPARE_ARENA].bytes +
                  k.p->spare[SPARE_SCRATCH].bytes; /* they stay with the program */
    assert_int_equal(atomic_load(&k.alloc.used), idle + kept);
    ctx_open(&k.r, &k.alloc);
  }
  assert_true(failed > 10);
  rig_expect(&k, 0, DT_i64, SHAPE(1, 2), I64(0, 6));
  rig_close(&k);
}

static void test_layouts_are_kept_and_bounded(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : f32[n]\n%a : f32[n] = Neg(%x)\n%y : f32[n] = Neg(%a)\nout %y\n}\n");
  static float v[300];
  rig_feed(&k, DT_f32, SHAPE(1), v);
  for (int round = 0; round < 2; round++)
    for (int n = 1; n <= 200; n++) {
      k.in[0].dim[0] = n;
      rig_run(&k);
    }
  assert_true(k.p->nlayout <= 65);
  Layout *newest = k.p->layouts;
  rig_run(&k);
  assert_ptr_equal(k.p->layouts, newest);
  rig_close(&k);
}

static void test_strings_outlive_the_input(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, "graph \"g\" {\nin %x : str[n]\n%y : str[n] = Identity(%x)\nout %y, %x\n}\n");
  char text[] = "hello";
  Str s[] = {{text, 5}, {NULL, 0}};
  rig_feed(&k, DT_str, SHAPE(2), s);
  rig_run(&k);
  memset(text, '?', 5);
  for (int i = 0; i < 2; i++) {
    const Str *got = k.out[i].t.data;
    assert_true(str_is(got[0], "hello"));
    assert_int_equal(got[1].len, 0);
  }
  rig_close(&k);
}

int main(void) {
#define T cmocka_unit_test
  const struct CMUnitTest tests[] = {T(test_in_place_chain),
                                     T(test_value_used_later_is_kept),
                                     T(test_view_of_in_place_candidate),
                                     T(test_view_of_in_place_result),
                                     T(test_same_memory_in_another_order_is_not_overwritten),
                                     T(test_outputs),
                                     T(test_callers_memory),
                                     T(test_empty_and_scalar),
                                     T(test_no_steps_and_no_outputs),
                                     T(test_data_dependent_shape),
                                     T(test_input_errors),
                                     T(test_linear_expressions),
                                     T(test_contradicting_expression),
                                     T(test_expressions_that_determine_nothing),
                                     T(test_budget),
                                     T(test_failing_allocations),
                                     T(test_layouts_are_kept_and_bounded),
                                     T(test_strings_outlive_the_input)};
  return cmocka_run_group_tests_name("program", tests, NULL, NULL);
}
