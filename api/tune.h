/* tune.h - what `sard tune` needs of the compiler: models compiled with other cuts of their products, and the table of the better ones.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_API_TUNE_H
#define SARD_API_TUNE_H

#include "codegen/tuning.h"
#include "sard.h"

/* sard_load_file for the CPU, with products cut as t says, which must live until it returns; the compile cache is left alone. */
sard_status tune_load(sard_env *env, const char *path, const sard_options *o, const Tuning *t, sard_model **out,
                      sard_error **err);
/* The key of the product that a step of such a model computes; 0: it is none, or has but one cut. */
uint64_t tune_key(const sard_model *m, size_t step);
/* What this CPU is called in the table, in arena a. */
const char *tune_cpu(Arena *a);
/* Puts the rows of t into this CPU's table in the cache directory, in the place of its own. *all: how many it has now. */
Status tune_keep(Ctx *c, Arena *a, const char *dir, const Tuning *t, uint32_t *all);

#endif
