/* driver.c - a libcuda.so.1 of our own, for tests: the functions of cuda/cuda.def over ordinary memory, which refuse what the
 * driver would refuse. SARD_NULL_GPU says what machine this is: "none" no GPU, "hidden" a driver that shows none, "old" one of
 * compute capability 7.5; otherwise an H100.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT                          __attribute__((visibility("default")))
#define CU(library, symbol, parameters) EXPORT int symbol parameters;
#include "cuda/cuda.def"
#undef CU

enum { INVALID = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, BAD_DEVICE = 101 }; /* CUresult */

static bool ready;

static bool machine_is(const char *what) {
  const char *gpu = getenv("SARD_NULL_GPU");
  return gpu && !strcmp(gpu, what);
}

int cuInit(unsigned flags) {
  if (machine_is("none"))
    return NO_DEVICE;
  ready = !flags;
  return ready ? 0 : INVALID;
}

int cuDriverGetVersion(int *version) {
  *version = 13000;
  return 0;
}

static const struct {
  int error;
  const char *name, *text;
} errors[] = {{INVALID, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
              {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
              {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
              {BAD_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}};

int cuGetErrorName(int error, const char **text) {
  for (size_t i = 0; i < countof(errors); i++)
    if (errors[i].error == error) {
      *text = errors[i].name;
      return 0;
    }
  return INVALID;
}

int cuGetErrorString(int error, const char **text) {
  for (size_t i = 0; i < countof(errors); i++)
    if (errors[i].error == error) {
      *text = errors[i].text;
      return 0;
    }
  return INVALID;
}

int cuDeviceGetCount(int *count) {
  *count = machine_is("hidden") ? 0 : 1;
  return ready ? 0 : NOT_INITIALIZED;
}

int cuDeviceGet(CudaOrdinal *device, int index) {
  *device = 0;
  return !ready ? NOT_INITIALIZED : index ? BAD_DEVICE : 0;
}

int cuDeviceGetName(char *name, int size, CudaOrdinal device) {
  snprintf(name, (size_t)size, "Null GPU");
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

int cuDeviceGetAttribute(int *value, int attribute, CudaOrdinal device) {
  bool old = machine_is("old");
  switch (attribute) {
  case CUDA_MULTIPROCESSORS: *value = 132; break;
  case CUDA_MAJOR: *value = old ? 7 : 9; break;
  case CUDA_MINOR: *value = old ? 5 : 0; break;
  default: return INVALID;
  }
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, CudaOrdinal device) {
  *bytes = (size_t)80 << 30;
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}
