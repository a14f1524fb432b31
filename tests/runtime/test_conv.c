/* test_conv.c - convolutions as compiled steps against the reference executor: shapes, groups, strides, dilations, margins,
 * what is fused behind them, static and symbolic extents, on every level of this CPU; the same bits for every number of
 * threads. Without a code generator there is nothing to test.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/backend.h"
#include "codegen/kernels.h"
#include "ir/infer.h"
#include "support/cpu.h"
#include "tests/runtime/rig.h"

#include <math.h>
#include <stdlib.h>

/* A graph whose inputs are x and w, and r of the result's shape or b of w's first extent where the text uses them. */
typedef struct ConvCase {
  int64_t x[5], w[5]; /* extents, ended by -1 when less than five */
  const char *nodes;  /* the result is %y */
  DType t;            /* of all inputs; 0: f32 */
  DType tw;           /* of w, when it is another */
} ConvCase;

#define END -1, 0

static const ConvCase cases[] = {
    /* one axis */
    {{2, 3, 17, END}, {4, 3, 5, END}, "%y = Conv(%x, %w)\n"},
    {{1, 80, 100, END}, {24, 80, 3, END}, "%c = Conv(%x, %w, %b) {pads = [1, 1]}\n%y = Gelu(%c)\n"},
    {{1, 24, 100, END}, {24, 24, 3, END}, "%c = Conv(%x, %w, %b) {pads = [1, 1], strides = [2]}\n%y = Gelu(%c)\n"},
    {{3, 1, 40, END}, {1, 1, 7, END}, "%y = Conv(%x, %w, %b) {dilations = [3], pads = [2, 5], strides = [3]}\n"},
    {{1, 6, 30, END}, {6, 1, 4, END}, "%y = Conv(%x, %w) {group = 6, pads = [3, 0]}\n"},
    /* two axes */
    {{1, 3, 5, 5, -1}, {2, 3, 3, 3, -1}, "%y = Conv(%x, %w)\n"},
    {{2, 5, 9, 11, -1}, {7, 5, 3, 3, -1}, "%c = Conv(%x, %w, %b) {pads = [1, 1, 1, 1]}\n%y = Relu(%c)\n"},
    {{1, 3, 37, 41, -1}, {20, 3, 7, 7, -1}, "%y = Conv(%x, %w) {pads = [3, 3, 3, 3], strides = [2, 2]}\n"},
    {{1, 16, 14, 14, -1},
     {40, 16, 3, 3, -1},
     "%c = Conv(%x, %w) {pads = [1, 1, 1, 1]}\n%s = Add(%c, %r)\n%y = Relu(%s)\n"},
    {{1, 70, 7, 7, -1}, {33, 70, 3, 3, -1}, "%y = Conv(%x, %w, %b) {pads = [1, 1, 1, 1]}\n"},
    {{2, 8, 20, 50, -1}, {6, 8, 1, 1, -1}, "%y = Conv(%x, %w, %b)\n"},
    {{2, 8, 20, 51, -1}, {6, 8, 1, 1, -1}, "%y = Conv(%x, %w) {strides = [2, 2]}\n"},
    {{1, 2, 13, 29, -1},
     {3, 2, 2, 5, -1},
     "%y = Conv(%x, %w, %b) {pads = [0, 2, 1, 3], strides = [1, 3], dilations = [4, 2]}\n"},
    {{1, 2, 13, 29, -1}, {3, 2, 4, 3, -1}, "%y = Conv(%x, %w) {auto_pad = \"SAME_UPPER\", strides = [2, 3]}\n"},
    {{1, 2, 13, 29, -1}, {3, 2, 4, 3, -1}, "%y = Conv(%x, %w) {auto_pad = \"SAME_LOWER\", strides = [3, 2]}\n"},
    {{1, 2, 13, 29, -1}, {3, 2, 4, 3, -1}, "%y = Conv(%x, %w) {auto_pad = \"VALID\"}\n"},
    {{1, 1, 3, 3, -1}, {2, 1, 3, 3, -1}, "%y = Conv(%x, %w) {pads = [9, 9, 9, 9], strides = [4, 5]}\n"},
    {{2, 12, 9, 9, -1}, {6, 4, 3, 3, -1}, "%c = Conv(%x, %w, %b) {group = 3, pads = [1, 1, 1, 1]}\n%y = Mul(%c, %r)\n"},
    {{1, 9, 17, 33, -1},
     {9, 1, 3, 3, -1},
     "%c = Conv(%x, %w, %b) {group = 9, pads = [1, 1, 1, 1]}\n%y = HardSwish(%c)\n"},
    {{2, 4, 30, 30, -1}, {8, 1, 5, 5, -1}, "%y = Conv(%x, %w) {group = 4, pads = [2, 2, 2, 2], strides = [2, 2]}\n"},
    {{1, 300, 4, 4, -1}, {5, 300, 3, 3, -1}, "%y = Conv(%x, %w) {pads = [1, 1, 1, 1]}\n"},
    {{1, 4, 3, 600, -1}, {300, 4, 1, 3, -1}, "%y = Conv(%x, %w, %b)\n"},
    /* three axes, and fewer elements than any tile has */
    {{1, 2, 5, 6, 7}, {4, 2, 3, 3, 3}, "%c = Conv(%x, %w, %b) {pads = [1, 1, 1, 1, 1, 1]}\n%y = Sigmoid(%c)\n"},
    {{2, 4, 4, 5, 9},
     {4, 2, 2, 1, 3},
     "%y = Conv(%x, %w) {group = 2, strides = [2, 1, 2], pads = [1, 0, 2, 0, 1, 0]}\n"},
    {{1, 1, 1, 1, -1}, {1, 1, 1, 1, -1}, "%y = Conv(%x, %w, %b)\n"},
    {{3, 20, 1, 1, -1}, {50, 20, 1, 1, -1}, "%c = Conv(%x, %w, %b)\n%y = HardSigmoid(%c)\n"},
    {{2, 20, 1, 1, -1}, {20, 5, 1, 1, -1}, "%y = Conv(%x, %w, %b) {group = 4}\n"},
    /* single channels: rows of one to four vectors, phases, several rows of the weight, two and three axes of taps */
    {{2, 5, 9, 3, -1}, {10, 1, 3, 3, -1}, "%y = Conv(%x, %w, %b) {group = 5, pads = [1, 1, 1, 1]}\n"},
    {{1, 3, 5, 70, -1}, {9, 1, 2, 5, -1}, "%y = Conv(%x, %w) {group = 3, strides = [2, 3], pads = [0, 4, 1, 1]}\n"},
    {{1, 3, 50, 37, -1},
     {3, 1, 5, 5, -1},
     "%y = Conv(%x, %w) {group = 3, dilations = [3, 5], auto_pad = \"SAME_UPPER\"}\n"},
    {{1, 2, 6, 7, 20},
     {2, 1, 3, 3, 3},
     "%c = Conv(%x, %w, %b) {group = 2, pads = [1, 1, 1, 1, 1, 1]}\n%y = Mul(%c, %r)\n"},
    {{1, 2, 20, 20, -1}, {2, 1, 9, 9, -1}, "%y = Conv(%x, %w) {group = 2, pads = [4, 4, 4, 4]}\n"},
    {{2, 2, 1, 130, -1}, {2, 1, 1, 4, -1}, "%y = Conv(%x, %w) {group = 2, strides = [1, 5], dilations = [1, 7]}\n"},
    {{2, 3, 0, 4, -1}, {3, 1, 3, 3, -1}, "%y = Conv(%x, %w) {group = 3, auto_pad = \"SAME_LOWER\"}\n"},
    {{1, 7, 9, 9, -1},
     {7, 1, 3, 3, -1},
     "%c = Conv(%x, %w) {group = 7, strides = [2, 2], pads = [1, 1, 1, 1]}\n%y = Add(%c, %r)\n"},
    /* by plain loops: other types, four axes, integers, transposed */
    {{2, 4, 9, 21, -1}, {6, 2, 3, 3, -1}, "%y = Conv(%x, %w, %b) {group = 2, pads = [1, 1, 1, 1]}\n", DT_f64, 0},
    {{2, 4, 9, 41, -1},
     {6, 2, 3, 3, -1},
     "%c = Conv(%x, %w, %b) {group = 2, strides = [1, 2]}\n%y = Relu(%c)\n",
     DT_f16,
     0},
    {{1, 4, 9, 11, -1},
     {6, 4, 3, 5, -1},
     "%y = Conv(%x, %w) {auto_pad = \"SAME_LOWER\", strides = [2, 3]}\n",
     DT_bf16,
     0},
    {{1, 3, 40, -1}, {2, 3, 3, -1}, "%y = Conv(%x, %w) {dilations = [4], pads = [3, 0]}\n", DT_f64, 0},
    {{1, 6, 9, 21, -1}, {6, 1, 3, 3, -1}, "%y = Conv(%x, %w, %b) {group = 6, pads = [2, 2, 0, 1]}\n", DT_bf16, 0},
    {{2, 6, 9, 21, -1},
     {4, 3, 3, 3, -1},
     "const %z : u8[] = {7}\nconst %v : i8[4] = {-3, 0, 2, 90}\n"
     "%y = ConvInteger(%x, %w, %z, %v) {group = 2, pads = [1, 1, 1, 1]}\n",
     DT_u8,
     DT_i8},
    {{1, 3, 30, -1}, {5, 3, 4, -1}, "%y = ConvInteger(%x, %w) {strides = [3]}\n", DT_i8, DT_u8},
    {{2, 16, 9, 13, -1},
     {24, 8, 3, 3, -1},
     "const %z : u8[] = {90}\n%c = ConvInteger(%x, %w, %z) {group = 2, pads = [1, 1, 1, 1]}\n%y = Cast(%c) {to = 1}\n",
     DT_u8,
     DT_i8},
    {{2, 24, 9, 13, -1},
     {24, 1, 3, 3, -1},
     "const %z : u8[] = {90}\n%y = ConvInteger(%x, %w, %z) {group = 24, pads = [1, 1, 1, 1]}\n",
     DT_u8,
     DT_i8},
    {{1, 9, 8, 11, -1},
     {9, 1, 3, 5, -1},
     "const %z : i8[] = {-7}\nconst %v : u8[9] = {127, 128, 129, 130, 127, 127, 128, 128, 128}\n"
     "%y = ConvInteger(%x, %w, %z, %v) {group = 9, pads = [1, 2, 1, 2], strides = [2, 2]}\n",
     DT_i8,
     DT_u8},
    {{2, 8, 9, 21, -1},
     {8, 1, 3, 3, -1},
     "const %p : f32[] = {0.02}\nconst %q : f32[8] = {0.01, 0.5, 0.003, 0.02, 0.1, 0.2, 0.3, 0.04}\n"
     "const %o : f32[] = {0.3}\nconst %z : u8[] = {120}\nconst %v : i8[] = {0}\n"
     "const %k : i32[8] = {5, 0, -9000, 77, 1, 2, 3, 4}\n"
     "%y = QLinearConv(%x, %p, %z, %w, %q, %v, %o, %z, %k) {group = 8, pads = [1, 1, 1, 1], strides = [2, 1]}\n",
     DT_u8,
     DT_i8},
    {{1, 6, 9, 21, -1},
     {4, 6, 3, 3, -1},
     "const %p : f32[] = {0.02}\nconst %q : f32[4] = {0.01, 0.5, 0.003, 0.02}\n"
     "const %o : f32[] = {0.3}\nconst %z : u8[] = {120}\nconst %v : i8[4] = {0, 1, -7, 3}\nconst %k : i32[4] = {5, 0, "
     "-9000, 77}\n"
     "%y = QLinearConv(%x, %p, %z, %w, %q, %v, %o, %z, %k) {pads = [1, 1, 1, 1]}\n",
     DT_u8,
     DT_i8},
    {{2, 6, 9, 11, -1},
     {6, 2, 3, 3, -1},
     "%c = ConvTranspose(%x, %w) {group = 3, strides = [2, 1], pads = [1, 0, 0, 1]}\n%y = Relu(%c)\n"},
    {{1, 5, 7, 8, -1}, {5, 4, 2, 2, -1}, "%y = ConvTranspose(%x, %w) {strides = [2, 2]}\n"},
    {{1, 5, 7, 8, -1},
     {5, 3, 3, 4, -1},
     "%y = ConvTranspose(%x, %w) {strides = [3, 2], output_padding = [1, 1], dilations = [2, 1]}\n"},
    {{1, 2, 5, 6, -1},
     {2, 3, 3, 3, -1},
     "%y = ConvTranspose(%x, %w) {auto_pad = \"SAME_UPPER\", strides = [2, 2]}\n",
     DT_f64,
     0},
    {{1, 2, 9, -1}, {2, 3, 4, -1}, "%y = ConvTranspose(%x, %w) {strides = [3]}\n", DT_f16, 0},
    {{1, 2, 3, 4, 5}, {2, 2, 2, 3, 2}, "%y = ConvTranspose(%x, %w) {strides = [2, 1, 2], pads = [0, 1, 0, 1, 0, 1]}\n"},
    /* nothing to do, and nothing to add */
    {{0, 3, 5, 5, -1}, {2, 3, 3, 3, -1}, "%y = Conv(%x, %w)\n"},
    {{1, 0, 5, 5, -1}, {2, 0, 3, 3, -1}, "%y = Conv(%x, %w, %b)\n"},
    {{1, 3, 5, 5, -1}, {0, 3, 3, 3, -1}, "%y = Conv(%x, %w)\n"},
};

static bool symbolic;
static const char *level; /* NULL: the reference executor */

static int rank_of(const int64_t *dim) {
  int n = 0;
  while (n < 5 && dim[n] >= 0)
    n++;
  return n;
}

static DType type_of(const ConvCase *x) { return x->t ? x->t : DT_f32; }
static DType weight_type(const ConvCase *x) { return x->tw ? x->tw : type_of(x); }

static void put_shape(StrBuf *b, const char *name, DType t, const int64_t *dim, bool symbols) {
  buf_printf(b, "in %%%s : %s[", name, dtype_name(t));
  for (int i = 0; i < rank_of(dim); i++)
    if (symbols && i != 1)
      buf_printf(b, "%ss%d", i ? ", " : "", i);
    else
      buf_printf(b, "%s%lld", i ? ", " : "", (long long)dim[i]);
  buf_puts(b, "]\n");
}

typedef struct Build {
  Rig *k;
  const ConvCase *x;
  int64_t y[5]; /* extents of the result, when %r needs them */
} Build;

static Status graph_of(Ctx *c, const Build *b, Graph **g) {
  StrBuf t;
  int64_t bias[] = {b->x->w[0], END};
  buf_init(&t, b->k->a);
  buf_puts(&t, "graph \"g\" {\n");
  put_shape(&t, "x", type_of(b->x), b->x->x, symbolic);
  put_shape(&t, "w", weight_type(b->x), b->x->w, false);
  put_shape(&t, "b", type_of(b->x), bias, false);
  put_shape(&t, "r", type_of(b->x), strstr(b->x->nodes, "%r") ? b->y : bias, false);
  buf_printf(&t, "%sout %%y\n}\n", b->x->nodes);
  TRY(graph_parse(c, t.text, t.len, "test", g));
  TRY(graph_infer(c, *g));
  return graph_verify(c, *g);
}

/* What the convolution gives is as large as r has to be. */
static Status result_shape(Ctx *c, Build *b) {
  static const char *const head = "%c = Conv(%x, %w";
  ConvCase x = *b->x;
  Build plain = {.k = b->k, .x = &x};
  Graph *g;
  if (strncmp(x.nodes, head, strlen(head)))
    return ST_OK;
  char *text = arena_strdup(b->k->a, x.nodes);
  *strchr(text, '\n') = 0;
  text[1] = 'y';
  x.nodes = arena_printf(b->k->a, "%s\n", text);
  bool keep = symbolic;
  symbolic = false;
  Status st = graph_of(c, &plain, &g);
  symbolic = keep;
  TRY(st);
  for (int i = 0; i < 5; i++)
    if (i >= g->out[0]->type.rank || !dim_is_const(g->out[0]->type.dim[i], &b->y[i]))
      b->y[i] = -1;
  graph_destroy(g);
  return ST_OK;
}

static Status build(Ctx *c, void *arg) {
  Build *b = arg;
  Rig *k = b->k;
  Graph *g;
  Kernels kernels = {0};
  RtFile packed = {0};
  PlanInput in = {0};
  k->a = arena_create(c);
  TRY(result_shape(c, b));
  TRY(graph_of(c, b, &g));
  if (level) {
    TRY(kernels_compile(c, k->a, k->a, g, &(KernelsInput){.level = level, .threads = 1}, &kernels));
    in = (PlanInput){
        .groups = kernels.groups, .object = kernels.object, .nobject = kernels.nobject, .code = kernels.code};
    if (kernels.packed)
      packed = (RtFile){kernels.packed, kernels.groups->packed_size};
  }
  TRY(plan_build(c, k->a, g, &in, &k->image, &k->size));
  graph_destroy(g);
  dim_release(c);
  return rt_load(c, k->a, k->image, k->size, plan_build_id(), &packed, kernels.packed ? 1 : 0, &k->p);
}

static int64_t count(const int64_t *dim) {
  int64_t n = 1;
  for (int i = 0; i < rank_of(dim); i++)
    n *= dim[i];
  return n;
}

/* Floats between -1 and 1, of 24 bits or as many as the type has; all bytes. */
static void *noise(DType t, int64_t n, uint32_t s) {
  size_t size = (size_t)dtype_bits(t) / 8;
  uint8_t *x = malloc((size_t)n * size + 8);
  assert_non_null(x);
  for (int64_t i = 0; i < n; i++) {
    s = s * 1664525 + 1013904223;
    if (dtype_is_float(t))
      elem_set_f64(t, x, i, (double)(int32_t)(s & 0xffffff00u) * 0x1p-31);
    else
      elem_set_i64(t, x, i, (int64_t)(s >> 24) - (t == DT_i8 ? 128 : 0));
  }
  return x;
}

typedef struct Data {
  void *x, *w, *b, *r;
} Data;

/* Builds and runs. y->data is the caller's to free. */
static void result(const ConvCase *x, const Data *d, Pool *pool, int threads, Tensor *y) {
  Rig k = {0};
  Build b = {.k = &k, .x = x};
  alloc_init_system(&k.alloc);
  ctx_open(&k.c, &k.alloc);
  ctx_open(&k.r, &k.alloc);
  if (ctx_protect(&k.c, build, &b)) {
    print_error("%s%s\n", x->nodes, k.c.err.message);
    fail_msg("the program does not build");
  }
  uint32_t kernels = 0;
  for (uint32_t i = 0; i < rt_count(k.p, SEC_STEPS); i++)
    kernels += rt_step(k.p, i)->kind == STEP_KERNEL;
  uint32_t want = !level ? 0 : symbolic && strstr(x->nodes, "%r") ? 2 : 1; /* extents of r must be known to agree */
  if (kernels != want)
    fail_msg("%s%u compiled steps", x->nodes, kernels);
  int64_t bias[] = {x->w[0], END};
  const int64_t *r = strstr(x->nodes, "%r") ? b.y : bias;
  rig_feed(&k, type_of(x), rank_of(x->x), x->x, d->x);
  rig_feed(&k, weight_type(x), rank_of(x->w), x->w, d->w);
  rig_feed(&k, type_of(x), 1, bias, d->b);
  rig_feed(&k, type_of(x), rank_of(r), r, d->r);
  k.o.pool = pool, k.o.threads = threads;
  rig_run(&k);
  *y = k.out[0].t;
  y->data = noise(y->dtype, tensor_count(y), 1);
  if (tensor_count(y))
    memcpy(y->data, k.out[0].t.data, tensor_bytes(y));
  rig_close(&k);
}

/* Sums of k products of numbers below 1, as in test_product.c; what stands behind them does not enlarge an error. Both sides
 * round narrow types once, so they may differ by one unit in the last place; integers are exact. */
static void compare(const ConvCase *x, const Tensor *got, const Tensor *want) {
  DType t = want->dtype;
  double ulp = t == DT_f16 ? 0x1p-10 : t == DT_bf16 ? 0x1p-7 : 0, terms = 8;
  for (int i = 1; i < rank_of(x->w); i++)
    terms *= (double)x->w[i] + 1;
  double allowed = dtype_is_float(t) ? terms * 0x1p-23 + ulp : 0;
  assert_int_equal(got->dtype, t);
  assert_true(tensor_same_shape(got, want));
  for (int64_t i = 0; i < tensor_count(want); i++) {
    double a = elem_f64(t, got->data, i), b = elem_f64(t, want->data, i);
    if (isnan(a) && isnan(b))
      continue;
    if (!(fabs(a - b) <= allowed * (1 + fabs(b))))
      fail_msg("%s on %s, symbolic %d: element %lld is %.9g, not %.9g", x->nodes, level, symbolic, (long long)i, a, b);
  }
}

static void check(const ConvCase *x, bool nan) {
  Tensor want, one, three;
  Pool *pool;
  Ctx c;
  Alloc alloc;
  DType t = type_of(x);
  Data d = {noise(t, count(x->x), 1), noise(weight_type(x), count(x->w), 2), noise(t, x->w[0], 3),
            noise(t, 1 << 16, 4)};
  const char *keep = level;
  if (nan && dtype_is_float(t) && count(x->x))
    elem_set_f64(t, d.x, count(x->x) / 2, NAN);
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  assert_int_equal(pool_create(&c, 4, &pool), ST_OK);
  level = NULL;
  result(x, &d, NULL, 1, &want);
  level = keep;
  result(x, &d, NULL, 1, &one);
  compare(x, &one, &want);
  result(x, &d, pool, 3, &three);
  if (tensor_count(&one))
    assert_memory_equal(one.data, three.data, tensor_bytes(&one));
  pool_destroy(pool);
  ctx_close(&c);
  free(want.data), free(one.data), free(three.data), free(d.x), free(d.w), free(d.b), free(d.r);
}

static void test_static(void **state) {
  (void)state;
  for (size_t i = 0; i < countof(cases); i++)
    check(&cases[i], false);
}

static void test_symbolic(void **state) {
  (void)state;
  symbolic = true;
  for (size_t i = 0; i < countof(cases); i++)
    check(&cases[i], false);
  symbolic = false;
}

/* One element of the input that is no number spoils the results that read it, and no other. */
static void test_nan(void **state) {
  (void)state;
  for (size_t i = 0; i < countof(cases); i += 3)
    check(&cases[i], true);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_static),
      cmocka_unit_test(test_symbolic),
      cmocka_unit_test(test_nan),
  };
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4"};
  int failed = 0;
  for (size_t i = 0; i < countof(levels) && backend_present() && cpu_runs(levels[i]); i++) {
    level = levels[i];
    printf("level %s\n", level);
    failed += cmocka_run_group_tests(tests, NULL, NULL);
  }
  return failed;
}
