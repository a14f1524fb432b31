/* start.h - a compiled model from inside: what the files of this folder share. They are linked into every object, library
 * and program that `sard compile` makes, with the parts of the runtime that its model uses; no compiler is behind them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_START_START_H
#define SARD_START_START_H

#include "api/internal.h"
#include "runtime/device.h"

struct sard_compiled {
  sard_env *env;
  sard_model model;
  const uint8_t *package; /* compiled_package of the object that made it */
  void *own;              /* the environment's memory is the caller's: not to be freed */
};

/* In the object, put there by aot/. */
#define PART __attribute__((visibility("hidden"))) extern const uint8_t
PART compiled_package[], compiled_package_end[], compiled_code[], compiled_weights[];

/* The functions of cuda/device.h, in a model for GPUs; NULL in one for CPUs, which has nothing of them. */
typedef struct CompiledGpu {
  Status (*open)(Ctx *c, RtDevice **out);
  void (*close)(RtDevice *d);
} CompiledGpu;
__attribute__((visibility("hidden"))) extern const CompiledGpu compiled_gpu;

/* start.c */
sard_status compiled_init(const sard_compiled_options *o, sard_compiled **out);
sard_status compiled_init_static(void *memory, size_t bytes, const sard_compiled_options *o, sard_compiled **out);
void compiled_free(sard_compiled *m);
void compiled_free_static(sard_compiled *m);
sard_status compiled_open(sard_env *env, const sard_compiled_options *o, void *own, sard_compiled **out);
/* error.c */
const char *compiled_error(void); /* of the last failure in this thread */

#endif
