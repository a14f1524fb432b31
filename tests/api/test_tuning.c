/* test_tuning.c - a table of tuned products in the compile cache: models are compiled by it, kept under it, and without it when it is
 * damaged or another's; what they compute does not change beyond rounding, and not at all with the threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "api/tune.h"

#include "codegen/backend.h"
#include "codegen/product.h"
#include "runtime/cache.h"
#include "support/cpu.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL                                                                                                          \
  SOURCE_DIR "/models/fixtures/encoder/dynamo/model.onnx" /* tokens i64[seq, batch] -> f32[seq, batch, 96] */
enum { VOCAB = 96, SEQ = 7, BATCH = 3, NOUT = SEQ * BATCH * VOCAB, MAX_ROWS = 64 };

typedef struct World {
  char dir[64];
  char logged[512]; /* the last warning */
  sard_env *env;
  TuningRow row[MAX_ROWS]; /* the model's products */
  uint32_t n;
} World;

static void keep_warning(void *arg, int level, const char *text) {
  World *w = arg;
  if (!level)
    snprintf(w->logged, sizeof w->logged, "%s", text);
}

static int remove_all(const char *dir) {
  char path[512];
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.' && snprintf(path, sizeof path, "%s/%s", dir, e->d_name) > 0)
      unlink(path);
  if (d)
    closedir(d);
  return rmdir(dir);
}

static int by_key(const void *a, const void *b) {
  uint64_t x = ((const TuningRow *)a)->key, y = ((const TuningRow *)b)->key;
  return (x > y) - (x < y);
}

/* The model's products. */
static void find_rows(World *w) {
  sard_options o = SARD_OPTIONS_INIT;
  sard_model *m;
  assert_int_equal(tune_load(w->env, MODEL, &o, &(Tuning){0}, &m, NULL), SARD_OK);
  assert_int_equal(sard_model_cache(m), SARD_CACHE_OFF);
  for (size_t i = 0; i < sard_step_count(m); i++) {
    uint64_t key = tune_key(m, i);
    bool seen = !key;
    for (uint32_t k = 0; k < w->n; k++)
      seen |= w->row[k].key == key;
    if (!seen && w->n < MAX_ROWS)
      w->row[w->n++].key = key;
  }
  sard_model_free(m);
  assert_true(w->n >= 2);
  qsort(w->row, w->n, sizeof *w->row, by_key);
}

static int setup(void **state) {
  World *w = calloc(1, sizeof *w);
  sard_env_options o = SARD_ENV_OPTIONS_INIT;
  o.log = keep_warning, o.log_arg = w;
  strcpy(w->dir, "/tmp/sard-tuning.XXXXXX");
  if (!mkdtemp(w->dir) || sard_env_create(&o, &w->env, NULL))
    return 1;
  *state = w;
  return 0;
}

static int teardown(void **state) {
  World *w = *state;
  sard_env_free(w->env);
  remove_all(w->dir);
  free(w);
  return 0;
}

/* This cut for all products, in the table. */
static void keep(World *w, ProductCut cut) {
  Alloc alloc;
  Ctx c;
  uint32_t all;
  alloc_init_system(&alloc);
  ctx_open(&c, &alloc);
  for (uint32_t i = 0; i < w->n; i++)
    w->row[i].cut = cut;
  assert_int_equal(tune_keep(&c, arena_create(&c), w->dir, &(Tuning){.row = w->row, .n = w->n}, &all), ST_OK);
  assert_int_equal(all, cut.tile || cut.depth || cut.rows || cut.cols ? w->n : 0);
  ctx_close(&c);
}

/* Loads and runs it: *tile is set to the tile of its products, when all have the same. */
static sard_cache_state run(World *w, int threads, char tile[32], float *out) {
  sard_options o = SARD_OPTIONS_INIT;
  sard_step s = SARD_STEP_INIT;
  sard_model *m;
  sard_result *r;
  sard_tensor y;
  int64_t tokens[SEQ * BATCH];
  o.cache = w->dir, o.threads = threads;
  *w->logged = 0, *tile = 0;
  for (int i = 0; i < SEQ * BATCH; i++)
    tokens[i] = (i * 7 + 3) % VOCAB;
  sard_tensor in = {.data = tokens, .dtype = SARD_I64, .rank = 2, .dim = {SEQ, BATCH}};
  assert_int_equal(sard_load_file(w->env, MODEL, &o, &m, NULL), SARD_OK);
  for (size_t i = 0; i < sard_step_count(m); i++) {
    assert_int_equal(sard_step_info(m, i, &s), SARD_OK);
    if (strncmp(s.kernel, "product.", 8) || strstr(s.kernel, "batched"))
      continue;
    const char *was = *tile && strcmp(tile, s.tile) ? "different ones" : s.tile;
    snprintf(tile, 32, "%s", was);
  }
  assert_int_equal(sard_run(m, &in, 1, NULL, &r, NULL), SARD_OK);
  assert_int_equal(sard_result_tensor(r, 0, &y), SARD_OK);
  memcpy(out, y.data, NOUT * sizeof *out);
  sard_result_free(r);
  sard_cache_wait(m, NULL);
  sard_cache_state state = sard_model_cache(m);
  sard_model_free(m);
  return state;
}

static void close_to(const float *x, const float *y) {
  for (int i = 0; i < NOUT; i++)
    assert_true(fabsf(x[i] - y[i]) <= 1e-4f);
}

static void test_used(void **state) {
  World *w = *state;
  static float plain[NOUT], tuned[NOUT], again[NOUT];
  char tile[32], want[32];
  if (!backend_present() || !cpu_level())
    skip();
  find_rows(w);
  assert_int_equal(run(w, 1, tile, plain), SARD_CACHE_MISS);
  assert_int_equal(run(w, 1, tile, plain), SARD_CACHE_HIT);
  const ProductTile *t = product_level(cpu_level())->tile;
  for (uint8_t i = 0; t[i].mr; i++) {
    keep(w, (ProductCut){.tile = (uint8_t)(i + 1), .depth = -1, .rows = -2, .cols = 1});
    snprintf(want, sizeof want, "%dx%d", t[i].mr, t[i].nr);
    assert_int_equal(run(w, 1, tile, tuned), SARD_CACHE_MISS); /* the table is part of the key */
    assert_string_equal(tile, want);
    close_to(plain, tuned);
    assert_int_equal(run(w, 2, tile, again), SARD_CACHE_HIT);
    assert_string_equal(tile, want);
    assert_memory_equal(tuned, again, sizeof tuned);
  }
  keep(w, (ProductCut){0}); /* as it was */
  assert_int_equal(run(w, 1, tile, again), SARD_CACHE_HIT);
  assert_memory_equal(plain, again, sizeof plain);
  assert_string_equal(w->logged, "");
}

/* The one file of the directory. */
static void only_file(const World *w, char path[512]) {
  DIR *d = opendir(w->dir);
  int n = 0;
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.')
      snprintf(path, 512, "%s/%s", w->dir, e->d_name), n++;
  closedir(d);
  assert_int_equal(n, 1);
}

static void change(const char *path, long at) {
  FILE *f = fopen(path, "r+b");
  assert_int_equal(fseek(f, at, SEEK_SET), 0);
  int v = fgetc(f);
  fseek(f, at, SEEK_SET);
  fputc(v ^ 1, f);
  fclose(f);
}

/* Damaged at its head or in its sums, and one that others may write to. */
static void test_not_believed(void **state) {
  World *w = *state;
  static float plain[NOUT], again[NOUT];
  char before[32], tile[32], path[512];
  if (!backend_present() || !cpu_level())
    skip();
  find_rows(w);
  run(w, 1, before, plain);
  for (int what = 0; what < 3; what++) {
    remove_all(w->dir);
    keep(w, (ProductCut){.tile = 2, .rows = 1});
    only_file(w, path);
    if (what == 0)
      change(path, 0); /* the magic */
    if (what == 1)
      change(path, 16); /* a sum */
    if (what == 2)
      assert_int_equal(chmod(path, 0666), 0);
    run(w, 1, tile, again);
    assert_string_equal(tile, before);
    assert_memory_equal(plain, again, sizeof plain);
    assert_non_null(strstr(w->logged, "the tuning of this CPU is left aside"));
    assert_non_null(strstr(w->logged, what < 2 ? "damaged" : "written to by other users"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_used, setup, teardown),
      cmocka_unit_test_setup_teardown(test_not_believed, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
