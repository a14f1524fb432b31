/* memory.h - addresses of loads and stores, shared by memory.c and packed.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_CODEGEN_LLVM_MEMORY_H
#define SARD_CODEGEN_LLVM_MEMORY_H

#include "codegen/llvm/kemit.h"

typedef enum { UNIFORM, CONTIGUOUS, ALTERNATE, REVERSED, SCATTERED } Access; /* ALTERNATE: every other element */

typedef struct Address {
  Access how;
  LVal at;          /* of lane 0, or a vector, in elements */
  LVal base;        /* SCATTERED: at counts from here when this is given; at has 32 bits a lane then */
  LVal first, step; /* SCATTERED, when lanes are equally far apart: lane 0, and from lane to lane */
  int tap;          /* a constant of the index that is in base, 0 to NEAR_TAPS - 1 */
} Address;

LType kemit_memory_type(const KEmit *k, DType t); /* of one element that was loaded: codes are integers */
static inline unsigned kemit_bytes(DType t) { return (unsigned)dtype_bits(t) / 8; }

LVal kemit_pointer(KEmit *k, const KBuf *b, LType elem, LVal offset); /* offset: in elements of that type */
LVal kemit_all_lanes(KEmit *k);                                       /* those of the mask, where there is one */

/* --- near.c --- */
int kemit_tap(const KExpr **index); /* the constant that *index adds to what it becomes */
LVal kemit_load_narrow(KEmit *k, const KExpr *x, LType elem, const Address *a); /* a->base is given */

/* --- packed.c --- */
static inline bool kemit_packed(DType t) { return dtype_bits(t) < 8; }
LVal kemit_load_packed(KEmit *k, const KBuf *b, const Address *a); /* codes */
void kemit_store_packed(KEmit *k, const KBuf *b, const Address *a, LVal codes);

#endif
