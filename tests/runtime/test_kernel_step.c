/* test_kernel_step.c - compiled steps in the executor: the same bits for every number of threads, unaligned memory, failed checks,
 * time limits, profiles, caches, and damaged programs. Without a code generator there is nothing to test.
 * SPDX-License-Identifier: Apache-2.0 */
#include "codegen/backend.h"
#include "codegen/kernels.h"
#include "support/cpu.h"
#include "tests/runtime/rig.h"

#include <math.h>
#include <stdlib.h>

static Status build(Ctx *c, void *arg) {
  Rig *k = arg;
  Graph *g;
  Kernels kernels;
  RtFile packed = {0};
  TRY(graph_parse(c, k->text, strlen(k->text), "test", &g));
  TRY(graph_verify(c, g));
  k->a = arena_create(c);
  TRY(kernels_compile(c, k->a, k->a, g, &(KernelsInput){.level = cpu_level(), .threads = 1}, &kernels));
  PlanInput in = {.groups = kernels.groups, .object = kernels.object, .nobject = kernels.nobject, .code = kernels.code};
  TRY(plan_build(c, k->a, g, &in, &k->image, &k->size));
  if (kernels.packed)
    packed = (RtFile){kernels.packed, kernels.groups->packed_size};
  graph_destroy(g);
  dim_release(c);
  return rt_load(c, k->a, k->image, k->size, plan_build_id(), &packed, kernels.packed ? 1 : 0, &k->p);
}

static void open_compiled(Rig *k, const char *text, const char *kernel) {
  memset(k, 0, sizeof *k);
  if (!backend_present() || !cpu_level())
    skip();
  alloc_init_system(&k->alloc);
  ctx_open(&k->c, &k->alloc);
  k->text = text;
  if (ctx_protect(&k->c, build, k)) {
    print_error("%s\n", k->c.err.message);
    fail_msg("the program does not build");
  }
  ctx_open(&k->r, &k->alloc);
  assert_true(rt_count(k->p, SEC_CALLS) >= 1);
  bool found = false;
  for (uint32_t i = 0; i < rt_count(k->p, SEC_STEPS); i++)
    found |= rt_step(k->p, i)->kind == STEP_KERNEL && strstr(rt_string(k->p, rt_step(k->p, i)->op), kernel);
  assert_true(found);
}

static const char softmax[] = "graph \"g\" {\nin %x : f32[n, m]\n%y : f32[n, m] = Softmax(%x) {axis = -1}\nout %y\n}\n";

static float *noise(size_t n) {
  float *x = malloc(n * sizeof *x + 1);
  uint32_t s = 1;
  for (size_t i = 0; i < n; i++)
    s = s * 1664525 + 1013904223, x[i] = (float)(s >> 8) / (1 << 20) - 8;
  return x;
}

static void test_threads_give_the_same_bits(void **state) {
  enum { N = 401, M = 333 };
  Rig k;
  Pool *pool;
  (void)state;
  open_compiled(&k, softmax, "Softmax");
  float *x = noise(N * M), *first = malloc(N * M * sizeof *first);
  rig_feed(&k, DT_f32, SHAPE(N, M), x);
  assert_int_equal(pool_create(&k.c, 4, &pool), ST_OK);
  k.o.pool = pool;
  for (int threads = 1; threads <= 4; threads++) {
    k.o.threads = threads;
    rig_run(&k);
    if (threads == 1)
      memcpy(first, k.out[0].t.data, N * M * sizeof *first);
    assert_memory_equal(first, k.out[0].t.data, N * M * sizeof *first);
  }
  double sum = 0;
  for (int i = 0; i < M; i++)
    sum += first[i];
  assert_true(sum > 0.9999 && sum < 1.0001); /* a row of a softmax */
  pool_destroy(pool);
  rig_close(&k);
  free(x), free(first);
}

static void test_unaligned_input(void **state) {
  Rig k;
  float v[] = {0, 0, 0, 0}, want[] = {0.25f, 0.25f, 0.25f, 0.25f};
  char raw[sizeof v + 1];
  (void)state;
  open_compiled(&k, softmax, "Softmax");
  memcpy(raw + 1, v, sizeof v);
  rig_feed(&k, DT_f32, SHAPE(1, 4), raw + 1);
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(1, 4), want);
  rig_close(&k);
}

static void test_empty(void **state) {
  Rig k;
  (void)state;
  open_compiled(&k, softmax, "Softmax");
  rig_feed(&k, DT_f32, SHAPE(0, 4), "");
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(0, 4), "");
  rig_close(&k);
}

static void test_failed_check(void **state) {
  Rig k;
  (void)state;
  open_compiled(
      &k, "graph \"g\" {\nin %x : f32[n, m]\nin %i : i64[k]\n%y : f32[k, m] = Gather(%x, %i) {axis = 0}\nout %y\n}\n",
      "Gather");
  rig_feed(&k, DT_f32, SHAPE(2, 2), F32(1, 2, 3, 4));
  rig_feed(&k, DT_i64, SHAPE(2), I64(-1, 0));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2, 2), F32(3, 4, 1, 2));
  k.in[1].data = I64(1, 7);
  assert_int_equal(rig_try(&k), ST_INVALID);
  assert_non_null(strstr(k.r.err.message, "7"));
  assert_string_equal(k.r.err.op, "Gather");
  k.in[1].data = I64(1, 1);
  rig_run(&k);
  rig_close(&k);
}

static void test_cancel(void **state) {
  Rig k;
  atomic_int stop = 1;
  (void)state;
  open_compiled(&k, softmax, "Softmax");
  rig_feed(&k, DT_f32, SHAPE(1, 4), F32(1, 2, 3, 4));
  k.r.cancel = &stop;
  assert_int_equal(rig_try(&k), ST_CANCELLED);
  k.r.cancel = NULL, k.r.deadline_ns = now_ns() - 1;
  assert_int_equal(rig_try(&k), ST_TIMEOUT);
  k.r.deadline_ns = now_ns() + 60000000000;
  rig_run(&k);
  rig_close(&k);
}

static void count_step(void *arg, const RtStepTime *t) {
  RtStepTime *last = arg;
  assert_true(t->end_ns >= t->start_ns);
  *last = *t;
}

static void test_profile(void **state) {
  Rig k;
  RtStepTime last = {.step = 99};
  (void)state;
  open_compiled(&k, softmax, "Softmax");
  rig_feed(&k, DT_f32, SHAPE(8, 4), (float[32]){0});
  k.o.profile = count_step, k.o.profile_arg = &last;
  rig_run(&k);
  assert_int_equal(last.step, 0);
  assert_int_equal(last.depth, 0);
  assert_int_equal(last.threads, 1);
  assert_true(last.bytes >= 2 * 32 * 4); /* every element read and written once at least */
  rig_close(&k);
}

/* A step worth two threads has both while its run is the only one, and one of them beside another run; the bits are the same. */
static void test_cores_are_shared_out(void **state) {
  enum { N = 401, M = 333 };
  Rig k;
  Pool *pool;
  RtStepTime last;
  (void)state;
  open_compiled(&k, softmax, "Softmax");
  float *x = noise(N * M), *alone = malloc(N * M * sizeof *alone);
  rig_feed(&k, DT_f32, SHAPE(N, M), x);
  assert_int_equal(pool_create(&k.c, 2, &pool), ST_OK);
  k.o.pool = pool, k.o.threads = 2, k.o.profile = count_step, k.o.profile_arg = &last;
  rig_run(&k);
  assert_int_equal(last.threads, 2);
  memcpy(alone, k.out[0].t.data, N * M * sizeof *alone);
  pool_hold(pool); /* another run begins */
  rig_run(&k);
  assert_int_equal(last.threads, 1);
  assert_memory_equal(alone, k.out[0].t.data, N * M * sizeof *alone);
  pool_release(pool);
  rig_run(&k);
  assert_int_equal(last.threads, 2);
  pool_destroy(pool);
  rig_close(&k);
  free(x), free(alone);
}

/* Packed weights: the last file of the program, here of one product. [1 2] times {{1, 0, 2}, {0, 1, 3}}. */
static void test_packed(void **state) {
  Rig k;
  (void)state;
  open_compiled(&k,
                "graph \"g\" {\nin %x : f32[n, 2]\nconst %w : f32[2, 3] = {1, 0, 2, 0, 1, 3}\n%y : f32[n, 3] = "
                "MatMul(%x, %w)\nout %y\n}\n",
                "MatMul");
  rig_feed(&k, DT_f32, SHAPE(1, 2), F32(1, 2));
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(1, 3), F32(1, 2, 8));
  rig_close(&k);
}

/* A mask of as many columns as there are keys, in all runs but one: which stops. */
static void test_broadcast_mask(void **state) {
  static const float v[] = {3, 5, 7}, mask[] = {0, -INFINITY, 0};
  Rig k;
  (void)state;
  open_compiled(
      &k,
      "graph \"g\" {\nin %q : f32[1, 1, n, 1]\nin %k : f32[1, 1, m, 1]\nin %v : f32[1, 1, m, 1]\nin %w : f32[n, w]\n"
      "%d : i64[2] = sard.Dims() {dims = [n, Bcast(m, w)]}\n%e : f32[n, Bcast(m, w)] = Expand(%w, %d)\n"
      "%y : f32[1, 1, n, 1] = Attention(%q, %k, %v, %e)\nout %y\n}\n",
      "Attention");
  const ProgStep *last = rt_step(k.p, rt_count(k.p, SEC_STEPS) - 1);
  assert_string_equal(rt_string(k.p, rt_kernel(k.p, last)->name), "attention.1x1");
  rig_feed(&k, DT_f32, SHAPE(1, 1, 1, 1), F32(0));
  rig_feed(&k, DT_f32, SHAPE(1, 1, 3, 1), v);
  rig_feed(&k, DT_f32, SHAPE(1, 1, 3, 1), v);
  rig_feed(&k, DT_f32, SHAPE(1, 3), mask);
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(1, 1, 1, 1), F32(5)); /* (3 + 7) / 2 */
  k.in[3].dim[1] = 1;                                   /* one column for all */
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(1, 1, 1, 1), F32(5)); /* (3 + 5 + 7) / 3 */
  k.in[1].dim[2] = k.in[2].dim[2] = 1, k.in[3].dim[1] = 0;
  rig_error(&k, ST_INVALID, "the last extent of the mask: 0, where 1 is needed");
  rig_close(&k);
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

static void rehash(uint8_t *image, size_t size) {
  size_t head = (sizeof(ProgHeader) + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  uint64_t hash = hash_bytes(image + head, size - head, 0);
  memcpy(image + offsetof(ProgHeader, hash), &hash, sizeof hash);
}

/* Every byte outside of the code changed, with the hash made right again: loading fails or works, and gives all memory back.
 * Such a program is not run: machine code is as trustworthy as its hash. */
static void damage(const char *text, const char *kernel) {
  Rig k;
  open_compiled(&k, text, kernel);
  uint8_t *image = aligned_alloc(PROG_ALIGN, k.size);
  size_t head = (sizeof(ProgHeader) + PROG_ALIGN - 1) / PROG_ALIGN * PROG_ALIGN;
  const ProgHeader *h = (const ProgHeader *)(const void *)k.image;
  int refused = 0;
  memcpy(image, k.image, k.size);
  for (size_t i = head; i < h->section[SEC_CODE].offset; i++)
    for (int bit = 0; bit < 8; bit += 7) {
      Alloc alloc;
      Ctx c;
      Load l = {image, k.size, NULL};
      image[i] ^= (uint8_t)(1 << bit);
      rehash(image, k.size);
      alloc_init_system(&alloc);
      ctx_open(&c, &alloc);
      if (ctx_protect(&c, load, &l))
        refused++;
      else
        rt_unload(l.p);
      ctx_close(&c);
      assert_int_equal(atomic_load(&alloc.used), 0);
      image[i] ^= (uint8_t)(1 << bit);
    }
  assert_true(refused > 100);
  free(image);
  rig_close(&k);
}

static void test_damage(void **state) {
  (void)state;
  damage(softmax, "Softmax");
}

/* --- caches: memory of [2, 4, 2] that two rows are in, and then three --- */

static const char cache[] = "graph \"g\" {\nin %p : f32[2, m, 2]\nin %x : f32[2, n, 2]\n"
                            "%q : f32[2, m + n, 2] = Concat(%p, %x) {axis = 1}\nout %q\n}\n";

static void test_damaged_cache(void **state) {
  Rig k;
  (void)state;
  damage(cache, "Concat");
  open_compiled(&k, cache, "Concat");
  assert_int_equal(rt_count(k.p, SEC_APPENDS), 1);
  uint8_t *image = aligned_alloc(PROG_ALIGN, k.size);
  size_t at = ((const ProgHeader *)(const void *)k.image)->section[SEC_APPENDS].offset;
  for (size_t i = 0; i < sizeof(ProgAppend); i += sizeof(uint32_t)) {
    Load l = {image, k.size, NULL};
    memcpy(image, k.image, k.size);
    memset(image + at + i, 0x7f, sizeof(uint32_t));
    rehash(image, k.size);
    assert_int_equal(ctx_protect(&k.r, load, &l), ST_INVALID);
    assert_string_equal(k.r.err.message, "the compiled program is damaged: caches");
  }
  free(image);
  rig_close(&k);
}

static void test_cache(void **state) {
  float memory[16] = {1, 2, 3, 4, 0, 0, -1, -1, 5, 6, 7, 8, 0, 0, -1, -1};
  static const float grown[16] = {1, 2, 3, 4, 10, 11, -1, -1, 5, 6, 7, 8, 12, 13, -1, -1};
  Rig k;
  Tensor into = {.kind = VK_TENSOR, .dtype = DT_f32, .rank = 3, .dim = {2, 3, 2}, .data = memory};
  RtRoom room = {4, 4, true};
  (void)state;
  open_compiled(&k, cache, "Concat");
  rig_feed(&k, DT_f32, SHAPE(2, 2, 2), memory);
  rig_feed(&k, DT_f32, SHAPE(2, 1, 2), F32(10, 11, 12, 13));
  k.o.room = &room;
  rig_error(&k, ST_USAGE, "output 'q' is f32[2,3,2] but the memory given for it is not there");
  k.out[0].into = &into;
  rig_run(&k);
  assert_true(k.out[0].in_place);
  assert_memory_equal(memory, grown, sizeof grown);
  room = (RtRoom){4, 2, false};
  rig_error(&k, ST_USAGE, "the memory given for 'q' has room for 2 rows, not for 3");
  room = (RtRoom){1, 4, false};
  rig_error(&k, ST_USAGE, "the memory given for 'p' has room for 1 rows, not for 2");
  room = (RtRoom){4, 0, false}; /* of the same memory, into a dense result */
  k.out[0].into = NULL;
  rig_run(&k);
  rig_expect(&k, 0, DT_f32, SHAPE(2, 3, 2), F32(1, 2, 3, 4, 10, 11, 5, 6, 7, 8, 12, 13));
  rig_close(&k);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads_give_the_same_bits),
                                     cmocka_unit_test(test_unaligned_input),
                                     cmocka_unit_test(test_empty),
                                     cmocka_unit_test(test_failed_check),
                                     cmocka_unit_test(test_cancel),
                                     cmocka_unit_test(test_profile),
                                     cmocka_unit_test(test_cores_are_shared_out),
                                     cmocka_unit_test(test_packed),
                                     cmocka_unit_test(test_broadcast_mask),
                                     cmocka_unit_test(test_damage),
                                     cmocka_unit_test(test_damaged_cache),
                                     cmocka_unit_test(test_cache)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
