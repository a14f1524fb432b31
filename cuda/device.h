/* device.h - the GPU that a process uses: the first one that the driver shows (CUDA_VISIBLE_DEVICES chooses).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CUDA_DEVICE_H
#define SARD_CUDA_DEVICE_H

#include "cuda/api.h"
#include "runtime/device.h"
#include "support/arena.h"

#include <pthread.h>

typedef struct CudaDevice {
  const CudaApi *api;
  CudaOrdinal ordinal;
  char name[128];
  int major, minor; /* compute capability */
  int multiprocessors;
  size_t memory; /* bytes */
} CudaDevice;

/* The reason why a call of the driver failed, as ST_MEMORY or ST_DEVICE: "cuInit: CUDA_ERROR_NO_DEVICE, no CUDA-capable device …". */
Status cuda_failed(Ctx *c, const CudaApi *api, const char *call, int error);
#define CUDA_TRY(c, api, call, arguments)                                                                              \
  do {                                                                                                                 \
    int cuda_error_ = (api)->call arguments;                                                                           \
    if (cuda_error_)                                                                                                   \
      return cuda_failed(c, api, #call, cuda_error_);                                                                  \
  } while (0)

/* Finds it. ST_DEVICE: no driver, no GPU, or one below compute capability 8.0, with the reason. Nothing is left behind. */
Status cuda_device_find(Ctx *c, CudaDevice *out);

/* --- product.c --- */
typedef struct CudaBlas {
  const CudaApi *api;
  BlasHandle handle;
  Alloc *alloc;
  bool tf32; /* f32 may be rounded to tf32: the program's precision, or SARD_CUDA_TF32=1 in the environment */
  pthread_mutex_t lock; /* guards what follows */
  struct BlasKept *kept;
  bool asked; /* for an algorithm, which others may want to take */
} CudaBlas;
Status cuda_blas_open(Ctx *c, CudaBlas *b); /* loads cuBLASLt; in the current context. A second time: nothing */
void cuda_blas_close(CudaBlas *b);
/* *needed: bytes of workspace; nothing is done if p has fewer. Algorithms are asked for once per form of a product, and kept as long
 * as b. */
Status cuda_blas_product(Ctx *c, CudaBlas *b, CudaStream stream, const RtProduct *p, size_t *needed);
/* Algorithms as bytes; those that are there already stay. */
void cuda_blas_take(CudaBlas *b, const void *choices, size_t bytes);
size_t cuda_blas_give(CudaBlas *b, Arena *a, const void **choices);

/* Opens it for running: everything it needs is in its own memory and the driver's, until cuda_close, once for this call and once
 * for each hold (device.h). */
Status cuda_open(Ctx *c, RtDevice **out);
void cuda_close(RtDevice *d); /* NULL: nothing */

/* Algorithms of the library for products, for the compile cache. */
typedef struct CudaChoices {
  const char *library, *gpu; /* what chose them, and for what: they are good for nothing else */
  bool asked;                /* some were asked for in this process */
} CudaChoices;
bool cuda_choices(RtDevice *d, Arena *a, CudaChoices *x); /* false: the library has not been loaded */
void cuda_choices_take(RtDevice *d, const void *bytes, size_t size);
size_t cuda_choices_give(RtDevice *d, Arena *a, const void **bytes);

#endif
