/* test_infer.c - the driver of inference: signatures, arity, and what the file declares against what is inferred.
 * SPDX-License-Identifier: Apache-2.0 */
#include "ir/infer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct Job {
  const char *text;
  Graph *g;
} Job;

static Status infer(Ctx *c, void *arg) {
  Job *j = arg;
  TRY(graph_parse(c, j->text, strlen(j->text), "test", &j->g));
  return graph_infer(c, j->g);
}

/* want: the type of the first output, or the start of the error's message. */
static void check(const char *text, Status st, const char *want) {
  Alloc alloc;
  Ctx c;
  Job j = {text, NULL};
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  Status got = ctx_protect(&c, infer, &j);
  const char *what = got ? c.err.message : type_text(&c, &j.g->out[0]->type);
  assert_int_equal(got, st);
  if (strncmp(what, want, got ? strlen(want) : strlen(what) + 1))
    assert_string_equal(what, want);
  ctx_close(&c);
  assert_int_equal(atomic_load(&alloc.used), 0);
}

static void test_declared_types(void **state) {
  (void)state;
  /* nothing declared; declared with more than inference knows; with a name of its own */
  check("graph \"g\" {\nin %x : f32[n]\n%y : ?[*] = Neg(%x)\nout %y\n}\n", ST_OK, "f32[n]");
  check("graph \"g\" {\nin %x : f32[n]\n%y : i64[1, 5] = NonZero(%x)\nout %y\n}\n", ST_OK, "i64[1, 5]");
  check("graph \"g\" {\nin %x : f32[n]\n%y : f32[m] = Neg(%x)\nout %y\n}\n", ST_OK, "f32[n]");
  /* stale: noted for batch 1, the input made dynamic later */
  check("graph \"g\" {\nin %x : f32[batch, 2]\n%y : f32[1, 2] = Neg(%x)\nout %y\n}\n", ST_OK, "f32[batch, 2]");
  /* contradictions */
  check("graph \"g\" {\nin %x : f32[4]\n%y : f32[5] = Neg(%x)\nout %y\n}\n", ST_INVALID,
        "output 0 is declared as f32[5] but inferred as f32[4]");
  check("graph \"g\" {\nin %x : f32[4]\n%y : f32[4, 1] = Neg(%x)\nout %y\n}\n", ST_INVALID,
        "output 0 is declared as f32[4, 1]");
  check("graph \"g\" {\nin %x : f32[4]\n%y : i32[4] = Neg(%x)\nout %y\n}\n", ST_INVALID,
        "output 0 is declared as i32[4]");
}

static void test_signatures(void **state) {
  (void)state;
  check("graph \"g\" {\nin %x : f32[n]\nin %z : f64[n]\n%y : ?[*] = Add(%x, %z)\nout %y\n}\n", ST_INVALID,
        "input 1 is f64 where f32 is needed");
  check("graph \"g\" {\nin %x : i32[n]\n%y : ?[*] = Exp(%x)\nout %y\n}\n", ST_INVALID,
        "input 0 is i32; the operator takes float");
  check("graph \"g\" {\nin %x : f32[n]\nin %z : f32[n]\n%y : ?[*] = And(%x, %z)\nout %y\n}\n", ST_INVALID,
        "input 0 must be bool, not f32");
  check("graph \"g\" {\nin %x : f32[n]\nin %z : f32[m]\n%y : ?[*] = Less(%x, %z)\nout %y\n}\n", ST_OK,
        "bool[Bcast(n, m)]");
  check("graph \"g\" {\nin %x : f32[3]\nin %z : f32[4]\n%y : ?[*] = Add(%x, %z)\nout %y\n}\n", ST_INVALID,
        "the shapes do not broadcast: 3 against 4");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_declared_types), cmocka_unit_test(test_signatures)};
  return cmocka_run_group_tests_name("infer", tests, NULL, NULL);
}
