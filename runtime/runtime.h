/* runtime.h - loading a program and running it. Knows no graph, no protobuf, no LLVM.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_RUNTIME_H
#define SARD_RUNTIME_RUNTIME_H

#include "runtime/pool.h"
#include "runtime/program.h"
#include "runtime/recycler.h"
#include "support/tensor.h"

/* Memory behind the program's file constants, in the order the program names them. */
typedef struct RtFile {
  const uint8_t *base;
  size_t size;
} RtFile;

typedef struct RtProgram RtProgram;

/* Checks every byte of the program that will be used, decodes attributes, resolves constants. image must be aligned to
 * PROG_ALIGN and live as long as the program, so must the files. build: plan_build_id() of this build. The program is
 * immutable afterwards and may be run from many threads. */
Status rt_load(Ctx *c, Arena *a, const uint8_t *image, size_t size, uint64_t build, const RtFile *file, uint32_t nfile,
               RtProgram **out);
/* The same for a program whose kernels were compiled for that device, which they run on; it must live as long as the program. */
struct RtDevice;
Status rt_load_on(Ctx *c, Arena *a, const uint8_t *image, size_t size, uint64_t build, const RtFile *file,
                  uint32_t nfile, struct RtDevice *device, RtProgram **out);
/* What the code that a program runs on its device is, in words: "machine code for sm_90"; "" for the CPU's. */
const char *rt_device_code(const RtProgram *p, Arena *a);
/* The same for a program whose machine code is in memory already: code of all kernels, each at its offset from base. */
typedef struct RtLinked {
  const uint8_t *base;
  const uint64_t *offset; /* by SEC_KERNELS */
  uint32_t n;
} RtLinked;
Status rt_load_linked(Ctx *c, Arena *a, const uint8_t *image, size_t size, uint64_t build, const RtFile *file,
                      uint32_t nfile, const RtLinked *code, RtProgram **out);
/* Frees what runs have left with the program (layouts); the rest belongs to the arena. No run may be going on. */
void rt_unload(RtProgram *p);
/* Gives back the working memory that runs have left, here and on the device. Runs may go on. */
void rt_release(RtProgram *p);
/* Whether runs on the device are recorded as graphs: *why NULL, or why not, and because of which step (PROG_NONE: of none). False:
 * there is no device. */
typedef struct RtGraphs {
  const char *why;
  uint32_t step, kernels; /* kernels: in a graph */
  uint32_t grows;         /* lengths of what grows that one serves; 0: each shape has its own */
  int64_t made, replayed; /* so far */
} RtGraphs;
bool rt_graphs(const RtProgram *p, RtGraphs *out);

/* Names the program's machine code in dir/perf-PID.map, for `perf`. */
Status rt_perf_map(const RtProgram *p, Ctx *c, const char *dir);

/* --- description --- */
uint32_t rt_count(const RtProgram *p, SectionId sec); /* records of a section: inputs, outputs, steps, symbols … */
const char *rt_string(const RtProgram *p, uint32_t offset);
const ProgPort *rt_input(const RtProgram *p, uint32_t i);
const ProgPort *rt_output(const RtProgram *p, uint32_t i);
const ProgSlot *rt_slot(const RtProgram *p, uint32_t i);
const ProgStep *rt_step(const RtProgram *p, uint32_t i);
const ProgKernel *rt_kernel(const RtProgram *p, const ProgStep *s); /* NULL: s is no kernel step */
const ProgCall *rt_call(const RtProgram *p, const ProgStep *s);     /* the same */
/* A kernel step that a library computes, of many rows at least. */
bool rt_is_product(const RtProgram *p, const ProgStep *s);
const ProgOrigin *rt_origin(const RtProgram *p, uint32_t i);
const ProgSymbol *rt_symbol(const RtProgram *p, uint32_t i);
const ProgAppend *rt_append(const RtProgram *p, uint32_t i);
const char *rt_precision(const RtProgram *p); /* "fp32", "bf16" … */
const ProgMeta *rt_meta(const RtProgram *p, uint32_t i);
uint32_t rt_list(const RtProgram *p, uint32_t at);
/* The extent of a slot's dimension if it is a constant, else -1. */
int64_t rt_const_dim(const RtProgram *p, const ProgSlot *s, int axis);

/* --- running --- */

/* One output of a run: a dense tensor whose memory lives until ctx_close of the run's context, or the caller's. */
typedef struct RtOutput {
  Tensor t;
  bool wanted;
  bool device;        /* wanted on the program's device: addresses in t and into are the device's */
  bool apart;         /* and into overlaps an input: it is written when the run is over */
  uint64_t at;        /* set by rt_run: memory of the device, to be given back with its put; 0: none was needed */
  const Tensor *into; /* the caller's memory of exactly this dtype and shape, dense but for RtRoom, or NULL */
  bool in_place;      /* set by rt_run: the result is already in `into` */
} RtOutput;

/* A step that has run. A step with bodies ends after the steps in them, whose depth is greater. */
typedef struct RtStepTime {
  uint32_t step, depth;
  int threads;
  int64_t start_ns, end_ns; /* now_ns() */
  int64_t flops, bytes;     /* of a kernel, from its shapes; 0 otherwise */
} RtStepTime;

/* How the caller's tensors of a cache lie in memory: row-major, but for the axis of its rows, which has room for so many; 0: as
 * many as the tensor has, it is dense. */
typedef struct RtRoom {
  int64_t past, present;
  bool in_place; /* both begin at one address and have equal strides: past is not copied */
} RtRoom;

typedef struct RtRunOptions {
  Pool *pool;         /* NULL: everything in the caller's thread */
  Recycler *recycler; /* for the memory of results; NULL: fresh memory each time */
  int threads;        /* at most; the results do not depend on it */
  bool eager;         /* use them for every kernel, worth it or not (tests) */
  const RtRoom *room; /* by SEC_APPENDS, or NULL: everything is dense */
  const bool *there;  /* by input: its data is an address of the device's; NULL: none is */
  void
      *stream; /* of the device, the caller's: the run comes behind what is on it, and it waits for the run. NULL: none;
                   then everything is done when rt_run returns */
  void (*profile)(void *arg, const RtStepTime *t); /* may be NULL; called in the caller's thread */
  void *profile_arg;
} RtRunOptions;

/* Runs the program. in[i] is dense but for RtRoom. in[i].data == NULL with dtype DT_none: use the default. Everything is allocated through c, whose
 * cancel flag and deadline are polled at every step and loop trip; what is not an output is freed before returning, but for the
 * working memory, which stays with the program for the next run. o may be NULL. */
Status rt_run(RtProgram *p, Ctx *c, const RtRunOptions *o, const Tensor *in, uint32_t nin, RtOutput *out,
              uint32_t nout);

/* The shape of output i for inputs of the given shapes (data is not read). ST_UNSUPPORTED: it depends on the data. */
Status rt_output_shape(RtProgram *p, Ctx *c, const Tensor *in, uint32_t nin, uint32_t i, int64_t *dim, int *rank);

/* The memory of a run, in bytes, before it. What only the run tells is left out and counted in `unknown`. The own memory of
 * reference evaluators is not in it. */
typedef struct RtMemory {
  uint64_t mapped;  /* constants that lie in the model's files */
  uint64_t packed;  /* weights packed for the CPU */
  uint64_t own;     /* constants inside the program */
  uint64_t arena;   /* values whose extents are known at the start, packed over time */
  uint64_t apart;   /* values allocated one by one, outputs among them: the most at once */
  uint64_t scratch; /* working memory of kernels, of all threads */
  uint64_t outputs;
  uint64_t peak;      /* the largest sum of values that live at the same time */
  uint32_t peak_step; /* where that is; PROG_NONE: no value needs memory */
  uint32_t largest;   /* the slot with the largest of these values; PROG_NONE */
  uint64_t largest_bytes;
  uint32_t unknown;       /* values, and kernels' working memories, that only the run tells */
  uint32_t first_unknown; /* the first step that makes or needs one; PROG_NONE */
} RtMemory;
/* For inputs of the given shapes, run with these options; data are read where extents hang on them, and may be NULL. */
Status rt_memory(RtProgram *p, Ctx *c, const RtRunOptions *o, const Tensor *in, uint32_t nin, RtMemory *out);

/* The shape of input i when the symbols of the input shapes have these values, in the program's order. ST_UNSUPPORTED: they do not
 * tell it. */
Status rt_input_shape(const RtProgram *p, Ctx *c, const int64_t *symbol, uint32_t nsymbol, uint32_t i, int64_t *dim,
                      int *rank);

#endif
