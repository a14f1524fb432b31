/* run.c - a GPU as a device of the executor (runtime/device.h).
 *
 * Memory is the driver's stream-ordered pool, which keeps what is given back. What goes up passes through two halves of pinned
 * memory in turn, so that copying from pageable memory and the transfer overlap, and the caller's memory is free at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { HALF = 4 << 20, BLOCKS_PER_MULTIPROCESSOR = 32, LOG = 512, PARAMETERS = 500 };

typedef struct Gpu {
  RtDevice base;
  Alloc *alloc;
  CudaDevice info;
  CudaContext context;
  pthread_mutex_t lock; /* guards the staging memory */
  uint8_t *staging;     /* pinned: two halves */
  CudaEvent event[2];   /* the half is free */
  int half;             /* that is used next */
  CudaEvent mark;       /* for the order of two streams; under the lock too */
  CudaPool pool;
  CudaBlas blas;
  atomic_int users;
} Gpu;

#define TRY_CUDA(g, call, arguments) CUDA_TRY(c, (g)->info.api, call, arguments)

/* All models' streams are in one context, and a context may not be waited for while one of them is captured. */
static pthread_mutex_t capture = PTHREAD_MUTEX_INITIALIZER;

static void wait_for_all(const CudaApi *api) {
  pthread_mutex_lock(&capture);
  api->cuCtxSynchronize();
  pthread_mutex_unlock(&capture);
}

/* The driver's calls work on the thread's current context. */
static Status enter(Gpu *g, Ctx *c) {
  TRY_CUDA(g, cuCtxSetCurrent, (g->context));
  return ST_OK;
}

/* --- code --- */

static Status load(RtDevice *d, Ctx *c, const char *code, void **module) {
  Gpu *g = (Gpu *)d;
  char log[LOG] = "";
  int option[] = {CUDA_JIT_LOG, CUDA_JIT_LOG_SIZE};
  void *value[] = {log, (void *)(uintptr_t)sizeof log};
  TRY(enter(g, c));
  int error = g->info.api->cuModuleLoadDataEx((CudaModule *)module, code, countof(option), option, value);
  if (!error)
    return ST_OK;
  Status st = cuda_failed(c, g->info.api, "cuModuleLoadDataEx", error);
  return *log ? err_hint(c, st, "%s", log) : st;
}

static void unload(RtDevice *d, void *module) {
  Gpu *g = (Gpu *)d;
  g->info.api->cuCtxSetCurrent(g->context);
  g->info.api->cuModuleUnload(module);
}

static Status find(RtDevice *d, Ctx *c, void *module, const char *symbol, void **function) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY_CUDA(g, cuModuleGetFunction, ((CudaFunction *)function, module, symbol));
  return ST_OK;
}

/* --- streams and memory --- */

static Status open_stream(RtDevice *d, Ctx *c, void **stream) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY_CUDA(g, cuStreamCreate, ((CudaStream *)stream, CUDA_STREAM_APART));
  return ST_OK;
}

static void close_stream(RtDevice *d, void *stream) {
  Gpu *g = (Gpu *)d;
  g->info.api->cuCtxSetCurrent(g->context);
  g->info.api->cuStreamSynchronize(stream);
  g->info.api->cuStreamDestroy_v2(stream);
}

static Status get(RtDevice *d, Ctx *c, void *stream, size_t bytes, uint64_t *address) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  int error = g->info.api->cuMemAllocAsync(address, bytes, stream);
  if (error == CUDA_OUT_OF_MEMORY)
    return fail(c, ST_MEMORY, "the GPU has no %zu bytes left", bytes);
  return error ? cuda_failed(c, g->info.api, "cuMemAllocAsync", error) : ST_OK;
}

static void put(RtDevice *d, void *stream, uint64_t address) {
  Gpu *g = (Gpu *)d;
  g->info.api->cuCtxSetCurrent(g->context);
  if (!stream)
    wait_for_all(g->info.api);
  g->info.api->cuMemFreeAsync(address, stream);
}

static void trim(RtDevice *d) {
  Gpu *g = (Gpu *)d;
  g->info.api->cuCtxSetCurrent(g->context);
  wait_for_all(g->info.api);
  g->info.api->cuMemPoolTrimTo(g->pool, 0);
}

static Status wait(RtDevice *d, Ctx *c, void *stream) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY_CUDA(g, cuStreamSynchronize, (stream));
  return ST_OK;
}

static Status order(RtDevice *d, Ctx *c, void *first, void *later) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  pthread_mutex_lock(&g->lock);
  int error = g->info.api->cuEventRecord(g->mark, first);
  if (!error)
    error = g->info.api->cuStreamWaitEvent(later, g->mark, 0);
  pthread_mutex_unlock(&g->lock);
  return error ? cuda_failed(c, g->info.api, "cuStreamWaitEvent", error) : ST_OK;
}

static Status send(Gpu *g, Ctx *c, void *stream, uint64_t to, const uint8_t *from, size_t bytes) {
  for (size_t n; bytes; bytes -= n, from += n, to += n, g->half = !g->half) {
    uint8_t *half = g->staging + (g->half ? HALF : 0);
    n = bytes < HALF ? bytes : HALF;
    TRY_CUDA(g, cuEventSynchronize, (g->event[g->half]));
    memcpy(half, from, n);
    TRY_CUDA(g, cuMemcpyHtoDAsync_v2, (to, half, n, stream));
    TRY_CUDA(g, cuEventRecord, (g->event[g->half], stream));
  }
  return ST_OK;
}

static Status upload(RtDevice *d, Ctx *c, void *stream, uint64_t to, const void *from, size_t bytes) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  pthread_mutex_lock(&g->lock);
  Status st = send(g, c, stream, to, from, bytes);
  pthread_mutex_unlock(&g->lock);
  return st;
}

static Status download(RtDevice *d, Ctx *c, void *stream, void *to, uint64_t from, size_t bytes) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY_CUDA(g, cuMemcpyDtoHAsync_v2, (to, from, bytes, stream));
  TRY_CUDA(g, cuStreamSynchronize, (stream));
  return ST_OK;
}

static Status copy(RtDevice *d, Ctx *c, void *stream, uint64_t to, uint64_t from, size_t bytes) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY_CUDA(g, cuMemcpyDtoDAsync_v2, (to, from, bytes, stream));
  return ST_OK;
}

static Status clear(RtDevice *d, Ctx *c, void *stream, uint64_t to, size_t bytes) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY_CUDA(g, cuMemsetD8Async, (to, 0, bytes, stream));
  return ST_OK;
}

static Status launch(RtDevice *d, Ctx *c, void *stream, void *function, uint32_t blocks, uint32_t threads,
                     uint64_t *param, size_t nparam) {
  Gpu *g = (Gpu *)d;
  void *at[PARAMETERS];
  if (nparam > PARAMETERS)
    return fail(c, ST_UNSUPPORTED, "a kernel with %zu parameters; a GPU takes %d", nparam, PARAMETERS);
  for (size_t i = 0; i < nparam; i++)
    at[i] = &param[i];
  TRY(enter(g, c));
  TRY_CUDA(g, cuLaunchKernel, (function, blocks, 1, 1, threads, 1, 1, 0, stream, at, NULL));
  return ST_OK;
}

/* --- products --- */

static Status open_products(RtDevice *d, Ctx *c) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY(cuda_blas_open(c, &g->blas));
  g->blas.tf32 |= d->tf32;
  return ST_OK;
}

static Status product(RtDevice *d, Ctx *c, void *stream, const RtProduct *p, size_t *needed) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  return cuda_blas_product(c, &g->blas, stream, p, needed);
}

bool cuda_choices(RtDevice *d, Arena *a, CudaChoices *x) {
  Gpu *g = (Gpu *)d;
  if (!g->blas.handle)
    return false;
  pthread_mutex_lock(&g->blas.lock);
  x->asked = g->blas.asked;
  pthread_mutex_unlock(&g->blas.lock);
  x->library = arena_printf(a, "cuBLASLt %zu", g->blas.api->cublasLtGetVersion());
  x->gpu = arena_printf(a, "%s sm_%d, %d", g->info.name, d->capability, g->info.multiprocessors);
  return true;
}

void cuda_choices_take(RtDevice *d, const void *bytes, size_t size) { cuda_blas_take(&((Gpu *)d)->blas, bytes, size); }

size_t cuda_choices_give(RtDevice *d, Arena *a, const void **bytes) {
  return cuda_blas_give(&((Gpu *)d)->blas, a, bytes);
}

/* --- graphs --- */

static Status record(RtDevice *d, Ctx *c, void *stream) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  pthread_mutex_lock(&capture);
  int error = g->info.api->cuStreamBeginCapture_v2(stream, CUDA_CAPTURE_OF_THREAD);
  if (error)
    pthread_mutex_unlock(&capture);
  return error ? cuda_failed(c, g->info.api, "cuStreamBeginCapture_v2", error) : ST_OK;
}

/* The driver updates a graph whose nodes are the same but for their parameters; others it refuses. */
static Status make_graph(Gpu *g, Ctx *c, CudaGraph from, void **graph) {
  CudaUpdate result;
  CudaGraphExec exec = NULL;
  if (*graph && !g->info.api->cuGraphExecUpdate_v2(*graph, from, &result))
    return ST_OK;
  TRY_CUDA(g, cuGraphInstantiateWithFlags, (&exec, from, 0));
  if (*graph)
    g->info.api->cuGraphExecDestroy(*graph);
  *graph = exec;
  return ST_OK;
}

static Status record_end(RtDevice *d, Ctx *c, void *stream, bool keep, void **graph) {
  Gpu *g = (Gpu *)d;
  CudaGraph made = NULL;
  g->info.api->cuCtxSetCurrent(g->context);
  int error = g->info.api->cuStreamEndCapture(stream, &made);
  pthread_mutex_unlock(&capture);
  Status st = ST_OK;
  if (keep)
    st = error ? cuda_failed(c, g->info.api, "cuStreamEndCapture", error) : make_graph(g, c, made, graph);
  if (made)
    g->info.api->cuGraphDestroy(made);
  return st;
}

static Status replay(RtDevice *d, Ctx *c, void *stream, void *graph) {
  Gpu *g = (Gpu *)d;
  TRY(enter(g, c));
  TRY_CUDA(g, cuGraphLaunch, (graph, stream));
  return ST_OK;
}

static void drop_graph(RtDevice *d, void *graph) {
  Gpu *g = (Gpu *)d;
  g->info.api->cuCtxSetCurrent(g->context);
  g->info.api->cuGraphExecDestroy(graph);
}

/* --- opening --- */

static Status open_all(Gpu *g, Ctx *c) {
  uint64_t keep = UINT64_MAX;
  TRY_CUDA(g, cuDevicePrimaryCtxRetain, (&g->context, g->info.ordinal));
  TRY(enter(g, c));
  TRY_CUDA(g, cuDeviceGetDefaultMemPool, (&g->pool, g->info.ordinal));
  TRY_CUDA(g, cuMemPoolSetAttribute, (g->pool, CUDA_POOL_KEEPS, &keep));
  TRY_CUDA(g, cuMemHostAlloc, ((void **)&g->staging, 2 * (size_t)HALF, 0));
  for (int i = 0; i < 2; i++)
    TRY_CUDA(g, cuEventCreate, (&g->event[i], CUDA_NO_TIMING));
  TRY_CUDA(g, cuEventCreate, (&g->mark, CUDA_NO_TIMING));
  return ST_OK;
}

static void hold(RtDevice *d) { atomic_fetch_add(&((Gpu *)d)->users, 1); }

Status cuda_open(Ctx *c, RtDevice **out) {
  static const RtDeviceOps ops = {.hold = hold,
                                  .drop = cuda_close,
                                  .load = load,
                                  .unload = unload,
                                  .find = find,
                                  .open_stream = open_stream,
                                  .close_stream = close_stream,
                                  .wait = wait,
                                  .order = order,
                                  .get = get,
                                  .put = put,
                                  .trim = trim,
                                  .upload = upload,
                                  .download = download,
                                  .copy = copy,
                                  .clear = clear,
                                  .launch = launch,
                                  .open_products = open_products,
                                  .product = product,
                                  .record = record,
                                  .record_end = record_end,
                                  .replay = replay,
                                  .drop_graph = drop_graph};
  CudaDevice info;
  TRY(cuda_device_find(c, &info));
  Gpu *g = alloc_get(c->alloc, sizeof *g, _Alignof(Gpu));
  if (!g)
    return fail(c, ST_MEMORY, "out of memory");
  *g = (Gpu){.base = {&ops, (int64_t)info.multiprocessors * BLOCKS_PER_MULTIPROCESSOR, info.major * 10 + info.minor},
             .alloc = c->alloc,
             .info = info,
             .users = 1};
  pthread_mutex_init(&g->lock, NULL);
  Status st = open_all(g, c);
  if (st)
    cuda_close(&g->base);
  else
    *out = &g->base;
  return st;
}

void cuda_close(RtDevice *d) {
  Gpu *g = (Gpu *)d;
  if (!g || atomic_fetch_sub(&g->users, 1) > 1)
    return;
  const CudaApi *api = g->info.api;
  if (g->context)
    api->cuCtxSetCurrent(g->context);
  cuda_blas_close(&g->blas);
  const CudaEvent event[] = {g->event[0], g->event[1], g->mark};
  for (size_t i = 0; i < countof(event); i++)
    if (event[i])
      api->cuEventDestroy_v2(event[i]);
  if (g->staging)
    api->cuMemFreeHost(g->staging);
  if (g->context)
    api->cuDevicePrimaryCtxRelease_v2(g->info.ordinal);
  pthread_mutex_destroy(&g->lock);
  alloc_put(g->alloc, g, sizeof *g);
}
