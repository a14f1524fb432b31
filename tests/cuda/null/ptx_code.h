/* ptx_code.h - PTX as the interpreter has it: what ptx_parse.c makes of a text and ptx.c runs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_TESTS_CUDA_PTX_CODE_H
#define SARD_TESTS_CUDA_PTX_CODE_H

#include "tests/cuda/null/ptx.h"

enum {
  NAME = 96,
  CLASSES = 24,
  VARS = 64,
  WARP = 32,
  SHARED_BASE = 1 << 24,
  LOCAL_BASE = 1 << 25,
  TABLE_BASE = 1 << 26,
  SPACE = 1 << 16
};

/* OP(name): the first part of the mnemonic. */
#define OPS                                                                                                            \
  OP(add)                                                                                                              \
  OP(sub)                                                                                                              \
  OP(mul)                                                                                                              \
  OP(mad)                                                                                                              \
  OP(fma)                                                                                                              \
  OP(div)                                                                                                              \
  OP(rem)                                                                                                              \
  OP(min)                                                                                                              \
  OP(max)                                                                                                              \
  OP(neg)                                                                                                              \
  OP(abs)                                                                                                              \
  OP(sqrt)                                                                                                             \
  OP(rcp)                                                                                                              \
  OP(and)                                                                                                              \
  OP(or)                                                                                                               \
  OP(xor) OP(not ) OP(shl) OP(shr) OP(setp) OP(selp) OP(mov) OP(cvt) OP(cvta) OP(ld) OP(st) OP(bra) OP(ret) OP(bar)    \
      OP(barrier) OP(shfl) OP(atom) OP(bfe) OP(bfi) OP(copysign) OP(popc) OP(clz) OP(prmt) OP(ex2) OP(mma)             \
          OP(ldmatrix) OP(cp) OP(shf) OP(dp4a)
typedef enum {
#define OP(name) O_##name,
  OPS
#undef OP
      O_count
} Op;
typedef enum { K_REG, K_IMM, K_PARAM, K_LABEL } Kind;
typedef struct Operand {
  uint8_t kind;
  int reg;        /* K_REG, and the base of an address: -1: none */
  uint64_t value; /* K_IMM, offsets; K_PARAM: number; K_LABEL: instruction */
} Operand;

typedef struct Type {
  char kind; /* 'u', 's', 'f', 'b', 'p' */
  uint8_t bits;
  bool pair;  /* f16x2, bf16x2: of cvt's result */
  bool brain; /* bf16 */
} Type;

typedef struct Ins {
  Op op;
  Type t, from; /* the last two types of the mnemonic: result and operand of cvt, else t = from */
  Type second;  /* mma: of B */
  char compare[4];
  char space;  /* ld, st: 'g'lobal, 's'hared, 'l'ocal, 'p'aram, 'x' generic */
  uint8_t vec; /* 1, 2, 4 */
  bool hi, wide, sat;
  char round; /* of cvt: 'n', 'z', 'm', 'p'; 'i' set: to an integer */
  bool integer, ftz_nan;
  int guard; /* -1: none */
  bool unless;
  bool index, trans;                             /* shfl.idx; ldmatrix.trans */
  bool left, clamped;                            /* shf: of its amount the last five bits count, or 32 at most */
  enum { COPY_BEGIN, COPY_END, COPY_WAIT } copy; /* cp.async */
  uint8_t ndst, nsrc;
  Operand dst[4], src[12];
  int line;
} Ins;

struct PtxKernel {
  char name[NAME];
  uint32_t nparam;
  struct {
    char prefix[16];
    int base, n;
  } class[CLASSES];
  int nclass, nreg;
  struct {
    char name[NAME];
    uint32_t at;
    enum { V_SHARED, V_LOCAL, V_TABLE } where;
  } var[VARS];
  int nvar;
  uint32_t shared, local; /* bytes */
  struct {
    char name[NAME];
    int at;
  } * label;
  int nlabel;
  Ins *ins;
  int nins;
  const struct PtxModule *module;
  struct PtxKernel *next;
};

struct PtxModule {
  PtxKernel *first;
  PtxKernel globals;    /* shared variables of the module, and its tables, whose `at` counts from TABLE_BASE */
  uint8_t table[SPACE]; /* what .global variables begin with; none is stored to */
  uint32_t ntable;
};

#endif
