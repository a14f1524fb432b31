/* test_text.c - the kernel IR without a code generator: parse errors, what the verifier refuses, signatures, the evaluator
 * against arithmetic done by hand, schedules and counts.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include "codegen/schedule.h"
#include "runtime/kernel_abi.h"

#include <cmocka.h>
#include <math.h>
#include <string.h>

static Ctx c;
static Alloc alloc;
static Arena *a;

static int set_up(void **unused) {
  (void)unused;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  a = arena_create(&c);
  return 0;
}

static int tear_down(void **unused) {
  (void)unused;
  ctx_close(&c);
  return (int)alloc.used;
}

static Kernel *parse(const char *text) {
  Kernel *k = NULL;
  if (kernel_parse(&c, a, text, strlen(text), "text", &k))
    fail_msg("%s\n%s", c.err.message, text);
  return k;
}

static void refuse(const char *text, const char *why) {
  Kernel *k;
  if (!kernel_parse(&c, a, text, strlen(text), "text", &k))
    fail_msg("accepted: %s", text);
  if (!strstr(c.err.message, why))
    fail_msg("'%s' instead of '%s'", c.err.message, why);
}

static void syntax(void **unused) {
  (void)unused;
  refuse("", "1:1: expected kernel");
  refuse("kernel \"a", "expected \"");
  refuse("kernel \"a\" (x: f32[n)", "expected ,");
  refuse("kernel \"a\" (x: f33[n]) -> () {}", "unknown element type");
  refuse("kernel \"a\" (x: f32[n], x: f32[n]) -> () {}", "two buffers of one name");
  refuse("kernel \"a\" () -> (y: f32[]) {\n  y[] = q\n}", "2:9: no such variable");
  refuse("kernel \"a\" () -> (y: f32[]) { y[] = (1.0 + 2) }", "operands of different types");
  refuse("kernel \"a\" () -> (y: f32[]) { y[] = 1.0 ", "expected");
  refuse("kernel \"a\" () -> (y: f32[]) { y[] = 1.0 } more", "something follows");
  refuse("kernel \"a\" () -> (y: f32[]) { y[] = gelu(1.0) }", "unknown function");
  refuse("kernel \"a\" () -> (y: f32[]) { for i in 4 vector(0) { y[] = 1.0 } }", "a width from 1 to 4096");
  char deep[4096] = "kernel \"a\" () -> (y: f32[]) { y[] = ";
  memset(deep + strlen(deep), '(', 2000);
  refuse(deep, "too deep");
}

static void verifier(void **unused) {
  (void)unused;
  refuse("kernel \"a\" (x: f32[n]) -> () { for i in n { x[i] = 1.0 } }", "a store to an input");
  refuse("kernel \"a\" () -> (y: f32[]) { acc s: f32 = 0.0 for i in n parallel { s += 1.0 } y[] = s }",
         "an accumulator across a parallel loop");
  refuse("kernel \"a\" () -> (y: f32[]) { let s: f32 = 0.0 s += 1.0 y[] = s }", "an update of what is no accumulator");
  refuse("kernel \"a\" () -> (y: f32[]) { if (1 < 2) { let s: f32 = 0.0 } y[] = s }", "no such variable");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[n]) { acc s: f32 = 0.0 for i in n vector(4) { s += x[i] y[i] = s } }",
         "iterations have an order");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[]) { for i in n vector(4) { y[] = x[i] } }", "iterations have an order");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[]) temp (x: f32[n]) { }", "two buffers of one name");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[n]) temp (t: f32[]) { for i in n vector(4) { t[] = x[i] y[i] = t[] } }",
         "iterations have an order");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[]) { for i in n parallel { y[] = x[i] } }", "iterations have an order");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[]) { acc s: f32 = 0.0 for i in n scan(4) { s = x[i] } y[] = s }",
         "a scan of another form");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[n]) { for i in n tile(4) { y[i] = x[i] } }", "a tile that is not around");
  refuse("kernel \"a\" (x: f32[n]) -> (y: f32[n]) { for i in n to 1.0 { y[i] = x[i] } }", "ends at what is no i64");
  refuse("kernel \"a\" () -> (y: f32[]) { check 3 else 4 }", "a check without a condition");
}

/* Names do not matter, structure and schedule do. */
static void signatures(void **unused) {
  (void)unused;
  const Dim *d;
  uint32_t n;
  const char *one = kernel_signature(
      parse("kernel \"a\" (x: f32[m, 2*n]) -> (y: f32[2*n]) { for i in 2*n { y[i] = x[0, i] } }"), &d, &n);
  assert_int_equal(n, 2);
  assert_string_equal(dim_text(&c, d[0]), "m");
  assert_string_equal(dim_text(&c, d[1]), "2*n");
  const char *two =
      kernel_signature(parse("kernel \"b\" (p: f32[u, w]) -> (q: f32[w]) { for k in w { q[k] = p[0, k] } }"), &d, &n);
  assert_string_equal(one, two);
  two = kernel_signature(
      parse("kernel \"b\" (p: f32[u, w]) -> (q: f32[w]) { for k in w vector(8) { q[k] = p[0, k] } }"), &d, &n);
  assert_string_not_equal(one, two);
  two = kernel_signature(parse("kernel \"b\" (p: f32[w, w]) -> (q: f32[w]) { for k in w { q[k] = p[0, k] } }"), &d, &n);
  assert_string_not_equal(one, two);
}

static bool no_symbols(void *arg, Dim sym, int64_t *v) {
  (void)arg, (void)sym, (void)v;
  return false;
}

/* [1, 2, 4] -> sums of squares 21, product 8, greatest index of an even number 2; mod and division as stated in kernel.h. */
static void evaluator(void **unused) {
  (void)unused;
  Kernel *k = parse("kernel \"a\" (x: f32[3], i: i32[2]) -> (y: f32[3], j: i32[6]) {"
                    "  acc s: f32 = 0.0 acc p: f32 = 1.0"
                    "  for t in 3 { s += (x[t] * x[t]) p *= x[t] }"
                    "  y[0] = s y[1] = p y[2] = max(nan, p)"
                    "  j[0] = (i[0] / i[1]) j[1] = mod(i[0], i[1]) j[2] = fmod(i[0], i[1]) j[3] = (i[0] >> i32(1))"
                    "  j[4] = cast.i32((i[0] < i[1])) j[5] = select((p == 8.0), i32(5), i32(6)) }");
  float x[] = {1, 2, 4}, y[3];
  int32_t i[] = {-7, 2}, j[6];
  Tensor t[] = {{.dtype = DT_f32, .rank = 1, .dim = {3}, .data = x},
                {.dtype = DT_i32, .rank = 1, .dim = {2}, .data = i},
                {.dtype = DT_f32, .rank = 1, .dim = {3}, .data = y},
                {.dtype = DT_i32, .rank = 1, .dim = {6}, .data = j}};
  assert_int_equal(kernel_eval(&c, k, (Tensor *const[]){&t[0], &t[1], &t[2], &t[3]}, no_symbols, NULL), ST_OK);
  assert_true(y[0] == 21 && y[1] == 8 && isnan(y[2]));
  const int32_t want[] = {-3, 1, -1, -4, 1, 5};
  assert_memory_equal(j, want, sizeof want);
  i[1] = 0;
  assert_int_equal(kernel_eval(&c, k, (Tensor *const[]){&t[0], &t[1], &t[2], &t[3]}, no_symbols, NULL), ST_INVALID);
}

static void schedule(const char *text, const char *want, const char *parts) {
  Unit u = {.kind = UNIT_LOOP, .kernel = parse(text)};
  StrBuf b;
  unit_schedule(&c, &u, "x86-64-v3");
  assert_int_equal(kernel_verify(&c, u.kernel), ST_OK);
  buf_init(&b, a);
  kernel_print(&b, u.kernel);
  assert_string_equal(b.text, want);
  assert_string_equal(dim_text(&c, u.parts), parts);
}

static void schedules(void **unused) {
  (void)unused;
  /* one loop: parts of KERNEL_CHUNK iterations, two registers of eight lanes */
  schedule("kernel \"a\" (x: f32[n]) -> (y: f32[n]) { for i in n { y[i] = (x[i] * 2.0) } }",
           "kernel \"a\" (x: f32[n]) -> (y: f32[n]) {\n"
           "  for i in n parallel(16) {\n"
           "    y[i] = (x[i] * 2.0)\n"
           "  }\n"
           "}\n",
           "(n + 4095)//4096");
  /* rows: the outer loops become one; a short inner loop takes no more lanes than it has iterations */
  schedule("kernel \"a\" (x: f32[b, a, 5]) -> (y: f32[a, b, 5]) { for i in a { for j in b { for k in 5 { y[i, j, k] = "
           "exp(x[j, i, k]) } } } }",
           "kernel \"a\" (x: f32[b, a, 5]) -> (y: f32[a, b, 5]) {\n"
           "  for part in b*a parallel {\n"
           "    let j: i64 = mod(part, dim(b))\n"
           "    let i: i64 = (part / dim(b))\n"
           "    for k in 5 vector(8) {\n"
           "      y[i, j, k] = exp(x[j, i, k])\n"
           "    }\n"
           "  }\n"
           "}\n",
           "b*a");
  /* a sum over rows: lanes along blocks of columns, the loop over rows around them, four at once */
  schedule("kernel \"a\" (x: f32[b, m, 1000]) -> (y: f32[b, 1000]) { for i in b { for j in 1000 { acc s: f32 = 0.0 "
           "for k in m { s += x[i, k, j] } y[i, j] = s } } }",
           "kernel \"a\" (x: f32[b, m, 1000]) -> (y: f32[b, 1000]) temp (s: f32[512]) {\n"
           "  for part in 2*b parallel {\n"
           "    let block: i64 = mod(part, 2)\n"
           "    let i: i64 = (part / 2)\n"
           "    for lane in 512 to (1000 - (block * 512)) vector(16) {\n"
           "      let j: i64 = ((block * 512) + lane)\n"
           "      acc s: f32 = 0.0\n"
           "      s[lane] = s\n"
           "    }\n"
           "    for rows in (m + 3)//4 {\n"
           "      for lane in 512 to (1000 - (block * 512)) vector(16) ahead(1, rows) {\n"
           "        let j: i64 = ((block * 512) + lane)\n"
           "        acc s: f32 = s[lane]\n"
           "        for u in 4 to (dim(m) - (rows * 4)) unroll(4) {\n"
           "          s += x[i, ((rows * 4) + u), j]\n"
           "        }\n"
           "        s[lane] = s\n"
           "      }\n"
           "    }\n"
           "    for lane in 512 to (1000 - (block * 512)) vector(16) {\n"
           "      let j: i64 = ((block * 512) + lane)\n"
           "      let s: f32 = s[lane]\n"
           "      y[i, j] = s\n"
           "    }\n"
           "  }\n"
           "}\n",
           "2*b");
  /* a transposition: tiles of a register of lanes */
  schedule("kernel \"a\" (x: f32[m, 64]) -> (y: f32[64, m]) { for i in 64 { for j in m { y[i, j] = x[j, i] } } }",
           "kernel \"a\" (x: f32[m, 64]) -> (y: f32[64, m]) {\n"
           "  for block in (m + 31)//32 parallel {\n"
           "    for i in 64 tile(8) {\n"
           "      for lane in 32 to (dim(m) - (block * 32)) vector(8) {\n"
           "        let j: i64 = ((block * 32) + lane)\n"
           "        y[i, j] = x[j, i]\n"
           "      }\n"
           "    }\n"
           "  }\n"
           "}\n",
           "(m + 31)//32");
  /* rows as long as that many lines: blocks of as many as the first TLB has pages, two registers, which fill a line */
  schedule("kernel \"a\" (x: f32[1024, 1024]) -> (y: f32[1024, 1024]) { for i in 1024 { for j in 1024 { y[i, j] = x[j, "
           "i] } } }",
           "kernel \"a\" (x: f32[1024, 1024]) -> (y: f32[1024, 1024]) {\n"
           "  for part in 1024 parallel {\n"
           "    let block: i64 = mod(part, 64)\n"
           "    let block: i64 = (part / 64)\n"
           "    for u in 64 tile(8) {\n"
           "      for lane in 16 vector(16) {\n"
           "        let j: i64 = ((block * 16) + lane)\n"
           "        y[((block * 64) + u), j] = x[j, ((block * 64) + u)]\n"
           "      }\n"
           "    }\n"
           "  }\n"
           "}\n",
           "1024");
  /* rows that are not cut: a register at a time */
  schedule(
      "kernel \"a\" (x: f32[4096, 64]) -> (y: f32[64, 4096]) { for i in 64 { for j in 4096 { y[i, j] = x[j, i] } } }",
      "kernel \"a\" (x: f32[4096, 64]) -> (y: f32[64, 4096]) {\n"
      "  for block in 128 parallel {\n"
      "    for i in 64 tile(8) {\n"
      "      for lane in 32 vector(8) {\n"
      "        let j: i64 = ((block * 32) + lane)\n"
      "        y[i, j] = x[j, i]\n"
      "      }\n"
      "    }\n"
      "  }\n"
      "}\n",
      "128");
  /* a running sum: a scan of a register of lanes */
  schedule("kernel \"a\" (x: f32[m, n]) -> (y: f32[m, n]) { for i in m { acc s: f32 = 0.0 for j in n { s += x[i, j] "
           "y[i, j] = s } } }",
           "kernel \"a\" (x: f32[m, n]) -> (y: f32[m, n]) {\n"
           "  for i in m parallel {\n"
           "    acc s: f32 = 0.0\n"
           "    for j in n scan(8) {\n"
           "      s += x[i, j]\n"
           "      y[i, j] = s\n"
           "    }\n"
           "  }\n"
           "}\n",
           "m");
  /* three passes over a row: the last asks for the next row, as the second computes little … */
  schedule("kernel \"a\" (x: f32[m, n]) -> (y: f32[m, n]) { for i in m { acc s: f32 = 0.0 for k in n { s += x[i, k] } "
           "acc q: "
           "f32 = 0.0 for k in n { q += (x[i, k] - s) } for k in n { y[i, k] = (x[i, k] * q) } } }",
           "kernel \"a\" (x: f32[m, n]) -> (y: f32[m, n]) {\n"
           "  for i in m parallel {\n"
           "    acc s: f32 = 0.0\n"
           "    for k in n vector(16) {\n"
           "      s += x[i, k]\n"
           "    }\n"
           "    acc q: f32 = 0.0\n"
           "    for k in n vector(16) {\n"
           "      q += (x[i, k] - s)\n"
           "    }\n"
           "    for k in n vector(16) ahead(1, i) {\n"
           "      y[i, k] = (x[i, k] * q)\n"
           "    }\n"
           "  }\n"
           "}\n",
           "m");
  /* … or the second, which computes for long */
  schedule("kernel \"a\" (x: f32[m, n]) -> (y: f32[m, n]) { for i in m { acc s: f32 = 0.0 for k in n { s += x[i, k] } "
           "acc q: "
           "f32 = 0.0 for k in n { q += exp((x[i, k] - s)) } for k in n { y[i, k] = (x[i, k] * q) } } }",
           "kernel \"a\" (x: f32[m, n]) -> (y: f32[m, n]) {\n"
           "  for i in m parallel {\n"
           "    acc s: f32 = 0.0\n"
           "    for k in n vector(16) {\n"
           "      s += x[i, k]\n"
           "    }\n"
           "    acc q: f32 = 0.0\n"
           "    for k in n vector(8) ahead(1, i) {\n"
           "      q += exp((x[i, k] - s))\n"
           "    }\n"
           "    for k in n vector(16) {\n"
           "      y[i, k] = (x[i, k] * q)\n"
           "    }\n"
           "  }\n"
           "}\n",
           "m");
  /* two loops side by side are not parallel */
  schedule("kernel \"a\" (x: f32[n]) -> (y: f32[n], z: f32[]) { acc s: f32 = 0.0 for i in n { s += x[i] } for i in n { "
           "y[i] = (x[i] / s) } z[] = s }",
           "kernel \"a\" (x: f32[n]) -> (y: f32[n], z: f32[]) {\n"
           "  acc s: f32 = 0.0\n"
           "  for i in n vector(16) {\n"
           "    s += x[i]\n"
           "  }\n"
           "  for i in n vector(16) {\n"
           "    y[i] = (x[i] / s)\n"
           "  }\n"
           "  z[] = s\n"
           "}\n",
           "1");
}

/* 2 reads and 1 write of 4 bytes per element; one multiplication and one addition each. */
static void counts(void **unused) {
  (void)unused;
  Unit u = {.kind = UNIT_LOOP,
            .kernel = parse("kernel \"a\" (x: f32[p, q], w: f32[p, q]) -> (y: f32[p, q]) {"
                            " for i in p { for j in q { y[i, j] = ((x[i, j] * w[i, j]) + 1.0) } } }")};
  unit_count(&c, &u);
  assert_string_equal(dim_text(&c, u.flops), "2*p*q");
  assert_string_equal(dim_text(&c, u.bytes), "12*p*q");
  assert_string_equal(dim_text(&c, u.parts), "1");
}

/* Columns of the block that a softmax of columns keeps: as many as the second cache takes, or, as Intel's CPUs have it, the first. */
static void block_widths(void **unused) {
  (void)unused;
  static const struct {
    const char *level, *rows, *columns;
  } want[] = {{"x86-64-v3", "64", "512"},      {"x86-64-v4-vnni-bf16", "64", "512"}, {"x86-64-v4-vnni", "64", "128"},
              {"x86-64-v4-vnni", "32", "256"}, {"x86-64-v4", "17", "256"},           {"x86-64-v4", "128", "128"}};
  for (size_t i = 0; i < countof(want); i++) {
    const char *text =
        "kernel \"a\" (x: f32[b, %s, 4096]) -> (y: f32[b, %s, 4096]) { for i in b { for j in 4096 { acc s: f32 = "
        "0.0 for k in %s { let e: f32 = exp(x[i, k, j]) y[i, k, j] = e s += e } for k in %s { y[i, k, j] = "
        "(y[i, k, j] / s) } } } }";
    const char *n = want[i].rows;
    Unit u = {.kind = UNIT_LOOP, .kernel = parse(arena_printf(a, text, n, n, n, n))};
    unit_schedule(&c, &u, want[i].level);
    const KBuf *block = NULL;
    for (uint32_t b = u.kernel->nio; b < u.kernel->nbuf; b++)
      block = u.kernel->buf[b]->rank == 2 ? u.kernel->buf[b] : block;
    assert_non_null(block);
    assert_string_equal(dim_text(&c, block->dim[1]), want[i].columns);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(syntax),     cmocka_unit_test(verifier),
                                     cmocka_unit_test(signatures), cmocka_unit_test(evaluator),
                                     cmocka_unit_test(schedules),  cmocka_unit_test(block_widths),
                                     cmocka_unit_test(counts)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
