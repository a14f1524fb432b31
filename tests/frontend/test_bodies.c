/* test_bodies.c - from the bytes of a model to its graph: functions, bodies of If, Loop and Scan, and models of both that are cut,
 * meet too little memory, or are very large.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/frontend/loaded.h"

/* --- functions --- */

/* scale(x) = Mul(x, alpha) by way of a Constant that refers to the attribute; hidden names are those of the caller. */
static Pb scale_function(void) {
  Pb f = function("scale", "x bias", "y"), n, t = {0};
  n = node("c", "Constant", "", "k"), attr_ref(&n, "value_float", "alpha", 1), function_node(&f, &n);
  n = node("m", "Mul", "x k", "h"), function_node(&f, &n);
  n = node("r", "Squeeze", "h", "s"), attr_ints(&n, "axes", (const int64_t[]){0}, 1),
  function_node(&f, &n); /* opset 11 */
  n = node("i", "Identity", "s", "y"), function_node(&f, &n);
  pb_str(&t, 1, "alpha");
  pb_f32(&t, 2, 3);
  pb_int(&t, 20, 1);
  pb_msg(&f, 11, &t);
  put_opset(&f, 9, "", 12);
  return f;
}

static void test_functions(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0}, f = scale_function(), n;
  put_value(&g, GRAPH_INPUT, "x", F32, "1 1 n");
  put_value(&g, GRAPH_OUTPUT, "h", F32, "1 n");
  put_value(&g, GRAPH_OUTPUT, "k", F32, "n");
  n = call("first", "scale", "x", "h"), attr_float(&n, "alpha", 2), put_node(&g, &n);
  n = call("second", "scale", "h -", "k"), put_node(&g, &n);
  Pb m = model_of(&g, 8, 20);
  put_opset(&m, 8, "local", 1);
  pb_msg(&m, 25, &f);
  load_ok(&l, &m);
  const Node *mul = find_node(l.m->graph, "first/m");
  assert_non_null(mul);
  double v;
  assert_true(value_scalar(mul->in[1], &v) && v == 2);
  assert_true(value_scalar(find_node(l.m->graph, "second/m")->in[1], &v) && v == 3); /* the default */
  assert_string_equal(mul->out[0]->name, "first/h");                                 /* not the caller's h */
  assert_string_equal(output(&l, 0)->name, "h");
  assert_string_equal(output(&l, 1)->name, "k");
  assert_string_equal(type_of(&l, output(&l, 1)), "f32[n]");
  assert_int_equal(graph_node_count(l.m->graph, true), 6);
  close_model(&l);
}

static void test_function_hands_through(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0}, f = function("both", "a b", "b a c c"), n = node("e", "Exp", "a", "c");
  function_node(&f, &n);
  put_opset(&f, 9, "", 20);
  put_value(&g, GRAPH_INPUT, "x", F32, "n");
  put_value(&g, GRAPH_INPUT, "z", F32, "k");
  n = call("call", "both", "x z", "p q r s"), put_node(&g, &n);
  for (const char *o = "p\0q\0r\0s\0"; *o; o += 2)
    put_value(&g, GRAPH_OUTPUT, o, 0, NULL);
  Pb m = model_of(&g, 8, 20);
  put_opset(&m, 8, "local", 1);
  pb_msg(&m, 25, &f);
  load_ok(&l, &m);
  assert_string_equal(output(&l, 0)->name, "p");
  assert_string_equal(type_of(&l, output(&l, 0)), "f32[k]");
  assert_string_equal(type_of(&l, output(&l, 1)), "f32[n]");
  assert_int_equal(output(&l, 2)->def->op, OP_Exp);
  assert_string_equal(output(&l, 3)->name, "s");
  close_model(&l);
}

/* Functions f0 … f<levels>: each calls the next twice. */
static Pb doubling_model(int levels) {
  Pb g = relu_graph(), m, n = call("top", "f0", "y", "z");
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  put_opset(&m, 8, "local", 1);
  for (int i = 0; i <= levels; i++) {
    char name[16], next[16];
    snprintf(name, sizeof name, "f%d", i);
    snprintf(next, sizeof next, "f%d", i + 1);
    Pb f = function(name, "x", "y");
    n = i < levels ? call("a", next, "x", "t") : node("a", "Relu", "x", "t"), function_node(&f, &n);
    n = i < levels ? call("b", next, "t", "y") : node("b", "Relu", "t", "y"), function_node(&f, &n);
    put_opset(&f, 9, "", 20);
    put_opset(&f, 9, "local", 1);
    pb_msg(&m, 25, &f);
  }
  return m;
}

static void test_function_budget(void **state) {
  (void)state;
  Loaded l;
  Pb m = doubling_model(5);
  load_ok(&l, &m);
  assert_int_equal(graph_node_count(l.m->graph, true), 65);
  close_model(&l);
  options.max_nodes = 64;
  m = doubling_model(5);
  refused(&m, ST_MEMORY, "65 nodes", "limit is 64", NULL);
  options.max_nodes = 0;
  int64_t start = now_ns();
  m = doubling_model(30);
  refused(&m, ST_MEMORY, "the limit is 2000000", NULL);
  assert_true(now_ns() - start < 1000000000);
  m = doubling_model(200);
  refused(&m, ST_INVALID, "nested more than 64 deep", NULL);
}

static void test_bad_functions(void **state) {
  (void)state;
  Pb g = relu_graph(), m, n = call("c", "loop", "y", "z"), f = function("loop", "x", "y");
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  put_opset(&m, 8, "local", 1);
  n = call("self", "loop", "x", "y"), function_node(&f, &n);
  put_opset(&f, 9, "", 20);
  pb_msg(&m, 25, &f);
  refused(&m, ST_INVALID, "'local.loop' calls itself", NULL);

  g = relu_graph(), m = model_of(&g, 8, 20);
  f = scale_function(), pb_msg(&m, 25, &f);
  f = scale_function(), pb_msg(&m, 25, &f);
  refused(&m, ST_INVALID, "'local.scale' is defined twice", NULL);

  g = relu_graph(), n = call("c", "scale", "y y y", "z"), put_node(&g, &n);
  m = model_of(&g, 8, 20);
  f = scale_function(), pb_msg(&m, 25, &f);
  refused(&m, ST_INVALID, "function scale takes 2 inputs", "c", NULL);

  g = relu_graph(), n = call("c", "scale", "y", "z"), attr_int(&n, "alpha", 2), put_node(&g, &n);
  m = model_of(&g, 8, 20);
  f = scale_function(), pb_msg(&m, 25, &f);
  refused(&m, ST_INVALID, "'alpha'", "another type", NULL);

  g = relu_graph(), n = node("r", "Softmax", "y", "z"), attr_ref(&n, "axis", "beta", 2), put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "outside", NULL);

  for (int op = 0; op < 2; op++) { /* a reference to a graph */
    g = relu_graph(), n = node("r", op ? "Scan" : "If", "y", "z");
    attr_ref(&n, op ? "body" : "then_branch", "beta", 5), put_node(&g, &n);
    m = model_of(&g, 8, op ? 8 : 20);
    refused(&m, ST_INVALID, "outside", NULL);
  }

  g = relu_graph(), n = call("c", "f", "y", "z"), put_node(&g, &n);
  m = model_of(&g, 8, 20);
  f = function("f", "a", "b"), n = node("r", "If", "a", "b"), attr_ref(&n, "then_branch", "t", 5),
  function_node(&f, &n);
  put_opset(&f, 9, "", 20);
  pb_msg(&m, 25, &f);
  refused(&m, ST_INVALID, "'then_branch' is missing", NULL);

  g = relu_graph(), n = call("c", "f", "y", "z"), put_node(&g, &n);
  m = model_of(&g, 8, 20);
  f = function("f", "a", "b"), n = node("x", "Relu", "x", "b"), function_node(&f, &n); /* x is the caller's */
  put_opset(&f, 9, "", 20);
  pb_msg(&m, 25, &f);
  refused(&m, ST_INVALID, "input 'x'", "c/x", NULL);
}

/* --- bodies --- */

static Pb branch(const char *op, const char *in) {
  Pb b = {0};
  put_op(&b, "n", op, in, "t");
  put_value(&b, GRAPH_OUTPUT, "t", 0, NULL);
  return b;
}

static void test_if(void **state) {
  (void)state;
  Loaded l;
  Pb g = {0}, n = node("if", "If", "c", "z"), a = branch("Relu", "x"), b = branch("Exp", "y"), none = {0};
  put_value(&g, GRAPH_INPUT, "x", F32, "n 3");
  put_value(&g, GRAPH_INPUT, "y", F32, "n 4");
  put_value(&g, GRAPH_INPUT, "c", BOOL, "");
  put_value(&g, GRAPH_OUTPUT, "z", 0, NULL);
  attr_graph(&n, "then_branch", &a);
  attr_graph(&n, "else_branch", &b);
  put_node(&g, &n);
  Pb m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  const Type *t = &output(&l, 0)->type;
  assert_int_equal(t->rank, 2);
  assert_ptr_equal(t->dim[0], l.m->graph->in[0]->type.dim[0]); /* the same in both */
  assert_int_equal(t->dim[1]->kind, DIM_SYM);                  /* 3 or 4 */
  close_model(&l);

  g = relu_graph(), a = branch("Relu", "x"), b = branch("Shape", "x");
  put_value(&g, GRAPH_INPUT, "c", BOOL, "");
  n = node("if", "If", "c", "z"), attr_graph(&n, "then_branch", &a), attr_graph(&n, "else_branch", &b);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "one branch", "if", NULL);

  g = relu_graph(), a = branch("Relu", "x");
  put_value(&g, GRAPH_INPUT, "c", BOOL, "");
  n = node("if", "If", "c", "z"), attr_graph(&n, "then_branch", &a), attr_graph(&n, "else_branch", &none);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "has 0 outputs; 1 are needed", "if", NULL);

  g = relu_graph(), a = branch("Relu", "x");
  put_value(&g, GRAPH_INPUT, "c", BOOL, "");
  n = node("if", "If", "c", "z"), attr_graph(&n, "then_branch", &a);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "'else_branch' is missing", NULL);
}

/* TorchScript writes x.squeeze(1) as an If: Squeeze when the extent is 1, else nothing. */
static void test_impossible(void **state) {
  (void)state;
  for (int both = 0; both < 2; both++) {
    Loaded l;
    Pb g = {0}, n = node("if", "If", "c", "z"), a = branch("Squeeze", "x one"),
       b = both ? branch("Squeeze", "x one") : branch("Relu", "x");
    put_value(&g, GRAPH_INPUT, "x", F32, "n 3");
    put_value(&g, GRAPH_INPUT, "c", BOOL, "");
    put_ints(&g, "one", (const int64_t[]){1}, 1);
    put_value(&g, GRAPH_OUTPUT, "z", 0, NULL);
    attr_graph(&n, "then_branch", &a);
    attr_graph(&n, "else_branch", &b);
    put_node(&g, &n);
    Pb m = model_of(&g, 8, 20);
    if (both) {
      refused(&m, ST_INVALID, "n", "Squeeze", NULL);
      continue;
    }
    load_ok(&l, &m);
    assert_true(output(&l, 0)->def->body[0]->impossible);
    assert_string_equal(type_of(&l, output(&l, 0)), "f32[n, 3]"); /* what the other branch gives */
    close_model(&l);
  }
}

/* Body (i, c, h) -> (c2, h2, scan): h2 = op of h. */
static Pb loop_body(const char *op, const char *in) {
  Pb b = {0};
  put_value(&b, GRAPH_INPUT, "i", 0, NULL);
  put_value(&b, GRAPH_INPUT, "c", 0, NULL);
  put_value(&b, GRAPH_INPUT, "h", 0, NULL);
  put_op(&b, "id", "Identity", "c", "c2");
  Pb n = node("step", op, in, "h2");
  if (!strcmp(op, "Concat"))
    attr_int(&n, "axis", 0);
  put_node(&b, &n);
  put_op(&b, "scan", "Abs", "h", "s");
  for (const char *o = "c2\0h2\0s\0"; *o; o += strlen(o) + 1)
    put_value(&b, GRAPH_OUTPUT, o, 0, NULL);
  return b;
}

static Pb loop_graph(const char *op, const char *in) {
  Pb g = {0}, body = loop_body(op, in), n = node("loop", "Loop", "trip - x", "last all");
  put_value(&g, GRAPH_INPUT, "x", F32, "n 3");
  put_value(&g, GRAPH_INPUT, "trip", I64, "");
  put_value(&g, GRAPH_OUTPUT, "last", 0, NULL);
  put_value(&g, GRAPH_OUTPUT, "all", 0, NULL);
  attr_graph(&n, "body", &body);
  put_node(&g, &n);
  return g;
}

static void test_loop(void **state) {
  (void)state;
  Loaded l;
  Pb g = loop_graph("Exp", "h"), m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  assert_string_equal(type_of(&l, output(&l, 0)), "f32[n, 3]"); /* no trip changes it */
  assert_int_equal(output(&l, 1)->type.rank, 3);
  assert_ptr_equal(output(&l, 1)->type.dim[1], l.m->graph->in[0]->type.dim[0]);
  close_model(&l);

  g = loop_graph("Concat", "h h"), m = model_of(&g, 8, 20);
  load_ok(&l, &m);
  const Type *t = &output(&l, 0)->type, *in = &output(&l, 0)->def->body[0]->in[2]->type;
  assert_int_equal(t->rank, 2);
  assert_ptr_not_equal(t->dim[0], l.m->graph->in[0]->type.dim[0]); /* grows */
  assert_ptr_not_equal(t->dim[0], in->dim[0]);
  assert_true(dim_is(t->dim[1], 3));
  assert_ptr_not_equal(output(&l, 1)->type.dim[1], in->dim[0]); /* the body's symbol means nothing outside */
  close_model(&l);

  g = loop_graph("Shape", "h"), m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "carried value 0 is f32", "loop", NULL);

  g = (Pb){0};
  put_value(&g, GRAPH_INPUT, "x", F32, "n 3");
  Pb body = loop_body("Exp", "h"), n = node("loop", "Loop", "- - x x", "a b");
  attr_graph(&n, "body", &body);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "has 3 inputs; 4 are needed", "loop", NULL);

  g = (Pb){0};
  put_value(&g, GRAPH_INPUT, "x", F32, "n 3");
  body = loop_body("Exp", "h"), n = node("loop", "Loop", "- - x", "a b c");
  attr_graph(&n, "body", &body);
  put_node(&g, &n);
  m = model_of(&g, 8, 20);
  refused(&m, ST_INVALID, "the node has 3 outputs, its body gives 2", NULL);
}

/* An If around inner, its other branch being simple. */
static Pb if_around(Pb *inner, const char *out) {
  Pb g = {0}, n = node("if", "If", "c", out), other = branch("Exp", "x");
  attr_graph(&n, "then_branch", inner);
  attr_graph(&n, "else_branch", &other);
  put_node(&g, &n);
  put_value(&g, GRAPH_OUTPUT, out, 0, NULL);
  return g;
}

/* A Loop body that runs the Loop with body inner over its carried value, and then doubles it. */
static Pb growing_body(Pb *inner, int level) {
  char h[16], t[16], up[16], in[64];
  snprintf(h, sizeof h, "h%d", level);
  snprintf(t, sizeof t, "t%d", level);
  snprintf(up, sizeof up, "g%d", level);
  Pb g = {0}, n;
  put_value(&g, GRAPH_INPUT, "i", 0, NULL);
  put_value(&g, GRAPH_INPUT, "k", 0, NULL);
  put_value(&g, GRAPH_INPUT, h, 0, NULL);
  snprintf(in, sizeof in, inner ? "trip c %s" : "%s", h);
  n = node("inner", inner ? "Loop" : "Identity", in, t);
  if (inner)
    attr_graph(&n, "body", inner);
  put_node(&g, &n);
  snprintf(in, sizeof in, "%s %s", h, t);
  n = node("grow", "Concat", in, up);
  attr_int(&n, "axis", 0);
  put_node(&g, &n);
  put_op(&g, "id", "Identity", "k", "k2");
  put_value(&g, GRAPH_OUTPUT, "k2", 0, NULL);
  put_value(&g, GRAPH_OUTPUT, up, 0, NULL);
  return g;
}

static Pb nest(int levels, bool loops) {
  Pb g = {0}, inner = loops ? growing_body(NULL, 0) : branch("Relu", "x"), n;
  for (int i = 1; i < levels; i++) {
    char out[16];
    snprintf(out, sizeof out, "t%d", i);
    inner = loops ? growing_body(&inner, i) : if_around(&inner, out);
  }
  if (loops) {
    n = node("loop", "Loop", "trip c x", "z");
    attr_graph(&n, "body", &inner);
    put_node(&g, &n);
    put_value(&g, GRAPH_OUTPUT, "z", 0, NULL);
  } else {
    g = if_around(&inner, "z");
  }
  put_value(&g, GRAPH_INPUT, "x", F32, "n 3");
  put_value(&g, GRAPH_INPUT, "c", BOOL, "");
  put_value(&g, GRAPH_INPUT, "trip", I64, "");
  return model_of(&g, 8, 20);
}

static void test_nesting(void **state) {
  (void)state;
  Loaded l;
  int64_t start = now_ns();
  Pb m = nest(28, false);
  load_ok(&l, &m);
  assert_string_equal(type_of(&l, output(&l, 0)), "f32[n, 3]");
  close_model(&l);
  m = nest(28, true);
  load_ok(&l, &m);
  assert_int_equal(output(&l, 0)->type.rank, 2);
  close_model(&l);
  assert_true(now_ns() - start < 1000000000);
}

/* Running sums of each sample of a batch, by Scan in its first form: x[2,3,1] and start s[2,1]. */
static void test_scan_8(void **state) {
  (void)state;
  Pb body = {0}, g = {0}, n = node("scan", "Scan", "- s x", "last sums"), m;
  put_value(&body, GRAPH_INPUT, "acc", F32, "1");
  put_value(&body, GRAPH_INPUT, "one", F32, "1");
  put_op(&body, "add", "Add", "acc one", "sum");
  put_op(&body, "id", "Identity", "sum", "out");
  put_value(&body, GRAPH_OUTPUT, "sum", F32, "1");
  put_value(&body, GRAPH_OUTPUT, "out", F32, "1");
  attr_graph(&n, "body", &body);
  attr_int(&n, "num_scan_inputs", 1);
  put_value(&g, GRAPH_INPUT, "s", F32, "batch 1");
  put_value(&g, GRAPH_INPUT, "x", F32, "batch time 1");
  put_value(&g, GRAPH_OUTPUT, "last", F32, "batch 1");
  put_value(&g, GRAPH_OUTPUT, "sums", F32, "batch time 1");
  put_node(&g, &n);
  m = model_of(&g, 3, 8);
  float s[] = {0, 10}, x[] = {1, 2, 3, 4, 5, 6}, want[] = {1, 3, 6, 14, 19, 25};
  sard_tensor in[2] = {{.data = s, .dtype = SARD_F32, .rank = 2, .dim = {2, 1}},
                       {.data = x, .dtype = SARD_F32, .rank = 3, .dim = {2, 3, 1}}};
  sard_tensor t;
  sard_model *model = NULL;
  sard_result *r = NULL;
  sard_error *e = NULL;
  if (sard_load_bytes(NULL, m.b, m.n, NULL, NULL, &model, &e) || sard_run(model, in, 2, NULL, &r, &e))
    print_error("%s\n", sard_error_text(e));
  assert_null(e);
  assert_int_equal(sard_result_tensor(r, 0, &t), SARD_OK);
  assert_true(((float *)t.data)[0] == 6 && ((float *)t.data)[1] == 25);
  assert_int_equal(sard_result_tensor(r, 1, &t), SARD_OK);
  assert_int_equal(t.dim[1], 3);
  assert_memory_equal(t.data, want, sizeof want);
  sard_result_free(r);
  sard_model_free(model);
  pb_free(&m);
}

/* --- damage --- */

static void test_cut(void **state) { /* every beginning of a model with functions and bodies */
  (void)state;
  Pb m = doubling_model(2), k = nest(3, true);
  pb_put(&m, k.b, k.n);
  pb_free(&k);
  for (size_t n = 0; n < m.n; n++) {
    Loaded l;
    Pb part = {0};
    pb_put(&part, m.b, n);
    load(&l, &part);
    close_model(&l);
  }
  pb_free(&m);
}

typedef struct Failing {
  Alloc sys;
  long left;
} Failing;

static void *failing_get(void *self, size_t size, size_t align) {
  Failing *f = self;
  return f->left-- > 0 ? f->sys.get(f->sys.self, size, align) : NULL;
}

static void failing_put(void *self, void *p, size_t size) {
  Failing *f = self;
  f->sys.put(f->sys.self, p, size);
}

static void test_no_memory(void **state) { /* request number k fails, for every k */
  (void)state;
  Pb m = doubling_model(3);
  Status st = ST_MEMORY;
  for (long k = 0; st && k < 10000; k++) {
    Failing f = {.left = k};
    Ctx c;
    Model *model;
    alloc_init_system(&f.sys);
    Alloc a = {.get = failing_get, .put = failing_put, .self = &f};
    ctx_open(&c, &a);
    st = model_load_bytes(&c, m.b, m.n, NULL, NULL, &model);
    assert_true(!st || st == ST_MEMORY);
    if (!st)
      model_close(&c, model);
    ctx_close(&c);
    assert_int_equal(atomic_load(&a.used), 0);
  }
  assert_int_equal(st, ST_OK);
  pb_free(&m);
}

static void test_large(void **state) { /* no step is quadratic: 50,000 nodes, written last first */
  (void)state;
  enum { N = 50000 };
  Loaded l;
  Pb g = {0};
  char in[16], out[16];
  for (int i = N; i > 0; i--) {
    snprintf(in, sizeof in, "v%d", i - 1);
    snprintf(out, sizeof out, "v%d", i);
    put_op(&g, out, "Relu", in, out);
  }
  put_value(&g, GRAPH_INPUT, "v0", F32, "n");
  put_value(&g, GRAPH_OUTPUT, out, F32, "n");
  Pb m = model_of(&g, 8, 20);
  int64_t start = now_ns();
  load_ok(&l, &m);
  assert_int_equal(graph_node_count(l.m->graph, true), N);
  close_model(&l);
  assert_true(now_ns() - start < 4000000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_functions),
      cmocka_unit_test(test_function_hands_through),
      cmocka_unit_test(test_function_budget),
      cmocka_unit_test(test_bad_functions),
      cmocka_unit_test(test_if),
      cmocka_unit_test(test_loop),
      cmocka_unit_test(test_nesting),
      cmocka_unit_test(test_scan_8),
      cmocka_unit_test(test_cut),
      cmocka_unit_test(test_impossible),
      cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_large),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
