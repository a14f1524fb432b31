/* test_kernel.c - every kernel text of this folder, compiled for each CPU level that runs here, against the evaluator, for all
 * the bindings the text lists (texts.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include "codegen/backend.h"
#include "codegen/schedule.h"
#include "runtime/object.h"
#include "support/cpu.h"

#include <cmocka.h>

#include "tests/kernel/texts.h"

#include <elf.h>

/* --- one kernel --- */

static int call(Ctx *c, KernelFn fn, const Unit *u, Tensor *const *t, Binding *bind, int64_t *number) {
  const Dim *dim;
  uint32_t ndim;
  Arena *a = arena_create(c);
  unit_signature(a, u, &dim, &ndim);
  int64_t *v = arena_array(a, int64_t, ndim), parts, scratch = 0;
  void **buf = arena_array(a, void *, u->kernel->nio);
  for (uint32_t i = 0; i < ndim; i++)
    assert_true(dim_eval(dim[i], value_of, bind, &v[i]));
  for (uint32_t i = 0; i < u->kernel->nio; i++)
    buf[i] = t[i]->data;
  assert_true(dim_eval(u->parts, value_of, bind, &parts) && dim_eval(u->scratch, value_of, bind, &scratch));
  void *temp = arena_get(a, (size_t)scratch, 1, TEMP_ALIGN);
  memset(temp, 0xff, (size_t)scratch);
  int cancel = 0, rc = 0;
  int64_t middle = parts / 3;
  for (int half = 0; half < 2 && !rc; half++) {
    KernelArgs args = {.buf = buf,
                       .dim = v,
                       .begin = half ? middle : 0,
                       .end = half ? parts : middle,
                       .scratch = temp,
                       .cancel = &cancel,
                       .number = number};
    rc = fn(&args);
  }
  arena_destroy(a);
  return rc;
}

/* k: the kernel as written; u: as scheduled and compiled. */
static void compare(Ctx *c, const char *text, const char *level, const Kernel *k, const Unit *u, KernelFn fn,
                    Binding *bind) {
  Arena *a = arena_create(c);
  Tensor *want[32], *got[32];
  double tol = 1e-6;
  const char *t = strstr(text, "# tol ");
  if (t)
    tol = atof(t + 6);
  buffers(c, a, text, k, bind, want);
  for (uint32_t i = 0; i < k->nio; i++) {
    assert_int_equal(tensor_new(c, a, want[i]->dtype, want[i]->rank, want[i]->dim, &got[i]), ST_OK);
    if (i < k->nin && tensor_bytes(want[i]))
      memcpy(got[i]->data, want[i]->data, tensor_bytes(want[i]));
  }
  int64_t number = -999;
  Status st = kernel_eval(c, k, want, value_of, bind);
  int rc = call(c, fn, u, got, bind, &number);
  if (st || rc) {
    char says[64];
    double f;
    const KStmt *check[16];
    assert_true(kernel_checks(k, NULL) <= countof(check) && rc >= 2 && (uint32_t)rc - 2 < kernel_checks(k, check));
    memcpy(&f, &number, sizeof f);
    if (check[rc - 2]->number->dtype == DT_f64)
      snprintf(says, sizeof says, "failed for %.9g", f);
    else
      snprintf(says, sizeof says, "failed for %lld", (long long)number);
    if (!strstr(c->err.message, says))
      fail_msg("%s, %s: evaluator %d (%s), code %d with %lld", k->name, level, st, st ? c->err.message : "", rc,
               (long long)number);
    arena_destroy(a);
    return;
  }
  for (uint32_t i = k->nin; i < k->nio; i++) {
    double least = least_scale(text, k, k->buf[i], want);
    for (int64_t j = 0; j < tensor_count(want[i]); j++)
      if (!same(want[i]->dtype, got[i]->data, want[i]->data, j, tol, least))
        fail_msg("%s, %s, n0=%lld: %s[%lld] is %.9g, must be %.9g", k->name, level,
                 (long long)(bind->n ? bind->value[bind->n - 1] : 0), k->buf[i]->name, (long long)j,
                 elem_f64(want[i]->dtype, got[i]->data, j), elem_f64(want[i]->dtype, want[i]->data, j));
  }
  arena_destroy(a);
}

/* The code must refer to nothing outside of itself. */
static void no_imports(const EmitObject *o) {
  const Elf64_Ehdr *h = (const void *)o->bytes;
  const Elf64_Shdr *s = (const void *)(o->bytes + h->e_shoff);
  for (int i = 0; i < h->e_shnum; i++)
    if (s[i].sh_type == SHT_SYMTAB)
      for (size_t k = 1; k < s[i].sh_size / sizeof(Elf64_Sym); k++) {
        const Elf64_Sym *y = (const Elf64_Sym *)(o->bytes + s[i].sh_offset) + k;
        if (y->st_shndx == SHN_UNDEF)
          fail_msg("imports %s", o->bytes + s[s[i].sh_link].sh_offset + y->st_name);
      }
}

static void one_level(Ctx *c, const char *text, const Kernel *oracle, Kernel *k, const char *level) {
  Arena *a = arena_create(c);
  Unit u = {.kind = UNIT_LOOP, .name = k->name, .kernel = k};
  const Unit *unit = &u;
  EmitTarget target = {.cpu_level = level, .keep_ir = getenv("ONLY")};
  BackendResult r;
  RtCode *code;
  assert_null(kernel_unsupported(k));
  unit_schedule(c, &u, level);
  if (kernel_verify(c, k) || backend_compile(c, a, &unit, 1, &target, 1, 1, &r))
    fail_msg("%s, %s: %s", k->name, level, c->err.message);
  if (getenv("VERBOSE") && r.object[0].ir)
    printf("%s\n", r.object[0].ir);
  no_imports(&r.object[0]);
  if (object_load(c, a, r.object[0].bytes, r.object[0].size, &code))
    fail_msg("%s, %s: %s", k->name, level, c->err.message);
  KernelFn fn = object_symbol(code, r.code[0].symbol);
  assert_non_null(fn);
  Binding b;
  for (const char *p = text; next_binding(&p, &b);)
    compare(c, text, level, oracle, &u, fn, &b);
  object_unload(code);
  arena_destroy(a);
}

static void make_serial(KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && s->loop != KL_ORDERED)
      s->loop = KL_SERIAL, s->width = 0;
    make_serial(s->body);
  }
}

/* As the text schedules it, and as unit_schedule does. */
static void one_file(Ctx *c, const char *path) {
  static const char *const levels[] = {"x86-64", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni-bf16"};
  static char text[1 << 16];
  Arena *a = arena_create(c);
  StrBuf printed, twice;
  assert_true(read_text(path, text, sizeof text));
  Kernel *k = parse(c, a, text, path);
  buf_init(&printed, a), buf_init(&twice, a);
  kernel_print(&printed, k);
  kernel_print(&twice, parse(c, a, printed.text, "as printed"));
  assert_string_equal(printed.text, twice.text);
  for (size_t i = 0; i < countof(levels); i++) {
    if (!cpu_runs(levels[i]))
      continue;
    one_level(c, text, k, parse(c, a, printed.text, path), levels[i]);
    Kernel *serial = parse(c, a, printed.text, path);
    make_serial(serial->body);
    one_level(c, text, k, serial, levels[i]);
  }
  arena_destroy(a);
}

static void all_texts(void **unused) {
  (void)unused;
  static Ctx c;
  Alloc alloc;
  if (!backend_present())
    skip();
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  each_text(&c, one_file);
  ctx_close(&c);
}

/* --- several units, partitions, cancelling, working in place --- */

static const char *const two_texts[] = {
    "kernel \"scale\" (x: f32[n]) -> (y: f32[n]) { for i in n { y[i] = ((x[i] * 3.0) + 1.0) } }",
    ("kernel \"rows\" (x: f32[m, n]) -> (y: f32[m]) { for i in m { acc s: f32 = 0.0 for j in n { s += x[i, j] } y[i] = "
     "s } }"),
    "kernel \"exp\" (x: f32[n]) -> (y: f32[n]) { for i in n { y[i] = exp(x[i]) } }"};

static void units(void **unused) {
  (void)unused;
  static Ctx c;
  static float x[20000], y[20000], z[20000];
  Alloc alloc;
  Unit u[3];
  const Unit *unit[3] = {&u[0], &u[1], &u[2]};
  BackendResult r;
  RtCode *code[2];
  KernelFn fn[3];
  if (!backend_present())
    skip();
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  Arena *a = arena_create(&c);
  const char *level = cpu_level();
  for (int i = 0; i < 3; i++) {
    u[i] = (Unit){.kind = UNIT_LOOP, .name = "two of one name", .kernel = parse(&c, a, two_texts[i], "text")};
    unit_schedule(&c, &u[i], level);
  }
  assert_int_equal(backend_compile(&c, a, unit, 3, &(EmitTarget){.cpu_level = level}, 2, 2, &r), ST_OK);
  assert_int_equal(r.nobject, 2);
  for (uint32_t i = 0; i < 2; i++)
    assert_int_equal(object_load(&c, a, r.object[i].bytes, r.object[i].size, &code[i]), ST_OK);
  for (int i = 0; i < 3; i++)
    assert_non_null(fn[i] = object_symbol(code[r.code[i].object], r.code[i].symbol));
  for (size_t i = 0; i < countof(x); i++)
    x[i] = (float)random_float(true);
  /* the same bits for every partition; 20000 iterations are 5 parts */
  assert_int_equal(fn[2](&(KernelArgs){.buf = (void *[]){x, y}, .dim = &(int64_t){20000}, .end = 5}), 0);
  for (int p = 5; p-- > 0;)
    assert_int_equal(fn[2](&(KernelArgs){.buf = (void *[]){x, z}, .dim = &(int64_t){20000}, .begin = p, .end = p + 1}),
                     0);
  assert_memory_equal(y, z, sizeof y);
  /* in place */
  memcpy(z, x, sizeof z);
  assert_int_equal(fn[2](&(KernelArgs){.buf = (void *[]){z, z}, .dim = &(int64_t){20000}, .end = 5}), 0);
  assert_memory_equal(y, z, sizeof y);
  /* the flag stops at the next part, and nothing is written */
  memset(z, 0, sizeof z);
  assert_int_equal(
      fn[0](&(KernelArgs){.buf = (void *[]){x, z}, .dim = &(int64_t){20000}, .end = 5, .cancel = &(int){1}}), 1);
  assert_true(z[0] == 0);
  assert_int_equal(
      fn[0](&(KernelArgs){.buf = (void *[]){x, z}, .dim = &(int64_t){20000}, .end = 5, .cancel = &(int){0}}), 0);
  assert_true(z[7] == x[7] * 3 + 1 && z[19999] == x[19999] * 3 + 1);
  /* the row sum's dims are m and n, in the order of its signature */
  assert_int_equal(fn[1](&(KernelArgs){.buf = (void *[]){x, z}, .dim = (int64_t[]){2, 3}, .end = 2}), 0);
  assert_true(fabsf(z[1] - (x[3] + x[4] + x[5])) < 1e-5f);
  object_unload(code[0]), object_unload(code[1]);
  ctx_close(&c);
}

enum { PAST_M = 2064, PAST_N = 2048 };

/* y + shift: x, m x PAST_N, transposed by the kernel of that text. */
static void transpose_past(Ctx *c, const char *text, int64_t m, int shift, const float *x, float *y) {
  Arena *a = arena_create(c);
  BackendResult r;
  RtCode *code;
  Unit u = {.kind = UNIT_LOOP, .name = "transpose", .kernel = parse(c, a, text, "text")};
  const Unit *unit = &u;
  Binding bind = {.n = 2, .name = {"m", "n"}, .value = {m, PAST_N}};
  int64_t dim[8] = {0}, parts;
  const Dim *d;
  uint32_t n;
  unit_schedule(c, &u, cpu_level());
  assert_int_equal(backend_compile(c, a, &unit, 1, &(EmitTarget){.cpu_level = cpu_level()}, 1, 1, &r), ST_OK);
  assert_int_equal(object_load(c, a, r.object[0].bytes, r.object[0].size, &code), ST_OK);
  KernelFn fn = object_symbol(code, r.code[0].symbol);
  unit_signature(a, &u, &d, &n);
  for (uint32_t i = 0; i < n && i < countof(dim); i++)
    assert_true(dim_eval(d[i], value_of, &bind, &dim[i]));
  assert_true(dim_eval(u.parts, value_of, &bind, &parts));
  assert_int_equal(fn(&(KernelArgs){.buf = (void *[]){(void *)(uintptr_t)x, y + shift}, .dim = dim, .end = parts}), 0);
  for (int64_t i = 0; i < PAST_N * m; i++)
    if (y[shift + i] != x[i % m * PAST_N + i / m])
      fail_msg("element %lld of %lld", (long long)i, (long long)(PAST_N * m));
  object_unload(code);
  arena_destroy(a);
}

/* Rows that are stored past the caches, and again by others, some of them twice: the last ones stay. */
static void scatter_past(Ctx *c, const float *x, float *y) {
  enum { ROWS = 4064, ROW = 1040, MANY = 64 };
  static const char text[] =
      "kernel \"s\" (x: f32[4064, 1040], t: i64[64], u: f32[64, 1040]) -> (y: f32[4064, 1040]) { for p in 4 parallel { "
      "for r in 1016 { for j in 1040 vector(16) { y[((p * 1016) + r), j] = x[((p * 1016) + r), j] } } "
      "for k in 64 ordered { let at: i64 = (t[k] - (p * 1016)) if ((0 <= at) & (at < 1016)) { "
      "for j in 1040 vector(16) { y[((p * 1016) + at), j] = u[k, j] } } } } }";
  static _Alignas(64) float u[MANY * ROW];
  static const float *row[ROWS];
  int64_t t[MANY];
  Arena *a = arena_create(c);
  BackendResult r;
  RtCode *code;
  Unit unit = {.kind = UNIT_LOOP, .name = "scatter", .kernel = parse(c, a, text, "text")};
  const Unit *units = &unit;
  unit_schedule(c, &unit, cpu_level());
  assert_int_equal(backend_compile(c, a, &units, 1, &(EmitTarget){.cpu_level = cpu_level()}, 1, 1, &r), ST_OK);
  assert_int_equal(object_load(c, a, r.object[0].bytes, r.object[0].size, &code), ST_OK);
  KernelFn fn = object_symbol(code, r.code[0].symbol);
  for (int i = 0; i < ROWS; i++)
    row[i] = x + (size_t)i * ROW;
  for (int i = 0; i < MANY * ROW; i++)
    u[i] = (float)-i;
  for (int k = 0; k < MANY; k++)
    t[k] = k * 7 % 24 * 176, row[t[k]] = u + k * ROW;
  assert_int_equal(fn(&(KernelArgs){.buf = (void *[]){(void *)(uintptr_t)x, t, u, y}, .end = 4}), 0);
  for (int i = 0; i < ROWS; i++)
    assert_memory_equal(y + (size_t)i * ROW, row[i], ROW * sizeof *y);
  object_unload(code);
  arena_destroy(a);
}

/* An output larger than the caches: aligned rows, and rows of which hardly one is; extents that are known, and that are not. */
static void past_the_caches(void **unused) {
  (void)unused;
  static Ctx c;
  static _Alignas(64) float x[PAST_M * PAST_N], y[PAST_M * PAST_N + 16];
  static const char *const known[] = {"kernel \"t\" (x: f32[2064, 2048]) -> (y: f32[2048, 2064]) { for i in 2048 { for "
                                      "j in 2064 { y[i, j] = x[j, i] } } }",
                                      "kernel \"t\" (x: f32[2063, 2048]) -> (y: f32[2048, 2063]) { for i in 2048 { for "
                                      "j in 2063 { y[i, j] = x[j, i] } } }"};
  Alloc alloc;
  if (!backend_present())
    skip();
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  for (int i = 0; i < PAST_M * PAST_N; i++)
    x[i] = (float)i;
  for (int shift = 0; shift < 2; shift++) {
    memset(y, 0xff, sizeof y);
    transpose_past(&c,
                   "kernel \"t\" (x: f32[m, n]) -> (y: f32[n, m]) { for i in n { for j in m { y[i, j] = x[j, i] } } }",
                   PAST_M - shift, shift, x, y);
    memset(y, 0xff, sizeof y);
    transpose_past(&c, known[shift], PAST_M - shift, shift, x, y);
  }
  scatter_past(&c, x, y);
  ctx_close(&c);
}

/* What cannot be compiled says so, with its name, and leaves nothing behind. */
static void refusals(void **unused) {
  (void)unused;
  static const struct {
    const char *text, *why;
  } cases[] = {{"kernel \"k\" (x: c64[n]) -> (y: c64[n]) { for i in n { y[i] = (x[i] + x[i]) } }", "complex numbers"},
               {"kernel \"k\" (x: i8[n]) -> (y: i8[n]) { for i in n { y[i] = erf(x[i]) } }", "a function of integers"},
               {"kernel \"k\" (x: f32[n]) -> (y: f32[n]) { for i in n { y[i] = (x[i] << x[i]) } }", "<<"},
               {"kernel \"k\" (x: f32[n]) -> (y: f32[n]) { for i in n grid { y[i] = x[i] } }", "a GPU schedule"},
               {"kernel \"k\" (x: f32[n]) -> (y: f32[n]) { for i in n vector(12) { y[i] = x[i] } }", "no power of two"},
               {"kernel \"k\" (x: f32[n]) -> (y: f32[n], z: f32[]) { z[] = 1.0 for i in n parallel { y[i] = x[i] } }",
                "beside a parallel"}};
  static Ctx c;
  Alloc alloc;
  if (!backend_present())
    skip();
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  for (size_t i = 0; i < countof(cases); i++) {
    Arena *a = arena_create(&c);
    Unit u = {.kind = UNIT_LOOP, .name = "k", .kernel = parse(&c, a, cases[i].text, "text")};
    const Unit *unit = &u;
    BackendResult r;
    assert_int_equal(kernel_unsupported(u.kernel) != NULL, i < 3); /* the others are schedules */
    assert_int_equal(backend_compile(&c, a, &unit, 1, &(EmitTarget){.cpu_level = "x86-64"}, 1, 1, &r), ST_UNSUPPORTED);
    if (!strstr(c.err.message, cases[i].why))
      fail_msg("'%s' instead of '%s'", c.err.message, cases[i].why);
    arena_destroy(a);
  }
  Arena *a = arena_create(&c);
  const Unit *none = NULL;
  BackendResult r;
  assert_int_equal(backend_compile(&c, a, &none, 0, &(EmitTarget){.cpu_level = "x86-64"}, 4, 4, &r), ST_OK);
  assert_int_equal(r.nobject, 0);
  ctx_close(&c);
  assert_int_equal(alloc.used, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(all_texts), cmocka_unit_test(units),
                                     cmocka_unit_test(past_the_caches), cmocka_unit_test(refusals)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
