/* test_driver.c - the pass driver: names, dumps, times, stopping, what rules log, cancelling.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail /* ctx.h has a function of that name */

#include "ir/infer.h"
#include "passes/pass.h"

#include <stdio.h>
#include <string.h>

static const char text[] = "graph \"g\" {\n"
                           "  in %x : f32[n]\n"
                           "  const %one : f32[] = {1}\n"
                           "  %a : f32[n] = Mul(%x, %one) @ \"first\" _ _\n"
                           "  %y : f32[n] = Neg(%a)\n"
                           "  %z : f32[n] = Neg(%a)\n"
                           "  %s : f32[n] = Add(%y, %z)\n"
                           "  out %s\n"
                           "}\n";

typedef struct Sink {
  char text[20000];
  size_t n;
} Sink;

static void take(void *arg, const char *t, size_t n) {
  Sink *s = arg;
  if (s->n + n < sizeof s->text)
    memcpy(s->text + s->n, t, n), s->n += n;
}

static void take_log(void *arg, int level, const char *t) {
  (void)level;
  take(arg, t, strlen(t));
  take(arg, "\n", 1);
}

static int count(const char *hay, const char *needle) {
  int n = 0;
  for (const char *p = hay; (p = strstr(p, needle)); p++)
    n++;
  return n;
}

static void in_ctx(Status (*fn)(Ctx *c, void *arg)) {
  Alloc alloc;
  Ctx c;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  assert_int_equal(ctx_protect(&c, fn, NULL), ST_OK);
  ctx_close(&c);
  assert_int_equal(alloc.used, 0);
}

static Graph *graph(Ctx *c) {
  Graph *g;
  assert_int_equal(graph_parse(c, text, strlen(text), NULL, &g), ST_OK);
  assert_int_equal(graph_infer(c, g), ST_OK);
  return g;
}

static Status names(Ctx *c, void *arg) {
  Graph *g = graph(c);
  (void)arg;
  assert_int_equal(pass_run(c, g, "algebrra"), ST_USAGE);
  assert_string_equal(c->err.hint, "did you mean 'algebra'?");
  assert_int_equal(passes_run(c, g, &(PassOptions){.stop_after = "none_of_them"}), ST_USAGE);
  assert_non_null(strstr(c->err.hint, "the passes are: lengths, losses, gradient, ml, microsoft, fold, attention_past, shapes, "));
  assert_int_equal(passes_run(c, g, &(PassOptions){.dump_after = "x"}), ST_USAGE);
  const char *name, *doc;
  size_t n = 0;
  while (pass_info(n, &name, &doc))
    assert_true(*name && *doc), n++;
  assert_true(n >= 10);
  return ST_OK;
}

static Status dumps(Ctx *c, void *arg) {
  static Sink s;
  Graph *g = graph(c);
  (void)arg;
  s = (Sink){.n = 0};
  assert_int_equal(
      passes_run(c, g, &(PassOptions){.dump_after = "algebra", .stop_after = "algebra", .out = take, .arg = &s}),
      ST_OK);
  assert_int_equal(count(s.text, "# after algebra\n"), 1);
  assert_int_equal(count(s.text, "# after"), 1);
  assert_null(strstr(s.text, "Mul("));
  assert_int_equal(graph_node_count(g, true), 3); /* stopped before cse */
  s = (Sink){.n = 0};
  assert_int_equal(
      passes_run(c, g, &(PassOptions){.dump_after = "all", .time = true, .verify = true, .out = take, .arg = &s}),
      ST_OK);
  assert_true(count(s.text, "# after") >= 10);
  assert_true(count(s.text, " ms ") >= 10);
  assert_int_equal(graph_node_count(g, true), 2);
  return ST_OK;
}

static Status logs(Ctx *c, void *arg) {
  static Sink s;
  Graph *g = graph(c);
  (void)arg;
  s = (Sink){.n = 0};
  c->log = take_log, c->log_arg = &s;
  assert_int_equal(pass_run(c, g, "algebra"), ST_OK);
  assert_string_equal(s.text, "x*1: Mul 'first'\n");
  return ST_OK;
}

static Status cancelled(Ctx *c, void *arg) {
  static const atomic_int stop = 1;
  Graph *g = graph(c);
  (void)arg;
  c->cancel = &stop;
  assert_int_equal(passes_run(c, g, NULL), ST_CANCELLED);
  return ST_OK;
}

static Status everything(Ctx *c, void *arg) {
  Graph *g;
  (void)arg;
  TRY(graph_parse(c, text, strlen(text), NULL, &g));
  TRY(graph_infer(c, g));
  TRY(passes_run(c, g, &(PassOptions){.verify = true}));
  return graph_verify(c, g);
}

/* Whatever the budget is, the end is an error or a right graph, and nothing is lost. */
static void test_memory(void **state) {
  (void)state;
  int failed = 0, done = 0;
  for (size_t limit = 1000; limit < 400000 && done < 3; limit += 777) {
    Alloc alloc;
    Ctx c;
    alloc_init_system(&alloc);
    alloc.limit = limit;
    ctx_open(&c, &alloc);
    Status st = ctx_protect(&c, everything, NULL);
    assert_true(st == ST_OK || st == ST_MEMORY);
    failed += st != ST_OK, done += st == ST_OK;
    ctx_close(&c);
    assert_int_equal(alloc.used, 0);
  }
  assert_true(failed > 3 && done == 3);
}

static void test_names(void **state) { (void)state, in_ctx(names); }
static void test_dumps(void **state) { (void)state, in_ctx(dumps); }
static void test_logs(void **state) { (void)state, in_ctx(logs); }
static void test_cancel(void **state) { (void)state, in_ctx(cancelled); }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_dumps),
                                     cmocka_unit_test(test_logs), cmocka_unit_test(test_cancel),
                                     cmocka_unit_test(test_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
