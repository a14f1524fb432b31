/* null.h - what the stand-ins for CUDA's libraries have in common: the driver's memory and its streams.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_NULL_H
#define SARD_TESTS_CUDA_NULL_H

#include "cuda/api.h"

/* Where size bytes of the device's memory at that address are in this process; NULL: nowhere. */
void *null_memory(uint64_t address, size_t size);
/* Puts fn(arg) on the stream; false: it failed. arg is freed. */
int null_call(CudaStream stream, bool (*fn)(void *arg), void *arg);

/* For tests in the same process: call number `at` from now on gives that error, 0: none does; how many there were; how often memory
 * of the device or pinned memory was asked for; how many things are not given back. */
void null_fail(long long at, int error);
int null_step(void); /* counts a call of another library: the error that it is to give */
long long null_calls(void);
size_t null_allocations(void);
int null_left(void);

#endif
