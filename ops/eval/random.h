/* random.h - random numbers of a node: functions of its seed and of an element's index, nothing else. So they do not depend
 * on threads, and every run of a program draws the same. A node without a seed gets one from its name on import.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_OPS_EVAL_RANDOM_H
#define SARD_OPS_EVAL_RANDOM_H

#include "ops/eval/eval.h"

/* The generator's key: the seed's bits; NAN, no seed: 0. */
uint64_t random_key(float seed);
/* Element i of the uniform distribution on [0, 1), or of the standard normal one (Box and Muller). wide: for f64. */
double random_uniform(uint64_t key, int64_t i, bool wide);
double random_normal(uint64_t key, int64_t i, bool wide);

/* Of an element of Bernoulli's input and of Dropout's ratio: an f64. */
#define NOT_A_PROBABILITY "%.9g is no probability: it is not in [0, 1]"

#endif
