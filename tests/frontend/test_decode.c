/* test_decode.c - protobuf bytes to raw structs: every field arrives, contradictions are refused, memory stays in
 * bounds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "frontend/decode.h"

#include "tests/frontend/pb.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/support/fixture.h"

static void entry(Pb *up, uint32_t field, const char *key, const char *value) {
  Pb e = {0};
  pb_str(&e, 1, key);
  pb_str(&e, 2, value);
  pb_msg(up, field, &e);
}

/* A model around graph, which is freed. */
static Pb model_of(Pb *graph) {
  Pb m = {0}, o = {0};
  pb_int(&m, 1, 8);
  pb_int(&o, 2, 17);
  pb_msg(&m, 8, &o);
  pb_msg(&m, 7, graph);
  return m;
}

/* A model of one node with the attribute attr, which is freed. */
static Pb model_of_attr(Pb *attr) {
  Pb g = {0}, n = {0};
  pb_str(&n, 3, "the node");
  pb_str(&n, 4, "Op");
  pb_msg(&n, 5, attr);
  pb_msg(&g, 1, &n);
  return model_of(&g);
}

static void refused(Pb *m, Status kind, const char *text) {
  RawModel *out;
  assert_int_equal(decode_model(&c, a, m->b, m->n, NULL, &out), kind);
  if (!strstr(c.err.message, text))
    fail_msg("'%s' is not in '%s'", text, c.err.message);
  pb_free(m);
}

static const RawModel *decoded(const Pb *m) {
  RawModel *out;
  if (decode_model(&c, a, m->b, m->n, NULL, &out))
    fail_msg("%s", c.err.message);
  return out;
}

static void model_fields(void **state) {
  (void)state;
  Pb g = {0}, f = {0}, o = {0};
  pb_str(&g, 2, "graph name");
  Pb m = model_of(&g);
  pb_str(&m, 2, "producer");
  pb_str(&m, 3, "1.2");
  pb_str(&m, 4, "org.example");
  pb_int(&m, 5, -7);
  pb_str(&m, 6, "doc");
  entry(&m, 14, "key", "value");
  entry(&m, 14, "", "");
  pb_str(&f, 1, "fn");
  pb_str(&f, 10, "my.domain");
  pb_str(&f, 13, "over");
  pb_str(&f, 4, "x");
  pb_str(&f, 5, "y");
  pb_str(&f, 6, "needed");
  pb_str(&o, 1, "ai.onnx.ml");
  pb_int(&o, 2, 3);
  pb_msg(&f, 9, &o);
  pb_msg(&m, 25, &f);
  const RawModel *r = decoded(&m);
  assert_int_equal(r->ir_version, 8);
  assert_string_equal(r->producer, "producer");
  assert_string_equal(r->producer_version, "1.2");
  assert_string_equal(r->domain, "org.example");
  assert_string_equal(r->doc, "doc");
  assert_int_equal(r->model_version, -7);
  assert_int_equal(r->nmeta, 2);
  assert_string_equal(r->meta[0].value, "value");
  assert_string_equal(r->meta[1].key, "");
  assert_int_equal(r->nopset, 1);
  assert_string_equal(r->opset[0].domain, "");
  assert_int_equal(r->opset[0].version, 17);
  assert_string_equal(r->graph->name, "graph name");
  assert_int_equal(r->nfunction, 1);
  const RawFunction *rf = r->function;
  assert_string_equal(rf->name, "fn");
  assert_string_equal(rf->domain, "my.domain");
  assert_string_equal(rf->overload, "over");
  assert_string_equal(rf->in[0], "x");
  assert_string_equal(rf->out[0], "y");
  assert_string_equal(rf->attr[0], "needed");
  assert_string_equal(rf->opset[0].domain, "ai.onnx.ml");
  assert_true(rf->nin == 1 && rf->nout == 1 && rf->nattr == 1 && rf->nopset == 1 && !rf->ndefault && !rf->nnode);
  pb_free(&m);
}

static void node_and_values(void **state) {
  (void)state;
  Pb g = {0}, n = {0}, v = {0}, t = {0}, tt = {0}, shape = {0}, d = {0};
  pb_str(&n, 1, "a");
  pb_str(&n, 1, "");
  pb_str(&n, 1, "b");
  pb_str(&n, 2, "y");
  pb_str(&n, 4, "Clip");
  pb_str(&n, 7, "ai.onnx");
  entry(&n, 9, "pkg.torch.onnx.stack_trace", "File \"model.py\", line 88");
  pb_msg(&g, 1, &n);
  pb_int(&d, 1, -3);
  pb_msg(&shape, 1, &d);
  pb_str(&d, 2, "batch");
  pb_msg(&shape, 1, &d);
  pb_msg(&shape, 1, &d); /* empty: unknown */
  pb_int(&tt, 1, 1);
  pb_msg(&tt, 2, &shape);
  pb_msg(&t, 1, &tt);
  pb_str(&v, 1, "a");
  pb_msg(&v, 2, &t);
  pb_msg(&g, 11, &v);
  Pb m = model_of(&g);
  const RawGraph *r = decoded(&m)->graph;
  const RawNode *rn = r->node;
  assert_true(r->nnode == 1 && rn->nin == 3 && rn->nout == 1 && rn->nattr == 0 && rn->nmeta == 1);
  assert_string_equal(rn->in[1], "");
  assert_string_equal(rn->in[2], "b");
  assert_string_equal(rn->op, "Clip");
  assert_string_equal(rn->domain, "ai.onnx");
  assert_string_equal(rn->name, "");
  assert_string_equal(rn->meta->value, "File \"model.py\", line 88");
  const RawType *rt = r->in->type;
  assert_true(rt->kind == RT_TENSOR && rt->elem_type == 1 && rt->has_shape && rt->ndim == 3);
  assert_true(rt->dim[0].kind == RD_VALUE && rt->dim[0].value == -3);
  assert_true(rt->dim[1].kind == RD_PARAM);
  assert_string_equal(rt->dim[1].param, "batch");
  assert_true(rt->dim[2].kind == RD_UNKNOWN);
  pb_free(&m);
}

static void types_nest(void **state) {
  (void)state;
  Pb tensor = {0}, t = {0}, seq = {0}, opt = {0}, map = {0}, v = {0}, g = {0};
  pb_int(&tensor, 1, 8);
  pb_msg(&t, 1, &tensor); /* tensor(string) of unknown rank */
  pb_int(&map, 1, 7);
  pb_msg(&map, 2, &t);
  pb_msg(&t, 5, &map);
  pb_msg(&seq, 1, &t);
  pb_msg(&t, 4, &seq);
  pb_msg(&opt, 1, &t);
  pb_msg(&t, 9, &opt);
  pb_msg(&v, 2, &t);
  pb_msg(&g, 12, &v);
  Pb m = model_of(&g);
  const RawType *r = decoded(&m)->graph->out->type;
  assert_true(r->kind == RT_OPTIONAL && r->elem->kind == RT_SEQUENCE && r->elem->elem->kind == RT_MAP);
  r = r->elem->elem;
  assert_true(r->elem_type == 7 && r->elem->kind == RT_TENSOR && r->elem->elem_type == 8 && !r->elem->has_shape);
  pb_free(&m);
}

static void attribute_values(void **state) {
  (void)state;
  Pb at = {0}, g = {0}, n = {0};
  pb_str(&at, 1, "f"), pb_int(&at, 20, RA_FLOAT), pb_f32(&at, 2, 0.5f), pb_msg(&n, 5, &at);
  pb_str(&at, 1, "i"), pb_int(&at, 20, RA_INT), pb_int(&at, 3, -1), pb_msg(&n, 5, &at);
  pb_str(&at, 1, "s"), pb_int(&at, 20, RA_STRING), pb_bytes(&at, 4, "a\0b", 3), pb_msg(&n, 5, &at);
  pb_str(&at, 1, "fs"), pb_int(&at, 20, RA_FLOATS), pb_f32(&at, 7, 1), pb_f32(&at, 7, 2), pb_msg(&n, 5, &at);
  pb_str(&at, 1, "is"), pb_int(&at, 20, RA_INTS), pb_int(&at, 8, 5), pb_bytes(&at, 8, "\x06\x07", 2),
      pb_msg(&n, 5, &at);
  pb_str(&at, 1, "ss"), pb_int(&at, 20, RA_STRINGS), pb_str(&at, 9, "x"), pb_str(&at, 9, ""), pb_msg(&n, 5, &at);
  pb_str(&at, 1, "old"), pb_int(&at, 3, 4), pb_msg(&n, 5, &at);          /* no type: taken from the value */
  pb_str(&at, 1, "zero"), pb_int(&at, 20, RA_INT), pb_msg(&n, 5, &at);   /* a zero left out */
  pb_str(&at, 1, "empty"), pb_int(&at, 20, RA_INTS), pb_msg(&n, 5, &at); /* an empty list */
  pb_str(&at, 1, "ref"), pb_int(&at, 20, RA_INT), pb_str(&at, 21, "outer"), pb_msg(&n, 5, &at);
  pb_msg(&g, 1, &n);
  Pb m = model_of(&g);
  const RawNode *r = decoded(&m)->graph->node;
  const RawAttr *x = r->attr;
  assert_int_equal(r->nattr, 10);
  assert_true(x[0].type == RA_FLOAT && x[0].f == 0.5f);
  assert_true(x[1].type == RA_INT && x[1].i == -1);
  assert_true(x[2].type == RA_STRING && x[2].s.len == 3 && !memcmp(x[2].s.ptr, "a\0b", 3));
  assert_true(x[3].type == RA_FLOATS && x[3].n == 2 && x[3].floats[1] == 2);
  assert_true(x[4].type == RA_INTS && x[4].n == 3 && x[4].ints[0] == 5 && x[4].ints[2] == 7);
  assert_true(x[5].type == RA_STRINGS && x[5].n == 2 && x[5].strings[0].len == 1 && x[5].strings[1].len == 0);
  assert_true(x[6].type == RA_INT && x[6].i == 4);
  assert_true(x[7].type == RA_INT && x[7].i == 0);
  assert_true(x[8].type == RA_INTS && x[8].n == 0);
  assert_true(x[9].type == RA_INT);
  assert_string_equal(x[9].ref, "outer");
  pb_free(&m);
}

static void attribute_messages(void **state) {
  (void)state;
  Pb at = {0}, g = {0}, n = {0}, t = {0}, inner = {0}, sp = {0};
  pb_str(&t, 8, "t0"), pb_msg(&at, 10, &t), pb_str(&t, 8, "t1"), pb_msg(&at, 10, &t);
  pb_int(&at, 20, RA_TENSORS), pb_msg(&n, 5, &at);
  pb_str(&inner, 2, "then"), pb_msg(&at, 6, &inner), pb_int(&at, 20, RA_GRAPH), pb_msg(&n, 5, &at);
  pb_str(&t, 8, "sparse"), pb_msg(&sp, 1, &t), pb_int(&sp, 3, 9), pb_msg(&at, 22, &sp), pb_int(&at, 20, RA_SPARSE),
      pb_msg(&n, 5, &at);
  pb_msg(&g, 1, &n);
  Pb m = model_of(&g);
  const RawAttr *x = decoded(&m)->graph->node->attr;
  assert_true(x[0].n == 2);
  assert_string_equal(x[0].tensor[1].name, "t1");
  assert_string_equal(x[1].graph[0]->name, "then");
  assert_string_equal(x[2].sparse->values->name, "sparse");
  assert_null(x[2].sparse->indices);
  assert_true(x[2].sparse->ndim == 1 && x[2].sparse->dim[0] == 9);
  pb_free(&m);
}

static void attributes_that_contradict(void **state) {
  (void)state;
  Pb at = {0}, m;
  pb_str(&at, 1, "axis"), pb_int(&at, 20, RA_INT), pb_f32(&at, 2, 1), m = model_of_attr(&at);
  refused(&m, ST_INVALID, "attribute 'axis' is declared INT but holds FLOAT");
  assert_string_equal(c.err.node, "the node");
  assert_string_equal(c.err.op, "Op");
  pb_str(&at, 1, "v"), pb_int(&at, 20, RA_TENSOR), m = model_of_attr(&at);
  refused(&m, ST_INVALID, "attribute 'v' is declared TENSOR but holds no value");
  pb_str(&at, 1, "v"), pb_int(&at, 20, 99), m = model_of_attr(&at);
  refused(&m, ST_INVALID, "attribute 'v' has the unknown type 99");
  pb_str(&at, 1, "v"), pb_int(&at, 20, -1), m = model_of_attr(&at);
  refused(&m, ST_INVALID, "attribute 'v' has the unknown type -1");
  pb_str(&at, 1, "v"), m = model_of_attr(&at);
  refused(&m, ST_INVALID, "attribute 'v' has no type and no value");
  pb_str(&at, 1, "v"), pb_int(&at, 3, 1), pb_f32(&at, 2, 1), m = model_of_attr(&at);
  refused(&m, ST_INVALID, "attribute 'v' has no type and values of several types");
  pb_str(&at, 1, "v"), pb_int(&at, 3, 1), pb_str(&at, 21, "outer"), m = model_of_attr(&at);
  refused(&m, ST_INVALID, "attribute 'v' has a value and also refers to 'outer'");
}

static void models_refused(void **state) {
  (void)state;
  Pb g = {0}, t = {0}, seg = {0}, m = {0};
  refused(&m, ST_INVALID, "the model is empty");
  pb_int(&m, 1, 8);
  refused(&m, ST_INVALID, "the model has no graph");
  assert_true(*c.err.hint);
  pb_int(&seg, 1, 0), pb_int(&seg, 2, 10);
  pb_str(&t, 8, "part"), pb_msg(&t, 3, &seg), pb_msg(&g, 5, &t), m = model_of(&g);
  refused(&m, ST_UNSUPPORTED, "tensor 'part' is one segment");
  pb_str(&t, 8, "far"), pb_int(&t, 14, 2), pb_msg(&g, 5, &t), m = model_of(&g);
  refused(&m, ST_INVALID, "tensor 'far' has the unknown data location 2");
}

/* The last of several scalars counts, as protobuf says. */
static void last_scalar_counts(void **state) {
  (void)state;
  Pb g = {0};
  pb_str(&g, 2, "first"), pb_str(&g, 2, "second");
  Pb m = model_of(&g);
  assert_string_equal(decoded(&m)->graph->name, "second");
  pb_free(&m);
}

static void read_whole(const char *path, Pb *p) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  uint8_t buf[65536];
  for (size_t n; (n = fread(buf, 1, sizeof buf, f));)
    pb_put(p, buf, n);
  fclose(f);
}

static const char fixture[] = SOURCE_DIR "/models/fixtures/bert_qa/ts17/model.onnx";

/* Counts as the onnx package gives them for this file. */
static void a_real_model(void **state) {
  (void)state;
  Pb p = {0};
  read_whole(fixture, &p);
  const RawModel *r = decoded(&p);
  const RawGraph *g = r->graph;
  assert_int_equal(r->ir_version, 8);
  assert_string_equal(r->producer, "pytorch");
  assert_int_equal(r->opset[0].version, 17);
  assert_int_equal(g->nnode, 217);
  assert_int_equal(g->ninit, 39);
  assert_int_equal(g->nin, 2);
  assert_int_equal(g->nout, 2);
  assert_string_equal(g->node[0].op, "Shape");
  assert_string_equal(g->node[216].name, "/bert/Squeeze_1");
  assert_string_equal(g->init[0].name, "bert.bert.embeddings.word_embeddings.weight");
  uint32_t nattr = 0;
  for (uint32_t i = 0; i < g->nnode; i++)
    nattr += g->node[i].nattr;
  assert_int_equal(nattr, 121);
  pb_free(&p);
}

/* The scan's estimate is what the budget is kept by: it must cover what decoding takes, and not be absurd. */
static void estimate_covers_fixtures(void **state) {
  (void)state;
  glob_t files;
  assert_int_equal(glob(SOURCE_DIR "/models/fixtures/*/*/model.onnx", 0, NULL, &files), 0);
  for (size_t i = 0; i < files.gl_pathc; i++) {
    Pb p = {0};
    WireScan s;
    RawModel *out;
    read_whole(files.gl_pathv[i], &p);
    Arena *tmp = arena_create(&c), *room = arena_create(&c);
    assert_int_equal(wire_scan(&c, tmp, WIRE_ModelProto, p.b, p.n, NULL, &s), ST_OK);
    arena_destroy(tmp);
    assert_int_equal(decode_model(&c, room, p.b, p.n, NULL, &out), ST_OK);
    size_t slack = (size_t)1 << 20; /* the arena's newest chunk */
    if (arena_bytes(room) > s.cost + slack || s.cost > arena_bytes(room) * 3)
      fail_msg("%s: estimate %zu, taken %zu", files.gl_pathv[i], s.cost, arena_bytes(room));
    arena_destroy(room);
    pb_free(&p);
  }
  globfree(&files);
}

typedef struct Job {
  const Pb *p;
  RawModel *out;
} Job;

static Status decode_job(Ctx *x, void *arg) {
  Job *j = arg;
  return decode_model(x, arena_create(x), j->p->b, j->p->n, NULL, &j->out);
}

static void cut_anywhere(void **state) {
  (void)state;
  Pb p = {0}, cut = {0};
  read_whole(SOURCE_DIR "/models/fixtures/resnet/dynamo/model.onnx", &p);
  for (size_t n = 0; n < p.n; n += 7) {
    pb_put(&cut, p.b, n); /* a copy of exactly this length: reading past it is seen by the sanitizer */
    cut.b = realloc(cut.b, n ? n : 1);
    Job j = {.p = &cut};
    assert_int_equal(ctx_protect(&c, decode_job, &j), ST_INVALID);
    pb_free(&cut);
  }
  pb_free(&p);
}

static size_t fail_at;

static void *failing_get(void *self, size_t size, size_t align) {
  (void)self;
  void *m = NULL;
  if (fail_at && !--fail_at)
    return NULL;
  return posix_memalign(&m, align < sizeof m ? sizeof m : align, size) ? NULL : m;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  Pb p = {0};
  read_whole(fixture, &p);
  alloc.get = failing_get;
  size_t before = atomic_load(&alloc.used);
  Job j = {.p = &p};
  Status st = ST_MEMORY;
  size_t k = 1;
  for (; st; k++) {
    fail_at = k;
    st = ctx_protect(&c, decode_job, &j);
    assert_true(!st || (st == ST_MEMORY && atomic_load(&alloc.used) == before));
  }
  assert_true(k > 10);
  fail_at = 0;
  pb_free(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
      T(model_fields),       T(node_and_values),
      T(types_nest),         T(attribute_values),
      T(attribute_messages), T(attributes_that_contradict),
      T(models_refused),     T(last_scalar_counts),
      T(a_real_model),       T(estimate_covers_fixtures),
      T(cut_anywhere),       T(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
