/* test_nn.c - neural network operators: the cases of nn.txt (made by gen_nn.py) and nn_errors.txt, and symbolic
 * extents.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/harness.h"

static void generated(void **state) {
  (void)state;
  h_run_file("op/nn.txt");
}

static void refused(void **state) {
  (void)state;
  h_run_file("op/nn_errors.txt");
}

/* The type of output 0 as text. Inputs: "f32[N,3,H,W]" is a graph input, "=f32[1] 2" a constant, "" absent. */
static const char *inferred(Harness *h, const char *op, const char *attrs, int nin, const char *const *in) {
  OpId id = op_find("", op);
  Graph *g = graph_create(&h->c, "test");
  Value *v[8] = {0};
  for (int i = 0; i < nin; i++)
    if (*in[i] == '=')
      v[i] = graph_add_const(g, NULL, h_tensor(h, in[i] + 1));
    else if (*in[i]) {
      const char *p = strchr(in[i], '[') + 1;
      Type t = {.kind = VK_TENSOR, .dtype = dtype_parse(in[i], (size_t)(p - 1 - in[i]))};
      for (size_t n; *p && *p != ']'; p += n + (p[n] == ',')) {
        n = strcspn(p, ",]");
        t.dim[t.rank++] = dim_parse(&h->c, p, n);
      }
      v[i] = graph_add_input(g, arena_printf(h->a, "x%d", i), t);
    }
  Node *n = graph_add_node(g, NULL, id, nin, 1, h_attrs(h, id, attrs), NULL);
  node_set_inputs(n, nin, v);
  if (node_infer(&h->c, n))
    fail_msg("%s: %s", op, h->c.err.message);
  return type_text(&h->c, &n->out[0]->type);
}

static void symbolic(void **state) {
  (void)state;
  static const struct {
    const char *op, *attrs, *in[3], *want;
  } cases[] = {
      {"Conv", "", {"f32[N,3,H,W]", "f32[8,3,3,3]"}, "f32[N, 8, H - 2, W - 2]"},
      {"Conv", "pads=[1,1,1,1]", {"f32[N,3,H,W]", "f32[8,3,3,3]"}, "f32[N, 8, H, W]"},
      {"Conv", "strides=[2] auto_pad=SAME_UPPER", {"f32[N,3,H]", "f32[8,3,3]"}, "f32[N, 8, (H + 1)//2]"},
      {"Conv", "strides=[2] pads=[1,1]", {"f32[N,3,H]", "f32[8,3,3]"}, "f32[N, 8, (H + 1)//2]"},
      {"ConvTranspose", "strides=[2] output_padding=[1] pads=[1,1]", {"f32[N,3,H]", "f32[3,4,3]"}, "f32[N, 4, 2*H]"},
      {"MaxPool", "kernel_shape=[2] strides=[2]", {"f32[N,C,H]"}, "f32[N, C, H//2]"},
      {"GlobalAveragePool", "", {"f32[N,C,H,W]"}, "f32[N, C, 1, 1]"},
      {"Resize", "", {"f32[N,C,H]", "", "=f32[3] 1 1 2"}, "f32[N, C, 2*H]"},
      {"Resize", "", {"f32[N,C,H]", "", "=f32[3] 1 1 0.5"}, "f32[N, C, H//2]"},
      {"LSTM", "", {"f32[T,B,4]", "f32[1,8,4]", "f32[1,8,2]"}, "f32[T, 1, B, 2]"},
      {"GRU", "direction=bidirectional layout=1", {"f32[B,T,4]", "f32[2,6,4]", "f32[2,6,2]"}, "f32[B, T, 2, 2]"},
      {"Attention", "", {"f32[B,4,S,8]", "f32[B,2,L,8]", "f32[B,2,L,6]"}, "f32[B, 4, S, 6]"},
      {"Attention", "q_num_heads=4 kv_num_heads=2", {"f32[B,S,32]", "f32[B,L,16]", "f32[B,L,12]"}, "f32[B, S, 24]"},
      {"MatMulInteger", "", {"u8[B,M,4]", "i8[4,N]"}, "i32[B, M, N]"},
      {"QuantizeLinear", "", {"f32[B,4]", "f32[]"}, "u8[B, 4]"},
  };
  Harness h;
  h_open(&h);
  for (size_t i = 0; i < countof(cases); i++) {
    int nin = 0;
    while (nin < 3 && cases[i].in[nin])
      nin++;
    assert_string_equal(inferred(&h, cases[i].op, cases[i].attrs, nin, cases[i].in), cases[i].want);
  }
  h_close(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated),
      cmocka_unit_test(refused),
      cmocka_unit_test(symbolic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
