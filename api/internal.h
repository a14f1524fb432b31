/* internal.h - the objects behind the public handles.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_API_INTERNAL_H
#define SARD_API_INTERNAL_H

#include "runtime/runtime.h"
#include "sard.h"
#include "support/ctx.h"
#include "support/file.h"

#include <pthread.h>

struct sard_env {
  Alloc alloc;
  Recycler recycler; /* of the results of all its models */
  atomic_int users;  /* the caller, and the results that are there: they may outlive their model and its environment */
  void (*destroy)(struct sard_env *); /* when no user is left; NULL: its memory is not ours */
  sard_env_options o;
  pthread_mutex_t lock; /* guards what follows */
  struct Pool *pool;    /* there while models use it: those with compiled steps and more than one thread */
  uint32_t pool_users;
};

struct sard_model {
  sard_env *env;
  Ctx c; /* owns the arena and the mappings */
  Arena *arena;
  RtProgram *program;
  Mapped **file; /* mapped: weights, the cache entry */
  uint32_t nfile;
  sard_cache_state cache_state;
  struct ModelCache *cache;               /* a missing entry, to be written; NULL: nothing to write */
  void (*after_run)(const sard_model *m); /* what is due once a run has ended; may be NULL */
  struct RtCode *code;                    /* of a model compiled ahead of time, mapped; NULL: the program has its own */
  const char *path;                       /* "" when from memory */
  sard_times times;
  const char *device;
  struct RtDevice *gpu;         /* of "cuda" */
  struct ModelChoices *choices; /* where what its library chooses is kept; NULL: nowhere */
  const struct Tuning *tuning;  /* of products (codegen/tuning.h); NULL: none */
  const uint64_t *product;      /* by kernel: what tuning knows it by, or 0; NULL: not a trial */
  const char *device_code;      /* rt_device_code */
  bool no_linker;               /* there is no nvJitLink to make machine code for the GPU */
  int cores;                    /* that the process may use */
  int threads;                  /* that a run may use */
  bool eager;                   /* use them whether it is worth it or not: set by tests */
  struct Pool *pool;            /* the environment's; NULL: no step uses it */
};

/* run.c */
struct sard_result;
struct sard_result *result_share(struct sard_result *r); /* to be freed once more */
Alloc *result_alloc(const struct sard_result *r);        /* its environment's */
Tensor tensor_of(const sard_tensor *t);                  /* its strides are for the caller to look after */

/* The tensors of a call, valid each for itself, and what becomes of them. */
typedef struct CallTensors {
  const RtProgram *program;
  const sard_tensor *in, *out; /* out: NULL, or by output; inputs that are not given have data NULL */
  size_t nin;
  bool *copied;       /* by input: its strides are not those of dense memory, it is to be copied first */
  RtOutput *o;        /* by output: into is set where the memory is dense */
  const Tensor *into; /* by output */
  RtRoom *room;       /* by cache of the program; zero */
  bool gpu;           /* only memory on the device can have room: what comes from here is dense there */
} CallTensors;

/* rooms.c */
/* Finds out which tensors are caches with room for more rows, which are taken as they are, and which of them grow in place. An
 * output that overlaps an input otherwise loses its `into`. */
Status call_rooms(Ctx *c, const CallTensors *t);

/* compile.c */
typedef struct CompileArgs {
  sard_model *m;
  const char *path; /* a file, or NULL: */
  const void *data; /* a model in memory */
  size_t n;
  const char *dir;
  const sard_options *o;
  const struct Tuning *trial; /* instead of the table; NULL: none */
} CompileArgs;
sard_status load_model(sard_env *env, CompileArgs *a, const sard_options *o, sard_model **out,
                       sard_error **err); /* sard.c */
Status compile_model(Ctx *c, void *args);

/* precision.c: ST_USAGE: there is no such precision; ST_UNSUPPORTED: not on that device. name NULL: fp32. */
Status precision_check(Ctx *c, const char *name, const char *device);

/* describe.c */
sard_step_kind step_kind(const RtProgram *p, const ProgStep *s);
/* Fills in the caller's struct, which begins with its size, as far as it knows the fields. SARD_ERROR_USAGE: it has none. */
sard_status give_struct(void *to, size_t to_size, const void *from, size_t size);

/* The same in parts, for aot.c: a program for one CPU level, and the memory that its constants lie in. for_file: its bytes
 * depend on the model alone, not on where it lies or on how many cores this machine has. */
typedef struct Generated {
  const uint8_t *image;
  size_t size;
  RtFile *file;
  uint32_t nfile;
  bool packed; /* the last file is weights packed for the CPU */
} Generated;
struct Model;
struct DimBinding;
/* What code is made for: a CPU level, or a level of GPUs, whose PTX becomes machine code for `gpu` if `assemble` is there. */
typedef struct CompileTarget {
  const char *level;
  Status (*assemble)(Ctx *c, Arena *a, const char *gpu, const char *ptx, const uint8_t **code, size_t *size);
  const char *gpu;
} CompileTarget;
Status compile_graph(Ctx *c, const CompileArgs *a, struct DimBinding *bind, uint32_t nbind, struct Model **m);
Status compile_program(Ctx *c, const CompileArgs *a, Arena *scratch, const struct Model *m, const CompileTarget *target,
                       bool for_file, Generated *out);

/* compiled.c: starts from a->path if that is a file with a compiled model; a->m->program stays NULL if it is of another kind. */
Status compiled_start(Ctx *c, CompileArgs *a);

/* tuning.c: how products are cut on this CPU, kept in the compile cache as an entry for all models; see codegen/tuning.h. */
struct Tuning;
/* Where a model for the CPU is compiled with a cache: m->tuning is its table. No trouble with it is trouble with the model. */
Status tuning_start(Ctx *c, const CompileArgs *a);

/* cache.c */
typedef struct ModelCache ModelCache;
/* Looks for the model in the compile cache: on a hit a->m has its program and its files, on a miss what cache_fill needs.
 * Only running out of memory, time or patience is an error. */
Status cache_start(Ctx *c, CompileArgs *a);
/* The entry of the model just compiled is ready to be written; packed: the last file of the program, or NULL. */
void cache_fill(Ctx *c, const CompileArgs *a, const uint8_t *image, size_t size, const RtFile *packed);
void cache_end(sard_model *m); /* waits for it */

/* choices.c: takes from the compile cache what a library has chosen for products, and keeps there what it has chosen since. */
typedef struct ModelChoices ModelChoices;
Status choices_start(Ctx *c, const CompileArgs *a);
void choices_end(sard_model *m);

/* error_text.c: all of e in one line of at most n bytes. */
void error_compose(const Err *e, char *text, size_t n);

/* error.c: makes *err from c->err (err may be NULL) and returns its kind. */
sard_status error_from(Ctx *c, sard_error **err);
sard_status error_new(sard_status kind, sard_error **err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* env.c */
/* The pool of the environment, to be given back. */
Status env_pool(sard_env *env, Ctx *c, struct Pool **pool);
void env_pool_done(sard_env *env);
sard_env *env_share(sard_env *env); /* to be given up by env_drop */
void env_drop(sard_env *env);
sard_env *env_or_default(sard_env *env);
void env_prepare(sard_env *env, Ctx *c, double timeout, const volatile int *cancel);

#endif
