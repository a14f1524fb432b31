/* driver.c - a libcuda.so.1 of our own, for tests: the functions of cuda/cuda.def over ordinary memory, which refuse what the
 * driver would refuse. SARD_NULL_GPU says what machine this is: "none" no GPU, "hidden" a driver that shows none, "old" one of
 * compute capability 7.5, "8.6" one of that, "ancient" a driver for CUDA 11; otherwise an H100, of 80 GB or of SARD_NULL_MEMORY bytes.
 *
 * Modules are PTX, or what our nvJitLink makes of it; kernels run in the interpreter (ptx.h). What is put on a stream is done when somebody waits for it, no sooner:
 * who reads without waiting, or changes what a copy still reads, gets wrong results. Memory is full of ones at first. Addresses
 * are no addresses of this process. What is left when the context goes, and what is freed twice or used afterwards, ends the
 * process with a message, as does what may not be done while a stream is captured.
 *
 * Tests that have the library in their process make a call fail by null_fail; an error after which the GPU is lost fails all later
 * calls.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/cuda/null/null.h"
#include "tests/cuda/null/ptx.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
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
  NO_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  BAD_DEVICE = 101,
  NO_BINARY = 209,
  BAD_PTX = 218,
  ECC = 214,
  NOT_FOUND = 500,
  ILLEGAL = 700,
  FAULT = 719
};

static bool ready;

/* --- calls that fail --- */

static atomic_llong calls, fail_at; /* fail_at: the number of the call; 0: none */
static int fail_with, lost;         /* lost: the error that all calls give from now on */

EXPORT void null_fail(long long at, int error) {
  calls = 0;
  fail_at = at;
  fail_with = error, lost = 0;
}
EXPORT long long null_calls(void) { return calls; }

EXPORT int null_step(void);
static int failing(void) { return null_step(); }

int null_step(void) {
  long long n = ++calls;
  if (lost)
    return lost;
  if (n != fail_at)
    return 0;
  if (fail_with == ECC || fail_with == ILLEGAL || fail_with == FAULT)
    lost = fail_with;
  return fail_with;
}

/* What gives something back does so even if it reports an error, of earlier work, say. */
#define CALL                                                                                                           \
  do {                                                                                                                 \
    int failed_ = failing();                                                                                           \
    if (failed_)                                                                                                       \
      return failed_;                                                                                                  \
  } while (0)

static bool machine_is(const char *what) {
  const char *gpu = getenv("SARD_NULL_GPU");
  return gpu && !strcmp(gpu, what);
}

int cuInit(unsigned flags) {
  CALL;
  if (machine_is("none"))
    return NO_DEVICE;
  ready = !flags;
  return ready ? 0 : INVALID;
}

int cuDriverGetVersion(int *version) {
  CALL;
  *version = machine_is("ancient") ? 11040 : 13000;
  return 0;
}

static char fault[256]; /* of the last kernel that failed */
static const struct {
  int error;
  const char *name, *text;
} errors[] = {{INVALID, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
              {NO_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
              {ECC, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
              {ILLEGAL, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
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
  CALL;
  *count = machine_is("hidden") ? 0 : 1;
  return ready ? 0 : NOT_INITIALIZED;
}

int cuDeviceGet(CudaOrdinal *device, int index) {
  CALL;
  *device = 0;
  return !ready ? NOT_INITIALIZED : index ? BAD_DEVICE : 0;
}

int cuDeviceGetName(char *name, int size, CudaOrdinal device) {
  CALL;
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
  CALL;
  switch (attribute) {
  case CUDA_MULTIPROCESSORS: *value = 132; break;
  case CUDA_MAJOR: *value = capability() / 10; break;
  case CUDA_MINOR: *value = capability() % 10; break;
  default: return INVALID;
  }
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, CudaOrdinal device) {
  CALL;
  *bytes = (size_t)80 << 30;
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

/* --- the context --- */

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP; /* streams of several threads meet here */
static atomic_int contexts, pinned, modules, streams, events, graphs, execs;
static atomic_int captures; /* streams of all threads that are captured */
static struct CUctx_st { int unused; } the_context;
static _Thread_local CudaContext current;
static _Thread_local int capturing; /* streams of this thread that are captured */

static void stop(const char *what) {
  fprintf(stderr, "null driver: %s\n", what);
  abort();
}

/* What the driver does not do while the thread captures a stream. */
static void not_captured(const char *call) {
  char text[100];
  snprintf(text, sizeof text, "%s while a stream is captured", call);
  if (capturing)
    stop(text);
}

int cuDevicePrimaryCtxRetain(CudaContext *context, CudaOrdinal device) {
  CALL;
  *context = &the_context;
  contexts++;
  return !ready ? NOT_INITIALIZED : device ? BAD_DEVICE : 0;
}

static void nothing_left(void);

int cuDevicePrimaryCtxRelease_v2(CudaOrdinal device) {
  int error = failing();
  if (!--contexts) {
    nothing_left();
    lost = 0; /* with the context */
  }
  return device ? BAD_DEVICE : error;
}

int cuCtxSetCurrent(CudaContext context) {
  CALL;
  current = context;
  return context == &the_context && contexts > 0 ? 0 : INVALID;
}

int cuDeviceGetDefaultMemPool(CudaPool *pool, CudaOrdinal device) {
  CALL;
  *pool = NULL;
  return device ? BAD_DEVICE : 0;
}

int cuMemPoolSetAttribute(CudaPool pool, int attribute, void *value) {
  CALL;
  return !pool && attribute == CUDA_POOL_KEEPS && value ? 0 : INVALID;
}

int cuMemPoolTrimTo(CudaPool pool, size_t bytes) {
  CALL;
  not_captured("cuMemPoolTrimTo");
  return !pool && !bytes ? 0 : INVALID;
}

/* --- memory: block i is at i + 1 times SPAN --- */

enum { SPAN_BITS = 36 };
static struct {
  uint8_t *at; /* NULL: freed */
  size_t size;
} * block;
static size_t blocks, live, in_use, allocations;

EXPORT size_t null_allocations(void) { return allocations; }

static size_t budget(void) {
  const char *said = getenv("SARD_NULL_MEMORY");
  return said ? strtoull(said, NULL, 10) : (size_t)80 << 30;
}

static void *memory(void *arg, uint64_t address, size_t size) {
  (void)arg;
  uint64_t i = (address >> SPAN_BITS) - 1, offset = address & (((uint64_t)1 << SPAN_BITS) - 1);
  return i < blocks && block[i].at && offset + size <= block[i].size ? block[i].at + offset : NULL;
}

int cuMemAllocAsync(uint64_t *address, size_t bytes, CudaStream stream) {
  CALL;
  not_captured("cuMemAllocAsync");
  if (current != &the_context || !bytes || !stream || !streams)
    return INVALID;
  pthread_mutex_lock(&lock);
  if (bytes > budget() || in_use > budget() - bytes) {
    pthread_mutex_unlock(&lock);
    return NO_MEMORY;
  }
  in_use += bytes, allocations++;
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
  CALL;
  not_captured("cuMemHostAlloc");
  *at = malloc(bytes);
  pinned++;
  allocations++;
  return flags || current != &the_context ? INVALID : 0;
}

int cuMemFreeHost(void *at) {
  int error = failing();
  pinned--;
  free(at);
  return error;
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
  CALL;
  not_captured("cuModuleLoadDataEx");
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
  int error = failing();
  if (execs)
    stop("a module is unloaded that a graph may hold");
  ptx_free(module->ptx);
  free(module);
  modules--;
  return error;
}

int cuModuleGetFunction(CudaFunction *function, CudaModule module, const char *name) {
  CALL;
  *function = (CudaFunction)(uintptr_t)ptx_find(module->ptx, name);
  return *function ? 0 : NOT_FOUND;
}

/* --- streams --- */

typedef struct Work {
  enum { UP, DOWN, SET, COPY, FREE, LAUNCH, CALL_OF, WAIT, GRAPH } kind;
  bool (*fn)(void *arg);
  uint64_t address, from;
  void *up;
  const void *down;
  size_t bytes;
  const PtxKernel *kernel;
  uint32_t blocks, threads;
  uint64_t *param;
  CudaStream stream; /* WAIT: what was put on it, up to the number `count` */
  uint64_t count;
  CudaGraphExec graph;
  struct Work *next;
} Work;

typedef struct List {
  Work *first, **last;
} List;

struct CUstream_st {
  List work, captured;
  uint64_t put, done; /* counts of work */
  bool captures;
};
struct CUgraph_st {
  List nodes;
};
struct CUgraphExec_st {
  List nodes;
  int users; /* launches that are not done yet */
};

struct CUevent_st {
  CudaStream stream; /* recorded there; NULL: nowhere */
  uint64_t count;    /* behind so much work */
  CudaEvent next;
};
static CudaEvent all_events;

/* The handle 1, which any driver has, is the legacy stream. */
static struct CUstream_st legacy = {.work = {NULL, &legacy.work.first}};

static CudaStream stream_of(CudaStream s) { return s == (CudaStream)(uintptr_t)1 ? &legacy : s; }

static void append(List *l, Work w) {
  Work *x = malloc(sizeof *x);
  *x = w, x->next = NULL;
  *l->last = x, l->last = &x->next;
}

static void free_list(List *l) {
  for (Work *w = l->first, *next; w; w = next) {
    next = w->next;
    if (w->kind == CALL_OF)
      free(w->up);
    free(w->param), free(w);
  }
  *l = (List){NULL, &l->first};
}

static int add(CudaStream handle, Work w) {
  CudaStream s = stream_of(handle);
  if (!s || current != &the_context)
    return INVALID;
  if (s->captures && (w.kind == UP || w.kind == DOWN || w.kind == FREE || w.kind == WAIT || w.kind == GRAPH))
    stop("work on a captured stream that no graph should hold");
  pthread_mutex_lock(&lock);
  append(s->captures ? &s->captured : &s->work, w);
  s->put += !s->captures;
  pthread_mutex_unlock(&lock);
  return 0;
}

static int free_block(uint64_t address) {
  uint64_t i = (address >> SPAN_BITS) - 1;
  pthread_mutex_lock(&lock);
  if (i >= blocks || !block[i].at || address & (((uint64_t)1 << SPAN_BITS) - 1))
    stop("memory is freed that is not there");
  free(block[i].at);
  block[i].at = NULL;
  in_use -= block[i].size;
  live--;
  pthread_mutex_unlock(&lock);
  return 0;
}

static int run_stream(CudaStream s, uint64_t upto);

static int do_graph(CudaGraphExec x);

static int do_work(const Work *w) {
  switch (w->kind) {
  case FREE: return free_block(w->address);
  case LAUNCH:
    return ptx_run(w->kernel, &(PtxLaunch){w->blocks, w->threads, w->param, false, memory, NULL}, fault) ? 0 : FAULT;
  case CALL_OF: snprintf(fault, sizeof fault, "a library's kernel"); return w->fn(w->up) ? 0 : FAULT;
  case WAIT: return w->stream ? run_stream(w->stream, w->count) : 0;
  case GRAPH: return do_graph(w->graph);
  default: break;
  }
  void *p = memory(NULL, w->address, w->bytes), *q = w->kind == COPY ? memory(NULL, w->from, w->bytes) : p;
  if (!p || !q)
    return INVALID;
  if (w->kind == UP)
    memcpy(p, w->down, w->bytes);
  else if (w->kind == DOWN)
    memcpy(w->up, p, w->bytes);
  else if (w->kind == COPY)
    memmove(p, q, w->bytes);
  else
    memset(p, 0, w->bytes);
  return 0;
}

static int do_graph(CudaGraphExec x) {
  int error = 0;
  for (const Work *w = x->nodes.first; w && !error; w = w->next)
    error = do_work(w);
  x->users--;
  return error;
}

/* The lock is held. After a fault nothing more is done, but memory comes back. */
static int run_stream(CudaStream s, uint64_t upto) {
  int error = lost;
  while (s->work.first && s->done < upto) {
    Work *w = s->work.first;
    List one = {w, &w->next};
    s->work.first = w->next;
    if (!w->next)
      s->work.last = &s->work.first;
    w->next = NULL;
    s->done++;
    if (error && w->kind == GRAPH)
      w->graph->users--;
    int own = error && w->kind != FREE ? 0 : do_work(w);
    error = error ? error : own;
    free_list(&one);
  }
  return error;
}

static int synchronize(CudaStream s, uint64_t upto) {
  pthread_mutex_lock(&lock);
  int error = run_stream(s, upto);
  pthread_mutex_unlock(&lock);
  return error;
}

int cuStreamSynchronize(CudaStream stream) {
  int error = failing(), own;
  not_captured("cuStreamSynchronize");
  own = synchronize(stream_of(stream), UINT64_MAX);
  return error ? error : own;
}

EXPORT int null_call(CudaStream stream, bool (*fn)(void *arg), void *arg) {
  return add(stream, (Work){.kind = CALL_OF, .fn = fn, .up = arg});
}

EXPORT void *null_memory(uint64_t address, size_t size) {
  pthread_mutex_lock(&lock);
  void *p = memory(NULL, address, size);
  pthread_mutex_unlock(&lock);
  return p;
}

static CudaStream all_streams[64];

int cuStreamCreate(CudaStream *stream, unsigned flags) {
  CALL;
  CudaStream s = calloc(1, sizeof *s);
  s->work.last = &s->work.first, s->captured.last = &s->captured.first;
  pthread_mutex_lock(&lock);
  streams++;
  for (int i = 0; i < 64; i++)
    if (!all_streams[i]) {
      all_streams[i] = s;
      break;
    }
  pthread_mutex_unlock(&lock);
  *stream = s;
  return flags == CUDA_STREAM_APART && current == &the_context ? 0 : INVALID;
}

/* All streams, each to its end. */
static int synchronize_all(void) {
  int error = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < 64; i++) {
    int own = all_streams[i] ? run_stream(all_streams[i], UINT64_MAX) : 0;
    error = error ? error : own;
  }
  pthread_mutex_unlock(&lock);
  return error;
}

int cuCtxSynchronize(void) {
  int error = failing();
  if (captures)
    stop("the context is waited for while a stream is captured");
  int own = synchronize_all();
  return error ? error : own;
}

/* Whoever waits for a stream that is gone waits no longer: everything on it is done. */
static void nobody_waits_for(CudaStream gone, List *l) {
  for (Work *w = l->first; w; w = w->next)
    w->stream = w->stream == gone ? NULL : w->stream;
}

int cuStreamDestroy_v2(CudaStream stream) {
  int error = failing();
  if (stream->work.first || stream->captured.first || stream->captures)
    stop("a stream is destroyed with work on it");
  pthread_mutex_lock(&lock);
  for (CudaEvent e = all_events; e; e = e->next)
    e->stream = e->stream == stream ? NULL : e->stream;
  nobody_waits_for(stream, &legacy.work);
  for (int i = 0; i < 64; i++) {
    all_streams[i] = all_streams[i] == stream ? NULL : all_streams[i];
    if (all_streams[i])
      nobody_waits_for(stream, &all_streams[i]->work);
  }
  pthread_mutex_unlock(&lock);
  free(stream);
  streams--;
  return error;
}

/* Of no stream: when everything before is done. */
int cuMemFreeAsync(uint64_t address, CudaStream stream) {
  int error = failing();
  not_captured("cuMemFreeAsync");
  if (stream)
    add(stream, (Work){.kind = FREE, .address = address});
  else
    free_block(address);
  return error;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, CudaStream stream) {
  CALL;
  return add(stream, (Work){.kind = UP, .address = to, .down = from, .bytes = bytes});
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, CudaStream stream) {
  CALL;
  return add(stream, (Work){.kind = DOWN, .address = from, .up = to, .bytes = bytes});
}

int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, CudaStream stream) {
  CALL;
  return add(stream, (Work){.kind = COPY, .address = to, .from = from, .bytes = bytes});
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, CudaStream stream) {
  CALL;
  return value || !bytes ? INVALID : add(stream, (Work){.kind = SET, .address = to, .bytes = bytes});
}

static atomic_int launches;
EXPORT int null_launches(void) { return launches; }

int cuLaunchKernel(CudaFunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, CudaStream stream, void **param, void **extra) {
  CALL;
  const PtxKernel *k = (const PtxKernel *)(const void *)function;
  if (!gx || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 || shared || extra)
    return INVALID;
  uint64_t *copy = malloc(ptx_params(k) * sizeof *copy);
  for (size_t i = 0; i < ptx_params(k); i++)
    memcpy(&copy[i], param[i], sizeof *copy);
  launches++;
  return add(stream, (Work){.kind = LAUNCH, .kernel = k, .blocks = gx, .threads = bx, .param = copy});
}

/* --- events --- */

int cuEventCreate(CudaEvent *event, unsigned flags) {
  CALL;
  *event = calloc(1, sizeof **event);
  pthread_mutex_lock(&lock);
  (*event)->next = all_events, all_events = *event;
  pthread_mutex_unlock(&lock);
  events++;
  return flags == CUDA_NO_TIMING ? 0 : INVALID;
}

int cuEventRecord(CudaEvent event, CudaStream stream) {
  CALL;
  not_captured("cuEventRecord");
  pthread_mutex_lock(&lock);
  event->stream = stream_of(stream), event->count = event->stream->put;
  pthread_mutex_unlock(&lock);
  return 0;
}

int cuEventSynchronize(CudaEvent event) {
  CALL;
  not_captured("cuEventSynchronize");
  pthread_mutex_lock(&lock);
  int error = event->stream ? run_stream(event->stream, event->count) : 0;
  pthread_mutex_unlock(&lock);
  return error;
}

int cuStreamWaitEvent(CudaStream stream, CudaEvent event, unsigned flags) {
  CALL;
  if (flags)
    return INVALID;
  pthread_mutex_lock(&lock);
  int error = event->stream ? add(stream, (Work){.kind = WAIT, .stream = event->stream, .count = event->count}) : 0;
  pthread_mutex_unlock(&lock);
  return error;
}

int cuEventDestroy_v2(CudaEvent event) {
  int error = failing();
  pthread_mutex_lock(&lock);
  CudaEvent *at = &all_events;
  while (*at != event)
    at = &(*at)->next;
  *at = event->next;
  pthread_mutex_unlock(&lock);
  free(event);
  events--;
  return error;
}

/* --- graphs: lists of what was captured --- */

int cuStreamBeginCapture_v2(CudaStream stream, int mode) {
  CALL;
  if (!stream || stream->captures || mode != CUDA_CAPTURE_OF_THREAD || current != &the_context)
    return INVALID;
  stream->captures = true, capturing++, captures++;
  return 0;
}

int cuStreamEndCapture(CudaStream stream, CudaGraph *graph) {
  int error = failing();
  if (!stream->captures)
    return INVALID;
  stream->captures = false, capturing--, captures--;
  if (error) {
    free_list(&stream->captured);
    return error;
  }
  CudaGraph g = malloc(sizeof *g);
  g->nodes = stream->captured;
  if (!g->nodes.first)
    g->nodes.last = &g->nodes.first;
  stream->captured = (List){NULL, &stream->captured.first};
  graphs++;
  *graph = g;
  return 0;
}

/* A copy: library calls' arguments are as large as null_call's caller says by its allocation. */
static void copy_nodes(List *to, const List *from) {
  *to = (List){NULL, &to->first};
  for (const Work *w = from->first; w; w = w->next) {
    Work x = *w;
    if (w->kind == LAUNCH) {
      size_t bytes = ptx_params(w->kernel) * sizeof *x.param;
      x.param = malloc(bytes + !bytes);
      memcpy(x.param, w->param, bytes);
    }
    if (w->kind == CALL_OF) {
      size_t bytes = malloc_usable_size(w->up);
      x.up = malloc(bytes);
      memcpy(x.up, w->up, bytes);
    }
    append(to, x);
  }
}

int cuGraphInstantiateWithFlags(CudaGraphExec *exec, CudaGraph graph, unsigned long long flags) {
  CALL;
  not_captured("cuGraphInstantiateWithFlags");
  if (flags)
    return INVALID;
  *exec = calloc(1, sizeof **exec);
  copy_nodes(&(*exec)->nodes, &graph->nodes);
  execs++;
  return 0;
}

/* The same nodes in the same order; only their parameters differ. */
int cuGraphExecUpdate_v2(CudaGraphExec exec, CudaGraph graph, CudaUpdate *result) {
  CALL;
  const Work *a = exec->nodes.first, *b = graph->nodes.first;
  for (; a && b && a->kind == b->kind && a->kernel == b->kernel && a->fn == b->fn; a = a->next)
    b = b->next;
  *result = (CudaUpdate){.result = a || b};
  if (a || b)
    return CUDA_UPDATE_FAILED;
  if (exec->users)
    synchronize_all(); /* launches before have the old parameters */
  free_list(&exec->nodes);
  copy_nodes(&exec->nodes, &graph->nodes);
  return 0;
}

int cuGraphLaunch(CudaGraphExec exec, CudaStream stream) {
  CALL;
  pthread_mutex_lock(&lock);
  int error = add(stream, (Work){.kind = GRAPH, .graph = exec});
  exec->users += !error;
  pthread_mutex_unlock(&lock);
  return error;
}

int cuGraphExecDestroy(CudaGraphExec exec) {
  int error = failing();
  if (exec->users)
    synchronize_all(); /* the driver lets launches end first */
  free_list(&exec->nodes);
  free(exec);
  execs--;
  return error;
}

int cuGraphDestroy(CudaGraph graph) {
  int error = failing();
  free_list(&graph->nodes);
  free(graph);
  graphs--;
  return error;
}

/* --- the end --- */

/* What the process has left behind; 0 when the context has gone. */
EXPORT int null_left(void) { return contexts + pinned + modules + streams + events + graphs + execs + (int)live; }

/* The context goes, and everything in it. */
static void nothing_left(void) {
  if (pinned || modules || streams || events || graphs || execs || live) {
    fprintf(stderr,
            "null driver: left behind: %d pinned, %d modules, %d streams, %d events, %d graphs, %d of them ready, %zu "
            "blocks\n",
            pinned, modules, streams, events, graphs + execs, execs, live);
    abort();
  }
}

__attribute__((destructor)) static void at_the_end(void) {
  if (contexts) {
    fprintf(stderr, "null driver: a context is left behind\n");
    abort();
  }
  free(block);
}
