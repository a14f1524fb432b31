/* null.h - what the stand-ins for CUDA's libraries have in common: the driver's memory and its streams, and what machine code is.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_NULL_H
#define SARD_TESTS_CUDA_NULL_H

#include "cuda/api.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

/* Where size bytes of the device's memory at that address are in this process; NULL: nowhere. */
void *null_memory(uint64_t address, size_t size);
/* Puts fn(arg) on the stream; false: it failed. arg is freed. */
int null_call(CudaStream stream, bool (*fn)(void *arg), void *arg);

/* Machine code: this, then PTX that ends in 0. */
typedef struct NullCode {
  Elf64_Ehdr elf;
  uint32_t sm;   /* that it is for: 90 */
  uint32_t only; /* "sm_90a": and for no other */
} NullCode;

static inline void null_code_head(NullCode *h, uint32_t sm, bool only) {
  *h = (NullCode){.elf = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, [EI_PAD] = 'n', 'u', 'l', 'l'},
                          .e_machine = 190},
                  .sm = sm,
                  .only = only};
}

/* The PTX in it; NULL: it is no code of ours, or not for that GPU. */
static inline const char *null_code_text(const void *image, uint32_t capability) {
  const NullCode *h = image;
  if (memcmp(h->elf.e_ident, ELFMAG, SELFMAG) || memcmp(h->elf.e_ident + EI_PAD, "null", 4))
    return NULL;
  bool runs = h->only ? h->sm == capability : h->sm / 10 == capability / 10 && h->sm <= capability;
  return runs ? (const char *)(h + 1) : NULL;
}
/* For tests in the same process: call number `at` from now on gives that error, 0: none does; how many there were; how often memory
 * of the device or pinned memory was asked for; how many things are not given back. */
void null_fail(long long at, int error);
int null_step(void); /* counts a call of another library: the error that it is to give */
long long null_calls(void);
size_t null_allocations(void);
int null_launches(void); /* of kernels, so far */
int null_left(void);

/* Of cuBLASLt: how often it was asked for an algorithm; its last product. */
typedef struct NullProduct {
  int count; /* products so far */
  uint32_t epilogue;
  int32_t compute;
  bool addend;
} NullProduct;
int null_asked(void);
NullProduct null_product(void);

#endif
