/* ptx.h - runs PTX on a CPU, thread by thread: what our code generator emits of it, checked where a GPU would fault or hang:
 * accesses out of bounds or out of alignment, threads that wait at different places.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_PTX_H
#define SARD_TESTS_CUDA_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct PtxModule PtxModule;
typedef struct PtxKernel PtxKernel;

/* NULL: something in the text is not known; why says what. */
PtxModule *ptx_parse(const char *text, char why[256]);
void ptx_free(PtxModule *m);
const PtxKernel *ptx_find(const PtxModule *m, const char *name);
size_t ptx_params(const PtxKernel *k); /* all of 8 bytes */

typedef struct PtxLaunch {
  uint32_t blocks, threads;
  const uint64_t *param; /* ptx_params of them */
  bool backwards;        /* the threads of a block run in the other order: what does not depend on it is no race */
  /* Where size bytes of global memory at that address are; NULL: nowhere. */
  void *(*memory)(void *arg, uint64_t address, size_t size);
  void *arg;
} PtxLaunch;

/* False: a thread did what faults or hangs; why says what and where. */
bool ptx_run(const PtxKernel *k, const PtxLaunch *l, char why[256]);

#endif
