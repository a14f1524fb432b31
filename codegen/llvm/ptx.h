/* ptx.h - what only GPUs have: threads that meet, exchange and share memory, copies in the background, tensor cores. Pointers to
 * memory of the device are of address space GPU_GLOBAL, to memory that a block shares of GPU_SHARED.
 *
 * What LLVM names differently from version to version, and tensor cores, are instructions as text.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_PTX_H
#define SARD_CODEGEN_LLVM_PTX_H

#include "codegen/llvm/internal.h"

enum { GPU_GLOBAL = 1, GPU_SHARED = 3 };

LVal ptx_thread(Emitter *e); /* i32, in its block */
LVal ptx_block(Emitter *e);
LVal ptx_blocks(Emitter *e);
void ptx_barrier(Emitter *e); /* all threads of the block meet, and see what the others have stored */
LVal ptx_exchange(Emitter *e, LVal f32,
                  int by); /* of the thread whose number in the warp differs in the bits of `by` */
LVal ptx_from_lane(Emitter *e, LVal f32, LVal lane); /* of thread `lane` of the warp */
/* bytes of memory of the block, aligned to 16. */
LVal ptx_shared(Emitter *e, const char *name, int64_t bytes);

/* 16 bytes from the device's memory to the block's, both at multiples of 16, in the background: the first `bytes` (i32) of them, zeros
 * behind those. Copies begun since the last ptx_copies_end are a group; ptx_copies_wait: all but the last `left` groups of this thread
 * have arrived, which the others see after a barrier. */
void ptx_copy(Emitter *e, LVal to, LVal from, LVal bytes);
void ptx_copies_end(Emitter *e);
void ptx_copies_wait(Emitter *e, int left);

/* Four matrices of 8 x 8 elements of 16 bits, row i of matrix m `offset` bytes behind the address that thread 8 m + i of the warp
 * gives. Thread l gets of each the elements 2 (l % 4), + 1 of row l / 4; transposed: of column l / 4. */
void ptx_matrices(Emitter *e, LVal at, int offset, bool transposed, LVal r[4]);
/* The warp's sum[16][8] += A[16][16] B[16][8], A and B of f16 or bf16, sum of f32. With g = l / 4 and p = 2 (l % 4), thread l has
 *   a: A[g][p, p+1], A[g+8][p, p+1], A[g][p+8, p+9], A[g+8][p+8, p+9]     b: B[p, p+1][g], B[p+8, p+9][g]
 *   sum: sum[g][p], sum[g][p+1], sum[g+8][p], sum[g+8][p+1] */
void ptx_multiply(Emitter *e, DType t, LVal const a[4], LVal const b[2], LVal sum[4]);
/* The same of bytes, 32 of k and four to a register: A of u8 or i8 (t), B of i8, sum of i32. */
void ptx_multiply_bytes(Emitter *e, DType t, LVal const a[4], LVal const b[2], LVal sum[4]);
LVal ptx_add_bytes(Emitter *e, LVal word, LVal sum);     /* sum and the four i8 of a word */
LVal ptx_pair(Emitter *e, DType t, LVal low, LVal high); /* two f32 as an i32 of two of type t, to nearest even */
LVal ptx_exp2(Emitter *e, LVal f32);                     /* 2^x to 2^-22 of itself, and 0 below 2^-126 */
/* An i64 of which nobody can tell that it is the same: what is worked out from it is worked out anew, in place of being kept. */
LVal ptx_anew(Emitter *e, LVal v);

#endif
