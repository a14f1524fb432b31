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
typedef struct CUgraph_st *CudaGraph;
typedef struct CUgraphExec_st *CudaGraphExec;
typedef struct CudaUpdate { /* CUgraphExecUpdateResultInfo */
  int result;
  void *node, *from;
} CudaUpdate;

enum { /* CUdevice_attribute */
       CUDA_MULTIPROCESSORS = 16,
       CUDA_MAJOR = 75,
       CUDA_MINOR = 76,
};
enum { CUDA_OUT_OF_MEMORY = 2 };              /* CUresult */
enum { CUDA_UPDATE_FAILED = 910 };            /* CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE */
enum { CUDA_CAPTURE_OF_THREAD = 1 };          /* CU_STREAM_CAPTURE_MODE_THREAD_LOCAL */
enum { CUDA_STREAM_APART = 1 };               /* CU_STREAM_NON_BLOCKING */
enum { CUDA_NO_TIMING = 2 };                  /* CU_EVENT_DISABLE_TIMING */
enum { CUDA_POOL_KEEPS = 4 };                 /* CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: a uint64_t */
enum { CUDA_JIT_LOG = 5, CUDA_JIT_LOG_SIZE }; /* CU_JIT_ERROR_LOG_BUFFER */

/* cuBLASLt: matrices by columns. Device pointers are addresses here. */
typedef struct BlasContext *BlasHandle;
typedef struct BlasProductDescription *BlasProduct;
typedef struct BlasMatrixDescription *BlasLayout;
typedef struct BlasPreferences *BlasPreference;
typedef struct BlasAlgorithm {
  uint64_t data[8];
} BlasAlgorithm;
typedef struct BlasChoice { /* cublasLtMatmulHeuristicResult_t */
  BlasAlgorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
} BlasChoice;
_Static_assert(sizeof(BlasChoice) == 96, "as the library has it");
enum { BLAS_F32 = 0, BLAS_F16 = 2, BLAS_BF16 = 14 };            /* CUDA_R_32F … */
enum { BLAS_COMPUTE_F32 = 68, BLAS_COMPUTE_TF32 = 77 };         /* CUBLAS_COMPUTE_32F, …_FAST_TF32 */
enum { BLAS_TRANS_A = 3, BLAS_TRANS_B = 4 };                    /* of a product: int32_t, 1: transposed */
enum { BLAS_EPILOGUE = 7, BLAS_BIAS = 8, BLAS_BIAS_TYPE = 26 }; /* uint32_t; an address, of a row of C'; int32_t */
enum { BLAS_PLAIN = 1, BLAS_RELU = 2, BLAS_WITH_BIAS = 4, BLAS_GELU = 32 }; /* cublasLtEpilogue_t: of the tanh form */
enum { BLAS_BATCH_COUNT = 5, BLAS_BATCH_STEP = 6 }; /* of a matrix: int32_t; int64_t, elements */
enum { BLAS_MOST_WORKSPACE = 1 };                   /* of preferences: uint64_t */
enum {
  BLAS_LEAST_ALIGNMENT = 5
}; /* of preferences: uint32_t, bytes: of A, and so on for B, C and D; 256 if not said */

typedef struct nvJitLink *CudaLink;

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
