/* test_product.c - compiled matrix products against sums in double.
 *
 * Operands are uniform in [-1, 1]: after j terms the sum is of size sqrt(j) / 3 and is rounded by up to 2^-25 of that,
 * so the error of k terms has a deviation of about k * 2^-27, and more where the level has no
 * FMA and rounds twice. The tests allow (k + 8) * 2^-23.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/product.h"
#include "tests/kernel/rig.h"

#include <math.h>

static Jit jit;

/* The value of a symbol by its name. */
typedef struct Sizes {
  int64_t b, m, n, k;
  int64_t images; /* of which M is a multiple */
} Sizes;

static bool size_of(void *arg, Dim sym, int64_t *v) {
  const Sizes *s = arg;
  switch (sym->name[0]) {
  case 'b': *v = s->b; return true;
  case 'm': *v = s->m; return true;
  case 'n': *v = s->n; return true;
  case 'k': *v = s->k; return true;
  case 'i': *v = s->images; return true;
  }
  return false;
}

typedef struct Compiled {
  Unit u;
  ProductPlan plan;
  KernelFn fn;
} Compiled;

static Compiled compile(Product p) {
  Compiled c = {.u = {.kind = UNIT_PRODUCT, .name = "product", .product = p}};
  c.plan = product_plan(&p, jit.level);
  product_schedule(&jit.ctx, &c.u, jit.level);
  c.fn = rig_compile(&jit, &c.u);
  return c;
}

static Dim sym(const char *name) { return dim_sym(&jit.ctx, name); }
static Dim num(int64_t v) { return dim_const(&jit.ctx, v); }

static void run(const Compiled *c, Sizes s, void **buf, int pieces) {
  rig_run(&jit, &c->u, c->fn, (RigSizes){size_of, &s}, buf, pieces);
}

typedef double (*After)(double sum, int64_t i, int64_t j, int64_t n, void *const *buf);

/* x as the type t holds it. */
static float held(DType t, float x) {
  return t == DT_f16 ? f16_to_f32(f16_from_f32(x)) : t == DT_bf16 ? bf16_to_f32(bf16_from_f32(x)) : x;
}

static void check(const Compiled *c, Sizes s, void *const *more, int nmore, After after) {
  const Product *p = &c->u.product;
  int64_t ab = p->batch_a ? s.b : 1, bb = p->batch_b ? s.b : 1, floats = 0, cn = s.b * s.m * s.n;
  float *a = numbers(ab * s.m * s.k, 1), *b = numbers(bb * s.k * s.n, 2), *packed = NULL;
  float *out = numbers(cn + 16, 3), *again = numbers(cn + 16, 4);
  memset(out + cn, 0x5a, 64), memset(again + cn, 0x5a, 64);
  void *buf[8] = {a, b};
  if (p->packed_b) {
    assert_true(product_packed_floats(&c->plan, s.k, s.n, &floats));
    buf[1] = packed = numbers(floats * bb, 5);
    for (int64_t i = 0; i < bb; i++) { /* panels last to first, from an odd address */
      char *odd = malloc((size_t)(s.k * s.n * 4 + 1));
      memcpy(odd + 1, b + i * s.k * s.n, (size_t)(s.k * s.n) * 4);
      for (int64_t q = product_panels(&c->plan, s.n); q-- > 0;)
        if (p->weights)
          product_pack_rounded(&c->plan, p->weights, s.k, s.n, p->trans_b, 1, odd + 1, (uint16_t *)(void *)packed, q,
                               q + 1);
        else
          product_pack(&c->plan, s.k, s.n, p->trans_b, 1, odd + 1, packed + i * floats, q, q + 1);
      free(odd);
    }
  }
  for (int i = 0; i < nmore; i++)
    buf[2 + i] = more[i];
  buf[2 + nmore] = out;
  run(c, s, buf, 1);
  buf[2 + nmore] = again;
  run(c, s, buf, 3);
  assert_memory_equal(out, again, (size_t)(cn + 16) * 4); /* any partition: the same bits; and nothing behind the end */
  double allowed = ((double)s.k + 8) * 0x1p-23;
  DType rounds = c->plan.dots ? DT_bf16 : DT_none; /* the products of what is rounded are exact in f32 */
  for (int64_t x = 0; x < s.b; x++)
    for (int64_t i = 0; i < s.m; i++)
      for (int64_t j = 0; j < s.n; j++) {
        const float *pa = a + (p->batch_a ? x * s.m * s.k : 0), *pb = b + (p->batch_b ? x * s.k * s.n : 0);
        double sum = 0;
        for (int64_t k = 0; k < s.k; k++)
          sum += (double)held(rounds, pa[p->trans_a ? k * s.m + i : i * s.k + k]) *
                 (double)held(p->weights, pb[p->trans_b ? j * s.k + k : k * s.n + j]);
        double want = after ? after(sum, x * s.m + i, j, s.n, more) : sum, got = (double)out[(x * s.m + i) * s.n + j];
        if (!(fabs(got - want) <= allowed))
          fail_msg("%lldx(%lld,%lld,%lld) tile %dx%d: [%lld,%lld,%lld] is %.9g, not %.9g", (long long)s.b,
                   (long long)s.m, (long long)s.n, (long long)s.k, c->plan.mr, c->plan.nr, (long long)x, (long long)i,
                   (long long)j, got, want);
      }
  free(a), free(b), free(packed), free(out), free(again);
}

static const int64_t some_m[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,  11,  12, 13,
                                 15, 16, 17, 23, 25, 31, 33, 40, 64, 97, 128, 197, 300};

/* Packed B, N and K constants, M at run time; every row of the tile table, both orientations of B. */
static void test_packed(void **state) {
  static const int64_t nk[][2] = {{1, 1}, {7, 5}, {48, 16}, {65, 0}, {97, 33}, {384, 50}};
  (void)state;
  int tiles = 0;
  while (product_level(jit.level)->tile[tiles].mr)
    tiles++;
  for (size_t i = 0; i < countof(nk); i++)
    for (int t = 0; t <= tiles; t++) {
      Product p = {.batch = num(1),
                   .m = sym("m"),
                   .n = num(nk[i][0]),
                   .k = num(nk[i][1]),
                   .packed_b = true,
                   .trans_b = t & 1,
                   .cut = {.tile = (uint8_t)t}};
      Compiled c = compile(p);
      for (size_t j = 0; j < countof(some_m); j++)
        check(&c, (Sizes){1, some_m[j], nk[i][0], nk[i][1]}, NULL, 0, NULL);
    }
}

/* Whatever tuning says of blocks and parts; K is several blocks for some of it. */
static void test_cuts(void **state) {
  enum { K = 1500, N = 200 };
  (void)state;
  for (int8_t s = -3; s <= 3; s = (int8_t)(s + 2))
    for (int what = 0; what < 4; what++) {
      ProductCut cut = {.depth = what == 0 || what == 3 ? s : 0,
                        .rows = what == 1 || what == 3 ? s : 0,
                        .cols = what == 2 || what == 3 ? s : 0};
      Compiled c =
          compile((Product){.batch = num(1), .m = sym("m"), .n = num(N), .k = num(K), .packed_b = true, .cut = cut});
      check(&c, (Sizes){1, 37, N, K}, NULL, 0, NULL);
      check(&c, (Sizes){1, 97, N, K}, NULL, 0, NULL);
    }
}

/* M is a constant: only the heights it needs exist. */
static void test_constant_m(void **state) {
  (void)state;
  for (int64_t m = 1; m <= 40; m += m < 14 ? 1 : 13) {
    Compiled c = compile((Product){.batch = num(1), .m = num(m), .n = num(100), .k = num(64), .packed_b = true});
    check(&c, (Sizes){1, m, 100, 64}, NULL, 0, NULL);
  }
}

/* Rows so few that B is one stream, and a few more; K is several blocks for others. M at run time, and a constant. */
static void test_streamed(void **state) {
  enum { K = 1500, N = 100 };
  (void)state;
  for (int tile = 0; tile <= 3 && (!tile || product_level(jit.level)->tile[tile - 1].mr); tile++) {
    Product p = {.batch = num(1), .n = num(N), .k = num(K), .packed_b = true};
    p.cut = (ProductCut){.tile = (uint8_t)tile, .depth = -1};
    p.m = sym("m");
    Compiled any = compile(p);
    for (int64_t m = 1; m <= 13; m++) {
      p.m = num(m);
      Compiled c = compile(p);
      check(&any, (Sizes){1, m, N, K}, NULL, 0, NULL);
      check(&c, (Sizes){1, m, N, K}, NULL, 0, NULL);
      assert_true(m > c.plan.streamed || c.plan.one_block);
    }
  }
}

/* M is a number of images of constant size: every number of them finds the heights that it needs. */
static void test_images(void **state) {
  static const int64_t positions[] = {1, 2, 3, 5, 7, 8, 11, 12, 13, 24, 49, 53, 144, 145};
  (void)state;
  for (size_t i = 0; i < countof(positions); i++) {
    Compiled c = compile((Product){.batch = num(1),
                                   .m = dim_mul(&jit.ctx, num(positions[i]), sym("images")),
                                   .n = num(33),
                                   .k = num(3),
                                   .packed_b = true,
                                   .positions = positions[i]});
    for (int64_t images = 1; images <= 2 + 160 / positions[i]; images++)
      check(&c, (Sizes){1, images * positions[i], 33, 3, images}, NULL, 0, NULL);
  }
}

/* Of images, with a last panel of fewer vectors than the others, whole ones or not; sums that go through the epilogue in registers (few
 * steps of k) and through memory. */
static void test_image_columns(void **state) {
  static const int64_t columns[] = {24, 40, 72, 80, 112, 184, 200, 203}, steps[] = {16, 40};
  (void)state;
  for (size_t i = 0; i < countof(columns); i++)
    for (size_t j = 0; j < countof(steps); j++) {
      Compiled c = compile((Product){.batch = num(1),
                                     .m = dim_mul(&jit.ctx, num(49), sym("images")),
                                     .n = num(columns[i]),
                                     .k = num(steps[j]),
                                     .packed_b = true,
                                     .positions = 49});
      for (int64_t images = 1; images <= 3; images += 2)
        check(&c, (Sizes){1, 49 * images, columns[i], steps[j], images}, NULL, 0, NULL);
    }
}

/* Products that run the same inner kernels are compiled together, as long as that makes no thread wait for another. */
static void test_spread(void **state) {
  enum { N = 8 };
  Unit u[N];
  const Unit *unit[N];
  BackendResult r;
  (void)state;
  if (!product_level(jit.level)->tile[1].mr)
    skip();
  for (int i = 0; i < N; i++) {
    u[i] = (Unit){.kind = UNIT_PRODUCT, .name = "product", .product = {.batch = num(1), .m = sym("m"), .n = num(64)}};
    u[i].product.k = num(8 + i), u[i].product.packed_b = true, u[i].product.cut.tile = (uint8_t)(1 + i % 2);
    product_schedule(&jit.ctx, &u[i], jit.level);
    unit[i] = &u[i];
  }
  EmitTarget target = {.cpu_level = jit.level};
  assert_int_equal(backend_compile(&jit.ctx, jit.arena, unit, N, &target, 2, 2, &r), ST_OK);
  assert_int_equal(r.nobject, 2);
  assert_int_not_equal(r.code[0].object, r.code[1].object);
  for (int i = 2; i < N; i++)
    assert_int_equal(r.code[i].object, r.code[i % 2].object);
  for (int i = 0; i < N; i++) { /* one kind alone is shared out all the same */
    u[i].product.cut.tile = 1;
    product_schedule(&jit.ctx, &u[i], jit.level);
  }
  assert_int_equal(backend_compile(&jit.ctx, jit.arena, unit, N, &target, 2, 2, &r), ST_OK);
  int in_first = 0;
  for (int i = 0; i < N; i++)
    in_first += r.code[i].object == 0;
  assert_true(in_first >= 2 && in_first <= N - 2);
  /* so little work is not cut into more objects than there are threads, even where more are allowed */
  assert_int_equal(backend_compile(&jit.ctx, jit.arena, unit, N, &target, 1, 6, &r), ST_OK);
  assert_int_equal(r.nobject, 1);
}

/* kB that this process holds of the code of LLVM. */
static long llvm_code_kb(void) {
  char line[512];
  bool here = false;
  long kb = 0;
  FILE *f = fopen("/proc/self/smaps", "r");
  assert_non_null(f);
  while (fgets(line, sizeof line, f)) {
    if (strchr(line, '-') && strstr(line, " r-xp "))
      here = strstr(line, "/libLLVM") || strstr(line, "/libsard-codegen");
    else if (here && strncmp(line, "Rss:", 4) == 0)
      kb += strtol(line + 4, NULL, 10), here = false;
  }
  fclose(f);
  return kb;
}

/* More objects than threads: every unit has its code in one of them, whichever thread made it, and it is the same for all numbers of
 * threads. */
static void test_many_objects(void **state) {
  enum { N = 100, MOST = 5 };
  static Unit u[N];
  const Unit *unit[N];
  BackendResult r[2];
  (void)state;
  for (int i = 0; i < N; i++) {
    u[i] = (Unit){.kind = UNIT_PRODUCT, .name = "product", .product = {.batch = num(1), .m = sym("m"), .n = num(64)}};
    u[i].product.k = num(8 + i), u[i].product.packed_b = true;
    product_schedule(&jit.ctx, &u[i], jit.level);
    unit[i] = &u[i];
  }
  EmitTarget target = {.cpu_level = jit.level};
  for (unsigned t = 0; t < 2; t++)
    assert_int_equal(backend_compile(&jit.ctx, jit.arena, unit, N, &target, t + 1, MOST, &r[t]), ST_OK);
  assert_true(r[0].nobject > 2 && r[0].nobject <= MOST);
  assert_int_equal(r[0].nobject, r[1].nobject);
  for (uint32_t i = 0; i < r[0].nobject; i++) {
    assert_int_equal(r[0].object[i].size, r[1].object[i].size);
    assert_memory_equal(r[0].object[i].bytes, r[1].object[i].bytes, r[0].object[i].size);
  }
  for (int i = 0; i < N; i++) {
    assert_int_equal(r[0].code[i].object, r[1].code[i].object);
    assert_string_equal(r[0].code[i].symbol, r[1].code[i].symbol);
  }
  assert_in_range(llvm_code_kb(), 0, 1024); /* LLVM's own code, tens of megabytes, is given back after that much */
}

/* K beyond a block, in even blocks. */
static void test_blocks(void **state) {
  (void)state;
  for (int t = 0; product_level(jit.level)->tile[t].mr; t++) {
    Product p = {.batch = num(1),
                 .m = sym("m"),
                 .n = num(101),
                 .packed_b = true,
                 .cut = {.tile = (uint8_t)(t + 1)},
                 .k = num(1)};
    int64_t k = 2 * product_plan(&p, jit.level).kc + 3;
    p.k = num(k);
    Compiled c = compile(p);
    check(&c, (Sizes){1, 1, 101, k}, NULL, 0, NULL);
    check(&c, (Sizes){1, 37, 101, k}, NULL, 0, NULL);
  }
}

/* B rounded to 16 bits, few rows and many. */
static void test_weights(void **state) {
  static const int64_t nk[][2] = {{7, 6}, {65, 0}, {97, 34}};
  static const DType types[] = {DT_bf16, DT_f16};
  (void)state;
  int tiles = 0;
  while (product_level(jit.level)->tile[tiles].mr)
    tiles++;
  for (size_t i = 0; i < 2 * countof(nk); i++)
    for (int t = 0; t <= tiles; t++) {
      int64_t n = nk[i / 2][0], k = nk[i / 2][1];
      Product p = {.batch = num(1), .m = sym("m"), .n = num(n), .k = num(k), .packed_b = true, .trans_b = t & 1};
      p.cut.tile = (uint8_t)t, p.weights = types[i % 2], p.trans_a = t == 2;
      Compiled c = compile(p);
      for (size_t j = 0; j < countof(some_m); j++)
        check(&c, (Sizes){1, some_m[j], n, k}, NULL, 0, NULL);
    }
}

static void test_weights_blocks(void **state) {
  (void)state;
  Product p = {.batch = num(1), .m = sym("m"), .n = num(101), .k = num(3000), .packed_b = true, .weights = DT_bf16};
  for (int i = 0; i < 2; i++) {
    Compiled c = compile(p);
    check(&c, (Sizes){1, 1, 101, 3000}, NULL, 0, NULL);
    check(&c, (Sizes){1, 37, 101, 3000}, NULL, 0, NULL);
    p.weights = DT_f16;
  }
}

/* … with M a constant: either few rows or many. */
static void test_weights_constant_m(void **state) {
  (void)state;
  for (int64_t m = 1; m <= 40; m += m < 9 ? 1 : 13) {
    Product p = {.batch = num(1), .m = num(m), .n = num(100), .k = num(64), .packed_b = true, .weights = DT_bf16};
    Compiled c = compile(p);
    check(&c, (Sizes){1, m, 100, 64}, NULL, 0, NULL);
  }
}

/* A row's bits do not depend on how many rows there are. */
static void test_weights_rows(void **state) {
  enum { M = 40, N = 70, K = 2000 };
  Product p = {.batch = num(1), .m = sym("m"), .n = num(N), .k = num(K), .packed_b = true, .weights = DT_bf16};
  (void)state;
  Compiled c = compile(p);
  float *a = numbers(M * K, 1), *b = numbers(N * K, 2), *all = numbers(M * N, 3), *one = numbers(N, 4);
  uint16_t *packed = (uint16_t *)(void *)numbers((N + 64) * K, 5);
  product_pack_rounded(&c.plan, DT_bf16, K, N, false, 1, b, packed, 0, product_panels(&c.plan, N));
  run(&c, (Sizes){1, M, N, K}, (void *[]){a, packed, all}, 1);
  for (int64_t i = 0; i < M; i++) {
    run(&c, (Sizes){1, 1, N, K}, (void *[]){a + i * K, packed, one}, 1);
    assert_memory_equal(one, all + i * N, N * 4);
  }
  free(a), free(b), free(packed), free(all), free(one);
}

/* Everything at run time, nothing packed: one compilation for all sizes, with and without a batch. */
static void test_unpacked(void **state) {
  static const Sizes sizes[] = {{1, 1, 1, 1},    {1, 0, 5, 5},    {1, 5, 0, 5},      {1, 5, 5, 0},
                                {0, 4, 4, 4},    {2, 3, 47, 9},   {3, 9, 49, 31},    {2, 40, 130, 64},
                                {1, 150, 77, 3}, {2, 7, 500, 12}, {1, 12, 33, 1100}, {1, 129, 48, 2500}};
  (void)state;
  for (int form = 0; form < 16; form++) {
    Product p = {
        .batch = sym("b"), .m = sym("m"), .n = sym("n"), .k = sym("k"), .trans_a = form & 1, .trans_b = form & 2};
    p.batch_a = form & 4 || form < 8, p.batch_b = form & 8 || form < 8;
    if (form >= 4 && form < 8)
      p.n = num(48), p.k = num(64);
    Compiled c = compile(p);
    for (size_t i = 0; i < countof(sizes); i++) {
      Sizes s = sizes[i];
      if (form >= 4 && form < 8)
        s.n = 48, s.k = 64;
      check(&c, s, NULL, 0, NULL);
    }
  }
}

/* N is a constant and B is not packed: the last panel has as many vectors as it takes, in one block of k and in two. */
static void test_tail(void **state) {
  (void)state;
  for (int64_t n = 1; n <= 100; n += n < 70 ? 3 : 7)
    for (int64_t k = 20; k <= 3000; k += 2980) {
      Compiled c = compile((Product){.batch = sym("b"), .m = num(13), .n = num(n), .k = num(k), .batch_b = true});
      check(&c, (Sizes){2, 13, n, k}, NULL, 0, NULL);
    }
}

static void test_packed_batch(void **state) {
  (void)state;
  Compiled c = compile((Product){
      .batch = num(3), .m = sym("m"), .n = num(50), .k = num(20), .packed_b = true, .batch_a = true, .batch_b = true});
  check(&c, (Sizes){3, 11, 50, 20}, NULL, 0, NULL);
}

/* --- epilogues --- */

static Kernel *epilogue(const char *text) {
  Kernel *k;
  if (kernel_parse(&jit.ctx, jit.arena, text, strlen(text), "epilogue", &k))
    fail_msg("%s", jit.ctx.err.message);
  return k;
}

static double bias_relu_residual(double sum, int64_t i, int64_t j, int64_t n, void *const *buf) {
  double x = sum + (double)((float *)buf[0])[j];
  return (x > 0 ? x : 0) * 0.5 + (double)((float *)buf[1])[i * n + j];
}

static void test_epilogue(void **state) {
  static const int64_t ms[] = {1, 5, 8, 33, 200};
  (void)state;
  Product p = {.batch = num(1), .m = sym("m"), .n = num(101), .k = num(40), .packed_b = true};
  p.epilogue = epilogue(
      "kernel \"e\" (acc: f32[m, 101], bias: f32[101], r: f32[m, 101]) -> (y: f32[m, 101]) {\n"
      "  for i in m parallel {\n    for j in 101 vector(16) {\n"
      "      let x: f32 = (acc[i, j] + bias[j])\n      y[i, j] = ((max(x, 0.0) * 0.5) + r[i, j])\n    }\n  }\n}\n");
  Compiled c = compile(p);
  float *bias = numbers(101, 21), *r = numbers(200 * 101, 22);
  void *more[] = {bias, r};
  for (size_t i = 0; i < countof(ms); i++)
    check(&c, (Sizes){1, ms[i], 101, 40}, more, 2, bias_relu_residual);
  free(bias), free(r);
}

static double gelu_residual(double sum, int64_t i, int64_t j, int64_t n, void *const *buf) {
  double x = sum + (double)((float *)buf[0])[j];
  return 0.5 * x * (1 + erf(x * sqrt(0.5))) + (double)((float *)buf[1])[i * n + j];
}

/* Long chains of operations, by several vectors of a row and by what is left of it; and what is asked for ahead of the last block of k. */
static void test_epilogue_gelu(void **state) {
  static const int64_t nk[][2] = {{24, 40}, {48, 300}, {101, 300}, {61, 3000}};
  (void)state;
  for (size_t i = 0; i < countof(nk); i++) {
    int n = (int)nk[i][0];
    Product p = {.batch = num(1), .m = sym("m"), .n = num(n), .k = num(nk[i][1]), .packed_b = true};
    p.epilogue = epilogue(
        arena_printf(jit.arena,
                     "kernel \"e\" (acc: f32[m, %d], bias: f32[%d], r: f32[m, %d]) -> (y: f32[m, %d]) {\n"
                     "  for i in m parallel {\n    for j in %d vector(16) {\n      let x: f32 = (acc[i, j] + bias[j])\n"
                     "      y[i, j] = (((x * 0.5) * (erf((x * 0.70710678)) + 1.0)) + r[i, j])\n    }\n  }\n}\n",
                     n, n, n, n, n));
    Compiled c = compile(p);
    float *bias = numbers(n, 21), *r = numbers(33 * n, 22);
    void *more[] = {bias, r};
    check(&c, (Sizes){1, 1, n, nk[i][1]}, more, 2, gelu_residual);
    check(&c, (Sizes){1, 33, n, nk[i][1]}, more, 2, gelu_residual);
    free(bias), free(r);
  }
}

static double scaled(double sum, int64_t i, int64_t j, int64_t n, void *const *buf) {
  (void)i, (void)n;
  return sum * 0.125 + (double)((float *)buf[0])[j];
}

/* A batch: three loops, everything at run time. */
static void test_epilogue_batch(void **state) {
  (void)state;
  Product p = {.batch = sym("b"),
               .m = sym("m"),
               .n = sym("n"),
               .k = sym("k"),
               .trans_b = true,
               .batch_a = true,
               .batch_b = true};
  p.epilogue = epilogue("kernel \"e\" (acc: f32[b, m, n], mask: f32[n]) -> (y: f32[b, m, n]) {\n"
                        "  for x in b parallel {\n    for i in m {\n      for j in n vector(16) {\n"
                        "        y[x, i, j] = ((acc[x, i, j] * 0.125) + mask[j])\n      }\n    }\n  }\n}\n");
  Compiled c = compile(p);
  float *mask = numbers(100, 23);
  void *more[] = {mask};
  check(&c, (Sizes){4, 19, 77, 64}, more, 1, scaled);
  check(&c, (Sizes){1, 1, 100, 5}, more, 1, scaled);
  free(mask);
}

/* Functions of a module that end in `what`. */
static int count_functions(const char *ir, const char *what) {
  int n = 0;
  for (const char *at = ir; (at = strstr(at, "\ndefine ")); at++) {
    const char *open = strchr(at + 8, '(');
    n += !strncmp(open - strlen(what), what, strlen(what));
  }
  return n;
}

static Kernel *bias_kernel(int64_t m, int64_t n) {
  const char *text =
      arena_printf(jit.arena,
                   "kernel \"e\" (acc: f32[%d, %d], bias: f32[%d], r: f32[%d, %d]) -> (y: f32[%d, %d]) {\n"
                   "  for i in %d parallel {\n    for j in %d vector(16) {\n"
                   "      let x: f32 = (acc[i, j] + bias[j])\n"
                   "      y[i, j] = ((max(x, 0.0) * 0.5) + r[i, j])\n    }\n  }\n}\n",
                   (int)m, (int)n, (int)n, (int)m, (int)n, (int)m, (int)n, (int)m, (int)n);
  return epilogue(text);
}

/* Those of the module alone that nothing refers to. */
static int count_unused(const char *ir) {
  int unused = 0;
  for (const char *at = ir; (at = strstr(at, "\ndefine internal ")); at++) {
    const char *name = strchr(at, '@'), *end = strchr(name, '(');
    char *text = arena_strndup(jit.arena, name, (size_t)(end - name));
    int n = 0;
    for (const char *use = ir; (use = strstr(use, text)); use++)
      n += strchr("(,)", use[strlen(text)]) != NULL;
    unused += n == 1;
  }
  return unused;
}

/* Of images, M is a multiple of their positions: inner kernels of two heights, if B need not be streamed past less rows than that. All that
 * is made is called. */
static void test_heights(void **state) {
  static const struct {
    int64_t positions, n;
    int tiles; /* 0: whatever the level asks for */
  } of[] = {{49, 96, 2}, {1, 96, 0}, {49, 40, 0}, {1, 40, 0}, {0, 96, 0}};
  (void)state;
  for (size_t i = 0; i < countof(of); i++) {
    Dim m = of[i].positions ? dim_mul(&jit.ctx, num(of[i].positions), sym("images")) : sym("m");
    Product p = {.batch = num(1), .m = m, .n = num(of[i].n), .k = num(40), .packed_b = true};
    p.positions = of[i].positions;
    Unit u = {.kind = UNIT_PRODUCT, .name = "product", .product = p};
    const Unit *unit = &u;
    EmitTarget target = {.cpu_level = jit.level, .keep_ir = true};
    EmitObject o;
    product_schedule(&jit.ctx, &u, jit.level);
    assert_int_equal(jit.api->emit_units(&jit.ctx, jit.arena, &unit, 1, &target, &o), ST_OK);
    assert_int_equal(count_unused(o.ir), 0);
    int tiles = 0;
    for (const char *at = o.ir; (at = strstr(at, "\ndefine internal void @\"tile.")); at++)
      tiles++;
    if (of[i].tiles)
      assert_int_equal(tiles, of[i].tiles);
  }
}

/* Products that differ in their extents alone have one body in a module, and one epilogue, but of their own where vectors are not whole, and
 * where there are as many rows as columns. */
static void test_shared(void **state) {
  static const int64_t mnk[][3] = {{64, 96, 40}, {128, 144, 64}, {96, 96, 96}, {192, 480, 50}, {64, 101, 40}};
  enum { N = countof(mnk) };
  Compiled c[N];
  const Unit *unit[N];
  EmitTarget target = {.cpu_level = jit.level, .keep_ir = true};
  EmitObject o;
  RtCode *code;
  (void)state;
  for (int i = 0; i < N; i++) {
    Product p = {.batch = num(1), .m = num(mnk[i][0]), .n = num(mnk[i][1]), .k = num(mnk[i][2]), .packed_b = true};
    p.cut.tile = 1, p.epilogue = bias_kernel(mnk[i][0], mnk[i][1]);
    c[i] =
        (Compiled){.u = {.kind = UNIT_PRODUCT, .name = "product", .product = p}, .plan = product_plan(&p, jit.level)};
    product_schedule(&jit.ctx, &c[i].u, jit.level);
    unit[i] = &c[i].u;
  }
  assert_int_equal(jit.api->emit_units(&jit.ctx, jit.arena, unit, N, &target, &o), ST_OK);
  assert_int_equal(object_load(&jit.ctx, jit.arena, o.bytes, o.size, &code), ST_OK);
  assert_int_equal(count_functions(o.ir, ".body0"), 1);
  assert_int_equal(count_functions(o.ir, ".epilogue0"), 3);
  for (int i = 0; i < N; i++) {
    float *bias = numbers(mnk[i][1], 21), *r = numbers(mnk[i][0] * mnk[i][1], 22);
    void *more[] = {bias, r};
    c[i].fn = object_symbol(code, o.symbol[i]);
    check(&c[i], (Sizes){1, mnk[i][0], mnk[i][1], mnk[i][2]}, more, 2, bias_relu_residual);
    free(bias), free(r);
  }
}

/* A convolution of single channels whose lines are three blocks, two of them at the edges: what becomes of a block's sums stands once, and no
 * function for it beside. */
static void test_single_channels(void **state) {
  enum { SIDE = 14, CHANNELS = 96 };
  Dim zero = num(0), one = num(1), side = num(SIDE);
  const ProductWindow w = {.in = {one, side, side},
                           .out = {one, side, side},
                           .begin = {zero, one, one},
                           .kernel = {1, 3, 3},
                           .stride = {1, 1, 1},
                           .dilation = {1, 1, 1},
                           .taps = 9};
  const Product p = {.batch = side,
                     .m = num(SIDE * SIDE),
                     .n = num(CHANNELS),
                     .k = num(9),
                     .packed_b = true,
                     .rows = &w,
                     .channelwise = true,
                     .images = one,
                     .positions = SIDE * SIDE,
                     .epilogue = bias_kernel(SIDE * SIDE, CHANNELS)};
  const ProductPlan plan = product_plan(&p, jit.level);
  Unit u = {.kind = UNIT_PRODUCT, .name = "product", .product = p};
  const Unit *unit = &u;
  EmitTarget target = {.cpu_level = jit.level, .keep_ir = true};
  EmitObject o;
  int halves = 0;
  (void)state;
  assert_in_range(plan.mr, SIDE / 6, SIDE / 2);
  assert_int_equal(jit.api->emit_units(&jit.ctx, jit.arena, &unit, 1, &target, &o), ST_OK);
  assert_int_equal(count_functions(o.ir, ".epilogue0"), 0);
  for (const char *at = o.ir; (at = strstr(at, "fmul <")); at++) {
    const char *half = strstr(at, "5.000000e-01"), *end = strchr(at, '\n');
    halves += half && half < end;
  }
  assert_int_equal(halves, plan.mr * (plan.nr / plan.level->lanes));
}

/* Of several panels and a number of lines that groups of them do not divide: all elements, in any partition. */
static void test_lines_of_panels(void **state) {
  enum { HIGH = 6, WIDE = 5, CHANNELS = 72, TAPS = 9 };
  Dim zero = num(0), one = num(1), high = num(HIGH), wide = num(WIDE);
  const ProductWindow w = {.in = {one, high, wide},
                           .out = {one, high, wide},
                           .begin = {zero, one, one},
                           .kernel = {1, 3, 3},
                           .stride = {1, 1, 1},
                           .dilation = {1, 1, 1},
                           .taps = TAPS};
  Compiled c = compile((Product){.batch = high,
                                 .m = num(HIGH * WIDE),
                                 .n = num(CHANNELS),
                                 .k = num(TAPS),
                                 .packed_b = true,
                                 .trans_b = true,
                                 .rows = &w,
                                 .channelwise = true,
                                 .images = one,
                                 .positions = HIGH * WIDE});
  int64_t floats;
  (void)state;
  assert_true(product_packed_floats(&c.plan, TAPS, CHANNELS, &floats));
  float *x = numbers(HIGH * WIDE * CHANNELS, 1), *b = numbers(CHANNELS * TAPS, 2), *packed = numbers(floats, 3);
  product_pack(&c.plan, TAPS, CHANNELS, true, TAPS, b, packed, 0, product_panels(&c.plan, CHANNELS));
  for (int pieces = 1; pieces <= 7; pieces += 3) {
    float *out = numbers(HIGH * WIDE * CHANNELS, 4);
    void *buf[] = {x, packed, out};
    run(&c, (Sizes){1, HIGH * WIDE, CHANNELS, TAPS, 1}, buf, pieces);
    for (int i = 0; i < HIGH * WIDE * CHANNELS; i++) {
      int channel = i % CHANNELS, col = i / CHANNELS % WIDE, row = i / CHANNELS / WIDE;
      double sum = 0;
      for (int t = 0; t < TAPS; t++) {
        int y = row + t / 3 - 1, z = col + t % 3 - 1;
        if (y >= 0 && y < HIGH && z >= 0 && z < WIDE)
          sum += (double)x[(y * WIDE + z) * CHANNELS + channel] * (double)b[channel * TAPS + t];
      }
      assert_float_equal(out[i], (float)sum, (TAPS + 8) * 0x1p-23);
    }
    free(out);
  }
  free(x), free(b), free(packed);
}

static void test_cancel(void **state) {
  (void)state;
  Compiled c = compile((Product){.batch = num(1), .m = num(4), .n = num(16), .k = num(4), .packed_b = true});
  float *mem = numbers(4096, 1);
  void *buf[] = {mem, mem + 1024, mem + 2048};
  int cancel = 1;
  KernelArgs a = {.buf = buf, .begin = 0, .end = 1, .scratch = numbers(4096, 2), .cancel = &cancel};
  assert_int_equal(c.fn(&a), 1);
  cancel = 0;
  assert_int_equal(c.fn(&a), 0);
  free(mem), free(a.scratch);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_packed),          cmocka_unit_test(test_cuts),
      cmocka_unit_test(test_constant_m),      cmocka_unit_test(test_streamed),
      cmocka_unit_test(test_blocks),          cmocka_unit_test(test_unpacked),
      cmocka_unit_test(test_packed_batch),    cmocka_unit_test(test_epilogue),
      cmocka_unit_test(test_images),          cmocka_unit_test(test_image_columns),
      cmocka_unit_test(test_spread),          cmocka_unit_test(test_many_objects),
      cmocka_unit_test(test_epilogue_gelu),   cmocka_unit_test(test_epilogue_batch),
      cmocka_unit_test(test_heights),         cmocka_unit_test(test_shared),
      cmocka_unit_test(test_single_channels), cmocka_unit_test(test_lines_of_panels),
      cmocka_unit_test(test_cancel),          cmocka_unit_test(test_tail),
      cmocka_unit_test(test_weights),         cmocka_unit_test(test_weights_constant_m),
      cmocka_unit_test(test_weights_blocks),  cmocka_unit_test(test_weights_rows),
  };
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni-bf16"};
  RIG_MAIN(&jit, levels, tests);
}
