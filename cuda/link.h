/* link.h - machine code for GPUs, made of PTX by nvJitLink where that is.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CUDA_LINK_H
#define SARD_CUDA_LINK_H

#include "cuda/api.h"
#include "support/arena.h"

/* Can it be made? driver: the version of the driver that is to load it, or NULL. *why: why not. */
bool cuda_assembles(const char *driver, const char **why);
/* PTX, as text that ends in 0, to an ELF image for the GPU "sm_90", in arena a. Threads may do so at once. ST_DEVICE: nvJitLink is
 * not here, knows no such GPU or does not take the PTX, with the reason. */
Status cuda_assemble(Ctx *c, Arena *a, const char *gpu, const char *ptx, const uint8_t **code, size_t *size);

#endif
