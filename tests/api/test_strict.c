/* test_strict.c - a step that nothing compiles is an error on the device cpu, unless it is allowed.
 * The steps are element-by-element operators on a tensor of a rank that only the run tells.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sard.h"
#include "tests/frontend/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

typedef struct Said {
  int n;
  char text[4][200];
} Said;

static void listen(void *arg, int level, const char *text) {
  Said *s = arg;
  if (!level && s->n < 4)
    snprintf(s->text[s->n++], sizeof s->text[0], "%s", text);
}

/* y = sqrt(x), z = exp(y). */
static Pb ranks(void) {
  Pb g = {0};
  put_op(&g, "root", "Sqrt", "x", "y");
  put_op(&g, "power", "Exp", "y", "z");
  put_value(&g, GRAPH_INPUT, "x", F32, NULL);
  put_value(&g, GRAPH_OUTPUT, "z", 0, NULL);
  return model_of(&g, 8, 20);
}

static sard_options on(const char *device) {
  sard_options o = SARD_OPTIONS_INIT;
  o.device = device, o.cache = "off";
  return o;
}

static void test_refused(void **state) {
  (void)state;
  Pb m = ranks();
  sard_options o = on("cpu");
  sard_model *model = NULL;
  sard_error *e = NULL;
  for (int older = 0; older < 2; older++) {
    o.size = older ? offsetof(sard_options, allow_reference) : sizeof o; /* a program from before the option */
    o.allow_reference = older;
    assert_int_equal(sard_load_bytes(NULL, m.b, m.n, NULL, &o, &model, &e), SARD_ERROR_UNSUPPORTED);
    assert_string_equal(sard_error_node(e), "root");
    assert_string_equal(sard_error_op(e), "Sqrt");
    assert_non_null(strstr(sard_error_message(e), "device 'cpu'"));
    assert_non_null(strstr(sard_error_message(e), "f32[*] -> f32[*]"));
    assert_non_null(strstr(sard_error_hint(e), "allow_reference"));
    assert_non_null(strstr(sard_error_hint(e), "2 such steps"));
    sard_error_free(e);
    e = NULL;
  }
  o = on("reference");
  assert_int_equal(sard_load_bytes(NULL, m.b, m.n, NULL, &o, &model, &e), SARD_OK);
  sard_model_free(model);
  free(m.b);
}

static void test_allowed(void **state) {
  (void)state;
  Pb m = ranks();
  Said said = {0};
  sard_env *env;
  sard_env_options eo = SARD_ENV_OPTIONS_INIT;
  eo.log = listen, eo.log_arg = &said;
  sard_options o = on("cpu");
  o.allow_reference = true;
  sard_model *model = NULL;
  sard_result *r;
  float x[] = {0, 1, 4};
  sard_tensor in = {.data = x, .dtype = SARD_F32, .rank = 1, .dim = {3}}, out;
  assert_int_equal(sard_env_create(&eo, &env, NULL), SARD_OK);
  assert_int_equal(sard_load_bytes(env, m.b, m.n, NULL, &o, &model, NULL), SARD_OK);
  assert_int_equal(said.n, 2); /* each once, with its name */
  assert_non_null(strstr(said.text[0], "'root' (Sqrt)"));
  assert_non_null(strstr(said.text[1], "'power' (Exp)"));
  assert_int_equal(sard_run(model, &in, 1, NULL, &r, NULL), SARD_OK);
  assert_int_equal(sard_result_tensor(r, 0, &out), SARD_OK);
  const float want[] = {1, 2.7182818f, 7.3890561f}; /* e^0, e^1, e^2 */
  for (int i = 0; i < 3; i++)
    assert_float_equal(((float *)out.data)[i], want[i], 1e-5);
  assert_int_equal(said.n, 2);
  sard_result_free(r);
  sard_model_free(model);
  sard_env_free(env);
  free(m.b);
}

/* z = c ? else : then(x), where then does `op` to x and Exp to that. */
static Pb branches(const char *op, const char *in, const char *dims) {
  Pb g = {0}, n = node("if", "If", "c", "z"), a = {0}, b = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, dims);
  put_value(&g, GRAPH_INPUT, "c", BOOL, "");
  put_ints(&g, "one", (const int64_t[]){1}, 1);
  put_value(&g, GRAPH_OUTPUT, "z", 0, NULL);
  put_op(&a, "inside", op, in, "s");
  put_op(&a, "after", "Exp", "s", "t");
  put_value(&a, GRAPH_OUTPUT, "t", 0, NULL);
  pb_str(&a, 2, "then");
  put_op(&b, "other", "Relu", "x", "u");
  put_value(&b, GRAPH_OUTPUT, "u", 0, NULL);
  pb_str(&b, 2, "else");
  attr_graph(&n, "then_branch", &a);
  attr_graph(&n, "else_branch", &b);
  put_node(&g, &n);
  return model_of(&g, 8, 20);
}

static void test_bodies(void **state) {
  (void)state;
  Pb m = branches("Sqrt", "x", NULL);
  sard_options o = on("cpu");
  sard_model *model = NULL;
  sard_error *e = NULL;
  assert_int_equal(sard_load_bytes(NULL, m.b, m.n, NULL, &o, &model, &e), SARD_ERROR_UNSUPPORTED);
  assert_string_equal(sard_error_node(e), "inside");
  sard_error_free(e);
  free(m.b);
}

/* No run gets past the Squeeze of an axis of 3: what stands behind it in that branch is not compiled, and nothing runs it. */
static void test_impossible_branch(void **state) {
  (void)state;
  Pb m = branches("Squeeze", "x one", "n 3");
  sard_options o = on("cpu");
  sard_model *model = NULL;
  sard_error *e = NULL;
  sard_step s = SARD_STEP_INIT;
  bool found = false;
  if (sard_load_bytes(NULL, m.b, m.n, NULL, &o, &model, &e))
    fail_msg("%s", sard_error_text(e));
  for (size_t i = 0; i < sard_step_count(model); i++) {
    assert_int_equal(sard_step_info(model, i, &s), SARD_OK);
    assert_int_not_equal(s.kind, SARD_STEP_REFERENCE);
    found |= !strcmp(s.node, "after");
  }
  assert_true(found);
  sard_model_free(model);
  free(m.b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_refused), cmocka_unit_test(test_allowed),
                                     cmocka_unit_test(test_bodies), cmocka_unit_test(test_impossible_branch)};
  return cmocka_run_group_tests_name("strict", tests, NULL, NULL);
}
