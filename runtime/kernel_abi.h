/* kernel_abi.h - how the executor calls compiled code. The same struct for every kernel, on every target.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_RUNTIME_KERNEL_ABI_H
#define SARD_RUNTIME_KERNEL_ABI_H

#include <stdint.h>

/* One call works on parts [begin, end) of the kernel's outermost parallel loop (kernels without one: 0 and 1). */
typedef struct KernelArgs {
  void *const *buf;   /* inputs, then outputs; each aligned to its element, weights and arena slots to 64 */
  const int64_t *dim; /* the values of the kernel's dim expressions, in the order of its signature */
  int64_t begin, end;
  void *scratch;     /* per thread, aligned to 64, of the size the kernel asked for */
  const int *cancel; /* polled once per part; may be NULL */
  int64_t *number;   /* where a failed check puts the offending number; may be NULL */
  void *reserved;
} KernelArgs;

_Static_assert(sizeof(KernelArgs) <= 64, "one cache line");

/* 0: done; 1: cancelled; KERNEL_CHECK + n: check n of the kernel failed. */
enum { KERNEL_CHECK = 2 };
typedef int (*KernelFn)(const KernelArgs *a);

/* --- kernels for GPUs ---
 *
 * Their parameters, all of 8 bytes: the buffers, the dims, the scratch of all blocks, the address of a GpuError. Blocks have whole
 * warps of threads, GPU_BLOCK at most; the grid may have any number of blocks. */
enum { GPU_WARP = 32, GPU_BLOCK = 256 };

/* Zero before the launch. */
typedef struct GpuError {
  int32_t code; /* as of KernelFn, from 2 on */
  int32_t pad;
  int64_t number;
} GpuError;

/* How many blocks of how many threads do `parts` pieces of work. threads: that can take part in one; 0: each piece is for one
 * thread. most: blocks that are of use (some for each multiprocessor). parts: at least 1. */
static inline void gpu_geometry(int64_t parts, int64_t threads, int64_t most, uint32_t *blocks, uint32_t *block) {
  int64_t n = threads ? threads : parts, all;
  *block = GPU_WARP;
  while (*block < GPU_BLOCK && *block < n)
    *block *= 2;
  all = threads ? parts : (parts - 1) / *block + 1;
  *blocks = (uint32_t)(all < most ? all : most);
}

#endif
