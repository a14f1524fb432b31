/* test_arith.c - inference of the mathematical operators on symbols: shape arithmetic, comparisons decided by ranges,
 * the extents of products and reductions; and evaluators under a cancel flag and a memory limit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/world.h"

/* A vector (or, of rank 0, a scalar) of these elements. */
static Value *holding(World *w, DType t, int rank, const char *text) {
  Dim d[MAX_RANK], n;
  int count = dims_of(w, text, d);
  n = dim_const(&w->h.c, count);
  Value *v = graph_add_input(w->g, "x", type_tensor(t, rank, &n));
  v->content = arena_copy(w->g->arena, d, (size_t)count * sizeof *d);
  return v;
}

static Value *vec(World *w, const char *text) { return holding(w, DT_i64, 1, text); }

static Value *run(World *w, OpId op, const char *attr, int nin, Value **in) {
  Node *n = graph_add_node(w->g, NULL, op, nin, op_info(op)->min_out, h_attrs(&w->h, op, attr), NULL);
  node_set_inputs(n, nin, in);
  if (node_infer(&w->h.c, n))
    fail_msg("%s: %s", op_info(op)->name, w->h.c.err.message);
  return n->out[0];
}
#define IN(...)                                                                                                        \
  (int)(sizeof((Value *[]){__VA_ARGS__}) / sizeof(Value *)), (Value *[]) { __VA_ARGS__ }
#define OP(name, attr, ...) run(w, OP_##name, attr, IN(__VA_ARGS__))

static void show(World *w, const Dim *d, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    print_error("%s%s", i ? ", " : "  got: ", dim_text(&w->h.c, d[i]));
  print_error("\n");
}

static void same_dims(World *w, const Dim *d, int64_t n, const char *want) {
  Dim expected[MAX_RANK];
  bool same = dims_of(w, want, expected) == n;
  for (int64_t i = 0; same && i < n; i++)
    same = d[i] == expected[i]; /* equal expressions are equal pointers */
  if (!same) {
    show(w, d, n);
    fail_msg("wanted: %s", want);
  }
}

/* The elements, "?" when only the data tell them. */
static void holds(World *w, const Value *v, const char *want) {
  int64_t n = 0;
  if (!strcmp(want, "?")) {
    if (v->content && !v->told)
      show(w, v->content, 1);
    assert_true(!v->content || v->told);
    return;
  }
  assert_non_null(v->content);
  assert_true(dim_is_const(type_count(&w->h.c, &v->type), &n));
  same_dims(w, v->content, n, want);
}

/* "f32[batch, 3]"; "f32[*]": the rank is not known */
static void has_type(World *w, const Value *v, const char *want) {
  size_t n = strcspn(want, "[");
  assert_int_equal(v->type.dtype, dtype_parse(want, n));
  if (!strcmp(want + n, "[*]")) {
    assert_int_equal(v->type.rank, -1);
    return;
  }
  assert_true(v->type.rank >= 0);
  same_dims(w, v->type.dim, v->type.rank, arena_strndup(w->h.a, want + n + 1, strlen(want) - n - 2));
}

static void arithmetic(void **state) {
  World *w = *state;
  Value *s = vec(w, "batch, seq, 12"), *two = holding(w, DT_i64, 0, "2");
  holds(w, OP(Add, "", s, two), "batch + 2, seq + 2, 14");
  holds(w, OP(Sub, "", s, vec(w, "batch, 1, 12")), "0, seq - 1, 0");
  holds(w, OP(Mul, "", vec(w, "2"), s), "2*batch, 2*seq, 24");
  holds(w, OP(Div, "", s, two), "batch//2, seq//2, 6");
  holds(w, OP(Mod, "", s, two), "Mod(batch, 2), Mod(seq, 2), 0");
  holds(w, OP(Max, "", s, constant(w, "i64[1] 0")), "batch, seq, 12");
  holds(w, OP(Min, "", s, holding(w, DT_i64, 0, "0")), "0, 0, 0");
  holds(w, OP(Neg, "", vec(w, "3, -4")), "-3, 4");
  holds(w, OP(Abs, "", vec(w, "seq, -4")), "seq, 4");
  holds(w, OP(Clip, "", s, constant(w, "i64[] 1"), constant(w, "i64[] 9")),
        "Min(9, Max(1, batch)), Min(9, Max(1, seq)), 9");
  has_type(w, OP(Add, "", two, two), "i64[]");
}

/* Truncation is floor only where nothing is negative, and a divisor must be known not to be 0. */
static void division(void **state) {
  World *w = *state;
  holds(w, OP(Div, "", vec(w, "seq"), vec(w, "batch")), "?");
  holds(w, OP(Div, "", vec(w, "seq - 1"), vec(w, "2")), "?");
  holds(w, OP(Div, "", vec(w, "-7"), vec(w, "2")), "-3");
  holds(w, OP(Div, "", vec(w, "7"), vec(w, "0")), "?");
  holds(w, OP(Mod, "", vec(w, "-7"), vec(w, "2")), "1");
  holds(w, OP(Mod, "fmod=1", vec(w, "-7"), vec(w, "2")), "-1");
  holds(w, OP(Mod, "fmod=1", vec(w, "seq - 1"), vec(w, "2")), "?");
  holds(w, OP(Div, "", vec(w, "4*seq"), vec(w, "2")), "2*seq");
}

/* What would wrap is left to the run. */
static void ranges(void **state) {
  World *w = *state;
  holds(w, OP(Add, "", holding(w, DT_i32, 1, "2147483647"), holding(w, DT_i32, 1, "1")), "?");
  holds(w, OP(Cast, "to=6", vec(w, "2147483648")), "?");
  Value *least = vec(w, "-9223372036854775807 - 1"), *most = vec(w, "9223372036854775807");
  holds(w, OP(Add, "", most, vec(w, "1")), "?");
  holds(w, OP(Sub, "", least, vec(w, "1")), "?");
  holds(w, OP(Mul, "", most, vec(w, "2")), "?");
  holds(w, OP(Neg, "", least), "?");
  holds(w, OP(Max, "", vec(w, "5"), least), "5");
  holds(w, OP(Min, "", most, vec(w, "-5")), "-5");
  holds(w, OP(Relu, "", least), "0");
  holds(w, OP(ReduceProd, "keepdims=0", vec(w, "4611686018427387904, 4")), "?");
  holds(w, OP(Less, "", vec(w, "-9223372036854775807"), vec(w, "9223372036854775807")), "1");
  holds(w, OP(Equal, "", vec(w, "-9223372036854775807"), vec(w, "9223372036854775807")), "0");
}

static void comparisons(void **state) {
  World *w = *state;
  Value *s = vec(w, "seq, 12");
  holds(w, OP(Equal, "", s, vec(w, "-1")), "0, 0");
  holds(w, OP(Equal, "", s, vec(w, "seq, 12")), "1, 1");
  holds(w, OP(Equal, "", s, vec(w, "1")), "?");
  holds(w, OP(Greater, "", s, vec(w, "-1")), "1, 1");
  holds(w, OP(Less, "", s, vec(w, "0")), "0, 0");
  holds(w, OP(GreaterOrEqual, "", vec(w, "seq + 1"), vec(w, "seq")), "1");
  holds(w, OP(LessOrEqual, "", vec(w, "seq + 1"), vec(w, "seq")), "0");
  Value *no = OP(Equal, "", s, vec(w, "-1")), *open = OP(Equal, "", s, vec(w, "1"));
  holds(w, OP(Not, "", no), "1, 1");
  holds(w, OP(Or, "", no, OP(Not, "", no)), "1, 1");
  holds(w, OP(And, "", no, open), "?");
  holds(w, OP(And, "", no, constant(w, "bool[2] 1 1")), "0, 0");
}

/* TorchScript: Expand(x, Where(Equal(shape, -1), ones, shape)). */
static void torchscript_expand(void **state) {
  World *w = *state;
  Value *shape = vec(w, "batch, 1, seq, seq");
  Value *minus = OP(Mul, "", constant(w, "i64[4] 1*"), constant(w, "i64[] -1"));
  holds(w, OP(Where, "", OP(Equal, "", shape, minus), constant(w, "i64[4] 1*"), shape), "batch, 1, seq, seq");
  Value *mixed = vec(w, "batch, -1, seq, seq");
  holds(w, OP(Where, "", OP(Equal, "", mixed, minus), constant(w, "i64[4] 1*"), mixed), "batch, 1, seq, seq");
  holds(w, OP(Where, "", OP(Equal, "", vec(w, "seq"), vec(w, "1")), vec(w, "n"), vec(w, "n")), "?");
}

static void casts(void **state) {
  World *w = *state;
  Value *s = vec(w, "batch, 4");
  holds(w, OP(Cast, "to=6", s), "batch, 4");
  holds(w, OP(Cast, "to=7", OP(Cast, "to=6", s)), "batch, 4");
  holds(w, OP(Cast, "to=9", vec(w, "seq + 1, 0")), "1, 0");
  holds(w, OP(Cast, "to=9", s), "?");
  holds(w, OP(Cast, "to=1", s), "?");
  holds(w, OP(Cast, "to=7", constant(w, "f32[2] 3 -1")), "3, -1");
  holds(w, OP(Cast, "to=7", constant(w, "f32[1] 3.5")), "?");
  holds(w, OP(CastLike, "", s, shaped(w, DT_i32, "n")), "batch, 4");
  has_type(w, OP(Cast, "to=10", shaped(w, DT_f32, "batch, 3")), "f16[batch, 3]");
}

static void reductions(void **state) {
  World *w = *state;
  Value *s = vec(w, "batch, seq, 2");
  holds(w, OP(ReduceProd, "keepdims=0", s), "2*batch*seq");
  holds(w, OP(ReduceSum, "", s, constant(w, "i64[1] 0")), "batch + seq + 2");
  holds(w, OP(ReduceMax, "keepdims=0", vec(w, "seq, seq + 1")), "seq + 1");
  holds(w, OP(ReduceMin, "keepdims=0", vec(w, "seq, seq + 1")), "seq");
  holds(w, OP(ReduceProd, "keepdims=0", holding(w, DT_i64, 1, "")), "1");
  holds(w, OP(ReduceSum, "noop_with_empty_axes=1", s), "batch, seq, 2");
  Value *x = shaped(w, DT_f32, "batch, seq, 64");
  has_type(w, OP(ReduceMean, "", x, constant(w, "i64[1] -1")), "f32[batch, seq, 1]");
  has_type(w, OP(ReduceMean, "keepdims=0", x, constant(w, "i64[2] 0 2")), "f32[seq]");
  has_type(w, OP(ReduceSum, "", x), "f32[1, 1, 1]");
  has_type(w, OP(ReduceSum, "keepdims=0", x, shaped(w, DT_i64, "n")), "f32[*]");
  assert_int_equal(OP(ReduceSum, "keepdims=0", x, shaped(w, DT_i64, "2"))->type.rank, 1);
  has_type(w, OP(ArgMax, "axis=1 keepdims=0", x), "i64[batch, 64]");
  has_type(w, OP(TopK, "", x, holding(w, DT_i64, 1, "k")), "f32[batch, seq, k]");
}

static void products(void **state) {
  World *w = *state;
  Value *q = shaped(w, DT_f32, "batch, 12, seq, 64"), *k = shaped(w, DT_f32, "batch, 12, 64, past + seq");
  has_type(w, OP(MatMul, "", q, k), "f32[batch, 12, seq, past + seq]");
  has_type(w, OP(MatMul, "", q, shaped(w, DT_f32, "64")), "f32[batch, 12, seq]");
  has_type(w, OP(MatMul, "", shaped(w, DT_f32, "n, 8"), shaped(w, DT_f32, "heads, 8, 3")), "f32[heads, n, 3]");
  has_type(w, OP(Gemm, "transB=1", shaped(w, DT_f32, "n, 8"), shaped(w, DT_f32, "5, 8"), shaped(w, DT_f32, "5")),
           "f32[n, 5]");
  has_type(w, OP(Einsum, "equation=bhid,bhdj->bhij", q, k), "f32[batch, 12, seq, past + seq]");
  has_type(w, OP(Einsum, "equation=\"...i,...i\"", q, q), "f32[batch, 12, seq]");
  has_type(w, OP(MatMul, "", q, graph_add_input(w->g, "x", type_tensor(DT_f32, -1, NULL))), "f32[*]");
}

static void broadcasts(void **state) {
  World *w = *state;
  Value *x = shaped(w, DT_f32, "batch, 1, seq"), *one = shaped(w, DT_f32, "12, 1");
  has_type(w, OP(Add, "", x, one), "f32[batch, 12, seq]");
  has_type(w, OP(Less, "", x, one), "bool[batch, 12, seq]");
  has_type(w, OP(Where, "", shaped(w, DT_bool, "1, 12, 1"), x, shaped(w, DT_f32, "")), "f32[batch, 12, seq]");
  has_type(w, OP(Max, "", x, one, shaped(w, DT_f32, "2, 1, 1, 1")), "f32[2, batch, 12, seq]");
  has_type(w, OP(PRelu, "", x, shaped(w, DT_f32, "1, 1")), "f32[batch, 1, seq]");
  has_type(w, OP(IsNaN, "", x), "bool[batch, 1, seq]");
  has_type(w, OP(Add, "", x, graph_add_input(w->g, "x", type_tensor(DT_f32, -1, NULL))), "f32[*]");
}

/* --- limits --- */

static void cancelled(void **state) {
  World *w = *state;
  static const struct {
    const char *op, *attr, *in[3];
  } cases[] = {{"MatMul", "", {"f32[8,8] 1*", "f32[8,8] 1*"}},
               {"Exp", "", {"f32[8] 1*"}},
               {"Softmax", "", {"f32[8] 1*"}},
               {"Cast", "to=7", {"f32[8] 1*"}},
               {"ArgMax", "", {"f32[8] 1*"}},
               {"TopK", "", {"f32[8] 1*", "i64[1] 2"}},
               {"Trilu", "", {"f32[2,2] 1*"}},
               {"CumSum", "", {"f32[8] 1*", "i64[] 0"}},
               {"Einsum", "equation=ij->", {"f32[2,2] 1*"}}};
  static const atomic_int flag = 1;
  w->h.c.cancel = &flag;
  for (size_t i = 0; i < countof(cases); i++) {
    Tensor *in[3], *out[2];
    int n = 0;
    while (n < 3 && cases[i].in[n])
      in[n] = h_tensor(&w->h, cases[i].in[n]), n++;
    OpId op = op_find("", cases[i].op);
    assert_int_equal(h_eval(&w->h, op, h_attrs(&w->h, op, cases[i].attr), n, in, op_info(op)->min_out, NULL, out),
                     ST_CANCELLED);
  }
}

/* Few bytes of input can ask for a great output; it must fail before it is made. */
static void over_budget(void **state) {
  World *w = *state;
  static const struct {
    const char *op, *attr, *in[2];
    Status st;
  } cases[] = {{"MatMul", "", {"f32[1099511627776,0]", "f32[0,1]"}, ST_MEMORY},
               {"MatMul", "", {"f32[1099511627776,0]", "f32[0,1099511627776]"}, ST_INVALID},
               {"Gemm", "transA=1", {"f32[0,1099511627776]", "f32[0,1]"}, ST_MEMORY},
               {"ReduceSum", "", {"f32[1099511627776,0]", "i64[1] 1"}, ST_MEMORY},
               {"Einsum", "equation=ij->i", {"f32[1099511627776,0]", NULL}, ST_MEMORY},
               {"Add", "", {"f32[100000,1] 1*", "f32[100000] 1*"}, ST_MEMORY},
               {"Einsum", "equation=ij,ij->", {"f32[100000,1] 1*", "f32[1,100000] 1*"}, ST_MEMORY}};
  for (size_t i = 0; i < countof(cases); i++) {
    Tensor *in[2] = {h_tensor(&w->h, cases[i].in[0]), cases[i].in[1] ? h_tensor(&w->h, cases[i].in[1]) : NULL}, *out[2];
    OpId op = op_find("", cases[i].op);
    Status st = h_eval(&w->h, op, h_attrs(&w->h, op, cases[i].attr), in[1] ? 2 : 1, in, 1, NULL, out);
    if (st != cases[i].st)
      print_error("case %zu: %s\n", i, w->h.c.err.message);
    assert_int_equal(st, cases[i].st);
  }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)
int main(void) {
  const struct CMUnitTest tests[] = {TEST(arithmetic),         TEST(division),  TEST(ranges),     TEST(comparisons),
                                     TEST(torchscript_expand), TEST(casts),     TEST(reductions), TEST(products),
                                     TEST(broadcasts),         TEST(cancelled), TEST(over_budget)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
