/* test_device_code.c - what a device is given of a program's code: machine code that runs there, or else PTX, and never an image whose
 * headers point outside of it. Without a code generator there is nothing to test.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/backend.h"
#include "codegen/kernels.h"
#include "tests/runtime/rig.h"

#include <elf.h>

enum { CUDA = 190, BODY = 100 }; /* EM_CUDA; bytes behind the header */

/* The image that stands for machine code. */
static struct {
  Elf64_Ehdr h;
  char body[BODY];
} image;
static size_t image_size;

static Status assemble(Ctx *c, Arena *a, const char *gpu, const char *ptx, const uint8_t **code, size_t *size) {
  (void)c;
  assert_string_equal(gpu, "sm_86");
  assert_non_null(strstr(ptx, ".target sm_80"));
  *code = arena_copy(a, &image, image_size), *size = image_size;
  return ST_OK;
}

/* A device that takes note of the code, and no more. */
static enum { NOTHING, MACHINE_CODE, PTX } given;

static Status take(RtDevice *d, Ctx *c, const char *code, void **module) {
  (void)d, (void)c, (void)module;
  given = !memcmp(code, ELFMAG, SELFMAG) ? MACHINE_CODE : PTX;
  if (given == MACHINE_CODE)
    assert_memory_equal(code, &image, image_size);
  else
    assert_true(strlen(code) > 100 && strstr(code, ".entry"));
  return ST_CANCELLED; /* that is all */
}

static void keep(RtDevice *d) { (void)d; }

static const RtDeviceOps ops = {.load = take, .trim = keep};

typedef struct Case {
  int capability;
  bool machine_code, keep_ptx;
} Case;

static Status load(Ctx *c, void *arg) {
  static const char text[] = "graph \"g\" {\nin %x : f32[n]\n%y : f32[n] = Neg(%x)\nout %y\n}\n";
  const Case *x = arg;
  RtDevice device = {.ops = &ops, .capability = x->capability};
  Arena *a = arena_create(c);
  const uint8_t *program;
  Kernels k;
  RtProgram *p;
  Graph *g;
  size_t size;
  KernelsInput in = {.level = "sm_80", .threads = 1, .gpu = "sm_86", .keep_ptx = x->keep_ptx};
  in.assemble = x->machine_code ? assemble : NULL;
  TRY(graph_parse(c, text, strlen(text), "test", &g));
  TRY(graph_verify(c, g));
  TRY(kernels_compile(c, a, a, g, &in, &k));
  PlanInput plan = {.groups = k.groups, .object = k.object, .nobject = k.nobject, .code = k.code};
  TRY(plan_build(c, a, g, &plan, &program, &size));
  graph_destroy(g);
  dim_release(c);
  return rt_load_on(c, a, program, size, plan_build_id(), NULL, 0, &device, &p);
}

/* Loads it; what was said is in *message. */
static Status try_load(Case x, char message[1024]) {
  Alloc alloc;
  Ctx c;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  given = NOTHING;
  Status st = ctx_protect(&c, load, &x);
  snprintf(message, 1024, "%s", c.err.message);
  ctx_close(&c);
  assert_int_equal(atomic_load(&alloc.used), 0);
  return st;
}

static void whole_image(void) {
  memset(&image, 7, sizeof image);
  image.h = (Elf64_Ehdr){.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3}, .e_machine = CUDA};
  image.h.e_shoff = sizeof image.h, image.h.e_shnum = 2, image.h.e_shentsize = BODY / 2;
  image.h.e_phoff = sizeof image.h, image.h.e_phnum = 1, image.h.e_phentsize = BODY;
  image_size = sizeof image.h + BODY;
}

static void test_choice(void **state) {
  static const struct {
    Case x;
    int given;
    const char *said;
  } row[] = {{{86, true, false}, MACHINE_CODE, NULL},
             {{89, true, true}, MACHINE_CODE, NULL},
             {{80, true, true}, PTX, NULL},
             {{120, true, true}, PTX, NULL},
             {{90, false, false}, PTX, NULL},
             {{90, true, false}, NOTHING, "the program is for sm_86, and this GPU has compute capability 9.0"},
             {{75, false, false}, NOTHING, "the program is for sm_80, and this GPU has compute capability 7.5"}};
  char message[1024];
  (void)state;
  if (!backend_present())
    skip();
  whole_image();
  for (size_t i = 0; i < countof(row); i++) {
    Status st = try_load(row[i].x, message);
    assert_int_equal(given, row[i].given);
    assert_int_equal(st, row[i].said ? ST_DEVICE : ST_CANCELLED);
    if (row[i].said)
      assert_string_equal(message, row[i].said);
  }
}

static void refused(void) {
  char message[1024];
  assert_int_equal(try_load((Case){86, true, true}, message), ST_INVALID);
  assert_int_equal(given, NOTHING);
  assert_string_equal(message, "the compiled program is damaged: machine code for sm_86");
}

static void test_damaged_images(void **state) {
  (void)state;
  if (!backend_present())
    skip();
  whole_image(), image_size = sizeof image.h - 1, refused();
  whole_image(), image_size--, refused();
  whole_image(), image.h.e_ident[1] = 'e', refused();
  whole_image(), image.h.e_machine = EM_X86_64, refused();
  whole_image(), image.h.e_shnum = 3, refused();
  whole_image(), image.h.e_phnum = 0xffff, refused();
  whole_image(), image.h.e_shoff = UINT64_MAX, refused();
  whole_image(), image.h.e_phoff = sizeof image + 1, image.h.e_phnum = 0, refused();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_choice), cmocka_unit_test(test_damaged_images)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
