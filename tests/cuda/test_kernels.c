/* test_kernels.c - the kernel texts of tests/kernel, scheduled for GPUs and compiled to PTX: run by an interpreter (null/ptx.h)
 * against the evaluator, for several grids and orders of the threads, with the same bits for all; and assembled by ptxas, where the
 * CUDA toolkit is. Lines `# ptx TEXT` and `# no ptx TEXT` of a text, which each has: what the PTX must contain, and must not.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "codegen/backend.h"
#include "codegen/gpu.h"
#include "codegen/schedule.h"
#include "runtime/kernel_abi.h"
#include "tests/cuda/null/ptx.h"
#include "tests/cuda/ptxas.h"

#include <cmocka.h>
#include <fnmatch.h>
#include <unistd.h>

#include "tests/kernel/texts.h"

static const char *const targets[] = {"sm_80", "sm_90", "sm_90a"};
static int compiled, assembled;

/* --- memory of the device: buffers at addresses of their own, with nothing around them --- */

enum { BUFFERS = 32 };
typedef struct Device {
  struct {
    uint8_t *at;
    size_t size;
  } region[BUFFERS];
} Device;

static uint64_t address_of(int i) { return (uint64_t)(i + 1) << 40; }

static void *memory(void *arg, uint64_t address, size_t size) {
  Device *d = arg;
  uint64_t i = (address >> 40) - 1, offset = address & (((uint64_t)1 << 40) - 1);
  if (i >= BUFFERS || offset + size > d->region[i].size)
    return NULL;
  return d->region[i].at + offset;
}

typedef struct Launch {
  const PtxKernel *kernel;
  const Unit *u;
  const Dim *dim;
  uint32_t ndim;
  int64_t most; /* blocks */
  bool backwards;
} Launch;

/* Runs the kernel on the buffers t. The code of the error, or 0. */
static int run(Ctx *c, const Launch *l, Tensor *const *t, Binding *bind, int64_t *number) {
  const Kernel *k = l->u->kernel;
  uint64_t param[64];
  int64_t parts, threads, scratch, v;
  PtxLaunch x = {.param = param, .backwards = l->backwards, .memory = memory};
  Device d = {0};
  GpuError error = {0};
  char why[256];
  Arena *a = arena_create(c);
  assert_true(k->nio + l->ndim + 2 <= countof(param) && k->nio + 2 <= BUFFERS);
  for (uint32_t i = 0; i < k->nio; i++) {
    d.region[i].at = t[i]->data, d.region[i].size = tensor_bytes(t[i]);
    param[i] = address_of((int)i);
  }
  for (uint32_t i = 0; i < l->ndim; i++) {
    assert_true(dim_eval(l->dim[i], value_of, bind, &v));
    param[k->nio + i] = (uint64_t)v;
  }
  assert_true(dim_eval(l->u->parts, value_of, bind, &parts) && dim_eval(l->u->threads, value_of, bind, &threads) &&
              dim_eval(l->u->scratch, value_of, bind, &scratch));
  if (parts) {
    gpu_geometry(parts, threads, l->most, &x.blocks, &x.threads);
    d.region[k->nio].size = (size_t)scratch * x.blocks;
    d.region[k->nio].at = arena_get(a, d.region[k->nio].size, 1, TEMP_ALIGN);
    memset(d.region[k->nio].at, 0xff, d.region[k->nio].size);
    d.region[k->nio + 1].at = (uint8_t *)&error, d.region[k->nio + 1].size = sizeof error;
    param[k->nio + l->ndim] = address_of((int)k->nio), param[k->nio + l->ndim + 1] = address_of((int)k->nio + 1);
    assert_int_equal(ptx_params(l->kernel), k->nio + l->ndim + 2);
    x.arg = &d;
    if (!ptx_run(l->kernel, &x, why))
      fail_msg("%s", why);
  }
  arena_destroy(a);
  *number = error.number;
  return error.code;
}

/* --- one kernel --- */

static void same_as(Ctx *c, const char *text, const Kernel *k, const Launch *l, Binding *bind) {
  Arena *a = arena_create(c);
  static const int64_t grids[] = {1, 3, 1024};
  Tensor *want[BUFFERS], *got[BUFFERS], *first[BUFFERS];
  const char *tol_text = strstr(text, "# tol ");
  double tol = tol_text ? atof(tol_text + 6) : 1e-6;
  buffers(c, a, text, k, bind, want);
  for (uint32_t i = 0; i < k->nio; i++) {
    assert_int_equal(tensor_new(c, a, want[i]->dtype, want[i]->rank, want[i]->dim, &got[i]), ST_OK);
    assert_int_equal(tensor_new(c, a, want[i]->dtype, want[i]->rank, want[i]->dim, &first[i]), ST_OK);
    if (i < k->nin && tensor_bytes(want[i]))
      memcpy(got[i]->data, want[i]->data, tensor_bytes(want[i]));
  }
  Status st = kernel_eval(c, k, want, value_of, bind);
  for (int run_no = 0; run_no < 6; run_no++) {
    Launch x = *l;
    int64_t number = 0;
    x.most = grids[run_no / 2], x.backwards = run_no % 2;
    for (uint32_t i = k->nin; i < k->nio; i++)
      memset(got[i]->data, 0x5a, tensor_bytes(got[i]));
    int code = run(c, &x, got, bind, &number);
    if ((st != 0) != (code != 0))
      fail_msg("%s: evaluator %d (%s), code %d with %lld", k->name, st, st ? c->err.message : "", code,
               (long long)number);
    if (st)
      continue;
    for (uint32_t i = k->nin; i < k->nio; i++) {
      double least = least_scale(text, k, k->buf[i], want);
      for (int64_t j = 0; j < tensor_count(want[i]); j++)
        if (!same(want[i]->dtype, got[i]->data, want[i]->data, j, tol, least))
          fail_msg("%s, run %d: %s[%lld] is %.9g, must be %.9g", k->name, run_no, k->buf[i]->name, (long long)j,
                   elem_f64(want[i]->dtype, got[i]->data, j), elem_f64(want[i]->dtype, want[i]->data, j));
      if (!run_no)
        memcpy(first[i]->data, got[i]->data, tensor_bytes(got[i]));
      else if (memcmp(first[i]->data, got[i]->data, tensor_bytes(got[i])))
        fail_msg("%s, run %d: other bits of %s than in run 0", k->name, run_no, k->buf[i]->name);
    }
  }
  arena_destroy(a);
}

static bool has_line(const char *text, const char *pattern) {
  char line[512];
  for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
    snprintf(line, sizeof line, "%.*s", (int)strcspn(p, "\n"), p);
    if (!fnmatch(pattern, line, 0))
      return true;
  }
  return false;
}

/* Lines `# ptx WORDS` and `# no ptx WORDS` of a kernel's text: WORDS are in a line of its PTX, or in none. A * or ? stands for what
 * LLVM's versions write differently. The first of those lines that does not hold, as "# … WORDS", or NULL. */
static const char *broken(const char *text, const char *ptx) {
  static char line[160];
  char want[sizeof line + 2];
  for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
    bool no = !strncmp(p, "# no ptx ", 9);
    if (!no && strncmp(p, "# ptx ", 6))
      continue;
    snprintf(line, sizeof line, "%.*s", (int)strcspn(p, "\n"), p);
    snprintf(want, sizeof want, "*%s*", line + (no ? 9 : 6));
    if (has_line(ptx, want) == no)
      return line;
  }
  return NULL;
}

/* What the code of no kernel may have: f32 is exact to its last bits or rounded once, and all there is lies in registers. */
static const char everywhere[] = "# no ptx .local\n# no ptx .approx\n# no ptx .ftz\n# no ptx call\n";

static void patterns(const char *text, const char *ptx, const char *path) {
  const char *line = broken(everywhere, ptx);
  line = line ? line : broken(text, ptx);
  if (line)
    fail_msg("%s: '%s' does not hold:\n%s", path, line, ptx);
  if (!strstr(text, "\n# ptx "))
    fail_msg("%s says nothing of its PTX: it has no line '# ptx TEXT'", path);
}

static void assemble(const char *ptx, const char *target) {
  if (ptxas_assemble(ptx, target).rc)
    fail_msg("ptxas -arch=%s does not take\n%s", target, ptx);
  assembled++;
}

static void make_serial(KStmt *s) {
  for (; s; s = s->next) {
    if (s->kind == KS_FOR && s->loop != KL_ORDERED)
      s->loop = KL_SERIAL, s->width = 0;
    make_serial(s->body);
  }
}

static void run_bindings(Ctx *c, Arena *a, const char *text, const char *path, const char *ptx, const char *symbol,
                         const Unit *u) {
  char why[256];
  PtxModule *m = ptx_parse(ptx, why);
  if (!m)
    fail_msg("%s: %s", path, why);
  Launch l = {.kernel = ptx_find(m, symbol), .u = u};
  assert_non_null(l.kernel);
  unit_signature(a, u, &l.dim, &l.ndim);
  Binding b;
  for (const char *p = text; next_binding(&p, &b);)
    same_as(c, text, parse(c, a, text, path), &l, &b);
  ptx_free(m);
}

static void one_target(Ctx *c, const char *text, const char *path, const char *target) {
  Arena *a = arena_create(c);
  Kernel *k = parse(c, a, text, path);
  Unit u = {.kind = UNIT_LOOP, .name = k->name, .kernel = k};
  const Unit *unit = &u;
  EmitTarget t = {.cpu_level = target};
  BackendResult r;
  make_serial(k->body);
  unit_schedule(c, &u, target);
  if (kernel_verify(c, k))
    fail_msg("%s: %s", path, c->err.message);
  Status st = backend_compile(c, a, &unit, 1, &t, 1, 1, &r);
  if (st)
    fail_msg("%s: %s", path, c->err.message);
  char *ptx = arena_strndup(a, (const char *)r.object[0].bytes, r.object[0].size);
  if (getenv("VERBOSE"))
    printf("%s\n", ptx);
  patterns(text, ptx, path);
  if (ptxas_path())
    assemble(ptx, target);
  compiled++;
  if (target == targets[0])
    run_bindings(c, a, text, path, ptx, r.code[0].symbol, &u);
  arena_destroy(a);
}

static void one_file(Ctx *c, const char *path) {
  static char text[1 << 16];
  assert_true(read_text(path, text, sizeof text));
  for (size_t i = 0; i < countof(targets); i++)
    one_target(c, text, path, targets[i]);
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
  printf("%d kernels compiled, %d of them assembled%s\n", compiled, assembled, ptxas_path() ? "" : ": no ptxas here");
  ctx_close(&c);
}

/* Patterns that hold, and such as do not. */
static void pattern_lines(void **unused) {
  (void)unused;
  static const char ptx[] = "\tld.global.v4.f32 {%f1}, [%rd1];\n\tfma.rn.f32 %f2, %f1;\n";
  assert_null(broken("# a text\n# ptx ld.global.v4.?32\n# no ptx bar.sync\n", ptx));
  assert_string_equal(broken("# ptx fma\n# ptx ld.global.v2.?32\n", ptx), "# ptx ld.global.v2.?32");
  assert_string_equal(broken("# no ptx fma.\n", ptx), "# no ptx fma.");
  assert_string_equal(broken("# ptx v4*fma\n", ptx), "# ptx v4*fma"); /* of two lines */
  assert_string_equal(broken(everywhere, "\tex2.approx.f32 %f1, %f2;\n"), "# no ptx .approx");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(pattern_lines), cmocka_unit_test(all_texts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
