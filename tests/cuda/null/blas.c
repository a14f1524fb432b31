/* blas.c - a libcublasLt.so.13 of our own, for tests: products of f32 over the memory of the null driver, in order on its streams.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/null.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT                          __attribute__((visibility("default")))
#define CU(library, symbol, parameters) EXPORT int symbol parameters;
#include "cuda/cuda.def"
#undef CU
EXPORT size_t cublasLtGetVersion(void);

enum { NEEDED = 4096 };                 /* of workspace */
enum { INVALID = 7, UNSUPPORTED = 15 }; /* cublasStatus_t */

struct BlasContext {
  int unused;
};
struct BlasProductDescription {
  int32_t trans[2];
};
struct BlasMatrixDescription {
  uint64_t rows, columns;
  int64_t ld, step;
  int32_t count;
};
struct BlasPreferences {
  uint64_t workspace;
};
static atomic_int live; /* objects */

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
  if (attribute != BLAS_MOST_WORKSPACE || bytes != sizeof preference->workspace)
    return INVALID;
  memcpy(&preference->workspace, value, bytes);
  return 0;
}

int cublasLtMatmulDescCreate(BlasProduct *product, int compute, int scale) {
  CALL;
  *product = make(sizeof **product);
  return compute == BLAS_COMPUTE_F32 && scale == BLAS_F32 ? 0 : UNSUPPORTED;
}

int cublasLtMatmulDescSetAttribute(BlasProduct product, int attribute, const void *value, size_t bytes) {
  CALL;
  if ((attribute != BLAS_TRANS_A && attribute != BLAS_TRANS_B) || bytes != sizeof product->trans[0])
    return INVALID;
  memcpy(&product->trans[attribute == BLAS_TRANS_B], value, bytes);
  return 0;
}

int cublasLtMatrixLayoutCreate(BlasLayout *layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  CALL;
  *layout = make(sizeof **layout);
  **layout = (struct BlasMatrixDescription){rows, columns, ld, 0, 1};
  return type == BLAS_F32 && rows && columns && ld >= (int64_t)rows ? 0 : INVALID;
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

static bool fit(BlasProduct p, BlasLayout a, BlasLayout b, BlasLayout c) {
  return rows_of(a, p->trans[0]) == c->rows && columns_of(b, p->trans[1]) == c->columns &&
         columns_of(a, p->trans[0]) == rows_of(b, p->trans[1]) && a->count == c->count && b->count == c->count;
}

int cublasLtMatmulAlgoGetHeuristic(BlasHandle handle, BlasProduct product, BlasLayout a, BlasLayout b, BlasLayout c,
                                   BlasLayout d, BlasPreference preference, int wanted, BlasChoice *choice,
                                   int *found) {
  CALL;
  *found = handle && preference && wanted == 1 && c == d && fit(product, a, b, c);
  *choice = (BlasChoice){.algorithm = {{0x5a}}, .workspace = NEEDED};
  return 0;
}

typedef struct Multiply {
  struct BlasProductDescription p;
  struct BlasMatrixDescription a, b, c;
  uint64_t at_a, at_b, at_c;
} Multiply;

static float *matrix(uint64_t at, const struct BlasMatrixDescription *l, int32_t i) {
  uint64_t last = (uint64_t)l->ld * (l->columns - 1) + l->rows;
  return null_memory(at + sizeof(float) * (uint64_t)(l->step * i), sizeof(float) * last);
}

static bool multiply(void *arg) {
  const Multiply *x = arg;
  uint64_t depth = columns_of(&x->a, x->p.trans[0]), lda = (uint64_t)x->a.ld, ldb = (uint64_t)x->b.ld;
  for (int32_t i = 0; i < x->c.count; i++) {
    float *a = matrix(x->at_a, &x->a, i), *b = matrix(x->at_b, &x->b, i), *c = matrix(x->at_c, &x->c, i);
    if (!a || !b || !c)
      return false;
    for (uint64_t m = 0; m < x->c.rows; m++)
      for (uint64_t n = 0; n < x->c.columns; n++) {
        double sum = 0;
        for (uint64_t k = 0; k < depth; k++)
          sum += (double)a[x->p.trans[0] ? k + m * lda : m + k * lda] *
                 (double)b[x->p.trans[1] ? n + k * ldb : k + n * ldb];
        c[m + n * (uint64_t)x->c.ld] = (float)sum;
      }
  }
  return true;
}

int cublasLtMatmul(BlasHandle handle, BlasProduct product, const void *alpha, uint64_t a, BlasLayout la, uint64_t b,
                   BlasLayout lb, const void *beta, uint64_t c, BlasLayout lc, uint64_t d, BlasLayout ld,
                   const BlasAlgorithm *algorithm, uint64_t workspace, size_t workspace_bytes, CudaStream stream) {
  CALL;
  if (!handle || *(const float *)alpha != 1 || *(const float *)beta != 0 || c != d || lc != ld ||
      !fit(product, la, lb, lc) || algorithm->data[0] != 0x5a || workspace_bytes != NEEDED ||
      !null_memory(workspace, NEEDED))
    return INVALID;
  Multiply *x = malloc(sizeof *x);
  *x = (Multiply){*product, *la, *lb, *lc, a, b, c};
  return null_call(stream, multiply, x) ? INVALID : 0;
}

__attribute__((destructor)) static void at_the_end(void) {
  if (live) {
    fprintf(stderr, "null cuBLASLt: %d objects left behind\n", live);
    abort();
  }
}
