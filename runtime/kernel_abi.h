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

/* 0: done; 1: cancelled; 2 + n: check n of the kernel failed. */
typedef int (*KernelFn)(const KernelArgs *a);

#endif
