/* test_shapes.c - inference on symbolic shapes: the forests of Shape, Gather, Concat, Slice and Reshape nodes that
 * exporters write, and what their outputs' extents come to.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/op/world.h"

static Value *unknown(World *w, DType t) { return graph_add_input(w->g, "x", type_tensor(t, -1, NULL)); }

/* A vector or scalar whose elements are those expressions. */
static Value *dims(World *w, int rank, const char *text) {
  Dim d[MAX_RANK];
  DimsAttr a = {.dims = {d, dims_of(w, text, d)}, .rank = rank, .dtype = DT_i64};
  Node *n = graph_add_node(w->g, NULL, OP_Dims, 0, 1, &a, NULL);
  assert_int_equal(node_infer(&w->h.c, n), ST_OK);
  return n->out[0];
}

static Node *node(World *w, OpId op, const char *attr, int nout, int nin, Value **in) {
  Node *n = graph_add_node(w->g, NULL, op, nin, nout, h_attrs(&w->h, op, attr), NULL);
  node_set_inputs(n, nin, in);
  return n;
}

/* OP(w, Gather, "axis=1", x, i): the node's first output, inferred. */
static Value *infer(World *w, OpId op, const char *attr, int nin, Value **in) {
  Node *n = node(w, op, attr, 1, nin, in);
  if (node_infer(&w->h.c, n))
    fail_msg("%s: %s", op_info(op)->name, w->h.c.err.message);
  return n->out[0];
}
#define IN(...)                                                                                                        \
  (int)(sizeof((Value *[]){__VA_ARGS__}) / sizeof(Value *)), (Value *[]) { __VA_ARGS__ }
#define OP(w, op, attr, ...) infer(w, OP_##op, attr, IN(__VA_ARGS__))

/* Inference must fail with a message that holds text. */
static void refuse(World *w, OpId op, const char *attr, const char *text, int nin, Value **in) {
  assert_int_equal(node_infer(&w->h.c, node(w, op, attr, 1, nin, in)), ST_INVALID);
  if (!strstr(w->h.c.err.message, text))
    fail_msg("\"%s\" is not in \"%s\"", text, w->h.c.err.message);
}

/* got[n] are the expressions of text; equal expressions are equal pointers, however they are spelt. */
static bool same_dims(World *w, const char *text, int64_t n, const Dim *got) {
  Dim want[MAX_RANK];
  bool ok = dims_of(w, text, want) == n;
  for (int64_t i = 0; ok && i < n; i++)
    ok = got[i] == want[i];
  return ok;
}

static void type_is(World *w, const Value *v, const char *text) {
  const char *got = type_text(&w->h.c, &v->type), *shape = strchr(text, '[');
  if (v->type.kind != VK_TENSOR || v->type.rank < 0 || !shape) {
    assert_string_equal(got, text);
    return;
  }
  bool ok = dtype_parse(text, (size_t)(shape - text)) == v->type.dtype;
  shape = arena_strndup(w->h.a, shape + 1, strcspn(shape, "]") - 1);
  if (!ok || !same_dims(w, shape, v->type.rank, v->type.dim))
    fail_msg("%s is not %s", got, text);
}

static void content_is(World *w, const Value *v, const char *text) {
  int64_t n = 0;
  if (!v->content || !dim_is_const(type_count(&w->h.c, &v->type), &n))
    fail_msg("no content, %s expected", text);
  if (same_dims(w, text, n, v->content))
    return;
  for (int64_t i = 0; i < n; i++)
    print_error("%s%s", i ? ", " : "", dim_text(&w->h.c, v->content[i]));
  fail_msg(" is not %s", text);
}

/* Extent number i of x as a vector of one, the way TorchScript writes it. */
static Value *extent(World *w, Value *x, int i) {
  char index[32];
  snprintf(index, sizeof index, "i64[] %d", i);
  Value *at = OP(w, Gather, "axis=0", OP(w, Shape, "", x), constant(w, index));
  type_is(w, at, "i64[]");
  return OP(w, Unsqueeze, "", at, constant(w, "i64[1] 0"));
}

static void torchscript_heads(void **state) {
  World *w = *state;
  Value *x = shaped(w, DT_f32, "batch, seq, 384");
  Value *b = extent(w, x, 0), *s = extent(w, x, 1), *c12 = constant(w, "i64[1] 12"), *c32 = constant(w, "i64[1] 32");
  Value *shape = OP(w, Concat, "axis=0", b, s, c12, c32);
  content_is(w, shape, "batch, seq, 12, 32");
  Value *heads = OP(w, Reshape, "", x, shape);
  type_is(w, heads, "f32[batch, seq, 12, 32]");
  heads = OP(w, Transpose, "perm=[0,2,1,3]", heads);
  type_is(w, heads, "f32[batch, 12, seq, 32]");
  Value *back = OP(w, Transpose, "perm=[0,2,1,3]", heads);
  Value *s1 = OP(w, Shape, "", back), *zero = constant(w, "i64[1] 0"), *two = constant(w, "i64[1] 2");
  Value *front = OP(w, Slice, "", s1, zero, two);
  content_is(w, front, "batch, seq");
  type_is(w, OP(w, Reshape, "", back, OP(w, Concat, "axis=0", front, constant(w, "i64[1] -1"))),
          "f32[batch, seq, 384]");
  type_is(w, OP(w, Reshape, "", back, OP(w, Concat, "axis=0", front, constant(w, "i64[1] 384"))),
          "f32[batch, seq, 384]");
}

static void reshape_rest(void **state) {
  World *w = *state;
  Value *x = shaped(w, DT_f32, "batch, seq, 768");
  type_is(w, OP(w, Reshape, "", x, constant(w, "i64[4] 0 -1 12 64")), "f32[batch, seq, 12, 64]");
  type_is(w, OP(w, Reshape, "", x, constant(w, "i64[2] -1 768")), "f32[batch*seq, 768]");
  type_is(w, OP(w, Reshape, "", x, constant(w, "i64[1] -1")), "f32[768*batch*seq]");
  type_is(w, OP(w, Reshape, "", x, constant(w, "i64[3] 0 0 -1")), "f32[batch, seq, 768]");
  type_is(w, OP(w, Reshape, "", x, dims(w, 1, "batch*seq, -1")), "f32[batch*seq, 768]");
  type_is(w, OP(w, Reshape, "", shaped(w, DT_f32, "2*n, 3"), constant(w, "i64[2] -1 6")), "f32[n, 6]");
  type_is(w, OP(w, Reshape, "", shaped(w, DT_f32, "n, 3"), constant(w, "i64[2] -1 6")), "f32[3*n//6, 6]");
  type_is(w, OP(w, Reshape, "", unknown(w, DT_f32), dims(w, 1, "batch, 7")), "f32[batch, 7]");
  type_is(w, OP(w, Reshape, "", x, dims(w, 1, "batch, seq, 769")), "f32[batch, seq, 769]"); /* seq may be 0 */
  dim_narrow(&w->h.c, dim_sym(&w->h.c, "some"), 1, INT64_MAX);
  refuse(w, OP_Reshape, "", "element counts differ", IN(shaped(w, DT_f32, "some, 768"), dims(w, 1, "some, 769")));
  refuse(w, OP_Reshape, "", "element counts differ", IN(shaped(w, DT_f32, "4, 3"), constant(w, "i64[2] 5 3")));
}

/* Keys repeated for grouped heads: Unsqueeze, Expand, Reshape. */
static void grouped_heads(void **state) {
  World *w = *state;
  Value *k = shaped(w, DT_f32, "batch, 2, past + seq, 64");
  Value *five = OP(w, Unsqueeze, "", k, constant(w, "i64[1] 2"));
  type_is(w, five, "f32[batch, 2, 1, past + seq, 64]");
  Value *wide = OP(w, Expand, "", five, dims(w, 1, "batch, 2, 4, past + seq, 64"));
  type_is(w, wide, "f32[batch, 2, 4, past + seq, 64]");
  type_is(w, OP(w, Reshape, "", wide, dims(w, 1, "batch, 8, past + seq, 64")), "f32[batch, 8, past + seq, 64]");
  type_is(w, OP(w, Reshape, "", wide, constant(w, "i64[4] 0 8 -1 64")), "f32[batch, 8, past + seq, 64]");
  type_is(w, OP(w, Concat, "axis=2", shaped(w, DT_f32, "batch, 2, past, 64"), shaped(w, DT_f32, "batch, 2, seq, 64")),
          "f32[batch, 2, past + seq, 64]");
}

static Value *cut(World *w, Value *x, const char *start, const char *end, int axis) {
  char a[32];
  snprintf(a, sizeof a, "i64[1] %d", axis);
  return OP(w, Slice, "", x, dims(w, 1, start), dims(w, 1, end), constant(w, a));
}

static void slices(void **state) {
  World *w = *state;
  Value *x = shaped(w, DT_f32, "batch, seq");
  type_is(w, cut(w, x, "0", "9223372036854775807", 1), "f32[batch, seq]");
  type_is(w, cut(w, x, "0", "2147483647", 1), "f32[batch, seq]");
  type_is(w, cut(w, shaped(w, DT_f32, "0, 8589934592"), "0", "2147483647", 1), "f32[0, 2147483647]");
  Value *butlast = cut(w, x, "0", "-1", 1), *butfirst = cut(w, x, "1", "9223372036854775807", 1);
  type_is(w, butlast, "f32[batch, Max(0, seq - 1)]");
  assert_ptr_equal(butlast->type.dim[1], butfirst->type.dim[1]);
  type_is(w, cut(w, x, "0", "1", 1), "f32[batch, Min(1, seq)]");
  type_is(w, cut(w, x, "-1", "9223372036854775807", 1), "f32[batch, Min(1, seq)]");
  dim_narrow(&w->h.c, dim_sym(&w->h.c, "long"), 4, INT64_MAX);
  Value *y = shaped(w, DT_f32, "batch, long");
  type_is(w, cut(w, y, "0", "1", 1), "f32[batch, 1]");
  type_is(w, cut(w, y, "0", "-1", 1), "f32[batch, long - 1]");
  type_is(w, cut(w, y, "1", "3", 1), "f32[batch, 2]");
  type_is(w, cut(w, y, "-1", "9223372036854775807", 1), "f32[batch, 1]");
  Value *cache = shaped(w, DT_f32, "batch, past + seq");
  type_is(w, cut(w, cache, "past", "past + seq", 1), "f32[batch, seq]");
  type_is(w, cut(w, cache, "0", "past", 1), "f32[batch, past]");
  type_is(w, cut(w, cache, "past", "9223372036854775807", 1), "f32[batch, seq]");
  Value *table = shaped(w, DT_bool, "1, 1, 512, 512");
  type_is(w, cut(w, cut(w, table, "0", "seq", 2), "0", "seq", 3), "bool[1, 1, Min(512, seq), Min(512, seq)]");
  type_is(w, cut(w, cut(w, table, "0", "100", 2), "-3", "-1", 3), "bool[1, 1, 100, 2]");
  type_is(w, cut(w, table, "past", "past + seq", 2), "bool[1, 1, Min(512, past + seq) - Min(512, past), 512]");
  type_is(w,
          OP(w, Slice, "", x, constant(w, "i64[1] -1"), constant(w, "i64[1] -9223372036854775808"),
             constant(w, "i64[1] 1"), constant(w, "i64[1] -1")),
          "f32[batch, seq]");
  type_is(w,
          OP(w, Slice, "", shaped(w, DT_f32, "batch, 2*half"), constant(w, "i64[1] 1"),
             constant(w, "i64[1] 9223372036854775807"), constant(w, "i64[1] 1"), constant(w, "i64[1] 2")),
          "f32[batch, (Max(0, 2*half - 1) + 1)//2]");
  type_is(w, cut(w, shaped(w, DT_f32, "1, 4, seq, seq"), "-seq", "9223372036854775807", 2),
          "f32[1, 4, seq, seq]"); /* T5 */
  Value *moved = OP(w, Slice, "", x, shaped(w, DT_i64, "1"), shaped(w, DT_i64, "1"), constant(w, "i64[1] 1"));
  assert_ptr_equal(moved->type.dim[0], dim_sym(&w->h.c, "batch"));
  assert_true(moved->type.dim[1]->data); /* an expression over where it starts and ends */
}

/* How many positions [s:t:step] of an axis of extent d has, counted one by one as ONNX defines them. */
static int64_t count_slice(int64_t s, int64_t t, int64_t step, int64_t d) {
  int64_t n = 0;
  s += s < 0 ? d : 0, t += t < 0 ? d : 0;
  s = s < 0 ? 0 : s > (step > 0 ? d : d - 1) ? (step > 0 ? d : d - 1) : s;
  t = t < (step > 0 ? 0 : -1) ? (step > 0 ? 0 : -1) : t > d ? d : t;
  for (int64_t i = s; d && (step > 0 ? i < t : i > t); i += step)
    n++;
  return n;
}

static bool bound(void *arg, Dim sym, int64_t *v) {
  const int64_t *value = arg; /* of a, b, d */
  *v = value[sym->name[0] == 'a' ? 0 : sym->name[0] == 'b' ? 1 : 2];
  return sym->name[1] == 0;
}

static void expect_slice(World *w, const Value *v, int64_t a, int64_t b, int64_t d, int64_t want) {
  int64_t value[] = {a, b, d}, got = -1;
  if (!dim_eval(v->type.dim[0], bound, value, &got) || got != want)
    fail_msg("[%lld:%lld] of %lld: %s is %lld, not %lld", (long long)a, (long long)b, (long long)d,
             dim_text(&w->h.c, v->type.dim[0]), (long long)got, (long long)want);
}

/* The expressions hold for every value, signs unknown and extents of 0 included. */
static void slices_by_count(void **state) {
  World *w = *state;
  Value *x = shaped(w, DT_f32, "d"), *axis = constant(w, "i64[1] 0");
  Value *any = cut(w, x, "a - 4", "b - 4", 0), *from = cut(w, x, "a - 4", "9223372036854775807", 0),
        *upto = cut(w, x, "0", "b - 4", 0);
  for (int64_t d = 0; d < 5; d++)
    for (int64_t a = 0; a < 12; a++)
      for (int64_t b = 0; b < 12; b++) {
        expect_slice(w, any, a, b, d, count_slice(a - 4, b - 4, 1, d));
        expect_slice(w, from, a, b, d, count_slice(a - 4, 100, 1, d));
        expect_slice(w, upto, a, b, d, count_slice(0, b - 4, 1, d));
      }
  for (int step = -3; step <= 3; step += step == -1 ? 2 : 1)
    for (int s = -4; s < 5; s++)
      for (int t = -4; t < 5; t++) {
        char text[3][24];
        snprintf(text[0], 24, "i64[1] %d", s), snprintf(text[1], 24, "i64[1] %d", t),
            snprintf(text[2], 24, "i64[1] %d", step);
        Value *v = OP(w, Slice, "", x, constant(w, text[0]), constant(w, text[1]), axis, constant(w, text[2]));
        for (int64_t d = 0; d < 6; d++)
          if (v->type.dim[0]->kind != DIM_SYM || v->type.dim[0] == x->type.dim[0])
            expect_slice(w, v, 0, 0, d, count_slice(s, t, step, d));
          else
            assert_true(step < 0 && s < -1); /* left to the run */
      }
}

static void ranges(void **state) {
  World *w = *state;
  Value *zero = constant(w, "i64[] 0"), *one = constant(w, "i64[] 1");
  type_is(w, OP(w, Range, "", zero, dims(w, 0, "seq"), one), "i64[seq]");
  type_is(w, OP(w, Range, "", dims(w, 0, "past"), dims(w, 0, "past + seq"), one), "i64[seq]");
  type_is(w, OP(w, Range, "", zero, dims(w, 0, "2*seq"), constant(w, "i64[] 2")), "i64[seq]");
  type_is(w, OP(w, Range, "", dims(w, 0, "seq - 1"), constant(w, "i64[] -1"), constant(w, "i64[] -1")), "i64[seq]");
  Value *few = OP(w, Range, "", dims(w, 0, "past"), dims(w, 0, "past + 3"), one);
  type_is(w, few, "i64[3]");
  content_is(w, few, "past, past + 1, past + 2");
  type_is(w, OP(w, Range, "", constant(w, "f32[] 0"), constant(w, "f32[] 1"), constant(w, "f32[] 0.25")), "f32[4]");
  Node *cast = node(w, OP_Cast, "to=1", 1, IN(dims(w, 0, "seq")));
  cast->out[0]->type = type_tensor(DT_f32, 0, NULL);
  type_is(w, OP(w, Range, "", constant(w, "f32[] 0"), cast->out[0], constant(w, "f32[] 1")), "f32[seq]");
  /* arange(seq, -seq, -1) as torch.export writes it: Ceil((-seq - seq) / -1) in float */
  Node *n[5] = {node(w, OP_Cast, "to=1", 1, IN(dims(w, 0, "-seq")))};
  n[1] = node(w, OP_Sub, "", 1, IN(n[0]->out[0], cast->out[0]));
  n[2] = node(w, OP_Div, "", 1, IN(n[1]->out[0], constant(w, "f32[] -1")));
  n[3] = node(w, OP_Ceil, "", 1, IN(n[2]->out[0]));
  n[4] = node(w, OP_Cast, "to=7", 1, IN(n[3]->out[0]));
  for (int i = 0; i < 5; i++)
    n[i]->out[0]->type = type_tensor(i < 4 ? DT_f32 : DT_i64, 0, NULL);
  type_is(w, OP(w, Range, "", zero, n[4]->out[0], one), "i64[2*seq]");
  node_set_input(n[2], 1, constant(w, "f32[] 4"));
  type_is(w, OP(w, Range, "", zero, n[4]->out[0], one), "i64[Max(0, (3 - 2*seq)//4)]");
  node_set_input(n[2], 1, constant(w, "f32[] 0.5"));
  assert_int_equal(OP(w, Range, "", zero, n[4]->out[0], one)->type.dim[0]->kind, DIM_SYM);
  refuse(w, OP_Range, "", "delta is 0", IN(zero, dims(w, 0, "seq"), zero));
}

static void contents(void **state) {
  World *w = *state;
  Value *v = dims(w, 1, "batch, seq, 7");
  content_is(w, OP(w, Gather, "axis=0", v, constant(w, "i64[2] -1 0")), "7, batch");
  content_is(w, OP(w, GatherElements, "axis=0", v, constant(w, "i64[1] 1")), "seq");
  content_is(w, OP(w, GatherND, "", v, constant(w, "i64[2,1] 1 1")), "seq, seq");
  content_is(w,
             OP(w, Slice, "", v, constant(w, "i64[1] -1"), constant(w, "i64[1] -9"), constant(w, "i64[1] 0"),
                constant(w, "i64[1] -1")),
             "7, seq, batch");
  content_is(w, OP(w, Concat, "axis=0", v, constant(w, "i64[2] 1 2")), "batch, seq, 7, 1, 2");
  content_is(w, OP(w, Expand, "", dims(w, 0, "seq"), constant(w, "i64[1] 3")), "seq, seq, seq");
  content_is(w, OP(w, Tile, "", dims(w, 1, "a, b"), constant(w, "i64[1] 2")), "a, b, a, b");
  content_is(w, OP(w, Pad, "", v, constant(w, "i64[2] 1 1"), constant(w, "i64[] 9")), "9, batch, seq, 7, 9");
  content_is(w, OP(w, Pad, "", v, constant(w, "i64[2] 1 0")), "0, batch, seq, 7");
  content_is(w, OP(w, ConstantOfShape, "value={i64[1] 5}", constant(w, "i64[1] 2")), "5, 5");
  content_is(w, OP(w, ScatterND, "", v, constant(w, "i64[1,1] 1"), dims(w, 1, "past")), "batch, past, 7");
  content_is(w, OP(w, ScatterElements, "axis=0", v, constant(w, "i64[1] 0"), constant(w, "i64[1] 2")), "2, seq, 7");
  content_is(w, OP(w, Identity, "", v), "batch, seq, 7");
  content_is(w, OP(w, Transpose, "", OP(w, Reshape, "", dims(w, 1, "a, b, c, d"), constant(w, "i64[2] 2 2"))),
             "a, c, b, d");
  content_is(w, OP(w, Squeeze, "", dims(w, 1, "a"), constant(w, "i64[1] 0")), "a");
  content_is(w, OP(w, Compress, "axis=0", v, constant(w, "bool[3] 1 0 1")), "batch, 7");
  content_is(w, OP(w, Size, "", shaped(w, DT_f32, "batch, seq, 2")), "2*batch*seq");
  content_is(w, OP(w, Shape, "start=-2", shaped(w, DT_f32, "batch, seq, 2")), "seq, 2");
  content_is(w, OP(w, Shape, "", shaped(w, DT_f32, "")), "");
  Node *split = node(w, OP_Split, "", 2, IN(v, constant(w, "i64[2] 2 1")));
  assert_int_equal(node_infer(&w->h.c, split), ST_OK);
  content_is(w, split->out[0], "batch, seq");
  content_is(w, split->out[1], "7");
  refuse(w, OP_Gather, "axis=0", "index 3 is out of range for axis 0 of extent 3", IN(v, constant(w, "i64[] 3")));
  assert_int_equal(OP(w, Gather, "axis=0", v, shaped(w, DT_i64, "1"))->told, 1); /* by the run's data */
  Value *data = shaped(w, DT_i64, "1"), *both = OP(w, Concat, "axis=0", v, data);
  assert_ptr_equal(both->content[3], data->content[0]);
  assert_int_equal(both->told, 0);
  assert_int_equal(OP(w, ScatterND, "reduction=add", v, constant(w, "i64[1,1] 1"), dims(w, 1, "past"))->told, 3);
  assert_null(OP(w, Tile, "", v, constant(w, "i64[1] 1000"))->content);
}

static void others(void **state) {
  World *w = *state;
  Value *x = shaped(w, DT_f32, "batch, 3*hidden, n");
  Node *thirds = node(w, OP_Split, "axis=1 num_outputs=3", 3, IN(x));
  assert_int_equal(node_infer(&w->h.c, thirds), ST_OK);
  for (int i = 0; i < 3; i++)
    type_is(w, thirds->out[i], "f32[batch, hidden, n]");
  type_is(w, OP(w, Gather, "axis=0", shaped(w, DT_f32, "30522, 384"), shaped(w, DT_i64, "batch, seq")),
          "f32[batch, seq, 384]");
  type_is(w, OP(w, Expand, "", shaped(w, DT_f32, "1, seq"), dims(w, 1, "batch, 1, seq, seq")),
          "f32[batch, 1, seq, seq]");
  type_is(w, OP(w, Expand, "", shaped(w, DT_f32, "n"), dims(w, 1, "m")), "f32[Bcast(n, m)]");
  type_is(w, OP(w, Tile, "", shaped(w, DT_f32, "n, 2"), dims(w, 1, "3, m")), "f32[3*n, 2*m]");
  type_is(w, OP(w, Pad, "", shaped(w, DT_f32, "n, h"), constant(w, "i64[4] 0 1 0 2")), "f32[n, h + 3]");
  type_is(w,
          OP(w, Pad, "", shaped(w, DT_f32, "n, h"), dims(w, 1, "0, 16 - h"), constant(w, "f32[] 0"),
             constant(w, "i64[1] 1")),
          "f32[n, 16]");
  type_is(w, OP(w, ConstantOfShape, "", dims(w, 1, "batch, seq")), "f32[batch, seq]");
  type_is(w, OP(w, OneHot, "", shaped(w, DT_i64, "n"), dims(w, 0, "c"), constant(w, "f32[2] 0 1")), "f32[n, c]");
  type_is(w, OP(w, Flatten, "axis=2", shaped(w, DT_f32, "a, b, c, d")), "f32[a*b, c*d]");
  type_is(w, OP(w, Squeeze, "", shaped(w, DT_f32, "1, n"), constant(w, "i64[1] 0")), "f32[n]");
  type_is(w, OP(w, Squeeze, "", shaped(w, DT_f32, "1, n")), "f32[*]");
  type_is(w, OP(w, DepthToSpace, "blocksize=2", shaped(w, DT_f32, "n, 4*c, h, w")), "f32[n, c, 2*h, 2*w]");
  type_is(w, OP(w, GatherND, "batch_dims=1", shaped(w, DT_f32, "n, 4, 5"), shaped(w, DT_i64, "n, k, 1")),
          "f32[n, k, 5]");
  type_is(w, OP(w, GatherElements, "axis=1", shaped(w, DT_f32, "n, 4"), shaped(w, DT_i64, "n, k")), "f32[n, k]");
  refuse(w, OP_Concat, "axis=0", "tensor 1 to concatenate has extent 4 on axis 1, the first 3",
         IN(shaped(w, DT_f32, "n, 3"), shaped(w, DT_f32, "n, 4")));
  refuse(w, OP_Expand, "", "do not broadcast", IN(shaped(w, DT_f32, "3"), dims(w, 1, "4")));
}

/* A shape that is no constant still gives the rank, and inferring twice invents nothing new. */
static void run_time(void **state) {
  World *w = *state;
  Value *x = shaped(w, DT_f32, "batch, seq");
  Value *v[] = {
      OP(w, Reshape, "", x, shaped(w, DT_i64, "3")), OP(w, NonZero, "", x),
      OP(w, Tile, "", x, shaped(w, DT_i64, "2")),    OP(w, Compress, "axis=1", x, shaped(w, DT_bool, "k")),
      OP(w, Expand, "", x, shaped(w, DT_i64, "3")),  OP(w, SplitToSequence, "axis=1", x, shaped(w, DT_i64, "k"))};
  const int rank[] = {3, 2, 2, 2, 3};
  for (size_t i = 0; i < countof(v); i++) {
    Type before = v[i]->type;
    if (before.kind == VK_TENSOR)
      assert_int_equal(before.rank, rank[i]);
    assert_int_equal(node_infer(&w->h.c, v[i]->def), ST_OK);
    assert_true(type_equal(&before, &v[i]->type));
  }
  assert_true(dim_is(v[1]->type.dim[0], 2));
  type_is(w, OP(w, Reshape, "", unknown(w, DT_f32), unknown(w, DT_i64)), "f32[*]");
  type_is(w, OP(w, Transpose, "", unknown(w, DT_f32)), "f32[*]");
  Value *joined = OP(w, Concat, "axis=1", unknown(w, DT_f32), x);
  assert_int_equal(joined->type.rank, 2);
  assert_ptr_equal(joined->type.dim[0], x->type.dim[0]);
  assert_ptr_not_equal(joined->type.dim[1], x->type.dim[1]);
}

static void sequences(void **state) {
  World *w = *state;
  Value *a = shaped(w, DT_f32, "n, 3"), *b = shaped(w, DT_f32, "n, 4"), *one = constant(w, "i64[] 1");
  Value *s = OP(w, SequenceConstruct, "", a, b);
  type_is(w, OP(w, SequenceAt, "", s, one), "f32[n, 4]");
  type_is(w, OP(w, ConcatFromSequence, "axis=1", s), "f32[n, 7]");
  type_is(w, OP(w, ConcatFromSequence, "axis=0 new_axis=1", OP(w, SequenceConstruct, "", a, a, a)), "f32[3, n, 3]");
  content_is(w, OP(w, SequenceLength, "", s), "2");
  Value *any = OP(w, SequenceAt, "", s, shaped(w, DT_i64, ""));
  assert_ptr_equal(any->type.dim[0], dim_sym(&w->h.c, "n"));
  Value *any2 = OP(w, SequenceAt, "", s, shaped(w, DT_i64, ""));
  assert_ptr_not_equal(any->type.dim[1], any2->type.dim[1]); /* two elements, two extents */
  Value *grown = OP(w, SequenceInsert, "", infer(w, OP_SequenceEmpty, "", 0, NULL), a);
  type_is(w, OP(w, SequenceAt, "", grown, constant(w, "i64[] 0")), "f32[n, 3]");
  refuse(w, OP_SequenceAt, "", "position 2", IN(s, constant(w, "i64[] 2")));
  Value *parts = OP(w, SplitToSequence, "axis=1", shaped(w, DT_f32, "n, 10"), constant(w, "i64[] 4"));
  type_is(w, OP(w, SequenceAt, "", parts, one), "f32[n, 4]");
  type_is(w, OP(w, SequenceAt, "", parts, constant(w, "i64[] 2")), "f32[n, 2]");
  type_is(w, OP(w, SplitToSequence, "axis=1 keepdims=0", a), "seq(f32[n])");
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
      TEST(torchscript_heads), TEST(reshape_rest), TEST(grouped_heads), TEST(slices),
      TEST(slices_by_count),   TEST(ranges),       TEST(contents),      TEST(others),
      TEST(run_time),          TEST(sequences),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
