/* null.h - what the stand-ins for CUDA's libraries have in common: the driver's memory and its streams.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_NULL_H
#define SARD_TESTS_CUDA_NULL_H

#include "cuda/api.h"

/* Where size bytes of the device's memory at that address are in this process; NULL: nowhere. */
void *null_memory(uint64_t address, size_t size);
/* Puts fn(arg) on the stream; false: it failed. arg is freed. */
int null_call(CudaStream stream, bool (*fn)(void *arg), void *arg);

#endif
