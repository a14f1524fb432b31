/* test_products.c - products and convolutions that code of ours computes on GPUs, run by the interpreter of PTX against sums in
 * double over the definitions of codegen/unit.h: for several grids and both orders of threads, with the same bits each time. Where
 * the CUDA toolkit is, ptxas says of each kernel how many registers it takes and that nothing is spilled.
 *
 * Operands are uniform in [-1, 1]: see tests/kernel/test_product.c for the error that is allowed. What is stored as f16 or bf16 is
 * rounded once more.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "codegen/backend.h"
#include "codegen/gpu_product.h"
#include "ops/eval/nbits.h"
#include "runtime/kernel_abi.h"
#include "support/dtype.h"
#include "tests/cuda/null/ptx.h"
#include "tests/cuda/ptxas.h"

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUFFERS = 8, RUNS = 4 };
static const char *const targets[] = {"sm_80", "sm_90", "sm_90a"};
static Ctx ctx;
static Alloc alloc;
static Arena *arena;
static int compiled, most_registers;

/* A product and the numbers of one run. */
typedef struct Case {
  const char *name;
  Product p;
  int64_t batch, m, n, k;
  const char *after; /* the epilogue's text; it has `more` inputs */
  int more;
  int64_t more_count[2];
  double (*behind)(const struct Case *c, double sum, int64_t b, int64_t i, int64_t j);
  bool vectors;  /* operands are read 16 bytes at a time */
  bool several;  /* at least 8 bytes at a time, all of them */
  bool two_runs; /* instead of all: there are many such cases */
  void *data[BUFFERS];
  size_t bytes[BUFFERS];
} Case;

static Dim num(int64_t v) { return dim_const(&ctx, v); }
static Dim sym(const char *name) { return dim_sym(&ctx, name); }

static bool value_of(void *arg, Dim d, int64_t *v) {
  const Case *c = arg;
  switch (d->name[0]) {
  case 'b': *v = c->batch; return true;
  case 'm': *v = c->m; return true;
  case 'n': *v = c->n; return true;
  case 'k': *v = c->k; return true;
  }
  return false;
}

static int64_t value(const Case *c, Dim d) {
  int64_t v;
  assert_true(dim_eval(d, value_of, (void *)(uintptr_t)c, &v));
  return v;
}

/* --- operands --- */

static DType type_a(const Case *c) { return c->p.bytes ? c->p.bytes : c->p.type ? c->p.type : DT_f32; }
static DType type_b(const Case *c) {
  return c->p.narrow.type ? c->p.narrow.type : c->p.bits.bits ? DT_u8 : c->p.bytes ? DT_i8 : type_a(c);
}

static int64_t plane(const Case *c, const ProductWindow *w) {
  return value(c, w->in[0]) * value(c, w->in[1]) * value(c, w->in[2]);
}

static int64_t elements_of(const Case *c, bool is_b) {
  const Product *p = &c->p;
  int64_t group = p->group > 1 ? p->group : c->batch;
  if (is_b && p->bits.bits)
    return c->n * ((c->k - 1) / p->bits.block + 1) * (p->bits.block * p->bits.bits / 8);
  if (is_b && p->window)
    return c->batch * (c->k / p->window->taps) * plane(c, p->window);
  if (!is_b && p->rows) {
    int64_t positions = value(c, p->rows->out[0]) * value(c, p->rows->out[1]) * value(c, p->rows->out[2]);
    return c->m / positions * (c->k / p->rows->taps) * plane(c, p->rows);
  }
  return is_b ? (p->batch_b ? c->batch : 1) * c->k * c->n : (p->batch_a ? group : 1) * c->m * c->k;
}

static uint32_t seed;
static double uniform(void) {
  seed = seed * 1664525 + 1013904223;
  return (double)(int32_t)seed * 0x1p-31;
}

static void *filled(DType t, int64_t n, size_t *bytes) {
  *bytes = ((size_t)n * dtype_bits(t) + 7) / 8;
  void *p = calloc(*bytes + 1, 1);
  assert_non_null(p);
  for (int64_t i = 0; i < n; i++)
    if (dtype_is_int(t))
      elem_set_i64(t, p, i, (int64_t)(uniform() * 128)); /* modulo what there is */
    else if (dtype_bits(t) == 8)                         /* of all magnitudes */
      elem_set_f64(t, p, i, ldexp(uniform(), (int)(i % 12) - 9));
    else
      elem_set_f64(t, p, i, uniform());
  return p;
}

static void fill(Case *c) {
  const ProductBits *x = &c->p.bits;
  uint32_t at = 2;
  seed = 1;
  c->data[0] = filled(type_a(c), elements_of(c, false), &c->bytes[0]);
  c->data[1] = filled(type_b(c), elements_of(c, true), &c->bytes[1]);
  const ProductNarrow *f = &c->p.narrow;
  if (f->type) {
    int64_t last = (c->n - 1) * f->by_column + (f->block ? (c->k - 1) / f->block * f->by_block : 0);
    c->data[at] = filled(f->scale, last + 1, &c->bytes[at]), at++;
    if (f->zero)
      c->data[at] = filled(f->type, last + 1, &c->bytes[at]), at++;
  }
  if (x->bits) {
    int64_t blocks = (c->k - 1) / x->block + 1;
    c->data[at] = filled(x->scale ? x->scale : DT_f32, c->n * blocks, &c->bytes[at]), at++;
    if (x->zero == PZ_BYTE)
      c->data[at] = filled(DT_u8, c->n * ((blocks * x->bits + 7) / 8), &c->bytes[at]), at++;
    else if (x->zero == PZ_F32)
      c->data[at] = filled(DT_f32, c->n * blocks, &c->bytes[at]), at++;
  }
  for (int i = 0; i < c->more; i++, at++)
    c->data[at] = filled(c->p.type ? c->p.type : DT_f32, c->more_count[i], &c->bytes[at]);
}

/* --- what a product is --- */

/* Where the window finds channel `channel` of tap `tap` at position `at`; false: outside. */
static bool place(const Case *c, const ProductWindow *w, int64_t at, int64_t tap, int64_t *y) {
  for (int i = WINDOW_AXES; i-- > 0; at /= value(c, w->out[i]), tap /= w->kernel[i]) {
    y[i] = at % value(c, w->out[i]) * w->stride[i] + tap % w->kernel[i] * w->dilation[i] - value(c, w->begin[i]);
    if (y[i] < 0 || y[i] >= value(c, w->in[i]))
      return false;
  }
  return true;
}

static double element_a(const Case *c, int64_t b, int64_t i, int64_t k) {
  const Product *p = &c->p;
  const ProductWindow *w = p->rows;
  if (w) {
    int64_t y[WINDOW_AXES], channels = c->k / w->taps, tap = p->planes ? k % w->taps : k / channels;
    int64_t channel = p->planes ? k / w->taps : k % channels;
    int64_t positions = value(c, w->out[0]) * value(c, w->out[1]) * value(c, w->out[2]), image = i / positions;
    if (!place(c, w, i % positions, tap, y))
      return 0;
    int64_t line = (y[0] * value(c, w->in[1]) + y[1]) * value(c, w->in[2]) + y[2];
    int64_t at = p->planes ? (image * channels + channel) * plane(c, w) + line
                           : (image * plane(c, w) + line) * channels + channel;
    return elem_f64(type_a(c), c->data[0], at) - p->zero;
  }
  int64_t matrix = !p->batch_a ? 0 : p->group > 1 ? b % p->group : b;
  int64_t at = matrix * c->m * c->k + (p->trans_a ? k * c->m + i : i * c->k + k);
  return elem_f64(type_a(c), c->data[0], at) - p->zero;
}

static double few_bits(const Case *c, int64_t k, int64_t j) {
  NBits f;
  assert_true(nbits_of(c->k, c->n, c->p.bits.bits, c->p.bits.block, &f));
  int64_t block = k / f.block;
  double q = nbits_get((uint8_t *)c->data[1] + j * nbits_column_bytes(&f), f.bits, k), z = 1 << (f.bits - 1);
  if (c->p.bits.zero == PZ_BYTE)
    z = nbits_get((uint8_t *)c->data[3] + j * nbits_zero_bytes(&f), f.bits, block);
  else if (c->p.bits.zero == PZ_F32)
    z = (double)((float *)c->data[3])[j * f.blocks + block];
  return (q - z) * elem_f64(c->p.bits.scale ? c->p.bits.scale : DT_f32, c->data[2], j * f.blocks + block);
}

static double narrow(const Case *c, int64_t k, int64_t j) {
  const ProductNarrow *f = &c->p.narrow;
  int64_t at = j * f->by_column + (f->block ? k / f->block * f->by_block : 0);
  double q = elem_f64(f->type, c->data[1], c->p.trans_b ? j * c->k + k : k * c->n + j);
  return (q - (f->zero ? elem_f64(f->type, c->data[3], at) : 0)) * elem_f64(f->scale, c->data[2], at);
}

static double element_b(const Case *c, int64_t b, int64_t k, int64_t j) {
  const Product *p = &c->p;
  const ProductWindow *w = p->window;
  if (p->narrow.type)
    return narrow(c, k, j);
  if (p->bits.bits)
    return few_bits(c, k, j);
  if (w) {
    int64_t y[WINDOW_AXES], channels = c->k / w->taps, channel = k / w->taps;
    if (!place(c, w, j, k % w->taps, y))
      return 0;
    int64_t line = (y[0] * value(c, w->in[1]) + y[1]) * value(c, w->in[2]) + y[2];
    return elem_f64(type_b(c), c->data[1], (b * channels + channel) * plane(c, w) + line);
  }
  int64_t at = p->trans_b ? j * c->k + k : k * c->n + j;
  if (p->rows && !p->planes) { /* the weight has its taps inside */
    int64_t channels = c->k / p->rows->taps;
    at = p->packed_b ? j * c->k + k : j * c->k + k % channels * p->rows->taps + k / channels;
  }
  return elem_f64(type_b(c), c->data[1], (p->batch_b ? b * c->k * c->n : 0) + at);
}

static void compare(const Case *c, const void *out) {
  DType t = c->p.bytes ? DT_i32 : type_a(c);
  double units = t == DT_f16 ? 0x1p-11 : t == DT_bf16 ? 0x1p-8 : 0;
  for (int64_t b = 0; b < c->batch; b++)
    for (int64_t i = 0; i < c->m; i++)
      for (int64_t j = 0; j < c->n; j++) {
        double want = 0, size = 0, got = elem_f64(t, out, (b * c->m + i) * c->n + j);
        for (int64_t k = 0; k < c->k; k++) {
          double term = element_a(c, b, i, k) * element_b(c, b, k, j);
          want += term, size += fabs(term);
        }
        if (c->behind)
          want = c->behind(c, want, b, i, j);
        double terms = c->p.bits.bits && c->m > PRODUCT_ROWS ? units : 0; /* tensor cores: B is of A's type */
        double allowed = c->p.bytes ? 0 : (size + 1) * 0x1p-20 + size * terms + units * fabs(want);
        if (!(fabs(got - want) <= allowed))
          fail_msg("%s: [%lld, %lld, %lld] is %.9g, must be %.9g", c->name, (long long)b, (long long)i, (long long)j,
                   got, want);
      }
}

/* --- running --- */

typedef struct Device {
  uint8_t *at[BUFFERS];
  size_t size[BUFFERS];
} Device;

static uint64_t address_of(uint32_t i) { return (uint64_t)(i + 1) << 40; }

static void *memory(void *arg, uint64_t address, size_t size) {
  Device *d = arg;
  uint64_t i = (address >> 40) - 1, offset = address & (((uint64_t)1 << 40) - 1);
  return i >= BUFFERS || offset + size > d->size[i] ? NULL : d->at[i] + offset;
}

static void run(Case *c, const Unit *u, const PtxKernel *kernel, int run_no, void *out, size_t out_bytes) {
  static const int64_t grids[RUNS] = {1, 3, 1024, 1024};
  const Dim *dim;
  uint32_t ndim, n = 0;
  uint64_t param[32] = {0};
  PtxLaunch x = {.param = param, .backwards = run_no % 2, .memory = memory};
  Device d = {0};
  char why[256];
  for (; n < BUFFERS && c->data[n]; n++)
    d.at[n] = c->data[n], d.size[n] = c->bytes[n], param[n] = address_of(n);
  d.at[n] = out, d.size[n] = out_bytes, param[n] = address_of(n), n++;
  unit_signature(arena, u, &dim, &ndim);
  for (uint32_t i = 0; i < ndim; i++)
    param[n++] = (uint64_t)value(c, dim[i]);
  assert_int_equal(ptx_params(kernel), n + 2);
  if (!value(c, u->parts))
    return;
  gpu_geometry(value(c, u->parts), value(c, u->threads), grids[run_no], &x.blocks, &x.threads);
  x.arg = &d;
  if (!ptx_run(kernel, &x, why))
    fail_msg("%s: %s", c->name, why);
}

static void assemble(const char *name, const char *ptx, const char *target) {
  Assembled x = ptxas_assemble(ptx, target);
  if (x.rc || x.stack || x.registers < 1 || x.registers > 65536 / GPU_BLOCK)
    fail_msg("%s for %s: ptxas %d, %d registers, %d bytes of stack\n%s", name, target, x.rc, x.registers, x.stack, ptx);
  most_registers = x.registers > most_registers ? x.registers : most_registers;
}

static void instruction(const Case *c, const char *ptx, const char *words, bool must) {
  if ((strstr(ptx, words) != NULL) != must)
    fail_msg("%s: the PTX %s '%s':\n%s", c->name, must ? "lacks" : "must not have", words, ptx);
}

/* What multiplies, what few rows and the sums of B's columns need, and what no product may have. */
static void instructions(const Case *c, const char *ptx) {
  static const char *const never[] = {".local", ".approx", ".ftz", "tf32", "atom.", "red.global.add"};
  const Product *p = &c->p;
  bool tiles = p->forms & FORM_TILES, rows = p->forms & FORM_ROWS, tensor = tiles && gpu_tensor_cores(p),
       less_zero = p->bytes && p->zero;
  instruction(c, ptx, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", tensor && p->type == DT_f16);
  instruction(c, ptx, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", tensor && p->type == DT_bf16);
  instruction(c, ptx, "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", tensor && p->bytes == DT_i8);
  instruction(c, ptx, "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32", tensor && p->bytes == DT_u8);
  instruction(c, ptx, "ldmatrix.sync.aligned.m8n8.x4", tensor);
  instruction(c, ptx, "dp4a.s32.s32", less_zero);
  instruction(c, ptx, "fma.rn.f32", rows || (tiles && !tensor));
  instruction(c, ptx, "shfl.sync.bfly.b32", rows || less_zero);
  instruction(c, ptx, "ld.global.nc", true);
  instruction(c, ptx, "bar.sync", true);
  if (c->vectors)
    instruction(c, ptx, "ld.global.nc.v4.b32", true);
  for (int i = 0; c->several && i < 3; i++)
    instruction(c, ptx, (const char *const[]){"nc.u8", "nc.u16", "nc.b32"}[i], false);
  for (size_t i = 0; i < countof(never); i++)
    instruction(c, ptx, never[i], false);
}

static const char *ptx_of(Case *c, Unit *u, const char *target, const char **symbol) {
  const Unit *unit = u;
  EmitTarget t = {.cpu_level = target};
  BackendResult r;
  if (backend_compile(&ctx, arena, &unit, 1, &t, 1, 1, &r))
    fail_msg("%s: %s", c->name, ctx.err.message);
  const char *ptx = arena_strndup(arena, (const char *)r.object[0].bytes, r.object[0].size);
  if (getenv("VERBOSE"))
    printf("%s\n", ptx);
  instructions(c, ptx);
  *symbol = r.code[0].symbol;
  return ptx;
}

static void check(Case *c) {
  Unit u = {.kind = UNIT_PRODUCT, .name = "product", .product = c->p};
  const char *symbol, *ptx = NULL;
  char why[256];
  if (c->after && kernel_parse(&ctx, arena, c->after, strlen(c->after), c->name, &u.product.epilogue))
    fail_msg("%s: %s", c->name, ctx.err.message);
  gpu_product(&ctx, &u);
  for (size_t i = countof(targets); i-- > 0;) { /* ptxas, which takes longest, for one of them in turn */
    ptx = ptx_of(c, &u, targets[i], &symbol);
    if (ptxas_path() && i == (size_t)compiled % countof(targets))
      assemble(c->name, ptx, targets[i]);
  }
  compiled++;
  PtxModule *m = ptx_parse(ptx, why);
  if (!m)
    fail_msg("%s: %s", c->name, why);
  fill(c);
  size_t bytes = (size_t)(c->batch * c->m * c->n) * dtype_bits(c->p.type ? c->p.type : DT_f32) / 8;
  void *first = malloc(bytes + 1), *again = malloc(bytes + 1);
  for (int i = 0; i < RUNS; i += c->two_runs ? RUNS - 1 : 1) {
    memset(i ? again : first, 0x5a, bytes);
    run(c, &u, ptx_find(m, symbol), i, i ? again : first, bytes);
    if (i && memcmp(first, again, bytes))
      fail_msg("%s: other bits in run %d", c->name, i);
  }
  compare(c, first);
  ptx_free(m);
  free(first), free(again);
  for (int i = 0; i < BUFFERS; i++)
    free(c->data[i]), c->data[i] = NULL;
}

/* --- matrices --- */

static Product matrices(int64_t batch, Dim m, int64_t n, int64_t k, uint8_t forms) {
  return (Product){.batch = num(batch), .m = m, .n = num(n), .k = num(k), .forms = forms};
}

static void test_tiles(void **state) {
  static const int64_t shape[][3] = {{64, 64, 16}, {70, 33, 17}, {16, 130, 40}, {1, 20, 9}, {33, 8, 8}, {130, 96, 24}};
  static const DType type[] = {DT_none, DT_f16, DT_bf16};
  (void)state;
  for (size_t i = 0; i < countof(shape); i++)
    for (int how = 0; how < 4; how++) {
      Case c = {
          "tiles",     matrices(2, num(shape[i][0]), shape[i][1], shape[i][2], FORM_TILES), 2, shape[i][0], shape[i][1],
          shape[i][2],
      };
      c.p.trans_a = how & 1, c.p.trans_b = how & 2, c.p.batch_a = !(how & 1), c.p.batch_b = how != 1;
      c.p.type = type[(i + (size_t)how) % 3];
      check(&c);
    }
  for (uint8_t tile = 1; tile <= 3; tile++)
    for (int how = 0; how < 4; how++) { /* every size of tile, whole ones and not, with loads of 16 bytes */
      Case c = {"a tile", matrices(1, num(132), 136, 20, FORM_TILES), 1, 132, 136, 20};
      c.p.cut.tile = tile, c.p.trans_a = how & 1, c.p.trans_b = how & 2;
      c.vectors = tile == 2 || (tile == 3 && how == 1); /* else a thread has fewer */
      check(&c);
    }
}

/* Every size of tile on tensor cores, whole ones and not, in both orders of both operands. */
static void test_tensor_tiles(void **state) {
  static const int64_t shape[][3] = {{132, 136, 72}, {130, 144, 33}, {16, 72, 64},
                                     {24, 40, 40},   {72, 16, 48},   {100, 24, 31}};
  static const DType type[] = {DT_f16, DT_bf16};
  (void)state;
  for (size_t i = 0; i < countof(shape); i++)
    for (int how = 0; how < 4; how++)
      for (uint8_t tile = 1; tile <= 3; tile++) {
        const int64_t *x = shape[i];
        Case c = {"a tile on tensor cores", matrices(1, num(x[0]), x[1], x[2], FORM_TILES), 1, x[0], x[1], x[2]};
        c.two_runs = i > 0, c.vectors = i == 2;
        c.p.cut.tile = tile, c.p.trans_a = how & 1, c.p.trans_b = how & 2, c.p.type = type[(i + tile) % 2];
        check(&c);
      }
}

static void test_symbols(void **state) {
  static const int64_t m[] = {0, 1, 5, 8, 9, 70};
  (void)state;
  for (size_t i = 0; i < countof(m); i++) {
    Case c = {"rows or tiles", matrices(1, sym("m"), 40, 36, FORM_ROWS | FORM_TILES), 1, m[i], 40, 36};
    c.p.trans_b = i % 2;
    check(&c);
  }
}

static void test_rows(void **state) {
  static const int64_t nk[][2] = {{64, 64}, {33, 300}, {1, 7}, {24, 1}, {130, 40}};
  static const DType type[] = {DT_none, DT_f16, DT_bf16};
  (void)state;
  for (int64_t m = 1; m <= PRODUCT_ROWS; m++)
    for (int how = 0; how < 2; how++) {
      const int64_t *x = nk[(m + how) % 5];
      Case c = {"rows", matrices(1, num(m), x[0], x[1], FORM_ROWS), 1, m, x[0], x[1]};
      c.p.trans_b = how, c.p.type = type[m % 3];
      check(&c);
    }
  for (int how = 0; how < 6; how++) { /* 16 bytes at a time */
    Case c = {"rows", matrices(1, num(1), 128, 96, FORM_ROWS), 1, 1, 128, 96, .vectors = true};
    c.p.trans_b = how % 2, c.p.type = type[how / 2];
    check(&c);
  }
  Case wide = {"columns of a warp", matrices(1, num(2), 8192, 8, FORM_ROWS), 1, 2, 8192, 8};
  wide.p.trans_b = true;
  check(&wide);
}

static void test_bits(void **state) {
  static const uint8_t bits[] = {2, 4, 8};
  (void)state;
  for (int i = 0; i < 3; i++)
    for (int z = PZ_NONE; z <= PZ_F32; z++) {
      int64_t m = 1 + 3 * z, block = 16 << i, k = z ? 4 * block : 3 * block - 5;
      Case c = {"few bits", matrices(1, num(m), 43, k, FORM_ROWS), 1, m, 43, k};
      c.p.bits = (ProductBits){.bits = bits[i], .zero = (uint8_t)z, .block = block};
      check(&c);
      c.p.m = num(c.m = 20), c.p.forms = FORM_TILES, c.name = "tiles of few bits";
      check(&c);
      c.p.m = sym("m"), c.p.forms = FORM_TILES | FORM_ROWS, c.m = 2, c.name = "few bits or tiles";
      check(&c);
    }
}

/* As MatMulNBits has them with A of 16 bits. */
static void test_bits_of_halves(void **state) {
  static const DType type[] = {DT_f16, DT_bf16};
  (void)state;
  for (int i = 0; i < 4; i++) {
    Case c = {"few bits by halves", matrices(1, sym("m"), 43, 100, FORM_ROWS | FORM_TILES), 1, 3, 43, 100};
    c.p.bits = (ProductBits){.bits = i % 2 ? 8 : 4, .zero = (uint8_t)(i % 2), .block = 32};
    c.p.type = type[i / 2], c.p.bits.scale = i % 2 ? type[i / 2] : DT_none;
    check(&c);
    c.m = 9;
    check(&c);
  }
}

/* What DequantizeLinear has: every type, one scale, one for each column, for each block; both orders of B. */
static void test_narrow(void **state) {
  static const DType type[] = {DT_i8, DT_u8, DT_i4, DT_u4, DT_i2, DT_u2, DT_f8e4m3fn, DT_f8e4m3fnuz, DT_f8e5m2};
  static const DType as[] = {DT_f32, DT_f16, DT_bf16};
  (void)state;
  for (size_t i = 0; i < countof(type); i++)
    for (int how = 0; how < 12; how++) {
      int64_t m = how == 3 ? 8 : 1 + (int64_t)(i + (size_t)how) % 4, block = how % 4 < 2 ? 0 : how % 4 == 2 ? 16 : 24;
      bool trans = how / 4 != 1;
      int64_t n = trans ? 19 : 40, k = trans ? 600 : 75, blocks = block ? (k - 1) / block + 1 : 0;
      Case c = {"narrow numbers", matrices(1, num(m), n, k, FORM_ROWS), 1, m, n, k};
      c.two_runs = true;
      if (how / 4 == 2)
        c.p.m = sym("m"), c.name = "narrow numbers, rows not known";
      c.p.trans_b = trans, c.p.type = how % 3 ? as[how % 3] : DT_none;
      c.p.narrow = (ProductNarrow){.type = type[i],
                                   .scale = as[how % 4 ? how % 3 : 0],
                                   .zero = dtype_is_int(type[i]) && how % 2,
                                   .block = block,
                                   .by_column = block ? (trans ? blocks : 1) : how % 4,
                                   .by_block = block ? (trans ? 1 : n) : 0};
      check(&c);
    }
}

/* --- windows --- */

static ProductWindow window(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad) {
  ProductWindow w = {.taps = 1};
  for (int i = 0; i < WINDOW_AXES; i++) {
    int64_t extent = in + i, out = (extent + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
    w.in[i] = num(extent), w.out[i] = num(out), w.begin[i] = num(pad);
    w.kernel[i] = kernel, w.stride[i] = stride, w.dilation[i] = dilation, w.taps *= kernel;
  }
  return w;
}

/* The axes in front are none. */
static void flatten(ProductWindow *w, int axes) {
  for (int i = 0; i < WINDOW_AXES - axes; i++) {
    w->in[i] = w->out[i] = num(1), w->begin[i] = num(0);
    w->taps /= w->kernel[i];
    w->kernel[i] = w->stride[i] = w->dilation[i] = 1;
  }
}

static int64_t positions(const ProductWindow *w) { return w->out[0]->value * w->out[1]->value * w->out[2]->value; }

static void test_windows(void **state) {
  static const int64_t how[][4] = {{3, 1, 1, 1}, {3, 2, 1, 0}, {2, 1, 2, 1}, {1, 2, 1, 0}};
  (void)state;
  for (int axes = 1; axes <= 3; axes++)
    for (size_t i = 0; i < countof(how); i++)
      for (int form = 0; form < 3; form++) { /* channels first; last; the first layer's planes */
        ProductWindow w = window(axes == 3 ? 4 : 7, how[i][0], how[i][1], how[i][2], how[i][3]);
        flatten(&w, axes);
        int64_t channels = form == 2 ? 3 : 4 + (int64_t)i, images = 2, out = 10;
        Case c = {"a window", {.forms = FORM_TILES, .k = num(channels * w.taps)}, .k = channels * w.taps};
        if (!form) {
          int64_t group = 1 + (int64_t)i % 2;
          c.p.window = &w, c.p.group = group, c.p.batch_b = true, c.p.batch_a = group > 1;
          c.p.m = num(c.m = out), c.p.n = num(c.n = positions(&w)), c.p.batch = num(c.batch = images * group);
        } else {
          c.p.rows = &w, c.p.trans_b = true, c.p.planes = form == 2, c.batch = 1, c.p.batch = num(1);
          c.p.m = num(c.m = images * positions(&w)), c.p.n = num(c.n = out);
        }
        check(&c);
        if (axes == 2) {
          c.p.type = i % 2 ? DT_bf16 : DT_f16, c.name = "a window on tensor cores", c.two_runs = true;
          check(&c);
        }
      }
}

/* Constant weights whose channels lie side by side in each tap: all is read in 16 bytes where channels and the tile's size allow it. */
static void test_weights(void **state) {
  static const struct {
    DType type, bytes;
    int64_t channels, out;
    uint8_t tile;
    bool vectors, several;
  } how[] = {{DT_f16, 0, 16, 40, 0, false, true},     {DT_bf16, 0, 32, 72, 2, true, true},
             {DT_f16, 0, 8, 132, 3, true, true},      {DT_bf16, 0, 64, 130, 3, true, true},
             {DT_f16, 0, 12, 40, 2, false, true},     {DT_f16, 0, 5, 16, 1, false, false},
             {DT_none, 0, 8, 70, 3, true, true},      {DT_none, 0, 5, 20, 0, false, false},
             {DT_none, DT_u8, 16, 70, 2, true, true}, {DT_none, DT_i8, 5, 18, 0, false, false}};
  (void)state;
  for (size_t i = 0; i < countof(how); i++) {
    ProductWindow w = window(7, 3, 1 + (int64_t)i % 2, 1, 1);
    flatten(&w, 2);
    Case c = {"a constant weight", {.forms = FORM_TILES, .k = num(how[i].channels * 9)}, .k = how[i].channels * 9};
    c.p.rows = &w, c.p.trans_b = c.p.packed_b = true, c.batch = 1, c.p.batch = num(1);
    c.p.type = how[i].type, c.p.bytes = how[i].bytes, c.p.cut.tile = how[i].tile;
    c.p.m = num(c.m = 2 * positions(&w)), c.p.n = num(c.n = how[i].out);
    c.vectors = how[i].vectors, c.several = how[i].several;
    check(&c);
  }
}

static void test_weight_order(void **state) {
  (void)state;
  enum { ROWS = 3, CHANNELS = 5, TAPS = 9, K = CHANNELS * TAPS };
  ProductWindow w = window(7, 3, 1, 1, 1);
  flatten(&w, 2);
  Product p = {.rows = &w, .type = DT_f16};
  uint16_t src[ROWS * K], dst[ROWS * K];
  for (int i = 0; i < ROWS * K; i++)
    src[i] = (uint16_t)i, dst[i] = 0xffff;
  assert_true(gpu_weight_reordered(&p));
  gpu_weight_pack(&p, K, (uint8_t *)src, (uint8_t *)dst, 1, 3);
  assert_int_equal(dst[K - 1], 0xffff);
  for (int row = 1; row < ROWS; row++)
    for (int c = 0; c < CHANNELS; c++)
      for (int t = 0; t < TAPS; t++)
        assert_int_equal(dst[(row * TAPS + t) * CHANNELS + c], (row * CHANNELS + c) * TAPS + t);
}

/* B in both orders, of rows that are whole words and others that are not. */
static void test_integers(void **state) {
  static const int64_t shape[][3] = {{37, 21, 50}, {132, 136, 144}, {20, 64, 32}, {70, 16, 68}};
  (void)state;
  for (size_t i = 0; i < countof(shape); i++)
    for (int how = 0; how < 6; how++) {
      const int64_t *x = shape[i];
      Case c = {"integers", matrices(1, num(x[0]), x[1], x[2], FORM_TILES), 1, x[0], x[1], x[2]};
      c.p.bytes = how & 1 ? DT_u8 : DT_i8, c.p.trans_b = how / 2 == 1,
      c.p.cut.tile = (uint8_t)(i == 1 ? 1 + how / 2 : 0);
      c.p.trans_a = how / 2 == 2, c.p.zero = how / 2 ? how & 1 ? 100 : -3 : 0;
      check(&c);
    }
  for (int how = 0; how < 4; how++) {
    Case c = {"integers of a window", matrices(1, num(37), 21, 50, FORM_TILES), 1, 37, 21, 50};
    ProductWindow w = window(7, 3, 1, 1, 1);
    c.p.bytes = how & 1 ? DT_u8 : DT_i8;
    if (how & 2) {
      flatten(&w, 2);
      c.p.rows = &w, c.p.trans_b = true, c.p.zero = how & 1 ? 100 : -3;
      c.p.m = num(c.m = positions(&w)), c.p.k = num(c.k = 5 * w.taps);
    }
    check(&c);
  }
}

/* --- epilogues --- */

static double more(const Case *c, int i, int64_t at) {
  return elem_f64(c->p.type ? c->p.type : DT_f32, c->data[2 + i], at);
}
static double bias_relu(const Case *c, double sum, int64_t b, int64_t i, int64_t j) {
  (void)b, (void)i;
  return fmax(sum + more(c, 0, j), 0);
}
static double residual(const Case *c, double sum, int64_t b, int64_t i, int64_t j) {
  return sum + more(c, 0, i) + more(c, 1, (b * c->m + i) * c->n + j);
}

static void test_epilogues(void **state) {
  (void)state;
  for (int form = 0; form < 3; form++) {
    static const uint8_t forms[] = {FORM_TILES, FORM_ROWS, FORM_ROWS | FORM_TILES};
    Case c = {"bias and relu",
              matrices(1, form == 2 ? sym("m") : num(7), 40, 30, forms[form]),
              1,
              7,
              40,
              30,
              "kernel \"e\" (acc: f32[m, 40], bias: f32[40]) -> (y: f32[m, 40]) {\n"
              "  for i in m {\n    for j in 40 {\n"
              "      y[i, j] = max((acc[i, j] + bias[j]), 0.0)\n"
              "    }\n  }\n}\n",
              1,
              {40},
              bias_relu};
    if (form < 2)
      c.after = "kernel \"e\" (acc: f32[7, 40], bias: f32[40]) -> (y: f32[7, 40]) {\n"
                "  for i in 7 {\n    for j in 40 {\n"
                "      y[i, j] = max((acc[i, j] + bias[j]), 0.0)\n"
                "    }\n  }\n}\n";
    check(&c);
  }
  Case c = {"a bias of rows and a residual",
            matrices(3, num(18), 20, 12, FORM_TILES),
            3,
            18,
            20,
            12,
            "kernel \"e\" (acc: f32[3, 18, 20], bias: f32[18], r: f32[3, 18, 20]) -> (y: f32[3, 18, 20]) {\n"
            "  for b in 3 {\n    for i in 18 {\n      for j in 20 {\n"
            "        y[b, i, j] = ((acc[b, i, j] + bias[i]) + r[b, i, j])\n"
            "      }\n    }\n  }\n}\n",
            2,
            {18, 3 * 18 * 20},
            residual};
  c.p.batch_b = true;
  check(&c);
}

static int open_all(void **state) {
  (void)state;
  alloc_init_system(&alloc);
  ctx_open(&ctx, &alloc);
  arena = arena_create(&ctx);
  return 0;
}

static int close_all(void **state) {
  (void)state;
  printf("%d products compiled for %zu targets; ", compiled, countof(targets));
  if (ptxas_path())
    printf("%d registers at most, nothing spilled\n", most_registers);
  else
    printf("no ptxas here\n");
  ctx_close(&ctx);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tiles),        cmocka_unit_test(test_tensor_tiles), cmocka_unit_test(test_symbols),
      cmocka_unit_test(test_rows),         cmocka_unit_test(test_bits),         cmocka_unit_test(test_bits_of_halves),
      cmocka_unit_test(test_narrow),       cmocka_unit_test(test_windows),      cmocka_unit_test(test_weights),
      cmocka_unit_test(test_weight_order), cmocka_unit_test(test_integers),     cmocka_unit_test(test_epilogues)};
  if (!backend_present())
    return 0;
  return cmocka_run_group_tests(tests, open_all, close_all);
}
