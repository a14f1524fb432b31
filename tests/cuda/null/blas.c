/* blas.c - a libcublasLt.so.13 of our own, for tests: products over the memory of the null driver, in order on its streams, and what
 * follows them. An algorithm is good for what it was asked for alone: layouts, epilogue and alignment are in it, as a sum.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/half.h"
#include "tests/cuda/null/null.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT                          __attribute__((visibility("default")))
#define CU(library, symbol, parameters) EXPORT int symbol parameters;
#include "cuda/cuda.def"
#undef CU
EXPORT size_t cublasLtGetVersion(void);
EXPORT int null_asked(void);
EXPORT NullProduct null_product(void);

enum { NEEDED = 4096 };                 /* of workspace */
enum { INVALID = 7, UNSUPPORTED = 15 }; /* cublasStatus_t */

struct BlasContext {
  int unused;
};
struct BlasProductDescription {
  int32_t trans[2];
  uint32_t epilogue;
  uint64_t bias;
  int32_t bias_type, compute;
};
struct BlasMatrixDescription {
  uint64_t rows, columns;
  int64_t ld, step;
  int32_t count, type;
};
struct BlasPreferences {
  uint64_t workspace;
  uint32_t alignment[4];
};
static atomic_int live, asked; /* objects; algorithms */
static pthread_mutex_t latest_lock = PTHREAD_MUTEX_INITIALIZER;
static NullProduct latest;

int null_asked(void) { return asked; }

NullProduct null_product(void) {
  pthread_mutex_lock(&latest_lock);
  NullProduct p = latest;
  pthread_mutex_unlock(&latest_lock);
  return p;
}

size_t cublasLtGetVersion(void) { return 130100; }

static void *make(size_t size) {
  live++;
  return calloc(1, size);
}

static int drop(void *p) {
  int error = null_step();
  live--;
  free(p);
  return p ? error : INVALID;
}

#define CALL                                                                                                           \
  do {                                                                                                                 \
    int failed_ = null_step();                                                                                         \
    if (failed_)                                                                                                       \
      return failed_;                                                                                                  \
  } while (0)

int cublasLtCreate(BlasHandle *handle) {
  CALL;
  return (*handle = make(sizeof **handle)) ? 0 : INVALID;
}
int cublasLtDestroy(BlasHandle handle) { return drop(handle); }
int cublasLtMatmulDescDestroy(BlasProduct product) { return drop(product); }
int cublasLtMatrixLayoutDestroy(BlasLayout layout) { return drop(layout); }
int cublasLtMatmulPreferenceDestroy(BlasPreference preference) { return drop(preference); }
int cublasLtMatmulPreferenceCreate(BlasPreference *preference) {
  CALL;
  return (*preference = make(sizeof **preference)) ? 0 : INVALID;
}

int cublasLtMatmulPreferenceSetAttribute(BlasPreference preference, int attribute, const void *value, size_t bytes) {
  CALL;
  int side = attribute - BLAS_LEAST_ALIGNMENT;
  if (attribute == BLAS_MOST_WORKSPACE && bytes == sizeof preference->workspace)
    memcpy(&preference->workspace, value, bytes);
  else if (side >= 0 && side < 4 && bytes == sizeof preference->alignment[0])
    memcpy(&preference->alignment[side], value, bytes);
  else
    return INVALID;
  return 0;
}

int cublasLtMatmulDescCreate(BlasProduct *product, int compute, int scale) {
  CALL;
  *product = make(sizeof **product);
  (*product)->compute = compute, (*product)->epilogue = BLAS_PLAIN, (*product)->bias_type = -1;
  return (compute == BLAS_COMPUTE_F32 || compute == BLAS_COMPUTE_TF32) && scale == BLAS_F32 ? 0 : UNSUPPORTED;
}

int cublasLtMatmulDescSetAttribute(BlasProduct product, int attribute, const void *value, size_t bytes) {
  CALL;
  void *field = attribute == BLAS_TRANS_A     ? (void *)&product->trans[0]
                : attribute == BLAS_TRANS_B   ? &product->trans[1]
                : attribute == BLAS_EPILOGUE  ? (void *)&product->epilogue
                : attribute == BLAS_BIAS      ? (void *)&product->bias
                : attribute == BLAS_BIAS_TYPE ? &product->bias_type
                                              : NULL;
  if (!field || bytes != (attribute == BLAS_BIAS ? 8 : 4))
    return INVALID;
  memcpy(field, value, bytes);
  return 0;
}

static size_t size_of(int32_t type) { return type == BLAS_F32 ? 4 : 2; }

int cublasLtMatrixLayoutCreate(BlasLayout *layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  CALL;
  *layout = make(sizeof **layout);
  **layout = (struct BlasMatrixDescription){rows, columns, ld, 0, 1, type};
  bool known = type == BLAS_F32 || type == BLAS_F16 || type == BLAS_BF16;
  return known && rows && columns && ld >= (int64_t)rows ? 0 : INVALID;
}

int cublasLtMatrixLayoutSetAttribute(BlasLayout layout, int attribute, const void *value, size_t bytes) {
  CALL;
  if (attribute == BLAS_BATCH_COUNT && bytes == sizeof layout->count)
    memcpy(&layout->count, value, bytes);
  else if (attribute == BLAS_BATCH_STEP && bytes == sizeof layout->step)
    memcpy(&layout->step, value, bytes);
  else
    return INVALID;
  return 0;
}

/* Rows and columns of an operand as it is multiplied. */
static uint64_t rows_of(const struct BlasMatrixDescription *l, bool trans) { return trans ? l->columns : l->rows; }
static uint64_t columns_of(const struct BlasMatrixDescription *l, bool trans) { return trans ? l->rows : l->columns; }

static bool epilogue_known(BlasProduct p, int32_t type) {
  uint32_t after = p->epilogue & ~(uint32_t)BLAS_WITH_BIAS;
  bool bias = p->epilogue & BLAS_WITH_BIAS;
  return (after == 0            ? bias
          : after == BLAS_PLAIN ? !bias
                                : after == BLAS_RELU || after == BLAS_GELU) &&
         (bias ? p->bias && p->bias_type == type : !p->bias);
}

static bool fit(BlasProduct p, BlasLayout a, BlasLayout b, BlasLayout c) {
  return rows_of(a, p->trans[0]) == c->rows && columns_of(b, p->trans[1]) == c->columns &&
         columns_of(a, p->trans[0]) == rows_of(b, p->trans[1]) && a->count == c->count && b->count == c->count &&
         a->type == c->type && b->type == c->type && epilogue_known(p, c->type) &&
         (p->compute == BLAS_COMPUTE_F32 || c->type == BLAS_F32);
}

/* Of all that an algorithm is chosen by. */
static uint64_t sum_of(BlasProduct p, BlasLayout a, BlasLayout b, BlasLayout c) {
  uint64_t h = (uint64_t)p->trans[0] + 2 * (uint64_t)p->trans[1] + 4 * p->epilogue + 1024 * (uint64_t)p->compute;
  const struct BlasMatrixDescription *all[] = {a, b, c};
  for (int i = 0; i < 3; i++) {
    const uint64_t part[] = {all[i]->rows, all[i]->columns, (uint64_t)all[i]->step, (uint64_t)all[i]->count,
                             (uint64_t)all[i]->type};
    for (size_t j = 0; j < sizeof part / sizeof *part; j++)
      h = (h ^ part[j]) * 0x100000001b3;
  }
  return h;
}

int cublasLtMatmulAlgoGetHeuristic(BlasHandle handle, BlasProduct product, BlasLayout a, BlasLayout b, BlasLayout c,
                                   BlasLayout d, BlasPreference preference, int wanted, BlasChoice *choice,
                                   int *found) {
  CALL;
  *found = handle && preference && wanted == 1 && c == d && preference->workspace >= NEEDED && fit(product, a, b, c);
  *choice = (BlasChoice){.algorithm = {{0x5a, sum_of(product, a, b, c)}}, .workspace = NEEDED};
  for (int i = 0; i < 4; i++)
    choice->algorithm.data[2 + i] = preference->alignment[i] ? preference->alignment[i] : 256;
  asked++;
  return 0;
}

/* --- multiplying --- */

typedef struct Multiply {
  struct BlasProductDescription p;
  struct BlasMatrixDescription a, b, c;
  uint64_t at_a, at_b, at_c, at_d;
  float factor, beta;
} Multiply;

static float from_bits(uint32_t w) {
  float f;
  memcpy(&f, &w, 4);
  return f;
}

static double load(const struct BlasMatrixDescription *l, const void *p, uint64_t i) {
  uint16_t h;
  float f;
  if (l->type == BLAS_F32) {
    memcpy(&f, (const char *)p + 4 * i, 4);
    return (double)f;
  }
  memcpy(&h, (const char *)p + 2 * i, 2);
  if (l->type == BLAS_BF16)
    return (double)from_bits((uint32_t)h << 16);
  int e = h >> 10 & 31;
  double v = e == 31 ? (h & 1023 ? NAN : INFINITY) : ldexp(e ? 1024 + (h & 1023) : h & 1023, (e ? e : 1) - 25);
  return h & 0x8000 ? -v : v;
}

static void keep(const struct BlasMatrixDescription *l, void *p, uint64_t i, double v) {
  float f = (float)v;
  uint32_t w;
  uint16_t h = half(v);
  memcpy(&w, &f, 4);
  if (l->type == BLAS_BF16)
    h = isnan(f) ? 0x7fff : (uint16_t)((w + 0x7fff + (w >> 16 & 1)) >> 16);
  if (l->type == BLAS_F32)
    memcpy((char *)p + 4 * i, &f, 4);
  else
    memcpy((char *)p + 2 * i, &h, 2);
}

/* tf32 has 10 bits behind the leading one. */
static double operand(const Multiply *x, const struct BlasMatrixDescription *l, const void *p, uint64_t i) {
  double v = load(l, p, i);
  if (x->p.compute != BLAS_COMPUTE_TF32 || v == 0 || !isfinite(v))
    return v;
  int e = ilogb(v);
  return ldexp(nearbyint(ldexp(v, 10 - e)), e - 10);
}

static void *matrix(uint64_t at, const struct BlasMatrixDescription *l, int32_t i) {
  uint64_t last = (uint64_t)l->ld * (l->columns - 1) + l->rows, size = size_of(l->type);
  return null_memory(at + size * (uint64_t)(l->step * i), size * last);
}

static double behind(const Multiply *x, double sum, const void *bias, uint64_t row) {
  if (bias)
    sum += load(&x->c, bias, row);
  if (x->p.epilogue & BLAS_RELU)
    return sum > 0 || isnan(sum) ? sum : 0;
  return x->p.epilogue & BLAS_GELU ? 0.5 * sum * (1 + tanh(0.7978845608028654 * (sum + 0.044715 * sum * sum * sum)))
                                   : sum;
}

static bool multiply_one(const Multiply *x, int32_t i) {
  uint64_t depth = columns_of(&x->a, x->p.trans[0]), lda = (uint64_t)x->a.ld, ldb = (uint64_t)x->b.ld;
  const void *a = matrix(x->at_a, &x->a, i), *b = matrix(x->at_b, &x->b, i), *c = matrix(x->at_c, &x->c, i);
  void *d = matrix(x->at_d, &x->c, i);
  const void *bias = x->p.bias ? null_memory(x->p.bias, size_of(x->c.type) * x->c.rows) : NULL;
  if (!a || !b || !c || !d || (x->p.bias && !bias))
    return false;
  for (uint64_t m = 0; m < x->c.rows; m++)
    for (uint64_t n = 0; n < x->c.columns; n++) {
      double sum = 0;
      uint64_t at = m + n * (uint64_t)x->c.ld;
      for (uint64_t k = 0; k < depth; k++)
        sum += operand(x, &x->a, a, x->p.trans[0] ? k + m * lda : m + k * lda) *
               operand(x, &x->b, b, x->p.trans[1] ? n + k * ldb : k + n * ldb);
      sum = (double)x->factor * sum + (x->beta != 0 ? (double)x->beta * load(&x->c, c, at) : 0);
      keep(&x->c, d, at, behind(x, sum, bias, m));
    }
  return true;
}

static bool multiply(void *arg) {
  const Multiply *x = arg;
  bool ok = true;
  for (int32_t i = 0; i < x->c.count && ok; i++)
    ok = multiply_one(x, i);
  return ok;
}

int cublasLtMatmul(BlasHandle handle, BlasProduct product, const void *alpha, uint64_t a, BlasLayout la, uint64_t b,
                   BlasLayout lb, const void *beta, uint64_t c, BlasLayout lc, uint64_t d, BlasLayout ld,
                   const BlasAlgorithm *algorithm, uint64_t workspace, size_t workspace_bytes, CudaStream stream) {
  CALL;
  const uint64_t at[] = {a, b, c, d};
  if (!handle || lc != ld || !fit(product, la, lb, lc) || algorithm->data[0] != 0x5a || workspace_bytes != NEEDED ||
      algorithm->data[1] != sum_of(product, la, lb, lc) || !null_memory(workspace, NEEDED) || workspace % 16)
    return INVALID;
  for (int i = 0; i < 4; i++)
    if (at[i] % algorithm->data[2 + i] || at[i] % size_of(lc->type))
      return INVALID;
  pthread_mutex_lock(&latest_lock);
  latest = (NullProduct){latest.count + 1, product->epilogue, product->compute, *(const float *)beta != 0};
  pthread_mutex_unlock(&latest_lock);
  Multiply *x = malloc(sizeof *x);
  *x = (Multiply){*product, *la, *lb, *lc, a, b, c, d, *(const float *)alpha, *(const float *)beta};
  return null_call(stream, multiply, x) ? INVALID : 0;
}

/* SARD_NULL_ASKED: where to say how many algorithms were asked for. */
__attribute__((destructor)) static void at_the_end(void) {
  const char *path = getenv("SARD_NULL_ASKED");
  FILE *f = path ? fopen(path, "w") : NULL;
  if (f) {
    fprintf(f, "%d\n", asked);
    fclose(f);
  }
  if (live) {
    fprintf(stderr, "null cuBLASLt: %d objects left behind\n", live);
    abort();
  }
}
