/* test_schedule.c - kernels with the GPU's schedule through the emitter of CPUs: the loops over blocks and threads become loops, so
 * that machine code of this CPU walks the elements in the order that a GPU's threads do. Each kernel text of tests/kernel and every loop
 * kernel of all exports of all fixtures, as it is compiled for the device cuda, against the evaluator. Nothing of PTX is in it: what is
 * wrong here is wrong in the schedule (codegen/gpu.c) or in what both emitters share (codegen/llvm/kernel.c, expr.c).
 *
 * The code generator is replaced while fixtures are loaded (by the linker's --wrap): it notes the kernels and compiles nothing.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "codegen/backend.h"
#include "codegen/gpu.h"
#include "codegen/schedule.h"
#include "runtime/object.h"
#include "sard.h"
#include "support/checked.h"
#include "support/cpu.h"

#include <cmocka.h>
#include <glob.h>
#include <libgen.h>
#include <unistd.h>

#include "tests/kernel/texts.h"

enum { KERNELS = 4096, PIECES = 3, MOST_ELEMENTS = 1 << 17 };

/* Threads of a block, and the order in which they come. */
static const struct Threads {
  int n;
  bool backwards;
} orders[] = {{32, false}, {3, true}};

/* --- the loops of a GPU as loops of a CPU --- */

static KExpr *number(Kernel *k, int64_t v) { return ke_int(k, DT_i64, v); }

/* for j in n block(w) { body }  ->
 * for thread in T { for turn in n/(T*w) { let first = (turn*T + thread)*w: for lane in w vector(w) { let j = first + lane: body } } } */
static void threads_as_loop(Ctx *c, Kernel *k, KStmt *f, struct Threads t) {
  int w = f->width > 1 ? f->width : 1;
  KStmt *rest = f->body;
  KVar *var = f->var;
  Dim turns = dim_ceildiv(c, f->extent, dim_const(c, (int64_t)t.n * w));
  KExpr *n = ke_dim(k, f->extent);
  if (f->value)
    n = ke_binary(k, KOP_min, n, f->value);
  KCursor at = {k, &f->body};
  f->var = arena_new(k->arena, KVar);
  *f->var = (KVar){.name = "thread", .dtype = DT_i64, .id = k->next_id++, .def = f};
  f->loop = KL_SERIAL, f->width = 0, f->extent = dim_const(c, t.n), f->value = NULL;
  KExpr *thread = ke_var(k, f->var);
  if (t.backwards)
    thread = ke_binary(k, KOP_sub, number(k, t.n - 1), thread);
  KStmt *turn = ks_for(&at, "turn", turns, &at);
  KExpr *place = ke_binary(k, KOP_add, ke_binary(k, KOP_mul, ke_var(k, turn->var), number(k, t.n)), thread);
  KVar *first = ks_let(&at, "first", ke_binary(k, KOP_mul, place, number(k, w)));
  KExpr *left = ke_binary(k, KOP_sub, n, ke_var(k, first));
  KStmt *lane = ks_for(&at, "lane", dim_const(c, w), &at);
  lane->value = ke_binary(k, KOP_max, left, number(k, 0));
  if (w > 1)
    lane->loop = KL_VECTOR, lane->width = (uint16_t)w;
  KVar *made = ks_let(&at, var->name, ke_binary(k, KOP_add, ke_var(k, first), ke_var(k, lane->var)));
  made->def->var = var, var->def = made->def;
  *at.at = rest;
}

/* The grid's loop is cut into parts, unless it is one of several side by side. */
static void for_cpu(Ctx *c, Kernel *k, KStmt *s, bool parts, struct Threads t) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && s->loop == KL_GRID)
      s->loop = parts ? KL_PARALLEL : KL_SERIAL, s->width = 0;
    for_cpu(c, k, s->body, parts, t);
    if (s->kind == KS_FOR && s->loop == KL_BLOCK)
      threads_as_loop(c, k, s, t);
  }
}

static int gpu_loops(const KStmt *s) {
  int n = 0;
  for (; s; s = s->next)
    n += (s->kind == KS_FOR && (s->loop == KL_GRID || s->loop == KL_BLOCK)) + gpu_loops(s->body);
  return n;
}

/* --- running --- */

typedef struct Code {
  const Unit *u;
  KernelFn fn;
} Code;

/* All parts in some calls, the last ones first. The code of the error, or 0. */
static int call(Ctx *c, const Code *x, Tensor *const *t, bool (*get)(void *, Dim, int64_t *), void *arg) {
  const Dim *dim;
  uint32_t ndim;
  Arena *a = arena_create(c);
  unit_signature(a, x->u, &dim, &ndim);
  int64_t *v = arena_array(a, int64_t, ndim), parts = 0, scratch = 0, offending = 0;
  void **buf = arena_array(a, void *, x->u->kernel->nio);
  for (uint32_t i = 0; i < ndim; i++)
    assert_true(dim_eval(dim[i], get, arg, &v[i]));
  for (uint32_t i = 0; i < x->u->kernel->nio; i++)
    buf[i] = t[i]->data;
  assert_true(dim_eval(x->u->parts, get, arg, &parts) && dim_eval(x->u->scratch, get, arg, &scratch));
  void *temp = arena_get(a, (size_t)scratch, 1, TEMP_ALIGN);
  memset(temp, 0xff, (size_t)scratch);
  int rc = 0;
  for (int i = PIECES; i-- > 0 && !rc;)
    rc = x->fn(&(KernelArgs){.buf = buf,
                             .dim = v,
                             .begin = parts * i / PIECES,
                             .end = parts * (i + 1) / PIECES,
                             .scratch = temp,
                             .number = &offending});
  arena_destroy(a);
  return rc;
}

static void equal(const char *text, const Kernel *k, const KBuf *b, Tensor *const *got, Tensor *const *want, double tol,
                  double least) {
  const Tensor *g = got[b->index], *w = want[b->index];
  for (int64_t j = 0; j < tensor_count(w); j++)
    if (!same(w->dtype, g->data, w->data, j, tol, least))
      fail_msg("%s: %s[%lld] is %.9g, must be %.9g\n%s", k->name, b->name, (long long)j, elem_f64(w->dtype, g->data, j),
               elem_f64(w->dtype, w->data, j), text);
}

static void outputs_like(Ctx *c, Arena *a, const Kernel *k, Tensor *const *want, Tensor **got) {
  for (uint32_t i = 0; i < k->nio; i++) {
    assert_int_equal(tensor_new(c, a, want[i]->dtype, want[i]->rank, want[i]->dim, &got[i]), ST_OK);
    if (tensor_bytes(want[i]))
      memcpy(got[i]->data, want[i]->data, tensor_bytes(want[i]));
    if (i >= k->nin)
      memset(got[i]->data, 0x5a, tensor_bytes(got[i]));
  }
}

static RtCode *compile(Ctx *c, Arena *a, Unit *u, Code *x) {
  BackendResult r;
  RtCode *code = NULL;
  const Unit *unit = u;
  EmitTarget target = {.cpu_level = cpu_level()};
  if (kernel_verify(c, u->kernel) || backend_compile(c, a, &unit, 1, &target, 1, 1, &r) ||
      object_load(c, a, r.object[0].bytes, r.object[0].size, &code))
    fail_msg("%s: %s", u->name, c->err.message);
  *x = (Code){u, object_symbol(code, r.code[0].symbol)};
  assert_non_null(x->fn);
  return code;
}

/* --- kernel texts --- */

static void make_serial(KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && s->loop != KL_ORDERED)
      s->loop = KL_SERIAL, s->width = 0;
    make_serial(s->body);
  }
}

static void one_binding(Ctx *c, const char *text, const Kernel *k, const Code *x, Binding *bind) {
  Arena *a = arena_create(c);
  Tensor *want[32], *got[32];
  const char *tol = strstr(text, "# tol ");
  buffers(c, a, text, k, bind, want);
  outputs_like(c, a, k, want, got);
  Status st = kernel_eval(c, k, want, value_of, bind);
  int rc = call(c, x, got, value_of, bind);
  if ((st != 0) != (rc != 0))
    fail_msg("%s: evaluator %d (%s), code %d", k->name, st, st ? c->err.message : "", rc);
  for (uint32_t i = k->nin; i < k->nio && !st; i++)
    equal(text, k, k->buf[i], got, want, tol ? atof(tol + 6) : 1e-6, least_scale(text, k, k->buf[i], want));
  arena_destroy(a);
}

static void one_file(Ctx *c, const char *path) {
  static char text[1 << 16];
  assert_true(read_text(path, text, sizeof text));
  for (size_t i = 0; i < countof(orders); i++) {
    Arena *a = arena_create(c);
    Kernel *k = parse(c, a, text, path);
    Unit u = {.kind = UNIT_LOOP, .name = k->name, .kernel = k};
    Code x;
    Binding b;
    make_serial(k->body);
    gpu_schedule(c, &u);
    bool parts = schedule_only_loop(k->body) != NULL;
    for_cpu(c, k, k->body, parts, orders[i]);
    unit_count(c, &u);
    RtCode *code = compile(c, a, &u, &x);
    for (const char *p = text; next_binding(&p, &b);)
      one_binding(c, text, parse(c, a, text, path), &x, &b);
    object_unload(code);
    arena_destroy(a);
  }
}

static void texts(void **unused) {
  (void)unused;
  static Ctx c;
  Alloc alloc;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  each_text(&c, one_file);
  ctx_close(&c);
}

/* --- the kernels of fixtures --- */

static char *noted[KERNELS];
static int nnoted;
static bool noting;

/* Names are for readers; texts that are parsed need one for each thing. */
static const char *named(Kernel *k, char kind, uint32_t id) {
  char name[16];
  snprintf(name, sizeof name, "%c%u", kind, id);
  return arena_strdup(k->arena, name);
}

static void name_variables(Kernel *k, KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR || s->kind == KS_LET || s->kind == KS_ACC)
      s->var->name = named(k, 'v', s->var->id);
    name_variables(k, s->body);
  }
}

/* The kernel is its owner's no more: nothing comes of the load. */
static void note(Kernel *k, Arena *a) {
  StrBuf b;
  buf_init(&b, a);
  name_variables(k, k->body);
  for (uint32_t i = 0; i < k->nbuf; i++)
    k->buf[i]->name = named(k, 'b', i);
  kernel_print(&b, k);
  for (int i = 0; i < nnoted; i++)
    if (!strcmp(noted[i], b.text))
      return;
  assert_true(nnoted < KERNELS);
  noted[nnoted++] = strdup(b.text);
}

__typeof__(backend_compile) __real_backend_compile, __wrap_backend_compile;
Status __wrap_backend_compile(Ctx *c, Arena *a, const Unit *const *unit, uint32_t n, const EmitTarget *target,
                              unsigned threads, unsigned objects, BackendResult *out) {
  if (!noting)
    return __real_backend_compile(c, a, unit, n, target, threads, objects, out);
  assert_true(gpu_level(target->cpu_level));
  for (uint32_t i = 0; i < n; i++)
    if (unit[i]->kind == UNIT_LOOP)
      note(unit[i]->kernel, a);
  return (fail)(c, ST_UNSUPPORTED, "kernels are noted only");
}

/* What symbols are: small numbers that hang on their names; in the second run all of them are 1. */
static bool small(void *arg, Dim sym, int64_t *v) {
  uint32_t sum = 0;
  for (const char *p = sym->name; *p; p++)
    sum = sum * 31 + (uint8_t)*p;
  *v = *(int *)arg ? 1 : 2 + sum % 6;
  return true;
}

/* False: there is no such tensor at these extents, or it would take the evaluator long. */
static bool inputs_of(Ctx *c, Arena *a, const Kernel *k, int *run, int64_t ints, Tensor **t) {
  for (uint32_t i = 0; i < k->nio; i++) {
    int64_t dim[MAX_RANK], count;
    const KBuf *b = k->buf[i];
    for (int d = 0; d < b->rank; d++)
      if (!dim_eval(b->dim[d], small, run, &dim[d]) || dim[d] < 0)
        return false;
    if (!extent_ok(dim, b->rank, &count) || count > MOST_ELEMENTS || tensor_new(c, a, b->dtype, b->rank, dim, &t[i]))
      return false;
    for (int64_t j = 0; i < k->nin && j < count; j++)
      if (dtype_is_float(b->dtype))
        elem_set_f64(b->dtype, t[i]->data, j, random_float(true));
      else
        elem_set_i64(b->dtype, t[i]->data, j, (int64_t)(random_bits() % (uint64_t)ints));
  }
  return true;
}

static double tolerance(DType t) { return t == DT_bf16 ? 2e-2 : t == DT_f16 ? 2e-3 : 2e-5; }

/* True: both sides have run. Where an index is out of range for the evaluator, as symbols and data have nothing to do with each
 * other, code is not run. */
static bool runs_alike(Ctx *c, const char *text, const Kernel *k, const Code *x, int run, int64_t ints) {
  Arena *a = arena_create(c);
  Tensor *want[64], *got[64];
  bool there = k->nio <= countof(want) && inputs_of(c, a, k, &run, ints, want);
  if (there) {
    outputs_like(c, a, k, want, got);
    Status st = kernel_eval(c, k, want, small, &run);
    there = st == ST_OK || st == ST_INVALID;
    int rc = there ? call(c, x, got, small, &run) : 0;
    if (there && (st != 0) != (rc != 0))
      fail_msg("%s: evaluator %d, code %d\n%s", k->name, st, rc, text);
    for (uint32_t i = k->nin; i < k->nio && there && !st; i++)
      equal(text, k, k->buf[i], got, want, tolerance(k->buf[i]->dtype), 4);
    there = st == ST_OK;
  }
  arena_destroy(a);
  return there;
}

static bool one_kernel(Ctx *c, const char *text) {
  bool all = true;
  for (size_t i = 0; i < countof(orders); i++) {
    Arena *a = arena_create(c);
    Kernel *k = parse(c, a, text, "fixture"), *oracle = parse(c, a, text, "fixture");
    Unit u = {.kind = UNIT_LOOP, .name = k->name, .kernel = k};
    Code x;
    bool ran = false;
    for_cpu(c, k, k->body, schedule_only_loop(k->body) != NULL, orders[i]);
    assert_int_equal(gpu_loops(k->body), 0);
    unit_count(c, &u);
    RtCode *code = compile(c, a, &u, &x);
    for (int run = 0; run < 2; run++)
      for (int64_t ints = 3; ints > 0; ints -= 2)
        ran |= runs_alike(c, text, oracle, &x, run, ints);
    all &= ran;
    object_unload(code);
    arena_destroy(a);
  }
  return all;
}

static void fixtures(void **unused) {
  (void)unused;
  static Ctx c;
  Alloc alloc;
  glob_t g;
  int ran = 0, shared = 0;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  assert_int_equal(glob(SOURCE_DIR "/models/fixtures/*/*/model.onnx", 0, NULL, &g), 0);
  noting = true;
  for (size_t i = 0; i < g.gl_pathc; i++) {
    sard_options o = SARD_OPTIONS_INIT;
    sard_error *err = NULL;
    sard_model *m = NULL;
    o.device = "cuda", o.cache = "off";
    assert_int_not_equal(sard_load_file(NULL, g.gl_pathv[i], &o, &m, &err), SARD_OK);
    if (!strstr(sard_error_text(err), "kernels are noted only"))
      fail_msg("%s: %s", g.gl_pathv[i], sard_error_text(err));
    sard_error_free(err);
  }
  noting = false;
  for (int i = 0; i < nnoted; i++) {
    seed_by(noted[i]);
    bool own = one_kernel(&c, noted[i]);
    shared += strstr(noted[i], " grid") || strstr(noted[i], " block");
    if (!own && getenv("VERBOSE"))
      printf("not run:\n%s", noted[i]);
    ran += own;
    free(noted[i]);
  }
  printf("%d kernels of %d models, %d with loops that threads share, %d run\n", nnoted, (int)g.gl_pathc, shared, ran);
  assert_true(g.gl_pathc > 80 && nnoted > 400 && shared > nnoted * 9 / 10 && ran > nnoted * 9 / 10);
  globfree(&g);
  ctx_close(&c);
}

/* The driver of our own: there must be a GPU to compile for. */
static int name_driver(void **unused) {
  (void)unused;
  char dir[1100];
  ssize_t n = readlink("/proc/self/exe", dir, 1000);
  if (n < 0)
    return -1;
  dir[n] = 0;
  strcat(dirname(dir), "/null");
  return setenv("SARD_CUDA_DIR", dir, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(fixtures)};
  if (!backend_present())
    return 0;
  return cmocka_run_group_tests(tests, name_driver, NULL);
}
