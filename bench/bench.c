/* bench.c - what this machine can do and what the generated code gets out of it: FMA peak and memory bandwidth, then
 * products and attention as a share of them. `make bench`; arguments: what to run (product, attention, memory, memory=ROW,
 * traffic=MODEL, MxNxK, before that tile=, depth=, rows=, cols= of ProductCut); SARD_LEVEL: a CPU level other than the best.
 *
 * Every figure is the best of several runs over at least 0.2 s: other work on the machine only ever makes it worse.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bench/machine.h"
#include "bench/memory.h"
#include "bench/traffic.h"
#include "tests/kernel/jit.h"

#include "codegen/attention.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Bench {
  Jit jit;
  ProductCut cut;
  int copies;             /* of a product's operand B, in turn: many of them lie in no cache, as a model's weights */
  double peak, bandwidth; /* of one thread: GFLOP/s, GB/s */
  double peak2;           /* of two */
} Bench;

/* --- running one unit --- */

typedef struct Run {
  KernelFn fn;
  KernelArgs args;
  void **operand; /* of a product: B, of which `copies` lie `stride` apart */
  float *b;
  int64_t stride;
  int copies, turn;
} Run;

static void run_once(void *arg) {
  Run *r = arg;
  r->fn(&r->args);
}

static void run_in_turn(void *arg) {
  Run *r = arg;
  r->turn = (r->turn + 1) % r->copies;
  *r->operand = r->b + r->turn * r->stride;
  run_once(r);
}

static float *floats(int64_t n) {
  float *p = aligned_alloc(64, ((size_t)n * 4 + 127) & ~(size_t)63);
  uint32_t s = 1;
  if (!p)
    abort();
  for (int64_t i = 0; i < n; i++)
    s = s * 1664525 + 1013904223, p[i] = (float)(int32_t)s * 0x1p-31f;
  return p;
}

static KernelFn compile(Bench *b, const Unit *u) {
  KernelFn fn = jit_compile(&b->jit, u);
  if (fn)
    return fn;
  fprintf(stderr, "%s: %s\n", u->name, b->jit.ctx.err.message);
  exit(1);
}

static bool the_value(void *arg, Dim sym, int64_t *v) {
  (void)sym;
  *v = *(const int64_t *)arg;
  return true;
}

/* An expression over one symbol, of that value. */
static int64_t dim_at(Dim d, int64_t sym) {
  int64_t v;
  if (!dim_eval(d, the_value, &sym, &v))
    abort();
  return v;
}

/* --- products --- */

typedef struct Shape {
  int64_t m, n, k;
  const char *what;
  int64_t batch; /* > 0: so many products, nothing packed */
  bool trans_b, gelu;
} Shape;

static const Shape shapes[] = {
    {256, 768, 768, "BERT-base projection, 2x128"},
    {256, 3072, 768, "BERT-base feed-forward up"},
    {256, 768, 3072, "BERT-base feed-forward down"},
    {256, 2304, 768, "BERT-base Q, K, V together"},
    {128, 768, 768, "one sequence of 128"},
    {197, 768, 768, "ViT-B projection"},
    {197, 3072, 768, "ViT-B feed-forward up"},
    {197, 768, 3072, "ViT-B feed-forward down"},
    {1500, 384, 384, "Whisper tiny projection"},
    {1500, 1536, 384, "Whisper tiny feed-forward up"},
    {1500, 384, 1536, "Whisper tiny feed-forward down"},
    {1024, 1024, 1024, ""},
    {512, 4096, 1024, ""},
    {256, 1024, 4096, ""},
    {24, 384, 384, "MiniLM projection, 3x8"},
    {24, 1536, 384, "MiniLM feed-forward up"},
    {24, 384, 1536, "MiniLM feed-forward down"},
    {4, 384, 384, "small"},
    {128, 512, 512, "encoder of width 512, 32x4"},
    {4, 2304, 768, "GPT-2, 4 tokens"},
    {4, 50257, 768, "GPT-2 head, 4 tokens"},
    {1, 3072, 768, "one token"},
    {1, 768, 3072, "one token"},
    {1, 50257, 768, "head, one token"},
    {256, 3072, 768, "feed-forward up, bias and GELU", .gelu = true},
    {24, 1536, 384, "the same of MiniLM", .gelu = true},
    {128, 128, 64, "24 times Q K^T, nothing packed", 24, .trans_b = true},
    {128, 64, 128, "24 times P V, nothing packed", 24},
    {256, 768, 768, "both operands at run time", 1},
};

/* Bias and exact GELU, as they follow the feed-forward layer's first product. */
static Kernel *gelu(Bench *b, int64_t n) {
  Kernel *k;
  char *text = arena_printf(b->jit.arena,
                            "kernel \"gelu\" (acc: f32[m, %lld], bias: f32[%lld]) -> (y: f32[m, %lld]) {\n"
                            "  for i in m {\n    for j in %lld {\n      let x: f32 = (acc[i, j] + bias[j])\n"
                            "      y[i, j] = ((x * 0.5) * (erf((x * 0.70710678118654752)) + 1.0))\n    }\n  }\n}\n",
                            (long long)n, (long long)n, (long long)n, (long long)n);
  if (kernel_parse(&b->jit.ctx, b->jit.arena, text, strlen(text), "gelu", &k)) {
    fprintf(stderr, "%s\n", b->jit.ctx.err.message);
    exit(1);
  }
  return k;
}

/* t, t2: seconds with one thread and with two. */
static void report(const Bench *b, const Shape *s, const ProductPlan *plan, int64_t parts, double t, double t2,
                   double compiling) {
  double count = (double)(s->batch ? s->batch : 1), n = (double)s->n, k = (double)s->k;
  double work = 2e-9 * count * (double)s->m * n * k, gbs = 4e-9 * count * n * k / t;
  printf(
      "%5lld x%6lld x%5lld  %2dx%-2d %8.3f ms %8.1f GFLOP/s %5.1f %%  %6.1f GB/s %5.1f %%  two threads %8.3f ms %5.1f "
      "%%  parts %-4lld compile %5.1f ms  %s\n",
      (long long)s->m, (long long)s->n, (long long)s->k, plan->mr, plan->nr, t * 1e3, work / t,
      100 * work / t / b->peak, gbs, 100 * gbs / b->bandwidth, t2 * 1e3, 100 * work / t2 / b->peak2, (long long)parts,
      compiling, s->what);
  fflush(stdout);
}

/* Half of the parts each, side by side. */
static double seconds_of_two(const Run *r, int64_t scratch, void (*fn)(void *)) {
  void *buf[2][4];
  Run half[2] = {*r, *r};
  for (int i = 0; i < 2; i++) {
    memcpy(buf[i], r->args.buf, sizeof buf[i]);
    half[i].args.buf = buf[i], half[i].operand = &buf[i][1];
  }
  half[0].args.end = half[1].args.begin = r->args.end / 2;
  half[1].args.scratch = floats(scratch / 4);
  double t = machine_best_pair(fn, &half[0], &half[1]);
  free(half[1].args.scratch);
  return t;
}

static void bench_product(Bench *b, const Shape *s) {
  Ctx *c = &b->jit.ctx;
  Unit u = {.kind = UNIT_PRODUCT, .name = "product"};
  bool batched = s->batch > 0;
  int64_t packed, m = s->m, count = batched ? s->batch : 1;
  u.product = (Product){.batch = dim_const(c, count),
                        .m = dim_sym(c, "m"),
                        .n = dim_const(c, s->n),
                        .k = dim_const(c, s->k),
                        .packed_b = !batched,
                        .batch_a = batched,
                        .batch_b = batched,
                        .trans_b = s->trans_b,
                        .cut = b->cut,
                        .epilogue = s->gelu ? gelu(b, s->n) : NULL};
  ProductPlan plan = product_plan(&u.product, b->jit.level);
  product_schedule(c, &u, b->jit.level);
  if (!product_packed_floats(&plan, s->k, s->n, &packed))
    abort();
  int64_t t0 = machine_thread_ns();
  KernelFn fn = compile(b, &u);
  double compiling = (double)(machine_thread_ns() - t0) * 1e-6;
  int64_t parts = dim_at(u.parts, m), scratch = dim_at(u.scratch, m);
  float *a = floats(count * s->m * s->k), *w = floats(count * s->n * s->k), *p = floats(packed * b->copies);
  float *out = floats(count * s->m * s->n), *bias = floats(s->n);
  for (int i = 0; i < b->copies; i++)
    product_pack(&plan, s->k, s->n, false, 1, w, p + i * packed, 0, product_panels(&plan, s->n));
  void *buf[] = {a, batched ? w : p, s->gelu ? bias : out, out};
  Run r = {.fn = fn,
           .args = {.buf = buf, .dim = &m, .begin = 0, .end = parts, .scratch = floats(scratch / 4)},
           .operand = &buf[1],
           .b = p,
           .stride = packed,
           .copies = b->copies};
  void (*turn)(void *) = batched ? run_once : run_in_turn;
  double t = machine_best_seconds(turn, &r);
  report(b, s, &plan, parts, t, seconds_of_two(&r, scratch, turn), compiling);
  free(a), free(w), free(p), free(out), free(bias), free(r.args.scratch);
}

/* --- attention --- */

typedef struct Heads {
  int64_t batch, heads, kv_heads, q, kv, dims;
  bool causal;
  const char *what;
} Heads;

static const Heads attentions[] = {
    {2, 12, 12, 128, 128, 64, false, "BERT-base, 2x128"}, {1, 12, 12, 197, 197, 64, false, "ViT-B"},
    {3, 12, 12, 8, 8, 32, false, "MiniLM, 3x8"},          {1, 12, 12, 512, 512, 64, false, "BERT-base, 512"},
    {1, 12, 12, 1024, 1024, 64, true, "GPT-2, 1024"},     {1, 12, 12, 4, 20, 64, true, "GPT-2, 4 after 16"},
    {1, 12, 12, 1, 513, 64, true, "GPT-2, 1 after 512"},  {1, 9, 3, 1, 513, 64, true, "Llama 135M, 1 after 512"},
    {4, 8, 8, 32, 32, 64, false, "encoder, 32x4"},        {1, 6, 6, 1500, 1500, 64, false, "Whisper tiny's encoder"},
};

typedef struct Lengths {
  int64_t batch, q, kv;
} Lengths;

static bool length_of(void *arg, Dim sym, int64_t *v) {
  const Lengths *l = arg;
  *v = sym->name[0] == 'b' ? l->batch : sym->name[0] == 'q' ? l->q : l->kv;
  return true;
}

static void bench_attention(Bench *b, const Heads *s) {
  Ctx *c = &b->jit.ctx;
  Unit u = {.kind = UNIT_ATTENTION, .name = "attention"};
  u.attention = (Attention){.batch = dim_sym(c, "b"),
                            .q_len = dim_sym(c, "q"),
                            .kv_len = dim_sym(c, "kv"),
                            .heads = s->heads,
                            .kv_heads = s->kv_heads,
                            .dk = s->dims,
                            .dv = s->dims,
                            .scale = 0.125,
                            .causal = s->causal};
  attention_schedule(c, &u, b->jit.level);
  int64_t t0 = machine_thread_ns();
  KernelFn fn = compile(b, &u);
  double took = (double)(machine_thread_ns() - t0) * 1e-6;
  Lengths l = {s->batch, s->q, s->kv};
  int64_t parts, scratch, dim[8], nq = s->batch * s->heads * s->q * s->dims,
                                  nk = s->batch * s->kv_heads * s->kv * s->dims;
  const Dim *expr;
  uint32_t n;
  unit_signature(b->jit.arena, &u, &expr, &n);
  for (uint32_t i = 0; i < n && i < countof(dim); i++)
    dim_eval(expr[i], length_of, &l, &dim[i]);
  if (!dim_eval(u.parts, length_of, &l, &parts) || !dim_eval(u.scratch, length_of, &l, &scratch))
    abort();
  void *buf[] = {floats(nq), floats(nk), floats(nk), floats(nq)};
  Run r = {fn, {.buf = buf, .dim = dim, .begin = 0, .end = parts, .scratch = floats(scratch / 4)}};
  double t = machine_best_seconds(run_once, &r), gflops = 4e-9 * (double)nq * (double)s->kv / t;
  if (s->causal)
    gflops *= (double)(2 * s->kv - s->q + 1) / (double)(2 * s->kv); /* what is seen */
  printf("%2lld x %2lld/%2lld heads, %4lld of %4lld  %8.3f ms %8.1f GFLOP/s %5.1f %%  %6.1f GB/s  parts %-4lld compile "
         "%5.1f ms  %s\n",
         (long long)s->batch, (long long)s->heads, (long long)s->kv_heads, (long long)s->q, (long long)s->kv, t * 1e3,
         gflops, 100 * gflops / b->peak, 8e-9 * (double)nk / t, (long long)parts, took, s->what);
  fflush(stdout);
  for (int i = 0; i < 4; i++)
    free(buf[i]);
  free(r.args.scratch);
}

static bool wanted(int argc, char **argv, const char *group) {
  bool any = argc < 2;
  for (int i = 1; i < argc; i++)
    any |= strstr(argv[i], group) != NULL;
  return any;
}

int main(int argc, char **argv) {
  Bench b = {.copies = 1};
  if (!jit_open(&b.jit, getenv("SARD_LEVEL"))) {
    fprintf(stderr, "%s\n", b.jit.ctx.err.message);
    return 1;
  }
  machine_print_cpu();
  b.peak = machine_peak(b.jit.level, 1);
  b.peak2 = machine_peak(b.jit.level, 2);
  b.bandwidth = machine_bandwidth(b.jit.level, 1);
  printf("level %s, one thread: %.1f GFLOP/s peak, %.1f GB/s read; two threads: %.1f GFLOP/s, %.1f GB/s\n"
         "8-bit integers, one thread: %.1f Gop/s peak; two threads: %.1f Gop/s\n"
         "GB/s: of B, or of K and V, over the time; above what memory gives when they stay in cache\n\n",
         b.jit.level, b.peak, b.bandwidth, b.peak2, machine_bandwidth(b.jit.level, 2),
         machine_integer_peak(b.jit.level, 1), machine_integer_peak(b.jit.level, 2));
  Shape one = {.what = "as asked"};
  for (int i = 1; i < argc; i++)
    if (!strncmp(argv[i], "tile=", 5))
      b.cut.tile = (uint8_t)atoi(argv[i] + 5);
    else if (!strncmp(argv[i], "depth=", 6))
      b.cut.depth = (int8_t)atoi(argv[i] + 6);
    else if (!strncmp(argv[i], "rows=", 5))
      b.cut.rows = (int8_t)atoi(argv[i] + 5);
    else if (!strncmp(argv[i], "cols=", 5))
      b.cut.cols = (int8_t)atoi(argv[i] + 5);
    else if (!strncmp(argv[i], "copies=", 7))
      b.copies = atoi(argv[i] + 7) > 0 ? atoi(argv[i] + 7) : 1;
    else if (sscanf(argv[i], "%" SCNd64 "x%" SCNd64 "x%" SCNd64, &one.m, &one.n, &one.k) == 3 && one.m > 0 &&
             one.n > 0 && one.k > 0)
      bench_product(&b, &one);
  if (wanted(argc, argv, "product"))
    for (size_t i = 0; i < countof(shapes); i++)
      bench_product(&b, &shapes[i]);
  if (wanted(argc, argv, "attention"))
    for (size_t i = 0; i < countof(attentions); i++)
      bench_attention(&b, &attentions[i]);
  for (int i = 1; i < argc; i++)
    if (!strncmp(argv[i], "memory=", 7))
      bench_memory(&b.jit, argv[i] + 7);
  bool all = argc < 2, memory = all;
  for (int i = 1; i < argc; i++)
    memory |= !strcmp(argv[i], "memory");
  if (memory)
    bench_memory(&b.jit, NULL);
  for (int i = 1; i < argc; i++)
    if (!strncmp(argv[i], "traffic=", 8))
      bench_traffic(argv[i] + 8);
  if (all)
    bench_traffic("build/models/minilm/model.onnx");
  jit_close(&b.jit);
  return 0;
}
