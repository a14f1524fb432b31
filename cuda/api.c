/* api.c - finding and loading NVIDIA's libraries.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 3 };

/* By preference; the first is the one a message names. */
static const char *const names[CUDA_LIBRARIES][NAMES] = {
    [CUDA_DRIVER] = {"libcuda.so.1"},
    [CUDA_BLAS] = {"libcublasLt.so.13", "libcublasLt.so.12"},
    [CUDA_LINK] = {"libnvJitLink.so.13", "libnvJitLink.so.12"},
};

/* The process has one driver; none of the libraries bears being unloaded. */
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static CudaApi api;
static bool tried[CUDA_LIBRARIES];
static CudaLibrary found[CUDA_LIBRARIES] = {
    [CUDA_DRIVER] = {.name = "libcuda.so.1", .what = "the NVIDIA driver"},
    [CUDA_BLAS] = {.name = "libcublasLt.so.13", .what = "matrix products"},
    [CUDA_LINK] = {.name = "libnvJitLink.so.13", .what = "machine code ahead of time"},
};

/* --- loading --- */

/* dlopen of one name in one directory ("": where the dynamic linker looks); the first failure's reason stays. */
static void *open_in(const char *dir, const char *name, CudaLibrary *l) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s%s%s", dir, *dir ? "/" : "", name) >= (int)sizeof path)
    return NULL;
  void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const char *why = lib ? NULL : dlerror();
  if (why && !l->why[0])
    snprintf(l->why, sizeof l->why, "%s", why);
  dlerror(); /* gives the text's memory back */
  return lib;
}

static void *open_library(CudaLibraryId id, CudaLibrary *l) {
  const char *only = secure_getenv("SARD_CUDA_DIR");
  const char *const places[] = {only ? only : "", "/usr/local/cuda/lib64"};
  void *lib = NULL;
  for (size_t p = 0; p < (only ? 1 : countof(places)) && !lib; p++)
    for (int i = 0; i < NAMES && names[id][i] && !lib; i++)
      if ((lib = open_in(places[p], names[id][i], l)))
        l->name = names[id][i];
  return lib;
}

static bool resolve(void *lib, const char *symbol, void *function, CudaLibrary *l) {
  void *p = dlsym(lib, symbol);
  if (!p)
    snprintf(l->why, sizeof l->why, "%s has no %s: it is older than CUDA 12", l->name, symbol);
  memcpy(function, &p, sizeof p); /* a pointer to a function may not be cast from one to data */
  return p != NULL;
}

static bool resolve_all(CudaLibraryId id, void *lib, CudaLibrary *l) {
  bool ok = id != CUDA_BLAS || resolve(lib, "cublasLtGetVersion", &api.cublasLtGetVersion, l);
#define CU(library, symbol, parameters) ok = ok && (id != CUDA_##library || resolve(lib, #symbol, &api.symbol, l));
#include "cuda/cuda.def"
#undef CU
  return ok;
}

static void ask_version(CudaLibraryId id, CudaLibrary *l) {
  unsigned major = 0, minor = 0;
  int n = 0;
  if (id == CUDA_DRIVER && !api.cuDriverGetVersion(&n))
    major = (unsigned)n / 1000, minor = (unsigned)n % 1000 / 10;
  if (id == CUDA_BLAS)
    major = (unsigned)(api.cublasLtGetVersion() / 10000), minor = (unsigned)(api.cublasLtGetVersion() / 100 % 100);
  if (id == CUDA_LINK)
    api.nvJitLinkVersion(&major, &minor);
  snprintf(l->version, sizeof l->version, "%u.%u", major, minor);
}

static void load(CudaLibraryId id, CudaLibrary *l) {
  void *lib = open_library(id, l);
  if (!lib)
    return;
  l->loaded = resolve_all(id, lib, l);
  if (!l->loaded) {
    dlclose(lib);
    return;
  }
  ask_version(id, l);
}

const CudaLibrary *cuda_library(CudaLibraryId id) {
  pthread_mutex_lock(&loading);
  if (!tried[id])
    load(id, &found[id]);
  tried[id] = true;
  pthread_mutex_unlock(&loading);
  return &found[id];
}

Status cuda_need(Ctx *c, CudaLibraryId id, const CudaApi **out) {
  static const char *const advice[CUDA_LIBRARIES] = {
      [CUDA_DRIVER] = "it comes with the NVIDIA driver; --device cpu needs none",
      [CUDA_BLAS] =
          "it comes with the CUDA toolkit 12 or 13, or the package nvidia-cublas; SARD_CUDA_DIR names its directory",
      [CUDA_LINK] =
          "it comes with the CUDA toolkit 12 or 13, or the package nvidia-nvjitlink; SARD_CUDA_DIR names its directory",
  };
  const CudaLibrary *l = cuda_library(id);
  *out = &api;
  if (l->loaded)
    return ST_OK;
  return err_hint(c, fail(c, ST_DEVICE, "device 'cuda' needs %s (%s): %s", l->name, l->what, l->why), "%s", advice[id]);
}
