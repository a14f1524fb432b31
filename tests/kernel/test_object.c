/* test_object.c - the loader of machine code against damaged objects: cut at every length, every byte of the tables flipped,
 * foreign machines, imports, relocations off the list. Nothing here is run; the loader must refuse, or map, and never crash.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include "codegen/backend.h"
#include "codegen/schedule.h"
#include "runtime/object.h"

#include <cmocka.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A small object made by hand: .text with one function that loads from .rodata, one PC32 relocation. Returns its size. */
enum { SECTIONS = 6 };
typedef struct Image {
  Elf64_Ehdr h;
  Elf64_Shdr s[SECTIONS]; /* null, text, rodata, rela, symtab, strtab */
  uint8_t text[16];
  uint8_t rodata[16];
  Elf64_Rela rela[1];
  Elf64_Sym sym[3];
  char str[16];
} Image;

#if defined(__aarch64__)
enum { MACHINE = EM_AARCH64, PCREL = R_AARCH64_PREL32, OTHER = EM_X86_64 };
#else
enum { MACHINE = EM_X86_64, PCREL = R_X86_64_PC32, OTHER = EM_AARCH64 };
#endif

static Image image(void) {
  Image m;
  memset(&m, 0, sizeof m);
  memcpy(m.h.e_ident, ELFMAG, SELFMAG);
  m.h.e_ident[EI_CLASS] = ELFCLASS64, m.h.e_ident[EI_DATA] = ELFDATA2LSB, m.h.e_ident[EI_VERSION] = 1;
  m.h.e_type = ET_REL, m.h.e_machine = MACHINE, m.h.e_version = 1, m.h.e_ehsize = sizeof m.h;
  m.h.e_shoff = offsetof(Image, s), m.h.e_shentsize = sizeof(Elf64_Shdr), m.h.e_shnum = SECTIONS;
  m.s[1] =
      (Elf64_Shdr){0, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, 0, offsetof(Image, text), sizeof m.text, 0, 0, 16, 0};
  m.s[2] = (Elf64_Shdr){0, SHT_PROGBITS, SHF_ALLOC, 0, offsetof(Image, rodata), sizeof m.rodata, 0, 0, 16, 0};
  m.s[3] = (Elf64_Shdr){0, SHT_RELA, 0, 0, offsetof(Image, rela), sizeof m.rela, 4, 1, 8, sizeof(Elf64_Rela)};
  m.s[4] = (Elf64_Shdr){0, SHT_SYMTAB, 0, 0, offsetof(Image, sym), sizeof m.sym, 5, 1, 8, sizeof(Elf64_Sym)};
  m.s[5] = (Elf64_Shdr){0, SHT_STRTAB, 0, 0, offsetof(Image, str), sizeof m.str, 0, 0, 1, 0};
  memcpy(m.str, "\0f\0memcpy", 10);
  m.sym[1] = (Elf64_Sym){1, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, 1, 0, 16};
  m.sym[2] = (Elf64_Sym){0, ELF64_ST_INFO(STB_LOCAL, STT_SECTION), 0, 2, 0, 0};
  m.rela[0] = (Elf64_Rela){4, ELF64_R_INFO(2, PCREL), 8};
  return m;
}

typedef struct Load {
  const uint8_t *bytes;
  size_t size;
} Load;

static Status load(Ctx *c, void *arg) {
  const Load *l = arg;
  Arena *a = arena_create(c);
  uint8_t *exact = alloc_get(c->alloc, l->size, 1); /* so that reading behind it is seen */
  memcpy(exact, l->bytes, l->size);
  RtCode *code;
  Status st = object_load(c, a, exact, l->size, &code);
  alloc_put(c->alloc, exact, l->size);
  if (!st) {
    object_symbol(code, "f");
    object_unload(code);
  }
  arena_destroy(a);
  return st;
}

static Ctx c;
static Alloc alloc;

static Status try_load(const void *bytes, size_t size) {
  Load l = {bytes, size};
  return ctx_protect(&c, load, &l);
}

static int open_ctx(void **unused) {
  (void)unused;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  return 0;
}

static int close_ctx(void **unused) {
  (void)unused;
  ctx_close(&c);
  return (int)alloc.used;
}

static void whole(void **unused) {
  (void)unused;
  Image m = image();
  Arena *a = arena_create(&c);
  RtCode *code;
  assert_int_equal(object_load(&c, a, (uint8_t *)&m, sizeof m, &code), ST_OK);
  union {
    KernelFn fn;
    const uint8_t *p;
  } u = {.fn = object_symbol(code, "f")};
  assert_non_null(u.p);
  assert_null(object_symbol(code, "g"));
  int32_t field; /* the constants start on the page behind the code */
  memcpy(&field, u.p + 4, 4);
  assert_int_equal(field, sysconf(_SC_PAGESIZE) + 8 - 4);
  assert_int_equal(object_bytes(code), 2 * sysconf(_SC_PAGESIZE));
  object_unload(code);
  arena_destroy(a);
}

static void cut_and_flipped(void **unused) {
  (void)unused;
  Image m = image();
  for (size_t n = 0; n < sizeof m; n++)
    assert_true(n >= offsetof(Image, str) || try_load(&m, n) != ST_OK);
  for (size_t i = 0; i < sizeof m; i++)
    for (int k = 0; k < 11; k++) {
      Image d = m;
      ((uint8_t *)&d)[i] = k < 8 ? (uint8_t)(((uint8_t *)&d)[i] ^ 1 << k) : k == 8 ? 0xff : k == 9 ? 0x7f : 0;
      try_load(&d, sizeof d);
    }
}

static void refused(void **unused) {
  (void)unused;
  Image m = image();
  m.h.e_machine = OTHER;
  assert_int_equal(try_load(&m, sizeof m), ST_UNSUPPORTED);
  m = image(), m.sym[2].st_shndx = SHN_UNDEF, m.sym[2].st_name = 3;
  assert_int_equal(try_load(&m, sizeof m), ST_UNSUPPORTED);
  assert_non_null(strstr(c.err.message, "imports 'memcpy'"));
  m = image(), m.rela[0].r_info = ELF64_R_INFO(2, MACHINE == EM_X86_64 ? R_X86_64_64 : R_AARCH64_ABS64);
  assert_int_equal(try_load(&m, sizeof m), ST_UNSUPPORTED);
  m = image(), m.s[2].sh_flags |= SHF_WRITE;
  assert_int_equal(try_load(&m, sizeof m), ST_UNSUPPORTED);
  m = image(), m.rela[0].r_offset = 13;
  assert_int_equal(try_load(&m, sizeof m), ST_INVALID);
  m = image(), m.rela[0].r_addend = (int64_t)1 << 40;
  assert_int_equal(try_load(&m, sizeof m), ST_INVALID);
  m = image(), m.rela[0].r_info = ELF64_R_INFO(3, PCREL);
  assert_int_equal(try_load(&m, sizeof m), ST_INVALID);
  m = image(), m.sym[1].st_shndx = 2; /* a function among the constants */
  assert_int_equal(try_load(&m, sizeof m), ST_INVALID);
  m = image(), m.sym[1].st_name = 1000;
  assert_int_equal(try_load(&m, sizeof m), ST_INVALID);
}

/* What the code generator makes, damaged at random. */
static void generated(void **unused) {
  (void)unused;
  static const char text[] =
      "kernel \"e\" (x: f32[n]) -> (y: f32[n]) { for i in n { y[i] = (exp(x[i]) + sin(x[i])) } }";
  if (!backend_present())
    skip();
  Arena *a = arena_create(&c);
  Unit u = {.kind = UNIT_LOOP, .name = "e"};
  const Unit *unit = &u;
  EmitTarget target = {.cpu_level = "x86-64"};
  BackendResult r;
  assert_int_equal(kernel_parse(&c, a, text, sizeof text - 1, "text", &u.kernel), ST_OK);
  unit_schedule(&c, &u, "x86-64");
  if (backend_compile(&c, a, &unit, 1, &target, 1, 1, &r))
    fail_msg("%s", c.err.message);
  size_t n = r.object[0].size;
  uint8_t *d = malloc(n);
  srand(1);
  for (int i = 0; i < 3000; i++) {
    memcpy(d, r.object[0].bytes, n);
    for (int k = 0; k < 1 + i % 3; k++)
      d[(size_t)rand() % n] = (uint8_t)rand();
    try_load(d, i % 5 ? n : (size_t)rand() % n);
  }
  free(d);
  arena_destroy(a);
}

static void perf_map(void **unused) {
  (void)unused;
  Image m = image();
  Arena *a = arena_create(&c);
  RtCode *code;
  char dir[] = "/tmp/sard-perf-XXXXXX", path[64], line[128] = "";
  unsigned long at, size;
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/perf-%d.map", dir, (int)getpid());
  assert_int_equal(object_load(&c, a, (uint8_t *)&m, sizeof m, &code), ST_OK);
  assert_int_equal(object_perf_map(&c, code, dir), ST_OK);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  assert_int_equal(fscanf(f, "%lx %lx %127s", &at, &size, line), 3);
  fclose(f);
  union {
    KernelFn fn;
    const uint8_t *p;
  } u = {.fn = object_symbol(code, "f")};
  assert_int_equal(at, (uintptr_t)u.p);
  assert_int_equal(size, 16);
  assert_string_equal(line, "sard:f");
  assert_int_not_equal(object_perf_map(&c, code, "/nonexistent"), ST_OK);
  unlink(path), rmdir(dir);
  object_unload(code);
  arena_destroy(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(whole), cmocka_unit_test(cut_and_flipped),
                                     cmocka_unit_test(refused), cmocka_unit_test(generated),
                                     cmocka_unit_test(perf_map)};
  return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
