/* texts.h - the kernel texts of this folder as tests use them, with data that hang on a text's name only. Lines `# key …` in a
 * text: bind SYM=N … (one run each), tol T (relative, of numbers below 0.1 to that), sums BUF (where terms may cancel:
 * relative to the largest of the inputs at least), finite (no NaN or infinity in the data), ints BUF LO HI (range of an
 * integer buffer), ptx TEXT and no ptx TEXT (what its code for GPUs contains, and what it must not). Included behind cmocka.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_KERNEL_TEXTS_H
#define SARD_TESTS_KERNEL_TEXTS_H

#include "ir/kernel.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Binding {
  char name[8][16];
  int64_t value[8];
  int n;
} Binding;

static bool value_of(void *arg, Dim sym, int64_t *v) {
  const Binding *b = arg;
  for (int i = 0; i < b->n; i++)
    if (!strcmp(b->name[i], sym->name)) {
      *v = b->value[i];
      return true;
    }
  return false;
}

/* --- data --- */

static uint64_t state = 88172645463325252u;

/* FNV-1a. */
static void seed_by(const char *name) {
  state = 0xcbf29ce484222325u;
  for (; *name; name++)
    state = (state ^ (uint8_t)*name) * 0x100000001b3u;
}

static uint64_t random_bits(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static double random_float(bool finite) {
  static const double special[] = {NAN, INFINITY, -INFINITY, 0.0,  -0.0, 1e-40, -3e-42,
                                   1.0, -1.0,     6e4,       7e-6, 3e38, -7e4};
  if (!finite && random_bits() % 6 == 0)
    return special[random_bits() % countof(special)];
  return ((double)(random_bits() % 2000001) - 1000000) / 250000;
}

/* lo, hi of `# ints BUF LO HI`; false: the buffer is not mentioned. */
static bool int_range(const char *text, const char *buf, long long *lo, long long *hi) {
  char name[32];
  for (const char *p = text; (p = strstr(p, "# ints ")); p++)
    if (sscanf(p, "# ints %31s %lld %lld", name, lo, hi) == 3 && !strcmp(name, buf))
      return true;
  return false;
}

static void fill(const char *text, const KBuf *b, Tensor *t) {
  long long lo = 0, hi = 0;
  bool range = int_range(text, b->name, &lo, &hi), finite = strstr(text, "# finite");
  DType part = b->dtype == DT_c64 ? DT_f32 : DT_f64;
  for (int64_t i = 0; i < tensor_count(t); i++) {
    if (dtype_kind(b->dtype) == DK_COMPLEX)
      elem_set_f64(part, t->data, 2 * i, random_float(true)),
          elem_set_f64(part, t->data, 2 * i + 1, random_float(true));
    else if (dtype_is_float(b->dtype))
      elem_set_f64(b->dtype, t->data, i, random_float(finite));
    else if (b->dtype == DT_bool)
      elem_set_i64(b->dtype, t->data, i, (int64_t)(random_bits() & 1));
    else
      elem_set_i64(b->dtype, t->data, i,
                   range ? lo + (int64_t)(random_bits() % (uint64_t)(hi - lo + 1)) : (int64_t)random_bits() >> 20);
  }
}

static void buffers(Ctx *c, Arena *a, const char *text, const Kernel *k, Binding *bind, Tensor **t) {
  for (uint32_t i = 0; i < k->nio; i++) {
    int64_t dim[MAX_RANK];
    for (int d = 0; d < k->buf[i]->rank; d++)
      assert_true(dim_eval(k->buf[i]->dim[d], value_of, bind, &dim[d]));
    assert_int_equal(tensor_new(c, a, k->buf[i]->dtype, k->buf[i]->rank, dim, &t[i]), ST_OK);
    if (i < k->nin)
      fill(text, k->buf[i], t[i]);
  }
}

/* What numbers of output b are compared by, if they are smaller than that. */
static double least_scale(const char *text, const Kernel *k, const KBuf *b, Tensor *const *in) {
  char name[32];
  double most = 0.1;
  bool sums = false;
  for (const char *p = text; (p = strstr(p, "# sums ")); p++)
    sums |= sscanf(p, "# sums %31s", name) == 1 && !strcmp(name, b->name);
  assert_true(!sums || strstr(text, "# finite"));
  for (uint32_t i = 0; sums && i < k->nin; i++)
    for (int64_t j = 0; dtype_is_float(in[i]->dtype) && j < tensor_count(in[i]); j++)
      most = fmax(most, fabs(elem_f64(in[i]->dtype, in[i]->data, j)));
  return most;
}

static bool same(DType t, const void *x, const void *y, int64_t i, double tol, double least) {
  size_t bytes = (size_t)dtype_bits(t) / 8;
  if (dtype_kind(t) == DK_COMPLEX)
    return !memcmp((const char *)x + (size_t)i * bytes, (const char *)y + (size_t)i * bytes, bytes);
  if (!dtype_is_float(t))
    return elem_i64(t, x, i) == elem_i64(t, y, i);
  double a = elem_f64(t, x, i), b = elem_f64(t, y, i);
  if (isnan(a) || isnan(b))
    return isnan(a) && isnan(b);
  return a == b || fabs(a - b) <= tol * fmax(fabs(b), least);
}

static bool read_text(const char *path, char *text, size_t cap) {
  FILE *f = fopen(path, "r");
  if (!f)
    return false;
  size_t n = fread(text, 1, cap - 1, f);
  text[n] = 0;
  fclose(f);
  return true;
}

static bool next_binding(const char **p, Binding *b) {
  *p = strstr(*p, "# bind");
  if (!*p)
    return false;
  *p += 6;
  *b = (Binding){0};
  int used;
  long long v;
  while (sscanf(*p, "%*[ ]%15[a-z]=%lld%n", b->name[b->n], &v, &used) == 2)
    b->value[b->n++] = v, *p += used;
  return true;
}

static Kernel *parse(Ctx *c, Arena *a, const char *text, const char *path) {
  Kernel *k;
  if (kernel_parse(c, a, text, strlen(text), path, &k))
    fail_msg("%s: %s", path, c->err.message);
  return k;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Every text in order of its name; ONLY, if set, in part of it. */
static void each_text(Ctx *c, void (*one)(Ctx *c, const char *path)) {
  char *names[256], path[512];
  int n = 0;
  DIR *d = opendir(TEST_DIR "/kernel");
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));)
    if (strlen(e->d_name) > 2 && !strcmp(e->d_name + strlen(e->d_name) - 2, ".k") && n < 256)
      names[n++] = strdup(e->d_name);
  closedir(d);
  qsort(names, (size_t)n, sizeof *names, by_name);
  assert_true(n > 0);
  for (int i = 0; i < n; i++) {
    snprintf(path, sizeof path, "%s/kernel/%s", TEST_DIR, names[i]);
    if (!getenv("ONLY") || strstr(path, getenv("ONLY")))
      seed_by(names[i]), one(c, path);
    free(names[i]);
  }
}

#endif
