/* test_ml.c - ai.onnx.ml: ml.txt (made by gen_ml.py), trees.txt and ml_errors.txt by the evaluators; ml.txt once more by
 * what the pass `ml` makes of them. SPDX-License-Identifier: Apache-2.0 */
#include "passes/pass.h"
#include "tests/ir/interp.h"

#include "tests/op/harness.h" /* last: cmocka hides fail */

static void generated(void **state) {
  (void)state;
  h_run_file("op/ml.txt");
}

static void tables(void **state) {
  (void)state;
  h_run_file("op/trees.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/ml_errors.txt");
}

static int expanded, kept;

/* Arithmetic is f32, in another order than the evaluator's. */
static bool near(Harness *h, const Tensor *got, const Tensor *want, double tol) {
  return h_equal(h, got, want, dtype_is_float(want->dtype) && want->kind == VK_TENSOR ? fmax(tol, 3e-5) : -1);
}

static bool run_expanded(Harness *h, Case *k) {
  Graph *g = graph_create(&h->c, "test");
  Value *in[H_MAX] = {0};
  HBind bind = {.n = 0};
  const Tensor *got[H_MAX];
  for (int i = 0; i < k->nin; i++)
    in[i] = h_input(h, g, k, i, i ? H_CONST : H_STATIC, &bind);
  Node *n = graph_add_node(g, NULL, k->op, k->nin, k->nout, k->attr, NULL);
  node_set_inputs(n, k->nin, in);
  for (int i = 0; i < k->nout; i++)
    graph_add_output(g, n->out[i]);
  bool ok = !node_infer(&h->c, n) && !pass_run(&h->c, g, "ml") && !graph_verify(&h->c, g);
  if (ok && g->first && g->first == g->last && g->first->op == k->op)
    kept++;
  else
    expanded++;
  ok = ok && !interp_run(&h->c, h->a, g, k->in, got);
  if (!ok)
    print_error("%s: %s\n", h->where, h->c.err.message);
  for (int i = 0; ok && i < k->nout; i++)
    ok = near(h, got[i], k->out[i], k->tol);
  graph_destroy(g);
  return ok;
}

static void by_pass(void **state) {
  (void)state;
  h_runner = run_expanded;
  h_run_file("op/ml.txt");
  h_runner = h_run_case;
  print_message("%d cases in terms of ai.onnx, %d kept\n", expanded, kept);
  assert_true(expanded > 2 * kept);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
      cmocka_unit_test(tables),
      cmocka_unit_test(refused),
      cmocka_unit_test(by_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
