/* test_flex.c - FlexAttention is expanded on import, its graphs in place. softmax(q k ln 2) is 2^(q k) over its sum, so that
 * the results are fractions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "include/sard.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/frontend/models.h"

/* Two query heads share a key head. score_mod reads c of the graph around it; prob_mod halves. */
static Pb flex_model(const char *heads, bool changed) {
  Pb g = {0}, n = node("flex", "FlexAttention", "q k v", "y"), score = {0}, prob = {0}, m;
  put_value(&g, GRAPH_INPUT, "q", F32, heads);
  put_value(&g, GRAPH_INPUT, "k", F32, "1 1 s 1");
  put_value(&g, GRAPH_INPUT, "v", F32, "1 1 s 1");
  put_value(&g, GRAPH_INPUT, "c", F32, "");
  put_value(&g, GRAPH_OUTPUT, "y", F32, NULL);
  pb_str(&n, 7, "ai.onnx.preview");
  put_value(&score, GRAPH_INPUT, "x", F32, NULL);
  put_value(&score, GRAPH_OUTPUT, "z", 0, NULL);
  put_op(&score, "scaled", "Mul", "x c", "z");
  put_value(&prob, GRAPH_INPUT, "x", F32, NULL);
  put_value(&prob, GRAPH_OUTPUT, "z", 0, NULL);
  put_floats(&prob, "half", (const float[]){0.5f}, 1);
  put_op(&prob, "halved", "Mul", "x half", "z");
  attr_graph(&n, "score_mod", &score);
  if (changed)
    attr_graph(&n, "prob_mod", &prob);
  else
    pb_free(&prob);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  put_opset(&m, 8, "ai.onnx.preview", 1);
  return m;
}

static void run(sard_model *model, float first, float second) {
  float q[] = {1, 2}, k[] = {0, 1}, v[] = {10, 20}, c = logf(2);
  sard_tensor in[4] = {{.data = q, .dtype = SARD_F32, .rank = 4, .dim = {1, 2, 1, 1}},
                       {.data = k, .dtype = SARD_F32, .rank = 4, .dim = {1, 1, 2, 1}},
                       {.data = v, .dtype = SARD_F32, .rank = 4, .dim = {1, 1, 2, 1}},
                       {.data = &c, .dtype = SARD_F32}},
              t;
  sard_result *r = NULL;
  sard_error *e = NULL;
  assert_int_equal(sard_run(model, in, 4, NULL, &r, &e), SARD_OK);
  assert_int_equal(sard_result_tensor(r, 0, &t), SARD_OK);
  assert_int_equal(t.rank, 4);
  assert_true(t.dim[1] == 2 && t.dim[3] == 1);
  assert_true(fabsf(((float *)t.data)[0] - first) < 1e-5f && fabsf(((float *)t.data)[1] - second) < 1e-5f);
  sard_result_free(r);
}

static void test_values(void **state) {
  (void)state;
  for (int changed = 0; changed < 2; changed++) {
    Pb m = flex_model("1 2 1 1", changed);
    sard_model *model = NULL;
    sard_error *e = NULL;
    assert_int_equal(sard_load_bytes(NULL, m.b, m.n, NULL, NULL, &model, &e), SARD_OK);
    float f = changed ? 0.5f : 1; /* 2^0 : 2^1 and 2^0 : 2^2 */
    run(model, f * (10 + 2 * 20) / 3, f * (10 + 4 * 20) / 5);
    sard_model_free(model);
    pb_free(&m);
  }
}

static void test_refused(void **state) {
  (void)state;
  static const struct {
    const char *heads;
    sard_status status;
  } cases[] = {{"1 2 1", SARD_ERROR_INVALID}, {"1 h 1 1", SARD_ERROR_UNSUPPORTED}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    Pb m = flex_model(cases[i].heads, true);
    sard_model *model = NULL;
    sard_error *e = NULL;
    assert_int_equal(sard_load_bytes(NULL, m.b, m.n, NULL, NULL, &model, &e), cases[i].status);
    assert_non_null(strstr(sard_error_message(e), "FlexAttention"));
    sard_error_free(e);
    pb_free(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
