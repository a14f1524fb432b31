/* test_damage.c - damaged programs: every byte changed with the hash made right again, every truncation. Loading or running
 * must fail or work, and never read or write where it should not (run this under the sanitizers).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/runtime/rig.h"

#include <stdlib.h>

static const char text[] =
    "graph \"g\" {\n"
    "in %x : f32[n, 2]\nin %m : i64[]\nin %s : str[k]\n"
    "const %two : f32[2] = {2, 3}\nconst %flat : i64[1] = {-1}\nconst %names : str[2] = {\"a\", \"bc\"}\n"
    "%a : f32[n, 2] = Mul(%x, %two)\n"
    "%b : f32[n, 2] = Neg(%a)\n"
    "%v : f32[2*n] = Reshape(%b, %flat)\n"
    "%w : f32[2*n] = LeakyRelu(%v) {alpha = 0.5}\n"
    "%z : i64[1, nz] = NonZero(%w)\n"
    "%d : i64[2] = sard.Dims() {dims = [nz, Max(n, 2)]}\n"
    "%u : str[2] = Identity(%names)\n"
    "%q, %e : i64[], i64[t] = Loop(%m, _, %m) body \"loop\" {\n"
    "  in %i : i64[]\n  in %go : bool[]\n  in %c : i64[]\n"
    "  %f : i64[] = Add(%c, %i)\n"
    "  %g : i64[] = If(%go) body \"then\" {\n    %h : i64[] = Neg(%f)\n    out %h\n"
    "  } body \"else\" {\n    out %m\n  }\n"
    "  out %go, %g, %f\n}\n"
    "%last, %all : f32[2], f32[n, 2] = Scan(%two, %x) {num_scan_inputs = 1} body \"scan\" {\n"
    "  in %st : f32[2]\n  in %el : f32[2]\n  %r : f32[2] = Add(%st, %el)\n  out %r, %r\n}\n"
    "out %w, %z, %d, %u, %q, %e, %all, %s\n}\n";

/* Everything behind the header; a copy of the rule in image.c and load.c. */
static void rehash(uint8_t *image, size_t size) {
  size_t head = (sizeof(ProgHeader) + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  uint64_t h = hash_bytes(image + head, size - head, 0);
  memcpy(image + offsetof(ProgHeader, hash), &h, sizeof h);
}

typedef struct Load {
  const uint8_t *image;
  size_t size;
  RtProgram *p;
} Load;

static Status load(Ctx *c, void *arg) {
  Load *l = arg;
  return rt_load(c, arena_create(c), l->image, l->size, plan_build_id(), NULL, 0, &l->p);
}

static struct { int refused, failed, worked, internal; } count;

static void run_it(RtProgram *p, Alloc *alloc) {
  static const float x[] = {1, -2, 3, -4, 5, 0};
  static const Str s[] = {{"one", 3}, {"two", 3}};
  int64_t m = 3;
  Tensor in[] = {{.dtype = DT_f32, .rank = 2, .dim = {3, 2}, .data = (void *)(uintptr_t)x},
                 {.dtype = DT_i64, .data = &m},
                 {.dtype = DT_str, .rank = 1, .dim = {2}, .data = (void *)(uintptr_t)s}};
  RtOutput out[8] = {{.wanted = false}};
  int64_t dim[MAX_RANK];
  int rank;
  Ctx c;
  ctx_open(&c, alloc);
  for (int i = 0; i < 8; i++)
    out[i].wanted = true;
  for (uint32_t i = 0; i < 8; i++)
    rt_output_shape(p, &c, in, 3, i, dim, &rank);
  c.deadline_ns = now_ns() + 50000000;
  RtMemory need;
  rt_memory(p, &c, &(RtRunOptions){.threads = 1}, in, 3, &need);
  Status st = rt_run(p, &c, NULL, in, 3, out, 8);
  if (st)
    count.failed++;
  else
    count.worked++;
  if (!st) /* what it says it made can be read */
    for (int i = 0; i < 8; i++) {
      volatile char sum = 0;
      for (size_t k = 0; out[i].t.kind == VK_TENSOR && k < tensor_bytes(&out[i].t); k++)
        sum ^= ((const char *)out[i].t.data)[k];
      (void)sum;
    }
  ctx_close(&c);
}

static void try_image(const uint8_t *image, size_t size) {
  Alloc alloc;
  Ctx c;
  Load l = {image, size, NULL};
  alloc_init_system(&alloc);
  alloc.limit = 16 << 20;
  ctx_open(&c, &alloc);
  Status st = ctx_protect(&c, load, &l);
  if (st) {
    count.refused++;
    assert_true(*c.err.message);
  } else {
    run_it(l.p, &alloc);
    rt_unload(l.p);
  }
  ctx_close(&c);
  assert_int_equal(atomic_load(&alloc.used), 0);
}

static uint8_t *copy_of(const Rig *k) {
  uint8_t *image = aligned_alloc(PROG_ALIGN, k->size);
  assert_non_null(image);
  memcpy(image, k->image, k->size);
  return image;
}

static void test_whole(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, text);
  uint8_t *image = copy_of(&k);
  rehash(image, k.size);
  assert_memory_equal(image, k.image, k.size);
  memset(&count, 0, sizeof count);
  try_image(image, k.size);
  assert_int_equal(count.worked, 1);
  free(image);
  rig_close(&k);
}

static void test_every_byte(void **state) {
  static const uint8_t change[] = {0x01, 0x80, 0xff, 0x04};
  Rig k;
  (void)state;
  rig_open(&k, text);
  uint8_t *image = copy_of(&k);
  memset(&count, 0, sizeof count);
  for (size_t i = 0; i < k.size; i++)
    for (size_t j = 0; j < sizeof change; j++) {
      image[i] ^= change[j];
      rehash(image, k.size);
      try_image(image, k.size);
      image[i] ^= change[j];
    }
  print_message("%zu bytes: %d refused, %d failed, %d worked\n", k.size, count.refused, count.failed, count.worked);
  assert_true(count.refused > 1000 && count.worked > 100);
  free(image);
  rig_close(&k);
}

/* Two fields at once, as whole numbers of the kind that are indices. */
static void test_random_words(void **state) {
  Rig k;
  uint32_t seed = 99;
  (void)state;
  rig_open(&k, text);
  uint8_t *image = copy_of(&k);
  for (int round = 0; round < 10000; round++) {
    memcpy(image, k.image, k.size);
    for (int j = 0; j < 2; j++) {
      seed = seed * 1664525 + 1013904223;
      size_t at = (seed >> 8) % (k.size / 4) * 4;
      seed = seed * 1664525 + 1013904223;
      uint32_t v = seed >> 28 == 0 ? UINT32_MAX : (seed >> 16) % 40;
      memcpy(image + at, &v, 4);
    }
    rehash(image, k.size);
    try_image(image, k.size);
  }
  free(image);
  rig_close(&k);
}

static void test_every_length(void **state) {
  Rig k;
  (void)state;
  rig_open(&k, text);
  memset(&count, 0, sizeof count);
  int n = 0;
  ProgSection data = k.p->h->section[SEC_DATA]; /* behind it comes padding, which nobody needs */
  for (size_t size = 0; size < data.offset + data.size; size += size < 600 ? 1 : 7, n++) {
    size_t head = (sizeof(ProgHeader) + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
    uint8_t *image = aligned_alloc(PROG_ALIGN, (size / PROG_ALIGN + 1) * PROG_ALIGN);
    memcpy(image, k.image, size);
    if (size > head) {
      uint64_t whole = size;
      memcpy(image + offsetof(ProgHeader, size), &whole, 8);
      rehash(image, size);
    }
    try_image(image, size);
    free(image);
  }
  assert_int_equal(count.refused, n);
  rig_close(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_every_byte),
                                     cmocka_unit_test(test_random_words), cmocka_unit_test(test_every_length)};
  return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
