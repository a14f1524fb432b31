/* test_maps.c - maps through the public C API: DictVectorizer takes one, ZipMap makes a sequence of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sard.h"
#include "tests/frontend/models.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static sard_model *load(Pb *graph) {
  Pb m = model_of(graph, 8, 17);
  sard_model *model = NULL;
  sard_error *err = NULL;
  put_opset(&m, 8, "ai.onnx.ml", 1);
  if (sard_load_bytes(NULL, m.b, m.n, NULL, NULL, &model, &err))
    fail_msg("%s", sard_error_text(err));
  /* the model's bytes must live as long as it does: the tests free them last */
  graph->b = m.b;
  return model;
}

static Pb ml_node(const char *op, const char *in, const char *out) {
  Pb n = node(op, op, in, out);
  pb_str(&n, 7, "ai.onnx.ml");
  return n;
}

static void attr_words(Pb *n, const char *name, const char *words) {
  Pb a = {0};
  pb_str(&a, 1, name);
  put_words(&a, 9, words);
  pb_int(&a, 20, 8);
  pb_msg(n, 5, &a);
}

/* x[2, 3] -> [{a: 1, b: 2, c: 3}, {a: 4, …}] */
static void makes_maps(void **state) {
  (void)state;
  Pb g = {0}, n = ml_node("ZipMap", "x", "y");
  attr_words(&n, "classlabels_strings", "a b c");
  put_node(&g, &n);
  put_value(&g, GRAPH_INPUT, "x", F32, "N 3");
  put_value(&g, GRAPH_OUTPUT, "y", 0, NULL);
  sard_model *m = load(&g);
  float x[] = {1, 2, 3, 4, 5, 6};
  sard_tensor in = {.data = x, .dtype = SARD_F32, .rank = 2, .dim = {2, 3}}, t;
  sard_result *r = NULL;
  sard_io io = SARD_IO_INIT;
  assert_int_equal(sard_output(m, 0, &io), SARD_OK);
  assert_int_equal(io.kind, SARD_KIND_SEQUENCE);
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, NULL), SARD_OK);
  assert_int_equal(sard_result_items(r, 0), 2);
  for (int64_t k = 0; k < 2; k++) {
    assert_int_equal(sard_result_item(r, 0, k, &t), SARD_OK);
    assert_int_equal(t.kind, SARD_KIND_MAP);
    assert_int_equal(t.nitem, 2);
    assert_int_equal(t.item[0].dtype, SARD_STRING);
    assert_int_equal(t.item[0].dim[0], 3);
    assert_memory_equal(((const sard_str *)t.item[0].data)[2].ptr, "c", 1);
    assert_memory_equal(t.item[1].data, x + 3 * k, sizeof x / 2);
  }
  assert_int_equal(sard_result_item(r, 0, 2, &t), SARD_ERROR_USAGE);
  sard_result_free(r);
  sard_model_free(m);
  free(g.b);
}

static void put_map_input(Pb *graph) {
  Pb info = {0}, type = {0}, map = {0}, value = {0}, tensor = {0}, shape = {0};
  pb_str(&info, 1, "x");
  pb_int(&tensor, 1, F32);
  pb_msg(&tensor, 2, &shape);
  pb_msg(&value, 1, &tensor);
  pb_int(&map, 1, I64);
  pb_msg(&map, 2, &value);
  pb_msg(&type, 5, &map);
  pb_msg(&info, 2, &type);
  pb_msg(graph, GRAPH_INPUT, &info);
}

static void takes_maps(void **state) {
  (void)state;
  static const int64_t words[] = {7, 5, 3};
  Pb g = {0}, n = ml_node("DictVectorizer", "x", "y");
  attr_ints(&n, "int64_vocabulary", words, 3);
  put_node(&g, &n);
  put_map_input(&g);
  put_value(&g, GRAPH_OUTPUT, "y", F32, "1 3");
  sard_model *m = load(&g);
  int64_t keys[] = {3, 7};
  float values[] = {0.5f, 0.25f};
  const float want[] = {0.25f, 0, 0.5f};
  sard_tensor item[2] = {{.data = keys, .dtype = SARD_I64, .rank = 1, .dim = {2}},
                         {.data = values, .dtype = SARD_F32, .rank = 1, .dim = {2}}};
  sard_tensor in = {.kind = SARD_KIND_MAP, .item = item, .nitem = 2}, t;
  sard_result *r = NULL;
  sard_error *err = NULL;
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, &err), SARD_OK);
  assert_int_equal(sard_result_tensor(r, 0, &t), SARD_OK);
  assert_int_equal(t.dim[1], 3);
  assert_memory_equal(t.data, want, sizeof want);
  sard_result_free(r);
  item[1].dim[0] = 1; /* more keys than values */
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, &err), SARD_ERROR_USAGE);
  assert_non_null(strstr(sard_error_text(err), "no valid map"));
  sard_error_free(err);
  in.nitem = 1;
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, NULL), SARD_ERROR_USAGE);
  sard_model_free(m);
  free(g.b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(makes_maps),
      cmocka_unit_test(takes_maps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
