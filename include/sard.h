/* sard.h - the public C API of Sard, an ONNX graph compiler and runtime.
 *
 *   sard_model *m;
 *   sard_result *r;
 *   sard_error *err = NULL;
 *   if (sard_load_file(NULL, "model.onnx", NULL, &m, &err)) { puts(sard_error_text(err)); … }
 *   sard_run(m, inputs, n_inputs, NULL, &r, &err);
 *
 * Conventions. Functions that can fail return a sard_status (0: success) and take a `sard_error **err` (may be NULL); on
 * failure *err is a new error to be freed with sard_error_free, and nothing else was changed. Pointers that a function
 * returns are borrowed from the object they came from unless its comment says "free with". Options structs begin with
 * their size, and so do structs that the library fills in: start from SARD_…_INIT, so that an older program works with a
 * newer library. Strings are UTF-8.
 * A sard_model is immutable: any number of threads may call sard_run and the queries at once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_H
#define SARD_H

#include "sard_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SARD_VERSION_MAJOR  0
#define SARD_VERSION_MINOR  1
#define SARD_VERSION_PATCH  0
#define SARD_VERSION_STRING "0.1.0"

#if defined(SARD_STATIC) || !defined(__GNUC__)
#define SARD_API
#else
#define SARD_API __attribute__((visibility("default")))
#endif

/* The version of the library at run time: major * 10000 + minor * 100 + patch, and as text. */
SARD_API int sard_version(void);
SARD_API const char *sard_version_string(void);

/* --- errors: sard_status of sard_types.h --- */

typedef struct sard_error sard_error;

SARD_API sard_status sard_error_status(const sard_error *e);
/* One line that says it all: "model.onnx: node 'encoder.0/MatMul' (MatMul): inner dimensions 384 and 312 differ …". */
SARD_API const char *sard_error_text(const sard_error *e);
/* The parts of it; "" where not known. */
SARD_API const char *sard_error_message(const sard_error *e); /* the reason alone */
SARD_API const char *sard_error_file(const sard_error *e);
SARD_API const char *sard_error_node(const sard_error *e); /* ONNX node name, or "#17" by position */
SARD_API const char *sard_error_op(const sard_error *e);
SARD_API const char *sard_error_module(const sard_error *e); /* exporter's module path, "encoder.layer.3" */
SARD_API const char *sard_error_source(const sard_error *e); /* "model.py:88, in forward" */
SARD_API const char *sard_error_hint(const sard_error *e);   /* what to do */
SARD_API void sard_error_free(sard_error *e);                /* e may be NULL */
SARD_API const char *sard_status_name(sard_status s);        /* "invalid" */

/* --- tensors: sard_tensor of sard_types.h --- */

SARD_API const char *sard_dtype_name(sard_dtype t);       /* "f32" */
SARD_API int sard_dtype_bits(sard_dtype t);               /* per element; strings: of a sard_str */
SARD_API int64_t sard_tensor_count(const sard_tensor *t); /* elements; -1 when the dims are not valid */
SARD_API int64_t sard_tensor_bytes(const sard_tensor *t); /* of a dense tensor; -1 when not valid */

/* --- environment: what a process has one of --- */

typedef struct sard_env sard_env;

typedef struct sard_env_options {
  size_t size;       /* SARD_ENV_OPTIONS_INIT */
  size_t max_memory; /* bytes for all models of this environment; 0: the machine's memory; SIZE_MAX: no limit */
  void *(*alloc)(void *arg, size_t size, size_t align); /* NULL: the system's allocator. Called from any thread. */
  void (*free)(void *arg, void *p, size_t size);
  void *alloc_arg;
  void (*log)(void *arg, int level,
              const char *text); /* level 0 warning, 1 info, 2 debug; from any thread; NULL: warnings are dropped */
  void *log_arg;
} sard_env_options;
#define SARD_ENV_OPTIONS_INIT                                                                                          \
  { sizeof(sard_env_options), 0, NULL, NULL, NULL, NULL, NULL }

SARD_API sard_status sard_env_create(const sard_env_options *o, sard_env **out, sard_error **err);
/* Every model of it must be freed first. Results may outlive it: what they hold they give back to its allocator when they are
 * freed. env may be NULL. */
SARD_API void sard_env_free(sard_env *env);
/* Bytes in use now and the most at once, weights mapped from files not counted. env NULL: the default environment. */
SARD_API void sard_env_memory(sard_env *env, size_t *used, size_t *peak);

/* --- models --- */

typedef struct sard_model sard_model;

typedef struct sard_options {
  size_t size;                /* SARD_OPTIONS_INIT */
  const char *device;         /* "cpu", "cuda", "reference"; NULL: "cpu". SARD_ERROR_DEVICE: not available here */
  int threads;                /* 0: what the process may really use */
  double timeout;             /* seconds that loading may take; 0: no limit */
  const volatile int *cancel; /* loading stops soon after *cancel becomes non-zero; may be NULL */
  bool strict;                /* refuse what is legal but suspicious: hard links as external data, unknown fields */
  const char *dump_after;     /* a pass name or "all": IR text of the graph after it goes to dump; NULL: none */
  const char *stop_after;     /* no further passes after this one */
  bool time_passes;           /* one line per pass to dump */
  void (*dump)(void *arg, const char *text, size_t n);
  void *dump_arg;
  const char *dump_kernel; /* a kernel's name or "all": its text goes to dump, see sard_step.kernel; NULL: none */
  const char *cache; /* directory of compiled models, or "off"; NULL: what the environment variable SARD_CACHE says,
                              else $XDG_CACHE_HOME/sard, else $HOME/.cache/sard. See sard_model_cache. */
  bool
      allow_reference; /* false: a model with a step on "cpu" that nothing compiles is refused, SARD_ERROR_UNSUPPORTED with the
                           node and the reason. true: it runs by its reference evaluator, slowly; each is logged as a
                           warning; and without "cpu" here, device NULL is "reference". */
  /* NULL or "fp32": everything is computed in the model's own types. Else products of f32 are rounded. On "cpu": "bf16" or
   * "fp16" stores the constants that products and convolutions multiply by in 16 bits, which takes half the memory and bandwidth; where
   * the CPU multiplies bf16 faster than f32, "bf16" rounds what they are multiplied with, too. "int8" stores the constants of products in
   * 8 bits and a scale to 32 of them. Sums are f32. On "cuda": "tf32".
   * SARD_ERROR_UNSUPPORTED: not on this device. */
  const char *precision;
} sard_options;
#define SARD_OPTIONS_INIT                                                                                              \
  { sizeof(sard_options), NULL, 0, 0, NULL, false, NULL, NULL, false, NULL, NULL, NULL, NULL, false, NULL }

/* Loads, optimises and compiles a model. env NULL: the process's default environment. Weights in the file and in
 * external data beside it are mapped, not copied: the files must not change while the model lives. With the environment
 * variable SARD_PERF_MAP=/tmp the names of compiled code are written where Linux perf looks for them. */
SARD_API sard_status sard_load_file(sard_env *env, const char *path, const sard_options *o, sard_model **out,
                                    sard_error **err);
/* From memory, which must live as long as the model. dir: where external data is looked for, NULL: nowhere. */
SARD_API sard_status sard_load_bytes(sard_env *env, const void *data, size_t n, const char *dir, const sard_options *o,
                                     sard_model **out, sard_error **err);
SARD_API void sard_model_free(sard_model *m); /* m may be NULL; no run may be going on */

typedef struct sard_times {
  double import_ms;  /* file to graph */
  double passes_ms;  /* graph to optimised graph */
  double compile_ms; /* graph to program, loaded */
} sard_times;
SARD_API sard_times sard_model_times(const sard_model *m);

/* The compile cache. A model that was compiled before, with the same options, by the same build, and whose files have not
 * changed since, starts from its entry: weights packed for the CPU are mapped, and nothing is compiled. A missing entry is
 * written by a thread of its own once the first run has ended; sard_model_free waits for it. The directory must be the
 * user's own, and nobody else's to write to: otherwise a warning is logged and the cache is off, as it is with dump_after,
 * dump_kernel, stop_after and time_passes. Entries take at most 10 GB, or what the environment variable SARD_CACHE_SIZE says
 * ("500M"); beyond that those go that were not used for longest. SARD_CACHE_SHARED names directories, with ':' between, that are
 * only looked into. */
typedef enum sard_cache_state { SARD_CACHE_OFF, SARD_CACHE_HIT, SARD_CACHE_MISS } sard_cache_state;
SARD_API sard_cache_state sard_model_cache(const sard_model *m);
/* Waits until the entry that the first run began is written; *ms: how long that took. False: none was. ms may be NULL. */
SARD_API bool sard_cache_wait(const sard_model *m, double *ms);

/* --- description: sard_io of sard_types.h --- */

SARD_API size_t sard_input_count(const sard_model *m);
SARD_API size_t sard_output_count(const sard_model *m);
SARD_API sard_status sard_input(const sard_model *m, size_t i, sard_io *io); /* SARD_ERROR_USAGE: no such i, no size */
SARD_API sard_status sard_output(const sard_model *m, size_t i, sard_io *io);
/* "batch", "past+seq", "128"; NULL when there is no such dimension. */
SARD_API const char *sard_input_dim_text(const sard_model *m, size_t i, int axis);
SARD_API const char *sard_output_dim_text(const sard_model *m, size_t i, int axis);
SARD_API int64_t sard_input_index(const sard_model *m, const char *name); /* -1: no such input */
SARD_API int64_t sard_output_index(const sard_model *m, const char *name);
/* Is output i an input with new rows, a cache that may grow in place (see sard_run_into)? *input: which, and *axis: what its rows
 * lie along. */
SARD_API bool sard_output_appends(const sard_model *m, size_t i, size_t *input, int *axis);
/* The symbols of the input shapes: count, and names by number (NULL: no such number). */
SARD_API size_t sard_symbol_count(const sard_model *m);
SARD_API const char *sard_symbol_name(const sard_model *m, size_t i);
/* The model's metadata_props by key; NULL: not there. With i: the i-th key, NULL at the end. */
SARD_API const char *sard_metadata(const sard_model *m, const char *key);
SARD_API const char *sard_metadata_key(const sard_model *m, size_t i);
/* The shape of output o for given input shapes (all inputs' dims). SARD_ERROR_UNSUPPORTED: it depends on the data. */
SARD_API sard_status sard_output_shape(const sard_model *m, size_t o, const sard_tensor *inputs, size_t n, int64_t *dim,
                                       int32_t *rank, sard_error **err);

/* The steps of the compiled program, in order of execution. */
typedef enum sard_step_kind {
  SARD_STEP_COMPILED,
  SARD_STEP_LIBRARY,
  SARD_STEP_HOST,
  SARD_STEP_REFERENCE
} sard_step_kind;
typedef struct sard_step {
  size_t size; /* SARD_STEP_INIT */
  sard_step_kind kind;
  const char *op;     /* operator, or kernel name */
  const char *node;   /* ONNX node it came from, the root of a fusion */
  const char *module; /* "" when not known */
  const char *source;
  const char *kernel; /* compiled steps: the kernel's name; "" otherwise */
  size_t more;        /* compiled steps: further nodes in them, see sard_step_more */
  const char *tile;   /* compiled steps: how the work is cut, "8x48"; "" otherwise */
  const char *why;    /* why it is a reference step, or is not computed together with what reads it; "" */
  bool copies;        /* it only moves elements: a transposition, a concatenation */
} sard_step;
#define SARD_STEP_INIT SARD_INIT(sard_step)
SARD_API size_t sard_step_count(const sard_model *m);
SARD_API sard_status sard_step_info(const sard_model *m, size_t i, sard_step *s); /* USAGE: as above */
/* Name of the k-th further node that was fused into step i; NULL: no such node. */
SARD_API const char *sard_step_more(const sard_model *m, size_t i, size_t k);

/* The memory of a run, before it, in bytes. Reference evaluators' own working memory is not in it. */
typedef struct sard_memory {
  size_t size;            /* SARD_MEMORY_INIT */
  int64_t weights_mapped; /* constants read from the model's files, which are mapped */
  int64_t weights_packed; /* weights arranged for the CPU, in memory or mapped from the compile cache */
  int64_t weights_own;    /* constants inside the compiled program: folded ones, small ones */
  int64_t arena;          /* values between steps, packed into one block over time */
  int64_t apart;          /* values allocated one by one, outputs among them: the most at once */
  int64_t scratch;        /* working memory of kernels, of all threads */
  int64_t outputs;
  int64_t peak;        /* the largest sum of values that live at the same time */
  int64_t peak_step;   /* where: sard_step_info; -1: no value needs memory */
  const char *largest; /* the largest of these values; "" */
  int64_t largest_bytes;
  int64_t unknown;      /* values and working memories whose size only the run tells: not in the sums */
  int64_t unknown_step; /* the first step that has one; -1: none, and the answer is complete */
} sard_memory;
#define SARD_MEMORY_INIT SARD_INIT(sard_memory)
/* inputs: as sard_run takes them; data are read where sizes hang on the elements of small integer inputs, and may be NULL. */
SARD_API sard_status sard_plan(const sard_model *m, const sard_tensor *inputs, size_t n, sard_memory *out,
                               sard_error **err);

/* Working memory stays with a model from run to run, here and on its device: as much as the largest runs needed, once for each
 * of those that went on at a time. This gives it back, with the model's CUDA graphs and what the device's allocator keeps; the next
 * runs begin anew. Weights and code stay until sard_model_free, results until sard_result_free; with the last model of a device goes
 * its context. Runs may go on meanwhile, and keep theirs. */
SARD_API void sard_release(const sard_model *m);

/* CUDA graphs. On "cuda" the second run of the same shapes is recorded, and later ones are one call of the driver, if no step of the
 * host stands between kernels; where caches grow, 64 lengths count as one shape. The environment variable SARD_CUDA_GRAPHS says how
 * many shapes are kept (16), "off" none. */
typedef struct sard_graphs {
  size_t size;      /* SARD_GRAPHS_INIT */
  bool on;          /* runs are recorded */
  const char *why;  /* they are not: the reason; "" */
  int64_t step;     /* and the step it lies with; -1: with none */
  int64_t kernels;  /* steps in a graph */
  int64_t recorded; /* runs so far */
  int64_t replayed; /* those just recorded among them */
  int64_t grows;    /* lengths of what grows, such as caches, that one graph serves; 0: each shape has its own */
} sard_graphs;
#define SARD_GRAPHS_INIT SARD_INIT(sard_graphs)
SARD_API sard_status sard_model_graphs(const sard_model *m, sard_graphs *out); /* USAGE: no size; UNSUPPORTED: no GPU */

/* Where the model runs ("cpu", "cuda", "reference"), and on how many threads at most. */
SARD_API bool sard_device_available(const char *device); /* may sard_options.device be this? */
SARD_API const char *sard_model_device(const sard_model *m);
/* What the code that runs on a GPU is: "machine code for sm_90", or PTX, which the driver compiles at every start; "": there is none. */
SARD_API const char *sard_model_device_code(const sard_model *m);
SARD_API int sard_model_threads(const sard_model *m);
/* What it was compiled with: "fp32", "bf16" … */
SARD_API const char *sard_model_precision(const sard_model *m);

/* --- running --- */

/* A step that has run, for profiles. A step with a body (If, Loop, Scan) ends after the steps in it, whose depth is greater. */
typedef struct sard_step_time {
  size_t step; /* see sard_step_info */
  int depth, threads;
  int64_t start_ns, end_ns; /* CLOCK_MONOTONIC */
  int64_t flops, bytes;     /* of a compiled step, from its shapes; 0: not known */
} sard_step_time;

typedef struct sard_run_options {
  size_t size;                /* SARD_RUN_OPTIONS_INIT */
  double timeout;             /* seconds; 0: no limit */
  const volatile int *cancel; /* the run stops within milliseconds after *cancel becomes non-zero; may be NULL */
  void (*profile)(void *arg, const sard_step_time *t); /* called in the caller's thread after each step; may be NULL */
  void *profile_arg;
  void *stream; /* device "cuda": a CUstream of the process's first GPU, in its primary context (CU_STREAM_LEGACY and
                   CU_STREAM_PER_THREAD are some); NULL: none. See "Memory on the device" below. */
  bool outputs_on_device; /* sard_run leaves tensors there: sard_result_tensor gives addresses */
} sard_run_options;
#define SARD_RUN_OPTIONS_INIT                                                                                          \
  { sizeof(sard_run_options), 0, NULL, NULL, NULL, NULL, false }

/* Memory on the device. Where the model's device is "cuda", inputs and sard_run_into's outputs may be tensors with `device` set:
 * data is an address of the GPU's, dense (caches in place excepted) and aligned to 16 bytes. It stays the caller's, who may neither
 * free nor change it before the run is over. Without a stream what the run reads must be there when it is called, and
 * everything is done when it returns. With one, the run comes behind what is on the stream, and what is put there
 * later comes behind the run: sard_run_into may then return before the work is done, if no output is on the host and no kernel checks
 * anything (indices); sard_run returns when it is. Host memory may be changed at once in either case.
 * Outputs left on the device belong to the result; sard_result_free waits for all work on the GPU, for others may still read
 * them. The result may outlive its model. */

/* Runs the model. inputs[i] belongs to input i; data NULL with rank 0 and dtype SARD_NONE: the input's default; sequences
 * and optionals are given by kind, item and nitem. The outputs are in *out, to be freed with sard_result_free. */
SARD_API sard_status sard_run(const sard_model *m, const sard_tensor *inputs, size_t n_inputs,
                              const sard_run_options *o, sard_result **out, sard_error **err);
/* As sard_run, into the caller's memory: outputs[i].data is where output i goes (its dims, dtype and strides say how
 * much room there is and must equal the output's shape); data NULL: output i is not wanted. No output is kept. When the run
 * fails, what it holds is not defined.
 *
 * Caches grow in place. Where an output is an input and new rows behind it (present = Concat(past, new), or Attention's own), keep
 * both in one buffer with room on that axis, as [batch, heads, capacity, size], and give the input and the output as tensors of
 * the same data with the buffer's strides and past and past + new rows: only the new rows are written, and nothing is copied.
 * So it is where the data say at which rows the new ones go (TensorScatter, GroupQueryAttention); there past may also be all of
 * the capacity, and both are one dense tensor.
 * Any other output that overlaps an input is computed elsewhere and copied when the run is over. */
SARD_API sard_status sard_run_into(const sard_model *m, const sard_tensor *inputs, size_t n_inputs,
                                   const sard_tensor *outputs, size_t n_outputs, const sard_run_options *o,
                                   sard_error **err);
SARD_API size_t sard_result_count(const sard_result *r);
/* Output i as a dense tensor that lives as long as r. SARD_ERROR_UNSUPPORTED: a sequence, see sard_result_items. */
SARD_API sard_status sard_result_tensor(const sard_result *r, size_t i, sard_tensor *t);
/* A container as an output: number of items (-1: output i is a tensor, or there is no output i), and item k, which lives as
 * long as r; where it is a container itself, kind, item and nitem say so. The items of a map are its keys and its values. */
SARD_API int64_t sard_result_items(const sard_result *r, size_t i);
SARD_API sard_status sard_result_item(const sard_result *r, size_t i, int64_t k, sard_tensor *t);
SARD_API void sard_result_free(sard_result *r); /* r may be NULL */

/* --- DLPack: tensors from and for other libraries (dlpack.h has the structs) --- */

/* A view of the DLTensor, on a CPU (kDLCPU, kDLCUDAHost) or on the GPU that models use (kDLCUDA, device 0). SARD_ERROR_DEVICE: it is
 * elsewhere. SARD_ERROR_UNSUPPORTED: its element type. */
SARD_API sard_status sard_from_dlpack(const void *dltensor, sard_tensor *out, sard_error **err);
/* Output i as a new DLManagedTensorVersioned, or a DLManagedTensor, whose deleter is the consumer's to call. The result lives
 * as long as it, however early sard_result_free comes. SARD_ERROR_UNSUPPORTED: DLPack has no such type. */
SARD_API sard_status sard_result_dlpack(sard_result *r, size_t i, bool versioned, void **managed, sard_error **err);

/* --- compiling ahead of time --- */

typedef struct sard_binding {
  const char *name; /* of a symbolic dimension */
  int64_t value;
} sard_binding;

typedef enum sard_weights { SARD_WEIGHTS_AUTO, SARD_WEIGHTS_INSIDE, SARD_WEIGHTS_EXTERNAL } sard_weights;

typedef struct sard_compile_options {
  size_t size;     /* SARD_COMPILE_OPTIONS_INIT */
  const char *cpu; /* levels, "x86-64-v3,x86-64-v4": the best that the CPU has is taken at run time; NULL: "native" */
  const char *target;       /* a triple: "aarch64-linux-gnu", "riscv64-linux-gnu"; NULL: this machine */
  const char *prefix;       /* of the symbols; NULL: made from the output's name */
  const sard_binding *bind; /* n_bind dimensions that are fixed */
  size_t n_bind;
  sard_weights weights; /* AUTO: in a file of their own (OUT.weights) above 1 GB */
  bool executable;      /* OUT is a program that runs the model */
  bool allow_reference; /* steps that nothing compiles are interpreted; false: a model with such a step is refused */
  bool static_arena;    /* the caller gives all memory, threads' stacks included; no malloc */
  const char *linker;   /* the C compiler that links libraries and executables; NULL: "cc", for a target TARGET-gcc */
  double timeout;       /* seconds; 0: no limit */
  const volatile int *cancel; /* may be NULL */
  const char *device;         /* "cpu" or "cuda"; NULL: "cpu" */
  const char *gpu; /* of "cuda": levels, "sm_80,sm_90a", with PTX for GPUs that come later; NULL: "sm_80,sm_90a" */
  const char *precision; /* as in sard_options */
} sard_compile_options;
#define SARD_COMPILE_OPTIONS_INIT SARD_INIT(sard_compile_options)

/* Compiles a model to a file that starts at once. out ends in .sard (for sard_load_file), .o or .a (with a header beside it, for
 * programs in C and C++ that link it), .so (the same, for dlopen), or is any name with `executable`. The same model, options
 * and build give the same bytes. sard_load_file takes all of these. */
SARD_API sard_status sard_compile_file(sard_env *env, const char *path, const char *out, const sard_compile_options *o,
                                       sard_error **err);

#ifdef __cplusplus
}
#endif

#endif
