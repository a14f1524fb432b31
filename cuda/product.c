/* product.c - matrix products by cuBLASLt.
 *
 * Our matrices are stored by rows, its by columns: each is the transpose of what it is here, and C' = B' A'. A row that is added to each
 * row of C is a column added to each column of C', which is what its bias is.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.h"
#include "runtime/program.h"
#include "support/dtype.h"

#include <stdlib.h>
#include <string.h>

enum { WORKSPACE = 32 << 20, ALIGNMENT = 256, KEPT = 512 }; /* bytes, at most; algorithms */

#define TRY_BLAS(call, arguments)                                                                                      \
  do {                                                                                                                 \
    int error_ = b->api->call arguments;                                                                               \
    if (error_)                                                                                                        \
      return fail(c, ST_DEVICE, "%s: cuBLAS status %d", #call, error_);                                                \
  } while (0)

/* What an algorithm is chosen for. */
typedef struct Form {
  int64_t batch, m, n, k;
  uint8_t trans_a, trans_b, batch_a, batch_b, type, after, bias, addend, tf32;
  uint8_t unused[7];     /* forms are compared byte by byte: there is no padding */
  uint32_t alignment[4]; /* bytes: of the library's A, B, C and D */
} Form;
_Static_assert(sizeof(Form) == 64, "no padding");
struct BlasKept {
  Form form; /* batch 0: none */
  BlasChoice choice;
};

Status cuda_blas_open(Ctx *c, CudaBlas *b) {
  const char *tf32 = secure_getenv("SARD_CUDA_TF32");
  if (b->handle)
    return ST_OK;
  TRY(cuda_need(c, CUDA_BLAS, &b->api));
  b->tf32 = tf32 && !strcmp(tf32, "1");
  b->alloc = c->alloc;
  b->kept = alloc_get(b->alloc, KEPT * sizeof *b->kept, _Alignof(struct BlasKept));
  if (!b->kept)
    return fail(c, ST_MEMORY, "out of memory");
  memset(b->kept, 0, KEPT * sizeof *b->kept);
  pthread_mutex_init(&b->lock, NULL);
  TRY_BLAS(cublasLtCreate, (&b->handle));
  return ST_OK;
}

void cuda_blas_close(CudaBlas *b) {
  if (b->handle)
    b->api->cublasLtDestroy(b->handle);
  if (!b->kept)
    return;
  pthread_mutex_destroy(&b->lock);
  alloc_put(b->alloc, b->kept, KEPT * sizeof *b->kept);
}

/* --- what one call needs; NULL: not made yet --- */

typedef struct Call {
  BlasProduct product;
  BlasLayout a, b, c;
} Call;

static bool in_tf32(const CudaBlas *b, const RtProduct *p) { return b->tf32 && p->type == DT_f32; }
static int blas_type(uint8_t t) { return t == DT_f16 ? BLAS_F16 : t == DT_bf16 ? BLAS_BF16 : BLAS_F32; }

/* rows x columns in our order, dense. step: from matrix to matrix, in elements. */
static Status layout(Ctx *c, const CudaBlas *b, const RtProduct *p, int64_t rows, int64_t columns, int64_t step,
                     BlasLayout *l) {
  int32_t count = (int32_t)p->batch;
  if (p->batch > INT32_MAX)
    return fail(c, ST_UNSUPPORTED, "a product of %lld matrices; cuBLASLt counts them in 32 bits", (long long)p->batch);
  TRY_BLAS(cublasLtMatrixLayoutCreate, (l, blas_type(p->type), (uint64_t)columns, (uint64_t)rows, columns));
  TRY_BLAS(cublasLtMatrixLayoutSetAttribute, (*l, BLAS_BATCH_COUNT, &count, sizeof count));
  TRY_BLAS(cublasLtMatrixLayoutSetAttribute, (*l, BLAS_BATCH_STEP, &step, sizeof step));
  return ST_OK;
}

/* Behind the sum. */
static Status epilogue(Ctx *c, const CudaBlas *b, const RtProduct *p, BlasProduct product) {
  static const uint32_t after[] = {[0] = 0, [PRODUCT_RELU] = BLAS_RELU, [PRODUCT_GELU] = BLAS_GELU};
  uint32_t what = after[p->after] | (p->bias ? BLAS_WITH_BIAS : 0);
  int32_t type = blas_type(p->type);
  what = what ? what : BLAS_PLAIN;
  TRY_BLAS(cublasLtMatmulDescSetAttribute, (product, BLAS_EPILOGUE, &what, sizeof what));
  if (!p->bias)
    return ST_OK;
  TRY_BLAS(cublasLtMatmulDescSetAttribute, (product, BLAS_BIAS, &p->bias, sizeof p->bias));
  TRY_BLAS(cublasLtMatmulDescSetAttribute, (product, BLAS_BIAS_TYPE, &type, sizeof type));
  return ST_OK;
}

static Status describe(Ctx *c, const CudaBlas *b, const RtProduct *p, Call *x) {
  int32_t trans_a = p->trans_a, trans_b = p->trans_b;
  int64_t mk = p->batch_a ? p->m * p->k : 0, kn = p->batch_b ? p->k * p->n : 0;
  int compute = in_tf32(b, p) ? BLAS_COMPUTE_TF32 : BLAS_COMPUTE_F32;
  TRY_BLAS(cublasLtMatmulDescCreate, (&x->product, compute, BLAS_F32));
  TRY_BLAS(cublasLtMatmulDescSetAttribute, (x->product, BLAS_TRANS_A, &trans_b, sizeof trans_b)); /* its A is our B */
  TRY_BLAS(cublasLtMatmulDescSetAttribute, (x->product, BLAS_TRANS_B, &trans_a, sizeof trans_a));
  TRY(epilogue(c, b, p, x->product));
  TRY(layout(c, b, p, trans_a ? p->k : p->m, trans_a ? p->m : p->k, mk, &x->a));
  TRY(layout(c, b, p, trans_b ? p->n : p->k, trans_b ? p->k : p->n, kn, &x->b));
  return layout(c, b, p, p->m, p->n, p->m * p->n, &x->c);
}

/* --- algorithms --- */

static uint32_t alignment(uint64_t address) {
  uint64_t lowest = address & -address;
  return (uint32_t)(lowest && lowest < ALIGNMENT ? lowest : ALIGNMENT);
}

static Form form_of(const CudaBlas *b, const RtProduct *p) {
  Form f = {0};
  const uint64_t at[] = {p->b, p->a, p->addend ? p->addend : p->c, p->c};
  f.batch = p->batch, f.m = p->m, f.n = p->n, f.k = p->k;
  f.trans_a = p->trans_a, f.trans_b = p->trans_b, f.batch_a = p->batch_a, f.batch_b = p->batch_b;
  f.type = p->type, f.after = p->after, f.bias = p->bias != 0, f.addend = p->addend != 0, f.tf32 = in_tf32(b, p);
  for (size_t i = 0; i < countof(at); i++)
    f.alignment[i] = alignment(at[i]);
  return f;
}

static Status ask(Ctx *c, const CudaBlas *b, const Form *f, const Call *x, BlasPreference preference,
                  BlasChoice *choice) {
  uint64_t most = WORKSPACE;
  int found = 0;
  TRY_BLAS(cublasLtMatmulPreferenceSetAttribute, (preference, BLAS_MOST_WORKSPACE, &most, sizeof most));
  for (int i = 0; i < 4; i++)
    TRY_BLAS(cublasLtMatmulPreferenceSetAttribute,
             (preference, BLAS_LEAST_ALIGNMENT + i, &f->alignment[i], sizeof f->alignment[i]));
  TRY_BLAS(cublasLtMatmulAlgoGetHeuristic,
           (b->handle, x->product, x->b, x->a, x->c, x->c, preference, 1, choice, &found));
  if (!found)
    return fail(c, ST_DEVICE, "cuBLASLt has no way to multiply %lldx%lld by %lldx%lld", (long long)f->m,
                (long long)f->k, (long long)f->k, (long long)f->n);
  return ST_OK;
}

static Status ask_anew(Ctx *c, const CudaBlas *b, const Form *f, const Call *x, BlasChoice *choice) {
  BlasPreference preference;
  TRY_BLAS(cublasLtMatmulPreferenceCreate, (&preference));
  Status st = ask(c, b, f, x, preference, choice);
  b->api->cublasLtMatmulPreferenceDestroy(preference);
  return st;
}

/* The place of a form: of two with the same, the later one stays. */
static struct BlasKept *place_of(CudaBlas *b, const Form *f) {
  uint64_t h = 0xcbf29ce484222325;
  for (size_t i = 0; i < sizeof *f; i++)
    h = (h ^ ((const uint8_t *)f)[i]) * 0x100000001b3;
  return &b->kept[(h ^ h >> 32) % KEPT];
}

static Status choose(Ctx *c, CudaBlas *b, const RtProduct *p, const Call *x, BlasChoice *choice) {
  Form f = form_of(b, p);
  struct BlasKept *k = place_of(b, &f);
  pthread_mutex_lock(&b->lock);
  bool known = !memcmp(&k->form, &f, sizeof f);
  *choice = k->choice;
  pthread_mutex_unlock(&b->lock);
  if (known)
    return ST_OK;
  TRY(ask_anew(c, b, &f, x, choice));
  pthread_mutex_lock(&b->lock);
  k->form = f, k->choice = *choice;
  b->asked = true;
  pthread_mutex_unlock(&b->lock);
  return ST_OK;
}

/* --- algorithms of other runs --- */

void cuda_blas_take(CudaBlas *b, const void *choices, size_t bytes) {
  const uint8_t *from = choices;
  struct BlasKept x;
  pthread_mutex_lock(&b->lock);
  for (size_t i = 0; i < bytes / sizeof x; i++) {
    memcpy(&x, from + i * sizeof x, sizeof x);
    struct BlasKept *k = place_of(b, &x.form);
    if (!k->form.batch)
      *k = x;
  }
  pthread_mutex_unlock(&b->lock);
}

size_t cuda_blas_give(CudaBlas *b, Arena *a, const void **choices) {
  struct BlasKept *to = arena_array(a, struct BlasKept, KEPT);
  size_t n = 0;
  pthread_mutex_lock(&b->lock);
  for (size_t i = 0; i < KEPT; i++)
    if (b->kept[i].form.batch)
      to[n++] = b->kept[i];
  pthread_mutex_unlock(&b->lock);
  *choices = to;
  return n * sizeof *to;
}

static Status run(Ctx *c, CudaBlas *b, CudaStream stream, const RtProduct *p, const Call *x, size_t *needed) {
  const float factor = p->factor, beta = p->addend ? 1 : 0;
  uint64_t addend = p->addend ? p->addend : p->c;
  BlasChoice choice;
  TRY(choose(c, b, p, x, &choice));
  *needed = choice.workspace;
  if (choice.workspace > p->workspace_bytes)
    return ST_OK;
  int error = b->api->cublasLtMatmul(b->handle, x->product, &factor, p->b, x->b, p->a, x->a, &beta, addend, x->c, p->c,
                                     x->c, &choice.algorithm, p->workspace, choice.workspace, stream);
  return error ? fail(c, ST_DEVICE, "cublasLtMatmul: cuBLAS status %d", error) : ST_OK;
}

Status cuda_blas_product(Ctx *c, CudaBlas *b, CudaStream stream, const RtProduct *p, size_t *needed) {
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
