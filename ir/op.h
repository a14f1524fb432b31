/* op.h - what the IR knows of an operator: its row, as data. The rows are in ops/ops.def, the table in ops/ops.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SARD_IR_OP_H
#define SARD_IR_OP_H

#include "support/attr.h"

typedef uint16_t OpId; /* OP_* of ops/eval/opid.h */

typedef enum {
  OPF_PURE = 0,
  OPF_ELEMENTWISE = 1, /* output element i needs input elements i only, after broadcasting */
  OPF_COMMUTATIVE = 2, /* inputs may be swapped */
  OPF_VIEW = 4,        /* the output has the bytes of input 0 */
  OPF_SHAPE_ONLY = 8,  /* reads the shape of its input, no data */
  OPF_CONTROL = 16,    /* has bodies, run by the executor */
  OPF_NONDET = 32,     /* never folded, never merged */
  OPF_REWRITTEN = 64,  /* a pass turns it into others, which are compiled, types and attributes permitting */
  OPF_HOST = 128,      /* reads a file's format or a text, through libraries and tables: on the CPU by nature */
} OpFlags;

enum { OP_VARIADIC = 65535 };

struct Infer;

typedef struct OpInfo {
  const char *name, *domain; /* domain "": ai.onnx */
  int since;                 /* opset version of this form */
  int min_in, max_in, min_out, max_out;
  unsigned flags; /* OpFlags */
  const AttrInfo *attrs;
  Status (*infer)(struct Infer *x);
  bool has_eval;   /* a reference evaluator is linked */
  const char *sig; /* see ops.def */
} OpInfo;

const OpInfo *op_info(OpId id);                     /* never NULL for a valid id */
OpId op_find(const char *domain, const char *name); /* OP_none (0): not known. "ai.onnx" equals "" */
OpId op_count(void);                                /* ids are 1 .. op_count() - 1 */

#endif
