/* driver.c - a libcuda.so.1 of our own, for tests: the functions of cuda/cuda.def over ordinary memory, which refuse what the
 * driver would refuse. SARD_NULL_GPU says what machine this is: "none" no GPU, "hidden" a driver that shows none, "old" one of
 * compute capability 7.5, "8.6" one of that; otherwise an H100.
 *
 * Modules are PTX, or what our nvJitLink makes of it; kernels run in the interpreter (ptx.h). What is put on a stream is done when somebody waits for it, no sooner:
 * who reads without waiting, or changes what a copy still reads, gets wrong results. Memory is full of ones at first. Addresses
 * are no addresses of this process. What is left at the end, and what is freed twice or used afterwards, ends it with a message.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/null.h"
#include "tests/cuda/null/ptx.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT                          __attribute__((visibility("default")))
#define CU(library, symbol, parameters) EXPORT int symbol parameters;
#include "cuda/cuda.def"
#undef CU

enum {
  INVALID = 1,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  BAD_DEVICE = 101,
  NO_BINARY = 209,
  BAD_PTX = 218,
  NOT_FOUND = 500,
  FAULT = 719
};

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

static char fault[256]; /* of the last kernel that failed */
static const struct {
  int error;
  const char *name, *text;
} errors[] = {{INVALID, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
              {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
              {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
              {BAD_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
              {NO_BINARY, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
              {BAD_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
              {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
              {FAULT, "CUDA_ERROR_LAUNCH_FAILED", fault}};

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

/* 90: 9.0 */
static int capability(void) {
  const char *gpu = getenv("SARD_NULL_GPU");
  double number = gpu ? atof(gpu) : 0;
  return machine_is("old") ? 75 : number > 0 ? (int)(number * 10 + 0.5) : 90;
}

int cuDeviceGetAttribute(int *value, int attribute, CudaOrdinal device) {
  switch (attribute) {
  case CUDA_MULTIPROCESSORS: *value = 132; break;
  case CUDA_MAJOR: *value = capability() / 10; break;
  case CUDA_MINOR: *value = capability() % 10; break;
  default: return INVALID;
  }
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, CudaOrdinal device) {
  *bytes = (size_t)80 << 30;
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

/* --- the context --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* streams of several threads meet here */
static int contexts, pinned, modules, streams, events;
static struct CUctx_st { int unused; } the_context;
static _Thread_local CudaContext current;

static void stop(const char *what) {
  fprintf(stderr, "null driver: %s\n", what);
  abort();
}

int cuDevicePrimaryCtxRetain(CudaContext *context, CudaOrdinal device) {
  *context = &the_context;
  contexts++;
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

int cuDevicePrimaryCtxRelease_v2(CudaOrdinal device) {
  contexts--;
  return device ? BAD_DEVICE : 0;
}

int cuCtxSetCurrent(CudaContext context) {
  current = context;
  return context == &the_context && contexts > 0 ? 0 : INVALID;
}

int cuDeviceGetDefaultMemPool(CudaPool *pool, CudaOrdinal device) {
  *pool = NULL;
  return device ? BAD_DEVICE : 0;
}

int cuMemPoolSetAttribute(CudaPool pool, int attribute, void *value) {
  return !pool && attribute == CUDA_POOL_KEEPS && value ? 0 : INVALID;
}

/* --- memory: block i is at i + 1 times SPAN --- */

enum { SPAN_BITS = 36 };
static struct {
  uint8_t *at; /* NULL: freed */
  size_t size;
} * block;
static size_t blocks, live;

static void *memory(void *arg, uint64_t address, size_t size) {
  (void)arg;
  uint64_t i = (address >> SPAN_BITS) - 1, offset = address & (((uint64_t)1 << SPAN_BITS) - 1);
  return i < blocks && block[i].at && offset + size <= block[i].size ? block[i].at + offset : NULL;
}

int cuMemAllocAsync(uint64_t *address, size_t bytes, CudaStream stream) {
  if (current != &the_context || !bytes || (stream && !streams))
    return INVALID;
  pthread_mutex_lock(&lock);
  block = realloc(block, (blocks + 1) * sizeof *block);
  block[blocks].at = malloc(bytes);
  block[blocks].size = bytes;
  memset(block[blocks].at, 0xff, bytes);
  *address = (uint64_t)++blocks << SPAN_BITS;
  live++;
  pthread_mutex_unlock(&lock);
  return 0;
}

int cuMemHostAlloc(void **at, size_t bytes, unsigned flags) {
  *at = malloc(bytes);
  pinned++;
  return flags || current != &the_context ? INVALID : 0;
}

int cuMemFreeHost(void *at) {
  pinned--;
  free(at);
  return 0;
}

/* --- modules --- */

struct CUmod_st {
  PtxModule *ptx;
};

/* SARD_NULL_PTX: a folder that the code goes to. `compiled`: it was no PTX any more when it came. */
static void keep_code(const char *text, bool compiled) {
  const char *dir = getenv("SARD_NULL_PTX");
  char path[600];
  static int number;
  if (!dir)
    return;
  snprintf(path, sizeof path, "%s/%d-%d%s.ptx", dir, (int)getpid(), number++, compiled ? ".compiled" : "");
  FILE *f = fopen(path, "w");
  if (!f || fputs(text, f) < 0 || fclose(f))
    stop("SARD_NULL_PTX names no folder to write to");
}

/* SARD_NULL_FOREIGN: a file that machine code goes to which is not ours: real one. Its tables are at its end. */
static void keep_foreign(const void *image) {
  const char *path = getenv("SARD_NULL_FOREIGN");
  const Elf64_Ehdr *h = image;
  size_t size = h->e_shoff + (size_t)h->e_shnum * h->e_shentsize,
         more = h->e_phoff + (size_t)h->e_phnum * h->e_phentsize;
  FILE *f = path ? fopen(path, "w") : NULL;
  if (path && (!f || fwrite(image, size > more ? size : more, 1, f) != 1 || fclose(f)))
    stop("SARD_NULL_FOREIGN names no file to write to");
}

int cuModuleLoadDataEx(CudaModule *module, const void *image, unsigned n, int *option, void **value) {
  char why[256];
  if (current != &the_context || n != 2 || option[0] != CUDA_JIT_LOG || option[1] != CUDA_JIT_LOG_SIZE)
    return INVALID;
  bool compiled = !memcmp(image, ELFMAG, SELFMAG);
  const char *text = compiled ? null_code_text(image, (uint32_t)capability()) : image;
  if (!text) {
    keep_foreign(image);
    return NO_BINARY;
  }
  keep_code(text, compiled);
  PtxModule *m = ptx_parse(text, why);
  if (!m) {
    snprintf(value[0], (size_t)(uintptr_t)value[1], "%s", why);
    return BAD_PTX;
  }
  *module = malloc(sizeof **module);
  (*module)->ptx = m;
  modules++;
  return 0;
}

int cuModuleUnload(CudaModule module) {
  ptx_free(module->ptx);
  free(module);
  modules--;
  return 0;
}

int cuModuleGetFunction(CudaFunction *function, CudaModule module, const char *name) {
  *function = (CudaFunction)(uintptr_t)ptx_find(module->ptx, name);
  return *function ? 0 : NOT_FOUND;
}

/* --- streams --- */

struct CUevent_st {
  CudaStream stream; /* recorded there; NULL: nowhere */
  CudaEvent next;
};
static CudaEvent all_events;

typedef struct Work {
  enum { UP, DOWN, SET, FREE, LAUNCH, CALL } kind;
  bool (*fn)(void *arg);
  uint64_t address;
  void *up;
  const void *down;
  size_t bytes;
  const PtxKernel *kernel;
  uint32_t blocks, threads;
  uint64_t *param;
  struct Work *next;
} Work;

struct CUstream_st {
  Work *first, **last;
};

static int add(CudaStream stream, Work w) {
  if (!stream || current != &the_context)
    return INVALID;
  Work *x = malloc(sizeof *x);
  *x = w;
  *stream->last = x, stream->last = &x->next;
  return 0;
}

static int free_block(uint64_t address) {
  uint64_t i = (address >> SPAN_BITS) - 1;
  if (i >= blocks || !block[i].at || address & (((uint64_t)1 << SPAN_BITS) - 1))
    stop("memory is freed that is not there");
  free(block[i].at);
  block[i].at = NULL;
  live--;
  return 0;
}

static int do_work(const Work *w) {
  if (w->kind == FREE)
    return free_block(w->address);
  if (w->kind == LAUNCH)
    return ptx_run(w->kernel, &(PtxLaunch){w->blocks, w->threads, w->param, false, memory, NULL}, fault) ? 0 : FAULT;
  if (w->kind == CALL) {
    snprintf(fault, sizeof fault, "a library's kernel");
    return w->fn(w->up) ? 0 : FAULT;
  }
  void *p = memory(NULL, w->address, w->bytes);
  if (!p)
    return INVALID;
  if (w->kind == UP)
    memcpy(p, w->down, w->bytes);
  else if (w->kind == DOWN)
    memcpy(w->up, p, w->bytes);
  else
    memset(p, 0, w->bytes);
  return 0;
}

int cuStreamSynchronize(CudaStream stream) {
  int error = 0;
  pthread_mutex_lock(&lock);
  for (Work *w = stream->first, *next; w; w = next) {
    next = w->next;
    int own = error && w->kind != FREE ? 0 : do_work(w); /* after a fault nothing more is done */
    error = error ? error : own;
    if (w->kind == CALL)
      free(w->up);
    free(w->param), free(w);
  }
  stream->first = NULL, stream->last = &stream->first;
  pthread_mutex_unlock(&lock);
  return error;
}

EXPORT int null_call(CudaStream stream, bool (*fn)(void *arg), void *arg) {
  return add(stream, (Work){.kind = CALL, .fn = fn, .up = arg});
}

EXPORT void *null_memory(uint64_t address, size_t size) { return memory(NULL, address, size); }

int cuStreamCreate(CudaStream *stream, unsigned flags) {
  *stream = calloc(1, sizeof **stream);
  (*stream)->last = &(*stream)->first;
  streams++;
  return flags == CUDA_STREAM_APART && current == &the_context ? 0 : INVALID;
}

int cuStreamDestroy_v2(CudaStream stream) {
  if (stream->first)
    stop("a stream is destroyed with work on it");
  for (CudaEvent e = all_events; e; e = e->next)
    e->stream = e->stream == stream ? NULL : e->stream;
  free(stream);
  streams--;
  return 0;
}

int cuMemFreeAsync(uint64_t address, CudaStream stream) {
  return stream ? add(stream, (Work){.kind = FREE, .address = address}) : free_block(address);
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, CudaStream stream) {
  return add(stream, (Work){.kind = UP, .address = to, .down = from, .bytes = bytes});
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, CudaStream stream) {
  return add(stream, (Work){.kind = DOWN, .address = from, .up = to, .bytes = bytes});
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, CudaStream stream) {
  return value ? INVALID : add(stream, (Work){.kind = SET, .address = to, .bytes = bytes});
}

int cuLaunchKernel(CudaFunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, CudaStream stream, void **param, void **extra) {
  const PtxKernel *k = (const PtxKernel *)(const void *)function;
  if (!gx || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 || shared || extra)
    return INVALID;
  uint64_t *copy = malloc(ptx_params(k) * sizeof *copy);
  for (size_t i = 0; i < ptx_params(k); i++)
    memcpy(&copy[i], param[i], sizeof *copy);
  return add(stream, (Work){.kind = LAUNCH, .kernel = k, .blocks = gx, .threads = bx, .param = copy});
}

/* --- events --- */

int cuEventCreate(CudaEvent *event, unsigned flags) {
  *event = calloc(1, sizeof **event);
  (*event)->next = all_events, all_events = *event;
  events++;
  return flags == CUDA_NO_TIMING ? 0 : INVALID;
}

int cuEventRecord(CudaEvent event, CudaStream stream) {
  event->stream = stream;
  return 0;
}

int cuEventSynchronize(CudaEvent event) {
  CudaStream s = event->stream;
  event->stream = NULL;
  return s ? cuStreamSynchronize(s) : 0;
}

int cuEventDestroy_v2(CudaEvent event) {
  CudaEvent *at = &all_events;
  while (*at != event)
    at = &(*at)->next;
  *at = event->next;
  free(event);
  events--;
  return 0;
}

__attribute__((destructor)) static void at_the_end(void) {
  if (contexts || pinned || modules || streams || events || live) {
    fprintf(stderr, "null driver: left behind: %d contexts, %d pinned, %d modules, %d streams, %d events, %zu blocks\n",
            contexts, pinned, modules, streams, events, live);
    abort();
  }
  free(block);
}
