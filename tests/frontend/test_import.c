/* test_import.c - from the bytes of a model to its graph: names, types, order, constants, origins, and what is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/frontend/loaded.h"

/* --- graphs --- */

static void test_plain(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "batch 3 ? ? None None -1");
  put_value(&g, GRAPH_INPUT, "w", F32, "2*batch seq+1");
  put_value(&g, GRAPH_OUTPUT, "y", 0, NULL);
  put_op(&g, "", "Relu", "x", "h");
  put_op(&g, "out", "Sigmoid", "h", "y");
  put_op(&g, "", "Relu", "w", "unused");
  Pb m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  assert_string_equal(l.m->graph->name, "main");
  assert_string_equal(l.m->graph->in[0]->name, "x");
  assert_string_equal(type_of(&l, l.m->graph->in[1]), "f32[2*batch, seq + 1]");
  assert_string_equal(output(&l, 0)->name, "y");
  const Value *x = l.m->graph->in[0], *y = output(&l, 0);
  assert_true(type_equal(&x->type, &y->type));
  assert_ptr_not_equal(x->type.dim[2], x->type.dim[3]); /* two unknown extents are two symbols */
  assert_ptr_not_equal(x->type.dim[4], x->type.dim[5]);
  assert_int_equal(x->type.dim[6]->kind, DIM_SYM);
  assert_string_equal(l.m->graph->first->origin->node, "#0");
  assert_string_equal(y->def->origin->node, "out");
  close_model(&l);
}

static void test_declared(void **state) { /* value_info fills what inference leaves open */
  (void)state;
  Loaded l;
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "a b");
  put_value(&g, GRAPH_INPUT, "s", I64, "n");
  put_value(&g, GRAPH_INFO, "y", F32, "4 a ?");
  put_value(&g, GRAPH_OUTPUT, "y", 0, NULL);
  put_op(&g, "r", "Reshape", "x s", "y");
  Pb m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  assert_int_equal(output(&l, 0)->type.rank, 3);
  assert_true(dim_is(output(&l, 0)->type.dim[0], 4));
  assert_ptr_equal(output(&l, 0)->type.dim[1], l.m->graph->in[0]->type.dim[0]);
  close_model(&l);
}

static void test_no_outputs(void **state) { /* a node whose results nobody wants */
  (void)state;
  Loaded l;
  Pb g = relu_graph(), n = {0};
  put_ints(&g, "s", (const int64_t[]){1, -1}, 2);
  put_op(&g, "unwanted", "Reshape", "x s", "-");
  put_op(&g, "split", "Split", "x", "- third -");
  n = node("made", "Reshape", "x s", ""), put_node(&g, &n);
  Pb m = model_of(&g, 8, 13);
  load_ok(&l, &m);
  assert_int_equal(find_node(l.m->graph, "unwanted")->nout, 1);
  assert_null(find_node(l.m->graph, "made")->out[0]);
  assert_int_equal(find_node(l.m->graph, "split")->nout, 3);
  close_model(&l);
}

static void test_unsorted(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0}, body = {0}, other = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "3");
  put_value(&g, GRAPH_INPUT, "c", BOOL, "");
  put_value(&g, GRAPH_OUTPUT, "z", F32, "3");
  put_op(&body, "b", "Neg", "late", "t"); /* a body reads what comes later in the file */
  put_value(&body, GRAPH_OUTPUT, "t", 0, NULL);
  put_op(&other, "o", "Identity", "x", "t2");
  put_value(&other, GRAPH_OUTPUT, "t2", 0, NULL);
  Pb n = node("if", "If", "c", "z");
  attr_graph(&n, "then_branch", &body);
  attr_graph(&n, "else_branch", &other);
  put_node(&g, &n);
  put_op(&g, "second", "Exp", "first", "late");
  put_op(&g, "root", "Abs", "x", "first");
  Pb m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  assert_int_equal(l.m->graph->first->op, OP_Abs);
  assert_int_equal(l.m->graph->last->op, OP_If);
  close_model(&l);
}

static void test_bad_graphs(void **state) {
  (void)state;
  Pb g = {0}, m;
  put_value(&g, GRAPH_INPUT, "x", F32, "3");
  put_value(&g, GRAPH_OUTPUT, "y", F32, "3");
  put_op(&g, "one", "Add", "x b", "a");
  put_op(&g, "two", "Relu", "a", "b");
  put_op(&g, "three", "Relu", "a", "y");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "cycle", "'one'", "'two'", NULL);

  put_value(&g, GRAPH_INPUT, "x", F32, "3");
  put_op(&g, "self", "Add", "x y", "y");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "cycle", "'self'", NULL);

  g = relu_graph();
  put_op(&g, "again", "Exp", "x", "y");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "two nodes make 'y'", "'act' (Relu)", "'again' (Exp)", NULL);

  g = relu_graph();
  put_op(&g, "again", "Exp", "y", "x");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'again'", "already an input", NULL);

  g = relu_graph();
  put_value(&g, GRAPH_INPUT, "x", F32, "3");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "two inputs are called 'x'", NULL);

  put_value(&g, GRAPH_INPUT, "hidden_states", F32, "3");
  put_op(&g, "act", "Relu", "hiden_states", "y");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'hiden_states'", "did you mean 'hidden_states'?", "act", NULL);

  g = relu_graph();
  put_value(&g, GRAPH_OUTPUT, "logits", F32, "3");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "graph output 'logits'", NULL);

  g = relu_graph();
  put_value(&g, GRAPH_OUTPUT, "y", F32, "batch 3");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "two outputs are called 'y'", NULL);

  g = relu_graph();
  put_value(&g, GRAPH_INPUT, "s", F32, "-7");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "dimension 0 of 's' is -7", NULL);

  g = relu_graph();
  put_value(&g, GRAPH_INPUT, "s", 99, "3");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "unknown element type 99", NULL);

  g = relu_graph();
  put_value(&g, GRAPH_INPUT, "s", F32, "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1");
  m = model_of(&g, 8, 20);
  refused(&m, ST_UNSUPPORTED, "17 dimensions", NULL);

  g = relu_graph();
  put_value(&g, GRAPH_INPUT, "s", 0, NULL);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'s' has no element type", NULL);
}

static void test_operators(void **state) {
  (void)state;
  Pb g = relu_graph(), m, n;
  put_op(&g, "odd", "Sofmax", "y", "z");
  m = model_of(&g, 8, 20);
  refused(&m, ST_UNSUPPORTED, "Sofmax", "opset 20", "Softmax", "odd", NULL);

  g = relu_graph();
  n = node("mine", "FusedThing", "y", "z");
  pb_str(&n, 7, "com.example");
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  put_opset(&m, 8, "com.example", 1);
  refused(&m, ST_UNSUPPORTED, "com.example.FusedThing", "custom operators", "mine", NULL);

  g = relu_graph();
  put_op(&g, "two", "Relu", "y y", "z");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "2 inputs", "two", NULL);

  g = relu_graph();
  put_op(&g, "two", "Relu", "y", "z z2");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "2 outputs", "two", NULL);

  g = relu_graph();
  n = node("sm", "Softmax", "y", "z");
  attr_float(&n, "axis", 1);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'axis'", "a float", "an int", "sm", NULL);

  g = relu_graph();
  n = node("sm", "Softmax", "y", "z");
  attr_int(&n, "axes", 1);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "no attribute 'axes'", "did you mean 'axis'?", NULL);

  g = relu_graph();
  n = node("sm", "Softmax", "y", "z");
  attr_int(&n, "axis", 1);
  attr_int(&n, "axis", 1);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'axis' is given twice", NULL);

  g = relu_graph();
  put_op(&g, "cast", "Cast", "y", "z");
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'to' is missing", "cast", NULL);
}

static void test_unknown_without_inference(void **state) { /* `sard inspect` shows models that cannot run */
  (void)state;
  Loaded l;
  Pb g = relu_graph(), n = node("mine", "FusedThing", "y", "z");
  pb_str(&n, 7, "com.example");
  attr_int(&n, "whatever", 3);
  put_node(&g, &n);
  put_value(&g, GRAPH_OUTPUT, "z", F32, "5");
  Pb m = model_of(&g, 8, 20);
  put_opset(&m, 8, "com.example", 1);
  options.no_infer = true;
  load_ok(&l, &m);
  options.no_infer = false;
  assert_int_equal(output(&l, 1)->def->op, OP_none);
  assert_string_equal(output(&l, 1)->def->origin->op, "com.example.FusedThing");
  assert_string_equal(type_of(&l, output(&l, 1)), "f32[5]");
  close_model(&l);

  g = relu_graph();
  n = node("new", "Relu", "y", "z"), attr_int(&n, "slope", 1), put_node(&g, &n); /* of a newer opset */
  Pb h = g;
  g = (Pb){0};
  pb_put(&g, h.b, h.n);
  m = model_of(&h, 12, 40);
  options.no_infer = true;
  load_ok(&l, &m);
  assert_int_equal(find_node(l.m->graph, "new")->op, OP_none);
  close_model(&l);
  m = model_of(&g, 3, 6);
  refused(&m, ST_INVALID, "'slope'", NULL); /* a known opset has no such attribute: wrong, not new */

  g = relu_graph(); /* an old form that needs a rank nobody knows */
  put_value(&g, GRAPH_INPUT, "q", F32, NULL);
  n = node("old", "Add", "y q", "z"), attr_int(&n, "broadcast", 1), attr_int(&n, "axis", 0), put_node(&g, &n);
  h = (Pb){0};
  pb_put(&h, g.b, g.n);
  m = model_of(&g, 3, 6);
  load_ok(&l, &m);
  assert_int_equal(find_node(l.m->graph, "old")->op, OP_none);
  close_model(&l);
  options.no_infer = false;
  m = model_of(&h, 3, 6);
  refused(&m, ST_UNSUPPORTED, "Add of opset 6", "unknown rank", "newer opset", "old", NULL);
}

static void test_opsets(void **state) {
  (void)state;
  Loaded l;
  Pb g = relu_graph(), m = model_of(&g, 12, 28), n;
  load_ok(&l, &m);
  close_model(&l);
  g = relu_graph(), m = model_of(&g, 99, 40); /* newer than known, but every node fits */
  load_ok(&l, &m);
  close_model(&l);
  g = relu_graph();
  n = node("new", "Relu", "y", "z");
  attr_int(&n, "slope", 1);
  put_node(&g, &n);
  m = model_of(&g, 12, 40);
  refused(&m, ST_INVALID, "'slope'", "opset 40", "new", NULL);
  g = relu_graph();
  put_op(&g, "new", "Relu", "y y", "z");
  m = model_of(&g, 12, 40);
  refused(&m, ST_INVALID, "2 inputs", "opset 40", "new", NULL);
  g = relu_graph(), m = model_of(&g, 8, 0);
  refused(&m, ST_INVALID, "imports no opset", NULL);
  g = relu_graph(), m = model_of(&g, 8, -3);
  refused(&m, ST_INVALID, "opset -3", NULL);
  g = relu_graph(), m = model_of(&g, 8, 17);
  put_opset(&m, 8, "ai.onnx", 11);
  refused(&m, ST_INVALID, "imported twice", "opset 17", "opset 11", NULL);
  g = relu_graph(), m = model_of(&g, 8, 17);
  put_opset(&m, 8, "ai.onnx", 17);
  load_ok(&l, &m);
  close_model(&l);
  g = relu_graph(), m = model_of(&g, 2, 0); /* before opsets */
  load_ok(&l, &m);
  close_model(&l);
}

/* --- constants and defaults --- */

static void test_initializers(void **state) {
  (void)state;
  for (int ir = 3; ir <= 4; ir++) {
    Loaded l;
    Pb g = {0};
    put_value(&g, GRAPH_INPUT, "x", F32, "2");
    put_value(&g, GRAPH_INPUT, "w", F32, "2");
    put_value(&g, GRAPH_OUTPUT, "y", F32, "2");
    put_floats(&g, "w", (const float[]){1, 2}, 2);
    put_op(&g, "add", "Add", "x w", "y");
    Pb m = model_of(&g, ir, 9);
    load_ok(&l, &m);
    const Value *w = output(&l, 0)->def->in[1];
    assert_string_equal(w->name, "w");
    assert_int_equal(l.m->graph->nin, ir == 3 ? 1 : 2);
    assert_int_equal(w->konst != NULL, ir == 3);
    assert_int_equal(w->deflt != NULL, ir == 4);
    close_model(&l);
  }
  Pb g = relu_graph(), m;
  put_value(&g, GRAPH_INPUT, "w", F32, "3");
  put_floats(&g, "w", (const float[]){1, 2}, 2);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'w'", "f32[3]", "f32[2]", NULL);
  g = relu_graph();
  put_floats(&g, "w", (const float[]){1, 2}, 2);
  put_floats(&g, "w", (const float[]){1, 2}, 2);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "two initializers are called 'w'", NULL);
}

/* The sum of x and w, an input with the default {1, 2}. */
static void run_default(sard_model *model, const float *w, float first, float second) {
  float x[] = {10, 20};
  sard_tensor in[2] = {{.data = x, .dtype = SARD_F32, .rank = 1, .dim = {2}}}, t; /* all zeros: not given */
  if (w)
    in[1] = (sard_tensor){.data = (void *)(uintptr_t)w, .dtype = SARD_F32, .rank = 1, .dim = {2}};
  sard_result *r = NULL;
  sard_error *e = NULL;
  assert_int_equal(sard_run(model, in, 2, NULL, &r, &e), SARD_OK);
  assert_int_equal(sard_result_tensor(r, 0, &t), SARD_OK);
  assert_true(((float *)t.data)[0] == first && ((float *)t.data)[1] == second);
  sard_result_free(r);
}

static void test_default_runs(void **state) {
  (void)state;
  Pb g = {0}, m;
  sard_model *model = NULL;
  sard_error *e = NULL;
  put_value(&g, GRAPH_INPUT, "x", F32, "2");
  put_value(&g, GRAPH_INPUT, "w", F32, "2");
  put_value(&g, GRAPH_OUTPUT, "y", F32, "2");
  put_floats(&g, "w", (const float[]){1, 2}, 2);
  put_op(&g, "add", "Add", "x w", "y");
  m = model_of(&g, 8, 20);
  assert_int_equal(sard_load_bytes(NULL, m.b, m.n, NULL, NULL, &model, &e), SARD_OK);
  run_default(model, NULL, 11, 22);
  run_default(model, (const float[]){5, 6}, 15, 26);
  sard_model_free(model);
  pb_free(&m);
}

/* Inputs and constants that are outputs as they are. */
static void test_direct_outputs(void **state) {
  (void)state;
  float x[] = {10, 20};
  Pb g = {0}, m;
  sard_model *model = NULL;
  sard_result *r = NULL;
  sard_error *e = NULL;
  sard_tensor in = {.data = x, .dtype = SARD_F32, .rank = 1, .dim = {2}}, t;
  put_value(&g, GRAPH_INPUT, "x", F32, "n");
  put_value(&g, GRAPH_OUTPUT, "w", F32, "2");
  put_value(&g, GRAPH_OUTPUT, "x", F32, "n");
  put_floats(&g, "w", (const float[]){1, 2}, 2);
  m = model_of(&g, 8, 20);
  if (sard_load_bytes(NULL, m.b, m.n, NULL, NULL, &model, &e) || sard_run(model, &in, 1, NULL, &r, &e))
    print_error("%s\n", sard_error_text(e));
  assert_null(e);
  assert_int_equal(sard_result_tensor(r, 0, &t), SARD_OK);
  assert_true(((float *)t.data)[1] == 2);
  assert_int_equal(sard_result_tensor(r, 1, &t), SARD_OK);
  assert_true(((float *)t.data)[1] == 20);
  sard_result_free(r);
  sard_model_free(model);
  pb_free(&m);
}

static void test_constants(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0}, n;
  n = node("i", "Constant", "", "i"), attr_int(&n, "value_int", 7), put_node(&g, &n);
  n = node("is", "Constant", "", "is"), attr_ints(&n, "value_ints", (const int64_t[]){4, 5}, 2), put_node(&g, &n);
  n = node("f", "Constant", "", "f"), attr_float(&n, "value_float", 0.5f), put_node(&g, &n);
  for (int i = 0; i < 3; i++)
    put_value(&g, GRAPH_OUTPUT, &"i\0is\0f"[i * 2 + (i == 2)], 0, NULL);
  Pb m = model_of(&g, 8, 13);
  load_ok(&l, &m);
  assert_null(l.m->graph->first); /* a constant is no node */
  assert_string_equal(type_of(&l, output(&l, 0)), "i64[]");
  assert_int_equal(((const int64_t *)output(&l, 1)->konst->data)[1], 5);
  assert_true(((const float *)output(&l, 2)->konst->data)[0] == 0.5f);
  close_model(&l);
  n = node("c", "Constant", "", "c"), attr_int(&n, "value_it", 7), put_node(&g, &n);
  m = model_of(&g, 8, 13);
  refused(&m, ST_INVALID, "no attribute 'value_it'", "c", NULL);
}

/* --- origins --- */

static void test_origins(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0}, n;
  put_value(&g, GRAPH_INPUT, "x", F32, "2");
  n = node("node_silu", "Sigmoid", "x", "a");
  put_meta(&n, 9, "pkg.torch.onnx.name_scopes", "['', 'lm', 'lm.model.layers.0', 'lm.model.layers.0.mlp', 'silu']");
  put_meta(&n, 9, "pkg.torch.onnx.class_hierarchy",
           "['zoo.W', 'x.Llama', 'x.Layer', 'x.LlamaMLP', 'aten.silu.default']");
  put_meta(&n, 9, "pkg.torch.onnx.stack_trace",
           "File \"models/zoo/decoder.py\", line 33, in forward\n    o = self.lm(\n"
           "  File \"/venv/lib/python3.11/site-packages/transformers/modeling_llama.py\", line 155, in forward\n    x "
           "= act(x)\n"
           "  File \"/venv/lib/python3.11/site-packages/torch/nn/modules/linear.py\", line 134, in forward\n    return "
           "F.linear(");
  put_node(&g, &n);
  n = node("sym", "Shape", "x", "b");
  put_meta(&n, 9, "pkg.torch.onnx.name_scopes", "['_empty_nn_module_stack_from_metadata_hook', 'sym_size_int_16']");
  put_meta(&n, 9, "pkg.torch.onnx.stack_trace", "File \"torch/fx/passes/runtime_assert.py\", line 24, in insert");
  put_node(&g, &n);
  put_op(&g, "/encoder/layer.0/attention/MatMul", "Relu", "x", "c");
  put_op(&g, "/Relu", "Relu", "x", "d");
  n = node("odd", "Relu", "x", "e");
  put_meta(&n, 9, "pkg.torch.onnx.name_scopes", "['unfinished");
  put_meta(&n, 9, "pkg.torch.onnx.stack_trace", "File \"no end, line x\nFile \"a.py\"");
  put_node(&g, &n);
  Pb m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  const Origin *o = find_node(l.m->graph, "node_silu")->origin;
  assert_string_equal(o->module, "lm.model.layers.0.mlp");
  assert_string_equal(o->klass, "x.LlamaMLP");
  assert_string_equal(o->source, "transformers/modeling_llama.py:155, in forward");
  o = find_node(l.m->graph, "sym")->origin;
  assert_null(o->module);
  assert_null(o->source);
  assert_string_equal(find_node(l.m->graph, "/encoder/layer.0/attention/MatMul")->origin->module,
                      "encoder.layer.0.attention");
  assert_null(find_node(l.m->graph, "/Relu")->origin->module);
  assert_null(find_node(l.m->graph, "odd")->origin->module);
  assert_null(find_node(l.m->graph, "odd")->origin->source);
  close_model(&l);
}

static void test_ranges(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "s43 u0 s70 s9");
  put_meta(&g, 16, "pkg.torch.export.ExportedProgram.range_constraints",
           "{s43: VR[1, 1024], u0: VR[2, int_oo], s9: VR[9, 3], s70: VR[5");
  Pb m = model_of(&g, 10, 20);
  load_ok(&l, &m);
  const Type *t = &l.m->graph->in[0]->type;
  assert_int_equal(t->dim[0]->lo, 1);
  assert_int_equal(t->dim[0]->hi, 1024);
  assert_int_equal(t->dim[1]->lo, 2);
  assert_int_equal(t->dim[1]->hi, INT64_MAX);
  assert_int_equal(t->dim[3]->lo, 0); /* nonsense is no range */
  close_model(&l);
}

/* Names of the form that the graph makes up stay those of the file; what is made up has more underscores. */
static void test_made_up_names(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0};
  put_value(&g, GRAPH_INPUT, "_1", F32, "n");
  put_value(&g, GRAPH_OUTPUT, "_4", F32, "n");
  Pb n = node("a", "Neg", "_1", "__2");
  put_node(&g, &n);
  n = node("b", "Abs", "__2", "_4"), put_node(&g, &n);
  Pb m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  Graph *made = l.m->graph;
  assert_string_equal(made->in[0]->name, "_1");
  assert_string_equal(find_node(made, "a")->out[0]->name, "__2");
  assert_string_equal(output(&l, 0)->name, "_4");
  for (int i = 0; i < 8; i++) {
    Value *v = graph_emit(made, NULL, OP_Neg, NULL, made->first->origin, 1, &made->in[0]);
    assert_int_equal(name_made_up(v->name), 3);
    assert_int_equal(node_infer(&l.c, v->def), ST_OK);
  }
  assert_int_equal(graph_verify(&l.c, made), ST_OK);
  close_model(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_plain),          cmocka_unit_test(test_declared),
      cmocka_unit_test(test_unsorted),       cmocka_unit_test(test_bad_graphs),
      cmocka_unit_test(test_operators),      cmocka_unit_test(test_unknown_without_inference),
      cmocka_unit_test(test_opsets),         cmocka_unit_test(test_initializers),
      cmocka_unit_test(test_constants),      cmocka_unit_test(test_origins),
      cmocka_unit_test(test_ranges),         cmocka_unit_test(test_made_up_names),
      cmocka_unit_test(test_default_runs),   cmocka_unit_test(test_no_outputs),
      cmocka_unit_test(test_direct_outputs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
