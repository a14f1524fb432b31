/* api.h - NVIDIA's libraries, loaded when they are needed: what we call of them is in cuda.def, what we know of their types
 * is here. Nothing of theirs is needed to build; the same program runs with and without them.
 *
 * A library is looked for in the directory that SARD_CUDA_DIR names, and only there if that is set; otherwise where the
 * dynamic linker looks, then in /usr/local/cuda. Each is loaded once per process and never unloaded.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CUDA_API_H
#define SARD_CUDA_API_H

#include "support/ctx.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int CudaOrdinal; /* CUdevice */
typedef struct CUctx_st *CudaContext;
typedef struct CUmod_st *CudaModule;
typedef struct CUfunc_st *CudaFunction;
typedef struct CUstream_st *CudaStream;
typedef struct CUevent_st *CudaEvent;
typedef struct CUmemPoolHandle_st *CudaPool;

enum { /* CUdevice_attribute */
       CUDA_MULTIPROCESSORS = 16,
       CUDA_MAJOR = 75,
       CUDA_MINOR = 76,
};
enum { CUDA_OUT_OF_MEMORY = 2 };              /* CUresult */
enum { CUDA_STREAM_APART = 1 };               /* CU_STREAM_NON_BLOCKING */
enum { CUDA_NO_TIMING = 2 };                  /* CU_EVENT_DISABLE_TIMING */
enum { CUDA_POOL_KEEPS = 4 };                 /* CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: a uint64_t */
enum { CUDA_JIT_LOG = 5, CUDA_JIT_LOG_SIZE }; /* CU_JIT_ERROR_LOG_BUFFER */

typedef enum {
  CUDA_DRIVER, /* libcuda: comes with the driver */
  CUDA_BLAS,   /* libcublasLt: matrix products; half a gigabyte, so loaded when the first goes there */
  CUDA_LINK,   /* libnvJitLink: PTX to machine code */
  CUDA_LIBRARIES
} CudaLibraryId;

typedef struct CudaApi {
#define CU(library, symbol, parameters) int(*symbol) parameters;
#include "cuda/cuda.def"
#undef CU
  size_t (*cublasLtGetVersion)(void); /* the one that returns no status */
} CudaApi;

/* What has become of a library. */
typedef struct CudaLibrary {
  const char *name, *what; /* "libcuda.so.1"; what it is for */
  bool loaded;
  char version[32]; /* "13.0"; "" while it is not loaded */
  char why[256];    /* it is not: the dynamic linker's reason, or the function it lacks */
} CudaLibrary;

/* Loads it, the first time it is asked for. */
const CudaLibrary *cuda_library(CudaLibraryId id);

/* The functions of that library. ST_DEVICE: it cannot be loaded, with the reason. */
Status cuda_need(Ctx *c, CudaLibraryId id, const CudaApi **api);

#endif
