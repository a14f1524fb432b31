/* product.c - matrix products by cuBLASLt.
 *
 * Our matrices are stored by rows, its by columns: each is the transpose of what it is here, and C' = B' A'.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.h"

enum { WORKSPACE = 32 << 20 }; /* bytes, at most */

#define TRY_BLAS(call, arguments)                                                                                      \
  do {                                                                                                                 \
    int error_ = b->api->call arguments;                                                                               \
    if (error_)                                                                                                        \
      return fail(c, ST_DEVICE, "%s: cuBLAS status %d", #call, error_);                                                \
  } while (0)

Status cuda_blas_open(Ctx *c, CudaBlas *b) {
  uint64_t most = WORKSPACE;
  if (b->handle)
    return ST_OK;
  TRY(cuda_need(c, CUDA_BLAS, &b->api));
  TRY_BLAS(cublasLtCreate, (&b->handle));
  TRY_BLAS(cublasLtMatmulPreferenceCreate, (&b->preference));
  TRY_BLAS(cublasLtMatmulPreferenceSetAttribute, (b->preference, BLAS_MOST_WORKSPACE, &most, sizeof most));
  return ST_OK;
}

void cuda_blas_close(CudaBlas *b) {
  if (b->preference)
    b->api->cublasLtMatmulPreferenceDestroy(b->preference);
  if (b->handle)
    b->api->cublasLtDestroy(b->handle);
}

/* What one call needs; NULL: not made yet. */
typedef struct Call {
  BlasProduct product;
  BlasLayout a, b, c;
} Call;

/* rows x columns in our order, dense. step: from matrix to matrix, in elements. */
static Status layout(Ctx *c, const CudaBlas *b, int64_t rows, int64_t columns, int64_t batch, int64_t step,
                     BlasLayout *l) {
  int32_t count = (int32_t)batch;
  if (batch > INT32_MAX)
    return fail(c, ST_UNSUPPORTED, "a product of %lld matrices; cuBLASLt counts them in 32 bits", (long long)batch);
  TRY_BLAS(cublasLtMatrixLayoutCreate, (l, BLAS_F32, (uint64_t)columns, (uint64_t)rows, columns));
  TRY_BLAS(cublasLtMatrixLayoutSetAttribute, (*l, BLAS_BATCH_COUNT, &count, sizeof count));
  TRY_BLAS(cublasLtMatrixLayoutSetAttribute, (*l, BLAS_BATCH_STEP, &step, sizeof step));
  return ST_OK;
}

static Status describe(Ctx *c, const CudaBlas *b, const RtProduct *p, Call *x) {
  int32_t trans_a = p->trans_a, trans_b = p->trans_b;
  int64_t mk = p->batch_a ? p->m * p->k : 0, kn = p->batch_b ? p->k * p->n : 0;
  TRY_BLAS(cublasLtMatmulDescCreate, (&x->product, BLAS_COMPUTE_F32, BLAS_F32));
  TRY_BLAS(cublasLtMatmulDescSetAttribute, (x->product, BLAS_TRANS_A, &trans_b, sizeof trans_b)); /* its A is our B */
  TRY_BLAS(cublasLtMatmulDescSetAttribute, (x->product, BLAS_TRANS_B, &trans_a, sizeof trans_a));
  TRY(layout(c, b, trans_a ? p->k : p->m, trans_a ? p->m : p->k, p->batch, mk, &x->a));
  TRY(layout(c, b, trans_b ? p->n : p->k, trans_b ? p->k : p->n, p->batch, kn, &x->b));
  return layout(c, b, p->m, p->n, p->batch, p->m * p->n, &x->c);
}

static Status choose(Ctx *c, const CudaBlas *b, const RtProduct *p, const Call *x, BlasChoice *choice) {
  int found = 0;
  TRY_BLAS(cublasLtMatmulAlgoGetHeuristic,
           (b->handle, x->product, x->b, x->a, x->c, x->c, b->preference, 1, choice, &found));
  if (!found)
    return fail(c, ST_DEVICE, "cuBLASLt has no way to multiply %lldx%lld by %lldx%lld", (long long)p->m,
                (long long)p->k, (long long)p->k, (long long)p->n);
  return ST_OK;
}

static Status run(Ctx *c, const CudaBlas *b, CudaStream stream, const RtProduct *p, const Call *x, size_t *needed) {
  const float one = 1, zero = 0;
  BlasChoice choice;
  TRY(choose(c, b, p, x, &choice));
  *needed = choice.workspace;
  if (choice.workspace > p->workspace_bytes)
    return ST_OK;
  int error = b->api->cublasLtMatmul(b->handle, x->product, &one, p->b, x->b, p->a, x->a, &zero, p->c, x->c, p->c, x->c,
                                     &choice.algorithm, p->workspace, choice.workspace, stream);
  return error ? fail(c, ST_DEVICE, "cublasLtMatmul: cuBLAS status %d", error) : ST_OK;
}

Status cuda_blas_product(Ctx *c, const CudaBlas *b, CudaStream stream, const RtProduct *p, size_t *needed) {
  Call x = {0};
  Status st = describe(c, b, p, &x);
  if (!st)
    st = run(c, b, stream, p, &x, needed);
  const BlasLayout made[] = {x.a, x.b, x.c};
  for (size_t i = 0; i < countof(made); i++)
    if (made[i])
      b->api->cublasLtMatrixLayoutDestroy(made[i]);
  if (x.product)
    b->api->cublasLtMatmulDescDestroy(x.product);
  return st;
}
